/* host_send.c: snapshots to other stores, a chunk at a time.
 *
 *   QUEUED -> STREAMING -> FOLLOWED -> gone
 *                  \-> RESTING (refused) -> gone
 *
 * STREAMING has one chunk on its way, and reads the next one meanwhile. Reading is a job of the
 * pool, which owns what it reads; one that came back is looked at when the turn ends. What is given
 * up while its job runs is marked and closed when the job is back.
 *
 * What is written to the group while a snapshot streams has to follow it, so the log is not cut
 * behind it (host_senders_cut_index) before the follower has caught up: else, as long as more is
 * written meanwhile than is kept for those who lag, one snapshot would follow another for ever. But
 * a log that is longer than the snapshot is not worth it: another snapshot is shorter. */
#include "raft/host_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>

#define HOST_SNAPSHOTS_ACTIVE_MAX 2u
/* A chunk that was lost is sent again after twice the time that the slowest one took, between these
 * bounds (HOST_SNAPSHOT_RESEND_NS_MAX); after twice as long the next time. */
#define HOST_SNAPSHOT_RESEND_NS_MIN (200 * NS_PER_MS)
/* A follower that does not answer for so long gives way to one that waits. */
#define HOST_SNAPSHOT_YIELD_NS   (2 * NS_PER_S)
#define HOST_SNAPSHOT_GIVE_UP_NS (30 * NS_PER_S)
/* A follower that cannot take it now, its disk being full, say, is not asked without a pause. */
#define HOST_SNAPSHOT_REST_NS (500 * NS_PER_MS)

enum host_sender_state {
    SENDER_QUEUED,
    SENDER_STREAMING,
    SENDER_RESTING,  /* refused: the core hears of it when the pause is over */
    SENDER_FOLLOWED, /* sent; the log behind it is kept until the follower has that, too */
};
struct host_sender {
    struct job job; /* first */
    struct raft_host *host;
    struct host_group *group;
    replica_id_t replica;
    store_id_t store;
    enum host_sender_state state;
    bool given_up;
    bool is_refused;
    raft_term_t term;
    uint64_t id;
    struct raft_snapshot_meta meta;
    void *snapshot;
    uint64_t log_mark;    /* the log's appended_bytes when the snapshot was opened, */
    uint64_t bytes_count; /* and what has been read of it */

    /* The next chunk. */
    bool is_reading; /* the job is out, or back and not yet looked at */
    bool job_back;
    bool is_read;
    bool next_is_last;
    int status;
    struct buffer next;
    size_t chunk_bytes_max;

    /* The one on its way: sent, and not acknowledged. */
    bool is_sent;
    bool last;
    uint64_t sequence;
    struct buffer chunk;
    nanoseconds_t sent_ns;        /* the first time */
    nanoseconds_t resend_ns;      /* when it is sent again */
    nanoseconds_t resend_wait_ns; /* doubled each time */
    nanoseconds_t answer_ns_max;  /* the slowest acknowledgement */

    nanoseconds_t progress_ns;
    nanoseconds_t rest_until_ns;
    TAILQ_ENTRY(host_sender) link;
};

static void host_sender_run(struct job *job)
{
    struct host_sender *sender = (struct host_sender *)job;
    buffer_reset(&sender->next);
    sender->next_is_last = false;
    sender->status = sender->group->ops->snapshot_read(
        sender->snapshot, &sender->next, sender->chunk_bytes_max, &sender->next_is_last);
}

static void host_sender_done(struct job *job)
{
    ((struct host_sender *)job)->job_back = true;
}

static void host_sender_read(struct host_sender *sender)
{
    ASSERT(!sender->is_reading && !sender->is_read);
    sender->is_reading = true;
    sender->job_back = false;
    sender->chunk_bytes_max =
        RARE(SNAPSHOT_CHUNK_TINY) ? 1 : sender->host->options.snapshot_chunk_bytes;
    host_job_start(sender->host, &sender->job, host_sender_run, host_sender_done);
}

/* It streams no more. Not while its job runs. */
static void host_sender_close(struct host_sender *sender)
{
    ASSERT(!sender->is_reading || sender->job_back);
    if (sender->state == SENDER_STREAMING)
        sender->host->senders_active_count--;
    if (sender->snapshot)
        sender->group->ops->snapshot_close(sender->snapshot);
    sender->snapshot = NULL;
    sender->is_reading = sender->is_read = sender->is_sent = false;
    buffer_fini(&sender->next);
    buffer_fini(&sender->chunk);
}

