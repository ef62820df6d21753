/* host.c: groups, turns, timers, and the log they share. */
#include "raft/host_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>
#include <xxhash.h>

/* Rounds of callbacks and steps in one turn, before the loop is let go on. */
#define HOST_TURN_ROUNDS_MAX 8u

static int host_timer_compare(const struct host_group *a, const struct host_group *b)
{
    if (a->wake_ns != b->wake_ns)
        return a->wake_ns < b->wake_ns ? -1 : 1;
    return (a->group > b->group) - (a->group < b->group);
}
#define HOST_TIMERS_FUNCTION __attribute__((unused)) static
RB_PROTOTYPE_INTERNAL(host_timers, host_group, timer_link, host_timer_compare,
                      HOST_TIMERS_FUNCTION);
RB_GENERATE_INTERNAL(host_timers, host_group, timer_link, host_timer_compare, HOST_TIMERS_FUNCTION)

void raft_host_options_default(struct raft_host_options *out_options)
{
    *out_options = (struct raft_host_options){
        .log_segment_bytes = 16u << 20,
        .log_write_bytes_max = 1u << 20,
        .log_write_hung_ms = 500,
        .log_retained_bytes_max = 64u << 20,
        .log_followed_bytes_max = 512u << 20,
        .snapshot_chunk_bytes = 512u << 10,
        .snapshot_bytes_per_s = 22u << 20,
    };
    raft_options_default(&out_options->raft);
}

struct raft_host *raft_host_new(const struct raft_host_options *options,
                                struct raft_host_update *update)
{
    ASSERT(options->store != 0 && update->outbox);
    ASSERT(options->snapshot_chunk_bytes <= FRAME_PAYLOAD_BYTES_MAX / 2);
    struct raft_host *host = memory_alloc_zeroed(1, sizeof(*host));
    host->options = *options;
    host->snapshot_limit.bytes_per_s = options->snapshot_bytes_per_s;
    host->update = update;
    host->metrics = options->metrics ? options->metrics : &host->metrics_unused;
    random_init(&host->random, options->seed ^ options->store);
    arena_init(&host->arena);
    raft_update_init(&host->core);
    TAILQ_INIT(&host->peers_queued);
    RB_INIT(&host->timers);
    TAILQ_INIT(&host->dirty);
    TAILQ_INIT(&host->work);
    TAILQ_INIT(&host->work_later);
    TAILQ_INIT(&host->removed);
    TAILQ_INIT(&host->senders);
    TAILQ_INIT(&host->receivers);
    struct wal_options wal_options = {.segment_bytes = options->log_segment_bytes,
                                      .write_bytes_max = options->log_write_bytes_max,
                                      .segments_kept = 4,
                                      .seed = random_next(&host->random)};
    host->wal = wal_new(&wal_options);
    return host;
}

void host_group_free(struct host_group *group)
{
    host_messages_free(&group->held);
    struct host_read *read;
    while ((read = TAILQ_FIRST(&group->reads)) != NULL) {
        TAILQ_REMOVE(&group->reads, read, link);
        free(read);
    }
    raft_free(group->raft);
    free(group);
}

void raft_host_stop(struct raft_host *host)
{
    host_senders_free(host);
    host_receivers_free(host);
}

void raft_host_free(struct raft_host *host)
{
    if (!host)
        return;
    raft_host_stop(host);
    struct host_group *group, *group_next;
    HASH_ITER (hh, host->groups, group, group_next) {
        HASH_DELETE(hh, host->groups, group);
        host_group_free(group);
    }
    while ((group = TAILQ_FIRST(&host->removed)) != NULL) {
        TAILQ_REMOVE(&host->removed, group, removed_link);
        host_group_free(group);
    }
    struct host_peer *peer, *peer_next;
    HASH_ITER (hh, host->peers, peer, peer_next) {
        host_messages_free(&peer->batches[CHANNEL_CONTROL]);
        host_messages_free(&peer->batches[CHANNEL_BULK]);
        HASH_DELETE(hh, host->peers, peer);
        free(peer);
    }
    wal_free(host->wal);
    raft_update_fini(&host->core);
    arena_fini(&host->arena);
    free(host);
}

