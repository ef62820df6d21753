/* kv_ranges.h: the ranges that a group owns, by its own log; in memory, as the 'w' rows say.
 *
 * Invariant: no two overlap. */
#pragma once

#include "base/bytes.h"
#include "proto/kv.pb-c.h"

#include <bsd/sys/cdefs.h>
#include <bsd/sys/tree.h>

struct kv_range {
    RB_ENTRY(kv_range) link;
    struct blob *start;
    struct blob *end; /* empty: the end of the key space */
    uint64_t epoch;
};
RB_HEAD(kv_range_tree, kv_range);

struct kv_ranges {
    struct kv_range_tree by_start;
    size_t count;
};

void kv_ranges_init(struct kv_ranges *ranges);
void kv_ranges_fini(struct kv_ranges *ranges);

/* The one that holds `key`; NULL. */
const struct kv_range *kv_ranges_find(const struct kv_ranges *ranges, struct bytes key);
/* The one that begins at `start`; NULL. */
const struct kv_range *kv_ranges_at(const struct kv_ranges *ranges, struct bytes start);
bool kv_ranges_overlap(const struct kv_ranges *ranges, struct bytes start, struct bytes end);
/* Requires that it overlaps none. */
void kv_ranges_add(struct kv_ranges *ranges, struct bytes start, struct bytes end, uint64_t epoch);

/* The owned range that a request names, if it stands at that epoch; NULL. */
const struct kv_range *kv_ranges_named(const struct kv_ranges *ranges,
                                       const Ostraka__RangeRef *ref);
bool kv_range_holds(const struct kv_range *range, struct bytes key);

const struct kv_range *kv_ranges_first(const struct kv_ranges *ranges);
const struct kv_range *kv_ranges_next(const struct kv_range *range);
