/* master_machine.c: group 0's state machine: what entries do, the rows that keep it, and snapshots.
 *
 * Memory is the state; rows follow it, all that lag in one batch with the applied index. When the
 * store is stalled, or the map changes quickly, they stay behind and are written later: the log is
 * cut only behind what is flushed (S1), so a crash then applies a few entries again.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/frame.h"
#include "shardmaster/master_groups.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_replicas.h"

#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES       256u
#define STATE_BYTES_MAX (64u << 20)
#define MAP_SAVE_NS_MIN (500 * NS_PER_MS)

static struct bytes row_name(const char *name)
{
    return bytes_of_string(name);
}
#define ROW_META   row_name("meta")
#define ROW_MAP    row_name("map")
#define ROW_ORACLE row_name("oracle")
#define ROW_SAFE   row_name("safe_point")

static struct bytes message_pack(const ProtobufCMessage *message, struct arena *arena)
{
    size_t bytes_count = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = arena_alloc(arena, bytes_count);
    protobuf_c_message_pack(message, packed);
    return bytes_of(packed, bytes_count);
}

/* --- the position in the log, as a row --- */

static struct bytes meta_pack(const struct raft_snapshot_meta *meta, struct arena *arena)
{
    struct blob *packed = raft_configuration_pack(&meta->configuration);
    Ostraka__RaftSnapshotMeta message = OSTRAKA__RAFT_SNAPSHOT_META__INIT;
    message.index = meta->index;
    message.term = meta->term;
    message.log_timestamp = meta->log_timestamp;
    message.configuration_index = meta->configuration_index;
    message.configuration = (Ostraka__RaftConfiguration *)message_unpack(
        &ostraka__raft_configuration__descriptor, blob_bytes(packed), arena);
    ASSERT(message.configuration);
    blob_unref(packed);
    return message_pack(&message.base, arena);
}

static bool meta_unpack(struct bytes bytes, struct raft_snapshot_meta *out_meta)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__RaftSnapshotMeta *message = (Ostraka__RaftSnapshotMeta *)message_unpack(
        &ostraka__raft_snapshot_meta__descriptor, bytes, &arena);
    struct raft_snapshot_meta meta = {0};
    bool parses = message && message->configuration &&
                  raft_configuration_unpack(message_pack(&message->configuration->base, &arena),
                                            &meta.configuration);
    if (parses) {
        meta.index = message->index;
        meta.term = message->term;
        meta.log_timestamp = message->log_timestamp;
        meta.configuration_index = message->configuration_index;
        *out_meta = meta;
    }
    arena_fini(&arena);
    return parses;
}

int master_read_flushed_index(const struct master_rows *rows, raft_index_t *out_index)
{
    struct buffer value = BUFFER_INIT;
    struct raft_snapshot_meta meta = {0};
    int status = rows->read(rows->context, ROW_META, true, &value);
    if (status == OST_NOT_FOUND)
        status = OST_OK;
    else if (status == OST_OK && !meta_unpack(buffer_bytes(&value), &meta))
        status = OST_CORRUPT;
    if (status == OST_OK)
        *out_index = meta.index;
    buffer_fini(&value);
    return status;
}

/* --- the state --- */

void master_adopt_map(struct master *master, Ostraka__Map *map, struct arena *arena_take)
{
    arena_fini(&master->map_arena);
    master->map_arena = *arena_take;
    master->map_bytes = arena_take->bytes_used;
    master->map = map;
}

static struct bytes state_pack(const struct master *master, bool with_map, struct arena *arena)
{
    Ostraka__MasterState state = OSTRAKA__MASTER_STATE__INIT;
    state.map = with_map ? master->map : NULL;
    state.ceiling = master->ceiling;
    state.safe_point = with_map ? safe_point_to_message(&master->safe, arena) : NULL;
    return message_pack(&state.base, arena);
}

/* NULL: it does not parse, or its map is not sound. */
static Ostraka__MasterState *state_unpack(struct bytes bytes, struct arena *arena)
{
    Ostraka__MasterState *state =
        (Ostraka__MasterState *)message_unpack(&ostraka__master_state__descriptor, bytes, arena);
    const char *why;
    if (!state ||
        (state->map && state->map->epoch != 0 && master_map_check(state->map, &why) != OST_OK))
        return NULL;
    return state;
}

/* The map is one row: while it changes quickly, what many entries have done is written together. */
nanoseconds_t master_rows_due_ns(const struct master *master)
{
    if (!master->meta_dirty || master->restoring)
        return NS_NEVER;
    return master->map_dirty && master->map_saved_ns != 0 ? master->map_saved_ns + MAP_SAVE_NS_MIN
                                                          : 0;
}

