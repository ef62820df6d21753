/* core_txn.c: drives one coordinator: its requests into the table, their answers back, its
 * heartbeats. */
#include "base/memory.h"
#include "client/core_internal.h"
#include "txn/record.h"

#include <stdlib.h>

#define TXNS_FREE_COUNT_MAX 256u
/* Aborts in the background are tried for so long; then the locks expire by themselves. */
#define BACKGROUND_MS_MAX 5000u
/* No deadline is named further ahead: the rest of T5's minute is for the error of the estimate. */
#define DEADLINE_MS_MAX (DEADLINE_AHEAD_MS - 5000u)

struct core_txn *core_txn_new(struct coordinator *coordinator)
{
    struct core_txn *txn = memory_alloc_zeroed(1, sizeof(*txn));
    txn->coordinator = coordinator;
    txn->has_handle = true;
    TAILQ_INIT(&txn->reads);
    return txn;
}

void core_txn_free(struct core_txn *txn)
{
    coordinator_free(txn->coordinator);
    blob_unref(txn->locks_gone_header);
    free(txn->requests);
    free(txn);
}

struct coordinator *core_txn_coordinator(struct core_txn *txn)
{
    return txn->coordinator;
}

struct coordinator *client_core_coordinator_new(struct client_core *core)
{
    return coordinator_new(map_cache_route, &core->map);
}

struct core_txn *core_txn_take(struct client_core *core)
{
    struct core_txn *txn = core->txns_free;
    if (!txn) {
        txn = core_txn_new(client_core_coordinator_new(core));
        txn->has_handle = false;
        return txn;
    }
    core->txns_free = txn->pool_next;
    core->txns_free_count--;
    return txn;
}

static void txn_forget(struct client_core *core, struct core_txn *txn)
{
    timer_stop(&core->timers, &txn->heartbeat);
    for (uint32_t slot = 0; slot < txn->requests_capacity; slot++) {
        if (txn->requests[slot])
            request_free(core, txn->requests[slot]);
        txn->requests[slot] = NULL;
    }
    if (txn->is_registered)
        HASH_DEL(core->txns, txn);
}

/* Back into the pool, as new. */
static void txn_give_back(struct client_core *core, struct core_txn *txn)
{
    txn_forget(core, txn);
    ASSERT(TAILQ_EMPTY(&txn->reads) && !txn->commit);
    if (core->txns_free_count == TXNS_FREE_COUNT_MAX) {
        core_txn_free(txn);
        return;
    }
    struct coordinator *coordinator = txn->coordinator;
    struct request **requests = txn->requests;
    uint32_t requests_capacity = txn->requests_capacity;
    coordinator_reset(coordinator);
    blob_unref(txn->locks_gone_header);
    *txn = (struct core_txn){.coordinator = coordinator,
                             .requests = requests,
                             .requests_capacity = requests_capacity,
                             .pool_next = core->txns_free};
    TAILQ_INIT(&txn->reads);
    core->txns_free = txn;
    core->txns_free_count++;
}

void core_txns_fini(struct client_core *core)
{
    struct core_txn *txn, *next;
    HASH_ITER (hh, core->txns, txn, next) {
        txn_forget(core, txn);
        if (!txn->has_handle || txn->is_dropped)
            core_txn_free(txn); /* else the caller does, who still holds it */
    }
    while (core->txns_free) {
        txn = core->txns_free;
        core->txns_free = txn->pool_next;
        core_txn_free(txn);
    }
}

void core_txn_register(struct client_core *core, struct core_txn *txn, const struct txn_age *age)
{
    if (txn->is_registered)
        return;
    txn->is_registered = true;
    txn->id = (struct txn_id){.client = core->client_id, .sequence = ++core->sequence};
    /* Not what was heard last: a client that was idle for long would wound everybody. */
    struct txn_age first = {
        .timestamp = core_estimate(core), .client = core->client_id, .sequence = txn->id.sequence};
    coordinator_identify(txn->coordinator, txn->id, age && age->client ? age : &first);
    HASH_ADD(hh, core->txns, id, sizeof(txn->id), txn);
}

