/* core_internal.h: what the core's files share. */
#pragma once

#include "base/buffer.h"
#include "client/client_core.h"
#include "client/map_cache.h"
#include "proto/session.pb-c.h"

#include <uthash.h>

enum peer_state {
    PEER_IDLE,
    PEER_CONNECTING,
    PEER_GREETING, /* our Hello is on its way */
    PEER_OPEN,
};

TAILQ_HEAD(request_list, request);

/* A store that was reached or may be: an endpoint that the caller named, or a store of the map. */
struct peer {
    uint32_t number;  /* its place in the core's array */
    store_id_t store; /* 0: an endpoint that has not said who it is */
    char *address;
    bool is_endpoint;
    enum peer_state state;
    bool is_silent;      /* let a request time out, and sent nothing since */
    bool is_begun;       /* connect under way; the runtime has not yet said which id */
    bool is_unreachable; /* it is lost because nobody listens there */
    uint64_t connection_id;
    uint32_t failures_count;
    nanoseconds_t redial_ns;
    nanoseconds_t received_ns;    /* the last frame */
    struct request_list requests; /* sent, or waiting for the connection */
    struct timer timer;           /* connecting and greeting end by it */
    struct client_core *core;
    UT_hash_handle by_connection, by_store;
};

enum request_owner {
    OWNER_OPERATION, /* get, status */
    OWNER_READ,      /* a transaction's lock or scan page; a scan without a transaction */
    OWNER_TXN,       /* a slot of a coordinator */
    OWNER_ORACLE,    /* the client's own question for the time */
    OWNER_SNAPSHOTS, /* the one for all that wait for a timestamp */
    OWNER_HOLD,
};
enum request_state {
    REQUEST_RESTING, /* waits for its next try */
    REQUEST_QUEUED,  /* waits for a connection */
    REQUEST_SENT,
};

struct request {
    uint64_t id;
    uint16_t type; /* enum frame_type */
    enum request_owner owner;
    enum request_state state;
    union {
        struct operation *operation;
        struct core_txn *txn;
        struct core_hold *hold;
    };
    uint32_t slot;
    group_id_t group;
    store_id_t store;   /* STATUS: this one and no other; otherwise 0 */
    struct blob *frame; /* NULL: to be encoded at the next try */
    struct peer *peer;  /* of this try */
    uint64_t map_epoch; /* of the map by which the frame was encoded */
    uint32_t tries_count, backoffs_count, redirects_count, waits_count;
    uint32_t moved_count; /* pauses after RANGE_MOVED, since a newer map ended one */
    uint32_t woken_count; /* by newer maps */
    bool in_doubt;        /* a try of before may have been done, or be done yet */
    bool any_replica;     /* this try need not go to the leader */
    bool reroute;         /* RANGE_MOVED: rests in core->moved; encoded anew for the next try */
    int last_status;      /* why the last try was none */
    char *last_text;      /* and what it said; NULL: nothing */
    nanoseconds_t sent_ns;
    nanoseconds_t give_up_ns;
    struct timer timer;
    TAILQ_ENTRY(request) link; /* the peer's; core->moved's */
    UT_hash_handle hh;
};

struct core_txn {
    struct coordinator *coordinator;
    bool is_registered; /* has an id, is in the core's table */
    bool has_handle;    /* a caller's; otherwise of an operation of the core */
    bool is_dropped;    /* nobody names it any more; free it when it is done */
    bool locks_gone;    /* a heartbeat was answered; told to the coordinator at the next operation,
                         * because between operations it belongs to the caller's thread */
    int locks_gone_status;
    struct blob *locks_gone_header; /* packed: why */
    struct txn_id id;
    struct request **requests; /* by slot */
    uint32_t requests_capacity;
    struct request *rerouting; /* kept while the coordinator decides about it */
    struct operation *commit;  /* under way */
    TAILQ_HEAD(, operation) reads;
    nanoseconds_t give_up_ns;      /* of the requests that it sends now */
    nanoseconds_t commit_asked_ns; /* the first time */
    struct timer heartbeat;
    struct core_txn *pool_next;
    UT_hash_handle hh; /* by id */
};

