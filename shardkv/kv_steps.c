/* kv_steps.c: what the steps of a range do when their entries are applied (docs/range-moves.md):
 * compare and set on what they name (R4, R7). The same at every replica.
 *
 * What lies in the store and what the memory says may come apart between the building of a slice
 * and its write. So a slice ends behind CLEAR and behind rows that are copied in (kv_apply.c): when
 * OWN is applied, all that the range has is written.
 */
#include "shardkv/kv_group.h"

#include "base/sometimes.h"
#include "shardkv/kv_keys.h"
#include "shardkv/kv_rows.h"

/* --- What it does to rows ------------------------------------------------------------------------
 */

/* Versions alone: outcomes stay, as docs/range-moves.md says. */
static void delete_versions(struct kv_group *group, const struct kv_range *range, bool is_gone)
{
    struct bytes start = blob_bytes(range->start), end = blob_bytes(range->end);
    struct buffer lower = BUFFER_INIT, upper = BUFFER_INIT;
    kv_rows_bounds(group->id, group->meta.generation, KV_ROW_DATA, start, end, &lower, &upper);
    store_batch_delete_range(group->slice.batch, buffer_bytes(&lower), buffer_bytes(&upper));
    if (is_gone)
        kv_sweeper_space_freed(kv_server_sweeper(group->shared), buffer_bytes(&lower),
                               buffer_bytes(&upper));
    buffer_fini(&lower);
    buffer_fini(&upper);
}

static void range_end(struct kv_group *group, struct kv_range *range)
{
    delete_versions(group, range, true);
    group->ranges_ended_count++;
    kv_checkpoint_touch_range(group, range->start);
    kv_ranges_remove(&group->ranges, range);
}

static void range_move(struct kv_group *group, struct kv_range *range, enum kv_range_state state)
{
    kv_range_move(&group->ranges, range, state);
    kv_checkpoint_touch_range(group, range->start);
}

/* --- The owner's steps ---------------------------------------------------------------------------
 */

static struct kv_range *range_owned(struct kv_group *group, struct bytes start, uint64_t epoch)
{
    struct kv_range *range = kv_ranges_at(&group->ranges, start);
    return range && range->state == KV_RANGE_OWNED && range->epoch == epoch ? range : NULL;
}

/* The one that this move has frozen or sealed. */
static struct kv_range *range_leaving(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct kv_range *range = kv_ranges_at(&group->ranges, bytes_of_field(command->start));
    bool is_leaving = range && (range->state == KV_RANGE_FROZEN || range->state == KV_RANGE_SEALED);
    return is_leaving && range->epoch == command->epoch && range->change == command->change ? range
                                                                                            : NULL;
}

static bool apply_split(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct bytes at = bytes_of_field(command->at);
    struct kv_range *left = range_owned(group, bytes_of_field(command->start), command->epoch);
    if (!left || command->change <= left->change || !kv_range_holds(left, at) ||
        bytes_equal(at, blob_bytes(left->start)))
        return false;
    COVER(RANGE_SPLIT);
    left->epoch++;
    left->change = command->change;
    struct kv_range *right = kv_ranges_split(&group->ranges, left, at);
    kv_checkpoint_touch_range(group, left->start);
    kv_checkpoint_touch_range(group, right->start);
    kv_load_range_changed(group, left);
    kv_load_range_changed(group, right);
    return true;
}

static bool apply_merge(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct bytes at = bytes_of_field(command->at);
    struct kv_range *left = range_owned(group, bytes_of_field(command->start), command->epoch);
    struct kv_range *right = range_owned(group, at, command->epoch_right);
    if (!left || !right || !bytes_equal(blob_bytes(left->end), at) || at.bytes_count == 0 ||
        command->change <= left->change || command->change <= right->change)
        return false;
    COVER(RANGES_MERGED);
    left->epoch = (left->epoch > right->epoch ? left->epoch : right->epoch) + 1;
    left->change = command->change;
    kv_checkpoint_touch_range(group, left->start);
    kv_checkpoint_touch_range(group, right->start);
    kv_ranges_merge(&group->ranges, left, right);
    kv_load_range_changed(group, left);
    return true;
}

static bool apply_freeze(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct kv_range *range = range_owned(group, bytes_of_field(command->start), command->epoch);
    if (!range || command->change <= range->change)
        return false; /* a move that is over for this range never freezes it again */
    COVER(RANGE_FROZEN);
    range->change = command->change;
    range_move(group, range, KV_RANGE_FROZEN);
    return true;
}

static bool apply_seal(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct kv_range *range = range_leaving(group, command);
    if (!range || range->state != KV_RANGE_FROZEN ||
        txn_records_prepared_count_in(group->records, blob_bytes(range->start),
                                      blob_bytes(range->end)) > 0)
        return false;
    COVER(RANGE_SEALED);
    range_move(group, range, KV_RANGE_SEALED);
    return true;
}

static bool apply_unfreeze(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct kv_range *range = range_leaving(group, command);
    if (!range)
        return false;
    COVER(RANGE_UNFROZEN);
    range_move(group, range, KV_RANGE_OWNED);
    return true;
}

static bool apply_drop(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct kv_range *range = range_leaving(group, command);
    if (!range || range->state != KV_RANGE_SEALED)
        return false;
    COVER(RANGE_DROPPED);
    group->slice.meta.assigns_refused = true;
    txn_records_drop_homes_in(group->records, blob_bytes(range->start), blob_bytes(range->end));
    range_end(group, range);
    return true;
}

/* --- The taker's steps ---------------------------------------------------------------------------
 */

