#include "tests/support/kv_world.h"

#include "base/memory.h"
#include "base/random.h"
#include "proto/write_set.h"
#include "shardkv/kv_keys.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define WAIT_MS_MAX      20000u
#define EPOCH_MS         1000000u
#define FIRST_GENERATION 1u

static struct kv_world_store *world_store(struct kv_world *world, store_id_t id)
{
    cr_assert(id >= 1 && id <= world->stores_count);
    return &world->stores[id];
}

/* --- One store ---------------------------------------------------------------------------------
 */

static void log_operations_do(struct kv_world *world, struct kv_world_store *store)
{
    size_t segment_bytes = world->host_options.log_segment_bytes;
    struct log_operation operations[LOG_OPERATIONS_PER_TURN_MAX];
    uint32_t count = store->update.log_operations_count;
    memcpy(operations, store->update.log_operations, count * sizeof(operations[0]));
    store->update.log_operations_count = 0;
    for (uint32_t index = 0; index < count; index++) {
        const struct log_operation *operation = &operations[index];
        cr_assert_lt(operation->segment, KV_WORLD_SEGMENTS_MAX);
        uint8_t **segment = &store->segments[operation->segment];
        if (operation->type == LOG_OPERATION_CREATE) {
            *segment = memory_alloc_zeroed(1, segment_bytes);
        } else if (operation->type == LOG_OPERATION_RETIRE) {
            free(*segment);
            *segment = NULL;
        } else {
            cr_assert_leq(operation->offset + operation->bytes_count, segment_bytes);
            memcpy(*segment + operation->offset, operation->data, operation->bytes_count);
        }
        raft_host_log_done(store->host, operation->type, operation->segment, operation->cookie,
                           world->now_ns);
    }
}

static void jobs_do(struct kv_world *world, struct job **jobs)
{
    if (world->are_jobs_held)
        return;
    while (*jobs) {
        struct job *job = *jobs;
        *jobs = job->next;
        job->run(job);
        job->done(job);
    }
}

static void packets_take(struct kv_world *world, struct kv_world_store *store)
{
    for (size_t index = 0; index < store->outbox.items_count; index++) {
        if (world->packets_count == world->packets_capacity) {
            world->packets_capacity = world->packets_capacity ? 2 * world->packets_capacity : 64;
            world->packets =
                memory_realloc(world->packets, world->packets_capacity * sizeof(world->packets[0]));
        }
        struct outgoing *item = &store->outbox.items[index];
        if (item->valid_until_ns <= world->now_ns + world->stopped_before_send_ns) {
            world->frames_outlived_count++;
            continue;
        }
        world->packets[world->packets_count++] =
            (struct kv_world_packet){store->id, item->to, blob_ref(item->frame)};
        if (item->to.key)
            blob_ref(item->to.key);
    }
    outbox_reset(&store->outbox);
}

static void store_turn(struct kv_world *world, struct kv_world_store *store)
{
    kv_server_timer(store->kv, world->now_ns);
    raft_host_timer(store->host, world->now_ns);
    do {
        store->update.more_to_apply = false;
        kv_server_turn_ended(store->kv, world->now_ns);
        raft_host_turn_ended(store->host, world->now_ns);
        jobs_do(world, &store->jobs);
        jobs_do(world, &store->update.jobs);
        log_operations_do(world, store);
    } while (store->update.more_to_apply || store->update.log_operations_count > 0);
    raft_host_turn_ended(store->host, world->now_ns);
    packets_take(world, store);
}

