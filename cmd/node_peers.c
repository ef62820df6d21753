/* node_peers.c: connections: who said what Hello, which store is reached over which, when to dial
 * again.
 *
 * Between two stores the one with the lower id dials, two connections (outbox.h: channel); frames
 * go both ways over both. Nothing but a Hello is heard from a connection that has not been greeted.
 *
 * The one that is to dial may not know the other: that one joined, and a crash took it away again
 * with the map. Then the map may not come either, for want of a quorum. Or it takes the other for
 * connected, which lost its power and started again: with nothing to say, it would hear of that
 * from keep-alive alone. So who waits to be dialed dials after a while, to introduce itself: its
 * Hello says where it is, is turned down, and the other one dials.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "cmd/node_internal.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_stores.h"

#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#define RECONNECT_MS_MIN   50u
#define JOINING_REDIAL_MS  100u
#define INTRODUCTION_MS    2000u  /* not dialed for so long */
#define REFUSALS_LOGGED_MS 60000u /* one line in so long */

struct node_connection *node_connection_find(struct node *node, uint64_t connection_id)
{
    struct node_connection *connection;
    HASH_FIND(hh, node->connections, &connection_id, sizeof connection_id, connection);
    return connection;
}

struct node_peer *node_peer_find(struct node *node, store_id_t store)
{
    struct node_peer *peer;
    HASH_FIND(hh, node->peers, &store, sizeof store, peer);
    return peer;
}

/* Not dialed again for so long. Who only introduces itself leaves the other one time. */
static void peer_rest(struct node *node, struct node_peer *peer, enum channel channel, uint64_t ms)
{
    uint64_t rest_ms = peer->is_dialed_by_us ? ms : INTRODUCTION_MS;
    peer->redial_ns[channel] = node->now_ns + rest_ms * NS_PER_MS;
}

void node_peer_learn(struct node *node, store_id_t store, const char *address)
{
    if (store == node->options.raft.store)
        return;
    struct node_peer *peer = node_peer_find(node, store);
    if (peer)
        peer->is_gone = false; /* an older map than this did not list it yet */
    if (peer && strcmp(peer->address, address) == 0)
        return;
    if (!peer) {
        peer = memory_alloc_zeroed(1, sizeof *peer);
        peer->store = store;
        peer->is_dialed_by_us = node->options.raft.store < store;
        peer_rest(node, peer, CHANNEL_CONTROL, 0);
        HASH_ADD(hh, node->peers, store, sizeof peer->store, peer);
    }
    free(peer->address);
    peer->address = memory_copy_string(address);
    node->peers_dirty = true;
    node->peers_changed = true;
}

void node_peers_prune(struct node *node)
{
    for (struct node_peer *peer = node->peers; peer; peer = peer->hh.next) {
        peer->is_gone = !master_map_store(node->map, peer->store);
        node->peers_dirty = node->peers_dirty || peer->is_gone;
        node->peers_changed = node->peers_changed || peer->is_gone;
    }
}

static void peer_forget(struct node *node, struct node_peer *peer)
{
    log_write(LOG_INFO, "a store is none of the cluster any more",
              "store=%" PRIu64 " peer=%" PRIu64, node->options.raft.store, peer->store);
    for (int channel = CHANNEL_CONTROL; channel <= CHANNEL_BULK; channel++) {
        const uint64_t ids[] = {peer->connection_ids[channel], peer->dialing_ids[channel]};
        for (size_t index = 0; index < 2; index++) {
            struct node_connection *connection = node_connection_find(node, ids[index]);
            if (connection)
                node_connection_drop(node, connection, true);
        }
    }
    HASH_DEL(node->peers, peer);
    free(peer->address);
    free(peer);
}

void node_peers_init(struct node *node)
{
    const struct master_options *master = &node->options.master;
    for (size_t i = 0; i < master->initial_stores_count; i++)
        node_peer_learn(node, master->initial_stores[i].id, master->initial_stores[i].address);
}

void node_peers_fini(struct node *node)
{
    struct node_connection *connection, *connection_next;
    HASH_ITER (hh, node->connections, connection, connection_next) {
        HASH_DEL(node->connections, connection);
        free(connection);
    }
    struct node_peer *peer, *peer_next;
    HASH_ITER (hh, node->peers, peer, peer_next) {
        HASH_DEL(node->peers, peer);
        free(peer->address);
        free(peer);
    }
}

