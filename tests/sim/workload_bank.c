/* workload_bank.c: transfers between two accounts, and reads of all of them, by a get each or by
 * scans. An account that is not there yet holds what all began with. In some plans each transfer
 * adds to a counter beside both accounts, and all counters are read by scans. */
#include "base/memory.h"
#include "proto/write_set.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

#include <stdlib.h>
#include <string.h>

static const struct plan *plan_of(const struct actor *actor)
{
    return &actor->client->sim->plan;
}

void workload_bank_draw_read(struct actor *actor, bool is_scan)
{
    uint64_t count = workload_accounts_count(plan_of(actor));
    actor->from = actor->to = 0;
    actor->is_scan = is_scan;
    actor->ops_count = (uint32_t)count;
    for (uint32_t index = 0; index < count; index++)
        actor->ops[index] = (struct history_op){.action = HISTORY_OP_READ,
                                                .found = HISTORY_NUMBER,
                                                .key = WORKLOAD_ACCOUNT_KEY + index,
                                                .value = WORKLOAD_BANK_EACH};
}

void workload_bank_draw_counters(struct actor *actor)
{
    workload_bank_draw_read(actor, true);
    actor->is_counting = true;
}

static void bank_draw(struct actor *actor)
{
    struct random *random = actor_random(actor);
    if (plan_of(actor)->bank_counters && random_below(random, 8) == 0) {
        workload_bank_draw_counters(actor);
        actor->interval.limit = (uint32_t)random_below(random, 6);
        return;
    }
    if (random_below(random, 4) == 0) {
        workload_bank_draw_read(actor, random_below(random, 2) == 0);
        if (plan_of(actor)->scans_percent)
            actor->interval.limit = (uint32_t)random_below(random, 6);
        return;
    }
    uint64_t count = workload_accounts_count(plan_of(actor));
    uint64_t from = random_below(random, count);
    uint64_t to = (from + 1 + random_below(random, count - 1)) % count;
    actor->from = WORKLOAD_ACCOUNT_KEY + (int64_t)from;
    actor->to = WORKLOAD_ACCOUNT_KEY + (int64_t)to;
    actor->amount = (int64_t)random_between(random, 1, 30);
    actor->has_writes = true;
    actor->ops_count = 2; /* what the two held */
    actor->ops[0].key = actor->from;
    actor->ops[1].key = actor->to;
    actor->for_update[0] = random_below(random, 4) != 0;
    actor->for_update[1] = actor->for_update[0];
}

static bool is_transfer(const struct actor *actor)
{
    return actor->from != 0;
}

static struct history_event bank_event(const struct actor *actor, enum history_type type)
{
    struct history_event event = {.type = type,
                                  .function = is_transfer(actor)   ? HISTORY_TRANSFER
                                              : actor->is_counting ? HISTORY_COUNTERS
                                                                   : HISTORY_READ,
                                  .from = actor->from,
                                  .to = actor->to,
                                  .amount = actor->amount};
    if (!is_transfer(actor)) {
        event.amount = 0;
        if (type == HISTORY_OK) {
            event.ops = actor->ops;
            event.ops_count = actor->ops_count;
        }
    }
    return event;
}

static void bank_invoke(struct actor *actor)
{
    for (uint32_t index = 0; index < actor->ops_count; index++)
        actor->ops[index].value = actor->is_counting ? 0 : WORKLOAD_BANK_EACH;
    struct history_event event = bank_event(actor, HISTORY_INVOKE);
    actor_record(actor, &event);
}

static bool balance_read(struct actor *actor, struct bytes value, int64_t *out_balance)
{
    int64_t *numbers;
    uint32_t count;
    if (!workload_numbers_unpack(value, &actor->arena, &numbers, &count) || count == 0) {
        sim_fail(actor->client->sim, "garbage-value", "an account holds %zu bytes",
                 value.bytes_count);
        return false;
    }
    /* A transfer writes the balance and then a number of its own, so that no value comes twice. */
    *out_balance = numbers[0];
    return true;
}

/* A counter lies right behind its account. */
static struct bytes counter_key(const struct actor *actor, int64_t account, char *text)
{
    struct bytes key = workload_key(plan_of(actor), account, text);
    text[key.bytes_count++] = '#';
    return key;
}

