/* The client's thread against a store of one process, over real sockets: the store greets, has a
 * map of one range, and keeps the last value written in memory. A get of "silent" is never
 * answered. It leads group 0 as well, and does what it is asked as such. */
#include "client/ostraka.h"
#include "io/tcp.h"
#include "proto/kv.pb-c.h"
#include "proto/master.pb-c.h"
#include "proto/session.pb-c.h"
#include "proto/write_set.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static struct {
    pthread_t thread;
    struct io_loop *loop;
    struct io_tcp *tcp;
    struct io_wakeup *wakeup;
    atomic_int port;
    atomic_bool is_stopping;
    atomic_int silent_gets_count;
    atomic_int checks_count; /* of the last commit */
    atomic_int range_epoch;  /* what the range is at, less one */
    atomic_int asked_epoch;  /* what the map says that is asked for, less one */
    atomic_int moved_count;  /* RANGE_MOVED answers; with the third the newest map is pushed */
    atomic_int changes_count;
    atomic_bool is_split;   /* the map shows two ranges, the right one from "m" on */
    atomic_bool has_merged; /* what an old map names does not begin anywhere any more */
    char value[64];
} server;

static void answer(uint64_t connection_id, const struct frame *request,
                   const ProtobufCMessage *message, struct bytes payload)
{
    io_tcp_send(
        server.tcp, connection_id,
        frame_encode((uint16_t)(request->type + 1), request->request_id, message, &payload, 1));
}

/* `frame` NULL: a push of the newest one. */
static void send_map(uint64_t connection_id, const struct frame *frame)
{
    int epoch = 1 + atomic_load(frame ? &server.asked_epoch : &server.range_epoch);
    char address[32];
    snprintf(address, sizeof(address), "127.0.0.1:%d", atomic_load(&server.port));
    Ostraka__StoreInfo store = OSTRAKA__STORE_INFO__INIT, *stores[] = {&store};
    Ostraka__ReplicaInfo replica = OSTRAKA__REPLICA_INFO__INIT, *replicas[] = {&replica};
    Ostraka__GroupInfo group = OSTRAKA__GROUP_INFO__INIT, *groups[] = {&group};
    Ostraka__RangeInfo range = OSTRAKA__RANGE_INFO__INIT, right, *ranges[] = {&range, &right};
    store.id = replica.store = replica.replica = group.id = range.group = 1;
    store.address = address;
    group.replicas = replicas;
    group.n_replicas = 1;
    range.epoch = (uint64_t)epoch;
    store.state = 2;
    store.host = (char *)(uintptr_t) "h";
    Ostraka__RangeChange change = OSTRAKA__RANGE_CHANGE__INIT;
    change.id = 17;
    change.kind = OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE;
    change.at = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "m"};
    bool is_split = atomic_load(&server.is_split);
    if (atomic_load(&server.changes_count) && !is_split)
        range.change = &change;
    right = range;
    if (is_split)
        range.end = right.start = change.at;
    Ostraka__Map map = OSTRAKA__MAP__INIT;
    map.cluster_id = 5;
    map.epoch = (uint64_t)epoch;
    map.next_change = 18;
    map.heard_timestamp = timestamp_from_ms(1000);
    map.stores = stores;
    map.groups = groups;
    map.ranges = ranges;
    map.n_stores = map.n_groups = 1;
    map.n_ranges = is_split ? 2 : 1;
    if (frame)
        answer(connection_id, frame, &map.base, bytes_of(NULL, 0));
    else
        io_tcp_send(server.tcp, connection_id,
                    frame_encode(FRAME_MAP_ANSWER, 0, &map.base, NULL, 0));
}

