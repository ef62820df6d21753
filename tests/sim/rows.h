/* rows.h: what holds the rows of one store's process: store_memory.c or RocksDB. It outlives the
 * process as a crash leaves it: without all that was not flushed.
 *
 * RocksDB has a directory of its own for each life. A crash is a copy of that directory at this
 * moment (tables are linked, for they never change): the log is off, so what is on disk is all that
 * was flushed. What the old one writes afterwards, closing included, goes to the old directory.
 *
 * All directories of this process of the operating system are in one, under $TMPDIR or /dev/shm,
 * which is removed when the process ends, however it ends.
 */
#pragma once

#include "shardkv/store.h"

struct rows {
    struct store *store; /* NULL: RocksDB's, closed */
    struct store *left;  /* memory's: what the crash leaves; NULL: there was none */
    bool is_rocksdb;
    uint64_t directory, directory_left; /* RocksDB's: numbers; 0: none */
};

void rows_init(struct rows *rows, bool is_rocksdb);
void rows_fini(struct rows *rows);
/* What was left; the same again while it is open. */
struct store *rows_open(struct rows *rows);
/* From now on, what is written to the store is lost. It can be used until it is closed, and nothing
 * hinders it any more. */
void rows_crash(struct rows *rows);
/* After a crash. No snapshot or iterator may be open. */
void rows_close(struct rows *rows);
/* As a disk may: stalled, no write is taken (RocksDB: has no effect); cold, reads that may not
 * block get OST_WOULD_BLOCK (RocksDB: those of rows that are in no block in memory, for they are
 * flushed). */
void rows_hinder(struct rows *rows, bool is_stalled, bool is_cold);
