/* Thousands of random clusters: whatever is asked of their ranges, the changes that placement makes
 * are legal, come to rest, and leave groups that differ by little. */
#include "shardmaster/placement_ranges.h"

#include "base/random.h"
#include "shardmaster/master_map.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define RANGES_MAX  600u
#define GROUPS_MAX  6u
#define SPLIT_OPS   5000u
#define MERGE_OPS   1000u
#define SPLIT_BYTES (96u << 20)
#define MERGE_BYTES (24u << 20)

/* A range begins at its number, as eight hexadecimal digits; the first at the empty key. */
struct model_range {
    uint32_t start, end;
    uint64_t operations, bytes;
    bool is_one_key; /* cannot be cut */
    group_id_t group;
    uint64_t epoch;
};

struct model {
    struct random random;
    struct model_range ranges[RANGES_MAX];
    size_t ranges_count, groups_count;
    struct arena arena;
};

static void model_begin(struct model *model, uint64_t seed)
{
    *model = (struct model){0};
    random_init(&model->random, seed);
    arena_init(&model->arena);
    struct random *random = &model->random;
    model->groups_count = 1 + random_below(random, GROUPS_MAX);
    model->ranges_count = 1 + random_below(random, 40);
    uint32_t width = UINT32_MAX / (uint32_t)model->ranges_count;
    bool is_idle = random_below(random, 3) == 0;
    bool is_small = random_below(random, 3) == 0;
    bool is_skewed = random_below(random, 2) == 0;
    for (size_t index = 0; index < model->ranges_count; index++) {
        struct model_range *range = &model->ranges[index];
        range->start = (uint32_t)index * width;
        range->end = index + 1 == model->ranges_count ? 0 : range->start + width;
        range->group = 1 + (is_skewed ? 0 : random_below(random, model->groups_count));
        range->epoch = 1 + random_below(random, 5);
        range->bytes = random_below(random, is_small ? 12u << 20 : 200u << 20);
        range->operations = is_idle ? random_below(random, 30) : random_below(random, 12000);
        range->is_one_key = random_below(random, 10) == 0;
    }
}

static ProtobufCBinaryData key_of(struct model *model, uint32_t number)
{
    if (number == 0)
        return (ProtobufCBinaryData){0};
    char *text = arena_printf(&model->arena, "%08x", number);
    return (ProtobufCBinaryData){8, (uint8_t *)text};
}

static const Ostraka__Map *map_of(struct model *model)
{
    Ostraka__Map *map = arena_alloc(&model->arena, sizeof(*map));
    ostraka__map__init(map);
    map->epoch = 1;
    map->groups = arena_alloc(&model->arena, model->groups_count * sizeof(map->groups[0]));
    for (size_t index = 0; index < model->groups_count; index++) {
        map->groups[index] = arena_alloc(&model->arena, sizeof(*map->groups[index]));
        ostraka__group_info__init(map->groups[index]);
        map->groups[index]->id = index + 1;
    }
    map->n_groups = model->groups_count;
    map->ranges = arena_alloc(&model->arena, model->ranges_count * sizeof(map->ranges[0]));
    for (size_t index = 0; index < model->ranges_count; index++) {
        Ostraka__RangeInfo *range = arena_alloc(&model->arena, sizeof(*range));
        ostraka__range_info__init(range);
        range->start = key_of(model, model->ranges[index].start);
        range->end = key_of(model, model->ranges[index].end);
        range->group = model->ranges[index].group;
        range->epoch = model->ranges[index].epoch;
        range->assigned = true;
        map->ranges[index] = range;
    }
    map->n_ranges = model->ranges_count;
    return map;
}

static const Ostraka__RangeLoad *load_of(struct model *model, size_t place)
{
    const struct model_range *range = &model->ranges[place];
    Ostraka__RangeLoad *load = arena_alloc(&model->arena, sizeof(*load));
    ostraka__range_load__init(load);
    load->start = key_of(model, range->start);
    load->epoch = range->epoch;
    load->operations_per_s = range->operations;
    load->bytes = range->bytes;
    uint32_t end = range->end ? range->end : UINT32_MAX;
    bool is_wide = end - range->start > 1 && !range->is_one_key;
    if (is_wide && (range->operations > SPLIT_OPS || range->bytes > SPLIT_BYTES))
        load->split_at = key_of(model, range->start + (end - range->start) / 2);
    const struct model_range *next =
        place + 1 < model->ranges_count ? &model->ranges[place + 1] : NULL;
    load->merges = next && next->group == range->group &&
                   range->bytes + next->bytes < MERGE_BYTES &&
                   range->operations + next->operations < MERGE_OPS;
    return load;
}

