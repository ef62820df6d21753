#include "tests/sim/faults.h"

#include "base/memory.h"
#include "tests/sim/master_death.h"
#include "tests/sim/move_death.h"
#include "tests/sim/quorum.h"
#include "tests/sim/sim.h"
#include "tests/sim/store_life.h"

#include <inttypes.h>
#include <stdlib.h>

#define ACTIVE_MAX 8
#define NOBODY     UINT32_MAX

struct fault;
struct fault_kind {
    const char *name;
    size_t weight_offset;
    /* False: it cannot be done now, and nothing was. Without an end it is over at once. */
    bool (*begin)(struct faults *faults, struct fault *fault);
    void (*end)(struct faults *faults, struct fault *fault);
};

struct fault {
    bool is_active;
    uint64_t number;
    size_t kind;
    uint32_t store; /* its place; NOBODY: none */
    uint32_t client;
    int64_t argument;
    bool cuts[NETWORK_HOSTS_MAX][NETWORK_HOSTS_MAX]; /* links that it has cut */
};

struct faults {
    struct sim *sim;
    struct random random;
    struct plan drawn; /* the seed's own, before anything was set by hand */
    struct fault active[ACTIVE_MAX];
    uint32_t active_count;
    uint64_t numbers;
    bool is_over;
    bool is_left_out[SIM_STORES_MAX]; /* of the majority that was healed */
    bool is_reached[SITES_COUNT];     /* a store's turn or a client's has been there */
    uint32_t site_crashes_count;
    struct random site_random;
    struct move_death move_death;
    struct master_death master_death;
};

static uint64_t below(struct faults *faults, uint64_t bound)
{
    return random_below(&faults->random, bound);
}

static uint32_t hosts_count(const struct sim *sim)
{
    return sim->stores_count + (uint32_t)sim->plan.clients; /* nobody touches the prober */
}

/* A store in that state; NOBODY: there is none. */
static uint32_t store_choose(struct faults *faults, enum process_state state)
{
    struct sim *sim = faults->sim;
    uint32_t found[SIM_STORES_MAX], count = 0;
    for (uint32_t place = 0; place < sim->stores_count; place++)
        if (sim->stores[place].state == state)
            found[count++] = place;
    return count ? found[below(faults, count)] : NOBODY;
}

static struct process *store_of(struct faults *faults, const struct fault *fault)
{
    return &faults->sim->stores[fault->store];
}

static bool store_take(struct faults *faults, struct fault *fault)
{
    fault->store = store_choose(faults, PROCESS_UP);
    return fault->store != NOBODY;
}

struct process *faults_leader_of(const struct sim *sim, group_id_t group)
{
    for (uint32_t place = 0; place < sim->stores_count; place++) {
        struct raft_leadership leadership;
        if (sim->stores[place].state == PROCESS_UP &&
            raft_host_leadership(node_raft_host(sim->stores[place].node), group, &leadership) ==
                OST_OK &&
            leadership.role == RAFT_LEADER)
            return &sim->stores[place];
    }
    return NULL;
}

/* A store that leads a group chosen at random; NOBODY: nobody does. */
static uint32_t leader_choose(struct faults *faults, group_id_t *out_group)
{
    *out_group = below(faults, faults->sim->plan.groups + 1);
    const struct process *leader = faults_leader_of(faults->sim, *out_group);
    return leader ? sim_host_of_store(leader->store_id) : NOBODY;
}

/* --- Processes
 * --------------------------------------------------------------------------------------- */

static bool crash_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    process_stop(store_of(faults, fault), STOP_KILLED);
    return true;
}

static bool power_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    process_stop(store_of(faults, fault), STOP_POWER);
    return true;
}

static void store_end(struct faults *faults, struct fault *fault)
{
    struct process *process = store_of(faults, fault);
    process_resume(process);
    process_start(process);
}

static bool power_all_begin(struct faults *faults, struct fault *fault)
{
    struct sim *sim = faults->sim;
    (void)fault;
    for (uint32_t place = 0; place < sim->stores_count; place++)
        process_stop(&sim->stores[place], STOP_POWER);
    return true;
}

static void power_all_end(struct faults *faults, struct fault *fault)
{
    (void)fault;
    for (uint32_t place = 0; place < faults->sim->stores_count; place++)
        process_start(&faults->sim->stores[place]);
}

static bool shutdown_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    process_shut_down(store_of(faults, fault));
    return true;
}

