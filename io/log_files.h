/* log_files.h: the segment files of the log directory: made (pre-written), found, read, recycled.
 * Blocking calls, for start-up and for the pool. Directory changes are synced before they return.
 * Names are "log-%010u.seg"; spares are "spare-0.seg" and "spare-1.seg". Safe for threads.
 */
#pragma once

#include "base/status.h"
#include "base/types.h"

/* Makes segment `number` of `bytes_count` zero bytes, written and synced (name included). A spare
 * file is recycled by renaming when there is one of that size; it keeps its old bytes. OST_EXISTS,
 * OST_NO_SPACE, OST_IO; *out_errno is set then. */
OST_MUST_CHECK int log_file_create(const char *directory, uint32_t number, size_t bytes_count,
                                   int *out_errno);
/* Turns a segment into a spare (at most 2 are kept; the others are deleted). OST_NOT_FOUND, OST_IO.
 */
OST_MUST_CHECK int log_file_retire(const char *directory, uint32_t number, int *out_errno);
/* Numbers in ascending order; free the array. */
OST_MUST_CHECK int log_files_list(const char *directory, uint32_t **out_numbers, size_t *out_count,
                                  int *out_errno);
/* The whole file, synced first and read past the page cache where the file system allows, so that
 * what is read is what the disk holds. Free the memory. OST_NOT_FOUND, OST_NO_MEMORY, OST_IO. */
OST_MUST_CHECK int log_file_read(const char *directory, uint32_t number, uint8_t **out_data,
                                 size_t *out_bytes_count, int *out_errno);
