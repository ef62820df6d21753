/* master_leader.c: what group 0's leader sees to: the map is an intent, the stores and the groups'
 * logs are the truth; it tells them until their reports agree, and tells everybody the map. Nothing
 * here is replicated: a new leader hears the reports within a second and goes on.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/frame.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_replicas.h"

#include <stdlib.h>

#define uthash_malloc(bytes_count) memory_alloc(bytes_count)
#include <uthash.h>

#define PUSH_EVERY_NS_MIN (50 * NS_PER_MS)
/* Where a range is served now: whoever asks for it waits for this. */
#define PUSH_OWNERS_NS_MIN    (5 * NS_PER_MS)
#define RECONCILE_SOON_NS_MIN (50 * NS_PER_MS)
/* A push may be lost, and hints have no epoch by which a store could tell. */
#define PUSH_EVERY_NS_MAX (5 * NS_PER_S)
/* How long a new leader waits for every store's report before it pushes hints: half a picture would
 * overwrite what the stores know. */
#define PICTURE_WAIT_NS     (1500 * NS_PER_MS)
#define FRAMES_PER_PASS_MAX 1024u

struct master_report {
    store_id_t store;
    nanoseconds_t heard_ns; /* when it came */
    struct arena arena;
    Ostraka__StoreReport *message;
    UT_hash_handle hh;
};

struct master_hint {
    group_id_t group;
    store_id_t leader_store;
    raft_term_t term;
    UT_hash_handle hh;
};

static struct master_report *report_find(const struct master_leader *leader, store_id_t store)
{
    struct master_report *report;
    HASH_FIND(hh, leader->reports, &store, sizeof(store), report);
    return report;
}

static struct master_hint *hint_find(const struct master_leader *leader, group_id_t group)
{
    struct master_hint *hint;
    HASH_FIND(hh, leader->hints, &group, sizeof(group), hint);
    return hint;
}

void master_leader_ended(struct master *master)
{
    struct master_leader *leader = &master->leader;
    master_placement_ended(master);
    struct master_report *report, *next_report;
    HASH_ITER (hh, leader->reports, report, next_report) {
        HASH_DEL(leader->reports, report);
        arena_fini(&report->arena);
        free(report);
    }
    struct master_hint *hint, *next_hint;
    HASH_ITER (hh, leader->hints, hint, next_hint) {
        HASH_DEL(leader->hints, hint);
        free(hint);
    }
    master_ranges_leader_ended(master);
    master_ranges_placement_ended(master);
    *leader = (struct master_leader){0};
}

static void leader_propose_bootstrap(struct master *master)
{
    if (master->options.initial_stores_count == 0)
        return; /* it has joined: what it leads was founded by others */
    struct arena arena;
    arena_init(&arena);
    const Ostraka__Map *map = master_bootstrap_map(&master->options, &arena);
    Ostraka__MasterCommand__Bootstrap bootstrap = OSTRAKA__MASTER_COMMAND__BOOTSTRAP__INIT;
    bootstrap.cluster_id = map->cluster_id;
    bootstrap.n_stores = map->n_stores;
    bootstrap.stores = map->stores;
    bootstrap.n_groups = map->n_groups;
    bootstrap.groups = map->groups;
    bootstrap.n_ranges = map->n_ranges;
    bootstrap.ranges = map->ranges;
    bootstrap.master = map->master;
    bootstrap.next_replica = map->next_replica;
    bootstrap.replicas_wanted = map->replicas_wanted;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_BOOTSTRAP;
    command.bootstrap = &bootstrap;
    raft_index_t index;
    master->leader.bootstrap_proposed = master_propose(master, &command, &index) == OST_OK;
    arena_fini(&arena);
}

void master_leader_began(struct master *master)
{
    master_leader_ended(master);
    struct master_leader *leader = &master->leader;
    leader->led_ns = master->now_ns;
    leader->pushed_ns = master->now_ns;
    leader->hints_changed = true; /* who leads group 0 is one of them */
    leader->safe_point_ns = master->now_ns;
    master_leader_ranges_changed(master, false); /* nobody knows when */
    master_ranges_leader_began(master);
    master_ranges_placement_began(master);
    if (master->map->epoch == 0)
        leader_propose_bootstrap(master);
}

