#include "tests/sim/lock_check.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct held {
    struct txn_id owner;
    struct lock_target target;
    enum lock_mode mode;
};

struct lock_check {
    char where[48];
    struct held *held;
    size_t held_count, held_capacity;
    struct check_result result;
};

struct lock_check *lock_check_new(void)
{
    struct lock_check *check = memory_alloc_zeroed(1, sizeof *check);
    check_result_init(&check->result);
    return check;
}

void lock_check_free(struct lock_check *check)
{
    if (!check)
        return;
    free(check->held);
    free(check);
}

const struct check_result *lock_check_result(const struct lock_check *check)
{
    return &check->result;
}

void lock_check_begin(struct lock_check *check, const char *where)
{
    snprintf(check->where, sizeof check->where, "%s", where);
    check->held_count = 0;
}

void lock_check_held(struct lock_check *check, struct txn_id owner,
                     const struct lock_target *target, enum lock_mode mode)
{
    if (check->held_count == check->held_capacity) {
        check->held_capacity = check->held_capacity ? 2 * check->held_capacity : 64;
        check->held = memory_realloc(check->held, check->held_capacity * sizeof check->held[0]);
    }
    check->held[check->held_count++] = (struct held){owner, *target, mode};
}

/* Does the target lie wholly before `key`? Compared as intervals; a single key is [key, key+00). */
static bool target_ends_before(const struct lock_target *target, struct bytes key)
{
    if (!target->is_interval)
        return bytes_compare(target->start, key) < 0;
    return target->end.bytes_count > 0 && bytes_compare(target->end, key) <= 0;
}

static bool targets_overlap(const struct lock_target *a, const struct lock_target *b)
{
    return !target_ends_before(a, b->start) && !target_ends_before(b, a->start);
}

static int held_compare(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    return bytes_compare(x->target.start, y->target.start);
}

static void judge(struct lock_check *check, const struct held *a, const struct held *b)
{
    if (txn_id_equal(a->owner, b->owner) || (a->mode == LOCK_SHARED && b->mode == LOCK_SHARED) ||
        !targets_overlap(&a->target, &b->target))
        return;
    char key[KEY_TEXT_BYTES];
    check_result_violation(&check->result, "lock-conflict",
                           "%s: transactions %016" PRIx64 "/%" PRIu64 " (%s) and %016" PRIx64
                           "/%" PRIu64 " (%s) both hold key %s",
                           check->where, a->owner.client, a->owner.sequence,
                           a->mode == LOCK_SHARED ? "shared" : "exclusive", b->owner.client,
                           b->owner.sequence, b->mode == LOCK_SHARED ? "shared" : "exclusive",
                           key_print(b->target.start, key, sizeof key));
}

void lock_check_end(struct lock_check *check)
{
    check->result.judged_count += check->held_count;
    if (check->held_count > 1)
        qsort(check->held, check->held_count, sizeof check->held[0], held_compare);
    /* Those that begin later and overlap one follow it; an interval may reach over many. */
    for (size_t first = 0; first < check->held_count; first++) {
        const struct held *a = &check->held[first];
        for (size_t second = first + 1; second < check->held_count; second++) {
            const struct held *b = &check->held[second];
            if (target_ends_before(&a->target, b->target.start))
                break;
            judge(check, a, b);
        }
    }
    check->held_count = 0;
}
