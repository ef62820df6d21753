/* commit_client.c: the clients of commit_world.h, who asks again, and what must hold after a story.
 */
#include "cmd/node_internal.h"
#include "proto/kv.pb-c.h"
#include "proto/session.pb-c.h"
#include "tests/sim/observe.h"
#include "tests/support/commit_world_internal.h"

#include <criterion/criterion.h>
#include <inttypes.h>

#define PAUSE_MS 20u

static const char *const KEYS[] = {[HOME] = "a-home", [OTHER] = "b-other"};

/* --- Clients
 * ----------------------------------------------------------------------------------------- */

static void operation_done(struct operation *operation)
{
    struct commit_world *world = operation->done_context[0];
    world->is_done = true;
    world->status = operation->status;
    if (operation->type != OPERATION_TXN_COMMIT)
        return;
    world->is_answered = true;
    world->answered_ns = world->sim.schedule.now_ns;
    world->answer = operation->status;
    world->commit_timestamp = coordinator_commit_timestamp(core_txn_coordinator(operation->txn));
}

static void wait_until(struct commit_world *world, const bool *is_done)
{
    for (uint32_t ms = 0; ms < WAIT_MS_MAX && !*is_done; ms++)
        commit_world_run(world, 1);
    cr_assert(*is_done);
}

static int operation_wait(struct commit_world *world)
{
    wait_until(world, &world->is_done);
    return world->status;
}

static void operation_begin(struct commit_world *world, uint32_t client,
                            struct operation *operation)
{
    world->is_done = false;
    client_process_submit(&world->sim.clients[client], operation, operation_done, world);
}

static struct operation *operation_of(enum operation_type type, const char *key)
{
    return operation_new(type, bytes_of_string(key), bytes_of(NULL, 0));
}

static struct core_txn *txn_new(struct commit_world *world, uint32_t client)
{
    return core_txn_new(client_core_coordinator_new(world->sim.clients[client].core));
}

static void txn_write(struct core_txn *txn, group_id_t group, const char *value)
{
    const char *why = NULL;
    struct write write = {
        .kind = WRITE_PUT, .key = bytes_of_string(KEYS[group]), .value = bytes_of_string(value)};
    cr_assert_eq(coordinator_write(core_txn_coordinator(txn), &write, &why), OST_OK);
}

void commit_world_read(struct commit_world *world, group_id_t group, bool is_for_update)
{
    if (!world->txn)
        world->txn = txn_new(world, 0);
    struct operation *operation = operation_of(OPERATION_TXN_GET, KEYS[group]);
    operation->txn = world->txn;
    operation->lock_mode = is_for_update ? LOCK_EXCLUSIVE : LOCK_SHARED;
    world->is_handed_over = true;
    operation_begin(world, 0, operation);
    cr_assert_eq(operation_wait(world), OST_OK);
}

void commit_world_put(struct commit_world *world, group_id_t group, const char *value)
{
    if (!world->txn)
        world->txn = txn_new(world, 0);
    txn_write(world->txn, group, value);
}

void commit_world_roll_back(struct commit_world *world)
{
    client_process_drop_txn(&world->sim.clients[0], &world->txn, world->is_handed_over);
    world->is_handed_over = false;
}

void commit_world_grow(struct commit_world *world, bool is_blind)
{
    for (group_id_t group = HOME; group <= OTHER; group++) {
        if (!is_blind)
            commit_world_read(world, group, true);
        commit_world_put(world, group, "new");
    }
}

void commit_world_grow_one(struct commit_world *world)
{
    commit_world_put(world, HOME, "new");
}

void commit_world_ask_commit(struct commit_world *world)
{
    struct operation *operation = operation_of(OPERATION_TXN_COMMIT, "");
    operation->txn = world->txn;
    world->is_answered = false;
    world->is_handed_over = true;
    operation_begin(world, 0, operation);
}

int commit_world_wait(struct commit_world *world)
{
    operation_wait(world);
    cr_assert(world->is_answered);
    return world->answer;
}

int commit_world_ask_again(struct commit_world *world)
{
    commit_world_ask_commit(world);
    return commit_world_wait(world);
}

void commit_world_kill_client(struct commit_world *world)
{
    client_process_kill(&world->sim.clients[0]);
    core_txn_free(world->txn); /* its core is gone */
    world->txn = NULL;
    world->is_done = world->is_answered = false;
    world->began_ns = world->sim.schedule.now_ns;
}

void commit_client_begin(struct commit_world *world, uint32_t number)
{
    struct client_process *client = &world->sim.clients[number];
    client->actors_count = 0; /* the story acts */
    client_process_start(client);
    do {
        operation_begin(world, number, operation_of(OPERATION_OPEN, ""));
    } while (operation_wait(world) != OST_OK);
}

