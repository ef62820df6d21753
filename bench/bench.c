/* bench.c: what an operation costs and how long it takes, on a fresh cluster of three stores on
 * this machine. Each cell is one workload with a number of clients, after a second of warming up.
 */
#include "base/memory.h"
#include "base/random.h"
#include "bench/hot_key.h"
#include "bench/session.h"
#include "client/ostraka.h"
#include "cmd/arguments.h"
#include "cmd/bank.h"
#include "cmd/cluster.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STORES_COUNT      3u
#define GROUPS_COUNT      2u
#define KEYS_COUNT        10000u
#define KEY_BYTES         24
#define LOAD_BATCH_COUNT  250u
#define CLIENTS_COUNT_MAX 4096u
#define CELLS_COUNT_MAX   16u
#define TIMEOUT_MS        60000u
#define WARM_UP_NS        UINT64_C(1000000000)
#define NS_PER_SECOND     UINT64_C(1000000000)
#define TICK_MS           2u

#define HOT_PROCESSES_MAX 8u /* as many clients, each with a connection and an id of its own */

enum workload {
    WORKLOAD_PUT,
    WORKLOAD_GET,
    WORKLOAD_ONE_GROUP,
    WORKLOAD_CROSS_GROUP,
    WORKLOAD_HOT_KEY,
};

static const char *const workload_names[] = {"put", "get", "transfer-one", "transfer-cross",
                                             "hot-key"};
#define WORKLOADS_COUNT (sizeof workload_names / sizeof workload_names[0])

struct bench {
    uint32_t clients_counts[CELLS_COUNT_MAX];
    uint32_t cells_count;
    uint32_t seconds, accounts_count, value_bytes;
    const char *only, *directory, *program;
    bool json, keep;
    FILE *out; /* for people */
    struct cluster *cluster;
    struct ost_client *client;
};

struct cell {
    enum workload workload;
    uint32_t clients_count;
    double seconds;
    uint64_t operations_count, aborts_count;
    struct histogram latency_ns;
    uint64_t server_cpu_ns, client_cpu_ns, log_writes_count, frames_count;
    uint64_t least, most; /* hot-key: operations of one client */
};

/* --- Puts and gets: each client has one operation under way
 * ------------------------------------------ */

struct point_load {
    struct ost_client *client;
    enum workload workload;
    uint32_t value_bytes;
    uint8_t *value;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t idle;
    uint32_t clients_active_count;
    bool stopping;
    int error;
    uint64_t operations_count, aborts_count;
    struct histogram latency_ns;
};

struct point_client {
    struct point_load *load;
    struct random random;
    uint64_t begun_ns;
};

static size_t bench_key(uint32_t number, char key[KEY_BYTES])
{
    return (size_t)snprintf(key, KEY_BYTES, "bench/%06" PRIu32, number);
}

static void point_client_begin(struct point_client *client);

static void point_client_end(struct point_load *load, int error)
{
    pthread_mutex_lock(&load->mutex);
    if (error != OST_OK && load->error == OST_OK)
        load->error = error;
    if (--load->clients_active_count == 0)
        pthread_cond_broadcast(&load->idle);
    pthread_mutex_unlock(&load->mutex);
}

static void point_client_woken(void *context, const struct ost_result *result)
{
    struct point_client *client = context;
    if (result->status != OST_OK)
        point_client_end(client->load, result->status);
    else
        point_client_begin(client);
}

static void point_client_done(void *context, const struct ost_result *result)
{
    struct point_client *client = context;
    struct point_load *load = client->load;
    uint64_t now_ns = bank_now_ns();
    enum ost_status_class class = ost_status_class(result->status);
    pthread_mutex_lock(&load->mutex);
    if (class == OST_CLASS_OK) {
        load->operations_count++;
        histogram_record(&load->latency_ns, now_ns - client->begun_ns);
    } else {
        load->aborts_count++;
    }
    bool stopping = load->stopping;
    pthread_mutex_unlock(&load->mutex);
    if (class == OST_CLASS_REFUSED || class == OST_CLASS_FATAL) {
        point_client_end(load, result->status);
    } else if (stopping) {
        point_client_end(load, OST_OK);
    } else if (class == OST_CLASS_OK) {
        point_client_begin(client);
    } else {
        int status = ost_after_async(load->client, 1, point_client_woken, client);
        if (status != OST_OK)
            point_client_end(load, status);
    }
}

