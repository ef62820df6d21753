#include "tests/sim/process.h"

#include "base/log.h"
#include "base/memory.h"
#include "tests/sim/faults.h"
#include "tests/sim/observe.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <utlist.h>
#include <xxhash.h>

#define WHY_BYTES      512
#define TURN_NS_MIN    2000u
#define START_AGAIN_NS (200 * NS_PER_MS)

struct process_event {
    enum node_event_type type;
    uint64_t connection_id;
    int status;
    struct blob *frame;
    struct log_operation log_operation;
    struct job *job;
};

/* A job of the node's, or an operation on the log's files. */
struct process_job {
    struct process_job *prev, *next; /* utlist */
    uint64_t number;
    struct job *job; /* NULL: a log operation */
    bool is_run;     /* it is done, and nobody has heard of it */
    struct log_operation operation;
};

nanoseconds_t process_now_ns(const struct process *process)
{
    return sim_clock_local_ns(&process->clock, process->sim->schedule.now_ns);
}

bool process_is_joiner(const struct process *process)
{
    return process->store_id > process->sim->plan.stores;
}

/* --- Turns
 * ------------------------------------------------------------------------------------------- */

static void turn_fired(void *target, uint64_t number);

static void turn_plan(struct process *process, nanoseconds_t at_ns)
{
    if (at_ns < process->busy_until_ns)
        at_ns = process->busy_until_ns;
    if (at_ns >= process->turn_at_ns || process->state != PROCESS_UP || process->is_in_turn)
        return;
    process->turn_at_ns = at_ns;
    schedule_set_alarm(&process->sim->schedule, sim_host_of_store(process->store_id), at_ns,
                       turn_fired, process, ++process->turn_number);
}

static void inbox_add(struct process *process, const struct process_event *event)
{
    if (process->inbox_count == process->inbox_capacity) {
        process->inbox_capacity = process->inbox_capacity ? 2 * process->inbox_capacity : 64;
        process->inbox =
            memory_realloc(process->inbox, process->inbox_capacity * sizeof process->inbox[0]);
    }
    process->inbox[process->inbox_count++] = *event;
    turn_plan(process, process->sim->schedule.now_ns);
}

static void node_event(struct process *process, const struct process_event *event)
{
    struct frame frame;
    struct node_event out = {
        .type = event->type,
        .now_ns = process->is_in_turn ? process->turn_now_ns : process_now_ns(process),
        .connection_id = event->connection_id,
        .status = event->status,
        .log_operation = event->log_operation,
        .job = event->job,
    };
    out.wall_ms = SIM_WALL_MS + out.now_ns / NS_PER_MS + (uint64_t)process->clock.wall_offset_ms;
    if (event->frame) {
        frame = frame_of_blob(event->frame);
        out.frame = &frame;
        process->raft_frames_count +=
            frame.type == FRAME_RAFT_BATCH || frame.type == FRAME_RAFT_SNAPSHOT_CHUNK;
        raft_trace_receive(process->sim->raft_trace, process, &frame);
        observe_receive(process->sim->observer, process, &frame);
    }
    node_step(process->node, &out);
    if (event->frame)
        observe_received(process->sim->observer, process);
    raft_trace_look(process->sim->raft_trace, process);
    blob_unref(event->frame);
}

/* --- What arrives
 * ------------------------------------------------------------------------------------ */

static void on_accepted(void *context, uint64_t connection_id)
{
    inbox_add(context,
              &(struct process_event){.type = NODE_EV_ACCEPTED, .connection_id = connection_id});
}

static void on_connected(void *context, uint64_t connection_id, int status)
{
    inbox_add(context, &(struct process_event){.type = NODE_EV_CONNECTED,
                                               .connection_id = connection_id,
                                               .status = status});
}

static void on_frame(void *context, uint64_t connection_id, struct blob *frame_take)
{
    inbox_add(context, &(struct process_event){.type = NODE_EV_FRAME,
                                               .connection_id = connection_id,
                                               .frame = frame_take});
}

