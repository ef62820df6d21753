/* raft.c: the step: an event is checked, handed to the file that knows it, and what came of it is
 * brought into one update. */
#include "base/memory.h"
#include "base/sometimes.h"
#include "raft/raft_internal.h"

#include <stdlib.h>

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {"follower", "pre_candidate", "candidate", "leader"};
    ASSERT((size_t)role < sizeof names / sizeof *names);
    return names[role];
}

void raft_options_default(struct raft_options *out_options)
{
    *out_options = (struct raft_options){
        .heartbeat_ms = 50,
        .election_timeout_ms_min = 500,
        .election_timeout_ms_max = 1000,
        .inflight_messages_max = 64,
        .inflight_bytes_max = 4u << 20,
        .message_bytes_max = 512u << 10,
        .uncommitted_bytes_max = UINT64_C(128) << 20,
        .learner_lag_entries_max = 1000,
        .lease_drift_percent = 10,
    };
}

int raft_options_check(const struct raft_options *options, const char **out_why)
{
    *out_why = NULL;
    if (options->heartbeat_ms == 0 || options->heartbeat_ms >= options->election_timeout_ms_min)
        *out_why = "the heartbeat must be shorter than the shortest election timeout";
    else if (options->election_timeout_ms_min > options->election_timeout_ms_max)
        *out_why = "the shortest election timeout is above the longest";
    else if (options->inflight_messages_max == 0)
        *out_why = "a window of no messages moves nothing";
    else if (options->lease_drift_percent >= 100)
        *out_why = "clocks that drift by 100 percent or more measure nothing";
    else if (options->lease_ms > UINT64_C(1) * options->election_timeout_ms_min *
                                     (100 - options->lease_drift_percent) / 100)
        *out_why = "the lease must be shorter than the shortest election timeout by the drift of "
                   "clocks";
    return *out_why ? OST_INVALID_ARGUMENT : OST_OK;
}

/* The update. */

void raft_update_init(struct raft_update *update)
{
    *update = (struct raft_update){0};
}

void raft_update_reset(struct raft_update *update)
{
    struct raft_message *messages = update->messages;
    uint32_t messages_capacity = update->messages_capacity;
    *update = (struct raft_update){.messages = messages, .messages_capacity = messages_capacity};
}

void raft_update_fini(struct raft_update *update)
{
    free(update->messages);
    *update = (struct raft_update){0};
}

struct raft_message *raft_send(struct raft *raft, enum raft_message_type type, replica_id_t to)
{
    struct raft_update *update = raft->update;
    if (update->messages_count == update->messages_capacity) {
        update->messages_capacity = update->messages_capacity * 2 + 8;
        update->messages =
            memory_realloc(update->messages, update->messages_capacity * sizeof *update->messages);
    }
    struct raft_message *message = &update->messages[update->messages_count++];
    *message = (struct raft_message){
        .type = type,
        .from = raft->options.replica,
        .to = to,
        .to_store = raft_configuration_store(raft, to),
        .term = raft->term,
    };
    return message;
}

/* State that more than one file changes. */

void raft_set_role(struct raft *raft, enum raft_role role)
{
    static const bool allowed[4][4] = {
        [RAFT_FOLLOWER] = {[RAFT_FOLLOWER] = true,
                           [RAFT_PRE_CANDIDATE] = true, /* its timer fired */
                           [RAFT_CANDIDATE] = true},    /* it was told to stand at once */
        [RAFT_PRE_CANDIDATE] = {[RAFT_FOLLOWER] = true,
                                [RAFT_PRE_CANDIDATE] = true, /* its timer fired again */
                                [RAFT_CANDIDATE] = true},    /* a quorum would vote for it */
        [RAFT_CANDIDATE] = {[RAFT_FOLLOWER] = true,
                            [RAFT_PRE_CANDIDATE] = true, /* nobody won */
                            [RAFT_LEADER] = true},       /* a quorum voted for it */
        [RAFT_LEADER] = {[RAFT_FOLLOWER] = true},
    };
    ASSERT(allowed[raft->role][role]);
    raft->role = role;
}

void raft_set_hard_state(struct raft *raft, raft_term_t term, replica_id_t vote)
{
    /* A term never falls, and a vote once given stands for its term. */
    ASSERT(term > raft->term || (term == raft->term && raft->vote == 0));
    raft->term = term;
    raft->vote = vote;
    raft->step_hard_state_changed = true;
    raft->step_report = true;
}

