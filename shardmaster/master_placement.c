/* master_placement.c: what group 0's leader does with stores that come, go silent, drain or are
 * unevenly filled. Which action is next says placement.h; here it is proposed, or told to the store
 * that leads. Nothing of it is replicated but what the map says: a new leader listens first, and
 * then goes on from the map.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/frame.h"
#include "shardmaster/master_groups.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_stores.h"
#include "shardmaster/placement.h"

#include <stdlib.h>
#include <string.h>

#define uthash_malloc(bytes_count) memory_alloc(bytes_count)
#include <uthash.h>

/* A store that has not reported for so long gets nothing new; it reports every second. */
#define LIVE_NS (5 * NS_PER_S)
/* A new leader waits so long for the stores to report: half a picture is no ground to move on. */
#define LISTEN_NS        (5 * NS_PER_S)
#define ACTIONS_PER_PASS 16u
/* A transfer ends within an election timeout, or does not happen. */
#define TRANSFER_REST_NS_MIN (2 * NS_PER_S)
#define TRANSFER_REST_NS_MAX (60 * NS_PER_S)
/* A voter that lags further would stop its group's writes while it is brought up to date. */
#define TRANSFER_LAG_MAX 1000u

/* A store that is not simply UP, or is being filled, since this leader saw it so. */
struct master_upkeep {
    store_id_t store;
    nanoseconds_t since_ns;
    size_t replicas_count_first; /* when it was first seen so */
    UT_hash_handle hh;
};

/* When leadership of a group was last told to go. */
struct master_transfer {
    group_id_t group;
    store_id_t to_store;
    nanoseconds_t told_ns;
    nanoseconds_t rest_ns; /* from then on */
    UT_hash_handle hh;
};

void master_placement_ended(struct master *master)
{
    struct master_leader *leader = &master->leader;
    struct master_upkeep *upkeep, *upkeep_next;
    HASH_ITER (hh, leader->upkeeps, upkeep, upkeep_next) {
        HASH_DEL(leader->upkeeps, upkeep);
        free(upkeep);
    }
    struct master_transfer *transfer, *transfer_next;
    HASH_ITER (hh, leader->transfers, transfer, transfer_next) {
        HASH_DEL(leader->transfers, transfer);
        free(transfer);
    }
}

/* --- What is known --- */

/* From the disk that the map knows it by. */
static bool store_is_live(const struct master *master, store_id_t store)
{
    return master_leader_report_of(master, store) &&
           master->now_ns - master_leader_heard_ns(master, store) < LIVE_NS;
}

static bool has_listened(const struct master *master)
{
    if (master->now_ns - master->leader.led_ns >= LISTEN_NS)
        return true;
    for (size_t place = 0; place < master->map->n_stores; place++) {
        const Ostraka__StoreInfo *store = master->map->stores[place];
        if (store->state != MASTER_STORE_DEAD && !store_is_live(master, store->id))
            return false;
    }
    return true;
}

static void input_make(const struct master *master, struct arena *arena,
                       struct placement_input *out_input)
{
    const Ostraka__Map *map = master->map;
    struct placement_store *stores = arena_alloc_zeroed(arena, map->n_stores * sizeof(stores[0]));
    store_id_t *leaders = arena_alloc_zeroed(arena, (map->n_groups + 1) * sizeof(leaders[0]));
    for (size_t place = 0; place < map->n_stores; place++) {
        const Ostraka__StoreReport *report =
            master_leader_report_of(master, map->stores[place]->id);
        stores[place].is_live = store_is_live(master, map->stores[place]->id);
        stores[place].is_slow = report && report->log_is_slow;
    }
    for (size_t place = 0; place < map->n_groups; place++)
        leaders[place] = master_leader_hint(master, map->groups[place]->id);
    leaders[map->n_groups] = master->options.store_id;
    *out_input =
        (struct placement_input){.map = map,
                                 .stores = stores,
                                 .leaders = leaders,
                                 .replica_changes_max = master->options.replica_changes_max};
}

/* --- The life of stores --- */

static void state_propose(struct master *master, const Ostraka__StoreInfo *store, uint32_t state)
{
    struct master_store_command command;
    master_stores_state_command(store->id, store->state, state, &command);
    master_leader_propose(master, &command.command);
}

