/* The node's connections, played by hand: who is kept, and who is closed. */
#include "base/log.h"
#include "client/map_cache.h"
#include "cmd/node.h"
#include "cmd/node_internal.h"
#include "proto/frame.h"
#include "proto/kv.pb-c.h"
#include "proto/session.pb-c.h"

#include <criterion/criterion.h>
#include <string.h>

#define CONNECTIONS_COUNT 1000u

static void log_be_quiet(enum log_level level, const char *line, void *context)
{
    (void)level;
    (void)line;
    (void)context;
}

struct world {
    struct metrics metrics;
    struct store *store;
    Ostraka__StoreInfo stores[2];
    struct node *node;
    nanoseconds_t now_ns;
};

static void world_event(struct world *world, struct node_event event)
{
    event.now_ns = world->now_ns;
    event.wall_ms = UINT64_C(1700000000000) + world->now_ns / NS_PER_MS;
    node_step(world->node, &event);
}

/* Ends the turn, and returns how many connections it closes. */
static uint32_t world_turn(struct world *world)
{
    world_event(world, (struct node_event){.type = NODE_EV_TURN_ENDED});
    return node_update(world->node)->closes_count;
}

static void world_update_drop(struct world *world)
{
    struct node_update *update = node_update(world->node);
    for (uint32_t i = 0; i < update->connects_count; i++)
        node_connect_begun(world->node, update->connects[i].store, update->connects[i].channel, 0);
    node_update_reset(world->node);
}

/* What a host does, but at once. */
static void world_carry_out(struct world *world)
{
    struct node_update update = *node_update(world->node);
    cr_assert_eq(update.connects_count, 0);
    node_update_reset(world->node);
    outbox_reset(&node_update(world->node)->frames);
    for (uint32_t i = 0; i < update.raft.log_operations_count; i++)
        world_event(world, (struct node_event){.type = NODE_EV_LOG_DONE,
                                               .log_operation = update.raft.log_operations[i]});
    for (struct job *job = update.jobs, *next; job; job = next) {
        next = job->next;
        job->run(job);
        world_event(world, (struct node_event){.type = NODE_EV_JOB_DONE, .job = job});
    }
}

static void world_run(struct world *world, uint32_t turns_count)
{
    for (uint32_t i = 0; i < turns_count; i++) {
        world->now_ns += 10 * NS_PER_MS;
        world_turn(world);
        world_carry_out(world);
    }
}

static void world_init(struct world *world, size_t stores_count)
{
    log_set_sink(log_be_quiet, NULL);
    *world = (struct world){.now_ns = NS_PER_S};
    ostraka__store_info__init(&world->stores[0]);
    ostraka__store_info__init(&world->stores[1]);
    world->stores[0].id = 1;
    world->stores[0].address = "127.0.0.1:1";
    world->stores[1].id = 2;
    world->stores[1].address = "127.0.0.1:2";
    struct node_options options;
    node_options_default(&options);
    options.cluster_id = 7;
    options.advertise_address = "127.0.0.1:2";
    options.raft.store = 2;
    options.seed = 5;
    options.master.initial_stores = &world->stores[2 - stores_count];
    options.master.initial_stores_count = stores_count;
    world->store = store_new_memory();
    world->node = node_new(&options, world->store, &world->metrics);
    char why[512] = "";
    cr_assert_eq(raft_host_recover_end(node_raft_host(world->node), why), OST_OK);
    cr_assert_eq(node_load(world->node, world->now_ns, why), OST_OK, "%s", why);
}

static void world_fini(struct world *world)
{
    world_update_drop(world);
    node_free(world->node);
    store_close(world->store);
}

