/* kv_commit.c: the requests with which a client commits: Prepare, Commit, Abort, Validate, and the
 * heartbeats meanwhile. What they decide is decided when their entries are applied (record.h); here
 * is what comes before: what the state answers already, the locks, the bound, the proposal.
 *
 * A Prepare waits for its locks, then for the check of what was read (kv_check.c), then for the
 * oracle's answer, from which its bound is made. No commit of it is below that bound (T3).
 *
 * Why the bound is high enough. It lies above the oracle's answer, above what snapshots have read
 * here, above every version here; and above the safe point, so that a read that goes on while it
 * moves can tell (kv_scan.c). What snapshots have read at an earlier leader needs no thought
 * (kv_closed.c, 3).
 *
 * Why it is not too high. A commit may be acknowledged as soon as its bounds are agreed on, and a
 * snapshot that is opened after that must show it: so no bound may be more than one above all that
 * the oracle has given out. What snapshots have served it has given out, and so it has whatever
 * this store has heard of. But the answer may be below what was committed here meanwhile, at a
 * bound that was itself one above; going on from there, one such step after another, group by
 * group, would leave the oracle behind. So where what was committed is above all that was heard,
 * the oracle is asked again, and is ahead of that. (That is rare: a group's replica hears the time
 * with each batch that it gets.)
 */
#include "shardkv/kv_group.h"

#include "base/sometimes.h"

#include <stdio.h>

#define PREPARE_TIMESTAMPS_REFUSED_MAX 8u

/* --- Prepare ------------------------------------------------------------------------------------
 */

/* The range that holds the key, if the request names it. */
static const struct kv_range *range_named_of_key(const struct kv_request *request,
                                                 const Ostraka__PrepareRequest *message,
                                                 struct bytes key)
{
    for (size_t index = 0; index < message->n_ranges; index++) {
        const struct kv_range *range =
            kv_ranges_named(&request->group->ranges, message->ranges[index]);
        if (range && kv_range_holds(range, key))
            return range;
    }
    return NULL;
}

/* Every range that is named stands, and every written key, and home's anchor, lies in one of them.
 */
static bool check_prepare_ranges(struct kv_request *request, const Ostraka__PrepareRequest *message)
{
    /* Naming one twice says nothing, and a million times would hold up the loop. */
    bool holds = message->n_ranges > 0 && message->n_ranges <= request->group->ranges.count;
    for (size_t index = 0; holds && index < message->n_ranges; index++)
        holds = kv_ranges_named(&request->group->ranges, message->ranges[index]) != NULL;
    if (holds && (message->is_home || message->one_group))
        holds = range_named_of_key(request, message, bytes_of_field(message->anchor)) != NULL;
    /* Keys come in order, so each range is looked for once. */
    const struct kv_range *range = NULL;
    struct reader reader = reader_of(blob_bytes(request->write_set));
    struct write write;
    while (holds && write_set_next(&reader, &write) == OST_OK) {
        if (!range || !kv_range_holds(range, write.key))
            range = range_named_of_key(request, message, write.key);
        holds = range != NULL;
    }
    if (!holds)
        kv_answer_status(request, OST_RANGE_MOVED, NULL);
    return holds;
}

static bool check_write_set(struct kv_request *request, const Ostraka__PrepareRequest *message)
{
    uint32_t writes_count = 0;
    char limit_why[LIMIT_WHY_BYTES];
    const char *why = limit_why;
    int status = write_set_check(blob_bytes(request->write_set), &writes_count, limit_why);
    if (status == OST_OK && writes_count == 0 && (message->is_home || message->one_group)) {
        status = OST_INVALID_ARGUMENT;
        why = "write set is empty at the transaction's home";
    }
    /* It travels as an entry's message, and an entry's participants as a frame's. */
    if (status == OST_OK && message->n_participants > TXN_OPERATIONS_COUNT_MAX) {
        status = OST_TOO_LARGE;
        snprintf(limit_why, sizeof(limit_why),
                 "transaction has %zu participants: the limit is 100,000", message->n_participants);
    }
    if (status != OST_OK)
        kv_answer_status(request, status == OST_PROTOCOL ? OST_INVALID_ARGUMENT : status, why);
    return status == OST_OK;
}

/* T5, T6: what the state knows already answers a duplicate. True: it did. */
static bool prepare_answer_known(struct kv_request *request, const Ostraka__PrepareRequest *message)
{
    struct kv_group *group = request->group;
    struct record_decision decision;
    if (txn_records_lookup(group->records, request->txn, bytes_of_field(message->anchor),
                           group->meta.log_timestamp, &decision) != OST_OK)
        return false;
    const struct txn_open *open = txn_records_find(group->records, request->txn);
    recovery_heard(group->recovery, request->txn, request->shared->now_ns);
    bool is_same_form =
        !open || (!message->one_group &&
                  txn_open_is_of_form(open, message->is_home, bytes_of_field(message->anchor)));
    if (!is_same_form)
        kv_answer_status(request, OST_INVALID_ARGUMENT, "the transaction is open in another form");
    else
        kv_answer_timestamp(request, decision.status, decision.commit_timestamp);
    return true;
}

