/* Generated transactions on three real stores while leaders are killed: what every client saw must
 * be explained by one order of all transactions that keeps to real time. */
#include "cmd/workload.h"
#include "tests/check/bank_check.h"
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"
#include "world.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_PATH "workload-cluster-test-history.jsonl"
#define SOME_MORE    300u

static struct world world;

static void init(void)
{
    world_init(&world);
}

static void fini(void)
{
    world_fini(&world);
}

TestSuite(workload_cluster, .init = init, .fini = fini, .timeout = 120);

static void await_ok(struct workload *workload, uint64_t more_count)
{
    static struct workload_statistics statistics;
    char why[CLUSTER_WHY_BYTES] = "";
    workload_read_statistics(workload, false, &statistics);
    uint64_t goal = statistics.ok_count + more_count;
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    while (statistics.ok_count < goal) {
        cr_assert_eq(workload_error(workload, why), OST_OK, "%s", why);
        cr_assert_eq(cluster_check(world.cluster, why), OST_OK, "%s", why);
        cr_assert_lt(bank_now_ns(), deadline_ns, "no progress: %" PRIu64 " of %" PRIu64,
                     statistics.ok_count, goal);
        world_sleep_ms(1);
        workload_read_statistics(workload, false, &statistics);
    }
}

/* Runs until the leader of each group has been killed and has come back; free the history. */
static struct history *history_under_kills(enum workload_kind kind)
{
    char why[WORKLOAD_WHY_BYTES] = "";
    char history_why[HISTORY_WHY_BYTES] = "";
    struct workload *workload;
    struct workload_options options;
    workload_options_default(kind, &options);
    options.optimistic_percent = 20;
    world_open(&world);
    cr_assert_eq(history_recorder_open(HISTORY_PATH, &options.history, history_why), OST_OK, "%s",
                 history_why);
    cr_assert_eq(workload_start(world.client, &options, &workload, why), OST_OK, "%s", why);
    await_ok(workload, SOME_MORE);
    for (uint64_t group = 0; group <= 2; group++) {
        uint32_t leader = world_await_leader(&world, group);
        cluster_kill(world.cluster, leader);
        await_ok(workload, SOME_MORE); /* the other two go on */
        world_restart(&world, leader);
        await_ok(workload, SOME_MORE);
    }
    cr_assert_eq(workload_stop(workload, WORLD_TIMEOUT_MS, why), OST_OK, "%s", why);
    workload_free(workload);
    cr_assert_eq(history_recorder_close(options.history, history_why), OST_OK, "%s", history_why);

    FILE *file = fopen(HISTORY_PATH, "r");
    cr_assert_not_null(file);
    struct history *history = history_new();
    cr_assert_eq(history_read_file(history, file, HISTORY_PATH, history_why), OST_OK, "%s",
                 history_why);
    fclose(file);
    /* Whatever was asked has an end, be it that nobody knows. */
    for (size_t i = 0; i < history_operations_count(history); i++)
        cr_assert_not_null(history_operation(history, i)->completion);
    return history;
}

static void expect_ok(struct history *history, const struct check_result *result)
{
    cr_assert_eq(result->verdict, CHECK_OK, "%s: %s (%s is kept)", result->names,
                 result->explanation, HISTORY_PATH);
    cr_assert_gt(result->judged_count, 7 * SOME_MORE);
    remove(HISTORY_PATH);
    history_free(history);
}

Test(workload_cluster, lists_are_strictly_serializable_while_leaders_are_killed)
{
    static struct check_result result;
    struct history *history = history_under_kills(WORKLOAD_LIST_APPEND);
    serializability_check(history, NULL, &result);
    expect_ok(history, &result);
}

Test(workload_cluster, registers_are_linearizable_while_leaders_are_killed)
{
    static struct check_result result;
    struct history *history = history_under_kills(WORKLOAD_REGISTER);
    register_check(history, NULL, &result);
    expect_ok(history, &result);
}
