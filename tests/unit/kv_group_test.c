/* The store's replicas as clients and other groups see them, over the real Raft host. */
#include "tests/support/kv_client.h"

#include "proto/write_set.h"
#include "shardkv/kv_keys.h"
#include "shardkv/store.h"

#include <criterion/criterion.h>
#include <stdio.h>

static int validate(struct kv_world *world, const struct kv_part *part)
{
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = part->sequence;
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = part->entry.term;
    entry.counter = part->entry.counter;
    Ostraka__ValidateRequest request = OSTRAKA__VALIDATE_REQUEST__INIT;
    request.group = part->group;
    request.txn = &txn;
    request.entry = &entry;
    uint64_t id = kv_world_send(world, kv_world_leader(world, part->group), FRAME_VALIDATE,
                                &request.base, bytes_of(NULL, 0));
    return ((const Ostraka__ValidateAnswer *)kv_world_wait(
                world, id, &ostraka__validate_answer__descriptor, NULL))
        ->header->status;
}

/* The keys found, each followed by '=' and its value and a blank. */
static const char *scan(struct kv_world *world, const char *start, const char *end,
                        uint32_t rows_max, bool reverse, bool *out_more)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__ScanRequest request = OSTRAKA__SCAN_REQUEST__INIT;
    request.group = 1;
    request.range = &range;
    request.start = kv_field(start);
    request.end = kv_field(end);
    request.rows_count_max = rows_max;
    request.reverse = reverse;
    uint64_t id = kv_world_send(world, kv_world_leader(world, 1), FRAME_SCAN, &request.base,
                                bytes_of(NULL, 0));
    struct bytes rows;
    const Ostraka__ScanAnswer *answer = (const Ostraka__ScanAnswer *)kv_world_wait(
        world, id, &ostraka__scan_answer__descriptor, &rows);
    cr_assert_eq(answer->header->status, OST_OK, "%s", answer->header->text);
    struct reader reader = reader_of(rows);
    struct row row;
    const char *text = "";
    uint32_t count = 0;
    while (rows_next(&reader, &row) == OST_OK) {
        text = arena_printf(&world->arena, "%s%.*s=%.*s ", text, (int)row.key.bytes_count,
                            row.key.data, (int)row.value.bytes_count, row.value.data);
        count++;
    }
    cr_assert_eq(count, answer->rows_count);
    *out_more = answer->more;
    return text;
}

Test(kv_group, put_get_delete)
{
    struct kv_world *world = kv_world_new_one(1);
    kv_client_expect_get(world, 1, "", "a", NULL);
    timestamp_t first = kv_client_put(world, 1, "", "a", "one")->commit_timestamp_min;
    kv_client_expect_get(world, 1, "", "a", "one");
    timestamp_t second = kv_client_put(world, 1, "", "a", "two")->commit_timestamp_min;
    cr_assert_gt(second, first);
    kv_client_expect_get(world, 1, "", "a", "two");
    kv_client_put(world, 1, "", "a", NULL);
    kv_client_expect_get(world, 1, "", "a", NULL);
    cr_assert_eq(world->stores[1].metrics.txns_one_group_count, 3);
    kv_world_free(world);
}

Test(kv_group, scan_skips_old_versions_and_markers)
{
    struct kv_world *world = kv_world_new_one(1);
    for (int round = 0; round < 12; round++) {
        kv_client_put(world, 1, "", "b", round == 11 ? "new" : "old");
        kv_client_put(world, 1, "", "d", round == 11 ? NULL : "old");
    }
    kv_client_put(world, 1, "", "a", "1");
    kv_client_put(world, 1, "", "c", "3");
    kv_client_put(world, 1, "", "e", "5");
    for (int is_cold = 0; is_cold < 2; is_cold++) {
        store_memory_hinder(world->stores[1].store, false, is_cold);
        bool more;
        cr_assert_str_eq(scan(world, "", "", 0, false, &more), "a=1 b=new c=3 e=5 ");
        cr_assert(!more);
        cr_assert_str_eq(scan(world, "", "", 0, true, &more), "e=5 c=3 b=new a=1 ");
        cr_assert(!more);
        cr_assert_str_eq(scan(world, "b", "e", 0, false, &more), "b=new c=3 ");
        cr_assert(!more);
        cr_assert_str_eq(scan(world, "", "", 2, false, &more), "a=1 b=new ");
        cr_assert(more);
        cr_assert_str_eq(scan(world, "b\1", "", 2, false, &more), "c=3 e=5 ");
        cr_assert(!more);
        cr_assert_str_eq(scan(world, "", "c", 1, true, &more), "b=new ");
        cr_assert(more);
    }
    cr_assert_gt(world->stores[1].metrics.reads_blocked_count, 0);
    kv_world_free(world);
}