static void point_client_begin(struct point_client *client)
{
    struct point_load *load = client->load;
    char key[KEY_BYTES];
    size_t key_bytes = bench_key((uint32_t)random_below(&client->random, KEYS_COUNT), key);
    client->begun_ns = bank_now_ns();
    int status =
        load->workload == WORKLOAD_PUT
            ? ost_put_async(load->client, ost_bytes(key, key_bytes),
                            ost_bytes(load->value, load->value_bytes), point_client_done, client)
            : ost_get_async(load->client, ost_bytes(key, key_bytes), point_client_done, client);
    if (status != OST_OK)
        point_client_end(load, status);
}

/* --- Measuring
 * ------------------------------------------------------------------------------------------ */

/* Sleeps; OST_CANCELED when interrupted, or the error of a store that has ended. */
static int wait_ns(struct bench *bench, uint64_t duration_ns, char *why)
{
    uint64_t end_ns = bank_now_ns() + duration_ns;
    while (bank_now_ns() < end_ns) {
        int status = cluster_check(bench->cluster, why);
        if (status != OST_OK)
            return status;
        struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
        nanosleep(&tick, NULL);
    }
    return OST_OK;
}

static uint64_t own_cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_SECOND +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}

struct counters {
    uint64_t at_ns, server_cpu_ns, client_cpu_ns, log_writes_count, frames_count;
};

static int read_counters(struct bench *bench, struct counters *out_counters, char *why)
{
    if (!cluster_metric_sum(bench->cluster, bench->client, "log_writes_count",
                            &out_counters->log_writes_count) ||
        !cluster_metric_sum(bench->cluster, bench->client, "frames_sent_count",
                            &out_counters->frames_count)) {
        snprintf(why, CLUSTER_WHY_BYTES, "a store does not answer a status request");
        return OST_DISCONNECTED;
    }
    out_counters->at_ns = bank_now_ns();
    out_counters->server_cpu_ns = cluster_cpu_ns(bench->cluster);
    out_counters->client_cpu_ns = own_cpu_ns();
    return OST_OK;
}

static void fill_cell(struct cell *cell, const struct counters *begin, const struct counters *end)
{
    cell->seconds = (double)(end->at_ns - begin->at_ns) / 1e9;
    cell->server_cpu_ns = end->server_cpu_ns - begin->server_cpu_ns;
    cell->client_cpu_ns = end->client_cpu_ns - begin->client_cpu_ns;
    cell->log_writes_count = end->log_writes_count - begin->log_writes_count;
    cell->frames_count = end->frames_count - begin->frames_count;
}

static void point_load_reset(struct point_load *load)
{
    pthread_mutex_lock(&load->mutex);
    load->operations_count = 0;
    load->aborts_count = 0;
    histogram_reset(&load->latency_ns);
    pthread_mutex_unlock(&load->mutex);
}

static int point_load_stop(struct point_load *load)
{
    pthread_mutex_lock(&load->mutex);
    load->stopping = true;
    while (load->clients_active_count > 0)
        pthread_cond_wait(&load->idle, &load->mutex);
    int error = load->error;
    pthread_mutex_unlock(&load->mutex);
    return error;
}

