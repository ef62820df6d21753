/* ostraka_admin.c: changes of ranges and stores, and how far they are. */
#include "client/ostraka_internal.h"

#include "base/arena.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES 256

void api_copy_why(struct operation *operation, void *context)
{
    if (context)
        snprintf(context, WHY_BYTES, "%s", operation->why ? operation->why : "");
}

/* --- Ranges --------------------------------------------------------------------------------------
 */

struct wish {
    Ostraka__RangeChangeKind kind;
    struct bytes key; /* SPLIT: where; else in the range */
    uint64_t to_group;
};

struct told {
    uint64_t change;
    uint64_t epoch;  /* that was named */
    struct blob *at; /* MERGE: where the right one began, as was named; may be NULL */
    char *why;
};

static void copy_told(struct operation *operation, void *context)
{
    struct told *told = context;
    told->epoch = operation->result_epoch;
    blob_unref(told->at);
    told->at = blob_copy(blob_bytes(operation->named_at));
    if (operation->status == OST_OK)
        told->change = operation->result_range_change->change;
    api_copy_why(operation, told->why);
}

static int ask(struct ost_client *client, const struct wish *wish, struct told *told)
{
    struct operation *operation =
        operation_new(OPERATION_CHANGE_RANGE, wish->key, bytes_of(NULL, 0));
    operation->range_change = wish->kind;
    operation->group = wish->to_group;
    return api_call(client, operation, copy_told, told);
}

/* The range that the wish is about, as the newest map has it. */
struct range_now {
    const struct wish *wish;
    struct bytes at; /* that was named */
    uint64_t epoch;
    bool is_as_wished;
};

static void look_up(struct operation *operation, void *context)
{
    struct range_now *now = context;
    const Ostraka__Map *map = operation->result_map;
    for (size_t index = 0; operation->status == OST_OK && index < map->n_ranges; index++) {
        const Ostraka__RangeInfo *range = map->ranges[index];
        struct bytes start = bytes_of(range->start.data, range->start.len);
        struct bytes end = bytes_of(range->end.data, range->end.len);
        if (!key_in_range(now->wish->key, start, end))
            continue;
        now->epoch = range->epoch;
        if (now->wish->kind == OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE)
            now->is_as_wished = bytes_equal(start, now->wish->key);
        else if (now->wish->kind == OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE)
            now->is_as_wished = range->group == now->wish->to_group && !range->change;
        else
            now->is_as_wished = now->at.bytes_count > 0 && key_in_range(now->at, start, end);
    }
}

/* What an old map has led to a refusal of is asked once more by the newest one. It may also have
 * been this very call that changed the range, by a try of which the answer was lost. */
static int change_range(struct ost_client *client, const struct wish *wish, uint64_t *out_change,
                        char *out_why)
{
    struct told told = {.why = out_why};
    *out_change = 0;
    if (out_why)
        out_why[0] = '\0';
    int status = ask(client, wish, &told);
    if (status == OST_CONFLICT || status == OST_NOT_FOUND) {
        struct range_now now = {.wish = wish, .at = blob_bytes(told.at), .epoch = told.epoch};
        int looked =
            api_call(client, operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)),
                     look_up, &now);
        if (looked == OST_OK && now.epoch != told.epoch)
            status = now.is_as_wished ? OST_EXISTS : ask(client, wish, &told);
        else
            api_failed(status, out_why);
    }
    *out_change = told.change;
    blob_unref(told.at);
    return status;
}

OST_API int ost_split_range(struct ost_client *client, struct ost_bytes at, uint64_t *out_change,
                            char *out_why)
{
    *out_change = 0;
    int status = api_key_check(at);
    if (status != OST_OK)
        return status;
    struct wish wish = {.kind = OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE, .key = bytes_of_ost(at)};
    return change_range(client, &wish, out_change, out_why);
}

OST_API int ost_merge_ranges(struct ost_client *client, struct ost_bytes key, uint64_t *out_change,
                             char *out_why)
{
    *out_change = 0;
    int status = api_interval_check(key, ost_bytes(NULL, 0));
    if (status != OST_OK)
        return status;
    struct wish wish = {.kind = OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES, .key = bytes_of_ost(key)};
    return change_range(client, &wish, out_change, out_why);
}

