/* The lock table alone: modes, intervals, upgrades, queues; and against a naive model. */
#include "base/random.h"
#include "txn/lock_table.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct lock_table *table;

static void table_setup(void)
{
    struct lock_table_options options = {.queue_count_max = 4, .locks_count_max = 100};
    table = lock_table_new(&options);
}

static void table_teardown(void)
{
    lock_table_check(table);
    lock_table_free(table);
}

TestSuite(lock_table, .init = table_setup, .fini = table_teardown);

/* Smaller is older. */
static struct lock_owner *owner_new(uint64_t age)
{
    struct txn_age txn_age = {.timestamp = age, .client = 1, .sequence = 1};
    return lock_owner_new(table, &txn_age, 1, NULL);
}

static struct lock_target key(const char *text)
{
    return (struct lock_target){.start = bytes_of_string(text)};
}

static struct lock_target interval(const char *start, const char *end)
{
    return (struct lock_target){bytes_of_string(start), bytes_of_string(end), true};
}

static int acquire(struct lock_owner *owner, struct lock_target target, enum lock_mode mode,
                   uint64_t token)
{
    int status = lock_table_acquire(table, owner, &target, mode, token);
    lock_table_check(table);
    return status;
}

static void release(struct lock_owner *owner)
{
    lock_owner_release(table, owner);
    lock_table_check(table);
}

/* The token of the next grant; 0: none. */
static uint64_t granted(void)
{
    struct lock_owner *owner;
    uint64_t token;
    return lock_table_granted(table, &owner, &token) ? token : 0;
}

static uint64_t keys_locked(void)
{
    uint64_t keys, waiters, owners;
    lock_table_counts(table, &keys, &waiters, &owners);
    return keys;
}

#define assert_ok(expression)    cr_assert_eq((expression), OST_OK)
#define assert_waits(expression) cr_assert_eq((expression), OST_WOULD_BLOCK)

Test(lock_table, shared_locks_go_together_and_exclusive_ones_alone)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2), *c = owner_new(3);
    assert_ok(acquire(a, key("k"), LOCK_SHARED, 1));
    assert_ok(acquire(b, key("k"), LOCK_SHARED, 2));
    assert_waits(acquire(c, key("k"), LOCK_EXCLUSIVE, 3));
    assert_ok(acquire(c, key("l"), LOCK_EXCLUSIVE, 4));
    assert_waits(acquire(a, key("l"), LOCK_SHARED, 5));
    release(a);
    cr_assert_eq(granted(), 0);
    release(b);
    cr_assert_eq(granted(), 3);
    cr_assert_eq(granted(), 0);
    struct lock_target k = key("k");
    cr_assert(lock_owner_holds(table, c, &k, LOCK_EXCLUSIVE));
}

Test(lock_table, what_is_held_is_granted_again)
{
    struct lock_owner *a = owner_new(1);
    assert_ok(acquire(a, key("k"), LOCK_EXCLUSIVE, 1));
    assert_ok(acquire(a, key("k"), LOCK_SHARED, 2));
    assert_ok(acquire(a, interval("a", "m"), LOCK_EXCLUSIVE, 3));
    assert_ok(acquire(a, interval("b", "c"), LOCK_SHARED, 4));
    assert_ok(acquire(a, key("d"), LOCK_EXCLUSIVE, 5));
    cr_assert_eq(keys_locked(), 2, "only the first key and the interval are locks of their own");
}

Test(lock_table, an_interval_ends_before_its_end)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2);
    assert_ok(acquire(a, interval("b", "d"), LOCK_SHARED, 1));
    assert_ok(acquire(b, key("a"), LOCK_EXCLUSIVE, 2));
    assert_ok(acquire(b, key("a\xff"), LOCK_EXCLUSIVE, 2));
    assert_waits(acquire(b, key("b"), LOCK_EXCLUSIVE, 3));
    assert_waits(acquire(b, key("c\xff\xff"), LOCK_EXCLUSIVE, 4));
    assert_ok(acquire(b, key("d"), LOCK_EXCLUSIVE, 5));
    assert_ok(acquire(b, interval("d", "e"), LOCK_EXCLUSIVE, 6));
    assert_ok(acquire(b, interval("a", "b"), LOCK_EXCLUSIVE, 7));
    assert_waits(acquire(b, interval("a", "b\x01"), LOCK_EXCLUSIVE, 8));
    assert_ok(acquire(b, key("c"), LOCK_SHARED, 9));
}

