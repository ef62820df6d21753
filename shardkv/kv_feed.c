#include "shardkv/kv_feed.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"
#include "shardkv/kv_rows.h"

#include <stdlib.h>

/* A fetch waits so long for something new. */
#define FEED_HOLD_NS (100 * NS_PER_MS)
/* Nobody fetches any more. */
#define FEED_EXPIRY_NS (10 * NS_PER_S)
/* Of an answer, however much is asked for. */
#define ANSWER_BYTES_MAX (1u << 20)
/* So much of what has been taken may stand before what has not. */
#define TAKEN_BYTES_MAX (1u << 20)

enum feed_phase { FEED_VERSIONS, FEED_OUTCOMES, FEED_CHANGES };

/* One walk through a part of the snapshot, on the pool. */
struct feed_walk {
    struct job job;
    struct kv_feed *feed; /* NULL: it is gone, and the walk comes back to nobody */
    struct store *store;
    struct store_snapshot *snapshot;
    enum feed_phase phase;
    timestamp_t log_timestamp;
    struct buffer lower, upper; /* what is left of the phase lies in [lower, upper) */
    struct buffer rows;
    size_t bytes_max;
    bool is_at_end;
    int status;
};

struct kv_feed {
    TAILQ_ENTRY(kv_feed) link;
    struct kv_group *group;
    uint64_t id;
    uint64_t change;
    struct blob *start, *end;
    uint64_t epoch;
    enum feed_phase phase;
    struct store_snapshot *snapshot; /* until FEED_CHANGES */
    struct buffer upper;             /* as of the next walk; empty: the phase begins */
    struct feed_walk *walk;          /* under way */
    struct buffer changes;
    size_t changes_taken_bytes;
    uint64_t sequence;   /* of the last fetch that was taken up */
    struct blob *answer; /* to that; NULL: it is still to come */
    group_id_t to_group; /* of the last fetch, as are the next */
    store_id_t to_store;
    size_t bytes_max;
    nanoseconds_t fetched_ns;
};

/* --- Life ---------------------------------------------------------------------------------------
 */

static void walk_free(struct feed_walk *walk)
{
    buffer_fini(&walk->lower);
    buffer_fini(&walk->upper);
    buffer_fini(&walk->rows);
    free(walk);
}

static void feed_free(struct kv_feed *feed)
{
    struct kv_group *group = feed->group;
    TAILQ_REMOVE(&group->feeds, feed, link);
    group->feeds_count--;
    if (feed->walk)
        feed->walk->feed = NULL; /* it ends the snapshot when it comes back */
    else
        store_snapshot_free(group->shared->environment.store, feed->snapshot);
    buffer_fini(&feed->upper);
    buffer_fini(&feed->changes);
    blob_unref(feed->answer);
    blob_unref(feed->start);
    blob_unref(feed->end);
    free(feed);
}

static struct kv_feed *feed_find(struct kv_group *group, uint64_t change)
{
    struct kv_feed *feed;
    TAILQ_FOREACH (feed, &group->feeds, link) {
        if (feed->change == change)
            return feed;
    }
    return NULL;
}

void kv_feeds_drop(struct kv_group *group)
{
    struct kv_feed *feed;
    while ((feed = TAILQ_FIRST(&group->feeds)) != NULL)
        feed_free(feed);
}

/* The range that it is about, as long as it is the group's. */
static const struct kv_range *feed_range(const struct kv_feed *feed)
{
    const struct kv_range *range = kv_ranges_at(&feed->group->ranges, blob_bytes(feed->start));
    bool is_here = range && range->epoch == feed->epoch &&
                   (range->state == KV_RANGE_OWNED || range->state == KV_RANGE_FROZEN ||
                    range->state == KV_RANGE_SEALED);
    return is_here ? range : NULL;
}

/* The lowest term's worth of numbers is enough: no two leaders give out the same. */
static uint64_t feed_id_next(struct kv_group *group)
{
    return group->term << 24 | (++group->feed_id_last & 0xffffff);
}

