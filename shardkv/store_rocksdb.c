/* store_rocksdb.c: store.h over RocksDB's C API (tried with 7.8.3). The one file that knows it.
 *
 * Why what is set: the write-ahead log is off, for the Raft log is the log; writes have
 * no_slowdown, so that a stall is an answer (OST_BUSY) and not a wait (S5); the prefix extractor
 * drops the timestamp of a data row (S3), so one bloom filter over prefixes serves newest-version
 * reads and plain gets alike, and whole keys are not in it a second time. Whatever crosses user
 * keys sets total_order_seek.
 */
#include "shardkv/kv_keys.h"
#include "shardkv/store_ops.h"

#include "base/memory.h"

#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES          256
#define BLOOM_BITS_PER_KEY 10
/* Of the write buffer: most lookups are for outcomes that are not there. */
#define MEMTABLE_BLOOM_RATIO  0.02
#define OPEN_FILES_COUNT_MAX  512
#define WRITE_BUFFERS_COUNT   4 /* one fills, the others wait to be flushed */
#define BACKGROUND_JOBS_COUNT 2
#define INFO_LOG_FILES_COUNT  2
#define INFO_LOG_LEVEL_WARN   2
#define INFO_LOG_BYTES_MAX    (1u << 20)
#define BLOCK_BYTES           (8u << 10)
/* Of a file that is being made go to the disk at a time. Left to the file's end, all of it stands
 * in the disk's queue in front of the log. */
#define BYTES_PER_SYNC (512u << 10)
/* Flushed files that the first compaction takes together. Each is as wide as all keys, so that the
 * whole next level is rewritten with them: twice RocksDB's default makes half the work. */
#define FLUSHED_FILES_COUNT 8
/* Then compaction has fallen behind, and does not give way any more; writes are slowed at 20. */
#define FLUSHED_FILES_COUNT_BEHIND 14
/* kForceOptimized: a file of the lowest level is rewritten, but not one that this has just made. */
#define LOWEST_LEVEL_ONCE     3
#define READ_TIER_ALL         0
#define READ_TIER_BLOCK_CACHE 1
#define READ_TIER_PERSISTED   2

/* An iterator over newest versions, and the sequence number of the state that it shows. */
struct cached_iterator {
    rocksdb_iterator_t *iterator;
    uint64_t sequence;
};

struct store_rocksdb {
    struct store store;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *block_cache;
    rocksdb_readoptions_t *get_options[STORE_FLUSHED + 1];      /* by mode */
    rocksdb_readoptions_t *prefix_options[STORE_MAY_BLOCK + 1]; /* by mode */
    rocksdb_writeoptions_t *write_options;
    rocksdb_flushoptions_t *flush_options;
    rocksdb_compactoptions_t *compact_options;
    /* Making an iterator costs more than a seek. As long as nothing was written, the last one still
     * shows the present; whoever reads takes it out of this slot, so no two threads share it. Every
     * write and flush empties the slot: an old iterator would keep files and write buffers alive.
     */
    _Atomic(struct cached_iterator *) cached;
    /* RocksDB 7.8.3, tried: an iterator that may not read from disk forgets that a block was
     * missing when it has to step over a deleted range, and shows a row as absent, or an older one
     * in its place. So memory's iterators do not look at deleted ranges; where there may be any,
     * what a prefix read found is looked up once more by its key (plain gets tell the truth), and
     * longer reads are left to the pool. deletions_count grows with each range that is deleted. */
    atomic_bool may_have_deleted_ranges;
    _Atomic uint64_t deletions_count;
    _Atomic uint64_t written_bytes;
    _Atomic uint64_t flushed_bytes; /* of written_bytes, when the last flush began */
    bool is_compacting_in_flush;
    struct hook *hook;
};

struct rocksdb_store_iterator {
    struct store_iterator base;
    rocksdb_iterator_t *iterator;
    rocksdb_readoptions_t *options;
    struct buffer bounds;    /* RocksDB borrows them */
    const struct hook *hook; /* that it comes by when it reads in passing; NULL: it does not */
    bool is_refused;         /* not to be trusted in memory: OST_WOULD_BLOCK */
};

struct rocksdb_store_batch {
    struct store_batch base;
    rocksdb_writebatch_t *batch;
    size_t bytes_count;
    bool has_deleted_ranges;
};

static struct store_rocksdb *of_store(struct store *store)
{
    return (struct store_rocksdb *)store;
}

static const char *chars(struct bytes bytes)
{
    /* The API wants a pointer even for nothing. */
    return bytes.data ? (const char *)bytes.data : "";
}

