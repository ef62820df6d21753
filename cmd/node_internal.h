/* node_internal.h: what the node's files share. */
#pragma once

#include "base/log.h"
#include "base/random.h"
#include "cmd/node.h"
#include "proto/command.pb-c.h"
#include "proto/session.pb-c.h"

#include <uthash.h>

enum connection_state {
    CONNECTION_GREETING, /* accepted; its Hello has not come */
    CONNECTION_DIALING,  /* our connect, or our Hello, is under way */
    CONNECTION_OPEN,
};

struct node_connection {
    uint64_t id;
    enum connection_state state;
    bool is_store;
    store_id_t store;
    enum channel channel;
    bool is_join;    /* by which this store asks to join */
    bool subscribed; /* to the map */
    nanoseconds_t greeting_deadline_ns;
    struct node_connection *subscribers_next, *subscribers_previous;
    struct node_connection *greeting_next, *greeting_previous;
    UT_hash_handle hh;
};

/* Another store. The one with the lower id dials, the other one to introduce itself. */
struct node_peer {
    store_id_t store;
    char *address;
    bool is_dialed_by_us;
    bool is_gone;               /* the map lists it no more */
    uint64_t connection_ids[2]; /* open ones, by channel; 0: none */
    uint64_t dialing_ids[2];
    bool dial_pending[2]; /* asked for in the update, not yet begun */
    nanoseconds_t redial_ns[2];
    uint32_t failures_count[2];
    nanoseconds_t refusal_log_ns; /* that it refuses this store is not said again before */
    UT_hash_handle hh;
};

/* A founder of group 0, as this store first heard of it. */
struct node_founder {
    store_id_t store;
    uint64_t incarnation;
    bool is_durable;
};

/* In the identity row, as a number; WRITING is ASKING there. */
enum node_founding {
    FOUNDING_ASKING = 0,   /* do the others know this disk, and no other? */
    FOUNDING_FOUNDED = 1,  /* they do, and it has begun to take part */
    FOUNDING_REPLACED = 2, /* they knew another one: this disk has never promised anything */
    FOUNDING_WRITING = 3,  /* the row that says FOUNDED is on its way to the disk */
};
enum node_founder_answer { FOUNDER_SILENT = 0, FOUNDER_CONFIRMS, FOUNDER_CANNOT_SAY };

enum node_join_state {
    JOIN_DONE = 0, /* or it is one of the initial stores */
    JOIN_RESTING,
    JOIN_DIALING,
    JOIN_LOOKING,
    JOIN_ASKING,
    JOIN_TAKEN,
    JOIN_WRITING,
};

/* How a new store comes to be one of the cluster (node_join.c). */
struct node_join {
    enum node_join_state state;
    uint64_t connection_id; /* 0: none */
    char *address;          /* that is dialed */
    char *leader_address;   /* to be dialed next; NULL: one of the options' */
    uint64_t next_address;  /* of the options', in turn */
    store_id_t asked_store;
    uint64_t tries_count;
    bool knows_cluster; /* the whole id, not the name alone */
    nanoseconds_t next_ns;
    nanoseconds_t try_deadline_ns;
};

#define NODE_FATAL_BYTES 320

struct node {
    struct node_options options;
    struct metrics *metrics;
    struct store *store;
    struct node_update update;
    struct outbox outbox; /* what the parts send, before routing */
    struct random random;
    nanoseconds_t now_ns;
    uint64_t wall_ms;
    nanoseconds_t started_ns;
    struct arena arena; /* of the frame being handled */

    struct raft_host *raft;
    struct kv_server *kv;
    struct master *master;        /* NULL: no replica of group 0 here, or none that takes part */
    struct master *master_doomed; /* it is being destroyed */

    /* What the identity row says (node_identity.c). */
    uint64_t incarnation;
    struct node_founder founders[REPLICAS_PER_GROUP_MAX];
    uint32_t founders_count;
    replica_id_t master_replica; /* of group 0; lost when it does not take part */
    bool master_lost;
    enum node_founding founding;
    enum node_founder_answer founder_answers[REPLICAS_PER_GROUP_MAX]; /* by place */
    nanoseconds_t founding_ns;                                        /* when to ask again */
    bool master_is_made;              /* by a command; its row is on its way to the disk */
    struct log_limit create_warnings; /* the master repeats its command many times a second */

    nanoseconds_t replicas_ns; /* when to look at the replicas again (node_replicas.c) */
    bool replicas_pending;
    uint64_t replicas_changed_seen;
    store_id_t master_hint; /* who leads group 0, where there is no replica of it; 0: not known */
    nanoseconds_t map_received_ns;
    uint64_t map_asks_count; /* whose turn it is, when the shard master is silent */
    struct master_rows master_rows;
    struct flushed_job *master_flushed_job; /* under way */
    uint64_t master_flushes_seen;

    struct node_connection *connections;
    struct node_connection *subscribers; /* utlist */
    struct node_connection *greeting;    /* utlist */
    struct node_peer *peers;
    bool peers_dirty;
    bool peers_changed;       /* since the row that lists them was written */
    uint64_t peers_map_epoch; /* of the map that they are from, before there is one */
    nanoseconds_t peers_deadline_ns;
    nanoseconds_t refusal_log_ns; /* a connection that was refused is not told of before */

    /* The newest map (node_map.c). */
    struct arena map_arena;    /* the last message of it without ranges, or nothing */
    struct arena ranges_arena; /* the last one with them */
    Ostraka__Map *map;         /* NULL: none yet */

