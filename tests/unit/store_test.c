/* One run of random operations, against RocksDB and against memory: they must not differ. */
#define _GNU_SOURCE /* nftw */

#include "shardkv/kv_keys.h"
#include "shardkv/store.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];
static bool is_compacting_in_flush;
static _Atomic uint32_t gave_way_count;

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void setup(void)
{
    strcpy(directory, "/tmp/ostraka-store-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static void teardown(void)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(store, .init = setup, .fini = teardown);

static void give_way(void)
{
    atomic_fetch_add(&gave_way_count, 1);
}

/* Without assertions of the framework: children use it too, and only their parent may speak to it.
 */
static struct store *try_open_store(void)
{
    struct store_options options;
    store_options_default(&options);
    options.write_buffer_bytes = 1u << 20;
    options.is_compacting_in_flush = is_compacting_in_flush;
    options.give_way = give_way;
    struct store *store = NULL;
    char why[256];
    int status = store_open_rocksdb(directory, &options, &store, why);
    return status == OST_OK ? store : NULL;
}

static struct store *open_store(void)
{
    struct store *store = try_open_store();
    cr_assert_not_null(store);
    return store;
}

static void random_data_key(struct random *random, struct buffer *key)
{
    static const char letters[] = {0, 1, 'a', 'b'};
    char user_key[3];
    size_t bytes_count = 1 + random_below(random, 3);
    for (size_t index = 0; index < bytes_count; index++)
        user_key[index] = letters[random_below(random, 4)];
    kv_key_data(key, 1 + random_below(random, 2), 1, bytes_of(user_key, bytes_count),
                random_below(random, 6));
}

static void random_row_key(struct random *random, struct buffer *key)
{
    struct txn_id txn = {1, random_below(random, 8)};
    switch (random_below(random, 8)) {
    case 0:
        kv_key_group_meta(key, random_below(random, 4));
        break;
    case 1:
        kv_key_outcome(key, 1, 1, bytes_of_string("a"), txn);
        break;
    case 2:
        kv_key_prepared(key, 1, 1, txn);
        break;
    default:
        random_data_key(random, key);
    }
}

struct pair {
    struct store *stores[2];
    struct random random;
    struct buffer key, other, value[2], found[2];
    uint64_t reads_count;
    uint64_t blocked_hash; /* of the reads that RocksDB did not answer from memory */
};

static void expect_same_position(struct store_iterator *iterators[2])
{
    cr_assert_eq(store_iterator_valid(iterators[0]), store_iterator_valid(iterators[1]));
    cr_assert_eq(store_iterator_status(iterators[0]), store_iterator_status(iterators[1]));
    if (!store_iterator_valid(iterators[0]))
        return;
    cr_assert(bytes_equal(store_iterator_key(iterators[0]), store_iterator_key(iterators[1])));
    cr_assert(bytes_equal(store_iterator_value(iterators[0]), store_iterator_value(iterators[1])));
}

static void walk(struct pair *pair, struct store_snapshot *snapshots[2])
{
    random_row_key(&pair->random, &pair->key);
    random_row_key(&pair->random, &pair->other);
    struct bytes lower = buffer_bytes(&pair->key);
    struct bytes upper = buffer_bytes(&pair->other);
    if (random_below(&pair->random, 4) == 0)
        upper = bytes_of(NULL, 0);
    else if (bytes_compare(lower, upper) > 0) {
        struct bytes swapped = lower;
        lower = upper;
        upper = swapped;
    }
    struct store_iterator *iterators[2];
    for (int which = 0; which < 2; which++)
        iterators[which] =
            store_iterator_new(pair->stores[which], snapshots ? snapshots[which] : NULL, lower,
                               upper, STORE_MAY_BLOCK);
    struct buffer target = BUFFER_INIT;
    for (int step = 0; step < 12; step++) {
        uint64_t what = random_below(&pair->random, 8);
        random_row_key(&pair->random, &target);
        bool valid = step > 0 && store_iterator_valid(iterators[0]);
        for (int which = 0; which < 2; which++) {
            if (what == 0 || (step == 0 && what > 3))
                store_iterator_first(iterators[which]);
            else if (what == 1)
                store_iterator_last(iterators[which]);
            else if (what == 2)
                store_iterator_seek(iterators[which], buffer_bytes(&target));
            else if (what == 3)
                store_iterator_seek_before(iterators[which], buffer_bytes(&target));
            else if (valid && what < 6)
                store_iterator_next(iterators[which]);
            else if (valid)
                store_iterator_previous(iterators[which]);
        }
        expect_same_position(iterators);
    }
    buffer_fini(&target);
    store_iterator_free(iterators[0]);
    store_iterator_free(iterators[1]);
}

static void write_some(struct pair *pair)
{
    struct store_batch *batches[2] = {store_batch_new(pair->stores[0]),
                                      store_batch_new(pair->stores[1])};
    uint64_t count = 1 + random_below(&pair->random, 4);
    for (uint64_t index = 0; index < count; index++) {
        uint64_t what = random_below(&pair->random, 20);
        uint64_t number = random_next(&pair->random);
        struct bytes value = bytes_of(&number, number % 9);
        random_row_key(&pair->random, &pair->key);
        random_row_key(&pair->random, &pair->other);
        struct bytes key = buffer_bytes(&pair->key);
        struct bytes other = buffer_bytes(&pair->other);
        for (int which = 0; which < 2; which++) {
            if (what == 0 && bytes_compare(key, other) <= 0)
                store_batch_delete_range(batches[which], key, other);
            else if (what < 5)
                store_batch_delete(batches[which], key);
            else if (what < 9)
                store_batch_put_least(batches[which], key, value);
            else
                store_batch_put(batches[which], key, value);
        }
    }
    for (int which = 0; which < 2; which++) {
        cr_assert_gt(store_batch_bytes(batches[which]), 0);
        cr_assert_eq(store_write(pair->stores[which], batches[which]), OST_OK);
        store_batch_free(batches[which]);
    }
}

static bool would_block(struct pair *pair, int status)
{
    pair->reads_count++;
    if (status != OST_WOULD_BLOCK)
        return false;
    pair->blocked_hash = pair->blocked_hash * 31 + pair->reads_count;
    return true;
}

static void read_one(struct pair *pair, enum store_mode mode)
{
    random_row_key(&pair->random, &pair->key);
    int status[2];
    for (int which = 0; which < 2; which++)
        status[which] =
            store_get(pair->stores[which], buffer_bytes(&pair->key), mode, &pair->value[which]);
    if (mode == STORE_IN_MEMORY && would_block(pair, status[0]))
        return;
    cr_assert_eq(status[0], status[1]);
    if (status[0] == OST_OK)
        cr_assert(bytes_equal(buffer_bytes(&pair->value[0]), buffer_bytes(&pair->value[1])));
}

/* The newest version of a key, or the newest as of a timestamp. */
static void read_version(struct pair *pair, enum store_mode mode)
{
    random_data_key(&pair->random, &pair->key);
    if (random_below(&pair->random, 2) == 0)
        memset(pair->key.data + pair->key.bytes_count - KV_TIMESTAMP_BYTES, 0, KV_TIMESTAMP_BYTES);
    int status[2];
    for (int which = 0; which < 2; which++)
        status[which] = store_first_version(pair->stores[which], buffer_bytes(&pair->key), mode,
                                            &pair->found[which], &pair->value[which]);
    if (mode == STORE_IN_MEMORY && would_block(pair, status[0]))
        return;
    cr_assert_eq(status[0], status[1], "mode %d: %d, %d", mode, status[0], status[1]);
    if (status[0] != OST_OK)
        return;
    cr_assert(bytes_equal(buffer_bytes(&pair->found[0]), buffer_bytes(&pair->found[1])));
    cr_assert(bytes_equal(buffer_bytes(&pair->value[0]), buffer_bytes(&pair->value[1])));
}

/* Which reads of RocksDB were not answered from memory. */
static uint64_t do_the_same(void)
{
    struct pair pair = {.stores = {open_store(), store_new_memory()}};
    random_init(&pair.random, 42);
    struct store_snapshot *snapshots[2] = {NULL, NULL};
    for (int round = 0; round < 20000; round++) {
        uint64_t what = random_below(&pair.random, 1000);
        if (what < 350) {
            write_some(&pair);
        } else if (what < 700) {
            read_version(&pair, what % 2 ? STORE_IN_MEMORY : STORE_MAY_BLOCK);
        } else if (what < 900) {
            read_one(&pair,
                     what % 3 ? (what % 2 ? STORE_IN_MEMORY : STORE_MAY_BLOCK) : STORE_FLUSHED);
        } else if (what < 980) {
            walk(&pair, snapshots[0] ? snapshots : NULL);
        } else if (what < 985) {
            for (int which = 0; which < 2; which++) {
                cr_assert_eq(store_flush(pair.stores[which]), OST_OK);
                cr_assert_eq(store_unflushed_bytes(pair.stores[which]), 0);
            }
        } else {
            for (int which = 0; which < 2; which++) {
                store_snapshot_free(pair.stores[which], snapshots[which]);
                snapshots[which] = what < 993 ? store_snapshot_new(pair.stores[which]) : NULL;
            }
        }
    }
    for (int which = 0; which < 2; which++) {
        store_snapshot_free(pair.stores[which], snapshots[which]);
        store_close(pair.stores[which]);
        buffer_fini(&pair.value[which]);
        buffer_fini(&pair.found[which]);
    }
    buffer_fini(&pair.key);
    buffer_fini(&pair.other);
    return pair.blocked_hash;
}

Test(store, both_do_the_same)
{
    do_the_same();
}

Test(store, compacting_in_flush_is_the_same_each_time)
{
    is_compacting_in_flush = true;
    uint64_t first = do_the_same();
    cr_assert_neq(first, 0);
    for (int again = 0; again < 3; again++) {
        teardown();
        setup();
        cr_assert_eq(do_the_same(), first);
    }
}

/* Row `name` counts the batches; row `mirror` is written with it, and every row in between once. */
static void write_numbered(struct store *store, uint64_t number)
{
    struct store_batch *batch = store_batch_new(store);
    struct buffer key = BUFFER_INIT;
    struct bytes value = bytes_of(&number, sizeof(number));
    uint8_t filler[2000] = {0};
    kv_key_master(&key, bytes_of_string("name"));
    store_batch_put(batch, buffer_bytes(&key), value);
    kv_key_data(&key, 1, 1, value, number);
    store_batch_put(batch, buffer_bytes(&key), bytes_of(filler, sizeof(filler)));
    kv_key_group_meta(&key, 1);
    store_batch_put(batch, buffer_bytes(&key), value);
    int status = store_write(store, batch);
    /* Written faster than it is flushed: the store says so, and is helped. */
    while (status == OST_BUSY && store_flush(store) == OST_OK)
        status = store_write(store, batch);
    ASSERT(status == OST_OK);
    store_batch_free(batch);
    buffer_fini(&key);
}

Test(store, flush_and_compaction_can_give_way_at_every_row)
{
    struct store *store = open_store();
    for (uint64_t number = 0; number < 100; number++)
        write_numbered(store, number);
    atomic_store(&gave_way_count, 0);
    cr_assert_eq(store_flush(store), OST_OK);
    cr_expect_geq(atomic_load(&gave_way_count), 100, "there is no other hold on such a thread");
    atomic_store(&gave_way_count, 0);
    cr_assert_eq(store_compact(store, bytes_of(NULL, 0), bytes_of(NULL, 0)), OST_OK);
    cr_expect_geq(atomic_load(&gave_way_count), 200, "rows that it reads, and that it writes");
    store_close(store);
}

static void read_all(struct store *store, enum store_mode mode)
{
    struct store_iterator *iterator =
        store_iterator_new(store, NULL, bytes_of(NULL, 0), bytes_of(NULL, 0), mode);
    for (store_iterator_last(iterator); store_iterator_valid(iterator);
         store_iterator_previous(iterator))
        continue;
    store_iterator_free(iterator);
}

Test(store, reads_give_way_in_passing_only)
{
    struct store *store = open_store();
    for (uint64_t number = 0; number < 100; number++)
        write_numbered(store, number);
    cr_assert_eq(store_flush(store), OST_OK);
    atomic_store(&gave_way_count, 0);
    read_all(store, STORE_PASSING);
    cr_expect_geq(atomic_load(&gave_way_count), 100);

    struct buffer key = BUFFER_INIT, value = BUFFER_INIT;
    kv_key_group_meta(&key, 1);
    atomic_store(&gave_way_count, 0);
    read_all(store, STORE_MAY_BLOCK);
    cr_assert_eq(store_get(store, buffer_bytes(&key), STORE_MAY_BLOCK, &value), OST_OK);
    write_numbered(store, 100);
    cr_expect_eq(atomic_load(&gave_way_count), 0, "somebody waits for these");
    buffer_fini(&key);
    buffer_fini(&value);
    store_close(store);
}

static uint64_t number_at(struct store *store, struct buffer *key, enum store_mode mode)
{
    struct buffer value = BUFFER_INIT;
    uint64_t number = 0;
    if (store_get(store, buffer_bytes(key), mode, &value) == OST_OK)
        memcpy(&number, value.data, sizeof(number));
    buffer_fini(&value);
    return number;
}

/* Both sides of a crash run in children of their own: RocksDB's threads do not survive a fork, so
 * the process that forks must not have used it. */
static void in_child(void (*run)(uint64_t writes_count), uint64_t writes_count)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        run(writes_count);
        _exit(0);
    }
    int exited = 0;
    cr_assert_eq(waitpid(child, &exited, 0), child);
    cr_assert(WIFEXITED(exited) && WEXITSTATUS(exited) == 0, "with %lu writes", writes_count);
}

