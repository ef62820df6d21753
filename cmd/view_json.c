/* view_json.c: a picture for scripts. Numbers of 64 bits that may not fit a double are text where
 * they name something, and digits otherwise. */
#include "cmd/view.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static cJSON *json_number(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return cJSON_CreateRaw(text);
}

static void add_number(cJSON *object, const char *name, uint64_t value)
{
    cJSON_AddItemToObject(object, name, json_number(value));
}

static void add_hex(cJSON *object, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    cJSON_AddStringToObject(object, name, text);
}

static void add_key(cJSON *object, const char *name, struct ost_bytes key)
{
    char *text = text_escape(key);
    cJSON_AddStringToObject(object, name, text);
    free(text);
}

/* JSON is UTF-8, and the network may send anything. */
static void add_text(cJSON *object, const char *name, const char *text)
{
    add_key(object, name, ost_string(text));
}

static char *json_end(cJSON *json_take)
{
    char *printed = cJSON_Print(json_take);
    cJSON_Delete(json_take);
    return printed;
}

static cJSON *json_replica_status(const struct ost_group_status *group)
{
    cJSON *item = cJSON_CreateObject();
    add_number(item, "group", group->group);
    add_number(item, "replica", group->replica);
    cJSON_AddStringToObject(item, "role", group->role);
    cJSON_AddBoolToObject(item, "ready", group->ready);
    add_number(item, "term", group->term);
    add_number(item, "leader_store", group->leader_store);
    add_number(item, "commit_index", group->commit_index);
    add_number(item, "applied_index", group->applied_index);
    add_number(item, "flushed_index", group->flushed_index);
    /* 0: not kept by this group. */
    add_hex(item, "chain_hash", group->chain_hash);
    add_number(item, "first_index", group->first_index);
    add_number(item, "last_index", group->last_index);
    add_number(item, "safe_point", group->safe_point);
    add_number(item, "keys_locked", group->keys_locked_count);
    add_number(item, "lock_waiters", group->lock_waiters_count);
    add_number(item, "prepared", group->prepared_count);
    return item;
}

static cJSON *json_store(const struct picture *picture, size_t i)
{
    const struct ost_store_status *store = &picture->stores[i];
    const struct ost_store_info *info = &picture->info.stores[i];
    cJSON *object = cJSON_CreateObject();
    add_number(object, "store", info->store);
    add_text(object, "address", info->address);
    add_text(object, "host", info->host);
    cJSON_AddStringToObject(object, "state", picture_store_state(picture, i));
    cJSON_AddBoolToObject(object, "up", picture->results[i] == OST_OK);
    add_number(object, "replicas", cluster_store_replicas_count(&picture->info, info->store));
    if (picture->results[i] != OST_OK)
        return object;
    add_number(object, "uptime_ms", store->uptime_ms);
    add_text(object, "version", store->version);
    cJSON *groups = cJSON_AddArrayToObject(object, "groups");
    for (size_t g = 0; g < store->groups_count; g++)
        cJSON_AddItemToArray(groups, json_replica_status(&store->groups[g]));
    cJSON *metrics = cJSON_AddObjectToObject(object, "metrics");
    for (size_t m = 0; m < store->metrics_count; m++)
        add_number(metrics, store->metrics[m].name, store->metrics[m].value);
    return object;
}

static cJSON *json_group(const struct group_facts *facts)
{
    const struct ost_group_info *group = facts->info;
    cJSON *object = cJSON_CreateObject();
    add_number(object, "group", group->group);
    add_number(object, "epoch", group->epoch);
    add_number(object, "leader_store", facts->leader_store);
    cJSON_AddBoolToObject(object, "changing", group->changing);
    add_number(object, "ranges", facts->ranges_count);
    cJSON *replicas = cJSON_AddArrayToObject(object, "replicas");
    for (uint32_t r = 0; r < group->replicas_count; r++) {
        cJSON *item = cJSON_CreateObject();
        add_number(item, "replica", group->replicas[r].replica);
        add_number(item, "store", group->replicas[r].store);
        cJSON_AddStringToObject(item, "role", group->replicas[r].role);
        cJSON_AddBoolToObject(item, "lost", group->replicas[r].lost);
        cJSON_AddItemToArray(replicas, item);
    }
    return object;
}

