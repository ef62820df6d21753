/* requests.c: one question to a group's leader, asked until somebody answers it (Q3). One that any
 * replica may answer is put to one of them first.
 *
 * RESTING -> QUEUED (no connection yet) -> SENT -> answered; QUEUED, SENT -> RESTING (refused for
 * now, lost, or silent) -> ... ; any -> gone (nobody waits any longer).
 */
#include "base/memory.h"
#include "base/sometimes.h"
#include "client/core_internal.h"

#include <stdlib.h>

#define REQUESTS_FREE_COUNT_MAX 1024u
/* A leader hint is followed at once this many times; then with a pause like everything else. */
#define REDIRECTS_AT_ONCE_MAX 2u
/* So many try timeouts long a store that answers others may keep a request waiting: for a lock,
 * say. */
#define WAITS_COUNT_MAX 2u

struct request *request_new(struct client_core *core, uint16_t type, enum request_owner owner,
                            nanoseconds_t give_up_ns)
{
    struct request *request = core->requests_free;
    if (request) {
        core->requests_free = request->hh.next;
        core->requests_free_count--;
        memset(request, 0, sizeof(*request));
    } else {
        request = memory_alloc_zeroed(1, sizeof(*request));
    }
    request->id = ++core->request_id;
    request->type = type;
    request->owner = owner;
    request->give_up_ns = give_up_ns;
    HASH_ADD(hh, core->requests, id, sizeof(request->id), request);
    return request;
}

static void request_leave_peer(struct request *request)
{
    if (request->state != REQUEST_RESTING)
        TAILQ_REMOVE(&request->peer->requests, request, link);
    request->state = REQUEST_RESTING;
}

void request_free(struct client_core *core, struct request *request)
{
    timer_stop(&core->timers, &request->timer);
    request_leave_peer(request);
    moved_forget(core, request);
    HASH_DEL(core->requests, request);
    blob_unref(request->frame);
    free(request->last_text);
    if (core->requests_free_count < REQUESTS_FREE_COUNT_MAX) {
        request->hh.next = core->requests_free;
        core->requests_free = request;
        core->requests_free_count++;
    } else {
        free(request);
    }
}

void requests_fini(struct client_core *core)
{
    struct request *request, *next;
    HASH_ITER (hh, core->requests, request, next) {
        request_free(core, request);
    }
    while (core->requests_free) {
        request = core->requests_free;
        core->requests_free = request->hh.next;
        free(request);
    }
}

static void request_give_up(struct client_core *core, struct request *request)
{
    switch (request->owner) {
    case OWNER_OPERATION:
    case OWNER_READ: {
        struct operation *operation = request->operation;
        int last_status = request->last_status;
        if (request->last_text)
            operation_explain(operation, "%s", request->last_text);
        operation->request = NULL;
        request_free(core, request);
        operation_gave_up(core, operation, last_status);
        break;
    }
    case OWNER_TXN:
        core_txn_gave_up(core, request);
        break;
    case OWNER_HOLD:
        hold_gave_up(core, request);
        break;
    case OWNER_ORACLE:
        core->oracle_request = NULL;
        request_free(core, request);
        break;
    case OWNER_SNAPSHOTS: {
        int last_status = request->last_status;
        request_free(core, request);
        snapshot_question_gave_up(core, last_status);
        break;
    }
    }
}

static void request_rested(void *context, struct timer *timer)
{
    struct client_core *core = context;
    struct request *request =
        (struct request *)(void *)((char *)timer - offsetof(struct request, timer));
    if (core->now_ns >= request->give_up_ns) {
        request_give_up(core, request);
        return;
    }
    /* Whatever it has rested for: where it was to go may be nobody's any more, who answers nothing.
     */
    bool reroute = request->reroute || moved_is_outdated(core, request);
    moved_forget(core, request);
    if (reroute) {
        COVER(CLIENT_REROUTED);
        if (request->owner == OWNER_TXN) {
            core_txn_reroute(core, request);
            return;
        }
        blob_unref(request->frame);
        request->frame = NULL;
        /* What it asks for depends on the map: the answer to an older form of it is none to this.
         */
        HASH_DEL(core->requests, request);
        request->id = ++core->request_id;
        HASH_ADD(hh, core->requests, id, sizeof(request->id), request);
    }
    request_start(core, request);
}

