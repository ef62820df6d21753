/* buffer.h: bytes that grow at the end; for building keys, rows, and log blocks. */
#pragma once

#include "base/bytes.h"

struct buffer {
    uint8_t *data;
    size_t bytes_count;
    size_t capacity_bytes;
};

#define BUFFER_INIT                                                                                \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void buffer_init(struct buffer *buffer);
void buffer_fini(struct buffer *buffer);
/* Keeps the memory. */
static inline void buffer_reset(struct buffer *buffer)
{
    buffer->bytes_count = 0;
}
void buffer_reserve(struct buffer *buffer, size_t more_bytes);
void buffer_append(struct buffer *buffer, const void *data, size_t bytes_count);
/* Grows by `bytes_count` and returns the start of the new, uninitialised part. */
uint8_t *buffer_extend(struct buffer *buffer, size_t bytes_count);
void buffer_append_u8(struct buffer *buffer, uint8_t value);
void buffer_append_u32_be(struct buffer *buffer, uint32_t value);
void buffer_append_u64_be(struct buffer *buffer, uint64_t value);
void buffer_append_varint(struct buffer *buffer, uint64_t value);
/* Their number as a varint, then the bytes. */
void buffer_append_counted(struct buffer *buffer, struct bytes bytes);
static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    return bytes_of(buffer->data, buffer->bytes_count);
}

/* A cursor that reads what the functions above wrote; every read is checked. */
struct reader {
    const uint8_t *data;
    size_t bytes_left;
};

static inline struct reader reader_of(struct bytes bytes)
{
    return (struct reader){bytes.data, bytes.bytes_count};
}
/* Each returns false, and moves nothing, when too few bytes are left. */
bool reader_u8(struct reader *reader, uint8_t *out);
bool reader_u32_be(struct reader *reader, uint32_t *out);
bool reader_u64_be(struct reader *reader, uint64_t *out);
bool reader_varint(struct reader *reader, uint64_t *out);
/* Borrowed from the reader's memory. */
bool reader_bytes(struct reader *reader, size_t bytes_count, struct bytes *out);
bool reader_counted(struct reader *reader, struct bytes *out);