static struct kv_feed *feed_new(struct kv_group *group, const Ostraka__RangeFetch *fetch)
{
    struct kv_feed *feed = memory_alloc_zeroed(1, sizeof(*feed));
    feed->group = group;
    feed->id = feed_id_next(group);
    feed->change = fetch->change;
    feed->start = blob_copy(bytes_of_field(fetch->start));
    feed->end = blob_copy(bytes_of_field(fetch->end));
    feed->epoch = fetch->epoch;
    feed->phase = FEED_VERSIONS;
    /* All that is applied is in it, and all that comes after it is put into `changes`. */
    feed->snapshot = store_snapshot_new(group->shared->environment.store);
    TAILQ_INSERT_TAIL(&group->feeds, feed, link);
    group->feeds_count++;
    return feed;
}

/* --- Answers ------------------------------------------------------------------------------------
 */

struct luggage_writer {
    const struct kv_feed *feed;
    struct arena arena;
    Ostraka__RangeLuggage message;
    size_t records_capacity;
};

static void luggage_add(void *context, struct txn_open *open)
{
    struct luggage_writer *writer = context;
    Ostraka__RangeLuggage *message = &writer->message;
    if (!txn_open_is_home_in(open, blob_bytes(writer->feed->start), blob_bytes(writer->feed->end)))
        return;
    if (message->n_records == writer->records_capacity) {
        size_t capacity = writer->records_capacity ? 2 * writer->records_capacity : 16;
        ProtobufCBinaryData *records = arena_alloc(&writer->arena, capacity * sizeof(records[0]));
        if (message->n_records > 0)
            memcpy(records, message->records, message->n_records * sizeof(records[0]));
        message->records = records;
        writer->records_capacity = capacity;
    }
    message->records[message->n_records++] = field_of_bytes(txn_open_pack(open, &writer->arena));
}

static void luggage_write(const struct kv_feed *feed, struct luggage_writer *writer)
{
    const struct kv_meta *meta = &feed->group->meta;
    *writer = (struct luggage_writer){.feed = feed};
    arena_init(&writer->arena);
    ostraka__range_luggage__init(&writer->message);
    writer->message.safe_point = meta->safe_point;
    writer->message.log_timestamp = meta->log_timestamp;
    writer->message.commit_timestamp_max = meta->commit_timestamp_max;
    txn_records_each(feed->group->records, luggage_add, writer);
}

static void send(struct kv_group *group, store_id_t store, struct blob *frame)
{
    outbox_to_store(group->shared->environment.outbox, store, CHANNEL_BULK, frame);
}

static void answer_begin_anew(struct kv_group *group, const Ostraka__RangeFetch *fetch)
{
    COVER(FEED_BEGUN_ANEW);
    Ostraka__RangeFetchAnswer answer = OSTRAKA__RANGE_FETCH_ANSWER__INIT;
    answer.to_group = fetch->to_group;
    answer.change = fetch->change;
    send(group, fetch->store, frame_encode(FRAME_RANGE_FETCH_ANSWER, 0, &answer.base, NULL, 0));
}

static size_t changes_left_bytes(const struct kv_feed *feed)
{
    return feed->changes.bytes_count - feed->changes_taken_bytes;
}