/* --- Others: client 1
 * --------------------------------------------------------------------------------- */

static void others_done(struct operation *operation)
{
    struct commit_world *world = operation->done_context[0];
    struct others *others = &world->others;
    others->is_done = true;
    others->status = operation->status;
    if (operation->type == OPERATION_TXN_COMMIT) {
        others->commit_timestamp =
            coordinator_commit_timestamp(core_txn_coordinator(operation->txn));
        client_process_drop_txn(&world->sim.clients[1], &others->txn, true);
        return;
    }
    struct bytes value = arena_copy(&world->arena, operation->result_value);
    char *text = arena_alloc(&world->arena, value.bytes_count + 1);
    memcpy(text, value.data ? value.data : (const uint8_t *)"", value.bytes_count);
    text[value.bytes_count] = '\0';
    others->value = text;
    if (operation->status == OST_NOT_FOUND)
        others->status = OST_OK;
}

void commit_world_others_get(struct commit_world *world, group_id_t group)
{
    world->others = (struct others){0};
    client_process_submit(&world->sim.clients[1], operation_of(OPERATION_GET, KEYS[group]),
                          others_done, world);
}

/* An answer says the highest timestamp that its store has heard of. */
void commit_world_others_hear(struct commit_world *world)
{
    world->others = (struct others){0};
    client_process_submit(&world->sim.clients[1], operation_of(OPERATION_GET, "a-nobodys"),
                          others_done, world);
    commit_world_others_wait(world);
}

void commit_world_others_write(struct commit_world *world, group_id_t first, group_id_t last,
                               const char *value)
{
    world->others = (struct others){.txn = txn_new(world, 1)};
    for (group_id_t group = first; group <= last; group++)
        txn_write(world->others.txn, group, value);
    struct operation *operation = operation_of(OPERATION_TXN_COMMIT, "");
    operation->txn = world->others.txn;
    client_process_submit(&world->sim.clients[1], operation, others_done, world);
}

int commit_world_others_wait(struct commit_world *world)
{
    wait_until(world, &world->others.is_done);
    return world->others.status;
}

const char *commit_world_get(struct commit_world *world, group_id_t group)
{
    for (uint32_t tries = 0; tries < 20; tries++) {
        commit_world_others_get(world, group);
        if (commit_world_others_wait(world) == OST_OK)
            return world->others.value;
    }
    cr_assert_fail("group %" PRIu64 " answers no read: %s", group,
                   ost_status_name(world->others.status));
    return "";
}

int commit_world_write_others(struct commit_world *world, const char *value)
{
    commit_world_others_write(world, HOME, OTHER, value);
    return commit_world_others_wait(world);
}

/* --- The courier
 * ------------------------------------------------------------------------------------- */

uint32_t commit_courier_host(const struct commit_world *world)
{
    return (uint32_t)world->sim.plan.stores + world->sim.clients_count;
}

static void courier_accepted(void *context, uint64_t connection_id)
{
    (void)context, (void)connection_id;
    cr_assert_fail("nobody calls the courier");
}

static void courier_connected(void *context, uint64_t connection_id, int status)
{
    struct commit_world *world = context;
    if (connection_id != world->courier_connection_id)
        return;
    world->is_courier_connected = status == OST_OK;
    world->is_courier_closed = status != OST_OK;
}

static void courier_frame(void *context, uint64_t connection_id, struct blob *frame_take)
{
    struct commit_world *world = context;
    if (connection_id != world->courier_connection_id ||
        frame_of_blob(frame_take).type == FRAME_HELLO_ANSWER) {
        blob_unref(frame_take);
        return;
    }
    blob_unref(world->courier_answer);
    world->courier_answer = frame_take;
}

static void courier_closed(void *context, uint64_t connection_id)
{
    struct commit_world *world = context;
    if (connection_id == world->courier_connection_id)
        world->is_courier_closed = true;
}

void commit_courier_begin(struct commit_world *world)
{
    const struct network_port port = {.accepted = courier_accepted,
                                      .connected = courier_connected,
                                      .frame = courier_frame,
                                      .closed = courier_closed,
                                      .context = world};
    network_host_up(&world->sim.network, commit_courier_host(world), &port);
}

