/* master_ranges_leader.c: how group 0's leader drives what the map says is being done to ranges
 * (docs/range-moves.md): it orders each step of the groups until their reports show it, logs what
 * follows, and acts at once on a report, because a range that moves is out of reach meanwhile.
 *
 * A report states what a group's log has. So what it says of an open change stays true until group
 * 0 logs that change's end, and a step, once heard of, is not taken back by a report that was
 * longer on its way. Of a change that is not open here the leader knows that it is over only by its
 * number (below next_change): of higher ones it has not heard yet.
 *
 * All of this is volatile. A new leader orders each open change's first step again; who has taken
 * it reports how far it is.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/frame.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_ranges.h"

#include <stdlib.h>

#define uthash_malloc(bytes_count) memory_alloc(bytes_count)
#include <uthash.h>

#define ORDER_RETRY_NS    (250 * NS_PER_MS)
#define PROPOSAL_RETRY_NS (50 * NS_PER_MS)
/* A frozen range serves nobody: if it lasts, the move is called off. */
#define FROZEN_NS_MAX     (2 * NS_PER_S)
#define STANDSTILL_NS_MAX (30 * NS_PER_S)
/* Who is ordered something, or is on the way, reports every second. */
#define SILENCE_NS (3 * NS_PER_S)
/* Of one report, and of the ranges of the map that it makes us look at. */
#define FACTS_COUNT_MAX   1024u
#define VISITS_COUNT_MAX  65536u
#define ASSIGNS_COUNT_MAX 1024u

#define IS_SPLIT OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
#define IS_MERGE OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES
#define IS_MOVE  OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE

/* What a group was last ordered, and what it has said of the change. */
struct range_party {
    group_id_t group; /* 0: there is none */
    Ostraka__RangeStep ordered;
    nanoseconds_t ordered_ns;
    nanoseconds_t since_ns; /* when this order was first given, or something was heard */
    raft_term_t term;
    Ostraka__RangeState state; /* GONE: it has not said anything */
    uint64_t copied_bytes;
    bool is_near;
    uint64_t prepared_count;
};

/* A change of the map that is not at its end. */
struct range_drive {
    uint64_t change;
    Ostraka__RangeChangeKind kind;
    struct blob *start, *end, *at;
    uint64_t epoch, epoch_right; /* as the owner has them before anything is done */
    struct range_party owner;
    struct range_party taker; /* MOVE */
    bool is_switched;         /* MOVE: the map says that the range is the taker's */
    bool is_done;             /* SPLIT, MERGE: the owner has done it */
    bool is_proposed;         /* what follows is on its way through the log */
    nanoseconds_t seen_ns;    /* since when this leader has seen to it */
    nanoseconds_t frozen_ns;  /* since when FREEZE was ordered; 0: not */
    nanoseconds_t copied_ns;  /* when the copy last went on */
    nanoseconds_t next_ns;    /* when something is due by itself */
    UT_hash_handle hh;
};

static struct range_drive *drive_find(const struct master *master, uint64_t change)
{
    struct range_drive *drive;
    HASH_FIND(hh, master->leader.drives, &change, sizeof(change), drive);
    return drive;
}

static void drive_free(struct master *master, struct range_drive *drive)
{
    HASH_DEL(master->leader.drives, drive);
    blob_unref(drive->start);
    blob_unref(drive->end);
    blob_unref(drive->at);
    free(drive);
}

static void due_by(struct range_drive *drive, nanoseconds_t at_ns)
{
    if (at_ns < drive->next_ns)
        drive->next_ns = at_ns;
}

/* --- Orders -------------------------------------------------------------------------------------
 */

static void order_send(struct master *master, Ostraka__RangeOrder *order)
{
    if (RARE(MASTER_ORDER_LOST))
        return;
    outbox_to_group(master->outbox, order->group,
                    frame_encode(FRAME_RANGE_ORDER, 0, &order->base, NULL, 0));
}

