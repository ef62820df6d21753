#include "shardkv/kv_copy.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"
#include "shardkv/kv_rows.h"

#include <stdlib.h>

/* What is fetched at a time is proposed at once, so that its entries share messages and writes of
 * the log; in several of them, so that none holds up a turn for long. */
#define FETCH_BYTES_MAX        (64u << 10)
#define FETCH_BYTES_MAX_OUTRUN (256u << 10)
#define ENTRY_BYTES_MAX        (32u << 10)
#define COPY_ENTRIES_MAX       8u
/* An outcome is short, and as much work as so many bytes more of a version. */
#define OUTCOME_EXTRA_BYTES 256u
#define FETCH_RETRY_NS      (250 * NS_PER_MS)
#define PROPOSE_RETRY_NS    (20 * NS_PER_MS)
/* So little is left that the giver may freeze: two entries. */
#define NEAR_BYTES_MAX (64u << 10)

struct kv_copy {
    TAILQ_ENTRY(kv_copy) link;
    struct kv_group *group;
    struct blob *start;
    uint64_t change;
    bool is_cleared;        /* by this leadership */
    uint64_t feed;          /* 0: not begun */
    uint64_t sequence;      /* the last that was taken */
    nanoseconds_t asked_ns; /* the fetch under way; 0: none */
    nanoseconds_t retry_ns; /* of a proposal that was refused; NS_NEVER: none */
    struct blob *rows;      /* to be proposed, from `rows_proposed_bytes` on; NULL: none */
    size_t rows_proposed_bytes;
    uint32_t entries_count; /* proposed, not applied */
    uint64_t copied_bytes;  /* proposed */
    uint64_t left_bytes;    /* changes that waited at the giver when it last answered */
    bool is_scanned, is_near;
    bool is_outrun;       /* as much is written to the range as is taken from it */
    struct blob *luggage; /* all is here: RangeLuggage, packed */
};

/* --- Life ---------------------------------------------------------------------------------------
 */

static struct kv_copy *copy_find(const struct kv_group *group, struct bytes start)
{
    struct kv_copy *copy;
    TAILQ_FOREACH (copy, &group->copies, link) {
        if (bytes_equal(blob_bytes(copy->start), start))
            return copy;
    }
    return NULL;
}

static struct kv_copy *copy_new(struct kv_group *group, const struct kv_range *range)
{
    struct kv_copy *copy = memory_alloc_zeroed(1, sizeof(*copy));
    copy->group = group;
    copy->start = blob_ref(range->start);
    copy->change = range->change;
    copy->retry_ns = NS_NEVER;
    TAILQ_INSERT_TAIL(&group->copies, copy, link);
    return copy;
}

static void copy_free(struct kv_copy *copy)
{
    TAILQ_REMOVE(&copy->group->copies, copy, link);
    blob_unref(copy->start);
    blob_unref(copy->rows);
    blob_unref(copy->luggage);
    free(copy);
}

void kv_copies_drop(struct kv_group *group)
{
    struct kv_copy *copy;
    while ((copy = TAILQ_FIRST(&group->copies)) != NULL)
        copy_free(copy);
}

/* The range, as long as it is being copied by this change. */
static const struct kv_range *copy_range(const struct kv_copy *copy)
{
    const struct kv_range *range = kv_ranges_at(&copy->group->ranges, blob_bytes(copy->start));
    return range && range->state == KV_RANGE_COPYING && range->change == copy->change ? range
                                                                                      : NULL;
}

void kv_copy_progress(const struct kv_group *group, const struct kv_range *range,
                      Ostraka__RangeFact *out_fact)
{
    const struct kv_copy *copy = copy_find(group, blob_bytes(range->start));
    out_fact->copied_bytes = copy ? copy->copied_bytes : 0;
    out_fact->is_near = copy && copy->is_near;
}

/* --- What it proposes ---------------------------------------------------------------------------
 */

static void retry_later(struct kv_copy *copy)
{
    copy->retry_ns = copy->group->shared->now_ns + PROPOSE_RETRY_NS;
}