/* --- Errors ------------------------------------------------------------------------------------
 */

/* The C API has texts alone; these begin or end in words that have been stable for ten years, and
 * the unit test meets those that can be provoked. Frees `error_take`. */
static int status_of_error(char *error_take, int incomplete_status, char *out_why)
{
    if (!error_take)
        return OST_OK;
    int status = OST_IO;
    if (strstr(error_take, "No space left"))
        status = OST_NO_SPACE;
    else if (strstr(error_take, "lock hold by current process") ||
             (strstr(error_take, "While lock file") &&
              strstr(error_take, "temporarily unavailable")))
        status = OST_EXISTS;
    else if (strncmp(error_take, "Corruption", 10) == 0)
        status = OST_CORRUPT;
    else if (strncmp(error_take, "Result incomplete", 17) == 0)
        status = incomplete_status;
    if (out_why)
        snprintf(out_why, WHY_BYTES, "%s", error_take);
    free(error_take);
    return status;
}

static int read_status(char *error_take)
{
    return status_of_error(error_take, OST_WOULD_BLOCK, NULL);
}

/* --- Opening -----------------------------------------------------------------------------------
 */

/* What long work comes by; RocksDB's parts borrow it. */
struct hook {
    struct kv_gc *gc;
    void (*give_way)(void); /* or NULL */
    atomic_bool is_behind;  /* compaction */
};

static void hook_returned(void *hook)
{
    (void)hook;
}

/* RocksDB counts for each thread what it compares and reads, unless it is told not to: a fifth of
 * the time that it takes to put a row into its write buffer. */
static void thread_counts_nothing(void)
{
    rocksdb_set_perf_level(rocksdb_disable);
}

/* Of a thread that calls this store: it is none of RocksDB's own. */
static _Thread_local bool is_caller;

static void caller_note(void)
{
    if (is_caller)
        return;
    is_caller = true;
    thread_counts_nothing();
}

static void hook_give_way(const struct hook *hook)
{
    if (hook->give_way && !atomic_load_explicit(&hook->is_behind, memory_order_relaxed))
        hook->give_way();
}

/* Also what a flush comes by at every row: it has no other hook. So do reads and writes, at each
 * file; they are waited for. */
static char *prefix_transform(void *hook, const char *key, size_t bytes_count,
                              size_t *out_bytes_count)
{
    if (!is_caller)
        hook_give_way(hook);
    *out_bytes_count = kv_key_prefix_bytes(bytes_of(key, bytes_count));
    return (char *)(uintptr_t)key; /* the API's type; nothing writes to it */
}

static unsigned char prefix_always(void *state, const char *key, size_t bytes_count)
{
    (void)state;
    (void)key;
    (void)bytes_count;
    return 1;
}

static const char *prefix_name(void *state)
{
    (void)state;
    return "ostraka.data-without-timestamp";
}

struct compaction {
    const struct hook *hook;
    struct kv_gc_run *run;
};

/* One for each compaction. The filter is asked for the newest value of each row among the files
 * that are rewritten, whatever snapshots there are (7.8.3: always). */
static void filter_destroy(void *context)
{
    struct compaction *compaction = context;
    kv_gc_run_free(compaction->run);
    free(compaction);
}

static unsigned char filter_row(void *context, int level, const char *key, size_t key_bytes,
                                const char *value, size_t value_bytes, char **new_value,
                                size_t *new_value_bytes, unsigned char *value_changed)
{
    (void)level;
    (void)new_value;
    (void)new_value_bytes;
    *value_changed = 0;
    struct compaction *compaction = context;
    hook_give_way(compaction->hook);
    return kv_gc_run_drops(compaction->run, bytes_of(key, key_bytes), bytes_of(value, value_bytes));
}

static const char *filter_name(void *state)
{
    (void)state;
    return "ostraka.shadowed-and-expired";
}

static rocksdb_compactionfilter_t *filter_create(void *factory_hook,
                                                 rocksdb_compactionfiltercontext_t *context)
{
    (void)context;
    thread_counts_nothing(); /* the compaction's, that calls this */
    const struct hook *hook = factory_hook;
    struct compaction *compaction = memory_alloc(sizeof(*compaction));
    *compaction = (struct compaction){.hook = hook, .run = kv_gc_run_new(hook->gc)};
    return rocksdb_compactionfilter_create(compaction, filter_destroy, filter_row, filter_name);
}

/* --- The merge operator: of a row's values the least stays --- */

