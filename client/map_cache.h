/* map_cache.h: the newest map that the client has heard of, and who is believed to lead each group.
 *
 * Invariants: M1 the map's epoch never falls. M2 its ranges cover the key space in order, without
 * gaps. Leaders are beliefs: out of the map, out of NOT_LEADER answers, or found by asking in turn.
 */
#pragma once

#include "base/arena.h"
#include "base/status.h"
#include "proto/frame.h"
#include "proto/master.pb-c.h"
#include "txn/coordinator.h"

#include <uthash.h>

struct map_group {
    group_id_t id;
    store_id_t stores[2 * REPLICAS_PER_GROUP_MAX]; /* with those that come and go */
    uint32_t stores_count;
    store_id_t leader_store; /* 0: not known, ask in turn */
    uint64_t leader_term;    /* of the newest hint that came with the map */
    uint32_t turn;           /* whose turn it is when the leader is not known */
    UT_hash_handle hh;
};

struct map_cache {
    struct arena arenas[2]; /* of the map, and the next one */
    unsigned current;
    const Ostraka__Map *map; /* NULL: none yet */
    uint64_t epoch_heard;    /* the highest of all that came, also without ranges */
    struct map_group *groups;
};

void map_cache_init(struct map_cache *cache);
void map_cache_fini(struct map_cache *cache);
/* OST_OK: it is newer, and taken. OST_EXISTS: as new as ours (leader hints are taken).
 * OST_NOT_READY: it is empty, the sender has none. OST_PROTOCOL: it does not parse or breaks M2.
 * `out_heard` is set with the first three. */
OST_MUST_CHECK int map_cache_receive(struct map_cache *cache, struct bytes message,
                                     timestamp_t *out_heard);
uint64_t map_cache_epoch(const struct map_cache *cache);
/* Is there a newer one than ours, as far as was heard? */
bool map_cache_is_behind(const struct map_cache *cache);

/* coordinator_route_fn; the context is the cache. */
bool map_cache_route(void *cache, struct bytes key, struct coordinator_route *out_route);
/* The range that holds the last keys before `end` (an empty one: the very last range). */
bool map_cache_route_before(const struct map_cache *cache, struct bytes end,
                            struct coordinator_route *out_route);
/* Group 0 is known even when the map does not list it: any store may be asked. NULL: no such group.
 */
struct map_group *map_cache_group(struct map_cache *cache, group_id_t group);
const Ostraka__StoreInfo *map_cache_store(const struct map_cache *cache, store_id_t store);

/* Whom to ask next; 0: nobody is known. */
store_id_t map_group_candidate(const struct map_group *group);
/* `store` did not turn out to be the leader, or did not answer. `hint`: who it says leads; 0:
 * unknown. */
void map_group_turn(struct map_group *group, store_id_t store, store_id_t hint);
