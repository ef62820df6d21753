/* coordinator_encode.c: a transaction's requests as frames, routed by the newest map. */
#include "proto/frame.h"
#include "txn/coordinator_internal.h"

static ProtobufCBinaryData binary(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.bytes_count,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}

/* The parts that nearly every request has. */
struct common {
    Ostraka__TxnId txn;
    Ostraka__TxnAge age;
    Ostraka__LockEntry entry;
    Ostraka__RangeRef range;
};

static void common_fill(const struct coordinator *coordinator,
                        const struct coordinator_member *member, struct common *out)
{
    ostraka__txn_id__init(&out->txn);
    ostraka__txn_age__init(&out->age);
    ostraka__lock_entry__init(&out->entry);
    ostraka__range_ref__init(&out->range);
    txn_id_to_message(coordinator->id, &out->txn);
    txn_age_to_message(&coordinator->age, &out->age);
    if (member) {
        out->entry.term = member->entry.term;
        out->entry.counter = member->entry.counter;
    }
}

static bool route_key(const struct coordinator *coordinator, struct bytes key,
                      Ostraka__RangeRef *out_range, group_id_t *out_group)
{
    struct coordinator_route route;
    if (!coordinator->route(coordinator->route_context, key, &route))
        return false;
    out_range->start = binary(route.range_start);
    out_range->epoch = route.epoch;
    *out_group = route.group;
    return true;
}

static const struct coordinator_member *member_of_group(const struct coordinator *coordinator,
                                                        group_id_t group)
{
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (coordinator->members[slot].group == group)
            return &coordinator->members[slot];
    }
    return NULL;
}

static Ostraka__LockMode lock_mode_to_message(enum lock_mode mode)
{
    return mode == LOCK_EXCLUSIVE ? OSTRAKA__LOCK_MODE__EXCLUSIVE : OSTRAKA__LOCK_MODE__SHARED;
}

/* Every range that it touches in the group, each once though two keys may have met in one by now.
 */
static bool prepare_ranges(struct coordinator *coordinator, const struct coordinator_member *member,
                           struct arena *arena, Ostraka__PrepareRequest *request)
{
    Ostraka__RangeRef *refs = arena_alloc(arena, member->touched_count * sizeof(*refs));
    request->ranges = arena_alloc(arena, member->touched_count * sizeof(request->ranges[0]));
    for (uint32_t index = 0; index < member->touched_count; index++) {
        Ostraka__RangeRef *ref = &refs[request->n_ranges];
        group_id_t group;
        ostraka__range_ref__init(ref);
        if (!route_key(coordinator, member->touched[index].key, ref, &group))
            return false;
        bool seen = false;
        for (size_t before = 0; before < request->n_ranges && !seen; before++)
            seen = refs[before].start.len == ref->start.len &&
                   (ref->start.len == 0 ||
                    memcmp(refs[before].start.data, ref->start.data, ref->start.len) == 0);
        if (!seen)
            request->ranges[request->n_ranges++] = ref;
    }
    return true;
}

/* All but home, each by one of its keys. */
static Ostraka__Participant **participants_new(const struct coordinator *coordinator,
                                               struct arena *arena, size_t *out_count)
{
    uint32_t others_count = coordinator->members_count - 1;
    Ostraka__Participant *participants = arena_alloc(arena, others_count * sizeof(*participants));
    Ostraka__Participant **list = arena_alloc(arena, others_count * sizeof(list[0]));
    *out_count = 0;
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (slot == coordinator->home)
            continue;
        Ostraka__Participant *participant = &participants[*out_count];
        ostraka__participant__init(participant);
        participant->key = binary(coordinator->members[slot].touched[0].key);
        list[(*out_count)++] = participant;
    }
    return list;
}