void master_leader_map_changed(struct master *master)
{
    if (!master->leadership.ready)
        return;
    struct master_leader *leader = &master->leader;
    leader->map_changed = true;
    leader->reconcile_soon = true;
    master_ranges_placement_map_changed(master);
}

void master_leader_ranges_changed(struct master *master, bool has_other_owners)
{
    struct master_leader *leader = &master->leader;
    leader->ranges_changed = true;
    leader->owners_changed = leader->owners_changed || has_other_owners;
    leader->ranges_since = master->map->epoch;
}

/* --- the map, to the stores --- */

static void group_hint(const struct master *master, Ostraka__GroupInfo *group)
{
    const struct master_hint *hint = hint_find(&master->leader, group->id);
    group->leader_store = hint ? hint->leader_store : 0;
    group->leader_term = hint ? hint->term : 0;
}

static void group_forget_hint(Ostraka__GroupInfo *group)
{
    group->leader_store = 0;
    group->leader_term = 0;
}

/* Without ranges it is for whoever has a map since which they are the same. */
static struct blob *map_frame(struct master *master, bool with_ranges)
{
    Ostraka__Map *map = master->map;
    size_t ranges_count = map->n_ranges;
    map->n_ranges = with_ranges ? ranges_count : 0;
    map->ranges_since = with_ranges ? 0 : master->leader.ranges_since;
    for (size_t index = 0; index < map->n_groups; index++)
        group_hint(master, map->groups[index]);
    if (map->master) {
        map->master->leader_store = master->options.store_id;
        map->master->leader_term = master->leadership.term;
    }
    map->heard_timestamp = raft_host_heard_timestamp(master->host);
    struct blob *frame = frame_encode(FRAME_MAP_ANSWER, 0, &map->base, NULL, 0);
    /* What only this leader believes must not get into rows and snapshots. */
    for (size_t index = 0; index < map->n_groups; index++)
        group_forget_hint(map->groups[index]);
    if (map->master)
        group_forget_hint(map->master);
    map->heard_timestamp = 0;
    map->n_ranges = ranges_count;
    map->ranges_since = 0;
    return frame;
}

static bool leader_sees_all_stores(const struct master *master)
{
    return HASH_COUNT(master->leader.reports) >= master->map->n_stores ||
           master->now_ns - master->leader.led_ns >= PICTURE_WAIT_NS;
}

static nanoseconds_t leader_push_ns_min(const struct master_leader *leader)
{
    return leader->owners_changed ? PUSH_OWNERS_NS_MIN : PUSH_EVERY_NS_MIN;
}

static bool leader_push_is_due(const struct master *master)
{
    const struct master_leader *leader = &master->leader;
    nanoseconds_t since_ns = master->now_ns - leader->pushed_ns;
    if (master->map->epoch == 0)
        return false;
    bool wanted = leader->map_changed || (leader->hints_changed && leader_sees_all_stores(master));
    return (wanted && since_ns >= leader_push_ns_min(leader)) || since_ns >= PUSH_EVERY_NS_MAX;
}

static void leader_push(struct master *master)
{
    struct blob *frame = map_frame(master, master->leader.ranges_changed);
    for (size_t index = 0; index < master->map->n_stores; index++) {
        if (RARE(MASTER_MAP_PUSH_LOST))
            continue;
        outbox_to_store(master->outbox, master->map->stores[index]->id, CHANNEL_CONTROL,
                        blob_ref(frame));
    }
    blob_unref(frame);
    master->leader.pushed_ns = master->now_ns;
    master->leader.map_changed = false;
    master->leader.hints_changed = false;
    master->leader.ranges_changed = false;
    master->leader.owners_changed = false;
}

/* --- reports --- */

