/* safe_point_check.h: what is promised of safe points (S4), held against what replicas have.
 *
 * Anomalies: "safe-point-back": a replica that has applied no less has a lower one than another
 * had; "safe-point-ahead": a group's is above group 0's; "hold-passed": one is above a timestamp
 * that somebody holds for certain.
 */
#pragma once

#include "base/types.h"
#include "tests/check/result.h"

#define SAFE_POINT_GROUPS_MAX 32u

struct safe_point_check {
    struct {
        raft_index_t index; /* the highest that was seen applied, and the safe point there */
        timestamp_t safe_point;
    } groups[SAFE_POINT_GROUPS_MAX];
    struct check_result result;
};

void safe_point_check_init(struct safe_point_check *check);
/* Group 0's before those of the groups that may have heard of it. */
void safe_point_check_replica(struct safe_point_check *check, uint64_t store_id, group_id_t group,
                              raft_index_t applied_index, timestamp_t safe_point);
/* Somebody is sure now that this timestamp is held. */
void safe_point_check_hold(struct safe_point_check *check, timestamp_t timestamp);
