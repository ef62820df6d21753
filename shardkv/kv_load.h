/* kv_load.h: how much is asked of a group's ranges, and how large they are, as its leader sees it:
 * what the shard master splits, merges and moves by.
 *
 * Operations are counted for LOAD_WINDOW_NS at a time, and every 16th leaves its key, so that a
 * range can be cut where half of the load lies on each side. Bytes are measured on the pool, one
 * range at a time: when a leader begins, when a range has come, was split or was merged, and again
 * when it has had about a sixteenth of its size written to it. So where nothing is asked nothing is
 * done, however many ranges there are: what was asked lately, what is to be measured, and what may
 * call for something by its size are lists of their own.
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

/* Of those that may call for something by their size, as many are looked at for one report. */
#define LOADS_LOOKED_AT_MAX 64u

struct kv_load {
    struct kv_loads *loads;
    TAILQ_ENTRY(kv_load) link, asked_link, measure_link, sized_link;
    bool is_asked, is_to_measure, is_sized; /* it is in these lists */
    struct kv_range *range;
    uint64_t operations;       /* in this window */
    uint64_t operations_per_s; /* in the one before */
    struct blob **keys;        /* the last LOAD_KEYS_COUNT that were left; NULL: none yet */
    uint64_t keys_left_count;
    uint64_t bytes; /* as last measured */
    bool is_measured;
    uint64_t written_bytes; /* since then */
    struct blob *middle;    /* by bytes, when it is large; NULL: not known */
};
TAILQ_HEAD(kv_load_list, kv_load);

struct kv_loads {
    struct kv_load_list all;
    struct kv_load_list asked;      /* in this window or the one before */
    struct kv_load_list to_measure; /* in turn */
    struct kv_load_list sized;      /* measured as large, or as small */
    uint64_t bytes;                 /* of all that were measured */
    nanoseconds_t window_end_ns;    /* NS_NEVER: nothing was asked since the last one */
    nanoseconds_t window_begin_ns;
    struct kv_measure *measure; /* on the pool; NULL: none */
    nanoseconds_t measure_ns;   /* when the next may begin; NS_NEVER: nothing is to be measured */
};

void kv_loads_init(struct kv_loads *loads);
void kv_loads_led(struct kv_group *group);
void kv_loads_drop(struct kv_group *group);
/* It has come, or begins or ends elsewhere: what was known of it is of something else. */
void kv_load_range_changed(struct kv_group *group, struct kv_range *range);
/* Its range is going. */
void kv_load_free(struct kv_load *load);
/* A key was read, or `written_bytes` were written under it. Counts at the leader alone. */
void kv_load_asked(struct kv_group *group, struct bytes key, size_t written_bytes);
void kv_loads_timer(struct kv_group *group);
nanoseconds_t kv_loads_deadline_ns(const struct kv_group *group);
/* Into the report of a group that leads; in the arena. */
void kv_loads_report(struct kv_group *group, struct arena *arena, Ostraka__ReplicaReport *report);
