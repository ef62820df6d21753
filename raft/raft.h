/* raft.h: the consensus core of one group: one event in, one update out. No I/O, no clock, no
 * chance but the seed it was given.
 *
 * Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014;
 * figure 2 and sections 5, 7, 8); Ongaro's dissertation (2014), 3.10 transfer, 4.2.3 disruptive
 * servers, 6.4 ReadIndex, 9.6 pre-vote; etcd's Ready with asynchronous storage writes for the
 * update.
 *
 * Invariants, checked at the end of each step:
 *   L1 first_index <= commit_index + 1 and commit_index <= last_index.
 *   L2 terms never fall as the index grows.     L3 term and commit index never fall.
 *   L4 a leader's commit index moves only to an entry of its own term (R2).
 *   L5 durable_index <= last_index; a leader counts itself up to durable_index only (R1).
 *   L6 log timestamps never fall as the index grows (R8).
 *
 * The update says what must happen in what order: what is to be persisted has a persist id; a
 * message with that id must not leave before the host has reported it with RAFT_EV_PERSISTED. Ids
 * are in order, and the host persists in that order.
 */
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "base/types.h"

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
const char *raft_role_name(enum raft_role role);

enum raft_entry_type {
    RAFT_ENTRY_TERM_OPENING = 1, /* empty; the first entry of each leader */
    RAFT_ENTRY_COMMAND = 2,
    RAFT_ENTRY_CONFIGURATION = 3, /* payload: RaftConfiguration, packed; in force once appended */
};

struct raft_entry {
    raft_index_t index;
    raft_term_t term;
    timestamp_t log_timestamp; /* R8 */
    enum raft_entry_type type;
    struct blob *payload; /* counted; NULL when empty */
};

struct raft_member {
    replica_id_t replica;
    store_id_t store;
    bool voter_old; /* votes in C_old; in a plain configuration equal to voter_new */
    bool voter_new; /* votes in C_new; neither: a learner */
};
#define RAFT_MEMBERS_MAX (2 * REPLICAS_PER_GROUP_MAX)
struct raft_configuration {
    struct raft_member members[RAFT_MEMBERS_MAX];
    uint32_t members_count;
    uint64_t epoch; /* of the shard master's wish that it comes from; never falls (R7) */
};
bool raft_configuration_is_joint(const struct raft_configuration *configuration);
const struct raft_member *raft_configuration_find(const struct raft_configuration *configuration,
                                                  replica_id_t replica);
/* Packed as the protobuf message; and back (false: it does not parse or breaks a limit). */
struct blob *raft_configuration_pack(const struct raft_configuration *configuration);
bool raft_configuration_unpack(struct bytes bytes, struct raft_configuration *out_configuration);

/* What a state machine's state stands on; what the log begins after. */
struct raft_snapshot_meta {
    raft_index_t index; /* the last entry that it holds; 0: nothing yet */
    raft_term_t term;
    timestamp_t log_timestamp;
    raft_index_t configuration_index;
    struct raft_configuration configuration;
};

enum raft_message_type {
    RAFT_MSG_PRE_VOTE_REQUEST =
        1, /* term: the one it would stand in; index, index_term: its last entry */
    RAFT_MSG_PRE_VOTE_ANSWER = 2, /* term: echoed when granted, the voter's own when rejected */
    RAFT_MSG_VOTE_REQUEST = 3, /* as above; forced: by leadership transfer, pre-vote rules waived */
    RAFT_MSG_VOTE_ANSWER = 4,
    RAFT_MSG_APPEND_REQUEST = 5, /* index, index_term: the entry before `entries`; commit_index */
    RAFT_MSG_APPEND_ANSWER = 6,  /* index: match, or when rejected the request's index with hints;
                                    commit_index: the follower's own */
    RAFT_MSG_TIMEOUT_NOW = 7,    /* transfer: stand at once */
    RAFT_MSG_SNAPSHOT_ACK = 8, /* host to host: index = chunk sequence, read_round = snapshot id */
};

struct raft_message {
    enum raft_message_type type;
    replica_id_t from;
    replica_id_t to;
    store_id_t to_store;
    raft_term_t term;
    raft_index_t index;
    raft_term_t index_term;
    raft_index_t commit_index;
    uint64_t read_round;            /* append: the leader's newest read round; echoed (R3) */
    raft_index_t reject_hint_index; /* fast back-up: where the follower's log may agree */
    raft_term_t reject_hint_term;
    bool rejected;
    bool forced;
    const struct raft_entry *entries; /* borrowed */
    uint32_t entries_count;
    uint64_t after_persist_id; /* out: 0 = at once; else not before that id is durable */
};

