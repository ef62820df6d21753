#include "tests/sim/workload.h"

#include "base/memory.h"
#include "tests/check/snapshot_check.h"
#include "tests/sim/audit.h"
#include "tests/sim/observe.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TRIES_MAX         4u
#define COMMITS_ASKED_MAX 3u
/* As in client/ostraka_txn.c: then it takes locks. */
#define OPTIMISTIC_TRIES_MAX 3u

static const struct workload *const workloads[WORKLOADS_COUNT] = {
    &workload_append, &workload_register, &workload_bank, &workload_snapshot};

static struct sim *sim_of(const struct actor *actor)
{
    return actor->client->sim;
}

struct random *actor_random(struct actor *actor)
{
    return &actor->client->random;
}

/* --- Keys and values
 * --------------------------------------------------------------------------------- */

uint64_t workload_accounts_count(const struct plan *plan)
{
    return plan->keys < 2 ? 2 : plan->keys > 12 ? 12 : plan->keys;
}

struct bytes workload_key(const struct plan *plan, int64_t key, char *text)
{
    char kind = 'a';
    uint64_t number = (uint64_t)key, count = plan->keys;
    if (key >= WORKLOAD_ACCOUNT_KEY) {
        kind = 'b';
        number -= WORKLOAD_ACCOUNT_KEY;
        count = workload_accounts_count(plan);
    } else if (key >= WORKLOAD_REG_KEY) {
        kind = 'r';
        number -= WORKLOAD_REG_KEY;
    }
    snprintf(text, WORKLOAD_KEY_BYTES, "%c%02x%04u", kind, (unsigned)(number * 256 / count),
             (unsigned)number);
    return bytes_of_string(text);
}

uint64_t workload_key_draw(struct actor *actor)
{
    const struct plan *plan = &sim_of(actor)->plan;
    struct random *random = actor_random(actor);
    uint64_t hot_count = plan->keys / 10 + 1;
    if (random_below(random, 100) < plan->hot_percent)
        return random_below(random, hot_count);
    return random_below(random, plan->keys);
}

int64_t workload_value_new(struct actor *actor)
{
    return ++sim_of(actor)->values;
}

struct bytes workload_numbers_pack(const int64_t *numbers, size_t count, struct arena *arena)
{
    uint8_t *bytes = arena_alloc(arena, count * 8 + 1);
    for (size_t index = 0; index < count; index++)
        for (unsigned byte = 0; byte < 8; byte++)
            bytes[index * 8 + byte] = (uint8_t)((uint64_t)numbers[index] >> (56 - 8 * byte));
    return bytes_of(bytes, count * 8);
}

bool workload_numbers_unpack(struct bytes value, struct arena *arena, int64_t **out_numbers,
                             uint32_t *out_count)
{
    if (value.bytes_count % 8 != 0)
        return false;
    *out_count = (uint32_t)(value.bytes_count / 8);
    *out_numbers = arena_alloc(arena, value.bytes_count + 8);
    for (uint32_t index = 0; index < *out_count; index++) {
        uint64_t number = 0;
        for (unsigned byte = 0; byte < 8; byte++)
            number = number << 8 | value.data[index * 8 + byte];
        (*out_numbers)[index] = (int64_t)number;
    }
    return true;
}

/* --- History
 * ----------------------------------------------------------------------------------------- */

void actor_record(struct actor *actor, const struct history_event *event)
{
    struct sim *sim = sim_of(actor);
    char why[HISTORY_WHY_BYTES] = "";
    struct history_event complete = *event;
    complete.time_ns = sim->schedule.now_ns;
    complete.process = actor->process;
    if (history_append(sim->history, &complete, why) != OST_OK)
        sim_fail(sim, "history", "the workload breaks the rules of a history: %s", why);
    actor->is_invoked = event->type == HISTORY_INVOKE;
}

/* --- One attempt
 * ------------------------------------------------------------------------------------- */

static void actor_rest(struct actor *actor);
static void attempt_begin(struct actor *actor);

static void attempt_rested(struct operation *operation)
{
    attempt_begin(operation->done_context[0]);
}

