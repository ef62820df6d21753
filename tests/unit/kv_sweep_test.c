/* Old versions go: the safe point in a group's log, what is dropped by it and when, the sweeper. */
#define _GNU_SOURCE /* nftw */

#include "tests/support/kv_world.h"

#include "proto/write_set.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static ProtobufCBinaryData field(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* --- A group and its clients -------------------------------------------------------------------
 */

static struct kv_world *world_of(uint32_t stores_count)
{
    struct kv_world *world = kv_world_new(stores_count);
    kv_world_create_group(world, 1);
    kv_world_assign(world, 1, "", "", 1);
    return world;
}

static uint64_t last_sequence = 100;

/* The commit timestamp. NULL deletes. */
static timestamp_t put(struct kv_world *world, const char *key, const char *value)
{
    struct buffer set = BUFFER_INIT;
    struct write write = {.kind = value ? WRITE_PUT : WRITE_DELETE, .key = bytes_of_string(key)};
    if (value)
        write.value = bytes_of_string(value);
    write_set_append(&set, &write);
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = ++last_sequence;
    Ostraka__TxnAge age = OSTRAKA__TXN_AGE__INIT;
    age.timestamp = txn.sequence;
    age.client = 9;
    Ostraka__PrepareRequest request = OSTRAKA__PREPARE_REQUEST__INIT;
    request.group = 1;
    request.n_ranges = 1;
    request.ranges = ranges;
    request.txn = &txn;
    request.age = &age;
    request.deadline = kv_world_deadline(world, 5000);
    request.anchor = field(key);
    request.one_group = true;
    uint64_t id = kv_world_send(world, kv_world_leader(world, 1), FRAME_PREPARE, &request.base,
                                buffer_bytes(&set));
    buffer_fini(&set);
    const Ostraka__PrepareAnswer *answer = (const Ostraka__PrepareAnswer *)kv_world_wait(
        world, id, &ostraka__prepare_answer__descriptor, NULL);
    cr_assert_eq(answer->header->status, OST_OK, "%s", answer->header->text);
    return answer->commit_timestamp_min;
}

static void expect_get(struct kv_world *world, const char *key, const char *expected)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__GetRequest request = OSTRAKA__GET_REQUEST__INIT;
    request.group = 1;
    request.range = &range;
    request.key = field(key);
    uint64_t id = kv_world_send(world, kv_world_leader(world, 1), FRAME_GET, &request.base,
                                bytes_of(NULL, 0));
    struct bytes value;
    const Ostraka__GetAnswer *answer = (const Ostraka__GetAnswer *)kv_world_wait(
        world, id, &ostraka__get_answer__descriptor, &value);
    cr_assert_eq(answer->header->status, OST_OK);
    cr_assert_eq(answer->found, expected != NULL, "key %s", key);
    if (expected)
        cr_assert(bytes_equal(value, bytes_of_string(expected)), "key %s", key);
}

static uint64_t send_scan(struct kv_world *world)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__ScanRequest request = OSTRAKA__SCAN_REQUEST__INIT;
    request.group = 1;
    request.range = &range;
    return kv_world_send(world, kv_world_leader(world, 1), FRAME_SCAN, &request.base,
                         bytes_of(NULL, 0));
}

static const Ostraka__ScanAnswer *wait_scan(struct kv_world *world, uint64_t id)
{
    return (const Ostraka__ScanAnswer *)kv_world_wait(world, id, &ostraka__scan_answer__descriptor,
                                                      NULL);
}

static struct kv_group *group_of(struct kv_world *world, store_id_t store, group_id_t group)
{
    return kv_server_group((struct kv_shared *)world->stores[store].kv, group);
}