/* A retry of one that is still on its way takes its place, and the answer that it will get. True:
 * so. */
static bool prepare_join(struct kv_request *request)
{
    struct kv_request *first;
    HASH_FIND(by_txn, request->group->prepares_by_txn, &request->txn, sizeof(request->txn), first);
    if (!first)
        return false;
    if (!bytes_equal(blob_bytes(first->write_set), blob_bytes(request->write_set)) ||
        !kv_checks_are_equal((const Ostraka__PrepareRequest *)first->message,
                             (const Ostraka__PrepareRequest *)request->message)) {
        kv_answer_status(request, OST_INVALID_ARGUMENT,
                         "the same id came with other writes or reads");
        return true;
    }
    /* The first one goes on under the new one's address; whoever asked first is told to forget it.
     */
    COVER(PREPARE_JOINED);
    uint64_t connection_id = first->connection_id;
    uint64_t request_id = first->request_id;
    bool is_orphan = first->is_orphan;
    first->connection_id = request->connection_id;
    first->request_id = request->request_id;
    first->is_orphan = false;
    request->connection_id = connection_id;
    request->request_id = request_id;
    request->is_orphan = is_orphan;
    kv_answer_status(request, OST_CANCELED, "asked again");
    return true;
}

void kv_prepare_begin(struct kv_request *request)
{
    struct kv_group *group = request->group;
    const Ostraka__PrepareRequest *message = (const Ostraka__PrepareRequest *)request->message;
    struct bytes anchor = bytes_of_field(message->anchor);
    request->txn = txn_id_of_message(message->txn);
    if (!kv_request_check_txn(request) || !kv_request_check_key(request, anchor) ||
        !check_write_set(request, message))
        return;
    /* Before the ranges and the deadline: an outcome is an outcome. */
    if (prepare_answer_known(request, message) || prepare_join(request))
        return;
    if (!kv_request_check_load(request) || !check_prepare_ranges(request, message) ||
        !kv_check_passes(request) || !kv_request_check_deadline(request, message->deadline))
        return;
    HASH_ADD(by_txn, group->prepares_by_txn, txn, sizeof(request->txn), request);
    request->is_prepare_known = true;
    struct participant_event event = {
        .type = PARTICIPANT_EV_PREPARE,
        .age = txn_age_of_message(message->age),
        .entry = kv_entry_of_message(message->entry),
        .wait_ms_max = message->wait_ms_max,
        .write_set = blob_bytes(request->write_set),
        .anchor = anchor,
        .deadline = message->deadline,
    };
    event.shared_locks = kv_check_targets(request, &event.shared_locks_count);
    kv_request_step(request, &event);
}

static timestamp_t commit_timestamp_newest(const struct kv_group *group)
{
    timestamp_t newest = group->meta.commit_timestamp_max;
    if (group->slice.is_built && newest < group->slice.meta.commit_timestamp_max)
        newest = group->slice.meta.commit_timestamp_max;
    return newest;
}

static timestamp_t prepare_bound(const struct kv_group *group, timestamp_t timestamp)
{
    timestamp_t bound = timestamp;
    timestamp_t newest = commit_timestamp_newest(group);
    if (bound <= newest)
        bound = newest + 1;
    timestamp_t safe_point = kv_group_safe_point(group);
    if (bound <= safe_point)
        bound = safe_point + 1;
    if (bound <= group->snapshot_served_timestamp)
        bound = group->snapshot_served_timestamp + 1;
    return bound;
}

/* Not for ever: a client may have committed far ahead of the oracle's time, which harms its own
 * readers alone. */
static bool prepare_asks_again(struct kv_request *request)
{
    timestamp_t heard = raft_host_heard_timestamp(request->shared->environment.host);
    if (commit_timestamp_newest(request->group) <= heard ||
        ++request->timestamps_refused_count > PREPARE_TIMESTAMPS_REFUSED_MAX)
        return false;
    COVER(PREPARE_TIMESTAMP_OLD);
    oracle_client_wait(request->shared->oracle, &request->oracle_waiter);
    return true;
}

void kv_prepare_timestamp(struct kv_request *request, timestamp_t timestamp)
{
    if (prepare_asks_again(request))
        return;
    kv_request_move(request, KV_REQUEST_LOCKS);
    struct participant_event event = {
        .type = PARTICIPANT_EV_TIMESTAMP,
        .token = request->token,
        .txn = request->txn,
        .timestamp = prepare_bound(request->group, timestamp),
    };
    kv_group_step(request->group, &event);
}

