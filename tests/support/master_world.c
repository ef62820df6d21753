#include "tests/support/master_world.h"

#include "base/memory.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* --- rows --- */

struct master_row_kept *master_store_row(struct master_store *store, struct bytes name)
{
    for (size_t index = 0; index < MASTER_WORLD_ROWS_COUNT; index++) {
        struct master_row_kept *row = &store->rows[index];
        if (row->name[0] == '\0') {
            cr_assert_lt(name.bytes_count, sizeof(row->name));
            memcpy(row->name, name.data, name.bytes_count);
            return row;
        }
        if (bytes_equal(bytes_of_string(row->name), name))
            return row;
    }
    cr_assert_fail("more rows than there are");
    return NULL;
}

static int rows_read(void *context, struct bytes name, bool flushed, struct buffer *out_value)
{
    struct master_row_kept *row = master_store_row(context, name);
    const struct buffer *value = flushed ? &row->flushed : &row->written;
    if (value->bytes_count == 0)
        return OST_NOT_FOUND;
    buffer_reset(out_value);
    buffer_append(out_value, value->data, value->bytes_count);
    return OST_OK;
}

static int rows_write(void *context, const struct master_row *rows, size_t rows_count)
{
    struct master_store *store = context;
    if (store->rows_are_busy)
        return OST_BUSY;
    for (size_t index = 0; index < rows_count; index++) {
        struct master_row_kept *row = master_store_row(store, rows[index].name);
        buffer_reset(&row->written);
        buffer_append(&row->written, rows[index].value.data, rows[index].value.bytes_count);
        row->writes_count++;
    }
    return OST_OK;
}

int master_store_flush(void *context)
{
    struct master_store *store = context;
    for (size_t index = 0; index < MASTER_WORLD_ROWS_COUNT; index++) {
        struct master_row_kept *row = &store->rows[index];
        buffer_reset(&row->flushed);
        buffer_append(&row->flushed, row->written.data, row->written.bytes_count);
    }
    return OST_OK;
}

struct master_rows master_store_rows(struct master_store *store)
{
    return (struct master_rows){
        .read = rows_read, .write = rows_write, .flush = master_store_flush, .context = store};
}

/* --- the world --- */

void master_store_start(struct master_world *world, size_t place)
{
    struct master_store *store = &world->stores[place];
    char why[256] = "";
    outbox_init(&store->outbox);
    store->update = (struct raft_host_update){.outbox = &store->outbox};
    struct raft_host_options raft = world->raft;
    raft.store = store->id;
    raft.seed = store->id * 1000 + world->now_ns;
    store->host = raft_host_new(&raft, &store->update);
    for (uint32_t segment = 0; segment < MASTER_WORLD_SEGMENTS_COUNT; segment++)
        if (store->segments[segment])
            cr_assert_eq(raft_host_recover_segment(
                             store->host, segment,
                             bytes_of(store->segments[segment], MASTER_WORLD_SEGMENT_BYTES), why),
                         OST_OK, "%s", why);
    cr_assert_eq(raft_host_recover_end(store->host, why), OST_OK, "%s", why);
    struct master_options options = world->options;
    options.store_id = store->id;
    struct master_rows rows = master_store_rows(store);
    store->master = master_new(&options, &rows, store->host, &store->outbox);
    struct raft_configuration founding;
    master_founding_configuration(&options, &founding);
    cr_assert_eq(master_load(store->master, master_founder_replica(&options, store->id), &founding,
                             world->now_ns, why),
                 OST_OK, "%s", why);
    store->is_up = true;
}

/* What was not flushed is gone, and writes under way are not done. */
void master_store_crash(struct master_world *world, size_t place)
{
    struct master_store *store = &world->stores[place];
    store->is_up = false;
    raft_host_free(store->host);
    master_free(store->master);
    outbox_fini(&store->outbox);
    for (size_t index = 0; index < store->operations_count; index++)
        free(store->operation_data[index]);
    store->operations_count = 0;
    for (size_t index = 0; index < MASTER_WORLD_ROWS_COUNT; index++) {
        buffer_reset(&store->rows[index].written);
        buffer_append(&store->rows[index].written, store->rows[index].flushed.data,
                      store->rows[index].flushed.bytes_count);
    }
}

