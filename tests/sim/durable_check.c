#include "tests/sim/durable_check.h"

#include "base/memory.h"
#include "tests/sim/replica_notes.h"

#include <inttypes.h>
#include <stdlib.h>

/* An entry is looked for at its index modulo this; what was replaced by a later one is taken for
 * durable. */
#define ENTRIES_REMEMBERED 2048u

struct entry_note {
    raft_index_t index; /* 0: none */
    raft_term_t term;
    uint64_t when; /* the earliest unit with which it can be durable */
    /* One that was cut off at a start, and has not been appended again. */
    raft_index_t lost_index;
    raft_term_t lost_term;
};

struct replica_note {
    raft_index_t first_index, last_index;
    uint64_t queued_id, persisted_id;
    raft_term_t term;
    replica_id_t vote;
    uint64_t vote_when;
    bool is_known; /* it was seen before */
    struct raft_configuration configuration, configuration_before;
    bool rests_on_flush; /* what it has applied: the log alone would not do */
    struct entry_note entries[ENTRIES_REMEMBERED];
};

struct durable_check {
    struct replica_notes replicas; /* of struct replica_note */
    struct check_result result;
};

struct durable_check *durable_check_new(void)
{
    struct durable_check *check = memory_alloc_zeroed(1, sizeof *check);
    check_result_init(&check->result);
    replica_notes_init(&check->replicas, sizeof(struct replica_note));
    return check;
}

void durable_check_free(struct durable_check *check)
{
    replica_notes_fini(&check->replicas);
    free(check);
}

const struct check_result *durable_check_result(const struct durable_check *check)
{
    return &check->result;
}

static struct entry_note *entry_note_of(struct replica_note *note, raft_index_t index)
{
    return &note->entries[index % ENTRIES_REMEMBERED];
}

/* From the end backwards, until one is there that was there before. */
static void log_note(struct replica_note *note, const struct host_group *group,
                     const struct raft_status *status, uint64_t when)
{
    for (raft_index_t index = status->last_index + 1;
         index <= note->last_index && index <= status->last_index + ENTRIES_REMEMBERED; index++) {
        if (entry_note_of(note, index)->index == index)
            entry_note_of(note, index)->index = 0;
    }
    for (raft_index_t index = status->last_index; index >= status->first_index; index--) {
        struct entry_note *entry = entry_note_of(note, index);
        raft_term_t term = raft_log_entry(group->raft, index)->term;
        if (entry->index > index || (entry->index == index && entry->term == term))
            break;
        entry->index = index;
        entry->term = term;
        entry->when = when;
        if (entry->lost_index == index && entry->lost_term == term)
            entry->lost_index = 0;
    }
    note->first_index = status->first_index;
    note->last_index = status->last_index;
    note->queued_id = group->queued_id;
    note->persisted_id = group->persisted_id;
}

static bool is_durable(const struct replica_note *note, raft_index_t index, raft_term_t term)
{
    const struct entry_note *entry = &note->entries[index % ENTRIES_REMEMBERED];
    if (note->first_index > index || entry->index > index)
        return true;
    return entry->index == index && entry->term == term && entry->when <= note->persisted_id;
}

/* What the core takes for durable, and what it has applied (R5). */
static void judge_claims(struct durable_check *check, struct replica_note *note,
                         const struct host_group *group, const struct raft_status *status)
{
    const struct raft_entry *durable = raft_log_entry(group->raft, status->durable_index);
    const struct raft_entry *applied = raft_log_entry(group->raft, group->applied_index);
    if (durable && !is_durable(note, durable->index, durable->term))
        check_result_violation(&check->result, "durable-claimed",
                               "group %" PRIu64 ": replica %" PRIu64 " takes index %" PRIu64
                               " of term %" PRIu64 " for durable, which is not",
                               group->group, group->replica, durable->index, durable->term);
    /* A snapshot that came in whole is durable by itself, whatever of it the log has got. */
    note->rests_on_flush = applied && !is_durable(note, applied->index, applied->term);
    if (note->rests_on_flush && group->ops->flushed_index(group->machine) < group->applied_index)
        check_result_violation(&check->result, "applied-not-durable",
                               "group %" PRIu64 ": replica %" PRIu64 " has applied index %" PRIu64
                               " of term %" PRIu64 " before its log holds it",
                               group->group, group->replica, applied->index, applied->term);
}

/* What a recovery did not find is cut off by the first write after it, and the replica goes on
 * without: it has voted for others since, perhaps, and the entry was replaced. Before that write
 * nothing has left the store that speaks against the tail. */
