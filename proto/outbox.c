#include "proto/outbox.h"

#include "base/memory.h"

#include <stdlib.h>

#define OUTBOX_ITEMS_COUNT_MIN 16u

void outbox_init(struct outbox *outbox)
{
    *outbox = (struct outbox){0};
}

void outbox_reset(struct outbox *outbox)
{
    for (size_t index = 0; index < outbox->items_count; index++) {
        blob_unref(outbox->items[index].frame);
        blob_unref(outbox->items[index].to.key);
    }
    outbox->items_count = 0;
}

void outbox_fini(struct outbox *outbox)
{
    outbox_reset(outbox);
    free(outbox->items);
    outbox_init(outbox);
}

static void outbox_append(struct outbox *outbox, struct address to, struct blob *frame_take)
{
    ASSERT(frame_take);
    if (outbox->items_count == outbox->items_capacity) {
        size_t capacity = 2 * outbox->items_capacity;
        if (capacity < OUTBOX_ITEMS_COUNT_MIN)
            capacity = OUTBOX_ITEMS_COUNT_MIN;
        outbox->items = memory_realloc(outbox->items, capacity * sizeof(outbox->items[0]));
        outbox->items_capacity = capacity;
    }
    outbox->items[outbox->items_count++] = (struct outgoing){to, frame_take, NS_NEVER};
}

void outbox_to_connection(struct outbox *outbox, uint64_t connection_id, struct blob *frame_take)
{
    struct address to = {.kind = ADDRESS_CONNECTION, .id = connection_id};
    outbox_append(outbox, to, frame_take);
}

void outbox_to_connection_until(struct outbox *outbox, uint64_t connection_id,
                                nanoseconds_t valid_until_ns, struct blob *frame_take)
{
    outbox_to_connection(outbox, connection_id, frame_take);
    outbox->items[outbox->items_count - 1].valid_until_ns = valid_until_ns;
}

void outbox_to_store(struct outbox *outbox, store_id_t store, enum channel channel,
                     struct blob *frame_take)
{
    struct address to = {.kind = ADDRESS_STORE, .channel = channel, .id = store};
    outbox_append(outbox, to, frame_take);
}

void outbox_to_key(struct outbox *outbox, struct bytes key, struct blob *frame_take)
{
    struct address to = {.kind = ADDRESS_KEY, .key = blob_copy(key)};
    outbox_append(outbox, to, frame_take);
}

void outbox_to_group(struct outbox *outbox, group_id_t group, struct blob *frame_take)
{
    struct address to = {.kind = ADDRESS_GROUP, .id = group};
    outbox_append(outbox, to, frame_take);
}
