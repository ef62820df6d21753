/* ranges.c: what many ranges cost, on a fresh cluster of three stores on this machine: how fast
 * they come to be by splits, what a store that serves them holds in memory and does while nothing
 * is asked of it, and how long a new client waits for its map.
 */
#include "bench/session.h"
#include "client/ostraka.h"
#include "cmd/arguments.h"
#include "cmd/cluster.h"
#include "cmd/histogram.h"

#include <argp.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define STORES_COUNT        3u
#define WORKERS_COUNT_MAX   64u
#define SPLIT_KEY_BYTES_MAX 1000u
#define SPLIT_MS_MAX        60000u
#define PROGRESS_MS         5000u
/* The two groups' halves of the key space, so that they get as many ranges each and none moves. */
#define HALVES "an"

struct options {
    uint32_t ranges_count, key_bytes, workers_count, fetches_count, idle_seconds, settle_seconds;
    const char *directory, *program;
    bool keep;
};

struct bench {
    struct options options;
    struct cluster *cluster;
    struct ost_client *client; /* of those who split */
    atomic_uint next, split_count;
    atomic_int failed; /* the first status that ended a split; 0: none */
    char why[CLUSTER_WHY_BYTES];
};

/* --- Splits ------------------------------------------------------------------------------------
 */

/* The bits of a number backward: so each half is cut in the middle, then the halves of it, and two
 * splits that follow each other are of two ranges. */
static uint32_t bits_reversed(uint32_t number, uint32_t bits_count)
{
    uint32_t reversed = 0;
    for (uint32_t bit = 0; bit < bits_count; bit++)
        reversed |= (number >> bit & 1) << (bits_count - 1 - bit);
    return reversed;
}

/* The next key to split at; false: there are enough. */
static bool split_key_next(struct bench *bench, char *key, size_t key_bytes)
{
    uint32_t each_count = bench->options.ranges_count / 2, bits_count = 0;
    while (1u << bits_count < each_count)
        bits_count++;
    for (;;) {
        uint32_t turn = atomic_fetch_add(&bench->next, 1), half = turn % 2, number = turn / 2 + 1;
        if (number >= 1u << bits_count)
            return false;
        uint32_t place = bits_reversed(number, bits_count);
        if (place >= each_count)
            continue;
        snprintf(key, key_bytes, "%c%0*" PRIu32, HALVES[half], (int)bench->options.key_bytes - 1,
                 place);
        return true;
    }
}

/* The range that holds the key may be just being split elsewhere, by another worker. */
static int split_once(struct bench *bench, const char *key, char *why)
{
    uint64_t change, began_ns = now_ns();
    for (;;) {
        int status = ost_split_range(bench->client, ost_string(key), &change, why);
        bool is_in_the_way = status == OST_CONFLICT || status == OST_BUSY;
        if (!is_in_the_way || interrupted || ms_of(now_ns() - began_ns) > SPLIT_MS_MAX)
            return status == OST_EXISTS ? OST_OK : status;
        rest_ms(5);
    }
}

static void *worker_run(void *context)
{
    struct bench *bench = context;
    char key[SPLIT_KEY_BYTES_MAX + 1], why[256] = "";
    while (!interrupted && atomic_load(&bench->failed) == OST_OK &&
           split_key_next(bench, key, sizeof(key))) {
        int status = split_once(bench, key, why), none = OST_OK;
        if (status == OST_OK)
            atomic_fetch_add(&bench->split_count, 1);
        else if (atomic_compare_exchange_strong(&bench->failed, &none, status))
            snprintf(bench->why, sizeof(bench->why), "split at \"%s\": %s", key,
                     why[0] ? why : ost_status_text(status));
    }
    return NULL;
}

/* The splits were ordered: until the map has them all, with none under way. */
static int wait_for_ranges(struct bench *bench, uint32_t count)
{
    size_t is_there = 0, changing = 1;
    while (!interrupted) {
        struct ost_cluster_info info;
        int status = ost_cluster_info(bench->client, &info);
        if (status != OST_OK)
            return status;
        is_there = info.ranges_count;
        changing = 0;
        for (size_t index = 0; index < info.ranges_count; index++)
            changing += info.ranges[index].change.change != 0;
        ost_cluster_info_free(&info);
        if (is_there >= count && changing == 0)
            return OST_OK;
        rest_ms(20);
    }
    return OST_CANCELED;
}

static void progress_print(struct bench *bench, uint64_t began_ns)
{
    uint32_t done = atomic_load(&bench->split_count) + 2;
    fprintf(stderr, "%8.1f s %8u ranges\n", (double)(now_ns() - began_ns) / 1e9, done);
}

