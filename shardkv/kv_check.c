/* kv_check.c: has anything been written since in what a transaction read without a lock (optimistic
 * mode)?
 *
 * A read is answered with a timestamp R such that whoever writes there later gets a higher one: it
 * was read in a step in which no BOUND or PREPARED writer stood on it, and a bound is above all
 * that was ever applied in the group, of which R is the highest (kv_group_read_timestamp). A new
 * leader has applied all that an earlier one had when it read. So the read is as it was when no
 * version or delete marker there is above R.
 *
 * At a Prepare the shared locks are held first (participant.h), then the rows are looked at: what
 * is found stays true until the locks go, which is when the outcome is applied. Should they be lost
 * while the pool looks, the request is refused with them, and nobody hears of the result.
 *
 * A transaction that wrote nothing and read more than once is true if all its reads were true at
 * one moment. It asks each group after its last read was answered. Each look shows that those reads
 * were unchanged from when they were made until then, and all of them span the moment at which the
 * last one was answered. No lock is needed. But what committed before that moment may be prepared
 * here and not yet applied: so each look waits for the BOUND and PREPARED writers in its way first,
 * at a leader that was confirmed after the request had come.
 *
 * A marker above R may have been swept once the safe point is above it; hence a read from below the
 * safe point counts as changed. R is never below the safe point of its own time, so that a group in
 * which nothing is written can be read for ever.
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_keys.h"

#include <stdlib.h>

/* Rows that a check may look at on the loop: some 100 us. */
#define CHECK_LOOP_VISITS_MAX 256u
/* A key with more versions than this is left by a seek. */
#define CHECK_VERSIONS_WALKED_MAX 8u

struct kv_check_item {
    struct lock_target target;
    timestamp_t read_timestamp;
};

struct kv_check {
    struct job job;
    struct kv_shared *shared;
    uint64_t token;
    group_id_t group;
    uint32_t generation;
    struct arena arena; /* the items; on the pool, their keys as well */
    struct kv_check_item *items;
    size_t items_count;
    size_t place; /* the first one that is not done with */
    uint32_t visits_left;
    int status;
    struct buffer changed_key; /* OST_VERSION_CHANGED */
    struct buffer lower, upper, found_key, value;
};

void kv_check_free(struct kv_check *check)
{
    if (!check)
        return;
    arena_fini(&check->arena);
    buffer_fini(&check->changed_key);
    buffer_fini(&check->lower);
    buffer_fini(&check->upper);
    buffer_fini(&check->found_key);
    buffer_fini(&check->value);
    free(check);
}

/* --- What a request asks -----------------------------------------------------------------------
 */

struct asked_checks {
    Ostraka__ReadCheck **list;
    size_t count;
    const Ostraka__PrepareRequest *prepare; /* NULL: a Validate */
};

static struct asked_checks asked_of(const struct kv_request *request)
{
    if (request->type == FRAME_PREPARE) {
        const Ostraka__PrepareRequest *prepare = (const Ostraka__PrepareRequest *)request->message;
        return (struct asked_checks){prepare->checks, prepare->n_checks, prepare};
    }
    ASSERT(request->type == FRAME_VALIDATE);
    const Ostraka__ValidateRequest *validate = (const Ostraka__ValidateRequest *)request->message;
    return (struct asked_checks){validate->checks, validate->n_checks, NULL};
}

static struct lock_target target_of(const Ostraka__ReadCheck *check)
{
    struct lock_target target = {.start = bytes_of_field(check->start),
                                 .is_interval = !check->is_key};
    if (target.is_interval)
        target.end = bytes_of_field(check->end);
    return target;
}

const struct lock_target *kv_check_targets(struct kv_request *request, uint32_t *out_count)
{
    struct asked_checks asked = asked_of(request);
    struct lock_target *targets = arena_alloc(&request->arena, asked.count * sizeof(targets[0]));
    for (size_t index = 0; index < asked.count; index++)
        targets[index] = target_of(asked.list[index]);
    *out_count = (uint32_t)asked.count;
    return targets;
}

/* NULL: well formed. They come in the order of their starts, so that each range is looked for once.
 */
