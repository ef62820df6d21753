#include "shardmaster/master.h"

#include "base/log.h"
#include "base/memory.h"
#include "proto/frame.h"
#include "shardmaster/master_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES           256u
#define REQUESTS_COUNT_MAX  65536u
#define REQUEST_WAIT_NS_MAX NS_PER_S
#define SAVE_RETRY_NS       (10 * NS_PER_MS)

struct master *master_new(const struct master_options *options, const struct master_rows *rows,
                          struct raft_host *host, struct outbox *outbox)
{
    struct master *master = memory_alloc_zeroed(1, sizeof(*master));
    master->options = *options;
    master->rows = *rows;
    master->host = host;
    master->outbox = outbox;
    arena_init(&master->map_arena);
    master->map = arena_alloc(&master->map_arena, sizeof(*master->map));
    ostraka__map__init(master->map);
    oracle_init(&master->oracle, options->ceiling_ahead_ms);
    TAILQ_INIT(&master->requests);
    TAILQ_INIT(&master->changes);
    TAILQ_INIT(&master->hold_waiters);
    TAILQ_INIT(&master->store_changes);
    TAILQ_INIT(&master->range_waiters);
    return master;
}

static void request_free(struct master *master, struct master_request *request)
{
    TAILQ_REMOVE(&master->requests, request, link);
    master->requests_count--;
    free(request);
}

void master_free(struct master *master)
{
    if (!master)
        return;
    struct master_request *request;
    while ((request = TAILQ_FIRST(&master->requests)))
        request_free(master, request);
    master_changes_drop(master);
    master_holds_drop(master);
    master_store_changes_drop(master);
    master_range_asks_drop(master);
    safe_point_fini(&master->safe);
    master_leader_ended(master);
    arena_fini(&master->map_arena);
    free(master);
}

int master_options_check(const struct master_options *options, char *out_why)
{
    const char *why = NULL;
    if (options->initial_stores_count == 0 || options->initial_groups_count == 0 ||
        options->initial_replicas_count == 0 ||
        options->initial_replicas_count > REPLICAS_PER_GROUP_MAX || options->ceiling_ahead_ms < 2 ||
        options->cluster_id == 0) {
        why =
            "a cluster needs an id, stores, groups, 1 to 7 replicas, and timestamps ahead of time";
    } else {
        struct arena arena;
        arena_init(&arena);
        int status = master_map_check(master_bootstrap_map(options, &arena), &why);
        arena_fini(&arena);
        if (status == OST_OK)
            return OST_OK;
    }
    snprintf(out_why, WHY_BYTES, "the cluster's initial layout is not sound: %s", why);
    return OST_INVALID_ARGUMENT;
}

replica_id_t master_founder_replica(const struct master_options *options, store_id_t store)
{
    for (size_t place = 0; place < master_initial_replicas_count(options); place++)
        if (options->initial_stores[place].id == store)
            return place + 1;
    return 0;
}

void master_founding_configuration(const struct master_options *options,
                                   struct raft_configuration *out_configuration)
{
    *out_configuration = (struct raft_configuration){.epoch = 1};
    for (size_t place = 0; place < master_initial_replicas_count(options); place++)
        out_configuration->members[out_configuration->members_count++] = (struct raft_member){
            .replica = place + 1,
            .store = options->initial_stores[place].id,
            .voter_old = true,
            .voter_new = true,
        };
}

int master_load(struct master *master, replica_id_t replica,
                const struct raft_configuration *founding, nanoseconds_t now_ns, char *out_why)
{
    ASSERT(replica != 0);
    master->now_ns = now_ns;
    master->replica = replica;
    master->meta = (struct raft_snapshot_meta){.configuration = *founding};
    int status = master_rows_load(master, out_why);
    if (status != OST_OK)
        return status;
    status = raft_host_group_add(master->host, SHARD_MASTER_GROUP, master->replica, &master->meta,
                                 &master_machine_ops, master, now_ns);
    if (status != OST_OK)
        snprintf(out_why, WHY_BYTES, "cannot add the shard master's group: %s",
                 ost_status_text(status));
    return status;
}

static void master_set_time(struct master *master, nanoseconds_t now_ns)
{
    if (now_ns > master->now_ns)
        master->now_ns = now_ns;
}

static bool master_is_ready(const struct master *master)
{
    return master->leadership.ready;
}

/* --- timestamps --- */

static void timestamp_answer(struct master *master, uint64_t connection_id, uint64_t request_id,
                             int status, timestamp_t timestamp)
{
    Ostraka__TimestampAnswer answer = OSTRAKA__TIMESTAMP_ANSWER__INIT;
    answer.status = status;
    answer.timestamp = timestamp;
    answer.leader_store = status == OST_NOT_LEADER ? master->leadership.leader_store : 0;
    outbox_to_connection(master->outbox, connection_id,
                         frame_encode(FRAME_TIMESTAMP_ANSWER, request_id, &answer.base, NULL, 0));
}