void kv_world_start(struct kv_world *world, store_id_t id)
{
    struct kv_world_store *store = world_store(world, id);
    cr_assert(!store->is_up);
    char why[256] = "";
    struct raft_host_options options = world->host_options;
    options.store = id;
    options.seed = id * 7919 + world->now_ns;
    options.metrics = &store->metrics;
    outbox_init(&store->outbox);
    store->update = (struct raft_host_update){.outbox = &store->outbox};
    store->host = raft_host_new(&options, &store->update);
    int status = OST_OK;
    for (uint32_t segment = 0; segment < KV_WORLD_SEGMENTS_MAX; segment++) {
        if (!store->segments[segment])
            continue;
        status = raft_host_recover_segment(
            store->host, segment, bytes_of(store->segments[segment], options.log_segment_bytes),
            why);
        cr_assert_eq(status, OST_OK, "%s", why);
    }
    status = raft_host_recover_end(store->host, why);
    cr_assert_eq(status, OST_OK, "%s", why);
    struct kv_environment environment = {
        .store_id = id,
        .store = store->store,
        .host = store->host,
        .outbox = &store->outbox,
        .jobs = &store->jobs,
        .metrics = &store->metrics,
    };
    store->kv = kv_server_new(&world->kv_options, &environment);
    status = kv_server_load(store->kv, world->now_ns, why);
    cr_assert_eq(status, OST_OK, "%s", why);
    store->is_up = true;
}

static void store_stop(struct kv_world *world, struct kv_world_store *store)
{
    world->are_jobs_held = false;
    jobs_do(world, &store->jobs);
    jobs_do(world, &store->update.jobs);
    raft_host_free(store->host);
    kv_server_free(store->kv);
    outbox_fini(&store->outbox);
    store->is_up = false;
}

void kv_world_crash(struct kv_world *world, store_id_t id)
{
    struct kv_world_store *store = world_store(world, id);
    store_stop(world, store);
    store_memory_crash(store->store);
}

static void flush_done(void *context, int status)
{
    cr_assert_eq(status, OST_OK);
    *(bool *)context = true;
}

void kv_world_flush(struct kv_world *world, store_id_t id)
{
    bool is_done = false;
    kv_server_flush(world_store(world, id)->kv, flush_done, &is_done);
    kv_world_run(world, 2);
    cr_assert(is_done);
}

void kv_world_write_versions(struct kv_world *world, const char *user_key, timestamp_t first,
                             uint32_t count, size_t value_bytes)
{
    struct store *store = world_store(world, 1)->store;
    struct store_batch *batch = store_batch_new(store);
    struct buffer key = BUFFER_INIT, value = BUFFER_INIT;
    struct random random;
    random_init(&random, 7);
    for (uint32_t index = 0; index < count; index++) {
        kv_key_data(&key, 1, FIRST_GENERATION, bytes_of_string(user_key), first + index);
        buffer_reset(&value);
        buffer_append_u8(&value, WRITE_PUT);
        while (value.bytes_count < value_bytes)
            buffer_append_u64_be(&value, random_next(&random));
        store_batch_put(batch, buffer_bytes(&key), buffer_bytes(&value));
        if (index % 1000 == 999 || index == count - 1) {
            int status;
            while ((status = store_write(store, batch)) == OST_BUSY)
                cr_assert_eq(store_flush(store), OST_OK);
            cr_assert_eq(status, OST_OK);
            store_batch_reset(batch);
        }
    }
    store_batch_free(batch);
    buffer_fini(&key);
    buffer_fini(&value);
}

struct job *kv_world_take_job(struct kv_world *world, store_id_t id)
{
    struct kv_world_store *store = world_store(world, id);
    world->are_jobs_held = true;
    for (uint32_t ms = 0; ms < 5000 && !store->jobs; ms++)
        kv_world_run(world, 1);
    struct job *job = store->jobs;
    cr_assert_not_null(job);
    cr_assert_null(job->next);
    store->jobs = NULL;
    world->are_jobs_held = false;
    return job;
}

void kv_world_set_store(struct kv_world *world, store_id_t id, struct store *rows_take)
{
    struct kv_world_store *store = world_store(world, id);
    store_stop(world, store);
    store_close(store->store);
    store->store = rows_take;
    kv_world_start(world, id);
}

