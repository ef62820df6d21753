/* world.h: a cluster, a client and a bank for one test. Everything ends with the test, whatever it
 * did: call world_fini from the suite's fini. */
#pragma once

#include "client/ostraka.h"
#include "cmd/bank.h"
#include "cmd/cluster.h"

#include <stdbool.h>
#include <stdint.h>

#define WORLD_TIMEOUT_MS 30000u /* how long anything that must happen may take */
#define WORLD_DIRECTORY                                                                            \
    "cluster-test-data" /* in the directory where the tests run: a real disk                       \
                         */

struct world {
    struct cluster *cluster;
    struct ost_client *client;
    struct bank_options options;
    struct bank *bank;
    struct bank_audit before;
};

/* Starts three stores with two groups, half of the accounts in each. No thread is started yet. */
void world_init(struct world *world);
/* The same with so many stores, and more flags for each (cluster.h). */
void world_init_stores(struct world *world, uint32_t stores_count, const char *const *flags);
/* Kills and removes everything. */
void world_fini(struct world *world);
/* Opens the client and waits for every group's leader. */
void world_open(struct world *world);
/* Loads the accounts. */
void world_load(struct world *world);
/* Opens, loads, audits, starts the transfers. */
void world_start_bank(struct world *world);
uint64_t world_acknowledged_count(struct world *world);
/* Waits until so many more transfers are acknowledged than when it was called; fails the test when
 * no store makes progress, or when one ended by itself. */
void world_await_transfers(struct world *world, uint64_t more_count);
/* Waits for the leader of a group; never 0. */
uint32_t world_await_leader(struct world *world, uint64_t group);
void world_restart(struct world *world, uint32_t store);
/* Stops the transfers, reads all accounts, and asserts that the money and every transfer are there.
 */
void world_assert_verdict(struct world *world);
void world_sleep_ms(uint32_t ms);
