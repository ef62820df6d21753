#include "proto/write_set.h"

#include <stdio.h>

void write_set_append(struct buffer *buffer, const struct write *write)
{
    ASSERT(write->kind == WRITE_PUT || write->kind == WRITE_DELETE);
    ASSERT(write->kind == WRITE_PUT || write->value.bytes_count == 0);
    buffer_append_u8(buffer, (uint8_t)write->kind);
    buffer_append_counted(buffer, write->key);
    if (write->kind == WRITE_PUT)
        buffer_append_counted(buffer, write->value);
}

int write_set_next(struct reader *reader, struct write *out_write)
{
    if (reader->bytes_left == 0)
        return OST_NOT_FOUND;
    struct reader ahead = *reader;
    struct write write = {.value = bytes_of(NULL, 0)};
    uint8_t kind;
    if (!reader_u8(&ahead, &kind) || (kind != WRITE_PUT && kind != WRITE_DELETE))
        return OST_PROTOCOL;
    write.kind = (enum write_kind)kind;
    if (!reader_counted(&ahead, &write.key))
        return OST_PROTOCOL;
    if (write.kind == WRITE_PUT && !reader_counted(&ahead, &write.value))
        return OST_PROTOCOL;
    *reader = ahead;
    *out_write = write;
    return OST_OK;
}

int write_set_check(struct bytes set, uint32_t *out_writes_count, char *out_why)
{
    struct reader reader = reader_of(set);
    struct bytes previous_key = bytes_of(NULL, 0); /* before every key: none is empty */
    uint32_t writes_count = 0;
    size_t txn_bytes = 0; /* keys and values, as the user counts them */
    struct write write;
    int status;
    while ((status = write_set_next(&reader, &write)) == OST_OK) {
        txn_bytes += write.key.bytes_count + write.value.bytes_count;
        writes_count++;
        status = limit_check_key(write.key.bytes_count, out_why);
        if (status == OST_OK)
            status = limit_check_value(write.value.bytes_count, out_why);
        if (status == OST_OK)
            status = limit_check_txn(writes_count, txn_bytes, out_why);
        if (status != OST_OK)
            return status;
        if (bytes_compare(write.key, previous_key) <= 0) {
            snprintf(out_why, LIMIT_WHY_BYTES, "keys are not in ascending order");
            return OST_INVALID_ARGUMENT;
        }
        previous_key = write.key;
    }
    if (status != OST_NOT_FOUND) {
        snprintf(out_why, LIMIT_WHY_BYTES, "write set does not parse");
        return OST_PROTOCOL;
    }
    *out_writes_count = writes_count;
    return OST_OK;
}

void rows_append(struct buffer *buffer, const struct row *row)
{
    buffer_append_counted(buffer, row->key);
    buffer_append_u64_be(buffer, row->version);
    buffer_append_counted(buffer, row->value);
}

int rows_next(struct reader *reader, struct row *out_row)
{
    if (reader->bytes_left == 0)
        return OST_NOT_FOUND;
    struct reader ahead = *reader;
    struct row row;
    if (!reader_counted(&ahead, &row.key) || !reader_u64_be(&ahead, &row.version) ||
        !reader_counted(&ahead, &row.value))
        return OST_PROTOCOL;
    *reader = ahead;
    *out_row = row;
    return OST_OK;
}
