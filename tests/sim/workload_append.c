/* workload_append.c: lists of numbers. A read shows the whole list; an append reads it and puts it
 * back, longer by one. A scan reads many at once: of those that are not there, too. */
#include "base/memory.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

#include <string.h>

#define SCAN_KEYS_MAX 10u

static void append_op_draw(struct actor *actor, int64_t key)
{
    struct history_op *op = &actor->ops[actor->ops_count++];
    *op = (struct history_op){.action = HISTORY_OP_APPEND, .key = key};
    actor->has_writes = true;
}

/* An append that the scan must see, a scan, an append to what it may not have seen: phantoms at
 * either end of what two such transactions scan are write skew. */
static void scan_draw(struct actor *actor)
{
    struct random *random = actor_random(actor);
    bool is_first = random_below(random, 2) == 0;
    actor->ops_count = is_first ? 1 : 0;
    actor_interval_draw(actor, WORKLOAD_APPEND_KEY, actor->ops_count, SCAN_KEYS_MAX);
    const struct actor_interval *interval = &actor->interval;
    actor->ops_count = 0;
    if (is_first)
        append_op_draw(actor, interval->first + (int64_t)random_below(random, interval->count));
    actor->ops_count += interval->count;
    if (random_below(random, 3) > 0) {
        actor->for_update[actor->ops_count] = random_below(random, 2) == 0;
        append_op_draw(actor, interval->first + (int64_t)random_below(random, interval->count));
    }
}

static void append_draw(struct actor *actor)
{
    const struct plan *plan = &actor->client->sim->plan;
    struct random *random = actor_random(actor);
    if (plan->scans_percent && random_below(random, 100) < plan->scans_percent) {
        scan_draw(actor);
        return;
    }
    actor->ops_count = (uint32_t)random_between(random, 1, plan->micro_operations_max);
    bool only_reads = random_below(random, 10) < 3;
    for (uint32_t index = 0; index < actor->ops_count; index++) {
        struct history_op *op = &actor->ops[index];
        op->key = WORKLOAD_APPEND_KEY + (int64_t)workload_key_draw(actor);
        op->action =
            only_reads || random_below(random, 2) == 0 ? HISTORY_OP_READ : HISTORY_OP_APPEND;
        /* A shared lock first, and an exclusive one at the commit, is a way into a deadlock. */
        actor->for_update[index] = op->action == HISTORY_OP_APPEND && random_below(random, 10) < 7;
        actor->has_writes = actor->has_writes || op->action == HISTORY_OP_APPEND;
    }
}

static void append_invoke(struct actor *actor)
{
    for (uint32_t index = 0; index < actor->ops_count; index++) {
        struct history_op *op = &actor->ops[index];
        op->found = HISTORY_NOTHING;
        op->list = NULL;
        op->list_count = 0;
        if (op->action == HISTORY_OP_APPEND)
            op->value = workload_value_new(actor);
    }
    actor_record(actor, &(struct history_event){.type = HISTORY_INVOKE,
                                                .function = HISTORY_TXN,
                                                .ops = actor->ops,
                                                .ops_count = actor->ops_count});
}

static void append_done(struct actor *actor, const struct operation *done)
{
    struct history_op *op = &actor->ops[actor->place++];
    int64_t *list = NULL;
    uint32_t list_count = 0;
    if (done->status == OST_OK &&
        !workload_numbers_unpack(done->result_value, &actor->arena, &list, &list_count)) {
        sim_fail(actor->client->sim, "garbage-value", "key %lld holds %zu bytes",
                 (long long)op->key, done->result_value.bytes_count);
        return;
    }
    if (op->action == HISTORY_OP_READ) {
        op->found = done->status == OST_OK ? HISTORY_LIST : HISTORY_NOTHING;
        op->list = list;
        op->list_count = list_count;
        return;
    }
    int64_t *longer = arena_alloc(&actor->arena, (list_count + 1) * sizeof *longer);
    if (list_count > 0)
        memcpy(longer, list, list_count * sizeof *longer);
    longer[list_count] = op->value;
    actor_put(actor, op->key, workload_numbers_pack(longer, list_count + 1, &actor->arena));
}

static bool list_read(struct actor *actor, struct history_op *op, struct bytes value)
{
    int64_t *list;
    if (!workload_numbers_unpack(value, &actor->arena, &list, &op->list_count)) {
        sim_fail(actor->client->sim, "garbage-value", "key %lld holds %zu bytes",
                 (long long)op->key, value.bytes_count);
        return false;
    }
    op->found = HISTORY_LIST;
    op->list = list;
    return true;
}

static bool is_at_scan(const struct actor *actor)
{
    return actor->interval.count > 0 && actor->place == actor->interval.at;
}

static bool append_step(struct actor *actor, const struct operation *done)
{
    if (done && is_at_scan(actor)) {
        actor_interval_read(actor, done, list_read);
        actor->place += actor->interval.count;
    } else if (done) {
        append_done(actor, done);
    }
    if (actor->place == actor->ops_count)
        return false;
    if (is_at_scan(actor)) {
        actor_submit(actor, actor_interval_operation(actor, OPERATION_TXN_SCAN));
        return true;
    }
    actor_get(actor, actor->ops[actor->place].key, actor->for_update[actor->place]);
    return true;
}

const struct workload workload_append = {.name = "append",
                                         .draw = append_draw,
                                         .invoke = append_invoke,
                                         .step = append_step,
                                         .complete = actor_complete_ops};
