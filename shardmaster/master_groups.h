/* master_groups.h: groups that come to be after the first ones, as pure functions over the map.
 *
 * A store that comes later gets replicas of the groups that are there; but with no more groups than
 * before, some stores lead nothing. So the cluster keeps the ratio of groups to stores that it
 * began with (Map.groups_per_1000_stores). A new group begins as the first ones did: at epoch 1,
 * its replicas all JOINING, each told of all of them. It owns nothing; ranges move into it
 * (placement_ranges.h).
 *
 * G1. One at a time begins: the stores of the next are chosen by where the last one is.
 * G2. A number is given once, from next_group, and a group is never taken away.
 */
#pragma once

#include "shardmaster/master_map.h"
#include "shardmaster/placement.h"

/* What to commit: `command` points to `stores`. */
struct master_group_command {
    Ostraka__MasterCommand__GroupCreated command;
    uint64_t stores[REPLICAS_PER_GROUP_MAX];
};

/* The number that the next one gets. */
group_id_t master_groups_next_id(const Ostraka__Map *map);
/* As many as the stores that are UP call for. */
size_t master_groups_count_wanted(const Ostraka__Map *map);
/* False: there are enough, one is beginning, or a store that it needs was not heard of lately. Its
 * first replicas go to the stores with the fewest, on hosts of their own where that can be. */
bool master_groups_next(const struct placement_input *input,
                        struct master_group_command *out_command);

/* What a committed command does (compare and set, R7). False: nothing changed. New things are put
 * in the map's arena. */
bool master_group_created(Ostraka__Map *map, const Ostraka__MasterCommand__GroupCreated *command,
                          struct arena *arena);
