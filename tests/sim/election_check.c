#include "tests/sim/election_check.h"

#include "base/memory.h"
#include "tests/sim/replica_notes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <uthash.h>

/* A leader is seen in the turn in which it was elected; its voters may be some terms further. */
#define VOTES_REMEMBERED 16u

struct vote_note {
    raft_term_t term_before, term; /* before the turn and after it */
    replica_id_t vote;
};

struct replica_note {
    raft_term_t term;
    replica_id_t vote;
    enum raft_role role;
    uint64_t stood_frames_count; /* what had reached its process when it stood last, or started */
    struct vote_note votes[VOTES_REMEMBERED]; /* a ring */
    uint32_t votes_next;
    struct raft_configuration configuration, configuration_before;
};

struct group_note {
    group_id_t group;
    raft_term_t term_stood; /* the highest that anybody stood in */
    UT_hash_handle hh;
};

struct election_check {
    struct replica_notes replicas; /* of struct replica_note */
    struct group_note *groups;
    struct check_result result;
};

struct election_check *election_check_new(void)
{
    struct election_check *check = memory_alloc_zeroed(1, sizeof *check);
    check_result_init(&check->result);
    replica_notes_init(&check->replicas, sizeof(struct replica_note));
    return check;
}

void election_check_free(struct election_check *check)
{
    replica_notes_fini(&check->replicas);
    struct group_note *group, *next_group;
    HASH_ITER (hh, check->groups, group, next_group) {
        HASH_DELETE(hh, check->groups, group);
        free(group);
    }
    free(check);
}

const struct check_result *election_check_result(const struct election_check *check)
{
    return &check->result;
}

static struct group_note *group_note_of(struct election_check *check, group_id_t group)
{
    struct group_note *note;
    HASH_FIND(hh, check->groups, &group, sizeof group, note);
    if (note)
        return note;
    note = memory_alloc_zeroed(1, sizeof *note);
    note->group = group;
    HASH_ADD(hh, check->groups, group, sizeof note->group, note);
    return note;
}

/* --- Votes --- */

static void vote_note(struct replica_note *note, const struct raft_status *status)
{
    if (status->term != note->term || status->vote != note->vote)
        note->votes[note->votes_next++ % VOTES_REMEMBERED] =
            (struct vote_note){note->term, status->term, status->vote};
}

/* Or may it have, in a term that one turn of it began and left? */
static bool has_voted(const struct election_check *check, group_id_t group, replica_id_t voter,
                      raft_term_t term, replica_id_t leader)
{
    const struct replica_note *note = replica_notes_find(&check->replicas, group, voter);
    for (uint32_t place = 0; note && place < VOTES_REMEMBERED; place++) {
        const struct vote_note *vote = &note->votes[place];
        if ((vote->term == term && vote->vote == leader) ||
            (vote->term_before < term && term < vote->term))
            return true;
    }
    return false;
}

static bool has_majority(const struct election_check *check,
                         const struct raft_configuration *configuration, group_id_t group,
                         raft_term_t term, replica_id_t leader)
{
    uint32_t old_voters = 0, old_votes = 0, new_voters = 0, new_votes = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        bool voted = has_voted(check, group, member->replica, term, leader);
        old_voters += member->voter_old;
        old_votes += member->voter_old && voted;
        new_voters += member->voter_new;
        new_votes += member->voter_new && voted;
    }
    return old_votes > old_voters / 2 && new_votes > new_voters / 2;
}

static void judge_leader(struct election_check *check, const struct host_group *group,
                         const struct raft_status *status, const struct replica_note *note)
{
    if (status->role != RAFT_LEADER || (note->role == RAFT_LEADER && note->term == status->term))
        return;
    check->result.judged_count++;
    /* The turn may have brought a configuration before it was elected, or after. */
    if (has_majority(check, &note->configuration, group->group, status->term, group->replica) ||
        has_majority(check, &note->configuration_before, group->group, status->term,
                     group->replica))
        return;
    check_result_violation(&check->result, "elected-without-majority",
                           "group %" PRIu64 ": replica %" PRIu64 " leads term %" PRIu64
                           ", and no majority of the voters voted for it",
                           group->group, group->replica, status->term);
}

static void judge_vote(struct election_check *check, const struct host_group *group,
                       const struct raft_status *status)
{
    if (status->vote == 0 || raft_get_configuration(group->raft)->members_count != 0)
        return;
    check_result_violation(&check->result, "voted-without-members",
                           "group %" PRIu64 ": replica %" PRIu64
                           " knows no configuration, and voted for %" PRIu64 " in term %" PRIu64,
                           group->group, group->replica, status->vote, status->term);
}

/* --- Terms --- */

static bool is_majority_alone(const struct host_group *group)
{
    const struct raft_configuration *configuration = raft_get_configuration(group->raft);
    uint32_t others_count = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        others_count +=
            member->replica != group->replica && (member->voter_old || member->voter_new);
    }
    return others_count == 0;
}

/* An answer to a pre-vote, or the word of a leader that hands over, comes with a frame. */
static void judge_candidate(struct election_check *check, const struct host_group *group,
                            const struct raft_status *status, struct replica_note *note,
                            uint64_t frames_count)
{
    if (status->term == note->term || status->vote != group->replica)
        return;
    if (frames_count == note->stood_frames_count && !is_majority_alone(group))
        check_result_violation(&check->result, "candidate-unasked",
                               "group %" PRIu64 ": replica %" PRIu64 " stands in term %" PRIu64
                               ", and nothing has reached it since it last stood",
                               group->group, group->replica, status->term);
    note->stood_frames_count = frames_count;
}

static void judge_term(struct election_check *check, const struct host_group *group,
                       const struct raft_status *status)
{
    struct group_note *note = group_note_of(check, group->group);
    if (status->vote == group->replica && status->term > note->term_stood)
        note->term_stood = status->term;
    if (status->term > note->term_stood)
        check_result_violation(&check->result, "term-from-nowhere",
                               "group %" PRIu64 ": replica %" PRIu64 " is in term %" PRIu64
                               "; the highest that anybody stood in is %" PRIu64,
                               group->group, group->replica, status->term, note->term_stood);
}

void election_check_started(struct election_check *check, const struct host_group *group,
                            uint64_t frames_count)
{
    struct replica_note *note = replica_notes_of(&check->replicas, group);
    struct raft_status status;
    raft_get_status(group->raft, &status);
    /* Who is a majority alone stands as soon as it is there. */
    judge_term(check, group, &status);
    vote_note(note, &status);
    note->term = status.term;
    note->vote = status.vote;
    note->role = status.role;
    note->stood_frames_count = frames_count;
}

void election_check_replica(struct election_check *check, const struct host_group *group,
                            const struct raft_status *status, uint64_t frames_count)
{
    struct replica_note *note = replica_notes_of(&check->replicas, group);
    note->configuration_before = note->configuration;
    note->configuration = *raft_get_configuration(group->raft);
    if (status->term == note->term && status->vote == note->vote && status->role == note->role)
        return;
    judge_candidate(check, group, status, note, frames_count);
    judge_term(check, group, status);
    vote_note(note, status);
    judge_vote(check, group, status);
    judge_leader(check, group, status, note);
    note->term = status->term;
    note->vote = status->vote;
    note->role = status->role;
}