static void drive_send(struct master *master, const struct range_drive *drive, group_id_t group,
                       Ostraka__RangeStep step)
{
    Ostraka__RangeOrder order = OSTRAKA__RANGE_ORDER__INIT;
    order.group = group;
    order.step = step;
    order.change = drive->change;
    order.start = master_binary(blob_bytes(drive->start));
    order.end = master_binary(blob_bytes(drive->end));
    order.epoch = drive->epoch;
    order.at = master_binary(blob_bytes(drive->at));
    order.epoch_right = drive->epoch_right;
    order.from_group = step == OSTRAKA__RANGE_STEP__RANGE_CLEAR ? drive->owner.group : 0;
    order_send(master, &order);
}

/* Another step at once, the same one again after a while. */
static void drive_order(struct master *master, struct range_drive *drive, struct range_party *party,
                        Ostraka__RangeStep step)
{
    bool is_same = party->ordered == step;
    if (!is_same || master->now_ns >= party->ordered_ns + ORDER_RETRY_NS) {
        if (!is_same)
            party->since_ns = master->now_ns;
        party->ordered = step;
        party->ordered_ns = master->now_ns;
        drive_send(master, drive, party->group, step);
    }
    due_by(drive, party->ordered_ns + ORDER_RETRY_NS);
}

/* --- What follows, into the log -----------------------------------------------------------------
 */

static void drive_propose(struct master *master, struct range_drive *drive,
                          const Ostraka__MasterCommand *command)
{
    drive->is_proposed = master_leader_propose(master, command);
    drive->next_ns = drive->is_proposed ? NS_NEVER : master->now_ns + PROPOSAL_RETRY_NS;
}

static void drive_propose_done(struct master *master, struct range_drive *drive)
{
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    Ostraka__MasterCommand__RangeSplit split = OSTRAKA__MASTER_COMMAND__RANGE_SPLIT__INIT;
    Ostraka__MasterCommand__RangesMerged merged = OSTRAKA__MASTER_COMMAND__RANGES_MERGED__INIT;
    split.start = merged.start = master_binary(blob_bytes(drive->start));
    split.change = merged.change = drive->change;
    if (drive->kind == IS_SPLIT) {
        command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SPLIT;
        command.range_split = &split;
    } else {
        command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGES_MERGED;
        command.ranges_merged = &merged;
    }
    drive_propose(master, drive, &command);
}

static void drive_propose_switched(struct master *master, struct range_drive *drive)
{
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    Ostraka__MasterCommand__RangeSwitched switched = OSTRAKA__MASTER_COMMAND__RANGE_SWITCHED__INIT;
    switched.start = master_binary(blob_bytes(drive->start));
    switched.change = drive->change;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SWITCHED;
    command.range_switched = &switched;
    drive_propose(master, drive, &command);
}

static void drive_propose_assigned(struct master *master, struct range_drive *drive)
{
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    Ostraka__MasterCommand__RangeAssigned assigned = OSTRAKA__MASTER_COMMAND__RANGE_ASSIGNED__INIT;
    assigned.start = master_binary(blob_bytes(drive->start));
    assigned.epoch = drive->epoch + 1;
    assigned.group = drive->taker.group;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_ASSIGNED;
    command.range_assigned = &assigned;
    drive_propose(master, drive, &command);
}

static void drive_propose_cancelled(struct master *master, struct range_drive *drive,
                                    const char *why)
{
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    Ostraka__MasterCommand__RangeChangeCancelled cancelled =
        OSTRAKA__MASTER_COMMAND__RANGE_CHANGE_CANCELLED__INIT;
    cancelled.start = master_binary(blob_bytes(drive->start));
    cancelled.change = drive->change;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_CANCELLED;
    command.range_change_cancelled = &cancelled;
    drive_propose(master, drive, &command);
    if (drive->is_proposed)
        log_write(LOG_WARN, "a move is called off", "store=%lu change=%lu why=\"%s\"",
                  master->options.store_id, drive->change, why);
}

/* --- Driving ------------------------------------------------------------------------------------
 */

