#include "raft/raft_log.h"

#include "base/memory.h"

#include <stdlib.h>

/* Above this many slots an emptied log gives its memory back. */
#define ENTRIES_CAPACITY_KEPT 1024u
#define ENTRIES_CAPACITY_MIN  16u

static uint64_t raft_log_entry_bytes(const struct raft_entry *entry)
{
    return sizeof *entry + (entry->payload ? entry->payload->bytes_count : 0);
}

static struct raft_entry *raft_log_at(const struct raft_log *log, raft_index_t index)
{
    ASSERT(index > log->base_index && index <= raft_log_last_index(log));
    return &log->entries[log->front + (size_t)(index - log->base_index - 1)];
}

static void raft_log_drop(struct raft_log *log, raft_index_t first, raft_index_t last)
{
    for (raft_index_t index = first; index <= last; index++) {
        struct raft_entry *entry = raft_log_at(log, index);
        log->bytes_count -= raft_log_entry_bytes(entry);
        blob_unref(entry->payload);
        entry->payload = NULL;
    }
}

static void raft_log_rebase(struct raft_log *log, raft_index_t base_index, raft_term_t base_term,
                            timestamp_t base_timestamp)
{
    log->base_index = base_index;
    log->base_term = base_term;
    log->base_timestamp = base_timestamp;
}

/* Moves the live entries into memory of another size. */
static void raft_log_resize(struct raft_log *log, size_t entries_capacity)
{
    struct raft_entry *entries = NULL;
    ASSERT(entries_capacity >= log->entries_count);
    if (entries_capacity != 0) {
        entries = memory_alloc(entries_capacity * sizeof *entries);
        if (log->entries_count != 0)
            memcpy(entries, log->entries + log->front, log->entries_count * sizeof *entries);
    }
    free(log->entries);
    log->entries = entries;
    log->front = 0;
    log->entries_capacity = entries_capacity;
}

/* Makes room for one more at the back. What was cut at the front is used again once it is half of
 * the memory, so that an entry is moved at most once on average. */
static void raft_log_reserve(struct raft_log *log)
{
    if (log->front + log->entries_count < log->entries_capacity)
        return;
    if (log->front != 0 && log->front >= log->entries_capacity / 2) {
        memmove(log->entries, log->entries + log->front, log->entries_count * sizeof *log->entries);
        log->front = 0;
        return;
    }
    raft_log_resize(log, log->entries_capacity ? 2 * log->entries_capacity : ENTRIES_CAPACITY_MIN);
}

/* A burst must not hold its memory for ever: a store has thousands of groups. */
static void raft_log_shrink(struct raft_log *log)
{
    if (log->entries_count == 0)
        log->front = 0;
    if (log->entries_capacity > ENTRIES_CAPACITY_KEPT &&
        log->entries_count < log->entries_capacity / 8)
        raft_log_resize(log, log->entries_capacity / 4);
}

void raft_log_init(struct raft_log *log, raft_index_t base_index, raft_term_t base_term,
                   timestamp_t base_timestamp)
{
    *log = (struct raft_log){
        .base_index = base_index, .base_term = base_term, .base_timestamp = base_timestamp};
}

void raft_log_fini(struct raft_log *log)
{
    raft_log_drop(log, raft_log_first_index(log), raft_log_last_index(log));
    free(log->entries);
    *log = (struct raft_log){0};
}

raft_term_t raft_log_last_term(const struct raft_log *log)
{
    return log->entries_count ? raft_log_at(log, raft_log_last_index(log))->term : log->base_term;
}

timestamp_t raft_log_last_timestamp(const struct raft_log *log)
{
    return log->entries_count ? raft_log_at(log, raft_log_last_index(log))->log_timestamp
                              : log->base_timestamp;
}

const struct raft_entry *raft_log_get(const struct raft_log *log, raft_index_t index)
{
    if (index <= log->base_index || index > raft_log_last_index(log))
        return NULL;
    return raft_log_at(log, index);
}

bool raft_log_term(const struct raft_log *log, raft_index_t index, raft_term_t *out_term)
{
    if (index < log->base_index || index > raft_log_last_index(log))
        return false;
    *out_term = index == log->base_index ? log->base_term : raft_log_at(log, index)->term;
    return true;
}

bool raft_log_matches(const struct raft_log *log, raft_index_t index, raft_term_t term)
{
    raft_term_t own;
    return raft_log_term(log, index, &own) && own == term;
}

bool raft_log_is_up_to_date(const struct raft_log *log, raft_index_t index, raft_term_t term)
{
    raft_term_t last_term = raft_log_last_term(log);
    return term > last_term || (term == last_term && index >= raft_log_last_index(log));
}

raft_index_t raft_log_find_conflict(const struct raft_log *log, raft_index_t index,
                                    raft_term_t term)
{
    if (index < log->base_index)
        return index;
    if (log->base_term > term)
        return log->base_index ? log->base_index - 1 : 0;
    /* Terms never fall (L2), so the answer is found by halving: the base qualifies, above `high`
     * nothing does. */
    raft_index_t low = log->base_index;
    raft_index_t high = index < raft_log_last_index(log) ? index : raft_log_last_index(log);
    while (low < high) {
        raft_index_t middle = low + (high - low + 1) / 2;
        if (raft_log_at(log, middle)->term <= term)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

uint64_t raft_log_payload_bytes(const struct raft_log *log, raft_index_t first, raft_index_t last)
{
    uint64_t bytes_count = 0;
    for (raft_index_t index = first; index <= last; index++)
        bytes_count += blob_bytes(raft_log_at(log, index)->payload).bytes_count;
    return bytes_count;
}

void raft_log_append(struct raft_log *log, const struct raft_entry *entry)
{
    ASSERT(entry->index == raft_log_last_index(log) + 1);
    ASSERT(entry->term >= raft_log_last_term(log));
    ASSERT(entry->log_timestamp >= raft_log_last_timestamp(log));
    raft_log_reserve(log);
    struct raft_entry *slot = &log->entries[log->front + log->entries_count];
    *slot = *entry;
    if (slot->payload)
        blob_ref(slot->payload);
    log->entries_count++;
    log->bytes_count += raft_log_entry_bytes(slot);
    log->appended_bytes += raft_log_entry_bytes(slot);
}

void raft_log_truncate(struct raft_log *log, raft_index_t from)
{
    ASSERT(from > log->base_index && from <= raft_log_last_index(log));
    raft_log_drop(log, from, raft_log_last_index(log));
    log->entries_count = (size_t)(from - log->base_index - 1);
    raft_log_shrink(log);
}

void raft_log_cut(struct raft_log *log, raft_index_t index)
{
    if (index <= log->base_index)
        return;
    const struct raft_entry base = *raft_log_at(log, index);
    size_t cut_count = (size_t)(index - log->base_index);
    raft_log_drop(log, raft_log_first_index(log), index);
    log->front += cut_count;
    log->entries_count -= cut_count;
    raft_log_rebase(log, index, base.term, base.log_timestamp);
    raft_log_shrink(log);
}

void raft_log_reset(struct raft_log *log, raft_index_t base_index, raft_term_t base_term,
                    timestamp_t base_timestamp)
{
    raft_log_drop(log, raft_log_first_index(log), raft_log_last_index(log));
    log->entries_count = 0;
    raft_log_rebase(log, base_index, base_term, base_timestamp);
    raft_log_shrink(log);
}