enum hold_state { HOLD_HELD, HOLD_LOST, HOLD_RELEASED };

struct core_hold {
    uint64_t id;
    timestamp_t timestamp;
    uint32_t ttl_ms;
    enum hold_state state;
    struct operation *taking; /* until the first answer */
    struct request *request;
    nanoseconds_t asked_ns; /* the request under way, or the last */
    nanoseconds_t held_ns;  /* the last one that was granted, when it was asked */
    struct timer timer;     /* the next renewal */
    UT_hash_handle hh;
};

struct client_core {
    struct client_core_options options;
    struct client_update update;
    struct coordinator_update txn_update;
    struct random random;
    struct timers timers;
    struct arena arena; /* of the frame being handled */
    nanoseconds_t now_ns;
    bool is_stopped;
    uint64_t client_id;
    uint64_t sequence;
    uint64_t request_id;
    struct request *requests;
    struct request *requests_free;
    uint32_t requests_free_count;
    struct request_list moved; /* moved.c */
    struct core_txn *txns;
    struct core_txn *txns_free;
    uint32_t txns_free_count;
    TAILQ_HEAD(, operation) waiting; /* OPEN, AFTER, MAP: for something else than a request */

    /* peers.c */
    cluster_id_t cluster_id;
    struct peer **peers;
    uint32_t peers_count, peers_capacity;
    struct peer *peers_by_connection, *peers_by_store;
    int failure_status; /* why the last connection came to nothing, for ost_open */
    char failure_text[200];

    /* map_watch.c */
    struct map_cache map;
    struct peer *map_peer; /* subscribed to */
    uint64_t map_request_id;
    struct peer *map_asked;
    nanoseconds_t map_asked_ns;
    bool map_asked_for_caller; /* who wants the newest map, not just a newer one */
    uint32_t map_pause_ms;     /* between two questions that find nothing newer */
    bool map_wanted;
    uint32_t map_turn;
    uint32_t map_dial_turn; /* who is dialed next when an answer was of no use */
    struct timer map_timer;

    /* Oracle time: the highest heard, and an estimate that goes on from there. */
    timestamp_t heard;
    bool is_time_known; /* the oracle has answered once */
    timestamp_t estimate_base;
    nanoseconds_t estimate_base_ns;
    struct request *oracle_request;
    nanoseconds_t oracle_asked_ns; /* when its question, or the last one, was sent for */

    /* snapshot.c */
    struct request *question; /* for a timestamp; NULL: none is under way */
    uint64_t questions_count;
    nanoseconds_t question_asked_ns;
    timestamp_t fresh; /* the last answer; 0: none. Given out no earlier than this: */
    nanoseconds_t fresh_asked_ns;
    struct core_hold *holds; /* by id */
    uint64_t hold_id;
};

/* client_core.c */
timestamp_t core_estimate(const struct client_core *core);
/* Since the transaction's first try, by that estimate. */
uint64_t core_age_ms(const struct client_core *core, const struct txn_age *age);
void core_heard(struct client_core *core, timestamp_t timestamp);
/* The oracle gave it out no earlier than `asked_ns`, and goes on at no more than twice real speed
 * (O4): so the estimate can be told to be ahead, and goes back. Else it would run ever further
 * ahead of an oracle whose clock is the slower one, and deadlines with it. */
void core_heard_fresh(struct client_core *core, timestamp_t timestamp, nanoseconds_t asked_ns);
/* Asks the oracle for the time, unless it is being asked or was a moment ago. */
void core_ask_time(struct client_core *core);
void core_time_answered(struct client_core *core, int status, timestamp_t timestamp);
void core_complete(struct client_core *core, struct operation *operation, int status);
/* How long a group shall let a request wait that is given up at `give_up_ns`: its answer is to come
 * before that. */