static struct node_connection *connection_new(struct node *node, uint64_t id,
                                              enum connection_state state)
{
    struct node_connection *connection = memory_alloc_zeroed(1, sizeof *connection);
    connection->id = id;
    connection->state = state;
    connection->greeting_deadline_ns =
        node->now_ns + (uint64_t)node->options.hello_ms_max * NS_PER_MS;
    HASH_ADD(hh, node->connections, id, sizeof connection->id, connection);
    DL_APPEND2(node->greeting, connection, greeting_previous, greeting_next);
    return connection;
}

/* It has said who it is, or is gone: its time for that no longer runs. */
static void connection_greeted(struct node *node, struct node_connection *connection)
{
    DL_DELETE2(node->greeting, connection, greeting_previous, greeting_next);
    connection->state = CONNECTION_OPEN;
}

void node_connection_accepted(struct node *node, uint64_t connection_id)
{
    connection_new(node, connection_id, CONNECTION_GREETING);
}

static void peer_channel_lost(struct node *node, struct node_connection *connection)
{
    struct node_peer *peer = node_peer_find(node, connection->store);
    if (!peer)
        return;
    enum channel channel = connection->channel;
    if (peer->dialing_ids[channel] == connection->id)
        peer->dialing_ids[channel] = 0;
    if (peer->connection_ids[channel] == connection->id) {
        peer->connection_ids[channel] = 0;
        log_write(LOG_WARN, "lost a store", "store=%" PRIu64 " peer=%" PRIu64 " channel=%d",
                  node->options.raft.store, peer->store, (int)channel);
        raft_host_peer_reset(node->raft, peer->store, node->now_ns);
    }
    peer_rest(node, peer, channel, RECONNECT_MS_MIN);
    node->peers_dirty = true;
}

/* Takes it off every list, and frees it. */
static void connection_forget(struct node *node, struct node_connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        connection_greeted(node, connection);
    if (connection->subscribed)
        DL_DELETE2(node->subscribers, connection, subscribers_previous, subscribers_next);
    HASH_DEL(node->connections, connection);
    if (connection->is_store)
        peer_channel_lost(node, connection);
    else
        kv_server_connection_closed(node->kv, connection->id, node->now_ns);
    free(connection);
}

void node_connection_closed(struct node *node, uint64_t connection_id)
{
    struct node_connection *connection = node_connection_find(node, connection_id);
    if (!connection)
        return;
    bool is_control = connection->is_store && connection->state == CONNECTION_OPEN &&
                      connection->channel == CHANNEL_CONTROL;
    bool is_join = connection->is_join;
    store_id_t store = connection->store;
    connection_forget(node, connection);
    if (is_join && node->join.connection_id == connection_id)
        node_join_closed(node);
    /* The other connection goes to the same process. When that lost its power, this end may say
     * nothing on it for long, and then nothing would tell: so it is made anew as well. */
    struct node_peer *peer = is_control ? node_peer_find(node, store) : NULL;
    struct node_connection *bulk =
        peer ? node_connection_find(node, peer->connection_ids[CHANNEL_BULK]) : NULL;
    if (bulk)
        node_connection_drop(node, bulk, false);
}

void node_connection_drop(struct node *node, struct node_connection *connection, bool after_output)
{
    struct node_update *update = &node->update;
    if (update->closes_count == update->closes_capacity) {
        update->closes_capacity = update->closes_capacity ? 2 * update->closes_capacity : 16;
        update->closes =
            memory_realloc(update->closes, update->closes_capacity * sizeof *update->closes);
    }
    update->closes[update->closes_count++] =
        (struct node_close){.connection_id = connection->id, .after_output = after_output};
    connection_forget(node, connection);
}

/* --- Dialing
 * ---------------------------------------------------------------------------------------- */

