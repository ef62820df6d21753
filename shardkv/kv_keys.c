#include "shardkv/kv_keys.h"

#define ESCAPE_BYTE       0x00u
#define ESCAPED_ZERO      0xffu
#define ESCAPED_END       0x01u
#define ESCAPED_BYTES_MIN 2u /* an empty key is its end alone */

void kv_key_store_identity(struct buffer *out_key)
{
    buffer_reset(out_key);
    buffer_append_u8(out_key, KV_TABLE_STORE_IDENTITY);
}

void kv_key_master(struct buffer *out_key, struct bytes name)
{
    buffer_reset(out_key);
    buffer_append_u8(out_key, KV_TABLE_MASTER);
    buffer_append(out_key, name.data, name.bytes_count);
}

void kv_key_group_meta(struct buffer *out_key, group_id_t group)
{
    buffer_reset(out_key);
    buffer_append_u8(out_key, KV_TABLE_GROUP_META);
    buffer_append_u64_be(out_key, group);
}

void kv_key_generation(struct buffer *out_key, group_id_t group, uint32_t generation)
{
    buffer_reset(out_key);
    buffer_append_u8(out_key, KV_TABLE_GROUP_ROWS);
    buffer_append_u64_be(out_key, group);
    buffer_append_u32_be(out_key, generation);
}

void kv_key_kind(struct buffer *out_key, group_id_t group, uint32_t generation, uint8_t kind)
{
    kv_key_generation(out_key, group, generation);
    buffer_append_u8(out_key, kind);
}

void kv_key_data_prefix(struct buffer *out_key, group_id_t group, uint32_t generation,
                        struct bytes user_key)
{
    kv_key_kind(out_key, group, generation, KV_ROW_DATA);
    kv_key_escape(out_key, user_key);
}

void kv_key_data(struct buffer *out_key, group_id_t group, uint32_t generation,
                 struct bytes user_key, timestamp_t timestamp)
{
    kv_key_data_prefix(out_key, group, generation, user_key);
    buffer_append_u64_be(out_key, ~timestamp);
}

static void append_txn(struct buffer *key, struct txn_id txn)
{
    buffer_append_u64_be(key, txn.client);
    buffer_append_u64_be(key, txn.sequence);
}

void kv_key_prepared(struct buffer *out_key, group_id_t group, uint32_t generation,
                     struct txn_id txn)
{
    kv_key_kind(out_key, group, generation, KV_ROW_PREPARED);
    append_txn(out_key, txn);
}

void kv_key_open(struct buffer *out_key, group_id_t group, uint32_t generation, struct txn_id txn)
{
    kv_key_kind(out_key, group, generation, KV_ROW_OPEN);
    append_txn(out_key, txn);
}

void kv_key_outcome(struct buffer *out_key, group_id_t group, uint32_t generation,
                    struct bytes anchor, struct txn_id txn)
{
    kv_key_kind(out_key, group, generation, KV_ROW_OUTCOME);
    kv_key_escape(out_key, anchor);
    append_txn(out_key, txn);
}

void kv_key_range(struct buffer *out_key, group_id_t group, uint32_t generation, struct bytes start)
{
    kv_key_kind(out_key, group, generation, KV_ROW_RANGE);
    buffer_append(out_key, start.data, start.bytes_count);
}

bool kv_key_parse(struct bytes key, struct kv_row_key *out_parts)
{
    struct reader reader = reader_of(key);
    uint8_t table;
    struct kv_row_key parts;
    if (!reader_u8(&reader, &table) || table != KV_TABLE_GROUP_ROWS ||
        !reader_u64_be(&reader, &parts.group) || !reader_u32_be(&reader, &parts.generation) ||
        !reader_u8(&reader, &parts.kind))
        return false;
    parts.rest = bytes_of(reader.data, reader.bytes_left);
    *out_parts = parts;
    return true;
}

bool kv_key_parse_data(struct bytes key, struct buffer *out_user_key, timestamp_t *out_timestamp)
{
    struct kv_row_key parts;
    if (!kv_key_parse(key, &parts) || parts.kind != KV_ROW_DATA)
        return false;
    struct reader reader = reader_of(parts.rest);
    uint64_t complement;
    buffer_reset(out_user_key);
    if (!kv_key_unescape(&reader, out_user_key) || !reader_u64_be(&reader, &complement) ||
        reader.bytes_left != 0)
        return false;
    *out_timestamp = ~complement;
    return true;
}

void kv_key_escape(struct buffer *buffer, struct bytes key)
{
    buffer_reserve(buffer, key.bytes_count + ESCAPED_BYTES_MIN);
    size_t at = 0;
    while (at < key.bytes_count) {
        /* Zero bytes are rare: what lies between them goes over in one piece. */
        const uint8_t *rest = key.data + at;
        const uint8_t *zero = memchr(rest, ESCAPE_BYTE, key.bytes_count - at);
        size_t plain_bytes = zero ? (size_t)(zero - rest) : key.bytes_count - at;
        buffer_append(buffer, rest, plain_bytes);
        at += plain_bytes;
        if (zero) {
            buffer_append_u8(buffer, ESCAPE_BYTE);
            buffer_append_u8(buffer, ESCAPED_ZERO);
            at++;
        }
    }
    buffer_append_u8(buffer, ESCAPE_BYTE);
    buffer_append_u8(buffer, ESCAPED_END);
}

bool kv_key_unescape(struct reader *reader, struct buffer *out_key)
{
    struct reader ahead = *reader;
    for (;;) {
        if (ahead.bytes_left == 0)
            return false;
        const uint8_t *zero = memchr(ahead.data, ESCAPE_BYTE, ahead.bytes_left);
        struct bytes plain;
        uint8_t escape;
        uint8_t mark;
        if (!zero || !reader_bytes(&ahead, (size_t)(zero - ahead.data), &plain) ||
            !reader_u8(&ahead, &escape) || !reader_u8(&ahead, &mark))
            return false;
        buffer_append(out_key, plain.data, plain.bytes_count);
        if (mark == ESCAPED_END)
            break;
        if (mark != ESCAPED_ZERO)
            return false;
        buffer_append_u8(out_key, 0);
    }
    *reader = ahead;
    return true;
}

size_t kv_key_prefix_bytes(struct bytes key)
{
    size_t data_bytes_min = KV_GENERATION_PREFIX_BYTES + 1 + ESCAPED_BYTES_MIN + KV_TIMESTAMP_BYTES;
    if (key.bytes_count < data_bytes_min || key.data[0] != KV_TABLE_GROUP_ROWS ||
        key.data[KV_GENERATION_PREFIX_BYTES] != KV_ROW_DATA)
        return key.bytes_count;
    return key.bytes_count - KV_TIMESTAMP_BYTES;
}
