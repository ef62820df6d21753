/* wal_recover.c: the log read back from its segments.
 *
 * Every place where a write may begin is looked at. A write whose header checks is taken in only
 * when the next one names it as the one before, or when it is the last of all. A tail that an
 * earlier recovery found torn, and that reads well today, is so passed over: the write after that
 * recovery names the one before the tail.
 *
 * A write that a later one names as the one before it was durable, as the next is only begun then
 * (W1). If it does not check, it is lost; if it is not even found, so are perhaps others before it.
 * Who may have had something in it:
 *   - one write is lost, and the next one checks: the groups that the next one lists;
 *   - else: every group.
 * Of these, who has a later unit that says all there is to know of its replica has lost nothing
 * that still counts. All others are damaged: whatever else of them reads well, a vote or an entry
 * may be missing (PITFALLS: a replica that forgot a vote votes twice). The last write of all cannot
 * be told from a torn one, and is cut off. */
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
        wal_get_u64(at + 80) != XXH3_64bits(at, WAL_WRITE_HEADER_SUMMED_BYTES))
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
        .run = wal_get_u64(at + 64),
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
    return wal_get_u64(at + 72) == wal_checksum_body(header, at + WAL_WRITE_HEADER_BYTES,
                                                     header->run_bytes - WAL_WRITE_HEADER_BYTES);
}

/* Damage is told of once: what follows is often a consequence. */
static void wal_damage_note(struct wal *wal, uint32_t segment, uint64_t offset, const char *what)
{
    if (wal->recovery.why[0] == '\0')
        snprintf(wal->recovery.why, WAL_WHY_BYTES,
                 "log segment %010u is damaged at offset %llu: %s", segment,
                 (unsigned long long)offset, what);
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
    case WAL_DESTROYED:
        wal_group_set_mark(group, WAL_MARK_DESTROYED, segment);
        return true;
    case WAL_DAMAGED:
        wal_group_set_mark(group, WAL_MARK_DAMAGED, segment);
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

/* All records of one whole unit. One with a mark, or with where the log begins and the hard state,
 * says all there is to know. */
static bool wal_unit_take(struct wal_group *group, struct bytes unit, uint32_t segment,
                          uint64_t first_write, const char **out_what)
{
    bool reset = false, hard_state = false, mark = false;
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
        reset |= at[0] == WAL_RESET;
        hard_state |= at[0] == WAL_HARD_STATE;
        mark |= at[0] == WAL_DESTROYED || at[0] == WAL_DAMAGED;
        unit.data += WAL_RECORD_HEADER_BYTES + payload_bytes;
        unit.bytes_count -= WAL_RECORD_HEADER_BYTES + payload_bytes;
    }
    if (mark || (reset && hard_state))
        group->complete_number = first_write;
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
    bool taken = wal_unit_take(group, buffer_bytes(&group->part), group->part_first_segment,
                               group->part_first_write, out_what);
    group->part_open = false;
    buffer_fini(&group->part);
    buffer_init(&group->part);
    return taken;
}

static bool wal_unit_chunk_take(struct wal *wal, struct wal_group *group,
                                const struct wal_chunk *chunk, uint32_t segment,
                                const char **out_what)
{
    if (chunk->kind == WAL_CHUNK_MIDDLE || chunk->kind == WAL_CHUNK_LAST)
        return wal_part_continue(wal, group, chunk, out_what);
    /* A unit still open here was cut off by a crash: it never became durable, and is dropped. */
    group->part_open = false;
    if (chunk->kind == WAL_CHUNK_WHOLE)
        return wal_unit_take(group, chunk->bytes, segment, chunk->first_write, out_what);
    buffer_reset(&group->part);
    buffer_append(&group->part, chunk->bytes.data, chunk->bytes.bytes_count);
    group->part_open = true;
    group->part_first_write = chunk->first_write;
    group->part_bytes_count = chunk->unit_bytes;
    group->part_first_segment = segment;
    return true;
}

/* What does not fit into its group's log is a consequence of something that was lost. */
static void wal_chunk_take(struct wal *wal, const struct wal_chunk *chunk,
                           const struct wal_write_header *header)
{
    const char *what = NULL;
    const struct wal_group *known = wal_group_find(wal, chunk->group);
    if (known && known->replica > chunk->replica)
        return; /* it is gone */
    struct wal_group *group = wal_group_make(wal, chunk->group, chunk->replica);
    wal_names_add(&wal->names, chunk->group, chunk->replica);
    if (wal_unit_chunk_take(wal, group, chunk, header->segment, &what))
        return;
    group->part_open = false;
    group->lost_number = header->number;
    wal_damage_note(wal, header->segment, header->offset, what);
}

