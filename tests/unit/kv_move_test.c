/* A range that goes from one group to another (docs/range-moves.md), as the groups see it: the test
 * gives the shard master's orders and goes by the reports. */
#include "tests/support/kv_client.h"

#include "base/random.h"
#include "shardkv/kv_keys.h"
#include "shardkv/store.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define FACTS_MAX 8u

struct fact {
    group_id_t group;
    char start[16], end[16];
    uint64_t epoch, change;
    int state;
    bool is_near;
};

struct mover {
    struct kv_world *world;
    struct fact facts[FACTS_MAX]; /* the last of each group and start */
    size_t facts_count;
    uint32_t fetches_lost; /* of a hundred */
    struct random random;
};

static void copy_text(char *to, ProtobufCBinaryData from)
{
    cr_assert_lt(from.len, 16);
    memcpy(to, from.data, from.len);
    to[from.len] = '\0';
}

static struct fact *fact_find(struct mover *mover, group_id_t group, const char *start)
{
    for (size_t index = 0; index < mover->facts_count; index++)
        if (mover->facts[index].group == group && strcmp(mover->facts[index].start, start) == 0)
            return &mover->facts[index];
    return NULL;
}

static void reported(void *context, const Ostraka__RangeReport *report)
{
    struct mover *mover = context;
    for (size_t index = 0; index < report->n_ranges; index++) {
        const Ostraka__RangeFact *from = report->ranges[index];
        char start[16];
        copy_text(start, from->start);
        struct fact *fact = fact_find(mover, report->group, start);
        if (!fact) {
            cr_assert_lt(mover->facts_count, FACTS_MAX);
            fact = &mover->facts[mover->facts_count++];
        }
        *fact = (struct fact){.group = report->group,
                              .epoch = from->epoch,
                              .change = from->change,
                              .state = (int)from->state,
                              .is_near = from->is_near};
        copy_text(fact->start, from->start);
        copy_text(fact->end, from->end);
    }
}

static bool loses(void *context, const struct frame *frame)
{
    struct mover *mover = context;
    return (frame->type == FRAME_RANGE_FETCH || frame->type == FRAME_RANGE_FETCH_ANSWER) &&
           random_below(&mover->random, 100) < mover->fetches_lost;
}

/* Groups 1, with [a, m) at epoch 1, and 2, with [m, z). */
static struct kv_world *begin(struct mover *mover, uint32_t stores_count)
{
    struct kv_world *world = kv_world_new(stores_count);
    *mover = (struct mover){.world = world};
    random_init(&mover->random, 1);
    world->range_report = reported;
    world->range_context = mover;
    world->is_lost = loses;
    world->lost_context = mover;
    kv_world_create_group(world, 1);
    kv_world_create_group(world, 2);
    kv_world_assign(world, 1, "a", "m", 1);
    kv_world_assign(world, 2, "m", "z", 1);
    return world;
}

