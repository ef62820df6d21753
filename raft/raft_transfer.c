/* raft_transfer.c: handing leadership over (dissertation, 3.10). The leader takes no proposals,
 * brings the target up to its own last entry, and tells it to stand at once. When that has not
 * ended its leadership within an election timeout it goes on as before. */
#include "raft/raft_internal.h"

#include "base/sometimes.h"

/* The voter that is furthest; 0 when none is alive. */
static replica_id_t raft_transfer_best(const struct raft *raft)
{
    const struct raft_configuration *configuration = raft_get_configuration(raft);
    const struct raft_progress *best = NULL;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        if (progress->replica == raft->options.replica || !configuration->members[i].voter_new ||
            !raft_is_within(raft, progress->heard_ns,
                            raft_ms(raft->options.election_timeout_ms_min)))
            continue;
        if (!best || progress->match_index > best->match_index)
            best = progress;
    }
    return best ? best->replica : 0;
}

/* Dissertation, 4.2.2: a leader that is not in the new configuration manages the cluster until that
 * is committed, and then steps down. */
static bool raft_transfer_is_leaving(const struct raft *raft)
{
    return raft_configuration_index(raft) <= raft->commit_index &&
           !raft_configuration_self_votes(raft);
}

static void raft_transfer_step_down(struct raft *raft)
{
    COVER(LEADER_REMOVED);
    raft_replicate_farewell(raft);
    raft_become_follower(raft, raft->term, 0);
}

int raft_transfer_begin(struct raft *raft, replica_id_t to)
{
    if (raft->role != RAFT_LEADER)
        return OST_NOT_LEADER;
    if (to == 0)
        to = raft_transfer_best(raft);
    if (to == 0)
        return OST_NOT_READY;
    const struct raft_member *member = raft_configuration_find(raft_get_configuration(raft), to);
    if (to == raft->options.replica || !member || !member->voter_new)
        return OST_INVALID_ARGUMENT;
    if (to == raft->transfer_to)
        return OST_OK; /* asking again does not keep the group from its work for longer */
    raft->transfer_to = to;
    raft->transfer_deadline_ns = raft->now_ns + raft_ms(raft->options.election_timeout_ms_max);
    raft->announced_index = raft_log_last_index(&raft->log);
    raft_replicate_to(raft, raft_replicate_progress(raft, to));
    raft_transfer_advance(raft);
    return OST_OK;
}

void raft_transfer_advance(struct raft *raft)
{
    if (raft->role != RAFT_LEADER || raft->transfer_to == 0)
        return;
    const struct raft_progress *progress = raft_replicate_progress(raft, raft->transfer_to);
    if (!progress) {
        raft->transfer_to = 0; /* no longer a member */
    } else if (progress->match_index == raft_log_last_index(&raft->log) &&
               raft->now_ns >= raft->lease_until_ns) {
        /* The lease has run out, and there is none any more: who is told to stand may do it at any
         * time from now on, and gets votes in spite of all promises. */
        raft->lease_spent = true;
        raft_send(raft, RAFT_MSG_TIMEOUT_NOW, raft->transfer_to);
        if (raft_transfer_is_leaving(raft))
            raft_transfer_step_down(raft);
    }
}

void raft_transfer_timer_fired(struct raft *raft)
{
    if (raft->transfer_to == 0 || raft->now_ns < raft->transfer_deadline_ns)
        return;
    COVER(TRANSFER_TIMED_OUT);
    raft->transfer_to = 0;
    if (raft_transfer_is_leaving(raft))
        raft_transfer_step_down(raft);
}

void raft_transfer_leave(struct raft *raft)
{
    COVER(LEADER_REMOVED);
    if (raft->transfer_to == 0 && raft_transfer_begin(raft, 0) != OST_OK)
        raft_transfer_step_down(raft);
}