void master_rows_save(struct master *master)
{
    if (master_rows_due_ns(master) > master->now_ns)
        return;
    struct arena arena;
    arena_init(&arena);
    struct master_row rows[4];
    size_t count = 0;
    rows[count++] = (struct master_row){ROW_META, meta_pack(&master->meta, &arena)};
    if (master->map_dirty)
        rows[count++] = (struct master_row){ROW_MAP, message_pack(&master->map->base, &arena)};
    if (master->oracle_dirty)
        rows[count++] = (struct master_row){ROW_ORACLE, state_pack(master, false, &arena)};
    if (master->safe_dirty)
        rows[count++] = (struct master_row){
            ROW_SAFE, message_pack(&safe_point_to_message(&master->safe, &arena)->base, &arena)};
    int status = master->rows.write(master->rows.context, rows, count);
    arena_fini(&arena);
    if (status == OST_OK) {
        if (master->map_dirty)
            master->map_saved_ns = master->now_ns;
        master->meta_dirty = master->map_dirty = master->oracle_dirty = false;
        master->safe_dirty = false;
    } else if (status != OST_BUSY && !master->save_failed) {
        log_write(LOG_ERROR, "cannot write the shard master's rows", "store=%lu why=\"%s\"",
                  master->options.store_id, ost_status_text(status));
    }
    master->save_failed = status != OST_OK && status != OST_BUSY;
}

static int rows_load_map(struct master *master, struct buffer *value)
{
    int status = master->rows.read(master->rows.context, ROW_MAP, false, value);
    if (status != OST_OK)
        return status == OST_NOT_FOUND ? OST_OK : status;
    struct arena arena;
    arena_init(&arena);
    Ostraka__Map *map =
        (Ostraka__Map *)message_unpack(&ostraka__map__descriptor, buffer_bytes(value), &arena);
    const char *why;
    if (!map || (map->epoch != 0 && master_map_check(map, &why) != OST_OK)) {
        arena_fini(&arena);
        return OST_CORRUPT;
    }
    master_adopt_map(master, map, &arena);
    return OST_OK;
}

static int rows_load_oracle(struct master *master, struct buffer *value)
{
    int status = master->rows.read(master->rows.context, ROW_ORACLE, false, value);
    if (status != OST_OK)
        return status == OST_NOT_FOUND ? OST_OK : status;
    struct arena arena;
    arena_init(&arena);
    Ostraka__MasterState *state = state_unpack(buffer_bytes(value), &arena);
    if (state)
        master->ceiling = state->ceiling;
    arena_fini(&arena);
    return state ? OST_OK : OST_CORRUPT;
}

static int rows_load_safe_point(struct master *master, struct buffer *value)
{
    int status = master->rows.read(master->rows.context, ROW_SAFE, false, value);
    if (status != OST_OK)
        return status == OST_NOT_FOUND ? OST_OK : status;
    struct arena arena;
    arena_init(&arena);
    Ostraka__SafePointState *state = (Ostraka__SafePointState *)message_unpack(
        &ostraka__safe_point_state__descriptor, buffer_bytes(value), &arena);
    status = state ? safe_point_of_message(state, &master->safe) : OST_CORRUPT;
    arena_fini(&arena);
    return status;
}

int master_rows_load(struct master *master, char *out_why)
{
    struct buffer value = BUFFER_INIT;
    int status = master->rows.read(master->rows.context, ROW_META, false, &value);
    if (status == OST_OK && !meta_unpack(buffer_bytes(&value), &master->meta))
        status = OST_CORRUPT;
    if (status == OST_OK)
        status = rows_load_map(master, &value);
    if (status == OST_OK)
        status = rows_load_oracle(master, &value);
    if (status == OST_OK)
        status = rows_load_safe_point(master, &value);
    if (status == OST_NOT_FOUND) /* nothing was ever written: a new cluster */
        status = OST_OK;
    if (status == OST_OK)
        status = master_read_flushed_index(&master->rows, &master->flushed_index);
    buffer_fini(&value);
    if (status != OST_OK)
        snprintf(out_why, WHY_BYTES, "cannot load the shard master's rows of store %lu: %s",
                 master->options.store_id, ost_status_text(status));
    return status;
}

/* --- applying --- */

