/* kv_sweep.c: what compaction cannot do about old versions (S4): it removes delete markers, and it
 * sees to it that files are rewritten when much of them is of no use any more.
 *
 * A pass walks the data rows of one group in small jobs on the pool, with a rest after each, nine
 * times as long as the job took. A marker at or below the published safe point goes together with
 * all older versions of its key: they are in one batch, or, when they are too many, in the batches
 * before. So no crash and no order in which files are rewritten brings an older version back. What
 * is newer than the marker stays. Where a quarter of a span that is about as large as a file could
 * be dropped, the store is told to rewrite it.
 *
 * A pass is due when something can be found: the lowest timestamp is known whose passing by the
 * safe point would make a version or a marker superfluous. After a pass that is the lowest one it
 * has seen above the safe point, or the lowest written since it began; at start nobody knows, and
 * one pass finds out. So nothing is done where nothing is written.
 *
 * A job touches rows of its own generation alone. When a snapshot has replaced them, or the replica
 * is being destroyed, what it still does is done to rows that nobody reads. A new replica of the
 * group, which would use the numbers of generations again, waits for the job's end
 * (kv_sweeper_is_busy_with).
 *
 * A range that is copied in brings rows back that a pass may have deleted before it, when an
 * earlier copy of them was here: then the rest of the pass would delete a marker and leave the
 * older versions that have come back. So the copy begins after the deletes of the job under way,
 * and ends the pass (kv_sweeper_give_way).
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_keys.h"

#include <stdatomic.h>
#include <stdlib.h>

#define ROWS_PER_JOB_MAX  4096u
#define BYTES_PER_JOB_MAX (4u << 20)
#define BATCH_BYTES_MAX   (256u << 10)
#define REST_FACTOR       9u
#define REST_NS_MIN       (10 * NS_PER_MS)
#define REST_NS_MAX       (10 * NS_PER_S)
#define RETRY_NS          NS_PER_S
/* RocksDB rewrites whole files: what is decided about should be no smaller. */
#define SPAN_BYTES      (64u << 20)
#define COMPACT_PARTS   4u /* one of so many is garbage */
#define NOTHING_TO_DROP UINT64_MAX

struct sweep {
    struct job job;
    struct kv_sweeper *sweeper;
    struct store *store;
    group_id_t group;
    replica_id_t replica;
    uint32_t generation;
    timestamp_t safe_point;
    uint64_t garbage_bytes_min;
    /* Where it stands. */
    struct buffer next, end; /* of row keys */
    struct kv_gc_versions versions;
    struct buffer marker; /* of the key under way, the newest that goes; empty: none */
    timestamp_t garbage_from;
    struct buffer span; /* where it begins */
    uint64_t span_bytes, span_garbage_bytes;
    bool is_over; /* rows have been replaced */
    /* This job. */
    _Atomic bool has_deleted; /* whatever it does delete */
    int status;
    bool is_at_end;
    uint32_t rows_max;
    uint64_t bytes_seen;
    uint64_t markers_count;
    struct store_batch *batch;
};

/* Of a range that has gone: nothing is there any more, and files are to be rewritten without it. */
struct freed_span {
    struct job job;
    TAILQ_ENTRY(freed_span) link;
    struct kv_sweeper *sweeper;
    struct blob *lower, *upper;
    nanoseconds_t due_ns;
    int status;
};

struct kv_sweeper {
    struct kv_shared *shared;
    TAILQ_HEAD(, freed_span) freed;
    uint32_t freed_count;
    bool is_freeing;     /* the first of them is on the pool */
    struct sweep *sweep; /* the pass under way; NULL: none */
    bool is_running;     /* on the pool */
    nanoseconds_t begun_ns;
    nanoseconds_t rest_until_ns;
    group_id_t last; /* groups take turns */
};

struct kv_sweeper *kv_sweeper_new(struct kv_shared *shared)
{
    struct kv_sweeper *sweeper = memory_alloc_zeroed(1, sizeof(*sweeper));
    sweeper->shared = shared;
    TAILQ_INIT(&sweeper->freed);
    return sweeper;
}