static char *merged_copy(struct bytes least, unsigned char *out_is_merged, size_t *out_bytes_count)
{
    char *copy = memory_alloc(least.bytes_count > 0 ? least.bytes_count : 1);
    memcpy(copy, chars(least), least.bytes_count);
    *out_is_merged = 1;
    *out_bytes_count = least.bytes_count;
    return copy; /* merge_forget frees it */
}

static struct bytes lesser(struct bytes a, struct bytes b)
{
    return bytes_compare(b, a) < 0 ? b : a;
}

static struct bytes least_of(const char *const *values, const size_t *bytes_counts, int count)
{
    struct bytes least = bytes_of(values[0], bytes_counts[0]);
    for (int place = 1; place < count; place++)
        least = lesser(least, bytes_of(values[place], bytes_counts[place]));
    return least;
}

static char *merge_with_row(void *state, const char *key, size_t key_bytes, const char *there,
                            size_t there_bytes, const char *const *values,
                            const size_t *bytes_counts, int count, unsigned char *out_is_merged,
                            size_t *out_bytes_count)
{
    (void)state;
    (void)key;
    (void)key_bytes;
    struct bytes least = least_of(values, bytes_counts, count);
    if (there)
        least = lesser(least, bytes_of(there, there_bytes));
    return merged_copy(least, out_is_merged, out_bytes_count);
}

static char *merge_without_row(void *state, const char *key, size_t key_bytes,
                               const char *const *values, const size_t *bytes_counts, int count,
                               unsigned char *out_is_merged, size_t *out_bytes_count)
{
    (void)state;
    (void)key;
    (void)key_bytes;
    return merged_copy(least_of(values, bytes_counts, count), out_is_merged, out_bytes_count);
}

static void merge_forget(void *state, const char *value, size_t bytes_count)
{
    (void)state;
    (void)bytes_count;
    free((void *)(uintptr_t)value);
}

static void merge_destroy(void *state)
{
    (void)state;
}

static const char *merge_name(void *state)
{
    (void)state;
    return "ostraka.least";
}

static rocksdb_options_t *options_new(const struct store_options *options,
                                      rocksdb_cache_t *block_cache, int compression,
                                      struct hook *hook)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(table, BLOCK_BYTES);
    rocksdb_block_based_options_set_block_cache(table, block_cache);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
    rocksdb_block_based_options_set_whole_key_filtering(table, 0);
    rocksdb_block_based_options_set_format_version(table, 5);
    /* Indexes and filters count as well, so that memory does not grow with what is on disk. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);

    rocksdb_options_t *db = rocksdb_options_create();
    rocksdb_options_set_block_based_table_factory(db, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_options_set_create_if_missing(db, 1);
    rocksdb_options_set_paranoid_checks(db, 1);
    rocksdb_options_set_compression(db, compression);
    rocksdb_options_set_prefix_extractor(
        db, rocksdb_slicetransform_create(hook, hook_returned, prefix_transform, prefix_always,
                                          prefix_always, prefix_name));
    rocksdb_options_set_merge_operator(
        db, rocksdb_mergeoperator_create(NULL, merge_destroy, merge_with_row, merge_without_row,
                                         merge_forget, merge_name));
    rocksdb_options_set_compaction_filter_factory(
        db,
        rocksdb_compactionfilterfactory_create(hook, hook_returned, filter_create, filter_name));
    rocksdb_options_set_write_buffer_size(db, options->write_buffer_bytes);
    rocksdb_options_set_max_write_buffer_number(db, WRITE_BUFFERS_COUNT);
    rocksdb_options_set_max_background_jobs(db, BACKGROUND_JOBS_COUNT);
    rocksdb_options_set_disable_auto_compactions(db, options->is_compacting_in_flush);
    rocksdb_options_set_level0_file_num_compaction_trigger(db, FLUSHED_FILES_COUNT);
    rocksdb_options_set_bytes_per_sync(db, BYTES_PER_SYNC);
    rocksdb_options_set_max_open_files(db, OPEN_FILES_COUNT_MAX);
    rocksdb_options_set_keep_log_file_num(db, INFO_LOG_FILES_COUNT);
    rocksdb_options_set_max_log_file_size(db, INFO_LOG_BYTES_MAX);
    rocksdb_options_set_info_log_level(db, INFO_LOG_LEVEL_WARN);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(db, MEMTABLE_BLOOM_RATIO);
    /* One thread writes at a time: the lock-free insert would only cost. */
    rocksdb_options_set_allow_concurrent_memtable_write(db, 0);
    /* The last owner of a file may be an iterator of the loop; deleting it is not for the loop. */
    rocksdb_options_set_avoid_unnecessary_blocking_io(db, 1);
    rocksdb_options_set_skip_stats_update_on_db_open(db, 1);
    rocksdb_options_set_stats_dump_period_sec(db, 0);
    rocksdb_options_set_stats_persist_period_sec(db, 0);
    return db;
}

