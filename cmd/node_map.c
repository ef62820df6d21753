/* node_map.c: the map as this store knows it: pushed by the shard master, handed on to clients; and
 * what this store tells about itself. */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "cmd/node_internal.h"
#include "shardmaster/master_map.h"

#include <utlist.h>

/* The shard master pushes the map every 5 s. */
#define MASTER_SILENCE_NS (6 * NS_PER_S)
/* The shard master's pushes have none. */
#define MAP_REQUEST_ID 1u

/* Clients that have this epoch's map are told who leads now, and no ranges. */
static struct blob *frame_of_hints(const Ostraka__Map *map, uint64_t request_id)
{
    Ostraka__Map hints = *map;
    hints.n_ranges = 0;
    hints.ranges_since = map->epoch;
    return frame_encode(FRAME_MAP_ANSWER, request_id, &hints.base, NULL, 0);
}

static void map_push(struct node *node, bool hints_alone)
{
    if (!node->subscribers)
        return;
    struct blob *frame = hints_alone ? frame_of_hints(node->map, 0)
                                     : frame_encode(FRAME_MAP_ANSWER, 0, &node->map->base, NULL, 0);
    struct node_connection *connection;
    DL_FOREACH2(node->subscribers, connection, subscribers_next)
    outbox_to_connection(&node->outbox, connection->id, blob_ref(frame));
    blob_unref(frame);
}

static bool map_is_sound(const Ostraka__Map *map)
{
    for (size_t i = 0; i < map->n_groups; i++)
        if (map->groups[i]->n_replicas > RAFT_MEMBERS_MAX)
            return false;
    if (!map->master || map->master->n_replicas > RAFT_MEMBERS_MAX)
        return false;
    for (size_t i = 0; i < map->n_stores; i++)
        if (map->stores[i]->address[0] == '\0' || map->stores[i]->id == 0)
            return false;
    return (map->n_ranges > 0) == (map->ranges_since == 0) && map->n_stores <= STORES_COUNT_MAX;
}

static bool hints_equal(const Ostraka__GroupInfo *a, const Ostraka__GroupInfo *b)
{
    return a->id == b->id && a->leader_store == b->leader_store && a->leader_term == b->leader_term;
}

/* Of two maps of one epoch. */
static bool maps_have_equal_hints(const Ostraka__Map *a, const Ostraka__Map *b)
{
    for (size_t i = 0; i < a->n_groups && i < b->n_groups; i++)
        if (!hints_equal(a->groups[i], b->groups[i]))
            return false;
    return hints_equal(a->master, b->master);
}

static void master_hint_take(struct node *node, const Ostraka__Map *map)
{
    node->map_received_ns = node->now_ns;
    if (map->master->leader_store != 0 && map->master->leader_store != node->master_hint) {
        node->master_hint = map->master->leader_store;
        node->report_ns = node->now_ns;
    }
}

/* One that comes without ranges is put on top of those that are here. */
static void map_adopt(struct node *node, Ostraka__Map *map, struct arena *arena_take)
{
    if (map->ranges_since != 0) {
        map->n_ranges = node->map->n_ranges;
        map->ranges = node->map->ranges;
        map->ranges_since = 0;
        arena_fini(&node->map_arena);
        node->map_arena = *arena_take;
    } else {
        arena_fini(&node->map_arena);
        arena_init(&node->map_arena);
        arena_fini(&node->ranges_arena);
        node->ranges_arena = *arena_take;
    }
    node->map = map;
}

/* Are the ranges that it leaves out those that are here? */
static bool map_is_usable(const struct node *node, const Ostraka__Map *map)
{
    return map->ranges_since == 0 || (node->map && map->ranges_since <= node->map->epoch);
}

static void map_learn_peers(struct node *node)
{
    const Ostraka__Map *map = node->map;
    for (size_t i = 0; i < map->n_stores; i++)
        node_peer_learn(node, map->stores[i]->id, map->stores[i]->address);
    bool has_self = master_map_store(map, node->options.raft.store) != NULL;
    if (HASH_COUNT(node->peers) + has_self != map->n_stores)
        node_peers_prune(node);
    node_identity_save_peers(node);
}

