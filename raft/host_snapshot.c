/* host_snapshot.c: snapshots to and from other stores, a chunk at a time.
 *
 * A sender:    QUEUED -> READING -> SENT -> (acknowledged) READING ... -> gone
 * A receiver:  IDLE -> WRITING -> IDLE ... -> WRITING -> WAITING -> FINISHING -> gone
 * READING, WRITING and FINISHING have a job in the pool, which owns the chunk meanwhile. A job that
 * came back is looked at when the turn ends. What is given up while its job runs is marked and
 * closed when the job is back. */
#include "raft/host_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>

#define HOST_SNAPSHOTS_ACTIVE_MAX 2u
#define HOST_SNAPSHOT_RESEND_NS   (2 * NS_PER_S)
#define HOST_SNAPSHOT_GIVE_UP_NS  (30 * NS_PER_S)
/* Nothing is applied while a snapshot comes in, so a sender that is gone, and would have sent its
 * chunk again some times by then, must not be waited for long. */
#define HOST_RESTORE_GIVE_UP_NS (5 * HOST_SNAPSHOT_RESEND_NS)

enum host_sender_state { SENDER_QUEUED, SENDER_READING, SENDER_SENT };
struct host_sender {
    struct job job; /* first */
    struct raft_host *host;
    struct host_group *group;
    replica_id_t replica;
    store_id_t store;
    enum host_sender_state state;
    bool job_back;
    bool given_up;
    raft_term_t term;
    uint64_t id;
    struct raft_snapshot_meta meta;
    void *snapshot;
    struct buffer chunk;
    size_t chunk_bytes_max; /* of the next one */
    uint64_t sequence;
    bool last;
    int status;
    nanoseconds_t sent_ns;
    nanoseconds_t progress_ns;
    TAILQ_ENTRY(host_sender) link;
};

enum host_receiver_state {
    RECEIVER_IDLE,
    RECEIVER_WRITING,
    RECEIVER_WAITING, /* all is written; the log has something to make durable before */
    RECEIVER_FINISHING,
};
struct host_receiver {
    struct job job; /* first */
    struct raft_host *host;
    struct host_group *group;
    replica_id_t from;
    store_id_t from_store;
    enum host_receiver_state state;
    bool job_back;
    bool given_up;
    raft_term_t term;
    uint64_t id;
    struct raft_snapshot_meta meta;
    void *restore;
    struct buffer chunk;
    uint64_t sequence; /* of the chunk under way, or of the one awaited */
    bool last;
    int status;
    uint64_t persist_id_awaited; /* WAITING */
    nanoseconds_t progress_ns;
    TAILQ_ENTRY(host_receiver) link;
};

static void host_job_start(struct raft_host *host, struct job *job, void (*run)(struct job *),
                           void (*done)(struct job *))
{
    *job = (struct job){.run = run, .done = done};
    struct job **end = &host->update->jobs;
    while (*end)
        end = &(*end)->next;
    *end = job;
}

/* Sending. */

static void host_sender_run(struct job *job)
{
    struct host_sender *sender = (struct host_sender *)job;
    buffer_reset(&sender->chunk);
    sender->last = false;
    sender->status = sender->group->ops->snapshot_read(sender->snapshot, &sender->chunk,
                                                       sender->chunk_bytes_max, &sender->last);
}

static void host_sender_done(struct job *job)
{
    ((struct host_sender *)job)->job_back = true;
}

static void host_sender_read(struct host_sender *sender)
{
    sender->state = SENDER_READING;
    sender->job_back = false;
    sender->chunk_bytes_max =
        RARE(SNAPSHOT_CHUNK_TINY) ? 1 : sender->host->options.snapshot_chunk_bytes;
    host_job_start(sender->host, &sender->job, host_sender_run, host_sender_done);
}

static void host_sender_free(struct host_sender *sender)
{
    if (sender->state != SENDER_QUEUED)
        sender->host->senders_active_count--;
    if (sender->snapshot)
        sender->group->ops->snapshot_close(sender->snapshot);
    TAILQ_REMOVE(&sender->host->senders, sender, link);
    buffer_fini(&sender->chunk);
    free(sender);
}