static cJSON *json_range(const struct ost_range_info *range)
{
    cJSON *object = cJSON_CreateObject();
    add_key(object, "start", range->start);
    add_key(object, "end", range->end);
    add_number(object, "group", range->group);
    add_number(object, "epoch", range->epoch);
    if (range->change.change == 0)
        return object;
    cJSON *change = cJSON_AddObjectToObject(object, "change");
    add_number(change, "change", range->change.change);
    cJSON_AddStringToObject(change, "kind", range->change.kind);
    if (range->change.to_group) {
        add_number(change, "from_group", range->change.from_group);
        add_number(change, "to_group", range->change.to_group);
    }
    if (range->change.at.bytes_count)
        add_key(change, "at", range->change.at);
    return object;
}

static cJSON *json_stores(const struct picture *picture)
{
    cJSON *stores = cJSON_CreateArray();
    for (size_t i = 0; i < picture->info.stores_count; i++)
        cJSON_AddItemToArray(stores, json_store(picture, i));
    return stores;
}

static cJSON *json_groups(const struct picture *picture)
{
    cJSON *groups = cJSON_CreateArray();
    for (size_t place = 0; place < picture_groups_count(picture); place++)
        cJSON_AddItemToArray(groups, json_group(&picture->facts[place]));
    return groups;
}

static cJSON *json_ranges(const struct picture *picture, const struct ranges_wanted *wanted)
{
    cJSON *ranges = cJSON_CreateArray();
    size_t count = 0;
    for (size_t r = 0; r < picture->info.ranges_count; r++) {
        const struct ost_range_info *range = &picture->info.ranges[r];
        if (!range_holds_prefix(range, wanted->prefix))
            continue;
        if (wanted->ranges_count_max && count == wanted->ranges_count_max)
            break;
        count++;
        cJSON_AddItemToArray(ranges, json_range(range));
    }
    return ranges;
}

static cJSON *json_progress_item(const struct ost_progress_item *item)
{
    cJSON *object = cJSON_CreateObject();
    add_text(object, "what", item->what);
    if (item->change) {
        add_number(object, "change", item->change);
        add_key(object, "start", item->start);
    }
    add_number(object, "group", item->group);
    if (item->to_group)
        add_number(object, "to_group", item->to_group);
    if (item->store)
        add_number(object, "store", item->store);
    add_number(object, "done", item->done_count);
    add_number(object, "whole", item->whole_count);
    add_number(object, "age_ms", item->age_ms);
    add_text(object, "waits_for", item->waits_for);
    add_text(object, "why", item->why);
    return object;
}

char *status_json(const struct picture *picture)
{
    struct health health;
    health_find(picture, &health);
    cJSON *object = cJSON_CreateObject();
    add_hex(object, "cluster", picture->info.cluster_id);
    add_number(object, "map_epoch", picture->info.map_epoch);
    cJSON_AddStringToObject(object, "health", health_level_name(health.level));
    cJSON *problems = cJSON_AddArrayToObject(object, "problems");
    for (size_t i = 0; i < health.problems_count; i++)
        cJSON_AddItemToArray(problems, cJSON_CreateString(health.problems[i]));
    health_fini(&health);
    cJSON_AddItemToObject(object, "stores", json_stores(picture));
    cJSON_AddItemToObject(object, "groups", json_groups(picture));
    const struct ranges_wanted all = {0};
    cJSON_AddItemToObject(object, "ranges", json_ranges(picture, &all));
    cJSON *under_way = cJSON_AddArrayToObject(object, "under_way");
    for (size_t i = 0; i < picture->progress.items_count; i++)
        cJSON_AddItemToArray(under_way, json_progress_item(&picture->progress.items[i]));
    return json_end(object);
}

char *stores_json(const struct picture *picture)
{
    return json_end(json_stores(picture));
}

char *groups_json(const struct picture *picture)
{
    return json_end(json_groups(picture));
}

char *ranges_json(const struct picture *picture, const struct ranges_wanted *wanted)
{
    return json_end(json_ranges(picture, wanted));
}
