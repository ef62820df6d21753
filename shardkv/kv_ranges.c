#include "shardkv/kv_ranges.h"

#include "base/memory.h"
#include "shardkv/kv_load.h"

#include <stdlib.h>

static int range_compare(struct kv_range *a, struct kv_range *b)
{
    return bytes_compare(blob_bytes(a->start), blob_bytes(b->start));
}
RB_GENERATE_INTERNAL(kv_range_tree, kv_range, link, range_compare, __attribute__((unused)) static)

void kv_ranges_init(struct kv_ranges *ranges)
{
    *ranges = (struct kv_ranges){0};
    RB_INIT(&ranges->by_start);
    TAILQ_INIT(&ranges->unsettled);
}

void kv_ranges_fini(struct kv_ranges *ranges)
{
    struct kv_range *range;
    while ((range = RB_ROOT(&ranges->by_start)) != NULL)
        kv_ranges_remove(ranges, range);
    ASSERT(ranges->count == 0 && ranges->unsettled_count == 0);
}

/* --- Which one? --------------------------------------------------------------------------------
 */

/* The last one that begins at or before `key`. Walks down by hand, because the tree's own lookups
 * want a node that owns its key, and this is on the way of every request. */
static struct kv_range *range_at_or_before(const struct kv_ranges *ranges, struct bytes key)
{
    struct kv_range *at = RB_ROOT(&ranges->by_start);
    struct kv_range *found = NULL;
    while (at) {
        int order = bytes_compare(blob_bytes(at->start), key);
        if (order <= 0)
            found = at;
        at = order <= 0 ? RB_RIGHT(at, link) : RB_LEFT(at, link);
    }
    return found;
}

bool kv_range_holds(const struct kv_range *range, struct bytes key)
{
    return key_in_range(key, blob_bytes(range->start), blob_bytes(range->end));
}

static bool range_settles(const struct kv_range *range)
{
    return range->state == KV_RANGE_OWNED || range->state == KV_RANGE_FROZEN;
}

const struct kv_range *kv_ranges_find_settling(const struct kv_ranges *ranges, struct bytes key)
{
    const struct kv_range *range = range_at_or_before(ranges, key);
    return range && range_settles(range) && kv_range_holds(range, key) ? range : NULL;
}

const struct kv_range *kv_ranges_find(const struct kv_ranges *ranges, struct bytes key)
{
    const struct kv_range *range = kv_ranges_find_settling(ranges, key);
    return range && range->state == KV_RANGE_OWNED ? range : NULL;
}

struct kv_range *kv_ranges_at(const struct kv_ranges *ranges, struct bytes start)
{
    struct kv_range *range = range_at_or_before(ranges, start);
    return range && bytes_equal(blob_bytes(range->start), start) ? range : NULL;
}

bool kv_ranges_overlap(const struct kv_ranges *ranges, struct bytes start, struct bytes end)
{
    const struct kv_range *range = range_at_or_before(ranges, start);
    if (range && ranges_overlap(start, end, blob_bytes(range->start), blob_bytes(range->end)))
        return true;
    range = range ? kv_ranges_next(range) : kv_ranges_first(ranges);
    return range && ranges_overlap(start, end, blob_bytes(range->start), blob_bytes(range->end));
}

const struct kv_range *kv_ranges_named_settling(const struct kv_ranges *ranges,
                                                const Ostraka__RangeRef *ref)
{
    if (!ref)
        return NULL;
    const struct kv_range *range = kv_ranges_at(ranges, bytes_of(ref->start.data, ref->start.len));
    return range && range_settles(range) && range->epoch == ref->epoch ? range : NULL;
}

const struct kv_range *kv_ranges_named(const struct kv_ranges *ranges, const Ostraka__RangeRef *ref)
{
    const struct kv_range *range = kv_ranges_named_settling(ranges, ref);
    return range && range->state == KV_RANGE_OWNED ? range : NULL;
}

