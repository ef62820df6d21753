#include "tests/support/kv_client.h"

#include "proto/write_set.h"

#include <criterion/criterion.h>

ProtobufCBinaryData kv_field(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

struct bytes kv_client_write(struct kv_world *world, const char *key, const char *value)
{
    struct buffer buffer = BUFFER_INIT;
    struct write write = {.kind = value ? WRITE_PUT : WRITE_DELETE, .key = bytes_of_string(key)};
    if (value)
        write.value = bytes_of_string(value);
    write_set_append(&buffer, &write);
    struct bytes set = arena_copy(&world->arena, buffer_bytes(&buffer));
    buffer_fini(&buffer);
    return set;
}

uint64_t kv_client_send_prepare(struct kv_world *world, store_id_t store,
                                const struct kv_part *part, struct bytes write_set)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = kv_field(part->range_start);
    range.epoch = part->epoch ? part->epoch : 1;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = part->sequence;
    Ostraka__TxnAge age = OSTRAKA__TXN_AGE__INIT;
    age.timestamp = part->sequence;
    age.client = 9;
    age.sequence = part->sequence;
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = part->entry.term;
    entry.counter = part->entry.counter;
    Ostraka__Participant participant = OSTRAKA__PARTICIPANT__INIT;
    Ostraka__Participant *participants[] = {&participant};
    Ostraka__PrepareRequest request = OSTRAKA__PREPARE_REQUEST__INIT;
    request.group = part->group;
    request.n_ranges = 1;
    request.ranges = ranges;
    request.txn = &txn;
    request.age = &age;
    request.entry = &entry;
    request.deadline = part->deadline ? part->deadline : kv_world_deadline(world, 5000);
    request.anchor = kv_field(part->anchor);
    request.is_home = part->is_home;
    request.one_group = part->one_group;
    if (part->participant) {
        participant.key = kv_field(part->participant);
        request.n_participants = 1;
        request.participants = participants;
    }
    return kv_world_send(world, store, FRAME_PREPARE, &request.base, write_set);
}

const Ostraka__PrepareAnswer *kv_client_wait_prepare(struct kv_world *world, uint64_t request_id)
{
    return (const Ostraka__PrepareAnswer *)kv_world_wait(
        world, request_id, &ostraka__prepare_answer__descriptor, NULL);
}

const Ostraka__PrepareAnswer *kv_client_prepare(struct kv_world *world, const struct kv_part *part,
                                                struct bytes write_set)
{
    return kv_client_wait_prepare(
        world, kv_client_send_prepare(world, kv_world_leader(world, part->group), part, write_set));
}

uint64_t kv_client_last_sequence = 1000;

const Ostraka__PrepareAnswer *kv_client_put(struct kv_world *world, group_id_t group,
                                            const char *start, const char *key, const char *value)
{
    struct kv_part part = {.group = group,
                           .range_start = start,
                           .sequence = ++kv_client_last_sequence,
                           .anchor = key,
                           .one_group = true};
    const Ostraka__PrepareAnswer *answer =
        kv_client_prepare(world, &part, kv_client_write(world, key, value));
    cr_assert_eq(answer->header->status, OST_OK, "%s", answer->header->text);
    return answer;
}

uint64_t kv_client_send_get(struct kv_world *world, store_id_t store, group_id_t group,
                            const char *start, uint64_t epoch, const char *key)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = kv_field(start);
    range.epoch = epoch;
    Ostraka__GetRequest request = OSTRAKA__GET_REQUEST__INIT;
    request.group = group;
    request.range = &range;
    request.key = kv_field(key);
    return kv_world_send(world, store, FRAME_GET, &request.base, bytes_of(NULL, 0));
}

const Ostraka__GetAnswer *kv_client_wait_get(struct kv_world *world, uint64_t request_id,
                                             struct bytes *out_value)
{
    return (const Ostraka__GetAnswer *)kv_world_wait(world, request_id,
                                                     &ostraka__get_answer__descriptor, out_value);
}

void kv_client_expect_get(struct kv_world *world, group_id_t group, const char *start,
                          const char *key, const char *expected)
{
    struct bytes value;
    const Ostraka__GetAnswer *answer = kv_client_wait_get(
        world, kv_client_send_get(world, kv_world_leader(world, group), group, start, 1, key),
        &value);
    cr_assert_eq(answer->header->status, OST_OK);
    cr_assert_eq(answer->found, expected != NULL, "%s", key);
    if (expected)
        cr_assert(bytes_equal(value, bytes_of_string(expected)), "%s: %.*s", key,
                  (int)value.bytes_count, value.data);
}

