/* master_internal.h: what the files of this room share. */
#pragma once

#include "base/arena.h"
#include "shardmaster/master.h"
#include "shardmaster/master_map.h"
#include "shardmaster/master_progress.h"
#include "shardmaster/oracle.h"
#include "shardmaster/safe_point.h"

#include <bsd/sys/queue.h>

/* Somebody who asked for timestamps. In order of arrival; so read ids grow along the queue. */
struct master_request {
    TAILQ_ENTRY(master_request) link;
    uint64_t connection_id;
    uint64_t request_id;
    uint32_t count;
    nanoseconds_t arrived_ns;
    uint64_t read_id; /* the round that began after it came (O2); 0: none yet */
};
TAILQ_HEAD(master_requests, master_request);

/* Somebody who asked for other replicas, and waits for the entry to be applied. */
struct master_change {
    TAILQ_ENTRY(master_change) link;
    uint64_t connection_id;
    uint64_t request_id;
    group_id_t group;
    raft_index_t index;
};
TAILQ_HEAD(master_changes, master_change);

struct master_hold_waiter; /* somebody who asked for a hold */

struct master_store_change; /* somebody who asked for another store, or to be one */

struct master_upkeep;           /* a store that comes or goes (master_placement.c) */
struct master_transfer;         /* a leadership that was told to go */
struct master_ranges_placement; /* what is placed, and what rests (master_ranges_placement.c) */
/* Somebody who asked for a range to be changed, or for that to be called off. */
struct master_range_waiter {
    TAILQ_ENTRY(master_range_waiter) link;
    uint64_t connection_id;
    uint64_t request_id;
    uint64_t change;
    raft_index_t index;
};

/* What group 0's leader does about a range that changes (master_ranges_leader.c). */
struct range_drive;

/* A range that its group is to be told of, as its first owner. */
struct range_unassigned {
    size_t place; /* in the map */
    bool is_proposed;
};

struct master_report; /* the last report of a store */
struct master_hint;   /* who leads a group, as reported */

/* What the leader alone knows; gone with its leadership. */
struct master_leader {
    struct master_report *reports;       /* by store */
    struct master_hint *hints;           /* by group */
    struct range_unassigned *unassigned; /* by place; some may be assigned by now */
    size_t unassigned_count;
    size_t unassigned_next;     /* where the next pass over them begins */
    struct range_drive *drives; /* by change: what is under way */
    uint64_t change_next;       /* the number that is proposed next, if the map is not beyond it */
    bool bootstrap_proposed;
    nanoseconds_t led_ns;
    nanoseconds_t reconciled_ns;
    bool reconcile_soon;
    nanoseconds_t pushed_ns;
    bool map_changed;              /* push, at once (but no more often than every 50 ms) */
    bool hints_changed;            /* push, once the picture is whole */
    bool ranges_changed;           /* since the last push that had them */
    bool owners_changed;           /* so that whoever goes by the old map is refused */
    uint64_t ranges_since;         /* the map's ranges are the same since this epoch, or longer */
    nanoseconds_t safe_point_ns;   /* when the safe point may go on again */
    struct master_upkeep *upkeeps; /* by store */
    struct master_transfer *transfers; /* by group */
    raft_index_t placed_index;         /* of the last entry that placement has proposed */
    struct master_ranges_placement *ranges_placement; /* NULL: it does not lead */
};

struct master {
    struct master_options options;
    struct master_rows rows;
    struct raft_host *host;
    struct outbox *outbox;
    replica_id_t replica;
    bool is_destroyed;
    nanoseconds_t now_ns;
    uint64_t wall_ms;

    /* The replicated state. Leader hints in the map are zero but while it is encoded for a push. */
    struct arena map_arena;
    size_t map_bytes; /* of the arena, when the map was put there */
    Ostraka__Map *map;
    timestamp_t ceiling;
    struct safe_point safe;
    struct raft_snapshot_meta meta;