Test(lock_table, an_empty_end_is_behind_every_key)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2);
    assert_ok(acquire(a, interval("m", ""), LOCK_EXCLUSIVE, 1));
    assert_ok(acquire(b, key("l"), LOCK_EXCLUSIVE, 2));
    assert_waits(acquire(b, key("\xff\xff\xff"), LOCK_SHARED, 3));
    assert_waits(acquire(b, interval("", ""), LOCK_SHARED, 4));
    assert_ok(acquire(b, interval("", "m"), LOCK_SHARED, 5));
    release(a);
    cr_assert_eq(granted(), 3);
    cr_assert_eq(granted(), 4);
}

Test(lock_table, an_interval_without_keys_conflicts_with_nothing)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2);
    assert_ok(acquire(a, interval("a", "z"), LOCK_EXCLUSIVE, 1));
    assert_ok(acquire(b, interval("m", "m"), LOCK_EXCLUSIVE, 2));
    assert_ok(acquire(b, interval("n", "m"), LOCK_EXCLUSIVE, 3));
}

Test(lock_table, an_interval_meets_the_keys_in_it)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2), *c = owner_new(3);
    assert_ok(acquire(a, key("k"), LOCK_EXCLUSIVE, 1));
    assert_ok(acquire(b, key("k2"), LOCK_SHARED, 2));
    assert_waits(acquire(c, interval("k", "l"), LOCK_EXCLUSIVE, 3));
    release(a);
    cr_assert_eq(granted(), 0);
    release(b);
    cr_assert_eq(granted(), 3);
}

Test(lock_table, an_upgrade_waits_for_the_other_holders_alone)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2);
    assert_ok(acquire(a, key("k"), LOCK_SHARED, 1));
    assert_ok(acquire(b, key("k"), LOCK_SHARED, 2));
    assert_waits(acquire(a, key("k"), LOCK_EXCLUSIVE, 3));
    release(b);
    cr_assert_eq(granted(), 3);
    struct lock_target k = key("k");
    cr_assert(lock_owner_holds(table, a, &k, LOCK_EXCLUSIVE));
    struct lock_owner *c = owner_new(3);
    assert_waits(acquire(c, key("k"), LOCK_SHARED, 4));
}

Test(lock_table, an_upgrade_respects_older_waiters)
{
    struct lock_owner *old = owner_new(1), *middle = owner_new(2), *young = owner_new(3);
    assert_ok(acquire(young, key("k"), LOCK_SHARED, 1));
    assert_ok(acquire(middle, key("k"), LOCK_SHARED, 2));
    assert_waits(acquire(old, key("k"), LOCK_EXCLUSIVE, 3));
    release(middle);
    assert_waits(acquire(young, key("k"), LOCK_EXCLUSIVE, 4)); /* alone, but `old` is before it */
    release(young);
    cr_assert_eq(granted(), 3);
}

Test(lock_table, waiters_are_granted_in_age_order_whatever_the_order_of_arrival)
{
    struct lock_owner *holder = owner_new(9);
    struct lock_owner *third = owner_new(3), *first = owner_new(1), *second = owner_new(2);
    assert_ok(acquire(holder, key("k"), LOCK_EXCLUSIVE, 9));
    assert_waits(acquire(third, key("k"), LOCK_EXCLUSIVE, 3));
    assert_waits(acquire(first, key("k"), LOCK_EXCLUSIVE, 1));
    assert_waits(acquire(second, key("k"), LOCK_EXCLUSIVE, 2));
    release(holder);
    cr_assert_eq(granted(), 1);
    cr_assert_eq(granted(), 0);
    release(first);
    cr_assert_eq(granted(), 2);
    release(second);
    cr_assert_eq(granted(), 3);
}

