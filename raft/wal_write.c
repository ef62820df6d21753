/* wal_write.c: units become records, records chunks, and chunks one write. */
#include "raft/wal_internal.h"

#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>
#include <xxhash.h>

uint64_t wal_checksum_record(const uint8_t *header, struct bytes payload)
{
    uint64_t seed = XXH3_64bits(header, WAL_RECORD_HEADER_BYTES - 8);
    return XXH3_64bits_withSeed(payload.data, payload.bytes_count, seed);
}

uint64_t wal_checksum_body(const struct wal_write_header *header, const uint8_t *body,
                           size_t bytes_count)
{
    return XXH3_64bits_withSeed(body, bytes_count, header->salt + header->number);
}

void wal_unit_free(struct wal_unit *unit)
{
    for (uint32_t i = 0; i < unit->entries_count; i++)
        blob_unref(unit->entries[i].payload);
    free(unit->entries);
    free(unit);
}

/* Records. */

static uint32_t wal_unit_records_count(const struct wal_unit *unit)
{
    uint32_t mark = unit->mark != WAL_MARK_NONE;
    return mark + unit->reset + unit->cut + unit->entries_count + unit->hard_state;
}

struct wal_record {
    enum wal_record_type type;
    uint8_t entry_type;
    raft_term_t term;
    uint64_t index;
    timestamp_t log_timestamp;
    struct bytes payload;
};

static struct wal_record wal_unit_record(const struct wal_unit *unit, uint32_t number)
{
    if (unit->mark != WAL_MARK_NONE && number-- == 0)
        return (struct wal_record){.type = unit->mark == WAL_MARK_DESTROYED ? WAL_DESTROYED
                                                                            : WAL_DAMAGED};
    if (unit->reset && number-- == 0)
        return (struct wal_record){
            .type = WAL_RESET, .term = unit->reset_term, .index = unit->reset_index};
    if (unit->cut && number-- == 0)
        return (struct wal_record){.type = WAL_CUT, .index = unit->cut_index};
    if (number < unit->entries_count) {
        const struct raft_entry *entry = &unit->entries[number];
        return (struct wal_record){.type = WAL_ENTRY,
                                   .entry_type = (uint8_t)entry->type,
                                   .term = entry->term,
                                   .index = entry->index,
                                   .log_timestamp = entry->log_timestamp,
                                   .payload = blob_bytes(entry->payload)};
    }
    ASSERT(unit->hard_state && number == unit->entries_count);
    return (struct wal_record){.type = WAL_HARD_STATE, .term = unit->term, .index = unit->vote};
}

static void wal_record_encode(const struct wal_group *group, const struct wal_record *record,
                              uint8_t *at)
{
    memset(at, 0, WAL_RECORD_HEADER_BYTES);
    at[0] = (uint8_t)record->type;
    at[1] = record->entry_type;
    wal_put_u32(at + 4, (uint32_t)record->payload.bytes_count);
    wal_put_u64(at + 8, group->group);
    wal_put_u64(at + 16, group->replica);
    wal_put_u64(at + 24, record->term);
    wal_put_u64(at + 32, record->index);
    wal_put_u64(at + 40, record->log_timestamp);
    wal_put_u64(at + 48, wal_checksum_record(at, record->payload));
}

/* The next `bytes_count` bytes of the unit's row of records. */
static void wal_unit_emit(const struct wal_group *group, struct wal_unit *unit, uint8_t *to,
                          uint64_t bytes_count)
{
    unit->bytes_done += bytes_count;
    while (bytes_count > 0) {
        struct wal_record record = wal_unit_record(unit, unit->record);
        if (unit->record_bytes_done == 0)
            wal_record_encode(group, &record, unit->record_header);
        const uint8_t *from;
        uint64_t left;
        if (unit->record_bytes_done < WAL_RECORD_HEADER_BYTES) {
            from = unit->record_header + unit->record_bytes_done;
            left = WAL_RECORD_HEADER_BYTES - unit->record_bytes_done;
        } else {
            uint64_t done = unit->record_bytes_done - WAL_RECORD_HEADER_BYTES;
            from = record.payload.data + done;
            left = record.payload.bytes_count - done;
        }
        uint64_t taken = left < bytes_count ? left : bytes_count;
        memcpy(to, from, taken);
        to += taken;
        bytes_count -= taken;
        unit->record_bytes_done += taken;
        if (unit->record_bytes_done == WAL_RECORD_HEADER_BYTES + record.payload.bytes_count) {
            unit->record++;
            unit->record_bytes_done = 0;
        }
    }
}

