#include "tests/sim/run.h"

#include "base/log.h"
#include "base/memory.h"
#include "tests/check/bank_check.h"
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"
#include "tests/check/snapshot_check.h"
#include "tests/sim/audit.h"
#include "tests/sim/faults.h"
#include "tests/sim/observe.h"
#include "tests/sim/store_life.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_NS_MAX (60 * NS_PER_S)
#define AUDIT_NS_MAX    (60 * NS_PER_S)
#define CATCH_UP_NS_MAX (10 * AUDIT_NS_MAX)
#define LOCKS_NS_MAX    (30 * NS_PER_S)
#define POLL_NS         (50 * NS_PER_MS)
/* So many that one of four does not stay away. */
#define MANY_FAULTS 24u
/* With more than these hardly anything is ever served. */
#define TOO_MANY_FAULTS 240u
/* So many, of whatever kind, and one of a kind that is asked for often is among them. */
#define MANY_RANGE_CHANGES 8u

void sim_fail(struct sim *sim, const char *name, const char *format, ...)
{
    if (sim->is_failed)
        return;
    sim->is_failed = true;
    snprintf(sim->failure, sizeof sim->failure, "%s", name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->why, sizeof sim->why, format, arguments);
    va_end(arguments);
    trace_tell(&sim->trace, "FAILED %s: %s", name, sim->why);
    if (sim->trace.story && !sim->is_tearing_down)
        observe_tell(sim->observer);
}

void sim_address(uint32_t host, char *text, size_t text_bytes_max)
{
    snprintf(text, text_bytes_max, "store%u:7100", host + 1);
}

uint32_t sim_host_of_address(const char *address)
{
    unsigned number = 0;
    int found = sscanf(address, "store%u:", &number);
    ASSERT(found == 1 && number > 0);
    return number - 1;
}

/* Of a store whose log we damaged, whose disk we took, or that we asked to be removed. */
static bool error_is_excused(const struct sim *sim, const char *line)
{
    const char *field = strstr(line, " store=");
    store_id_t store = field ? strtoull(field + strlen(" store="), NULL, 10) : 0;
    if (store == 0 || store > sim->stores_count)
        return false;
    const struct process *process = &sim->stores[store - 1];
    return process->is_log_damaged || process->is_disk_lost || process->is_to_be_removed;
}

static void log_sink(enum log_level level, const char *line, void *context)
{
    struct sim *sim = context;
    if (sim->is_tearing_down)
        return;
    trace_log(&sim->trace, line);
    if (level != LOG_ERROR)
        return;
    if (error_is_excused(sim, line))
        sim->errors_excused++;
    else
        sim_fail(sim, "error-line", "%s", line);
}

/* --- Beginning and end
 * ------------------------------------------------------------------------------- */

static void network_options_fill(const struct plan *plan, struct network_options *options)
{
    *options = (struct network_options){
        .latency_ns_min = plan->latency_us_min * 1000,
        .latency_ns_max = plan->latency_us_max * 1000,
        .tail_per_million = plan->tail_ppm,
        .tail_ns_max = plan->tail_ms_max * NS_PER_MS,
        .lost_per_million = plan->frame_lost_ppm,
        .doubled_per_million = plan->frame_doubled_ppm,
        .swapped_per_million = plan->frame_swapped_ppm,
        .reset_per_million = plan->reset_ppm,
    };
}

void sim_init(struct sim *sim, const struct plan *plan, const struct run_options *options)
{
    *sim = (struct sim){.plan = *plan};
    if (options->raft_trace)
        sim->raft_trace = raft_trace_new(options->raft_trace);
    schedule_init(&sim->schedule, SIM_START_NS);
    trace_init(&sim->trace, &sim->schedule.now_ns, options->story, options->is_story_full);
    log_set_sink(log_sink, sim);
    sites_init(&sim->sites, plan->seed);
    sites_set_quiet(&sim->sites, plan->rare_sites == 0);
    site_hook_set(&sim->sites.hook);
    struct network_options network_options;
    network_options_fill(plan, &network_options);
    network_init(&sim->network, &network_options, &sim->schedule, &sim->trace, plan->seed);
    sim->history = history_new();
    sim->snapshots = snapshot_check_new();
    sim->observer = observer_new(sim);
    sim->network.watch = observe_frame;
    sim->network.watch_context = sim->observer;
    sim->faults = faults_new(sim);
    sim->audit = memory_alloc_zeroed(1, sizeof *sim->audit);
    sim->stores_count = (uint32_t)(plan->stores + plan->joiners);
    sim->stores = memory_alloc_zeroed(sim->stores_count, sizeof sim->stores[0]);
    for (uint32_t place = 0; place < sim->stores_count; place++)
        process_init(&sim->stores[place], sim, place + 1);
    sim->clients_count = (uint32_t)plan->clients + 3;
    sim->clients = memory_alloc_zeroed(sim->clients_count, sizeof sim->clients[0]);
    for (uint32_t number = 0; number < sim->clients_count; number++)
        client_process_init(&sim->clients[number], sim, number,
                            number < plan->clients    ? (uint32_t)plan->actors
                            : number == plan->clients ? 1
                                                      : 0);
}