/* `index` 0: it failed. Not while its job runs. */
static void host_sender_end(struct host_sender *sender, raft_index_t index)
{
    struct raft_host *host = sender->host;
    struct host_group *group = sender->group;
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_SENT, .now_ns = host->now_ns};
    event.snapshot_sent.replica = sender->replica;
    event.snapshot_sent.index = index;
    log_write(index ? LOG_INFO : LOG_WARN, index ? "snapshot sent" : "snapshot given up",
              "store=%lu group=%lu to=%lu index=%lu chunks=%lu", host->options.store, group->group,
              sender->replica, sender->meta.index, sender->sequence + 1);
    if (index > 0)
        host->metrics->snapshots_sent_count++;
    host_sender_free(sender);
    if (!group->removed)
        (void)!host_step(host, group, &event);
}

static void host_sender_give_up(struct host_sender *sender)
{
    if (sender->state == SENDER_READING && !sender->job_back)
        sender->given_up = true;
    else
        host_sender_end(sender, 0);
}

void host_snapshot_want(struct raft_host *host, struct host_group *group, replica_id_t replica)
{
    struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        if (sender->group == group && sender->replica == replica && !sender->given_up)
            return;
    }
    sender = memory_alloc_zeroed(1, sizeof(*sender));
    sender->host = host;
    sender->group = group;
    sender->replica = replica;
    sender->progress_ns = host->now_ns;
    struct raft_status status;
    raft_get_status(group->raft, &status);
    sender->term = status.term;
    buffer_init(&sender->chunk);
    TAILQ_INSERT_TAIL(&host->senders, sender, link);
}

static void host_sender_send(struct host_sender *sender)
{
    struct raft_host *host = sender->host;
    Ostraka__RaftSnapshotChunk chunk = OSTRAKA__RAFT_SNAPSHOT_CHUNK__INIT;
    Ostraka__RaftSnapshotMeta meta = OSTRAKA__RAFT_SNAPSHOT_META__INIT;
    Ostraka__RaftConfiguration configuration = OSTRAKA__RAFT_CONFIGURATION__INIT;
    Ostraka__RaftConfiguration__Member members[RAFT_MEMBERS_MAX];
    Ostraka__RaftConfiguration__Member *member_pointers[RAFT_MEMBERS_MAX];
    const struct raft_configuration *from = &sender->meta.configuration;
    for (uint32_t i = 0; i < from->members_count; i++) {
        ostraka__raft_configuration__member__init(&members[i]);
        members[i].replica = from->members[i].replica;
        members[i].store = from->members[i].store;
        members[i].voter_old = from->members[i].voter_old;
        members[i].voter_new = from->members[i].voter_new;
        member_pointers[i] = &members[i];
    }
    configuration.n_members = from->members_count;
    configuration.members = member_pointers;
    configuration.epoch = from->epoch;
    meta.index = sender->meta.index;
    meta.term = sender->meta.term;
    meta.log_timestamp = sender->meta.log_timestamp;
    meta.configuration = &configuration;
    meta.configuration_index = sender->meta.configuration_index;
    chunk.group = sender->group->group;
    chunk.from = sender->group->replica;
    chunk.to = sender->replica;
    chunk.term = sender->term;
    chunk.meta = &meta;
    chunk.snapshot_id = sender->id;
    chunk.sequence = sender->sequence;
    chunk.last = sender->last;
    struct bytes payload = buffer_bytes(&sender->chunk);
    outbox_to_store(host->update->outbox, sender->store, CHANNEL_BULK,
                    frame_encode(FRAME_RAFT_SNAPSHOT_CHUNK, 0, &chunk.base, &payload, 1));
    sender->state = SENDER_SENT;
    sender->sent_ns = host->now_ns;
}

