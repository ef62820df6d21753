/* participant_internal.h: what the participant's files share.
 *
 * Invariants:
 *   P1 a token is answered once; it is in `requests` exactly until then (a prepare's until its
 * entry is applied or gone). P2 a BOUND or PREPARED entry ends by FINISHED or DEPOSED alone. P3 no
 * lock request of an older transaction waits for a lock that a younger one holds, unless that one
 * is BOUND or PREPARED (wound-wait; with it there is no circle of waits). P4 after a step no grant
 * of the lock table is left unreported. P5 a waiting read waits for one BOUND or PREPARED entry,
 * and is in its list.
 */
#pragma once

#include "base/memory.h"
#include "txn/participant.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include <stdlib.h>

#define uthash_malloc(bytes_count)       memory_alloc(bytes_count)
#define uthash_free(memory, bytes_count) free(memory)
#include <uthash.h>

/* How many entries that ended before their time are remembered, so that a late request learns why.
 */
#define ENDED_COUNT_MAX 4096u
/* A longer key is left out of what is remembered. */
#define ENDED_KEY_BYTES_MAX 128u

enum participant_timer_kind {
    TIMER_EXPIRY, /* of an entry */
    TIMER_WAIT,   /* of a request: it has waited long enough */
    TIMER_ASK,    /* of a request: ask about the prepared ones that it waits for */
};

struct participant_timer {
    RB_ENTRY(participant_timer) link;
    nanoseconds_t deadline_ns;
    uint64_t serial; /* among equal deadlines, the one armed first goes first */
    enum participant_timer_kind kind;
    bool is_armed;
};
RB_HEAD(participant_timers, participant_timer);

enum entry_state {
    ENTRY_NEW,
    ENTRY_GROWING,
    ENTRY_PREPARING,
    ENTRY_BOUND,
    ENTRY_PREPARED,
    ENTRY_GONE,
    ENTRY_STATES_COUNT,
};

enum request_kind { REQUEST_LOCK, REQUEST_READ, REQUEST_PREPARE };

/* A request that has not been answered. */
struct participant_request {
    UT_hash_handle hh; /* by token, in the order of arrival */
    uint64_t token;
    enum request_kind kind;
    bool is_ready;                   /* PREPARE: all is held, it waits for a timestamp */
    enum lock_mode mode;             /* LOCK */
    timestamp_t timestamp;           /* READ: writers bound above it are not waited for */
    struct participant_entry *entry; /* its own; READ: the one that it waits for */
    TAILQ_ENTRY(participant_request) link;
    struct lock_target target; /* what it waits for; PREPARE: points into the entry's write keys */
    nanoseconds_t since_ns;
    struct participant_timer wait;
    struct participant_timer ask;
    uint8_t data[]; /* LOCK, READ: the target's keys */
};
TAILQ_HEAD(participant_requests, participant_request);

/* The keys of a write set, without its values. */
struct participant_write_keys {
    uint32_t keys_count;
    struct bytes keys[];
};

/* What a Prepare asks for besides its write locks: what was read without a lock. */
struct participant_targets {
    uint32_t targets_count;
    struct lock_target targets[];
};

struct participant_entry {
    UT_hash_handle hh; /* by txn, in the order of their making */
    struct txn_id txn;
    struct lock_entry_number number;
    enum entry_state state;
    bool is_told; /* a client knows its number: it has locks here that it relies on */
    struct lock_owner *owner;
    nanoseconds_t made_ns;
    nanoseconds_t alive_ns; /* last heard of */
    struct participant_timer expiry;
    struct participant_requests locks;         /* LOCKs that wait */
    struct participant_request *prepare;       /* the open one */
    struct participant_requests reads;         /* READs that wait for this entry */
    struct participant_write_keys *write_keys; /* PREPARING */
    uint32_t write_keys_held;                  /* the first so many are held */
    struct participant_targets *checks;        /* PREPARING; then these are taken shared */
    uint32_t checks_held;                      /* the first so many are held */
    timestamp_t bound; /* BOUND, PREPARED: it commits at this timestamp or above */
    struct blob *anchor;
    timestamp_t deadline;
    nanoseconds_t asked_ns; /* of the last inquiry about it; 0: none */
};

/* Why an entry ended, kept for a while. */
struct participant_ended {
    UT_hash_handle hh;
    TAILQ_ENTRY(participant_ended) link;
    struct txn_id txn;
    int status;
    enum participant_loss loss;
    struct txn_id other;
    struct txn_age other_age;
    struct blob *key;
};
TAILQ_HEAD(participant_ended_list, participant_ended);

