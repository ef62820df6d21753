#define _GNU_SOURCE /* nftw, mkdtemp */

#include "io/log_files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(log_files, .timeout = 60);

#define SEGMENT_BYTES 65536u

static char directory[64];
static int system_errno;

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void directory_make(void)
{
    strcpy(directory, "/tmp/ostraka-log-files-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static void directory_remove(void)
{
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool file_exists(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static void file_write(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

static void segment_make(uint32_t number, size_t bytes_count)
{
    cr_assert_eq(log_file_create(directory, number, bytes_count, &system_errno), OST_OK, "%s",
                 strerror(system_errno));
}

static void expect_segments(const uint32_t *expected, size_t expected_count)
{
    uint32_t *numbers = NULL;
    size_t count = 0;
    cr_assert_eq(log_files_list(directory, &numbers, &count, &system_errno), OST_OK);
    cr_assert_eq(count, expected_count);
    for (size_t i = 0; i < count; i++)
        cr_expect_eq(numbers[i], expected[i]);
    free(numbers);
}

Test(log_files, new_segment_is_zeros, .init = directory_make, .fini = directory_remove)
{
    segment_make(7, SEGMENT_BYTES);
    uint8_t *data;
    size_t bytes_count;
    cr_assert_eq(log_file_read(directory, 7, &data, &bytes_count, &system_errno), OST_OK);
    cr_assert_eq(bytes_count, SEGMENT_BYTES);
    for (size_t i = 0; i < bytes_count; i++)
        cr_assert_eq(data[i], 0);
    free(data);
}

Test(log_files, lists_segments_alone_in_order, .init = directory_make, .fini = directory_remove)
{
    expect_segments(NULL, 0);
    segment_make(1000000007, 4096);
    segment_make(2, 4096);
    segment_make(10, 4096);
    file_write("log-3.seg", "x");
    file_write("log-0000000004.seg.tmp", "x");
    file_write("log-9999999999.seg", "x"); /* no 32 bits */
    file_write("spare-0.seg", "x");
    file_write("LOCK", "x");
    expect_segments((uint32_t[]){2, 10, 1000000007}, 3);
}

Test(log_files, a_segment_is_never_replaced, .init = directory_make, .fini = directory_remove)
{
    segment_make(1, 8192);
    cr_assert_eq(log_file_create(directory, 1, 4096, &system_errno), OST_EXISTS);
    cr_assert_eq(system_errno, EEXIST);
    /* Nor by a spare. */
    segment_make(2, 4096);
    cr_assert_eq(log_file_retire(directory, 2, &system_errno), OST_OK);
    cr_assert_eq(log_file_create(directory, 1, 4096, &system_errno), OST_EXISTS);
    uint8_t *data;
    size_t bytes_count;
    cr_assert_eq(log_file_read(directory, 1, &data, &bytes_count, &system_errno), OST_OK);
    cr_assert_eq(bytes_count, 8192);
    free(data);
}

static uint32_t spares_count(void)
{
    uint32_t count = 0;
    for (uint32_t place = 0; place < 20; place++) {
        char name[32];
        snprintf(name, sizeof(name), "spare-%u.seg", place);
        count += file_exists(name);
    }
    return count;
}

Test(log_files, retired_segments_are_recycled, .init = directory_make, .fini = directory_remove)
{
    for (uint32_t number = 1; number <= 18; number++)
        segment_make(number, 4096);
    for (uint32_t number = 1; number <= 17; number++)
        cr_assert_eq(log_file_retire(directory, number, &system_errno), OST_OK);
    cr_expect_eq(spares_count(), 16, "no more are kept");
    expect_segments((uint32_t[]){18}, 1);

    for (uint32_t number = 19; number <= 34; number++) {
        segment_make(number, 4096);
        cr_expect_eq(spares_count(), 34 - number, "one more was used");
    }
    segment_make(35, 4096);
    expect_segments(
        (uint32_t[]){18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35}, 18);
    cr_assert_eq(log_file_retire(directory, 1, &system_errno), OST_NOT_FOUND);
}

Test(log_files, a_spare_of_another_size_is_not_used, .init = directory_make,
     .fini = directory_remove)
{
    segment_make(1, 4096);
    cr_assert_eq(log_file_retire(directory, 1, &system_errno), OST_OK);
    segment_make(2, SEGMENT_BYTES);
    uint8_t *data;
    size_t bytes_count;
    cr_assert_eq(log_file_read(directory, 2, &data, &bytes_count, &system_errno), OST_OK);
    cr_assert_eq(bytes_count, SEGMENT_BYTES);
    free(data);
    cr_expect_not(file_exists("spare-0.seg"));
}

Test(log_files, reads_files_of_any_length, .init = directory_make, .fini = directory_remove)
{
    char text[10001];
    size_t lengths[] = {0, 1, 4095, 4096, 4097, 10000};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (size_t at = 0; at < lengths[i]; at++)
            text[at] = (char)('a' + at % 23);
        text[lengths[i]] = '\0';
        file_write("log-0000000009.seg", text);
        uint8_t *data;
        size_t bytes_count;
        cr_assert_eq(log_file_read(directory, 9, &data, &bytes_count, &system_errno), OST_OK);
        cr_assert_eq(bytes_count, lengths[i]);
        cr_assert_eq(memcmp(data, text, bytes_count), 0);
        free(data);
    }
}

Test(log_files, errors_name_the_reason)
{
    uint8_t *data;
    size_t bytes_count;
    uint32_t *numbers;
    strcpy(directory, "/tmp/ostraka-there-is-no-such-directory");
    cr_assert_eq(log_file_create(directory, 1, 4096, &system_errno), OST_IO);
    cr_assert_eq(system_errno, ENOENT);
    cr_assert_eq(log_files_list(directory, &numbers, &bytes_count, &system_errno), OST_IO);
    cr_assert_eq(log_file_read("/tmp", 1, &data, &bytes_count, &system_errno), OST_NOT_FOUND);
    cr_assert_eq(system_errno, ENOENT);
}

Test(log_files, a_failed_create_leaves_nothing, .init = directory_make, .fini = directory_remove)
{
    /* More than any disk has. */
    int status = log_file_create(directory, 1, (size_t)1 << 60, &system_errno);
    cr_assert(status == OST_NO_SPACE || status == OST_IO);
    cr_assert_neq(system_errno, 0);
    expect_segments(NULL, 0);
    cr_expect_not(file_exists("log-0000000001.seg.tmp"));
}