/* False: there is no chunk. */
static bool wal_chunk_decode(struct bytes body, struct wal_chunk *out)
{
    const uint8_t *at = body.data;
    if (body.bytes_count < WAL_CHUNK_HEADER_BYTES)
        return false;
    uint64_t bytes = wal_get_u32(at + 4);
    if (bytes > body.bytes_count - WAL_CHUNK_HEADER_BYTES)
        return false;
    *out = (struct wal_chunk){.kind = wal_get_u32(at),
                              .group = wal_get_u64(at + 8),
                              .replica = wal_get_u64(at + 16),
                              .first_write = wal_get_u64(at + 24),
                              .unit_bytes = wal_get_u64(at + 32),
                              .bytes = bytes_of(at + WAL_CHUNK_HEADER_BYTES, bytes)};
    if (out->kind == WAL_CHUNK_PREVIOUS)
        return bytes % WAL_NAME_BYTES == 0;
    return out->kind >= WAL_CHUNK_WHOLE && out->kind <= WAL_CHUNK_LAST &&
           out->unit_bytes <= WAL_UNIT_BYTES_MAX && bytes <= out->unit_bytes;
}

/* A write whose checksum is right. */
static void wal_write_take(struct wal *wal, const struct wal_write_header *header,
                           struct bytes body)
{
    if (wal->recovery.first_number == 0)
        wal->recovery.first_number = header->number;
    wal->names.number = header->number;
    wal->names.count = 0;
    while (body.bytes_count > 0) {
        struct wal_chunk chunk;
        if (!wal_chunk_decode(body, &chunk)) {
            wal->recovery.lost_number = header->number;
            wal_damage_note(wal, header->segment, header->offset, "a chunk makes no sense");
            return;
        }
        if (chunk.kind != WAL_CHUNK_PREVIOUS)
            wal_chunk_take(wal, &chunk, header);
        body.data += WAL_CHUNK_HEADER_BYTES + chunk.bytes.bytes_count;
        body.bytes_count -= WAL_CHUNK_HEADER_BYTES + chunk.bytes.bytes_count;
    }
}

/* Writes. */

/* A write and whether its body checks. */
struct wal_found {
    struct wal_write_header header;
    struct bytes body;
    bool lost;
};

/* The write before `next` is lost, and no other: those whom `next` lists had something in it.
 * False: it has no list. */
static bool wal_lose_listed(struct wal *wal, const struct wal_found *next)
{
    struct wal_chunk chunk;
    if (next->lost || !wal_chunk_decode(next->body, &chunk) || chunk.kind != WAL_CHUNK_PREVIOUS)
        return false;
    for (size_t at = 0; at < chunk.bytes.bytes_count; at += WAL_NAME_BYTES) {
        group_id_t id = wal_get_u64(chunk.bytes.data + at);
        replica_id_t replica = wal_get_u64(chunk.bytes.data + at + 8);
        const struct wal_group *known = wal_group_find(wal, id);
        if (known && known->replica > replica)
            continue;
        struct wal_group *group = wal_group_make(wal, id, replica);
        group->part_open = false;
        group->lost_number = next->header.previous_number;
    }
    return true;
}

/* What `next` names as the write before it, and perhaps others before that, was durable and is not
 * there. */
static void wal_lose(struct wal *wal, const struct wal_found *next, bool only_one)
{
    const struct wal_write_header *pending = &wal->recovery.pending_header;
    if (!wal->recovery.pending)
        wal_damage_note(wal, next->header.segment, 0, "what came first cannot be read");
    else if (wal->recovery.pending_lost)
        wal_damage_note(wal, pending->segment, pending->offset,
                        "a write that was durable does not check");
    else
        wal_damage_note(wal, pending->segment, pending->offset + pending->run_bytes,
                        "a write that was durable cannot be found");
    if (only_one && wal_lose_listed(wal, next))
        return;
    wal->recovery.lost_number = next->header.previous_number;
    struct wal_group *group, *hash_next;
    HASH_ITER (hh, wal->groups, group, hash_next) {
        group->part_open = false;
    }
}

static void wal_pending_take(struct wal *wal)
{
    if (!wal->recovery.pending_lost)
        wal_write_take(wal, &wal->recovery.pending_header, wal->recovery.pending_body);
}

