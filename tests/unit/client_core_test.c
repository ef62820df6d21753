/* The client against three scripted stores, frame by frame, in made-up time. Greetings, maps and
 * timestamps are answered by themselves; every other frame waits in `inbox` for the test to answer.
 * Group 1 has the keys below "m", group 2 the others. */
#include "client/client_core.h"
#include "proto/session.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define STORES_COUNT 3
#define INBOX_MAX    64

struct received {
    uint64_t connection_id;
    store_id_t store;
    struct blob *blob;
    struct frame frame;
};

static struct client_core *core;
static nanoseconds_t now_ns;
static struct received inbox[INBOX_MAX];
static size_t inbox_count;
static uint64_t connections[STORES_COUNT + 1]; /* by store; 0: none */
static bool refuses[STORES_COUNT + 1];         /* connects fail */
static uint64_t next_connection_id;
static store_id_t map_leaders[3];
static uint64_t map_epoch, range_epoch;
static group_id_t high_group;    /* of the keys from "m" on */
static store_id_t joining_store; /* has a second replica of each group; 0: none has */
static uint32_t maps_asked_count;
static bool subscribed;
static bool timestamps_wait; /* they are the test's to answer */

struct outcome {
    bool is_done;
    int status;
    char value[64];
    size_t rows_count;
    bool more;
    group_id_t group;
    timestamp_t version;
    uint64_t hold;
};

static void deliver(struct client_event event);

static store_id_t store_of_connection(uint64_t connection_id)
{
    for (store_id_t store = 1; store <= STORES_COUNT; store++) {
        if (connections[store] == connection_id)
            return store;
    }
    return 0;
}

static void reply(uint64_t connection_id, uint16_t type, uint64_t request_id,
                  const ProtobufCMessage *message, const char *payload)
{
    struct bytes bytes = payload ? bytes_of_string(payload) : bytes_of(NULL, 0);
    struct blob *blob = frame_encode(type, request_id, message, &bytes, 1);
    struct frame frame = frame_of_blob(blob);
    deliver((struct client_event){
        .type = CLIENT_EV_FRAME, .connection_id = connection_id, .frame = &frame});
    blob_unref(blob);
}

static void map_send(uint64_t connection_id, uint64_t request_id)
{
    static char addresses[STORES_COUNT][4];
    Ostraka__StoreInfo stores[STORES_COUNT], *stores_list[STORES_COUNT];
    Ostraka__ReplicaInfo replicas[STORES_COUNT], *replicas_list[STORES_COUNT + 1];
    Ostraka__ReplicaInfo joining = OSTRAKA__REPLICA_INFO__INIT;
    Ostraka__GroupInfo groups[3], *groups_list[3];
    Ostraka__RangeInfo ranges[2], *ranges_list[2];
    for (unsigned index = 0; index < STORES_COUNT; index++) {
        ostraka__store_info__init(stores_list[index] = &stores[index]);
        ostraka__replica_info__init(replicas_list[index] = &replicas[index]);
        snprintf(addresses[index], sizeof(addresses[index]), "s%u", index + 1);
        stores[index].id = replicas[index].store = replicas[index].replica = index + 1;
        stores[index].address = addresses[index];
    }
    joining.store = joining_store;
    joining.replica = STORES_COUNT + 1;
    replicas_list[STORES_COUNT] = &joining;
    for (unsigned index = 0; index < 3; index++) {
        ostraka__group_info__init(groups_list[index] = &groups[index]);
        groups[index].id = index;
        groups[index].n_replicas = STORES_COUNT + (joining_store ? 1 : 0);
        groups[index].replicas = replicas_list;
        groups[index].leader_store = map_leaders[index];
        groups[index].leader_term = 1;
    }
    for (unsigned index = 0; index < 2; index++) {
        ostraka__range_info__init(ranges_list[index] = &ranges[index]);
        ranges[index].group = index ? high_group : 1;
        ranges[index].epoch = range_epoch;
    }
    ranges[0].end = ranges[1].start = (ProtobufCBinaryData){1, (uint8_t *)"m"};
    Ostraka__Map map = OSTRAKA__MAP__INIT;
    map.cluster_id = 77;
    map.epoch = map_epoch;
    map.n_stores = STORES_COUNT;
    map.stores = stores_list;
    map.n_groups = 3;
    map.groups = groups_list;
    map.n_ranges = 2;
    map.ranges = ranges_list;
    reply(connection_id, FRAME_MAP_ANSWER, request_id, &map.base, NULL);
}

/* What every store answers by itself. */
static bool answered_by_itself(const struct received *received)
{
    const struct frame *frame = &received->frame;
    if (frame->type == FRAME_HELLO) {
        Ostraka__HelloAnswer answer = OSTRAKA__HELLO_ANSWER__INIT;
        answer.cluster_id = 77;
        answer.store_id = received->store;
        reply(received->connection_id, FRAME_HELLO_ANSWER, frame->request_id, &answer.base, NULL);
        return true;
    }
    if (frame->type == FRAME_MAP) {
        maps_asked_count++;
        Ostraka__MapRequest *request =
            ostraka__map_request__unpack(NULL, frame->message.bytes_count, frame->message.data);
        subscribed = subscribed || request->subscribe;
        ostraka__map_request__free_unpacked(request, NULL);
        map_send(received->connection_id, frame->request_id);
        return true;
    }
    if (frame->type == FRAME_TIMESTAMP && !timestamps_wait) {
        Ostraka__TimestampAnswer answer = OSTRAKA__TIMESTAMP_ANSWER__INIT;
        answer.timestamp = timestamp_from_ms(1000000);
        reply(received->connection_id, FRAME_TIMESTAMP_ANSWER, frame->request_id, &answer.base,
              NULL);
        return true;
    }
    return false;
}

static void operation_done(struct operation *operation)
{
    struct outcome *outcome = operation->done_context[0];
    if (outcome) {
        cr_assert(!outcome->is_done, "Q1: completed once");
        outcome->is_done = true;
        outcome->status = operation->status;
        outcome->rows_count = operation->result_rows_count;
        outcome->more = operation->result_more;
        outcome->group = operation->result_group;
        outcome->version = operation->result_version;
        outcome->hold = operation->hold;
        snprintf(outcome->value, sizeof(outcome->value), "%.*s",
                 (int)operation->result_value.bytes_count,
                 operation->result_value.data ? (const char *)operation->result_value.data : "");
    }
    operation_free(operation);
}

