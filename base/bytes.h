/* bytes.h: a borrowed run of bytes, and a counted one.
 *
 * `struct bytes` never owns. `struct blob` is counted without atomics: a blob belongs to one
 * thread; the log thread and the pool are handed memory of their own.
 */
#pragma once

#include "base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data; /* may be NULL when bytes_count is 0 */
    size_t bytes_count;
};

static inline struct bytes bytes_of(const void *data, size_t bytes_count)
{
    return (struct bytes){.data = data, .bytes_count = bytes_count};
}
/* What follows the first `skip` of them. */
static inline struct bytes bytes_from(struct bytes bytes, size_t skip)
{
    ASSERT(skip <= bytes.bytes_count);
    return bytes_of(bytes.data + skip, bytes.bytes_count - skip);
}
static inline struct bytes bytes_of_string(const char *text)
{
    return bytes_of(text, strlen(text));
}
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.bytes_count == b.bytes_count &&
           (a.bytes_count == 0 || memcmp(a.data, b.data, a.bytes_count) == 0);
}
/* Byte order, a prefix before what it begins: <0, 0, >0. */
int bytes_compare(struct bytes a, struct bytes b);

/* Ranges of keys are [start, end); an empty end is the end of the key space. */
bool key_in_range(struct bytes key, struct bytes start, struct bytes end);
/* Do [a_start, a_end) and [b_start, b_end) share a key? */
bool ranges_overlap(struct bytes a_start, struct bytes a_end, struct bytes b_start,
                    struct bytes b_end);

/* Printable form of a key for logs and messages: \xNN for what is not printable, cut with "..."
 * when it is longer than `text_bytes_max` allows. Returns `text`. */
char *key_print(struct bytes key, char *text, size_t text_bytes_max);
#define KEY_TEXT_BYTES 96

struct blob {
    uint32_t refs_count;
    uint32_t bytes_count;
    uint8_t data[];
};

/* Memory is never refused: running out of it aborts (limits keep us far from there). */
struct blob *blob_new(size_t bytes_count);
struct blob *blob_copy(struct bytes bytes);
static inline struct blob *blob_ref(struct blob *blob)
{
    blob->refs_count++;
    return blob;
}
/* NULL is allowed. */
void blob_unref(struct blob *blob);
static inline struct bytes blob_bytes(const struct blob *blob)
{
    return blob ? bytes_of(blob->data, blob->bytes_count) : bytes_of(NULL, 0);
}