    struct node_join join;
    char fatal[NODE_FATAL_BYTES]; /* empty: nothing is */
    nanoseconds_t report_ns;
    uint64_t elections_reported;
    bool shutting_down;
    bool flush_started, flush_done;
    nanoseconds_t shutdown_deadline_ns;
    nanoseconds_t handover_ns; /* when to ask again */
};

/* node_peers.c: who is connected. */
void node_peers_init(struct node *node);
void node_peers_fini(struct node *node);
struct node_peer *node_peer_find(struct node *node, store_id_t store);
/* The map named a store: learn of it, or of its new address. */
void node_peer_learn(struct node *node, store_id_t store, const char *address);
/* The map lists it no more: it is no store of this cluster, once this turn ends. */
void node_peers_prune(struct node *node);
/* Closes who has not said who it is in time. */
void node_peers_timer(struct node *node);
/* The last of a turn: a new map may give a store another address until then. */
void node_peers_dial(struct node *node);
void node_connection_accepted(struct node *node, uint64_t connection_id);
void node_connection_connected(struct node *node, uint64_t connection_id, int status);
void node_connection_closed(struct node *node, uint64_t connection_id);
struct node_connection *node_connection_find(struct node *node, uint64_t connection_id);
/* Closes it and forgets it. */
void node_connection_drop(struct node *node, struct node_connection *connection, bool after_output);
void node_hello_received(struct node *node, struct node_connection *connection,
                         const struct frame *frame);
void node_hello_answered(struct node *node, struct node_connection *connection,
                         const struct frame *frame);
nanoseconds_t node_peers_deadline_ns(const struct node *node);

/* node_map.c: the map as this store knows it, its readers, reports and status. */
void node_map_received(struct node *node, const struct frame *frame);
void node_map_requested(struct node *node, struct node_connection *connection,
                        const struct frame *frame);
/* Of the newest map that was here, also before this start as far as the store's row says. */
uint64_t node_map_epoch_known(const struct node *node);
/* The range that the map has a key in; NULL when there is no map. */
const Ostraka__RangeInfo *node_map_range_of_key(const struct node *node, struct bytes key);
const Ostraka__GroupInfo *node_map_group(const struct node *node, group_id_t group);
void node_report_send(struct node *node);
/* Has group 0's leader pushed the map lately? It does so every 5 s. */
bool node_hears_master(const struct node *node);
/* If not, another store is asked for its map. */
void node_map_look(struct node *node);
int node_txns_requested(struct node *node, uint64_t connection_id, const struct frame *frame);
void node_status_requested(struct node *node, uint64_t connection_id, const struct frame *frame);

/* node_identity.c: whose disk this is, and whether it may found group 0 (R6). */
OST_MUST_CHECK int node_identity_load(struct node *node, char *out_why);
/* Writes the row; `done` follows when it is durable, or cannot be. */
OST_MUST_CHECK int node_identity_write(struct node *node, void (*done)(void *context, int status),
                                       void *context);
/* The peers are others: the row says so with the next flush, or the next map. */
void node_identity_save_peers(struct node *node);
void node_founding_timer(struct node *node);
nanoseconds_t node_founding_deadline_ns(const struct node *node);
void node_found_received(struct node *node, store_id_t from, const Ostraka__Found *found);
void node_found_answered(struct node *node, store_id_t from, const Ostraka__FoundAnswer *answer);

/* node_join.c: a store that is new to a cluster asks to be one of it. */
void node_join_init(struct node *node);
void node_join_fini(struct node *node);
void node_join_done_before(struct node *node);
bool node_is_joining(const struct node *node);
void node_join_timer(struct node *node);
nanoseconds_t node_join_deadline_ns(const struct node *node);
void node_join_connect_begun(struct node *node, uint64_t connection_id);
void node_join_connected(struct node *node, int status);
void node_join_closed(struct node *node);
void node_join_greeted(struct node *node, const Ostraka__HelloAnswer *answer);
int node_join_received(struct node *node, const struct frame *frame);

/* node_replicas.c: the replicas that the map wants here, and of the groups that are led here. */
/* Starts the replica of group 0 that the identity row names. */
OST_MUST_CHECK int node_master_start(struct node *node, char *out_why);
/* At start-up: the same, if there is one and it is not lost. */
OST_MUST_CHECK int node_master_load(struct node *node, char *out_why);
int node_replica_create(struct node *node, const Ostraka__CreateReplica *command);
/* Group 0's leader asks this store to hand over a group. */
void node_leader_transfer(struct node *node, const Ostraka__TransferLeader *command);
void node_replicas_timer(struct node *node);
/* In the arena: one report a replica, group 0's as well. */
void node_replicas_report(struct node *node, Ostraka__StoreReport *report);

/* node_route.c: from an address to a connection, or back into this process. */
/* Was anything delivered to a part of this process? */
bool node_route_all(struct node *node);
/* Hands one frame to the part it is for; connection_id CONNECTION_LOCAL for our own. */
void node_dispatch(struct node *node, uint64_t connection_id, const struct frame *frame);

/* Hand over, flush, stop. */
void node_shut_down(struct node *node);
/* node_shutdown.c: what is left to do before the process may stop. */
void node_shutdown_step(struct node *node);

/* node_rows.c: the shard master's rows in the store. */
void node_rows_init(struct node *node);
/* Was the store flushed? Then the master's flushed index is read anew, on the pool. */
void node_rows_turn_ended(struct node *node);