/* Whoever stops it loses patience. */
static void shutdown_end(struct faults *faults, struct fault *fault)
{
    struct process *process = store_of(faults, fault);
    if (process->is_shutting_down)
        process_stop(process, STOP_KILLED);
    process_start(process);
}

/* A leader, half of the time: while it stands still another one is chosen, and when it goes on it
 * does not know. */
static bool pause_begin(struct faults *faults, struct fault *fault)
{
    group_id_t group;
    if (below(faults, 2) == 0)
        fault->store = leader_choose(faults, &group);
    if (fault->store == NOBODY && !store_take(faults, fault))
        return false;
    process_pause(store_of(faults, fault));
    return true;
}

static void pause_end(struct faults *faults, struct fault *fault)
{
    process_resume(store_of(faults, fault));
}

/* --- The network
 * ------------------------------------------------------------------------------------- */

static void cut(struct faults *faults, struct fault *fault, uint32_t from, uint32_t to)
{
    if (from == to || fault->cuts[from][to])
        return;
    fault->cuts[from][to] = true;
    network_cut(&faults->sim->network, from, to);
}

static void cuts_end(struct faults *faults, struct fault *fault)
{
    for (uint32_t from = 0; from < NETWORK_HOSTS_MAX; from++) {
        for (uint32_t to = 0; to < NETWORK_HOSTS_MAX; to++) {
            if (!fault->cuts[from][to])
                continue;
            fault->cuts[from][to] = false;
            network_heal(&faults->sim->network, from, to);
        }
    }
}

static bool partition_of(struct faults *faults, struct fault *fault, uint32_t bridge)
{
    uint32_t count = hosts_count(faults->sim);
    uint64_t side = below(faults, UINT64_C(1) << count);
    for (uint32_t a = 0; a < count; a++)
        for (uint32_t b = 0; b < count; b++)
            if (((side >> a ^ side >> b) & 1) && a != bridge && b != bridge)
                cut(faults, fault, a, b);
    return true;
}

static bool partition_begin(struct faults *faults, struct fault *fault)
{
    return partition_of(faults, fault, NOBODY);
}

static bool bridge_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    return partition_of(faults, fault, fault->store);
}

static void isolate(struct faults *faults, struct fault *fault, bool hears, bool is_heard)
{
    /* Clients may go on reaching it, or not. */
    uint32_t count = below(faults, 2) ? hosts_count(faults->sim) : faults->sim->stores_count;
    for (uint32_t other = 0; other < count; other++) {
        if (!hears)
            cut(faults, fault, other, fault->store);
        if (!is_heard)
            cut(faults, fault, fault->store, other);
    }
}

static bool one_way_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    fault->argument = (int64_t)below(faults, 2);
    isolate(faults, fault, fault->argument, !fault->argument);
    return true;
}

/* A store alone with some of the clients, and all other stores with the rest: who asks an old
 * leader never hears of what the new one does. */
static void divide_clients(struct faults *faults, struct fault *fault)
{
    uint32_t stores = faults->sim->stores_count, count = hosts_count(faults->sim);
    uint64_t side = below(faults, UINT64_C(1) << count);
    side |= UINT64_C(1) << fault->store;
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++) {
            bool a_is_inside = a < stores ? a == fault->store : side >> a & 1;
            bool b_is_inside = b < stores ? b == fault->store : side >> b & 1;
            if (a_is_inside != b_is_inside)
                cut(faults, fault, a, b);
        }
    }
}

static bool isolate_leader_begin(struct faults *faults, struct fault *fault)
{
    group_id_t group;
    fault->store = leader_choose(faults, &group);
    if (fault->store == NOBODY)
        return false;
    fault->argument = (int64_t)group;
    if (below(faults, 2) == 0)
        isolate(faults, fault, false, false);
    else
        divide_clients(faults, fault);
    return true;
}

static bool clog_begin(struct faults *faults, struct fault *fault)
{
    uint32_t count = hosts_count(faults->sim);
    cut(faults, fault, (uint32_t)below(faults, count), (uint32_t)below(faults, count));
    return true;
}

static void slow_links(struct faults *faults, const struct fault *fault, uint32_t factor)
{
    for (uint32_t other = 0; other < hosts_count(faults->sim); other++) {
        network_slow(&faults->sim->network, fault->store, other, factor);
        network_slow(&faults->sim->network, other, fault->store, factor);
    }
}

