#include "tests/support/client_script.h"

#include <criterion/criterion.h>
#include <stdio.h>

struct client_script script;

static store_id_t store_of_connection(uint64_t connection_id)
{
    for (store_id_t store = 1; store <= SCRIPT_STORES_COUNT; store++) {
        if (script.connections[store] == connection_id)
            return store;
    }
    return 0;
}

static void reply_bytes(uint64_t connection_id, uint16_t type, uint64_t request_id,
                        const ProtobufCMessage *message, struct bytes payload)
{
    struct blob *blob = frame_encode(type, request_id, message, &payload, 1);
    struct frame frame = frame_of_blob(blob);
    script_deliver((struct client_event){
        .type = CLIENT_EV_FRAME, .connection_id = connection_id, .frame = &frame});
    blob_unref(blob);
}

void script_reply(uint64_t connection_id, uint16_t type, uint64_t request_id,
                  const ProtobufCMessage *message, const char *payload)
{
    reply_bytes(connection_id, type, request_id, message,
                payload ? bytes_of_string(payload) : bytes_of(NULL, 0));
}

void script_ranges_set(const struct script_range *ranges, size_t count)
{
    cr_assert_leq(count, (size_t)SCRIPT_RANGES_MAX);
    memcpy(script.ranges, ranges, count * sizeof(ranges[0]));
    script.ranges_count = count;
    script.map_epoch++;
}

static size_t ranges_fill(Ostraka__RangeInfo *ranges, Ostraka__RangeInfo **list)
{
    struct script_range two[] = {{"", 1, script.range_epoch, NULL},
                                 {"m", script.high_group, script.range_epoch, NULL}};
    const struct script_range *from = script.ranges_count ? script.ranges : two;
    size_t count = script.ranges_count ? script.ranges_count : 2;
    for (size_t index = 0; index < count; index++) {
        ostraka__range_info__init(list[index] = &ranges[index]);
        ranges[index].start.data = (uint8_t *)(uintptr_t)from[index].start;
        ranges[index].start.len = strlen(from[index].start);
        ranges[index].group = from[index].group;
        ranges[index].epoch = from[index].epoch;
        ranges[index].change = from[index].change;
        if (index > 0)
            ranges[index - 1].end = ranges[index].start;
    }
    return count;
}

void script_map_send(uint64_t connection_id, uint64_t request_id)
{
    static char addresses[SCRIPT_STORES_COUNT][4];
    Ostraka__StoreInfo stores[SCRIPT_STORES_COUNT], *stores_list[SCRIPT_STORES_COUNT];
    Ostraka__ReplicaInfo replicas[SCRIPT_STORES_COUNT], *replicas_list[SCRIPT_STORES_COUNT + 1];
    Ostraka__ReplicaInfo joining = OSTRAKA__REPLICA_INFO__INIT;
    Ostraka__GroupInfo groups[3], *groups_list[3];
    Ostraka__RangeInfo ranges[SCRIPT_RANGES_MAX], *ranges_list[SCRIPT_RANGES_MAX];
    for (unsigned index = 0; index < SCRIPT_STORES_COUNT; index++) {
        ostraka__store_info__init(stores_list[index] = &stores[index]);
        ostraka__replica_info__init(replicas_list[index] = &replicas[index]);
        snprintf(addresses[index], sizeof(addresses[index]), "s%u", index + 1);
        stores[index].id = replicas[index].store = replicas[index].replica = index + 1;
        stores[index].address = addresses[index];
    }
    joining.store = script.joining_store;
    joining.replica = SCRIPT_STORES_COUNT + 1;
    replicas_list[SCRIPT_STORES_COUNT] = &joining;
    for (unsigned index = 0; index < 3; index++) {
        ostraka__group_info__init(groups_list[index] = &groups[index]);
        groups[index].id = index;
        groups[index].n_replicas = SCRIPT_STORES_COUNT + (script.joining_store ? 1 : 0);
        groups[index].replicas = replicas_list;
        groups[index].leader_store = script.map_leaders[index];
        groups[index].leader_term = 1;
    }
    size_t ranges_count = ranges_fill(ranges, ranges_list);
    Ostraka__Map map = OSTRAKA__MAP__INIT;
    map.cluster_id = 77;
    map.epoch = script.map_epoch;
    map.n_stores = SCRIPT_STORES_COUNT;
    map.stores = stores_list;
    map.n_groups = 3;
    map.groups = groups_list;
    map.n_ranges = ranges_count;
    map.ranges = ranges_list;
    map.next_change = script.next_change;
    script_reply(connection_id, FRAME_MAP_ANSWER, request_id, &map.base, NULL);
}