static void txn_step(struct client_core *core, struct core_txn *txn,
                     struct coordinator_event *event);

static void heartbeat_fired(void *context, struct timer *timer)
{
    struct core_txn *txn =
        (struct core_txn *)(void *)((char *)timer - offsetof(struct core_txn, heartbeat));
    struct coordinator_event event = {.type = COORDINATOR_EV_TIMER};
    /* Its deadline is in oracle time, and where nobody commits nobody hears what time it is. */
    core_ask_time(context);
    txn_step(context, txn, &event);
}

/* Told and forgotten: only bad news is answered, and comes with the transaction's id. */
static void heartbeat_send(struct client_core *core, struct core_txn *txn, uint32_t slot)
{
    group_id_t group_id;
    struct blob *frame =
        coordinator_encode_heartbeat(txn->coordinator, slot, ++core->request_id, &group_id);
    struct map_group *group = map_cache_group(&core->map, group_id);
    struct peer *peer = group ? peer_of_store(core, map_group_candidate(group)) : NULL;
    if (frame && peer && peer->state == PEER_OPEN)
        peer_send(core, peer, frame);
    else
        blob_unref(frame);
}

static uint16_t slot_frame_type(const struct blob *frame)
{
    return frame_of_blob(frame).type;
}

static void slot_send(struct client_core *core, struct core_txn *txn, uint32_t slot)
{
    if (slot >= txn->requests_capacity) {
        uint32_t capacity = txn->requests_capacity ? txn->requests_capacity : 4;
        while (capacity <= slot)
            capacity *= 2;
        txn->requests = memory_realloc(txn->requests, capacity * sizeof(struct request *));
        memset(txn->requests + txn->requests_capacity, 0,
               (capacity - txn->requests_capacity) * sizeof(struct request *));
        txn->requests_capacity = capacity;
    }
    struct request *request = txn->requests[slot];
    if (request && request == txn->rerouting) {
        /* Encoded anew under the same id, unless it has become another kind of question. */
        group_id_t group = request->group;
        struct blob *frame = coordinator_encode(txn->coordinator, slot, request->id, &group);
        if (frame && slot_frame_type(frame) == request->type) {
            txn->rerouting = NULL;
            blob_unref(request->frame);
            request->frame = frame;
            request->map_epoch = map_cache_epoch(&core->map);
            request->group = group;
            request_start(core, request);
            return;
        }
        blob_unref(frame);
        txn->rerouting = NULL;
    }
    if (request)
        request_free(core, request);
    nanoseconds_t give_up_ns = txn->give_up_ns;
    if (coordinator_slot_is_background(txn->coordinator, slot))
        give_up_ns = core->now_ns + BACKGROUND_MS_MAX * NS_PER_MS;
    request = request_new(core, 0, OWNER_TXN, give_up_ns);
    request->txn = txn;
    request->slot = slot;
    txn->requests[slot] = request;
    request_start(core, request);
}

struct blob *core_txn_encode(struct client_core *core, struct request *request)
{
    coordinator_set_wait(request->txn->coordinator, core_wait_ms(core, request->give_up_ns));
    struct blob *frame =
        coordinator_encode(request->txn->coordinator, request->slot, request->id, &request->group);
    if (frame)
        request->type = slot_frame_type(frame);
    return frame;
}

static void txn_step(struct client_core *core, struct core_txn *txn,
                     struct coordinator_event *event)
{
    struct coordinator_update *update = &core->txn_update;
    coordinator_update_reset(update);
    event->now_ns = core->now_ns;
    coordinator_step(txn->coordinator, event, update);
    for (uint32_t index = 0; index < update->drop_count; index++) {
        struct request **request = &txn->requests[update->drop[index]];
        if (*request)
            request_free(core, *request);
        *request = NULL;
    }
    for (uint32_t index = 0; index < update->send_count; index++)
        slot_send(core, txn, update->send[index]);
    for (uint32_t index = 0; index < update->heartbeat_count; index++)
        heartbeat_send(core, txn, update->heartbeat[index]);
    if (update->deadline_ns == NS_NEVER)
        timer_stop(&core->timers, &txn->heartbeat);
    else if (!txn->heartbeat.fired || txn->heartbeat.deadline_ns != update->deadline_ns)
        timer_set(&core->timers, &txn->heartbeat, update->deadline_ns, heartbeat_fired);
    struct operation *commit = txn->commit;
    if (update->finished && commit) {
        txn->commit = NULL;
        operation_commit_finished(core, commit); /* may drop the transaction, not free it */
    }
}

