/* kv_copy.h: how a range comes to a group (docs/range-moves.md): the group's leader fetches from
 * the feed of the group that gives it (kv_feed.h), and logs what it gets. In memory, one for each
 * range that is COPYING.
 *
 * A copy counts from a CLEAR that this leadership has logged: whoever led before may have got rows
 * of which the other side has forgotten what became of them. It goes on with one feed, number by
 * number; when that is lost, there is another CLEAR. A few entries of rows may be on their way
 * through the log at a time (COPY_ENTRIES_MAX), and the next fetch waits for one of them to be
 * applied; so a slow log slows the other side's reading.
 */
#pragma once

#include "base/bytes.h"
#include "base/types.h"
#include "proto/range.pb-c.h"

struct kv_consequence;
struct kv_group;
struct kv_range;

void kv_copies_led(struct kv_group *group);
void kv_copies_drop(struct kv_group *group);
/* Of a range that is COPYING here: how far it is. */
void kv_copy_progress(const struct kv_group *group, const struct kv_range *range,
                      Ostraka__RangeFact *out_fact);
/* `rows`: what came with it. */
void kv_copy_answered(struct kv_group *group, const Ostraka__RangeFetchAnswer *answer,
                      struct bytes rows);
void kv_copies_step_taken(struct kv_group *group, const struct kv_consequence *consequence);
void kv_copies_timer(struct kv_group *group);
nanoseconds_t kv_copies_deadline_ns(const struct kv_group *group);
