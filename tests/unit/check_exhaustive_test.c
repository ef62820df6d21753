/* check_exhaustive_test.c: the checkers against the definition, on tiny random histories: is there
 * an order of the operations, in accord with real time, that explains all that was read? */
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <string.h>

#define PROCESSES_COUNT  4u
#define OPERATIONS_COUNT 7u
#define OPS_COUNT_MAX    3u
#define ELEMENTS_MAX     32u
#define KEYS_COUNT       2u

/* A list for each key; a register is a list of at most one element. */
struct state {
    int64_t lists[KEYS_COUNT][ELEMENTS_MAX];
    uint32_t counts[KEYS_COUNT];
};

/* The definition. */

static bool shows(const struct history_op *op, const int64_t *list, uint32_t count)
{
    switch (op->found) {
    case HISTORY_NOTHING:
        return count == 0;
    case HISTORY_NUMBER:
        return count == 1 && list[0] == op->value;
    case HISTORY_LIST:
        return op->list_count == count &&
               (count == 0 || memcmp(list, op->list, count * sizeof *list) == 0);
    }
    return false;
}

static bool apply(struct state *state, const struct history_event *event, bool known)
{
    for (uint32_t i = 0; i < event->ops_count; i++) {
        const struct history_op *op = &event->ops[i];
        int64_t *list = state->lists[op->key];
        uint32_t *count = &state->counts[op->key];
        if (op->action == HISTORY_OP_READ && known && !shows(op, list, *count))
            return false;
        if (op->action == HISTORY_OP_CAS &&
            (op->expects_absent ? *count != 0 : *count != 1 || list[0] != op->expected))
            return false;
        if (op->action == HISTORY_OP_DELETE)
            *count = 0;
        if (op->action == HISTORY_OP_APPEND)
            list[(*count)++] = op->value;
        if (op->action == HISTORY_OP_WRITE || op->action == HISTORY_OP_CAS) {
            list[0] = op->value;
            *count = 1;
        }
    }
    return true;
}

static bool may_be_next(const struct history *history, uint32_t done, size_t index)
{
    const struct history_operation *next = history_operation(history, index);
    for (size_t i = 0; i < history_operations_count(history); i++) {
        const struct history_operation *other = history_operation(history, i);
        if (i != index && !(done >> i & 1) && history_outcome(other) == HISTORY_OK &&
            history_end(other) < next->invoke->index)
            return false;
    }
    return true;
}

static bool explains(const struct history *history, uint32_t done, const struct state *state)
{
    bool all_known_done = true;
    for (size_t i = 0; i < history_operations_count(history); i++) {
        const struct history_operation *operation = history_operation(history, i);
        bool known = history_outcome(operation) == HISTORY_OK;
        if (done >> i & 1 || history_outcome(operation) == HISTORY_FAIL)
            continue;
        all_known_done = all_known_done && !known;
        struct state next = *state;
        if (may_be_next(history, done, i) &&
            apply(&next, operation->completion ? operation->completion : operation->invoke,
                  known) &&
            explains(history, done | 1u << i, &next))
            return true;
    }
    return all_known_done;
}

/* Tiny histories: a serial store, whose answers are sometimes changed. */

struct tiny {
    struct random random;
    struct history *history;
    struct state state;
    bool lists;
    int64_t value_next;
    int64_t memory[OPERATIONS_COUNT * OPS_COUNT_MAX][ELEMENTS_MAX];
    uint32_t memory_count;
    struct history_op ops[PROCESSES_COUNT][OPS_COUNT_MAX];
    uint32_t ops_count[PROCESSES_COUNT];
    bool busy[PROCESSES_COUNT];
    bool applied[PROCESSES_COUNT];
    bool refused[PROCESSES_COUNT]; /* a cas that did not match */
    uint64_t ids[PROCESSES_COUNT];
    uint32_t invoked_count;
};

static uint64_t draw(struct tiny *tiny, uint64_t bound)
{
    return random_below(&tiny->random, bound);
}

static void record(struct tiny *tiny, uint32_t process, enum history_type type)
{
    char why[HISTORY_WHY_BYTES];
    struct history_event event = {.type = type,
                                  .function = HISTORY_TXN,
                                  .process = tiny->ids[process],
                                  .ops = tiny->ops[process],
                                  .ops_count = tiny->ops_count[process]};
    cr_assert_eq(history_append(tiny->history, &event, why), OST_OK, "%s", why);
}

static void tiny_invoke(struct tiny *tiny, uint32_t process)
{
    tiny->ops_count[process] = 1 + (uint32_t)draw(tiny, tiny->lists ? OPS_COUNT_MAX : 2);
    for (uint32_t i = 0; i < tiny->ops_count[process]; i++) {
        struct history_op *op = &tiny->ops[process][i];
        *op = (struct history_op){.key = tiny->lists ? (int64_t)draw(tiny, KEYS_COUNT) : 0};
        uint64_t dice = draw(tiny, 10);
        if (dice < 5)
            continue;
        op->action = tiny->lists ? HISTORY_OP_APPEND : HISTORY_OP_WRITE;
        op->value = tiny->lists || draw(tiny, 4) ? tiny->value_next++ : 1 + (int64_t)draw(tiny, 3);
        if (!tiny->lists && dice == 9) {
            op->action = HISTORY_OP_CAS;
            op->expects_absent = draw(tiny, 3) == 0;
            if (!op->expects_absent)
                op->expected = 1 + (int64_t)draw(tiny, (uint64_t)tiny->value_next);
        } else if (!tiny->lists && dice == 8) {
            op->action = HISTORY_OP_DELETE;
        }
    }
    record(tiny, process, HISTORY_INVOKE);
    tiny->busy[process] = true;
    tiny->applied[process] = tiny->refused[process] = false;
    tiny->invoked_count++;
}