/* Units. */

/* What is live of the group, as it stands now that all its earlier units are written. */
static void wal_unit_fill_rewrite(struct wal_group *group, struct wal_unit *unit)
{
    group->rewrite_queued = false;
    unit->mark = group->mark;
    if (group->mark_replaced) { /* the later replica is here, and that is all */
        unit->reset = unit->hard_state = true;
        return;
    }
    unit->hard_state = group->hard_state_known;
    unit->term = group->term;
    unit->vote = group->vote;
    unit->reset = group->begin_known;
    unit->reset_index = group->begin_index;
    unit->reset_term = group->begin_term;
    unit->entries_count = (uint32_t)group->entries_count;
    if (group->entries_count == 0)
        return;
    unit->entries = memory_alloc(group->entries_count * sizeof(*unit->entries));
    for (size_t i = 0; i < group->entries_count; i++) {
        unit->entries[i] = group->entries[group->entries_head + i].entry;
        if (unit->entries[i].payload)
            blob_ref(unit->entries[i].payload);
    }
}

static void wal_unit_measure(struct wal_group *group, struct wal_unit *unit)
{
    if (unit->bytes_count > 0)
        return;
    if (unit->rewrite) {
        COVER(LOG_REWRITTEN);
        wal_unit_fill_rewrite(group, unit);
    }
    uint64_t bytes = wal_unit_records_count(unit) * (uint64_t)WAL_RECORD_HEADER_BYTES;
    for (uint32_t i = 0; i < unit->entries_count; i++)
        bytes += blob_bytes(unit->entries[i].payload).bytes_count;
    ASSERT(bytes <= WAL_UNIT_BYTES_MAX);
    unit->bytes_count = bytes;
}

/* The unit's last byte is in the write: so is its meaning. */
static void wal_unit_finish(struct wal *wal, struct wal_group *group, struct wal_unit *unit)
{
    if (unit->mark != WAL_MARK_NONE)
        wal_group_set_mark(group, unit->mark, unit->first_segment);
    group->mark_replaced = false;
    if (unit->reset)
        wal_group_reset_log(group, unit->reset_index, unit->reset_term);
    if (unit->cut)
        wal_group_cut_log(group, unit->cut_index);
    for (uint32_t i = 0; i < unit->entries_count; i++) {
        bool fits = wal_group_append(group, &unit->entries[i], unit->first_segment);
        ASSERT(fits);
    }
    if (unit->hard_state)
        wal_group_set_hard_state(group, unit->term, unit->vote, unit->first_segment);
    if (unit->cut || unit->reset || unit->rewrite || unit->mark != WAL_MARK_NONE)
        wal->maintain_wanted = true;
    if (unit->persist_id != 0) {
        if (wal->durable_count == wal->durable_capacity) {
            wal->durable_capacity = wal->durable_capacity ? 2 * wal->durable_capacity : 16;
            wal->durable =
                memory_realloc(wal->durable, wal->durable_capacity * sizeof(*wal->durable));
        }
        wal->durable[wal->durable_count++] =
            (struct wal_durable){.owner = group->owner, .persist_id = unit->persist_id};
    }
    TAILQ_REMOVE(&group->units, unit, link);
    wal_unit_free(unit);
}

/* Writes. */

struct wal_filling {
    size_t at;        /* next free byte of wal->data */
    size_t units_at;  /* where the first unit's chunk begins */
    size_t bytes_max; /* of this write */
    uint32_t segment;
    uint64_t number;
};

static size_t wal_filling_left(const struct wal_filling *filling)
{
    return filling->bytes_max - filling->at;
}