static rocksdb_readoptions_t *read_options_new(int tier)
{
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(options, tier);
    rocksdb_readoptions_set_verify_checksums(options, 1);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(options, 1);
    return options;
}

static rocksdb_readoptions_t *prefix_options_new(int tier)
{
    rocksdb_readoptions_t *options = read_options_new(tier);
    rocksdb_readoptions_set_prefix_same_as_start(options, 1);
    rocksdb_readoptions_set_ignore_range_deletions(options, tier == READ_TIER_BLOCK_CACHE);
    return options;
}

static void handles_open(struct store_rocksdb *store)
{
    store->get_options[STORE_IN_MEMORY] = read_options_new(READ_TIER_BLOCK_CACHE);
    store->get_options[STORE_MAY_BLOCK] = read_options_new(READ_TIER_ALL);
    store->get_options[STORE_FLUSHED] = read_options_new(READ_TIER_PERSISTED);
    store->prefix_options[STORE_IN_MEMORY] = prefix_options_new(READ_TIER_BLOCK_CACHE);
    store->prefix_options[STORE_MAY_BLOCK] = prefix_options_new(READ_TIER_ALL);
    store->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(store->write_options, 1);
    rocksdb_writeoptions_set_no_slowdown(store->write_options, 1);
    store->flush_options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(store->flush_options, 1);
    store->compact_options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(store->compact_options, 0);
    rocksdb_compactoptions_set_bottommost_level_compaction(store->compact_options,
                                                           LOWEST_LEVEL_ONCE);
}

static void cached_iterator_drop(struct store_rocksdb *store)
{
    struct cached_iterator *cached = atomic_exchange(&store->cached, NULL);
    if (!cached)
        return;
    rocksdb_iter_destroy(cached->iterator);
    free(cached);
}

static void rocksdb_store_close(struct store *base)
{
    struct store_rocksdb *store = of_store(base);
    cached_iterator_drop(store);
    for (size_t mode = 0; mode <= STORE_FLUSHED; mode++)
        rocksdb_readoptions_destroy(store->get_options[mode]);
    for (size_t mode = 0; mode <= STORE_MAY_BLOCK; mode++)
        rocksdb_readoptions_destroy(store->prefix_options[mode]);
    rocksdb_writeoptions_destroy(store->write_options);
    rocksdb_flushoptions_destroy(store->flush_options);
    rocksdb_compactoptions_destroy(store->compact_options);
    /* RocksDB flushes nothing here of what was written with the log off, or it does: both are a
     * state that a crash may leave too, a prefix of the writes. */
    rocksdb_close(store->db);
    rocksdb_options_destroy(store->options);
    rocksdb_cache_destroy(store->block_cache);
    kv_gc_free(store->store.gc);
    free(store->hook);
    free(store);
}

/* --- Reads -------------------------------------------------------------------------------------
 */

static int rocksdb_store_get(struct store *base, struct bytes key, enum store_mode mode,
                             struct buffer *out_value)
{
    struct store_rocksdb *store = of_store(base);
    caller_note();
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(store->db, store->get_options[mode],
                                                        chars(key), key.bytes_count, &error);
    if (error)
        return read_status(error);
    if (!slice)
        return OST_NOT_FOUND;
    size_t bytes_count;
    const char *value = rocksdb_pinnableslice_value(slice, &bytes_count);
    buffer_reset(out_value);
    buffer_append(out_value, value, bytes_count);
    rocksdb_pinnableslice_destroy(slice);
    return OST_OK;
}

/* The cached iterator when it still shows the present, else a new one. */
static struct cached_iterator *cached_iterator_take(struct store_rocksdb *store)
{
    struct cached_iterator *cached = atomic_exchange(&store->cached, NULL);
    /* Read before an iterator is made, so that the number is never newer than what it shows. */
    uint64_t sequence = rocksdb_get_latest_sequence_number(store->db);
    if (cached && cached->sequence == sequence)
        return cached;
    if (cached)
        rocksdb_iter_destroy(cached->iterator);
    else
        cached = memory_alloc(sizeof(*cached));
    cached->sequence = sequence;
    cached->iterator = rocksdb_create_iterator(store->db, store->prefix_options[STORE_IN_MEMORY]);
    return cached;
}

static void cached_iterator_return(struct store_rocksdb *store, struct cached_iterator *cached)
{
    struct cached_iterator *empty = NULL;
    if (atomic_compare_exchange_strong(&store->cached, &empty, cached))
        return;
    rocksdb_iter_destroy(cached->iterator);
    free(cached);
}