void request_rest_until(struct client_core *core, struct request *request, nanoseconds_t until_ns)
{
    request_leave_peer(request);
    request->peer = NULL;
    if (until_ns > request->give_up_ns)
        until_ns = request->give_up_ns;
    timer_set(&core->timers, &request->timer, until_ns, request_rested);
}

/* All that the map names have been asked, and none of them leads: it may be old. Who is there, and
 * has no replica of the group any more, says no more than that. */
static bool is_led_by_nobody(struct client_core *core, const struct request *request, int status)
{
    const struct map_group *group = map_cache_group(&core->map, request->group);
    return (status == OST_NOT_LEADER || status == OST_DISCONNECTED) && !request->store && group &&
           request->backoffs_count >= group->stores_count;
}

static void request_back_off(struct client_core *core, struct request *request, int status)
{
    if (is_led_by_nobody(core, request, status))
        map_want(core);
    request->last_status = status;
    request->redirects_count = 0;
    request_rest_until(core, request,
                       core->now_ns + core_backoff_ns(core, request->backoffs_count++));
}

static void request_turn(struct client_core *core, const struct request *request, store_id_t hint)
{
    struct map_group *group = map_cache_group(&core->map, request->group);
    if (group && !request->store && request->peer)
        map_group_turn(group, request->peer->store, hint);
}

static void request_timed_out(void *context, struct timer *timer)
{
    struct client_core *core = context;
    struct request *request =
        (struct request *)(void *)((char *)timer - offsetof(struct request, timer));
    if (core->now_ns >= request->give_up_ns) {
        request_give_up(core, request);
        return;
    }
    struct peer *peer = request->peer;
    bool is_silent = peer->state != PEER_OPEN || peer->received_ns <= request->sent_ns;
    if (request->state == REQUEST_SENT && !is_silent && request->waits_count < WAITS_COUNT_MAX) {
        request->waits_count++;
        nanoseconds_t until_ns = core->now_ns + core->options.try_timeout_ms * NS_PER_MS;
        timer_set(&core->timers, &request->timer,
                  until_ns < request->give_up_ns ? until_ns : request->give_up_ns,
                  request_timed_out);
        return;
    }
    request->in_doubt = request->in_doubt || request->state == REQUEST_SENT;
    if (request->in_doubt)
        COVER(CLIENT_IN_DOUBT);
    request->waits_count = 0;
    request->any_replica = false;
    if (is_silent) {
        peer->is_silent = true;
        request_turn(core, request, 0);
        map_want(core);
    }
    request_back_off(core, request, OST_DISCONNECTED);
}

static void request_send(struct client_core *core, struct request *request)
{
    request->state = REQUEST_SENT;
    request->sent_ns = core->now_ns;
    request->tries_count++;
    peer_send(core, request->peer, blob_ref(request->frame));
}

static struct blob *request_encode(struct client_core *core, struct request *request)
{
    switch (request->owner) {
    case OWNER_OPERATION:
        return operation_encode(core, request);
    case OWNER_READ:
        return scan_encode(core, request);
    case OWNER_TXN:
        return core_txn_encode(core, request);
    case OWNER_HOLD:
        return hold_encode(core, request);
    case OWNER_ORACLE:
    case OWNER_SNAPSHOTS:
        break;
    }
    Ostraka__TimestampRequest message = OSTRAKA__TIMESTAMP_REQUEST__INIT;
    message.count = 1;
    request->group = SHARD_MASTER_GROUP;
    return frame_encode(FRAME_TIMESTAMP, request->id, &message.base, NULL, 0);
}

