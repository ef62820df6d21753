/* raft_cluster.h: a small deterministic cluster of Raft cores in one process, on virtual time.
 *
 * Each node is a core, a disk and the part of a host that a core needs: it writes what the core
 * wants persisted (a write takes time, and a crash loses what is under way, or keeps some of it
 * unreported), holds messages back until the write they wait for is done, cuts the log, and carries
 * snapshots. The network delays, loses, doubles, overtakes and cuts. Same seed, same run.
 *
 * After each step it is checked that (names of figure 3 where there is one)
 *   - at most one leader is elected in a term (election safety),
 *   - entries with the same index and term are the same and follow the same (log matching),
 *   - a new leader holds every entry committed in an earlier term (leader completeness),
 *   - all nodes commit the same entry at an index (state machine safety),
 *   - what a leader commits is durable on a quorum of disks,
 *   - a message that left speaks of nothing that its sender's disk does not hold,
 *   - terms and commit indexes never fall, over crashes as well,
 *   - a confirmed read covers everything that was committed when it was asked for.
 * A breach prints the seed and the time, and aborts.
 */
#pragma once

#include "raft/raft.h"

#define CLUSTER_NODES_MAX 16

struct cluster;

struct cluster_options {
    uint64_t seed;
    uint32_t nodes_count;  /* replicas 1.. on stores 101.. */
    uint32_t voters_count; /* the first ones vote from the start; 0: all; the others are no members,
                              and begin without a configuration */
    uint32_t delay_us_min, delay_us_max;        /* of a message; differing ones overtake */
    uint32_t disk_us_min, disk_us_max;          /* of a write */
    uint32_t lost_per_mille, doubled_per_mille; /* messages */
    void (*tune)(struct raft_options *options); /* may be NULL */
};
void cluster_options_default(struct cluster_options *out_options);

struct cluster *cluster_new(const struct cluster_options *options);
void cluster_free(struct cluster *cluster);

/* Nodes are named by their replica number, 1 and up. */
void cluster_run_ms(struct cluster *cluster, uint64_t ms);
/* Until there is a leader whose opening entry is committed, and which is of the newest term that
 * any running node knows; 0 when there is none after `ms`. */
replica_id_t cluster_run_until_leader(struct cluster *cluster, uint64_t ms);
/* Until `node` knows `index` to be committed. */
bool cluster_run_until_committed(struct cluster *cluster, replica_id_t node, raft_index_t index,
                                 uint64_t ms);
nanoseconds_t cluster_now_ns(const struct cluster *cluster);

/* The leader of the newest term among the running nodes; 0 when there is none. */
replica_id_t cluster_leader(const struct cluster *cluster);
/* A running node that does not lead. */
replica_id_t cluster_follower(const struct cluster *cluster);
struct raft *cluster_raft(struct cluster *cluster, replica_id_t node); /* NULL: it is down */
struct raft_status cluster_status(struct cluster *cluster, replica_id_t node);

/* An entry with a payload of its own; and the end of the turn. */
int cluster_propose(struct cluster *cluster, replica_id_t node, raft_index_t *out_index);
/* Without the end of the turn. */
int cluster_propose_in_turn(struct cluster *cluster, replica_id_t node, raft_index_t *out_index);
/* And the end of the turn. */
int cluster_propose_configuration(struct cluster *cluster, replica_id_t node,
                                  const struct raft_configuration *target);
/* The newest that anybody has committed; and until that is `target`. */
void cluster_committed_configuration(const struct cluster *cluster,
                                     struct raft_configuration *out_configuration);
bool cluster_run_until_members(struct cluster *cluster, const struct raft_configuration *target,
                               uint64_t ms);
/* One more node, empty, of the next number, without a configuration; 0: there is no room. */
replica_id_t cluster_add_node(struct cluster *cluster);
/* It never comes back (R6). Only one that the committed configuration does not have. */
void cluster_destroy_node(struct cluster *cluster, replica_id_t node);
bool cluster_is_destroyed(const struct cluster *cluster, replica_id_t node);
void cluster_turn_ended(struct cluster *cluster, replica_id_t node);
int cluster_read(struct cluster *cluster, replica_id_t node, uint64_t *out_read_id);
uint64_t cluster_reads_confirmed(const struct cluster *cluster, replica_id_t node);
uint64_t cluster_reads_failed(const struct cluster *cluster, replica_id_t node);
/* Any other event; now_ns is filled in. */
int cluster_step(struct cluster *cluster, replica_id_t node, struct raft_event *event);
/* Cuts the log behind what is applied and durable. */
void cluster_cut_log(struct cluster *cluster, replica_id_t node);

void cluster_crash(struct cluster *cluster, replica_id_t node);
void cluster_restart(struct cluster *cluster, replica_id_t node);
void cluster_disk_hold(struct cluster *cluster, replica_id_t node, bool hold);
void cluster_link_cut(struct cluster *cluster, replica_id_t from, replica_id_t to, bool cut);
/* Both ways, from and to everybody. */
void cluster_isolate(struct cluster *cluster, replica_id_t node);
/* All links, all disks; losses end too. */
void cluster_heal(struct cluster *cluster);

/* The highest index that any node has committed; and how many appends with entries were sent. */
raft_index_t cluster_committed_index(const struct cluster *cluster);
uint64_t cluster_appends_sent(const struct cluster *cluster);
uint64_t cluster_snapshots_sent(const struct cluster *cluster);
uint64_t cluster_messages_sent(const struct cluster *cluster, enum raft_message_type type);

/* `voters` members with numbers 1.. */
void cluster_configuration(uint32_t voters_count, struct raft_configuration *out_configuration);
