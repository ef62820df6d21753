/* What a store may drop by itself: the decisions, and both stores acting by them. */
#define _GNU_SOURCE /* nftw */

#include "shardkv/kv_gc.h"

#include "base/random.h"
#include "proto/write_set.h"
#include "shardkv/kv_keys.h"
#include "shardkv/store.h"
#include "txn/record.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP      5u
#define GENERATION 2u

/* --- Decisions ---------------------------------------------------------------------------------
 */

static struct kv_gc *gc;
static struct kv_gc_run *run;
static struct buffer key, value;

static void filter_begin(timestamp_t safe_point, timestamp_t log_timestamp)
{
    gc = kv_gc_new();
    struct kv_gc_point point = {GENERATION, safe_point, log_timestamp};
    kv_gc_publish(gc, GROUP, &point);
    run = kv_gc_run_new(gc);
}

static void filter_end(void)
{
    kv_gc_run_free(run);
    kv_gc_free(gc);
    buffer_fini(&key);
    buffer_fini(&value);
}

static bool drops(uint32_t generation, const char *user_key, timestamp_t timestamp,
                  enum write_kind kind)
{
    kv_key_data(&key, GROUP, generation, bytes_of_string(user_key), timestamp);
    buffer_reset(&value);
    buffer_append_u8(&value, (uint8_t)kind);
    return kv_gc_run_drops(run, buffer_bytes(&key), buffer_bytes(&value));
}

Test(kv_gc, drops_what_a_newer_version_at_or_below_the_safe_point_shadows)
{
    filter_begin(20, 0);
    cr_expect_not(drops(GENERATION, "a", 25, WRITE_PUT));
    cr_expect_not(drops(GENERATION, "a", 21, WRITE_PUT), "a reader at 21 to 24 sees it");
    cr_expect_not(drops(GENERATION, "a", 20, WRITE_PUT), "one at the safe point sees this one");
    cr_expect(drops(GENERATION, "a", 19, WRITE_PUT));
    cr_expect(drops(GENERATION, "a", 3, WRITE_PUT));
    cr_expect_not(drops(GENERATION, "b", 2, WRITE_PUT), "old, but the newest of its key");
    cr_expect(drops(GENERATION, "b", 1, WRITE_PUT));
    /* One key is not the beginning of another. */
    cr_expect_not(drops(GENERATION, "bb", 1, WRITE_PUT));
    cr_expect_eq(kv_gc_dropped_count(gc), 3);
    filter_end();
}

Test(kv_gc, never_drops_a_delete_marker)
{
    filter_begin(20, 0);
    cr_expect_not(drops(GENERATION, "a", 12, WRITE_PUT));
    cr_expect_not(drops(GENERATION, "a", 10, WRITE_DELETE), "shadowed, and yet");
    cr_expect(drops(GENERATION, "a", 8, WRITE_PUT), "it shadows as a value does");
    cr_expect_not(drops(GENERATION, "a", 6, WRITE_DELETE));
    cr_expect_not(drops(GENERATION, "b", 10, WRITE_DELETE));
    filter_end();
}

Test(kv_gc, judges_by_what_was_published_of_group_and_generation)
{
    filter_begin(20, 0);
    cr_expect_not(drops(GENERATION + 1, "a", 10, WRITE_PUT));
    cr_expect_not(drops(GENERATION + 1, "a", 9, WRITE_PUT), "a snapshot that comes in");
    kv_gc_run_free(run);
    kv_gc_withdraw(gc, GROUP);
    run = kv_gc_run_new(gc);
    cr_expect_not(drops(GENERATION, "a", 10, WRITE_PUT));
    cr_expect_not(drops(GENERATION, "a", 9, WRITE_PUT), "nothing is published");
    kv_gc_run_free(run);
    run = kv_gc_run_new(gc);
    struct kv_gc_point point = {GENERATION, 9, 0};
    kv_gc_publish(gc, GROUP, &point);
    cr_expect_not(drops(GENERATION, "a", 10, WRITE_PUT));
    cr_expect_not(drops(GENERATION, "a", 9, WRITE_PUT), "a reader at 9");
    cr_expect(drops(GENERATION, "a", 8, WRITE_PUT));
    filter_end();
}