void node_connect_begun(struct node *node, store_id_t store, enum channel channel,
                        uint64_t connection_id)
{
    struct node_peer *peer = node_peer_find(node, store);
    if (store == 0) {
        if (connection_id != 0)
            connection_new(node, connection_id, CONNECTION_DIALING)->is_join = true;
        node_join_connect_begun(node, connection_id);
        return;
    }
    ASSERT(peer && peer->dial_pending[channel]);
    peer->dial_pending[channel] = false;
    node->peers_dirty = true;
    if (connection_id == 0) {
        peer->redial_ns[channel] =
            node->now_ns + (uint64_t)node->options.reconnect_ms_max * NS_PER_MS;
        return;
    }
    struct node_connection *connection = connection_new(node, connection_id, CONNECTION_DIALING);
    connection->is_store = true;
    connection->store = store;
    connection->channel = channel;
    peer->dialing_ids[channel] = connection_id;
}

static void hello_send(struct node *node, struct node_connection *connection)
{
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    hello.cluster_id = node->options.cluster_id;
    hello.role = OSTRAKA__PEER_ROLE__STORE;
    hello.store_id = node->options.raft.store;
    hello.to_store_id = connection->store;
    hello.channel = (uint32_t)connection->channel;
    hello.map_epoch = node_map_epoch_known(node);
    hello.address = (char *)(uintptr_t)node->options.advertise_address;
    outbox_to_connection(&node->outbox, connection->id,
                         frame_encode(FRAME_HELLO, 0, &hello.base, NULL, 0));
}

void node_connection_connected(struct node *node, uint64_t connection_id, int status)
{
    struct node_connection *connection = node_connection_find(node, connection_id);
    if (!connection)
        return;
    if (connection->is_join) {
        node_join_connected(node, status);
        return;
    }
    if (status == OST_OK) {
        hello_send(node, connection);
        return;
    }
    struct node_peer *peer = node_peer_find(node, connection->store);
    enum channel channel = connection->channel;
    uint32_t failures = peer ? peer->failures_count[channel]++ : 0;
    if (peer && failures == 0 && channel == CHANNEL_CONTROL)
        log_write(LOG_WARN, "cannot reach a store, trying again",
                  "store=%" PRIu64 " peer=%" PRIu64 " address=%s", node->options.raft.store,
                  peer->store, peer->address);
    connection_forget(node, connection);
    if (peer) {
        uint64_t backoff_ms = RECONNECT_MS_MIN << (failures < 8 ? failures : 8);
        if (backoff_ms > node->options.reconnect_ms_max)
            backoff_ms = node->options.reconnect_ms_max;
        peer->redial_ns[channel] = node->now_ns + backoff_ms * NS_PER_MS;
    }
}

static void peer_dial(struct node *node, struct node_peer *peer, enum channel channel)
{
    if (peer->connection_ids[channel] || peer->dialing_ids[channel] || peer->dial_pending[channel])
        return;
    if (node->now_ns < peer->redial_ns[channel]) {
        if (peer->redial_ns[channel] < node->peers_deadline_ns)
            node->peers_deadline_ns = peer->redial_ns[channel];
        return;
    }
    struct node_update *update = &node->update;
    if (update->connects_count == NODE_CONNECTS_PER_TURN_MAX) {
        node->peers_deadline_ns = node->now_ns;
        return;
    }
    update->connects[update->connects_count++] =
        (struct node_connect){.store = peer->store, .channel = channel, .address = peer->address};
    peer->dial_pending[channel] = true;
}

void node_peers_timer(struct node *node)
{
    while (node->greeting && node->greeting->greeting_deadline_ns <= node->now_ns)
        node_connection_drop(node, node->greeting, false);
}

void node_peers_dial(struct node *node)
{
    if (!node->peers_dirty && node->now_ns < node->peers_deadline_ns)
        return;
    node->peers_dirty = false;
    node->peers_deadline_ns = NS_NEVER;
    struct node_peer *peer, *next;
    HASH_ITER (hh, node->peers, peer, next) {
        if (peer->is_gone) {
            peer_forget(node, peer);
            continue;
        }
        if (node->shutting_down)
            continue;
        peer_dial(node, peer, CHANNEL_CONTROL);
        if (peer->is_dialed_by_us)
            peer_dial(node, peer, CHANNEL_BULK);
    }
}