static void on_closed(void *context, uint64_t connection_id)
{
    inbox_add(context,
              &(struct process_event){.type = NODE_EV_CLOSED, .connection_id = connection_id});
}

/* R9: what server.c does when the log fails. */
static void log_failed(struct process *process, int status)
{
    trace_tell(&process->sim->trace, "store %" PRIu64 ": its log failed (%s), it ends",
               process->store_id, ost_status_name(status));
    process->sim->counts.disk_failures++;
    process_stop(process, STOP_DISK);
}

static void job_fired(void *target, uint64_t number)
{
    struct process *process = target;
    struct process_job *found;
    DL_FOREACH(process->jobs, found)
    {
        if (found->number == number)
            break;
    }
    if (!found)
        return; /* it went with its process */
    struct process_job job = *found;
    DL_DELETE(process->jobs, found);
    free(found);
    if (job.job) {
        if (!job.is_run)
            job.job->run(job.job);
        inbox_add(process, &(struct process_event){.type = NODE_EV_JOB_DONE, .job = job.job});
        return;
    }
    int status = disk_operation_finish(&process->disk, &job.operation);
    trace_event(&process->sim->trace, TRACE_LOG_DONE, process->store_id, job.operation.type,
                job.operation.segment, job.operation.offset);
    if (status != OST_OK)
        log_failed(process, status);
    else
        inbox_add(process, &(struct process_event){.type = NODE_EV_LOG_DONE,
                                                   .log_operation = job.operation});
}

/* Of those that take long, some stand before their work and some behind it. */
static nanoseconds_t job_takes_ns(struct process *process, bool *out_is_run)
{
    const struct sim *sim = process->sim;
    const struct plan *plan = &sim->plan;
    *out_is_run = false;
    if (plan->job_tail_ms_max == 0 || sim->phase != 1 ||
        random_below(&process->random, 1000000) >= plan->job_tail_ppm)
        return random_between(&process->random, 1000, plan->job_us_max * 1000);
    *out_is_run = random_below(&process->random, 2) == 0;
    return random_between(&process->random, 1, plan->job_tail_ms_max) * NS_PER_MS;
}

static void job_begin(struct process *process, struct job *job,
                      const struct log_operation *operation)
{
    struct process_job *added = memory_alloc_zeroed(1, sizeof *added);
    added->number = ++process->numbers;
    added->job = job;
    nanoseconds_t now_ns = process->sim->schedule.now_ns, end_ns;
    if (job) {
        end_ns = now_ns + job_takes_ns(process, &added->is_run);
        if (added->is_run)
            job->run(job);
    } else {
        added->operation = *operation;
        end_ns = disk_operation_end_ns(&process->disk, operation, now_ns);
    }
    DL_APPEND(process->jobs, added);
    schedule_add(&process->sim->schedule, end_ns, job_fired, process, added->number);
}

/* --- Carrying out the update
 * ------------------------------------------------------------------------- */

static void jobs_begin(struct process *process, struct job *jobs)
{
    while (jobs) {
        struct job *next = jobs->next;
        jobs->next = NULL;
        job_begin(process, jobs, NULL);
        jobs = next;
    }
}

static uint64_t log_operations_begin(struct process *process, const struct node_update *update)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < update->raft.log_operations_count; i++) {
        const struct log_operation *operation = &update->raft.log_operations[i];
        if (operation->type == LOG_OPERATION_WRITE)
            hash = XXH3_64bits_withSeed(operation->data, operation->bytes_count, hash);
        job_begin(process, NULL, operation);
    }
    return hash;
}

static void connects_begin(struct process *process, const struct node_update *update)
{
    struct network *network = &process->sim->network;
    for (uint32_t i = 0; i < update->connects_count; i++) {
        const struct node_connect *connect = &update->connects[i];
        uint64_t connection_id = network_connect(network, sim_host_of_store(process->store_id),
                                                 sim_host_of_address(connect->address));
        node_connect_begun(process->node, connect->store, connect->channel, connection_id);
    }
}

