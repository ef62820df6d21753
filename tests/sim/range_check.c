#include "tests/sim/range_check.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <xxhash.h>

/* All ranges of a group at some index; never freed before the end, so facts may point into it. */
struct state {
    uint64_t hash;
    struct range_facts facts;
    UT_hash_handle hh;
};

struct sight {
    const struct state *state; /* NULL: nobody was seen at this index */
    uint64_t store_id;
};

struct group {
    group_id_t id;
    struct sight *sights; /* by index; at 0 there is nothing */
    raft_index_t sights_capacity;
    raft_index_t furthest; /* 0: nobody was seen */
    const struct state *newest;
    UT_hash_handle hh;
};

/* The last that held these keys. */
struct owner {
    struct range_fact fact; /* of the whole range; its keys may be fewer by now */
    struct bytes start, end;
    group_id_t group;
};

struct range_check {
    struct arena arena;
    struct state *states;
    struct group *groups;
    struct owner *owners; /* in no order; no two overlap */
    size_t owners_count, owners_capacity;
    struct range_map map;
    struct range_changes changes;
    struct range_counts counts;
    struct range_steps steps;
    struct buffer scratch;
    struct check_result result;
};

struct range_check *range_check_new(void)
{
    struct range_check *check = memory_alloc_zeroed(1, sizeof *check);
    arena_init(&check->arena);
    buffer_init(&check->scratch);
    check_result_init(&check->result);
    range_changes_init(&check->changes, &check->result);
    return check;
}

void range_check_free(struct range_check *check)
{
    struct state *state, *next_state;
    HASH_ITER (hh, check->states, state, next_state) {
        HASH_DELETE(hh, check->states, state);
    }
    struct group *group, *next_group;
    HASH_ITER (hh, check->groups, group, next_group) {
        HASH_DELETE(hh, check->groups, group);
        free(group->sights);
        free(group);
    }
    range_changes_fini(&check->changes);
    buffer_fini(&check->scratch);
    arena_fini(&check->arena);
    free(check->owners);
    free(check);
}

const struct check_result *range_check_result(const struct range_check *check)
{
    return &check->result;
}

void range_check_get_counts(const struct range_check *check, struct range_counts *out_counts)
{
    *out_counts = check->counts;
}

bool range_check_take_step(struct range_check *check, struct range_step *out_step)
{
    return range_steps_take(&check->steps, out_step);
}

bool range_check_move_of(const struct range_check *check, uint64_t change, group_id_t *out_from,
                         group_id_t *out_to)
{
    const struct range_change *found = range_changes_find(&check->changes, change);
    if (!found || found->kind != OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE)
        return false;
    *out_from = found->from_group;
    *out_to = found->to_group;
    return true;
}

/* --- States, once each --- */

static uint64_t facts_hash(struct range_check *check, struct range_facts facts)
{
    struct buffer *packed = &check->scratch;
    buffer_reset(packed);
    for (size_t place = 0; place < facts.count; place++) {
        const struct range_fact *fact = &facts.facts[place];
        uint64_t numbers[] = {fact->start.bytes_count, fact->end.bytes_count, fact->epoch,
                              fact->change, (uint64_t)fact->state};
        buffer_append(packed, numbers, sizeof numbers);
        buffer_append(packed, fact->start.data, fact->start.bytes_count);
        buffer_append(packed, fact->end.data, fact->end.bytes_count);
    }
    return XXH3_64bits(packed->data, packed->bytes_count);
}

static const struct state *state_of(struct range_check *check, struct range_facts facts)
{
    uint64_t hash = facts_hash(check, facts);
    struct state *state;
    HASH_FIND(hh, check->states, &hash, sizeof hash, state);
    if (state)
        return state;
    struct range_fact *copies = arena_alloc(&check->arena, (facts.count + 1) * sizeof copies[0]);
    for (size_t place = 0; place < facts.count; place++) {
        copies[place] = facts.facts[place];
        copies[place].start = arena_copy(&check->arena, copies[place].start);
        copies[place].end = arena_copy(&check->arena, copies[place].end);
    }
    state = arena_alloc_zeroed(&check->arena, sizeof *state);
    state->hash = hash;
    state->facts = (struct range_facts){copies, facts.count};
    HASH_ADD(hh, check->states, hash, sizeof state->hash, state);
    return state;
}

