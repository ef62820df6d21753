/* The simulator's rows: what a crash leaves of them, in memory and in RocksDB; and of directories,
 * nothing. */
#define _GNU_SOURCE /* mkdtemp */

#include "tests/sim/rows.h"

#include "base/random.h"
#include "shardkv/kv_keys.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUPS_COUNT 8u
#define LIVES_COUNT  12

static void put(struct rows *rows, struct buffer *key, group_id_t group, uint8_t value)
{
    struct store_batch *batch = store_batch_new(rows->store);
    buffer_reset(key);
    kv_key_group_meta(key, group);
    store_batch_put(batch, buffer_bytes(key), bytes_of(&value, 1));
    cr_assert_eq(store_write(rows->store, batch), OST_OK);
    store_batch_free(batch);
}

/* 0: there is none. */
static uint8_t get(struct rows *rows, struct buffer *key, struct buffer *row, group_id_t group)
{
    buffer_reset(key);
    kv_key_group_meta(key, group);
    int status = store_get(rows->store, buffer_bytes(key), STORE_MAY_BLOCK, row);
    cr_assert(status == OST_OK || status == OST_NOT_FOUND);
    return status == OST_OK ? row->data[0] : 0;
}

static void crash_again_and_again(bool is_rocksdb)
{
    struct random random;
    random_init(&random, 7);
    struct buffer key = BUFFER_INIT, row = BUFFER_INIT;
    uint8_t flushed[GROUPS_COUNT] = {0}, written[GROUPS_COUNT] = {0};
    struct rows rows;
    rows_init(&rows, is_rocksdb);
    for (int life = 0; life < LIVES_COUNT; life++) {
        rows_open(&rows);
        for (group_id_t group = 0; group < GROUPS_COUNT; group++)
            cr_assert_eq(get(&rows, &key, &row, group), flushed[group]);
        memcpy(written, flushed, sizeof written);
        for (uint64_t left = random_below(&random, 30); left > 0; left--) {
            group_id_t group = random_below(&random, GROUPS_COUNT);
            written[group] = (uint8_t)(1 + random_below(&random, 90));
            put(&rows, &key, group, written[group]);
            if (random_below(&random, 4) > 0)
                continue;
            cr_assert_eq(store_flush(rows.store), OST_OK);
            memcpy(flushed, written, sizeof flushed);
        }
        rows_crash(&rows);
        /* The process that died goes on for a moment, and even flushes: nobody will see it. */
        put(&rows, &key, 0, 99);
        cr_assert_eq(get(&rows, &key, &row, 0), 99);
        cr_assert_eq(store_flush(rows.store), OST_OK);
        put(&rows, &key, 1, 99);
        rows_close(&rows);
    }
    rows_fini(&rows);
    buffer_fini(&key);
    buffer_fini(&row);
}

Test(sim_rows, a_crash_leaves_what_was_flushed_in_memory)
{
    crash_again_and_again(false);
}

Test(sim_rows, a_crash_leaves_what_was_flushed_in_rocksdb)
{
    crash_again_and_again(true);
}

static size_t entries_count(const char *path)
{
    DIR *directory = opendir(path);
    cr_assert_not_null(directory);
    size_t count = 0;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2; /* itself and its parent */
}

Test(sim_rows, nothing_is_left_of_a_process_that_was_killed)
{
    char base[] = "/tmp/ostraka-rows-XXXXXX";
    cr_assert_not_null(mkdtemp(base));
    cr_assert_eq(setenv("TMPDIR", base, 1), 0);
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rows rows;
        rows_init(&rows, true);
        rows_open(&rows);
        if (write(fds[1], "", 1) == 1)
            pause();
        _exit(EXIT_FAILURE);
    }
    close(fds[1]);
    char byte;
    cr_assert_eq(read(fds[0], &byte, 1), 1);
    cr_assert_eq(entries_count(base), 1);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    /* The end of the pipe comes when who cleans up is done, too. */
    cr_assert_eq(read(fds[0], &byte, 1), 0);
    cr_assert_eq(entries_count(base), 0);
    cr_assert_eq(rmdir(base), 0);
    close(fds[0]);
}
