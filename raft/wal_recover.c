/* wal_recover.c: the log read back from its segments.
 *
 * A write that checks is taken in only when the next one names it as the one before, or when it is
 * the last of all. A tail that an earlier recovery found torn, and that reads well today, is so
 * passed over: the write after that recovery names the one before the tail. */
#include "raft/wal_internal.h"

#include <stdio.h>
#include <xxhash.h>

/* Does a write's header of this very place stand there? */
static bool wal_header_decode(struct bytes content, uint32_t segment, uint64_t offset,
                              struct wal_write_header *out)
{
    if (content.bytes_count < WAL_BLOCK_BYTES || offset > content.bytes_count - WAL_BLOCK_BYTES)
        return false;
    const uint8_t *at = content.data + offset;
    if (wal_get_u32(at) != WAL_MAGIC || wal_get_u32(at + 4) != WAL_VERSION ||
        wal_get_u64(at + 72) != XXH3_64bits(at, 72))
        return false;
    *out = (struct wal_write_header){
        .salt = wal_get_u64(at + 8),
        .number = wal_get_u64(at + 16),
        .previous_number = wal_get_u64(at + 24),
        .previous_segment = wal_get_u32(at + 32),
        .segment = wal_get_u32(at + 36),
        .offset = wal_get_u64(at + 40),
        .durable_number = wal_get_u64(at + 48),
        .body_bytes = wal_get_u32(at + 56),
        .run_bytes = wal_get_u32(at + 60),
    };
    return out->segment == segment && out->offset == offset && out->number > 0 &&
           out->run_bytes % WAL_BLOCK_BYTES == 0 && out->run_bytes >= WAL_BLOCK_BYTES &&
           out->body_bytes <= out->run_bytes - WAL_WRITE_HEADER_BYTES;
}

static bool wal_body_checks(struct bytes content, const struct wal_write_header *header)
{
    if (header->run_bytes > content.bytes_count - header->offset)
        return false;
    const uint8_t *at = content.data + header->offset;
    return wal_get_u64(at + 64) == wal_checksum_body(header, at + WAL_WRITE_HEADER_BYTES,
                                                     header->run_bytes - WAL_WRITE_HEADER_BYTES);
}

static int wal_corrupt(char *out_why, uint32_t segment, uint64_t offset, const char *what)
{
    snprintf(out_why, WAL_WHY_BYTES, "log segment %010u is damaged at offset %llu: %s", segment,
             (unsigned long long)offset, what);
    return OST_CORRUPT;
}

/* Records. */

static bool wal_record_take(struct wal_group *group, const uint8_t *at, struct bytes payload,
                            uint32_t segment, const char **out_what)
{
    raft_term_t term = wal_get_u64(at + 24);
    uint64_t index = wal_get_u64(at + 32);
    switch (at[0]) {
    case WAL_HARD_STATE:
        wal_group_set_hard_state(group, term, index, segment);
        return true;
    case WAL_RESET:
        wal_group_reset_log(group, index, term);
        return true;
    case WAL_CUT:
        wal_group_cut_log(group, index);
        return true;
    case WAL_ENTRY:
        break;
    default:
        *out_what = "a record of an unknown type";
        return false;
    }
    struct raft_entry entry = {
        .index = index,
        .term = term,
        .log_timestamp = wal_get_u64(at + 40),
        .type = (enum raft_entry_type)at[1],
        .payload = payload.bytes_count > 0 ? blob_copy(payload) : NULL,
    };
    bool fits = entry.index > 0 && wal_group_append(group, &entry, segment);
    blob_unref(entry.payload);
    if (!fits)
        *out_what = "an entry leaves a gap in its group's log";
    return fits;
}

/* All records of one whole unit. */
static bool wal_unit_take(struct wal_group *group, struct bytes unit, uint32_t segment,
                          const char **out_what)
{
    while (unit.bytes_count > 0) {
        const uint8_t *at = unit.data;
        *out_what = "a record is cut short";
        if (unit.bytes_count < WAL_RECORD_HEADER_BYTES)
            return false;
        uint32_t payload_bytes = wal_get_u32(at + 4);
        if (payload_bytes > unit.bytes_count - WAL_RECORD_HEADER_BYTES)
            return false;
        struct bytes payload = bytes_of(at + WAL_RECORD_HEADER_BYTES, payload_bytes);
        *out_what = "the checksum of a record is wrong";
        if (wal_get_u64(at + 48) != wal_checksum_record(at, payload) ||
            wal_get_u64(at + 8) != group->group || wal_get_u64(at + 16) != group->replica)
            return false;
        if (!wal_record_take(group, at, payload, segment, out_what))
            return false;
        unit.data += WAL_RECORD_HEADER_BYTES + payload_bytes;
        unit.bytes_count -= WAL_RECORD_HEADER_BYTES + payload_bytes;
    }
    return true;
}

/* Chunks. */

struct wal_chunk {
    uint32_t kind;
    group_id_t group;
    replica_id_t replica;
    uint64_t first_write;
    uint64_t unit_bytes;
    struct bytes bytes;
};

