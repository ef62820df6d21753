/* main.c: ostraka-check: judges histories on disk. */
#include "tests/check/bank_check.h"
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"

#include <argp.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_REFUSED 2 /* a file that is no history */

enum workload { WORKLOAD_NONE, WORKLOAD_MIXED, WORKLOAD_BANK, WORKLOAD_LISTS, WORKLOAD_REGISTERS };

static const char *const workload_names[] = {
    [WORKLOAD_NONE] = "none",         [WORKLOAD_MIXED] = "mixed",        [WORKLOAD_BANK] = "bank",
    [WORKLOAD_LISTS] = "list-append", [WORKLOAD_REGISTERS] = "register",
};

struct arguments {
    bool json;
    struct serializability_check_options serializability;
    struct bank_check_options bank;
    struct register_check_options registers;
    char **files;
    int files_count;
};

enum option_key {
    OPTION_JSON = 256,
    OPTION_SERIALIZABLE,
    OPTION_TOTAL,
    OPTION_NEGATIVE,
    OPTION_STEPS
};

static const struct argp_option option_list[] = {
    {"json", OPTION_JSON, NULL, 0, "One JSON object a file instead of text", 0},
    {"serializable", OPTION_SERIALIZABLE, NULL, 0,
     "Judge lists by serializability alone: neither real time nor the order of a client counts", 0},
    {"total", OPTION_TOTAL, "N", 0, "What the bank's balances add up to (default: the first read)",
     0},
    {"negative-allowed", OPTION_NEGATIVE, NULL, 0, "The bank lends", 0},
    {"steps", OPTION_STEPS, "N", 0,
     "Give up on a register's key after N steps; it is then undecided (default: 2000000)", 0},
    {0},
};

static int64_t parse_number(struct argp_state *state, const char *flag, const char *text)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end)
        argp_error(state, "%s: '%s' is no whole number", flag, text);
    return number;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    case OPTION_SERIALIZABLE:
        arguments->serializability.ignore_realtime = true;
        arguments->serializability.ignore_process = true;
        return 0;
    case OPTION_TOTAL:
        arguments->bank.total_known = true;
        arguments->bank.total = parse_number(state, "--total", argument);
        return 0;
    case OPTION_NEGATIVE:
        arguments->bank.negative_allowed = true;
        return 0;
    case OPTION_STEPS: {
        int64_t steps = parse_number(state, "--steps", argument);
        if (steps < 1)
            argp_error(state, "--steps: at least 1");
        arguments->registers.steps_max = (uint64_t)steps;
        return 0;
    }
    case ARGP_KEY_ARGS:
        arguments->files = state->argv + state->next;
        arguments->files_count = state->argc - state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "name a history, or - for standard input");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* By what was invoked. */
static enum workload detect(const struct history *history)
{
    bool bank = false, lists = false, registers = false, reads = false;
    for (size_t i = 0; i < history_operations_count(history); i++) {
        const struct history_operation *operation = history_operation(history, i);
        const struct history_event *event =
            operation->completion ? operation->completion : operation->invoke;
        bank = bank || event->function != HISTORY_TXN;
        if (event->function != HISTORY_TXN)
            continue;
        for (uint32_t j = 0; j < event->ops_count; j++) {
            const struct history_op *op = &event->ops[j];
            bool is_read = op->action == HISTORY_OP_READ;
            reads = reads || is_read;
            lists =
                lists || op->action == HISTORY_OP_APPEND || (is_read && op->found == HISTORY_LIST);
            registers = registers || op->action == HISTORY_OP_WRITE ||
                        op->action == HISTORY_OP_CAS || (is_read && op->found == HISTORY_NUMBER);
        }
    }
    if (bank + lists + registers > 1)
        return WORKLOAD_MIXED;
    if (bank)
        return WORKLOAD_BANK;
    if (lists)
        return WORKLOAD_LISTS;
    return registers || reads ? WORKLOAD_REGISTERS : WORKLOAD_NONE;
}

static void print_text(const char *name, enum workload workload, const struct history *history,
                       const struct check_result *result)
{
    printf("%s: %s: %s, %zu events, %" PRIu64 " operations, %" PRIu64 " of unknown outcome", name,
           check_verdict_name(result->verdict), workload_names[workload],
           history_events_count(history), result->judged_count, result->unknown_count);
    if (result->verdict != CHECK_OK)
        printf("\n  %s (found: %s)\n  %s", result->name, result->names, result->explanation);
    if (result->undecided_count > 0)
        printf("\n  undecided: %" PRIu64, result->undecided_count);
    printf("\n");
}

static void print_json(const char *name, enum workload workload, const struct history *history,
                       const struct check_result *result)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "file", name);
    cJSON_AddStringToObject(json, "workload", workload_names[workload]);
    cJSON_AddStringToObject(json, "verdict", check_verdict_name(result->verdict));
    cJSON_AddStringToObject(json, "anomaly", result->name);
    cJSON_AddStringToObject(json, "anomalies", result->names);
    cJSON_AddStringToObject(json, "explanation", result->explanation);
    cJSON_AddNumberToObject(json, "events", (double)history_events_count(history));
    cJSON_AddNumberToObject(json, "operations", (double)result->judged_count);
    cJSON_AddNumberToObject(json, "unknown", (double)result->unknown_count);
    cJSON_AddNumberToObject(json, "undecided", (double)result->undecided_count);
    cJSON_AddNumberToObject(json, "violations", (double)result->violations_count);
    char *text = cJSON_PrintUnformatted(json);
    printf("%s\n", text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(json);
}

static int judge(const struct arguments *arguments, const char *name, const struct history *history)
{
    struct check_result result;
    enum workload workload = detect(history);
    switch (workload) {
    case WORKLOAD_NONE:
        fprintf(stderr, "%s: no operation to judge\n", name);
        return EXIT_REFUSED;
    case WORKLOAD_MIXED:
        fprintf(stderr, "%s: mixes bank, lists and registers: one workload a file\n", name);
        return EXIT_REFUSED;
    case WORKLOAD_BANK:
        bank_check(history, &arguments->bank, &result);
        break;
    case WORKLOAD_LISTS:
        serializability_check(history, &arguments->serializability, &result);
        break;
    case WORKLOAD_REGISTERS:
        register_check(history, &arguments->registers, &result);
        break;
    }
    if (arguments->json)
        print_json(name, workload, history, &result);
    else
        print_text(name, workload, history, &result);
    return result.verdict == CHECK_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int judge_file(const struct arguments *arguments, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    char why[HISTORY_WHY_BYTES];
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    if (!file) {
        fprintf(stderr, "%s: cannot open: %s\n", name, strerror(errno));
        return EXIT_REFUSED;
    }
    struct history *history = history_new();
    int status = history_read_file(history, file, name, why);
    int result = EXIT_REFUSED;
    if (status == OST_OK)
        result = judge(arguments, name, history);
    else
        fprintf(stderr, "%s\n", why);
    history_free(history);
    if (!is_stdin)
        (void)fclose(file);
    return result;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_list,
        .parser = parse,
        .args_doc = "FILE...",
        .doc =
            "Judges histories of what clients saw (docs/testing.md): the bank, lists, registers; "
            "which, it tells by the operations.\v"
            "Exit status: 0 when every history passed, 1 when one did not or could not be "
            "decided, 2 when a file is no history.",
    };
    struct arguments arguments = {0};
    int result = EXIT_SUCCESS;
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    for (int i = 0; i < arguments.files_count; i++) {
        int one = judge_file(&arguments, arguments.files[i]);
        result = one > result ? one : result;
    }
    return result;
}
