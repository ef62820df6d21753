#include "base/blob_bin.h"
#include "base/bytes.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

static struct bytes b(const char *text)
{
    return bytes_of_string(text);
}

Test(bytes, compare_is_byte_order_with_prefixes_first)
{
    cr_expect_eq(bytes_compare(b(""), b("")), 0);
    cr_expect_eq(bytes_compare(bytes_of(NULL, 0), b("")), 0);
    cr_expect_lt(bytes_compare(bytes_of(NULL, 0), b("a")), 0);
    cr_expect_gt(bytes_compare(b("a"), bytes_of(NULL, 0)), 0);
    cr_expect_lt(bytes_compare(b("a"), b("ab")), 0);
    cr_expect_gt(bytes_compare(b("b"), b("ab")), 0);
    cr_expect_eq(bytes_compare(b("ab"), b("ab")), 0);
    cr_expect_lt(bytes_compare(b("\x7f"), b("\x80")), 0, "bytes have no sign");
    cr_expect_lt(bytes_compare(bytes_of("a\0a", 3), bytes_of("a\0b", 3)), 0, "NUL ends nothing");
}

Test(bytes, equal)
{
    cr_expect(bytes_equal(bytes_of(NULL, 0), b("")));
    cr_expect(bytes_equal(b("key"), b("key")));
    cr_expect_not(bytes_equal(b("key"), b("kez")));
    cr_expect_not(bytes_equal(b("key"), b("ke")));
}

Test(bytes, key_in_range_is_half_open)
{
    cr_expect(key_in_range(b("b"), b("b"), b("d")));
    cr_expect(key_in_range(b("c"), b("b"), b("d")));
    cr_expect_not(key_in_range(b("d"), b("b"), b("d")));
    cr_expect_not(key_in_range(b("a"), b("b"), b("d")));
    cr_expect(key_in_range(b("\xff\xff"), b("b"), b("")), "an empty end is the end of the space");
    cr_expect(key_in_range(b(""), b(""), b("")));
    cr_expect_not(key_in_range(b("a"), b("b"), b("")));
}

Test(bytes, ranges_overlap_cases)
{
    cr_expect(ranges_overlap(b("a"), b("c"), b("b"), b("d")));
    cr_expect_not(ranges_overlap(b("a"), b("b"), b("b"), b("c")), "neighbours share no key");
    cr_expect(ranges_overlap(b("a"), b(""), b("z"), b("")));
    cr_expect(ranges_overlap(b(""), b(""), b("m"), b("n")));
    cr_expect_not(ranges_overlap(b("m"), b(""), b("a"), b("m")));
    cr_expect_not(ranges_overlap(b("m"), b("m"), b("a"), b("z")), "an empty range has no key");
}

/* Over an alphabet of two letters and up to three of them, every question has an answer by trying.
 */
Test(bytes, ranges_overlap_agrees_with_trying_every_key)
{
    static const char *const keys[] = {"",  "a",  "aa",  "aaa", "aab", "ab",  "aba", "abb",
                                       "b", "ba", "baa", "bab", "bb",  "bba", "bbb"};
    const size_t keys_count = sizeof(keys) / sizeof(keys[0]);
    struct random random;
    random_init(&random, 7);
    for (int round = 0; round < 20000; round++) {
        struct bytes edge[4];
        for (size_t index = 0; index < 4; index++)
            edge[index] = b(keys[random_below(&random, keys_count)]);
        bool shared = false;
        for (size_t index = 0; index < keys_count; index++)
            shared |= key_in_range(b(keys[index]), edge[0], edge[1]) &&
                      key_in_range(b(keys[index]), edge[2], edge[3]);
        cr_assert_eq(ranges_overlap(edge[0], edge[1], edge[2], edge[3]), shared);
    }
}

Test(bytes, key_print_escapes)
{
    char text[KEY_TEXT_BYTES];
    cr_expect_str_eq(key_print(b("user/1 x"), text, sizeof(text)), "user/1 x");
    cr_expect_str_eq(key_print(bytes_of("a\0\xff\n\"\\", 6), text, sizeof(text)),
                     "a\\x00\\xff\\x0a\\x22\\x5c");
    cr_expect_str_eq(key_print(bytes_of(NULL, 0), text, sizeof(text)), "");
}

Test(bytes, key_print_cuts_between_whole_escapes)
{
    char text[16];
    cr_expect_str_eq(key_print(b("abcdefg"), text, 8), "abcdefg");
    cr_expect_str_eq(key_print(b("abcdefgh"), text, 8), "abcd...");
    cr_expect_str_eq(key_print(b("abc\x01"), text, 8), "abc\\x01");
    cr_expect_str_eq(key_print(b("abcd\x01"), text, 8), "abcd...");
    cr_expect_str_eq(key_print(b("ab\x01yz"), text, 8), "ab...");
    cr_expect_str_eq(key_print(b("abcd"), text, 4), "...");
    cr_expect_str_eq(key_print(b("abc"), text, 4), "abc");
}

