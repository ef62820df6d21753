#include "tests/sim/range_fact.h"

#include <inttypes.h>
#include <stdio.h>

#define GONE    OSTRAKA__RANGE_STATE__RANGE_GONE
#define OWNED   OSTRAKA__RANGE_STATE__RANGE_OWNED
#define FROZEN  OSTRAKA__RANGE_STATE__RANGE_FROZEN
#define SEALED  OSTRAKA__RANGE_STATE__RANGE_SEALED
#define COPYING OSTRAKA__RANGE_STATE__RANGE_COPYING
#define COPIED  OSTRAKA__RANGE_STATE__RANGE_COPIED

bool range_fact_has_same_keys(const struct range_fact *a, const struct range_fact *b)
{
    return bytes_equal(a->start, b->start) && bytes_equal(a->end, b->end);
}

const char *range_fact_print(const struct range_fact *fact, char *text)
{
    static const char *const names[] = {
        [GONE] = "gone",     [OWNED] = "OWNED",     [FROZEN] = "FROZEN",
        [SEALED] = "SEALED", [COPYING] = "COPYING", [COPIED] = "COPIED"};
    char start[KEY_TEXT_BYTES], end[KEY_TEXT_BYTES];
    if (!fact) {
        snprintf(text, RANGE_FACT_TEXT_BYTES, "gone");
        return text;
    }
    snprintf(text, RANGE_FACT_TEXT_BYTES, "[%s, %s) epoch %" PRIu64 " %s change %" PRIu64,
             key_print(fact->start, start, sizeof start), key_print(fact->end, end, sizeof end),
             fact->epoch, names[fact->state], fact->change);
    return text;
}

/* --- The table --- */

/* From where an owner was OWNED, without ever being gone. */
static unsigned steps_from_owned(const struct range_fact *from, const struct range_fact *to)
{
    unsigned freezes = to->state == FROZEN ? 1 : to->state == SEALED ? 2 : 0;
    if (to->epoch < from->epoch || to->change < from->change)
        return RANGE_STEPS_NEVER;
    if (to->epoch == from->epoch) {
        if (!range_fact_has_same_keys(from, to))
            return RANGE_STEPS_NEVER;
        if (to->change == from->change)
            return to->state == OWNED ? 0 : RANGE_STEPS_NEVER;
        return to->state == OWNED ? 2 : freezes; /* FREEZE, and perhaps UNFREEZE */
    }
    /* A split or a merge has a number of its own, and so has the freeze after it. */
    if (to->change < from->change + (to->state == OWNED ? 1 : 2))
        return RANGE_STEPS_NEVER;
    return 1 + freezes;
}

static unsigned steps_as_owner(const struct range_fact *from, const struct range_fact *to)
{
    if (from->state == OWNED)
        return steps_from_owned(from, to);
    bool is_of_same_change = to->epoch == from->epoch && to->change == from->change;
    if (is_of_same_change && to->state != OWNED) {
        if (!range_fact_has_same_keys(from, to) || (from->state == SEALED && to->state == FROZEN))
            return RANGE_STEPS_NEVER;
        return from->state == to->state ? 0 : 1;
    }
    struct range_fact unfrozen = *from;
    unfrozen.state = OWNED;
    return 1 + steps_from_owned(&unfrozen, to);
}

/* CLEAR once more leaves it as it was; another change has to wait for DISCARD. */
static unsigned steps_as_taker(const struct range_fact *from, const struct range_fact *to)
{
    bool is_same = to->change == from->change && to->epoch == from->epoch &&
                   range_fact_has_same_keys(from, to);
    bool is_back = from->state == COPIED && to->state == COPYING;
    if (!is_same || is_back)
        return RANGE_STEPS_NEVER;
    return from->state == to->state ? 0 : 1;
}

static unsigned steps_to_ownership(const struct range_fact *from, const struct range_fact *to)
{
    struct range_fact owned = *from;
    owned.state = OWNED;
    owned.epoch++;
    return (from->state == COPIED ? 1 : 2) + steps_from_owned(&owned, to);
}

static unsigned steps_within(const struct range_fact *from, const struct range_fact *to)
{
    if (range_fact_is_held(from))
        return range_fact_is_held(to) ? steps_as_owner(from, to) : RANGE_STEPS_NEVER;
    return range_fact_is_held(to) ? steps_to_ownership(from, to) : steps_as_taker(from, to);
}

/* To what the group has, from nothing. */
static unsigned steps_from_nothing(const struct range_fact *to, bool may_be_assigned)
{
    if (!to)
        return 0;
    if (!range_fact_is_held(to))
        return to->state == COPIED ? 2 : 1;
    unsigned freezes = to->state == FROZEN ? 1 : to->state == SEALED ? 2 : 0;
    if (!may_be_assigned)
        return to->change == 0 ? RANGE_STEPS_NEVER : 3 + freezes;
    return (to->state == OWNED && to->change != 0 ? 2 : 1) + freezes;
}

static unsigned steps_to_nothing(const struct range_fact *from)
{
    return from->state == OWNED ? 3 : from->state == FROZEN ? 2 : 1;
}

unsigned range_fact_steps(const struct range_fact *from, const struct range_fact *to,
                          bool may_be_assigned)
{
    if (!from)
        return steps_from_nothing(to, may_be_assigned);
    unsigned by_way_of_nothing =
        steps_to_nothing(from) +
        steps_from_nothing(to, may_be_assigned && !range_fact_is_held(from));
    if (!to)
        return by_way_of_nothing;
    /* Away to another group, and back from it. */
    bool may_have_been_away = !range_fact_is_held(from) || !range_fact_is_held(to) ||
                              (to->epoch >= from->epoch + 2 && to->change > from->change);
    unsigned within = steps_within(from, to);
    return may_have_been_away && by_way_of_nothing < within ? by_way_of_nothing : within;
}

/* --- Side by side --- */

void range_walk_init(struct range_walk *walk, struct range_facts a, struct range_facts b)
{
    *walk = (struct range_walk){.a = a, .b = b, .at = bytes_of(NULL, 0)};
}

/* An empty one is the end of the key space. */
static struct bytes end_min(struct bytes a, struct bytes b)
{
    if (a.bytes_count == 0)
        return b;
    return b.bytes_count == 0 || bytes_compare(a, b) <= 0 ? a : b;
}

/* The one that holds `at`, and up to where that goes. */
static const struct range_fact *fact_at(struct range_facts facts, size_t *place, struct bytes at,
                                        struct bytes *out_until)
{
    while (*place < facts.count && facts.facts[*place].end.bytes_count > 0 &&
           bytes_compare(facts.facts[*place].end, at) <= 0)
        ++*place;
    *out_until = bytes_of(NULL, 0);
    if (*place == facts.count)
        return NULL;
    const struct range_fact *fact = &facts.facts[*place];
    bool is_inside = bytes_compare(fact->start, at) <= 0;
    *out_until = is_inside ? fact->end : fact->start;
    return is_inside ? fact : NULL;
}

bool range_walk_next(struct range_walk *walk, struct range_piece *out_piece)
{
    if (walk->is_over)
        return false;
    struct bytes a_until, b_until;
    out_piece->a = fact_at(walk->a, &walk->a_place, walk->at, &a_until);
    out_piece->b = fact_at(walk->b, &walk->b_place, walk->at, &b_until);
    out_piece->start = walk->at;
    out_piece->end = end_min(a_until, b_until);
    walk->at = out_piece->end;
    walk->is_over = walk->at.bytes_count == 0;
    return true;
}
