/* S7 under everything that must not show in it: slices of any size, stalls, crashes with rows ahead
 * of the checkpoint, snapshots. */
#include "tests/support/kv_world.h"

#include "base/sometimes.h"
#include "proto/write_set.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define STORES_COUNT   3u
#define INDEX_MAX      20000u
#define ROUNDS_COUNT   1200
#define SETTLE_MS_MAX  20000u
#define KEYS_COUNT     6u
#define SEEDS_COUNT    6u
#define SNAPSHOT_ROUND 700

static struct sites sites;

static void uninstall(void)
{
    site_hook_set(NULL);
}

struct watch {
    struct kv_world *world;
    struct random random;
    uint64_t sequence;
    uint64_t chains[INDEX_MAX]; /* by applied index; 0: not seen */
    uint64_t compared_count;
};
static struct watch watch;

/* Whoever has applied up to an index has the hash that the first one had there. */
static void chains_compare(void)
{
    struct kv_world *world = watch.world;
    for (store_id_t id = 1; id <= STORES_COUNT; id++) {
        struct kv_applied applied;
        if (!world->stores[id].is_up)
            continue;
        cr_assert_eq(kv_server_applied(world->stores[id].kv, &applied, 1), 1);
        cr_assert_lt(applied.index, INDEX_MAX);
        if (applied.index == 0)
            continue;
        uint64_t *chain = &watch.chains[applied.index];
        watch.compared_count += *chain != 0;
        if (*chain == 0)
            *chain = applied.chain_hash;
        cr_assert_eq(*chain, applied.chain_hash, "store %lu at index %lu", id, applied.index);
    }
}

static void run(uint32_t ms)
{
    for (uint32_t passed = 0; passed < ms; passed++) {
        kv_world_run(watch.world, 1);
        chains_compare();
    }
}

/* Whether it is done, refused or lost makes no difference here. */
static void send_write(void)
{
    struct kv_world *world = watch.world;
    store_id_t leader = kv_world_leader_now(world, 1);
    if (leader == 0)
        return;
    char key[8];
    char value[24];
    snprintf(key, sizeof(key), "k%lu", random_below(&watch.random, KEYS_COUNT));
    snprintf(value, sizeof(value), "%lu", watch.sequence);
    struct buffer set = BUFFER_INIT;
    struct write write = {
        .kind = WRITE_PUT, .key = bytes_of_string(key), .value = bytes_of_string(value)};
    write_set_append(&set, &write);
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    /* Now and then the same one comes again. */
    txn.sequence = random_below(&watch.random, 5) > 0 ? ++watch.sequence : watch.sequence;
    Ostraka__TxnAge age = OSTRAKA__TXN_AGE__INIT;
    age.timestamp = age.sequence = txn.sequence;
    age.client = txn.client;
    Ostraka__PrepareRequest request = OSTRAKA__PREPARE_REQUEST__INIT;
    request.group = 1;
    request.n_ranges = 1;
    request.ranges = ranges;
    request.txn = &txn;
    request.age = &age;
    request.deadline = kv_world_deadline(world, 200);
    request.anchor = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    /* What is prepared and never committed is aborted past its deadline. */
    request.is_home = random_below(&watch.random, 10) == 0;
    request.one_group = !request.is_home;
    if (watch.sequence > 0)
        (void)kv_world_send(world, leader, FRAME_PREPARE, &request.base, buffer_bytes(&set));
    buffer_fini(&set);
}

static void crash_one(void)
{
    store_id_t id = 1 + random_below(&watch.random, STORES_COUNT);
    if (random_below(&watch.random, 2) == 0)
        kv_world_flush(watch.world, id);
    run((uint32_t)random_below(&watch.random, 20));
    if (random_below(&watch.random, 2) == 0) /* rows without a checkpoint */
        cr_assert_eq(store_flush(watch.world->stores[id].store), OST_OK);
    kv_world_crash(watch.world, id);
    run((uint32_t)random_below(&watch.random, 300));
    kv_world_start(watch.world, id);
    kv_world_create_group(watch.world, 1); /* a row that was never flushed is made again */
}

