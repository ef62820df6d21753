/* Which group comes next, and what its entry does. */
#include "shardmaster/master_groups.h"

#include "shardmaster/master.h"
#include "shardmaster/master_replicas.h"
#include "shardmaster/master_stores.h"

#include <criterion/criterion.h>

enum { STORES_MAX = 8 };

struct cluster {
    struct arena arena;
    Ostraka__Map *map;
    struct placement_store stores[STORES_MAX];
    struct placement_input input;
};

/* As a bootstrap leaves it, once its first replicas vote. */
static void begin(struct cluster *cluster, size_t stores_count, uint32_t groups_count)
{
    static Ostraka__StoreInfo infos[STORES_MAX];
    static const char *const addresses[STORES_MAX] = {"a:1", "b:1", "c:1", "d:1",
                                                      "e:1", "f:1", "g:1", "h:1"};
    *cluster = (struct cluster){.map = NULL};
    arena_init(&cluster->arena);
    for (size_t place = 0; place < stores_count; place++) {
        ostraka__store_info__init(&infos[place]);
        infos[place].id = place + 1;
        infos[place].address = (char *)(uintptr_t)addresses[place];
    }
    const struct master_options options = {.cluster_id = 7,
                                           .initial_stores = infos,
                                           .initial_stores_count = stores_count,
                                           .initial_groups_count = groups_count,
                                           .initial_replicas_count = 3};
    cluster->map = (Ostraka__Map *)(uintptr_t)master_bootstrap_map(&options, &cluster->arena);
    cluster->map->groups_per_1000_stores = (uint32_t)(groups_count * 1000 / stores_count);
    for (size_t place = 0; place < groups_count; place++)
        cr_assert(master_replicas_settled(cluster->map, place + 1, 1));
    for (size_t place = 0; place < STORES_MAX; place++)
        cluster->stores[place].is_live = true;
    cluster->input =
        (struct placement_input){.map = cluster->map, .stores = cluster->stores, .leaders = NULL};
}

static void joins(struct cluster *cluster, const char *address, const char *host)
{
    Ostraka__MasterCommand__StoreJoined joined = OSTRAKA__MASTER_COMMAND__STORE_JOINED__INIT;
    joined.store = cluster->map->n_stores + 1;
    joined.address = (char *)(uintptr_t)address;
    joined.host = (char *)(uintptr_t)host;
    joined.incarnation = 9;
    cr_assert(master_store_joined(cluster->map, &joined, &cluster->arena));
}

static void check_is_sound(const struct cluster *cluster)
{
    const char *why = NULL;
    cr_assert_eq(master_map_check(cluster->map, &why), OST_OK, "%s", why);
}

Test(master_groups, the_ratio_that_the_cluster_began_with_is_kept)
{
    for (size_t stores_count = 1; stores_count <= 5; stores_count++) {
        for (uint32_t groups_count = 1; groups_count <= 7; groups_count++) {
            struct cluster cluster;
            struct master_group_command command;
            begin(&cluster, stores_count, groups_count);
            cr_expect_not(master_groups_next(&cluster.input, &command), "%zu stores, %u groups",
                          stores_count, groups_count);
            joins(&cluster, "y:1", "");
            joins(&cluster, "z:1", "");
            while (master_groups_next(&cluster.input, &command)) {
                cr_assert(master_group_created(cluster.map, &command.command, &cluster.arena));
                check_is_sound(&cluster);
                cr_assert_not(master_groups_next(&cluster.input, &command), "G1");
                cr_assert(master_replicas_settled(cluster.map, cluster.map->next_group - 1, 1));
            }
            size_t wanted = (groups_count * (stores_count + 2) + stores_count - 1) / stores_count;
            /* Thousandths are rounded down. */
            cr_expect(cluster.map->n_groups == wanted || cluster.map->n_groups + 1 == wanted);
            cr_expect_gt(cluster.map->n_groups, groups_count);
            arena_fini(&cluster.arena);
        }
    }
}

Test(master_groups, its_first_replicas_go_where_the_fewest_are_and_hosts_apart)
{
    struct cluster cluster;
    struct master_group_command command;
    begin(&cluster, 3, 3);
    joins(&cluster, "x:1", "one");
    joins(&cluster, "x:2", "one");
    cluster.stores[4].is_live = false;
    cr_assert(master_groups_next(&cluster.input, &command));
    cr_expect_eq(command.command.n_stores, 3);
    cr_expect_eq(command.stores[0], 4, "the empty one that is heard of");
    cluster.stores[4].is_live = true;
    cr_assert(master_groups_next(&cluster.input, &command));
    cr_expect_eq(command.stores[0], 4);
    cr_expect(command.stores[1] < 4 && command.stores[2] < 4, "5 shares a host with 4");
    /* Nothing begins where a store that it needs is not heard of. */
    for (size_t place = 0; place < 3; place++)
        cluster.stores[place].is_live = false;
    cr_expect_not(master_groups_next(&cluster.input, &command));
    cluster.stores[0].is_live = true;
    cr_assert(master_groups_next(&cluster.input, &command));
    cr_expect_eq(command.stores[2], 5, "better on one host than not at all");
    cluster.map->stores[4]->state = MASTER_STORE_DRAINING;
    cr_expect_not(master_groups_next(&cluster.input, &command));
    arena_fini(&cluster.arena);
}

Test(master_groups, an_entry_that_comes_twice_or_late_does_nothing)
{
    struct cluster cluster;
    struct master_group_command command;
    begin(&cluster, 3, 3);
    joins(&cluster, "x:1", "");
    uint64_t epoch = cluster.map->epoch, next_replica = cluster.map->next_replica;
    cr_assert(master_groups_next(&cluster.input, &command));
    cluster.map->stores[command.stores[1] - 1]->state = MASTER_STORE_DEAD;
    cr_expect_not(master_group_created(cluster.map, &command.command, &cluster.arena));
    cluster.map->stores[command.stores[1] - 1]->state = MASTER_STORE_UP;
    uint64_t second = command.stores[1];
    const uint64_t wrong[] = {0, 99, command.stores[0]};
    for (size_t index = 0; index < 3; index++) {
        command.stores[1] = wrong[index];
        cr_expect_not(master_group_created(cluster.map, &command.command, &cluster.arena));
    }
    command.stores[1] = second;
    cr_expect_eq(cluster.map->epoch, epoch);
    cr_assert(master_group_created(cluster.map, &command.command, &cluster.arena));
    cr_expect_eq(cluster.map->epoch, epoch + 1);
    cr_expect_eq(cluster.map->next_replica, next_replica + 3);
    cr_expect_not(master_group_created(cluster.map, &command.command, &cluster.arena), "G2");
    cr_expect_eq(cluster.map->n_groups, 4);
    check_is_sound(&cluster);
    cluster.map->next_group = 4;
    const char *why;
    cr_expect_eq(master_map_check(cluster.map, &why), OST_CONFLICT);
    /* A map from before groups were counted. */
    cluster.map->next_group = 0;
    check_is_sound(&cluster);
    cr_expect_eq(master_groups_next_id(cluster.map), 5);
    arena_fini(&cluster.arena);
}
