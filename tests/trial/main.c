/* main.c: ostraka-trial: a cluster of real processes on this machine, a workload, and a nemesis; at
 * the end a verdict on what every client saw, and on what is left behind. */
#include "client/ostraka.h"
#include "cmd/history_recorder.h"
#include "tests/trial/trial.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define READY_TIMEOUT_MS   30000u
#define SETTLE_TIMEOUT_MS  60000u
#define MONITOR_TIMEOUT_MS 300u
#define PROGRESS_NS        (10 * NS_PER_SECOND)
#define AUDIT_REST_SECONDS 1
#define AUDIT_TIMEOUT_MS   1000u
/* What does not come to its end while things go wrong. */
#define LATE_NS_MAX            (300 * NS_PER_SECOND)
#define SLICE_RANGES_COUNT_MAX 6u
#define SPLITS_BYTES           256u
#define EXIT_INTERRUPTED       130

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* --- The workload
 * ---------------------------------------------------------------------------------- */

static int bank_begin(struct trial *trial)
{
    struct bank_options *options = &trial->bank_options;
    int status = bank_load(trial->client, options, READY_TIMEOUT_MS, trial->why);
    if (status == OST_OK)
        status = bank_audit(trial->client, options, READY_TIMEOUT_MS, &trial->before, trial->why);
    if (status == OST_OK)
        status = bank_start(trial->client, options, &trial->bank, trial->why);
    return status;
}

static int workload_begin(struct trial *trial)
{
    struct workload_options options;
    workload_options_default(
        trial->kind == TRIAL_REGISTER ? WORKLOAD_REGISTER : WORKLOAD_LIST_APPEND, &options);
    options.clients_count = trial->clients_count;
    options.seed = trial->seed;
    options.run = trial->seed;
    options.history = trial->recorder;
    return workload_start(trial->client, &options, &trial->workload, trial->why);
}

static void statistics_read(struct trial *trial)
{
    static struct bank_statistics of_bank;
    static struct workload_statistics of_workload;
    if (trial->bank) {
        bank_read_statistics(trial->bank, false, &of_bank);
        trial->ok_count = of_bank.acknowledged_count;
        trial->unknown_count = of_bank.unknown_count;
    } else {
        workload_read_statistics(trial->workload, false, &of_workload);
        trial->ok_count = of_workload.ok_count;
        trial->unknown_count = of_workload.unknown_count;
    }
}

static int workload_failed(struct trial *trial)
{
    return trial->bank ? bank_error(trial->bank, trial->why)
                       : workload_error(trial->workload, trial->why);
}

static int bank_end(struct trial *trial)
{
    static struct bank_statistics statistics;
    struct bank_audit after;
    int status = bank_stop(trial->bank, SETTLE_TIMEOUT_MS, trial->why);
    bank_read_statistics(trial->bank, false, &statistics);
    bank_free(trial->bank);
    trial->bank = NULL;
    if (status == OST_OK)
        status =
            bank_audit(trial->client, &trial->bank_options, READY_TIMEOUT_MS, &after, trial->why);
    if (status == OST_OK) {
        status = bank_verdict(&trial->before, &after, &statistics, NULL, trial->why);
        printf("the bank: %s\n", trial->why);
    }
    return status;
}

static int workload_end(struct trial *trial)
{
    if (trial->bank)
        return bank_end(trial);
    int status = workload_stop(trial->workload, SETTLE_TIMEOUT_MS, trial->why);
    workload_free(trial->workload);
    trial->workload = NULL;
    return status;
}

/* --- The run
 * ------------------------------------------------------------------------------------------- */

static int client_open(struct trial *trial, uint32_t timeout_ms, struct ost_client **out_client)
{
    struct ost_options options;
    ost_options_default(&options);
    options.endpoints = cluster_endpoints(trial->cluster);
    options.operation_timeout_ms = timeout_ms;
    return ost_open(&options, out_client, trial->why);
}

/* As many ranges as groups, cut between accounts. */
static const char *splits_print(const struct trial *trial, char *text)
{
    const struct trial_traits *traits = trial->traits;
    size_t used = 0;
    for (uint32_t group = 1; group < traits->groups_count; group++) {
        char key[BANK_KEY_BYTES];
        uint32_t account = shuffle_slice_begin(traits->accounts_count, traits->groups_count, group);
        used += (size_t)snprintf(text + used, SPLITS_BYTES - used, "%s%s", group > 1 ? "," : "",
                                 bank_key(account, key));
    }
    return text;
}

