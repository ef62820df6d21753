#include "shardmaster/master.h"
#include "shardmaster/master_replicas.h"

#include "base/memory.h"
#include "base/random.h"
#include "proto/frame.h"
#include "shardmaster/master_map.h"
#include "shardmaster/safe_point.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* A few stores, each a raft host with the shard master alone, on virtual time: a step is a
 * millisecond, a log write is durable in the next step, a frame arrives in the next step. What goes
 * to stores, groups and connections that are not raft's is kept for the test to look at. */
enum { STORES_COUNT_MAX_HERE = 3, SEGMENTS_COUNT = 64, ROWS_COUNT = 4, KEPT_COUNT = 100000 };
#define SEGMENT_BYTES (256u << 10)
#define START_NS      (50 * NS_PER_S)
#define WALL_MS       UINT64_C(1700000000000)

struct row_kept {
    char name[16];
    struct buffer written;
    struct buffer flushed;
};

struct world;
struct store_here {
    struct world *world;
    store_id_t id;
    bool is_up;
    bool is_cut; /* from the other stores */
    bool rows_are_busy;
    struct raft_host *host;
    struct raft_host_update update;
    struct outbox outbox;
    struct master *master;
    struct row_kept rows[ROWS_COUNT];
    uint8_t *segments[SEGMENTS_COUNT];
    struct log_operation operations[64];
    uint8_t *operation_data[64];
    size_t operations_count;
};

struct packet {
    store_id_t from, to;
    struct blob *frame;
};
struct asked {
    timestamp_t seen_before; /* the highest answer that was known when it was asked */
    timestamp_t answered;    /* 0: not, or refused */
    uint32_t count;
};
struct world {
    size_t stores_count;
    struct store_here stores[STORES_COUNT_MAX_HERE];
    struct raft_host_options raft;
    struct master_options options;
    Ostraka__StoreInfo infos[STORES_COUNT_MAX_HERE];
    struct bytes splits[2];
    nanoseconds_t now_ns;
    int64_t wall_off_ms;
    struct packet *packets;
    size_t packets_count, packets_capacity;
    struct arena arena;
    /* What was sent. */
    size_t creates_count, assigns_count;
    size_t pushes_count[STORES_COUNT_MAX_HERE];
    Ostraka__Map *pushed[STORES_COUNT_MAX_HERE]; /* the last */
    Ostraka__CreateReplica *created;             /* the last */
    Ostraka__AssignRange *assigned;              /* the last */
    timestamp_t told_safe_point[STORES_COUNT_MAX_HERE];
    /* Holds. */
    size_t hold_answers_count;
    Ostraka__HoldAnswer hold_answer; /* the last */
    /* Timestamps. */
    uint64_t asked_count;
    struct asked *asked; /* by request id */
    size_t answers_count, ok_count;
    Ostraka__TimestampAnswer last;
    timestamp_t highest;
};

/* --- rows --- */

static struct row_kept *row_find(struct store_here *store, struct bytes name)
{
    for (size_t index = 0; index < ROWS_COUNT; index++) {
        struct row_kept *row = &store->rows[index];
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
    struct row_kept *row = row_find(context, name);
    const struct buffer *value = flushed ? &row->flushed : &row->written;
    if (value->bytes_count == 0)
        return OST_NOT_FOUND;
    buffer_reset(out_value);
    buffer_append(out_value, value->data, value->bytes_count);
    return OST_OK;
}

static int rows_write(void *context, const struct master_row *rows, size_t rows_count)
{
    struct store_here *store = context;
    if (store->rows_are_busy)
        return OST_BUSY;
    for (size_t index = 0; index < rows_count; index++) {
        struct row_kept *row = row_find(store, rows[index].name);
        buffer_reset(&row->written);
        buffer_append(&row->written, rows[index].value.data, rows[index].value.bytes_count);
    }
    return OST_OK;
}

static int rows_flush(void *context)
{
    struct store_here *store = context;
    for (size_t index = 0; index < ROWS_COUNT; index++) {
        struct row_kept *row = &store->rows[index];
        buffer_reset(&row->flushed);
        buffer_append(&row->flushed, row->written.data, row->written.bytes_count);
    }
    return OST_OK;
}

static struct master_rows rows_of(struct store_here *store)
{
    return (struct master_rows){
        .read = rows_read, .write = rows_write, .flush = rows_flush, .context = store};
}

/* --- the world --- */

static void store_start(struct world *world, size_t place)
{
    struct store_here *store = &world->stores[place];
    char why[256] = "";
    outbox_init(&store->outbox);
    store->update = (struct raft_host_update){.outbox = &store->outbox};
    struct raft_host_options raft = world->raft;
    raft.store = store->id;
    raft.seed = store->id * 1000 + world->now_ns;
    store->host = raft_host_new(&raft, &store->update);
    for (uint32_t segment = 0; segment < SEGMENTS_COUNT; segment++)
        if (store->segments[segment])
            cr_assert_eq(
                raft_host_recover_segment(store->host, segment,
                                          bytes_of(store->segments[segment], SEGMENT_BYTES), why),
                OST_OK, "%s", why);
    cr_assert_eq(raft_host_recover_end(store->host, why), OST_OK, "%s", why);
    struct master_options options = world->options;
    options.store_id = store->id;
    struct master_rows rows = rows_of(store);
    store->master = master_new(&options, &rows, store->host, &store->outbox);
    struct raft_configuration founding;
    master_founding_configuration(&options, &founding);
    cr_assert_eq(master_load(store->master, master_founder_replica(&options, store->id), &founding,
                             world->now_ns, why),
                 OST_OK, "%s", why);
    store->is_up = true;
}

/* What was not flushed is gone, and writes under way are not done. */
static void store_crash(struct world *world, size_t place)
{
    struct store_here *store = &world->stores[place];
    store->is_up = false;
    raft_host_free(store->host);
    master_free(store->master);
    outbox_fini(&store->outbox);
    for (size_t index = 0; index < store->operations_count; index++)
        free(store->operation_data[index]);
    store->operations_count = 0;
    for (size_t index = 0; index < ROWS_COUNT; index++) {
        buffer_reset(&store->rows[index].written);
        buffer_append(&store->rows[index].written, store->rows[index].flushed.data,
                      store->rows[index].flushed.bytes_count);
    }
}

static void begin_with_groups(struct world *world, size_t stores_count, uint32_t groups_count)
{
    *world = (struct world){.stores_count = stores_count, .now_ns = START_NS};
    arena_init(&world->arena);
    world->asked = memory_alloc_zeroed(KEPT_COUNT, sizeof(world->asked[0]));
    raft_host_options_default(&world->raft);
    world->raft.log_segment_bytes = SEGMENT_BYTES;
    world->raft.log_write_bytes_max = SEGMENT_BYTES / 4;
    world->raft.raft.message_bytes_max = SEGMENT_BYTES / 8;
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
        store_start(world, place);
    }
}

