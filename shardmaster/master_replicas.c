#include "shardmaster/master_replicas.h"

#include "base/sometimes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *master_replica_role_name(uint32_t role)
{
    static const char *const NAMES[] = {"voter", "joining", "leaving"};
    return role < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[role] : "unknown";
}

static bool is_to_stay(const Ostraka__ReplicaInfo *replica)
{
    return replica->role != MASTER_REPLICA_LEAVING;
}

Ostraka__ReplicaInfo *master_group_replica(const Ostraka__GroupInfo *group, replica_id_t replica)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->replica == replica)
            return group->replicas[place];
    return NULL;
}

Ostraka__ReplicaInfo *master_group_replica_on(const Ostraka__GroupInfo *group, store_id_t store)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->store == store && is_to_stay(group->replicas[place]))
            return group->replicas[place];
    return NULL;
}

bool master_group_is_changing(const Ostraka__GroupInfo *group)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->role != MASTER_REPLICA_VOTER)
            return true;
    return false;
}

bool master_group_is_beginning(const Ostraka__GroupInfo *group)
{
    return group->epoch == 1 && master_group_is_changing(group);
}

static size_t wanted_count(const Ostraka__GroupInfo *group)
{
    size_t count = 0;
    for (size_t place = 0; place < group->n_replicas; place++)
        count += is_to_stay(group->replicas[place]);
    return count;
}

/* Nothing more than to call off the change: who was to leave for who joins stays, then. */
static bool is_calling_off(const Ostraka__ReplicaInfo *removed, bool adds)
{
    return removed && removed->role == MASTER_REPLICA_JOINING && !adds;
}

static bool is_alone(const Ostraka__GroupInfo *group, const Ostraka__ReplicaInfo *removed)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place] != removed && is_to_stay(group->replicas[place]))
            return false;
    return true;
}

/* Who was to leave for the one that now does not come. Who is lost cannot stay. A newer one, which
 * was called off itself, would take turns with an older one: it returns where nobody else is left,
 * as the change may have come so far that it alone has a vote. */
static bool is_to_return(const Ostraka__ReplicaInfo *replica, const Ostraka__ReplicaInfo *removed,
                         bool is_removed_alone)
{
    return replica->role == MASTER_REPLICA_LEAVING && !replica->lost &&
           (replica->replica < removed->replica || is_removed_alone);
}

/* What a group would be, without one of those that it is to have, and with one more. */
struct outcome {
    size_t count; /* that stay or come */
    size_t lost_count;
};

static struct outcome outcome_of(const Ostraka__GroupInfo *group,
                                 const Ostraka__ReplicaInfo *removed, bool adds)
{
    bool calls_off = is_calling_off(removed, adds);
    bool is_removed_alone = is_alone(group, removed);
    struct outcome outcome = {.count = adds ? 1 : 0};
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        bool returns = calls_off && is_to_return(replica, removed, is_removed_alone);
        if (replica == removed || (!is_to_stay(replica) && !returns))
            continue;
        outcome.count++;
        outcome.lost_count += replica->lost ? 1 : 0;
    }
    return outcome;
}

/* Who is taken away could be the one without whom those that are lost cannot be replaced: a
 * configuration in which the lost ones are as many as the others never comes to decide anything. */
static bool is_survived(const Ostraka__GroupInfo *group, const Ostraka__ReplicaInfo *removed,
                        bool adds)
{
    if (!removed || removed->lost)
        return true;
    struct outcome outcome = outcome_of(group, removed, adds);
    return 2 * (outcome.count - outcome.lost_count) > outcome.count;
}

void master_group_wanted(const Ostraka__GroupInfo *group,
                         struct raft_configuration *out_configuration)
{
    *out_configuration = (struct raft_configuration){.epoch = group->epoch};
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        if (!is_to_stay(replica))
            continue;
        ASSERT(out_configuration->members_count < RAFT_MEMBERS_MAX);
        out_configuration->members[out_configuration->members_count++] =
            (struct raft_member){.replica = replica->replica,
                                 .store = replica->store,
                                 .voter_old = true,
                                 .voter_new = true};
    }
}

