/* kv_apply.c: entries of the log into one batch of the store, and what follows from it (R4).
 *
 * Building decides everything, once; writing may have to be tried again. What waits for an entry is
 * answered after the write, from the decision that was noted when the entry was built.
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_feed.h"
#include "shardkv/kv_keys.h"

#include <stdlib.h>

void kv_slice_init(struct kv_group *group)
{
    struct kv_slice *slice = &group->slice;
    slice->batch = store_batch_new(group->shared->environment.store);
    record_update_init(&slice->record);
    arena_init(&slice->arena);
}

static void slice_forget_outcomes(struct kv_slice *slice)
{
    struct kv_slice_outcome *put, *next;
    HASH_ITER (hh, slice->outcomes, put, next) {
        HASH_DEL(slice->outcomes, put);
        blob_unref(put->row_key);
        free(put);
    }
}

void kv_slice_drop(struct kv_group *group)
{
    struct kv_slice *slice = &group->slice;
    slice->is_built = slice->is_refused = false;
    slice->entries_count = 0;
    slice->consequences_count = 0;
    store_batch_reset(slice->batch);
    slice_forget_outcomes(slice);
    kv_meta_fini(&slice->meta);
    record_update_reset(&slice->record);
    arena_reset(&slice->arena);
}

void kv_slice_fini(struct kv_group *group)
{
    struct kv_slice *slice = &group->slice;
    kv_slice_drop(group);
    store_batch_free(slice->batch);
    record_update_fini(&slice->record);
    arena_fini(&slice->arena);
    buffer_fini(&slice->key);
    buffer_fini(&slice->value);
    free(slice->consequences);
}

/* --- Effects -----------------------------------------------------------------------------------
 */

static void slice_put(struct kv_slice *slice, struct bytes value)
{
    store_batch_put(slice->batch, buffer_bytes(&slice->key), value);
}

static void put_writes(struct kv_group *group, struct bytes write_set, timestamp_t timestamp)
{
    struct kv_slice *slice = &group->slice;
    struct reader reader = reader_of(write_set);
    struct write write;
    int status;
    while ((status = write_set_next(&reader, &write)) == OST_OK) {
        kv_key_data(&slice->key, group->id, group->meta.generation, write.key, timestamp);
        buffer_reset(&slice->value);
        buffer_append_u8(&slice->value, (uint8_t)write.kind);
        buffer_append(&slice->value, write.value.data, write.value.bytes_count);
        slice_put(slice, buffer_bytes(&slice->value));
        kv_load_asked(group, write.key, slice->key.bytes_count + slice->value.bytes_count);
        if (group->feeds_count > 0)
            kv_feeds_row(group, write.key, kv_key_tail(buffer_bytes(&slice->key)),
                         buffer_bytes(&slice->value));
    }
    ASSERT(status == OST_NOT_FOUND); /* the set was checked before it was proposed */
    if (slice->meta.commit_timestamp_max < timestamp)
        slice->meta.commit_timestamp_max = timestamp;
    kv_group_garbage_from(group, timestamp);
}

/* The row says which entry made it, so that it is hidden from what comes before that entry when the
 * log is applied again (kv_checkpoint.c). */
static void put_outcome(struct kv_group *group, const struct record_effect *effect)
{
    struct kv_slice *slice = &group->slice;
    struct bytes record = txn_outcome_pack(effect, &slice->arena);
    kv_key_outcome(&slice->key, group->id, group->meta.generation, effect->anchor, effect->txn);
    buffer_reset(&slice->value);
    buffer_append_u64_be(&slice->value, slice->meta.applied_index);
    buffer_append(&slice->value, record.data, record.bytes_count);
    slice_put(slice, buffer_bytes(&slice->value));
    if (group->feeds_count > 0)
        kv_feeds_row(group, effect->anchor, kv_key_tail(buffer_bytes(&slice->key)), record);
    struct kv_slice_outcome *put;
    HASH_FIND(hh, slice->outcomes, slice->key.data, slice->key.bytes_count, put);
    if (!put) {
        put = memory_alloc_zeroed(1, sizeof(*put));
        put->row_key = blob_copy(buffer_bytes(&slice->key));
        HASH_ADD_KEYPTR(hh, slice->outcomes, put->row_key->data, put->row_key->bytes_count, put);
    }
    put->outcome = effect->outcome;
}

