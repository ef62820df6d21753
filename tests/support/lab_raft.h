/* lab_raft.h: one group on whole Raft hosts, seen as the labs of MIT's course 6.5840
 * (before: 6.824) see it: servers that may be asked to start a command, cut off, crashed and
 * started again; who claims to lead, what each has applied, and what the network carried can be
 * looked at, and nothing else. Time is virtual; the network is as unreliable as theirs: it delays
 * up to 27 ms, and loses a tenth of the requests and a tenth of the answers.
 *
 * Checked all the time by host_cluster: all servers apply the same at the same place, nothing
 * before it is durable, and nothing that was applied is ever lost. */
#pragma once

#include "tests/support/host_cluster.h"

#define LAB_ELECTION_TIMEOUT_MS 1000u

struct lab_raft_options {
    uint64_t seed;
    uint32_t servers_count;
    bool is_unreliable;
    uint32_t snapshot_every; /* applied entries; 0: never */
    bool is_eager;           /* election timeouts differ by no more than 5 ms: votes are split */
    bool is_entrywise;       /* an append carries one entry, and waits for the answer */
};

struct lab_raft {
    struct lab_raft_options options;
    struct host_cluster *cluster;
    struct random random; /* what the scenario draws */
    bool is_connected[CLUSTER_STORES_MAX + 1];
    uint64_t *applied[CLUSTER_STORES_MAX + 1]; /* values by index; 0: none, or no command */
    size_t applied_capacity[CLUSTER_STORES_MAX + 1];
};

/* Servers are 1 and up. All are up and connected. */
struct lab_raft *lab_raft_new(const struct lab_raft_options *options);
void lab_raft_free(struct lab_raft *lab);
void lab_raft_sleep(struct lab_raft *lab, uint32_t ms);
uint64_t lab_raft_random(struct lab_raft *lab, uint64_t below);
/* The server `steps` behind this one, round and round. */
store_id_t lab_raft_next(const struct lab_raft *lab, store_id_t server, uint32_t steps);

void lab_raft_connect(struct lab_raft *lab, store_id_t server);
void lab_raft_disconnect(struct lab_raft *lab, store_id_t server);
/* A crash disconnects; a server that was started is not connected yet. */
void lab_raft_crash(struct lab_raft *lab, store_id_t server);
void lab_raft_start(struct lab_raft *lab, store_id_t server);
/* Crashes it if it is up, starts and connects it. */
void lab_raft_restart(struct lab_raft *lab, store_id_t server);
bool lab_raft_is_up(const struct lab_raft *lab, store_id_t server);
void lab_raft_set_unreliable(struct lab_raft *lab, bool is_unreliable);
/* Two thirds of the answers come 200 to 2200 ms later. */
void lab_raft_set_long_reordering(struct lab_raft *lab, bool is_on);

/* The one server that claims to lead the newest term among the connected; fails when two claim the
 * same term, or nobody leads in 5 s. */
store_id_t lab_raft_check_one_leader(struct lab_raft *lab);
/* No connected server claims to lead. */
void lab_raft_check_no_leader(struct lab_raft *lab);
/* The term that all connected servers agree on. */
raft_term_t lab_raft_check_terms(struct lab_raft *lab);

/* Starts a command: a value above 0, with so many bytes behind it. False: it does not lead. */
bool lab_raft_submit(struct lab_raft *lab, store_id_t server, uint64_t value, size_t more_bytes,
                     raft_index_t *out_index, raft_term_t *out_term);
/* How many have applied a command at the index, and which. */
uint32_t lab_raft_committed_count(const struct lab_raft *lab, raft_index_t index,
                                  uint64_t *out_value);
/* Waits up to 10 s until `expected` servers have applied the index; 0 when the term changes first.
 */
uint64_t lab_raft_wait(struct lab_raft *lab, raft_index_t index, uint32_t expected,
                       raft_term_t term);
/* Does a whole agreement: finds a leader, starts the value, waits until `expected` servers have
 * applied it; starts again (if `retry`) when the leader was no leader for long. Fails after 10 s
 * (60 s with snapshots on an unreliable network). Returns the index. */
raft_index_t lab_raft_agree(struct lab_raft *lab, uint64_t value, uint32_t expected, bool retry);
raft_index_t lab_raft_agree_bytes(struct lab_raft *lab, uint64_t value, size_t more_bytes,
                                  uint32_t expected, bool retry);
/* A random value. */
uint64_t lab_raft_value(struct lab_raft *lab);

/* Runs a scenario once for each of some seeds; for LAB_SEEDS of them, or for LAB_SEED alone, where
 * the environment says so. */
void lab_raft_each_seed(void (*scenario)(struct lab_raft *lab), struct lab_raft_options options,
                        uint32_t seeds_count);
