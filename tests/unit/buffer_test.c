#include "base/buffer.h"
#include "base/memory.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(buffer, empty_needs_no_memory)
{
    struct buffer buffer = BUFFER_INIT;
    cr_expect_eq(buffer_bytes(&buffer).bytes_count, 0);
    buffer_append(&buffer, NULL, 0);
    cr_expect_null(buffer.data);
    buffer_fini(&buffer);
    buffer_init(&buffer);
    cr_expect_not_null(buffer_extend(&buffer, 0));
    cr_expect_eq(buffer.bytes_count, 0);
    buffer_fini(&buffer);
}

Test(buffer, grows_and_keeps_what_is_in_it)
{
    struct buffer buffer;
    buffer_init(&buffer);
    for (size_t index = 0; index < 100000; index++)
        buffer_append_u8(&buffer, (uint8_t)(index * 7));
    cr_assert_eq(buffer.bytes_count, 100000);
    for (size_t index = 0; index < 100000; index++)
        cr_assert_eq(buffer.data[index], (uint8_t)(index * 7));
    buffer_fini(&buffer);
}

Test(buffer, reset_keeps_the_memory)
{
    struct buffer buffer;
    buffer_init(&buffer);
    memset(buffer_extend(&buffer, 1000), 1, 1000);
    uint8_t *data = buffer.data;
    buffer_reset(&buffer);
    cr_expect_eq(buffer.bytes_count, 0);
    buffer_append(&buffer, "x", 1);
    cr_expect_eq(buffer.data, data);
    buffer_fini(&buffer);
    cr_expect_null(buffer.data);
}

Test(buffer, reserve_prevents_moving)
{
    struct buffer buffer;
    buffer_init(&buffer);
    buffer_reserve(&buffer, 5000);
    uint8_t *data = buffer.data;
    for (int index = 0; index < 625; index++)
        buffer_append_u64_be(&buffer, 1);
    cr_expect_eq(buffer.data, data);
    buffer_fini(&buffer);
}

Test(buffer, numbers_lie_high_byte_first)
{
    struct buffer buffer;
    buffer_init(&buffer);
    buffer_append_u32_be(&buffer, 0x01020304);
    buffer_append_u64_be(&buffer, UINT64_C(0x05060708090a0b0c));
    const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    cr_expect(bytes_equal(buffer_bytes(&buffer), bytes_of(expected, sizeof(expected))));
    buffer_fini(&buffer);
}

Test(buffer, varint_form)
{
    struct {
        uint64_t value;
        const char *bytes;
        size_t bytes_count;
    } cases[] = {
        {0, "\x00", 1},
        {127, "\x7f", 1},
        {128, "\x80\x01", 2},
        {300, "\xac\x02", 2},
        {UINT64_MAX, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct buffer buffer = BUFFER_INIT;
        buffer_append_varint(&buffer, cases[index].value);
        cr_expect(bytes_equal(buffer_bytes(&buffer),
                              bytes_of(cases[index].bytes, cases[index].bytes_count)));
        buffer_fini(&buffer);
    }
}

Test(reader, reads_back_random_sequences)
{
    struct random random;
    random_init(&random, 1);
    for (int round = 0; round < 2000; round++) {
        uint64_t values[40];
        struct buffer buffer = BUFFER_INIT;
        for (size_t index = 0; index < 40; index++) {
            values[index] = random_next(&random) >> random_below(&random, 64);
            if (index % 4 == 0)
                buffer_append_u8(&buffer, (uint8_t)values[index]);
            else if (index % 4 == 1)
                buffer_append_u32_be(&buffer, (uint32_t)values[index]);
            else if (index % 4 == 2)
                buffer_append_u64_be(&buffer, values[index]);
            else
                buffer_append_varint(&buffer, values[index]);
        }
        struct reader reader = reader_of(buffer_bytes(&buffer));
        for (size_t index = 0; index < 40; index++) {
            uint8_t u8 = 0;
            uint32_t u32 = 0;
            uint64_t u64 = 0;
            if (index % 4 == 0)
                cr_assert(reader_u8(&reader, &u8) && u8 == (uint8_t)values[index]);
            else if (index % 4 == 1)
                cr_assert(reader_u32_be(&reader, &u32) && u32 == (uint32_t)values[index]);
            else if (index % 4 == 2)
                cr_assert(reader_u64_be(&reader, &u64) && u64 == values[index]);
            else
                cr_assert(reader_varint(&reader, &u64) && u64 == values[index]);
        }
        cr_assert_eq(reader.bytes_left, 0);
        buffer_fini(&buffer);
    }
}

Test(reader, too_few_bytes_move_nothing)
{
    const uint8_t data[7] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80};
    struct reader reader = reader_of(bytes_of(data, sizeof(data)));
    uint64_t u64 = 5;
    struct bytes bytes = bytes_of(data, 1);
    cr_expect_not(reader_u64_be(&reader, &u64));
    cr_expect_not(reader_varint(&reader, &u64), "every byte says that another follows");
    cr_expect_not(reader_bytes(&reader, 8, &bytes));
    cr_expect_not(reader_bytes(&reader, SIZE_MAX, &bytes));
    cr_expect_eq(reader.data, data);
    cr_expect_eq(reader.bytes_left, 7);
    cr_expect_eq(u64, 5);
    cr_expect_eq(bytes.bytes_count, 1);
    struct reader short_one = reader_of(bytes_of(data, 3));
    uint32_t u32;
    cr_expect_not(reader_u32_be(&short_one, &u32));
    cr_expect_eq(short_one.bytes_left, 3);
}

Test(reader, of_nothing)
{
    struct reader reader = reader_of(bytes_of(NULL, 0));
    uint8_t u8;
    struct bytes bytes;
    cr_expect_not(reader_u8(&reader, &u8));
    cr_expect(reader_bytes(&reader, 0, &bytes));
    cr_expect_eq(bytes.bytes_count, 0);
}

static bool varint_is_accepted(const char *data, size_t bytes_count)
{
    struct reader reader = reader_of(bytes_of(data, bytes_count));
    uint64_t value;
    bool accepted = reader_varint(&reader, &value);
    cr_expect_eq(reader.bytes_left, accepted ? 0 : bytes_count);
    return accepted;
}

Test(reader, varint_has_one_form)
{
    cr_expect(varint_is_accepted("\x00", 1));
    cr_expect_not(varint_is_accepted("\x80\x00", 2), "zero in two bytes");
    cr_expect_not(varint_is_accepted("\xff\x80\x00", 3), "127 in three bytes");
    cr_expect(varint_is_accepted("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10));
    cr_expect_not(varint_is_accepted("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10), "65 bits");
    cr_expect_not(varint_is_accepted("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11));
}

Test(memory, nothing_is_memory_too)
{
    void *nothing = memory_alloc(0);
    cr_assert_not_null(nothing);
    nothing = memory_realloc(nothing, 0);
    cr_assert_not_null(nothing);
    free(nothing);
    uint8_t *zeroed = memory_alloc_zeroed(10, 10);
    for (int index = 0; index < 100; index++)
        cr_expect_eq(zeroed[index], 0);
    free(zeroed);
    char *copy = memory_copy_string("name");
    cr_expect_str_eq(copy, "name");
    free(copy);
}