uint32_t core_wait_ms(const struct client_core *core, nanoseconds_t give_up_ns);
nanoseconds_t core_backoff_ns(struct client_core *core, uint32_t tries_count);
/* The same where a range is on its way, which is soon over. */
nanoseconds_t core_moved_backoff_ns(struct client_core *core, uint32_t tries_count);

/* peers.c */
void peers_init(struct client_core *core);
void peers_fini(struct client_core *core);
struct peer *peer_of_connection(struct client_core *core, uint64_t connection_id);
struct peer *peer_of_store(struct client_core *core, store_id_t store);
/* Begins to connect when it is idle and its time has come. False: it cannot be used now. */
bool peer_wake(struct client_core *core, struct peer *peer);
void peer_connected(struct client_core *core, struct peer *peer, int status);
/* Lost, or closed by us with `close`. Its requests are tried again. */
void peer_lost(struct client_core *core, struct peer *peer, bool close);
void peer_send(struct client_core *core, struct peer *peer, struct blob *frame_take);
void peer_greeted(struct client_core *core, struct peer *peer, const struct frame *frame);
/* The map is newer: learn stores and addresses. */
void peers_learn(struct client_core *core);
void peers_dial_any(struct client_core *core);

/* map_watch.c */
void map_want(struct client_core *core);
void map_received(struct client_core *core, struct peer *peer, const struct frame *frame);
void map_peer_opened(struct client_core *core);
void map_peer_lost(struct client_core *core, struct peer *peer);

/* requests.c */
struct request *request_new(struct client_core *core, uint16_t type, enum request_owner owner,
                            nanoseconds_t give_up_ns);
/* Tries it now. */
void request_start(struct client_core *core, struct request *request);
void request_free(struct client_core *core, struct request *request);
/* Under way no longer; tried again at that time. */
void request_rest_until(struct client_core *core, struct request *request, nanoseconds_t until_ns);
void requests_peer_opened(struct client_core *core, struct peer *peer);
void requests_peer_lost(struct client_core *core, struct peer *peer);
void request_answered(struct client_core *core, struct peer *peer, const struct frame *frame);
void requests_fini(struct client_core *core);

/* An answer, whatever its type. */
struct answer {
    const ProtobufCMessage *message;
    const Ostraka__AnswerHeader *header; /* NULL: all zeros */
    int status;
    struct lock_entry_number entry;
    bool found;
    timestamp_t timestamp; /* version, vote or commit */
    timestamp_t read_timestamp;
    uint32_t rows_count;
    bool more;
    struct bytes payload;
};

/* moved.c */
/* Does our map say another group or epoch for what the request names? */
bool moved_is_outdated(const struct client_core *core, const struct request *request);
/* RANGE_MOVED. */
void moved_answered(struct client_core *core, struct request *request, bool was_any_replica);
/* It is tried, or gone. */
void moved_forget(struct client_core *core, struct request *request);
/* A newer one. */
void moved_map_received(struct client_core *core);

/* core_txn.c */
struct core_txn *core_txn_take(struct client_core *core); /* from the pool, or a new one */
void core_txn_register(struct client_core *core, struct core_txn *txn, const struct txn_age *age);
/* Asks for the commit, or again; `operation` is completed by it. */
void core_txn_commit(struct client_core *core, struct core_txn *txn, struct operation *operation);
/* Nobody names it any more. */
void core_txn_drop(struct client_core *core, struct core_txn *txn);
/* OST_OK: it grows. */
int core_txn_check_growing(struct client_core *core, struct core_txn *txn);
struct blob *core_txn_encode(struct client_core *core, struct request *request);
void core_txn_answered(struct client_core *core, struct request *request,
                       const struct answer *answer);