static void feed_answer(struct kv_feed *feed, struct bytes rows)
{
    struct kv_group *group = feed->group;
    const struct kv_range *range = feed_range(feed);
    Ostraka__RangeFetchAnswer answer = OSTRAKA__RANGE_FETCH_ANSWER__INIT;
    answer.to_group = feed->to_group;
    answer.change = feed->change;
    answer.feed = feed->id;
    answer.sequence = feed->sequence;
    answer.is_scanned = feed->phase == FEED_CHANGES;
    answer.left_bytes = changes_left_bytes(feed);
    /* The luggage is of what is written: a slice that is not yet may have more to say. */
    answer.is_sealed = range && range->state == KV_RANGE_SEALED && range->change == feed->change &&
                       answer.is_scanned && answer.left_bytes == 0 && !group->slice.is_built;
    struct luggage_writer luggage;
    if (answer.is_sealed) {
        luggage_write(feed, &luggage);
        answer.luggage = &luggage.message;
    }
    feed->answer = frame_encode(FRAME_RANGE_FETCH_ANSWER, 0, &answer.base, &rows, 1);
    if (answer.is_sealed)
        arena_fini(&luggage.arena);
    if (!RARE(FETCH_ANSWER_LOST))
        send(group, feed->to_store, blob_ref(feed->answer));
}

/* --- The snapshot -------------------------------------------------------------------------------
 */

static void walk_row(struct feed_walk *walk, struct bytes key, struct bytes value)
{
    if (walk->phase == FEED_OUTCOMES) {
        struct txn_outcome outcome;
        if (value.bytes_count < sizeof(uint64_t)) {
            walk->status = OST_CORRUPT;
            return;
        }
        value = bytes_of(value.data + sizeof(uint64_t), value.bytes_count - sizeof(uint64_t));
        walk->status = txn_outcome_unpack(value, &outcome);
        if (walk->status != OST_OK || txn_outcome_is_over(&outcome, walk->log_timestamp))
            return;
    }
    kv_row_append(&walk->rows, kv_key_tail(key), value);
}

static void walk_run(struct job *job)
{
    struct feed_walk *walk = (struct feed_walk *)job;
    struct store_iterator *iterator =
        store_iterator_new(walk->store, walk->snapshot, buffer_bytes(&walk->lower),
                           buffer_bytes(&walk->upper), STORE_PASSING);
    store_iterator_last(iterator);
    /* At least one row, however large. */
    while (store_iterator_valid(iterator) && walk->status == OST_OK) {
        struct bytes key = store_iterator_key(iterator);
        walk_row(walk, key, store_iterator_value(iterator));
        buffer_reset(&walk->upper);
        buffer_append(&walk->upper, key.data, key.bytes_count);
        store_iterator_previous(iterator);
        if (walk->rows.bytes_count >= walk->bytes_max)
            break;
    }
    walk->is_at_end = !store_iterator_valid(iterator);
    if (walk->is_at_end && walk->status == OST_OK &&
        store_iterator_status(iterator) != OST_NOT_FOUND)
        walk->status = store_iterator_status(iterator);
    store_iterator_free(iterator);
}

static void walk_done(struct job *job);

static void walk_begin(struct kv_feed *feed)
{
    struct kv_group *group = feed->group;
    struct kv_environment *environment = &group->shared->environment;
    struct feed_walk *walk = memory_alloc_zeroed(1, sizeof(*walk));
    walk->feed = feed;
    walk->store = environment->store;
    walk->snapshot = feed->snapshot;
    walk->phase = feed->phase;
    walk->log_timestamp = group->meta.log_timestamp;
    kv_rows_bounds(group->id, group->meta.generation,
                   feed->phase == FEED_VERSIONS ? KV_ROW_DATA : KV_ROW_OUTCOME,
                   blob_bytes(feed->start), blob_bytes(feed->end), &walk->lower, &walk->upper);
    if (feed->upper.bytes_count > 0) {
        buffer_reset(&walk->upper);
        buffer_append(&walk->upper, feed->upper.data, feed->upper.bytes_count);
    }
    walk->bytes_max = RARE(FEED_CHUNK_TINY) ? 1 : feed->bytes_max;
    job_push(environment->jobs, &walk->job, walk_run, walk_done);
    feed->walk = walk;
}

static void feed_phase_end(struct kv_feed *feed)
{
    buffer_reset(&feed->upper);
    feed->phase++;
    if (feed->phase == FEED_CHANGES) {
        store_snapshot_free(feed->group->shared->environment.store, feed->snapshot);
        feed->snapshot = NULL;
    }
}