Test(kv_group, long_scan_goes_to_the_pool)
{
    struct kv_world *world = kv_world_new_one(1);
    struct buffer set = BUFFER_INIT;
    char key[16];
    for (int index = 0; index < 700; index++) {
        snprintf(key, sizeof(key), "k%05d", index);
        struct write write = {WRITE_PUT, bytes_of_string(key), bytes_of_string("v")};
        write_set_append(&set, &write);
    }
    struct kv_part part = {
        .group = 1, .range_start = "", .sequence = 1, .anchor = "k00000", .one_group = true};
    cr_assert_eq(kv_client_prepare(world, &part, buffer_bytes(&set))->header->status, OST_OK);
    buffer_fini(&set);
    for (int reverse = 0; reverse < 2; reverse++) {
        bool more;
        const char *text = scan(world, "", "", 0, reverse, &more);
        cr_assert_eq(strlen(text), 700 * strlen("k00000=v "));
        cr_assert(!more);
    }
    cr_assert_eq(world->stores[1].metrics.reads_blocked_count, 2);
    kv_world_free(world);
}

Test(kv_group, limits_and_ranges_are_checked)
{
    struct kv_world *world = kv_world_new_two(1);
    uint64_t wrong_epoch = kv_client_send_get(world, 1, 1, "", 2, "a");
    uint64_t wrong_range = kv_client_send_get(world, 1, 1, "", 1, "z");
    uint64_t wrong_group = kv_client_send_get(world, 1, 7, "", 1, "a");
    uint64_t empty_key = kv_client_send_get(world, 1, 1, "", 1, "");
    cr_assert_eq(kv_client_wait_get(world, wrong_epoch, NULL)->header->status, OST_RANGE_MOVED);
    cr_assert_eq(kv_client_wait_get(world, wrong_range, NULL)->header->status, OST_RANGE_MOVED);
    cr_assert_eq(kv_client_wait_get(world, wrong_group, NULL)->header->status, OST_NOT_LEADER);
    cr_assert_eq(kv_client_wait_get(world, empty_key, NULL)->header->status, OST_INVALID_ARGUMENT);

    struct kv_part part = {
        .group = 1, .range_start = "", .sequence = 1, .anchor = "a", .one_group = true};
    cr_assert_eq(kv_client_prepare(world, &part, kv_client_write(world, "z", "1"))->header->status,
                 OST_RANGE_MOVED);
    part.epoch = 2;
    cr_assert_eq(kv_client_prepare(world, &part, kv_client_write(world, "a", "1"))->header->status,
                 OST_RANGE_MOVED);
    part.epoch = 1;
    part.deadline = kv_world_deadline(world, 61000);
    const Ostraka__PrepareAnswer *far =
        kv_client_prepare(world, &part, kv_client_write(world, "a", "1"));
    cr_assert_eq(far->header->status, OST_INVALID_ARGUMENT);
    cr_assert_not_null(strstr(far->header->text, "request_deadline_ms_max"));
    part.deadline = kv_world_deadline(world, 0) - timestamp_from_ms(1000);
    cr_assert_eq(kv_client_prepare(world, &part, kv_client_write(world, "a", "1"))->header->status,
                 OST_DEADLINE_EXCEEDED);
    kv_client_expect_get(world, 1, "", "a", NULL);
    /* A refusal leaves nothing locked. */
    kv_client_put(world, 1, "", "a", "2");
    kv_world_free(world);
}

Test(kv_group, transaction_over_two_groups)
{
    struct kv_world *world = kv_world_new_two(1);
    kv_client_put(world, 1, "", "a", "100");
    kv_client_put(world, 2, "m", "z", "0");
    struct kv_part home = {.group = 1,
                           .range_start = "",
                           .sequence = 1,
                           .anchor = "a",
                           .is_home = true,
                           .participant = "z"};
    struct kv_part other = {.group = 2, .range_start = "m", .sequence = 1, .anchor = "a"};
    struct bytes value;
    cr_assert_eq(kv_client_lock(world, &home, "a", true, &value)->header->status, OST_OK);
    cr_assert(bytes_equal(value, bytes_of_string("100")));
    cr_assert_eq(kv_client_lock(world, &other, "z", false, &value)->header->status, OST_OK);
    cr_assert_neq(home.entry.term, 0);

    timestamp_t bounds[2][2];
    for (int time = 0; time < 2; time++) { /* the second is a duplicate */
        const Ostraka__PrepareAnswer *a =
            kv_client_prepare(world, &home, kv_client_write(world, "a", "90"));
        const Ostraka__PrepareAnswer *z =
            kv_client_prepare(world, &other, kv_client_write(world, "z", "10"));
        cr_assert_eq(a->header->status, OST_OK);
        cr_assert_eq(z->header->status, OST_OK);
        bounds[time][0] = a->commit_timestamp_min;
        bounds[time][1] = z->commit_timestamp_min;
    }
    cr_assert_eq(bounds[0][0], bounds[1][0]);
    cr_assert_eq(bounds[0][1], bounds[1][1]);
    timestamp_t timestamp = bounds[0][0] > bounds[0][1] ? bounds[0][0] : bounds[0][1];

    /* A read meets what is prepared, and waits for the outcome. */
    uint64_t reader = kv_client_send_get(world, 1, 2, "m", 1, "z");
    kv_world_run(world, 20);
    cr_assert_null(kv_world_answer(world, reader, &ostraka__get_answer__descriptor, NULL));

    for (int time = 0; time < 2; time++) {
        const Ostraka__CommitAnswer *answer = kv_client_commit(world, &home, timestamp);
        cr_assert_eq(answer->header->status, OST_OK);
        cr_assert_eq(answer->commit_timestamp, timestamp);
    }
    cr_assert_eq(kv_client_wait_get(world, reader, &value)->header->status, OST_OK);
    cr_assert(bytes_equal(value, bytes_of_string("10")));
    kv_client_expect_get(world, 1, "", "a", "90");
    /* What comes late is answered from the outcome, and locks nothing. */
    kv_world_run(world, 1000);
    cr_assert_eq(
        kv_client_prepare(world, &home, kv_client_write(world, "a", "90"))->commit_timestamp_min,
        timestamp);
    cr_assert_eq(kv_client_commit(world, &home, timestamp)->commit_timestamp, timestamp);
    cr_assert_eq(kv_client_abort(world, &home, "a")->header->status, OST_EXISTS);
    const Ostraka__GroupStatus *status = kv_world_status(world, 1, 1);
    cr_assert_eq(status->locks->keys_locked_count, 0);
    cr_assert_eq(status->locks->prepared_count, 0);
    cr_assert_eq(world->stores[1].metrics.txns_committed_count, 1);
    kv_world_free(world);
}