/* As much of the unit as the space and the group's turn allow. */
static void wal_unit_fill(struct wal *wal, struct wal_group *group, struct wal_unit *unit,
                          struct wal_filling *filling, size_t quantum_bytes)
{
    uint64_t bytes = unit->bytes_count - unit->bytes_done;
    size_t space = wal_filling_left(filling) - WAL_CHUNK_HEADER_BYTES;
    if (bytes > quantum_bytes)
        bytes = quantum_bytes;
    if (bytes > space)
        bytes = space;
    if (!unit->started) {
        unit->started = true;
        unit->first_segment = filling->segment;
        unit->first_write = filling->number;
    }
    bool first = unit->bytes_done == 0;
    bool last = unit->bytes_done + bytes == unit->bytes_count;
    if (unit->first_write != filling->number)
        COVER(LOG_UNIT_OVER_WRITES);
    enum wal_chunk_kind kind = first ? (last ? WAL_CHUNK_WHOLE : WAL_CHUNK_FIRST)
                                     : (last ? WAL_CHUNK_LAST : WAL_CHUNK_MIDDLE);
    uint8_t *at = wal->data + filling->at;
    wal_put_u32(at, (uint32_t)kind);
    wal_put_u32(at + 4, (uint32_t)bytes);
    wal_put_u64(at + 8, group->group);
    wal_put_u64(at + 16, group->replica);
    wal_put_u64(at + 24, unit->first_write);
    wal_put_u64(at + 32, unit->bytes_count);
    wal_unit_emit(group, unit, at + WAL_CHUNK_HEADER_BYTES, bytes);
    filling->at += WAL_CHUNK_HEADER_BYTES + bytes;
    if (last)
        wal_unit_finish(wal, group, unit);
}

/* A write has room for several groups, so that a large unit does not keep the others waiting. */
static size_t wal_quantum_bytes(const struct wal *wal)
{
    if (RARE(LOG_UNIT_TORN))
        return WAL_CHUNK_BYTES_MIN;
    size_t share = wal->options.write_bytes_max / 4;
    return share < WAL_QUANTUM_BYTES ? share : WAL_QUANTUM_BYTES;
}

/* One group's turn of the round. False: the write is full. */
static bool wal_group_fill(struct wal *wal, struct wal_group *group, struct wal_filling *filling)
{
    size_t turn_start = filling->at;
    size_t turn_bytes_max = wal_quantum_bytes(wal);
    struct wal_unit *unit;
    while ((unit = TAILQ_FIRST(&group->units)) != NULL) {
        wal_unit_measure(group, unit);
        size_t used = filling->at - turn_start;
        if (used >= turn_bytes_max)
            return true;
        size_t left = wal_filling_left(filling);
        if (left < WAL_CHUNK_HEADER_BYTES + WAL_CHUNK_BYTES_MIN)
            return false;
        /* A small unit is not torn apart for the rest of a write. */
        uint64_t whole = WAL_CHUNK_HEADER_BYTES + unit->bytes_count;
        if (!unit->started && whole > left && whole <= turn_bytes_max &&
            filling->at > filling->units_at)
            return false;
        size_t quantum = turn_bytes_max - used;
        if (quantum < WAL_CHUNK_BYTES_MIN)
            quantum = WAL_CHUNK_BYTES_MIN;
        wal_unit_fill(wal, group, unit, filling, quantum);
    }
    return true;
}

static void wal_write_seal(struct wal *wal, const struct wal_filling *filling, size_t run_bytes)
{
    struct wal_write_header header = {.salt = wal->current_salt, .number = filling->number};
    uint8_t *at = wal->data;
    memset(at + filling->at, 0, run_bytes - filling->at);
    wal_put_u32(at, WAL_MAGIC);
    wal_put_u32(at + 4, WAL_VERSION);
    wal_put_u64(at + 8, wal->current_salt);
    wal_put_u64(at + 16, filling->number);
    wal_put_u64(at + 24, wal->previous_number);
    wal_put_u32(at + 32, wal->previous_segment);
    wal_put_u32(at + 36, filling->segment);
    wal_put_u64(at + 40, wal->current_offset);
    wal_put_u64(at + 48, wal->number_durable);
    wal_put_u32(at + 56, (uint32_t)(filling->at - WAL_WRITE_HEADER_BYTES));
    wal_put_u32(at + 60, (uint32_t)run_bytes);
    wal_put_u64(at + 64, wal->run);
    wal_put_u64(at + 72, wal_checksum_body(&header, at + WAL_WRITE_HEADER_BYTES,
                                           run_bytes - WAL_WRITE_HEADER_BYTES));
    wal_put_u64(at + 80, XXH3_64bits(at, WAL_WRITE_HEADER_SUMMED_BYTES));
}