/* The last thing after whatever may have ended it. */
static void txn_free_when_done(struct client_core *core, struct core_txn *txn)
{
    if (!txn->is_dropped || txn->commit || !TAILQ_EMPTY(&txn->reads))
        return;
    enum coordinator_state state = coordinator_state(txn->coordinator);
    if (state == COORDINATOR_UNKNOWN || coordinator_is_done(txn->coordinator) || core->is_stopped)
        txn_give_back(core, txn);
}

int core_txn_check_growing(struct client_core *core, struct core_txn *txn)
{
    if (txn->locks_gone) {
        txn->locks_gone = false;
        Ostraka__AnswerHeader fallback = OSTRAKA__ANSWER_HEADER__INIT;
        fallback.status = txn->locks_gone_status;
        const Ostraka__AnswerHeader *header = (const Ostraka__AnswerHeader *)message_unpack(
            &ostraka__answer_header__descriptor, blob_bytes(txn->locks_gone_header), &core->arena);
        /* No group: the answer names none, and the others' entries are released. */
        struct coordinator_event event = {.type = COORDINATOR_EV_LOCKS_GONE,
                                          .header = header ? header : &fallback};
        txn_step(core, txn, &event);
    }
    switch (coordinator_state(txn->coordinator)) {
    case COORDINATOR_GROWING:
        return OST_OK;
    case COORDINATOR_ABORTED:
        return coordinator_status(txn->coordinator);
    default:
        return OST_TXN_FINISHED;
    }
}

void core_txn_commit(struct client_core *core, struct core_txn *txn, struct operation *operation)
{
    int status = core_txn_check_growing(core, txn);
    enum coordinator_state state = coordinator_state(txn->coordinator);
    if (state == COORDINATOR_COMMITTED)
        status = OST_OK;
    else if (txn->commit || !TAILQ_EMPTY(&txn->reads))
        status = OST_INVALID_ARGUMENT;
    else if (state == COORDINATOR_GROWING && core->heard == 0 &&
             coordinator_writes(txn->coordinator)->writes_count > 0)
        status = OST_NOT_READY; /* no deadline can be named yet */
    bool asks = !txn->commit && TAILQ_EMPTY(&txn->reads) && status != OST_NOT_READY &&
                (state == COORDINATOR_GROWING || state == COORDINATOR_UNKNOWN);
    if (!asks) {
        if (operation->type == OPERATION_TXN_COMMIT)
            core_complete(core, operation, status);
        else
            operation_run_again(core, operation, status);
        return;
    }
    txn->commit = operation;
    if (state == COORDINATOR_GROWING)
        txn->commit_asked_ns = core->now_ns;
    txn->give_up_ns = operation->deadline_ns;
    uint64_t left_ms = 0;
    if (operation->deadline_ns > core->now_ns)
        left_ms = (operation->deadline_ns - core->now_ns) / NS_PER_MS;
    if (left_ms > DEADLINE_MS_MAX) {
        /* T5: behind it nothing is done any more, and a minute later forgotten. */
        left_ms = DEADLINE_MS_MAX;
        nanoseconds_t give_up_ns = core->now_ns + DEADLINE_AHEAD_MS * NS_PER_MS;
        if (txn->give_up_ns > give_up_ns)
            txn->give_up_ns = give_up_ns;
    }
    struct coordinator_event event = {
        .type = COORDINATOR_EV_COMMIT_ASKED,
        .deadline = core_estimate(core) + timestamp_from_ms(left_ms),
    };
    txn_step(core, txn, &event);
    txn_free_when_done(core, txn);
}

