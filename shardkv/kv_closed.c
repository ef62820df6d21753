/* kv_closed.c: reads as of a timestamp (T9): at the leader, and at every other replica by closed
 * timestamps. Neither takes a lock, and neither writes anything.
 *
 * What makes a read at timestamp t right: it shows every commit at or below t, and none can come
 * after it. At the leader, in this order:
 *   1. t is no later than what the oracle has given out (it is asked when t looks later), so that
 *      whoever asks it from now on gets more than t.
 *   2. t counts as served: every bound that is fixed here from now on is above it (T3).
 *   3. The leader is confirmed (R3). It led at a moment after 2, so a later leader is elected after
 *      that moment, and asks the oracle for its first bound later still: above t by 1. That is why
 *      what a leader has served need not survive it. And all that earlier leaders have committed,
 *      or left prepared, is applied here.
 *   4. The read waits for what is BOUND or PREPARED at or below t on what it reads (T4). What is
 *      bound above t commits above t.
 * Closing t is the same with all keys of the group for what is read; after 4 every commit of the
 * group at or below t, past and future, is among the entries applied so far. That is a fact about
 * the log, which no change of leader or replica undoes: "t is closed at that index". A replica that
 * has applied the index may answer reads at or below t by itself, for ever.
 */
#include "shardkv/kv_group.h"

#include "base/sometimes.h"

#include <stdio.h>

/* A replica's reads wait so long for a closed timestamp, and then are the leader's. */
#define CLOSED_WAIT_NS (500 * NS_PER_MS)
/* The question or its answer may be lost. */
#define CLOSE_RETRY_NS (250 * NS_PER_MS)
/* The leader need not wait longer than the asker does. */
#define CLOSE_WAIT_MS 250u

static void served(struct kv_group *group, timestamp_t timestamp)
{
    if (group->snapshot_served_timestamp < timestamp)
        group->snapshot_served_timestamp = timestamp;
}

/* --- Checks: each answers, and returns false, when the request does not pass -------------------
 */

/* False also when it must be awaited. */
static bool check_not_ahead(struct kv_request *request)
{
    struct kv_shared *shared = request->shared;
    if (request->timestamp <= raft_host_heard_timestamp(shared->environment.host))
        return true;
    if (request->is_clock_checked) {
        kv_answer_status(request, OST_INVALID_ARGUMENT, "timestamp lies in the future");
        return false;
    }
    COVER(SNAPSHOT_ASKED_CLOCK);
    kv_request_move(request, KV_REQUEST_CLOCK);
    oracle_client_wait(shared->oracle, &request->oracle_waiter);
    return false;
}

static bool check_safe_point(struct kv_request *request)
{
    timestamp_t safe_point = kv_group_safe_point(request->group);
    if (request->timestamp >= safe_point)
        return true;
    char text[128];
    snprintf(text, sizeof(text), "timestamp %lu lies below the safe point %lu", request->timestamp,
             safe_point);
    kv_answer_status(request, OST_SNAPSHOT_TOO_OLD, text);
    return false;
}

bool kv_closed_read_holds(struct kv_request *request)
{
    /* A replica's rows may have been replaced by a snapshot while they were read. */
    if (request->generation != request->group->meta.generation) {
        COVER(SNAPSHOT_UNDER_RESTORE);
        kv_answer_status(request, OST_NOT_READY, "the replica's rows were replaced meanwhile");
        return false;
    }
    if (!kv_request_check_target(request) || !check_safe_point(request))
        return false;
    struct metrics *metrics = request->shared->environment.metrics;
    metrics->snapshot_reads_count++;
    if (request->is_at_replica) {
        COVER(SNAPSHOT_AT_REPLICA);
        metrics->replica_reads_count++;
    }
    return true;
}

/* --- At a replica that does not lead -----------------------------------------------------------
 */

void kv_closed_forget(struct kv_request *request)
{
    if (!request->is_waiting)
        return;
    request->is_waiting = false;
    TAILQ_REMOVE(&request->group->closed.waiting, request, closed_link);
}

static void replica_read(struct kv_request *request)
{
    kv_closed_forget(request);
    if (!kv_request_check_target(request) || !check_safe_point(request))
        return;
    if (request->type == FRAME_GET)
        kv_read_value(request);
    else
        kv_read_rows(request);
}

/* One question for all that wait; who comes later waits for the next. */
static void close_ask(struct kv_group *group)
{
    struct kv_shared *shared = group->shared;
    struct kv_closed *closed = &group->closed;
    store_id_t leader = group->leadership.leader_store;
    if (closed->asked != 0 || closed->coming != 0 || TAILQ_EMPTY(&closed->waiting) || leader == 0)
        return;
    bool is_lowest = RARE(TIMESTAMP_CLOSED_ALONE);
    timestamp_t wanted = TAILQ_FIRST(&closed->waiting)->timestamp;
    const struct kv_request *request;
    TAILQ_FOREACH (request, &closed->waiting, closed_link) {
        if (is_lowest ? request->timestamp < wanted : request->timestamp > wanted)
            wanted = request->timestamp;
    }
    closed->asked = wanted;
    closed->asked_ns = shared->now_ns;
    Ostraka__CloseTimestamp message = OSTRAKA__CLOSE_TIMESTAMP__INIT;
    message.group = group->id;
    message.timestamp = wanted;
    message.store = shared->environment.store_id;
    outbox_to_store(shared->environment.outbox, leader, CHANNEL_CONTROL,
                    frame_encode(FRAME_CLOSE_TIMESTAMP, 0, &message.base, NULL, 0));
}