struct host_group *host_group_find(const struct raft_host *host, group_id_t id)
{
    struct host_group *group;
    HASH_FIND(hh, host->groups, &id, sizeof(id), group);
    return group;
}

static void host_set_now(struct raft_host *host, nanoseconds_t now_ns)
{
    if (now_ns > host->now_ns)
        host->now_ns = now_ns;
}

/* Steps. */

void host_group_set_work(struct raft_host *host, struct host_group *group)
{
    if (group->work)
        return;
    group->work = true;
    TAILQ_INSERT_TAIL(&host->work, group, work_link);
}

static void host_group_set_dirty(struct raft_host *host, struct host_group *group)
{
    if (group->dirty)
        return;
    group->dirty = true;
    TAILQ_INSERT_TAIL(&host->dirty, group, dirty_link);
}

void host_group_set_timer(struct raft_host *host, struct host_group *group)
{
    nanoseconds_t wake_ns = group->deadline_ns;
    if (wake_ns < NS_NEVER / 2) {
        /* All groups wake on one grid, so that their heartbeats travel together. */
        nanoseconds_t grid_ns = host->options.raft.heartbeat_ms * NS_PER_MS / 10;
        if (grid_ns > 0)
            wake_ns = (wake_ns + grid_ns - 1) / grid_ns * grid_ns;
    }
    if (group->apply_retry_ns != 0 && group->apply_retry_ns < wake_ns)
        wake_ns = group->apply_retry_ns;
    if (group->timed && group->wake_ns == wake_ns)
        return;
    if (group->timed)
        RB_REMOVE(host_timers, &host->timers, group);
    group->wake_ns = wake_ns;
    group->timed = wake_ns != NS_NEVER;
    if (group->timed)
        RB_INSERT(host_timers, &host->timers, group);
}

/* What the core wants persisted becomes one unit of the log. */
static void host_persist(struct raft_host *host, struct host_group *group,
                         const struct raft_update *update)
{
    struct wal_unit_request request = {.persist_id = update->persist_id,
                                       .hard_state_changed = update->hard_state_changed,
                                       .term = update->term,
                                       .vote = update->vote,
                                       .log_reset = update->log_reset,
                                       .reset_index = update->reset_index,
                                       .reset_term = update->reset_term};
    struct raft_entry *entries = NULL;
    if (update->persist_first != 0) {
        ASSERT(update->persist_last >= update->persist_first);
        request.entries_count = (uint32_t)(update->persist_last - update->persist_first + 1);
        entries = arena_alloc(&host->arena, request.entries_count * sizeof(*entries));
        for (uint32_t i = 0; i < request.entries_count; i++) {
            const struct raft_entry *entry = raft_log_entry(group->raft, update->persist_first + i);
            ASSERT(entry && entry->index == update->persist_first + i);
            entries[i] = *entry;
        }
        request.entries = entries;
        host->metrics->log_entries_count += request.entries_count;
    }
    ASSERT(update->persist_id > group->queued_id);
    group->queued_id = update->persist_id;
    wal_persist(host->wal, group->wal, &request);
}

static void host_drain(struct raft_host *host, struct host_group *group)
{
    const struct raft_update *update = &host->core;
    if (update->persist_id != 0)
        host_persist(host, group, update);
    for (uint32_t i = 0; i < update->messages_count; i++)
        host_message_send(host, group, &update->messages[i]);
    group->applicable_index =
        update->commit_index < update->durable_index ? update->commit_index : update->durable_index;
    if (update->role_changed || group->applicable_index > group->applied_index)
        host_group_set_work(host, group);
    host_reads_note(host, group, update);
    for (uint32_t i = 0; i < update->snapshot_wanted_count; i++)
        host_sender_want(host, group, update->snapshot_wanted[i]);
    group->deadline_ns = update->deadline_ns;
    host_group_set_timer(host, group);
}