/* Whose units the write before this one had, if that is known and does not take too much space. */
static void wal_write_names(struct wal *wal, struct wal_filling *filling)
{
    size_t bytes = wal->names.count * WAL_NAME_BYTES;
    if (wal->names.number == 0 || wal->names.number != wal->previous_number ||
        WAL_CHUNK_HEADER_BYTES + bytes > filling->bytes_max / 4)
        return;
    uint8_t *at = wal->data + filling->at;
    memset(at, 0, WAL_CHUNK_HEADER_BYTES);
    wal_put_u32(at, WAL_CHUNK_PREVIOUS);
    wal_put_u32(at + 4, (uint32_t)bytes);
    at += WAL_CHUNK_HEADER_BYTES;
    for (size_t i = 0; i < wal->names.count; i++, at += WAL_NAME_BYTES) {
        wal_put_u64(at, wal->names.items[i].group);
        wal_put_u64(at + 8, wal->names.items[i].replica);
    }
    filling->at += WAL_CHUNK_HEADER_BYTES + bytes;
}

bool wal_write_build(struct wal *wal, struct log_operation *out_operation)
{
    ASSERT(!wal->writing && wal->current);
    size_t segment_left = wal->options.segment_bytes - wal->current_offset;
    struct wal_filling filling = {
        .at = WAL_WRITE_HEADER_BYTES,
        .bytes_max = segment_left < wal->options.write_bytes_max ? segment_left
                                                                 : wal->options.write_bytes_max,
        .segment = wal->used.items[wal->used.count - 1],
        .number = wal->number_next,
    };
    if (RARE(LOG_WRITE_SHORT))
        filling.bytes_max = WAL_BLOCK_BYTES;
    wal->durable_count = 0;
    wal_write_names(wal, &filling);
    filling.units_at = filling.at;
    wal->names.number = filling.number;
    wal->names.count = 0;
    struct wal_group *group;
    bool more = true;
    while (more && (group = TAILQ_FIRST(&wal->ready)) != NULL) {
        size_t turn_start = filling.at;
        more = wal_group_fill(wal, group, &filling);
        if (filling.at > turn_start)
            wal_names_add(&wal->names, group->group, group->replica);
        bool empty = TAILQ_EMPTY(&group->units);
        /* Who got nothing because the write was full is the first of the next one. */
        if (!empty && filling.at == turn_start)
            break;
        TAILQ_REMOVE(&wal->ready, group, ready_link);
        group->queued = !empty;
        if (!empty)
            TAILQ_INSERT_TAIL(&wal->ready, group, ready_link);
        if (filling.at > WAL_WRITE_HEADER_BYTES && RARE(LOG_WRITE_ONE_GROUP))
            break;
    }
    if (filling.at == filling.units_at)
        return false;
    size_t run_bytes = (filling.at + WAL_BLOCK_BYTES - 1) / WAL_BLOCK_BYTES * WAL_BLOCK_BYTES;
    wal_write_seal(wal, &filling, run_bytes);
    *out_operation = (struct log_operation){.type = LOG_OPERATION_WRITE,
                                            .segment = filling.segment,
                                            .offset = wal->current_offset,
                                            .data = wal->data,
                                            .bytes_count = run_bytes,
                                            .cookie = filling.number};
    wal->writing = true;
    wal->number_next++;
    wal->current_offset += run_bytes;
    wal->previous_number = filling.number;
    wal->previous_segment = filling.segment;
    return true;
}
