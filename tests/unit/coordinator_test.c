/* The life of a transaction as its client sees it, step by step; two groups: keys below "m" are in
 * group 1, the others in group 2, unless a test moves them. */
#include "proto/frame.h"
#include "txn/coordinator.h"
#include "txn/record.h"

#include <criterion/criterion.h>

static group_id_t groups[2];
static uint64_t epochs[2];
static bool is_low_split; /* at "g" */
static struct coordinator *coordinator;
static struct coordinator_update update;
static struct arena arena;

static bool route(void *context, struct bytes key, struct coordinator_route *out)
{
    (void)context;
    bool high = bytes_compare(key, bytes_of_string("m")) >= 0;
    *out = (struct coordinator_route){
        .group = groups[high],
        .range_start = high ? bytes_of_string("m") : bytes_of(NULL, 0),
        .range_end = high ? bytes_of(NULL, 0) : bytes_of_string("m"),
        .epoch = epochs[high],
    };
    if (!high && is_low_split) {
        bool second = bytes_compare(key, bytes_of_string("g")) >= 0;
        out->range_start = bytes_of_string(second ? "g" : "");
        out->range_end = bytes_of_string(second ? "m" : "g");
    }
    return true;
}

static void setup(void)
{
    groups[0] = 1;
    groups[1] = 2;
    epochs[0] = epochs[1] = 5;
    is_low_split = false;
    arena_init(&arena);
    coordinator_update_init(&update);
    coordinator = coordinator_new(route, NULL);
    struct txn_age age = {.timestamp = 100, .client = 7, .sequence = 1};
    coordinator_identify(coordinator, (struct txn_id){7, 1}, &age);
}

static void teardown(void)
{
    coordinator_free(coordinator);
    coordinator_update_fini(&update);
    arena_fini(&arena);
}

TestSuite(coordinator, .init = setup, .fini = teardown);

static void step(struct coordinator_event event)
{
    coordinator_update_reset(&update);
    coordinator_step(coordinator, &event, &update);
}

static void put(const char *key, const char *value)
{
    const char *why = NULL;
    struct write write = {WRITE_PUT, bytes_of_string(key), bytes_of_string(value)};
    cr_assert_eq(coordinator_write(coordinator, &write, &why), OST_OK);
}

static void locked(group_id_t group, const char *key, uint64_t counter)
{
    step((struct coordinator_event){.type = COORDINATOR_EV_READ_ANSWERED,
                                    .group = group,
                                    .key = bytes_of_string(key),
                                    .entry = {3, counter},
                                    .now_ns = NS_PER_S});
}

static void commit(void)
{
    step((struct coordinator_event){.type = COORDINATOR_EV_COMMIT_ASKED, .deadline = 5000});
}

static void answer(uint32_t slot, int status, timestamp_t timestamp, bool in_doubt)
{
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = status;
    step((struct coordinator_event){.type = COORDINATOR_EV_ANSWERED,
                                    .slot = slot,
                                    .header = &header,
                                    .timestamp = timestamp,
                                    .in_doubt = in_doubt});
}

static void gave_up(uint32_t slot)
{
    step((struct coordinator_event){.type = COORDINATOR_EV_GAVE_UP, .slot = slot});
}

/* What slot `slot` sends now, unpacked. */
static ProtobufCMessage *sent(uint32_t slot, uint16_t type, struct bytes *out_payload)
{
    group_id_t group = 0;
    struct blob *blob = coordinator_encode(coordinator, slot, 9, &group);
    cr_assert(blob != NULL);
    struct frame frame = frame_of_blob(blob);
    cr_assert_eq(frame.type, type);
    struct bytes payload = arena_copy(&arena, frame.payload);
    if (out_payload)
        *out_payload = payload;
    const ProtobufCMessageDescriptor *descriptor =
        type == FRAME_PREPARE  ? &ostraka__prepare_request__descriptor
        : type == FRAME_COMMIT ? &ostraka__commit_request__descriptor
        : type == FRAME_ABORT  ? &ostraka__abort_request__descriptor
                               : &ostraka__validate_request__descriptor;
    ProtobufCMessage *message =
        message_unpack(descriptor, arena_copy(&arena, frame.message), &arena);
    blob_unref(blob);
    return message;
}

