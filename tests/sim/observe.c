#include "tests/sim/observe.h"

#include "base/memory.h"
#include "cmd/node_internal.h"
#include "proto/master.pb-c.h"
#include "raft/host_internal.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_replicas.h"
#include "tests/check/raft_check.h"
#include "tests/check/timestamp_check.h"
#include "tests/sim/address_check.h"
#include "tests/sim/configuration_check.h"
#include "tests/sim/durable_check.h"
#include "tests/sim/election_check.h"
#include "tests/sim/lock_check.h"
#include "tests/sim/range_check.h"
#include "tests/sim/range_look.h"
#include "tests/sim/rows_check.h"
#include "tests/sim/sim.h"
#include "tests/sim/store_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

#define GROUPS_MAX        32u
#define LOCKS_EVERY_TURNS 8u

/* What was last said of a replica. */
struct seen {
    bool is_there;
    replica_id_t replica; /* which one; another that comes to its store is not it */
    raft_term_t term;     /* in memory */
    replica_id_t vote;
    uint64_t durable_when; /* the log's unit with which they are durable */
    bool is_durable;       /* some term was, since the start */
    raft_term_t durable_term;
    replica_id_t durable_vote;
    enum raft_role role;
    raft_index_t commit_index; /* entries up to here were reported */
    raft_index_t applied_index, last_index;
    raft_index_t chained_index, ranges_index;
    /* The last look, when no other can find more until one of these differs; 0: look. */
    uint64_t looked_at_step, looked_at_persisted;
    raft_index_t looked_at_applied;
};

struct observer {
    struct sim *sim;
    struct raft_check *raft;
    struct durable_check *durable;
    struct configuration_check *configurations;
    struct election_check *elections;
    struct address_check *addresses;
    struct lock_check *locks;
    struct timestamp_check *timestamps;
    struct atomic_check *outcomes;
    struct rows_check *rows;
    struct range_check *ranges;
    struct store_check *stores;
    struct arena arena; /* for one look */
    struct safe_point_check safe_points;
    struct seen seen[SIM_STORES_MAX][GROUPS_MAX]; /* by group id */
    uint32_t replaced[SIM_STORES_MAX];      /* groups, by bits, whose first replica there is gone */
    uint64_t writes_counts[SIM_STORES_MAX]; /* of its disk when its process was started */
};

struct observer *observer_new(struct sim *sim)
{
    struct observer *observer = memory_alloc_zeroed(1, sizeof *observer);
    observer->sim = sim;
    observer->raft = raft_check_new();
    observer->durable = durable_check_new();
    observer->configurations = configuration_check_new();
    observer->elections = election_check_new();
    observer->addresses = address_check_new();
    observer->locks = lock_check_new();
    observer->timestamps = timestamp_check_new();
    observer->outcomes = atomic_check_new();
    observer->rows = rows_check_new();
    observer->ranges = range_check_new();
    observer->stores = store_check_new();
    arena_init(&observer->arena);
    safe_point_check_init(&observer->safe_points);
    return observer;
}

void observer_free(struct observer *observer)
{
    raft_check_free(observer->raft);
    durable_check_free(observer->durable);
    configuration_check_free(observer->configurations);
    election_check_free(observer->elections);
    address_check_free(observer->addresses);
    lock_check_free(observer->locks);
    timestamp_check_free(observer->timestamps);
    atomic_check_free(observer->outcomes);
    rows_check_free(observer->rows);
    range_check_free(observer->ranges);
    store_check_free(observer->stores);
    arena_fini(&observer->arena);
    free(observer);
}

static void result_take(struct observer *observer, const struct check_result *result)
{
    if (result->verdict != CHECK_OK)
        sim_fail(observer->sim, result->name, "%s", result->explanation);
}

/* --- Raft
 * -------------------------------------------------------------------------------------------- */

