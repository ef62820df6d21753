#include "tests/sim/shrink.h"

#include "tests/sim/search.h"

#include <inttypes.h>
#include <string.h>

struct shrinking {
    struct plan *plan;
    const char *failure;
    unsigned tries_count;
};

/* Keeps the change when the run fails as before. */
static bool try_value(struct shrinking *shrinking, const struct plan_field *field, uint64_t value)
{
    if (shrinking->tries_count >= SHRINK_TRIES_MAX || value < field->least ||
        search_interruption() != 0)
        return false;
    struct plan plan = *shrinking->plan;
    if (*plan_field_value(&plan, field) == value)
        return false;
    *plan_field_value(&plan, field) = value;
    struct run_result result;
    shrinking->tries_count++;
    run_apart(&plan, &result);
    if (!result.is_failed || strcmp(result.failure, shrinking->failure) != 0)
        return false;
    *shrinking->plan = plan;
    return true;
}

static const struct plan_field *field_of(const char *name)
{
    for (size_t index = 0; index < plan_fields_count; index++)
        if (strcmp(plan_fields[index].name, name) == 0)
            return &plan_fields[index];
    return NULL;
}

/* Each kind of fault away, and what else is only there to make trouble. */
static void faults_away(struct shrinking *shrinking)
{
    for (size_t index = 0; index < plan_fields_count; index++) {
        const struct plan_field *field = &plan_fields[index];
        if (strncmp(field->name, "fault_", 6) == 0 && strstr(field->text, "weight:") &&
            *plan_field_value(shrinking->plan, field) > 0)
            try_value(shrinking, field, 0);
    }
    static const char *const zeros[] = {
        "reset_ppm",       "frame_lost_ppm", "frame_doubled_ppm",  "frame_swapped_ppm",
        "disk_tail_ppm",   "tail_ppm",       "job_tail_ppm",       "drift_ppm_max",
        "lease_stall_ppm", "lease_ms",       "weight_snapshot",    "weight_register",
        "weight_bank",     "weight_append",  "site_crash_percent", "keeper"};
    for (size_t index = 0; index < sizeof zeros / sizeof zeros[0]; index++)
        try_value(shrinking, field_of(zeros[index]), 0);
}

static void less_of(struct shrinking *shrinking, const char *name)
{
    const struct plan_field *field = field_of(name);
    uint64_t value = *plan_field_value(shrinking->plan, field);
    if (try_value(shrinking, field, field->least))
        return;
    while (value / 2 > field->least && try_value(shrinking, field, value / 2))
        value /= 2;
}

/* The shortest row of faults: the last one that is needed, then the first. */
static void faults_bound(struct shrinking *shrinking, uint64_t count)
{
    const struct plan_field *first = field_of("fault_first"), *last = field_of("fault_last");
    uint64_t low = 0, high = count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (try_value(shrinking, last, middle))
            high = middle;
        else
            low = middle + 1;
    }
    low = 0;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (try_value(shrinking, first, middle))
            low = middle;
        else
            high = middle - 1;
    }
}

unsigned shrink(struct plan *plan, const struct run_result *result)
{
    struct shrinking shrinking = {.plan = plan, .failure = result->failure};
    /* The rest of a run may end as it began: how much was done must not decide. */
    try_value(&shrinking, field_of("faults_min"), 0);
    faults_bound(&shrinking, result->counts.fault_ticks);
    faults_away(&shrinking);
    static const char *const sizes[] = {"clients", "actors", "groups",     "ranges_per_kind",
                                        "stores",  "keys",   "operations", "faults_at_once_max"};
    for (size_t index = 0; index < sizeof sizes / sizeof sizes[0]; index++)
        less_of(&shrinking, sizes[index]);
    return shrinking.tries_count;
}
