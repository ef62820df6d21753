#include "tests/support/client_world.h"

#include "base/memory.h"
#include "proto/session.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define CLUSTER_ID  77u
#define WAIT_MS_MAX 60000u

static void deliver(struct client_world *client, struct client_event event);

static store_id_t store_of_connection(uint64_t connection_id)
{
    return connection_id - KV_WORLD_CONNECTIONS;
}

/* --- What the world answers itself
 * --------------------------------------------------------------- */

static void inbox_add(struct client_world *client, uint64_t connection_id, struct blob *frame_take)
{
    cr_assert_lt(client->inbox_count, 256u);
    client->inbox[client->inbox_count] = frame_take;
    client->inbox_connections[client->inbox_count++] = connection_id;
}

static ProtobufCBinaryData field(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static struct blob *map_encode(struct client_world *client, uint64_t request_id)
{
    struct kv_world *world = client->world;
    struct arena *arena = &world->arena;
    Ostraka__Map map = OSTRAKA__MAP__INIT;
    map.cluster_id = CLUSTER_ID;
    map.epoch = 1;
    map.stores = arena_alloc(arena, world->stores_count * sizeof(*map.stores));
    Ostraka__ReplicaInfo **replicas = arena_alloc(arena, world->stores_count * sizeof(*replicas));
    for (store_id_t id = 1; id <= world->stores_count; id++) {
        Ostraka__StoreInfo *store = arena_alloc(arena, sizeof(*store));
        Ostraka__ReplicaInfo *replica = arena_alloc(arena, sizeof(*replica));
        ostraka__store_info__init(store);
        ostraka__replica_info__init(replica);
        store->id = replica->store = replica->replica = id;
        store->address = arena_printf(arena, "s%lu", (unsigned long)id);
        map.stores[map.n_stores++] = store;
        replicas[id - 1] = replica;
    }
    map.groups = arena_alloc(arena, 3 * sizeof(*map.groups));
    for (group_id_t id = 0; id < 3; id++) {
        Ostraka__GroupInfo *group = arena_alloc(arena, sizeof(*group));
        ostraka__group_info__init(group);
        group->id = id;
        group->replicas = replicas;
        group->n_replicas = world->stores_count;
        group->leader_store = id ? kv_world_leader_now(world, id) : 1;
        map.groups[map.n_groups++] = group;
    }
    map.ranges = arena_alloc(arena, client->ranges_count * sizeof(*map.ranges));
    for (uint32_t index = 0; index < client->ranges_count; index++) {
        Ostraka__RangeInfo *range = arena_alloc(arena, sizeof(*range));
        ostraka__range_info__init(range);
        range->start = field(client->ranges[index].start);
        range->end = field(client->ranges[index].end);
        range->group = client->ranges[index].group;
        range->epoch = 1;
        map.ranges[map.n_ranges++] = range;
    }
    return frame_encode(FRAME_MAP_ANSWER, request_id, &map.base, NULL, 0);
}

static bool answered_here(struct client_world *client, uint64_t connection_id,
                          const struct frame *frame)
{
    if (frame->type == FRAME_HELLO) {
        Ostraka__HelloAnswer answer = OSTRAKA__HELLO_ANSWER__INIT;
        answer.cluster_id = CLUSTER_ID;
        answer.store_id = store_of_connection(connection_id);
        inbox_add(client, connection_id,
                  frame_encode(FRAME_HELLO_ANSWER, frame->request_id, &answer.base, NULL, 0));
        return true;
    }
    if (frame->type == FRAME_MAP) {
        inbox_add(client, connection_id, map_encode(client, frame->request_id));
        return true;
    }
    if (frame->type == FRAME_TIMESTAMP) {
        Ostraka__TimestampAnswer answer = OSTRAKA__TIMESTAMP_ANSWER__INIT;
        answer.timestamp = kv_world_deadline(client->world, 0);
        inbox_add(client, connection_id,
                  frame_encode(FRAME_TIMESTAMP_ANSWER, frame->request_id, &answer.base, NULL, 0));
        return true;
    }
    return false;
}

/* --- Steps
 * --------------------------------------------------------------------------------------- */

static void frame_leaves(struct client_world *client, uint64_t connection_id, struct blob *blob)
{
    struct frame frame = frame_of_blob(blob);
    if (answered_here(client, connection_id, &frame))
        return;
    struct kv_world_store *store = &client->world->stores[store_of_connection(connection_id)];
    if (!store->is_up)
        return;
    int status = kv_server_receive(store->kv, connection_id, &frame, client->world->now_ns);
    cr_assert_eq(status, OST_OK);
}

static void frame_comes(void *context, uint64_t connection_id, struct blob *frame)
{
    inbox_add(context, connection_id, blob_ref(frame));
}

static void connects_begin(struct client_world *client, struct client_update *update)
{
    struct client_connect connects[16];
    uint32_t count = update->connects_count;
    cr_assert_leq(count, 16u);
    memcpy(connects, update->connects, count * sizeof(connects[0]));
    update->connects_count = 0;
    for (uint32_t index = 0; index < count; index++) {
        uint64_t id = KV_WORLD_CONNECTIONS + (uint64_t)(connects[index].address[1] - '0');
        client_core_connect_begun(client->core, connects[index].peer, id);
        deliver(client, (struct client_event){.type = CLIENT_EV_CONNECTED, .connection_id = id});
    }
}

static void deliver(struct client_world *client, struct client_event event)
{
    event.now_ns = client->world->now_ns;
    client_core_step(client->core, &event);
    struct client_update *update = client_core_update(client->core);
    for (size_t index = 0; index < update->frames.items_count; index++) {
        struct outgoing *outgoing = &update->frames.items[index];
        frame_leaves(client, outgoing->to.id, outgoing->frame);
    }
    outbox_reset(&update->frames);
    struct operation *operation;
    while ((operation = STAILQ_FIRST(&update->completions))) {
        STAILQ_REMOVE_HEAD(&update->completions, next);
        operation->done(operation);
    }
    update->closes_count = 0;
    connects_begin(client, update);
}

void client_world_run(struct client_world *client, uint32_t ms)
{
    for (uint32_t passed = 0; passed < ms; passed++) {
        kv_world_run(client->world, 1);
        while (client->inbox_count > 0) {
            struct blob *blob = client->inbox[0];
            uint64_t connection_id = client->inbox_connections[0];
            client->inbox_count--;
            memmove(client->inbox, client->inbox + 1,
                    client->inbox_count * sizeof(client->inbox[0]));
            memmove(client->inbox_connections, client->inbox_connections + 1,
                    client->inbox_count * sizeof(client->inbox_connections[0]));
            struct frame frame = frame_of_blob(blob);
            deliver(client, (struct client_event){.type = CLIENT_EV_FRAME,
                                                  .connection_id = connection_id,
                                                  .frame = &frame});
            blob_unref(blob);
        }
        if (client_core_update(client->core)->deadline_ns <= client->world->now_ns)
            deliver(client, (struct client_event){.type = CLIENT_EV_TIMER});
    }
}

/* --- Operations
 * ---------------------------------------------------------------------------------- */

void client_result_reset(struct client_result *result)
{
    buffer_fini(&result->value);
    buffer_fini(&result->rows);
    *result = (struct client_result){0};
}

static void operation_done(struct operation *operation)
{
    struct client_result *result = operation->done_context[0];
    if (result) {
        cr_assert(!result->is_done, "Q1: completed once");
        result->is_done = true;
        result->status = operation->status;
        buffer_append(&result->value, operation->result_value.data,
                      operation->result_value.bytes_count);
        buffer_append(&result->rows, operation->result_rows.data,
                      operation->result_rows.bytes_count);
        result->rows_count = operation->result_rows_count;
        result->more = operation->result_more;
        result->number = operation->result_number;
        snprintf(result->why, sizeof(result->why), "%s", operation->why ? operation->why : "");
    }
    operation_free(operation);
}

void client_world_submit(struct client_world *client, struct core_txn *txn,
                         struct operation *operation, struct client_result *result)
{
    if (result)
        client_result_reset(result);
    operation->txn = txn;
    operation->done = operation_done;
    operation->done_context[0] = result;
    deliver(client, (struct client_event){.type = CLIENT_EV_SUBMITTED, .operation = operation});
}

int client_world_do(struct client_world *client, struct core_txn *txn, struct operation *operation,
                    struct client_result *result)
{
    struct client_result own = {0};
    if (!result)
        result = &own;
    client_world_submit(client, txn, operation, result);
    for (uint32_t waited = 0; waited < WAIT_MS_MAX && !result->is_done; waited++)
        client_world_run(client, 1);
    cr_assert(result->is_done);
    int status = result->status;
    client_result_reset(&own);
    return status;
}

int client_world_commit(struct client_world *client, struct core_txn *txn)
{
    return client_world_do(
        client, txn, operation_new(OPERATION_TXN_COMMIT, bytes_of(NULL, 0), bytes_of(NULL, 0)),
        NULL);
}

struct core_txn *client_world_begin(struct client_world *client)
{
    return core_txn_new(client_core_coordinator_new(client->core));
}

void client_world_drop(struct client_world *client, struct core_txn *txn)
{
    client_world_do(client, txn,
                    operation_new(OPERATION_TXN_DROP, bytes_of(NULL, 0), bytes_of(NULL, 0)), NULL);
}

/* --- The world
 * ----------------------------------------------------------------------------------- */

struct client_world *client_world_new(uint32_t stores_count,
                                      const struct client_world_range *ranges,
                                      uint32_t ranges_count)
{
    struct client_world *client = memory_alloc_zeroed(1, sizeof(*client));
    client->world = kv_world_new(stores_count);
    client->world->client_frame = frame_comes;
    client->world->client_context = client;
    cr_assert_leq(ranges_count, CLIENT_WORLD_RANGES_MAX);
    memcpy(client->ranges, ranges, ranges_count * sizeof(ranges[0]));
    client->ranges_count = ranges_count;
    kv_world_create_group(client->world, 1);
    kv_world_create_group(client->world, 2);
    for (uint32_t index = 0; index < ranges_count; index++)
        kv_world_assign(client->world, ranges[index].group, ranges[index].start, ranges[index].end,
                        1);
    struct client_core_options options;
    client_core_options_default(&options);
    options.endpoints = "s1";
    options.seed = 42;
    client->core = client_core_new(&options, client->world->now_ns);
    int status = client_world_do(
        client, NULL, operation_new(OPERATION_OPEN, bytes_of(NULL, 0), bytes_of(NULL, 0)), NULL);
    cr_assert_eq(status, OST_OK);
    return client;
}

void client_world_free(struct client_world *client)
{
    deliver(client, (struct client_event){.type = CLIENT_EV_STOPPED});
    client_core_free(client->core);
    while (client->inbox_count > 0)
        blob_unref(client->inbox[--client->inbox_count]);
    kv_world_free(client->world);
    free(client);
}
