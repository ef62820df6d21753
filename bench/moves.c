/* moves.c: what it costs others when a range moves from one group to the other and back, on a fresh
 * cluster of three stores on this machine: how long nothing goes on in the range that moves, how
 * fast it moves, what clients of another range notice, and when the old copies' space is back.
 */
#define _GNU_SOURCE /* nftw */

#include "bench/session.h"
#include "client/ostraka.h"
#include "cmd/arguments.h"
#include "cmd/cluster.h"
#include "cmd/histogram.h"

#include <argp.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUE_BYTES       1000u
#define LOAD_BATCH_COUNT  256u
#define CLIENTS_COUNT_MAX 64u
#define MOVE_MS_MAX       60000u
#define POLL_MS           10u
#define NS_PER_MS_REAL    UINT64_C(1000000)
#define SPACE_SECONDS     60u /* in which an old copy is to be gone */
#define SPACE_POLLS_COUNT (SPACE_SECONDS * 10)

struct options {
    uint32_t mib, moves_count, clients_count, still_seconds;
    uint32_t rate; /* of each client, operations a second; 0: as many as it can */
    const char *directory, *program;
    const char *copy_mib_per_s; /* NULL: the server's default */
    bool keep, space;
};

/* One thread that reads and writes in one of the two ranges. */
struct worker {
    pthread_t thread;
    struct bench *bench;
    bool is_moving; /* in the range that moves */
    uint32_t number;
    _Atomic uint64_t slowest_ns; /* since it was last taken */
    pthread_mutex_t mutex;
    struct histogram latency_ns; /* under the mutex */
    uint64_t errors_count;
};

struct bench {
    struct options options;
    struct cluster *cluster;
    struct ost_client *client;
    uint64_t keys_count;
    atomic_bool is_over;
    struct worker workers[2 * CLIENTS_COUNT_MAX];
};

/* --- Data --------------------------------------------------------------------------------------
 */

static void key_print_number(char *key, size_t key_bytes, bool is_moving, uint64_t number)
{
    snprintf(key, key_bytes, "%c%010" PRIu64, is_moving ? 'a' : 'n', number);
}

struct batch {
    bool is_moving;
    uint64_t first, count;
};

static int batch_put(struct ost_txn *txn, void *context)
{
    const struct batch *batch = context;
    char key[16], value[VALUE_BYTES];
    int status = OST_OK;
    for (uint64_t index = 0; index < batch->count && status == OST_OK; index++) {
        key_print_number(key, sizeof(key), batch->is_moving, batch->first + index);
        /* Not all alike, so that compression does not make it small. */
        for (size_t at = 0; at < sizeof(value); at++)
            value[at] = (char)((batch->first + index) * 2654435761u >> (at * 7 % 57));
        status = ost_txn_put(txn, ost_string(key), ost_bytes(value, sizeof(value)));
    }
    return status;
}

static int load(struct bench *bench)
{
    for (int is_moving = 0; is_moving <= 1; is_moving++) {
        uint64_t count = is_moving ? bench->keys_count : 1000;
        for (uint64_t first = 0; first < count && !interrupted; first += LOAD_BATCH_COUNT) {
            struct batch batch = {is_moving != 0, first, LOAD_BATCH_COUNT};
            if (first + batch.count > count)
                batch.count = count - first;
            int status = ost_run(bench->client, batch_put, &batch);
            if (status != OST_OK)
                return status;
        }
    }
    return OST_OK;
}

/* --- Load --------------------------------------------------------------------------------------
 */

static void worker_note(struct worker *worker, uint64_t took_ns, int status)
{
    if (took_ns > atomic_load(&worker->slowest_ns))
        atomic_store(&worker->slowest_ns, took_ns);
    pthread_mutex_lock(&worker->mutex);
    histogram_record(&worker->latency_ns, took_ns);
    worker->errors_count += status != OST_OK;
    pthread_mutex_unlock(&worker->mutex);
}

/* Between two operations of a client; 0: none. */
static uint64_t interval_ns(const struct bench *bench)
{
    return bench->options.rate == 0 ? 0 : 1000000000u / bench->options.rate;
}

/* Returns when the operation was due: one that had to wait for the one before took that much
 * longer. */
static uint64_t wait_until_due(const struct bench *bench, uint64_t last_due_ns)
{
    if (bench->options.rate == 0)
        return now_ns();
    uint64_t due_ns = last_due_ns + interval_ns(bench);
    struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u),
                           .tv_nsec = (long)(due_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        continue;
    return due_ns;
}

