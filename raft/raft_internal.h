/* raft_internal.h: what the files of the core share. Nobody outside raft/raft*.c includes it.
 *
 * One file per family of messages: raft_election.c, raft_append.c, raft_replicate.c, raft_read.c;
 * raft_transfer.c and raft_configuration.c beside them; raft.c takes the step in and brings the
 * update out. A function that is called `raft_recv_...` handles a message of the current term.
 */
#pragma once

#include "base/random.h"
#include "raft/raft.h"
#include "raft/raft_log.h"

/* Read rounds that wait for their echoes at one time; further reads wait for a round to end. */
#define RAFT_READ_ROUNDS_MAX 64u
/* No group gets that far in its life. One lie about the term would else use up all that follow. */
#define RAFT_TERM_JUMP_MAX (UINT64_C(1) << 32)

enum raft_progress_state {
    RAFT_PROGRESS_PROBE,    /* where the logs agree is not known: one message at a time */
    RAFT_PROGRESS_PIPELINE, /* it is known: entries follow each other without waiting for answers */
    RAFT_PROGRESS_SNAPSHOT, /* what it needs was cut: the host streams a snapshot */
};

struct raft_inflight {
    raft_index_t last_index;
    uint64_t bytes_count;
};

/* What a leader knows of one member; slot i belongs to member i of the configuration in force. The
 * leader's own slot is there too, and not used. Behind them are the slots of those that are
 * leaving: they count nowhere, and are sent entries until they know that they were removed. */
struct raft_progress {
    replica_id_t replica;
    store_id_t store;
    enum raft_progress_state state;
    raft_index_t match_index; /* durable there, and the same as here; never falls in a term */
    raft_index_t next_index;  /* the next to send; > match_index */
    bool paused;              /* probe: the message is out; the heartbeat timer may send another */
    nanoseconds_t sent_ns;    /* anything */
    nanoseconds_t heard_ns;   /* anything of the current term */
    nanoseconds_t acked_ns;   /* pipeline: the last time that the window moved */
    uint64_t round_sent;      /* the newest read round that went out to it, */
    uint64_t round_echoed;    /* and that came back */
    raft_index_t left_index;  /* leaving: the configuration that it is not in any more, */
    nanoseconds_t left_until_ns;    /* and how long it is told about that */
    struct raft_inflight *inflight; /* a ring of options.inflight_messages_max */
    uint32_t inflight_first;
    uint32_t inflight_count;
    uint64_t inflight_bytes;
};

/* One unit that was handed out for persistence and is not known durable yet. */
struct raft_persist_unit {
    uint64_t id;
    raft_index_t
        last_index; /* what it makes durable; lowered when a truncation voids it; 0: none */
};

struct raft_configuration_at {
    raft_index_t index;
    struct raft_configuration configuration;
};

struct raft_read_round {
    uint64_t round;
    nanoseconds_t started_ns; /* no message of it left earlier */
    uint64_t read_id;         /* the newest read that it confirms; 0: none, it renews the lease */
    raft_index_t index;       /* what these reads need applied */
};

struct raft {
    struct raft_options options;
    struct random random;
    nanoseconds_t now_ns;

    /* Hard state: as decided. It is durable once persisted_id >= hard_state_id. */
    raft_term_t term;
    replica_id_t vote;

    enum raft_role role;
    replica_id_t leader;
    nanoseconds_t leader_heard_ns;
    nanoseconds_t election_deadline_ns;
    nanoseconds_t refused_ns; /* a vote, the last time that its own log was the reason; 0: never */
    bool storage_slow;

    struct raft_log log;
    raft_index_t commit_index;
    raft_index_t durable_index;

    /* Configurations by index: the first is at or below the commit index, the last is in force. */
    struct raft_configuration_at *configurations;
    uint32_t configurations_count;
    uint32_t configurations_capacity;

    /* Persistence. Units are a ring in the order of their ids. */
    uint64_t persist_id_last;
    uint64_t persisted_id;
    uint64_t hard_state_id; /* the unit that carries the newest term and vote */
    raft_index_t
        unreported_first; /* appended and in no unit yet, from here to the end; 0: nothing */
    struct raft_persist_unit *units;
    uint32_t units_first;
    uint32_t units_count;
    uint32_t units_capacity;