    /* Rows that lag behind it. */
    bool meta_dirty, map_dirty, oracle_dirty, safe_dirty;
    nanoseconds_t map_saved_ns; /* when the row of the map was last written */
    bool restoring;             /* the pool writes the rows */
    bool save_failed;
    raft_index_t flushed_index;

    struct raft_leadership leadership;
    struct oracle oracle;
    struct master_requests requests;
    uint32_t requests_count;
    struct master_changes changes;
    TAILQ_HEAD(, master_hold_waiter) hold_waiters;
    uint32_t hold_waiters_count;
    TAILQ_HEAD(, master_store_change) store_changes;
    uint32_t store_changes_count;
    TAILQ_HEAD(, master_range_waiter) range_waiters;
    uint32_t range_waiters_count;
    uint64_t confirmed_read_id; /* requests up to this round may be served */
    struct master_leader leader;
};

/* master_machine.c */
extern const struct raft_state_machine_ops master_machine_ops;
OST_MUST_CHECK int master_rows_load(struct master *master, char *out_why);
/* What lags, if it is due. */
void master_rows_save(struct master *master);
/* When it is due; NS_NEVER: nothing lags. */
nanoseconds_t master_rows_due_ns(const struct master *master);
OST_MUST_CHECK int master_propose(struct master *master, const Ostraka__MasterCommand *command,
                                  raft_index_t *out_index);
/* Takes the arena that `map` lives in. */
void master_adopt_map(struct master *master, Ostraka__Map *map, struct arena *arena_take);
/* It is to be written, and pushed. */
void master_map_changed(struct master *master);

/* master_ranges_machine.c: what an entry about a range's owner or change does. */
void master_ranges_apply(struct master *master, raft_index_t index,
                         const Ostraka__MasterCommand *command);

/* master.c: called back by the machine. */
void master_leadership_changed(struct master *master, const struct raft_leadership *leadership);
void master_read_ready(struct master *master, uint64_t read_id, int status);
/* Serves who may be served, and raises the ceiling in time. */
void master_oracle_step(struct master *master);

/* master_change.c */
OST_MUST_CHECK int master_change_receive(struct master *master, uint64_t connection_id,
                                         const struct frame *frame);
/* The entry at `index` was applied, and did something or not (R7). */
void master_change_applied(struct master *master, raft_index_t index, bool is_done);
/* It does not lead any more: whoever waits asks the next leader, naming the same epoch. */
void master_changes_end(struct master *master);
void master_changes_drop(struct master *master);

/* master_store_change.c */
OST_MUST_CHECK int master_store_change_receive(struct master *master, uint64_t connection_id,
                                               const struct frame *frame);
/* An entry about stores was committed; true: the map has changed. */
bool master_store_change_apply(struct master *master, raft_index_t index,
                               const Ostraka__MasterCommand *command);
/* It does not lead any more: whoever waits asks the next leader. */
void master_store_changes_end(struct master *master);
void master_store_changes_drop(struct master *master);

/* master_placement.c */
/* It has not reported for `dead_after_ms`, by the leader's own clock, since that leads. */
bool master_store_is_silent(const struct master *master, store_id_t store);
void master_placement_timer(struct master *master);
void master_placement_ended(struct master *master);
void master_groups_progress(struct master *master, struct master_progress *progress);

/* master_safe_point.c */
void master_safe_point_timer(struct master *master);
nanoseconds_t master_safe_point_deadline_ns(const struct master *master);
/* A store has heard of no more than `known`. */
void master_safe_point_reported(struct master *master, store_id_t store, timestamp_t known);
void master_safe_point_apply_advance(struct master *master,
                                     const Ostraka__MasterCommand__AdvanceSafePoint *command);
void master_safe_point_apply_hold(struct master *master, raft_index_t index,
                                  const Ostraka__MasterCommand__SetHold *command);
OST_MUST_CHECK int master_hold_receive(struct master *master, uint64_t connection_id,
                                       const struct frame *frame);
