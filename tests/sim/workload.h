/* workload.h: what clients do, and what they write down of it.
 *
 * An actor runs one transaction at a time on its client's core: it draws a script, invokes it in
 * the history, walks it step by step, asks for the commit, and records how it ended: ok, fail
 * (nothing happened), or info (nobody knows). A refused one is tried again with the same keys, its
 * age, and new values: each value is written by one attempt alone.
 *
 *   append    lists: reads and appends over several keys, and scans (workload_append.c)
 *   register  one key: get, put, compare and set; intervals: cleared, scanned (workload_register.c)
 *   bank      transfers, which may be counted, and reads of all accounts (workload_bank.c)
 *   snapshot  reads of keys of the others, as of a timestamp (workload_snapshot.c)
 *
 * Key numbers are unique over the kinds: they are the history's.
 */
#pragma once

#include "base/arena.h"
#include "cmd/history.h"
#include "tests/sim/client_process.h"
#include "tests/sim/plan.h"

#define WORKLOAD_STEPS_MAX   72u
#define WORKLOAD_KEY_BYTES   16u
#define WORKLOAD_BANK_EACH   100
#define WORKLOAD_APPEND_KEY  0
#define WORKLOAD_REG_KEY     100000
#define WORKLOAD_ACCOUNT_KEY 200000

enum workload_kind {
    WORKLOAD_APPEND,
    WORKLOAD_REGISTER,
    WORKLOAD_BANK,
    WORKLOAD_SNAPSHOT,
    WORKLOADS_COUNT
};

struct actor;
struct workload {
    const char *name;
    /* A script: which keys, which actions. */
    void (*draw)(struct actor *actor);
    /* New values for this attempt, and its invocation into the history. */
    void (*invoke)(struct actor *actor);
    /* Submits what comes next, after `done` (NULL: at the start), and returns true; false: there is
     * nothing more to do but the commit. A status other than OST_OK and OST_NOT_FOUND never gets
     * here. */
    bool (*step)(struct actor *actor, const struct operation *done);
    /* The completion into the history. */
    void (*complete)(struct actor *actor, enum history_type type, const char *error);
};
extern const struct workload workload_append, workload_register, workload_bank, workload_snapshot;

/* What a snapshot reads, and how. */
struct actor_snapshot {
    const struct workload *kind; /* of all its keys; NULL: several */
    timestamp_t named;           /* 0: the oracle is asked */
    uint32_t staleness_ms_max;   /* 0: strict */
    bool any_replica, reverse;
    uint32_t rows_count_max;
    timestamp_t timestamp; /* that it reads at */
};

/* A scan, or a deletion, of the keys from `first` on, which are some of the actor's ops, in the
 * scan's order. */
struct actor_interval {
    int64_t first;
    uint32_t at, count; /* its ops; 0: there is none */
    uint32_t limit;     /* of rows; 0: none */
    bool reverse, for_update;
};

struct actor {
    struct client_process *client;
    uint32_t number;
    uint64_t process;                /* in the history */
    const struct workload *workload; /* NULL: it rests */
    struct core_txn *txn;            /* NULL: none */
    bool is_handed_over;             /* the core frees it */
    struct txn_age age;              /* over the tries */
    uint32_t tries_count;
    uint64_t attempts; /* of all transactions; also tells late completions apart */
    bool is_invoked;
    bool is_committing; /* from here on nobody may know how it ends */
    bool is_optimistic; /* it reads without locks, unless that has failed often enough */
    bool is_single;     /* one operation, no transaction: it commits itself */
    bool is_given_up;   /* the attempt, by its own wish */
    bool is_drained;    /* it stops when the run does; this one has */
    uint32_t commits_asked;
    bool has_writes;
    uint64_t written;   /* its number at the checker of snapshots; 0: it has not written yet */
    uint32_t place;     /* in the script */
    bool is_appending;  /* the read for an append is under way */
    struct arena arena; /* lists that were read */
    struct history_op ops[WORKLOAD_STEPS_MAX];
    uint32_t ops_count;
    bool for_update[WORKLOAD_STEPS_MAX];
    int64_t from, to, amount; /* bank */
    bool is_scan;
    struct actor_snapshot snapshot;
    struct actor_interval interval;
    bool is_unread[WORKLOAD_STEPS_MAX]; /* of this attempt: a scan's limit kept it from the op */
    bool is_mismatch;                   /* its compare-and-set found another value: seen_value */
    bool is_counting;                   /* bank: reads the counters */
    /* register: what it saw last, to compare with. */
    bool has_seen, has_seen_value;
    int64_t seen_key, seen_value;
};

void actor_start(struct actor *actor, struct client_process *client, uint32_t number);
void actor_killed(struct actor *actor);
/* Is nothing under way? */
bool actor_is_idle(const struct actor *actor);

/* --- For the workloads --- */
void actor_submit(struct actor *actor, struct operation *operation_take);
void actor_get(struct actor *actor, int64_t key, bool for_update);
void actor_put(struct actor *actor, int64_t key, struct bytes value);
/* Draws an interval of at most `count_max` keys of those from `base` on, and fills in its ops from
 * `at` on, reads in the scan's order. */
void actor_interval_draw(struct actor *actor, int64_t base, uint32_t at, uint32_t count_max);
/* A scan or a deletion of it, to be submitted. */
struct operation *actor_interval_operation(struct actor *actor, enum operation_type type);
/* What the scan brought, into the interval's reads; those that its limit kept it from reaching are
 * left out when the attempt is recorded. */
void actor_interval_read(struct actor *actor, const struct operation *done,
                         bool (*read)(struct actor *actor, struct history_op *op,
                                      struct bytes value));
/* The transaction ends without a commit, by its own wish. */
void actor_give_up(struct actor *actor, const char *error);
void actor_record(struct actor *actor, const struct history_event *event);
/* The end of a workload's attempt whose history is `ops`. */
void actor_complete_ops(struct actor *actor, enum history_type type, const char *error);
struct random *actor_random(struct actor *actor);
int64_t workload_value_new(struct actor *actor);
/* 0 <= result < plan.keys, skewed as the plan says. */
uint64_t workload_key_draw(struct actor *actor);
/* "a7f0003": kind, place in the key space, number. */
struct bytes workload_key(const struct plan *plan, int64_t key, char *text);
uint64_t workload_accounts_count(const struct plan *plan);
/* Whole numbers, 8 bytes each, big endian. */
struct bytes workload_numbers_pack(const int64_t *numbers, size_t count, struct arena *arena);
/* False: the value is none of ours. */
bool workload_numbers_unpack(struct bytes value, struct arena *arena, int64_t **out_numbers,
                             uint32_t *out_count);
/* A timestamp that may be read at again. */
void workload_snapshot_remember(struct sim *sim, timestamp_t timestamp);
/* A read of all accounts, by gets or by one scan; and of their counters. */
void workload_bank_draw_read(struct actor *actor, bool is_scan);
void workload_bank_draw_counters(struct actor *actor);
