/* pool.h: a few threads for jobs that may block on disk (base/job.h). */
#pragma once

#include "base/job.h"
#include "base/status.h"
#include "io/loop.h"

struct io_pool;

OST_MUST_CHECK int io_pool_new(struct io_loop *loop, unsigned threads_count,
                               void (*completed)(void *context, struct job *job), void *context,
                               struct io_pool **out_pool);
/* Runs what is queued to its end, hands nothing back any more, ends the threads. Jobs completed but
 * not handed back are passed to `completed` here. */
void io_pool_free(struct io_pool *pool);
/* From the loop's thread. `completed` runs on it as well. */
void io_pool_submit(struct io_pool *pool, struct job *job);