    /* Candidates, both kinds: a bit for each member. */
    uint32_t votes_granted;
    uint32_t votes_rejected;

    /* Leader. */
    struct raft_progress progress[RAFT_MEMBERS_MAX];
    uint32_t progress_count;
    uint32_t leaving_count;
    nanoseconds_t checked_ns; /* the last time that followers were looked at, sent to or not */
    raft_index_t term_opening_index;
    raft_index_t announced_index; /* may be sent; what is behind waits for the end of the turn */
    uint64_t uncommitted_bytes;
    replica_id_t transfer_to; /* 0: none */
    nanoseconds_t transfer_deadline_ns;

    /* Reads (R3). Ids and rounds grow for the life of the process. */
    uint64_t read_id_last;
    uint64_t read_round_last;
    uint64_t read_waiting_id; /* the newest read that is in no round yet; 0: none */
    raft_index_t read_waiting_index;
    struct raft_read_round read_rounds[RAFT_READ_ROUNDS_MAX];
    uint32_t read_rounds_first;
    uint32_t read_rounds_count;

    /* Lease (R3): what a quorum promised by its echoes, by our clock. It binds us as well after we
     * stepped down: we are one of those who promised. */
    nanoseconds_t lease_until_ns;
    nanoseconds_t lease_round_ns; /* when the last round began */
    bool lease_spent; /* somebody was told to stand in spite of it: there is none in this term */

    /* Of the step that is being taken. */
    struct raft_update *update;
    bool step_report; /* hand out what is unreported with this step */
    bool step_hard_state_changed;
    bool step_log_reset;
};

static inline nanoseconds_t raft_ms(uint32_t ms)
{
    return (nanoseconds_t)ms * NS_PER_MS;
}
/* Has `within_ns` passed since? Times are those of events, so `since_ns` is never ahead. */
static inline bool raft_is_within(const struct raft *raft, nanoseconds_t since_ns,
                                  nanoseconds_t within_ns)
{
    return raft->now_ns - since_ns < within_ns;
}

/* raft.c */
/* The new message has its ends and the term filled; good until the next one. */
struct raft_message *raft_send(struct raft *raft, enum raft_message_type type, replica_id_t to);
void raft_set_role(struct raft *raft, enum raft_role role);
void raft_set_hard_state(struct raft *raft, raft_term_t term, replica_id_t vote);
/* Both keep the configuration, the durable index and what is to be persisted in line with the log.
 */
void raft_append_entry(struct raft *raft, const struct raft_entry *entry);
void raft_truncate(struct raft *raft, raft_index_t from);
void raft_set_commit_index(struct raft *raft, raft_index_t commit_index);
/* What units still to be persisted would make durable from `from` on was overwritten. */
void raft_persist_void_from(struct raft *raft, raft_index_t from);

/* raft_configuration.c */
void raft_configuration_push(struct raft *raft, raft_index_t index,
                             const struct raft_configuration *configuration);
/* Back to what was in force before `from`. */
void raft_configuration_roll_back(struct raft *raft, raft_index_t from);
/* Forgets what no truncation can bring back. */
void raft_configuration_prune(struct raft *raft);
const struct raft_configuration_at *raft_configuration_in_force(const struct raft *raft);
/* The member's position, or -1. */
int raft_configuration_position(const struct raft_configuration *configuration,
                                replica_id_t replica);
static inline bool raft_member_votes(const struct raft_member *member)
{
    return member->voter_old || member->voter_new;
}
bool raft_configuration_self_votes(const struct raft *raft);
/* Do the members with their bit set hold a majority of C_old and one of C_new? */
bool raft_configuration_has_quorum(const struct raft_configuration *configuration,
                                   uint32_t members);
store_id_t raft_configuration_store(const struct raft *raft, replica_id_t replica);
bool raft_entry_is_valid_configuration(const struct raft_entry *entry);
OST_MUST_CHECK int raft_configuration_propose(struct raft *raft, const struct raft_event *event);
/* Leader, once more is committed: the second half of a change, and its end. */
void raft_configuration_advance(struct raft *raft);