static void server_get(uint64_t connection_id, const struct frame *frame,
                       const Ostraka__GetRequest *request)
{
    Ostraka__GetAnswer got = OSTRAKA__GET_ANSWER__INIT;
    if (request->range->epoch != (uint64_t)atomic_load(&server.range_epoch) + 1) {
        Ostraka__AnswerHeader header = OSTRAKA__ANSWER_HEADER__INIT;
        header.status = OST_RANGE_MOVED;
        got.header = &header;
        answer(connection_id, frame, &got.base, bytes_of(NULL, 0));
        if (atomic_fetch_add(&server.moved_count, 1) == 2)
            send_map(connection_id, NULL);
        return;
    }
    got.found = server.value[0] != '\0';
    got.version = 9;
    answer(connection_id, frame, &got.base, bytes_of_string(server.value));
}

static void server_change_range(uint64_t connection_id, const struct frame *frame,
                                const Ostraka__ChangeRange *request)
{
    Ostraka__ChangeRangeAnswer told = OSTRAKA__CHANGE_RANGE_ANSWER__INIT;
    if (request->kind == OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE) {
        told.status = request->cancel == 17 ? OST_OK : OST_NOT_FOUND;
        told.text = (char *)(uintptr_t)(request->cancel == 17 ? "" : "there is no such change");
    } else if (request->epoch != (uint64_t)atomic_load(&server.range_epoch) + 1) {
        told.status = OST_CONFLICT;
        told.text = (char *)(uintptr_t) "the range is at another epoch";
    } else if (atomic_fetch_add(&server.changes_count, 1) > 0) {
        told.status = OST_CONFLICT;
        told.text = (char *)(uintptr_t) "the range has a change already";
    } else {
        told.change = 17;
    }
    answer(connection_id, frame, &told.base, bytes_of(NULL, 0));
}

static void server_change_store(uint64_t connection_id, const struct frame *frame,
                                const Ostraka__ChangeStore *request)
{
    Ostraka__ChangeStoreAnswer told = OSTRAKA__CHANGE_STORE_ANSWER__INIT;
    bool is_drain = request->kind == OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE;
    bool is_removal = request->kind == OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE;
    told.status = is_drain ? OST_OK : is_removal ? OST_CONFLICT : OST_EXISTS;
    if (is_removal)
        told.text = (char *)(uintptr_t) "store 1 has 1 replica";
    answer(connection_id, frame, &told.base, bytes_of(NULL, 0));
}

static void server_progress(uint64_t connection_id, const struct frame *frame)
{
    Ostraka__ProgressItem item = OSTRAKA__PROGRESS_ITEM__INIT, *items[] = {&item};
    item.what = (char *)(uintptr_t) "split";
    item.change = 17;
    item.start = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "k"};
    item.done_count = 3;
    item.whole_count = 4;
    item.waits_for = (char *)(uintptr_t) "a quorum";
    Ostraka__ProgressAnswer told = OSTRAKA__PROGRESS_ANSWER__INIT;
    told.items = items;
    told.n_items = 1;
    answer(connection_id, frame, &told.base, bytes_of(NULL, 0));
}

