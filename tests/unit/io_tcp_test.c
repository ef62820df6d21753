#include "base/random.h"
#include "io/tcp.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(io_tcp, .timeout = 120);

#define ENDS_CONNECTIONS_MAX 2048u

/* One side of the conversations: what its callbacks have seen. */
struct end {
    struct io_tcp *tcp;
    struct metrics metrics;
    bool echoes;
    bool any_order;
    size_t answer_bytes; /* when not 0: each frame is answered by this many bytes */

    uint64_t accepted_ids[ENDS_CONNECTIONS_MAX];
    unsigned accepted_count;
    unsigned connected_count;
    int connected_status;
    unsigned frames_count;
    uint64_t next_request_id; /* answers have to come in this order */
    unsigned mismatches_count;
    unsigned closed_count;
    uint64_t closed_id;
    int closed_status;
    size_t output_bytes_seen_max;
    char peer_address[IO_ADDRESS_TEXT_MAX];
};

static struct io_loop *loop;
static struct end server;
static struct end client;

/* What the payload of a request is, so that an answer can be checked without keeping it. */
static void payload_fill(uint64_t request_id, uint8_t *payload, size_t bytes_count)
{
    for (size_t i = 0; i < bytes_count; i++)
        payload[i] = (uint8_t)(request_id * 31 + i * 7 + (i >> 8));
}

static bool payload_check(uint64_t request_id, struct bytes payload)
{
    for (size_t i = 0; i < payload.bytes_count; i++)
        if (payload.data[i] != (uint8_t)(request_id * 31 + i * 7 + (i >> 8)))
            return false;
    return true;
}

static struct blob *frame_make(uint64_t request_id, size_t payload_bytes)
{
    uint8_t *payload = malloc(payload_bytes + 1);
    payload_fill(request_id, payload, payload_bytes);
    struct bytes bytes = bytes_of(payload, payload_bytes);
    struct blob *blob = frame_encode(FRAME_GET, request_id, NULL, &bytes, 1);
    free(payload);
    return blob;
}

static void on_accepted(void *context, uint64_t connection_id, const char *peer_address)
{
    struct end *end = context;
    cr_assert_lt(end->accepted_count, ENDS_CONNECTIONS_MAX);
    end->accepted_ids[end->accepted_count++] = connection_id;
    snprintf(end->peer_address, sizeof(end->peer_address), "%s", peer_address);
}

static void on_connected(void *context, uint64_t connection_id, int status)
{
    struct end *end = context;
    (void)connection_id;
    end->connected_count++;
    end->connected_status = status;
}

static void on_frame(void *context, uint64_t connection_id, const struct frame *frame)
{
    struct end *end = context;
    end->frames_count++;
    if (end->echoes) {
        struct blob *answer =
            frame_encode((uint16_t)(frame->type + 1), frame->request_id, NULL, &frame->payload, 1);
        io_tcp_send(end->tcp, connection_id, answer);
    } else if (end->answer_bytes > 0) {
        io_tcp_send(end->tcp, connection_id, frame_make(frame->request_id, end->answer_bytes));
    } else {
        bool in_order = end->any_order || frame->request_id == end->next_request_id++;
        if (!in_order || !payload_check(frame->request_id, frame->payload))
            end->mismatches_count++;
    }
    size_t output_bytes = io_tcp_output_bytes(end->tcp, connection_id);
    if (output_bytes > end->output_bytes_seen_max)
        end->output_bytes_seen_max = output_bytes;
}

static void on_closed(void *context, uint64_t connection_id, int status)
{
    struct end *end = context;
    end->closed_count++;
    end->closed_id = connection_id;
    end->closed_status = status;
}

static const struct io_tcp_callbacks callbacks = {
    .accepted = on_accepted, .connected = on_connected, .frame = on_frame, .closed = on_closed};

static void end_open(struct end *end, struct io_loop *its_loop, struct io_tcp_options *options)
{
    struct io_tcp_options defaults;
    io_tcp_options_default(&defaults);
    if (!options)
        options = &defaults;
    options->metrics = &end->metrics;
    cr_assert_eq(io_tcp_new(its_loop, options, &callbacks, end, &end->tcp), OST_OK);
}

static void address_of_server(char *text)
{
    sprintf(text, "127.0.0.1:%u", io_tcp_listen_port(server.tcp));
}