static void host_sender_free(struct host_sender *sender)
{
    host_sender_close(sender);
    TAILQ_REMOVE(&sender->host->senders, sender, link);
    free(sender);
}

/* The core hears what came of it; `index` 0: nothing. It may want another one at once. */
static void host_sender_tell(struct raft_host *host, struct host_group *group, replica_id_t replica,
                             raft_index_t index)
{
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_SENT, .now_ns = host->now_ns};
    event.snapshot_sent.replica = replica;
    event.snapshot_sent.index = index;
    if (!group->removed)
        (void)!host_step(host, group, &event);
}

static void host_sender_complete(struct host_sender *sender)
{
    struct raft_host *host = sender->host;
    log_write(LOG_INFO, "snapshot sent", "store=%lu group=%lu to=%lu index=%lu chunks=%lu",
              host->options.store, sender->group->group, sender->replica, sender->meta.index,
              sender->sequence + 1);
    host->metrics->snapshots_sent_count++;
    host_sender_close(sender);
    sender->state = SENDER_FOLLOWED;
    host_sender_tell(host, sender->group, sender->replica, sender->meta.index);
}

static void host_sender_warn(struct host_sender *sender)
{
    uint64_t left_out;
    if (log_limit_passes(&sender->group->snapshot_warnings, sender->host->now_ns, &left_out))
        log_write(LOG_WARN, "snapshot given up",
                  "store=%lu group=%lu to=%lu index=%lu chunks=%lu left_out=%lu",
                  sender->host->options.store, sender->group->group, sender->replica,
                  sender->meta.index, sender->sequence + 1, left_out);
}

static void host_sender_end(struct host_sender *sender)
{
    struct raft_host *host = sender->host;
    struct host_group *group = sender->group;
    replica_id_t replica = sender->replica;
    bool is_told = sender->state != SENDER_FOLLOWED;
    if (sender->state == SENDER_QUEUED || sender->state == SENDER_STREAMING)
        host_sender_warn(sender);
    host_sender_free(sender);
    if (is_told)
        host_sender_tell(host, group, replica, 0);
}

static void host_sender_give_up(struct host_sender *sender)
{
    if (sender->is_reading && !sender->job_back)
        sender->given_up = true;
    else
        host_sender_end(sender);
}

static void host_sender_rest(struct host_sender *sender)
{
    if (sender->is_reading && !sender->job_back) {
        sender->is_refused = true;
        return;
    }
    host_sender_warn(sender);
    host_sender_close(sender);
    sender->state = SENDER_RESTING;
    sender->rest_until_ns = sender->host->now_ns + HOST_SNAPSHOT_REST_NS;
}

void host_sender_want(struct raft_host *host, struct host_group *group, replica_id_t replica)
{
    struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        if (sender->group == group && sender->replica == replica && !sender->given_up)
            break;
    }
    if (sender && sender->state != SENDER_FOLLOWED)
        return;
    if (!sender) {
        sender = memory_alloc_zeroed(1, sizeof(*sender));
        sender->host = host;
        sender->group = group;
        sender->replica = replica;
        TAILQ_INSERT_TAIL(&host->senders, sender, link);
    } /* else what was kept behind the last one was not enough */
    struct raft_status status;
    raft_get_status(group->raft, &status);
    sender->state = SENDER_QUEUED;
    sender->term = status.term;
    sender->meta = (struct raft_snapshot_meta){0};
    sender->sequence = 0;
    sender->bytes_count = 0;
    sender->answer_ns_max = 0;
    sender->progress_ns = host->now_ns;
    buffer_init(&sender->next);
    buffer_init(&sender->chunk);
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
}

