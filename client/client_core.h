/* client_core.h: the whole client as a step function: connections, routing, requests and their
 * retries, transactions. It does no I/O: runtime.c gives it an io_uring loop; tests give it frames
 * by hand.
 *
 * Reading order: map_cache.h, timers.h, core_internal.h; peers.c (connections), requests.c (tries
 * and retries), moved.c (ranges that move), operations.c (what a caller asks), operations_scan.c,
 * operations_update.c, operations_admin.c, snapshot.c (as of when), core_hold.c (which history is
 * kept), core_txn.c (the coordinator's driver).
 *
 * Invariants:
 *   Q1 every operation submitted is completed exactly once.
 *   Q2 a request keeps its id and its bytes over all its tries, but for the group and range epochs
 * after RANGE_MOVED (T5). Q3 no answer ends no request: it is asked again, until the operation's
 * deadline.
 */
#pragma once

#include "base/random.h"
#include "base/status.h"
#include "client/timers.h"
#include "proto/master.pb-c.h"
#include "proto/outbox.h"
#include "proto/txns.pb-c.h"
#include "txn/coordinator.h"

#include <bsd/sys/queue.h>

struct client_core_options {
    const char *endpoints;         /* "host:port,host:port" */
    uint64_t seed;                 /* the client's id is drawn from it: never the same twice */
    uint32_t operation_timeout_ms; /* 5000 */
    uint32_t try_timeout_ms;       /* 1000: a silent store is given up for another */
    uint32_t backoff_ms_min;       /* 2 */
    uint32_t backoff_ms_max;       /* 100 */
    uint32_t moved_backoff_ms_max; /* 20: while a range is on its way from group to group */
};
void client_core_options_default(struct client_core_options *out_options);

/* One try of a transaction: a coordinator and its requests. Made by the caller's thread; the core's
 * from the first operation that names it on. */
struct core_txn;
struct core_txn *core_txn_new(struct coordinator *coordinator);
/* One that was never handed to the core, or whose core is gone. */
void core_txn_free(struct core_txn *txn);
/* While no operation on it is under way. */
struct coordinator *core_txn_coordinator(struct core_txn *txn);

enum operation_type {
    OPERATION_OPEN, /* until there is a map */
    OPERATION_GET,
    OPERATION_WRITE, /* put or delete */
    OPERATION_SCAN,
    OPERATION_TXN_GET,
    OPERATION_TXN_SCAN,
    /* In a transaction of the caller's, or without one in their own. */
    OPERATION_COMPARE_AND_SET, /* key, expected, value; OST_CONFLICT, and result_value */
    OPERATION_ADD,             /* key, delta; result_number */
    OPERATION_DELETE_RANGE,    /* as SCAN; result_rows_count */
    OPERATION_TXN_COMMIT,
    OPERATION_TXN_DROP,  /* rolls back; the core frees it when it is done with it */
    OPERATION_TIMESTAMP, /* for a snapshot; result_version */
    OPERATION_AFTER,
    OPERATION_MAP,
    OPERATION_ROUTE, /* key: which group has it; result_group */
    OPERATION_STATUS,
    OPERATION_TXNS, /* store, wants_locks, after, rows_count_max */
    /* Of group 0's leader (operations_admin.c). */
    OPERATION_CHANGE_REPLICAS,
    OPERATION_CHANGE_RANGE,
    OPERATION_CHANGE_STORE, /* changed_store, store_change */
    OPERATION_PROGRESS,
    OPERATION_HOLD,    /* hold_timestamp, hold_ttl_ms; gives `hold`, which the core renews until */
    OPERATION_RELEASE, /* lets go of `hold`; done at once */
};

struct scan;
struct request;