/* NULL: there is no reason to. */
static const char *reason_to_cancel(const struct master *master, const struct range_drive *drive)
{
    if (!master_map_group(master->map, drive->taker.group))
        return "the group that it goes to is gone";
    if (drive->frozen_ns != 0 && master->now_ns - drive->frozen_ns >= FROZEN_NS_MAX)
        return "the range has been frozen for too long";
    if (master->now_ns - drive->copied_ns >= STANDSTILL_NS_MAX)
        return "the copy does not go on";
    if (RARE(MASTER_CALLS_MOVE_OFF))
        return "by chance";
    return NULL;
}

static bool is_to_be_frozen(const struct range_drive *drive)
{
    const struct range_party *taker = &drive->taker;
    return drive->frozen_ns != 0 || taker->state == OSTRAKA__RANGE_STATE__RANGE_COPIED ||
           (taker->state == OSTRAKA__RANGE_STATE__RANGE_COPYING && taker->is_near);
}

static void drive_copy(struct master *master, struct range_drive *drive)
{
    struct range_party *owner = &drive->owner, *taker = &drive->taker;
    bool is_sealed = owner->state == OSTRAKA__RANGE_STATE__RANGE_SEALED;
    /* Ordered to whom has begun, it asks how far that is. */
    if (taker->state == OSTRAKA__RANGE_STATE__RANGE_GONE ||
        (is_sealed && taker->state == OSTRAKA__RANGE_STATE__RANGE_COPYING))
        drive_order(master, drive, taker, OSTRAKA__RANGE_STEP__RANGE_CLEAR);
    if (!is_to_be_frozen(drive)) {
        due_by(drive, drive->copied_ns + STANDSTILL_NS_MAX);
        return;
    }
    if (drive->frozen_ns == 0)
        drive->frozen_ns = master->now_ns;
    due_by(drive, drive->frozen_ns + FROZEN_NS_MAX);
    if (!is_sealed)
        drive_order(master, drive, owner, OSTRAKA__RANGE_STEP__RANGE_FREEZE);
}

static void drive_move(struct master *master, struct range_drive *drive)
{
    struct range_party *owner = &drive->owner, *taker = &drive->taker;
    const char *why;
    if (drive->is_switched && taker->state == OSTRAKA__RANGE_STATE__RANGE_OWNED)
        drive_propose_assigned(master, drive);
    else if (drive->is_switched)
        drive_order(master, drive, taker, OSTRAKA__RANGE_STEP__RANGE_OWN);
    else if (owner->state == OSTRAKA__RANGE_STATE__RANGE_SEALED &&
             taker->state == OSTRAKA__RANGE_STATE__RANGE_COPIED)
        drive_propose_switched(master, drive);
    else if ((why = reason_to_cancel(master, drive)))
        drive_propose_cancelled(master, drive, why);
    else
        drive_copy(master, drive);
}

static void drive_step(struct master *master, struct range_drive *drive)
{
    if (drive->is_proposed)
        return; /* it is applied, or this leadership ends before */
    drive->next_ns = NS_NEVER;
    if (drive->kind == IS_MOVE)
        drive_move(master, drive);
    else if (drive->is_done)
        drive_propose_done(master, drive);
    else
        drive_order(master, drive, &drive->owner,
                    drive->kind == IS_SPLIT ? OSTRAKA__RANGE_STEP__RANGE_SPLIT
                                            : OSTRAKA__RANGE_STEP__RANGE_MERGE);
}

