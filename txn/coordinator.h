/* coordinator.h: one try of one transaction, seen from the client: what it has locked and written,
 * which requests commit or abort it, and what their answers mean. A step function; requests go to
 * keys: it knows nothing of connections, and asks for the map through `route`.
 *
 * Source: Gray and Lamport, "Consensus on Transaction Commit" (TODS 2006) for the roles; DESIGN
 * section 6.
 *
 * Two ways to read. With locks: each read takes one, and names the entry. Optimistic: reads take
 * none (plain GETs and SCANs), and what they read, and as of when, is noted here and checked when
 * the transaction commits: by each group's Prepare, or, when nothing was written, by a Validate to
 * each group after the last read; one read alone is true by itself.
 *
 * Life (each move is asserted against a table):
 *   GROWING    reads lock, writes are kept here.
 *   PREPARING  every group was asked for its vote; or the one group to commit all at once.
 *   COMMITTING every vote is in, home was asked to commit: its log decides.
 *   SETTLING   a refusal came, but an earlier try of the same request may still be under way: home
 * is asked to abort, and its record (or tombstone) decides. VALIDATING nothing was written: each
 * group is asked whether its locks stand (T8), or its reads. COMMITTED, ABORTED   final. Locks are
 * dropped in the background. UNKNOWN    nobody answered in time. Asking to commit again goes back
 * to where it was.
 *
 * Invariants:
 *   C1 No answer is never an abort. ABORTED is said only when nothing was asked that can commit, or
 * when what says so is in home's log, or when the only try was refused. C2 Commit is asked for only
 * when every group has voted, with the highest of their bounds. C3 Id, form (one group or several),
 * anchor, deadline, write sets and reads never change once sent (T5).
 */
#pragma once

#include "txn/participant.h"
#include "txn/txn_id.h"
#include "txn/write_buffer.h"

enum coordinator_state {
    COORDINATOR_GROWING,
    COORDINATOR_PREPARING,
    COORDINATOR_COMMITTING,
    COORDINATOR_SETTLING,
    COORDINATOR_VALIDATING,
    COORDINATOR_COMMITTED,
    COORDINATOR_ABORTED,
    COORDINATOR_UNKNOWN,
};

/* Where a key is, as the newest map has it. Borrowed until the map changes. */
struct coordinator_route {
    group_id_t group;
    struct bytes range_start, range_end;
    uint64_t epoch;
};
/* False: there is no map. */
typedef bool (*coordinator_route_fn)(void *context, struct bytes key,
                                     struct coordinator_route *out_route);

#define COORDINATOR_HEARTBEAT_MS 1000u

/* Why it was refused, out of an answer's header. Borrowed from the coordinator. */
struct coordinator_reason {
    int status;                 /* OST_OK: nothing to tell */
    enum participant_loss loss; /* with OST_LOCKS_LOST */
    struct bytes key;
    struct txn_id other;
    struct txn_age other_age;
    uint64_t waited_ms;
    const char *text; /* may be NULL */
};

enum coordinator_event_type {
    COORDINATOR_EV_READ_ANSWERED, /* group, key, entry, header: a lock or a scan page */
    COORDINATOR_EV_COMMIT_ASKED,  /* deadline: oracle time; counts the first time */
    COORDINATOR_EV_ANSWERED, /* slot, header, timestamp, in_doubt: of a request that it sent. Never
                              * a status after which the same request is simply sent again. */
    COORDINATOR_EV_REROUTE,  /* slot: RANGE_MOVED, and the map is newer by now */
    COORDINATOR_EV_GAVE_UP,  /* slot: no answer, and nobody waits any longer */
    COORDINATOR_EV_LOCKS_GONE, /* header: a heartbeat was answered */
    COORDINATOR_EV_ROLLBACK_ASKED,
    COORDINATOR_EV_TIMER,
};

struct coordinator_event {
    enum coordinator_event_type type;
    nanoseconds_t now_ns;
    uint32_t slot;
    group_id_t group;
    struct bytes key;        /* a key of the range that was read */
    struct lock_target read; /* READ_ANSWERED, optimistic: what was; as of `timestamp` */
    struct lock_entry_number entry;
    const Ostraka__AnswerHeader *header; /* NULL: OST_OK */
    timestamp_t timestamp;               /* of a vote, a commit or a read */
    bool in_doubt; /* an earlier try got no answer: it may have been done, or be done yet */
    timestamp_t deadline;
};

