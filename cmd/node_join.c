/* node_join.c: a store that is new to a cluster asks to be one of it.
 *
 * It knows a few addresses and the cluster's name. It dials one of them as anybody may, learns
 * there the cluster's id and who leads group 0, and asks that one; until the map lists it, it is
 * nothing but somebody who asks: other stores do not talk to it, and it sends them nothing. Once
 * the map has it, it writes that into its own row, with the addresses of all, and is a store like
 * every other; its later starts ask nobody.
 *
 *   RESTING --time--> DIALING --hello answered--> LOOKING --a map--> ASKING --taken--> TAKEN --a
 * map that lists it--> WRITING --durable--> JOINED any of them --no answer, another leader, a
 * connection that ends--> RESTING, then the next address
 *
 * What the leader refuses for good ends the process: the flags are wrong, and only a person can say
 * what was meant.
 */
#include "base/log.h"
#include "base/memory.h"
#include "cmd/node_internal.h"
#include "shardmaster/master_map.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_REST_MS   200u
#define JOIN_LOOK_MS   100u
#define JOIN_TRY_NS    (5 * NS_PER_S)
#define JOIN_WARN_EACH 25u /* tries */

bool node_is_joining(const struct node *node)
{
    return node->join.state != JOIN_DONE;
}

void node_join_init(struct node *node)
{
    if (node->options.join_addresses_count > 0)
        node->join.state = JOIN_RESTING;
}

void node_join_fini(struct node *node)
{
    free(node->join.leader_address);
    free(node->join.address);
}

/* The row says that it has joined before. */
void node_join_done_before(struct node *node)
{
    node->join.state = JOIN_DONE;
}

static void join_fatal(struct node *node, const char *why)
{
    snprintf(node->fatal, sizeof node->fatal, "%s", why);
}

/* Whatever was under way is over; the next try goes to the leader, where that is known. */
static void join_rest(struct node *node, uint64_t wait_ms)
{
    struct node_join *join = &node->join;
    struct node_connection *connection = node_connection_find(node, join->connection_id);
    join->connection_id = 0;
    join->state = JOIN_RESTING;
    join->next_ns = node->now_ns + wait_ms * NS_PER_MS;
    if (connection)
        node_connection_drop(node, connection, false);
}

static void join_dial(struct node *node)
{
    struct node_join *join = &node->join;
    struct node_update *update = &node->update;
    if (update->connects_count == NODE_CONNECTS_PER_TURN_MAX)
        return;
    free(join->address);
    join->address = join->leader_address;
    join->leader_address = NULL;
    if (!join->address)
        join->address = memory_copy_string(
            node->options
                .join_addresses[join->next_address++ % node->options.join_addresses_count]);
    if (join->tries_count++ % JOIN_WARN_EACH == JOIN_WARN_EACH - 1)
        log_write(LOG_WARN, "still asking to join the cluster",
                  "store=%" PRIu64 " tries=%" PRIu64 " address=%.64s", node->options.raft.store,
                  join->tries_count, join->address);
    join->state = JOIN_DIALING;
    join->next_ns = node->now_ns + JOIN_TRY_NS;
    join->try_deadline_ns = node->now_ns + JOIN_TRY_NS;
    update->connects[update->connects_count++] =
        (struct node_connect){.store = 0, .channel = CHANNEL_CONTROL, .address = join->address};
}

static void join_look(struct node *node)
{
    Ostraka__MapRequest request = OSTRAKA__MAP_REQUEST__INIT;
    node->join.next_ns = node->join.try_deadline_ns;
    outbox_to_connection(&node->outbox, node->join.connection_id,
                         frame_encode(FRAME_MAP, 0, &request.base, NULL, 0));
}

static void join_ask(struct node *node)
{
    Ostraka__ChangeStore request = OSTRAKA__CHANGE_STORE__INIT;
    request.kind = OSTRAKA__STORE_CHANGE_KIND__JOIN_STORE;
    request.store = node->options.raft.store;
    request.address = (char *)(uintptr_t)node->options.advertise_address;
    if (node->options.host)
        request.host = (char *)(uintptr_t)node->options.host;
    request.incarnation = node->incarnation;
    node->join.state = JOIN_ASKING;
    outbox_to_connection(&node->outbox, node->join.connection_id,
                         frame_encode(FRAME_CHANGE_STORE, 0, &request.base, NULL, 0));
}

void node_join_timer(struct node *node)
{
    struct node_join *join = &node->join;
    if (join->state == JOIN_DONE || join->state == JOIN_WRITING || node->shutting_down ||
        node->now_ns < join->next_ns)
        return;
    if (join->state == JOIN_RESTING)
        join_dial(node);
    else if (join->state == JOIN_TAKEN && node->now_ns < join->try_deadline_ns)
        join_look(node);
    else
        join_rest(node, JOIN_REST_MS);
}

nanoseconds_t node_join_deadline_ns(const struct node *node)
{
    const struct node_join *join = &node->join;
    return join->state == JOIN_DONE || join->state == JOIN_WRITING || node->shutting_down
               ? NS_NEVER
               : join->next_ns;
}

/* --- What comes --- */

void node_join_connect_begun(struct node *node, uint64_t connection_id)
{
    node->join.connection_id = connection_id;
    if (connection_id == 0)
        join_rest(node, JOIN_REST_MS);
}

