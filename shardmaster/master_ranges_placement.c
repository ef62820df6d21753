/* master_ranges_placement.c: what group 0's leader does by itself about ranges that are large, hot
 * or small, and about groups of which more is asked than of others. Which change is next says
 * placement_ranges.h; here it is proposed, as one of a person would be, and driven by whoever
 * drives those (master_ranges_leader.c).
 *
 * It looks only when there is something new: a group's leader reports another load, the map has
 * changed, or a rest has ended. So an idle cluster costs nothing, however many ranges it has.
 *
 * What a person has just done is not undone, and what was called off is not tried at once: a range
 * rests from such changes for a while. Merges as a whole rest after each split, so that what was
 * cut for what is to come is not joined before it has come. All of this is volatile: a new leader
 * begins with a rest from merges, and knows no more of who asked for what.
 *
 * What is asked is counted for some seconds before it is reported. So the groups between which a
 * range has moved by its load, or in which one was split, are not judged by their load for a while:
 * else one range after the other would be sent where the first one has not been noticed yet.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_ranges.h"
#include "shardmaster/master_replicas.h"
#include "shardmaster/placement_ranges.h"

#include <stdio.h>
#include <stdlib.h>

/* A store that has not reported for so long is not counted on; it reports every second. */
#define LIVE_NS         (5 * NS_PER_S)
#define BACK_OFF_NS_MIN (30 * NS_PER_S)
#define BACK_OFF_NS_MAX (3600 * NS_PER_S)
/* Two windows in which operations are counted (kv_load.h), and a report. */
#define OUTDATED_NS        (12 * NS_PER_S)
#define OUTDATED_COUNT_MAX 64u
#define RESTS_COUNT_MAX    256u
#define OWN_COUNT_MAX      256u

#define IS_SPLIT OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
#define IS_MERGE OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES
#define IS_MOVE  OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE
#define ALL      (1u << IS_SPLIT | 1u << IS_MERGE | 1u << IS_MOVE)

/* Ranges between these keys rest from some kinds of change. */
struct range_rest {
    struct blob *start, *end;
    unsigned kinds;
    nanoseconds_t until_ns;
    nanoseconds_t back_off_ns; /* it was called off, and the next rest is longer; 0: it was not */
};

/* A change that this leader has asked for itself. */
struct own_change {
    uint64_t change;   /* 0: none, or a person has asked for it as well */
    bool is_by_number; /* little is asked of it: no load goes with it */
    char why[PLACEMENT_RANGE_WHY_BYTES];
};

/* A group whose load is still counted from before a change. */
struct outdated_group {
    group_id_t group;
    nanoseconds_t until_ns;
};

struct master_ranges_placement {
    bool is_due;
    bool has_heard_all; /* every group's leader has reported since this leadership began */
    raft_index_t proposed_index;
    nanoseconds_t wake_ns;
    nanoseconds_t split_ns; /* of the last split by anybody, or when this leadership began */
    struct range_rest rests[RESTS_COUNT_MAX];
    size_t rests_count;
    struct outdated_group outdated[OUTDATED_COUNT_MAX]; /* a ring */
    size_t outdated_next;
    struct own_change own[OWN_COUNT_MAX]; /* a ring: more than can be under way */
    size_t own_next;
};

void master_ranges_placement_began(struct master *master)
{
    struct master_ranges_placement *placement = memory_alloc_zeroed(1, sizeof(*placement));
    placement->is_due = true;
    placement->wake_ns = NS_NEVER;
    placement->split_ns = master->now_ns;
    master->leader.ranges_placement = placement;
}

static void rest_drop(struct master_ranges_placement *placement, size_t place)
{
    blob_unref(placement->rests[place].start);
    blob_unref(placement->rests[place].end);
    placement->rests[place] = placement->rests[--placement->rests_count];
}

void master_ranges_placement_ended(struct master *master)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    while (placement && placement->rests_count > 0)
        rest_drop(placement, placement->rests_count - 1);
    free(placement);
    master->leader.ranges_placement = NULL;
}

/* --- Who asked for it ---------------------------------------------------------------------------
 */

static struct own_change *own_find(const struct master *master, uint64_t change)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    for (size_t index = 0; placement && change != 0 && index < OWN_COUNT_MAX; index++)
        if (placement->own[index].change == change)
            return &placement->own[index];
    return NULL;
}