int master_propose(struct master *master, const Ostraka__MasterCommand *command,
                   raft_index_t *out_index)
{
    struct blob *payload = blob_new(ostraka__master_command__get_packed_size(command));
    ostraka__master_command__pack(command, payload->data);
    raft_term_t term;
    int status = raft_host_propose(master->host, SHARD_MASTER_GROUP, RAFT_ENTRY_COMMAND, payload,
                                   master->now_ns, out_index, &term);
    blob_unref(payload);
    return status;
}

void master_map_changed(struct master *master)
{
    master->map_dirty = true;
    master_leader_map_changed(master);
}

static void map_changed_if(struct master *master, bool has_changed)
{
    if (has_changed)
        master_map_changed(master);
}

static void apply_bootstrap(struct master *master, const Ostraka__MasterCommand__Bootstrap *command)
{
    if (master->map->epoch != 0)
        return; /* compare and set: the first one made the map (R7) */
    Ostraka__Map map = OSTRAKA__MAP__INIT;
    map.cluster_id = command->cluster_id;
    map.epoch = 1;
    map.n_stores = command->n_stores;
    map.stores = command->stores;
    map.n_groups = command->n_groups;
    map.groups = command->groups;
    map.n_ranges = command->n_ranges;
    map.ranges = command->ranges;
    map.master = command->master;
    map.next_replica = command->next_replica;
    map.replicas_wanted = command->replicas_wanted;
    map.next_change = 1;
    map.next_group = command->n_groups + 1;
    /* Rounded down: what the first stores call for is never more than they have. */
    map.groups_per_1000_stores =
        command->n_stores > 0 ? (uint32_t)(command->n_groups * 1000 / command->n_stores) : 0;
    const char *why;
    if (command->cluster_id != master->options.cluster_id ||
        master_map_check(&map, &why) != OST_OK) {
        log_write(LOG_ERROR, "refused a bootstrap that is not sound", "store=%lu",
                  master->options.store_id);
        return;
    }
    struct arena arena;
    arena_init(&arena);
    Ostraka__Map *copy = master_map_copy(&map, &arena);
    master_adopt_map(master, copy, &arena);
    master->oracle_dirty = true;
    master_map_changed(master);
    master_leader_ranges_changed(master, true);
    master_ranges_leader_laid_out(master);
    log_write(LOG_INFO, "the cluster was made", "store=%lu stores=%zu groups=%zu ranges=%zu",
              master->options.store_id, map.n_stores, map.n_groups, map.n_ranges);
}

/* On a copy, which stands for the map only if the command could be done. */
static void apply_replicas_wanted(struct master *master, raft_index_t index,
                                  const Ostraka__MasterCommand__ReplicasWanted *command)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__Map *copy = master_map_copy(master->map, &arena);
    bool is_done = master_replicas_wanted(copy, command, &arena);
    if (is_done) {
        master_adopt_map(master, copy, &arena);
        const Ostraka__GroupInfo *group = master_map_group(copy, command->group);
        log_write(LOG_INFO, "a group is to have other replicas",
                  "store=%lu group=%lu epoch=%lu add_store=%lu remove_replica=%lu",
                  master->options.store_id, group->id, group->epoch, command->add_store,
                  command->remove_replica);
    } else {
        arena_fini(&arena);
    }
    master_change_applied(master, index, is_done);
    map_changed_if(master, is_done);
}

static void apply_replicas_settled(struct master *master,
                                   const Ostraka__MasterCommand__ReplicasSettled *command)
{
    if (!master_replicas_settled(master->map, command->group, command->group_epoch))
        return;
    map_changed_if(master, true);
    log_write(LOG_INFO, "a group has the replicas that were wanted",
              "store=%lu group=%lu epoch=%lu", master->options.store_id, command->group,
              command->group_epoch);
}

/* On a copy, which stands for the map only if the command could be done. */
static void apply_group_created(struct master *master,
                                const Ostraka__MasterCommand__GroupCreated *command)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__Map *copy = master_map_copy(master->map, &arena);
    if (!master_group_created(copy, command, &arena)) {
        arena_fini(&arena);
        return;
    }
    COVER(MASTER_GROUP_CREATED);
    master_adopt_map(master, copy, &arena);
    master_map_changed(master);
    log_write(LOG_INFO, "there is a new group", "store=%lu group=%lu", master->options.store_id,
              command->group);
}

