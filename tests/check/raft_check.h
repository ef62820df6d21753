/* raft_check.h: do the replicas of each group keep Raft's promises (figure 3 of the paper)?
 *
 * Fed with observations as they happen; each costs a few hash look-ups.
 *
 *   "election-safety"      one leader a term
 *   "term-falls"           a replica's term never falls, restarts included
 *   "vote-changed"         nor does its vote change within a term
 *   "commit-falls"         commit and applied index of a live replica never fall
 *   "index-order"          applied <= commit <= last index
 *   "leader-appends-only"  a leader's last index never falls within its term
 *   "older-term-counted"   what a leader commits by counting ends with an entry of its term (R2)
 *   "log-matching"         what is committed at an index is the same entry on all replicas
 *   "term-order"           terms never fall along the committed entries
 *   "leader-completeness"  a leader holds all that was committed before its term
 *   "state-machine-safety" applied prefixes are equal: one chain hash at an applied index
 */
#pragma once

#include "base/types.h"
#include "tests/check/result.h"

enum raft_check_role { RAFT_CHECK_FOLLOWER, RAFT_CHECK_CANDIDATE, RAFT_CHECK_LEADER };

/* What a replica says of itself; after each step, or whenever it changed. */
struct raft_check_observation {
    group_id_t group_id;
    replica_id_t replica_id;
    enum raft_check_role role;
    raft_term_t term;
    replica_id_t vote; /* 0: none in this term, or not known */
    raft_index_t commit_index;
    raft_index_t applied_index;
    raft_index_t last_index;
    raft_term_t commit_term; /* of the entry at commit_index; 0: not known */
};

struct raft_check_entry {
    raft_index_t index;
    raft_term_t term;
    uint64_t hash; /* of its type and payload */
};

/* The leader's log: the entry at `index`; false when it has none. An entry that was cut off behind
 * a snapshot is not asked for. */
typedef bool (*raft_check_log_fn)(void *context, raft_index_t index, struct raft_check_entry *out);

struct raft_check;

struct raft_check *raft_check_new(void);
void raft_check_free(struct raft_check *check);

void raft_check_observe(struct raft_check *check, const struct raft_check_observation *observation);
/* A replica learnt that the entry is committed. In order or not, once or often. Observe the replica
 * first: the term it then had says in which term the entry was committed at the latest. */
void raft_check_committed(struct raft_check *check, group_id_t group_id, replica_id_t replica_id,
                          const struct raft_check_entry *entry);
/* A replica was elected. `log` looks into its log from `first_index` on, or is NULL: then only the
 * log's end, `last_index` and `last_term`, is judged. */
struct raft_check_election {
    group_id_t group_id;
    replica_id_t replica_id;
    raft_term_t term;
    raft_index_t first_index;
    raft_index_t last_index;
    raft_term_t last_term; /* at last_index; before it appended to its own term */
    raft_check_log_fn log;
    void *context;
};
void raft_check_elected(struct raft_check *check, const struct raft_check_election *election);
/* A replica's state machine stands at an index; the hash is over all it applied. */
void raft_check_applied(struct raft_check *check, group_id_t group_id, replica_id_t replica_id,
                        raft_index_t applied_index, uint64_t chain_hash);
/* The process died: commit and applied index may fall back, term and vote may not. */
void raft_check_restarted(struct raft_check *check, group_id_t group_id, replica_id_t replica_id);
/* It is gone for good; its number never comes back (R6): "replica-reused" when it does. */
void raft_check_destroyed(struct raft_check *check, group_id_t group_id, replica_id_t replica_id);

/* So far; borrowed until the next call. */
const struct check_result *raft_check_result(const struct raft_check *check);
/* The highest index known committed; 0 is none. */
raft_index_t raft_check_committed_index(const struct raft_check *check, group_id_t group_id);
