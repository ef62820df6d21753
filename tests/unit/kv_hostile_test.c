/* What a client may send that the library never does: it gets an answer, and nobody else notices.
 */
#include "tests/support/kv_client.h"

#include "proto/write_set.h"
#include "shardkv/store.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void log_abort(struct kv_world *world, uint64_t sequence, const char *anchor)
{
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = sequence;
    Ostraka__AbortCommand abort = OSTRAKA__ABORT_COMMAND__INIT;
    abort.txn = &txn;
    abort.anchor = kv_field(anchor);
    abort.deadline = kv_world_deadline(world, 5000);
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_ABORT;
    command.abort = &abort;
    kv_client_log_command(world, 1, &command, bytes_of(NULL, 0));
}

static void log_commit_one(struct kv_world *world, uint64_t sequence, const char *anchor)
{
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = sequence;
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__CommitOneCommand one = OSTRAKA__COMMIT_ONE_COMMAND__INIT;
    one.txn = &txn;
    one.anchor = kv_field(anchor);
    one.deadline = kv_world_deadline(world, 5000);
    one.commit_timestamp = kv_world_deadline(world, 1);
    one.ranges = ranges;
    one.n_ranges = 1;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_COMMIT_ONE;
    command.commit_one = &one;
    kv_client_log_command(world, 1, &command, kv_client_write(world, anchor, "never"));
}

/* How entries are cut into slices differs from replica to replica: one slice with two outcomes of
 * one id, beside different anchors, must decide as two slices do. */
Test(kv_hostile, outcomes_of_one_id_do_not_hide_each_other_in_a_slice)
{
    struct kv_world *world = kv_world_new_one(1);
    for (int turns = 0; turns < 2; turns++) {
        uint64_t sequence = 1 + (uint64_t)turns;
        log_abort(world, sequence, "a");
        if (turns == 1)
            kv_world_run(world, 200);
        log_abort(world, sequence, "b");
        if (turns == 1)
            kv_world_run(world, 200);
        log_commit_one(world, sequence, "a");
        kv_world_run(world, 200);
        kv_client_expect_get(world, 1, "", "a", NULL);
    }
    kv_world_free(world);
}

/* The store stalls with a decision of the transaction in the slice that waits: the records are
 * ahead of the locks. */
Test(kv_hostile, prepare_with_another_anchor_while_the_store_stalls)
{
    struct kv_world *world = kv_world_new_one(1);
    struct kv_part part = {
        .group = 1, .range_start = "", .sequence = 1, .anchor = "a", .is_home = true};
    timestamp_t bound =
        kv_client_prepare(world, &part, kv_client_write(world, "a", "1"))->commit_timestamp_min;
    store_memory_hinder(world->stores[1].store, true, false);
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = 1;
    Ostraka__CommitCommand commit_it = OSTRAKA__COMMIT_COMMAND__INIT;
    commit_it.txn = &txn;
    commit_it.anchor = kv_field("a");
    commit_it.commit_timestamp = bound;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_COMMIT;
    command.commit = &commit_it;
    kv_client_log_command(world, 1, &command, bytes_of(NULL, 0));
    kv_world_run(world, 50);
    part.anchor = "b";
    cr_assert_eq(kv_client_prepare(world, &part, kv_client_write(world, "b", "2"))->header->status,
                 OST_CONFLICT);
    store_memory_hinder(world->stores[1].store, false, false);
    kv_world_run(world, 200);
    kv_client_expect_get(world, 1, "", "a", "1");
    kv_client_expect_get(world, 1, "", "b", NULL);
    kv_world_free(world);
}