void host_job_start(struct raft_host *host, struct job *job, void (*run)(struct job *),
                    void (*done)(struct job *))
{
    *job = (struct job){.run = run, .done = done};
    struct job **end = &host->update->jobs;
    while (*end)
        end = &(*end)->next;
    *end = job;
}

int host_step(struct raft_host *host, struct host_group *group, const struct raft_event *event)
{
    raft_update_reset(&host->core);
    group->stepped_at = ++host->steps_count;
    int status = raft_step(group->raft, event, &host->core);
    if (status != OST_OK)
        return status; /* A step that fails leaves everything as it was. */
    host_drain(host, group);
    if (event->type != RAFT_EV_TURN_ENDED)
        host_group_set_dirty(host, group);
    return OST_OK;
}

/* For events that may be refused without anything to be done about it. */
static void host_step_simple(struct raft_host *host, struct host_group *group,
                             struct raft_event event)
{
    event.now_ns = host->now_ns;
    (void)!host_step(host, group, &event);
}

/* Start. */

static void host_damage_log(const struct raft_host *host, const char *why)
{
    if (why[0] != '\0')
        log_write(LOG_WARN, why, "store=%lu", host->options.store);
}

int raft_host_recover_segment(struct raft_host *host, uint32_t segment, struct bytes content,
                              char *out_why)
{
    int status = wal_recover_segment(host->wal, segment, content, out_why);
    host_damage_log(host, out_why);
    return status;
}

int raft_host_recover_end(struct raft_host *host, char *out_why)
{
    wal_recover_end(host->wal, out_why);
    host_damage_log(host, out_why);
    struct raft_host_recovered replica = {0};
    for (bool more = raft_host_recovered_next(host, NULL, &replica); more;
         more = raft_host_recovered_next(host, &replica, &replica)) {
        if (replica.damaged)
            log_write(LOG_WARN, "the log was damaged: the replica waits to be replaced",
                      "store=%lu group=%lu replica=%lu", host->options.store, replica.group,
                      replica.replica);
    }
    return OST_OK;
}

bool raft_host_recovered_next(const struct raft_host *host, const struct raft_host_recovered *last,
                              struct raft_host_recovered *out_next)
{
    group_id_t after = last ? last->group : 0;
    group_id_t group;
    struct wal_group_state state;
    if (!wal_group_next(host->wal, last ? &after : NULL, &group) ||
        !wal_group_get(host->wal, group, &state))
        return false;
    *out_next = (struct raft_host_recovered){.group = group,
                                             .replica = state.replica,
                                             .destroyed = state.destroyed,
                                             .damaged = state.damaged};
    return true;
}

bool raft_host_group_damaged(const struct raft_host *host, group_id_t group)
{
    struct wal_group_state state;
    if (wal_group_get(host->wal, group, &state))
        return state.damaged;
    return wal_has_lost_unknown(host->wal);
}

/* Do the log's entries go on from the state that the machine holds? They do not when a snapshot was
 * taken over and the crash came before the log was reset: then the log is of the past. */
static bool host_log_continues(const struct raft_host *host, group_id_t group,
                               const struct wal_group_state *log,
                               const struct raft_snapshot_meta *applied)
{
    if (!log->begin_known)
        return true;
    if (log->last_index < applied->index)
        return false;
    if (log->begin_index == applied->index)
        return log->begin_term == 0 || log->begin_term == applied->term;
    const struct raft_entry *entry = wal_group_entry(host->wal, group, applied->index);
    return entry && entry->term == applied->term;
}

/* What the core starts with. */
struct host_start {
    raft_term_t term;
    replica_id_t vote;
    struct raft_entry *entries;
    size_t entries_count;
    bool log_reset;
    bool log_cut;
    bool birth; /* nothing is known of it */
};