static void prepare_propose_one(struct kv_request *request, timestamp_t bound)
{
    const Ostraka__PrepareRequest *message = (const Ostraka__PrepareRequest *)request->message;
    Ostraka__CommitOneCommand one = OSTRAKA__COMMIT_ONE_COMMAND__INIT;
    one.txn = message->txn;
    one.n_ranges = message->n_ranges;
    one.ranges = message->ranges;
    one.deadline = message->deadline;
    one.anchor = message->anchor;
    one.commit_timestamp = bound;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_COMMIT_ONE;
    command.commit_one = &one;
    kv_request_propose(request, &command, blob_bytes(request->write_set));
}

static void prepare_propose(struct kv_request *request, const struct participant_ready *ready)
{
    const Ostraka__PrepareRequest *message = (const Ostraka__PrepareRequest *)request->message;
    uint32_t locks_count = ready->shared_locks_count;
    Ostraka__LockInterval *intervals =
        arena_alloc(&request->arena, locks_count * sizeof(intervals[0]));
    Ostraka__LockInterval **pointers =
        arena_alloc(&request->arena, locks_count * sizeof(pointers[0]));
    for (uint32_t index = 0; index < locks_count; index++) {
        ostraka__lock_interval__init(&intervals[index]);
        intervals[index].start = field_of_bytes(ready->shared_locks[index].start);
        intervals[index].end = field_of_bytes(ready->shared_locks[index].end);
        intervals[index].is_key = !ready->shared_locks[index].is_interval;
        pointers[index] = &intervals[index];
    }
    Ostraka__PreparedCommand prepared = OSTRAKA__PREPARED_COMMAND__INIT;
    prepared.txn = message->txn;
    prepared.age = message->age;
    prepared.n_ranges = message->n_ranges;
    prepared.ranges = message->ranges;
    prepared.deadline = message->deadline;
    prepared.anchor = message->anchor;
    prepared.is_home = message->is_home;
    prepared.n_participants = message->n_participants;
    prepared.participants = message->participants;
    prepared.commit_timestamp_min = ready->bound;
    prepared.n_shared_locks = locks_count;
    prepared.shared_locks = pointers;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_PREPARED;
    command.prepared = &prepared;
    kv_request_propose(request, &command, blob_bytes(request->write_set));
}

void kv_request_ready(struct kv_request *request, const struct participant_ready *ready)
{
    ASSERT(request->type == FRAME_PREPARE && request->state == KV_REQUEST_LOCKS);
    const Ostraka__PrepareRequest *message = (const Ostraka__PrepareRequest *)request->message;
    if (ready->bound == 0) {
        if (message->n_checks > 0)
            kv_check_due(request);
        else
            kv_request_checked(request);
    } else if (message->one_group) {
        prepare_propose_one(request, ready->bound);
    } else {
        prepare_propose(request, ready);
    }
}

/* --- Validate -----------------------------------------------------------------------------------
 */

void kv_validate_begin(struct kv_request *request)
{
    const Ostraka__ValidateRequest *message = (const Ostraka__ValidateRequest *)request->message;
    request->txn = txn_id_of_message(message->txn);
    if (kv_request_check_txn(request))
        kv_request_confirm(request);
}

void kv_validate_confirmed(struct kv_request *request)
{
    if (!kv_check_passes(request))
        return;
    request->ranges_ended_seen = request->group->ranges_ended_count;
    kv_request_move(request, KV_REQUEST_LOCKS);
    const Ostraka__ValidateRequest *message = (const Ostraka__ValidateRequest *)request->message;
    if (message->n_checks > 0)
        kv_check_wait(request);
    else
        kv_request_checked(request);
}

void kv_validate_granted(struct kv_request *request)
{
    if (request->is_checked) {
        kv_answer_status(request, OST_OK, NULL);
        return;
    }
    request->check_place++;
    kv_check_wait(request);
}

/* Of a Prepare as well. */
void kv_request_checked(struct kv_request *request)
{
    if (request->type == FRAME_PREPARE) {
        kv_request_move(request, KV_REQUEST_TIMESTAMP);
        oracle_client_wait(request->shared->oracle, &request->oracle_waiter);
        return;
    }
    const Ostraka__ValidateRequest *message = (const Ostraka__ValidateRequest *)request->message;
    struct participant_event event = {
        .type = PARTICIPANT_EV_VALIDATE,
        .token = request->token,
        .txn = request->txn,
        .entry = kv_entry_of_message(message->entry),
    };
    request->is_checked = true;
    /* Without an entry it has no locks to ask about. */
    if (event.entry.term != 0 || message->n_checks == 0)
        kv_group_step(request->group, &event);
    else
        kv_answer_status(request, OST_OK, NULL);
}

