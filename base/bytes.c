#include "base/bytes.h"

#include "base/memory.h"

#include <stdlib.h>

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.bytes_count < b.bytes_count ? a.bytes_count : b.bytes_count;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    if (order != 0)
        return order;
    return (a.bytes_count > b.bytes_count) - (a.bytes_count < b.bytes_count);
}

/* An empty end lies behind every key. */
static bool key_before_end(struct bytes key, struct bytes end)
{
    return end.bytes_count == 0 || bytes_compare(key, end) < 0;
}

bool key_in_range(struct bytes key, struct bytes start, struct bytes end)
{
    return bytes_compare(key, start) >= 0 && key_before_end(key, end);
}

bool ranges_overlap(struct bytes a_start, struct bytes a_end, struct bytes b_start,
                    struct bytes b_end)
{
    /* Two half-open ranges share a key exactly when the later start lies before both ends; that is
     * also what makes a range without keys overlap nothing. */
    struct bytes start = bytes_compare(a_start, b_start) >= 0 ? a_start : b_start;
    return key_before_end(start, a_end) && key_before_end(start, b_end);
}

/* What would end a quoted value, or be mistaken for an escape, is escaped too. */
static bool byte_is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

char *key_print(struct bytes key, char *text, size_t text_bytes_max)
{
    static const char digits[] = "0123456789abcdef";
    static const char cut_mark[] = "...";
    ASSERT(text_bytes_max >= sizeof(cut_mark));

    size_t used = 0;
    size_t cut_at = 0; /* the last place where the mark and the NUL still fit behind whole bytes */
    for (size_t index = 0; index < key.bytes_count; index++) {
        uint8_t byte = key.data[index];
        size_t need = byte_is_plain(byte) ? 1 : 4;
        if (used + sizeof(cut_mark) <= text_bytes_max)
            cut_at = used;
        if (used + need + 1 > text_bytes_max) {
            memcpy(text + cut_at, cut_mark, sizeof(cut_mark));
            return text;
        }
        if (need == 1) {
            text[used] = (char)byte;
        } else {
            text[used] = '\\';
            text[used + 1] = 'x';
            text[used + 2] = digits[byte >> 4];
            text[used + 3] = digits[byte & 15];
        }
        used += need;
    }
    text[used] = '\0';
    return text;
}

struct blob *blob_new(size_t bytes_count)
{
    ASSERT(bytes_count <= UINT32_MAX);
    struct blob *blob = memory_alloc(sizeof(*blob) + bytes_count);
    blob->refs_count = 1;
    blob->bytes_count = (uint32_t)bytes_count;
    return blob;
}

struct blob *blob_copy(struct bytes bytes)
{
    struct blob *blob = blob_new(bytes.bytes_count);
    if (bytes.bytes_count > 0)
        memcpy(blob->data, bytes.data, bytes.bytes_count);
    return blob;
}

void blob_unref(struct blob *blob)
{
    if (!blob)
        return;
    ASSERT(blob->refs_count > 0);
    if (--blob->refs_count == 0)
        free(blob);
}