static const char *form_check(struct asked_checks asked, int *out_status)
{
    *out_status = OST_TOO_LARGE;
    if (asked.count > TXN_OPERATIONS_COUNT_MAX)
        return "reads are over the limit TXN_OPERATIONS_COUNT_MAX (100000)";
    struct bytes previous = bytes_of(NULL, 0);
    for (size_t index = 0; index < asked.count; index++) {
        struct lock_target target = target_of(asked.list[index]);
        *out_status = OST_TOO_LARGE;
        /* An interval may begin or end behind a key: at that key with a zero byte behind it. */
        if (target.start.bytes_count > KEY_BYTES_MAX + target.is_interval ||
            target.end.bytes_count > KEY_BYTES_MAX + 1)
            return "key is over the limit KEY_BYTES_MAX (8 KiB)";
        *out_status = OST_INVALID_ARGUMENT;
        if (!target.is_interval && target.start.bytes_count == 0)
            return "key is empty";
        if (target.is_interval && target.end.bytes_count > 0 &&
            bytes_compare(target.start, target.end) >= 0)
            return "interval is empty";
        if (index > 0 && bytes_compare(previous, target.start) > 0)
            return "checks are not in order";
        previous = target.start;
    }
    return NULL;
}

/* A Prepare names its ranges, which are looked at once more when it is applied (R4). */
static const struct kv_range *range_of(const struct kv_request *request,
                                       const Ostraka__PrepareRequest *prepare, struct bytes key)
{
    const struct kv_range *range = kv_ranges_find(&request->group->ranges, key);
    for (size_t index = 0; range && prepare && index < prepare->n_ranges; index++) {
        if (kv_ranges_named(&request->group->ranges, prepare->ranges[index]) == range)
            return range;
    }
    return prepare ? NULL : range;
}

static bool end_is_reached(const struct lock_target *target, struct bytes end)
{
    if (!target->is_interval || end.bytes_count == 0)
        return true;
    return target->end.bytes_count > 0 && bytes_compare(target->end, end) <= 0;
}

/* Does everything lie in ranges that the group owns? A split since the read leaves an interval in
 * two of them. */
static bool ranges_check(const struct kv_request *request, struct asked_checks asked)
{
    const struct kv_range *range = NULL; /* what came before is known up to its end */
    for (size_t index = 0; index < asked.count; index++) {
        struct lock_target target = target_of(asked.list[index]);
        struct bytes start = target.start;
        bool is_known = range && (range->end->bytes_count == 0 ||
                                  bytes_compare(start, blob_bytes(range->end)) < 0);
        while (!is_known || !end_is_reached(&target, blob_bytes(range->end))) {
            range = range_of(request, asked.prepare, is_known ? blob_bytes(range->end) : start);
            if (!range)
                return false;
            is_known = true;
        }
    }
    return true;
}

bool kv_check_passes(struct kv_request *request)
{
    struct asked_checks asked = asked_of(request);
    int status;
    const char *why = form_check(asked, &status);
    if (!why && ranges_check(request, asked))
        return true;
    kv_answer_status(request, why ? status : OST_RANGE_MOVED, why);
    return false;
}

bool kv_checks_are_equal(const Ostraka__PrepareRequest *a, const Ostraka__PrepareRequest *b)
{
    if (a->n_checks != b->n_checks)
        return false;
    for (size_t index = 0; index < a->n_checks; index++) {
        const Ostraka__ReadCheck *x = a->checks[index], *y = b->checks[index];
        if (x->is_key != y->is_key || x->read_timestamp != y->read_timestamp ||
            !bytes_equal(bytes_of_field(x->start), bytes_of_field(y->start)) ||
            !bytes_equal(bytes_of_field(x->end), bytes_of_field(y->end)))
            return false;
    }
    return true;
}

timestamp_t kv_group_read_timestamp(const struct kv_group *group)
{
    timestamp_t timestamp = group->meta.commit_timestamp_max;
    return timestamp > group->meta.safe_point ? timestamp : group->meta.safe_point;
}

/* --- Looking -----------------------------------------------------------------------------------
 */

/* OST_WOULD_BLOCK: enough for one turn of the loop. */
static int check_visit(struct kv_check *check)
{
    if (check->visits_left == 0)
        return OST_WOULD_BLOCK;
    check->visits_left--;
    return OST_OK;
}

/* The newest version of a key, a delete marker as well. */
static int newest_look(struct kv_check *check, const struct kv_check_item *item,
                       struct bytes row_key)
{
    timestamp_t version;
    if (!kv_key_parse_data(row_key, &check->changed_key, &version))
        return OST_CORRUPT;
    return version > item->read_timestamp ? OST_VERSION_CHANGED : OST_OK;
}

static int key_look(struct kv_check *check, const struct kv_check_item *item, enum store_mode mode)
{
    int status = check_visit(check);
    if (status != OST_OK)
        return status;
    kv_key_data(&check->lower, check->group, check->generation, item->target.start, UINT64_MAX);
    status = store_first_version(check->shared->environment.store, buffer_bytes(&check->lower),
                                 mode, &check->found_key, &check->value);
    if (status == OST_NOT_FOUND)
        return OST_OK;
    return status == OST_OK ? newest_look(check, item, buffer_bytes(&check->found_key)) : status;
}