static void update_carry_out(struct process *process, size_t events_count)
{
    struct sim *sim = process->sim;
    uint32_t host = sim_host_of_store(process->store_id);
    struct node_update *update = node_update(process->node);
    uint64_t writes_hash = log_operations_begin(process, update);
    trace_event(&sim->trace, TRACE_TURN, process->store_id, events_count,
                update->frames.items_count, writes_hash);
    for (size_t i = 0; i < update->frames.items_count; i++) {
        struct outgoing *item = &update->frames.items[i];
        /* R3, as server.c does: a clock that is read after the value was. */
        if (item->valid_until_ns != NS_NEVER && process_now_ns(process) >= item->valid_until_ns) {
            sim->counts.leases_overrun++;
            blob_unref(item->frame);
            continue;
        }
        sim->counts.leased_answers += item->valid_until_ns != NS_NEVER;
        if (sim->raft_trace) {
            struct frame frame = frame_of_blob(item->frame);
            raft_trace_send(sim->raft_trace, process, &frame);
        }
        network_send(&sim->network, host, item->to.id, item->frame);
    }
    update->frames.items_count = 0; /* the connections own the frames now */
    jobs_begin(process, update->raft.jobs);
    jobs_begin(process, update->jobs);
    update->raft.jobs = update->jobs = NULL;
    for (uint32_t i = 0; i < update->closes_count; i++)
        network_close(&sim->network, host, update->closes[i].connection_id,
                      update->closes[i].after_output);
    connects_begin(process, update);
}

static nanoseconds_t turn_cost_ns(struct process *process)
{
    return random_between(&process->random, TURN_NS_MIN, process->sim->plan.turn_us_max * 1000);
}

static void turn_run(struct process *process)
{
    struct sim *sim = process->sim;
    sim->counts.turns++;
    size_t events_count = process->inbox_count;
    for (size_t i = 0; i < events_count; i++)
        node_event(process, &process->inbox[i]);
    process->inbox_count = 0;
    node_event(process, &(struct process_event){.type = NODE_EV_TURN_ENDED});
    process->is_in_turn = false;
    nanoseconds_t deadline_ns = node_update(process->node)->deadline_ns;
    update_carry_out(process, events_count);
    struct node_update *update = node_update(process->node);
    const char *fatal = update->fatal;
    bool is_stopped = update->stopped;
    node_update_reset(process->node);
    observe_turn(sim->observer, process);
    if (fatal || is_stopped) {
        if (fatal)
            trace_tell(&sim->trace, "store %" PRIu64 " ends: %s", process->store_id, fatal);
        process_stop(process, fatal ? STOP_FATAL : STOP_SHUTDOWN);
        return;
    }
    process->busy_until_ns = sim->schedule.now_ns + turn_cost_ns(process);
    turn_plan(process, sim_clock_real_ns(&process->clock, deadline_ns));
    faults_turn_ended(sim->faults, process);
}

static void turn_run_fired(void *target, uint64_t number)
{
    struct process *process = target;
    if (number == process->turn_number && process->state == PROCESS_UP && process->is_in_turn)
        turn_run(process);
}

/* Between the reading of the clock and what is done by it. */
static nanoseconds_t stall_ns(struct process *process)
{
    const struct plan *plan = &process->sim->plan;
    if (process->sim->network.is_gentle || process->inbox_count == 0 ||
        !random_happens(&process->stall_random, plan->lease_stall_ppm))
        return random_below(&process->stall_random, plan->turn_us_max * 1000);
    return random_between(&process->stall_random, plan->election_ms_min,
                          plan->election_ms_min + 3 * plan->election_ms_max) *
           NS_PER_MS;
}

static void turn_fired(void *target, uint64_t number)
{
    struct process *process = target;
    if (number != process->turn_number || process->state != PROCESS_UP)
        return;
    struct sim *sim = process->sim;
    process->turn_at_ns = NS_NEVER;
    process->turn_now_ns = process_now_ns(process);
    process->is_in_turn = true;
    if (sim->plan.lease_ms == 0) {
        turn_run(process);
        return;
    }
    /* The turn has one time, which leases are held against; but its process may be stopped, and
     * what it then reads and answers is of later. */
    schedule_set_alarm(&sim->schedule, sim_host_of_store(process->store_id),
                       sim->schedule.now_ns + stall_ns(process), turn_run_fired, process,
                       ++process->turn_number);
}