static struct peer *request_choose_peer(struct client_core *core, struct request *request)
{
    store_id_t store = request->store;
    struct map_group *group = NULL;
    if (!store) {
        group = map_cache_group(&core->map, request->group);
        struct peer *replica =
            group && request->any_replica ? snapshot_choose_replica(core, group) : NULL;
        if (replica)
            return replica;
        if (group && RARE(CLIENT_WRONG_STORE))
            map_group_turn(group, map_group_candidate(group), 0);
        store = group ? map_group_candidate(group) : 0;
    }
    struct peer *peer = store ? peer_of_store(core, store) : NULL;
    if (peer && peer_wake(core, peer))
        return peer;
    if (group && store)
        map_group_turn(group, store, 0);
    return NULL;
}

void request_start(struct client_core *core, struct request *request)
{
    ASSERT(request->state == REQUEST_RESTING);
    if (!request->frame && core->map.map) {
        request->frame = request_encode(core, request);
        request->map_epoch = map_cache_epoch(&core->map);
    }
    struct peer *peer = request->frame ? request_choose_peer(core, request) : NULL;
    if (!peer) {
        if (!request->frame)
            map_want(core);
        request_back_off(core, request, request->frame ? OST_DISCONNECTED : OST_NOT_READY);
        return;
    }
    request->peer = peer;
    request->state = REQUEST_QUEUED;
    TAILQ_INSERT_TAIL(&peer->requests, request, link);
    if (peer->state == PEER_OPEN)
        request_send(core, request);
    uint32_t try_ms = RARE(CLIENT_TRY_SHORT) ? 1 : core->options.try_timeout_ms;
    nanoseconds_t until_ns = core->now_ns + try_ms * NS_PER_MS;
    timer_set(&core->timers, &request->timer,
              until_ns < request->give_up_ns ? until_ns : request->give_up_ns, request_timed_out);
}

void requests_peer_opened(struct client_core *core, struct peer *peer)
{
    struct request *request;
    TAILQ_FOREACH (request, &peer->requests, link) {
        if (request->state == REQUEST_QUEUED)
            request_send(core, request);
    }
}

/* Who asks a store about itself is told at once that it is not there. */
static bool is_about_peer(const struct request *request)
{
    return request->owner == OWNER_OPERATION && request->operation->type == OPERATION_STATUS;
}

void requests_peer_lost(struct client_core *core, struct peer *peer)
{
    struct request *request;
    while ((request = TAILQ_FIRST(&peer->requests))) {
        request->in_doubt = request->in_doubt || request->state == REQUEST_SENT;
        request->any_replica = false;
        request_turn(core, request, 0);
        if (peer->is_unreachable && is_about_peer(request)) {
            request->last_status = OST_DISCONNECTED;
            operation_explain(request->operation, "cannot connect to %.80s", peer->address);
            request_give_up(core, request);
        } else {
            request_back_off(core, request, OST_DISCONNECTED);
        }
    }
}

/* --- Answers -------------------------------------------------------------------------------------
 */

#define ANSWER_OF(frame_type, name, type)                                                          \
    case frame_type: {                                                                             \
        const Ostraka__##type *message = (const Ostraka__##type *)message_unpack(                  \
            &ostraka__##name##__descriptor, frame->message, arena);                                \
        if (!message)                                                                              \
            return false;                                                                          \
        out->message = &message->base;                                                             \
        out->header = message->header;

#define ANSWER_END                                                                                 \
    break;                                                                                         \
    }

static void entry_of_message(const Ostraka__LockEntry *entry, struct answer *out)
{
    if (entry)
        out->entry = (struct lock_entry_number){entry->term, entry->counter};
}

