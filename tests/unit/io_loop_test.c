#define _GNU_SOURCE /* ualarm */

#include "io/loop.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

TestSuite(io_loop, .timeout = 60);

struct counted {
    struct io_wakeup *wakeup;
    unsigned runs_count;
};

static void count_run(void *context)
{
    struct counted *counted = context;
    counted->runs_count++;
}

static struct io_loop *loop_make(void)
{
    struct io_loop *loop;
    cr_assert_eq(io_loop_new(&loop), OST_OK);
    return loop;
}

Test(io_loop, turn_ends_at_its_deadline_and_reads_the_clocks)
{
    struct io_loop *loop = loop_make();
    cr_assert_gt(io_loop_now_ns(loop), 0);
    cr_assert_gt(io_loop_wall_ms(loop), UINT64_C(1600000000000));
    nanoseconds_t deadline_ns = io_loop_now_ns(loop) + 20 * NS_PER_MS;
    while (io_loop_now_ns(loop) < deadline_ns)
        io_loop_turn(loop, deadline_ns);
    /* Anything past: these return although nothing ever completes. */
    nanoseconds_t before_ns = io_loop_now_ns(loop);
    io_loop_turn(loop, 0);
    io_loop_turn(loop, deadline_ns);
    cr_assert_geq(io_loop_now_ns(loop), before_ns);
    io_loop_free(loop);
}

Test(io_loop, many_signals_make_one_run)
{
    struct io_loop *loop = loop_make();
    struct counted first = {NULL, 0};
    struct counted second = {NULL, 0};
    cr_assert_eq(io_wakeup_new(loop, count_run, &first, &first.wakeup), OST_OK);
    cr_assert_eq(io_wakeup_new(loop, count_run, &second, &second.wakeup), OST_OK);
    for (int i = 0; i < 100; i++)
        io_wakeup_signal(first.wakeup);
    io_loop_turn(loop, NS_NEVER);
    cr_assert_eq(first.runs_count, 1);
    cr_assert_eq(second.runs_count, 0);
    io_wakeup_signal(second.wakeup);
    io_wakeup_signal(first.wakeup);
    io_loop_turn(loop, NS_NEVER);
    cr_assert_eq(first.runs_count, 2);
    cr_assert_eq(second.runs_count, 1);
    io_loop_turn(loop, 0);
    cr_assert_eq(first.runs_count, 2);
    io_wakeup_free(first.wakeup);
    io_wakeup_free(second.wakeup);
    io_loop_free(loop);
}

/* The other thread waits for each run before it signals again, so a lost signal hangs the test. */
#define ROUNDS_COUNT 20000u

struct ping {
    struct io_wakeup *wakeup;
    _Atomic unsigned answered_count;
};

static void ping_run(void *context)
{
    struct ping *ping = context;
    atomic_fetch_add(&ping->answered_count, 1);
}

static void *ping_thread(void *context)
{
    struct ping *ping = context;
    for (unsigned i = 0; i < ROUNDS_COUNT; i++) {
        io_wakeup_signal(ping->wakeup);
        while (atomic_load(&ping->answered_count) == i)
            sched_yield();
    }
    return NULL;
}

Test(io_loop, no_signal_of_another_thread_is_lost)
{
    struct io_loop *loop = loop_make();
    struct ping ping = {NULL, 0};
    cr_assert_eq(io_wakeup_new(loop, ping_run, &ping, &ping.wakeup), OST_OK);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, ping_thread, &ping), 0);
    while (atomic_load(&ping.answered_count) < ROUNDS_COUNT)
        io_loop_turn(loop, NS_NEVER);
    pthread_join(thread, NULL);
    io_wakeup_free(ping.wakeup);
    io_loop_free(loop);
}

static struct io_wakeup *signal_wakeup;

static void signal_handle(int number)
{
    (void)number;
    io_wakeup_signal(signal_wakeup);
}

Test(io_loop, signal_handler_wakes_a_loop_that_waits)
{
    struct io_loop *loop = loop_make();
    struct counted counted = {NULL, 0};
    cr_assert_eq(io_wakeup_new(loop, count_run, &counted, &counted.wakeup), OST_OK);
    signal_wakeup = counted.wakeup;
    struct sigaction action = {.sa_handler = signal_handle};
    cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
    /* Once from the program itself, once while the kernel waits. */
    raise(SIGALRM);
    io_loop_turn(loop, NS_NEVER);
    cr_assert_eq(counted.runs_count, 1);
    ualarm(20000, 0);
    while (counted.runs_count < 2)
        io_loop_turn(loop, NS_NEVER);
    io_wakeup_free(counted.wakeup);
    io_loop_free(loop);
}
