#include "shardkv/kv_server_internal.h"

#include "tests/sim/range_look.h"

bool range_look(const struct kv_server *server, group_id_t id, struct arena *arena,
                struct range_sight *out_sight)
{
    const struct kv_group *group;
    HASH_FIND(hh, server->groups, &id, sizeof id, group);
    if (!group || group->is_restoring || group->is_doomed)
        return false;
    struct range_fact *facts = arena_alloc(arena, (group->ranges.count + 1) * sizeof facts[0]);
    size_t count = 0;
    const struct kv_range *range;
    for (range = kv_ranges_first(&group->ranges); range; range = kv_ranges_next(range))
        facts[count++] = (struct range_fact){.start = blob_bytes(range->start),
                                             .end = blob_bytes(range->end),
                                             .epoch = range->epoch,
                                             .state = (Ostraka__RangeState)range->state,
                                             .change = range->change};
    const struct kv_slice *slice = &group->slice;
    *out_sight = (struct range_sight){
        .index = slice->is_built ? slice->meta.applied_index : group->meta.applied_index,
        .is_written = !slice->is_built,
        .facts = {facts, count},
    };
    return true;
}