static bool sends(uint32_t slot)
{
    for (uint32_t index = 0; index < update.send_count; index++) {
        if (update.send[index] == slot)
            return true;
    }
    return false;
}

static bool is_text(ProtobufCBinaryData data, const char *text)
{
    return bytes_equal(bytes_of(data.data, data.len), bytes_of_string(text));
}

static enum coordinator_state state(void)
{
    return coordinator_state(coordinator);
}

Test(coordinator, one_group_commits_with_one_request)
{
    put("b", "2");
    put("a", "1");
    commit();
    cr_assert_eq(update.send_count, 1);
    struct bytes payload;
    Ostraka__PrepareRequest *request = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, &payload);
    cr_assert(request->one_group && request->is_home);
    cr_assert(is_text(request->anchor, "b"), "the anchor is the first written, not the lowest key");
    cr_assert_eq(request->deadline, 5000);
    cr_assert_eq(request->n_ranges, 1);
    cr_assert_eq(request->ranges[0]->epoch, 5);
    struct reader reader = reader_of(payload);
    struct write write;
    cr_assert_eq(write_set_next(&reader, &write), OST_OK);
    cr_assert(bytes_equal(write.key, bytes_of_string("a")), "the write set is in key order");
    answer(0, OST_OK, 777, false);
    cr_assert(update.finished && state() == COORDINATOR_COMMITTED);
    cr_assert_eq(coordinator_commit_timestamp(coordinator), 777);
    cr_assert(coordinator_is_done(coordinator));
}

Test(coordinator, several_groups_vote_then_home_commits_at_the_highest_bound)
{
    locked(1, "c", 11);
    put("z", "1");
    commit();
    cr_assert_eq(update.send_count, 2);
    Ostraka__PrepareRequest *reader = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
    Ostraka__PrepareRequest *home = (Ostraka__PrepareRequest *)sent(1, FRAME_PREPARE, NULL);
    cr_assert(!reader->is_home && !reader->one_group && reader->entry->counter == 11);
    cr_assert(reader->n_participants == 0 && is_text(reader->anchor, "z"));
    cr_assert(home->is_home && home->n_participants == 1 &&
              is_text(home->participants[0]->key, "c"));
    answer(0, OST_OK, 900, false);
    cr_assert(!(update.finished) && update.send_count == 0);
    answer(1, OST_OK, 800, false);
    cr_assert(state() == COORDINATOR_COMMITTING && sends(1));
    Ostraka__CommitRequest *request = (Ostraka__CommitRequest *)sent(1, FRAME_COMMIT, NULL);
    cr_assert_eq(request->commit_timestamp, 900);
    cr_assert(is_text(request->anchor, "z"));
    answer(1, OST_OK, 900, false);
    cr_assert(update.finished && state() == COORDINATOR_COMMITTED);
    cr_assert_eq(coordinator_groups_count(coordinator), 2);
}

Test(coordinator, refused_vote_aborts_at_home_and_releases_the_others)
{
    locked(2, "y", 4);
    put("a", "1");
    put("z", "1");
    commit();
    answer(0, OST_WOUNDED, 0, false); /* slot 0 is group 2, which came first by its lock */
    cr_assert(update.finished && state() == COORDINATOR_ABORTED);
    cr_assert_eq(coordinator_status(coordinator), OST_WOUNDED);
    cr_assert(sends(1) && !coordinator_is_done(coordinator));
    Ostraka__AbortRequest *abort = (Ostraka__AbortRequest *)sent(1, FRAME_ABORT, NULL);
    cr_assert(is_text(abort->anchor, "a"), "home gets the anchor: a tombstone decides");
    answer(1, OST_OK, 0, false);
    cr_assert(coordinator_is_done(coordinator));
}