static void connect_all(struct client_update *update)
{
    struct client_connect connects[16];
    uint32_t count = update->connects_count;
    cr_assert_leq(count, 16u);
    memcpy(connects, update->connects, count * sizeof(connects[0]));
    update->connects_count = 0;
    for (uint32_t index = 0; index < count; index++) {
        store_id_t store = (store_id_t)(connects[index].address[1] - '0');
        uint64_t id = ++next_connection_id;
        client_core_connect_begun(core, connects[index].peer, id);
        if (!refuses[store])
            connections[store] = id;
        deliver((struct client_event){.type = CLIENT_EV_CONNECTED,
                                      .connection_id = id,
                                      .status = refuses[store] ? OST_IO : OST_OK});
    }
}

/* One step and all that follows from it. */
static void deliver(struct client_event event)
{
    event.now_ns = now_ns;
    client_core_step(core, &event);
    struct client_update *update = client_core_update(core);
    struct received fresh[INBOX_MAX];
    size_t fresh_count = 0;
    for (size_t index = 0; index < update->frames.items_count; index++) {
        struct outgoing *outgoing = &update->frames.items[index];
        store_id_t store = store_of_connection(outgoing->to.id);
        if (!store)
            continue; /* that connection is gone */
        cr_assert_lt(fresh_count, (size_t)INBOX_MAX);
        fresh[fresh_count++] = (struct received){.connection_id = outgoing->to.id,
                                                 .store = store,
                                                 .blob = blob_ref(outgoing->frame),
                                                 .frame = frame_of_blob(outgoing->frame)};
    }
    outbox_reset(&update->frames);
    struct operation *operation;
    while ((operation = STAILQ_FIRST(&update->completions))) {
        STAILQ_REMOVE_HEAD(&update->completions, next);
        operation->done(operation);
    }
    for (uint32_t index = 0; index < update->closes_count; index++) {
        store_id_t store = store_of_connection(update->closes[index]);
        if (store)
            connections[store] = 0;
    }
    update->closes_count = 0;
    connect_all(update);
    for (size_t index = 0; index < fresh_count; index++) {
        if (answered_by_itself(&fresh[index])) {
            blob_unref(fresh[index].blob);
        } else {
            cr_assert_lt(inbox_count, (size_t)INBOX_MAX);
            inbox[inbox_count++] = fresh[index];
        }
    }
}

static void inbox_clear(void)
{
    while (inbox_count)
        blob_unref(inbox[--inbox_count].blob);
}

/* Time goes on, timer by timer. */
static void pass_ms(uint64_t ms)
{
    nanoseconds_t end_ns = now_ns + ms * NS_PER_MS;
    for (unsigned turns = 0; turns < 10000; turns++) {
        nanoseconds_t deadline_ns = client_core_update(core)->deadline_ns;
        if (deadline_ns > end_ns)
            break;
        if (deadline_ns > now_ns)
            now_ns = deadline_ns;
        deliver((struct client_event){.type = CLIENT_EV_TIMER});
    }
    now_ns = end_ns;
}

static void submit(struct operation *operation, struct outcome *outcome)
{
    operation->done = operation_done;
    operation->done_context[0] = outcome;
    deliver((struct client_event){.type = CLIENT_EV_SUBMITTED, .operation = operation});
}

static struct operation *on_key(enum operation_type type, const char *key, const char *value)
{
    struct operation *operation = operation_new(type, bytes_of_string(key), bytes_of_string(value));
    if (type == OPERATION_WRITE)
        operation->write_kind = WRITE_PUT;
    return operation;
}

/* The only request that waits. */
static struct received *only(uint16_t type, store_id_t store)
{
    cr_assert_eq(inbox_count, 1u, "%zu requests wait", inbox_count);
    cr_assert_eq(inbox[0].frame.type, type, "it is a %s", frame_type_name(inbox[0].frame.type));
    cr_assert_eq(inbox[0].store, store, "it went to store %lu", (unsigned long)inbox[0].store);
    return &inbox[0];
}

/* Answers inbox[at] with a status alone, and takes it out. */
static void refuse(size_t at, int status, store_id_t hint)
{
    struct received received = inbox[at];
    memmove(inbox + at, inbox + at + 1, (--inbox_count - at) * sizeof(inbox[0]));
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = status;
    header.leader_store = hint;
    Ostraka__ValidateAnswer answer =
        OSTRAKA__VALIDATE_ANSWER__INIT; /* the header comes first in all */
    answer.header = &header;
    reply(received.connection_id, (uint16_t)(received.frame.type + 1), received.frame.request_id,
          &answer.base, NULL);
    blob_unref(received.blob);
}

static void answer_get(size_t at, const char *value)
{
    struct received received = inbox[at];
    memmove(inbox + at, inbox + at + 1, (--inbox_count - at) * sizeof(inbox[0]));
    Ostraka__GetAnswer answer = OSTRAKA__GET_ANSWER__INIT;
    answer.found = value != NULL;
    answer.read_timestamp = 40;
    reply(received.connection_id, FRAME_GET_ANSWER, received.frame.request_id, &answer.base, value);
    blob_unref(received.blob);
}

static void answer_vote(size_t at, timestamp_t timestamp)
{
    struct received received = inbox[at];
    memmove(inbox + at, inbox + at + 1, (--inbox_count - at) * sizeof(inbox[0]));
    Ostraka__PrepareAnswer answer = OSTRAKA__PREPARE_ANSWER__INIT;
    answer.commit_timestamp_min = timestamp;
    reply(received.connection_id, FRAME_PREPARE_ANSWER, received.frame.request_id, &answer.base,
          NULL);
    blob_unref(received.blob);
}

static void answer_rows(size_t at, const char *const *keys, uint32_t count, bool more,
                        uint64_t entry_counter)
{
    struct received received = inbox[at];
    memmove(inbox + at, inbox + at + 1, (--inbox_count - at) * sizeof(inbox[0]));
    struct buffer rows = BUFFER_INIT;
    for (uint32_t index = 0; index < count; index++) {
        struct row row = {bytes_of_string(keys[index]), 5, bytes_of_string("v")};
        rows_append(&rows, &row);
    }
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = 1;
    entry.counter = entry_counter;
    Ostraka__ScanAnswer answer = OSTRAKA__SCAN_ANSWER__INIT;
    answer.rows_count = count;
    answer.more = more;
    answer.entry = entry_counter ? &entry : NULL;
    answer.read_timestamp = 41;
    struct bytes payload = buffer_bytes(&rows);
    struct blob *blob =
        frame_encode(FRAME_SCAN_ANSWER, received.frame.request_id, &answer.base, &payload, 1);
    struct frame frame = frame_of_blob(blob);
    deliver((struct client_event){
        .type = CLIENT_EV_FRAME, .connection_id = received.connection_id, .frame = &frame});
    blob_unref(blob);
    buffer_fini(&rows);
    blob_unref(received.blob);
}

