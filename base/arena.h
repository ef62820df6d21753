/* arena.h: memory with one lifespan, freed whole. protobuf-c unpacks into it. */
#pragma once

#include "base/bytes.h"

#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *blocks; /* newest first */
    uint8_t *next;
    size_t bytes_left;
    size_t bytes_used; /* handed out since the last reset */
};

void arena_init(struct arena *arena);
void arena_fini(struct arena *arena);
/* Drops everything; keeps one block for use again. */
void arena_reset(struct arena *arena);
/* Aligned to 16 bytes, not cleared. Never NULL. */
void *arena_alloc(struct arena *arena, size_t bytes_count);
void *arena_alloc_zeroed(struct arena *arena, size_t bytes_count);
struct bytes arena_copy(struct arena *arena, struct bytes bytes);
/* printf into the arena. */
__attribute__((format(printf, 2, 3))) char *arena_printf(struct arena *arena, const char *format,
                                                         ...);