static void server_frame(void *context, uint64_t connection_id, const struct frame *frame)
{
    (void)context;
    struct arena arena;
    arena_init(&arena);
    if (frame->type == FRAME_HELLO) {
        Ostraka__HelloAnswer hello = OSTRAKA__HELLO_ANSWER__INIT;
        hello.cluster_id = 5;
        hello.store_id = 1;
        answer(connection_id, frame, &hello.base, bytes_of(NULL, 0));
    } else if (frame->type == FRAME_MAP) {
        send_map(connection_id, frame);
    } else if (frame->type == FRAME_GET) {
        Ostraka__GetRequest *request = (Ostraka__GetRequest *)message_unpack(
            &ostraka__get_request__descriptor, frame->message, &arena);
        if (bytes_equal(bytes_of(request->key.data, request->key.len), bytes_of_string("silent"))) {
            atomic_fetch_add(&server.silent_gets_count, 1);
        } else {
            server_get(connection_id, frame, request);
        }
    } else if (frame->type == FRAME_CHANGE_RANGE) {
        server_change_range(connection_id, frame,
                            (Ostraka__ChangeRange *)message_unpack(
                                &ostraka__change_range__descriptor, frame->message, &arena));
    } else if (frame->type == FRAME_CHANGE_STORE) {
        server_change_store(connection_id, frame,
                            (Ostraka__ChangeStore *)message_unpack(
                                &ostraka__change_store__descriptor, frame->message, &arena));
    } else if (frame->type == FRAME_PROGRESS) {
        server_progress(connection_id, frame);
    } else if (frame->type == FRAME_STATUS) {
        Ostraka__StatusAnswer status = OSTRAKA__STATUS_ANSWER__INIT;
        status.store = 1;
        status.uptime_ms = 12;
        answer(connection_id, frame, &status.base, bytes_of(NULL, 0));
    } else if (frame->type == FRAME_PREPARE) {
        Ostraka__PrepareRequest *request = (Ostraka__PrepareRequest *)message_unpack(
            &ostraka__prepare_request__descriptor, frame->message, &arena);
        atomic_store(&server.checks_count, (int)request->n_checks);
        struct reader reader = reader_of(frame->payload);
        struct write write;
        cr_assert_eq(write_set_next(&reader, &write), OST_OK);
        snprintf(server.value, sizeof(server.value), "%.*s", (int)write.value.bytes_count,
                 (const char *)write.value.data);
        Ostraka__PrepareAnswer vote = OSTRAKA__PREPARE_ANSWER__INIT;
        vote.commit_timestamp_min = 10;
        answer(connection_id, frame, &vote.base, bytes_of(NULL, 0));
    }
    arena_fini(&arena);
}

static void server_accepted(void *context, uint64_t connection_id, const char *peer_address)
{
    (void)context, (void)connection_id, (void)peer_address;
}

static void server_ended(void *context, uint64_t connection_id, int status)
{
    (void)context, (void)connection_id, (void)status;
}

static void server_woken(void *context)
{
    (void)context;
}

static void *server_run(void *context)
{
    (void)context;
    static const struct io_tcp_callbacks callbacks = {
        .accepted = server_accepted,
        .connected = server_ended,
        .frame = server_frame,
        .closed = server_ended,
    };
    struct io_tcp_options options;
    io_tcp_options_default(&options);
    cr_assert_eq(io_loop_new(&server.loop), OST_OK);
    cr_assert_eq(io_tcp_new(server.loop, &options, &callbacks, NULL, &server.tcp), OST_OK);
    cr_assert_eq(io_wakeup_new(server.loop, server_woken, NULL, &server.wakeup), OST_OK);
    cr_assert_eq(io_tcp_listen(server.tcp, "127.0.0.1:0"), OST_OK);
    atomic_store(&server.port, io_tcp_listen_port(server.tcp));
    while (!atomic_load(&server.is_stopping))
        io_loop_turn(server.loop, NS_NEVER);
    io_wakeup_free(server.wakeup);
    io_tcp_free(server.tcp);
    io_loop_free(server.loop);
    return NULL;
}

static void pause_shortly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static struct ost_client *client;

static void setup(void)
{
    pthread_create(&server.thread, NULL, server_run, NULL);
    while (!atomic_load(&server.port))
        pause_shortly();
    char endpoints[64], why[256];
    snprintf(endpoints, sizeof(endpoints), "127.0.0.1:%d", atomic_load(&server.port));
    struct ost_options options;
    ost_options_default(&options);
    options.endpoints = endpoints;
    int status = ost_open(&options, &client, why);
    cr_assert_eq(status, OST_OK, "%s", why);
}

static void teardown(void)
{
    ost_close(client);
    atomic_store(&server.is_stopping, true);
    io_wakeup_signal(server.wakeup);
    pthread_join(server.thread, NULL);
}

TestSuite(runtime, .init = setup, .fini = teardown, .timeout = 60);