static void sweep_free(struct sweep *sweep)
{
    if (!sweep)
        return;
    buffer_fini(&sweep->next);
    buffer_fini(&sweep->end);
    buffer_fini(&sweep->marker);
    buffer_fini(&sweep->span);
    kv_gc_versions_fini(&sweep->versions);
    store_batch_free(sweep->batch);
    free(sweep);
}

/* --- Space of ranges that have gone --------------------------------------------------------------
 */

static void freed_span_end(struct freed_span *span)
{
    TAILQ_REMOVE(&span->sweeper->freed, span, link);
    span->sweeper->freed_count--;
    blob_unref(span->lower);
    blob_unref(span->upper);
    free(span);
}

static void freed_span_run(struct job *job)
{
    struct freed_span *span = (struct freed_span *)job;
    span->status = store_compact(span->sweeper->shared->environment.store, blob_bytes(span->lower),
                                 blob_bytes(span->upper));
}

static void freed_span_done(struct job *job)
{
    struct freed_span *span = (struct freed_span *)job;
    struct kv_sweeper *sweeper = span->sweeper;
    if (span->status != OST_OK && span->status != OST_BUSY)
        log_write(LOG_WARN, "the space of a range that is gone comes back later",
                  "store=%lu status=%s", sweeper->shared->environment.store_id,
                  ost_status_name(span->status));
    sweeper->shared->environment.metrics->spans_rewritten_count++;
    sweeper->is_freeing = false;
    freed_span_end(span);
}

/* Above, the store finds out by itself, in its own time. */
#define FREED_SPANS_COUNT_MAX 1024u
/* The rewrite takes with it whatever was flushed lately, of this range or others: often it would
 * cost more than the move. So it waits for what else goes, and for the load of the move to end. */
#define FREE_AFTER_NS (20 * NS_PER_S)

static bool is_to_be_freed(const struct kv_sweeper *sweeper, struct bytes lower, struct bytes upper)
{
    const struct freed_span *span;
    TAILQ_FOREACH (span, &sweeper->freed, link) {
        bool is_begun = sweeper->is_freeing && span == TAILQ_FIRST(&sweeper->freed);
        if (!is_begun && bytes_equal(blob_bytes(span->lower), lower) &&
            bytes_equal(blob_bytes(span->upper), upper))
            return true;
    }
    return false;
}

void kv_sweeper_space_freed(struct kv_sweeper *sweeper, struct bytes lower, struct bytes upper)
{
    if (sweeper->freed_count == FREED_SPANS_COUNT_MAX || is_to_be_freed(sweeper, lower, upper))
        return;
    struct freed_span *span = memory_alloc_zeroed(1, sizeof(*span));
    span->sweeper = sweeper;
    span->lower = blob_copy(lower);
    span->upper = blob_copy(upper);
    span->due_ns = sweeper->shared->now_ns + FREE_AFTER_NS;
    TAILQ_INSERT_TAIL(&sweeper->freed, span, link);
    sweeper->freed_count++;
}

static nanoseconds_t free_due_ns(const struct kv_sweeper *sweeper)
{
    const struct freed_span *span = TAILQ_FIRST(&sweeper->freed);
    return span && !sweeper->is_freeing ? span->due_ns : NS_NEVER;
}

static void free_next(struct kv_sweeper *sweeper)
{
    if (free_due_ns(sweeper) > sweeper->shared->now_ns)
        return;
    struct freed_span *span = TAILQ_FIRST(&sweeper->freed);
    job_push(sweeper->shared->environment.jobs, &span->job, freed_span_run, freed_span_done);
    sweeper->is_freeing = true;
}

void kv_sweeper_free(struct kv_sweeper *sweeper)
{
    ASSERT(!sweeper->is_running); /* the host runs every job to its end first */
    sweep_free(sweeper->sweep);
    ASSERT(!sweeper->is_freeing);
    while (!TAILQ_EMPTY(&sweeper->freed))
        freed_span_end(TAILQ_FIRST(&sweeper->freed));
    free(sweeper);
}