/* The log still has one with a lower number, or does not say durably yet that it is over. */
static bool host_log_is_taken(const struct raft_host *host, group_id_t group, replica_id_t replica)
{
    struct wal_group_state log;
    return wal_group_get(host->wal, group, &log) && log.replica < replica &&
           (log.damaged || log.busy);
}

bool raft_host_group_is_busy(const struct raft_host *host, group_id_t group, replica_id_t replica)
{
    return host_is_removing(host, group) || host_log_is_taken(host, group, replica);
}

static int host_group_recover(struct raft_host *host, group_id_t group, replica_id_t replica,
                              const struct raft_snapshot_meta *applied,
                              struct host_start *out_start)
{
    *out_start = (struct host_start){0};
    struct wal_group_state log;
    bool known = wal_group_get(host->wal, group, &log);
    if (known && (log.replica > replica || (log.replica == replica && log.destroyed)))
        return OST_NOT_FOUND; /* R6 */
    if (host_log_is_taken(host, group, replica))
        return OST_BUSY;
    if (raft_host_group_damaged(host, group))
        return OST_CORRUPT;
    if (known && log.replica == replica) {
        if (log.begin_known && log.begin_index > applied->index) {
            log_write(LOG_ERROR, "the log begins after what the state machine holds",
                      "store=%lu group=%lu replica=%lu applied=%lu log_begins_after=%lu",
                      host->options.store, group, replica, applied->index, log.begin_index);
            return OST_CORRUPT;
        }
        out_start->term = log.term;
        out_start->vote = log.vote;
        if (!host_log_continues(host, group, &log, applied)) {
            COVER(LOG_RESET_AT_START);
            out_start->log_reset = true;
        } else if (log.last_index > applied->index) {
            size_t count = (size_t)(log.last_index - applied->index);
            out_start->entries = arena_alloc(&host->arena, count * sizeof(struct raft_entry));
            out_start->entries_count = count;
            for (size_t i = 0; i < count; i++)
                out_start->entries[i] = *wal_group_entry(host->wal, group, applied->index + 1 + i);
        }
        out_start->log_cut =
            !out_start->log_reset && log.begin_known && log.begin_index < applied->index;
    } else if (applied->index > 0) {
        /* Whatever of the log was cut, the last hard state is always there. */
        log_write(LOG_ERROR, "the log knows nothing of a replica that has applied entries",
                  "store=%lu group=%lu replica=%lu applied=%lu", host->options.store, group,
                  replica, applied->index);
        return OST_CORRUPT;
    } else {
        out_start->birth = true;
    }
    if (out_start->term < applied->term) {
        out_start->term = applied->term; /* It came with a snapshot; nothing was voted in it. */
        out_start->vote = 0;
    }
    return OST_OK;
}

void raft_host_group_mark_damaged(struct raft_host *host, group_id_t group, replica_id_t replica)
{
    struct wal_group_state state;
    if (!wal_group_get(host->wal, group, &state) || !state.damaged)
        wal_mark_damaged(host->wal, group, replica);
}

