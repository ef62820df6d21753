/* memory.h: allocation that does not fail: it aborts with one line when the machine has no memory.
 * Every caller is bounded by a limit, so that this is never the answer to load. */
#pragma once

#include <stddef.h>

__attribute__((malloc, returns_nonnull)) void *memory_alloc(size_t bytes_count);
__attribute__((malloc, returns_nonnull)) void *memory_alloc_zeroed(size_t count, size_t bytes_each);
__attribute__((returns_nonnull)) void *memory_realloc(void *memory, size_t bytes_count);
__attribute__((returns_nonnull)) char *memory_copy_string(const char *text);