/* It ends with the prefix of what it looks for (prefix_same_as_start). */
static int iterator_seek_version(rocksdb_iterator_t *iterator, struct bytes from,
                                 struct buffer *out_key, struct buffer *out_value)
{
    rocksdb_iter_seek(iterator, (const char *)from.data, from.bytes_count);
    if (!rocksdb_iter_valid(iterator)) {
        char *error = NULL;
        rocksdb_iter_get_error(iterator, &error);
        return error ? read_status(error) : OST_NOT_FOUND;
    }
    size_t bytes_count;
    const char *data = rocksdb_iter_key(iterator, &bytes_count);
    buffer_reset(out_key);
    buffer_append(out_key, data, bytes_count);
    data = rocksdb_iter_value(iterator, &bytes_count);
    buffer_reset(out_value);
    buffer_append(out_value, data, bytes_count);
    return OST_OK;
}

static int rocksdb_store_first_version(struct store *base, struct bytes from, enum store_mode mode,
                                       struct buffer *out_key, struct buffer *out_value)
{
    struct store_rocksdb *store = of_store(base);
    caller_note();
    if (mode == STORE_MAY_BLOCK) {
        rocksdb_iterator_t *iterator =
            rocksdb_create_iterator(store->db, store->prefix_options[STORE_MAY_BLOCK]);
        int status = iterator_seek_version(iterator, from, out_key, out_value);
        rocksdb_iter_destroy(iterator);
        return status;
    }
    /* Asked before the read: a range that is deleted meanwhile comes after it. */
    bool must_check = atomic_load(&store->may_have_deleted_ranges);
    struct cached_iterator *cached = cached_iterator_take(store);
    int status = iterator_seek_version(cached->iterator, from, out_key, out_value);
    cached_iterator_return(store, cached);
    /* It may hold on to a file that a compaction has replaced, and whose blocks nobody will read
     * into memory any more: the next one looks at the files of its time. */
    if (status == OST_WOULD_BLOCK)
        cached_iterator_drop(store);
    if (status != OST_OK || !must_check)
        return status;
    status = rocksdb_store_get(base, buffer_bytes(out_key), STORE_IN_MEMORY, out_value);
    /* Deleted with its range; what else there is under the prefix is for a read that can tell. */
    return status == OST_NOT_FOUND ? OST_WOULD_BLOCK : status;
}

static struct store_snapshot *rocksdb_store_snapshot_new(struct store *base)
{
    const rocksdb_snapshot_t *snapshot = rocksdb_create_snapshot(of_store(base)->db);
    return (struct store_snapshot *)(uintptr_t)snapshot;
}

static void rocksdb_store_snapshot_free(struct store *base, struct store_snapshot *snapshot)
{
    rocksdb_release_snapshot(of_store(base)->db, (const rocksdb_snapshot_t *)snapshot);
}

/* --- Iterators ---------------------------------------------------------------------------------
 */

static struct rocksdb_store_iterator *of_iterator(const struct store_iterator *iterator)
{
    return (struct rocksdb_store_iterator *)(uintptr_t)iterator;
}

static const struct store_ops rocksdb_store_ops;

static struct store_iterator *rocksdb_store_iterator_new(struct store *base,
                                                         const struct store_snapshot *snapshot,
                                                         struct bytes lower, struct bytes upper,
                                                         enum store_mode mode)
{
    caller_note();
    struct rocksdb_store_iterator *iterator = memory_alloc_zeroed(1, sizeof(*iterator));
    iterator->base.ops = &rocksdb_store_ops;
    iterator->hook = mode == STORE_PASSING ? of_store(base)->hook : NULL;
    iterator->options =
        read_options_new(mode == STORE_IN_MEMORY ? READ_TIER_BLOCK_CACHE : READ_TIER_ALL);
    rocksdb_readoptions_set_total_order_seek(iterator->options, 1);
    rocksdb_readoptions_set_fill_cache(iterator->options, mode != STORE_PASSING);
    if (snapshot)
        rocksdb_readoptions_set_snapshot(iterator->options, (const rocksdb_snapshot_t *)snapshot);
    buffer_append(&iterator->bounds, lower.data, lower.bytes_count);
    buffer_append(&iterator->bounds, upper.data, upper.bytes_count);
    const char *bounds = chars(buffer_bytes(&iterator->bounds));
    rocksdb_readoptions_set_iterate_lower_bound(iterator->options, bounds, lower.bytes_count);
    if (upper.bytes_count > 0)
        rocksdb_readoptions_set_iterate_upper_bound(iterator->options, bounds + lower.bytes_count,
                                                    upper.bytes_count);
    iterator->is_refused =
        mode == STORE_IN_MEMORY && atomic_load(&of_store(base)->may_have_deleted_ranges);
    iterator->iterator = rocksdb_create_iterator(of_store(base)->db, iterator->options);
    return &iterator->base;
}