/* Group 0's answers have no header: what is in one stands beside the rest. `text` may be NULL. */
static Ostraka__AnswerHeader *header_new(struct arena *arena, int status, store_id_t leader_store,
                                         char *text)
{
    Ostraka__AnswerHeader *header = arena_alloc(arena, sizeof(*header));
    ostraka__answer_header__init(header);
    header->status = status;
    header->leader_store = leader_store;
    if (text)
        header->text = text;
    return header;
}

#define MASTER_ANSWER_OF(frame_type, name, type, why)                                              \
    case frame_type: {                                                                             \
        const Ostraka__##type *message = (const Ostraka__##type *)message_unpack(                  \
            &ostraka__##name##__descriptor, frame->message, arena);                                \
        if (!message)                                                                              \
            return false;                                                                          \
        out->message = &message->base;                                                             \
        out->header = header_new(arena, message->status, message->leader_store, why);              \
        break;                                                                                     \
    }

static bool answer_parse(const struct frame *frame, struct arena *arena, struct answer *out)
{
    *out = (struct answer){.payload = frame->payload};
    switch (frame->type) {
        ANSWER_OF(FRAME_GET_ANSWER, get_answer, GetAnswer)
        out->read_timestamp = message->read_timestamp;
        out->found = message->found;
        out->timestamp = message->version;
        ANSWER_END
        ANSWER_OF(FRAME_LOCK_ANSWER, lock_answer, LockAnswer)
        entry_of_message(message->entry, out);
        out->found = message->found;
        out->timestamp = message->version;
        ANSWER_END
        ANSWER_OF(FRAME_SCAN_ANSWER, scan_answer, ScanAnswer)
        entry_of_message(message->entry, out);
        out->rows_count = message->rows_count;
        out->more = message->more;
        out->read_timestamp = message->read_timestamp;
        ANSWER_END
        ANSWER_OF(FRAME_PREPARE_ANSWER, prepare_answer, PrepareAnswer)
        out->timestamp = message->commit_timestamp_min;
        ANSWER_END
        ANSWER_OF(FRAME_COMMIT_ANSWER, commit_answer, CommitAnswer)
        out->timestamp = message->commit_timestamp;
        ANSWER_END
        ANSWER_OF(FRAME_ABORT_ANSWER, abort_answer, AbortAnswer)
        out->timestamp = message->commit_timestamp;
        ANSWER_END
        ANSWER_OF(FRAME_VALIDATE_ANSWER, validate_answer, ValidateAnswer)
        ANSWER_END
    case FRAME_TIMESTAMP_ANSWER: {
        const Ostraka__TimestampAnswer *message = (const Ostraka__TimestampAnswer *)message_unpack(
            &ostraka__timestamp_answer__descriptor, frame->message, arena);
        if (!message)
            return false;
        Ostraka__AnswerHeader *header =
            header_new(arena, message->status, message->leader_store, NULL);
        if (message->status == OST_OK)
            out->timestamp = header->heard_timestamp = message->timestamp;
        out->message = &message->base;
        out->header = header;
        break;
    }
        MASTER_ANSWER_OF(FRAME_CHANGE_REPLICAS_ANSWER, change_replicas_answer, ChangeReplicasAnswer,
                         message->text)
        MASTER_ANSWER_OF(FRAME_CHANGE_RANGE_ANSWER, change_range_answer, ChangeRangeAnswer,
                         message->text)
        MASTER_ANSWER_OF(FRAME_CHANGE_STORE_ANSWER, change_store_answer, ChangeStoreAnswer,
                         message->text)
        MASTER_ANSWER_OF(FRAME_PROGRESS_ANSWER, progress_answer, ProgressAnswer, NULL)
        MASTER_ANSWER_OF(FRAME_HOLD_ANSWER, hold_answer, HoldAnswer, message->text)
    case FRAME_TXNS_ANSWER: {
        const Ostraka__TxnsAnswer *message = (const Ostraka__TxnsAnswer *)message_unpack(
            &ostraka__txns_answer__descriptor, frame->message, arena);
        if (!message)
            return false;
        out->message = &message->base;
        break;
    }
    case FRAME_STATUS_ANSWER: {
        const Ostraka__StatusAnswer *message = (const Ostraka__StatusAnswer *)message_unpack(
            &ostraka__status_answer__descriptor, frame->message, arena);
        if (!message)
            return false;
        out->message = &message->base;
        break;
    }
    default:
        return false;
    }
    out->status = out->header ? out->header->status : OST_OK;
    return true;
}

