/* admin.h: a person who changes which stores hold which groups, which groups which ranges, and
 * which stores there are, while everything else goes on; and what the cluster makes of it. Asks as
 * `ostraka add-replica` and the like do.
 *
 * Files: admin.c what all ask for; admin_replicas.c, admin_ranges.c, admin_stores.c.
 */
#pragma once

#include "base/types.h"
#include "proto/master.pb-c.h"
#include "tests/sim/schedule.h"

struct operation;
struct sim;

#define ADMIN_REQUESTS_MAX 512u

/* Never forgotten: each may be on its way still, until its group's epoch is another. */
struct admin_request {
    group_id_t group;
    uint64_t group_epoch;
    store_id_t add_store, remove_store; /* 0: none */
};

struct admin {
    struct admin_request requests[ADMIN_REQUESTS_MAX];
    size_t requests_count;
    uint32_t waiting_count; /* changes of all kinds that are not answered */
};

/* The newest that any store has; NULL: none yet. */
const Ostraka__Map *admin_map_newest(const struct sim *sim);
/* The disk of every store that the cluster began with, and that is still there, is the one that the
 * newest map knows, so that another may be lost (cmd/node_identity.c: of the disks that group 0
 * was founded on no two are empty at a time). */
bool admin_all_disks_are_known(const struct sim *sim);

/* Takes it; `done` begins with admin_take_answer, which gives the simulation back. */
void admin_submit(struct sim *sim, struct operation *operation_take,
                  void (*done)(struct operation *operation));
struct sim *admin_take_answer(const struct operation *operation);

/* --- admin_replicas.c --- */
/* Adds, removes or moves a replica of a group, or calls the change under way off. False: there is
 * nothing to be asked for now. */
bool admin_change(struct sim *sim, group_id_t group, struct random *random);
/* Every wish of the newest map is settled. */
bool admin_all_is_settled(const struct sim *sim);

/* --- admin_ranges.c --- */
/* Each asks for one change, of a range that has none in the newest map. False: there is nothing to
 * be asked for now. */
bool admin_range_move(struct sim *sim, struct random *random);
bool admin_range_split(struct sim *sim, struct random *random);
bool admin_ranges_merge(struct sim *sim, struct random *random);
/* Calls a move off. */
bool admin_range_cancel(struct sim *sim, struct random *random);

/* --- admin_stores.c --- */
/* Each asks for one change, of a store for which it makes sense by the newest map. False: there is
 * none. */
bool admin_store_drain(struct sim *sim, struct random *random);
bool admin_store_undrain(struct sim *sim, struct random *random);
bool admin_store_remove(struct sim *sim, struct random *random);
