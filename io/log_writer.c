#define _GNU_SOURCE /* O_DIRECT */

#include "io/log_writer.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"
#include "io/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The log moves forward from segment to segment; an older one is written only around a change. */
#define SEGMENTS_OPEN_MAX 3

struct segment_file {
    int fd; /* -1: the place is free */
    uint32_t segment;
    bool direct; /* O_DIRECT|O_DSYNC; otherwise a write is followed by fdatasync */
};

struct write_completion {
    uint64_t cookie;
    int status;
    int errno_value;
};

struct io_log_writer {
    int directory_fd;
    void (*done)(void *context, uint64_t cookie, int status, int errno_value);
    void *context;
    struct io_wakeup *wakeup;
    pthread_t thread;

    /* Of the log thread alone. */
    struct segment_file files[SEGMENTS_OPEN_MAX];
    bool direct_refused;
    int failed_errno; /* the first failure; nothing is written after it (R9) */

    sem_t work_came; /* posted for each write, and for the end */

    pthread_mutex_t mutex; /* guards what follows */
    struct io_log_write queued[LOG_WRITES_QUEUED_MAX];
    unsigned queued_head;
    unsigned queued_count;
    struct write_completion finished[LOG_WRITES_QUEUED_MAX];
    unsigned finished_count;
    bool stopping;
};

