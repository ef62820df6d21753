/* coordinator_internal.h: what coordinator.c (decisions), coordinator_members.c (the groups that
 * take part), coordinator_reads.c (what was read without locks) and coordinator_encode.c (frames)
 * share.
 */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "proto/frame.h"
#include "proto/kv.pb-c.h"
#include "txn/coordinator.h"
#include "txn/record.h"

/* What is asked of a group at the moment. */
enum coordinator_request {
    REQUEST_NONE,
    REQUEST_PREPARE, /* with one_group: the whole commit */
    REQUEST_COMMIT,  /* to home */
    REQUEST_ABORT,   /* to home: its record or a tombstone decides */
    REQUEST_RELEASE, /* only drop the locks */
    REQUEST_VALIDATE,
};

/* A range in which the transaction holds something: one key of it stands for it, so that the range
 * and its epoch are found again after a split or a move. */
struct touched_range {
    struct bytes key;
    struct bytes range_start; /* as it was, to tell ranges apart */
};

/* What was read without a lock (optimistic mode), and as of when. */
struct coordinator_read {
    struct lock_target target;
    timestamp_t read_timestamp;
};

/* One group that takes part. Its index is its slot. */
struct coordinator_member {
    group_id_t group;
    struct lock_entry_number entry; /* 0,0: no locks there */
    struct touched_range *touched;
    uint32_t touched_count, touched_capacity;
    struct buffer write_set;        /* encoded once, when the commit is asked for (C3) */
    struct coordinator_read *reads; /* put in order when the commit is asked for (C3) */
    uint32_t reads_count, reads_capacity;
    size_t reads_bytes;
    enum coordinator_request request;
    bool voted;
    bool asked_only; /* reads went there, and no answer came that names an entry */
};

/* A group that a read was sent to before it was a member. */
struct coordinator_asked {
    group_id_t group;
    struct bytes key, range_start;
};

struct coordinator {
    coordinator_route_fn route;
    void *route_context;
    struct txn_id id;
    struct txn_age age;
    enum coordinator_state state;
    enum coordinator_state resume_state; /* UNKNOWN: where asking again goes on */
    struct arena arena;                  /* touched keys, the anchor, the reason */
    struct write_buffer writes;
    struct bytes anchor; /* empty: nothing was written */
    bool is_optimistic;
    uint32_t reads_count; /* optimistic: answers that came, of all members */
    struct coordinator_member *members;
    uint32_t members_count, members_capacity;
    struct coordinator_asked *asked; /* each group once */
    uint32_t asked_count, asked_capacity;
    uint32_t home; /* slot; with an anchor, once the commit was asked for */
    bool one_group;
    bool was_unknown; /* tries of before may be under way still, whatever the event says */
    timestamp_t deadline;
    timestamp_t commit_timestamp; /* highest vote; the final one when COMMITTED */
    struct coordinator_reason reason;
    nanoseconds_t heartbeat_ns; /* the next one */
    uint32_t wait_ms_max;
};

/* coordinator_members.c */
struct coordinator_member *coordinator_member_find_or_add(struct coordinator *coordinator,
                                                          group_id_t group);
/* Remembers that the transaction holds something in the range of `key`. */
void coordinator_member_touch(struct coordinator *coordinator, struct coordinator_member *member,
                              struct bytes key, struct bytes range_start);
/* A read goes to this group: should nobody hear its answer, the locks that it may have got, or
 * waits for, must go all the same when the transaction ends. */
void coordinator_note_asked(struct coordinator *coordinator, group_id_t group, struct bytes key,
                            struct bytes range_start);
/* Before an abort. Waiters that nobody waits for any more would be granted one after the other, and
 * each would keep its lock until it expires. */
void coordinator_members_add_asked(struct coordinator *coordinator);
/* Gives each write to the group of its key. False: there is no map. */
OST_MUST_CHECK bool coordinator_writes_assign(struct coordinator *coordinator);
/* Ranges may have been split or merged since they were touched. */
void coordinator_members_refresh(struct coordinator *coordinator);
/* A split may have cut a range in two: every range of a write or a read must be named. */
void coordinator_member_retouch(struct coordinator *coordinator, uint32_t slot);
/* Does each group's part still lie in one group, and no other's part there? Moves members whose
 * ranges have all gone to the same new group; a member with locks cannot follow them, nor one with
 * reads, whose timestamps are the old group's. */
OST_MUST_CHECK bool coordinator_member_reroute(struct coordinator *coordinator, uint32_t slot);

/* coordinator_reads.c. NULL: noted; else which limit it is over. */
const char *coordinator_read_note(struct coordinator *coordinator,
                                  struct coordinator_member *member,
                                  const struct lock_target *target, timestamp_t read_timestamp);
void coordinator_reads_order(struct coordinator *coordinator);
void coordinator_reads_retouch(struct coordinator *coordinator, struct coordinator_member *member);
Ostraka__ReadCheck **coordinator_reads_checks(const struct coordinator_member *member,
                                              struct arena *arena, size_t *out_count);
