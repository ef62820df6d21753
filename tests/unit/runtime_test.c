/* The client's thread against a store of one process, over real sockets: the store greets, has a
 * map of one range, and keeps the last value written in memory. A get of "silent" is never
 * answered. */
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
    char value[64];
} server;

static void answer(uint64_t connection_id, const struct frame *request,
                   const ProtobufCMessage *message, struct bytes payload)
{
    io_tcp_send(
        server.tcp, connection_id,
        frame_encode((uint16_t)(request->type + 1), request->request_id, message, &payload, 1));
}

static void send_map(uint64_t connection_id, const struct frame *frame)
{
    char address[32];
    snprintf(address, sizeof(address), "127.0.0.1:%d", atomic_load(&server.port));
    Ostraka__StoreInfo store = OSTRAKA__STORE_INFO__INIT, *stores[] = {&store};
    Ostraka__ReplicaInfo replica = OSTRAKA__REPLICA_INFO__INIT, *replicas[] = {&replica};
    Ostraka__GroupInfo group = OSTRAKA__GROUP_INFO__INIT, *groups[] = {&group};
    Ostraka__RangeInfo range = OSTRAKA__RANGE_INFO__INIT, *ranges[] = {&range};
    store.id = replica.store = replica.replica = group.id = range.group = 1;
    store.address = address;
    group.replicas = replicas;
    group.n_replicas = 1;
    range.epoch = 1;
    Ostraka__Map map = OSTRAKA__MAP__INIT;
    map.cluster_id = 5;
    map.epoch = 1;
    map.heard_timestamp = timestamp_from_ms(1000);
    map.stores = stores;
    map.groups = groups;
    map.ranges = ranges;
    map.n_stores = map.n_groups = map.n_ranges = 1;
    answer(connection_id, frame, &map.base, bytes_of(NULL, 0));
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
            Ostraka__GetAnswer got = OSTRAKA__GET_ANSWER__INIT;
            got.found = server.value[0] != '\0';
            got.version = 9;
            answer(connection_id, frame, &got.base, bytes_of_string(server.value));
        }
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
