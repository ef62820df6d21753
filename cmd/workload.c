#include "cmd/workload.h"

#include "base/assert.h"
#include "base/memory.h"
#include "client/ostraka.h"
#include "cmd/crowd.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES_MAX          30u /* then a transaction counts as failed */
#define ASKS_MAX           10u /* for an outcome */
#define FAILED_PAUSE_MS    20u /* a cluster that is down must not fill the history */
#define PREFIXES_COUNT_MAX 64u
#define KEY_BYTES          96
#define NUMBER_BYTES       24
#define VALUE_BYTES        (WORKLOAD_LIST_COUNT_MAX * NUMBER_BYTES)

_Static_assert(WORKLOAD_WHY_BYTES == CROWD_WHY_BYTES, "the same lines");

/* One client. Its calls follow each other, and all but the first come on the library's thread. */
struct workload_client {
    struct workload *workload;
    struct random random;
    uint64_t process;
    struct history_op ops[WORKLOAD_OPS_COUNT_MAX]; /* as invoked; reads are filled in */
    uint32_t ops_count;
    uint32_t op; /* under way, of a transaction */
    int64_t lists[WORKLOAD_OPS_COUNT_MAX][WORKLOAD_LIST_COUNT_MAX];
    struct ost_txn *txn;
    uint64_t begun_ns;
    uint32_t tries_count;
    uint32_t asks_left;
    bool outcome_unknown; /* a commit was sent and its fate is not known yet */
};

struct workload {
    struct ost_client *client;
    struct workload_options options;
    struct workload_generator generator; /* the library's thread alone */
    char prefixes[PREFIXES_COUNT_MAX][KEY_BYTES];
    uint32_t prefixes_count;
    struct workload_client *clients;
    uint64_t process_last;

    struct crowd crowd; /* its mutex guards all below */
    struct workload_statistics total, interval;
};