static void walk_done(struct job *job)
{
    struct feed_walk *walk = (struct feed_walk *)job;
    struct kv_feed *feed = walk->feed;
    if (!feed) {
        COVER(FEED_WALK_OF_NOBODY);
        store_snapshot_free(walk->store, walk->snapshot);
        walk_free(walk);
        return;
    }
    feed->walk = NULL;
    buffer_reset(&feed->upper);
    buffer_append(&feed->upper, walk->upper.data, walk->upper.bytes_count);
    if (walk->status != OST_OK) {
        log_write(LOG_WARN, "cannot read a range that moves away", "group=%lu status=%s",
                  feed->group->id, ost_status_name(walk->status));
        feed_free(feed);
    } else {
        if (walk->is_at_end)
            feed_phase_end(feed);
        feed_answer(feed, buffer_bytes(&walk->rows));
    }
    walk_free(walk);
}

/* --- Changes ------------------------------------------------------------------------------------
 */

void kv_feeds_row(struct kv_group *group, struct bytes user_key, struct bytes key,
                  struct bytes value)
{
    struct kv_feed *feed, *next;
    for (feed = TAILQ_FIRST(&group->feeds); feed; feed = next) {
        next = TAILQ_NEXT(feed, link);
        if (!key_in_range(user_key, blob_bytes(feed->start), blob_bytes(feed->end)))
            continue;
        kv_row_append(&feed->changes, key, value);
        if (changes_left_bytes(feed) > FEED_BYTES_MAX || RARE(FEED_LOST)) {
            COVER(FEED_OVERFLOWN);
            feed_free(feed);
        }
    }
}

static void changes_take(struct kv_feed *feed)
{
    struct bytes rows = kv_rows_first(
        bytes_from(buffer_bytes(&feed->changes), feed->changes_taken_bytes), feed->bytes_max);
    feed->changes_taken_bytes += rows.bytes_count;
    feed_answer(feed, rows);
    if (feed->changes_taken_bytes < TAKEN_BYTES_MAX && changes_left_bytes(feed) > 0)
        return;
    size_t left_bytes = changes_left_bytes(feed);
    if (left_bytes > 0)
        memmove(feed->changes.data, feed->changes.data + feed->changes_taken_bytes, left_bytes);
    feed->changes.bytes_count = left_bytes;
    feed->changes_taken_bytes = 0;
}

/* Is there an answer to the fetch that waits? */
static void feed_go_on(struct kv_feed *feed)
{
    if (feed->sequence == 0 || feed->answer || feed->walk)
        return;
    const struct kv_group *group = feed->group;
    if (feed->phase != FEED_CHANGES) {
        walk_begin(feed);
        return;
    }
    const struct kv_range *range = feed_range(feed);
    bool is_sealed = range && range->state == KV_RANGE_SEALED && !group->slice.is_built;
    bool is_held = group->shared->now_ns < feed->fetched_ns + FEED_HOLD_NS;
    if (changes_left_bytes(feed) > 0 || is_sealed || !is_held)
        changes_take(feed);
}

void kv_feeds_applied(struct kv_group *group)
{
    struct kv_feed *feed;
    TAILQ_FOREACH (feed, &group->feeds, link)
        feed_go_on(feed);
}

/* A feed of a range that is no longer here, or was given back, has no purpose. */
void kv_feeds_step_taken(struct kv_group *group)
{
    struct kv_feed *feed, *next;
    for (feed = TAILQ_FIRST(&group->feeds); feed; feed = next) {
        next = TAILQ_NEXT(feed, link);
        const struct kv_range *range = feed_range(feed);
        bool is_over = !range || !bytes_equal(blob_bytes(range->end), blob_bytes(feed->end)) ||
                       (range->state == KV_RANGE_OWNED && range->change >= feed->change);
        if (is_over)
            feed_free(feed);
        else
            feed_go_on(feed);
    }
}