static void order(struct mover *mover, group_id_t group, Ostraka__RangeStep step, uint64_t change,
                  const char *start, const char *end, uint64_t epoch, const char *at)
{
    Ostraka__RangeOrder message = OSTRAKA__RANGE_ORDER__INIT;
    message.group = group;
    message.step = step;
    message.change = change;
    message.start = kv_field(start);
    message.end = kv_field(end);
    message.epoch = epoch;
    message.at = kv_field(at);
    message.epoch_right = epoch;
    message.from_group = 3 - group;
    struct blob *blob = frame_encode(FRAME_RANGE_ORDER, 0, &message.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    struct kv_world *world = mover->world;
    store_id_t leader = kv_world_leader(world, group);
    cr_assert_eq(
        kv_server_receive(world->stores[leader].kv, CONNECTION_LOCAL, &frame, world->now_ns),
        OST_OK);
    blob_unref(blob);
}

/* The move of [start, end) from one group to the other, as an order. */
static void move_order(struct mover *mover, group_id_t group, Ostraka__RangeStep step,
                       uint64_t change, uint64_t epoch)
{
    order(mover, group, step, change, "a", "m", epoch, "");
}

static bool state_is(struct mover *mover, group_id_t group, const char *start, int state,
                     uint64_t epoch)
{
    const struct fact *fact = fact_find(mover, group, start);
    return fact && fact->state == state && fact->epoch == epoch;
}

#define RUN_UNTIL(mover, condition)                                                                \
    do {                                                                                           \
        for (uint32_t ms = 0; ms < 20000 && !(condition); ms++)                                    \
            kv_world_run((mover)->world, 1);                                                       \
        cr_assert(condition);                                                                      \
    } while (0)

static void copy_until_near(struct mover *mover, uint64_t change, uint64_t epoch)
{
    move_order(mover, 2, OSTRAKA__RANGE_STEP__RANGE_CLEAR, change, epoch);
    RUN_UNTIL(mover, fact_find(mover, 2, "a") && fact_find(mover, 2, "a")->is_near);
}

static void own(struct mover *mover, uint64_t change, uint64_t epoch)
{
    RUN_UNTIL(mover, state_is(mover, 2, "a", OSTRAKA__RANGE_STATE__RANGE_COPIED, epoch));
    cr_assert(state_is(mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_SEALED, epoch));
    move_order(mover, 2, OSTRAKA__RANGE_STEP__RANGE_OWN, change, epoch);
    RUN_UNTIL(mover, state_is(mover, 2, "a", OSTRAKA__RANGE_STATE__RANGE_OWNED, epoch + 1));
    move_order(mover, 1, OSTRAKA__RANGE_STEP__RANGE_DROP, change, epoch);
    kv_world_run(mover->world, 20);
}

static void move(struct mover *mover, uint64_t change, uint64_t epoch)
{
    copy_until_near(mover, change, epoch);
    move_order(mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, change, epoch);
    own(mover, change, epoch);
}

static int get_status(struct kv_world *world, group_id_t group, const char *start, uint64_t epoch,
                      const char *key, struct bytes *out_value)
{
    uint64_t id =
        kv_client_send_get(world, kv_world_leader(world, group), group, start, epoch, key);
    const Ostraka__GetAnswer *answer = kv_client_wait_get(world, id, out_value);
    if (answer->header->status != OST_OK)
        return answer->header->status;
    return answer->found ? OST_OK : OST_NOT_FOUND;
}

static void expect_value(struct kv_world *world, group_id_t group, uint64_t epoch, const char *key,
                         const char *expected)
{
    struct bytes value;
    int status = get_status(world, group, "a", epoch, key, &value);
    cr_assert_eq(status, expected ? OST_OK : OST_NOT_FOUND, "%s: %s", key, ost_status_name(status));
    if (expected)
        cr_assert(bytes_equal(value, bytes_of_string(expected)), "%s: %.*s", key,
                  (int)value.bytes_count, value.data);
}

/* Of a replica, whether it leads or not. */
static int snapshot_status(struct kv_world *world, store_id_t store, const char *start,
                           uint64_t epoch, const char *key, timestamp_t timestamp)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = kv_field(start);
    range.epoch = epoch;
    Ostraka__GetRequest get = OSTRAKA__GET_REQUEST__INIT;
    get.group = 2;
    get.range = &range;
    get.key = kv_field(key);
    get.timestamp = timestamp;
    get.any_replica = true;
    uint64_t id = kv_world_send(world, store, FRAME_GET, &get.base, bytes_of(NULL, 0));
    return (int)kv_client_wait_get(world, id, NULL)->header->status;
}

/* Versions of keys in [a, m) that a store has for a group. */
static size_t versions_count(struct kv_world *world, store_id_t store, group_id_t group)
{
    struct buffer lower = BUFFER_INIT, upper = BUFFER_INIT;
    kv_key_data_prefix(&lower, group, 1, bytes_of_string("a"));
    kv_key_data_prefix(&upper, group, 1, bytes_of_string("m"));
    struct store_iterator *iterator =
        store_iterator_new(world->stores[store].store, NULL, buffer_bytes(&lower),
                           buffer_bytes(&upper), STORE_MAY_BLOCK);
    size_t count = 0;
    for (store_iterator_first(iterator); store_iterator_valid(iterator);
         store_iterator_next(iterator))
        count++;
    store_iterator_free(iterator);
    buffer_fini(&lower);
    buffer_fini(&upper);
    return count;
}

static void put_many(struct kv_world *world, uint32_t count, const char *value)
{
    char key[16];
    for (uint32_t index = 0; index < count; index++) {
        snprintf(key, sizeof(key), "b%03u", index);
        kv_client_put(world, 1, "a", key, value);
    }
}