static void rocksdb_store_iterator_free(struct store_iterator *base)
{
    struct rocksdb_store_iterator *iterator = of_iterator(base);
    rocksdb_iter_destroy(iterator->iterator);
    rocksdb_readoptions_destroy(iterator->options);
    buffer_fini(&iterator->bounds);
    free(iterator);
}

static void rocksdb_store_iterator_first(struct store_iterator *base)
{
    rocksdb_iter_seek_to_first(of_iterator(base)->iterator);
}

static void rocksdb_store_iterator_last(struct store_iterator *base)
{
    rocksdb_iter_seek_to_last(of_iterator(base)->iterator);
}

static void rocksdb_store_iterator_seek(struct store_iterator *base, struct bytes key)
{
    rocksdb_iter_seek(of_iterator(base)->iterator, chars(key), key.bytes_count);
}

static void rocksdb_store_iterator_seek_before(struct store_iterator *base, struct bytes key)
{
    rocksdb_iterator_t *iterator = of_iterator(base)->iterator;
    rocksdb_iter_seek_for_prev(iterator, chars(key), key.bytes_count);
    if (!rocksdb_iter_valid(iterator))
        return;
    size_t bytes_count;
    const char *found = rocksdb_iter_key(iterator, &bytes_count);
    if (bytes_equal(bytes_of(found, bytes_count), key))
        rocksdb_iter_prev(iterator);
}

static void iterator_give_way(const struct rocksdb_store_iterator *iterator)
{
    if (iterator->hook)
        hook_give_way(iterator->hook);
}

static void rocksdb_store_iterator_next(struct store_iterator *base)
{
    iterator_give_way(of_iterator(base));
    rocksdb_iter_next(of_iterator(base)->iterator);
}

static void rocksdb_store_iterator_previous(struct store_iterator *base)
{
    iterator_give_way(of_iterator(base));
    rocksdb_iter_prev(of_iterator(base)->iterator);
}

static bool rocksdb_store_iterator_valid(const struct store_iterator *base)
{
    return !of_iterator(base)->is_refused && rocksdb_iter_valid(of_iterator(base)->iterator);
}

static int rocksdb_store_iterator_status(const struct store_iterator *base)
{
    if (of_iterator(base)->is_refused)
        return OST_WOULD_BLOCK;
    if (rocksdb_store_iterator_valid(base))
        return OST_OK;
    char *error = NULL;
    rocksdb_iter_get_error(of_iterator(base)->iterator, &error);
    return error ? read_status(error) : OST_NOT_FOUND;
}

static struct bytes rocksdb_store_iterator_key(const struct store_iterator *base)
{
    size_t bytes_count;
    const char *data = rocksdb_iter_key(of_iterator(base)->iterator, &bytes_count);
    return bytes_of(data, bytes_count);
}

static struct bytes rocksdb_store_iterator_value(const struct store_iterator *base)
{
    size_t bytes_count;
    const char *data = rocksdb_iter_value(of_iterator(base)->iterator, &bytes_count);
    return bytes_of(data, bytes_count);
}

/* --- Writes ------------------------------------------------------------------------------------
 */

static struct rocksdb_store_batch *of_batch(const struct store_batch *batch)
{
    return (struct rocksdb_store_batch *)(uintptr_t)batch;
}

static struct store_batch *rocksdb_store_batch_new(struct store *store)
{
    (void)store;
    struct rocksdb_store_batch *batch = memory_alloc_zeroed(1, sizeof(*batch));
    batch->base.ops = &rocksdb_store_ops;
    batch->batch = rocksdb_writebatch_create();
    return &batch->base;
}

static void rocksdb_store_batch_free(struct store_batch *base)
{
    rocksdb_writebatch_destroy(of_batch(base)->batch);
    free(of_batch(base));
}

static void rocksdb_store_batch_reset(struct store_batch *base)
{
    rocksdb_writebatch_clear(of_batch(base)->batch);
    of_batch(base)->bytes_count = 0;
    of_batch(base)->has_deleted_ranges = false;
}

static void rocksdb_store_batch_put(struct store_batch *base, struct bytes key, struct bytes value)
{
    rocksdb_writebatch_put(of_batch(base)->batch, chars(key), key.bytes_count, chars(value),
                           value.bytes_count);
    of_batch(base)->bytes_count += key.bytes_count + value.bytes_count;
}