Test(coordinator, refusal_at_home_releases_who_only_reads)
{
    locked(1, "c", 11);
    put("z", "1");
    commit();
    answer(1, OST_LOCK_TIMEOUT, 0, false);
    cr_assert(sends(0) && sends(1));
    Ostraka__AbortRequest *release = (Ostraka__AbortRequest *)sent(0, FRAME_ABORT, NULL);
    cr_assert(release->anchor.len == 0 && release->entry->counter == 11);
    gave_up(0);
    gave_up(1);
    cr_assert(coordinator_is_done(coordinator) && state() == COORDINATOR_ABORTED);
}

Test(coordinator, unanswered_one_group_is_unknown_until_asked_again)
{
    put("a", "1");
    commit();
    Ostraka__PrepareRequest *first = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
    gave_up(0);
    cr_assert(update.finished && state() == COORDINATOR_UNKNOWN);
    cr_assert_eq(coordinator_status(coordinator), OST_MAYBE_COMMITTED);
    step((struct coordinator_event){.type = COORDINATOR_EV_COMMIT_ASKED, .deadline = 99999});
    cr_assert(sends(0) && !update.finished);
    Ostraka__PrepareRequest *again = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
    cr_assert(first->deadline == again->deadline && first->txn->sequence == again->txn->sequence,
              "T5: id, form, anchor and deadline stay");
    answer(0, OST_OK, 70, true);
    cr_assert(state() == COORDINATOR_COMMITTED);
}

Test(coordinator, asked_again_after_the_deadline_learns_that_nothing_happened)
{
    put("a", "1");
    commit();
    gave_up(0);
    commit();
    answer(0, OST_DEADLINE_EXCEEDED, 0, false);
    cr_assert(!update.finished && state() == COORDINATOR_SETTLING && sends(0),
              "a leader that has fallen may say so too: home's log decides");
    answer(0, OST_OK, 0, false);
    cr_assert(update.finished && state() == COORDINATOR_ABORTED);
    cr_assert_eq(coordinator_status(coordinator), OST_DEADLINE_EXCEEDED);
}

Test(coordinator, asked_again_when_home_may_have_forgotten_stays_unknown)
{
    put("a", "1");
    commit();
    gave_up(0);
    timestamp_t kept = 5000 + timestamp_from_ms(OUTCOME_KEPT_MS);
    step((struct coordinator_event){.type = COORDINATOR_EV_COMMIT_ASKED, .deadline = kept + 1});
    cr_assert(update.finished && state() == COORDINATOR_UNKNOWN && !sends(0),
              "home would not know a commit any more");
    cr_assert_eq(coordinator_status(coordinator), OST_MAYBE_COMMITTED);
    step((struct coordinator_event){.type = COORDINATOR_EV_COMMIT_ASKED, .deadline = kept});
    cr_assert(!update.finished && state() == COORDINATOR_PREPARING && sends(0));
}

Test(coordinator, refusal_with_an_earlier_try_in_doubt_is_settled_at_home)
{
    put("a", "1");
    commit();
    answer(0, OST_LOCK_TIMEOUT, 0, true);
    cr_assert(!update.finished && state() == COORDINATOR_SETTLING && sends(0),
              "the first try may be done yet: no answer is never an abort");
    Ostraka__AbortRequest *abort = (Ostraka__AbortRequest *)sent(0, FRAME_ABORT, NULL);
    cr_assert(is_text(abort->anchor, "a"));
    answer(0, OST_EXISTS, 555, false);
    cr_assert(state() == COORDINATOR_COMMITTED);
    cr_assert_eq(coordinator_commit_timestamp(coordinator), 555);
}

/* The oracle's time has leapt, and home found nothing, because nothing is kept for so long. */
Test(coordinator, settling_when_home_may_have_forgotten_stays_unknown)
{
    put("a", "1");
    commit();
    answer(0, OST_LOCK_TIMEOUT, 0, true);
    cr_assert(state() == COORDINATOR_SETTLING);
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.heard_timestamp = 5000 + timestamp_from_ms(OUTCOME_KEPT_MS) + 1;
    step((struct coordinator_event){.type = COORDINATOR_EV_ANSWERED, .slot = 0, .header = &header});
    cr_assert(update.finished && state() == COORDINATOR_UNKNOWN);
    cr_assert_eq(coordinator_status(coordinator), OST_MAYBE_COMMITTED);
}

