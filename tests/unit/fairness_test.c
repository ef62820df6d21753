/* One key that everybody wants: 256 transactions at a time read it for update and write it, each
 * again as soon as it is done, as ost_run does it. Nobody starves: the slowest gets a third of the
 * mean at least. */
#include "base/memory.h"
#include "tests/support/commit_world.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define PROCESSES 8u
#define EACH      32u
#define RUNNERS   (PROCESSES * EACH)

struct crowd {
    struct commit_world *world;
    enum lock_mode mode;
    bool is_over_groups; /* a key of its own in the other group as well */
    bool is_stopping;
    struct random random;
    uint64_t done_count, refused_count, unknown_count;
};

struct runner {
    struct crowd *crowd;
    struct client_process *client;
    uint32_t number;
    struct core_txn *txn;
    bool is_handed_over;
    struct txn_age age;
    uint32_t tries_count;
    uint64_t count;
    nanoseconds_t begun_ns, longest_ns;
};

static void try_begin(struct runner *runner);

static void rested(struct operation *operation)
{
    try_begin(operation->done_context[0]);
}

/* As ost_run does. */
static void try_again_later(struct runner *runner)
{
    uint64_t most_ms = UINT64_C(1) << (runner->tries_count < 6 ? runner->tries_count : 6);
    runner->tries_count++;
    struct operation *operation =
        operation_new(OPERATION_AFTER, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->delay_ms = (uint32_t)random_below(&runner->crowd->random, most_ms + 1);
    client_process_submit(runner->client, operation, rested, runner);
}

static void try_ended(struct runner *runner, int status)
{
    struct crowd *crowd = runner->crowd;
    runner->age = *coordinator_age(core_txn_coordinator(runner->txn));
    client_process_drop_txn(runner->client, &runner->txn, runner->is_handed_over);
    if (ost_status_is_retryable(status)) {
        crowd->refused_count++;
        try_again_later(runner);
        return;
    }
    cr_assert(status == OST_OK || status == OST_MAYBE_COMMITTED, "%s", ost_status_name(status));
    crowd->unknown_count += status != OST_OK;
    crowd->done_count += status == OST_OK;
    runner->count++;
    nanoseconds_t took_ns = crowd->world->sim.schedule.now_ns - runner->begun_ns;
    if (took_ns > runner->longest_ns)
        runner->longest_ns = took_ns;
    runner->begun_ns = crowd->world->sim.schedule.now_ns;
    runner->age = (struct txn_age){0};
    runner->tries_count = 0;
    if (!crowd->is_stopping)
        try_begin(runner);
}

static void committed(struct operation *operation)
{
    try_ended(operation->done_context[0], operation->status);
}

static void put(struct runner *runner, const char *key, uint64_t number)
{
    const char *why = NULL;
    struct write write = {
        .kind = WRITE_PUT, .key = bytes_of_string(key), .value = bytes_of(&number, sizeof number)};
    int status = coordinator_write(core_txn_coordinator(runner->txn), &write, &why);
    cr_assert(status == OST_OK || ost_status_is_retryable(status));
}

static void read_done(struct operation *operation)
{
    struct runner *runner = operation->done_context[0];
    uint64_t number = 0;
    if (operation->status != OST_OK && operation->status != OST_NOT_FOUND) {
        try_ended(runner, operation->status);
        return;
    }
    if (operation->status == OST_OK)
        memcpy(&number, operation->result_value.data, sizeof number);
    put(runner, "a-hot", number + 1);
    char own[16];
    snprintf(own, sizeof own, "b-%03u", runner->number);
    if (runner->crowd->is_over_groups)
        put(runner, own, number + 1);
    struct operation *commit =
        operation_new(OPERATION_TXN_COMMIT, bytes_of(NULL, 0), bytes_of(NULL, 0));
    commit->txn = runner->txn;
    client_process_submit(runner->client, commit, committed, runner);
}

static void try_begin(struct runner *runner)
{
    runner->txn = core_txn_new(client_core_coordinator_new(runner->client->core));
    runner->is_handed_over = true;
    struct operation *read =
        operation_new(OPERATION_TXN_GET, bytes_of_string("a-hot"), bytes_of(NULL, 0));
    read->txn = runner->txn;
    read->lock_mode = runner->crowd->mode;
    read->age = runner->age;
    client_process_submit(runner->client, read, read_done, runner);
}

static void crowd_runs(enum lock_mode mode, bool is_over_groups, uint32_t seconds)
{
    struct crowd crowd = {.world = commit_world_new_crowded(1, PROCESSES),
                          .mode = mode,
                          .is_over_groups = is_over_groups};
    random_init(&crowd.random, 1);
    struct runner *runners = memory_alloc_zeroed(RUNNERS, sizeof runners[0]);
    for (uint32_t number = 0; number < RUNNERS; number++) {
        struct runner *runner = &runners[number];
        runner->crowd = &crowd;
        runner->client = &crowd.world->sim.clients[2 + number % PROCESSES];
        runner->number = number;
        runner->begun_ns = crowd.world->sim.schedule.now_ns;
        try_begin(runner);
    }
    commit_world_run(crowd.world, seconds * 1000);
    uint64_t sum = 0, least = UINT64_MAX, most = 0;
    nanoseconds_t longest_ns = 0;
    for (uint32_t number = 0; number < RUNNERS; number++) {
        sum += runners[number].count;
        least = runners[number].count < least ? runners[number].count : least;
        most = runners[number].count > most ? runners[number].count : most;
        if (runners[number].longest_ns > longest_ns)
            longest_ns = runners[number].longest_ns;
    }
    double mean = (double)sum / RUNNERS;
    char figures[160];
    snprintf(figures, sizeof figures,
             "shares: least %lu, mean %.1f, most %lu; longest %lu ms; %lu refused, %lu unknown",
             least, mean, most, longest_ns / NS_PER_MS, crowd.refused_count, crowd.unknown_count);
    if (getenv("FAIRNESS_FIGURES"))
        fprintf(stderr, "%s\n", figures);
    cr_assert_geq(mean, 3.0, "%s", figures); /* else shares say nothing */
    cr_assert_geq((double)least, mean / 3, "%s", figures);
    crowd.is_stopping = true;
    commit_world_run(crowd.world, 20000);
    for (uint32_t number = 0; number < RUNNERS; number++)
        cr_assert_null(runners[number].txn, "%u has not ended", number);
    free(runners);
    commit_world_end(crowd.world);
}

Test(fairness, one_hot_key)
{
    crowd_runs(LOCK_EXCLUSIVE, false, 30);
}

Test(fairness, one_hot_key_of_transactions_over_two_groups)
{
    crowd_runs(LOCK_EXCLUSIVE, true, 30);
}

/* Read with a shared lock and then written: all hold it, and each upgrade wounds the others. */
Test(fairness, one_hot_key_by_upgrades)
{
    crowd_runs(LOCK_SHARED, false, 10);
}