void raft_append_entry(struct raft *raft, const struct raft_entry *entry)
{
    raft_log_append(&raft->log, entry);
    if (raft->unreported_first == 0 || raft->unreported_first > entry->index)
        raft->unreported_first = entry->index;
    if (raft->role == RAFT_LEADER)
        raft->uncommitted_bytes += blob_bytes(entry->payload).bytes_count;
    if (entry->type == RAFT_ENTRY_CONFIGURATION) {
        struct raft_configuration configuration;
        if (!raft_configuration_unpack(blob_bytes(entry->payload), &configuration))
            ASSERT(!"a configuration is checked before it is appended");
        if (raft_configuration_is_joint(&configuration))
            COVER(JOINT_ENTERED);
        else if (raft_configuration_is_joint(raft_get_configuration(raft)))
            COVER(JOINT_LEFT);
        raft_configuration_push(raft, entry->index, &configuration);
        if (raft->role == RAFT_LEADER)
            raft_replicate_configuration_changed(raft);
    }
}

/* An entry that was overwritten must not be taken for durable when the unit that carried the old
 * one is reported, not even if the same entry comes back later: each unit is lowered when that
 * happens. */
void raft_persist_void_from(struct raft *raft, raft_index_t from)
{
    for (uint32_t i = 0; i < raft->units_count; i++) {
        struct raft_persist_unit *unit =
            &raft->units[(raft->units_first + i) % raft->units_capacity];
        if (unit->last_index >= from) {
            COVER(UNIT_VOIDED);
            unit->last_index = from - 1;
        }
    }
}

void raft_truncate(struct raft *raft, raft_index_t from)
{
    ASSERT(from > raft->commit_index);
    ASSERT(raft->role != RAFT_LEADER); /* leader append-only, figure 3 */
    COVER(LOG_TRUNCATED);
    if (raft_configuration_index(raft) >= from)
        COVER(LOG_TRUNCATED_CONFIGURATION);
    raft_log_truncate(&raft->log, from);
    raft_configuration_roll_back(raft, from);
    raft_persist_void_from(raft, from);
    if (raft->durable_index >= from) {
        COVER(LOG_TRUNCATED_DURABLE);
        raft->durable_index = from - 1;
    }
}

void raft_set_commit_index(struct raft *raft, raft_index_t commit_index)
{
    ASSERT(commit_index > raft->commit_index);
    ASSERT(commit_index <= raft_log_last_index(&raft->log));
    raft->commit_index = commit_index;
    raft_configuration_prune(raft);
}

/* Persistence. */

static void raft_persist_push(struct raft *raft, uint64_t id, raft_index_t last_index)
{
    if (raft->units_count == raft->units_capacity) {
        uint32_t capacity = raft->units_capacity * 2 + 8;
        struct raft_persist_unit *units = memory_alloc(capacity * sizeof *units);
        for (uint32_t i = 0; i < raft->units_count; i++)
            units[i] = raft->units[(raft->units_first + i) % raft->units_capacity];
        free(raft->units);
        raft->units = units;
        raft->units_first = 0;
        raft->units_capacity = capacity;
    }
    uint32_t slot = (raft->units_first + raft->units_count++) % raft->units_capacity;
    raft->units[slot] = (struct raft_persist_unit){.id = id, .last_index = last_index};
}

static void raft_persisted(struct raft *raft, uint64_t persist_id)
{
    ASSERT(persist_id <= raft->persist_id_last);
    if (persist_id <= raft->persisted_id)
        return;
    raft->persisted_id = persist_id;
    while (raft->units_count != 0 && raft->units[raft->units_first].id <= persist_id) {
        raft_index_t last_index = raft->units[raft->units_first].last_index;
        if (last_index > raft->durable_index)
            raft->durable_index = last_index;
        raft->units_first = (raft->units_first + 1) % raft->units_capacity;
        raft->units_count--;
    }
    raft_election_persisted(raft);
    raft_replicate_commit(raft);
}

/* The unit that makes `index` durable. */
static uint64_t raft_persist_unit_of(const struct raft *raft, raft_index_t index)
{
    if (index <= raft->durable_index)
        return 0;
    for (uint32_t i = 0; i < raft->units_count; i++) {
        const struct raft_persist_unit *unit =
            &raft->units[(raft->units_first + i) % raft->units_capacity];
        if (unit->last_index >= index)
            return unit->id;
    }
    ASSERT(!"what is acknowledged is durable or on its way there");
    return 0;
}