static void sights_grow(struct group *group, raft_index_t index)
{
    if (index < group->sights_capacity)
        return;
    raft_index_t capacity = group->sights_capacity ? group->sights_capacity : 1024;
    while (capacity <= index)
        capacity *= 2;
    group->sights = memory_realloc(group->sights, capacity * sizeof group->sights[0]);
    for (raft_index_t place = group->sights_capacity; place < capacity; place++)
        group->sights[place] = (struct sight){0};
    group->sights_capacity = capacity;
}

static struct group *group_of(struct range_check *check, group_id_t id)
{
    struct group *group;
    HASH_FIND(hh, check->groups, &id, sizeof id, group);
    if (group)
        return group;
    group = memory_alloc_zeroed(1, sizeof *group);
    group->id = id;
    group->newest = state_of(check, (struct range_facts){0});
    sights_grow(group, 0);
    group->sights[0].state = group->newest;
    HASH_ADD(hh, check->groups, id, sizeof group->id, group);
    return group;
}

/* --- The map --- */

static const struct range_fact *fact_of(struct range_facts facts, struct bytes key)
{
    for (size_t place = 0; place < facts.count; place++)
        if (key_in_range(key, facts.facts[place].start, facts.facts[place].end))
            return &facts.facts[place];
    return NULL;
}

static void judge_end_of_switch(struct range_check *check, const struct range_fact *mapped,
                                group_id_t group_id, Ostraka__RangeState state)
{
    const struct group *group = group_of(check, group_id);
    const struct range_fact *fact = fact_of(group->newest->facts, mapped->start);
    if (fact && fact->state == state && fact->change == mapped->change)
        return;
    char text[RANGE_FACT_TEXT_BYTES];
    check_result_violation(&check->result, "switched-early",
                           "change %" PRIu64 " was switched, and group %" PRIu64 " has %s",
                           mapped->change, group_id, range_fact_print(fact, text));
}

/* One end has all, and nothing changes any more at the other. */
static void judge_switches(struct range_check *check, const struct range_map *seen)
{
    for (size_t place = 0; place < seen->facts.count; place++) {
        const struct range_fact *fact = &seen->facts.facts[place];
        const struct range_fact *before = range_map_at(&check->map, fact->start);
        group_id_t from, to, group = seen->groups[place];
        bool was_there = before && check->map.groups[before - check->map.facts.facts] == group;
        if (was_there || !range_check_move_of(check, fact->change, &from, &to) || group != to)
            continue;
        judge_end_of_switch(check, fact, from, OSTRAKA__RANGE_STATE__RANGE_SEALED);
        judge_end_of_switch(check, fact, to, OSTRAKA__RANGE_STATE__RANGE_COPIED);
    }
}

void range_check_map(struct range_check *check, const Ostraka__Map *map)
{
    if (map->epoch <= check->map.epoch)
        return;
    struct range_map seen;
    check->result.judged_count++;
    range_map_copy(map, &check->arena, &seen);
    range_map_judge(&check->map, &seen, map, &check->changes, &check->counts, &check->steps);
    judge_switches(check, &seen);
    check->map = seen;
}

/* --- One group by itself --- */

static void judge_overlap(struct range_check *check, const struct group *group,
                          struct range_facts facts)
{
    for (size_t place = 1; place < facts.count; place++) {
        const struct range_fact *left = &facts.facts[place - 1], *right = &facts.facts[place];
        if (left->end.bytes_count > 0 && bytes_compare(left->end, right->start) <= 0)
            continue;
        char a[RANGE_FACT_TEXT_BYTES], b[RANGE_FACT_TEXT_BYTES];
        check_result_violation(&check->result, "ranges-overlap", "group %" PRIu64 " has %s and %s",
                               group->id, range_fact_print(left, a), range_fact_print(right, b));
    }
}

static const struct owner *owner_of(const struct range_check *check, struct bytes key)
{
    for (size_t place = 0; place < check->owners_count; place++)
        if (key_in_range(key, check->owners[place].start, check->owners[place].end))
            return &check->owners[place];
    return NULL;
}

/* Is there a way of so many entries from one to the other? Keys that nobody has owned yet may be
 * assigned; what was seen behind others' backs is believed to have been. */