Test(kv_group, one_group_commit_happens_once)
{
    struct kv_world *world = kv_world_new_one(1);
    struct kv_part part = {.group = 1,
                           .range_start = "",
                           .sequence = 1,
                           .anchor = "a",
                           .one_group = true,
                           .deadline = kv_world_deadline(world, 5000)};
    /* Twice at once: the second takes over the answer. */
    struct bytes set = kv_client_write(world, "a", "1");
    uint64_t first = kv_client_send_prepare(world, 1, &part, set);
    uint64_t second = kv_client_send_prepare(world, 1, &part, set);
    cr_assert_eq(kv_client_wait_prepare(world, first)->header->status, OST_CANCELED);
    const Ostraka__PrepareAnswer *answer = kv_client_wait_prepare(world, second);
    cr_assert_eq(answer->header->status, OST_OK);
    kv_client_put(world, 1, "", "a", "2");
    cr_assert_eq(kv_client_prepare(world, &part, set)->commit_timestamp_min,
                 answer->commit_timestamp_min);
    kv_client_expect_get(world, 1, "", "a", "2");
    cr_assert_eq(world->stores[1].metrics.txns_one_group_count, 2);
    kv_world_free(world);
}

Test(kv_group, abort_leaves_a_tombstone)
{
    struct kv_world *world = kv_world_new_two(1);
    struct kv_part home = {.group = 1,
                           .range_start = "",
                           .sequence = 1,
                           .anchor = "a",
                           .is_home = true,
                           .participant = "z"};
    struct kv_part other = {.group = 2, .range_start = "m", .sequence = 1, .anchor = "a"};
    cr_assert_eq(kv_client_prepare(world, &other, kv_client_write(world, "z", "1"))->header->status,
                 OST_OK);
    cr_assert_eq(kv_client_abort(world, &home, "a")->header->status, OST_OK);
    cr_assert_eq(kv_client_abort(world, &home, "a")->header->status, OST_OK);
    /* The Prepare that was on its way must fail, and a commit has nothing to commit. */
    cr_assert_eq(kv_client_prepare(world, &home, kv_client_write(world, "a", "1"))->header->status,
                 OST_ABORTED);
    cr_assert_eq(kv_client_commit(world, &home, kv_world_deadline(world, 0))->header->status,
                 OST_ABORTED);
    struct kv_part unknown = {.group = 1, .range_start = "", .sequence = 2, .anchor = "b"};
    cr_assert_eq(kv_client_commit(world, &unknown, 5)->header->status, OST_UNKNOWN_TXN);
    /* The other part is in doubt until its deadline, and then asks home. */
    uint64_t reader = kv_client_send_get(world, 1, 2, "m", 1, "z");
    const Ostraka__GetAnswer *answer = kv_client_wait_get(world, reader, NULL);
    cr_assert(answer->header->status == OST_LOCK_TIMEOUT || answer->header->status == OST_OK);
    kv_world_run(world, 6000);
    kv_client_expect_get(world, 2, "m", "z", NULL);
    kv_world_free(world);
}

Test(kv_group, validate_tells_whether_locks_stand)
{
    struct kv_world *world = kv_world_new_one(1);
    struct kv_part part = {.group = 1, .range_start = "", .sequence = 5, .anchor = "a"};
    cr_assert_eq(kv_client_lock(world, &part, "a", false, NULL)->header->status, OST_OK);
    cr_assert_eq(validate(world, &part), OST_OK);
    struct kv_part gone = part;
    gone.sequence = 6;
    gone.entry = (struct lock_entry_number){0, 0};
    cr_assert_eq(kv_client_lock(world, &gone, "b", false, NULL)->header->status, OST_OK);
    cr_assert_eq(kv_client_abort(world, &gone, "")->header->status, OST_OK);
    cr_assert_eq(validate(world, &gone), OST_LOCKS_LOST);
    kv_world_free(world);
}