/* False: there was no answer. */
static bool courier_ask(struct commit_world *world, store_id_t store, struct blob *frame)
{
    struct network *network = &world->sim.network;
    uint32_t host = commit_courier_host(world);
    blob_unref(world->courier_answer);
    world->courier_answer = NULL;
    world->is_courier_connected = world->is_courier_closed = false;
    uint64_t id = world->courier_connection_id =
        network_connect(network, host, sim_host_of_store(store));
    for (uint32_t ms = 0; ms < 1000 && !world->is_courier_connected && !world->is_courier_closed;
         ms++)
        commit_world_run(world, 1);
    if (!world->is_courier_connected)
        return false;
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    hello.role = OSTRAKA__PEER_ROLE__CLIENT;
    network_send(network, host, id, frame_encode(FRAME_HELLO, 1, &hello.base, NULL, 0));
    network_send(network, host, id, blob_ref(frame));
    for (uint32_t ms = 0; ms < 2000 && !world->courier_answer && !world->is_courier_closed; ms++)
        commit_world_run(world, 1);
    if (!world->is_courier_closed)
        network_close(network, host, id, false);
    world->courier_connection_id = 0;
    return world->courier_answer != NULL;
}

#define ANSWER_OF(frame_type, name, type, timestamp_text)                                          \
    case frame_type: {                                                                             \
        const Ostraka__##type *message = (const Ostraka__##type *)message_unpack(                  \
            &ostraka__##name##__descriptor, frame.message, &world->arena);                         \
        cr_assert(message);                                                                        \
        *out_timestamp = timestamp_text;                                                           \
        return message->header ? message->header->status : OST_OK;                                 \
    }

static int courier_answer_status(struct commit_world *world, timestamp_t *out_timestamp)
{
    struct frame frame = frame_of_blob(world->courier_answer);
    switch (frame.type) {
        ANSWER_OF(FRAME_PREPARE_ANSWER, prepare_answer, PrepareAnswer,
                  message->commit_timestamp_min)
        ANSWER_OF(FRAME_COMMIT_ANSWER, commit_answer, CommitAnswer, message->commit_timestamp)
        ANSWER_OF(FRAME_ABORT_ANSWER, abort_answer, AbortAnswer, message->commit_timestamp)
    default:
        cr_assert_fail("%s is no answer", frame_type_name(frame.type));
        return OST_PROTOCOL;
    }
}

static bool is_no_answer(int status)
{
    return status == OST_NOT_LEADER || status == OST_NOT_READY || status == OST_BUSY ||
           status == OST_DISCONNECTED || status == OST_CANCELED;
}

static int courier_bring(struct commit_world *world, group_id_t group, struct blob *frame,
                         timestamp_t *out_timestamp)
{
    for (uint32_t tries = 0; tries < WAIT_MS_MAX / PAUSE_MS; tries++) {
        store_id_t leader = commit_world_leader(world, group);
        if (courier_ask(world, leader, frame)) {
            int status = courier_answer_status(world, out_timestamp);
            if (!is_no_answer(status))
                return status;
        }
        commit_world_run(world, PAUSE_MS);
    }
    cr_assert_fail("nobody answers");
    return OST_DISCONNECTED;
}

int commit_world_again(struct commit_world *world, uint16_t type, group_id_t group,
                       timestamp_t *out_timestamp)
{
    timestamp_t timestamp;
    struct blob *frame = world->last[type][group];
    cr_assert(frame, "%s was never sent to group %" PRIu64, frame_type_name(type), group);
    return courier_bring(world, group, frame, out_timestamp ? out_timestamp : &timestamp);
}

static Ostraka__CommitRequest *commit_of_story(struct commit_world *world)
{
    cr_assert(world->last[FRAME_COMMIT][HOME]);
    struct frame frame = frame_of_blob(world->last[FRAME_COMMIT][HOME]);
    Ostraka__CommitRequest *commit = (Ostraka__CommitRequest *)message_unpack(
        &ostraka__commit_request__descriptor, frame.message, &world->arena);
    cr_assert(commit);
    return commit;
}

int commit_world_commit_at(struct commit_world *world, int64_t plus_ms, timestamp_t *out_timestamp)
{
    Ostraka__CommitRequest *commit = commit_of_story(world);
    uint64_t ms = (uint64_t)(plus_ms < 0 ? -plus_ms : plus_ms);
    if (plus_ms < 0)
        commit->commit_timestamp -= timestamp_from_ms(ms);
    else
        commit->commit_timestamp += timestamp_from_ms(ms);
    struct blob *asked = frame_encode(FRAME_COMMIT, 1, &commit->base, NULL, 0);
    int status = courier_bring(world, HOME, asked, out_timestamp);
    blob_unref(asked);
    return status;
}