void master_world_begin_with_groups(struct master_world *world, size_t stores_count,
                                    uint32_t groups_count)
{
    *world = (struct master_world){.stores_count = stores_count, .now_ns = MASTER_WORLD_START_NS};
    arena_init(&world->arena);
    world->asked = memory_alloc_zeroed(MASTER_WORLD_ASKED_COUNT_MAX, sizeof(world->asked[0]));
    raft_host_options_default(&world->raft);
    world->raft.log_segment_bytes = MASTER_WORLD_SEGMENT_BYTES;
    world->raft.log_write_bytes_max = MASTER_WORLD_SEGMENT_BYTES / 4;
    world->raft.raft.message_bytes_max = MASTER_WORLD_SEGMENT_BYTES / 8;
    world->raft.log_retained_bytes_max = 64u << 10;
    world->splits[0] = bytes_of_string("g");
    world->splits[1] = bytes_of_string("p");
    for (size_t place = 0; place < stores_count; place++) {
        ostraka__store_info__init(&world->infos[place]);
        world->infos[place].id = place + 1;
        world->infos[place].address = "here:7100";
    }
    world->options = (struct master_options){
        .cluster_id = 77,
        .initial_stores = world->infos,
        .initial_stores_count = stores_count,
        .initial_groups_count = groups_count,
        .initial_replicas_count = 3,
        .initial_splits = world->splits,
        .initial_splits_count = 2,
        .ceiling_ahead_ms = 1000,
        .reconcile_ms = 500,
        .history_ms = 600000,
    };
    for (size_t place = 0; place < stores_count; place++) {
        world->stores[place].world = world;
        world->stores[place].id = place + 1;
        master_store_start(world, place);
    }
}

void master_world_begin(struct master_world *world, size_t stores_count)
{
    master_world_begin_with_groups(world, stores_count, 2);
}

void master_world_end(struct master_world *world)
{
    for (size_t place = 0; place < world->stores_count; place++) {
        struct master_store *store = &world->stores[place];
        if (store->is_up)
            master_store_crash(world, place);
        for (size_t index = 0; index < MASTER_WORLD_SEGMENTS_COUNT; index++)
            free(store->segments[index]);
        for (size_t index = 0; index < MASTER_WORLD_ROWS_COUNT; index++) {
            buffer_fini(&store->rows[index].written);
            buffer_fini(&store->rows[index].flushed);
        }
    }
    for (size_t index = 0; index < world->packets_count; index++)
        blob_unref(world->packets[index].frame);
    free(world->packets);
    free(world->asked);
    arena_fini(&world->arena);
}

static void keep_answer(struct master_world *world, const struct frame *frame)
{
    if (frame->type == FRAME_HOLD_ANSWER) {
        const Ostraka__HoldAnswer *answer = (const Ostraka__HoldAnswer *)message_unpack(
            &ostraka__hold_answer__descriptor, frame->message, &world->arena);
        cr_assert(answer);
        world->hold_answer = *answer;
        world->hold_answers_count++;
        return;
    }
    Ostraka__TimestampAnswer *answer = (Ostraka__TimestampAnswer *)message_unpack(
        &ostraka__timestamp_answer__descriptor, frame->message, &world->arena);
    cr_assert(answer);
    world->last = *answer;
    world->answers_count++;
    if (answer->status != OST_OK)
        return;
    world->ok_count++;
    /* O2: above everything that anybody had when it was asked. */
    cr_assert_gt(answer->timestamp, world->asked[frame->request_id].seen_before,
                 "a timestamp that is older than one that was known when it was asked for");
    struct master_asked *asked = &world->asked[frame->request_id];
    asked->answered = answer->timestamp;
    if (answer->timestamp + asked->count - 1 > world->highest)
        world->highest = answer->timestamp + asked->count - 1;
}

static int asked_compare(const void *left, const void *right)
{
    const struct master_asked *a = left, *b = right;
    return (a->answered > b->answered) - (a->answered < b->answered);
}

void master_world_check_unique(struct master_world *world)
{
    qsort(world->asked, world->asked_count, sizeof(world->asked[0]), asked_compare);
    for (size_t index = 1; index < world->asked_count; index++)
        if (world->asked[index - 1].answered != 0)
            cr_assert_geq(world->asked[index].answered,
                          world->asked[index - 1].answered + world->asked[index - 1].count,
                          "a timestamp was handed out twice");
}

