/* wal.c: what the log holds of each group, its segments, and what is to be done next. */
#include "raft/wal_internal.h"

#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>
#include <xxhash.h>

/* A group larger than this share of a segment is not written forward: it is busy, and its next cut
 * frees the segment sooner than writing it all again would. */
#define WAL_REWRITE_SHARE 4

struct wal *wal_new(const struct wal_options *options)
{
    ASSERT(options->segment_bytes % WAL_BLOCK_BYTES == 0);
    ASSERT(options->write_bytes_max % WAL_BLOCK_BYTES == 0);
    ASSERT(options->write_bytes_max >= WAL_BLOCK_BYTES);
    ASSERT(options->write_bytes_max <= options->segment_bytes);
    struct wal *wal = memory_alloc_zeroed(1, sizeof(*wal));
    wal->options = *options;
    TAILQ_INIT(&wal->ready);
    wal->segment_next = 1;
    wal->number_next = 1;
    wal->run = 1;
    buffer_init(&wal->recovery.pending_copy);
    void *data = NULL;
    /* O_DIRECT wants an aligned buffer. */
    int failed = posix_memalign(&data, WAL_BLOCK_BYTES, options->write_bytes_max);
    ASSERT(failed == 0);
    wal->data = data;
    return wal;
}

/* Parts that were written already are no unit without the rest, and are passed over at recovery. */
static void wal_units_drop(struct wal *wal, struct wal_group *group)
{
    if (group->queued)
        TAILQ_REMOVE(&wal->ready, group, ready_link);
    group->queued = group->rewrite_queued = false;
    struct wal_unit *unit;
    while ((unit = TAILQ_FIRST(&group->units)) != NULL) {
        TAILQ_REMOVE(&group->units, unit, link);
        wal_unit_free(unit);
    }
}

static void wal_group_free(struct wal *wal, struct wal_group *group)
{
    wal_units_drop(wal, group);
    wal_group_clear(group);
    free(group->entries);
    buffer_fini(&group->part);
    HASH_DELETE(hh, wal->groups, group);
    free(group);
}

void wal_free(struct wal *wal)
{
    if (!wal)
        return;
    struct wal_group *group, *next;
    HASH_ITER (hh, wal->groups, group, next) {
        wal_group_free(wal, group);
    }
    blob_bin_fini(&wal->bin);
    free(wal->used.items);
    free(wal->spares.items);
    free(wal->to_retire.items);
    free(wal->durable);
    free(wal->names.items);
    buffer_fini(&wal->recovery.pending_copy);
    free(wal->data);
    free(wal);
}

void wal_numbers_push(struct wal_numbers *numbers, uint32_t number)
{
    ASSERT(numbers->count == 0 || numbers->items[numbers->count - 1] < number);
    if (numbers->count == numbers->capacity) {
        numbers->capacity = numbers->capacity ? 2 * numbers->capacity : 8;
        numbers->items = memory_realloc(numbers->items, numbers->capacity * sizeof(uint32_t));
    }
    numbers->items[numbers->count++] = number;
}

uint32_t wal_numbers_shift(struct wal_numbers *numbers)
{
    ASSERT(numbers->count > 0);
    uint32_t number = numbers->items[0];
    numbers->count--;
    memmove(numbers->items, numbers->items + 1, numbers->count * sizeof(uint32_t));
    return number;
}

void wal_names_add(struct wal_names *names, group_id_t group, replica_id_t replica)
{
    if (names->count > 0 && names->items[names->count - 1].group == group)
        return; /* several units stand together */
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? 2 * names->capacity : 16;
        names->items = memory_realloc(names->items, names->capacity * sizeof(*names->items));
    }
    names->items[names->count++] = (struct wal_name){.group = group, .replica = replica};
}

/* The picture of one group. */

struct wal_group *wal_group_find(const struct wal *wal, group_id_t id)
{
    struct wal_group *group;
    HASH_FIND(hh, wal->groups, &id, sizeof(id), group);
    return group;
}

