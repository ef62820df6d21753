/* Money moves between two groups on three real stores while something goes wrong. Whatever it is,
 * no money is lost or made, and every acknowledged transfer has been applied, exactly once. */
#include "base/bytes.h"
#include "proto/frame.h"
#include "proto/session.pb-c.h"
#include "world.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOME_TRANSFERS 200u

static struct world world;

static void init(void)
{
    world_init(&world);
}

static void fini(void)
{
    world_fini(&world);
}

TestSuite(bank_cluster, .init = init, .fini = fini, .timeout = 120);

Test(bank_cluster, killed_leaders_lose_nothing)
{
    world_start_bank(&world);
    world_await_transfers(&world, SOME_TRANSFERS);
    for (uint64_t group = 0; group <= 2; group++) {
        uint32_t leader = world_await_leader(&world, group);
        cluster_kill(world.cluster, leader);
        world_await_transfers(&world, SOME_TRANSFERS); /* the other two go on */
        world_restart(&world, leader);
        world_await_transfers(&world, SOME_TRANSFERS);
    }
    world_assert_verdict(&world);
}

Test(bank_cluster, all_stores_killed_at_once_lose_nothing)
{
    world_start_bank(&world);
    for (int round = 0; round < 2; round++) {
        world_await_transfers(&world, SOME_TRANSFERS);
        for (uint32_t store = 1; store <= 3; store++)
            cluster_signal(world.cluster, store, SIGKILL);
        for (uint32_t store = 1; store <= 3; store++)
            cluster_kill(world.cluster, store);
        for (uint32_t store = 1; store <= 3; store++)
            world_restart(&world, store);
    }
    world_await_transfers(&world, SOME_TRANSFERS);
    world_assert_verdict(&world);
}

Test(bank_cluster, a_paused_leader_does_no_harm)
{
    world_start_bank(&world);
    world_await_transfers(&world, SOME_TRANSFERS);
    uint32_t leader = world_await_leader(&world, 1);
    cluster_signal(world.cluster, leader, SIGSTOP);
    world_await_transfers(&world, SOME_TRANSFERS); /* others lead by now */
    cluster_signal(world.cluster, leader, SIGCONT);
    world_await_transfers(&world, SOME_TRANSFERS);
    world_assert_verdict(&world);
}

Test(bank_cluster, a_terminated_leader_hands_over_and_exits_with_0)
{
    world_start_bank(&world);
    world_await_transfers(&world, SOME_TRANSFERS);
    uint32_t leader = world_await_leader(&world, 2);
    int wait_status;
    cr_assert_eq(cluster_terminate(world.cluster, leader, WORLD_TIMEOUT_MS, &wait_status), OST_OK);
    cr_assert(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0, "wait status %d",
              wait_status);
    world_await_transfers(&world, SOME_TRANSFERS);
    world_restart(&world, leader);
    world_await_transfers(&world, SOME_TRANSFERS);
    world_assert_verdict(&world);
}

/* A scan of all accounts is one transaction: it never sees half a transfer. */
Test(bank_cluster, reads_during_transfers_see_all_the_money)
{
    world.options.clients_count = 8;
    world_start_bank(&world);
    for (int i = 0; i < 10; i++) {
        struct bank_audit audit;
        char why[BANK_WHY_BYTES] = "";
        world_await_transfers(&world, 20);
        uint64_t acknowledged_count = world_acknowledged_count(&world);
        cr_assert_eq(bank_audit(world.client, &world.options, WORLD_TIMEOUT_MS, &audit, why),
                     OST_OK, "%s", why);
        cr_assert_eq(audit.balances_sum, world.before.balances_sum);
        cr_assert_eq(audit.transfers_sum % 2, 0);
        cr_assert_geq(audit.transfers_sum / 2, acknowledged_count, "a read went back in time");
    }
    world_assert_verdict(&world);
}

/* --- A client that dies
 * ------------------------------------------------------------------------------ */