static bool slow_link_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    fault->argument = (int64_t)random_between(&faults->random, 5, 200);
    slow_links(faults, fault, (uint32_t)fault->argument);
    return true;
}

static void slow_link_end(struct faults *faults, struct fault *fault)
{
    slow_links(faults, fault, 1);
}

static bool reset_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    fault->client = (uint32_t)below(faults, hosts_count(faults->sim));
    network_reset(&faults->sim->network, fault->store, fault->client);
    return fault->store != fault->client;
}

/* --- Clocks
 * ------------------------------------------------------------------------------------------ */

static bool clock_jump_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    const int64_t most_ms[] = {1000, 60000, 86400000};
    int64_t most = most_ms[below(faults, 3)];
    fault->argument = (int64_t)below(faults, (uint64_t)(2 * most)) - most;
    store_of(faults, fault)->clock.wall_offset_ms += fault->argument;
    return true;
}

/* Two clocks that run apart by no more than twice this keep a lease true (lease_drift_percent). */
#define LEASE_RATE_PPM_MAX 50000

static bool clock_rate_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    struct process *process = store_of(faults, fault);
    fault->argument = process->clock.rate_ppm;
    int64_t most_ppm = below(faults, 2) ? 50000 : 500000;
    int64_t rate_ppm = (int64_t)below(faults, (uint64_t)(2 * most_ppm)) - most_ppm;
    if (faults->sim->plan.lease_ms != 0)
        rate_ppm = rate_ppm * LEASE_RATE_PPM_MAX / most_ppm;
    process_clock_rate(process, rate_ppm);
    return true;
}

static void clock_rate_end(struct faults *faults, struct fault *fault)
{
    process_clock_rate(store_of(faults, fault), fault->argument);
}

/* --- Disks and stores
 * -------------------------------------------------------------------------------- */

static bool disk_slow_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    fault->argument = (int64_t)random_between(&faults->random, 10, 300);
    store_of(faults, fault)->disk.slow_factor = (uint64_t)fault->argument;
    return true;
}

static void disk_slow_end(struct faults *faults, struct fault *fault)
{
    store_of(faults, fault)->disk.slow_factor = 1;
}

static bool disk_hung_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    fault->argument =
        (int64_t)random_between(&faults->random, 100, 100 + faults->sim->plan.fault_ms_max);
    store_of(faults, fault)->disk.hung_until_ns =
        faults->sim->schedule.now_ns + (uint64_t)fault->argument * NS_PER_MS;
    return true;
}

static bool disk_fails_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    store_of(faults, fault)->disk.writes_to_fail = 1;
    return true;
}

static bool disk_full_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    store_of(faults, fault)->disk.is_full = true;
    return true;
}

static void disk_end(struct faults *faults, struct fault *fault)
{
    struct process *process = store_of(faults, fault);
    process->disk.writes_to_fail = 0;
    process->disk.is_full = false;
    process_start(process);
}

/* What a damaged log held is lost to its replicas: every group must keep a majority without them.
 * It is seen at the start, and they are built anew under other numbers. */
static bool disk_damage_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    bool takes_part[SIM_STORES_MAX];
    for (uint32_t place = 0; place < SIM_STORES_MAX; place++)
        takes_part[place] = place != fault->store;
    if (!quorum_is_kept(faults->sim, takes_part))
        return false;
    struct process *process = store_of(faults, fault);
    process_stop(process, below(faults, 2) ? STOP_KILLED : STOP_POWER);
    fault->argument = (int64_t)below(faults, 3);
    if (disk_damage(&process->disk, (enum disk_damage)fault->argument))
        process->is_log_damaged = true;
    return true;
}

/* As when its machine was replaced. It may have promised anything: every group must keep a majority
 * without it, and it comes back as a new store would, under the old number (R6). */
static bool disk_lost_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault) || !admin_all_disks_are_known(faults->sim))
        return false;
    /* It would ask to join anew, and be told to come under another number. */
    if (process_is_joiner(store_of(faults, fault)))
        return false;
    bool takes_part[SIM_STORES_MAX];
    for (uint32_t place = 0; place < SIM_STORES_MAX; place++)
        takes_part[place] = place != fault->store;
    if (!quorum_is_kept(faults->sim, takes_part))
        return false;
    process_stop(store_of(faults, fault), STOP_POWER);
    process_lose_disk(store_of(faults, fault));
    return true;
}

