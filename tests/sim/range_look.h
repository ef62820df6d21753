/* range_look.h: what a replica says of its ranges, for the checks. */
#pragma once

#include "shardkv/kv_server.h"
#include "tests/sim/range_fact.h"

/* The ranges that the group's replica has at its applied index, in the arena; their keys are the
 * replica's. False: there is none; or it is between two indexes, or about to be replaced, and what
 * it has says nothing. */
bool range_look(const struct kv_server *server, group_id_t group, struct arena *arena,
                struct range_facts *out_facts);
