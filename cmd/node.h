/* node.h: one store, whole, as a step function: the raft host, the data groups, the shard master's
 * replica, the connections to other stores, the routing between them. It does no I/O: server.c
 * gives it an io_uring loop, a log thread and a pool; a simulator gives it its own.
 *
 * A turn: any number of events, then NODE_EV_TURN_ENDED, after which the host carries out the
 * update and resets it. Frames that stores, groups and the master of this process send to each
 * other are delivered inside the turn.
 */
#pragma once

#include "base/job.h"
#include "base/metrics.h"
#include "proto/master.pb-c.h"
#include "proto/outbox.h"
#include "raft/host.h"
#include "shardkv/kv_server.h"
#include "shardmaster/master.h"

#define OSTRAKA_VERSION "0.1.0"

/* A cluster's id: its name in the high half, how it was founded in the low one. A store that joins
 * knows the name, and learns the rest. */
static inline bool cluster_name_is_same(cluster_id_t a, cluster_id_t b)
{
    return a >> 32 == b >> 32;
}

struct node_options {
    cluster_id_t cluster_id;
    const char *advertise_address;
    const char *host;              /* the label of its machine; NULL: as in the address */
    struct raft_host_options raft; /* its store is the node's */
    struct kv_options kv;
    /* Not 0: it joins a cluster that lives by asking there; then there are no initial stores. */
    const char *const *join_addresses;
    size_t join_addresses_count;
    struct master_options master; /* its initial stores are also how the others are first found */
    uint64_t seed;
    uint32_t report_ms;        /* 1000: to the shard master */
    uint32_t reconnect_ms_max; /* 1000 */
    uint32_t hello_ms_max;     /* 10000: a connection that has not said who it is is closed */
};
void node_options_default(struct node_options *out_options);

enum node_event_type {
    NODE_EV_ACCEPTED,  /* connection_id: somebody connected */
    NODE_EV_CONNECTED, /* connection_id, status: end of a connect that the update asked for */
    NODE_EV_CLOSED,    /* connection_id is gone */
    NODE_EV_FRAME,     /* connection_id, frame (borrowed) */
    NODE_EV_LOG_DONE,  /* log_operation: done, successfully (R9 is the host's) */
    NODE_EV_JOB_DONE,  /* job */
    NODE_EV_TIMER,
    NODE_EV_SHUTDOWN, /* hand over leadership, flush, then say `stopped` */
    NODE_EV_TURN_ENDED,
};

struct node_event {
    enum node_event_type type;
    nanoseconds_t now_ns;
    uint64_t wall_ms;
    uint64_t connection_id;
    int status;
    const struct frame *frame;
    struct log_operation log_operation;
    struct job *job;
};

struct node_connect {
    store_id_t store; /* 0: whoever is there, to join */
    enum channel channel;
    const char *address; /* good until the update is reset */
};
struct node_close {
    uint64_t connection_id;
    bool after_output;
};

#define NODE_CONNECTS_PER_TURN_MAX 64
struct node_update {
    struct outbox frames;         /* every address is a connection */
    struct raft_host_update raft; /* log operations */
    struct job *jobs;
    struct node_connect connects[NODE_CONNECTS_PER_TURN_MAX];
    uint32_t connects_count;
    struct node_close *closes; /* all of them: who is not on it is never closed */
    uint32_t closes_count;
    uint32_t closes_capacity;
    nanoseconds_t deadline_ns;
    bool stopped;      /* shut-down is complete */
    const char *fatal; /* not NULL: stop at once, with this line */
};

struct node;

/* `store` and `metrics` are borrowed. The log's segments are recovered through node_raft_host
 * between node_new and node_load. */
struct node *node_new(const struct node_options *options, struct store *store,
                      struct metrics *metrics);
struct raft_host *node_raft_host(struct node *node);
/* Loads what the store's rows and the log know. Blocks on disk: for start-up. */
OST_MUST_CHECK int node_load(struct node *node, nanoseconds_t now_ns, char *out_why);
void node_free(struct node *node);

/* The update is the node's; good until the next event after a NODE_EV_TURN_ENDED. */
void node_step(struct node *node, const struct node_event *event);
struct node_update *node_update(struct node *node);
/* The caller carried everything out and took what it was to take (frames, jobs). */
void node_update_reset(struct node *node);

/* After `connects` was carried out: which connection id it got (0: failed at once). */
void node_connect_begun(struct node *node, store_id_t store, enum channel channel,
                        uint64_t connection_id);

/* What each data replica here has applied (kv_server.h): for who compares replicas. */
size_t node_applied(const struct node *node, struct kv_applied *out_applied, size_t max);