static void expect(bool holds)
{
    if (!holds)
        _exit(1);
}

#define FLUSHED_AT 100u

/* Ends without closing anything. */
static void write_and_crash(uint64_t writes_count)
{
    struct store *store = try_open_store();
    expect(store != NULL);
    for (uint64_t number = 1; number <= writes_count; number++) {
        write_numbered(store, number);
        if (number == FLUSHED_AT)
            expect(store_flush(store) == OST_OK);
    }
}

static void check_prefix(uint64_t writes_count)
{
    struct store *store = try_open_store();
    expect(store != NULL);
    struct buffer key = BUFFER_INIT;
    struct buffer value = BUFFER_INIT;
    kv_key_master(&key, bytes_of_string("name"));
    uint64_t number = number_at(store, &key, STORE_MAY_BLOCK);
    expect(number >= FLUSHED_AT && number <= writes_count);
    expect(number_at(store, &key, STORE_FLUSHED) == number);
    kv_key_group_meta(&key, 1);
    expect(number_at(store, &key, STORE_MAY_BLOCK) == number);
    for (uint64_t each = 1; each <= writes_count; each++) {
        kv_key_data(&key, 1, 1, bytes_of(&each, sizeof(each)), each);
        int status = store_get(store, buffer_bytes(&key), STORE_MAY_BLOCK, &value);
        expect(status == (each <= number ? OST_OK : OST_NOT_FOUND));
    }
    buffer_fini(&value);
    buffer_fini(&key);
    store_close(store);
}

