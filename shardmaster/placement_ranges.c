#include "shardmaster/placement_ranges.h"

#include "base/memory.h"
#include "proto/limits.h"
#include "shardmaster/master_map.h"

#include <stdio.h>
#include <stdlib.h>

#define IS_SPLIT OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
#define IS_MERGE OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES
#define IS_MOVE  OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE

/* With less, no group is busy. Groups that are dealt ranges by their number have so much less that
 * none of them is busy afterwards: what one rule moves, the other leaves where it is. */
#define BUSY_OPERATIONS_MIN 500u
#define IDLE_OPERATIONS_MAX (BUSY_OPERATIONS_MIN / 4)
/* A range with less than such a part of the difference is not worth the move. */
#define MOVED_PART 128u

static const Ostraka__RangeInfo *range_of_load(const Ostraka__Map *map, group_id_t group,
                                               const Ostraka__RangeLoad *load)
{
    const Ostraka__RangeInfo *range = master_map_range_of_key(map, master_bytes(load->start));
    bool is_same = range && range->group == group && range->epoch == load->epoch &&
                   range->assigned && !range->change &&
                   bytes_equal(master_bytes(range->start), master_bytes(load->start));
    return is_same ? range : NULL;
}

/* The one behind it, if it may merge with it. */
static const Ostraka__RangeInfo *right_neighbour(const Ostraka__Map *map,
                                                 const Ostraka__RangeInfo *range)
{
    if (range->end.len == 0)
        return NULL;
    const Ostraka__RangeInfo *right = master_map_range_of_key(map, master_bytes(range->end));
    return right->group == range->group && right->assigned && !right->change ? right : NULL;
}

/* P4 */
static bool rests_from(const struct placement_ranges_input *input, const Ostraka__RangeInfo *range,
                       Ostraka__RangeChangeKind kind)
{
    for (size_t index = 0; index < input->rests_count; index++) {
        const struct placement_rest *rest = &input->rests[index];
        if ((rest->kinds & (1u << kind)) != 0 &&
            ranges_overlap(rest->start, rest->end, master_bytes(range->start),
                           master_bytes(range->end)))
            return true;
    }
    return false;
}

static void change_set(struct placement_range_change *change, Ostraka__RangeChangeKind kind,
                       const Ostraka__RangeInfo *range)
{
    *change =
        (struct placement_range_change){.kind = kind, .start = range->start, .epoch = range->epoch};
}

static size_t place_of_group(const Ostraka__Map *map, group_id_t group)
{
    if (group >= 1 && group <= map->n_groups && map->groups[group - 1]->id == group)
        return group - 1;
    size_t place = 0;
    while (place < map->n_groups && map->groups[place]->id != group)
        place++;
    return place;
}

/* --- 1: splits --- */

static bool next_split(const struct placement_ranges_input *input,
                       struct placement_range_change *out_change)
{
    const Ostraka__Map *map = input->map;
    for (size_t place = 0; place < map->n_groups; place++) {
        const struct placement_group *group = &input->groups[place];
        for (size_t index = 0; group->is_known && index < group->loads_count; index++) {
            const Ostraka__RangeLoad *load = group->loads[index];
            const Ostraka__RangeInfo *range = range_of_load(map, map->groups[place]->id, load);
            if (!range || rests_from(input, range, IS_SPLIT) || load->split_at.len == 0 ||
                load->split_at.len > KEY_BYTES_MAX ||
                bytes_equal(master_bytes(load->split_at), master_bytes(range->start)) ||
                !key_in_range(master_bytes(load->split_at), master_bytes(range->start),
                              master_bytes(range->end)))
                continue;
            change_set(out_change, IS_SPLIT, range);
            out_change->at = load->split_at;
            snprintf(out_change->why, sizeof(out_change->why), "%lu operations a second, %lu MiB",
                     load->operations_per_s, load->bytes >> 20);
            return true;
        }
    }
    return false;
}

/* --- 2: moves by load --- */

/* The load that leaves the difference of the two groups smallest: one of about half of it. */
static const Ostraka__RangeInfo *load_to_move(const struct placement_ranges_input *input,
                                              size_t from, uint64_t difference)
{
    const struct placement_group *group = &input->groups[from];
    const Ostraka__RangeInfo *best = NULL;
    uint64_t best_left = difference;
    for (size_t index = 0; index < group->loads_count; index++) {
        const Ostraka__RangeLoad *load = group->loads[index];
        const Ostraka__RangeInfo *range =
            range_of_load(input->map, input->map->groups[from]->id, load);
        uint64_t moved = 2 * load->operations_per_s;
        uint64_t left = moved > difference ? moved - difference : difference - moved;
        if (!range || left >= best_left || load->operations_per_s * MOVED_PART < difference ||
            rests_from(input, range, IS_MOVE))
            continue;
        best = range;
        best_left = left;
    }
    return best;
}

/* A range that is on its way counts where it goes, or a second one would be sent after it. */
static void count_what_moves(const Ostraka__Map *map, const struct placement_group *group,
                             size_t place, uint64_t *operations)
{
    for (size_t index = 0; index < group->loads_count; index++) {
        const Ostraka__RangeLoad *load = group->loads[index];
        const Ostraka__RangeInfo *range = master_map_range_at(map, master_bytes(load->start));
        const Ostraka__RangeChange *change = range ? range->change : NULL;
        if (!change || change->kind != IS_MOVE || change->from_group != map->groups[place]->id)
            continue;
        uint64_t moved = load->operations_per_s;
        operations[place] -= moved < operations[place] ? moved : operations[place];
        operations[place_of_group(map, change->to_group)] += moved;
    }
}

