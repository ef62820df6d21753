/* plan.h: what one seed does: how large the cluster is, how it is set, what clients do, and what
 * goes wrong. Drawn from the seed ("swarm testing", Groce et al. 2012: each seed turns some
 * features off, so that the others get further); any field can be set by name, which is how a
 * failing seed is cut down. All fields are whole numbers.
 */
#pragma once

#include "tests/sim/schedule.h"

#include <stdio.h>

#define PLAN_STORES_MAX  6u /* to begin with */
#define PLAN_JOINERS_MAX 3u
#define PLAN_CLIENTS_MAX 12u
/* That there may ever be. */
#define SIM_STORES_MAX (PLAN_STORES_MAX + PLAN_JOINERS_MAX)

/* name, the smallest value that makes sense, what it is */
#define PLAN_FIELDS(X)                                                                             \
    X(stores, 1, "stores")                                                                         \
    X(replicas, 1, "of each group, on as many stores")                                             \
    X(groups, 1, "data groups")                                                                    \
    X(ranges_per_kind, 1, "ranges of each kind of key")                                            \
    X(clients, 1, "client processes")                                                              \
    X(actors, 1, "transactions that a client runs at a time")                                      \
    X(operations, 0, "calls of clients before the run may end")                                    \
    X(faults_min, 0, "faults before the run may end")                                              \
    X(run_ms_max, 1000, "virtual time of the phase with faults, at most")                          \
    X(keys, 1, "keys of each kind")                                                                \
    X(hot_percent, 0, "of the accesses go to a tenth of the keys")                                 \
    X(micro_operations_max, 1, "reads and appends in a transaction")                               \
    X(think_ms_max, 0, "pause of a client between transactions")                                   \
    X(weight_append, 0, "share of list-append transactions")                                       \
    X(weight_register, 0, "share of register operations")                                          \
    X(weight_bank, 0, "share of transfers and whole reads of the bank")                            \
    X(optimistic_percent, 0, "of the transactions read without locks, until their fourth try")     \
    X(weight_snapshot, 0, "share of reads as of a timestamp")                                      \
    X(updates_percent, 0, "of register operations compare and set, or clear or read intervals")    \
    X(scans_percent, 0, "of list-append transactions read by a scan")                              \
    X(bank_counters, 0, "1: each transfer adds to a counter beside both accounts")                 \
    X(heartbeat_ms, 1, "raft")                                                                     \
    X(election_ms_min, 20, "raft")                                                                 \
    X(election_ms_max, 20, "raft")                                                                 \
    X(lease_ms, 0, "raft; 0: off; no more than its bound is taken, and clocks keep to theirs")     \
    X(lease_stall_ppm, 0, "turns stopped between reading the clock and the rest, of a million")    \
    X(inflight_messages_max, 1, "raft")                                                            \
    X(inflight_bytes_max, 1, "raft")                                                               \
    X(message_bytes_max, 1, "raft")                                                                \
    X(log_segment_kib, 16, "size of a log segment")                                                \
    X(log_write_kib, 8, "largest log write")                                                       \
    X(log_retained_kib, 0, "log kept for a lagging follower")                                      \
    X(snapshot_chunk_bytes, 64, "raft")                                                            \
    X(flush_kib, 1, "unflushed rows before a flush")                                               \
    X(flush_interval_ms, 10, "before a flush")                                                     \
    X(lock_expiry_ms, 100, "unprepared locks without a heartbeat")                                 \
    X(client_timeout_ms, 100, "of an operation")                                                   \
    X(client_try_ms, 20, "before another store is tried")                                          \
    X(client_try_factor, 1, "every other client waits so many times as long")                      \
    X(latency_us_min, 1, "network")                                                                \
    X(latency_us_max, 1, "network")                                                                \
    X(tail_ppm, 0, "frames that come late, of a million")                                          \
    X(tail_ms_max, 0, "how late")                                                                  \
    X(frame_lost_ppm, 0, "beyond TCP")                                                             \
    X(frame_doubled_ppm, 0, "beyond TCP")                                                          \
    X(frame_swapped_ppm, 0, "beyond TCP")                                                          \
    X(reset_ppm, 0, "connections reset, of a million frames")                                      \
    X(disk_us_min, 1, "a log write")                                                               \
    X(disk_us_max, 1, "a log write")                                                               \
    X(disk_tail_ppm, 0, "log writes that take long, of a million")                                 \
    X(disk_tail_ms_max, 0, "how long")                                                             \
    X(turn_us_max, 0, "a turn of a store's loop")                                                  \
    X(job_us_max, 1, "a job of the pool")                                                          \
    X(job_tail_ppm, 0, "jobs that take long while there are faults, of a million")                 \
    X(job_tail_ms_max, 0, "how long")                                                              \
    X(rare_sites, 0, "1: rare things happen at the places that base/sometimes.h names")            \
    X(history_ms, 1, "how long versions are kept")                                                 \
    X(replica_changes_max, 0, "groups that placement changes at a time; 0: none, nor leaders")     \
    X(keeper, 0, "1: somebody puts and deletes keys, and holds timestamps (keeper.h)")             \
    X(drift_ppm_max, 0, "a store's clocks")                                                        \
    X(rocksdb, 0, "1: rows are in RocksDB (--store); never drawn")                                 \
    X(site_crash_percent, 0,                                                                       \
      "a store loses power when a COVER site is reached for the first time")                       \
    X(fault_first, 0, "the first fault that happens, by number")                                   \
    X(fault_last, 0, "the last one")                                                               \
    X(fault_every_ms, 1, "mean time from one fault to the next")                                   \
    X(fault_ms_max, 1, "how long a fault lasts")                                                   \
    X(faults_at_once_max, 1, "faults under way at a time")                                         \
    X(fault_crash, 0, "weight: a store's process is killed")                                       \
    X(fault_power, 0, "weight: a store loses its power")                                           \
    X(fault_power_all, 0, "weight: all stores lose their power at once")                           \
    X(fault_shutdown, 0, "weight: a store is stopped properly")                                    \
    X(fault_pause, 0, "weight: a store's process is stopped and goes on (SIGSTOP)")                \
    X(fault_partition, 0, "weight: two sides that do not hear each other")                         \
    X(fault_one_way, 0, "weight: one store hears, and is not heard, or the other way")             \
    X(fault_bridge, 0, "weight: two sides with one store in both")                                 \
    X(fault_isolate_leader, 0, "weight: a leader is cut off")                                      \
    X(fault_clog, 0, "weight: one link after another stands still")                                \
    X(fault_slow_link, 0, "weight: links to one store are slow")                                   \
    X(fault_reset, 0, "weight: connections between two hosts break")                               \
    X(fault_clock_jump, 0, "weight: a wall clock jumps")                                           \
    X(fault_clock_rate, 0, "weight: a store's clocks run at another rate")                         \
    X(fault_disk_slow, 0, "weight: a slow disk")                                                   \
    X(fault_disk_hung, 0, "weight: a disk that does not answer for a while")                       \
    X(fault_disk_fails, 0, "weight: a log write fails (R9)")                                       \
    X(fault_disk_full, 0, "weight: no log segment can be made")                                    \
    X(fault_disk_damage, 0, "weight: sectors of a log are flipped, stale or misdirected")          \
    X(fault_store_stalled, 0, "weight: the rows' store takes no writes")                           \
    X(fault_store_cold, 0, "weight: every read of rows goes to the pool")                          \
    X(fault_store_flush, 0, "weight: the rows' store flushes by itself")                           \
    X(fault_client_kill, 0, "weight: a client's process is killed and replaced")                   \
    X(fault_client_cut, 0, "weight: a client is cut off from a store")                             \
    X(fault_transfer, 0, "weight: leadership is handed over")                                      \
    X(fault_replicas, 0, "weight: replicas of some groups are added, removed, moved")              \
    X(fault_disk_lost, 0, "weight: a store comes back with an empty disk (R6)")                    \
    X(fault_range_move, 0, "weight: ranges move to other groups")                                  \
    X(fault_range_split, 0, "weight: ranges are split")                                            \
    X(fault_range_merge, 0, "weight: neighbours of one group are merged")                          \
    X(fault_range_cancel, 0, "weight: moves are called off")                                       \
    X(joiners, 0, "stores that there may be besides, each from when it joins")                     \
    X(dead_after_ms, 1000, "silence after which a store counts as dead")                           \
    X(fault_store_join, 0, "weight: a store joins")                                                \
    X(fault_store_drain, 0, "weight: a store is to be drained")                                    \
    X(fault_store_undrain, 0, "weight: a drain is called off")                                     \
    X(fault_store_remove, 0, "weight: a store that holds nothing is removed, and ends for good")   \
    X(fault_store_death, 0, "weight: a store is gone, and never comes back")

