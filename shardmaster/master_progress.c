#include "shardmaster/master_progress.h"

#include "shardmaster/master_internal.h"

static void stores_progress(struct master *master, struct master_progress *progress)
{
    Ostraka__ProgressItem **items;
    size_t count;
    master_stores_progress(master, progress->arena, &items, &count);
    for (size_t index = 0; index < count && progress->items_count < PROGRESS_ITEMS_COUNT_MAX;
         index++)
        progress->items[progress->items_count++] = items[index];
}

/* Who has something to tell. */
static void (*const SOURCES[])(struct master *, struct master_progress *) = {
    master_ranges_leader_progress,
    stores_progress,
    master_groups_progress,
};

Ostraka__ProgressItem *master_progress_add(struct master_progress *progress, const char *what)
{
    if (progress->items_count == PROGRESS_ITEMS_COUNT_MAX)
        return NULL;
    Ostraka__ProgressItem *item = arena_alloc(progress->arena, sizeof(*item));
    ostraka__progress_item__init(item);
    item->what = (char *)(uintptr_t)what;
    progress->items[progress->items_count++] = item;
    return item;
}

int master_progress_receive(struct master *master, uint64_t connection_id,
                            const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena);
    if (!message_unpack(&ostraka__progress_request__descriptor, frame->message, &arena)) {
        arena_fini(&arena);
        return OST_PROTOCOL;
    }
    struct master_progress *progress = arena_alloc_zeroed(&arena, sizeof(*progress));
    progress->arena = &arena;
    Ostraka__ProgressAnswer answer = OSTRAKA__PROGRESS_ANSWER__INIT;
    if (master->leadership.ready)
        for (size_t index = 0; index < sizeof(SOURCES) / sizeof(SOURCES[0]); index++)
            SOURCES[index](master, progress);
    else if (master->leadership.role == RAFT_LEADER)
        answer.status = OST_NOT_READY;
    else
        answer.status = OST_NOT_LEADER;
    answer.leader_store = answer.status == OST_NOT_LEADER ? master->leadership.leader_store : 0;
    answer.items = progress->items;
    answer.n_items = progress->items_count;
    outbox_to_connection(
        master->outbox, connection_id,
        frame_encode(FRAME_PROGRESS_ANSWER, frame->request_id, &answer.base, NULL, 0));
    arena_fini(&arena);
    return OST_OK;
}
