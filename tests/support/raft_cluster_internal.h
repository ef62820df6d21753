/* raft_cluster_internal.h: what raft_cluster.c, which moves the cluster, and raft_cluster_check.c,
 * which watches it, share. */
#pragma once

#include "base/random.h"
#include "tests/support/raft_cluster.h"
#include "tests/support/raft_disk.h"

#include <bsd/sys/tree.h>
#include <uthash.h>

struct held_message {
    struct held_message *next;
    struct raft_message message;
};

struct node_read {
    uint64_t read_id;
    raft_index_t needs_index; /* what was committed when it was asked for */
};
#define NODE_READS_MAX 4096

struct node {
    replica_id_t replica;
    struct raft *raft; /* NULL: down */
    uint64_t life;
    struct raft_update update;
    nanoseconds_t deadline_ns;
    raft_index_t commit_index;
    raft_term_t term_seen;
    uint64_t persisted_id;

    struct raft_disk disk;
    bool disk_busy;
    bool disk_held;
    struct held_message *held;
    bool destroyed;

    struct node_read reads[NODE_READS_MAX];
    uint64_t reads_asked;
    uint64_t reads_confirmed_id;
    uint64_t reads_failed_id;
};

/* What was ever at (index, term). */
struct known_entry {
    UT_hash_handle hh;
    struct {
        raft_index_t index;
        raft_term_t term;
    } key;
    raft_term_t term_before;
    uint64_t payload_id;
    timestamp_t log_timestamp;
};

struct committed_entry {
    raft_term_t term;
    raft_term_t committed_in_term;
    uint64_t payload_id;
    timestamp_t log_timestamp;
    bool is_configuration;
    struct raft_configuration configuration;
};

struct occurrence; /* something that will happen (raft_cluster.c) */
RB_HEAD(occurrences, occurrence);

struct cluster {
    struct cluster_options options;
    struct random random;
    nanoseconds_t now_ns;
    uint64_t sequence;
    struct occurrences occurrences;
    struct node nodes[CLUSTER_NODES_MAX];
    bool link_cut[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX];
    struct raft_configuration initial;
    uint64_t payload_id_last;

    struct known_entry *known;
    struct committed_entry *committed; /* [0] is index 1 */
    raft_index_t committed_count;
    size_t committed_capacity;
    replica_id_t *leaders; /* by term */
    size_t leaders_count;

    uint64_t appends_sent;
    uint64_t snapshots_sent;
    uint64_t messages_sent[RAFT_MSG_SNAPSHOT_ACK + 1];
};

static inline struct node *cluster_node(struct cluster *cluster, replica_id_t replica)
{
    ASSERT(replica >= 1 && replica <= cluster->options.nodes_count);
    return &cluster->nodes[replica - 1];
}

#define CHECK(cluster, node, condition)                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            cluster_breach(cluster, node, #condition, __LINE__);                                   \
    } while (0)

__attribute__((noreturn)) void cluster_breach(const struct cluster *cluster,
                                              const struct node *node, const char *what, int line);

/* After each step, and before its update is carried out. */
void check_step(struct cluster *cluster, struct node *node);
/* Before each message that leaves a node. */
void check_message_leaving(struct cluster *cluster, struct node *node,
                           const struct raft_message *message);
