/* workload_append.c: lists of numbers. A read shows the whole list; an append reads it and puts it
 * back, longer by one. */
#include "base/memory.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

static void append_draw(struct actor *actor)
{
    const struct plan *plan = &actor->client->sim->plan;
    struct random *random = actor_random(actor);
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

static bool append_step(struct actor *actor, const struct operation *done)
{
    if (done)
        append_done(actor, done);
    if (actor->place == actor->ops_count)
        return false;
    actor_get(actor, actor->ops[actor->place].key, actor->for_update[actor->place]);
    return true;
}

const struct workload workload_append = {.name = "append",
                                         .draw = append_draw,
                                         .invoke = append_invoke,
                                         .step = append_step,
                                         .complete = actor_complete_ops};