static void judge_way(struct range_check *check, const struct group *group, raft_index_t from,
                      raft_index_t to, bool is_newest)
{
    const struct sight *a = &group->sights[from], *b = &group->sights[to];
    if (a->state == b->state)
        return;
    struct range_walk walk;
    struct range_piece piece;
    range_walk_init(&walk, a->state->facts, b->state->facts);
    while (range_walk_next(&walk, &piece)) {
        bool may_be_assigned = !is_newest || !owner_of(check, piece.start);
        unsigned steps = range_fact_steps(piece.a, piece.b, may_be_assigned);
        if (steps <= to - from)
            continue;
        char was[RANGE_FACT_TEXT_BYTES], is[RANGE_FACT_TEXT_BYTES];
        check_result_violation(&check->result, "range-step",
                               "group %" PRIu64 ": %s at index %" PRIu64 " (store %" PRIu64
                               "), %s at index %" PRIu64 " (store %" PRIu64 "): that takes %s",
                               group->id, range_fact_print(piece.a, was), from, a->store_id,
                               range_fact_print(piece.b, is), to, b->store_id,
                               steps < RANGE_STEPS_NEVER ? "more entries"
                                                         : "a step that there is not");
    }
}

static void judge_neighbours(struct range_check *check, const struct group *group,
                             raft_index_t index)
{
    raft_index_t before = index - 1, after = index + 1;
    while (!group->sights[before].state)
        before--;
    judge_way(check, group, before, index, index > group->furthest);
    if (index > group->furthest)
        return;
    while (!group->sights[after].state)
        after++;
    judge_way(check, group, index, after, false);
}

/* --- Numbers of changes --- */

static const char *where_print(const struct group *group, uint64_t store_id, char *text,
                               size_t text_bytes_max)
{
    snprintf(text, text_bytes_max, "group %" PRIu64 " (store %" PRIu64 ")", group->id, store_id);
    return text;
}

static void judge_changes(struct range_check *check, const struct group *group, uint64_t store_id,
                          struct range_facts facts)
{
    char where[64];
    for (size_t place = 0; place < facts.count; place++) {
        const struct range_fact *fact = &facts.facts[place];
        if (fact->change == 0)
            continue;
        if (fact->change >= check->map.next_change)
            check_result_violation(&check->result, "change-unknown",
                                   "%s has change %" PRIu64 ", and group 0 has not given it",
                                   where_print(group, store_id, where, sizeof where), fact->change);
        /* What was split or merged has keys of its own. */
        if (fact->state == OSTRAKA__RANGE_STATE__RANGE_OWNED)
            continue;
        range_change_names(&check->changes, range_changes_of(&check->changes, fact->change),
                           fact->start, fact->end,
                           where_print(group, store_id, where, sizeof where));
    }
}

static enum range_step_kind step_kind(const struct range_fact *from, const struct range_fact *to)
{
    if (!to)
        return range_fact_is_held(from) ? RANGE_STEP_DROPPED : RANGE_STEP_DISCARDED;
    switch (to->state) {
    case OSTRAKA__RANGE_STATE__RANGE_COPYING:
        return RANGE_STEP_CLEARED;
    case OSTRAKA__RANGE_STATE__RANGE_COPIED:
        return RANGE_STEP_COPIED;
    case OSTRAKA__RANGE_STATE__RANGE_FROZEN:
        return RANGE_STEP_FROZEN;
    case OSTRAKA__RANGE_STATE__RANGE_SEALED:
        return RANGE_STEP_SEALED;
    default:
        return !range_fact_is_held(from)  ? RANGE_STEP_OWNED
               : from->epoch == to->epoch ? RANGE_STEP_UNFROZEN
                                          : RANGE_STEP_RESHAPED;
    }
}

static bool is_frozen(const struct range_fact *fact)
{
    return range_fact_is_held(fact) && fact->state != OSTRAKA__RANGE_STATE__RANGE_OWNED;
}

/* What a group has made of changes, from its newest state before to the one now. */
static void judge_fates(struct range_check *check, const struct group *group, uint64_t store_id,
                        const struct range_piece *piece)
{
    const struct range_fact *from = piece->a, *to = piece->b;
    char where[64];
    where_print(group, store_id, where, sizeof where);
    if (from && to && from->state == to->state && from->change == to->change &&
        from->epoch == to->epoch)
        return;
    if (!from && !to)
        return;
    range_steps_add(&check->steps, (struct range_step){step_kind(from, to), group->id,
                                                       to ? to->change : from->change});
    if (!range_fact_is_held(to))
        return;
    if (is_frozen(from) &&
        (to->state == OSTRAKA__RANGE_STATE__RANGE_OWNED || to->change != from->change)) {
        range_change_unfrozen(&check->changes, range_changes_of(&check->changes, from->change),
                              where);
    } else if (!range_fact_is_held(from) && to->change != 0 &&
               to->state == OSTRAKA__RANGE_STATE__RANGE_OWNED) {
        range_change_owned(&check->changes, range_changes_of(&check->changes, to->change), where);
    }
}