static void *worker_run(void *context)
{
    struct worker *worker = context;
    struct bench *bench = worker->bench;
    uint64_t keys_count = worker->is_moving ? bench->keys_count : 1000;
    uint64_t random = worker->number * 7919u + 1;
    char key[16], data[VALUE_BYTES];
    memset(data, 'x', sizeof(data));
    /* One after the other: clients that have nothing to do with each other are not in step. */
    uint32_t workers_count = 2 * bench->options.clients_count;
    uint64_t due_ns = now_ns() + interval_ns(bench) * worker->number / workers_count;
    while (!atomic_load(&bench->is_over)) {
        due_ns = wait_until_due(bench, due_ns);
        random = random * 6364136223846793005u + 1442695040888963407u;
        key_print_number(key, sizeof(key), worker->is_moving, (random >> 33) % keys_count);
        int status;
        if (random >> 63) {
            status = ost_put(bench->client, ost_string(key), ost_bytes(data, sizeof(data)));
        } else {
            struct ost_value value;
            status = ost_get(bench->client, ost_string(key), &value);
            if (status == OST_OK)
                ost_value_free(&value);
        }
        worker_note(worker, now_ns() - due_ns, status);
    }
    return NULL;
}

static int workers_start(struct bench *bench)
{
    for (uint32_t index = 0; index < 2 * bench->options.clients_count; index++) {
        struct worker *worker = &bench->workers[index];
        *worker = (struct worker){.bench = bench, .is_moving = index % 2 == 0, .number = index};
        pthread_mutex_init(&worker->mutex, NULL);
        if (pthread_create(&worker->thread, NULL, worker_run, worker) != 0)
            return OST_NO_SPACE;
    }
    return OST_OK;
}

static void workers_stop(struct bench *bench)
{
    atomic_store(&bench->is_over, true);
    for (uint32_t index = 0; index < 2 * bench->options.clients_count; index++)
        if (bench->workers[index].bench)
            pthread_join(bench->workers[index].thread, NULL);
}

/* Since the last call. */
struct picture {
    struct histogram latency_ns;
    uint64_t errors_count, slowest_ns;
};

static void take(struct bench *bench, bool is_moving, struct picture *out_picture)
{
    histogram_reset(&out_picture->latency_ns);
    out_picture->errors_count = out_picture->slowest_ns = 0;
    for (uint32_t index = 0; index < 2 * bench->options.clients_count; index++) {
        struct worker *worker = &bench->workers[index];
        if (worker->is_moving != is_moving)
            continue;
        pthread_mutex_lock(&worker->mutex);
        histogram_add(&out_picture->latency_ns, &worker->latency_ns);
        histogram_reset(&worker->latency_ns);
        out_picture->errors_count += worker->errors_count;
        worker->errors_count = 0;
        pthread_mutex_unlock(&worker->mutex);
        uint64_t slowest_ns = atomic_exchange(&worker->slowest_ns, 0);
        if (slowest_ns > out_picture->slowest_ns)
            out_picture->slowest_ns = slowest_ns;
    }
}

/* --- Moves -------------------------------------------------------------------------------------
 */

/* Is the change still under way, and who has the range that moves? */
static int move_look(struct bench *bench, uint64_t change, bool *out_is_over, uint64_t *out_group)
{
    struct ost_cluster_info info;
    int status = ost_cluster_info(bench->client, &info);
    if (status != OST_OK)
        return status;
    *out_is_over = info.next_change > change;
    for (size_t index = 0; index < info.ranges_count; index++) {
        if (info.ranges[index].change.change == change && change != 0)
            *out_is_over = false;
        if (info.ranges[index].start.bytes_count == 0)
            *out_group = info.ranges[index].group;
    }
    ost_cluster_info_free(&info);
    return OST_OK;
}

/* More than the keys' newest values: old versions go along. What is copied in the last moment may
 * not be seen. */
static void bytes_look(struct bench *bench, uint64_t change, uint64_t *bytes)
{
    struct ost_progress progress;
    if (ost_progress(bench->client, 0, &progress) != OST_OK)
        return;
    for (size_t index = 0; index < progress.items_count; index++) {
        const struct ost_progress_item *item = &progress.items[index];
        if (item->change == change && item->done_count > *bytes)
            *bytes = item->done_count;
    }
    ost_progress_free(&progress);
}

