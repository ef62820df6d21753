/* range_look.h: what a replica says of its ranges, for the checks. */
#pragma once

#include "shardkv/kv_server.h"
#include "tests/sim/range_fact.h"

struct range_sight {
    raft_index_t index; /* up to which the entries were applied to them */
    bool is_written;    /* rows, too; if not, the store took no write yet, and group and others
                           act on the ranges all the same */
    struct range_facts facts;
};

/* The ranges that the group's replica has, in the arena; their keys are the replica's. False: there
 * is none; or it is about to be replaced, and what it has says nothing. */
bool range_look(const struct kv_server *server, group_id_t group, struct arena *arena,
                struct range_sight *out_sight);
