#include "cmd/bank.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/random.h"
#include "client/ostraka.h"
#include "cmd/crowd.h"
#include "cmd/history_recorder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOAD_BATCH_COUNT   250u
#define AMOUNT_MAX         100u
#define ACCOUNT_TEXT_BYTES 48
#define SCAN_ROWS_ALL      0 /* no limit */

_Static_assert(BANK_WHY_BYTES == CROWD_WHY_BYTES, "the same lines");

struct account {
    uint64_t balance;
    uint64_t transfers_count;
};

/* The accounts of one group, as the map had it at the start. */
struct bank_group {
    uint64_t id;
    uint32_t *accounts;
    uint32_t accounts_count;
    uint64_t last_commit_ns;
    uint64_t gap_ns_max;
};

struct bank_client;

/* One of the two reads of a client, which go out together. */
struct bank_read {
    struct bank_client *client;
    uint32_t index;
};

/* One client. Its calls follow each other, so it is never used by two threads at a time: bank_start
 * hands it to the library's thread by its first call, and there it stays. */
struct bank_client {
    struct bank *bank;
    struct random random;
    struct ost_txn *txn;
    uint32_t accounts[2]; /* from, to */
    uint32_t groups[2];   /* indexes in bank->groups */
    struct account values[2];
    uint64_t amount;
    bool is_invoked; /* in the history, and not completed there */
    struct bank_read reads[2];
    uint32_t reads_under_way_count;
    int read_status; /* of the first read that failed */
    uint64_t begun_ns;
    uint32_t tries_count;
    bool outcome_unknown; /* a commit was sent and its fate is not known yet */
};

struct bank {
    struct ost_client *client;
    struct bank_options options;
    struct bank_group groups[BANK_GROUPS_COUNT_MAX];
    uint32_t groups_count;
    struct bank_client *clients;

    struct crowd crowd; /* its mutex guards all below, and the gaps in groups */
    struct bank_statistics total, interval;
    uint64_t last_commit_ns;
    uint64_t gap_ns_max;
};

