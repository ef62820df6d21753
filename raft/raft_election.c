/* raft_election.c: who leads. Votes as in figure 2 and section 5.2; pre-vote as in the
 * dissertation's 9.6; a leader that hears no quorum steps down, and who hears a leader helps nobody
 * against it (6.2, 4.2.3). Either half without the other leaves a cluster that a cut-off replica
 * can disturb, or a cut-off leader that stays. */
#include "raft/raft_internal.h"

#include "base/sometimes.h"

void raft_election_timer_reset(struct raft *raft)
{
    uint32_t min = raft->options.election_timeout_ms_min;
    uint32_t max = raft->options.election_timeout_ms_max;
    nanoseconds_t timeout_ns = raft_ms(min) + random_below(&raft->random, raft_ms(max - min) + 1);
    if (RARE(ELECTION_TIMEOUT_SHORTEST))
        timeout_ns = raft_ms(min);
    else if (RARE(ELECTION_TIMEOUT_LONGEST))
        timeout_ns = raft_ms(max);
    raft->election_deadline_ns = raft->now_ns + timeout_ns;
}

bool raft_leader_heard_quorum(const struct raft *raft, nanoseconds_t within_ns)
{
    uint32_t heard = 0;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        bool self = progress->replica == raft->options.replica;
        if (self || raft_is_within(raft, progress->heard_ns, within_ns))
            heard |= 1u << i;
    }
    return raft_configuration_has_quorum(raft_get_configuration(raft), heard);
}

bool raft_hears_leader(const struct raft *raft)
{
    nanoseconds_t within_ns = raft_ms(raft->options.election_timeout_ms_min);
    if (raft->role == RAFT_LEADER)
        return raft_leader_heard_quorum(raft, within_ns);
    return raft->leader != 0 && raft_is_within(raft, raft->leader_heard_ns, within_ns);
}

/* A learner whose vote is asked for has one, as who asks knows. When it refuses because its log is
 * longer, by an entry of a later term that it had from a leader which is gone, nobody might win:
 * the voters cannot without it, and it knows of no vote of its own. So it stands. The voters of its
 * own configuration elect it, as they may elect anybody whose log is up to date, and once its first
 * entry is committed it hands over to one of them (raft_transfer.c). */
static bool raft_is_waited_for(const struct raft *raft)
{
    return raft->refused_ns != 0 &&
           raft_is_within(raft, raft->refused_ns,
                          2 * raft_ms(raft->options.election_timeout_ms_max));
}

/* May this replica stand? A learner has no voice; a slow disk would make a leader that commits
 * nothing (R9). One that an uncommitted configuration leaves out stands as well
 * (dissertation, 4.2.2): nobody else may hold that entry, and who does not hold it needs this
 * replica's vote and cannot get it. Its own vote does not count then. */
static bool raft_is_electable(const struct raft *raft)
{
    if (raft->storage_slow)
        return false;
    if (raft_is_waited_for(raft))
        return true;
    for (uint32_t i = 0; i < raft->configurations_count; i++) {
        const struct raft_member *self =
            raft_configuration_find(&raft->configurations[i].configuration, raft->options.replica);
        if (self && raft_member_votes(self))
            return true;
    }
    return false;
}

static void raft_votes_reset(struct raft *raft)
{
    raft->votes_granted = 0;
    raft->votes_rejected = 0;
}

/* Notes a vote; of a replica that is no member it means nothing. */
static void raft_vote_note(struct raft *raft, replica_id_t from, bool granted)
{
    int position = raft_configuration_position(raft_get_configuration(raft), from);
    if (position < 0)
        return;
    if (granted)
        raft->votes_granted |= 1u << position;
    else
        raft->votes_rejected |= 1u << position;
}

/* Can the votes that are still out make a quorum? */
static bool raft_votes_lost(const struct raft *raft)
{
    return !raft_configuration_has_quorum(raft_get_configuration(raft), ~raft->votes_rejected);
}