/* The one that was read goes, and the next one is read. */
static void host_sender_next(struct host_sender *sender)
{
    struct buffer sent = sender->chunk;
    sender->chunk = sender->next;
    sender->next = sent;
    sender->last = sender->next_is_last;
    sender->is_read = false;
    sender->is_sent = true;
    sender->sent_ns = sender->host->now_ns;
    rate_limit_take(&sender->host->snapshot_limit, sender->chunk.bytes_count, sender->host->now_ns);
    sender->resend_wait_ns = 2 * sender->answer_ns_max;
    if (sender->resend_wait_ns < HOST_SNAPSHOT_RESEND_NS_MIN)
        sender->resend_wait_ns = HOST_SNAPSHOT_RESEND_NS_MIN;
    if (sender->resend_wait_ns > HOST_SNAPSHOT_RESEND_NS_MAX)
        sender->resend_wait_ns = HOST_SNAPSHOT_RESEND_NS_MAX;
    sender->resend_ns = sender->sent_ns + sender->resend_wait_ns;
    host_sender_send(sender);
    if (!sender->last)
        host_sender_read(sender);
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
        host_sender_end(sender);
        return;
    }
    struct raft_status at;
    raft_get_status(group->raft, &at);
    sender->log_mark = at.log_appended_bytes;
    ASSERT(sender->meta.configuration.members_count <= RAFT_MEMBERS_MAX);
    do {
        sender->id = random_next(&host->random);
    } while (sender->id == 0);
    sender->progress_ns = host->now_ns;
    sender->state = SENDER_STREAMING;
    host->senders_active_count++;
    host_sender_read(sender);
}

void host_sender_acknowledged(struct raft_host *host, struct host_group *group,
                              store_id_t from_store, const struct raft_message *message)
{
    struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        if (sender->group == group && sender->replica == message->from &&
            sender->store == from_store && sender->id == message->read_round &&
            sender->state == SENDER_STREAMING && !sender->given_up && !sender->is_refused)
            break;
    }
    if (!sender || !sender->is_sent || sender->sequence != message->index)
        return; /* late */
    if (message->rejected) {
        host_sender_rest(sender);
        return;
    }
    sender->progress_ns = host->now_ns;
    if (host->now_ns - sender->sent_ns > sender->answer_ns_max)
        sender->answer_ns_max = host->now_ns - sender->sent_ns;
    if (sender->last) {
        host_sender_complete(sender);
        return;
    }
    sender->is_sent = false;
    sender->sequence++;
}