static struct blob *encode_prepare(struct coordinator *coordinator, uint32_t slot,
                                   uint64_t request_id, group_id_t *out_group)
{
    const struct coordinator_member *member = &coordinator->members[slot];
    struct common common;
    common_fill(coordinator, member, &common);
    struct arena arena;
    arena_init(&arena);
    Ostraka__PrepareRequest request = OSTRAKA__PREPARE_REQUEST__INIT;
    request.group = member->group;
    request.txn = &common.txn;
    request.age = &common.age;
    request.entry = &common.entry;
    request.deadline = coordinator->deadline;
    request.anchor = binary(coordinator->anchor);
    request.wait_ms_max = coordinator->wait_ms_max;
    request.is_home = slot == coordinator->home;
    request.one_group = coordinator->one_group;
    struct blob *frame = NULL;
    if (prepare_ranges(coordinator, member, &arena, &request)) {
        if (request.is_home && !request.one_group)
            request.participants = participants_new(coordinator, &arena, &request.n_participants);
        request.checks = coordinator_reads_checks(member, &arena, &request.n_checks);
        struct bytes payload = buffer_bytes(&member->write_set);
        frame = frame_encode(FRAME_PREPARE, request_id, &request.base, &payload, 1);
        *out_group = member->group;
    }
    arena_fini(&arena);
    return frame;
}

static struct blob *encode_commit(struct coordinator *coordinator, uint64_t request_id,
                                  group_id_t *out_group)
{
    struct common common;
    common_fill(coordinator, NULL, &common);
    if (!route_key(coordinator, coordinator->anchor, &common.range, out_group))
        return NULL;
    Ostraka__CommitRequest request = OSTRAKA__COMMIT_REQUEST__INIT;
    request.group = *out_group;
    request.range = &common.range;
    request.txn = &common.txn;
    request.anchor = binary(coordinator->anchor);
    request.commit_timestamp = coordinator->commit_timestamp;
    request.deadline = coordinator->deadline;
    return frame_encode(FRAME_COMMIT, request_id, &request.base, NULL, 0);
}

/* With the anchor: home decides. Without: nothing was prepared, only locks are dropped. */
static struct blob *encode_abort(struct coordinator *coordinator, uint32_t slot,
                                 uint64_t request_id, group_id_t *out_group)
{
    const struct coordinator_member *member = &coordinator->members[slot];
    bool decides = member->request == REQUEST_ABORT;
    struct common common;
    common_fill(coordinator, member, &common);
    struct bytes key = decides ? coordinator->anchor : member->touched[0].key;
    if (!route_key(coordinator, key, &common.range, out_group))
        return NULL;
    /* Locks are where they were taken, wherever the key has gone. */
    if (!decides)
        *out_group = member->group;
    Ostraka__AbortRequest request = OSTRAKA__ABORT_REQUEST__INIT;
    request.group = *out_group;
    request.range = &common.range;
    request.txn = &common.txn;
    struct arena arena;
    arena_init(&arena);
    if (decides) {
        request.anchor = binary(coordinator->anchor);
        if (!coordinator->one_group)
            request.participants = participants_new(coordinator, &arena, &request.n_participants);
    }
    request.entry = &common.entry;
    request.deadline = coordinator->deadline;
    struct blob *frame = frame_encode(FRAME_ABORT, request_id, &request.base, NULL, 0);
    arena_fini(&arena);
    return frame;
}

static struct blob *encode_validate(struct coordinator *coordinator, uint32_t slot,
                                    uint64_t request_id, group_id_t *out_group)
{
    const struct coordinator_member *member = &coordinator->members[slot];
    struct common common;
    common_fill(coordinator, member, &common);
    Ostraka__ValidateRequest request = OSTRAKA__VALIDATE_REQUEST__INIT;
    request.group = member->group;
    request.txn = &common.txn;
    request.entry = &common.entry;
    *out_group = member->group;
    struct arena arena;
    arena_init(&arena);
    request.checks = coordinator_reads_checks(member, &arena, &request.n_checks);
    struct blob *frame = frame_encode(FRAME_VALIDATE, request_id, &request.base, NULL, 0);
    arena_fini(&arena);
    return frame;
}