static void put_effect(struct kv_group *group, const struct record_effect *effect)
{
    switch (effect->type) {
    case RECORD_APPLY_WRITES:
        put_writes(group, effect->write_set, effect->timestamp);
        break;
    case RECORD_PUT_OUTCOME:
        put_outcome(group, effect);
        break;
    }
}

/* --- Entries -----------------------------------------------------------------------------------
 */

/* R4: the ranges that a request named stand at the same epochs now that it is applied. */
static bool ranges_hold(const struct kv_group *group, Ostraka__RangeRef **refs, size_t refs_count)
{
    for (size_t index = 0; index < refs_count; index++) {
        if (!kv_ranges_named(&group->ranges, refs[index]))
            return false;
    }
    return refs_count > 0;
}

static bool anchor_is_here(const struct kv_group *group, ProtobufCBinaryData anchor)
{
    return kv_ranges_find_settling(&group->ranges, bytes_of_field(anchor)) != NULL;
}

/* False: it changed nothing. */
static bool apply_assign_range(struct kv_group *group, const Ostraka__AssignRangeCommand *command)
{
    struct bytes start = bytes_of_field(command->start);
    struct bytes end = bytes_of_field(command->end);
    const struct kv_range *owned = kv_ranges_at(&group->ranges, start);
    if (owned && owned->epoch == command->epoch && bytes_equal(blob_bytes(owned->end), end))
        return false; /* said twice */
    if (group->slice.meta.assigns_refused)
        return false; /* so late that the range may have been here, and gone */
    bool is_empty = end.bytes_count > 0 && bytes_compare(start, end) >= 0;
    if (is_empty || kv_ranges_overlap(&group->ranges, start, end)) {
        char text[KEY_TEXT_BYTES];
        log_write(LOG_WARN, "a range was not taken, it overlaps one that is owned",
                  "group=%lu epoch=%lu start=\"%s\"", group->id, command->epoch,
                  key_print(start, text, sizeof(text)));
        return false;
    }
    struct kv_range *range =
        kv_ranges_add(&group->ranges, start, end, command->epoch, KV_RANGE_OWNED);
    kv_checkpoint_touch_range(group, range->start);
    kv_load_range_changed(group, range);
    return true;
}

static void apply_prepared(struct kv_group *group, const Ostraka__PreparedCommand *command,
                           struct bytes write_set, timestamp_t log_timestamp)
{
    struct kv_slice *slice = &group->slice;
    size_t message_bytes = ostraka__prepared_command__get_packed_size(command);
    uint8_t *message = arena_alloc(&slice->arena, message_bytes);
    ostraka__prepared_command__pack(command, message);
    txn_records_apply_prepared(
        group->records, command, bytes_of(message, message_bytes), write_set, log_timestamp,
        ranges_hold(group, command->ranges, command->n_ranges), &slice->record);
}

static void take_update(struct kv_group *group, struct bytes write_set,
                        struct kv_consequence *consequence)
{
    struct kv_slice *slice = &group->slice;
    const struct record_update *update = &slice->record;
    kv_chain_update(&slice->meta, update, write_set);
    for (uint32_t index = 0; index < update->effects_count; index++)
        put_effect(group, &update->effects[index]);
    consequence->decision = update->decision;
    consequence->prepared = update->prepared;
    consequence->finished = update->finished;
    consequence->txn = update->txn;
}

