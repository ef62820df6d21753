#include "io/pool.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

TestSuite(pool, .timeout = 60);

#define JOBS_COUNT 2000u

struct square {
    struct job job;
    unsigned value;
    unsigned result;
    bool on_other_thread;
    bool signals_blocked;
    pthread_t maker;
};

struct handed_back {
    struct io_pool *pool;
    unsigned count;
    unsigned resubmit_count;
};

static void square_run(struct job *job)
{
    struct square *square = (struct square *)job;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    square->signals_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1;
    square->on_other_thread = !pthread_equal(pthread_self(), square->maker);
    square->result = square->value * square->value;
}

static void square_completed(void *context, struct job *job)
{
    struct handed_back *handed_back = context;
    struct square *square = (struct square *)job;
    cr_expect_eq(square->result, square->value * square->value);
    cr_expect(square->on_other_thread);
    cr_expect(square->signals_blocked);
    cr_expect(pthread_equal(pthread_self(), square->maker), "completed runs on the loop's thread");
    handed_back->count++;
    if (handed_back->resubmit_count > 0) {
        handed_back->resubmit_count--;
        io_pool_submit(handed_back->pool, job);
    }
}

static struct square *squares_make(void)
{
    struct square *squares = calloc(JOBS_COUNT, sizeof(*squares));
    for (unsigned i = 0; i < JOBS_COUNT; i++) {
        squares[i].job.run = square_run;
        squares[i].value = i;
        squares[i].maker = pthread_self();
    }
    return squares;
}

Test(pool, runs_every_job_elsewhere_and_hands_it_back)
{
    struct io_loop *loop;
    struct handed_back handed_back = {NULL, 0, 100};
    cr_assert_eq(io_loop_new(&loop), OST_OK);
    cr_assert_eq(io_pool_new(loop, 3, square_completed, &handed_back, &handed_back.pool), OST_OK);
    struct square *squares = squares_make();
    for (unsigned i = 0; i < JOBS_COUNT; i++)
        io_pool_submit(handed_back.pool, &squares[i].job);
    while (handed_back.count < JOBS_COUNT + 100)
        io_loop_turn(loop, NS_NEVER);
    io_pool_free(handed_back.pool);
    cr_assert_eq(handed_back.count, JOBS_COUNT + 100);
    free(squares);
    io_loop_free(loop);
}

Test(pool, free_runs_what_is_queued_and_hands_it_back)
{
    struct io_loop *loop;
    struct handed_back handed_back = {NULL, 0, 0};
    cr_assert_eq(io_loop_new(&loop), OST_OK);
    cr_assert_eq(io_pool_new(loop, 2, square_completed, &handed_back, &handed_back.pool), OST_OK);
    struct square *squares = squares_make();
    for (unsigned i = 0; i < JOBS_COUNT; i++)
        io_pool_submit(handed_back.pool, &squares[i].job);
    io_pool_free(handed_back.pool);
    cr_assert_eq(handed_back.count, JOBS_COUNT);
    free(squares);
    io_loop_free(loop);
}
