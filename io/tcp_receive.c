#include "io/tcp_internal.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#define RECEIVE_RING_BYTES (RECEIVE_BUFFERS_COUNT * sizeof(struct io_uring_buf))
/* The first memory for a frame that lies in several buffers. */
#define INPUT_BYTES_MIN 65536u

static void *memory_map(size_t bytes_count)
{
    void *memory =
        mmap(NULL, bytes_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void receive_buffer_give(struct io_tcp *tcp, uint16_t place, int ahead_count)
{
    io_uring_buf_ring_add(tcp->buffer_ring, tcp->buffers + (size_t)place * RECEIVE_BUFFER_BYTES,
                          RECEIVE_BUFFER_BYTES, place,
                          io_uring_buf_ring_mask(RECEIVE_BUFFERS_COUNT), ahead_count);
}

int tcp_receive_buffers_new(struct io_tcp *tcp)
{
    tcp->buffer_ring = memory_map(RECEIVE_RING_BYTES);
    tcp->buffers = memory_map((size_t)RECEIVE_BUFFERS_COUNT * RECEIVE_BUFFER_BYTES);
    ASSERT(tcp->buffer_ring && tcp->buffers);
    tcp->buffer_group = io_loop_buffer_group_new(tcp->loop);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)tcp->buffer_ring,
        .ring_entries = RECEIVE_BUFFERS_COUNT,
        .bgid = tcp->buffer_group,
    };
    int result = io_uring_register_buf_ring(io_loop_ring(tcp->loop), &registration, 0);
    if (result < 0) {
        log_write(LOG_ERROR, "cannot register receive buffers", "reason=\"%s\"", strerror(-result));
        munmap(tcp->buffer_ring, RECEIVE_RING_BYTES);
        munmap(tcp->buffers, (size_t)RECEIVE_BUFFERS_COUNT * RECEIVE_BUFFER_BYTES);
        return OST_IO;
    }
    io_uring_buf_ring_init(tcp->buffer_ring);
    for (uint16_t i = 0; i < RECEIVE_BUFFERS_COUNT; i++)
        receive_buffer_give(tcp, i, i);
    io_uring_buf_ring_advance(tcp->buffer_ring, RECEIVE_BUFFERS_COUNT);
    return OST_OK;
}

void tcp_receive_buffers_free(struct io_tcp *tcp)
{
    (void)io_uring_unregister_buf_ring(io_loop_ring(tcp->loop), tcp->buffer_group);
    munmap(tcp->buffer_ring, RECEIVE_RING_BYTES);
    munmap(tcp->buffers, (size_t)RECEIVE_BUFFERS_COUNT * RECEIVE_BUFFER_BYTES);
}

void tcp_receive_arm(struct tcp_connection *connection)
{
    ASSERT(!connection->receive_armed);
    struct io_uring_sqe *sqe = io_loop_sqe(connection->tcp->loop);
    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = connection->tcp->buffer_group;
    io_loop_sqe_own(sqe, &connection->receive_operation);
    connection->receive_armed = true;
    tcp_request_begin(connection);
}

void tcp_receive_drop(struct tcp_connection *connection)
{
    buffer_fini(&connection->input);
    buffer_init(&connection->input);
    buffer_fini(&connection->held);
    buffer_init(&connection->held);
    connection->held_offset = 0;
    connection->header_bytes = 0;
    connection->frame_bytes = 0;
}

/* One log line, one count, and the end of this connection alone. */
static void receive_reject(struct tcp_connection *connection, const char *why)
{
    log_write(LOG_WARN, "closed a connection because of bad input",
              "connection=%" PRIu64 " why=\"%s\"", connection->id, why ? why : "unknown");
    connection->tcp->metrics->connections_rejected_count++;
    tcp_connection_fail(connection, OST_PROTOCOL);
}

static void receive_deliver(struct tcp_connection *connection, struct bytes bytes)
{
    struct io_tcp *tcp = connection->tcp;
    struct frame frame;
    const char *why = NULL;
    if (frame_decode(bytes, &frame, &why) != OST_OK) {
        receive_reject(connection, why);
        return;
    }
    tcp->metrics->frames_received_count++;
    tcp->delivering = connection;
    tcp->callbacks.frame(tcp->context, connection->id, &frame);
    tcp->delivering = NULL;
}

/* Appends, growing step by step: a peer has to send half of what it makes us hold. */
static void input_append(struct tcp_connection *connection, const uint8_t *data, size_t bytes_count)
{
    struct buffer *input = &connection->input;
    size_t needed = input->bytes_count + bytes_count;
    if (needed > input->capacity_bytes) {
        size_t capacity = needed * 2 > INPUT_BYTES_MIN ? needed * 2 : INPUT_BYTES_MIN;
        if (capacity > connection->frame_bytes)
            capacity = connection->frame_bytes;
        buffer_reserve(input, capacity - input->bytes_count);
    }
    buffer_append(input, data, bytes_count);
}

