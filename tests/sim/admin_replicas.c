/* admin_replicas.c: which stores hold which groups. */
#include "tests/sim/admin.h"

#include "shardmaster/master_replicas.h"
#include "shardmaster/master_stores.h"
#include "tests/sim/quorum.h"
#include "tests/sim/sim.h"

#include <inttypes.h>

static void change_done(struct operation *operation)
{
    struct sim *sim = admin_take_answer(operation);
    trace_tell(&sim->trace, "admin: change of group %" PRIu64 " (epoch %" PRIu64 "): %s",
               operation->group, operation->group_epoch, ost_status_name(operation->status));
    sim->counts.changes += operation->status == OST_OK;
    bool is_gone = operation->status == OST_NOT_FOUND && plan_changes_stores(&sim->plan);
    if (!is_gone &&
        (operation->status == OST_INVALID_ARGUMENT || operation->status == OST_NOT_FOUND))
        sim_fail(sim, "change-refused",
                 "group %" PRIu64 ", add %" PRIu64 ", remove %" PRIu64 ": %s", operation->group,
                 operation->add_store, operation->remove_store, ost_status_name(operation->status));
}

/* Nobody sane takes a replica away when those that stay have lost too many already: that would be
 * the end of the group. False: so it is, and nothing is asked for. */
static bool change_submit(struct sim *sim, const struct admin_request *request)
{
    bool takes_part[SIM_STORES_MAX];
    for (uint32_t place = 0; place < SIM_STORES_MAX; place++)
        takes_part[place] = true;
    sim->admin.requests[sim->admin.requests_count++] = *request;
    if (!quorum_is_kept(sim, takes_part)) {
        sim->admin.requests_count--;
        return false;
    }
    trace_tell(&sim->trace,
               "admin: group %" PRIu64 " (epoch %" PRIu64 ") is to have a replica on store %" PRIu64
               " and none on store %" PRIu64,
               request->group, request->group_epoch, request->add_store, request->remove_store);
    struct operation *operation =
        operation_new(OPERATION_CHANGE_REPLICAS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->group = request->group;
    operation->group_epoch = request->group_epoch;
    operation->add_store = request->add_store;
    operation->remove_store = request->remove_store;
    admin_submit(sim, operation, change_done);
    return true;
}

/* One of the stores that have a replica of the group, or of those that have none and are UP; 0:
 * none. */
static store_id_t store_choose(const struct sim *sim, const Ostraka__Map *map,
                               const Ostraka__GroupInfo *group, bool has_replica,
                               struct random *random)
{
    store_id_t found[SIM_STORES_MAX];
    uint32_t count = 0;
    for (store_id_t id = 1; id <= sim->stores_count; id++) {
        const Ostraka__StoreInfo *store = master_map_store(map, id);
        if (store && (has_replica || store->state == MASTER_STORE_UP) &&
            (master_group_replica_on(group, id) != NULL) == has_replica)
            found[count++] = id;
    }
    uint64_t drawn = random_next(random);
    return count ? found[drawn % count] : 0;
}

static store_id_t store_joining(const Ostraka__GroupInfo *group)
{
    for (size_t place = 0; place < group->n_replicas; place++)
        if (group->replicas[place]->role == MASTER_REPLICA_JOINING)
            return group->replicas[place]->store;
    return 0;
}

bool admin_change(struct sim *sim, group_id_t group_id, struct random *random)
{
    const Ostraka__Map *map = admin_map_newest(sim);
    const Ostraka__GroupInfo *group = map ? master_map_group(map, group_id) : NULL;
    if (!group || group->n_replicas == 0 || !sim_admin(sim)->core ||
        sim->admin.requests_count == ADMIN_REQUESTS_MAX)
        return false;
    struct admin_request request = {.group = group_id, .group_epoch = group->epoch};
    uint64_t kind = random_below(random, 4);
    if (master_group_is_changing(group)) {
        request.remove_store = kind == 0 ? store_joining(group) : 0;
        if (request.remove_store == 0)
            return false;
        return change_submit(sim, &request);
    }
    uint64_t count = group->n_replicas;
    if (kind != 0 && (kind != 1 || count < sim->plan.replicas + 2))
        request.add_store = store_choose(sim, map, group, false, random);
    if (kind != 1 && (kind != 0 || count + 1 > sim->plan.replicas))
        request.remove_store = store_choose(sim, map, group, true, random);
    bool is_least = count == 1 && request.add_store == 0;
    bool is_most = count == REPLICAS_PER_GROUP_MAX && request.remove_store == 0;
    if (request.add_store == request.remove_store || is_least || is_most)
        return false;
    return change_submit(sim, &request);
}

bool admin_all_is_settled(const struct sim *sim)
{
    const Ostraka__Map *map = admin_map_newest(sim);
    for (group_id_t group_id = 0; map && group_id <= sim->plan.groups; group_id++) {
        const Ostraka__GroupInfo *group = master_map_group(map, group_id);
        if (!group || master_group_is_changing(group))
            return false;
    }
    return map != NULL;
}