bool master_group_is_wanted(const Ostraka__GroupInfo *group,
                            const struct raft_configuration *configuration)
{
    if (configuration->epoch != group->epoch || configuration->members_count != wanted_count(group))
        return false;
    for (uint32_t place = 0; place < configuration->members_count; place++) {
        const struct raft_member *member = &configuration->members[place];
        const Ostraka__ReplicaInfo *replica = master_group_replica(group, member->replica);
        if (!replica || !is_to_stay(replica) || !member->voter_old || !member->voter_new)
            return false;
    }
    return true;
}

/* --- What a person asks for --- */

static bool is_done_already(const Ostraka__GroupInfo *group, const Ostraka__ChangeReplicas *request)
{
    return group->epoch == request->group_epoch + 1 &&
           (request->add_store == 0 || master_group_replica_on(group, request->add_store)) &&
           (request->remove_store == 0 || !master_group_replica_on(group, request->remove_store));
}

static int refuse(int status, char *out_why, const char *text)
{
    snprintf(out_why, MASTER_WHY_BYTES, "%s", text);
    return status;
}

static int check_add(const Ostraka__Map *map, const Ostraka__GroupInfo *group,
                     const Ostraka__ChangeReplicas *request, char *out_why)
{
    if (!master_map_store(map, request->add_store)) {
        snprintf(out_why, MASTER_WHY_BYTES, "there is no store %" PRIu64, request->add_store);
        return OST_NOT_FOUND;
    }
    if (master_group_replica_on(group, request->add_store)) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "group %" PRIu64 " has a replica on store %" PRIu64 " already", group->id,
                 request->add_store);
        return OST_CONFLICT;
    }
    size_t count = wanted_count(group) + (request->remove_store == 0 ? 1 : 0);
    if (count > REPLICAS_PER_GROUP_MAX) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "group %" PRIu64 " would have %zu replicas; the limit is %u", group->id, count,
                 REPLICAS_PER_GROUP_MAX);
        return OST_TOO_LARGE;
    }
    return OST_OK;
}

static int check_remove(const Ostraka__GroupInfo *group, const Ostraka__ChangeReplicas *request,
                        const Ostraka__ReplicaInfo *removed, char *out_why)
{
    if (!removed) {
        snprintf(out_why, MASTER_WHY_BYTES, "group %" PRIu64 " has no replica on store %" PRIu64,
                 group->id, request->remove_store);
        return OST_NOT_FOUND;
    }
    if (outcome_of(group, removed, request->add_store != 0).count == 0) {
        snprintf(out_why, MASTER_WHY_BYTES, "it is the last replica of group %" PRIu64, group->id);
        return OST_CONFLICT;
    }
    return OST_OK;
}

int master_replicas_check(const Ostraka__Map *map, const Ostraka__ChangeReplicas *request,
                          Ostraka__MasterCommand__ReplicasWanted *out_command, char *out_why)
{
    ostraka__master_command__replicas_wanted__init(out_command);
    const Ostraka__GroupInfo *group = master_map_group(map, request->group);
    if (!group) {
        snprintf(out_why, MASTER_WHY_BYTES, "there is no group %" PRIu64, request->group);
        return OST_NOT_FOUND;
    }
    if (request->add_store == 0 && request->remove_store == 0)
        return refuse(OST_INVALID_ARGUMENT, out_why, "name a store to add or to remove");
    if (request->add_store == request->remove_store)
        return refuse(OST_INVALID_ARGUMENT, out_why, "one store cannot be added and removed");
    if (is_done_already(group, request))
        return OST_EXISTS;
    if (group->epoch != request->group_epoch) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "group %" PRIu64 " is at epoch %" PRIu64 ", not %" PRIu64
                 ": its replicas were changed by another request",
                 group->id, group->epoch, request->group_epoch);
        return OST_CONFLICT;
    }
    const Ostraka__ReplicaInfo *removed = master_group_replica_on(group, request->remove_store);
    int status = OST_OK;
    if (request->remove_store != 0)
        status = check_remove(group, request, removed, out_why);
    if (status == OST_OK && request->add_store != 0)
        status = check_add(map, group, request, out_why);
    if (status != OST_OK)
        return status;
    if (master_group_is_beginning(group)) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "the first replicas of group %" PRIu64 " are being made: wait for them",
                 group->id);
        return OST_CONFLICT;
    }
    if (master_group_is_changing(group) && !is_calling_off(removed, request->add_store != 0)) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "another change of group %" PRIu64 " is under way: wait for it, or call it off by "
                 "removing the replica that joins",
                 group->id);
        return OST_CONFLICT;
    }
    if (!is_survived(group, removed, request->add_store != 0)) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "too many replicas of group %" PRIu64 " are lost: wait until they are replaced",
                 group->id);
        return OST_CONFLICT;
    }
    out_command->group = group->id;
    out_command->group_epoch = group->epoch;
    out_command->add_store = request->add_store;
    out_command->remove_replica = removed ? removed->replica : 0;
    return OST_OK;
}

