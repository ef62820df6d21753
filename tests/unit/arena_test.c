#include "base/arena.h"
#include "base/random.h"

#include <criterion/criterion.h>

Test(arena, unused_arena_has_no_memory)
{
    struct arena arena;
    arena_init(&arena);
    cr_expect_null(arena.blocks);
    arena_reset(&arena);
    arena_fini(&arena);
}

Test(arena, allocations_are_aligned_and_apart)
{
    enum { ALLOCATIONS_COUNT = 3000 };
    static uint8_t *at[ALLOCATIONS_COUNT];
    static size_t bytes_count[ALLOCATIONS_COUNT];
    struct random random;
    random_init(&random, 3);
    struct arena arena;
    arena_init(&arena);
    for (int round = 0; round < 5; round++) {
        size_t total = 0;
        for (size_t index = 0; index < ALLOCATIONS_COUNT; index++) {
            /* Mostly small, some over a block's size. */
            uint64_t most = random_below(&random, 50) == 0 ? 200000 : 300;
            bytes_count[index] = random_below(&random, most);
            at[index] = arena_alloc(&arena, bytes_count[index]);
            cr_assert_not_null(at[index]);
            cr_assert_eq((uintptr_t)at[index] % 16, 0);
            if (bytes_count[index] > 0)
                memset(at[index], (int)(index & 0xff), bytes_count[index]);
            total += bytes_count[index];
        }
        cr_assert_geq(arena.bytes_used, total);
        cr_assert_lt(arena.bytes_used, total + 17 * ALLOCATIONS_COUNT);
        for (size_t index = 0; index < ALLOCATIONS_COUNT; index++) {
            for (size_t byte = 0; byte < bytes_count[index]; byte++)
                cr_assert_eq(at[index][byte], index & 0xff);
        }
        arena_reset(&arena);
        cr_assert_eq(arena.bytes_used, 0);
    }
    arena_fini(&arena);
}

Test(arena, reset_uses_the_same_memory_again)
{
    struct arena arena;
    arena_init(&arena);
    void *first = arena_alloc(&arena, 100);
    arena_reset(&arena);
    cr_expect_eq(arena_alloc(&arena, 100), first);
    arena_fini(&arena);
    cr_expect_null(arena.blocks);
}

Test(arena, big_allocation_leaves_the_current_block_in_use)
{
    struct arena arena;
    arena_init(&arena);
    uint8_t *small = arena_alloc(&arena, 16);
    memset(arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    uint8_t *next = arena_alloc(&arena, 16);
    cr_expect_eq(next, small + 16);
    arena_fini(&arena);
}

Test(arena, big_allocation_may_come_first)
{
    struct arena arena;
    arena_init(&arena);
    memset(arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    memset(arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    arena_reset(&arena);
    cr_expect_null(arena.blocks, "a block made for one big allocation is not kept");
    memset(arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    memset(arena_alloc(&arena, 10), 1, 10);
    memset(arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    void *small = arena_alloc(&arena, 10);
    arena_reset(&arena);
    cr_expect_not_null(arena.blocks);
    cr_expect_lt((uint8_t *)arena_alloc(&arena, 10), (uint8_t *)small);
    arena_fini(&arena);
}

Test(arena, every_size_around_the_block_sizes)
{
    for (size_t edge = 4096; edge <= 131072; edge *= 2) {
        for (size_t bytes_count = edge - 40; bytes_count <= edge + 40; bytes_count++) {
            struct arena arena;
            arena_init(&arena);
            for (int times = 0; times < 3; times++)
                memset(arena_alloc(&arena, bytes_count), 1, bytes_count);
            arena_fini(&arena);
        }
    }
}

Test(arena, zeroed_is_zero_after_a_reset)
{
    struct arena arena;
    arena_init(&arena);
    memset(arena_alloc(&arena, 1000), 0xff, 1000);
    arena_reset(&arena);
    uint8_t *zeroed = arena_alloc_zeroed(&arena, 1000);
    for (size_t index = 0; index < 1000; index++)
        cr_assert_eq(zeroed[index], 0);
    arena_fini(&arena);
}

Test(arena, copy_and_printf)
{
    struct arena arena;
    arena_init(&arena);
    char source[] = "value";
    struct bytes copy = arena_copy(&arena, bytes_of_string(source));
    source[0] = 'X';
    cr_expect(bytes_equal(copy, bytes_of_string("value")));
    cr_expect_eq(arena_copy(&arena, bytes_of(NULL, 0)).bytes_count, 0);
    cr_expect_str_eq(arena_printf(&arena, "store %d of %s", 3, "five"), "store 3 of five");
    char *wide = arena_printf(&arena, "%10000d", 1);
    cr_expect_eq(strlen(wide), 10000);
    arena_fini(&arena);
}