/* A server that echoes and a client of its own, in one loop. */
static void ends_open(struct io_tcp_options *options)
{
    cr_assert_eq(io_loop_new(&loop), OST_OK);
    end_open(&server, loop, options);
    end_open(&client, loop, NULL);
    server.echoes = true;
    cr_assert_eq(io_tcp_listen(server.tcp, "127.0.0.1:0"), OST_OK);
    cr_assert_neq(io_tcp_listen_port(server.tcp), 0);
}

static void ends_close(void)
{
    io_tcp_free(client.tcp);
    io_tcp_free(server.tcp);
    cr_assert_eq(server.metrics.connections_open_count, 0);
    cr_assert_eq(client.metrics.connections_open_count, 0);
    io_loop_free(loop);
}

#define TURN_UNTIL(condition)                                                                      \
    while (!(condition))                                                                           \
    io_loop_turn(loop, NS_NEVER)

static uint64_t client_connect(void)
{
    char address[64];
    uint64_t id;
    unsigned before_count = client.connected_count;
    unsigned accepted_before_count = server.accepted_count;
    address_of_server(address);
    cr_assert_eq(io_tcp_connect(client.tcp, address, &id), OST_OK);
    cr_assert_eq(client.connected_count, before_count, "never before io_tcp_connect returns");
    TURN_UNTIL(client.connected_count > before_count &&
               server.accepted_count > accepted_before_count);
    cr_assert_eq(client.connected_status, OST_OK);
    return id;
}

static void client_echo(uint64_t id, size_t payload_bytes)
{
    unsigned before_count = client.frames_count;
    io_tcp_send(client.tcp, id, frame_make(client.next_request_id, payload_bytes));
    TURN_UNTIL(client.frames_count > before_count);
    cr_assert_eq(client.mismatches_count, 0);
}

