/* store_check.h: what is promised of stores that come and go, held against each map of group 0, in
 * the order of epochs; and which steps those maps are (store_steps.h).
 *
 * Anomalies: "store-from-nowhere": a state of a store that does not follow the one before
 * (master_stores.h); "store-removed-too-soon": it is not in the map any more and held replicas, or
 * was UP; "replica-of-nobody": a replica is on a store that is not in the map; "removed-before-
 * added": a group is to have fewer replicas than before, and no person asked for that.
 */
#pragma once

#include "proto/master.pb-c.h"
#include "tests/check/result.h"
#include "tests/sim/admin.h"
#include "tests/sim/store_steps.h"

struct store_check;

struct store_check *store_check_new(void);
void store_check_free(struct store_check *check);

/* Of group 0's state on some store; older ones than the last are let go by. */
void store_check_map(struct store_check *check, const Ostraka__Map *map, const struct admin *admin);
/* What has come to pass since it was last asked; false: nothing more. */
bool store_check_take_step(struct store_check *check, struct store_step *out_step);
const struct check_result *store_check_result(const struct store_check *check);
