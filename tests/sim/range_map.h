/* range_map.h: the ranges of group 0's state, as its replicas have it one after the other.
 *
 *   "map-gap"         the ranges do not cover the key space once
 *   "map-epoch-back"  a range's epoch fell, or it changed hands or form without another one
 *   and what range_changes.h says
 */
#pragma once

#include "tests/sim/range_changes.h"
#include "tests/sim/range_steps.h"

struct range_map {
    uint64_t epoch; /* 0: none was seen yet */
    uint64_t next_change;
    struct range_facts facts; /* OWNED, or GONE where it is not assigned yet */
    const group_id_t *groups; /* by the fact's place */
};

/* Of changes that came to their end. */
struct range_counts {
    uint64_t moves, cancels, splits, merges;
};

/* In the arena. */
void range_map_copy(const Ostraka__Map *map, struct arena *arena, struct range_map *out_map);
/* The one that holds `key`; NULL: none. */
const struct range_fact *range_map_at(const struct range_map *map, struct bytes key);
/* What has come to pass from one to the next, whose message that is. */
void range_map_judge(const struct range_map *before, const struct range_map *after,
                     const Ostraka__Map *message, struct range_changes *changes,
                     struct range_counts *counts, struct range_steps *steps);
