/* A group's rows to a replica that has none, through the operations that the host calls. */
#include "tests/support/kv_world.h"

#include "base/memory.h"
#include "proto/write_set.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* One replica without a host's help. */
struct replica {
    struct kv_shared shared;
    struct metrics metrics;
    struct outbox outbox;
    struct raft_host_update update;
    struct job *jobs;
    struct kv_group *group;
};

static struct raft_configuration configuration = {
    .members = {{.replica = 11, .store = 1, .voter_old = true, .voter_new = true}},
    .members_count = 1,
};

static struct replica *replica_new(replica_id_t number)
{
    struct replica *replica = memory_alloc_zeroed(1, sizeof(*replica));
    struct raft_host_options options;
    raft_host_options_default(&options);
    options.store = number;
    options.metrics = &replica->metrics;
    outbox_init(&replica->outbox);
    replica->update.outbox = &replica->outbox;
    struct kv_shared *shared = &replica->shared;
    kv_options_default(&shared->options);
    shared->environment = (struct kv_environment){
        .store_id = number,
        .store = store_new_memory(),
        .host = raft_host_new(&options, &replica->update),
        .outbox = &replica->outbox,
        .jobs = &replica->jobs,
        .metrics = &replica->metrics,
    };
    shared->oracle = oracle_client_new(&replica->outbox, &replica->metrics);
    struct blob *packed = raft_configuration_pack(&configuration);
    replica->group = kv_group_new(shared, 1, number);
    cr_assert_eq(kv_group_create_rows(replica->group, 1, packed), OST_OK);
    cr_assert_eq(kv_group_load(replica->group), OST_OK);
    blob_unref(packed);
    return replica;
}

static void replica_free(struct replica *replica)
{
    struct kv_shared *shared = &replica->shared;
    kv_group_free(replica->group);
    raft_host_free(shared->environment.host);
    oracle_client_free(shared->oracle);
    outbox_fini(&replica->outbox);
    store_close(shared->environment.store);
    buffer_fini(&shared->key);
    buffer_fini(&shared->found_key);
    buffer_fini(&shared->value);
    free(replica);
}

static struct raft_entry entry_of(raft_index_t index, const Ostraka__KvCommand *command,
                                  struct bytes write_set)
{
    size_t bytes_count = ostraka__kv_command__get_packed_size(command);
    struct buffer buffer = BUFFER_INIT;
    buffer_append_u32_be(&buffer, (uint32_t)bytes_count);
    ostraka__kv_command__pack(command, buffer_extend(&buffer, bytes_count));
    buffer_append(&buffer, write_set.data, write_set.bytes_count);
    struct raft_entry entry = {
        .index = index,
        .term = 1,
        .log_timestamp = timestamp_from_ms(1000 + index),
        .type = RAFT_ENTRY_COMMAND,
        .payload = blob_copy(buffer_bytes(&buffer)),
    };
    buffer_fini(&buffer);
    return entry;
}

static struct raft_entry assign_entry(raft_index_t index)
{
    Ostraka__AssignRangeCommand assign = OSTRAKA__ASSIGN_RANGE_COMMAND__INIT;
    assign.epoch = 1;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_ASSIGN_RANGE;
    command.assign_range = &assign;
    return entry_of(index, &command, bytes_of(NULL, 0));
}

static struct raft_entry write_entry(raft_index_t index, bool prepared)
{
    char key[16];
    snprintf(key, sizeof(key), "key%lu", index);
    struct buffer set = BUFFER_INIT;
    struct write write = {WRITE_PUT, bytes_of_string(key), bytes_of_string("value")};
    write_set_append(&set, &write);
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 7;
    txn.sequence = index;
    ProtobufCBinaryData anchor = {strlen(key), (uint8_t *)key};
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    Ostraka__CommitOneCommand one = OSTRAKA__COMMIT_ONE_COMMAND__INIT;
    Ostraka__PreparedCommand part = OSTRAKA__PREPARED_COMMAND__INIT;
    if (prepared) {
        part.txn = &txn;
        part.n_ranges = 1;
        part.ranges = ranges;
        part.deadline = timestamp_from_ms(60000);
        part.anchor = anchor;
        part.is_home = true;
        part.commit_timestamp_min = timestamp_from_ms(1000 + index);
        command.command_case = OSTRAKA__KV_COMMAND__COMMAND_PREPARED;
        command.prepared = &part;
    } else {
        one.txn = &txn;
        one.n_ranges = 1;
        one.ranges = ranges;
        one.deadline = timestamp_from_ms(60000);
        one.anchor = anchor;
        one.commit_timestamp = timestamp_from_ms(1000 + index);
        command.command_case = OSTRAKA__KV_COMMAND__COMMAND_COMMIT_ONE;
        command.commit_one = &one;
    }
    struct raft_entry entry = entry_of(index, &command, buffer_bytes(&set));
    buffer_fini(&set);
    return entry;
}

