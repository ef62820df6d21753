/* A transaction's way from its Prepare to its end: write locks, timestamp, log entry, outcome. */
#include "txn/participant_internal.h"

/* ---- Write keys ---- */

static struct participant_write_keys *write_keys_new(struct bytes write_set)
{
    uint32_t keys_count = 0;
    size_t keys_bytes = 0;
    struct write write;
    int status;
    struct reader reader = reader_of(write_set);
    while ((status = write_set_next(&reader, &write)) == OST_OK) {
        keys_count++;
        keys_bytes += write.key.bytes_count;
    }
    ASSERT(status == OST_NOT_FOUND); /* the caller has checked it */
    struct participant_write_keys *keys =
        memory_alloc(sizeof(*keys) + keys_count * sizeof(struct bytes) + keys_bytes);
    keys->keys_count = 0;
    uint8_t *next = (uint8_t *)&keys->keys[keys_count];
    reader = reader_of(write_set);
    while (write_set_next(&reader, &write) == OST_OK) {
        memcpy(next, write.key.data, write.key.bytes_count);
        keys->keys[keys->keys_count++] = bytes_of(next, write.key.bytes_count);
        next += write.key.bytes_count;
    }
    return keys;
}

static bool write_keys_contain(const struct participant_write_keys *keys, struct bytes key)
{
    uint32_t low = 0, high = keys->keys_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = bytes_compare(keys->keys[middle], key);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* ---- What was read without locks ---- */

static struct bytes bytes_put(uint8_t **next, struct bytes bytes)
{
    uint8_t *at = *next;
    if (bytes.bytes_count > 0)
        memcpy(at, bytes.data, bytes.bytes_count);
    *next = at + bytes.bytes_count;
    return bytes_of(at, bytes.bytes_count);
}

/* NULL when there are none. */
static struct participant_targets *targets_copy(const struct lock_target *targets,
                                                uint32_t targets_count)
{
    if (targets_count == 0)
        return NULL;
    size_t keys_bytes = 0;
    for (uint32_t index = 0; index < targets_count; index++)
        keys_bytes += targets[index].start.bytes_count + targets[index].end.bytes_count;
    struct participant_targets *copy =
        memory_alloc(sizeof(*copy) + targets_count * sizeof(copy->targets[0]) + keys_bytes);
    copy->targets_count = targets_count;
    uint8_t *next = (uint8_t *)&copy->targets[targets_count];
    for (uint32_t index = 0; index < targets_count; index++)
        copy->targets[index] = (struct lock_target){.start = bytes_put(&next, targets[index].start),
                                                    .end = bytes_put(&next, targets[index].end),
                                                    .is_interval = targets[index].is_interval};
    return copy;
}

/* ---- PREPARING ---- */

bool participant_prepare_holds_all(const struct participant_entry *entry)
{
    uint32_t checks_count = entry->checks ? entry->checks->targets_count : 0;
    return entry->write_keys_held == entry->write_keys->keys_count &&
           entry->checks_held == checks_count;
}

void participant_prepare_check_ready(struct participant *p, struct participant_entry *entry)
{
    struct participant_request *prepare = entry->prepare;
    if (entry->state != ENTRY_PREPARING || !prepare || prepare->is_ready)
        return;
    if (!participant_prepare_holds_all(entry) || !TAILQ_EMPTY(&entry->locks))
        return;
    prepare->is_ready = true;
    struct participant_ready *ready = participant_ready_add(p);
    ready->token = prepare->token;
    ready->txn = entry->txn;
}

static void prepare_held_one(struct participant_entry *entry)
{
    if (entry->write_keys_held < entry->write_keys->keys_count)
        entry->write_keys_held++;
    else
        entry->checks_held++;
}

/* Takes the write keys one by one, in key order, then what was read, until one has to be waited
 * for. What is written as well is held by then, so that no lock need be upgraded. */
static void prepare_advance(struct participant *p, struct participant_entry *entry)
{
    struct participant_request *prepare = entry->prepare;
    const struct participant_write_keys *keys = entry->write_keys;
    for (; !participant_prepare_holds_all(entry); prepare_held_one(entry)) {
        bool is_write = entry->write_keys_held < keys->keys_count;
        prepare->mode = is_write ? LOCK_EXCLUSIVE : LOCK_SHARED;
        prepare->target = is_write
                              ? (struct lock_target){.start = keys->keys[entry->write_keys_held]}
                              : entry->checks->targets[entry->checks_held];
        int status = lock_table_acquire(p->table, entry->owner, &prepare->target, prepare->mode,
                                        prepare->token);
        if (status == OST_OK)
            continue;
        if (status == OST_WOULD_BLOCK) {
            participant_request_queued(p, prepare);
            return;
        }
        struct participant_reason reason = {.key = prepare->target.start};
        participant_request_refuse(p, prepare, status, &reason);
        participant_entry_end_if_unknown(p, entry);
        return;
    }
    prepare->target = (struct lock_target){0};
    participant_prepare_check_ready(p, entry);
}

void participant_prepare_granted(struct participant *p, struct participant_entry *entry)
{
    ASSERT(entry->state == ENTRY_PREPARING);
    participant_timer_disarm(p, &entry->prepare->ask);
    prepare_held_one(entry);
    prepare_advance(p, entry);
}

static void entry_set_anchor(struct participant_entry *entry, const struct participant_event *event)
{
    blob_unref(entry->anchor);
    entry->anchor = blob_copy(event->anchor);
    entry->deadline = event->deadline;
}

void participant_step_prepare(struct participant *p, const struct participant_event *event)
{
    struct participant_entry *entry = participant_entry_of_request(p, event);
    if (!entry)
        return;
    /* The caller answers that from the state; but a Prepare that names another anchor does not find
     * an outcome that has been decided and waits for the store. */
    if (entry->state == ENTRY_PREPARED) {
        participant_refuse(p, event->token, OST_CONFLICT, NULL);
        return;
    }
    if (entry->prepare) {
        participant_request_withdraw(p, entry->prepare);
        participant_request_refuse(p, entry->prepare, OST_CANCELED, NULL);
    }
    struct participant_request *prepare = participant_request_new(p, event, REQUEST_PREPARE, entry);
    if (entry->state == ENTRY_BOUND) {
        /* On its way through the log already: only whom to answer is new. */
        participant_timer_disarm(p, &prepare->wait);
        return;
    }
    if (entry->state == ENTRY_GROWING)
        participant_entry_move(entry, ENTRY_PREPARING);
    entry_set_anchor(entry, event);
    /* A retry begins anew: what is held already costs a look. */
    free(entry->write_keys);
    entry->write_keys = write_keys_new(event->write_set);
    entry->write_keys_held = 0;
    free(entry->checks);
    entry->checks = targets_copy(event->shared_locks, event->shared_locks_count);
    entry->checks_held = 0;
    prepare_advance(p, entry);
}

/* ---- BOUND ---- */

struct shared_locks {
    struct arena *arena;
    const struct participant_write_keys *write_keys;
    bool exclusive_are_written; /* every exclusive lock is on a key that is written */
    uint32_t points_exclusive_count;
    uint32_t intervals_count;
    uint32_t total_count;
    struct lock_target *list;
    uint32_t list_count;
};

static void shared_locks_count(void *context, const struct lock_target *target, enum lock_mode mode)
{
    struct shared_locks *shared = context;
    shared->total_count++;
    shared->intervals_count += target->is_interval;
    shared->points_exclusive_count += !target->is_interval && mode == LOCK_EXCLUSIVE;
}

static void shared_locks_add(void *context, const struct lock_target *target, enum lock_mode mode)
{
    struct shared_locks *shared = context;
    if (mode == LOCK_EXCLUSIVE && !target->is_interval &&
        (shared->exclusive_are_written || write_keys_contain(shared->write_keys, target->start)))
        return;
    struct lock_target *copy = &shared->list[shared->list_count++];
    *copy = (struct lock_target){.is_interval = target->is_interval};
    copy->start = arena_copy(shared->arena, target->start);
    if (target->is_interval)
        copy->end = arena_copy(shared->arena, target->end);
}

/* The locks that must survive this leader and that the write set does not name. An exclusive lock
 * on a key that is not written is one of them: what it read must stay as it was until the commit,
 * and a shared lock is enough for that. */
static void shared_locks_list(struct participant *p, const struct participant_entry *entry,
                              struct participant_ready *ready)
{
    struct shared_locks shared = {.arena = &p->update->arena, .write_keys = entry->write_keys};
    lock_owner_each(entry->owner, shared_locks_count, &shared);
    shared.exclusive_are_written = shared.intervals_count == 0 &&
                                   shared.points_exclusive_count == entry->write_keys->keys_count;
    if (shared.exclusive_are_written && shared.points_exclusive_count == shared.total_count)
        return;
    shared.list = arena_alloc(shared.arena, shared.total_count * sizeof(*shared.list));
    lock_owner_each(entry->owner, shared_locks_add, &shared);
    ready->shared_locks = shared.list;
    ready->shared_locks_count = shared.list_count;
}

void participant_step_timestamp(struct participant *p, const struct participant_event *event)
{
    struct participant_request *prepare = participant_request_find(p, event->token);
    /* Refused, wounded or replaced while the oracle was asked. */
    if (!prepare || prepare->kind != REQUEST_PREPARE || !prepare->is_ready ||
        prepare->entry->state != ENTRY_PREPARING)
        return;
    ASSERT(event->timestamp != 0);
    struct participant_entry *entry = prepare->entry;
    participant_entry_move(entry, ENTRY_BOUND);
    entry->bound = event->timestamp;
    participant_timer_disarm(p, &entry->expiry);
    participant_timer_disarm(p, &prepare->wait);
    struct participant_ready *ready = participant_ready_add(p);
    ready->token = prepare->token;
    ready->txn = entry->txn;
    ready->bound = event->timestamp;
    shared_locks_list(p, entry, ready);
    free(entry->write_keys);
    entry->write_keys = NULL;
    free(entry->checks);
    entry->checks = NULL;
}

/* ---- Its log entry, and its end ---- */

void participant_step_prepared(struct participant *p, const struct participant_event *event)
{
    struct participant_entry *entry = participant_entry_find(p, event->txn);
    ASSERT(entry); /* it was BOUND here, and nothing ends that but its own log entry (P2) */
    if (entry->state == ENTRY_PREPARED)
        return;
    participant_entry_move(entry, ENTRY_PREPARED);
    p->prepared_count++;
    if (entry->prepare)
        participant_request_free(p, entry->prepare);
}

void participant_step_finished(struct participant *p, const struct participant_event *event)
{
    struct participant_entry *entry = participant_entry_find(p, event->txn);
    if (!entry)
        return;
    /* One that had not voted can only have been aborted. */
    struct participant_end end = {.status = OST_ABORTED};
    if (participant_entry_can_be_wounded(entry))
        end.status_later = OST_ABORTED;
    participant_entry_end(p, entry, &end);
}

void participant_step_recovered(struct participant *p, const struct participant_event *event)
{
    ASSERT(!p->requests && !participant_entry_find(p, event->txn));
    struct participant_entry *entry = participant_entry_new(p, event);
    participant_entry_move(entry, ENTRY_PREPARED);
    entry->bound = event->timestamp;
    p->prepared_count++;
    entry_set_anchor(entry, event);
    struct reader reader = reader_of(event->write_set);
    struct write write;
    int status;
    while ((status = write_set_next(&reader, &write)) == OST_OK) {
        struct lock_target target = {.start = write.key};
        lock_table_restore(p->table, entry->owner, &target, LOCK_EXCLUSIVE);
    }
    ASSERT(status == OST_NOT_FOUND);
    for (uint32_t index = 0; index < event->shared_locks_count; index++)
        lock_table_restore(p->table, entry->owner, &event->shared_locks[index], LOCK_SHARED);
}