/* --- Fetches ------------------------------------------------------------------------------------
 */

/* Is the range here that it wants, and may it be given away by this change? */
static bool fetch_is_for_us(const struct kv_group *group, const Ostraka__RangeFetch *fetch)
{
    const struct kv_range *range = kv_ranges_at(&group->ranges, bytes_of_field(fetch->start));
    if (!range || range->epoch != fetch->epoch || fetch->store == 0 || fetch->change == 0 ||
        !bytes_equal(blob_bytes(range->end), bytes_of_field(fetch->end)))
        return false;
    if (range->state == KV_RANGE_OWNED)
        return range->change < fetch->change;
    return (range->state == KV_RANGE_FROZEN || range->state == KV_RANGE_SEALED) &&
           range->change == fetch->change;
}

/* NULL: not now, or not at all. */
static struct kv_feed *feed_begin(struct kv_group *group, const Ostraka__RangeFetch *fetch)
{
    /* What is built and not written yet is in no snapshot, and would be in no list. */
    if (group->slice.is_built)
        return NULL;
    struct kv_feed *former = feed_find(group, fetch->change);
    if (former)
        feed_free(former);
    return group->feeds_count < FEEDS_COUNT_MAX ? feed_new(group, fetch) : NULL;
}

void kv_feed_fetch(struct kv_group *group, const Ostraka__RangeFetch *fetch)
{
    if (!group->is_leading || !fetch_is_for_us(group, fetch))
        return;
    struct kv_feed *feed = feed_find(group, fetch->change);
    /* Asked for the first rows again: they may be on their way, or lost. A feed is as good for a
     * copy that has begun after it. */
    bool is_asked_again = feed && feed->sequence == 1 && fetch->feed == 0;
    if (fetch->feed == 0 && fetch->sequence == 1 && !is_asked_again) {
        feed = feed_begin(group, fetch);
        if (!feed)
            return;
    } else if (!feed || (feed->id != fetch->feed && !is_asked_again) ||
               (fetch->sequence != feed->sequence && fetch->sequence != feed->sequence + 1)) {
        answer_begin_anew(group, fetch);
        return;
    }
    feed->to_group = fetch->to_group;
    feed->to_store = fetch->store;
    feed->bytes_max = fetch->bytes_max < ANSWER_BYTES_MAX ? fetch->bytes_max : ANSWER_BYTES_MAX;
    if (fetch->sequence == feed->sequence) {
        if (feed->answer) /* the answer was lost */
            send(group, feed->to_store, blob_ref(feed->answer));
        return;
    }
    if (feed->sequence > 0 && !feed->answer)
        return; /* one at a time */
    blob_unref(feed->answer);
    feed->answer = NULL;
    feed->sequence = fetch->sequence;
    feed->fetched_ns = group->shared->now_ns;
    feed_go_on(feed);
}

/* --- Time ---------------------------------------------------------------------------------------
 */

void kv_feeds_timer(struct kv_group *group)
{
    nanoseconds_t now_ns = group->shared->now_ns;
    struct kv_feed *feed, *next;
    for (feed = TAILQ_FIRST(&group->feeds); feed; feed = next) {
        next = TAILQ_NEXT(feed, link);
        if (feed->fetched_ns + FEED_EXPIRY_NS <= now_ns && !feed->walk)
            feed_free(feed);
        else
            feed_go_on(feed);
    }
}

nanoseconds_t kv_feeds_deadline_ns(const struct kv_group *group)
{
    nanoseconds_t deadline_ns = NS_NEVER;
    const struct kv_feed *feed;
    TAILQ_FOREACH (feed, &group->feeds, link) {
        if (feed->walk)
            continue;
        nanoseconds_t due_ns = feed->fetched_ns + (feed->answer ? FEED_EXPIRY_NS : FEED_HOLD_NS);
        if (due_ns < deadline_ns)
            deadline_ns = due_ns;
    }
    return deadline_ns;
}
