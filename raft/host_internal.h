/* host_internal.h: shared by host.c (groups, turns, the log), host_apply.c (what state machines are
 * told), host_transport.c (messages to frames and back) and host_send.c and host_restore.c
 * (snapshots). */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/log.h"
#include "base/random.h"
#include "base/rate_limit.h"
#include "proto/raft.pb-c.h"
#include "raft/host.h"
#include "raft/log_pace.h"
#include "raft/wal.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <uthash.h>

/* A message on its way out: held until what it depends on is durable, or in a peer's batch. */
struct host_message {
    TAILQ_ENTRY(host_message) link;
    group_id_t group;
    struct raft_message message; /* its entries are those below */
    uint32_t payload_bytes;
    struct raft_entry entries[]; /* payloads counted */
};
TAILQ_HEAD(host_messages, host_message);

/* The longest pause before a chunk of a snapshot is sent again. */
#define HOST_SNAPSHOT_RESEND_NS_MAX (2 * NS_PER_S)
/* A follower that was heard within this time is waited for when the log is cut (S1). */
#define HOST_FOLLOWER_LIVE_MS 10000u

/* What goes to one store at the end of the turn. */
struct host_peer {
    store_id_t store;
    struct host_messages batches[2]; /* by channel */
    bool queued;
    TAILQ_ENTRY(host_peer) link;
    UT_hash_handle hh;
};
TAILQ_HEAD(host_peers, host_peer);

/* A read that the machine waits for. */
struct host_read {
    TAILQ_ENTRY(host_read) link;
    uint64_t read_id;
    bool confirmed;
    bool failed;
    raft_index_t index;
    nanoseconds_t valid_until_ns; /* NS_NEVER: confirmed by a round */
};
TAILQ_HEAD(host_reads, host_read);

struct host_group {
    group_id_t group;
    replica_id_t replica;
    struct raft *raft;
    const struct raft_state_machine_ops *ops;
    void *machine;
    struct wal_group *wal;

    /* Removed: not found by its id any more, kept until nobody holds it (host_remove.c). */
    bool removed;
    uint64_t destroyed_id; /* the unit that says so in the log */
    TAILQ_ENTRY(host_group) removed_link;

    uint64_t stepped_at;       /* the number of the last step: without one the core is as it was */
    uint64_t queued_id;        /* the last unit handed to the log */
    uint64_t persisted_id;     /* units up to this one are durable */
    struct host_messages held; /* by after_persist_id */

    raft_index_t applied_index;
    raft_index_t applicable_index;     /* min(committed, durable) */
    uint64_t apply_turn;               /* the turn that has had its slice */
    nanoseconds_t apply_retry_ns;      /* 0, or when a stalled machine is offered entries again */
    bool apply_stalled;                /* it took fewer than it was offered: it gets those again */
    struct raft_leadership leadership; /* as the machine was told */
    struct host_reads reads;

    struct log_limit snapshot_warnings; /* what may come at every try is told once in a while */
    struct host_receiver *receiver;     /* NULL: no snapshot is coming in */
    replica_id_t restored_from; /* the last snapshot that came in whole, to answer repeats */
    uint64_t restored_id;
    uint64_t restored_sequence;

    nanoseconds_t deadline_ns; /* the core's */
    nanoseconds_t wake_ns;     /* the key in the tree */
    bool timed;
    RB_ENTRY(host_group) timer_link;
    bool dirty;
    TAILQ_ENTRY(host_group) dirty_link;
    bool work; /* the machine is to be told something */
    TAILQ_ENTRY(host_group) work_link;
    UT_hash_handle hh;
};
TAILQ_HEAD(host_groups, host_group);
RB_HEAD(host_timers, host_group);

struct host_sender;
TAILQ_HEAD(host_senders, host_sender);
struct host_receiver;
TAILQ_HEAD(host_receivers, host_receiver);

struct raft_host {
    struct raft_host_options options;
    struct raft_host_update *update;
    struct wal *wal;
    struct metrics metrics_unused; /* when the options name none */
    struct metrics *metrics;
    struct random random;
    struct arena arena;      /* of one turn */
    struct raft_update core; /* of one step */
    nanoseconds_t now_ns;
    timestamp_t heard;