Test(runtime, put_then_get)
{
    struct ost_value value;
    cr_assert_eq(ost_get(client, ost_string("k"), &value), OST_NOT_FOUND);
    cr_assert_eq(ost_put(client, ost_string("k"), ost_string("hello")), OST_OK);
    cr_assert_eq(ost_get(client, ost_string("k"), &value), OST_OK);
    cr_assert_str_eq(value.data, "hello");
    cr_assert_eq(value.version, 9u);
    ost_value_free(&value);
    uint64_t group;
    cr_assert_eq(ost_group_of_key(client, ost_string("k"), &group), OST_OK);
    cr_assert_eq(group, 1u);
}

static void *many_gets(void *context)
{
    (void)context;
    for (unsigned count = 0; count < 500; count++) {
        struct ost_value value;
        if (ost_get(client, ost_string("k"), &value) != OST_OK)
            return "a get failed";
        ost_value_free(&value);
    }
    return NULL;
}

Test(runtime, many_threads_share_a_client)
{
    cr_assert_eq(ost_put(client, ost_string("k"), ost_string("v")), OST_OK);
    pthread_t threads[8];
    for (unsigned index = 0; index < 8; index++)
        pthread_create(&threads[index], NULL, many_gets, NULL);
    for (unsigned index = 0; index < 8; index++) {
        void *problem;
        pthread_join(threads[index], &problem);
        cr_assert_null(problem);
    }
}

static atomic_int async_gets_count;
static atomic_int blocking_status;

static void async_got(void *context, const struct ost_result *result)
{
    (void)context, (void)result;
    struct ost_value value;
    atomic_store(&blocking_status, ost_get(client, ost_string("k"), &value));
    if (atomic_fetch_add(&async_gets_count, 1) < 99)
        cr_assert_eq(ost_get_async(client, ost_string("k"), async_got, NULL), OST_OK);
}

Test(runtime, callbacks_may_ask_again_but_not_wait)
{
    cr_assert_eq(ost_get_async(client, ost_string("k"), async_got, NULL), OST_OK);
    while (atomic_load(&async_gets_count) < 100)
        pause_shortly();
    cr_assert_eq(atomic_load(&blocking_status), OST_INVALID_ARGUMENT);
}

static int body_writes(struct ost_txn *txn, void *context)
{
    int *runs_count = context;
    struct ost_value own;
    int status = ost_txn_put(txn, ost_string("k"), ost_string("mine"));
    if (status == OST_OK)
        status = ost_txn_get(txn, ost_string("k"), &own);
    if (status != OST_OK)
        return status;
    cr_assert_str_eq(own.data, "mine", "it sees its own write");
    ost_value_free(&own);
    return ++*runs_count < 3 ? OST_WOUNDED : OST_OK;
}

Test(runtime, run_repeats_until_it_commits)
{
    int runs_count = 0;
    cr_assert_eq(ost_run(client, body_writes, &runs_count), OST_OK);
    cr_assert_eq(runs_count, 3);
    struct ost_value value;
    cr_assert_eq(ost_get(client, ost_string("k"), &value), OST_OK);
    cr_assert_str_eq(value.data, "mine");
    ost_value_free(&value);
}

struct tries {
    int count;
    bool is_optimistic[8];
};

static int body_reads_and_writes(struct ost_txn *txn, void *context)
{
    struct tries *tries = context;
    tries->is_optimistic[tries->count] = ost_txn_is_optimistic(txn);
    struct ost_value value = {0};
    int status = OST_OK;
    if (ost_txn_is_optimistic(txn)) /* this server knows no locks */
        status = ost_txn_get(txn, ost_string("k"), &value);
    ost_value_free(&value);
    if (status == OST_OK || status == OST_NOT_FOUND)
        status = ost_txn_put(txn, ost_string("k"), ost_string("mine"));
    if (status != OST_OK)
        return status;
    return ++tries->count < 5 ? OST_VERSION_CHANGED : OST_OK;
}

