/* host_remove.c: the end of a replica.
 *
 * From the call on nothing reaches it and nothing leaves it. It stays in memory until the log says
 * durably that it was destroyed, and until no job of the pool reads or writes a snapshot of it;
 * then the machine is called for the last time. So after a crash at any point the replica is either
 * whole, and is removed once more, or known to be destroyed, and what the store still has of it is
 * wiped. */
#include "raft/host_internal.h"

#include "base/log.h"

static void host_group_detach(struct raft_host *host, struct host_group *group)
{
    HASH_DELETE(hh, host->groups, group);
    group->removed = true;
    group->deadline_ns = NS_NEVER;
    group->apply_retry_ns = 0;
    host_group_set_timer(host, group);
    if (group->dirty)
        TAILQ_REMOVE(&host->dirty, group, dirty_link);
    if (group->work)
        TAILQ_REMOVE(&host->work, group, work_link);
    group->dirty = group->work = false;
    host_messages_free(&group->held);
    TAILQ_INSERT_TAIL(&host->removed, group, removed_link);
}

int raft_host_group_remove(struct raft_host *host, group_id_t id, replica_id_t replica,
                           nanoseconds_t now_ns)
{
    ASSERT(replica != 0 && !host->in_turn_end);
    if (now_ns > host->now_ns)
        host->now_ns = now_ns;
    struct wal_group_state state;
    bool known = wal_group_get(host->wal, id, &state);
    if (known && state.replica == replica && state.destroyed)
        return OST_OK;
    /* A number above one that is over, or damaged: then that one is over, too. */
    bool is_over = state.destroyed || state.damaged;
    if (known && state.replica != replica && !(is_over && state.replica < replica))
        return OST_NOT_FOUND;
    struct host_group *group = host_group_find(host, id);
    log_write(LOG_INFO, "replica removed", "store=%lu group=%lu replica=%lu", host->options.store,
              id, replica);
    if (!group) {
        if (!host_is_removing(host, id))
            wal_destroy(host->wal, id, replica, NULL, 0);
        return OST_OK;
    }
    ASSERT(group->replica == replica && group->ops->destroyed);
    host_group_detach(host, group);
    group->destroyed_id = group->queued_id + 1;
    wal_destroy(host->wal, id, replica, group, group->destroyed_id);
    return OST_OK;
}

bool host_is_removing(const struct raft_host *host, group_id_t id)
{
    const struct host_group *group;
    TAILQ_FOREACH (group, &host->removed, removed_link) {
        if (group->group == id)
            return true;
    }
    return false;
}

void host_removed_turn(struct raft_host *host)
{
    struct host_group *group, *next;
    TAILQ_FOREACH_SAFE(group, &host->removed, removed_link, next)
    {
        host_leadership_end(host, group);
        bool sent = host_senders_end_group(host, group);
        bool received = host_receivers_end_group(group);
        if (!sent || !received || group->persisted_id < group->destroyed_id)
            continue;
        TAILQ_REMOVE(&host->removed, group, removed_link);
        group->ops->destroyed(group->machine);
        host_group_free(group);
    }
}
