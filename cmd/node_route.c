/* node_route.c: from an address to a connection, or back into this process; and from a frame to the
 * part that it is for. */
#include "base/log.h"
#include "base/sometimes.h"
#include "cmd/node_internal.h"

/* --- Where does it go?
 * -------------------------------------------------------------------------------- */

static store_id_t any_replica(struct node *node, const Ostraka__GroupInfo *group)
{
    return group && group->n_replicas > 0
               ? group->replicas[random_below(&node->random, group->n_replicas)]->store
               : 0;
}

static store_id_t any_peer(struct node *node)
{
    size_t count = HASH_COUNT(node->peers);
    uint64_t place = count > 0 ? random_below(&node->random, count) : 0;
    const struct node_peer *peer = node->peers;
    while (peer && place-- > 0)
        peer = peer->hh.next;
    return peer ? peer->store : 0;
}

/* Group 0's leader, as a store knows it that has no replica of it. */
static store_id_t master_leader(struct node *node)
{
    const struct node_peer *peer = node_peer_find(node, node->master_hint);
    /* Somebody may believe in a leader that is gone, and nobody say so: then all are asked in turn.
     */
    bool is_fresh = node->now_ns - node->map_received_ns < NODE_MAP_SILENCE_NS_MAX;
    if (peer && peer->connection_ids[CHANNEL_CONTROL] != 0 && is_fresh)
        return node->master_hint;
    if (node->map)
        return any_replica(node, node->map->master);
    const struct master_options *master = &node->options.master;
    if (master->initial_stores_count == 0)
        return any_peer(node);
    return master
        ->initial_stores[random_below(&node->random, master_initial_replicas_count(master))]
        .id;
}

/* The store that leads a group, as far as is known here. A replica of our own knows best; but one
 * that was struck out while it was away hears of no leader any more, and the map that says so comes
 * from one. 0: nobody. */
static store_id_t leader_of_group(struct node *node, group_id_t group)
{
    struct raft_leadership leadership;
    if (RARE(NODE_LEADER_UNKNOWN))
        return 0;
    if (raft_host_leadership(node->raft, group, &leadership) == OST_OK &&
        leadership.leader_store != 0)
        return leadership.leader_store;
    if (group == SHARD_MASTER_GROUP)
        return master_leader(node);
    const Ostraka__GroupInfo *info = node_map_group(node, group);
    if (info && info->leader_store)
        return info->leader_store;
    return any_replica(node, info);
}

static store_id_t leader_of_key(struct node *node, struct bytes key)
{
    group_id_t group = kv_server_group_of_key(node->kv, key);
    if (group == SHARD_MASTER_GROUP) {
        const Ostraka__RangeInfo *range = node_map_range_of_key(node, key);
        if (!range)
            return 0;
        group = range->group;
    }
    return leader_of_group(node, group);
}

/* The connection for an item; CONNECTION_LOCAL for this process; false when it leads nowhere now,
 * and the frame is dropped: who waits for an answer sends it again. */
static bool resolve(struct node *node, const struct outgoing *item, uint64_t *out_connection_id)
{
    store_id_t store = 0;
    switch (item->to.kind) {
    case ADDRESS_CONNECTION:
        *out_connection_id = item->to.id;
        return true;
    case ADDRESS_STORE:
        store = item->to.id;
        break;
    case ADDRESS_GROUP:
        store = leader_of_group(node, item->to.id);
        break;
    case ADDRESS_KEY:
        store = leader_of_key(node, blob_bytes(item->to.key));
        break;
    }
    if (store == node->options.raft.store) {
        *out_connection_id = CONNECTION_LOCAL;
        return true;
    }
    const struct node_peer *peer = node_peer_find(node, store);
    if (!peer || peer->connection_ids[item->to.channel] == 0)
        return false;
    *out_connection_id = peer->connection_ids[item->to.channel];
    return true;
}

/* Delivering to ourselves may put more into the outbox, so items are taken by index until none is
 * left. This ends: a local answer is the last frame of its exchange, and what is retried waits for
 * a timer. */
bool node_route_all(struct node *node)
{
    bool delivered = false;
    for (size_t i = 0; i < node->outbox.items_count; i++) {
        struct outgoing item = node->outbox.items[i];
        uint64_t connection_id;
        bool known = resolve(node, &item, &connection_id);
        blob_unref(item.to.key);
        node->outbox.items[i] = (struct outgoing){.to = {.kind = ADDRESS_CONNECTION}};
        if (!known) {
            blob_unref(item.frame);
        } else if (connection_id == CONNECTION_LOCAL) {
            ASSERT(item.valid_until_ns == NS_NEVER); /* no clock is read in here */
            struct frame frame = frame_of_blob(item.frame);
            node_dispatch(node, CONNECTION_LOCAL, &frame);
            blob_unref(item.frame);
            delivered = true;
        } else {
            outbox_to_connection_until(&node->update.frames, connection_id, item.valid_until_ns,
                                       item.frame);
        }
    }
    outbox_reset(&node->outbox);
    return delivered;
}

