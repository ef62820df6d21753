#include "tests/sim/audit.h"

#include "base/memory.h"
#include "shardmaster/master_map.h"
#include "tests/sim/sim.h"

#include <stdio.h>

#define KEYS_EACH 8

bool audit_is_prober(const struct client_process *client)
{
    return client->number == client->sim->plan.clients;
}

/* --- Writing everywhere
 * ------------------------------------------------------------------------------ */

static struct client_process *prober_of(const struct audit *audit)
{
    return &audit->sim->clients[audit->sim->plan.clients];
}

/* Behind its first key, which may be one of a workload's: no workload has a key that ends so. */
static void range_take(struct audit *audit, const Ostraka__RangeInfo *range)
{
    struct audit_range *taken = &audit->ranges[audit->ranges_count++];
    struct bytes start = master_bytes(range->start);
    ASSERT(start.bytes_count < AUDIT_KEY_BYTES_MAX);
    *taken = (struct audit_range){.key_bytes = start.bytes_count + 1};
    if (start.bytes_count > 0)
        memcpy(taken->key, start.data, start.bytes_count);
    taken->is_read_only =
        !key_in_range(bytes_of(taken->key, taken->key_bytes), start, master_bytes(range->end));
    taken->key_bytes -= taken->is_read_only;
    taken->is_done = taken->key_bytes == 0; /* the empty key alone, which is none */
    audit->done_count += taken->is_done;
}

static void probe_done(struct operation *operation);

static void probe_submit(struct audit *audit, uint32_t place)
{
    const struct audit_range *range = &audit->ranges[place];
    struct bytes key = bytes_of(range->key, range->key_bytes);
    struct operation *operation =
        range->is_read_only ? operation_new(OPERATION_GET, key, bytes_of(NULL, 0))
                            : operation_new(OPERATION_WRITE, key, bytes_of_string("probe"));
    operation->write_kind = WRITE_PUT;
    operation->done_context[1] = (void *)(uintptr_t)place;
    operation->done_context[2] = (void *)(uintptr_t)audit->round;
    client_process_submit(prober_of(audit), operation, probe_done, audit);
}

static void probe_done(struct operation *operation)
{
    struct audit *audit = operation->done_context[0];
    uint32_t place = (uint32_t)(uintptr_t)operation->done_context[1];
    if ((uintptr_t)operation->done_context[2] != audit->round)
        return;
    bool is_absent = operation->type == OPERATION_GET && operation->status == OST_NOT_FOUND;
    if (!is_absent && ost_status_class(operation->status) == OST_CLASS_REFUSED) {
        sim_fail(audit->sim, "probe-refused", "a put ended with %s",
                 ost_status_name(operation->status));
        return;
    }
    if (!is_absent && operation->status != OST_OK) {
        probe_submit(audit, place);
        return;
    }
    audit->ranges[place].is_done = true;
    audit->done_count++;
}

static void map_submit(struct audit *audit, enum operation_type type);

/* First that the client has a map and knows the time, then which map it is that holds now. */
static void map_done(struct operation *operation)
{
    struct audit *audit = operation->done_context[0];
    if ((uintptr_t)operation->done_context[2] != audit->round)
        return;
    const Ostraka__Map *map = operation->type == OPERATION_MAP ? operation->result_map : NULL;
    if (operation->status != OST_OK || !map) {
        map_submit(audit, operation->status == OST_OK ? OPERATION_MAP : operation->type);
        return;
    }
    for (size_t place = 0; place < map->n_ranges && audit->ranges_count < AUDIT_RANGES_MAX; place++)
        range_take(audit, map->ranges[place]);
    for (uint32_t place = 0; place < audit->ranges_count; place++)
        if (!audit->ranges[place].is_done)
            probe_submit(audit, place);
}

static void map_submit(struct audit *audit, enum operation_type type)
{
    struct operation *operation = operation_new(type, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->done_context[2] = (void *)(uintptr_t)audit->round;
    client_process_submit(prober_of(audit), operation, map_done, audit);
}

void audit_probe_begin(struct audit *audit, struct sim *sim)
{
    uint64_t round = audit->round + 1;
    *audit = (struct audit){.sim = sim, .round = round};
    map_submit(audit, OPERATION_OPEN);
}

bool audit_probe_is_done(const struct audit *audit)
{
    return audit->ranges_count > 0 && audit->done_count == audit->ranges_count;
}

void audit_probe_print(const struct audit *audit, char *text, size_t text_bytes_max)
{
    if (audit->ranges_count == 0)
        snprintf(text, text_bytes_max, "all: there is no map");
    size_t at = 0;
    for (uint32_t place = 0; place < audit->ranges_count && at + 64 < text_bytes_max; place++) {
        const struct audit_range *range = &audit->ranges[place];
        char key[KEY_TEXT_BYTES];
        if (range->is_done)
            continue;
        at += (size_t)snprintf(text + at, text_bytes_max - at, "%s%s", at ? " " : "",
                               key_print(bytes_of(range->key, range->key_bytes), key, sizeof key));
    }
}

/* --- Reading everything
 * ------------------------------------------------------------------------------ */

/* Keys of lists first, then registers, then the bank. The kinds are not mixed, because each attempt
 * is recorded as one of its own kind. */
static const struct workload *audit_kind(const struct actor *actor)
{
    if (actor->ops_count > 0 && actor->ops[0].key >= WORKLOAD_ACCOUNT_KEY)
        return &workload_bank;
    return &workload_append;
}

static void audit_draw(struct actor *actor)
{
    struct sim *sim = actor->client->sim;
    int64_t keys_count = (int64_t)sim->plan.keys, *next = &sim->audit->next_key;
    if (*next == 2 * keys_count + 1 && sim->plan.bank_counters) {
        workload_bank_draw_counters(actor);
        ++*next;
        return;
    }
    if (*next > 2 * keys_count)
        return;
    if (*next == 2 * keys_count) {
        workload_bank_draw_read(actor, true);
        ++*next;
        return;
    }
    bool is_list = *next < keys_count;
    int64_t end = is_list ? keys_count : 2 * keys_count;
    for (; *next < end && actor->ops_count < KEYS_EACH; ++*next) {
        int64_t key = is_list ? WORKLOAD_APPEND_KEY + *next : WORKLOAD_REG_KEY + *next - keys_count;
        actor->ops[actor->ops_count++] = (struct history_op){.action = HISTORY_OP_READ, .key = key};
    }
}

static void audit_invoke(struct actor *actor)
{
    audit_kind(actor)->invoke(actor);
}

/* A register's value is a list of one. */
static bool audit_step(struct actor *actor, const struct operation *done)
{
    bool has_more = audit_kind(actor)->step(actor, done);
    for (uint32_t index = 0; done && !has_more && index < actor->ops_count; index++) {
        struct history_op *op = &actor->ops[index];
        if (op->key < WORKLOAD_REG_KEY || op->key >= WORKLOAD_ACCOUNT_KEY ||
            op->found != HISTORY_LIST)
            continue;
        op->found = HISTORY_NUMBER;
        op->value = op->list_count == 1 ? op->list[0] : -1;
        op->list = NULL;
        op->list_count = 0;
    }
    return has_more;
}

static void audit_complete(struct actor *actor, enum history_type type, const char *error)
{
    audit_kind(actor)->complete(actor, type, error);
}

const struct workload workload_audit = {.name = "audit",
                                        .draw = audit_draw,
                                        .invoke = audit_invoke,
                                        .step = audit_step,
                                        .complete = audit_complete};