/* --- All groups together --- */

static void owner_add(struct range_check *check, const struct owner *owner)
{
    if (check->owners_count == check->owners_capacity) {
        check->owners_capacity = check->owners_capacity ? 2 * check->owners_capacity : 32;
        check->owners =
            memory_realloc(check->owners, check->owners_capacity * sizeof check->owners[0]);
    }
    check->owners[check->owners_count++] = *owner;
}

/* What is left of it beside [start, end). */
static void owner_cut(struct range_check *check, size_t place, struct bytes start, struct bytes end)
{
    struct owner whole = check->owners[place], rest = whole;
    check->owners[place] = check->owners[--check->owners_count];
    if (bytes_compare(whole.start, start) < 0) {
        rest.end = start;
        owner_add(check, &rest);
    }
    rest = whole;
    bool has_right =
        end.bytes_count > 0 && (whole.end.bytes_count == 0 || bytes_compare(end, whole.end) < 0);
    if (has_right) {
        rest.start = end;
        owner_add(check, &rest);
    }
}

static void epoch_back(struct range_check *check, const struct owner *owner,
                       const struct range_fact *fact, group_id_t group)
{
    char was[RANGE_FACT_TEXT_BYTES], is[RANGE_FACT_TEXT_BYTES];
    check_result_violation(&check->result, "range-epoch-back",
                           "group %" PRIu64 " had %s, now group %" PRIu64 " has %s", owner->group,
                           range_fact_print(&owner->fact, was), group, range_fact_print(fact, is));
}

/* The group holds it. */
static void ownership_take(struct range_check *check, const struct group *group,
                           const struct range_fact *fact)
{
    bool is_outdated = false;
    for (size_t place = 0; place < check->owners_count;) {
        const struct owner *owner = &check->owners[place];
        if (!ranges_overlap(owner->start, owner->end, fact->start, fact->end)) {
            place++;
            continue;
        }
        bool is_same_range = owner->group == group->id && owner->fact.epoch == fact->epoch &&
                             range_fact_has_same_keys(&owner->fact, fact);
        if (is_same_range) {
            place++;
            continue;
        }
        /* Another group may own already what is still SEALED here. */
        bool is_overtaken = !range_fact_is_live(fact) && owner->group != group->id &&
                            owner->fact.epoch > fact->epoch;
        if (!is_overtaken && fact->epoch <= owner->fact.epoch)
            epoch_back(check, owner, fact, group->id);
        if (is_overtaken || fact->epoch <= owner->fact.epoch) {
            is_outdated = true;
            place++;
            continue;
        }
        owner_cut(check, place, fact->start, fact->end);
        place = 0;
    }
    const struct owner *known = owner_of(check, fact->start);
    if (!known && !is_outdated)
        owner_add(check, &(struct owner){*fact, fact->start, fact->end, group->id});
}

static void judge_others(struct range_check *check, const struct group *group,
                         const struct state *state)
{
    const struct group *other;
    struct range_walk walk;
    struct range_piece piece;
    for (other = check->groups; other; other = other->hh.next) {
        if (other == group)
            continue;
        range_walk_init(&walk, state->facts, other->newest->facts);
        while (range_walk_next(&walk, &piece)) {
            if (!range_fact_is_live(piece.a) || !range_fact_is_live(piece.b))
                continue;
            char a[RANGE_FACT_TEXT_BYTES], b[RANGE_FACT_TEXT_BYTES];
            check_result_violation(
                &check->result, "two-owners", "group %" PRIu64 " has %s, group %" PRIu64 " has %s",
                group->id, range_fact_print(piece.a, a), other->id, range_fact_print(piece.b, b));
        }
    }
}

