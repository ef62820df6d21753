/* process.h: one store's process: hosts a node as cmd/server.c does, in virtual time: turns, log
 * operations, jobs, connections; and dies and comes back. What its disk holds outlives it. */
#pragma once

#include "cmd/node.h"
#include "tests/sim/clock.h"
#include "tests/sim/disk.h"
#include "tests/sim/rows.h"

#include <bsd/sys/queue.h>

struct sim;
struct process_event; /* in its inbox */
struct process_job;
struct cluster_options; /* what its node was made with */

enum process_state {
    PROCESS_DOWN,
    PROCESS_UP,
    PROCESS_PAUSED, /* SIGSTOP: its kernel goes on */
};

enum process_life {
    LIFE_HERE,    /* it runs, or will again */
    LIFE_AWAITED, /* nobody has started it yet; its disk is empty */
    LIFE_OVER,    /* nobody starts it any more */
};

enum stop_cause {
    STOP_KILLED,   /* its kernel closes its connections */
    STOP_POWER,    /* nobody is told anything */
    STOP_DISK,     /* R9: it ended itself */
    STOP_FATAL,    /* it ended itself */
    STOP_SHUTDOWN, /* it was asked to, and is done */
};

struct process {
    struct sim *sim;
    store_id_t store_id;
    enum process_state state;
    enum process_life life;
    uint64_t incarnation;
    struct node *node;
    struct rows rows;
    struct disk disk;
    struct metrics metrics;
    struct sim_clock clock;
    struct random random;
    bool is_stalled, is_cold; /* its rows */

    struct process_event *inbox;
    size_t inbox_count, inbox_capacity;
    nanoseconds_t busy_until_ns; /* a turn takes time */
    nanoseconds_t turn_at_ns;    /* NS_NEVER: none is planned */
    uint64_t turn_number;
    bool is_in_turn; /* it has read the clock for it */
    nanoseconds_t turn_now_ns;
    struct random stall_random;

    struct process_job *jobs; /* on the pool, or log files' making */
    uint64_t numbers;         /* given to jobs and log operations */
    bool is_shutting_down;
    uint64_t raft_frames_count; /* what replicas of other stores have sent to it */
    bool is_log_damaged;        /* by us: it may refuse to start */
    bool is_disk_lost;          /* it was, and it may say so */
    bool is_to_be_removed;      /* from the cluster, as somebody asked: others may refuse it */
    struct cluster_options *options;
};

void process_init(struct process *process, struct sim *sim, store_id_t store_id);
void process_fini(struct process *process);

/* Recovery and load, as at start-up. The outcome is in `state`. Nothing happens when its life is
 * not here. */
void process_start(struct process *process);
/* Whatever it was doing; nothing happens when it is not up. */
void process_stop(struct process *process, enum stop_cause cause);
void process_pause(struct process *process);
void process_resume(struct process *process);
/* SIGTERM: it stops when it is ready. */
void process_shut_down(struct process *process);
/* While it is down: log, rows and identity are gone, under the old number (R6). */
void process_lose_disk(struct process *process);
/* Its rows are slow to take writes, or to read. */
void process_hinder(struct process *process, bool is_stalled, bool is_cold);
/* Its disk is as it should be, also for what is under way: a slow write may have had a minute to
 * go.
 */
void process_heal_disk(struct process *process);
void process_clock_rate(struct process *process, int64_t rate_ppm);
/* Hands the group it leads to this replica; 0: to any other. False: it cannot now. */
bool process_transfer(struct process *process, group_id_t group, replica_id_t to);
nanoseconds_t process_now_ns(const struct process *process);
/* It is none of those that the cluster began with. */
bool process_is_joiner(const struct process *process);
static inline bool process_is_up(const struct process *process)
{
    return process->state == PROCESS_UP || process->state == PROCESS_PAUSED;
}