static void host_sender_start(struct host_sender *sender)
{
    struct raft_host *host = sender->host;
    struct host_group *group = sender->group;
    const struct raft_member *member =
        raft_configuration_find(raft_get_configuration(group->raft), sender->replica);
    int status = OST_NOT_FOUND;
    if (member) {
        sender->store = member->store;
        status = group->ops->snapshot_open(group->machine, &sender->meta, &sender->snapshot);
    }
    if (status != OST_OK || sender->meta.index == 0) {
        host_sender_end(sender, 0);
        return;
    }
    ASSERT(sender->meta.configuration.members_count <= RAFT_MEMBERS_MAX);
    do {
        sender->id = random_next(&host->random);
    } while (sender->id == 0);
    sender->progress_ns = host->now_ns;
    host->senders_active_count++;
    host_sender_read(sender);
}

void host_snapshot_ack(struct raft_host *host, struct host_group *group, store_id_t from_store,
                       const struct raft_message *message)
{
    struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        if (sender->group == group && sender->replica == message->from &&
            sender->store == from_store && sender->id == message->read_round &&
            sender->state == SENDER_SENT)
            break;
    }
    if (!sender || sender->sequence != message->index)
        return; /* late */
    if (message->rejected) {
        host_sender_end(sender, 0);
        return;
    }
    sender->progress_ns = host->now_ns;
    if (sender->last) {
        host_sender_end(sender, sender->meta.index);
        return;
    }
    sender->sequence++;
    host_sender_read(sender);
}

static bool host_group_is_sending(const struct host_group *group, const struct raft_host *host)
{
    const struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        if (sender->group == group && sender->state != SENDER_QUEUED)
            return true;
    }
    return false;
}

/* Is there a follower that could have this one's place? */
static bool host_sender_is_waited_for(const struct host_sender *sender)
{
    const struct host_sender *other;
    TAILQ_FOREACH (other, &sender->host->senders, link) {
        if (other->state == SENDER_QUEUED)
            return true;
    }
    return false;
}

static void host_sender_turn(struct host_sender *sender)
{
    struct raft_host *host = sender->host;
    if (sender->state == SENDER_READING && !sender->job_back)
        return;
    struct raft_status status;
    raft_get_status(sender->group->raft, &status);
    bool leads = status.role == RAFT_LEADER && status.term == sender->term;
    bool wanted = leads && !sender->group->removed &&
                  raft_configuration_find(raft_get_configuration(sender->group->raft),
                                          sender->replica) != NULL;
    bool stuck = sender->state != SENDER_QUEUED &&
                 host->now_ns >= sender->progress_ns + HOST_SNAPSHOT_GIVE_UP_NS;
    bool failed = sender->state == SENDER_READING &&
                  (sender->status != OST_OK || RARE(SNAPSHOT_SENDER_GIVES_UP));
    if (!wanted || stuck || failed || sender->given_up) {
        host_sender_end(sender, 0);
        return;
    }
    switch (sender->state) {
    case SENDER_QUEUED:
        if (host->senders_active_count < HOST_SNAPSHOTS_ACTIVE_MAX &&
            !host_group_is_sending(sender->group, host))
            host_sender_start(sender);
        return;
    case SENDER_READING:
        host_sender_send(sender);
        return;
    case SENDER_SENT:
        /* A follower that is gone must not keep others from what makes a quorum of them: it gives
         * way, and the core asks for it again. */
        if (host->now_ns >= sender->sent_ns + HOST_SNAPSHOT_RESEND_NS &&
            host_sender_is_waited_for(sender))
            host_sender_end(sender, 0);
        else if (host->now_ns >= sender->sent_ns + HOST_SNAPSHOT_RESEND_NS ||
                 RARE(SNAPSHOT_CHUNK_TWICE))
            host_sender_send(sender);
        return;
    }
}

/* Receiving. */

static void host_receiver_run(struct job *job)
{
    struct host_receiver *receiver = (struct host_receiver *)job;
    receiver->status =
        receiver->group->ops->restore_write(receiver->restore, buffer_bytes(&receiver->chunk));
}

static void host_receiver_run_finish(struct job *job)
{
    struct host_receiver *receiver = (struct host_receiver *)job;
    receiver->status = receiver->group->ops->restore_finish(receiver->restore);
}

