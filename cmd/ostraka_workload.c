/* ostraka_workload.c: generated transactions against a running cluster, and what they saw
 * (workload.h).
 */
#include "cmd/arguments.h"
#include "cmd/ostraka_command.h"
#include "cmd/workload.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS 60000u

struct workload_arguments {
    struct workload_options workload;
    bool is_kind_known;
    uint32_t seconds;
    const char *history_path;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void parse_kind(struct workload_arguments *arguments, struct argp_state *state,
                       const char *text)
{
    if (arguments->is_kind_known)
        argp_error(state, "'%s': one workload at a time", text);
    arguments->is_kind_known = true;
    if (strcmp(text, workload_kind_name(WORKLOAD_LIST_APPEND)) == 0)
        arguments->workload.kind = WORKLOAD_LIST_APPEND;
    else if (strcmp(text, workload_kind_name(WORKLOAD_REGISTER)) == 0)
        arguments->workload.kind = WORKLOAD_REGISTER;
    else
        argp_error(state, "'%s': the workloads are list-append and register", text);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct workload_arguments *arguments = state->input;
    switch (key) {
    case 'c':
        arguments->workload.clients_count =
            (uint32_t)argument_number(state, "clients", text, 1, WORKLOAD_CLIENTS_COUNT_MAX);
        return 0;
    case 'k':
        arguments->workload.keys_count =
            (uint32_t)argument_number(state, "keys", text, 1, WORKLOAD_KEYS_COUNT_MAX);
        return 0;
    case 'p':
        arguments->workload.optimistic_percent =
            (uint32_t)argument_number(state, "optimistic", text, 0, 100);
        return 0;
    case 's':
        arguments->seconds = (uint32_t)argument_number(state, "seconds", text, 1, 1000000);
        return 0;
    case 'r':
        arguments->workload.seed = argument_number(state, "seed", text, 0, UINT64_MAX);
        return 0;
    case 'o':
        arguments->history_path = text;
        return 0;
    case ARGP_KEY_ARG:
        parse_kind(arguments, state, text);
        return 0;
    case ARGP_KEY_END:
        if (!arguments->is_kind_known)
            argp_error(state, "name a workload: list-append or register");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_second(struct workload *workload, uint32_t second)
{
    static struct workload_statistics statistics;
    workload_read_statistics(workload, true, &statistics);
    printf("%4us  %6" PRIu64 " ok/s  p50 %6.2f ms  p99 %7.2f ms  failed %" PRIu64
           "  unknown %" PRIu64 "  retries %" PRIu64 "\n",
           second, statistics.ok_count, ms(histogram_percentile(&statistics.latency_ns, 500)),
           ms(histogram_percentile(&statistics.latency_ns, 990)), statistics.failed_count,
           statistics.unknown_count, statistics.retries_count);
    fflush(stdout);
}

static void run_seconds(struct workload *workload, uint32_t seconds, bool quiet)
{
    char why[WORKLOAD_WHY_BYTES];
    for (uint32_t second = 1; second <= seconds && !interrupted; second++) {
        struct timespec one_second = {.tv_sec = 1};
        nanosleep(&one_second, NULL); /* ends early at Ctrl-C */
        if (!quiet)
            print_second(workload, second);
        if (workload_error(workload, why) != OST_OK)
            return;
    }
}

static void print_result(const struct command_environment *environment,
                         const struct workload_arguments *arguments,
                         const struct workload_statistics *statistics)
{
    const char *name = workload_kind_name(arguments->workload.kind);
    const char *path = arguments->history_path;
    if (!environment->json) {
        printf("%s: %" PRIu64 " done, %" PRIu64 " not done, %" PRIu64
               " of unknown outcome, seed %" PRIu64 "\n",
               name, statistics->ok_count, statistics->failed_count, statistics->unknown_count,
               arguments->workload.seed);
        if (path)
            printf("history: %s (judge it with ostraka-check)\n", path);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "workload", name);
    cJSON_AddNumberToObject(object, "ok", (double)statistics->ok_count);
    cJSON_AddNumberToObject(object, "failed", (double)statistics->failed_count);
    cJSON_AddNumberToObject(object, "unknown", (double)statistics->unknown_count);
    cJSON_AddNumberToObject(object, "retries", (double)statistics->retries_count);
    cJSON_AddNumberToObject(object, "asked_again", (double)statistics->asked_count);
    cJSON_AddNumberToObject(object, "p50_ms",
                            ms(histogram_percentile(&statistics->latency_ns, 500)));
    cJSON_AddNumberToObject(object, "p99_ms",
                            ms(histogram_percentile(&statistics->latency_ns, 990)));
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, arguments->workload.seed);
    cJSON_AddStringToObject(object, "seed", seed);
    if (path)
        cJSON_AddStringToObject(object, "history", path);
    char *printed = cJSON_PrintUnformatted(object);
    puts(printed);
    free(printed);
    cJSON_Delete(object);
}

static int run(const struct command_environment *environment, struct ost_client *client,
               struct workload_arguments *arguments)
{
    static struct workload_statistics statistics;
    struct workload *workload = NULL;
    char why[WORKLOAD_WHY_BYTES] = "";
    char history_why[HISTORY_WHY_BYTES] = "";
    const char *name = workload_kind_name(arguments->workload.kind);
    int status = OST_OK;
    if (arguments->history_path)
        status = history_recorder_open(arguments->history_path, &arguments->workload.history,
                                       history_why);
    if (status != OST_OK)
        return command_failed(environment, name, status, history_why);
    status = workload_start(client, &arguments->workload, &workload, why);
    if (status == OST_OK) {
        run_seconds(workload, arguments->seconds, environment->json);
        status = workload_stop(workload, SETTLE_MS, why);
        workload_read_statistics(workload, false, &statistics);
        workload_free(workload);
    }
    int history_status = history_recorder_close(arguments->workload.history, history_why);
    if (status != OST_OK)
        return command_failed(environment, name, status, why);
    if (history_status != OST_OK)
        return command_failed(environment, name, history_status, history_why);
    print_result(environment, arguments, &statistics);
    return EXIT_SUCCESS;
}

int command_workload(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"clients", 'c', "N", 0, "operations under way at a time (default: 16)", 0},
        {"keys", 'k', "N", 0, "active keys; a few of them are fought over (default: 20)", 0},
        {"optimistic", 'p', "PERCENT", 0,
         "of the transactions read without locks, and are checked at their commit (default: 0)", 0},
        {"seconds", 's', "N", 0, "how long (default: 10)", 0},
        {"seed", 'r', "N", 0, "what the clients draw (default: from time and process)", 0},
        {"history", 'o', "FILE", 0, "record what every client saw, for ostraka-check", 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "list-append|register",
        .doc =
            "Runs generated transactions and records what every client saw.\v"
            "list-append: transactions of one to five micro-operations, each reads a list or "
            "appends a unique value to one. register: single reads, writes, and compare-and-set.\n"
            "Each run has keys of its own, which stay: [LETTER/]WORKLOAD/RUN/NUMBER. Exit status "
            "1 when a client met an error that no retry helps against, or a value that nobody "
            "wrote; whether the history is right, ostraka-check says."};
    struct workload_arguments arguments = {.seconds = 10};
    workload_options_default(WORKLOAD_LIST_APPEND, &arguments.workload);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    arguments.workload.run = ((uint64_t)now.tv_sec << 32) + ((uint64_t)now.tv_nsec & 0xffff0000u) +
                             ((uint64_t)getpid() & 0xffffu);
    arguments.workload.seed = arguments.workload.run;
    command_parse(&argp, argc, argv, &arguments);
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    int exit_status = run(environment, client, &arguments);
    ost_close(client);
    return exit_status;
}