int raft_host_group_add(struct raft_host *host, group_id_t id, replica_id_t replica,
                        const struct raft_snapshot_meta *initial,
                        const struct raft_state_machine_ops *ops, void *machine,
                        nanoseconds_t now_ns)
{
    ASSERT(replica != 0);
    host_set_now(host, now_ns);
    if (host_group_find(host, id))
        return OST_EXISTS;
    if (host_is_removing(host, id))
        return OST_BUSY;
    struct host_start start;
    int status = host_group_recover(host, id, replica, initial, &start);
    if (status == OST_CORRUPT)
        raft_host_group_mark_damaged(host, id, replica);
    if (status != OST_OK)
        return status;
    struct host_group *group = memory_alloc_zeroed(1, sizeof(*group));
    group->group = id;
    group->replica = replica;
    group->ops = ops;
    group->machine = machine;
    group->applied_index = group->applicable_index = initial->index;
    group->deadline_ns = NS_NEVER;
    TAILQ_INIT(&group->held);
    TAILQ_INIT(&group->reads);
    struct raft_options options = host->options.raft;
    options.replica = replica;
    options.seed = XXH3_64bits_withSeed(&id, sizeof(id), random_next(&host->random));
    group->raft = raft_new(&options, initial, start.term, start.vote, start.entries,
                           start.entries_count, initial->index, host->now_ns);
    group->wal = wal_group_claim(host->wal, id, replica, group);
    if (start.log_reset)
        wal_persist(host->wal, group->wal,
                    &(struct wal_unit_request){.log_reset = true,
                                               .reset_index = initial->index,
                                               .reset_term = initial->term});
    else if (start.log_cut)
        wal_cut(host->wal, group->wal, initial->index);
    else if (start.birth) /* so that the log knows who is here, from the first moment */
        wal_persist(host->wal, group->wal,
                    &(struct wal_unit_request){.log_reset = true, .hard_state_changed = true});
    HASH_ADD(hh, host->groups, group, sizeof(group->group), group);
    if (host->log_slow)
        host_step_simple(host, group,
                         (struct raft_event){.type = RAFT_EV_STORAGE_SLOW, .slow = true});
    /* Early is harmless, and tells when to wake. */
    host_step_simple(host, group, (struct raft_event){.type = RAFT_EV_TIMER_FIRED});
    return OST_OK;
}

/* The log. */

static void host_set_slow(struct raft_host *host, bool slow)
{
    if (host->log_slow == slow)
        return;
    host->log_slow = slow;
    log_write(LOG_WARN, slow ? "a log write hangs" : "log writes go on", "store=%lu waited_ms=%lu",
              host->options.store, (host->now_ns - host->log_busy_since_ns) / NS_PER_MS);
    struct host_group *group, *next;
    HASH_ITER (hh, host->groups, group, next) {
        host_step_simple(host, group,
                         (struct raft_event){.type = RAFT_EV_STORAGE_SLOW, .slow = slow});
    }
}

bool raft_host_log_is_slow(const struct raft_host *host)
{
    return host->log_slow;
}

/* When a write that is held back may begin. */
static nanoseconds_t host_log_pace_ns(const struct raft_host *host)
{
    nanoseconds_t next_ns = log_pace_next_ns(&host->log_pace);
    return wal_is_waiting(host->wal) && next_ns > host->now_ns ? next_ns : NS_NEVER;
}

static nanoseconds_t host_log_hung_ns(const struct raft_host *host)
{
    if (host->log_busy_since_ns == 0 || host->log_slow)
        return NS_NEVER;
    return host->log_busy_since_ns + host->options.log_write_hung_ms * NS_PER_MS;
}

void raft_host_log_done(struct raft_host *host, enum log_operation_type type, uint32_t segment,
                        uint64_t cookie, nanoseconds_t now_ns)
{
    host_set_now(host, now_ns);
    const struct wal_durable *durable;
    size_t durable_count;
    wal_operation_done(host->wal, type, segment, cookie, &durable, &durable_count);
    if (type != LOG_OPERATION_WRITE)
        return;
    host_set_slow(host, false);
    host->log_busy_since_ns = 0;
    log_pace_write_done(&host->log_pace, now_ns);
    for (size_t i = 0; i < durable_count; i++) {
        struct host_group *group = durable[i].owner;
        if (!group)
            continue; /* a replica was destroyed that was not even added */
        ASSERT(durable[i].persist_id > group->persisted_id);
        group->persisted_id = durable[i].persist_id;
        if (group->removed)
            continue;
        host_messages_release(host, group);
        host_step_simple(
            host, group,
            (struct raft_event){.type = RAFT_EV_PERSISTED, .persist_id = durable[i].persist_id});
    }
}