/* The highest term wins: of two stores that each say they lead, the older is deposed. */
static void leader_take_hint(struct master *master, const Ostraka__ReplicaReport *replica,
                             store_id_t reporter)
{
    store_id_t leader_store = replica->leads ? reporter : replica->leader_store;
    const Ostraka__GroupInfo *group = master_map_group(master->map, replica->group);
    if (leader_store == 0 || !group || group->id == SHARD_MASTER_GROUP ||
        !master_map_store(master->map, leader_store))
        return;
    struct master_hint *hint = hint_find(&master->leader, replica->group);
    if (hint && replica->term <= hint->term)
        return;
    if (!hint) {
        hint = memory_alloc_zeroed(1, sizeof(*hint));
        hint->group = replica->group;
        HASH_ADD(hh, master->leader.hints, group, sizeof(hint->group), hint);
    }
    hint->leader_store = leader_store;
    hint->term = replica->term;
    master->leader.hints_changed = true;
}

static void leader_use_report(struct master *master, const Ostraka__StoreReport *message)
{
    for (size_t index = 0; index < message->n_replicas; index++)
        leader_take_hint(master, message->replicas[index], message->store);
    if (message->map_epoch < master->map->epoch)
        outbox_to_store(master->outbox, message->store, CHANNEL_CONTROL,
                        map_frame(master, message->map_epoch < master->leader.ranges_since));
    master_safe_point_reported(master, message->store, message->safe_point);
    master->leader.reconcile_soon = true;
}

/* Reports that come before the map is made are kept: so it comes true at once. */
static bool leader_knows_store(const struct master *master, store_id_t store)
{
    if (master->map->epoch != 0)
        return master_map_store(master->map, store) != NULL;
    for (size_t place = 0; place < master->options.initial_stores_count; place++)
        if (master->options.initial_stores[place].id == store)
            return true;
    return false;
}

int master_leader_report(struct master *master, struct bytes bytes)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__StoreReport *message =
        (Ostraka__StoreReport *)message_unpack(&ostraka__store_report__descriptor, bytes, &arena);
    int status = message ? OST_OK : OST_PROTOCOL;
    if (!message || !master->leadership.ready || !leader_knows_store(master, message->store)) {
        arena_fini(&arena);
        return status;
    }
    struct master_leader *leader = &master->leader;
    struct master_report *report = report_find(leader, message->store);
    master_ranges_placement_reported(master, report ? report->message : NULL, message);
    if (report) {
        arena_fini(&report->arena);
    } else {
        report = memory_alloc_zeroed(1, sizeof(*report));
        report->store = message->store;
        HASH_ADD(hh, leader->reports, store, sizeof(report->store), report);
    }
    report->heard_ns = master->now_ns;
    report->arena = arena;
    report->message = message;
    leader_use_report(master, message);
    return OST_OK;
}

/* It was heard of just now, or it would have been silent for as long as this leader leads; but it
 * is not counted on before it reports. */
void master_leader_store_joined(struct master *master, store_id_t store)
{
    if (!master->leadership.ready || report_find(&master->leader, store))
        return;
    struct master_report *report = memory_alloc_zeroed(1, sizeof(*report));
    report->store = store;
    report->heard_ns = master->now_ns;
    arena_init(&report->arena);
    report->message = arena_alloc(&report->arena, sizeof(*report->message));
    ostraka__store_report__init(report->message);
    HASH_ADD(hh, master->leader.reports, store, sizeof(report->store), report);
}

/* --- making the map true --- */

void master_leader_forget_store(struct master *master, store_id_t store)
{
    struct master_report *report = report_find(&master->leader, store);
    /* It hears of it, if it hears at all, and stops. */
    if (master->leadership.ready)
        outbox_to_store(master->outbox, store, CHANNEL_CONTROL, map_frame(master, true));
    if (!report)
        return;
    HASH_DEL(master->leader.reports, report);
    arena_fini(&report->arena);
    free(report);
}

nanoseconds_t master_leader_heard_ns(const struct master *master, store_id_t store)
{
    const struct master_report *report = report_find(&master->leader, store);
    return report ? report->heard_ns : 0;
}

store_id_t master_leader_hint(const struct master *master, group_id_t group)
{
    const struct master_hint *hint = hint_find(&master->leader, group);
    return hint ? hint->leader_store : 0;
}

