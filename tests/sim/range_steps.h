/* range_steps.h: steps of ranges that have just come to pass, for who wants to act upon them. */
#pragma once

#include "base/types.h"

#include <stdbool.h>
#include <stddef.h>

enum range_step_kind {
    /* Group 0's. */
    RANGE_STEP_BEGUN,
    RANGE_STEP_SWITCHED,
    RANGE_STEP_CANCELLED,
    RANGE_STEP_DONE,
    /* A group's. */
    RANGE_STEP_CLEARED,
    RANGE_STEP_COPIED,
    RANGE_STEP_OWNED,
    RANGE_STEP_FROZEN,
    RANGE_STEP_SEALED,
    RANGE_STEP_UNFROZEN,
    RANGE_STEP_DROPPED,
    RANGE_STEP_DISCARDED,
    RANGE_STEP_RESHAPED, /* split or merged */
};

struct range_step {
    enum range_step_kind kind;
    group_id_t group;
    uint64_t change;
};

/* What nobody takes out is forgotten. */
#define RANGE_STEPS_MAX 32u
struct range_steps {
    struct range_step items[RANGE_STEPS_MAX];
    size_t count;
};

/* A step of several pieces of a range comes once. */
static inline void range_steps_add(struct range_steps *steps, struct range_step step)
{
    for (size_t index = 0; index < steps->count; index++) {
        const struct range_step *other = &steps->items[index];
        if (other->kind == step.kind && other->group == step.group && other->change == step.change)
            return;
    }
    if (steps->count < RANGE_STEPS_MAX)
        steps->items[steps->count++] = step;
}

static inline bool range_steps_take(struct range_steps *steps, struct range_step *out_step)
{
    if (steps->count == 0)
        return false;
    *out_step = steps->items[--steps->count];
    return true;
}
