/* kv_rows.h: rows of a group on their way to another replica or group: a run of them, each as
 * varint key bytes, key, varint value bytes, value. A key is what follows the generation, so that
 * the other side puts it under its own.
 */
#pragma once

#include "base/buffer.h"
#include "base/types.h"
#include "txn/txn_id.h"

struct kv_row {
    struct bytes key, value;
};
void kv_row_append(struct buffer *buffer, struct bytes key, struct bytes value);
/* False: nothing is left, or it is malformed; the reader has bytes left only in the second case. */
bool kv_row_next(struct reader *reader, struct kv_row *out_row);

/* Whole rows from the beginning of a run: as many as reach `bytes_max`, at least one if there is
 * one. */
struct bytes kv_rows_first(struct bytes rows, size_t bytes_max);

/* All rows of one kind (versions, outcomes) that lie in [start, end) of user keys, `end` empty: to
 * the end. They replace what is in the buffers. */
void kv_rows_bounds(group_id_t group, uint32_t generation, uint8_t kind, struct bytes start,
                    struct bytes end, struct buffer *out_lower, struct buffer *out_upper);
/* A run that came from elsewhere: are all of them versions, or outcomes, of keys in [start, end)?
 */
bool kv_rows_check(struct bytes rows, struct bytes start, struct bytes end);
