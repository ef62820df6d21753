#include "tests/sim/store_check.h"

#include "base/memory.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_replicas.h"
#include "shardmaster/master_stores.h"
#include "tests/sim/plan.h"

#include <inttypes.h>
#include <stdlib.h>

#define GROUPS_MAX 32u

/* As the last map had them. */
struct store_sight {
    uint32_t state;        /* 0: it was not there */
    size_t wanted_count;   /* replicas that stay or come */
    size_t replicas_count; /* and those that leave */
    bool was_filled;
};

struct group_sight {
    uint64_t epoch; /* 0: it was not there */
    size_t wanted_count;
    replica_id_t joining[RAFT_MEMBERS_MAX];
    size_t joining_count;
};

struct store_check {
    uint64_t epoch;
    struct store_sight stores[SIM_STORES_MAX]; /* by number, from 1 */
    struct group_sight groups[GROUPS_MAX];     /* by id */
    struct store_steps steps;
    struct check_result result;
};

struct store_check *store_check_new(void)
{
    struct store_check *check = memory_alloc_zeroed(1, sizeof *check);
    check_result_init(&check->result);
    return check;
}

void store_check_free(struct store_check *check)
{
    free(check);
}

/* --- Stores --- */

static void step_add(struct store_check *check, enum store_step_kind kind, store_id_t store)
{
    store_steps_add(&check->steps, (struct store_step){.kind = kind, .store = store});
}

static void store_sight_count(const Ostraka__GroupInfo *group, store_id_t store,
                              struct store_sight *sight)
{
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        sight->replicas_count += replica->store == store;
        sight->wanted_count += replica->store == store && replica->role != MASTER_REPLICA_LEAVING;
    }
}

static struct store_sight store_sight_of(const Ostraka__Map *map, store_id_t id)
{
    const Ostraka__StoreInfo *store = master_map_store(map, id);
    struct store_sight sight = {.state = store ? store->state : 0};
    store_sight_count(map->master, id, &sight);
    for (size_t place = 0; place < map->n_groups; place++)
        store_sight_count(map->groups[place], id, &sight);
    return sight;
}

/* From one epoch to the next; of maps in between that nobody saw nothing can be said. */
static bool may_follow(uint32_t before, uint32_t after)
{
    switch (after) {
    case 0:
        return before == MASTER_STORE_DRAINING || before == MASTER_STORE_DEAD;
    case MASTER_STORE_UP:
        return true;
    case MASTER_STORE_DRAINING:
        return before == MASTER_STORE_UP || before == MASTER_STORE_DEAD;
    case MASTER_STORE_DEAD:
        return before == MASTER_STORE_UP;
    default:
        return false;
    }
}

static void state_judge(struct store_check *check, store_id_t id, const struct store_sight *before,
                        const struct store_sight *after)
{
    if (after->state == 0 && (before->replicas_count > 0 || before->state == MASTER_STORE_UP))
        check_result_violation(&check->result, "store-removed-too-soon",
                               "store %" PRIu64 " was %s, held %zu replicas, and was removed", id,
                               master_store_state_name(before->state), before->replicas_count);
    if (!may_follow(before->state, after->state))
        check_result_violation(
            &check->result, "store-from-nowhere", "store %" PRIu64 " was %s, and is %s", id,
            master_store_state_name(before->state), master_store_state_name(after->state));
}

static void state_step(struct store_check *check, store_id_t id, uint32_t before, uint32_t after)
{
    if (before == 0)
        step_add(check, STORE_STEP_JOINED, id);
    else if (after == 0)
        step_add(check, STORE_STEP_REMOVED, id);
    else if (after == MASTER_STORE_DEAD)
        step_add(check, STORE_STEP_DIED, id);
    else if (after == MASTER_STORE_DRAINING)
        step_add(check, STORE_STEP_DRAINED, id);
    else
        step_add(check, before == MASTER_STORE_DEAD ? STORE_STEP_CAME_BACK : STORE_STEP_UNDRAINED,
                 id);
}

