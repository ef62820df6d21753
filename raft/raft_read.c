/* raft_read.c: ReadIndex (dissertation, 6.4; R3). A read is safe at index i once a quorum has said,
 * at a time after the read came, that this is still the leader of their term.
 *
 * Reads of one loop turn share a round: a number that grows for as long as the process lives,
 * travels with every append, and is echoed by who takes the leader for one. An echo of a later
 * round confirms an earlier one, so nothing is sent again when a message is lost: the next
 * heartbeat carries the newest round. */
#include "raft/raft_internal.h"

#include "base/sometimes.h"

int raft_read_request(struct raft *raft)
{
    if (raft->role != RAFT_LEADER)
        return OST_NOT_LEADER;
    raft->read_waiting_id = ++raft->read_id_last;
    raft->read_waiting_index = raft->commit_index;
    raft->update->read_id = raft->read_waiting_id;
    return OST_OK;
}

/* Before the first commit of its own term a leader does not know what its predecessors committed:
 * its commit index may be behind theirs. All of that lies before the entry that opens its term, so
 * reads wait for that one, and need at least that. */
void raft_read_begin_round(struct raft *raft)
{
    if (raft->role != RAFT_LEADER || raft->read_waiting_id == 0 ||
        raft->commit_index < raft->term_opening_index ||
        raft->read_rounds_count == RAFT_READ_ROUNDS_MAX)
        return;
    /* Where no other turn comes, those of the heartbeats do. */
    if (raft->progress_count > 1 && RARE(READ_ROUND_LATE))
        return;
    uint32_t slot = (raft->read_rounds_first + raft->read_rounds_count) % RAFT_READ_ROUNDS_MAX;
    raft->read_rounds_count++;
    raft_index_t index = raft->read_waiting_index;
    raft->read_rounds[slot] = (struct raft_read_round){
        .round = ++raft->read_round_last,
        .read_id = raft->read_waiting_id,
        .index = index > raft->term_opening_index ? index : raft->term_opening_index,
    };
    raft->read_waiting_id = 0;
}

/* The newest round goes to every voter to which no append of this turn has carried it. */
void raft_read_send_round(struct raft *raft)
{
    if (raft->role != RAFT_LEADER || raft->read_rounds_count == 0)
        return;
    const struct raft_configuration *configuration = raft_get_configuration(raft);
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        struct raft_progress *progress = &raft->progress[i];
        if (progress->replica != raft->options.replica &&
            raft_member_votes(&configuration->members[i]) &&
            progress->round_sent < raft->read_round_last)
            raft_replicate_heartbeat(raft, progress);
    }
    raft_read_confirm(raft);
}

static bool raft_read_is_confirmed(const struct raft *raft, uint64_t round)
{
    uint32_t echoed = 0;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        if (progress->replica == raft->options.replica || progress->round_echoed >= round)
            echoed |= 1u << i;
    }
    return raft_configuration_has_quorum(raft_get_configuration(raft), echoed);
}

void raft_read_confirm(struct raft *raft)
{
    while (raft->read_rounds_count != 0) {
        const struct raft_read_round *oldest = &raft->read_rounds[raft->read_rounds_first];
        if (!raft_read_is_confirmed(raft, oldest->round))
            return;
        raft->update->reads_confirmed_id = oldest->read_id;
        if (raft->update->reads_confirmed_index < oldest->index)
            raft->update->reads_confirmed_index = oldest->index;
        raft->read_rounds_first = (raft->read_rounds_first + 1) % RAFT_READ_ROUNDS_MAX;
        raft->read_rounds_count--;
    }
}

void raft_read_fail_all(struct raft *raft)
{
    if (raft->read_rounds_count != 0 || raft->read_waiting_id != 0) {
        COVER(READ_FAILED);
        raft->update->reads_failed_id = raft->read_id_last;
    }
    raft->read_rounds_count = 0;
    raft->read_waiting_id = 0;
}