static int shuffle_begin(struct trial *trial)
{
    const struct shuffle_options options = {
        .endpoints = cluster_endpoints(trial->cluster),
        .hands_count = trial->traits->groups_count,
        .accounts_count = trial->traits->accounts_count,
        .slice_ranges_count_max = SLICE_RANGES_COUNT_MAX,
        .seed = trial->seed,
    };
    return shuffle_start(&options, &trial->shuffle, trial->why);
}

static int trial_begin(struct trial *trial)
{
    char splits[SPLITS_BYTES];
    struct cluster_options options;
    bool needs_hosts = trial->nemesis.enabled[NEMESIS_PARTITION];
    int status = OST_OK;
    if (needs_hosts)
        status = hosts_new(trial->stores_count, &trial->hosts, trial->why);
    if (status != OST_OK)
        return status;
    cluster_options_default(&options);
    options.program = trial->program;
    options.directory = trial->directory;
    options.stores_count = trial->stores_count;
    options.groups_count = trial->traits->groups_count;
    options.splits = splits_print(trial, splits);
    options.hosts = needs_hosts ? hosts_of_cluster(trial->hosts) : NULL;
    options.interrupted = &interrupted;
    status = cluster_new(&options, &trial->cluster, trial->why);
    if (status == OST_OK)
        status = cluster_open_client(trial->cluster, READY_TIMEOUT_MS, &trial->client, trial->why);
    if (status == OST_OK)
        status = cluster_wait_ready(trial->cluster, trial->client, READY_TIMEOUT_MS, trial->why);
    if (status == OST_OK)
        status = client_open(trial, MONITOR_TIMEOUT_MS, &trial->monitor);
    if (status == OST_OK && !trial->history_path) {
        snprintf(trial->history_beside, sizeof trial->history_beside, "%s/history.jsonl",
                 cluster_directory(trial->cluster));
        trial->history_path = trial->history_beside;
    }
    if (status == OST_OK)
        status = history_recorder_open(trial->history_path, &trial->recorder, trial->why);
    trial->bank_options.history = trial->recorder;
    if (status == OST_OK)
        status = trial->traits->is_bank ? bank_begin(trial) : workload_begin(trial);
    if (status == OST_OK && trial->kind == TRIAL_RANGES)
        status = shuffle_begin(trial);
    return status;
}

static void nemesis_begin(struct trial *trial)
{
    struct nemesis *nemesis = &trial->nemesis;
    nemesis->cluster = trial->cluster;
    nemesis->hosts = trial->hosts;
    nemesis->monitor = trial->monitor;
    nemesis->groups_count = trial->traits->groups_count + 1;
    nemesis->out = stdout;
    nemesis->started_ns = trial->started_ns;
    nemesis->calm_ms_max = trial->traits->calm_ms_max;
    random_init(&nemesis->random, trial->seed);
    for (enum nemesis_fault fault = 0; fault < NEMESIS_FAULTS_COUNT; fault++)
        nemesis->timers[fault].until_ns = trial->started_ns + NS_PER_SECOND;
}

/* Steps take the time that they take; the rests between them are shared out of `seconds`. */
static void grow_begin(struct trial *trial)
{
    uint64_t rests_count = 2 * (uint64_t)trial->stores_count + 1;
    trial->growth = (struct growth){.cluster = trial->cluster,
                                    .monitor = trial->monitor,
                                    .bank = trial->bank,
                                    .out = stdout,
                                    .started_ns = trial->started_ns,
                                    .rest_ns = trial->seconds * NS_PER_SECOND / 2 / rests_count};
    growth_begin(&trial->growth);
}

static void progress_print(struct trial *trial, uint64_t now_ns)
{
    statistics_read(trial);
    printf("%6.1f s  %" PRIu64 " done, %" PRIu64 " of unknown outcome",
           (double)(now_ns - trial->started_ns) / 1e9, trial->ok_count, trial->unknown_count);
    for (enum nemesis_fault fault = 0; fault < NEMESIS_FAULTS_COUNT; fault++)
        if (trial->nemesis.enabled[fault])
            printf("; %" PRIu32 " %ss", trial->nemesis.timers[fault].count,
                   nemesis_fault_name(fault));
    if (trial->shuffle) {
        struct shuffle_counts counts;
        shuffle_read(trial->shuffle, &counts);
        printf("; %" PRIu64 " splits, %" PRIu64 " merges, %" PRIu64 " moves", counts.splits_count,
               counts.merges_count, counts.moves_count);
    }
    printf("\n");
    fflush(stdout);
}

/* The bank's reader: what it sees in between is judged as well. A thread of its own, as a read of
 * all accounts may take long. */
