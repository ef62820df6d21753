#include "tests/sim/safe_point_check.h"

#include "base/assert.h"

#include <inttypes.h>

void safe_point_check_init(struct safe_point_check *check)
{
    *check = (struct safe_point_check){0};
    check_result_init(&check->result);
}

void safe_point_check_replica(struct safe_point_check *check, uint64_t store_id, group_id_t group,
                              raft_index_t applied_index, timestamp_t safe_point)
{
    ASSERT(group < SAFE_POINT_GROUPS_MAX);
    check->result.judged_count++;
    timestamp_t least = check->groups[group].safe_point, of_master = check->groups[0].safe_point;
    raft_index_t index = check->groups[group].index;
    bool is_back = applied_index >= index ? safe_point < least : safe_point > least;
    if (is_back)
        check_result_violation(&check->result, "safe-point-back",
                               "group %" PRIu64 " on store %" PRIu64 " at index %" PRIu64
                               ": safe point %" PRIu64 ", at index %" PRIu64 " it was %" PRIu64,
                               group, store_id, applied_index, safe_point, index, least);
    if (applied_index >= index) {
        check->groups[group].index = applied_index;
        check->groups[group].safe_point = safe_point;
    }
    if (group != SHARD_MASTER_GROUP && safe_point > of_master)
        check_result_violation(&check->result, "safe-point-ahead",
                               "group %" PRIu64 " on store %" PRIu64 ": safe point %" PRIu64
                               ", group 0's is %" PRIu64,
                               group, store_id, safe_point, of_master);
}

void safe_point_check_hold(struct safe_point_check *check, timestamp_t timestamp)
{
    check->result.judged_count++;
    for (group_id_t group = 0; group < SAFE_POINT_GROUPS_MAX; group++)
        if (check->groups[group].safe_point > timestamp)
            check_result_violation(&check->result, "hold-passed",
                                   "group %" PRIu64 ": safe point %" PRIu64 " is above %" PRIu64
                                   ", which is held",
                                   group, check->groups[group].safe_point, timestamp);
}