/* Versions and markers of the group. */
static size_t rows_count(struct kv_world *world, store_id_t store, size_t *out_markers)
{
    uint32_t generation = group_of(world, store, 1)->meta.generation;
    struct buffer lower = BUFFER_INIT, upper = BUFFER_INIT;
    kv_key_kind(&lower, 1, generation, KV_ROW_DATA);
    kv_key_kind(&upper, 1, generation, KV_ROW_DATA + 1);
    struct store_iterator *iterator =
        store_iterator_new(world->stores[store].store, NULL, buffer_bytes(&lower),
                           buffer_bytes(&upper), STORE_PASSING);
    size_t count = 0;
    *out_markers = 0;
    for (store_iterator_first(iterator); store_iterator_valid(iterator);
         store_iterator_next(iterator)) {
        count++;
        *out_markers += store_iterator_value(iterator).data[0] == WRITE_DELETE;
    }
    store_iterator_free(iterator);
    buffer_fini(&lower);
    buffer_fini(&upper);
    return count;
}

static void expect_rows(struct kv_world *world, store_id_t store, size_t count, size_t markers)
{
    size_t found_markers;
    size_t found = rows_count(world, store, &found_markers);
    cr_expect_eq(found, count, "store %lu has %zu rows, not %zu", store, found, count);
    cr_expect_eq(found_markers, markers, "store %lu has %zu markers, not %zu", store, found_markers,
                 markers);
}

/* In the log, in a checkpoint, and that durable: the store may act by it. */
static void advance(struct kv_world *world, timestamp_t safe_point)
{
    kv_world_safe_point(world, safe_point);
    kv_world_run(world, 100);
    for (store_id_t id = 1; id <= world->stores_count; id++)
        if (world->stores[id].is_up)
            kv_world_flush(world, id);
}

/* --- The safe point ----------------------------------------------------------------------------
 */

Test(kv_safe_point, takes_effect_by_an_entry_of_the_log)
{
    struct kv_world *world = world_of(3);
    kv_world_create_group(world, 2);
    timestamp_t first = put(world, "a", "1");
    put(world, "a", "2");
    kv_world_run(world, 200);
    uint64_t idle_index = kv_world_status(world, 1, 2)->last_index;
    kv_world_safe_point(world, first);
    kv_world_run(world, 200);
    uint64_t index = kv_world_status(world, 1, 1)->applied_index;
    for (store_id_t id = 1; id <= 3; id++) {
        cr_expect_eq(kv_world_status(world, id, 1)->safe_point, first);
        cr_expect_eq(kv_world_status(world, id, 1)->applied_index, index);
        cr_expect_eq(kv_world_status(world, id, 1)->chain_hash,
                     kv_world_status(world, 1, 1)->chain_hash);
        cr_expect_eq(kv_world_status(world, id, 2)->safe_point, 0);
        cr_expect_eq(kv_world_status(world, id, 2)->last_index, idle_index,
                     "an idle group costs nothing");
    }
    /* The same again, and a lower one, are not worth an entry. */
    kv_world_safe_point(world, first);
    kv_world_safe_point(world, first - 1);
    struct kv_meta meta = {.safe_point = first};
    kv_group_safe_point_apply(&meta, first - 1);
    cr_expect_eq(meta.safe_point, first, "nor would an entry that says so do anything");
    kv_world_run(world, 200);
    cr_expect_eq(kv_world_status(world, 1, 1)->last_index, index);
    /* Once it is above all that was written, it rests. */
    timestamp_t late = put(world, "a", "3") + timestamp_from_ms(1000);
    kv_world_safe_point(world, late);
    kv_world_run(world, 200);
    cr_expect_eq(kv_world_status(world, 1, 1)->safe_point, late);
    index = kv_world_status(world, 1, 1)->last_index;
    kv_world_safe_point(world, late + 1);
    kv_world_run(world, 200);
    cr_expect_eq(kv_world_status(world, 1, 1)->last_index, index);
    kv_world_free(world);
}

Test(kv_safe_point, the_next_leader_takes_it_up)
{
    struct kv_world *world = world_of(3);
    timestamp_t first = put(world, "a", "1");
    store_id_t old = kv_world_leader(world, 1);
    world->isolated[old] = true;
    kv_world_safe_point(world, first);
    kv_world_run(world, 5000);
    store_id_t leader = kv_world_leader(world, 1);
    cr_assert_neq(leader, old);
    cr_expect_eq(kv_world_status(world, leader, 1)->safe_point, first);
    cr_expect_eq(kv_world_status(world, old, 1)->safe_point, 0);
    world->isolated[old] = false;
    kv_world_run(world, 2000);
    cr_expect_eq(kv_world_status(world, old, 1)->safe_point, first);
    kv_world_free(world);
}