/* What every store answers by itself. */
static bool answered_by_itself(const struct script_request *received)
{
    const struct frame *frame = &received->frame;
    if (frame->type == FRAME_HELLO) {
        Ostraka__HelloAnswer answer = OSTRAKA__HELLO_ANSWER__INIT;
        answer.cluster_id = 77;
        answer.store_id = received->store;
        script_reply(received->connection_id, FRAME_HELLO_ANSWER, frame->request_id, &answer.base,
                     NULL);
        return true;
    }
    if (frame->type == FRAME_MAP) {
        script.maps_asked_count++;
        Ostraka__MapRequest *request =
            ostraka__map_request__unpack(NULL, frame->message.bytes_count, frame->message.data);
        script.subscribed = script.subscribed || request->subscribe;
        ostraka__map_request__free_unpacked(request, NULL);
        Ostraka__Map none = OSTRAKA__MAP__INIT;
        if (script.mapless_answers == 0)
            script_map_send(received->connection_id, frame->request_id);
        else
            script_reply(received->connection_id, FRAME_MAP_ANSWER, frame->request_id, &none.base,
                         NULL);
        script.mapless_answers -= script.mapless_answers > 0;
        return true;
    }
    if (frame->type == FRAME_TIMESTAMP && !script.timestamps_wait) {
        Ostraka__TimestampAnswer answer = OSTRAKA__TIMESTAMP_ANSWER__INIT;
        answer.timestamp = timestamp_from_ms(1000000);
        script_reply(received->connection_id, FRAME_TIMESTAMP_ANSWER, frame->request_id,
                     &answer.base, NULL);
        return true;
    }
    return false;
}

static void operation_done(struct operation *operation)
{
    struct script_outcome *outcome = operation->done_context[0];
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
        uint64_t id = ++script.next_connection_id;
        client_core_connect_begun(script.core, connects[index].peer, id);
        if (!script.refuses[store])
            script.connections[store] = id;
        script_deliver((struct client_event){.type = CLIENT_EV_CONNECTED,
                                             .connection_id = id,
                                             .status = script.refuses[store] ? OST_IO : OST_OK});
    }
}

