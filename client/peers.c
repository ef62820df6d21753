/* peers.c: connections to stores: dialled when there is something to send, greeted, lost, dialled
 * again. */
#include "base/log.h"
#include "base/memory.h"
#include "client/core_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define REDIAL_MS_MIN   20u
#define REDIAL_MS_MAX   1000u
#define GREETING_MS_MAX 2000u

static struct peer *peer_add(struct client_core *core, const char *address, size_t address_chars)
{
    if (core->peers_count == core->peers_capacity) {
        core->peers_capacity = core->peers_capacity ? 2 * core->peers_capacity : 8;
        core->peers = memory_realloc(core->peers, core->peers_capacity * sizeof(core->peers[0]));
    }
    struct peer *peer = memory_alloc_zeroed(1, sizeof(*peer));
    peer->core = core;
    peer->number = core->peers_count;
    peer->address = memory_alloc(address_chars + 1);
    memcpy(peer->address, address, address_chars);
    peer->address[address_chars] = '\0';
    TAILQ_INIT(&peer->requests);
    core->peers[core->peers_count++] = peer;
    return peer;
}

static void peer_set_store(struct client_core *core, struct peer *peer, store_id_t store)
{
    peer->store = store;
    HASH_ADD(by_store, core->peers_by_store, store, sizeof(peer->store), peer);
}

void peers_init(struct client_core *core)
{
    const char *at = core->options.endpoints;
    while (at && *at) {
        size_t chars = strcspn(at, ", ");
        if (chars)
            peer_add(core, at, chars)->is_endpoint = true;
        at += chars + (at[chars] != '\0');
    }
}

void peers_fini(struct client_core *core)
{
    for (uint32_t number = 0; number < core->peers_count; number++) {
        struct peer *peer = core->peers[number];
        if (peer->connection_id)
            HASH_DELETE(by_connection, core->peers_by_connection, peer);
        if (peer->store)
            HASH_DELETE(by_store, core->peers_by_store, peer);
        timer_stop(&core->timers, &peer->timer);
        free(peer->address);
        free(peer);
    }
    free(core->peers);
}

struct peer *peer_of_connection(struct client_core *core, uint64_t connection_id)
{
    struct peer *peer;
    HASH_FIND(by_connection, core->peers_by_connection, &connection_id, sizeof(connection_id),
              peer);
    return peer;
}

struct peer *peer_of_store(struct client_core *core, store_id_t store)
{
    struct peer *peer;
    HASH_FIND(by_store, core->peers_by_store, &store, sizeof(store), peer);
    return peer;
}

static void peer_timed_out(void *context, struct timer *timer)
{
    struct peer *peer = (struct peer *)(void *)((char *)timer - offsetof(struct peer, timer));
    peer_lost(context, peer, true);
}

bool peer_wake(struct client_core *core, struct peer *peer)
{
    if (peer->state != PEER_IDLE)
        return true;
    if (core->is_stopped || core->now_ns < peer->redial_ns)
        return false;
    struct client_update *update = &core->update;
    if (update->connects_count == update->connects_capacity) {
        update->connects_capacity = update->connects_capacity ? 2 * update->connects_capacity : 8;
        update->connects = memory_realloc(update->connects,
                                          update->connects_capacity * sizeof(update->connects[0]));
    }
    update->connects[update->connects_count++] =
        (struct client_connect){peer->number, peer->address};
    peer->state = PEER_CONNECTING;
    peer->is_begun = true;
    timer_set(&core->timers, &peer->timer, core->now_ns + GREETING_MS_MAX * NS_PER_MS,
              peer_timed_out);
    return true;
}

static void failure_note(struct client_core *core, const struct peer *peer, int status,
                         const char *text)
{
    core->failure_status = status;
    snprintf(core->failure_text, sizeof(core->failure_text), "%.80s: %s", peer->address, text);
}

void client_core_connect_begun(struct client_core *core, uint32_t number, uint64_t connection_id)
{
    ASSERT(number < core->peers_count);
    struct peer *peer = core->peers[number];
    if (peer->state != PEER_CONNECTING || !peer->is_begun)
        return;
    peer->is_begun = false;
    if (connection_id == 0) {
        failure_note(core, peer, OST_INVALID_ARGUMENT, "cannot use this address");
        peer_lost(core, peer, false);
        return;
    }
    peer->connection_id = connection_id;
    HASH_ADD(by_connection, core->peers_by_connection, connection_id, sizeof(peer->connection_id),
             peer);
}

