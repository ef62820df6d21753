#include "world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void world_sleep_ms(uint32_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

void world_init(struct world *world)
{
    world_init_stores(world, 3, NULL);
}

void world_init_stores(struct world *world, uint32_t stores_count, const char *const *flags)
{
    static char split[BANK_KEY_BYTES];
    char why[CLUSTER_WHY_BYTES] = "";
    memset(world, 0, sizeof *world);
    bank_options_default(&world->options);
    world->options.accounts_count = 200;
    world->options.clients_count = 32;
    struct cluster_options options;
    cluster_options_default(&options);
    options.program = OSTRAKAD_PATH;
    options.directory = WORLD_DIRECTORY;
    options.stores_count = stores_count;
    options.flags = flags;
    options.splits = bank_key(world->options.accounts_count / 2, split);
    cr_assert_eq(cluster_new(&options, &world->cluster, why), OST_OK, "%s", why);
}

void world_fini(struct world *world)
{
    char why[CLUSTER_WHY_BYTES];
    /* What still runs of the bank needs its stores to come to an end. */
    if (world->bank) {
        bank_stop(world->bank, 1000, why);
        bank_free(world->bank);
    }
    if (world->client)
        ost_close(world->client);
    cluster_free(world->cluster);
    memset(world, 0, sizeof *world);
}

void world_open(struct world *world)
{
    char why[CLUSTER_WHY_BYTES] = "";
    cr_assert_eq(cluster_open_client(world->cluster, WORLD_TIMEOUT_MS, &world->client, why), OST_OK,
                 "%s", why);
    cr_assert_eq(cluster_wait_ready(world->cluster, world->client, WORLD_TIMEOUT_MS, why), OST_OK,
                 "%s", why);
}

void world_load(struct world *world)
{
    char why[BANK_WHY_BYTES] = "";
    cr_assert_eq(bank_load(world->client, &world->options, WORLD_TIMEOUT_MS, why), OST_OK, "%s",
                 why);
    cr_assert_eq(bank_audit(world->client, &world->options, WORLD_TIMEOUT_MS, &world->before, why),
                 OST_OK, "%s", why);
    cr_assert_eq(world->before.balances_sum,
                 world->options.accounts_count * world->options.balance_initial);
    cr_assert_eq(world->before.transfers_sum, 0);
}

void world_start_bank(struct world *world)
{
    char why[BANK_WHY_BYTES] = "";
    world_open(world);
    world_load(world);
    cr_assert_eq(bank_start(world->client, &world->options, &world->bank, why), OST_OK, "%s", why);
}

uint64_t world_acknowledged_count(struct world *world)
{
    static struct bank_statistics statistics;
    bank_read_statistics(world->bank, false, &statistics);
    return statistics.acknowledged_count;
}

void world_await_transfers(struct world *world, uint64_t more_count)
{
    char why[CLUSTER_WHY_BYTES] = "";
    uint64_t goal = world_acknowledged_count(world) + more_count;
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    while (world_acknowledged_count(world) < goal) {
        cr_assert_eq(bank_error(world->bank, why), OST_OK, "%s", why);
        cr_assert_eq(cluster_check(world->cluster, why), OST_OK, "%s", why);
        cr_assert_lt(bank_now_ns(), deadline_ns, "no progress: %lu of %lu transfers",
                     (unsigned long)world_acknowledged_count(world), (unsigned long)goal);
        world_sleep_ms(1);
    }
}

uint32_t world_await_leader(struct world *world, uint64_t group)
{
    uint32_t leaders[3] = {0};
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    for (;;) {
        cluster_leaders(world->cluster, world->client, leaders, 3);
        if (leaders[group] != 0)
            return leaders[group];
        cr_assert_lt(bank_now_ns(), deadline_ns, "group %lu has no leader", (unsigned long)group);
        world_sleep_ms(5);
    }
}

void world_restart(struct world *world, uint32_t store)
{
    char why[CLUSTER_WHY_BYTES] = "";
    cr_assert_eq(cluster_start(world->cluster, store, why), OST_OK, "%s", why);
}

void world_assert_verdict(struct world *world)
{
    static struct bank_statistics statistics;
    struct bank_audit after;
    char why[CLUSTER_WHY_BYTES] = "";
    cr_assert_eq(bank_stop(world->bank, WORLD_TIMEOUT_MS, why), OST_OK, "%s", why);
    bank_read_statistics(world->bank, false, &statistics);
    bank_free(world->bank);
    world->bank = NULL;
    cr_assert_eq(bank_audit(world->client, &world->options, WORLD_TIMEOUT_MS, &after, why), OST_OK,
                 "%s", why);
    cr_assert_eq(bank_verdict(&world->before, &after, &statistics, NULL, why), OST_OK, "%s", why);
    cr_assert_gt(statistics.cross_group_count, 0);
    cr_assert_eq(cluster_check(world->cluster, why), OST_OK, "%s", why);
}