static bool stalled_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    struct process *process = store_of(faults, fault);
    process_hinder(process, true, process->is_cold);
    return true;
}

static void stalled_end(struct faults *faults, struct fault *fault)
{
    struct process *process = store_of(faults, fault);
    process_hinder(process, false, process->is_cold);
}

static bool cold_begin(struct faults *faults, struct fault *fault)
{
    fault->store = (uint32_t)below(faults, faults->sim->stores_count);
    struct process *process = store_of(faults, fault);
    process_hinder(process, process->is_stalled, true);
    return true;
}

static void cold_end(struct faults *faults, struct fault *fault)
{
    struct process *process = store_of(faults, fault);
    process_hinder(process, process->is_stalled, false);
}

static bool flush_begin(struct faults *faults, struct fault *fault)
{
    if (!store_take(faults, fault))
        return false;
    return store_flush(store_of(faults, fault)->rows.store) == OST_OK;
}

/* --- Clients and leaders
 * ----------------------------------------------------------------------------- */

static bool client_kill_begin(struct faults *faults, struct fault *fault)
{
    fault->client = (uint32_t)below(faults, faults->sim->plan.clients);
    struct client_process *client = &faults->sim->clients[fault->client];
    if (!client->core)
        return false;
    client_process_kill(client);
    return true;
}

static void client_kill_end(struct faults *faults, struct fault *fault)
{
    struct client_process *client = &faults->sim->clients[fault->client];
    if (!client->core)
        client_process_start(client);
}

static bool client_cut_begin(struct faults *faults, struct fault *fault)
{
    struct sim *sim = faults->sim;
    fault->store = (uint32_t)below(faults, sim->stores_count);
    fault->client = (uint32_t)below(faults, sim->plan.clients);
    uint32_t host = sim->clients[fault->client].host;
    fault->argument = (int64_t)random_between(&faults->random, 1, 3);
    if (fault->argument & 1)
        cut(faults, fault, host, fault->store);
    if (fault->argument & 2)
        cut(faults, fault, fault->store, host);
    return true;
}

static bool transfer_begin(struct faults *faults, struct fault *fault)
{
    group_id_t group;
    fault->store = leader_choose(faults, &group);
    if (fault->store == NOBODY)
        return false;
    fault->argument = (int64_t)group;
    return process_transfer(store_of(faults, fault), group, 0);
}

/* A person who has much to do. */
#define CHANGES_AT_ONCE_MAX 3

static bool replicas_begin(struct faults *faults, struct fault *fault)
{
    struct sim *sim = faults->sim;
    uint64_t count = random_between(&faults->random, 1, CHANGES_AT_ONCE_MAX);
    for (uint64_t time = 0; time < count; time++)
        fault->argument += admin_change(sim, below(faults, sim->plan.groups + 1), &faults->random);
    return fault->argument > 0;
}

static bool ranges_change(struct faults *faults, struct fault *fault,
                          bool (*change)(struct sim *sim, struct random *random))
{
    uint64_t count = random_between(&faults->random, 1, CHANGES_AT_ONCE_MAX);
    for (uint64_t time = 0; time < count; time++)
        fault->argument += change(faults->sim, &faults->random);
    return fault->argument > 0;
}

static bool range_move_begin(struct faults *faults, struct fault *fault)
{
    return ranges_change(faults, fault, admin_range_move);
}

static bool range_split_begin(struct faults *faults, struct fault *fault)
{
    return ranges_change(faults, fault, admin_range_split);
}

static bool range_merge_begin(struct faults *faults, struct fault *fault)
{
    return ranges_change(faults, fault, admin_ranges_merge);
}

static bool range_cancel_begin(struct faults *faults, struct fault *fault)
{
    return ranges_change(faults, fault, admin_range_cancel);
}

/* --- Stores that come and go
 * ------------------------------------------------------------------------- */

static bool store_join_begin(struct faults *faults, struct fault *fault)
{
    (void)fault;
    return store_life_join(faults->sim);
}

static bool store_drain_begin(struct faults *faults, struct fault *fault)
{
    (void)fault;
    return admin_store_drain(faults->sim, &faults->random);
}

static bool store_undrain_begin(struct faults *faults, struct fault *fault)
{
    (void)fault;
    return admin_store_undrain(faults->sim, &faults->random);
}

static bool store_remove_begin(struct faults *faults, struct fault *fault)
{
    (void)fault;
    return admin_store_remove(faults->sim, &faults->random);
}

