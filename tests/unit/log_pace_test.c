/* A disk with a bucket of tokens, as rented ones have, and a log that always has something to
 * write: how many writes stall, and how many get through. */
#include "raft/log_pace.h"

#include <criterion/criterion.h>

#define WRITE_NS  (50 * 1000u)
#define REFILL_NS (100 * NS_PER_MS)

struct disk {
    uint32_t tokens_per_refill; /* 0: no limit */
    uint32_t tokens;
    nanoseconds_t refill_ns;
};

struct result {
    uint32_t writes_count;
    uint32_t stalls_count;
    nanoseconds_t now_ns;
};

/* One write that begins now; returns when it is done. */
static nanoseconds_t disk_write(struct disk *disk, nanoseconds_t now_ns)
{
    if (disk->tokens_per_refill == 0)
        return now_ns + WRITE_NS;
    while (disk->refill_ns <= now_ns) {
        disk->refill_ns += REFILL_NS;
        disk->tokens = disk->tokens_per_refill;
    }
    if (disk->tokens == 0) {
        now_ns = disk->refill_ns;
        disk->refill_ns += REFILL_NS;
        disk->tokens = disk->tokens_per_refill;
    }
    disk->tokens--;
    return now_ns + WRITE_NS;
}

static struct result run(struct log_pace *pace, struct disk *disk, nanoseconds_t begin_ns,
                         nanoseconds_t ns)
{
    struct result result = {.now_ns = begin_ns};
    while (result.now_ns < begin_ns + ns) {
        nanoseconds_t next_ns = log_pace_next_ns(pace);
        if (next_ns > result.now_ns)
            result.now_ns = next_ns;
        log_pace_write_began(pace, result.now_ns);
        nanoseconds_t done_ns = disk_write(disk, result.now_ns);
        if (done_ns - result.now_ns > 10 * NS_PER_MS)
            result.stalls_count++;
        result.now_ns = done_ns;
        log_pace_write_done(pace, done_ns);
        result.writes_count++;
    }
    return result;
}

Test(log_pace, a_disk_without_a_limit_is_never_held_back)
{
    struct log_pace pace = {0};
    struct disk disk = {0};
    struct result result = run(&pace, &disk, NS_PER_S, NS_PER_S);
    cr_assert_eq(result.writes_count, 20000);
    cr_assert_eq(log_pace_next_ns(&pace), 0);
}

Test(log_pace, writes_are_spread_over_the_tokens_of_a_limited_disk)
{
    struct log_pace pace = {0};
    struct disk disk = {.tokens_per_refill = 100};
    struct result first = run(&pace, &disk, NS_PER_S, 10 * NS_PER_S);
    struct result then = run(&pace, &disk, first.now_ns, 10 * NS_PER_S);
    /* Unpaced, each of the 100 refills of ten seconds ends a stall. */
    cr_assert_leq(then.stalls_count, 10, "%u stalls", then.stalls_count);
    /* And next to all of the 10,000 tokens are used. */
    cr_assert_geq(then.writes_count, 9000, "%u writes", then.writes_count);
}

Test(log_pace, is_forgotten_when_the_limit_is_gone)
{
    struct log_pace pace = {0};
    struct disk disk = {.tokens_per_refill = 100};
    struct result limited = run(&pace, &disk, NS_PER_S, 10 * NS_PER_S);
    cr_assert_gt(log_pace_next_ns(&pace), limited.now_ns);
    disk = (struct disk){0};
    struct result freed = run(&pace, &disk, limited.now_ns, 60 * NS_PER_S);
    cr_assert_eq(freed.stalls_count, 0);
    cr_assert_eq(log_pace_next_ns(&pace), 0);
}

Test(log_pace, one_stall_of_a_good_disk_changes_next_to_nothing)
{
    struct log_pace pace = {0};
    struct disk disk = {0};
    struct result before = run(&pace, &disk, NS_PER_S, NS_PER_S);
    log_pace_write_began(&pace, before.now_ns);
    log_pace_write_done(&pace, before.now_ns + 100 * NS_PER_MS);
    cr_assert_leq(log_pace_next_ns(&pace) - before.now_ns, NS_PER_MS / 2);
}

Test(log_pace, no_write_is_held_back_longer_than_the_limit)
{
    struct log_pace pace = {0};
    nanoseconds_t now_ns = NS_PER_S;
    for (uint32_t i = 0; i < 1000; i++) {
        log_pace_write_began(&pace, now_ns);
        now_ns += 50 * NS_PER_MS;
        log_pace_write_done(&pace, now_ns);
    }
    /* A disk that is slow by itself is not held back at all: the interval counts from the
     * beginning. */
    cr_assert_lt(log_pace_next_ns(&pace), now_ns);
    log_pace_write_began(&pace, now_ns);
    cr_assert_eq(log_pace_next_ns(&pace), now_ns + PACE_INTERVAL_NS_MAX);
}