static void entry_of(const struct raft_entry *entry, struct raft_check_entry *out)
{
    struct bytes payload = blob_bytes(entry->payload);
    uint64_t kind = (uint64_t)entry->type ^ entry->log_timestamp << 3;
    *out = (struct raft_check_entry){
        .index = entry->index,
        .term = entry->term,
        .hash = XXH3_64bits_withSeed(payload.data, payload.bytes_count, kind)};
}

static bool log_look(void *context, raft_index_t index, struct raft_check_entry *out)
{
    const struct raft_entry *entry = raft_log_entry(context, index);
    if (entry)
        entry_of(entry, out);
    return entry != NULL;
}

static void elected(struct observer *observer, const struct host_group *group,
                    const struct raft_status *status)
{
    const struct raft_entry *before = raft_log_entry(group->raft, status->term_opening_index - 1);
    struct raft_check_election election = {
        .group_id = group->group,
        .replica_id = group->replica,
        .term = status->term,
        .first_index = status->first_index,
        .last_index = status->term_opening_index - 1,
        .last_term = before ? before->term : status->term, /* behind a snapshot: not known */
        .log = log_look,
        .context = group->raft,
    };
    raft_check_elected(observer->raft, &election);
}

static enum raft_check_role role_of(enum raft_role role)
{
    return role == RAFT_LEADER     ? RAFT_CHECK_LEADER
           : role == RAFT_FOLLOWER ? RAFT_CHECK_FOLLOWER
                                   : RAFT_CHECK_CANDIDATE;
}

static void seen_update_term(struct seen *seen, const struct host_group *group,
                             const struct raft_status *status)
{
    if (status->term != seen->term || status->vote != seen->vote) {
        seen->term = status->term;
        seen->vote = status->vote;
        seen->durable_when = group->queued_id;
    }
    if (group->persisted_id >= seen->durable_when) {
        seen->is_durable = true;
        seen->durable_term = seen->term;
        seen->durable_vote = seen->vote;
    }
}

static void committed_report(struct observer *observer, struct seen *seen,
                             const struct host_group *group, const struct raft_status *status)
{
    for (raft_index_t index = seen->commit_index + 1; index <= status->commit_index; index++) {
        const struct raft_entry *entry = raft_log_entry(group->raft, index);
        if (!entry)
            continue; /* it came with a snapshot */
        struct raft_check_entry committed;
        entry_of(entry, &committed);
        raft_check_committed(observer->raft, group->group, group->replica, &committed);
    }
    seen->commit_index = status->commit_index;
}

/* A core changes in steps alone; of what the checkers look at, only these two change without one.
 */
static bool is_as_looked_at(const struct seen *seen, const struct host_group *group)
{
    return seen->looked_at_step == group->stepped_at &&
           seen->looked_at_persisted == group->persisted_id &&
           seen->looked_at_applied == group->applied_index && seen->replica == group->replica;
}

/* Its number is gone for ever. */
static void seen_destroy(struct observer *observer, const struct process *process, group_id_t id)
{
    struct seen *seen = &observer->seen[process->store_id - 1][id];
    raft_check_destroyed(observer->raft, id, seen->replica);
    observer->replaced[process->store_id - 1] |= 1u << id;
    *seen = (struct seen){0};
}