void sim_fini(struct sim *sim)
{
    for (uint32_t number = 0; number < sim->clients_count; number++)
        client_process_fini(&sim->clients[number]);
    for (uint32_t place = 0; place < sim->stores_count; place++)
        process_fini(&sim->stores[place]);
    free(sim->clients);
    free(sim->stores);
    free(sim->audit);
    faults_free(sim->faults);
    observer_free(sim->observer);
    raft_trace_free(sim->raft_trace);
    history_free(sim->history);
    snapshot_check_free(sim->snapshots);
    network_fini(&sim->network);
    site_hook_set(NULL);
    log_set_sink(NULL, NULL);
    trace_fini(&sim->trace);
    schedule_fini(&sim->schedule);
}

/* --- Phases
 * ------------------------------------------------------------------------------------------ */

/* Goes on until `is_done`, a failure, or the time is over; false: it is over. */
static bool run_until(struct sim *sim, nanoseconds_t until_ns, bool (*is_done)(struct sim *sim))
{
    nanoseconds_t poll_ns = sim->schedule.now_ns;
    while (!sim->is_failed) {
        if (sim->schedule.now_ns >= poll_ns) {
            if (is_done(sim))
                return true;
            if (sim->schedule.now_ns >= until_ns)
                return false;
            poll_ns = sim->schedule.now_ns + POLL_NS;
        }
        schedule_step(&sim->schedule, poll_ns < until_ns ? poll_ns : until_ns);
    }
    return true;
}

static void phase_begin(struct sim *sim, uint64_t phase)
{
    sim->phase = phase;
    trace_event(&sim->trace, TRACE_PHASE, phase, sim->counts.operations, sim->counts.faults, 0);
}

static bool enough_was_done(struct sim *sim)
{
    return sim->counts.operations >= sim->plan.operations &&
           sim->counts.faults >= sim->plan.faults_min;
}

static bool every_range_takes_writes(struct sim *sim)
{
    return audit_probe_is_done(sim->audit);
}

static bool clients_are_idle(struct sim *sim)
{
    for (uint32_t number = 0; number < sim->plan.clients; number++) {
        const struct client_process *client = &sim->clients[number];
        for (uint32_t index = 0; client->core && index < client->actors_count; index++)
            if (!actor_is_idle(&client->actors[index]))
                return false;
    }
    return sim->admin.waiting_count == 0; /* it may begin a change yet */
}

static bool everything_was_read(struct sim *sim)
{
    return actor_is_idle(&sim->clients[sim->plan.clients].actors[0]);
}

static bool no_lock_is_left(struct sim *sim)
{
    return observe_locks_left(sim->observer, NULL, 0) == 0;
}

static bool all_caught_up(struct sim *sim)
{
    return observe_all_caught_up(sim->observer);
}

static bool changes_are_settled(struct sim *sim)
{
    return admin_all_is_settled(sim);
}

static bool stores_are_settled(struct sim *sim)
{
    char text[1024];
    store_life_end_removed(sim);
    return store_life_is_settled(sim, text, sizeof text);
}

static bool ranges_are_settled(struct sim *sim)
{
    char text[1024];
    return observe_ranges_are_settled(sim->observer, text, sizeof text);
}

static void demand_progress(struct sim *sim, const char *name)
{
    audit_probe_begin(sim->audit, sim);
    if (run_until(sim, sim->schedule.now_ns + PROGRESS_NS_MAX, every_range_takes_writes))
        return;
    char text[256] = "";
    audit_probe_print(sim->audit, text, sizeof text);
    sim_fail(sim, name, "after %" PRIu64 " s these ranges take no write: %s",
             PROGRESS_NS_MAX / NS_PER_S, text);
}

