/* replica_notes.h: what a check remembers of each replica of each group. What a note holds is the
 * check's own. */
#pragma once

#include "raft/host_internal.h"

struct replica_notes {
    size_t note_bytes;
    struct replica_notes_item *items;
};

void replica_notes_init(struct replica_notes *notes, size_t note_bytes);
void replica_notes_fini(struct replica_notes *notes);

/* A note stays where it is until the end. One that was not there before is all zeros. */
void *replica_notes_of(struct replica_notes *notes, const struct host_group *group);
/* NULL: there is none yet. */
void *replica_notes_find(const struct replica_notes *notes, group_id_t group, replica_id_t replica);
