/* client_script.h: the client's core against three scripted stores, frame by frame, in made-up
 * time. Greetings, maps and timestamps are answered by themselves; every other frame waits in the
 * inbox for the test to answer. Group 1 has the keys below "m", group 2 the others, until the test
 * says otherwise; store 1 leads groups 0 and 1, store 2 group 2. One script a process: each test
 * runs in one of its own. */
#pragma once

#include "client/client_core.h"
#include "proto/session.pb-c.h"

#define SCRIPT_STORES_COUNT 3
#define SCRIPT_INBOX_MAX    64
#define SCRIPT_RANGES_MAX   8

struct script_request {
    uint64_t connection_id;
    store_id_t store;
    struct blob *blob;
    struct frame frame;
};

struct script_range {
    const char *start;
    group_id_t group;
    uint64_t epoch;
    Ostraka__RangeChange *change; /* under way; may be NULL */
};

/* What came of an operation. */
struct script_outcome {
    bool is_done;
    int status;
    char value[64];
    size_t rows_count;
    bool more;
    group_id_t group;
    timestamp_t version;
    uint64_t hold;
};

struct client_script {
    struct client_core *core;
    nanoseconds_t now_ns;
    struct script_request inbox[SCRIPT_INBOX_MAX]; /* the oldest first */
    size_t inbox_count;
    uint64_t connections[SCRIPT_STORES_COUNT + 1]; /* by store; 0: none */
    uint64_t next_connection_id;
    uint32_t maps_asked_count;
    bool subscribed; /* to the map */
    /* The test's to set: */
    bool refuses[SCRIPT_STORES_COUNT + 1]; /* connects fail */
    store_id_t map_leaders[3];
    uint64_t map_epoch, range_epoch;
    group_id_t high_group;                         /* of the keys from "m" on */
    struct script_range ranges[SCRIPT_RANGES_MAX]; /* instead of those two */
    size_t ranges_count;
    uint64_t next_change;
    store_id_t joining_store; /* has a second replica of each group; 0: none has */
    bool timestamps_wait;     /* they are the test's to answer */
    uint32_t mapless_answers; /* so many stores that are asked for the map have none yet */
};

extern struct client_script script;

/* For a suite's .init and .fini: a client that is open. */
void script_setup(void);
void script_teardown(void);

/* One step and all that follows from it. */
void script_deliver(struct client_event event);
/* Time goes on, timer by timer. */
void script_pass_ms(uint64_t ms);
/* The connection to the store is gone. */
void script_lose(store_id_t store);

/* --- What the client is asked to do --- */

struct operation *operation_on_key(enum operation_type type, const char *key, const char *value);
/* The outcome is filled when it is done, once; NULL: nobody looks. */
void script_submit(struct operation *operation, struct script_outcome *outcome);
void script_submit_txn(enum operation_type type, struct core_txn *txn,
                       struct script_outcome *outcome);
void script_txn_put(struct core_txn *txn, const char *key, const char *value);

/* --- What the stores answer --- */

/* The only request that waits. */
struct script_request *script_only(uint16_t type, store_id_t store);
/* Takes inbox[at] out; its blob is the caller's. */
struct script_request script_take(size_t at);
void script_inbox_clear(void);
/* `payload` NULL: none. */
void script_reply(uint64_t connection_id, uint16_t type, uint64_t request_id,
                  const ProtobufCMessage *message, const char *payload);
/* The next map: so many ranges in key order, the first from "" on. */
void script_ranges_set(const struct script_range *ranges, size_t count);
/* An answer, or with request id 0 a push. */
void script_map_send(uint64_t connection_id, uint64_t request_id);

/* What the request that waits names: its group, and its range or ranges. */
struct script_named {
    group_id_t group;
    char starts[SCRIPT_RANGES_MAX][16];
    uint64_t epochs[SCRIPT_RANGES_MAX];
    size_t ranges_count;
};
struct script_named script_names(size_t at);

/* These answer inbox[at] and take it out. A status alone, which may be OST_OK: */
void script_refuse(size_t at, int status, store_id_t hint);
void script_answer_get(size_t at, const char *value);
void script_answer_lock(size_t at, const char *value);
void script_answer_vote(size_t at, timestamp_t timestamp);
void script_answer_timestamp(size_t at, timestamp_t timestamp);
/* A page of rows; with `entry_counter` 0 they are not locked. */
void script_answer_rows(size_t at, const char *const *keys, uint32_t count, bool more,
                        uint64_t entry_counter);