static void replica_read_begin(struct kv_request *request)
{
    struct kv_group *group = request->group;
    struct kv_closed *closed = &group->closed;
    kv_request_move(request, KV_REQUEST_CLOSED);
    if (request->timestamp <= closed->timestamp) {
        replica_read(request);
        return;
    }
    request->closed_by_ns = request->shared->now_ns + CLOSED_WAIT_NS;
    request->is_waiting = true;
    TAILQ_INSERT_TAIL(&closed->waiting, request, closed_link);
    close_ask(group);
}

void kv_closed_read_begin(struct kv_request *request)
{
    if (!check_not_ahead(request))
        return;
    if (request->is_at_replica) {
        replica_read_begin(request);
        return;
    }
    if (!check_safe_point(request))
        return;
    served(request->group, request->timestamp);
    kv_request_confirm(request);
}

static void waiting_refuse(struct kv_group *group, const char *text)
{
    struct kv_request *request;
    while ((request = TAILQ_FIRST(&group->closed.waiting)) != NULL)
        kv_answer_status(request, OST_NOT_READY, text);
}

void kv_closed_applied(struct kv_group *group)
{
    struct kv_closed *closed = &group->closed;
    if (closed->coming == 0 || group->meta.applied_index < closed->coming_index)
        return;
    if (closed->timestamp < closed->coming)
        closed->timestamp = closed->coming;
    closed->coming = 0;
    struct kv_request *request = TAILQ_FIRST(&closed->waiting);
    while (request) {
        struct kv_request *next = TAILQ_NEXT(request, closed_link);
        if (request->timestamp <= closed->timestamp)
            replica_read(request);
        request = next;
    }
    close_ask(group);
}

/* True whenever it comes, so a late one is as good. */
void kv_closed_answered(struct kv_group *group, const Ostraka__CloseTimestampAnswer *answer)
{
    struct kv_closed *closed = &group->closed;
    if (answer->timestamp >= closed->asked)
        closed->asked = 0;
    if (answer->timestamp > closed->timestamp && answer->timestamp > closed->coming) {
        closed->coming = answer->timestamp;
        closed->coming_index = answer->index;
        if (group->meta.applied_index < answer->index)
            COVER(CLOSED_BEFORE_APPLIED);
        kv_closed_applied(group);
    }
    close_ask(group);
}

void kv_closed_leadership_changed(struct kv_group *group)
{
    group->closed.asked = 0;
    if (group->leadership.role == RAFT_LEADER)
        waiting_refuse(group, "the replica has become the leader");
    else
        close_ask(group);
}

void kv_closed_timer(struct kv_group *group)
{
    struct kv_closed *closed = &group->closed;
    nanoseconds_t now_ns = group->shared->now_ns;
    struct kv_request *request;
    while ((request = TAILQ_FIRST(&closed->waiting)) != NULL && request->closed_by_ns <= now_ns) {
        COVER(CLOSED_SILENCE);
        kv_answer_status(request, OST_NOT_READY, "the leader has not closed the timestamp");
    }
    if (closed->asked != 0 && closed->asked_ns + CLOSE_RETRY_NS <= now_ns) {
        closed->asked = 0;
        close_ask(group);
    }
}

nanoseconds_t kv_closed_deadline_ns(const struct kv_group *group)
{
    const struct kv_closed *closed = &group->closed;
    if (TAILQ_EMPTY(&closed->waiting))
        return NS_NEVER;
    nanoseconds_t deadline_ns = TAILQ_FIRST(&closed->waiting)->closed_by_ns;
    if (closed->asked != 0 && closed->asked_ns + CLOSE_RETRY_NS < deadline_ns)
        deadline_ns = closed->asked_ns + CLOSE_RETRY_NS;
    return deadline_ns;
}

/* --- At the leader: closing --------------------------------------------------------------------
 */

void kv_closed_asked(struct kv_group *group, const struct frame *frame,
                     const Ostraka__CloseTimestamp *message)
{
    if (!group->is_leading || message->timestamp == 0)
        return;
    struct kv_request *request =
        kv_peer_request_new(group, frame, &ostraka__close_timestamp__descriptor);
    request->timestamp = message->timestamp;
    /* The asker has heard the oracle name it. */
    raft_host_heard(request->shared->environment.host, message->timestamp);
    served(group, message->timestamp);
    kv_request_confirm(request);
}

void kv_closed_confirmed(struct kv_request *request)
{
    struct participant_event event = {
        .type = PARTICIPANT_EV_READ_AT,
        .target = {.is_interval = true}, /* all keys */
        .timestamp = request->timestamp,
        .wait_ms_max = CLOSE_WAIT_MS,
    };
    struct kv_shared *shared = request->shared;
    uint64_t token = request->token;
    kv_request_step(request, &event);
    if (kv_request_find(shared, token))
        COVER(CLOSE_WAITED);
}

void kv_closed_granted(struct kv_request *request)
{
    const Ostraka__CloseTimestamp *message = (const Ostraka__CloseTimestamp *)request->message;
    struct kv_shared *shared = request->shared;
    Ostraka__CloseTimestampAnswer answer = OSTRAKA__CLOSE_TIMESTAMP_ANSWER__INIT;
    answer.group = request->group->id;
    answer.timestamp = request->timestamp;
    answer.index = request->group->meta.applied_index;
    shared->environment.metrics->timestamps_closed_count++;
    if (!RARE(PEER_ANSWER_LOST))
        outbox_to_store(
            shared->environment.outbox, message->store, CHANNEL_CONTROL,
            frame_encode(FRAME_CLOSE_TIMESTAMP_ANSWER, request->request_id, &answer.base, NULL, 0));
    kv_request_free(request);
}
