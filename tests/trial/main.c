/* main.c: ostraka-trial: a cluster of real processes on this machine, a workload, and a nemesis; at
 * the end a verdict on what every client saw, and on what is left behind. */
#include "base/memory.h"
#include "client/ostraka.h"
#include "cmd/arguments.h"
#include "cmd/bank.h"
#include "cmd/workload.h"
#include "tests/check/bank_check.h"
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"
#include "tests/trial/nemesis.h"

#include <argp.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GROUPS_COUNT       2u
#define ACCOUNTS_COUNT     200u
#define READY_TIMEOUT_MS   30000u
#define SETTLE_TIMEOUT_MS  60000u
#define MONITOR_TIMEOUT_MS 300u
#define TICK_MS            10u
#define PROGRESS_NS        (10 * NS_PER_SECOND)
#define AUDIT_NS           NS_PER_SECOND
#define AUDIT_TIMEOUT_MS   1000u
#define NS_PER_SECOND      UINT64_C(1000000000)
/* What the last client left behind must be settled by then: prepared transactions within 5 s of
 * a quorum, unprepared locks 5 s after their last heartbeat; and a second for the leaders. */
#define LEFT_NS_MAX      (11 * NS_PER_SECOND)
#define EXIT_INTERRUPTED 130

enum trial_kind { TRIAL_BANK, TRIAL_LIST_APPEND, TRIAL_REGISTER };

struct trial {
    enum trial_kind kind;
    bool is_kind_known;
    uint32_t seconds, clients_count, stores_count;
    uint64_t seed;
    const char *faults;
    const char *directory;
    const char *history_path;
    const char *program;
    bool keep;