    struct host_group *groups; /* by id */
    struct host_peer *peers;   /* by store */
    struct host_peers peers_queued;
    struct host_timers timers;
    struct host_groups dirty;
    struct host_groups work;
    struct host_groups work_later; /* had its slice in this turn */
    struct host_groups removed;
    uint64_t steps_count; /* of all groups */
    uint64_t turn;
    bool in_turn_end; /* machines are being called */
    uint64_t messages_dropped_count;
    replica_id_t speaker; /* of the message being taken in; 0: none is */
    store_id_t speaker_store;

    nanoseconds_t log_busy_since_ns; /* 0: nothing waits for the disk */
    bool log_slow;                   /* R9 */
    struct log_pace log_pace;

    struct host_senders senders; /* queued and active */
    uint32_t senders_active_count;
    struct rate_limit snapshot_limit;
    struct host_receivers receivers;
    struct job *jobs_back; /* run; looked at when the turn ends */
};

/* host.c */
struct host_group *host_group_find(const struct raft_host *host, group_id_t group);
/* One step of a group's core, and everything that its update asks for, but no call to the machine.
 */
int host_step(struct raft_host *host, struct host_group *group, const struct raft_event *event);
void host_group_set_work(struct raft_host *host, struct host_group *group);
void host_group_set_timer(struct raft_host *host, struct host_group *group);

void host_group_free(struct host_group *group);
/* Into the update; `job` is the first member of what it works on. */
void host_job_start(struct raft_host *host, struct job *job, void (*run)(struct job *),
                    void (*done)(struct job *));

/* host_remove.c */
/* The end of those whose removal is durable and whose snapshots are closed. */
void host_removed_turn(struct raft_host *host);
bool host_is_removing(const struct raft_host *host, group_id_t group);

/* host_apply.c: callbacks of state machines; at the end of a turn alone. */
void host_work(struct raft_host *host);
/* The machine learns that it does not lead, and that its reads are in vain. */
void host_leadership_end(struct raft_host *host, struct host_group *group);
void host_reads_note(struct raft_host *host, struct host_group *group,
                     const struct raft_update *update);

/* host_transport.c */
/* Puts a message into its peer's batch, or holds it back. Copies it. */
void host_message_send(struct raft_host *host, struct host_group *group,
                       const struct raft_message *message);
void host_messages_release(struct raft_host *host, struct host_group *group);
void host_messages_free(struct host_messages *messages);
void host_transport_flush(struct raft_host *host);

/* host_send.c */
void host_sender_want(struct raft_host *host, struct host_group *group, replica_id_t replica);
void host_sender_acknowledged(struct raft_host *host, struct host_group *group,
                              store_id_t from_store, const struct raft_message *message);
void host_senders_peer_reset(struct raft_host *host, store_id_t store);
/* `cut_index`, or less: what followers need behind the snapshots that they are given. Lets go of
 * those who have that. */
raft_index_t host_senders_cut_index(struct raft_host *host, struct host_group *group,
                                    raft_index_t cut_index);
/* Looks at jobs that came back and at what has timed out; starts what is next. */
void host_senders_turn(struct raft_host *host);
nanoseconds_t host_senders_deadline(const struct raft_host *host);
/* Gives up what goes to other replicas of the group; false: a job of it still runs. */
bool host_senders_end_group(struct raft_host *host, const struct host_group *group);
void host_senders_free(struct raft_host *host);

/* host_restore.c */
int host_receiver_receive(struct raft_host *host, store_id_t from_store, const struct frame *frame);
/* Does a restore stand between the machine and its log now? */
bool host_receiver_adopts(const struct host_group *group);
/* As those of the senders. */
void host_receivers_turn(struct raft_host *host);
nanoseconds_t host_receivers_deadline(const struct raft_host *host);
bool host_receivers_end_group(struct host_group *group);
void host_receivers_free(struct raft_host *host);
