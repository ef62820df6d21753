/* ostraka_bank.c: the bank (bank.h) against a running cluster. */
#include "cmd/arguments.h"
#include "cmd/bank.h"
#include "cmd/history_recorder.h"
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS  60000u
#define BETWEEN_MS 2000u

struct bank_arguments {
    struct bank_options bank;
    uint32_t seconds;
    bool keep_accounts;
    const char *history_path;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static uint32_t number(struct argp_state *state, const char *flag, const char *text, uint32_t min,
                       uint32_t max)
{
    return (uint32_t)argument_number(state, flag, text, min, max);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct bank_arguments *arguments = state->input;
    switch (key) {
    case 'a':
        arguments->bank.accounts_count =
            number(state, "accounts", text, 2, BANK_ACCOUNTS_COUNT_MAX);
        return 0;
    case 'c':
        arguments->bank.clients_count = number(state, "clients", text, 1, 10000);
        return 0;
    case 's':
        arguments->seconds = number(state, "seconds", text, 1, 1000000);
        return 0;
    case 'x':
        arguments->bank.cross_percent = number(state, "cross", text, 0, 100);
        return 0;
    case 'k':
        arguments->keep_accounts = true;
        return 0;
    case 'o':
        arguments->history_path = text;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': there are no arguments, only flags", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_second(struct bank *bank, uint32_t second)
{
    static struct bank_statistics statistics;
    bank_read_statistics(bank, true, &statistics);
    printf("%4us  %6" PRIu64 " transfers/s  p50 %6.2f ms  p99 %7.2f ms  aborts %" PRIu64 "\n",
           second, statistics.acknowledged_count,
           ms(histogram_percentile(&statistics.latency_ns, 500)),
           ms(histogram_percentile(&statistics.latency_ns, 990)), statistics.aborts_count);
    fflush(stdout);
}

/* A read of all accounts amid the transfers, for the history. One that fails says so there. */
static void audit_between(struct ost_client *client, const struct bank_options *options)
{
    struct bank_audit audit;
    char why[BANK_WHY_BYTES];
    if (options->history)
        (void)bank_audit(client, options, BETWEEN_MS, &audit, why);
}

static void run_seconds(struct bank *bank, struct ost_client *client,
                        const struct bank_arguments *arguments, bool quiet)
{
    uint32_t seconds = arguments->seconds;
    char why[BANK_WHY_BYTES];
    for (uint32_t second = 1; second <= seconds && !interrupted; second++) {
        struct timespec one_second = {.tv_sec = 1};
        nanosleep(&one_second, NULL); /* ends early at Ctrl-C */
        if (!quiet)
            print_second(bank, second);
        audit_between(client, &arguments->bank);
        if (bank_error(bank, why) != OST_OK)
            return;
    }
}

static void print_result(const struct command_environment *environment,
                         const struct bank_statistics *statistics, const struct bank_audit *before,
                         const struct bank_audit *after, uint64_t applied, int verdict,
                         const char *why)
{
    if (!environment->json) {
        printf("%s: %s\n", verdict == OST_OK ? "every coin is there" : "MONEY IS WRONG", why);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddBoolToObject(object, "ok", verdict == OST_OK);
    cJSON_AddStringToObject(object, "text", why);
    cJSON_AddNumberToObject(object, "total_before", (double)before->balances_sum);
    cJSON_AddNumberToObject(object, "total_after", (double)after->balances_sum);
    cJSON_AddNumberToObject(object, "acknowledged", (double)statistics->acknowledged_count);
    cJSON_AddNumberToObject(object, "applied", (double)applied);
    cJSON_AddNumberToObject(object, "cross_group", (double)statistics->cross_group_count);
    cJSON_AddNumberToObject(object, "unknown", (double)statistics->unknown_count);
    cJSON_AddNumberToObject(object, "aborts", (double)statistics->aborts_count);
    cJSON_AddNumberToObject(object, "p50_ms",
                            ms(histogram_percentile(&statistics->latency_ns, 500)));
    cJSON_AddNumberToObject(object, "p99_ms",
                            ms(histogram_percentile(&statistics->latency_ns, 990)));
    char *printed = cJSON_PrintUnformatted(object);
    puts(printed);
    free(printed);
    cJSON_Delete(object);
}

static int run(const struct command_environment *environment, struct ost_client *client,
               const struct bank_arguments *arguments)
{
    static struct bank_statistics statistics;
    struct bank_audit before, after;
    struct bank *bank = NULL;
    char why[BANK_WHY_BYTES] = "";
    uint64_t applied = 0;
    int status =
        arguments->keep_accounts ? OST_OK : bank_load(client, &arguments->bank, SETTLE_MS, why);
    if (status == OST_OK)
        status = bank_audit(client, &arguments->bank, SETTLE_MS, &before, why);
    if (status == OST_OK)
        status = bank_start(client, &arguments->bank, &bank, why);
    if (status != OST_OK)
        return command_failed(environment, "bank", status, why);

    run_seconds(bank, client, arguments, environment->json);
    int error = bank_error(bank, why);
    status = bank_stop(bank, SETTLE_MS, why);
    bank_read_statistics(bank, false, &statistics);
    bank_free(bank);
    if (error != OST_OK || status != OST_OK)
        return command_failed(environment, "bank", error != OST_OK ? error : status, why);
    status = bank_audit(client, &arguments->bank, SETTLE_MS, &after, why);
    if (status != OST_OK)
        return command_failed(environment, "bank", status, why);
    int verdict = bank_verdict(&before, &after, &statistics, &applied, why);
    print_result(environment, &statistics, &before, &after, applied, verdict, why);
    return verdict == OST_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int command_bank(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"accounts", 'a', "N", 0, "accounts (default: 1000)", 0},
        {"clients", 'c', "N", 0, "transfers under way at a time (default: 64)", 0},
        {"seconds", 's', "N", 0, "how long (default: 10)", 0},
        {"cross", 'x', "PERCENT", 0, "transfers that cross groups (default: 80)", 0},
        {"keep-accounts", 'k', NULL, 0, "go on with the accounts that are there", 0},
        {"history", 'o', "FILE", 0,
         "record what every client saw, and all accounts each second, for ostraka-check", 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Loads accounts, moves money between them, and checks by one consistent read before "
               "and one "
               "after that the total is the same and that every acknowledged transfer was applied "
               "exactly "
               "once. Exit status 1 when it was not. Overwrites the keys that begin with 'bank/'."};
    struct bank_arguments arguments = {.seconds = 10};
    bank_options_default(&arguments.bank);
    arguments.bank.seed = (uint64_t)getpid();
    command_parse(&argp, argc, argv, &arguments);
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    char why[HISTORY_WHY_BYTES] = "";
    int status = OST_OK;
    int exit_status = EXIT_FAILURE;
    if (arguments.history_path)
        status = history_recorder_open(arguments.history_path, &arguments.bank.history, why);
    if (status == OST_OK) {
        exit_status = run(environment, client, &arguments);
        status = history_recorder_close(arguments.bank.history, why);
    }
    ost_close(client);
    return status == OST_OK ? exit_status : command_failed(environment, "bank", status, why);
}