static void group_observe(struct observer *observer, struct process *process,
                          const struct host_group *group)
{
    ASSERT(group->group < GROUPS_MAX);
    struct seen *seen = &observer->seen[process->store_id - 1][group->group];
    if (seen->replica != 0 && seen->replica != group->replica)
        seen_destroy(observer, process, group->group);
    if (is_as_looked_at(seen, group))
        return;
    if (seen->replica != group->replica)
        *seen = (struct seen){.replica = group->replica};
    struct raft_status status;
    raft_get_status(group->raft, &status);
    bool is_looked_at = durable_check_replica(observer->durable, group, &status);
    seen->looked_at_step = is_looked_at ? group->stepped_at : 0;
    seen->looked_at_persisted = group->persisted_id;
    seen->looked_at_applied = group->applied_index;
    configuration_check_replica(observer->configurations, group, &status);
    election_check_replica(observer->elections, group, &status, process->raft_frames_count);
    bool is_same = seen->is_there && status.term == seen->term && status.vote == seen->vote &&
                   status.role == seen->role && status.commit_index == seen->commit_index &&
                   group->applied_index == seen->applied_index &&
                   status.last_index == seen->last_index && seen->durable_term == seen->term &&
                   seen->durable_vote == seen->vote;
    if (is_same)
        return;
    bool was_leader = seen->is_there && seen->role == RAFT_LEADER && seen->term == status.term;
    if (was_leader && status.role == RAFT_LEADER && status.commit_index > seen->commit_index)
        durable_check_committed(observer->durable, group, status.commit_index);
    seen_update_term(seen, group, &status);
    if (!seen->is_durable)
        return; /* it stood for election as soon as it was there */
    const struct raft_entry *committed = raft_log_entry(group->raft, status.commit_index);
    struct raft_check_observation observation = {
        .group_id = group->group,
        .replica_id = group->replica,
        .role = seen->durable_term == status.term ? role_of(status.role) : RAFT_CHECK_FOLLOWER,
        .term = seen->durable_term,
        .vote = seen->durable_vote,
        .commit_index = status.commit_index,
        .applied_index = group->applied_index,
        .last_index = status.last_index,
        .commit_term = committed ? committed->term : 0,
    };
    raft_check_observe(observer->raft, &observation);
    if (status.role == RAFT_LEADER && !was_leader)
        elected(observer, group, &status);
    committed_report(observer, seen, group, &status);
    seen->is_there = true;
    seen->role = status.role;
    seen->applied_index = group->applied_index;
    seen->last_index = status.last_index;
}

/* R6: those that are gone from a process that is up, and not for its end. Until its removal is
 * durable a replica may come back with the next start. */
static void destroyed_observe(struct observer *observer, struct process *process)
{
    const struct raft_host *host = process->node->raft;
    uint32_t seen_count = 0;
    for (group_id_t id = 0; id < GROUPS_MAX; id++)
        seen_count += observer->seen[process->store_id - 1][id].replica != 0;
    for (group_id_t id = 0; id < GROUPS_MAX && seen_count > HASH_COUNT(host->groups); id++) {
        const struct seen *seen = &observer->seen[process->store_id - 1][id];
        if (seen->replica == 0 || host_group_find(host, id) || host_is_removing(host, id))
            continue;
        seen_destroy(observer, process, id);
    }
}

void observe_disk_lost(struct observer *observer, struct process *process)
{
    for (group_id_t id = 0; id < GROUPS_MAX; id++) {
        if (observer->seen[process->store_id - 1][id].replica != 0)
            seen_destroy(observer, process, id);
    }
}

void observe_receive(struct observer *observer, struct process *process, const struct frame *frame)
{
    address_check_receive(observer->addresses, process->node->raft, frame,
                          observer->replaced[process->store_id - 1]);
}

void observe_received(struct observer *observer, struct process *process)
{
    address_check_received(observer->addresses, process->node->raft);
}

/* What a store has applied: group 0's part first, for what groups do follows from it, and never
 * within a turn. */
static void applied_observe(struct observer *observer, struct process *process)
{
    struct kv_applied applied[GROUPS_MAX];
    size_t count = node_applied(process->node, applied, GROUPS_MAX);
    const struct master *master = process->node->master;
    if (master) {
        safe_point_check_replica(&observer->safe_points, process->store_id, SHARD_MASTER_GROUP,
                                 master->meta.index, master->safe.safe_point);
        range_check_map(observer->ranges, master->map);
        store_check_map(observer->stores, master->map, &observer->sim->admin);
    }
    for (size_t place = 0; place < count && place < GROUPS_MAX; place++) {
        struct seen *seen = &observer->seen[process->store_id - 1][applied[place].group];
        safe_point_check_replica(&observer->safe_points, process->store_id, applied[place].group,
                                 applied[place].index, applied[place].safe_point);
        if (seen->chained_index == applied[place].index)
            continue;
        seen->chained_index = applied[place].index;
        raft_check_applied(observer->raft, applied[place].group, applied[place].replica,
                           applied[place].index, applied[place].chain_hash);
    }
}