static bool host_group_is_sending(const struct host_group *group, const struct raft_host *host)
{
    const struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        if (sender->group == group && sender->state == SENDER_STREAMING)
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

static bool host_sender_is_wanted(const struct host_sender *sender)
{
    struct raft_status status;
    raft_get_status(sender->group->raft, &status);
    return status.role == RAFT_LEADER && status.term == sender->term && !sender->group->removed &&
           raft_configuration_find(raft_get_configuration(sender->group->raft), sender->replica);
}

static bool host_sender_is_due(const struct host_sender *sender)
{
    return sender->is_read && sender->host->now_ns >= sender->host->snapshot_limit.next_ns;
}

static void host_sender_stream(struct host_sender *sender)
{
    nanoseconds_t now_ns = sender->host->now_ns;
    if (sender->is_reading && sender->job_back) {
        sender->is_reading = false;
        sender->is_read = true;
        sender->bytes_count += sender->next.bytes_count;
    }
    if (!sender->is_sent) {
        if (host_sender_is_due(sender))
            host_sender_next(sender);
    } else if (now_ns >= sender->sent_ns + HOST_SNAPSHOT_YIELD_NS &&
               host_sender_is_waited_for(sender)) {
        /* A follower that is gone must not keep others from what makes a quorum of them: it gives
         * way, and the core asks for it again. */
        host_sender_give_up(sender);
    } else if (now_ns >= sender->resend_ns) {
        sender->resend_wait_ns *= 2;
        if (sender->resend_wait_ns > HOST_SNAPSHOT_RESEND_NS_MAX)
            sender->resend_wait_ns = HOST_SNAPSHOT_RESEND_NS_MAX;
        sender->resend_ns = now_ns + sender->resend_wait_ns;
        host_sender_send(sender);
    } else if (RARE(SNAPSHOT_CHUNK_TWICE)) {
        host_sender_send(sender);
    }
}

static void host_sender_turn(struct host_sender *sender)
{
    struct raft_host *host = sender->host;
    bool is_running = sender->is_reading && !sender->job_back;
    bool is_stuck = sender->state == SENDER_STREAMING &&
                    host->now_ns >= sender->progress_ns + HOST_SNAPSHOT_GIVE_UP_NS;
    bool has_failed = sender->is_reading && sender->job_back &&
                      (sender->status != OST_OK || RARE(SNAPSHOT_SENDER_GIVES_UP));
    if (is_running && (sender->given_up || sender->is_refused))
        return;
    if (!host_sender_is_wanted(sender) || is_stuck || has_failed || sender->given_up) {
        host_sender_give_up(sender);
        return;
    }
    switch (sender->state) {
    case SENDER_QUEUED:
        if (host->senders_active_count < HOST_SNAPSHOTS_ACTIVE_MAX &&
            !host_group_is_sending(sender->group, host))
            host_sender_start(sender);
        return;
    case SENDER_STREAMING:
        if (sender->is_refused)
            host_sender_rest(sender);
        else
            host_sender_stream(sender);
        return;
    case SENDER_RESTING:
        if (host->now_ns >= sender->rest_until_ns)
            host_sender_end(sender);
        return;
    case SENDER_FOLLOWED:
        return;
    }
}

/* The follower is gone, or has what there is: nothing needs to be kept for it any more. */
static bool host_sender_needs_log(const struct host_sender *sender, raft_index_t cut_index,
                                  raft_index_t *out_index)
{
    struct raft_host *host = sender->host;
    raft_index_t match_index;
    bool is_live = raft_follower_match(sender->group->raft, sender->replica, HOST_FOLLOWER_LIVE_MS,
                                       host->now_ns, &match_index);
    *out_index = match_index > sender->meta.index ? match_index : sender->meta.index;
    return is_live && *out_index < cut_index;
}

raft_index_t host_senders_cut_index(struct raft_host *host, struct host_group *group,
                                    raft_index_t cut_index)
{
    struct raft_status status;
    raft_get_status(group->raft, &status);
    struct host_sender *sender, *next;
    raft_index_t lowest_index = cut_index;
    TAILQ_FOREACH_SAFE(sender, &host->senders, link, next)
    {
        if (sender->group != group || sender->term != status.term ||
            (sender->state != SENDER_STREAMING && sender->state != SENDER_FOLLOWED))
            continue;
        uint64_t bytes_max = sender->bytes_count < host->options.log_followed_bytes_max
                                 ? sender->bytes_count
                                 : host->options.log_followed_bytes_max;
        raft_index_t index;
        if (host_sender_needs_log(sender, cut_index, &index) &&
            status.log_appended_bytes - sender->log_mark <= bytes_max) {
            if (index < lowest_index)
                lowest_index = index;
        } else if (sender->state == SENDER_FOLLOWED) {
            host_sender_free(sender);
        }
    }
    return lowest_index;
}

void host_senders_turn(struct raft_host *host)
{
    struct host_sender *sender, *next;
    TAILQ_FOREACH_SAFE(sender, &host->senders, link, next)
    {
        host_sender_turn(sender);
    }
}

nanoseconds_t host_senders_deadline(const struct raft_host *host)
{
    nanoseconds_t deadline_ns = NS_NEVER;
    const struct host_sender *sender;
    TAILQ_FOREACH (sender, &host->senders, link) {
        nanoseconds_t due_ns = sender->state == SENDER_RESTING ? sender->rest_until_ns
                               : sender->is_sent               ? sender->resend_ns
                               : sender->is_read               ? host->snapshot_limit.next_ns
                                                               : NS_NEVER;
        if (due_ns < deadline_ns)
            deadline_ns = due_ns;
    }
    return deadline_ns;
}

void host_senders_peer_reset(struct raft_host *host, store_id_t store)
{
    struct host_sender *sender, *next;
    TAILQ_FOREACH_SAFE(sender, &host->senders, link, next)
    {
        if (sender->state == SENDER_STREAMING && sender->store == store)
            host_sender_give_up(sender);
    }
}

bool host_senders_end_group(struct raft_host *host, const struct host_group *group)
{
    bool ended = true;
    struct host_sender *sender, *next;
    TAILQ_FOREACH_SAFE(sender, &host->senders, link, next)
    {
        if (sender->group != group)
            continue;
        ended = ended && !(sender->is_reading && !sender->job_back);
        host_sender_give_up(sender);
    }
    return ended;
}

void host_senders_free(struct raft_host *host)
{
    struct host_sender *sender;
    while ((sender = TAILQ_FIRST(&host->senders)) != NULL) {
        sender->job_back = true; /* Every job has run by now (job.h). */
        host_sender_free(sender);
    }
}