static int move_once(struct bench *bench, uint64_t *out_ns, uint64_t *out_bytes, char *why)
{
    bool is_over = false;
    uint64_t group = 0, change = 0;
    int status = move_look(bench, 0, &is_over, &group);
    uint64_t to_group = group == 1 ? 2 : 1, began_ns = now_ns();
    if (status == OST_OK)
        status = ost_move_range(bench->client, ost_string("a"), to_group, &change, why);
    *out_bytes = 0;
    for (is_over = false; status == OST_OK && !is_over && !interrupted;) {
        rest_ms(POLL_MS);
        bytes_look(bench, change, out_bytes);
        status = move_look(bench, change, &is_over, &group);
        if (now_ns() - began_ns > MOVE_MS_MAX * NS_PER_MS_REAL)
            status = OST_DEADLINE_EXCEEDED;
    }
    *out_ns = now_ns() - began_ns;
    if (status == OST_OK && group != to_group && !interrupted) {
        snprintf(why, 256, "the move was called off");
        return OST_CANCELED;
    }
    if (status != OST_OK && why[0] == '\0')
        snprintf(why, 256, "%s", ost_status_text(status));
    return status;
}

/* --- Space -------------------------------------------------------------------------------------
 */

static uint64_t table_bytes; /* nftw gives its function nothing else */

static int table_count(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)walk;
    const char *dot = strrchr(path, '.');
    if (type == FTW_F && dot && strcmp(dot, ".sst") == 0)
        table_bytes += (uint64_t)status->st_size;
    return 0;
}

/* Of RocksDB's tables, of all stores. Some end while they are counted. */
static double tables_mib(const struct bench *bench)
{
    table_bytes = 0;
    nftw(cluster_directory(bench->cluster), table_count, 16, FTW_PHYS);
    return (double)table_bytes / (1 << 20);
}

/* When was there nearly no more than in the end? */
static void space_measure(struct bench *bench)
{
    static double seen_mib[SPACE_POLLS_COUNT];
    size_t count = 0;
    printf("waiting %u s for space to come back\n", SPACE_SECONDS);
    fflush(stdout);
    for (; count < SPACE_POLLS_COUNT && !interrupted; count++) {
        seen_mib[count] = tables_mib(bench);
        rest_ms(100);
    }
    if (interrupted)
        return;
    double last_mib = seen_mib[count - 1];
    size_t first = count;
    while (first > 0 && seen_mib[first - 1] <= last_mib * 1.05 + 1)
        first--;
    printf("tables: %.0f MiB at the end of the last move, %.0f MiB %.1f s later and from then on\n",
           seen_mib[0], last_mib, (double)first / 10);
}

/* --- The machine -------------------------------------------------------------------------------
 */

/* What the host of a virtual machine took of its processors since the start, all together; 0 where
 * nobody tells: proc_stat(5), "steal". While it does, whatever ran on them stands still. */