/* What a caller asks for, and what comes of it. One allocation: keys and values lie in data. */
struct operation {
    enum operation_type type;
    STAILQ_ENTRY(operation) next; /* the runtime's queues, and the completions */
    /* Asked. */
    struct core_txn *txn; /* TXN_*; the core's own one for WRITE and SCAN */
    struct bytes key;     /* SCAN: the start */
    struct bytes value;   /* SCAN: the end */
    struct bytes expected;
    bool has_expected; /* COMPARE_AND_SET; else the key is to be absent */
    int64_t delta;
    enum write_kind write_kind;
    enum lock_mode lock_mode;
    uint32_t rows_count_max;
    bool reverse;
    timestamp_t timestamp;     /* GET, SCAN: as of when; 0: the newest */
    bool any_replica;          /* with a timestamp: need not be answered by the leader */
    uint32_t staleness_ms_max; /* TIMESTAMP: it may be so old; 0: fresh */
    bool keys_only;            /* SCAN: values stay away */
    uint32_t delay_ms;
    store_id_t store;
    group_id_t group; /* CHANGE_REPLICAS, as are the next three */
    uint64_t group_epoch;
    store_id_t add_store, remove_store;
    /* CHANGE_RANGE: that which holds `key`, as our map has it; a split begins its right half with
     * `key`, a move goes to `group`, and with `cancel` it is that change that is called off. */
    Ostraka__RangeChangeKind range_change;
    uint64_t cancel;
    Ostraka__StoreChangeKind store_change;
    store_id_t changed_store;
    uint32_t timeout_ms; /* 0: the client's */
    bool wants_locks;
    Ostraka__TxnsCursor after; /* group 0: from the start */
    Ostraka__LockEntry after_entry;
    timestamp_t hold_timestamp;
    uint32_t hold_ttl_ms;
    uint32_t hold_age_ms_min; /* HOLD: a younger timestamp needs none, and gets none (0) */
    uint64_t hold;
    /* Brought; borrowed until the next step. */
    int status;
    struct bytes result_value;
    timestamp_t result_version;
    struct bytes result_rows; /* write_set.h */
    uint32_t result_rows_count;
    bool result_more;
    int64_t result_number;
    group_id_t result_group;
    const Ostraka__Map *result_map;
    const Ostraka__StatusAnswer *result_status;
    const Ostraka__ChangeReplicasAnswer *result_change;
    const Ostraka__ChangeRangeAnswer *result_range_change;
    uint64_t result_epoch; /* CHANGE_RANGE: that was named */
    const Ostraka__ProgressAnswer *result_progress;
    const Ostraka__TxnsAnswer *result_txns;
    const char *why; /* static, the core's or why_text; may be NULL */
    /* The submitter's. */
    void (*done)(struct operation *operation);
    void *done_context[3];
    /* The core's. */
    nanoseconds_t deadline_ns;
    struct timer timer;
    struct request *request;
    struct scan *scan;
    bool owns_txn;         /* `txn` is the core's own, for this operation alone */
    int verdict;           /* what it comes to, once what it has read is known to be true */
    struct blob *found;    /* result_value, kept over the commit */
    struct blob *named_at; /* CHANGE_RANGE; of a merge, where the right one began; or NULL */
    char *why_text;
    struct txn_age age; /* of the core's own transaction, kept over its tries */
    uint32_t tries_count;
    uint64_t question; /* TIMESTAMP: whose answer it waits for */
    TAILQ_ENTRY(operation) link;
    uint8_t data[];
};
STAILQ_HEAD(operation_queue, operation);

struct operation *operation_new(enum operation_type type, struct bytes key, struct bytes value);
/* COMPARE_AND_SET; `expected` NULL: the key is to be absent. */
struct operation *operation_new_compare(struct bytes key, const struct bytes *expected,
                                        struct bytes value);
/* After its completion was handed on. */
void operation_free(struct operation *operation);

enum client_event_type {
    CLIENT_EV_SUBMITTED, /* operation: the core's until it is among the completions */
    CLIENT_EV_CONNECTED, /* connection_id, status */
    CLIENT_EV_CLOSED,    /* connection_id */
    CLIENT_EV_FRAME,     /* connection_id, frame (borrowed) */
    CLIENT_EV_TIMER,
    CLIENT_EV_STOPPED, /* every operation ends with OST_CANCELED, and so do later ones */
};

struct client_event {
    enum client_event_type type;
    nanoseconds_t now_ns;
    uint64_t connection_id;
    int status;
    const struct frame *frame;
    struct operation *operation;
};

struct client_connect {
    uint32_t peer;
    const char *address; /* until the update is reset */
};

struct client_update {
    struct outbox frames; /* every address is a connection */
    struct client_connect *connects;
    uint32_t connects_count, connects_capacity;
    uint64_t *closes; /* connections */
    uint32_t closes_count, closes_capacity;
    struct operation_queue completions;
    nanoseconds_t deadline_ns;
};

struct client_core;
struct client_core *client_core_new(const struct client_core_options *options,
                                    nanoseconds_t now_ns);
/* After CLIENT_EV_STOPPED. Transactions that were not dropped are their holders' to free. */
void client_core_free(struct client_core *core);
/* Carry out the update after each step, then reset it. */
void client_core_step(struct client_core *core, const struct client_event *event);
struct client_update *client_core_update(struct client_core *core);
void client_core_update_reset(struct client_core *core);
/* A connect of the update was begun; connection_id 0: it failed at once. */
void client_core_connect_begun(struct client_core *core, uint32_t peer, uint64_t connection_id);
/* Up to this moment of its own clock the core can be sure that group 0 honours a hold; 0: it
 * cannot, or there is none. Later it may be true all the same. */
nanoseconds_t client_core_hold_certain_ns(const struct client_core *core, uint64_t hold);
/* The coordinator's view of the map, for core_txn_new. */
struct coordinator *client_core_coordinator_new(struct client_core *core);