/* Nothing that it has is worth anything: begins with no rows, and another feed. */
static void begin_anew(struct kv_copy *copy)
{
    const struct kv_range *range = copy_range(copy);
    copy->is_cleared = copy->is_scanned = copy->is_near = copy->is_outrun = false;
    copy->asked_ns = 0;
    copy->feed = copy->sequence = 0;
    blob_unref(copy->rows);
    blob_unref(copy->luggage);
    copy->rows = copy->luggage = NULL;
    copy->rows_proposed_bytes = 0;
    copy->retry_ns = NS_NEVER;
    if (range &&
        kv_group_propose_step(copy->group, range, OSTRAKA__RANGE_STEP__RANGE_CLEAR) != OST_OK)
        retry_later(copy);
}

/* Whole rows from the beginning, for one entry. `out_work_bytes` of versions are as much work. */
static struct bytes entry_rows(struct bytes rows, size_t *out_work_bytes)
{
    struct reader reader = reader_of(rows);
    struct kv_row row;
    size_t bytes_count = 0, outcomes_count = 0;
    *out_work_bytes = 0;
    while (*out_work_bytes < ENTRY_BYTES_MAX && kv_row_next(&reader, &row)) {
        bytes_count = rows.bytes_count - reader.bytes_left;
        outcomes_count += row.key.data[0] == KV_ROW_OUTCOME;
        *out_work_bytes = bytes_count + outcomes_count * OUTCOME_EXTRA_BYTES;
    }
    return bytes_of(rows.data, bytes_count);
}

/* False: not now. */
static bool rows_propose(struct kv_copy *copy)
{
    struct kv_group *group = copy->group;
    size_t work_bytes;
    struct bytes next =
        entry_rows(bytes_from(blob_bytes(copy->rows), copy->rows_proposed_bytes), &work_bytes);
    Ostraka__CopyRowsCommand rows = OSTRAKA__COPY_ROWS_COMMAND__INIT;
    rows.change = copy->change;
    rows.start = field_of_bytes(blob_bytes(copy->start));
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_COPY_ROWS;
    command.copy_rows = &rows;
    raft_index_t index;
    raft_term_t term;
    if (kv_group_propose(group, &command, next, &index, &term) != OST_OK)
        return false;
    rate_limit_take(&group->shared->copy_limit, work_bytes, group->shared->now_ns);
    copy->copied_bytes += next.bytes_count;
    copy->rows_proposed_bytes += next.bytes_count;
    copy->entries_count++;
    if (copy->rows_proposed_bytes < copy->rows->bytes_count)
        return true;
    blob_unref(copy->rows);
    copy->rows = NULL;
    copy->rows_proposed_bytes = 0;
    return true;
}

static bool copied_propose(struct kv_copy *copy, const struct kv_range *range)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__RangeCommand step = OSTRAKA__RANGE_COMMAND__INIT;
    step.step = OSTRAKA__RANGE_STEP__RANGE_COPIED_ALL;
    step.change = copy->change;
    step.start = field_of_bytes(blob_bytes(copy->start));
    step.epoch = range->epoch;
    step.luggage = (Ostraka__RangeLuggage *)message_unpack(&ostraka__range_luggage__descriptor,
                                                           blob_bytes(copy->luggage), &arena);
    ASSERT(step.luggage);
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_RANGE;
    command.range = &step;
    raft_index_t index;
    raft_term_t term;
    int status = kv_group_propose(copy->group, &command, bytes_of(NULL, 0), &index, &term);
    arena_fini(&arena);
    return status == OST_OK;
}

static void fetch(struct kv_copy *copy, const struct kv_range *range)
{
    struct kv_shared *shared = copy->group->shared;
    copy->asked_ns = shared->now_ns > 0 ? shared->now_ns : 1;
    Ostraka__RangeFetch message = OSTRAKA__RANGE_FETCH__INIT;
    message.to_group = copy->group->id;
    message.from_group = range->from_group;
    message.change = copy->change;
    message.start = field_of_bytes(blob_bytes(range->start));
    message.end = field_of_bytes(blob_bytes(range->end));
    message.epoch = range->epoch;
    message.feed = copy->feed;
    message.sequence = copy->sequence + 1;
    message.bytes_max = copy->is_outrun ? FETCH_BYTES_MAX_OUTRUN : FETCH_BYTES_MAX;
    message.store = shared->environment.store_id;
    outbox_to_group(shared->environment.outbox, range->from_group,
                    frame_encode(FRAME_RANGE_FETCH, 0, &message.base, NULL, 0));
}