static void lose(store_id_t store)
{
    uint64_t id = connections[store];
    connections[store] = 0;
    deliver((struct client_event){.type = CLIENT_EV_CLOSED, .connection_id = id});
}

static void setup(void)
{
    now_ns = NS_PER_S;
    map_epoch = range_epoch = 1;
    joining_store = 0;
    high_group = 2;
    map_leaders[0] = map_leaders[1] = 1;
    map_leaders[2] = 2;
    struct client_core_options options;
    client_core_options_default(&options);
    options.endpoints = "s1";
    options.seed = 42;
    core = client_core_new(&options, now_ns);
    static struct outcome opened = {0};
    submit(on_key(OPERATION_OPEN, "", ""), &opened);
    pass_ms(1);
    cr_assert(opened.is_done);
    cr_assert_eq(opened.status, OST_OK);
    cr_assert(subscribed);
    pass_ms(20); /* past the shortest time between two questions for the map */
}

static void teardown(void)
{
    deliver((struct client_event){.type = CLIENT_EV_STOPPED});
    client_core_free(core);
    inbox_clear();
}

TestSuite(client_core, .init = setup, .fini = teardown);

Test(client_core, get_goes_to_the_leader_that_the_map_names)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "x", ""), &got);
    only(FRAME_GET, 2);
    answer_get(0, "hello");
    cr_assert(got.is_done);
    cr_assert_eq(got.status, OST_OK);
    cr_assert_str_eq(got.value, "hello");
}

Test(client_core, leader_hint_is_followed_with_the_same_request)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    uint64_t id = only(FRAME_GET, 1)->frame.request_id;
    refuse(0, OST_NOT_LEADER, 3);
    cr_assert_eq(only(FRAME_GET, 3)->frame.request_id, id);
    answer_get(0, NULL);
    cr_assert_eq(got.status, OST_NOT_FOUND);
    static struct outcome next = {0};
    submit(on_key(OPERATION_GET, "b", ""), &next);
    only(FRAME_GET, 3); /* learned */
}

Test(client_core, without_a_hint_the_replicas_are_asked_in_turn)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    refuse(0, OST_NOT_LEADER, 0);
    pass_ms(100);
    only(FRAME_GET, 2);
    refuse(0, OST_NOT_LEADER, 0);
    pass_ms(100);
    only(FRAME_GET, 3);
}

/* A replica that was lost and the one that replaces it are on the same store. */
Test(client_core, a_store_with_two_replicas_has_one_turn)
{
    joining_store = 1;
    map_epoch = 2;
    map_leaders[1] = 0;
    map_send(connections[1], 0);
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    refuse(0, OST_NOT_LEADER, 0);
    pass_ms(100);
    only(FRAME_GET, 2);
    refuse(0, OST_NOT_LEADER, 0);
    pass_ms(100);
    only(FRAME_GET, 3);
}

Test(client_core, busy_is_asked_again_at_the_same_store)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    refuse(0, OST_BUSY, 0);
    cr_assert_eq(inbox_count, 0u);
    pass_ms(10);
    only(FRAME_GET, 1);
}

Test(client_core, lost_connection_is_made_again_and_the_request_repeated)
{
    static struct outcome done = {0};
    submit(on_key(OPERATION_WRITE, "a", "1"), &done);
    uint64_t id = only(FRAME_PREPARE, 1)->frame.request_id;
    inbox_clear();
    map_leaders[1] = 1;
    lose(1);
    refuses[2] = refuses[3] = true;
    for (unsigned tries = 0; tries < 40 && inbox_count == 0; tries++)
        pass_ms(25);
    cr_assert_eq(only(FRAME_PREPARE, 1)->frame.request_id, id, "Q2: the same request");
    answer_vote(0, 9);
    cr_assert_eq(done.status, OST_OK);
    refuses[2] = refuses[3] = false;
}

Test(client_core, silent_store_is_given_up_for_another)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    only(FRAME_GET, 1);
    inbox_clear();
    pass_ms(1100);
    only(FRAME_GET, 2);
    /* Its word for the silent one is not taken. */
    refuse(0, OST_NOT_LEADER, 1);
    pass_ms(100);
    only(FRAME_GET, 3);
    answer_get(0, "v");
    cr_assert_eq(got.status, OST_OK);
}

Test(client_core, moved_range_fetches_the_map_and_goes_where_it_is)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "x", ""), &got);
    only(FRAME_GET, 2);
    map_epoch = range_epoch = 2;
    high_group = 1;
    uint32_t before = maps_asked_count;
    refuse(0, OST_RANGE_MOVED, 0);
    pass_ms(50);
    cr_assert_gt(maps_asked_count, before);
    const struct received *received = only(FRAME_GET, 1);
    Ostraka__GetRequest *request = ostraka__get_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->group, 1u);
    cr_assert_eq(request->range->epoch, 2u);
    ostraka__get_request__free_unpacked(request, NULL);
}

Test(client_core, pushed_map_is_taken)
{
    map_epoch = 3;
    high_group = 1;
    map_send(connections[1], 0);
    static struct outcome routed = {0};
    submit(on_key(OPERATION_ROUTE, "x", ""), &routed);
    cr_assert_eq(routed.group, 1u);
    map_epoch = 2; /* an older one is not */
    high_group = 2;
    map_send(connections[1], 0);
    static struct outcome again = {0};
    submit(on_key(OPERATION_ROUTE, "x", ""), &again);
    cr_assert_eq(again.group, 1u);
}

/* The map was asked for a moment ago, so the next question waits; a push must not make it go away.
 */
Test(client_core, the_newest_map_is_asked_for_even_if_another_is_pushed)
{
    static struct outcome first = {0}, second = {0};
    pass_ms(100);
    submit(operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)), &first);
    cr_expect(first.is_done);
    uint32_t asked_count = maps_asked_count;
    submit(operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)), &second);
    cr_assert_eq(maps_asked_count, asked_count);
    map_epoch++;
    map_send(connections[1], 0);
    cr_expect_not(second.is_done, "what was pushed may be from before it asked");
    pass_ms(100);
    cr_expect(second.is_done);
    cr_expect_eq(maps_asked_count, asked_count + 1);
}