static void rocksdb_store_batch_put_least(struct store_batch *base, struct bytes key,
                                          struct bytes value)
{
    rocksdb_writebatch_merge(of_batch(base)->batch, chars(key), key.bytes_count, chars(value),
                             value.bytes_count);
    of_batch(base)->bytes_count += key.bytes_count + value.bytes_count;
}

static void rocksdb_store_batch_delete(struct store_batch *base, struct bytes key)
{
    rocksdb_writebatch_delete(of_batch(base)->batch, chars(key), key.bytes_count);
    of_batch(base)->bytes_count += key.bytes_count;
}

static void rocksdb_store_batch_delete_range(struct store_batch *base, struct bytes lower,
                                             struct bytes upper)
{
    rocksdb_writebatch_delete_range(of_batch(base)->batch, chars(lower), lower.bytes_count,
                                    chars(upper), upper.bytes_count);
    of_batch(base)->bytes_count += lower.bytes_count + upper.bytes_count;
    of_batch(base)->has_deleted_ranges = true;
}

static size_t rocksdb_store_batch_bytes(const struct store_batch *base)
{
    return of_batch(base)->bytes_count;
}

static int rocksdb_store_write(struct store *base, struct store_batch *batch)
{
    struct store_rocksdb *store = of_store(base);
    caller_note();
    cached_iterator_drop(store);
    if (of_batch(batch)->has_deleted_ranges) {
        atomic_fetch_add(&store->deletions_count, 1);
        atomic_store(&store->may_have_deleted_ranges, true);
    }
    char *error = NULL;
    rocksdb_write(store->db, store->write_options, of_batch(batch)->batch, &error);
    int status = status_of_error(error, OST_BUSY, NULL);
    if (status == OST_OK)
        atomic_fetch_add(&store->written_bytes, of_batch(batch)->bytes_count);
    return status;
}

/* Does any file hold a deleted range? Reads every file's properties: not for the loop. */
static bool files_have_deleted_ranges(struct store_rocksdb *store)
{
    static const char label[] = "# range deletions=";
    char *text = rocksdb_property_value(store->db, "rocksdb.aggregated-table-properties");
    const char *found = text ? strstr(text, label) : NULL;
    bool has_any = !found || strtoull(found + strlen(label), NULL, 10) > 0;
    rocksdb_free(text);
    return has_any;
}

static uint64_t flushed_files_count(struct store_rocksdb *store)
{
    char *text = rocksdb_property_value(store->db, "rocksdb.num-files-at-level0");
    uint64_t files_count = text ? strtoull(text, NULL, 10) : 0;
    rocksdb_free(text);
    return files_count;
}

static int rocksdb_store_flush(struct store *base)
{
    struct store_rocksdb *store = of_store(base);
    uint64_t deletions_count = atomic_load(&store->deletions_count);
    uint64_t written_bytes = atomic_load(&store->written_bytes);
    uint64_t flushed_bytes = atomic_exchange(&store->flushed_bytes, written_bytes);
    char *error = NULL;
    rocksdb_flush(store->db, store->flush_options, &error);
    uint64_t files_count = flushed_files_count(store);
    atomic_store(&store->hook->is_behind, files_count >= FLUSHED_FILES_COUNT_BEHIND);
    if (!error && store->is_compacting_in_flush && files_count >= FLUSHED_FILES_COUNT)
        rocksdb_compact_range(store->db, NULL, 0, NULL, 0);
    cached_iterator_drop(store);
    int status = status_of_error(error, OST_IO, NULL);
    if (status != OST_OK)
        atomic_store(&store->flushed_bytes, flushed_bytes);
    /* Compaction drops them in the end. */
    if (status == OST_OK && atomic_load(&store->may_have_deleted_ranges) &&
        !files_have_deleted_ranges(store)) {
        atomic_store(&store->may_have_deleted_ranges, false);
        /* One that was written during the flush is not in a file, and set the flag before its count
         * could be missed here. */
        if (atomic_load(&store->deletions_count) != deletions_count)
            atomic_store(&store->may_have_deleted_ranges, true);
    }
    return status;
}

/* The lowest level too, which RocksDB rewrites because there is a filter. The C API tells no error:
 * one that matters stops writes and flushes, and is heard of there. */
