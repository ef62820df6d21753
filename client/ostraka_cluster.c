/* ostraka_cluster.c: the map and the stores' status, for tools. */
#include "client/ostraka_internal.h"

#include "base/arena.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

static void copy_group_id(struct operation *operation, void *context)
{
    *(uint64_t *)context = operation->result_group;
}

OST_API int ost_group_of_key(struct ost_client *client, struct ost_bytes key, uint64_t *out_group)
{
    *out_group = 0;
    int status = api_key_check(key);
    if (status != OST_OK)
        return status;
    return api_call(client, operation_new(OPERATION_ROUTE, bytes_of_ost(key), bytes_of(NULL, 0)),
                    copy_group_id, out_group);
}

/* What an info points to lives in an arena of its own. */
static struct arena *memory_new(void)
{
    struct arena *arena = memory_alloc(sizeof(*arena));
    arena_init(arena);
    return arena;
}

static void memory_free(void *memory)
{
    if (!memory)
        return;
    arena_fini(memory);
    free(memory);
}

static struct ost_bytes copy_binary(struct arena *arena, ProtobufCBinaryData data)
{
    return ost_of_bytes(arena_copy(arena, bytes_of(data.data, data.len)));
}

static const char *copy_text(struct arena *arena, const char *text)
{
    return arena_printf(arena, "%s", text ? text : "");
}

/* enum master_replica_role, which is on the wire as a number. */
static const char *replica_role_name(uint32_t role)
{
    static const char *const NAMES[] = {"voter", "joining", "leaving"};
    return role < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[role] : "unknown";
}

static void copy_group(struct arena *arena, const Ostraka__GroupInfo *from,
                       struct ost_group_info *out)
{
    struct ost_replica_info *replicas = arena_alloc(arena, from->n_replicas * sizeof(*replicas));
    *out = (struct ost_group_info){.group = from->id,
                                   .epoch = from->epoch,
                                   .leader_store = from->leader_store,
                                   .replicas = replicas,
                                   .replicas_count = (uint32_t)from->n_replicas};
    for (size_t place = 0; place < from->n_replicas; place++) {
        const Ostraka__ReplicaInfo *replica = from->replicas[place];
        out->changing = out->changing || replica->role != 0;
        replicas[place] = (struct ost_replica_info){.replica = replica->replica,
                                                    .store = replica->store,
                                                    .role = replica_role_name(replica->role),
                                                    .lost = replica->lost};
    }
}

static void copy_groups(struct arena *arena, const Ostraka__Map *map, struct ost_cluster_info *info)
{
    struct ost_group_info *groups = arena_alloc_zeroed(arena, map->n_groups * sizeof(*groups));
    for (size_t index = 0; index < map->n_groups; index++)
        copy_group(arena, map->groups[index], &groups[index]);
    if (map->master)
        copy_group(arena, map->master, &info->master);
    info->groups = groups;
    info->groups_count = map->n_groups;
}

static void copy_map(struct operation *operation, void *context)
{
    struct ost_cluster_info *info = context;
    const Ostraka__Map *map = operation->result_map;
    if (operation->status != OST_OK)
        return;
    struct arena *arena = memory_new();
    struct ost_store_info *stores = arena_alloc(arena, map->n_stores * sizeof(*stores));
    for (size_t index = 0; index < map->n_stores; index++)
        stores[index] =
            (struct ost_store_info){.store = map->stores[index]->id,
                                    .address = copy_text(arena, map->stores[index]->address)};
    struct ost_range_info *ranges = arena_alloc(arena, map->n_ranges * sizeof(*ranges));
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *from = map->ranges[index];
        ranges[index] = (struct ost_range_info){.start = copy_binary(arena, from->start),
                                                .end = copy_binary(arena, from->end),
                                                .group = from->group,
                                                .epoch = from->epoch};
    }
    *info = (struct ost_cluster_info){
        .cluster_id = map->cluster_id,
        .map_epoch = map->epoch,
        .stores = stores,
        .stores_count = map->n_stores,
        .ranges = ranges,
        .ranges_count = map->n_ranges,
        .memory = arena,
    };
    copy_groups(arena, map, info);
}

