/* tcp_internal.h: the parts of io_tcp, shared by tcp.c (life of a connection, timer, turn),
 * tcp_listen.c (addresses, accept, connect), tcp_receive.c and tcp_send.c.
 *
 * Invariants of a connection:
 *
 * - C1 It is in the table by_id until its user or its end takes it out; from then on no callback.
 * - C2 The object lives until in_flight_count and holds_count are 0, and only then is fd closed: no
 *   completion can meet a stranger in its place.
 * - C3 At most one send is in flight (batch != NULL), and at most one receive (receive_armed).
 * - C4 Blobs of a send in flight are not dropped before its completion.
 * - C5 While receive_paused, no frame is handed over; what came all the same waits in `held`, which
 *   is empty otherwise.
 */
#pragma once

#include "base/buffer.h"
#include "io/loop_internal.h"
#include "io/tcp.h"

#include <netdb.h>
#include <sys/socket.h>
#include <uthash.h>

/* All connections share these: a burst of many is read at once, an idle one holds none. */
#define RECEIVE_BUFFERS_COUNT 256u
#define RECEIVE_BUFFER_BYTES  16384u

/* One gathered send. The bound on its bytes lets blobs go, and back-pressure end, step by step. */
#define SEND_BLOBS_COUNT_MAX 64u
#define SEND_BYTES_MAX       ((size_t)1 << 20)

#define LINGER_NS       NS_PER_S
#define ACCEPT_RETRY_NS (100 * NS_PER_MS)

enum connection_state {
    CONNECTION_CONNECTING,
    CONNECTION_OPEN,
    CONNECTION_LINGERING, /* its user has closed it: output leaves, input is thrown away */
    CONNECTION_CLOSING,   /* waits for the kernel to let go */
};

struct send_batch {
    struct msghdr message;
    struct iovec iovecs[SEND_BLOBS_COUNT_MAX];
    SLIST_ENTRY(send_batch) link;
};

struct tcp_connection {
    uint64_t id;
    struct io_tcp *tcp;
    int fd;
    enum connection_state state;
    uint32_t in_flight_count; /* requests that the kernel has */
    uint32_t holds_count;     /* functions of ours that still look at it */
    bool accepted;            /* by a listener, so it counts against the limit */
    bool in_table;
    bool in_ready;
    bool in_lingering;
    bool receive_armed;
    bool receive_paused;
    bool receive_ended; /* the peer has closed its side */
    bool shutdown_done; /* our side is closed, all was sent */
    bool over_limit;    /* more output than allowed: closed at the next turn */

    struct io_operation receive_operation;
    struct io_operation send_operation; /* of a connect, too */

    /* A frame that did not lie in one buffer of the ring. frame_bytes is 0 until the header is
     * whole and checked; the memory grows with what has come, so a header alone reserves little. */
    uint8_t header[FRAME_HEADER_BYTES];
    size_t header_bytes;
    size_t frame_bytes;
    struct buffer input;
    /* C5 */
    struct buffer held;
    size_t held_offset;

    /* Blobs to be sent, a ring; the first output_offset bytes of the first are gone already. */
    struct blob **output;
    uint32_t output_head;
    uint32_t output_count;
    uint32_t output_capacity; /* a power of two, or 0 */
    size_t output_offset;
    size_t output_bytes;
    struct send_batch *batch;

    /* While connecting: what the name resolved to, and the one that is tried. */
    struct addrinfo *addresses;
    struct addrinfo *address;

    nanoseconds_t linger_deadline_ns;
    UT_hash_handle hh;
    TAILQ_ENTRY(tcp_connection) ready_link;
    TAILQ_ENTRY(tcp_connection) lingering_link;
};

TAILQ_HEAD(tcp_connections, tcp_connection);

struct tcp_listener {
    struct io_tcp *tcp;
    int fd;
    uint16_t port;
    bool armed;
    bool stopping;
    bool retry; /* the system had no descriptor left: the timer arms it again */
    struct io_operation operation;
};

struct io_tcp {
    struct io_loop *loop;
    struct io_tcp_options options;
    struct io_tcp_callbacks callbacks;
    void *context;
    struct io_turn_hook hook;
    struct metrics no_metrics; /* counted into when the user gives none */
    struct metrics *metrics;

    struct tcp_connection *by_id;
    struct tcp_connections ready;      /* to be looked at before the next submission */
    struct tcp_connections lingering;  /* in the order of their deadlines */
    struct tcp_connection *delivering; /* whose frame the user is looking at; saves a look-up */
    uint64_t next_id;
    uint32_t accepted_count;
    size_t in_flight_count; /* of all connections, the listener and the timer */
    bool user_called;       /* a callback ran in this hook */

    struct tcp_listener *listener;

    struct io_operation timer_operation;
    struct __kernel_timespec timer_timeout;
    bool timer_armed;

    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffers;
    uint16_t buffer_group;

    SLIST_HEAD(, send_batch) free_batches;
    unsigned free_batches_count;
};

/* tcp.c */
struct tcp_connection *tcp_connection_new(struct io_tcp *tcp, int fd, enum connection_state state);
struct tcp_connection *tcp_connection_find(const struct io_tcp *tcp, uint64_t connection_id);
/* Ends it, and tells its user when there still is one. */
void tcp_connection_fail(struct tcp_connection *connection, int status);
/* Ends it in silence. */
void tcp_connection_close(struct tcp_connection *connection);
/* Keep the object over a call of the user. The last release of a closed one frees it. */
void tcp_connection_hold(struct tcp_connection *connection);
void tcp_connection_release(struct tcp_connection *connection);
/* Looked at before the next submission: receive armed, output sent. */
void tcp_connection_mark_ready(struct tcp_connection *connection);
/* A lingering connection closes its side once all is sent, and goes when the peer has closed its
 * own. */
void tcp_connection_linger_step(struct tcp_connection *connection);
void tcp_timer_arm(struct io_tcp *tcp, nanoseconds_t delay_ns);
static inline void tcp_request_begin(struct tcp_connection *connection)
{
    connection->in_flight_count++;
    connection->tcp->in_flight_count++;
}
static inline void tcp_request_end(struct tcp_connection *connection)
{
    connection->in_flight_count--;
    connection->tcp->in_flight_count--;
}

/* tcp_listen.c */
void tcp_listener_arm(struct tcp_listener *listener);
void tcp_connect_complete(struct io_operation *operation, int result, uint32_t flags);

/* tcp_receive.c */
void tcp_receive_arm(struct tcp_connection *connection);
void tcp_receive_pause(struct tcp_connection *connection);
void tcp_receive_resume(struct tcp_connection *connection);
void tcp_receive_complete(struct io_operation *operation, int result, uint32_t flags);
void tcp_receive_drop(struct tcp_connection *connection);
int tcp_receive_buffers_new(struct io_tcp *tcp);
void tcp_receive_buffers_free(struct io_tcp *tcp);

/* tcp_send.c */
void tcp_send_start(struct tcp_connection *connection);
void tcp_send_complete(struct io_operation *operation, int result, uint32_t flags);
void tcp_send_drop(struct tcp_connection *connection);