static void apply_command(struct master *master, const struct raft_entry *entry)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__MasterCommand *command = (Ostraka__MasterCommand *)message_unpack(
        &ostraka__master_command__descriptor, blob_bytes(entry->payload), &arena);
    ASSERT(command); /* our own leader packed it, and the log is checked */
    switch (command->command_case) {
    case OSTRAKA__MASTER_COMMAND__COMMAND_BOOTSTRAP:
        apply_bootstrap(master, command->bootstrap);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_RAISE_CEILING:
        if (command->raise_ceiling->ceiling > master->ceiling) {
            master->ceiling = command->raise_ceiling->ceiling;
            master->oracle_dirty = true;
            oracle_ceiling_applied(&master->oracle, master->ceiling);
        }
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_ASSIGNED:
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_WANTED:
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SPLIT:
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGES_MERGED:
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SWITCHED:
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_CANCELLED:
        master_ranges_apply(master, entry->index, command);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_REPLICAS_WANTED:
        apply_replicas_wanted(master, entry->index, command->replicas_wanted);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_REPLICAS_SETTLED:
        apply_replicas_settled(master, command->replicas_settled);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_GROUP_CREATED:
        apply_group_created(master, command->group_created);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_REPLICA_LOST:
        map_changed_if(master, master_replica_lost(master->map, command->replica_lost->group,
                                                   command->replica_lost->replica));
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_INCARNATION:
        map_changed_if(master, master_store_incarnation(master->map, command->store_incarnation));
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_ADVANCE_SAFE_POINT:
        master_safe_point_apply_advance(master, command->advance_safe_point);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_SET_HOLD:
        master_safe_point_apply_hold(master, entry->index, command->set_hold);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_JOINED:
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_STATE_SET:
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_REMOVED:
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_HOST_SET:
        map_changed_if(master, master_store_change_apply(master, entry->index, command));
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND__NOT_SET:
    default:
        break; /* of a later version: nothing that this one could do */
    }
    arena_fini(&arena);
}

static size_t machine_apply(void *machine, const struct raft_entry *entries, size_t entries_count)
{
    struct master *master = machine;
    for (size_t index = 0; index < entries_count; index++) {
        const struct raft_entry *entry = &entries[index];
        ASSERT(entry->index == master->meta.index + 1 && entry->term >= master->meta.term);
        if (entry->type == RAFT_ENTRY_COMMAND) {
            apply_command(master, entry);
        } else if (entry->type == RAFT_ENTRY_CONFIGURATION) {
            bool parses =
                raft_configuration_unpack(blob_bytes(entry->payload), &master->meta.configuration);
            ASSERT(parses);
            master->meta.configuration_index = entry->index;
        }
        master->meta.index = entry->index;
        master->meta.term = entry->term;
        master->meta.log_timestamp = entry->log_timestamp;
    }
    master->meta_dirty = true;
    master_rows_save(master);
    master_oracle_step(master);
    return entries_count;
}

static void machine_leadership_changed(void *machine, const struct raft_leadership *leadership)
{
    master_leadership_changed(machine, leadership);
}

static void machine_read_ready(void *machine, uint64_t read_id, int status,
                               nanoseconds_t valid_until_ns)
{
    ASSERT(valid_until_ns == NS_NEVER); /* no read is asked for by lease */
    master_read_ready(machine, read_id, status);
}

static void machine_applied_meta(void *machine, struct raft_snapshot_meta *out_meta)
{
    const struct master *master = machine;
    *out_meta = master->meta;
}

static raft_index_t machine_flushed_index(void *machine)
{
    const struct master *master = machine;
    return master->flushed_index;
}

/* --- snapshots: the packed state, cut into chunks --- */

struct snapshot {
    struct buffer state;
    size_t offset;
};

static int machine_snapshot_open(void *machine, struct raft_snapshot_meta *out_meta,
                                 void **out_snapshot)
{
    const struct master *master = machine;
    struct snapshot *snapshot = memory_alloc_zeroed(1, sizeof(*snapshot));
    struct arena arena;
    arena_init(&arena);
    struct bytes state = state_pack(master, true, &arena);
    buffer_append(&snapshot->state, state.data, state.bytes_count);
    arena_fini(&arena);
    *out_meta = master->meta;
    *out_snapshot = snapshot;
    return OST_OK;
}

static int machine_snapshot_read(void *opaque, struct buffer *chunk, size_t bytes_max,
                                 bool *out_last)
{
    struct snapshot *snapshot = opaque;
    size_t left_bytes = snapshot->state.bytes_count - snapshot->offset;
    size_t bytes_count = left_bytes < bytes_max ? left_bytes : bytes_max;
    buffer_append(chunk, snapshot->state.data + snapshot->offset, bytes_count);
    snapshot->offset += bytes_count;
    *out_last = snapshot->offset == snapshot->state.bytes_count;
    return OST_OK;
}

