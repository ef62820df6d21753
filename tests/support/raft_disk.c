#include "tests/support/raft_disk.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

struct raft_disk_unit {
    struct raft_disk_unit *next;
    uint64_t persist_id;
    bool hard_state_changed;
    raft_term_t term;
    replica_id_t vote;
    bool log_reset;
    raft_index_t reset_index;
    raft_term_t reset_term;
    timestamp_t reset_timestamp;
    struct raft_entry *entries;
    uint32_t entries_count;
};

struct raft_entry *raft_entries_copy(const struct raft_entry *entries, uint32_t entries_count)
{
    if (entries_count == 0)
        return NULL;
    struct raft_entry *copy = memory_alloc(entries_count * sizeof *copy);
    memcpy(copy, entries, entries_count * sizeof *copy);
    for (uint32_t i = 0; i < entries_count; i++) {
        if (copy[i].payload)
            blob_ref(copy[i].payload);
    }
    return copy;
}

void raft_entries_free(const struct raft_entry *entries, uint32_t entries_count)
{
    for (uint32_t i = 0; i < entries_count; i++)
        blob_unref(entries[i].payload);
    free((void *)(uintptr_t)entries);
}

void raft_disk_init(struct raft_disk *disk, const struct raft_snapshot_meta *flushed)
{
    *disk = (struct raft_disk){.flushed = *flushed};
    raft_log_init(&disk->log, flushed->index, flushed->term, flushed->log_timestamp);
}

void raft_disk_fini(struct raft_disk *disk)
{
    raft_disk_lose(disk);
    raft_log_fini(&disk->log);
}

void raft_disk_write(struct raft_disk *disk, const struct raft *raft,
                     const struct raft_update *update)
{
    if (update->persist_id == 0)
        return;
    struct raft_disk_unit *unit = memory_alloc_zeroed(1, sizeof *unit);
    unit->persist_id = update->persist_id;
    unit->hard_state_changed = update->hard_state_changed;
    unit->term = update->term;
    unit->vote = update->vote;
    unit->log_reset = update->log_reset;
    unit->reset_index = update->reset_index;
    unit->reset_term = update->reset_term;
    unit->reset_timestamp = disk->flushed.log_timestamp;
    if (update->persist_first != 0) {
        unit->entries_count = (uint32_t)(update->persist_last - update->persist_first + 1);
        unit->entries =
            raft_entries_copy(raft_log_entry(raft, update->persist_first), unit->entries_count);
    }
    struct raft_disk_unit **link = &disk->units;
    while (*link)
        link = &(*link)->next;
    *link = unit;
}

uint32_t raft_disk_units_count(const struct raft_disk *disk)
{
    uint32_t count = 0;
    for (const struct raft_disk_unit *unit = disk->units; unit; unit = unit->next)
        count++;
    return count;
}

static void raft_disk_unit_free(struct raft_disk_unit *unit)
{
    raft_entries_free(unit->entries, unit->entries_count);
    free(unit);
}

uint64_t raft_disk_take(struct raft_disk *disk)
{
    struct raft_disk_unit *unit = disk->units;
    uint64_t persist_id = unit->persist_id;
    disk->units = unit->next;
    if (unit->hard_state_changed) {
        disk->term = unit->term;
        disk->vote = unit->vote;
    }
    if (unit->log_reset)
        raft_log_reset(&disk->log, unit->reset_index, unit->reset_term, unit->reset_timestamp);
    if (unit->entries_count != 0 && unit->entries[0].index <= raft_log_last_index(&disk->log))
        raft_log_truncate(&disk->log, unit->entries[0].index);
    for (uint32_t i = 0; i < unit->entries_count; i++)
        raft_log_append(&disk->log, &unit->entries[i]);
    raft_disk_unit_free(unit);
    return persist_id;
}

void raft_disk_lose(struct raft_disk *disk)
{
    while (disk->units) {
        struct raft_disk_unit *unit = disk->units;
        disk->units = unit->next;
        raft_disk_unit_free(unit);
    }
}

bool raft_disk_holds(const struct raft_disk *disk, raft_index_t index, raft_term_t term)
{
    return disk->flushed.index >= index || raft_log_matches(&disk->log, index, term);
}

void raft_disk_flush(struct raft_disk *disk, const struct raft_snapshot_meta *meta)
{
    disk->flushed = *meta;
    if (meta->index <= raft_log_last_index(&disk->log))
        raft_log_cut(&disk->log, meta->index);
}

struct raft *raft_disk_start(struct raft_disk *disk, const struct raft_options *options,
                             nanoseconds_t now_ns)
{
    const struct raft_snapshot_meta *flushed = &disk->flushed;
    if (disk->term < flushed->term) {
        disk->term = flushed->term;
        disk->vote = 0;
    }
    /* A snapshot that was installed, and whose new beginning of the log did not reach the disk. */
    if (flushed->index > disk->log.base_index) {
        if (raft_log_matches(&disk->log, flushed->index, flushed->term))
            raft_log_cut(&disk->log, flushed->index);
        else
            raft_log_reset(&disk->log, flushed->index, flushed->term, flushed->log_timestamp);
    }
    return raft_new(options, flushed, disk->term, disk->vote,
                    raft_log_get(&disk->log, raft_log_first_index(&disk->log)),
                    disk->log.entries_count, flushed->index, now_ns);
}