Test(kv_move, rows_go_along_and_the_old_copy_is_gone)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    put_many(world, 20, "old");
    put_many(world, 10, "new");
    move(&mover, 1, 1);
    expect_value(world, 2, 2, "b003", "new");
    expect_value(world, 2, 2, "b013", "old");
    expect_value(world, 2, 2, "c", NULL);
    cr_assert_eq(get_status(world, 1, "a", 1, "b003", NULL), OST_RANGE_MOVED);
    kv_world_run(world, 200);
    for (store_id_t store = 1; store <= 3; store++) {
        cr_expect_eq(versions_count(world, store, 1), 0);
        cr_expect_eq(versions_count(world, store, 2), 30);
    }
    kv_world_free(world);
}

Test(kv_move, a_late_assignment_does_not_give_a_range_back)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 1);
    kv_client_put(world, 1, "a", "b", "1");
    move(&mover, 1, 1);
    Ostraka__RangeInfo range = OSTRAKA__RANGE_INFO__INIT;
    range.start = kv_field("a");
    range.end = kv_field("m");
    range.group = range.epoch = 1;
    Ostraka__AssignRange assign = OSTRAKA__ASSIGN_RANGE__INIT;
    assign.group = assign.group_epoch = 1;
    assign.range = &range;
    for (int is_restarted = 0; is_restarted <= 1; is_restarted++) {
        kv_world_send(world, 1, FRAME_ASSIGN_RANGE, &assign.base, bytes_of(NULL, 0));
        kv_world_run(world, 100);
        cr_assert_eq(get_status(world, 1, "a", 1, "b", NULL), OST_RANGE_MOVED);
        kv_world_flush(world, 1);
        kv_world_crash(world, 1);
        kv_world_start(world, 1);
    }
    kv_world_free(world);
}

/* The rows go while the pool looks whether they are as they were read. */
Test(kv_move, what_was_read_is_not_unchanged_because_it_is_gone)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    put_many(world, 20, "old");
    Ostraka__ReadCheck check = OSTRAKA__READ_CHECK__INIT, *checks = &check;
    check.start = kv_field("b003");
    check.is_key = true;
    check.read_timestamp = world->timestamp;
    put_many(world, 10, "new");
    copy_until_near(&mover, 1, 1);
    store_id_t leader = kv_world_leader(world, 1);
    world->are_jobs_held = true;
    store_memory_hinder(world->stores[leader].store, false, true);
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = 77;
    Ostraka__ValidateRequest request = OSTRAKA__VALIDATE_REQUEST__INIT;
    request.group = 1;
    request.txn = &txn;
    request.checks = &checks;
    request.n_checks = 1;
    uint64_t id = kv_world_send(world, leader, FRAME_VALIDATE, &request.base, bytes_of(NULL, 0));
    kv_world_run(world, 20);
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    own(&mover, 1, 1);
    cr_assert_null(kv_world_answer(world, id, &ostraka__validate_answer__descriptor, NULL));
    world->are_jobs_held = false;
    const Ostraka__ValidateAnswer *answer = (const Ostraka__ValidateAnswer *)kv_world_wait(
        world, id, &ostraka__validate_answer__descriptor, NULL);
    cr_assert_eq(answer->header->status, OST_RANGE_MOVED);
    kv_world_free(world);
}

Test(kv_move, what_is_written_meanwhile_goes_along)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 1);
    put_many(world, 5, "old");
    copy_until_near(&mover, 1, 1);
    kv_client_put(world, 1, "a", "b001", "meanwhile");
    kv_client_put(world, 1, "a", "b002", NULL);
    kv_client_put(world, 1, "a", "k", "fresh");
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    own(&mover, 1, 1);
    expect_value(world, 2, 2, "b000", "old");
    expect_value(world, 2, 2, "b001", "meanwhile");
    expect_value(world, 2, 2, "b002", NULL);
    expect_value(world, 2, 2, "k", "fresh");
    kv_world_free(world);
}

/* What is written meanwhile is held back like the rest, but not for ever. */
Test(kv_move, writers_who_are_faster_than_the_limit_are_caught_up_with)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 1);
    static char value[32 << 10];
    memset(value, 'v', sizeof(value) - 1);
    put_many(world, 10, value);
    kv_world_flush(world, 1);
    kv_world_crash(world, 1);
    world->kv_options.copy_bytes_per_s = 256u << 10;
    kv_world_start(world, 1);
    move_order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_CLEAR, 1, 1);
    bool is_near = false;
    nanoseconds_t began_ns = world->now_ns;
    for (uint32_t index = 0; index < 1000 && !is_near; index++) {
        kv_client_put(world, 1, "a", index % 2 ? "c" : "d", value);
        is_near = fact_find(&mover, 2, "a") && fact_find(&mover, 2, "a")->is_near;
    }
    cr_expect(is_near);
    cr_expect_geq(world->now_ns - began_ns, NS_PER_S, "the rows themselves were held back");
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    own(&mover, 1, 1);
    expect_value(world, 2, 2, "c", value);
    kv_world_free(world);
}