Test(node, all_who_say_nothing_are_closed_at_once)
{
    struct world world;
    world_init(&world, 2);
    for (uint64_t id = 1; id <= CONNECTIONS_COUNT; id++)
        world_event(&world, (struct node_event){.type = NODE_EV_ACCEPTED, .connection_id = id});
    cr_assert_eq(world_turn(&world), 0);
    world_update_drop(&world);
    world.now_ns += 10 * NS_PER_S;
    cr_assert_eq(world_turn(&world), CONNECTIONS_COUNT, "or their descriptors were lost");
    world_fini(&world);
}

Test(node, all_who_break_the_protocol_in_one_turn_are_closed)
{
    struct world world;
    world_init(&world, 2);
    Ostraka__MapRequest request = OSTRAKA__MAP_REQUEST__INIT;
    struct blob *blob = frame_encode(FRAME_MAP, 1, &request.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    for (uint64_t id = 1; id <= CONNECTIONS_COUNT; id++) {
        world_event(&world, (struct node_event){.type = NODE_EV_ACCEPTED, .connection_id = id});
        world_event(&world, (struct node_event){
                                .type = NODE_EV_FRAME, .connection_id = id, .frame = &frame});
    }
    blob_unref(blob);
    cr_assert_eq(world_turn(&world), CONNECTIONS_COUNT);
    world_fini(&world);
}

static void lock_send(struct world *world, uint64_t client)
{
    Ostraka__LockRequest request = OSTRAKA__LOCK_REQUEST__INIT;
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    Ostraka__TxnAge age = OSTRAKA__TXN_AGE__INIT;
    range.epoch = 1;
    txn.client = age.client = client;
    txn.sequence = age.sequence = 1;
    age.timestamp = client;
    request.group = 1;
    request.range = &range;
    request.txn = &txn;
    request.age = &age;
    request.key = (ProtobufCBinaryData){.len = 1, .data = (uint8_t *)"k"};
    request.mode = OSTRAKA__LOCK_MODE__EXCLUSIVE;
    struct blob *blob = frame_encode(FRAME_LOCK, client, &request.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    world_event(world,
                (struct node_event){.type = NODE_EV_FRAME, .connection_id = 1, .frame = &frame});
    blob_unref(blob);
}

/* The process may stop in the middle of anything: a request that waits is answered into the void.
 */
Test(node, a_request_may_be_open_when_the_node_is_freed)
{
    struct world world;
    world_init(&world, 1);
    world_run(&world, 300);
    world_event(&world, (struct node_event){.type = NODE_EV_ACCEPTED, .connection_id = 1});
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    struct blob *blob = frame_encode(FRAME_HELLO, 1, &hello.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    world_event(&world,
                (struct node_event){.type = NODE_EV_FRAME, .connection_id = 1, .frame = &frame});
    blob_unref(blob);
    lock_send(&world, 1);
    world_run(&world, 10);
    lock_send(&world, 2);
    world_turn(&world);
    cr_assert_eq(node_update(world.node)->frames.items_count, 0, "it waits behind the older one");
    world_fini(&world);
}

/* --- The map that comes and goes --- */

#define STORE_CONNECTION  1
#define CLIENT_CONNECTION 2

static void receive_as(struct world *world, uint64_t connection_id, uint16_t type,
                       uint64_t request_id, const ProtobufCMessage *message)
{
    struct blob *blob = frame_encode(type, request_id, message, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    world_event(world, (struct node_event){
                           .type = NODE_EV_FRAME, .connection_id = connection_id, .frame = &frame});
    blob_unref(blob);
}

static void receive(struct world *world, uint64_t connection_id, uint16_t type,
                    const ProtobufCMessage *message)
{
    receive_as(world, connection_id, type, 3, message);
}

static void greet(struct world *world, uint64_t connection_id, Ostraka__PeerRole role)
{
    world_event(world,
                (struct node_event){.type = NODE_EV_ACCEPTED, .connection_id = connection_id});
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    hello.cluster_id = 7;
    hello.role = role;
    hello.store_id = role == OSTRAKA__PEER_ROLE__STORE ? 1 : 0;
    receive(world, connection_id, FRAME_HELLO, &hello.base);
}

/* A map of two ranges; without them when they are the same since `ranges_since`. */
static void map_comes(struct world *world, uint64_t request_id, uint64_t epoch,
                      uint64_t ranges_since, store_id_t leader_store, raft_term_t term)
{
    Ostraka__StoreInfo *stores[] = {&world->stores[0], &world->stores[1]};
    Ostraka__ReplicaInfo replica = OSTRAKA__REPLICA_INFO__INIT, *replicas[2] = {&replica, &replica};
    Ostraka__ReplicaInfo second = OSTRAKA__REPLICA_INFO__INIT;
    Ostraka__GroupInfo master = OSTRAKA__GROUP_INFO__INIT;
    Ostraka__GroupInfo group = OSTRAKA__GROUP_INFO__INIT, *groups[] = {&group};
    Ostraka__RangeInfo low = OSTRAKA__RANGE_INFO__INIT, high = OSTRAKA__RANGE_INFO__INIT;
    Ostraka__RangeInfo *ranges[] = {&low, &high};
    replica.store = replica.replica = 1;
    second.store = second.replica = 2;
    replicas[1] = &second;
    master.replicas = group.replicas = replicas;
    master.n_replicas = group.n_replicas = 2;
    group.id = low.group = high.group = 1;
    group.leader_store = leader_store;
    group.leader_term = term;
    low.end = high.start = (ProtobufCBinaryData){.len = 1, .data = (uint8_t *)"m"};
    low.epoch = high.epoch = epoch;
    Ostraka__Map map = OSTRAKA__MAP__INIT;
    map.cluster_id = 7;
    map.epoch = epoch;
    map.n_stores = 2;
    map.stores = stores;
    map.n_groups = 1;
    map.groups = groups;
    map.master = &master;
    map.ranges = ranges;
    map.n_ranges = ranges_since == 0 ? 2 : 0;
    map.ranges_since = ranges_since;
    receive_as(world, STORE_CONNECTION, FRAME_MAP_ANSWER, request_id, &map.base);
    world_turn(world);
}

static void push_map(struct world *world, uint64_t epoch, uint64_t ranges_since,
                     store_id_t leader_store, raft_term_t term)
{
    map_comes(world, 0, epoch, ranges_since, leader_store, term);
}

/* What the client was sent goes into its cache; how many maps it were, and how large the last. */
static size_t client_takes(struct world *world, struct map_cache *cache, size_t *out_bytes)
{
    size_t count = 0;
    const struct outbox *frames = &node_update(world->node)->frames;
    for (size_t index = 0; index < frames->items_count; index++) {
        struct frame frame = frame_of_blob(frames->items[index].frame);
        if (frames->items[index].to.id != CLIENT_CONNECTION || frame.type != FRAME_MAP_ANSWER)
            continue;
        timestamp_t heard;
        int status = map_cache_receive(cache, frame.message, &heard);
        cr_assert_neq(status, OST_PROTOCOL);
        *out_bytes = frame.message.bytes_count;
        count++;
    }
    world_update_drop(world);
    outbox_reset(&node_update(world->node)->frames);
    return count;
}

static uint64_t epoch_of_route(struct map_cache *cache, const char *key)
{
    struct coordinator_route route = {0};
    return map_cache_route(cache, bytes_of_string(key), &route) ? route.epoch : 0;
}

/* It may have older hints than the shard master's last push; what is newer is news from anybody. */
Test(node, a_map_that_another_store_was_asked_for_is_taken_when_it_is_newer)
{
    struct world world;
    struct map_cache cache;
    size_t bytes = 0;
    world_init(&world, 2);
    map_cache_init(&cache);
    greet(&world, STORE_CONNECTION, OSTRAKA__PEER_ROLE__STORE);
    greet(&world, CLIENT_CONNECTION, OSTRAKA__PEER_ROLE__CLIENT);
    Ostraka__MapRequest request = OSTRAKA__MAP_REQUEST__INIT;
    request.subscribe = true;
    receive(&world, CLIENT_CONNECTION, FRAME_MAP, &request.base);
    world_turn(&world);
    client_takes(&world, &cache, &bytes);

    map_comes(&world, 1, 3, 0, 1, 2);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 1, "any is better than none");
    map_comes(&world, 1, 3, 0, 2, 1);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 0);
    map_comes(&world, 1, 4, 0, 2, 1);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 1);
    cr_expect_eq(map_cache_epoch(&cache), 4);
    map_cache_fini(&cache);
    world_fini(&world);
}

/* It introduced itself before the map listed it, and an older map comes first. */
Test(node, a_store_that_a_later_map_lists_is_not_forgotten)
{
    struct world world;
    world_init(&world, 2);
    greet(&world, STORE_CONNECTION, OSTRAKA__PEER_ROLE__STORE);
    node_peer_learn(world.node, 3, "three:7100");
    push_map(&world, 3, 0, 1, 1);
    cr_assert_null(node_peer_find(world.node, 3));
    node_peer_learn(world.node, 3, "three:7100");
    node_peers_prune(world.node);
    node_peer_learn(world.node, 3, "three:7100");
    world_turn(&world);
    cr_expect_not_null(node_peer_find(world.node, 3));
    world_fini(&world);
}

Test(node, a_map_without_ranges_is_put_on_those_that_are_here)
{
    struct world world;
    struct map_cache cache;
    size_t whole_bytes = 0, bytes = 0;
    world_init(&world, 2);
    map_cache_init(&cache);
    greet(&world, STORE_CONNECTION, OSTRAKA__PEER_ROLE__STORE);
    greet(&world, CLIENT_CONNECTION, OSTRAKA__PEER_ROLE__CLIENT);
    Ostraka__MapRequest request = OSTRAKA__MAP_REQUEST__INIT;
    request.subscribe = true;
    receive(&world, CLIENT_CONNECTION, FRAME_MAP, &request.base);
    world_turn(&world);
    client_takes(&world, &cache, &bytes);

    push_map(&world, 3, 2, 1, 1);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 0, "there are no ranges to go with it");
    push_map(&world, 3, 0, 1, 1);
    cr_assert_eq(client_takes(&world, &cache, &whole_bytes), 1);
    cr_expect_eq(epoch_of_route(&cache, "x"), 3);
    push_map(&world, 3, 2, 1, 1);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 0, "nothing is new");
    push_map(&world, 3, 2, 2, 2);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 1, "who leads is");
    cr_expect_lt(bytes, whole_bytes);
    cr_expect_eq(map_cache_group(&cache, 1)->leader_store, 2);
    cr_expect_eq(epoch_of_route(&cache, "x"), 3);

    push_map(&world, 5, 3, 1, 3);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 1);
    cr_expect_eq(map_cache_epoch(&cache), 5, "a client is given what is newer as a whole");
    cr_expect_eq(epoch_of_route(&cache, "x"), 3, "with the ranges of before");
    push_map(&world, 8, 6, 1, 3);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 0, "they have changed since");
    push_map(&world, 8, 0, 1, 3);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 1);
    cr_expect_eq(epoch_of_route(&cache, "a"), 8);

    request.known_epoch = 8;
    receive(&world, CLIENT_CONNECTION, FRAME_MAP, &request.base);
    world_turn(&world);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 1);
    cr_expect_lt(bytes, whole_bytes, "who has it already is told so");
    request.known_epoch = 7;
    receive(&world, CLIENT_CONNECTION, FRAME_MAP, &request.base);
    world_turn(&world);
    cr_expect_eq(client_takes(&world, &cache, &bytes), 1);
    cr_expect_geq(bytes, whole_bytes);
    map_cache_fini(&cache);
    world_fini(&world);
}