struct raft_options {
    replica_id_t replica;
    uint64_t seed;
    uint32_t heartbeat_ms;            /* 50 */
    uint32_t election_timeout_ms_min; /* 500 */
    uint32_t election_timeout_ms_max; /* 1000 */
    uint32_t inflight_messages_max;   /* per follower, 64 */
    uint32_t inflight_bytes_max; /* per follower, 4 MiB: sent and not acknowledged; one message may
                                    exceed it */
    uint32_t message_bytes_max;  /* 512 KiB of payload an append; one larger entry travels alone */
    uint64_t uncommitted_bytes_max;   /* 128 MiB: above, proposals get OST_LOG_FULL */
    uint32_t learner_lag_entries_max; /* 1000: a learner that lacks more is not given a vote */
    /* Leases (R3). 0: off. The clocks of two stores are taken to run apart by no more than
     * lease_drift_percent: a lease that long by the leader's clock is over before a follower's has
     * counted election_timeout_ms_min. On or off for all stores of a cluster alike. */
    uint32_t lease_ms;
    uint32_t lease_drift_percent; /* 10 */
};
void raft_options_default(struct raft_options *out_options);
/* OST_INVALID_ARGUMENT, and `out_why` (static) says which option breaks which bound. */
OST_MUST_CHECK int raft_options_check(const struct raft_options *options, const char **out_why);

enum raft_event_type {
    RAFT_EV_MSG_RECEIVED,
    RAFT_EV_PERSISTED, /* everything up to persist_id is durable */
    RAFT_EV_PROPOSED,  /* a leader appends one command; else OST_NOT_LEADER */
    /* A leader begins to change the members to `target`, a plain configuration. One of learners
     * alone is one entry; else both configurations rule together until that is committed, and then
     * the leader of the day appends the target by itself (dissertation, 4.3).
     *   OST_NOT_LEADER
     *   OST_NOT_READY         nothing of the own term is committed yet, leadership is handed over,
     *                         or the new voters have no majority that was heard lately
     *   OST_CONFLICT          a change is under way, or the target's epoch is below the one in
     * force OST_EXISTS            the target is in force OST_INVALID_ARGUMENT  no voter, a limit
     * broken, a member with another store than it has, a voter made a learner, a vote to one that
     * is no learner yet OST_LEARNER_BEHIND    a learner that would get a vote lags, or was not
     * heard lately */
    RAFT_EV_CONFIGURATION_PROPOSED,
    RAFT_EV_READ_REQUESTED, /* R3: confirm that this is still the leader; else OST_NOT_LEADER */
    RAFT_EV_TIMER_FIRED,    /* now_ns has reached the update's deadline_ns (early is harmless) */
    RAFT_EV_TURN_ENDED, /* send what was appended, confirm what was asked: batching happens here */
    RAFT_EV_LOG_CUT,    /* the host may forget entries up to and with cut_index */
    RAFT_EV_PEER_RESET, /* the connection to a store broke: what was in flight to it may be lost */
    RAFT_EV_TRANSFER,   /* hand leadership to `replica`; 0: to the best caught-up follower */
    /* Follower: a leader of `term` streams a snapshot; renews the election timer. OST_CONFLICT when
     * it is old, or this replica has as much. */
    RAFT_EV_SNAPSHOT_OFFERED,
    /* Follower: the state machine holds `meta` durably; the log restarts there. */
    RAFT_EV_SNAPSHOT_INSTALLED,
    /* Leader: `replica` has the snapshot up to `index`, or (index 0) it failed. */
    RAFT_EV_SNAPSHOT_SENT,
    /* `slow`: a log write has hung (step down, do not stand), or is over (R9). */
    RAFT_EV_STORAGE_SLOW,
};

struct raft_event {
    enum raft_event_type type;
    nanoseconds_t now_ns;
    union {
        const struct raft_message *message;
        uint64_t persist_id;
        struct {
            enum raft_entry_type entry_type;
            struct blob *payload; /* the log takes a reference of its own */
            timestamp_t heard_timestamp;
        } propose;
        struct {
            const struct raft_configuration *target; /* borrowed */
            timestamp_t heard_timestamp;
        } configure;
        struct {
            bool by_lease; /* a lease will do: the asker looks at read_valid_until_ns */
        } read;
        raft_index_t cut_index;
        store_id_t peer_store;
        replica_id_t transfer_to;
        struct {
            raft_term_t term;
            replica_id_t from;
            const struct raft_snapshot_meta *meta;
        } snapshot;
        struct {
            replica_id_t replica;
            raft_index_t index;
        } snapshot_sent;
        bool slow;
    };
};

