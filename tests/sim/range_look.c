#include "shardkv/kv_server_internal.h"

#include "tests/sim/range_look.h"

bool range_look(const struct kv_server *server, group_id_t id, struct arena *arena,
                struct range_facts *out_facts)
{
    const struct kv_group *group;
    HASH_FIND(hh, server->groups, &id, sizeof id, group);
    if (!group || group->slice.is_built || group->is_restoring || group->is_doomed)
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
    *out_facts = (struct range_facts){facts, count};
    return true;
}