/* --- Start
 * ------------------------------------------------------------------------------------------- */

void process_init(struct process *process, struct sim *sim, store_id_t store_id)
{
    const struct plan *plan = &sim->plan;
    char name[32];
    snprintf(name, sizeof name, "store %" PRIu64, store_id);
    *process = (struct process){.sim = sim,
                                .store_id = store_id,
                                .life = store_id > plan->stores ? LIFE_AWAITED : LIFE_HERE,
                                .turn_at_ns = NS_NEVER,
                                .random = schedule_random(plan->seed, name)};
    snprintf(name, sizeof name, "stalls of store %" PRIu64, store_id);
    process->stall_random = schedule_random(plan->seed, name);
    struct disk_options options = {
        .write_ns_min = plan->disk_us_min * 1000,
        .write_ns_max = plan->disk_us_max * 1000,
        .tail_per_million = plan->disk_tail_ppm,
        .tail_ns_max = plan->disk_tail_ms_max * NS_PER_MS,
    };
    struct random random = process->random;
    random.state[0] ^= 1; /* a stream of its own */
    disk_init(&process->disk, &options, random);
    rows_init(&process->rows, plan->rocksdb > 0);
    /* Each machine was switched on at another time; their wall clocks agree all the same. */
    uint64_t up_s = random_below(&process->random, 1000);
    process->clock = (struct sim_clock){
        .real_ns = sim->schedule.now_ns,
        .local_ns = sim->schedule.now_ns + up_s * NS_PER_S,
        .rate_ppm = (int64_t)random_between(&process->random, 0, 2 * plan->drift_ppm_max) -
                    (int64_t)plan->drift_ppm_max,
        .wall_offset_ms = (int64_t)random_below(&process->random, 200) - 100 -
                          (int64_t)(up_s * NS_PER_S / NS_PER_MS),
    };
}

void process_fini(struct process *process)
{
    process_stop(process, STOP_POWER);
    rows_fini(&process->rows);
    disk_fini(&process->disk);
    free(process->inbox);
    free(process->options);
}

#define SPLITS_MAX 64
struct cluster_options {
    struct node_options node;
    Ostraka__StoreInfo stores[PLAN_STORES_MAX];
    char addresses[SIM_STORES_MAX][32];
    const char *join_addresses[SIM_STORES_MAX];
    struct bytes splits[SPLITS_MAX];
    char split_texts[SPLITS_MAX][8];
};

/* Each kind of key has a letter, and pieces of equal size (workload.h, workload_key). */
static size_t splits_fill(const struct plan *plan, struct cluster_options *cluster)
{
    size_t count = 0;
    for (const char *kind = "abr"; *kind; kind++) {
        for (uint64_t piece = 0; piece < plan->ranges_per_kind; piece++) {
            if (*kind == 'a' && piece == 0)
                continue;
            ASSERT(count < SPLITS_MAX);
            if (piece == 0)
                snprintf(cluster->split_texts[count], sizeof cluster->split_texts[count], "%c",
                         *kind);
            else
                snprintf(cluster->split_texts[count], sizeof cluster->split_texts[count], "%c%02x",
                         *kind, (unsigned)(piece * 256 / plan->ranges_per_kind));
            cluster->splits[count] = bytes_of_string(cluster->split_texts[count]);
            count++;
        }
    }
    return count;
}

