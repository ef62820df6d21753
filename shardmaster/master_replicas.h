/* master_replicas.h: which replicas a group is to have, as pure functions over the map: what may be
 * asked for, what a committed command changes, and what is to be done next.
 *
 * A group's replicas with their roles say what is wanted: who is VOTER or JOINING is to vote, who
 * is LEAVING is not. The epoch names that wish (R7). The group's leader makes it true by entries of
 * the group's own log that carry the epoch, and refuses one that is older than what its log has.
 * When the log has it, committed, the wish is settled: JOINING becomes VOTER, and LEAVING is struck
 * out.
 *
 *   (a group's first ones, with the map)--> JOINING
 *   (none) --ReplicasWanted--> JOINING --ReplicasSettled--> VOTER --ReplicasWanted--> LEAVING
 *   JOINING --ReplicasWanted (it was lost, or the change is called off)--> LEAVING, or, when it was
 *           lost and the list is full, (none)
 *   LEAVING --ReplicasWanted (the change is called off)--> JOINING
 *   LEAVING --ReplicasSettled--> (none), for ever: its number was given, and the map lists it no
 * more
 *
 * R6: a number is given once, from next_replica. A store destroys a replica when a map whose
 * next_replica is above its number does not list it. A replica that is lost (its disk has forgotten
 * what it promised) is never run again under its number: it is replaced by a new one on its store.
 */
#pragma once

#include "raft/raft.h"
#include "shardmaster/master_map.h"

enum master_replica_role {
    MASTER_REPLICA_VOTER = 0,   /* votes, whatever has come of the change that is under way */
    MASTER_REPLICA_JOINING = 1, /* to vote: not a member yet, a learner, or one that was to leave */
    MASTER_REPLICA_LEAVING = 2, /* to be taken out, then destroyed */
};
/* "voter", "joining", "leaving"; static. */
const char *master_replica_role_name(uint32_t role);

/* NULL when there is none. */
Ostraka__ReplicaInfo *master_group_replica(const Ostraka__GroupInfo *group, replica_id_t replica);
/* The one on a store that is to stay or to come; NULL when there is none. */
Ostraka__ReplicaInfo *master_group_replica_on(const Ostraka__GroupInfo *group, store_id_t store);
bool master_group_is_changing(const Ostraka__GroupInfo *group);
/* Its first replicas are being made: each is told of all of them, so they must stay the same until
 * one leads. Whoever joins later begins with nothing, and would wait for a leader for ever. */
bool master_group_is_beginning(const Ostraka__GroupInfo *group);
/* The voters that are wanted, with the epoch. */
void master_group_wanted(const Ostraka__GroupInfo *group,
                         struct raft_configuration *out_configuration);
/* Does this plain configuration say at this epoch what is wanted? */
bool master_group_is_wanted(const Ostraka__GroupInfo *group,
                            const struct raft_configuration *configuration);

/* What a person asked for. OST_OK, and the command to commit; OST_EXISTS: it is wanted already, or
 * so this request has led to the epoch after the one it names; else why not, as a text:
 * OST_NOT_FOUND, OST_CONFLICT, OST_TOO_LARGE, OST_INVALID_ARGUMENT. */
#define MASTER_WHY_BYTES 192
OST_MUST_CHECK int master_replicas_check(const Ostraka__Map *map,
                                         const Ostraka__ChangeReplicas *request,
                                         Ostraka__MasterCommand__ReplicasWanted *out_command,
                                         char *out_why);

/* What committed commands do (compare and set, R7). False: nothing changed. New things are put in
 * the map's arena. */
bool master_replicas_wanted(Ostraka__Map *map,
                            const Ostraka__MasterCommand__ReplicasWanted *command,
                            struct arena *arena);
bool master_replicas_settled(Ostraka__Map *map, group_id_t group, uint64_t group_epoch);
bool master_replica_lost(Ostraka__Map *map, group_id_t group, replica_id_t replica);
/* A store's disk is another one than the map knew: what was on it is lost. */
bool master_store_incarnation(Ostraka__Map *map,
                              const Ostraka__MasterCommand__StoreIncarnation *command);

/* The replica that is to be replaced next by a new one on its store, which is UP, because it is
 * lost. False: none. What is on other stores is placement's (placement.h). */
bool master_replicas_replace(const Ostraka__Map *map, const Ostraka__GroupInfo *group,
                             Ostraka__MasterCommand__ReplicasWanted *out_command);