    struct hosts *hosts;
    struct cluster *cluster;
    struct ost_client *client, *monitor;
    struct history_recorder *recorder;
    struct nemesis nemesis;
    struct bank_options bank_options;
    struct bank *bank;
    struct bank_audit before;
    struct workload *workload;
    uint64_t started_ns, ok_count, unknown_count;
    char history_beside[PATH_MAX];
    char why[CLUSTER_WHY_BYTES];
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* --- The command line
 * ------------------------------------------------------------------------------ */

static const char *const kind_names[] = {
    [TRIAL_BANK] = "bank", [TRIAL_LIST_APPEND] = "list-append", [TRIAL_REGISTER] = "register"};

static const struct argp_option option_table[] = {
    {"seconds", 's', "N", 0, "how long things go wrong (default: 60)", 0},
    {"clients", 'c', "N", 0, "transactions under way at a time (default: 16)", 0},
    {"stores", 'n', "N", 0, "3 or 5 (default: 3)", 0},
    {"faults", 'f', "LIST", 0,
     "of kill, pause and partition, with commas (default: all); partition needs root, or the right "
     "to make network namespaces, and ip and nft",
     0},
    {"seed", 'r', "N", 0, "what the nemesis and the clients draw (default: from time)", 0},
    {"history", 'o', "FILE", 0,
     "where to keep what clients saw (default: beside the data, as long as that)", 0},
    {"data", 'd', "DIR", 0, "where the stores keep their data (default: trial-data)", 0},
    {"ostrakad", 'p', "PATH", 0, "the server to start (default: the one built here)", 0},
    {"keep", 'k', NULL, 0, "leave data and logs behind also when all is well", 0},
    {0}};

static void parse_kind(struct trial *trial, struct argp_state *state, const char *text)
{
    for (size_t kind = 0; kind < sizeof kind_names / sizeof kind_names[0]; kind++) {
        if (strcmp(text, kind_names[kind]) != 0)
            continue;
        if (trial->is_kind_known)
            argp_error(state, "'%s': one workload at a time", text);
        trial->kind = (enum trial_kind)kind;
        trial->is_kind_known = true;
        return;
    }
    argp_error(state, "'%s': the workloads are bank, list-append and register", text);
}

static void parse_faults(struct trial *trial, struct argp_state *state)
{
    char *list = memory_copy_string(trial->faults);
    char *rest = list;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        bool is_known = false;
        for (enum nemesis_fault fault = 0; fault < NEMESIS_FAULTS_COUNT; fault++) {
            if (strcmp(word, nemesis_fault_name(fault)) != 0)
                continue;
            trial->nemesis.enabled[fault] = is_known = true;
        }
        if (!is_known)
            argp_error(state, "'%s': the faults are kill, pause and partition", word);
    }
    free(list);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct trial *trial = state->input;
    switch (key) {
    case 's':
        trial->seconds = (uint32_t)argument_number(state, "seconds", text, 1, 86400);
        return 0;
    case 'c':
        trial->clients_count =
            (uint32_t)argument_number(state, "clients", text, 1, WORKLOAD_CLIENTS_COUNT_MAX);
        return 0;
    case 'n':
        trial->stores_count =
            (uint32_t)argument_number(state, "stores", text, 3, CLUSTER_STORES_COUNT_MAX);
        return 0;
    case 'f':
        trial->faults = text;
        return 0;
    case 'r':
        trial->seed = argument_number(state, "seed", text, 0, UINT64_MAX);
        return 0;
    case 'o':
        trial->history_path = text;
        return 0;
    case 'd':
        trial->directory = text;
        return 0;
    case 'p':
        trial->program = text;
        return 0;
    case 'k':
        trial->keep = true;
        return 0;
    case ARGP_KEY_ARG:
        parse_kind(trial, state, text);
        return 0;
    case ARGP_KEY_END:
        if (!trial->is_kind_known)
            argp_error(state, "name a workload: bank, list-append or register");
        parse_faults(trial, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
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

static int trial_begin(struct trial *trial)
{
    char split[BANK_KEY_BYTES];
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
    options.groups_count = GROUPS_COUNT;
    options.splits = bank_key(ACCOUNTS_COUNT / 2, split);
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
        status = trial->kind == TRIAL_BANK ? bank_begin(trial) : workload_begin(trial);
    return status;
}

static void nemesis_begin(struct trial *trial)
{
    struct nemesis *nemesis = &trial->nemesis;
    nemesis->cluster = trial->cluster;
    nemesis->hosts = trial->hosts;
    nemesis->monitor = trial->monitor;
    nemesis->groups_count = GROUPS_COUNT + 1;
    nemesis->out = stdout;
    nemesis->started_ns = trial->started_ns;
    random_init(&nemesis->random, trial->seed);
    for (enum nemesis_fault fault = 0; fault < NEMESIS_FAULTS_COUNT; fault++)
        nemesis->timers[fault].until_ns = trial->started_ns + NS_PER_SECOND;
}

static void progress_print(struct trial *trial, uint64_t now_ns)
{
    statistics_read(trial);
    printf("%6.1f s  %" PRIu64 " done, %" PRIu64 " of unknown outcome; so far",
           (double)(now_ns - trial->started_ns) / 1e9, trial->ok_count, trial->unknown_count);
    for (enum nemesis_fault fault = 0; fault < NEMESIS_FAULTS_COUNT; fault++)
        if (trial->nemesis.enabled[fault])
            printf(" %" PRIu32 " %ss", trial->nemesis.timers[fault].count,
                   nemesis_fault_name(fault));
    printf("\n");
    fflush(stdout);
}

/* The bank's readers: what they see in between is judged as well. */
static void audit_between(struct trial *trial)
{
    struct bank_audit audit;
    char why[BANK_WHY_BYTES];
    if (trial->bank)
        (void)bank_audit(trial->monitor, &trial->bank_options, AUDIT_TIMEOUT_MS, &audit, why);
}

static int trial_run(struct trial *trial)
{
    trial->started_ns = bank_now_ns();
    nemesis_begin(trial);
    uint64_t end_ns = trial->started_ns + trial->seconds * NS_PER_SECOND;
    uint64_t progress_ns = trial->started_ns + PROGRESS_NS;
    uint64_t audit_ns = trial->started_ns + AUDIT_NS;
    int status = OST_OK;
    for (uint64_t now_ns; status == OST_OK && (now_ns = bank_now_ns()) < end_ns;) {
        status = nemesis_tick(&trial->nemesis, now_ns, trial->why);
        if (status == OST_OK)
            status = cluster_check(trial->cluster, trial->why);
        if (status == OST_OK)
            status = workload_failed(trial);
        if (now_ns >= audit_ns) {
            audit_between(trial);
            audit_ns = now_ns + AUDIT_NS;
        }
        if (now_ns >= progress_ns) {
            progress_print(trial, now_ns);
            progress_ns += PROGRESS_NS;
        }
        struct timespec tick = {.tv_nsec = TICK_MS * 1000000l};
        nanosleep(&tick, NULL);
    }
    int heal_status = nemesis_heal(&trial->nemesis, bank_now_ns(), trial->why);
    return status != OST_OK ? status : heal_status;
}

/* --- The verdict
 * ------------------------------------------------------------------------------------------- */

/* How many locks and prepared transactions the leaders still have. */
static bool left_count(struct trial *trial, uint64_t *out_locks, uint64_t *out_prepared)
{
    *out_locks = *out_prepared = 0;
    for (uint32_t store = 1; store <= trial->stores_count; store++) {
        struct ost_store_status status;
        if (ost_store_status(trial->client, store, &status) != OST_OK)
            return false;
        for (size_t i = 0; i < status.groups_count; i++) {
            *out_locks += status.groups[i].keys_locked_count;
            *out_prepared += status.groups[i].prepared_count;
        }
        ost_store_status_free(&status);
    }
    return true;
}

static int nothing_left(struct trial *trial)
{
    uint64_t began_ns = bank_now_ns(), locks = 0, prepared = 0;
    for (;;) {
        uint64_t waited_ns = bank_now_ns() - began_ns;
        if (left_count(trial, &locks, &prepared) && locks == 0 && prepared == 0) {
            printf("no lock and no prepared transaction is left after %.1f s\n",
                   (double)waited_ns / 1e9);
            return OST_OK;
        }
        if (waited_ns > LEFT_NS_MAX) {
            snprintf(trial->why, sizeof trial->why,
                     "%" PRIu64 " locks and %" PRIu64
                     " prepared transactions are left after %.0f s",
                     locks, prepared, (double)waited_ns / 1e9);
            return OST_CORRUPT;
        }
        struct timespec tick = {.tv_nsec = TICK_MS * 1000000l};
        nanosleep(&tick, NULL);
    }
}

static int history_judge(struct trial *trial)
{
    static struct check_result result;
    FILE *file = fopen(trial->history_path, "re");
    if (!file) {
        snprintf(trial->why, sizeof trial->why, "cannot read %s", trial->history_path);
        return OST_IO;
    }
    struct history *history = history_new();
    int status = history_read_file(history, file, trial->history_path, trial->why);
    fclose(file);
    if (status == OST_OK) {
        if (trial->kind == TRIAL_BANK)
            bank_check(history, NULL, &result);
        else if (trial->kind == TRIAL_REGISTER)
            register_check(history, NULL, &result);
        else
            serializability_check(history, NULL, &result);
        printf("history: %s, %" PRIu64 " operations, %" PRIu64 " of unknown outcome\n",
               check_verdict_name(result.verdict), result.judged_count, result.unknown_count);
        if (result.verdict != CHECK_OK) {
            snprintf(trial->why, sizeof trial->why, "%s: %.400s", result.names, result.explanation);
            status = OST_CORRUPT;
        }
    }
    history_free(history);
    return status;
}

static int trial_end(struct trial *trial)
{
    char why[HISTORY_WHY_BYTES];
    statistics_read(trial);
    uint64_t ok_before = trial->ok_count;
    int status = cluster_wait_ready(trial->cluster, trial->client, READY_TIMEOUT_MS, trial->why);
    int end_status = workload_end(trial);
    if (status == OST_OK)
        status = end_status;
    printf("%" PRIu64 " done, seed %" PRIu64 "\n", ok_before, trial->seed);
    if (status == OST_OK)
        status = nothing_left(trial);
    int close_status = history_recorder_close(trial->recorder, why);
    trial->recorder = NULL;
    if (status == OST_OK && close_status != OST_OK) {
        snprintf(trial->why, sizeof trial->why, "%s", why);
        status = close_status;
    }
    if (status == OST_OK)
        status = cluster_check(trial->cluster, trial->why);
    if (status == OST_OK)
        status = history_judge(trial);
    return status;
}

static void trial_free(struct trial *trial, bool keep)
{
    char why[HISTORY_WHY_BYTES];
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
    static const struct argp argp = {
        .options = option_table,
        .parser = parse,
        .args_doc = "bank|list-append|register",
        .doc =
            "Starts a cluster on this machine, runs a workload, and lets things go wrong: stores "
            "are "
            "killed, stopped and cut off from each other. Then everything is healed, and what the "
            "clients saw is judged.\v"
            "Exit status: 0 when all is well; 1 when it is not: data, logs and history are kept "
            "then; 130 when it was interrupted."};
    static struct trial trial;
    trial = (struct trial){.seconds = 60,
                           .clients_count = 16,
                           .stores_count = 3,
                           .faults = "kill,pause,partition",
                           .directory = "trial-data",
                           .program = OSTRAKAD_PATH};
    trial.seed = bank_now_ns();
    argp_parse(&argp, argc, argv, 0, NULL, &trial);
    bank_options_default(&trial.bank_options);
    trial.bank_options.accounts_count = ACCOUNTS_COUNT;
    trial.bank_options.clients_count = trial.clients_count;
    trial.bank_options.seed = trial.seed;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    printf("%s, %" PRIu32 " stores, %" PRIu32 " clients, %" PRIu32 " s of %s, seed %" PRIu64 "\n",
           kind_names[trial.kind], trial.stores_count, trial.clients_count, trial.seconds,
           trial.faults, trial.seed);
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
