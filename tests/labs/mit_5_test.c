/* mit_5_test.c: what of lab 5 of MIT's 6.5840 (a sharded key-value service) applies while ranges
 * stay where they are: TestStaticShards5B, and the concurrent and unreliable cases without their
 * Join and Leave. What moves shards (TestJoinLeave5B, TestSnapshot5B, TestMissChange5B, the
 * challenges, and the controller's own lab 5A) waits for moving ranges. */
#include "tests/labs/lab_kv.h"

#include <criterion/criterion.h>

#define SEEDS  5u
#define KEYS   12u
#define STORES 6u
#define GROUPS 3u

static void check_progress(struct lab_kv *kv, bool is_expected)
{
    for (uint32_t key = 0; key < KEYS; key++)
        lab_kv_begin(kv, key, LAB_APPEND, key);
    lab_kv_sleep(kv, 4000);
    for (uint32_t key = 0; key < KEYS; key++)
        cr_assert_eq(lab_kv_is_busy(kv, key), !is_expected, "seed %lu: key %u", kv->options.seed,
                     key);
}

/* TestStaticShards5B: keys lie in several groups, and each is served for as long as its group has a
 * majority. Every group has a replica at each store of a new cluster, so they lose it together. */
static void static_shards(struct lab_kv *kv)
{
    uint32_t groups = 0, victims[STORES / 2];
    for (uint32_t key = 0; key < KEYS; key++) {
        lab_kv_do(kv, key, LAB_PUT, key);
        groups |= 1u << lab_kv_group_of_key(kv, key);
    }
    cr_assert_eq(__builtin_popcount(groups), GROUPS);
    for (uint32_t i = 0; i < STORES / 2; i++)
        victims[i] = (uint32_t)(kv->options.seed + 2 * i) % STORES;
    for (uint32_t i = 0; i + 1 < STORES / 2; i++)
        lab_kv_crash(kv, victims[i]);
    check_progress(kv, true);
    lab_kv_crash(kv, victims[STORES / 2 - 1]);
    check_progress(kv, false);
    lab_kv_start(kv, victims[0]);
    for (uint32_t key = 0; key < KEYS; key++)
        lab_kv_wait(kv, key);
    for (uint32_t i = 1; i < STORES / 2; i++)
        lab_kv_start(kv, victims[i]);
}
Test(mit_5, static_shards)
{
    lab_kv_each_seed(static_shards,
                     (struct lab_kv_options){.stores_count = STORES,
                                             .groups_count = GROUPS,
                                             .clients_count = KEYS,
                                             .is_register = true},
                     2 * SEEDS);
}

/* TestConcurrent1-3 and TestUnreliable1-3 without moves: clients at all keys while one store after
 * the other goes away and comes back. */
static void concurrent(struct lab_kv *kv)
{
    lab_kv_loops_begin(kv);
    for (int i = 0; i < 6; i++) {
        uint32_t store = (uint32_t)lab_kv_random(kv, STORES);
        lab_kv_sleep(kv, 1000);
        lab_kv_crash(kv, store);
        lab_kv_sleep(kv, (uint32_t)lab_kv_random(kv, 2 * LAB_ELECTION_TIMEOUT_MS));
        lab_kv_start(kv, store);
    }
    lab_kv_loops_end(kv);
}
#define CONCURRENT(name, ...)                                                                      \
    Test(mit_5, name)                                                                              \
    {                                                                                              \
        lab_kv_each_seed(concurrent,                                                               \
                         (struct lab_kv_options){.stores_count = STORES,                           \
                                                 .groups_count = GROUPS,                           \
                                                 .clients_count = 10,                              \
                                                 .keys_count = 10,                                 \
                                                 .is_random = true,                                \
                                                 __VA_ARGS__},                                     \
                         SEEDS);                                                                   \
    }
CONCURRENT(concurrent, .is_register = true)
CONCURRENT(concurrent_lists, .is_register = false)
CONCURRENT(concurrent_with_snapshots, .is_register = true, .is_small = true)
CONCURRENT(unreliable, .is_register = true, .is_unreliable = true)
CONCURRENT(unreliable_lists, .is_unreliable = true)
CONCURRENT(unreliable_with_snapshots, .is_register = true, .is_unreliable = true, .is_small = true)

/* As lab 4's partitions, over several groups. */
static void partitions(struct lab_kv *kv)
{
    lab_kv_loops_begin(kv);
    for (int i = 0; i < 5; i++) {
        lab_kv_sleep(kv, LAB_ELECTION_TIMEOUT_MS + (uint32_t)lab_kv_random(kv, 200));
        lab_kv_partition_randomly(kv);
    }
    lab_kv_heal(kv);
    lab_kv_loops_end(kv);
}
Test(mit_5, partitions)
{
    lab_kv_each_seed(partitions,
                     (struct lab_kv_options){.stores_count = STORES,
                                             .groups_count = GROUPS,
                                             .clients_count = 10,
                                             .keys_count = 10,
                                             .is_register = true,
                                             .is_random = true},
                     SEEDS);
}
