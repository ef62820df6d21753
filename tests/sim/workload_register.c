/* workload_register.c: one key at a time: a get, a put, a compare-and-set that are transactions of
 * their own, and a read with a write behind it in one. And intervals of keys, cleared or scanned.
 */
#include "tests/sim/audit.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

#define CLEARED_KEYS_MAX 4u
#define SCAN_KEYS_MAX    10u

/* Often of the key that it read last, and then for what it saw there: else none would match. */
static void compare_draw(struct actor *actor)
{
    struct random *random = actor_random(actor);
    bool is_seen = actor->has_seen && random_below(random, 4) > 0;
    struct history_op *op = &actor->ops[0];
    *op = (struct history_op){.action = HISTORY_OP_CAS, .expects_absent = true};
    op->key = is_seen ? actor->seen_key : WORKLOAD_REG_KEY + (int64_t)workload_key_draw(actor);
    if (is_seen && actor->has_seen_value) {
        op->expects_absent = false;
        op->expected = actor->seen_value;
    }
    actor->ops_count = 1;
    actor->is_single = random_below(random, 2) == 0;
}

/* Half of those in a transaction write one of the keys again. */
static void clear_draw(struct actor *actor)
{
    struct random *random = actor_random(actor);
    actor_interval_draw(actor, WORKLOAD_REG_KEY, 0, CLEARED_KEYS_MAX);
    actor->ops_count = actor->interval.count;
    for (uint32_t index = 0; index < actor->ops_count; index++)
        actor->ops[index].action = HISTORY_OP_DELETE;
    actor->is_single = random_below(random, 2) == 0;
    actor->has_writes = true;
    if (actor->is_single || random_below(random, 2) == 0)
        return;
    int64_t key = actor->ops[random_below(random, actor->ops_count)].key;
    actor->ops[actor->ops_count++] = (struct history_op){.action = HISTORY_OP_WRITE, .key = key};
}

static void updates_draw(struct actor *actor)
{
    struct random *random = actor_random(actor);
    uint64_t drawn = random_below(random, 10);
    if (drawn < 4) {
        compare_draw(actor);
    } else if (drawn < 7) {
        clear_draw(actor);
    } else {
        actor_interval_draw(actor, WORKLOAD_REG_KEY, 0, SCAN_KEYS_MAX);
        actor->ops_count = actor->interval.count;
        actor->is_scan = true;
        actor->is_single = random_below(random, 2) == 0;
    }
}

static void register_draw(struct actor *actor)
{
    struct random *random = actor_random(actor);
    const struct plan *plan = &actor->client->sim->plan;
    if (plan->updates_percent && random_below(random, 100) < plan->updates_percent) {
        updates_draw(actor);
        return;
    }
    int64_t key = WORKLOAD_REG_KEY + (int64_t)workload_key_draw(actor);
    uint64_t drawn = random_below(random, 10);
    actor->ops[0] = (struct history_op){.action = HISTORY_OP_READ, .key = key};
    actor->ops[1] = (struct history_op){.action = HISTORY_OP_WRITE, .key = key};
    actor->ops_count = 1;
    actor->is_single = true;
    if (drawn >= 4) {
        actor->has_writes = true;
        if (drawn < 7) {
            actor->ops[0].action = HISTORY_OP_WRITE;
        } else {
            actor->is_single = false;
            actor->ops_count = 2;
        }
    }
    actor->for_update[0] = random_below(random, 2) == 0;
}

static void register_invoke(struct actor *actor)
{
    for (uint32_t index = 0; index < actor->ops_count; index++) {
        struct history_op *op = &actor->ops[index];
        bool is_written = op->action == HISTORY_OP_WRITE || op->action == HISTORY_OP_CAS;
        op->found = HISTORY_NOTHING;
        op->value = is_written ? workload_value_new(actor) : 0;
        actor->has_writes = actor->has_writes || op->action == HISTORY_OP_CAS;
    }
    actor_record(actor, &(struct history_event){.type = HISTORY_INVOKE,
                                                .function = HISTORY_TXN,
                                                .ops = actor->ops,
                                                .ops_count = actor->ops_count});
}

