#include "shardkv/kv_ranges.h"

#include "base/memory.h"

#include <stdlib.h>

static int range_compare(struct kv_range *a, struct kv_range *b)
{
    return bytes_compare(blob_bytes(a->start), blob_bytes(b->start));
}
RB_GENERATE_INTERNAL(kv_range_tree, kv_range, link, range_compare, __attribute__((unused)) static)

void kv_ranges_init(struct kv_ranges *ranges)
{
    RB_INIT(&ranges->by_start);
    ranges->count = 0;
}

void kv_ranges_fini(struct kv_ranges *ranges)
{
    struct kv_range *range;
    while ((range = RB_ROOT(&ranges->by_start)) != NULL) {
        RB_REMOVE(kv_range_tree, &ranges->by_start, range);
        blob_unref(range->start);
        blob_unref(range->end);
        free(range);
    }
    ranges->count = 0;
}

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

const struct kv_range *kv_ranges_find(const struct kv_ranges *ranges, struct bytes key)
{
    const struct kv_range *range = range_at_or_before(ranges, key);
    return range && kv_range_holds(range, key) ? range : NULL;
}

const struct kv_range *kv_ranges_at(const struct kv_ranges *ranges, struct bytes start)
{
    const struct kv_range *range = range_at_or_before(ranges, start);
    return range && bytes_equal(blob_bytes(range->start), start) ? range : NULL;
}

bool kv_ranges_overlap(const struct kv_ranges *ranges, struct bytes start, struct bytes end)
{
    const struct kv_range *range;
    for (range = kv_ranges_first(ranges); range; range = kv_ranges_next(range)) {
        if (ranges_overlap(start, end, blob_bytes(range->start), blob_bytes(range->end)))
            return true;
    }
    return false;
}

void kv_ranges_add(struct kv_ranges *ranges, struct bytes start, struct bytes end, uint64_t epoch)
{
    ASSERT(!kv_ranges_overlap(ranges, start, end));
    struct kv_range *range = memory_alloc_zeroed(1, sizeof(*range));
    range->start = blob_copy(start);
    range->end = blob_copy(end);
    range->epoch = epoch;
    struct kv_range *other = RB_INSERT(kv_range_tree, &ranges->by_start, range);
    ASSERT(!other);
    ranges->count++;
}

const struct kv_range *kv_ranges_named(const struct kv_ranges *ranges, const Ostraka__RangeRef *ref)
{
    if (!ref)
        return NULL;
    const struct kv_range *range = kv_ranges_at(ranges, bytes_of(ref->start.data, ref->start.len));
    return range && range->epoch == ref->epoch ? range : NULL;
}

const struct kv_range *kv_ranges_first(const struct kv_ranges *ranges)
{
    return RB_MIN(kv_range_tree, (struct kv_range_tree *)(uintptr_t)&ranges->by_start);
}

const struct kv_range *kv_ranges_next(const struct kv_range *range)
{
    return RB_NEXT(kv_range_tree, NULL, (struct kv_range *)(uintptr_t)range);
}
