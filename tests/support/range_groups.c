#include "tests/support/range_groups.h"

#include "base/memory.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define OWNED   OSTRAKA__RANGE_STATE__RANGE_OWNED
#define FROZEN  OSTRAKA__RANGE_STATE__RANGE_FROZEN
#define SEALED  OSTRAKA__RANGE_STATE__RANGE_SEALED
#define COPYING OSTRAKA__RANGE_STATE__RANGE_COPYING
#define COPIED  OSTRAKA__RANGE_STATE__RANGE_COPIED

enum { KEY_END = RANGE_KEYS_COUNT };
#define COPY_BYTES 1000u

struct range_message {
    nanoseconds_t due_ns;
    bool is_report;
    struct blob *frame;
};

/* --- Keys --------------------------------------------------------------------------------------
 */

struct bytes range_key(uint32_t key)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    return key == 0 || key == KEY_END ? bytes_of(NULL, 0) : bytes_of(&letters[key - 1], 1);
}

static uint32_t key_of(ProtobufCBinaryData field)
{
    cr_assert(field.len == 0 || (field.len == 1 && field.data[0] >= 'a' && field.data[0] <= 'z'));
    return field.len == 0 ? 0 : (uint32_t)(field.data[0] - 'a' + 1);
}

static uint32_t end_of(ProtobufCBinaryData field)
{
    return field.len == 0 ? KEY_END : key_of(field);
}

static ProtobufCBinaryData field_of(uint32_t key)
{
    struct bytes bytes = range_key(key);
    return (ProtobufCBinaryData){.len = bytes.bytes_count,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}

/* --- What a group has --------------------------------------------------------------------------
 */

static struct group_here *group_find(struct range_groups *groups, group_id_t id)
{
    return id >= 1 && id <= groups->groups_count ? &groups->groups[id - 1] : NULL;
}

static struct group_range *range_at(struct group_here *group, uint32_t start)
{
    for (size_t index = 0; index < group->ranges_count; index++)
        if (group->ranges[index].start == start)
            return &group->ranges[index];
    return NULL;
}

static bool group_overlaps(const struct group_here *group, uint32_t start, uint32_t end)
{
    for (size_t index = 0; index < group->ranges_count; index++)
        if (group->ranges[index].start < end && start < group->ranges[index].end)
            return true;
    return false;
}

static struct group_range *range_add(struct group_here *group, uint32_t start, uint32_t end,
                                     uint64_t epoch, Ostraka__RangeState state)
{
    cr_assert_lt(group->ranges_count, RANGE_GROUP_RANGES_MAX);
    struct group_range *range = &group->ranges[group->ranges_count++];
    *range = (struct group_range){.start = start, .end = end, .epoch = epoch, .state = state};
    return range;
}

/* With what was written there. */
static void range_remove(struct group_here *group, struct group_range *range)
{
    for (uint32_t key = range->start; key < range->end; key++)
        group->values[key] = 0;
    *range = group->ranges[--group->ranges_count];
}

static bool range_may_write(const struct group_range *range)
{
    return range->state == OWNED || range->state == FROZEN;
}

/* --- What must hold ----------------------------------------------------------------------------
 */

static void check_key(struct range_groups *groups, uint32_t key)
{
    group_id_t writer = 0;
    for (uint32_t place = 0; place < groups->groups_count; place++) {
        const struct group_here *group = &groups->groups[place];
        for (size_t index = 0; index < group->ranges_count; index++) {
            const struct group_range *range = &group->ranges[index];
            if (key < range->start || key >= range->end || !range_may_write(range))
                continue;
            cr_assert_eq(writer, 0, "groups %lu and %lu both have key %u", writer, group->id, key);
            writer = group->id;
            cr_assert_eq(group->values[key], groups->written[key],
                         "group %lu serves key %u, and lacks what was written", group->id, key);
            cr_assert_geq(range->epoch, groups->epochs[key], "an epoch came back");
            groups->epochs[key] = range->epoch;
        }
    }
}

static void check(struct range_groups *groups)
{
    for (uint32_t key = 0; key < RANGE_KEYS_COUNT; key++)
        check_key(groups, key);
}

bool range_groups_agree(const struct range_groups *groups, const Ostraka__Map *map)
{
    size_t count = 0;
    for (uint32_t place = 0; place < groups->groups_count; place++)
        count += groups->groups[place].ranges_count;
    if (count != map->n_ranges)
        return false;
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *info = map->ranges[index];
        struct group_here *group =
            group_find((struct range_groups *)(uintptr_t)groups, info->group);
        const struct group_range *range = range_at(group, key_of(info->start));
        if (!info->assigned || info->change || !range || range->state != OWNED ||
            range->end != end_of(info->end) || range->epoch != info->epoch)
            return false;
    }
    return true;
}