/* --- Whose is it?
 * ---------------------------------------------------------------------------------------- */

#define NOT_LEADER(message)                                                                        \
    do {                                                                                           \
        (message)->status = OST_NOT_LEADER;                                                        \
        (message)->leader_store = node->master_hint;                                               \
    } while (0)

/* Anybody may ask any store; whoever does not lead group 0 says who does. The answer is the frame
 * of the next number. */
static int master_refuse(struct node *node, uint64_t connection_id, const struct frame *frame)
{
    union {
        ProtobufCMessage base;
        Ostraka__TimestampAnswer timestamp;
        Ostraka__ChangeReplicasAnswer change_replicas;
        Ostraka__HoldAnswer hold;
        Ostraka__ChangeRangeAnswer change_range;
        Ostraka__ProgressAnswer progress;
        Ostraka__ChangeStoreAnswer change_store;
    } answer;
    switch (frame->type) {
    case FRAME_TIMESTAMP:
        ostraka__timestamp_answer__init(&answer.timestamp);
        NOT_LEADER(&answer.timestamp);
        break;
    case FRAME_CHANGE_REPLICAS:
        ostraka__change_replicas_answer__init(&answer.change_replicas);
        NOT_LEADER(&answer.change_replicas);
        break;
    case FRAME_HOLD:
        ostraka__hold_answer__init(&answer.hold);
        NOT_LEADER(&answer.hold);
        break;
    case FRAME_CHANGE_STORE:
        ostraka__change_store_answer__init(&answer.change_store);
        NOT_LEADER(&answer.change_store);
        break;
    case FRAME_CHANGE_RANGE:
        ostraka__change_range_answer__init(&answer.change_range);
        NOT_LEADER(&answer.change_range);
        break;
    default:
        ASSERT(frame->type == FRAME_PROGRESS);
        ostraka__progress_answer__init(&answer.progress);
        NOT_LEADER(&answer.progress);
        break;
    }
    outbox_to_connection(
        &node->outbox, connection_id,
        frame_encode((uint16_t)(frame->type + 1), frame->request_id, &answer.base, NULL, 0));
    return OST_OK;
}
#undef NOT_LEADER

/* What is for group 0's leader, from anyone. */
static int master_dispatch(struct node *node, uint64_t connection_id, const struct frame *frame)
{
    return node->master
               ? master_receive(node->master, connection_id, frame, node->now_ns, node->wall_ms)
               : master_refuse(node, connection_id, frame);
}

static int create_replica(struct node *node, const struct frame *frame)
{
    const Ostraka__CreateReplica *command =
        (void *)message_unpack(&ostraka__create_replica__descriptor, frame->message, &node->arena);
    if (!command)
        return OST_PROTOCOL;
    if (command->store != node->options.raft.store)
        return OST_OK;
    int status = node_replica_create(node, command);
    uint64_t left_out;
    if (status != OST_OK && log_limit_passes(&node->create_warnings, node->now_ns, &left_out))
        log_write(LOG_INFO, "cannot make a replica now",
                  "store=%lu group=%lu replica=%lu status=%s left_out=%lu",
                  (unsigned long)node->options.raft.store, (unsigned long)command->group,
                  (unsigned long)command->replica, ost_status_name(status), left_out);
    return OST_OK;
}

static int found(struct node *node, store_id_t store, const struct frame *frame)
{
    const Ostraka__Found *message =
        (void *)message_unpack(&ostraka__found__descriptor, frame->message, &node->arena);
    if (!message)
        return OST_PROTOCOL;
    node_found_received(node, store, message);
    return OST_OK;
}

static int found_answer(struct node *node, store_id_t store, const struct frame *frame)
{
    const Ostraka__FoundAnswer *message =
        (void *)message_unpack(&ostraka__found_answer__descriptor, frame->message, &node->arena);
    if (!message)
        return OST_PROTOCOL;
    node_found_answered(node, store, message);
    return OST_OK;
}

/* A store without a replica of group 0 learns here who leads it. */
static void master_hint_learn(struct node *node, const struct frame *frame)
{
    if (node->master)
        return;
    const Ostraka__TimestampAnswer *answer = (void *)message_unpack(
        &ostraka__timestamp_answer__descriptor, frame->message, &node->arena);
    if (answer && answer->status == OST_NOT_LEADER)
        node->master_hint = answer->leader_store;
}

static int transfer_leader(struct node *node, const struct frame *frame)
{
    const Ostraka__TransferLeader *command =
        (void *)message_unpack(&ostraka__transfer_leader__descriptor, frame->message, &node->arena);
    if (!command)
        return OST_PROTOCOL;
    node_leader_transfer(node, command);
    return OST_OK;
}