/* Runs transfers until it is killed, and says how many were acknowledged. */
__attribute__((noreturn)) static void doomed_client(_Atomic uint64_t *acknowledged_count)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char why[CLUSTER_WHY_BYTES] = "";
    struct ost_client *client;
    struct bank *bank;
    if (cluster_open_client(world.cluster, WORLD_TIMEOUT_MS, &client, why) != OST_OK ||
        bank_start(client, &world.options, &bank, why) != OST_OK)
        _exit(1);
    for (;;) {
        static struct bank_statistics statistics;
        bank_read_statistics(bank, false, &statistics);
        *acknowledged_count = statistics.acknowledged_count;
        if (bank_error(bank, why) != OST_OK)
            _exit(2);
        world_sleep_ms(1);
    }
}

static int lock_every_account(struct ost_txn *txn, void *context)
{
    (void)context;
    for (uint32_t i = 0; i < world.options.accounts_count; i++) {
        char key[BANK_KEY_BYTES];
        struct ost_value value;
        int status = ost_txn_get_for_update(txn, ost_string(bank_key(i, key)), &value);
        if (status != OST_OK)
            return status;
        status = ost_txn_put(txn, ost_string(key), ost_bytes(value.data, value.bytes_count));
        ost_value_free(&value);
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}

/* With 32 transfers under way, some are between prepare and commit whenever it dies. */
Test(bank_cluster, locks_of_a_killed_client_are_gone_within_10_s)
{
    const uint64_t limit_ns = 10 * UINT64_C(1000000000);
    _Atomic uint64_t *acknowledged_count =
        mmap(NULL, sizeof *acknowledged_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
             -1, 0);
    cr_assert_neq((void *)acknowledged_count, MAP_FAILED);
    int gate[2];
    cr_assert_eq(pipe(gate), 0);
    /* Forked before this process has a client, and so a second thread. */
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        char byte;
        close(gate[1]); /* so that it ends with a test that fails before it is let go */
        if (read(gate[0], &byte, 1) != 1)
            _exit(3);
        doomed_client(acknowledged_count);
    }
    world_open(&world);
    world_load(&world);
    cr_assert_eq(write(gate[1], "", 1), 1);
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    while (*acknowledged_count < SOME_TRANSFERS) {
        cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "the client ended by itself");
        cr_assert_lt(bank_now_ns(), deadline_ns, "the client makes no progress");
        world_sleep_ms(1);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    uint64_t killed_ns = bank_now_ns();
    int status;
    do {
        status = ost_run(world.client, lock_every_account, NULL);
    } while (status != OST_OK && bank_now_ns() - killed_ns < limit_ns);
    cr_assert_eq(status, OST_OK, "%s", ost_status_text(status));
    cr_assert_lt(bank_now_ns() - killed_ns, limit_ns, "the locks were held for too long");

    struct bank_audit after;
    char why[BANK_WHY_BYTES] = "";
    cr_assert_eq(bank_audit(world.client, &world.options, WORLD_TIMEOUT_MS, &after, why), OST_OK,
                 "%s", why);
    cr_assert_eq(after.balances_sum, world.before.balances_sum);
    cr_assert_eq(after.transfers_sum % 2, 0);
    cr_assert_geq(after.transfers_sum / 2, *acknowledged_count);
}

/* --- Bad input
 * ------------------------------------------------------------------------------------------ */

