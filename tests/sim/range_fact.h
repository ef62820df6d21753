/* range_fact.h: what a group's log says of a range at one index, as the checks see it; and along
 * which ways one such fact becomes another: the table in docs/range-moves.md, written down once
 * more.
 */
#pragma once

#include "base/arena.h"
#include "base/types.h"
#include "proto/range.pb-c.h"

struct range_fact {
    struct bytes start, end; /* an empty end: the end of the key space */
    uint64_t epoch;
    Ostraka__RangeState state;
    uint64_t change; /* 0: none yet */
};

/* In key order. No two overlap. */
struct range_facts {
    const struct range_fact *facts;
    size_t count;
};

/* It is the group's own. */
static inline bool range_fact_is_held(const struct range_fact *fact)
{
    return fact && (fact->state == OSTRAKA__RANGE_STATE__RANGE_OWNED ||
                    fact->state == OSTRAKA__RANGE_STATE__RANGE_FROZEN ||
                    fact->state == OSTRAKA__RANGE_STATE__RANGE_SEALED);
}

/* Something in it may change. */
static inline bool range_fact_is_live(const struct range_fact *fact)
{
    return range_fact_is_held(fact) && fact->state != OSTRAKA__RANGE_STATE__RANGE_SEALED;
}

static inline bool range_fact_is_incoming(const struct range_fact *fact)
{
    return fact && !range_fact_is_held(fact);
}

bool range_fact_has_same_keys(const struct range_fact *a, const struct range_fact *b);

/* How many entries of a group's log lead from one to the other for the keys that both hold, at
 * least; NULL: the group knows nothing of these keys. RANGE_STEPS_NEVER: none do. Only who
 * `may_be_assigned` can own without a copy. */
#define RANGE_STEPS_NEVER 1000u
unsigned range_fact_steps(const struct range_fact *from, const struct range_fact *to,
                          bool may_be_assigned);

/* "[a, c) epoch 3 FROZEN change 7" */
#define RANGE_FACT_TEXT_BYTES 288u
const char *range_fact_print(const struct range_fact *fact, char *text);

/* Two lists side by side: one piece of the key space after the other in which neither changes. */
struct range_walk {
    struct range_facts a, b;
    size_t a_place, b_place;
    struct bytes at;
    bool is_over;
};
struct range_piece {
    struct bytes start, end;
    const struct range_fact *a, *b; /* NULL: nothing */
};
void range_walk_init(struct range_walk *walk, struct range_facts a, struct range_facts b);
bool range_walk_next(struct range_walk *walk, struct range_piece *out_piece);
