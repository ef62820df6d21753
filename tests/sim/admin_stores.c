/* admin_stores.c: which stores there are to be. Asks as `ostraka drain`, `drain --cancel` and
 * `remove-store` do; stores that join ask for themselves (store_life.h). */
#include "tests/sim/admin.h"

#include "cmd/node_internal.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_stores.h"
#include "tests/sim/sim.h"
#include "tests/sim/store_life.h"

#include <inttypes.h>

static const char *kind_name(Ostraka__StoreChangeKind kind)
{
    return kind == OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE     ? "drain"
           : kind == OSTRAKA__STORE_CHANGE_KIND__UNDRAIN_STORE ? "drain --cancel"
                                                               : "remove-store";
}

/* Whose request was done, and the answer lost, is told that there is no such store. */
static void change_done(struct operation *operation)
{
    struct sim *sim = admin_take_answer(operation);
    bool is_done = operation->status == OST_OK;
    trace_tell(&sim->trace, "admin: %s of store %" PRIu64 ": %s%s%s",
               kind_name(operation->store_change), operation->changed_store,
               ost_status_name(operation->status), operation->why ? ": " : "",
               operation->why ? operation->why : "");
    if (operation->store_change == OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE)
        sim->counts.drains += is_done;
    if (operation->store_change == OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE &&
        (is_done || operation->status == OST_NOT_FOUND))
        store_life_removed(sim, operation->changed_store);
}

static bool change_submit(struct sim *sim, Ostraka__StoreChangeKind kind, store_id_t store)
{
    trace_tell(&sim->trace, "admin: %s of store %" PRIu64, kind_name(kind), store);
    struct operation *operation =
        operation_new(OPERATION_CHANGE_STORE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->store_change = kind;
    operation->changed_store = store;
    admin_submit(sim, operation, change_done);
    return true;
}

/* 0: there is none that may. */
static store_id_t store_choose(struct sim *sim, struct random *random,
                               bool (*may)(const Ostraka__Map *map,
                                           const Ostraka__StoreInfo *store))
{
    const Ostraka__Map *map = admin_map_newest(sim);
    uint64_t drawn = random_next(random);
    store_id_t found[SIM_STORES_MAX];
    uint32_t count = 0;
    for (size_t place = 0; map && sim_admin(sim)->core && place < map->n_stores; place++)
        if (may(map, map->stores[place]))
            found[count++] = map->stores[place]->id;
    return count ? found[drawn % count] : 0;
}

static bool may_drain(const Ostraka__Map *map, const Ostraka__StoreInfo *store)
{
    (void)map;
    return store->state != MASTER_STORE_DRAINING;
}

static bool may_undrain(const Ostraka__Map *map, const Ostraka__StoreInfo *store)
{
    (void)map;
    return store->state == MASTER_STORE_DRAINING;
}

static bool is_not_up(const Ostraka__Map *map, const Ostraka__StoreInfo *store)
{
    (void)map;
    return store->state != MASTER_STORE_UP;
}

static bool is_empty(const Ostraka__Map *map, const Ostraka__StoreInfo *store)
{
    return is_not_up(map, store) && master_store_replicas_count(map, store->id) == 0;
}

bool admin_store_drain(struct sim *sim, struct random *random)
{
    store_id_t store = store_choose(sim, random, may_drain);
    return store && change_submit(sim, OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE, store);
}

bool admin_store_undrain(struct sim *sim, struct random *random)
{
    store_id_t store = store_choose(sim, random, may_undrain);
    return store && change_submit(sim, OSTRAKA__STORE_CHANGE_KIND__UNDRAIN_STORE, store);
}

bool admin_store_remove(struct sim *sim, struct random *random)
{
    /* Some people do not wait until it is empty, and are refused. */
    bool is_patient = random_below(random, 3) != 0;
    store_id_t store = store_choose(sim, random, is_patient ? is_empty : is_not_up);
    if (store == 0)
        return false;
    struct process *process = &sim->stores[sim_host_of_store(store)];
    if (process_is_up(process) && node_is_joining(process->node))
        return false; /* it does not know yet that it is in, and would ask again */
    process->is_to_be_removed = true;
    return change_submit(sim, OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, store);
}
