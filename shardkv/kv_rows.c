#include "shardkv/kv_rows.h"

#include "shardkv/kv_keys.h"
#include "txn/record.h"

void kv_row_append(struct buffer *buffer, struct bytes key, struct bytes value)
{
    buffer_append_counted(buffer, key);
    buffer_append_counted(buffer, value);
}

bool kv_row_next(struct reader *reader, struct kv_row *out_row)
{
    struct reader ahead = *reader;
    if (!reader_counted(&ahead, &out_row->key) || !reader_counted(&ahead, &out_row->value))
        return false;
    *reader = ahead;
    return true;
}

struct bytes kv_rows_first(struct bytes rows, size_t bytes_max)
{
    struct reader reader = reader_of(rows);
    struct kv_row row;
    size_t bytes_count = 0;
    while (bytes_count < bytes_max && kv_row_next(&reader, &row))
        bytes_count = rows.bytes_count - reader.bytes_left;
    return bytes_of(rows.data, bytes_count);
}

void kv_rows_bounds(group_id_t group, uint32_t generation, uint8_t kind, struct bytes start,
                    struct bytes end, struct buffer *out_lower, struct buffer *out_upper)
{
    /* An escaped key sorts before all rows of that key and of those behind it. */
    kv_key_kind(out_lower, group, generation, kind);
    kv_key_escape(out_lower, start);
    if (end.bytes_count == 0) {
        kv_key_kind(out_upper, group, generation, (uint8_t)(kind + 1));
        return;
    }
    kv_key_kind(out_upper, group, generation, kind);
    kv_key_escape(out_upper, end);
}

/* The anchor is appended, unescaped. */
static bool parse_outcome(struct bytes key, struct buffer *out_anchor, struct txn_id *out_txn)
{
    struct reader reader = reader_of(key);
    uint8_t kind;
    return reader_u8(&reader, &kind) && kind == KV_ROW_OUTCOME &&
           kv_key_unescape(&reader, out_anchor) && reader_u64_be(&reader, &out_txn->client) &&
           reader_u64_be(&reader, &out_txn->sequence) && reader.bytes_left == 0;
}

static bool version_check(const struct kv_row *row, struct buffer *key, struct bytes start,
                          struct bytes end)
{
    struct reader reader = reader_of(row->key);
    uint8_t kind;
    uint64_t complement;
    return reader_u8(&reader, &kind) && kv_key_unescape(&reader, key) &&
           reader_u64_be(&reader, &complement) && reader.bytes_left == 0 &&
           row->value.bytes_count > 0 && key_in_range(buffer_bytes(key), start, end);
}

static bool outcome_check(const struct kv_row *row, struct buffer *key, struct bytes start,
                          struct bytes end)
{
    struct txn_id txn;
    struct txn_outcome outcome;
    return parse_outcome(row->key, key, &txn) &&
           txn_outcome_unpack(row->value, &outcome) == OST_OK &&
           key_in_range(buffer_bytes(key), start, end);
}

bool kv_rows_check(struct bytes rows, struct bytes start, struct bytes end)
{
    struct reader reader = reader_of(rows);
    struct buffer key = BUFFER_INIT;
    struct kv_row row;
    bool is_good = true;
    while (is_good && kv_row_next(&reader, &row)) {
        buffer_reset(&key);
        uint8_t kind = row.key.bytes_count > 0 ? row.key.data[0] : 0;
        if (kind == KV_ROW_DATA)
            is_good = version_check(&row, &key, start, end);
        else
            is_good = kind == KV_ROW_OUTCOME && outcome_check(&row, &key, start, end);
    }
    buffer_fini(&key);
    return is_good && reader.bytes_left == 0;
}
