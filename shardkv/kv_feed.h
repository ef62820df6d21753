/* kv_feed.h: what a group that gives a range away hands to the one that takes it: every row once,
 * from a snapshot, and then what has been applied to the range since that snapshot, in order
 * (docs/range-moves.md). At the leader, in memory, one for each move; it is lost with the
 * leadership, and the other side begins anew.
 *
 * The snapshot is walked backward: keys descend, and the versions of a key come oldest first. So a
 * delete marker never arrives before the versions that it hides, and the taker's sweeper may
 * remove it with them at any time. And because it is a snapshot, what the giver's sweeper removes
 * meanwhile is still sent whole: no old version without its marker.
 *
 * Fetches are numbered within a feed, one at a time: the next number takes the next rows, the same
 * number gets the same answer again, any other is told to begin anew. A fetch for which there is
 * nothing yet waits: for a change, for SEAL, or FEED_HOLD_NS.
 *
 * Bounds: FEEDS_COUNT_MAX feeds a group, changes of FEED_BYTES_MAX each: above, the feed is lost.
 */
#pragma once

#include "base/bytes.h"
#include "base/types.h"
#include "proto/range.pb-c.h"

struct kv_group;
struct kv_range;
struct kv_feed;

#define FEEDS_COUNT_MAX 16u
#define FEED_BYTES_MAX  (64u << 20)

/* A fetch reached this group's leader. */
void kv_feed_fetch(struct kv_group *group, const Ostraka__RangeFetch *fetch);
/* A row was put by the slice that is being built: `key` is what follows the generation; an
 * outcome's value is without its index. */
void kv_feeds_row(struct kv_group *group, struct bytes user_key, struct bytes key,
                  struct bytes value);
/* Something was applied: whoever waits may get it. */
void kv_feeds_applied(struct kv_group *group);
void kv_feeds_step_taken(struct kv_group *group);
void kv_feeds_drop(struct kv_group *group);
void kv_feeds_timer(struct kv_group *group);
nanoseconds_t kv_feeds_deadline_ns(const struct kv_group *group);
