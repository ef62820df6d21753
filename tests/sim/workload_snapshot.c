/* workload_snapshot.c: reads of snapshots: fresh, stale, and of timestamps that commits or other
 * snapshots have had; by gets and scans, of one kind of key or of all; from leaders or from any
 * replica. Each key that was read goes to the checker of snapshots. What is fresh and of one kind
 * is a transaction of that kind as well, which strict serializability or the bank judges. */
#include "base/memory.h"
#include "proto/write_set.h"
#include "tests/check/snapshot_check.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

#include <inttypes.h>
#include <stdio.h>

static struct sim *sim_of(const struct actor *actor)
{
    return actor->client->sim;
}

void workload_snapshot_remember(struct sim *sim, timestamp_t timestamp)
{
    sim->timestamps[sim->timestamps_count++ % SIM_TIMESTAMPS_COUNT] = timestamp;
}

/* --- The script
 * ------------------------------------------------------------------------------------- */

static int64_t any_key_draw(struct actor *actor)
{
    static const int64_t kinds[] = {WORKLOAD_APPEND_KEY, WORKLOAD_REG_KEY, WORKLOAD_ACCOUNT_KEY};
    int64_t kind = kinds[random_below(actor_random(actor), 3)];
    uint64_t key = workload_key_draw(actor);
    if (kind == WORKLOAD_ACCOUNT_KEY)
        key %= workload_accounts_count(&sim_of(actor)->plan);
    return kind + (int64_t)key;
}

/* Keys that are read one by one; no kind: of all kinds. */
static void draw_gets(struct actor *actor, const struct workload *kind)
{
    struct random *random = actor_random(actor);
    uint64_t count = kind == &workload_register
                         ? 1
                         : random_between(random, 1, sim_of(actor)->plan.micro_operations_max);
    actor->ops_count = (uint32_t)count;
    for (uint32_t index = 0; index < actor->ops_count; index++) {
        struct history_op *op = &actor->ops[index];
        op->action = HISTORY_OP_READ;
        op->key = !kind ? any_key_draw(actor)
                        : (kind == &workload_append ? WORKLOAD_APPEND_KEY : WORKLOAD_REG_KEY) +
                              (int64_t)workload_key_draw(actor);
    }
}

/* As of when, and how old that may be. */
static void draw_time(struct actor *actor)
{
    struct sim *sim = sim_of(actor);
    struct random *random = actor_random(actor);
    struct actor_snapshot *snapshot = &actor->snapshot;
    uint64_t drawn = random_below(random, 4);
    if (drawn == 0)
        snapshot->staleness_ms_max = (uint32_t)random_between(random, 1, 2000);
    uint64_t count = sim->timestamps_count;
    if (drawn == 1 && count > 0) {
        uint64_t kept = count < SIM_TIMESTAMPS_COUNT ? count : SIM_TIMESTAMPS_COUNT;
        snapshot->named = sim->timestamps[random_below(random, kept)] - random_below(random, 2);
    }
}

static void snapshot_draw(struct actor *actor)
{
    static const struct workload *const kinds[] = {&workload_append, &workload_register,
                                                   &workload_bank, NULL};
    struct random *random = actor_random(actor);
    struct actor_snapshot *snapshot = &actor->snapshot;
    *snapshot = (struct actor_snapshot){.kind = kinds[random_below(random, 4)],
                                        .any_replica = random_below(random, 2) == 0,
                                        .reverse = random_below(random, 2) == 0};
    actor->is_single = true;
    draw_time(actor);
    if (snapshot->kind == &workload_bank) {
        workload_bank_draw_read(actor, random_below(random, 2) == 0);
        return;
    }
    draw_gets(actor, snapshot->kind);
    if (!snapshot->kind) {
        actor->is_scan = random_below(random, 2) == 0;
        snapshot->rows_count_max = actor->is_scan && random_below(random, 2) == 0
                                       ? (uint32_t)random_between(random, 1, 20)
                                       : 0;
    }
}

/* Only what is strict is a transaction among the others. */
static bool is_recorded(const struct actor *actor)
{
    const struct actor_snapshot *snapshot = &actor->snapshot;
    return snapshot->kind && snapshot->named == 0 && snapshot->staleness_ms_max == 0;
}