struct wal_group *wal_group_make(struct wal *wal, group_id_t id, replica_id_t replica)
{
    struct wal_group *group = wal_group_find(wal, id);
    if (!group) {
        group = memory_alloc_zeroed(1, sizeof(*group));
        group->group = id;
        group->replica = replica;
        group->bin = &wal->bin;
        TAILQ_INIT(&group->units);
        buffer_init(&group->part);
        HASH_ADD(hh, wal->groups, group, sizeof(group->group), group);
    }
    if (group->replica != replica) {
        wal_group_clear(group);
        group->replica = replica;
    }
    return group;
}

static void wal_group_drop_entries(struct wal_group *group, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++) {
        struct wal_entry *entry = &group->entries[group->entries_head + i];
        group->entries_bytes -= blob_bytes(entry->entry.payload).bytes_count;
        blob_bin_put(group->bin, entry->entry.payload);
    }
}

void wal_group_clear(struct wal_group *group)
{
    wal_group_drop_entries(group, 0, group->entries_count);
    group->entries_head = group->entries_count = 0;
    group->hard_state_known = false;
    group->term = 0;
    group->vote = 0;
    group->begin_known = group->begin_derived = false;
    group->begin_index = group->begin_term = 0;
    group->part_open = false;
    group->mark = WAL_MARK_NONE;
    group->mark_replaced = false;
    group->complete_number = group->lost_number = 0;
}

void wal_group_set_mark(struct wal_group *group, enum wal_mark mark, uint32_t segment)
{
    wal_group_clear(group);
    group->mark = mark;
    group->mark_segment = segment;
}

void wal_group_reset_log(struct wal_group *group, raft_index_t index, raft_term_t term)
{
    wal_group_drop_entries(group, 0, group->entries_count);
    group->entries_head = group->entries_count = 0;
    group->begin_known = true;
    group->begin_derived = false;
    group->begin_index = index;
    group->begin_term = term;
}

static raft_index_t wal_group_last_index(const struct wal_group *group)
{
    return group->begin_index + group->entries_count;
}

static const struct wal_entry *wal_entry_at(const struct wal_group *group, raft_index_t index)
{
    if (index <= group->begin_index || index > wal_group_last_index(group))
        return NULL;
    return &group->entries[group->entries_head + (size_t)(index - group->begin_index - 1)];
}

void wal_group_cut_log(struct wal_group *group, raft_index_t index)
{
    /* Where nothing is known, what is kept of the log may have been in segments that are gone by
     * now, because a later cut or reset, yet to be read, made it void. */
    if (!group->begin_known || index < group->begin_index)
        return;
    if (index >= wal_group_last_index(group)) {
        const struct wal_entry *last = wal_entry_at(group, index);
        wal_group_reset_log(group, index, last ? last->entry.term : 0);
        return;
    }
    const struct wal_entry *entry = wal_entry_at(group, index);
    size_t count = (size_t)(index - group->begin_index);
    if (entry)
        group->begin_term = entry->entry.term;
    wal_group_drop_entries(group, 0, count);
    group->entries_head += count;
    group->entries_count -= count;
    group->begin_index = index;
    group->begin_derived = false;
}

static void wal_group_reserve(struct wal_group *group)
{
    if (group->entries_head + group->entries_count < group->entries_capacity)
        return;
    if (group->entries_head > group->entries_count) {
        memmove(group->entries, group->entries + group->entries_head,
                group->entries_count * sizeof(*group->entries));
        group->entries_head = 0;
        return;
    }
    group->entries_capacity = group->entries_capacity ? 2 * group->entries_capacity : 8;
    group->entries =
        memory_realloc(group->entries, group->entries_capacity * sizeof(*group->entries));
}