/* Nobody has been seen further. */
static void group_advance(struct range_check *check, struct group *group, uint64_t store_id,
                          const struct state *state)
{
    if (state == group->newest)
        return;
    struct range_walk walk;
    struct range_piece piece;
    judge_others(check, group, state);
    range_walk_init(&walk, group->newest->facts, state->facts);
    while (range_walk_next(&walk, &piece)) {
        judge_fates(check, group, store_id, &piece);
        const struct owner *owner = owner_of(check, piece.start);
        if (!range_fact_is_held(piece.a) || range_fact_is_held(piece.b) || !owner ||
            owner->group != group->id)
            continue;
        char was[RANGE_FACT_TEXT_BYTES];
        check_result_violation(&check->result, "range-lost",
                               "group %" PRIu64 " (store %" PRIu64
                               ") gave up %s, and nobody has owned it since",
                               group->id, store_id, range_fact_print(piece.a, was));
    }
    for (size_t place = 0; place < state->facts.count; place++)
        if (range_fact_is_held(&state->facts.facts[place]))
            ownership_take(check, group, &state->facts.facts[place]);
    group->newest = state;
}

void range_check_replica(struct range_check *check, group_id_t group_id, uint64_t store_id,
                         raft_index_t index, struct range_facts facts)
{
    struct group *group = group_of(check, group_id);
    const struct state *state = state_of(check, facts);
    if (index == 0)
        return;
    sights_grow(group, index);
    struct sight *sight = &group->sights[index];
    if (sight->state == state)
        return;
    check->result.judged_count++;
    if (sight->state) {
        check_result_violation(&check->result, "ranges-differ",
                               "group %" PRIu64 " at index %" PRIu64 ": stores %" PRIu64
                               " and %" PRIu64 " have different ranges",
                               group_id, index, sight->store_id, store_id);
        return;
    }
    *sight = (struct sight){state, store_id};
    judge_overlap(check, group, facts);
    judge_neighbours(check, group, index);
    if (index <= group->furthest)
        return;
    if (state != group->newest)
        judge_changes(check, group, store_id, state->facts);
    group_advance(check, group, store_id, state);
    group->furthest = index;
}

/* --- The end --- */

static bool group_is_settled(const struct range_check *check, const struct group *group, char *text,
                             size_t text_bytes_max)
{
    char fact_text[RANGE_FACT_TEXT_BYTES], map_text[RANGE_FACT_TEXT_BYTES];
    for (size_t place = 0; place < group->newest->facts.count; place++) {
        const struct range_fact *fact = &group->newest->facts.facts[place];
        const struct range_fact *mapped = range_map_at(&check->map, fact->start);
        if (mapped && check->map.groups[mapped - check->map.facts.facts] == group->id &&
            mapped->epoch == fact->epoch && range_fact_has_same_keys(mapped, fact) &&
            fact->state == OSTRAKA__RANGE_STATE__RANGE_OWNED)
            continue;
        snprintf(text, text_bytes_max, "group %" PRIu64 " has %s, the map has %s", group->id,
                 range_fact_print(fact, fact_text), range_fact_print(mapped, map_text));
        return false;
    }
    return true;
}

static bool range_is_owned(const struct range_check *check, size_t place)
{
    struct group *group;
    HASH_FIND(hh, check->groups, &check->map.groups[place], sizeof check->map.groups[place], group);
    /* group_is_settled has looked at the rest. */
    return group && fact_of(group->newest->facts, check->map.facts.facts[place].start);
}

bool range_check_is_settled(const struct range_check *check, char *text, size_t text_bytes_max)
{
    char fact_text[RANGE_FACT_TEXT_BYTES];
    const struct range_map *map = &check->map;
    if (map->facts.count == 0) {
        snprintf(text, text_bytes_max, "there is no map");
        return false;
    }
    for (size_t place = 0; place < map->facts.count; place++) {
        const struct range_fact *fact = &map->facts.facts[place];
        if (fact->change == 0 && fact->state == OSTRAKA__RANGE_STATE__RANGE_OWNED)
            continue;
        snprintf(text, text_bytes_max, "the map has %s, group %" PRIu64,
                 range_fact_print(fact, fact_text), map->groups[place]);
        return false;
    }
    const struct group *group;
    for (group = check->groups; group; group = group->hh.next)
        if (!group_is_settled(check, group, text, text_bytes_max))
            return false;
    for (size_t place = 0; place < map->facts.count; place++) {
        if (range_is_owned(check, place))
            continue;
        snprintf(text, text_bytes_max, "group %" PRIu64 " does not own %s", map->groups[place],
                 range_fact_print(&map->facts.facts[place], fact_text));
        return false;
    }
    return true;
}

void range_check_end(struct range_check *check)
{
    char text[3 * RANGE_FACT_TEXT_BYTES];
    if (!range_check_is_settled(check, text, sizeof text))
        check_result_violation(&check->result, "ranges-unsettled", "%s", text);
}
