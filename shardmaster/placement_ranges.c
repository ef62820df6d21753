#include "shardmaster/placement_ranges.h"

#include "proto/limits.h"
#include "shardmaster/master_map.h"

#include <stdio.h>

/* Below it, a group counts as one of which nothing is asked. */
#define BUSY_OPERATIONS_MIN 500u
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

static void change_set(struct placement_range_change *change, Ostraka__RangeChangeKind kind,
                       const Ostraka__RangeInfo *range)
{
    *change =
        (struct placement_range_change){.kind = kind, .start = range->start, .epoch = range->epoch};
}

/* --- 1: splits --- */

static bool next_split(const Ostraka__Map *map, const struct placement_group *groups,
                       struct placement_range_change *out_change)
{
    for (size_t place = 0; place < map->n_groups; place++) {
        const struct placement_group *group = &groups[place];
        for (size_t index = 0; group->is_known && index < group->loads_count; index++) {
            const Ostraka__RangeLoad *load = group->loads[index];
            const Ostraka__RangeInfo *range = range_of_load(map, map->groups[place]->id, load);
            if (!range || load->split_at.len == 0 || load->split_at.len > KEY_BYTES_MAX ||
                bytes_equal(master_bytes(load->split_at), master_bytes(range->start)) ||
                !key_in_range(master_bytes(load->split_at), master_bytes(range->start),
                              master_bytes(range->end)))
                continue;
            change_set(out_change, OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE, range);
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
static const Ostraka__RangeInfo *load_to_move(const Ostraka__Map *map, group_id_t from,
                                              const struct placement_group *group,
                                              uint64_t difference, uint64_t *out_operations)
{
    const Ostraka__RangeInfo *best = NULL;
    uint64_t best_left = difference;
    for (size_t index = 0; index < group->loads_count; index++) {
        const Ostraka__RangeLoad *load = group->loads[index];
        const Ostraka__RangeInfo *range = range_of_load(map, from, load);
        uint64_t moved = 2 * load->operations_per_s;
        uint64_t left = moved > difference ? moved - difference : difference - moved;
        if (!range || left >= best_left || load->operations_per_s * MOVED_PART < difference)
            continue;
        best = range;
        best_left = left;
        *out_operations = load->operations_per_s;
    }
    return best;
}

static bool next_move_by_load(const Ostraka__Map *map, const struct placement_group *groups,
                              struct placement_range_change *out_change)
{
    size_t busiest = map->n_groups, idlest = map->n_groups;
    for (size_t place = 0; place < map->n_groups; place++) {
        if (!groups[place].is_known)
            continue;
        if (busiest == map->n_groups ||
            groups[place].operations_per_s > groups[busiest].operations_per_s)
            busiest = place;
        if (idlest == map->n_groups ||
            groups[place].operations_per_s < groups[idlest].operations_per_s)
            idlest = place;
    }
    if (busiest == map->n_groups || busiest == idlest)
        return false;
    uint64_t most = groups[busiest].operations_per_s, least = groups[idlest].operations_per_s;
    /* What is asked goes up and down: a difference of a fifth is none. */
    if (most < BUSY_OPERATIONS_MIN || most - least <= most / 5)
        return false;
    uint64_t operations;
    const Ostraka__RangeInfo *range =
        load_to_move(map, map->groups[busiest]->id, &groups[busiest], most - least, &operations);
    if (!range)
        return false;
    change_set(out_change, OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE, range);
    out_change->to_group = map->groups[idlest]->id;
    snprintf(out_change->why, sizeof(out_change->why),
             "group %lu has %lu operations a second, group %lu %lu", map->groups[busiest]->id, most,
             map->groups[idlest]->id, least);
    return true;
}

/* --- 3: moves by number --- */

static size_t ranges_count(const Ostraka__Map *map, group_id_t group)
{
    size_t count = 0;
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        /* What is on its way counts where it goes. */
        bool is_leaving = range->change && range->change->to_group != 0;
        count += (is_leaving ? range->change->to_group : range->group) == group;
    }
    return count;
}

static const Ostraka__RangeInfo *resting_range(const Ostraka__Map *map, group_id_t group)
{
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        if (range->group == group && range->assigned && !range->change)
            return range;
    }
    return NULL;
}

static bool next_move_by_number(const Ostraka__Map *map, const struct placement_group *groups,
                                struct placement_range_change *out_change)
{
    size_t most = 0, fewest = SIZE_MAX, from = 0, to = 0;
    for (size_t place = 0; place < map->n_groups; place++) {
        if (!groups[place].is_known || groups[place].operations_per_s >= BUSY_OPERATIONS_MIN)
            continue;
        size_t count = ranges_count(map, map->groups[place]->id);
        if (count > most)
            most = count, from = place;
        if (count < fewest)
            fewest = count, to = place;
    }
    if (fewest == SIZE_MAX || most < fewest + 2)
        return false;
    const Ostraka__RangeInfo *range = resting_range(map, map->groups[from]->id);
    if (!range)
        return false;
    change_set(out_change, OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE, range);
    out_change->to_group = map->groups[to]->id;
    snprintf(out_change->why, sizeof(out_change->why), "group %lu has %zu ranges, group %lu %zu",
             map->groups[from]->id, most, map->groups[to]->id, fewest);
    return true;
}

/* --- 4: merges --- */

static bool next_merge(const Ostraka__Map *map, const struct placement_group *groups,
                       struct placement_range_change *out_change)
{
    if (map->n_ranges <= map->n_groups)
        return false;
    for (size_t place = 0; place < map->n_groups; place++) {
        const struct placement_group *group = &groups[place];
        /* A group with one range fewer than another would be given one by number. */
        if (!group->is_known || ranges_count(map, map->groups[place]->id) < 2)
            continue;
        for (size_t index = 0; index < group->loads_count; index++) {
            const Ostraka__RangeLoad *load = group->loads[index];
            const Ostraka__RangeInfo *range = range_of_load(map, map->groups[place]->id, load);
            if (!range || !load->merges || !right_neighbour(map, range))
                continue;
            change_set(out_change, OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES, range);
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

bool placement_ranges_next(const Ostraka__Map *map, const struct placement_group *groups,
                           uint32_t changes_max, struct placement_range_change *out_change)
{
    if (map->n_groups == 0 || changes_count(map) >= changes_max)
        return false;
    return next_split(map, groups, out_change) || next_move_by_load(map, groups, out_change) ||
           next_move_by_number(map, groups, out_change) || next_merge(map, groups, out_change);
}
