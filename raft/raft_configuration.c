/* raft_configuration.c: who the members are, what a quorum of them is, and which configuration is
 * in force: the newest in the log, committed or not (dissertation, 4.1 and 4.3). */
#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/raft.pb-c.h"
#include "raft/raft_internal.h"

#include <stdlib.h>

bool raft_configuration_is_joint(const struct raft_configuration *configuration)
{
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        if (member->voter_old != member->voter_new)
            return true;
    }
    return false;
}

int raft_configuration_position(const struct raft_configuration *configuration,
                                replica_id_t replica)
{
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        if (configuration->members[i].replica == replica)
            return (int)i;
    }
    return -1;
}

const struct raft_member *raft_configuration_find(const struct raft_configuration *configuration,
                                                  replica_id_t replica)
{
    int position = raft_configuration_position(configuration, replica);
    return position < 0 ? NULL : &configuration->members[position];
}

bool raft_configuration_has_quorum(const struct raft_configuration *configuration, uint32_t members)
{
    uint32_t old_voters = 0, old_votes = 0, new_voters = 0, new_votes = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        uint32_t vote = members >> i & 1;
        old_voters += member->voter_old;
        old_votes += member->voter_old ? vote : 0;
        new_voters += member->voter_new;
        new_votes += member->voter_new ? vote : 0;
    }
    return old_votes > old_voters / 2 && new_votes > new_voters / 2;
}

struct blob *raft_configuration_pack(const struct raft_configuration *configuration)
{
    Ostraka__RaftConfiguration__Member members[RAFT_MEMBERS_MAX];
    Ostraka__RaftConfiguration__Member *pointers[RAFT_MEMBERS_MAX];
    Ostraka__RaftConfiguration message = OSTRAKA__RAFT_CONFIGURATION__INIT;
    ASSERT(configuration->members_count <= RAFT_MEMBERS_MAX);
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        ostraka__raft_configuration__member__init(&members[i]);
        members[i].replica = member->replica;
        members[i].store = member->store;
        members[i].voter_old = member->voter_old;
        members[i].voter_new = member->voter_new;
        pointers[i] = &members[i];
    }
    message.members = pointers;
    message.n_members = configuration->members_count;
    message.epoch = configuration->epoch;
    struct blob *blob = blob_new(ostraka__raft_configuration__get_packed_size(&message));
    ostraka__raft_configuration__pack(&message, blob->data);
    return blob;
}

static bool raft_configuration_take(const Ostraka__RaftConfiguration *message,
                                    struct raft_configuration *out)
{
    uint32_t old_voters = 0, new_voters = 0;
    *out = (struct raft_configuration){.epoch = message->epoch};
    if (message->n_members > RAFT_MEMBERS_MAX)
        return false;
    for (size_t i = 0; i < message->n_members; i++) {
        const Ostraka__RaftConfiguration__Member *member = message->members[i];
        if (member->replica == 0 || raft_configuration_find(out, member->replica))
            return false;
        out->members[out->members_count++] = (struct raft_member){
            .replica = member->replica,
            .store = member->store,
            .voter_old = member->voter_old,
            .voter_new = member->voter_new,
        };
        old_voters += member->voter_old ? 1 : 0;
        new_voters += member->voter_new ? 1 : 0;
    }
    return old_voters <= REPLICAS_PER_GROUP_MAX && new_voters <= REPLICAS_PER_GROUP_MAX;
}

bool raft_configuration_unpack(struct bytes bytes, struct raft_configuration *out_configuration)
{
    Ostraka__RaftConfiguration *message =
        ostraka__raft_configuration__unpack(NULL, bytes.bytes_count, bytes.data);
    if (!message)
        return false;
    bool ok = raft_configuration_take(message, out_configuration);
    ostraka__raft_configuration__free_unpacked(message, NULL);
    return ok;
}

/* A log entry's configuration must leave somebody who can lead, before and after. */
bool raft_entry_is_valid_configuration(const struct raft_entry *entry)
{
    struct raft_configuration configuration;
    uint32_t old_voters = 0, new_voters = 0;
    if (!raft_configuration_unpack(blob_bytes(entry->payload), &configuration))
        return false;
    for (uint32_t i = 0; i < configuration.members_count; i++) {
        old_voters += configuration.members[i].voter_old;
        new_voters += configuration.members[i].voter_new;
    }
    return old_voters != 0 && new_voters != 0;
}

/* Changing it. */

