/* The client's timestamps, its reads of snapshots, and the holds that keep these readable. */
#include "tests/support/client_script.h"

#include <criterion/criterion.h>

TestSuite(client_core_snapshot, .init = script_setup, .fini = script_teardown);

/* --- Timestamps --- */

static void ask_timestamp(uint32_t staleness_ms_max, struct script_outcome *outcome)
{
    struct operation *operation = operation_on_key(OPERATION_TIMESTAMP, "", "");
    operation->staleness_ms_max = staleness_ms_max;
    script_submit(operation, outcome);
}

/* O3: the answer may be older than who comes after the question. */
Test(client_core_snapshot, fresh_timestamp_is_for_those_who_waited_before_it_was_asked_for)
{
    static struct script_outcome first = {0}, second = {0}, third = {0};
    script.timestamps_wait = true;
    ask_timestamp(0, &first);
    ask_timestamp(0, &second);
    ask_timestamp(0, &third);
    cr_assert_eq(script.inbox_count, 1u, "one question at a time");
    script_answer_timestamp(0, 70);
    cr_assert_eq(first.version, 70u);
    cr_assert(!second.is_done && !third.is_done);
    cr_assert_eq(script.inbox_count, 1u);
    script_answer_timestamp(0, 80);
    cr_assert_eq(second.version, 80u);
    cr_assert_eq(third.version, 80u, "these two waited together");
    cr_assert_eq(script.inbox_count, 0u);
}

Test(client_core_snapshot, timestamp_is_as_old_as_its_question)
{
    static struct script_outcome fresh = {0}, young = {0}, old = {0}, strict = {0};
    script.timestamps_wait = true;
    ask_timestamp(1000, &fresh);
    script_pass_ms(600); /* the question or its answer takes that long */
    script_answer_timestamp(0, 70);
    cr_assert_eq(fresh.version, 70u);
    script_pass_ms(400);
    ask_timestamp(1000, &young);
    cr_assert_eq(young.version, 70u);
    script_pass_ms(1);
    ask_timestamp(1000, &old);
    cr_assert(!old.is_done);
    script_answer_timestamp(0, 90);
    cr_assert_eq(old.version, 90u);
    ask_timestamp(0, &strict);
    cr_assert(!strict.is_done, "strict is strict");
    script_answer_timestamp(0, 100);
    cr_assert_eq(strict.version, 100u);
}

Test(client_core_snapshot, timestamp_that_does_not_come_is_given_up)
{
    static struct script_outcome first = {0}, second = {0};
    script.timestamps_wait = true;
    ask_timestamp(0, &first);
    script_pass_ms(3000);
    ask_timestamp(0, &second);
    for (unsigned ms = 0; ms < 3000; ms += 100) {
        script_pass_ms(100);
        script_inbox_clear();
    }
    cr_assert(first.is_done && !second.is_done);
    cr_assert_neq(first.status, OST_OK);
    for (unsigned tries = 0; tries < 30 && script.inbox_count == 0; tries++)
        script_pass_ms(50);
    script_answer_timestamp(0, 120);
    cr_assert_eq(second.version, 120u);
}

/* --- Snapshots --- */

static struct operation *snapshot_get(const char *key, bool any_replica)
{
    struct operation *operation = operation_on_key(OPERATION_GET, key, "");
    operation->timestamp = 70;
    operation->any_replica = any_replica;
    return operation;
}

Test(client_core_snapshot, snapshot_reads_are_spread_over_replicas)
{
    static struct script_outcome got = {0};
    unsigned counts[SCRIPT_STORES_COUNT + 1] = {0};
    for (unsigned read = 0; read < 60; read++) {
        script_submit(snapshot_get("a", true), &got);
        Ostraka__GetRequest *request = ostraka__get_request__unpack(
            NULL, script.inbox[0].frame.message.bytes_count, script.inbox[0].frame.message.data);
        cr_assert_eq(request->timestamp, 70u);
        cr_assert(request->any_replica);
        ostraka__get_request__free_unpacked(request, NULL);
        counts[script.inbox[0].store]++;
        script_answer_get(0, "v");
        got.is_done = false;
    }
    for (unsigned store = 1; store <= SCRIPT_STORES_COUNT; store++)
        cr_assert_geq(counts[store], 8u, "store %u: %u", store, counts[store]);
    script_submit(snapshot_get("a", false), &got);
    script_only(FRAME_GET, 1);
    script_answer_get(0, "v");
}

Test(client_core_snapshot, what_a_replica_cannot_answer_goes_to_the_leader_at_once)
{
    static struct script_outcome got = {0};
    for (;;) {
        got = (struct script_outcome){0};
        script_submit(snapshot_get("a", true), &got);
        if (script.inbox[0].store != 1)
            break; /* a replica that does not lead */
        script_answer_get(0, "v");
    }
    script_refuse(0, OST_NOT_READY, 0);
    script_only(FRAME_GET, 1);
    script_answer_get(0, "v");
    cr_assert(got.is_done);
    cr_assert_str_eq(got.value, "v");
}

Test(client_core_snapshot, scan_of_a_snapshot_needs_no_transaction_however_many_pages)
{
    static struct script_outcome rows = {0};
    struct operation *operation = operation_on_key(OPERATION_SCAN, "a", "z");
    operation->timestamp = 70;
    script_submit(operation, &rows);
    static const char *const FIRST[] = {"a", "b"}, *const SECOND[] = {"c"}, *const HIGH[] = {"m"};
    script_only(FRAME_SCAN, 1);
    script_answer_rows(0, FIRST, 2, true, 0);
    script_only(FRAME_SCAN, 1);
    script_answer_rows(0, SECOND, 1, false, 0);
    const struct script_request *received = script_only(FRAME_SCAN, 2);
    Ostraka__ScanRequest *request = ostraka__scan_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->timestamp, 70u);
    cr_assert_null(request->txn);
    ostraka__scan_request__free_unpacked(request, NULL);
    script_answer_rows(0, HIGH, 1, false, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 4u);
    cr_assert_eq(script.inbox_count, 0u);
}

