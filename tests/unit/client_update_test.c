/* Delete-range, scan for update, compare-and-set, add, and scans that see what their transaction
 * has written: the client's core over real groups, whose ranges are [, c), [c, m), [m, t), [t, ).
 */
#include "base/random.h"
#include "base/sometimes.h"
#include "tests/support/client_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct client_world *client;

static void setup(void)
{
    static const struct client_world_range RANGES[] = {
        {"", "c", 1}, {"c", "m", 2}, {"m", "t", 1}, {"t", "", 2}};
    client = client_world_new(1, RANGES, 4);
}

static void teardown(void)
{
    client_world_free(client);
}

TestSuite(client_update, .init = setup, .fini = teardown, .timeout = 120);

static struct operation *on_key(enum operation_type type, const char *key, const char *value)
{
    struct operation *operation = operation_new(type, bytes_of_string(key), bytes_of_string(value));
    operation->write_kind = WRITE_PUT;
    return operation;
}

static void put(const char *key, const char *value)
{
    cr_assert_eq(client_world_do(client, NULL, on_key(OPERATION_WRITE, key, value), NULL), OST_OK);
}

static void txn_put(struct core_txn *txn, const char *key, const char *value)
{
    const char *why;
    struct write write = {value ? WRITE_PUT : WRITE_DELETE, bytes_of_string(key),
                          bytes_of_string(value ? value : "")};
    cr_assert_eq(coordinator_write(core_txn_coordinator(txn), &write, &why), OST_OK);
}

/* "a=1 b=2", or with `more` "a=1 b=2 ..." */
static const char *rows_text(const struct client_result *result)
{
    static char text[1024];
    size_t at = 0;
    text[0] = '\0';
    struct reader reader = reader_of(buffer_bytes(&result->rows));
    struct row row;
    while (rows_next(&reader, &row) == OST_OK)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%.*s=%.*s", at ? " " : "",
                               (int)row.key.bytes_count, (const char *)row.key.data,
                               (int)row.value.bytes_count, (const char *)row.value.data);
    if (result->more)
        snprintf(text + at, sizeof(text) - at, " ...");
    return text;
}

static const char *scan(struct core_txn *txn, const char *start, const char *end, uint32_t limit,
                        bool reverse)
{
    static struct client_result result;
    struct operation *operation = on_key(txn ? OPERATION_TXN_SCAN : OPERATION_SCAN, start, end);
    operation->rows_count_max = limit;
    operation->reverse = reverse;
    int status = client_world_do(client, txn, operation, &result);
    cr_assert_eq(status, OST_OK, "%s", ost_status_name(status));
    const char *text = rows_text(&result);
    client_result_reset(&result);
    return text;
}

static uint32_t delete_range(struct core_txn *txn, const char *start, const char *end)
{
    struct client_result result = {0};
    cr_assert_eq(client_world_do(client, txn, on_key(OPERATION_DELETE_RANGE, start, end), &result),
                 OST_OK);
    uint32_t count = result.rows_count;
    client_result_reset(&result);
    return count;
}

Test(client_update, range_is_deleted_over_ranges_and_groups)
{
    for (const char *key = "abcdlmnstz"; *key; key++)
        put((char[]){*key, '\0'}, "1");
    cr_assert_eq(delete_range(NULL, "b", "n"), 5u, "b c d l m: the end is not in it");
    cr_assert_str_eq(scan(NULL, "", "", 0, false), "a=1 n=1 s=1 t=1 z=1");
    cr_assert_eq(delete_range(NULL, "n", "n"), 0u, "an empty interval");
    cr_assert_eq(delete_range(NULL, "b", "n"), 0u);
    cr_assert_eq(delete_range(NULL, "", ""), 5u);
    cr_assert_str_eq(scan(NULL, "", "", 0, false), "");
}

Test(client_update, own_writes_are_deleted_with_the_range_and_count_when_they_are_seen)
{
    put("b", "1");
    put("d", "1");
    struct core_txn *txn = client_world_begin(client);
    txn_put(txn, "c", "own");
    txn_put(txn, "d", NULL);
    txn_put(txn, "x", "own");
    cr_assert_eq(delete_range(txn, "a", "x"), 2u, "b, c");
    cr_assert_str_eq(scan(txn, "", "", 0, false), "x=own");
    txn_put(txn, "b", "again");
    cr_assert_str_eq(scan(txn, "", "", 0, true), "x=own b=again");
    cr_assert_eq(client_world_commit(client, txn), OST_OK);
    client_world_drop(client, txn);
    cr_assert_str_eq(scan(NULL, "", "", 0, false), "b=again x=own");
}