/* What can be said of a target by itself: plain, somebody who votes, no limit broken. */
static bool raft_configuration_is_target(const struct raft_configuration *target)
{
    uint32_t voters = 0;
    if (target->members_count > RAFT_MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < target->members_count; i++) {
        const struct raft_member *member = &target->members[i];
        if (member->replica == 0 || member->store == 0 || member->voter_old != member->voter_new ||
            raft_configuration_position(target, member->replica) != (int)i)
            return false;
        voters += member->voter_new;
    }
    return voters != 0 && voters <= REPLICAS_PER_GROUP_MAX;
}

static bool raft_configuration_is_same(const struct raft_configuration *a,
                                       const struct raft_configuration *b)
{
    if (a->members_count != b->members_count || a->epoch != b->epoch)
        return false;
    for (uint32_t i = 0; i < a->members_count; i++) {
        const struct raft_member *member = raft_configuration_find(b, a->members[i].replica);
        if (!member || member->store != a->members[i].store ||
            member->voter_new != a->members[i].voter_new)
            return false;
    }
    return true;
}

static bool raft_configuration_add(struct raft_configuration *configuration,
                                   struct raft_member member)
{
    if (configuration->members_count == RAFT_MEMBERS_MAX)
        return false;
    configuration->members[configuration->members_count++] = member;
    return true;
}

/* Both at a time. Who is only in the old one and votes there, leaves with the second half; a
 * learner leaves at once. A voter does not become a learner, so that the second half can be told
 * from the first by whoever leads by then. */
static bool raft_configuration_join(const struct raft_configuration *from,
                                    const struct raft_configuration *target,
                                    struct raft_configuration *out)
{
    *out = (struct raft_configuration){.epoch = target->epoch};
    for (uint32_t i = 0; i < from->members_count; i++) {
        struct raft_member member = from->members[i];
        const struct raft_member *stays = raft_configuration_find(target, member.replica);
        if (stays && (stays->store != member.store || (member.voter_old && !stays->voter_new)))
            return false;
        if (!stays && !member.voter_old)
            continue;
        member.voter_new = stays && stays->voter_new;
        if (!raft_configuration_add(out, member))
            return false;
    }
    for (uint32_t i = 0; i < target->members_count; i++) {
        const struct raft_member *member = &target->members[i];
        if (raft_configuration_find(from, member->replica))
            continue;
        if (member->voter_new || !raft_configuration_add(out, *member))
            return false;
    }
    return true;
}

/* Dissertation, 4.2.1: who is given a vote has nearly all of the log, else the group might wait for
 * it before it can commit again. */
static bool raft_configuration_has_caught_up(struct raft *raft,
                                             const struct raft_configuration *joint)
{
    for (uint32_t i = 0; i < joint->members_count; i++) {
        const struct raft_member *member = &joint->members[i];
        if (member->voter_old || !member->voter_new)
            continue;
        const struct raft_progress *progress = raft_replicate_progress(raft, member->replica);
        /* It holds the entry that makes it a learner: so it has a configuration, and votes when it
         * is asked (raft_may_vote). That says also that this leader has ever heard it. */
        if (!progress || progress->match_index == 0 ||
            progress->match_index < raft_configuration_index(raft) ||
            !raft_progress_is_live(raft, progress) ||
            raft_log_last_index(&raft->log) - progress->match_index >
                raft->options.learner_lag_entries_max)
            return false;
    }
    return true;
}

/* A joint configuration whose new voters have no majority that lives is one that nobody can leave
 * again. That this leader has heard them lately is all that it can know. */
static bool raft_configuration_has_live_quorum(struct raft *raft,
                                               const struct raft_configuration *joint)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < joint->members_count; i++) {
        replica_id_t replica = joint->members[i].replica;
        const struct raft_progress *progress = raft_replicate_progress(raft, replica);
        bool is_heard =
            progress && progress->match_index > 0 && raft_progress_is_live(raft, progress);
        if (replica == raft->options.replica || is_heard)
            live |= 1u << i;
    }
    return raft_configuration_has_quorum(joint, live);
}

static void raft_configuration_append(struct raft *raft,
                                      const struct raft_configuration *configuration,
                                      timestamp_t heard_timestamp)
{
    struct raft_entry entry = {
        .index = raft_log_last_index(&raft->log) + 1,
        .term = raft->term,
        .log_timestamp = raft_log_last_timestamp(&raft->log),
        .type = RAFT_ENTRY_CONFIGURATION,
        .payload = raft_configuration_pack(configuration),
    };
    if (entry.log_timestamp < heard_timestamp)
        entry.log_timestamp = heard_timestamp; /* R8 */
    ASSERT(raft_entry_is_valid_configuration(&entry));
    raft_append_entry(raft, &entry);
    blob_unref(entry.payload);
}

