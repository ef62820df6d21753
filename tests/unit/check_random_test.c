/* check_random_test.c: long random histories of stores that are right, and of stores with one fault
 * each, which the checkers must name.
 *
 * The store is a table in memory; clients invoke, take effect and complete at random moments, so
 * that intervals overlap. Some outcomes are unknown, and such operations take effect late or never.
 */
#include "tests/check/bank_check.h"
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"

#include "base/arena.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLIENTS_COUNT     20u
#define KEYS_LIVE_COUNT   8u
#define KEY_APPENDS_MAX   60u
#define KEYS_COUNT_MAX    4000u
#define OPS_COUNT_MAX     4u
#define STALE_STEPS_COUNT 400u

enum fault {
    FAULT_NONE,
    FAULT_LOST_UPDATE,  /* snapshot reads; who appends last does not look again */
    FAULT_WRITE_SKEW,   /* snapshot isolation: only what is written is looked at again */
    FAULT_STALE_READ,   /* read-only transactions see an old state, whole */
    FAULT_ABORTED_READ, /* what failed has taken effect */
    FAULT_LOST_APPEND,  /* one append of an acknowledged transaction is dropped */
    FAULT_FRACTURED,    /* a transaction's operations take effect one by one */
    FAULT_DUPLICATE,    /* an append is applied twice */
    FAULT_REORDER,      /* a read shows the last two elements the other way round */
    FAULT_GARBAGE,      /* a read shows a number from nowhere */
};

struct list {
    int64_t elements[2 * KEY_APPENDS_MAX + 8];
    uint32_t count;
    uint32_t seen_count[2]; /* by the stale reader: of the last two looks */
};

enum phase { PHASE_IDLE, PHASE_INVOKED, PHASE_READ, PHASE_DONE };

struct client {
    uint64_t process;
    enum phase phase;
    struct history_op ops[OPS_COUNT_MAX];
    uint32_t ops_count;
    uint32_t next_op;
    uint32_t version[OPS_COUNT_MAX]; /* the count of the list when the snapshot was taken */
    bool refused;
};

struct world {
    struct random random;
    struct arena arena;
    struct history *history;
    enum fault fault;
    uint64_t now_ns;
    uint64_t process_next;
    int64_t value_next;
    struct list lists[KEYS_COUNT_MAX];
    uint32_t keys_count;
    uint32_t live[KEYS_LIVE_COUNT];
    struct client clients[CLIENTS_COUNT];
    struct client late[64]; /* of unknown outcome: may still take effect */
    uint32_t late_count;
    uint32_t invoked_count;
    uint32_t faults_count;
};

static bool chance(struct world *world, uint32_t percent)
{
    return random_below(&world->random, 100) < percent;
}

static void record(struct world *world, const struct client *client, enum history_type type)
{
    char why[HISTORY_WHY_BYTES];
    struct history_event event = {.type = type,
                                  .function = HISTORY_TXN,
                                  .time_ns = ++world->now_ns,
                                  .process = client->process,
                                  .ops = client->ops,
                                  .ops_count = client->ops_count};
    cr_assert_eq(history_append(world->history, &event, why), OST_OK, "%s", why);
}

static void client_invoke(struct world *world, struct client *client)
{
    client->ops_count = 1 + (uint32_t)random_below(&world->random, OPS_COUNT_MAX);
    client->next_op = 0;
    client->refused = false;
    bool read_only = chance(world, 30);
    for (uint32_t i = 0; i < client->ops_count; i++) {
        uint32_t slot = (uint32_t)random_below(&world->random, KEYS_LIVE_COUNT);
        if (world->lists[world->live[slot]].count >= KEY_APPENDS_MAX) {
            cr_assert_lt(world->keys_count, KEYS_COUNT_MAX);
            world->live[slot] = world->keys_count++;
        }
        client->ops[i] = (struct history_op){.key = world->live[slot]};
        if (read_only || chance(world, 50))
            continue;
        client->ops[i].action = HISTORY_OP_APPEND;
        client->ops[i].value = world->value_next++;
    }
    if (world->fault == FAULT_LOST_UPDATE && !read_only) {
        client->ops_count = 2; /* read a key and append to it */
        client->ops[0] = (struct history_op){.key = client->ops[0].key};
        client->ops[1] = (struct history_op){
            .action = HISTORY_OP_APPEND, .key = client->ops[0].key, .value = world->value_next++};
    }
    client->phase = PHASE_INVOKED;
    record(world, client, HISTORY_INVOKE);
    world->invoked_count++;
}