static bool store_death_begin(struct faults *faults, struct fault *fault)
{
    (void)fault;
    return store_life_die(faults->sim, &faults->random);
}

/* --- Where something has just happened that seldom does
 * ------------------------------------------------------ */

#define SITE_CRASHES_MAX 12u

static void stop_over(void *target, uint64_t incarnation)
{
    struct process *process = target;
    if (process->incarnation == incarnation && !process->sim->faults->is_over)
        process_start(process);
}

void faults_stop_for_a_while(struct faults *faults, struct process *process, enum stop_cause cause,
                             struct random *random)
{
    struct sim *sim = faults->sim;
    process_stop(process, cause);
    nanoseconds_t down_ns = random_below(random, sim->plan.fault_ms_max * NS_PER_MS);
    schedule_add(&sim->schedule, sim->schedule.now_ns + 1 + down_ns, stop_over, process,
                 process->incarnation);
}

static bool site_crash_is_due(struct faults *faults)
{
    const struct sim *sim = faults->sim;
    bool is_due = false;
    for (enum site site = 0; site < SITES_COUNT; site++) {
        if (faults->is_reached[site] || site_info(site)->kind != SITE_COVER ||
            sim->sites.states[site].reached_count == 0)
            continue;
        faults->is_reached[site] = true;
        is_due |= random_below(&faults->site_random, 100) < sim->plan.site_crash_percent;
    }
    return is_due && faults->site_crashes_count < SITE_CRASHES_MAX;
}

void faults_turn_ended(struct faults *faults, struct process *process)
{
    struct sim *sim = faults->sim;
    if (faults->is_over)
        return;
    move_death_look(&faults->move_death, sim, faults);
    master_death_look(&faults->master_death, sim, faults);
    if (sim->plan.site_crash_percent == 0 || !process_is_up(process) || !site_crash_is_due(faults))
        return;
    faults->site_crashes_count++;
    trace_tell(&sim->trace, "store %" PRIu64 " loses its power: it did what it seldom does",
               process->store_id);
    faults_stop_for_a_while(faults, process, STOP_POWER, &faults->site_random);
}

/* --- Which, when
 * ------------------------------------------------------------------------------------- */

#define KIND(name, begin, end)                                                                     \
    {                                                                                              \
#name, offsetof(struct plan, fault_##name), begin, end                                     \
    }
static const struct fault_kind kinds[] = {
    KIND(crash, crash_begin, store_end),
    KIND(power, power_begin, store_end),
    KIND(power_all, power_all_begin, power_all_end),
    KIND(shutdown, shutdown_begin, shutdown_end),
    KIND(pause, pause_begin, pause_end),
    KIND(partition, partition_begin, cuts_end),
    KIND(one_way, one_way_begin, cuts_end),
    KIND(bridge, bridge_begin, cuts_end),
    KIND(isolate_leader, isolate_leader_begin, cuts_end),
    KIND(clog, clog_begin, cuts_end),
    KIND(slow_link, slow_link_begin, slow_link_end),
    KIND(reset, reset_begin, NULL),
    KIND(clock_jump, clock_jump_begin, NULL),
    KIND(clock_rate, clock_rate_begin, clock_rate_end),
    KIND(disk_slow, disk_slow_begin, disk_slow_end),
    KIND(disk_hung, disk_hung_begin, NULL),
    KIND(disk_fails, disk_fails_begin, disk_end),
    KIND(disk_full, disk_full_begin, disk_end),
    KIND(disk_damage, disk_damage_begin, store_end),
    KIND(store_stalled, stalled_begin, stalled_end),
    KIND(store_cold, cold_begin, cold_end),
    KIND(store_flush, flush_begin, NULL),
    KIND(client_kill, client_kill_begin, client_kill_end),
    KIND(client_cut, client_cut_begin, cuts_end),
    KIND(transfer, transfer_begin, NULL),
    KIND(replicas, replicas_begin, NULL),
    KIND(disk_lost, disk_lost_begin, store_end),
    KIND(range_move, range_move_begin, NULL),
    KIND(range_split, range_split_begin, NULL),
    KIND(range_merge, range_merge_begin, NULL),
    KIND(range_cancel, range_cancel_begin, NULL),
    KIND(store_join, store_join_begin, NULL),
    KIND(store_drain, store_drain_begin, NULL),
    KIND(store_undrain, store_undrain_begin, NULL),
    KIND(store_remove, store_remove_begin, NULL),
    KIND(store_death, store_death_begin, NULL),
};
#define KINDS_COUNT (sizeof kinds / sizeof kinds[0])