static void machine_snapshot_close(void *opaque)
{
    struct snapshot *snapshot = opaque;
    buffer_fini(&snapshot->state);
    free(snapshot);
}

struct restore {
    struct master_rows rows;
    struct raft_snapshot_meta meta;
    struct buffer received;
    struct arena arena;
    Ostraka__MasterState *state; /* once finished */
    struct safe_point safe;
};

static int machine_restore_open(void *machine, const struct raft_snapshot_meta *meta,
                                void **out_restore)
{
    struct master *master = machine;
    ASSERT(!master->restoring);
    master->restoring = true;
    struct restore *restore = memory_alloc_zeroed(1, sizeof(*restore));
    restore->rows = master->rows;
    restore->meta = *meta;
    arena_init(&restore->arena);
    *out_restore = restore;
    return OST_OK;
}

static int machine_restore_write(void *opaque, struct bytes chunk)
{
    struct restore *restore = opaque;
    if (restore->received.bytes_count + chunk.bytes_count > STATE_BYTES_MAX)
        return OST_TOO_LARGE;
    buffer_append(&restore->received, chunk.data, chunk.bytes_count);
    return OST_OK;
}

/* On the pool; the loop writes no rows meanwhile (master->restoring). */
static int machine_restore_finish(void *opaque)
{
    struct restore *restore = opaque;
    Ostraka__MasterState *state = state_unpack(buffer_bytes(&restore->received), &restore->arena);
    if (!state)
        return OST_CORRUPT;
    if (!state->map) {
        state->map = arena_alloc(&restore->arena, sizeof(*state->map));
        ostraka__map__init(state->map);
    }
    Ostraka__SafePointState none = OSTRAKA__SAFE_POINT_STATE__INIT;
    const Ostraka__SafePointState *safe = state->safe_point ? state->safe_point : &none;
    if (safe_point_of_message(safe, &restore->safe) != OST_OK)
        return OST_CORRUPT;
    Ostraka__MasterState oracle = *state;
    oracle.map = NULL;
    oracle.safe_point = NULL;
    const struct master_row rows[] = {
        {ROW_META, meta_pack(&restore->meta, &restore->arena)},
        {ROW_MAP, message_pack(&state->map->base, &restore->arena)},
        {ROW_ORACLE, message_pack(&oracle.base, &restore->arena)},
        {ROW_SAFE, message_pack(&safe->base, &restore->arena)},
    };
    int status = restore->rows.write(restore->rows.context, rows, sizeof(rows) / sizeof(rows[0]));
    if (status == OST_OK)
        status = restore->rows.flush(restore->rows.context);
    if (status == OST_OK)
        restore->state = state;
    return status;
}

static void machine_restore_close(void *machine, void *opaque, bool adopt)
{
    struct master *master = machine;
    struct restore *restore = opaque;
    master->restoring = false;
    if (adopt) {
        ASSERT(restore->state && restore->meta.index >= master->meta.index);
        master->ceiling = restore->state->ceiling;
        master_adopt_map(master, restore->state->map, &restore->arena);
        master->meta = restore->meta;
        safe_point_fini(&master->safe);
        master->safe = restore->safe;
        restore->safe = (struct safe_point){0};
        master->meta_dirty = master->map_dirty = master->oracle_dirty = master->safe_dirty = false;
        master_set_flushed_index(master, restore->meta.index);
    } else {
        /* It may have got as far as the rows: what memory says is written over it. */
        master->meta_dirty = master->map_dirty = master->oracle_dirty = master->safe_dirty = true;
        arena_fini(&restore->arena);
    }
    safe_point_fini(&restore->safe);
    buffer_fini(&restore->received);
    free(restore);
}

static void machine_destroyed(void *machine)
{
    ((struct master *)machine)->is_destroyed = true;
}

const struct raft_state_machine_ops master_machine_ops = {
    .apply = machine_apply,
    .leadership_changed = machine_leadership_changed,
    .read_ready = machine_read_ready,
    .applied_meta = machine_applied_meta,
    .flushed_index = machine_flushed_index,
    .snapshot_open = machine_snapshot_open,
    .snapshot_read = machine_snapshot_read,
    .snapshot_close = machine_snapshot_close,
    .restore_open = machine_restore_open,
    .restore_write = machine_restore_write,
    .restore_finish = machine_restore_finish,
    .destroyed = machine_destroyed,
    .restore_close = machine_restore_close,
};