static void judge_revived(struct durable_check *check, const struct host_group *group,
                          struct replica_note *note)
{
    struct raft_status status;
    raft_get_status(group->raft, &status);
    /* Who is a majority alone stands as soon as it is there, in the term after what it read. */
    bool stands = status.role == RAFT_CANDIDATE;
    raft_term_t term_read = status.term - stands;
    bool is_new_vote =
        !stands && status.term == note->term && status.vote != 0 && status.vote != note->vote;
    if (note->is_known && (term_read > note->term || is_new_vote))
        check_result_violation(
            &check->result, "tail-revived",
            "group %" PRIu64 ": replica %" PRIu64 " starts in term %" PRIu64
            " with a vote for %" PRIu64 ", and was in term %" PRIu64 " with a vote for %" PRIu64,
            group->group, group->replica, status.term, status.vote, note->term, note->vote);
    for (raft_index_t index = status.first_index; index <= status.last_index; index++) {
        const struct entry_note *entry = entry_note_of(note, index);
        raft_term_t term = raft_log_entry(group->raft, index)->term;
        if (entry->lost_index == index && entry->lost_term == term)
            check_result_violation(&check->result, "tail-revived",
                                   "group %" PRIu64 ": replica %" PRIu64
                                   " starts with the entry of term %" PRIu64 " at index %" PRIu64
                                   ", which was cut off at an earlier start",
                                   group->group, group->replica, term, index);
    }
}

static void entries_forget(struct replica_note *note, const struct host_group *group)
{
    for (size_t place = 0; place < ENTRIES_REMEMBERED; place++) {
        struct entry_note *entry = &note->entries[place];
        const struct raft_entry *found = raft_log_entry(group->raft, entry->index);
        bool is_lost = entry->index != 0 && entry->index > group->applied_index &&
                       (!found || found->term != entry->term);
        *entry = (struct entry_note){
            .lost_index = is_lost ? entry->index : entry->lost_index,
            .lost_term = is_lost ? entry->term : entry->lost_term,
        };
    }
}

void durable_check_started(struct durable_check *check, const struct host_group *group,
                           bool has_written)
{
    struct replica_note *note = replica_notes_of(&check->replicas, group);
    struct raft_status status;
    raft_get_status(group->raft, &status);
    if (has_written)
        judge_revived(check, group, note);
    /* Its term cannot have fallen either, but raft_check looks for that. */
    if (status.term == note->term && note->vote != 0 && note->vote_when <= note->persisted_id &&
        status.vote != note->vote)
        check_result_violation(&check->result, "vote-forgotten",
                               "group %" PRIu64 ": replica %" PRIu64 " voted for %" PRIu64
                               " in term %" PRIu64 ", and after a restart for %" PRIu64,
                               group->group, group->replica, note->vote, note->term, status.vote);
    note->term = status.term;
    note->vote = status.vote;
    note->vote_when = 0;
    note->is_known = true;
    entries_forget(note, group);
    log_note(note, group, &status, 0);
}

static void judge_vote(struct durable_check *check, struct replica_note *note,
                       const struct host_group *group, const struct raft_status *status)
{
    if (status->term != note->term || status->vote != note->vote)
        note->vote_when = note->queued_id + 1;
    note->term = status->term;
    note->vote = status->vote;
    if (status->role == RAFT_LEADER && note->vote_when > group->persisted_id)
        check_result_violation(&check->result, "vote-not-durable",
                               "group %" PRIu64 ": replica %" PRIu64 " leads term %" PRIu64
                               " before its own vote is durable",
                               group->group, group->replica, status->term);
}

bool durable_check_replica(struct durable_check *check, const struct host_group *group,
                           const struct raft_status *status)
{
    struct replica_note *note = replica_notes_of(&check->replicas, group);
    if (group->queued_id < note->queued_id)
        durable_check_started(check, group, false); /* the master made it again */
    note->is_known = true;
    judge_vote(check, note, group, status);
    /* A turn may hand over more units than one: the first is the earliest that can hold them. */
    log_note(note, group, status, note->queued_id + 1);
    const struct raft_configuration *configuration = raft_get_configuration(group->raft);
    note->configuration_before = note->configuration;
    note->configuration = *configuration;
    judge_claims(check, note, group, status);
    return !note->rests_on_flush;
}

static bool has_majority(const struct durable_check *check,
                         const struct raft_configuration *configuration, group_id_t group,
                         raft_index_t index, raft_term_t term)
{
    uint32_t old_voters = 0, old_holders = 0, new_voters = 0, new_holders = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        const struct replica_note *note =
            replica_notes_find(&check->replicas, group, member->replica);
        bool holds = note && is_durable(note, index, term);
        old_voters += member->voter_old;
        old_holders += member->voter_old && holds;
        new_voters += member->voter_new;
        new_holders += member->voter_new && holds;
    }
    return old_holders > old_voters / 2 && new_holders > new_voters / 2;
}

void durable_check_committed(struct durable_check *check, const struct host_group *group,
                             raft_index_t commit_index)
{
    const struct replica_note *note = replica_notes_of(&check->replicas, group);
    const struct raft_entry *entry = raft_log_entry(group->raft, commit_index);
    if (!entry)
        return;
    check->result.judged_count++;
    /* It may have gone on to another configuration when that was committed. */
    if (has_majority(check, &note->configuration, group->group, commit_index, entry->term) ||
        has_majority(check, &note->configuration_before, group->group, commit_index, entry->term))
        return;
    check_result_violation(&check->result, "commit-not-durable",
                           "group %" PRIu64 ": replica %" PRIu64 " committed index %" PRIu64
                           " of term %" PRIu64 ", which no majority holds durably",
                           group->group, group->replica, commit_index, entry->term);
}