Test(kv_move, a_frozen_range_takes_nothing_new_and_serves_again_when_it_is_given_back)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 1);
    kv_client_put(world, 1, "a", "b", "1");
    copy_until_near(&mover, 1, 1);
    /* A transaction that grows loses its locks. */
    struct kv_part part = {
        .group = 1, .range_start = "a", .sequence = 50, .anchor = "b", .one_group = true};
    cr_assert_eq(kv_client_lock(world, &part, "b", true, NULL)->header->status, OST_OK);
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    kv_world_run(world, 5);
    cr_assert_eq(get_status(world, 1, "a", 1, "b", NULL), OST_RANGE_MOVED);
    cr_assert_eq(kv_client_prepare(world, &part, kv_client_write(world, "b", "2"))->header->status,
                 OST_RANGE_MOVED);
    RUN_UNTIL(&mover, state_is(&mover, 2, "a", OSTRAKA__RANGE_STATE__RANGE_COPIED, 1));
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_UNFREEZE, 1, 1);
    move_order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_DISCARD, 1, 1);
    RUN_UNTIL(&mover, state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_OWNED, 1));
    expect_value(world, 1, 1, "b", "1");
    cr_assert_eq(get_status(world, 2, "a", 2, "b", NULL), OST_RANGE_MOVED);
    cr_assert_eq(kv_client_prepare(world, &part, kv_client_write(world, "b", "2"))->header->status,
                 OST_LOCKS_LOST);
    kv_world_run(world, 20);
    cr_assert_eq(versions_count(world, 1, 2), 0);
    /* What is over never freezes it again, however late it comes. */
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    kv_world_run(world, 20);
    expect_value(world, 1, 1, "b", "1");
    kv_client_put(world, 1, "a", "b", "3");
    move(&mover, 2, 1);
    expect_value(world, 2, 2, "b", "3");
    kv_world_free(world);
}

/* Each part writes the value to its own key. The timestamp to commit at. */
static timestamp_t prepare_parts(struct kv_world *world, const struct kv_part *home,
                                 const struct kv_part *other, const char *value)
{
    const Ostraka__PrepareAnswer *one =
        kv_client_prepare(world, home, kv_client_write(world, home->anchor, value));
    cr_assert_eq(one->header->status, OST_OK);
    const Ostraka__PrepareAnswer *two =
        kv_client_prepare(world, other, kv_client_write(world, home->participant, value));
    cr_assert_eq(two->header->status, OST_OK);
    return one->commit_timestamp_min > two->commit_timestamp_min ? one->commit_timestamp_min
                                                                 : two->commit_timestamp_min;
}

/* Home in [m, z) of group 2, the other part in [a, m) of group 1. */
static void prepare_both(struct kv_world *world, uint64_t sequence, struct kv_part *home,
                         struct kv_part *other, timestamp_t *out_timestamp)
{
    *home = (struct kv_part){.group = 2,
                             .range_start = "m",
                             .sequence = sequence,
                             .anchor = "n",
                             .is_home = true,
                             .participant = "b"};
    *other = (struct kv_part){.group = 1, .range_start = "a", .sequence = sequence, .anchor = "n"};
    *out_timestamp = prepare_parts(world, home, other, "2");
}

Test(kv_move, what_is_prepared_is_waited_for)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    kv_client_put(world, 1, "a", "b", "1");
    struct kv_part home, other;
    timestamp_t timestamp;
    prepare_both(world, 60, &home, &other, &timestamp);
    copy_until_near(&mover, 1, 1);
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    kv_world_run(world, 300);
    cr_assert(state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_FROZEN, 1));
    cr_assert_eq(kv_client_commit(world, &home, timestamp)->header->status, OST_OK);
    own(&mover, 1, 1);
    expect_value(world, 2, 2, "b", "2");
    kv_world_free(world);
}