static void raft_report_unit(struct raft *raft)
{
    struct raft_update *update = raft->update;
    if (!raft->step_hard_state_changed && !raft->step_log_reset && raft->unreported_first == 0)
        return;
    update->persist_id = ++raft->persist_id_last;
    update->hard_state_changed = raft->step_hard_state_changed;
    update->term = raft->term;
    update->vote = raft->vote;
    if (raft->step_hard_state_changed)
        raft->hard_state_id = update->persist_id;
    if (raft->step_log_reset) {
        update->log_reset = true;
        update->reset_index = raft->log.base_index;
        update->reset_term = raft->log.base_term;
    }
    raft_index_t last_index = 0;
    if (raft->unreported_first != 0) {
        last_index = raft_log_last_index(&raft->log);
        ASSERT(raft->unreported_first <= last_index);
        update->persist_first = raft->unreported_first;
        update->persist_last = last_index;
        raft->unreported_first = 0;
    }
    raft_persist_push(raft, update->persist_id, last_index);
}

/* R1, for every message of the step: the term and vote that it was sent under are durable first,
 * and an acknowledgement waits for what it acknowledges. */
static void raft_report_messages(struct raft *raft, uint32_t messages_first)
{
    for (uint32_t i = messages_first; i < raft->update->messages_count; i++) {
        struct raft_message *message = &raft->update->messages[i];
        uint64_t after = raft->hard_state_id > raft->persisted_id ? raft->hard_state_id : 0;
        if (message->type == RAFT_MSG_APPEND_ANSWER && !message->rejected &&
            message->term == raft->term) {
            uint64_t unit_id = raft_persist_unit_of(raft, message->index);
            after = unit_id > after ? unit_id : after;
        }
        if (raft->step_log_reset && raft->update->persist_id > after)
            after = raft->update->persist_id;
        message->after_persist_id = after;
    }
}

/* The step. */

static int raft_propose(struct raft *raft, const struct raft_event *event)
{
    enum raft_entry_type type = event->propose.entry_type;
    uint64_t bytes_count = blob_bytes(event->propose.payload).bytes_count;
    struct raft_entry entry = {
        .index = raft_log_last_index(&raft->log) + 1,
        .term = raft->term,
        .log_timestamp = raft_log_last_timestamp(&raft->log),
        .type = type,
        .payload = event->propose.payload,
    };
    if (raft->role != RAFT_LEADER)
        return OST_NOT_LEADER;
    if (type != RAFT_ENTRY_COMMAND)
        return OST_INVALID_ARGUMENT;
    if (raft->transfer_to != 0)
        return OST_NOT_READY;
    if (raft->uncommitted_bytes != 0 &&
        raft->uncommitted_bytes + bytes_count > raft->options.uncommitted_bytes_max)
        return OST_LOG_FULL;
    if (entry.log_timestamp < event->propose.heard_timestamp)
        entry.log_timestamp = event->propose.heard_timestamp; /* R8 */
    raft_append_entry(raft, &entry);
    raft->update->proposed_index = entry.index;
    raft->update->proposed_term = entry.term;
    return OST_OK;
}

/* All of what a turn brought goes out at once: one unit to persist, one append to each follower,
 * one read round. */
static void raft_turn_ended(struct raft *raft)
{
    raft->step_report = true;
    if (raft->role != RAFT_LEADER)
        return;
    raft->announced_index = raft_log_last_index(&raft->log);
    raft_read_begin_round(raft);
    raft_lease_renew(raft);
    raft_replicate_to_all(raft);
    raft_read_send_round(raft);
    raft_transfer_advance(raft);
}

static void raft_timer_fired(struct raft *raft)
{
    if (raft->role == RAFT_LEADER)
        raft_replicate_timer_fired(raft);
    else
        raft_election_timer_fired(raft);
}

/* R9. The term stays: nobody has been chosen in place of this one yet. */
static void raft_storage_slow(struct raft *raft, bool slow)
{
    raft->storage_slow = slow;
    if (!slow || raft->role == RAFT_FOLLOWER)
        return;
    if (raft->role == RAFT_LEADER)
        COVER(LEADER_SLOW_DISK);
    raft_become_follower(raft, raft->term, 0);
}