/* What ranges a replica has is told to others before it is written, so it is looked at before. */
static void ranges_observe(struct observer *observer, struct process *process)
{
    for (group_id_t group = 1; group <= observer->sim->plan.groups; group++) {
        struct range_sight sight;
        arena_reset(&observer->arena);
        struct seen *seen = &observer->seen[process->store_id - 1][group];
        if (!range_look(process->node->kv, group, &observer->arena, &sight) ||
            seen->ranges_index == sight.index)
            continue;
        seen->ranges_index = sight.index;
        range_check_replica(observer->ranges, group, process->store_id, sight.index, sight.facts);
    }
}

/* --- Ranges
 * ------------------------------------------------------------------------------------------ */

bool observe_ranges_are_settled(const struct observer *observer, char *text, size_t text_bytes_max)
{
    return range_check_is_settled(observer->ranges, text, text_bytes_max);
}

bool observe_range_step(struct observer *observer, struct range_step *out_step)
{
    return range_check_take_step(observer->ranges, out_step);
}

bool observe_range_move(const struct observer *observer, uint64_t change, group_id_t *out_from,
                        group_id_t *out_to)
{
    return range_check_move_of(observer->ranges, change, out_from, out_to);
}

void observe_range_counts(const struct observer *observer, struct range_counts *out_counts)
{
    range_check_get_counts(observer->ranges, out_counts);
}

bool observe_store_step(struct observer *observer, struct store_step *out_step)
{
    return store_check_take_step(observer->stores, out_step);
}

void observe_started(struct observer *observer, struct process *process)
{
    /* All that it had: a new replica whose row was lost comes back later, by the master's word. */
    for (group_id_t id = 0; id < GROUPS_MAX; id++) {
        struct seen *seen = &observer->seen[process->store_id - 1][id];
        if (seen->is_there)
            raft_check_restarted(observer->raft, id, seen->replica);
        *seen = (struct seen){0};
    }
    uint64_t *writes_count = &observer->writes_counts[process->store_id - 1];
    struct host_group *group;
    for (group = process->node->raft->groups; group; group = group->hh.next) {
        struct raft_status status;
        raft_get_status(group->raft, &status);
        durable_check_started(observer->durable, group,
                              process->disk.writes_count != *writes_count);
        election_check_started(observer->elections, group, process->raft_frames_count);
        /* These were told before. */
        observer->seen[process->store_id - 1][group->group] =
            (struct seen){.replica = group->replica, .commit_index = status.commit_index};
    }
    *writes_count = process->disk.writes_count;
    observe_turn(observer, process);
}

void observe_stopped(struct observer *observer, struct process *process)
{
    (void)observer;
    (void)process;
}

/* --- Locks
 * ------------------------------------------------------------------------------------------- */

static void lock_visited(void *context, struct txn_id owner, const struct lock_target *target,
                         enum lock_mode mode)
{
    lock_check_held(context, owner, target, mode);
}

static void locks_observe(struct observer *observer, struct process *process)
{
    for (group_id_t group = 1; group <= observer->sim->plan.groups; group++) {
        const struct participant *participant = kv_server_participant(process->node->kv, group);
        if (!participant)
            continue;
        char where[48];
        snprintf(where, sizeof where, "store %" PRIu64 " group %" PRIu64, process->store_id, group);
        lock_check_begin(observer->locks, where);
        participant_each_lock(participant, lock_visited, observer->locks);
        lock_check_end(observer->locks);
    }
}