/* Home in [a, m) of group 1; the other part in group 2, which the range goes to. */
Test(kv_move, a_decided_record_goes_along_and_ends_the_part_that_it_finds)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    kv_client_put(world, 1, "a", "b", "1");
    struct kv_part home = {.group = 1,
                           .range_start = "a",
                           .sequence = 70,
                           .anchor = "b",
                           .is_home = true,
                           .participant = "n"};
    struct kv_part other = {.group = 2, .range_start = "m", .sequence = 70, .anchor = "b"};
    timestamp_t timestamp = prepare_parts(world, &home, &other, "2");
    world->is_resolution_lost = true; /* nobody tells group 2 */
    cr_assert_eq(kv_client_commit(world, &home, timestamp)->header->status, OST_OK);
    move(&mover, 1, 1);
    expect_value(world, 2, 2, "b", "2");
    uint64_t id = kv_client_send_get(world, kv_world_leader(world, 2), 2, "m", 1, "n");
    struct bytes value;
    cr_assert_eq(kv_client_wait_get(world, id, &value)->header->status, OST_OK);
    cr_assert(bytes_equal(value, bytes_of_string("2")), "its part ended with the record's coming");
    world->is_resolution_lost = false;
    /* A late Prepare and a late Commit find what became of it. */
    home.range_start = "a", home.epoch = 2, home.group = 2;
    const Ostraka__PrepareAnswer *late =
        kv_client_prepare(world, &home, kv_client_write(world, "b", "2"));
    cr_assert_eq(late->header->status, OST_OK);
    cr_assert_eq(late->commit_timestamp_min, timestamp);
    cr_assert_eq(kv_client_commit(world, &home, timestamp)->header->status, OST_OK);
    kv_world_free(world);
}

Test(kv_move, what_was_committed_is_not_done_again_at_the_new_owner)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 1);
    struct kv_part part = {.group = 1,
                           .range_start = "a",
                           .sequence = 80,
                           .anchor = "b",
                           .one_group = true,
                           .deadline = kv_world_deadline(world, 30000)};
    timestamp_t timestamp =
        kv_client_prepare(world, &part, kv_client_write(world, "b", "1"))->commit_timestamp_min;
    kv_client_put(world, 1, "a", "b", "2");
    move(&mover, 1, 1);
    part.group = 2, part.epoch = 2;
    const Ostraka__PrepareAnswer *again =
        kv_client_prepare(world, &part, kv_client_write(world, "b", "1"));
    cr_assert_eq(again->header->status, OST_OK);
    cr_assert_eq(again->commit_timestamp_min, timestamp, "the one that was committed");
    expect_value(world, 2, 2, "b", "2");
    kv_world_free(world);
}

Test(kv_move, leaders_that_die_on_the_way_begin_anew)
{
    for (uint32_t round = 0; round < 8; round++) {
        struct mover mover;
        struct kv_world *world = begin(&mover, 3);
        put_many(world, 30, "old");
        move_order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_CLEAR, 1, 1);
        kv_world_run(world, 2 + 3 * round);
        store_id_t victim = kv_world_leader(world, 1 + round % 2);
        kv_world_crash(world, victim);
        kv_world_run(world, 1500);
        kv_client_put(world, 1, "a", "b004", NULL);
        kv_client_put(world, 1, "a", "b005", "new");
        kv_world_start(world, victim);
        RUN_UNTIL(&mover, fact_find(&mover, 2, "a")->is_near);
        move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
        own(&mover, 1, 1);
        expect_value(world, 2, 2, "b003", "old");
        expect_value(world, 2, 2, "b004", NULL);
        expect_value(world, 2, 2, "b005", "new");
        kv_world_free(world);
    }
}

/* A copy that went on after its feed was lost would keep what was deleted and swept meanwhile. */
Test(kv_move, what_was_deleted_and_swept_between_two_feeds_does_not_come_back)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    put_many(world, 5, "old");
    copy_until_near(&mover, 1, 1);
    mover.fetches_lost = 100;
    kv_world_crash(world, kv_world_leader(world, 1));
    kv_world_run(world, 1500);
    kv_client_put(world, 1, "a", "b002", NULL);
    kv_world_run(world, 100);
    kv_world_safe_point(world, world->timestamp);
    kv_world_run(world, 100);
    for (store_id_t store = 1; store <= 3; store++)
        if (world->stores[store].is_up)
            kv_world_flush(world, store);
    kv_world_run(world, 500);
    store_id_t giver = kv_world_leader(world, 1);
    RUN_UNTIL(&mover, versions_count(world, giver, 1) == 4); /* swept, marker and all */
    mover.fetches_lost = 0;
    RUN_UNTIL(&mover, !fact_find(&mover, 2, "a")->is_near); /* it has found out, and begins anew */
    RUN_UNTIL(&mover, fact_find(&mover, 2, "a")->is_near);
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    own(&mover, 1, 1);
    expect_value(world, 2, 2, "b001", "old");
    expect_value(world, 2, 2, "b002", NULL);
    kv_world_free(world);
}