Test(client_core, write_without_an_answer_may_have_been_done)
{
    static struct outcome done = {0};
    submit(on_key(OPERATION_WRITE, "a", "1"), &done);
    for (unsigned ms = 0; ms < 6000; ms += 100) {
        pass_ms(100);
        inbox_clear();
    }
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_MAYBE_COMMITTED);
}

Test(client_core, read_without_an_answer_is_retryable)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    for (unsigned ms = 0; ms < 6000; ms += 100) {
        pass_ms(100);
        inbox_clear();
    }
    cr_assert(got.is_done);
    cr_assert(ost_status_is_retryable(got.status));
}

Test(client_core, refused_write_runs_again_under_a_new_id)
{
    static struct outcome done = {0};
    submit(on_key(OPERATION_WRITE, "a", "1"), &done);
    refuse(0, OST_WOUNDED, 0);
    cr_assert(!done.is_done);
    pass_ms(10);
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, inbox[0].frame.message.bytes_count, inbox[0].frame.message.data);
    cr_assert_eq(request->txn->sequence, 2u);
    cr_assert_eq(request->age->sequence, 1u, "T2: the age is that of the first try");
    ostraka__prepare_request__free_unpacked(request, NULL);
    only(FRAME_PREPARE, 1);
    answer_vote(0, 9);
    cr_assert_eq(done.status, OST_OK);
}

static struct core_txn *txn_writing_two_groups(void)
{
    struct coordinator *coordinator = client_core_coordinator_new(core);
    const char *why;
    struct write low = {WRITE_PUT, bytes_of_string("a"), bytes_of_string("1")};
    struct write high = {WRITE_PUT, bytes_of_string("x"), bytes_of_string("1")};
    cr_assert_eq(coordinator_write(coordinator, &low, &why), OST_OK);
    cr_assert_eq(coordinator_write(coordinator, &high, &why), OST_OK);
    return core_txn_new(coordinator);
}

static void submit_txn(enum operation_type type, struct core_txn *txn, struct outcome *outcome)
{
    struct operation *operation = on_key(type, "", "");
    operation->txn = txn;
    submit(operation, outcome);
}

Test(client_core, transaction_over_two_groups)
{
    struct core_txn *txn = txn_writing_two_groups();
    static struct outcome done = {0}, dropped = {0};
    submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    cr_assert_eq(inbox_count, 2u);
    answer_vote(0, 50);
    answer_vote(0, 60);
    const struct received *received = only(FRAME_COMMIT, 1);
    Ostraka__CommitRequest *request = ostraka__commit_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->commit_timestamp, 60u);
    ostraka__commit_request__free_unpacked(request, NULL);
    refuse(0, OST_OK, 0);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_OK);
    submit_txn(OPERATION_TXN_DROP, txn, &dropped);
    cr_assert(dropped.is_done);
}

static timestamp_t prepare_deadline(const struct received *received)
{
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    timestamp_t deadline = request->deadline;
    ostraka__prepare_request__free_unpacked(request, NULL);
    return deadline;
}

/* The oracle may go at half the client's speed for as long as its clock is ahead of the wall's, and
 * any two clocks drift apart in a year. */
Test(client_core, deadlines_do_not_run_ahead_of_a_slow_oracle)
{
    static struct outcome done[3] = {{0}};
    uint64_t oracle_ms = 1000000; /* as heard at the start */
    for (int i = 0; i < 3; i++) {
        pass_ms(100000);
        oracle_ms += 50000;
        submit(on_key(OPERATION_WRITE, "a", "1"), &done[i]);
        timestamp_t deadline = prepare_deadline(only(FRAME_PREPARE, 1));
        cr_assert_geq(deadline, timestamp_from_ms(oracle_ms + 5000));
        cr_assert_leq(deadline, timestamp_from_ms(oracle_ms + 5000 + 50000 + 1000), "try %d", i);
        answer_vote(0, timestamp_from_ms(oracle_ms));
        cr_assert_eq(done[i].status, OST_OK);
    }
}

Test(client_core, deadline_over_the_limit_tells_what_time_it_is)
{
    static struct outcome refused = {0};
    pass_ms(100000);
    submit(on_key(OPERATION_WRITE, "a", "1"), &refused);
    struct received received = *only(FRAME_PREPARE, 1);
    inbox_count = 0;
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = OST_INVALID_ARGUMENT;
    header.heard_timestamp = timestamp_from_ms(1030000);
    Ostraka__PrepareAnswer answer = OSTRAKA__PREPARE_ANSWER__INIT;
    answer.header = &header;
    reply(received.connection_id, FRAME_PREPARE_ANSWER, received.frame.request_id, &answer.base,
          NULL);
    blob_unref(received.blob);
    cr_assert_eq(refused.status, OST_INVALID_ARGUMENT);
    inbox_clear(); /* what was asked is given up behind it */
    submit(on_key(OPERATION_WRITE, "a", "2"), NULL);
    cr_assert_eq(prepare_deadline(&inbox[inbox_count - 1]), timestamp_from_ms(1030000 + 5000));
}

Test(client_core, commit_without_an_answer_is_learned_by_asking_again)
{
    struct core_txn *txn = txn_writing_two_groups();
    static struct outcome first = {0}, second = {0};
    submit_txn(OPERATION_TXN_COMMIT, txn, &first);
    answer_vote(0, 50);
    answer_vote(0, 60);
    for (unsigned ms = 0; ms < 6000; ms += 100) {
        pass_ms(100);
        inbox_clear();
    }
    cr_assert(first.is_done);
    cr_assert_eq(first.status, OST_MAYBE_COMMITTED);
    submit_txn(OPERATION_TXN_COMMIT, txn, &second);
    for (unsigned tries = 0; tries < 40 && inbox_count == 0; tries++)
        pass_ms(50);
    cr_assert_eq(inbox[0].frame.type, FRAME_COMMIT);
    refuse(0, OST_OK, 0);
    cr_assert(second.is_done);
    cr_assert_eq(second.status, OST_OK);
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core, refused_vote_is_told_at_once_and_aborted_behind)
{
    struct core_txn *txn = txn_writing_two_groups();
    static struct outcome done = {0};
    submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    refuse(1, OST_WOUNDED, 0);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_WOUNDED);
    bool aborts = false;
    for (size_t index = 0; index < inbox_count; index++)
        aborts = aborts || (inbox[index].frame.type == FRAME_ABORT && inbox[index].store == 1);
    cr_assert(aborts);
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core, short_scan_of_one_range_needs_no_transaction)
{
    static struct outcome rows = {0};
    submit(on_key(OPERATION_SCAN, "a", "c"), &rows);
    only(FRAME_SCAN, 1);
    static const char *const KEYS[] = {"a", "b"};
    answer_rows(0, KEYS, 2, false, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 2u);
    cr_assert(!rows.more);
}