static int connect_to(uint32_t store)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(cluster_port(world.cluster, store)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0, "%s",
                 strerror(errno));
    struct timeval limit = {.tv_sec = WORLD_TIMEOUT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static void send_bytes(uint32_t store, const void *data, size_t bytes_count, bool expect_close)
{
    int fd = connect_to(store);
    /* The store may close before it has been told everything. */
    ssize_t sent = send(fd, data, bytes_count, MSG_NOSIGNAL);
    cr_assert(sent > 0 || errno == ECONNRESET || errno == EPIPE);
    if (expect_close) {
        char answer[4096];
        ssize_t received_bytes;
        do {
            received_bytes = recv(fd, answer, sizeof answer, 0);
        } while (received_bytes > 0);
        cr_assert(received_bytes == 0 || errno == ECONNRESET, "the connection stays open: %s",
                  strerror(errno));
    }
    close(fd);
}

/* A frame whose checksum holds, and whose message is not empty. */
static struct blob *good_frame(uint64_t cluster_id)
{
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    hello.cluster_id = cluster_id;
    hello.role = OSTRAKA__PEER_ROLE__CLIENT;
    hello.channel = 1;
    return frame_encode(FRAME_HELLO, 1, &hello.base, NULL, 0);
}

static void send_changed_frame(uint32_t store, size_t offset, uint8_t change)
{
    struct blob *frame = good_frame(0);
    cr_assert_lt(offset, frame->bytes_count);
    frame->data[offset] ^= change;
    send_bytes(store, frame->data, frame->bytes_count, true);
    blob_unref(frame);
}

static void send_bad_input(uint32_t store, uint32_t *seed)
{
    static uint8_t garbage[] = {0x7f, 0xff}; /* says that 127 bytes follow */
    uint8_t noise[512];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)((*seed = *seed * 1664525u + 1013904223u) >> 24);
    noise[0] = 'x'; /* never the magic */
    send_bytes(store, noise, sizeof noise, true);

    struct blob *frame = good_frame(0);
    send_bytes(store, frame->data, frame->bytes_count / 2, false); /* half a header, then gone */
    send_bytes(store, frame->data, frame->bytes_count - 1, false);
    blob_unref(frame);

    send_changed_frame(store, 4, 0x80);                  /* version */
    send_changed_frame(store, 11, 0x7f);                 /* a message of 2 GiB */
    send_changed_frame(store, 15, 0xff);                 /* a payload of 4 GiB */
    send_changed_frame(store, 24, 0x01);                 /* checksum */
    send_changed_frame(store, FRAME_HEADER_BYTES, 0x01); /* message */

    /* The checksum holds, but what is in the frame is no message: a field that is cut off. */
    ProtobufCMessageUnknownField unknown = {
        .tag = 1, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .len = 2, .data = garbage};
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    hello.base.n_unknown_fields = 1;
    hello.base.unknown_fields = &unknown;
    frame = frame_encode(FRAME_HELLO, 1, &hello.base, NULL, 0);
    send_bytes(store, frame->data, frame->bytes_count, true);
    blob_unref(frame);
}

Test(bank_cluster, bad_input_closes_that_connection_and_nothing_else)
{
    const uint64_t closes_per_store = 7;
    uint64_t rejected_before, rejected_after;
    uint32_t seed = 7;
    world_start_bank(&world);
    world_await_transfers(&world, SOME_TRANSFERS);
    cr_assert(cluster_metric_sum(world.cluster, world.client, "connections_rejected_count",
                                 &rejected_before));
    for (int round = 0; round < 5; round++)
        for (uint32_t store = 1; store <= 3; store++)
            send_bad_input(store, &seed);
    cr_assert(cluster_metric_sum(world.cluster, world.client, "connections_rejected_count",
                                 &rejected_after));
    cr_assert_geq(rejected_after - rejected_before, 5 * 3 * closes_per_store);
    for (uint32_t store = 1; store <= 3; store++) {
        struct blob *stranger = good_frame(UINT64_C(0x1234567890));
        send_bytes(store, stranger->data, stranger->bytes_count, true); /* another cluster */
        blob_unref(stranger);
    }
    world_await_transfers(&world, SOME_TRANSFERS);
    world_assert_verdict(&world);
}

/* --- No quorum
 * -------------------------------------------------------------------------------------------- */

Test(bank_cluster, a_lost_quorum_is_an_error_and_heals)
{
    world_open(&world);
    cr_assert_eq(ost_put(world.client, ost_string("key"), ost_string("one")), OST_OK);
    cluster_kill(world.cluster, 1);
    cluster_kill(world.cluster, 2);
    int status = ost_put(world.client, ost_string("key"), ost_string("two"));
    cr_assert(ost_status_is_retryable(status) || status == OST_MAYBE_COMMITTED, "%s",
              ost_status_text(status));
    struct ost_value value;
    cr_assert_neq(ost_get(world.client, ost_string("key"), &value), OST_OK);
    world_restart(&world, 1);
    world_await_leader(&world, 1);
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    do {
        status = ost_get(world.client, ost_string("key"), &value);
    } while (ost_status_is_retryable(status) && bank_now_ns() < deadline_ns);
    cr_assert_eq(status, OST_OK, "%s", ost_status_text(status));
    cr_assert_eq(value.bytes_count, 3);
    ost_value_free(&value);
}
