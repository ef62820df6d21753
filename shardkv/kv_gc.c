#include "shardkv/kv_gc.h"

#include "base/memory.h"
#include "proto/write_set.h"
#include "shardkv/kv_keys.h"
#include "txn/record.h"

#include <stdatomic.h>
#include <stdlib.h>

/* --- Versions ----------------------------------------------------------------------------------
 */

void kv_gc_versions_fini(struct kv_gc_versions *versions)
{
    buffer_fini(&versions->prefix);
}

void kv_gc_versions_reset(struct kv_gc_versions *versions)
{
    buffer_reset(&versions->prefix);
}

timestamp_t kv_gc_timestamp(struct bytes key)
{
    ASSERT(key.bytes_count > KV_TIMESTAMP_BYTES);
    struct reader tail =
        reader_of(bytes_of(key.data + key.bytes_count - KV_TIMESTAMP_BYTES, KV_TIMESTAMP_BYTES));
    uint64_t complement = 0;
    bool is_read = reader_u64_be(&tail, &complement);
    ASSERT(is_read);
    return ~complement;
}

timestamp_t kv_gc_versions_next(struct kv_gc_versions *versions, struct bytes key)
{
    timestamp_t timestamp = kv_gc_timestamp(key);
    struct bytes prefix = bytes_of(key.data, key.bytes_count - KV_TIMESTAMP_BYTES);
    timestamp_t newer = KV_GC_NOT_SHADOWED;
    if (bytes_equal(buffer_bytes(&versions->prefix), prefix)) {
        newer = versions->timestamp;
    } else {
        buffer_reset(&versions->prefix);
        buffer_append(&versions->prefix, prefix.data, prefix.bytes_count);
    }
    versions->timestamp = timestamp;
    return newer;
}

/* --- What was published ------------------------------------------------------------------------
 */

struct gc_group {
    group_id_t group;
    _Atomic uint32_t generation;
    _Atomic timestamp_t safe_point;
    _Atomic timestamp_t log_timestamp;
    struct gc_group *next; /* fixed once it can be found */
};

struct kv_gc {
    _Atomic(struct gc_group *) groups;
    _Atomic uint64_t epoch;
    _Atomic uint64_t dropped_count;
};

struct kv_gc *kv_gc_new(void)
{
    return memory_alloc_zeroed(1, sizeof(struct kv_gc));
}

void kv_gc_free(struct kv_gc *gc)
{
    struct gc_group *group = atomic_load(&gc->groups);
    while (group) {
        struct gc_group *next = group->next;
        free(group);
        group = next;
    }
    free(gc);
}

static struct gc_group *group_find(const struct kv_gc *gc, group_id_t id)
{
    struct gc_group *group = atomic_load(&gc->groups);
    while (group && group->group != id)
        group = group->next;
    return group;
}

void kv_gc_publish(struct kv_gc *gc, group_id_t id, const struct kv_gc_point *point)
{
    struct gc_group *group = group_find(gc, id);
    if (!group) {
        group = memory_alloc_zeroed(1, sizeof(*group));
        group->group = id;
        group->next = atomic_load(&gc->groups);
        atomic_store(&gc->groups, group);
    }
    /* Another generation's rows are not to be judged by this point, nor these by the other's. */
    bool is_another = atomic_load(&group->generation) != point->generation;
    if (is_another)
        atomic_store(&group->generation, 0);
    ASSERT(is_another || (atomic_load(&group->safe_point) <= point->safe_point &&
                          atomic_load(&group->log_timestamp) <= point->log_timestamp));
    uint64_t second_before = timestamp_to_ms(atomic_load(&group->log_timestamp)) / 1000;
    if (is_another || atomic_load(&group->safe_point) != point->safe_point ||
        timestamp_to_ms(point->log_timestamp) / 1000 != second_before)
        atomic_fetch_add(&gc->epoch, 1);
    atomic_store(&group->safe_point, point->safe_point);
    atomic_store(&group->log_timestamp, point->log_timestamp);
    atomic_store(&group->generation, point->generation);
}

void kv_gc_withdraw(struct kv_gc *gc, group_id_t id)
{
    struct gc_group *group = group_find(gc, id);
    if (group)
        atomic_store(&group->generation, 0);
}

void kv_gc_withdraw_all(struct kv_gc *gc)
{
    for (struct gc_group *group = atomic_load(&gc->groups); group; group = group->next)
        atomic_store(&group->generation, 0);
}

struct kv_gc_point kv_gc_point(const struct kv_gc *gc, group_id_t id)
{
    struct kv_gc_point point = {0};
    const struct gc_group *group = group_find(gc, id);
    if (!group)
        return point;
    point.generation = atomic_load(&group->generation);
    point.safe_point = atomic_load(&group->safe_point);
    point.log_timestamp = atomic_load(&group->log_timestamp);
    if (atomic_load(&group->generation) != point.generation)
        point = (struct kv_gc_point){0}; /* it is changing: the next run will know */
    return point;
}

uint64_t kv_gc_epoch(const struct kv_gc *gc)
{
    return atomic_load(&gc->epoch);
}

uint64_t kv_gc_dropped_count(const struct kv_gc *gc)
{
    return atomic_load(&gc->dropped_count);
}

/* --- The filter --------------------------------------------------------------------------------
 */

struct kv_gc_run {
    struct kv_gc *gc;
    group_id_t group; /* whose point it is; 0: none yet */
    struct kv_gc_point point;
    struct kv_gc_versions versions;
};

struct kv_gc_run *kv_gc_run_new(struct kv_gc *gc)
{
    struct kv_gc_run *run = memory_alloc_zeroed(1, sizeof(*run));
    run->gc = gc;
    return run;
}

void kv_gc_run_free(struct kv_gc_run *run)
{
    kv_gc_versions_fini(&run->versions);
    free(run);
}

/* The row of an outcome: u64 log index, packed TxnRecord. */
static bool outcome_is_over(struct bytes row, timestamp_t log_timestamp)
{
    struct reader reader = reader_of(row);
    uint64_t index;
    struct txn_outcome outcome;
    return reader_u64_be(&reader, &index) &&
           txn_outcome_unpack(bytes_of(reader.data, reader.bytes_left), &outcome) == OST_OK &&
           txn_outcome_is_over(&outcome, log_timestamp);
}

static bool row_drops(struct kv_gc_run *run, struct bytes key, struct bytes value)
{
    struct kv_row_key parts;
    if (!kv_key_parse(key, &parts)) {
        kv_gc_versions_reset(&run->versions);
        return false;
    }
    if (parts.group != run->group) {
        run->group = parts.group;
        run->point = kv_gc_point(run->gc, parts.group);
    }
    bool is_data = parts.kind == KV_ROW_DATA && parts.rest.bytes_count > KV_TIMESTAMP_BYTES;
    timestamp_t newer = KV_GC_NOT_SHADOWED;
    if (is_data)
        newer = kv_gc_versions_next(&run->versions, key);
    else
        kv_gc_versions_reset(&run->versions);
    if (run->point.generation == 0 || run->point.generation != parts.generation)
        return false;
    if (parts.kind == KV_ROW_OUTCOME)
        return outcome_is_over(value, run->point.log_timestamp);
    return is_data && newer <= run->point.safe_point && value.bytes_count > 0 &&
           value.data[0] == WRITE_PUT;
}

bool kv_gc_run_drops(struct kv_gc_run *run, struct bytes key, struct bytes value)
{
    bool drops = row_drops(run, key, value);
    if (drops)
        atomic_fetch_add(&run->gc->dropped_count, 1);
    return drops;
}
