#include "cmd/workload_generator.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

const char *workload_kind_name(enum workload_kind kind)
{
    return kind == WORKLOAD_LIST_APPEND ? "list-append" : "register";
}

void workload_generator_init(struct workload_generator *generator, enum workload_kind kind,
                             uint32_t keys_count, uint64_t seed)
{
    ASSERT(keys_count > 0 && keys_count <= WORKLOAD_KEYS_COUNT_MAX);
    *generator = (struct workload_generator){.kind = kind, .keys_count = keys_count};
    random_init(&generator->random, seed);
    generator->slots = memory_alloc_zeroed(keys_count, sizeof *generator->slots);
    for (uint32_t i = 0; i < keys_count; i++)
        generator->slots[i].key = i;
}

void workload_generator_fini(struct workload_generator *generator)
{
    free(generator->slots);
    *generator = (struct workload_generator){0};
}

static struct workload_slot *slot_choose(struct workload_generator *generator)
{
    uint64_t bound = generator->keys_count;
    while (bound > 1 && random_below(&generator->random, 2) == 0)
        bound = (bound + 1) / 2;
    return &generator->slots[random_below(&generator->random, bound)];
}

static void slot_use(struct workload_generator *generator, struct workload_slot *slot,
                     uint32_t uses_max)
{
    if (++slot->uses_count == uses_max)
        *slot = (struct workload_slot){.key = slot->key + generator->keys_count};
}

static struct history_op next_list_op(struct workload_generator *generator)
{
    struct workload_slot *slot = slot_choose(generator);
    struct history_op op = {.action = HISTORY_OP_READ, .key = slot->key};
    if (random_below(&generator->random, 2) == 0)
        return op;
    op.action = HISTORY_OP_APPEND;
    op.value = ++generator->value_last;
    slot_use(generator, slot, WORKLOAD_LIST_COUNT_MAX);
    return op;
}

static struct history_op next_register_op(struct workload_generator *generator)
{
    struct workload_slot *slot = slot_choose(generator);
    struct history_op op = {.key = slot->key};
    uint64_t die = random_below(&generator->random, 10);
    if (die < 4) {
        op.action = HISTORY_OP_READ;
    } else {
        op.action = die < 7 || !slot->is_known ? HISTORY_OP_WRITE : HISTORY_OP_CAS;
        op.value = ++generator->value_last;
        op.expected = op.action == HISTORY_OP_CAS ? slot->value : 0;
    }
    slot_use(generator, slot, WORKLOAD_REGISTER_USES);
    return op;
}

uint32_t workload_generator_next(struct workload_generator *generator,
                                 struct history_op out_ops[WORKLOAD_OPS_COUNT_MAX])
{
    if (generator->kind == WORKLOAD_REGISTER) {
        out_ops[0] = next_register_op(generator);
        return 1;
    }
    uint32_t count = 1 + (uint32_t)random_below(&generator->random, WORKLOAD_OPS_COUNT_MAX);
    for (uint32_t i = 0; i < count; i++)
        out_ops[i] = next_list_op(generator);
    return count;
}

void workload_generator_saw(struct workload_generator *generator, int64_t key, int64_t value)
{
    struct workload_slot *slot = &generator->slots[key % generator->keys_count];
    if (slot->key != key)
        return; /* it has been retired */
    slot->is_known = true;
    slot->value = value;
}