/* The list as it was with `count` elements, and behind it what the transaction itself appended. */
static void op_read(struct world *world, struct client *client, uint32_t op_index, uint32_t count,
                    bool with_own)
{
    struct history_op *op = &client->ops[op_index];
    const struct list *list = &world->lists[op->key];
    int64_t *elements = arena_alloc(&world->arena, (count + OPS_COUNT_MAX + 1) * sizeof *elements);
    memcpy(elements, list->elements, count * sizeof *elements);
    for (uint32_t i = 0; i < op_index && with_own; i++)
        if (client->ops[i].action == HISTORY_OP_APPEND && client->ops[i].key == op->key)
            elements[count++] = client->ops[i].value;
    if (world->fault == FAULT_REORDER && count >= 2 && chance(world, 2)) {
        int64_t last = elements[count - 1];
        elements[count - 1] = elements[count - 2];
        elements[count - 2] = last;
        world->faults_count++;
    }
    if (world->fault == FAULT_GARBAGE && chance(world, 1)) {
        elements[count++] = -1;
        world->faults_count++;
    }
    op->found = HISTORY_LIST;
    op->list = elements;
    op->list_count = count;
}

static void op_append(struct world *world, const struct history_op *op)
{
    struct list *list = &world->lists[op->key];
    if (world->fault == FAULT_LOST_APPEND && chance(world, 1)) {
        world->faults_count++;
        return;
    }
    list->elements[list->count++] = op->value;
    if (world->fault == FAULT_DUPLICATE && chance(world, 1)) {
        list->elements[list->count++] = op->value;
        world->faults_count++;
    }
}

static bool is_read_only(const struct client *client)
{
    for (uint32_t i = 0; i < client->ops_count; i++)
        if (client->ops[i].action == HISTORY_OP_APPEND)
            return false;
    return true;
}

static void client_apply_all(struct world *world, struct client *client)
{
    bool stale = world->fault == FAULT_STALE_READ && is_read_only(client) && chance(world, 20);
    world->faults_count += stale;
    for (uint32_t i = 0; i < client->ops_count; i++) {
        const struct list *list = &world->lists[client->ops[i].key];
        if (client->ops[i].action == HISTORY_OP_APPEND)
            op_append(world, &client->ops[i]);
        else
            op_read(world, client, i, stale ? list->seen_count[0] : list->count, false);
    }
}

static void client_snapshot(struct world *world, struct client *client)
{
    for (uint32_t i = 0; i < client->ops_count; i++) {
        client->version[i] = world->lists[client->ops[i].key].count;
        if (client->ops[i].action == HISTORY_OP_READ)
            op_read(world, client, i, client->version[i], true);
    }
}

/* Under snapshot isolation the first to commit wins. */
static void client_commit(struct world *world, struct client *client)
{
    for (uint32_t i = 0; i < client->ops_count; i++)
        if (client->ops[i].action == HISTORY_OP_APPEND &&
            world->lists[client->ops[i].key].count != client->version[i]) {
            client->refused = world->fault == FAULT_WRITE_SKEW;
            world->faults_count++;
        }
    for (uint32_t i = 0; i < client->ops_count && !client->refused; i++)
        if (client->ops[i].action == HISTORY_OP_APPEND)
            op_append(world, &client->ops[i]);
}

/* The client's operation goes on at the store. */
static void client_advance(struct world *world, struct client *client)
{
    bool snapshot = world->fault == FAULT_LOST_UPDATE || world->fault == FAULT_WRITE_SKEW;
    if (client->phase == PHASE_READ) {
        client_commit(world, client);
        client->phase = PHASE_DONE;
    } else if (snapshot) {
        client_snapshot(world, client);
        client->phase = PHASE_READ;
    } else if (world->fault == FAULT_FRACTURED) {
        struct history_op *op = &client->ops[client->next_op];
        if (op->action == HISTORY_OP_APPEND)
            op_append(world, op);
        else
            op_read(world, client, client->next_op, world->lists[op->key].count, false);
        if (++client->next_op == client->ops_count)
            client->phase = PHASE_DONE;
        world->faults_count++;
    } else {
        client_apply_all(world, client);
        client->phase = PHASE_DONE;
    }
}