const char *master_ranges_placement_why(const struct master *master, uint64_t change)
{
    const struct own_change *own = own_find(master, change);
    return own ? own->why : NULL;
}

void master_ranges_placement_asked(struct master *master, uint64_t change)
{
    struct own_change *own = own_find(master, change);
    if (own)
        own->change = 0;
}

/* --- Rests --------------------------------------------------------------------------------------
 */

/* The one that ends first makes room. */
static struct range_rest *rest_new(struct master_ranges_placement *placement, struct bytes start,
                                   struct bytes end)
{
    if (placement->rests_count == RESTS_COUNT_MAX) {
        size_t first = 0;
        for (size_t place = 1; place < RESTS_COUNT_MAX; place++)
            if (placement->rests[place].until_ns < placement->rests[first].until_ns)
                first = place;
        rest_drop(placement, first);
    }
    struct range_rest *rest = &placement->rests[placement->rests_count++];
    *rest = (struct range_rest){.start = blob_copy(start), .end = blob_copy(end)};
    return rest;
}

/* A person has just done something to it: that stays for a while. */
static void rest_after_person(struct master *master, const Ostraka__RangeInfo *range,
                              Ostraka__RangeChangeKind kind)
{
    COVER(MASTER_RANGE_RESTS_FOR_PERSON);
    struct range_rest *rest = rest_new(master->leader.ranges_placement, master_bytes(range->start),
                                       master_bytes(range->end));
    rest->kinds = 1u << kind;
    rest->until_ns = master->now_ns + master->options.merge_after_ms * NS_PER_MS;
}

static struct range_rest *rest_of_call_off(struct master_ranges_placement *placement,
                                           struct bytes start)
{
    for (size_t place = 0; place < placement->rests_count; place++)
        if (placement->rests[place].back_off_ns != 0 &&
            bytes_equal(blob_bytes(placement->rests[place].start), start))
            return &placement->rests[place];
    return NULL;
}

/* Each time twice as long, if it comes again soon after. */
static void rest_after_call_off(struct master *master, const Ostraka__RangeInfo *range)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    struct range_rest *rest = rest_of_call_off(placement, master_bytes(range->start));
    nanoseconds_t back_off_ns = rest ? 2 * rest->back_off_ns : BACK_OFF_NS_MIN;
    if (rest)
        rest_drop(placement, (size_t)(rest - placement->rests));
    rest = rest_new(placement, master_bytes(range->start), master_bytes(range->end));
    rest->kinds = ALL;
    rest->back_off_ns = back_off_ns < BACK_OFF_NS_MAX ? back_off_ns : BACK_OFF_NS_MAX;
    rest->until_ns = master->now_ns + rest->back_off_ns;
}

/* How often a range was called off is remembered for as long again. */
static nanoseconds_t rest_forget_ns(const struct range_rest *rest)
{
    return rest->until_ns + rest->back_off_ns;
}

static size_t rests_list(struct master *master, struct placement_rest *out_rests)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    size_t count = 0;
    for (size_t place = placement->rests_count; place-- > 0;) {
        const struct range_rest *rest = &placement->rests[place];
        if (rest_forget_ns(rest) <= master->now_ns)
            rest_drop(placement, place);
        else if (rest->until_ns > master->now_ns)
            out_rests[count++] = (struct placement_rest){blob_bytes(rest->start),
                                                         blob_bytes(rest->end), rest->kinds};
    }
    return count;
}

static nanoseconds_t merges_ns(const struct master *master)
{
    return master->leader.ranges_placement->split_ns + master->options.merge_after_ms * NS_PER_MS;
}

static void group_outdate(struct master *master, group_id_t group)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    placement->outdated[placement->outdated_next++ % OUTDATED_COUNT_MAX] =
        (struct outdated_group){group, master->now_ns + OUTDATED_NS};
}

static bool is_outdated(const struct master *master, group_id_t group)
{
    const struct master_ranges_placement *placement = master->leader.ranges_placement;
    for (size_t index = 0; index < OUTDATED_COUNT_MAX; index++)
        if (placement->outdated[index].group == group &&
            placement->outdated[index].until_ns > master->now_ns)
            return true;
    return false;
}