static void raft_recv_outdated(struct raft *raft, const struct raft_message *message)
{
    /* Who asks in an old term is told of the new one; an old leader steps down by it. */
    if (message->type == RAFT_MSG_VOTE_REQUEST) {
        raft_send(raft, RAFT_MSG_VOTE_ANSWER, message->from)->rejected = true;
    } else if (message->type == RAFT_MSG_APPEND_REQUEST) {
        COVER(APPEND_OF_OLD_LEADER);
        struct raft_message *answer = raft_send(raft, RAFT_MSG_APPEND_ANSWER, message->from);
        answer->rejected = true;
        answer->index = message->index;
    }
}

/* What no correct member sends; checked before anything changes. */
static int raft_message_check(const struct raft *raft, const struct raft_message *message)
{
    if (message->from == 0 || message->from == raft->options.replica ||
        message->to != raft->options.replica)
        return OST_PROTOCOL;
    if (message->term > raft->term && message->term - raft->term > RAFT_TERM_JUMP_MAX)
        return OST_PROTOCOL;
    switch (message->type) {
    case RAFT_MSG_PRE_VOTE_REQUEST:
    case RAFT_MSG_PRE_VOTE_ANSWER:
    case RAFT_MSG_VOTE_REQUEST:
    case RAFT_MSG_VOTE_ANSWER:
    case RAFT_MSG_TIMEOUT_NOW:
        return OST_OK;
    case RAFT_MSG_APPEND_REQUEST:
        return raft_append_check(raft, message);
    case RAFT_MSG_APPEND_ANSWER:
        return raft_append_answer_check(raft, message);
    case RAFT_MSG_SNAPSHOT_ACK:
        break; /* between hosts */
    }
    return OST_PROTOCOL;
}

static int raft_recv(struct raft *raft, const struct raft_message *message)
{
    int status = raft_message_check(raft, message);
    if (status != OST_OK)
        return status;
    /* Pre-votes are outside of the rule that the later term wins: they speak of terms to come. */
    if (message->type == RAFT_MSG_PRE_VOTE_REQUEST) {
        raft_recv_pre_vote_request(raft, message);
        return OST_OK;
    }
    if (message->type == RAFT_MSG_PRE_VOTE_ANSWER) {
        raft_recv_pre_vote_answer(raft, message);
        return OST_OK;
    }
    if (message->term < raft->term) {
        raft_recv_outdated(raft, message);
        return OST_OK;
    }
    if (message->term > raft->term) {
        /* Dissertation, 4.2.3: who hears a leader disregards requests for its vote, term and all.
         */
        if (message->type == RAFT_MSG_VOTE_REQUEST && !message->forced && raft_hears_leader(raft)) {
            COVER(VOTE_DISREGARDED);
            return OST_OK;
        }
        raft_become_follower(raft, message->term,
                             message->type == RAFT_MSG_APPEND_REQUEST ? message->from : 0);
    }
    switch (message->type) {
    case RAFT_MSG_VOTE_REQUEST:
        raft_recv_vote_request(raft, message);
        break;
    case RAFT_MSG_VOTE_ANSWER:
        raft_recv_vote_answer(raft, message);
        break;
    case RAFT_MSG_APPEND_REQUEST:
        raft_recv_append_request(raft, message);
        break;
    case RAFT_MSG_APPEND_ANSWER:
        raft_recv_append_answer(raft, message);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        raft_recv_timeout_now(raft, message);
        break;
    case RAFT_MSG_PRE_VOTE_REQUEST:
    case RAFT_MSG_PRE_VOTE_ANSWER:
    case RAFT_MSG_SNAPSHOT_ACK:
        break;
    }
    return OST_OK;
}

static int raft_log_cut_event(struct raft *raft, raft_index_t cut_index)
{
    /* What is applied is committed and durable (R5), and no more than that is ever flushed. */
    if (cut_index > raft->commit_index || cut_index > raft->durable_index)
        return OST_INVALID_ARGUMENT;
    raft_log_cut(&raft->log, cut_index);
    return OST_OK;
}

