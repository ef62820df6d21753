/* raft_append.c: the follower's side of replication (figure 2, AppendEntries; section 5.3), and
 * what a snapshot does to its log (section 7). */
#include "raft/raft_internal.h"

#include "base/sometimes.h"

static bool raft_append_entry_is_valid(const struct raft_message *message, uint32_t i)
{
    const struct raft_entry *entry = &message->entries[i];
    raft_term_t term_before = i ? message->entries[i - 1].term : message->index_term;
    if (entry->index != message->index + 1 + i || entry->term < term_before ||
        entry->term > message->term)
        return false;
    if (i != 0 && entry->log_timestamp < message->entries[i - 1].log_timestamp)
        return false;
    switch (entry->type) {
    case RAFT_ENTRY_TERM_OPENING:
    case RAFT_ENTRY_COMMAND:
        return true;
    case RAFT_ENTRY_CONFIGURATION:
        return raft_entry_is_valid_configuration(entry);
    }
    return false;
}

/* Figure 2, 2: reply false if the log has no entry at prevLogIndex whose term matches prevLogTerm.
 * What is committed here is in the log of every leader to come (leader completeness), so a request
 * that begins below our commit index matches, even where we no longer have the entries. */
static bool raft_append_fits(const struct raft *raft, const struct raft_message *message)
{
    return message->index <= raft->commit_index ||
           raft_log_matches(&raft->log, message->index, message->index_term);
}

/* What is taken from it goes on from what stays: nothing committed is replaced (figure 3, leader
 * completeness), and neither terms (L2) nor timestamps (R8) fall. */
static bool raft_append_goes_on(const struct raft *raft, const struct raft_message *message)
{
    for (uint32_t i = 0; i < message->entries_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        if (entry->index <= raft->log.base_index ||
            raft_log_matches(&raft->log, entry->index, entry->term))
            continue;
        const struct raft_entry *before = raft_log_get(&raft->log, entry->index - 1);
        raft_term_t term = before ? before->term : raft->log.base_term;
        timestamp_t timestamp = before ? before->log_timestamp : raft->log.base_timestamp;
        return entry->index > raft->commit_index && entry->term >= term &&
               entry->log_timestamp >= timestamp;
    }
    return true;
}

int raft_append_check(const struct raft *raft, const struct raft_message *message)
{
    if (message->term == raft->term && raft->role == RAFT_LEADER)
        return OST_PROTOCOL; /* two leaders of one term */
    if (message->index == 0 && message->index_term != 0)
        return OST_PROTOCOL;
    for (uint32_t i = 0; i < message->entries_count; i++) {
        if (!raft_append_entry_is_valid(message, i))
            return OST_PROTOCOL;
    }
    /* An old leader's entries are not taken, and may well contradict what is here. */
    if (message->term >= raft->term && raft_append_fits(raft, message) &&
        !raft_append_goes_on(raft, message))
        return OST_PROTOCOL;
    return OST_OK;
}

/* Says where the two logs may agree: at or below the request's index, and of no later term than the
 * leader has there. One round trip for each term that differs, instead of one for each entry. */
static void raft_append_reject(struct raft *raft, const struct raft_message *message)
{
    COVER(APPEND_REJECTED);
    struct raft_message *answer = raft_send(raft, RAFT_MSG_APPEND_ANSWER, message->from);
    answer->rejected = true;
    answer->index = message->index;
    answer->read_round = message->read_round;
    answer->reject_hint_index =
        raft_log_find_conflict(&raft->log, message->index, message->index_term);
    if (answer->reject_hint_index < raft->commit_index)
        answer->reject_hint_index = raft->commit_index;
    if (!raft_log_term(&raft->log, answer->reject_hint_index, &answer->reject_hint_term))
        ASSERT(!"the commit index lies in the log");
}

/* Figure 2, 3 and 4. An entry that is here already stays, and so does what follows it: a request
 * that was overtaken by a later one must not shorten the log. */
static void raft_append_entries(struct raft *raft, const struct raft_message *message)
{
    for (uint32_t i = 0; i < message->entries_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        if (entry->index <= raft->log.base_index ||
            raft_log_matches(&raft->log, entry->index, entry->term))
            continue;
        if (entry->index <= raft_log_last_index(&raft->log))
            raft_truncate(raft, entry->index);
        raft_append_entry(raft, entry);
    }
    raft->step_report = true;
}