Test(lock_table, a_younger_shared_request_does_not_pass_an_older_exclusive_waiter)
{
    struct lock_owner *holder = owner_new(1), *writer = owner_new(2), *reader = owner_new(3);
    assert_ok(acquire(holder, key("k"), LOCK_SHARED, 1));
    assert_waits(acquire(writer, key("k"), LOCK_EXCLUSIVE, 2));
    assert_waits(acquire(reader, key("k"), LOCK_SHARED, 3));
    struct lock_owner *older_reader = owner_new(0);
    assert_ok(acquire(older_reader, key("k"), LOCK_SHARED, 4));
    lock_table_cancel(table, writer, 2);
    lock_table_check(table);
    cr_assert_eq(granted(), 3);
}

Test(lock_table, of_equal_ages_the_newer_try_goes_first)
{
    struct txn_age age = {5, 1, 1};
    struct lock_owner *newer = lock_owner_new(table, &age, 8, NULL);
    struct lock_owner *older = lock_owner_new(table, &age, 7, NULL);
    cr_assert_lt(lock_owner_compare(newer, older), 0);
    cr_assert_gt(lock_owner_compare(older, newer), 0);
    cr_assert_eq(lock_owner_compare(older, older), 0);
}

Test(lock_table, a_full_queue_and_a_full_table_are_busy)
{
    struct lock_owner *holder = owner_new(1);
    assert_ok(acquire(holder, key("k"), LOCK_EXCLUSIVE, 1));
    for (uint64_t age = 2; age < 6; age++)
        assert_waits(acquire(owner_new(age), key("k"), LOCK_SHARED, age));
    struct lock_owner *late = owner_new(6);
    cr_assert_eq(acquire(late, key("k"), LOCK_SHARED, 6), OST_BUSY);
    char text[16];
    for (int index = 0; index < 95; index++) {
        snprintf(text, sizeof(text), "key%02d", index);
        assert_ok(acquire(late, key(text), LOCK_SHARED, 7));
    }
    cr_assert_eq(acquire(late, key("one more"), LOCK_SHARED, 8), OST_BUSY);
    cr_assert_eq(acquire(late, key("key00"), LOCK_SHARED, 8), OST_OK, "it is held");
    struct lock_target target = key("recovered");
    lock_table_restore(table, late, &target, LOCK_EXCLUSIVE);
    cr_assert(lock_owner_holds(table, late, &target, LOCK_EXCLUSIVE));
}

Test(lock_table, a_cancelled_grant_is_not_reported_but_kept)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2);
    assert_ok(acquire(a, key("k"), LOCK_EXCLUSIVE, 1));
    assert_waits(acquire(b, key("k"), LOCK_EXCLUSIVE, 2));
    release(a);
    lock_table_cancel(table, b, 2);
    cr_assert_eq(granted(), 0);
    struct lock_target k = key("k");
    cr_assert(lock_owner_holds(table, b, &k, LOCK_EXCLUSIVE));
    release(b);
    cr_assert_eq(keys_locked(), 0, "nodes are freed when nobody uses them");
}

Test(lock_table, two_requests_of_one_owner_for_one_key_are_both_reported)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2), *c = owner_new(3);
    assert_ok(acquire(a, key("k"), LOCK_EXCLUSIVE, 1));
    assert_waits(acquire(b, key("k"), LOCK_SHARED, 2));
    assert_waits(acquire(b, key("k"), LOCK_EXCLUSIVE, 3));
    assert_waits(acquire(c, key("k"), LOCK_SHARED, 4));
    release(a);
    cr_assert_eq(granted(), 2);
    cr_assert_eq(granted(), 3);
    cr_assert_eq(granted(), 0);
    release(b);
    cr_assert_eq(granted(), 4);
}

struct seen {
    uint32_t holders_count, waiters_count;
    struct lock_owner *first;
};

static bool see(void *context, struct lock_owner *other, bool is_holder)
{
    struct seen *seen = context;
    if (!seen->first)
        seen->first = other;
    seen->holders_count += is_holder;
    seen->waiters_count += !is_holder;
    return true;
}

