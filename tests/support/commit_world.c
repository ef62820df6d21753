#include "tests/support/commit_world_internal.h"

#include "base/memory.h"
#include "cmd/node_internal.h"
#include "proto/kv.pb-c.h"
#include "tests/sim/observe.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#define STORES          5u
#define LEADER_BACK_MS  2000u
#define PLACEMENT_TRIES 200u

/* --- Time
 * -------------------------------------------------------------------------------------------- */

void commit_world_run(struct commit_world *world, uint32_t ms)
{
    nanoseconds_t until_ns = world->sim.schedule.now_ns + ms * NS_PER_MS;
    while (schedule_step(&world->sim.schedule, until_ns))
        continue;
    cr_assert(!world->sim.is_failed, "%s: %s", world->sim.failure, world->sim.why);
}

/* --- Frames
 * ------------------------------------------------------------------------------------------ */

static group_id_t group_of_key(ProtobufCBinaryData key)
{
    return key.len > 0 && key.data[0] == 'b' ? OTHER : HOME;
}

#define GROUP_OF(frame_type, name, type, group_text)                                               \
    case frame_type: {                                                                             \
        const Ostraka__##type *message = (const Ostraka__##type *)message_unpack(                  \
            &ostraka__##name##__descriptor, frame->message, &arena);                               \
        cr_assert(message);                                                                        \
        group = (group_text);                                                                      \
        break;                                                                                     \
    }

/* Who handles it; of an answer, who gave it. MASTER for what is about none. */
static group_id_t group_of_frame(const struct commit_world *world, uint32_t to,
                                 const struct frame *frame)
{
    group_id_t group = MASTER;
    struct arena arena;
    arena_init(&arena);
    switch (frame->type) {
        GROUP_OF(FRAME_GET, get_request, GetRequest, message->group)
        GROUP_OF(FRAME_LOCK, lock_request, LockRequest, message->group)
        GROUP_OF(FRAME_SCAN, scan_request, ScanRequest, message->group)
        GROUP_OF(FRAME_PREPARE, prepare_request, PrepareRequest, message->group)
        GROUP_OF(FRAME_COMMIT, commit_request, CommitRequest, message->group)
        GROUP_OF(FRAME_ABORT, abort_request, AbortRequest, message->group)
        GROUP_OF(FRAME_VALIDATE, validate_request, ValidateRequest, message->group)
        GROUP_OF(FRAME_TXN_HEARTBEAT, txn_heartbeat, TxnHeartbeat, message->group)
        GROUP_OF(FRAME_RESOLVE, resolve_request, ResolveRequest, group_of_key(message->key))
        GROUP_OF(FRAME_RESOLVE_ANSWER, resolve_answer, ResolveAnswer, group_of_key(message->key))
    case FRAME_INQUIRE:
    case FRAME_INQUIRE_ANSWER:
        group = HOME;
        break;
    default:
        for (uint32_t index = 0; index < COMMIT_WORLD_FRAMES_MAX; index++)
            if (world->asked[index].request_id == frame->request_id &&
                world->asked[index].client == to && frame->type % 2 == 1)
                group = world->asked[index].group;
    }
    arena_fini(&arena);
    return group;
}

static bool is_of_commit(uint16_t type)
{
    return type >= FRAME_PREPARE && type <= FRAME_VALIDATE_ANSWER;
}

static void frame_note(struct commit_world *world, uint32_t from, uint32_t to,
                       const struct frame *frame, group_id_t group, struct blob *blob)
{
    world->sent[frame->type][group]++;
    uint32_t story_host = world->sim.clients[0].host;
    if (from >= world->sim.plan.stores)
        world->asked[world->asked_count++ % COMMIT_WORLD_FRAMES_MAX] =
            (struct asked_frame){.client = from, .request_id = frame->request_id, .group = group};
    if (to == story_host && is_of_commit(frame->type))
        world->is_answered_since = true;
    if (from != story_host)
        return;
    if (is_of_commit(frame->type) && frame->type != FRAME_ABORT &&
        (world->rounds_count == 0 || world->is_answered_since)) {
        world->rounds_count++;
        world->is_answered_since = false;
    }
    blob_unref(world->last[frame->type][group]);
    world->last[frame->type][group] = blob_ref(blob);
}