static int split_all(struct bench *bench, uint64_t *out_ns)
{
    pthread_t threads[WORKERS_COUNT_MAX];
    uint32_t started = 0;
    uint64_t began_ns = now_ns(), printed_ns = began_ns;
    for (; started < bench->options.workers_count; started++)
        if (pthread_create(&threads[started], NULL, worker_run, bench) != 0)
            break;
    uint32_t wanted = 2 * (bench->options.ranges_count / 2 - 1);
    while (started > 0 && !interrupted && atomic_load(&bench->failed) == OST_OK &&
           atomic_load(&bench->split_count) < wanted) {
        rest_ms(20);
        if (ms_of(now_ns() - printed_ns) < PROGRESS_MS)
            continue;
        printed_ns = now_ns();
        progress_print(bench, began_ns);
    }
    for (uint32_t index = 0; index < started; index++)
        pthread_join(threads[index], NULL);
    int status = started > 0 ? atomic_load(&bench->failed) : OST_NO_SPACE;
    if (status == OST_OK)
        status = wait_for_ranges(bench, wanted + 2);
    *out_ns = now_ns() - began_ns;
    return status;
}

/* --- What it costs -----------------------------------------------------------------------------
 */

struct picture {
    uint64_t resident_bytes[STORES_COUNT + 1];
    uint64_t cpu_ns[STORES_COUNT + 1]; /* while it was idle, for a second */
    uint64_t frames_count, sent_bytes; /* of all stores, for a second */
};

static uint64_t metric(struct bench *bench, struct ost_client *client, const char *name)
{
    uint64_t sum = 0;
    return cluster_metric_sum(bench->cluster, client, name, &sum) ? sum : 0;
}

/* One client is there, which has the map, and asks for nothing. */
static int idle_measure(struct bench *bench, struct picture *out_picture)
{
    struct ost_client *client = NULL;
    uint32_t seconds = bench->options.idle_seconds;
    int status = cluster_open_client(bench->cluster, 10000, &client, bench->why);
    if (status != OST_OK)
        return status;
    uint64_t frames_count = metric(bench, client, "frames_sent_count");
    uint64_t sent_bytes = metric(bench, client, "frames_sent_bytes");
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        out_picture->cpu_ns[store] = cluster_store_cpu_ns(bench->cluster, store);
    for (uint32_t second = 0; second < seconds && !interrupted; second++)
        rest_ms(1000);
    for (uint32_t store = 1; store <= STORES_COUNT; store++) {
        out_picture->cpu_ns[store] =
            (cluster_store_cpu_ns(bench->cluster, store) - out_picture->cpu_ns[store]) / seconds;
        out_picture->resident_bytes[store] = cluster_resident_bytes(bench->cluster, store);
    }
    out_picture->frames_count =
        (metric(bench, client, "frames_sent_count") - frames_count) / seconds;
    out_picture->sent_bytes = (metric(bench, client, "frames_sent_bytes") - sent_bytes) / seconds;
    ost_close(client);
    return OST_OK;
}

static uint32_t master_store(struct bench *bench, struct ost_client *client)
{
    uint32_t leader = 0;
    cluster_leaders(bench->cluster, client, &leader, 1);
    return leader;
}

static void stores_print(const char *what, const struct picture *picture, uint32_t master)
{
    printf("%s\n%7s %9s %16s\n", what, "store", "RSS MiB", "CPU ms/s, idle");
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        printf("%7u %9.1f %16.2f%s\n", store,
               (double)picture->resident_bytes[store] / (1024 * 1024),
               ms_of(picture->cpu_ns[store]), store == master ? "   leads the shard master" : "");
    printf("    sent by all, idle: %" PRIu64 " frames/s, %" PRIu64 " bytes/s\n\n",
           picture->frames_count, picture->sent_bytes);
    fflush(stdout);
}

/* --- How long a new client waits ---------------------------------------------------------------
 */

static int fetches_measure(struct bench *bench)
{
    static struct histogram fetches_ns;
    histogram_reset(&fetches_ns);
    for (uint32_t fetch = 0; fetch < bench->options.fetches_count && !interrupted; fetch++) {
        struct ost_options options;
        ost_options_default(&options);
        char endpoint[32];
        snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u",
                 cluster_port(bench->cluster, 1 + fetch % STORES_COUNT));
        options.endpoints = endpoint;
        struct ost_client *client;
        uint64_t began_ns = now_ns();
        int status = ost_open(&options, &client, bench->why);
        if (status != OST_OK)
            return status;
        histogram_record(&fetches_ns, now_ns() - began_ns);
        ost_close(client);
    }
    printf("a new client connects and has the map: %.1f ms (median), %.1f ms (p99), %.1f ms (max)"
           " of %" PRIu64 "\n",
           ms_of(histogram_percentile(&fetches_ns, 500)),
           ms_of(histogram_percentile(&fetches_ns, 990)), ms_of(fetches_ns.max),
           fetches_ns.total_count);
    return OST_OK;
}

/* --- The whole ---------------------------------------------------------------------------------
 */