static void raft_votes_ask(struct raft *raft, enum raft_message_type type, raft_term_t term,
                           bool forced)
{
    const struct raft_configuration *configuration = raft_get_configuration(raft);
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        if (member->replica == raft->options.replica || !raft_member_votes(member))
            continue;
        struct raft_message *request = raft_send(raft, type, member->replica);
        request->term = term;
        request->index = raft_log_last_index(&raft->log);
        request->index_term = raft_log_last_term(&raft->log);
        request->forced = forced;
    }
}

void raft_become_follower(struct raft *raft, raft_term_t term, replica_id_t leader)
{
    enum raft_role was = raft->role;
    ASSERT(term >= raft->term);
    if (term > raft->term)
        raft_set_hard_state(raft, term, 0);
    raft_set_role(raft, RAFT_FOLLOWER);
    raft->leader = leader;
    raft_votes_reset(raft);
    if (was == RAFT_LEADER) {
        raft_read_fail_all(raft);
        raft->transfer_to = 0;
        raft->term_opening_index = 0;
        raft->progress_count = 0;
        raft->leaving_count = 0;
    }
    /* A follower that only learns of a newer term keeps its timer: else a replica that keeps asking
     * for votes in vain would keep everybody from standing. */
    if (was != RAFT_FOLLOWER)
        raft_election_timer_reset(raft);
}

static void raft_become_leader(struct raft *raft)
{
    ASSERT(raft->persisted_id >= raft->hard_state_id); /* R1: the vote for itself is durable */
    ASSERT(raft->vote == raft->options.replica);
    raft_set_role(raft, RAFT_LEADER);
    raft->leader = raft->options.replica;
    raft->lease_until_ns = 0;
    raft->lease_spent = false;
    raft_votes_reset(raft);
    raft->uncommitted_bytes =
        raft_log_payload_bytes(&raft->log, raft->commit_index + 1, raft_log_last_index(&raft->log));
    raft_replicate_start(raft);
    raft->term_opening_index = raft_log_last_index(&raft->log) + 1;
    raft_append_entry(raft, &(struct raft_entry){
                                .index = raft->term_opening_index,
                                .term = raft->term,
                                .log_timestamp = raft_log_last_timestamp(&raft->log),
                                .type = RAFT_ENTRY_TERM_OPENING,
                            });
    raft->step_report = true;
    raft->announced_index = raft->term_opening_index;
    raft_replicate_to_all(raft);
}

static void raft_become_candidate(struct raft *raft, bool forced)
{
    raft_set_hard_state(raft, raft->term + 1, raft->options.replica);
    raft_set_role(raft, RAFT_CANDIDATE);
    raft->leader = 0;
    raft_votes_reset(raft);
    raft_election_timer_reset(raft);
    raft_votes_ask(raft, RAFT_MSG_VOTE_REQUEST, raft->term, forced);
}

static void raft_pre_vote_count(struct raft *raft)
{
    if (raft_configuration_has_quorum(raft_get_configuration(raft), raft->votes_granted))
        raft_become_candidate(raft, false);
    else if (raft_votes_lost(raft))
        raft_become_follower(raft, raft->term, 0);
}

static void raft_vote_count(struct raft *raft)
{
    if (raft_configuration_has_quorum(raft_get_configuration(raft), raft->votes_granted)) {
        raft_become_leader(raft);
    } else if (raft_votes_lost(raft)) {
        COVER(ELECTION_LOST);
        raft_become_follower(raft, raft->term, 0);
    }
}

static void raft_become_pre_candidate(struct raft *raft)
{
    raft_set_role(raft, RAFT_PRE_CANDIDATE);
    raft->leader = 0;
    raft_votes_reset(raft);
    raft_election_timer_reset(raft);
    /* Nothing is promised by a pre-vote, so its own counts at once, durable or not. */
    raft_vote_note(raft, raft->options.replica, true);
    raft_votes_ask(raft, RAFT_MSG_PRE_VOTE_REQUEST, raft->term + 1, false);
    raft_pre_vote_count(raft);
}

void raft_election_timer_fired(struct raft *raft)
{
    ASSERT(raft->role != RAFT_LEADER);
    if (raft->now_ns < raft->election_deadline_ns)
        return;
    if (raft_is_electable(raft)) {
        raft_become_pre_candidate(raft);
        return;
    }
    raft_become_follower(raft, raft->term, 0);
    raft_election_timer_reset(raft);
}

