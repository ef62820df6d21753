/* kv_load.h: how much is asked of a group's ranges, and how large they are, as its leader sees it:
 * what the shard master splits, merges and moves by.
 *
 * Operations are counted for LOAD_WINDOW_NS at a time, and every 16th leaves its key, so that a
 * range can be cut where half of the load lies on each side. Bytes are measured on the pool, one
 * range at a time: when a leader begins, and again when a range has had about a sixteenth of its
 * size written to it. So where nothing is asked nothing is done, however many ranges there are.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/types.h"
#include "proto/master.pb-c.h"

#include <bsd/sys/queue.h>

struct kv_group;
struct kv_range;

#define LOAD_WINDOW_NS  (5 * NS_PER_S)
#define LOAD_KEYS_COUNT 32u
/* Of a report: ranges that call for something. */
#define LOADS_REPORTED_COUNT_MAX 16u

struct kv_load {
    TAILQ_ENTRY(kv_load) link;
    struct kv_range *range;             /* NULL: it is gone */
    uint64_t operations;                /* in this window */
    uint64_t operations_per_s;          /* in the one before */
    struct blob *keys[LOAD_KEYS_COUNT]; /* the last that were left */
    uint64_t keys_left_count;
    uint64_t bytes; /* as last measured */
    bool is_measured;
    uint64_t written_bytes; /* since then */
    struct blob *middle;    /* by bytes, when it is large; NULL: not known */
};

struct kv_loads {
    TAILQ_HEAD(, kv_load) all;
    nanoseconds_t window_end_ns; /* NS_NEVER: nothing was asked since the last one */
    nanoseconds_t window_begin_ns;
    struct kv_measure *measure; /* on the pool; NULL: none */
    struct blob *first_pass;    /* where the measuring of all that a leader begins with has come to;
                                 * NULL: it is done */
    nanoseconds_t measure_ns;   /* when the next may begin; NS_NEVER: nothing is to be measured */
};

void kv_loads_init(struct kv_loads *loads);
void kv_loads_led(struct kv_group *group);
void kv_loads_drop(struct kv_group *group);
/* A key was read, or `written_bytes` were written under it. Counts at the leader alone. */
void kv_load_asked(struct kv_group *group, struct bytes key, size_t written_bytes);
void kv_loads_timer(struct kv_group *group);
nanoseconds_t kv_loads_deadline_ns(const struct kv_group *group);
/* Into the report of a group that leads; in the arena. */
void kv_loads_report(const struct kv_group *group, struct arena *arena,
                     Ostraka__ReplicaReport *report);