static void replicas_step(struct store_check *check, store_id_t id,
                          const struct store_sight *before, struct store_sight *after)
{
    if (after->state == MASTER_STORE_UP && !before->was_filled && after->wanted_count > 0) {
        after->was_filled = true;
        step_add(check, STORE_STEP_FILLED, id);
    }
    if (after->state == MASTER_STORE_UP || after->state == 0)
        return;
    if (after->wanted_count < before->wanted_count)
        step_add(check, STORE_STEP_REPLACED, id);
    if (after->replicas_count < before->replicas_count)
        step_add(check, after->replicas_count > 0 ? STORE_STEP_LEFT : STORE_STEP_EMPTIED, id);
}

static void store_look(struct store_check *check, const Ostraka__Map *map, store_id_t id,
                       bool is_first, bool is_next)
{
    struct store_sight *before = &check->stores[id - 1];
    struct store_sight after = store_sight_of(map, id);
    after.was_filled = before->was_filled || (is_first && after.state != 0);
    if (after.state == 0 && after.replicas_count > 0)
        check_result_violation(&check->result, "replica-of-nobody",
                               "store %" PRIu64 " is not in the map, and has %zu replicas", id,
                               after.replicas_count);
    if (!is_first && after.state != before->state) {
        if (is_next)
            state_judge(check, id, before, &after);
        state_step(check, id, before->state, after.state);
    }
    if (!is_first)
        replicas_step(check, id, before, &after);
    *before = after;
}

/* --- Groups --- */

static bool was_asked_for(const struct admin *admin, group_id_t group, uint64_t group_epoch)
{
    for (size_t index = 0; index < admin->requests_count; index++) {
        const struct admin_request *request = &admin->requests[index];
        if (request->group == group && request->group_epoch == group_epoch &&
            request->add_store == 0)
            return true;
    }
    return false;
}

/* Who joins does not come after all: then who was to leave stays, unless it is lost. */
static bool is_called_off(const Ostraka__GroupInfo *group, const struct group_sight *before)
{
    for (size_t index = 0; index < before->joining_count; index++) {
        const Ostraka__ReplicaInfo *replica = master_group_replica(group, before->joining[index]);
        if (!replica || replica->role == MASTER_REPLICA_LEAVING)
            return true;
    }
    return false;
}

static void group_look(struct store_check *check, const Ostraka__GroupInfo *group,
                       const struct admin *admin)
{
    ASSERT(group->id < GROUPS_MAX);
    struct group_sight *before = &check->groups[group->id];
    struct group_sight after = {.epoch = group->epoch};
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        after.wanted_count += replica->role != MASTER_REPLICA_LEAVING;
        if (replica->role == MASTER_REPLICA_JOINING)
            after.joining[after.joining_count++] = replica->replica;
    }
    if (before->epoch != 0 && after.epoch == before->epoch + 1 &&
        after.wanted_count < before->wanted_count && !is_called_off(group, before) &&
        !was_asked_for(admin, group->id, before->epoch))
        check_result_violation(&check->result, "removed-before-added",
                               "group %" PRIu64 " has %zu replicas at epoch %" PRIu64
                               ", had %zu, and nobody asked for that",
                               group->id, after.wanted_count, after.epoch, before->wanted_count);
    *before = after;
}

void store_check_map(struct store_check *check, const Ostraka__Map *map, const struct admin *admin)
{
    if (map->epoch <= check->epoch)
        return;
    check->result.judged_count++;
    for (store_id_t id = 1; id <= SIM_STORES_MAX; id++)
        store_look(check, map, id, check->epoch == 0, map->epoch == check->epoch + 1);
    group_look(check, map->master, admin);
    for (size_t place = 0; place < map->n_groups; place++)
        group_look(check, map->groups[place], admin);
    check->epoch = map->epoch;
}

bool store_check_take_step(struct store_check *check, struct store_step *out_step)
{
    return store_steps_take(&check->steps, out_step);
}

const struct check_result *store_check_result(const struct store_check *check)
{
    return &check->result;
}