/* Group 1 has swept what is below its safe point; group 2, which takes the range, has none. A
 * replica that has closed the timestamp knows the range as owned before that is written. */
Test(kv_move, nobody_reads_below_the_givers_safe_point_before_the_luggage_is_written)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    kv_client_put(world, 1, "a", "b", "old");
    timestamp_t before = world->timestamp;
    kv_client_put(world, 1, "a", "b", "new");
    kv_world_safe_point(world, world->timestamp);
    kv_world_run(world, 100);
    store_id_t replica = kv_world_leader(world, 2) == 1 ? 2 : 1;
    cr_assert_gt(kv_world_status(world, replica, 1)->safe_point, before);
    cr_assert_eq(snapshot_status(world, replica, "m", 1, "n", before), OST_OK);
    copy_until_near(&mover, 1, 1);
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    RUN_UNTIL(&mover, state_is(&mover, 2, "a", OSTRAKA__RANGE_STATE__RANGE_COPIED, 1));
    kv_world_run(world, 100);
    store_memory_hinder(world->stores[replica].store, true, false);
    move_order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_OWN, 1, 1);
    kv_world_run(world, 100);
    cr_assert_eq(kv_world_status(world, replica, 2)->safe_point, 0, "it is not written yet");
    cr_expect_eq(snapshot_status(world, replica, "a", 2, "b", before), OST_SNAPSHOT_TOO_OLD);
    store_memory_hinder(world->stores[replica].store, false, false);
    kv_world_run(world, 100);
    cr_expect_eq(snapshot_status(world, replica, "a", 2, "b", before), OST_SNAPSHOT_TOO_OLD);
    expect_value(world, 2, 2, "b", "new");
    kv_world_free(world);
}

Test(kv_move, lost_fetches_are_asked_again)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    put_many(world, 40, "old");
    mover.fetches_lost = 60;
    copy_until_near(&mover, 1, 1);
    for (uint32_t index = 0; index < 20; index++) {
        kv_client_put(world, 1, "a", "c", index % 2 ? "odd" : "even");
        kv_world_run(world, 20);
    }
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
    own(&mover, 1, 1);
    expect_value(world, 2, 2, "c", "odd");
    expect_value(world, 2, 2, "b039", "old");
    kv_world_free(world);
}

Test(kv_move, all_stores_at_once_may_lose_power_at_any_step)
{
    for (uint32_t round = 0; round < 12; round++) {
        struct mover mover;
        struct kv_world *world = begin(&mover, 3);
        put_many(world, 8, "old");
        copy_until_near(&mover, 1, 1);
        kv_client_put(world, 1, "a", "b001", "new");
        if (round > 2)
            move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
        kv_world_run(world, round);
        if (round % 3 == 0)
            kv_world_flush(world, 1 + round % 2);
        for (store_id_t store = 1; store <= 3; store++)
            kv_world_crash(world, store);
        for (store_id_t store = 1; store <= 3; store++)
            kv_world_start(world, store);
        kv_world_leader(world, 1);
        kv_world_leader(world, 2);
        move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
        own(&mover, 1, 1);
        expect_value(world, 2, 2, "b001", "new");
        expect_value(world, 2, 2, "b007", "old");
        for (store_id_t store = 1; store <= 3; store++)
            kv_world_crash(world, store);
        for (store_id_t store = 1; store <= 3; store++)
            kv_world_start(world, store);
        expect_value(world, 2, 2, "b001", "new");
        cr_assert_eq(get_status(world, 1, "a", 1, "b001", NULL), OST_RANGE_MOVED);
        kv_world_free(world);
    }
}

Test(kv_move, back_and_forth)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    kv_client_put(world, 1, "a", "b", "1");
    move(&mover, 1, 1);
    kv_world_run(world, 100);
    /* From 2 to 1: the same in the other direction. */
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_CLEAR, 2, 2);
    RUN_UNTIL(&mover, fact_find(&mover, 1, "a")->is_near);
    move_order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 2, 2);
    RUN_UNTIL(&mover, state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_COPIED, 2));
    move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_OWN, 2, 2);
    RUN_UNTIL(&mover, state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_OWNED, 3));
    expect_value(world, 1, 3, "b", "1");
    kv_world_free(world);
}

