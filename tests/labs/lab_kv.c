#include "tests/labs/lab_kv.h"

#include "base/log.h"
#include "base/memory.h"
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"
#include "tests/sim/workload.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#define WAIT_MS_MAX       60000u
#define PAUSE_MS_MAX      100u
#define COMMITS_ASKED_MAX 20u

/* --- Time
 * -------------------------------------------------------------------------------------------- */

static void lab_check(const struct lab_kv *kv)
{
    cr_assert(!kv->sim.is_failed, "seed %" PRIu64 ": %s: %s", kv->options.seed, kv->sim.failure,
              kv->sim.why);
}

void lab_kv_sleep(struct lab_kv *kv, uint32_t ms)
{
    nanoseconds_t until_ns = kv->sim.schedule.now_ns + ms * NS_PER_MS;
    while (schedule_step(&kv->sim.schedule, until_ns))
        continue;
    lab_check(kv);
}

uint64_t lab_kv_random(struct lab_kv *kv, uint64_t below)
{
    return random_below(&kv->random, below);
}

/* --- One operation
 * ----------------------------------------------------------------------------------- */

static void attempt_begin(struct lab_client *client);
static void loop_go_on(struct lab_client *client);

static int64_t history_key(const struct lab_client *client)
{
    return WORKLOAD_REG_KEY + client->key;
}

static struct bytes key_bytes(const struct lab_client *client, char *text)
{
    return workload_key(&client->kv->sim.plan, history_key(client), text);
}

/* What an attempt asks for, and what it was told. */
static uint32_t history_ops(const struct lab_client *client, bool is_done,
                            struct history_op *out_ops)
{
    bool is_register = client->kv->options.is_register;
    uint32_t count = 0;
    if (client->kind == LAB_GET || (client->kind == LAB_APPEND && is_register)) {
        struct history_op *op = &out_ops[count++];
        *op = (struct history_op){.action = HISTORY_OP_READ, .key = history_key(client)};
        if (is_done && client->found_count != 0 && is_register) {
            op->found = HISTORY_NUMBER;
            op->value = client->found[0];
        } else if (is_done && client->found_count != 0) {
            op->found = HISTORY_LIST;
            op->list = client->found;
            op->list_count = client->found_count;
        }
    }
    if (client->kind != LAB_GET)
        out_ops[count++] =
            (struct history_op){.action = is_register ? HISTORY_OP_WRITE : HISTORY_OP_APPEND,
                                .key = history_key(client),
                                .value = client->value};
    return count;
}

static void record(struct lab_client *client, enum history_type type, int status)
{
    struct history_op ops[2];
    char why[HISTORY_WHY_BYTES] = "";
    struct sim *sim = &client->kv->sim;
    bool has_ops = type == HISTORY_INVOKE || type == HISTORY_OK;
    struct history_event event = {
        .type = type,
        .function = HISTORY_TXN,
        .time_ns = sim->schedule.now_ns,
        .process = client->process,
        .ops = ops,
        .ops_count = has_ops ? history_ops(client, type == HISTORY_OK, ops) : 0,
        .error = has_ops ? NULL : ost_status_name(status),
    };
    int appended = history_append(sim->history, &event, why);
    cr_assert_eq(appended, OST_OK, "%s", why);
    if (type == HISTORY_INFO)
        client->process = ++sim->history_processes;
}