/* --- Holds --- */

static void take_hold(struct script_outcome *outcome)
{
    struct operation *operation =
        operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = 77;
    operation->hold_ttl_ms = 60000;
    script_submit(operation, outcome);
}

/* The request at the head of the inbox is about the one hold, for so long; it is answered. */
static void answer_hold(uint32_t ttl_ms, int status)
{
    struct script_request received = script_take(0);
    cr_assert_eq(received.frame.type, FRAME_HOLD);
    Ostraka__HoldRequest *request = ostraka__hold_request__unpack(
        NULL, received.frame.message.bytes_count, received.frame.message.data);
    cr_assert_eq(request->timestamp, 77);
    cr_assert_eq(request->ttl_ms, ttl_ms);
    cr_assert(request->client != 0 && request->id == 1);
    ostraka__hold_request__free_unpacked(request, NULL);
    Ostraka__HoldAnswer answer = OSTRAKA__HOLD_ANSWER__INIT;
    answer.status = status;
    script_reply(received.connection_id, FRAME_HOLD_ANSWER, received.frame.request_id, &answer.base,
                 NULL);
    blob_unref(received.blob);
}

static int release_hold(uint64_t hold)
{
    struct script_outcome outcome = {0};
    struct operation *operation =
        operation_new(OPERATION_RELEASE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold = hold;
    script_submit(operation, &outcome);
    cr_assert(outcome.is_done, "at once");
    return outcome.status;
}

Test(client_core_snapshot, hold_is_renewed_until_it_is_let_go_of)
{
    struct script_outcome outcome = {0};
    nanoseconds_t asked_ns = script.now_ns;
    take_hold(&outcome);
    script.now_ns += 100 * NS_PER_MS;
    cr_assert_not(outcome.is_done, "not before group 0 says so");
    answer_hold(60000, OST_OK);
    cr_assert(outcome.is_done && outcome.status == OST_OK && outcome.hold != 0);
    /* The oracle may run at twice real speed, and began to count no later than we asked. */
    cr_assert_lt(client_core_hold_certain_ns(script.core, outcome.hold),
                 asked_ns + 30000 * NS_PER_MS);
    for (int time = 0; time < 3; time++) {
        nanoseconds_t certain_ns = client_core_hold_certain_ns(script.core, outcome.hold);
        script_pass_ms(10000);
        cr_assert_eq(script.inbox_count, 1u);
        answer_hold(60000, OST_OK);
        cr_assert_gt(client_core_hold_certain_ns(script.core, outcome.hold), certain_ns);
    }
    cr_assert_eq(release_hold(outcome.hold), OST_OK);
    cr_assert_eq(client_core_hold_certain_ns(script.core, outcome.hold), 0);
    cr_assert_eq(release_hold(outcome.hold), OST_NOT_FOUND);
    answer_hold(0, OST_OK);
    script_pass_ms(120000);
    cr_assert_eq(script.inbox_count, 0u, "nothing is renewed any more");
}

static void take_hold_if_older_than(uint32_t age_ms, struct script_outcome *outcome)
{
    struct operation *operation =
        operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = 77;
    operation->hold_ttl_ms = 60000;
    operation->hold_age_ms_min = age_ms;
    script_submit(operation, outcome);
}

Test(client_core_snapshot, hold_of_a_young_timestamp_is_not_needed)
{
    struct script_outcome young = {0}, old = {0};
    take_hold_if_older_than(UINT32_MAX, &young);
    cr_assert(young.is_done && young.status == OST_OK && young.hold == 0);
    cr_assert_eq(script.inbox_count, 0u);
    take_hold_if_older_than(1, &old);
    cr_assert_not(old.is_done);
    answer_hold(60000, OST_OK);
    cr_assert(old.is_done && old.hold != 0);
}

Test(client_core_snapshot, hold_that_is_refused_is_none)
{
    struct script_outcome outcome = {0};
    take_hold(&outcome);
    answer_hold(60000, OST_SNAPSHOT_TOO_OLD);
    cr_assert(outcome.is_done && outcome.status == OST_SNAPSHOT_TOO_OLD && outcome.hold == 0);
    script_pass_ms(120000);
    cr_assert_eq(script.inbox_count, 0u);
}

Test(client_core_snapshot, hold_whose_renewal_comes_too_late_is_lost)
{
    struct script_outcome outcome = {0};
    take_hold(&outcome);
    answer_hold(60000, OST_OK);
    script_pass_ms(10000);
    answer_hold(60000, OST_SNAPSHOT_TOO_OLD);
    cr_assert_eq(client_core_hold_certain_ns(script.core, outcome.hold), 0);
    script_pass_ms(120000);
    cr_assert_eq(script.inbox_count, 0u);
    cr_assert_eq(release_hold(outcome.hold), OST_OK, "its holder lets go of it all the same");
    answer_hold(0, OST_OK);
}

Test(client_core_snapshot, stop_ends_holds_too)
{
    struct script_outcome taken = {0}, asked = {0};
    take_hold(&taken);
    answer_hold(60000, OST_OK);
    struct operation *operation =
        operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = 77;
    operation->hold_ttl_ms = 60000;
    script_submit(operation, &asked);
    script_deliver((struct client_event){.type = CLIENT_EV_STOPPED});
    cr_assert(asked.is_done && asked.status == OST_CANCELED);
    script_inbox_clear();
}