bool wal_group_append(struct wal_group *group, const struct raft_entry *entry, uint32_t segment)
{
    /* The entries before it were in segments that are gone: they had been cut, or replaced. */
    if (!group->begin_known || (group->begin_derived && entry->index <= group->begin_index)) {
        wal_group_reset_log(group, entry->index - 1, 0);
        group->begin_derived = true;
    }
    raft_index_t last = wal_group_last_index(group);
    if (entry->index <= group->begin_index || entry->index > last + 1)
        return false;
    if (entry->index <= last) { /* It replaces all from there on. */
        size_t kept = (size_t)(entry->index - group->begin_index - 1);
        wal_group_drop_entries(group, kept, group->entries_count - kept);
        group->entries_count = kept;
    }
    wal_group_reserve(group);
    struct wal_entry *slot = &group->entries[group->entries_head + group->entries_count++];
    slot->entry = *entry;
    slot->segment = segment;
    if (entry->payload)
        blob_ref(entry->payload);
    group->entries_bytes += blob_bytes(entry->payload).bytes_count;
    return true;
}

void wal_group_set_hard_state(struct wal_group *group, raft_term_t term, replica_id_t vote,
                              uint32_t segment)
{
    group->hard_state_known = true;
    group->term = term;
    group->vote = vote;
    group->hard_state_segment = segment;
}

bool wal_group_get(const struct wal *wal, group_id_t id, struct wal_group_state *out_state)
{
    const struct wal_group *group = wal_group_find(wal, id);
    if (!group)
        return false;
    *out_state = (struct wal_group_state){
        .replica = group->replica,
        .destroyed = group->mark == WAL_MARK_DESTROYED,
        .damaged = group->mark == WAL_MARK_DAMAGED,
        .busy = !TAILQ_EMPTY(&group->units),
        .hard_state_known = group->hard_state_known,
        .term = group->term,
        .vote = group->vote,
        .begin_known = group->begin_known,
        .begin_index = group->begin_index,
        .begin_term = group->begin_term,
        .last_index = wal_group_last_index(group),
    };
    return true;
}

bool wal_group_next(const struct wal *wal, const group_id_t *after, group_id_t *out_group)
{
    struct wal_group *group, *next;
    bool found = false;
    HASH_ITER (hh, wal->groups, group, next) {
        if ((after && group->group <= *after) || (found && group->group > *out_group))
            continue;
        *out_group = group->group;
        found = true;
    }
    return found;
}

const struct raft_entry *wal_group_entry(const struct wal *wal, group_id_t id, raft_index_t index)
{
    const struct wal_group *group = wal_group_find(wal, id);
    const struct wal_entry *entry = group ? wal_entry_at(group, index) : NULL;
    return entry ? &entry->entry : NULL;
}

/* Queueing. */

static struct wal_unit *wal_unit_queue(struct wal *wal, struct wal_group *group)
{
    struct wal_unit *unit = memory_alloc_zeroed(1, sizeof(*unit));
    TAILQ_INSERT_TAIL(&group->units, unit, link);
    if (!group->queued) {
        TAILQ_INSERT_TAIL(&wal->ready, group, ready_link);
        group->queued = true;
    }
    return unit;
}

struct wal_group *wal_group_claim(struct wal *wal, group_id_t id, replica_id_t replica, void *owner)
{
    struct wal_group *group = wal_group_find(wal, id);
    ASSERT(!group || (!group->claimed && TAILQ_EMPTY(&group->units) && group->replica <= replica));
    bool marked = group && group->mark != WAL_MARK_NONE;
    ASSERT(!marked || group->replica < replica);
    group = wal_group_make(wal, id, replica);
    group->mark_replaced = marked;
    group->claimed = true;
    group->owner = owner;
    return group;
}

static void wal_mark_queue(struct wal *wal, struct wal_group *group, enum wal_mark mark,
                           uint64_t persist_id)
{
    wal_units_drop(wal, group);
    struct wal_unit *unit = wal_unit_queue(wal, group);
    unit->mark = mark;
    unit->persist_id = persist_id;
}

void wal_destroy(struct wal *wal, group_id_t id, replica_id_t replica, void *owner,
                 uint64_t persist_id)
{
    struct wal_group *group = wal_group_find(wal, id);
    ASSERT(!group || group->replica <= replica);
    group = wal_group_make(wal, id, replica);
    group->claimed = false;
    group->owner = owner;
    wal_mark_queue(wal, group, WAL_MARK_DESTROYED, persist_id);
}