bool kv_sweeper_is_busy_with(const struct kv_sweeper *sweeper, group_id_t group)
{
    return sweeper->is_running && sweeper->sweep->group == group;
}

/* --- One job, on the pool ----------------------------------------------------------------------
 */

static void note_later(struct sweep *sweep, timestamp_t timestamp)
{
    if (timestamp > sweep->safe_point && timestamp < sweep->garbage_from)
        sweep->garbage_from = timestamp;
}

static void batch_write(struct sweep *sweep)
{
    if (sweep->status == OST_OK && store_batch_bytes(sweep->batch) > 0)
        sweep->status = store_write(sweep->store, sweep->batch);
    store_batch_reset(sweep->batch);
}

/* All that is older than the marker is in this batch, or gone. */
static void marker_finish(struct sweep *sweep)
{
    if (sweep->marker.bytes_count == 0)
        return;
    store_batch_delete(sweep->batch, buffer_bytes(&sweep->marker));
    buffer_reset(&sweep->marker);
    sweep->markers_count++;
}

static void row_visit(struct sweep *sweep, struct bytes key, struct bytes value)
{
    timestamp_t newer = kv_gc_versions_next(&sweep->versions, key);
    timestamp_t timestamp = sweep->versions.timestamp;
    bool is_first = newer == KV_GC_NOT_SHADOWED;
    bool is_marker = value.bytes_count > 0 && value.data[0] == WRITE_DELETE;
    uint64_t row_bytes = key.bytes_count + value.bytes_count;
    sweep->bytes_seen += row_bytes;
    sweep->span_bytes += row_bytes;
    if (is_first)
        marker_finish(sweep);
    if (sweep->marker.bytes_count > 0) {
        store_batch_delete(sweep->batch, key);
        sweep->span_garbage_bytes += row_bytes;
    } else if (is_marker && timestamp <= sweep->safe_point) {
        buffer_append(&sweep->marker, key.data, key.bytes_count);
        sweep->span_garbage_bytes += row_bytes;
    } else if (is_marker) {
        note_later(sweep, timestamp);
    } else if (!is_first && newer <= sweep->safe_point) {
        sweep->span_garbage_bytes += row_bytes; /* compaction drops it */
    } else if (!is_first) {
        note_later(sweep, newer);
    }
    if (store_batch_bytes(sweep->batch) >= BATCH_BYTES_MAX)
        batch_write(sweep);
}

static void rows_visit(struct sweep *sweep)
{
    struct store_iterator *iterator = store_iterator_new(
        sweep->store, NULL, buffer_bytes(&sweep->next), buffer_bytes(&sweep->end), STORE_PASSING);
    store_iterator_first(iterator);
    uint32_t rows_count = 0;
    while (sweep->status == OST_OK && store_iterator_valid(iterator) &&
           rows_count < sweep->rows_max && sweep->bytes_seen < BYTES_PER_JOB_MAX) {
        struct bytes key = store_iterator_key(iterator);
        if (key.bytes_count <= KV_GENERATION_PREFIX_BYTES + KV_TIMESTAMP_BYTES) {
            sweep->status = OST_CORRUPT;
            break;
        }
        row_visit(sweep, key, store_iterator_value(iterator));
        rows_count++;
        store_iterator_next(iterator);
    }
    sweep->is_at_end = !store_iterator_valid(iterator);
    buffer_reset(&sweep->next);
    if (!sweep->is_at_end) {
        struct bytes key = store_iterator_key(iterator);
        buffer_append(&sweep->next, key.data, key.bytes_count);
    } else if (sweep->status == OST_OK && store_iterator_status(iterator) != OST_NOT_FOUND) {
        sweep->status = store_iterator_status(iterator);
    }
    store_iterator_free(iterator);
}

