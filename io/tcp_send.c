#include "io/tcp_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>

/* Batches hold what the kernel needs while a send is in flight; idle connections have none. */
#define FREE_BATCHES_COUNT_MAX 64u
#define OUTPUT_CAPACITY_MIN    8u
/* A queue that grew beyond this is given back when it is empty. */
#define OUTPUT_CAPACITY_KEPT 64u

static struct send_batch *batch_take(struct io_tcp *tcp)
{
    struct send_batch *batch = SLIST_FIRST(&tcp->free_batches);
    if (!batch)
        return memory_alloc_zeroed(1, sizeof(*batch));
    SLIST_REMOVE_HEAD(&tcp->free_batches, link);
    tcp->free_batches_count--;
    return batch;
}

static void batch_give(struct io_tcp *tcp, struct send_batch *batch)
{
    if (tcp->free_batches_count >= FREE_BATCHES_COUNT_MAX) {
        free(batch);
        return;
    }
    SLIST_INSERT_HEAD(&tcp->free_batches, batch, link);
    tcp->free_batches_count++;
}

static struct blob *output_at(const struct tcp_connection *connection, uint32_t place)
{
    return connection
        ->output[(connection->output_head + place) & (connection->output_capacity - 1)];
}

static void output_push(struct tcp_connection *connection, struct blob *blob)
{
    if (connection->output_count == connection->output_capacity) {
        uint32_t capacity =
            connection->output_capacity ? connection->output_capacity * 2 : OUTPUT_CAPACITY_MIN;
        struct blob **output = memory_alloc(capacity * sizeof(output[0]));
        for (uint32_t i = 0; i < connection->output_count; i++)
            output[i] = output_at(connection, i);
        free(connection->output);
        connection->output = output;
        connection->output_capacity = capacity;
        connection->output_head = 0;
    }
    uint32_t place = connection->output_head + connection->output_count;
    connection->output[place & (connection->output_capacity - 1)] = blob;
    connection->output_count++;
    connection->output_bytes += blob->bytes_count;
}

static void output_pop(struct tcp_connection *connection)
{
    blob_unref(output_at(connection, 0));
    connection->output_head = (connection->output_head + 1) & (connection->output_capacity - 1);
    connection->output_count--;
}

static void output_release(struct tcp_connection *connection)
{
    free(connection->output);
    connection->output = NULL;
    connection->output_head = 0;
    connection->output_capacity = 0;
}

/* Takes what was sent off the queue. */
static void output_consume(struct tcp_connection *connection, size_t bytes_count)
{
    ASSERT(bytes_count <= connection->output_bytes);
    connection->output_bytes -= bytes_count;
    connection->tcp->metrics->frames_sent_bytes += bytes_count;
    while (bytes_count > 0) {
        size_t left = output_at(connection, 0)->bytes_count - connection->output_offset;
        if (bytes_count < left) {
            connection->output_offset += bytes_count;
            return;
        }
        bytes_count -= left;
        connection->output_offset = 0;
        output_pop(connection);
        connection->tcp->metrics->frames_sent_count++;
    }
    if (connection->output_count == 0 && connection->output_capacity > OUTPUT_CAPACITY_KEPT)
        output_release(connection);
}

void tcp_send_drop(struct tcp_connection *connection)
{
    ASSERT(!connection->batch);
    while (connection->output_count > 0)
        output_pop(connection);
    output_release(connection);
    connection->output_offset = 0;
    connection->output_bytes = 0;
}

void tcp_send_start(struct tcp_connection *connection)
{
    ASSERT(!connection->batch && connection->output_count > 0);
    struct send_batch *batch = batch_take(connection->tcp);
    uint32_t count = 0;
    size_t bytes_count = 0;
    while (count < SEND_BLOBS_COUNT_MAX && count < connection->output_count &&
           bytes_count < SEND_BYTES_MAX) {
        struct blob *blob = output_at(connection, count);
        size_t offset = count == 0 ? connection->output_offset : 0;
        size_t rest = blob->bytes_count - offset;
        if (rest > SEND_BYTES_MAX - bytes_count)
            rest = SEND_BYTES_MAX - bytes_count;
        batch->iovecs[count] = (struct iovec){.iov_base = blob->data + offset, .iov_len = rest};
        bytes_count += rest;
        count++;
    }
    /* MSG_WAITALL: the kernel goes on by itself when the socket was full, so that a short send is
     * the exception. */
    unsigned flags = MSG_NOSIGNAL | MSG_WAITALL;
    struct io_uring_sqe *sqe = io_loop_sqe(connection->tcp->loop);
    if (count == 1) {
        io_uring_prep_send(sqe, connection->fd, batch->iovecs[0].iov_base, bytes_count, (int)flags);
    } else {
        batch->message = (struct msghdr){.msg_iov = batch->iovecs, .msg_iovlen = count};
        io_uring_prep_sendmsg(sqe, connection->fd, &batch->message, flags);
    }
    io_loop_sqe_own(sqe, &connection->send_operation);
    connection->batch = batch;
    tcp_request_begin(connection);
}

void tcp_send_complete(struct io_operation *operation, int result, uint32_t flags)
{
    struct tcp_connection *connection =
        CONTAINER_OF(operation, struct tcp_connection, send_operation);
    (void)flags;
    tcp_connection_hold(connection);
    batch_give(connection->tcp, connection->batch);
    connection->batch = NULL;
    tcp_request_end(connection);
    if (connection->state == CONNECTION_CLOSING)
        goto out_release;
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        tcp_connection_fail(connection, OST_DISCONNECTED);
        goto out_release;
    }
    if (result > 0)
        output_consume(connection, (size_t)result);
    if (connection->output_count > 0)
        tcp_connection_mark_ready(connection);
    if (connection->state == CONNECTION_LINGERING)
        tcp_connection_linger_step(connection);
    else if (connection->receive_paused && !connection->over_limit &&
             connection->output_bytes < connection->tcp->options.output_bytes_high / 2)
        tcp_receive_resume(connection);
out_release:
    tcp_connection_release(connection);
}

void io_tcp_send(struct io_tcp *tcp, uint64_t connection_id, struct blob *frame_take)
{
    struct tcp_connection *connection = tcp_connection_find(tcp, connection_id);
    if (!connection || connection->over_limit) {
        blob_unref(frame_take);
        return;
    }
    output_push(connection, frame_take);
    tcp_connection_mark_ready(connection);
    if (connection->output_bytes > tcp->options.output_bytes_max) {
        /* Closed at the start of the next turn: `closed` never runs inside a call of the user. */
        connection->over_limit = true;
        tcp_receive_pause(connection);
    } else if (connection->output_bytes > tcp->options.output_bytes_high && connection->accepted) {
        /* Only the end that answers stops reading. Were both ends to stop, each waiting for the
         * other to read, they would wait for ever; the end that asks bounds what it has asked for.
         */
        tcp_receive_pause(connection);
    }
}

size_t io_tcp_output_bytes(const struct io_tcp *tcp, uint64_t connection_id)
{
    const struct tcp_connection *connection = tcp_connection_find(tcp, connection_id);
    return connection ? connection->output_bytes : 0;
}