/* More than two jobs of the sweeper look at. */
#define VERSIONS_COUNT 10000u

static void job_do(struct job *job)
{
    job->run(job);
    job->done(job);
}

/* Half of a key's versions are swept when the range goes; it comes back with all of them. What the
 * sweeper knew then must not be applied to these: the marker would go, and old versions stay. */
Test(kv_move, a_range_that_comes_back_is_swept_from_the_beginning)
{
    for (int is_job_late = 0; is_job_late <= 1; is_job_late++) {
        struct mover mover;
        struct kv_world *world = begin(&mover, 1);
        world->kv_options.garbage_bytes_min = UINT64_MAX;
        kv_world_write_versions(world, "b", 1, VERSIONS_COUNT, 9);
        kv_client_put(world, 1, "a", "b", NULL);
        copy_until_near(&mover, 1, 1);
        kv_world_safe_point(world, world->timestamp);
        kv_world_run(world, 100);
        kv_world_flush(world, 1);
        struct job *second = kv_world_take_job(world, 1); /* the first ran along */
        kv_world_run(world, 1000);
        if (!is_job_late)
            job_do(second); /* a long rest is to follow, since it took so long */
        cr_assert_gt(versions_count(world, 1, 1), 1);
        cr_assert_lt(versions_count(world, 1, 1), VERSIONS_COUNT);
        move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1, 1);
        own(&mover, 1, 1);
        cr_assert_eq(versions_count(world, 1, 1), 0);
        cr_assert_eq(versions_count(world, 1, 2), VERSIONS_COUNT + 1);
        move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_CLEAR, 2, 2);
        kv_world_run(world, 200);
        if (is_job_late) {
            cr_expect_eq(versions_count(world, 1, 1), 0, "the copy waits for the job's deletes");
            job_do(second);
        }
        RUN_UNTIL(&mover, fact_find(&mover, 1, "a")->is_near);
        move_order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 2, 2);
        RUN_UNTIL(&mover, state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_COPIED, 2));
        move_order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_OWN, 2, 2);
        RUN_UNTIL(&mover, state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_OWNED, 3));
        kv_world_run(world, 15000);
        expect_value(world, 1, 3, "b", NULL);
        cr_expect_eq(versions_count(world, 1, 1), 0, "swept all the same");
        kv_world_free(world);
    }
}

/* --- Splits and merges --------------------------------------------------------------------------
 */

Test(kv_move, a_split_and_a_merge_change_epochs_and_nothing_else)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    kv_client_put(world, 1, "a", "b", "1");
    kv_client_put(world, 1, "a", "k", "2");
    order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_SPLIT, 1, "a", "m", 1, "g");
    RUN_UNTIL(&mover, state_is(&mover, 1, "g", OSTRAKA__RANGE_STATE__RANGE_OWNED, 2));
    cr_assert(state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_OWNED, 2));
    cr_assert_eq(get_status(world, 1, "a", 1, "b", NULL), OST_RANGE_MOVED, "an old epoch");
    cr_assert_eq(get_status(world, 1, "a", 2, "k", NULL), OST_RANGE_MOVED, "another range by now");
    cr_assert_eq(get_status(world, 1, "g", 2, "k", NULL), OST_OK);
    expect_value(world, 1, 2, "b", "1");
    /* The same order once more does nothing, and is reported. */
    mover.facts_count = 0;
    order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_SPLIT, 1, "a", "m", 1, "g");
    RUN_UNTIL(&mover, state_is(&mover, 1, "g", OSTRAKA__RANGE_STATE__RANGE_OWNED, 2));
    cr_assert(state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_OWNED, 2));
    for (store_id_t store = 1; store <= 3; store++)
        kv_world_crash(world, store);
    for (store_id_t store = 1; store <= 3; store++)
        kv_world_start(world, store);
    cr_assert_eq(get_status(world, 1, "g", 2, "k", NULL), OST_OK);
    order(&mover, 1, OSTRAKA__RANGE_STEP__RANGE_MERGE, 2, "a", "m", 2, "g");
    RUN_UNTIL(&mover, state_is(&mover, 1, "a", OSTRAKA__RANGE_STATE__RANGE_OWNED, 3));
    expect_value(world, 1, 3, "k", "2");
    cr_assert_eq(get_status(world, 1, "g", 2, "k", NULL), OST_RANGE_MOVED);
    kv_world_free(world);
}

/* --- Many ranges -------------------------------------------------------------------------------
 */