OST_API int ost_move_range(struct ost_client *client, struct ost_bytes key, uint64_t to_group,
                           uint64_t *out_change, char *out_why)
{
    *out_change = 0;
    int status = api_interval_check(key, ost_bytes(NULL, 0));
    if (status != OST_OK)
        return status;
    if (to_group == SHARD_MASTER_GROUP)
        return api_failed(OST_INVALID_ARGUMENT, "group 0 is the shard master: it has no ranges");
    struct wish wish = {.kind = OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE,
                        .key = bytes_of_ost(key),
                        .to_group = to_group};
    return change_range(client, &wish, out_change, out_why);
}

OST_API int ost_cancel_change(struct ost_client *client, uint64_t change, char *out_why)
{
    if (change == 0)
        return api_failed(OST_INVALID_ARGUMENT, "change 0 is none");
    struct operation *operation =
        operation_new(OPERATION_CHANGE_RANGE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->cancel = change;
    return api_call(client, operation, api_copy_why, out_why);
}

/* --- Stores --------------------------------------------------------------------------------------
 */

static int change_store(struct ost_client *client, Ostraka__StoreChangeKind kind, uint64_t store,
                        char *out_why)
{
    if (out_why)
        out_why[0] = '\0';
    if (store == 0)
        return api_failed(OST_INVALID_ARGUMENT, "store 0 is none");
    struct operation *operation =
        operation_new(OPERATION_CHANGE_STORE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->store_change = kind;
    operation->changed_store = store;
    return api_call(client, operation, api_copy_why, out_why);
}

OST_API int ost_drain_store(struct ost_client *client, uint64_t store, char *out_why)
{
    return change_store(client, OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE, store, out_why);
}

OST_API int ost_undrain_store(struct ost_client *client, uint64_t store, char *out_why)
{
    return change_store(client, OSTRAKA__STORE_CHANGE_KIND__UNDRAIN_STORE, store, out_why);
}

OST_API int ost_remove_store(struct ost_client *client, uint64_t store, char *out_why)
{
    return change_store(client, OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE, store, out_why);
}

/* --- Progress ------------------------------------------------------------------------------------
 */

static void copy_progress(struct operation *operation, void *context)
{
    struct ost_progress *progress = context;
    const Ostraka__ProgressAnswer *answer = operation->result_progress;
    if (operation->status != OST_OK)
        return;
    struct arena *arena = memory_alloc(sizeof(*arena));
    arena_init(arena);
    struct ost_progress_item *items = arena_alloc_zeroed(arena, answer->n_items * sizeof(*items));
    for (size_t index = 0; index < answer->n_items; index++) {
        const Ostraka__ProgressItem *from = answer->items[index];
        items[index] = (struct ost_progress_item){
            .what = arena_printf(arena, "%s", from->what),
            .change = from->change,
            .group = from->group,
            .to_group = from->to_group,
            .store = from->store,
            .start = ost_of_bytes(arena_copy(arena, bytes_of(from->start.data, from->start.len))),
            .done_count = from->done_count,
            .whole_count = from->whole_count,
            .age_ms = from->age_ms,
            .waits_for = arena_printf(arena, "%s", from->waits_for),
            .why = arena_printf(arena, "%s", from->why),
        };
    }
    *progress =
        (struct ost_progress){.items = items, .items_count = answer->n_items, .memory = arena};
}

OST_API int ost_progress(struct ost_client *client, uint32_t timeout_ms,
                         struct ost_progress *out_progress)
{
    *out_progress = (struct ost_progress){0};
    struct operation *operation =
        operation_new(OPERATION_PROGRESS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->timeout_ms = timeout_ms;
    return api_call(client, operation, copy_progress, out_progress);
}

OST_API void ost_progress_free(struct ost_progress *progress)
{
    if (progress->memory) {
        arena_fini(progress->memory);
        free(progress->memory);
    }
    *progress = (struct ost_progress){0};
}