struct blob *coordinator_encode(struct coordinator *coordinator, uint32_t slot, uint64_t request_id,
                                group_id_t *out_group)
{
    ASSERT(slot < coordinator->members_count);
    switch (coordinator->members[slot].request) {
    case REQUEST_PREPARE:
        return encode_prepare(coordinator, slot, request_id, out_group);
    case REQUEST_COMMIT:
        return encode_commit(coordinator, request_id, out_group);
    case REQUEST_ABORT:
    case REQUEST_RELEASE:
        return encode_abort(coordinator, slot, request_id, out_group);
    case REQUEST_VALIDATE:
        return encode_validate(coordinator, slot, request_id, out_group);
    case REQUEST_NONE:
        break;
    }
    ASSERT(!"a slot with a request");
    return NULL;
}

struct blob *coordinator_encode_lock(struct coordinator *coordinator, uint64_t request_id,
                                     struct bytes key, enum lock_mode mode, group_id_t *out_group)
{
    struct common common;
    common_fill(coordinator, NULL, &common);
    if (!route_key(coordinator, key, &common.range, out_group))
        return NULL;
    const struct coordinator_member *member = member_of_group(coordinator, *out_group);
    if (member) {
        common.entry.term = member->entry.term;
        common.entry.counter = member->entry.counter;
    } else {
        coordinator_note_asked(coordinator, *out_group, key,
                               bytes_of(common.range.start.data, common.range.start.len));
    }
    Ostraka__LockRequest request = OSTRAKA__LOCK_REQUEST__INIT;
    request.group = *out_group;
    request.range = &common.range;
    request.txn = &common.txn;
    request.age = &common.age;
    request.entry = &common.entry;
    request.key = binary(key);
    request.wait_ms_max = coordinator->wait_ms_max;
    request.mode = lock_mode_to_message(mode);
    return frame_encode(FRAME_LOCK, request_id, &request.base, NULL, 0);
}

struct blob *coordinator_encode_scan(struct coordinator *coordinator, uint64_t request_id,
                                     const struct coordinator_scan *scan, group_id_t *out_group)
{
    struct common common;
    common_fill(coordinator, NULL, &common);
    if (!route_key(coordinator, scan->route_key, &common.range, out_group))
        return NULL;
    const struct coordinator_member *member = member_of_group(coordinator, *out_group);
    if (member) {
        common.entry.term = member->entry.term;
        common.entry.counter = member->entry.counter;
    } else {
        coordinator_note_asked(coordinator, *out_group, scan->route_key,
                               bytes_of(common.range.start.data, common.range.start.len));
    }
    Ostraka__ScanRequest request = OSTRAKA__SCAN_REQUEST__INIT;
    request.group = *out_group;
    request.range = &common.range;
    request.txn = &common.txn;
    request.age = &common.age;
    request.entry = &common.entry;
    request.start = binary(scan->start);
    request.end = binary(scan->end);
    request.rows_count_max = scan->rows_count_max;
    request.reverse = scan->reverse;
    request.keys_only = scan->keys_only;
    request.wait_ms_max = coordinator->wait_ms_max;
    request.mode = lock_mode_to_message(scan->mode);
    return frame_encode(FRAME_SCAN, request_id, &request.base, NULL, 0);
}

struct blob *coordinator_encode_heartbeat(struct coordinator *coordinator, uint32_t slot,
                                          uint64_t request_id, group_id_t *out_group)
{
    ASSERT(slot < coordinator->members_count);
    const struct coordinator_member *member = &coordinator->members[slot];
    struct common common;
    common_fill(coordinator, member, &common);
    Ostraka__TxnHeartbeat request = OSTRAKA__TXN_HEARTBEAT__INIT;
    request.group = member->group;
    request.txn = &common.txn;
    request.entry = &common.entry;
    *out_group = member->group;
    return frame_encode(FRAME_TXN_HEARTBEAT, request_id, &request.base, NULL, 0);
}