bool master_store_is_silent(const struct master *master, store_id_t store)
{
    nanoseconds_t heard_ns = master_leader_heard_ns(master, store);
    if (master->options.dead_after_ms == 0)
        return false;
    if (heard_ns < master->leader.led_ns)
        heard_ns = master->leader.led_ns;
    return master->now_ns - heard_ns >= master->options.dead_after_ms * NS_PER_MS;
}

static void host_propose(struct master *master, store_id_t store, const char *host)
{
    Ostraka__MasterCommand__StoreHostSet set = OSTRAKA__MASTER_COMMAND__STORE_HOST_SET__INIT;
    set.store = store;
    set.host = (char *)(uintptr_t)host;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_STORE_HOST_SET;
    command.store_host_set = &set;
    master_leader_propose(master, &command);
}

static void see_to_life(struct master *master, const Ostraka__StoreInfo *store)
{
    if (store->state == MASTER_STORE_UP && master_store_is_silent(master, store->id)) {
        COVER(MASTER_STORE_DIED);
        state_propose(master, store, MASTER_STORE_DEAD);
    } else if (store->state == MASTER_STORE_DEAD && store_is_live(master, store->id)) {
        COVER(MASTER_STORE_CAME_BACK);
        state_propose(master, store, MASTER_STORE_UP);
    }
    const Ostraka__StoreReport *report = master_leader_report_of(master, store->id);
    if (report && strcmp(report->host, store->host) != 0 &&
        strlen(report->host) <= STORE_HOST_BYTES_MAX)
        host_propose(master, store->id, report->host);
}

/* --- Actions --- */

static bool change_propose(struct master *master, const struct placement_action *action,
                           raft_index_t *out_index)
{
    Ostraka__ChangeReplicas request = OSTRAKA__CHANGE_REPLICAS__INIT;
    request.group = action->group;
    request.group_epoch = action->group_epoch;
    request.add_store = action->add_store;
    request.remove_store = action->remove_store;
    Ostraka__MasterCommand__ReplicasWanted wanted;
    char why[MASTER_WHY_BYTES];
    if (master_replicas_check(master->map, &request, &wanted, why) != OST_OK)
        return false;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_REPLICAS_WANTED;
    command.replicas_wanted = &wanted;
    if (RARE(MASTER_PROPOSAL_REFUSED) || master_propose(master, &command, out_index) != OST_OK)
        return false;
    COVER(MASTER_REPLICA_PLACED);
    log_write(LOG_INFO, "a replica is placed",
              "store=%lu group=%lu add_store=%lu remove_store=%lu why=\"%s\"",
              master->options.store_id, action->group, action->add_store, action->remove_store,
              action->why);
    return true;
}

static raft_index_t applied_index_of(const struct master *master, store_id_t store,
                                     group_id_t group)
{
    const Ostraka__StoreReport *report = master_leader_report_of(master, store);
    for (size_t index = 0; report && index < report->n_replicas; index++)
        if (report->replicas[index]->group == group && !report->replicas[index]->lost)
            return report->replicas[index]->applied_index;
    return 0;
}

static bool is_up_to_date(const struct master *master, const struct placement_action *action,
                          store_id_t from)
{
    return applied_index_of(master, action->to_store, action->group) + TRANSFER_LAG_MAX >=
           applied_index_of(master, from, action->group);
}

static struct master_transfer *transfer_of(struct master *master, group_id_t group)
{
    struct master_transfer *transfer;
    HASH_FIND(hh, master->leader.transfers, &group, sizeof(group), transfer);
    if (transfer)
        return transfer;
    transfer = memory_alloc_zeroed(1, sizeof(*transfer));
    transfer->group = group;
    HASH_ADD(hh, master->leader.transfers, group, sizeof(transfer->group), transfer);
    return transfer;
}

/* Too often, and the group would do nothing but hand over: it takes no proposals meanwhile. So who
 * is told the same again, because nothing came of it, is told ever more rarely. */
static bool transfer_is_due(struct master *master, const struct placement_action *action)
{
    struct master_transfer *transfer = transfer_of(master, action->group);
    nanoseconds_t passed_ns = master->now_ns - transfer->told_ns;
    if (passed_ns < transfer->rest_ns)
        return false;
    bool is_again =
        transfer->to_store == action->to_store && passed_ns < 2 * transfer->rest_ns + LIVE_NS;
    transfer->rest_ns = is_again ? 2 * transfer->rest_ns : TRANSFER_REST_NS_MIN;
    if (transfer->rest_ns > TRANSFER_REST_NS_MAX)
        transfer->rest_ns = TRANSFER_REST_NS_MAX;
    transfer->to_store = action->to_store;
    transfer->told_ns = master->now_ns;
    return true;
}