Test(kv_group, cold_reads_keep_their_locks)
{
    struct kv_world *world = kv_world_new_one(1);
    kv_client_put(world, 1, "", "a", "1");
    store_memory_hinder(world->stores[1].store, false, true);
    kv_client_expect_get(world, 1, "", "a", "1");
    struct kv_part part = {.group = 1, .range_start = "", .sequence = 5, .anchor = "a"};
    struct bytes value;
    cr_assert_eq(kv_client_lock(world, &part, "a", false, &value)->header->status, OST_OK);
    cr_assert(bytes_equal(value, bytes_of_string("1")));
    cr_assert_eq(validate(world, &part), OST_OK);
    cr_assert_eq(world->stores[1].metrics.reads_blocked_count, 2);
    kv_world_free(world);
}

Test(kv_group, stalled_store_applies_once)
{
    struct kv_world *world = kv_world_new_one(1);
    struct kv_part part = {
        .group = 1, .range_start = "", .sequence = 1, .anchor = "a", .one_group = true};
    uint64_t id = kv_client_send_prepare(world, 1, &part, kv_client_write(world, "a", "1"));
    kv_world_run(world, 1); /* the oracle's answer comes at the end of it */
    store_memory_hinder(world->stores[1].store, true, false);
    kv_world_run(world, 200);
    cr_assert_null(kv_world_answer(world, id, &ostraka__prepare_answer__descriptor, NULL));
    store_memory_hinder(world->stores[1].store, false, false);
    cr_assert_eq(kv_client_wait_prepare(world, id)->header->status, OST_OK);
    kv_client_expect_get(world, 1, "", "a", "1");
    cr_assert_eq(world->stores[1].metrics.txns_one_group_count, 1);
    kv_world_free(world);
}

Test(kv_group, commits_wait_for_the_oracle_and_reads_do_not)
{
    struct kv_world *world = kv_world_new_one(1);
    kv_client_put(world, 1, "", "a", "1");
    world->is_oracle_down = true;
    kv_client_expect_get(world, 1, "", "a", "1");
    struct kv_part part = {
        .group = 1, .range_start = "", .sequence = 1, .anchor = "a", .one_group = true};
    uint64_t id = kv_client_send_prepare(world, 1, &part, kv_client_write(world, "a", "2"));
    kv_world_run(world, 500);
    cr_assert_null(kv_world_answer(world, id, &ostraka__prepare_answer__descriptor, NULL));
    cr_assert_geq(world->stores[1].metrics.oracle_requests_count, 4); /* asked again */
    world->is_oracle_down = false;
    cr_assert_eq(kv_client_wait_prepare(world, id)->header->status, OST_OK);
    kv_world_free(world);
}

Test(kv_group, prepares_of_one_turn_share_a_request_to_the_oracle)
{
    struct kv_world *world = kv_world_new_one(1);
    kv_client_put(world, 1, "", "a", "1");
    uint64_t before = world->stores[1].metrics.oracle_requests_count;
    uint64_t ids[10];
    const char *keys[10] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    for (uint64_t index = 0; index < 10; index++) {
        struct kv_part part = {.group = 1,
                               .range_start = "",
                               .sequence = 100 + index,
                               .anchor = keys[index],
                               .one_group = true};
        ids[index] =
            kv_client_send_prepare(world, 1, &part, kv_client_write(world, keys[index], "v"));
    }
    for (uint64_t index = 0; index < 10; index++)
        cr_assert_eq(kv_client_wait_prepare(world, ids[index])->header->status, OST_OK);
    cr_assert_eq(world->stores[1].metrics.oracle_requests_count, before + 1);
    kv_world_free(world);
}

Test(kv_group, closed_connection_frees_its_locks)
{
    struct kv_world *world = kv_world_new_one(1);
    struct kv_part holder = {.group = 1, .range_start = "", .sequence = 1, .anchor = "a"};
    cr_assert_eq(kv_client_lock(world, &holder, "a", true, NULL)->header->status, OST_OK);
    struct kv_part waiter = {
        .group = 1, .range_start = "", .sequence = 2, .anchor = "a", .one_group = true};
    uint64_t id = kv_client_send_prepare(world, 1, &waiter, kv_client_write(world, "a", "2"));
    kv_world_run(world, 5);
    kv_server_connection_closed(world->stores[1].kv, 1, world->now_ns);
    cr_assert_eq(kv_client_abort(world, &holder, "")->header->status, OST_OK);
    kv_client_put(world, 1, "", "a", "3");
    cr_assert_null(kv_world_answer(world, id, &ostraka__prepare_answer__descriptor, NULL));
    kv_world_free(world);
}

