#include "tests/sim/client_process.h"

#include "base/memory.h"
#include "tests/sim/audit.h"
#include "tests/sim/coordinator_death.h"
#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBER_TIMEOUT_MS 40000u
#define DEAD_MS_MAX       2000u

static void client_step(struct client_process *client, struct client_event *event);

/* --- Events
 * ------------------------------------------------------------------------------------------ */

static void on_accepted(void *context, uint64_t connection_id)
{
    (void)context;
    (void)connection_id;
    ASSERT(!"a client listens to nobody");
}

static void on_connected(void *context, uint64_t connection_id, int status)
{
    client_step(context, &(struct client_event){.type = CLIENT_EV_CONNECTED,
                                                .connection_id = connection_id,
                                                .status = status});
}

/* --- Death at a step of a commit
 * -------------------------------------------------------------------------------- */

static bool may_die(const struct client_process *client)
{
    return client->number < client->sim->plan.clients && !client->is_dying;
}

static void start_fired(void *target, uint64_t incarnation)
{
    struct client_process *client = target;
    if (!client->core && client->incarnation == incarnation)
        client_process_start(client);
}

static void death_fired(void *target, uint64_t incarnation)
{
    struct client_process *client = target;
    if (!client->core || client->incarnation != incarnation)
        return;
    struct schedule *schedule = &client->sim->schedule;
    client_process_kill(client);
    schedule_add(schedule,
                 schedule->now_ns + random_below(&client->random, DEAD_MS_MAX) * NS_PER_MS,
                 start_fired, client, incarnation);
}

/* From now on nothing leaves it; it is gone when this step is over. */
static void doom(struct client_process *client)
{
    client->is_doomed = true;
    schedule_add(&client->sim->schedule, client->sim->schedule.now_ns, death_fired, client,
                 client->incarnation);
}

static void on_frame(void *context, uint64_t connection_id, struct blob *frame_take)
{
    struct client_process *client = context;
    struct frame frame = frame_of_blob(frame_take);
    if (client->is_doomed || (may_die(client) && coordinator_death_receiving(&frame))) {
        if (!client->is_doomed)
            doom(client);
        blob_unref(frame_take);
        return;
    }
    client_step(context, &(struct client_event){.type = CLIENT_EV_FRAME,
                                                .connection_id = connection_id,
                                                .frame = &frame});
    blob_unref(frame_take);
}

static void on_closed(void *context, uint64_t connection_id)
{
    client_step(context,
                &(struct client_event){.type = CLIENT_EV_CLOSED, .connection_id = connection_id});
}

static void wake_fired(void *target, uint64_t number)
{
    struct client_process *client = target;
    if (number != client->wake_number || !client->core)
        return;
    client->wake_at_ns = NS_NEVER;
    client_step(client, &(struct client_event){.type = CLIENT_EV_TIMER});
}

/* --- Steps
 * ------------------------------------------------------------------------------------------- */

static void completions_hand_on(struct client_process *client, struct client_update *update)
{
    struct operation *operation;
    while ((operation = STAILQ_FIRST(&update->completions))) {
        STAILQ_REMOVE_HEAD(&update->completions, next);
        bool counts = client != sim_keeper(client->sim) && client != sim_admin(client->sim) &&
                      operation->type != OPERATION_AFTER && operation->type != OPERATION_TXN_DROP &&
                      operation->type != OPERATION_OPEN && operation->type != OPERATION_MAP;
        client->sim->counts.operations += counts && !client->is_dying;
        if (!client->is_dying && operation->done)
            operation->done(operation);
        operation_free(operation);
    }
}

static void update_carry_out(struct client_process *client)
{
    struct network *network = &client->sim->network;
    struct client_update *update = client_core_update(client->core);
    bool is_mute = client->is_dying || client->is_doomed;
    size_t frames_count = is_mute ? 0 : update->frames.items_count;
    size_t until_death =
        !is_mute && may_die(client) ? coordinator_death_sending(&update->frames) : FRAMES_ALL;
    if (until_death < FRAMES_ALL) {
        frames_count = until_death;
        doom(client);
    }
    for (uint32_t index = 0; index < update->connects_count; index++) {
        const struct client_connect *connect = &update->connects[index];
        uint64_t id = client->is_dying ? 0
                                       : network_connect(network, client->host,
                                                         sim_host_of_address(connect->address));
        client_core_connect_begun(client->core, connect->peer, id);
    }
    for (size_t index = 0; index < frames_count; index++) {
        struct outgoing *outgoing = &update->frames.items[index];
        network_send(network, client->host, outgoing->to.id, blob_ref(outgoing->frame));
    }
    for (uint32_t index = 0; index < update->closes_count && !client->is_dying; index++)
        network_close(network, client->host, update->closes[index], true);
    completions_hand_on(client, update);
    client_core_update_reset(client->core);
}

static void step_once(struct client_process *client, struct client_event *event)
{
    event->now_ns = sim_clock_local_ns(&client->clock, client->sim->schedule.now_ns);
    client_core_step(client->core, event);
    update_carry_out(client);
}

