/* recovery.h: what a leader does about transactions that nobody drives any more: home tells the
 * participants the outcome until all have acknowledged; a participant in doubt asks home. A step
 * function over the replicated records (record.h).
 *
 * Home: a record that is decided and has participants left is told to each at once, and again every
 * retry_ms; when all have answered it joins the next AcknowledgedCommand (one entry for many, at
 * most every acknowledge_ms). A new leader starts with what its records say. Home, still pending
 * past the deadline: nobody may ever ask, so it proposes the abort by itself. Participant:
 * prepared, and the log's time is past the deadline, or an older transaction waits (T2):
 * InquireRequest to home, again every retry_ms. The answer is logged as ResolvedCommand (T7). Both
 * do the same when nothing was heard of the coordinator for silence_ms: it is dead, and its locks
 * are in everybody's way. That is measured by the local clock, because it decides nothing: home's
 * log does, as for any abort, and the coordinator's commit comes before it or too late. Retries of
 * one transaction slow down to eight times retry_ms. A proposal may get lost with the term: what it
 * was for is looked at again.
 *
 * Memory: one item per open transaction. A step sends a bounded number of frames; what is left is
 * due at once (deadline_ns).
 */
#pragma once

#include "proto/outbox.h"
#include "txn/record.h"

struct recovery_options {
    uint32_t retry_ms;              /* 200 */
    uint32_t acknowledge_ms;        /* 100 */
    uint32_t acknowledge_count_max; /* 4096 in one entry */
    uint32_t silence_ms;            /* 4000: of a coordinator, who sends a heartbeat a second */
};
void recovery_options_default(struct recovery_options *out_options);

/* A command that the caller shall propose. */
struct recovery_proposal {
    Ostraka__KvCommand command; /* in the update's arena */
};
struct recovery_update {
    struct arena arena;
    struct outbox *outbox; /* the caller's: RESOLVE and INQUIRE frames, by key */
    struct recovery_proposal *proposals;
    uint32_t proposals_count, proposals_capacity;
    bool needs_log_time; /* somebody waits for a deadline: the log's time must go on, ask the oracle
                          */
    uint64_t inquiries_count;  /* sent since the reset */
    nanoseconds_t deadline_ns; /* as of the last step; NS_NEVER: nothing waits */
};
void recovery_update_init(struct recovery_update *update, struct outbox *outbox);
void recovery_update_reset(struct recovery_update *update);
void recovery_update_fini(struct recovery_update *update);

struct recovery;
struct recovery *recovery_new(const struct recovery_options *options, struct txn_records *records);
void recovery_free(struct recovery *recovery);

/* Leadership began: take up every open transaction. Or ended: forget everything. */
void recovery_led(struct recovery *recovery, nanoseconds_t now_ns, struct recovery_update *update);
void recovery_deposed(struct recovery *recovery);
/* An entry was applied that opened, decided or ended this transaction. It looks the id up, whose
 * record may be gone. Need not be called for what an AcknowledgedCommand ended: the next retry
 * finds out. */
void recovery_changed(struct recovery *recovery, struct txn_id txn, nanoseconds_t now_ns,
                      struct recovery_update *update);
/* Its coordinator lives. */
void recovery_heard(struct recovery *recovery, struct txn_id txn, nanoseconds_t now_ns);
/* An older transaction waits for this one (participant's inquiry): ask home to abort it; where this
 * is its home, propose that. */
void recovery_inquire(struct recovery *recovery, struct txn_id txn, nanoseconds_t now_ns,
                      struct recovery_update *update);
/* Frames of the group-to-group kind that reached this leader. */
void recovery_resolve_answered(struct recovery *recovery, const Ostraka__ResolveAnswer *answer,
                               nanoseconds_t now_ns, struct recovery_update *update);
void recovery_inquire_answered(struct recovery *recovery, const Ostraka__InquireAnswer *answer,
                               nanoseconds_t now_ns, struct recovery_update *update);
/* `log_timestamp`: the newest that was applied or heard. */
void recovery_timer(struct recovery *recovery, timestamp_t log_timestamp, nanoseconds_t now_ns,
                    struct recovery_update *update);