Test(kv_group, restart_recovers_rows_and_prepared_locks)
{
    for (int is_flushed = 0; is_flushed < 2; is_flushed++) {
        struct kv_world *world = kv_world_new_two(1);
        kv_client_put(world, 1, "", "a", "1");
        kv_client_put(world, 2, "m", "z", "1");
        struct kv_part home = {.group = 1,
                               .range_start = "",
                               .sequence = 1,
                               .anchor = "a",
                               .is_home = true,
                               .participant = "z",
                               .deadline = kv_world_deadline(world, 30000)};
        struct kv_part other = {.group = 2,
                                .range_start = "m",
                                .sequence = 1,
                                .anchor = "a",
                                .deadline = home.deadline};
        timestamp_t bound_a =
            kv_client_prepare(world, &home, kv_client_write(world, "a", "2"))->commit_timestamp_min;
        timestamp_t bound_z = kv_client_prepare(world, &other, kv_client_write(world, "z", "2"))
                                  ->commit_timestamp_min;
        uint64_t chain_hash = kv_world_status(world, 1, 2)->chain_hash;
        raft_index_t applied = kv_world_status(world, 1, 2)->applied_index;
        cr_assert_neq(chain_hash, 0);
        if (is_flushed) {
            kv_world_flush(world, 1);
            cr_assert_eq(kv_world_status(world, 1, 2)->flushed_index, applied);
        }
        kv_world_crash(world, 1);
        kv_world_start(world, 1);
        /* What was never flushed knows of no replica: the master says it again, and the log is
         * there. */
        kv_world_create_group(world, 1);
        kv_world_create_group(world, 2);
        cr_assert_eq(kv_world_status(world, 1, 2)->locks->prepared_count, 1);
        uint64_t reader = kv_client_send_get(world, 1, 2, "m", 1, "z");
        kv_world_run(world, 50);
        cr_assert_null(kv_world_answer(world, reader, &ostraka__get_answer__descriptor, NULL));
        timestamp_t timestamp = bound_a > bound_z ? bound_a : bound_z;
        cr_assert_eq(kv_client_commit(world, &home, timestamp)->header->status, OST_OK);
        struct bytes value;
        cr_assert_eq(kv_client_wait_get(world, reader, &value)->header->status, OST_OK);
        cr_assert(bytes_equal(value, bytes_of_string("2")));
        kv_client_expect_get(world, 1, "", "a", "2");
        kv_world_free(world);
    }
}

/* What the store's log still has of its writes, without all but the last `kept`. */
static void log_lose_first_writes(struct kv_world_store *store, size_t segment_bytes, uint32_t kept)
{
    uint32_t count = 0;
    uint8_t *writes[1024];
    for (uint32_t segment = 0; segment < KV_WORLD_SEGMENTS_MAX; segment++) {
        uint8_t *bytes = store->segments[segment];
        for (size_t at = 0; bytes && at < segment_bytes; at += 4096) {
            if (memcmp(bytes + at, "OWAL", 4) != 0)
                continue;
            cr_assert_lt(count, 1024);
            writes[count++] = bytes + at;
        }
    }
    cr_assert_gt(count, kept);
    for (uint32_t index = 0; index + kept < count; index++)
        writes[index][0] ^= 1;
}

/* R6: the log does not know any more that group 1 was ever here, only the rows do. */
Test(kv_group, a_replica_whose_log_left_no_trace_stays_lost)
{
    struct kv_world *world = kv_world_new(3);
    kv_world_create_group(world, 2);
    kv_world_create_group(world, 1); /* what it applies from here on is flushed nowhere */
    kv_world_assign(world, 1, "", "m", 1);
    kv_client_put(world, 1, "", "a", "1");
    kv_world_assign(world, 2, "m", "", 1);
    for (int index = 0; index < 5; index++)
        kv_client_put(world, 2, "m", "z", "1");
    store_id_t store = kv_world_leader(world, 1) % 3 + 1;
    kv_world_crash(world, store);
    log_lose_first_writes(&world->stores[store], world->host_options.log_segment_bytes, 2);
    for (int start = 0; start < 3; start++) {
        kv_world_start(world, store);
        const struct raft_host *host = world->stores[store].host;
        struct raft_status status;
        cr_assert(raft_host_group_damaged(host, 1), "start %d", start);
        cr_assert_eq(raft_host_group_status(host, 1, &status), OST_NOT_FOUND);
        kv_world_run(world, 1000);
        kv_world_crash(world, store);
    }
    kv_world_free(world);
}

Test(kv_group, unflushed_group_comes_back_from_its_log)
{
    struct kv_world *world = kv_world_new_one(1);
    kv_client_put(world, 1, "", "a", "1");
    kv_world_flush(world, 1);
    kv_client_put(world, 1, "", "a", "2");
    kv_client_put(world, 1, "", "b", "3");
    uint64_t chain_hash = kv_world_status(world, 1, 1)->chain_hash;
    raft_index_t applied = kv_world_status(world, 1, 1)->applied_index;
    kv_world_crash(world, 1);
    kv_world_start(world, 1);
    cr_assert_lt(kv_world_status(world, 1, 1)->applied_index, applied);
    kv_client_expect_get(world, 1, "", "a", "2");
    kv_client_expect_get(world, 1, "", "b", "3");
    cr_assert_neq(kv_world_status(world, 1, 1)->chain_hash, chain_hash); /* a term was opened */
    kv_world_free(world);
}