static void host_receiver_done(struct job *job)
{
    ((struct host_receiver *)job)->job_back = true;
}

static bool host_receiver_is_running(const struct host_receiver *receiver)
{
    return (receiver->state == RECEIVER_WRITING || receiver->state == RECEIVER_FINISHING) &&
           !receiver->job_back;
}

static void host_receiver_end(struct host_receiver *receiver, bool adopt)
{
    struct host_group *group = receiver->group;
    ASSERT(group->receiver == receiver && !host_receiver_is_running(receiver));
    group->receiver = NULL;
    TAILQ_REMOVE(&receiver->host->receivers, receiver, link);
    group->ops->restore_close(group->machine, receiver->restore, adopt);
    buffer_fini(&receiver->chunk);
    free(receiver);
}

static void host_receiver_give_up(struct host_receiver *receiver)
{
    if (host_receiver_is_running(receiver))
        receiver->given_up = true;
    else
        host_receiver_end(receiver, false);
}

bool host_snapshot_adopts(const struct host_group *group)
{
    return group->receiver && group->receiver->state == RECEIVER_FINISHING;
}

static void host_ack_send(struct raft_host *host, struct host_group *group, replica_id_t to,
                          store_id_t to_store, uint64_t id, uint64_t sequence, bool rejected)
{
    struct raft_message ack = {.type = RAFT_MSG_SNAPSHOT_ACK,
                               .from = group->replica,
                               .to = to,
                               .to_store = to_store,
                               .index = sequence,
                               .read_round = id,
                               .rejected = rejected};
    host_message_send(host, group, &ack);
}

static void host_receiver_ack(struct host_receiver *receiver, uint64_t sequence, bool rejected)
{
    host_ack_send(receiver->host, receiver->group, receiver->from, receiver->from_store,
                  receiver->id, sequence, rejected);
}

/* Asks the core whether it wants the snapshot (still). */
static int host_snapshot_offer(struct raft_host *host, struct host_group *group, raft_term_t term,
                               replica_id_t from, const struct raft_snapshot_meta *meta)
{
    if (meta->index <= group->applied_index)
        return OST_CONFLICT;
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_OFFERED, .now_ns = host->now_ns};
    event.snapshot.term = term;
    event.snapshot.from = from;
    event.snapshot.meta = meta;
    return host_step(host, group, &event);
}

static bool host_meta_unpack(const Ostraka__RaftSnapshotMeta *from, raft_term_t chunk_term,
                             struct raft_snapshot_meta *out)
{
    if (!from || !from->configuration || from->configuration->n_members == 0 ||
        from->configuration->n_members > RAFT_MEMBERS_MAX || from->index == 0 ||
        from->index > UINT64_MAX / 2 || from->term == 0 || from->term > chunk_term ||
        from->configuration_index > from->index)
        return false;
    *out = (struct raft_snapshot_meta){.index = from->index,
                                       .term = from->term,
                                       .log_timestamp = from->log_timestamp,
                                       .configuration_index = from->configuration_index,
                                       .configuration.epoch = from->configuration->epoch};
    bool voters = false;
    for (size_t i = 0; i < from->configuration->n_members; i++) {
        const Ostraka__RaftConfiguration__Member *member = from->configuration->members[i];
        if (member->replica == 0 || member->store == 0 ||
            raft_configuration_find(&out->configuration, member->replica))
            return false;
        voters |= member->voter_new;
        out->configuration.members[out->configuration.members_count++] =
            (struct raft_member){.replica = member->replica,
                                 .store = member->store,
                                 .voter_old = member->voter_old,
                                 .voter_new = member->voter_new};
    }
    return voters;
}

