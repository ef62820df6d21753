/* kv_safe_point.c: how the safe point takes effect in a group (S4), and when the store may act by
 * it.
 *
 * Group 0 says how far it may go. A group's leader brings it into the group's own log, where it
 * takes effect for every replica at the same entry; only if versions were written above the last
 * one, so an idle group costs nothing. What a replica has flushed of it, rows and all, is what its
 * store may drop by (kv_gc.h says why).
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"

#define PROPOSE_AGAIN_NS NS_PER_S

void kv_group_safe_point_step(struct kv_group *group)
{
    struct kv_shared *shared = group->shared;
    group->safe_point_retry_ns = NS_NEVER;
    if (!group->is_leading || shared->safe_point <= group->safe_point_proposed ||
        shared->safe_point <= group->meta.safe_point ||
        group->meta.commit_timestamp_max <= group->meta.safe_point)
        return;
    Ostraka__AdvanceSafePointCommand advance = OSTRAKA__ADVANCE_SAFE_POINT_COMMAND__INIT;
    advance.safe_point = shared->safe_point;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_ADVANCE_SAFE_POINT;
    command.advance_safe_point = &advance;
    raft_index_t index;
    raft_term_t term;
    int status = kv_group_propose(group, &command, bytes_of(NULL, 0), &index, &term);
    if (status == OST_OK)
        group->safe_point_proposed = shared->safe_point;
    else
        group->safe_point_retry_ns = shared->now_ns + PROPOSE_AGAIN_NS;
}

timestamp_t kv_group_safe_point(const struct kv_group *group)
{
    return group->slice.is_built ? group->slice.meta.safe_point : group->meta.safe_point;
}

void kv_group_safe_point_apply(struct kv_meta *meta, timestamp_t safe_point)
{
    if (meta->safe_point < safe_point)
        meta->safe_point = safe_point;
}

static struct kv_gc *gc_of(const struct kv_group *group)
{
    return store_gc(group->shared->environment.store);
}

static void publish(struct kv_group *group)
{
    if (group->is_doomed || group->flushed_point.generation == 0)
        return;
    /* The snapshot's meta row is older than this point, and its rows are still being read. */
    if (group->snapshots_count > 0) {
        COVER(SAFE_POINT_WAITS_FOR_SNAPSHOT);
        return;
    }
    kv_gc_publish(gc_of(group), group->id, &group->flushed_point);
    group->published_point = group->flushed_point;
}

void kv_group_point_flushed(struct kv_group *group, const struct kv_gc_point *point)
{
    group->flushed_point = *point;
    publish(group);
}

void kv_group_snapshot_opened(struct kv_group *group)
{
    group->snapshots_count++;
}

void kv_group_snapshot_closed(struct kv_group *group)
{
    ASSERT(group->snapshots_count > 0);
    group->snapshots_count--;
    publish(group);
}

void kv_group_gc_withdraw(struct kv_group *group)
{
    kv_gc_withdraw(gc_of(group), group->id);
    group->published_point = (struct kv_gc_point){0};
}
