/* raft_replicate.c: the leader's side of replication: what goes to each follower and when, what the
 * answers say, and what is committed by it.
 *
 * A follower is in one of three states (raft_internal.h):
 *
 *   PROBE    -> PIPELINE  it said where its log agrees with ours
 *   PIPELINE -> PROBE     it rejected, its connection broke, or its window did not move for long
 *   PROBE    -> SNAPSHOT  what it lacks was cut from our log
 *   SNAPSHOT -> PROBE     the host says how the snapshot went, or it caught up by itself
 *
 * Messages may be lost, doubled and overtaken. So match_index never falls, and an answer that
 * speaks of a place where we no longer stand is ignored. */
#include "base/memory.h"
#include "base/sometimes.h"
#include "raft/raft_internal.h"

#include <stdlib.h>

/* One that was removed and does not answer is told of it for so many of the longest timeouts. */
#define RAFT_LEAVING_TIMEOUTS 10

static void raft_progress_window_reset(struct raft_progress *progress)
{
    progress->inflight_first = 0;
    progress->inflight_count = 0;
    progress->inflight_bytes = 0;
}

static void raft_progress_probe(struct raft_progress *progress, raft_index_t next_index)
{
    progress->state = RAFT_PROGRESS_PROBE;
    progress->next_index = next_index;
    progress->paused = false;
    raft_progress_window_reset(progress);
}

static void raft_progress_pipeline(const struct raft *raft, struct raft_progress *progress)
{
    progress->state = RAFT_PROGRESS_PIPELINE;
    progress->next_index = progress->match_index + 1;
    progress->paused = false;
    progress->acked_ns = raft->now_ns;
    raft_progress_window_reset(progress);
}

static bool raft_progress_window_is_full(const struct raft *raft,
                                         const struct raft_progress *progress)
{
    return progress->inflight_count == raft->options.inflight_messages_max ||
           progress->inflight_bytes >= raft->options.inflight_bytes_max ||
           (progress->inflight_count != 0 && RARE(APPEND_WINDOW_FULL));
}

static void raft_progress_window_push(struct raft *raft, struct raft_progress *progress,
                                      raft_index_t last_index, uint64_t bytes_count)
{
    uint32_t capacity = raft->options.inflight_messages_max;
    ASSERT(progress->inflight_count < capacity);
    if (progress->inflight_count == 0)
        progress->acked_ns = raft->now_ns;
    uint32_t slot = (progress->inflight_first + progress->inflight_count) % capacity;
    progress->inflight[slot] = (struct raft_inflight){last_index, bytes_count};
    progress->inflight_count++;
    progress->inflight_bytes += bytes_count;
}

static void raft_progress_window_free(const struct raft *raft, struct raft_progress *progress)
{
    while (progress->inflight_count != 0) {
        const struct raft_inflight *oldest = &progress->inflight[progress->inflight_first];
        if (oldest->last_index > progress->match_index)
            return;
        progress->inflight_bytes -= oldest->bytes_count;
        progress->inflight_first =
            (progress->inflight_first + 1) % raft->options.inflight_messages_max;
        progress->inflight_count--;
    }
}

/* Members and those who leave. */
static uint32_t raft_replicate_slots(const struct raft *raft)
{
    return raft->progress_count + raft->leaving_count;
}

struct raft_progress *raft_replicate_progress(struct raft *raft, replica_id_t replica)
{
    if (replica == raft->options.replica)
        return NULL;
    for (uint32_t i = 0; i < raft_replicate_slots(raft); i++) {
        if (raft->progress[i].replica == replica)
            return &raft->progress[i];
    }
    return NULL;
}

/* A member that is new to this leader: nothing is known but that it exists. It counts as heard of
 * now, so that a new leader has an election timeout to find its quorum. */
static void raft_progress_init(const struct raft *raft, struct raft_progress *progress,
                               const struct raft_member *member)
{
    struct raft_inflight *inflight = progress->inflight;
    if (!inflight)
        inflight = memory_alloc(raft->options.inflight_messages_max * sizeof *inflight);
    *progress = (struct raft_progress){
        .replica = member->replica,
        .store = member->store,
        .state = RAFT_PROGRESS_PROBE,
        .next_index = raft_log_last_index(&raft->log) + 1,
        .sent_ns = raft->now_ns,
        .heard_ns = raft->now_ns,
        .acked_ns = raft->now_ns,
        .inflight = inflight,
    };
}

