/* What people see of a leader's lock table: transactions, waits and locks, page by page. */
#include "tests/support/client_world.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct client_world *client;
static struct arena arena;

static void setup(void)
{
    static const struct client_world_range RANGES[] = {{"", "m", 1}, {"m", "", 2}};
    client = client_world_new(1, RANGES, 2);
    arena_init(&arena);
}

static void teardown(void)
{
    arena_fini(&arena);
    client_world_free(client);
}

TestSuite(kv_txns, .init = setup, .fini = teardown);

static struct operation *on_key(enum operation_type type, const char *key, const char *value,
                                enum lock_mode mode)
{
    struct operation *operation = operation_new(type, bytes_of_string(key), bytes_of_string(value));
    operation->lock_mode = mode;
    return operation;
}

static Ostraka__TxnsAnswer ask(bool locks, uint32_t rows_count_max, Ostraka__TxnsCursor *after)
{
    Ostraka__TxnsRequest request = OSTRAKA__TXNS_REQUEST__INIT;
    request.locks = locks;
    request.rows_count_max = rows_count_max;
    request.after = after;
    Ostraka__TxnsAnswer answer = OSTRAKA__TXNS_ANSWER__INIT;
    kv_server_txns(client->world->stores[1].kv, client->world->now_ns, &request, &arena, &answer);
    return answer;
}

static bool is_key(ProtobufCBinaryData field, const char *key)
{
    return bytes_equal(bytes_of(field.data, field.len), bytes_of_string(key));
}

Test(kv_txns, waiter_is_behind_the_holder_with_key_mode_and_time)
{
    struct core_txn *older = client_world_begin(client), *younger = client_world_begin(client);
    struct client_result waits = {0};
    cr_assert_eq(
        client_world_do(client, older, on_key(OPERATION_TXN_GET, "a", "", LOCK_EXCLUSIVE), NULL),
        OST_NOT_FOUND);
    client_world_submit(client, younger, on_key(OPERATION_TXN_SCAN, "a", "c", LOCK_SHARED), &waits);
    client_world_run(client, 200);
    cr_assert(!waits.is_done);
    Ostraka__TxnsAnswer answer = ask(false, 0, NULL);
    cr_assert_eq(answer.n_txns, 2u);
    cr_assert_null(answer.next);
    const Ostraka__TxnInfo *holder = answer.txns[0], *waiter = answer.txns[1];
    cr_assert_eq(holder->group, 1u);
    cr_assert_eq(holder->state, OSTRAKA__ENTRY_STATE__GROWING);
    cr_assert_eq(holder->locks_count, 1u);
    cr_assert_eq(holder->n_waits, 0u);
    cr_assert_eq(waiter->locks_count, 0u);
    cr_assert_eq(waiter->waits_count, 1u);
    const Ostraka__LockWait *wait = waiter->waits[0];
    cr_assert(is_key(wait->start, "a") && is_key(wait->end, "c") && !wait->is_key);
    cr_assert_eq(wait->mode, OSTRAKA__LOCK_MODE__SHARED);
    cr_assert_eq(wait->behind->sequence, holder->txn->sequence);
    cr_assert_eq(wait->behind_count, 1u);
    cr_assert(wait->waited_ms >= 195 && wait->waited_ms <= 200);
    answer = ask(true, 0, NULL);
    cr_assert_eq(answer.n_locks, 2u);
    cr_assert(is_key(answer.locks[0]->start, "a") && answer.locks[0]->is_key);
    cr_assert_eq(answer.locks[0]->mode, OSTRAKA__LOCK_MODE__EXCLUSIVE);
    cr_assert(!answer.locks[0]->waits);
    cr_assert(answer.locks[1]->waits && !answer.locks[1]->is_key);
    client_world_drop(client, older);
    client_world_drop(client, younger);
    client_world_run(client, 50);
    cr_assert_eq(ask(false, 0, NULL).n_txns, 0u);
    client_result_reset(&waits);
}

Test(kv_txns, prepare_that_waits_for_a_key_and_reads_that_wait_for_one_that_is_bound)
{
    struct core_txn *holder = client_world_begin(client);
    client_world_do(client, holder, on_key(OPERATION_TXN_GET, "b", "", LOCK_SHARED), NULL);
    struct operation *put = on_key(OPERATION_WRITE, "b", "1", LOCK_SHARED);
    put->write_kind = WRITE_PUT;
    client_world_submit(client, NULL, put, NULL);
    client_world_run(client, 20);
    Ostraka__TxnsAnswer answer = ask(false, 0, NULL);
    cr_assert_eq(answer.n_txns, 2u);
    cr_assert_eq(answer.txns[1]->state, OSTRAKA__ENTRY_STATE__PREPARING);
    cr_assert(is_key(answer.txns[1]->waits[0]->start, "b"));
    cr_assert_eq(answer.txns[1]->waits[0]->mode, OSTRAKA__LOCK_MODE__EXCLUSIVE);
    cr_assert(is_key(answer.txns[1]->anchor, "b"));
    cr_assert_gt(answer.txns[1]->deadline, 0u);
    client->world->is_oracle_down = true;
    client_world_drop(client, holder);
    client_world_run(client, 20);
    answer = ask(false, 0, NULL);
    cr_assert_eq(answer.n_txns, 1u);
    cr_assert_eq(answer.txns[0]->state, OSTRAKA__ENTRY_STATE__PREPARING);
    cr_assert_eq(answer.txns[0]->waits_count, 0u, "it waits for the time, behind nobody");
    client->world->is_oracle_down = false;
}

/* Two groups; transactions with one lock, with many, with none left to tell at a page's end. */
Test(kv_txns, pages_of_any_size_tell_the_same)
{
    struct core_txn *txns[4];
    static const char *const KEYS[] = {"a", "bcde", "x", "fyz"};
    for (unsigned index = 0; index < 4; index++) {
        txns[index] = client_world_begin(client);
        for (const char *key = KEYS[index]; *key; key++)
            client_world_do(client, txns[index],
                            on_key(OPERATION_TXN_GET, (char[]){*key, '\0'}, "", LOCK_EXCLUSIVE),
                            NULL);
    }
    for (int locks = 0; locks < 2; locks++) {
        for (uint32_t rows_max = 1; rows_max < 12; rows_max++) {
            char told[64] = "";
            size_t at = 0;
            Ostraka__TxnsCursor *after = NULL;
            for (unsigned pages = 0; pages < 20; pages++) {
                Ostraka__TxnsAnswer answer = ask(locks != 0, rows_max, after);
                cr_assert_leq(answer.n_txns + answer.n_locks, rows_max);
                for (size_t row = 0; row < answer.n_txns; row++)
                    at += (size_t)snprintf(told + at, sizeof(told) - at, "%lu:%lu ",
                                           answer.txns[row]->group, answer.txns[row]->locks_count);
                for (size_t row = 0; row < answer.n_locks; row++)
                    told[at++] = (char)answer.locks[row]->start.data[0];
                after = answer.next;
                if (!after)
                    break;
            }
            cr_assert_null(after);
            cr_assert_str_eq(told, locks ? "abcdefxyz" : "1:1 1:4 1:1 2:1 2:2 ", "%u a page",
                             rows_max);
        }
    }
    for (unsigned index = 0; index < 4; index++)
        client_world_drop(client, txns[index]);
}