/* When something is allowed that is not now. */
static nanoseconds_t rests_wake_ns(const struct master *master)
{
    const struct master_ranges_placement *placement = master->leader.ranges_placement;
    nanoseconds_t wake_ns = merges_ns(master) > master->now_ns ? merges_ns(master) : NS_NEVER;
    for (size_t place = 0; place < placement->rests_count; place++) {
        nanoseconds_t until_ns = placement->rests[place].until_ns;
        if (until_ns > master->now_ns && until_ns < wake_ns)
            wake_ns = until_ns;
    }
    for (size_t index = 0; index < OUTDATED_COUNT_MAX; index++) {
        nanoseconds_t until_ns = placement->outdated[index].until_ns;
        if (until_ns > master->now_ns && until_ns < wake_ns)
            wake_ns = until_ns;
    }
    return wake_ns;
}

/* --- What has happened --------------------------------------------------------------------------
 */

/* Of a move that came to its end, or of two ranges that were merged: not by this leader's wish. */
static void done_by_somebody(struct master *master, const Ostraka__RangeInfo *range,
                             uint64_t change, Ostraka__RangeChangeKind undone_by)
{
    if (change != 0 && !own_find(master, change))
        rest_after_person(master, range, undone_by);
}

static void switched(struct master *master, const Ostraka__RangeChange *change)
{
    const struct own_change *own = own_find(master, change->id);
    if (own && own->is_by_number)
        return;
    group_outdate(master, change->from_group);
    group_outdate(master, change->to_group);
}

void master_ranges_placement_applied(struct master *master, const Ostraka__MasterCommand *command,
                                     struct bytes start, uint64_t change)
{
    if (!master->leader.ranges_placement)
        return;
    const Ostraka__RangeInfo *range = master_map_range_of_key(master->map, start);
    switch (command->command_case) {
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SPLIT:
        master->leader.ranges_placement->split_ns = master->now_ns;
        group_outdate(master, range->group);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SWITCHED:
        switched(master, range->change);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGES_MERGED:
        done_by_somebody(master, range, change, IS_SPLIT);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_ASSIGNED:
        done_by_somebody(master, range, change, IS_MOVE);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_CANCELLED:
        rest_after_call_off(master, range);
        break;
    default:
        break;
    }
}

void master_ranges_placement_map_changed(struct master *master)
{
    if (master->leader.ranges_placement)
        master->leader.ranges_placement->is_due = true;
}

static bool field_differs(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    return !bytes_equal(master_bytes(a), master_bytes(b));
}

static bool load_differs(const Ostraka__RangeLoad *a, const Ostraka__RangeLoad *b)
{
    return a->epoch != b->epoch || a->bytes != b->bytes ||
           a->operations_per_s != b->operations_per_s || a->merges != b->merges ||
           field_differs(a->start, b->start) || field_differs(a->split_at, b->split_at);
}

static bool replica_differs(const Ostraka__ReplicaReport *a, const Ostraka__ReplicaReport *b)
{
    if (a->leads != b->leads || a->term != b->term || a->n_loads != b->n_loads ||
        a->operations_per_s != b->operations_per_s)
        return true;
    for (size_t index = 0; index < a->n_loads; index++)
        if (load_differs(a->loads[index], b->loads[index]))
            return true;
    return false;
}

static const Ostraka__ReplicaReport *replica_in(const Ostraka__StoreReport *report,
                                                group_id_t group, size_t place)
{
    /* Nearly always they come in the same order. */
    if (report && place < report->n_replicas && report->replicas[place]->group == group)
        return report->replicas[place];
    for (size_t index = 0; report && index < report->n_replicas; index++)
        if (report->replicas[index]->group == group)
            return report->replicas[index];
    return NULL;
}

void master_ranges_placement_reported(struct master *master, const Ostraka__StoreReport *before,
                                      const Ostraka__StoreReport *now)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    for (size_t place = 0; place < now->n_replicas && !placement->is_due; place++) {
        const Ostraka__ReplicaReport *replica = now->replicas[place];
        const Ostraka__ReplicaReport *old = replica_in(before, replica->group, place);
        placement->is_due =
            replica->group != SHARD_MASTER_GROUP && (!old || replica_differs(old, replica));
    }
}

/* --- What is next -------------------------------------------------------------------------------
 */

/* What the leader of a group says of it. Its store may know of a higher term by now. */
static struct placement_group group_known(const struct master *master, group_id_t group)
{
    store_id_t store = master_leader_hint(master, group);
    const Ostraka__StoreReport *report = store ? master_leader_report_of(master, store) : NULL;
    bool is_live = report && master->now_ns - master_leader_heard_ns(master, store) < LIVE_NS;
    const Ostraka__ReplicaReport *replica = is_live ? replica_in(report, group, 0) : NULL;
    if (!replica || !replica->leads)
        return (struct placement_group){.is_known = false};
    return (struct placement_group){
        .is_known = true,
        .is_outdated = is_outdated(master, group),
        .operations_per_s = replica->operations_per_s,
        .loads = (const Ostraka__RangeLoad *const *)replica->loads,
        .loads_count = replica->n_loads,
    };
}