Test(client_core, scan_over_two_ranges_is_one_validated_transaction)
{
    static struct outcome rows = {0};
    submit(on_key(OPERATION_SCAN, "a", "z"), &rows);
    only(FRAME_SCAN, 1);
    static const char *const LOW[] = {"a", "b"}, *const HIGH[] = {"m", "n", "x"};
    answer_rows(0, LOW, 2, false, 4);
    only(FRAME_SCAN, 2);
    answer_rows(0, HIGH, 3, false, 8);
    cr_assert_eq(inbox_count, 2u);
    cr_assert_eq(inbox[0].frame.type, FRAME_VALIDATE);
    refuse(0, OST_OK, 0);
    refuse(0, OST_OK, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.status, OST_OK);
    cr_assert_eq(rows.rows_count, 5u);
}

Test(client_core, second_page_turns_a_scan_into_a_transaction)
{
    static struct outcome rows = {0};
    struct operation *operation = on_key(OPERATION_SCAN, "a", "m");
    operation->reverse = true;
    submit(operation, &rows);
    static const char *const FIRST[] = {"l", "k"}, *const SECOND[] = {"b"};
    answer_rows(0, FIRST, 2, true, 0);
    only(FRAME_SCAN, 1);
    answer_rows(0, FIRST, 2, true, 4);
    answer_rows(0, SECOND, 1, false, 4);
    only(FRAME_VALIDATE, 1);
    refuse(0, OST_LOCKS_LOST, 0); /* not one picture: from the start */
    cr_assert(!rows.is_done);
    pass_ms(20);
    inbox[0] = inbox[inbox_count - 1];
    inbox_count = 1;
    answer_rows(0, SECOND, 1, false, 5);
    refuse(0, OST_OK, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 1u);
}

Test(client_core, scan_in_a_transaction_sees_its_own_writes)
{
    struct coordinator *coordinator = client_core_coordinator_new(core);
    const char *why;
    struct write deleted = {WRITE_DELETE, bytes_of_string("b"), bytes_of(NULL, 0)};
    struct write added = {WRITE_PUT, bytes_of_string("c"), bytes_of_string("new")};
    cr_assert_eq(coordinator_write(coordinator, &deleted, &why), OST_OK);
    cr_assert_eq(coordinator_write(coordinator, &added, &why), OST_OK);
    struct core_txn *txn = core_txn_new(coordinator);
    static struct outcome rows = {0};
    struct operation *operation = on_key(OPERATION_TXN_SCAN, "a", "e");
    operation->txn = txn;
    operation->rows_count_max = 2;
    submit(operation, &rows);
    static const char *const KEYS[] = {"a", "b", "d"};
    answer_rows(0, KEYS, 3, false, 3);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 2u); /* a, c; then d is left */
    cr_assert(rows.more);
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

static struct core_txn *txn_optimistic(void)
{
    struct coordinator *coordinator = client_core_coordinator_new(core);
    coordinator_set_optimistic(coordinator, true);
    return core_txn_new(coordinator);
}

static void txn_put(struct core_txn *txn, const char *key, const char *value)
{
    const char *why;
    struct write write = {WRITE_PUT, bytes_of_string(key), bytes_of_string(value)};
    cr_assert_eq(coordinator_write(core_txn_coordinator(txn), &write, &why), OST_OK);
}

Test(client_core, optimistic_get_is_a_plain_one_and_is_checked_at_the_commit)
{
    struct core_txn *txn = txn_optimistic();
    static struct outcome got = {0}, done = {0};
    struct operation *operation = on_key(OPERATION_TXN_GET, "a", "");
    operation->txn = txn;
    submit(operation, &got);
    only(FRAME_GET, 1);
    answer_get(0, "one");
    cr_assert(got.is_done && got.status == OST_OK);
    txn_put(txn, "b", "2");
    submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    const struct received *received = only(FRAME_PREPARE, 1);
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->n_checks, 1u);
    cr_assert(request->checks[0]->is_key && request->checks[0]->read_timestamp == 40);
    ostraka__prepare_request__free_unpacked(request, NULL);
    refuse(0, OST_VERSION_CHANGED, 0);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_VERSION_CHANGED);
    cr_assert(ost_status_is_retryable(done.status));
    cr_assert_eq(inbox_count, 0u, "nothing is held anywhere");
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core, one_optimistic_read_commits_without_asking)
{
    struct core_txn *txn = txn_optimistic();
    static struct outcome got = {0}, done = {0};
    struct operation *operation = on_key(OPERATION_TXN_GET, "a", "");
    operation->txn = txn;
    submit(operation, &got);
    answer_get(0, NULL);
    cr_assert_eq(got.status, OST_NOT_FOUND);
    submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    cr_assert(done.is_done && done.status == OST_OK);
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

/* Scans [a, e) of rows a, b, d (in this order or backward) with "c" written by itself, and returns
 * the interval that is checked. */
static void scan_checked(bool reverse, uint32_t limit, bool more, struct buffer *out_start,
                         struct buffer *out_end)
{
    static const char *const KEYS[] = {"a", "b", "d"}, *const BACKWARD[] = {"d", "b", "a"};
    struct core_txn *txn = txn_optimistic();
    static struct outcome rows, done;
    rows = done = (struct outcome){0};
    txn_put(txn, "c", "new");
    struct operation *operation = on_key(OPERATION_TXN_SCAN, "a", "e");
    operation->txn = txn;
    operation->rows_count_max = limit;
    operation->reverse = reverse;
    submit(operation, &rows);
    const struct received *received = only(FRAME_SCAN, 1);
    Ostraka__ScanRequest *scan = ostraka__scan_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_null(scan->txn, "it is a plain one");
    ostraka__scan_request__free_unpacked(scan, NULL);
    answer_rows(0, reverse ? BACKWARD : KEYS, 3, more, 0);
    cr_assert(rows.is_done && rows.status == OST_OK);
    submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    received = only(FRAME_PREPARE, 1);
    Ostraka__PrepareRequest *request = ostraka__prepare_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->n_checks, 1u);
    const Ostraka__ReadCheck *check = request->checks[0];
    cr_assert(!check->is_key && check->read_timestamp == 41);
    buffer_append(out_start, check->start.data, check->start.len);
    buffer_append(out_end, check->end.data, check->end.len);
    ostraka__prepare_request__free_unpacked(request, NULL);
    answer_vote(0, 50);
    cr_assert_eq(done.status, OST_OK);
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core, optimistic_scan_is_checked_as_far_as_its_last_row)
{
    static const struct {
        bool reverse;
        uint32_t limit;
        bool more;
        struct bytes start, end;
    } cases[] = {
        {false, 0, false, {(const uint8_t *)"a", 1}, {(const uint8_t *)"e", 1}},
        {true, 0, false, {(const uint8_t *)"a", 1}, {(const uint8_t *)"e", 1}},
        {false, 2, true, {(const uint8_t *)"a", 1}, {(const uint8_t *)"b", 2}}, /* b, and a zero */
        {false, 3, true, {(const uint8_t *)"a", 1}, {(const uint8_t *)"c", 2}}, /* its own */
        {false, 4, true, {(const uint8_t *)"a", 1}, {(const uint8_t *)"d", 2}},
        {true, 1, true, {(const uint8_t *)"d", 1}, {(const uint8_t *)"e", 1}},
        {true, 2, true, {(const uint8_t *)"c", 1}, {(const uint8_t *)"e", 1}},
        {true, 3, false, {(const uint8_t *)"b", 1}, {(const uint8_t *)"e", 1}},
        {true, 4, false, {(const uint8_t *)"a", 1}, {(const uint8_t *)"e", 1}},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct buffer start = BUFFER_INIT, end = BUFFER_INIT;
        scan_checked(cases[index].reverse, cases[index].limit, cases[index].more, &start, &end);
        cr_assert(bytes_equal(buffer_bytes(&start), cases[index].start), "case %zu", index);
        cr_assert(bytes_equal(buffer_bytes(&end), cases[index].end), "case %zu", index);
        buffer_fini(&start);
        buffer_fini(&end);
    }
}