static bool number_unpack(struct actor *actor, int64_t key, struct bytes value, int64_t *out_number)
{
    int64_t *numbers;
    uint32_t count;
    if (!workload_numbers_unpack(value, &actor->arena, &numbers, &count) || count != 1) {
        sim_fail(actor->client->sim, "garbage-value", "key %lld holds %zu bytes", (long long)key,
                 value.bytes_count);
        return false;
    }
    *out_number = numbers[0];
    return true;
}

static bool number_read(struct actor *actor, struct history_op *op, struct bytes value)
{
    if (!number_unpack(actor, op->key, value, &op->value))
        return false;
    op->found = HISTORY_NUMBER;
    return true;
}

static void read_done(struct actor *actor, const struct operation *done)
{
    struct history_op *op = &actor->ops[0];
    actor->has_seen = true;
    actor->seen_key = op->key;
    actor->has_seen_value =
        done->status != OST_NOT_FOUND && number_read(actor, op, done->result_value);
    actor->seen_value = op->value;
}

static bool compare_step(struct actor *actor, const struct operation *done)
{
    const struct history_op *op = &actor->ops[0];
    char text[WORKLOAD_KEY_BYTES];
    if (!done) {
        struct bytes expected = workload_numbers_pack(&op->expected, 1, &actor->arena);
        actor_submit(actor,
                     operation_new_compare(workload_key(&actor->client->sim->plan, op->key, text),
                                           op->expects_absent ? NULL : &expected,
                                           workload_numbers_pack(&op->value, 1, &actor->arena)));
        return true;
    }
    if (done->status != OST_CONFLICT)
        return false;
    actor->is_mismatch = true;
    actor->has_writes = false;
    actor->has_seen = true;
    actor->seen_key = op->key;
    actor->seen_value = 0;
    actor->has_seen_value = done->result_value.bytes_count > 0 &&
                            number_unpack(actor, op->key, done->result_value, &actor->seen_value);
    return false;
}

/* What the audit writes into each range may lie between. */
static uint32_t probes_count(const struct actor *actor)
{
    return actor->client->sim->audit->ranges_count;
}

static bool interval_step(struct actor *actor, const struct operation *done)
{
    if (!done) {
        enum operation_type scan = actor->is_single ? OPERATION_SCAN : OPERATION_TXN_SCAN;
        actor_submit(
            actor, actor_interval_operation(actor, actor->is_scan ? scan : OPERATION_DELETE_RANGE));
        return true;
    }
    if (actor->is_scan) {
        actor_interval_read(actor, done, number_read);
    } else if (done->result_rows_count > actor->interval.count + probes_count(actor)) {
        sim_fail(actor->client->sim, "deleted-too-many", "%u keys of an interval of %u",
                 done->result_rows_count, actor->interval.count);
    } else if (actor->ops_count > actor->interval.count) {
        const struct history_op *op = &actor->ops[actor->interval.count];
        actor_put(actor, op->key, workload_numbers_pack(&op->value, 1, &actor->arena));
    }
    return false;
}

static bool single_step(struct actor *actor, const struct operation *done)
{
    const struct history_op *op = &actor->ops[0];
    if (done) {
        if (op->action == HISTORY_OP_READ)
            read_done(actor, done);
        return false;
    }
    char text[WORKLOAD_KEY_BYTES];
    struct bytes key = workload_key(&actor->client->sim->plan, op->key, text);
    struct operation *operation;
    if (op->action == HISTORY_OP_READ) {
        operation = operation_new(OPERATION_GET, key, bytes_of(NULL, 0));
    } else {
        operation = operation_new(OPERATION_WRITE, key,
                                  workload_numbers_pack(&op->value, 1, &actor->arena));
        operation->write_kind = WRITE_PUT;
    }
    actor_submit(actor, operation);
    return true;
}

static bool register_step(struct actor *actor, const struct operation *done)
{
    if (actor->interval.count > 0)
        return interval_step(actor, done);
    if (actor->ops[0].action == HISTORY_OP_CAS)
        return compare_step(actor, done);
    if (actor->is_single)
        return single_step(actor, done);
    if (!done) {
        actor_get(actor, actor->ops[0].key, actor->for_update[0]);
        return true;
    }
    read_done(actor, done);
    actor_put(actor, actor->ops[1].key,
              workload_numbers_pack(&actor->ops[1].value, 1, &actor->arena));
    return false;
}

const struct workload workload_register = {.name = "register",
                                           .draw = register_draw,
                                           .invoke = register_invoke,
                                           .step = register_step,
                                           .complete = actor_complete_ops};