static void client_complete(struct world *world, struct client *client)
{
    enum history_type type = client->refused ? HISTORY_FAIL : HISTORY_OK;
    if (world->fault == FAULT_ABORTED_READ && chance(world, 2)) {
        type = HISTORY_FAIL;
        world->faults_count++;
    }
    record(world, client, type);
    client->phase = PHASE_IDLE;
}

/* The client gives up: now, later or never its operation takes effect. */
static void client_lose(struct world *world, struct client *client)
{
    if (world->late_count < 64 && client->phase == PHASE_INVOKED && client->next_op == 0)
        world->late[world->late_count++] = *client;
    if (chance(world, 70))
        record(world, client, HISTORY_INFO);
    client->phase = PHASE_IDLE;
    client->process = world->process_next++;
}

static void world_step(struct world *world)
{
    struct client *client = &world->clients[random_below(&world->random, CLIENTS_COUNT)];
    if (world->late_count > 0 && chance(world, 2)) {
        struct client *late = &world->late[random_below(&world->random, world->late_count)];
        if (chance(world, 50)) {
            while (late->phase != PHASE_DONE)
                client_advance(world, late);
        }
        *late = world->late[--world->late_count];
        return;
    }
    if (client->phase != PHASE_IDLE && chance(world, 1))
        client_lose(world, client);
    else if (client->phase == PHASE_IDLE)
        client_invoke(world, client);
    else if (client->phase == PHASE_DONE)
        client_complete(world, client);
    else if (chance(world, 60))
        client_advance(world, client);
}

static struct world *world_run(enum fault fault, uint64_t seed, uint32_t transactions_count)
{
    struct world *world = calloc(1, sizeof *world);
    random_init(&world->random, seed);
    arena_init(&world->arena);
    world->history = history_new();
    world->fault = fault;
    world->value_next = 1;
    for (uint32_t i = 0; i < KEYS_LIVE_COUNT; i++)
        world->live[i] = world->keys_count++;
    for (uint32_t i = 0; i < CLIENTS_COUNT; i++)
        world->clients[i].process = world->process_next++;
    for (uint32_t step = 0; world->invoked_count < transactions_count; step++) {
        world_step(world);
        for (uint32_t i = 0; i < world->keys_count && step % STALE_STEPS_COUNT == 0; i++) {
            struct list *list = &world->lists[i];
            list->seen_count[0] = list->seen_count[1];
            list->seen_count[1] = list->count;
        }
    }
    return world;
}

static void world_free(struct world *world)
{
    history_free(world->history);
    arena_fini(&world->arena);
    free(world);
}

static struct check_result judge(enum fault fault, uint64_t seed, bool ignore_realtime)
{
    struct world *world = world_run(fault, seed, 2000);
    struct serializability_check_options options = {.ignore_realtime = ignore_realtime,
                                                    .ignore_process = ignore_realtime};
    struct check_result result;
    serializability_check(world->history, &options, &result);
    cr_assert_eq(world->faults_count > 0, fault != FAULT_NONE);
    world_free(world);
    return result;
}

/* Each run must show one of the names, which are separated by blanks. */
static void demand(enum fault fault, const char *names)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct check_result result = judge(fault, seed, false);
        struct check_result wanted;
        bool found = false;
        char names_found[CHECK_NAMES_BYTES];
        memcpy(names_found, result.names, sizeof names_found);
        check_result_init(&wanted);
        (void)snprintf(wanted.names, sizeof wanted.names, "%s", names);
        for (char *name = strtok(result.names, " "); name; name = strtok(NULL, " "))
            found = found || check_result_has(&wanted, name);
        cr_assert_eq(result.verdict, CHECK_VIOLATION, "seed %lu", seed);
        cr_assert(found, "seed %lu: %s: %s", seed, names_found, result.explanation);
    }
}

Test(check_random, a_serial_store_passes)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct check_result result = judge(FAULT_NONE, seed, false);
        cr_assert_eq(result.verdict, CHECK_OK, "seed %lu: %s: %s", seed, result.names,
                     result.explanation);
        cr_assert_gt(result.unknown_count, 10);
    }
}

Test(check_random, lost_update)
{
    demand(FAULT_LOST_UPDATE, "lost-update");
}

Test(check_random, write_skew)
{
    demand(FAULT_WRITE_SKEW, "G2-item");
}

