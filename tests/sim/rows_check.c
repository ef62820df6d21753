#include "tests/sim/rows_check.h"

#include "base/memory.h"
#include "proto/write_set.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"
#include "txn/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct replica_rows {
    group_id_t group;
    uint64_t store_id;
    raft_index_t applied_index;
    uint64_t hash;
    uint64_t rows_count;
};

#define TXN_BYTES 16u
/* A deadline is at most so far ahead of the commit (T5), and the outcome lives so much longer. */
#define FORGOTTEN_AFTER_MS (COMMIT_AHEAD_MS + OUTCOME_KEPT_MS)

struct outcome {
    uint8_t txn[TXN_BYTES];
    size_t number; /* in the order of their coming */
    enum atomic_check_outcome outcome;
    timestamp_t commit_timestamp, time;
    char where[32];
};

struct rows_check {
    struct outcome *outcomes;
    size_t outcomes_count, outcomes_capacity;
    struct replica_rows *replicas;
    size_t replicas_count, replicas_capacity;
    struct check_result result;
};

struct rows_check *rows_check_new(void)
{
    struct rows_check *check = memory_alloc_zeroed(1, sizeof *check);
    check_result_init(&check->result);
    return check;
}

void rows_check_free(struct rows_check *check)
{
    if (!check)
        return;
    free(check->replicas);
    free(check->outcomes);
    free(check);
}

const struct check_result *rows_check_result(const struct rows_check *check)
{
    return &check->result;
}

void rows_check_outcome(struct rows_check *check, struct bytes txn,
                        enum atomic_check_outcome outcome, timestamp_t commit_timestamp,
                        timestamp_t time, const char *where)
{
    ASSERT(txn.bytes_count == TXN_BYTES);
    if (check->outcomes_count == check->outcomes_capacity) {
        check->outcomes_capacity = check->outcomes_capacity ? 2 * check->outcomes_capacity : 256;
        check->outcomes =
            memory_realloc(check->outcomes, check->outcomes_capacity * sizeof check->outcomes[0]);
    }
    struct outcome *added = &check->outcomes[check->outcomes_count];
    *added = (struct outcome){.number = check->outcomes_count++,
                              .outcome = outcome,
                              .commit_timestamp = commit_timestamp,
                              .time = time};
    memcpy(added->txn, txn.data, TXN_BYTES);
    snprintf(added->where, sizeof added->where, "%s", where);
}

/* The row of an outcome: anchor, transaction; u64 log index, packed record. */
static void outcome_collect(struct rows_check *check, const struct kv_row_key *parts,
                            struct bytes value, uint64_t store_id)
{
    struct txn_outcome outcome;
    if (parts->rest.bytes_count < TXN_BYTES || value.bytes_count < 8 ||
        txn_outcome_unpack(bytes_of(value.data + 8, value.bytes_count - 8), &outcome) != OST_OK)
        return;
    struct bytes txn = bytes_of(parts->rest.data + parts->rest.bytes_count - TXN_BYTES, TXN_BYTES);
    char where[32];
    snprintf(where, sizeof where, "store %" PRIu64 " group %" PRIu64, store_id, parts->group);
    bool is_committed = outcome.state == OSTRAKA__TXN_STATE__COMMITTED;
    rows_check_outcome(check, txn, is_committed ? ATOMIC_COMMITTED : ATOMIC_ABORTED,
                       is_committed ? outcome.commit_timestamp : 0, outcome.deadline, where);
}

