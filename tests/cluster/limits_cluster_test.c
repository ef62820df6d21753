/* Keys and values of every size, to the limits and beyond, on three real stores; read again after
 * all of them were killed. */
#include "base/types.h"
#include "world.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct world world;
static uint8_t filled[VALUE_BYTES_MAX + 1];

static void init(void)
{
    world_init(&world);
    for (size_t i = 0; i < sizeof filled; i++)
        filled[i] = (uint8_t)(i * 31 + i / 251);
}

static void fini(void)
{
    world_fini(&world);
}

TestSuite(limits_cluster, .init = init, .fini = fini, .timeout = 120);

static const size_t value_sizes[] = {0,     1,      100,    4095,    4096,           65535,
                                     65536, 300000, 524288, 1048575, VALUE_BYTES_MAX};
#define VALUES_COUNT (sizeof value_sizes / sizeof value_sizes[0])

static struct ost_bytes sized_key(size_t i, char key[32])
{
    return ost_bytes(key, (size_t)snprintf(key, 32, "size/%02zu", i));
}

static void assert_value(struct ost_bytes key, const void *data, size_t bytes_count)
{
    struct ost_value value;
    uint64_t deadline_ns = bank_now_ns() + WORLD_TIMEOUT_MS * UINT64_C(1000000);
    int status;
    do {
        status = ost_get(world.client, key, &value);
    } while (ost_status_is_retryable(status) && bank_now_ns() < deadline_ns);
    cr_assert_eq(status, OST_OK, "%s", ost_status_text(status));
    cr_assert_eq(value.bytes_count, bytes_count);
    cr_assert(bytes_count == 0 || memcmp(value.data, data, bytes_count) == 0);
    ost_value_free(&value);
}

static void put(struct ost_bytes key, const void *data, size_t bytes_count)
{
    int status = ost_put(world.client, key, ost_bytes(data, bytes_count));
    cr_assert_eq(status, OST_OK, "%zu bytes: %s", bytes_count, ost_status_text(status));
}

static void kill_and_restart_all(void)
{
    for (uint32_t store = 1; store <= 3; store++)
        cluster_signal(world.cluster, store, SIGKILL);
    for (uint32_t store = 1; store <= 3; store++) {
        cluster_kill(world.cluster, store);
        world_restart(&world, store);
    }
}

Test(limits_cluster, values_of_every_size_survive_kills)
{
    char key[32];
    world_open(&world);
    for (size_t i = 0; i < VALUES_COUNT; i++)
        put(sized_key(i, key), filled, value_sizes[i]);
    for (size_t i = 0; i < VALUES_COUNT; i++)
        assert_value(sized_key(i, key), filled, value_sizes[i]);
    kill_and_restart_all();
    for (size_t i = 0; i < VALUES_COUNT; i++)
        assert_value(sized_key(i, key), filled, value_sizes[i]);
}

Test(limits_cluster, odd_keys_are_keys_like_others)
{
    static uint8_t longest[KEY_BYTES_MAX], zeros[KEY_BYTES_MAX];
    memset(longest, 0xff, sizeof longest);
    const struct ost_bytes keys[] = {
        ost_bytes("\0", 1),
        ost_bytes("\0\0", 2),
        ost_bytes("\0\xff", 2),
        ost_bytes("a\0b", 3),
        ost_bytes("a", 1),
        ost_bytes("a\0", 2),
        ost_bytes("\xff", 1),
        ost_bytes("\xff\0", 2),
        ost_bytes(zeros, sizeof zeros),
        ost_bytes(longest, sizeof longest),
    };
    const size_t keys_count = sizeof keys / sizeof keys[0];
    world_open(&world);
    for (size_t i = 0; i < keys_count; i++)
        put(keys[i], &i, sizeof i);
    for (size_t i = 0; i < keys_count; i++)
        assert_value(keys[i], &i, sizeof i);
    struct ost_rows rows;
    cr_assert_eq(ost_scan(world.client, ost_string(""), ost_string(""), 0, false, &rows), OST_OK);
    cr_assert_eq(rows.rows_count, keys_count);
    for (size_t i = 1; i < rows.rows_count; i++) {
        struct ost_bytes a = rows.rows[i - 1].key, b = rows.rows[i].key;
        size_t common = a.bytes_count < b.bytes_count ? a.bytes_count : b.bytes_count;
        int order = memcmp(a.data, b.data, common);
        cr_assert(order < 0 || (order == 0 && a.bytes_count < b.bytes_count), "row %zu", i);
    }
    ost_rows_free(&rows);
    for (size_t i = 0; i < keys_count; i++)
        cr_assert_eq(ost_delete(world.client, keys[i]), OST_OK);
    cr_assert_eq(ost_scan(world.client, ost_string(""), ost_string(""), 0, true, &rows), OST_OK);
    cr_assert_eq(rows.rows_count, 0);
    ost_rows_free(&rows);
}

Test(limits_cluster, what_is_over_a_limit_is_refused)
{
    static uint8_t key[KEY_BYTES_MAX + 1];
    world_open(&world);
    cr_assert_eq(ost_put(world.client, ost_bytes(key, sizeof key), ost_string("")), OST_TOO_LARGE);
    cr_assert_eq(ost_put(world.client, ost_string("k"), ost_bytes(filled, sizeof filled)),
                 OST_TOO_LARGE);
    int status = ost_put(world.client, ost_bytes(key, 0), ost_string(""));
    cr_assert_eq(status, OST_INVALID_ARGUMENT, "%s", ost_status_text(status));
    put(ost_string("k"), "v", 1); /* the client goes on */
}

/* Large values through both groups in one transaction. */
static int put_large(struct ost_txn *txn, void *context)
{
    const size_t *bytes_count = context;
    for (int i = 0; i < 8; i++) {
        char key[BANK_KEY_BYTES];
        int status = ost_txn_put(txn, ost_string(bank_key((uint32_t)i * 25, key)),
                                 ost_bytes(filled + i, *bytes_count));
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}

Test(limits_cluster, a_large_transaction_over_both_groups_survives_kills)
{
    size_t bytes_count = VALUE_BYTES_MAX - 16;
    world_open(&world);
    int status = ost_run(world.client, put_large, &bytes_count);
    cr_assert_eq(status, OST_OK, "%s", ost_status_text(status));
    kill_and_restart_all();
    for (int i = 0; i < 8; i++) {
        char key[BANK_KEY_BYTES];
        assert_value(ost_string(bank_key((uint32_t)i * 25, key)), filled + i, bytes_count);
    }
}