/* The lock is on the interval, not on what is in it. */
Test(client_update, nobody_writes_into_a_range_that_is_being_deleted)
{
    put("e", "1");
    struct core_txn *txn = client_world_begin(client);
    cr_assert_eq(delete_range(txn, "d", "h"), 1u);
    struct client_result at_start = {0}, at_end = {0}, inside = {0};
    client_world_submit(client, NULL, on_key(OPERATION_WRITE, "d", "x"), &at_start);
    client_world_submit(client, NULL, on_key(OPERATION_WRITE, "g\xff", "x"), &inside);
    client_world_submit(client, NULL, on_key(OPERATION_WRITE, "h", "x"), &at_end);
    client_world_run(client, 300);
    cr_assert(at_end.is_done && at_end.status == OST_OK, "the end is not in it");
    cr_assert(!at_start.is_done);
    cr_assert(!inside.is_done);
    cr_assert_eq(client_world_commit(client, txn), OST_OK);
    client_world_run(client, 300);
    cr_assert(at_start.is_done && at_start.status == OST_OK);
    cr_assert(inside.is_done && inside.status == OST_OK);
    client_world_drop(client, txn);
    cr_assert_str_eq(scan(NULL, "", "", 0, false), "d=x g\xff=x h=x");
    client_result_reset(&at_start);
    client_result_reset(&at_end);
    client_result_reset(&inside);
}

Test(client_update, scan_for_update_keeps_readers_out_and_shared_ones_do_not)
{
    put("e", "1");
    for (int mode = LOCK_SHARED; mode <= LOCK_EXCLUSIVE; mode++) {
        struct core_txn *txn = client_world_begin(client), *other = client_world_begin(client);
        struct client_result rows = {0}, got = {0};
        struct operation *operation = on_key(OPERATION_TXN_SCAN, "d", "h");
        operation->lock_mode = (enum lock_mode)mode;
        cr_assert_eq(client_world_do(client, txn, operation, &rows), OST_OK);
        client_world_submit(client, other, on_key(OPERATION_TXN_GET, "e", ""), &got);
        client_world_run(client, 100);
        cr_assert_eq(got.is_done, mode == LOCK_SHARED);
        client_world_drop(client, txn);
        client_world_run(client, 100);
        cr_assert(got.is_done);
        client_world_drop(client, other);
        client_result_reset(&rows);
        client_result_reset(&got);
    }
}

Test(client_update, compare_and_set_writes_when_it_matches)
{
    struct client_result result = {0};
    const struct bytes one = bytes_of_string("1"), two = bytes_of_string("2");
    const struct bytes key = bytes_of_string("k");
    cr_assert_eq(client_world_do(client, NULL, operation_new_compare(key, &one, two), &result),
                 OST_CONFLICT);
    cr_assert_str_eq(result.why, "key k is absent");
    cr_assert_eq(client_world_do(client, NULL, operation_new_compare(key, NULL, one), &result),
                 OST_OK);
    cr_assert_eq(client_world_do(client, NULL, operation_new_compare(key, NULL, two), &result),
                 OST_CONFLICT);
    cr_assert_str_eq(result.why, "key k is there");
    cr_assert(bytes_equal(buffer_bytes(&result.value), one), "it tells what is there");
    cr_assert_eq(client_world_do(client, NULL, operation_new_compare(key, &two, one), &result),
                 OST_CONFLICT);
    cr_assert_str_eq(result.why, "key k has another value, of 1 bytes");
    cr_assert_eq(client_world_do(client, NULL, operation_new_compare(key, &one, two), &result),
                 OST_OK);
    cr_assert_str_eq(scan(NULL, "", "", 0, false), "k=2");
    client_result_reset(&result);
}

/* A conflict is told to the caller, who may go on; own writes are what is compared with. */
Test(client_update, compare_and_set_in_a_transaction_that_goes_on)
{
    put("k", "1");
    struct core_txn *txn = client_world_begin(client);
    const struct bytes one = bytes_of_string("1"), two = bytes_of_string("2");
    cr_assert_eq(
        client_world_do(client, txn, operation_new_compare(bytes_of_string("k"), &two, one), NULL),
        OST_CONFLICT);
    cr_assert_eq(
        client_world_do(client, txn, operation_new_compare(bytes_of_string("k"), &one, two), NULL),
        OST_OK);
    cr_assert_eq(
        client_world_do(client, txn, operation_new_compare(bytes_of_string("k"), &one, two), NULL),
        OST_CONFLICT);
    txn_put(txn, "k", NULL);
    cr_assert_eq(
        client_world_do(client, txn, operation_new_compare(bytes_of_string("k"), NULL, one), NULL),
        OST_OK);
    cr_assert_eq(client_world_commit(client, txn), OST_OK);
    client_world_drop(client, txn);
    cr_assert_str_eq(scan(NULL, "", "", 0, false), "k=1");
}

