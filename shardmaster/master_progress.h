/* master_progress.h: what is under way, for people: whoever drives something in group 0's leader
 * tells how far it is and what it waits for (ProgressAnswer).
 */
#pragma once

#include "base/arena.h"
#include "base/status.h"
#include "base/types.h"
#include "proto/frame.h"
#include "proto/master.pb-c.h"

struct master;

#define PROGRESS_ITEMS_COUNT_MAX 1024u

struct master_progress {
    struct arena *arena; /* texts and keys of items are put here, or outlive the answer */
    Ostraka__ProgressItem *items[PROGRESS_ITEMS_COUNT_MAX];
    size_t items_count;
};

/* A new item, to be filled in; NULL: there are too many. `what` is static. */
Ostraka__ProgressItem *master_progress_add(struct master_progress *progress, const char *what);

OST_MUST_CHECK int master_progress_receive(struct master *master, uint64_t connection_id,
                                           const struct frame *frame);
