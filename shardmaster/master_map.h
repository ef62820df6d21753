/* master_map.h: pure functions over the map: what makes one sound, who is where, and how it
 * changes.
 *
 * Invariants of a map with epoch > 0 (master_map_check): ids are not 0 and not used twice; group 0
 * is there; a group's id is below next_group, its replicas are on stores of the map, no two that
 * stay on one, at least one and at most REPLICAS_PER_GROUP_MAX that are to vote, with numbers below
 * next_replica; ranges follow each other from the first key to the last without a gap, and belong
 * to groups of the map. What changes them (master_ranges.h) has a number below next_change, which
 * stands beside one range, or beside two neighbours that are to be merged. Epoch 0: no map yet.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "base/types.h"
#include "proto/master.pb-c.h"

enum master_store_state { MASTER_STORE_UP = 1, MASTER_STORE_DRAINING = 2, MASTER_STORE_DEAD = 3 };

/* OST_OK, or OST_CONFLICT with a static text that says what is wrong. */
OST_MUST_CHECK int master_map_check(const Ostraka__Map *map, const char **out_why);

/* NULL when there is none. Group 0 is one like any other. */
Ostraka__StoreInfo *master_map_store(const Ostraka__Map *map, store_id_t store);
Ostraka__GroupInfo *master_map_group(const Ostraka__Map *map, group_id_t group);
/* The range that begins at `start`; NULL. */
Ostraka__RangeInfo *master_map_range_at(const Ostraka__Map *map, struct bytes start);
/* The range that holds `key`; NULL while the map is empty. */
Ostraka__RangeInfo *master_map_range_of_key(const Ostraka__Map *map, struct bytes key);
/* Its place among the ranges; 0 while the map is empty. */
size_t master_map_place_of_key(const Ostraka__Map *map, struct bytes key);

/* R7, compare and set: the range that begins at `start`, if it is at `epoch`, of `group` and not
 * yet assigned, is assigned, and the map's epoch grows. A move of it has come to its end. False:
 * nothing changed. */
bool master_map_assign(Ostraka__Map *map, struct bytes start, uint64_t epoch, group_id_t group);

/* A copy in the arena, through its packed form. */
Ostraka__Map *master_map_copy(const Ostraka__Map *map, struct arena *arena);

static inline struct bytes master_bytes(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}
static inline ProtobufCBinaryData master_binary(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.bytes_count,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}
