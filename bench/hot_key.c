#include "bench/hot_key.h"

#include "base/memory.h"
#include "base/random.h"
#include "base/status.h"
#include "cmd/bank.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HOT_KEY        "bench/hot"
#define BACKOFF_MS_MAX 64u

struct runner {
    struct hot_key *hot;
    struct ost_client *client;
    struct ost_txn *txn;
    struct random random;
    uint32_t tries_count;
    uint64_t begun_ns;
    uint64_t count; /* guarded by the mutex */
};

struct hot_key {
    struct runner *runners;
    uint32_t runners_count;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t idle;
    uint32_t active_count;
    bool is_stopping;
    int error;
    uint64_t aborts_count, commits_count, unknown_count;
    struct histogram latency_ns;
};

static void try_begin(struct runner *runner);
static void commit_ask(struct runner *runner);

static void runner_end(struct runner *runner, int error)
{
    struct hot_key *hot = runner->hot;
    ost_txn_free(runner->txn);
    runner->txn = NULL;
    pthread_mutex_lock(&hot->mutex);
    if (error != OST_OK && hot->error == OST_OK)
        hot->error = error;
    if (--hot->active_count == 0)
        pthread_cond_broadcast(&hot->idle);
    pthread_mutex_unlock(&hot->mutex);
}

static void txn_begin(struct runner *runner)
{
    runner->begun_ns = bank_now_ns();
    runner->tries_count = 0;
    int status = ost_begin(runner->client, &runner->txn);
    if (status != OST_OK)
        runner_end(runner, status);
    else
        try_begin(runner);
}

static void begin_woken(void *context, const struct ost_result *result)
{
    if (result->status != OST_OK)
        runner_end(context, result->status);
    else
        txn_begin(context);
}

static void try_woken(void *context, const struct ost_result *result)
{
    if (result->status != OST_OK)
        runner_end(context, result->status);
    else
        try_begin(context);
}

/* Keeps its age, as ost_run does. */
static void try_again_later(struct runner *runner)
{
    pthread_mutex_lock(&runner->hot->mutex);
    runner->hot->aborts_count++;
    pthread_mutex_unlock(&runner->hot->mutex);
    uint32_t most_ms = runner->tries_count < 6 ? 1u << runner->tries_count : BACKOFF_MS_MAX;
    runner->tries_count++;
    int status = ost_txn_restart(runner->txn);
    if (status == OST_OK)
        status =
            ost_after_async(runner->client, (uint32_t)random_below(&runner->random, most_ms + 1),
                            try_woken, runner);
    if (status != OST_OK)
        runner_end(runner, status);
}

static void txn_end(struct runner *runner, bool is_known)
{
    struct hot_key *hot = runner->hot;
    ost_txn_free(runner->txn);
    runner->txn = NULL;
    pthread_mutex_lock(&hot->mutex);
    hot->commits_count += is_known;
    hot->unknown_count += !is_known;
    runner->count += is_known;
    histogram_record(&hot->latency_ns, bank_now_ns() - runner->begun_ns);
    bool is_stopping = hot->is_stopping;
    pthread_mutex_unlock(&hot->mutex);
    if (is_stopping)
        runner_end(runner, OST_OK);
    else
        txn_begin(runner);
}

static void committed(void *context, const struct ost_result *result)
{
    struct runner *runner = context;
    enum ost_status_class class = ost_status_class(result->status);
    if (class == OST_CLASS_OK || class == OST_CLASS_MAYBE_COMMITTED)
        txn_end(runner, class == OST_CLASS_OK);
    else if (class == OST_CLASS_RETRYABLE)
        try_again_later(runner);
    else
        runner_end(runner, result->status);
}

static void commit_ask(struct runner *runner)
{
    int status = ost_txn_commit_async(runner->txn, committed, runner);
    if (status != OST_OK)
        runner_end(runner, status);
}