/* An abort under another anchor makes a record of the id before the prepare is applied. */
Test(kv_hostile, aborted_under_another_anchor_leaves_nothing_locked)
{
    struct kv_world *world = kv_world_new_one(1);
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = 1;
    Ostraka__Participant participant = OSTRAKA__PARTICIPANT__INIT;
    Ostraka__Participant *participants[] = {&participant};
    participant.key = kv_field("z");
    Ostraka__AbortRequest request = OSTRAKA__ABORT_REQUEST__INIT;
    request.group = 1;
    request.range = &range;
    request.txn = &txn;
    request.anchor = kv_field("b");
    request.deadline = kv_world_deadline(world, 5000);
    request.participants = participants;
    request.n_participants = 1;
    Ostraka__LockEntry other_entry = OSTRAKA__LOCK_ENTRY__INIT;
    other_entry.term = UINT64_MAX; /* so that it releases nothing */
    request.entry = &other_entry;
    world->is_resolution_lost = true; /* the record stays */
    for (int one_group = 0; one_group < 2; one_group++) {
        txn.sequence = 1 + (uint64_t)one_group;
        struct kv_part part = {.group = 1,
                               .range_start = "",
                               .sequence = txn.sequence,
                               .anchor = "a",
                               .is_home = !one_group,
                               .one_group = one_group};
        uint64_t id = kv_client_send_prepare(world, 1, &part, kv_client_write(world, "a", "1"));
        kv_world_send(world, 1, FRAME_ABORT, &request.base, bytes_of(NULL, 0));
        cr_assert_eq(kv_client_wait_prepare(world, id)->header->status, OST_INVALID_ARGUMENT);
        cr_assert_eq(kv_world_status(world, 1, 1)->locks->keys_locked_count, 0);
    }
    kv_client_put(world, 1, "", "a", "2");
    kv_world_free(world);
}

/* One client commits as far ahead as it may; others must be able to commit over the same groups. */
Test(kv_hostile, commit_far_ahead_does_not_shut_others_out)
{
    struct kv_world *world = kv_world_new_two(1);
    struct kv_part hostile = {.group = 2,
                              .range_start = "m",
                              .sequence = 1,
                              .anchor = "z",
                              .is_home = true,
                              .deadline = kv_world_deadline(world, 50000)};
    cr_assert_eq(
        kv_client_prepare(world, &hostile, kv_client_write(world, "z", "1"))->header->status,
        OST_OK);
    cr_assert_eq(kv_client_commit(world, &hostile, UINT64_MAX)->header->status,
                 OST_INVALID_ARGUMENT);
    timestamp_t ahead = kv_world_deadline(world, 55000);
    cr_assert_eq(
        kv_client_commit(world, &hostile, kv_world_deadline(world, 100000))->header->status,
        OST_INVALID_ARGUMENT);
    cr_assert_eq(kv_client_commit(world, &hostile, ahead)->header->status, OST_OK);

    struct kv_part home = {.group = 1,
                           .range_start = "",
                           .sequence = 2,
                           .anchor = "a",
                           .is_home = true,
                           .participant = "z",
                           .deadline = kv_world_deadline(world, 1000)};
    struct kv_part other = {.group = 2,
                            .range_start = "m",
                            .sequence = 2,
                            .anchor = "a",
                            .deadline = kv_world_deadline(world, 1000)};
    cr_assert_eq(kv_client_prepare(world, &home, kv_client_write(world, "a", "2"))->header->status,
                 OST_OK);
    const Ostraka__PrepareAnswer *vote =
        kv_client_prepare(world, &other, kv_client_write(world, "z", "2"));
    cr_assert_eq(vote->header->status, OST_OK);
    cr_assert_gt(vote->commit_timestamp_min, ahead);
    cr_assert_eq(kv_client_commit(world, &home, vote->commit_timestamp_min)->header->status,
                 OST_OK);
    kv_client_expect_get(world, 2, "m", "z", "2");
    kv_world_free(world);
}

/* Each range is named once: a million names would be looked through for each write. */
Test(kv_hostile, a_range_is_named_once)
{
    struct kv_world *world = kv_world_new_one(1);
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__RangeRef *ranges[] = {&range, &range};
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = 1;
    Ostraka__PrepareRequest request = OSTRAKA__PREPARE_REQUEST__INIT;
    request.group = 1;
    request.txn = &txn;
    request.deadline = kv_world_deadline(world, 5000);
    request.anchor = kv_field("a");
    request.one_group = true;
    request.ranges = ranges;
    for (request.n_ranges = 1; request.n_ranges <= 2; request.n_ranges++, txn.sequence++) {
        uint64_t id =
            kv_world_send(world, 1, FRAME_PREPARE, &request.base, kv_client_write(world, "a", "1"));
        cr_assert_eq(kv_client_wait_prepare(world, id)->header->status,
                     request.n_ranges == 1 ? OST_OK : OST_RANGE_MOVED);
    }
    kv_world_free(world);
}