Test(coordinator, settled_as_aborted_keeps_the_first_reason)
{
    put("a", "1");
    commit();
    answer(0, OST_LOCK_TIMEOUT, 0, true);
    answer(0, OST_OK, 0, false);
    cr_assert_eq(coordinator_status(coordinator), OST_LOCK_TIMEOUT);
}

Test(coordinator, settled_when_home_may_have_forgotten_is_unknown)
{
    put("a", "1");
    commit();
    answer(0, OST_LOCKS_LOST, 0, true);
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.heard_timestamp = 5000 + timestamp_from_ms(OUTCOME_KEPT_MS) + 1;
    step((struct coordinator_event){.type = COORDINATOR_EV_ANSWERED, .header = &header});
    cr_assert_eq(coordinator_status(coordinator), OST_MAYBE_COMMITTED,
                 "what was forgotten looks like what never was");
}

Test(coordinator, refusal_of_the_only_try_needs_no_settling)
{
    put("a", "1");
    commit();
    answer(0, OST_LOCK_TIMEOUT, 0, false);
    cr_assert(update.finished && state() == COORDINATOR_ABORTED);
}

Test(coordinator, vote_that_never_comes_is_an_abort_because_commit_was_not_asked)
{
    put("a", "1");
    put("z", "1");
    commit();
    answer(0, OST_OK, 10, false);
    gave_up(1);
    cr_assert(state() == COORDINATOR_ABORTED && update.finished);
    cr_assert_eq(coordinator_status(coordinator), OST_DEADLINE_EXCEEDED);
    cr_assert(sends(0), "home's record is told");
}

Test(coordinator, lost_commit_answer_is_unknown_and_asks_the_same_again)
{
    put("a", "1");
    put("z", "1");
    commit();
    answer(0, OST_OK, 10, false);
    answer(1, OST_OK, 20, false);
    gave_up(0);
    cr_assert(state() == COORDINATOR_UNKNOWN && update.finished);
    commit();
    Ostraka__CommitRequest *request = (Ostraka__CommitRequest *)sent(0, FRAME_COMMIT, NULL);
    cr_assert_eq(request->commit_timestamp, 20);
    answer(0, OST_OK, 20, true);
    cr_assert(state() == COORDINATOR_COMMITTED);
}

Test(coordinator, commit_that_home_refuses_or_forgot)
{
    put("a", "1");
    put("z", "1");
    commit();
    answer(0, OST_OK, 10, false);
    answer(1, OST_OK, 20, false);
    answer(0, OST_UNKNOWN_TXN, 0, false);
    cr_assert(state() == COORDINATOR_UNKNOWN, "T6: UNKNOWN is no abort");
    commit();
    answer(0, OST_ABORTED, 0, false);
    cr_assert(state() == COORDINATOR_ABORTED && update.finished);
    cr_assert_eq(coordinator_status(coordinator), OST_ABORTED);
}

Test(coordinator, reader_validates_every_group_then_releases)
{
    locked(1, "a", 1);
    locked(2, "z", 2);
    commit();
    cr_assert(state() == COORDINATOR_VALIDATING && update.send_count == 2);
    Ostraka__ValidateRequest *request = (Ostraka__ValidateRequest *)sent(1, FRAME_VALIDATE, NULL);
    cr_assert(request->entry->counter == 2 && request->group == 2);
    answer(0, OST_OK, 0, false);
    cr_assert(!(update.finished));
    answer(1, OST_OK, 0, false);
    cr_assert(update.finished && state() == COORDINATOR_COMMITTED);
    cr_assert(sends(0) && sends(1), "shared locks are dropped, not left to expire");
}