/* --- Messages ----------------------------------------------------------------------------------
 */

static void message_put(struct range_groups *groups, struct blob *frame, bool is_report,
                        nanoseconds_t delay_ns)
{
    if (groups->messages_count == groups->messages_capacity) {
        groups->messages_capacity = 2 * groups->messages_capacity + 64;
        groups->messages = memory_realloc(groups->messages,
                                          groups->messages_capacity * sizeof(groups->messages[0]));
    }
    groups->messages[groups->messages_count++] = (struct range_message){
        .due_ns = groups->now_ns + delay_ns, .is_report = is_report, .frame = blob_ref(frame)};
}

static nanoseconds_t delay_ns(struct range_groups *groups)
{
    uint64_t kind = groups->is_quiet ? 99 : random_below(&groups->random, 100);
    uint64_t ms_max = kind < 3 ? 20000 : kind < 20 ? 500 : 3;
    return (1 + random_below(&groups->random, ms_max)) * NS_PER_MS;
}

/* Takes the frame. */
static void message_send(struct range_groups *groups, struct blob *frame, bool is_report)
{
    bool is_lost = !groups->is_quiet && random_below(&groups->random, 10) == 0;
    bool is_doubled = !groups->is_quiet && random_below(&groups->random, 10) == 0;
    if (!is_lost)
        message_put(groups, frame, is_report, delay_ns(groups));
    if (is_doubled)
        message_put(groups, frame, is_report, delay_ns(groups));
    blob_unref(frame);
}

void range_groups_send(struct range_groups *groups, const struct frame *frame)
{
    const ProtobufCMessageDescriptor *descriptor = frame->type == FRAME_RANGE_ORDER
                                                       ? &ostraka__range_order__descriptor
                                                       : &ostraka__assign_range__descriptor;
    struct arena arena;
    arena_init(&arena);
    const ProtobufCMessage *message = message_unpack(descriptor, frame->message, &arena);
    cr_assert(message);
    message_send(groups, frame_encode(frame->type, 0, message, NULL, 0), false);
    arena_fini(&arena);
}

/* --- Reports -----------------------------------------------------------------------------------
 */

static void report(struct range_groups *groups, const struct group_here *group,
                   const struct group_range *range)
{
    Ostraka__RangeFact fact = OSTRAKA__RANGE_FACT__INIT;
    Ostraka__RangeFact *facts[] = {&fact};
    fact.start = field_of(range->start);
    fact.end = field_of(range->end);
    fact.epoch = range->epoch;
    fact.state = range->state;
    fact.change = range->change;
    fact.copied_bytes = range->copied_bytes;
    fact.is_near = range->copied_bytes >= COPY_BYTES;
    fact.prepared_count = range->prepared_ms > 0;
    Ostraka__RangeReport message = OSTRAKA__RANGE_REPORT__INIT;
    message.group = group->id;
    message.term = group->term;
    message.ranges = facts;
    message.n_ranges = 1;
    message_send(groups, frame_encode(FRAME_RANGE_REPORT, 0, &message.base, NULL, 0), true);
}

static void report_all(struct range_groups *groups, struct group_here *group)
{
    group->report_ns = groups->now_ns + NS_PER_S;
    for (size_t index = 0; index < group->ranges_count; index++)
        if (group->ranges[index].state != OWNED)
            report(groups, group, &group->ranges[index]);
}

/* --- Steps -------------------------------------------------------------------------------------
 */

static bool step_split(struct range_groups *groups, struct group_here *group,
                       struct group_range *range, const Ostraka__RangeOrder *order)
{
    uint32_t at = key_of(order->at);
    if (range->state != OWNED || range->epoch != order->epoch || order->change <= range->change ||
        at <= range->start || at >= range->end)
        return false;
    struct group_range *right = range_add(group, at, range->end, order->epoch + 1, OWNED);
    range = range_at(group, key_of(order->start));
    range->end = at;
    range->epoch++;
    range->change = right->change = order->change;
    groups->splits_count++;
    return true;
}