int raft_configuration_propose(struct raft *raft, const struct raft_event *event)
{
    const struct raft_configuration *target = event->configure.target;
    struct raft_configuration joint;
    if (raft->role != RAFT_LEADER)
        return OST_NOT_LEADER;
    if (!raft_configuration_is_target(target))
        return OST_INVALID_ARGUMENT;
    /* One change at a time, and none before a commit of the own term: else two leaders could change
     * the same configuration into two whose quorums do not meet (Ongaro, 2015). */
    if (raft->commit_index < raft->term_opening_index) {
        COVER(CHANGE_BEFORE_COMMIT);
        return OST_NOT_READY;
    }
    if (raft->transfer_to != 0)
        return OST_NOT_READY;
    const struct raft_configuration *from = raft_get_configuration(raft);
    if (raft_configuration_index(raft) > raft->commit_index || raft_configuration_is_joint(from)) {
        COVER(CHANGE_UPON_CHANGE);
        return OST_CONFLICT;
    }
    if (target->epoch < from->epoch)
        return OST_CONFLICT; /* R7: a wish that a newer one has replaced */
    if (raft_configuration_is_same(from, target))
        return OST_EXISTS;
    if (!raft_configuration_join(from, target, &joint))
        return OST_INVALID_ARGUMENT;
    if (!raft_configuration_has_caught_up(raft, &joint))
        return OST_LEARNER_BEHIND;
    if (!raft_configuration_has_live_quorum(raft, &joint)) {
        COVER(CHANGE_WITHOUT_QUORUM);
        return OST_NOT_READY;
    }
    raft_configuration_append(raft, &joint, event->configure.heard_timestamp);
    raft->update->proposed_index = raft_log_last_index(&raft->log);
    raft->update->proposed_term = raft->term;
    return OST_OK;
}

void raft_configuration_advance(struct raft *raft)
{
    const struct raft_configuration *joint = raft_get_configuration(raft);
    struct raft_configuration next = {.epoch = joint->epoch};
    if (raft_configuration_index(raft) > raft->commit_index)
        return;
    if (!raft_configuration_is_joint(joint)) {
        if (!raft_configuration_self_votes(raft))
            raft_transfer_leave(raft);
        return;
    }
    /* Dissertation, 4.3: once the joint configuration is committed, the leader of the day, who need
     * not be the one that began, goes on to the new one. */
    for (uint32_t i = 0; i < joint->members_count; i++) {
        struct raft_member member = joint->members[i];
        if (member.voter_old && !member.voter_new)
            continue;
        member.voter_old = member.voter_new;
        next.members[next.members_count++] = member;
    }
    raft_configuration_append(raft, &next, 0);
}

const struct raft_configuration_at *raft_configuration_in_force(const struct raft *raft)
{
    return &raft->configurations[raft->configurations_count - 1];
}

void raft_configuration_push(struct raft *raft, raft_index_t index,
                             const struct raft_configuration *configuration)
{
    if (raft->configurations_count == raft->configurations_capacity) {
        raft->configurations_capacity = raft->configurations_capacity * 2 + 2;
        raft->configurations = memory_realloc(
            raft->configurations, raft->configurations_capacity * sizeof *raft->configurations);
    }
    ASSERT(raft->configurations_count == 0 || raft_configuration_in_force(raft)->index < index);
    raft->configurations[raft->configurations_count++] =
        (struct raft_configuration_at){.index = index, .configuration = *configuration};
}

void raft_configuration_roll_back(struct raft *raft, raft_index_t from)
{
    while (raft->configurations_count > 1 && raft_configuration_in_force(raft)->index >= from)
        raft->configurations_count--;
    ASSERT(raft_configuration_in_force(raft)->index < from);
}

void raft_configuration_prune(struct raft *raft)
{
    uint32_t cut_count = 0;
    while (cut_count + 1 < raft->configurations_count &&
           raft->configurations[cut_count + 1].index <= raft->commit_index)
        cut_count++;
    if (cut_count == 0)
        return;
    raft->configurations_count -= cut_count;
    memmove(raft->configurations, raft->configurations + cut_count,
            raft->configurations_count * sizeof *raft->configurations);
}

bool raft_configuration_self_votes(const struct raft *raft)
{
    const struct raft_member *self =
        raft_configuration_find(raft_get_configuration(raft), raft->options.replica);
    return self && raft_member_votes(self);
}

store_id_t raft_configuration_store(const struct raft *raft, replica_id_t replica)
{
    const struct raft_member *member =
        raft_configuration_find(raft_get_configuration(raft), replica);
    return member ? member->store : 0;
}

const struct raft_configuration *raft_get_configuration(const struct raft *raft)
{
    return &raft_configuration_in_force(raft)->configuration;
}

raft_index_t raft_configuration_index(const struct raft *raft)
{
    return raft_configuration_in_force(raft)->index;
}