/* What the caller shall do. A slot is one group's; at most one request of a slot is under way. */
struct coordinator_update {
    uint32_t *send; /* slots whose request is to be sent, instead of what was under way there */
    uint32_t send_count, send_capacity;
    uint32_t *drop; /* slots whose request interests nobody any more */
    uint32_t drop_count, drop_capacity;
    uint32_t *heartbeat; /* slots to be told that the transaction lives */
    uint32_t heartbeat_count, heartbeat_capacity;
    bool finished; /* the commit that was asked for has come to an end, see coordinator_status */
    nanoseconds_t deadline_ns;
};
void coordinator_update_init(struct coordinator_update *update);
void coordinator_update_reset(struct coordinator_update *update);
void coordinator_update_fini(struct coordinator_update *update);

struct coordinator;
struct coordinator *coordinator_new(coordinator_route_fn route, void *route_context);
void coordinator_free(struct coordinator *coordinator);
/* As new, for another try or another transaction; keeps memory. */
void coordinator_reset(struct coordinator *coordinator);
/* Before the first step. */
void coordinator_identify(struct coordinator *coordinator, struct txn_id id,
                          const struct txn_age *age);
/* Before the first step; false in a new one, and after a reset. */
void coordinator_set_optimistic(struct coordinator *coordinator, bool is_optimistic);
bool coordinator_is_optimistic(const struct coordinator *coordinator);
struct txn_id coordinator_id(const struct coordinator *coordinator);
const struct txn_age *coordinator_age(const struct coordinator *coordinator);

/* GROWING alone, else OST_TXN_FINISHED. The first written key is the anchor. */
OST_MUST_CHECK int coordinator_write(struct coordinator *coordinator, const struct write *write,
                                     const char **out_why);
const struct write_buffer *coordinator_writes(const struct coordinator *coordinator);

void coordinator_step(struct coordinator *coordinator, const struct coordinator_event *event,
                      struct coordinator_update *update);

enum coordinator_state coordinator_state(const struct coordinator *coordinator);
/* COMMITTED: OST_OK. ABORTED: why. UNKNOWN: OST_MAYBE_COMMITTED. Others: OST_OK. */
int coordinator_status(const struct coordinator *coordinator);
timestamp_t coordinator_commit_timestamp(const struct coordinator *coordinator);
uint32_t coordinator_groups_count(const struct coordinator *coordinator);
const struct coordinator_reason *coordinator_reason(const struct coordinator *coordinator);
/* Final, and no request is needed any more: may be freed. */
bool coordinator_is_done(const struct coordinator *coordinator);
/* Does the caller still wait for this slot, or is it an abort in the background? */
bool coordinator_slot_is_background(const struct coordinator *coordinator, uint32_t slot);

/* How long the groups shall let what is encoded from now on wait for locks; 0: as long as they do.
 * A wait that ends before the asker gives up ends with an answer, which says who stood in the way.
 */
void coordinator_set_wait(struct coordinator *coordinator, uint32_t wait_ms_max);
/* Frames. Each names the group to send to, as the map has it now. NULL: no route (no map). */
struct blob *coordinator_encode(struct coordinator *coordinator, uint32_t slot, uint64_t request_id,
                                group_id_t *out_group);
struct blob *coordinator_encode_lock(struct coordinator *coordinator, uint64_t request_id,
                                     struct bytes key, enum lock_mode mode, group_id_t *out_group);
/* [start, end) must lie in one range: that of `route_key`, which is in it. */
struct coordinator_scan {
    struct bytes route_key, start, end;
    uint32_t rows_count_max;
    bool reverse;
    bool keys_only;
    enum lock_mode mode;
};
struct blob *coordinator_encode_scan(struct coordinator *coordinator, uint64_t request_id,
                                     const struct coordinator_scan *scan, group_id_t *out_group);
struct blob *coordinator_encode_heartbeat(struct coordinator *coordinator, uint32_t slot,
                                          uint64_t request_id, group_id_t *out_group);