static int measure_points(struct bench *bench, struct cell *cell, char *why)
{
    static struct point_load load;
    static uint8_t value[1 << 16];
    load = (struct point_load){.client = bench->client,
                               .workload = cell->workload,
                               .value_bytes = bench->value_bytes,
                               .value = value,
                               .clients_active_count = cell->clients_count};
    pthread_mutex_init(&load.mutex, NULL);
    pthread_cond_init(&load.idle, NULL);
    struct point_client *clients = memory_alloc_zeroed(cell->clients_count, sizeof *clients);
    for (uint32_t i = 0; i < cell->clients_count; i++) {
        clients[i].load = &load;
        random_init(&clients[i].random, i + 1);
        int status = ost_after_async(bench->client, 0, point_client_woken, &clients[i]);
        if (status != OST_OK)
            point_client_end(&load, status);
    }
    struct counters begin = {0}, end = {0};
    int status = wait_ns(bench, WARM_UP_NS, why);
    if (status == OST_OK)
        status = read_counters(bench, &begin, why);
    point_load_reset(&load);
    if (status == OST_OK)
        status = wait_ns(bench, bench->seconds * NS_PER_SECOND, why);
    pthread_mutex_lock(&load.mutex);
    cell->operations_count = load.operations_count;
    cell->aborts_count = load.aborts_count;
    cell->latency_ns = load.latency_ns;
    pthread_mutex_unlock(&load.mutex);
    if (status == OST_OK)
        status = read_counters(bench, &end, why);
    fill_cell(cell, &begin, &end);
    int error = point_load_stop(&load);
    if (status == OST_OK && error != OST_OK) {
        status = error;
        snprintf(why, CLUSTER_WHY_BYTES, "%s failed: %s", workload_names[cell->workload],
                 ost_status_text(error));
    }
    pthread_cond_destroy(&load.idle);
    pthread_mutex_destroy(&load.mutex);
    free(clients);
    return status;
}

static int measure_transfers(struct bench *bench, struct cell *cell, char *why)
{
    struct bank_options options;
    static struct bank_statistics statistics;
    struct bank *bank;
    bank_options_default(&options);
    options.accounts_count = bench->accounts_count;
    options.clients_count = cell->clients_count;
    options.cross_percent = cell->workload == WORKLOAD_CROSS_GROUP ? 100 : 0;
    int status = bank_start(bench->client, &options, &bank, why);
    if (status != OST_OK)
        return status;
    struct counters begin = {0}, end = {0};
    status = wait_ns(bench, WARM_UP_NS, why);
    if (status == OST_OK)
        status = read_counters(bench, &begin, why);
    bank_read_statistics(bank, true, &statistics);
    if (status == OST_OK)
        status = wait_ns(bench, bench->seconds * NS_PER_SECOND, why);
    bank_read_statistics(bank, true, &statistics);
    if (status == OST_OK)
        status = read_counters(bench, &end, why);
    fill_cell(cell, &begin, &end);
    cell->operations_count = statistics.acknowledged_count;
    cell->aborts_count = statistics.aborts_count;
    cell->latency_ns = statistics.latency_ns;
    int error = bank_stop(bank, TIMEOUT_MS, why);
    bank_free(bank);
    return status != OST_OK ? status : error;
}

/* The end, and what was counted; `hot` may be NULL. */
static int hot_key_finish(struct hot_key *hot, struct ost_client *client, int status, char *why)
{
    if (!hot)
        return status;
    int error = hot_key_stop(hot);
    if (status == OST_OK && error != OST_OK) {
        status = error;
        snprintf(why, CLUSTER_WHY_BYTES, "hot-key failed: %s", ost_status_text(error));
    } else if (status == OST_OK && !hot_key_check(hot, client)) {
        status = OST_CORRUPT;
        snprintf(why, CLUSTER_WHY_BYTES, "hot-key: the key does not hold the number of commits");
    }
    hot_key_free(hot);
    return status;
}

static int measure_hot_key(struct bench *bench, struct cell *cell, char *why)
{
    static struct hot_key_shares shares;
    struct ost_client *clients[HOT_PROCESSES_MAX];
    struct hot_key *hot = NULL;
    struct counters begin = {0}, end = {0};
    uint32_t clients_count = 0;
    int status = OST_OK;
    while (status == OST_OK && clients_count < HOT_PROCESSES_MAX &&
           clients_count < cell->clients_count) {
        status = cluster_open_client(bench->cluster, TIMEOUT_MS, &clients[clients_count], why);
        clients_count += status == OST_OK;
    }
    if (status == OST_OK) {
        hot = hot_key_start(clients, clients_count, cell->clients_count, &status);
        if (!hot)
            snprintf(why, CLUSTER_WHY_BYTES, "hot-key failed: %s", ost_status_text(status));
    }
    if (status == OST_OK)
        status = wait_ns(bench, WARM_UP_NS, why);
    if (status == OST_OK)
        status = read_counters(bench, &begin, why);
    if (hot)
        hot_key_read(hot, true, &shares);
    if (status == OST_OK)
        status = wait_ns(bench, bench->seconds * NS_PER_SECOND, why);
    if (hot)
        hot_key_read(hot, true, &shares);
    if (status == OST_OK)
        status = read_counters(bench, &end, why);
    fill_cell(cell, &begin, &end);
    cell->operations_count = shares.operations_count;
    cell->aborts_count = shares.aborts_count;
    cell->latency_ns = shares.latency_ns;
    cell->least = shares.least;
    cell->most = shares.most;
    status = hot_key_finish(hot, bench->client, status, why);
    while (clients_count > 0)
        ost_close(clients[--clients_count]);
    return status;
}

