/* kv_ranges.h: the ranges that a group's log knows of: its own, and those that are on their way to
 * it (docs/range-moves.md); in memory, as the 'w' rows say.
 *
 * Invariants: no two overlap. A range's state changes along the arrows in docs/range-moves.md and
 * no others (kv_range_move asserts). */
#pragma once

#include "base/bytes.h"
#include "base/types.h"
#include "proto/kv.pb-c.h"
#include "proto/range.pb-c.h"

#include <bsd/sys/cdefs.h>
#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

/* As on the wire and in rows (RangeState). */
enum kv_range_state {
    KV_RANGE_GONE,
    KV_RANGE_OWNED,   /* serves */
    KV_RANGE_FROZEN,  /* takes nothing new; what is prepared goes on */
    KV_RANGE_SEALED,  /* nothing in it changes */
    KV_RANGE_COPYING, /* its rows come from another group */
    KV_RANGE_COPIED,  /* they are all here */
};

struct kv_range {
    RB_ENTRY(kv_range) link;
    TAILQ_ENTRY(kv_range) unsettled_link; /* while it is not OWNED */
    struct blob *start;
    struct blob *end; /* empty: the end of the key space */
    uint64_t epoch;
    enum kv_range_state state;
    uint64_t change;       /* the number of the last one that the log has of it; 0: none */
    group_id_t from_group; /* COPYING: who gives it */
    struct blob *luggage;  /* COPIED: RangeLuggage, packed; else NULL */
    struct kv_load *load;  /* kv_load.h: at the leader; NULL: nothing was asked of it lately */
};
RB_HEAD(kv_range_tree, kv_range);
TAILQ_HEAD(kv_range_list, kv_range);

struct kv_ranges {
    struct kv_range_tree by_start;
    /* Those whose state is not OWNED: a leader looks at them often, and there may be thousands of
     * others. In no order that replicas share. */
    struct kv_range_list unsettled;
    size_t count, unsettled_count;
};

void kv_ranges_init(struct kv_ranges *ranges);
void kv_ranges_fini(struct kv_ranges *ranges);

/* The one that holds `key` and serves; NULL. */
const struct kv_range *kv_ranges_find(const struct kv_ranges *ranges, struct bytes key);
/* The same, or one that is frozen: where what is prepared is decided and resolved. */
const struct kv_range *kv_ranges_find_settling(const struct kv_ranges *ranges, struct bytes key);
/* The one that begins at `start`, in any state; NULL. */
struct kv_range *kv_ranges_at(const struct kv_ranges *ranges, struct bytes start);
bool kv_ranges_overlap(const struct kv_ranges *ranges, struct bytes start, struct bytes end);
/* Requires that it overlaps none. */
struct kv_range *kv_ranges_add(struct kv_ranges *ranges, struct bytes start, struct bytes end,
                               uint64_t epoch, enum kv_range_state state);
void kv_ranges_remove(struct kv_ranges *ranges, struct kv_range *range);
/* Along one of the arrows. */
void kv_range_move(struct kv_ranges *ranges, struct kv_range *range, enum kv_range_state state);
/* The range ends at `at`, and a new one of the same state, epoch and change begins there. Requires
 * that it is OWNED and holds `at` behind its start. */
struct kv_range *kv_ranges_split(struct kv_ranges *ranges, struct kv_range *range, struct bytes at);
/* `left` takes what `right`, which follows it, has; `right` is gone. Both are OWNED. */
void kv_ranges_merge(struct kv_ranges *ranges, struct kv_range *left, struct kv_range *right);

/* The range that a request names, if it serves at that epoch; NULL. */
const struct kv_range *kv_ranges_named(const struct kv_ranges *ranges,
                                       const Ostraka__RangeRef *ref);
/* The same, or one that is frozen. */
const struct kv_range *kv_ranges_named_settling(const struct kv_ranges *ranges,
                                                const Ostraka__RangeRef *ref);
bool kv_range_holds(const struct kv_range *range, struct bytes key);

struct kv_range *kv_ranges_first(const struct kv_ranges *ranges);
struct kv_range *kv_ranges_next(const struct kv_range *range);