/* Locks that were read are part of the entry: with the largest writes it would not fit a frame. */
Test(kv_hostile, an_entry_that_fits_no_frame_is_refused)
{
    struct kv_world *world = kv_world_new_one(3);
    struct kv_part part = {
        .group = 1, .range_start = "", .sequence = 1, .anchor = "a", .is_home = true};
    char key[KEY_BYTES_MAX + 1];
    memset(key, 'k', KEY_BYTES_MAX);
    key[KEY_BYTES_MAX] = '\0';
    for (int index = 0; index < 1200; index++) {
        snprintf(key, 8, "k%06d", index);
        key[7] = 'k';
        cr_assert_eq(kv_client_lock(world, &part, key, false, NULL)->header->status, OST_OK);
    }
    struct buffer set = BUFFER_INIT;
    uint8_t *value = calloc(1, VALUE_BYTES_MAX);
    for (int index = 0; index < 63; index++) {
        char name[8];
        snprintf(name, sizeof(name), "a%03d", index);
        struct write write = {WRITE_PUT, bytes_of_string(name), bytes_of(value, VALUE_BYTES_MAX)};
        write_set_append(&set, &write);
    }
    free(value);
    cr_assert_eq(kv_client_prepare(world, &part, buffer_bytes(&set))->header->status,
                 OST_TOO_LARGE);
    buffer_fini(&set);
    cr_assert_eq(kv_world_status(world, kv_world_leader(world, 1), 1)->locks->keys_locked_count, 0);
    kv_world_free(world);
}

/* Large writes that wait for locks are bounded by their bytes, and what ends gives them back. */
Test(kv_hostile, waiting_requests_are_bounded_in_bytes)
{
    struct kv_world *world = kv_world_new_one(1);
    world->kv_options.requests_bytes_max = 3u << 20;
    kv_world_crash(world, 1);
    kv_world_start(world, 1);
    struct kv_part holder = {.group = 1, .range_start = "", .sequence = 1, .anchor = "a"};
    cr_assert_eq(kv_client_lock(world, &holder, "a", true, NULL)->header->status, OST_OK);
    char *value = calloc(1, (1u << 20) + 1);
    memset(value, 'v', 1u << 20);
    struct bytes set = kv_client_write(world, "a", value);
    free(value);
    uint64_t ids[3];
    for (uint64_t index = 0; index < 3; index++) {
        struct kv_part part = {.group = 1,
                               .range_start = "",
                               .sequence = 10 + index,
                               .anchor = "a",
                               .one_group = true};
        ids[index] = kv_client_send_prepare(world, 1, &part, set);
    }
    cr_assert_eq(kv_client_wait_prepare(world, ids[2])->header->status, OST_BUSY);
    cr_assert_null(kv_world_answer(world, ids[0], &ostraka__prepare_answer__descriptor, NULL));
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = 1;
    Ostraka__AbortRequest release = OSTRAKA__ABORT_REQUEST__INIT;
    release.group = 1;
    release.txn = &txn;
    kv_world_send(world, 1, FRAME_ABORT, &release.base, bytes_of(NULL, 0));
    for (int index = 0; index < 2; index++)
        cr_assert_eq(kv_client_wait_prepare(world, ids[index])->header->status, OST_OK);
    kv_client_put(world, 1, "", "a", "1");
    kv_world_free(world);
}

/* The process ends while requests wait: the Raft host is gone before they are. */
Test(kv_hostile, server_is_freed_with_requests_waiting)
{
    struct kv_world *world = kv_world_new_one(1);
    world->is_oracle_down = true;
    struct kv_part part = {
        .group = 1, .range_start = "", .sequence = 1, .anchor = "a", .one_group = true};
    uint64_t id = kv_client_send_prepare(world, 1, &part, kv_client_write(world, "a", "1"));
    kv_world_run(world, 20);
    cr_assert_null(kv_world_answer(world, id, &ostraka__prepare_answer__descriptor, NULL));
    kv_world_free(world);
}