static int measure(struct bench *bench, struct cell *cell, char *why)
{
    switch (cell->workload) {
    case WORKLOAD_PUT:
    case WORKLOAD_GET:
        return measure_points(bench, cell, why);
    case WORKLOAD_ONE_GROUP:
    case WORKLOAD_CROSS_GROUP:
        return measure_transfers(bench, cell, why);
    case WORKLOAD_HOT_KEY:
        return measure_hot_key(bench, cell, why);
    }
    return OST_INVALID_ARGUMENT;
}

/* --- Set-up
 * ------------------------------------------------------------------------------------------------
 */

struct load_batch {
    const struct bench *bench;
    uint32_t begin;
};

static int load_batch_write(struct ost_txn *txn, void *context)
{
    const struct load_batch *batch = context;
    static const uint8_t value[1 << 16];
    for (uint32_t i = batch->begin; i < batch->begin + LOAD_BATCH_COUNT && i < KEYS_COUNT; i++) {
        char key[KEY_BYTES];
        size_t key_bytes = bench_key(i, key);
        int status = ost_txn_put(txn, ost_bytes(key, key_bytes),
                                 ost_bytes(value, batch->bench->value_bytes));
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}

static int load(struct bench *bench, char *why)
{
    struct bank_options options;
    bank_options_default(&options);
    options.accounts_count = bench->accounts_count;
    int status = bank_load(bench->client, &options, TIMEOUT_MS, why);
    struct load_batch batch = {.bench = bench};
    while (status == OST_OK && batch.begin < KEYS_COUNT) {
        status = ost_run(bench->client, load_batch_write, &batch);
        batch.begin += LOAD_BATCH_COUNT;
        if (status != OST_OK)
            snprintf(why, CLUSTER_WHY_BYTES, "cannot load keys: %s", ost_status_text(status));
    }
    return status;
}

static int prepare(struct bench *bench, char *why)
{
    /* Ranges are dealt to the groups in turn: these cuts give half of the accounts and half of the
     * keys to each group. */
    char split[BANK_KEY_BYTES], middle[KEY_BYTES], splits[128];
    bank_key(bench->accounts_count / 2, split);
    bench_key(KEYS_COUNT / 2, middle);
    snprintf(splits, sizeof splits, "%s,bench/,%s", split, middle);
    struct cluster_options options;
    cluster_options_default(&options);
    options.program = bench->program;
    options.directory = bench->directory;
    options.stores_count = STORES_COUNT;
    options.groups_count = GROUPS_COUNT;
    options.splits = splits;
    options.keep = bench->keep;
    options.interrupted = &interrupted;
    int status = cluster_new(&options, &bench->cluster, why);
    if (status == OST_OK)
        status = cluster_open_client(bench->cluster, TIMEOUT_MS, &bench->client, why);
    if (status == OST_OK)
        status = cluster_wait_ready(bench->cluster, bench->client, TIMEOUT_MS, why);
    if (status != OST_OK)
        return status;
    uint64_t idle_bytes = 0;
    for (uint32_t store = 1; store <= STORES_COUNT; store++) {
        uint64_t bytes = cluster_resident_bytes(bench->cluster, store);
        idle_bytes = bytes > idle_bytes ? bytes : idle_bytes;
    }
    fprintf(bench->out,
            "Three stores, two groups, %ld cores for all; an idle store takes %.0f MiB.\n"
            "%u keys with values of %" PRIu32 " bytes, %" PRIu32 " accounts, %" PRIu32
            " s for each line.\n\n",
            sysconf(_SC_NPROCESSORS_ONLN), (double)idle_bytes / 1048576.0, KEYS_COUNT,
            bench->value_bytes, bench->accounts_count, bench->seconds);
    return load(bench, why);
}

/* --- Output
 * --------------------------------------------------------------------------------------------------
 */

static double per_operation(const struct cell *cell, double value)
{
    return cell->operations_count ? value / (double)cell->operations_count : 0.0;
}

static double cell_ms(const struct cell *cell, uint32_t per_mille)
{
    return (double)histogram_percentile(&cell->latency_ns, per_mille) / 1e6;
}

static void print_header(FILE *out)
{
    fprintf(out, "%-15s %7s %9s %8s %8s %8s %8s %10s %10s %8s %8s\n", "", "", "", "p50", "p99",
            "p99.9", "aborts", "server CPU", "client CPU", "log", "frames");
    fprintf(out, "%-15s %7s %9s %8s %8s %8s %8s %10s %10s %8s %8s\n", "workload", "clients",
            "ops/s", "ms", "ms", "ms", "/op", "us/op", "us/op", "writes", "/op");
}

static void print_cell(FILE *out, const struct cell *cell)
{
    fprintf(out, "%-15s %7" PRIu32 " %9.0f %8.2f %8.2f %8.2f %8.3f %10.1f %10.1f %8.2f %8.2f\n",
            workload_names[cell->workload], cell->clients_count,
            (double)cell->operations_count / cell->seconds, cell_ms(cell, 500), cell_ms(cell, 990),
            cell_ms(cell, 999), per_operation(cell, (double)cell->aborts_count),
            per_operation(cell, (double)cell->server_cpu_ns / 1e3),
            per_operation(cell, (double)cell->client_cpu_ns / 1e3),
            per_operation(cell, (double)cell->log_writes_count),
            per_operation(cell, (double)cell->frames_count));
    if (cell->workload == WORKLOAD_HOT_KEY)
        fprintf(
            out,
            "%-15s %7s operations of a client: least %" PRIu64 ", mean %.1f, most %" PRIu64 "\n",
            "", "", cell->least, (double)cell->operations_count / cell->clients_count, cell->most);
}

static void print_cell_json(const struct cell *cell)
{
    printf(
        "{\"workload\":\"%s\",\"clients\":%" PRIu32 ",\"seconds\":%.3f,\"operations\":%" PRIu64
        ",\"ops_per_s\":%.1f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"p99_9_ms\":%.4f,\"aborts\":%" PRIu64
        ",\"server_cpu_us_per_op\":%.2f,\"client_cpu_us_per_op\":%.2f,"
        "\"log_writes_per_op\":%.4f,\"frames_per_op\":%.4f",
        workload_names[cell->workload], cell->clients_count, cell->seconds, cell->operations_count,
        (double)cell->operations_count / cell->seconds, cell_ms(cell, 500), cell_ms(cell, 990),
        cell_ms(cell, 999), cell->aborts_count,
        per_operation(cell, (double)cell->server_cpu_ns / 1e3),
        per_operation(cell, (double)cell->client_cpu_ns / 1e3),
        per_operation(cell, (double)cell->log_writes_count),
        per_operation(cell, (double)cell->frames_count));
    if (cell->workload == WORKLOAD_HOT_KEY)
        printf(",\"share_least\":%" PRIu64 ",\"share_mean\":%.2f,\"share_most\":%" PRIu64,
               cell->least, (double)cell->operations_count / cell->clients_count, cell->most);
    printf("}\n");
    fflush(stdout);
}

static int bench_run(struct bench *bench, char *why)
{
    int status = prepare(bench, why);
    if (status != OST_OK)
        return status;
    print_header(bench->out);
    for (size_t w = 0; w < WORKLOADS_COUNT; w++) {
        if (bench->only && strcmp(bench->only, workload_names[w]) != 0)
            continue;
        for (uint32_t c = 0; c < bench->cells_count; c++) {
            static struct cell cell;
            cell = (struct cell){.workload = (enum workload)w,
                                 .clients_count = bench->clients_counts[c]};
            status = measure(bench, &cell, why);
            if (status != OST_OK)
                return status;
            print_cell(bench->out, &cell);
            if (bench->json)
                print_cell_json(&cell);
        }
    }
    return OST_OK;
}

/* --- The command line
 * ------------------------------------------------------------------------------------------ */

enum {
    KEY_SECONDS = 256,
    KEY_CLIENTS,
    KEY_ACCOUNTS,
    KEY_VALUE_BYTES,
    KEY_ONLY,
    KEY_JSON,
    KEY_KEEP,
    KEY_DATA,
    KEY_OSTRAKAD,
};

static const struct argp_option option_table[] = {
    {"seconds", KEY_SECONDS, "N", 0, "for each line (default: 5)", 0},
    {"clients", KEY_CLIENTS, "N,N,...", 0, "operations under way at a time (default: 1,64,256)", 0},
    {"only", KEY_ONLY, "NAME", 0,
     "put, get, transfer-one, transfer-cross or hot-key (default: all)", 0},
    {"accounts", KEY_ACCOUNTS, "N", 0, "accounts for the transfers (default: 10000)", 0},
    {"value-bytes", KEY_VALUE_BYTES, "N", 0, "for put and get (default: 100)", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON object for each line, on standard output", 0},
    {"keep", KEY_KEEP, NULL, 0, "leave the data and the logs behind", 0},
    {"data", KEY_DATA, "DIR", 0, "where the stores keep their data (default: bench-data)", 0},
    {"ostrakad", KEY_OSTRAKAD, "PATH", 0, "the server to start (default: the one built here)", 0},
    {0}};

static uint32_t number(struct argp_state *state, const char *flag, const char *text, uint32_t min,
                       uint32_t max)
{
    return (uint32_t)argument_number(state, flag, text, min, max);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct bench *bench = state->input;
    switch (key) {
    case KEY_SECONDS:
        bench->seconds = number(state, "seconds", text, 1, 3600);
        return 0;
    case KEY_CLIENTS:
        bench->cells_count = 0;
        for (char *word; (word = strsep(&text, ",")) != NULL;) {
            if (bench->cells_count == CELLS_COUNT_MAX)
                argp_error(state, "--clients: at most %u numbers", CELLS_COUNT_MAX);
            bench->clients_counts[bench->cells_count++] =
                number(state, "clients", word, 1, CLIENTS_COUNT_MAX);
        }
        return 0;
    case KEY_ACCOUNTS:
        bench->accounts_count = number(state, "accounts", text, 4, 100000);
        return 0;
    case KEY_VALUE_BYTES:
        bench->value_bytes = number(state, "value-bytes", text, 0, 1u << 16);
        return 0;
    case KEY_ONLY:
        for (size_t i = 0; i < WORKLOADS_COUNT; i++)
            if (strcmp(text, workload_names[i]) == 0)
                bench->only = text;
        if (!bench->only)
            argp_error(state, "--only: '%s' is none of the workloads", text);
        return 0;
    case KEY_JSON:
        bench->json = true;
        return 0;
    case KEY_KEEP:
        bench->keep = true;
        return 0;
    case KEY_DATA:
        bench->directory = text;
        return 0;
    case KEY_OSTRAKAD:
        bench->program = text;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': there are no arguments, only flags", text);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_table,
        .parser = parse,
        .doc =
            "ostraka-bench: operations per second, latency and cost on a cluster of three stores."};
    static struct bench bench = {.clients_counts = {1, 64, 256},
                                 .cells_count = 3,
                                 .seconds = 5,
                                 .accounts_count = 10000,
                                 .value_bytes = 100,
                                 .directory = "bench-data",
                                 .program = OSTRAKAD_PATH};
    argp_parse(&argp, argc, argv, 0, NULL, &bench);
    bench.out = bench.json ? stderr : stdout;
    setvbuf(bench.out, NULL, _IOLBF, 0);
    session_begin();

    char why[CLUSTER_WHY_BYTES] = "";
    int status = bench_run(&bench, why);
    if (status != OST_OK) {
        fprintf(stderr, "ostraka-bench: %s\n", why);
        if (bench.cluster && !interrupted) {
            cluster_keep(bench.cluster);
            fprintf(stderr, "The data and the logs are kept in %s\n",
                    cluster_directory(bench.cluster));
        }
    }
    /* After an error operations may still be under way: they end with the process. */
    cluster_free(bench.cluster);
    fflush(NULL);
    _exit(interrupted ? EXIT_INTERRUPTED : status == OST_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}