void node_join_connected(struct node *node, int status)
{
    if (status != OST_OK) {
        join_rest(node, JOIN_REST_MS);
        return;
    }
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    hello.role = OSTRAKA__PEER_ROLE__CLIENT;
    outbox_to_connection(&node->outbox, node->join.connection_id,
                         frame_encode(FRAME_HELLO, 0, &hello.base, NULL, 0));
}

void node_join_closed(struct node *node)
{
    node->join.connection_id = 0;
    if (node->join.state != JOIN_DONE && node->join.state != JOIN_WRITING)
        join_rest(node, JOIN_REST_MS);
}

void node_join_greeted(struct node *node, const Ostraka__HelloAnswer *answer)
{
    struct node_join *join = &node->join;
    char why[NODE_FATAL_BYTES];
    cluster_id_t known = node->options.cluster_id;
    if (answer->status != OST_OK) {
        join_rest(node, JOIN_REST_MS);
        return;
    }
    bool is_same = node->join.knows_cluster ? answer->cluster_id == known
                                            : cluster_name_is_same(answer->cluster_id, known);
    if (!is_same) {
        snprintf(why, sizeof why, "%.64s is a store of another cluster: check --cluster and --join",
                 join->address);
        join_fatal(node, why);
        return;
    }
    node->options.cluster_id = answer->cluster_id;
    node->options.master.cluster_id = answer->cluster_id;
    join->knows_cluster = true;
    join->asked_store = answer->store_id;
    join->state = JOIN_LOOKING;
    join_look(node);
}

static void join_written(void *context, int status)
{
    struct node *node = context;
    struct node_join *join = &node->join;
    if (status != OST_OK) { /* the next start asks again, and is told that it has joined */
        log_write(LOG_WARN, "cannot write the store's own row", "store=%" PRIu64 " why=\"%s\"",
                  node->options.raft.store, ost_status_text(status));
    }
    join->state = JOIN_DONE;
    log_write(LOG_INFO, "joined the cluster", "store=%" PRIu64 " cluster=%016" PRIx64,
              node->options.raft.store, node->options.cluster_id);
    node->report_ns = node->now_ns;
}

static void join_finish(struct node *node)
{
    struct node_connection *connection = node_connection_find(node, node->join.connection_id);
    node->join.connection_id = 0;
    node->join.state = JOIN_WRITING;
    if (connection)
        node_connection_drop(node, connection, false);
    int status = node_identity_write(node, join_written, node);
    if (status != OST_OK)
        join_written(node, status);
}

/* Another store leads group 0: that one is asked next, at once. */
static void join_go_to(struct node *node, const Ostraka__StoreInfo *leader)
{
    free(node->join.leader_address);
    node->join.leader_address = memory_copy_string(leader->address);
    join_rest(node, 0);
}

static int join_map(struct node *node, const struct frame *frame)
{
    struct node_join *join = &node->join;
    const Ostraka__Map *map =
        (void *)message_unpack(&ostraka__map__descriptor, frame->message, &node->arena);
    if (!map)
        return OST_PROTOCOL;
    const Ostraka__StoreInfo *self = master_map_store(map, node->options.raft.store);
    if (map->epoch == 0 || !map->master) {
        join_rest(node, JOIN_REST_MS); /* the cluster is being made */
    } else if (join->state == JOIN_TAKEN && self && self->incarnation == node->incarnation) {
        node_map_received(node, frame);
        if (node->map) /* else it was no sound map, or was let go by */
            join_finish(node);
        else
            join->next_ns = node->now_ns + JOIN_LOOK_MS * NS_PER_MS;
    } else if (join->state == JOIN_TAKEN) {
        join->next_ns = node->now_ns + JOIN_LOOK_MS * NS_PER_MS;
    } else if (join->state == JOIN_LOOKING) {
        const Ostraka__StoreInfo *leader = master_map_store(map, map->master->leader_store);
        if (leader && leader->id != join->asked_store && leader->id != node->options.raft.store)
            join_go_to(node, leader);
        else
            join_ask(node);
    }
    return OST_OK;
}

static int join_answer(struct node *node, const struct frame *frame)
{
    const Ostraka__ChangeStoreAnswer *answer = (void *)message_unpack(
        &ostraka__change_store_answer__descriptor, frame->message, &node->arena);
    if (!answer)
        return OST_PROTOCOL;
    if (node->join.state != JOIN_ASKING)
        return OST_OK;
    if (answer->status == OST_OK || answer->status == OST_EXISTS) {
        node->join.state = JOIN_TAKEN;
        join_look(node);
    } else if (ost_status_is_retryable(answer->status)) {
        join_rest(node, JOIN_REST_MS);
    } else {
        char why[NODE_FATAL_BYTES];
        snprintf(why, sizeof why, "the cluster does not take this store: %.200s",
                 answer->text[0] ? answer->text : ost_status_text(answer->status));
        join_fatal(node, why);
    }
    return OST_OK;
}

int node_join_received(struct node *node, const struct frame *frame)
{
    if (frame->type == FRAME_MAP_ANSWER)
        return join_map(node, frame);
    if (frame->type == FRAME_CHANGE_STORE_ANSWER)
        return join_answer(node, frame);
    return OST_PROTOCOL;
}
