#include "tests/sim/configuration_check.h"

#include "base/memory.h"
#include "tests/sim/replica_notes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <uthash.h>
#include <xxhash.h>

/* What was last seen of a replica, and what its log was found to hold. */
struct replica_note {
    raft_index_t commit_index, configuration_index;
    raft_index_t looked_index; /* the log was looked through up to here, */
    raft_term_t looked_term;   /* when it had this term there */
    raft_index_t newest_index; /* the newest configuration up to there; 0: none was found, */
    raft_index_t before_index; /* and the one before it */
};

struct committed_note {
    raft_index_t index;
    uint64_t hash;
    replica_id_t reporter;
};

/* The configurations of a group that a replica has known committed, by index. */
struct group_note {
    group_id_t group;
    struct committed_note *committed;
    size_t committed_count, committed_capacity;
    UT_hash_handle hh;
};

struct configuration_check {
    struct replica_notes replicas; /* of struct replica_note */
    struct group_note *groups;
    struct check_result result;
};

struct configuration_check *configuration_check_new(void)
{
    struct configuration_check *check = memory_alloc_zeroed(1, sizeof *check);
    check_result_init(&check->result);
    replica_notes_init(&check->replicas, sizeof(struct replica_note));
    return check;
}

void configuration_check_free(struct configuration_check *check)
{
    replica_notes_fini(&check->replicas);
    struct group_note *group, *next_group;
    HASH_ITER (hh, check->groups, group, next_group) {
        HASH_DELETE(hh, check->groups, group);
        free(group->committed);
        free(group);
    }
    free(check);
}

const struct check_result *configuration_check_result(const struct configuration_check *check)
{
    return &check->result;
}

static struct group_note *group_note_of(struct configuration_check *check, group_id_t group)
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

/* --- One step from one configuration to the next --- */

static bool is_joint(const struct raft_member *member)
{
    return member->voter_old != member->voter_new;
}

/* From one that is not joint: the same voters, or a joint one whose old voters they are. From a
 * joint one: its new voters. */
static bool is_step(const struct raft_configuration *from, const struct raft_configuration *to)
{
    bool from_joint = false, to_joint = false;
    for (uint32_t i = 0; i < from->members_count; i++)
        from_joint |= is_joint(&from->members[i]);
    for (uint32_t i = 0; i < to->members_count; i++)
        to_joint |= is_joint(&to->members[i]);
    if (from_joint && to_joint)
        return false;
    for (uint32_t i = 0; i < from->members_count; i++) {
        const struct raft_member *before = &from->members[i];
        const struct raft_member *after = raft_configuration_find(to, before->replica);
        if (before->voter_new != (after && after->voter_old))
            return false;
    }
    for (uint32_t i = 0; i < to->members_count; i++) {
        const struct raft_member *after = &to->members[i];
        const struct raft_member *before = raft_configuration_find(from, after->replica);
        if (after->voter_old && !(before && before->voter_new))
            return false;
    }
    return true;
}

static bool entry_configuration(const struct host_group *group, raft_index_t index,
                                struct raft_configuration *out)
{
    const struct raft_entry *entry = raft_log_entry(group->raft, index);
    return entry && entry->type == RAFT_ENTRY_CONFIGURATION &&
           raft_configuration_unpack(blob_bytes(entry->payload), out);
}

static void judge_step(struct configuration_check *check, const struct host_group *group,
                       const struct replica_note *note)
{
    struct raft_configuration before, newest;
    if (!entry_configuration(group, note->before_index, &before) ||
        !entry_configuration(group, note->newest_index, &newest) || is_step(&before, &newest))
        return;
    check_result_violation(&check->result, "configuration-step",
                           "group %" PRIu64 ": in the log of replica %" PRIu64
                           " the configuration at index %" PRIu64
                           " does not go on from the one at index %" PRIu64,
                           group->group, group->replica, note->newest_index, note->before_index);
}

/* --- What the log says --- */

/* Only what is new since the last time: what is at one index of one term does not change. Of a log
 * that was cut as far as it had been looked at, nobody knows whether it is the same. */
static void log_look(struct configuration_check *check, const struct host_group *group,
                     const struct raft_status *status, struct replica_note *note)
{
    const struct raft_entry *looked = raft_log_entry(group->raft, note->looked_index);
    if (!looked || looked->term != note->looked_term) {
        note->looked_index = status->first_index - 1;
        note->newest_index = note->before_index = 0;
    }
    for (raft_index_t index = note->looked_index + 1; index <= status->last_index; index++) {
        const struct raft_entry *entry = raft_log_entry(group->raft, index);
        note->looked_index = index;
        note->looked_term = entry->term;
        if (entry->type != RAFT_ENTRY_CONFIGURATION)
            continue;
        note->before_index = note->newest_index;
        note->newest_index = index;
        judge_step(check, group, note);
    }
}