static struct host_receiver *host_receiver_new(struct raft_host *host, struct host_group *group,
                                               store_id_t from_store,
                                               const Ostraka__RaftSnapshotChunk *chunk,
                                               const struct raft_snapshot_meta *meta)
{
    void *restore = NULL;
    int status = OST_BUSY;
    if (!RARE(SNAPSHOT_NOT_TAKEN))
        status = group->ops->restore_open(group->machine, meta, &restore);
    if (status != OST_OK) {
        log_write(LOG_WARN, "cannot take a snapshot", "store=%lu group=%lu status=%s",
                  host->options.store, group->group, ost_status_name(status));
        return NULL;
    }
    struct host_receiver *receiver = memory_alloc_zeroed(1, sizeof(*receiver));
    receiver->host = host;
    receiver->group = group;
    receiver->from = chunk->from;
    receiver->from_store = from_store;
    receiver->term = chunk->term;
    receiver->id = chunk->snapshot_id;
    receiver->meta = *meta;
    receiver->restore = restore;
    receiver->progress_ns = host->now_ns;
    buffer_init(&receiver->chunk);
    TAILQ_INSERT_TAIL(&host->receivers, receiver, link);
    group->receiver = receiver;
    return receiver;
}

/* A chunk of a snapshot that the core wants: finds or makes its receiver. NULL: ignored or refused.
 */
static struct host_receiver *host_receiver_for(struct raft_host *host, struct host_group *group,
                                               store_id_t from_store,
                                               const Ostraka__RaftSnapshotChunk *chunk,
                                               const struct raft_snapshot_meta *meta)
{
    struct host_receiver *receiver = group->receiver;
    if (receiver && !receiver->given_up && receiver->id == chunk->snapshot_id &&
        receiver->from == chunk->from && receiver->meta.index == meta->index &&
        receiver->meta.term == meta->term)
        return receiver;
    if (receiver) {
        /* A newer one takes its place; what is being made durable is not disturbed. The sender
         * comes again for what is ignored here. */
        bool replaces = chunk->sequence == 0 && chunk->term >= receiver->term;
        if (!replaces || receiver->state >= RECEIVER_WAITING)
            return NULL;
        COVER(SNAPSHOT_REPLACED);
        host_receiver_give_up(receiver);
        if (group->receiver)
            return NULL;
    }
    if (chunk->sequence == 0)
        receiver = host_receiver_new(host, group, from_store, chunk, meta);
    else
        receiver = NULL;
    if (!receiver)
        host_ack_send(host, group, chunk->from, from_store, chunk->snapshot_id, chunk->sequence,
                      true);
    return receiver;
}

static void host_chunk_take(struct raft_host *host, struct host_group *group, store_id_t from_store,
                            const Ostraka__RaftSnapshotChunk *chunk,
                            const struct raft_snapshot_meta *meta, struct bytes payload)
{
    if (group->restored_id == chunk->snapshot_id && group->restored_from == chunk->from) {
        /* It came in whole, and the acknowledgement was lost. */
        COVER(SNAPSHOT_ACKNOWLEDGED_AGAIN);
        host_ack_send(host, group, chunk->from, from_store, chunk->snapshot_id, chunk->sequence,
                      chunk->sequence > group->restored_sequence);
        return;
    }
    if (!host_snapshot_adopts(group) &&
        host_snapshot_offer(host, group, chunk->term, chunk->from, meta) != OST_OK) {
        host_ack_send(host, group, chunk->from, from_store, chunk->snapshot_id, chunk->sequence,
                      true);
        return;
    }
    struct host_receiver *receiver = host_receiver_for(host, group, from_store, chunk, meta);
    if (!receiver)
        return;
    receiver->from_store = from_store;
    if (chunk->sequence < receiver->sequence) {
        host_receiver_ack(receiver, chunk->sequence, false);
        return;
    }
    if (receiver->state != RECEIVER_IDLE || chunk->sequence != receiver->sequence)
        return; /* being written, or ahead of what is awaited */
    receiver->last = chunk->last;
    receiver->progress_ns = host->now_ns;
    buffer_reset(&receiver->chunk);
    buffer_append(&receiver->chunk, payload.data, payload.bytes_count);
    receiver->state = RECEIVER_WRITING;
    receiver->job_back = false;
    host_job_start(host, &receiver->job, host_receiver_run, host_receiver_done);
}