void observe_turn(struct observer *observer, struct process *process)
{
    struct host_group *group;
    for (group = process->node->raft->groups; group; group = group->hh.next)
        group_observe(observer, process, group);
    destroyed_observe(observer, process);
    applied_observe(observer, process);
    ranges_observe(observer, process);
    keeper_report(&observer->sim->keeper, &observer->safe_points);
    result_take(observer, &observer->safe_points.result);
    /* What its own oracle told it is on no wire. */
    timestamp_check_heard(observer->timestamps, raft_host_heard_timestamp(process->node->raft));
    if (observer->sim->counts.turns % LOCKS_EVERY_TURNS == 0)
        locks_observe(observer, process);
    result_take(observer, raft_check_result(observer->raft));
    result_take(observer, durable_check_result(observer->durable));
    result_take(observer, configuration_check_result(observer->configurations));
    result_take(observer, election_check_result(observer->elections));
    result_take(observer, address_check_result(observer->addresses));
    result_take(observer, lock_check_result(observer->locks));
    result_take(observer, timestamp_check_result(observer->timestamps));
    result_take(observer, range_check_result(observer->ranges));
    result_take(observer, store_check_result(observer->stores));
}

/* --- Timestamps
 * -------------------------------------------------------------------------------------- */

static void timestamp_answered(struct observer *observer, bool is_arrival, uint32_t from,
                               uint32_t to, const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena);
    const Ostraka__TimestampAnswer *answer = (const Ostraka__TimestampAnswer *)message_unpack(
        &ostraka__timestamp_answer__descriptor, frame->message, &arena);
    /* Everybody asks for one at a time. */
    if (answer && answer->status == OST_OK && is_arrival)
        timestamp_check_answered(observer->timestamps, to, frame->request_id, answer->timestamp, 1);
    else if (answer && answer->status == OST_OK)
        timestamp_check_handed_out(observer->timestamps, answer->timestamp, 1, from + 1);
    arena_fini(&arena);
}

void observe_frame(void *context, bool is_arrival, uint32_t from, uint32_t to,
                   const struct blob *blob)
{
    struct observer *observer = context;
    struct frame frame = frame_of_blob(blob);
    if (frame.type == FRAME_TIMESTAMP && !is_arrival)
        timestamp_check_asked(observer->timestamps, from, frame.request_id);
    else if (frame.type == FRAME_TIMESTAMP_ANSWER)
        timestamp_answered(observer, is_arrival, from, to, &frame);
}

uint64_t observe_locks_left(struct observer *observer, char *text, size_t text_bytes_max)
{
    struct sim *sim = observer->sim;
    uint64_t sum = 0;
    size_t at = 0;
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        struct process *process = &sim->stores[place];
        for (group_id_t group = 1; process->state == PROCESS_UP && group <= sim->plan.groups;
             group++) {
            const struct participant *participant = kv_server_participant(process->node->kv, group);
            if (!participant)
                continue;
            struct participant_counts counts;
            participant_get_counts(participant, &counts);
            uint64_t left = counts.keys_locked + counts.waiters + counts.entries + counts.prepared;
            sum += left;
            if (left > 0 && at < text_bytes_max)
                at += (size_t)snprintf(text + at, text_bytes_max - at,
                                       "store %u group %" PRIu64 ": %" PRIu64 " keys, %" PRIu64
                                       " waiters, %" PRIu64 " entries, %" PRIu64 " prepared; ",
                                       place + 1, group, counts.keys_locked, counts.waiters,
                                       counts.entries, counts.prepared);
        }
    }
    return sum;
}

/* --- Outcomes and the end
 * ---------------------------------------------------------------------------- */

void observe_outcome(struct observer *observer, struct txn_id txn, bool is_committed,
                     uint64_t commit_timestamp, uint32_t client)
{
    uint8_t id[16];
    for (unsigned byte = 0; byte < 8; byte++) {
        id[byte] = (uint8_t)(txn.client >> (56 - 8 * byte));
        id[8 + byte] = (uint8_t)(txn.sequence >> (56 - 8 * byte));
    }
    char where[32];
    snprintf(where, sizeof where, "client %u", client);
    rows_check_outcome(observer->rows, bytes_of(id, sizeof id),
                       is_committed ? ATOMIC_COMMITTED : ATOMIC_ABORTED,
                       is_committed ? commit_timestamp : 0, 0, where);
}

