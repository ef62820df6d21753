#include "tests/check/raft_check.h"

#include "base/arena.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define PAGE_ENTRIES_COUNT 256u

/* What is known of one index of a group's log. */
struct entry_record {
    raft_term_t term; /* 0: nothing */
    uint64_t hash;
    replica_id_t reporter;
    /* It, or an entry after it, was committed in this term or an earlier one. */
    raft_term_t committed_in;
    uint64_t chain_hash;
    replica_id_t chain_reporter; /* 0: nobody has applied up to here */
};

struct entry_page {
    uint64_t number;
    struct entry_record entries[PAGE_ENTRIES_COUNT];
    UT_hash_handle hh;
};

struct leader_record {
    raft_term_t term;
    replica_id_t replica_id;
    UT_hash_handle hh;
};

struct replica_record {
    struct raft_check_observation last;
    bool observed; /* since its start */
    bool destroyed;
    UT_hash_handle hh; /* by last.replica_id */
};

struct group_record {
    group_id_t id;
    struct entry_page *pages;
    struct leader_record *leaders;
    struct replica_record *replicas;
    raft_index_t committed_index;
    UT_hash_handle hh;
};

struct raft_check {
    struct arena arena;
    struct group_record *groups;
    struct check_result result;
};

struct raft_check *raft_check_new(void)
{
    struct raft_check *check = memory_alloc_zeroed(1, sizeof *check);
    arena_init(&check->arena);
    check_result_init(&check->result);
    return check;
}

void raft_check_free(struct raft_check *check)
{
    if (!check)
        return;
    struct group_record *group, *next;
    HASH_ITER (hh, check->groups, group, next) {
        HASH_CLEAR(hh, group->pages);
        HASH_CLEAR(hh, group->leaders);
        HASH_CLEAR(hh, group->replicas);
    }
    HASH_CLEAR(hh, check->groups);
    arena_fini(&check->arena);
    free(check);
}

const struct check_result *raft_check_result(const struct raft_check *check)
{
    return &check->result;
}

static struct group_record *group_find(struct raft_check *check, group_id_t id)
{
    struct group_record *group;
    HASH_FIND(hh, check->groups, &id, sizeof id, group);
    if (group)
        return group;
    group = arena_alloc_zeroed(&check->arena, sizeof *group);
    group->id = id;
    HASH_ADD(hh, check->groups, id, sizeof group->id, group);
    return group;
}

static struct replica_record *replica_find(struct raft_check *check, struct group_record *group,
                                           replica_id_t id)
{
    struct replica_record *replica;
    HASH_FIND(hh, group->replicas, &id, sizeof id, replica);
    if (replica)
        return replica;
    replica = arena_alloc_zeroed(&check->arena, sizeof *replica);
    replica->last.group_id = group->id;
    replica->last.replica_id = id;
    HASH_ADD(hh, group->replicas, last.replica_id, sizeof replica->last.replica_id, replica);
    return replica;
}

static struct entry_record *entry_find(struct raft_check *check, struct group_record *group,
                                       raft_index_t index)
{
    uint64_t number = index / PAGE_ENTRIES_COUNT;
    struct entry_page *page;
    HASH_FIND(hh, group->pages, &number, sizeof number, page);
    if (!page) {
        page = arena_alloc_zeroed(&check->arena, sizeof *page);
        page->number = number;
        HASH_ADD(hh, group->pages, number, sizeof page->number, page);
    }
    return &page->entries[index % PAGE_ENTRIES_COUNT];
}

raft_index_t raft_check_committed_index(const struct raft_check *check, group_id_t group_id)
{
    const struct group_record *group;
    HASH_FIND(hh, check->groups, &group_id, sizeof group_id, group);
    return group ? group->committed_index : 0;
}

static void judge_leader(struct raft_check *check, struct group_record *group, raft_term_t term,
                         replica_id_t replica_id)
{
    struct leader_record *leader;
    HASH_FIND(hh, group->leaders, &term, sizeof term, leader);
    if (!leader) {
        leader = arena_alloc_zeroed(&check->arena, sizeof *leader);
        leader->term = term;
        leader->replica_id = replica_id;
        HASH_ADD(hh, group->leaders, term, sizeof leader->term, leader);
    }
    if (leader->replica_id != replica_id)
        check_result_violation(&check->result, "election-safety",
                               "group %" PRIu64 " has two leaders in term %" PRIu64
                               ": replicas %" PRIu64 " and %" PRIu64,
                               group->id, term, leader->replica_id, replica_id);
}

static void judge_destroyed(struct raft_check *check, const struct replica_record *replica)
{
    if (replica->destroyed)
        check_result_violation(&check->result, "replica-reused",
                               "group %" PRIu64 ": replica %" PRIu64 " was destroyed and lives",
                               replica->last.group_id, replica->last.replica_id);
}

