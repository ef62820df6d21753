#include "proto/write_set.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static void append(struct buffer *set, enum write_kind kind, struct bytes key, struct bytes value)
{
    struct write write = {kind, key, value};
    write_set_append(set, &write);
}

static void append_put(struct buffer *set, const char *key, const char *value)
{
    append(set, WRITE_PUT, bytes_of_string(key), bytes_of_string(value));
}

static void append_delete(struct buffer *set, const char *key)
{
    append(set, WRITE_DELETE, bytes_of_string(key), bytes_of(NULL, 0));
}

static int check(const struct buffer *set, uint32_t *out_writes_count, char *out_why)
{
    out_why[0] = '\0';
    int status = write_set_check(buffer_bytes(set), out_writes_count, out_why);
    cr_expect_eq(out_why[0] == '\0', status == OST_OK, "an error has a reason");
    return status;
}

static void expect_check(const struct buffer *set, int expected, const char *expected_why)
{
    uint32_t writes_count;
    char why[LIMIT_WHY_BYTES];
    int status = check(set, &writes_count, why);
    cr_assert_eq(status, expected, "%s: %s", ost_status_name(status), why);
    if (expected_why)
        cr_expect_not_null(strstr(why, expected_why), "%s", why);
}

static struct bytes filled(size_t bytes_count)
{
    uint8_t *data = malloc(bytes_count);
    memset(data, 'k', bytes_count);
    return bytes_of(data, bytes_count);
}

Test(write_set, layout)
{
    struct buffer set = BUFFER_INIT;
    append_put(&set, "a", "xy");
    append_delete(&set, "b");
    const char expected[] = "\x01\x01"
                            "a\x02xy\x02\x01"
                            "b";
    cr_expect(bytes_equal(buffer_bytes(&set), bytes_of(expected, sizeof(expected) - 1)));
    buffer_fini(&set);
}

Test(write_set, walks_what_was_appended)
{
    struct buffer set = BUFFER_INIT;
    append_put(&set, "a", "1");
    append_put(&set, "b", "");
    append_delete(&set, "c");
    struct reader reader = reader_of(buffer_bytes(&set));
    struct write write;
    cr_assert_eq(write_set_next(&reader, &write), OST_OK);
    cr_expect_eq(write.kind, WRITE_PUT);
    cr_expect(bytes_equal(write.key, bytes_of_string("a")));
    cr_expect(bytes_equal(write.value, bytes_of_string("1")));
    cr_assert_eq(write_set_next(&reader, &write), OST_OK);
    cr_expect_eq(write.kind, WRITE_PUT);
    cr_expect_eq(write.value.bytes_count, 0);
    cr_assert_eq(write_set_next(&reader, &write), OST_OK);
    cr_expect_eq(write.kind, WRITE_DELETE);
    cr_expect(bytes_equal(write.key, bytes_of_string("c")));
    cr_expect_eq(write.value.bytes_count, 0);
    cr_expect_eq(write_set_next(&reader, &write), OST_NOT_FOUND);
    cr_expect_eq(write_set_next(&reader, &write), OST_NOT_FOUND);
    buffer_fini(&set);
}

Test(write_set, bad_form_is_refused_and_moves_nothing)
{
    const struct {
        const char *bytes;
        size_t bytes_count;
    } bad[] = {
        {"\x00\x01"
         "a\x00",
         4}, /* no such kind */
        {"\x03\x01"
         "a\x00",
         4},
        {"\x01", 1}, /* no key */
        {"\x02\x05"
         "abcd",
         6}, /* a key cut short */
        {"\x01\x01"
         "a",
         3}, /* no value */
        {"\x01\x01"
         "a\x02x",
         5}, /* a value cut short */
        {"\x02\x81\x00"
         "a",
         4}, /* a length in more bytes than it needs */
        {"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
         "a",
         12}, /* a length beyond everything */
    };
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        struct bytes set = bytes_of(bad[index].bytes, bad[index].bytes_count);
        struct reader reader = reader_of(set);
        struct write write;
        cr_expect_eq(write_set_next(&reader, &write), OST_PROTOCOL, "case %zu", index);
        cr_expect_eq(reader.bytes_left, set.bytes_count);
        uint32_t writes_count;
        char why[LIMIT_WHY_BYTES] = "";
        cr_expect_eq(write_set_check(set, &writes_count, why), OST_PROTOCOL);
        cr_expect_neq(why[0], '\0');
    }
}

Test(write_set, check_counts)
{
    struct buffer set = BUFFER_INIT;
    uint32_t writes_count = 99;
    char why[LIMIT_WHY_BYTES];
    cr_expect_eq(check(&set, &writes_count, why), OST_OK, "a participant may have read only");
    cr_expect_eq(writes_count, 0);
    append_put(&set, "a", "1");
    append_delete(&set, "b");
    append_put(&set, "ba", "1");
    cr_expect_eq(check(&set, &writes_count, why), OST_OK);
    cr_expect_eq(writes_count, 3);
    buffer_fini(&set);
}