static void tiny_read(struct tiny *tiny, const struct state *state, struct history_op *op)
{
    const int64_t *list = state->lists[op->key];
    uint32_t count = state->counts[op->key];
    if (!tiny->lists) {
        op->found = count ? HISTORY_NUMBER : HISTORY_NOTHING;
        op->value = list[0];
        if (draw(tiny, 24) == 0) {
            op->found = count ? HISTORY_NOTHING : HISTORY_NUMBER;
            op->value = 1;
        }
        if (count && draw(tiny, 12) == 0)
            op->value = 1 + (int64_t)draw(tiny, (uint64_t)tiny->value_next);
        return;
    }
    int64_t *memory = tiny->memory[tiny->memory_count++];
    memcpy(memory, list, count * sizeof *list);
    if (count && draw(tiny, 12) == 0)
        count--;
    op->found = HISTORY_LIST;
    op->list = memory;
    op->list_count = count;
}

static void tiny_apply(struct tiny *tiny, uint32_t process)
{
    struct state before = tiny->state;
    tiny->applied[process] = true;
    for (uint32_t i = 0; i < tiny->ops_count[process]; i++) {
        struct history_op *op = &tiny->ops[process][i];
        struct history_event event = {.ops = op, .ops_count = 1};
        if (op->action == HISTORY_OP_READ)
            tiny_read(tiny, &tiny->state, op);
        else if (!apply(&tiny->state, &event, true))
            tiny->refused[process] = true;
    }
    if (tiny->refused[process])
        tiny->state = before;
}

static void tiny_step(struct tiny *tiny)
{
    uint32_t process = (uint32_t)draw(tiny, PROCESSES_COUNT);
    if (!tiny->busy[process]) {
        if (tiny->invoked_count < OPERATIONS_COUNT)
            tiny_invoke(tiny, process);
    } else if (draw(tiny, 12) == 0) {
        record(tiny, process, HISTORY_INFO); /* where it is applied or where it is not */
        tiny->busy[process] = false;
        tiny->ids[process] += PROCESSES_COUNT;
    } else if (!tiny->applied[process]) {
        tiny_apply(tiny, process);
    } else {
        bool fails = tiny->refused[process] || draw(tiny, 40) == 0;
        record(tiny, process, fails ? HISTORY_FAIL : HISTORY_OK);
        tiny->busy[process] = false;
    }
}

static struct history *tiny_run(uint64_t seed, bool lists)
{
    struct tiny tiny = {.lists = lists, .value_next = 1, .history = history_new()};
    random_init(&tiny.random, seed);
    for (uint32_t i = 0; i < PROCESSES_COUNT; i++)
        tiny.ids[i] = i;
    for (int step = 0; step < 80; step++)
        tiny_step(&tiny);
    return tiny.history;
}

static void print_history(const struct history *history)
{
    for (size_t i = 0; i < history_events_count(history); i++)
        cr_assert_eq(history_write_event(stderr, i, history_event(history, i)), OST_OK);
}

Test(check_exhaustive, registers_are_judged_as_the_definition_does)
{
    uint32_t good_count = 0, bad_count = 0;
    for (uint64_t seed = 1; seed <= 30000; seed++) {
        struct history *history = tiny_run(seed, false);
        struct check_result result;
        register_check(history, NULL, &result);
        bool good = explains(history, 0, &(struct state){0});
        if (good != (result.verdict == CHECK_OK))
            print_history(history);
        cr_assert_eq(good, result.verdict == CHECK_OK, "seed %lu: %s: %s", seed, result.names,
                     result.explanation);
        good_count += good;
        bad_count += !good;
        history_free(history);
    }
    cr_assert_gt(good_count, 3000);
    cr_assert_gt(bad_count, 3000);
}

/* A violation is never claimed where there is none. The other way, dependencies could miss what
 * only shows in orders that no read fixed; in histories as small as these nothing is missed. */
Test(check_exhaustive, lists_are_judged_as_the_definition_does)
{
    uint32_t good_count = 0, bad_count = 0, missed_count = 0;
    for (uint64_t seed = 1; seed <= 30000; seed++) {
        struct history *history = tiny_run(seed, true);
        struct check_result result;
        serializability_check(history, NULL, &result);
        bool good = explains(history, 0, &(struct state){0});
        if (good && result.verdict != CHECK_OK)
            print_history(history);
        cr_assert(!good || result.verdict == CHECK_OK, "seed %lu: %s: %s", seed, result.names,
                  result.explanation);
        good_count += good;
        bad_count += !good;
        missed_count += !good && result.verdict == CHECK_OK;
        if (!good && result.verdict == CHECK_OK && missed_count < 3)
            print_history(history);
        history_free(history);
    }
    cr_log_info("%u good, %u bad, %u missed", good_count, bad_count, missed_count);
    cr_assert_gt(good_count, 3000);
    cr_assert_gt(bad_count, 3000);
    cr_assert_eq(missed_count, 0);
}