/* With writers who are faster than the limit it would never come to an end; and when it is near,
 * the range may be frozen, and clients wait for these rows. */
static nanoseconds_t rows_due_ns(const struct kv_copy *copy)
{
    return copy->is_near || copy->is_outrun ? 0 : copy->group->shared->copy_limit.next_ns;
}

static void copy_go_on(struct kv_copy *copy)
{
    const struct kv_range *range = copy_range(copy);
    if (!range || !copy->is_cleared)
        return;
    copy->retry_ns = NS_NEVER;
    while (copy->rows && copy->entries_count < COPY_ENTRIES_MAX) {
        if (copy->rows_proposed_bytes == 0 && rows_due_ns(copy) > copy->group->shared->now_ns) {
            COVER(COPY_HELD_BACK);
            copy->retry_ns = rows_due_ns(copy);
            return;
        }
        if (!rows_propose(copy)) {
            retry_later(copy);
            return;
        }
    }
    if (copy->rows)
        return; /* goes on when one of them is applied */
    if (copy->luggage) {
        /* In the log it comes behind all rows. Proposed again if it does not come to be. */
        if (copied_propose(copy, range))
            copy->retry_ns = copy->group->shared->now_ns + FETCH_RETRY_NS;
        else
            retry_later(copy);
        return;
    }
    if (copy->asked_ns == 0 && copy->entries_count < COPY_ENTRIES_MAX)
        fetch(copy, range);
}

/* --- What comes back ----------------------------------------------------------------------------
 */

/* Each of them is a decided record of a home in the range. */
static bool luggage_is_sound(const struct kv_range *range, const Ostraka__RangeLuggage *luggage,
                             struct arena *arena)
{
    for (size_t index = 0; luggage && index < luggage->n_records; index++) {
        const Ostraka__TxnRecord *record = (const Ostraka__TxnRecord *)message_unpack(
            &ostraka__txn_record__descriptor, bytes_of_field(luggage->records[index]), arena);
        bool is_decided = record && record->txn &&
                          (record->state == OSTRAKA__TXN_STATE__COMMITTED ||
                           record->state == OSTRAKA__TXN_STATE__ABORTED);
        if (!is_decided || !kv_range_holds(range, bytes_of_field(record->anchor)))
            return false;
    }
    return luggage != NULL;
}

static bool answer_is_sound(const struct kv_copy *copy, const struct kv_range *range,
                            const Ostraka__RangeFetchAnswer *answer, struct bytes rows)
{
    struct arena arena;
    arena_init(&arena);
    bool is_sound = kv_rows_check(rows, blob_bytes(range->start), blob_bytes(range->end)) &&
                    (!answer->is_sealed || luggage_is_sound(range, answer->luggage, &arena));
    arena_fini(&arena);
    if (!is_sound)
        log_write(LOG_ERROR, "rows of a range that moves here are malformed",
                  "group=%lu change=%lu", copy->group->id, copy->change);
    return is_sound;
}

static void near_look(struct kv_copy *copy, const struct kv_range *range,
                      const Ostraka__RangeFetchAnswer *answer)
{
    size_t near_bytes = RARE(COPY_NEAR_LATE) ? 0 : NEAR_BYTES_MAX;
    bool is_near = answer->is_scanned && answer->left_bytes <= near_bytes;
    if (copy->is_scanned && !is_near && answer->left_bytes >= copy->left_bytes) {
        COVER(COPY_OUTRUN);
        copy->is_outrun = true;
    }
    copy->is_scanned = answer->is_scanned;
    copy->left_bytes = answer->left_bytes;
    if (is_near && !copy->is_near) {
        copy->is_near = true;
        kv_group_report_range(copy->group, range);
    }
}

