/* What workloads ask for, and how it is recorded. */
#include "cmd/history_recorder.h"
#include "cmd/workload_generator.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

static void expect_equal_ops(const struct history_op *a, const struct history_op *b)
{
    cr_assert_eq(a->action, b->action);
    cr_assert_eq(a->key, b->key);
    cr_assert_eq(a->value, b->value);
    cr_assert_eq(a->expected, b->expected);
}

Test(workload, a_seed_gives_the_same_operations)
{
    for (int kind = 0; kind < 2; kind++) {
        struct workload_generator one, two;
        workload_generator_init(&one, (enum workload_kind)kind, 10, 5);
        workload_generator_init(&two, (enum workload_kind)kind, 10, 5);
        for (int i = 0; i < 2000; i++) {
            struct history_op a[WORKLOAD_OPS_COUNT_MAX], b[WORKLOAD_OPS_COUNT_MAX];
            uint32_t count = workload_generator_next(&one, a);
            cr_assert_eq(workload_generator_next(&two, b), count);
            for (uint32_t op = 0; op < count; op++)
                expect_equal_ops(&a[op], &b[op]);
            if (a[0].action == HISTORY_OP_WRITE) {
                workload_generator_saw(&one, a[0].key, a[0].value);
                workload_generator_saw(&two, a[0].key, a[0].value);
            }
        }
        workload_generator_fini(&one);
        workload_generator_fini(&two);
    }
}

Test(workload, lists_are_appended_unique_values_and_never_too_many)
{
    enum { KEYS_MAX = 100000 };
    static uint32_t appends[KEYS_MAX], counts[WORKLOAD_OPS_COUNT_MAX + 1];
    struct workload_generator generator;
    workload_generator_init(&generator, WORKLOAD_LIST_APPEND, 10, 1);
    int64_t value_last = 0;
    uint64_t reads_count = 0, ops_count = 0, hot_count = 0;
    for (int i = 0; i < 20000; i++) {
        struct history_op ops[WORKLOAD_OPS_COUNT_MAX];
        uint32_t count = workload_generator_next(&generator, ops);
        cr_assert(count >= 1 && count <= WORKLOAD_OPS_COUNT_MAX);
        counts[count]++;
        for (uint32_t op = 0; op < count; op++, ops_count++) {
            cr_assert(ops[op].key >= 0 && ops[op].key < KEYS_MAX);
            hot_count += ops[op].key % 10 == 0;
            if (ops[op].action == HISTORY_OP_READ) {
                cr_assert_eq(ops[op].found, HISTORY_NOTHING);
                reads_count++;
                continue;
            }
            cr_assert_eq(ops[op].action, HISTORY_OP_APPEND);
            cr_assert_gt(ops[op].value, value_last);
            value_last = ops[op].value;
            cr_assert_leq(++appends[ops[op].key], WORKLOAD_LIST_COUNT_MAX);
        }
    }
    for (uint32_t count = 1; count <= WORKLOAD_OPS_COUNT_MAX; count++)
        cr_assert_gt(counts[count], 3000u);
    cr_assert(reads_count > ops_count * 4 / 10 && reads_count < ops_count * 6 / 10);
    cr_assert_gt(hot_count, ops_count / 5); /* of ten keys the first has more than its share */
    cr_assert_lt(hot_count, ops_count / 2);
    workload_generator_fini(&generator);
}

/* One client and a model: every cas expects what was seen last. */
Test(workload, a_cas_expects_what_was_seen)
{
    enum { KEYS_MAX = 10000 };
    static int64_t values[KEYS_MAX];
    uint64_t actions[4] = {0};
    struct workload_generator generator;
    workload_generator_init(&generator, WORKLOAD_REGISTER, 4, 2);
    for (int i = 0; i < 20000; i++) {
        struct history_op ops[WORKLOAD_OPS_COUNT_MAX];
        cr_assert_eq(workload_generator_next(&generator, ops), 1);
        cr_assert(ops[0].key >= 0 && ops[0].key < KEYS_MAX);
        actions[ops[0].action]++;
        if (ops[0].action == HISTORY_OP_CAS)
            cr_assert_eq(ops[0].expected, values[ops[0].key]);
        if (ops[0].action != HISTORY_OP_READ)
            values[ops[0].key] = ops[0].value;
        if (values[ops[0].key] != 0)
            workload_generator_saw(&generator, ops[0].key, values[ops[0].key]);
    }
    cr_assert_gt(actions[HISTORY_OP_READ], 7000u);
    cr_assert_gt(actions[HISTORY_OP_WRITE], 5000u);
    cr_assert_gt(actions[HISTORY_OP_CAS], 5000u);
    cr_assert_eq(actions[HISTORY_OP_APPEND], 0u);
    workload_generator_fini(&generator);
}

Test(workload, what_is_recorded_reads_back)
{
    char path[] = "workload-test-XXXXXX";
    char why[HISTORY_WHY_BYTES] = "";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    struct history_recorder *recorder;
    cr_assert_eq(history_recorder_open(path, &recorder, why), OST_OK, "%s", why);
    int64_t list[] = {7};
    struct history_op ops[] = {{.action = HISTORY_OP_APPEND, .key = 3, .value = 7},
                               {.action = HISTORY_OP_READ, .key = 3}};
    struct history_event event = {
        .type = HISTORY_INVOKE, .function = HISTORY_TXN, .process = 4, .ops = ops, .ops_count = 2};
    history_recorder_add(recorder, &event);
    ops[1].found = HISTORY_LIST;
    ops[1].list = list;
    ops[1].list_count = 1;
    event.type = HISTORY_OK;
    history_recorder_add(recorder, &event);
    cr_assert_eq(history_recorder_events_count(recorder), 2);
    cr_assert_eq(history_recorder_close(recorder, why), OST_OK, "%s", why);

    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    struct history *history = history_new();
    cr_assert_eq(history_read_file(history, file, path, why), OST_OK, "%s", why);
    fclose(file);
    unlink(path);
    cr_assert_eq(history_operations_count(history), 1);
    const struct history_operation *operation = history_operation(history, 0);
    cr_assert_eq(history_outcome(operation), HISTORY_OK);
    cr_assert_eq(operation->completion->process, 4);
    cr_assert_geq(operation->completion->time_ns, operation->invoke->time_ns);
    cr_assert_eq(operation->completion->ops[1].list[0], 7);
    history_free(history);
}

Test(workload, a_history_that_cannot_be_written_is_refused)
{
    char why[HISTORY_WHY_BYTES] = "";
    struct history_recorder *recorder;
    cr_assert_eq(history_recorder_open("/nowhere/history", &recorder, why), OST_IO);
    cr_assert_not_null(strstr(why, "/nowhere/history"));
    /* Nobody notices a full disk until the close. */
    cr_assert_eq(history_recorder_open("/dev/full", &recorder, why), OST_OK);
    struct history_event event = {.type = HISTORY_INVOKE, .function = HISTORY_READ};
    history_recorder_add(recorder, &event);
    cr_assert_eq(history_recorder_close(recorder, why), OST_IO);
    cr_assert_not_null(strstr(why, "/dev/full"));
}