/* The store flushes by itself after the checkpoint, as RocksDB does when its write buffer is full:
 * after a crash it holds rows of entries that are then applied again. */
Test(kv_group, rows_ahead_of_the_checkpoint_change_nothing)
{
    struct kv_world *world = kv_world_new_one(3);
    kv_client_put(world, 1, "", "a", "1");
    store_id_t leader = kv_world_leader(world, 1);
    store_id_t follower = leader % 3 + 1;
    kv_world_run(world, 200);
    kv_world_flush(world, follower);
    raft_index_t checkpoint = kv_world_status(world, follower, 1)->applied_index;

    struct kv_part part = {.group = 1,
                           .range_start = "",
                           .sequence = 1,
                           .anchor = "a",
                           .is_home = true,
                           .deadline = kv_world_deadline(world, 60000)};
    timestamp_t bound =
        kv_client_prepare(world, &part, kv_client_write(world, "a", "2"))->commit_timestamp_min;
    kv_client_log_prepare(world, &part, "b", "b");
    cr_assert_eq(kv_client_commit(world, &part, bound)->header->status, OST_OK);
    kv_client_put(world, 1, "", "c", "3");
    kv_world_run(world, 200);
    raft_index_t applied = kv_world_status(world, follower, 1)->applied_index;
    cr_assert_gt(applied, checkpoint);
    cr_assert_eq(store_flush(world->stores[follower].store), OST_OK);

    kv_world_crash(world, follower);
    kv_world_start(world, follower);
    cr_assert_eq(kv_world_status(world, follower, 1)->applied_index, checkpoint);
    kv_world_run(world, 2000);
    const Ostraka__GroupStatus *status = kv_world_status(world, follower, 1);
    cr_assert_geq(status->applied_index, applied);
    cr_assert_eq(status->chain_hash, kv_world_status(world, leader, 1)->chain_hash);
    kv_world_expect_equal_rows(world, leader, follower, 1);
    /* Nothing was opened the second time that was refused the first time. */
    kv_world_flush(world, follower);
    struct buffer lower = BUFFER_INIT, upper = BUFFER_INIT;
    kv_key_kind(&lower, 1, 1, KV_ROW_PREPARED);
    kv_key_kind(&upper, 1, 1, KV_ROW_PREPARED + 1);
    struct store_iterator *prepared =
        store_iterator_new(world->stores[follower].store, NULL, buffer_bytes(&lower),
                           buffer_bytes(&upper), STORE_MAY_BLOCK);
    store_iterator_first(prepared);
    cr_assert(!store_iterator_valid(prepared));
    store_iterator_free(prepared);
    buffer_fini(&lower);
    buffer_fini(&upper);
    kv_world_free(world);
}

/* S2: rows of a restore that was cut short lie in the store, and the store takes no writes when it
 * starts. It starts all the same, and the next start deletes them. */
Test(kv_group, stalled_store_starts_with_what_a_restore_left_over)
{
    struct kv_world *world = kv_world_new_one(1);
    kv_client_put(world, 1, "", "a", "1");
    kv_world_flush(world, 1);
    struct store *store = world->stores[1].store;
    struct store_batch *batch = store_batch_new(store);
    struct buffer key = BUFFER_INIT;
    kv_key_data(&key, 1, 2, bytes_of_string("a"), 7);
    store_batch_put(batch, buffer_bytes(&key), bytes_of_string("left over"));
    cr_assert_eq(store_write(store, batch), OST_OK);
    cr_assert_eq(store_flush(store), OST_OK);
    kv_world_crash(world, 1);
    store_memory_hinder(store, true, false);
    kv_world_start(world, 1);
    struct buffer value = BUFFER_INIT;
    cr_assert_eq(store_get(store, buffer_bytes(&key), STORE_MAY_BLOCK, &value), OST_OK);
    store_memory_hinder(store, false, false);
    kv_client_expect_get(world, 1, "", "a", "1");
    kv_world_crash(world, 1);
    kv_world_start(world, 1);
    cr_assert_eq(store_get(store, buffer_bytes(&key), STORE_MAY_BLOCK, &value), OST_NOT_FOUND);
    kv_client_expect_get(world, 1, "", "a", "1");
    store_batch_free(batch);
    buffer_fini(&key);
    buffer_fini(&value);
    kv_world_free(world);
}

Test(kv_group, replicas_have_equal_chains)
{
    struct kv_world *world = kv_world_new_one(3);
    for (int round = 0; round < 10; round++)
        kv_client_put(world, 1, "", round % 2 ? "a" : "b", "x");
    kv_world_run(world, 200);
    const Ostraka__GroupStatus *first = kv_world_status(world, 1, 1);
    for (store_id_t id = 2; id <= 3; id++) {
        const Ostraka__GroupStatus *status = kv_world_status(world, id, 1);
        cr_assert_eq(status->applied_index, first->applied_index);
        cr_assert_eq(status->chain_hash, first->chain_hash);
    }
    kv_world_free(world);
}