/* The shard master sends this map to the one whom it does not list any more, and to no other. */
static bool map_removes_us(const struct node *node, const Ostraka__Map *map)
{
    return node->map && map->epoch > node->map->epoch &&
           master_map_store(node->map, node->options.raft.store) &&
           !master_map_store(map, node->options.raft.store);
}

/* Hints change without the epoch: the master pushes only what is newer, over one connection in
 * order, and a deposed master's map has an older term in its hints at worst; both heal with the
 * next push. What another store was asked for may have old hints, so only a newer map is taken. */
void node_map_received(struct node *node, const struct frame *frame)
{
    bool was_asked = frame->request_id != 0;
    struct arena arena;
    arena_init(&arena);
    Ostraka__Map *map = (void *)message_unpack(&ostraka__map__descriptor, frame->message, &arena);
    if (!map || !map_is_sound(map) || map->cluster_id != node->options.cluster_id ||
        (node->map && map->epoch < node->map->epoch + was_asked) || RARE(NODE_MAP_IGNORED)) {
        arena_fini(&arena);
        return;
    }
    if (map_removes_us(node, map)) {
        log_write(LOG_INFO, "this store was removed from the cluster, stopping", "store=%lu",
                  (unsigned long)node->options.raft.store);
        node_shut_down(node);
    }
    master_hint_take(node, map);
    if (!map_is_usable(node, map)) {
        COVER(NODE_MAP_WITHOUT_RANGES);
        node->report_ns = node->now_ns; /* which tells the map that we have: the whole one comes */
        arena_fini(&arena);
        return;
    }
    bool is_same_epoch = node->map && map->epoch == node->map->epoch;
    bool is_same = is_same_epoch && maps_have_equal_hints(map, node->map);
    map_adopt(node, map, &arena);
    map_learn_peers(node);
    node->replicas_ns = node->now_ns;
    if (!is_same)
        map_push(node, is_same_epoch);
}

void node_map_requested(struct node *node, struct node_connection *connection,
                        const struct frame *frame)
{
    const Ostraka__MapRequest *request =
        (void *)message_unpack(&ostraka__map_request__descriptor, frame->message, &node->arena);
    if (!request) {
        node->metrics->connections_rejected_count++;
        node_connection_drop(node, connection, false);
        return;
    }
    if (request->subscribe && !connection->subscribed) {
        connection->subscribed = true;
        DL_APPEND2(node->subscribers, connection, subscribers_previous, subscribers_next);
    }
    /* No map yet: an empty one, with epoch 0, says so. */
    Ostraka__Map empty = OSTRAKA__MAP__INIT;
    empty.cluster_id = node->options.cluster_id;
    const Ostraka__Map *map = node->map ? node->map : &empty;
    bool is_known = node->map && request->known_epoch == map->epoch;
    outbox_to_connection(
        &node->outbox, connection->id,
        is_known ? frame_of_hints(map, frame->request_id)
                 : frame_encode(FRAME_MAP_ANSWER, frame->request_id, &map->base, NULL, 0));
}

uint64_t node_map_epoch_known(const struct node *node)
{
    return node->map ? node->map->epoch : node->peers_map_epoch;
}

const Ostraka__RangeInfo *node_map_range_of_key(const struct node *node, struct bytes key)
{
    if (!node->map)
        return NULL;
    size_t low = 0, high = node->map->n_ranges;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        const Ostraka__RangeInfo *range = node->map->ranges[middle];
        if (bytes_compare(key, bytes_of(range->start.data, range->start.len)) < 0)
            high = middle;
        else
            low = middle;
    }
    return node->map->ranges[low];
}

const Ostraka__GroupInfo *node_map_group(const struct node *node, group_id_t group)
{
    if (node->map && group == SHARD_MASTER_GROUP)
        return node->map->master;
    for (size_t i = 0; node->map && i < node->map->n_groups; i++)
        if (node->map->groups[i]->id == group)
            return node->map->groups[i];
    return NULL;
}