#define ENTRIES_COUNT 60u

static void entries_make(struct raft_entry *entries)
{
    entries[0] = assign_entry(1);
    for (raft_index_t index = 2; index <= ENTRIES_COUNT; index++)
        entries[index - 1] = write_entry(index, index % 7 == 0);
}

static void entries_free(struct raft_entry *entries)
{
    for (size_t index = 0; index < ENTRIES_COUNT; index++)
        blob_unref(entries[index].payload);
}

/* All rows of the group as one run of bytes, without the generation. */
static struct blob *rows_of(struct replica *replica)
{
    void *snapshot;
    struct raft_snapshot_meta meta;
    struct buffer chunk = BUFFER_INIT;
    bool last = false;
    cr_assert_eq(kv_snapshot_open(replica->group, &meta, &snapshot), OST_OK);
    while (!last)
        cr_assert_eq(kv_snapshot_read(snapshot, &chunk, 100, &last), OST_OK);
    kv_snapshot_close(snapshot);
    /* Past the first row, the sender's own meta. */
    struct reader reader = reader_of(buffer_bytes(&chunk));
    uint64_t bytes_count;
    struct bytes skipped;
    cr_assert(reader_varint(&reader, &bytes_count) && bytes_count == 0);
    cr_assert(reader_varint(&reader, &bytes_count) && reader_bytes(&reader, bytes_count, &skipped));
    struct blob *rows = blob_copy(bytes_of(reader.data, reader.bytes_left));
    buffer_fini(&chunk);
    return rows;
}

static void transfer(struct replica *from, struct replica *to, bool is_cut_short)
{
    void *snapshot;
    void *restore;
    struct raft_snapshot_meta meta;
    bool last = false;
    cr_assert_eq(kv_snapshot_open(from->group, &meta, &snapshot), OST_OK);
    cr_assert_eq(kv_restore_open(to->group, &meta, &restore), OST_OK);
    while (!last) {
        struct buffer chunk = BUFFER_INIT;
        cr_assert_eq(kv_snapshot_read(snapshot, &chunk, 256, &last), OST_OK);
        cr_assert_eq(kv_restore_write(restore, buffer_bytes(&chunk)), OST_OK);
        buffer_fini(&chunk);
        if (is_cut_short)
            break;
    }
    kv_snapshot_close(snapshot);
    if (!is_cut_short)
        cr_assert_eq(kv_restore_finish(restore), OST_OK);
    kv_restore_close(to->group, restore, !is_cut_short);
}

