/* A store joins while money moves, another one drains and is removed: real processes. */
#include "base/bytes.h"
#include "proto/frame.h"
#include "proto/master.pb-c.h"
#include "proto/session.pb-c.h"
#include "world.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
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

TestSuite(stores_cluster, .init = init, .fini = fini, .timeout = 180);

static void send_whole(int fd, uint16_t type, const ProtobufCMessage *message)
{
    struct blob *frame = frame_encode(type, 1, message, NULL, 0);
    cr_assert_eq(send(fd, frame->data, frame->bytes_count, MSG_NOSIGNAL),
                 (ssize_t)frame->bytes_count);
    blob_unref(frame);
}

/* The next frame, in `buffer`. */
static struct frame receive_frame(int fd, uint8_t *buffer, size_t buffer_bytes)
{
    size_t have_bytes = 0, frame_bytes = FRAME_HEADER_BYTES;
    struct frame frame;
    const char *why;
    while (have_bytes < frame_bytes) {
        ssize_t got = recv(fd, buffer + have_bytes, frame_bytes - have_bytes, 0);
        cr_assert_gt(got, 0, "%s", strerror(errno));
        have_bytes += (size_t)got;
        if (have_bytes == FRAME_HEADER_BYTES)
            cr_assert_eq(
                frame_measure(bytes_of(buffer, have_bytes), buffer_bytes, &frame_bytes, &why),
                OST_OK);
    }
    cr_assert_eq(frame_decode(bytes_of(buffer, frame_bytes), &frame, &why), OST_OK);
    return frame;
}

static int ask_store(uint32_t asked, const Ostraka__ChangeStore *request, char *why)
{
    static uint8_t buffer[1u << 16];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(cluster_port(world.cluster, asked)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0, "%s",
                 strerror(errno));
    send_whole(fd, FRAME_HELLO, &hello.base);
    cr_assert_eq(receive_frame(fd, buffer, sizeof buffer).type, FRAME_HELLO_ANSWER);
    send_whole(fd, FRAME_CHANGE_STORE, &request->base);
    struct frame frame = receive_frame(fd, buffer, sizeof buffer);
    cr_assert_eq(frame.type, FRAME_CHANGE_STORE_ANSWER);
    struct arena arena;
    arena_init(&arena);
    const Ostraka__ChangeStoreAnswer *answer =
        (void *)message_unpack(&ostraka__change_store_answer__descriptor, frame.message, &arena);
    cr_assert(answer);
    int status = answer->status;
    snprintf(why, CLUSTER_WHY_BYTES, "%s", answer->text);
    arena_fini(&arena);
    close(fd);
    return status;
}

/* Whoever leads group 0 is asked, until it says yes or no. */
static void change_store(Ostraka__StoreChangeKind kind, uint32_t store)
{
    char why[CLUSTER_WHY_BYTES];
    Ostraka__ChangeStore request = OSTRAKA__CHANGE_STORE__INIT;
    request.kind = kind;
    request.store = store;
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    int status;
    do {
        cr_assert_lt(bank_now_ns(), deadline_ns);
        status = ask_store(world_await_leader(&world, 0), &request, why);
    } while (status == OST_NOT_LEADER || status == OST_NOT_READY || status == OST_BUSY);
    cr_assert_eq(status, OST_OK, "%s", why);
}

static uint32_t replicas_on(uint32_t store, bool *out_changing)
{
    struct ost_cluster_info info;
    uint32_t count = 0;
    *out_changing = true;
    if (ost_cluster_info(world.client, &info) != OST_OK)
        return UINT32_MAX;
    *out_changing = false;
    for (size_t index = 0; index <= info.groups_count; index++) {
        const struct ost_group_info *group =
            index < info.groups_count ? &info.groups[index] : &info.master;
        *out_changing = *out_changing || group->changing;
        for (uint32_t place = 0; place < group->replicas_count; place++)
            count += group->replicas[place].store == store;
    }
    ost_cluster_info_free(&info);
    return count;
}

static void await_replicas(uint32_t store, uint32_t count_min, uint32_t count_max)
{
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    for (;;) {
        bool changing;
        uint32_t count = replicas_on(store, &changing);
        if (count >= count_min && count <= count_max && !changing)
            return;
        cr_assert_lt(bank_now_ns(), deadline_ns, "store %u has %u replicas", store, count);
        world_sleep_ms(20);
    }
}

Test(stores_cluster, a_store_joins_and_another_drains_while_money_moves)
{
    char why[CLUSTER_WHY_BYTES] = "";
    uint32_t joined;
    world_start_bank(&world);
    world_await_transfers(&world, SOME_TRANSFERS);
    cr_assert_eq(cluster_join(world.cluster, &joined, why), OST_OK, "%s", why);
    await_replicas(joined, 2, 3); /* of 9, with the shard master's */
    world_await_transfers(&world, SOME_TRANSFERS);

    /* It starts again with the flags that it had. */
    cluster_kill(world.cluster, joined);
    world_restart(&world, joined);
    world_await_transfers(&world, SOME_TRANSFERS);

    uint32_t drained = world_await_leader(&world, 1);
    change_store(OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE, drained);
    await_replicas(drained, 0, 0);
    world_await_transfers(&world, SOME_TRANSFERS);
    change_store(OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, drained);
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    while (cluster_check(world.cluster, why) == OST_OK) {
        cr_assert_lt(bank_now_ns(), deadline_ns, "store %u does not stop by itself", drained);
        world_sleep_ms(10);
    }
    cr_expect(strstr(why, "exit status 0"), "%s", why);
    world_await_transfers(&world, SOME_TRANSFERS);
    world_assert_verdict(&world);
}
