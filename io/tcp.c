#include "io/tcp_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tcp_connection *tcp_connection_new(struct io_tcp *tcp, int fd, enum connection_state state)
{
    struct tcp_connection *connection = memory_alloc_zeroed(1, sizeof(*connection));
    connection->id = tcp->next_id++;
    connection->tcp = tcp;
    connection->fd = fd;
    connection->state = state;
    connection->receive_operation =
        (struct io_operation){.complete = tcp_receive_complete, .owner = tcp};
    connection->send_operation = (struct io_operation){
        .complete = state == CONNECTION_CONNECTING ? tcp_connect_complete : tcp_send_complete,
        .owner = tcp};
    HASH_ADD(hh, tcp->by_id, id, sizeof(connection->id), connection);
    connection->in_table = true;
    tcp->metrics->connections_open_count++;
    return connection;
}

struct tcp_connection *tcp_connection_find(const struct io_tcp *tcp, uint64_t connection_id)
{
    struct tcp_connection *connection = tcp->delivering;
    if (connection && connection->id == connection_id && connection->in_table)
        return connection;
    HASH_FIND(hh, tcp->by_id, &connection_id, sizeof(connection_id), connection);
    return connection;
}

static void connection_leave_table(struct tcp_connection *connection)
{
    if (!connection->in_table)
        return;
    HASH_DEL(connection->tcp->by_id, connection);
    connection->in_table = false;
}

static void connection_free_when_unused(struct tcp_connection *connection)
{
    struct io_tcp *tcp = connection->tcp;
    if (connection->state != CONNECTION_CLOSING || connection->in_flight_count > 0 ||
        connection->holds_count > 0)
        return;
    ASSERT(!connection->in_table && !connection->in_ready && !connection->in_lingering);
    ASSERT(!connection->batch && !connection->receive_armed);
    tcp_receive_drop(connection);
    tcp_send_drop(connection);
    if (connection->addresses)
        freeaddrinfo(connection->addresses);
    if (connection->fd >= 0)
        close(connection->fd);
    if (connection->accepted)
        tcp->accepted_count--;
    free(connection);
}

void tcp_connection_hold(struct tcp_connection *connection)
{
    connection->holds_count++;
}

void tcp_connection_release(struct tcp_connection *connection)
{
    ASSERT(connection->holds_count > 0);
    connection->holds_count--;
    connection_free_when_unused(connection);
}

void tcp_connection_mark_ready(struct tcp_connection *connection)
{
    if (connection->in_ready || connection->state == CONNECTION_CLOSING)
        return;
    TAILQ_INSERT_TAIL(&connection->tcp->ready, connection, ready_link);
    connection->in_ready = true;
}

void tcp_connection_close(struct tcp_connection *connection)
{
    struct io_tcp *tcp = connection->tcp;
    ASSERT(connection->state != CONNECTION_CLOSING);
    connection->state = CONNECTION_CLOSING;
    connection_leave_table(connection);
    if (connection->in_ready) {
        TAILQ_REMOVE(&tcp->ready, connection, ready_link);
        connection->in_ready = false;
    }
    if (connection->in_lingering) {
        TAILQ_REMOVE(&tcp->lingering, connection, lingering_link);
        connection->in_lingering = false;
    }
    tcp->metrics->connections_open_count--;
    tcp_receive_drop(connection);
    if (connection->in_flight_count > 0) {
        /* The cancel may come at a moment when a request is between two states; the shutdown then
         * makes it end all the same. */
        struct io_uring_sqe *sqe = io_loop_sqe(tcp->loop);
        io_uring_prep_cancel_fd(sqe, connection->fd, IORING_ASYNC_CANCEL_ALL);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        io_loop_sqe_own(sqe, NULL);
        (void)shutdown(connection->fd, SHUT_RDWR);
    }
    connection_free_when_unused(connection);
}

void tcp_connection_fail(struct tcp_connection *connection, int status)
{
    struct io_tcp *tcp = connection->tcp;
    uint64_t id = connection->id;
    bool connecting = connection->state == CONNECTION_CONNECTING;
    bool has_user = connection->in_table;
    tcp_connection_close(connection);
    if (!has_user)
        return;
    tcp->user_called = true;
    if (connecting)
        tcp->callbacks.connected(tcp->context, id, status);
    else
        tcp->callbacks.closed(tcp->context, id, status);
}

void tcp_connection_linger_step(struct tcp_connection *connection)
{
    ASSERT(connection->state == CONNECTION_LINGERING);
    if (connection->output_count > 0 || connection->batch)
        return;
    if (connection->receive_ended) {
        tcp_connection_close(connection);
        return;
    }
    /* Closing now, with input unread, would make the kernel send a reset, and the peer might lose
     * what it has not read yet. */
    if (!connection->shutdown_done) {
        connection->shutdown_done = true;
        (void)shutdown(connection->fd, SHUT_WR);
    }
}

void io_tcp_close(struct io_tcp *tcp, uint64_t connection_id, bool after_output)
{
    struct tcp_connection *connection = tcp_connection_find(tcp, connection_id);
    if (!connection)
        return;
    if (!after_output || connection->over_limit) {
        tcp_connection_close(connection);
        return;
    }
    connection_leave_table(connection);
    connection->linger_deadline_ns = io_loop_now_ns(tcp->loop) + LINGER_NS;
    TAILQ_INSERT_TAIL(&tcp->lingering, connection, lingering_link);
    connection->in_lingering = true;
    tcp_timer_arm(tcp, LINGER_NS);
    if (connection->state == CONNECTION_CONNECTING)
        return;
    connection->state = CONNECTION_LINGERING;
    connection->receive_paused = false;
    tcp_receive_drop(connection);
    tcp_connection_mark_ready(connection);
    tcp_connection_linger_step(connection);
}

