/* workload_register.c: one key at a time: a get and a put that are transactions of their own, and a
 * read with a write behind it in one. */
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

static void register_draw(struct actor *actor)
{
    struct random *random = actor_random(actor);
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
        op->found = HISTORY_NOTHING;
        op->value = op->action == HISTORY_OP_READ ? 0 : workload_value_new(actor);
    }
    actor_record(actor, &(struct history_event){.type = HISTORY_INVOKE,
                                                .function = HISTORY_TXN,
                                                .ops = actor->ops,
                                                .ops_count = actor->ops_count});
}

static void read_done(struct actor *actor, const struct operation *done)
{
    struct history_op *op = &actor->ops[0];
    int64_t *numbers;
    uint32_t count;
    if (done->status == OST_NOT_FOUND)
        return;
    if (!workload_numbers_unpack(done->result_value, &actor->arena, &numbers, &count) ||
        count != 1) {
        sim_fail(actor->client->sim, "garbage-value", "key %lld holds %zu bytes",
                 (long long)op->key, done->result_value.bytes_count);
        return;
    }
    op->found = HISTORY_NUMBER;
    op->value = numbers[0];
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