struct participant {
    struct participant_options options;
    bool is_led;
    raft_term_t term;
    uint64_t counter_last;
    struct lock_table *table;
    struct participant_entry *entries;
    uint64_t prepared_count;
    struct participant_request *requests;
    uint64_t reads_count;
    struct participant_ended *ended;
    struct participant_ended_list ended_order; /* the oldest first */
    struct participant_timers timers;
    uint64_t timer_serial_last;
    /* Scratch of one wound. */
    struct participant_entry **victims;
    uint32_t victims_count, victims_capacity;
    /* Of the step that is running. */
    nanoseconds_t now_ns;
    struct participant_update *update;
};

/* What an end means for the entry's own requests. */
struct participant_end {
    int status;       /* for those that wait */
    int status_later; /* for later ones that name the entry; OST_OK: not remembered */
    enum participant_loss loss;
    const struct participant_entry *other; /* who stood in the way, or NULL */
    struct bytes key;
};

/* ---- participant_update.c: answers ---- */
void participant_grant(struct participant *p, uint64_t token, struct lock_entry_number number);
struct participant_ready *participant_ready_add(struct participant *p);
void participant_refuse(struct participant *p, uint64_t token, int status,
                        const struct participant_reason *reason);
void participant_inquire(struct participant *p, const struct participant_entry *entry);

/* ---- participant_request.c ---- */
void participant_timer_arm(struct participant *p, struct participant_timer *timer,
                           nanoseconds_t deadline_ns);
void participant_timer_disarm(struct participant *p, struct participant_timer *timer);
struct participant_timer *participant_timer_first(struct participant *p);

struct participant_request *participant_request_find(struct participant *p, uint64_t token);
/* Starts its time. `entry` as in the struct. A prepare's target is set later. */
struct participant_request *participant_request_new(struct participant *p,
                                                    const struct participant_event *event,
                                                    enum request_kind kind,
                                                    struct participant_entry *entry);
/* Forgets it; what it waits for in the lock table is the caller's to withdraw. */
void participant_request_free(struct participant *p, struct participant_request *request);
void participant_request_refuse(struct participant *p, struct participant_request *request,
                                int status, const struct participant_reason *reason);
/* Its lock request has been queued: wounds whoever is younger and in the way (T2). */
void participant_request_queued(struct participant *p, struct participant_request *request);
void participant_request_withdraw(struct participant *p, struct participant_request *request);
void participant_request_timed_out(struct participant *p, struct participant_request *request);
void participant_request_ask(struct participant *p, struct participant_request *request);
/* Grants the read, or lets it wait for one more. */
void participant_read_test(struct participant *p, struct participant_request *request);
/* One entry, BOUND or PREPARED with a bound of at most `timestamp`, that holds some of the target
 * exclusively, or NULL. */
struct participant_entry *participant_bound_writer(const struct participant *p,
                                                   const struct lock_target *target,
                                                   timestamp_t timestamp);

/* ---- participant_entry.c ---- */
struct participant_entry *participant_entry_find(const struct participant *p, struct txn_id txn);
struct participant_entry *participant_entry_new(struct participant *p,
                                                const struct participant_event *event);
/* The entry that the request names, or a new one for (0,0). NULL: the request has been refused. */
struct participant_entry *participant_entry_of_request(struct participant *p,
                                                       const struct participant_event *event);
void participant_entry_move(struct participant_entry *entry, enum entry_state state);
void participant_entry_end(struct participant *p, struct participant_entry *entry,
                           const struct participant_end *end);
/* A request has failed: an entry that nobody was told of, and nothing waits in, is of no use. */
void participant_entry_end_if_unknown(struct participant *p, struct participant_entry *entry);
void participant_entry_expired(struct participant *p, struct participant_entry *entry);
bool participant_entry_can_be_wounded(const struct participant_entry *entry);
void participant_entries_clear(struct participant *p);

/* ---- participant_prepare.c ---- */
void participant_step_prepare(struct participant *p, const struct participant_event *event);
void participant_step_timestamp(struct participant *p, const struct participant_event *event);
void participant_step_prepared(struct participant *p, const struct participant_event *event);
void participant_step_finished(struct participant *p, const struct participant_event *event);
void participant_step_recovered(struct participant *p, const struct participant_event *event);
/* The lock that it waited for is held: takes the next ones. */
void participant_prepare_granted(struct participant *p, struct participant_entry *entry);
/* Does a PREPARING entry hold all that its Prepare asked for? */
bool participant_prepare_holds_all(const struct participant_entry *entry);
/* Asks for a timestamp once nothing is waited for any more. */
void participant_prepare_check_ready(struct participant *p, struct participant_entry *entry);