/* The timer: one for all connections that linger and for an accept that has to wait. */
void tcp_timer_arm(struct io_tcp *tcp, nanoseconds_t delay_ns)
{
    if (tcp->timer_armed)
        return;
    tcp->timer_armed = true;
    tcp->in_flight_count++;
    tcp->timer_timeout = (struct __kernel_timespec){.tv_sec = (int64_t)(delay_ns / NS_PER_S),
                                                    .tv_nsec = (long long)(delay_ns % NS_PER_S)};
    struct io_uring_sqe *sqe = io_loop_sqe(tcp->loop);
    io_uring_prep_timeout(sqe, &tcp->timer_timeout, 0, 0);
    io_loop_sqe_own(sqe, &tcp->timer_operation);
}

static void tcp_timer_complete(struct io_operation *operation, int result, uint32_t flags)
{
    struct io_tcp *tcp = CONTAINER_OF(operation, struct io_tcp, timer_operation);
    (void)flags;
    tcp->timer_armed = false;
    tcp->in_flight_count--;
    if (result == -ECANCELED)
        return;
    nanoseconds_t now_ns = io_loop_now_ns(tcp->loop);
    struct tcp_connection *connection;
    while ((connection = TAILQ_FIRST(&tcp->lingering)) != NULL &&
           connection->linger_deadline_ns <= now_ns)
        tcp_connection_close(connection);
    if (connection)
        tcp_timer_arm(tcp, connection->linger_deadline_ns - now_ns);
    if (tcp->listener && tcp->listener->retry) {
        tcp->listener->retry = false;
        tcp_listener_arm(tcp->listener);
    }
}

static void connection_step(struct tcp_connection *connection)
{
    if (connection->over_limit) {
        tcp_connection_fail(connection, OST_BUSY);
        return;
    }
    if (connection->state == CONNECTION_CONNECTING)
        return;
    if (!connection->receive_armed && !connection->receive_paused && !connection->receive_ended)
        tcp_receive_arm(connection);
    if (connection->output_count > 0 && !connection->batch)
        tcp_send_start(connection);
}

/* Before each submission: whatever was queued in the turn leaves with it. */
static bool tcp_hook_run(struct io_turn_hook *hook)
{
    struct io_tcp *tcp = CONTAINER_OF(hook, struct io_tcp, hook);
    struct tcp_connection *connection;
    tcp->user_called = false;
    while ((connection = TAILQ_FIRST(&tcp->ready)) != NULL) {
        TAILQ_REMOVE(&tcp->ready, connection, ready_link);
        connection->in_ready = false;
        connection_step(connection);
    }
    return tcp->user_called;
}

void io_tcp_options_default(struct io_tcp_options *out_options)
{
    *out_options = (struct io_tcp_options){
        .frame_bytes_max = FRAME_HEADER_BYTES + FRAME_MESSAGE_BYTES_MAX + FRAME_PAYLOAD_BYTES_MAX,
        .output_bytes_high = (size_t)1 << 20,
        .output_bytes_max = (size_t)256 << 20,
        .connections_count_max = 4096,
        .metrics = NULL,
    };
}

int io_tcp_new(struct io_loop *loop, const struct io_tcp_options *options,
               const struct io_tcp_callbacks *callbacks, void *context, struct io_tcp **out_tcp)
{
    struct io_tcp *tcp = memory_alloc_zeroed(1, sizeof(*tcp));
    tcp->loop = loop;
    tcp->options = *options;
    tcp->callbacks = *callbacks;
    tcp->context = context;
    tcp->metrics = options->metrics ? options->metrics : &tcp->no_metrics;
    tcp->next_id = 1;
    TAILQ_INIT(&tcp->ready);
    TAILQ_INIT(&tcp->lingering);
    SLIST_INIT(&tcp->free_batches);
    tcp->timer_operation = (struct io_operation){.complete = tcp_timer_complete, .owner = tcp};
    int status = tcp_receive_buffers_new(tcp);
    if (status != OST_OK) {
        free(tcp);
        return status;
    }
    tcp->hook.run = tcp_hook_run;
    io_loop_hook_add(loop, &tcp->hook);
    *out_tcp = tcp;
    return OST_OK;
}

void io_tcp_free(struct io_tcp *tcp)
{
    if (!tcp)
        return;
    io_loop_hook_remove(tcp->loop, &tcp->hook);
    io_tcp_listen_stop(tcp);
    struct tcp_connection *connection;
    struct tcp_connection *next;
    HASH_ITER (hh, tcp->by_id, connection, next) {
        tcp_connection_close(connection);
    }
    while ((connection = TAILQ_FIRST(&tcp->lingering)) != NULL)
        tcp_connection_close(connection);
    if (tcp->timer_armed)
        io_loop_cancel(tcp->loop, &tcp->timer_operation);
    io_loop_drain(tcp->loop, tcp, &tcp->in_flight_count);
    ASSERT(tcp->accepted_count == 0);

    tcp_receive_buffers_free(tcp);
    struct send_batch *batch;
    while ((batch = SLIST_FIRST(&tcp->free_batches)) != NULL) {
        SLIST_REMOVE_HEAD(&tcp->free_batches, link);
        free(batch);
    }
    free(tcp);
}
