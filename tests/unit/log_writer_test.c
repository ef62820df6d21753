#define _GNU_SOURCE /* nftw, mkdtemp */

#include "base/random.h"
#include "io/log_files.h"
#include "io/log_writer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

TestSuite(log_writer, .timeout = 60);

#define SEGMENT_BYTES (1u << 20)
#define RESULTS_MAX   4096u

struct result {
    uint64_t cookie;
    int status;
    int errno_value;
};

static char directory[64];
static struct io_loop *loop;
static struct io_log_writer *writer;
static struct result results[RESULTS_MAX];
static unsigned results_count;
static int system_errno;

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void write_done(void *context, uint64_t cookie, int status, int errno_value)
{
    cr_assert_eq(context, &results_count);
    cr_assert_lt(results_count, RESULTS_MAX);
    results[results_count++] = (struct result){cookie, status, errno_value};
}

static void writer_open(void)
{
    strcpy(directory, "/tmp/ostraka-log-writer-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(io_loop_new(&loop), OST_OK);
    cr_assert_eq(io_log_writer_new(loop, directory, write_done, &results_count, &writer), OST_OK);
}

static void writer_close(void)
{
    io_log_writer_free(writer);
    io_loop_free(loop);
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void segment_make(uint32_t number)
{
    cr_assert_eq(log_file_create(directory, number, SEGMENT_BYTES, &system_errno), OST_OK, "%s",
                 strerror(system_errno));
}

static void wait_for(unsigned count)
{
    while (results_count < count)
        io_loop_turn(loop, NS_NEVER);
}

Test(log_writer, writes_complete_in_order_and_lie_where_they_should, .init = writer_open,
     .fini = writer_close)
{
    enum { WRITES_COUNT = 400, SEGMENTS_COUNT = 5 };
    struct random random;
    random_init(&random, 11);
    uint8_t *expected = calloc(SEGMENTS_COUNT, SEGMENT_BYTES);
    uint8_t *memory[WRITES_COUNT];
    for (uint32_t i = 0; i < SEGMENTS_COUNT; i++)
        segment_make(i);
    uint32_t segment = 0;
    uint64_t offset = 0;
    for (unsigned i = 0; i < WRITES_COUNT; i++) {
        size_t bytes_count = LOG_BLOCK_BYTES * (1 + random_below(&random, 4));
        /* Mostly one after the other; sometimes elsewhere, so that runs begin and end. */
        if (offset + bytes_count > SEGMENT_BYTES || random_below(&random, 30) == 0) {
            segment = (segment + (uint32_t)random_below(&random, 2)) % SEGMENTS_COUNT;
            offset = LOG_BLOCK_BYTES * random_below(&random, 100);
        }
        memory[i] = aligned_alloc(LOG_BLOCK_BYTES, bytes_count);
        for (size_t at = 0; at < bytes_count; at++)
            memory[i][at] = (uint8_t)random_next(&random);
        memcpy(expected + (size_t)segment * SEGMENT_BYTES + offset, memory[i], bytes_count);
        while (i - results_count >= LOG_WRITES_QUEUED_MAX)
            io_loop_turn(loop, NS_NEVER);
        io_log_writer_submit(writer, &(struct io_log_write){.segment = segment,
                                                            .offset = offset,
                                                            .data = memory[i],
                                                            .bytes_count = bytes_count,
                                                            .cookie = 1000 + i});
        offset += bytes_count;
    }
    wait_for(WRITES_COUNT);
    for (unsigned i = 0; i < WRITES_COUNT; i++) {
        cr_assert_eq(results[i].cookie, 1000 + i);
        cr_assert_eq(results[i].status, OST_OK);
        cr_assert_eq(results[i].errno_value, 0);
        free(memory[i]);
    }
    for (uint32_t i = 0; i < SEGMENTS_COUNT; i++) {
        uint8_t *data;
        size_t bytes_count;
        cr_assert_eq(log_file_read(directory, i, &data, &bytes_count, &system_errno), OST_OK);
        cr_assert_eq(bytes_count, SEGMENT_BYTES);
        cr_assert_eq(memcmp(data, expected + (size_t)i * SEGMENT_BYTES, SEGMENT_BYTES), 0);
        free(data);
    }
    free(expected);
}

static void submit_block(uint32_t segment, uint64_t offset, const uint8_t *data, size_t bytes_count,
                         uint64_t cookie)
{
    io_log_writer_submit(writer, &(struct io_log_write){.segment = segment,
                                                        .offset = offset,
                                                        .data = data,
                                                        .bytes_count = bytes_count,
                                                        .cookie = cookie});
}

Test(log_writer, a_missing_segment_is_a_failure_and_nothing_is_written_after_it,
     .init = writer_open, .fini = writer_close)
{
    uint8_t *data = aligned_alloc(LOG_BLOCK_BYTES, LOG_BLOCK_BYTES);
    memset(data, 'x', LOG_BLOCK_BYTES);
    segment_make(1);
    submit_block(2, 0, data, LOG_BLOCK_BYTES, 1);
    wait_for(1);
    cr_assert_eq(results[0].status, OST_IO);
    cr_assert_eq(results[0].errno_value, ENOENT);
    submit_block(1, 0, data, LOG_BLOCK_BYTES, 2);
    wait_for(2);
    cr_assert_eq(results[1].status, OST_IO);
    uint8_t *content;
    size_t bytes_count;
    cr_assert_eq(log_file_read(directory, 1, &content, &bytes_count, &system_errno), OST_OK);
    cr_assert_eq(content[0], 0, "a write after the failed one must not reach the disk");
    free(content);
    free(data);
}

Test(log_writer, a_short_write_goes_on_and_its_error_is_reported, .init = writer_open,
     .fini = writer_close)
{
    /* The limit lies in the middle of the write: the kernel first writes a part, then refuses. */
    const size_t bytes_count = 4 * LOG_BLOCK_BYTES;
    uint8_t *data = aligned_alloc(LOG_BLOCK_BYTES, bytes_count);
    memset(data, 'x', bytes_count);
    segment_make(1);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {2 * LOG_BLOCK_BYTES, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    submit_block(1, 0, data, bytes_count, 5);
    wait_for(1);
    limit.rlim_cur = RLIM_INFINITY;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(results[0].cookie, 5);
    cr_assert_eq(results[0].status, OST_IO);
    cr_assert_eq(results[0].errno_value, EFBIG);
    /* Never tried again, although it would work now. */
    submit_block(1, 0, data, bytes_count, 6);
    wait_for(2);
    cr_assert_eq(results[1].status, OST_IO);
    free(data);
}

Test(log_writer, a_full_disk_has_a_code_of_its_own, .init = writer_open, .fini = writer_close)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/log-0000000001.seg", directory);
    cr_assert_eq(symlink("/dev/full", path), 0);
    uint8_t *data = aligned_alloc(LOG_BLOCK_BYTES, LOG_BLOCK_BYTES);
    memset(data, 'x', LOG_BLOCK_BYTES);
    submit_block(1, 0, data, LOG_BLOCK_BYTES, 5);
    wait_for(1);
    cr_assert_eq(results[0].status, OST_NO_SPACE);
    cr_assert_eq(results[0].errno_value, ENOSPC);
    free(data);
}

Test(log_writer, a_failed_sync_is_a_failure, .init = writer_open, .fini = writer_close)
{
    /* It refuses O_DIRECT, takes the write, and cannot sync: the way of other file systems. */
    char path[128];
    snprintf(path, sizeof(path), "%s/log-0000000001.seg", directory);
    cr_assert_eq(symlink("/dev/null", path), 0);
    uint8_t *data = aligned_alloc(LOG_BLOCK_BYTES, LOG_BLOCK_BYTES);
    memset(data, 'x', LOG_BLOCK_BYTES);
    submit_block(1, 0, data, LOG_BLOCK_BYTES, 5);
    wait_for(1);
    cr_assert_eq(results[0].status, OST_IO);
    cr_assert_eq(results[0].errno_value, EINVAL);
    free(data);
}

Test(log_writer, free_finishes_what_is_under_way, .init = writer_open, .fini = writer_close)
{
    uint8_t *data = aligned_alloc(LOG_BLOCK_BYTES, LOG_WRITES_QUEUED_MAX * LOG_BLOCK_BYTES);
    memset(data, 'y', LOG_WRITES_QUEUED_MAX * LOG_BLOCK_BYTES);
    segment_make(1);
    for (unsigned i = 0; i < LOG_WRITES_QUEUED_MAX; i++)
        submit_block(1, i * LOG_BLOCK_BYTES, data + i * LOG_BLOCK_BYTES, LOG_BLOCK_BYTES, i);
    io_log_writer_free(writer);
    writer = NULL;
    uint8_t *content;
    size_t bytes_count;
    cr_assert_eq(log_file_read(directory, 1, &content, &bytes_count, &system_errno), OST_OK);
    cr_assert_eq(memcmp(content, data, LOG_WRITES_QUEUED_MAX * LOG_BLOCK_BYTES), 0);
    cr_assert_eq(results_count, 0, "nothing is handed back outside of a turn");
    free(content);
    free(data);
}
