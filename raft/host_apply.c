/* host_apply.c: what state machines are told: entries, leadership, reads. Only at the end of a
 * turn, so that no machine is called back from inside a call of its own. */
#include "raft/host_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>

/* One slice: what a group may apply in a turn before others have theirs. */
#define HOST_SLICE_ENTRIES_MAX 256u
#define HOST_SLICE_BYTES_MAX   (64u << 10) /* of which the machine may take less */
/* A machine that took nothing is asked again after this. */
#define HOST_STALL_RETRY_NS (2 * NS_PER_MS)

/* Reads. */

void host_reads_note(struct raft_host *host, struct host_group *group,
                     const struct raft_update *update)
{
    if (update->reads_confirmed_id == 0 && update->reads_failed_id == 0)
        return;
    struct host_read *read;
    TAILQ_FOREACH (read, &group->reads, link) {
        if (read->confirmed || read->failed)
            continue;
        if (read->read_id <= update->reads_confirmed_id) {
            read->confirmed = true;
            read->index = update->reads_confirmed_index;
        } else if (read->read_id <= update->reads_failed_id) {
            read->failed = true;
        }
    }
    host_group_set_work(host, group);
}

/* The machine may ask for new reads from inside: those stand at the end and are not looked at. */
static void host_reads_answer(struct host_group *group, bool leads)
{
    struct host_read *read = TAILQ_FIRST(&group->reads);
    struct host_reads ready = TAILQ_HEAD_INITIALIZER(ready);
    while (read) {
        struct host_read *next = TAILQ_NEXT(read, link);
        /* What was confirmed for a leader that has fallen would be true, but the machine has given
         * up what it needs to answer. */
        if (!leads)
            read->failed = true;
        if (read->failed || (read->confirmed && read->index <= group->applied_index)) {
            TAILQ_REMOVE(&group->reads, read, link);
            TAILQ_INSERT_TAIL(&ready, read, link);
        }
        read = next;
    }
    while ((read = TAILQ_FIRST(&ready)) != NULL) {
        TAILQ_REMOVE(&ready, read, link);
        group->ops->read_ready(group->machine, read->read_id,
                               read->failed ? OST_NOT_LEADER : OST_OK, read->valid_until_ns);
        free(read);
    }
}

/* Leadership. */

static void host_leadership_tell(struct host_group *group, struct raft_leadership leadership)
{
    group->leadership = leadership;
    group->ops->leadership_changed(group->machine, &leadership);
}

static void host_leadership_check(struct raft_host *host, struct host_group *group)
{
    struct raft_status status;
    raft_get_status(group->raft, &status);
    const struct raft_leadership was = group->leadership;
    bool leads = status.role == RAFT_LEADER;
    struct raft_leadership is = {
        .role = status.role,
        .term = status.term,
        .leader_store = status.leader_store,
        /* R4 */
        .ready = leads && status.term_opening_index > 0 &&
                 group->applied_index >= status.term_opening_index,
    };
    bool led = was.role == RAFT_LEADER;
    if (led && (!leads || was.term != is.term)) {
        host_reads_answer(group, false);
        log_write(LOG_INFO, "leadership lost", "store=%lu group=%lu term=%lu", host->options.store,
                  group->group, was.term);
        /* Lost and won again within a turn: the machine must hear of the fall. */
        if (leads)
            host_leadership_tell(group,
                                 (struct raft_leadership){.role = RAFT_FOLLOWER, .term = is.term});
    }
    if (leads && !(led && was.term == is.term)) {
        host->metrics->elections_won_count++;
        log_write(LOG_INFO, "became leader", "store=%lu group=%lu term=%lu", host->options.store,
                  group->group, is.term);
    }
    const struct raft_leadership *told = &group->leadership;
    if (told->role != is.role || told->term != is.term || told->leader_store != is.leader_store ||
        told->ready != is.ready)
        host_leadership_tell(group, is);
}

void host_leadership_end(struct raft_host *host, struct host_group *group)
{
    const struct raft_leadership was = group->leadership;
    host_reads_answer(group, false);
    if (was.role == RAFT_LEADER)
        log_write(LOG_INFO, "leadership lost", "store=%lu group=%lu term=%lu", host->options.store,
                  group->group, was.term);
    if (was.role != RAFT_FOLLOWER || was.leader_store != 0)
        host_leadership_tell(group,
                             (struct raft_leadership){.role = RAFT_FOLLOWER, .term = was.term});
}

/* Entries. */

static void host_apply_slice(struct raft_host *host, struct host_group *group)
{
    struct raft_entry *entries =
        arena_alloc(&host->arena, HOST_SLICE_ENTRIES_MAX * sizeof(*entries));
    size_t count = 0;
    size_t bytes = 0;
    size_t count_max = HOST_SLICE_ENTRIES_MAX;
    if (!group->apply_stalled && RARE(APPLY_ONE_ENTRY))
        count_max = 1;
    while (count < count_max && bytes < HOST_SLICE_BYTES_MAX &&
           group->applied_index + count < group->applicable_index) {
        const struct raft_entry *entry =
            raft_log_entry(group->raft, group->applied_index + count + 1);
        ASSERT(entry && entry->index == group->applied_index + count + 1);
        entries[count] = *entry;
        /* The machine may propose or read meanwhile, which may move the log. */
        if (entry->payload)
            blob_ref(entry->payload);
        bytes += blob_bytes(entry->payload).bytes_count;
        count++;
    }
    size_t taken = group->ops->apply(group->machine, entries, count);
    ASSERT(taken <= count);
    for (size_t i = 0; i < count; i++)
        blob_unref(entries[i].payload);
    group->applied_index += taken;
    host->metrics->entries_applied_count += taken;
    group->apply_stalled = taken < count;
    if (taken == 0) {
        COVER(APPLY_STALLED);
        group->apply_retry_ns = host->now_ns + HOST_STALL_RETRY_NS;
        host_group_set_timer(host, group);
    }
}

static void host_group_work(struct raft_host *host, struct host_group *group)
{
    /* First of all the machine learns what it is, so that nothing it applies is answered in a role
     * that it no longer has. */
    host_leadership_check(host, group);
    bool can_apply = group->applied_index < group->applicable_index && group->apply_retry_ns == 0 &&
                     !host_receiver_adopts(group);
    if (can_apply && group->apply_turn != host->turn) {
        group->apply_turn = host->turn;
        host_apply_slice(host, group);
        host_leadership_check(host, group);
        can_apply = group->applied_index < group->applicable_index && group->apply_retry_ns == 0;
    }
    host_reads_answer(group, group->leadership.role == RAFT_LEADER);
    if (can_apply && !group->work) {
        group->work = true;
        TAILQ_INSERT_TAIL(&host->work_later, group, work_link);
    }
}

void host_work(struct raft_host *host)
{
    struct host_groups now = TAILQ_HEAD_INITIALIZER(now);
    TAILQ_CONCAT(&now, &host->work, work_link);
    struct host_group *group;
    while ((group = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, group, work_link);
        group->work = false;
        host_group_work(host, group);
    }
}