void peer_connected(struct client_core *core, struct peer *peer, int status)
{
    if (peer->state != PEER_CONNECTING)
        return;
    if (status != OST_OK) {
        failure_note(core, peer, OST_DISCONNECTED, "cannot connect");
        peer->is_unreachable = true;
        peer_lost(core, peer, false);
        peer->is_unreachable = false;
        return;
    }
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    hello.cluster_id = core->cluster_id;
    hello.role = OSTRAKA__PEER_ROLE__CLIENT;
    hello.to_store_id = peer->store;
    peer->state = PEER_GREETING;
    peer_send(core, peer, frame_encode(FRAME_HELLO, ++core->request_id, &hello.base, NULL, 0));
}

void peer_send(struct client_core *core, struct peer *peer, struct blob *frame_take)
{
    outbox_to_connection(&core->update.frames, peer->connection_id, frame_take);
}

void peer_lost(struct client_core *core, struct peer *peer, bool close)
{
    if (peer->state == PEER_IDLE)
        return;
    struct client_update *update = &core->update;
    if (peer->connection_id) {
        if (close) {
            if (update->closes_count == update->closes_capacity) {
                update->closes_capacity = update->closes_capacity ? 2 * update->closes_capacity : 8;
                update->closes = memory_realloc(update->closes, update->closes_capacity *
                                                                    sizeof(update->closes[0]));
            }
            update->closes[update->closes_count++] = peer->connection_id;
        }
        HASH_DELETE(by_connection, core->peers_by_connection, peer);
        peer->connection_id = 0;
    }
    timer_stop(&core->timers, &peer->timer);
    peer->state = PEER_IDLE;
    peer->is_begun = false;
    uint64_t redial_ms = REDIAL_MS_MIN << (peer->failures_count < 6 ? peer->failures_count : 6);
    if (redial_ms > REDIAL_MS_MAX)
        redial_ms = REDIAL_MS_MAX;
    peer->failures_count++;
    peer->redial_ns = core->now_ns + redial_ms * NS_PER_MS;
    requests_peer_lost(core, peer);
    map_peer_lost(core, peer);
}

void peer_greeted(struct client_core *core, struct peer *peer, const struct frame *frame)
{
    const Ostraka__HelloAnswer *answer = (const Ostraka__HelloAnswer *)message_unpack(
        &ostraka__hello_answer__descriptor, frame->message, &core->arena);
    if (!answer || peer->state != PEER_GREETING) {
        peer_lost(core, peer, true);
        return;
    }
    int status = answer->status;
    const char *text = answer->text && answer->text[0] ? answer->text : ost_status_text(status);
    if (status == OST_OK && core->cluster_id && answer->cluster_id != core->cluster_id) {
        status = OST_WRONG_CLUSTER;
        text = "belongs to another cluster";
    } else if (status == OST_OK && peer->store && answer->store_id != peer->store) {
        status = OST_CONFLICT;
        text = "is not the store that the map has there";
    }
    if (status != OST_OK) {
        log_write(LOG_WARN, "store refused", "address=%s status=%s", peer->address,
                  ost_status_name(status));
        failure_note(core, peer, status, text);
        peer_lost(core, peer, true);
        return;
    }
    core->cluster_id = answer->cluster_id;
    core_heard(core, answer->heard_timestamp);
    if (!peer->store && answer->store_id && !peer_of_store(core, answer->store_id))
        peer_set_store(core, peer, answer->store_id);
    timer_stop(&core->timers, &peer->timer);
    peer->state = PEER_OPEN;
    peer->failures_count = 0;
    requests_peer_opened(core, peer);
    map_peer_opened(core);
}

void peers_learn(struct client_core *core)
{
    const Ostraka__Map *map = core->map.map;
    for (size_t index = 0; index < map->n_stores; index++) {
        const Ostraka__StoreInfo *info = map->stores[index];
        if (!info->address || !info->address[0] || info->id == 0)
            continue;
        struct peer *peer = peer_of_store(core, info->id);
        if (!peer) {
            peer = peer_add(core, info->address, strlen(info->address));
            peer_set_store(core, peer, info->id);
        } else if (!peer->is_endpoint && strcmp(peer->address, info->address) != 0) {
            /* A connect of this turn may still name the old text: it is used before the next event.
             */
            if (peer->state != PEER_IDLE)
                peer_lost(core, peer, true);
            free(peer->address);
            peer->address = memory_copy_string(info->address);
            peer->redial_ns = 0;
        }
    }
}

void peers_dial_any(struct client_core *core)
{
    for (uint32_t number = 0; number < core->peers_count; number++)
        peer_wake(core, core->peers[number]);
}