/* A version is committed below the safe point only by one that had its bound before. */
Test(kv_safe_point, bounds_lie_above_it)
{
    struct kv_world *world = world_of(1);
    timestamp_t ahead = put(world, "a", "1") + timestamp_from_ms(60000);
    kv_world_safe_point(world, ahead);
    kv_world_run(world, 100);
    cr_expect_gt(put(world, "a", "2"), ahead);
    kv_world_free(world);
}

/* What is dropped is dropped by what is durable: after a crash, before anything of the log is
 * applied again, the meta row knows of every row that is gone. */
Test(kv_safe_point, no_row_goes_before_the_meta_row_that_says_why_is_durable)
{
    struct kv_world *world = world_of(3);
    put(world, "a", "1");
    put(world, "a", "2");
    timestamp_t last = put(world, "a", "3");
    kv_world_run(world, 100);
    kv_world_safe_point(world, last);
    kv_world_run(world, 200);
    cr_assert_eq(kv_world_status(world, 2, 1)->safe_point, last);
    /* A flush that the store makes by itself: no checkpoint goes with it. */
    cr_assert_eq(store_flush(world->stores[2].store), OST_OK);
    cr_assert_eq(store_compact(world->stores[2].store, bytes_of(NULL, 0), bytes_of(NULL, 0)),
                 OST_OK);
    expect_rows(world, 2, 3, 0);
    /* The replica alone, as a crash would leave it. */
    kv_world_crash(world, 2);
    world->isolated[2] = true;
    kv_world_start(world, 2);
    cr_expect_eq(kv_world_status(world, 2, 1)->safe_point, 0, "it was not durable");
    expect_rows(world, 2, 3, 0);
    world->isolated[2] = false;
    kv_world_run(world, 1000);
    cr_assert_eq(kv_world_status(world, 2, 1)->safe_point, last);
    kv_world_flush(world, 2);
    cr_assert_eq(store_compact(world->stores[2].store, bytes_of(NULL, 0), bytes_of(NULL, 0)),
                 OST_OK);
    expect_rows(world, 2, 1, 0);
    kv_world_crash(world, 2);
    world->isolated[2] = true;
    kv_world_start(world, 2);
    expect_rows(world, 2, 1, 0);
    cr_expect_eq(kv_world_status(world, 2, 1)->safe_point, last, "rows are gone, and it knows");
    kv_world_free(world);
}

/* The meta row of a snapshot goes first; rows that follow must be those of its safe point. */
Test(kv_safe_point, nothing_goes_while_a_snapshot_is_being_sent)
{
    struct kv_world *world = world_of(1);
    put(world, "a", "1");
    timestamp_t last = put(world, "a", "2");
    struct kv_group *group = group_of(world, 1, 1);
    void *snapshot;
    struct raft_snapshot_meta meta;
    cr_assert_eq(kv_snapshot_open(group, &meta, &snapshot), OST_OK);
    advance(world, last);
    cr_assert_eq(kv_world_status(world, 1, 1)->safe_point, last);
    kv_world_flush(world, 1);
    kv_world_run(world, 1000);
    expect_rows(world, 1, 2, 0);
    struct buffer chunk = BUFFER_INIT;
    bool is_last = false;
    while (!is_last)
        cr_assert_eq(kv_snapshot_read(snapshot, &chunk, 1000, &is_last), OST_OK);
    kv_snapshot_close(snapshot);
    buffer_fini(&chunk);
    kv_world_flush(world, 1);
    kv_world_run(world, 1000);
    expect_rows(world, 1, 1, 0);
    kv_world_free(world);
}

/* A scan is granted and waits for the pool; the keys are overwritten, and the safe point comes past
 * the new versions: its snapshot has lost what it was to show. */
