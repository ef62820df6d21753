#include "base/arena.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes_count)   ((void)(start), (void)(bytes_count))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes_count) ((void)(start), (void)(bytes_count))
#endif

#define ARENA_ALIGNMENT       16u
#define ARENA_BLOCK_BYTES_MIN (4u << 10)
#define ARENA_BLOCK_BYTES_MAX (64u << 10)
/* From here on an allocation that does not fit has a block of its own, so that little of the
 * current block is thrown away for it. */
#define ARENA_BIG_BYTES (ARENA_BLOCK_BYTES_MAX / 4)

/* The current block, where small allocations come from, is the first of the list if there is one at
 * all; the blocks of big allocations are linked behind it. */
struct arena_block {
    struct arena_block *next;
    size_t bytes_count; /* of data */
    bool is_big;
    _Alignas(ARENA_ALIGNMENT) uint8_t data[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

static void blocks_free(struct arena_block *block)
{
    while (block) {
        struct arena_block *next = block->next;
        ASAN_UNPOISON_MEMORY_REGION(block->data, block->bytes_count);
        free(block);
        block = next;
    }
}

void arena_fini(struct arena *arena)
{
    blocks_free(arena->blocks);
    arena_init(arena);
}

/* Under AddressSanitizer what is not handed out is poisoned: use after a reset is found. */
static void arena_set_current(struct arena *arena, struct arena_block *block)
{
    arena->next = block->data;
    arena->bytes_left = block->bytes_count;
    ASAN_POISON_MEMORY_REGION(block->data, block->bytes_count);
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    if (!block || block->is_big) {
        arena_fini(arena);
        return;
    }
    /* The current block is the largest of its kind. */
    blocks_free(block->next);
    block->next = NULL;
    arena->bytes_used = 0;
    arena_set_current(arena, block);
}

static struct arena_block *block_new(size_t bytes_count, bool is_big)
{
    struct arena_block *block = memory_alloc(sizeof(*block) + bytes_count);
    block->next = NULL;
    block->bytes_count = bytes_count;
    block->is_big = is_big;
    return block;
}

static void *arena_alloc_big(struct arena *arena, size_t bytes_count)
{
    struct arena_block *block = block_new(bytes_count, true);
    struct arena_block *first = arena->blocks;
    if (first && !first->is_big) {
        block->next = first->next;
        first->next = block;
    } else {
        block->next = first;
        arena->blocks = block;
    }
    return block->data;
}

static void arena_add_block(struct arena *arena, size_t bytes_count)
{
    size_t block_bytes = ARENA_BLOCK_BYTES_MIN;
    if (arena->blocks && !arena->blocks->is_big)
        block_bytes = 2 * arena->blocks->bytes_count;
    while (block_bytes < bytes_count)
        block_bytes *= 2;
    if (block_bytes > ARENA_BLOCK_BYTES_MAX)
        block_bytes = ARENA_BLOCK_BYTES_MAX;
    struct arena_block *block = block_new(block_bytes, false);
    block->next = arena->blocks;
    arena->blocks = block;
    arena_set_current(arena, block);
}

void *arena_alloc(struct arena *arena, size_t bytes_count)
{
    ASSERT(bytes_count <= SIZE_MAX / 2);
    size_t rounded = (bytes_count + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    if (rounded == 0)
        rounded = ARENA_ALIGNMENT;
    arena->bytes_used += rounded;
    if (rounded > arena->bytes_left) {
        if (rounded >= ARENA_BIG_BYTES)
            return arena_alloc_big(arena, rounded);
        arena_add_block(arena, rounded);
    }
    uint8_t *memory = arena->next;
    arena->next += rounded;
    arena->bytes_left -= rounded;
    ASAN_UNPOISON_MEMORY_REGION(memory, bytes_count);
    return memory;
}

void *arena_alloc_zeroed(struct arena *arena, size_t bytes_count)
{
    return memset(arena_alloc(arena, bytes_count), 0, bytes_count);
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    uint8_t *copy = arena_alloc(arena, bytes.bytes_count);
    if (bytes.bytes_count > 0)
        memcpy(copy, bytes.data, bytes.bytes_count);
    return bytes_of(copy, bytes.bytes_count);
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int text_bytes = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    ASSERT(text_bytes >= 0);
    char *text = arena_alloc(arena, (size_t)text_bytes + 1);
    vsnprintf(text, (size_t)text_bytes + 1, format, again);
    va_end(again);
    return text;
}