/* Finds the place of a write in the row of all. */
static void wal_write_link(struct wal *wal, const struct wal_found *next)
{
    const struct wal_write_header *pending = &wal->recovery.pending_header;
    const struct wal_write_header *header = &next->header;
    if (!wal->recovery.pending) {
        /* What came before the first segment was needed no more. */
        if (header->offset != 0 || header->previous_segment >= wal->recovery.first_segment)
            wal_lose(wal, next, false);
    } else if (pending->number == header->previous_number &&
               pending->segment == header->previous_segment) {
        wal_pending_take(wal);
        if (wal->recovery.pending_lost)
            wal_lose(wal, next, true);
    } else if (header->number == header->run && header->run != pending->run &&
               header->previous_number == pending->previous_number &&
               header->previous_segment == pending->previous_segment) {
        /* An earlier recovery has cut it off, whether or not it reads well today. */
    } else {
        /* In one run each write was durable before the next, so if the numbers leave out one, one
         * is missing. Between runs nobody knows, nor whether the pending one was cut off. */
        bool only_one = pending->run == header->run && !wal->recovery.pending_lost &&
                        header->previous_number == pending->number + 1;
        wal_pending_take(wal);
        wal_lose(wal, next, only_one);
    }
    wal->recovery.pending = true;
    wal->recovery.pending_lost = next->lost;
    wal->recovery.pending_copied = false;
    wal->recovery.pending_header = *header;
    wal->recovery.pending_body = next->body;
}

/* The next segment's content will be elsewhere. */
static void wal_pending_keep(struct wal *wal)
{
    if (!wal->recovery.pending || wal->recovery.pending_copied || wal->recovery.pending_lost)
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

/* A header of another version, whole. */
static bool wal_is_other_version(struct bytes content)
{
    return content.bytes_count >= WAL_BLOCK_BYTES && wal_get_u32(content.data) == WAL_MAGIC &&
           wal_get_u32(content.data + 4) != WAL_VERSION &&
           wal_get_u64(content.data + 72) == XXH3_64bits(content.data, 72);
}

int wal_recover_segment(struct wal *wal, uint32_t segment, struct bytes content, char *out_why)
{
    ASSERT(segment > wal->recovery.last_segment);
    out_why[0] = '\0';
    wal->recovery.why = out_why;
    if (wal_is_other_version(content)) {
        snprintf(out_why, WAL_WHY_BYTES, "log segment %010u was written by another version",
                 segment);
        return OST_WRONG_VERSION;
    }
    if (!wal->recovery.started)
        wal->recovery.first_segment = segment;
    wal->recovery.started = true;
    wal->recovery.last_segment = segment;
    bool written = false;
    uint64_t salt = 0;
    uint64_t offset = 0;
    while (offset < content.bytes_count) {
        struct wal_found found = {0};
        if (!wal_header_decode(content, segment, offset, &found.header) ||
            (written && found.header.salt != salt)) {
            offset += WAL_BLOCK_BYTES;
            continue;
        }
        found.lost = !wal_body_checks(content, &found.header);
        if (!found.lost)
            found.body =
                bytes_of(content.data + offset + WAL_WRITE_HEADER_BYTES, found.header.body_bytes);
        wal_write_link(wal, &found);
        if (found.header.number > wal->recovery.highest_number)
            wal->recovery.highest_number = found.header.number;
        written = true;
        salt = found.header.salt;
        offset += found.header.run_bytes;
    }
    wal_pending_keep(wal);
    wal_segment_found(wal, segment, content.bytes_count, written);
    return OST_OK;
}

static void wal_recover_group(struct wal *wal, struct wal_group *group)
{
    group->part_open = false;
    buffer_fini(&group->part);
    buffer_init(&group->part);
    uint64_t lost_number = group->lost_number;
    if (wal->recovery.lost_number > lost_number)
        lost_number = wal->recovery.lost_number;
    if (lost_number != 0 && lost_number >= group->complete_number)
        wal_mark_damaged(wal, group->group, group->replica);
}

void wal_recover_end(struct wal *wal, char *out_why)
{
    out_why[0] = '\0';
    wal->recovery.why = out_why;
    if (wal->recovery.pending) {
        const struct wal_write_header *last = &wal->recovery.pending_header;
        bool lost = wal->recovery.pending_lost; /* torn: it is cut off */
        wal_pending_take(wal);
        wal->previous_number = lost ? last->previous_number : last->number;
        wal->previous_segment = lost ? last->previous_segment : last->segment;
        wal->number_durable = wal->previous_number;
    }
    buffer_fini(&wal->recovery.pending_copy);
    buffer_init(&wal->recovery.pending_copy);
    struct wal_group *group, *next;
    HASH_ITER (hh, wal->groups, group, next) {
        wal_recover_group(wal, group);
    }
    /* One more than any seen: the number after that may stand in a torn header. */
    wal->number_next = wal->recovery.highest_number + 2;
    wal->run = wal->number_next;
    wal->segment_next = wal->recovery.last_segment + 1;
    wal->recovery.started = false;
    wal->recovery.why = NULL;
}

bool wal_has_lost_unknown(const struct wal *wal)
{
    return wal->recovery.lost_number != 0;
}