static int raft_dispatch(struct raft *raft, const struct raft_event *event)
{
    switch (event->type) {
    case RAFT_EV_MSG_RECEIVED:
        return raft_recv(raft, event->message);
    case RAFT_EV_PERSISTED:
        raft_persisted(raft, event->persist_id);
        return OST_OK;
    case RAFT_EV_PROPOSED:
        return raft_propose(raft, event);
    case RAFT_EV_CONFIGURATION_PROPOSED:
        return raft_configuration_propose(raft, event);
    case RAFT_EV_READ_REQUESTED:
        return raft_read_request(raft, event);
    case RAFT_EV_TIMER_FIRED:
        raft_timer_fired(raft);
        return OST_OK;
    case RAFT_EV_TURN_ENDED:
        raft_turn_ended(raft);
        return OST_OK;
    case RAFT_EV_LOG_CUT:
        return raft_log_cut_event(raft, event->cut_index);
    case RAFT_EV_PEER_RESET:
        raft_replicate_peer_reset(raft, event->peer_store);
        return OST_OK;
    case RAFT_EV_TRANSFER:
        return raft_transfer_begin(raft, event->transfer_to);
    case RAFT_EV_SNAPSHOT_OFFERED:
        return raft_snapshot_offered(raft, event);
    case RAFT_EV_SNAPSHOT_INSTALLED:
        return raft_snapshot_installed(raft, event);
    case RAFT_EV_SNAPSHOT_SENT:
        return raft_replicate_snapshot_sent(raft, event->snapshot_sent.replica,
                                            event->snapshot_sent.index);
    case RAFT_EV_STORAGE_SLOW:
        raft_storage_slow(raft, event->slow);
        return OST_OK;
    }
    return OST_INVALID_ARGUMENT;
}

/* What a step begins with, as far as its end is held against it. */
struct raft_before {
    enum raft_role role;
    raft_term_t term;
    replica_id_t leader;
    raft_index_t commit_index;
    uint32_t messages_count;
};

static void raft_check_invariants(const struct raft *raft, const struct raft_before *before)
{
    raft_index_t last_index = raft_log_last_index(&raft->log);
    raft_term_t commit_term = 0;
    ASSERT(raft_log_first_index(&raft->log) <= raft->commit_index + 1); /* L1 */
    ASSERT(raft->commit_index <= last_index);                           /* L1 */
    ASSERT(raft_log_last_term(&raft->log) <= raft->term);               /* L2 */
    ASSERT(raft->term >= before->term);                                 /* L3 */
    ASSERT(raft->commit_index >= before->commit_index);                 /* L3 */
    ASSERT(raft_log_term(&raft->log, raft->commit_index, &commit_term));
    if (raft->role == RAFT_LEADER && before->role == RAFT_LEADER &&
        raft->commit_index > before->commit_index)
        ASSERT(commit_term == raft->term);     /* L4 */
    ASSERT(raft->durable_index <= last_index); /* L5 */
    ASSERT(raft->log.base_index <= raft->durable_index);
    ASSERT(raft->unreported_first <= last_index);
    ASSERT(raft->configurations_count != 0 && raft_configuration_index(raft) <= last_index);
    ASSERT(raft->configurations[0].index <= raft->commit_index);
    if (raft->role == RAFT_LEADER) {
        ASSERT(raft->vote == raft->options.replica && raft->leader == raft->options.replica);
        ASSERT(raft->progress_count == raft_get_configuration(raft)->members_count);
        ASSERT(raft->announced_index <= last_index);
    } else {
        ASSERT(raft->read_rounds_count == 0 && raft->read_waiting_id == 0);
        ASSERT(raft->progress_count == 0 && raft->transfer_to == 0 && raft->leaving_count == 0);
    }
    ASSERT(raft->progress_count + raft->leaving_count <= RAFT_MEMBERS_MAX);
    for (uint32_t i = 0; i < raft->progress_count + raft->leaving_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        ASSERT(i >= raft->progress_count ||
               progress->replica == raft_get_configuration(raft)->members[i].replica);
        ASSERT(progress->match_index < progress->next_index);
        ASSERT(progress->next_index <= last_index + 1);
    }
}

static void raft_step_begin(struct raft *raft, const struct raft_event *event,
                            struct raft_update *update)
{
    if (event->now_ns > raft->now_ns)
        raft->now_ns = event->now_ns;
    raft->update = update;
    raft->step_report = false;
    raft->step_hard_state_changed = false;
    raft->step_log_reset = false;
}