void kv_copy_answered(struct kv_group *group, const Ostraka__RangeFetchAnswer *answer,
                      struct bytes rows)
{
    struct kv_copy *copy;
    TAILQ_FOREACH (copy, &group->copies, link) {
        if (copy->change == answer->change)
            break;
    }
    const struct kv_range *range = copy ? copy_range(copy) : NULL;
    if (!range || !copy->is_cleared || copy->asked_ns == 0)
        return;
    if (answer->feed == 0) {
        if (copy->feed != 0)
            begin_anew(copy);
        return;
    }
    bool is_next =
        answer->sequence == copy->sequence + 1 && (answer->feed == copy->feed || copy->feed == 0);
    if (!is_next || !answer_is_sound(copy, range, answer, rows))
        return;
    copy->asked_ns = 0;
    copy->feed = answer->feed;
    copy->sequence = answer->sequence;
    if (rows.bytes_count > 0)
        copy->rows = blob_copy(rows);
    if (answer->is_sealed) {
        copy->luggage = blob_new(ostraka__range_luggage__get_packed_size(answer->luggage));
        ostraka__range_luggage__pack(answer->luggage, copy->luggage->data);
        /* Deadlines here are judged by a time that is not behind the other group's (R8). */
        raft_host_heard(group->shared->environment.host, answer->luggage->log_timestamp);
    }
    near_look(copy, range, answer);
    copy_go_on(copy);
}

/* --- What was applied ----------------------------------------------------------------------------
 */

static void clear_taken(struct kv_group *group, const struct kv_consequence *consequence)
{
    struct bytes start = bytes_of_field(consequence->step->start);
    const struct kv_range *range = kv_ranges_at(&group->ranges, start);
    if (!range || range->state != KV_RANGE_COPYING)
        return;
    struct kv_copy *copy = copy_find(group, start);
    if (copy && copy->change != range->change) {
        copy_free(copy);
        copy = NULL;
    }
    if (!copy)
        copy = copy_new(group, range);
    if (consequence->term !=
        group->term) { /* of an earlier leader: it has been told at its start */
        begin_anew(copy);
        return;
    }
    /* A second one may come behind rows that this copy has logged. */
    blob_unref(copy->rows);
    blob_unref(copy->luggage);
    *copy = (struct kv_copy){.link = copy->link,
                             .group = group,
                             .start = copy->start,
                             .change = copy->change,
                             .is_cleared = true,
                             .retry_ns = NS_NEVER};
    copy_go_on(copy);
}

void kv_copies_step_taken(struct kv_group *group, const struct kv_consequence *consequence)
{
    if (consequence->step && consequence->is_step_done &&
        consequence->step->step == OSTRAKA__RANGE_STEP__RANGE_CLEAR)
        clear_taken(group, consequence);
    if (consequence->copy_rows && consequence->term == group->term) {
        struct kv_copy *copy = copy_find(group, bytes_of_field(consequence->copy_rows->start));
        if (copy && copy->entries_count > 0)
            copy->entries_count--;
    }
    struct kv_copy *copy, *next;
    for (copy = TAILQ_FIRST(&group->copies); copy; copy = next) {
        next = TAILQ_NEXT(copy, link);
        if (!copy_range(copy))
            copy_free(copy);
        else if (consequence->copy_rows && (!copy->luggage || copy->rows))
            copy_go_on(copy);
    }
}

/* --- Leadership and time -------------------------------------------------------------------------
 */

void kv_copies_led(struct kv_group *group)
{
    const struct kv_range *range;
    TAILQ_FOREACH (range, &group->ranges.unsettled, unsettled_link) {
        if (range->state == KV_RANGE_COPYING)
            begin_anew(copy_new(group, range));
    }
}

static nanoseconds_t copy_deadline_ns(const struct kv_copy *copy)
{
    nanoseconds_t deadline_ns = copy->retry_ns;
    if (copy->asked_ns != 0 && copy->asked_ns + FETCH_RETRY_NS < deadline_ns)
        deadline_ns = copy->asked_ns + FETCH_RETRY_NS;
    return deadline_ns;
}

void kv_copies_timer(struct kv_group *group)
{
    nanoseconds_t now_ns = group->shared->now_ns;
    struct kv_copy *copy;
    TAILQ_FOREACH (copy, &group->copies, link) {
        if (copy_deadline_ns(copy) > now_ns)
            continue;
        if (!copy->is_cleared) {
            begin_anew(copy);
            continue;
        }
        copy->asked_ns = 0;
        copy_go_on(copy);
    }
}

nanoseconds_t kv_copies_deadline_ns(const struct kv_group *group)
{
    nanoseconds_t deadline_ns = NS_NEVER;
    const struct kv_copy *copy;
    TAILQ_FOREACH (copy, &group->copies, link) {
        if (copy_deadline_ns(copy) < deadline_ns)
            deadline_ns = copy_deadline_ns(copy);
    }
    return deadline_ns;
}