/* False: some leader has not reported yet since this leadership began. */
static bool groups_list(struct master *master, struct placement_group *out_groups)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    const Ostraka__Map *map = master->map;
    bool are_known = true;
    for (size_t place = 0; place < map->n_groups; place++) {
        out_groups[place] = group_known(master, map->groups[place]->id);
        are_known = are_known && out_groups[place].is_known;
    }
    placement->has_heard_all = placement->has_heard_all || are_known;
    return placement->has_heard_all;
}

static bool range_change_next(struct master *master, struct arena *arena,
                              struct placement_range_change *out_change)
{
    struct placement_rest rests[RESTS_COUNT_MAX];
    size_t groups_count = master->map->n_groups;
    struct placement_group *groups = arena_alloc(arena, groups_count * sizeof(groups[0]));
    if (!groups_list(master, groups))
        return false;
    const struct placement_ranges_input input = {
        .map = master->map,
        .groups = groups,
        .changes_max = master->options.range_changes_max,
        .may_merge = merges_ns(master) <= master->now_ns,
        .rests = rests,
        .rests_count = rests_list(master, rests),
    };
    return placement_ranges_next(&input, out_change);
}

static void own_add(struct master_ranges_placement *placement, uint64_t number,
                    const struct placement_range_change *change)
{
    struct own_change *own = &placement->own[placement->own_next++ % OWN_COUNT_MAX];
    own->change = number;
    own->is_by_number = change->kind == IS_MOVE && !change->is_by_load;
    snprintf(own->why, sizeof(own->why), "%s", change->why);
}

static void range_change_ask(struct master *master, const struct placement_range_change *change)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    Ostraka__ChangeRange request = OSTRAKA__CHANGE_RANGE__INIT;
    request.kind = change->kind;
    request.start = change->start;
    request.epoch = change->epoch;
    request.to_group = change->to_group;
    request.at = change->at;
    char why_not[MASTER_WHY_BYTES] = "", key[KEY_TEXT_BYTES];
    uint64_t number;
    int status = RARE(MASTER_PROPOSAL_REFUSED)
                     ? OST_LOG_FULL
                     : master_range_change_propose(master, &request, &placement->proposed_index,
                                                   &number, why_not);
    key_print(master_bytes(change->start), key, sizeof(key));
    if (status == OST_OK) {
        COVER(MASTER_RANGE_PLACED);
        own_add(placement, number, change);
        log_write(LOG_INFO, "a range is placed",
                  "store=%lu change=%lu kind=%s start=\"%s\" to_group=%lu why=\"%s\"",
                  master->options.store_id, number, master_range_change_name(change->kind), key,
                  change->to_group, change->why);
    } else if (why_not[0] != '\0') {
        /* Others are not to wait for it. */
        log_write(LOG_INFO, "a range cannot be placed", "store=%lu kind=%s start=\"%s\" why=\"%s\"",
                  master->options.store_id, master_range_change_name(change->kind), key, why_not);
        rest_after_call_off(master, master_map_range_at(master->map, master_bytes(change->start)));
    }
}

/* What was proposed shows in the map once it is applied: until then the same would be asked for. */
void master_ranges_placement_timer(struct master *master)
{
    struct master_ranges_placement *placement = master->leader.ranges_placement;
    uint32_t changes_max = master->options.range_changes_max;
    if (placement->wake_ns <= master->now_ns)
        placement->is_due = true;
    if (changes_max == 0 || !placement->is_due || master->meta.index < placement->proposed_index)
        return;
    placement->is_due = false;
    placement->wake_ns = NS_NEVER;
    if (master_ranges_leader_drives_count(master) >= changes_max)
        return; /* the map changes when one of them ends */
    struct arena arena;
    arena_init(&arena);
    struct placement_range_change change;
    if (range_change_next(master, &arena, &change)) {
        range_change_ask(master, &change);
        placement->is_due = true; /* there may be another one */
    } else {
        placement->wake_ns = rests_wake_ns(master);
    }
    arena_fini(&arena);
}