static int outcome_compare(const void *a, const void *b)
{
    const struct outcome *x = a, *y = b;
    int order = memcmp(x->txn, y->txn, TXN_BYTES);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* Those of one transaction. */
static void outcomes_report(const struct outcome *first, const struct outcome *end,
                            struct atomic_check *outcomes)
{
    timestamp_t commit_timestamp = 0;
    for (const struct outcome *outcome = first; outcome < end; outcome++)
        if (outcome->commit_timestamp > commit_timestamp)
            commit_timestamp = outcome->commit_timestamp;
    for (const struct outcome *outcome = first; outcome < end; outcome++) {
        bool is_void = outcome->outcome == ATOMIC_ABORTED && commit_timestamp > 0 &&
                       outcome->time > commit_timestamp + timestamp_from_ms(FORGOTTEN_AFTER_MS);
        if (!is_void)
            atomic_check_report(outcomes, bytes_of(outcome->txn, TXN_BYTES), outcome->outcome,
                                outcome->commit_timestamp, outcome->where);
    }
}

void rows_check_report(struct rows_check *check, struct atomic_check *outcomes)
{
    if (check->outcomes_count == 0)
        return;
    qsort(check->outcomes, check->outcomes_count, sizeof check->outcomes[0], outcome_compare);
    const struct outcome *first = check->outcomes, *end = first + check->outcomes_count;
    while (first < end) {
        const struct outcome *next = first + 1;
        while (next < end && memcmp(next->txn, first->txn, TXN_BYTES) == 0)
            next++;
        outcomes_report(first, next, outcomes);
        first = next;
    }
}

static void replica_judge(struct rows_check *check, const struct replica_rows *rows)
{
    for (size_t index = 0; index < check->replicas_count; index++) {
        const struct replica_rows *other = &check->replicas[index];
        if (other->group != rows->group || other->applied_index != rows->applied_index ||
            other->hash == rows->hash)
            continue;
        check_result_violation(&check->result, "rows-differ",
                               "group %" PRIu64 " at index %" PRIu64 ": store %" PRIu64
                               " has %" PRIu64 " versions (hash %016" PRIx64 "), store %" PRIu64
                               " has %" PRIu64 " (hash %016" PRIx64 ")",
                               rows->group, rows->applied_index, other->store_id, other->rows_count,
                               other->hash, rows->store_id, rows->rows_count, rows->hash);
    }
}

/* The one in use: what a snapshot has replaced may stay until the next start (S2). */
static bool generation_of(struct store *store, group_id_t group, uint32_t *out_generation)
{
    struct buffer key, row;
    buffer_init(&key);
    buffer_init(&row);
    kv_key_group_meta(&key, group);
    struct kv_meta meta = {0};
    replica_id_t replica;
    bool is_found = store_get(store, buffer_bytes(&key), STORE_MAY_BLOCK, &row) == OST_OK &&
                    kv_meta_unpack(buffer_bytes(&row), &meta, &replica) == OST_OK;
    if (is_found) {
        *out_generation = meta.generation;
        kv_meta_fini(&meta);
    }
    buffer_fini(&key);
    buffer_fini(&row);
    return is_found;
}

static void row_is_left(struct rows_check *check, uint64_t store_id, group_id_t group,
                        struct bytes user_key)
{
    char text[KEY_TEXT_BYTES];
    check_result_violation(&check->result, "rows-left",
                           "store %" PRIu64 " has a version of %s, which group %" PRIu64
                           " has nothing to do with",
                           store_id, key_print(user_key, text, sizeof text), group);
}

/* Of a version: the range that holds its key; NULL: none does. Keys come in order, and `place` goes
 * on with them. */
static const struct range_fact *range_of_row(struct range_facts ranges, size_t *place,
                                             struct bytes row_key, struct buffer *user_key)
{
    timestamp_t timestamp;
    if (!kv_key_parse_data(row_key, user_key, &timestamp))
        return NULL;
    struct bytes key = buffer_bytes(user_key);
    while (*place < ranges.count && ranges.facts[*place].end.bytes_count > 0 &&
           bytes_compare(ranges.facts[*place].end, key) <= 0)
        ++*place;
    const struct range_fact *fact = *place < ranges.count ? &ranges.facts[*place] : NULL;
    return fact && bytes_compare(fact->start, key) <= 0 ? fact : NULL;
}

void rows_check_replica(struct rows_check *check, struct store *store, uint64_t store_id,
                        group_id_t group, raft_index_t applied_index, timestamp_t safe_point,
                        struct range_facts ranges)
{
    struct kv_gc_versions versions = {0};
    struct buffer lower, upper, user_key;
    size_t place = 0;
    uint32_t generation;
    if (!generation_of(store, group, &generation))
        return;
    buffer_init(&lower);
    buffer_init(&upper);
    buffer_init(&user_key);
    kv_key_generation(&lower, group, generation);
    kv_key_generation(&upper, group, generation + 1);
    struct store_iterator *iterator = store_iterator_new(store, NULL, buffer_bytes(&lower),
                                                         buffer_bytes(&upper), STORE_MAY_BLOCK);
    XXH3_state_t *state = XXH3_createState();
    ASSERT(state);
    XXH3_64bits_reset(state);
    struct replica_rows rows = {
        .group = group, .store_id = store_id, .applied_index = applied_index};
    for (store_iterator_first(iterator); store_iterator_valid(iterator);
         store_iterator_next(iterator)) {
        struct kv_row_key parts;
        struct bytes value = store_iterator_value(iterator);
        if (!kv_key_parse(store_iterator_key(iterator), &parts))
            continue;
        check->result.judged_count++;
        if (parts.kind == KV_ROW_OUTCOME)
            outcome_collect(check, &parts, value, store_id);
        if (parts.kind != KV_ROW_DATA)
            continue;
        const struct range_fact *range =
            range_of_row(ranges, &place, store_iterator_key(iterator), &user_key);
        if (!range)
            row_is_left(check, store_id, group, buffer_bytes(&user_key));
        if (!range || range->state != OSTRAKA__RANGE_STATE__RANGE_OWNED)
            continue;
        /* Each replica drops old versions in its own time. */
        timestamp_t newer = kv_gc_versions_next(&versions, store_iterator_key(iterator));
        bool is_marker = value.bytes_count > 0 && value.data[0] == WRITE_DELETE;
        if (newer <= safe_point || (is_marker && versions.timestamp <= safe_point))
            continue;
        rows.rows_count++;
        XXH3_64bits_update(state, parts.rest.data, parts.rest.bytes_count);
        XXH3_64bits_update(state, value.data, value.bytes_count);
    }
    rows.hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    store_iterator_free(iterator);
    kv_gc_versions_fini(&versions);
    buffer_fini(&lower);
    buffer_fini(&upper);
    buffer_fini(&user_key);
    replica_judge(check, &rows);
    if (check->replicas_count == check->replicas_capacity) {
        check->replicas_capacity = check->replicas_capacity ? 2 * check->replicas_capacity : 16;
        check->replicas =
            memory_realloc(check->replicas, check->replicas_capacity * sizeof check->replicas[0]);
    }
    check->replicas[check->replicas_count++] = rows;
}
