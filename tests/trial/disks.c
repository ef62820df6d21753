#include "tests/trial/disks.h"

#include "client/ostraka.h"
#include "cmd/cluster.h"
#include "proto/command.pb-c.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"
#include "shardkv/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct disk {
    const struct ost_cluster_info *info;
    uint64_t store_id;
    struct store *store;
    struct disks_counts *counts;
    char *why;
};

static struct bytes bytes_of_key(struct ost_bytes key)
{
    return bytes_of(key.data, key.bytes_count);
}

static bool has_replica(const struct disk *disk, const struct ost_group_info *group)
{
    for (uint32_t r = 0; r < group->replicas_count; r++)
        if (group->replicas[r].store == disk->store_id)
            return true;
    return false;
}

/* --- Ranges --- */

/* Is the row that of a range which the map gives to the group? */
static bool range_is_wanted(const struct disk *disk, uint64_t group, struct bytes start,
                            const Ostraka__RangeRow *row)
{
    for (size_t r = 0; r < disk->info->ranges_count; r++) {
        const struct ost_range_info *range = &disk->info->ranges[r];
        if (range->group == group && bytes_equal(bytes_of_key(range->start), start))
            return bytes_equal(bytes_of_key(range->end), bytes_of(row->end.data, row->end.len)) &&
                   range->epoch == row->epoch && row->state == OSTRAKA__RANGE_STATE__RANGE_OWNED;
    }
    return false;
}

static int range_check(struct disk *disk, const struct kv_row_key *parts, struct bytes value)
{
    char text[KEY_TEXT_BYTES];
    disk->counts->ranges_count++;
    Ostraka__RangeRow *row = ostraka__range_row__unpack(NULL, value.bytes_count, value.data);
    bool is_wanted = row && range_is_wanted(disk, parts->group, parts->rest, row);
    if (!is_wanted)
        snprintf(disk->why, CLUSTER_WHY_BYTES,
                 "store %" PRIu64 " has of group %" PRIu64
                 " a range at '%s', state %d, epoch %" PRIu64 ", which is not as in the map",
                 disk->store_id, parts->group, key_print(parts->rest, text, sizeof text),
                 row ? (int)row->state : -1, row ? row->epoch : 0);
    if (row)
        ostraka__range_row__free_unpacked(row, NULL);
    return is_wanted ? OST_OK : OST_CORRUPT;
}

static uint64_t ranges_wanted_count(const struct disk *disk, uint64_t group)
{
    uint64_t count = 0;
    for (size_t r = 0; r < disk->info->ranges_count; r++)
        count += disk->info->ranges[r].group == group;
    return count;
}

/* --- Versions --- */

static int version_check(struct disk *disk, const struct kv_row_key *parts, struct bytes row_key,
                         struct buffer *user_key)
{
    timestamp_t timestamp;
    char text[KEY_TEXT_BYTES];
    disk->counts->versions_count++;
    bool is_sound = kv_key_parse_data(row_key, user_key, &timestamp);
    struct bytes key = buffer_bytes(user_key);
    for (size_t r = 0; is_sound && r < disk->info->ranges_count; r++) {
        const struct ost_range_info *range = &disk->info->ranges[r];
        if (range->group == parts->group &&
            key_in_range(key, bytes_of_key(range->start), bytes_of_key(range->end)))
            return OST_OK;
    }
    snprintf(disk->why, CLUSTER_WHY_BYTES,
             "store %" PRIu64 " still has a version of %s in group %" PRIu64
             ", which has no such range",
             disk->store_id, key_print(key, text, sizeof text), parts->group);
    return OST_CORRUPT;
}

/* --- Groups --- */

/* The generation in use: what a snapshot has replaced may stay until the next start (S2). False: no
 * replica of the group is here. */
static bool generation_find(const struct disk *disk, uint64_t group, uint32_t *out_generation)
{
    struct buffer key, row;
    struct kv_meta meta = {0};
    replica_id_t replica;
    buffer_init(&key);
    buffer_init(&row);
    kv_key_group_meta(&key, group);
    bool is_found = store_get(disk->store, buffer_bytes(&key), STORE_MAY_BLOCK, &row) == OST_OK &&
                    kv_meta_unpack(buffer_bytes(&row), &meta, &replica) == OST_OK;
    if (is_found) {
        *out_generation = meta.generation;
        kv_meta_fini(&meta);
    }
    buffer_fini(&key);
    buffer_fini(&row);
    return is_found;
}

static int rows_check(struct disk *disk, struct store_iterator *iterator)
{
    struct buffer user_key;
    int status = OST_OK;
    buffer_init(&user_key);
    for (store_iterator_first(iterator); status == OST_OK && store_iterator_valid(iterator);
         store_iterator_next(iterator)) {
        struct kv_row_key parts;
        struct bytes key = store_iterator_key(iterator);
        if (!kv_key_parse(key, &parts))
            continue;
        if (parts.kind == KV_ROW_RANGE)
            status = range_check(disk, &parts, store_iterator_value(iterator));
        else if (parts.kind == KV_ROW_DATA)
            status = version_check(disk, &parts, key, &user_key);
    }
    buffer_fini(&user_key);
    return status;
}

static int group_check(struct disk *disk, const struct ost_group_info *group)
{
    uint32_t generation = 0;
    uint64_t ranges_count_before = disk->counts->ranges_count;
    uint64_t wanted_count = has_replica(disk, group) ? ranges_wanted_count(disk, group->group) : 0;
    bool is_here = generation_find(disk, group->group, &generation);
    struct buffer lower, upper;
    buffer_init(&lower);
    buffer_init(&upper);
    kv_key_generation(&lower, group->group, is_here ? generation : 0);
    kv_key_generation(&upper, group->group, is_here ? generation + 1 : UINT32_MAX);
    struct store_iterator *iterator = store_iterator_new(disk->store, NULL, buffer_bytes(&lower),
                                                         buffer_bytes(&upper), STORE_MAY_BLOCK);
    int status = rows_check(disk, iterator);
    store_iterator_free(iterator);
    buffer_fini(&lower);
    buffer_fini(&upper);
    uint64_t ranges_count = disk->counts->ranges_count - ranges_count_before;
    if (status == OST_OK && ranges_count != wanted_count) {
        snprintf(disk->why, CLUSTER_WHY_BYTES,
                 "store %" PRIu64 " has %" PRIu64 " ranges of group %" PRIu64
                 ", and should have %" PRIu64,
                 disk->store_id, ranges_count, group->group, wanted_count);
        status = OST_CORRUPT;
    }
    return status;
}

int disks_check(const struct ost_cluster_info *info, uint64_t store, const char *data_path,
                struct disks_counts *counts, char *out_why)
{
    struct disk disk = {.info = info, .store_id = store, .counts = counts, .why = out_why};
    char directory[CLUSTER_WHY_BYTES], why[256] = "";
    struct store_options options;
    store_options_default(&options);
    snprintf(directory, sizeof directory, "%s/store", data_path);
    int status = store_open_rocksdb(directory, &options, &disk.store, why);
    if (status != OST_OK) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "cannot open %s: %s", directory, why);
        return status;
    }
    for (size_t g = 0; status == OST_OK && g < info->groups_count; g++)
        status = group_check(&disk, &info->groups[g]);
    store_close(disk.store);
    counts->stores_count++;
    return status;
}
