/* observe.h: looks into the stores after each turn, and feeds the checkers with what is there: each
 * replica's term, vote, log and applied state (tests/check/raft_check.h), each leader's locks
 * (lock_check.h), the oracle's timestamps (tests/check/timestamp_check.h), what became of
 * transactions (tests/check/atomic_check.h), which ranges each group has (range_check.h), which
 * stores there are (store_check.h), and in the end the rows (rows_check.h). It changes nothing.
 *
 * A term or a vote counts from the moment it is durable: before that nobody else knows of it (R1),
 * and a crash may take it back.
 */
#pragma once

#include "tests/sim/process.h"
#include "tests/sim/range_map.h"
#include "tests/sim/store_steps.h"
#include "txn/txn_id.h"

struct sim;
struct observer;

struct observer *observer_new(struct sim *sim);
void observer_free(struct observer *observer);
/* Recovered and loaded. */
void observe_started(struct observer *observer, struct process *process);
/* A frame is about to be given to it, and was. */
void observe_receive(struct observer *observer, struct process *process, const struct frame *frame);
void observe_received(struct observer *observer, struct process *process);
void observe_turn(struct observer *observer, struct process *process);
/* Its memory is about to be lost. */
void observe_stopped(struct observer *observer, struct process *process);
/* What it held is gone for ever, and its numbers with it (R6). While it is down. */
void observe_disk_lost(struct observer *observer, struct process *process);
/* A frame is sent, or comes: network_watch_fn. */
void observe_frame(void *observer, bool is_arrival, uint32_t from, uint32_t to,
                   const struct blob *frame);
/* What a client was told. */
void observe_outcome(struct observer *observer, struct txn_id txn, bool is_committed,
                     uint64_t commit_timestamp, uint32_t client);
/* Nothing is under way any more: rows are compared, all results are looked at. */
void observe_end(struct observer *observer);
/* How many locks, waiters and open transactions there are at leaders; a text says where. */
uint64_t observe_locks_left(struct observer *observer, char *text, size_t text_bytes_max);
/* Grows while any replica applies entries or takes in a snapshot. */
uint64_t observe_progress(const struct observer *observer);
/* Has every replica on a store that runs applied what the others have? */
bool observe_all_caught_up(struct observer *observer);
/* Does each group own what the map says, and is nothing under way? A text says what is. */
bool observe_ranges_are_settled(const struct observer *observer, char *text, size_t text_bytes_max);
/* What a range has come to in some store since it was last asked; false: nothing more. */
bool observe_range_step(struct observer *observer, struct range_step *out_step);
/* Between which groups a change moves a range; false: it does not, or nobody knows. */
bool observe_range_move(const struct observer *observer, uint64_t change, group_id_t *out_from,
                        group_id_t *out_to);
/* What a store has come to in group 0 since it was last asked; false: nothing more. */
bool observe_store_step(struct observer *observer, struct store_step *out_step);
void observe_range_counts(const struct observer *observer, struct range_counts *out_counts);
/* Every replica's state, into the story. */
void observe_tell(struct observer *observer);