/* What a restart does not excuse. */
static void judge_hard_state(struct raft_check *check, const struct raft_check_observation *before,
                             const struct raft_check_observation *now)
{
    if (now->term < before->term)
        check_result_violation(&check->result, "term-falls",
                               "group %" PRIu64 ": replica %" PRIu64 " falls from term %" PRIu64
                               " to %" PRIu64,
                               now->group_id, now->replica_id, before->term, now->term);
    if (now->term == before->term && before->vote != 0 && now->vote != 0 &&
        now->vote != before->vote)
        check_result_violation(&check->result, "vote-changed",
                               "group %" PRIu64 ": replica %" PRIu64 " voted for %" PRIu64
                               " and for %" PRIu64 " in term %" PRIu64,
                               now->group_id, now->replica_id, before->vote, now->vote, now->term);
}

static void judge_progress(struct raft_check *check, const struct raft_check_observation *before,
                           const struct raft_check_observation *now)
{
    if (now->commit_index < before->commit_index || now->applied_index < before->applied_index)
        check_result_violation(&check->result, "commit-falls",
                               "group %" PRIu64 ": replica %" PRIu64 " falls from commit %" PRIu64
                               ", applied %" PRIu64 " to commit %" PRIu64 ", applied %" PRIu64,
                               now->group_id, now->replica_id, before->commit_index,
                               before->applied_index, now->commit_index, now->applied_index);
    bool leads_on = before->role == RAFT_CHECK_LEADER && now->role == RAFT_CHECK_LEADER &&
                    before->term == now->term;
    if (leads_on && now->commit_index > before->commit_index && now->commit_term != 0 &&
        now->commit_term != now->term)
        check_result_violation(&check->result, "older-term-counted",
                               "group %" PRIu64 ": leader %" PRIu64 " of term %" PRIu64
                               " committed up to index %" PRIu64 ", an entry of term %" PRIu64,
                               now->group_id, now->replica_id, now->term, now->commit_index,
                               now->commit_term);
    if (leads_on && now->last_index < before->last_index)
        check_result_violation(&check->result, "leader-appends-only",
                               "group %" PRIu64 ": leader %" PRIu64 " of term %" PRIu64
                               " cut its log from index %" PRIu64 " to %" PRIu64,
                               now->group_id, now->replica_id, now->term, before->last_index,
                               now->last_index);
}

void raft_check_observe(struct raft_check *check, const struct raft_check_observation *observation)
{
    struct group_record *group = group_find(check, observation->group_id);
    struct replica_record *replica = replica_find(check, group, observation->replica_id);
    struct raft_check_observation now = *observation;
    check->result.judged_count++;
    judge_destroyed(check, replica);
    judge_hard_state(check, &replica->last, &now);
    if (replica->observed)
        judge_progress(check, &replica->last, &now);
    if (now.applied_index > now.commit_index || now.commit_index > now.last_index)
        check_result_violation(&check->result, "index-order",
                               "group %" PRIu64 ": replica %" PRIu64 " has applied %" PRIu64
                               ", commit %" PRIu64 ", last index %" PRIu64,
                               now.group_id, now.replica_id, now.applied_index, now.commit_index,
                               now.last_index);
    if (now.role == RAFT_CHECK_LEADER)
        judge_leader(check, group, now.term, now.replica_id);
    /* The vote of a term is remembered when it is not told again. */
    if (now.vote == 0 && now.term == replica->last.term)
        now.vote = replica->last.vote;
    replica->last = now;
    replica->observed = true;
}

static void judge_term_order(struct raft_check *check, struct group_record *group,
                             raft_index_t index, raft_term_t term, raft_index_t neighbour)
{
    const struct entry_record *other = entry_find(check, group, neighbour);
    if (other->term == 0 || other->term == term || (other->term < term) == (neighbour < index))
        return;
    check_result_violation(&check->result, "term-order",
                           "group %" PRIu64 ": committed entry %" PRIu64 " is of term %" PRIu64
                           ", and %" PRIu64 " of term %" PRIu64,
                           group->id, index, term, neighbour, other->term);
}