static void rows_observe(struct observer *observer, struct process *process)
{
    struct kv_applied applied[GROUPS_MAX];
    size_t count = node_applied(process->node, applied, GROUPS_MAX);
    for (size_t index = 0; index < count && index < GROUPS_MAX; index++) {
        struct range_sight sight;
        arena_reset(&observer->arena);
        if (range_look(process->node->kv, applied[index].group, &observer->arena, &sight) &&
            sight.is_written)
            rows_check_replica(observer->rows, process->rows.store, process->store_id,
                               applied[index].group, applied[index].index,
                               applied[index].safe_point, sight.facts);
    }
}

void observe_end(struct observer *observer)
{
    struct sim *sim = observer->sim;
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        struct process *process = &sim->stores[place];
        if (process->state != PROCESS_UP)
            continue;
        locks_observe(observer, process);
        rows_observe(observer, process);
    }
    range_check_end(observer->ranges);
    rows_check_report(observer->rows, observer->outcomes);
    result_take(observer, raft_check_result(observer->raft));
    result_take(observer, durable_check_result(observer->durable));
    result_take(observer, configuration_check_result(observer->configurations));
    result_take(observer, election_check_result(observer->elections));
    result_take(observer, address_check_result(observer->addresses));
    result_take(observer, lock_check_result(observer->locks));
    result_take(observer, range_check_result(observer->ranges));
    result_take(observer, rows_check_result(observer->rows));
    result_take(observer, atomic_check_result(observer->outcomes));
}

uint64_t observe_progress(const struct observer *observer)
{
    uint64_t progress = 0;
    for (uint32_t place = 0; place < observer->sim->stores_count; place++) {
        const struct metrics *metrics = &observer->sim->stores[place].metrics;
        progress += metrics->entries_applied_count + metrics->snapshot_chunks_count;
    }
    return progress;
}

/* Is it lost, on a store that is to have none? */
static bool is_given_up(const Ostraka__Map *map, group_id_t group_id,
                        const struct raft_member *member)
{
    const Ostraka__GroupInfo *group = map ? master_map_group(map, group_id) : NULL;
    const Ostraka__ReplicaInfo *replica =
        group ? master_group_replica(group, member->replica) : NULL;
    const Ostraka__StoreInfo *store = map ? master_map_store(map, member->store) : NULL;
    return replica && replica->lost && store && store->state != MASTER_STORE_UP;
}

/* Of those on stores that drain or are gone some stay, where no other store can take them: these
 * may be lost, or never be here again. */
static uint32_t members_here_count(const struct sim *sim, group_id_t group,
                                   const struct raft_configuration *configuration)
{
    const Ostraka__Map *map = admin_map_newest(sim);
    uint32_t count = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        count += sim->stores[sim_host_of_store(member->store)].life == LIFE_HERE &&
                 !is_given_up(map, group, member);
    }
    return count;
}

bool observe_all_caught_up(struct observer *observer)
{
    struct sim *sim = observer->sim;
    raft_index_t applied[GROUPS_MAX] = {0};
    uint32_t replicas_count[GROUPS_MAX] = {0}, members_count[GROUPS_MAX] = {0};
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        const struct process *process = &sim->stores[place];
        if (process->state != PROCESS_UP)
            continue;
        const struct host_group *group;
        for (group = process->node->raft->groups; group; group = group->hh.next) {
            const struct raft_configuration *configuration = raft_get_configuration(group->raft);
            if (replicas_count[group->group]++ == 0) {
                applied[group->group] = group->applied_index;
                members_count[group->group] = members_here_count(sim, group->group, configuration);
            }
            if (group->applied_index == 0 || group->applied_index != applied[group->group] ||
                members_here_count(sim, group->group, configuration) != members_count[group->group])
                return false;
        }
    }
    for (group_id_t group = 0; group <= sim->plan.groups; group++) {
        if (replicas_count[group] == 0 || replicas_count[group] != members_count[group])
            return false;
    }
    return true;
}