uint64_t bank_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_ms(uint32_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

void bank_options_default(struct bank_options *out_options)
{
    *out_options = (struct bank_options){.accounts_count = 1000,
                                         .clients_count = 64,
                                         .cross_percent = 80,
                                         .balance_initial = 1000,
                                         .seed = 1};
}

char *bank_key(uint32_t account, char key[BANK_KEY_BYTES])
{
    ASSERT(account <= BANK_ACCOUNTS_COUNT_MAX);
    snprintf(key, BANK_KEY_BYTES, "bank/%06" PRIu32, account);
    return key;
}

static size_t account_print(const struct account *account, char text[ACCOUNT_TEXT_BYTES])
{
    return (size_t)snprintf(text, ACCOUNT_TEXT_BYTES, "%" PRIu64 " %" PRIu64, account->balance,
                            account->transfers_count);
}

static bool account_parse(struct ost_bytes value, struct account *out_account)
{
    char text[ACCOUNT_TEXT_BYTES];
    if (value.bytes_count == 0 || value.bytes_count >= sizeof text)
        return false;
    memcpy(text, value.data, value.bytes_count);
    text[value.bytes_count] = '\0';
    int end = 0;
    return sscanf(text, "%" SCNu64 " %" SCNu64 "%n", &out_account->balance,
                  &out_account->transfers_count, &end) == 2 &&
           (size_t)end == value.bytes_count;
}

/* --- Load and audit ------------------------------------------------------------------------------
 */

struct load_batch {
    uint32_t begin, end;
    uint64_t balance;
};

static int load_batch_write(struct ost_txn *txn, void *context)
{
    const struct load_batch *batch = context;
    for (uint32_t i = batch->begin; i < batch->end; i++) {
        char key[BANK_KEY_BYTES], text[ACCOUNT_TEXT_BYTES];
        struct account account = {.balance = batch->balance};
        size_t bytes_count = account_print(&account, text);
        int status = ost_txn_put(txn, ost_string(bank_key(i, key)), ost_bytes(text, bytes_count));
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}

static bool may_try_again(int status, uint64_t deadline_ns)
{
    enum ost_status_class class = ost_status_class(status);
    return (class == OST_CLASS_RETRYABLE || class == OST_CLASS_MAYBE_COMMITTED) &&
           bank_now_ns() < deadline_ns;
}

int bank_load(struct ost_client *client, const struct bank_options *options, uint32_t timeout_ms,
              char *out_why)
{
    uint64_t deadline_ns = bank_now_ns() + (uint64_t)timeout_ms * 1000000u;
    struct load_batch batch = {.balance = options->balance_initial};
    while (batch.begin < options->accounts_count) {
        uint32_t left_count = options->accounts_count - batch.begin;
        batch.end = batch.begin + (left_count < LOAD_BATCH_COUNT ? left_count : LOAD_BATCH_COUNT);
        /* Loading is blind and the same each time, so an unknown outcome is simply done again. */
        int status = ost_run(client, load_batch_write, &batch);
        if (status == OST_OK) {
            batch.begin = batch.end;
        } else if (!may_try_again(status, deadline_ns)) {
            snprintf(out_why, BANK_WHY_BYTES, "cannot load accounts %" PRIu32 " to %" PRIu32 ": %s",
                     batch.begin, batch.end, ost_status_text(status));
            return status;
        } else {
            sleep_ms(10);
        }
    }
    return OST_OK;
}

/* `out_accounts`: as many as the options say. */
static int audit_rows(const struct ost_rows *rows, const struct bank_options *options,
                      struct bank_audit *out_audit, struct account *out_accounts, char *out_why)
{
    *out_audit = (struct bank_audit){0};
    for (size_t i = 0; i < rows->rows_count; i++) {
        const struct ost_row *row = &rows->rows[i];
        char key[BANK_KEY_BYTES];
        struct account account;
        bank_key((uint32_t)i, key);
        if (i >= options->accounts_count || row->key.bytes_count != strlen(key) ||
            memcmp(row->key.data, key, row->key.bytes_count) != 0) {
            snprintf(out_why, BANK_WHY_BYTES, "account %s is missing or out of order", key);
            return OST_CORRUPT;
        }
        if (!account_parse(row->value, &account)) {
            snprintf(out_why, BANK_WHY_BYTES, "account %s has a value that no transfer wrote", key);
            return OST_CORRUPT;
        }
        out_accounts[i] = account;
        out_audit->balances_sum += account.balance;
        out_audit->transfers_sum += account.transfers_count;
        out_audit->accounts_count++;
    }
    if (out_audit->accounts_count != options->accounts_count) {
        snprintf(out_why, BANK_WHY_BYTES, "%" PRIu32 " accounts were found, not %" PRIu32,
                 out_audit->accounts_count, options->accounts_count);
        return OST_CORRUPT;
    }
    return OST_OK;
}

/* One audit is two reads of the history, by two processes of their own: balances, and counters. */
static void audit_record(const struct bank_options *options, enum history_type type,
                         const struct account *accounts)
{
    if (!options->history)
        return;
    bool is_ok = type == HISTORY_OK;
    struct history_op *ops = memory_alloc_zeroed(options->accounts_count, sizeof *ops);
    for (int read = 0; read < 2; read++) {
        for (uint32_t i = 0; is_ok && i < options->accounts_count; i++)
            ops[i] = (struct history_op){
                .action = HISTORY_OP_READ,
                .found = HISTORY_NUMBER,
                .key = i,
                .value = (int64_t)(read == 0 ? accounts[i].balance : accounts[i].transfers_count),
            };
        struct history_event event = {
            .type = type,
            .function = read == 0 ? HISTORY_READ : HISTORY_COUNTERS,
            .process = (uint64_t)options->clients_count + (uint64_t)read,
            .ops = is_ok ? ops : NULL,
            .ops_count = is_ok ? options->accounts_count : 0,
        };
        history_recorder_add(options->history, &event);
    }
    free(ops);
}

static int audit(struct ost_client *client, const struct bank_options *options, uint32_t timeout_ms,
                 struct bank_audit *out_audit, struct account *out_accounts, char *out_why)
{
    uint64_t deadline_ns = bank_now_ns() + (uint64_t)timeout_ms * 1000000u;
    char start[BANK_KEY_BYTES], end[BANK_KEY_BYTES];
    bank_key(0, start);
    bank_key(options->accounts_count, end);
    for (;;) {
        struct ost_rows rows = {0};
        int status =
            ost_scan(client, ost_string(start), ost_string(end), SCAN_ROWS_ALL, false, &rows);
        if (status == OST_OK) {
            status = audit_rows(&rows, options, out_audit, out_accounts, out_why);
            ost_rows_free(&rows);
            return status;
        }
        if (!may_try_again(status, deadline_ns)) {
            snprintf(out_why, BANK_WHY_BYTES, "cannot read the accounts: %s",
                     ost_status_text(status));
            return status;
        }
        sleep_ms(10);
    }
}

int bank_audit(struct ost_client *client, const struct bank_options *options, uint32_t timeout_ms,
               struct bank_audit *out_audit, char *out_why)
{
    struct account *accounts = memory_alloc_zeroed(options->accounts_count, sizeof *accounts);
    audit_record(options, HISTORY_INVOKE, NULL);
    int status = audit(client, options, timeout_ms, out_audit, accounts, out_why);
    audit_record(options, status == OST_OK ? HISTORY_OK : HISTORY_FAIL, accounts);
    free(accounts);
    return status;
}

int bank_verdict(const struct bank_audit *before, const struct bank_audit *after,
                 const struct bank_statistics *statistics, uint64_t *out_applied, char *out_why)
{
    uint64_t transfers_sum = after->transfers_sum - before->transfers_sum;
    uint64_t applied_count = transfers_sum / 2;
    uint64_t acknowledged_count = statistics->acknowledged_count;
    if (out_applied)
        *out_applied = applied_count;
    if (after->balances_sum != before->balances_sum) {
        snprintf(out_why, BANK_WHY_BYTES, "money was %s: %" PRIu64 " before, %" PRIu64 " after",
                 after->balances_sum < before->balances_sum ? "lost" : "made", before->balances_sum,
                 after->balances_sum);
        return OST_CORRUPT;
    }
    if (transfers_sum % 2 != 0) {
        snprintf(out_why, BANK_WHY_BYTES, "a transfer was applied in half: %" PRIu64 " halves",
                 transfers_sum);
        return OST_CORRUPT;
    }
    if (applied_count < acknowledged_count ||
        applied_count > acknowledged_count + statistics->unknown_count) {
        snprintf(out_why, BANK_WHY_BYTES,
                 "%" PRIu64 " transfers were acknowledged and %" PRIu64
                 " have an unknown outcome, but %" PRIu64 " were applied",
                 acknowledged_count, statistics->unknown_count, applied_count);
        return OST_CORRUPT;
    }
    snprintf(out_why, BANK_WHY_BYTES,
             "the money is all there: %" PRIu64 " before and after, %" PRIu64
             " transfers acknowledged, %" PRIu64 " applied",
             after->balances_sum, acknowledged_count, applied_count);
    return OST_OK;
}

/* --- Statistics
 * ------------------------------------------------------------------------------------ */

static void gap_note(uint64_t *last_ns, uint64_t *gap_ns_max, uint64_t now_ns)
{
    if (now_ns > *last_ns && now_ns - *last_ns > *gap_ns_max)
        *gap_ns_max = now_ns - *last_ns;
    *last_ns = now_ns;
}

static void note_acknowledged(struct bank_client *client)
{
    struct bank *bank = client->bank;
    uint64_t now_ns = bank_now_ns();
    bool cross = ost_txn_groups_count(client->txn) > 1;
    pthread_mutex_lock(&bank->crowd.mutex);
    bank->total.acknowledged_count++;
    bank->interval.acknowledged_count++;
    bank->total.cross_group_count += cross;
    bank->interval.cross_group_count += cross;
    histogram_record(&bank->total.latency_ns, now_ns - client->begun_ns);
    histogram_record(&bank->interval.latency_ns, now_ns - client->begun_ns);
    gap_note(&bank->last_commit_ns, &bank->gap_ns_max, now_ns);
    for (uint32_t i = 0; i < 2; i++) {
        struct bank_group *group = &bank->groups[client->groups[i]];
        gap_note(&group->last_commit_ns, &group->gap_ns_max, now_ns);
    }
    pthread_mutex_unlock(&bank->crowd.mutex);
}

static void note_abort(struct bank *bank, int status)
{
    uint32_t index = status < 0 && status > -(int)BANK_STATUSES_COUNT ? (uint32_t)-status : 0;
    pthread_mutex_lock(&bank->crowd.mutex);
    bank->total.aborts_count++;
    bank->interval.aborts_count++;
    bank->total.aborts_by_status[index]++;
    bank->interval.aborts_by_status[index]++;
    pthread_mutex_unlock(&bank->crowd.mutex);
}

static void note_maybe_committed(struct bank *bank)
{
    pthread_mutex_lock(&bank->crowd.mutex);
    bank->total.maybe_committed_count++;
    bank->interval.maybe_committed_count++;
    pthread_mutex_unlock(&bank->crowd.mutex);
}

void bank_read_statistics(struct bank *bank, bool interval, struct bank_statistics *out_statistics)
{
    pthread_mutex_lock(&bank->crowd.mutex);
    *out_statistics = interval ? bank->interval : bank->total;
    if (interval)
        memset(&bank->interval, 0, sizeof bank->interval);
    pthread_mutex_unlock(&bank->crowd.mutex);
}

void bank_gap_begin(struct bank *bank)
{
    uint64_t now_ns = bank_now_ns();
    pthread_mutex_lock(&bank->crowd.mutex);
    bank->last_commit_ns = now_ns;
    bank->gap_ns_max = 0;
    for (uint32_t i = 0; i < bank->groups_count; i++) {
        bank->groups[i].last_commit_ns = now_ns;
        bank->groups[i].gap_ns_max = 0;
    }
    pthread_mutex_unlock(&bank->crowd.mutex);
}

static uint64_t gap_now(uint64_t last_ns, uint64_t gap_ns_max, uint64_t now_ns)
{
    uint64_t lasting_ns = now_ns > last_ns ? now_ns - last_ns : 0;
    return lasting_ns > gap_ns_max ? lasting_ns : gap_ns_max;
}

void bank_gap_read(struct bank *bank, struct bank_gap *out_gap)
{
    uint64_t now_ns = bank_now_ns();
    pthread_mutex_lock(&bank->crowd.mutex);
    *out_gap = (struct bank_gap){.any_ns = gap_now(bank->last_commit_ns, bank->gap_ns_max, now_ns)};
    for (uint32_t i = 0; i < bank->groups_count; i++) {
        const struct bank_group *group = &bank->groups[i];
        uint64_t gap_ns = gap_now(group->last_commit_ns, group->gap_ns_max, now_ns);
        if (gap_ns > out_gap->group_ns) {
            out_gap->group_ns = gap_ns;
            out_gap->group = group->id;
        }
    }
    pthread_mutex_unlock(&bank->crowd.mutex);
}

int bank_error(struct bank *bank, char *out_why)
{
    return crowd_error(&bank->crowd, out_why);
}

/* --- One client
 * -----------------------------------------------------------------------------------
 *
 * begin -> read both -> write both, commit -> begin ...
 *   any step, retryable code      -> restart (the age is kept), wait a little, read both
 *   commit, OST_MAYBE_COMMITTED   -> wait a little, commit again: that asks for the outcome
 *   any step, any other code      -> the client stops and the bank has an error
 */

/* NULL error: none. */
static void client_record(struct bank_client *client, enum history_type type, const char *error)
{
    bool is_invoke = type == HISTORY_INVOKE;
    if (!is_invoke && !client->is_invoked)
        return;
    client->is_invoked = is_invoke;
    struct history_event event = {
        .type = type,
        .function = HISTORY_TRANSFER,
        .process = (uint64_t)(client - client->bank->clients),
        .from = client->accounts[0],
        .to = client->accounts[1],
        .amount = (int64_t)client->amount,
        .error = error,
    };
    history_recorder_add(client->bank->options.history, &event);
}

static void client_begin(struct bank_client *client);
static void client_read(struct bank_client *client);
static void client_commit(struct bank_client *client);

/* The last touch of a client's state, which bank_free may drop right after. */
static void client_end(struct bank_client *client)
{
    struct bank *bank = client->bank;
    client_record(client, HISTORY_INFO, "the outcome was not learnt");
    ost_txn_free(client->txn);
    client->txn = NULL;
    pthread_mutex_lock(&bank->crowd.mutex);
    bank->total.unknown_count += client->outcome_unknown;
    pthread_mutex_unlock(&bank->crowd.mutex);
    crowd_leave(&bank->crowd);
}

static void client_fail(struct bank_client *client, int status, const char *doing)
{
    crowd_fail(&client->bank->crowd, status, doing, client->txn);
    client_end(client);
}

/* Two accounts of different groups, or of one; the choice among groups is uniform. */
static void client_choose(struct bank_client *client)
{
    struct bank *bank = client->bank;
    struct random *random = &client->random;
    bool cross = bank->groups_count > 1 && random_below(random, 100) < bank->options.cross_percent;
    uint32_t from = (uint32_t)random_below(random, bank->groups_count);
    uint32_t to = from;
    if (cross)
        to = (from + 1 + (uint32_t)random_below(random, bank->groups_count - 1)) %
             bank->groups_count;
    client->groups[0] = from;
    client->groups[1] = to;
    for (uint32_t i = 0; i < 2; i++) {
        const struct bank_group *group = &bank->groups[client->groups[i]];
        client->accounts[i] = group->accounts[random_below(random, group->accounts_count)];
    }
    /* bank_start saw to it that a group used alone has two accounts. */
    while (client->accounts[0] == client->accounts[1]) {
        const struct bank_group *group = &bank->groups[to];
        client->accounts[1] = group->accounts[random_below(random, group->accounts_count)];
    }
}

static void client_backed_off(void *context, const struct ost_result *result)
{
    struct bank_client *client = context;
    bool abandon;
    bool stopping = crowd_is_stopping(&client->bank->crowd, &abandon);
    if (result->status != OST_OK)
        client_fail(client, result->status, "wait");
    else if (client->outcome_unknown && !abandon)
        client_commit(client);
    else if (stopping)
        client_end(client);
    else
        client_read(client);
}

static void client_back_off(struct bank_client *client)
{
    uint32_t delay_ms = crowd_rest_ms(&client->random, client->tries_count++);
    int status = ost_after_async(client->bank->client, delay_ms, client_backed_off, client);
    if (status != OST_OK)
        client_fail(client, status, "wait");
}

/* A step ended in something other than success. */
static void client_step_failed(struct bank_client *client, int status, const char *doing)
{
    if (status == OST_MAYBE_COMMITTED) {
        client->outcome_unknown = true;
        note_maybe_committed(client->bank);
        client_back_off(client);
        return;
    }
    if (!ost_status_is_retryable(status)) {
        client_fail(client, status, doing);
        return;
    }
    client->outcome_unknown = false;
    client_record(client, HISTORY_FAIL, ost_status_name(status));
    note_abort(client->bank, status);
    status = ost_txn_restart(client->txn);
    if (status != OST_OK)
        client_fail(client, status, "restart a transaction");
    else
        client_back_off(client);
}

static void client_committed(void *context, const struct ost_result *result)
{
    struct bank_client *client = context;
    if (result->status != OST_OK) {
        client_step_failed(client, result->status, "commit a transfer");
        return;
    }
    client->outcome_unknown = false;
    client_record(client, HISTORY_OK, NULL);
    note_acknowledged(client);
    ost_txn_free(client->txn);
    client->txn = NULL;
    client_begin(client);
}

static void client_commit(struct bank_client *client)
{
    int status = ost_txn_commit_async(client->txn, client_committed, client);
    if (status != OST_OK)
        client_step_failed(client, status, "commit a transfer");
}

static void client_write(struct bank_client *client)
{
    struct account *from = &client->values[0], *to = &client->values[1];
    uint64_t amount = 0; /* from an empty account nothing moves, and that is a transfer too */
    if (from->balance > 0) {
        uint64_t limit = from->balance < AMOUNT_MAX ? from->balance : AMOUNT_MAX;
        amount = 1 + random_below(&client->random, limit);
    }
    client->amount = amount;
    from->balance -= amount;
    to->balance += amount;
    from->transfers_count++;
    to->transfers_count++;
    for (uint32_t i = 0; i < 2; i++) {
        char key[BANK_KEY_BYTES], text[ACCOUNT_TEXT_BYTES];
        size_t bytes_count = account_print(&client->values[i], text);
        int status = ost_txn_put(client->txn, ost_string(bank_key(client->accounts[i], key)),
                                 ost_bytes(text, bytes_count));
        if (status != OST_OK) {
            client_step_failed(client, status, "write an account");
            return;
        }
    }
    client_record(client, HISTORY_INVOKE, NULL);
    client_commit(client);
}

static void client_read_ended(struct bank_client *client, int status)
{
    if (status != OST_OK && client->read_status == OST_OK)
        client->read_status = status;
    if (--client->reads_under_way_count > 0)
        return;
    if (client->read_status == OST_CORRUPT)
        client_fail(client, OST_CORRUPT, "understand an account");
    else if (client->read_status != OST_OK)
        client_step_failed(client, client->read_status, "read an account");
    else
        client_write(client);
}

static void client_has_read(void *context, const struct ost_result *result)
{
    const struct bank_read *read = context;
    int status = result->status;
    if (status == OST_OK && !account_parse(result->value, &read->client->values[read->index]))
        status = OST_CORRUPT;
    client_read_ended(read->client, status);
}

/* Both at once: the second does not wait for the first one's way there and back. */
static void client_read(struct bank_client *client)
{
    client->read_status = OST_OK;
    client->reads_under_way_count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        char key[BANK_KEY_BYTES];
        bank_key(client->accounts[i], key);
        client->reads[i] = (struct bank_read){.client = client, .index = i};
        int status = ost_txn_get_async(client->txn, ost_string(key), true, client_has_read,
                                       &client->reads[i]);
        if (status != OST_OK)
            client_read_ended(client, status);
    }
}

static void client_begin(struct bank_client *client)
{
    bool abandon;
    if (crowd_is_stopping(&client->bank->crowd, &abandon)) {
        client_end(client);
        return;
    }
    client_choose(client);
    client->tries_count = 0;
    client->begun_ns = bank_now_ns();
    int status = ost_begin(client->bank->client, &client->txn);
    if (status != OST_OK)
        client_fail(client, status, "begin a transaction");
    else
        client_read(client);
}

static void client_started(void *context, const struct ost_result *result)
{
    struct bank_client *client = context;
    if (result->status != OST_OK)
        client_fail(client, result->status, "start");
    else
        client_begin(client);
}

/* --- The bank
 * ---------------------------------------------------------------------------------------- */

static struct bank_group *group_find_or_add(struct bank *bank, uint64_t id)
{
    for (uint32_t i = 0; i < bank->groups_count; i++)
        if (bank->groups[i].id == id)
            return &bank->groups[i];
    if (bank->groups_count == BANK_GROUPS_COUNT_MAX)
        return NULL;
    struct bank_group *group = &bank->groups[bank->groups_count++];
    group->id = id;
    group->accounts = memory_alloc(bank->options.accounts_count * sizeof *group->accounts);
    return group;
}

static int sort_accounts(struct bank *bank, char *out_why)
{
    for (uint32_t i = 0; i < bank->options.accounts_count; i++) {
        char key[BANK_KEY_BYTES];
        uint64_t id;
        int status = ost_group_of_key(bank->client, ost_string(bank_key(i, key)), &id);
        if (status != OST_OK) {
            snprintf(out_why, BANK_WHY_BYTES, "cannot tell which group serves %s: %s", key,
                     ost_status_text(status));
            return status;
        }
        struct bank_group *group = group_find_or_add(bank, id);
        if (!group) {
            snprintf(out_why, BANK_WHY_BYTES, "the accounts lie in more than %u groups",
                     BANK_GROUPS_COUNT_MAX);
            return OST_TOO_LARGE;
        }
        group->accounts[group->accounts_count++] = i;
    }
    if (bank->groups_count == 1 && bank->options.cross_percent == 100) {
        snprintf(out_why, BANK_WHY_BYTES,
                 "all accounts lie in group %" PRIu64
                 ", no transfer can cross groups: lower the share or split the range",
                 bank->groups[0].id);
        return OST_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < bank->groups_count; i++) {
        if (bank->groups[i].accounts_count < 2) {
            snprintf(out_why, BANK_WHY_BYTES,
                     "group %" PRIu64 " has only one account: give at least two to each group",
                     bank->groups[i].id);
            return OST_INVALID_ARGUMENT;
        }
    }
    return OST_OK;
}

int bank_start(struct ost_client *client, const struct bank_options *options,
               struct bank **out_bank, char *out_why)
{
    ASSERT(options->clients_count > 0 && options->cross_percent <= 100);
    struct bank *bank = memory_alloc_zeroed(1, sizeof *bank);
    bank->client = client;
    bank->options = *options;
    crowd_init(&bank->crowd);
    int status = sort_accounts(bank, out_why);
    if (status != OST_OK) {
        bank_free(bank);
        return status;
    }
    bank_gap_begin(bank);
    bank->clients = memory_alloc_zeroed(options->clients_count, sizeof *bank->clients);
    crowd_enter(&bank->crowd, options->clients_count);
    for (uint32_t i = 0; i < options->clients_count; i++) {
        struct bank_client *each = &bank->clients[i];
        each->bank = bank;
        random_init(&each->random, options->seed * 1000003u + i);
        status = ost_after_async(client, 0, client_started, each);
        if (status != OST_OK)
            client_fail(each, status, "start");
    }
    *out_bank = bank;
    return OST_OK;
}

int bank_stop(struct bank *bank, uint32_t timeout_ms, char *out_why)
{
    return crowd_stop(&bank->crowd, timeout_ms, out_why);
}

void bank_free(struct bank *bank)
{
    if (!bank)
        return;
    for (uint32_t i = 0; i < bank->groups_count; i++)
        free(bank->groups[i].accounts);
    crowd_fini(&bank->crowd);
    free(bank->clients);
    free(bank);
}
