/* kv_report.c: what a store says of its replicas: to the shard master (report), to people (status),
 * and to whoever compares replicas (applied).
 */
#include "shardkv/kv_server_internal.h"

size_t kv_server_applied(const struct kv_server *server, struct kv_applied *out_applied, size_t max)
{
    size_t count = 0;
    const struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next, count++) {
        if (count >= max)
            continue;
        out_applied[count] = (struct kv_applied){
            .group = group->id,
            .replica = group->replica,
            .index = group->meta.applied_index,
            .term = group->meta.applied_term,
            .chain_hash = group->meta.chain_hash,
            .safe_point = group->meta.safe_point,
        };
    }
    return count;
}

void kv_server_report(const struct kv_server *server, struct arena *arena,
                      Ostraka__ReplicaReport ***out_reports, size_t *out_count)
{
    size_t count = 0;
    Ostraka__ReplicaReport **reports = arena_alloc(
        arena, (HASH_COUNT(server->groups) + HASH_COUNT(server->lost) + 1) * sizeof(reports[0]));
    const struct lost_replica *lost;
    for (lost = server->lost; lost; lost = lost->hh.next) {
        Ostraka__ReplicaReport *report = arena_alloc(arena, sizeof(*report));
        ostraka__replica_report__init(report);
        report->group = lost->group;
        report->replica = lost->replica;
        report->lost = true;
        reports[count++] = report;
    }
    struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next) {
        if (group->is_doomed)
            continue;
        Ostraka__ReplicaReport *report = arena_alloc(arena, sizeof(*report));
        ostraka__replica_report__init(report);
        report->group = group->id;
        report->replica = group->replica;
        report->term = group->leadership.term;
        report->leads = group->is_leading;
        report->applied_index = group->meta.applied_index;
        report->leader_store = group->leadership.leader_store;
        if (group->is_leading)
            kv_loads_report(group, arena, report);
        reports[count++] = report;
    }
    *out_reports = reports;
    *out_count = count;
}

static Ostraka__LockStatus *locks_status(const struct kv_group *group, struct arena *arena)
{
    struct participant_counts counts;
    participant_get_counts(group->participant, &counts);
    Ostraka__LockStatus *locks = arena_alloc(arena, sizeof(*locks));
    ostraka__lock_status__init(locks);
    locks->keys_locked_count = counts.keys_locked;
    locks->waiters_count = counts.waiters;
    locks->txns_count = counts.entries;
    locks->prepared_count = counts.prepared;
    return locks;
}

void kv_server_status(const struct kv_server *server, struct arena *arena,
                      Ostraka__GroupStatus ***out_groups, size_t *out_count)
{
    size_t count = 0;
    Ostraka__GroupStatus **statuses =
        arena_alloc(arena, (HASH_COUNT(server->groups) + 1) * sizeof(statuses[0]));
    struct metrics *metrics = server->shared.environment.metrics;
    metrics->ranges_held_count = metrics->ranges_unsettled_count = 0;
    const struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next) {
        if (group->is_doomed)
            continue;
        metrics->ranges_held_count += group->ranges.count;
        metrics->ranges_unsettled_count += group->ranges.unsettled_count;
        struct raft_status raft = {0};
        int found = raft_host_group_status(server->shared.environment.host, group->id, &raft);
        ASSERT(found == OST_OK);
        Ostraka__GroupStatus *status = arena_alloc(arena, sizeof(*status));
        ostraka__group_status__init(status);
        status->group = group->id;
        status->replica = group->replica;
        status->role = (uint32_t)raft.role;
        status->term = raft.term;
        status->leader_store = raft.leader_store;
        status->commit_index = raft.commit_index;
        status->applied_index = group->meta.applied_index;
        status->last_index = raft.last_index;
        status->first_index = raft.first_index;
        status->chain_hash = group->meta.chain_hash;
        status->locks = locks_status(group, arena);
        status->flushed_index = group->flushed_index;
        status->ready = group->is_leading;
        status->safe_point = group->meta.safe_point;
        statuses[count++] = status;
    }
    *out_groups = statuses;
    *out_count = count;
}