static int measure(struct bench *bench)
{
    struct picture few = {0}, many = {0};
    uint64_t took_ns = 0;
    int status = idle_measure(bench, &few);
    if (status != OST_OK)
        return status;
    status = cluster_open_client(bench->cluster, 10000, &bench->client, bench->why);
    if (status != OST_OK)
        return status;
    stores_print("2 ranges", &few, master_store(bench, bench->client));
    uint64_t cpu_ns = cluster_cpu_ns(bench->cluster);
    status = split_all(bench, &took_ns);
    if (status != OST_OK)
        return status;
    uint32_t count = 2 * (bench->options.ranges_count / 2);
    cpu_ns = cluster_cpu_ns(bench->cluster) - cpu_ns;
    printf("%u ranges after %.1f s: %.0f splits/s, %.2f ms of server CPU for each\n", count,
           (double)took_ns / 1e9, (count - 2) / ((double)took_ns / 1e9), ms_of(cpu_ns / count));
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        printf("    store %u: RSS %.1f MiB\n", store,
               (double)cluster_resident_bytes(bench->cluster, store) / (1024 * 1024));
    uint32_t master = master_store(bench, bench->client);
    ost_close(bench->client);
    bench->client = NULL;
    fflush(stdout);
    status = fetches_measure(bench);
    for (uint32_t second = 0; second < bench->options.settle_seconds && !interrupted; second++)
        rest_ms(1000);
    if (status == OST_OK)
        status = idle_measure(bench, &many);
    if (status != OST_OK)
        return status;
    char what[64];
    snprintf(what, sizeof(what), "\n%u ranges", count);
    stores_print(what, &many, master);
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        if (store == master)
            printf("the shard master's store holds %.1f MiB more\n",
                   ((double)many.resident_bytes[store] - (double)few.resident_bytes[store]) /
                       (1024 * 1024));
    return OST_OK;
}

static int bench_run(struct bench *bench)
{
    const struct session_wish wish = {.program = bench->options.program,
                                      .directory = bench->options.directory,
                                      .keep = bench->options.keep};
    struct ost_client *client;
    int status = session_open(&wish, &bench->cluster, &client, bench->why);
    if (client)
        ost_close(client);
    if (status == OST_OK)
        status = measure(bench);
    return session_close(bench->cluster, bench->client, status, bench->why);
}

/* --- Arguments ---------------------------------------------------------------------------------
 */

static const struct argp_option option_table[] = {
    {"ranges", 'n', "N", 0, "So many in the end (default: 10000)", 0},
    {"key-bytes", 'b', "N", 0, "Of each key at which a range begins (default: 11)", 0},
    {"workers", 'w', "N", 0, "Splits that are asked for at a time, up to 64 (default: 16)", 0},
    {"fetches", 'f', "N", 0, "New clients that fetch the map (default: 200)", 0},
    {"idle-seconds", 's', "N", 0, "Measure so long while nothing is asked (default: 40)", 0},
    {"settle-seconds", 't', "N", 0,
     "Wait so long after the splits (default: 0). For some minutes the groups' leaders still "
     "measure "
     "the new ranges, ten a second; after ten minutes they begin to merge those that are small",
     0},
    {"data", 'd', "DIRECTORY", 0, "Where the stores' files go while it runs (default: .)", 0},
    {"keep", 'k', NULL, 0, "Leave the stores' files behind", 0},
    {"program", 'p', "PATH", 0, "The ostrakad to start", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'n':
        options->ranges_count = (uint32_t)argument_number(state, "--ranges", argument, 4, 1000000);
        break;
    case 'b':
        options->key_bytes =
            (uint32_t)argument_number(state, "--key-bytes", argument, 8, SPLIT_KEY_BYTES_MAX);
        break;
    case 'w':
        options->workers_count =
            (uint32_t)argument_number(state, "--workers", argument, 1, WORKERS_COUNT_MAX);
        break;
    case 'f':
        options->fetches_count = (uint32_t)argument_number(state, "--fetches", argument, 1, 100000);
        break;
    case 's':
        options->idle_seconds =
            (uint32_t)argument_number(state, "--idle-seconds", argument, 1, 3600);
        break;
    case 't':
        options->settle_seconds =
            (uint32_t)argument_number(state, "--settle-seconds", argument, 0, 3600);
        break;
    case 'd':
        options->directory = argument;
        break;
    case 'k':
        options->keep = true;
        break;
    case 'p':
        options->program = argument;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.options = {.ranges_count = 10000,
                                             .key_bytes = 11,
                                             .workers_count = 16,
                                             .fetches_count = 200,
                                             .idle_seconds = 40,
                                             .directory = ".",
                                             .program = OSTRAKAD_PATH}};
    const struct argp argp = {
        option_table, parse_option,
        NULL,         "Splits a cluster into many ranges, and measures what they cost.",
        NULL,         NULL,
        NULL};
    if (argp_parse(&argp, argc, argv, 0, NULL, &bench.options) != 0)
        return EXIT_FAILURE;
    session_begin();
    return bench_run(&bench);
}