/* It ends where the next job begins. */
static void span_end(struct sweep *sweep)
{
    struct bytes upper = buffer_bytes(sweep->is_at_end ? &sweep->end : &sweep->next);
    if (sweep->status == OST_OK && sweep->span_garbage_bytes >= sweep->garbage_bytes_min &&
        sweep->span_garbage_bytes >= sweep->span_bytes / COMPACT_PARTS)
        sweep->status = store_compact(sweep->store, buffer_bytes(&sweep->span), upper);
    sweep->span_bytes = sweep->span_garbage_bytes = 0;
    buffer_reset(&sweep->span);
    buffer_append(&sweep->span, upper.data, upper.bytes_count);
}

static void sweep_run(struct job *job)
{
    struct sweep *sweep = (struct sweep *)job;
    rows_visit(sweep);
    if (sweep->is_at_end)
        marker_finish(sweep);
    batch_write(sweep);
    atomic_store(&sweep->has_deleted, true);
    if (sweep->is_at_end || sweep->span_bytes >= SPAN_BYTES)
        span_end(sweep);
}

/* --- Passes ------------------------------------------------------------------------------------
 */

static void sweep_done(struct job *job);

static void pass_go_on(struct kv_sweeper *sweeper)
{
    struct sweep *sweep = sweeper->sweep;
    struct kv_shared *shared = sweeper->shared;
    sweep->status = OST_OK;
    atomic_store(&sweep->has_deleted, false);
    sweep->rows_max = RARE(SWEEP_ONE_ROW) ? 1 : ROWS_PER_JOB_MAX;
    sweep->bytes_seen = sweep->markers_count = 0;
    job_push(shared->environment.jobs, &sweep->job, sweep_run, sweep_done);
    sweeper->is_running = true;
    sweeper->begun_ns = shared->now_ns;
}

/* The rows that the pass began with are still the group's. */
static struct kv_group *group_of_sweep(const struct kv_sweeper *sweeper)
{
    const struct sweep *sweep = sweeper->sweep;
    struct kv_group *group = kv_server_group(sweeper->shared, sweep->group);
    bool is_same =
        group && group->replica == sweep->replica && group->meta.generation == sweep->generation;
    return is_same ? group : NULL;
}

static void pass_end(struct kv_sweeper *sweeper)
{
    sweep_free(sweeper->sweep);
    sweeper->sweep = NULL;
}

/* What it would have found is for the next one. */
static void pass_give_up(struct kv_sweeper *sweeper, struct kv_group *group)
{
    kv_group_garbage_from(group, 0);
    pass_end(sweeper);
}

bool kv_sweeper_give_way(struct kv_sweeper *sweeper, struct kv_group *group)
{
    struct sweep *sweep = sweeper->sweep;
    if (!sweep || sweep->group != group->id)
        return true;
    if (sweeper->is_running && !atomic_load(&sweep->has_deleted)) {
        COVER(SWEEP_AWAITED);
        return false;
    }
    COVER(SWEEP_GAVE_WAY);
    if (sweeper->is_running)
        sweep->is_over = true;
    else
        pass_give_up(sweeper, group);
    return true;
}

static void sweep_done(struct job *job)
{
    struct sweep *sweep = (struct sweep *)job;
    struct kv_sweeper *sweeper = sweep->sweeper;
    struct kv_shared *shared = sweeper->shared;
    nanoseconds_t rest_ns = REST_FACTOR * (shared->now_ns - sweeper->begun_ns);
    if (rest_ns < REST_NS_MIN)
        rest_ns = REST_NS_MIN;
    sweeper->is_running = false;
    sweeper->rest_until_ns = shared->now_ns + (rest_ns < REST_NS_MAX ? rest_ns : REST_NS_MAX);
    shared->environment.metrics->markers_swept_count += sweep->markers_count;
    shared->environment.metrics->rows_dropped_count =
        kv_gc_dropped_count(store_gc(shared->environment.store));
    /* What it deleted is to be flushed like any other write. */
    if (shared->unflushed_since_ns == 0 && store_unflushed_bytes(sweep->store) > 0)
        shared->unflushed_since_ns = shared->now_ns > 0 ? shared->now_ns : 1;
    if (sweep->markers_count > 0)
        COVER(MARKER_SWEPT);
    struct kv_group *group = group_of_sweep(sweeper);
    if (!group) {
        COVER(SWEEP_OF_NOBODY);
        pass_end(sweeper);
        return;
    }
    if (sweep->status != OST_OK || sweep->is_over) {
        if (sweep->status != OST_OK && sweep->status != OST_BUSY)
            log_write(LOG_WARN, "cannot sweep a group's old versions",
                      "store=%lu group=%lu status=%s", shared->environment.store_id, group->id,
                      ost_status_name(sweep->status));
        sweeper->rest_until_ns = shared->now_ns + RETRY_NS;
        pass_give_up(sweeper, group);
    } else if (sweep->is_at_end) {
        kv_group_garbage_from(group, sweep->garbage_from);
        pass_end(sweeper);
    }
}

