/* metrics.h: counters and gauges of one process, from one table: name with unit, kind, help.
 * They belong to the loop's thread. */
#pragma once

#include <stdint.h>

#define METRICS_LIST(X)                                                                            \
    X(frames_received_count, COUNTER, "frames received")                                           \
    X(frames_sent_count, COUNTER, "frames sent")                                                   \
    X(frames_sent_bytes, COUNTER, "bytes of frames sent")                                          \
    X(connections_rejected_count, COUNTER, "connections closed because of bad input")              \
    X(connections_open_count, GAUGE, "open connections")                                           \
    X(log_writes_count, COUNTER, "durable writes to the log")                                      \
    X(log_written_bytes, COUNTER, "bytes written to the log")                                      \
    X(log_entries_count, COUNTER, "entries appended to the log")                                   \
    X(entries_applied_count, COUNTER, "entries applied")                                           \
    X(elections_won_count, COUNTER, "elections won")                                               \
    X(snapshots_sent_count, COUNTER, "snapshots sent")                                             \
    X(snapshots_installed_count, COUNTER, "snapshots installed")                                   \
    X(snapshot_chunks_count, COUNTER, "chunks of snapshots received and written")                  \
    X(txns_one_group_count, COUNTER, "transactions committed in one group")                        \
    X(txns_committed_count, COUNTER,                                                               \
      "transactions committed over several groups, counted at home")                               \
    X(txns_aborted_count, COUNTER, "transactions aborted, counted at home")                        \
    X(txns_wounded_count, COUNTER, "transactions wounded by an older one")                         \
    X(reads_changed_count, COUNTER,                                                                \
      "commits refused because what was read without a lock had changed")                          \
    X(lock_waits_count, COUNTER, "lock requests that waited")                                      \
    X(inquiries_count, COUNTER, "inquiries about transactions in doubt")                           \
    X(reads_blocked_count, COUNTER, "reads that went to the disk pool")                            \
    X(snapshot_reads_count, COUNTER, "reads from snapshots, answered")                             \
    X(replica_reads_count, COUNTER, "of these, by a replica that does not lead")                   \
    X(timestamps_closed_count, COUNTER, "timestamps closed for replicas")                          \
    X(oracle_requests_count, COUNTER, "requests to the timestamp oracle")                          \
    X(store_flushes_count, COUNTER, "flushes of the store")                                        \
    X(rows_dropped_count, COUNTER, "old versions and outcomes that compaction has dropped")        \
    X(markers_swept_count, COUNTER, "delete markers that were swept away")                         \
    X(spans_rewritten_count, COUNTER, "rewrites of files for the space of ranges that have gone")  \
    X(ranges_held_count, GAUGE, "ranges that replicas here know of: owned, coming and going")      \
    X(ranges_unsettled_count, GAUGE, "of these, those that are coming or going")

struct metrics {
#define METRICS_FIELD(name, kind, help) uint64_t name;
    METRICS_LIST(METRICS_FIELD)
#undef METRICS_FIELD
};