static uint64_t stolen_ms(void)
{
    uint64_t ticks = 0;
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return 0;
    if (fscanf(file, "cpu %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &ticks) != 1)
        ticks = 0;
    fclose(file);
    return ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* --- All of it ---------------------------------------------------------------------------------
 */

static int measure(struct bench *bench, char *why)
{
    static struct picture picture;
    static struct histogram still_ns, others_ns, unavailable_ns, speeds_kib;
    uint64_t others_errors = 0, moving_errors = 0;
    rest_ms(1000); /* warming up */
    take(bench, false, &picture);
    take(bench, true, &picture);
    rest_ms(bench->options.still_seconds * 1000);
    take(bench, false, &picture);
    histogram_add(&still_ns, &picture.latency_ns);
    printf("%5s %9s %8s %18s %15s %10s\n", "move", "seconds", "MiB/s", "range: slowest ms",
           "others: p99 ms", "stolen ms");
    for (uint32_t move = 1; move <= bench->options.moves_count && !interrupted; move++) {
        uint64_t took_ns, bytes;
        take(bench, false, &picture);
        take(bench, true, &picture);
        uint64_t stolen_before_ms = stolen_ms();
        int status = move_once(bench, &took_ns, &bytes, why);
        if (status != OST_OK)
            return status;
        if (interrupted)
            break;
        take(bench, true, &picture);
        moving_errors += picture.errors_count;
        histogram_record(&unavailable_ns, picture.slowest_ns);
        uint64_t slowest_ns = picture.slowest_ns;
        take(bench, false, &picture);
        others_errors += picture.errors_count;
        histogram_add(&others_ns, &picture.latency_ns);
        double mib_per_s = (double)bytes / (1 << 20) / ((double)took_ns / 1e9);
        histogram_record(&speeds_kib, (uint64_t)(1024 * mib_per_s));
        printf("%5u %9.2f %8.1f %18.1f %15.2f %10" PRIu64 "\n", move, (double)took_ns / 1e9,
               mib_per_s, ms_of(slowest_ns), ms_of(histogram_percentile(&picture.latency_ns, 990)),
               stolen_ms() - stolen_before_ms);
        fflush(stdout);
        rest_ms(500); /* for the old copy's end */
    }
    printf("\na range of %u MiB moved %" PRIu64 " times, with %u clients in it and %u beside it\n",
           bench->options.mib, speeds_kib.total_count, bench->options.clients_count,
           bench->options.clients_count);
    double speed = (double)histogram_percentile(&speeds_kib, 500) / 1024;
    printf("speed: %.1f MiB/s (median), %.1f MB/s\n", speed, speed * 1.048576);
    printf("the range: slowest operation of a move %.1f ms (median), %.1f ms (p99), errors %" PRIu64
           "\n",
           ms_of(histogram_percentile(&unavailable_ns, 500)),
           ms_of(histogram_percentile(&unavailable_ns, 990)), moving_errors);
    double still = ms_of(histogram_percentile(&still_ns, 990));
    double others = ms_of(histogram_percentile(&others_ns, 990));
    printf("others: p99 %.2f ms while nothing moves, %.2f ms while it does (%.2fx), errors %" PRIu64
           "\n",
           still, others, still > 0 ? others / still : 0, others_errors);
    if (bench->options.space)
        space_measure(bench);
    return OST_OK;
}

static int bench_run(struct bench *bench)
{
    char why[CLUSTER_WHY_BYTES] = "";
    const char *limit = bench->options.copy_mib_per_s;
    /* Nothing moves but what is measured, and the range stays in one piece. */
    const char *flags[] = {"--range-changes",
                           "0",
                           "--replica-changes",
                           "0",
                           limit ? "--copy-mib-per-s" : NULL,
                           limit,
                           NULL};
    const struct session_wish wish = {.program = bench->options.program,
                                      .directory = bench->options.directory,
                                      .flags = flags,
                                      .keep = bench->options.keep};
    int status = session_open(&wish, &bench->cluster, &bench->client, why);
    if (status == OST_OK) {
        printf("writing %u MiB\n", bench->options.mib);
        fflush(stdout);
        status = load(bench);
    }
    if (status == OST_OK)
        status = workers_start(bench);
    if (status == OST_OK)
        status = measure(bench, why);
    workers_stop(bench);
    return session_close(bench->cluster, bench->client, status, why);
}

/* --- Arguments ---------------------------------------------------------------------------------
 */

static const struct argp_option option_table[] = {
    {"mib", 'm', "N", 0, "Size of the range that moves (default: 64)", 0},
    {"moves", 'n', "N", 0, "How often it moves (default: 20)", 0},
    {"clients", 'c', "N", 0, "In each of the two ranges, up to 64 (default: 32)", 0},
    {"rate", 'R', "N", 0, "Operations a second of each client; 0: as many as it can (default: 30)",
     0},
    {"still-seconds", 's', "N", 0, "Measure so long before the first move (default: 5)", 0},
    {"copy-mib-per-s", 'r', "MIB", 0, "The stores' limit for copies; 0: none (default: theirs)", 0},
    {"data", 'd', "DIRECTORY", 0, "Where the stores' files go while it runs (default: .)", 0},
    {"keep", 'k', NULL, 0, "Leave the stores' files behind", 0},
    {"space", 'S', NULL, 0, "Measure as well when old copies are gone from the disk: a minute more",
     0},
    {"program", 'p', "PATH", 0, "The ostrakad to start", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'm':
        options->mib = (uint32_t)argument_number(state, "--mib", argument, 1, 16384);
        break;
    case 'n':
        options->moves_count = (uint32_t)argument_number(state, "--moves", argument, 1, 100000);
        break;
    case 'c':
        options->clients_count =
            (uint32_t)argument_number(state, "--clients", argument, 1, CLIENTS_COUNT_MAX);
        break;
    case 'R':
        options->rate = (uint32_t)argument_number(state, "--rate", argument, 0, 1000000);
        break;
    case 's':
        options->still_seconds =
            (uint32_t)argument_number(state, "--still-seconds", argument, 1, 3600);
        break;
    case 'r':
        argument_number(state, "--copy-mib-per-s", argument, 0, 1u << 20);
        options->copy_mib_per_s = argument;
        break;
    case 'd':
        options->directory = argument;
        break;
    case 'k':
        options->keep = true;
        break;
    case 'S':
        options->space = true;
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
    static struct bench bench = {.options = {.mib = 64,
                                             .moves_count = 20,
                                             .clients_count = 32,
                                             .still_seconds = 5,
                                             .rate = 30,
                                             .directory = ".",
                                             .program = OSTRAKAD_PATH}};
    const struct argp argp = {
        option_table, parse_option,
        NULL,         "Moves a range between two groups under load, and measures.",
        NULL,         NULL,
        NULL};
    if (argp_parse(&argp, argc, argv, 0, NULL, &bench.options) != 0)
        return EXIT_FAILURE;
    session_begin();
    bench.keys_count = (uint64_t)bench.options.mib * 1024 * 1024 / VALUE_BYTES;
    return bench_run(&bench);
}
