#include "io/pool.h"

#include "base/assert.h"
#include "base/memory.h"
#include "io/thread.h"

#include <pthread.h>
#include <stdlib.h>

/* First in, first out, linked by job->next. */
struct job_queue {
    struct job *head;
    struct job **tail;
};

struct io_pool {
    void (*completed)(void *context, struct job *job);
    void *context;
    struct io_wakeup *wakeup;
    pthread_t *threads;
    unsigned threads_count;
    sem_t work_came; /* posted for each job, and for each thread at the end */

    pthread_mutex_t mutex; /* guards what follows */
    struct job_queue queued;
    struct job_queue finished;
};

static void job_queue_init(struct job_queue *queue)
{
    queue->head = NULL;
    queue->tail = &queue->head;
}

static void job_queue_push(struct job_queue *queue, struct job *job)
{
    job->next = NULL;
    *queue->tail = job;
    queue->tail = &job->next;
}

static struct job *job_queue_pop(struct job_queue *queue)
{
    struct job *job = queue->head;
    if (!job)
        return NULL;
    queue->head = job->next;
    if (!queue->head)
        queue->tail = &queue->head;
    job->next = NULL;
    return job;
}

static void *pool_thread_run(void *context)
{
    struct io_pool *pool = context;
    for (;;) {
        io_semaphore_wait(&pool->work_came);
        pthread_mutex_lock(&pool->mutex);
        struct job *job = job_queue_pop(&pool->queued);
        pthread_mutex_unlock(&pool->mutex);
        if (!job)
            return NULL; /* all jobs have been taken, and this one was posted by pool_stop */
        job->run(job);
        pthread_mutex_lock(&pool->mutex);
        job_queue_push(&pool->finished, job);
        pthread_mutex_unlock(&pool->mutex);
        io_wakeup_signal(pool->wakeup);
    }
}

static void pool_hand_back(void *context)
{
    struct io_pool *pool = context;
    pthread_mutex_lock(&pool->mutex);
    struct job *job = pool->finished.head;
    job_queue_init(&pool->finished);
    pthread_mutex_unlock(&pool->mutex);
    while (job) {
        /* `completed` may free the job, or submit it again. */
        struct job *next = job->next;
        job->next = NULL;
        pool->completed(pool->context, job);
        job = next;
    }
}

static void pool_stop(struct io_pool *pool)
{
    for (unsigned i = 0; i < pool->threads_count; i++)
        sem_post(&pool->work_came);
    for (unsigned i = 0; i < pool->threads_count; i++)
        pthread_join(pool->threads[i], NULL);
    io_wakeup_free(pool->wakeup);
}

static void pool_release(struct io_pool *pool)
{
    sem_destroy(&pool->work_came);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->threads);
    free(pool);
}

int io_pool_new(struct io_loop *loop, unsigned threads_count,
                void (*completed)(void *context, struct job *job), void *context,
                struct io_pool **out_pool)
{
    ASSERT(threads_count > 0);
    struct io_pool *pool = memory_alloc_zeroed(1, sizeof(*pool));
    pool->completed = completed;
    pool->context = context;
    pool->threads = memory_alloc_zeroed(threads_count, sizeof(pool->threads[0]));
    pthread_mutex_init(&pool->mutex, NULL);
    sem_init(&pool->work_came, 0, 0);
    job_queue_init(&pool->queued);
    job_queue_init(&pool->finished);
    int status = io_wakeup_new(loop, pool_hand_back, pool, &pool->wakeup);
    if (status != OST_OK) {
        pool_release(pool);
        return status;
    }
    while (pool->threads_count < threads_count) {
        status = io_thread_start("ostraka-pool", pool_thread_run, pool,
                                 &pool->threads[pool->threads_count]);
        if (status != OST_OK) {
            pool_stop(pool);
            pool_release(pool);
            return status;
        }
        pool->threads_count++;
    }
    *out_pool = pool;
    return OST_OK;
}

void io_pool_free(struct io_pool *pool)
{
    if (!pool)
        return;
    pool_stop(pool);
    pool_hand_back(pool);
    /* A job that `completed` submitted again would never run. */
    ASSERT(!pool->queued.head);
    pool_release(pool);
}

void io_pool_submit(struct io_pool *pool, struct job *job)
{
    ASSERT(job->run);
    pthread_mutex_lock(&pool->mutex);
    job_queue_push(&pool->queued, job);
    pthread_mutex_unlock(&pool->mutex);
    sem_post(&pool->work_came); /* no system call when no thread waits */
}