void wal_mark_damaged(struct wal *wal, group_id_t id, replica_id_t replica)
{
    struct wal_group *group = wal_group_make(wal, id, replica);
    ASSERT(!group->claimed);
    /* What stands on disk is needed until the mark does. */
    wal_group_set_mark(group, WAL_MARK_DAMAGED, wal->used.count > 0 ? wal->used.items[0] : 0);
    wal_mark_queue(wal, group, WAL_MARK_DAMAGED, 0);
}

void wal_persist(struct wal *wal, struct wal_group *group, const struct wal_unit_request *request)
{
    ASSERT(group->claimed);
    struct wal_unit *unit = wal_unit_queue(wal, group);
    unit->persist_id = request->persist_id;
    unit->hard_state = request->hard_state_changed;
    unit->term = request->term;
    unit->vote = request->vote;
    unit->reset = request->log_reset;
    unit->reset_index = request->reset_index;
    unit->reset_term = request->reset_term;
    unit->entries_count = request->entries_count;
    if (request->entries_count == 0)
        return;
    unit->entries = memory_alloc(request->entries_count * sizeof(*unit->entries));
    for (uint32_t i = 0; i < request->entries_count; i++) {
        unit->entries[i] = request->entries[i];
        if (unit->entries[i].payload)
            blob_ref(unit->entries[i].payload);
    }
}

void wal_cut(struct wal *wal, struct wal_group *group, raft_index_t index)
{
    if (group->begin_known && !group->begin_derived && index <= group->begin_index)
        return;
    struct wal_unit *unit = wal_unit_queue(wal, group);
    unit->cut = true;
    unit->cut_index = index;
}

/* Segments. */

/* The oldest segment that holds something live of the group; UINT32_MAX: none does. */
static uint32_t wal_group_oldest_segment(const struct wal_group *group)
{
    uint32_t oldest = UINT32_MAX;
    if (group->mark != WAL_MARK_NONE || group->mark_replaced)
        oldest = group->mark_segment;
    if (group->hard_state_known && group->hard_state_segment < oldest)
        oldest = group->hard_state_segment;
    /* Segments do not fall as the index grows, so that the first entry is enough. */
    if (group->entries_count > 0 && group->entries[group->entries_head].segment < oldest)
        oldest = group->entries[group->entries_head].segment;
    const struct wal_unit *unit = TAILQ_FIRST(&group->units);
    if (unit && unit->started && unit->first_segment < oldest)
        oldest = unit->first_segment;
    return oldest;
}

/* What lags behind in the oldest segment is written again, as far as it is small. */
static void wal_rewrite_laggards(struct wal *wal)
{
    uint32_t victim = wal->used.items[0];
    uint64_t each_max = wal->options.segment_bytes / WAL_REWRITE_SHARE;
    uint64_t budget = wal->options.segment_bytes / 2;
    struct wal_group *group, *next;
    HASH_ITER (hh, wal->groups, group, next) {
        bool wanted = group->claimed || group->mark != WAL_MARK_NONE;
        if (!wanted || group->rewrite_queued || wal_group_oldest_segment(group) != victim)
            continue;
        uint64_t bytes =
            group->entries_bytes + (group->entries_count + 2) * WAL_RECORD_HEADER_BYTES;
        if (bytes > each_max || bytes > budget)
            continue;
        budget -= bytes;
        group->rewrite_queued = true;
        wal_unit_queue(wal, group)->rewrite = true;
    }
}

void wal_turn_ended(struct wal *wal)
{
    blob_bin_turn(&wal->bin);
}