Test(kv_snapshot, gives_equal_rows_and_chain)
{
    struct replica *from = replica_new(11);
    struct replica *to = replica_new(12);
    struct raft_entry entries[ENTRIES_COUNT];
    entries_make(entries);
    cr_assert_eq(kv_group_apply(from->group, entries, 50), 50);
    transfer(from, to, true); /* one that is given up leaves nothing that shows */
    cr_assert_eq(to->group->meta.applied_index, 0);
    cr_assert_eq(to->group->meta.generation, 1);
    transfer(from, to, false);
    cr_assert_eq(to->group->meta.applied_index, 50);
    cr_assert_eq(to->group->meta.chain_hash, from->group->meta.chain_hash);
    cr_assert_eq(to->group->meta.commit_timestamp_max, from->group->meta.commit_timestamp_max);
    cr_assert_eq(to->group->meta.generation, 3);
    cr_assert_eq(to->group->replica, 12);
    cr_assert_eq(to->group->flushed_index, 50);
    cr_assert_eq(to->group->ranges.count, 1);
    struct blob *rows_from = rows_of(from);
    struct blob *rows_to = rows_of(to);
    cr_assert(bytes_equal(blob_bytes(rows_from), blob_bytes(rows_to)));
    blob_unref(rows_from);
    blob_unref(rows_to);
    /* It is durable at once, and goes on from there. */
    store_memory_crash(to->shared.environment.store);
    cr_assert_eq(kv_group_load(to->group), OST_OK);
    cr_assert_eq(to->group->meta.applied_index, 50);
    cr_assert_eq(kv_group_apply(from->group, entries + 50, 10), 10);
    cr_assert_eq(kv_group_apply(to->group, entries + 50, 10), 10);
    cr_assert_eq(to->group->meta.chain_hash, from->group->meta.chain_hash);
    cr_assert_not_null(txn_records_find(to->group->records, (struct txn_id){7, 49}));
    entries_free(entries);
    replica_free(from);
    replica_free(to);
}

Test(kv_snapshot, chain_does_not_depend_on_slices)
{
    struct replica *whole = replica_new(11);
    struct replica *sliced = replica_new(11);
    struct raft_entry entries[ENTRIES_COUNT];
    entries_make(entries);
    cr_assert_eq(kv_group_apply(whole->group, entries, ENTRIES_COUNT), ENTRIES_COUNT);
    for (size_t at = 0; at < ENTRIES_COUNT; at += 3)
        cr_assert_eq(kv_group_apply(sliced->group, entries + at, 3), 3);
    cr_assert_eq(whole->group->meta.chain_hash, sliced->group->meta.chain_hash);
    struct blob *rows_whole = rows_of(whole);
    struct blob *rows_sliced = rows_of(sliced);
    cr_assert(bytes_equal(blob_bytes(rows_whole), blob_bytes(rows_sliced)));
    blob_unref(rows_whole);
    blob_unref(rows_sliced);
    entries_free(entries);
    replica_free(whole);
    replica_free(sliced);
}

/* Home decides what is prepared at `index`. */
static struct raft_entry commit_entry(raft_index_t index, raft_index_t prepared_index)
{
    char key[16];
    snprintf(key, sizeof(key), "key%lu", prepared_index);
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 7;
    txn.sequence = prepared_index;
    Ostraka__CommitCommand commit = OSTRAKA__COMMIT_COMMAND__INIT;
    commit.txn = &txn;
    commit.anchor = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    commit.commit_timestamp = timestamp_from_ms(1000 + index);
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_COMMIT;
    command.commit = &commit;
    return entry_of(index, &command, bytes_of(NULL, 0));
}

static uint64_t chain_of(const struct replica *replica)
{
    return replica->group->meta.chain_hash;
}

/* S7: the same entry, and one replica refuses what the others do. */
Test(kv_snapshot, chain_tells_of_another_decision)
{
    struct replica *replica = replica_new(11);
    struct replica *liar = replica_new(11);
    struct raft_entry entries[3] = {assign_entry(1), write_entry(2, false), write_entry(3, false)};
    cr_assert_eq(kv_group_apply(replica->group, entries, 2), 2);
    cr_assert_eq(kv_group_apply(liar->group, entries, 2), 2);
    cr_assert_eq(chain_of(replica), chain_of(liar));
    ((struct kv_range *)(uintptr_t)kv_ranges_first(&liar->group->ranges))->epoch++;
    cr_assert_eq(kv_group_apply(replica->group, entries + 2, 1), 1);
    cr_assert_eq(kv_group_apply(liar->group, entries + 2, 1), 1);
    cr_assert_neq(chain_of(replica), chain_of(liar));
    for (size_t index = 0; index < 3; index++)
        blob_unref(entries[index].payload);
    replica_free(replica);
    replica_free(liar);
}