/* Goes on with a frame whose beginning came before. Returns how many bytes it took. */
static size_t receive_assemble(struct tcp_connection *connection, struct bytes rest)
{
    size_t taken = 0;
    if (connection->frame_bytes == 0) {
        taken = FRAME_HEADER_BYTES - connection->header_bytes;
        if (taken > rest.bytes_count)
            taken = rest.bytes_count;
        memcpy(connection->header + connection->header_bytes, rest.data, taken);
        connection->header_bytes += taken;
        if (connection->header_bytes < FRAME_HEADER_BYTES)
            return taken;
        const char *why = NULL;
        if (frame_measure(bytes_of(connection->header, FRAME_HEADER_BYTES),
                          connection->tcp->options.frame_bytes_max, &connection->frame_bytes,
                          &why) != OST_OK) {
            receive_reject(connection, why);
            return taken;
        }
        input_append(connection, connection->header, FRAME_HEADER_BYTES);
    }
    size_t more = connection->frame_bytes - connection->input.bytes_count;
    if (more > rest.bytes_count - taken)
        more = rest.bytes_count - taken;
    if (more > 0)
        input_append(connection, rest.data + taken, more);
    if (connection->input.bytes_count == connection->frame_bytes) {
        /* The user may close the connection meanwhile, so its memory is taken from it first. */
        struct buffer whole = connection->input;
        buffer_init(&connection->input);
        connection->header_bytes = 0;
        connection->frame_bytes = 0;
        receive_deliver(connection, buffer_bytes(&whole));
        buffer_fini(&whole);
    }
    return taken + more;
}

/* Takes a frame where it lies when all of it is there. Returns how many bytes it took. */
static size_t receive_in_place(struct tcp_connection *connection, struct bytes rest)
{
    size_t frame_bytes = 0;
    const char *why = NULL;
    int status = frame_measure(rest, connection->tcp->options.frame_bytes_max, &frame_bytes, &why);
    if (status == OST_OK && rest.bytes_count >= frame_bytes) {
        receive_deliver(connection, bytes_of(rest.data, frame_bytes));
        return frame_bytes;
    }
    if (status != OST_OK && status != OST_WOULD_BLOCK) {
        receive_reject(connection, why);
        return 0;
    }
    return receive_assemble(connection, rest);
}

/* Hands over the whole frames and keeps the beginning of the next one. Returns how many bytes it
 * took: all, unless the connection was paused or closed by what it handed over. */
static size_t receive_bytes(struct tcp_connection *connection, struct bytes bytes)
{
    size_t taken = 0;
    while (taken < bytes.bytes_count && connection->state == CONNECTION_OPEN &&
           !connection->receive_paused) {
        struct bytes rest = bytes_of(bytes.data + taken, bytes.bytes_count - taken);
        if (connection->header_bytes > 0)
            taken += receive_assemble(connection, rest);
        else
            taken += receive_in_place(connection, rest);
    }
    return taken;
}

static void receive_data(struct tcp_connection *connection, struct bytes bytes)
{
    ASSERT(connection->held.bytes_count == 0 || connection->receive_paused); /* C5 */
    size_t taken = receive_bytes(connection, bytes);
    if (taken < bytes.bytes_count && connection->state == CONNECTION_OPEN)
        buffer_append(&connection->held, bytes.data + taken, bytes.bytes_count - taken);
}

/* The peer has closed, or the socket failed, or the request ended for a reason of our own. */
static void receive_stopped(struct tcp_connection *connection, int result)
{
    /* ENOBUFS: all buffers were in use; they are back by the end of the turn, when the next receive
     * is armed. ECANCELED: a pause. */
    if (result == -ENOBUFS || result == -ECANCELED || result == -EINTR || result == -EAGAIN)
        return;
    connection->receive_ended = true;
    if (connection->state == CONNECTION_OPEN)
        tcp_connection_fail(connection, OST_DISCONNECTED);
    else if (connection->state == CONNECTION_LINGERING)
        tcp_connection_linger_step(connection);
}

void tcp_receive_complete(struct io_operation *operation, int result, uint32_t flags)
{
    struct tcp_connection *connection =
        CONTAINER_OF(operation, struct tcp_connection, receive_operation);
    struct io_tcp *tcp = connection->tcp;
    tcp_connection_hold(connection);
    if (!(flags & IORING_CQE_F_MORE)) {
        connection->receive_armed = false;
        tcp_request_end(connection);
    }
    if (flags & IORING_CQE_F_BUFFER) {
        uint16_t place = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        if (result > 0)
            receive_data(connection, bytes_of(tcp->buffers + (size_t)place * RECEIVE_BUFFER_BYTES,
                                              (size_t)result));
        receive_buffer_give(tcp, place, 0);
        io_uring_buf_ring_advance(tcp->buffer_ring, 1);
    }
    if (result <= 0)
        receive_stopped(connection, result);
    if (!connection->receive_armed)
        tcp_connection_mark_ready(connection);
    tcp_connection_release(connection);
}

void tcp_receive_pause(struct tcp_connection *connection)
{
    if (connection->receive_paused)
        return;
    connection->receive_paused = true;
    if (connection->receive_armed)
        io_loop_cancel(connection->tcp->loop, &connection->receive_operation);
}

void tcp_receive_resume(struct tcp_connection *connection)
{
    connection->receive_paused = false;
    tcp_connection_hold(connection);
    if (connection->held.bytes_count > 0) {
        /* Frames handed over here may pause it again; the rest then waits on. */
        struct buffer held = connection->held;
        size_t offset = connection->held_offset;
        buffer_init(&connection->held);
        offset +=
            receive_bytes(connection, bytes_of(held.data + offset, held.bytes_count - offset));
        if (offset < held.bytes_count && connection->state == CONNECTION_OPEN) {
            connection->held = held;
            connection->held_offset = offset;
        } else {
            buffer_fini(&held);
            connection->held_offset = 0;
        }
    }
    tcp_connection_mark_ready(connection);
    tcp_connection_release(connection);
}
