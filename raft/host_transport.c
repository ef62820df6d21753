/* host_transport.c: messages of all groups to one store travel in one frame, and are taken apart.
 */
#include "raft/host_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>

/* A message with more payload takes the bulk channel, so that heartbeats do not wait behind it. */
#define HOST_CONTROL_PAYLOAD_BYTES_MAX (32u << 10)
/* A batch that has grown beyond these is closed and another begun. */
#define HOST_BATCH_PAYLOAD_BYTES_MAX (1u << 20)
#define HOST_BATCH_MESSAGE_BYTES_MAX (FRAME_MESSAGE_BYTES_MAX / 4)
/* No message takes more when packed, nor does the header of an entry. */
#define HOST_MESSAGE_PACKED_BYTES 160u
#define HOST_ENTRY_PACKED_BYTES   40u

static void host_message_free(struct host_message *message)
{
    for (uint32_t i = 0; i < message->message.entries_count; i++)
        blob_unref(message->entries[i].payload);
    free(message);
}

void host_messages_free(struct host_messages *messages)
{
    struct host_message *message;
    while ((message = TAILQ_FIRST(messages)) != NULL) {
        TAILQ_REMOVE(messages, message, link);
        host_message_free(message);
    }
}

/* Sending. */

static void host_batch_add(struct raft_host *host, struct host_message *message)
{
    store_id_t store = message->message.to_store;
    struct host_peer *peer;
    HASH_FIND(hh, host->peers, &store, sizeof(store), peer);
    if (!peer) {
        peer = memory_alloc_zeroed(1, sizeof(*peer));
        peer->store = store;
        TAILQ_INIT(&peer->batches[CHANNEL_CONTROL]);
        TAILQ_INIT(&peer->batches[CHANNEL_BULK]);
        HASH_ADD(hh, host->peers, store, sizeof(peer->store), peer);
    }
    enum channel channel =
        message->payload_bytes > HOST_CONTROL_PAYLOAD_BYTES_MAX ? CHANNEL_BULK : CHANNEL_CONTROL;
    if (RARE(RAFT_MESSAGE_OTHER_CHANNEL))
        channel = channel == CHANNEL_BULK ? CHANNEL_CONTROL : CHANNEL_BULK;
    TAILQ_INSERT_TAIL(&peer->batches[channel], message, link);
    if (!peer->queued) {
        peer->queued = true;
        TAILQ_INSERT_TAIL(&host->peers_queued, peer, link);
    }
}

/* In the order of what they wait for. */
static void host_message_hold(struct host_group *group, struct host_message *message)
{
    struct host_message *before = TAILQ_LAST(&group->held, host_messages);
    while (before && before->message.after_persist_id > message->message.after_persist_id)
        before = TAILQ_PREV(before, host_messages, link);
    if (before)
        TAILQ_INSERT_AFTER(&group->held, before, message, link);
    else
        TAILQ_INSERT_HEAD(&group->held, message, link);
}

void host_message_send(struct raft_host *host, struct host_group *group,
                       const struct raft_message *message)
{
    /* One that the configuration does not name yet, or any more, is answered where it spoke from.
     */
    store_id_t to_store = message->to_store;
    if (to_store == 0 && message->to == host->speaker)
        to_store = host->speaker_store;
    if (to_store == 0 || to_store == host->options.store) {
        host->messages_dropped_count++;
        return;
    }
    if (RARE(RAFT_MESSAGE_LOST))
        return;
    size_t entries_bytes = message->entries_count * sizeof(struct raft_entry);
    struct host_message *copy = memory_alloc(sizeof(*copy) + entries_bytes);
    copy->group = group->group;
    copy->message = *message;
    copy->message.entries = copy->entries;
    copy->message.to_store = to_store;
    copy->payload_bytes = 0;
    for (uint32_t i = 0; i < message->entries_count; i++) {
        copy->entries[i] = message->entries[i];
        if (copy->entries[i].payload) {
            blob_ref(copy->entries[i].payload);
            copy->payload_bytes += copy->entries[i].payload->bytes_count;
        }
    }
    if (message->after_persist_id > group->persisted_id) { /* R1 */
        ASSERT(message->after_persist_id <= group->queued_id);
        host_message_hold(group, copy);
        return;
    }
    host_batch_add(host, copy);
}

void host_messages_release(struct raft_host *host, struct host_group *group)
{
    struct host_message *message;
    while ((message = TAILQ_FIRST(&group->held)) != NULL &&
           message->message.after_persist_id <= group->persisted_id) {
        TAILQ_REMOVE(&group->held, message, link);
        host_batch_add(host, message);
    }
}

