/* oracle.h: the leader's clock and counter: which timestamps it may hand out. Pure: time comes with
 * the calls, and what must be replicated goes out through oracle_ceiling_wanted.
 *
 * O1 A timestamp is served only at or below a ceiling that is committed, and above everything at or
 *    below the ceiling that stood when this leadership began. So no two leaders serve the same one.
 * O4 The physical part follows the monotonic clock. It runs at twice real speed while the wall
 * clock is ahead, at half speed while it is behind, and never jumps: the wall clock may. A new
 * leader starts at the ceiling; the very first one, at the wall clock. Were it to start at its own
 * wall clock, one store whose clock is hours off would let all deadlines and outcomes expire. (O2,
 * the confirmed leadership, and the waiting requests are master.c's part.)
 *
 * More timestamps than the counter holds in a millisecond run ahead of the physical part, until
 * they meet the ceiling, which is never further ahead than ahead_ms: there they wait.
 */
#pragma once

#include "base/status.h"
#include "base/types.h"

#define ORACLE_COUNT_MAX (1u << TIMESTAMP_COUNTER_BITS)

struct oracle {
    uint32_t ahead_ms;
    bool leads;
    timestamp_t last;    /* the highest that was served, or where this leadership began */
    timestamp_t ceiling; /* committed */
    timestamp_t
        ceiling_proposed; /* by this leader; equal to or below `ceiling`: nothing is under way */
    uint64_t physical_ns; /* since 1970 */
    nanoseconds_t advanced_ns; /* when physical_ns was true */
    int64_t ahead_of_wall_ms;
    nanoseconds_t served_ns; /* when a timestamp was last asked for */
    nanoseconds_t warned_ns; /* 0: the clocks agree */
};

void oracle_init(struct oracle *oracle, uint32_t ahead_ms);

/* The leader has applied the entry that opens its term; `ceiling` is what stands applied. */
void oracle_led(struct oracle *oracle, timestamp_t ceiling, nanoseconds_t now_ns, uint64_t wall_ms);
void oracle_deposed(struct oracle *oracle);

/* Time went on. True: the wall clock is more than a second off, and it is time to say so. */
bool oracle_advance(struct oracle *oracle, nanoseconds_t now_ns, uint64_t wall_ms);

/* `count` timestamps in a row, from *out_first. OST_WOULD_BLOCK: the ceiling stands in the way;
 * OST_NOT_LEADER; OST_INVALID_ARGUMENT: count is 0 or over ORACLE_COUNT_MAX. */
OST_MUST_CHECK int oracle_serve(struct oracle *oracle, uint32_t count, timestamp_t *out_first);

/* The ceiling that should be proposed now, or 0. One proposal is under way at a time; the ceiling
 * is raised half-way, so that nobody waits for it, and not at all while nobody asks. */
timestamp_t oracle_ceiling_wanted(const struct oracle *oracle);
void oracle_ceiling_proposed(struct oracle *oracle, timestamp_t ceiling);
void oracle_ceiling_applied(struct oracle *oracle, timestamp_t ceiling);

/* When to look again whether the ceiling is to be raised; `waiting`: somebody waits at it. */
nanoseconds_t oracle_deadline_ns(const struct oracle *oracle, bool waiting);