const Ostraka__LockAnswer *kv_client_lock(struct kv_world *world, struct kv_part *part,
                                          const char *key, bool exclusive, struct bytes *out_value)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = kv_field(part->range_start);
    range.epoch = part->epoch ? part->epoch : 1;
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = part->sequence;
    Ostraka__TxnAge age = OSTRAKA__TXN_AGE__INIT;
    age.timestamp = part->sequence;
    age.client = 9;
    age.sequence = part->sequence;
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = part->entry.term;
    entry.counter = part->entry.counter;
    Ostraka__LockRequest request = OSTRAKA__LOCK_REQUEST__INIT;
    request.group = part->group;
    request.range = &range;
    request.txn = &txn;
    request.age = &age;
    request.entry = &entry;
    request.key = kv_field(key);
    request.mode = exclusive ? OSTRAKA__LOCK_MODE__EXCLUSIVE : OSTRAKA__LOCK_MODE__SHARED;
    uint64_t id = kv_world_send(world, kv_world_leader(world, part->group), FRAME_LOCK,
                                &request.base, bytes_of(NULL, 0));
    const Ostraka__LockAnswer *answer = (const Ostraka__LockAnswer *)kv_world_wait(
        world, id, &ostraka__lock_answer__descriptor, out_value);
    if (answer->entry)
        part->entry = (struct lock_entry_number){answer->entry->term, answer->entry->counter};
    return answer;
}

const Ostraka__CommitAnswer *kv_client_commit(struct kv_world *world, const struct kv_part *part,
                                              timestamp_t timestamp)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = kv_field(part->range_start);
    range.epoch = part->epoch ? part->epoch : 1;
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = part->sequence;
    Ostraka__CommitRequest request = OSTRAKA__COMMIT_REQUEST__INIT;
    request.group = part->group;
    request.range = &range;
    request.txn = &txn;
    request.anchor = kv_field(part->anchor);
    request.commit_timestamp = timestamp;
    request.deadline = kv_world_deadline(world, 5000);
    uint64_t id = kv_world_send(world, kv_world_leader(world, part->group), FRAME_COMMIT,
                                &request.base, bytes_of(NULL, 0));
    return (const Ostraka__CommitAnswer *)kv_world_wait(world, id,
                                                        &ostraka__commit_answer__descriptor, NULL);
}

const Ostraka__AbortAnswer *kv_client_abort(struct kv_world *world, const struct kv_part *part,
                                            const char *anchor)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = kv_field(part->range_start);
    range.epoch = part->epoch ? part->epoch : 1;
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = part->sequence;
    Ostraka__AbortRequest request = OSTRAKA__ABORT_REQUEST__INIT;
    request.group = part->group;
    request.range = &range;
    request.txn = &txn;
    request.anchor = kv_field(anchor);
    request.deadline = kv_world_deadline(world, 5000);
    uint64_t id = kv_world_send(world, kv_world_leader(world, part->group), FRAME_ABORT,
                                &request.base, bytes_of(NULL, 0));
    return (const Ostraka__AbortAnswer *)kv_world_wait(world, id,
                                                       &ostraka__abort_answer__descriptor, NULL);
}

void kv_client_log_command(struct kv_world *world, group_id_t group,
                           const Ostraka__KvCommand *command, struct bytes write_set)
{
    struct buffer payload = BUFFER_INIT;
    size_t message_bytes = ostraka__kv_command__get_packed_size(command);
    buffer_append_u32_be(&payload, (uint32_t)message_bytes);
    ostraka__kv_command__pack(command, buffer_extend(&payload, message_bytes));
    buffer_append(&payload, write_set.data, write_set.bytes_count);
    struct blob *blob = blob_copy(buffer_bytes(&payload));
    raft_index_t index;
    raft_term_t term;
    cr_assert_eq(raft_host_propose(world->stores[kv_world_leader(world, group)].host, group,
                                   RAFT_ENTRY_COMMAND, blob, world->now_ns, &index, &term),
                 OST_OK);
    blob_unref(blob);
    buffer_fini(&payload);
}

void kv_client_log_prepare(struct kv_world *world, const struct kv_part *part, const char *anchor,
                           const char *key)
{
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = part->sequence;
    Ostraka__TxnAge age = OSTRAKA__TXN_AGE__INIT;
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = kv_field(part->range_start);
    range.epoch = 1;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__PreparedCommand prepared = OSTRAKA__PREPARED_COMMAND__INIT;
    prepared.txn = &txn;
    prepared.age = &age;
    prepared.ranges = ranges;
    prepared.n_ranges = 1;
    prepared.deadline = part->deadline;
    prepared.anchor = kv_field(anchor);
    prepared.commit_timestamp_min = 1;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_PREPARED;
    command.prepared = &prepared;
    kv_client_log_command(world, part->group, &command, kv_client_write(world, key, "never"));
    kv_world_run(world, 200);
}