static void answer_lock(size_t at, const char *value)
{
    struct received received = inbox[at];
    memmove(inbox + at, inbox + at + 1, (--inbox_count - at) * sizeof(inbox[0]));
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = 1;
    entry.counter = 3;
    Ostraka__LockAnswer answer = OSTRAKA__LOCK_ANSWER__INIT;
    answer.entry = &entry;
    answer.found = value != NULL;
    reply(received.connection_id, FRAME_LOCK_ANSWER, received.frame.request_id, &answer.base,
          value);
    blob_unref(received.blob);
}

/* That it does not match was read under a lock, which a deposed leader may have given: so it is
 * told only once the lock is known to stand, and else it is read again. */
Test(client_core, compare_and_set_that_does_not_match_is_validated)
{
    static struct outcome done = {0};
    struct bytes one = bytes_of_string("1");
    submit(operation_new_compare(bytes_of_string("a"), &one, bytes_of_string("2")), &done);
    only(FRAME_LOCK, 1);
    answer_lock(0, "other");
    only(FRAME_VALIDATE, 1);
    cr_assert(!done.is_done);
    refuse(0, OST_LOCKS_LOST, 0);
    pass_ms(20);
    inbox[0] = inbox[inbox_count - 1]; /* behind the release of what was lost */
    inbox_count = 1;
    only(FRAME_LOCK, 1);
    answer_lock(0, "1");
    only(FRAME_PREPARE, 1);
    answer_vote(0, 9);
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_OK);
    static struct outcome conflict = {0};
    submit(operation_new_compare(bytes_of_string("a"), &one, bytes_of_string("2")), &conflict);
    answer_lock(0, "other");
    refuse(0, OST_OK, 0);
    cr_assert(conflict.is_done);
    cr_assert_eq(conflict.status, OST_CONFLICT);
    cr_assert_str_eq(conflict.value, "other");
}

Test(client_core, deletion_of_a_range_takes_keys_alone_and_locks_them_exclusive)
{
    static struct outcome done = {0};
    submit(on_key(OPERATION_DELETE_RANGE, "a", "c"), &done);
    const struct received *received = only(FRAME_SCAN, 1);
    Ostraka__ScanRequest *request = ostraka__scan_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert(request->keys_only && request->txn);
    cr_assert_eq(request->mode, OSTRAKA__LOCK_MODE__EXCLUSIVE);
    cr_assert(request->wait_ms_max > 4000 && request->wait_ms_max <= 4500);
    ostraka__scan_request__free_unpacked(request, NULL);
    static const char *const KEYS[] = {"a", "b"};
    answer_rows(0, KEYS, 2, false, 3);
    only(FRAME_PREPARE, 1);
    answer_vote(0, 9);
    cr_assert(done.is_done);
    cr_assert_eq(done.rows_count, 2u);
}