static void *audit_run(void *context)
{
    struct trial *trial = context;
    while (!atomic_load(&trial->audits_end)) {
        struct bank_audit audit;
        char why[BANK_WHY_BYTES];
        struct timespec rest = {.tv_sec = AUDIT_REST_SECONDS};
        (void)bank_audit(trial->auditor, &trial->bank_options, AUDIT_TIMEOUT_MS, &audit, why);
        nanosleep(&rest, NULL);
    }
    return NULL;
}

static int audits_begin(struct trial *trial)
{
    int status = client_open(trial, AUDIT_TIMEOUT_MS, &trial->auditor);
    if (status != OST_OK)
        return status;
    trial->has_audits = pthread_create(&trial->audit_thread, NULL, audit_run, trial) == 0;
    if (trial->has_audits)
        return OST_OK;
    snprintf(trial->why, sizeof trial->why, "cannot start a thread");
    return OST_NO_MEMORY;
}

static void audits_end(struct trial *trial)
{
    atomic_store(&trial->audits_end, true);
    if (trial->has_audits)
        pthread_join(trial->audit_thread, NULL);
    trial->has_audits = false;
}

/* What the time is for has been done. */
static bool trial_has_done_all(struct trial *trial)
{
    if (trial->kind == TRIAL_GROW)
        return trial->growth.state == GROWTH_DONE;
    if (!trial->shuffle)
        return true;
    struct shuffle_counts counts;
    shuffle_read(trial->shuffle, &counts);
    return counts.splits_count >= trial->changes_count &&
           counts.moves_count >= trial->changes_count;
}

static int trial_tick(struct trial *trial, uint64_t now_ns)
{
    int status = nemesis_tick(&trial->nemesis, now_ns, trial->why);
    if (status == OST_OK && trial->kind == TRIAL_GROW)
        status = growth_tick(&trial->growth, now_ns, trial->why);
    if (status == OST_OK)
        status = cluster_check(trial->cluster, trial->why);
    if (status == OST_OK)
        status = workload_failed(trial);
    if (status == OST_OK && trial->shuffle)
        status = shuffle_error(trial->shuffle, trial->why);
    return status;
}

static int trial_run(struct trial *trial)
{
    trial->started_ns = bank_now_ns();
    nemesis_begin(trial);
    if (trial->kind == TRIAL_GROW)
        grow_begin(trial);
    uint64_t end_ns = trial->started_ns + trial->seconds * NS_PER_SECOND;
    uint64_t progress_ns = trial->started_ns + PROGRESS_NS;
    int status = trial->bank ? audits_begin(trial) : OST_OK;
    for (uint64_t now_ns = trial->started_ns;
         status == OST_OK && (now_ns < end_ns || !trial_has_done_all(trial));
         now_ns = bank_now_ns()) {
        status = trial_tick(trial, now_ns);
        if (now_ns >= progress_ns) {
            progress_print(trial, now_ns);
            progress_ns += PROGRESS_NS;
        }
        if (status == OST_OK && now_ns >= end_ns + LATE_NS_MAX) {
            snprintf(trial->why, sizeof trial->why, "not done %.0f s after its time",
                     (double)LATE_NS_MAX / 1e9);
            status = OST_DEADLINE_EXCEEDED;
        }
        struct timespec tick = {.tv_nsec = TRIAL_TICK_MS * 1000000l};
        nanosleep(&tick, NULL);
    }
    int heal_status = nemesis_heal(&trial->nemesis, bank_now_ns(), trial->why);
    return status != OST_OK ? status : heal_status;
}

static void figures_print(struct trial *trial)
{
    statistics_read(trial);
    printf("%" PRIu64 " done, seed %" PRIu64 "\n", trial->ok_count, trial->seed);
    if (trial->kind == TRIAL_GROW) {
        const struct growth *growth = &trial->growth;
        printf("joining took up to %.1f s, draining %.1f s; longest time without a transfer "
               "meanwhile %.0f ms, in one group %.0f ms\n",
               (double)growth->join_ns_max / 1e9, (double)growth->drain_ns_max / 1e9,
               (double)growth->any_gap_ns_max / 1e6, (double)growth->group_gap_ns_max / 1e6);
    } else if (trial->bank) {
        struct bank_gap gap;
        bank_gap_read(trial->bank, &gap);
        printf("longest time without a transfer %.1f s, of one share of the accounts %.1f s\n",
               (double)gap.any_ns / 1e9, (double)gap.group_ns / 1e9);
    }
    if (trial->nemesis.rebuild_ns_max)
        printf("a lost disk was made up for after up to %.1f s\n",
               (double)trial->nemesis.rebuild_ns_max / 1e9);
}