static uint64_t weight_in(const struct plan *plan, size_t kind)
{
    uint64_t weight;
    memcpy(&weight, (const char *)plan + kinds[kind].weight_offset, sizeof weight);
    return weight;
}

/* By the weights that the seed had: a kind that was switched off by hand leaves a gap, and all
 * other faults as they were. */
static uint64_t weight_of(const struct faults *faults, size_t kind)
{
    uint64_t drawn = weight_in(&faults->drawn, kind), now = weight_in(&faults->sim->plan, kind);
    return now > drawn ? now : drawn;
}

static size_t kind_choose(struct faults *faults)
{
    uint64_t sum = 0;
    for (size_t kind = 0; kind < KINDS_COUNT; kind++)
        sum += weight_of(faults, kind);
    uint64_t drawn = below(faults, sum);
    size_t kind = 0;
    while (drawn >= weight_of(faults, kind))
        drawn -= weight_of(faults, kind++);
    return kind;
}

static void fault_trace(struct faults *faults, enum trace_kind trace_kind,
                        const struct fault *fault)
{
    struct trace *trace = &faults->sim->trace;
    uint32_t target = fault->store != NOBODY ? fault->store + 1 : 100 + fault->client;
    trace_event(trace, trace_kind, fault->number, fault->kind, target, (uint64_t)fault->argument);
    trace_tell(trace, "  %s: %s (store %d, client %d, argument %" PRId64 ")",
               kinds[fault->kind].name, trace_kind == TRACE_FAULT ? "begins" : "ends",
               fault->store == NOBODY ? 0 : (int)fault->store + 1, (int)fault->client,
               fault->argument);
}

static void fault_end(struct faults *faults, struct fault *fault)
{
    if (!fault->is_active)
        return;
    fault->is_active = false;
    faults->active_count--;
    fault_trace(faults, TRACE_HEAL, fault);
    kinds[fault->kind].end(faults, fault);
}

static void end_fired(void *target, uint64_t number)
{
    struct faults *faults = target;
    for (size_t place = 0; place < ACTIVE_MAX; place++)
        if (faults->active[place].is_active && faults->active[place].number == number)
            fault_end(faults, &faults->active[place]);
}

/* What takes a leader away lasts, half of the time, about as long as it takes to choose another. */
static nanoseconds_t fault_lasts_ns(struct faults *faults, const struct fault_kind *kind)
{
    const struct plan *plan = &faults->sim->plan;
    nanoseconds_t lasts_ns = 1 + below(faults, plan->fault_ms_max * NS_PER_MS);
    bool may_take_leader = kind->begin == pause_begin || kind->begin == isolate_leader_begin;
    if (may_take_leader && below(faults, 2) == 0)
        lasts_ns = (plan->election_ms_min + below(faults, 2 * plan->election_ms_max)) * NS_PER_MS;
    return lasts_ns;
}

static void fault_begin(struct faults *faults)
{
    struct sim *sim = faults->sim;
    const struct plan *plan = &sim->plan;
    size_t kind_number = kind_choose(faults);
    if (faults->numbers < plan->fault_first || faults->numbers > plan->fault_last ||
        weight_in(plan, kind_number) == 0)
        return;
    if (faults->active_count >= sim->plan.faults_at_once_max || faults->active_count == ACTIVE_MAX)
        return;
    struct fault *fault = faults->active;
    while (fault->is_active)
        fault++;
    *fault = (struct fault){.store = NOBODY, .kind = kind_number, .number = faults->numbers};
    const struct fault_kind *kind = &kinds[fault->kind];
    if (!kind->begin(faults, fault))
        return;
    sim->counts.faults++;
    fault_trace(faults, TRACE_FAULT, fault);
    if (!kind->end)
        return;
    fault->is_active = true;
    faults->active_count++;
    schedule_add(&sim->schedule, sim->schedule.now_ns + fault_lasts_ns(faults, kind), end_fired,
                 faults, fault->number);
}