static void request_end(struct master *master, struct master_request *request, int status,
                        timestamp_t timestamp)
{
    timestamp_answer(master, request->connection_id, request->request_id, status, timestamp);
    request_free(master, request);
}

static int timestamp_receive(struct master *master, uint64_t connection_id,
                             const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__TimestampRequest *message = (Ostraka__TimestampRequest *)message_unpack(
        &ostraka__timestamp_request__descriptor, frame->message, &arena);
    bool parses = message != NULL;
    uint32_t count = parses ? message->count : 0;
    arena_fini(&arena);
    if (!parses)
        return OST_PROTOCOL;

    int refusal = OST_OK;
    if (master->leadership.role != RAFT_LEADER)
        refusal = OST_NOT_LEADER;
    else if (count == 0 || count > ORACLE_COUNT_MAX)
        refusal = OST_INVALID_ARGUMENT;
    else if (master->requests_count >= REQUESTS_COUNT_MAX)
        refusal = OST_BUSY;
    if (refusal != OST_OK) {
        timestamp_answer(master, connection_id, frame->request_id, refusal, 0);
        return OST_OK;
    }
    struct master_request *request = memory_alloc_zeroed(1, sizeof(*request));
    request->connection_id = connection_id;
    request->request_id = frame->request_id;
    request->count = count;
    request->arrived_ns = master->now_ns;
    TAILQ_INSERT_TAIL(&master->requests, request, link);
    master->requests_count++;
    return OST_OK;
}

int master_receive(struct master *master, uint64_t connection_id, const struct frame *frame,
                   nanoseconds_t now_ns, uint64_t wall_ms)
{
    master_set_time(master, now_ns);
    master->wall_ms = wall_ms;
    if (frame->type == FRAME_TIMESTAMP)
        return timestamp_receive(master, connection_id, frame);
    if (frame->type == FRAME_STORE_REPORT)
        return master_leader_report(master, frame->message);
    if (frame->type == FRAME_CHANGE_REPLICAS)
        return master_change_receive(master, connection_id, frame);
    if (frame->type == FRAME_HOLD)
        return master_hold_receive(master, connection_id, frame);
    if (frame->type == FRAME_CHANGE_STORE)
        return master_store_change_receive(master, connection_id, frame);
    if (frame->type == FRAME_RANGE_REPORT)
        return master_ranges_leader_report(master, frame->message);
    if (frame->type == FRAME_CHANGE_RANGE)
        return master_range_ask_receive(master, connection_id, frame);
    if (frame->type == FRAME_PROGRESS)
        return master_progress_receive(master, connection_id, frame);
    return OST_PROTOCOL;
}

/* O2: one round for all that came since the last one. It begins after they came. */
void master_turn_ended(struct master *master, nanoseconds_t now_ns)
{
    master_set_time(master, now_ns);
    struct master_request *request = TAILQ_LAST(&master->requests, master_requests);
    if (!master_is_ready(master) || !request || request->read_id != 0)
        return;
    uint64_t read_id;
    int status = raft_host_read(master->host, SHARD_MASTER_GROUP, now_ns, &read_id);
    if (status != OST_OK)
        return; /* the host is about to tell of the fall; else they expire */
    ASSERT(read_id > master->confirmed_read_id);
    for (; request && request->read_id == 0; request = TAILQ_PREV(request, master_requests, link))
        request->read_id = read_id;
}

void master_read_ready(struct master *master, uint64_t read_id, int status)
{
    if (status == OST_OK) {
        /* Rounds are confirmed for all that began before them, too. */
        if (read_id > master->confirmed_read_id)
            master->confirmed_read_id = read_id;
        master_oracle_step(master);
        return;
    }
    struct master_request *request, *next;
    for (request = TAILQ_FIRST(&master->requests); request; request = next) {
        next = TAILQ_NEXT(request, link);
        if (request->read_id == 0 || request->read_id > read_id)
            break;
        if (request->read_id > master->confirmed_read_id)
            request_end(master, request, OST_NOT_LEADER, 0);
    }
}

static void master_serve(struct master *master)
{
    struct master_request *request;
    bool served = false;
    while ((request = TAILQ_FIRST(&master->requests)) && request->read_id != 0 &&
           request->read_id <= master->confirmed_read_id) {
        timestamp_t first;
        if (oracle_serve(&master->oracle, request->count, &first) != OST_OK)
            break; /* at the ceiling: it is raised, or the request expires */
        served = true;
        request_end(master, request, OST_OK, first);
    }
    if (served)
        raft_host_heard(master->host, master->oracle.last);
}

