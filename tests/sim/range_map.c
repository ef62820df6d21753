#include "tests/sim/range_map.h"

#include "shardmaster/master_map.h"

#include <inttypes.h>

#define WHERE "the map"

void range_map_copy(const Ostraka__Map *map, struct arena *arena, struct range_map *out_map)
{
    struct range_fact *facts = arena_alloc(arena, (map->n_ranges + 1) * sizeof facts[0]);
    group_id_t *groups = arena_alloc(arena, (map->n_ranges + 1) * sizeof groups[0]);
    for (size_t place = 0; place < map->n_ranges; place++) {
        const Ostraka__RangeInfo *range = map->ranges[place];
        facts[place] = (struct range_fact){
            .start = arena_copy(arena, master_bytes(range->start)),
            .end = arena_copy(arena, master_bytes(range->end)),
            .epoch = range->epoch,
            .state = range->assigned ? OSTRAKA__RANGE_STATE__RANGE_OWNED
                                     : OSTRAKA__RANGE_STATE__RANGE_GONE,
            .change = range->change ? range->change->id : 0,
        };
        groups[place] = range->group;
    }
    *out_map = (struct range_map){.epoch = map->epoch,
                                  .next_change = map->next_change,
                                  .facts = {facts, map->n_ranges},
                                  .groups = groups};
}

const struct range_fact *range_map_at(const struct range_map *map, struct bytes key)
{
    for (size_t place = 0; place < map->facts.count; place++) {
        const struct range_fact *fact = &map->facts.facts[place];
        if (key_in_range(key, fact->start, fact->end))
            return fact;
    }
    return NULL;
}

static group_id_t group_of(const struct range_map *map, const struct range_fact *fact)
{
    return map->groups[fact - map->facts.facts];
}

static void judge_gaps(const struct range_map *map, struct check_result *result)
{
    struct bytes at = bytes_of(NULL, 0);
    bool is_whole = map->facts.count > 0;
    for (size_t place = 0; place < map->facts.count; place++) {
        const struct range_fact *fact = &map->facts.facts[place];
        is_whole &= bytes_equal(fact->start, at);
        is_whole &= (fact->end.bytes_count == 0) == (place + 1 == map->facts.count);
        at = fact->end;
    }
    if (!is_whole)
        check_result_violation(result, "map-gap",
                               "the map of epoch %" PRIu64 " does not cover the key space once",
                               map->epoch);
}

static void judge_epochs(const struct range_map *before, const struct range_map *after,
                         struct check_result *result)
{
    struct range_walk walk;
    struct range_piece piece;
    range_walk_init(&walk, before->facts, after->facts);
    while (range_walk_next(&walk, &piece)) {
        if (!piece.a || !piece.b)
            continue;
        bool is_other = !range_fact_has_same_keys(piece.a, piece.b) ||
                        group_of(before, piece.a) != group_of(after, piece.b);
        if (piece.b->epoch > piece.a->epoch || (piece.b->epoch == piece.a->epoch && !is_other))
            continue;
        char was[RANGE_FACT_TEXT_BYTES], is[RANGE_FACT_TEXT_BYTES];
        check_result_violation(result, "map-epoch-back",
                               "from epoch %" PRIu64 " of the map to %" PRIu64
                               ": %s of group %" PRIu64 ", then %s of group %" PRIu64,
                               before->epoch, after->epoch, range_fact_print(piece.a, was),
                               group_of(before, piece.a), range_fact_print(piece.b, is),
                               group_of(after, piece.b));
    }
}

/* --- Changes --- */

struct judging {
    const struct range_map *before, *after;
    struct range_changes *changes;
    struct range_counts *counts;
    struct range_steps *steps;
};

static void step_add(struct judging *judging, enum range_step_kind kind, uint64_t change)
{
    range_steps_add(judging->steps, (struct range_step){kind, SHARD_MASTER_GROUP, change});
}

