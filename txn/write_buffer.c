#include "txn/write_buffer.h"

#include "base/memory.h"

#include <stdlib.h>

/* One allocation holds the entry, its key, and room for its value. */
struct write_buffer_entry {
    RB_ENTRY(write_buffer_entry) link;
    enum write_kind kind;
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint32_t value_capacity;
    uint8_t data[];
};

static struct bytes entry_key(const struct write_buffer_entry *entry)
{
    return bytes_of(entry->data, entry->key_bytes);
}

static int entry_compare(const struct write_buffer_entry *a, const struct write_buffer_entry *b)
{
    return bytes_compare(entry_key(a), entry_key(b));
}

/* The _STATIC forms want a macro that libbsd does not define on Linux. */
RB_PROTOTYPE_INTERNAL(write_buffer_tree, write_buffer_entry, link, entry_compare,
                      __attribute__((unused)) static)
RB_GENERATE_INTERNAL(write_buffer_tree, write_buffer_entry, link, entry_compare,
                     __attribute__((unused)) static)

void write_buffer_init(struct write_buffer *buffer)
{
    RB_INIT(&buffer->tree);
    buffer->writes_count = 0;
    buffer->bytes_count = 0;
}

void write_buffer_reset(struct write_buffer *buffer)
{
    struct write_buffer_entry *entry = RB_MIN(write_buffer_tree, &buffer->tree);
    while (entry) {
        struct write_buffer_entry *next = RB_NEXT(write_buffer_tree, &buffer->tree, entry);
        RB_REMOVE(write_buffer_tree, &buffer->tree, entry);
        free(entry);
        entry = next;
    }
    write_buffer_init(buffer);
}

/* The first entry at or after `key`, without making an entry to compare with. */
static struct write_buffer_entry *entry_at_or_after(const struct write_buffer *buffer,
                                                    struct bytes key)
{
    struct write_buffer_entry *entry = RB_ROOT(&buffer->tree);
    struct write_buffer_entry *found = NULL;
    while (entry) {
        int order = bytes_compare(key, entry_key(entry));
        if (order == 0)
            return entry;
        if (order < 0) {
            found = entry;
            entry = RB_LEFT(entry, link);
        } else {
            entry = RB_RIGHT(entry, link);
        }
    }
    return found;
}

static struct write_buffer_entry *entry_find(const struct write_buffer *buffer, struct bytes key)
{
    struct write_buffer_entry *entry = entry_at_or_after(buffer, key);
    return entry && bytes_equal(entry_key(entry), key) ? entry : NULL;
}

static int write_check(struct write_buffer *buffer, const struct write *write,
                       const struct write_buffer_entry *old)
{
    int status = limit_check_key(write->key.bytes_count, buffer->why);
    if (status == OST_OK)
        status = limit_check_value(write->value.bytes_count, buffer->why);
    if (status != OST_OK)
        return status;
    size_t old_bytes = old ? (size_t)old->key_bytes + old->value_bytes : 0;
    return limit_check_txn(buffer->writes_count + (old ? 0u : 1u),
                           buffer->bytes_count - old_bytes + write->key.bytes_count +
                               write->value.bytes_count,
                           buffer->why);
}

int write_buffer_put(struct write_buffer *buffer, const struct write *write, const char **out_why)
{
    ASSERT(write->kind == WRITE_PUT || write->value.bytes_count == 0);
    struct write_buffer_entry *entry = entry_find(buffer, write->key);
    int status = write_check(buffer, write, entry);
    *out_why = status == OST_OK ? NULL : buffer->why;
    if (status != OST_OK)
        return status;
    uint32_t value_bytes = (uint32_t)write->value.bytes_count;
    if (entry) {
        buffer->bytes_count -= (size_t)entry->key_bytes + entry->value_bytes;
        buffer->writes_count--;
        if (entry->value_capacity < value_bytes) {
            RB_REMOVE(write_buffer_tree, &buffer->tree, entry);
            free(entry);
            entry = NULL;
        }
    }
    if (!entry) {
        entry = memory_alloc(sizeof(*entry) + write->key.bytes_count + value_bytes);
        entry->key_bytes = (uint32_t)write->key.bytes_count;
        entry->value_capacity = value_bytes;
        memcpy(entry->data, write->key.data, write->key.bytes_count);
        RB_INSERT(write_buffer_tree, &buffer->tree, entry);
    }
    entry->kind = write->kind;
    entry->value_bytes = value_bytes;
    if (value_bytes)
        memcpy(entry->data + entry->key_bytes, write->value.data, value_bytes);
    buffer->bytes_count += (size_t)entry->key_bytes + value_bytes;
    buffer->writes_count++;
    return OST_OK;
}

int write_buffer_find(const struct write_buffer *buffer, struct bytes key, struct write *out_write)
{
    const struct write_buffer_entry *entry = entry_find(buffer, key);
    if (!entry)
        return OST_NOT_FOUND;
    *out_write = write_buffer_entry_write(entry);
    return OST_OK;
}

struct write_buffer_entry *write_buffer_first(const struct write_buffer *buffer, struct bytes key)
{
    return entry_at_or_after(buffer, key);
}

struct write_buffer_entry *write_buffer_last(const struct write_buffer *buffer, struct bytes key)
{
    struct write_buffer_entry *after = key.bytes_count ? entry_at_or_after(buffer, key) : NULL;
    if (after)
        return write_buffer_previous(after);
    struct write_buffer_entry *entry = RB_ROOT(&buffer->tree);
    while (entry && RB_RIGHT(entry, link))
        entry = RB_RIGHT(entry, link);
    return entry;
}

struct write_buffer_entry *write_buffer_next(struct write_buffer_entry *entry)
{
    return RB_NEXT(write_buffer_tree, NULL, entry);
}

struct write_buffer_entry *write_buffer_previous(struct write_buffer_entry *entry)
{
    return RB_PREV(write_buffer_tree, NULL, entry);
}

struct write write_buffer_entry_write(const struct write_buffer_entry *entry)
{
    return (struct write){
        .kind = entry->kind,
        .key = entry_key(entry),
        .value = bytes_of(entry->data + entry->key_bytes, entry->value_bytes),
    };
}