static bool is_version_of(struct bytes row_key, struct bytes prefix)
{
    return row_key.bytes_count == prefix.bytes_count + KV_TIMESTAMP_BYTES &&
           bytes_equal(bytes_of(row_key.data, prefix.bytes_count), prefix);
}

/* The iterator stands on a key's newest version: to the next key. */
static void key_leave(struct kv_check *check, struct store_iterator *iterator)
{
    struct bytes row_key = store_iterator_key(iterator);
    size_t prefix_bytes = row_key.bytes_count - KV_TIMESTAMP_BYTES;
    buffer_reset(&check->found_key);
    buffer_append(&check->found_key, row_key.data, prefix_bytes);
    for (uint32_t walked = 0; walked < CHECK_VERSIONS_WALKED_MAX; walked++) {
        store_iterator_next(iterator);
        if (!store_iterator_valid(iterator) ||
            !is_version_of(store_iterator_key(iterator), buffer_bytes(&check->found_key)))
            return;
    }
    /* Behind all its versions: no timestamp is that long. */
    memset(buffer_extend(&check->found_key, KV_TIMESTAMP_BYTES + 1), 0xff, KV_TIMESTAMP_BYTES + 1);
    store_iterator_seek(iterator, buffer_bytes(&check->found_key));
}

static int interval_look(struct kv_check *check, const struct kv_check_item *item,
                         enum store_mode mode)
{
    kv_key_data_prefix(&check->lower, check->group, check->generation, item->target.start);
    if (item->target.end.bytes_count > 0)
        kv_key_data_prefix(&check->upper, check->group, check->generation, item->target.end);
    else
        kv_key_kind(&check->upper, check->group, check->generation, KV_ROW_DATA + 1);
    struct store_iterator *iterator =
        store_iterator_new(check->shared->environment.store, NULL, buffer_bytes(&check->lower),
                           buffer_bytes(&check->upper), mode);
    int status = OST_OK;
    for (store_iterator_first(iterator); store_iterator_valid(iterator);
         key_leave(check, iterator)) {
        status = check_visit(check);
        if (status == OST_OK)
            status = newest_look(check, item, store_iterator_key(iterator));
        if (status != OST_OK)
            break;
    }
    if (status == OST_OK)
        status = store_iterator_status(iterator);
    store_iterator_free(iterator);
    return status == OST_NOT_FOUND ? OST_OK : status;
}

static void check_run(struct kv_check *check, enum store_mode mode, uint32_t visits_max)
{
    check->visits_left = visits_max;
    check->status = OST_OK;
    for (; check->place < check->items_count; check->place++) {
        const struct kv_check_item *item = &check->items[check->place];
        check->status = item->target.is_interval ? interval_look(check, item, mode)
                                                 : key_look(check, item, mode);
        if (check->status != OST_OK)
            return;
    }
}

/* --- From a request to its result --------------------------------------------------------------
 */

/* Of those that were looked at: may a marker that was there be gone? */
static bool is_below_safe_point(struct kv_check *check, timestamp_t safe_point)
{
    for (size_t index = 0; index < check->items_count; index++) {
        const struct kv_check_item *item = &check->items[index];
        if (item->read_timestamp >= safe_point)
            continue;
        COVER(READ_BELOW_SAFE_POINT);
        buffer_reset(&check->changed_key);
        buffer_append(&check->changed_key, item->target.start.data, item->target.start.bytes_count);
        return true;
    }
    return false;
}

static void check_refuse(struct kv_request *request, int status)
{
    struct kv_group *group = request->group;
    struct kv_check *check = request->check;
    struct participant_event release = {.type = PARTICIPANT_EV_RELEASE, .txn = request->txn};
    bool is_prepare = request->type == FRAME_PREPARE;
    if (status == OST_VERSION_CHANGED) {
        COVER(READ_CHANGED);
        request->shared->environment.metrics->reads_changed_count++;
        struct participant_reason reason = {.key = buffer_bytes(&check->changed_key)};
        kv_answer_refused(request, status, &reason);
    } else {
        log_write(LOG_ERROR, "a check of reads failed", "group=%lu status=%s", group->id,
                  ost_status_name(status));
        kv_answer_status(request, status, NULL);
    }
    /* Its locks go at once: it will not commit. */
    if (is_prepare)
        kv_group_step(group, &release);
}

/* A Prepare has its locks, with which no range goes; without them the rows of one that has gone
 * meanwhile may have been deleted under the look, and so looked unchanged. */