void node_report_send(struct node *node)
{
    node->report_ns = node->now_ns + (uint64_t)node->options.report_ms * NS_PER_MS;
    node->elections_reported = node->metrics->elections_won_count;
    if (RARE(NODE_REPORT_LOST))
        return;
    Ostraka__StoreReport report = OSTRAKA__STORE_REPORT__INIT;
    report.store = node->options.raft.store;
    report.address = (char *)(uintptr_t)node->options.advertise_address;
    report.map_epoch = node->map ? node->map->epoch : 0;
    report.incarnation = node->incarnation;
    report.safe_point = kv_server_safe_point(node->kv);
    if (node->options.host)
        report.host = (char *)(uintptr_t)node->options.host;
    report.log_is_slow = raft_host_log_is_slow(node->raft);
    node_replicas_report(node, &report);
    outbox_to_group(&node->outbox, SHARD_MASTER_GROUP,
                    frame_encode(FRAME_STORE_REPORT, 0, &report.base, NULL, 0));
}

bool node_hears_master(const struct node *node)
{
    return node->now_ns - node->map_received_ns < MASTER_SILENCE_NS;
}

/* Reports go to group 0's leader, as far as is known here, and it answers with the map. But it may
 * be a store that came while this one was away, after group 0 had left all those that this one
 * knows: to it none can report, and it is not let in without a map. The others know it. */
void node_map_look(struct node *node)
{
    if (node_is_joining(node) || (node->map && node_hears_master(node)))
        return;
    size_t count = HASH_COUNT(node->peers);
    const struct node_peer *peer = node->peers;
    for (uint64_t place = count > 0 ? node->map_asks_count++ % count : 0; place > 0; place--)
        peer = peer->hh.next;
    for (size_t left = count; left > 0 && !peer->connection_ids[CHANNEL_CONTROL]; left--)
        peer = peer->hh.next ? peer->hh.next : node->peers;
    if (!peer || !peer->connection_ids[CHANNEL_CONTROL])
        return;
    COVER(NODE_MAP_ASKED_OF_PEER);
    Ostraka__MapRequest request = OSTRAKA__MAP_REQUEST__INIT;
    request.known_epoch = node->map ? node->map->epoch : 0;
    outbox_to_store(&node->outbox, peer->store, CHANNEL_CONTROL,
                    frame_encode(FRAME_MAP, MAP_REQUEST_ID, &request.base, NULL, 0));
}

static void status_metrics(struct node *node, Ostraka__StatusAnswer *answer)
{
    static const char *const names[] = {
#define METRICS_NAME(name, kind, help) #name,
        METRICS_LIST(METRICS_NAME)
#undef METRICS_NAME
    };
    const uint64_t values[] = {
#define METRICS_VALUE(name, kind, help) node->metrics->name,
        METRICS_LIST(METRICS_VALUE)
#undef METRICS_VALUE
    };
    size_t count = sizeof names / sizeof names[0];
    answer->metrics = arena_alloc(&node->arena, count * sizeof *answer->metrics);
    for (size_t i = 0; i < count; i++) {
        Ostraka__MetricValue *metric = arena_alloc(&node->arena, sizeof *metric);
        ostraka__metric_value__init(metric);
        metric->name = (char *)(uintptr_t)names[i];
        metric->value = values[i];
        answer->metrics[i] = metric;
    }
    answer->n_metrics = count;
}

void node_status_requested(struct node *node, uint64_t connection_id, const struct frame *frame)
{
    Ostraka__StatusAnswer answer = OSTRAKA__STATUS_ANSWER__INIT;
    answer.store = node->options.raft.store;
    answer.cluster_id = node->options.cluster_id;
    answer.address = (char *)(uintptr_t)node->options.advertise_address;
    answer.heard_timestamp = raft_host_heard_timestamp(node->raft);
    answer.uptime_ms = (node->now_ns - node->started_ns) / NS_PER_MS;
    answer.version = (char *)(uintptr_t)OSTRAKA_VERSION;
    Ostraka__GroupStatus **kv_groups;
    size_t kv_groups_count;
    kv_server_status(node->kv, &node->arena, &kv_groups, &kv_groups_count);
    answer.groups = arena_alloc(&node->arena, (kv_groups_count + 1) * sizeof *answer.groups);
    if (node->master)
        master_status(node->master, &node->arena, &answer.groups[answer.n_groups++]);
    for (size_t i = 0; i < kv_groups_count; i++)
        answer.groups[answer.n_groups++] = kv_groups[i];
    status_metrics(node, &answer);
    outbox_to_connection(
        &node->outbox, connection_id,
        frame_encode(FRAME_STATUS_ANSWER, frame->request_id, &answer.base, NULL, 0));
}