Test(bytes, key_print_stays_in_its_room)
{
    struct random random;
    random_init(&random, 8);
    for (int round = 0; round < 20000; round++) {
        uint8_t key[40];
        size_t key_bytes = random_below(&random, sizeof(key) + 1);
        for (size_t index = 0; index < key_bytes; index++)
            key[index] = (uint8_t)random_below(&random, 256);
        size_t room = 4 + random_below(&random, 60);
        char *text = malloc(room);
        cr_assert_eq(key_print(bytes_of(key, key_bytes), text, room), text);
        cr_assert_lt(strnlen(text, room), room);
        for (const char *at = text; *at != '\0'; at++)
            cr_assert(*at >= 0x20 && *at < 0x7f && *at != '"');
        free(text);
    }
}

Test(blob, is_counted)
{
    struct blob *blob = blob_copy(b("hello"));
    cr_assert_eq(blob->refs_count, 1);
    cr_expect_eq(blob_ref(blob), blob);
    cr_expect_eq(blob->refs_count, 2);
    blob_unref(blob);
    cr_expect(bytes_equal(blob_bytes(blob), b("hello")));
    blob_unref(blob);
}

Test(blob, nothing_is_a_blob_too)
{
    blob_unref(NULL);
    cr_expect_eq(blob_bytes(NULL).bytes_count, 0);
    struct blob *blob = blob_copy(bytes_of(NULL, 0));
    cr_expect_eq(blob_bytes(blob).bytes_count, 0);
    blob_unref(blob);
}

Test(assert, failed_assertion_aborts, .signal = SIGABRT)
{
    ASSERT(1 + 1 == 3);
}

Test(random, is_the_published_generator)
{
    /* The first outputs of xoshiro256** for the state 1, 2, 3, 4, by its authors' code. */
    struct random random = {{1, 2, 3, 4}};
    cr_expect_eq(random_next(&random), 11520);
    cr_expect_eq(random_next(&random), 0);
    cr_expect_eq(random_next(&random), 1509978240);
    cr_expect_eq(random_next(&random), UINT64_C(1215971899390074240));
}

Test(random, same_seed_same_run)
{
    struct random a, c, other;
    random_init(&a, 42);
    random_init(&c, 42);
    random_init(&other, 43);
    int same_as_other = 0;
    for (int index = 0; index < 100; index++) {
        uint64_t drawn = random_next(&a);
        cr_expect_eq(drawn, random_next(&c));
        same_as_other += drawn == random_next(&other);
    }
    cr_expect_eq(same_as_other, 0);
}

Test(random, below_stays_below_and_reaches_all)
{
    struct random random;
    random_init(&random, 0);
    uint32_t seen[7] = {0};
    for (int index = 0; index < 70000; index++) {
        uint64_t drawn = random_below(&random, 7);
        cr_assert_lt(drawn, 7);
        seen[drawn]++;
    }
    /* The seed is fixed, and so is the outcome; 10000 each are expected, 93 is one deviation. */
    for (int index = 0; index < 7; index++)
        cr_expect(seen[index] > 9500 && seen[index] < 10500, "%d: %u", index, seen[index]);
    cr_expect_eq(random_below(&random, 1), 0);
    uint64_t bound = (UINT64_C(1) << 63) + 1;
    for (int index = 0; index < 1000; index++)
        cr_expect_lt(random_below(&random, bound), bound);
}

/* Each blob has a second reference, which tells whether the bin has let go of its own. */
static size_t held_count(struct blob *const *blobs, size_t count)
{
    size_t held = 0;
    for (size_t place = 0; place < count; place++)
        held += blobs[place]->refs_count == 2;
    return held;
}

Test(blob_bin, lets_go_of_a_few_in_a_turn_and_of_all_in_the_end)
{
    struct blob *blobs[1000];
    struct blob_bin bin = {0};
    blob_bin_put(&bin, NULL);
    for (size_t place = 0; place < 1000; place++) {
        blobs[place] = blob_copy(b("x"));
        blob_bin_put(&bin, blob_ref(blobs[place]));
    }
    size_t held = held_count(blobs, 1000);
    cr_assert_eq(held, 1000);
    for (uint32_t turns = 0; held > 0; turns++) {
        blob_bin_turn(&bin);
        size_t left = held_count(blobs, 1000);
        cr_assert_lt(left, held);
        cr_assert_leq(held - left, 24, "%zu at once", held - left);
        cr_assert_lt(turns, 125);
        held = left;
    }
    blob_bin_put(&bin, blob_ref(blobs[0]));
    blob_bin_fini(&bin);
    cr_assert_eq(held_count(blobs, 1000), 0);
    for (size_t place = 0; place < 1000; place++)
        blob_unref(blobs[place]);
}

Test(blob_bin, holds_a_bounded_share_of_what_comes)
{
    struct blob_bin bin = {0};
    for (uint32_t turn = 0; turn < 2000; turn++) {
        for (uint32_t each = 0; each < 100; each++)
            blob_bin_put(&bin, blob_new(1));
        blob_bin_turn(&bin);
        cr_assert_leq(bin.count, 7000);
    }
    blob_bin_fini(&bin);
}