Test(store, crash_leaves_a_prefix_of_the_writes)
{
    /* The later rounds fill write buffers, which RocksDB flushes by itself. */
    for (uint64_t writes_count = 300; writes_count <= 1500; writes_count += 400) {
        in_child(write_and_crash, writes_count);
        in_child(check_prefix, writes_count);
        teardown();
        setup();
    }
}

Test(store, flushed_reads_see_what_was_flushed)
{
    struct store *stores[2] = {open_store(), store_new_memory()};
    struct buffer key = BUFFER_INIT;
    kv_key_group_meta(&key, 1);
    for (int which = 0; which < 2; which++) {
        struct store *store = stores[which];
        write_numbered(store, 1);
        cr_assert_gt(store_unflushed_bytes(store), 0);
        cr_assert_eq(number_at(store, &key, STORE_FLUSHED), 0);
        cr_assert_eq(store_flush(store), OST_OK);
        cr_assert_eq(store_unflushed_bytes(store), 0);
        write_numbered(store, 2);
        cr_assert_eq(number_at(store, &key, STORE_FLUSHED), 1);
        cr_assert_eq(number_at(store, &key, STORE_MAY_BLOCK), 2);
    }
    store_memory_crash(stores[1]);
    cr_assert_eq(number_at(stores[1], &key, STORE_MAY_BLOCK), 1);
    buffer_fini(&key);
    store_close(stores[0]);
    store_close(stores[1]);
}