static bool frame_seen(void *context, uint32_t from, uint32_t to, uint64_t connection_id,
                       struct blob *blob)
{
    struct commit_world *world = context;
    struct frame frame = frame_of_blob(blob);
    if (world->is_passing || from == commit_courier_host(world) ||
        to == commit_courier_host(world) || frame.type >= COMMIT_WORLD_TYPES_MAX)
        return false;
    group_id_t group = group_of_frame(world, to, &frame);
    cr_assert_leq(group, OTHER);
    frame_note(world, from, to, &frame, group, blob);
    uint32_t others_host = world->sim.clients[1].host;
    if (from == others_host || to == others_host)
        return false; /* the rules are the story's */
    for (uint32_t index = 0; index < world->rules_count; index++) {
        const struct frame_rule *rule = &world->rules[index];
        if (rule->type != frame.type || rule->group != group)
            continue;
        if (rule->fate == FRAME_HELD) {
            cr_assert_lt(world->held_count, COMMIT_WORLD_FRAMES_MAX);
            world->held[world->held_count++] =
                (struct held_frame){from, to, connection_id, blob_ref(blob)};
        }
        return true;
    }
    return false;
}

static void rule_add(struct commit_world *world, uint16_t type, group_id_t group,
                     enum frame_fate fate)
{
    cr_assert_lt(world->rules_count, COMMIT_WORLD_RULES_MAX);
    world->rules[world->rules_count++] = (struct frame_rule){type, group, fate};
}

void commit_world_hold(struct commit_world *world, uint16_t type, group_id_t group)
{
    rule_add(world, type, group, FRAME_HELD);
}

void commit_world_lose(struct commit_world *world, uint16_t type, group_id_t group)
{
    rule_add(world, type, group, FRAME_LOST);
}

static void held_drop(struct commit_world *world, uint32_t times_sent)
{
    uint32_t count = world->held_count;
    world->held_count = world->rules_count = 0;
    world->is_passing = true;
    for (uint32_t index = 0; index < count; index++) {
        struct held_frame *held = &world->held[index];
        for (uint32_t time = 0; time < times_sent; time++)
            network_send(&world->sim.network, held->from, held->connection_id,
                         blob_ref(held->frame));
        blob_unref(held->frame);
    }
    world->is_passing = false;
}

void commit_world_release(struct commit_world *world)
{
    held_drop(world, 1);
}

void commit_world_release_twice(struct commit_world *world)
{
    held_drop(world, 2);
}

void commit_world_forget(struct commit_world *world)
{
    held_drop(world, 0);
}

void commit_world_await(struct commit_world *world, uint16_t type, group_id_t group, uint64_t count)
{
    for (uint32_t ms = 0; ms < WAIT_MS_MAX && world->sent[type][group] < count; ms++)
        commit_world_run(world, 1);
    cr_assert_geq(world->sent[type][group], count, "frame %s of group %" PRIu64 " was not sent",
                  frame_type_name(type), group);
}

void commit_world_count_begin(struct commit_world *world)
{
    memset(world->sent, 0, sizeof world->sent);
    world->rounds_count = 0;
    world->is_answered_since = false;
}

uint64_t commit_world_sent(const struct commit_world *world, uint16_t type)
{
    return world->sent[type][MASTER] + world->sent[type][HOME] + world->sent[type][OTHER];
}

/* --- Stores
 * ------------------------------------------------------------------------------------------ */

static store_id_t leader_now(const struct commit_world *world, group_id_t group)
{
    store_id_t leader = 0;
    raft_term_t term = 0;
    for (uint32_t place = 0; place < STORES; place++) {
        const struct process *process = &world->sim.stores[place];
        struct raft_status status;
        if (process->state != PROCESS_UP ||
            raft_host_group_status(node_raft_host(process->node), group, &status) != OST_OK ||
            status.role != RAFT_LEADER || status.term <= term)
            continue;
        term = status.term;
        leader = status.commit_index >= status.term_opening_index ? process->store_id : 0;
    }
    return leader;
}

store_id_t commit_world_leader(struct commit_world *world, group_id_t group)
{
    for (uint32_t ms = 0; ms < WAIT_MS_MAX; ms++) {
        store_id_t leader = leader_now(world, group);
        if (leader)
            return leader;
        commit_world_run(world, 1);
    }
    cr_assert_fail("group %" PRIu64 " has no leader", group);
    return 0;
}