static int shuffle_end(struct trial *trial)
{
    struct shuffle_counts counts;
    int status = shuffle_stop(trial->shuffle, trial->why);
    shuffle_read(trial->shuffle, &counts);
    shuffle_free(trial->shuffle);
    trial->shuffle = NULL;
    printf("%" PRIu64 " splits, %" PRIu64 " merges, %" PRIu64 " moves and %" PRIu64
           " that were called off, up to %" PRIu32 " ranges; longest split %.1f s, merge %.1f s, "
           "move %.1f s\n",
           counts.splits_count, counts.merges_count, counts.moves_count, counts.called_off_count,
           counts.ranges_count_max, (double)counts.split_ns_max / 1e9,
           (double)counts.merge_ns_max / 1e9, (double)counts.move_ns_max / 1e9);
    return status;
}

static int trial_end(struct trial *trial)
{
    char why[HISTORY_WHY_BYTES];
    bool has_moved = trial->kind == TRIAL_GROW || trial->kind == TRIAL_RANGES;
    figures_print(trial);
    int status = cluster_wait_ready(trial->cluster, trial->client, READY_TIMEOUT_MS, trial->why);
    if (status == OST_OK && trial->shuffle)
        status = shuffle_end(trial);
    if (status == OST_OK && (has_moved || trial->nemesis.enabled[NEMESIS_WIPE]))
        status = trial_settle(trial);
    if (status != OST_OK)
        return status;
    audits_end(trial);
    status = workload_end(trial);
    if (status == OST_OK)
        status = trial_nothing_left(trial);
    int close_status = history_recorder_close(trial->recorder, why);
    trial->recorder = NULL;
    if (status == OST_OK && close_status != OST_OK) {
        snprintf(trial->why, sizeof trial->why, "%s", why);
        status = close_status;
    }
    if (status == OST_OK)
        status = cluster_check(trial->cluster, trial->why);
    if (status == OST_OK)
        status = trial_judge_history(trial);
    if (status == OST_OK && has_moved)
        status = trial_judge_disks(trial);
    return status;
}

static void trial_free(struct trial *trial, bool keep)
{
    char why[HISTORY_WHY_BYTES];
    shuffle_free(trial->shuffle);
    audits_end(trial);
    if (trial->bank) {
        bank_stop(trial->bank, 1000, why);
        bank_free(trial->bank);
    }
    if (trial->workload) {
        workload_stop(trial->workload, 1000, why);
        workload_free(trial->workload);
    }
    if (trial->client)
        ost_close(trial->client);
    if (trial->monitor)
        ost_close(trial->monitor);
    if (trial->auditor)
        ost_close(trial->auditor);
    if (trial->recorder && history_recorder_close(trial->recorder, why) != OST_OK)
        fprintf(stderr, "%s\n", why);
    if (trial->cluster && keep) {
        cluster_keep(trial->cluster);
        printf("data and logs are in %s\n", cluster_directory(trial->cluster));
    }
    cluster_free(trial->cluster);
    hosts_free(trial->hosts);
}

int main(int argc, char **argv)
{
    static struct trial trial;
    trial = (struct trial){.seconds = 60,
                           .clients_count = 16,
                           .stores_count = 3,
                           .changes_count = 200,
                           .directory = "trial-data",
                           .program = OSTRAKAD_PATH};
    trial.seed = bank_now_ns();
    trial_parse(&trial, argc, argv);
    bank_options_default(&trial.bank_options);
    trial.bank_options.accounts_count = trial.traits->accounts_count;
    trial.bank_options.clients_count = trial.clients_count;
    trial.bank_options.seed = trial.seed;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    printf("%s, %" PRIu32 " stores, %" PRIu32 " clients, %" PRIu32 " s, faults: %s, seed %" PRIu64
           "\n",
           trial.traits->name, trial.stores_count, trial.clients_count, trial.seconds, trial.faults,
           trial.seed);
    fflush(stdout);
    int status = trial_begin(&trial);
    if (status == OST_OK)
        status = trial_run(&trial);
    if (status == OST_OK)
        status = trial_end(&trial);
    bool is_failed = status != OST_OK && status != OST_CANCELED;
    if (is_failed)
        printf("FAILED: %s\n", trial.why);
    else
        printf("%s\n", status == OST_OK ? "OK" : "interrupted");
    trial_free(&trial, trial.keep || is_failed);
    return status == OST_OK ? EXIT_SUCCESS : is_failed ? EXIT_FAILURE : EXIT_INTERRUPTED;
}