/* --- What committed commands do --- */

static void group_append(Ostraka__GroupInfo *group, Ostraka__ReplicaInfo *replica,
                         struct arena *arena)
{
    Ostraka__ReplicaInfo **replicas =
        arena_alloc(arena, (group->n_replicas + 1) * sizeof(replicas[0]));
    memcpy(replicas, group->replicas, group->n_replicas * sizeof(replicas[0]));
    replicas[group->n_replicas++] = replica;
    group->replicas = replicas;
}

/* Who returns joins: the change may have come so far that it has no vote any more, or even that its
 * store has nothing of it left; so if it is lost by now, it is replaced before all is settled. */
static void group_call_off(Ostraka__GroupInfo *group, const Ostraka__ReplicaInfo *removed)
{
    COVER(MASTER_CHANGE_CALLED_OFF);
    bool is_removed_alone = is_alone(group, removed);
    for (size_t place = 0; place < group->n_replicas; place++)
        if (is_to_return(group->replicas[place], removed, is_removed_alone))
            group->replicas[place]->role = MASTER_REPLICA_JOINING;
}

/* Group 0's leader has seen all the other first replicas, and the store has been silent for long.
 */
static bool may_begin_without(const Ostraka__Map *map,
                              const Ostraka__MasterCommand__ReplicasWanted *command,
                              const Ostraka__ReplicaInfo *removed)
{
    return command->add_store == 0 && removed &&
           master_map_store(map, removed->store)->state != MASTER_STORE_UP;
}

static void group_strike_out(Ostraka__GroupInfo *group, const Ostraka__ReplicaInfo *replica)
{
    size_t kept_count = 0;
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place] != replica)
            group->replicas[kept_count++] = group->replicas[place];
    group->n_replicas = kept_count;
}

bool master_replicas_wanted(Ostraka__Map *map,
                            const Ostraka__MasterCommand__ReplicasWanted *command,
                            struct arena *arena)
{
    Ostraka__GroupInfo *group = master_map_group(map, command->group);
    if (!group || group->epoch != command->group_epoch) {
        COVER(MASTER_CHANGE_OUTDATED);
        return false;
    }
    Ostraka__ReplicaInfo *removed = master_group_replica(group, command->remove_replica);
    if (master_group_is_beginning(group) && !may_begin_without(map, command, removed)) {
        COVER(MASTER_CHANGE_OUTDATED);
        return false;
    }
    bool adds = command->add_store != 0;
    const Ostraka__ReplicaInfo *there = master_group_replica_on(group, command->add_store);
    size_t count = outcome_of(group, removed, adds).count;
    /* A store whose disk is replaced again and again fills the list with those that were to join.
     */
    bool is_full = adds && group->n_replicas == RAFT_MEMBERS_MAX;
    bool makes_room =
        is_full && removed && removed->role == MASTER_REPLICA_JOINING && removed->lost;
    bool is_sound =
        (removed ? is_to_stay(removed) : command->remove_replica == 0) && (adds || removed) &&
        (!adds || (master_map_store(map, command->add_store) && (!there || there == removed))) &&
        count >= 1 && count <= REPLICAS_PER_GROUP_MAX && (!is_full || makes_room) &&
        is_survived(group, removed, adds);
    if (!is_sound) {
        COVER(MASTER_CHANGE_OUTDATED);
        return false;
    }
    if (makes_room) {
        COVER(MASTER_JOINER_STRUCK_OUT);
        group_strike_out(group, removed);
        removed = NULL;
    }
    if (is_calling_off(removed, adds))
        group_call_off(group, removed);
    if (removed)
        removed->role = MASTER_REPLICA_LEAVING;
    if (adds) {
        Ostraka__ReplicaInfo *added = arena_alloc(arena, sizeof(*added));
        ostraka__replica_info__init(added);
        added->replica = map->next_replica++; /* R6: the one place that gives numbers */
        added->store = command->add_store;
        added->role = MASTER_REPLICA_JOINING;
        group_append(group, added, arena);
    }
    group->epoch++;
    map->epoch++;
    return true;
}