static void raft_options_fill(const struct plan *plan, struct raft_host_options *options)
{
    options->raft.heartbeat_ms = (uint32_t)plan->heartbeat_ms;
    options->raft.election_timeout_ms_min = (uint32_t)plan->election_ms_min;
    options->raft.election_timeout_ms_max = (uint32_t)plan->election_ms_max;
    options->raft.lease_ms = plan_lease_ms(plan);
    options->raft.inflight_messages_max = (uint32_t)plan->inflight_messages_max;
    options->raft.inflight_bytes_max = (uint32_t)plan->inflight_bytes_max;
    options->raft.message_bytes_max = (uint32_t)plan->message_bytes_max;
    options->log_segment_bytes = (uint32_t)plan->log_segment_kib << 10;
    options->log_write_bytes_max = (uint32_t)plan->log_write_kib << 10;
    options->log_retained_bytes_max = plan->log_retained_kib << 10;
    options->snapshot_chunk_bytes = (uint32_t)plan->snapshot_chunk_bytes;
    options->snapshot_bytes_per_s = 1u << 20; /* there is little to copy here, and it is to wait */
}

/* As --initial-stores has it. */
static void founder_options_fill(const struct plan *plan, struct cluster_options *cluster)
{
    struct master_options *master = &cluster->node.master;
    cluster->node.cluster_id = SIM_CLUSTER_ID;
    for (uint32_t place = 0; place < plan->stores; place++) {
        ostraka__store_info__init(&cluster->stores[place]);
        cluster->stores[place].id = place + 1;
        cluster->stores[place].address = cluster->addresses[place];
    }
    master->initial_stores = cluster->stores;
    master->initial_stores_count = plan->stores;
}

/* As --join has it: it knows where all others are, or will be, and the cluster's name. */
static void joiner_options_fill(const struct process *process, struct cluster_options *cluster)
{
    struct node_options *node = &cluster->node;
    node->cluster_id = SIM_CLUSTER_ID >> 32 << 32;
    for (uint32_t place = 0; place < process->sim->stores_count; place++)
        if (place + 1 != process->store_id)
            cluster->join_addresses[node->join_addresses_count++] = cluster->addresses[place];
    node->join_addresses = cluster->join_addresses;
}

static void cluster_options_fill(struct process *process, struct cluster_options *cluster)
{
    const struct plan *plan = &process->sim->plan;
    struct node_options *node = &cluster->node;
    node_options_default(node);
    for (uint32_t place = 0; place < process->sim->stores_count; place++)
        sim_address(place, cluster->addresses[place], sizeof cluster->addresses[place]);
    if (process_is_joiner(process))
        joiner_options_fill(process, cluster);
    else
        founder_options_fill(plan, cluster);
    node->seed = random_next(&process->random);
    node->raft.store = process->store_id;
    raft_options_fill(plan, &node->raft);
    node->kv.flush_bytes = plan->flush_kib << 10;
    node->kv.flush_interval_ms = (uint32_t)plan->flush_interval_ms;
    node->kv.garbage_bytes_min = 1;
    node->kv.copy_bytes_per_s = 256u << 10;
    node->kv.participant.entry_expiry_ms = (uint32_t)plan->lock_expiry_ms;
    node->advertise_address = cluster->addresses[process->store_id - 1];
    node->master.initial_replicas_count = (uint32_t)plan->replicas;
    node->master.initial_groups_count = (uint32_t)plan->groups;
    node->master.range_changes_max = 0; /* the faults change them */
    node->master.history_ms = plan->history_ms;
    node->master.replica_changes_max = (uint32_t)plan->replica_changes_max;
    node->master.dead_after_ms = plan->dead_after_ms;
    node->master.initial_splits = cluster->splits;
    node->master.initial_splits_count = splits_fill(plan, cluster);
}

static int recover_log(struct process *process, char *why)
{
    struct raft_host *host = node_raft_host(process->node);
    struct disk_segment *segment;
    TAILQ_FOREACH (segment, &process->disk.segments, link) {
        int status = raft_host_recover_segment(host, segment->number,
                                               bytes_of(segment->bytes, segment->bytes_count), why);
        if (status != OST_OK)
            return status;
    }
    int status = raft_host_recover_end(host, why);
    disk_was_read(&process->disk);
    return status;
}

static uint64_t segments_count(const struct process *process)
{
    uint64_t count = 0;
    const struct disk_segment *segment;
    TAILQ_FOREACH (segment, &process->disk.segments, link)
        count++;
    return count;
}