/* Which of them it was stays in the consequence, for the counters. */
static void apply_command(struct kv_group *group, const Ostraka__KvCommand *command,
                          struct bytes write_set, struct kv_consequence *consequence)
{
    struct kv_slice *slice = &group->slice;
    struct record_update *update = &slice->record;
    timestamp_t log_timestamp = slice->meta.log_timestamp;
    record_update_reset(update);
    consequence->command = command->command_case;
    consequence->has_txn = true;
    switch (command->command_case) {
    case OSTRAKA__KV_COMMAND__COMMAND_PREPARED:
        apply_prepared(group, command->prepared, write_set, log_timestamp);
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_COMMIT_ONE:
        txn_records_apply_commit_one(
            group->records, command->commit_one, write_set, log_timestamp,
            ranges_hold(group, command->commit_one->ranges, command->commit_one->n_ranges), update);
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_COMMIT:
        txn_records_apply_commit(group->records, command->commit, log_timestamp,
                                 anchor_is_here(group, command->commit->anchor), update);
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_ABORT:
        txn_records_apply_abort(group->records, command->abort, log_timestamp,
                                anchor_is_here(group, command->abort->anchor), update);
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_RESOLVED:
        txn_records_apply_resolved(group->records, command->resolved, log_timestamp, update);
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_ACKNOWLEDGED:
        txn_records_apply_acknowledged(group->records, command->acknowledged, update);
        consequence->has_txn = false;
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_ADVANCE_SAFE_POINT:
        kv_group_safe_point_apply(&slice->meta, command->advance_safe_point->safe_point);
        kv_chain_safe_point(&slice->meta);
        consequence->has_txn = false;
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_RANGE:
        consequence->step = command->range;
        consequence->is_step_done = kv_step_apply(group, command->range, consequence);
        kv_chain_range(&slice->meta, consequence->is_step_done);
        consequence->has_txn = false;
        break;
    case OSTRAKA__KV_COMMAND__COMMAND_COPY_ROWS:
        consequence->copy_rows = command->copy_rows;
        consequence->is_step_done = kv_step_apply_rows(group, command->copy_rows, write_set);
        kv_chain_rows(&slice->meta, consequence->is_step_done, write_set);
        consequence->has_txn = false;
        break;
    default:
        consequence->assign = command->assign_range;
        kv_chain_range(&slice->meta, apply_assign_range(group, command->assign_range));
        consequence->has_txn = false;
        break;
    }
    take_update(group, write_set, consequence);
}

static struct kv_consequence *consequence_add(struct kv_slice *slice,
                                              const struct raft_entry *entry)
{
    if (slice->consequences_count == slice->consequences_capacity) {
        slice->consequences_capacity =
            slice->consequences_capacity ? 2 * slice->consequences_capacity : 16;
        slice->consequences = memory_realloc(
            slice->consequences, slice->consequences_capacity * sizeof(slice->consequences[0]));
    }
    struct kv_consequence *consequence = &slice->consequences[slice->consequences_count++];
    *consequence = (struct kv_consequence){.index = entry->index, .term = entry->term};
    return consequence;
}

/* The records that came with the range: each has a transaction of its own, like an entry. */
static void adopt_records(struct kv_group *group, const struct raft_entry *entry,
                          const Ostraka__RangeLuggage *luggage)
{
    struct kv_slice *slice = &group->slice;
    for (size_t index = 0; index < luggage->n_records; index++) {
        record_update_reset(&slice->record);
        int status = txn_records_adopt(group->records, bytes_of_field(luggage->records[index]),
                                       &slice->record);
        if (status != OST_OK) { /* checked before it was proposed, so a bug */
            log_write(LOG_ERROR, "a record that came with a range is malformed", "group=%lu",
                      group->id);
            continue;
        }
        struct kv_consequence *consequence = consequence_add(slice, entry);
        consequence->has_txn = true;
        take_update(group, bytes_of(NULL, 0), consequence);
    }
}

