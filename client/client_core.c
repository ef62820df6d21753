#include "client/client_core.h"

#include "base/memory.h"
#include "base/sometimes.h"
#include "client/core_internal.h"

#include <stdlib.h>

void client_core_options_default(struct client_core_options *out_options)
{
    *out_options = (struct client_core_options){
        .operation_timeout_ms = 5000,
        .try_timeout_ms = 1000,
        .backoff_ms_min = 2,
        .backoff_ms_max = 100,
        .moved_backoff_ms_max = 20,
    };
}

struct client_core *client_core_new(const struct client_core_options *options, nanoseconds_t now_ns)
{
    struct client_core *core = memory_alloc_zeroed(1, sizeof(*core));
    core->options = *options;
    core->now_ns = now_ns;
    outbox_init(&core->update.frames);
    STAILQ_INIT(&core->update.completions);
    coordinator_update_init(&core->txn_update);
    random_init(&core->random, options->seed);
    timers_init(&core->timers);
    arena_init(&core->arena);
    TAILQ_INIT(&core->waiting);
    TAILQ_INIT(&core->moved);
    do
        core->client_id = random_next(&core->random);
    while (core->client_id == 0); /* 0 is nobody */
    map_cache_init(&core->map);
    peers_init(core);
    return core;
}

void client_core_free(struct client_core *core)
{
    if (!core)
        return;
    ASSERT(core->is_stopped);
    core_txns_fini(core);
    requests_fini(core);
    peers_fini(core);
    map_cache_fini(&core->map);
    arena_fini(&core->arena);
    coordinator_update_fini(&core->txn_update);
    outbox_fini(&core->update.frames);
    free(core->update.connects);
    free(core->update.closes);
    free(core);
}

struct client_update *client_core_update(struct client_core *core)
{
    return &core->update;
}

void client_core_update_reset(struct client_core *core)
{
    outbox_reset(&core->update.frames);
    core->update.connects_count = 0;
    core->update.closes_count = 0;
    STAILQ_INIT(&core->update.completions);
}

void core_complete(struct client_core *core, struct operation *operation, int status)
{
    ASSERT(!operation->request && !timer_is_set(&operation->timer));
    operation->status = status;
    STAILQ_INSERT_TAIL(&core->update.completions, operation, next);
}

uint32_t core_wait_ms(const struct client_core *core, nanoseconds_t give_up_ns)
{
    uint64_t left_ms = give_up_ns > core->now_ns ? (give_up_ns - core->now_ns) / NS_PER_MS : 0;
    uint64_t wait_ms = left_ms - left_ms / 10;
    return wait_ms == 0 ? 1 : wait_ms < UINT32_MAX ? (uint32_t)wait_ms : UINT32_MAX;
}

static nanoseconds_t backoff_ns(struct client_core *core, uint32_t tries_count, uint32_t ms_max)
{
    uint64_t most_ms = (uint64_t)core->options.backoff_ms_min
                       << (tries_count < 16 ? tries_count : 16);
    if (most_ms > ms_max || RARE(CLIENT_BACKOFF_LONG))
        most_ms = ms_max;
    uint64_t most_ns = most_ms * NS_PER_MS;
    /* Between half and whole: those who were refused together do not come back together. */
    return most_ns / 2 + random_below(&core->random, most_ns / 2 + 1);
}

nanoseconds_t core_backoff_ns(struct client_core *core, uint32_t tries_count)
{
    return backoff_ns(core, tries_count, core->options.backoff_ms_max);
}

nanoseconds_t core_moved_backoff_ns(struct client_core *core, uint32_t tries_count)
{
    return backoff_ns(core, tries_count, core->options.moved_backoff_ms_max);
}

timestamp_t core_estimate(const struct client_core *core)
{
    if (core->heard == 0)
        return 0;
    uint64_t passed_ms = (core->now_ns - core->estimate_base_ns) / NS_PER_MS;
    return core->estimate_base + timestamp_from_ms(passed_ms);
}

uint64_t core_age_ms(const struct client_core *core, const struct txn_age *age)
{
    uint64_t now_ms = timestamp_to_ms(core_estimate(core));
    uint64_t begun_ms = timestamp_to_ms(age->timestamp);
    return now_ms > begun_ms ? now_ms - begun_ms : 0;
}

void core_heard(struct client_core *core, timestamp_t timestamp)
{
    if (timestamp > core->heard)
        core->heard = timestamp;
    /* An old one tells nothing about now: by such the estimate never goes back. */
    if (timestamp > core_estimate(core) || core->estimate_base == 0) {
        core->estimate_base = timestamp;
        core->estimate_base_ns = core->now_ns;
    }
}