void kv_world_safe_point(struct kv_world *world, timestamp_t safe_point)
{
    Ostraka__SafePoint message = OSTRAKA__SAFE_POINT__INIT;
    message.safe_point = safe_point;
    struct blob *blob = frame_encode(FRAME_SAFE_POINT, 0, &message.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    for (store_id_t id = 1; id <= world->stores_count; id++)
        if (world->stores[id].is_up)
            cr_assert_eq(
                kv_server_receive(world->stores[id].kv, CONNECTION_LOCAL, &frame, world->now_ns),
                OST_OK);
    blob_unref(blob);
}

/* --- The network -------------------------------------------------------------------------------
 */

static void oracle_answer_deliver(struct kv_world *world, store_id_t to, struct blob *answer_take)
{
    struct frame back = frame_of_blob(answer_take);
    int status = kv_server_timestamp_answered(world_store(world, to)->kv, &back, world->now_ns);
    cr_assert_eq(status, OST_OK);
    blob_unref(answer_take);
}

static void oracle_answer(struct kv_world *world, store_id_t from, const struct frame *frame)
{
    if (world->is_oracle_down)
        return;
    timestamp_t now = timestamp_from_ms(EPOCH_MS + world->now_ns / NS_PER_MS);
    world->timestamp = world->timestamp < now ? now : world->timestamp + 1;
    Ostraka__TimestampAnswer answer = OSTRAKA__TIMESTAMP_ANSWER__INIT;
    answer.timestamp = world->timestamp;
    struct blob *blob =
        frame_encode(FRAME_TIMESTAMP_ANSWER, frame->request_id, &answer.base, NULL, 0);
    if (!world->is_oracle_held) {
        oracle_answer_deliver(world, from, blob);
        return;
    }
    cr_assert_lt(world->held_count, 16);
    world->held[world->held_count++] = (struct kv_world_packet){.from = from, .frame = blob};
}

/* A range that a group is told of, until it reports that it owns it. */
struct kv_world_assigning {
    group_id_t group;
    const Ostraka__RangeInfo *range;
    bool is_heard;
};

static void assign_heard(struct kv_world_assigning *assigning, const Ostraka__RangeReport *report)
{
    for (size_t index = 0; index < report->n_ranges; index++) {
        const Ostraka__RangeFact *fact = report->ranges[index];
        if (report->group == assigning->group && fact->epoch == assigning->range->epoch &&
            fact->state == OSTRAKA__RANGE_STATE__RANGE_OWNED &&
            bytes_equal(bytes_of(fact->start.data, fact->start.len),
                        bytes_of(assigning->range->start.data, assigning->range->start.len)))
            assigning->is_heard = true;
    }
}

static void master_receive(struct kv_world *world, store_id_t from, const struct frame *frame)
{
    if (frame->type == FRAME_TIMESTAMP) {
        oracle_answer(world, from, frame);
        return;
    }
    cr_assert_eq(frame->type, FRAME_RANGE_REPORT);
    struct arena arena;
    arena_init(&arena);
    const Ostraka__RangeReport *report = (const Ostraka__RangeReport *)message_unpack(
        &ostraka__range_report__descriptor, frame->message, &arena);
    cr_assert_not_null(report);
    if (world->assigning)
        assign_heard(world->assigning, report);
    if (world->range_report)
        world->range_report(world->range_context, report);
    arena_fini(&arena);
}

static struct kv_world_store *leader_of_key(struct kv_world *world, struct bytes key)
{
    for (store_id_t id = 1; id <= world->stores_count; id++) {
        struct kv_world_store *store = &world->stores[id];
        group_id_t group = store->is_up ? kv_server_group_of_key(store->kv, key) : 0;
        if (group && kv_world_leader_now(world, group) == id)
            return store;
    }
    return NULL;
}

static void packet_deliver(struct kv_world *world, const struct kv_world_packet *packet)
{
    struct frame frame = frame_of_blob(packet->frame);
    struct kv_world_store *to = NULL;
    int status = OST_OK;
    switch (packet->to.kind) {
    case ADDRESS_CONNECTION:
        if (packet->to.id >= KV_WORLD_CONNECTIONS) {
            world->client_frame(world->client_context, packet->to.id, packet->frame);
            return;
        }
        cr_assert_lt(frame.request_id, 4096);
        cr_assert_null(world->answers[frame.request_id], "answered twice");
        world->answers[frame.request_id] = blob_ref(packet->frame);
        return;
    case ADDRESS_GROUP:
        if (packet->to.id == SHARD_MASTER_GROUP) {
            if (world->stores[packet->from].is_up)
                master_receive(world, packet->from, &frame);
            return;
        }
        if (kv_world_leader_now(world, packet->to.id) != 0)
            to = &world->stores[kv_world_leader_now(world, packet->to.id)];
        break;
    case ADDRESS_STORE:
        to = world_store(world, packet->to.id);
        break;
    case ADDRESS_KEY:
        to = leader_of_key(world, blob_bytes(packet->to.key));
        if (world->is_resolution_lost && frame.type == FRAME_RESOLVE)
            to = NULL;
        break;
    }
    if (world->is_lost && world->is_lost(world->lost_context, &frame))
        to = NULL;
    bool is_cut =
        to && to->id != packet->from && (world->isolated[to->id] || world->isolated[packet->from]);
    if (!to || !to->is_up || is_cut) {
        world->frames_dropped_count++;
        return;
    }
    if (frame.type == FRAME_RAFT_BATCH || frame.type == FRAME_RAFT_SNAPSHOT_CHUNK)
        status = raft_host_receive(to->host, packet->from, &frame, world->now_ns);
    else
        status = kv_server_receive(to->kv, CONNECTION_LOCAL, &frame, world->now_ns);
    cr_assert_eq(status, OST_OK);
}

static void packets_deliver(struct kv_world *world)
{
    struct kv_world_packet *packets = world->packets;
    size_t count = world->packets_count;
    world->packets = NULL;
    world->packets_count = world->packets_capacity = 0;
    for (size_t index = 0; index < count; index++) {
        packet_deliver(world, &packets[index]);
        blob_unref(packets[index].frame);
        blob_unref(packets[index].to.key);
    }
    free(packets);
    while (!world->is_oracle_held && world->held_count > 0) {
        struct kv_world_packet *held = &world->held[--world->held_count];
        oracle_answer_deliver(world, held->from, held->frame);
    }
}

void kv_world_run(struct kv_world *world, uint32_t ms)
{
    for (uint32_t passed = 0; passed < ms; passed++) {
        for (store_id_t id = 1; id <= world->stores_count; id++) {
            if (!world->stores[id].is_up)
                continue;
            store_turn(world, &world->stores[id]);
            cr_assert_null(kv_server_fatal(world->stores[id].kv));
        }
        packets_deliver(world);
        world->now_ns += NS_PER_MS;
    }
}

/* --- The world ---------------------------------------------------------------------------------
 */

struct kv_world *kv_world_new(uint32_t stores_count)
{
    return kv_world_new_leased(stores_count, 0);
}

struct kv_world *kv_world_new_leased(uint32_t stores_count, uint32_t lease_ms)
{
    struct kv_world *world = memory_alloc_zeroed(1, sizeof(*world));
    world->now_ns = NS_PER_S;
    world->stores_count = stores_count;
    raft_host_options_default(&world->host_options);
    world->host_options.log_segment_bytes = 4u << 20;
    world->host_options.raft.lease_ms = lease_ms;
    kv_options_default(&world->kv_options);
    arena_init(&world->arena);
    for (store_id_t id = 1; id <= stores_count; id++) {
        world->stores[id].id = id;
        world->stores[id].store = store_new_memory();
        kv_world_start(world, id);
    }
    return world;
}

void kv_world_free(struct kv_world *world)
{
    for (store_id_t id = 1; id <= world->stores_count; id++) {
        struct kv_world_store *store = &world->stores[id];
        if (store->is_up)
            store_stop(world, store);
        store_close(store->store);
        for (uint32_t segment = 0; segment < KV_WORLD_SEGMENTS_MAX; segment++)
            free(store->segments[segment]);
    }
    while (world->held_count > 0)
        blob_unref(world->held[--world->held_count].frame);
    for (size_t index = 0; index < world->packets_count; index++) {
        blob_unref(world->packets[index].frame);
        blob_unref(world->packets[index].to.key);
    }
    free(world->packets);
    for (size_t index = 0; index < 4096; index++)
        blob_unref(world->answers[index]);
    arena_fini(&world->arena);
    free(world);
}

store_id_t kv_world_leader_now(struct kv_world *world, group_id_t group)
{
    store_id_t found = 0;
    raft_term_t term = 0;
    for (store_id_t id = 1; id <= world->stores_count; id++) {
        struct raft_leadership leadership;
        if (!world->stores[id].is_up ||
            raft_host_leadership(world->stores[id].host, group, &leadership) != OST_OK ||
            !leadership.ready || leadership.term <= term)
            continue;
        found = id;
        term = leadership.term;
    }
    return found;
}

store_id_t kv_world_leader(struct kv_world *world, group_id_t group)
{
    for (uint32_t waited = 0; waited < WAIT_MS_MAX; waited++) {
        store_id_t leader = kv_world_leader_now(world, group);
        if (leader && !world->isolated[leader])
            return leader;
        kv_world_run(world, 1);
    }
    cr_assert_fail("group %lu has no leader", group);
    return 0;
}

void kv_world_create_group(struct kv_world *world, group_id_t group)
{
    Ostraka__RaftConfiguration configuration = OSTRAKA__RAFT_CONFIGURATION__INIT;
    Ostraka__RaftConfiguration__Member members[KV_WORLD_STORES_MAX];
    Ostraka__RaftConfiguration__Member *pointers[KV_WORLD_STORES_MAX];
    for (uint32_t index = 0; index < world->stores_count; index++) {
        ostraka__raft_configuration__member__init(&members[index]);
        members[index].replica = 10 * group + index + 1;
        members[index].store = index + 1;
        members[index].voter_old = true;
        members[index].voter_new = true;
        pointers[index] = &members[index];
    }
    configuration.n_members = world->stores_count;
    configuration.members = pointers;
    for (store_id_t id = 1; id <= world->stores_count; id++) {
        Ostraka__CreateReplica create = OSTRAKA__CREATE_REPLICA__INIT;
        create.store = id;
        create.group = group;
        create.group_epoch = 1;
        create.replica = 10 * group + id;
        create.configuration = &configuration;
        for (int time = 0; time < 2; time++)
            cr_assert_eq(kv_server_create_replica(world->stores[id].kv, &create, world->now_ns),
                         OST_OK);
    }
    kv_world_leader(world, group);
}

void kv_world_assign(struct kv_world *world, group_id_t group, const char *start, const char *end,
                     uint64_t epoch)
{
    Ostraka__RangeInfo range = OSTRAKA__RANGE_INFO__INIT;
    range.start = (ProtobufCBinaryData){strlen(start), (uint8_t *)(uintptr_t)start};
    range.end = (ProtobufCBinaryData){strlen(end), (uint8_t *)(uintptr_t)end};
    range.group = group;
    range.epoch = epoch;
    Ostraka__AssignRange assign = OSTRAKA__ASSIGN_RANGE__INIT;
    assign.group = group;
    assign.group_epoch = 1;
    assign.range = &range;
    struct blob *blob = frame_encode(FRAME_ASSIGN_RANGE, 0, &assign.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    struct kv_world_assigning assigning = {.group = group, .range = &range};
    world->assigning = &assigning;
    for (uint32_t tries = 0; tries < 100 && !assigning.is_heard; tries++) {
        store_id_t leader = kv_world_leader(world, group);
        cr_assert_eq(
            kv_server_receive(world->stores[leader].kv, CONNECTION_LOCAL, &frame, world->now_ns),
            OST_OK);
        kv_world_run(world, 20);
    }
    world->assigning = NULL;
    blob_unref(blob);
    cr_assert(assigning.is_heard);
}

void kv_world_expect_equal_rows(struct kv_world *world, store_id_t a, store_id_t b,
                                group_id_t group)
{
    static const uint8_t kinds[] = {KV_ROW_DATA, KV_ROW_OUTCOME};
    for (size_t kind = 0; kind < sizeof kinds; kind++) {
        struct buffer lower = BUFFER_INIT, upper = BUFFER_INIT;
        kv_key_kind(&lower, group, 1, kinds[kind]);
        kv_key_kind(&upper, group, 1, (uint8_t)(kinds[kind] + 1));
        struct store_iterator *of[2];
        const store_id_t ids[2] = {a, b};
        for (int i = 0; i < 2; i++) {
            of[i] = store_iterator_new(world->stores[ids[i]].store, NULL, buffer_bytes(&lower),
                                       buffer_bytes(&upper), STORE_MAY_BLOCK);
            store_iterator_first(of[i]);
        }
        size_t rows_count = 0;
        for (; store_iterator_valid(of[0]) && store_iterator_valid(of[1]); rows_count++) {
            cr_assert(bytes_equal(store_iterator_key(of[0]), store_iterator_key(of[1])));
            cr_assert(bytes_equal(store_iterator_value(of[0]), store_iterator_value(of[1])));
            store_iterator_next(of[0]);
            store_iterator_next(of[1]);
        }
        cr_assert(!store_iterator_valid(of[0]) && !store_iterator_valid(of[1]));
        cr_assert_gt(rows_count, 0);
        store_iterator_free(of[0]);
        store_iterator_free(of[1]);
        buffer_fini(&lower);
        buffer_fini(&upper);
    }
}

uint64_t kv_world_send(struct kv_world *world, store_id_t store, uint16_t type,
                       const ProtobufCMessage *message, struct bytes payload)
{
    uint64_t request_id = ++world->request_id;
    cr_assert_lt(request_id, 4096);
    struct blob *blob = frame_encode(type, request_id, message, &payload, 1);
    struct frame frame = frame_of_blob(blob);
    int status = kv_server_receive(world_store(world, store)->kv, store, &frame, world->now_ns);
    cr_assert_eq(status, OST_OK);
    blob_unref(blob);
    return request_id;
}

const ProtobufCMessage *kv_world_answer(struct kv_world *world, uint64_t request_id,
                                        const ProtobufCMessageDescriptor *descriptor,
                                        struct bytes *out_payload)
{
    if (!world->answers[request_id])
        return NULL;
    struct frame frame = frame_of_blob(world->answers[request_id]);
    const ProtobufCMessage *message = message_unpack(descriptor, frame.message, &world->arena);
    cr_assert_not_null(message);
    if (out_payload)
        *out_payload = frame.payload;
    return message;
}

const ProtobufCMessage *kv_world_wait(struct kv_world *world, uint64_t request_id,
                                      const ProtobufCMessageDescriptor *descriptor,
                                      struct bytes *out_payload)
{
    for (uint32_t waited = 0; waited < WAIT_MS_MAX; waited++) {
        const ProtobufCMessage *answer =
            kv_world_answer(world, request_id, descriptor, out_payload);
        if (answer)
            return answer;
        kv_world_run(world, 1);
    }
    cr_assert_fail("request %lu got no answer", request_id);
    return NULL;
}

const Ostraka__GroupStatus *kv_world_status(struct kv_world *world, store_id_t store,
                                            group_id_t group)
{
    Ostraka__GroupStatus **groups;
    size_t count;
    kv_server_status(world_store(world, store)->kv, &world->arena, &groups, &count);
    for (size_t index = 0; index < count; index++) {
        if (groups[index]->group == group)
            return groups[index];
    }
    cr_assert_fail("no such group");
    return NULL;
}

timestamp_t kv_world_deadline(const struct kv_world *world, uint32_t ms)
{
    return timestamp_from_ms(EPOCH_MS + world->now_ns / NS_PER_MS + ms);
}

struct kv_world *kv_world_new_one(uint32_t stores_count)
{
    struct kv_world *world = kv_world_new(stores_count);
    kv_world_create_group(world, 1);
    kv_world_assign(world, 1, "", "", 1);
    return world;
}

struct kv_world *kv_world_new_two(uint32_t stores_count)
{
    struct kv_world *world = kv_world_new(stores_count);
    kv_world_create_group(world, 1);
    kv_world_create_group(world, 2);
    kv_world_assign(world, 1, "", "m", 1);
    kv_world_assign(world, 2, "m", "", 1);
    return world;
}