void raft_replicate_start(struct raft *raft)
{
    const struct raft_configuration *configuration = raft_get_configuration(raft);
    raft->progress_count = configuration->members_count;
    raft->announced_index = raft_log_last_index(&raft->log);
    raft->checked_ns = raft->now_ns;
    for (uint32_t i = 0; i < raft->progress_count; i++)
        raft_progress_init(raft, &raft->progress[i], &configuration->members[i]);
}

/* Who is not a member any more goes on being sent entries until it knows, so that it does not ask
 * for votes for ever; but not for long (dissertation, 4.2.3). */
static void raft_replicate_leave(struct raft *raft, struct raft_progress *progress)
{
    uint32_t slot = raft_replicate_slots(raft);
    if (slot == RAFT_MEMBERS_MAX)
        return;
    if (progress->left_index == 0) {
        progress->left_index = raft_configuration_index(raft);
        progress->left_until_ns =
            raft->now_ns + RAFT_LEAVING_TIMEOUTS * raft_ms(raft->options.election_timeout_ms_max);
    }
    free(raft->progress[slot].inflight);
    raft->progress[slot] = *progress;
    progress->inflight = NULL;
    raft->leaving_count++;
}

static void raft_replicate_forget(struct raft *raft, struct raft_progress *progress)
{
    struct raft_progress *last = &raft->progress[raft_replicate_slots(raft) - 1];
    ASSERT(progress >= &raft->progress[raft->progress_count] && progress <= last);
    free(progress->inflight);
    *progress = *last;
    *last = (struct raft_progress){0};
    raft->leaving_count--;
}

/* Slot i is to be member i again. Who stays keeps what is known of it. */
void raft_replicate_configuration_changed(struct raft *raft)
{
    const struct raft_configuration *configuration = raft_get_configuration(raft);
    struct raft_progress old[RAFT_MEMBERS_MAX];
    uint32_t old_count = raft_replicate_slots(raft);
    memcpy(old, raft->progress, sizeof old);
    raft->progress_count = configuration->members_count;
    raft->leaving_count = 0;
    for (uint32_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        raft->progress[i] = (struct raft_progress){0};
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        for (uint32_t j = 0; j < old_count; j++) {
            if (old[j].replica != configuration->members[i].replica)
                continue;
            raft->progress[i] = old[j];
            raft->progress[i].store = configuration->members[i].store;
            raft->progress[i].left_index = 0;
            old[j].inflight = NULL;
        }
        if (raft->progress[i].replica == 0)
            raft_progress_init(raft, &raft->progress[i], &configuration->members[i]);
    }
    for (uint32_t j = 0; j < old_count; j++) {
        if (old[j].inflight && old[j].replica != raft->options.replica)
            raft_replicate_leave(raft, &old[j]);
    }
    for (uint32_t j = 0; j < RAFT_MEMBERS_MAX; j++)
        free(old[j].inflight);
}

static struct raft_message *
raft_replicate_message(struct raft *raft, struct raft_progress *progress, raft_index_t index)
{
    struct raft_message *message = raft_send(raft, RAFT_MSG_APPEND_REQUEST, progress->replica);
    message->index = index;
    if (!raft_log_term(&raft->log, index, &message->index_term))
        ASSERT(!"an append begins in the log");
    message->to_store = progress->store; /* one that leaves is in no configuration */
    message->commit_index = raft->commit_index;
    message->read_round = raft->read_round_last;
    progress->sent_ns = raft->now_ns;
    progress->round_sent = raft->read_round_last;
    return message;
}

/* One message with what follows next_index, of at most message_bytes_max; a larger entry goes
 * alone. */
static uint32_t raft_replicate_entries(struct raft *raft, struct raft_progress *progress,
                                       uint64_t *out_bytes_count)
{
    struct raft_message *message = raft_replicate_message(raft, progress, progress->next_index - 1);
    raft_index_t index = progress->next_index;
    uint64_t bytes_count = 0;
    message->entries = raft_log_get(&raft->log, index);
    for (; index <= raft->announced_index; index++) {
        const struct raft_entry *entry = raft_log_get(&raft->log, index);
        uint64_t more = blob_bytes(entry->payload).bytes_count;
        if (index != progress->next_index &&
            (bytes_count + more > raft->options.message_bytes_max || RARE(APPEND_ONE_ENTRY)))
            break;
        bytes_count += more;
    }
    *out_bytes_count = bytes_count;
    message->entries_count = (uint32_t)(index - progress->next_index);
    return message->entries_count;
}

/* What it lacks was cut. The host is told once; one that is not there is only asked, from as far
 * back as the log goes, whether it is. */