Test(kv_safe_point, a_scan_that_was_overtaken_is_read_again)
{
    struct kv_world *world = world_of(1);
    put(world, "a", "1");
    put(world, "b", "1");
    store_memory_hinder(world->stores[1].store, false, true);
    world->are_jobs_held = true;
    uint64_t id = send_scan(world);
    kv_world_run(world, 20);
    cr_assert_not_null(world->stores[1].jobs);
    struct job *scan = kv_world_take_job(world, 1);
    put(world, "a", "2");
    timestamp_t last = put(world, "b", "2");
    advance(world, last);
    kv_world_flush(world, 1);
    expect_rows(world, 1, 2, 0);
    scan->run(scan);
    scan->done(scan);
    const Ostraka__ScanAnswer *answer = wait_scan(world, id);
    cr_expect_eq(answer->header->status, OST_NOT_READY, "it would have shown %u rows",
                 answer->rows_count);
    answer = wait_scan(world, send_scan(world));
    cr_expect_eq(answer->header->status, OST_OK);
    cr_expect_eq(answer->rows_count, 2);
    kv_world_free(world);
}

/* --- The sweeper -------------------------------------------------------------------------------
 */

Test(kv_sweep, removes_markers_with_all_that_is_older)
{
    struct kv_world *world = world_of(3);
    put(world, "a", "1");
    put(world, "a", "2");
    put(world, "a", NULL);
    put(world, "b", "1");
    put(world, "b", NULL);
    timestamp_t safe_point = put(world, "b", "2");
    put(world, "c", "1");
    put(world, "c", NULL);
    put(world, "d", "1");
    kv_world_run(world, 200);
    advance(world, safe_point);
    kv_world_run(world, 2000);
    for (store_id_t id = 1; id <= 3; id++) {
        expect_rows(world, id, 4, 1); /* b=2, c=1 and its marker, which is newer, d=1 */
        cr_expect_eq(world->stores[id].metrics.markers_swept_count, 2);
    }
    expect_get(world, "a", NULL);
    expect_get(world, "b", "2");
    expect_get(world, "c", NULL);
    expect_get(world, "d", "1");
    /* It knows where the next one lies: c's marker. */
    advance(world, put(world, "e", "1"));
    kv_world_run(world, 2000);
    for (store_id_t id = 1; id <= 3; id++)
        expect_rows(world, id, 3, 0);
    expect_get(world, "c", NULL);
    kv_world_free(world);
}

Test(kv_sweep, does_nothing_when_there_is_nothing)
{
    struct kv_world *world = world_of(1);
    put(world, "a", "1");
    put(world, "a", NULL);
    advance(world, put(world, "b", "1"));
    kv_world_run(world, 60000);
    expect_rows(world, 1, 1, 0);
    /* All jobs from now on are held, so that one could be seen. */
    world->are_jobs_held = true;
    kv_world_run(world, 60000);
    cr_expect_null(world->stores[1].jobs);
    world->are_jobs_held = false;
    kv_world_free(world);
}

/* More versions than a job looks at, or a batch holds: the marker goes last. And a start, after
 * which nobody knows what there is: a pass finds out. */
Test(kv_sweep, a_marker_goes_after_all_of_many_older_versions)
{
    struct kv_world *world = world_of(1);
    put(world, "b", "1");
    kv_world_write_versions(world, "a", 1, 20000, 9);
    put(world, "a", NULL);
    timestamp_t safe_point = put(world, "c", "1");
    /* Without compaction, which would do most of the work. */
    world->kv_options.garbage_bytes_min = UINT64_MAX;
    kv_world_flush(world, 1);
    kv_world_crash(world, 1);
    kv_world_start(world, 1);
    kv_world_leader(world, 1);
    kv_world_safe_point(world, safe_point);
    kv_world_run(world, 100);
    kv_world_flush(world, 1);
    size_t markers = 1, rows = 0, seen_between = 0;
    for (uint32_t ms = 0; ms < 5000 && markers > 0; ms++) {
        kv_world_run(world, 1);
        size_t before = rows;
        rows = rows_count(world, 1, &markers);
        seen_between += markers == 1 && rows != before;
        cr_assert(markers == 1 || rows == 2, "the marker is gone, and %zu rows are there", rows);
    }
    cr_expect_gt(seen_between, 2, "several jobs");
    expect_rows(world, 1, 2, 0);
    expect_get(world, "a", NULL);
    kv_world_free(world);
}

