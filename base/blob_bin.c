#include "base/blob_bin.h"

#include "base/memory.h"

#include <stdlib.h>

#define FEW_COUNT   8u
#define SHARE_COUNT 64u

void blob_bin_put(struct blob_bin *bin, struct blob *blob)
{
    if (!blob)
        return;
    if (bin->count == bin->capacity) {
        bin->capacity = bin->capacity ? 2 * bin->capacity : 64;
        bin->blobs = memory_realloc(bin->blobs, bin->capacity * sizeof(bin->blobs[0]));
    }
    bin->blobs[bin->count++] = blob;
}

static void let_go(struct blob_bin *bin, size_t count)
{
    for (; count > 0 && bin->count > 0; count--)
        blob_unref(bin->blobs[--bin->count]);
    if (bin->count > 0)
        return;
    free(bin->blobs);
    *bin = (struct blob_bin){0};
}

void blob_bin_turn(struct blob_bin *bin)
{
    let_go(bin, bin->count / SHARE_COUNT + FEW_COUNT);
}

void blob_bin_fini(struct blob_bin *bin)
{
    let_go(bin, bin->count);
}
