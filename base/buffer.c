#include "base/buffer.h"

#include "base/memory.h"

#include <stdlib.h>

#define BUFFER_CAPACITY_BYTES_MIN 64u
/* 64 bits in groups of 7. */
#define VARINT_BYTES_MAX 10u

void buffer_init(struct buffer *buffer)
{
    *buffer = (struct buffer)BUFFER_INIT;
}

void buffer_fini(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer)BUFFER_INIT;
}

void buffer_reserve(struct buffer *buffer, size_t more_bytes)
{
    ASSERT(buffer->bytes_count <= buffer->capacity_bytes);
    if (buffer->data && more_bytes <= buffer->capacity_bytes - buffer->bytes_count)
        return;
    ASSERT(more_bytes <= SIZE_MAX / 4 && buffer->bytes_count <= SIZE_MAX / 4);
    size_t capacity_bytes = buffer->bytes_count + more_bytes;
    /* Doubling keeps appending linear as a whole. */
    if (capacity_bytes < 2 * buffer->capacity_bytes)
        capacity_bytes = 2 * buffer->capacity_bytes;
    if (capacity_bytes < BUFFER_CAPACITY_BYTES_MIN)
        capacity_bytes = BUFFER_CAPACITY_BYTES_MIN;
    buffer->data = memory_realloc(buffer->data, capacity_bytes);
    buffer->capacity_bytes = capacity_bytes;
}

uint8_t *buffer_extend(struct buffer *buffer, size_t bytes_count)
{
    buffer_reserve(buffer, bytes_count);
    uint8_t *start = buffer->data + buffer->bytes_count;
    buffer->bytes_count += bytes_count;
    return start;
}

void buffer_append(struct buffer *buffer, const void *data, size_t bytes_count)
{
    if (bytes_count > 0)
        memcpy(buffer_extend(buffer, bytes_count), data, bytes_count);
}

void buffer_append_u8(struct buffer *buffer, uint8_t value)
{
    *buffer_extend(buffer, 1) = value;
}

void buffer_append_u32_be(struct buffer *buffer, uint32_t value)
{
    uint32_t big_endian = __builtin_bswap32(value);
    memcpy(buffer_extend(buffer, sizeof(big_endian)), &big_endian, sizeof(big_endian));
}

void buffer_append_u64_be(struct buffer *buffer, uint64_t value)
{
    uint64_t big_endian = __builtin_bswap64(value);
    memcpy(buffer_extend(buffer, sizeof(big_endian)), &big_endian, sizeof(big_endian));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian machines are not supported");

void buffer_append_varint(struct buffer *buffer, uint64_t value)
{
    uint8_t encoded[VARINT_BYTES_MAX];
    size_t bytes_count = 0;
    while (value >= 0x80) {
        encoded[bytes_count++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    encoded[bytes_count++] = (uint8_t)value;
    buffer_append(buffer, encoded, bytes_count);
}

void buffer_append_counted(struct buffer *buffer, struct bytes bytes)
{
    buffer_append_varint(buffer, bytes.bytes_count);
    buffer_append(buffer, bytes.data, bytes.bytes_count);
}

bool reader_bytes(struct reader *reader, size_t bytes_count, struct bytes *out)
{
    if (bytes_count > reader->bytes_left)
        return false;
    *out = bytes_of(reader->data, bytes_count);
    if (bytes_count > 0) {
        reader->data += bytes_count;
        reader->bytes_left -= bytes_count;
    }
    return true;
}

bool reader_u8(struct reader *reader, uint8_t *out)
{
    struct bytes bytes;
    if (!reader_bytes(reader, 1, &bytes))
        return false;
    *out = bytes.data[0];
    return true;
}

bool reader_u32_be(struct reader *reader, uint32_t *out)
{
    struct bytes bytes;
    uint32_t big_endian;
    if (!reader_bytes(reader, sizeof(big_endian), &bytes))
        return false;
    memcpy(&big_endian, bytes.data, sizeof(big_endian));
    *out = __builtin_bswap32(big_endian);
    return true;
}

bool reader_u64_be(struct reader *reader, uint64_t *out)
{
    struct bytes bytes;
    uint64_t big_endian;
    if (!reader_bytes(reader, sizeof(big_endian), &bytes))
        return false;
    memcpy(&big_endian, bytes.data, sizeof(big_endian));
    *out = __builtin_bswap64(big_endian);
    return true;
}

bool reader_varint(struct reader *reader, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t index = 0; index < reader->bytes_left && index < VARINT_BYTES_MAX; index++) {
        uint8_t byte = reader->data[index];
        /* The tenth byte has room for one bit. */
        if (index == VARINT_BYTES_MAX - 1 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << (7 * index);
        if (byte & 0x80)
            continue;
        /* A number has one form, the shortest: equal contents are then equal bytes. */
        if (byte == 0 && index > 0)
            return false;
        reader->data += index + 1;
        reader->bytes_left -= index + 1;
        *out = value;
        return true;
    }
    return false;
}

bool reader_counted(struct reader *reader, struct bytes *out)
{
    struct reader ahead = *reader;
    uint64_t bytes_count;
    if (!reader_varint(&ahead, &bytes_count) || !reader_bytes(&ahead, bytes_count, out))
        return false;
    *reader = ahead;
    return true;
}