void raft_recv_append_request(struct raft *raft, const struct raft_message *message)
{
    if (raft->role != RAFT_FOLLOWER || raft->leader != message->from)
        raft_become_follower(raft, raft->term, message->from);
    raft->leader_heard_ns = raft->now_ns;
    raft_election_timer_reset(raft);
    if (!raft_append_fits(raft, message)) {
        raft_append_reject(raft, message);
        return;
    }
    raft_append_entries(raft, message);
    if (message->entries_count != 0 &&
        message->index + message->entries_count < raft_log_last_index(&raft->log))
        COVER(APPEND_OVERTAKEN);

    /* Figure 2, 5: commitIndex = min(leaderCommit, index of last new entry). */
    raft_index_t match_index = message->index + message->entries_count;
    raft_index_t commit_index =
        message->commit_index < match_index ? message->commit_index : match_index;
    if (commit_index > raft->commit_index)
        raft_set_commit_index(raft, commit_index);
    if (match_index < raft->commit_index)
        match_index = raft->commit_index;

    /* The answer waits until what it claims is durable (R1). One to a heartbeat does not wait: it
     * claims what is durable, so that a slow disk does not look like a dead replica. */
    if (message->entries_count == 0 && match_index > raft->durable_index)
        match_index = raft->durable_index;
    struct raft_message *answer = raft_send(raft, RAFT_MSG_APPEND_ANSWER, message->from);
    answer->index = match_index;
    answer->read_round = message->read_round;
    answer->commit_index = raft->commit_index;
}

int raft_snapshot_offered(struct raft *raft, const struct raft_event *event)
{
    const struct raft_snapshot_meta *meta = event->snapshot.meta;
    raft_term_t term = event->snapshot.term;
    if (term < raft->term || term - raft->term > RAFT_TERM_JUMP_MAX ||
        (term == raft->term && raft->role == RAFT_LEADER) || meta->index <= raft->commit_index ||
        (raft_log_matches(&raft->log, meta->index, meta->term) && !RARE(SNAPSHOT_TAKEN_IN_VAIN))) {
        COVER(SNAPSHOT_REFUSED);
        return OST_CONFLICT;
    }
    if (term > raft->term || raft->role != RAFT_FOLLOWER || raft->leader != event->snapshot.from)
        raft_become_follower(raft, term, event->snapshot.from);
    raft->leader_heard_ns = raft->now_ns;
    raft_election_timer_reset(raft);
    return OST_OK;
}

/* Section 7: a snapshot of entries that the log has leaves what follows them in place: it may have
 * been acknowledged, and counted. Anything else is forgotten as a whole. */
static void raft_snapshot_restart_log(struct raft *raft, const struct raft_snapshot_meta *meta)
{
    bool keep = raft_log_matches(&raft->log, meta->index, meta->term);
    if (raft_log_last_index(&raft->log) > meta->index) {
        if (keep)
            COVER(SNAPSHOT_KEPT_ENTRIES);
        else
            COVER(SNAPSHOT_OVER_LONGER_LOG);
    }
    if (keep && raft->durable_index >= meta->index) {
        raft_log_cut(&raft->log, meta->index);
        return;
    }
    if (keep) {
        raft_log_cut(&raft->log, meta->index);
    } else {
        raft_log_reset(&raft->log, meta->index, meta->term, meta->log_timestamp);
        raft_persist_void_from(raft, meta->index + 1);
    }
    raft->durable_index = meta->index;
    /* The log on disk ends before the snapshot, or disagrees with it. It begins anew, and in the
     * same unit it gets what is kept. */
    raft->step_log_reset = true;
    raft->step_report = true;
    raft->unreported_first = raft_log_last_index(&raft->log) > meta->index ? meta->index + 1 : 0;
}

static void raft_snapshot_restart_configurations(struct raft *raft,
                                                 const struct raft_snapshot_meta *meta)
{
    raft->configurations_count = 0;
    raft_configuration_push(raft, meta->configuration_index, &meta->configuration);
    for (raft_index_t index = meta->index + 1; index <= raft_log_last_index(&raft->log); index++) {
        const struct raft_entry *entry = raft_log_get(&raft->log, index);
        struct raft_configuration configuration;
        if (entry->type != RAFT_ENTRY_CONFIGURATION)
            continue;
        if (!raft_configuration_unpack(blob_bytes(entry->payload), &configuration))
            ASSERT(!"a configuration is checked before it is appended");
        raft_configuration_push(raft, index, &configuration);
    }
}

int raft_snapshot_installed(struct raft *raft, const struct raft_event *event)
{
    const struct raft_snapshot_meta *meta = event->snapshot.meta;
    if (meta->index <= raft->commit_index || raft->role == RAFT_LEADER)
        return OST_CONFLICT;
    if (raft->role != RAFT_FOLLOWER) /* the votes were counted by another configuration */
        raft_become_follower(raft, raft->term, 0);
    raft_snapshot_restart_log(raft, meta);
    raft_snapshot_restart_configurations(raft, meta);
    raft_set_commit_index(raft, meta->index);
    if (raft->leader != 0) {
        struct raft_message *answer = raft_send(raft, RAFT_MSG_APPEND_ANSWER, raft->leader);
        answer->index = meta->index;
    }
    return OST_OK;
}