static int segment_file_open(struct io_log_writer *writer, uint32_t segment,
                             struct segment_file *out_file)
{
    char name[32];
    snprintf(name, sizeof(name), "log-%010u.seg", segment);
    int fd = -1;
    if (!writer->direct_refused) {
        fd = openat(writer->directory_fd, name, O_WRONLY | O_CLOEXEC | O_DIRECT | O_DSYNC);
        if (fd < 0 && errno == EINVAL)
            writer->direct_refused = true;
        else if (fd < 0)
            return errno;
    }
    if (writer->direct_refused)
        fd = openat(writer->directory_fd, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    *out_file =
        (struct segment_file){.fd = fd, .segment = segment, .direct = !writer->direct_refused};
    return 0;
}

/* The segment's file, opened now when it is not open yet; the one with the lowest number gives way.
 */
static int segment_file_get(struct io_log_writer *writer, uint32_t segment,
                            struct segment_file **out_file)
{
    struct segment_file *place = &writer->files[0];
    for (int i = 0; i < SEGMENTS_OPEN_MAX; i++) {
        struct segment_file *file = &writer->files[i];
        if (file->fd >= 0 && file->segment == segment) {
            *out_file = file;
            return 0;
        }
        if (place->fd >= 0 && (file->fd < 0 || file->segment < place->segment))
            place = file;
    }
    struct segment_file opened;
    int error = segment_file_open(writer, segment, &opened);
    if (error != 0)
        return error;
    if (place->fd >= 0)
        close(place->fd);
    *place = opened;
    *out_file = place;
    return 0;
}

/* Leaves out the first `bytes_count` bytes. */
static void iovecs_skip(struct iovec **iovecs, int *iovecs_count, size_t bytes_count)
{
    while (*iovecs_count > 0 && bytes_count >= (*iovecs)->iov_len) {
        bytes_count -= (*iovecs)->iov_len;
        (*iovecs)++;
        (*iovecs_count)--;
    }
    if (*iovecs_count > 0) {
        (*iovecs)->iov_base = (char *)(*iovecs)->iov_base + bytes_count;
        (*iovecs)->iov_len -= bytes_count;
    }
}

/* Writes all of it and makes it durable. Returns 0 or an errno. A short write is normal and goes on
 * with the rest; when the reason was an error, the next call tells it. An interrupted call has
 * written nothing and seen no disk. */
static int segment_write(struct io_log_writer *writer, uint32_t segment, struct iovec *iovecs,
                         int iovecs_count, uint64_t offset)
{
    struct segment_file *file;
    int error = segment_file_get(writer, segment, &file);
    if (error != 0)
        return error;
    while (iovecs_count > 0) {
        ssize_t written = pwritev(file->fd, iovecs, iovecs_count, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EINVAL && file->direct) {
            /* Some file systems take O_DIRECT at open and refuse the write: nothing was tried yet.
             */
            log_write(LOG_WARN, "the log's file system refuses O_DIRECT, using fdatasync",
                      "segment=%u", segment);
            writer->direct_refused = true;
            struct segment_file opened;
            error = segment_file_open(writer, segment, &opened);
            if (error != 0)
                return error;
            close(file->fd);
            *file = opened;
            continue;
        }
        if (written < 0)
            return errno;
        if (written == 0)
            return EIO;
        offset += (uint64_t)written;
        iovecs_skip(&iovecs, &iovecs_count, (size_t)written);
    }
    if (!file->direct && fdatasync(file->fd) != 0)
        return errno;
    return 0;
}

/* How many queued writes continue each other in one segment: they become one durable write. */
static unsigned writer_run_count(const struct io_log_writer *writer)
{
    const struct io_log_write *last = &writer->queued[writer->queued_head];
    unsigned count = 1;
    while (count < writer->queued_count) {
        const struct io_log_write *next =
            &writer->queued[(writer->queued_head + count) % LOG_WRITES_QUEUED_MAX];
        if (next->segment != last->segment || next->offset != last->offset + last->bytes_count)
            break;
        last = next;
        count++;
    }
    return count;
}

static void *writer_thread_run(void *context)
{
    struct io_log_writer *writer = context;
    io_thread_be_prompt();
    for (;;) {
        io_semaphore_wait(&writer->work_came);
        pthread_mutex_lock(&writer->mutex);
        if (writer->queued_count == 0) { /* one went with those before it, or it is the end */
            bool is_over = writer->stopping;
            pthread_mutex_unlock(&writer->mutex);
            if (is_over)
                return NULL;
            continue;
        }
        unsigned count = writer_run_count(writer);
        uint32_t segment = writer->queued[writer->queued_head].segment;
        uint64_t offset = writer->queued[writer->queued_head].offset;
        struct iovec iovecs[LOG_WRITES_QUEUED_MAX];
        uint64_t cookies[LOG_WRITES_QUEUED_MAX];
        for (unsigned i = 0; i < count; i++) {
            const struct io_log_write *write =
                &writer->queued[(writer->queued_head + i) % LOG_WRITES_QUEUED_MAX];
            iovecs[i] = (struct iovec){.iov_base = (void *)(uintptr_t)write->data,
                                       .iov_len = write->bytes_count};
            cookies[i] = write->cookie;
        }
        pthread_mutex_unlock(&writer->mutex);

        if (writer->failed_errno == 0)
            writer->failed_errno = segment_write(writer, segment, iovecs, (int)count, offset);
        int error = writer->failed_errno;
        int status = error == 0                           ? OST_OK
                     : error == ENOSPC || error == EDQUOT ? OST_NO_SPACE
                                                          : OST_IO;

        pthread_mutex_lock(&writer->mutex);
        /* The places are given back only now, so that queued and finished together never exceed the
         * maximum. */
        writer->queued_head = (writer->queued_head + count) % LOG_WRITES_QUEUED_MAX;
        writer->queued_count -= count;
        for (unsigned i = 0; i < count; i++)
            writer->finished[writer->finished_count++] = (struct write_completion){
                .cookie = cookies[i], .status = status, .errno_value = error};
        pthread_mutex_unlock(&writer->mutex);
        io_wakeup_signal(writer->wakeup);
    }
}

static void writer_hand_back(void *context)
{
    struct io_log_writer *writer = context;
    struct write_completion finished[LOG_WRITES_QUEUED_MAX];
    pthread_mutex_lock(&writer->mutex);
    unsigned count = writer->finished_count;
    memcpy(finished, writer->finished, count * sizeof(finished[0]));
    writer->finished_count = 0;
    pthread_mutex_unlock(&writer->mutex);
    for (unsigned i = 0; i < count; i++)
        writer->done(writer->context, finished[i].cookie, finished[i].status,
                     finished[i].errno_value);
}

static void writer_release(struct io_log_writer *writer)
{
    for (int i = 0; i < SEGMENTS_OPEN_MAX; i++)
        if (writer->files[i].fd >= 0)
            close(writer->files[i].fd);
    if (writer->directory_fd >= 0)
        close(writer->directory_fd);
    io_wakeup_free(writer->wakeup);
    sem_destroy(&writer->work_came);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
}

int io_log_writer_new(struct io_loop *loop, const char *directory,
                      void (*done)(void *context, uint64_t cookie, int status, int errno_value),
                      void *context, struct io_log_writer **out_writer)
{
    struct io_log_writer *writer = memory_alloc_zeroed(1, sizeof(*writer));
    writer->done = done;
    writer->context = context;
    for (int i = 0; i < SEGMENTS_OPEN_MAX; i++)
        writer->files[i].fd = -1;
    pthread_mutex_init(&writer->mutex, NULL);
    sem_init(&writer->work_came, 0, 0);
    int status;
    writer->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (writer->directory_fd < 0) {
        log_write(LOG_ERROR, "cannot open the log directory", "directory=\"%s\" reason=\"%s\"",
                  directory, strerror(errno));
        status = OST_IO;
        goto out_release;
    }
    status = io_wakeup_new(loop, writer_hand_back, writer, &writer->wakeup);
    if (status != OST_OK)
        goto out_release;
    status = io_thread_start("ostraka-log", writer_thread_run, writer, &writer->thread);
    if (status != OST_OK)
        goto out_release;
    *out_writer = writer;
    return OST_OK;

out_release:
    writer_release(writer);
    return status;
}

void io_log_writer_free(struct io_log_writer *writer)
{
    if (!writer)
        return;
    pthread_mutex_lock(&writer->mutex);
    writer->stopping = true;
    pthread_mutex_unlock(&writer->mutex);
    sem_post(&writer->work_came);
    pthread_join(writer->thread, NULL);
    writer_release(writer);
}

void io_log_writer_submit(struct io_log_writer *writer, const struct io_log_write *write)
{
    ASSERT(write->bytes_count > 0 && write->bytes_count % LOG_BLOCK_BYTES == 0);
    ASSERT(write->offset % LOG_BLOCK_BYTES == 0);
    ASSERT((uintptr_t)write->data % LOG_BLOCK_BYTES == 0);
    pthread_mutex_lock(&writer->mutex);
    ASSERT(writer->queued_count + writer->finished_count < LOG_WRITES_QUEUED_MAX);
    unsigned place = (writer->queued_head + writer->queued_count) % LOG_WRITES_QUEUED_MAX;
    writer->queued[place] = *write;
    writer->queued_count++;
    pthread_mutex_unlock(&writer->mutex);
    sem_post(&writer->work_came); /* no system call when the thread is busy */
}