/* False: the entry does not parse, and no replica can go on. */
static bool apply_payload(struct kv_group *group, const struct raft_entry *entry)
{
    struct reader reader = reader_of(blob_bytes(entry->payload));
    uint32_t message_bytes;
    struct bytes message;
    if (!reader_u32_be(&reader, &message_bytes) || !reader_bytes(&reader, message_bytes, &message))
        return false;
    Ostraka__KvCommand *command = (Ostraka__KvCommand *)message_unpack(
        &ostraka__kv_command__descriptor, message, &group->slice.arena);
    if (!command || command->command_case == OSTRAKA__KV_COMMAND__COMMAND__NOT_SET)
        return false;
    kv_chain_entry(&group->slice.meta, entry, message);
    struct kv_consequence *consequence = consequence_add(&group->slice, entry);
    apply_command(group, command, bytes_of(reader.data, reader.bytes_left), consequence);
    if (consequence->luggage)
        adopt_records(group, entry, consequence->luggage);
    return true;
}

static void apply_entry(struct kv_group *group, const struct raft_entry *entry)
{
    struct kv_slice *slice = &group->slice;
    struct kv_meta *meta = &slice->meta;
    ASSERT(entry->index == meta->applied_index + 1 && entry->term >= meta->applied_term);
    meta->applied_index = entry->index;
    meta->applied_term = entry->term;
    if (meta->log_timestamp < entry->log_timestamp)
        meta->log_timestamp = entry->log_timestamp;
    if (entry->type == RAFT_ENTRY_CONFIGURATION) {
        blob_unref(meta->configuration);
        meta->configuration = blob_ref(entry->payload);
        meta->configuration_index = entry->index;
    }
    if (entry->type != RAFT_ENTRY_COMMAND) {
        kv_chain_entry(meta, entry, blob_bytes(entry->payload));
        return;
    }
    if (!apply_payload(group, entry))
        kv_fatal(group->shared, "entry %lu of group %lu does not parse", entry->index, group->id);
}

/* NULL: nothing follows from it. */
static const struct kv_consequence *slice_last(const struct kv_slice *slice)
{
    return slice->consequences_count > 0 ? &slice->consequences[slice->consequences_count - 1]
                                         : NULL;
}

static bool is_clear(const struct kv_consequence *consequence)
{
    return consequence->step && consequence->step->step == OSTRAKA__RANGE_STEP__RANGE_CLEAR;
}

/* The slice ends behind it: whoever may read these rows finds them written (kv_steps.c). And one
 * such entry is enough for a turn. */
static bool slice_brings_rows(const struct kv_slice *slice)
{
    const struct kv_consequence *last = slice_last(slice);
    return last && (last->copy_rows || is_clear(last));
}

static void slice_build(struct kv_group *group, const struct raft_entry *entries,
                        size_t entries_count)
{
    struct kv_slice *slice = &group->slice;
    ASSERT(!slice->is_built);
    kv_meta_copy(&slice->meta, &group->meta);
    slice->entries_count = 0;
    while (slice->entries_count < entries_count && !slice_brings_rows(slice))
        apply_entry(group, &entries[slice->entries_count++]);
    slice->is_built = true;
}

/* --- After the write ---------------------------------------------------------------------------
 */

static void count(struct kv_group *group, const struct kv_consequence *consequence)
{
    struct metrics *metrics = group->shared->environment.metrics;
    const struct record_decision *decision = &consequence->decision;
    bool committed = decision->state == OSTRAKA__TXN_STATE__COMMITTED;
    if (!decision->changed)
        return;
    if (consequence->command == OSTRAKA__KV_COMMAND__COMMAND_COMMIT_ONE && committed)
        metrics->txns_one_group_count++;
    if (consequence->command == OSTRAKA__KV_COMMAND__COMMAND_COMMIT && committed)
        metrics->txns_committed_count++;
    if ((consequence->command == OSTRAKA__KV_COMMAND__COMMAND_COMMIT ||
         consequence->command == OSTRAKA__KV_COMMAND__COMMAND_ABORT) &&
        decision->state == OSTRAKA__TXN_STATE__ABORTED)
        metrics->txns_aborted_count++;
}