int commit_world_abort(struct commit_world *world)
{
    timestamp_t timestamp;
    const Ostraka__CommitRequest *commit = commit_of_story(world);
    Ostraka__AbortRequest request = OSTRAKA__ABORT_REQUEST__INIT;
    request.group = commit->group;
    request.range = commit->range;
    request.txn = commit->txn;
    request.anchor = commit->anchor;
    request.deadline = commit->deadline;
    struct blob *asked = frame_encode(FRAME_ABORT, 1, &request.base, NULL, 0);
    int status = courier_bring(world, HOME, asked, &timestamp);
    blob_unref(asked);
    return status;
}

/* --- What must hold
 * ---------------------------------------------------------------------------------- */

uint64_t commit_world_locks(struct commit_world *world)
{
    char text[1024] = "";
    commit_world_leader(world, HOME);
    commit_world_leader(world, OTHER);
    return observe_locks_left(world->sim.observer, text, sizeof text);
}

uint32_t commit_world_settle(struct commit_world *world)
{
    nanoseconds_t until_ns = world->began_ns + COMMIT_SETTLE_MS_MAX * NS_PER_MS;
    uint64_t left;
    while ((left = commit_world_locks(world)) > 0 && world->sim.schedule.now_ns < until_ns)
        commit_world_run(world, 1);
    if (left > 0) {
        char text[1024] = "";
        observe_locks_left(world->sim.observer, text, sizeof text);
        cr_assert_fail("after %u ms there are left: %s", COMMIT_SETTLE_MS_MAX, text);
    }
    return (uint32_t)((world->sim.schedule.now_ns - world->began_ns) / NS_PER_MS);
}

/* Was it committed? Both keys say the same, and the last word of others stays. */
static bool fate_by_keys(struct commit_world *world)
{
    const char *home = commit_world_get(world, HOME);
    const char *other = commit_world_get(world, OTHER);
    cr_assert_str_eq(home, other, "half of it is there");
    cr_assert(strcmp(home, "new") == 0 || strcmp(home, "old") == 0, "%s is nobody's value", home);
    return strcmp(home, "new") == 0;
}

static void ask_frames_again(struct commit_world *world, bool is_committed)
{
    timestamp_t home_timestamp = 0, timestamp;
    int status;
    for (group_id_t group = HOME; group <= OTHER; group++) {
        if (!world->last[FRAME_PREPARE][group])
            continue;
        status = commit_world_again(world, FRAME_PREPARE, group, &timestamp);
        /* Where it was never prepared, and its abort never heard of, it may be promised once more:
         * it is settled by home all the same. */
        if (is_committed)
            cr_assert_eq(status, OST_OK, "%s", ost_status_name(status));
        else if (group == HOME)
            cr_assert_neq(status, OST_OK);
        if (group == HOME)
            home_timestamp = timestamp;
        else if (is_committed)
            cr_assert_eq(timestamp, home_timestamp);
    }
    if (is_committed && world->is_answered && world->answer == OST_OK)
        cr_assert_eq(home_timestamp, world->commit_timestamp);
    if (world->last[FRAME_COMMIT][HOME]) {
        status = commit_world_again(world, FRAME_COMMIT, HOME, &timestamp);
        if (is_committed)
            cr_assert(status == OST_OK && timestamp == home_timestamp, "%s",
                      ost_status_name(status));
        else
            cr_assert(status == OST_ABORTED || status == OST_UNKNOWN_TXN ||
                          status == OST_DEADLINE_EXCEEDED,
                      "%s", ost_status_name(status));
    }
    if (world->last[FRAME_ABORT][HOME]) {
        status = commit_world_again(world, FRAME_ABORT, HOME, &timestamp);
        cr_assert_eq(status, is_committed ? OST_EXISTS : OST_OK, "%s", ost_status_name(status));
    }
}

void commit_world_check(struct commit_world *world, enum txn_fate fate)
{
    commit_world_settle(world);
    bool is_committed = fate_by_keys(world);
    cr_assert(fate == FATE_EITHER || is_committed == (fate == FATE_COMMITTED), "it is %s",
              is_committed ? "committed" : "not committed");
    if (world->is_answered && world->answer != OST_MAYBE_COMMITTED)
        cr_assert_eq(world->answer == OST_OK, is_committed, "the client was told %s",
                     ost_status_name(world->answer));
    if (world->is_answered) {
        int told = world->answer;
        int status = commit_world_ask_again(world);
        cr_assert_eq(status == OST_OK, is_committed, "asked again, it was told %s",
                     ost_status_name(status));
        cr_assert(told == OST_MAYBE_COMMITTED || status == told);
    }
    ask_frames_again(world, is_committed);
    world->began_ns = world->sim.schedule.now_ns;
    commit_world_settle(world);
    cr_assert_eq(fate_by_keys(world), is_committed);
}