static void begin(struct world *world, size_t stores_count)
{
    begin_with_groups(world, stores_count, 2);
}

static void end(struct world *world)
{
    for (size_t place = 0; place < world->stores_count; place++) {
        struct store_here *store = &world->stores[place];
        if (store->is_up)
            store_crash(world, place);
        for (size_t index = 0; index < SEGMENTS_COUNT; index++)
            free(store->segments[index]);
        for (size_t index = 0; index < ROWS_COUNT; index++) {
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

static void keep_answer(struct world *world, const struct frame *frame)
{
    if (frame->type == FRAME_HOLD_ANSWER) {
        const Ostraka__HoldAnswer *answer = (const Ostraka__HoldAnswer *)message_unpack(
            &ostraka__hold_answer__descriptor, frame->message, &world->arena);
        cr_assert(answer);
        world->hold_answer = *answer;
        world->hold_answers_count++;
        return;
    }
    cr_assert_eq(frame->type, FRAME_TIMESTAMP_ANSWER);
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
    struct asked *asked = &world->asked[frame->request_id];
    asked->answered = answer->timestamp;
    if (answer->timestamp + asked->count - 1 > world->highest)
        world->highest = answer->timestamp + asked->count - 1;
}

static int asked_compare(const void *left, const void *right)
{
    const struct asked *a = left, *b = right;
    return (a->answered > b->answered) - (a->answered < b->answered);
}

static void check_unique(struct world *world)
{
    qsort(world->asked, world->asked_count, sizeof(world->asked[0]), asked_compare);
    for (size_t index = 1; index < world->asked_count; index++)
        if (world->asked[index - 1].answered != 0)
            cr_assert_geq(world->asked[index].answered,
                          world->asked[index - 1].answered + world->asked[index - 1].count,
                          "a timestamp was handed out twice");
}

static void send_packet(struct world *world, store_id_t from, const struct outgoing *item)
{
    struct frame frame = frame_of_blob(item->frame);
    size_t to = item->to.id - 1;
    if (item->to.kind == ADDRESS_CONNECTION) {
        keep_answer(world, &frame);
    } else if (frame.type == FRAME_MAP_ANSWER) {
        cr_assert_eq(frame.request_id, 0);
        world->pushes_count[to]++;
        world->pushed[to] =
            (Ostraka__Map *)message_unpack(&ostraka__map__descriptor, frame.message, &world->arena);
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
    } else {
        cr_assert_eq(item->to.kind, ADDRESS_STORE);
        if (world->packets_count == world->packets_capacity) {
            world->packets_capacity = 2 * world->packets_capacity + 64;
            world->packets =
                memory_realloc(world->packets, world->packets_capacity * sizeof(struct packet));
        }
        world->packets[world->packets_count++] =
            (struct packet){from, item->to.id, blob_ref(item->frame)};
    }
}

static void store_disk(struct store_here *store)
{
    for (size_t index = 0; index < store->operations_count; index++) {
        struct log_operation *operation = &store->operations[index];
        cr_assert_lt(operation->segment, SEGMENTS_COUNT);
        uint8_t **segment = &store->segments[operation->segment];
        if (operation->type == LOG_OPERATION_CREATE) {
            *segment = memory_alloc_zeroed(1, SEGMENT_BYTES);
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

static void store_drain(struct world *world, struct store_here *store)
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

static uint64_t wall_ms(const struct world *world)
{
    return WALL_MS + (world->now_ns - START_NS) / NS_PER_MS + (uint64_t)world->wall_off_ms;
}

static void store_turn(struct world *world, struct store_here *store)
{
    store_disk(store);
    raft_host_timer(store->host, world->now_ns);
    master_timer(store->master, world->now_ns, wall_ms(world));
    for (int pass = 0; pass < 3; pass++) {
        master_turn_ended(store->master, world->now_ns);
        raft_host_turn_ended(store->host, world->now_ns);
        store_drain(world, store);
    }
}

static void step(struct world *world)
{
    world->now_ns += NS_PER_MS;
    struct packet *packets = world->packets;
    size_t packets_count = world->packets_count;
    world->packets = NULL;
    world->packets_count = world->packets_capacity = 0;
    for (size_t index = 0; index < packets_count; index++) {
        struct packet *packet = &packets[index];
        struct store_here *to = &world->stores[packet->to - 1];
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

static void run(struct world *world, uint64_t ms)
{
    for (uint64_t index = 0; index < ms; index++)
        step(world);
}

static struct store_here *ready_leader(struct world *world)
{
    for (size_t place = 0; place < world->stores_count; place++) {
        struct store_here *store = &world->stores[place];
        struct raft_leadership leadership;
        if (!store->is_up || store->is_cut ||
            raft_host_leadership(store->host, SHARD_MASTER_GROUP, &leadership) != OST_OK)
            continue;
        if (leadership.ready)
            return store;
    }
    return NULL;
}

static struct store_here *run_until_led(struct world *world)
{
    for (int ms = 0; ms < 10000; ms++) {
        struct store_here *leader = ready_leader(world);
        if (leader)
            return leader;
        step(world);
    }
    cr_assert_fail("no leader in ten seconds");
    return NULL;
}

static int send(struct world *world, struct store_here *store, unsigned type, uint64_t request_id,
                const ProtobufCMessage *message)
{
    struct blob *blob = frame_encode((uint16_t)type, request_id, message, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    int status = master_receive(store->master, 5, &frame, world->now_ns, wall_ms(world));
    blob_unref(blob);
    return status;
}

static void ask(struct world *world, struct store_here *store, uint32_t count)
{
    uint64_t request_id = world->asked_count++;
    cr_assert_lt(request_id, KEPT_COUNT);
    world->asked[request_id].seen_before = world->highest;
    world->asked[request_id].count = count;
    Ostraka__TimestampRequest request = OSTRAKA__TIMESTAMP_REQUEST__INIT;
    request.count = count;
    cr_assert_eq(send(world, store, FRAME_TIMESTAMP, request_id, &request.base), OST_OK);
    store_drain(world, store);
}

/* --- timestamps --- */

Test(master, answers_a_row_of_timestamps_each)
{
    struct world world;
    begin(&world, 1);
    struct store_here *leader = run_until_led(&world);
    run(&world, 10);
    ask(&world, leader, 10);
    ask(&world, leader, 1);
    cr_expect_eq(world.answers_count, 0, "never before a round of reads");
    run(&world, 2);
    cr_assert_eq(world.ok_count, 2);
    cr_expect_eq(raft_host_heard_timestamp(leader->host), world.highest);
    timestamp_t second = world.last.timestamp;
    ask(&world, leader, 1);
    run(&world, 5);
    cr_expect_gt(world.last.timestamp, second);
    cr_expect_geq(timestamp_to_ms(second), WALL_MS);
    end(&world);
}

Test(master, refuses_what_it_cannot_serve)
{
    struct world world;
    begin(&world, 3);
    struct store_here *leader = run_until_led(&world);
    run(&world, 100);
    struct store_here *follower = &world.stores[leader->id % 3];
    ask(&world, follower, 1);
    cr_assert_eq(world.answers_count, 1, "at once");
    cr_expect_eq(world.last.status, OST_NOT_LEADER);
    cr_expect_eq(world.last.leader_store, leader->id, "with a hint");
    ask(&world, leader, 0);
    cr_expect_eq(world.last.status, OST_INVALID_ARGUMENT);
    ask(&world, leader, UINT32_MAX);
    cr_expect_eq(world.last.status, OST_INVALID_ARGUMENT);
    for (int count = 0; count < 65536; count++)
        ask(&world, leader, 1);
    cr_expect_eq(world.answers_count, 3);
    ask(&world, leader, 1);
    cr_expect_eq(world.last.status, OST_BUSY);
    run(&world, 10);
    cr_expect_eq(world.ok_count, 65536);

    struct frame bad = {.type = FRAME_TIMESTAMP, .message = bytes_of_string("\xff\xff")};
    cr_expect_eq(master_receive(leader->master, 5, &bad, world.now_ns, WALL_MS), OST_PROTOCOL);
    bad.type = FRAME_STORE_REPORT;
    cr_expect_eq(master_receive(leader->master, 5, &bad, world.now_ns, WALL_MS), OST_PROTOCOL);
    end(&world);
}

Test(master, a_leader_that_is_cut_off_hands_out_nothing)
{
    struct world world;
    begin(&world, 3);
    struct store_here *old = run_until_led(&world);
    run(&world, 100);
    ask(&world, old, 1);
    run(&world, 10);
    cr_assert_eq(world.ok_count, 1);
    old->is_cut = true;
    struct raft_leadership leadership = {.role = RAFT_LEADER};
    for (int ms = 0; ms < 5000 && leadership.role == RAFT_LEADER; ms++) {
        ask(&world, old, 1);
        step(&world);
        cr_assert_eq(raft_host_leadership(old->host, SHARD_MASTER_GROUP, &leadership), OST_OK);
    }
    cr_assert_neq(leadership.role, RAFT_LEADER);
    cr_expect_eq(world.answers_count, world.asked_count, "everybody is told at once");
    cr_expect_eq(world.last.status, OST_NOT_LEADER);
    run(&world, 1100);
    cr_expect_eq(world.ok_count, 1, "O2: no answer without its followers");
    struct store_here *next = run_until_led(&world);
    cr_assert_neq(next, old);
    ask(&world, next, 1);
    run(&world, 10);
    cr_expect_eq(world.ok_count, 2);
    end(&world);
}

Test(master, one_that_waits_too_long_is_told_so)
{
    struct world world;
    begin(&world, 1);
    struct store_here *leader = run_until_led(&world);
    run(&world, 10);
    /* More than a second's worth of them, twice over. */
    for (int count = 0; count < 3000; count++)
        ask(&world, leader, 1u << TIMESTAMP_COUNTER_BITS);
    run(&world, 5);
    cr_expect_gt(world.ok_count, 900);
    cr_expect_lt(world.ok_count, 1010);
    run(&world, 990);
    cr_expect_eq(world.answers_count, world.ok_count);
    cr_expect_lt(world.ok_count, 2100);
    run(&world, 20);
    cr_expect_eq(world.answers_count, 3000);
    cr_expect_eq(world.last.status, OST_NOT_READY);
    end(&world);
}

Test(master, timestamps_are_ordered_and_unique_over_crashes_partitions_and_clock_jumps)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct world world;
        begin(&world, 3);
        struct random random;
        random_init(&random, seed);
        for (int ms = 0; ms < 20000; ms++) {
            struct store_here *store = &world.stores[random_below(&random, 3)];
            if (store->is_up && random_below(&random, 3) == 0)
                ask(&world, store, 1 + (uint32_t)random_below(&random, 5));
            if (random_below(&random, 1000) == 0)
                world.wall_off_ms = (int64_t)random_below(&random, 20000);
            if (random_below(&random, 300) == 0 && store->is_up)
                rows_flush(store);
            if (random_below(&random, 1500) == 0) {
                struct store_here *leader = ready_leader(&world);
                if (leader && !leader->is_cut)
                    leader->is_cut = true;
            }
            if (random_below(&random, 1500) == 0 && ready_leader(&world))
                store_crash(&world, ready_leader(&world)->id - 1);
            if (random_below(&random, 200) == 0)
                store->is_cut = false;
            if (random_below(&random, 200) == 0 && !store->is_up)
                store_start(&world, store->id - 1);
            step(&world);
        }
        check_unique(&world);
        cr_expect_gt(world.ok_count, 900, "seed %lu served %zu", seed, world.ok_count);
        end(&world);
    }
}

/* --- the map --- */

static uint64_t incarnation_of(store_id_t store)
{
    return 100 + store;
}

/* What a store says: the replicas it has, and, when it leads a group, ranges. */
static void report(struct world *world, struct store_here *leader, store_id_t store,
                   uint64_t map_epoch, const group_id_t *groups, size_t groups_count,
                   group_id_t leads_group, raft_term_t term, const Ostraka__Map *ranges_of)
{
    Ostraka__ReplicaReport replicas[4];
    Ostraka__ReplicaReport *pointers[4];
    Ostraka__RangeInfo *ranges[8];
    for (size_t index = 0; index < groups_count; index++) {
        ostraka__replica_report__init(&replicas[index]);
        const Ostraka__GroupInfo *group = master_map_group(ranges_of, groups[index]);
        replicas[index].group = groups[index];
        for (size_t place = 0; place < group->n_replicas; place++)
            if (group->replicas[place]->store == store)
                replicas[index].replica = group->replicas[place]->replica;
        replicas[index].term = term;
        replicas[index].leads = groups[index] == leads_group;
        replicas[index].ranges = ranges;
        for (size_t range = 0; replicas[index].leads && range < ranges_of->n_ranges; range++)
            if (ranges_of->ranges[range]->group == groups[index])
                ranges[replicas[index].n_ranges++] = ranges_of->ranges[range];
        pointers[index] = &replicas[index];
    }
    Ostraka__StoreReport message = OSTRAKA__STORE_REPORT__INIT;
    message.store = store;
    message.address = "here:7100";
    message.map_epoch = map_epoch;
    message.incarnation = incarnation_of(store);
    message.replicas = pointers;
    message.n_replicas = groups_count;
    cr_assert_eq(send(world, leader, FRAME_STORE_REPORT, 0, &message.base), OST_OK);
}

Test(master, the_map_comes_true_step_by_step)
{
    struct world world;
    begin(&world, 1);
    struct store_here *leader = run_until_led(&world);
    run(&world, 200);
    cr_assert_gt(world.pushes_count[0], 0, "the first map is pushed");
    cr_expect_eq(world.pushed[0]->epoch, 1);
    cr_expect_eq(world.pushed[0]->cluster_id, 77);
    cr_expect_eq(world.creates_count, 0, "nothing is created before the store has spoken");

    report(&world, leader, 1, 1, NULL, 0, 0, 0, world.pushed[0]);
    run(&world, 100);
    cr_assert_eq(world.creates_count, 2);
    cr_expect_eq(world.created->group, 2);
    cr_expect_eq(world.created->group_epoch, 1);
    cr_assert_eq(world.created->configuration->n_members, 1);
    cr_expect_eq(world.created->configuration->members[0]->replica, world.created->replica);
    cr_expect(world.created->configuration->members[0]->voter_old &&
              world.created->configuration->members[0]->voter_new);
    run(&world, 600);
    cr_expect_eq(world.creates_count, 4, "again, until the report has them");

    const group_id_t both[] = {1, 2};
    report(&world, leader, 1, 1, both, 2, 0, 1, world.pushed[0]);
    run(&world, 600);
    cr_expect_eq(world.creates_count, 4);
    cr_expect_gt(world.assigns_count, 0);

    /* Group 1 says that it owns its two ranges. */
    size_t pushes_count = world.pushes_count[0];
    report(&world, leader, 1, 1, both, 2, 1, 3, world.pushed[0]);
    report(&world, leader, 1, 1, both, 2, 1, 3, world.pushed[0]);
    run(&world, 200);
    cr_expect_gt(world.pushes_count[0], pushes_count);
    const Ostraka__Map *map = world.pushed[0];
    cr_expect_eq(map->epoch, 4, "the disk, and each assignment once");
    cr_expect(map->ranges[0]->assigned && map->ranges[2]->assigned);
    cr_expect_not(map->ranges[1]->assigned);
    cr_expect_eq(map->groups[0]->leader_store, 1);
    cr_expect_eq(map->groups[0]->leader_term, 3);
    cr_expect_eq(map->groups[1]->leader_store, 0);
    run(&world, 600);
    cr_expect_eq(world.assigned->group, 2, "only what is not yet true is asked for");

    report(&world, leader, 1, 4, both, 2, 2, 3, world.pushed[0]);
    run(&world, 600);
    size_t assigns_count = world.assigns_count;
    cr_expect_eq(world.pushed[0]->epoch, 5);
    run(&world, 2000);
    cr_expect_eq(world.assigns_count, assigns_count);
    cr_expect_eq(world.creates_count, 4);
    end(&world);
}

/* Store 1 leads group 1 with all of its first voters; store 3 has its replica, or not yet. */
static bool is_changing_after_reports(struct world *world, struct store_here *leader,
                                      bool third_is_made)
{
    const Ostraka__GroupInfo *group = master_map_group(world->pushed[0], 1);
    Ostraka__RaftConfiguration__Member members[3];
    Ostraka__RaftConfiguration__Member *pointers[3];
    Ostraka__RaftConfiguration configuration = OSTRAKA__RAFT_CONFIGURATION__INIT;
    for (size_t place = 0; place < group->n_replicas; place++) {
        ostraka__raft_configuration__member__init(&members[place]);
        members[place].replica = group->replicas[place]->replica;
        members[place].store = group->replicas[place]->store;
        members[place].voter_old = members[place].voter_new = true;
        pointers[configuration.n_members++] = &members[place];
    }
    configuration.members = pointers;
    configuration.epoch = 1;
    for (store_id_t store = 3; store >= 1; store--) {
        Ostraka__ReplicaReport replica = OSTRAKA__REPLICA_REPORT__INIT;
        Ostraka__ReplicaReport *replicas[] = {&replica};
        replica.group = 1;
        replica.replica = master_group_replica_on(group, store)->replica;
        replica.leads = store == 1;
        replica.term = 1;
        replica.configuration = store == 1 ? &configuration : NULL;
        replica.configuration_committed = store == 1;
        Ostraka__StoreReport message = OSTRAKA__STORE_REPORT__INIT;
        message.store = store;
        message.address = "here:7100";
        message.incarnation = incarnation_of(store);
        message.replicas = replicas;
        message.n_replicas = store != 3 || third_is_made;
        cr_assert_eq(send(world, leader, FRAME_STORE_REPORT, 0, &message.base), OST_OK);
    }
    run(world, 2000);
    return master_group_is_changing(master_map_group(world->pushed[0], 1));
}

Test(master, a_group_has_begun_when_each_of_its_first_replicas_is_made)
{
    struct world world;
    begin(&world, 3);
    struct store_here *leader = run_until_led(&world);
    run(&world, 200);
    cr_assert_gt(world.pushes_count[0], 0);
    cr_expect(is_changing_after_reports(&world, leader, false), "two of three go on without it");
    cr_expect(is_changing_after_reports(&world, leader, false));
    cr_expect_not(is_changing_after_reports(&world, leader, true));
    end(&world);
}

Test(master, hints_follow_the_highest_term_and_old_maps_are_replaced)
{
    struct world world;
    begin(&world, 3);
    struct store_here *leader = run_until_led(&world);
    run(&world, 200);
    const group_id_t one[] = {1};
    const Ostraka__Map *map = world.pushed[0];
    report(&world, leader, 1, 1, one, 1, 1, 5, map);
    report(&world, leader, 2, 1, one, 1, 1, 4, map);
    report(&world, leader, 3, 1, NULL, 0, 0, 0, map);
    run(&world, 100);
    cr_expect_eq(world.pushed[2]->groups[0]->leader_store, 1);
    report(&world, leader, 2, 1, one, 1, 1, 6, map);
    size_t pushes_count = world.pushes_count[2];
    run(&world, 100);
    cr_expect_eq(world.pushed[2]->groups[0]->leader_store, 2);
    cr_expect_eq(world.pushes_count[2], pushes_count + 1);
    /* Nothing new: nothing is pushed; but one that has an old map gets it. */
    pushes_count = world.pushes_count[2];
    uint64_t epoch = world.pushed[2]->epoch;
    report(&world, leader, 2, epoch, one, 1, 1, 6, map);
    run(&world, 100);
    cr_expect_eq(world.pushes_count[2], pushes_count);
    size_t others_count = world.pushes_count[1];
    report(&world, leader, 3, 0, NULL, 0, 0, 0, map);
    run(&world, 10);
    cr_expect_eq(world.pushes_count[2], pushes_count + 1);
    cr_expect_eq(world.pushes_count[1], others_count, "and no other");
    /* A store that is none of ours is not heard. */
    Ostraka__StoreReport stranger = OSTRAKA__STORE_REPORT__INIT;
    stranger.store = 9;
    cr_expect_eq(send(&world, leader, FRAME_STORE_REPORT, 0, &stranger.base), OST_OK);
    run(&world, 100);
    end(&world);
}

Test(master, the_state_survives_crashes_of_all_stores)
{
    struct world world;
    begin(&world, 3);
    struct store_here *leader = run_until_led(&world);
    run(&world, 200);
    const group_id_t one[] = {1};
    report(&world, leader, 1, 1, one, 1, 1, 5, world.pushed[0]);
    run(&world, 200);
    uint64_t epoch = world.pushed[0]->epoch;
    cr_assert_eq(epoch, 4);
    ask(&world, leader, 1);
    run(&world, 20);
    for (size_t place = 0; place < 3; place++) {
        if (place == 1) /* one had flushed its rows, the others have their logs alone */
            rows_flush(&world.stores[place]);
        store_crash(&world, place);
    }
    world.packets_count = 0;
    for (size_t place = 0; place < 3; place++)
        store_start(&world, place);
    leader = run_until_led(&world);
    run(&world, 6000);
    cr_expect_eq(world.pushed[0]->epoch, epoch);
    cr_expect(world.pushed[0]->ranges[0]->assigned);
    cr_expect_eq(world.pushed[0]->groups[0]->leader_store, 0, "hints are not kept");
    ask(&world, ready_leader(&world), 1); /* keep_answer checks that it is above the earlier one */
    run(&world, 20);
    cr_expect_eq(world.ok_count, 2);
    end(&world);
}

/* --- rows, flushed index, snapshots --- */

static const Ostraka__Map *map_of_rows(struct world *world, struct store_here *store)
{
    struct row_kept *row = row_find(store, bytes_of_string("map"));
    return (Ostraka__Map *)message_unpack(&ostraka__map__descriptor, buffer_bytes(&row->written),
                                          &world->arena);
}

Test(master, rows_alone_bring_the_state_back)
{
    struct world world;
    begin(&world, 1);
    struct store_here *leader = run_until_led(&world);
    run(&world, 200);
    const group_id_t both[] = {1, 2};
    report(&world, leader, 1, 1, both, 2, 1, 5, world.pushed[0]);
    run(&world, 200);
    cr_assert_eq(world.pushed[0]->groups[0]->leader_store, 1);
    report(&world, leader, 1, 4, both, 2, 2, 6, world.pushed[0]);
    run(&world, 3000);
    ask(&world, leader, 1);
    run(&world, 12000);
    cr_expect_eq(map_of_rows(&world, leader)->epoch, 5);
    cr_expect_eq(map_of_rows(&world, leader)->groups[0]->leader_store, 0, "a belief is no state");
    /* The clock goes back, so that nothing but the ceiling keeps timestamps in order. */
    rows_flush(leader);
    store_crash(&world, 0);
    world.wall_off_ms = -100000;
    store_start(&world, 0);
    leader = run_until_led(&world);
    ask(&world, leader, 1);
    run(&world, 6000);
    cr_expect_eq(world.ok_count, 2);
    cr_expect_eq(world.pushed[0]->epoch, 5);
    end(&world);
}

Test(master, only_the_first_bootstrap_counts)
{
    struct world world;
    begin(&world, 1);
    struct store_here *leader = run_until_led(&world);
    run(&world, 200);
    const group_id_t one[] = {1};
    report(&world, leader, 1, 1, one, 1, 1, 5, world.pushed[0]);
    run(&world, 200);
    Ostraka__MasterCommand__Bootstrap bootstrap = OSTRAKA__MASTER_COMMAND__BOOTSTRAP__INIT;
    const Ostraka__Map *map = master_bootstrap_map(&world.options, &world.arena);
    bootstrap.cluster_id = map->cluster_id;
    bootstrap.n_stores = map->n_stores;
    bootstrap.stores = map->stores;
    bootstrap.n_groups = map->n_groups;
    bootstrap.groups = map->groups;
    bootstrap.n_ranges = map->n_ranges;
    bootstrap.ranges = map->ranges;
    bootstrap.master = map->master;
    bootstrap.next_replica = map->next_replica;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_BOOTSTRAP;
    command.bootstrap = &bootstrap;
    struct blob *payload = blob_new(ostraka__master_command__get_packed_size(&command));
    ostraka__master_command__pack(&command, payload->data);
    raft_index_t index;
    raft_term_t term;
    cr_assert_eq(raft_host_propose(leader->host, SHARD_MASTER_GROUP, RAFT_ENTRY_COMMAND, payload,
                                   world.now_ns, &index, &term),
                 OST_OK);
    blob_unref(payload);
    run(&world, 100);
    cr_expect_eq(map_of_rows(&world, leader)->epoch, 4);
    end(&world);
}

Test(master, a_stalled_store_delays_the_rows_alone)
{
    struct world world;
    begin(&world, 1);
    struct store_here *leader = run_until_led(&world);
    leader->rows_are_busy = true;
    struct master_rows rows = rows_of(leader);
    run(&world, 2000);
    rows_flush(leader);
    raft_index_t before;
    cr_assert_eq(master_read_flushed_index(&rows, &before), OST_OK);
    for (int ms = 0; ms < 1000; ms++) {
        ask(&world, leader, 1);
        step(&world);
    }
    run(&world, 5);
    cr_expect_eq(world.ok_count, 1000);
    run(&world, 12000); /* nothing is applied any more */
    leader->rows_are_busy = false;
    run(&world, 2);
    rows_flush(leader);
    raft_index_t after;
    cr_assert_eq(master_read_flushed_index(&rows, &after), OST_OK);
    cr_expect_gt(after, before);
    Ostraka__GroupStatus *status;
    master_status(leader->master, &world.arena, &status);
    cr_expect_eq(status->applied_index, after);
    cr_expect(status->ready);
    master_set_flushed_index(leader->master, after);
    master_set_flushed_index(leader->master, after - 1);
    master_status(leader->master, &world.arena, &status);
    cr_expect_eq(status->flushed_index, after, "never back");
    end(&world);
}

static uint64_t applied_index(struct world *world, struct store_here *store)
{
    Ostraka__GroupStatus *status;
    master_status(store->master, &world->arena, &status);
    return status->applied_index;
}

Test(master, one_that_was_away_for_long_gets_a_snapshot)
{
    struct world world;
    begin(&world, 3);
    struct store_here *leader = run_until_led(&world);
    run(&world, 200);
    size_t away = leader->id % 3;
    store_crash(&world, away);
    const group_id_t one[] = {1};
    report(&world, leader, leader->id, 1, one, 1, 1, 5, world.pushed[0]);
    for (int second = 0; second < 30; second++) {
        if (second < 15) /* then the ceiling stays where it is */
            ask(&world, leader, 1);
        run(&world, 1000);
        for (size_t place = 0; place < 3; place++) {
            struct store_here *store = &world.stores[place];
            if (!store->is_up)
                continue;
            rows_flush(store);
            struct master_rows rows = rows_of(store);
            raft_index_t index;
            cr_assert_eq(master_read_flushed_index(&rows, &index), OST_OK);
            master_set_flushed_index(store->master, index);
            raft_host_flushed(store->host, world.now_ns);
        }
    }
    cr_assert_eq(ready_leader(&world), leader);
    struct raft_status status;
    cr_assert_eq(raft_host_group_status(leader->host, SHARD_MASTER_GROUP, &status), OST_OK);
    cr_assert_gt(status.first_index, 10, "the log was cut");
    struct store_here *back = &world.stores[away];
    store_start(&world, away);
    run(&world, 2000);
    cr_expect_eq(applied_index(&world, back), applied_index(&world, leader));

    /* It leads, and nothing but the ceiling it was given keeps timestamps in order. */
    world.wall_off_ms = -100000;
    cr_assert_eq(raft_host_transfer(leader->host, SHARD_MASTER_GROUP, away + 1, world.now_ns),
                 OST_OK);
    for (int ms = 0; ms < 5000 && ready_leader(&world) != back; ms++)
        step(&world);
    cr_assert_eq(ready_leader(&world), back);
    size_t ok_count = world.ok_count;
    ask(&world, back, 1);
    run(&world, 6000);
    cr_expect_eq(world.ok_count, ok_count + 1);
    cr_expect_eq(world.pushed[0]->epoch, 4);
    cr_expect(world.pushed[0]->ranges[0]->assigned);

    /* What it was given is durable: it stands after a crash (the log begins behind it). */
    store_crash(&world, away);
    store_start(&world, away);
    run(&world, 3000);
    cr_expect_eq(applied_index(&world, back), applied_index(&world, run_until_led(&world)));
    end(&world);
}

Test(master, options_that_make_no_map_are_refused)
{
    struct world world;
    begin(&world, 1);
    char why[256] = "";
    struct master_options options = world.options;
    options.store_id = 1;
    struct bytes disordered[] = {bytes_of_string("p"), bytes_of_string("g")};
    options.initial_splits = disordered;
    cr_expect_eq(master_options_check(&options, why), OST_INVALID_ARGUMENT);
    cr_expect_neq(why[0], '\0');
    end(&world);
}

/* --- the safe point --- */

#define HISTORY_MS 3000u

/* Asks for a timestamp every 100 ms; nothing that a store knows of the safe point ever goes back.
 */
static void run_busy(struct world *world, uint64_t ms)
{
    timestamp_t highest = 0;
    for (uint64_t at = 0; at < ms; at++) {
        struct store_here *leader = ready_leader(world);
        if (leader && at % 100 == 0)
            ask(world, leader, 1);
        step(world);
        leader = ready_leader(world);
        if (!leader)
            continue;
        timestamp_t safe_point = master_safe_point(leader->master);
        cr_assert_geq(safe_point, highest, "it went back");
        highest = safe_point;
    }
}

static int hold(struct world *world, uint64_t id, timestamp_t timestamp, uint32_t ttl_ms)
{
    struct store_here *leader = run_until_led(world);
    Ostraka__HoldRequest request = OSTRAKA__HOLD_REQUEST__INIT;
    request.client = 7;
    request.id = id;
    request.timestamp = timestamp;
    request.ttl_ms = ttl_ms;
    size_t count = world->hold_answers_count;
    cr_assert_eq(send(world, leader, FRAME_HOLD, 1, &request.base), OST_OK);
    store_drain(world, leader);
    for (int ms = 0; ms < 5000 && world->hold_answers_count == count; ms++)
        step(world);
    cr_assert_eq(world->hold_answers_count, count + 1);
    return world->hold_answer.status;
}

static timestamp_t safe_point_now(struct world *world)
{
    return master_safe_point(run_until_led(world)->master);
}

static void crash_leader(struct world *world)
{
    size_t place = run_until_led(world)->id - 1;
    store_crash(world, place);
    run_until_led(world);
    store_start(world, place);
}

Test(master, the_safe_point_follows_the_clock_and_never_goes_back)
{
    struct world world;
    begin(&world, 3);
    world.options.history_ms = HISTORY_MS;
    for (size_t place = 0; place < 3; place++) {
        store_crash(&world, place);
        store_start(&world, place);
    }
    run_busy(&world, 8000);
    timestamp_t before = safe_point_now(&world);
    cr_expect_gt(before, timestamp_from_ms(WALL_MS - HISTORY_MS));
    cr_expect_leq(timestamp_to_ms(before) + HISTORY_MS, wall_ms(&world));
    for (size_t place = 0; place < 3; place++)
        cr_expect_eq(world.told_safe_point[place], before);

    /* The next leaders know it, also one whose clock is an hour behind, and all after a crash. */
    crash_leader(&world);
    cr_expect_geq(safe_point_now(&world), before);
    world.wall_off_ms = -3600000;
    crash_leader(&world);
    cr_expect_geq(safe_point_now(&world), before);
    run_busy(&world, 5000);
    before = safe_point_now(&world);
    for (size_t place = 0; place < 3; place++)
        store_crash(&world, place);
    for (size_t place = 0; place < 3; place++)
        store_start(&world, place);
    cr_expect_geq(safe_point_now(&world), before);
    run_busy(&world, 5000);
    cr_expect_gt(safe_point_now(&world), before, "it goes on");
    cr_expect_gt(world.highest, safe_point_now(&world), "no timestamp below it is handed out");
    end(&world);
}

Test(master, the_safe_point_rests_when_nothing_is_left_below_it)
{
    struct world world;
    begin(&world, 1);
    world.options.history_ms = 300000; /* a step of the safe point is 30 s */
    store_crash(&world, 0);
    store_start(&world, 0);
    run_busy(&world, 1000);
    run(&world, 360000);
    timestamp_t safe_point = safe_point_now(&world);
    cr_expect_gt(safe_point, world.highest, "what was written last is old enough as well");
    cr_assert_gt(safe_point, world.highest + timestamp_from_ms(12000),
                 "the ceiling went on by itself for ten seconds: this would show nothing");
    raft_index_t index = applied_index(&world, &world.stores[0]);
    run(&world, 60000);
    cr_expect_eq(applied_index(&world, &world.stores[0]), index, "nothing is written for nothing");
    /* The ceiling rested; the next leader's timestamps lie above it all the same. */
    store_crash(&world, 0);
    world.wall_off_ms = -3600000;
    store_start(&world, 0);
    size_t ok_count = world.ok_count;
    run_until_led(&world);
    ask(&world, &world.stores[0], 1);
    run(&world, 3000);
    cr_assert_eq(world.ok_count, ok_count + 1);
    cr_expect_gt(world.last.timestamp, safe_point);
    end(&world);
}

Test(master, a_hold_keeps_the_safe_point_until_it_ends)
{
    struct world world;
    begin(&world, 3);
    world.options.history_ms = HISTORY_MS;
    for (size_t place = 0; place < 3; place++) {
        store_crash(&world, place);
        store_start(&world, place);
    }
    run_busy(&world, 1000);
    timestamp_t held = world.highest;
    cr_assert_eq(hold(&world, 1, held, 4000), OST_OK);
    for (int time = 0; time < 6; time++) {
        run_busy(&world, 2000);
        cr_assert_eq(hold(&world, 1, held, 4000), OST_OK, "renewed");
        cr_assert_leq(safe_point_now(&world), held, "it has passed a live hold");
        if (time == 3)
            crash_leader(&world); /* holds are replicated */
    }
    cr_expect_eq(safe_point_now(&world), held, "as far as it may");
    cr_expect_eq(hold(&world, 2, held - 1, 4000), OST_SNAPSHOT_TOO_OLD);
    cr_expect_eq(hold(&world, 3, held, 0), OST_OK, "letting go of nothing");
    cr_assert_eq(hold(&world, 2, held + 1, 4000), OST_OK);
    /* The first one is let go of, the second one expires. */
    cr_assert_eq(hold(&world, 1, held, 0), OST_OK);
    run_busy(&world, 2000);
    cr_expect_eq(safe_point_now(&world), held + 1);
    run_busy(&world, 8000);
    cr_expect_gt(safe_point_now(&world), held + 1);
    cr_expect_eq(hold(&world, 2, held + 1, 4000), OST_SNAPSHOT_TOO_OLD, "it came too late");
    /* What makes no sense. */
    cr_expect_eq(hold(&world, 0, world.highest, 4000), OST_INVALID_ARGUMENT);
    cr_expect_eq(hold(&world, 5, 0, 4000), OST_INVALID_ARGUMENT);
    cr_expect_eq(hold(&world, 5, world.highest, HOLD_TTL_MS_MAX + 1), OST_INVALID_ARGUMENT);
    end(&world);
}

/* A hold that a client asks for after hours in which nobody asked for anything does not expire at
 * once: its time begins with the clock of the leader, not with the last entry's. */
Test(master, a_hold_lives_its_time_after_a_long_rest)
{
    struct world world;
    begin(&world, 1);
    world.options.history_ms = HISTORY_MS;
    store_crash(&world, 0);
    store_start(&world, 0);
    run_busy(&world, 1000);
    run(&world, 100000);
    timestamp_t held = world.highest + timestamp_from_ms(50000);
    cr_assert_eq(hold(&world, 1, held, 20000), OST_OK);
    run_busy(&world, 8000);
    cr_expect_leq(safe_point_now(&world), held);
    run_busy(&world, 30000);
    cr_expect_gt(safe_point_now(&world), held);
    end(&world);
}

Test(master, safe_point_and_holds_travel_with_rows_and_snapshots)
{
    struct world world;
    begin(&world, 3);
    world.options.history_ms = HISTORY_MS;
    for (size_t place = 0; place < 3; place++) {
        store_crash(&world, place);
        store_start(&world, place);
    }
    run_busy(&world, 5000);
    size_t away = run_until_led(&world)->id % 3;
    store_crash(&world, away);
    timestamp_t held = world.highest;
    cr_assert_eq(hold(&world, 1, held, 600000), OST_OK);
    for (int second = 0; second < 30; second++) {
        run_busy(&world, 1000);
        for (size_t place = 0; place < 3; place++) {
            struct store_here *store = &world.stores[place];
            if (!store->is_up)
                continue;
            rows_flush(store);
            struct master_rows rows = rows_of(store);
            raft_index_t index;
            cr_assert_eq(master_read_flushed_index(&rows, &index), OST_OK);
            master_set_flushed_index(store->master, index);
            raft_host_flushed(store->host, world.now_ns);
        }
    }
    cr_assert_eq(safe_point_now(&world), held);
    struct raft_status status;
    struct store_here *leader = run_until_led(&world);
    cr_assert_eq(raft_host_group_status(leader->host, SHARD_MASTER_GROUP, &status), OST_OK);
    cr_assert_gt(status.first_index, 10, "the log was cut");
    store_start(&world, away);
    struct store_here *back = &world.stores[away];
    run(&world, 3000);
    cr_assert_eq(applied_index(&world, back), applied_index(&world, leader));
    cr_expect_eq(master_safe_point(back->master), held);
    /* It leads, knows the hold, and its rows know both after a crash of all. */
    cr_assert_eq(raft_host_transfer(leader->host, SHARD_MASTER_GROUP, away + 1, world.now_ns),
                 OST_OK);
    for (int ms = 0; ms < 5000 && ready_leader(&world) != back; ms++)
        step(&world);
    cr_assert_eq(ready_leader(&world), back);
    run_busy(&world, 5000);
    cr_expect_eq(safe_point_now(&world), held, "the hold came with the snapshot");
    for (size_t place = 0; place < 3; place++)
        store_crash(&world, place);
    for (size_t place = 0; place < 3; place++)
        store_start(&world, place);
    run_busy(&world, 5000);
    cr_expect_eq(safe_point_now(&world), held, "and is in the rows");
    end(&world);
}