Test(kv_group, deposed_leader_answers_and_serves_nothing)
{
    struct kv_world *world = kv_world_new_one(3);
    kv_client_put(world, 1, "", "a", "1");
    store_id_t old = kv_world_leader(world, 1);
    struct kv_part part = {.group = 1,
                           .range_start = "",
                           .sequence = 1,
                           .anchor = "a",
                           .one_group = true,
                           .deadline = kv_world_deadline(world, 30000)};
    struct kv_part reader = {.group = 1, .range_start = "", .sequence = 2, .anchor = "b"};
    cr_assert_eq(kv_client_lock(world, &reader, "b", false, NULL)->header->status, OST_OK);
    world->isolated[old] = true;
    struct bytes set = kv_client_write(world, "a", "2");
    uint64_t write = kv_client_send_prepare(world, old, &part, set);
    uint64_t read = kv_client_send_get(world, old, 1, "", 1, "a");
    store_id_t young = kv_world_leader(world, 1);
    cr_assert_neq(young, old);
    /* The same id at the new leader, while the old one still has it in its log. */
    const Ostraka__PrepareAnswer *answer = kv_client_prepare(world, &part, set);
    cr_assert_eq(answer->header->status, OST_OK);
    cr_assert_eq(kv_client_wait_prepare(world, write)->header->status, OST_NOT_LEADER);
    cr_assert_eq(kv_client_wait_get(world, read, NULL)->header->status, OST_NOT_LEADER);
    world->isolated[old] = false;
    kv_world_run(world, 2000);
    kv_client_expect_get(world, 1, "", "a", "2");
    /* Locks of the old leader are gone, and its entry's number is never valid again. */
    cr_assert_eq(validate(world, &reader), OST_LOCKS_LOST);
    cr_assert_eq(kv_client_prepare(world, &part, set)->commit_timestamp_min,
                 answer->commit_timestamp_min);
    kv_world_free(world);
}

/* A leader with a lease, cut off from the others right after it was renewed. */
static struct kv_world *world_leased(store_id_t *out_leader)
{
    struct kv_world *world = kv_world_new_leased(3, 450);
    kv_world_create_group(world, 1);
    kv_world_assign(world, 1, "", "", 1);
    kv_client_put(world, 1, "", "a", "1");
    kv_world_run(world, 200);
    *out_leader = kv_world_leader(world, 1);
    world->isolated[*out_leader] = true;
    return world;
}

static bool is_answered(struct kv_world *world, uint64_t request)
{
    return kv_world_answer(world, request, &ostraka__get_answer__descriptor, NULL) != NULL;
}

Test(kv_group, a_leader_with_a_lease_asks_nobody)
{
    store_id_t leader;
    struct kv_world *world = world_leased(&leader);
    uint64_t read = kv_client_send_get(world, leader, 1, "", 1, "a");
    kv_world_run(world, 5);
    cr_assert(is_answered(world, read), "no quorum is within reach");
    cr_assert_eq(kv_client_wait_get(world, read, NULL)->header->status, OST_OK);
    kv_world_run(world, 450);
    read = kv_client_send_get(world, leader, 1, "", 1, "a");
    kv_world_run(world, 5);
    cr_assert_not(is_answered(world, read), "the lease has run out");
    cr_assert_eq(kv_client_wait_get(world, read, NULL)->header->status, OST_NOT_LEADER);
    kv_world_free(world);
}

/* The pool is at it when the lease ends, somebody else leads, and the value changes. */
Test(kv_group, a_value_read_under_a_lease_that_is_over_is_not_told)
{
    store_id_t leader;
    struct kv_world *world = world_leased(&leader);
    store_memory_hinder(world->stores[leader].store, false, true);
    world->are_jobs_held = true;
    uint64_t read = kv_client_send_get(world, leader, 1, "", 1, "a");
    kv_world_run(world, 460);
    cr_assert_not(is_answered(world, read));
    world->are_jobs_held = false;
    kv_world_run(world, 5);
    cr_assert_eq(kv_world_leader_now(world, 1), leader, "it knows no better");
    cr_assert_eq(kv_client_wait_get(world, read, NULL)->header->status, OST_NOT_READY);
    kv_world_free(world);
}

/* The process stands still after its turn, with the answer in its hands. */
Test(kv_group, an_answer_that_outlived_its_lease_does_not_leave)
{
    store_id_t leader;
    struct kv_world *world = world_leased(&leader);
    world->stopped_before_send_ns = 450 * NS_PER_MS;
    uint64_t read = kv_client_send_get(world, leader, 1, "", 1, "a");
    kv_world_run(world, 5);
    cr_assert_eq(world->frames_outlived_count, 1);
    cr_assert_not(is_answered(world, read));
    world->stopped_before_send_ns = 0;
    read = kv_client_send_get(world, leader, 1, "", 1, "a");
    kv_world_run(world, 5);
    cr_assert(is_answered(world, read), "who asks again is answered");
    kv_world_free(world);
}

