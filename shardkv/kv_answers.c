/* kv_answers.c: the frames that go back to clients. Each request has one answer type, and each
 * answer message begins with its header, so that what is common is written once. */
#include "shardkv/kv_group.h"

#include "base/sometimes.h"

struct request_type {
    uint16_t type;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *answer;
};

static const struct request_type request_types[] = {
    {FRAME_GET, &ostraka__get_request__descriptor, &ostraka__get_answer__descriptor},
    {FRAME_LOCK, &ostraka__lock_request__descriptor, &ostraka__lock_answer__descriptor},
    {FRAME_SCAN, &ostraka__scan_request__descriptor, &ostraka__scan_answer__descriptor},
    {FRAME_PREPARE, &ostraka__prepare_request__descriptor, &ostraka__prepare_answer__descriptor},
    {FRAME_COMMIT, &ostraka__commit_request__descriptor, &ostraka__commit_answer__descriptor},
    {FRAME_ABORT, &ostraka__abort_request__descriptor, &ostraka__abort_answer__descriptor},
    {FRAME_VALIDATE, &ostraka__validate_request__descriptor, &ostraka__validate_answer__descriptor},
    {FRAME_TXN_HEARTBEAT, &ostraka__txn_heartbeat__descriptor,
     &ostraka__txn_heartbeat_answer__descriptor},
};
#define REQUEST_TYPES_COUNT (sizeof(request_types) / sizeof(request_types[0]))

union answer {
    ProtobufCMessage base;
    Ostraka__GetAnswer get;
    Ostraka__LockAnswer lock;
    Ostraka__ScanAnswer scan;
    Ostraka__PrepareAnswer prepare;
    Ostraka__CommitAnswer commit;
    Ostraka__AbortAnswer abort;
    Ostraka__ValidateAnswer validate;
    Ostraka__TxnHeartbeatAnswer heartbeat;
};

/* What an answer message points to, while it is packed. */
struct answer_parts {
    union answer answer;
    Ostraka__AnswerHeader header;
    Ostraka__LockEntry entry;
    Ostraka__TxnId other;
    Ostraka__TxnAge other_age;
};

static const struct request_type *request_type_find(uint16_t type)
{
    for (size_t index = 0; index < REQUEST_TYPES_COUNT; index++) {
        if (request_types[index].type == type)
            return &request_types[index];
    }
    return NULL;
}

const ProtobufCMessageDescriptor *kv_request_descriptor(uint16_t type)
{
    const struct request_type *found = request_type_find(type);
    return found ? found->request : NULL;
}

/* Field 1 of every request is its group, and of every answer its header: both are kept by kv.proto.
 */
static void *field_one(const ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[0];
    ASSERT(field->id == 1);
    return (char *)(uintptr_t)message + field->offset;
}

group_id_t kv_request_group(const struct kv_request *request)
{
    uint64_t group;
    memcpy(&group, field_one(request->message), sizeof(group));
    return group;
}

static void answer_init(struct answer_parts *parts, const struct kv_request *request, int status,
                        const char *text)
{
    const struct request_type *type = request_type_find(request->type);
    ASSERT(type);
    protobuf_c_message_init(type->answer, &parts->answer);
    ostraka__answer_header__init(&parts->header);
    Ostraka__AnswerHeader *header = &parts->header;
    memcpy(field_one(&parts->answer.base), &header, sizeof(header));
    header->status = status;
    /* After a restart the log may be ahead of what was heard since; the client must not take what
     * this group has forgotten for what never was (txn/coordinator.c). */
    header->heard_timestamp = raft_host_heard_timestamp(request->shared->environment.host);
    if (request->group && header->heard_timestamp < request->group->meta.log_timestamp)
        header->heard_timestamp = request->group->meta.log_timestamp;
    if (text)
        header->text = (char *)(uintptr_t)text;
    if (request->group && (status == OST_NOT_LEADER || status == OST_NOT_READY))
        header->leader_store = request->group->leadership.leader_store;
}

static void set_entry(struct answer_parts *parts, const struct kv_request *request,
                      Ostraka__LockEntry **out_entry)
{
    if (request->entry.term == 0)
        return;
    ostraka__lock_entry__init(&parts->entry);
    parts->entry.term = request->entry.term;
    parts->entry.counter = request->entry.counter;
    *out_entry = &parts->entry;
}