static Ostraka__RaftMessage *host_message_pack(struct arena *arena,
                                               const struct host_message *message,
                                               struct bytes *payloads, size_t *payloads_count)
{
    const struct raft_message *from = &message->message;
    Ostraka__RaftMessage *to = arena_alloc(arena, sizeof(*to));
    ostraka__raft_message__init(to);
    to->type = (uint32_t)from->type;
    to->group = message->group;
    to->from = from->from;
    to->to = from->to;
    to->term = from->term;
    to->index = from->index;
    to->index_term = from->index_term;
    to->commit_index = from->commit_index;
    to->read_round = from->read_round;
    to->reject_hint_index = from->reject_hint_index;
    to->reject_hint_term = from->reject_hint_term;
    to->rejected = from->rejected;
    to->forced = from->forced;
    to->payload_bytes = message->payload_bytes;
    to->n_entries = from->entries_count;
    to->entries = arena_alloc(arena, (from->entries_count + 1) * sizeof(*to->entries));
    Ostraka__RaftEntryHeader *headers =
        arena_alloc(arena, (from->entries_count + 1) * sizeof(*headers));
    for (uint32_t i = 0; i < from->entries_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        ostraka__raft_entry_header__init(&headers[i]);
        headers[i].term = entry->term;
        headers[i].type = (uint32_t)entry->type;
        headers[i].log_timestamp = entry->log_timestamp;
        struct bytes payload = blob_bytes(entry->payload);
        headers[i].payload_bytes = (uint32_t)payload.bytes_count;
        to->entries[i] = &headers[i];
        if (payload.bytes_count > 0)
            payloads[(*payloads_count)++] = payload;
    }
    return to;
}

/* Packs messages from the head of the batch into one frame. */
static void host_batch_send(struct raft_host *host, struct host_peer *peer, enum channel channel)
{
    struct host_messages *batch = &peer->batches[channel];
    size_t messages_count = 0;
    size_t entries_count = 0;
    size_t message_bytes = 0;
    size_t payload_bytes = 0;
    struct host_message *message;
    TAILQ_FOREACH (message, batch, link) {
        size_t more_bytes = HOST_MESSAGE_PACKED_BYTES +
                            message->message.entries_count * (size_t)HOST_ENTRY_PACKED_BYTES;
        if (messages_count > 0 &&
            (payload_bytes + message->payload_bytes > HOST_BATCH_PAYLOAD_BYTES_MAX ||
             message_bytes + more_bytes > HOST_BATCH_MESSAGE_BYTES_MAX ||
             RARE(RAFT_BATCH_ONE_MESSAGE)))
            break;
        messages_count++;
        entries_count += message->message.entries_count;
        message_bytes += more_bytes;
        payload_bytes += message->payload_bytes;
    }
    Ostraka__RaftBatch frame = OSTRAKA__RAFT_BATCH__INIT;
    frame.heard_timestamp = host->heard;
    frame.n_messages = messages_count;
    frame.messages = arena_alloc(&host->arena, messages_count * sizeof(*frame.messages));
    struct bytes *payloads = arena_alloc(&host->arena, (entries_count + 1) * sizeof(*payloads));
    size_t payloads_count = 0;
    message = TAILQ_FIRST(batch);
    for (size_t i = 0; i < messages_count; i++, message = TAILQ_NEXT(message, link))
        frame.messages[i] = host_message_pack(&host->arena, message, payloads, &payloads_count);
    outbox_to_store(host->update->outbox, peer->store, channel,
                    frame_encode(FRAME_RAFT_BATCH, 0, &frame.base, payloads, payloads_count));
    for (size_t i = 0; i < messages_count; i++) {
        message = TAILQ_FIRST(batch);
        TAILQ_REMOVE(batch, message, link);
        host_message_free(message);
    }
}

void host_transport_flush(struct raft_host *host)
{
    struct host_peer *peer;
    while ((peer = TAILQ_FIRST(&host->peers_queued)) != NULL) {
        TAILQ_REMOVE(&host->peers_queued, peer, link);
        peer->queued = false;
        while (!TAILQ_EMPTY(&peer->batches[CHANNEL_CONTROL]))
            host_batch_send(host, peer, CHANNEL_CONTROL);
        while (!TAILQ_EMPTY(&peer->batches[CHANNEL_BULK]))
            host_batch_send(host, peer, CHANNEL_BULK);
    }
}

/* Receiving. */