int host_snapshot_receive(struct raft_host *host, store_id_t from_store, const struct frame *frame)
{
    const Ostraka__RaftSnapshotChunk *chunk = (const Ostraka__RaftSnapshotChunk *)message_unpack(
        &ostraka__raft_snapshot_chunk__descriptor, frame->message, &host->arena);
    struct raft_snapshot_meta meta;
    if (!chunk || chunk->from == 0 || chunk->to == 0 || chunk->snapshot_id == 0 ||
        chunk->sequence > UINT64_MAX / 2 || chunk->term > UINT64_MAX / 2 ||
        !host_meta_unpack(chunk->meta, chunk->term, &meta))
        return OST_PROTOCOL;
    struct host_group *group = host_group_find(host, chunk->group);
    if (!group || group->replica != chunk->to || group->replica == chunk->from) { /* R6 */
        host->messages_dropped_count++;
        return OST_OK;
    }
    const struct raft_member *member =
        raft_configuration_find(raft_get_configuration(group->raft), chunk->from);
    if (member && member->store != from_store) {
        host->messages_dropped_count++;
        return OST_OK;
    }
    host_chunk_take(host, group, from_store, chunk, &meta, frame->payload);
    return OST_OK;
}

/* The state machine holds the snapshot durably: core, machine and log go over to it together. */
static void host_receiver_adopt(struct host_receiver *receiver)
{
    struct raft_host *host = receiver->host;
    struct host_group *group = receiver->group;
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_INSTALLED, .now_ns = host->now_ns};
    event.snapshot.term = receiver->term;
    event.snapshot.from = receiver->from;
    event.snapshot.meta = &receiver->meta;
    group->restored_from = receiver->from;
    group->restored_id = receiver->id;
    group->restored_sequence = receiver->sequence;
    ASSERT(receiver->meta.index > group->applied_index);
    group->applied_index = receiver->meta.index;
    /* Refused when entries up to there have come meanwhile: they are the same ones, and stay. */
    int status = host_step(host, group, &event);
    COVER(SNAPSHOT_INSTALLED);
    if (status != OST_OK)
        COVER(SNAPSHOT_OUTRUN);
    log_write(LOG_INFO, "snapshot installed", "store=%lu group=%lu index=%lu from=%lu core=%s",
              host->options.store, group->group, receiver->meta.index, receiver->from,
              ost_status_name(status));
    host->metrics->snapshots_installed_count++;
    host_receiver_ack(receiver, receiver->sequence, false);
    host_receiver_end(receiver, true);
    host_group_set_work(host, group);
}

/* The last chunk is written. The term under which the snapshot came is durable before the state is,
 * so that a state without a log behind it is never found after a crash. */
static void host_receiver_finish(struct host_receiver *receiver)
{
    struct host_group *group = receiver->group;
    if (host_snapshot_offer(receiver->host, group, receiver->term, receiver->from,
                            &receiver->meta) != OST_OK) {
        host_receiver_ack(receiver, receiver->sequence, true);
        host_receiver_end(receiver, false);
        return;
    }
    if (group->persisted_id < receiver->persist_id_awaited)
        return;
    receiver->state = RECEIVER_FINISHING;
    receiver->job_back = false;
    host_job_start(receiver->host, &receiver->job, host_receiver_run_finish, host_receiver_done);
}

/* Its sender is gone or slow, and entries have come instead. The core refuses what is left of the
 * snapshot; the machine, which may apply nothing meanwhile, must not wait for it. */
static bool host_receiver_is_outrun(const struct host_receiver *receiver)
{
    struct raft_status status;
    raft_get_status(receiver->group->raft, &status);
    return receiver->state == RECEIVER_IDLE && receiver->meta.index <= status.commit_index;
}

