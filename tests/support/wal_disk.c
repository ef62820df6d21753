#include "tests/support/wal_disk.h"

#include "base/memory.h"

#include <criterion/criterion.h>
#include <stdlib.h>

void wal_disk_wal_new(struct wal_disk *disk)
{
    struct wal_options options = {.segment_bytes = WAL_DISK_SEGMENT_BYTES,
                                  .write_bytes_max = WAL_DISK_WRITE_BYTES,
                                  .segments_kept = 4,
                                  .seed = ++disk->seed};
    disk->wal = wal_new(&options);
    disk->writing = false;
}

struct wal_disk *wal_disk_new(void)
{
    struct wal_disk *disk = memory_alloc_zeroed(1, sizeof(*disk));
    wal_disk_wal_new(disk);
    return disk;
}

void wal_disk_free(struct wal_disk *disk)
{
    wal_free(disk->wal);
    for (size_t i = 0; i < WAL_DISK_SEGMENTS_MAX; i++)
        free(disk->segments[i]);
    while (disk->recycled_count > 0)
        free(disk->recycled[--disk->recycled_count]);
    free(disk);
}

static void disk_done(struct wal_disk *disk, enum log_operation_type type, uint32_t segment,
                      uint64_t cookie)
{
    const struct wal_durable *durable;
    size_t count;
    wal_operation_done(disk->wal, type, segment, cookie, &durable, &count);
    for (size_t i = 0; i < count; i++) {
        uint64_t *slot = durable[i].owner;
        cr_assert_gt(durable[i].persist_id, *slot);
        *slot = durable[i].persist_id;
    }
}

void wal_disk_write_done(struct wal_disk *disk)
{
    cr_assert(disk->writing);
    disk->writing = false;
    disk_done(disk, LOG_OPERATION_WRITE, disk->last_segment, disk->last_cookie);
}

bool wal_disk_step(struct wal_disk *disk, bool hold)
{
    struct log_operation operation;
    if (!wal_next_operation(disk->wal, true, &operation))
        return false;
    cr_assert_lt(operation.segment, WAL_DISK_SEGMENTS_MAX);
    uint8_t **segment = &disk->segments[operation.segment];
    switch (operation.type) {
    case LOG_OPERATION_CREATE:
        cr_assert_null(*segment);
        *segment = disk->recycled_count > 0 ? disk->recycled[--disk->recycled_count]
                                            : memory_alloc_zeroed(1, WAL_DISK_SEGMENT_BYTES);
        disk_done(disk, operation.type, operation.segment, operation.cookie);
        break;
    case LOG_OPERATION_RETIRE:
        cr_assert_not_null(*segment);
        disk->recycled[disk->recycled_count++] = *segment;
        *segment = NULL;
        disk_done(disk, operation.type, operation.segment, operation.cookie);
        break;
    case LOG_OPERATION_WRITE:
        cr_assert_not_null(*segment);
        cr_assert_eq((uintptr_t)operation.data % WAL_BLOCK_BYTES, 0);
        cr_assert_eq(operation.offset % WAL_BLOCK_BYTES, 0);
        cr_assert_eq(operation.bytes_count % WAL_BLOCK_BYTES, 0);
        cr_assert_leq(operation.bytes_count, WAL_DISK_WRITE_BYTES);
        cr_assert_leq(operation.offset + operation.bytes_count, WAL_DISK_SEGMENT_BYTES);
        memcpy(*segment + operation.offset, operation.data, operation.bytes_count);
        disk->writes_count++;
        disk->last_segment = operation.segment;
        disk->last_offset = operation.offset;
        disk->last_bytes_count = operation.bytes_count;
        disk->last_cookie = operation.cookie;
        disk->writing = true;
        if (!hold)
            wal_disk_write_done(disk);
        break;
    }
    return true;
}

void wal_disk_drain(struct wal_disk *disk)
{
    while (wal_disk_step(disk, false))
        ;
}