static void snapshot_invoke(struct actor *actor)
{
    actor->snapshot.timestamp = 0;
    if (is_recorded(actor))
        actor->snapshot.kind->invoke(actor);
    for (uint32_t index = 0; index < actor->ops_count; index++)
        actor->ops[index].value = actor->snapshot.kind == &workload_bank ? WORKLOAD_BANK_EACH : 0;
}

static void snapshot_complete(struct actor *actor, enum history_type type, const char *error)
{
    actor->snapshot.kind->complete(actor, type, error);
}

/* --- What is read
 * ----------------------------------------------------------------------------------- */

static void read_tell(struct actor *actor, int64_t key, const struct bytes *value,
                      timestamp_t version)
{
    char text[WORKLOAD_KEY_BYTES], where[64];
    snprintf(where, sizeof where, "client %u (%s)", actor->client->number,
             actor->snapshot.any_replica ? "any replica" : "leaders");
    snapshot_check_read(sim_of(actor)->snapshots, actor->snapshot.timestamp,
                        workload_key(&sim_of(actor)->plan, key, text), value, version, where);
}

/* Into the script, for its kind's history. */
static void read_keep(struct actor *actor, uint32_t place, const struct bytes *value)
{
    struct history_op *op = &actor->ops[place];
    int64_t *numbers = NULL;
    uint32_t count = 0;
    if (value &&
        (!workload_numbers_unpack(*value, &actor->arena, &numbers, &count) || count == 0)) {
        sim_fail(sim_of(actor), "garbage-value", "key %lld holds %zu bytes", (long long)op->key,
                 value->bytes_count);
        return;
    }
    const struct workload *kind = actor->snapshot.kind;
    if (kind == &workload_append) {
        op->found = value ? HISTORY_LIST : HISTORY_NOTHING;
        op->list = numbers;
        op->list_count = count;
    } else if (kind == &workload_register) {
        op->found = value ? HISTORY_NUMBER : HISTORY_NOTHING;
        op->value = value ? numbers[0] : 0;
    } else if (kind == &workload_bank && value) {
        op->value = numbers[0];
    }
}

static void get_taken(struct actor *actor, const struct operation *done)
{
    const struct bytes *value = done->status == OST_OK ? &done->result_value : NULL;
    read_tell(actor, actor->ops[actor->place].key, value, done->result_version);
    read_keep(actor, actor->place, value);
    actor->place++;
}

struct scanned {
    const struct row *rows; /* in key order */
    uint32_t rows_count;
    bool has_first, has_last; /* a limit left out what is before, or behind */
};

static const struct row *row_find(const struct scanned *scanned, struct bytes key)
{
    for (uint32_t index = 0; index < scanned->rows_count; index++)
        if (bytes_equal(scanned->rows[index].key, key))
            return &scanned->rows[index];
    return NULL;
}

/* Does the scan tell about this key? */
static bool is_covered(const struct scanned *scanned, struct bytes key)
{
    if (scanned->has_first && bytes_compare(key, scanned->rows[0].key) < 0)
        return false;
    return !scanned->has_last ||
           bytes_compare(key, scanned->rows[scanned->rows_count - 1].key) <= 0;
}

static void scanned_tell(struct actor *actor, const struct scanned *scanned, int64_t first,
                         uint64_t count)
{
    for (uint64_t index = 0; index < count; index++) {
        char text[WORKLOAD_KEY_BYTES];
        int64_t key = first + (int64_t)index;
        struct bytes name = workload_key(&sim_of(actor)->plan, key, text);
        if (!is_covered(scanned, name))
            continue;
        const struct row *row = row_find(scanned, name);
        read_tell(actor, key, row ? &row->value : NULL, row ? row->version : 0);
        if (row && actor->snapshot.kind == &workload_bank)
            read_keep(actor, (uint32_t)index, &row->value);
    }
}