Test(check_random, stale_reads_are_serializable_but_not_strictly)
{
    demand(FAULT_STALE_READ, "G-single-realtime G-single-process");
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct check_result result = judge(FAULT_STALE_READ, seed, true);
        cr_assert_eq(result.verdict, CHECK_OK, "seed %lu: %s: %s", seed, result.names,
                     result.explanation);
    }
}

Test(check_random, aborted_reads)
{
    demand(FAULT_ABORTED_READ, "G1a");
}

Test(check_random, a_lost_append)
{
    demand(FAULT_LOST_APPEND, "G-single G-single-realtime G-single-process G0 internal");
}

Test(check_random, fractured_transactions)
{
    demand(FAULT_FRACTURED, "G-single G0 G1c");
}

Test(check_random, duplicates)
{
    demand(FAULT_DUPLICATE, "duplicate-elements");
}

Test(check_random, reordered_reads)
{
    demand(FAULT_REORDER, "incompatible-order");
}

Test(check_random, garbage)
{
    demand(FAULT_GARBAGE, "garbage-read");
}

/* Registers: the same store, with a list's last element as the register's value. */

static struct check_result judge_registers(enum fault fault, uint64_t seed,
                                           uint32_t transactions_count)
{
    struct world *world = world_run(fault, seed, transactions_count);
    struct history *history = history_new();
    struct check_result result;
    char why[HISTORY_WHY_BYTES];
    for (size_t i = 0; i < history_events_count(world->history); i++) {
        struct history_event event = *history_event(world->history, i);
        struct history_op ops[OPS_COUNT_MAX];
        memcpy(ops, event.ops, event.ops_count * sizeof *ops);
        for (uint32_t j = 0; j < event.ops_count; j++) {
            struct history_op *op = &ops[j];
            if (op->action == HISTORY_OP_APPEND)
                op->action = HISTORY_OP_WRITE;
            if (op->found != HISTORY_LIST)
                continue;
            op->found = op->list_count > 0 ? HISTORY_NUMBER : HISTORY_NOTHING;
            op->value = op->list_count > 0 ? op->list[op->list_count - 1] : 0;
        }
        event.ops = ops;
        cr_assert_eq(history_append(history, &event, why), OST_OK, "%s", why);
    }
    register_check(history, NULL, &result);
    history_free(history);
    world_free(world);
    return result;
}

static void demand_of_registers(enum fault fault, const char *name)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct check_result result = judge_registers(fault, seed, 2000);
        cr_assert_eq(result.verdict, CHECK_VIOLATION, "seed %lu: %s: %s", seed, result.names,
                     result.explanation);
        cr_assert(check_result_has(&result, name), "seed %lu: %s: %s", seed, result.names,
                  result.explanation);
    }
}

Test(check_random, registers_of_a_serial_store_pass)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct check_result result = judge_registers(FAULT_NONE, seed, 2000);
        cr_assert_eq(result.verdict, CHECK_OK, "seed %lu: %s: %s", seed, result.names,
                     result.explanation);
    }
}

Test(check_random, registers_with_faults)
{
    demand_of_registers(FAULT_STALE_READ, "nonlinearizable");
    demand_of_registers(FAULT_LOST_APPEND, "nonlinearizable");
    demand_of_registers(FAULT_LOST_UPDATE, "nonlinearizable");
    demand_of_registers(FAULT_REORDER, "nonlinearizable");
    demand_of_registers(FAULT_ABORTED_READ, "aborted-read");
    demand_of_registers(FAULT_GARBAGE, "garbage-read");
}

/* One register, many clients, and a tenth of all outcomes unknown, half of which take effect. */

#define HOT_CLIENTS_COUNT 30u

struct hot {
    struct random random;
    struct history *history;
    struct history_op register_now; /* as a read shows it */
    struct history_op ops[HOT_CLIENTS_COUNT];
    uint64_t processes[HOT_CLIENTS_COUNT];
    enum phase phases[HOT_CLIENTS_COUNT];
    int64_t value_next;
    uint64_t process_next;
};

static void hot_record(struct hot *hot, uint32_t client, enum history_type type)
{
    char why[HISTORY_WHY_BYTES];
    struct history_event event = {.type = type,
                                  .function = HISTORY_TXN,
                                  .process = hot->processes[client],
                                  .ops = &hot->ops[client],
                                  .ops_count = 1};
    cr_assert_eq(history_append(hot->history, &event, why), OST_OK, "%s", why);
}