raft_index_t commit_world_log_end(struct commit_world *world, group_id_t group)
{
    struct raft_status status;
    store_id_t leader = commit_world_leader(world, group);
    cr_assert_eq(
        raft_host_group_status(node_raft_host(world->sim.stores[leader - 1].node), group, &status),
        OST_OK);
    return status.last_index;
}

void commit_world_crash(struct commit_world *world, store_id_t store)
{
    process_stop(&world->sim.stores[store - 1], STOP_KILLED);
}

void commit_world_start(struct commit_world *world, store_id_t store)
{
    process_start(&world->sim.stores[store - 1]);
}

void commit_world_crash_leaders(struct commit_world *world)
{
    store_id_t home = commit_world_leader(world, HOME), other = commit_world_leader(world, OTHER);
    commit_world_crash(world, home);
    commit_world_crash(world, other);
}

void commit_world_crash_all(struct commit_world *world)
{
    for (store_id_t store = 1; store <= STORES; store++)
        commit_world_crash(world, store);
}

void commit_world_start_all(struct commit_world *world)
{
    for (store_id_t store = 1; store <= STORES; store++)
        commit_world_start(world, store); /* nothing happens where one is up */
    world->began_ns = world->sim.schedule.now_ns;
}

static void cut_off(struct commit_world *world, store_id_t store,
                    void (*cut)(struct network *network, uint32_t from, uint32_t to))
{
    uint32_t host = sim_host_of_store(store);
    for (uint32_t other = 0; other < STORES; other++) {
        if (other == host)
            continue;
        cut(&world->sim.network, host, other);
        cut(&world->sim.network, other, host);
    }
}

static void start_fired(void *target, uint64_t store)
{
    commit_world_start(target, store);
}

static void heal_fired(void *target, uint64_t store)
{
    cut_off(target, store, network_heal);
}

void commit_world_lose_leader(struct commit_world *world, group_id_t group, enum leader_loss how)
{
    store_id_t old = commit_world_leader(world, group);
    struct schedule *schedule = &world->sim.schedule;
    nanoseconds_t back_ns = schedule->now_ns + LEADER_BACK_MS * NS_PER_MS;
    switch (how) {
    case LEADER_CRASHES:
        commit_world_crash(world, old);
        schedule_add(schedule, back_ns, start_fired, world, old);
        break;
    case LEADER_IS_CUT_OFF:
        cut_off(world, old, network_cut);
        schedule_add(schedule, back_ns, heal_fired, world, old);
        break;
    case LEADER_HANDS_OVER:
        cr_assert(process_transfer(&world->sim.stores[old - 1], group, 0));
        break;
    case LEADER_LOSSES_COUNT:
        cr_assert_fail("no such way");
    }
    for (uint32_t ms = 0; ms < WAIT_MS_MAX; ms++) {
        store_id_t leader = leader_now(world, group);
        if (leader && leader != old)
            break;
        commit_world_run(world, 1);
    }
    cr_assert_neq(commit_world_leader(world, group), old);
    world->began_ns = world->sim.schedule.now_ns; /* a quorum is there */
}

/* --- Beginning and end
 * ------------------------------------------------------------------------------- */

static void plan_fill(struct plan *plan, uint64_t seed, uint32_t clients_count,
                      uint32_t client_timeout_ms)
{
    *plan = (struct plan){
        .seed = seed,
        .stores = STORES,
        .replicas = STORES,
        .groups = 2,
        .ranges_per_kind = 1,
        .clients = clients_count,
        .actors = 1,
        .keys = 1,
        .heartbeat_ms = 50,
        .election_ms_min = 500,
        .election_ms_max = 1000,
        .inflight_messages_max = 64,
        .inflight_bytes_max = 4 << 20,
        .message_bytes_max = 512 << 10,
        .log_segment_kib = 256,
        .log_write_kib = 64,
        .log_retained_kib = 65536,
        .snapshot_chunk_bytes = 16384,
        .flush_kib = 32768,
        .flush_interval_ms = 30000,
        .lock_expiry_ms = 5000,
        .history_ms = UINT64_C(4000000000000), /* for ever: no entry is about the safe point */
        .client_timeout_ms = client_timeout_ms,
        .client_try_ms = 1000,
        .client_try_factor = 1,
        .latency_us_min = 1000,
        .latency_us_max = 1000,
        .disk_us_min = 100,
        .disk_us_max = 100,
        .turn_us_max = 0,
        .job_us_max = 100,
    };
}

