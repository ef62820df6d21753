#include "tests/sim/replica_notes.h"

#include "base/memory.h"

#include <stddef.h>
#include <stdlib.h>
#include <uthash.h>

struct replica_key {
    group_id_t group;
    replica_id_t replica;
};

struct replica_notes_item {
    struct replica_key key;
    UT_hash_handle hh;
    max_align_t note[];
};

void replica_notes_init(struct replica_notes *notes, size_t note_bytes)
{
    *notes = (struct replica_notes){.note_bytes = note_bytes};
}

void replica_notes_fini(struct replica_notes *notes)
{
    struct replica_notes_item *item, *next;
    HASH_ITER (hh, notes->items, item, next) {
        HASH_DELETE(hh, notes->items, item);
        free(item);
    }
}

void *replica_notes_find(const struct replica_notes *notes, group_id_t group, replica_id_t replica)
{
    struct replica_key key = {group, replica};
    struct replica_notes_item *item;
    HASH_FIND(hh, notes->items, &key, sizeof key, item);
    return item ? item->note : NULL;
}

void *replica_notes_of(struct replica_notes *notes, const struct host_group *group)
{
    void *note = replica_notes_find(notes, group->group, group->replica);
    if (note)
        return note;
    struct replica_notes_item *item = memory_alloc_zeroed(1, sizeof *item + notes->note_bytes);
    item->key = (struct replica_key){group->group, group->replica};
    HASH_ADD(hh, notes->items, key, sizeof item->key, item);
    return item->note;
}