static int ready_pipe[2];

static void open_what_another_has(uint64_t ignored)
{
    (void)ignored;
    char byte;
    struct store_options options;
    struct store *store;
    char why[256];
    store_options_default(&options);
    expect(read(ready_pipe[0], &byte, 1) == 1);
    expect(store_open_rocksdb(directory, &options, &store, why) == OST_EXISTS);
}

static void hold_it_open(uint64_t ignored)
{
    (void)ignored;
    struct store *store = try_open_store();
    expect(store != NULL);
    expect(write(ready_pipe[1], "", 1) == 1);
    pause(); /* until it is killed */
    store_close(store);
}

Test(store, one_process_has_it_open)
{
    cr_assert_eq(pipe(ready_pipe), 0);
    pid_t holder = fork();
    if (holder == 0) {
        hold_it_open(0);
        _exit(0);
    }
    in_child(open_what_another_has, 0);
    cr_assert_eq(kill(holder, SIGKILL), 0);
    cr_assert_eq(waitpid(holder, NULL, 0), holder);
    close(ready_pipe[0]);
    close(ready_pipe[1]);
}

Test(store, opens_once_and_says_why_not)
{
    struct store *store = open_store();
    struct store_options options;
    struct store *second = NULL;
    char why[256];
    store_options_default(&options);
    cr_assert_eq(store_open_rocksdb(directory, &options, &second, why), OST_EXISTS, "%s", why);
    cr_assert_neq(why[0], '\0');
    store_close(store);
    cr_assert_eq(store_open_rocksdb("/proc/nowhere/store", &options, &second, why), OST_IO);
}