static void raft_replicate_want_snapshot(struct raft *raft, struct raft_progress *progress)
{
    raft_index_t next_index = raft_log_first_index(&raft->log);
    if (next_index <= progress->match_index)
        next_index = progress->match_index + 1;
    raft_progress_probe(progress, next_index);
    progress->paused = true;
    if (!raft_progress_is_live(raft, progress) || progress->left_index != 0)
        return;
    progress->state = RAFT_PROGRESS_SNAPSHOT;
    ASSERT(raft->update->snapshot_wanted_count < RAFT_MEMBERS_MAX);
    raft->update->snapshot_wanted[raft->update->snapshot_wanted_count++] = progress->replica;
}

void raft_replicate_to(struct raft *raft, struct raft_progress *progress)
{
    uint64_t bytes_count;
    if (progress->state == RAFT_PROGRESS_SNAPSHOT)
        return;
    if (progress->next_index <= raft->log.base_index) {
        raft_replicate_want_snapshot(raft, progress);
        return;
    }
    if (progress->state == RAFT_PROGRESS_PROBE) {
        if (progress->paused || progress->next_index > raft->announced_index)
            return;
        if (RARE(SNAPSHOT_FOR_ENTRIES)) {
            raft_replicate_want_snapshot(raft, progress);
            return;
        }
        raft_replicate_entries(raft, progress, &bytes_count);
        progress->paused = true;
        return;
    }
    while (progress->next_index <= raft->announced_index &&
           !raft_progress_window_is_full(raft, progress)) {
        progress->next_index += raft_replicate_entries(raft, progress, &bytes_count);
        raft_progress_window_push(raft, progress, progress->next_index - 1, bytes_count);
    }
}

void raft_replicate_to_all(struct raft *raft)
{
    for (uint32_t i = 0; i < raft_replicate_slots(raft); i++) {
        if (raft->progress[i].replica != raft->options.replica)
            raft_replicate_to(raft, &raft->progress[i]);
    }
}

/* In the pipeline it speaks of what is acknowledged, which cannot be rejected, even when it
 * overtakes the entries before it. While probing it is the probe, and weighs nothing, as it may be
 * repeated to one that is down; and while a snapshot streams it asks whether the follower has
 * caught up by itself. */
void raft_replicate_heartbeat(struct raft *raft, struct raft_progress *progress)
{
    raft_index_t index =
        progress->state == RAFT_PROGRESS_PROBE ? progress->next_index - 1 : progress->match_index;
    if (index < raft->log.base_index)
        index = raft->log.base_index;
    raft_replicate_message(raft, progress, index);
}

/* What was sent into the pipeline and not answered for so long was lost. */
static void raft_replicate_heal(struct raft *raft, struct raft_progress *progress)
{
    if (progress->state == RAFT_PROGRESS_PIPELINE &&
        progress->match_index + 1 < progress->next_index &&
        !raft_is_within(raft, progress->acked_ns, raft_ms(raft->options.election_timeout_ms_max))) {
        COVER(PIPELINE_HEALED);
        raft_progress_probe(progress, progress->match_index + 1);
        raft_replicate_to(raft, progress);
    }
}

void raft_replicate_timer_fired(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    raft->checked_ns = raft->now_ns;
    /* Dissertation, 6.2: a leader steps down if an election timeout elapses without a successful
     * round of heartbeats to a majority of its cluster. */
    if (!raft_leader_heard_quorum(raft, raft_ms(raft->options.election_timeout_ms_max))) {
        COVER(LEADER_LOST_QUORUM);
        raft_become_follower(raft, raft->term, 0);
        return;
    }
    raft_transfer_timer_fired(raft);
    if (raft->transfer_to == 0 && RARE(LEADERSHIP_HANDED_OVER))
        (void)!raft_transfer_begin(raft, 0); /* nobody may be there to take it */
    raft_lease_renew(raft);
    for (uint32_t i = raft->progress_count; i < raft_replicate_slots(raft); i++) {
        if (raft->now_ns >= raft->progress[i].left_until_ns)
            raft_replicate_forget(raft, &raft->progress[i--]);
    }
    for (uint32_t i = 0; i < raft_replicate_slots(raft); i++) {
        struct raft_progress *progress = &raft->progress[i];
        if (progress->replica == raft->options.replica)
            continue;
        raft_replicate_heal(raft, progress);
        if (raft_is_within(raft, progress->sent_ns, raft_ms(raft->options.heartbeat_ms)))
            continue;
        if (RARE(HEARTBEAT_LATE)) {
            progress->sent_ns = raft->now_ns;
            continue;
        }
        raft_replicate_to(raft, progress); /* a probe that is due */
        if (progress->sent_ns != raft->now_ns)
            raft_replicate_heartbeat(raft, progress);
    }
}

