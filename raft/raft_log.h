/* raft_log.h: the entries of one group, in memory; the host persists them from raft_update.
 *
 * The log is one run of entries that stand next to each other in memory, so that a message can
 * point at any stretch of it. It begins after a base: index, term and timestamp of the last entry
 * that was cut off (all 0 in a log that begins at 1).
 *
 * Invariants: entries carry base_index + 1, base_index + 2, ...; terms and log timestamps never
 * fall as the index grows, the base included (L2, L6 of raft.h). Ownership: entry headers are
 * copied; payloads are counted references, dropped with the entry.
 */
#pragma once

#include "raft/raft.h"

struct raft_log {
    struct raft_entry *entries; /* the live ones are [front, front + entries_count) */
    size_t front;
    size_t entries_count;
    size_t entries_capacity;
    raft_index_t base_index;
    raft_term_t base_term;
    timestamp_t base_timestamp;
    uint64_t bytes_count;    /* payloads and headers */
    uint64_t appended_bytes; /* of all that were ever appended; for differences */
};

void raft_log_init(struct raft_log *log, raft_index_t base_index, raft_term_t base_term,
                   timestamp_t base_timestamp);
void raft_log_fini(struct raft_log *log);

static inline raft_index_t raft_log_first_index(const struct raft_log *log)
{
    return log->base_index + 1;
}
static inline raft_index_t raft_log_last_index(const struct raft_log *log)
{
    return log->base_index + log->entries_count;
}
raft_term_t raft_log_last_term(const struct raft_log *log);
timestamp_t raft_log_last_timestamp(const struct raft_log *log);

/* NULL when it is not in the log; borrowed until the log changes. */
const struct raft_entry *raft_log_get(const struct raft_log *log, raft_index_t index);
/* The term at `index`, the base included; false when the log does not know it. */
bool raft_log_term(const struct raft_log *log, raft_index_t index, raft_term_t *out_term);
bool raft_log_matches(const struct raft_log *log, raft_index_t index, raft_term_t term);
/* Is a log that ends with (index, term) at least as new as this one? (Figure 2, section 5.4.1) */
bool raft_log_is_up_to_date(const struct raft_log *log, raft_index_t index, raft_term_t term);
/* The highest index at or below `index` whose term is at most `term`: the first place below a
 * conflict where the two logs may agree. Below the base nothing is known: base_index - 1 when even
 * the base is of a later term, and an `index` that is below the base as it is. */
raft_index_t raft_log_find_conflict(const struct raft_log *log, raft_index_t index,
                                    raft_term_t term);
/* Payload bytes of the entries [first, last], all of which are in the log. */
uint64_t raft_log_payload_bytes(const struct raft_log *log, raft_index_t first, raft_index_t last);

/* Copies the header and takes a reference of the payload. Requires the next index, L2 and L6. */
void raft_log_append(struct raft_log *log, const struct raft_entry *entry);
/* Drops `from` and everything behind it. Requires base_index < from <= last index. */
void raft_log_truncate(struct raft_log *log, raft_index_t from);
/* Drops everything up to and with `index`, which becomes the base. Requires index <= last index;
 * an index at or below the base changes nothing. */
void raft_log_cut(struct raft_log *log, raft_index_t index);
/* Drops everything; the log now begins after this base. */
void raft_log_reset(struct raft_log *log, raft_index_t base_index, raft_term_t base_term,
                    timestamp_t base_timestamp);
