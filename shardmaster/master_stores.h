/* master_stores.h: the life of a store in the map, as pure functions: what may be asked for, and
 * what a committed command changes.
 *
 *   (none) --StoreJoined--> UP --StoreStateSet (a person drains it)--> DRAINING
 *   DRAINING --StoreStateSet (a person undrains it)--> UP
 *   UP --StoreStateSet (it has not reported for long)--> DEAD --StoreStateSet (it reports)--> UP
 *   DEAD --StoreStateSet (a person drains it, so that it does not come back)--> DRAINING
 *   DRAINING, DEAD --StoreRemoved (it holds no replica)--> (none)
 *
 * A DRAINING store that falls silent stays DRAINING: its replicas go elsewhere either way, and what
 * a person asked for is not forgotten. Placement (placement.h) puts replicas on UP stores alone, so
 * one that is not UP and holds none stays empty, and may go.
 */
#pragma once

#include "base/arena.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_replicas.h"

#define STORE_ADDRESS_BYTES_MAX 256u
#define STORE_HOST_BYTES_MAX    64u

/* "up", "draining", "dead"; static. */
const char *master_store_state_name(uint32_t state);

/* HOST:PORT, from the network: as much as can be said without looking it up. */
bool master_store_address_is_formed(const char *address);

/* The machine that a store is on: its label, or the host part of its address. */
struct bytes master_store_host(const Ostraka__StoreInfo *store);

/* How many replicas the map has on it, those that leave included. */
size_t master_store_replicas_count(const Ostraka__Map *map, store_id_t store);

/* What to commit: `command` points into this. */
struct master_store_command {
    Ostraka__MasterCommand command;
    union {
        Ostraka__MasterCommand__StoreJoined joined;
        Ostraka__MasterCommand__StoreStateSet state_set;
        Ostraka__MasterCommand__StoreRemoved removed;
    };
};

/* What a person or a store asked for. OST_OK, and the command to commit, which borrows from the
 * request; OST_EXISTS: it is so already; else why not, as a text: OST_NOT_FOUND, OST_CONFLICT,
 * OST_TOO_LARGE, OST_INVALID_ARGUMENT. */
OST_MUST_CHECK int master_stores_check(const Ostraka__Map *map, const Ostraka__ChangeStore *request,
                                       struct master_store_command *out_command, char *out_why);
/* The command by which a store gets from one state to another. */
void master_stores_state_command(store_id_t store, uint32_t expected, uint32_t state,
                                 struct master_store_command *out_command);

/* What committed commands do (compare and set, R7). False: nothing changed. New things are put in
 * the map's arena. */
bool master_store_joined(Ostraka__Map *map, const Ostraka__MasterCommand__StoreJoined *command,
                         struct arena *arena);
bool master_store_state_set(Ostraka__Map *map,
                            const Ostraka__MasterCommand__StoreStateSet *command);
bool master_store_removed(Ostraka__Map *map, const Ostraka__MasterCommand__StoreRemoved *command);
bool master_store_host_set(Ostraka__Map *map, const Ostraka__MasterCommand__StoreHostSet *command,
                           struct arena *arena);