/* How long it takes is a question of how much there is, in chunks of a few hundred bytes and jobs
 * of 20 ms: it must go on, and come to its end some time. */
static void demand_catch_up(struct sim *sim)
{
    nanoseconds_t until_ns = sim->schedule.now_ns + CATCH_UP_NS_MAX;
    uint64_t before, progress = observe_progress(sim->observer);
    do {
        if (run_until(sim, sim->schedule.now_ns + AUDIT_NS_MAX, all_caught_up))
            return;
        before = progress;
        progress = observe_progress(sim->observer);
    } while (progress > before && sim->schedule.now_ns < until_ns);
    sim_fail(sim, "lagging-replica", "a replica has not caught up with its group");
}

/* One replica after the other moves, and each takes as long as it has chunks. */
static void demand_settled_stores(struct sim *sim)
{
    if (run_until(sim, sim->schedule.now_ns + CATCH_UP_NS_MAX, stores_are_settled))
        return;
    char text[1024] = "";
    store_life_is_settled(sim, text, sizeof text);
    sim_fail(sim, "stores-unsettled", "%s", text);
}

static void run_phases(struct sim *sim)
{
    struct client_process *prober = &sim->clients[sim->plan.clients];
    for (uint32_t place = 0; place < sim->stores_count; place++)
        process_start(&sim->stores[place]);
    for (uint32_t number = 0; number < sim->plan.clients; number++)
        client_process_start(&sim->clients[number]);
    if (plan_has_admin(&sim->plan))
        client_process_start(sim_admin(sim));
    if (sim->plan.keeper != 0)
        keeper_start(&sim->keeper, sim);
    phase_begin(sim, 1);
    faults_start(sim->faults);
    run_until(sim, sim->schedule.now_ns + sim->plan.run_ms_max * NS_PER_MS, enough_was_done);

    phase_begin(sim, 2);
    sites_set_quiet(&sim->sites, true);
    faults_heal_majority(sim->faults);
    prober->actors_count = 0; /* it writes first */
    client_process_start(prober);
    demand_progress(sim, "no-progress");
    faults_heal_all(sim->faults);
    sim->is_stopping = true;
    if (!run_until(sim, sim->schedule.now_ns + AUDIT_NS_MAX, clients_are_idle))
        sim_fail(sim, "client-hangs", "a client's operation never ended");

    if (sim->plan.keeper != 0) {
        keeper_stop(&sim->keeper);
        client_process_kill(sim_keeper(sim));
    }
    phase_begin(sim, 3);
    client_process_kill(prober);
    prober->actors_count = 1;
    client_process_start(prober);
    if (!run_until(sim, sim->schedule.now_ns + AUDIT_NS_MAX, everything_was_read))
        sim_fail(sim, "no-audit", "not everything could be read at the end");
    char text[512] = "";
    if (!run_until(sim, sim->schedule.now_ns + LOCKS_NS_MAX, no_lock_is_left)) {
        observe_locks_left(sim->observer, text, sizeof text);
        sim_fail(sim, "locks-left", "%s", text);
    }
    if (plan_changes_stores(&sim->plan))
        demand_settled_stores(sim);
    if (!run_until(sim, sim->schedule.now_ns + AUDIT_NS_MAX, changes_are_settled))
        sim_fail(sim, "change-hangs", "a change of a group's replicas has not come to an end");
    if (!run_until(sim, sim->schedule.now_ns + AUDIT_NS_MAX, ranges_are_settled)) {
        char why[1024] = "";
        observe_ranges_are_settled(sim->observer, why, sizeof why);
        sim_fail(sim, "range-hangs", "%s", why);
    }
    demand_catch_up(sim);
}

/* --- The verdict
 * ------------------------------------------------------------------------------------- */

static void result_take(struct sim *sim, const struct check_result *result)
{
    if (result->verdict != CHECK_OK)
        sim_fail(sim, result->name, "%s", result->explanation);
}