Test(client_core, lost_locks_are_heard_of_by_heartbeat)
{
    struct core_txn *txn = core_txn_new(client_core_coordinator_new(core));
    static struct outcome rows = {0}, done = {0};
    struct operation *operation = on_key(OPERATION_TXN_SCAN, "a", "e");
    operation->txn = txn;
    submit(operation, &rows);
    answer_rows(0, NULL, 0, false, 3);
    pass_ms(1000);
    const struct received *received = only(FRAME_TXN_HEARTBEAT, 1);
    Ostraka__TxnHeartbeat *heartbeat = ostraka__txn_heartbeat__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = OST_LOCKS_LOST;
    Ostraka__TxnHeartbeatAnswer answer = OSTRAKA__TXN_HEARTBEAT_ANSWER__INIT;
    answer.header = &header;
    answer.txn = heartbeat->txn;
    reply(received->connection_id, FRAME_TXN_HEARTBEAT_ANSWER, received->frame.request_id,
          &answer.base, NULL);
    ostraka__txn_heartbeat__free_unpacked(heartbeat, NULL);
    submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    cr_assert_eq(done.status, OST_LOCKS_LOST);
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

Test(client_core, frame_that_does_not_parse_closes_the_connection)
{
    static struct outcome got = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    struct received received = inbox[0];
    reply(received.connection_id, FRAME_SCAN_ANSWER, received.frame.request_id, NULL, NULL);
    cr_assert_neq(connections[1], received.connection_id);
}

Test(client_core, stop_ends_everything)
{
    static struct outcome got = {0}, done = {0}, late = {0};
    submit(on_key(OPERATION_GET, "a", ""), &got);
    submit(on_key(OPERATION_WRITE, "a", "1"), &done);
    deliver((struct client_event){.type = CLIENT_EV_STOPPED});
    cr_assert_eq(got.status, OST_CANCELED);
    cr_assert_eq(done.status, OST_MAYBE_COMMITTED, "it was sent: nobody knows");
    submit(on_key(OPERATION_GET, "a", ""), &late);
    cr_assert_eq(late.status, OST_CANCELED);
}

/* --- Snapshots -----------------------------------------------------------------------------------
 */

static void ask_timestamp(uint32_t staleness_ms_max, struct outcome *outcome)
{
    struct operation *operation = on_key(OPERATION_TIMESTAMP, "", "");
    operation->staleness_ms_max = staleness_ms_max;
    submit(operation, outcome);
}

static void answer_timestamp(size_t at, timestamp_t timestamp)
{
    struct received received = inbox[at];
    memmove(inbox + at, inbox + at + 1, (--inbox_count - at) * sizeof(inbox[0]));
    cr_assert_eq(received.frame.type, FRAME_TIMESTAMP);
    Ostraka__TimestampAnswer answer = OSTRAKA__TIMESTAMP_ANSWER__INIT;
    answer.timestamp = timestamp;
    reply(received.connection_id, FRAME_TIMESTAMP_ANSWER, received.frame.request_id, &answer.base,
          NULL);
    blob_unref(received.blob);
}

/* The oracle's time may go at twice real speed, after a long rest. */
Test(client_core, open_transaction_keeps_up_with_the_oracle)
{
    struct core_txn *txn = core_txn_new(client_core_coordinator_new(core));
    static struct outcome got = {0}, done = {0};
    struct operation *operation = on_key(OPERATION_TXN_GET, "a", "");
    operation->txn = txn;
    submit(operation, &got);
    answer_lock(0, "1");
    timestamps_wait = true;
    uint64_t oracle_ms = 1000000 + 20000;
    pass_ms(1000);
    size_t at = 0;
    while (at < inbox_count && inbox[at].frame.type != FRAME_TIMESTAMP)
        at++;
    cr_assert_lt(at, inbox_count, "it asks what time it is");
    answer_timestamp(at, timestamp_from_ms(oracle_ms));
    only(FRAME_TXN_HEARTBEAT, 1);
    inbox_clear();
    txn_put(txn, "a", "2");
    submit_txn(OPERATION_TXN_COMMIT, txn, &done);
    timestamp_t deadline = prepare_deadline(only(FRAME_PREPARE, 1));
    cr_assert_geq(deadline, timestamp_from_ms(oracle_ms + 4000));
    answer_vote(0, timestamp_from_ms(oracle_ms) + 1);
    cr_assert_eq(done.status, OST_OK);
    submit_txn(OPERATION_TXN_DROP, txn, NULL);
}

/* O3: the answer may be older than who comes after the question. */
Test(client_core, fresh_timestamp_is_for_those_who_waited_before_it_was_asked_for)
{
    static struct outcome first = {0}, second = {0}, third = {0};
    timestamps_wait = true;
    ask_timestamp(0, &first);
    ask_timestamp(0, &second);
    ask_timestamp(0, &third);
    cr_assert_eq(inbox_count, 1u, "one question at a time");
    answer_timestamp(0, 70);
    cr_assert_eq(first.version, 70u);
    cr_assert(!second.is_done && !third.is_done);
    cr_assert_eq(inbox_count, 1u);
    answer_timestamp(0, 80);
    cr_assert_eq(second.version, 80u);
    cr_assert_eq(third.version, 80u, "these two waited together");
    cr_assert_eq(inbox_count, 0u);
}

Test(client_core, timestamp_is_as_old_as_its_question)
{
    static struct outcome fresh = {0}, young = {0}, old = {0}, strict = {0};
    timestamps_wait = true;
    ask_timestamp(1000, &fresh);
    pass_ms(600); /* the question or its answer takes that long */
    answer_timestamp(0, 70);
    cr_assert_eq(fresh.version, 70u);
    pass_ms(400);
    ask_timestamp(1000, &young);
    cr_assert_eq(young.version, 70u);
    pass_ms(1);
    ask_timestamp(1000, &old);
    cr_assert(!old.is_done);
    answer_timestamp(0, 90);
    cr_assert_eq(old.version, 90u);
    ask_timestamp(0, &strict);
    cr_assert(!strict.is_done, "strict is strict");
    answer_timestamp(0, 100);
    cr_assert_eq(strict.version, 100u);
}

Test(client_core, timestamp_that_does_not_come_is_given_up)
{
    static struct outcome first = {0}, second = {0};
    timestamps_wait = true;
    ask_timestamp(0, &first);
    pass_ms(3000);
    ask_timestamp(0, &second);
    for (unsigned ms = 0; ms < 3000; ms += 100) {
        pass_ms(100);
        inbox_clear();
    }
    cr_assert(first.is_done && !second.is_done);
    cr_assert_neq(first.status, OST_OK);
    for (unsigned tries = 0; tries < 30 && inbox_count == 0; tries++)
        pass_ms(50);
    answer_timestamp(0, 120);
    cr_assert_eq(second.version, 120u);
}

static struct operation *snapshot_get(const char *key, bool any_replica)
{
    struct operation *operation = on_key(OPERATION_GET, key, "");
    operation->timestamp = 70;
    operation->any_replica = any_replica;
    return operation;
}

Test(client_core, snapshot_reads_are_spread_over_replicas)
{
    static struct outcome got = {0};
    unsigned counts[STORES_COUNT + 1] = {0};
    for (unsigned read = 0; read < 60; read++) {
        submit(snapshot_get("a", true), &got);
        Ostraka__GetRequest *request = ostraka__get_request__unpack(
            NULL, inbox[0].frame.message.bytes_count, inbox[0].frame.message.data);
        cr_assert_eq(request->timestamp, 70u);
        cr_assert(request->any_replica);
        ostraka__get_request__free_unpacked(request, NULL);
        counts[inbox[0].store]++;
        answer_get(0, "v");
        got.is_done = false;
    }
    for (unsigned store = 1; store <= STORES_COUNT; store++)
        cr_assert_geq(counts[store], 8u, "store %u: %u", store, counts[store]);
    submit(snapshot_get("a", false), &got);
    only(FRAME_GET, 1);
    answer_get(0, "v");
}

Test(client_core, what_a_replica_cannot_answer_goes_to_the_leader_at_once)
{
    static struct outcome got = {0};
    for (;;) {
        got = (struct outcome){0};
        submit(snapshot_get("a", true), &got);
        if (inbox[0].store != 1)
            break; /* a replica that does not lead */
        answer_get(0, "v");
    }
    refuse(0, OST_NOT_READY, 0);
    only(FRAME_GET, 1);
    answer_get(0, "v");
    cr_assert(got.is_done);
    cr_assert_str_eq(got.value, "v");
}

Test(client_core, scan_of_a_snapshot_needs_no_transaction_however_many_pages)
{
    static struct outcome rows = {0};
    struct operation *operation = on_key(OPERATION_SCAN, "a", "z");
    operation->timestamp = 70;
    submit(operation, &rows);
    static const char *const FIRST[] = {"a", "b"}, *const SECOND[] = {"c"}, *const HIGH[] = {"m"};
    only(FRAME_SCAN, 1);
    answer_rows(0, FIRST, 2, true, 0);
    only(FRAME_SCAN, 1);
    answer_rows(0, SECOND, 1, false, 0);
    const struct received *received = only(FRAME_SCAN, 2);
    Ostraka__ScanRequest *request = ostraka__scan_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->timestamp, 70u);
    cr_assert_null(request->txn);
    ostraka__scan_request__free_unpacked(request, NULL);
    answer_rows(0, HIGH, 1, false, 0);
    cr_assert(rows.is_done);
    cr_assert_eq(rows.rows_count, 4u);
    cr_assert_eq(inbox_count, 0u);
}