OST_API int ost_cluster_info(struct ost_client *client, struct ost_cluster_info *out_info)
{
    *out_info = (struct ost_cluster_info){0};
    return api_call(client, operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)),
                    copy_map, out_info);
}

OST_API void ost_cluster_info_free(struct ost_cluster_info *info)
{
    memory_free(info->memory);
    *info = (struct ost_cluster_info){0};
}

/* enum raft_role, which is on the wire as a number. */
static const char *role_name(uint32_t role)
{
    static const char *const NAMES[] = {"follower", "pre_candidate", "candidate", "leader"};
    return role < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[role] : "unknown";
}

static void copy_status(struct operation *operation, void *context)
{
    struct ost_store_status *status = context;
    const Ostraka__StatusAnswer *answer = operation->result_status;
    if (operation->status != OST_OK)
        return;
    struct arena *arena = memory_new();
    struct ost_group_status *groups = arena_alloc_zeroed(arena, answer->n_groups * sizeof(*groups));
    for (size_t index = 0; index < answer->n_groups; index++) {
        const Ostraka__GroupStatus *from = answer->groups[index];
        groups[index] = (struct ost_group_status){
            .group = from->group,
            .replica = from->replica,
            .term = from->term,
            .leader_store = from->leader_store,
            .commit_index = from->commit_index,
            .applied_index = from->applied_index,
            .last_index = from->last_index,
            .first_index = from->first_index,
            .flushed_index = from->flushed_index,
            .safe_point = from->safe_point,
            .chain_hash = from->chain_hash,
            .role = role_name(from->role),
            .ready = from->ready,
        };
        if (from->locks) {
            groups[index].keys_locked_count = from->locks->keys_locked_count;
            groups[index].lock_waiters_count = from->locks->waiters_count;
            groups[index].txns_count = from->locks->txns_count;
            groups[index].prepared_count = from->locks->prepared_count;
        }
    }
    struct ost_metric *metrics = arena_alloc(arena, answer->n_metrics * sizeof(*metrics));
    for (size_t index = 0; index < answer->n_metrics; index++)
        metrics[index] = (struct ost_metric){.name = copy_text(arena, answer->metrics[index]->name),
                                             .value = answer->metrics[index]->value};
    *status = (struct ost_store_status){
        .store = answer->store,
        .uptime_ms = answer->uptime_ms,
        .address = copy_text(arena, answer->address),
        .version = copy_text(arena, answer->version),
        .groups = groups,
        .groups_count = answer->n_groups,
        .metrics = metrics,
        .metrics_count = answer->n_metrics,
        .memory = arena,
    };
}

OST_API int ost_store_status(struct ost_client *client, uint64_t store,
                             struct ost_store_status *out_status)
{
    *out_status = (struct ost_store_status){0};
    if (store == 0)
        return OST_INVALID_ARGUMENT;
    struct operation *operation =
        operation_new(OPERATION_STATUS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->store = store;
    return api_call(client, operation, copy_status, out_status);
}

static void copy_change_why(struct operation *operation, void *context)
{
    const Ostraka__ChangeReplicasAnswer *answer = operation->result_change;
    if (context)
        snprintf(context, 256, "%s", answer && answer->text ? answer->text : "");
}

OST_API int ost_change_replicas(struct ost_client *client, uint64_t group, uint64_t epoch,
                                uint64_t add_store, uint64_t remove_store, char *out_why)
{
    struct operation *operation =
        operation_new(OPERATION_CHANGE_REPLICAS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->group = group;
    operation->group_epoch = epoch;
    operation->add_store = add_store;
    operation->remove_store = remove_store;
    return api_call(client, operation, copy_change_why, out_why);
}

OST_API void ost_store_status_free(struct ost_store_status *status)
{
    memory_free(status->memory);
    *status = (struct ost_store_status){0};
}