Test(store, cold_rows_are_not_read_in_memory)
{
    struct store *store = open_store();
    for (uint64_t number = 1; number <= 2000; number++)
        write_numbered(store, number);
    cr_assert_eq(store_flush(store), OST_OK);
    store_close(store);
    store = open_store();
    uint64_t number = 1000;
    struct buffer from = BUFFER_INIT;
    struct buffer key = BUFFER_INIT;
    struct buffer value = BUFFER_INIT;
    kv_key_data(&from, 1, 1, bytes_of(&number, sizeof(number)), UINT64_MAX);
    cr_assert_eq(store_first_version(store, buffer_bytes(&from), STORE_IN_MEMORY, &key, &value),
                 OST_WOULD_BLOCK);
    /* What was read is in memory now, unless a compaction in the background has just put another
     * file in its place: then it is after one more read. */
    int status = OST_WOULD_BLOCK;
    for (int tries = 0; tries < 10 && status == OST_WOULD_BLOCK; tries++) {
        cr_assert_eq(store_first_version(store, buffer_bytes(&from), STORE_MAY_BLOCK, &key, &value),
                     OST_OK);
        status = store_first_version(store, buffer_bytes(&from), STORE_IN_MEMORY, &key, &value);
    }
    cr_assert_eq(status, OST_OK);
    buffer_fini(&from);
    buffer_fini(&key);
    buffer_fini(&value);
    store_close(store);
}