Test(runtime, optimistic_run_takes_locks_from_its_fourth_try_on)
{
    struct tries tries = {0};
    cr_assert_eq(ost_run_optimistic(client, body_reads_and_writes, &tries), OST_OK);
    cr_assert_eq(tries.count, 5);
    for (int try = 0; try < 5; try++)
        cr_assert_eq(tries.is_optimistic[try], try < 3, "try %d", try);
}

Test(runtime, optimistic_commit_carries_what_was_read)
{
    struct ost_txn *txn;
    struct ost_value value;
    cr_assert_eq(ost_begin_optimistic(client, &txn), OST_OK);
    cr_assert_eq(ost_txn_get(txn, ost_string("k"), &value), OST_NOT_FOUND);
    cr_assert_eq(ost_txn_get_for_update(txn, ost_string("l"), &value), OST_NOT_FOUND);
    cr_assert_eq(ost_txn_put(txn, ost_string("k"), ost_string("v")), OST_OK);
    cr_assert_eq(ost_txn_commit(txn), OST_OK);
    cr_assert_eq(atomic_load(&server.checks_count), 2);
    ost_txn_free(txn);
}

static void *silent_get(void *context)
{
    struct ost_value value;
    *(int *)context = ost_get(client, ost_string("silent"), &value);
    return NULL;
}

Test(runtime, close_ends_calls_under_way)
{
    pthread_t thread;
    int status = OST_OK;
    pthread_create(&thread, NULL, silent_get, &status);
    while (!atomic_load(&server.silent_gets_count))
        pause_shortly();
    struct ost_txn *txn; /* outlives the client */
    cr_assert_eq(ost_begin(client, &txn), OST_OK);
    cr_assert_eq(ost_txn_put(txn, ost_string("k"), ost_string("v")), OST_OK);
    ost_close(client);
    pthread_join(thread, NULL);
    cr_assert_eq(status, OST_CANCELED);
    cr_assert_eq(ost_txn_commit(txn), OST_CANCELED);
    ost_txn_free(txn);
    client = NULL;
}

Test(runtime, limits_are_checked_before_anything_is_sent)
{
    struct ost_value value;
    static char big[9000];
    cr_assert_eq(ost_get(client, ost_string(""), &value), OST_INVALID_ARGUMENT);
    cr_assert_eq(ost_get(client, ost_bytes(big, sizeof(big)), &value), OST_TOO_LARGE);
    cr_assert_str_eq(ost_last_error(),
                     "larger than the limit: key is 9000 bytes: the limit is 8 KiB");
    cr_assert_eq(ost_delete_range(client, ost_bytes(big, sizeof(big)), ost_string(""), NULL),
                 OST_TOO_LARGE);
    struct ost_txn *txn;
    cr_assert_eq(ost_begin(client, &txn), OST_OK);
    cr_assert_eq(ost_txn_add(txn, ost_string(""), 1, NULL), OST_INVALID_ARGUMENT);
    cr_assert_str_eq(ost_txn_error(txn), "invalid argument: key is empty: it has at least 1 byte");
    static char value_big[(1u << 20) + 1];
    cr_assert_eq(ost_txn_put(txn, ost_string("k"), ost_bytes(value_big, sizeof(value_big))),
                 OST_TOO_LARGE);
    cr_assert_str_eq(ost_txn_error(txn),
                     "larger than the limit: value is 1048577 bytes: the limit is 1 MiB");
    struct ost_txn_reason reason;
    ost_txn_get_reason(txn, &reason);
    cr_assert_eq(reason.status, OST_TOO_LARGE);
    cr_assert_str_eq(reason.cause, "too_large");
    ost_txn_free(txn);
}

/* --- Maps that are pushed --- */

/* The store has another range by now, and says so in no map but the one that it pushes. */
static void range_changes(void)
{
    atomic_store(&server.moved_count, 0);
    atomic_fetch_add(&server.range_epoch, 1);
}

