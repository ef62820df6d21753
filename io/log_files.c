#define _GNU_SOURCE /* O_DIRECT, renameat2, sync_file_range */

#include "io/log_files.h"

#include "base/assert.h"
#include "base/memory.h"
#include "io/log_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A flush of the store sets several segments free at once, and the log needs as many again before
 * the next one: what is not kept has to be made anew, zeros and all. */
#define SPARES_COUNT_MAX 16u
#define NAME_BYTES       32
#define ZEROS_BYTES      ((size_t)256 << 10)

/* Every function works relative to an open directory, which it also syncs. */
static int directory_open(const char *directory)
{
    return open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void segment_name(uint32_t number, char *name)
{
    snprintf(name, NAME_BYTES, "log-%010u.seg", number);
}

static void spare_name(unsigned place, char *name)
{
    snprintf(name, NAME_BYTES, "spare-%u.seg", place);
}

static int status_of_errno(int error, int *out_errno)
{
    *out_errno = error;
    if (error == ENOSPC || error == EDQUOT)
        return OST_NO_SPACE;
    return error == EEXIST ? OST_EXISTS : OST_IO;
}

/* Renames, and fails with EEXIST rather than replace a file. */
static int rename_new(int directory_fd, const char *from, const char *to)
{
    if (renameat2(directory_fd, from, directory_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* The file system cannot do it in one step. Nobody else makes files in this directory. */
    if (faccessat(directory_fd, to, F_OK, 0) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(directory_fd, from, directory_fd, to);
}

/* True when a spare of the right size became segment `name`. One of another size is deleted: it is
 * left from a time with other settings. */
static bool spare_recycle(int directory_fd, const char *name, size_t bytes_count, int *out_errno)
{
    *out_errno = 0;
    for (unsigned place = 0; place < SPARES_COUNT_MAX; place++) {
        char spare[NAME_BYTES];
        struct stat stat;
        spare_name(place, spare);
        if (fstatat(directory_fd, spare, &stat, 0) != 0)
            continue;
        if ((size_t)stat.st_size != bytes_count) {
            unlinkat(directory_fd, spare, 0);
            continue;
        }
        if (rename_new(directory_fd, spare, name) == 0)
            return true;
        if (errno == ENOENT) /* another thread took it */
            continue;
        *out_errno = errno;
        return false;
    }
    return false;
}

/* In steps, each of which the disk has taken before the next: else a write of the log that comes
 * meanwhile waits until the disk has all zeros. */
static int write_zeros(int fd, size_t bytes_count)
{
    const unsigned whole_step =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    uint8_t *zeros = memory_alloc_zeroed(1, ZEROS_BYTES);
    size_t done = 0;
    int error = 0;
    while (done < bytes_count && error == 0) {
        size_t count = bytes_count - done < ZEROS_BYTES ? bytes_count - done : ZEROS_BYTES;
        ssize_t written = pwrite(fd, zeros, count, (off_t)done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            error = written < 0 ? errno : EIO;
            break;
        }
        if (sync_file_range(fd, (off_t)done, written, whole_step) != 0 && errno != ENOSYS)
            error = errno;
        done += (size_t)written;
    }
    free(zeros);
    return error;
}

/* A fresh file under another name first: after a crash there is no segment that is too short. The
 * zeros are written, since blocks that are only allocated cost a change of metadata at first use.
 */
static int file_make(int directory_fd, const char *name, size_t bytes_count)
{
    char temporary[NAME_BYTES + 4];
    snprintf(temporary, sizeof(temporary), "%s.tmp", name);
    int fd = openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return errno;
    int error = posix_fallocate(fd, 0, (off_t)bytes_count);
    if (error == EOPNOTSUPP || error == EINVAL)
        error = 0;
    if (error == 0)
        error = write_zeros(fd, bytes_count);
    if (error == 0 && fsync(fd) != 0)
        error = errno;
    /* The segment is written past the page cache from now on. */
    if (error == 0)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && rename_new(directory_fd, temporary, name) != 0)
        error = errno;
    if (error != 0)
        unlinkat(directory_fd, temporary, 0);
    return error;
}

int log_file_create(const char *directory, uint32_t number, size_t bytes_count, int *out_errno)
{
    ASSERT(bytes_count > 0 && bytes_count % LOG_BLOCK_BYTES == 0);
    char name[NAME_BYTES];
    segment_name(number, name);
    int directory_fd = directory_open(directory);
    if (directory_fd < 0)
        return status_of_errno(errno, out_errno);
    int error;
    if (faccessat(directory_fd, name, F_OK, 0) == 0)
        error = EEXIST;
    else if (!spare_recycle(directory_fd, name, bytes_count, &error) && error == 0)
        error = file_make(directory_fd, name, bytes_count);
    if (error == 0 && fsync(directory_fd) != 0)
        error = errno;
    close(directory_fd);
    return error == 0 ? OST_OK : status_of_errno(error, out_errno);
}

int log_file_retire(const char *directory, uint32_t number, int *out_errno)
{
    char name[NAME_BYTES];
    segment_name(number, name);
    int directory_fd = directory_open(directory);
    if (directory_fd < 0)
        return status_of_errno(errno, out_errno);
    int error = EEXIST;
    for (unsigned place = 0; place < SPARES_COUNT_MAX && error == EEXIST; place++) {
        char spare[NAME_BYTES];
        spare_name(place, spare);
        error = rename_new(directory_fd, name, spare) == 0 ? 0 : errno;
    }
    if (error == EEXIST) /* there are enough spares */
        error = unlinkat(directory_fd, name, 0) == 0 ? 0 : errno;
    if (error == 0 && fsync(directory_fd) != 0)
        error = errno;
    close(directory_fd);
    if (error == ENOENT) {
        *out_errno = error;
        return OST_NOT_FOUND;
    }
    return error == 0 ? OST_OK : status_of_errno(error, out_errno);
}

/* Exactly the names that segment_name makes. */
static bool segment_name_parse(const char *name, uint32_t *out_number)
{
    char again[NAME_BYTES];
    unsigned number;
    if (sscanf(name, "log-%10u.seg", &number) != 1)
        return false;
    segment_name(number, again);
    if (strcmp(name, again) != 0)
        return false;
    *out_number = number;
    return true;
}

static int number_compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

int log_files_list(const char *directory, uint32_t **out_numbers, size_t *out_count, int *out_errno)
{
    DIR *stream = opendir(directory);
    if (!stream)
        return status_of_errno(errno, out_errno);
    uint32_t *numbers = NULL;
    size_t count = 0;
    size_t capacity = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(stream)) != NULL) {
        uint32_t number;
        if (!segment_name_parse(entry->d_name, &number))
            continue;
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            numbers = memory_realloc(numbers, capacity * sizeof(numbers[0]));
        }
        numbers[count++] = number;
    }
    int error = errno;
    closedir(stream);
    if (error != 0) {
        free(numbers);
        return status_of_errno(error, out_errno);
    }
    if (count > 0)
        qsort(numbers, count, sizeof(numbers[0]), number_compare);
    *out_numbers = numbers;
    *out_count = count;
    return OST_OK;
}