static struct range_drive *drive_begin(struct master *master, const Ostraka__RangeInfo *range)
{
    const Ostraka__RangeChange *change = range->change;
    struct range_drive *drive = memory_alloc_zeroed(1, sizeof(*drive));
    drive->change = change->id;
    drive->kind = change->kind;
    drive->is_switched = master_range_is_switched(range);
    drive->start = blob_copy(master_bytes(range->start));
    struct bytes end = master_bytes(range->end);
    if (drive->kind == IS_MERGE) {
        const Ostraka__RangeInfo *right = master_range_right_of(master->map, range);
        end = master_bytes(right->end);
        drive->epoch_right = right->epoch;
    }
    drive->end = blob_copy(end);
    drive->at = blob_copy(master_bytes(change->at));
    drive->epoch = range->epoch - (drive->is_switched ? 1 : 0);
    drive->owner.group = drive->kind == IS_MOVE ? change->from_group : range->group;
    drive->taker.group = change->to_group;
    drive->seen_ns = drive->copied_ns = master->now_ns;
    drive->owner.since_ns = drive->taker.since_ns = master->now_ns;
    HASH_ADD(hh, master->leader.drives, change, sizeof(drive->change), drive);
    return drive;
}

/* The map does not have the change any more. What is left to be done is ordered again when reports
 * show that it was not; here it is only begun without waiting for one. */
static void drive_end(struct master *master, struct range_drive *drive)
{
    if (drive->kind == IS_MOVE && drive->is_switched) {
        drive_send(master, drive, drive->owner.group, OSTRAKA__RANGE_STEP__RANGE_DROP);
    } else if (drive->kind == IS_MOVE) {
        COVER(MASTER_MOVE_CALLED_OFF);
        drive_send(master, drive, drive->owner.group, OSTRAKA__RANGE_STEP__RANGE_UNFREEZE);
        drive_send(master, drive, drive->taker.group, OSTRAKA__RANGE_STEP__RANGE_DISCARD);
    }
    drive_free(master, drive);
}

void master_ranges_leader_applied(struct master *master, struct bytes start, uint64_t change)
{
    if (!master->leadership.ready)
        return;
    struct range_drive *drive = drive_find(master, change);
    const Ostraka__RangeInfo *range = master_range_of_change(master->map, start, change);
    if (!drive && range)
        drive = drive_begin(master, range);
    if (!drive)
        return;
    drive->is_proposed = false;
    if (!range) {
        drive_end(master, drive);
        return;
    }
    if (!drive->is_switched && master_range_is_switched(range))
        COVER(MASTER_RANGE_SWITCHED);
    drive->is_switched = master_range_is_switched(range);
    drive_step(master, drive);
}

/* --- What the groups say of a change ------------------------------------------------------------
 */

static bool fact_is_of(const Ostraka__RangeFact *fact, struct bytes start, struct bytes end,
                       uint64_t epoch)
{
    return fact->epoch == epoch && bytes_equal(master_bytes(fact->start), start) &&
           bytes_equal(master_bytes(fact->end), end);
}

/* Both halves, or the whole, come by one entry: one of them tells of all. */
static bool fact_shows_done(const struct range_drive *drive, const Ostraka__RangeFact *fact)
{
    struct bytes start = blob_bytes(drive->start), end = blob_bytes(drive->end);
    struct bytes at = blob_bytes(drive->at);
    if (fact->state != OSTRAKA__RANGE_STATE__RANGE_OWNED)
        return false;
    if (drive->kind == IS_SPLIT)
        return fact_is_of(fact, start, at, drive->epoch + 1) ||
               fact_is_of(fact, at, end, drive->epoch + 1);
    uint64_t higher = drive->epoch > drive->epoch_right ? drive->epoch : drive->epoch_right;
    return fact_is_of(fact, start, end, higher + 1);
}

/* How far along the way: no party goes back while the change stands. 0: nowhere on it. */
static int owner_rank(Ostraka__RangeState state)
{
    return state == OSTRAKA__RANGE_STATE__RANGE_FROZEN   ? 1
           : state == OSTRAKA__RANGE_STATE__RANGE_SEALED ? 2
                                                         : 0;
}

static int taker_rank(Ostraka__RangeState state)
{
    return state == OSTRAKA__RANGE_STATE__RANGE_COPYING  ? 1
           : state == OSTRAKA__RANGE_STATE__RANGE_COPIED ? 2
           : state == OSTRAKA__RANGE_STATE__RANGE_OWNED  ? 3
                                                         : 0;
}