static void host_log_turn(struct raft_host *host)
{
    struct raft_host_update *update = host->update;
    while (update->log_operations_count < LOG_OPERATIONS_PER_TURN_MAX) {
        struct log_operation *operation = &update->log_operations[update->log_operations_count];
        bool may_write = host->now_ns >= log_pace_next_ns(&host->log_pace);
        if (!wal_next_operation(host->wal, may_write, operation))
            break;
        update->log_operations_count++;
        if (operation->type == LOG_OPERATION_WRITE) {
            log_pace_write_began(&host->log_pace, host->now_ns);
            host->metrics->log_writes_count++;
            host->metrics->log_written_bytes += operation->bytes_count;
        }
    }
    if (!wal_is_busy(host->wal))
        host->log_busy_since_ns = 0;
    else if (host->log_busy_since_ns == 0)
        host->log_busy_since_ns = host->now_ns > 0 ? host->now_ns : 1;
}

static raft_index_t host_cut_index(struct raft_host *host, struct host_group *group)
{
    raft_index_t flushed = group->ops->flushed_index(group->machine);
    struct raft_status status;
    raft_get_status(group->raft, &status);
    if (flushed > group->applied_index)
        flushed = group->applied_index;
    if (RARE(LOG_CUT_AHEAD_OF_FOLLOWERS))
        return flushed;
    raft_index_t followed = host_senders_cut_index(host, group, flushed);
    if (status.log_bytes > host->options.log_retained_bytes_max)
        return followed;
    raft_index_t needed = raft_needed_index(group->raft, HOST_FOLLOWER_LIVE_MS, host->now_ns);
    if (needed == 0)
        return 0;
    return needed - 1 < flushed ? needed - 1 : flushed;
}

void raft_host_flushed(struct raft_host *host, nanoseconds_t now_ns)
{
    host_set_now(host, now_ns);
    struct host_group *group, *next;
    HASH_ITER (hh, host->groups, group, next) {
        if (host_receiver_adopts(group))
            continue;
        raft_index_t cut = host_cut_index(host, group);
        struct raft_status status;
        raft_get_status(group->raft, &status);
        if (cut == 0 || cut < status.first_index)
            continue;
        struct raft_event event = {
            .type = RAFT_EV_LOG_CUT, .now_ns = host->now_ns, .cut_index = cut};
        if (host_step(host, group, &event) == OST_OK)
            wal_cut(host->wal, group->wal, cut);
    }
    /* A group that the log knows and nobody has claimed is not forgotten: a crash may have taken
     * the row of a new replica whose promises, and even commits, were durable here already. The
     * master makes it again, under its number, and finds them. */
    wal_maintain(host->wal);
}

/* Events. */

void raft_host_peer_reset(struct raft_host *host, store_id_t store, nanoseconds_t now_ns)
{
    host_set_now(host, now_ns);
    host_senders_peer_reset(host, store);
    struct host_group *group, *next;
    HASH_ITER (hh, host->groups, group, next) {
        const struct raft_configuration *configuration = raft_get_configuration(group->raft);
        for (uint32_t i = 0; i < configuration->members_count; i++) {
            if (configuration->members[i].store != store)
                continue;
            host_step_simple(host, group,
                             (struct raft_event){.type = RAFT_EV_PEER_RESET, .peer_store = store});
            break;
        }
    }
}