/* Looked at whole before any of it is used. */
static bool host_batch_is_sound(const Ostraka__RaftBatch *batch, size_t payload_bytes)
{
    for (size_t i = 0; i < batch->n_messages; i++) {
        const Ostraka__RaftMessage *message = batch->messages[i];
        if (message->type < RAFT_MSG_PRE_VOTE_REQUEST || message->type > RAFT_MSG_SNAPSHOT_ACK)
            return false;
        if (message->from == 0 || message->to == 0)
            return false;
        if (message->n_entries > 0 && message->type != RAFT_MSG_APPEND_REQUEST)
            return false;
        if (message->index > UINT64_MAX / 2 || message->term > UINT64_MAX / 2)
            return false; /* both are counted up from */
        size_t entries_bytes = 0;
        raft_term_t term = message->index_term;
        for (size_t j = 0; j < message->n_entries; j++) {
            const Ostraka__RaftEntryHeader *entry = message->entries[j];
            if (entry->type < RAFT_ENTRY_TERM_OPENING || entry->type > RAFT_ENTRY_CONFIGURATION)
                return false;
            if (entry->term < term || entry->term > message->term) /* L2 */
                return false;
            term = entry->term;
            entries_bytes += entry->payload_bytes;
        }
        if (entries_bytes != message->payload_bytes || entries_bytes > payload_bytes)
            return false;
        payload_bytes -= entries_bytes;
    }
    return payload_bytes == 0;
}

/* R6: both ends are who the message says, as far as this replica knows. */
static struct host_group *host_message_addressee(struct raft_host *host, store_id_t from_store,
                                                 const Ostraka__RaftMessage *message)
{
    struct host_group *group = host_group_find(host, message->group);
    if (!group || group->replica != message->to || group->replica == message->from)
        return NULL;
    const struct raft_member *member =
        raft_configuration_find(raft_get_configuration(group->raft), message->from);
    return member && member->store != from_store ? NULL : group;
}

static void host_message_take(struct raft_host *host, store_id_t from_store,
                              const Ostraka__RaftMessage *from, struct bytes payload)
{
    struct host_group *group = host_message_addressee(host, from_store, from);
    if (!group) {
        COVER(MESSAGE_TO_ANOTHER_REPLICA);
        host->messages_dropped_count++;
        log_write(LOG_DEBUG, "message dropped", "store=%lu group=%lu from=%lu to=%lu",
                  host->options.store, from->group, from->from, from->to);
        return;
    }
    struct raft_entry *entries =
        arena_alloc(&host->arena, (from->n_entries + 1) * sizeof(*entries));
    for (size_t i = 0; i < from->n_entries; i++) {
        const Ostraka__RaftEntryHeader *header = from->entries[i];
        entries[i] = (struct raft_entry){
            .index = from->index + 1 + i,
            .term = header->term,
            .log_timestamp = header->log_timestamp,
            .type = (enum raft_entry_type)header->type,
        };
        if (header->payload_bytes > 0)
            entries[i].payload = blob_copy(bytes_of(payload.data, header->payload_bytes));
        payload.data += header->payload_bytes;
    }
    struct raft_message message = {
        .type = (enum raft_message_type)from->type,
        .from = from->from,
        .to = from->to,
        .to_store = host->options.store,
        .term = from->term,
        .index = from->index,
        .index_term = from->index_term,
        .commit_index = from->commit_index,
        .read_round = from->read_round,
        .reject_hint_index = from->reject_hint_index,
        .reject_hint_term = from->reject_hint_term,
        .rejected = from->rejected,
        .forced = from->forced,
        .entries = entries,
        .entries_count = (uint32_t)from->n_entries,
    };
    if (message.type == RAFT_MSG_SNAPSHOT_ACK) {
        host_sender_acknowledged(host, group, from_store, &message);
    } else {
        struct raft_event event = {
            .type = RAFT_EV_MSG_RECEIVED, .now_ns = host->now_ns, .message = &message};
        host->speaker = message.from;
        host->speaker_store = from_store;
        if (host_step(host, group, &event) != OST_OK)
            host->messages_dropped_count++;
        host->speaker = 0;
    }
    for (size_t i = 0; i < from->n_entries; i++)
        blob_unref(entries[i].payload);
}

int raft_host_receive(struct raft_host *host, store_id_t from_store, const struct frame *frame,
                      nanoseconds_t now_ns)
{
    if (now_ns > host->now_ns)
        host->now_ns = now_ns;
    if (frame->type == FRAME_RAFT_SNAPSHOT_CHUNK)
        return host_receiver_receive(host, from_store, frame);
    if (frame->type != FRAME_RAFT_BATCH)
        return OST_PROTOCOL;
    const Ostraka__RaftBatch *batch = (const Ostraka__RaftBatch *)message_unpack(
        &ostraka__raft_batch__descriptor, frame->message, &host->arena);
    if (!batch || !host_batch_is_sound(batch, frame->payload.bytes_count))
        return OST_PROTOCOL;
    raft_host_heard(host, batch->heard_timestamp);
    const uint8_t *payload = frame->payload.data;
    for (size_t i = 0; i < batch->n_messages; i++) {
        const Ostraka__RaftMessage *message = batch->messages[i];
        host_message_take(host, from_store, message, bytes_of(payload, message->payload_bytes));
        if (message->payload_bytes > 0)
            payload += message->payload_bytes;
    }
    return OST_OK;
}