static void transfer_tell(struct master *master, const struct placement_action *action)
{
    store_id_t from = action->group == SHARD_MASTER_GROUP
                          ? master->options.store_id
                          : master_leader_hint(master, action->group);
    if (!is_up_to_date(master, action, from) || !transfer_is_due(master, action))
        return;
    COVER(MASTER_LEADER_PLACED);
    log_write(LOG_INFO, "a leadership is placed",
              "store=%lu group=%lu from_store=%lu to_store=%lu why=\"%s\"",
              master->options.store_id, action->group, from, action->to_store, action->why);
    Ostraka__TransferLeader message = OSTRAKA__TRANSFER_LEADER__INIT;
    message.group = action->group;
    message.to_store = action->to_store;
    outbox_to_store(master->outbox, from, CHANNEL_CONTROL,
                    frame_encode(FRAME_TRANSFER_LEADER, 0, &message.base, NULL, 0));
}

static void place(struct master *master)
{
    struct arena arena;
    arena_init(&arena);
    struct placement_input input;
    struct placement_action actions[ACTIONS_PER_PASS];
    input_make(master, &arena, &input);
    size_t count = placement_next(&input, actions, ACTIONS_PER_PASS);
    for (size_t index = 0; index < count; index++) {
        raft_index_t proposed;
        if (actions[index].kind == PLACEMENT_TRANSFER_LEADER)
            transfer_tell(master, &actions[index]);
        else if (change_propose(master, &actions[index], &proposed))
            master->leader.placed_index = proposed;
    }
    arena_fini(&arena);
}

static void group_create(struct master *master)
{
    struct arena arena;
    arena_init(&arena);
    struct placement_input input;
    struct master_group_command created;
    raft_index_t proposed;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_GROUP_CREATED;
    command.group_created = &created.command;
    input_make(master, &arena, &input);
    if (master_groups_next(&input, &created) && !RARE(MASTER_PROPOSAL_REFUSED) &&
        master_propose(master, &command, &proposed) == OST_OK)
        master->leader.placed_index = proposed;
    arena_fini(&arena);
}

/* --- For people: what is under way --- */

/* Does it get a replica that another store could have kept? Else it only helps out. */
static bool is_given_one(const struct master *master, const Ostraka__GroupInfo *group,
                         store_id_t store)
{
    const Ostraka__ReplicaInfo *joins = master_group_replica_on(group, store);
    if (!joins || joins->role != MASTER_REPLICA_JOINING)
        return false;
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        if (replica->role == MASTER_REPLICA_LEAVING &&
            master_map_store(master->map, replica->store)->state != MASTER_STORE_UP)
            return false;
    }
    return true;
}

static bool is_joining(const struct master *master, const Ostraka__StoreInfo *store,
                       const struct placement_action *actions, size_t actions_count)
{
    const Ostraka__Map *map = master->map;
    if (store->state != MASTER_STORE_UP ||
        master_store_replicas_count(map, store->id) >= placement_share(map))
        return false;
    for (size_t index = 0; index < actions_count; index++) {
        const Ostraka__StoreInfo *from = master_map_store(map, actions[index].remove_store);
        if (actions[index].add_store == store->id && (!from || from->state == MASTER_STORE_UP))
            return true;
    }
    for (size_t index = 0; index <= map->n_groups; index++)
        if (is_given_one(master, index < map->n_groups ? map->groups[index] : map->master,
                         store->id))
            return true;
    return false;
}

static struct master_upkeep *upkeep_of(struct master *master, store_id_t store)
{
    struct master_upkeep *upkeep;
    HASH_FIND(hh, master->leader.upkeeps, &store, sizeof(store), upkeep);
    size_t count = master_store_replicas_count(master->map, store);
    if (!upkeep) {
        upkeep = memory_alloc_zeroed(1, sizeof(*upkeep));
        upkeep->store = store;
        upkeep->since_ns = master->now_ns;
        upkeep->replicas_count_first = count;
        HASH_ADD(hh, master->leader.upkeeps, store, sizeof(upkeep->store), upkeep);
    }
    /* One that came on after it was asked to drain goes as well. */
    if (upkeep->replicas_count_first < count)
        upkeep->replicas_count_first = count;
    return upkeep;
}