static bool step_merge(struct range_groups *groups, struct group_here *group,
                       struct group_range *range, const Ostraka__RangeOrder *order)
{
    struct group_range *right = range_at(group, key_of(order->at));
    if (!right || right->start != range->end || range->state != OWNED || right->state != OWNED ||
        range->epoch != order->epoch || right->epoch != order->epoch_right ||
        order->change <= range->change || order->change <= right->change)
        return false;
    range->end = right->end;
    range->epoch = (range->epoch > right->epoch ? range->epoch : right->epoch) + 1;
    range->change = order->change;
    *right = group->ranges[--group->ranges_count];
    groups->merges_count++;
    return true;
}

static bool step_freeze(struct range_groups *groups, struct group_range *range,
                        const Ostraka__RangeOrder *order)
{
    if (range->state != OWNED || range->epoch != order->epoch || order->change <= range->change)
        return false;
    range->state = FROZEN;
    range->change = order->change;
    bool is_long = !groups->is_quiet && random_below(&groups->random, 8) == 0;
    range->prepared_ms = (uint32_t)random_below(&groups->random, is_long ? 6000 : 50);
    return true;
}

static bool step_leave(struct range_groups *groups, struct group_here *group,
                       struct group_range *range, const Ostraka__RangeOrder *order)
{
    if ((range->state != FROZEN && range->state != SEALED) || range->change != order->change ||
        range->epoch != order->epoch)
        return false;
    if (order->step == OSTRAKA__RANGE_STEP__RANGE_UNFREEZE) {
        range->state = OWNED;
        groups->unfreezes_count++;
        return true;
    }
    if (range->state != SEALED)
        return false;
    range_remove(group, range);
    group->has_dropped = true;
    groups->drops_count++;
    return true;
}

static bool step_clear(struct range_groups *groups, struct group_here *group,
                       const Ostraka__RangeOrder *order)
{
    uint32_t start = key_of(order->start), end = end_of(order->end);
    if (group_overlaps(group, start, end))
        return false;
    struct group_range *range = range_add(group, start, end, order->epoch, COPYING);
    range->change = order->change;
    range->from_group = order->from_group;
    range->is_stuck = !groups->is_quiet && random_below(&groups->random, 8) == 0;
    return true;
}

static bool step_arrive(struct range_groups *groups, struct group_here *group,
                        struct group_range *range, const Ostraka__RangeOrder *order)
{
    if (range->change != order->change)
        return false;
    if (order->step == OSTRAKA__RANGE_STEP__RANGE_OWN) {
        if (range->state != COPIED)
            return false;
        range->state = OWNED;
        range->epoch++;
        groups->owns_count++;
        return true;
    }
    if (range->state != COPYING && range->state != COPIED)
        return false;
    range_remove(group, range);
    groups->discards_count++;
    return true;
}

static bool step_take(struct range_groups *groups, struct group_here *group,
                      const Ostraka__RangeOrder *order)
{
    struct group_range *range = range_at(group, key_of(order->start));
    if (order->step == OSTRAKA__RANGE_STEP__RANGE_CLEAR)
        return step_clear(groups, group, order);
    if (!range)
        return false;
    switch (order->step) {
    case OSTRAKA__RANGE_STEP__RANGE_SPLIT:
        return step_split(groups, group, range, order);
    case OSTRAKA__RANGE_STEP__RANGE_MERGE:
        return step_merge(groups, group, range, order);
    case OSTRAKA__RANGE_STEP__RANGE_FREEZE:
        return step_freeze(groups, range, order);
    case OSTRAKA__RANGE_STEP__RANGE_UNFREEZE:
    case OSTRAKA__RANGE_STEP__RANGE_DROP:
        return step_leave(groups, group, range, order);
    case OSTRAKA__RANGE_STEP__RANGE_OWN:
    case OSTRAKA__RANGE_STEP__RANGE_DISCARD:
        return step_arrive(groups, group, range, order);
    default:
        cr_assert_fail("nobody orders step %d", order->step);
        return false;
    }
}

static void order_take(struct range_groups *groups, const Ostraka__RangeOrder *order)
{
    struct group_here *group = group_find(groups, order->group);
    cr_assert(group);
    step_take(groups, group, order);
    const struct group_range *range = range_at(group, key_of(order->start));
    const struct group_range *right = order->at.len > 0 ? range_at(group, key_of(order->at)) : NULL;
    if (range)
        report(groups, group, range);
    if (right && right != range)
        report(groups, group, right);
}