/* It does not lead any more: whoever waits asks the next leader. */
void master_holds_end(struct master *master);
void master_holds_drop(struct master *master);

/* master_ranges_ask.c */
OST_MUST_CHECK int master_range_ask_receive(struct master *master, uint64_t connection_id,
                                            const struct frame *frame);
/* For whoever wants a range changed: proposes what master_ranges_check allows. OST_EXISTS: it is so
 * already, or under way as `out_change`. `out_why` is MASTER_WHY_BYTES. */
OST_MUST_CHECK int master_range_change_propose(struct master *master,
                                               const Ostraka__ChangeRange *request,
                                               raft_index_t *out_index, uint64_t *out_change,
                                               char *out_why);
void master_range_ask_applied(struct master *master, raft_index_t index, bool is_done);
void master_range_asks_end(struct master *master);
void master_range_asks_drop(struct master *master);

/* master_ranges_leader.c */
void master_ranges_leader_began(struct master *master);
void master_ranges_leader_ended(struct master *master);
/* There is a map, or one of other ranges. */
void master_ranges_leader_laid_out(struct master *master);
/* An entry about this change of the range that begins there was applied, and did something or not.
 */
void master_ranges_leader_applied(struct master *master, struct bytes start, uint64_t change);
OST_MUST_CHECK int master_ranges_leader_report(struct master *master, struct bytes message);
void master_ranges_leader_assign(struct master *master);
void master_ranges_leader_timer(struct master *master);
nanoseconds_t master_ranges_leader_deadline_ns(const struct master *master);
void master_ranges_leader_progress(struct master *master, struct master_progress *progress);
/* Changes that are under way. */
size_t master_ranges_leader_drives_count(const struct master *master);

/* master_ranges_placement.c */
void master_ranges_placement_began(struct master *master);
void master_ranges_placement_ended(struct master *master);
void master_ranges_placement_timer(struct master *master);
void master_ranges_placement_map_changed(struct master *master);
/* `before`: what the same store reported before; NULL: nothing. */
void master_ranges_placement_reported(struct master *master, const Ostraka__StoreReport *before,
                                      const Ostraka__StoreReport *now);
/* A committed command about this change has changed the map. */
void master_ranges_placement_applied(struct master *master, const Ostraka__MasterCommand *command,
                                     struct bytes start, uint64_t change);
/* A person has asked for this change, or for the same as it does. */
void master_ranges_placement_asked(struct master *master, uint64_t change);
/* Why placement has asked for it; NULL: it has not. */
const char *master_ranges_placement_why(const struct master *master, uint64_t change);

/* master_leader.c */
/* A refused proposal is made again by whoever made it: false. */
bool master_leader_propose(struct master *master, const Ostraka__MasterCommand *command);
void master_leader_began(struct master *master);
void master_leader_ended(struct master *master);
void master_leader_map_changed(struct master *master);
/* The store is new, and has not reported yet. */
void master_leader_store_joined(struct master *master, store_id_t store);
/* The store was removed: what it had reported is nothing any more. */
void master_leader_forget_store(struct master *master, store_id_t store);
/* The store's last report, if it comes from the disk that the map knows the store by (R6). */
const Ostraka__StoreReport *master_leader_report_of(const struct master *master, store_id_t store);
/* When it was last heard of; 0: never, by this leader. */
nanoseconds_t master_leader_heard_ns(const struct master *master, store_id_t store);
/* Who leads a data group, as reported; 0: not known. */
store_id_t master_leader_hint(const struct master *master, group_id_t group);
/* And not only in who is where: what the next push has to tell. */
void master_leader_ranges_changed(struct master *master, bool has_other_owners);
OST_MUST_CHECK int master_leader_report(struct master *master, struct bytes message);
void master_leader_timer(struct master *master);
nanoseconds_t master_leader_deadline_ns(const struct master *master);
