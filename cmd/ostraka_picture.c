/* ostraka_picture.c: takes a picture of the cluster: the map, each store's word, and the shard
 * master's of what is under way. */
#include "cmd/ostraka_command.h"

#include "base/memory.h"

#include <stdlib.h>

/* Then a store counts as silent, and the shard master as well. */
#define TIMEOUT_MS 1000u

int picture_take(struct ost_client *client, bool wants_progress, struct picture *out_picture)
{
    *out_picture = (struct picture){0};
    int status = ost_cluster_info(client, &out_picture->info);
    if (status != OST_OK)
        return status;
    size_t count = out_picture->info.stores_count;
    uint64_t *stores = memory_alloc_zeroed(count + 1, sizeof *stores);
    out_picture->stores = memory_alloc_zeroed(count + 1, sizeof *out_picture->stores);
    out_picture->results = memory_alloc_zeroed(count + 1, sizeof *out_picture->results);
    for (size_t i = 0; i < count; i++)
        stores[i] = out_picture->info.stores[i].store;
    status = ost_store_statuses(client, stores, count, TIMEOUT_MS, out_picture->stores,
                                out_picture->results);
    free(stores);
    if (wants_progress)
        out_picture->progress_result = ost_progress(client, TIMEOUT_MS, &out_picture->progress);
    if (status == OST_OK)
        picture_derive(out_picture);
    return status;
}

void picture_drop(struct picture *picture)
{
    for (size_t i = 0; i < picture->info.stores_count && picture->stores; i++)
        ost_store_status_free(&picture->stores[i]);
    free(picture->stores);
    free(picture->results);
    picture_underive(picture);
    ost_progress_free(&picture->progress);
    ost_cluster_info_free(&picture->info);
}