void workload_options_default(enum workload_kind kind, struct workload_options *out_options)
{
    *out_options = (struct workload_options){
        .kind = kind, .clients_count = 16, .keys_count = 20, .seed = 1, .run = 1};
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* --- Keys and values -----------------------------------------------------------------------------
 */

static struct ost_bytes key_of(const struct workload *workload, int64_t key, char text[KEY_BYTES])
{
    const char *prefix = workload->prefixes[(uint64_t)key % workload->prefixes_count];
    snprintf(text, KEY_BYTES, "%s%08" PRId64, prefix, key);
    return ost_string(text);
}

/* Decimal numbers with one blank between. False: nobody here wrote that. */
static bool numbers_parse(struct ost_bytes value, int64_t *out_numbers, uint32_t numbers_max,
                          uint32_t *out_count)
{
    char text[VALUE_BYTES + 1];
    *out_count = 0;
    if (value.bytes_count >= sizeof text)
        return false;
    if (value.bytes_count > 0)
        memcpy(text, value.data, value.bytes_count);
    text[value.bytes_count] = '\0';
    for (char *at = text; *at;) {
        char *end;
        if (*at < '0' || *at > '9' || *out_count == numbers_max)
            return false;
        out_numbers[(*out_count)++] = strtoll(at, &end, 10);
        if (*end != '\0' && (*end != ' ' || end[1] == '\0'))
            return false;
        at = *end == ' ' ? end + 1 : end;
    }
    return true;
}

static size_t numbers_print(const int64_t *numbers, uint32_t count, char text[VALUE_BYTES])
{
    size_t chars = 0;
    for (uint32_t i = 0; i < count; i++)
        chars += (size_t)snprintf(text + chars, VALUE_BYTES - chars, "%s%" PRId64, i ? " " : "",
                                  numbers[i]);
    return chars;
}

/* --- History and statistics ----------------------------------------------------------------------
 */

static void record(struct workload_client *client, enum history_type type, const char *error)
{
    struct history_event event = {
        .type = type,
        .function = HISTORY_TXN,
        .process = client->process,
        .ops = client->ops,
        .ops_count = client->ops_count,
        .error = error,
    };
    history_recorder_add(client->workload->options.history, &event);
}

static void count(struct workload *workload, size_t field_offset)
{
    pthread_mutex_lock(&workload->crowd.mutex);
    ++*(uint64_t *)(void *)((char *)&workload->total + field_offset);
    ++*(uint64_t *)(void *)((char *)&workload->interval + field_offset);
    pthread_mutex_unlock(&workload->crowd.mutex);
}
#define COUNT(workload, field) count(workload, offsetof(struct workload_statistics, field))

void workload_read_statistics(struct workload *workload, bool interval,
                              struct workload_statistics *out_statistics)
{
    pthread_mutex_lock(&workload->crowd.mutex);
    *out_statistics = interval ? workload->interval : workload->total;
    if (interval)
        memset(&workload->interval, 0, sizeof workload->interval);
    pthread_mutex_unlock(&workload->crowd.mutex);
}

int workload_error(struct workload *workload, char *out_why)
{
    return crowd_error(&workload->crowd, out_why);
}

/* --- One client ----------------------------------------------------------------------------------
 *
 * begin -> (register: one call) -> completed
 *       -> (transaction) each micro-operation -> commit -> completed
 *   any step, retryable code      -> restart, wait a little, from the first micro-operation
 *   commit, OST_MAYBE_COMMITTED   -> wait a little, commit again: that asks; or completed as INFO
 *   any step, any other code      -> the client stops and the workload has an error
 */

static void client_begin(struct workload_client *client);
static void client_step(struct workload_client *client);
static void client_commit(struct workload_client *client);

/* The last touch of a client's state, which workload_free may drop right after. */
static void client_end(struct workload_client *client)
{
    ost_txn_free(client->txn);
    client->txn = NULL;
    crowd_leave(&client->workload->crowd);
}

static void client_fail(struct workload_client *client, int status, const char *doing)
{
    crowd_fail(&client->workload->crowd, status, doing, client->txn);
    if (client->ops_count > 0) /* nobody knows what a broken client has done */
        record(client, HISTORY_INFO, ost_status_name(status));
    client_end(client);
}

static void client_rested(void *context, const struct ost_result *result)
{
    struct workload_client *client = context;
    if (result->status != OST_OK)
        client_fail(client, result->status, "wait");
    else
        client_begin(client);
}

static void client_next(struct workload_client *client, uint32_t pause_ms)
{
    ost_txn_free(client->txn);
    client->txn = NULL;
    client->ops_count = 0;
    /* By way of the loop, so that a cluster that answers at once does not deepen the stack. */
    int status = ost_after_async(client->workload->client, pause_ms, client_rested, client);
    if (status != OST_OK)
        client_fail(client, status, "wait");
}

static void client_ok(struct workload_client *client)
{
    struct workload *workload = client->workload;
    record(client, HISTORY_OK, NULL);
    for (uint32_t i = 0; workload->options.kind == WORKLOAD_REGISTER && i < client->ops_count;
         i++) {
        const struct history_op *op = &client->ops[i];
        if (op->action != HISTORY_OP_READ || op->found == HISTORY_NUMBER)
            workload_generator_saw(&workload->generator, op->key, op->value);
    }
    uint64_t latency_ns = now_ns() - client->begun_ns;
    pthread_mutex_lock(&workload->crowd.mutex);
    workload->total.ok_count++;
    workload->interval.ok_count++;
    histogram_record(&workload->total.latency_ns, latency_ns);
    histogram_record(&workload->interval.latency_ns, latency_ns);
    pthread_mutex_unlock(&workload->crowd.mutex);
    client_next(client, 0);
}

/* Surely not done. */
static void client_not_done(struct workload_client *client, const char *why, uint32_t pause_ms)
{
    record(client, HISTORY_FAIL, why);
    COUNT(client->workload, failed_count);
    client_next(client, pause_ms);
}

/* Perhaps done, now or later. That ends the process, and another goes on. */
static void client_in_doubt(struct workload_client *client, int status)
{
    record(client, HISTORY_INFO, ost_status_name(status));
    COUNT(client->workload, unknown_count);
    client->process = client->workload->process_last++;
    client->outcome_unknown = false;
    client_next(client, FAILED_PAUSE_MS);
}

static void client_backed_off(void *context, const struct ost_result *result)
{
    struct workload_client *client = context;
    bool abandon;
    bool stopping = crowd_is_stopping(&client->workload->crowd, &abandon);
    if (result->status != OST_OK) {
        client_fail(client, result->status, "wait");
    } else if (client->outcome_unknown && abandon) {
        client_in_doubt(client, OST_MAYBE_COMMITTED);
    } else if (client->outcome_unknown) {
        client_commit(client);
    } else if (stopping) {
        client_not_done(client, "stopped", 0);
    } else {
        client->op = 0;
        client_step(client);
    }
}

static void client_back_off(struct workload_client *client)
{
    uint32_t delay_ms = crowd_rest_ms(&client->random, client->tries_count++);
    int status = ost_after_async(client->workload->client, delay_ms, client_backed_off, client);
    if (status != OST_OK)
        client_fail(client, status, "wait");
}

/* A step of a transaction ended in something other than success. */
static void client_step_failed(struct workload_client *client, int status, const char *doing)
{
    if (status == OST_MAYBE_COMMITTED) {
        if (client->asks_left == 0) {
            client_in_doubt(client, status);
            return;
        }
        client->asks_left--;
        client->outcome_unknown = true;
        COUNT(client->workload, asked_count);
        client_back_off(client);
        return;
    }
    if (!ost_status_is_retryable(status)) {
        client_fail(client, status, doing);
        return;
    }
    client->outcome_unknown = false;
    if (client->tries_count >= TRIES_MAX) {
        client_not_done(client, ost_status_name(status), FAILED_PAUSE_MS);
        return;
    }
    COUNT(client->workload, retries_count);
    status = ost_txn_restart(client->txn);
    if (status != OST_OK)
        client_fail(client, status, "restart a transaction");
    else
        client_back_off(client);
}

static void client_committed(void *context, const struct ost_result *result)
{
    struct workload_client *client = context;
    if (result->status != OST_OK) {
        client_step_failed(client, result->status, "commit a transaction");
        return;
    }
    client->outcome_unknown = false;
    client_ok(client);
}

static void client_commit(struct workload_client *client)
{
    int status = ost_txn_commit_async(client->txn, client_committed, client);
    if (status != OST_OK)
        client_step_failed(client, status, "commit a transaction");
}

/* What a micro-operation does with the value it has read: OST_OK, OST_CONFLICT (a cas that expects
 * another), OST_CORRUPT (a value that nobody here wrote), or the put's. */
static int op_take(struct workload_client *client, const struct ost_result *result)
{
    struct history_op *op = &client->ops[client->op];
    int64_t *numbers = client->lists[client->op];
    bool is_there = result->status == OST_OK;
    uint32_t numbers_count = 0;
    bool is_list = client->workload->options.kind == WORKLOAD_LIST_APPEND;
    if (is_there &&
        (!numbers_parse(result->value, numbers, WORKLOAD_LIST_COUNT_MAX, &numbers_count) ||
         numbers_count == 0 || (!is_list && numbers_count != 1)))
        return OST_CORRUPT;
    if (op->action == HISTORY_OP_READ) {
        op->found = !is_there ? HISTORY_NOTHING : is_list ? HISTORY_LIST : HISTORY_NUMBER;
        op->list = is_list ? numbers : NULL;
        op->list_count = is_list ? numbers_count : 0;
        op->value = is_there && !is_list ? numbers[0] : 0;
        return OST_OK;
    }
    if (op->action == HISTORY_OP_CAS) {
        if (!is_there || numbers[0] != op->expected)
            return OST_CONFLICT;
        numbers_count = 0;
    }
    if (numbers_count == WORKLOAD_LIST_COUNT_MAX)
        return OST_CORRUPT; /* more was appended than ever was asked for */
    numbers[numbers_count++] = op->value;
    char key[KEY_BYTES], text[VALUE_BYTES];
    size_t bytes_count = numbers_print(numbers, numbers_count, text);
    return ost_txn_put(client->txn, key_of(client->workload, op->key, key),
                       ost_bytes(text, bytes_count));
}

static void client_has_read(void *context, const struct ost_result *result)
{
    struct workload_client *client = context;
    int status = result->status;
    if (status == OST_OK || status == OST_NOT_FOUND)
        status = op_take(client, result);
    if (status == OST_CONFLICT) {
        client_not_done(client, "another value", 0);
    } else if (status != OST_OK) {
        client_step_failed(client, status, "read and write in a transaction");
    } else {
        client->op++;
        client_step(client);
    }
}

/* One after the other: each sees what those before it have written. */
static void client_step(struct workload_client *client)
{
    if (client->op == client->ops_count) {
        client_commit(client);
        return;
    }
    char key[KEY_BYTES];
    const struct history_op *op = &client->ops[client->op];
    int status = ost_txn_get_async(client->txn, key_of(client->workload, op->key, key),
                                   op->action != HISTORY_OP_READ, client_has_read, client);
    if (status != OST_OK)
        client_step_failed(client, status, "read in a transaction");
}

/* --- Single operations, which the library makes whole by itself. */

static void single_failed(struct workload_client *client, int status)
{
    if (status == OST_MAYBE_COMMITTED)
        client_in_doubt(client, status);
    else if (ost_status_is_retryable(status))
        client_not_done(client, ost_status_name(status), FAILED_PAUSE_MS);
    else
        client_fail(client, status, "read or write a register");
}

static void single_done(void *context, const struct ost_result *result)
{
    struct workload_client *client = context;
    bool is_read = client->ops[0].action == HISTORY_OP_READ;
    int status = result->status;
    if (is_read && (status == OST_OK || status == OST_NOT_FOUND))
        status = op_take(client, result);
    if (status == OST_OK)
        client_ok(client);
    else
        single_failed(client, status);
}

static void client_single(struct workload_client *client)
{
    const struct history_op *op = &client->ops[0];
    struct ost_client *library = client->workload->client;
    char key[KEY_BYTES], text[VALUE_BYTES];
    struct ost_bytes row = key_of(client->workload, op->key, key);
    int status;
    if (op->action == HISTORY_OP_READ)
        status = ost_get_async(library, row, single_done, client);
    else
        status = ost_put_async(library, row, ost_bytes(text, numbers_print(&op->value, 1, text)),
                               single_done, client);
    if (status != OST_OK)
        single_failed(client, status);
}

static void client_begin(struct workload_client *client)
{
    struct workload *workload = client->workload;
    bool abandon;
    if (crowd_is_stopping(&workload->crowd, &abandon)) {
        client_end(client);
        return;
    }
    client->ops_count = workload_generator_next(&workload->generator, client->ops);
    client->op = 0;
    client->tries_count = 0;
    client->asks_left = random_below(&client->random, 2) == 0 ? 0 : ASKS_MAX;
    client->begun_ns = now_ns();
    record(client, HISTORY_INVOKE, NULL);
    bool is_single =
        workload->options.kind == WORKLOAD_REGISTER && client->ops[0].action != HISTORY_OP_CAS;
    if (is_single) {
        client_single(client);
        return;
    }
    bool is_optimistic = random_below(&client->random, 100) < workload->options.optimistic_percent;
    int status = is_optimistic ? ost_begin_optimistic(workload->client, &client->txn)
                               : ost_begin(workload->client, &client->txn);
    if (status != OST_OK)
        client_fail(client, status, "begin a transaction");
    else
        client_step(client);
}

/* --- The workload --------------------------------------------------------------------------------
 */

static int compare(struct ost_bytes a, const char *b)
{
    size_t b_count = strlen(b);
    size_t count = a.bytes_count < b_count ? a.bytes_count : b_count;
    int order = count > 0 ? memcmp(a.data, b, count) : 0;
    return order != 0 ? order : (a.bytes_count > b_count) - (a.bytes_count < b_count);
}

/* All keys that begin with `prefix` and go on with digits. */
static bool range_holds(const struct ost_range_info *range, const char *prefix)
{
    char last[KEY_BYTES + 2];
    snprintf(last, sizeof last, "%s:", prefix); /* behind every digit */
    return compare(range->start, prefix) <= 0 &&
           (range->end.bytes_count == 0 || compare(range->end, last) >= 0);
}

/* A prefix for each range that has room for one between the keys of others: in front of the plain
 * name, no letter or one. */
static void prefix_choose(struct workload *workload, const struct ost_range_info *range)
{
    const struct workload_options *options = &workload->options;
    const char *name = workload_kind_name(options->kind);
    char *prefix = workload->prefixes[workload->prefixes_count];
    if (workload->prefixes_count == PREFIXES_COUNT_MAX)
        return;
    snprintf(prefix, KEY_BYTES, "%s/%016" PRIx64 "/", name, options->run);
    for (char letter = '!'; letter <= '~' && !range_holds(range, prefix); letter++)
        snprintf(prefix, KEY_BYTES, "%c/%s/%016" PRIx64 "/", letter, name, options->run);
    if (range_holds(range, prefix))
        workload->prefixes_count++;
}

static int prefixes_choose(struct workload *workload, char *out_why)
{
    struct ost_cluster_info info;
    int status = ost_cluster_info(workload->client, &info);
    if (status != OST_OK) {
        snprintf(out_why, WORKLOAD_WHY_BYTES, "cannot learn the ranges: %s",
                 ost_status_text(status));
        return status;
    }
    for (size_t i = 0; i < info.ranges_count; i++)
        prefix_choose(workload, &info.ranges[i]);
    ost_cluster_info_free(&info);
    if (workload->prefixes_count > 0)
        return OST_OK;
    snprintf(out_why, WORKLOAD_WHY_BYTES, "no range of the map has room for the keys of a run");
    return OST_NOT_FOUND;
}

static void client_started(void *context, const struct ost_result *result)
{
    struct workload_client *client = context;
    if (result->status != OST_OK)
        client_fail(client, result->status, "start");
    else
        client_begin(client);
}

int workload_start(struct ost_client *client, const struct workload_options *options,
                   struct workload **out_workload, char *out_why)
{
    ASSERT(options->clients_count > 0 && options->clients_count <= WORKLOAD_CLIENTS_COUNT_MAX);
    struct workload *workload = memory_alloc_zeroed(1, sizeof *workload);
    workload->client = client;
    workload->options = *options;
    crowd_init(&workload->crowd);
    workload_generator_init(&workload->generator, options->kind, options->keys_count,
                            options->seed);
    int status = prefixes_choose(workload, out_why);
    if (status != OST_OK) {
        workload_free(workload);
        return status;
    }
    workload->clients = memory_alloc_zeroed(options->clients_count, sizeof *workload->clients);
    crowd_enter(&workload->crowd, options->clients_count);
    workload->process_last = options->clients_count;
    for (uint32_t i = 0; i < options->clients_count; i++) {
        struct workload_client *each = &workload->clients[i];
        each->workload = workload;
        each->process = i;
        random_init(&each->random, options->seed * 1000003u + i);
        status = ost_after_async(client, 0, client_started, each);
        if (status != OST_OK)
            client_fail(each, status, "start");
    }
    *out_workload = workload;
    return OST_OK;
}

int workload_stop(struct workload *workload, uint32_t timeout_ms, char *out_why)
{
    return crowd_stop(&workload->crowd, timeout_ms, out_why);
}

void workload_free(struct workload *workload)
{
    if (!workload)
        return;
    workload_generator_fini(&workload->generator);
    crowd_fini(&workload->crowd);
    free(workload->clients);
    free(workload);
}