/* raft_election.c */
void raft_election_timer_reset(struct raft *raft);
/* A leader is there, as far as this replica can tell: it was heard within the shortest election
 * timeout; or this replica leads and heard from a quorum within that. */
bool raft_hears_leader(const struct raft *raft);
bool raft_leader_heard_quorum(const struct raft *raft, nanoseconds_t within_ns);
void raft_become_follower(struct raft *raft, raft_term_t term, replica_id_t leader);
void raft_election_timer_fired(struct raft *raft);
/* Our own vote counts once it is durable (R1). */
void raft_election_persisted(struct raft *raft);
void raft_recv_pre_vote_request(struct raft *raft, const struct raft_message *message);
void raft_recv_pre_vote_answer(struct raft *raft, const struct raft_message *message);
void raft_recv_vote_request(struct raft *raft, const struct raft_message *message);
void raft_recv_vote_answer(struct raft *raft, const struct raft_message *message);
void raft_recv_timeout_now(struct raft *raft, const struct raft_message *message);

/* raft_append.c */
/* OST_PROTOCOL: no correct leader sends this. */
OST_MUST_CHECK int raft_append_check(const struct raft *raft, const struct raft_message *message);
void raft_recv_append_request(struct raft *raft, const struct raft_message *message);
OST_MUST_CHECK int raft_snapshot_offered(struct raft *raft, const struct raft_event *event);
OST_MUST_CHECK int raft_snapshot_installed(struct raft *raft, const struct raft_event *event);

/* raft_replicate.c */
void raft_replicate_start(struct raft *raft);
void raft_replicate_configuration_changed(struct raft *raft);
void raft_replicate_timer_fired(struct raft *raft);
nanoseconds_t raft_replicate_deadline(const struct raft *raft);
void raft_replicate_to(struct raft *raft, struct raft_progress *progress);
void raft_replicate_to_all(struct raft *raft);
/* An append without entries that a live follower with the same term answers. */
void raft_replicate_heartbeat(struct raft *raft, struct raft_progress *progress);
void raft_replicate_commit(struct raft *raft);
void raft_replicate_peer_reset(struct raft *raft, store_id_t store);
OST_MUST_CHECK int raft_replicate_snapshot_sent(struct raft *raft, replica_id_t replica,
                                                raft_index_t index);
OST_MUST_CHECK int raft_append_answer_check(const struct raft *raft,
                                            const struct raft_message *message);
void raft_recv_append_answer(struct raft *raft, const struct raft_message *message);
/* For the last time, to those who leave: what is committed. */
void raft_replicate_farewell(struct raft *raft);
/* NULL: not a follower of this leader, and not leaving either. */
struct raft_progress *raft_replicate_progress(struct raft *raft, replica_id_t replica);
static inline bool raft_progress_is_live(const struct raft *raft,
                                         const struct raft_progress *progress)
{
    return raft_is_within(raft, progress->heard_ns, raft_ms(raft->options.election_timeout_ms_max));
}

/* raft_read.c */
OST_MUST_CHECK int raft_read_request(struct raft *raft, const struct raft_event *event);
/* Of the events of a leader: begins a round of its own when the lease is to be renewed. */
void raft_lease_renew(struct raft *raft);
/* May what was promised to a leader, or by others to this replica, not be over yet? */
bool raft_lease_binds(const struct raft *raft);
/* At the end of a turn: one round for all reads that came since the last. */
void raft_read_begin_round(struct raft *raft);
void raft_read_send_round(struct raft *raft);
void raft_read_confirm(struct raft *raft);
void raft_read_fail_all(struct raft *raft);

/* raft_transfer.c */
OST_MUST_CHECK int raft_transfer_begin(struct raft *raft, replica_id_t to);
/* Tells the target to stand once it has everything. */
void raft_transfer_advance(struct raft *raft);
void raft_transfer_timer_fired(struct raft *raft);
/* The leader is not in the configuration that is committed: it goes, when it can to hand over. */
void raft_transfer_leave(struct raft *raft);