static void groups_of(struct model *model, struct placement_group *groups)
{
    for (size_t group = 0; group < model->groups_count; group++) {
        const Ostraka__RangeLoad **loads =
            arena_alloc(&model->arena, model->ranges_count * sizeof(loads[0]));
        groups[group] = (struct placement_group){.is_known = true, .loads = loads};
        for (size_t place = 0; place < model->ranges_count; place++) {
            if (model->ranges[place].group != group + 1)
                continue;
            loads[groups[group].loads_count++] = load_of(model, place);
            groups[group].operations_per_s += model->ranges[place].operations;
        }
    }
}

static struct model_range *range_named(struct model *model,
                                       const struct placement_range_change *change, size_t *place)
{
    for (*place = 0; *place < model->ranges_count; (*place)++) {
        ProtobufCBinaryData start = key_of(model, model->ranges[*place].start);
        if (bytes_equal(master_bytes(start), master_bytes(change->start)))
            return &model->ranges[*place];
    }
    return NULL;
}

/* Does it, and fails when it is not legal. */
static void change_do(struct model *model, const struct placement_range_change *change)
{
    size_t place;
    struct model_range *range = range_named(model, change, &place);
    cr_assert(range && range->epoch == change->epoch);
    cr_assert_gt(strlen(change->why), 0);
    size_t behind = model->ranges_count - place - 1;
    struct model_range *next = range + 1;
    switch (change->kind) {
    case OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE: {
        cr_assert_eq(change->at.len, 8);
        cr_assert_lt(model->ranges_count, RANGES_MAX);
        char text[9] = {0};
        memcpy(text, change->at.data, 8);
        uint32_t at = (uint32_t)strtoul(text, NULL, 16);
        cr_assert(at > range->start && (range->end == 0 || at < range->end));
        memmove(next + 1, next, behind * sizeof(*next));
        *next = *range;
        next->start = range->end = at;
        next->operations = range->operations / 2, range->operations -= next->operations;
        next->bytes = range->bytes / 2, range->bytes -= next->bytes;
        next->epoch = ++range->epoch;
        model->ranges_count++;
        break;
    }
    case OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES:
        cr_assert_gt(behind, 0);
        cr_assert_eq(next->group, range->group);
        cr_assert_gt(model->ranges_count, model->groups_count);
        range->end = next->end;
        range->operations += next->operations;
        range->bytes += next->bytes;
        range->is_one_key = false;
        range->epoch = (range->epoch > next->epoch ? range->epoch : next->epoch) + 1;
        memmove(next, next + 1, (behind - 1) * sizeof(*next));
        model->ranges_count--;
        break;
    default:
        cr_assert_eq(change->kind, OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE);
        cr_assert(change->to_group != range->group && change->to_group >= 1 &&
                  change->to_group <= model->groups_count);
        range->group = change->to_group;
        range->epoch++;
    }
}

static struct placement_ranges_input
input_of(const Ostraka__Map *map, const struct placement_group *groups, uint32_t changes_max)
{
    return (struct placement_ranges_input){
        .map = map, .groups = groups, .changes_max = changes_max, .may_merge = true};
}

static bool next(const Ostraka__Map *map, const struct placement_group *groups,
                 uint32_t changes_max, struct placement_range_change *out_change)
{
    const struct placement_ranges_input input = input_of(map, groups, changes_max);
    return placement_ranges_next(&input, out_change);
}

/* How many changes until nothing is to be done. */
static size_t rest(struct model *model)
{
    for (size_t changes = 0;; changes++) {
        cr_assert_lt(changes, 2000, "it does not come to rest");
        struct placement_group groups[GROUPS_MAX];
        arena_reset(&model->arena);
        const Ostraka__Map *map = map_of(model);
        groups_of(model, groups);
        struct placement_range_change change;
        if (!next(map, groups, 2, &change))
            return changes;
        change_do(model, &change);
    }
}

