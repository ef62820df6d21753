/* kv_orders.c: at a group's leader: what the shard master orders of its ranges, what it is told of
 * them, and SEAL, which the leader proposes by itself (docs/range-moves.md).
 *
 * An order is proposed when it would change something, and answered by a report when it is so
 * already. What a proposal became is reported when it is applied. An order that makes no sense here
 * (any more) is passed over: the shard master goes by what the reports say.
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_copy.h"
#include "shardkv/kv_feed.h"

#define REPORT_AGAIN_NS NS_PER_S
#define SEAL_RETRY_NS   (50 * NS_PER_MS)

/* --- Reports ------------------------------------------------------------------------------------
 */

static void fact_of_range(const struct kv_group *group, const struct kv_range *range,
                          Ostraka__RangeFact *out_fact)
{
    ostraka__range_fact__init(out_fact);
    out_fact->start = field_of_bytes(blob_bytes(range->start));
    out_fact->end = field_of_bytes(blob_bytes(range->end));
    out_fact->epoch = range->epoch;
    out_fact->state = (Ostraka__RangeState)range->state;
    out_fact->change = range->change;
    if (range->state == KV_RANGE_FROZEN)
        out_fact->prepared_count = txn_records_prepared_count_in(
            group->records, blob_bytes(range->start), blob_bytes(range->end));
    if (range->state == KV_RANGE_COPYING)
        kv_copy_progress(group, range, out_fact);
}

static void report_facts(struct kv_group *group, Ostraka__RangeFact **facts, size_t facts_count)
{
    Ostraka__RangeReport report = OSTRAKA__RANGE_REPORT__INIT;
    report.group = group->id;
    report.term = group->term;
    report.ranges = facts;
    report.n_ranges = facts_count;
    if (RARE(RANGE_REPORT_LOST))
        return;
    outbox_to_group(group->shared->environment.outbox, SHARD_MASTER_GROUP,
                    frame_encode(FRAME_RANGE_REPORT, 0, &report.base, NULL, 0));
}

void kv_group_report_range(struct kv_group *group, const struct kv_range *range)
{
    Ostraka__RangeFact fact;
    Ostraka__RangeFact *pointer = &fact;
    fact_of_range(group, range, &fact);
    report_facts(group, &pointer, 1);
}

/* Facts of a report, at most; the rest comes first in the next. */
#define REPORT_FACTS_COUNT_MAX 64u

static void report_unsettled(struct kv_group *group)
{
    Ostraka__RangeFact facts[REPORT_FACTS_COUNT_MAX];
    Ostraka__RangeFact *pointers[REPORT_FACTS_COUNT_MAX];
    struct kv_range_list *unsettled = &group->ranges.unsettled;
    size_t count = 0;
    for (; count < group->ranges.unsettled_count && count < REPORT_FACTS_COUNT_MAX; count++) {
        struct kv_range *range = TAILQ_FIRST(unsettled);
        TAILQ_REMOVE(unsettled, range, unsettled_link);
        TAILQ_INSERT_TAIL(unsettled, range, unsettled_link);
        fact_of_range(group, range, &facts[count]);
        pointers[count] = &facts[count];
    }
    if (count > 0)
        report_facts(group, pointers, count);
}

/* --- SEAL ---------------------------------------------------------------------------------------
 */

static int step_propose(struct kv_group *group, const Ostraka__RangeCommand *step)
{
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_RANGE;
    command.range = (Ostraka__RangeCommand *)(uintptr_t)step;
    raft_index_t index;
    raft_term_t term;
    return kv_group_propose(group, &command, bytes_of(NULL, 0), &index, &term);
}

int kv_group_propose_step(struct kv_group *group, const struct kv_range *range,
                          Ostraka__RangeStep step)
{
    Ostraka__RangeCommand command = OSTRAKA__RANGE_COMMAND__INIT;
    command.step = step;
    command.change = range->change;
    command.start = field_of_bytes(blob_bytes(range->start));
    command.end = field_of_bytes(blob_bytes(range->end));
    command.epoch = range->epoch;
    command.from_group = range->from_group;
    return step_propose(group, &command);
}

/* A proposal may get lost; a second one does nothing. */
static bool seal_is_asked(struct kv_group *group, uint64_t change)
{
    nanoseconds_t now_ns = group->shared->now_ns;
    if (group->seal_asked_change == change && now_ns < group->seal_asked_ns + SEAL_RETRY_NS)
        return true;
    group->seal_asked_change = change;
    group->seal_asked_ns = now_ns;
    return false;
}