void core_txn_gave_up(struct client_core *core, struct request *request);
/* The request stays, encoded anew, or is gone by the end of this. */
void core_txn_reroute(struct client_core *core, struct request *request);
/* `read`: what an OK answer has shown. */
void core_txn_read_answered(struct client_core *core, struct core_txn *txn, group_id_t group,
                            const struct lock_target *read, const struct answer *answer);
void core_txn_locks_gone(struct client_core *core, const struct frame *frame);
void core_txns_fini(struct client_core *core);

/* operations.c */
/* Until `fired`, or until somebody takes it out of core->waiting. */
void operation_wait(struct client_core *core, struct operation *operation, nanoseconds_t until_ns,
                    void (*fired)(void *context, struct timer *timer));
void operation_timed_out(void *context, struct timer *timer);
void operation_submitted(struct client_core *core, struct operation *operation);
void operation_cancel(struct client_core *core, struct operation *operation);
bool operations_wait_for_map(const struct client_core *core);
void operations_map_received(struct client_core *core, bool was_asked);
struct blob *operation_encode(struct client_core *core, struct request *request);
void operation_answered(struct client_core *core, struct request *request,
                        const struct answer *answer);
void operation_gave_up(struct client_core *core, struct operation *operation, int last_status);
/* The commit of its transaction has come to an end. */
void operation_commit_finished(struct client_core *core, struct operation *operation);
/* One without a transaction of the caller's was refused: run it again later, or complete with
 * `status`. */
void operation_run_again(struct client_core *core, struct operation *operation, int status);
/* A transaction of its own, with the age of its first try. */
void operation_take_txn(struct client_core *core, struct operation *operation);
/* It is in the caller's transaction. */
static inline bool operation_is_callers(const struct operation *operation)
{
    return operation->txn && !operation->owns_txn;
}
/* Says why it failed, in a text of its own. */
__attribute__((format(printf, 2, 3))) void operation_explain(struct operation *operation,
                                                             const char *format, ...);

/* operations_admin.c */
bool operation_is_admin(const struct operation *operation);
uint16_t admin_frame_type(const struct operation *operation);
struct blob *admin_encode(struct client_core *core, struct request *request);
void admin_answered(struct client_core *core, struct operation *operation,
                    const struct answer *answer);

/* operations_update.c */
void update_start(struct client_core *core, struct operation *operation);
void update_answered(struct client_core *core, struct operation *operation, group_id_t group,
                     const struct answer *answer);
/* `keys` are rows, `keys_count` of them: all that the transaction sees in the interval. */
void delete_range_scanned(struct client_core *core, struct operation *operation, struct bytes keys,
                          uint32_t keys_count);

/* explain.c */
/* What the reason tells beside its status: "key x; behind transaction ..., 1.2 s old; ..." */
void explain_reason(const struct client_core *core, const struct coordinator_reason *reason,
                    char *text, size_t text_bytes_max);

/* core_hold.c */
void hold_take(struct client_core *core, struct operation *operation);
void hold_release(struct client_core *core, struct operation *operation);
struct blob *hold_encode(struct client_core *core, struct request *request);
void hold_answered(struct client_core *core, struct request *request, const struct answer *answer);
void hold_gave_up(struct client_core *core, struct request *request);
void holds_fini(struct client_core *core);

/* operations_scan.c */
void scan_start(struct client_core *core, struct operation *operation);
struct blob *scan_encode(struct client_core *core, struct request *request);
void scan_answered(struct client_core *core, struct operation *operation, group_id_t group,
                   const struct answer *answer);
void scan_free(struct scan *scan);
void scan_complete(struct client_core *core, struct operation *operation);

/* snapshot.c */
void snapshot_timestamp_start(struct client_core *core, struct operation *operation);
void snapshot_question_answered(struct client_core *core, const struct answer *answer);
void snapshot_question_gave_up(struct client_core *core, int status);
/* One of the group's stores, each as likely; NULL: none can be used now. */
struct peer *snapshot_choose_replica(struct client_core *core, const struct map_group *group);
