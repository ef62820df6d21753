/* store_steps.h: steps in the life of stores that have just come to pass in group 0, for who wants
 * to act upon them. */
#pragma once

#include "base/types.h"

#include <stdbool.h>
#include <stddef.h>

enum store_step_kind {
    STORE_STEP_JOINED,
    STORE_STEP_FILLED, /* one that has joined is to have its first replica */
    STORE_STEP_DRAINED,
    STORE_STEP_UNDRAINED,
    STORE_STEP_DIED,
    STORE_STEP_CAME_BACK,
    STORE_STEP_REPLACED, /* a replica on one that is not UP is to be elsewhere */
    STORE_STEP_LEFT,     /* and is there no more */
    STORE_STEP_EMPTIED,  /* that was the last one */
    STORE_STEP_REMOVED,
};

struct store_step {
    enum store_step_kind kind;
    store_id_t store;
};

/* What nobody takes out is forgotten. */
#define STORE_STEPS_MAX 32u
struct store_steps {
    struct store_step items[STORE_STEPS_MAX];
    size_t count;
};

static inline void store_steps_add(struct store_steps *steps, struct store_step step)
{
    if (steps->count < STORE_STEPS_MAX)
        steps->items[steps->count++] = step;
}

static inline bool store_steps_take(struct store_steps *steps, struct store_step *out_step)
{
    if (steps->count == 0)
        return false;
    *out_step = steps->items[--steps->count];
    return true;
}