static void seal_what_is_drained(struct kv_group *group)
{
    struct kv_shared *shared = group->shared;
    group->seal_retry_ns = NS_NEVER;
    const struct kv_range *range;
    TAILQ_FOREACH (range, &group->ranges.unsettled, unsettled_link) {
        if (range->state != KV_RANGE_FROZEN)
            continue;
        group->seal_retry_ns = shared->now_ns + SEAL_RETRY_NS;
        if (txn_records_prepared_count_in(group->records, blob_bytes(range->start),
                                          blob_bytes(range->end)) > 0 ||
            seal_is_asked(group, range->change))
            continue;
        int status = kv_group_propose_step(group, range, OSTRAKA__RANGE_STEP__RANGE_SEAL);
        (void)status; /* it is looked at again */
    }
}

void kv_group_prepared_ended(struct kv_group *group)
{
    if (group->ranges.unsettled_count > 0 && group->seal_retry_ns != NS_NEVER)
        seal_what_is_drained(group);
}

/* --- Orders -------------------------------------------------------------------------------------
 */

/* The state in which it finds the range that it is for. */
static bool order_makes_sense(const struct kv_group *group, const Ostraka__RangeOrder *order,
                              const struct kv_range *range)
{
    bool is_same_change = range && range->change == order->change;
    bool is_owned = range && range->state == KV_RANGE_OWNED && range->epoch == order->epoch &&
                    range->change < order->change;
    switch (order->step) {
    case OSTRAKA__RANGE_STEP__RANGE_SPLIT:
    case OSTRAKA__RANGE_STEP__RANGE_MERGE:
    case OSTRAKA__RANGE_STEP__RANGE_FREEZE:
        return is_owned;
    case OSTRAKA__RANGE_STEP__RANGE_UNFREEZE:
        return is_same_change &&
               (range->state == KV_RANGE_FROZEN || range->state == KV_RANGE_SEALED);
    case OSTRAKA__RANGE_STEP__RANGE_DROP:
        return is_same_change && range->state == KV_RANGE_SEALED;
    case OSTRAKA__RANGE_STEP__RANGE_CLEAR:
        return !kv_ranges_overlap(&group->ranges, bytes_of_field(order->start),
                                  bytes_of_field(order->end));
    case OSTRAKA__RANGE_STEP__RANGE_OWN:
        return is_same_change && range->state == KV_RANGE_COPIED;
    case OSTRAKA__RANGE_STEP__RANGE_DISCARD:
        return is_same_change &&
               (range->state == KV_RANGE_COPYING || range->state == KV_RANGE_COPIED);
    default:
        return false; /* what a leader proposes by itself, and what a later version knows */
    }
}

static bool order_is_well_formed(const Ostraka__RangeOrder *order)
{
    size_t longest = order->start.len > order->end.len ? order->start.len : order->end.len;
    longest = longest > order->at.len ? longest : order->at.len;
    return order->change != 0 && longest <= KEY_BYTES_MAX;
}

void kv_group_order(struct kv_group *group, const Ostraka__RangeOrder *order)
{
    if (!group->is_leading || !order_is_well_formed(order))
        return;
    const struct kv_range *range = kv_ranges_at(&group->ranges, bytes_of_field(order->start));
    if (!order_makes_sense(group, order, range)) {
        if (range)
            kv_group_report_range(group, range);
        /* A split that has been done is told by both halves. */
        const struct kv_range *right =
            order->at.len > 0 ? kv_ranges_at(&group->ranges, bytes_of_field(order->at)) : NULL;
        if (right)
            kv_group_report_range(group, right);
        return;
    }
    Ostraka__RangeCommand step = OSTRAKA__RANGE_COMMAND__INIT;
    step.step = order->step;
    step.change = order->change;
    step.start = order->start;
    step.end = order->end;
    step.epoch = order->epoch;
    step.at = order->at;
    step.epoch_right = order->epoch_right;
    step.from_group = order->from_group;
    int status = step_propose(group, &step);
    (void)status; /* the shard master orders it again until a report shows it */
}

/* --- What was applied ----------------------------------------------------------------------------
 */

static void freeze_taken(struct kv_group *group, const struct kv_range *range)
{
    struct participant_event event = {
        .type = PARTICIPANT_EV_FREEZE_RANGE,
        .target = {.start = blob_bytes(range->start),
                   .end = blob_bytes(range->end),
                   .is_interval = true},
    };
    kv_group_step(group, &event);
}

