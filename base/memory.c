#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noreturn, cold)) static void memory_exhausted(size_t bytes_count)
{
    fprintf(stderr, "level=error msg=\"out of memory\" asked_bytes=%zu\n", bytes_count);
    abort();
}

/* The C library may answer a request for nothing with NULL; ours never does. */
static size_t at_least_one(size_t bytes_count)
{
    return bytes_count > 0 ? bytes_count : 1;
}

void *memory_alloc(size_t bytes_count)
{
    void *memory = malloc(at_least_one(bytes_count));
    if (!memory)
        memory_exhausted(bytes_count);
    return memory;
}

void *memory_alloc_zeroed(size_t count, size_t bytes_each)
{
    /* calloc refuses a product that overflows. */
    void *memory = calloc(at_least_one(count), at_least_one(bytes_each));
    if (!memory)
        memory_exhausted(count > 0 && bytes_each > SIZE_MAX / count ? SIZE_MAX
                                                                    : count * bytes_each);
    return memory;
}

void *memory_realloc(void *memory, size_t bytes_count)
{
    void *moved = realloc(memory, at_least_one(bytes_count));
    if (!moved)
        memory_exhausted(bytes_count);
    return moved;
}

char *memory_copy_string(const char *text)
{
    size_t bytes_count = strlen(text) + 1;
    char *copy = memory_alloc(bytes_count);
    memcpy(copy, text, bytes_count);
    return copy;
}
