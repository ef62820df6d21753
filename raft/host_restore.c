/* host_restore.c: snapshots from other stores, a chunk at a time.
 *
 *   IDLE -> WRITING -> IDLE ... -> WRITING -> WAITING -> FINISHING -> gone
 *
 * WRITING and FINISHING have a job in the pool, which owns the chunk meanwhile. A job that came
 * back is looked at when the turn ends. What is given up while its job runs is marked and closed
 * when the job is back. */
#include "raft/host_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>

/* Nothing is applied while a snapshot comes in, so a sender that is gone, and would have sent its
 * chunk again some times by then, must not be waited for long. */
#define HOST_RESTORE_GIVE_UP_NS (5 * HOST_SNAPSHOT_RESEND_NS_MAX)

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

bool host_receiver_adopts(const struct host_group *group)
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
    uint64_t left_out;
    if (status != OST_OK && log_limit_passes(&group->snapshot_warnings, host->now_ns, &left_out))
        log_write(LOG_WARN, "cannot take a snapshot", "store=%lu group=%lu status=%s left_out=%lu",
                  host->options.store, group->group, ost_status_name(status), left_out);
    if (status != OST_OK)
        return NULL;
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
    if (!host_receiver_adopts(group) &&
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

int host_receiver_receive(struct raft_host *host, store_id_t from_store, const struct frame *frame)
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
        uint64_t left_out;
        if (log_limit_passes(&group->snapshot_warnings, host->now_ns, &left_out))
            log_write(LOG_WARN, "cannot restore a snapshot",
                      "store=%lu group=%lu status=%s left_out=%lu", host->options.store,
                      group->group, ost_status_name(receiver->status), left_out);
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
        host->metrics->snapshot_chunks_count++;
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

void host_receivers_turn(struct raft_host *host)
{
    struct host_receiver *receiver, *next;
    TAILQ_FOREACH_SAFE(receiver, &host->receivers, link, next)
    {
        host_receiver_turn(receiver);
    }
}

nanoseconds_t host_receivers_deadline(const struct raft_host *host)
{
    nanoseconds_t deadline_ns = NS_NEVER;
    const struct host_receiver *receiver;
    TAILQ_FOREACH (receiver, &host->receivers, link) {
        if (receiver->state == RECEIVER_IDLE &&
            receiver->progress_ns + HOST_RESTORE_GIVE_UP_NS < deadline_ns)
            deadline_ns = receiver->progress_ns + HOST_RESTORE_GIVE_UP_NS;
    }
    return deadline_ns;
}

bool host_receivers_end_group(struct host_group *group)
{
    if (group->receiver)
        host_receiver_give_up(group->receiver);
    return !group->receiver;
}

void host_receivers_free(struct raft_host *host)
{
    struct host_receiver *receiver;
    while ((receiver = TAILQ_FIRST(&host->receivers)) != NULL) {
        receiver->job_back = true; /* Every job has run by now (job.h). */
        host_receiver_end(receiver, false);
    }
}