/* The row of an outcome, in `key` and `value`. */
static void outcome_make(timestamp_t deadline, uint64_t log_index)
{
    struct arena arena;
    arena_init(&arena);
    struct record_effect effect = {
        .type = RECORD_PUT_OUTCOME,
        .txn = {1, 2},
        .anchor = bytes_of_string("anchor"),
        .outcome = {.state = OSTRAKA__TXN_STATE__ABORTED, .deadline = deadline},
    };
    struct bytes record = txn_outcome_pack(&effect, &arena);
    buffer_reset(&value);
    buffer_append_u64_be(&value, log_index);
    buffer_append(&value, record.data, record.bytes_count);
    kv_key_outcome(&key, GROUP, GENERATION, effect.anchor, effect.txn);
    arena_fini(&arena);
}

static bool outcome_drops(timestamp_t deadline, bool is_whole)
{
    outcome_make(deadline, 17);
    struct bytes row = bytes_of(value.data, is_whole ? value.bytes_count : 5);
    return kv_gc_run_drops(run, buffer_bytes(&key), row);
}

Test(kv_gc, drops_an_outcome_when_it_counts_as_absent)
{
    timestamp_t deadline = timestamp_from_ms(1000);
    timestamp_t over = timestamp_from_ms(1000 + OUTCOME_KEPT_MS);
    filter_begin(0, over);
    cr_expect_not(outcome_drops(deadline, true), "at its very end it is still there");
    cr_expect(outcome_drops(deadline - 1, true));
    cr_expect_not(outcome_drops(UINT64_MAX, true), "a deadline at the end of time");
    cr_expect_not(outcome_drops(0, false), "what does not parse is not ours to drop");
    filter_end();
}

Test(kv_gc, leaves_all_other_rows_alone)
{
    filter_begin(UINT64_MAX - 1, UINT64_MAX);
    struct txn_id txn = {1, 2};
    buffer_append_u8(&value, WRITE_PUT);
    for (int time = 0; time < 2; time++) { /* the second looks shadowed by the first */
        kv_key_group_meta(&key, GROUP);
        cr_expect_not(kv_gc_run_drops(run, buffer_bytes(&key), buffer_bytes(&value)));
        kv_key_prepared(&key, GROUP, GENERATION, txn);
        cr_expect_not(kv_gc_run_drops(run, buffer_bytes(&key), buffer_bytes(&value)));
        kv_key_open(&key, GROUP, GENERATION, txn);
        cr_expect_not(kv_gc_run_drops(run, buffer_bytes(&key), buffer_bytes(&value)));
        kv_key_range(&key, GROUP, GENERATION, bytes_of_string("some key or other"));
        cr_expect_not(kv_gc_run_drops(run, buffer_bytes(&key), buffer_bytes(&value)));
        kv_key_master(&key, bytes_of_string("map"));
        cr_expect_not(kv_gc_run_drops(run, buffer_bytes(&key), buffer_bytes(&value)));
    }
    /* Not a whole data row. */
    kv_key_kind(&key, GROUP, GENERATION, KV_ROW_DATA);
    cr_expect_not(kv_gc_run_drops(run, buffer_bytes(&key), buffer_bytes(&value)));
    cr_expect_not(kv_gc_run_drops(run, bytes_of(NULL, 0), bytes_of(NULL, 0)));
    filter_end();
}

/* --- Both stores -------------------------------------------------------------------------------
 */

enum { KEYS_COUNT = 6, VERSIONS_MAX = 4096 };