void raft_check_committed(struct raft_check *check, group_id_t group_id, replica_id_t replica_id,
                          const struct raft_check_entry *entry)
{
    struct group_record *group = group_find(check, group_id);
    const struct replica_record *replica = replica_find(check, group, replica_id);
    struct entry_record *record = entry_find(check, group, entry->index);
    raft_term_t committed_in = replica->observed ? replica->last.term : UINT64_MAX;
    if (committed_in < entry->term)
        committed_in = entry->term; /* its term is not yet durable, and it was not observed in it */
    check->result.judged_count++;
    if (record->term == 0) {
        record->term = entry->term;
        record->hash = entry->hash;
        record->reporter = replica_id;
        record->committed_in = committed_in;
        if (entry->index > 0)
            judge_term_order(check, group, entry->index, entry->term, entry->index - 1);
        judge_term_order(check, group, entry->index, entry->term, entry->index + 1);
    }
    if (record->term != entry->term || record->hash != entry->hash)
        check_result_violation(&check->result, "log-matching",
                               "group %" PRIu64 ": at index %" PRIu64 " replica %" PRIu64
                               " committed an entry of term %" PRIu64 " (hash %016" PRIx64
                               "), replica %" PRIu64 " one of term %" PRIu64 " (hash %016" PRIx64
                               ")",
                               group_id, entry->index, record->reporter, record->term, record->hash,
                               replica_id, entry->term, entry->hash);
    if (committed_in < record->committed_in)
        record->committed_in = committed_in;
    if (entry->index > group->committed_index)
        group->committed_index = entry->index;
}

/* The highest index that was surely committed in a term before `term`. A leader of an earlier term
 * may be elected late, and need not hold what a later one has committed meanwhile. */
static raft_index_t committed_before(struct raft_check *check, struct group_record *group,
                                     raft_term_t term)
{
    raft_index_t index = group->committed_index;
    while (index > 0) {
        const struct entry_record *record = entry_find(check, group, index);
        if (record->term != 0 && record->committed_in < term)
            break;
        index--;
    }
    return index;
}

static void judge_log(struct raft_check *check, struct group_record *group,
                      const struct raft_check_election *election, raft_index_t must_hold)
{
    for (raft_index_t index = election->first_index; index <= must_hold; index++) {
        const struct entry_record *record = entry_find(check, group, index);
        struct raft_check_entry held;
        if (record->term == 0)
            continue;
        bool holds = election->log(election->context, index, &held);
        if (holds && held.term == record->term && held.hash == record->hash)
            continue;
        check_result_violation(&check->result, "leader-completeness",
                               "group %" PRIu64 ": replica %" PRIu64 " leads term %" PRIu64
                               " %s the entry of term %" PRIu64 " at index %" PRIu64
                               ", which replica %" PRIu64 " knew committed",
                               group->id, election->replica_id, election->term,
                               holds ? "with another entry instead of" : "without", record->term,
                               index, record->reporter);
        return;
    }
}

void raft_check_elected(struct raft_check *check, const struct raft_check_election *election)
{
    struct group_record *group = group_find(check, election->group_id);
    check->result.judged_count++;
    judge_leader(check, group, election->term, election->replica_id);
    raft_index_t must_hold = committed_before(check, group, election->term);
    if (must_hold == 0)
        return;
    const struct entry_record *last = entry_find(check, group, must_hold);
    if (election->last_index < must_hold || election->last_term < last->term) {
        check_result_violation(&check->result, "leader-completeness",
                               "group %" PRIu64 ": replica %" PRIu64 " leads term %" PRIu64
                               " with a log that ends at index %" PRIu64 " of term %" PRIu64
                               "; index %" PRIu64 " of term %" PRIu64 " is committed",
                               group->id, election->replica_id, election->term,
                               election->last_index, election->last_term, must_hold, last->term);
        return;
    }
    if (election->log)
        judge_log(check, group, election, must_hold);
}

void raft_check_applied(struct raft_check *check, group_id_t group_id, replica_id_t replica_id,
                        raft_index_t applied_index, uint64_t chain_hash)
{
    struct group_record *group = group_find(check, group_id);
    struct entry_record *record = entry_find(check, group, applied_index);
    check->result.judged_count++;
    if (record->chain_reporter == 0) {
        record->chain_reporter = replica_id;
        record->chain_hash = chain_hash;
    }
    if (record->chain_hash != chain_hash)
        check_result_violation(&check->result, "state-machine-safety",
                               "group %" PRIu64 ": replicas %" PRIu64 " and %" PRIu64
                               " differ in what they applied up to index %" PRIu64
                               " (chain hashes %016" PRIx64 " and %016" PRIx64 ")",
                               group_id, record->chain_reporter, replica_id, applied_index,
                               record->chain_hash, chain_hash);
}

void raft_check_restarted(struct raft_check *check, group_id_t group_id, replica_id_t replica_id)
{
    struct group_record *group = group_find(check, group_id);
    struct replica_record *replica = replica_find(check, group, replica_id);
    judge_destroyed(check, replica);
    replica->observed = false;
}

void raft_check_destroyed(struct raft_check *check, group_id_t group_id, replica_id_t replica_id)
{
    struct group_record *group = group_find(check, group_id);
    replica_find(check, group, replica_id)->destroyed = true;
}