void wal_maintain(struct wal *wal)
{
    /* The picture is ahead of the disk while a write is under way (W4). */
    if (wal->writing) {
        wal->maintain_wanted = true;
        return;
    }
    wal->maintain_wanted = false;
    uint32_t needed = UINT32_MAX;
    struct wal_group *group, *next;
    HASH_ITER (hh, wal->groups, group, next) {
        uint32_t oldest = wal_group_oldest_segment(group);
        if (oldest < needed)
            needed = oldest;
    }
    /* The last one stays: it is current, or tells the next recovery where the log had got to. */
    while (wal->used.count > 1 && wal->used.items[0] < needed &&
           wal->used.items[0] < wal->previous_segment) {
        COVER(LOG_SEGMENT_RETIRED);
        wal_numbers_push(&wal->to_retire, wal_numbers_shift(&wal->used));
    }
    if (wal->used.count > wal->options.segments_kept ||
        (wal->used.count > 1 && RARE(LOG_REWRITTEN_EARLY)))
        wal_rewrite_laggards(wal);
}

/* There is to be a spare beyond the current segment at all times. */
static bool wal_spare_is_wanted(const struct wal *wal)
{
    return !wal->creating && wal->spares.count < (wal->current ? 1u : 2u);
}

static void wal_segment_begin(struct wal *wal)
{
    uint32_t segment = wal_numbers_shift(&wal->spares);
    wal_numbers_push(&wal->used, segment);
    wal->current = true;
    wal->current_offset = 0;
    wal->current_salt = XXH3_64bits_withSeed(&segment, sizeof(segment), wal->options.seed);
    wal->maintain_wanted = true;
}

bool wal_next_operation(struct wal *wal, bool may_write, struct log_operation *out_operation)
{
    if (!wal->retiring && wal->to_retire.count > 0) {
        /* One after the other, so that what is left on disk is always a row without gaps. */
        wal->retiring = true;
        *out_operation = (struct log_operation){.type = LOG_OPERATION_RETIRE,
                                                .segment = wal_numbers_shift(&wal->to_retire)};
        return true;
    }
    if (may_write && !wal->writing && !TAILQ_EMPTY(&wal->ready)) {
        bool full =
            !wal->current || wal->options.segment_bytes - wal->current_offset < WAL_BLOCK_BYTES;
        bool leave = !full && wal->current_offset > 0 && wal->spares.count > 0 &&
                     RARE(LOG_SEGMENT_LEFT_EARLY);
        if ((full || leave) && wal->spares.count > 0) {
            wal_segment_begin(wal);
            full = false;
        }
        if (!full && wal_write_build(wal, out_operation))
            return true;
    }
    if (wal_spare_is_wanted(wal)) {
        wal->creating = true;
        *out_operation = (struct log_operation){.type = LOG_OPERATION_CREATE,
                                                .segment = wal->segment_next++,
                                                .bytes_count = wal->options.segment_bytes};
        return true;
    }
    return false;
}

void wal_operation_done(struct wal *wal, enum log_operation_type type, uint32_t segment,
                        uint64_t cookie, const struct wal_durable **out_durable,
                        size_t *out_durable_count)
{
    *out_durable = NULL;
    *out_durable_count = 0;
    switch (type) {
    case LOG_OPERATION_RETIRE:
        ASSERT(wal->retiring);
        wal->retiring = false;
        return;
    case LOG_OPERATION_CREATE:
        ASSERT(wal->creating);
        wal->creating = false;
        wal_numbers_push(&wal->spares, segment);
        return;
    case LOG_OPERATION_WRITE:
        ASSERT(wal->writing && cookie == wal->number_next - 1);
        wal->writing = false;
        wal->number_durable = cookie;
        *out_durable = wal->durable;
        *out_durable_count = wal->durable_count;
        if (wal->maintain_wanted)
            wal_maintain(wal);
        return;
    }
    ASSERT(!"unknown log operation");
}

bool wal_is_busy(const struct wal *wal)
{
    return wal->writing || !TAILQ_EMPTY(&wal->ready);
}

bool wal_is_waiting(const struct wal *wal)
{
    return !wal->writing && !TAILQ_EMPTY(&wal->ready);
}

size_t wal_segments_count(const struct wal *wal)
{
    return wal->used.count;
}