static char directory[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void setup(void)
{
    strcpy(directory, "/tmp/ostraka-gc-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static void teardown(void)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(kv_gc_stores, .init = setup, .fini = teardown);

static struct store *open_rocksdb(bool is_compacting_in_flush)
{
    struct store_options options;
    store_options_default(&options);
    options.is_compacting_in_flush = is_compacting_in_flush;
    struct store *store = NULL;
    char why[256];
    cr_assert_eq(store_open_rocksdb(directory, &options, &store, why), OST_OK, "%s", why);
    return store;
}

struct version {
    unsigned key;
    timestamp_t timestamp;
    bool is_marker;
};

struct world {
    struct store *store;
    bool is_memory;
    struct random random;
    struct version versions[VERSIONS_MAX]; /* all that were ever written, in order */
    size_t versions_count, flushed_count;
    timestamp_t now, safe_point;
    struct buffer key, value;
};

static void version_write(struct world *world, const struct version *version)
{
    char user_key[8];
    snprintf(user_key, sizeof(user_key), "k%u", version->key);
    struct store_batch *batch = store_batch_new(world->store);
    kv_key_data(&world->key, GROUP, GENERATION, bytes_of_string(user_key), version->timestamp);
    buffer_reset(&world->value);
    buffer_append_u8(&world->value, version->is_marker ? WRITE_DELETE : WRITE_PUT);
    if (!version->is_marker)
        buffer_append_u64_be(&world->value, version->timestamp);
    store_batch_put(batch, buffer_bytes(&world->key), buffer_bytes(&world->value));
    cr_assert_eq(store_write(world->store, batch), OST_OK);
    store_batch_free(batch);
}

/* The timestamp of what a reader sees; 0: nothing. */
static timestamp_t expected(const struct world *world, unsigned wanted, timestamp_t at)
{
    timestamp_t found = 0;
    for (size_t index = 0; index < world->versions_count; index++) {
        const struct version *version = &world->versions[index];
        if (version->key == wanted && version->timestamp <= at)
            found = version->is_marker ? 0 : version->timestamp;
    }
    return found;
}

static timestamp_t seen(struct world *world, unsigned wanted, timestamp_t at)
{
    char user_key[8];
    snprintf(user_key, sizeof(user_key), "k%u", wanted);
    struct buffer lower = BUFFER_INIT, upper = BUFFER_INIT;
    kv_key_data(&lower, GROUP, GENERATION, bytes_of_string(user_key), at);
    kv_key_data_prefix(&upper, GROUP, GENERATION, bytes_of_string(user_key));
    memset(buffer_extend(&upper, 9), 0xff, 9);
    struct store_iterator *iterator = store_iterator_new(world->store, NULL, buffer_bytes(&lower),
                                                         buffer_bytes(&upper), STORE_PASSING);
    store_iterator_first(iterator);
    timestamp_t found = 0;
    if (store_iterator_valid(iterator) && store_iterator_value(iterator).data[0] == WRITE_PUT)
        found = kv_gc_timestamp(store_iterator_key(iterator));
    store_iterator_free(iterator);
    buffer_fini(&lower);
    buffer_fini(&upper);
    return found;
}

static void check_all(struct world *world)
{
    for (unsigned wanted = 0; wanted < KEYS_COUNT; wanted++) {
        timestamp_t at =
            world->safe_point + random_below(&world->random, world->now - world->safe_point + 2);
        cr_assert_eq(seen(world, wanted, at), expected(world, wanted, at),
                     "key %u at %lu, safe point %lu", wanted, at, world->safe_point);
        at = world->safe_point;
        cr_assert_eq(seen(world, wanted, at), expected(world, wanted, at),
                     "key %u at the safe point %lu", wanted, at);
    }
}

static size_t rows_count(struct world *world)
{
    struct store_iterator *iterator =
        store_iterator_new(world->store, NULL, bytes_of(NULL, 0), bytes_of(NULL, 0), STORE_PASSING);
    size_t count = 0;
    for (store_iterator_first(iterator); store_iterator_valid(iterator);
         store_iterator_next(iterator))
        count++;
    store_iterator_free(iterator);
    return count;
}

static size_t rows_needed(const struct world *world)
{
    size_t count = 0;
    for (size_t index = 0; index < world->versions_count; index++) {
        const struct version *version = &world->versions[index];
        bool is_shadowed = false;
        for (size_t later = index + 1; later < world->versions_count; later++)
            is_shadowed = is_shadowed || (world->versions[later].key == version->key &&
                                          world->versions[later].timestamp <= world->safe_point);
        count += !is_shadowed || version->is_marker;
    }
    return count;
}

static void step(struct world *world)
{
    switch (random_below(&world->random, 12)) {
    case 0:
        cr_assert_eq(store_flush(world->store), OST_OK);
        world->flushed_count = world->versions_count;
        break;
    case 1:
        cr_assert_eq(store_compact(world->store, bytes_of(NULL, 0), bytes_of(NULL, 0)), OST_OK);
        break;
    case 2: {
        world->safe_point += random_below(&world->random, world->now - world->safe_point + 1);
        struct kv_gc_point point = {GENERATION, world->safe_point, world->safe_point};
        kv_gc_publish(store_gc(world->store), GROUP, &point);
        break;
    }
    case 3:
        /* A crash, and the log again from what was flushed. */
        if (!world->is_memory)
            break;
        store_memory_crash(world->store);
        for (size_t index = world->flushed_count; index < world->versions_count; index++)
            version_write(world, &world->versions[index]);
        break;
    default: {
        world->now += 1 + random_below(&world->random, 3);
        struct version *version = &world->versions[world->versions_count++];
        *version = (struct version){(unsigned)random_below(&world->random, KEYS_COUNT), world->now,
                                    random_below(&world->random, 3) == 0};
        version_write(world, version);
    }
    }
}

static void random_run(struct store *store, bool is_memory, uint64_t seed, int steps)
{
    struct world world = {.store = store, .is_memory = is_memory, .now = 10, .safe_point = 1};
    random_init(&world.random, seed);
    for (int count = 0; count < steps; count++) {
        step(&world);
        check_all(&world);
    }
    /* In the end all that may go does go. */
    cr_assert_eq(store_flush(store), OST_OK);
    cr_assert_eq(store_compact(store, bytes_of(NULL, 0), bytes_of(NULL, 0)), OST_OK);
    cr_expect_eq(rows_count(&world), rows_needed(&world));
    cr_expect_gt(kv_gc_dropped_count(store_gc(store)), (uint64_t)steps / 10);
    check_all(&world);
    buffer_fini(&world.key);
    buffer_fini(&world.value);
    store_close(store);
}

Test(kv_gc_stores, readers_at_or_above_the_safe_point_see_no_difference_in_memory)
{
    for (uint64_t seed = 1; seed <= 30; seed++)
        random_run(store_new_memory(), true, seed, 400);
}

Test(kv_gc_stores, readers_at_or_above_the_safe_point_see_no_difference_in_rocksdb)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        random_run(open_rocksdb(seed % 2 == 0), false, seed, 300);
        teardown();
        setup();
    }
}

/* Why the loop must look at the safe point again after a read from a snapshot. */
Test(kv_gc_stores, a_snapshot_does_not_protect_what_is_dropped)
{
    struct store *stores[] = {store_new_memory(), open_rocksdb(false)};
    for (int which = 0; which < 2; which++) {
        struct world world = {.store = stores[which]};
        version_write(&world, &(struct version){1, 5, false});
        struct store_snapshot *snapshot = store_snapshot_new(stores[which]);
        version_write(&world, &(struct version){1, 8, false});
        cr_assert_eq(store_flush(stores[which]), OST_OK);
        struct kv_gc_point point = {GENERATION, 8, 8};
        kv_gc_publish(store_gc(stores[which]), GROUP, &point);
        cr_assert_eq(store_compact(stores[which], bytes_of(NULL, 0), bytes_of(NULL, 0)), OST_OK);
        struct store_iterator *iterator = store_iterator_new(
            stores[which], snapshot, bytes_of(NULL, 0), bytes_of(NULL, 0), STORE_MAY_BLOCK);
        store_iterator_first(iterator);
        cr_expect_not(store_iterator_valid(iterator), "the version that it showed is gone");
        store_iterator_free(iterator);
        store_snapshot_free(stores[which], snapshot);
        buffer_fini(&world.key);
        buffer_fini(&world.value);
        store_close(stores[which]);
    }
}

/* Outcomes that come with ranges are put as the least. RocksDB asks about them only when they are
 * whole rows, which the first rewrite makes of them. */
Test(kv_gc_stores, an_outcome_that_was_put_as_the_least_goes_as_well)
{
    struct store *stores[] = {store_new_memory(), open_rocksdb(false)};
    for (int which = 0; which < 2; which++) {
        struct world world = {.store = stores[which]};
        struct store_batch *batch = store_batch_new(stores[which]);
        for (uint64_t log_index = 9; log_index >= 7; log_index--) {
            outcome_make(1, log_index);
            store_batch_put_least(batch, buffer_bytes(&key), buffer_bytes(&value));
            cr_assert_eq(store_write(stores[which], batch), OST_OK);
            store_batch_reset(batch);
            cr_assert_eq(store_flush(stores[which]), OST_OK);
        }
        store_batch_free(batch);
        cr_expect_eq(rows_count(&world), 1);
        struct kv_gc_point point = {GENERATION, 1, UINT64_MAX};
        kv_gc_publish(store_gc(stores[which]), GROUP, &point);
        for (int time = 0; time < 2; time++)
            cr_assert_eq(store_compact(stores[which], bytes_of(NULL, 0), bytes_of(NULL, 0)),
                         OST_OK);
        cr_expect_eq(rows_count(&world), 0, "store %d", which);
        store_close(stores[which]);
    }
    buffer_fini(&key);
    buffer_fini(&value);
}
