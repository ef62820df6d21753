/* What a transaction is told of its end: the client's core over real groups. */
#include "base/sometimes.h"
#include "client/core_internal.h"
#include "tests/support/client_world.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct client_world *client;

static void begin_world(uint32_t stores_count)
{
    static const struct client_world_range RANGES[] = {{"", "m", 1}, {"m", "", 2}};
    client = client_world_new(stores_count, RANGES, 2);
}

static struct operation *on_key(enum operation_type type, const char *key, enum lock_mode mode)
{
    struct operation *operation = operation_new(type, bytes_of_string(key), bytes_of_string("9"));
    operation->lock_mode = mode;
    return operation;
}

static void lock(struct core_txn *txn, const char *key)
{
    cr_assert_eq(client_world_do(client, txn, on_key(OPERATION_TXN_GET, key, LOCK_EXCLUSIVE), NULL),
                 OST_NOT_FOUND);
}

static const struct coordinator_reason *reason_of(struct core_txn *txn)
{
    return coordinator_reason(core_txn_coordinator(txn));
}

static const char *explained(struct core_txn *txn)
{
    static char text[400];
    explain_reason(client->core, reason_of(txn), text, sizeof(text));
    return text;
}

Test(client_reason, wounded_by_whom_for_which_key)
{
    begin_world(1);
    struct core_txn *older = client_world_begin(client), *younger = client_world_begin(client);
    lock(older, "a"); /* now it has its age */
    client_world_run(client, 250);
    lock(younger, "key\x01");
    lock(older, "key\x01");
    struct client_result result = {0};
    cr_assert_eq(
        client_world_do(client, younger, on_key(OPERATION_TXN_GET, "c", LOCK_SHARED), &result),
        OST_WOUNDED);
    struct txn_id id = coordinator_id(core_txn_coordinator(older));
    cr_assert(txn_id_equal(reason_of(younger)->other, id));
    char expected[200];
    const struct txn_age *age = coordinator_age(core_txn_coordinator(older));
    snprintf(expected, sizeof(expected),
             "key key\\x01; for transaction %016lx/%lu, begun %lu ms ago", id.client, id.sequence,
             core_age_ms(client->core, age));
    cr_assert_str_eq(explained(younger), expected);
    cr_assert_geq(core_age_ms(client->core, age), 250u);
    client_world_drop(client, older);
    client_world_drop(client, younger);
    client_result_reset(&result);
    client_world_free(client);
}

Test(client_reason, the_leader_of_the_group_changed)
{
    begin_world(3);
    struct core_txn *txn = client_world_begin(client);
    lock(txn, "a");
    kv_world_crash(client->world, kv_world_leader_now(client->world, 1));
    client_world_run(client, 2500);
    struct client_result result = {0};
    cr_assert_eq(client_world_do(client, txn, on_key(OPERATION_TXN_GET, "b", LOCK_SHARED), &result),
                 OST_LOCKS_LOST);
    cr_assert_eq(reason_of(txn)->loss, LOSS_LEADER_CHANGED);
    cr_assert_str_eq(explained(txn), "the leader of its group changed");
    client_world_drop(client, txn);
    client_result_reset(&result);
    client_world_free(client);
}

Test(client_reason, queue_that_stays_full_is_named_with_its_limit)
{
    begin_world(1);
    struct sites sites;
    sites_init(&sites, 1);
    for (enum site site = 0; site < SITES_COUNT; site++)
        if (site_info(site)->kind == SITE_RARE)
            sites_set_rate(&sites, site, 0);
    sites_set_rate(&sites, RARE_LOCK_QUEUE_FULL, 1000);
    struct core_txn *holder = client_world_begin(client), *other = client_world_begin(client);
    lock(holder, "a");
    site_hook_set(&sites.hook);
    struct client_result result = {0};
    cr_assert_eq(
        client_world_do(client, other, on_key(OPERATION_TXN_GET, "a", LOCK_SHARED), &result),
        OST_BUSY);
    site_hook_set(NULL);
    cr_assert_str_eq(result.why, "too many wait for the lock: the limits are 1024 (lock-queue), "
                                 "and 1000000 locks of the group (locks)");
    client_world_drop(client, holder);
    client_world_drop(client, other);
    client_result_reset(&result);
    client_world_free(client);
}

/* Heard of between two operations, by a heartbeat's answer, which is gone by the time of the next.
 */
Test(client_reason, locks_that_expired_as_a_heartbeat_told)
{
    begin_world(1);
    struct sites sites;
    sites_init(&sites, 1);
    for (enum site site = 0; site < SITES_COUNT; site++)
        if (site_info(site)->kind == SITE_RARE)
            sites_set_rate(&sites, site, 0);
    sites_set_rate(&sites, RARE_TXN_ENTRY_EXPIRES_EARLY, 1000);
    site_hook_set(&sites.hook);
    struct core_txn *txn = client_world_begin(client);
    lock(txn, "a");
    client_world_run(client, 6500);
    site_hook_set(NULL);
    cr_assert_eq(client_world_commit(client, txn), OST_LOCKS_LOST);
    cr_assert_eq(reason_of(txn)->loss, LOSS_EXPIRED);
    cr_assert_str_eq(explained(txn), "nothing was heard of it for too long, and its locks expired");
    client_world_drop(client, txn);
    client_world_free(client);
}

/* An idle client's new transaction is as young as it is: it does not wound who began before it. */
Test(client_reason, transaction_of_an_idle_client_is_not_older_than_its_beginning)
{
    begin_world(1);
    struct core_txn *first = client_world_begin(client), *second = client_world_begin(client);
    client_world_run(client, 30000);
    lock(first, "a");
    client_world_run(client, 1000);
    lock(second, "b");
    uint64_t first_ms = core_age_ms(client->core, coordinator_age(core_txn_coordinator(first)));
    uint64_t second_ms = core_age_ms(client->core, coordinator_age(core_txn_coordinator(second)));
    cr_assert(first_ms >= 1000 && first_ms < 1100, "%lu", first_ms);
    cr_assert_lt(second_ms, 100u);
    client_world_drop(client, first);
    client_world_drop(client, second);
    client_world_free(client);
}