static void node_drop(struct process *process);

static void start_fired(void *target, uint64_t number)
{
    (void)number;
    process_start(target);
}

void process_start(struct process *process)
{
    struct sim *sim = process->sim;
    if (process->state != PROCESS_DOWN || process->life != LIFE_HERE)
        return;
    process->incarnation++;
    sim->counts.starts++;
    trace_event(&sim->trace, TRACE_START, process->store_id, process->incarnation,
                segments_count(process), 0);
    if (!process->options)
        process->options = memory_alloc_zeroed(1, sizeof *process->options);
    cluster_options_fill(process, process->options);
    process->metrics = (struct metrics){0};
    char why[WHY_BYTES] = "";
    process->node = node_new(&process->options->node, rows_open(&process->rows), &process->metrics);
    int status = recover_log(process, why);
    if (status == OST_OK)
        status = node_load(process->node, process_now_ns(process), why);
    trace_event(&sim->trace, TRACE_STARTED, process->store_id, (uint64_t)(int64_t)status, 0, 0);
    if (status != OST_OK) {
        trace_tell(&sim->trace, "store %" PRIu64 " cannot start: %s: %s", process->store_id,
                   ost_status_name(status), why);
        node_drop(process);
        if (status == OST_BUSY) { /* its store is stalled: whoever starts it tries again */
            schedule_add(&sim->schedule, sim->schedule.now_ns + START_AGAIN_NS, start_fired,
                         process, 0);
            return;
        }
        sim_fail(sim, "cannot-start", "store %" PRIu64 " cannot start, %s: %s", process->store_id,
                 ost_status_name(status), why);
        return;
    }
    process->state = PROCESS_UP;
    process->is_shutting_down = false;
    process->busy_until_ns = 0;
    rows_hinder(&process->rows, process->is_stalled, process->is_cold);
    const struct network_port port = {.accepted = on_accepted,
                                      .connected = on_connected,
                                      .frame = on_frame,
                                      .closed = on_closed,
                                      .context = process};
    network_host_up(&sim->network, sim_host_of_store(process->store_id), &port);
    raft_trace_started(sim->raft_trace, process);
    observe_started(sim->observer, process);
    turn_plan(process, sim->schedule.now_ns);
}

/* --- Stop
 * -------------------------------------------------------------------------------------------- */

static void job_finish(struct process *process, struct job *job, bool is_run)
{
    if (!is_run)
        job->run(job);
    node_event(process, &(struct process_event){.type = NODE_EV_JOB_DONE, .job = job});
}

/* Memory must be given back, and jobs have owners that wait for them: so the process that died goes
 * on for a moment, in a world where nothing it does has any effect. */
static void node_drop(struct process *process)
{
    process->sim->is_tearing_down = true;
    struct process_job *job, *next;
    DL_FOREACH_SAFE(process->jobs, job, next)
    {
        DL_DELETE(process->jobs, job);
        if (job->job)
            job_finish(process, job->job, job->is_run);
        free(job);
    }
    for (size_t i = 0; i < process->inbox_count; i++) {
        if (process->inbox[i].type == NODE_EV_JOB_DONE)
            job_finish(process, process->inbox[i].job, true);
        else
            blob_unref(process->inbox[i].frame);
    }
    process->inbox_count = 0;
    struct node_update *update = node_update(process->node);
    for (;;) {
        struct job **list = update->jobs ? &update->jobs : &update->raft.jobs;
        struct job *first = *list;
        if (!first)
            break;
        *list = first->next;
        first->next = NULL;
        job_finish(process, first, false);
    }
    for (uint32_t i = 0; i < update->connects_count; i++)
        node_connect_begun(process->node, update->connects[i].store, update->connects[i].channel,
                           0);
    node_free(process->node);
    process->node = NULL;
    process->sim->is_tearing_down = false;
}