Test(runtime, a_pushed_map_reaches_calls_that_wait)
{
    struct ost_value value;
    range_changes();
    cr_assert_eq(ost_get(client, ost_string("k"), &value), OST_NOT_FOUND, "%s", ost_last_error());
    cr_assert_eq(atomic_load(&server.moved_count), 3);
}

static atomic_int pushed_status = 1;

static void pushed_got(void *context, const struct ost_result *result)
{
    (void)context;
    atomic_store(&pushed_status, result->status);
}

Test(runtime, a_pushed_map_reaches_calls_that_do_not_wait)
{
    range_changes();
    cr_assert_eq(ost_get_async(client, ost_string("k"), pushed_got, NULL), OST_OK);
    while (atomic_load(&pushed_status) == 1)
        pause_shortly();
    cr_assert_eq(atomic_load(&pushed_status), OST_NOT_FOUND);
    cr_assert_eq(atomic_load(&server.moved_count), 3);
}

/* --- Who runs the cluster --- */

Test(runtime, a_change_of_a_range_is_begun_and_called_off)
{
    uint64_t change;
    char why[256];
    cr_assert_eq(ost_split_range(client, ost_string("m"), &change, why), OST_OK);
    cr_assert_eq(change, 17u);
    cr_assert_str_eq(why, "");
    cr_assert_eq(ost_move_range(client, ost_string(""), 2, &change, why), OST_CONFLICT);
    cr_assert_str_eq(why, "the range has a change already");
    cr_assert_str_eq(ost_last_error(),
                     "the state is not the one expected: the range has a change already");
    cr_assert_eq(atomic_load(&server.changes_count), 2, "the epoch was right: once is enough");
    cr_assert_eq(change, 0u);
    cr_assert_eq(ost_cancel_change(client, 17, why), OST_OK);
    cr_assert_eq(ost_cancel_change(client, 18, why), OST_NOT_FOUND);
    cr_assert_str_eq(why, "there is no such change");
    cr_assert_eq(ost_split_range(client, ost_string(""), &change, why), OST_INVALID_ARGUMENT);
    cr_assert_eq(ost_move_range(client, ost_string("k"), 0, &change, why), OST_INVALID_ARGUMENT);
    cr_assert_eq(ost_cancel_change(client, 0, why), OST_INVALID_ARGUMENT);
}

/* Less one; the client hears of it when it asks for the map. */
static void range_is_at(int epoch)
{
    atomic_store(&server.range_epoch, epoch);
    atomic_store(&server.asked_epoch, epoch);
}

Test(runtime, a_change_by_an_old_map_is_asked_once_more_by_the_newest)
{
    uint64_t change;
    char why[256];
    range_is_at(4);
    cr_assert_eq(ost_merge_ranges(client, ost_string("k"), &change, why), OST_OK);
    cr_assert_eq(change, 17u);
    /* Where the newest map is old as well, that is the end of it. */
    atomic_store(&server.range_epoch, 5);
    cr_assert_eq(ost_merge_ranges(client, ost_string("k"), &change, why), OST_CONFLICT);
    cr_assert_str_eq(why, "the range is at another epoch");
}

Test(runtime, a_change_of_a_range_that_was_merged_is_asked_once_more)
{
    uint64_t change;
    char why[256];
    atomic_store(&server.has_merged, true);
    range_is_at(4);
    cr_assert_eq(ost_split_range(client, ost_string("m"), &change, why), OST_OK);
    cr_assert_eq(change, 17u);
    cr_assert_eq(ost_cancel_change(client, 18, why), OST_NOT_FOUND);
}

Test(runtime, what_an_answer_that_was_lost_has_done_is_found_done)
{
    uint64_t change;
    char why[256];
    range_is_at(4);
    cr_assert_eq(ost_move_range(client, ost_string("k"), 1, &change, why), OST_EXISTS);
    cr_assert_eq(atomic_load(&server.changes_count), 0);
}