static void lock_told(void *context, struct txn_id owner, const struct lock_target *target,
                      enum lock_mode mode)
{
    char start[KEY_TEXT_BYTES], end[KEY_TEXT_BYTES];
    trace_tell(context, "    %016" PRIx64 "/%" PRIu64 " holds %s %s%s%s", owner.client,
               owner.sequence, mode == LOCK_SHARED ? "shared" : "exclusive",
               key_print(target->start, start, sizeof start), target->is_interval ? " to " : "",
               target->is_interval ? key_print(target->end, end, sizeof end) : "");
}

/* " 4@1 5@2- 6@3+": replica@store of each member, a learner in brackets, - and + in a joint
 * configuration for one that leaves or comes. */
static const char *configuration_print(const struct raft_configuration *configuration, char *text,
                                       size_t text_bytes_max)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < configuration->members_count && at < text_bytes_max; i++) {
        const struct raft_member *member = &configuration->members[i];
        bool is_learner = !member->voter_old && !member->voter_new;
        int added = snprintf(text + at, text_bytes_max - at, " %s%" PRIu64 "@%" PRIu64 "%s",
                             is_learner ? "(" : "", member->replica, member->store,
                             is_learner                              ? ")"
                             : member->voter_old > member->voter_new ? "-"
                             : member->voter_old < member->voter_new ? "+"
                                                                     : "");
        ASSERT(added > 0);
        at += (size_t)added;
    }
    return text;
}

static void ranges_tell(struct observer *observer, const struct process *process, group_id_t group)
{
    struct range_sight sight;
    arena_reset(&observer->arena);
    if (!range_look(process->node->kv, group, &observer->arena, &sight))
        return;
    for (size_t place = 0; place < sight.facts.count; place++) {
        char text[RANGE_FACT_TEXT_BYTES];
        trace_tell(&observer->sim->trace, "    %s%s",
                   range_fact_print(&sight.facts.facts[place], text),
                   sight.is_written ? "" : ", not written yet");
    }
}

void observe_tell(struct observer *observer)
{
    struct sim *sim = observer->sim;
    char text[512] = "";
    observe_locks_left(observer, text, sizeof text);
    trace_tell(&sim->trace, "locks: %s", text);
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        struct process *process = &sim->stores[place];
        trace_tell(&sim->trace, "store %u: state %d", place + 1, (int)process->state);
        if (!process->node)
            continue;
        struct host_group *group;
        for (group = process->node->raft->groups; group; group = group->hh.next) {
            struct raft_status status;
            raft_get_status(group->raft, &status);
            trace_tell(&sim->trace,
                       "  group %" PRIu64 " replica %" PRIu64 " %s term %" PRIu64 " leader %" PRIu64
                       " log %" PRIu64 "..%" PRIu64 " commit %" PRIu64 " durable %" PRIu64
                       " applied %" PRIu64 "%s",
                       group->group, group->replica, raft_role_name(status.role), status.term,
                       status.leader_store, status.first_index, status.last_index,
                       status.commit_index, status.durable_index, group->applied_index,
                       group->leadership.ready ? " ready" : "");
            trace_tell(&sim->trace, "    members%s, since %" PRIu64,
                       configuration_print(raft_get_configuration(group->raft), text, sizeof text),
                       raft_configuration_index(group->raft));
            ranges_tell(observer, process, group->group);
            const struct participant *participant =
                kv_server_participant(process->node->kv, group->group);
            if (participant)
                participant_each_lock(participant, lock_told, &sim->trace);
        }
    }
}