void master_oracle_step(struct master *master)
{
    if (!master_is_ready(master))
        return;
    struct oracle *oracle = &master->oracle;
    if (oracle_advance(oracle, master->now_ns, master->wall_ms))
        log_write(LOG_WARN, "the timestamp clock is off the wall clock", "store=%lu ahead_ms=%ld",
                  master->options.store_id, oracle->ahead_of_wall_ms);
    master_serve(master);
    timestamp_t wanted = oracle_ceiling_wanted(oracle);
    if (wanted == 0)
        return;
    Ostraka__MasterCommand__RaiseCeiling raise = OSTRAKA__MASTER_COMMAND__RAISE_CEILING__INIT;
    raise.ceiling = wanted;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RAISE_CEILING;
    command.raise_ceiling = &raise;
    raft_index_t index;
    if (master_propose(master, &command, &index) == OST_OK)
        oracle_ceiling_proposed(oracle, wanted);
}

void master_leadership_changed(struct master *master, const struct raft_leadership *leadership)
{
    bool was_ready = master->leadership.ready;
    master->leadership = *leadership;
    if (leadership->ready && !was_ready) {
        oracle_led(&master->oracle, master->ceiling, master->now_ns, master->wall_ms);
        master_leader_began(master);
        master_oracle_step(master);
    } else if (!leadership->ready && was_ready) {
        oracle_deposed(&master->oracle);
        master_leader_ended(master);
    }
    if (leadership->role == RAFT_LEADER)
        return;
    struct master_request *request;
    while ((request = TAILQ_FIRST(&master->requests)))
        request_end(master, request, OST_NOT_LEADER, 0);
    master_changes_end(master);
    master_holds_end(master);
    master_store_changes_end(master);
    master_range_asks_end(master);
}

/* --- time --- */

void master_timer(struct master *master, nanoseconds_t now_ns, uint64_t wall_ms)
{
    master_set_time(master, now_ns);
    master->wall_ms = wall_ms;
    master_rows_save(master);
    master_oracle_step(master);
    struct master_request *request;
    while ((request = TAILQ_FIRST(&master->requests)) &&
           master->now_ns - request->arrived_ns >= REQUEST_WAIT_NS_MAX)
        request_end(master, request, OST_NOT_READY, 0);
    if (!master_is_ready(master))
        return;
    master_leader_timer(master);
    master_safe_point_timer(master);
}

static nanoseconds_t earlier(nanoseconds_t a, nanoseconds_t b)
{
    return a < b ? a : b;
}

nanoseconds_t master_deadline_ns(const struct master *master)
{
    nanoseconds_t deadline_ns = NS_NEVER;
    const struct master_request *request = TAILQ_FIRST(&master->requests);
    if (request)
        deadline_ns = request->arrived_ns + REQUEST_WAIT_NS_MAX;
    nanoseconds_t rows_ns = master_rows_due_ns(master);
    if (rows_ns <= master->now_ns) /* the store is stalled */
        rows_ns = master->now_ns + SAVE_RETRY_NS;
    deadline_ns = earlier(deadline_ns, rows_ns);
    if (!master_is_ready(master))
        return deadline_ns;
    bool waits_at_ceiling =
        request && request->read_id != 0 && request->read_id <= master->confirmed_read_id;
    deadline_ns = earlier(deadline_ns, oracle_deadline_ns(&master->oracle, waits_at_ceiling));
    deadline_ns = earlier(deadline_ns, master_safe_point_deadline_ns(master));
    return earlier(deadline_ns, master_leader_deadline_ns(master));
}

/* --- for people --- */

void master_set_flushed_index(struct master *master, raft_index_t index)
{
    if (index > master->flushed_index)
        master->flushed_index = index;
}

void master_status(const struct master *master, struct arena *arena,
                   Ostraka__GroupStatus **out_group)
{
    Ostraka__GroupStatus *group = arena_alloc(arena, sizeof(*group));
    ostraka__group_status__init(group);
    group->group = SHARD_MASTER_GROUP;
    group->replica = master->replica;
    group->applied_index = master->meta.index;
    group->flushed_index = master->flushed_index;
    group->ready = master->leadership.ready;
    group->safe_point = master->safe.safe_point;
    struct raft_status status;
    if (raft_host_group_status(master->host, SHARD_MASTER_GROUP, &status) == OST_OK) {
        group->role = (uint32_t)status.role;
        group->term = status.term;
        group->leader_store = status.leader_store;
        group->commit_index = status.commit_index;
        group->last_index = status.last_index;
        group->first_index = status.first_index;
    }
    *out_group = group;
}

void master_doom(struct master *master)
{
    const struct raft_leadership nobody = {.role = RAFT_FOLLOWER, .term = master->leadership.term};
    master_leadership_changed(master, &nobody);
}

bool master_is_destroyed(const struct master *master)
{
    return master->is_destroyed;
}

Ostraka__ReplicaReport *master_report(const struct master *master, struct arena *arena)
{
    Ostraka__ReplicaReport *report = arena_alloc(arena, sizeof(*report));
    ostraka__replica_report__init(report);
    report->group = SHARD_MASTER_GROUP;
    report->replica = master->replica;
    report->term = master->leadership.term;
    report->leads = master->leadership.ready;
    report->applied_index = master->meta.index;
    report->leader_store = master->leadership.leader_store;
    return report;
}