static bool party_is_news(const struct range_party *party, raft_term_t term, int rank_now,
                          int rank_before)
{
    if (rank_now == 0)
        return false;
    bool is_old = term < party->term || rank_now < rank_before;
    if (is_old)
        COVER(MASTER_RANGE_REPORT_OLD);
    return !is_old;
}

static void drive_hear_owner(struct master *master, struct range_drive *drive, raft_term_t term,
                             const Ostraka__RangeFact *fact)
{
    struct range_party *owner = &drive->owner;
    if (!fact_is_of(fact, blob_bytes(drive->start), blob_bytes(drive->end), drive->epoch) ||
        !party_is_news(owner, term, owner_rank(fact->state), owner_rank(owner->state)))
        return;
    owner->term = term;
    owner->state = fact->state;
    owner->prepared_count = fact->prepared_count;
    if (drive->frozen_ns == 0) /* by the order of an earlier leader */
        drive->frozen_ns = master->now_ns;
}

static void drive_hear_taker(struct master *master, struct range_drive *drive, raft_term_t term,
                             const Ostraka__RangeFact *fact)
{
    struct range_party *taker = &drive->taker;
    bool is_owned = fact->state == OSTRAKA__RANGE_STATE__RANGE_OWNED;
    uint64_t epoch = drive->epoch + (is_owned ? 1 : 0);
    if (!fact_is_of(fact, blob_bytes(drive->start), blob_bytes(drive->end), epoch) ||
        !party_is_news(taker, term, taker_rank(fact->state), taker_rank(taker->state)))
        return;
    if (fact->state != taker->state || fact->copied_bytes > taker->copied_bytes)
        drive->copied_ns = master->now_ns;
    taker->term = term;
    taker->state = fact->state;
    taker->copied_bytes = fact->state == OSTRAKA__RANGE_STATE__RANGE_COPYING ? fact->copied_bytes
                                                                             : taker->copied_bytes;
    taker->is_near = fact->is_near;
}

static void drive_hear(struct master *master, struct range_drive *drive, group_id_t group,
                       raft_term_t term, const Ostraka__RangeFact *fact)
{
    if (drive->kind != IS_MOVE)
        drive->is_done =
            drive->is_done || (group == drive->owner.group && fact_shows_done(drive, fact));
    else if (group == drive->owner.group)
        drive_hear_owner(master, drive, term, fact);
    else if (group == drive->taker.group)
        drive_hear_taker(master, drive, term, fact);
    drive_step(master, drive);
}

/* --- What groups have that no open change speaks of ---------------------------------------------
 */

static void fact_order(struct master *master, group_id_t group, const Ostraka__RangeFact *fact,
                       Ostraka__RangeStep step)
{
    Ostraka__RangeOrder order = OSTRAKA__RANGE_ORDER__INIT;
    order.group = group;
    order.step = step;
    order.change = fact->change;
    order.start = fact->start;
    order.end = fact->end;
    order.epoch = fact->epoch;
    order_send(master, &order);
}

/* The map may have split or merged since what the group has given away. */
static bool is_owned_elsewhere(const Ostraka__Map *map, group_id_t group,
                               const Ostraka__RangeFact *fact, size_t *visits_left)
{
    struct bytes start = master_bytes(fact->start), end = master_bytes(fact->end);
    for (size_t place = master_map_place_of_key(map, start); place < map->n_ranges; place++) {
        const Ostraka__RangeInfo *range = map->ranges[place];
        if (!ranges_overlap(start, end, master_bytes(range->start), master_bytes(range->end)))
            break;
        if (*visits_left == 0 || range->group == group || range->epoch <= fact->epoch ||
            !range->assigned)
            return false;
        (*visits_left)--;
    }
    return true;
}

