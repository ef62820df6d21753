/* host_cluster.h: stores that run raft_host on virtual time, with disks in memory, a network that
 * may delay, lose and be cut, and state machines that keep a list. One seed, one run.
 *
 * The disk: a log write becomes durable some time after it was asked for; a crash tears the one
 * that was under way. A state machine finds after a crash what it had flushed. Checked all the
 * time: all replicas of a group apply the same entries in the same order, none before it is durable
 * in the replica's own log, and nothing applied is ever lost. */
#pragma once

#include "base/random.h"
#include "raft/host.h"

#define CLUSTER_STORES_MAX 7u
#define CLUSTER_GROUPS_MAX 512u

struct cluster_store;
struct toy;

struct host_cluster {
    struct random random;
    nanoseconds_t now_ns;
    uint32_t stores_count;
    uint32_t groups_count;
    struct raft_host_options options;
    struct cluster_store *stores[CLUSTER_STORES_MAX + 1]; /* by id, from 1 */
    bool cut[CLUSTER_STORES_MAX + 1][CLUSTER_STORES_MAX + 1];
    uint32_t loss_percent;
    uint32_t delay_ms_max; /* of a frame: 1 to this, 3 by default */
    /* How much later than that this frame comes; may be NULL. */
    uint32_t (*extra_delay_ms)(struct host_cluster *cluster, const struct frame *frame);
    uint64_t *applied_hashes[CLUSTER_GROUPS_MAX + 1]; /* by index: what the first replica found */
    size_t applied_capacity[CLUSTER_GROUPS_MAX + 1];
    void (*on_frame)(struct host_cluster *cluster, store_id_t from, store_id_t to,
                     const struct frame *frame);
    /* An entry was applied; a restored state, up to `index`, was taken over. */
    void (*on_apply)(struct host_cluster *cluster, store_id_t store, group_id_t group,
                     const struct raft_entry *entry);
    void (*on_restore)(struct host_cluster *cluster, store_id_t store, group_id_t group,
                       raft_index_t index);
    void *context;
    uint64_t frames_count;
    uint64_t frames_bytes_count;
    uint64_t chunks_count;
    uint64_t restores_finished_count;
    struct cluster_packet *packets; /* by time */
};

/* Groups 1..groups_count have a replica at each store, with the number 10 * group + store. */
struct host_cluster *host_cluster_new(uint64_t seed, uint32_t stores_count, uint32_t groups_count,
                                      const struct raft_host_options *options);
void host_cluster_free(struct host_cluster *cluster);
void host_cluster_run(struct host_cluster *cluster, uint32_t ms);
/* Every group has a leader that is ready. */
bool host_cluster_has_leaders(struct host_cluster *cluster);
/* Runs until all have a leader; fails the test after a while. */
void host_cluster_elect(struct host_cluster *cluster);
/* 0: none is ready. */
store_id_t host_cluster_leader(struct host_cluster *cluster, group_id_t group);
bool host_cluster_propose(struct host_cluster *cluster, group_id_t group, size_t bytes_count);
/* At this store, whoever leads; takes a reference of its own. */
int host_cluster_propose_at(struct host_cluster *cluster, store_id_t store, group_id_t group,
                            struct blob *payload, raft_index_t *out_index, raft_term_t *out_term);
bool host_cluster_is_up(const struct host_cluster *cluster, store_id_t store);
/* Runs until what was proposed is applied at every store that is up. */
void host_cluster_settle(struct host_cluster *cluster);
void host_cluster_crash(struct host_cluster *cluster, store_id_t store);
/* The status of the recovery. What is destroyed is wiped, what is damaged stays away. */
int host_cluster_start(struct host_cluster *cluster, store_id_t store);
void host_cluster_isolate(struct host_cluster *cluster, store_id_t store, bool isolated);
void host_cluster_hang_disk(struct host_cluster *cluster, store_id_t store, bool hung);
void host_cluster_flush(struct host_cluster *cluster, store_id_t store);
/* A store that is down finds an empty state machine when it comes back. */
void host_cluster_lose_state(struct host_cluster *cluster, store_id_t store, group_id_t group);
size_t host_cluster_segments_count(const struct host_cluster *cluster, store_id_t store);

/* An empty replica without a configuration; what raft_host_group_add answers. */
int host_cluster_add_replica(struct host_cluster *cluster, store_id_t store, group_id_t group,
                             replica_id_t replica);
/* 0: none is here. */
replica_id_t host_cluster_replica(struct host_cluster *cluster, store_id_t store, group_id_t group);
/* The bytes on disk; NULL: there is no such segment. */
uint8_t *host_cluster_segment(struct host_cluster *cluster, store_id_t store, uint32_t segment);

struct raft_host *host_cluster_host(struct host_cluster *cluster, store_id_t store);
const struct metrics *host_cluster_metrics(struct host_cluster *cluster, store_id_t store);

/* The state machine. */
struct toy_read {
    uint64_t read_id;
    raft_index_t applied_at_least; /* what was applied anywhere when it was asked */
};
struct toy *host_cluster_toy(struct host_cluster *cluster, store_id_t store, group_id_t group);
raft_index_t toy_applied(const struct toy *toy);
raft_index_t toy_flushed(const struct toy *toy);
uint32_t toy_destroyed_count(const struct toy *toy);
uint64_t toy_reads_ok(const struct toy *toy);
uint64_t toy_reads_failed(const struct toy *toy);
/* At most so many entries are taken at a time; 0: none, UINT32_MAX: all. */
void toy_set_appetite(struct toy *toy, uint32_t entries_count);
bool host_cluster_read(struct host_cluster *cluster, store_id_t store, group_id_t group);
