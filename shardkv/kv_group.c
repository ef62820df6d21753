#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_copy.h"
#include "shardkv/kv_feed.h"
#include "shardkv/kv_keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void kv_fatal(struct kv_shared *shared, const char *format, ...)
{
    char why[KV_WHY_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    log_write(LOG_ERROR, "the store cannot go on", "store=%lu why=\"%s\"",
              shared->environment.store_id, why);
    if (shared->fatal_why[0] == '\0')
        memcpy(shared->fatal_why, why, sizeof(why));
}

/* --- Meta --------------------------------------------------------------------------------------
 */

void kv_meta_copy(struct kv_meta *to, const struct kv_meta *from)
{
    struct blob *configuration = from->configuration ? blob_ref(from->configuration) : NULL;
    kv_meta_fini(to);
    *to = *from;
    to->configuration = configuration;
}

void kv_meta_fini(struct kv_meta *meta)
{
    blob_unref(meta->configuration);
    *meta = (struct kv_meta){0};
}

void kv_meta_pack(const struct kv_meta *meta, replica_id_t replica, struct buffer *out_row)
{
    Ostraka__GroupMeta row = OSTRAKA__GROUP_META__INIT;
    row.replica = replica;
    row.group_epoch = meta->group_epoch;
    row.generation = meta->generation;
    row.applied_index = meta->applied_index;
    row.applied_term = meta->applied_term;
    row.log_timestamp = meta->log_timestamp;
    row.commit_timestamp_max = meta->commit_timestamp_max;
    row.safe_point = meta->safe_point;
    row.chain_hash = meta->chain_hash;
    row.configuration = field_of_bytes(blob_bytes(meta->configuration));
    row.configuration_index = meta->configuration_index;
    buffer_reset(out_row);
    ostraka__group_meta__pack(&row,
                              buffer_extend(out_row, ostraka__group_meta__get_packed_size(&row)));
}

int kv_meta_unpack(struct bytes bytes, struct kv_meta *out_meta, replica_id_t *out_replica)
{
    struct arena arena;
    arena_init(&arena);
    int status = OST_CORRUPT;
    Ostraka__GroupMeta *row =
        (Ostraka__GroupMeta *)message_unpack(&ostraka__group_meta__descriptor, bytes, &arena);
    struct raft_configuration configuration;
    if (!row || row->generation == 0 ||
        !raft_configuration_unpack(bytes_of_field(row->configuration), &configuration))
        goto out_free_arena;
    kv_meta_fini(out_meta);
    *out_meta = (struct kv_meta){
        .group_epoch = row->group_epoch,
        .generation = row->generation,
        .applied_index = row->applied_index,
        .applied_term = row->applied_term,
        .log_timestamp = row->log_timestamp,
        .commit_timestamp_max = row->commit_timestamp_max,
        .safe_point = row->safe_point,
        .chain_hash = row->chain_hash,
        .configuration = blob_copy(bytes_of_field(row->configuration)),
        .configuration_index = row->configuration_index,
    };
    *out_replica = row->replica;
    status = OST_OK;
out_free_arena:
    arena_fini(&arena);
    return status;
}

void kv_meta_to_raft(const struct kv_meta *meta, struct raft_snapshot_meta *out_meta)
{
    *out_meta = (struct raft_snapshot_meta){
        .index = meta->applied_index,
        .term = meta->applied_term,
        .log_timestamp = meta->log_timestamp,
        .configuration_index = meta->configuration_index,
    };
    bool is_good =
        raft_configuration_unpack(blob_bytes(meta->configuration), &out_meta->configuration);
    ASSERT(is_good); /* checked when it was read, and made by the core otherwise */
}

/* --- Life --------------------------------------------------------------------------------------
 */

/* A row from an entry that is still to be applied (again) counts as absent; so does that entry's
 * own. */
static int outcome_of_row(const struct kv_group *group, struct bytes row,
                          struct txn_outcome *out_outcome)
{
    struct reader reader = reader_of(row);
    raft_index_t index;
    if (!reader_u64_be(&reader, &index))
        return OST_CORRUPT;
    bool is_building = group->slice.meta.applied_index > group->meta.applied_index;
    raft_index_t next =
        is_building ? group->slice.meta.applied_index : group->meta.applied_index + 1;
    if (index >= next) {
        COVER(OUTCOME_HIDDEN);
        return OST_NOT_FOUND;
    }
    return txn_outcome_unpack(bytes_of(reader.data, reader.bytes_left), out_outcome);
}

int kv_group_find_outcome(void *context, struct bytes anchor, struct txn_id txn,
                          struct txn_outcome *out_outcome)
{
    struct kv_group *group = context;
    struct kv_shared *shared = group->shared;
    kv_key_outcome(&shared->key, group->id, group->meta.generation, anchor, txn);
    struct kv_slice_outcome *put;
    HASH_FIND(hh, group->slice.outcomes, shared->key.data, shared->key.bytes_count, put);
    if (put) {
        *out_outcome = put->outcome;
        return OST_OK;
    }
    /* An apply cannot go on without the answer. Blooms are in memory and say no for all but true
     * duplicates; only those may read a block. */
    int status = store_get(shared->environment.store, buffer_bytes(&shared->key), STORE_MAY_BLOCK,
                           &shared->value);
    if (status == OST_OK)
        status = outcome_of_row(group, buffer_bytes(&shared->value), out_outcome);
    if (status != OST_OK && status != OST_NOT_FOUND) {
        kv_fatal(shared, "cannot read an outcome of group %lu: %s", group->id,
                 ost_status_text(status));
        return OST_NOT_FOUND;
    }
    return status;
}

struct kv_group *kv_group_new(struct kv_shared *shared, group_id_t id, replica_id_t replica)
{
    struct kv_group *group = memory_alloc_zeroed(1, sizeof(*group));
    group->id = id;
    group->replica = replica;
    group->shared = shared;
    kv_ranges_init(&group->ranges);
    group->records = txn_records_new(kv_group_find_outcome, group);
    group->participant = participant_new(&shared->options.participant);
    group->recovery = recovery_new(&shared->options.recovery, group->records);
    recovery_update_init(&group->recovery_update, shared->environment.outbox);
    for (size_t index = 0; index < KV_STEPS_DEPTH_MAX; index++)
        participant_update_init(&group->steps[index]);
    group->participant_deadline_ns = NS_NEVER;
    group->recovery_deadline_ns = NS_NEVER;
    group->safe_point_retry_ns = NS_NEVER;
    TAILQ_INIT(&group->requests);
    TAILQ_INIT(&group->checks_due);
    TAILQ_INIT(&group->closed.waiting);
    TAILQ_INIT(&group->feeds);
    TAILQ_INIT(&group->copies);
    kv_loads_init(&group->loads);
    group->ranges_report_ns = group->seal_retry_ns = NS_NEVER;
    kv_slice_init(group);
    return group;
}

void kv_group_free(struct kv_group *group)
{
    /* Not answered: the process is going, and the Raft host has gone already. */
    struct kv_request *request;
    while ((request = TAILQ_FIRST(&group->requests)) != NULL)
        kv_request_free(request);
    kv_copies_drop(group);
    kv_feeds_drop(group);
    kv_loads_drop(group);
    kv_slice_fini(group);
    kv_checkpoint_fini(&group->checkpoint);
    for (size_t index = 0; index < KV_STEPS_DEPTH_MAX; index++)
        participant_update_fini(&group->steps[index]);
    recovery_update_fini(&group->recovery_update);
    recovery_free(group->recovery);
    participant_free(group->participant);
    txn_records_free(group->records);
    kv_ranges_fini(&group->ranges);
    kv_meta_fini(&group->meta);
    free(group);
}

int kv_group_write(struct kv_group *group, struct store_batch *batch)
{
    struct kv_shared *shared = group->shared;
    int status = store_write(shared->environment.store, batch);
    if (status == OST_OK && shared->unflushed_since_ns == 0)
        shared->unflushed_since_ns = shared->now_ns > 0 ? shared->now_ns : 1;
    return status;
}

int kv_group_create_rows(struct kv_group *group, uint64_t group_epoch, struct blob *configuration)
{
    struct kv_shared *shared = group->shared;
    struct kv_meta meta = {
        .group_epoch = group_epoch,
        .generation = 1,
        .configuration = configuration,
    };
    struct store_batch *batch = store_batch_new(shared->environment.store);
    kv_group_rows_delete(batch, group->id);
    kv_meta_pack(&meta, group->replica, &shared->value);
    kv_key_group_meta(&shared->key, group->id);
    store_batch_put(batch, buffer_bytes(&shared->key), buffer_bytes(&shared->value));
    int status = kv_group_write(group, batch);
    store_batch_free(batch);
    return status;
}

/* --- The parts' updates ------------------------------------------------------------------------
 */

int kv_group_propose(struct kv_group *group, const Ostraka__KvCommand *command,
                     struct bytes write_set, raft_index_t *out_index, raft_term_t *out_term)
{
    size_t message_bytes = ostraka__kv_command__get_packed_size(command);
    if (sizeof(uint32_t) + message_bytes + write_set.bytes_count > KV_ENTRY_BYTES_MAX)
        return OST_TOO_LARGE;
    if (RARE(PROPOSAL_REFUSED))
        return OST_LOG_FULL;
    struct blob *payload = blob_new(sizeof(uint32_t) + message_bytes + write_set.bytes_count);
    uint32_t big_endian = __builtin_bswap32((uint32_t)message_bytes);
    memcpy(payload->data, &big_endian, sizeof(big_endian));
    ostraka__kv_command__pack(command, payload->data + sizeof(big_endian));
    if (write_set.bytes_count > 0)
        memcpy(payload->data + sizeof(big_endian) + message_bytes, write_set.data,
               write_set.bytes_count);
    int status = raft_host_propose(group->shared->environment.host, group->id, RAFT_ENTRY_COMMAND,
                                   payload, group->shared->now_ns, out_index, out_term);
    blob_unref(payload);
    return status;
}

struct recovery_update *kv_group_recovery_begin(struct kv_group *group)
{
    recovery_update_reset(&group->recovery_update);
    return &group->recovery_update;
}

void kv_group_recovery_end(struct kv_group *group)
{
    struct recovery_update *update = &group->recovery_update;
    group->recovery_deadline_ns = update->deadline_ns;
    group->shared->environment.metrics->inquiries_count += update->inquiries_count;
    if (update->needs_log_time)
        oracle_client_want(group->shared->oracle);
    for (uint32_t index = 0; index < update->proposals_count; index++) {
        raft_index_t proposed_index;
        raft_term_t proposed_term;
        int status = kv_group_propose(group, &update->proposals[index].command, bytes_of(NULL, 0),
                                      &proposed_index, &proposed_term);
        /* Recovery asks again by itself after its retry time: what is lost here comes back. */
        if (status != OST_OK)
            log_write(LOG_DEBUG, "a recovery proposal was refused", "group=%lu status=%s",
                      group->id, ost_status_name(status));
    }
}

static void step_work_off(struct kv_group *group, const struct participant_update *update)
{
    struct kv_shared *shared = group->shared;
    shared->environment.metrics->txns_wounded_count += update->wounded_count;
    /* A request may end while another one is worked off, so each is looked up anew. */
    for (uint32_t index = 0; index < update->refused_count; index++) {
        const struct participant_refused *refused = &update->refused[index];
        struct kv_request *request = kv_request_find(shared, refused->token);
        if (request)
            kv_answer_refused(request, refused->status, &refused->reason);
    }
    for (uint32_t index = 0; index < update->granted_count; index++) {
        struct kv_request *request = kv_request_find(shared, update->granted[index].token);
        if (request)
            kv_request_granted(request, &update->granted[index]);
    }
    for (uint32_t index = 0; index < update->ready_count; index++) {
        struct kv_request *request = kv_request_find(shared, update->ready[index].token);
        if (request)
            kv_request_ready(request, &update->ready[index]);
    }
    for (uint32_t index = 0; index < update->inquiries_count; index++) {
        struct recovery_update *recovery_update = kv_group_recovery_begin(group);
        recovery_inquire(group->recovery, update->inquiries[index].txn, shared->now_ns,
                         recovery_update);
        kv_group_recovery_end(group);
    }
}

void kv_group_step(struct kv_group *group, struct participant_event *event)
{
    ASSERT(group->steps_depth < KV_STEPS_DEPTH_MAX);
    struct participant_update *update = &group->steps[group->steps_depth++];
    participant_update_reset(update);
    event->now_ns = group->shared->now_ns;
    participant_step(group->participant, event, update);
    group->participant_deadline_ns = update->deadline_ns;
    step_work_off(group, update);
    group->steps_depth--;
    if (group->steps_depth == 0)
        kv_checks_run(group);
}

void kv_group_timer(struct kv_group *group)
{
    kv_closed_timer(group);
    if (!group->is_leading)
        return;
    struct kv_shared *shared = group->shared;
    if (group->participant_deadline_ns <= shared->now_ns) {
        struct participant_event event = {.type = PARTICIPANT_EV_TIMER};
        kv_group_step(group, &event);
    }
    if (group->safe_point_retry_ns <= shared->now_ns)
        kv_group_safe_point_step(group);
    kv_group_ranges_timer(group);
    if (group->recovery_deadline_ns <= shared->now_ns) {
        timestamp_t heard = raft_host_heard_timestamp(shared->environment.host);
        timestamp_t log_timestamp = group->meta.log_timestamp;
        struct recovery_update *update = kv_group_recovery_begin(group);
        recovery_timer(group->recovery, heard > log_timestamp ? heard : log_timestamp,
                       shared->now_ns, update);
        kv_group_recovery_end(group);
    }
}

nanoseconds_t kv_group_deadline_ns(const struct kv_group *group)
{
    if (!group->is_leading)
        return kv_closed_deadline_ns(group);
    nanoseconds_t deadline_ns = group->participant_deadline_ns < group->recovery_deadline_ns
                                    ? group->participant_deadline_ns
                                    : group->recovery_deadline_ns;
    if (group->safe_point_retry_ns < deadline_ns)
        deadline_ns = group->safe_point_retry_ns;
    nanoseconds_t ranges_ns = kv_group_ranges_deadline_ns(group);
    return ranges_ns < deadline_ns ? ranges_ns : deadline_ns;
}

/* --- Leadership --------------------------------------------------------------------------------
 */

/* PITFALLS: what is prepared is locked again before anything is served. */
static void recover_locks(void *context, struct txn_open *open)
{
    struct kv_group *group = context;
    if (!open->is_prepared)
        return;
    COVER(LOCKS_RECOVERED);
    struct arena arena;
    arena_init(&arena);
    Ostraka__PreparedCommand *command = (Ostraka__PreparedCommand *)message_unpack(
        &ostraka__prepared_command__descriptor, blob_bytes(open->prepared_message), &arena);
    ASSERT(command); /* it was parsed when it was applied or loaded */
    struct lock_target *shared_locks =
        arena_alloc(&arena, command->n_shared_locks * sizeof(shared_locks[0]));
    for (size_t index = 0; index < command->n_shared_locks; index++) {
        const Ostraka__LockInterval *interval = command->shared_locks[index];
        shared_locks[index] = (struct lock_target){
            .start = bytes_of_field(interval->start),
            .end = bytes_of_field(interval->end),
            .is_interval = !interval->is_key,
        };
    }
    struct participant_event event = {
        .type = PARTICIPANT_EV_RECOVERED,
        .txn = open->txn,
        .age = open->age,
        .write_set = blob_bytes(open->write_set),
        .shared_locks = shared_locks,
        .shared_locks_count = (uint32_t)command->n_shared_locks,
        .anchor = blob_bytes(open->anchor),
        .deadline = open->deadline,
        .timestamp = open->bound,
    };
    kv_group_step(group, &event);
    arena_fini(&arena);
}

static void leadership_begin(struct kv_group *group, raft_term_t term)
{
    group->is_leading = true;
    group->term = term;
    group->snapshot_served_timestamp = 0;
    struct participant_event led = {.type = PARTICIPANT_EV_LED, .term = term};
    kv_group_step(group, &led);
    txn_records_each(group->records, recover_locks, group);
    struct recovery_update *update = kv_group_recovery_begin(group);
    recovery_led(group->recovery, group->shared->now_ns, update);
    kv_group_recovery_end(group);
    group->safe_point_proposed = 0;
    kv_group_safe_point_step(group);
    kv_group_ranges_led(group);
}

static void leadership_end(struct kv_group *group)
{
    /* All that wait are answered here, so the participant has nobody left to refuse. */
    kv_group_requests_drop(group);
    struct participant_event deposed = {.type = PARTICIPANT_EV_DEPOSED};
    kv_group_step(group, &deposed);
    recovery_deposed(group->recovery);
    kv_group_ranges_deposed(group);
    group->is_leading = false;
    group->participant_deadline_ns = NS_NEVER;
    group->recovery_deadline_ns = NS_NEVER;
}

void kv_group_doom(struct kv_group *group)
{
    group->is_doomed = true;
    kv_group_gc_withdraw(group);
    group->leadership = (struct raft_leadership){.role = RAFT_FOLLOWER};
    if (group->is_leading)
        leadership_end(group);
    kv_group_requests_drop(group);
}

static void kv_group_leadership_changed(void *machine, const struct raft_leadership *leadership)
{
    struct kv_group *group = machine;
    if (group->is_doomed)
        return;
    group->leadership = *leadership;
    bool leads = leadership->role == RAFT_LEADER && leadership->ready;
    if (group->is_leading && (!leads || leadership->term != group->term))
        leadership_end(group);
    if (leads && !group->is_leading)
        leadership_begin(group, leadership->term);
    kv_closed_leadership_changed(group);
}

static void kv_group_read_ready(void *machine, uint64_t read_id, int status,
                                nanoseconds_t valid_until_ns)
{
    struct kv_group *group = machine;
    struct kv_request *request;
    HASH_FIND(by_read, group->requests_by_read, &read_id, sizeof(read_id), request);
    if (!request)
        return;
    HASH_DELETE(by_read, group->requests_by_read, request);
    request->read_id = 0;
    kv_request_read_ready(request, status, valid_until_ns);
}

static void kv_group_applied_meta(void *machine, struct raft_snapshot_meta *out_meta)
{
    const struct kv_group *group = machine;
    kv_meta_to_raft(&group->meta, out_meta);
}

static raft_index_t kv_group_flushed_index(void *machine)
{
    return ((const struct kv_group *)machine)->flushed_index;
}

const struct raft_state_machine_ops kv_group_ops = {
    .apply = kv_group_apply,
    .leadership_changed = kv_group_leadership_changed,
    .read_ready = kv_group_read_ready,
    .applied_meta = kv_group_applied_meta,
    .flushed_index = kv_group_flushed_index,
    .snapshot_open = kv_snapshot_open,
    .snapshot_read = kv_snapshot_read,
    .snapshot_close = kv_snapshot_close,
    .restore_open = kv_restore_open,
    .restore_write = kv_restore_write,
    .restore_finish = kv_restore_finish,
    .destroyed = kv_server_group_destroyed,
    .restore_close = kv_restore_close,
};