/* Only from that disk may a replica under a number of the map be expected. */
const Ostraka__StoreReport *master_leader_report_of(const struct master *master, store_id_t id)
{
    const struct master_report *report = report_find(&master->leader, id);
    const Ostraka__StoreInfo *store = master_map_store(master->map, id);
    if (!report || !store || report->message->incarnation == 0 ||
        report->message->incarnation != store->incarnation)
        return NULL;
    return report->message;
}

static const Ostraka__ReplicaReport *report_replica(const Ostraka__StoreReport *message,
                                                    group_id_t group, replica_id_t replica)
{
    for (size_t index = 0; message && index < message->n_replicas; index++)
        if (message->replicas[index]->group == group &&
            message->replicas[index]->replica == replica)
            return message->replicas[index];
    return NULL;
}

bool master_leader_propose(struct master *master, const Ostraka__MasterCommand *command)
{
    raft_index_t index;
    int status =
        RARE(MASTER_PROPOSAL_REFUSED) ? OST_LOG_FULL : master_propose(master, command, &index);
    if (status != OST_OK)
        log_write(LOG_DEBUG, "a proposal of the shard master was refused", "status=%s",
                  ost_status_name(status));
    return status == OST_OK;
}

static void leader_create_replica(struct master *master, const Ostraka__GroupInfo *group,
                                  const Ostraka__ReplicaInfo *replica)
{
    Ostraka__RaftConfiguration__Member members[REPLICAS_PER_GROUP_MAX];
    Ostraka__RaftConfiguration__Member *pointers[REPLICAS_PER_GROUP_MAX];
    Ostraka__RaftConfiguration configuration = OSTRAKA__RAFT_CONFIGURATION__INIT;
    /* The first replicas begin together, and each is told of all. Whoever comes later begins with
     * nothing, and learns of the others from their leader. */
    bool is_first = group->epoch == 1;
    ASSERT(!is_first || group->n_replicas <= REPLICAS_PER_GROUP_MAX);
    for (size_t index = 0; is_first && index < group->n_replicas; index++) {
        ostraka__raft_configuration__member__init(&members[index]);
        members[index].replica = group->replicas[index]->replica;
        members[index].store = group->replicas[index]->store;
        members[index].voter_old = true;
        members[index].voter_new = true;
        pointers[configuration.n_members++] = &members[index];
    }
    configuration.members = pointers;
    configuration.epoch = is_first ? group->epoch : 0;
    Ostraka__CreateReplica command = OSTRAKA__CREATE_REPLICA__INIT;
    command.store = replica->store;
    command.group = group->id;
    command.group_epoch = group->epoch;
    command.replica = replica->replica;
    command.configuration = &configuration;
    command.incarnation = master_map_store(master->map, replica->store)->incarnation;
    outbox_to_store(master->outbox, replica->store, CHANNEL_CONTROL,
                    frame_encode(FRAME_CREATE_REPLICA, 0, &command.base, NULL, 0));
}

/* A store that reports, and does not have what the map puts on it, is told. */
static uint32_t leader_create_replicas(struct master *master, const Ostraka__GroupInfo *group)
{
    uint32_t frames_count = 0;
    /* Group 0's first replicas make themselves, before there is a map. */
    if (group->id == SHARD_MASTER_GROUP && group->epoch == 1)
        return 0;
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        const Ostraka__StoreReport *report = master_leader_report_of(master, replica->store);
        if (!report || replica->lost || replica->role == MASTER_REPLICA_LEAVING)
            continue;
        if (report_replica(report, group->id, replica->replica) && !RARE(MASTER_CREATES_AGAIN))
            continue;
        leader_create_replica(master, group, replica);
        frames_count++;
    }
    return frames_count;
}

static void leader_propose_lost(struct master *master, const Ostraka__GroupInfo *group,
                                const Ostraka__ReplicaInfo *replica)
{
    Ostraka__MasterCommand__ReplicaLost lost = OSTRAKA__MASTER_COMMAND__REPLICA_LOST__INIT;
    lost.group = group->id;
    lost.replica = replica->replica;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_REPLICA_LOST;
    command.replica_lost = &lost;
    log_write(LOG_WARN, "a replica is lost", "store=%lu group=%lu replica=%lu on_store=%lu",
              master->options.store_id, group->id, replica->replica, replica->store);
    master_leader_propose(master, &command);
}