Test(lock_table, conflicts_are_holders_and_older_waiters_each_once)
{
    struct lock_owner *a = owner_new(1), *b = owner_new(2), *c = owner_new(3), *d = owner_new(4);
    assert_ok(acquire(b, key("k"), LOCK_SHARED, 1));
    assert_ok(acquire(b, key("l"), LOCK_SHARED, 1));
    assert_ok(acquire(b, interval("a", "z"), LOCK_SHARED, 1));
    assert_waits(acquire(c, key("k"), LOCK_EXCLUSIVE, 2));
    assert_waits(acquire(c, key("m"), LOCK_EXCLUSIVE, 2));
    struct lock_target all = interval("", "");
    struct seen seen = {0};
    lock_table_conflicts(table, d, &all, LOCK_EXCLUSIVE, lock_owner_age(d), see, &seen);
    cr_assert(seen.holders_count == 1 && seen.waiters_count == 1 && seen.first == b);
    seen = (struct seen){0};
    lock_table_conflicts(table, a, &all, LOCK_EXCLUSIVE, lock_owner_age(a), see, &seen);
    cr_assert(seen.holders_count == 1 && seen.waiters_count == 0, "the other waiter is younger");
    seen = (struct seen){0};
    lock_table_conflicts(table, NULL, &all, LOCK_SHARED, NULL, see, &seen);
    cr_assert_null(seen.first, "shared locks do not conflict");
}

/* ---- Against a naive model ---- */

#define MODEL_OWNERS_MAX 12
#define MODEL_LOCKS_MAX  4096

struct model_lock {
    int owner;          /* -1: gone */
    uint8_t start, end; /* one-letter keys; end 0: the very end; a key is [k, k+1) */
    bool is_interval;
    enum lock_mode mode;
    bool is_granted;
    uint64_t token;
};

struct model {
    uint64_t ages[MODEL_OWNERS_MAX]; /* 0: no such owner */
    struct model_lock locks[MODEL_LOCKS_MAX];
    uint32_t locks_count;
    uint64_t notices[MODEL_LOCKS_MAX];
    uint32_t notices_count;
};

static unsigned model_end(const struct model_lock *lock)
{
    return lock->is_interval ? (lock->end == 0 ? 256u : lock->end) : lock->start + 1u;
}

static bool model_conflict(const struct model_lock *a, const struct model_lock *b)
{
    return a->owner != b->owner && (a->mode == LOCK_EXCLUSIVE || b->mode == LOCK_EXCLUSIVE) &&
           a->start < model_end(b) && b->start < model_end(a);
}

static bool model_blocked(const struct model *model, const struct model_lock *lock)
{
    for (uint32_t index = 0; index < model->locks_count; index++) {
        const struct model_lock *other = &model->locks[index];
        if (other->owner < 0 || other == lock || !model_conflict(lock, other))
            continue;
        if (other->is_granted || model->ages[other->owner] < model->ages[lock->owner])
            return true;
    }
    return false;
}

static int model_acquire(struct model *model, struct model_lock lock)
{
    if (lock.start >= model_end(&lock))
        return OST_OK;
    for (uint32_t index = 0; index < model->locks_count; index++) {
        const struct model_lock *held = &model->locks[index];
        /* A key is covered by any lock around it; only another interval lock can cover an interval.
         */
        if (held->owner == lock.owner && held->is_granted && held->mode >= lock.mode &&
            (held->is_interval || !lock.is_interval) && held->start <= lock.start &&
            model_end(held) >= model_end(&lock))
            return OST_OK;
    }
    cr_assert_lt(model->locks_count, MODEL_LOCKS_MAX);
    lock.is_granted = !model_blocked(model, &lock);
    model->locks[model->locks_count++] = lock;
    return lock.is_granted ? OST_OK : OST_WOULD_BLOCK;
}

static void model_grant(struct model *model)
{
    for (uint32_t index = 0; index < model->locks_count; index++) {
        struct model_lock *lock = &model->locks[index];
        if (lock->owner < 0 || lock->is_granted || model_blocked(model, lock))
            continue;
        lock->is_granted = true;
        model->notices[model->notices_count++] = lock->token;
    }
}