nanoseconds_t raft_replicate_deadline(const struct raft *raft)
{
    nanoseconds_t deadline_ns = raft->transfer_to ? raft->transfer_deadline_ns : NS_NEVER;
    for (uint32_t i = 0; i < raft_replicate_slots(raft); i++) {
        const struct raft_progress *progress = &raft->progress[i];
        /* Reads send something ever and again; what was lost, and a quorum that is gone, must be
         * noticed all the same. */
        nanoseconds_t since_ns =
            progress->sent_ns < raft->checked_ns ? progress->sent_ns : raft->checked_ns;
        nanoseconds_t due_ns = since_ns + raft_ms(raft->options.heartbeat_ms);
        if (progress->replica != raft->options.replica && due_ns < deadline_ns)
            deadline_ns = due_ns;
    }
    return deadline_ns;
}

/* What this leader may count the member up to; itself only as far as its own log is durable (R1).
 */
static raft_index_t raft_replicate_match(const struct raft *raft, uint32_t i)
{
    const struct raft_progress *progress = &raft->progress[i];
    return progress->replica == raft->options.replica ? raft->durable_index : progress->match_index;
}

/* Figure 2, Leaders: if there exists an N > commitIndex such that a majority of matchIndex[i] >= N,
 * and log[N].term == currentTerm, set commitIndex = N. The second half is figure 8 (R2). */
void raft_replicate_commit(struct raft *raft)
{
    raft_index_t commit_index = raft->commit_index;
    if (raft->role != RAFT_LEADER)
        return;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        raft_index_t candidate = raft_replicate_match(raft, i);
        uint32_t members = 0;
        if (candidate <= commit_index)
            continue;
        for (uint32_t j = 0; j < raft->progress_count; j++)
            members |= (uint32_t)(raft_replicate_match(raft, j) >= candidate) << j;
        if (raft_configuration_has_quorum(raft_get_configuration(raft), members))
            commit_index = candidate;
    }
    if (commit_index == raft->commit_index)
        return;
    if (commit_index < raft->term_opening_index) {
        COVER(OLD_TERM_NOT_COUNTED);
        return;
    }
    raft->uncommitted_bytes -=
        raft_log_payload_bytes(&raft->log, raft->commit_index + 1, commit_index);
    raft_set_commit_index(raft, commit_index);
    raft_configuration_advance(raft);
}

void raft_replicate_farewell(struct raft *raft)
{
    for (uint32_t i = raft->progress_count; i < raft_replicate_slots(raft); i++)
        raft_replicate_heartbeat(raft, &raft->progress[i]);
}

void raft_replicate_peer_reset(struct raft *raft, store_id_t store)
{
    for (uint32_t i = 0; i < raft_replicate_slots(raft); i++) {
        struct raft_progress *progress = &raft->progress[i];
        if (progress->store != store || progress->replica == raft->options.replica)
            continue;
        if (progress->state == RAFT_PROGRESS_PIPELINE)
            raft_progress_probe(progress, progress->match_index + 1);
        else if (progress->state == RAFT_PROGRESS_PROBE)
            progress->paused = false;
    }
}

/* The follower says itself what it has: after a snapshot it is probed where that ends. After a
 * failure the next heartbeat asks from where our log begins, and not before, so that a follower
 * whose disk is full is not streamed to without a pause. */
int raft_replicate_snapshot_sent(struct raft *raft, replica_id_t replica, raft_index_t index)
{
    struct raft_progress *progress = raft_replicate_progress(raft, replica);
    if (raft->role != RAFT_LEADER)
        return OST_NOT_LEADER;
    if (!progress || progress->state != RAFT_PROGRESS_SNAPSHOT)
        return OST_CONFLICT;
    raft_index_t known = index > progress->match_index ? index : progress->match_index;
    if (known > raft_log_last_index(&raft->log))
        return OST_INVALID_ARGUMENT;
    if (index == 0 && known < raft->log.base_index)
        known = raft->log.base_index;
    raft_progress_probe(progress, known + 1);
    progress->paused = index == 0;
    raft_replicate_to(raft, progress);
    return OST_OK;
}

int raft_append_answer_check(const struct raft *raft, const struct raft_message *message)
{
    if (raft->role != RAFT_LEADER || message->term != raft->term)
        return OST_OK; /* it will be ignored */
    if (message->read_round > raft->read_round_last)
        return OST_PROTOCOL;
    if (!message->rejected && message->index > raft_log_last_index(&raft->log))
        return OST_PROTOCOL;
    return OST_OK;
}

