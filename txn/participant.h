/* participant.h: the volatile half of a group's transactions, at its leader: who holds which locks,
 * who waits, who has been wounded. A step function.
 *
 * Life of a transaction's entry (T1); each change is asserted against this table:
 *   GROWING   takes locks for reads; may be wounded, may expire.
 *   PREPARING a Prepare has come: waits for its write locks, then for a timestamp; may be wounded.
 *   BOUND     its lower bound is fixed and its entry proposed (T4): nothing may end it but its log
 * entry. PREPARED  its entry is applied: only the outcome ends it. GROWING -> PREPARING -> BOUND ->
 * PREPARED -> gone; GROWING, PREPARING -> gone (wounded, expired, released); BOUND -> gone (refused
 * at apply, or a one-group commit); PREPARED also comes from the log, at the start of a leadership.
 *
 * An entry is named by (term, counter); one that is gone is never valid again: OST_LOCKS_LOST.
 */
#pragma once

#include "base/arena.h"
#include "base/status.h"
#include "proto/write_set.h"
#include "txn/lock_table.h"
#include "txn/txn_id.h"

struct lock_entry_number {
    raft_term_t term; /* 0: none */
    uint64_t counter;
};

struct participant_options {
    struct lock_table_options locks;
    uint32_t lock_wait_ms_max;  /* 5000 */
    uint32_t entry_expiry_ms;   /* 5000 without a heartbeat or request */
    uint32_t prepared_ask_ms;   /* 50: an older waiter asks about a prepared one after that (T2) */
    uint32_t entries_count_max; /* 100,000: above, OST_BUSY */
};
void participant_options_default(struct participant_options *out_options);

/* Why an entry is gone, where OST_LOCKS_LOST alone does not tell. On the wire: LossCause. */
enum participant_loss {
    LOSS_UNSAID,
    LOSS_LEADER_CHANGED,
    LOSS_EXPIRED,
    LOSS_RANGE_MOVES,
};

/* Why a request ended; goes into the answer's header. */
struct participant_reason {
    enum participant_loss loss;
    struct txn_id other;
    struct txn_age other_age;
    struct bytes key; /* borrowed from the update's arena */
    uint64_t waited_ms;
};

enum participant_event_type {
    /* Leadership. LED: nothing but what PARTICIPANT_EV_RECOVERED hands over is locked. */
    PARTICIPANT_EV_LED,       /* term */
    PARTICIPANT_EV_RECOVERED, /* one prepared transaction out of the replicated state; before any
                                 request */
    PARTICIPANT_EV_DEPOSED, /* everything waiting is refused with OST_NOT_LEADER; BOUND ones too, as
                             * OST_NOT_LEADER (the client asks again with the same id) */
    /* Requests; `token` names them in the update. */
    PARTICIPANT_EV_LOCK, /* for a transaction that grows */
    PARTICIPANT_EV_READ, /* one linearizable read or scan: waits only for BOUND and PREPARED writers
                          * it meets, leaves no lock, and belongs to no transaction */
    PARTICIPANT_EV_READ_AT,   /* the same as of `timestamp` (T4): only writers bound at or below it
                               * are waited for, and with the interval of all keys all of them */
    PARTICIPANT_EV_PREPARE,   /* write set checked; takes its write locks, then the shared ones */
    PARTICIPANT_EV_VALIDATE,  /* granted or refused at once (T8) */
    PARTICIPANT_EV_HEARTBEAT, /* as above */
    PARTICIPANT_EV_RELEASE,   /* drop the entry unless it is BOUND or PREPARED; always granted */
    PARTICIPANT_EV_CANCEL,    /* the asking connection is gone: forget the request `token` */
    /* What the caller learned. */
    PARTICIPANT_EV_TIMESTAMP, /* the oracle's answer for prepare `token` (asked after it was ready)
                               */
    PARTICIPANT_EV_PREPARED,  /* its entry was applied as prepared */
    PARTICIPANT_EV_FINISHED,  /* outcome applied, or refused at apply, or a one-group commit applied
                               */
    PARTICIPANT_EV_FREEZE_RANGE, /* refuse (OST_RANGE_MOVED) and drop what is not BOUND in [start,
                                    end) */
    PARTICIPANT_EV_TIMER,
};

struct participant_event {
    enum participant_event_type type;
    nanoseconds_t now_ns;
    uint64_t token;
    struct txn_id txn;
    struct txn_age age;
    struct lock_entry_number entry;
    raft_term_t term;
    struct lock_target target;              /* LOCK, READ, READ_AT; FREEZE_RANGE */
    enum lock_mode mode;                    /* LOCK */
    uint32_t wait_ms_max;                   /* 0: the option, which is also the most */
    struct bytes write_set;                 /* PREPARE, RECOVERED; borrowed */
    const struct lock_target *shared_locks; /* PREPARE: what it has read without locks; RECOVERED */
    uint32_t shared_locks_count;
    struct bytes anchor;   /* PREPARE, RECOVERED: copied, handed back with inquiries */
    timestamp_t deadline;  /* same */
    timestamp_t timestamp; /* TIMESTAMP, RECOVERED: the lower bound, already above all that T3 asks;
                            * READ_AT: as of when */
};