static void after(struct actor *actor, uint64_t delay_ms, void (*done)(struct operation *operation))
{
    struct operation *operation =
        operation_new(OPERATION_AFTER, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->delay_ms = (uint32_t)delay_ms;
    client_process_submit(actor->client, operation, done, actor);
}

static void attempt_ended(struct actor *actor, enum history_type type, int status)
{
    struct sim *sim = sim_of(actor);
    trace_event(&sim->trace, TRACE_RETURN, actor->client->number, actor->number, actor->attempts,
                (uint64_t)(int64_t)status);
    if (actor->is_invoked)
        actor->workload->complete(actor, type, ost_status_name(status));
    sim->counts.commits += type == HISTORY_OK && actor->has_writes;
    sim->counts.fails += type == HISTORY_FAIL;
    sim->counts.infos += type == HISTORY_INFO;
    if (type == HISTORY_INFO)
        actor->process = ++sim->history_processes;
    client_process_drop_txn(actor->client, &actor->txn, actor->is_handed_over);
    bool is_audit = actor->workload == &workload_audit;
    if (type == HISTORY_FAIL && ost_status_is_retryable(status) &&
        (is_audit || (actor->tries_count++ < TRIES_MAX && !sim->is_stopping)))
        after(actor, 1 + random_below(actor_random(actor), 10u << actor->tries_count % 4),
              attempt_rested);
    else
        actor_rest(actor);
}

/* What the status of the request that decides it means for the history. */
static enum history_type outcome_of_status(int status)
{
    switch (ost_status_class(status)) {
    case OST_CLASS_OK:
        return HISTORY_OK;
    case OST_CLASS_RETRYABLE:
    case OST_CLASS_REFUSED:
        return HISTORY_FAIL;
    default:
        return HISTORY_INFO;
    }
}

/* --- What the checker of snapshots is told
 * ------------------------------------------------------------- */

static void write_tell(struct actor *actor, const struct write *write)
{
    struct snapshot_check *check = sim_of(actor)->snapshots;
    if (actor->written == 0)
        actor->written = snapshot_check_begin(check);
    snapshot_check_write(check, actor->written, write->key,
                         write->kind == WRITE_PUT ? &write->value : NULL);
}

/* Before the commit is asked for, so that what is seen of it is known, however it ends. */
static void writes_tell(struct actor *actor)
{
    const struct write_buffer *writes = coordinator_writes(core_txn_coordinator(actor->txn));
    struct write_buffer_entry *entry = write_buffer_first(writes, bytes_of(NULL, 0));
    for (; entry; entry = write_buffer_next(entry)) {
        struct write write = write_buffer_entry_write(entry);
        write_tell(actor, &write);
    }
}

static void outcome_tell(struct actor *actor, enum history_type type, timestamp_t timestamp)
{
    struct sim *sim = sim_of(actor);
    if (actor->written == 0 || type == HISTORY_INFO)
        return;
    bool has_written = type == HISTORY_OK && timestamp != 0; /* else there was nothing to delete */
    if (has_written) {
        snapshot_check_committed(sim->snapshots, actor->written, timestamp);
        workload_snapshot_remember(sim, timestamp);
    } else {
        snapshot_check_aborted(sim->snapshots, actor->written);
    }
}

/* Of an operation that is a transaction by itself. A deletion of what is not there shows as well.
 */
static void single_tell(struct actor *actor, const struct operation *operation)
{
    struct write write = {.kind = WRITE_PUT, .key = operation->key, .value = operation->value};
    switch (operation->type) {
    case OPERATION_WRITE:
        write.kind = operation->write_kind;
        write_tell(actor, &write);
        break;
    case OPERATION_COMPARE_AND_SET:
        write_tell(actor, &write);
        break;
    case OPERATION_DELETE_RANGE:
        for (uint32_t index = 0; index < actor->interval.count; index++) {
            char text[WORKLOAD_KEY_BYTES];
            write = (struct write){.kind = WRITE_DELETE};
            write.key = workload_key(&actor->client->sim->plan,
                                     actor->ops[actor->interval.at + index].key, text);
            write_tell(actor, &write);
        }
        break;
    default:
        break;
    }
}

static void commit_ask(struct actor *actor)
{
    if (actor->commits_asked == 0)
        writes_tell(actor);
    actor->is_committing = true;
    actor->commits_asked++;
    actor_submit(actor, operation_new(OPERATION_TXN_COMMIT, bytes_of(NULL, 0), bytes_of(NULL, 0)));
}

static void operation_done(struct operation *operation)
{
    struct actor *actor = operation->done_context[0];
    struct sim *sim = sim_of(actor);
    int status = operation->status;
    if (actor->txn)
        actor->age = *coordinator_age(core_txn_coordinator(actor->txn));
    if (operation->type == OPERATION_TXN_COMMIT) {
        if (status == OST_MAYBE_COMMITTED && actor->commits_asked < COMMITS_ASKED_MAX &&
            random_below(actor_random(actor), 2) == 0) {
            commit_ask(actor);
            return;
        }
        struct coordinator *coordinator = core_txn_coordinator(actor->txn);
        if (status == OST_OK && coordinator_groups_count(coordinator) > 1)
            sim->counts.commits_over_groups++;
        if (actor->has_writes && status != OST_MAYBE_COMMITTED)
            observe_outcome(sim->observer, coordinator_id(coordinator), status == OST_OK,
                            coordinator_commit_timestamp(coordinator), actor->client->number);
        outcome_tell(actor, outcome_of_status(status), coordinator_commit_timestamp(coordinator));
        attempt_ended(actor, outcome_of_status(status), status);
        return;
    }
    if (actor->is_single && actor->is_committing)
        outcome_tell(actor, outcome_of_status(status), operation->result_version);
    if (operation->timestamp != 0 && status == OST_INVALID_ARGUMENT)
        sim_fail(sim, "snapshot-refused", "a read as of %" PRIu64 " is refused: %s",
                 operation->timestamp, operation->why ? operation->why : "");
    bool is_good = status == OST_OK || status == OST_NOT_FOUND ||
                   (status == OST_CONFLICT && operation->type == OPERATION_COMPARE_AND_SET);
    if (!is_good) {
        attempt_ended(actor, actor->is_single ? outcome_of_status(status) : HISTORY_FAIL, status);
        return;
    }
    bool has_more = actor->workload->step(actor, operation);
    if (actor->is_given_up)
        return;
    if (!has_more && actor->is_single)
        attempt_ended(actor, HISTORY_OK, OST_OK);
    else if (!has_more)
        commit_ask(actor);
}

static void attempt_begin(struct actor *actor)
{
    struct sim *sim = sim_of(actor);
    actor->attempts++;
    actor->place = 0;
    actor->is_appending = actor->is_committing = actor->is_given_up = false;
    actor->is_mismatch = false;
    actor->written = 0;
    memset(actor->is_unread, 0, sizeof actor->is_unread);
    actor->commits_asked = 0;
    arena_reset(&actor->arena);
    trace_event(&sim->trace, TRACE_INVOKE, actor->client->number, actor->number, actor->attempts,
                actor->ops_count);
    if (!actor->is_single) {
        actor->txn = core_txn_new(client_core_coordinator_new(actor->client->core));
        coordinator_set_optimistic(core_txn_coordinator(actor->txn),
                                   actor->is_optimistic &&
                                       actor->tries_count < OPTIMISTIC_TRIES_MAX);
        actor->is_handed_over = false;
    }
    actor->workload->invoke(actor);
    if (!actor->workload->step(actor, NULL) && !actor->is_given_up)
        commit_ask(actor);
}

void actor_submit(struct actor *actor, struct operation *operation_take)
{
    operation_take->age = actor->age;
    if (!actor->is_single) {
        operation_take->txn = actor->txn;
        actor->is_handed_over = true;
    } else {
        actor->is_committing =
            operation_take->type != OPERATION_GET && operation_take->type != OPERATION_SCAN;
        single_tell(actor, operation_take);
    }
    client_process_submit(actor->client, operation_take, operation_done, actor);
}

void actor_get(struct actor *actor, int64_t key, bool for_update)
{
    char text[WORKLOAD_KEY_BYTES];
    struct operation *operation = operation_new(
        OPERATION_TXN_GET, workload_key(&sim_of(actor)->plan, key, text), bytes_of(NULL, 0));
    operation->lock_mode = for_update ? LOCK_EXCLUSIVE : LOCK_SHARED;
    actor_submit(actor, operation);
}

void actor_put(struct actor *actor, int64_t key, struct bytes value)
{
    char text[WORKLOAD_KEY_BYTES];
    struct write write = {
        .kind = WRITE_PUT, .key = workload_key(&sim_of(actor)->plan, key, text), .value = value};
    const char *why = NULL;
    int status = coordinator_write(core_txn_coordinator(actor->txn), &write, &why);
    if (status != OST_OK) /* the locks may be gone; the commit will say so */
        trace_tell(&sim_of(actor)->trace, "a put is refused: %s", ost_status_name(status));
}

void actor_give_up(struct actor *actor, const char *error)
{
    (void)error;
    actor->is_given_up = true;
    attempt_ended(actor, HISTORY_FAIL, OST_CONFLICT);
}

/* --- From one transaction to the next
 * ------------------------------------------------------------------ */

static void begin_next(struct operation *operation)
{
    struct actor *actor = operation->done_context[0];
    struct sim *sim = sim_of(actor);
    if (sim->is_stopping && !audit_is_prober(actor->client)) {
        actor->is_drained = true;
        return;
    }
    const struct plan *plan = &sim->plan;
    const uint64_t weights[WORKLOADS_COUNT] = {plan->weight_append, plan->weight_register,
                                               plan->weight_bank, plan->weight_snapshot};
    uint64_t sum = weights[0] + weights[1] + weights[2] + weights[3], place = 0;
    if (sum > 0) {
        uint64_t drawn = random_below(actor_random(actor), sum);
        while (drawn >= weights[place])
            drawn -= weights[place++];
    }
    actor->workload = audit_is_prober(actor->client) ? &workload_audit : workloads[place];
    actor->age = (struct txn_age){0};
    actor->tries_count = 0;
    actor->is_single = actor->has_writes = actor->is_scan = actor->is_counting = false;
    actor->is_optimistic = plan->optimistic_percent > 0 && !audit_is_prober(actor->client) &&
                           random_below(actor_random(actor), 100) < plan->optimistic_percent;
    actor->interval = (struct actor_interval){0};
    actor->ops_count = 0;
    memset(actor->ops, 0, sizeof actor->ops);
    memset(actor->for_update, 0, sizeof actor->for_update);
    actor->workload->draw(actor);
    if (actor->ops_count == 0 && actor->workload == &workload_audit) {
        actor->is_drained = true; /* the audit has seen everything */
        return;
    }
    attempt_begin(actor);
}

static void actor_rest(struct actor *actor)
{
    struct sim *sim = sim_of(actor);
    actor->workload = NULL;
    uint64_t think_ms = audit_is_prober(actor->client)
                            ? 0
                            : random_below(actor_random(actor), sim->plan.think_ms_max + 1);
    after(actor, think_ms, begin_next);
}

static void opened(struct operation *operation)
{
    struct actor *actor = operation->done_context[0];
    actor_rest(actor); /* without a map its operations wait for one */
}

void actor_start(struct actor *actor, struct client_process *client, uint32_t number)
{
    struct actor fresh = {.client = client, .number = number};
    *actor = fresh;
    arena_init(&actor->arena);
    actor->process = ++sim_of(actor)->history_processes;
    struct operation *operation =
        operation_new(OPERATION_OPEN, bytes_of(NULL, 0), bytes_of(NULL, 0));
    client_process_submit(client, operation, opened, actor);
}

void actor_killed(struct actor *actor)
{
    struct sim *sim = sim_of(actor);
    if (actor->is_invoked) {
        /* Before it asked for the commit nothing can have happened. */
        enum history_type type = actor->is_committing ? HISTORY_INFO : HISTORY_FAIL;
        actor->workload->complete(actor, type, "killed");
        sim->counts.infos += type == HISTORY_INFO;
    }
    if (actor->txn)
        core_txn_free(actor->txn); /* its core is gone */
    actor->txn = NULL;
    actor->workload = NULL;
    arena_fini(&actor->arena);
}

bool actor_is_idle(const struct actor *actor)
{
    return actor->is_drained;
}

/* What was done, of what was to be. */
static uint32_t ops_done(struct actor *actor, struct history_op *out_ops)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < actor->ops_count; index++) {
        struct history_op op = actor->ops[index];
        if (actor->is_unread[index])
            continue;
        if (op.action == HISTORY_OP_CAS && actor->is_mismatch)
            op = (struct history_op){.action = HISTORY_OP_READ,
                                     .key = op.key,
                                     .found =
                                         actor->has_seen_value ? HISTORY_NUMBER : HISTORY_NOTHING,
                                     .value = actor->seen_value};
        out_ops[count++] = op;
    }
    return count;
}

void actor_complete_ops(struct actor *actor, enum history_type type, const char *error)
{
    struct history_op ops[WORKLOAD_STEPS_MAX];
    struct history_event event = {
        .type = type, .function = HISTORY_TXN, .error = type == HISTORY_OK ? NULL : error};
    if (type == HISTORY_OK) {
        event.ops = ops;
        event.ops_count = ops_done(actor, ops);
    }
    if (type == HISTORY_OK && event.ops_count == 0)
        event.type = HISTORY_FAIL; /* a scan that reached nothing of ours: nothing to tell */
    actor_record(actor, &event);
}