/* A part that continues a unit begun in an earlier write. */
static bool wal_part_continue(struct wal *wal, struct wal_group *group,
                              const struct wal_chunk *chunk, const char **out_what)
{
    if (!group->part_open || group->part_first_write != chunk->first_write) {
        /* The segment in which it begins is gone, because nothing of it is live. */
        *out_what = "a unit's first part is missing";
        return chunk->first_write < wal->recovery.first_number;
    }
    *out_what = "the parts of a unit do not add up";
    buffer_append(&group->part, chunk->bytes.data, chunk->bytes.bytes_count);
    if (group->part_bytes_count != chunk->unit_bytes || group->part.bytes_count > chunk->unit_bytes)
        return false;
    if (chunk->kind != WAL_CHUNK_LAST)
        return true;
    if (group->part.bytes_count != chunk->unit_bytes)
        return false;
    bool taken =
        wal_unit_take(group, buffer_bytes(&group->part), group->part_first_segment, out_what);
    group->part_open = false;
    buffer_fini(&group->part);
    buffer_init(&group->part);
    return taken;
}

static bool wal_chunk_take(struct wal *wal, const struct wal_chunk *chunk, uint32_t segment,
                           const char **out_what)
{
    *out_what = "a chunk of an unknown kind";
    if (chunk->kind < WAL_CHUNK_WHOLE || chunk->kind > WAL_CHUNK_LAST ||
        chunk->unit_bytes > WAL_UNIT_BYTES_MAX || chunk->bytes.bytes_count > chunk->unit_bytes)
        return false;
    struct wal_group *group = wal_group_make(wal, chunk->group, chunk->replica);
    if (chunk->kind == WAL_CHUNK_MIDDLE || chunk->kind == WAL_CHUNK_LAST)
        return wal_part_continue(wal, group, chunk, out_what);
    /* A unit still open here was cut off by a crash: it never became durable, and is dropped. */
    group->part_open = false;
    if (chunk->kind == WAL_CHUNK_WHOLE)
        return wal_unit_take(group, chunk->bytes, segment, out_what);
    buffer_reset(&group->part);
    buffer_append(&group->part, chunk->bytes.data, chunk->bytes.bytes_count);
    group->part_open = true;
    group->part_first_write = chunk->first_write;
    group->part_bytes_count = chunk->unit_bytes;
    group->part_first_segment = segment;
    return true;
}

static int wal_write_take(struct wal *wal, const struct wal_write_header *header, struct bytes body,
                          char *out_why)
{
    if (wal->recovery.first_number == 0)
        wal->recovery.first_number = header->number;
    while (body.bytes_count > 0) {
        const uint8_t *at = body.data;
        const char *what = "a chunk is cut short";
        uint64_t bytes = 0;
        bool good = body.bytes_count >= WAL_CHUNK_HEADER_BYTES;
        if (good) {
            bytes = wal_get_u32(at + 4);
            good = bytes <= body.bytes_count - WAL_CHUNK_HEADER_BYTES;
        }
        if (good) {
            struct wal_chunk chunk = {.kind = wal_get_u32(at),
                                      .group = wal_get_u64(at + 8),
                                      .replica = wal_get_u64(at + 16),
                                      .first_write = wal_get_u64(at + 24),
                                      .unit_bytes = wal_get_u64(at + 32),
                                      .bytes = bytes_of(at + WAL_CHUNK_HEADER_BYTES, bytes)};
            good = wal_chunk_take(wal, &chunk, header->segment, &what);
        }
        if (!good)
            return wal_corrupt(out_why, header->segment, header->offset, what);
        body.data += WAL_CHUNK_HEADER_BYTES + bytes;
        body.bytes_count -= WAL_CHUNK_HEADER_BYTES + bytes;
    }
    return OST_OK;
}

/* Writes. */

static bool wal_pending_is_previous_of(const struct wal *wal, const struct wal_write_header *header)
{
    return wal->recovery.pending_header.number == header->previous_number &&
           wal->recovery.pending_header.segment == header->previous_segment;
}

/* Finds the place of a write that checks in the row of all. */
static int wal_write_link(struct wal *wal, const struct wal_write_header *header, struct bytes body,
                          char *out_why)
{
    if (wal->recovery.pending && wal_pending_is_previous_of(wal, header)) {
        int status =
            wal_write_take(wal, &wal->recovery.pending_header, wal->recovery.pending_body, out_why);
        if (status != OST_OK)
            return status;
    } else if (wal->recovery.pending) {
        /* An earlier recovery has cut off what reads well today. */
        const struct wal_write_header *pending = &wal->recovery.pending_header;
        if (header->offset != 0 || pending->previous_number != header->previous_number ||
            pending->previous_segment != header->previous_segment)
            return wal_corrupt(out_why, wal->recovery.end_segment, wal->recovery.end_offset,
                               "durable writes are missing");
    } else if (header->offset != 0 || header->previous_segment >= wal->recovery.first_segment) {
        uint32_t segment = wal->recovery.first_segment;
        return wal_corrupt(out_why, segment, 0, "durable writes are missing");
    }
    wal->recovery.pending = true;
    wal->recovery.pending_header = *header;
    wal->recovery.pending_body = body;
    return OST_OK;
}