Test(coordinator, reader_whose_locks_are_lost_runs_again)
{
    locked(1, "a", 1);
    locked(2, "z", 2);
    commit();
    answer(0, OST_LOCKS_LOST, 0, false);
    cr_assert_eq(coordinator_status(coordinator), OST_LOCKS_LOST);
    cr_assert(update.finished && sends(1));
    cr_assert(!(sends(0)), "there is nothing to release");
}

Test(coordinator, second_entry_number_in_a_group_means_that_the_first_is_gone)
{
    locked(1, "a", 1);
    locked(1, "b", 2);
    cr_assert(state() == COORDINATOR_ABORTED);
    cr_assert_eq(coordinator_status(coordinator), OST_LOCKS_LOST);
}

Test(coordinator, failed_wait_for_a_lock_leaves_it_growing)
{
    locked(1, "a", 1);
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = OST_LOCK_TIMEOUT;
    header.waited_ms = 5000;
    step((struct coordinator_event){.type = COORDINATOR_EV_READ_ANSWERED,
                                    .group = 1,
                                    .key = bytes_of_string("b"),
                                    .header = &header});
    cr_assert(state() == COORDINATOR_GROWING);
    cr_assert_eq(coordinator_reason(coordinator)->waited_ms, 5000);
}

Test(coordinator, heartbeats_go_to_every_group_with_locks_while_it_grows)
{
    locked(1, "a", 1);
    locked(2, "z", 2);
    cr_assert_eq(update.deadline_ns, 2 * NS_PER_S);
    step((struct coordinator_event){.type = COORDINATOR_EV_TIMER, .now_ns = 2 * NS_PER_S});
    cr_assert_eq(update.heartbeat_count, 2);
    cr_assert_eq(update.deadline_ns, 3 * NS_PER_S);
    commit(); /* nothing was written: it is over in a moment */
    cr_assert_eq(update.deadline_ns, NS_NEVER);
}

/* Until home has decided, whoever has voted waits for it, and must know that it lives. */
Test(coordinator, heartbeats_go_on_until_the_outcome_is_known)
{
    locked(1, "a", 1);
    put("a", "1");
    put("z", "2");
    commit();
    step((struct coordinator_event){.type = COORDINATOR_EV_TIMER, .now_ns = update.deadline_ns});
    cr_assert_eq(update.heartbeat_count, 2);
    answer(0, OST_OK, 1000, false);
    answer(1, OST_OK, 1001, false);
    cr_assert(state() == COORDINATOR_COMMITTING);
    cr_assert_neq(update.deadline_ns, NS_NEVER);
    answer(0, OST_OK, 1001, false);
    cr_assert(state() == COORDINATOR_COMMITTED);
    cr_assert_eq(update.deadline_ns, NS_NEVER);
}

Test(coordinator, a_commit_in_one_group_needs_no_heartbeats)
{
    locked(1, "a", 1);
    put("a", "1");
    commit();
    cr_assert(state() == COORDINATOR_PREPARING);
    cr_assert_eq(update.deadline_ns, NS_NEVER);
}

Test(coordinator, own_writes_are_found_and_the_last_one_counts)
{
    put("a", "1");
    put("a", "a longer value than before");
    put("a", "x");
    struct write write;
    cr_assert_eq(write_buffer_find(coordinator_writes(coordinator), bytes_of_string("a"), &write),
                 OST_OK);
    cr_assert(bytes_equal(write.value, bytes_of_string("x")));
    cr_assert_eq(coordinator_writes(coordinator)->writes_count, 1);
    cr_assert_eq(coordinator_writes(coordinator)->bytes_count, 2);
    cr_assert_eq(write_buffer_find(coordinator_writes(coordinator), bytes_of_string("b"), &write),
                 OST_NOT_FOUND);
}