/* Committed, and by its epoch final: whoever says it, it is so. */
static bool report_settles(const Ostraka__GroupInfo *group, const Ostraka__ReplicaReport *report)
{
    struct raft_configuration configuration;
    if (!report->configuration || !report->configuration_committed)
        return false;
    struct blob *packed =
        blob_new(ostraka__raft_configuration__get_packed_size(report->configuration));
    ostraka__raft_configuration__pack(report->configuration, packed->data);
    bool settles = raft_configuration_unpack(blob_bytes(packed), &configuration) &&
                   master_group_is_wanted(group, &configuration);
    blob_unref(packed);
    return settles;
}

static void leader_propose_settled(struct master *master, const Ostraka__GroupInfo *group)
{
    Ostraka__MasterCommand__ReplicasSettled settled =
        OSTRAKA__MASTER_COMMAND__REPLICAS_SETTLED__INIT;
    settled.group = group->id;
    settled.group_epoch = group->epoch;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_REPLICAS_SETTLED;
    command.replicas_settled = &settled;
    master_leader_propose(master, &command);
}

/* It may be there or not, and its store, which is not waited for, may never tell. */
static bool leader_gives_up(const struct master *master, const Ostraka__ReplicaInfo *replica)
{
    return master_map_store(master->map, replica->store)->state != MASTER_STORE_UP &&
           master_store_is_silent(master, replica->store);
}

/* The group would begin for ever; so it goes on without this one. Who leaves is not made. */
static void leader_begin_without(struct master *master, const Ostraka__GroupInfo *group,
                                 const Ostraka__ReplicaInfo *missed)
{
    Ostraka__MasterCommand__ReplicasWanted wanted = OSTRAKA__MASTER_COMMAND__REPLICAS_WANTED__INIT;
    wanted.group = group->id;
    wanted.group_epoch = group->epoch;
    wanted.remove_replica = missed->replica;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_REPLICAS_WANTED;
    command.replicas_wanted = &wanted;
    log_write(LOG_WARN, "a group begins without one of its first replicas",
              "store=%lu group=%lu replica=%lu on_store=%lu", master->options.store_id, group->id,
              missed->replica, missed->store);
    COVER(MASTER_GROUP_BEGINS_WITHOUT);
    master_leader_propose(master, &command);
}

/* The first replicas are told of each other when they are made (leader_create_replica). A group
 * that changed before one of them is made would count on the vote of one that knows nobody, and
 * that without a leader learns of nobody. So all are waited for, but those on stores that are gone:
 * of these one is struck out here, and what is left of them is called off or replaced then
 * (placement.h). */
static void leader_see_to_beginning(struct master *master, const Ostraka__GroupInfo *group)
{
    const Ostraka__ReplicaInfo *missed = NULL;
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        if (replica->lost || report_replica(master_leader_report_of(master, replica->store),
                                            group->id, replica->replica))
            continue;
        if (!leader_gives_up(master, replica))
            return;
        missed = replica;
    }
    if (missed)
        leader_begin_without(master, group, missed);
    else
        leader_propose_settled(master, group);
}

/* What the reports say of a group's replicas, into the map. */
static void leader_learn_replicas(struct master *master, const Ostraka__GroupInfo *group)
{
    bool is_settled = false;
    for (size_t place = 0; place < group->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = group->replicas[place];
        const Ostraka__ReplicaReport *report = report_replica(
            master_leader_report_of(master, replica->store), group->id, replica->replica);
        if (report && report->lost && !replica->lost)
            leader_propose_lost(master, group, replica);
        is_settled = is_settled || (report && report_settles(group, report));
    }
    if (is_settled && master_group_is_beginning(group))
        leader_see_to_beginning(master, group);
    else if (is_settled && master_group_is_changing(group))
        leader_propose_settled(master, group);
}