Test(kv_group, resolution_is_repeated_until_it_is_heard)
{
    struct kv_world *world = kv_world_new_two(3);
    struct kv_part home = {.group = 1,
                           .range_start = "",
                           .sequence = 1,
                           .anchor = "a",
                           .is_home = true,
                           .participant = "z",
                           .deadline = kv_world_deadline(world, 60000)};
    struct kv_part other = {
        .group = 2, .range_start = "m", .sequence = 1, .anchor = "a", .deadline = home.deadline};
    timestamp_t a =
        kv_client_prepare(world, &home, kv_client_write(world, "a", "2"))->commit_timestamp_min;
    timestamp_t z =
        kv_client_prepare(world, &other, kv_client_write(world, "z", "2"))->commit_timestamp_min;
    world->is_resolution_lost = true;
    cr_assert_eq(kv_client_commit(world, &home, a > z ? a : z)->header->status, OST_OK);
    kv_world_run(world, 500);
    uint64_t reader = kv_client_send_get(world, kv_world_leader(world, 2), 2, "m", 1, "z");
    kv_world_run(world, 100);
    cr_assert_null(kv_world_answer(world, reader, &ostraka__get_answer__descriptor, NULL));
    /* Home gets another leader, which goes on. */
    store_id_t leader = kv_world_leader(world, 1);
    cr_assert_eq(raft_host_transfer(world->stores[leader].host, 1, 0, world->now_ns), OST_OK);
    kv_world_run(world, 1000);
    world->is_resolution_lost = false;
    struct bytes value;
    const Ostraka__GetAnswer *answer = kv_client_wait_get(world, reader, &value);
    cr_assert_eq(answer->header->status, OST_OK, "%d", answer->header->status);
    cr_assert(bytes_equal(value, bytes_of_string("2")));
    kv_world_free(world);
}

/* The shard master hears of it when it is applied; what it hears may get lost, so once more when it
 * asks again. */
static void count_owned(void *context, const Ostraka__RangeReport *report)
{
    size_t *count = context;
    cr_expect_eq(report->n_ranges, 1);
    cr_expect_eq(report->group, 1);
    cr_expect_eq(report->ranges[0]->state, OSTRAKA__RANGE_STATE__RANGE_OWNED);
    cr_expect_eq(report->ranges[0]->epoch, 1);
    (*count)++;
}

static raft_index_t applied_index(struct kv_world *world)
{
    struct kv_applied applied;
    cr_assert_eq(kv_server_applied(world->stores[kv_world_leader(world, 1)].kv, &applied, 1), 1);
    return applied.index;
}

Test(kv_group, an_assigned_range_is_reported_when_applied_and_when_asked_again)
{
    struct kv_world *world = kv_world_new(3);
    kv_world_create_group(world, 1);
    size_t reported_count = 0;
    world->range_report = count_owned;
    world->range_context = &reported_count;
    Ostraka__RangeInfo range = OSTRAKA__RANGE_INFO__INIT;
    range.start = kv_field("");
    range.end = kv_field("m");
    range.epoch = 1;
    Ostraka__AssignRange assign = OSTRAKA__ASSIGN_RANGE__INIT;
    assign.group = 1;
    assign.group_epoch = 1;
    assign.range = &range;
    raft_index_t applied = applied_index(world);
    kv_world_send(world, kv_world_leader(world, 1), FRAME_ASSIGN_RANGE, &assign.base,
                  bytes_of(NULL, 0));
    kv_world_run(world, 5000);
    cr_expect_eq(applied_index(world), applied + 1);
    cr_expect_eq(reported_count, 1, "and what is settled is not told by itself");
    kv_world_send(world, kv_world_leader(world, 1), FRAME_ASSIGN_RANGE, &assign.base,
                  bytes_of(NULL, 0));
    kv_world_run(world, 100);
    cr_expect_eq(reported_count, 2);
    cr_expect_eq(applied_index(world), applied + 1, "nothing was logged for it");
    kv_world_free(world);
}

Test(kv_group, overlapping_range_is_not_taken)
{
    struct kv_world *world = kv_world_new_two(1);
    Ostraka__RangeInfo range = OSTRAKA__RANGE_INFO__INIT;
    range.start = kv_field("k");
    range.end = kv_field("p");
    range.epoch = 5;
    Ostraka__AssignRange assign = OSTRAKA__ASSIGN_RANGE__INIT;
    assign.group = 1;
    assign.group_epoch = 1;
    assign.range = &range;
    kv_world_send(world, 1, FRAME_ASSIGN_RANGE, &assign.base, bytes_of(NULL, 0));
    range.start = kv_field("");
    range.end = kv_field("m");
    kv_world_send(world, 1, FRAME_ASSIGN_RANGE, &assign.base, bytes_of(NULL, 0));
    kv_world_run(world, 100);
    uint64_t id = kv_client_send_get(world, 1, 1, "k", 5, "k");
    cr_assert_eq(kv_client_wait_get(world, id, NULL)->header->status, OST_RANGE_MOVED);
    kv_client_expect_get(world, 1, "", "k", NULL);
    kv_world_free(world);
}