nanoseconds_t node_peers_deadline_ns(const struct node *node)
{
    nanoseconds_t deadline_ns = node->peers_dirty ? node->now_ns : node->peers_deadline_ns;
    if (node->greeting && node->greeting->greeting_deadline_ns < deadline_ns)
        deadline_ns = node->greeting->greeting_deadline_ns;
    return deadline_ns;
}

/* --- Hello
 * ------------------------------------------------------------------------------------------- */

static void peer_channel_open(struct node *node, struct node_connection *connection)
{
    struct node_peer *peer = node_peer_find(node, connection->store);
    ASSERT(peer);
    enum channel channel = connection->channel;
    struct node_connection *old = node_connection_find(node, peer->connection_ids[channel]);
    peer->connection_ids[channel] = connection->id;
    if (old && old != connection)
        node_connection_drop(node, old, false);
    peer->dialing_ids[channel] = 0;
    peer->failures_count[channel] = 0;
    log_write(LOG_INFO, "reached a store", "store=%" PRIu64 " peer=%" PRIu64 " channel=%d",
              node->options.raft.store, peer->store, (int)channel);
    raft_host_peer_reset(node->raft, peer->store, node->now_ns);
    /* The master may have waited for this store, or this store for the map. */
    node->report_ns = node->now_ns;
}

static int hello_check(const struct node *node, const Ostraka__Hello *hello, char *text,
                       size_t text_bytes_max)
{
    /* It cannot say yet which cluster it belongs to. */
    if (node_is_joining(node) && !node->join.knows_cluster) {
        snprintf(text, text_bytes_max, "store %" PRIu64 " is still joining",
                 node->options.raft.store);
        return OST_NOT_READY;
    }
    if (hello->cluster_id != node->options.cluster_id &&
        (hello->cluster_id != 0 || hello->role == OSTRAKA__PEER_ROLE__STORE)) {
        snprintf(text, text_bytes_max,
                 "store %" PRIu64 " belongs to cluster %016" PRIx64 ", not %016" PRIx64,
                 node->options.raft.store, node->options.cluster_id, hello->cluster_id);
        return OST_WRONG_CLUSTER;
    }
    if (hello->to_store_id != 0 && hello->to_store_id != node->options.raft.store) {
        snprintf(text, text_bytes_max, "this is store %" PRIu64 ", not %" PRIu64,
                 node->options.raft.store, hello->to_store_id);
        return OST_INVALID_ARGUMENT;
    }
    if (hello->role == OSTRAKA__PEER_ROLE__STORE) {
        struct node_peer *peer;
        HASH_FIND(hh, node->peers, &hello->store_id, sizeof hello->store_id, peer);
        /* One that joined since then is on the next map. */
        if (!peer && (!node->map || node->map->epoch < hello->map_epoch)) {
            snprintf(text, text_bytes_max, "store %" PRIu64 " does not have that map yet",
                     node->options.raft.store);
            return OST_NOT_READY;
        }
        if (!peer || hello->channel > CHANNEL_BULK) {
            snprintf(text, text_bytes_max,
                     "store %" PRIu64 " does not expect store %" PRIu64 " to connect%s",
                     node->options.raft.store, hello->store_id,
                     peer ? "" : ": the map does not list it");
            return OST_INVALID_ARGUMENT;
        }
        if (peer->is_dialed_by_us) {
            snprintf(text, text_bytes_max, "store %" PRIu64 " dials store %" PRIu64,
                     node->options.raft.store, hello->store_id);
            return OST_NOT_READY;
        }
    }
    return OST_OK;
}

/* Turned down, but heard: it is dialed at once. */
static void introduction_take(struct node *node, const Ostraka__Hello *hello)
{
    if (hello->role != OSTRAKA__PEER_ROLE__STORE || hello->store_id <= node->options.raft.store ||
        hello->cluster_id != node->options.cluster_id)
        return;
    struct node_peer *peer = node_peer_find(node, hello->store_id);
    if (!peer && hello->store_id <= STORES_COUNT_MAX &&
        master_store_address_is_formed(hello->address)) {
        COVER(STORE_INTRODUCED);
        node_peer_learn(node, hello->store_id, hello->address);
        peer = node_peer_find(node, hello->store_id);
    }
    if (!peer)
        return;
    for (int channel = CHANNEL_CONTROL; channel <= CHANNEL_BULK; channel++) {
        /* It has none, so what this end has is of a life that ended without a word. */
        struct node_connection *dead = node_connection_find(node, peer->connection_ids[channel]);
        if (dead) {
            COVER(CONNECTION_HALF_OPEN);
            node_connection_drop(node, dead, false);
        }
        peer->redial_ns[channel] = node->now_ns;
    }
    node->peers_dirty = true;
}