void process_stop(struct process *process, enum stop_cause cause)
{
    if (!process_is_up(process))
        return;
    struct sim *sim = process->sim;
    uint64_t writes_count = 0;
    struct process_job *job;
    DL_FOREACH(process->jobs, job)
    {
        if (job->job)
            continue;
        writes_count += job->operation.type == LOG_OPERATION_WRITE;
        disk_operation_tear(&process->disk, &job->operation);
    }
    trace_event(&sim->trace, TRACE_STOP, process->store_id, cause, writes_count, 0);
    observe_stopped(sim->observer, process);
    raft_trace_stopped(sim->raft_trace, process);
    sim->counts.crashes += cause != STOP_SHUTDOWN;
    sim->counts.snapshots_sent += process->metrics.snapshots_sent_count;
    sim->counts.snapshots_installed += process->metrics.snapshots_installed_count;
    sim->counts.elections += process->metrics.elections_won_count;
    network_host_down(&sim->network, sim_host_of_store(process->store_id), cause != STOP_POWER);
    rows_crash(&process->rows);
    process->turn_number++;
    process->turn_at_ns = NS_NEVER;
    process->is_in_turn = false;
    node_drop(process);
    rows_close(&process->rows);
    process->state = PROCESS_DOWN;
}

void process_pause(struct process *process)
{
    if (process->state != PROCESS_UP)
        return;
    process->state = PROCESS_PAUSED;
    process->turn_number++;
    process->turn_at_ns = NS_NEVER;
}

void process_resume(struct process *process)
{
    if (process->state != PROCESS_PAUSED)
        return;
    struct sim *sim = process->sim;
    process->state = PROCESS_UP;
    if (process->is_in_turn)
        schedule_set_alarm(&sim->schedule, sim_host_of_store(process->store_id),
                           sim->schedule.now_ns, turn_run_fired, process, process->turn_number);
    else
        turn_plan(process, sim->schedule.now_ns);
}

void process_shut_down(struct process *process)
{
    if (process->state != PROCESS_UP || process->is_shutting_down)
        return;
    process->is_shutting_down = true;
    inbox_add(process, &(struct process_event){.type = NODE_EV_SHUTDOWN});
}

void process_lose_disk(struct process *process)
{
    ASSERT(process->state == PROCESS_DOWN);
    observe_disk_lost(process->sim->observer, process);
    disk_wipe(&process->disk);
    bool is_rocksdb = process->rows.is_rocksdb;
    rows_fini(&process->rows);
    rows_init(&process->rows, is_rocksdb);
    process->is_log_damaged = false;
    process->is_disk_lost = true;
}

void process_hinder(struct process *process, bool is_stalled, bool is_cold)
{
    process->is_stalled = is_stalled;
    process->is_cold = is_cold;
    rows_hinder(&process->rows, is_stalled, is_cold);
}

/* When it planned to wake comes at another moment now: a turn too many does no harm. */
void process_clock_rate(struct process *process, int64_t rate_ppm)
{
    sim_clock_set_rate(&process->clock, process->sim->schedule.now_ns, rate_ppm);
    if (process->state == PROCESS_UP)
        turn_plan(process, process->sim->schedule.now_ns);
}

void process_heal_disk(struct process *process)
{
    process->disk.slow_factor = 1;
    process->disk.hung_until_ns = 0;
    process->disk.writes_to_fail = 0;
    process->disk.is_full = false;
    struct schedule *schedule = &process->sim->schedule;
    struct process_job *job;
    DL_FOREACH(process->jobs, job)
    {
        if (job->job)
            continue;
        /* Whichever of the two moments comes first finds it. */
        schedule_add(schedule,
                     disk_operation_end_ns(&process->disk, &job->operation, schedule->now_ns),
                     job_fired, process, job->number);
    }
}

bool process_transfer(struct process *process, group_id_t group, replica_id_t to)
{
    if (process->state != PROCESS_UP || process->is_in_turn)
        return false;
    int status =
        raft_host_transfer(node_raft_host(process->node), group, to, process_now_ns(process));
    turn_plan(process, process->sim->schedule.now_ns);
    return status == OST_OK;
}