void kv_group_garbage_from(struct kv_group *group, timestamp_t timestamp)
{
    if (group->garbage_from > timestamp)
        group->garbage_from = timestamp;
}

static bool pass_is_due(const struct kv_group *group)
{
    const struct kv_gc_point *point = &group->published_point;
    return !group->is_doomed && !group->is_restoring && point->safe_point > 0 &&
           point->generation == group->meta.generation && group->garbage_from <= point->safe_point;
}

static void pass_begin(struct kv_sweeper *sweeper, struct kv_group *group)
{
    struct kv_shared *shared = sweeper->shared;
    struct sweep *sweep = memory_alloc_zeroed(1, sizeof(*sweep));
    sweep->sweeper = sweeper;
    sweep->store = shared->environment.store;
    sweep->group = group->id;
    sweep->replica = group->replica;
    sweep->generation = group->meta.generation;
    sweep->safe_point = group->published_point.safe_point;
    sweep->garbage_bytes_min = shared->options.garbage_bytes_min;
    sweep->garbage_from = NOTHING_TO_DROP;
    sweep->batch = store_batch_new(sweep->store);
    kv_key_kind(&sweep->next, group->id, sweep->generation, KV_ROW_DATA);
    kv_key_kind(&sweep->span, group->id, sweep->generation, KV_ROW_DATA);
    kv_key_kind(&sweep->end, group->id, sweep->generation, KV_ROW_DATA + 1);
    /* What is written from now on is not for this pass to find. */
    group->garbage_from = NOTHING_TO_DROP;
    sweeper->sweep = sweep;
    sweeper->last = group->id;
}

/* The next after the last one's, in the order of their numbers. */
static struct kv_group *group_due(const struct kv_sweeper *sweeper, struct kv_group *groups)
{
    struct kv_group *first = NULL, *next = NULL;
    for (struct kv_group *group = groups; group; group = group->hh.next) {
        if (!pass_is_due(group))
            continue;
        if (!first || group->id < first->id)
            first = group;
        if (group->id > sweeper->last && (!next || group->id < next->id))
            next = group;
    }
    return next ? next : first;
}

nanoseconds_t kv_sweeper_deadline_ns(const struct kv_sweeper *sweeper, struct kv_group *groups)
{
    bool has_work = !sweeper->is_running && (sweeper->sweep || group_due(sweeper, groups));
    nanoseconds_t pass_ns = has_work ? sweeper->rest_until_ns : NS_NEVER;
    return pass_ns < free_due_ns(sweeper) ? pass_ns : free_due_ns(sweeper);
}

void kv_sweeper_step(struct kv_sweeper *sweeper, struct kv_group *groups)
{
    free_next(sweeper);
    if (sweeper->is_running || sweeper->shared->now_ns < sweeper->rest_until_ns)
        return;
    if (sweeper->sweep && !group_of_sweep(sweeper))
        pass_end(sweeper);
    if (!sweeper->sweep) {
        struct kv_group *group = group_due(sweeper, groups);
        if (!group)
            return;
        pass_begin(sweeper, group);
    }
    pass_go_on(sweeper);
}