static int add(struct core_txn *txn, const char *key, int64_t delta, struct client_result *result)
{
    struct operation *operation = on_key(OPERATION_ADD, key, "");
    operation->delta = delta;
    return client_world_do(client, txn, operation, result);
}

Test(client_update, numbers_are_added_to)
{
    struct client_result result = {0};
    cr_assert_eq(add(NULL, "n", -3, &result), OST_OK);
    cr_assert_eq(result.number, -3, "an absent key is 0");
    cr_assert_eq(add(NULL, "n", INT64_MAX, &result), OST_OK);
    cr_assert_eq(result.number, INT64_MAX - 3);
    cr_assert_eq(add(NULL, "n", 4, &result), OST_INVALID_ARGUMENT);
    cr_assert_str_eq(result.why,
                     "key n: the sum of 9223372036854775804 and 4 does not fit into 64 bits");
    cr_assert_eq(add(NULL, "n", 3, &result), OST_OK);
    cr_assert_eq(client_world_do(client, NULL, on_key(OPERATION_GET, "n", ""), &result), OST_OK);
    static const uint8_t MOST[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
    cr_assert(bytes_equal(buffer_bytes(&result.value), bytes_of(MOST, 8)), "little endian");
    put("text", "seven..");
    cr_assert_eq(add(NULL, "text", 1, &result), OST_INVALID_ARGUMENT);
    cr_assert_str_eq(result.why, "the value of key text is 7 bytes: a number is 8");
    struct core_txn *txn = client_world_begin(client);
    cr_assert_eq(add(txn, "m", 5, &result), OST_OK);
    cr_assert_eq(add(txn, "m", 5, &result), OST_OK);
    cr_assert_eq(result.number, 10, "its own writes count");
    cr_assert_eq(client_world_commit(client, txn), OST_OK);
    client_world_drop(client, txn);
    cr_assert_eq(add(NULL, "m", 0, &result), OST_OK);
    cr_assert_eq(result.number, 10);
    client_result_reset(&result);
}

/* Adders that meet wait for each other, or are wounded and try again: none is lost. */
Test(client_update, adders_side_by_side_lose_nothing)
{
    struct client_result results[20] = {{0}};
    for (unsigned index = 0; index < 20; index++) {
        struct operation *operation = on_key(OPERATION_ADD, "n", "");
        operation->delta = 1;
        client_world_submit(client, NULL, operation, &results[index]);
    }
    client_world_run(client, 3000);
    bool seen[21] = {false};
    for (unsigned index = 0; index < 20; index++) {
        cr_assert(results[index].is_done);
        cr_assert_eq(results[index].status, OST_OK);
        cr_assert(results[index].number >= 1 && results[index].number <= 20);
        cr_assert(!seen[results[index].number]);
        seen[results[index].number] = true;
        client_result_reset(&results[index]);
    }
}

Test(client_update, deletion_over_a_limit_changes_nothing)
{
    put("e", "1");
    struct core_txn *txn = client_world_begin(client);
    struct coordinator *coordinator = core_txn_coordinator(txn);
    const char *why;
    for (uint32_t number = 0; number < TXN_OPERATIONS_COUNT_MAX; number++) {
        char key[16];
        snprintf(key, sizeof(key), "z%06u", number);
        struct write write = {.kind = WRITE_DELETE, .key = bytes_of_string(key)};
        cr_assert_eq(coordinator_write(coordinator, &write, &why), OST_OK);
    }
    struct client_result result = {0};
    cr_assert_eq(client_world_do(client, txn, on_key(OPERATION_DELETE_RANGE, "a", "f"), &result),
                 OST_TOO_LARGE);
    cr_assert_str_eq(result.why, "transaction has 100001 operations: the limit is 100,000");
    cr_assert_eq(coordinator_writes(coordinator)->writes_count, TXN_OPERATIONS_COUNT_MAX);
    client_world_drop(client, txn);
    client_result_reset(&result);
}

Test(client_update, wait_for_a_lock_ends_before_its_asker_gives_up_and_says_who_held_it)
{
    struct core_txn *holder = client_world_begin(client);
    cr_assert_eq(add(holder, "n", 1, NULL), OST_OK);
    struct client_result result = {0};
    client_world_submit(client, NULL, on_key(OPERATION_WRITE, "n", "x"), &result);
    for (unsigned ms = 0; ms < 4900 && !result.is_done; ms += 100)
        client_world_run(client, 100); /* the holder is heard of meanwhile */
    cr_assert(result.is_done);
    cr_assert_eq(result.status, OST_LOCK_TIMEOUT, "%s", ost_status_name(result.status));
    cr_assert(strstr(result.why, "key n; behind transaction "), "%s", result.why);
    cr_assert(strstr(result.why, "waited 4500 ms"), "%s", result.why);
    client_world_drop(client, holder);
    client_result_reset(&result);
}

/* --- Against a model
 * ----------------------------------------------------------------------------- */

#define MODEL_KEYS 12u

struct model {
    int values[MODEL_KEYS]; /* 0: absent */
};

/* "a" to "x", every other letter, so that keys lie at both ends of ranges and within them. */
static const char *model_key(unsigned number)
{
    static char keys[4][2];
    static unsigned turn;
    char *key = keys[turn++ % 4];
    key[0] = (char)('a' + 2 * number);
    key[1] = '\0';
    return key;
}

static void model_scan(const struct model *model, unsigned start, unsigned end, uint32_t limit,
                       bool reverse, char *text, size_t text_bytes)
{
    size_t at = 0;
    uint32_t count = 0;
    text[0] = '\0';
    for (unsigned index = 0; index < end - start; index++) {
        unsigned number = reverse ? end - 1 - index : start + index;
        if (model->values[number] == 0)
            continue;
        if (limit && count++ == limit)
            return;
        at += (size_t)snprintf(text + at, text_bytes - at, "%s%s=%d", at ? " " : "",
                               model_key(number), model->values[number]);
    }
}

static void expect_same_scan(struct core_txn *txn, const struct model *model, struct random *random)
{
    unsigned start = (unsigned)random_below(random, MODEL_KEYS);
    unsigned end = start + 1 + (unsigned)random_below(random, MODEL_KEYS - start);
    uint32_t limit = (uint32_t)random_below(random, 5);
    bool reverse = random_below(random, 2) == 0;
    char expected[256], got[300];
    model_scan(model, start, end, limit, reverse, expected, sizeof(expected));
    bool to_the_end = end == MODEL_KEYS && random_below(random, 2) == 0;
    snprintf(got, sizeof(got), "%s",
             scan(txn, model_key(start), to_the_end ? "" : model_key(end), limit, reverse));
    char *more = strstr(got, " ...");
    if (more)
        *more = '\0';
    cr_assert_str_eq(got, expected, "[%s, %s) limit %u%s", model_key(start), model_key(end), limit,
                     reverse ? " in reverse" : "");
    if (more)
        cr_assert_neq(limit, 0u);
}

static void change_at_random(struct core_txn *txn, struct model *model, struct random *random,
                             int value)
{
    unsigned number = (unsigned)random_below(random, MODEL_KEYS);
    char text[16];
    snprintf(text, sizeof(text), "%d", value);
    if (random_below(random, 4) > 0) {
        bool is_deletion = random_below(random, 3) == 0;
        txn_put(txn, model_key(number), is_deletion ? NULL : text);
        model->values[number] = is_deletion ? 0 : value;
        return;
    }
    unsigned end = number + 1 + (unsigned)random_below(random, MODEL_KEYS - number);
    uint32_t expected = 0;
    for (unsigned key = number; key < end; key++) {
        expected += model->values[key] != 0;
        model->values[key] = 0;
    }
    cr_assert_eq(delete_range(txn, model_key(number), model_key(end)), expected);
}

/* Random transactions of puts, deletes and range deletions; after each change a scan with or
 * without limit, either way, over any ranges, must show what a plain array shows. */
static void run_against_the_model(uint64_t seed)
{
    struct random random;
    random_init(&random, seed);
    struct model committed = {{0}};
    int value = 0;
    for (unsigned round = 0; round < 40; round++) {
        struct core_txn *txn = client_world_begin(client);
        struct model model = committed;
        for (unsigned change = 0; change < 6; change++) {
            change_at_random(txn, &model, &random, ++value);
            expect_same_scan(txn, &model, &random);
        }
        if (random_below(&random, 4) > 0) {
            cr_assert_eq(client_world_commit(client, txn), OST_OK);
            committed = model;
        }
        client_world_drop(client, txn);
        client_world_run(client, 5);
        expect_same_scan(NULL, &committed, &random);
    }
}

Test(client_update, scans_agree_with_a_model)
{
    run_against_the_model(1);
}

static void run_with_site(enum site site, uint64_t seed)
{
    struct sites sites;
    sites_init(&sites, 1);
    for (enum site other = 0; other < SITES_COUNT; other++)
        if (site_info(other)->kind == SITE_RARE)
            sites_set_rate(&sites, other, 0);
    sites_set_rate(&sites, site, 1000);
    site_hook_set(&sites.hook);
    run_against_the_model(seed);
    cr_assert(sites_has_fired(&sites, site));
    site_hook_set(NULL);
}

/* Every row ends a page. */
Test(client_update, scans_agree_with_a_model_at_every_border_of_pages)
{
    run_with_site(RARE_SCAN_PAGE_ONE_ROW, 2);
}

Test(client_update, scans_agree_with_a_model_when_a_row_is_asked_for_at_a_time)
{
    run_with_site(RARE_CLIENT_SCAN_PAGE_ONE_ROW, 3);
}