Test(coordinator, limits_are_named)
{
    const char *why = NULL;
    static uint8_t big[VALUE_BYTES_MAX + 1];
    struct write write = {WRITE_PUT, bytes_of_string("a"), bytes_of(big, sizeof(big))};
    cr_assert_eq(coordinator_write(coordinator, &write, &why), OST_TOO_LARGE);
    cr_assert_str_eq(why, "value is 1048577 bytes: the limit is 1 MiB");
    write.key = bytes_of(NULL, 0);
    cr_assert_eq(coordinator_write(coordinator, &write, &why), OST_INVALID_ARGUMENT);
}

Test(coordinator, range_that_moved_alone_is_followed)
{
    put("a", "1");
    commit();
    groups[0] = 3;
    epochs[0] = 6;
    step((struct coordinator_event){.type = COORDINATOR_EV_REROUTE, .slot = 0});
    cr_assert(sends(0));
    Ostraka__PrepareRequest *request = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
    cr_assert(request->group == 3 && request->ranges[0]->epoch == 6);
}

Test(coordinator, locks_do_not_follow_a_range)
{
    locked(1, "a", 1);
    put("a", "1");
    commit();
    groups[0] = 3;
    step((struct coordinator_event){.type = COORDINATOR_EV_REROUTE, .slot = 0});
    cr_assert(update.finished && state() == COORDINATOR_ABORTED);
    cr_assert_eq(coordinator_status(coordinator), OST_RANGE_MOVED);
}

Test(coordinator, two_parts_that_meet_in_one_group_are_not_prepared_twice_there)
{
    put("a", "1");
    put("z", "1");
    commit();
    groups[1] = 1;
    step((struct coordinator_event){.type = COORDINATOR_EV_REROUTE, .slot = 1});
    cr_assert(update.finished && state() == COORDINATOR_ABORTED);
}

Test(coordinator, rollback_while_growing_releases_and_while_committing_knows_nothing)
{
    locked(1, "a", 1);
    step((struct coordinator_event){.type = COORDINATOR_EV_ROLLBACK_ASKED});
    cr_assert(state() == COORDINATOR_ABORTED && sends(0));
    coordinator_reset(coordinator);
    put("a", "1");
    commit();
    step((struct coordinator_event){.type = COORDINATOR_EV_ROLLBACK_ASKED});
    cr_assert(state() == COORDINATOR_UNKNOWN);
}

Test(coordinator, nothing_done_commits_at_once)
{
    commit();
    cr_assert(update.finished && state() == COORDINATOR_COMMITTED && update.send_count == 0);
}

/* It may wait there for its lock, or hold it by now: nobody will hear the answer. */
Test(coordinator, rollback_frees_what_reads_asked_for_and_nobody_answered)
{
    group_id_t group = 0;
    blob_unref(
        coordinator_encode_lock(coordinator, 1, bytes_of_string("a"), LOCK_EXCLUSIVE, &group));
    cr_assert_eq(group, 1);
    locked(2, "z", 1);
    step((struct coordinator_event){.type = COORDINATOR_EV_ROLLBACK_ASKED});
    cr_assert_eq(state(), COORDINATOR_ABORTED);
    cr_assert_eq(update.send_count, 2);
    Ostraka__AbortRequest *abort = (Ostraka__AbortRequest *)sent(1, FRAME_ABORT, NULL);
    cr_assert_eq(abort->group, 1);
    cr_assert_eq(abort->anchor.len, 0);
    cr_assert_eq(abort->entry->term, 0, "no entry is known: it is found by the transaction");
}

Test(coordinator, group_whose_read_failed_takes_no_part_in_the_commit)
{
    group_id_t group = 0;
    blob_unref(
        coordinator_encode_lock(coordinator, 1, bytes_of_string("z"), LOCK_EXCLUSIVE, &group));
    put("a", "1");
    commit();
    cr_assert_eq(update.send_count, 1);
    Ostraka__PrepareRequest *request = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
    cr_assert_eq(request->group, 1);
}

/* ---- Optimistic ---- */