static void judge(struct sim *sim)
{
    struct check_result *result = memory_alloc_zeroed(1, sizeof *result);
    if (!sim->is_failed)
        observe_end(sim->observer);
    if (!sim->is_failed) {
        snapshot_check_judge(sim->snapshots, result);
        result_take(sim, result);
        serializability_check(sim->history, NULL, result);
        result_take(sim, result);
        register_check(sim->history, NULL, result);
        result_take(sim, result);
        struct bank_check_options options = {
            .total_known = true,
            .total = (int64_t)workload_accounts_count(&sim->plan) * WORKLOAD_BANK_EACH,
            .initial_known = true,
            .initial = WORKLOAD_BANK_EACH,
        };
        bank_check(sim->history, &options, result);
        result_take(sim, result);
    }
    free(result);
}

/* Some have hardly a moment in which anything can be done, or a range be changed. */
static bool is_lively(const struct sim *sim)
{
    return sim->counts.faults >= MANY_FAULTS && sim->counts.commits >= sim->plan.operations / 50 &&
           sim->counts.range_changes >= MANY_RANGE_CHANGES;
}

static uint64_t commits_min(const struct sim *sim)
{
    return sim->counts.faults >= TOO_MANY_FAULTS ? 1 : sim->plan.operations / 200;
}

/* A run in which little happened shows nothing. (Ranges that were moved or merged may leave all
 * that is used in one group.) */
static void judge_activity(struct sim *sim)
{
    const struct sim_counts *counts = &sim->counts;
    const struct plan *plan = &sim->plan;
    /* A cluster whose stores lose their power all at once every few seconds serves little. */
    if (counts->operations < plan->operations / 4)
        sim_fail(sim, "idle-run", "only %" PRIu64 " operations in %" PRIu64 " ms",
                 counts->operations, plan->run_ms_max);
    else if (counts->faults < plan->faults_min)
        sim_fail(sim, "idle-run", "only %" PRIu64 " faults", counts->faults);
    else if (counts->commits < commits_min(sim))
        sim_fail(sim, "idle-run", "only %" PRIu64 " commits", counts->commits);
    else if (plan->faults_min > 0 && plan_changes_leaders(plan) &&
             counts->elections < plan->groups + 2)
        sim_fail(sim, "idle-run", "no leader has changed: %" PRIu64 " elections",
                 counts->elections);
    else if (plan_crosses_groups(plan) && counts->moves + counts->merges == 0 &&
             counts->commits_over_groups == 0)
        sim_fail(sim, "idle-run", "no transaction has crossed groups");
    else if (plan_moves_ranges(plan) && is_lively(sim) && counts->moves + counts->cancels == 0)
        sim_fail(sim, "idle-run", "no range has moved");
    else if (plan_splits_ranges(plan) && is_lively(sim) && counts->splits == 0)
        sim_fail(sim, "idle-run", "no range was split");
}

static void ranges_count(struct sim *sim)
{
    struct range_counts counts;
    observe_range_counts(sim->observer, &counts);
    sim->counts.moves = counts.moves;
    sim->counts.cancels = counts.cancels;
    sim->counts.splits = counts.splits;
    sim->counts.merges = counts.merges;
}

static void history_print(const struct sim *sim, FILE *file)
{
    for (size_t index = 0; index < history_events_count(sim->history); index++)
        if (history_write_event(file, index, history_event(sim->history, index)) != OST_OK)
            return;
}

void run(const struct plan *plan, const struct run_options *options, struct run_result *out_result)
{
    struct sim sim;
    sim_init(&sim, plan, options);
    run_phases(&sim);
    judge(&sim);
    if (options->history)
        history_print(&sim, options->history);
    for (uint32_t place = 0; place < sim.stores_count; place++)
        process_stop(&sim.stores[place], STOP_POWER); /* its counts are added */
    ranges_count(&sim);
    judge_activity(&sim);
    out_result->counts = sim.counts;
    for (size_t site = 0; site < SITES_COUNT; site++)
        out_result->sites[site] =
            (struct site_count){(uint32_t)sim.sites.states[site].reached_count,
                                (uint32_t)sim.sites.states[site].fired_count};
    out_result->took_ns = sim.schedule.now_ns - SIM_START_NS;
    out_result->hash = trace_hash(&sim.trace);
    out_result->is_failed = sim.is_failed;
    memcpy(out_result->failure, sim.failure, sizeof out_result->failure);
    memcpy(out_result->why, sim.why, sizeof out_result->why);
    sim_fini(&sim);
}
