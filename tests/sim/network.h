/* network.h: connections between processes, as TCP gives them: frames arrive whole and in order, or
 * the connection breaks; and everything that a network may do to them.
 *
 * A host is a process: stores first, then clients. A connection has an id at each end. A link is a
 * direction from one host to another. On a link that is cut nothing arrives: frames wait, as for a
 * retransmission, and come after it is healed, unless the connection breaks before. A host that
 * went down with its process resets its connections; one that lost its power says nothing, and
 * whoever sends to it learns it late, or when it is back.
 *
 * Beyond TCP, and off unless a plan asks for it: single frames are lost, doubled, or swapped with
 * the one before (outbox.h promises no more than that).
 */
#pragma once

#include "base/bytes.h"
#include "tests/sim/schedule.h"
#include "tests/sim/trace.h"

#define NETWORK_HOSTS_MAX 24u

/* How a host is told. Each call is an arrival in virtual time, never inside a call of the host's.
 */
struct network_port {
    void (*accepted)(void *context, uint64_t connection_id);
    void (*connected)(void *context, uint64_t connection_id, int status);
    void (*frame)(void *context, uint64_t connection_id, struct blob *frame_take);
    void (*closed)(void *context, uint64_t connection_id);
    void *context;
};

struct network_options {
    uint64_t latency_ns_min, latency_ns_max;
    uint64_t tail_per_million; /* of the frames are much later */
    uint64_t tail_ns_max;
    uint64_t lost_per_million, doubled_per_million, swapped_per_million, reset_per_million;
};

struct network_link {
    uint32_t cuts_count;  /* > 0: nothing passes */
    uint32_t slow_factor; /* latency times this; 1 */
};

struct network_connection;

/* Sees each frame as it is sent (borrowed). True: it is not sent; whoever looks on may send it
 * later. */
typedef bool (*network_tap_fn)(void *context, uint32_t from, uint32_t to, uint64_t connection_id,
                               struct blob *frame);

/* Sees each frame that is sent, and that comes. It changes nothing. */
typedef void (*network_watch_fn)(void *context, bool is_arrival, uint32_t from, uint32_t to,
                                 const struct blob *frame);

struct network {
    struct schedule *schedule;
    struct trace *trace;
    struct random random;
    struct network_options options;
    struct network_port ports[NETWORK_HOSTS_MAX];
    bool is_up[NETWORK_HOSTS_MAX];
    struct network_link links[NETWORK_HOSTS_MAX][NETWORK_HOSTS_MAX];
    struct network_connection **connections; /* by number; NULL: gone */
    size_t connections_count, connections_capacity;
    bool is_gentle;     /* no faults on single frames (phase 2) */
    network_tap_fn tap; /* NULL: nobody looks on */
    void *tap_context;
    network_watch_fn watch; /* NULL: nobody watches */
    void *watch_context;
    uint64_t frames_count;
    uint64_t lost_count, doubled_count, swapped_count, reset_count;
};

void network_init(struct network *network, const struct network_options *options,
                  struct schedule *schedule, struct trace *trace, uint64_t seed);
void network_fini(struct network *network);

void network_host_up(struct network *network, uint32_t host, const struct network_port *port);
/* `says_so`: its kernel is still there to reset the connections. */
void network_host_down(struct network *network, uint32_t host, bool says_so);

/* `connected` follows, never before this returns. */
uint64_t network_connect(struct network *network, uint32_t from, uint32_t to);
/* A connection that is gone: the frame is dropped. */
void network_send(struct network *network, uint32_t from, uint64_t connection_id,
                  struct blob *frame_take);
/* No callback at this end follows. */
void network_close(struct network *network, uint32_t from, uint64_t connection_id,
                   bool after_output);

/* Cuts are counted: each is healed once. */
void network_cut(struct network *network, uint32_t from, uint32_t to);
void network_heal(struct network *network, uint32_t from, uint32_t to);
void network_slow(struct network *network, uint32_t from, uint32_t to, uint32_t factor);
/* Breaks every connection between the two. */
void network_reset(struct network *network, uint32_t a, uint32_t b);
/* Everything is healed, and nothing happens to single frames from here on. */
void network_calm(struct network *network);
