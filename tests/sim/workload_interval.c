/* workload_interval.c: scans and deletions of neighbouring keys. A key that the scan covers and
 * does not show is absent: a read of nothing, at either end and in between. */
#include "proto/write_set.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

#include <string.h>

void actor_interval_draw(struct actor *actor, int64_t base, uint32_t at, uint32_t count_max)
{
    struct random *random = actor_random(actor);
    uint64_t keys = actor->client->sim->plan.keys;
    uint64_t most = keys < count_max ? keys : count_max;
    uint64_t count = random_between(random, 1, most);
    struct actor_interval *interval = &actor->interval;
    *interval = (struct actor_interval){
        .first = base + (int64_t)random_below(random, keys - count + 1),
        .at = at,
        .count = (uint32_t)count,
        .limit = random_below(random, 2) == 0 ? (uint32_t)random_between(random, 1, 3) : 0,
        .reverse = random_below(random, 2) == 0,
        .for_update = random_below(random, 3) == 0,
    };
    for (uint32_t index = 0; index < interval->count; index++) {
        uint32_t place = interval->reverse ? interval->count - 1 - index : index;
        int64_t key = interval->first + place;
        actor->ops[at + index] = (struct history_op){.action = HISTORY_OP_READ, .key = key};
    }
}

struct operation *actor_interval_operation(struct actor *actor, enum operation_type type)
{
    const struct actor_interval *interval = &actor->interval;
    const struct plan *plan = &actor->client->sim->plan;
    char start[WORKLOAD_KEY_BYTES], end[WORKLOAD_KEY_BYTES];
    struct bytes start_key = workload_key(plan, interval->first, start);
    struct bytes end_key = workload_key(plan, interval->first + interval->count - 1, end);
    /* Right behind its last key: the end is a key that nobody has. */
    end[end_key.bytes_count] = '\0';
    end_key.bytes_count++;
    struct operation *operation = operation_new(type, start_key, end_key);
    operation->rows_count_max = type == OPERATION_DELETE_RANGE ? 0 : interval->limit;
    operation->reverse = interval->reverse;
    operation->lock_mode = interval->for_update ? LOCK_EXCLUSIVE : LOCK_SHARED;
    return operation;
}

/* What the audit writes into each range lies between our keys. */
static bool is_probe(struct bytes key)
{
    return key.bytes_count > 0 && key.data[key.bytes_count - 1] == '\0';
}

void actor_interval_read(struct actor *actor, const struct operation *done,
                         bool (*read)(struct actor *actor, struct history_op *op,
                                      struct bytes value))
{
    const struct actor_interval *interval = &actor->interval;
    const struct plan *plan = &actor->client->sim->plan;
    struct reader reader = reader_of(done->result_rows);
    struct row row;
    uint32_t place = 0;
    while (rows_next(&reader, &row) == OST_OK) {
        char text[WORKLOAD_KEY_BYTES];
        if (is_probe(row.key))
            continue;
        while (
            place < interval->count &&
            !bytes_equal(row.key, workload_key(plan, actor->ops[interval->at + place].key, text)))
            place++;
        if (place == interval->count) {
            char key[KEY_TEXT_BYTES];
            sim_fail(actor->client->sim, "garbage-row",
                     "a scan shows key %s, which is not in its interval or out of order",
                     key_print(row.key, key, sizeof key));
            return;
        }
        if (!read(actor, &actor->ops[interval->at + place++], row.value))
            return;
    }
    if (interval->limit && done->result_rows_count > interval->limit)
        sim_fail(actor->client->sim, "limit", "a scan of %u rows brought %u", interval->limit,
                 done->result_rows_count);
    for (; done->result_more && place < interval->count; place++)
        actor->is_unread[interval->at + place] = true;
}