/* What only stores may say. `store` is who speaks; ourselves included. */
static int dispatch_from_store(struct node *node, store_id_t store, uint64_t connection_id,
                               const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_RAFT_BATCH:
    case FRAME_RAFT_SNAPSHOT_CHUNK:
        return raft_host_receive(node->raft, store, frame, node->now_ns);
    case FRAME_STORE_REPORT:
    case FRAME_RANGE_REPORT:
        return node->master
                   ? master_receive(node->master, connection_id, frame, node->now_ns, node->wall_ms)
                   : OST_OK;
    case FRAME_CREATE_REPLICA:
        return create_replica(node, frame);
    case FRAME_TRANSFER_LEADER:
        return transfer_leader(node, frame);
    case FRAME_MAP_ANSWER:
        node_map_received(node, frame);
        return OST_OK;
    case FRAME_FOUND:
        return found(node, store, frame);
    case FRAME_FOUND_ANSWER:
        return found_answer(node, store, frame);
    case FRAME_TIMESTAMP_ANSWER:
        master_hint_learn(node, frame);
        return kv_server_timestamp_answered(node->kv, frame, node->now_ns);
    case FRAME_ASSIGN_RANGE:
    case FRAME_RANGE_ORDER:
    case FRAME_RANGE_FETCH:
    case FRAME_RANGE_FETCH_ANSWER:
    case FRAME_SAFE_POINT:
    case FRAME_RESOLVE:
    case FRAME_RESOLVE_ANSWER:
    case FRAME_INQUIRE:
    case FRAME_INQUIRE_ANSWER:
    case FRAME_CLOSE_TIMESTAMP:
    case FRAME_CLOSE_TIMESTAMP_ANSWER:
        return kv_server_receive(node->kv, connection_id, frame, node->now_ns);
    default:
        return OST_UNSUPPORTED;
    }
}

static int dispatch_from_anyone(struct node *node, struct node_connection *connection,
                                uint64_t connection_id, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_TIMESTAMP:
    case FRAME_CHANGE_REPLICAS:
    case FRAME_CHANGE_STORE:
    case FRAME_HOLD:
    case FRAME_CHANGE_RANGE:
    case FRAME_PROGRESS:
        return master_dispatch(node, connection_id, frame);
    case FRAME_MAP:
        if (connection)
            node_map_requested(node, connection, frame);
        return OST_OK;
    case FRAME_STATUS:
        node_status_requested(node, connection_id, frame);
        return OST_OK;
    case FRAME_TXNS:
        return node_txns_requested(node, connection_id, frame);
    case FRAME_GET:
    case FRAME_LOCK:
    case FRAME_SCAN:
    case FRAME_PREPARE:
    case FRAME_COMMIT:
    case FRAME_ABORT:
    case FRAME_VALIDATE:
    case FRAME_TXN_HEARTBEAT:
        return kv_server_receive(node->kv, connection_id, frame, node->now_ns);
    default:
        return OST_UNSUPPORTED;
    }
}

static int dispatch(struct node *node, struct node_connection *connection, uint64_t connection_id,
                    const struct frame *frame)
{
    if (connection && frame->type == FRAME_HELLO) {
        node_hello_received(node, connection, frame);
        return OST_OK;
    }
    if (connection && frame->type == FRAME_HELLO_ANSWER) {
        node_hello_answered(node, connection, frame);
        return OST_OK;
    }
    if (connection && connection->state != CONNECTION_OPEN)
        return OST_PROTOCOL;
    if (connection && connection->is_join)
        return node_join_received(node, frame);
    bool from_store = !connection || connection->is_store;
    store_id_t store = connection ? connection->store : node->options.raft.store;
    int status =
        from_store ? dispatch_from_store(node, store, connection_id, frame) : OST_UNSUPPORTED;
    return status == OST_UNSUPPORTED ? dispatch_from_anyone(node, connection, connection_id, frame)
                                     : status;
}

void node_dispatch(struct node *node, uint64_t connection_id, const struct frame *frame)
{
    struct node_connection *connection = NULL;
    if (connection_id != CONNECTION_LOCAL) {
        connection = node_connection_find(node, connection_id);
        if (!connection)
            return;
    }
    int status = dispatch(node, connection, connection_id, frame);
    if (status != OST_PROTOCOL && status != OST_UNSUPPORTED)
        return;
    ASSERT(connection_id != CONNECTION_LOCAL); /* our own parts speak the protocol */
    node->metrics->connections_rejected_count++;
    log_write(LOG_WARN, "closed a connection that broke the protocol",
              "store=%lu connection=%lu frame=%s", (unsigned long)node->options.raft.store,
              (unsigned long)connection_id, frame_type_name(frame->type));
    connection = node_connection_find(node, connection_id);
    if (connection)
        node_connection_drop(node, connection, false);
}
