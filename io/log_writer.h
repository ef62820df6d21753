/* log_writer.h: the log thread. Blocking writes to files opened O_DIRECT|O_DSYNC, one after the
 * other, completions posted to the ring; plain write and fdatasync where the file system refuses
 * O_DIRECT.
 *
 * Why a thread: DESIGN section 3 has the figures. A failed write is reported and never tried again
 * (R9): the kernel may have dropped the page, so a second sync would lie.
 */
#pragma once

#include "base/status.h"
#include "base/types.h"
#include "io/loop.h"

/* Block size of the log: offsets, lengths and addresses are multiples of it. */
#define LOG_BLOCK_BYTES 4096u

struct io_log_writer;

/* One write, in the caller's memory until it completes. */
struct io_log_write {
    uint32_t segment; /* which file: NAME is segment number, see io_log_writer_open_segment */
    uint64_t offset;
    const void *data; /* aligned to LOG_BLOCK_BYTES */
    size_t bytes_count;
    uint64_t cookie;
};

/* `done` runs on the loop's thread, in the order of submission. status 0, OST_NO_SPACE or OST_IO;
 * errno_value tells the system's reason. */
OST_MUST_CHECK int io_log_writer_new(struct io_loop *loop, const char *directory,
                                     void (*done)(void *context, uint64_t cookie, int status,
                                                  int errno_value),
                                     void *context, struct io_log_writer **out_writer);
/* Waits for the write under way, closes the files, ends the thread. */
void io_log_writer_free(struct io_log_writer *writer);

/* At most LOG_WRITES_QUEUED_MAX may be under way; the caller keeps count. */
#define LOG_WRITES_QUEUED_MAX 8
void io_log_writer_submit(struct io_log_writer *writer, const struct io_log_write *write);