static void why_note(struct wal_disk *disk, const char *text)
{
    if (disk->why[0] == 0)
        memcpy(disk->why, text, WAL_WHY_BYTES);
}

int wal_disk_recover(struct wal_disk *disk)
{
    wal_free(disk->wal);
    wal_disk_wal_new(disk);
    memset(disk->durable, 0, sizeof(disk->durable));
    char text[WAL_WHY_BYTES] = {0};
    memset(disk->why, 0, sizeof(disk->why));
    for (uint32_t i = 0; i < WAL_DISK_SEGMENTS_MAX; i++) {
        if (!disk->segments[i])
            continue;
        int status = wal_recover_segment(disk->wal, i,
                                         bytes_of(disk->segments[i], WAL_DISK_SEGMENT_BYTES), text);
        if (status != OST_OK)
            return status;
        why_note(disk, text);
    }
    wal_recover_end(disk->wal, text);
    why_note(disk, text);
    return OST_OK;
}

void wal_disk_recover_undamaged(struct wal_disk *disk)
{
    cr_assert_eq(wal_disk_recover(disk), OST_OK);
    cr_assert_eq(disk->why[0], 0, "%s", disk->why);
}

bool wal_disk_is_damaged(const struct wal_disk *disk, group_id_t group)
{
    struct wal_group_state state;
    if (wal_group_get(disk->wal, group, &state))
        return state.damaged;
    return wal_has_lost_unknown(disk->wal);
}

size_t wal_disk_segments_count(const struct wal_disk *disk)
{
    size_t count = 0;
    for (size_t i = 0; i < WAL_DISK_SEGMENTS_MAX; i++)
        count += disk->segments[i] != NULL;
    return count;
}

struct wal_group *wal_disk_claim(struct wal_disk *disk, group_id_t group)
{
    return wal_group_claim(disk->wal, group, 100 + group, &disk->durable[group]);
}

struct raft_entry wal_disk_entry(raft_index_t index, raft_term_t term, size_t payload_bytes)
{
    struct raft_entry entry = {.index = index,
                               .term = term,
                               .log_timestamp = index * 10 + term,
                               .type = RAFT_ENTRY_COMMAND};
    if (payload_bytes > 0) {
        entry.payload = blob_new(payload_bytes);
        for (size_t i = 0; i < payload_bytes; i++)
            entry.payload->data[i] = (uint8_t)(index * 31 + term * 7 + i % 251);
    }
    return entry;
}

void wal_disk_persist_entry(struct wal_disk *disk, struct wal_group *group, uint64_t persist_id,
                            raft_index_t index, raft_term_t term, size_t payload_bytes)
{
    struct raft_entry entry = wal_disk_entry(index, term, payload_bytes);
    struct wal_unit_request request = {
        .persist_id = persist_id, .entries = &entry, .entries_count = 1};
    wal_persist(disk->wal, group, &request);
    blob_unref(entry.payload);
}

void wal_disk_persist_hard_state(struct wal_disk *disk, struct wal_group *group,
                                 uint64_t persist_id, raft_term_t term, replica_id_t vote)
{
    struct wal_unit_request request = {
        .persist_id = persist_id, .hard_state_changed = true, .term = term, .vote = vote};
    wal_persist(disk->wal, group, &request);
}

void wal_disk_expect_entry(const struct wal_disk *disk, group_id_t group, raft_index_t index,
                           raft_term_t term, size_t payload_bytes)
{
    const struct raft_entry *found = wal_group_entry(disk->wal, group, index);
    cr_assert_not_null(found, "no entry %lu", index);
    struct raft_entry expected = wal_disk_entry(index, term, payload_bytes);
    cr_assert_eq(found->index, index);
    cr_assert_eq(found->term, term);
    cr_assert_eq(found->log_timestamp, expected.log_timestamp);
    cr_assert_eq(found->type, expected.type);
    cr_assert(bytes_equal(blob_bytes(found->payload), blob_bytes(expected.payload)));
    blob_unref(expected.payload);
}