static void leader_replace_lost(struct master *master, const Ostraka__GroupInfo *group)
{
    Ostraka__MasterCommand__ReplicasWanted wanted;
    if (!master_replicas_replace(master->map, group, &wanted) ||
        !master_leader_report_of(master, wanted.add_store))
        return; /* it is to report first; what is on a store that is not UP goes to another */
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_REPLICAS_WANTED;
    command.replicas_wanted = &wanted;
    master_leader_propose(master, &command);
}

static void leader_see_to_replicas(struct master *master)
{
    const Ostraka__Map *map = master->map;
    uint32_t frames_count = 0;
    for (size_t index = 0; index <= map->n_groups && frames_count < FRAMES_PER_PASS_MAX; index++) {
        const Ostraka__GroupInfo *group = index < map->n_groups ? map->groups[index] : map->master;
        leader_learn_replicas(master, group);
        leader_replace_lost(master, group);
        frames_count += leader_create_replicas(master, group);
    }
}

/* The first disk that a store reports is the one that the map knows it by. Another one later means
 * that the store comes back without what it had. */
static void leader_see_to_disks(struct master *master)
{
    for (size_t index = 0; index < master->map->n_stores; index++) {
        const Ostraka__StoreInfo *store = master->map->stores[index];
        const struct master_report *report = report_find(&master->leader, store->id);
        if (!report || report->message->incarnation == 0 ||
            report->message->incarnation == store->incarnation)
            continue;
        if (store->incarnation != 0)
            log_write(LOG_WARN, "a store has come back with another disk",
                      "store=%lu other_store=%lu", master->options.store_id, store->id);
        Ostraka__MasterCommand__StoreIncarnation incarnation =
            OSTRAKA__MASTER_COMMAND__STORE_INCARNATION__INIT;
        incarnation.store = store->id;
        incarnation.expected = store->incarnation;
        incarnation.incarnation = report->message->incarnation;
        Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
        command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_STORE_INCARNATION;
        command.store_incarnation = &incarnation;
        master_leader_propose(master, &command);
    }
}

static nanoseconds_t leader_reconcile_ns(const struct master *master)
{
    const struct master_leader *leader = &master->leader;
    nanoseconds_t wait_ns = master->options.reconcile_ms * NS_PER_MS;
    if (leader->reconcile_soon && RECONCILE_SOON_NS_MIN < wait_ns)
        wait_ns = RECONCILE_SOON_NS_MIN;
    return leader->reconciled_ns + wait_ns;
}

static void leader_reconcile(struct master *master)
{
    struct master_leader *leader = &master->leader;
    leader->reconciled_ns = master->now_ns;
    leader->reconcile_soon = false;
    if (master->map->epoch == 0) {
        if (!leader->bootstrap_proposed)
            leader_propose_bootstrap(master);
        return;
    }
    leader_see_to_disks(master);
    leader_see_to_replicas(master);
    master_ranges_leader_assign(master);
    master_placement_timer(master);
    master_ranges_placement_timer(master);
}

void master_leader_timer(struct master *master)
{
    if (leader_push_is_due(master))
        leader_push(master);
    if (leader_reconcile_ns(master) <= master->now_ns)
        leader_reconcile(master);
    master_ranges_leader_timer(master);
}

nanoseconds_t master_leader_deadline_ns(const struct master *master)
{
    const struct master_leader *leader = &master->leader;
    nanoseconds_t push_ns = leader->pushed_ns + PUSH_EVERY_NS_MAX;
    if (leader->map_changed || (leader->hints_changed && leader_sees_all_stores(master)))
        push_ns = leader->pushed_ns + leader_push_ns_min(leader);
    else if (leader->hints_changed)
        push_ns = leader->led_ns + PICTURE_WAIT_NS;
    nanoseconds_t reconcile_ns = leader_reconcile_ns(master);
    nanoseconds_t ranges_ns = master_ranges_leader_deadline_ns(master);
    nanoseconds_t deadline_ns = push_ns < reconcile_ns ? push_ns : reconcile_ns;
    return deadline_ns < ranges_ns ? deadline_ns : ranges_ns;
}