enum { MANY = 100 };

struct told {
    uint32_t counts[MANY]; /* how often "zNN" was told */
};

static void tell(void *context, const Ostraka__RangeReport *report)
{
    struct told *told = context;
    for (size_t index = 0; index < report->n_ranges; index++) {
        const ProtobufCBinaryData start = report->ranges[index]->start;
        cr_assert(start.len == 3 && start.data[0] == 'z');
        told->counts[(start.data[1] - '0') * 10 + (start.data[2] - '0')]++;
    }
}

Test(kv_move, more_ranges_than_a_report_has_room_for_are_told_in_turn)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 1);
    char starts[MANY][4], ends[MANY][4];
    struct told told = {{0}};
    world->range_report = tell;
    world->range_context = &told;
    for (uint64_t index = 0; index < MANY; index++) {
        snprintf(starts[index], sizeof(starts[index]), "z%02lu", index % MANY);
        snprintf(ends[index], sizeof(ends[index]), "z%02lu", (index + 1) % MANY);
        if (index == MANY - 1)
            snprintf(ends[index], sizeof(ends[index]), "zz");
        kv_world_assign(world, 2, starts[index], ends[index], 1);
        order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_FREEZE, 1 + index, starts[index], ends[index],
              1, "");
    }
    kv_world_run(world, 1000);
    told = (struct told){{0}};
    kv_world_run(world, 2500);
    for (size_t index = 0; index < MANY; index++)
        cr_expect_gt(told.counts[index], 0, "%s", starts[index]);
    kv_world_free(world);
}

/* An outcome that came to be here as a participant's comes again with the range of its anchor. The
 * store flushes by itself, and crashes: what was decided by the first is decided by it again. */
Test(kv_move, an_outcome_that_comes_again_does_not_hide_the_first)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 3);
    struct kv_part home = {.group = 1,
                           .range_start = "a",
                           .epoch = 1,
                           .sequence = 1,
                           .anchor = "b",
                           .is_home = true,
                           .participant = "x",
                           .deadline = kv_world_deadline(world, 60000)};
    struct kv_part other = home;
    other.group = 2;
    other.range_start = "m";
    other.is_home = false;
    other.participant = NULL;
    timestamp_t timestamp = prepare_parts(world, &home, &other, "1");
    cr_assert_eq(kv_client_commit(world, &home, timestamp)->header->status, OST_OK);
    kv_world_run(world, 1000);

    store_id_t leader = kv_world_leader(world, 2);
    store_id_t follower = leader % 3 + 1;
    kv_world_flush(world, follower);
    raft_index_t checkpoint = kv_world_status(world, follower, 2)->applied_index;
    kv_client_log_prepare(world, &other, "b", "y"); /* refused: it has an outcome */
    move(&mover, 1, 1);
    kv_world_run(world, 200);
    raft_index_t applied = kv_world_status(world, follower, 2)->applied_index;
    cr_assert_eq(store_flush(world->stores[follower].store), OST_OK);
    kv_world_crash(world, follower);
    kv_world_start(world, follower);
    cr_assert_eq(kv_world_status(world, follower, 2)->applied_index, checkpoint);
    kv_world_run(world, 2000);
    cr_assert_geq(kv_world_status(world, follower, 2)->applied_index, applied);
    leader = kv_world_leader(world, 2);
    cr_expect_eq(kv_world_status(world, follower, 2)->chain_hash,
                 kv_world_status(world, leader, 2)->chain_hash);
    kv_world_expect_equal_rows(world, leader, follower, 2);
    kv_world_free(world);
}

/* The copy is called off twice, and the range moves in the end: two groups' files hold it. */
Test(kv_move, space_comes_back_after_a_while_in_one_go)
{
    struct mover mover;
    struct kv_world *world = begin(&mover, 1);
    const struct metrics *metrics = &world->stores[1].metrics;
    for (uint64_t change = 1; change <= 2; change++) {
        copy_until_near(&mover, change, 1);
        move_order(&mover, 2, OSTRAKA__RANGE_STEP__RANGE_DISCARD, change, 1);
        kv_world_run(world, 1000);
        mover.facts_count = 0;
    }
    move(&mover, 3, 1);
    kv_world_run(world, 15000);
    cr_expect_eq(metrics->spans_rewritten_count, 0);
    kv_world_run(world, 10000);
    cr_expect_eq(metrics->spans_rewritten_count, 2, "%lu", metrics->spans_rewritten_count);
    kv_world_free(world);
}