/* Of a change that is over. */
static void leftover_see_to(struct master *master, group_id_t group, const Ostraka__RangeFact *fact,
                            size_t *visits_left)
{
    const Ostraka__RangeInfo *range = master_map_range_at(master->map, master_bytes(fact->start));
    bool is_its_own = range && range->group == group;
    switch (fact->state) {
    case OSTRAKA__RANGE_STATE__RANGE_FROZEN:
    case OSTRAKA__RANGE_STATE__RANGE_SEALED:
        if (is_its_own &&
            fact_is_of(fact, master_bytes(range->start), master_bytes(range->end), range->epoch)) {
            COVER(MASTER_RANGE_LEFT_FROZEN);
            fact_order(master, group, fact, OSTRAKA__RANGE_STEP__RANGE_UNFREEZE);
        } else if (fact->state == OSTRAKA__RANGE_STATE__RANGE_SEALED &&
                   is_owned_elsewhere(master->map, group, fact, visits_left)) {
            fact_order(master, group, fact, OSTRAKA__RANGE_STEP__RANGE_DROP);
        }
        break;
    case OSTRAKA__RANGE_STATE__RANGE_COPYING:
    case OSTRAKA__RANGE_STATE__RANGE_COPIED:
        /* By a move that came to its end it would own it: the report is from before. */
        if (is_its_own && range->epoch > fact->epoch)
            break;
        COVER(MASTER_RANGE_LEFT_COPIED);
        fact_order(master, group, fact, OSTRAKA__RANGE_STEP__RANGE_DISCARD);
        break;
    default:
        break;
    }
}

/* --- Reports ------------------------------------------------------------------------------------
 */

static bool fact_is_well_formed(const Ostraka__RangeFact *fact)
{
    return fact->start.len <= KEY_BYTES_MAX && fact->end.len <= KEY_BYTES_MAX &&
           (fact->end.len == 0 ||
            bytes_compare(master_bytes(fact->start), master_bytes(fact->end)) < 0);
}

/* The group speaks: even if it says nothing new of the change, it is not silence. */
static void parties_heard(struct master *master, group_id_t group, const Ostraka__RangeFact *fact)
{
    const Ostraka__RangeInfo *range = master_map_range_at(master->map, master_bytes(fact->start));
    struct range_drive *drive =
        range && range->change ? drive_find(master, range->change->id) : NULL;
    if (drive && drive->owner.group == group)
        drive->owner.since_ns = master->now_ns;
    if (drive && drive->taker.group == group)
        drive->taker.since_ns = master->now_ns;
}