static void raft_step_end(struct raft *raft, const struct raft_before *before)
{
    struct raft_update *update = raft->update;
    if (raft->step_report)
        raft_report_unit(raft);
    raft_report_messages(raft, before->messages_count);
    update->commit_index = raft->commit_index;
    update->durable_index = raft->durable_index;
    update->role_changed = update->role_changed || raft->role != before->role ||
                           raft->term != before->term || raft->leader != before->leader;
    update->deadline_ns =
        raft->role == RAFT_LEADER ? raft_replicate_deadline(raft) : raft->election_deadline_ns;
    raft_check_invariants(raft, before);
    raft->update = NULL;
}

int raft_step(struct raft *raft, const struct raft_event *event, struct raft_update *update)
{
    const struct raft_before before = {
        .role = raft->role,
        .term = raft->term,
        .leader = raft->leader,
        .commit_index = raft->commit_index,
        .messages_count = update->messages_count,
    };
    raft_step_begin(raft, event, update);
    int status = raft_dispatch(raft, event);
    raft_step_end(raft, &before);
    return status;
}

/* Life. */

/* Nobody else could answer a group of one: it need not wait before it stands. */
static bool raft_is_sole_voter(const struct raft *raft)
{
    int position = raft_configuration_position(raft_get_configuration(raft), raft->options.replica);
    return position >= 0 &&
           raft_configuration_has_quorum(raft_get_configuration(raft), 1u << position);
}

struct raft *raft_new(const struct raft_options *options, const struct raft_snapshot_meta *snapshot,
                      raft_term_t term, replica_id_t vote, const struct raft_entry *entries,
                      size_t entries_count, raft_index_t commit_index_min, nanoseconds_t now_ns)
{
    const char *why;
    ASSERT(options->replica != 0 && raft_options_check(options, &why) == OST_OK);
    struct raft *raft = memory_alloc_zeroed(1, sizeof *raft);
    raft->options = *options;
    raft->now_ns = now_ns;
    /* A snapshot can be durable before the term that it was offered in. No vote of that term can
     * have left, as it would have been in the log by then. */
    raft->term = term < snapshot->term ? snapshot->term : term;
    raft->vote = term < snapshot->term ? 0 : vote;
    raft->role = RAFT_FOLLOWER;
    random_init(&raft->random, options->seed);
    raft_log_init(&raft->log, snapshot->index, snapshot->term, snapshot->log_timestamp);
    raft_configuration_push(raft, snapshot->configuration_index, &snapshot->configuration);
    for (size_t i = 0; i < entries_count; i++)
        raft_append_entry(raft, &entries[i]);
    raft->unreported_first = 0; /* they come from the disk */
    raft->durable_index = raft_log_last_index(&raft->log);
    raft->commit_index = snapshot->index;
    if (commit_index_min > raft->durable_index)
        commit_index_min = raft->durable_index;
    if (commit_index_min > raft->commit_index)
        raft_set_commit_index(raft, commit_index_min);
    ASSERT(raft_log_last_term(&raft->log) <= raft->term);
    /* What it promised before it was started, it does not know. */
    raft->leader_heard_ns = now_ns;
    raft_election_timer_reset(raft);
    if (raft_is_sole_voter(raft))
        raft->election_deadline_ns = now_ns;
    return raft;
}

void raft_free(struct raft *raft)
{
    if (!raft)
        return;
    for (uint32_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        free(raft->progress[i].inflight);
    raft_log_fini(&raft->log);
    free(raft->configurations);
    free(raft->units);
    free(raft);
}

void raft_get_status(const struct raft *raft, struct raft_status *out_status)
{
    *out_status = (struct raft_status){
        .role = raft->role,
        .term = raft->term,
        .vote = raft->vote,
        .leader = raft->leader,
        .leader_store = raft->leader ? raft_configuration_store(raft, raft->leader) : 0,
        .first_index = raft_log_first_index(&raft->log),
        .last_index = raft_log_last_index(&raft->log),
        .commit_index = raft->commit_index,
        .durable_index = raft->durable_index,
        .term_opening_index = raft->term_opening_index,
        .last_log_timestamp = raft_log_last_timestamp(&raft->log),
        .log_bytes = raft->log.bytes_count,
        .log_appended_bytes = raft->log.appended_bytes,
    };
}

const struct raft_entry *raft_log_entry(const struct raft *raft, raft_index_t index)
{
    return raft_log_get(&raft->log, index);
}