/* Filled by a step, on top of what is there: the host resets it before. Arrays belong to the update
 * and are good until it is reset. */
struct raft_update {
    /* To persist, all or nothing, in persist-id order. 0: nothing. */
    uint64_t persist_id;
    bool hard_state_changed;
    raft_term_t term;
    replica_id_t vote;
    bool log_reset; /* forget the whole log; it now begins after reset_index (snapshot) */
    raft_index_t reset_index;
    raft_term_t reset_term;
    raft_index_t
        persist_first; /* log entries [first, last] replace what was persisted from first on; */
    raft_index_t persist_last; /* 0,0: none. Read them with raft_log_entry. */

    struct raft_message *messages;
    uint32_t messages_count;
    uint32_t messages_capacity;

    raft_index_t commit_index; /* as of now; apply up to min(commit, durable) (R5) */
    raft_index_t durable_index;
    bool role_changed; /* role, term or known leader changed: see raft_status */

    /* Of RAFT_EV_PROPOSED and RAFT_EV_CONFIGURATION_PROPOSED. */
    raft_index_t proposed_index;
    raft_term_t proposed_term;
    /* Of RAFT_EV_READ_REQUESTED: its id; ids grow. */
    uint64_t read_id;
    /* Not 0: the read is confirmed by a lease, needs read_index applied, and what it finds may be
     * told only while a clock that is read after it shows less than this. */
    nanoseconds_t read_valid_until_ns;
    raft_index_t read_index;
    /* Reads up to this id are confirmed: serve each once its own index is applied. 0: none new. */
    uint64_t reads_confirmed_id;
    raft_index_t reads_confirmed_index; /* the highest that any of them needs */
    uint64_t reads_failed_id; /* reads up to this id that were not confirmed will never be */

    /* Leader: these followers need a snapshot, because the log was cut before what they lack. */
    replica_id_t snapshot_wanted[RAFT_MEMBERS_MAX];
    uint32_t snapshot_wanted_count;

    nanoseconds_t deadline_ns; /* wake me then */
};
void raft_update_init(struct raft_update *update);
void raft_update_reset(struct raft_update *update);
void raft_update_fini(struct raft_update *update);

struct raft_status {
    enum raft_role role;
    raft_term_t term;
    replica_id_t vote;
    replica_id_t leader; /* 0: not known */
    store_id_t leader_store;
    raft_index_t first_index;
    raft_index_t last_index;
    raft_index_t commit_index;
    raft_index_t durable_index;
    raft_index_t term_opening_index; /* leader: its own; ready to serve once applied (R4) */
    timestamp_t last_log_timestamp;
    uint64_t log_bytes;
    uint64_t log_appended_bytes; /* grows with each entry, and by nothing else */
};

struct raft;

/* A replica as its disk has it. `snapshot` is what the state machine holds (index 0 and the initial
 * configuration for a new one); entries follow it without a gap; their payloads are referenced. */
struct raft *raft_new(const struct raft_options *options, const struct raft_snapshot_meta *snapshot,
                      raft_term_t term, replica_id_t vote, const struct raft_entry *entries,
                      size_t entries_count, raft_index_t commit_index_min, nanoseconds_t now_ns);
void raft_free(struct raft *raft);

OST_MUST_CHECK int raft_step(struct raft *raft, const struct raft_event *event,
                             struct raft_update *update);

void raft_get_status(const struct raft *raft, struct raft_status *out_status);
const struct raft_configuration *raft_get_configuration(const struct raft *raft);
/* The index of the entry that the configuration in force came with. */
raft_index_t raft_configuration_index(const struct raft *raft);
/* NULL when it is not in the log; borrowed until the next step. */
const struct raft_entry *raft_log_entry(const struct raft *raft, raft_index_t index);
/* Leader: the lowest index that a follower heard from within `live_ms` still needs; UINT64_MAX when
 * it does not lead. The log is not cut above it while it is small (DESIGN S1). */
raft_index_t raft_needed_index(const struct raft *raft, uint32_t live_ms, nanoseconds_t now_ns);
/* Leader: up to where a follower's log is known to be the same. False: not a follower, or not heard
 * from within `live_ms`. */
bool raft_follower_match(const struct raft *raft, replica_id_t replica, uint32_t live_ms,
                         nanoseconds_t now_ns, raft_index_t *out_match_index);