Test(write_set, check_wants_ascending_keys)
{
    struct buffer set = BUFFER_INIT;
    append_put(&set, "b", "1");
    append_put(&set, "a", "1");
    expect_check(&set, OST_INVALID_ARGUMENT, "order");
    buffer_reset(&set);
    append_put(&set, "a", "1");
    append_delete(&set, "a");
    expect_check(&set, OST_INVALID_ARGUMENT, "order");
    buffer_fini(&set);
}

Test(write_set, check_refuses_an_empty_key)
{
    struct buffer set = BUFFER_INIT;
    append_put(&set, "", "1");
    expect_check(&set, OST_INVALID_ARGUMENT, "empty");
    buffer_fini(&set);
}

Test(write_set, check_limits_key_and_value)
{
    struct bytes big = filled(VALUE_BYTES_MAX + 1);
    struct buffer set = BUFFER_INIT;
    append(&set, WRITE_PUT, bytes_of(big.data, KEY_BYTES_MAX), bytes_of(big.data, VALUE_BYTES_MAX));
    expect_check(&set, OST_OK, NULL);
    buffer_reset(&set);
    append(&set, WRITE_DELETE, bytes_of(big.data, KEY_BYTES_MAX + 1), bytes_of(NULL, 0));
    expect_check(&set, OST_TOO_LARGE, "key is 8193 bytes: the limit is 8 KiB");
    buffer_reset(&set);
    append(&set, WRITE_PUT, bytes_of_string("k"), big);
    expect_check(&set, OST_TOO_LARGE, "value is 1048577 bytes: the limit is 1 MiB");
    buffer_fini(&set);
    free((void *)(uintptr_t)big.data);
}

Test(write_set, check_limits_operations)
{
    struct buffer set = BUFFER_INIT;
    char key[16];
    for (uint32_t index = 0; index < TXN_OPERATIONS_COUNT_MAX; index++) {
        snprintf(key, sizeof(key), "%08u", index);
        append_delete(&set, key);
    }
    expect_check(&set, OST_OK, NULL);
    append_delete(&set, "x");
    expect_check(&set, OST_TOO_LARGE, "100001 operations: the limit is 100,000");
    buffer_fini(&set);
}

/* Keys and values count, to the byte; what the encoding adds does not. */
Test(write_set, check_limits_the_whole)
{
    struct bytes value = filled(VALUE_BYTES_MAX);
    struct buffer set = BUFFER_INIT;
    char key[16];
    for (int index = 0; index < 63; index++) {
        snprintf(key, sizeof(key), "%08d", index);
        append(&set, WRITE_PUT, bytes_of_string(key), value);
    }
    size_t left = TXN_BYTES_MAX - 63 * (VALUE_BYTES_MAX + 8);
    append(&set, WRITE_PUT, bytes_of_string("x"), bytes_of(value.data, left - 8 - 1));
    append(&set, WRITE_PUT, bytes_of_string("y"), bytes_of(value.data, 7));
    expect_check(&set, OST_OK, NULL);
    append_delete(&set, "z");
    expect_check(&set, OST_TOO_LARGE, "bytes: the limit is 64 MiB");
    buffer_fini(&set);
    free((void *)(uintptr_t)value.data);
}

Test(rows, walk_and_form)
{
    struct buffer rows = BUFFER_INIT;
    struct row first = {bytes_of_string("key"), UINT64_C(0x0102030405060708), bytes_of("v", 1)};
    struct row second = {bytes_of_string("kez"), 0, bytes_of(NULL, 0)};
    rows_append(&rows, &first);
    rows_append(&rows, &second);
    const char expected[] = "\x03key\x01\x02\x03\x04\x05\x06\x07\x08\x01v";
    cr_expect_arr_eq(rows.data, expected, sizeof(expected) - 1);

    struct reader reader = reader_of(buffer_bytes(&rows));
    struct row row;
    cr_assert_eq(rows_next(&reader, &row), OST_OK);
    cr_expect(bytes_equal(row.key, first.key));
    cr_expect_eq(row.version, first.version);
    cr_expect(bytes_equal(row.value, first.value));
    cr_assert_eq(rows_next(&reader, &row), OST_OK);
    cr_expect_eq(row.version, 0);
    cr_expect_eq(row.value.bytes_count, 0);
    cr_expect_eq(rows_next(&reader, &row), OST_NOT_FOUND);

    for (size_t bytes_count = 1; bytes_count < sizeof(expected) - 1; bytes_count++) {
        reader = reader_of(bytes_of(rows.data, bytes_count));
        cr_expect_eq(rows_next(&reader, &row), OST_PROTOCOL);
        cr_expect_eq(reader.bytes_left, bytes_count);
    }
    buffer_fini(&rows);
}