/* What is left at rest: no range that could be cut, groups that differ by what no move mends. */
static void check_rest(struct model *model, uint64_t seed)
{
    uint64_t operations[GROUPS_MAX + 1] = {0}, largest[GROUPS_MAX + 1] = {0};
    size_t counts[GROUPS_MAX + 1] = {0};
    for (size_t place = 0; place < model->ranges_count; place++) {
        const struct model_range *range = &model->ranges[place];
        cr_assert(range->is_one_key || range->operations <= SPLIT_OPS, "seed %lu", seed);
        cr_assert(range->is_one_key || range->bytes <= SPLIT_BYTES, "seed %lu", seed);
        operations[range->group] += range->operations;
        counts[range->group]++;
        if (largest[range->group] < range->operations)
            largest[range->group] = range->operations;
    }
    size_t busiest = 1, idlest = 1;
    for (size_t group = 2; group <= model->groups_count; group++) {
        if (operations[group] > operations[busiest])
            busiest = group;
        if (operations[group] < operations[idlest])
            idlest = group;
    }
    /* A group may keep more than its share only where one range is most of the difference. */
    uint64_t difference = operations[busiest] - operations[idlest];
    cr_assert(operations[busiest] < 500 || difference <= operations[busiest] / 5 ||
                  difference <= 2 * largest[busiest],
              "seed %lu: %lu and %lu, the largest %lu", seed, operations[busiest],
              operations[idlest], largest[busiest]);
    for (size_t a = 1; a <= model->groups_count; a++)
        for (size_t b = 1; b <= model->groups_count; b++)
            cr_assert(operations[a] > 125 || operations[b] > 125 || counts[a] <= counts[b] + 1,
                      "seed %lu: %zu and %zu ranges", seed, counts[a], counts[b]);
}

Test(placement_ranges, every_cluster_comes_to_rest_in_balance)
{
    size_t changes_count = 0, quiet_count = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct model model;
        model_begin(&model, seed);
        size_t changes = rest(&model);
        changes_count += changes;
        quiet_count += changes == 0;
        check_rest(&model, seed);
        cr_assert_eq(rest(&model), 0, "at rest it stays");
        arena_fini(&model.arena);
    }
    cr_expect_gt(changes_count, 3000);
    cr_expect_gt(quiet_count, 0);
}

Test(placement_ranges, a_new_group_gets_its_share_and_no_more_than_that_moves)
{
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct model model;
        model_begin(&model, seed);
        if (model.groups_count == GROUPS_MAX) {
            arena_fini(&model.arena);
            continue;
        }
        rest(&model);
        uint64_t operations = 0;
        for (size_t place = 0; place < model.ranges_count; place++)
            operations += model.ranges[place].operations;
        model.groups_count++;
        size_t changes = rest(&model);
        check_rest(&model, seed);
        cr_assert_leq(changes, model.ranges_count + model.groups_count, "seed %lu", seed);
        arena_fini(&model.arena);
    }
}

Test(placement_ranges, what_changes_or_is_not_known_is_left_alone)
{
    struct model model;
    model_begin(&model, 7);
    struct placement_group groups[GROUPS_MAX];
    struct placement_range_change change;
    size_t asked = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        arena_fini(&model.arena);
        model_begin(&model, seed);
        Ostraka__Map *map = (Ostraka__Map *)(uintptr_t)map_of(&model);
        groups_of(&model, groups);
        if (!next(map, groups, 1, &change))
            continue;
        asked++;
        Ostraka__RangeChange under_way = OSTRAKA__RANGE_CHANGE__INIT;
        under_way.id = 1;
        map->ranges[random_below(&model.random, map->n_ranges)]->change = &under_way;
        cr_assert_not(next(map, groups, 1, &change), "one at a time");
        for (size_t index = 0; index < map->n_ranges; index++)
            map->ranges[index]->change = &under_way;
        cr_assert_not(next(map, groups, 1000, &change));
        for (size_t index = 0; index < map->n_ranges; index++)
            map->ranges[index]->change = NULL;
        for (size_t group = 0; group < model.groups_count; group++)
            groups[group].is_known = false;
        cr_assert_not(next(map, groups, 1000, &change));
    }
    cr_expect_gt(asked, 100);
    arena_fini(&model.arena);
}