static void judge_in_force(struct configuration_check *check, const struct host_group *group,
                           const struct raft_status *status, const struct replica_note *note)
{
    raft_index_t index = raft_configuration_index(group->raft);
    bool is_last = note->newest_index != 0 ? index == note->newest_index
                                           : index < status->first_index; /* a snapshot's */
    if (is_last)
        return;
    check_result_violation(&check->result, "configuration-not-last",
                           "group %" PRIu64 ": replica %" PRIu64
                           " goes by a configuration of index %" PRIu64
                           "; the newest in its log, %" PRIu64 "..%" PRIu64 ", is at %" PRIu64,
                           group->group, group->replica, index, status->first_index,
                           status->last_index, note->newest_index);
}

/* A leader's own entry, as the core had it at the latest when it appended: no commit index falls.
 */
static void judge_leader(struct configuration_check *check, const struct host_group *group,
                         const struct raft_status *status, const struct replica_note *note)
{
    const struct raft_entry *newest = raft_log_entry(group->raft, note->newest_index);
    if (status->role != RAFT_LEADER || !newest || newest->term != status->term)
        return;
    if (note->before_index > status->commit_index)
        check_result_violation(&check->result, "two-changes",
                               "group %" PRIu64 ": leader %" PRIu64 " of term %" PRIu64
                               " appended a configuration at index %" PRIu64
                               ", and the one at index %" PRIu64 " is not committed (%" PRIu64 ")",
                               group->group, group->replica, status->term, note->newest_index,
                               note->before_index, status->commit_index);
    if (status->term_opening_index > status->commit_index)
        check_result_violation(&check->result, "change-before-own-commit",
                               "group %" PRIu64 ": leader %" PRIu64 " of term %" PRIu64
                               " appended a configuration at index %" PRIu64
                               ", and has committed nothing of its term",
                               group->group, group->replica, status->term, note->newest_index);
}

/* --- What is committed --- */

static uint64_t configuration_hash(const struct raft_configuration *configuration)
{
    struct blob *packed = raft_configuration_pack(configuration);
    uint64_t hash = XXH3_64bits(packed->data, packed->bytes_count);
    blob_unref(packed);
    return hash;
}

/* The place of the first one at or behind `index`. */
static size_t committed_place(const struct group_note *note, raft_index_t index)
{
    size_t place = note->committed_count;
    while (place > 0 && note->committed[place - 1].index >= index)
        place--;
    return place;
}

static void committed_add(struct group_note *note, const struct committed_note *added)
{
    if (note->committed_count == note->committed_capacity) {
        note->committed_capacity = 2 * note->committed_capacity + 16;
        note->committed =
            memory_realloc(note->committed, note->committed_capacity * sizeof note->committed[0]);
    }
    size_t place = committed_place(note, added->index);
    for (size_t last = note->committed_count++; last > place; last--)
        note->committed[last] = note->committed[last - 1];
    note->committed[place] = *added;
}

static void judge_committed(struct configuration_check *check, const struct host_group *group,
                            const struct raft_status *status)
{
    struct group_note *note = group_note_of(check, group->group);
    const struct raft_configuration *configuration = raft_get_configuration(group->raft);
    raft_index_t index = raft_configuration_index(group->raft);
    if (configuration->members_count == 0)
        return; /* it was added, and has heard from no leader yet */
    size_t known = committed_place(note, status->commit_index + 1);
    if (known > 0 && note->committed[known - 1].index > index)
        check_result_violation(&check->result, "configuration-outdated",
                               "group %" PRIu64 ": replica %" PRIu64 ", commit %" PRIu64
                               ", goes by a configuration of index %" PRIu64 "; replica %" PRIu64
                               " has committed one at index %" PRIu64,
                               group->group, group->replica, status->commit_index, index,
                               note->committed[known - 1].reporter,
                               note->committed[known - 1].index);
    if (index > status->commit_index)
        return;
    struct committed_note now = {
        .index = index, .hash = configuration_hash(configuration), .reporter = group->replica};
    size_t place = committed_place(note, index);
    if (place == note->committed_count || note->committed[place].index != index)
        committed_add(note, &now);
    else if (note->committed[place].hash != now.hash)
        check_result_violation(&check->result, "configuration-differs",
                               "group %" PRIu64 ": replicas %" PRIu64 " and %" PRIu64
                               " have committed different configurations at index %" PRIu64,
                               group->group, note->committed[place].reporter, now.reporter, index);
}

void configuration_check_replica(struct configuration_check *check, const struct host_group *group,
                                 const struct raft_status *status)
{
    struct replica_note *note = replica_notes_of(&check->replicas, group);
    const struct raft_entry *last = raft_log_entry(group->raft, status->last_index);
    raft_index_t configuration_index = raft_configuration_index(group->raft);
    if (note->looked_index == status->last_index && (!last || last->term == note->looked_term) &&
        note->commit_index == status->commit_index &&
        note->configuration_index == configuration_index)
        return;
    check->result.judged_count++;
    log_look(check, group, status, note);
    judge_in_force(check, group, status, note);
    judge_leader(check, group, status, note);
    judge_committed(check, group, status);
    note->commit_index = status->commit_index;
    note->configuration_index = configuration_index;
}