/* The one that comes by this move. */
static struct kv_range *range_coming(struct kv_group *group, struct bytes start, uint64_t change)
{
    struct kv_range *range = kv_ranges_at(&group->ranges, start);
    bool is_coming = range && (range->state == KV_RANGE_COPYING || range->state == KV_RANGE_COPIED);
    return is_coming && range->change == change ? range : NULL;
}

static bool apply_clear(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct bytes start = bytes_of_field(command->start);
    struct bytes end = bytes_of_field(command->end);
    struct kv_range *range = range_coming(group, start, command->change);
    bool is_empty = end.bytes_count > 0 && bytes_compare(start, end) >= 0;
    if (range && range->state == KV_RANGE_COPIED)
        return false; /* it was asked for before the copy had come to its end */
    if (range && !bytes_equal(blob_bytes(range->end), end))
        return false;
    if (!range && (is_empty || kv_ranges_overlap(&group->ranges, start, end)))
        return false;
    COVER(RANGE_CLEARED);
    if (!range)
        range = kv_ranges_add(&group->ranges, start, end, command->epoch, KV_RANGE_COPYING);
    range->epoch = command->epoch;
    range->change = command->change;
    range->from_group = command->from_group;
    delete_versions(group, range, false);
    kv_checkpoint_touch_range(group, range->start);
    return true;
}

/* It may be here already, of another part of the same transaction, or from when the range was here
 * before. It is as true then; and the least log index stays, so that replay finds the one that
 * decisions were made by (kv_checkpoint.c). */
static void copy_outcome(struct kv_slice *slice, const struct kv_row *row)
{
    buffer_reset(&slice->value);
    buffer_append_u64_be(&slice->value, slice->meta.applied_index);
    buffer_append(&slice->value, row->value.data, row->value.bytes_count);
    store_batch_put_least(slice->batch, buffer_bytes(&slice->key), buffer_bytes(&slice->value));
}

bool kv_step_apply_rows(struct kv_group *group, const Ostraka__CopyRowsCommand *command,
                        struct bytes rows)
{
    struct kv_slice *slice = &group->slice;
    struct kv_range *range = range_coming(group, bytes_of_field(command->start), command->change);
    if (!range || range->state != KV_RANGE_COPYING)
        return false;
    struct reader reader = reader_of(rows);
    struct kv_row row;
    while (kv_row_next(&reader, &row)) {
        kv_key_generation(&slice->key, group->id, group->meta.generation);
        buffer_append(&slice->key, row.key.data, row.key.bytes_count);
        if (row.key.data[0] == KV_ROW_OUTCOME)
            copy_outcome(slice, &row);
        else
            store_batch_put(slice->batch, buffer_bytes(&slice->key), row.value);
    }
    return true;
}

static bool apply_copied(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct kv_range *range = range_coming(group, bytes_of_field(command->start), command->change);
    if (!range || range->state != KV_RANGE_COPYING || !command->luggage)
        return false;
    COVER(RANGE_COPIED);
    range->luggage = blob_new(ostraka__range_luggage__get_packed_size(command->luggage));
    ostraka__range_luggage__pack(command->luggage, range->luggage->data);
    range_move(group, range, KV_RANGE_COPIED);
    return true;
}

static timestamp_t later(timestamp_t a, timestamp_t b)
{
    return a > b ? a : b;
}

static bool apply_own(struct kv_group *group, const Ostraka__RangeCommand *command,
                      struct kv_consequence *consequence)
{
    struct kv_range *range = range_coming(group, bytes_of_field(command->start), command->change);
    if (!range || range->state != KV_RANGE_COPIED)
        return false;
    COVER(RANGE_OWNED);
    struct kv_slice *slice = &group->slice;
    const Ostraka__RangeLuggage *luggage = (const Ostraka__RangeLuggage *)message_unpack(
        &ostraka__range_luggage__descriptor, blob_bytes(range->luggage), &slice->arena);
    ASSERT(luggage); /* it was packed when it was applied, or loaded and checked */
    struct kv_meta *meta = &slice->meta;
    meta->log_timestamp = later(meta->log_timestamp, luggage->log_timestamp);
    meta->commit_timestamp_max = later(meta->commit_timestamp_max, luggage->commit_timestamp_max);
    kv_group_safe_point_apply(meta, luggage->safe_point);
    kv_group_garbage_from(group, 0); /* nobody knows what has come */
    range->epoch++;
    blob_unref(range->luggage);
    range->luggage = NULL;
    range->from_group = 0;
    range_move(group, range, KV_RANGE_OWNED);
    kv_load_range_changed(group, range);
    consequence->luggage = luggage;
    return true;
}

static bool apply_discard(struct kv_group *group, const Ostraka__RangeCommand *command)
{
    struct kv_range *range = range_coming(group, bytes_of_field(command->start), command->change);
    if (!range)
        return false;
    COVER(RANGE_DISCARDED);
    range_end(group, range);
    return true;
}

bool kv_step_apply(struct kv_group *group, const Ostraka__RangeCommand *command,
                   struct kv_consequence *consequence)
{
    switch (command->step) {
    case OSTRAKA__RANGE_STEP__RANGE_SPLIT:
        return apply_split(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_MERGE:
        return apply_merge(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_FREEZE:
        return apply_freeze(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_SEAL:
        return apply_seal(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_UNFREEZE:
        return apply_unfreeze(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_DROP:
        return apply_drop(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_CLEAR:
        return apply_clear(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_COPIED_ALL:
        return apply_copied(group, command);
    case OSTRAKA__RANGE_STEP__RANGE_OWN:
        return apply_own(group, command, consequence);
    case OSTRAKA__RANGE_STEP__RANGE_DISCARD:
        return apply_discard(group, command);
    default:
        return false;
    }
}