static void raft_replicate_rejected(struct raft *raft, struct raft_progress *progress,
                                    const struct raft_message *answer)
{
    if (progress->state == RAFT_PROGRESS_PIPELINE) {
        /* It holds everything up to match_index; what came behind that was lost or overtaken. */
        if (answer->index > progress->match_index)
            raft_progress_probe(progress, progress->match_index + 1);
        return;
    }
    if (progress->state == RAFT_PROGRESS_SNAPSHOT || answer->index != progress->next_index - 1 ||
        answer->index <= progress->match_index)
        return;
    /* Back to where our terms are no later than what it said it has: the same search from this end.
     */
    raft_index_t hint =
        raft_log_find_conflict(&raft->log, answer->reject_hint_index, answer->reject_hint_term);
    raft_index_t next_index = hint + 1 < answer->index ? hint + 1 : answer->index;
    if (next_index <= progress->match_index)
        next_index = progress->match_index + 1;
    raft_progress_probe(progress, next_index);
}

static void raft_replicate_acknowledged(struct raft *raft, struct raft_progress *progress,
                                        raft_index_t match_index)
{
    if (match_index < progress->match_index)
        return; /* overtaken */
    if (match_index > progress->match_index) {
        progress->match_index = match_index;
        progress->acked_ns = raft->now_ns;
        if (progress->next_index <= match_index)
            progress->next_index = match_index + 1;
    }
    switch (progress->state) {
    case RAFT_PROGRESS_PIPELINE:
        raft_progress_window_free(raft, progress);
        break;
    case RAFT_PROGRESS_PROBE:
        raft_progress_pipeline(raft, progress);
        break;
    case RAFT_PROGRESS_SNAPSHOT:
        if (progress->match_index >= raft->log.base_index)
            raft_progress_pipeline(raft, progress);
        break;
    }
}

void raft_recv_append_answer(struct raft *raft, const struct raft_message *message)
{
    struct raft_progress *progress = raft_replicate_progress(raft, message->from);
    if (raft->role != RAFT_LEADER || !progress)
        return;
    progress->heard_ns = raft->now_ns;
    if (progress->round_echoed < message->read_round)
        progress->round_echoed = message->read_round;
    if (message->rejected)
        raft_replicate_rejected(raft, progress, message);
    else
        raft_replicate_acknowledged(raft, progress, message->index);
    raft_read_confirm(raft);
    raft_replicate_commit(raft);
    if (raft->role != RAFT_LEADER)
        return; /* it committed the configuration that it is not in */
    progress = raft_replicate_progress(raft, message->from); /* members may have changed */
    if (progress && progress->left_index != 0 && message->commit_index >= progress->left_index)
        raft_replicate_forget(raft, progress); /* it knows */
    else if (progress)
        raft_replicate_to(raft, progress);
    raft_transfer_advance(raft);
}

static bool raft_progress_was_heard(const struct raft_progress *progress, uint32_t live_ms,
                                    nanoseconds_t now_ns)
{
    return now_ns <= progress->heard_ns || now_ns - progress->heard_ns < raft_ms(live_ms);
}

raft_index_t raft_needed_index(const struct raft *raft, uint32_t live_ms, nanoseconds_t now_ns)
{
    raft_index_t needed_index = UINT64_MAX;
    if (raft->role != RAFT_LEADER)
        return needed_index;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        if (progress->replica == raft->options.replica ||
            !raft_progress_was_heard(progress, live_ms, now_ns))
            continue;
        raft_index_t index = progress->match_index + 1;
        if (index < raft_log_first_index(&raft->log))
            index = raft_log_first_index(&raft->log); /* a snapshot brings it that far */
        if (index < needed_index)
            needed_index = index;
    }
    return needed_index;
}

bool raft_follower_match(const struct raft *raft, replica_id_t replica, uint32_t live_ms,
                         nanoseconds_t now_ns, raft_index_t *out_match_index)
{
    *out_match_index = 0;
    if (raft->role != RAFT_LEADER)
        return false;
    for (uint32_t i = 0; i < raft->progress_count; i++) {
        const struct raft_progress *progress = &raft->progress[i];
        if (progress->replica != replica || replica == raft->options.replica)
            continue;
        *out_match_index = progress->match_index;
        return raft_progress_was_heard(progress, live_ms, now_ns);
    }
    return false;
}
