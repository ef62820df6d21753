#include "tests/sim/plan.h"

#include "raft/raft.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const struct plan_field plan_fields[] = {
#define PLAN_FIELD(name, least, text) {#name, offsetof(struct plan, name), least, text},
    PLAN_FIELDS(PLAN_FIELD)
#undef PLAN_FIELD
};
const size_t plan_fields_count = sizeof plan_fields / sizeof plan_fields[0];

uint64_t *plan_field_value(struct plan *plan, const struct plan_field *field)
{
    return (uint64_t *)(void *)((char *)plan + field->offset);
}

/* --- Drawing
 * ----------------------------------------------------------------------------------------- */

static uint64_t one_of(struct random *random, const uint64_t *values, size_t count)
{
    return values[random_below(random, count)];
}
#define ONE_OF(random, ...)                                                                        \
    one_of(random, (const uint64_t[]){__VA_ARGS__},                                                \
           sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void draw_cluster(struct plan *plan, struct random *random)
{
    plan->stores = ONE_OF(random, 3, 3, 3, 3, 5, 5, 4, 2, 1, 6);
    plan->replicas = plan->stores < 3 ? plan->stores : ONE_OF(random, 3, 3, 3, 5, 2, 1);
    if (plan->replicas > plan->stores)
        plan->replicas = plan->stores;
    plan->groups = ONE_OF(random, 2, 2, 3, 3, 4, 1, 6);
    plan->ranges_per_kind = random_between(random, 1, 4);
    if (plan->groups > 1 && plan->ranges_per_kind * 3 < plan->groups)
        plan->ranges_per_kind = 2;
}

static void draw_clients(struct plan *plan, struct random *random)
{
    plan->clients = random_between(random, 2, 8);
    plan->actors = random_between(random, 1, 3);
    plan->operations = random_between(random, 1100, 1500);
    plan->keys = ONE_OF(random, 4, 8, 16, 16, 32, 64);
    plan->hot_percent = ONE_OF(random, 0, 0, 50, 80);
    plan->micro_operations_max = random_between(random, 2, 6);
    plan->think_ms_max = random_between(random, 60, 400);
    plan->weight_append = ONE_OF(random, 0, 2, 4, 4);
    plan->weight_register = ONE_OF(random, 0, 2, 4);
    plan->weight_bank = ONE_OF(random, 0, 2, 4);
    if (plan->weight_append + plan->weight_register + plan->weight_bank == 0)
        plan->weight_append = 1;
    plan->client_timeout_ms = ONE_OF(random, 5000, 5000, 2000, 1000);
    plan->client_try_ms = ONE_OF(random, 1000, 1000, 300, 100);
}

static void draw_settings(struct plan *plan, struct random *random)
{
    plan->heartbeat_ms = ONE_OF(random, 50, 50, 50, 100, 20);
    plan->election_ms_min = plan->heartbeat_ms * random_between(random, 4, 10);
    plan->election_ms_max = plan->election_ms_min * ONE_OF(random, 2, 2, 2, 3);
    plan->inflight_messages_max = ONE_OF(random, 64, 64, 4, 1, 2);
    plan->inflight_bytes_max = ONE_OF(random, 4 << 20, 4 << 20, 16384, 512);
    plan->message_bytes_max = ONE_OF(random, 512 << 10, 512 << 10, 4096, 256);
    plan->log_segment_kib = ONE_OF(random, 64, 128, 256, 1024);
    plan->log_write_kib = ONE_OF(random, 64, 64, 16, 8);
    plan->log_retained_kib = ONE_OF(random, 0, 1, 4, 64, 65536);
    plan->snapshot_chunk_bytes = ONE_OF(random, 128, 1024, 16384, 512 << 10);
    plan->flush_kib = ONE_OF(random, 2, 16, 64, 32768);
    plan->flush_interval_ms = ONE_OF(random, 200, 1000, 5000, 30000);
    plan->lock_expiry_ms = ONE_OF(random, 5000, 5000, 2000, 1500);
}

static void draw_surroundings(struct plan *plan, struct random *random)
{
    plan->latency_us_min = ONE_OF(random, 20, 50, 200, 1000);
    plan->latency_us_max = plan->latency_us_min * random_between(random, 2, 6);
    plan->tail_ppm = ONE_OF(random, 0, 1000, 10000, 30000);
    plan->tail_ms_max = ONE_OF(random, 5, 20, 100);
    bool beyond_tcp = random_below(random, 4) == 0;
    plan->frame_lost_ppm = beyond_tcp ? ONE_OF(random, 0, 100, 2000) : 0;
    plan->frame_doubled_ppm = beyond_tcp ? ONE_OF(random, 0, 100, 2000) : 0;
    plan->frame_swapped_ppm = beyond_tcp ? ONE_OF(random, 0, 1000, 10000) : 0;
    plan->reset_ppm = ONE_OF(random, 0, 0, 50, 500);
    plan->disk_us_min = ONE_OF(random, 30, 60, 500);
    plan->disk_us_max = plan->disk_us_min * random_between(random, 2, 10);
    plan->disk_tail_ppm = ONE_OF(random, 0, 2000, 20000);
    plan->disk_tail_ms_max = ONE_OF(random, 10, 50, 200);
    plan->turn_us_max = ONE_OF(random, 20, 100, 500);
    plan->job_us_max = ONE_OF(random, 100, 1000, 20000);
    plan->job_tail_ppm = ONE_OF(random, 0, 0, 10000, 100000);
    plan->job_tail_ms_max = ONE_OF(random, 100, 1000, 3000);
    plan->rare_sites = random_below(random, 4) != 0;
    plan->drift_ppm_max = ONE_OF(random, 0, 100, 1000, 20000);
}

/* A snapshot goes a chunk at a time, each with a job at both ends and the way there and back. A
 * replica that lags may need two of them, the log having gone on meanwhile, and they must come
 * within the bounds of run.c: nobody promises that a snapshot in a thousand pieces is quick. */
#define SNAPSHOT_BYTES_USUAL (300u << 10)
#define SNAPSHOT_US_MAX      10000000u

static uint64_t snapshot_chunk_bytes_min(const struct plan *plan)
{
    uint64_t tail_us = plan->tail_ppm * plan->tail_ms_max * 1000 / 2 / 1000000;
    uint64_t way_us = (plan->latency_us_min + plan->latency_us_max) / 2 + tail_us;
    uint64_t chunk_us = 2 * (plan->job_us_max / 2 + plan->turn_us_max + way_us);
    return SNAPSHOT_BYTES_USUAL * chunk_us / SNAPSHOT_US_MAX;
}

static void draw_faults(struct plan *plan, struct random *random)
{
    plan->faults_min = random_between(random, 6, 16);
    plan->fault_last = 1000000;
    plan->fault_every_ms = ONE_OF(random, 300, 600, 1200);
    plan->fault_ms_max = ONE_OF(random, 300, 1000, 3000);
    plan->faults_at_once_max = random_between(random, 1, 3);
    plan->run_ms_max = 600000;
    for (size_t index = 0; index < plan_fields_count; index++) {
        const struct plan_field *field = &plan_fields[index];
        if (field->offset >= offsetof(struct plan, fault_replicas))
            break; /* drawn for themselves */
        if (strncmp(field->name, "fault_", 6) == 0 && strstr(field->text, "weight:"))
            *plan_field_value(plan, field) =
                random_below(random, 2) == 0 ? 0 : random_between(random, 1, 4);
    }
    /* What costs much of a run when it happens often. */
    if (random_below(random, 3) != 0)
        plan->fault_disk_damage = 0;
    if (random_below(random, 2) != 0)
        plan->fault_disk_full = 0;
    if (plan_faults_weight(plan) == 0)
        plan->fault_crash = 1;
    if (plan->stores == 1)
        plan->fault_disk_damage = 0; /* there is no minority to damage */
    /* Two do nothing without each other: with one of them always in trouble no run would get on. */
    if (plan->replicas == 2 && plan->fault_ms_max > plan->fault_every_ms)
        plan->faults_at_once_max = 1;
}

/* A stale read needs an old leader that is asked in the moment between another one's first commit
 * and its own fall, for a key that was written in that moment by somebody who found the new leader
 * as quickly. Left to chance that is not seen in a thousand seeds; here in one of ten. */
static void draw_stale_reads(struct plan *plan, struct random *random)
{
    plan->replicas = 3;
    if (plan->stores < plan->replicas)
        plan->stores = plan->replicas;
    plan->clients = 8;
    plan->actors = random_between(random, 1, 2);
    plan->keys = ONE_OF(random, 2, 8);
    plan->hot_percent = 0;
    plan->think_ms_max = ONE_OF(random, 10, 20);
    plan->weight_append = plan->weight_bank = 0;
    plan->weight_register = 1;
    plan->client_timeout_ms = 5000;
    plan->client_try_ms = ONE_OF(random, 30, 50);
    plan->heartbeat_ms = 50;
    plan->election_ms_min = 250;
    plan->election_ms_max = 1000;
    plan->fault_every_ms = 600;
    plan->fault_ms_max = 3000;
    plan->fault_isolate_leader = 20;
}

/* --- Drawn for itself: what came later leaves the rest of each seed as it was
 * ------------------ */

/* Half of those with leases look for what breaks them: patient readers of few keys, who still take
 * for the leader who is none any more, while others write at the next. */
static void draw_leases(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan leases");
    plan->client_try_factor = 1;
    if (random_below(&random, 4) != 0)
        return;
    plan->lease_ms = plan->election_ms_min * ONE_OF(&random, 90, 90, 60, 30) / 100;
    plan->lease_stall_ppm = ONE_OF(&random, 0, 300, 2000);
    if (random_below(&random, 2) != 0)
        return;
    plan->lease_stall_ppm = 2000;
    plan->client_try_ms = 100;
    plan->client_try_factor = 30;
    plan->client_timeout_ms = 5000;
    plan->keys = 2;
    plan->weight_append = plan->weight_bank = 0;
    plan->weight_register = 1;
    plan->think_ms_max = 1500;
    plan->clients = 8;
    plan->actors = 3;
}

/* Few where others look for one thing alone. */
static void draw_snapshots(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan snapshots");
    plan->weight_snapshot = ONE_OF(&random, 0, 1, 2, 4);
    if (plan->weight_append + plan->weight_bank == 0 && plan->weight_snapshot > 1)
        plan->weight_snapshot = 1;
}

static void draw_changes(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan changes");
    plan->fault_replicas = ONE_OF(&random, 0, 0, 0, 2, 4, 8);
    plan->fault_disk_lost = ONE_OF(&random, 0, 0, 0, 0, 1, 3);
    if (plan->stores == 1)
        plan->fault_replicas = plan->fault_disk_lost = 0;
}

static void draw_optimistic(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan optimistic");
    plan->optimistic_percent = ONE_OF(&random, 0, 20, 50, 80, 100);
}

static void draw_updates(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan updates");
    plan->updates_percent = ONE_OF(&random, 0, 30, 60);
    plan->scans_percent = ONE_OF(&random, 0, 20, 50);
    plan->bank_counters = ONE_OF(&random, 0, 1);
}

/* Logs that part: leaders are cut off with entries that nobody else has, and others go on, cut
 * their logs and send snapshots. Configurations are among what is cut off. */
static void draw_parting(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan parting");
    plan->site_crash_percent = ONE_OF(&random, 0, 0, 0, 5, 20, 50);
    if (random_below(&random, 12) != 0 || plan->stores < 3)
        return;
    plan->replicas = 3;
    plan->think_ms_max = 20;
    plan->log_retained_kib = 0;
    plan->flush_kib = 2;
    plan->flush_interval_ms = 200;
    plan->fault_every_ms = 300;
    plan->fault_isolate_leader = 20;
    plan->fault_power = 5;
    plan->fault_replicas = 20;
}

/* Where history is short, old versions go while the run lasts. */
static void draw_history(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan history");
    plan->history_ms = ONE_OF(&random, 600000, 600000, 300, 1000, 3000, 10000);
    plan->keeper = plan->history_ms < 600000;
    plan->replica_changes_max = 2;
}

/* Where ranges move much, few other things go wrong as often. */
static void draw_ranges(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan ranges");
    plan->fault_range_move = ONE_OF(&random, 0, 0, 2, 4, 20);
    plan->fault_range_split = ONE_OF(&random, 0, 0, 2, 4, 10);
    plan->fault_range_merge = ONE_OF(&random, 0, 0, 2, 4, 10);
    plan->fault_range_cancel = ONE_OF(&random, 0, 0, 0, 2, 4);
    if (plan->groups == 1)
        plan->fault_range_move = plan->fault_range_cancel = 0;
}

/* Stores come, are drained and removed, and die for good. */
static void draw_stores(struct plan *plan)
{
    struct random random = schedule_random(plan->seed, "plan stores");
    plan->dead_after_ms = 300000;
    if (random_below(&random, 4) != 0)
        return;
    plan->joiners = random_between(&random, 1, PLAN_JOINERS_MAX);
    plan->dead_after_ms = ONE_OF(&random, 6000, 10000, 20000);
    plan->fault_store_join = ONE_OF(&random, 1, 2, 4);
    plan->fault_store_drain = ONE_OF(&random, 0, 2, 4, 8);
    if (plan->fault_store_drain > 0)
        plan->fault_store_undrain = ONE_OF(&random, 0, 0, 1, 2);
    plan->fault_store_remove = ONE_OF(&random, 0, 2, 4);
    plan->fault_store_death = ONE_OF(&random, 0, 0, 1, 2);
}

uint32_t plan_lease_ms(const struct plan *plan)
{
    struct raft_options options;
    raft_options_default(&options);
    uint64_t most = plan->election_ms_min * (100 - options.lease_drift_percent) / 100;
    return (uint32_t)(plan->lease_ms < most ? plan->lease_ms : most);
}

/* Where something breaks every third of a second, who gives up after one gets nothing done, and the
 * run shows nothing. */
static void soften(struct plan *plan)
{
    uint64_t timeout_ms_min = 10 * plan->fault_every_ms;
    if (timeout_ms_min > 3000)
        timeout_ms_min = 3000;
    if (plan->client_timeout_ms < timeout_ms_min)
        plan->client_timeout_ms = timeout_ms_min;
}

void plan_draw(struct plan *plan, uint64_t seed)
{
    *plan = (struct plan){.seed = seed};
    struct random random = schedule_random(seed, "plan");
    draw_cluster(plan, &random);
    draw_clients(plan, &random);
    draw_settings(plan, &random);
    draw_surroundings(plan, &random);
    if (plan->snapshot_chunk_bytes < snapshot_chunk_bytes_min(plan))
        plan->snapshot_chunk_bytes = snapshot_chunk_bytes_min(plan);
    draw_faults(plan, &random);
    if (random_below(&random, 8) == 0)
        draw_stale_reads(plan, &random);
    draw_leases(plan);
    draw_snapshots(plan);
    draw_changes(plan);
    draw_optimistic(plan);
    draw_updates(plan);
    draw_parting(plan);
    draw_history(plan);
    draw_ranges(plan);
    draw_stores(plan);
    soften(plan);
}

/* --- By hand
 * ----------------------------------------------------------------------------------------- */

bool plan_set(struct plan *plan, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    if (!equals)
        return false;
    size_t name_bytes = (size_t)(equals - assignment);
    for (size_t index = 0; index < plan_fields_count; index++) {
        const struct plan_field *field = &plan_fields[index];
        if (strlen(field->name) != name_bytes || strncmp(field->name, assignment, name_bytes) != 0)
            continue;
        char *end;
        uint64_t value = strtoull(equals + 1, &end, 10);
        if (*end != '\0' || end == equals + 1 || value < field->least)
            return false;
        *plan_field_value(plan, field) = value;
        return plan->stores <= PLAN_STORES_MAX && plan->joiners <= PLAN_JOINERS_MAX &&
               plan->clients <= PLAN_CLIENTS_MAX && plan->rocksdb <= 1;
    }
    return false;
}

void plan_print(const struct plan *plan, FILE *file)
{
    struct plan copy = *plan;
    for (size_t index = 0; index < plan_fields_count; index++)
        fprintf(file, "  %-24s %10" PRIu64 "  %s\n", plan_fields[index].name,
                *plan_field_value(&copy, &plan_fields[index]), plan_fields[index].text);
}

uint64_t plan_faults_weight(const struct plan *plan)
{
    struct plan copy = *plan;
    uint64_t sum = 0;
    for (size_t index = 0; index < plan_fields_count; index++)
        if (strstr(plan_fields[index].text, "weight:"))
            sum += *plan_field_value(&copy, &plan_fields[index]);
    return sum;
}

bool plan_changes_leaders(const struct plan *plan)
{
    return plan->replicas > 1 && plan->fault_crash + plan->fault_power + plan->fault_power_all >
                                     plan_faults_weight(plan) / 3;
}

bool plan_crosses_groups(const struct plan *plan)
{
    uint64_t share = plan->weight_bank + (plan->micro_operations_max > 2 ? plan->weight_append : 0);
    return plan->groups > 1 && plan->ranges_per_kind > 1 && plan->keys >= 8 &&
           plan->hot_percent < 50 && plan->operations >= 1000 && share > plan->weight_register;
}

/* Large enough for chance not to leave it out of many faults. */
static bool is_large(const struct plan *plan, uint64_t weight)
{
    return weight > plan_faults_weight(plan) / 4;
}

bool plan_moves_ranges(const struct plan *plan)
{
    return plan->groups > 1 && is_large(plan, plan->fault_range_move);
}

bool plan_splits_ranges(const struct plan *plan)
{
    return is_large(plan, plan->fault_range_split);
}

bool plan_changes_stores(const struct plan *plan)
{
    return plan->fault_store_join + plan->fault_store_drain + plan->fault_store_undrain +
               plan->fault_store_remove + plan->fault_store_death >
           0;
}

bool plan_has_admin(const struct plan *plan)
{
    return plan->fault_replicas + plan->fault_range_move + plan->fault_range_split +
                   plan->fault_range_merge + plan->fault_range_cancel >
               0 ||
           plan_changes_stores(plan);
}