/* In the order of the map's groups; the caller frees it. */
static uint64_t *operations_count(const struct placement_ranges_input *input)
{
    const Ostraka__Map *map = input->map;
    uint64_t *operations = memory_alloc_zeroed(map->n_groups + 1, sizeof(operations[0]));
    for (size_t place = 0; place < map->n_groups; place++)
        operations[place] += input->groups[place].operations_per_s;
    for (size_t place = 0; place < map->n_groups; place++)
        if (input->groups[place].is_known)
            count_what_moves(map, &input->groups[place], place, operations);
    return operations;
}

static bool next_move_by_load(const struct placement_ranges_input *input,
                              const uint64_t *operations, struct placement_range_change *out_change)
{
    const Ostraka__Map *map = input->map;
    size_t busiest = map->n_groups, idlest = map->n_groups;
    for (size_t place = 0; place < map->n_groups; place++) {
        if (!input->groups[place].is_known || input->groups[place].is_outdated)
            continue;
        if (busiest == map->n_groups || operations[place] > operations[busiest])
            busiest = place;
        if (idlest == map->n_groups || operations[place] < operations[idlest])
            idlest = place;
    }
    if (busiest == map->n_groups || busiest == idlest)
        return false;
    uint64_t most = operations[busiest], least = operations[idlest];
    /* What is asked goes up and down: a difference of a fifth is none. */
    if (most < BUSY_OPERATIONS_MIN || most - least <= most / 5)
        return false;
    const Ostraka__RangeInfo *range = load_to_move(input, busiest, most - least);
    if (!range)
        return false;
    change_set(out_change, IS_MOVE, range);
    out_change->to_group = map->groups[idlest]->id;
    out_change->is_by_load = true;
    snprintf(out_change->why, sizeof(out_change->why),
             "group %lu has %lu operations a second, group %lu %lu", map->groups[busiest]->id, most,
             map->groups[idlest]->id, least);
    return true;
}

/* --- 3: moves by number --- */

/* In the order of the map's groups; the caller frees it. */
static size_t *ranges_count(const Ostraka__Map *map)
{
    size_t *counts = memory_alloc_zeroed(map->n_groups + 1, sizeof(counts[0]));
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        /* What is on its way counts where it goes. */
        bool is_leaving = range->change && range->change->to_group != 0;
        counts[place_of_group(map, is_leaving ? range->change->to_group : range->group)]++;
    }
    return counts;
}

static const Ostraka__RangeInfo *range_to_move(const struct placement_ranges_input *input,
                                               group_id_t group)
{
    const Ostraka__Map *map = input->map;
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        if (range->group == group && range->assigned && !range->change &&
            !rests_from(input, range, IS_MOVE))
            return range;
    }
    return NULL;
}

static bool next_move_by_number(const struct placement_ranges_input *input,
                                const uint64_t *operations, const size_t *counts,
                                struct placement_range_change *out_change)
{
    const Ostraka__Map *map = input->map;
    size_t most = 0, fewest = SIZE_MAX, from = 0, to = 0;
    for (size_t place = 0; place < map->n_groups; place++) {
        if (!input->groups[place].is_known || operations[place] > IDLE_OPERATIONS_MAX)
            continue;
        if (counts[place] > most)
            most = counts[place], from = place;
        if (counts[place] < fewest)
            fewest = counts[place], to = place;
    }
    if (fewest == SIZE_MAX || most < fewest + 2)
        return false;
    const Ostraka__RangeInfo *range = range_to_move(input, map->groups[from]->id);
    if (!range)
        return false;
    change_set(out_change, IS_MOVE, range);
    out_change->to_group = map->groups[to]->id;
    snprintf(out_change->why, sizeof(out_change->why), "group %lu has %zu ranges, group %lu %zu",
             map->groups[from]->id, most, map->groups[to]->id, fewest);
    return true;
}

/* --- 4: merges --- */

static bool next_merge(const struct placement_ranges_input *input, const size_t *counts,
                       struct placement_range_change *out_change)
{
    const Ostraka__Map *map = input->map;
    if (!input->may_merge || map->n_ranges <= map->n_groups)
        return false;
    for (size_t place = 0; place < map->n_groups; place++) {
        const struct placement_group *group = &input->groups[place];
        /* A group with one range fewer than another would be given one by number. */
        if (!group->is_known || counts[place] < 2)
            continue;
        for (size_t index = 0; index < group->loads_count; index++) {
            const Ostraka__RangeLoad *load = group->loads[index];
            const Ostraka__RangeInfo *range = range_of_load(map, map->groups[place]->id, load);
            const Ostraka__RangeInfo *right = range ? right_neighbour(map, range) : NULL;
            if (!load->merges || !right || rests_from(input, range, IS_MERGE) ||
                rests_from(input, right, IS_MERGE))
                continue;
            change_set(out_change, IS_MERGE, range);
            snprintf(out_change->why, sizeof(out_change->why),
                     "it and its right neighbour are small");
            return true;
        }
    }
    return false;
}

static uint32_t changes_count(const Ostraka__Map *map)
{
    uint32_t count = 0;
    for (size_t index = 0; index < map->n_ranges; index++)
        count += map->ranges[index]->change != NULL;
    return count;
}

bool placement_ranges_next(const struct placement_ranges_input *input,
                           struct placement_range_change *out_change)
{
    const Ostraka__Map *map = input->map;
    if (map->n_groups == 0 || changes_count(map) >= input->changes_max)
        return false;
    if (next_split(input, out_change))
        return true;
    uint64_t *operations = operations_count(input);
    size_t *counts = ranges_count(map);
    bool is_found = next_move_by_load(input, operations, out_change) ||
                    next_move_by_number(input, operations, counts, out_change) ||
                    next_merge(input, counts, out_change);
    free(operations);
    free(counts);
    return is_found;
}