struct participant_granted {
    uint64_t token;
    struct lock_entry_number entry; /* LOCK: to be told to the client */
};
/* All locks that it asked for are held. First `needs_timestamp`: ask the oracle after this, and
 * come back with PARTICIPANT_EV_TIMESTAMP. Then, from that event, `bound`: propose now; it can no
 * longer be wounded. */
struct participant_ready {
    uint64_t token;
    struct txn_id txn;
    timestamp_t bound; /* 0: needs a timestamp */
    const struct lock_target
        *shared_locks; /* with a bound: what it holds shared, for the log entry */
    uint32_t shared_locks_count;
};
struct participant_refused {
    uint64_t token;
    int status;
    struct participant_reason reason;
};
/* An older transaction has waited for this prepared one: ask home to abort it (T2, T7). */
struct participant_inquiry {
    struct txn_id txn;
    struct bytes anchor;
    timestamp_t deadline;
};

struct participant_update {
    struct arena arena; /* what the arrays and keys below live in */
    struct participant_granted *granted;
    uint32_t granted_count, granted_capacity;
    struct participant_ready *ready;
    uint32_t ready_count, ready_capacity;
    struct participant_refused *refused;
    uint32_t refused_count, refused_capacity;
    struct participant_inquiry *inquiries;
    uint32_t inquiries_count, inquiries_capacity;
    uint32_t wounded_count; /* entries that ended by a wound in this step */
    nanoseconds_t deadline_ns;
};
void participant_update_init(struct participant_update *update);
void participant_update_reset(struct participant_update *update);
void participant_update_fini(struct participant_update *update);

struct participant;
struct participant *participant_new(const struct participant_options *options);
void participant_free(struct participant *participant);

/* Always succeeds: what cannot be done is refused in the update. One step may grant and refuse many
 * requests of others. A request is answered exactly once: granted, bound, or refused. Only a bound
 * one may still be refused after that, with OST_NOT_LEADER or OST_CANCELED, as long as its entry is
 * BOUND: its outcome will not be told to this token.
 *
 * Retries: LOCK with entry (0,0) for an id that has an entry joins it (a lost answer). PREPARE for
 * an id in PREPARING or BOUND replaces the waiting token (the old one is refused with
 * OST_CANCELED); for one in PREPARED it is the caller's to answer from the state, and never gets
 * here. */
void participant_step(struct participant *participant, const struct participant_event *event,
                      struct participant_update *update);

struct participant_counts {
    uint64_t keys_locked, waiters, entries, prepared;
};
/* The prepare that waits for this transaction's entry to be bound and applied: whom to answer when
 * it is (a retry may have replaced the token that was proposed with). Ask before PREPARED or
 * FINISHED. */
bool participant_find_prepare(const struct participant *participant, struct txn_id txn,
                              uint64_t *out_token);
void participant_get_counts(const struct participant *participant,
                            struct participant_counts *out_counts);
/* Each lock that is held, by whom. For who looks on. */
void participant_each_lock(const struct participant *participant,
                           void (*visit)(void *context, struct txn_id owner,
                                         const struct lock_target *target, enum lock_mode mode),
                           void *context);
/* --- For people who look on: participant_list.c */

/* As in the table above. On the wire: EntryState. */
enum participant_state {
    PARTICIPANT_GROWING,
    PARTICIPANT_PREPARING,
    PARTICIPANT_BOUND,
    PARTICIPANT_PREPARED,
};
struct participant_entry;
struct participant_entry_info {
    struct txn_id txn;
    struct txn_age age;
    struct lock_entry_number number;
    enum participant_state state;
    uint64_t here_ms;  /* since this try came to this leader */
    uint64_t quiet_ms; /* since something was heard of it */
    uint64_t locks_count;
    uint64_t reads_held_count; /* READs that wait for its outcome */
    uint32_t waits_count;      /* requests of its own that wait for a lock */
    struct bytes anchor;       /* from PREPARING on, as is the next; borrowed */
    timestamp_t deadline;
};
/* Each entry whose counter is above `after_counter`, in the order of the counters, until `visit`
 * returns false. The participant must not change meanwhile. */
void participant_each_entry(const struct participant *participant, nanoseconds_t now_ns,
                            uint64_t after_counter,
                            bool (*visit)(void *context, const struct participant_entry *entry,
                                          const struct participant_entry_info *info),
                            void *context);
void participant_entry_each_lock(const struct participant_entry *entry,
                                 void (*visit)(void *context, const struct lock_target *target,
                                               enum lock_mode mode),
                                 void *context);
struct participant_wait_info {
    struct lock_target target;
    enum lock_mode mode;
    uint64_t waited_ms;
    struct txn_id behind; /* the first in the way: a holder, or an older waiter; zeros: none now */
    struct txn_age behind_age;
    uint32_t behind_count; /* how many there are */
};
void participant_entry_each_wait(const struct participant *participant,
                                 const struct participant_entry *entry, nanoseconds_t now_ns,
                                 void (*visit)(void *context,
                                               const struct participant_wait_info *wait),
                                 void *context);

/* Does a transaction BOUND or PREPARED here hold [start, end) exclusively? For snapshot readers
 * (T4). */
bool participant_has_bound_writer(const struct participant *participant,
                                  const struct lock_target *target);
/* The invariants above and the lock table's; asserts. For tests: it walks everything. */
void participant_check(const struct participant *participant);