void script_deliver(struct client_event event)
{
    event.now_ns = script.now_ns;
    client_core_step(script.core, &event);
    struct client_update *update = client_core_update(script.core);
    struct script_request fresh[SCRIPT_INBOX_MAX];
    size_t fresh_count = 0;
    for (size_t index = 0; index < update->frames.items_count; index++) {
        struct outgoing *outgoing = &update->frames.items[index];
        store_id_t store = store_of_connection(outgoing->to.id);
        if (!store)
            continue; /* that connection is gone */
        cr_assert_lt(fresh_count, (size_t)SCRIPT_INBOX_MAX);
        fresh[fresh_count++] = (struct script_request){.connection_id = outgoing->to.id,
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
            script.connections[store] = 0;
    }
    update->closes_count = 0;
    connect_all(update);
    for (size_t index = 0; index < fresh_count; index++) {
        if (answered_by_itself(&fresh[index])) {
            blob_unref(fresh[index].blob);
        } else {
            cr_assert_lt(script.inbox_count, (size_t)SCRIPT_INBOX_MAX);
            script.inbox[script.inbox_count++] = fresh[index];
        }
    }
}

void script_inbox_clear(void)
{
    while (script.inbox_count)
        blob_unref(script.inbox[--script.inbox_count].blob);
}

void script_pass_ms(uint64_t ms)
{
    nanoseconds_t end_ns = script.now_ns + ms * NS_PER_MS;
    for (unsigned turns = 0; turns < 10000; turns++) {
        nanoseconds_t deadline_ns = client_core_update(script.core)->deadline_ns;
        if (deadline_ns > end_ns)
            break;
        if (deadline_ns > script.now_ns)
            script.now_ns = deadline_ns;
        script_deliver((struct client_event){.type = CLIENT_EV_TIMER});
    }
    script.now_ns = end_ns;
}

void script_submit(struct operation *operation, struct script_outcome *outcome)
{
    operation->done = operation_done;
    operation->done_context[0] = outcome;
    script_deliver((struct client_event){.type = CLIENT_EV_SUBMITTED, .operation = operation});
}

struct operation *operation_on_key(enum operation_type type, const char *key, const char *value)
{
    struct operation *operation = operation_new(type, bytes_of_string(key), bytes_of_string(value));
    if (type == OPERATION_WRITE)
        operation->write_kind = WRITE_PUT;
    return operation;
}

void script_submit_txn(enum operation_type type, struct core_txn *txn,
                       struct script_outcome *outcome)
{
    struct operation *operation = operation_on_key(type, "", "");
    operation->txn = txn;
    script_submit(operation, outcome);
}

void script_txn_put(struct core_txn *txn, const char *key, const char *value)
{
    const char *why;
    struct write write = {WRITE_PUT, bytes_of_string(key), bytes_of_string(value)};
    cr_assert_eq(coordinator_write(core_txn_coordinator(txn), &write, &why), OST_OK);
}

struct script_request *script_only(uint16_t type, store_id_t store)
{
    cr_assert_eq(script.inbox_count, 1u, "%zu requests wait", script.inbox_count);
    cr_assert_eq(script.inbox[0].frame.type, type, "it is a %s",
                 frame_type_name(script.inbox[0].frame.type));
    cr_assert_eq(script.inbox[0].store, store, "it went to store %lu",
                 (unsigned long)script.inbox[0].store);
    return &script.inbox[0];
}

static void named_add(struct script_named *named, const Ostraka__RangeRef *range)
{
    cr_assert_lt(named->ranges_count, (size_t)SCRIPT_RANGES_MAX);
    snprintf(named->starts[named->ranges_count], sizeof(named->starts[0]), "%.*s",
             (int)range->start.len, range->start.data ? (const char *)range->start.data : "");
    named->epochs[named->ranges_count++] = range->epoch;
}

#define NAMES_ONE(frame_type, name, type)                                                          \
    case frame_type: {                                                                             \
        Ostraka__##type *message = ostraka__##name##__unpack(NULL, bytes.bytes_count, bytes.data); \
        cr_assert(message);                                                                        \
        named.group = message->group;                                                              \
        named_add(&named, message->range);                                                         \
        ostraka__##name##__free_unpacked(message, NULL);                                           \
        break;                                                                                     \
    }

struct script_named script_names(size_t at)
{
    cr_assert_lt(at, script.inbox_count);
    const struct frame *frame = &script.inbox[at].frame;
    struct bytes bytes = frame->message;
    struct script_named named = {0};
    switch (frame->type) {
        NAMES_ONE(FRAME_GET, get_request, GetRequest)
        NAMES_ONE(FRAME_LOCK, lock_request, LockRequest)
        NAMES_ONE(FRAME_SCAN, scan_request, ScanRequest)
        NAMES_ONE(FRAME_COMMIT, commit_request, CommitRequest)
        NAMES_ONE(FRAME_ABORT, abort_request, AbortRequest)
    case FRAME_PREPARE: {
        Ostraka__PrepareRequest *message =
            ostraka__prepare_request__unpack(NULL, bytes.bytes_count, bytes.data);
        named.group = message->group;
        for (size_t index = 0; index < message->n_ranges; index++)
            named_add(&named, message->ranges[index]);
        ostraka__prepare_request__free_unpacked(message, NULL);
        break;
    }
    default:
        cr_assert(false, "a %s names no range", frame_type_name(frame->type));
    }
    return named;
}

struct script_request script_take(size_t at)
{
    struct script_request taken = script.inbox[at];
    memmove(script.inbox + at, script.inbox + at + 1,
            (--script.inbox_count - at) * sizeof(script.inbox[0]));
    return taken;
}

void script_refuse(size_t at, int status, store_id_t hint)
{
    struct script_request received = script_take(at);
    Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
    header.status = status;
    header.leader_store = hint;
    Ostraka__ValidateAnswer answer =
        OSTRAKA__VALIDATE_ANSWER__INIT; /* the header comes first in all */
    answer.header = &header;
    script_reply(received.connection_id, (uint16_t)(received.frame.type + 1),
                 received.frame.request_id, &answer.base, NULL);
    blob_unref(received.blob);
}

void script_answer_get(size_t at, const char *value)
{
    struct script_request received = script_take(at);
    Ostraka__GetAnswer answer = OSTRAKA__GET_ANSWER__INIT;
    answer.found = value != NULL;
    answer.read_timestamp = 40;
    script_reply(received.connection_id, FRAME_GET_ANSWER, received.frame.request_id, &answer.base,
                 value);
    blob_unref(received.blob);
}

void script_answer_vote(size_t at, timestamp_t timestamp)
{
    struct script_request received = script_take(at);
    Ostraka__PrepareAnswer answer = OSTRAKA__PREPARE_ANSWER__INIT;
    answer.commit_timestamp_min = timestamp;
    script_reply(received.connection_id, FRAME_PREPARE_ANSWER, received.frame.request_id,
                 &answer.base, NULL);
    blob_unref(received.blob);
}

void script_answer_rows(size_t at, const char *const *keys, uint32_t count, bool more,
                        uint64_t entry_counter)
{
    struct script_request received = script_take(at);
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
    reply_bytes(received.connection_id, FRAME_SCAN_ANSWER, received.frame.request_id, &answer.base,
                buffer_bytes(&rows));
    buffer_fini(&rows);
    blob_unref(received.blob);
}

void script_answer_lock(size_t at, const char *value)
{
    struct script_request received = script_take(at);
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = 1;
    entry.counter = 3;
    Ostraka__LockAnswer answer = OSTRAKA__LOCK_ANSWER__INIT;
    answer.entry = &entry;
    answer.found = value != NULL;
    script_reply(received.connection_id, FRAME_LOCK_ANSWER, received.frame.request_id, &answer.base,
                 value);
    blob_unref(received.blob);
}

void script_answer_timestamp(size_t at, timestamp_t timestamp)
{
    struct script_request received = script_take(at);
    cr_assert_eq(received.frame.type, FRAME_TIMESTAMP);
    Ostraka__TimestampAnswer answer = OSTRAKA__TIMESTAMP_ANSWER__INIT;
    answer.timestamp = timestamp;
    script_reply(received.connection_id, FRAME_TIMESTAMP_ANSWER, received.frame.request_id,
                 &answer.base, NULL);
    blob_unref(received.blob);
}

void script_lose(store_id_t store)
{
    uint64_t id = script.connections[store];
    script.connections[store] = 0;
    script_deliver((struct client_event){.type = CLIENT_EV_CLOSED, .connection_id = id});
}

void script_setup(void)
{
    script.now_ns = NS_PER_S;
    script.map_epoch = script.range_epoch = 1;
    script.joining_store = 0;
    script.high_group = 2;
    script.ranges_count = 0;
    script.map_leaders[0] = script.map_leaders[1] = 1;
    script.map_leaders[2] = 2;
    struct client_core_options options;
    client_core_options_default(&options);
    options.endpoints = "s1";
    options.seed = 42;
    script.core = client_core_new(&options, script.now_ns);
    static struct script_outcome opened = {0};
    script_submit(operation_on_key(OPERATION_OPEN, "", ""), &opened);
    script_pass_ms(1);
    cr_assert(opened.is_done);
    cr_assert_eq(opened.status, OST_OK);
    cr_assert(script.subscribed);
    script_pass_ms(20); /* past the shortest time between two questions for the map */
}

void script_teardown(void)
{
    script_deliver((struct client_event){.type = CLIENT_EV_STOPPED});
    client_core_free(script.core);
    script_inbox_clear();
}