/* A map without ranges is put on top of those that the store was told before. */
static void keep_map(struct master_world *world, size_t to, const struct frame *frame)
{
    Ostraka__Map *map =
        (Ostraka__Map *)message_unpack(&ostraka__map__descriptor, frame->message, &world->arena);
    const Ostraka__Map *before = world->pushed[to];
    cr_assert(map);
    world->pushes_count[to]++;
    if (map->ranges_since != 0) {
        cr_assert(map->n_ranges == 0 && before && before->epoch >= map->ranges_since,
                  "a store was sent a map without ranges, and has none to go with it");
        map->ranges = before->ranges;
        map->n_ranges = before->n_ranges;
        world->pushes_without_ranges_count++;
    }
    world->pushed[to] = map;
}

static void send_packet(struct master_world *world, store_id_t from, const struct outgoing *item)
{
    struct frame frame = frame_of_blob(item->frame);
    size_t to = item->to.id - 1;
    if (frame.type == FRAME_TIMESTAMP_ANSWER || frame.type == FRAME_HOLD_ANSWER) {
        keep_answer(world, &frame);
    } else if (frame.type == FRAME_MAP_ANSWER) {
        cr_assert_eq(frame.request_id, 0);
        keep_map(world, to, &frame);
    } else if (frame.type == FRAME_SAFE_POINT) {
        const Ostraka__SafePoint *told = (const Ostraka__SafePoint *)message_unpack(
            &ostraka__safe_point__descriptor, frame.message, &world->arena);
        cr_assert_geq(told->safe_point, world->told_safe_point[to]);
        world->told_safe_point[to] = told->safe_point;
    } else if (frame.type == FRAME_CREATE_REPLICA) {
        world->creates_count++;
        world->created = (Ostraka__CreateReplica *)message_unpack(
            &ostraka__create_replica__descriptor, frame.message, &world->arena);
        cr_assert_eq(world->created->store, item->to.id);
    } else if (frame.type == FRAME_ASSIGN_RANGE) {
        cr_assert_eq(item->to.kind, ADDRESS_GROUP);
        world->assigns_count++;
        world->assigned = (Ostraka__AssignRange *)message_unpack(&ostraka__assign_range__descriptor,
                                                                 frame.message, &world->arena);
        cr_assert_eq(world->assigned->group, item->to.id);
        if (world->frame_sent)
            world->frame_sent(world->context, &item->to, &frame);
    } else if (frame.type != FRAME_RAFT_BATCH && frame.type != FRAME_RAFT_SNAPSHOT_CHUNK) {
        cr_assert(world->frame_sent, "a frame of type %s", frame_type_name(frame.type));
        world->frame_sent(world->context, &item->to, &frame);
    } else {
        cr_assert_eq(item->to.kind, ADDRESS_STORE);
        if (world->packets_count == world->packets_capacity) {
            world->packets_capacity = 2 * world->packets_capacity + 64;
            world->packets = memory_realloc(world->packets,
                                            world->packets_capacity * sizeof(struct master_packet));
        }
        world->packets[world->packets_count++] =
            (struct master_packet){from, item->to.id, blob_ref(item->frame)};
    }
}

static void store_disk(struct master_store *store)
{
    for (size_t index = 0; index < store->operations_count; index++) {
        struct log_operation *operation = &store->operations[index];
        cr_assert_lt(operation->segment, MASTER_WORLD_SEGMENTS_COUNT);
        uint8_t **segment = &store->segments[operation->segment];
        if (operation->type == LOG_OPERATION_CREATE) {
            *segment = memory_alloc_zeroed(1, MASTER_WORLD_SEGMENT_BYTES);
        } else if (operation->type == LOG_OPERATION_RETIRE) {
            free(*segment);
            *segment = NULL;
        } else {
            memcpy(*segment + operation->offset, store->operation_data[index],
                   operation->bytes_count);
        }
        free(store->operation_data[index]);
    }
    size_t done_count = store->operations_count;
    store->operations_count = 0;
    for (size_t index = 0; index < done_count; index++)
        raft_host_log_done(store->host, store->operations[index].type,
                           store->operations[index].segment, store->operations[index].cookie,
                           store->world->now_ns);
}

void master_store_drain(struct master_world *world, struct master_store *store)
{
    struct raft_host_update *update = &store->update;
    for (uint32_t index = 0; index < update->log_operations_count; index++) {
        struct log_operation *operation = &update->log_operations[index];
        size_t at = store->operations_count++;
        cr_assert_lt(at, 64);
        store->operations[at] = *operation;
        store->operation_data[at] = NULL;
        if (operation->type == LOG_OPERATION_WRITE) {
            store->operation_data[at] = memory_alloc(operation->bytes_count);
            memcpy(store->operation_data[at], operation->data, operation->bytes_count);
        }
    }
    update->log_operations_count = 0;
    while (update->jobs) {
        struct job *job = update->jobs;
        update->jobs = job->next;
        job->run(job);
        job->done(job);
    }
    for (size_t index = 0; index < store->outbox.items_count; index++)
        send_packet(world, store->id, &store->outbox.items[index]);
    outbox_reset(&store->outbox);
}