/* The map shows a change of the range at this place. */
static void change_shown(struct judging *judging, const struct range_fact *fact,
                         const Ostraka__RangeChange *shown)
{
    struct check_result *result = judging->changes->result;
    struct range_change *change = range_changes_of(judging->changes, shown->id);
    if (shown->id == 0 || shown->id >= judging->after->next_change)
        check_result_violation(result, "change-unknown",
                               "the map shows change %" PRIu64 ", and the next is %" PRIu64,
                               shown->id, judging->after->next_change);
    if (change->is_over)
        check_result_violation(result, "change-again",
                               "change %" PRIu64 " was over, and is in the map again", shown->id);
    if (change->kind == OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE) {
        change->kind = shown->kind;
        change->from_group = shown->from_group;
        change->to_group = shown->to_group;
        change->start = fact->start;
        change->epoch = fact->epoch;
        step_add(judging, RANGE_STEP_BEGUN, shown->id);
    }
    change->is_shown = true;
    if (shown->kind == OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES)
        return; /* two ranges name it */
    range_change_names(judging->changes, change, fact->start, fact->end, WHERE);
    if (shown->kind != OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE ||
        group_of(judging->after, fact) != change->to_group)
        return;
    if (change->fate == RANGE_FATE_OPEN) {
        /* Seen for the first time when it was switched already. */
        change->epoch = fact->epoch - 1;
        step_add(judging, RANGE_STEP_SWITCHED, shown->id);
    }
    range_change_decided(judging->changes, change, RANGE_FATE_SWITCHED);
}

/* What became of a move between two maps, if that can still be told. */
static void move_decide(struct judging *judging, struct range_change *change,
                        const struct range_fact *fact)
{
    group_id_t group = group_of(judging->after, fact);
    bool is_same = bytes_equal(fact->end, change->end) && bytes_equal(fact->start, change->start);
    if (is_same && group == change->to_group && fact->epoch == change->epoch + 1)
        range_change_decided(judging->changes, change, RANGE_FATE_SWITCHED);
    else if (is_same && group == change->from_group && fact->epoch == change->epoch)
        range_change_decided(judging->changes, change, RANGE_FATE_CANCELLED);
}

static void change_look(void *context, struct range_change *change)
{
    struct judging *judging = context;
    bool has_ended = !change->is_shown && !change->is_over &&
                     change->kind != OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE;
    change->is_shown = false; /* for the next map */
    if (!has_ended)
        return;
    change->is_over = true;
    const struct range_fact *fact = range_map_at(judging->after, change->start);
    ASSERT(fact);
    switch (change->kind) {
    case OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE:
        judging->counts->splits += fact->epoch > change->epoch;
        break;
    case OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES:
        judging->counts->merges += fact->epoch > change->epoch;
        break;
    default:
        move_decide(judging, change, fact);
        judging->counts->moves += change->fate == RANGE_FATE_SWITCHED;
        judging->counts->cancels += change->fate == RANGE_FATE_CANCELLED;
        break;
    }
    step_add(judging, change->fate == RANGE_FATE_CANCELLED ? RANGE_STEP_CANCELLED : RANGE_STEP_DONE,
             change->id);
}

/* A number below the next that was never shown was over before anybody looked. */
static void changes_skipped(struct judging *judging)
{
    for (uint64_t id = judging->before->next_change; id < judging->after->next_change; id++) {
        struct range_change *change = id > 0 ? range_changes_of(judging->changes, id) : NULL;
        if (change && !change->is_shown)
            change->is_over = true;
    }
}

void range_map_judge(const struct range_map *before, const struct range_map *after,
                     const Ostraka__Map *message, struct range_changes *changes,
                     struct range_counts *counts, struct range_steps *steps)
{
    struct judging judging = {before, after, changes, counts, steps};
    judge_gaps(after, changes->result);
    if (check_result_has(changes->result, "map-gap"))
        return;
    judge_epochs(before, after, changes->result);
    for (size_t place = 0; place < after->facts.count; place++)
        if (message->ranges[place]->change)
            change_shown(&judging, &after->facts.facts[place], message->ranges[place]->change);
    changes_skipped(&judging);
    range_changes_each(changes, change_look, &judging);
}
