/* coordinator_reads.c: what an optimistic transaction has read, to be checked when it commits. */
#include "base/memory.h"
#include "txn/coordinator_internal.h"

#include <stdlib.h>

/* Of one member's reads in a message: leaves the other half of it to ranges and participants. */
#define READS_BYTES_MAX (FRAME_MESSAGE_BYTES_MAX / 2)
/* What a check adds to its keys in a message, at most. */
#define READ_OVERHEAD_BYTES 32u

const char *coordinator_read_note(struct coordinator *coordinator,
                                  struct coordinator_member *member,
                                  const struct lock_target *target, timestamp_t read_timestamp)
{
    size_t bytes_count = target->start.bytes_count + target->end.bytes_count + READ_OVERHEAD_BYTES;
    if (coordinator->reads_count == TXN_OPERATIONS_COUNT_MAX)
        return "reads are over the limit TXN_OPERATIONS_COUNT_MAX (100000)";
    if (member->reads_bytes + bytes_count > READS_BYTES_MAX)
        return "keys that were read in one group are over the limit READS_BYTES_MAX (2 MiB)";
    if (member->reads_count == member->reads_capacity) {
        member->reads_capacity = member->reads_capacity ? 2 * member->reads_capacity : 4;
        member->reads =
            memory_realloc(member->reads, member->reads_capacity * sizeof(member->reads[0]));
    }
    member->reads[member->reads_count++] = (struct coordinator_read){
        .target = {.start = arena_copy(&coordinator->arena, target->start),
                   .end = arena_copy(&coordinator->arena, target->end),
                   .is_interval = target->is_interval},
        .read_timestamp = read_timestamp,
    };
    member->reads_bytes += bytes_count;
    coordinator->reads_count++;
    return NULL;
}

static int read_place_compare(const struct coordinator_read *a, const struct coordinator_read *b)
{
    int order = bytes_compare(a->target.start, b->target.start);
    if (order == 0)
        order = (int)a->target.is_interval - (int)b->target.is_interval;
    return order != 0 ? order : bytes_compare(a->target.end, b->target.end);
}

static int read_compare(const void *x, const void *y)
{
    const struct coordinator_read *a = x, *b = y;
    int order = read_place_compare(a, b);
    if (order != 0)
        return order;
    return (a->read_timestamp > b->read_timestamp) - (a->read_timestamp < b->read_timestamp);
}

/* In key order, as a group wants them; of reads of the same, the first: when it stands, all do. */
static void member_reads_order(struct coordinator_member *member)
{
    if (member->reads_count < 2)
        return;
    qsort(member->reads, member->reads_count, sizeof(member->reads[0]), read_compare);
    uint32_t kept_count = 1;
    for (uint32_t index = 1; index < member->reads_count; index++) {
        if (read_place_compare(&member->reads[kept_count - 1], &member->reads[index]) != 0)
            member->reads[kept_count++] = member->reads[index];
    }
    member->reads_count = kept_count;
}

void coordinator_reads_order(struct coordinator *coordinator)
{
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++)
        member_reads_order(&coordinator->members[slot]);
}

/* A split may have left an interval in several ranges: each must be named. */
void coordinator_reads_retouch(struct coordinator *coordinator, struct coordinator_member *member)
{
    struct coordinator_route route = {0};
    bool routed = false;
    for (uint32_t index = 0; index < member->reads_count; index++) {
        const struct lock_target *target = &member->reads[index].target;
        struct bytes key = target->start;
        for (;;) {
            if (!routed || !key_in_range(key, route.range_start, route.range_end)) {
                if (!coordinator->route(coordinator->route_context, key, &route))
                    return;
                routed = true;
                coordinator_member_touch(coordinator, member, key, route.range_start);
            }
            bool is_last =
                !target->is_interval || route.range_end.bytes_count == 0 ||
                (target->end.bytes_count > 0 && bytes_compare(target->end, route.range_end) <= 0);
            if (is_last)
                break;
            key = arena_copy(&coordinator->arena, route.range_end);
        }
    }
}

Ostraka__ReadCheck **coordinator_reads_checks(const struct coordinator_member *member,
                                              struct arena *arena, size_t *out_count)
{
    Ostraka__ReadCheck *checks = arena_alloc(arena, member->reads_count * sizeof(checks[0]));
    Ostraka__ReadCheck **list = arena_alloc(arena, member->reads_count * sizeof(list[0]));
    for (uint32_t index = 0; index < member->reads_count; index++) {
        const struct coordinator_read *read = &member->reads[index];
        Ostraka__ReadCheck *check = &checks[index];
        ostraka__read_check__init(check);
        check->start.data = (uint8_t *)(uintptr_t)read->target.start.data;
        check->start.len = read->target.start.bytes_count;
        check->end.data = (uint8_t *)(uintptr_t)read->target.end.data;
        check->end.len = read->target.end.bytes_count;
        check->is_key = !read->target.is_interval;
        check->read_timestamp = read->read_timestamp;
        list[index] = check;
    }
    *out_count = member->reads_count;
    return list;
}