/* --- Commit, abort, heartbeat -------------------------------------------------------------------
 */

void kv_commit_begin(struct kv_request *request)
{
    struct kv_group *group = request->group;
    const Ostraka__CommitRequest *message = (const Ostraka__CommitRequest *)request->message;
    struct bytes anchor = bytes_of_field(message->anchor);
    request->txn = txn_id_of_message(message->txn);
    if (!kv_request_check_txn(request) || !kv_request_check_key(request, anchor) ||
        !kv_request_check_range_of_anchor(request, message->range, anchor))
        return;
    /* Only what is decided may be answered from here: what is not known may be in the log. */
    struct record_decision decision;
    if (txn_records_lookup(group->records, request->txn, anchor, group->meta.log_timestamp,
                           &decision) == OST_OK &&
        decision.state != OSTRAKA__TXN_STATE__PENDING) {
        kv_answer_timestamp(request, decision.status, decision.commit_timestamp);
        return;
    }
    /* A vote may be ahead of what this store has heard: the log's time must be near the oracle's
     * before it judges that (record.c). */
    if (!kv_request_check_ahead(request, message->commit_timestamp, COMMIT_AHEAD_MS,
                                "commit timestamp is too far ahead"))
        return;
    Ostraka__CommitCommand commit = OSTRAKA__COMMIT_COMMAND__INIT;
    commit.txn = message->txn;
    commit.anchor = message->anchor;
    commit.commit_timestamp = message->commit_timestamp;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_COMMIT;
    command.commit = &commit;
    kv_request_propose(request, &command, bytes_of(NULL, 0));
}

/* Nothing was prepared under this entry, or will be: its locks go. */
static void release_begin(struct kv_request *request, struct lock_entry_number entry)
{
    struct participant_event event = {.type = PARTICIPANT_EV_RELEASE, .entry = entry};
    kv_request_step(request, &event);
}

void kv_abort_begin(struct kv_request *request)
{
    struct kv_group *group = request->group;
    const Ostraka__AbortRequest *message = (const Ostraka__AbortRequest *)request->message;
    struct bytes anchor = bytes_of_field(message->anchor);
    request->txn = txn_id_of_message(message->txn);
    if (!kv_request_check_txn(request))
        return;
    if (anchor.bytes_count == 0) {
        release_begin(request, kv_entry_of_message(message->entry));
        return;
    }
    if (!kv_request_check_key(request, anchor) ||
        !kv_request_check_range_of_anchor(request, message->range, anchor))
        return;
    if (message->n_participants > TXN_OPERATIONS_COUNT_MAX) {
        kv_answer_status(request, OST_TOO_LARGE,
                         "transaction has too many participants: the limit is 100,000");
        return;
    }
    struct record_decision decision;
    if (txn_records_lookup(group->records, request->txn, anchor, group->meta.log_timestamp,
                           &decision) == OST_OK &&
        decision.state != OSTRAKA__TXN_STATE__PENDING) {
        bool committed = decision.state == OSTRAKA__TXN_STATE__COMMITTED;
        kv_answer_timestamp(request, committed ? OST_EXISTS : OST_OK, decision.commit_timestamp);
        return;
    }
    if (!kv_request_check_deadline(request, message->deadline))
        return;
    Ostraka__AbortCommand abort = OSTRAKA__ABORT_COMMAND__INIT;
    abort.txn = message->txn;
    abort.anchor = message->anchor;
    abort.deadline = message->deadline;
    abort.participants = message->participants;
    abort.n_participants = message->n_participants;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_ABORT;
    command.abort = &abort;
    /* Locks of a part that never voted need not wait for the log. */
    struct participant_event event = {
        .type = PARTICIPANT_EV_RELEASE,
        .txn = request->txn,
        .entry = kv_entry_of_message(message->entry),
    };
    kv_request_propose(request, &command, bytes_of(NULL, 0));
    kv_group_step(group, &event);
}

void kv_heartbeat_begin(struct kv_request *request)
{
    const Ostraka__TxnHeartbeat *message = (const Ostraka__TxnHeartbeat *)request->message;
    request->txn = txn_id_of_message(message->txn);
    if (!kv_request_check_txn(request))
        return;
    struct lock_entry_number entry = kv_entry_of_message(message->entry);
    /* What is prepared is held by the log, whatever became of the entry that took its locks; and
     * who has none cannot lose them. */
    bool is_prepared = txn_records_find(request->group->records, request->txn) != NULL;
    if (is_prepared)
        recovery_heard(request->group->recovery, request->txn, request->shared->now_ns);
    if (is_prepared || entry.term == 0) {
        kv_answer_status(request, OST_OK, NULL);
        return;
    }
    struct participant_event event = {.type = PARTICIPANT_EV_HEARTBEAT, .entry = entry};
    kv_request_step(request, &event);
}