/* `end` NULL: a key. */
static void was_read(group_id_t group, const char *start, const char *end, timestamp_t timestamp)
{
    struct lock_target read = {.start = bytes_of_string(start), .is_interval = end != NULL};
    if (end)
        read.end = bytes_of_string(end);
    step((struct coordinator_event){.type = COORDINATOR_EV_READ_ANSWERED,
                                    .group = group,
                                    .key = read.start,
                                    .read = read,
                                    .timestamp = timestamp,
                                    .now_ns = NS_PER_S});
}

static void assert_check(const Ostraka__ReadCheck *check, const char *start, const char *end,
                         timestamp_t timestamp)
{
    cr_assert(is_text(check->start, start));
    cr_assert_eq(check->is_key, end == NULL);
    cr_assert(is_text(check->end, end ? end : ""));
    cr_assert_eq(check->read_timestamp, timestamp);
}

Test(coordinator, optimistic_reads_go_with_each_groups_prepare)
{
    coordinator_set_optimistic(coordinator, true);
    was_read(2, "z", NULL, 30);
    was_read(1, "c", "d", 20);
    was_read(1, "b", NULL, 22);
    was_read(1, "b", NULL, 21); /* read twice, answered out of order: the older one decides */
    was_read(1, "c", "e", 23);
    cr_assert_eq(update.deadline_ns, NS_NEVER, "nothing is locked, so no heartbeat is needed");
    put("a", "1");
    commit();
    cr_assert(state() == COORDINATOR_PREPARING && update.send_count == 2);
    Ostraka__PrepareRequest *one = (Ostraka__PrepareRequest *)sent(1, FRAME_PREPARE, NULL);
    cr_assert(one->group == 1 && one->is_home && one->entry->term == 0);
    cr_assert_eq(one->n_checks, 3u);
    assert_check(one->checks[0], "b", NULL, 21);
    assert_check(one->checks[1], "c", "d", 20);
    assert_check(one->checks[2], "c", "e", 23);
    Ostraka__PrepareRequest *two = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
    cr_assert(two->group == 2 && !two->is_home && two->n_checks == 1 && two->n_ranges == 1);
    assert_check(two->checks[0], "z", NULL, 30);
    answer(0, OST_VERSION_CHANGED, 0, false);
    cr_assert(update.finished && state() == COORDINATOR_ABORTED);
    cr_assert_eq(coordinator_status(coordinator), OST_VERSION_CHANGED);
    cr_assert(sends(1), "home may have voted: it is aborted there");
    sent(1, FRAME_ABORT, NULL);
}

Test(coordinator, optimistic_reader_asks_after_its_last_read)
{
    coordinator_set_optimistic(coordinator, true);
    was_read(1, "a", NULL, 20);
    was_read(2, "x", "", 30);
    commit();
    cr_assert(state() == COORDINATOR_VALIDATING && update.send_count == 2);
    Ostraka__ValidateRequest *request = (Ostraka__ValidateRequest *)sent(1, FRAME_VALIDATE, NULL);
    cr_assert(request->group == 2 && request->n_checks == 1);
    assert_check(request->checks[0], "x", "", 30);
    answer(0, OST_OK, 0, false);
    answer(1, OST_OK, 0, false);
    cr_assert(update.finished && state() == COORDINATOR_COMMITTED && update.send_count == 0,
              "there is nothing to release");
}

Test(coordinator, optimistic_reader_whose_read_changed_runs_again)
{
    coordinator_set_optimistic(coordinator, true);
    was_read(1, "a", NULL, 20);
    was_read(1, "a", NULL, 20); /* the same twice is two moments as well */
    commit();
    cr_assert_eq(update.send_count, 1u);
    answer(0, OST_VERSION_CHANGED, 0, false);
    cr_assert(update.finished && state() == COORDINATOR_ABORTED && update.send_count == 0);
    cr_assert_eq(coordinator_status(coordinator), OST_VERSION_CHANGED);
}

Test(coordinator, one_optimistic_read_is_true_by_itself)
{
    coordinator_set_optimistic(coordinator, true);
    was_read(1, "a", "c", 20);
    commit();
    cr_assert(update.finished && state() == COORDINATOR_COMMITTED && update.send_count == 0);
}