void raft_election_persisted(struct raft *raft)
{
    if (raft->role != RAFT_CANDIDATE || raft->persisted_id < raft->hard_state_id)
        return;
    raft_vote_note(raft, raft->options.replica, true);
    raft_vote_count(raft);
}

/* Has it any say? One that was added has no configuration at first, and none can count its vote: it
 * is given one only once it holds, durably, the entry that makes it a learner. So who asks means
 * one that had its number and lost its disk (R6). A learner does vote when asked: the candidate may
 * know already that it was given a vote, and without it nobody might win. */
static bool raft_may_vote(const struct raft *raft)
{
    return raft_get_configuration(raft)->members_count != 0;
}

/* A pre-vote changes no promise here, whatever its term: it asks what would happen. */
void raft_recv_pre_vote_request(struct raft *raft, const struct raft_message *message)
{
    bool is_free = message->term > raft->term && raft_may_vote(raft) && !raft_hears_leader(raft);
    bool granted =
        is_free && raft_log_is_up_to_date(&raft->log, message->index, message->index_term);
    if (is_free && !granted)
        raft->refused_ns = raft->now_ns;
    if (!granted)
        COVER(PRE_VOTE_REFUSED);
    struct raft_message *answer = raft_send(raft, RAFT_MSG_PRE_VOTE_ANSWER, message->from);
    answer->term = granted ? message->term : raft->term;
    answer->rejected = !granted;
}

void raft_recv_pre_vote_answer(struct raft *raft, const struct raft_message *message)
{
    /* A rejection of a later term is the one thing that moves on a replica which was away while the
     * others elected: its own pre-votes cannot, as they are of too low a term to be granted. */
    if (message->rejected && message->term > raft->term) {
        COVER(PRE_VOTE_LATER_TERM);
        raft_become_follower(raft, message->term, 0);
        return;
    }
    if (raft->role != RAFT_PRE_CANDIDATE)
        return;
    if (!message->rejected && message->term != raft->term + 1)
        return; /* it granted another term */
    raft_vote_note(raft, message->from, !message->rejected);
    raft_pre_vote_count(raft);
}

/* Figure 2, RequestVote: grant if not yet voted in this term and the candidate's log is at least as
 * up-to-date as ours. Where a leader of the term is known the vote would be of no use. */
void raft_recv_vote_request(struct raft *raft, const struct raft_message *message)
{
    bool free_to_vote = raft->vote == message->from || (raft->vote == 0 && raft->leader == 0);
    bool promised = !message->forced && raft_lease_binds(raft);
    bool granted = free_to_vote && raft_may_vote(raft) && !promised &&
                   raft_log_is_up_to_date(&raft->log, message->index, message->index_term);
    if (granted) {
        if (raft->role == RAFT_PRE_CANDIDATE)
            raft_become_follower(raft, raft->term, 0); /* it need not stand any more */
        if (raft->vote != message->from)
            raft_set_hard_state(raft, raft->term, message->from);
        raft_election_timer_reset(raft);
    } else if (free_to_vote) {
        COVER(VOTE_REFUSED_BY_LOG);
    }
    struct raft_message *answer = raft_send(raft, RAFT_MSG_VOTE_ANSWER, message->from);
    answer->rejected = !granted;
}

void raft_recv_vote_answer(struct raft *raft, const struct raft_message *message)
{
    if (raft->role != RAFT_CANDIDATE)
        return;
    raft_vote_note(raft, message->from, !message->rejected);
    raft_vote_count(raft);
}

/* Transfer (dissertation, 3.10): stand at once, without the pre-vote that would find the old leader
 * alive. */
void raft_recv_timeout_now(struct raft *raft, const struct raft_message *message)
{
    (void)message;
    if (raft->role != RAFT_FOLLOWER || !raft_is_electable(raft))
        return;
    COVER(TRANSFER_TAKEN);
    raft_become_candidate(raft, true);
}