static void answer_send(struct answer_parts *parts, struct kv_request *request,
                        struct bytes payload)
{
    if (parts->header.status == OST_OK && request->valid_until_ns <= request->shared->now_ns) {
        /* It would be dropped on its way out, and the asker left to wait. */
        request->valid_until_ns = NS_NEVER;
        answer_init(parts, request, OST_NOT_READY, "the lease ran out before the answer was there");
        payload = bytes_of(NULL, 0);
    }
    if (!request->is_orphan && !RARE(ANSWER_LOST)) {
        uint16_t type = (uint16_t)(request->type + 1);
        outbox_to_connection_until(
            request->shared->environment.outbox, request->connection_id, request->valid_until_ns,
            frame_encode(type, request->request_id, &parts->answer.base, &payload, 1));
    }
    kv_request_free(request);
}

static void set_heartbeat_txn(struct answer_parts *parts, const struct kv_request *request)
{
    if (request->type != FRAME_TXN_HEARTBEAT)
        return;
    parts->answer.heartbeat.txn = ((const Ostraka__TxnHeartbeat *)request->message)->txn;
}

void kv_answer_status(struct kv_request *request, int status, const char *text)
{
    /* Another group asks again by itself, and a heartbeat that is well has no answer. */
    if (request->is_from_group || (request->type == FRAME_TXN_HEARTBEAT && status == OST_OK)) {
        kv_request_free(request);
        return;
    }
    struct answer_parts parts;
    answer_init(&parts, request, status, text);
    set_heartbeat_txn(&parts, request);
    answer_send(&parts, request, bytes_of(NULL, 0));
}

/* Which limit of the lock table it is. The client asks again, and shows this when it gives up. */
static const char *busy_text(struct kv_request *request)
{
    const struct participant_options *options = &request->shared->options.participant;
    struct participant_counts counts;
    participant_get_counts(request->group->participant, &counts);
    if (counts.entries >= options->entries_count_max)
        return arena_printf(&request->arena,
                            "the group has %lu transactions with locks: the limit is %u (txns)",
                            counts.entries, options->entries_count_max);
    return arena_printf(&request->arena,
                        "too many wait for the lock: the limits are %u (lock-queue), and %u locks "
                        "of the group (locks)",
                        options->locks.queue_count_max, options->locks.locks_count_max);
}

void kv_answer_refused(struct kv_request *request, int status,
                       const struct participant_reason *reason)
{
    if (request->is_from_group) {
        kv_request_free(request);
        return;
    }
    struct answer_parts parts;
    answer_init(&parts, request, status, status == OST_BUSY ? busy_text(request) : NULL);
    set_heartbeat_txn(&parts, request);
    parts.header.key = field_of_bytes(reason->key);
    parts.header.waited_ms = reason->waited_ms;
    parts.header.loss = (Ostraka__LossCause)reason->loss;
    if (reason->other.client != 0 || reason->other.sequence != 0) {
        ostraka__txn_id__init(&parts.other);
        ostraka__txn_age__init(&parts.other_age);
        txn_id_to_message(reason->other, &parts.other);
        txn_age_to_message(&reason->other_age, &parts.other_age);
        parts.header.other = &parts.other;
        parts.header.other_age = &parts.other_age;
    }
    answer_send(&parts, request, bytes_of(NULL, 0));
}

void kv_answer_value(struct kv_request *request, int status, timestamp_t version, bool found,
                     struct bytes value)
{
    struct answer_parts parts;
    answer_init(&parts, request, status, NULL);
    if (request->type == FRAME_GET) {
        parts.answer.get.found = found;
        parts.answer.get.version = version;
        parts.answer.get.read_timestamp = request->read_timestamp;
    } else {
        ASSERT(request->type == FRAME_LOCK);
        parts.answer.lock.found = found;
        parts.answer.lock.version = version;
        set_entry(&parts, request, &parts.answer.lock.entry);
    }
    answer_send(&parts, request, value);
}

void kv_answer_rows(struct kv_request *request, uint32_t rows_count, bool more, struct bytes rows)
{
    ASSERT(request->type == FRAME_SCAN);
    struct answer_parts parts;
    answer_init(&parts, request, OST_OK, NULL);
    parts.answer.scan.rows_count = rows_count;
    parts.answer.scan.more = more;
    parts.answer.scan.read_timestamp = request->entry.term == 0 ? request->read_timestamp : 0;
    set_entry(&parts, request, &parts.answer.scan.entry);
    answer_send(&parts, request, rows);
}

void kv_answer_timestamp(struct kv_request *request, int status, timestamp_t timestamp)
{
    struct answer_parts parts;
    answer_init(&parts, request, status, NULL);
    if (request->type == FRAME_PREPARE) {
        parts.answer.prepare.commit_timestamp_min = timestamp;
    } else if (request->type == FRAME_COMMIT) {
        parts.answer.commit.commit_timestamp = timestamp;
    } else {
        ASSERT(request->type == FRAME_ABORT);
        parts.answer.abort.commit_timestamp = timestamp;
    }
    answer_send(&parts, request, bytes_of(NULL, 0));
}
