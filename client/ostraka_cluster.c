/* ostraka_cluster.c: the map and the stores' status, for tools; and which stores hold a group. */
#include "client/ostraka_internal.h"

#include "base/arena.h"
#include "base/memory.h"

#include <pthread.h>
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

/* enum master_store_state, which is on the wire as a number. */
static const char *store_state_name(uint32_t state)
{
    static const char *const NAMES[] = {"unknown", "up", "draining", "dead"};
    return state < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[state] : "unknown";
}

static const char *change_kind_name(Ostraka__RangeChangeKind kind)
{
    static const char *const NAMES[] = {"", "split", "merge", "move"};
    return (unsigned)kind < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[kind] : "unknown";
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

static void copy_stores(struct arena *arena, const Ostraka__Map *map, struct ost_cluster_info *info)
{
    struct ost_store_info *stores = arena_alloc(arena, map->n_stores * sizeof(*stores));
    for (size_t index = 0; index < map->n_stores; index++) {
        const Ostraka__StoreInfo *from = map->stores[index];
        stores[index] = (struct ost_store_info){.store = from->id,
                                                .address = copy_text(arena, from->address),
                                                .state = store_state_name(from->state),
                                                .host = copy_text(arena, from->host)};
    }
    info->stores = stores;
    info->stores_count = map->n_stores;
}

static void copy_ranges(struct arena *arena, const Ostraka__Map *map, struct ost_cluster_info *info)
{
    struct ost_range_info *ranges = arena_alloc(arena, map->n_ranges * sizeof(*ranges));
    for (size_t index = 0; index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *from = map->ranges[index];
        ranges[index] = (struct ost_range_info){.start = copy_binary(arena, from->start),
                                                .end = copy_binary(arena, from->end),
                                                .group = from->group,
                                                .epoch = from->epoch,
                                                .change = {.kind = ""}};
        const Ostraka__RangeChange *change = from->change;
        if (change && change->id)
            ranges[index].change = (struct ost_range_change){.change = change->id,
                                                             .kind = change_kind_name(change->kind),
                                                             .from_group = change->from_group,
                                                             .to_group = change->to_group,
                                                             .at = copy_binary(arena, change->at)};
    }
    info->ranges = ranges;
    info->ranges_count = map->n_ranges;
}

static void copy_map(struct operation *operation, void *context)
{
    struct ost_cluster_info *info = context;
    const Ostraka__Map *map = operation->result_map;
    if (operation->status != OST_OK)
        return;
    struct arena *arena = memory_new();
    *info = (struct ost_cluster_info){
        .cluster_id = map->cluster_id,
        .map_epoch = map->epoch,
        .next_change = map->next_change,
        .memory = arena,
    };
    copy_stores(arena, map, info);
    copy_groups(arena, map, info);
    copy_ranges(arena, map, info);
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

OST_API int ost_change_replicas(struct ost_client *client, uint64_t group, uint64_t epoch,
                                uint64_t add_store, uint64_t remove_store, char *out_why)
{
    struct operation *operation =
        operation_new(OPERATION_CHANGE_REPLICAS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->group = group;
    operation->group_epoch = epoch;
    operation->add_store = add_store;
    operation->remove_store = remove_store;
    return api_call(client, operation, api_copy_why, out_why);
}

OST_API void ost_store_status_free(struct ost_store_status *status)
{
    memory_free(status->memory);
    *status = (struct ost_store_status){0};
}

/* --- Many stores at once --- */

struct many {
    pthread_mutex_t mutex;
    pthread_cond_t all_done;
    size_t left_count;
};

struct one_of_many {
    struct many *many;
    struct ost_store_status *out_status;
    int *out_result;
};

static void one_ended(struct many *many)
{
    pthread_mutex_lock(&many->mutex);
    if (--many->left_count == 0)
        pthread_cond_signal(&many->all_done);
    pthread_mutex_unlock(&many->mutex);
}

static void one_done(struct operation *operation)
{
    struct one_of_many *one = operation->done_context[0];
    copy_status(operation, one->out_status);
    *one->out_result = operation->status;
    operation_free(operation);
    one_ended(one->many);
}

static void one_begin(struct ost_client *client, uint64_t store, uint32_t timeout_ms,
                      struct one_of_many *one)
{
    *one->out_status = (struct ost_store_status){0};
    struct operation *operation =
        operation_new(OPERATION_STATUS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->store = store;
    operation->timeout_ms = timeout_ms;
    operation->done = one_done;
    operation->done_context[0] = one;
    int status = store ? runtime_submit(client, operation) : OST_INVALID_ARGUMENT;
    if (status == OST_OK)
        return;
    if (store == 0)
        operation_free(operation);
    *one->out_result = status;
    one_ended(one->many);
}

OST_API int ost_store_statuses(struct ost_client *client, const uint64_t *stores,
                               size_t stores_count, uint32_t timeout_ms,
                               struct ost_store_status *out_statuses, int *out_results)
{
    if (runtime_is_own_thread(client))
        return api_failed(OST_INVALID_ARGUMENT, "a call that waits was made from a callback");
    struct many many = {.left_count = stores_count};
    pthread_mutex_init(&many.mutex, NULL);
    pthread_cond_init(&many.all_done, NULL);
    struct one_of_many *list = memory_alloc_zeroed(stores_count + 1, sizeof(*list));
    for (size_t index = 0; index < stores_count; index++) {
        list[index] = (struct one_of_many){&many, &out_statuses[index], &out_results[index]};
        one_begin(client, stores[index], timeout_ms, &list[index]);
    }
    pthread_mutex_lock(&many.mutex);
    while (many.left_count > 0)
        pthread_cond_wait(&many.all_done, &many.mutex);
    pthread_mutex_unlock(&many.mutex);
    pthread_mutex_destroy(&many.mutex);
    pthread_cond_destroy(&many.all_done);
    free(list);
    return OST_OK;
}