static void wake_plan(struct client_process *client)
{
    nanoseconds_t at_ns =
        sim_clock_real_ns(&client->clock, client_core_update(client->core)->deadline_ns);
    if (at_ns >= client->wake_at_ns)
        return;
    client->wake_at_ns = at_ns;
    schedule_set_alarm(&client->sim->schedule, client->host, at_ns, wake_fired, client,
                       ++client->wake_number);
}

/* What callbacks submit comes after what they are called from. */
static void client_step(struct client_process *client, struct client_event *event)
{
    ASSERT(!client->is_stepping);
    client->is_stepping = true;
    step_once(client, event);
    struct operation *operation;
    while ((operation = STAILQ_FIRST(&client->submitted))) {
        STAILQ_REMOVE_HEAD(&client->submitted, next);
        step_once(client,
                  &(struct client_event){.type = CLIENT_EV_SUBMITTED, .operation = operation});
    }
    client->is_stepping = false;
    wake_plan(client);
}

void client_process_submit(struct client_process *client, struct operation *operation_take,
                           void (*done)(struct operation *operation), void *context)
{
    operation_take->done = done;
    operation_take->done_context[0] = context;
    if (client->is_stepping) {
        STAILQ_INSERT_TAIL(&client->submitted, operation_take, next);
        return;
    }
    client_step(client,
                &(struct client_event){.type = CLIENT_EV_SUBMITTED, .operation = operation_take});
}

void client_process_drop_txn(struct client_process *client, struct core_txn **txn,
                             bool is_handed_over)
{
    struct core_txn *dropped = *txn;
    *txn = NULL;
    if (!dropped)
        return;
    if (!is_handed_over) {
        core_txn_free(dropped);
        return;
    }
    struct operation *operation =
        operation_new(OPERATION_TXN_DROP, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->txn = dropped;
    client_process_submit(client, operation, NULL, NULL);
}

/* --- Life
 * -------------------------------------------------------------------------------------------- */

void client_process_init(struct client_process *client, struct sim *sim, uint32_t number,
                         uint32_t actors_count)
{
    char name[32];
    snprintf(name, sizeof name, "client %u", number);
    *client = (struct client_process){.sim = sim,
                                      .host = sim->stores_count + number,
                                      .number = number,
                                      .random = schedule_random(sim->plan.seed, name),
                                      .wake_at_ns = NS_NEVER,
                                      .actors_count = actors_count};
    STAILQ_INIT(&client->submitted);
    client->actors = memory_alloc_zeroed(actors_count, sizeof client->actors[0]);
    client->clock = (struct sim_clock){.real_ns = sim->schedule.now_ns,
                                       .local_ns = sim->schedule.now_ns + number * NS_PER_S};
    for (uint32_t host = 0; host < sim->stores_count; host++) {
        size_t at = strlen(client->endpoints);
        if (host)
            client->endpoints[at++] = ',';
        sim_address(host, client->endpoints + at, sizeof client->endpoints - at);
    }
}

void client_process_fini(struct client_process *client)
{
    client_process_kill(client);
    free(client->actors);
}

void client_process_start(struct client_process *client)
{
    struct sim *sim = client->sim;
    ASSERT(!client->core);
    client->incarnation++;
    client->is_dying = client->is_doomed = false;
    trace_event(&sim->trace, TRACE_CLIENT, client->number, client->incarnation, 1, 0);
    struct client_core_options options;
    client_core_options_default(&options);
    options.endpoints = client->endpoints;
    options.seed = random_next(&client->random);
    options.operation_timeout_ms = (uint32_t)sim->plan.client_timeout_ms;
    /* Who probes waits long enough to become the oldest: then nobody passes it any more (T2). */
    if (audit_is_prober(client) && options.operation_timeout_ms < PROBER_TIMEOUT_MS)
        options.operation_timeout_ms = PROBER_TIMEOUT_MS;
    options.try_timeout_ms = (uint32_t)sim->plan.client_try_ms;
    if (client->number % 2 == 1 && client->number < sim->plan.clients)
        options.try_timeout_ms *= (uint32_t)sim->plan.client_try_factor;
    client->core =
        client_core_new(&options, sim_clock_local_ns(&client->clock, sim->schedule.now_ns));
    const struct network_port port = {.accepted = on_accepted,
                                      .connected = on_connected,
                                      .frame = on_frame,
                                      .closed = on_closed,
                                      .context = client};
    network_host_up(&sim->network, client->host, &port);
    for (uint32_t index = 0; index < client->actors_count; index++)
        actor_start(&client->actors[index], client, index);
}

void client_process_kill(struct client_process *client)
{
    struct sim *sim = client->sim;
    if (!client->core)
        return;
    trace_event(&sim->trace, TRACE_CLIENT, client->number, client->incarnation, 0, 0);
    client->is_dying = true;
    network_host_down(&sim->network, client->host, true);
    client_step(client, &(struct client_event){.type = CLIENT_EV_STOPPED});
    client_core_free(client->core);
    client->core = NULL;
    client->wake_number++;
    client->wake_at_ns = NS_NEVER;
    for (uint32_t index = 0; index < client->actors_count; index++)
        actor_killed(&client->actors[index]);
}