/* Else the next neighbour would be merged, too. */
Test(runtime, a_merge_that_is_found_done_is_not_asked_for_again)
{
    uint64_t change;
    char why[256];
    atomic_store(&server.is_split, true);
    range_is_at(4);
    cr_assert_eq(ost_merge_ranges(client, ost_string("k"), &change, why), OST_OK);
    atomic_store(&server.is_split, false);
    range_is_at(5);
    cr_assert_eq(ost_merge_ranges(client, ost_string("k"), &change, why), OST_EXISTS);
    cr_assert_eq(atomic_load(&server.changes_count), 1);
}

Test(runtime, stores_drain_and_leave)
{
    char why[256];
    cr_assert_eq(ost_drain_store(client, 1, why), OST_OK);
    cr_assert_eq(ost_undrain_store(client, 1, why), OST_EXISTS);
    cr_assert_eq(ost_remove_store(client, 1, why), OST_CONFLICT);
    cr_assert_str_eq(why, "store 1 has 1 replica");
    cr_assert_eq(ost_remove_store(client, 0, why), OST_INVALID_ARGUMENT);
}

Test(runtime, the_cluster_says_what_is_under_way)
{
    struct ost_progress progress;
    cr_assert_eq(ost_progress(client, 0, &progress), OST_OK);
    cr_assert_eq(progress.items_count, 1u);
    const struct ost_progress_item *item = &progress.items[0];
    cr_assert_str_eq(item->what, "split");
    cr_assert(item->change == 17 && item->done_count == 3 && item->whole_count == 4);
    cr_assert(item->start.bytes_count == 1 && ((const char *)item->start.data)[0] == 'k');
    cr_assert_str_eq(item->waits_for, "a quorum");
    ost_progress_free(&progress);
    atomic_store(&server.changes_count, 1);
    atomic_store(&server.asked_epoch, 1);
    struct ost_cluster_info info;
    cr_assert_eq(ost_cluster_info(client, &info), OST_OK);
    cr_assert_str_eq(info.stores[0].state, "draining");
    cr_assert_str_eq(info.stores[0].host, "h");
    cr_assert_eq(info.next_change, 18u);
    cr_assert_eq(info.ranges[0].change.change, 17u);
    cr_assert_str_eq(info.ranges[0].change.kind, "split");
    cr_assert_eq(info.ranges[0].change.at.bytes_count, 1u);
    ost_cluster_info_free(&info);
}

Test(runtime, stores_that_are_silent_do_not_hold_up_the_others)
{
    static const uint64_t STORES[] = {7, 1, 0, 8};
    struct ost_store_status statuses[4];
    int results[4];
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    cr_assert_eq(ost_store_statuses(client, STORES, 4, 100, statuses, results), OST_OK);
    clock_gettime(CLOCK_MONOTONIC, &after);
    cr_assert_lt((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000,
                 2000);
    cr_assert(results[0] != OST_OK && results[3] != OST_OK);
    cr_assert_eq(results[1], OST_OK);
    cr_assert_eq(statuses[1].uptime_ms, 12u);
    cr_assert_eq(results[2], OST_INVALID_ARGUMENT);
    ost_store_status_free(&statuses[1]);
    cr_assert_eq(ost_store_statuses(client, STORES, 0, 100, statuses, results), OST_OK);
}

Test(runtime_open, nobody_there, .timeout = 60)
{
    struct ost_options options;
    ost_options_default(&options);
    options.endpoints = "127.0.0.1:1";
    options.operation_timeout_ms = 200;
    char why[256];
    struct ost_client *none;
    cr_assert_eq(ost_open(&options, &none, why), OST_DISCONNECTED);
    cr_assert_null(none);
    cr_assert_not_null(strstr(why, "127.0.0.1:1"));
    options.endpoints = "";
    cr_assert_eq(ost_open(&options, &none, why), OST_INVALID_ARGUMENT);
}