/* Whoever does not belong here may come back for ever: not each time is worth a line. */
static void hello_refused(struct node *node, const char *why)
{
    node->metrics->connections_rejected_count++;
    if (node->now_ns < node->refusal_log_ns)
        return;
    node->refusal_log_ns = node->now_ns + REFUSALS_LOGGED_MS * NS_PER_MS;
    log_write(LOG_WARN, "refused a connection", "store=%" PRIu64 " why=\"%s\"",
              node->options.raft.store, why);
}

void node_hello_received(struct node *node, struct node_connection *connection,
                         const struct frame *frame)
{
    const Ostraka__Hello *hello =
        (void *)message_unpack(&ostraka__hello__descriptor, frame->message, &node->arena);
    if (!hello || connection->state != CONNECTION_GREETING) {
        node->metrics->connections_rejected_count++;
        node_connection_drop(node, connection, false);
        return;
    }
    char text[160] = "";
    Ostraka__HelloAnswer answer = OSTRAKA__HELLO_ANSWER__INIT;
    answer.status = hello_check(node, hello, text, sizeof text);
    answer.text = text;
    answer.cluster_id = node->options.cluster_id;
    answer.store_id = node->options.raft.store;
    answer.heard_timestamp = raft_host_heard_timestamp(node->raft);
    outbox_to_connection(
        &node->outbox, connection->id,
        frame_encode(FRAME_HELLO_ANSWER, frame->request_id, &answer.base, NULL, 0));
    if (answer.status != OST_OK) {
        if (ost_status_is_retryable(answer.status))
            introduction_take(node, hello);
        else
            hello_refused(node, text);
        node_route_all(node); /* the answer leaves before the connection is forgotten */
        node_connection_drop(node, connection, true);
        return;
    }
    connection_greeted(node, connection);
    if (hello->role == OSTRAKA__PEER_ROLE__STORE) {
        connection->is_store = true;
        connection->store = hello->store_id;
        connection->channel = (enum channel)hello->channel;
        peer_channel_open(node, connection);
    }
}

static void hello_was_refused(struct node *node, struct node_connection *connection,
                              const Ostraka__HelloAnswer *answer)
{
    struct node_peer *peer = node_peer_find(node, connection->store);
    enum channel channel = connection->channel;
    /* A store that joins has no map for a moment. */
    bool is_soon = ost_status_is_retryable(answer->status);
    uint64_t redial_ms = is_soon ? JOINING_REDIAL_MS : node->options.reconnect_ms_max;
    node_connection_drop(node, connection, false);
    if (!peer)
        return;
    peer_rest(node, peer, channel, redial_ms);
    if (is_soon || node->now_ns < peer->refusal_log_ns)
        return;
    peer->refusal_log_ns = node->now_ns + REFUSALS_LOGGED_MS * NS_PER_MS;
    log_write(LOG_ERROR, "a store refused this one, which may have been removed from the cluster",
              "store=%" PRIu64 " peer=%" PRIu64 " why=\"%s\"", node->options.raft.store,
              peer->store, answer->text);
}

void node_hello_answered(struct node *node, struct node_connection *connection,
                         const struct frame *frame)
{
    const Ostraka__HelloAnswer *answer =
        (void *)message_unpack(&ostraka__hello_answer__descriptor, frame->message, &node->arena);
    if (!answer || connection->state != CONNECTION_DIALING) {
        node->metrics->connections_rejected_count++;
        node_connection_drop(node, connection, false);
        return;
    }
    if (connection->is_join) {
        if (answer->status == OST_OK)
            connection_greeted(node, connection);
        node_join_greeted(node, answer);
        return;
    }
    if (answer->status != OST_OK) {
        hello_was_refused(node, connection, answer);
        return;
    }
    raft_host_heard(node->raft, answer->heard_timestamp);
    connection_greeted(node, connection);
    peer_channel_open(node, connection);
}