void core_heard_fresh(struct client_core *core, timestamp_t timestamp, nanoseconds_t asked_ns)
{
    if (timestamp == 0)
        return;
    core_heard(core, timestamp);
    uint64_t passed_ms = (core->now_ns - asked_ns) / NS_PER_MS;
    timestamp_t latest = timestamp + timestamp_from_ms(2 * passed_ms);
    if (core_estimate(core) > latest) {
        core->estimate_base = latest;
        core->estimate_base_ns = core->now_ns;
    }
}

/* An answer a second is enough, and nobody needs one that is so old. */
#define ORACLE_ASKED_EVERY_NS NS_PER_S
#define ORACLE_GIVE_UP_NS     (60 * NS_PER_S)

void core_ask_time(struct client_core *core)
{
    bool was_asked =
        core->oracle_asked_ns != 0 && core->now_ns < core->oracle_asked_ns + ORACLE_ASKED_EVERY_NS;
    if (core->oracle_request || was_asked)
        return;
    core->oracle_asked_ns = core->now_ns;
    core->oracle_request =
        request_new(core, FRAME_TIMESTAMP, OWNER_ORACLE, core->now_ns + ORACLE_GIVE_UP_NS);
    request_start(core, core->oracle_request);
}

void core_time_answered(struct client_core *core, int status, timestamp_t timestamp)
{
    if (status != OST_OK)
        return;
    core->is_time_known = true;
    core_heard_fresh(core, timestamp, core->oracle_asked_ns);
}

static void frame_received(struct client_core *core, const struct client_event *event)
{
    struct peer *peer = peer_of_connection(core, event->connection_id);
    if (!peer)
        return;
    peer->received_ns = core->now_ns;
    peer->is_silent = false;
    if (event->frame->type == FRAME_HELLO_ANSWER) {
        peer_greeted(core, peer, event->frame);
        return;
    }
    if (peer->state != PEER_OPEN) {
        peer_lost(core, peer, true);
        return;
    }
    switch (event->frame->type) {
    case FRAME_MAP_ANSWER:
        map_received(core, peer, event->frame);
        break;
    case FRAME_TXN_HEARTBEAT_ANSWER:
        core_txn_locks_gone(core, event->frame);
        break;
    default:
        request_answered(core, peer, event->frame);
        break;
    }
}

/* What requests have operations, and commits, and then what merely waits. */
static void stop(struct client_core *core)
{
    core->is_stopped = true;
    struct request *request = core->requests;
    while (request) {
        struct request *next = request->hh.next;
        if (request->owner == OWNER_OPERATION || request->owner == OWNER_READ)
            operation_cancel(core, request->operation);
        request = next;
    }
    struct core_txn *txn, *next_txn;
    HASH_ITER (hh, core->txns, txn, next_txn) {
        struct operation *commit = txn->commit;
        txn->commit = NULL;
        if (!commit)
            continue;
        enum coordinator_state state = coordinator_state(txn->coordinator);
        bool may_be_done =
            state == COORDINATOR_COMMITTING || state == COORDINATOR_SETTLING ||
            (state == COORDINATOR_PREPARING && coordinator_groups_count(txn->coordinator) == 1);
        core_complete(core, commit, may_be_done ? OST_MAYBE_COMMITTED : OST_CANCELED);
    }
    struct operation *operation;
    while ((operation = TAILQ_FIRST(&core->waiting))) {
        TAILQ_REMOVE(&core->waiting, operation, link);
        timer_stop(&core->timers, &operation->timer);
        core_complete(core, operation, OST_CANCELED);
    }
    timer_stop(&core->timers, &core->map_timer);
    holds_fini(core);
    requests_fini(core);
    HASH_ITER (hh, core->txns, txn, next_txn) {
        for (uint32_t slot = 0; slot < txn->requests_capacity; slot++)
            txn->requests[slot] = NULL;
    }
    core->oracle_request = core->question = NULL;
    for (uint32_t number = 0; number < core->peers_count; number++)
        peer_lost(core, core->peers[number], true);
}

void client_core_step(struct client_core *core, const struct client_event *event)
{
    core->now_ns = event->now_ns;
    arena_reset(&core->arena);
    switch (event->type) {
    case CLIENT_EV_SUBMITTED:
        operation_submitted(core, event->operation);
        break;
    case CLIENT_EV_CONNECTED: {
        struct peer *peer = peer_of_connection(core, event->connection_id);
        if (peer)
            peer_connected(core, peer, event->status);
        break;
    }
    case CLIENT_EV_CLOSED: {
        struct peer *peer = peer_of_connection(core, event->connection_id);
        if (peer)
            peer_lost(core, peer, false);
        break;
    }
    case CLIENT_EV_FRAME:
        frame_received(core, event);
        break;
    case CLIENT_EV_TIMER:
        timers_run(&core->timers, event->now_ns, core);
        break;
    case CLIENT_EV_STOPPED:
        stop(core);
        break;
    }
    core->update.deadline_ns = timers_deadline_ns(&core->timers);
}