static const char *step_text(Ostraka__RangeStep step)
{
    switch (step) {
    case OSTRAKA__RANGE_STEP__RANGE_SPLIT:
        return "split a range";
    case OSTRAKA__RANGE_STEP__RANGE_MERGE:
        return "merged two ranges";
    case OSTRAKA__RANGE_STEP__RANGE_FREEZE:
        return "froze a range";
    case OSTRAKA__RANGE_STEP__RANGE_SEAL:
        return "sealed a range";
    case OSTRAKA__RANGE_STEP__RANGE_UNFREEZE:
        return "a range serves again, its move was called off";
    case OSTRAKA__RANGE_STEP__RANGE_DROP:
        return "dropped a range that has moved away";
    case OSTRAKA__RANGE_STEP__RANGE_CLEAR:
        return "began to copy a range";
    case OSTRAKA__RANGE_STEP__RANGE_COPIED_ALL:
        return "copied a range";
    case OSTRAKA__RANGE_STEP__RANGE_OWN:
        return "took over a range";
    case OSTRAKA__RANGE_STEP__RANGE_DISCARD:
        return "discarded the copy of a range, its move was called off";
    default:
        return "changed a range";
    }
}

static void step_log(const struct kv_group *group, const Ostraka__RangeCommand *step)
{
    char start[KEY_TEXT_BYTES];
    log_write(LOG_INFO, step_text(step->step), "store=%lu group=%lu change=%lu start=\"%s\"",
              group->shared->environment.store_id, group->id, step->change,
              key_print(bytes_of_field(step->start), start, sizeof(start)));
}

/* The memory may be further by now than this entry: whatever is told is as of now. */
static void order_taken(struct kv_group *group, const Ostraka__RangeCommand *step)
{
    const struct kv_range *range = kv_ranges_at(&group->ranges, bytes_of_field(step->start));
    const struct kv_range *right = NULL;
    if (step->step == OSTRAKA__RANGE_STEP__RANGE_SPLIT)
        right = kv_ranges_at(&group->ranges, bytes_of_field(step->at));
    if (range && step->step == OSTRAKA__RANGE_STEP__RANGE_FREEZE)
        freeze_taken(group, range);
    seal_what_is_drained(group);
    if (range)
        kv_group_report_range(group, range);
    if (right)
        kv_group_report_range(group, right);
    group->ranges_report_ns =
        group->ranges.unsettled_count > 0 ? group->shared->now_ns + REPORT_AGAIN_NS : NS_NEVER;
}

void kv_group_step_taken(struct kv_group *group, const struct kv_consequence *consequence)
{
    if (consequence->step && consequence->is_step_done) {
        step_log(group, consequence->step);
        order_taken(group, consequence->step);
    }
    kv_copies_step_taken(group, consequence);
    kv_feeds_step_taken(group);
}

/* --- Leadership and time -------------------------------------------------------------------------
 */

void kv_group_ranges_led(struct kv_group *group)
{
    group->ranges_report_ns = group->seal_retry_ns = NS_NEVER;
    kv_loads_led(group);
    if (group->ranges.unsettled_count == 0)
        return;
    group->ranges_report_ns = group->shared->now_ns; /* the old leader may not have said it */
    seal_what_is_drained(group);
    kv_copies_led(group);
}

void kv_group_ranges_deposed(struct kv_group *group)
{
    group->ranges_report_ns = group->seal_retry_ns = NS_NEVER;
    kv_copies_drop(group);
    kv_feeds_drop(group);
    kv_loads_drop(group);
}

void kv_group_ranges_timer(struct kv_group *group)
{
    nanoseconds_t now_ns = group->shared->now_ns;
    if (group->ranges_report_ns <= now_ns) {
        group->ranges_report_ns =
            group->ranges.unsettled_count > 0 ? now_ns + REPORT_AGAIN_NS : NS_NEVER;
        report_unsettled(group);
    }
    if (group->seal_retry_ns <= now_ns)
        seal_what_is_drained(group);
    kv_copies_timer(group);
    kv_feeds_timer(group);
    kv_loads_timer(group);
}

nanoseconds_t kv_group_ranges_deadline_ns(const struct kv_group *group)
{
    nanoseconds_t deadline_ns = group->ranges_report_ns;
    if (group->seal_retry_ns < deadline_ns)
        deadline_ns = group->seal_retry_ns;
    nanoseconds_t copies_ns = kv_copies_deadline_ns(group);
    if (copies_ns < deadline_ns)
        deadline_ns = copies_ns;
    nanoseconds_t feeds_ns = kv_feeds_deadline_ns(group);
    if (feeds_ns < deadline_ns)
        deadline_ns = feeds_ns;
    nanoseconds_t loads_ns = kv_loads_deadline_ns(group);
    return loads_ns < deadline_ns ? loads_ns : deadline_ns;
}