static bool touches(const Ostraka__Map *map, const struct placement_range_change *change,
                    const struct placement_rest *rest)
{
    size_t place = master_map_place_of_key(map, master_bytes(change->start));
    size_t last = place + (change->kind == OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES ? 1 : 0);
    return (rest->kinds & (1u << change->kind)) != 0 &&
           ranges_overlap(rest->start, rest->end, master_bytes(map->ranges[place]->start),
                          master_bytes(map->ranges[last]->end));
}

/* P4: what rests is left alone, the rest is not. */
Test(placement_ranges, what_rests_from_a_kind_of_change_is_not_changed_so)
{
    size_t refused[4] = {0}, others_count = 0;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct model model;
        model_begin(&model, seed);
        struct placement_group groups[GROUPS_MAX];
        for (;;) {
            arena_reset(&model.arena);
            const Ostraka__Map *map = map_of(&model);
            groups_of(&model, groups);
            struct placement_range_change first, change;
            if (!next(map, groups, 2, &first))
                break;
            const Ostraka__RangeInfo *range = master_map_range_at(map, master_bytes(first.start));
            const struct placement_rest rest = {.start = master_bytes(range->start),
                                                .end = master_bytes(range->end),
                                                .kinds = 1u << first.kind};
            struct placement_ranges_input input = input_of(map, groups, 2);
            input.rests = &rest;
            input.rests_count = 1;
            if (placement_ranges_next(&input, &change)) {
                cr_assert_not(touches(map, &change, &rest), "seed %lu", seed);
                others_count++;
            }
            refused[first.kind]++;
            input.rests_count = 0;
            input.may_merge = false;
            bool is_merge = first.kind == OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES;
            cr_assert_eq(placement_ranges_next(&input, &change), !is_merge);
            change_do(&model, &first);
        }
        arena_fini(&model.arena);
    }
    for (int kind = OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE;
         kind <= OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE; kind++)
        cr_expect_gt(refused[kind], 100, "kind %d", kind);
    cr_expect_gt(others_count, 100);
}

/* What is on its way counts where it goes; and no load is judged that is from before a change. */
Test(placement_ranges, no_second_range_is_sent_after_the_first)
{
    struct model model;
    model_begin(&model, 1);
    model.groups_count = 2;
    model.ranges_count = 4;
    for (uint32_t index = 0; index < 4; index++)
        model.ranges[index] = (struct model_range){.start = index * 16,
                                                   .end = index < 3 ? index * 16 + 16 : 0,
                                                   .operations = 2000,
                                                   .bytes = 50u << 20,
                                                   .group = index < 3 ? 1 : 2,
                                                   .epoch = 1};
    model.ranges[2].operations = 3000;
    Ostraka__Map *map = (Ostraka__Map *)(uintptr_t)map_of(&model);
    struct placement_group groups[GROUPS_MAX];
    struct placement_range_change change;
    groups_of(&model, groups);
    cr_assert(next(map, groups, 2, &change));
    cr_assert(change.kind == OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE && change.is_by_load);
    groups[1].is_outdated = true;
    cr_expect_not(next(map, groups, 2, &change));
    groups[1].is_outdated = false;
    Ostraka__RangeChange under_way = OSTRAKA__RANGE_CHANGE__INIT;
    under_way.id = 1;
    under_way.kind = OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE;
    under_way.from_group = 1;
    under_way.to_group = 2;
    map->ranges[0]->change = &under_way;
    cr_expect_not(next(map, groups, 2, &change));
    arena_fini(&model.arena);
}

/* Two groups that are nearly busy: a range that goes by number would come back by its load. */
Test(placement_ranges, what_one_rule_moves_the_other_leaves_where_it_is)
{
    struct model model;
    model_begin(&model, 1);
    model.groups_count = 2;
    model.ranges_count = 4;
    const uint64_t operations[] = {71, 200, 207, 490};
    for (uint32_t index = 0; index < 4; index++)
        model.ranges[index] = (struct model_range){.start = index * 16,
                                                   .end = index < 3 ? index * 16 + 16 : 0,
                                                   .operations = operations[index],
                                                   .bytes = 50u << 20,
                                                   .group = index < 3 ? 1 : 2,
                                                   .epoch = 1};
    cr_expect_eq(rest(&model), 0);
    for (uint32_t index = 0; index < 4; index++)
        model.ranges[index].operations = 10;
    cr_expect_eq(rest(&model), 1, "one goes by number");
    arena_fini(&model.arena);
}