void raft_host_timer(struct raft_host *host, nanoseconds_t now_ns)
{
    host_set_now(host, now_ns);
    bool is_writing = host->log_busy_since_ns != 0 && !host->log_slow;
    if (host->now_ns >= host_log_hung_ns(host) || (is_writing && RARE(LOG_WRITE_HUNG))) {
        COVER(LOG_WRITE_HANGS);
        host_set_slow(host, true);
    }
    /* Taken out first: a core that wants to be woken at once is woken in the next turn. */
    struct host_groups due = TAILQ_HEAD_INITIALIZER(due);
    struct host_group *group;
    size_t due_count = 0;
    RB_FOREACH (group, host_timers, &host->timers) {
        if (group->wake_ns > host->now_ns)
            break;
        due_count++;
    }
    struct host_group **all = arena_alloc(&host->arena, (due_count + 1) * sizeof(*all));
    size_t count = 0;
    RB_FOREACH (group, host_timers, &host->timers) {
        if (count == due_count)
            break;
        all[count++] = group;
    }
    for (size_t i = 0; i < count; i++) {
        group = all[i];
        if (group->apply_retry_ns != 0 && group->apply_retry_ns <= host->now_ns) {
            group->apply_retry_ns = 0;
            host_group_set_work(host, group);
            host_group_set_timer(host, group);
        }
        if (group->deadline_ns <= host->now_ns)
            host_step_simple(host, group, (struct raft_event){.type = RAFT_EV_TIMER_FIRED});
    }
}

void raft_host_turn_ended(struct raft_host *host, nanoseconds_t now_ns)
{
    host_set_now(host, now_ns);
    host->turn++;
    host->update->more_to_apply = false;
    host->in_turn_end = true;
    uint32_t rounds_max = RARE(TURN_ONE_ROUND) ? 1 : HOST_TURN_ROUNDS_MAX;
    for (uint32_t round = 0; round < rounds_max; round++) {
        host_senders_turn(host);
        host_receivers_turn(host);
        host_removed_turn(host);
        host_work(host);
        if (TAILQ_EMPTY(&host->dirty))
            break;
        struct host_group *group;
        while ((group = TAILQ_FIRST(&host->dirty)) != NULL) {
            TAILQ_REMOVE(&host->dirty, group, dirty_link);
            group->dirty = false;
            host_step_simple(host, group, (struct raft_event){.type = RAFT_EV_TURN_ENDED});
        }
    }
    host->in_turn_end = false;
    TAILQ_CONCAT(&host->work, &host->work_later, work_link);
    if (!TAILQ_EMPTY(&host->work) || !TAILQ_EMPTY(&host->dirty))
        host->update->more_to_apply = true;
    host_log_turn(host);
    host_transport_flush(host);
    wal_turn_ended(host->wal);
    arena_reset(&host->arena);

    nanoseconds_t deadline_ns = host_log_hung_ns(host);
    const struct host_group *first = RB_MIN(host_timers, &host->timers);
    if (first && first->wake_ns < deadline_ns)
        deadline_ns = first->wake_ns;
    nanoseconds_t others_ns[] = {host_senders_deadline(host), host_receivers_deadline(host),
                                 host_log_pace_ns(host)};
    for (size_t i = 0; i < sizeof(others_ns) / sizeof(others_ns[0]); i++)
        if (others_ns[i] < deadline_ns)
            deadline_ns = others_ns[i];
    host->update->deadline_ns = deadline_ns;
}

/* Requests. */

int raft_host_propose(struct raft_host *host, group_id_t id, enum raft_entry_type type,
                      struct blob *payload, nanoseconds_t now_ns, raft_index_t *out_index,
                      raft_term_t *out_term)
{
    host_set_now(host, now_ns);
    struct host_group *group = host_group_find(host, id);
    if (!group)
        return OST_NOT_FOUND;
    struct raft_event event = {.type = RAFT_EV_PROPOSED, .now_ns = host->now_ns};
    event.propose.entry_type = type;
    event.propose.payload = payload;
    event.propose.heard_timestamp = host->heard;
    int status = host_step(host, group, &event);
    if (status != OST_OK)
        return status;
    *out_index = host->core.proposed_index;
    *out_term = host->core.proposed_term;
    return OST_OK;
}