static void scan_taken(struct actor *actor, const struct operation *done)
{
    const struct plan *plan = &sim_of(actor)->plan;
    uint32_t count = done->result_rows_count;
    struct row *rows = arena_alloc(&actor->arena, (count + 1) * sizeof rows[0]);
    struct reader reader = reader_of(done->result_rows);
    bool reverse = actor->snapshot.reverse;
    for (uint32_t index = 0; index < count; index++) {
        int status = rows_next(&reader, &rows[reverse ? count - 1 - index : index]);
        ASSERT(status == OST_OK);
    }
    for (uint32_t index = 1; index < count; index++)
        if (bytes_compare(rows[index - 1].key, rows[index].key) >= 0)
            sim_fail(sim_of(actor), "snapshot-order", "a scan's rows are not in order");
    bool is_cut = done->result_more && count > 0;
    struct scanned scanned = {.rows = rows,
                              .rows_count = count,
                              .has_first = is_cut && reverse,
                              .has_last = is_cut && !reverse};
    if (actor->snapshot.kind != &workload_bank) {
        scanned_tell(actor, &scanned, WORKLOAD_APPEND_KEY, plan->keys);
        scanned_tell(actor, &scanned, WORKLOAD_REG_KEY, plan->keys);
    }
    scanned_tell(actor, &scanned, WORKLOAD_ACCOUNT_KEY, workload_accounts_count(plan));
    actor->place = actor->ops_count;
}

static void money_check(struct actor *actor)
{
    int64_t sum = 0;
    for (uint32_t index = 0; index < actor->ops_count; index++)
        sum += actor->ops[index].value;
    if (sum != (int64_t)actor->ops_count * WORKLOAD_BANK_EACH)
        sim_fail(sim_of(actor), "snapshot-total", "the accounts hold %lld as of %" PRIu64,
                 (long long)sum, actor->snapshot.timestamp);
}

/* --- The steps
 * -------------------------------------------------------------------------------------- */

static void ask_timestamp(struct actor *actor)
{
    struct operation *operation =
        operation_new(OPERATION_TIMESTAMP, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->staleness_ms_max = actor->snapshot.staleness_ms_max;
    actor_submit(actor, operation);
}

static void ask_rows(struct actor *actor)
{
    const struct actor_snapshot *snapshot = &actor->snapshot;
    bool is_bank = snapshot->kind == &workload_bank;
    struct operation *operation = operation_new(
        OPERATION_SCAN, bytes_of_string(is_bank ? "b" : "a"), bytes_of_string(is_bank ? "c" : "s"));
    operation->reverse = snapshot->reverse;
    operation->rows_count_max = snapshot->rows_count_max;
    operation->timestamp = snapshot->timestamp;
    operation->any_replica = snapshot->any_replica;
    actor_submit(actor, operation);
}

static void ask_value(struct actor *actor)
{
    char text[WORKLOAD_KEY_BYTES];
    struct operation *operation = operation_new(
        OPERATION_GET, workload_key(&sim_of(actor)->plan, actor->ops[actor->place].key, text),
        bytes_of(NULL, 0));
    operation->timestamp = actor->snapshot.timestamp;
    operation->any_replica = actor->snapshot.any_replica;
    actor_submit(actor, operation);
}

/* Between two reads of a snapshot others go on. */
static void ask_pause(struct actor *actor)
{
    struct operation *operation =
        operation_new(OPERATION_AFTER, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->delay_ms = (uint32_t)random_between(actor_random(actor), 1, 50);
    actor_submit(actor, operation);
}

static bool snapshot_step(struct actor *actor, const struct operation *done)
{
    struct actor_snapshot *snapshot = &actor->snapshot;
    if (!done && snapshot->named == 0) {
        ask_timestamp(actor);
        return true;
    }
    if (!done || done->type == OPERATION_TIMESTAMP) {
        snapshot->timestamp = done ? done->result_version : snapshot->named;
        workload_snapshot_remember(sim_of(actor), snapshot->timestamp);
    } else if (done->type == OPERATION_GET) {
        get_taken(actor, done);
    } else if (done->type == OPERATION_SCAN) {
        scan_taken(actor, done);
    }
    bool was_pause = done && done->type == OPERATION_AFTER;
    if (actor->place == actor->ops_count) {
        if (snapshot->kind == &workload_bank)
            money_check(actor);
        return false;
    }
    if (!was_pause && random_below(actor_random(actor), 4) == 0)
        ask_pause(actor);
    else if (actor->is_scan)
        ask_rows(actor);
    else
        ask_value(actor);
    return true;
}

const struct workload workload_snapshot = {.name = "snapshot",
                                           .draw = snapshot_draw,
                                           .invoke = snapshot_invoke,
                                           .step = snapshot_step,
                                           .complete = snapshot_complete};