static void upkeep_forget(struct master *master, store_id_t store)
{
    struct master_upkeep *upkeep;
    HASH_FIND(hh, master->leader.upkeeps, &store, sizeof(store), upkeep);
    if (upkeep)
        HASH_DEL(master->leader.upkeeps, upkeep);
    free(upkeep);
}

/* One that is UP has its upkeep only while it is filled. */
static void see_to_upkeep(struct master *master, const Ostraka__StoreInfo *store)
{
    if (store->state != MASTER_STORE_UP)
        upkeep_of(master, store->id);
    else if (master_store_replicas_count(master->map, store->id) >= placement_share(master->map))
        upkeep_forget(master, store->id);
}

static Ostraka__ProgressItem *item_new(struct master *master, struct arena *arena,
                                       const Ostraka__StoreInfo *store, const char *what)
{
    Ostraka__ProgressItem *item = arena_alloc(arena, sizeof(*item));
    ostraka__progress_item__init(item);
    item->what = (char *)(uintptr_t)what;
    item->store = store->id;
    item->age_ms = (master->now_ns - upkeep_of(master, store->id)->since_ns) / NS_PER_MS;
    return item;
}

static Ostraka__ProgressItem *item_leaves(struct master *master, struct arena *arena,
                                          const struct placement_input *input,
                                          const Ostraka__StoreInfo *store)
{
    bool drains = store->state == MASTER_STORE_DRAINING;
    Ostraka__ProgressItem *item = item_new(master, arena, store, drains ? "drain" : "replace");
    char why[PLACEMENT_WHY_BYTES] = "";
    size_t left_count = master_store_replicas_count(master->map, store->id);
    item->whole_count = upkeep_of(master, store->id)->replicas_count_first;
    item->done_count = item->whole_count - left_count;
    if (left_count == 0)
        item->waits_for = (char *)(uintptr_t) "its removal: 'ostraka remove-store'";
    else if (master->options.replica_changes_max == 0)
        item->waits_for = (char *)(uintptr_t) "a person: placement is off";
    else if (!has_listened(master))
        item->waits_for = (char *)(uintptr_t) "the reports of all stores";
    else if (placement_waits(input, store->id, why))
        item->waits_for = arena_printf(arena, "%s", why);
    return item;
}

void master_stores_progress(struct master *master, struct arena *arena,
                            Ostraka__ProgressItem ***out_items, size_t *out_count)
{
    const Ostraka__Map *map = master->map;
    struct placement_input input;
    struct placement_action actions[ACTIONS_PER_PASS];
    input_make(master, arena, &input);
    size_t actions_count = placement_next(&input, actions, ACTIONS_PER_PASS);
    Ostraka__ProgressItem **items = arena_alloc(arena, (map->n_stores + 1) * sizeof(items[0]));
    *out_count = 0;
    for (size_t place = 0; place < map->n_stores; place++) {
        const Ostraka__StoreInfo *store = map->stores[place];
        if (store->state != MASTER_STORE_UP) {
            items[(*out_count)++] = item_leaves(master, arena, &input, store);
        } else if (is_joining(master, store, actions, actions_count)) {
            Ostraka__ProgressItem *item = item_new(master, arena, store, "join");
            item->done_count = master_store_replicas_count(map, store->id);
            item->whole_count = placement_share(map);
            items[(*out_count)++] = item;
        }
    }
    *out_items = items;
}

void master_groups_progress(struct master *master, struct master_progress *progress)
{
    for (size_t place = 0; place < master->map->n_groups; place++) {
        const Ostraka__GroupInfo *group = master->map->groups[place];
        if (!master_group_is_beginning(group))
            continue;
        Ostraka__ProgressItem *item = master_progress_add(progress, "group");
        if (!item)
            return;
        item->group = group->id;
        item->waits_for = (char *)(uintptr_t) "its first replicas, and one that leads";
    }
}

/* --- Time --- */

/* What was proposed shows in the map once it is applied: until then the same would be asked for. */
void master_placement_timer(struct master *master)
{
    for (size_t index = 0; index < master->map->n_stores; index++) {
        see_to_life(master, master->map->stores[index]);
        see_to_upkeep(master, master->map->stores[index]);
    }
    if (!has_listened(master) || master->meta.index < master->leader.placed_index)
        return;
    if (master->options.range_changes_max > 0)
        group_create(master);
    if (master->options.replica_changes_max > 0 &&
        master->meta.index >= master->leader.placed_index)
        place(master);
}