static void host_receiver_turn(struct host_receiver *receiver)
{
    struct raft_host *host = receiver->host;
    struct host_group *group = receiver->group;
    if (host_receiver_is_running(receiver))
        return;
    if (group->removed) {
        host_receiver_end(receiver, false);
        return;
    }
    bool failed = (receiver->state == RECEIVER_WRITING || receiver->state == RECEIVER_FINISHING) &&
                  receiver->status != OST_OK;
    if (failed) {
        log_write(LOG_WARN, "cannot restore a snapshot", "store=%lu group=%lu status=%s",
                  host->options.store, group->group, ost_status_name(receiver->status));
        host_receiver_ack(receiver, receiver->sequence, true);
    }
    bool stuck = receiver->state == RECEIVER_IDLE &&
                 host->now_ns >= receiver->progress_ns + HOST_RESTORE_GIVE_UP_NS;
    bool outrun = host_receiver_is_outrun(receiver);
    if (outrun)
        COVER(SNAPSHOT_OUTRUN_EARLY);
    if (failed || stuck || outrun || receiver->given_up) {
        host_receiver_end(receiver, false);
        if (outrun)
            host_group_set_work(host, group);
        return;
    }
    switch (receiver->state) {
    case RECEIVER_IDLE:
        return;
    case RECEIVER_WRITING:
        if (receiver->last) {
            receiver->state = RECEIVER_WAITING;
            receiver->persist_id_awaited = group->queued_id;
            host_receiver_finish(receiver);
            return;
        }
        host_receiver_ack(receiver, receiver->sequence, false);
        receiver->sequence++;
        receiver->state = RECEIVER_IDLE;
        return;
    case RECEIVER_WAITING:
        host_receiver_finish(receiver);
        return;
    case RECEIVER_FINISHING:
        host_receiver_adopt(receiver);
        return;
    }
}

/* Both. */

void host_snapshot_turn(struct raft_host *host)
{
    struct host_sender *sender, *sender_next;
    TAILQ_FOREACH_SAFE(sender, &host->senders, link, sender_next)
    {
        host_sender_turn(sender);
    }
    struct host_receiver *receiver, *receiver_next;
    TAILQ_FOREACH_SAFE(receiver, &host->receivers, link, receiver_next)
    {
        host_receiver_turn(receiver);
    }
}

nanoseconds_t host_snapshot_deadline(const struct raft_host *host)
{
    nanoseconds_t deadline_ns = NS_NEVER;
    const struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        if (sender->state != SENDER_SENT)
            continue;
        if (sender->sent_ns + HOST_SNAPSHOT_RESEND_NS < deadline_ns)
            deadline_ns = sender->sent_ns + HOST_SNAPSHOT_RESEND_NS;
    }
    const struct host_receiver *receiver;
    TAILQ_FOREACH (receiver, &host->receivers, link) {
        if (receiver->state == RECEIVER_IDLE &&
            receiver->progress_ns + HOST_RESTORE_GIVE_UP_NS < deadline_ns)
            deadline_ns = receiver->progress_ns + HOST_RESTORE_GIVE_UP_NS;
    }
    return deadline_ns;
}

void host_snapshot_peer_reset(struct raft_host *host, store_id_t store)
{
    struct host_sender *sender, *next;
    TAILQ_FOREACH_SAFE(sender, &host->senders, link, next)
    {
        if (sender->state != SENDER_QUEUED && sender->store == store)
            host_sender_give_up(sender);
    }
}

bool host_snapshot_end_group(struct raft_host *host, struct host_group *group)
{
    bool ended = true;
    struct host_sender *sender, *next;
    TAILQ_FOREACH_SAFE(sender, &host->senders, link, next)
    {
        if (sender->group != group)
            continue;
        ended = ended && !(sender->state == SENDER_READING && !sender->job_back);
        host_sender_give_up(sender);
    }
    if (group->receiver)
        host_receiver_give_up(group->receiver);
    return ended && !group->receiver;
}

void host_snapshot_free(struct raft_host *host)
{
    struct host_sender *sender;
    while ((sender = TAILQ_FIRST(&host->senders)) != NULL)
        host_sender_free(sender);
    struct host_receiver *receiver;
    while ((receiver = TAILQ_FIRST(&host->receivers)) != NULL) {
        receiver->job_back = true; /* Every job has run by now (job.h). */
        host_receiver_end(receiver, false);
    }
}