/* A peer that is no io_tcp: it can break every rule. */
static int raw_connect(void)
{
    unsigned before_count = server.accepted_count;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(io_tcp_listen_port(server.tcp)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    TURN_UNTIL(server.accepted_count > before_count);
    return fd;
}

static void raw_send(int fd, const void *data, size_t bytes_count)
{
    cr_assert_eq(send(fd, data, bytes_count, MSG_NOSIGNAL), (ssize_t)bytes_count);
}

static unsigned descriptors_count(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

Test(io_tcp, echoes_frames_of_every_size)
{
    ends_open(NULL);
    uint64_t id = client_connect();
    cr_assert_eq(strncmp(server.peer_address, "127.0.0.1:", 10), 0);
    size_t sizes[] = {0,     1,     31,    32,    33,        1000,      16351,  16352,   16353,
                      16384, 32768, 65503, 65504, 65536 - 1, 65536 + 1, 100000, 1 << 20, 5 << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        client_echo(id, sizes[i]);
    client_echo(id, 40u << 20);
    cr_assert_eq(server.metrics.frames_received_count, sizeof(sizes) / sizeof(sizes[0]) + 1);
    cr_assert_eq(server.metrics.frames_sent_count, sizeof(sizes) / sizeof(sizes[0]) + 1);
    cr_assert_eq(io_tcp_output_bytes(client.tcp, id), 0);
    ends_close();
}

Test(io_tcp, pipelined_frames_keep_their_order)
{
    enum { FRAMES_COUNT = 30000 };
    /* Little output stops the reading, so that frames are held back all the time. */
    struct io_tcp_options options;
    io_tcp_options_default(&options);
    options.output_bytes_high = 50000;
    ends_open(&options);
    uint64_t id = client_connect();
    struct random random;
    random_init(&random, 5);
    for (uint64_t i = 0; i < FRAMES_COUNT; i++)
        io_tcp_send(client.tcp, id, frame_make(i, random_below(&random, 3000)));
    TURN_UNTIL(client.frames_count == FRAMES_COUNT);
    cr_assert_eq(client.mismatches_count, 0);
    cr_assert_eq(server.frames_count, FRAMES_COUNT);
    cr_assert_lt(server.output_bytes_seen_max, 50000 + 4000);
    ends_close();
}

Test(io_tcp, many_connections_share_the_receive_buffers)
{
    /* Together far more than the buffers hold. */
    enum { CONNECTIONS_COUNT = 200, FRAME_BYTES = 200000 };
    ends_open(NULL);
    uint64_t ids[CONNECTIONS_COUNT];
    for (unsigned i = 0; i < CONNECTIONS_COUNT; i++)
        ids[i] = client_connect();
    server.echoes = false;
    server.any_order = true;
    for (unsigned i = 0; i < CONNECTIONS_COUNT; i++)
        io_tcp_send(client.tcp, ids[i], frame_make(i, FRAME_BYTES));
    TURN_UNTIL(server.frames_count == CONNECTIONS_COUNT);
    cr_assert_eq(server.mismatches_count, 0);
    cr_assert_eq(server.closed_count, 0);
    ends_close();
}

Test(io_tcp, a_frame_may_come_byte_by_byte)
{
    ends_open(NULL);
    server.echoes = false;
    int fd = raw_connect();
    struct blob *first = frame_make(0, 50);
    struct blob *second = frame_make(1, 3);
    for (size_t i = 0; i < first->bytes_count; i++) {
        raw_send(fd, first->data + i, 1);
        io_loop_turn(loop, io_loop_now_ns(loop) + NS_PER_MS);
    }
    TURN_UNTIL(server.frames_count == 1);
    raw_send(fd, second->data, second->bytes_count);
    TURN_UNTIL(server.frames_count == 2);
    cr_assert_eq(server.mismatches_count, 0);
    blob_unref(first);
    blob_unref(second);
    close(fd);
    TURN_UNTIL(server.closed_count == 1);
    cr_assert_eq(server.closed_status, OST_DISCONNECTED);
    cr_assert_eq(server.metrics.connections_rejected_count, 0);
    ends_close();
}

/* Sends what is bad, and sees that this connection alone is closed, and why. */
static void expect_closed(const void *data, size_t bytes_count, bool ends, int status)
{
    uint64_t good_id = client_connect();
    unsigned closed_before_count = server.closed_count;
    uint64_t rejected_before_count = server.metrics.connections_rejected_count;
    int fd = raw_connect();
    uint64_t bad_id = server.accepted_ids[server.accepted_count - 1];
    raw_send(fd, data, bytes_count);
    if (ends)
        shutdown(fd, SHUT_WR);
    TURN_UNTIL(server.closed_count > closed_before_count);
    cr_expect_eq(server.closed_id, bad_id);
    cr_expect_eq(server.closed_status, status);
    cr_expect_eq(server.metrics.connections_rejected_count - rejected_before_count,
                 status == OST_PROTOCOL ? 1 : 0);
    char byte;
    ssize_t got;
    while ((got = recv(fd, &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
        io_loop_turn(loop, io_loop_now_ns(loop) + NS_PER_MS);
    cr_expect_leq(got, 0, "the peer sees the end");
    close(fd);
    client_echo(good_id, 100);
    io_tcp_close(client.tcp, good_id, false);
    TURN_UNTIL(server.closed_count == closed_before_count + 2);
}

Test(io_tcp, bad_input_closes_that_connection_alone)
{
    ends_open(NULL);
    struct random random;
    random_init(&random, 17);
    uint8_t noise[5000];
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)random_next(&random);
    expect_closed(noise, sizeof(noise), false, OST_PROTOCOL);
    expect_closed("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n", 48, false,
                  OST_PROTOCOL);

    struct blob *frame = frame_make(1, 3000);
    expect_closed(frame->data, 1000, true, OST_DISCONNECTED); /* half a frame */
    expect_closed(frame->data, 10, true, OST_DISCONNECTED);   /* half a header */
    expect_closed(frame->data, 0, true, OST_DISCONNECTED);

    uint8_t *copy = malloc(frame->bytes_count);
    memcpy(copy, frame->data, frame->bytes_count);
    copy[frame->bytes_count - 1] ^= 1; /* wrong checksum, in one buffer */
    expect_closed(copy, frame->bytes_count, false, OST_PROTOCOL);
    memcpy(copy, frame->data, frame->bytes_count);
    memset(copy + 12, 0xff, 4); /* a length over the limit */
    expect_closed(copy, frame->bytes_count, false, OST_PROTOCOL);
    memcpy(copy, frame->data, frame->bytes_count);
    copy[4]++; /* another version */
    expect_closed(copy, frame->bytes_count, false, OST_PROTOCOL);
    free(copy);
    blob_unref(frame);

    frame = frame_make(1, 100000); /* wrong checksum, put together of several */
    frame->data[frame->bytes_count - 1] ^= 1;
    expect_closed(frame->data, frame->bytes_count, false, OST_PROTOCOL);
    blob_unref(frame);
    cr_assert_eq(server.metrics.connections_open_count, 0);
    ends_close();
}

Test(io_tcp, a_bad_header_that_comes_in_two_parts_is_rejected)
{
    ends_open(NULL);
    int fd = raw_connect();
    struct blob *frame = frame_make(1, 10);
    memset(frame->data + 12, 0xff, 4);
    raw_send(fd, frame->data, 20);
    io_loop_turn(loop, NS_NEVER);
    cr_assert_eq(server.closed_count, 0);
    raw_send(fd, frame->data + 20, frame->bytes_count - 20);
    TURN_UNTIL(server.closed_count == 1);
    cr_assert_eq(server.closed_status, OST_PROTOCOL);
    blob_unref(frame);
    close(fd);
    ends_close();
}

Test(io_tcp, a_peer_that_does_not_read_is_not_read)
{
    enum { REQUESTS_COUNT = 2000, ANSWER_BYTES = 64000 };
    const size_t frame_bytes = FRAME_HEADER_BYTES + ANSWER_BYTES;
    ends_open(NULL);
    server.echoes = false;
    server.answer_bytes = ANSWER_BYTES;
    int fd = raw_connect();
    uint64_t id = server.accepted_ids[0];
    for (uint64_t i = 0; i < REQUESTS_COUNT; i++) {
        struct blob *request = frame_make(i, 0);
        raw_send(fd, request->data, request->bytes_count);
        blob_unref(request);
    }
    /* Until nothing moves any more; then it is far from having answered all. */
    unsigned before_count;
    do {
        before_count = server.frames_count;
        for (int i = 0; i < 10; i++)
            io_loop_turn(loop, io_loop_now_ns(loop) + 5 * NS_PER_MS);
    } while (server.frames_count > before_count);
    cr_assert_lt(server.frames_count, REQUESTS_COUNT);
    cr_assert_gt(io_tcp_output_bytes(server.tcp, id), 0);
    /* An answer takes little more than its own bytes, so this bounds the memory. */
    cr_assert_leq(server.output_bytes_seen_max, (1u << 20) + frame_bytes);

    /* Once it reads, everything comes, in order. */
    uint8_t *data = malloc(frame_bytes * 4);
    size_t data_bytes = 0;
    unsigned answers_count = 0;
    while (answers_count < REQUESTS_COUNT) {
        ssize_t got = recv(fd, data + data_bytes, frame_bytes * 4 - data_bytes, MSG_DONTWAIT);
        if (got < 0) {
            cr_assert_eq(errno, EAGAIN);
            io_loop_turn(loop, io_loop_now_ns(loop) + NS_PER_MS);
            continue;
        }
        cr_assert_gt(got, 0);
        data_bytes += (size_t)got;
        while (data_bytes >= frame_bytes) {
            struct frame frame;
            const char *why;
            cr_assert_eq(frame_decode(bytes_of(data, frame_bytes), &frame, &why), OST_OK);
            cr_assert_eq(frame.request_id, answers_count++);
            data_bytes -= frame_bytes;
            memmove(data, data + frame_bytes, data_bytes);
        }
    }
    cr_assert_leq(server.output_bytes_seen_max, (1u << 20) + frame_bytes);
    free(data);
    close(fd);
    ends_close();
}

Test(io_tcp, too_much_output_closes_the_connection)
{
    struct io_tcp_options options;
    io_tcp_options_default(&options);
    options.output_bytes_max = 20u << 20;
    ends_open(&options);
    int fd = raw_connect();
    uint64_t id = server.accepted_ids[0];
    io_tcp_send(server.tcp, id, frame_make(0, 19u << 20));
    io_loop_turn(loop, 0);
    cr_assert_eq(server.closed_count, 0);
    for (int i = 0; i < 4; i++)
        io_tcp_send(server.tcp, id, frame_make(1, 10u << 20));
    cr_assert_eq(server.closed_count, 0, "no callback inside of a call");
    TURN_UNTIL(server.closed_count == 1);
    cr_assert_eq(server.closed_id, id);
    cr_assert_eq(server.closed_status, OST_BUSY);
    cr_assert_eq(io_tcp_output_bytes(server.tcp, id), 0);
    close(fd);
    ends_close();
}

Test(io_tcp, closing_with_a_send_in_flight_waits_for_the_kernel)
{
    unsigned before_count = descriptors_count();
    ends_open(NULL);
    for (int i = 0; i < 20; i++) {
        int fd = raw_connect();
        uint64_t id = server.accepted_ids[server.accepted_count - 1];
        for (int frames = 0; frames < 3; frames++)
            io_tcp_send(server.tcp, id, frame_make(0, 8u << 20));
        io_loop_turn(loop, 0); /* now it is in flight, and stays there */
        if (i % 2 == 0)
            io_tcp_close(server.tcp, id, false);
        cr_assert_eq(io_tcp_output_bytes(server.tcp, id) > 0, i % 2 == 1);
        close(fd);
        io_tcp_send(server.tcp, id, frame_make(0, 100)); /* dropped when it is gone */
    }
    TURN_UNTIL(server.closed_count == 10);
    ends_close();
    cr_assert_eq(descriptors_count(), before_count);
}

Test(io_tcp, free_with_everything_in_flight)
{
    unsigned before_count = descriptors_count();
    ends_open(NULL);
    char address[64];
    address_of_server(address);
    uint64_t id = client_connect();
    int fd = raw_connect();
    uint64_t raw_id = server.accepted_ids[1];
    io_tcp_send(server.tcp, raw_id, frame_make(0, 30u << 20));
    io_tcp_send(client.tcp, id, frame_make(0, 30u << 20));
    io_loop_turn(loop, 0);
    uint64_t connecting_id;
    cr_assert_eq(io_tcp_connect(client.tcp, address, &connecting_id), OST_OK);
    io_tcp_send(client.tcp, connecting_id, frame_make(0, 10));
    io_tcp_close(server.tcp, raw_id, true);
    ends_close();
    cr_assert_eq(server.closed_count, 0);
    cr_assert_eq(client.closed_count, 0);
    close(fd);
    cr_assert_eq(descriptors_count(), before_count);
}

Test(io_tcp, close_after_output_delivers_all_of_it)
{
    enum { FRAME_BYTES = 3000000 };
    ends_open(NULL);
    server.echoes = false;
    int fd = raw_connect();
    uint64_t id = server.accepted_ids[0];
    struct blob *ignored = frame_make(0, 1000);
    io_tcp_send(server.tcp, id, frame_make(0, FRAME_BYTES));
    io_tcp_close(server.tcp, id, true);
    io_tcp_send(server.tcp, id, frame_make(1, 10)); /* too late */
    /* Input that nobody reads must not turn the end into a reset. */
    raw_send(fd, ignored->data, ignored->bytes_count);
    size_t total_bytes = 0;
    static uint8_t data[65536];
    for (;;) {
        ssize_t got = recv(fd, data, sizeof(data), MSG_DONTWAIT);
        if (got < 0) {
            cr_assert_eq(errno, EAGAIN, "%s", strerror(errno));
            io_loop_turn(loop, io_loop_now_ns(loop) + NS_PER_MS);
            continue;
        }
        if (got == 0)
            break;
        total_bytes += (size_t)got;
    }
    cr_assert_eq(total_bytes, FRAME_BYTES + FRAME_HEADER_BYTES);
    close(fd);
    TURN_UNTIL(server.metrics.connections_open_count == 0);
    cr_assert_eq(server.closed_count, 0, "no callback follows io_tcp_close");
    cr_assert_eq(server.frames_count, 0);
    blob_unref(ignored);
    ends_close();
}

Test(io_tcp, close_after_output_waits_for_the_peer_to_close)
{
    ends_open(NULL);
    int fd = raw_connect();
    uint64_t id = server.accepted_ids[0];
    io_tcp_send(server.tcp, id, frame_make(0, 1000));
    TURN_UNTIL(io_tcp_output_bytes(server.tcp, id) == 0);
    io_tcp_close(server.tcp, id, true);
    io_loop_turn(loop, 0);
    /* Were the socket closed already, this would be answered by a reset. */
    raw_send(fd, "late", 4);
    io_loop_turn(loop, NS_NEVER);
    uint8_t data[2000];
    cr_assert_eq(recv(fd, data, 1000 + FRAME_HEADER_BYTES, MSG_WAITALL), 1000 + FRAME_HEADER_BYTES);
    cr_assert_eq(recv(fd, data, sizeof(data), 0), 0);
    cr_assert_eq(server.metrics.connections_open_count, 1);
    close(fd);
    TURN_UNTIL(server.metrics.connections_open_count == 0);
    ends_close();
}

Test(io_tcp, close_after_output_is_bounded)
{
    ends_open(NULL);
    int fd = raw_connect();
    uint64_t id = server.accepted_ids[0];
    io_tcp_send(server.tcp, id, frame_make(0, 30u << 20));
    io_tcp_close(server.tcp, id, true);
    /* The peer neither reads nor closes. */
    TURN_UNTIL(server.metrics.connections_open_count == 0);
    close(fd);
    ends_close();
}

/* A port on which nobody listens. */
static uint16_t dead_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof(address);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &address_bytes), 0);
    close(fd);
    return ntohs(address.sin_port);
}

Test(io_tcp, connecting_to_a_dead_port_is_reported)
{
    unsigned before_count = descriptors_count();
    ends_open(NULL);
    char address[64];
    uint64_t id;
    sprintf(address, "127.0.0.1:%u", dead_port());
    cr_assert_eq(io_tcp_connect(client.tcp, address, &id), OST_OK);
    io_tcp_send(client.tcp, id, frame_make(0, 10));
    TURN_UNTIL(client.connected_count == 1);
    cr_assert_eq(client.connected_status, OST_DISCONNECTED);
    cr_assert_eq(client.closed_count, 0);
    /* Closed before it is decided: no callback. */
    cr_assert_eq(io_tcp_connect(client.tcp, address, &id), OST_OK);
    io_tcp_close(client.tcp, id, false);
    cr_assert_eq(io_tcp_connect(client.tcp, address, &id), OST_OK);
    io_tcp_close(client.tcp, id, true);
    TURN_UNTIL(client.metrics.connections_open_count == 0);
    cr_assert_eq(client.connected_count, 1);
    ends_close();
    cr_assert_eq(descriptors_count(), before_count);
}

Test(io_tcp, frames_queued_while_connecting_are_sent)
{
    ends_open(NULL);
    server.echoes = false;
    char address[64];
    uint64_t id;
    sprintf(address, "127.0.0.1:%u", io_tcp_listen_port(server.tcp));
    cr_assert_eq(io_tcp_connect(client.tcp, address, &id), OST_OK);
    io_tcp_send(client.tcp, id, frame_make(0, 10));
    io_tcp_send(client.tcp, id, frame_make(1, 10));
    io_tcp_close(client.tcp, id, true);
    TURN_UNTIL(server.frames_count == 2 && server.closed_count == 1);
    cr_assert_eq(server.mismatches_count, 0);
    ends_close();
}

Test(io_tcp, a_port_in_use_is_reported)
{
    ends_open(NULL);
    char address[64];
    address_of_server(address);
    cr_assert_eq(io_tcp_listen(client.tcp, address), OST_ADDRESS_IN_USE);
    /* It can be had again at once, with connections left in the kernel. */
    uint64_t id = client_connect();
    client_echo(id, 10);
    io_tcp_listen_stop(server.tcp);
    cr_assert_eq(io_tcp_listen_port(server.tcp), 0);
    io_loop_turn(loop, 0);
    cr_assert_eq(io_tcp_listen(client.tcp, address), OST_OK);
    client_echo(id, 10);
    ends_close();
}

Test(io_tcp, addresses_that_do_not_parse_are_refused)
{
    static const char *const addresses[] = {"",
                                            "127.0.0.1",
                                            ":",
                                            "127.0.0.1:",
                                            "127.0.0.1:x",
                                            "127.0.0.1:70000",
                                            "::1:80",
                                            "[::1:80",
                                            "127.0.0.1:80 ",
                                            "127.0.0.1:0",
                                            ":80"};
    ends_open(NULL);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        uint64_t id;
        cr_expect_eq(io_tcp_connect(client.tcp, addresses[i], &id), OST_INVALID_ARGUMENT, "%s",
                     addresses[i]);
    }
    cr_assert_eq(io_tcp_listen(server.tcp, "127.0.0.1:0"), OST_INVALID_ARGUMENT);
    cr_assert_eq(io_tcp_listen(client.tcp, "nonsense"), OST_INVALID_ARGUMENT);
    /* Empty for all. */
    cr_assert_eq(io_tcp_listen(client.tcp, ":0"), OST_OK);
    char address[64];
    uint64_t id;
    sprintf(address, "127.0.0.1:%u", io_tcp_listen_port(client.tcp));
    cr_assert_eq(io_tcp_connect(server.tcp, address, &id), OST_OK);
    TURN_UNTIL(client.accepted_count == 1);
    cr_assert_eq(strncmp(client.peer_address, "127.0.0.1:", 10), 0, "%s", client.peer_address);
    ends_close();
}

Test(io_tcp, hundreds_of_connections_come_and_go)
{
    enum { ROUNDS_COUNT = 3, CONNECTIONS_COUNT = 250 };
    ends_open(NULL);
    unsigned before_count = descriptors_count();
    uint64_t ids[CONNECTIONS_COUNT];
    uint64_t id_before = 0;
    for (unsigned round = 0; round < ROUNDS_COUNT; round++) {
        unsigned closed_before_count = server.closed_count;
        for (unsigned i = 0; i < CONNECTIONS_COUNT; i++) {
            ids[i] = client_connect();
            cr_assert_gt(ids[i], id_before, "ids are never used again");
            id_before = ids[i];
        }
        cr_assert_eq(server.metrics.connections_open_count, CONNECTIONS_COUNT);
        for (unsigned i = 0; i < CONNECTIONS_COUNT; i++)
            client_echo(ids[i], 10);
        for (unsigned i = 0; i < CONNECTIONS_COUNT; i++)
            io_tcp_close(client.tcp, ids[i], i % 2 == 0);
        TURN_UNTIL(server.closed_count == closed_before_count + CONNECTIONS_COUNT &&
                   client.metrics.connections_open_count == 0);
    }
    io_loop_turn(loop, 0);
    cr_assert_eq(descriptors_count(), before_count);
    ends_close();
}

Test(io_tcp, connections_over_the_limit_are_closed)
{
    struct io_tcp_options options;
    io_tcp_options_default(&options);
    options.connections_count_max = 2;
    ends_open(&options);
    uint64_t first = client_connect();
    uint64_t second = client_connect();
    char address[64];
    uint64_t third;
    address_of_server(address);
    cr_assert_eq(io_tcp_connect(client.tcp, address, &third), OST_OK);
    TURN_UNTIL(client.closed_count == 1);
    cr_assert_eq(client.closed_id, third);
    cr_assert_eq(server.accepted_count, 2);
    cr_assert_eq(server.metrics.connections_rejected_count, 1);
    client_echo(first, 10);
    client_echo(second, 10);
    io_tcp_close(client.tcp, first, false);
    TURN_UNTIL(server.closed_count == 1);
    io_loop_turn(loop, 0);
    client_echo(client_connect(), 10);
    ends_close();
}

Test(io_tcp, more_requests_than_the_submission_queue_holds)
{
    /* Each connection has a receive in flight; closing all of them at once cancels them all. */
    enum { CONNECTIONS_COUNT = 1500 };
    unsigned before_count = descriptors_count();
    ends_open(NULL);
    char address[64];
    address_of_server(address);
    client.any_order = true;
    uint64_t ids[CONNECTIONS_COUNT];
    for (unsigned i = 0; i < CONNECTIONS_COUNT; i++) {
        cr_assert_eq(io_tcp_connect(client.tcp, address, &ids[i]), OST_OK);
        io_tcp_send(client.tcp, ids[i], frame_make(0, 100));
    }
    TURN_UNTIL(client.frames_count == CONNECTIONS_COUNT);
    for (unsigned i = 0; i < CONNECTIONS_COUNT; i++)
        io_tcp_send(client.tcp, ids[i], frame_make(0, 100));
    TURN_UNTIL(client.frames_count == 2 * CONNECTIONS_COUNT);
    cr_assert_eq(client.mismatches_count, 0);
    ends_close();
    cr_assert_eq(descriptors_count(), before_count);
}

Test(io_tcp, accepting_goes_on_after_descriptors_ran_out)
{
    ends_open(NULL);
    char address[64];
    uint64_t id;
    address_of_server(address);
    cr_assert_eq(io_tcp_connect(client.tcp, address, &id), OST_OK);
    /* The client's socket was the last one. */
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t all = limit.rlim_cur;
    int highest = dup(0);
    close(highest);
    limit.rlim_cur = (rlim_t)highest;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    TURN_UNTIL(client.connected_count == 1);
    nanoseconds_t end_ns = io_loop_now_ns(loop) + 30 * NS_PER_MS;
    while (io_loop_now_ns(loop) < end_ns)
        io_loop_turn(loop, end_ns);
    cr_assert_eq(server.accepted_count, 0);
    limit.rlim_cur = all;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    TURN_UNTIL(server.accepted_count == 1);
    client_echo(id, 10);
    ends_close();
}

Test(io_tcp, freeing_one_keeps_the_completions_of_another)
{
    ends_open(NULL);
    uint64_t id = client_connect();
    struct end third;
    memset(&third, 0, sizeof(third));
    end_open(&third, loop, NULL);
    char address[64];
    uint64_t third_id;
    address_of_server(address);
    cr_assert_eq(io_tcp_connect(third.tcp, address, &third_id), OST_OK);
    TURN_UNTIL(third.connected_count == 1 && server.accepted_count == 2);
    /* The server's receive completes while the third one is drained, outside of a turn. */
    io_tcp_send(client.tcp, id, frame_make(0, 5000));
    io_loop_turn(loop, 0);
    io_tcp_free(third.tcp);
    unsigned frames_count = server.frames_count;
    cr_assert_eq(server.closed_count, 0, "no callback outside of a turn");
    cr_assert_leq(frames_count, 1);
    TURN_UNTIL(client.frames_count == 1 && server.closed_count == 1);
    cr_assert_eq(client.mismatches_count, 0);
    ends_close();
}

Test(io_tcp, serves_ipv6)
{
    ends_open(NULL);
    int status = io_tcp_listen(client.tcp, "[::1]:0");
    if (status == OST_OK) { /* a machine may have none */
        char address[64];
        uint64_t id;
        sprintf(address, "[::1]:%u", io_tcp_listen_port(client.tcp));
        cr_assert_eq(io_tcp_connect(server.tcp, address, &id), OST_OK);
        TURN_UNTIL(client.accepted_count == 1 && server.connected_count == 1);
        cr_assert_eq(server.connected_status, OST_OK);
        cr_assert_eq(strncmp(client.peer_address, "[::1]:", 6), 0);
    }
    ends_close();
}

/* A server with a loop and a thread of its own. */
struct other_thread {
    struct io_wakeup *_Atomic stop;
    _Atomic uint16_t port;
    _Atomic bool signalled; /* io_wakeup_signal has returned, so the wake-up may go */
    bool stopping;
};

static void other_stop(void *context)
{
    struct other_thread *other = context;
    other->stopping = true;
}

static void *other_run(void *context)
{
    struct other_thread *other = context;
    struct io_loop *other_loop;
    struct io_wakeup *stop;
    cr_assert_eq(io_loop_new(&other_loop), OST_OK);
    end_open(&server, other_loop, NULL);
    server.echoes = true;
    cr_assert_eq(io_tcp_listen(server.tcp, "127.0.0.1:0"), OST_OK);
    cr_assert_eq(io_wakeup_new(other_loop, other_stop, other, &stop), OST_OK);
    atomic_store(&other->stop, stop);
    atomic_store(&other->port, io_tcp_listen_port(server.tcp));
    while (!other->stopping)
        io_loop_turn(other_loop, NS_NEVER);
    while (!atomic_load(&other->signalled))
        sched_yield();
    io_tcp_free(server.tcp);
    io_wakeup_free(stop);
    io_loop_free(other_loop);
    return NULL;
}

Test(io_tcp, two_loops_talk)
{
    enum { FRAMES_COUNT = 5000 };
    struct other_thread other = {NULL, 0, false, false};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, other_run, &other), 0);
    while (atomic_load(&other.port) == 0)
        sched_yield();
    cr_assert_eq(io_loop_new(&loop), OST_OK);
    end_open(&client, loop, NULL);
    char address[64];
    uint64_t id;
    sprintf(address, "127.0.0.1:%u", atomic_load(&other.port));
    cr_assert_eq(io_tcp_connect(client.tcp, address, &id), OST_OK);
    struct random random;
    random_init(&random, 9);
    for (uint64_t i = 0; i < FRAMES_COUNT; i++)
        io_tcp_send(client.tcp, id,
                    frame_make(i, i % 500 == 0 ? 3u << 20 : random_below(&random, 5000)));
    TURN_UNTIL(client.frames_count == FRAMES_COUNT);
    cr_assert_eq(client.mismatches_count, 0);
    io_wakeup_signal(atomic_load(&other.stop));
    atomic_store(&other.signalled, true);
    pthread_join(thread, NULL);
    TURN_UNTIL(client.closed_count == 1);
    cr_assert_eq(client.closed_status, OST_DISCONNECTED);
    io_tcp_free(client.tcp);
    io_loop_free(loop);
}
