/* kv_server.h: all replicas of data groups on one store, and what they share. Part of the store's
 * step function: its inputs are the calls below, its outputs go into the environment's outbox and
 * jobs.
 *
 * Reading order: kv_keys.h (rows), store.h, kv_group.h (one replica: the state machine),
 * kv_apply.c, kv_requests.c, kv_reads.c and kv_commit.c (what clients ask), kv_peers.c (what other
 * groups ask), kv_snapshot.c, oracle_client.h, this.
 */
#pragma once

#include "base/job.h"
#include "base/metrics.h"
#include "proto/master.pb-c.h"
#include "proto/outbox.h"
#include "proto/txns.pb-c.h"
#include "raft/host.h"
#include "shardkv/store.h"
#include "txn/participant.h"
#include "txn/recovery.h"

/* What every replica on the store uses; all borrowed, and outliving the server. */
struct kv_environment {
    store_id_t store_id;
    struct store *store;
    struct raft_host *host;
    struct outbox *outbox;
    struct job **jobs; /* push jobs here, linked by next; they come back by job->done */
    struct metrics *metrics;
};

struct kv_options {
    struct participant_options participant;
    struct recovery_options recovery;
    uint64_t flush_bytes;        /* 32 MiB of unflushed rows at most, or */
    uint32_t flush_interval_ms;  /* 30000 since the oldest unflushed one */
    uint32_t requests_count_max; /* 65536 waiting at one store: above, OST_BUSY for new work */
    uint64_t requests_bytes_max; /* 512 MiB of such requests: the same */
    uint64_t garbage_bytes_min;  /* 64 KiB that may be dropped: less is not worth a compaction */
    uint32_t request_deadline_ms_max; /* 60000: deadlines further ahead are refused (T5) */
    uint64_t range_split_bytes;       /* 96 MiB: a larger range is to be split */
    uint64_t range_merge_bytes;       /* 24 MiB: neighbours that are smaller together may merge */
    uint64_t range_split_operations;  /* 5000 a second: the same by what is asked of it */
    uint64_t range_merge_operations;  /* 1000 a second */
    uint64_t copy_bytes_per_s;        /* 22 MiB of rows of all ranges that move here; 0: no limit */
};
void kv_options_default(struct kv_options *out_options);

struct kv_server;
struct kv_server *kv_server_new(const struct kv_options *options,
                                const struct kv_environment *environment);
void kv_server_free(struct kv_server *server);

/* Start-up: every replica that the store's rows know is loaded and added to the raft host. One
 * whose log is damaged is lost: it is reported, and waits to be destroyed. */
OST_MUST_CHECK int kv_server_load(struct kv_server *server, nanoseconds_t now_ns, char *out_why);
/* A command of the shard master (R6, R7). Harmless when the replica is there already. It takes part
 * once its row is durable: so what has no row has never promised anything. OST_BUSY: the former
 * replica of the group is still here; OST_NOT_FOUND: the number is used up; OST_INVALID_ARGUMENT.
 */
OST_MUST_CHECK int kv_server_create_replica(struct kv_server *server,
                                            const Ostraka__CreateReplica *command,
                                            nanoseconds_t now_ns);
/* The shard master's map has struck out this number for ever: the replica answers nobody from now
 * on, and its rows go once its end is durable in the log. Harmless when it is not here. */
void kv_server_destroy_replica(struct kv_server *server, group_id_t group, replica_id_t replica,
                               nanoseconds_t now_ns);
/* Grows when a replica has come or gone: the shard master waits to hear of it. */
uint64_t kv_server_replicas_changed(const struct kv_server *server);

/* A frame of kv.proto, or ASSIGN_RANGE, SAFE_POINT, RANGE_ORDER, RANGE_FETCH or its answer.
 * `connection_id` is where the answer goes. OST_PROTOCOL: it does not parse, close that connection.
 * Every other error is answered. */
OST_MUST_CHECK int kv_server_receive(struct kv_server *server, uint64_t connection_id,
                                     const struct frame *frame, nanoseconds_t now_ns);
/* The oracle's answer (FRAME_TIMESTAMP_ANSWER) to the request this server sent. */
OST_MUST_CHECK int kv_server_timestamp_answered(struct kv_server *server, const struct frame *frame,
                                                nanoseconds_t now_ns);
/* What it asked and waits for is forgotten; what it had locked stays until it expires. */
void kv_server_connection_closed(struct kv_server *server, uint64_t connection_id,
                                 nanoseconds_t now_ns);
void kv_server_timer(struct kv_server *server, nanoseconds_t now_ns);
/* One request to the oracle for all prepares that wait (O3); starts a flush when one is due. */
void kv_server_turn_ended(struct kv_server *server, nanoseconds_t now_ns);
nanoseconds_t kv_server_deadline_ns(const struct kv_server *server);
/* NULL, or why the process must end: the store failed while applying. It is looked at after each
 * turn. */
const char *kv_server_fatal(const struct kv_server *server);

/* Asks for a flush now, at shut-down for example; `done` runs when all that was written before is
 * durable, or could not be made so. */
void kv_server_flush(struct kv_server *server, void (*done)(void *context, int status),
                     void *context);

/* What each replica here has applied, and the hash of all that this did: equal on every replica of
 * the group at an equal index (S7). Returns how many replicas there are, and fills at most `max`.
 */
struct kv_applied {
    group_id_t group;
    replica_id_t replica;
    raft_index_t index;
    raft_term_t term;
    uint64_t chain_hash;
    timestamp_t safe_point;
};
size_t kv_server_applied(const struct kv_server *server, struct kv_applied *out_applied,
                         size_t max);

/* Group 0's, as last heard. */
timestamp_t kv_server_safe_point(const struct kv_server *server);

/* Who holds which locks at this group's leader; NULL: it does not lead here. For who looks on. */
const struct participant *kv_server_participant(const struct kv_server *server, group_id_t group);

/* Fills a page of the transactions, or the locks, of the groups that this store leads. The answer
 * points into the arena. */
void kv_server_txns(const struct kv_server *server, nanoseconds_t now_ns,
                    const Ostraka__TxnsRequest *request, struct arena *arena,
                    Ostraka__TxnsAnswer *answer);

bool kv_server_owns_group(const struct kv_server *server, group_id_t group);
/* The local group whose log owns `key`, or 0: for frames addressed by key. */
group_id_t kv_server_group_of_key(const struct kv_server *server, struct bytes key);
/* In the arena: one report a replica, for the master; one status a replica, for people, which also
 * brings the gauges of ranges up to date. */
void kv_server_report(const struct kv_server *server, struct arena *arena,
                      Ostraka__ReplicaReport ***out_reports, size_t *out_count);
void kv_server_status(const struct kv_server *server, struct arena *arena,
                      Ostraka__GroupStatus ***out_groups, size_t *out_count);