struct kv_range *kv_ranges_first(const struct kv_ranges *ranges)
{
    return RB_MIN(kv_range_tree, (struct kv_range_tree *)(uintptr_t)&ranges->by_start);
}

struct kv_range *kv_ranges_next(const struct kv_range *range)
{
    return RB_NEXT(kv_range_tree, NULL, (struct kv_range *)(uintptr_t)range);
}

/* --- Changes -----------------------------------------------------------------------------------
 */

static void unsettled_add(struct kv_ranges *ranges, struct kv_range *range)
{
    if (range->state == KV_RANGE_OWNED)
        return;
    TAILQ_INSERT_TAIL(&ranges->unsettled, range, unsettled_link);
    ranges->unsettled_count++;
}

static void unsettled_remove(struct kv_ranges *ranges, struct kv_range *range)
{
    if (range->state == KV_RANGE_OWNED)
        return;
    TAILQ_REMOVE(&ranges->unsettled, range, unsettled_link);
    ranges->unsettled_count--;
}

struct kv_range *kv_ranges_add(struct kv_ranges *ranges, struct bytes start, struct bytes end,
                               uint64_t epoch, enum kv_range_state state)
{
    ASSERT(state != KV_RANGE_GONE && !kv_ranges_overlap(ranges, start, end));
    struct kv_range *range = memory_alloc_zeroed(1, sizeof(*range));
    range->start = blob_copy(start);
    range->end = blob_copy(end);
    range->epoch = epoch;
    range->state = state;
    struct kv_range *other = RB_INSERT(kv_range_tree, &ranges->by_start, range);
    ASSERT(!other);
    ranges->count++;
    unsettled_add(ranges, range);
    return range;
}

void kv_ranges_remove(struct kv_ranges *ranges, struct kv_range *range)
{
    RB_REMOVE(kv_range_tree, &ranges->by_start, range);
    ranges->count--;
    unsettled_remove(ranges, range);
    blob_unref(range->start);
    blob_unref(range->end);
    blob_unref(range->luggage);
    if (range->load)
        kv_load_free(range->load);
    free(range);
}

void kv_range_move(struct kv_ranges *ranges, struct kv_range *range, enum kv_range_state state)
{
    static const uint8_t allowed[] = {
        [KV_RANGE_OWNED] = 1u << KV_RANGE_FROZEN,
        [KV_RANGE_FROZEN] = 1u << KV_RANGE_SEALED | 1u << KV_RANGE_OWNED,
        [KV_RANGE_SEALED] = 1u << KV_RANGE_OWNED,
        [KV_RANGE_COPYING] = 1u << KV_RANGE_COPIED,
        [KV_RANGE_COPIED] = 1u << KV_RANGE_OWNED,
    };
    ASSERT(allowed[range->state] & 1u << state);
    unsettled_remove(ranges, range);
    range->state = state;
    unsettled_add(ranges, range);
}

struct kv_range *kv_ranges_split(struct kv_ranges *ranges, struct kv_range *range, struct bytes at)
{
    ASSERT(range->state == KV_RANGE_OWNED && kv_range_holds(range, at) &&
           bytes_compare(blob_bytes(range->start), at) < 0);
    struct blob *end = range->end;
    range->end = blob_copy(at);
    struct kv_range *right = kv_ranges_add(ranges, at, blob_bytes(end), range->epoch, range->state);
    right->change = range->change;
    blob_unref(end);
    return right;
}

void kv_ranges_merge(struct kv_ranges *ranges, struct kv_range *left, struct kv_range *right)
{
    ASSERT(left->state == KV_RANGE_OWNED && right->state == KV_RANGE_OWNED);
    ASSERT(bytes_equal(blob_bytes(left->end), blob_bytes(right->start)));
    struct blob *end = blob_ref(right->end);
    kv_ranges_remove(ranges, right);
    blob_unref(left->end);
    left->end = end;
}