struct plan {
    uint64_t seed;
#define PLAN_FIELD(name, least, text) uint64_t name;
    PLAN_FIELDS(PLAN_FIELD)
#undef PLAN_FIELD
};

void plan_draw(struct plan *plan, uint64_t seed);
/* What raft_options_check lets be of lease_ms. */
uint32_t plan_lease_ms(const struct plan *plan);
/* "name=value"; false: there is no such field, or the value is out of bounds. */
bool plan_set(struct plan *plan, const char *assignment);
void plan_print(const struct plan *plan, FILE *file);

/* For who walks all fields. */
struct plan_field {
    const char *name;
    size_t offset;
    uint64_t least;
    const char *text;
};
extern const struct plan_field plan_fields[];
extern const size_t plan_fields_count;
uint64_t *plan_field_value(struct plan *plan, const struct plan_field *field);
/* Sum of the weights of faults; 0: nothing goes wrong. */
uint64_t plan_faults_weight(const struct plan *plan);
/* Must a run of it show these, if it is to be worth anything? */
bool plan_changes_leaders(const struct plan *plan);
bool plan_crosses_groups(const struct plan *plan);
bool plan_moves_ranges(const struct plan *plan);
bool plan_splits_ranges(const struct plan *plan);
/* Do stores come, or go for good? */
bool plan_changes_stores(const struct plan *plan);
/* Is there anything to do for who administers the cluster? */
bool plan_has_admin(const struct plan *plan);