/* Reads up to `bytes_count` bytes into memory that is aligned and rounded up to whole blocks.
 * Returns 0 or an errno; EINVAL from the first read of a direct file: the file system refuses. */
static int file_read(int fd, uint8_t *data, size_t bytes_count, size_t *out_bytes_count)
{
    size_t done = 0;
    while (done < bytes_count) {
        size_t rest =
            (bytes_count - done + LOG_BLOCK_BYTES - 1) / LOG_BLOCK_BYTES * LOG_BLOCK_BYTES;
        ssize_t got = pread(fd, data + done, rest, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *out_bytes_count = done < bytes_count ? done : bytes_count;
    return 0;
}

static int file_read_whole(int directory_fd, const char *name, uint8_t **out_data,
                           size_t *out_bytes_count)
{
    struct stat stat;
    int direct_fd = -1;
    void *data = NULL;
    int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = 0;
    if (fsync(fd) != 0 || fstat(fd, &stat) != 0) {
        error = errno;
        goto out_close;
    }
    size_t bytes_count = (size_t)stat.st_size;
    size_t capacity = (bytes_count / LOG_BLOCK_BYTES + 1) * LOG_BLOCK_BYTES;
    error = posix_memalign(&data, LOG_BLOCK_BYTES, capacity);
    if (error != 0)
        goto out_close;
    direct_fd = openat(directory_fd, name, O_RDONLY | O_DIRECT | O_CLOEXEC);
    error = direct_fd < 0 ? errno : file_read(direct_fd, data, bytes_count, out_bytes_count);
    if (error == EINVAL) {
        /* The next best: drop what the page cache holds and read it again. */
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        error = file_read(fd, data, bytes_count, out_bytes_count);
    }
    if (error == 0)
        *out_data = data;
    else
        free(data);
out_close:
    if (direct_fd >= 0)
        close(direct_fd);
    close(fd);
    return error;
}

int log_file_read(const char *directory, uint32_t number, uint8_t **out_data,
                  size_t *out_bytes_count, int *out_errno)
{
    char name[NAME_BYTES];
    segment_name(number, name);
    int directory_fd = directory_open(directory);
    if (directory_fd < 0)
        return status_of_errno(errno, out_errno);
    int error = file_read_whole(directory_fd, name, out_data, out_bytes_count);
    close(directory_fd);
    if (error == 0)
        return OST_OK;
    *out_errno = error;
    if (error == ENOENT)
        return OST_NOT_FOUND;
    return error == ENOMEM ? OST_NO_MEMORY : status_of_errno(error, out_errno);
}