Test(coordinator, changed_read_of_an_earlier_try_is_settled_at_home)
{
    coordinator_set_optimistic(coordinator, true);
    was_read(1, "a", NULL, 20);
    put("a", "1");
    commit();
    cr_assert(((Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL))->one_group);
    answer(0, OST_VERSION_CHANGED, 0, true);
    cr_assert(state() == COORDINATOR_SETTLING && sends(0), "it may be its own write that it met");
    answer(0, OST_EXISTS, 70, false);
    cr_assert(update.finished && state() == COORDINATOR_COMMITTED);
}

Test(coordinator, optimistic_reads_do_not_follow_a_range)
{
    coordinator_set_optimistic(coordinator, true);
    was_read(1, "a", NULL, 20);
    put("a", "1");
    commit();
    groups[0] = 3;
    step((struct coordinator_event){.type = COORDINATOR_EV_REROUTE, .slot = 0});
    cr_assert(update.finished && state() == COORDINATOR_ABORTED);
    cr_assert_eq(coordinator_status(coordinator), OST_RANGE_MOVED);
}

Test(coordinator, a_split_leaves_an_interval_in_two_ranges_that_are_named)
{
    coordinator_set_optimistic(coordinator, true);
    was_read(1, "b", "k", 20);
    put("a", "1");
    commit();
    cr_assert_eq(((Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL))->n_ranges, 1u);
    is_low_split = true;
    epochs[0] = 6;
    step((struct coordinator_event){.type = COORDINATOR_EV_REROUTE, .slot = 0});
    cr_assert(sends(0));
    Ostraka__PrepareRequest *request = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
    cr_assert_eq(request->n_ranges, 2u);
    cr_assert(is_text(request->ranges[0]->start, "") && is_text(request->ranges[1]->start, "g"));
    assert_check(request->checks[0], "b", "k", 20);
}

/* What was touched first lies in the right half, which begins where no range began before. */
Test(coordinator, a_split_between_a_lock_and_a_write_leaves_both_ranges_named)
{
    for (int is_late = 0; is_late <= 1; is_late++) {
        is_low_split = false;
        epochs[0] = 5;
        coordinator_reset(coordinator);
        coordinator_identify(coordinator, (struct txn_id){7, 2}, &(struct txn_age){100, 7, 2});
        locked(1, "h", 1);
        put("a", "1");
        if (is_late)
            commit();
        is_low_split = true;
        epochs[0] = 6;
        if (is_late)
            step((struct coordinator_event){.type = COORDINATOR_EV_REROUTE, .slot = 0});
        else
            commit();
        cr_assert(sends(0));
        Ostraka__PrepareRequest *request = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
        cr_assert_eq(request->n_ranges, 2u);
        cr_expect(is_text(request->ranges[0]->start, "g") &&
                  is_text(request->ranges[1]->start, ""));
        /* And when they are one again it is named once. */
        is_low_split = false;
        epochs[0] = 7;
        step((struct coordinator_event){.type = COORDINATOR_EV_REROUTE, .slot = 0});
        request = (Ostraka__PrepareRequest *)sent(0, FRAME_PREPARE, NULL);
        cr_expect_eq(request->n_ranges, 1u);
    }
}

Test(coordinator, optimistic_reads_are_bounded)
{
    static char key[KEY_BYTES_MAX + 1];
    memset(key, 'k', KEY_BYTES_MAX);
    coordinator_set_optimistic(coordinator, true);
    uint32_t count = 0;
    while (state() == COORDINATOR_GROWING && count++ < 1000)
        was_read(1, key, NULL, 20);
    cr_assert_eq(state(), COORDINATOR_ABORTED);
    cr_assert_eq(coordinator_status(coordinator), OST_TOO_LARGE);
    cr_assert_not_null(strstr(coordinator_reason(coordinator)->text, "READS_BYTES_MAX"));
    cr_assert_not(update.finished, "no commit was asked for");
    coordinator_reset(coordinator);
    cr_assert_not(coordinator_is_optimistic(coordinator));
}