static void assign_take(struct range_groups *groups, const Ostraka__AssignRange *order)
{
    struct group_here *group = group_find(groups, order->group);
    cr_assert(group);
    uint32_t start = key_of(order->range->start), end = end_of(order->range->end);
    if (!group->has_dropped && !group_overlaps(group, start, end))
        range_add(group, start, end, order->range->epoch, OWNED);
    const struct group_range *range = range_at(group, start);
    if (range)
        report(groups, group, range);
}

/* --- Time --------------------------------------------------------------------------------------
 */

static void write(struct range_groups *groups, struct group_here *group,
                  const struct group_range *range)
{
    uint32_t key =
        range->start + (uint32_t)random_below(&groups->random, range->end - range->start);
    group->values[key]++;
    groups->written[key]++;
}

static void range_copy(struct range_groups *groups, struct group_here *group,
                       struct group_range *range)
{
    if (!range->is_stuck || groups->is_quiet)
        range->copied_bytes += random_below(&groups->random, 20);
    const struct group_here *giver = group_find(groups, range->from_group);
    const struct group_range *given = range_at((struct group_here *)(uintptr_t)giver, range->start);
    if (range->copied_bytes < COPY_BYTES || !given || given->state != SEALED ||
        given->change != range->change)
        return;
    cr_assert_eq(given->end, range->end);
    for (uint32_t key = range->start; key < range->end; key++)
        group->values[key] = giver->values[key];
    range->state = COPIED;
    report(groups, group, range);
}

static void range_tick(struct range_groups *groups, struct group_here *group,
                       struct group_range *range)
{
    if (range->state == COPYING) {
        range_copy(groups, group, range);
    } else if (range->state == OWNED && random_below(&groups->random, 20) == 0) {
        write(groups, group, range);
    } else if (range->state == FROZEN && range->prepared_ms > 0) {
        range->prepared_ms--;
        write(groups, group, range);
    } else if (range->state == FROZEN) {
        range->state = SEALED;
        groups->seals_count++;
        report(groups, group, range);
    }
}

static void message_take(struct range_groups *groups, const struct range_message *message)
{
    struct arena arena;
    arena_init(&arena);
    struct frame frame = frame_of_blob(message->frame);
    if (message->is_report)
        groups->report(groups->context,
                       (const Ostraka__RangeReport *)message_unpack(
                           &ostraka__range_report__descriptor, frame.message, &arena));
    else if (frame.type == FRAME_RANGE_ORDER)
        order_take(groups, (const Ostraka__RangeOrder *)message_unpack(
                               &ostraka__range_order__descriptor, frame.message, &arena));
    else
        assign_take(groups, (const Ostraka__AssignRange *)message_unpack(
                                &ostraka__assign_range__descriptor, frame.message, &arena));
    arena_fini(&arena);
}

void range_groups_step(struct range_groups *groups, nanoseconds_t now_ns)
{
    groups->now_ns = now_ns;
    for (size_t index = 0; index < groups->messages_count;) {
        struct range_message message = groups->messages[index];
        if (message.due_ns > now_ns) {
            index++;
            continue;
        }
        groups->messages[index] = groups->messages[--groups->messages_count];
        message_take(groups, &message);
        blob_unref(message.frame);
        check(groups);
    }
    for (uint32_t place = 0; place < groups->groups_count; place++) {
        struct group_here *group = &groups->groups[place];
        for (size_t index = 0; index < group->ranges_count; index++)
            range_tick(groups, group, &group->ranges[index]);
        if (group->report_ns <= now_ns)
            report_all(groups, group);
    }
    check(groups);
}

void range_groups_depose(struct range_groups *groups, group_id_t id)
{
    struct group_here *group = group_find(groups, id);
    group->term++;
    for (size_t index = 0; index < group->ranges_count; index++)
        if (group->ranges[index].state == COPYING)
            group->ranges[index].copied_bytes = 0; /* it clears, and begins anew */
    group->report_ns = groups->now_ns;
}

void range_groups_init(struct range_groups *groups, uint64_t seed, uint32_t groups_count,
                       nanoseconds_t now_ns)
{
    *groups = (struct range_groups){.groups_count = groups_count, .now_ns = now_ns};
    random_init(&groups->random, seed);
    for (uint32_t place = 0; place < groups_count; place++) {
        groups->groups[place].id = place + 1;
        groups->groups[place].term = 1;
    }
}

void range_groups_fini(struct range_groups *groups)
{
    for (size_t index = 0; index < groups->messages_count; index++)
        blob_unref(groups->messages[index].frame);
    free(groups->messages);
}