static int rocksdb_store_compact(struct store *base, struct bytes lower, struct bytes upper)
{
    struct store_rocksdb *store = of_store(base);
    rocksdb_compact_range_opt(store->db, store->compact_options,
                              lower.bytes_count > 0 ? chars(lower) : NULL, lower.bytes_count,
                              upper.bytes_count > 0 ? chars(upper) : NULL, upper.bytes_count);
    cached_iterator_drop(store); /* it would keep the files that were replaced */
    return OST_OK;
}

static uint64_t rocksdb_store_unflushed_bytes(const struct store *base)
{
    const struct store_rocksdb *store = (const struct store_rocksdb *)base;
    return atomic_load(&store->written_bytes) - atomic_load(&store->flushed_bytes);
}

static uint64_t rocksdb_store_approximate_bytes(struct store *base, struct bytes lower,
                                                struct bytes upper)
{
    struct store_rocksdb *store = of_store(base);
    const char *start = chars(lower), *limit = chars(upper);
    uint64_t bytes_count = 0;
    char *error = NULL;
    rocksdb_approximate_sizes(store->db, 1, &start, &lower.bytes_count, &limit, &upper.bytes_count,
                              &bytes_count, &error);
    free(error); /* then it is 0: a guess like any other */
    return bytes_count;
}

static const struct store_ops rocksdb_store_ops = {
    .close = rocksdb_store_close,
    .get = rocksdb_store_get,
    .first_version = rocksdb_store_first_version,
    .snapshot_new = rocksdb_store_snapshot_new,
    .snapshot_free = rocksdb_store_snapshot_free,
    .iterator_new = rocksdb_store_iterator_new,
    .iterator_free = rocksdb_store_iterator_free,
    .iterator_first = rocksdb_store_iterator_first,
    .iterator_last = rocksdb_store_iterator_last,
    .iterator_seek = rocksdb_store_iterator_seek,
    .iterator_seek_before = rocksdb_store_iterator_seek_before,
    .iterator_next = rocksdb_store_iterator_next,
    .iterator_previous = rocksdb_store_iterator_previous,
    .iterator_valid = rocksdb_store_iterator_valid,
    .iterator_status = rocksdb_store_iterator_status,
    .iterator_key = rocksdb_store_iterator_key,
    .iterator_value = rocksdb_store_iterator_value,
    .batch_new = rocksdb_store_batch_new,
    .batch_free = rocksdb_store_batch_free,
    .batch_reset = rocksdb_store_batch_reset,
    .batch_put = rocksdb_store_batch_put,
    .batch_put_least = rocksdb_store_batch_put_least,
    .batch_delete = rocksdb_store_batch_delete,
    .batch_delete_range = rocksdb_store_batch_delete_range,
    .batch_bytes = rocksdb_store_batch_bytes,
    .write = rocksdb_store_write,
    .flush = rocksdb_store_flush,
    .compact = rocksdb_store_compact,
    .unflushed_bytes = rocksdb_store_unflushed_bytes,
    .approximate_bytes = rocksdb_store_approximate_bytes,
};

int store_open_rocksdb(const char *directory, const struct store_options *options,
                       struct store **out_store, char *out_why)
{
    out_why[0] = '\0';
    rocksdb_cache_t *block_cache = rocksdb_cache_create_lru(options->block_cache_bytes);
    struct hook *hook = memory_alloc_zeroed(1, sizeof(*hook));
    hook->gc = kv_gc_new();
    hook->give_way = options->give_way;
    rocksdb_options_t *db_options =
        options_new(options, block_cache, rocksdb_lz4_compression, hook);
    char *error = NULL;
    rocksdb_t *db = rocksdb_open(db_options, directory, &error);
    if (error && strstr(error, "not linked with the binary")) {
        /* A RocksDB that was built without LZ4. */
        rocksdb_free(error);
        error = NULL;
        rocksdb_options_destroy(db_options);
        db_options = options_new(options, block_cache, rocksdb_no_compression, hook);
        db = rocksdb_open(db_options, directory, &error);
    }
    if (error) {
        rocksdb_options_destroy(db_options);
        rocksdb_cache_destroy(block_cache);
        kv_gc_free(hook->gc);
        free(hook);
        return status_of_error(error, OST_IO, out_why);
    }
    struct store_rocksdb *store = memory_alloc_zeroed(1, sizeof(*store));
    store->store.ops = &rocksdb_store_ops;
    store->store.gc = hook->gc;
    store->hook = hook;
    store->db = db;
    store->options = db_options;
    store->block_cache = block_cache;
    store->is_compacting_in_flush = options->is_compacting_in_flush;
    handles_open(store);
    atomic_store(&store->may_have_deleted_ranges, files_have_deleted_ranges(store));
    *out_store = &store->store;
    return OST_OK;
}