static void read_done(void *context, const struct ost_result *result)
{
    struct runner *runner = context;
    uint64_t number = 0;
    if (ost_status_is_retryable(result->status)) {
        try_again_later(runner);
        return;
    }
    if (result->status != OST_OK && result->status != OST_NOT_FOUND) {
        runner_end(runner, result->status);
        return;
    }
    if (result->status == OST_OK && result->value.bytes_count == sizeof number)
        memcpy(&number, result->value.data, sizeof number);
    number++;
    int status = ost_txn_put(runner->txn, ost_bytes(HOT_KEY, strlen(HOT_KEY)),
                             ost_bytes(&number, sizeof number));
    if (status == OST_OK)
        commit_ask(runner);
    else if (ost_status_is_retryable(status))
        try_again_later(runner);
    else
        runner_end(runner, status);
}

static void try_begin(struct runner *runner)
{
    int status = ost_txn_get_async(runner->txn, ost_bytes(HOT_KEY, strlen(HOT_KEY)), true,
                                   read_done, runner);
    if (status != OST_OK)
        runner_end(runner, status);
}

struct hot_key *hot_key_start(struct ost_client **clients, uint32_t clients_count,
                              uint32_t runners_count, int *out_status)
{
    *out_status = ost_delete(clients[0], ost_bytes(HOT_KEY, strlen(HOT_KEY)));
    if (*out_status != OST_OK)
        return NULL;
    struct hot_key *hot = memory_alloc_zeroed(1, sizeof *hot);
    hot->runners = memory_alloc_zeroed(runners_count, sizeof hot->runners[0]);
    hot->runners_count = hot->active_count = runners_count;
    pthread_mutex_init(&hot->mutex, NULL);
    pthread_cond_init(&hot->idle, NULL);
    for (uint32_t number = 0; number < runners_count; number++) {
        struct runner *runner = &hot->runners[number];
        runner->hot = hot;
        runner->client = clients[number % clients_count];
        random_init(&runner->random, number + 1);
        int status = ost_after_async(runner->client, 0, begin_woken, runner);
        if (status != OST_OK)
            runner_end(runner, status);
    }
    return hot;
}

void hot_key_read(struct hot_key *hot, bool is_reset, struct hot_key_shares *out_shares)
{
    pthread_mutex_lock(&hot->mutex);
    *out_shares = (struct hot_key_shares){
        .least = UINT64_MAX, .aborts_count = hot->aborts_count, .latency_ns = hot->latency_ns};
    for (uint32_t number = 0; number < hot->runners_count; number++) {
        uint64_t count = hot->runners[number].count;
        out_shares->operations_count += count;
        out_shares->least = count < out_shares->least ? count : out_shares->least;
        out_shares->most = count > out_shares->most ? count : out_shares->most;
        if (is_reset)
            hot->runners[number].count = 0;
    }
    out_shares->mean = (double)out_shares->operations_count / hot->runners_count;
    if (is_reset) {
        hot->aborts_count = 0;
        histogram_reset(&hot->latency_ns);
    }
    pthread_mutex_unlock(&hot->mutex);
}

int hot_key_stop(struct hot_key *hot)
{
    pthread_mutex_lock(&hot->mutex);
    hot->is_stopping = true;
    while (hot->active_count > 0)
        pthread_cond_wait(&hot->idle, &hot->mutex);
    int error = hot->error;
    pthread_mutex_unlock(&hot->mutex);
    return error;
}

bool hot_key_check(struct hot_key *hot, struct ost_client *client)
{
    struct ost_value value;
    uint64_t number = 0;
    if (ost_get(client, ost_bytes(HOT_KEY, strlen(HOT_KEY)), &value) != OST_OK)
        return false;
    if (value.bytes_count == sizeof number)
        memcpy(&number, value.data, sizeof number);
    ost_value_free(&value);
    return number >= hot->commits_count && number <= hot->commits_count + hot->unknown_count;
}

void hot_key_free(struct hot_key *hot)
{
    if (!hot)
        return;
    pthread_cond_destroy(&hot->idle);
    pthread_mutex_destroy(&hot->mutex);
    free(hot->runners);
    free(hot);
}
