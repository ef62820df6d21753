/* Snapshots on three real stores, through the public interface. */
#include "base/types.h"
#include "world.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

/* Of 200: the other half of them is the other group's. */
#define LAST_ACCOUNT 199

static struct world world;

static void init(void)
{
    world_init(&world);
}

static void fini(void)
{
    world_fini(&world);
}

TestSuite(snapshot_cluster, .init = init, .fini = fini, .timeout = 120);

static int put_both(struct ost_txn *txn, void *context)
{
    const char *value = context;
    char low[BANK_KEY_BYTES], high[BANK_KEY_BYTES];
    int status = ost_txn_put(txn, ost_string(bank_key(1, low)), ost_bytes(value, strlen(value)));
    if (status == OST_OK)
        status = ost_txn_put(txn, ost_string(bank_key(LAST_ACCOUNT, high)),
                             ost_bytes(value, strlen(value)));
    return status;
}

static void expect(struct ost_snapshot *snapshot, const char *expected)
{
    const uint32_t accounts[] = {1, LAST_ACCOUNT};
    for (int i = 0; i < 2; i++) {
        char key[BANK_KEY_BYTES];
        struct ost_value value;
        int status = ost_snapshot_get(snapshot, ost_string(bank_key(accounts[i], key)), &value);
        cr_assert_eq(status, OST_OK, "%s", ost_last_error());
        cr_assert_str_eq(value.data, expected);
        ost_value_free(&value);
    }
    for (int reverse = 0; reverse < 2; reverse++) {
        struct ost_rows rows;
        cr_assert_eq(ost_snapshot_scan(snapshot, ost_string(""), ost_string(""), 0, reverse, &rows),
                     OST_OK);
        cr_assert_eq(rows.rows_count, 2);
        for (int i = 0; i < 2; i++)
            cr_assert_eq(memcmp(rows.rows[i].value.data, expected, strlen(expected)), 0);
        ost_rows_free(&rows);
    }
}

Test(snapshot_cluster, snapshot_stays_while_both_groups_go_on)
{
    world_open(&world);
    cr_assert_eq(ost_run(world.client, put_both, "old"), OST_OK);
    struct ost_snapshot *before, *spread, *fresh, *stale;
    cr_assert_eq(ost_snapshot_open(world.client, NULL, &before), OST_OK);
    cr_assert_eq(ost_run(world.client, put_both, "new"), OST_OK);
    expect(before, "old");
    struct ost_snapshot_options options = {.timestamp = ost_snapshot_timestamp(before),
                                           .any_replica = true};
    cr_assert_eq(ost_snapshot_open(world.client, &options, &spread), OST_OK);
    for (int i = 0; i < 10; i++)
        expect(spread, "old");
    options = (struct ost_snapshot_options){.any_replica = true};
    cr_assert_eq(ost_snapshot_open(world.client, &options, &fresh), OST_OK);
    for (int i = 0; i < 10; i++)
        expect(fresh, "new");
    options = (struct ost_snapshot_options){.staleness_ms_max = 3600000};
    cr_assert_eq(ost_snapshot_open(world.client, &options, &stale), OST_OK);
    cr_assert_eq(ost_snapshot_timestamp(stale), ost_snapshot_timestamp(fresh));
    ost_snapshot_close(before);
    ost_snapshot_close(spread);
    ost_snapshot_close(fresh);
    ost_snapshot_close(stale);
}

Test(snapshot_cluster, future_is_refused_with_a_reason)
{
    world_open(&world);
    struct ost_snapshot_options options = {.timestamp = UINT64_MAX / 2};
    struct ost_snapshot *snapshot;
    cr_assert_eq(ost_snapshot_open(world.client, &options, &snapshot), OST_OK);
    struct ost_value value;
    cr_assert_eq(ost_snapshot_get(snapshot, ost_string("k"), &value), OST_INVALID_ARGUMENT);
    cr_assert(strstr(ost_last_error(), "timestamp lies in the future"), "%s", ost_last_error());
    cr_assert_eq(ost_snapshot_get(snapshot, ost_string(""), &value), OST_INVALID_ARGUMENT);
    ost_snapshot_close(snapshot);
}

/* --- Without waiting: opened, read, closed from callbacks
 * -------------------------------------------------------------- */

struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct ost_snapshot *snapshot;
    int done_count, failed_count;
};

static void count_done(void *context, const struct ost_result *result)
{
    struct waiting *waiting = context;
    pthread_mutex_lock(&waiting->mutex);
    waiting->failed_count += result->status != OST_OK;
    waiting->done_count++;
    pthread_cond_signal(&waiting->changed);
    pthread_mutex_unlock(&waiting->mutex);
}

static void opened(void *context, int status, struct ost_snapshot *snapshot)
{
    struct waiting *waiting = context;
    char key[BANK_KEY_BYTES];
    cr_assert_eq(status, OST_OK);
    cr_assert_eq(
        ost_snapshot_get_async(snapshot, ost_string(bank_key(1, key)), count_done, waiting),
        OST_OK);
    cr_assert_eq(ost_snapshot_scan_async(snapshot, ost_string(""), ost_string(""), 0, false,
                                         count_done, waiting),
                 OST_OK);
    ost_snapshot_close(snapshot); /* what is under way goes on */
}

Test(snapshot_cluster, callbacks_open_read_and_close)
{
    world_open(&world);
    cr_assert_eq(ost_run(world.client, put_both, "old"), OST_OK);
    struct waiting waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER};
    cr_assert_eq(ost_snapshot_open_async(world.client, NULL, opened, &waiting), OST_OK);
    pthread_mutex_lock(&waiting.mutex);
    while (waiting.done_count < 2)
        pthread_cond_wait(&waiting.changed, &waiting.mutex);
    pthread_mutex_unlock(&waiting.mutex);
    cr_assert_eq(waiting.failed_count, 0);
}
