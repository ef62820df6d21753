/* A group that has lost its majority takes nobody along: what others have goes on, whatever is
 * asked of it. Real processes. */
#include "world.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define STORES_COUNT 6u
#define WRITES_COUNT 200u
#define LOST_TRIES   3u
#define LOST_GROUP   2u
/* With all of their group's stores alive, nobody waits for an election. */
#define WRITE_NS_MAX UINT64_C(1000000000)

static struct world world;

static void init(void)
{
    static const char *const flags[] = {"--replica-changes", "0",
                                        NULL}; /* they stay where they are */
    world_init_stores(&world, STORES_COUNT, flags);
    world_open(&world);
}

static void fini(void)
{
    world_fini(&world);
}

TestSuite(half_cluster, .init = init, .fini = fini, .timeout = 120);

static bool has_replica(const struct ost_group_info *group, uint64_t store)
{
    for (uint32_t r = 0; r < group->replicas_count; r++)
        if (group->replicas[r].store == store)
            return true;
    return false;
}

/* One step towards replicas on `first`, `first` + 1 and `first` + 2. True: they are there. */
static bool gather(const struct ost_group_info *group, uint64_t first)
{
    uint64_t add = 0, remove = 0;
    char why[256] = "";
    if (group->changing)
        return false;
    for (uint64_t store = first; store < first + 3; store++)
        if (!has_replica(group, store))
            add = store;
    for (uint32_t r = 0; r < group->replicas_count; r++)
        if (group->replicas[r].store < first || group->replicas[r].store >= first + 3)
            remove = group->replicas[r].store;
    if (!add && !remove)
        return true;
    int status = ost_change_replicas(world.client, group->group, group->epoch, add, remove, why);
    cr_assert(status == OST_OK || status == OST_CONFLICT || ost_status_is_retryable(status), "%s",
              why);
    return false;
}

/* The shard master and group 1 on stores 1 to 3, group 2 on 4 to 6. */
static void part_groups(void)
{
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    for (bool is_done = false; !is_done;) {
        struct ost_cluster_info info;
        cr_assert_lt(bank_now_ns(), deadline_ns);
        world_sleep_ms(20);
        if (ost_cluster_info(world.client, &info) != OST_OK)
            continue;
        cr_assert_eq(info.groups_count, 2);
        is_done = gather(&info.master, 1);
        is_done = gather(&info.groups[0], 1) && is_done;
        is_done = gather(&info.groups[1], 4) && is_done;
        ost_cluster_info_free(&info);
    }
    world_await_leader(&world, 1);
    world_await_leader(&world, 2);
}

static void lost_done(void *context, const struct ost_result *result)
{
    atomic_uint *refused_count = context;
    cr_expect_neq(result->status, OST_OK);
    atomic_fetch_add(refused_count, 1);
}

Test(half_cluster, the_ranges_of_other_groups_go_on)
{
    char lost_key[BANK_KEY_BYTES], kept_key[BANK_KEY_BYTES], number[16];
    part_groups();
    bank_key(0, kept_key);
    bank_key(world.options.accounts_count - 1, lost_key);
    uint64_t group;
    cr_assert_eq(ost_group_of_key(world.client, ost_string(lost_key), &group), OST_OK);
    cr_assert_eq(group, LOST_GROUP);
    cr_assert_eq(ost_put(world.client, ost_string(lost_key), ost_string("before")), OST_OK);
    cr_assert_eq(ost_put(world.client, ost_string(kept_key), ost_string("before")), OST_OK);
    cluster_kill(world.cluster, 5);
    cluster_kill(world.cluster, 6);

    /* Some ask for what is lost all the while. */
    static atomic_uint refused_count;
    for (uint32_t i = 0; i < LOST_TRIES; i++)
        cr_assert_eq(ost_put_async(world.client, ost_string(lost_key), ost_string("lost"),
                                   lost_done, &refused_count),
                     OST_OK);
    for (uint32_t i = 0; i < WRITES_COUNT; i++) {
        uint64_t began_ns = bank_now_ns();
        snprintf(number, sizeof number, "%u", i);
        cr_assert_eq(ost_put(world.client, ost_string(kept_key), ost_string(number)), OST_OK);
        cr_assert_lt(bank_now_ns() - began_ns, WRITE_NS_MAX);
        world_sleep_ms(10);
    }
    struct ost_value value;
    cr_assert_eq(ost_get(world.client, ost_string(kept_key), &value), OST_OK);
    cr_assert_eq(value.bytes_count, strlen(number));
    cr_assert_eq(memcmp(value.data, number, value.bytes_count), 0);
    ost_value_free(&value);

    /* So do changes of its ranges; what is lost comes to an end for those who asked. */
    uint64_t change, deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    char at[BANK_KEY_BYTES], why[256] = "";
    bank_key(10, at);
    cr_assert_eq(ost_split_range(world.client, ost_string(at), &change, why), OST_OK, "%s", why);
    while (atomic_load(&refused_count) < LOST_TRIES) {
        cr_assert_lt(bank_now_ns(), deadline_ns);
        world_sleep_ms(10);
    }

    /* Its stores come back, and nothing was forgotten. */
    world_restart(&world, 5);
    world_restart(&world, 6);
    world_await_leader(&world, LOST_GROUP);
    int status;
    while ((status = ost_get(world.client, ost_string(lost_key), &value)) != OST_OK)
        cr_assert_lt(bank_now_ns(), deadline_ns, "%s", ost_status_text(status));
    cr_expect(value.bytes_count == strlen("before") || value.bytes_count == strlen("lost"));
    ost_value_free(&value);
    struct ost_cluster_info info;
    cr_assert_eq(ost_cluster_info(world.client, &info), OST_OK);
    cr_expect_eq(info.ranges_count, 3);
    ost_cluster_info_free(&info);
}