static void wal_number_seen(struct wal *wal, uint64_t number)
{
    if (number > wal->recovery.highest_number)
        wal->recovery.highest_number = number;
}

/* What follows the last good write of a segment: a torn write, or nothing of this segment. A header
 * that counts the bad place as durable makes it damage. */
static int wal_scan_behind(struct wal *wal, uint32_t segment, struct bytes content, uint64_t end,
                           bool salt_known, uint64_t salt, char *out_why, bool *out_written)
{
    struct wal_write_header header;
    uint64_t offset = end;
    uint64_t bad_number = 0;
    if (wal_header_decode(content, segment, offset, &header) &&
        (!salt_known || header.salt == salt)) {
        wal_number_seen(wal, header.number);
        *out_written = true;
        bad_number = header.number;
        salt_known = true;
        salt = header.salt;
        offset += header.run_bytes;
    } else {
        offset += WAL_BLOCK_BYTES;
    }
    for (; offset < content.bytes_count; offset += WAL_BLOCK_BYTES) {
        if (!wal_header_decode(content, segment, offset, &header) ||
            (salt_known && header.salt != salt))
            continue;
        wal_number_seen(wal, header.number);
        *out_written = true;
        uint64_t expected = bad_number ? bad_number : wal->recovery.pending_header.number + 1;
        if (header.durable_number >= expected)
            return wal_corrupt(out_why, segment, end, "a write that was durable does not check");
    }
    return OST_OK;
}

/* The next segment's content will be elsewhere. */
static void wal_pending_keep(struct wal *wal)
{
    if (!wal->recovery.pending || wal->recovery.pending_copied)
        return;
    buffer_reset(&wal->recovery.pending_copy);
    buffer_append(&wal->recovery.pending_copy, wal->recovery.pending_body.data,
                  wal->recovery.pending_body.bytes_count);
    wal->recovery.pending_body = buffer_bytes(&wal->recovery.pending_copy);
    wal->recovery.pending_copied = true;
}

/* Segments that were made ahead and never written to are the spares, if no written one follows. */
static void wal_segment_found(struct wal *wal, uint32_t segment, size_t bytes_count, bool written)
{
    if (!written && bytes_count == wal->options.segment_bytes) {
        wal_numbers_push(&wal->spares, segment);
        return;
    }
    while (wal->spares.count > 0)
        wal_numbers_push(&wal->used, wal_numbers_shift(&wal->spares));
    wal_numbers_push(&wal->used, segment);
}

int wal_recover_segment(struct wal *wal, uint32_t segment, struct bytes content, char *out_why)
{
    ASSERT(segment > wal->recovery.last_segment);
    if (!wal->recovery.started)
        wal->recovery.first_segment = segment;
    wal->recovery.started = true;
    wal->recovery.last_segment = segment;
    bool written = false;
    bool salt_known = false;
    uint64_t salt = 0;
    uint64_t offset = 0;
    struct wal_write_header header;
    while (wal_header_decode(content, segment, offset, &header) &&
           (!salt_known || header.salt == salt) && wal_body_checks(content, &header)) {
        struct bytes body =
            bytes_of(content.data + offset + WAL_WRITE_HEADER_BYTES, header.body_bytes);
        int status = wal_write_link(wal, &header, body, out_why);
        if (status != OST_OK)
            return status;
        wal->recovery.pending_copied = false;
        wal_number_seen(wal, header.number);
        written = salt_known = true;
        salt = header.salt;
        offset += header.run_bytes;
    }
    int status =
        wal_scan_behind(wal, segment, content, offset, salt_known, salt, out_why, &written);
    if (status != OST_OK)
        return status;
    if (written) {
        wal->recovery.end_segment = segment;
        wal->recovery.end_offset = offset;
    }
    wal_pending_keep(wal);
    wal_segment_found(wal, segment, content.bytes_count, written);
    return OST_OK;
}

int wal_recover_end(struct wal *wal, char *out_why)
{
    if (wal->recovery.pending) {
        int status =
            wal_write_take(wal, &wal->recovery.pending_header, wal->recovery.pending_body, out_why);
        if (status != OST_OK)
            return status;
        wal->previous_number = wal->recovery.pending_header.number;
        wal->previous_segment = wal->recovery.pending_header.segment;
        wal->number_durable = wal->previous_number;
    }
    buffer_fini(&wal->recovery.pending_copy);
    buffer_init(&wal->recovery.pending_copy);
    struct wal_group *group, *next;
    HASH_ITER (hh, wal->groups, group, next) {
        group->part_open = false;
        buffer_fini(&group->part);
        buffer_init(&group->part);
    }
    /* One more than any seen: the number after that may stand in a torn header. */
    wal->number_next = wal->recovery.highest_number + 2;
    wal->segment_next = wal->recovery.last_segment + 1;
    wal->recovery.started = false;
    return OST_OK;
}
