#include "shardkv/kv_keys.h"

#include "base/random.h"

#include <criterion/criterion.h>

static struct bytes random_key(struct random *random, uint8_t *data, size_t bytes_max)
{
    /* Few letters, so that keys meet and zero bytes are everywhere. */
    static const uint8_t letters[] = {0x00, 0x00, 0x01, 0x02, 'a', 0xfe, 0xff};
    size_t bytes_count = random_below(random, bytes_max + 1);
    for (size_t index = 0; index < bytes_count; index++)
        data[index] = letters[random_below(random, sizeof(letters))];
    return bytes_of(data, bytes_count);
}

static int sign(int number)
{
    return (number > 0) - (number < 0);
}

Test(kv_keys, escaping_keeps_order_and_comes_back)
{
    struct random random;
    random_init(&random, 1);
    struct buffer a = BUFFER_INIT;
    struct buffer b = BUFFER_INIT;
    struct buffer back = BUFFER_INIT;
    for (int round = 0; round < 200000; round++) {
        uint8_t data[2][8];
        struct bytes key_a = random_key(&random, data[0], 8);
        struct bytes key_b = random_key(&random, data[1], 8);
        buffer_reset(&a);
        buffer_reset(&b);
        kv_key_escape(&a, key_a);
        kv_key_escape(&b, key_b);
        int order = sign(bytes_compare(key_a, key_b));
        cr_assert_eq(order, sign(bytes_compare(buffer_bytes(&a), buffer_bytes(&b))));
        /* No escaped key begins another. */
        if (order != 0) {
            size_t common = a.bytes_count < b.bytes_count ? a.bytes_count : b.bytes_count;
            cr_assert_neq(memcmp(a.data, b.data, common), 0);
        }
        struct reader reader = reader_of(buffer_bytes(&a));
        buffer_reset(&back);
        cr_assert(kv_key_unescape(&reader, &back));
        cr_assert_eq(reader.bytes_left, 0);
        cr_assert(bytes_equal(buffer_bytes(&back), key_a));
    }
    buffer_fini(&a);
    buffer_fini(&b);
    buffer_fini(&back);
}

Test(kv_keys, versions_come_newest_first_and_together)
{
    struct buffer key = BUFFER_INIT;
    struct buffer older = BUFFER_INIT;
    struct buffer other = BUFFER_INIT;
    struct buffer prefix = BUFFER_INIT;
    struct bytes user_key = bytes_of("a\0b", 3);
    kv_key_data(&key, 5, 2, user_key, 100);
    kv_key_data(&older, 5, 2, user_key, 99);
    kv_key_data(&other, 5, 2, bytes_of("a\0b\0", 4), UINT64_MAX);
    kv_key_data_prefix(&prefix, 5, 2, user_key);
    cr_assert_lt(bytes_compare(buffer_bytes(&key), buffer_bytes(&older)), 0);
    cr_assert_lt(bytes_compare(buffer_bytes(&older), buffer_bytes(&other)), 0);
    cr_assert_eq(kv_key_prefix_bytes(buffer_bytes(&key)), prefix.bytes_count);
    cr_assert_eq(memcmp(key.data, prefix.data, prefix.bytes_count), 0);
    cr_assert_neq(memcmp(other.data, prefix.data, prefix.bytes_count), 0);

    struct buffer back = BUFFER_INIT;
    timestamp_t timestamp;
    cr_assert(kv_key_parse_data(buffer_bytes(&key), &back, &timestamp));
    cr_assert(bytes_equal(buffer_bytes(&back), user_key));
    cr_assert_eq(timestamp, 100);
    for (size_t cut = 0; cut < key.bytes_count; cut++)
        cr_assert(!kv_key_parse_data(bytes_of(key.data, cut), &back, &timestamp));
    buffer_fini(&key);
    buffer_fini(&older);
    buffer_fini(&other);
    buffer_fini(&prefix);
    buffer_fini(&back);
}

Test(kv_keys, other_rows_are_their_own_prefix)
{
    struct buffer key = BUFFER_INIT;
    struct txn_id txn = {1, 2};
    kv_key_prepared(&key, 1, 1, txn);
    cr_assert_eq(kv_key_prefix_bytes(buffer_bytes(&key)), key.bytes_count);
    kv_key_outcome(&key, 1, 1, bytes_of_string("anchor"), txn);
    cr_assert_eq(kv_key_prefix_bytes(buffer_bytes(&key)), key.bytes_count);
    kv_key_group_meta(&key, 1);
    cr_assert_eq(kv_key_prefix_bytes(buffer_bytes(&key)), key.bytes_count);
    kv_key_store_identity(&key);
    cr_assert_eq(kv_key_prefix_bytes(buffer_bytes(&key)), key.bytes_count);
    kv_key_range(&key, 1, 1, bytes_of(NULL, 0));
    struct kv_row_key parts;
    cr_assert(kv_key_parse(buffer_bytes(&key), &parts));
    cr_assert_eq(parts.kind, KV_ROW_RANGE);
    cr_assert_eq(parts.rest.bytes_count, 0);
    buffer_fini(&key);
}