/* --- Holds ------------------------------------------------------------------------------------ */

static void take_hold(struct outcome *outcome)
{
    struct operation *operation =
        operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = 77;
    operation->hold_ttl_ms = 60000;
    submit(operation, outcome);
}

/* The request at the head of the inbox is about the one hold, for so long; it is answered. */
static void answer_hold(uint32_t ttl_ms, int status)
{
    struct received received = inbox[0];
    memmove(inbox, inbox + 1, --inbox_count * sizeof(inbox[0]));
    cr_assert_eq(received.frame.type, FRAME_HOLD);
    Ostraka__HoldRequest *request = ostraka__hold_request__unpack(
        NULL, received.frame.message.bytes_count, received.frame.message.data);
    cr_assert_eq(request->timestamp, 77);
    cr_assert_eq(request->ttl_ms, ttl_ms);
    cr_assert(request->client != 0 && request->id == 1);
    ostraka__hold_request__free_unpacked(request, NULL);
    Ostraka__HoldAnswer answer = OSTRAKA__HOLD_ANSWER__INIT;
    answer.status = status;
    reply(received.connection_id, FRAME_HOLD_ANSWER, received.frame.request_id, &answer.base, NULL);
    blob_unref(received.blob);
}

static int release_hold(uint64_t hold)
{
    struct outcome outcome = {0};
    struct operation *operation =
        operation_new(OPERATION_RELEASE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold = hold;
    submit(operation, &outcome);
    cr_assert(outcome.is_done, "at once");
    return outcome.status;
}

Test(client_core, hold_is_renewed_until_it_is_let_go_of)
{
    struct outcome outcome = {0};
    nanoseconds_t asked_ns = now_ns;
    take_hold(&outcome);
    now_ns += 100 * NS_PER_MS;
    cr_assert_not(outcome.is_done, "not before group 0 says so");
    answer_hold(60000, OST_OK);
    cr_assert(outcome.is_done && outcome.status == OST_OK && outcome.hold != 0);
    /* The oracle may run at twice real speed, and began to count no later than we asked. */
    cr_assert_lt(client_core_hold_certain_ns(core, outcome.hold), asked_ns + 30000 * NS_PER_MS);
    for (int time = 0; time < 3; time++) {
        nanoseconds_t certain_ns = client_core_hold_certain_ns(core, outcome.hold);
        pass_ms(10000);
        cr_assert_eq(inbox_count, 1u);
        answer_hold(60000, OST_OK);
        cr_assert_gt(client_core_hold_certain_ns(core, outcome.hold), certain_ns);
    }
    cr_assert_eq(release_hold(outcome.hold), OST_OK);
    cr_assert_eq(client_core_hold_certain_ns(core, outcome.hold), 0);
    cr_assert_eq(release_hold(outcome.hold), OST_NOT_FOUND);
    answer_hold(0, OST_OK);
    pass_ms(120000);
    cr_assert_eq(inbox_count, 0u, "nothing is renewed any more");
}

static void take_hold_if_older_than(uint32_t age_ms, struct outcome *outcome)
{
    struct operation *operation =
        operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = 77;
    operation->hold_ttl_ms = 60000;
    operation->hold_age_ms_min = age_ms;
    submit(operation, outcome);
}

Test(client_core, hold_of_a_young_timestamp_is_not_needed)
{
    struct outcome young = {0}, old = {0};
    take_hold_if_older_than(UINT32_MAX, &young);
    cr_assert(young.is_done && young.status == OST_OK && young.hold == 0);
    cr_assert_eq(inbox_count, 0u);
    take_hold_if_older_than(1, &old);
    cr_assert_not(old.is_done);
    answer_hold(60000, OST_OK);
    cr_assert(old.is_done && old.hold != 0);
}

Test(client_core, hold_that_is_refused_is_none)
{
    struct outcome outcome = {0};
    take_hold(&outcome);
    answer_hold(60000, OST_SNAPSHOT_TOO_OLD);
    cr_assert(outcome.is_done && outcome.status == OST_SNAPSHOT_TOO_OLD && outcome.hold == 0);
    pass_ms(120000);
    cr_assert_eq(inbox_count, 0u);
}

Test(client_core, hold_whose_renewal_comes_too_late_is_lost)
{
    struct outcome outcome = {0};
    take_hold(&outcome);
    answer_hold(60000, OST_OK);
    pass_ms(10000);
    answer_hold(60000, OST_SNAPSHOT_TOO_OLD);
    cr_assert_eq(client_core_hold_certain_ns(core, outcome.hold), 0);
    pass_ms(120000);
    cr_assert_eq(inbox_count, 0u);
    cr_assert_eq(release_hold(outcome.hold), OST_OK, "its holder lets go of it all the same");
    answer_hold(0, OST_OK);
}

Test(client_core, stop_ends_holds_too)
{
    struct outcome taken = {0}, asked = {0};
    take_hold(&taken);
    answer_hold(60000, OST_OK);
    struct operation *operation =
        operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = 77;
    operation->hold_ttl_ms = 60000;
    submit(operation, &asked);
    deliver((struct client_event){.type = CLIENT_EV_STOPPED});
    cr_assert(asked.is_done && asked.status == OST_CANCELED);
    inbox_clear();
}