static void hot_step(struct hot *hot, uint32_t cas_percent, bool stale)
{
    uint32_t client = (uint32_t)random_below(&hot->random, HOT_CLIENTS_COUNT);
    struct history_op *op = &hot->ops[client];
    if (hot->phases[client] == PHASE_IDLE) {
        *op = (struct history_op){0};
        if (random_below(&hot->random, 2)) {
            op->action = HISTORY_OP_WRITE;
            op->value = hot->value_next++;
        }
        if (random_below(&hot->random, 100) < cas_percent && hot->register_now.found) {
            op->action = HISTORY_OP_CAS;
            op->expected = hot->register_now.value;
            op->value = hot->value_next++;
        }
        hot_record(hot, client, HISTORY_INVOKE);
        hot->phases[client] = PHASE_INVOKED;
        return;
    }
    bool lost = random_below(&hot->random, 20) == 0;
    bool refused = false;
    if (hot->phases[client] == PHASE_INVOKED && (!lost || random_below(&hot->random, 2))) {
        refused = op->action == HISTORY_OP_CAS && op->expected != hot->register_now.value;
        if (op->action != HISTORY_OP_READ && !refused)
            hot->register_now = (struct history_op){.found = HISTORY_NUMBER, .value = op->value};
        else if (op->action == HISTORY_OP_READ && !stale)
            *op = hot->register_now;
        hot->phases[client] = PHASE_DONE;
    }
    if (!lost && !refused && random_below(&hot->random, 2))
        return;
    hot_record(hot, client, lost ? HISTORY_INFO : refused ? HISTORY_FAIL : HISTORY_OK);
    if (lost)
        hot->processes[client] = hot->process_next++;
    hot->phases[client] = PHASE_IDLE;
}

static struct check_result judge_hot(uint64_t seed, uint32_t cas_percent, bool stale)
{
    const uint32_t steps_count = 5000;
    struct hot hot = {.history = history_new(), .value_next = 1};
    struct check_result result;
    random_init(&hot.random, seed);
    for (uint32_t i = 0; i < HOT_CLIENTS_COUNT; i++)
        hot.processes[i] = hot.process_next++;
    for (uint32_t step = 0; step < steps_count; step++)
        hot_step(&hot, cas_percent, stale && step == steps_count / 2);
    register_check(hot.history, NULL, &result);
    history_free(hot.history);
    return result;
}

Test(check_random, a_hot_register_with_many_unknown_outcomes)
{
    uint32_t violations_count = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint32_t cas_percent = seed % 2 ? 0 : 40;
        struct check_result result = judge_hot(seed, cas_percent, false);
        cr_assert_eq(result.verdict, CHECK_OK, "seed %lu: %s: %s", seed, result.names,
                     result.explanation);
        cr_assert_gt(result.unknown_count, 50);
        /* One read in the middle that shows nothing, where that is not what is there. */
        violations_count += judge_hot(seed, cas_percent, true).verdict == CHECK_VIOLATION;
    }
    cr_assert_gt(violations_count, 2);
}

/* How long it takes is printed, not judged. */
static double seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

Test(check_random, ten_thousand_transactions)
{
    struct world *world = world_run(FAULT_NONE, 1, 10000);
    struct check_result result;
    double start = seconds_now();
    serializability_check(world->history, NULL, &result);
    double end = seconds_now();
    cr_assert_eq(result.verdict, CHECK_OK, "%s: %s", result.names, result.explanation);
    cr_log_info("serializability_check: 10000 transactions in %.0f ms", 1000 * (end - start));
    world_free(world);
    world = world_run(FAULT_LOST_UPDATE, 1, 10000);
    start = seconds_now();
    serializability_check(world->history, NULL, &result);
    end = seconds_now();
    cr_assert_eq(result.verdict, CHECK_VIOLATION);
    cr_log_info("the same with lost updates: %.0f ms", 1000 * (end - start));
    world_free(world);
    start = seconds_now();
    result = judge_registers(FAULT_NONE, 1, 10000);
    end = seconds_now();
    cr_assert_eq(result.verdict, CHECK_OK);
    cr_log_info("register_check and its history: %.0f ms", 1000 * (end - start));
}