/* The answer first: it needs nothing of what the locks' end sets free. */
static void consequence_take(struct kv_group *group, const struct kv_consequence *consequence)
{
    struct kv_request *request;
    HASH_FIND(by_index, group->requests_by_index, &consequence->index, sizeof(consequence->index),
              request);
    if (request && request->index_term == consequence->term)
        kv_request_applied(request, &consequence->decision);
    else if (request)
        kv_answer_status(request, OST_NOT_LEADER, "another leader's entry took its place");
    if (!group->is_leading)
        return;
    if (consequence->step || consequence->copy_rows)
        kv_group_step_taken(group, consequence);
    if (consequence->assign)
        kv_group_range_assigned(group, consequence->assign);
    if (!consequence->has_txn)
        return;
    count(group, consequence);
    if (consequence->prepared || consequence->finished) {
        struct participant_event event = {
            .type = consequence->prepared ? PARTICIPANT_EV_PREPARED : PARTICIPANT_EV_FINISHED,
            .txn = consequence->txn,
        };
        kv_group_step(group, &event);
        if (consequence->finished)
            kv_group_prepared_ended(group);
    }
    if (consequence->decision.changed) {
        struct recovery_update *update = kv_group_recovery_begin(group);
        recovery_changed(group->recovery, consequence->txn, group->shared->now_ns, update);
        kv_group_recovery_end(group);
    }
}

/* Does it end with the beginning of a copy? Then other rows take the place of what a pass of the
 * sweeper has seen. */
static bool slice_replaces_rows(const struct kv_slice *slice)
{
    const struct kv_consequence *last = slice_last(slice);
    return last && is_clear(last) && last->is_step_done;
}

/* False: not now. */
static bool slice_write(struct kv_group *group)
{
    struct kv_shared *shared = group->shared;
    struct kv_slice *slice = &group->slice;
    if (shared->fatal_why[0] != '\0')
        return false;
    int status = OST_BUSY;
    bool is_free =
        !slice_replaces_rows(slice) || kv_sweeper_give_way(kv_server_sweeper(shared), group);
    if (is_free && !RARE(STORE_STALLED))
        status = kv_group_write(group, slice->batch);
    if (status == OST_OK) {
        if (slice->is_refused)
            COVER(SLICE_WRITTEN_AGAIN);
        return true;
    }
    slice->is_refused = true;
    if (status != OST_BUSY)
        kv_fatal(shared, "cannot apply entries up to %lu of group %lu: %s",
                 slice->meta.applied_index, group->id, ost_status_text(status));
    return false;
}

static void slice_finish(struct kv_group *group)
{
    struct kv_slice *slice = &group->slice;
    kv_meta_copy(&group->meta, &slice->meta);
    slice_forget_outcomes(slice);
    for (size_t index = 0; index < slice->consequences_count; index++)
        consequence_take(group, &slice->consequences[index]);
    kv_slice_drop(group);
    kv_closed_applied(group);
    kv_feeds_applied(group);
}

size_t kv_group_apply(void *machine, const struct raft_entry *entries, size_t entries_count)
{
    struct kv_group *group = machine;
    struct kv_slice *slice = &group->slice;
    size_t taken = 0;
    if (group->is_restoring)
        return 0;
    while (taken < entries_count) {
        if (!slice->is_built)
            slice_build(group, entries + taken, RARE(SLICE_ONE_ENTRY) ? 1 : entries_count - taken);
        ASSERT(slice->entries_count <= entries_count - taken);
        if (!slice_write(group))
            break;
        taken += slice->entries_count;
        bool is_enough = slice_brings_rows(slice);
        slice_finish(group);
        if (is_enough)
            break;
    }
    return taken;
}