/* The job of one life must not touch the rows of the next, which have the same generations. */
Test(kv_sweep, a_new_replica_waits_for_the_end_of_the_old_ones_job)
{
    struct kv_world *world = world_of(1);
    put(world, "a", "1");
    put(world, "a", NULL);
    timestamp_t safe_point = put(world, "b", "1");
    kv_world_safe_point(world, safe_point);
    kv_world_run(world, 100);
    kv_world_flush(world, 1);
    kv_world_crash(world, 1);
    world->are_jobs_held = true;
    kv_world_start(world, 1); /* a pass is due */
    kv_world_run(world, 1);
    cr_assert_not_null(world->stores[1].jobs, "the sweeper's");
    struct job *job = kv_world_take_job(world, 1);
    kv_server_destroy_replica(world->stores[1].kv, 1, 11, world->now_ns);
    kv_world_run(world, 100);
    cr_assert_not(kv_server_owns_group(world->stores[1].kv, 1));
    Ostraka__RaftConfiguration configuration = OSTRAKA__RAFT_CONFIGURATION__INIT;
    Ostraka__CreateReplica create = OSTRAKA__CREATE_REPLICA__INIT;
    create.store = 1;
    create.group = 1;
    create.group_epoch = 2;
    create.replica = 12;
    create.configuration = &configuration;
    cr_expect_eq(kv_server_create_replica(world->stores[1].kv, &create, world->now_ns), OST_BUSY);
    job->run(job);
    job->done(job);
    cr_expect_eq(kv_server_create_replica(world->stores[1].kv, &create, world->now_ns), OST_OK);
    kv_world_run(world, 100);
    cr_expect(kv_server_owns_group(world->stores[1].kv, 1));
    kv_world_free(world);
}

/* --- Space -------------------------------------------------------------------------------------
 */

static char directory[64];
static uint64_t directory_bytes;

static int entry_count(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)path;
    (void)walk;
    if (type == FTW_F)
        directory_bytes += (uint64_t)status->st_size;
    return 0;
}

static int entry_remove(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static uint64_t disk_bytes(void)
{
    directory_bytes = 0;
    nftw(directory, entry_count, 16, FTW_PHYS);
    return directory_bytes;
}

/* One key that was overwritten 100000 times, with nothing written after: the sweeper finds it. */
Test(kv_sweep, space_comes_back)
{
    strcpy(directory, "/tmp/ostraka-sweep-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    struct store_options options;
    store_options_default(&options);
    struct store *store;
    char why[256];
    cr_assert_eq(store_open_rocksdb(directory, &options, &store, why), OST_OK, "%s", why);
    struct kv_world *world = kv_world_new(1);
    kv_world_set_store(world, 1, store);
    kv_world_create_group(world, 1);
    kv_world_assign(world, 1, "", "", 1);
    put(world, "before", "1");
    kv_world_write_versions(world, "counter", 1, 100000, 100);
    timestamp_t last = put(world, "counter", "the last");
    kv_world_flush(world, 1);
    size_t markers;
    cr_assert_eq(rows_count(world, 1, &markers), 100002);
    uint64_t bytes_before = disk_bytes();
    cr_assert_gt(bytes_before, 5000000);
    advance(world, last);
    for (uint32_t second = 0; second < 600 && rows_count(world, 1, &markers) > 2; second++)
        kv_world_run(world, 1000);
    cr_expect_eq(rows_count(world, 1, &markers), 2);
    cr_expect_lt(disk_bytes(), bytes_before / 20, "%lu of %lu bytes are left", disk_bytes(),
                 bytes_before);
    expect_get(world, "counter", "the last");
    expect_get(world, "before", "1");
    kv_world_free(world);
    nftw(directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}