int raft_host_configure(struct raft_host *host, group_id_t id,
                        const struct raft_configuration *target, nanoseconds_t now_ns)
{
    host_set_now(host, now_ns);
    struct host_group *group = host_group_find(host, id);
    if (!group)
        return OST_NOT_FOUND;
    struct raft_event event = {.type = RAFT_EV_CONFIGURATION_PROPOSED, .now_ns = host->now_ns};
    event.configure.target = target;
    event.configure.heard_timestamp = host->heard;
    return host_step(host, group, &event);
}

bool raft_host_configuration_is_settled(const struct raft_host *host, group_id_t id)
{
    const struct host_group *group = host_group_find(host, id);
    if (!group || raft_configuration_is_joint(raft_get_configuration(group->raft)))
        return false;
    struct raft_status status;
    raft_get_status(group->raft, &status);
    return raft_configuration_index(group->raft) <= status.commit_index;
}

static int host_read(struct raft_host *host, group_id_t id, bool by_lease, nanoseconds_t now_ns,
                     uint64_t *out_read_id)
{
    host_set_now(host, now_ns);
    struct host_group *group = host_group_find(host, id);
    if (!group)
        return OST_NOT_FOUND;
    struct raft_event event = {.type = RAFT_EV_READ_REQUESTED, .now_ns = host->now_ns};
    event.read.by_lease = by_lease;
    int status = host_step(host, group, &event);
    if (status != OST_OK)
        return status;
    struct host_read *read = memory_alloc_zeroed(1, sizeof(*read));
    read->read_id = host->core.read_id;
    read->valid_until_ns = NS_NEVER;
    TAILQ_INSERT_TAIL(&group->reads, read, link);
    if (host->core.read_valid_until_ns != 0) {
        read->confirmed = true;
        read->index = host->core.read_index;
        read->valid_until_ns = host->core.read_valid_until_ns;
        host_group_set_work(host, group);
    }
    /* The step may have confirmed it already: a group of one. */
    host_reads_note(host, group, &host->core);
    *out_read_id = read->read_id;
    return OST_OK;
}

int raft_host_read(struct raft_host *host, group_id_t group, nanoseconds_t now_ns,
                   uint64_t *out_read_id)
{
    return host_read(host, group, false, now_ns, out_read_id);
}

int raft_host_read_by_lease(struct raft_host *host, group_id_t group, nanoseconds_t now_ns,
                            uint64_t *out_read_id)
{
    return host_read(host, group, true, now_ns, out_read_id);
}

int raft_host_transfer(struct raft_host *host, group_id_t id, replica_id_t to, nanoseconds_t now_ns)
{
    host_set_now(host, now_ns);
    struct host_group *group = host_group_find(host, id);
    if (!group)
        return OST_NOT_FOUND;
    struct raft_event event = {.type = RAFT_EV_TRANSFER, .now_ns = host->now_ns, .transfer_to = to};
    return host_step(host, group, &event);
}

void raft_host_heard(struct raft_host *host, timestamp_t timestamp)
{
    if (timestamp > host->heard)
        host->heard = timestamp;
}

timestamp_t raft_host_heard_timestamp(const struct raft_host *host)
{
    return host->heard;
}

int raft_host_group_status(const struct raft_host *host, group_id_t id,
                           struct raft_status *out_status)
{
    const struct host_group *group = host_group_find(host, id);
    if (!group)
        return OST_NOT_FOUND;
    raft_get_status(group->raft, out_status);
    return OST_OK;
}

int raft_host_leadership(const struct raft_host *host, group_id_t id,
                         struct raft_leadership *out_leadership)
{
    const struct host_group *group = host_group_find(host, id);
    if (!group)
        return OST_NOT_FOUND;
    *out_leadership = group->leadership;
    return OST_OK;
}

const struct raft_configuration *raft_host_configuration(const struct raft_host *host,
                                                         group_id_t id)
{
    const struct host_group *group = host_group_find(host, id);
    return group ? raft_get_configuration(group->raft) : NULL;
}
