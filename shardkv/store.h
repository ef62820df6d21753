/* store.h: ordered rows on disk, the one thing that the cores call which may touch a disk. One per
 * process, for all groups. store_rocksdb.c ships; store_memory.c is a second, small one to compare
 * with and for the simulator.
 *
 * There is no write-ahead log: the Raft log is the log. A write is atomic and at once visible; it
 * is durable only after store_flush. Because everything is in one column family, a flush is a
 * consistent cut: what is found after a crash is the state after some prefix of the writes (DESIGN
 * section 4).
 *
 * Threads: reads, iterators and store_flush from any thread; writes from any thread, one batch
 * each.
 */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "base/types.h"

struct store;
struct kv_gc;

struct store_options {
    uint64_t block_cache_bytes;  /* 32 MiB; shared by all reads */
    uint64_t write_buffer_bytes; /* 64 MiB: a full one is flushed */
    /* False. True: nothing goes on in the background: compaction is a part of store_flush, so that
     * the same calls have the same outcomes (OST_WOULD_BLOCK, OST_BUSY). For the simulator. */
    bool is_compacting_in_flush;
    /* Called at every row by flushes and compactions, from their threads, and by reads in passing
     * (STORE_PASSING), so that they can let others have the processor; NULL: they do not. Not by
     * compactions that fall behind what is written. */
    void (*give_way)(void);
};
void store_options_default(struct store_options *out_options);

/* Makes it when it is not there. OST_IO, OST_NO_SPACE, OST_CORRUPT, OST_EXISTS (another process has
 * it open); `out_why` (256 bytes) says more. */
OST_MUST_CHECK int store_open_rocksdb(const char *directory, const struct store_options *options,
                                      struct store **out_store, char *out_why);
struct store *store_new_memory(void);
/* What a crash does to one made by store_new_memory: what was not flushed is gone. No snapshot or
 * iterator may be open. */
void store_memory_crash(struct store *store);
/* The same as a store of its own, while the crashed process's one is still in use. */
struct store *store_memory_after_crash(struct store *store);
/* Makes it behave as a disk may: stalled, every write gets OST_BUSY; cold, every read with
 * STORE_IN_MEMORY gets OST_WOULD_BLOCK. */
void store_memory_hinder(struct store *store, bool is_stalled, bool is_cold);
void store_close(struct store *store);
/* By what is published there (kv_gc.h) the store drops rows while it rewrites its files: at any
 * time, on threads of its own, and also what a snapshot still shows. The store's own. */
struct kv_gc *store_gc(struct store *store);

enum store_mode {
    STORE_IN_MEMORY, /* never touches a disk: OST_WOULD_BLOCK when the row is not in memory */
    STORE_MAY_BLOCK,
    STORE_FLUSHED, /* only what a crash would leave; may block */
    STORE_PASSING, /* iterators: may block, and leaves nothing in memory that it has read */
};

/* The row's value replaces what is in `out_value`. OST_OK, OST_NOT_FOUND, OST_WOULD_BLOCK,
 * OST_CORRUPT, OST_IO. */
OST_MUST_CHECK int store_get(struct store *store, struct bytes key, enum store_mode mode,
                             struct buffer *out_value);
/* The first row at or after `from` whose key has the same data prefix (kv_keys.h): `from` is that
 * of a version, and the row is the newest version of its user key that is no newer. Uses blooms. */
OST_MUST_CHECK int store_first_version(struct store *store, struct bytes from, enum store_mode mode,
                                       struct buffer *out_key, struct buffer *out_value);

/* A consistent picture; NULL in the calls below means now. */
struct store_snapshot;
struct store_snapshot *store_snapshot_new(struct store *store);
void store_snapshot_free(struct store *store, struct store_snapshot *snapshot);

/* Rows of [lower, upper) in key order (S3: total order); an empty upper: to the end.
 * STORE_IN_MEMORY, STORE_MAY_BLOCK or STORE_PASSING. */
struct store_iterator;
struct store_iterator *store_iterator_new(struct store *store,
                                          const struct store_snapshot *snapshot, struct bytes lower,
                                          struct bytes upper, enum store_mode mode);
void store_iterator_free(struct store_iterator *iterator);
void store_iterator_first(struct store_iterator *iterator);
void store_iterator_last(struct store_iterator *iterator);
/* To the first row at or after `key` / the last row before it. */
void store_iterator_seek(struct store_iterator *iterator, struct bytes key);
void store_iterator_seek_before(struct store_iterator *iterator, struct bytes key);
void store_iterator_next(struct store_iterator *iterator);
void store_iterator_previous(struct store_iterator *iterator);
bool store_iterator_valid(const struct store_iterator *iterator);
/* Why it is not valid: OST_NOT_FOUND at the end, OST_WOULD_BLOCK, OST_CORRUPT, OST_IO. */
int store_iterator_status(const struct store_iterator *iterator);
/* Borrowed until the iterator moves. */
struct bytes store_iterator_key(const struct store_iterator *iterator);
struct bytes store_iterator_value(const struct store_iterator *iterator);

struct store_batch;
struct store_batch *store_batch_new(struct store *store);
void store_batch_free(struct store_batch *batch);
void store_batch_reset(struct store_batch *batch);
void store_batch_put(struct store_batch *batch, struct bytes key, struct bytes value);
/* Of this value and the row's, if there is one, the lesser stays, byte by byte. Nothing is read for
 * it: it costs as much as a put. */
void store_batch_put_least(struct store_batch *batch, struct bytes key, struct bytes value);
void store_batch_delete(struct store_batch *batch, struct bytes key);
void store_batch_delete_range(struct store_batch *batch, struct bytes lower, struct bytes upper);
size_t store_batch_bytes(const struct store_batch *batch);

/* Never waits for a flush or compaction: OST_BUSY when the store is stalled (nothing was written;
 * try again later); OST_NO_SPACE, OST_IO, OST_CORRUPT. */
OST_MUST_CHECK int store_write(struct store *store, struct store_batch *batch);

/* Blocks until all that was written before is durable. For the pool. */
OST_MUST_CHECK int store_flush(struct store *store);
/* Rewrites the rows of [lower, upper), so that what may be dropped is gone and its space comes
 * back. Blocks for long. For the pool. */
OST_MUST_CHECK int store_compact(struct store *store, struct bytes lower, struct bytes upper);
/* Bytes written since the last flush began. */
uint64_t store_unflushed_bytes(const struct store *store);
/* About how many bytes of files the rows of [lower, upper) take: what was never flushed counts for
 * nothing. For the pool. */
uint64_t store_approximate_bytes(struct store *store, struct bytes lower, struct bytes upper);
