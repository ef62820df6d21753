/* write_buffer.h: the writes of a transaction before its commit, ordered by key, one for each key.
 *
 * Invariants: W1 keys are distinct and in byte order. W2 bytes_count is the sum of the keys and
 * values kept. Ownership: keys and values are copied; what is handed out is good until the next
 * change.
 */
#pragma once

#include "base/status.h"
#include "base/types.h"
#include "proto/write_set.h"

#include <bsd/sys/tree.h>

struct write_buffer_entry;
RB_HEAD(write_buffer_tree, write_buffer_entry);

struct write_buffer {
    struct write_buffer_tree tree;
    uint32_t writes_count;
    size_t bytes_count;        /* keys and values, as the user counts them */
    char why[LIMIT_WHY_BYTES]; /* of the last refusal */
};

void write_buffer_init(struct write_buffer *buffer);
void write_buffer_reset(struct write_buffer *buffer);

/* The last write of a key counts. OST_INVALID_ARGUMENT: the key is empty. OST_TOO_LARGE: over a
 * limit of DESIGN section 8, and nothing changed; `out_why` (the buffer's) names the limit and the
 * size. */
OST_MUST_CHECK int write_buffer_put(struct write_buffer *buffer, const struct write *write,
                                    const char **out_why);
/* OST_OK or OST_NOT_FOUND: this transaction has not written the key. */
OST_MUST_CHECK int write_buffer_find(const struct write_buffer *buffer, struct bytes key,
                                     struct write *out_write);

/* Walks in key order, or backward. Starts at the first key at or after `key` (first: empty),
 * backward at the last key before `key` (an empty one: the last of all). NULL at the end. */
struct write_buffer_entry *write_buffer_first(const struct write_buffer *buffer, struct bytes key);
struct write_buffer_entry *write_buffer_last(const struct write_buffer *buffer, struct bytes key);
struct write_buffer_entry *write_buffer_next(struct write_buffer_entry *entry);
struct write_buffer_entry *write_buffer_previous(struct write_buffer_entry *entry);
struct write write_buffer_entry_write(const struct write_buffer_entry *entry);