void core_txn_drop(struct client_core *core, struct core_txn *txn)
{
    ASSERT(!txn->is_dropped);
    txn->is_dropped = true;
    if (!txn->is_registered) {
        txn_give_back(core, txn);
        return;
    }
    txn->locks_gone = false;
    struct operation *read;
    while ((read = TAILQ_FIRST(&txn->reads)))
        operation_cancel(core, read);
    struct coordinator_event event = {.type = COORDINATOR_EV_ROLLBACK_ASKED};
    txn_step(core, txn, &event);
    txn_free_when_done(core, txn);
}

/* A group asks the oracle for what it votes, and once more before it refuses a deadline as too far
 * ahead. */
static void vote_heard(struct client_core *core, const struct core_txn *txn,
                       const struct answer *answer)
{
    if (answer->status == OST_OK)
        core_heard_fresh(core, answer->timestamp, txn->commit_asked_ns);
    else if (answer->status == OST_INVALID_ARGUMENT && answer->header)
        core_heard_fresh(core, answer->header->heard_timestamp, txn->commit_asked_ns);
}

void core_txn_answered(struct client_core *core, struct request *request,
                       const struct answer *answer)
{
    struct core_txn *txn = request->txn;
    if (request->type == FRAME_PREPARE)
        vote_heard(core, txn, answer);
    struct coordinator_event event = {
        .type = COORDINATOR_EV_ANSWERED,
        .slot = request->slot,
        .header = answer->header,
        .timestamp = answer->timestamp,
        .in_doubt = request->in_doubt,
    };
    txn->requests[request->slot] = NULL;
    request_free(core, request);
    txn_step(core, txn, &event);
    txn_free_when_done(core, txn);
}

void core_txn_gave_up(struct client_core *core, struct request *request)
{
    struct core_txn *txn = request->txn;
    struct coordinator_event event = {.type = COORDINATOR_EV_GAVE_UP, .slot = request->slot};
    txn->requests[request->slot] = NULL;
    request_free(core, request);
    txn_step(core, txn, &event);
    txn_free_when_done(core, txn);
}

void core_txn_reroute(struct client_core *core, struct request *request)
{
    struct core_txn *txn = request->txn;
    struct coordinator_event event = {
        .type = COORDINATOR_EV_REROUTE, .slot = request->slot, .in_doubt = request->in_doubt};
    txn->rerouting = request;
    txn_step(core, txn, &event);
    txn->rerouting = NULL;
    txn_free_when_done(core, txn);
}

void core_txn_read_answered(struct client_core *core, struct core_txn *txn, group_id_t group,
                            const struct lock_target *read, const struct answer *answer)
{
    struct coordinator_event event = {
        .type = COORDINATOR_EV_READ_ANSWERED,
        .group = group,
        .key = read->start,
        .read = *read,
        .entry = answer->entry,
        .header = answer->header,
        .timestamp = answer->read_timestamp,
    };
    txn_step(core, txn, &event);
}

void core_txn_locks_gone(struct client_core *core, const struct frame *frame)
{
    const Ostraka__TxnHeartbeatAnswer *answer = (const Ostraka__TxnHeartbeatAnswer *)message_unpack(
        &ostraka__txn_heartbeat_answer__descriptor, frame->message, &core->arena);
    if (!answer)
        return;
    struct txn_id id = txn_id_of_message(answer->txn);
    struct core_txn *txn;
    HASH_FIND(hh, core->txns, &id, sizeof(id), txn);
    int status = answer->header ? answer->header->status : OST_OK;
    if (answer->header)
        core_heard(core, answer->header->heard_timestamp);
    /* Anything else says nothing about the locks: that store may just not lead. */
    if (!txn || (status != OST_LOCKS_LOST && status != OST_WOUNDED && status != OST_ABORTED))
        return;
    txn->locks_gone = true;
    txn->locks_gone_status = status;
    blob_unref(txn->locks_gone_header);
    txn->locks_gone_header = blob_new(ostraka__answer_header__get_packed_size(answer->header));
    ostraka__answer_header__pack(answer->header, txn->locks_gone_header->data);
    timer_stop(&core->timers, &txn->heartbeat);
}