static replica_id_t replica_at(struct commit_world *world, store_id_t store, group_id_t group)
{
    struct kv_applied applied[8];
    size_t count = node_applied(world->sim.stores[store - 1].node, applied, 8);
    for (size_t index = 0; index < count; index++)
        if (applied[index].group == group)
            return applied[index].replica;
    cr_assert_fail("store %" PRIu64 " has no replica of group %" PRIu64, store, group);
    return 0;
}

/* Each group's leader on a store of its own. */
static void leaders_part(struct commit_world *world)
{
    for (uint32_t tries = 0; tries < PLACEMENT_TRIES; tries++) {
        store_id_t master = commit_world_leader(world, MASTER);
        bool is_done = true;
        for (group_id_t group = HOME; group <= OTHER; group++) {
            store_id_t old = commit_world_leader(world, group);
            store_id_t wanted = (master - 1 + group) % STORES + 1;
            if (old == wanted)
                continue;
            is_done = false;
            process_transfer(&world->sim.stores[old - 1], group, replica_at(world, wanted, group));
        }
        if (is_done)
            return;
        commit_world_run(world, 200);
    }
    cr_assert_fail("the leaders do not part");
}

static struct commit_world *world_new(uint64_t seed, uint32_t clients_count,
                                      uint32_t client_timeout_ms)
{
    struct commit_world *world = memory_alloc_zeroed(1, sizeof *world);
    struct plan plan;
    plan_fill(&plan, seed, clients_count, client_timeout_ms);
    arena_init(&world->arena);
    sim_init(&world->sim, &plan,
             &(struct run_options){.story = getenv("COMMIT_STORY") ? stderr : NULL});
    world->sim.network.tap = frame_seen;
    world->sim.network.tap_context = world;
    for (uint32_t place = 0; place < STORES; place++) {
        world->sim.stores[place].clock.local_ns = world->sim.schedule.now_ns;
        process_start(&world->sim.stores[place]);
    }
    commit_courier_begin(world);
    for (uint32_t number = 0; number < clients_count; number++)
        commit_client_begin(world, number);
    leaders_part(world);
    cr_assert_eq(commit_world_write_others(world, "old"), OST_OK);
    /* Client 0 knows who leads. */
    commit_world_grow(world, false);
    commit_world_roll_back(world);
    commit_world_run(world, 1000);
    cr_assert_eq(commit_world_locks(world), 0);
    memset(world->rules, 0, sizeof world->rules);
    for (size_t type = 0; type < COMMIT_WORLD_TYPES_MAX; type++)
        for (size_t group = 0; group < 3; group++) {
            blob_unref(world->last[type][group]);
            world->last[type][group] = NULL;
        }
    commit_world_count_begin(world);
    world->began_ns = world->sim.schedule.now_ns;
    return world;
}

struct commit_world *commit_world_new(uint64_t seed)
{
    return world_new(seed, 2, 5000);
}

struct commit_world *commit_world_new_patient(uint64_t seed)
{
    return world_new(seed, 2, 60000);
}

struct commit_world *commit_world_new_crowded(uint64_t seed, uint32_t others_count)
{
    cr_assert_leq(others_count, COMMIT_WORLD_CROWD_MAX);
    return world_new(seed, 2 + others_count, 5000);
}

static void everybody_catches_up(struct commit_world *world)
{
    commit_world_start_all(world);
    for (uint32_t ms = 0; ms < WAIT_MS_MAX && !observe_all_caught_up(world->sim.observer); ms += 10)
        commit_world_run(world, 10);
    cr_assert(observe_all_caught_up(world->sim.observer));
}

void commit_world_end(struct commit_world *world)
{
    commit_world_forget(world);
    commit_world_roll_back(world);
    everybody_catches_up(world);
    observe_end(world->sim.observer);
    cr_assert(!world->sim.is_failed, "%s: %s", world->sim.failure, world->sim.why);
    for (size_t type = 0; type < COMMIT_WORLD_TYPES_MAX; type++)
        for (size_t group = 0; group < 3; group++)
            blob_unref(world->last[type][group]);
    blob_unref(world->courier_answer);
    world->sim.network.tap = NULL;
    sim_fini(&world->sim);
    arena_fini(&world->arena);
    free(world);
}