static void tick_fired(void *target, uint64_t number)
{
    struct faults *faults = target;
    struct sim *sim = faults->sim;
    (void)number;
    if (faults->is_over)
        return;
    /* Each fault draws from a sequence of its own, so that one without the others is the same. */
    sim->counts.fault_ticks = ++faults->numbers;
    char name[32];
    snprintf(name, sizeof name, "fault %" PRIu64, faults->numbers);
    faults->random = schedule_random(sim->plan.seed, name);
    nanoseconds_t next_ns =
        sim->schedule.now_ns + 1 + below(faults, 2 * sim->plan.fault_every_ms * NS_PER_MS);
    fault_begin(faults);
    schedule_add(&sim->schedule, next_ns, tick_fired, faults, 0);
}

struct faults *faults_new(struct sim *sim)
{
    struct faults *faults = memory_alloc_zeroed(1, sizeof *faults);
    faults->sim = sim;
    faults->random = schedule_random(sim->plan.seed, "faults");
    faults->site_random = schedule_random(sim->plan.seed, "crashes at sites");
    move_death_init(&faults->move_death, sim->plan.seed);
    master_death_init(&faults->master_death, sim->plan.seed);
    plan_draw(&faults->drawn, sim->plan.seed);
    return faults;
}

void faults_free(struct faults *faults)
{
    free(faults);
}

void faults_start(struct faults *faults)
{
    struct sim *sim = faults->sim;
    if (plan_faults_weight(&sim->plan) == 0)
        return;
    /* Most runs let the cluster come up; some do not. */
    uint64_t after_ms = below(faults, 4) == 0 ? 1 : 2 * sim->plan.election_ms_max;
    schedule_add(&sim->schedule, sim->schedule.now_ns + after_ms * NS_PER_MS, tick_fired, faults,
                 0);
}

/* --- Healing
 * ----------------------------------------------------------------------------------------- */

static void store_heal(struct process *process)
{
    process_heal_disk(process);
    process_hinder(process, false, false);
    process_resume(process);
    if (process->is_shutting_down)
        process_stop(process, STOP_KILLED);
    process_start(process);
}

static void store_leave_out(struct faults *faults, uint32_t place)
{
    struct sim *sim = faults->sim;
    struct process *process = &sim->stores[place];
    uint64_t how = below(faults, 5);
    faults->is_left_out[place] = true;
    trace_tell(&sim->trace, "store %u is left out: %s", place + 1,
               how == 0   ? "down"
               : how == 1 ? "stands still"
               : how == 2 ? "hears nobody"
               : how == 3 ? "is heard by nobody"
                          : "its disk hangs");
    if (how == 0)
        process_stop(process, STOP_KILLED);
    else if (how == 1)
        process_pause(process);
    else if (how == 4) /* for good: see faults_heal_all */
        process->disk.hung_until_ns = NS_NEVER / 2;
    for (uint32_t other = 0; other < sim->stores_count && (how == 2 || how == 3); other++)
        network_cut(&sim->network, how == 2 ? other : place, how == 2 ? place : other);
}

void faults_heal_majority(struct faults *faults)
{
    struct sim *sim = faults->sim;
    faults->is_over = true;
    faults->random = schedule_random(sim->plan.seed, "healing");
    for (size_t place = 0; place < ACTIVE_MAX; place++)
        fault_end(faults, &faults->active[place]);
    network_calm(&sim->network);
    store_life_end_removed(sim);
    for (uint32_t place = 0; place < sim->stores_count; place++)
        store_heal(&sim->stores[place]);
    /* Tried in an order of its own, so that not always the first ones are missing. */
    bool takes_part[SIM_STORES_MAX];
    uint32_t first = (uint32_t)below(faults, sim->stores_count);
    for (uint32_t place = 0; place < sim->stores_count; place++)
        takes_part[place] = true;
    for (uint32_t step = 0; step < sim->stores_count; step++) {
        uint32_t place = (first + step) % sim->stores_count;
        if (sim->stores[place].life != LIFE_HERE)
            continue;
        takes_part[place] = false;
        if (quorum_is_kept(sim, takes_part))
            store_leave_out(faults, place);
        else
            takes_part[place] = true;
    }
    for (uint32_t number = 0; number < sim->plan.clients; number++)
        if (!sim->clients[number].core)
            client_process_start(&sim->clients[number]);
}

void faults_heal_all(struct faults *faults)
{
    network_calm(&faults->sim->network);
    for (uint32_t place = 0; place < faults->sim->stores_count; place++) {
        struct process *process = &faults->sim->stores[place];
        if (process->disk.hung_until_ns > faults->sim->schedule.now_ns)
            process_stop(process, STOP_KILLED); /* its write will never be reported */
        store_heal(process);
    }
}