static bool rows_may_be_gone(const struct kv_request *request)
{
    return request->type == FRAME_VALIDATE &&
           request->ranges_ended_seen != request->group->ranges_ended_count;
}

static void check_finish(struct kv_request *request)
{
    struct kv_check *check = request->check;
    int status = check->status;
    if (rows_may_be_gone(request)) {
        COVER(CHECK_ROWS_GONE);
        kv_answer_status(request, OST_RANGE_MOVED, NULL);
        return;
    }
    if (status == OST_OK && is_below_safe_point(check, kv_group_safe_point(request->group)))
        status = OST_VERSION_CHANGED;
    if (status != OST_OK)
        check_refuse(request, status);
    else
        kv_request_checked(request);
}

static void check_job_run(struct job *job)
{
    check_run((struct kv_check *)job, STORE_MAY_BLOCK, UINT32_MAX);
}

static void check_job_done(struct job *job)
{
    struct kv_check *check = (struct kv_check *)job;
    struct kv_request *request = kv_request_find(check->shared, check->token);
    if (!request) {
        COVER(CHECK_CAME_BACK_TO_NOBODY);
        kv_check_free(check);
        return;
    }
    /* A request ends with its locks and with the leadership it began in: both are still there. */
    ASSERT(request->state == KV_REQUEST_POOL && request->group->is_leading);
    kv_request_move(request, KV_REQUEST_LOCKS);
    check_finish(request);
}

static void check_on_pool(struct kv_request *request)
{
    struct kv_check *check = request->check;
    struct kv_environment *environment = &request->shared->environment;
    /* The request may go while the pool is at work. */
    for (size_t index = 0; index < check->items_count; index++) {
        struct lock_target *target = &check->items[index].target;
        target->start = arena_copy(&check->arena, target->start);
        target->end = arena_copy(&check->arena, target->end);
    }
    COVER(CHECK_ON_POOL);
    kv_request_move(request, KV_REQUEST_POOL);
    environment->metrics->reads_blocked_count++;
    job_push(environment->jobs, &check->job, check_job_run, check_job_done);
}

static void check_begin(struct kv_request *request)
{
    struct asked_checks asked = asked_of(request);
    struct kv_check *check = memory_alloc_zeroed(1, sizeof(*check));
    request->check = check;
    check->shared = request->shared;
    check->token = request->token;
    check->group = request->group->id;
    check->generation = request->group->meta.generation;
    arena_init(&check->arena);
    check->items = arena_alloc(&check->arena, asked.count * sizeof(check->items[0]));
    check->items_count = asked.count;
    for (size_t index = 0; index < asked.count; index++)
        check->items[index] =
            (struct kv_check_item){target_of(asked.list[index]), asked.list[index]->read_timestamp};
    if (RARE(CACHE_COLD))
        check->status = OST_WOULD_BLOCK;
    else
        check_run(check, STORE_IN_MEMORY, RARE(CHECK_VISITS_ONE_ROW) ? 1 : CHECK_LOOP_VISITS_MAX);
    if (check->status == OST_WOULD_BLOCK)
        check_on_pool(request);
    else
        check_finish(request);
}

/* One that fails frees the locks that the next one waited for, which may fail in turn: so they are
 * done one after the other at the end of a step, and not inside of one. */
void kv_check_due(struct kv_request *request)
{
    ASSERT(!request->is_check_due && !request->check);
    request->is_check_due = true;
    TAILQ_INSERT_TAIL(&request->group->checks_due, request, check_link);
}

void kv_checks_run(struct kv_group *group)
{
    if (group->are_checks_running)
        return;
    group->are_checks_running = true;
    struct kv_request *request;
    while ((request = TAILQ_FIRST(&group->checks_due)) != NULL) {
        TAILQ_REMOVE(&group->checks_due, request, check_link);
        request->is_check_due = false;
        check_begin(request);
    }
    group->are_checks_running = false;
}

void kv_check_wait(struct kv_request *request)
{
    struct asked_checks asked = asked_of(request);
    struct kv_group *group = request->group;
    for (; request->check_place < asked.count; request->check_place++) {
        struct lock_target target = target_of(asked.list[request->check_place]);
        if (!participant_has_bound_writer(group->participant, &target))
            continue;
        COVER(CHECK_HELD_BACK);
        struct participant_event event = {.type = PARTICIPANT_EV_READ,
                                          .token = request->token,
                                          .txn = request->txn,
                                          .target = target};
        kv_group_step(group, &event); /* granted when that one has ended, see kv_request_granted */
        return;
    }
    check_begin(request);
}
