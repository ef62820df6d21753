/* write_set.h: the writes of a transaction, and rows of a scan, as raw bytes beside a message.
 *
 * Write set: for each write, in strictly ascending key order, u8 kind, varint key bytes, key, and
 * for a put varint value bytes, value. A client encodes it once; the same bytes go into the log
 * entry. Rows: varint key bytes, key, u64 version (big endian), varint value bytes, value.
 */
#pragma once

#include "base/buffer.h"
#include "base/status.h"
#include "base/types.h"
#include "proto/limits.h"

enum write_kind { WRITE_PUT = 1, WRITE_DELETE = 2 };

struct write {
    enum write_kind kind;
    struct bytes key;
    struct bytes value; /* empty for a delete */
};

void write_set_append(struct buffer *buffer, const struct write *write);

/* Walks a write set; the write's bytes are borrowed from it. Returns OST_OK, OST_NOT_FOUND at the
 * end, or OST_PROTOCOL. Checks form alone. */
OST_MUST_CHECK int write_set_next(struct reader *reader, struct write *out_write);

/* Checks a whole set that came from outside: form, limits of key, value and transaction, ascending
 * order. OST_OK, OST_PROTOCOL, OST_INVALID_ARGUMENT or OST_TOO_LARGE; `out_why` (LIMIT_WHY_BYTES)
 * gets a line with an error. */
OST_MUST_CHECK int write_set_check(struct bytes set, uint32_t *out_writes_count, char *out_why);

struct row {
    struct bytes key;
    timestamp_t version;
    struct bytes value;
};

void rows_append(struct buffer *buffer, const struct row *row);
/* As write_set_next. */
OST_MUST_CHECK int rows_next(struct reader *reader, struct row *out_row);