uint64_t master_world_wall_ms(const struct master_world *world)
{
    return MASTER_WORLD_WALL_MS + (world->now_ns - MASTER_WORLD_START_NS) / NS_PER_MS +
           (uint64_t)world->wall_off_ms;
}

static void store_turn(struct master_world *world, struct master_store *store)
{
    store_disk(store);
    raft_host_timer(store->host, world->now_ns);
    master_timer(store->master, world->now_ns, master_world_wall_ms(world));
    for (int pass = 0; pass < 3; pass++) {
        master_turn_ended(store->master, world->now_ns);
        raft_host_turn_ended(store->host, world->now_ns);
        master_store_drain(world, store);
    }
}

void master_world_step(struct master_world *world)
{
    world->now_ns += NS_PER_MS;
    struct master_packet *packets = world->packets;
    size_t packets_count = world->packets_count;
    world->packets = NULL;
    world->packets_count = world->packets_capacity = 0;
    for (size_t index = 0; index < packets_count; index++) {
        struct master_packet *packet = &packets[index];
        struct master_store *to = &world->stores[packet->to - 1];
        struct frame frame = frame_of_blob(packet->frame);
        if (to->is_up && !to->is_cut && !world->stores[packet->from - 1].is_cut)
            cr_assert_eq(raft_host_receive(to->host, packet->from, &frame, world->now_ns), OST_OK);
        blob_unref(packet->frame);
    }
    free(packets);
    for (size_t place = 0; place < world->stores_count; place++)
        if (world->stores[place].is_up)
            store_turn(world, &world->stores[place]);
}

void master_world_run(struct master_world *world, uint64_t ms)
{
    for (uint64_t index = 0; index < ms; index++)
        master_world_step(world);
}

struct master_store *master_world_leader(struct master_world *world)
{
    for (size_t place = 0; place < world->stores_count; place++) {
        struct master_store *store = &world->stores[place];
        struct raft_leadership leadership;
        if (!store->is_up || store->is_cut ||
            raft_host_leadership(store->host, SHARD_MASTER_GROUP, &leadership) != OST_OK)
            continue;
        if (leadership.ready)
            return store;
    }
    return NULL;
}

struct master_store *master_world_run_until_led(struct master_world *world)
{
    for (int ms = 0; ms < 10000; ms++) {
        struct master_store *leader = master_world_leader(world);
        if (leader)
            return leader;
        master_world_step(world);
    }
    cr_assert_fail("no leader in ten seconds");
    return NULL;
}

int master_world_send(struct master_world *world, struct master_store *store, unsigned type,
                      uint64_t request_id, const ProtobufCMessage *message)
{
    struct blob *blob = frame_encode((uint16_t)type, request_id, message, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    int status =
        master_receive(store->master, 5, &frame, world->now_ns, master_world_wall_ms(world));
    blob_unref(blob);
    return status;
}

void master_world_ask(struct master_world *world, struct master_store *store, uint32_t count)
{
    uint64_t request_id = world->asked_count++;
    cr_assert_lt(request_id, MASTER_WORLD_ASKED_COUNT_MAX);
    world->asked[request_id].seen_before = world->highest;
    world->asked[request_id].count = count;
    Ostraka__TimestampRequest request = OSTRAKA__TIMESTAMP_REQUEST__INIT;
    request.count = count;
    cr_assert_eq(master_world_send(world, store, FRAME_TIMESTAMP, request_id, &request.base),
                 OST_OK);
    master_store_drain(world, store);
}

uint64_t master_store_applied_index(struct master_world *world, struct master_store *store)
{
    Ostraka__GroupStatus *status;
    master_status(store->master, &world->arena, &status);
    return status->applied_index;
}

uint64_t master_world_incarnation(store_id_t store)
{
    return 100 + store;
}

void master_world_crash_leader(struct master_world *world)
{
    size_t place = master_world_run_until_led(world)->id - 1;
    master_store_crash(world, place);
    master_world_run_until_led(world);
    master_store_start(world, place);
}