/* One store is away while the others cut their logs: it comes back by a snapshot. */
static void snapshot_one(void)
{
    store_id_t id = kv_world_leader(watch.world, 1) % STORES_COUNT + 1;
    uint64_t before = watch.world->stores[id].metrics.snapshots_installed_count;
    watch.world->isolated[id] = true;
    for (int round = 0; round < 20; round++) {
        send_write();
        run(10);
    }
    for (uint32_t tries = 0; tries < 100; tries++) {
        sites_set_rate(&sites, RARE_LOG_CUT_AHEAD_OF_FOLLOWERS, 1000);
        for (store_id_t other = 1; other <= STORES_COUNT; other++)
            if (other != id)
                kv_world_flush(watch.world, other);
        watch.world->isolated[id] = false;
        run(200);
        if (watch.world->stores[id].metrics.snapshots_installed_count > before)
            return;
        watch.world->isolated[id] = true;
        for (int round = 0; round < 20; round++) {
            send_write();
            run(10);
        }
    }
    cr_assert_fail("no snapshot was installed");
}

static bool all_are_equal(void)
{
    struct kv_applied first, applied;
    cr_assert_eq(kv_server_applied(watch.world->stores[1].kv, &first, 1), 1);
    for (store_id_t id = 2; id <= STORES_COUNT; id++) {
        cr_assert_eq(kv_server_applied(watch.world->stores[id].kv, &applied, 1), 1);
        if (applied.index != first.index)
            return false;
        cr_assert_eq(applied.chain_hash, first.chain_hash);
    }
    return first.index > 100;
}

static void story(uint64_t seed)
{
    memset(&watch, 0, sizeof(watch));
    random_init(&watch.random, seed);
    site_hook_set(NULL); /* the world is built in peace */
    watch.world = kv_world_new(STORES_COUNT);
    kv_world_create_group(watch.world, 1);
    kv_world_assign(watch.world, 1, "", "", 1);
    sites_init(&sites, seed);
    sites_set_rate(&sites, RARE_APPLY_ONE_ENTRY, 100);
    sites_set_rate(&sites, RARE_SLICE_ONE_ENTRY, 250);
    sites_set_rate(&sites, RARE_STORE_STALLED, 50);
    sites_set_rate(&sites, RARE_CHECKPOINT_SKIPPED, 250);
    sites_set_rate(&sites, RARE_LOG_SEGMENT_LEFT_EARLY, 0); /* the world's disks are small */
    site_hook_set(&sites.hook);
    for (int round = 0; round < ROUNDS_COUNT; round++) {
        for (uint64_t count = random_below(&watch.random, 4); count > 0; count--)
            send_write();
        run(1 + (uint32_t)random_below(&watch.random, 5));
        if (random_below(&watch.random, 100) == 0)
            crash_one();
        if (round == SNAPSHOT_ROUND)
            snapshot_one();
    }
    sites_set_quiet(&sites, true);
    for (uint32_t waited = 0; waited < SETTLE_MS_MAX && !all_are_equal(); waited += 10)
        run(10);
    cr_assert(all_are_equal(), "seed %lu: replicas stay apart", seed);
    site_hook_set(NULL);
    kv_world_free(watch.world);
}

Test(kv_chain, is_equal_on_all_replicas_whatever_happens, .fini = uninstall)
{
    struct sites total;
    sites_init(&total, 0);
    for (uint64_t seed = 1; seed <= SEEDS_COUNT; seed++) {
        story(seed);
        sites_add_counts(&total, &sites);
        cr_assert_gt(watch.compared_count, 1000);
    }
    /* What this test is about has happened. */
    static const enum site wanted[] = {
        RARE_APPLY_ONE_ENTRY,     RARE_SLICE_ONE_ENTRY, RARE_STORE_STALLED,
        RARE_CHECKPOINT_SKIPPED,  COVER_APPLY_STALLED,  COVER_SLICE_WRITTEN_AGAIN,
        COVER_SNAPSHOT_INSTALLED, COVER_OUTCOME_HIDDEN,
    };
    for (size_t index = 0; index < sizeof(wanted) / sizeof(wanted[0]); index++)
        cr_expect(sites_has_fired(&total, wanted[index]), "%s never happened",
                  site_info(wanted[index])->name);
}