static void after(struct lab_client *client, uint64_t delay_ms,
                  void (*done)(struct operation *operation))
{
    struct operation *operation =
        operation_new(OPERATION_AFTER, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->delay_ms = (uint32_t)delay_ms;
    client_process_submit(client->client, operation, done, client);
}

static void rested(struct operation *operation)
{
    attempt_begin(operation->done_context[0]);
}

static void acknowledge(struct lab_client *client)
{
    if (client->acknowledged_count == client->acknowledged_capacity) {
        client->acknowledged_capacity = 2 * client->acknowledged_capacity + 64;
        client->acknowledged = memory_realloc(
            client->acknowledged, client->acknowledged_capacity * sizeof client->acknowledged[0]);
    }
    client->acknowledged[client->acknowledged_count++] = client->value;
}

/* A client's own key, as it must be. */
static void check_own(const struct lab_client *client)
{
    cr_assert_eq(client->found_count, client->acknowledged_count,
                 "seed %" PRIu64 ": client %" PRIu32 " appended %zu, and finds %" PRIu32,
                 client->kv->options.seed, client->client->number, client->acknowledged_count,
                 client->found_count);
    for (uint32_t index = 0; index < client->found_count; index++)
        cr_assert_eq(client->found[index], client->acknowledged[index]);
}

static bool key_is_own(const struct lab_client *client)
{
    return !client->kv->options.is_random && !client->kv->options.has_wild_clocks &&
           !client->kv->options.is_register &&
           client->kv->options.keys_count == client->kv->options.clients_count &&
           client->key == client->client->number;
}

static void attempt_ended(struct lab_client *client, enum history_type type, int status)
{
    record(client, type, status);
    trace_tell(&client->kv->sim.trace, "client %" PRIu32 ": kind %d of %" PRId64 " ended: %s",
               client->client->number, (int)client->kind, client->value, ost_status_name(status));
    client_process_drop_txn(client->client, &client->txn, client->is_handed_over);
    if (type != HISTORY_OK) {
        /* Of a put that nobody knows of another is sent, with a value of its own. */
        after(client, 1 + lab_kv_random(client->kv, 30), rested);
        return;
    }
    if (client->kind == LAB_APPEND && key_is_own(client))
        acknowledge(client);
    if (client->kind == LAB_GET && key_is_own(client))
        check_own(client);
    client->is_busy = false;
    client->done_count++;
    if (client->is_looping)
        loop_go_on(client);
}

static enum history_type outcome_of_status(int status)
{
    switch (ost_status_class(status)) {
    case OST_CLASS_OK:
        return HISTORY_OK;
    case OST_CLASS_RETRYABLE:
    case OST_CLASS_REFUSED:
        return HISTORY_FAIL;
    default:
        return HISTORY_INFO;
    }
}

static void commit_ask(struct operation *operation);
static void committed(struct operation *operation)
{
    struct lab_client *client = operation->done_context[0];
    /* It is asked until it is known, or too late to be known. */
    if (operation->status == OST_MAYBE_COMMITTED && client->commits_asked++ < COMMITS_ASKED_MAX) {
        after(client, 50, commit_ask);
        return;
    }
    attempt_ended(client, outcome_of_status(operation->status), operation->status);
}

static void commit_ask(struct operation *operation)
{
    struct lab_client *client = operation->done_context[0];
    struct operation *commit =
        operation_new(OPERATION_TXN_COMMIT, bytes_of(NULL, 0), bytes_of(NULL, 0));
    commit->txn = client->txn;
    client_process_submit(client->client, commit, committed, client);
}

static void take_found(struct lab_client *client, const struct operation *operation)
{
    client->found = NULL;
    client->found_count = 0;
    if (operation->status == OST_OK)
        cr_assert(workload_numbers_unpack(operation->result_value, &client->arena, &client->found,
                                          &client->found_count));
}

static void append_read(struct operation *operation)
{
    struct lab_client *client = operation->done_context[0];
    char text[WORKLOAD_KEY_BYTES];
    client->age = *coordinator_age(core_txn_coordinator(client->txn));
    if (operation->status != OST_OK && operation->status != OST_NOT_FOUND) {
        attempt_ended(client, HISTORY_FAIL, operation->status);
        return;
    }
    take_found(client, operation);
    uint32_t kept = client->kv->options.is_register ? 0 : client->found_count;
    int64_t *longer = arena_alloc(&client->arena, (kept + 1) * sizeof *longer);
    for (uint32_t index = 0; index < kept; index++)
        longer[index] = client->found[index];
    longer[kept] = client->value;
    struct write write = {.kind = WRITE_PUT,
                          .key = key_bytes(client, text),
                          .value = workload_numbers_pack(longer, kept + 1, &client->arena)};
    const char *why = NULL;
    int status = coordinator_write(core_txn_coordinator(client->txn), &write, &why);
    if (status != OST_OK) {
        attempt_ended(client, HISTORY_FAIL, status);
        return;
    }
    commit_ask(operation);
}

static void single_done(struct operation *operation)
{
    struct lab_client *client = operation->done_context[0];
    int status = operation->status;
    if (operation->type == OPERATION_GET && (status == OST_OK || status == OST_NOT_FOUND)) {
        take_found(client, operation);
        attempt_ended(client, HISTORY_OK, OST_OK);
        return;
    }
    enum history_type type = outcome_of_status(status);
    if (operation->type == OPERATION_GET)
        type = HISTORY_FAIL;
    attempt_ended(client, type, status);
}

static void attempt_begin(struct lab_client *client)
{
    char text[WORKLOAD_KEY_BYTES];
    struct operation *operation;
    arena_reset(&client->arena);
    client->found = NULL;
    client->found_count = 0;
    client->commits_asked = 0;
    if (client->kind != LAB_GET)
        client->value = ++client->kv->sim.values;
    record(client, HISTORY_INVOKE, OST_OK);
    switch (client->kind) {
    case LAB_GET:
        operation = operation_new(OPERATION_GET, key_bytes(client, text), bytes_of(NULL, 0));
        client_process_submit(client->client, operation, single_done, client);
        break;
    case LAB_PUT:
        operation = operation_new(OPERATION_WRITE, key_bytes(client, text),
                                  workload_numbers_pack(&client->value, 1, &client->arena));
        operation->write_kind = WRITE_PUT;
        client_process_submit(client->client, operation, single_done, client);
        break;
    case LAB_APPEND:
        client->txn = core_txn_new(client_core_coordinator_new(client->client->core));
        client->is_handed_over = true;
        operation = operation_new(OPERATION_TXN_GET, key_bytes(client, text), bytes_of(NULL, 0));
        operation->lock_mode = LOCK_EXCLUSIVE;
        operation->txn = client->txn;
        operation->age = client->age;
        client_process_submit(client->client, operation, append_read, client);
        break;
    }
}

void lab_kv_begin(struct lab_kv *kv, uint32_t number, enum lab_kv_kind kind, uint32_t key)
{
    struct lab_client *client = &kv->clients[number];
    cr_assert(!client->is_busy && key < kv->options.keys_count);
    cr_assert(kind != LAB_PUT || kv->options.is_register);
    client->is_busy = true;
    client->kind = kind;
    client->key = key;
    client->age = (struct txn_age){0};
    attempt_begin(client);
}

bool lab_kv_is_busy(const struct lab_kv *kv, uint32_t client)
{
    return kv->clients[client].is_busy;
}

void lab_kv_wait(struct lab_kv *kv, uint32_t client)
{
    for (uint32_t waited_ms = 0; waited_ms < WAIT_MS_MAX && lab_kv_is_busy(kv, client); waited_ms++)
        lab_kv_sleep(kv, 1);
    cr_assert(!lab_kv_is_busy(kv, client), "seed %" PRIu64 ": client %" PRIu32 " is stuck",
              kv->options.seed, client);
}

void lab_kv_do(struct lab_kv *kv, uint32_t client, enum lab_kv_kind kind, uint32_t key)
{
    lab_kv_begin(kv, client, kind, key);
    lab_kv_wait(kv, client);
}

/* --- Loops
 * ------------------------------------------------------------------------------------------- */

static void loop_next(struct operation *operation)
{
    struct lab_client *client = operation->done_context[0];
    struct lab_kv *kv = client->kv;
    if (!client->is_looping || client->is_busy)
        return;
    uint64_t drawn = lab_kv_random(kv, 1000);
    enum lab_kv_kind kind = drawn < 500 ? LAB_APPEND : LAB_GET;
    if (kv->options.is_register && drawn >= 900)
        kind = LAB_PUT;
    uint32_t key = client->client->number;
    if (kv->options.is_random)
        key = (uint32_t)lab_kv_random(kv, kv->options.keys_count);
    lab_kv_begin(kv, client->client->number, kind, key % kv->options.keys_count);
}

static void loop_go_on(struct lab_client *client)
{
    after(client, lab_kv_random(client->kv, PAUSE_MS_MAX), loop_next);
}

void lab_kv_loops_begin(struct lab_kv *kv)
{
    for (uint32_t number = 0; number < kv->options.clients_count; number++) {
        kv->clients[number].is_looping = true;
        loop_go_on(&kv->clients[number]);
    }
}

void lab_kv_loops_end(struct lab_kv *kv)
{
    for (uint32_t number = 0; number < kv->options.clients_count; number++)
        kv->clients[number].is_looping = false;
    for (uint32_t number = 0; number < kv->options.clients_count; number++)
        lab_kv_wait(kv, number);
    lab_kv_sleep(kv, PAUSE_MS_MAX); /* no pause of a loop is left over */
}

void lab_kv_check_appends(struct lab_kv *kv)
{
    for (uint32_t number = 0; number < kv->options.clients_count; number++)
        lab_kv_do(kv, number, LAB_GET, number); /* judged when it is done */
}

/* --- Faults
 * ------------------------------------------------------------------------------------------ */

static void link_set(struct lab_kv *kv, uint32_t from, uint32_t to, bool is_cut)
{
    if (kv->is_cut[from][to] == is_cut)
        return;
    kv->is_cut[from][to] = is_cut;
    if (is_cut)
        network_cut(&kv->sim.network, from, to);
    else
        network_heal(&kv->sim.network, from, to);
}

void lab_kv_partition(struct lab_kv *kv, const uint32_t *sides)
{
    for (uint32_t from = 0; from < kv->options.stores_count; from++) {
        for (uint32_t to = 0; to < kv->options.stores_count; to++)
            link_set(kv, from, to, sides[from] != sides[to]);
    }
}

void lab_kv_partition_randomly(struct lab_kv *kv)
{
    uint32_t sides[PLAN_STORES_MAX];
    for (uint32_t store = 0; store < kv->options.stores_count; store++)
        sides[store] = (uint32_t)lab_kv_random(kv, 2);
    lab_kv_partition(kv, sides);
}

void lab_kv_client_hears(struct lab_kv *kv, uint32_t client, uint32_t stores)
{
    uint32_t host = kv->options.stores_count + client;
    for (uint32_t store = 0; store < kv->options.stores_count; store++) {
        link_set(kv, host, store, !(stores >> store & 1));
        link_set(kv, store, host, !(stores >> store & 1));
    }
}

void lab_kv_heal(struct lab_kv *kv)
{
    for (uint32_t from = 0; from < NETWORK_HOSTS_MAX; from++) {
        for (uint32_t to = 0; to < NETWORK_HOSTS_MAX; to++)
            link_set(kv, from, to, false);
    }
}

void lab_kv_crash(struct lab_kv *kv, uint32_t store)
{
    process_stop(&kv->sim.stores[store], STOP_KILLED);
}

void lab_kv_start(struct lab_kv *kv, uint32_t store)
{
    process_start(&kv->sim.stores[store]);
    lab_check(kv);
}

void lab_kv_crash_all(struct lab_kv *kv)
{
    for (uint32_t store = 0; store < kv->options.stores_count; store++)
        lab_kv_crash(kv, store);
}

void lab_kv_start_all(struct lab_kv *kv)
{
    for (uint32_t store = 0; store < kv->options.stores_count; store++)
        lab_kv_start(kv, store);
}

/* --- Looking
 * ----------------------------------------------------------------------------------------- */

static bool group_status(struct lab_kv *kv, uint32_t store, group_id_t group,
                         struct raft_status *out_status)
{
    struct process *process = &kv->sim.stores[store];
    return process_is_up(process) &&
           raft_host_group_status(node_raft_host(process->node), group, out_status) == OST_OK;
}

bool lab_kv_has_replica(struct lab_kv *kv, uint32_t store, group_id_t group)
{
    struct raft_status status;
    return group_status(kv, store, group, &status);
}

uint32_t lab_kv_leader(struct lab_kv *kv, group_id_t group)
{
    for (uint32_t waited_ms = 0; waited_ms < WAIT_MS_MAX; waited_ms += 10) {
        uint32_t leader = UINT32_MAX;
        raft_term_t term = 0;
        for (uint32_t store = 0; store < kv->options.stores_count; store++) {
            struct raft_status status;
            if (!group_status(kv, store, group, &status) || status.role != RAFT_LEADER ||
                status.term <= term || status.commit_index < status.term_opening_index)
                continue;
            leader = store;
            term = status.term;
        }
        if (leader != UINT32_MAX)
            return leader;
        lab_kv_sleep(kv, 10);
    }
    cr_assert_fail("seed %" PRIu64 ": group %" PRIu64 " has no leader", kv->options.seed, group);
    return 0;
}

uint64_t lab_kv_log_bytes_max(struct lab_kv *kv)
{
    uint64_t bytes_max = 0;
    for (uint32_t store = 0; store < kv->options.stores_count; store++) {
        for (group_id_t group = 0; group <= kv->options.groups_count; group++) {
            struct raft_status status;
            if (group_status(kv, store, group, &status) && status.log_bytes > bytes_max)
                bytes_max = status.log_bytes;
        }
    }
    return bytes_max;
}

uint64_t lab_kv_snapshots_installed(struct lab_kv *kv)
{
    uint64_t count = kv->sim.counts.snapshots_installed;
    for (uint32_t store = 0; store < kv->options.stores_count; store++) {
        if (process_is_up(&kv->sim.stores[store]))
            count += kv->sim.stores[store].metrics.snapshots_installed_count;
    }
    return count;
}

static void routed(struct operation *operation)
{
    *(group_id_t *)operation->done_context[0] = operation->result_group;
}

group_id_t lab_kv_group_of_key(struct lab_kv *kv, uint32_t key)
{
    char text[WORKLOAD_KEY_BYTES];
    group_id_t group = 0;
    struct operation *operation =
        operation_new(OPERATION_ROUTE, workload_key(&kv->sim.plan, WORKLOAD_REG_KEY + key, text),
                      bytes_of(NULL, 0));
    client_process_submit(kv->clients[0].client, operation, routed, &group);
    for (uint32_t waited_ms = 0; waited_ms < WAIT_MS_MAX && group == 0; waited_ms++)
        lab_kv_sleep(kv, 1);
    cr_assert_neq(group, 0);
    return group;
}

/* --- Life
 * -------------------------------------------------------------------------------------------- */

static void plan_fill(const struct lab_kv_options *options, struct plan *plan)
{
    *plan = (struct plan){
        .seed = options->seed,
        .stores = options->stores_count,
        .replicas = options->stores_count,
        .groups = options->groups_count,
        .ranges_per_kind = options->groups_count > 1 ? 4 : 1,
        .clients = options->clients_count,
        .actors = 1,
        .keys = options->keys_count,
        .heartbeat_ms = 50,
        .election_ms_min = 500,
        .election_ms_max = 1000,
        .inflight_messages_max = 64,
        .inflight_bytes_max = 4 << 20,
        .message_bytes_max = 512 << 10,
        .log_segment_kib = 256,
        .log_write_kib = 64,
        .log_retained_kib = options->is_small ? 0 : 65536,
        .snapshot_chunk_bytes = 16384,
        .flush_kib = options->is_small ? 2 : 32768,
        .flush_interval_ms = options->is_small ? 200 : 30000,
        .lock_expiry_ms = 5000,
        .history_ms = 600000,
        .client_timeout_ms = 5000,
        .client_try_ms = 1000,
        .client_try_factor = 1,
        .latency_us_min = 100,
        .latency_us_max = options->is_unreliable ? 27000 : 1000,
        .frame_lost_ppm = options->is_unreliable ? 100000 : 0,
        .frame_swapped_ppm = options->is_unreliable ? 10000 : 0,
        .disk_us_min = 50,
        .disk_us_max = 500,
        .turn_us_max = 20,
        .job_us_max = 500,
    };
}

/* As ost_open does: a client asks for nothing before it has a map. */
static void client_open(struct lab_client *client);
static void client_opened(struct operation *operation)
{
    struct lab_client *client = operation->done_context[0];
    if (operation->status == OST_OK)
        client->is_busy = false;
    else
        client_open(client);
}
static void client_open(struct lab_client *client)
{
    client->is_busy = true;
    client_process_submit(client->client,
                          operation_new(OPERATION_OPEN, bytes_of(NULL, 0), bytes_of(NULL, 0)),
                          client_opened, client);
}

struct lab_kv *lab_kv_new(const struct lab_kv_options *options)
{
    struct lab_kv *kv = memory_alloc_zeroed(1, sizeof *kv);
    struct plan plan;
    kv->options = *options;
    if (kv->options.stores_count == 0)
        kv->options.stores_count = 5;
    if (kv->options.groups_count == 0)
        kv->options.groups_count = 1;
    if (kv->options.keys_count == 0)
        kv->options.keys_count = options->clients_count;
    cr_assert_leq(kv->options.clients_count, LAB_CLIENTS_MAX);
    random_init(&kv->random, options->seed ^ 0x6824);
    plan_fill(&kv->options, &plan);
    sim_init(&kv->sim, &plan, &(struct run_options){.story = getenv("LAB_SEED") ? stderr : NULL});
    for (uint32_t store = 0; store < plan.stores && !options->has_wild_clocks; store++)
        kv->sim.stores[store].clock.local_ns = kv->sim.schedule.now_ns;
    lab_kv_start_all(kv);
    for (uint32_t number = 0; number < kv->options.clients_count; number++) {
        struct lab_client *client = &kv->clients[number];
        *client = (struct lab_client){.kv = kv, .client = &kv->sim.clients[number]};
        client->process = ++kv->sim.history_processes;
        client->client->actors_count = 0; /* ours are the clients */
        arena_init(&client->arena);
        client_process_start(client->client);
        client_open(client);
    }
    for (uint32_t number = 0; number < kv->options.clients_count; number++)
        lab_kv_wait(kv, number);
    return kv;
}

static void lab_kv_free(struct lab_kv *kv)
{
    for (uint32_t number = 0; number < kv->options.clients_count; number++) {
        arena_fini(&kv->clients[number].arena);
        free(kv->clients[number].acknowledged);
    }
    sim_fini(&kv->sim);
    free(kv);
}

void lab_kv_finish(struct lab_kv *kv)
{
    struct check_result result;
    lab_kv_heal(kv);
    lab_kv_loops_end(kv);
    for (uint32_t key = 0; key < kv->options.keys_count; key++)
        lab_kv_do(kv, key % kv->options.clients_count, LAB_GET, key);
    check_result_init(&result);
    if (kv->options.is_register)
        register_check(kv->sim.history, NULL, &result);
    else
        serializability_check(kv->sim.history, NULL, &result);
    cr_assert_eq(result.verdict, CHECK_OK, "seed %" PRIu64 ": %s %s: %s", kv->options.seed,
                 check_verdict_name(result.verdict), result.name, result.explanation);
    cr_assert_gt(result.judged_count, 0);
    lab_kv_free(kv);
}

void lab_kv_each_seed(void (*scenario)(struct lab_kv *kv), struct lab_kv_options options,
                      uint32_t seeds_count)
{
    const char *only = getenv("LAB_SEED");
    const char *count = getenv("LAB_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    if (count)
        seeds_count = (uint32_t)strtoul(count, NULL, 10);
    for (uint64_t seed = first; seed < first + (only ? 1 : seeds_count); seed++) {
        options.seed = seed;
        struct lab_kv *kv = lab_kv_new(&options);
        scenario(kv);
        lab_kv_finish(kv);
    }
}
