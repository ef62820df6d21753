#include "tests/sim/audit.h"

#include "base/memory.h"
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

static void range_key(const struct audit *audit, uint32_t range, char *text, size_t text_bytes_max)
{
    uint64_t pieces = audit->sim->plan.ranges_per_kind;
    snprintf(text, text_bytes_max, "%c%02x~", "abr"[range / pieces],
             (unsigned)(range % pieces * 256 / pieces));
}

static void probe_done(struct operation *operation);

static void probe_submit(struct audit *audit, uint32_t range)
{
    char text[16];
    range_key(audit, range, text, sizeof text);
    struct operation *operation =
        operation_new(OPERATION_WRITE, bytes_of_string(text), bytes_of_string("probe"));
    operation->write_kind = WRITE_PUT;
    operation->done_context[1] = (void *)(uintptr_t)range;
    operation->done_context[2] = (void *)(uintptr_t)audit->round;
    client_process_submit(prober_of(audit), operation, probe_done, audit);
}

static void probe_done(struct operation *operation)
{
    struct audit *audit = operation->done_context[0];
    uint32_t range = (uint32_t)(uintptr_t)operation->done_context[1];
    if ((uintptr_t)operation->done_context[2] != audit->round)
        return;
    if (ost_status_class(operation->status) == OST_CLASS_REFUSED) {
        sim_fail(audit->sim, "probe-refused", "a put ended with %s",
                 ost_status_name(operation->status));
        return;
    }
    if (operation->status != OST_OK) {
        probe_submit(audit, range);
        return;
    }
    audit->is_written[range] = true;
    audit->written_count++;
}

static void open_submit(struct audit *audit);

static void open_done(struct operation *operation)
{
    struct audit *audit = operation->done_context[0];
    if ((uintptr_t)operation->done_context[2] != audit->round)
        return;
    if (operation->status != OST_OK) {
        open_submit(audit);
        return;
    }
    for (uint32_t range = 0; range < audit->ranges_count; range++)
        probe_submit(audit, range);
}

static void open_submit(struct audit *audit)
{
    struct operation *operation =
        operation_new(OPERATION_OPEN, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->done_context[2] = (void *)(uintptr_t)audit->round;
    client_process_submit(prober_of(audit), operation, open_done, audit);
}

void audit_probe_begin(struct audit *audit, struct sim *sim)
{
    uint64_t round = audit->round + 1;
    *audit = (struct audit){.sim = sim, .round = round};
    audit->ranges_count = (uint32_t)(3 * sim->plan.ranges_per_kind);
    ASSERT(audit->ranges_count <= AUDIT_RANGES_MAX);
    open_submit(audit);
}

bool audit_probe_is_done(const struct audit *audit)
{
    return audit->written_count == audit->ranges_count;
}

void audit_probe_print(const struct audit *audit, char *text, size_t text_bytes_max)
{
    size_t at = 0;
    for (uint32_t range = 0; range < audit->ranges_count && at + 16 < text_bytes_max; range++) {
        if (audit->is_written[range])
            continue;
        char key[16];
        range_key(audit, range, key, sizeof key);
        at += (size_t)snprintf(text + at, text_bytes_max - at, "%s%s", at ? " " : "", key);
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