static void counter_read(struct actor *actor, struct bytes value, int64_t *out_count)
{
    uint64_t bits = 0;
    if (value.bytes_count != 8)
        sim_fail(actor->client->sim, "garbage-value", "a counter holds %zu bytes",
                 value.bytes_count);
    for (unsigned byte = 0; byte < 8 && value.bytes_count == 8; byte++)
        bits |= (uint64_t)value.data[byte] << (8 * byte);
    *out_count = (int64_t)bits;
}

static void scan_row(struct actor *actor, const struct row *row)
{
    char text[WORKLOAD_KEY_BYTES];
    for (uint32_t index = 0; index < actor->ops_count; index++) {
        struct history_op *op = &actor->ops[index];
        struct bytes key = actor->is_counting ? counter_key(actor, op->key, text)
                                              : workload_key(plan_of(actor), op->key, text);
        if (!bytes_equal(row->key, key))
            continue;
        if (actor->is_counting)
            counter_read(actor, row->value, &op->value);
        else
            balance_read(actor, row->value, &op->value);
    }
}

/* By one scan, or, with a limit, by one after the other, each from where the last one ended. */
static bool scan_step(struct actor *actor, const struct operation *done)
{
    bool is_reverse = actor->attempts % 2 == 0;
    struct bytes start = bytes_of_string("b"), end = bytes_of_string("c");
    uint8_t cursor[WORKLOAD_KEY_BYTES + 1];
    if (done) {
        struct reader reader = reader_of(done->result_rows);
        struct row row = {.key = bytes_of(NULL, 0)};
        while (rows_next(&reader, &row) == OST_OK)
            scan_row(actor, &row);
        if (!done->result_more)
            return false;
        ASSERT(row.key.bytes_count > 0 && row.key.bytes_count <= WORKLOAD_KEY_BYTES);
        memcpy(cursor, row.key.data, row.key.bytes_count);
        cursor[row.key.bytes_count] = 0; /* the next possible key */
        if (is_reverse)
            end = bytes_of(cursor, row.key.bytes_count);
        else
            start = bytes_of(cursor, row.key.bytes_count + 1);
    }
    struct operation *operation = operation_new(OPERATION_TXN_SCAN, start, end);
    operation->reverse = is_reverse;
    operation->rows_count_max = actor->interval.limit;
    actor_submit(actor, operation);
    return true;
}

static void counter_add(struct actor *actor, int64_t account)
{
    char text[WORKLOAD_KEY_BYTES];
    struct operation *operation =
        operation_new(OPERATION_ADD, counter_key(actor, account, text), bytes_of(NULL, 0));
    operation->delta = 1;
    actor_submit(actor, operation);
}

static void transfer_put(struct actor *actor, uint32_t place, int64_t change)
{
    const int64_t numbers[2] = {actor->ops[place].value + change, workload_value_new(actor)};
    actor_put(actor, actor->ops[place].key, workload_numbers_pack(numbers, 2, &actor->arena));
}

static bool bank_step(struct actor *actor, const struct operation *done)
{
    if (actor->is_scan)
        return scan_step(actor, done);
    if (done && done->status == OST_OK && actor->place < actor->ops_count)
        balance_read(actor, done->result_value, &actor->ops[actor->place].value);
    actor->place += done != NULL;
    if (actor->place < actor->ops_count) {
        actor_get(actor, actor->ops[actor->place].key, actor->for_update[actor->place]);
        return true;
    }
    if (!is_transfer(actor))
        return false;
    if (actor->ops[0].value < actor->amount) {
        actor_give_up(actor, "too little money");
        return false;
    }
    if (actor->place == actor->ops_count) {
        transfer_put(actor, 0, -actor->amount);
        transfer_put(actor, 1, actor->amount);
    }
    uint32_t counted = actor->place - actor->ops_count;
    if (!plan_of(actor)->bank_counters || counted == 2)
        return false;
    counter_add(actor, actor->ops[counted].key);
    return true;
}

static void bank_complete(struct actor *actor, enum history_type type, const char *error)
{
    struct history_event event = bank_event(actor, type);
    event.error = type == HISTORY_OK ? NULL : error;
    actor_record(actor, &event);
}

const struct workload workload_bank = {.name = "bank",
                                       .draw = bank_draw,
                                       .invoke = bank_invoke,
                                       .step = bank_step,
                                       .complete = bank_complete};
