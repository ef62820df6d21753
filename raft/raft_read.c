/* raft_read.c: ReadIndex (dissertation, 6.4; R3). A read is safe at index i once a quorum has said,
 * at a time after the read came, that this is still the leader of their term.
 *
 * Reads of one loop turn share a round: a number that grows for as long as the process lives,
 * travels with every append, and is echoed by who takes the leader for one. An echo of a later
 * round confirms an earlier one, so nothing is sent again when a message is lost: the next
 * heartbeat carries the newest round.
 *
 * Leases (an option; dissertation, 6.4.1). Who takes a leader for one does not vote against it
 * within the shortest election timeout (raft_lease_binds). So when a quorum has echoed a round,
 * nobody else leads before that time has passed since the round *began*, whatever the messages
 * took; the lease is shorter by what clocks may drift apart. What a forced vote could break,
 * leadership transfer, lets the lease run out first. A read by lease carries the end of the lease
 * with it, because the process may be stopped at any point between here and its answer: the answer
 * is held against a clock that is read last of all (outbox.h). */
#include "raft/raft_internal.h"

#include "base/sometimes.h"

static bool raft_lease_is_on(const struct raft *raft)
{
    return raft->options.lease_ms != 0 && raft->role == RAFT_LEADER && !raft->lease_spent &&
           raft->transfer_to == 0;
}

/* All that its predecessors committed lies before the entry that opens the term. */
static raft_index_t raft_read_index(const struct raft *raft, raft_index_t index)
{
    return index > raft->term_opening_index ? index : raft->term_opening_index;
}

int raft_read_request(struct raft *raft, const struct raft_event *event)
{
    if (raft->role != RAFT_LEADER)
        return OST_NOT_LEADER;
    raft->update->read_id = ++raft->read_id_last;
    if (event->read.by_lease && raft_lease_is_on(raft) && raft->now_ns < raft->lease_until_ns &&
        raft->commit_index >= raft->term_opening_index) {
        raft->update->read_valid_until_ns = raft->lease_until_ns;
        raft->update->read_index = raft_read_index(raft, raft->commit_index);
        return OST_OK;
    }
    raft->read_waiting_id = raft->read_id_last;
    raft->read_waiting_index = raft->commit_index;
    return OST_OK;
}

static bool raft_read_push_round(struct raft *raft, uint64_t read_id, raft_index_t index)
{
    if (raft->read_rounds_count == RAFT_READ_ROUNDS_MAX)
        return false;
    uint32_t slot = (raft->read_rounds_first + raft->read_rounds_count) % RAFT_READ_ROUNDS_MAX;
    raft->read_rounds_count++;
    raft->read_rounds[slot] = (struct raft_read_round){
        .round = ++raft->read_round_last,
        .started_ns = raft->now_ns,
        .read_id = read_id,
        .index = index,
    };
    raft->lease_round_ns = raft->now_ns;
    return true;
}

void raft_lease_renew(struct raft *raft)
{
    if (raft_lease_is_on(raft) &&
        !raft_is_within(raft, raft->lease_round_ns, raft_ms(raft->options.heartbeat_ms)))
        (void)raft_read_push_round(raft, 0, 0);
}

bool raft_lease_binds(const struct raft *raft)
{
    return raft->options.lease_ms != 0 &&
           (raft->now_ns < raft->lease_until_ns ||
            raft_is_within(raft, raft->leader_heard_ns,
                           raft_ms(raft->options.election_timeout_ms_min)));
}

/* Before the first commit of its own term a leader does not know what its predecessors committed:
 * its commit index may be behind theirs. So reads wait for the entry that opens the term, and need
 * at least that. */
void raft_read_begin_round(struct raft *raft)
{
    if (raft->role != RAFT_LEADER || raft->read_waiting_id == 0 ||
        raft->commit_index < raft->term_opening_index ||
        raft->read_rounds_count == RAFT_READ_ROUNDS_MAX)
        return;
    /* Where no other turn comes, those of the heartbeats do. */
    if (raft->progress_count > 1 && RARE(READ_ROUND_LATE))
        return;
    raft_index_t index = raft_read_index(raft, raft->read_waiting_index);
    if (raft_read_push_round(raft, raft->read_waiting_id, index))
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
        nanoseconds_t until_ns = oldest->started_ns + raft_ms(raft->options.lease_ms);
        if (raft_lease_is_on(raft) && until_ns > raft->lease_until_ns)
            raft->lease_until_ns = until_ns;
        if (oldest->read_id != 0)
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