static int compare_places(const void *a, const void *b)
{
    const struct range_unassigned *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

static void propose_assigned(struct master *master, struct range_unassigned *unassigned)
{
    const Ostraka__RangeInfo *range = master->map->ranges[unassigned->place];
    Ostraka__MasterCommand__RangeAssigned assigned = OSTRAKA__MASTER_COMMAND__RANGE_ASSIGNED__INIT;
    assigned.start = range->start;
    assigned.epoch = range->epoch;
    assigned.group = range->group;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_ASSIGNED;
    command.range_assigned = &assigned;
    unassigned->is_proposed = master_leader_propose(master, &command);
}

/* The group's own log says that it owns the range: the map may say so too. */
static void fact_take_owned(struct master *master, group_id_t group, const Ostraka__RangeFact *fact)
{
    const struct master_leader *leader = &master->leader;
    const struct range_unassigned key = {
        .place = master_map_place_of_key(master->map, master_bytes(fact->start))};
    const Ostraka__RangeInfo *range = master->map->ranges[key.place];
    if (range->assigned || range->group != group ||
        !fact_is_of(fact, master_bytes(range->start), master_bytes(range->end), range->epoch))
        return;
    if (range->change) {
        struct range_drive *drive = drive_find(master, range->change->id);
        ASSERT(drive && drive->taker.group == group); /* each change that is open has one */
        drive->taker.state = OSTRAKA__RANGE_STATE__RANGE_OWNED;
        drive_step(master, drive);
        return;
    }
    struct range_unassigned *unassigned = NULL;
    if (leader->unassigned_count > 0)
        unassigned = bsearch(&key, leader->unassigned, leader->unassigned_count,
                             sizeof(leader->unassigned[0]), compare_places);
    if (unassigned && !unassigned->is_proposed)
        propose_assigned(master, unassigned);
}

static void fact_take(struct master *master, group_id_t group, raft_term_t term,
                      const Ostraka__RangeFact *fact, size_t *visits_left)
{
    if (!fact_is_well_formed(fact))
        return;
    parties_heard(master, group, fact);
    if (fact->state == OSTRAKA__RANGE_STATE__RANGE_OWNED)
        fact_take_owned(master, group, fact);
    struct range_drive *drive = drive_find(master, fact->change);
    if (drive)
        drive_hear(master, drive, group, term, fact);
    else if (fact->change != 0 && fact->change < master->map->next_change)
        leftover_see_to(master, group, fact, visits_left);
    else if (fact->change != 0)
        COVER(MASTER_CHANGE_NOT_KNOWN_YET);
}

int master_ranges_leader_report(struct master *master, struct bytes bytes)
{
    struct arena arena;
    arena_init(&arena);
    const Ostraka__RangeReport *report = (const Ostraka__RangeReport *)message_unpack(
        &ostraka__range_report__descriptor, bytes, &arena);
    int status = report ? OST_OK : OST_PROTOCOL;
    size_t visits_left = VISITS_COUNT_MAX;
    bool is_for_us = report && master->leadership.ready && master->map->epoch != 0 &&
                     report->group != SHARD_MASTER_GROUP &&
                     master_map_group(master->map, report->group);
    for (size_t index = 0; is_for_us && index < report->n_ranges && index < FACTS_COUNT_MAX;
         index++)
        fact_take(master, report->group, report->term, report->ranges[index], &visits_left);
    arena_fini(&arena);
    return status;
}

/* --- Ranges that their first owner is to be told of ---------------------------------------------
 */

void master_ranges_leader_laid_out(struct master *master)
{
    struct master_leader *leader = &master->leader;
    free(leader->unassigned);
    leader->unassigned = NULL;
    leader->unassigned_count = 0;
    if (!master->leadership.ready)
        return;
    size_t count = 0;
    for (size_t place = 0; place < master->map->n_ranges; place++)
        count += !master->map->ranges[place]->assigned;
    if (count == 0)
        return;
    leader->unassigned = memory_alloc_zeroed(count, sizeof(leader->unassigned[0]));
    for (size_t place = 0; place < master->map->n_ranges; place++)
        if (!master->map->ranges[place]->assigned)
            leader->unassigned[leader->unassigned_count++].place = place;
}

static void unassigned_forget(struct master_leader *leader, const Ostraka__Map *map)
{
    size_t kept_count = 0;
    for (size_t index = 0; index < leader->unassigned_count; index++)
        if (!map->ranges[leader->unassigned[index].place]->assigned)
            leader->unassigned[kept_count++] = leader->unassigned[index];
    leader->unassigned_count = kept_count;
}

void master_ranges_leader_assign(struct master *master)
{
    struct master_leader *leader = &master->leader;
    const Ostraka__Map *map = master->map;
    unassigned_forget(leader, map);
    size_t count = leader->unassigned_count;
    for (size_t step = 0; step < count && step < ASSIGNS_COUNT_MAX; step++) {
        const struct range_unassigned *unassigned =
            &leader->unassigned[leader->unassigned_next++ % count];
        Ostraka__RangeInfo *range = map->ranges[unassigned->place];
        const Ostraka__GroupInfo *group = master_map_group(map, range->group);
        if (range->change)
            continue; /* it comes by a move, with its rows */
        if (unassigned->is_proposed)
            continue; /* its group has said so */
        Ostraka__AssignRange command = OSTRAKA__ASSIGN_RANGE__INIT;
        command.group = group->id;
        command.group_epoch = group->epoch;
        command.range = range;
        outbox_to_group(master->outbox, group->id,
                        frame_encode(FRAME_ASSIGN_RANGE, 0, &command.base, NULL, 0));
    }
}

/* --- Leadership and time ------------------------------------------------------------------------
 */

void master_ranges_leader_began(struct master *master)
{
    master_ranges_leader_laid_out(master);
    for (size_t place = 0; place < master->map->n_ranges; place++) {
        const Ostraka__RangeInfo *range = master->map->ranges[place];
        if (range->change &&
            master_range_of_change(master->map, master_bytes(range->start), range->change->id))
            drive_step(master, drive_begin(master, range));
    }
}

void master_ranges_leader_ended(struct master *master)
{
    struct range_drive *drive, *next;
    HASH_ITER (hh, master->leader.drives, drive, next)
        drive_free(master, drive);
    free(master->leader.unassigned);
    master->leader.unassigned = NULL;
    master->leader.unassigned_count = 0;
}

void master_ranges_leader_timer(struct master *master)
{
    struct range_drive *drive, *next;
    HASH_ITER (hh, master->leader.drives, drive, next)
        if (drive->next_ns <= master->now_ns)
            drive_step(master, drive);
}

nanoseconds_t master_ranges_leader_deadline_ns(const struct master *master)
{
    nanoseconds_t deadline_ns = NS_NEVER;
    const struct range_drive *drive;
    for (drive = master->leader.drives; drive; drive = drive->hh.next)
        if (drive->next_ns < deadline_ns)
            deadline_ns = drive->next_ns;
    return deadline_ns;
}

size_t master_ranges_leader_drives_count(const struct master *master)
{
    return HASH_COUNT(master->leader.drives);
}

/* --- For people ---------------------------------------------------------------------------------
 */

static bool is_silent(const struct master *master, const struct range_party *party)
{
    return master->now_ns - party->since_ns >= SILENCE_NS;
}

static char *waits_for_group(const struct master *master, const struct range_party *party,
                             const char *otherwise, struct arena *arena)
{
    if (is_silent(master, party))
        return arena_printf(arena, "group %lu does not answer", party->group);
    return arena_printf(arena, "group %lu %s", party->group, otherwise);
}

static char *drive_waits_for(const struct master *master, const struct range_drive *drive,
                             struct arena *arena)
{
    const struct range_party *owner = &drive->owner, *taker = &drive->taker;
    if (drive->is_proposed)
        return arena_printf(arena, "the shard master's log");
    if (drive->kind != IS_MOVE)
        return waits_for_group(master, owner,
                               drive->kind == IS_SPLIT ? "to split it" : "to merge them", arena);
    if (drive->is_switched)
        return waits_for_group(master, taker, "to take it over", arena);
    bool is_copying = taker->state == OSTRAKA__RANGE_STATE__RANGE_COPYING;
    if (owner->state == OSTRAKA__RANGE_STATE__RANGE_FROZEN && owner->prepared_count > 0)
        return arena_printf(arena, "%lu prepared transaction%s", owner->prepared_count,
                            owner->prepared_count == 1 ? "" : "s");
    if (drive->frozen_ns != 0 && owner->state != OSTRAKA__RANGE_STATE__RANGE_SEALED)
        return waits_for_group(master, owner, "to give it up", arena);
    if (is_copying && !is_silent(master, taker))
        return arena_printf(arena, "the copy");
    return waits_for_group(master, taker, is_copying ? "to copy it" : "to begin", arena);
}

void master_ranges_leader_progress(struct master *master, struct master_progress *progress)
{
    const struct range_drive *drive;
    for (drive = master->leader.drives; drive; drive = drive->hh.next) {
        Ostraka__ProgressItem *item =
            master_progress_add(progress, master_range_change_name(drive->kind));
        if (!item)
            return;
        item->change = drive->change;
        item->group = drive->owner.group;
        item->to_group = drive->taker.group;
        item->start = master_binary(blob_bytes(drive->start));
        item->done_count = drive->taker.copied_bytes;
        item->age_ms = (master->now_ns - drive->seen_ns) / NS_PER_MS;
        const char *why = master_ranges_placement_why(master, drive->change);
        if (why)
            item->why = arena_printf(progress->arena, "%s", why);
        item->waits_for = drive_waits_for(master, drive, progress->arena);
    }
}