bool master_replicas_settled(Ostraka__Map *map, group_id_t id, uint64_t group_epoch)
{
    Ostraka__GroupInfo *group = master_map_group(map, id);
    if (!group || group->epoch != group_epoch || !master_group_is_changing(group))
        return false;
    size_t kept_count = 0;
    for (size_t place = 0; place < group->n_replicas; place++) {
        Ostraka__ReplicaInfo *replica = group->replicas[place];
        if (!is_to_stay(replica))
            continue;
        replica->role = MASTER_REPLICA_VOTER;
        group->replicas[kept_count++] = replica;
    }
    group->n_replicas = kept_count;
    map->epoch++;
    return true;
}

bool master_replica_lost(Ostraka__Map *map, group_id_t id, replica_id_t number)
{
    const Ostraka__GroupInfo *group = master_map_group(map, id);
    Ostraka__ReplicaInfo *replica = group ? master_group_replica(group, number) : NULL;
    if (!replica || replica->lost)
        return false;
    replica->lost = true;
    map->epoch++;
    return true;
}

static void group_lose_store(Ostraka__GroupInfo *group, store_id_t store)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->store == store)
            group->replicas[place]->lost = true;
}

bool master_store_incarnation(Ostraka__Map *map,
                              const Ostraka__MasterCommand__StoreIncarnation *command)
{
    Ostraka__StoreInfo *store = master_map_store(map, command->store);
    if (!store || store->incarnation != command->expected ||
        store->incarnation == command->incarnation || command->incarnation == 0)
        return false;
    /* Nothing is made on a store before the map knows its disk, but group 0's first replicas, which
     * see to themselves (node_founding.c). */
    if (store->incarnation != 0) {
        COVER(MASTER_DISK_REPLACED);
        group_lose_store(map->master, store->id);
        for (size_t index = 0; index < map->n_groups; index++)
            group_lose_store(map->groups[index], store->id);
    }
    store->incarnation = command->incarnation;
    map->epoch++;
    return true;
}

/* --- What is to be done next --- */

static bool is_somebody_joining(const Ostraka__GroupInfo *group)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->role == MASTER_REPLICA_JOINING)
            return true;
    return false;
}

/* One comes at a time. But who only leaves is not waited for: without a majority of those who stay
 * the group's leader does not let it go (raft_configuration.c). */
bool master_replicas_replace(const Ostraka__Map *map, const Ostraka__GroupInfo *group,
                             Ostraka__MasterCommand__ReplicasWanted *out_command)
{
    for (size_t place = 0; place < group->n_replicas && !master_group_is_beginning(group);
         place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        bool is_due = replica->role == MASTER_REPLICA_JOINING ||
                      (replica->role == MASTER_REPLICA_VOTER && !is_somebody_joining(group));
        /* Nothing is put on a store that is not UP; another one's turn must not wait for that. */
        if (!replica->lost || !is_due ||
            master_map_store(map, replica->store)->state != MASTER_STORE_UP)
            continue;
        COVER(MASTER_REPLICA_REPLACED);
        ostraka__master_command__replicas_wanted__init(out_command);
        out_command->group = group->id;
        out_command->group_epoch = group->epoch;
        out_command->add_store = replica->store;
        out_command->remove_replica = replica->replica;
        return true;
    }
    return false;
}