/* After which the same request is sent again: nothing was done, or the sender cannot know. */
static bool status_is_transient(int status)
{
    switch (status) {
    case OST_NOT_LEADER:
    case OST_NOT_READY:
    case OST_BUSY:
    case OST_DISCONNECTED:
    case OST_WOULD_BLOCK:
    case OST_LOG_FULL:
    case OST_CANCELED: /* another try of the same request took its place */
    case OST_RANGE_MOVED:
        return true;
    default:
        return false;
    }
}

static void request_refused_for_now(struct client_core *core, struct request *request,
                                    const struct answer *answer)
{
    int status = answer->status;
    free(request->last_text);
    request->last_text = NULL;
    if (status == OST_BUSY && answer->header->text && answer->header->text[0])
        request->last_text = memory_copy_string(answer->header->text);
    if (status == OST_CANCELED || status == OST_NOT_LEADER || status == OST_DISCONNECTED)
        request->in_doubt = true; /* a leader that fell says so of what it had proposed, too */
    /* What a replica cannot tell, the leader can. */
    bool was_any_replica = request->any_replica;
    request->any_replica = false;
    if (status == OST_RANGE_MOVED) {
        moved_answered(core, request, was_any_replica);
        return;
    }
    if (status != OST_NOT_LEADER && !was_any_replica) {
        request_back_off(core, request, status);
        return;
    }
    store_id_t hint = answer->header->leader_store;
    const struct peer *hinted = hint ? peer_of_store(core, hint) : NULL;
    bool follow = hinted && !hinted->is_silent && hint != request->peer->store;
    if (follow || !was_any_replica)
        request_turn(core, request, follow ? hint : 0);
    if ((follow || was_any_replica) && request->redirects_count < REDIRECTS_AT_ONCE_MAX) {
        request->redirects_count++;
        request_leave_peer(request);
        timer_stop(&core->timers, &request->timer);
        request_start(core, request);
        return;
    }
    request_back_off(core, request, status);
}

void request_answered(struct client_core *core, struct peer *peer, const struct frame *frame)
{
    struct request *request;
    HASH_FIND(hh, core->requests, &frame->request_id, sizeof(frame->request_id), request);
    if (!request)
        return; /* late: somebody else answered, or nobody waits any more */
    struct answer answer;
    if (frame->type != request->type + 1 || !answer_parse(frame, &core->arena, &answer)) {
        peer_lost(core, peer, true);
        return;
    }
    if (answer.header)
        core_heard(core, answer.header->heard_timestamp);
    if (status_is_transient(answer.status)) {
        /* Of an older try: the one under way has its own answer to come. */
        if (request->state == REQUEST_SENT && request->peer == peer)
            request_refused_for_now(core, request, &answer);
        return;
    }
    switch (request->owner) {
    case OWNER_OPERATION:
    case OWNER_READ:
        operation_answered(core, request, &answer);
        break;
    case OWNER_TXN:
        core_txn_answered(core, request, &answer);
        break;
    case OWNER_HOLD:
        hold_answered(core, request, &answer);
        break;
    case OWNER_ORACLE:
        core_time_answered(core, answer.status, answer.timestamp);
        core->oracle_request = NULL;
        request_free(core, request);
        if (core->map.map)
            operations_map_received(core, false);
        break;
    case OWNER_SNAPSHOTS:
        request_free(core, request);
        snapshot_question_answered(core, &answer);
        break;
    }
}