static void model_release(struct model *model, int owner)
{
    for (uint32_t index = 0; index < model->locks_count; index++) {
        if (model->locks[index].owner == owner)
            model->locks[index].owner = -1;
    }
    model->ages[owner] = 0;
    model_grant(model);
}

static void model_cancel(struct model *model, uint64_t token)
{
    for (uint32_t index = 0; index < model->locks_count; index++) {
        if (model->locks[index].token == token && !model->locks[index].is_granted)
            model->locks[index].owner = -1;
    }
    model_grant(model);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* The same grants, and the table's in age order. */
static void compare_notices(struct model *model)
{
    uint64_t tokens[MODEL_LOCKS_MAX];
    uint32_t tokens_count = 0;
    struct lock_owner *owner, *previous = NULL;
    while (lock_table_granted(table, &owner, &tokens[tokens_count])) {
        cr_assert(!previous || lock_owner_compare(previous, owner) <= 0);
        previous = owner;
        tokens_count++;
    }
    cr_assert_eq(tokens_count, model->notices_count);
    qsort(tokens, tokens_count, sizeof(tokens[0]), compare_u64);
    qsort(model->notices, model->notices_count, sizeof(tokens[0]), compare_u64);
    cr_assert(tokens_count == 0 ||
              memcmp(tokens, model->notices, tokens_count * sizeof(tokens[0])) == 0);
    model->notices_count = 0;
}

static void model_run_seed(uint64_t seed)
{
    static struct model model;
    memset(&model, 0, sizeof(model));
    struct lock_owner *owners[MODEL_OWNERS_MAX] = {NULL};
    struct random random;
    random_init(&random, seed);
    uint64_t intervals_percent = random_below(&random, 60);
    uint8_t letters = (uint8_t)(2 + random_below(&random, 20));
    for (uint64_t token = 1; token <= 400; token++) {
        int index = (int)random_below(&random, MODEL_OWNERS_MAX);
        if (!owners[index]) {
            model.ages[index] = 1 + random_below(&random, 1u << 20);
            for (int other = 0; other < MODEL_OWNERS_MAX; other++)
                if (other != index && model.ages[other] == model.ages[index])
                    model.ages[index] += 1u << 21; /* ages are never equal in the model */
            owners[index] = owner_new(model.ages[index]);
        }
        uint64_t dice = random_below(&random, 100);
        if (dice < 20) {
            model_release(&model, index);
            lock_owner_release(table, owners[index]);
            owners[index] = NULL;
        } else if (dice < 28) {
            uint64_t other = 1 + random_below(&random, token);
            model_cancel(&model, other);
            for (int at = 0; at < MODEL_OWNERS_MAX; at++)
                if (owners[at])
                    lock_table_cancel(table, owners[at], other);
        } else {
            uint8_t keys[2] = {(uint8_t)(1 + random_below(&random, letters)),
                               (uint8_t)(random_below(&random, letters + 2u))};
            struct model_lock lock = {.owner = index, .start = keys[0], .token = token};
            lock.is_interval = random_below(&random, 100) < intervals_percent;
            lock.end = lock.is_interval ? keys[1] : 0;
            lock.mode = random_below(&random, 2) ? LOCK_EXCLUSIVE : LOCK_SHARED;
            struct lock_target target = {.start = bytes_of(&keys[0], 1),
                                         .end = bytes_of(&keys[1], lock.end > 0 ? 1 : 0),
                                         .is_interval = lock.is_interval};
            int expected = model_acquire(&model, lock);
            cr_assert_eq(lock_table_acquire(table, owners[index], &target, lock.mode, token),
                         expected, "seed %lu token %lu", (unsigned long)seed, (unsigned long)token);
        }
        compare_notices(&model);
        lock_table_check(table);
    }
}

Test(lock_table_model, random_operations_agree_with_the_model)
{
    struct lock_table_options options = {.queue_count_max = 1024, .locks_count_max = 100000};
    for (uint64_t seed = 1; seed <= 300; seed++) {
        table = lock_table_new(&options);
        model_run_seed(seed);
        lock_table_free(table);
    }
}