/* The same decision, and one replica writes another byte. */
Test(kv_snapshot, chain_tells_of_another_write)
{
    struct replica *replica = replica_new(11);
    struct replica *liar = replica_new(11);
    struct raft_entry entries[3] = {assign_entry(1), write_entry(2, true), commit_entry(3, 2)};
    cr_assert_eq(kv_group_apply(replica->group, entries, 2), 2);
    cr_assert_eq(kv_group_apply(liar->group, entries, 2), 2);
    cr_assert_eq(chain_of(replica), chain_of(liar));
    const struct txn_open *open = txn_records_find(liar->group->records, (struct txn_id){7, 2});
    cr_assert_not_null(open);
    open->write_set->data[open->write_set->bytes_count - 1] ^= 1;
    cr_assert_eq(kv_group_apply(replica->group, entries + 2, 1), 1);
    cr_assert_eq(kv_group_apply(liar->group, entries + 2, 1), 1);
    cr_assert_null(txn_records_find(replica->group->records, (struct txn_id){7, 2}));
    cr_assert_neq(chain_of(replica), chain_of(liar));
    for (size_t index = 0; index < 3; index++)
        blob_unref(entries[index].payload);
    replica_free(replica);
    replica_free(liar);
}

/* A range that one replica takes and another has already. */
Test(kv_snapshot, chain_tells_of_another_range)
{
    struct replica *replica = replica_new(11);
    struct replica *liar = replica_new(11);
    struct raft_entry entry = assign_entry(1);
    kv_ranges_add(&liar->group->ranges, bytes_of_string("k"), bytes_of_string("l"), 1,
                  KV_RANGE_OWNED);
    cr_assert_eq(kv_group_apply(replica->group, &entry, 1), 1);
    cr_assert_eq(kv_group_apply(liar->group, &entry, 1), 1);
    cr_assert_neq(chain_of(replica), chain_of(liar));
    blob_unref(entry.payload);
    replica_free(replica);
    replica_free(liar);
}

Test(kv_snapshot, stalled_slice_is_kept)
{
    struct replica *replica = replica_new(11);
    struct replica *other = replica_new(11);
    struct raft_entry entries[ENTRIES_COUNT];
    entries_make(entries);
    store_memory_hinder(replica->shared.environment.store, true, false);
    for (size_t count = 10; count <= 30; count += 10)
        cr_assert_eq(kv_group_apply(replica->group, entries, count), 0);
    cr_assert_eq(replica->group->meta.applied_index, 0);
    store_memory_hinder(replica->shared.environment.store, false, false);
    cr_assert_eq(kv_group_apply(replica->group, entries, ENTRIES_COUNT), ENTRIES_COUNT);
    cr_assert_eq(kv_group_apply(other->group, entries, ENTRIES_COUNT), ENTRIES_COUNT);
    cr_assert_eq(replica->group->meta.chain_hash, other->group->meta.chain_hash);
    struct blob *rows = rows_of(replica);
    struct blob *rows_other = rows_of(other);
    cr_assert(bytes_equal(blob_bytes(rows), blob_bytes(rows_other)));
    blob_unref(rows);
    blob_unref(rows_other);
    entries_free(entries);
    replica_free(replica);
    replica_free(other);
}

/* The same id twice in one slice: the second must see the outcome that is not in the store yet. */
Test(kv_snapshot, outcome_shows_within_its_slice)
{
    struct replica *replica = replica_new(11);
    struct raft_entry entries[3] = {assign_entry(1), write_entry(2, false), write_entry(2, false)};
    entries[2].index = 3;
    cr_assert_eq(kv_group_apply(replica->group, entries, 3), 3);
    struct buffer key = BUFFER_INIT;
    struct buffer value = BUFFER_INIT;
    struct store *store = replica->shared.environment.store;
    size_t versions = 0;
    kv_key_kind(&key, 1, 1, KV_ROW_DATA);
    kv_key_kind(&value, 1, 1, KV_ROW_DATA + 1);
    struct store_iterator *iterator =
        store_iterator_new(store, NULL, buffer_bytes(&key), buffer_bytes(&value), STORE_MAY_BLOCK);
    for (store_iterator_first(iterator); store_iterator_valid(iterator);
         store_iterator_next(iterator))
        versions++;
    store_iterator_free(iterator);
    cr_assert_eq(versions, 1);
    buffer_fini(&key);
    buffer_fini(&value);
    for (size_t index = 0; index < 3; index++)
        blob_unref(entries[index].payload);
    replica_free(replica);
}
