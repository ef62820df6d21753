/* ostraka.c: the command line of Ostraka: finds the command and runs it. */
#include "cmd/ostraka_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "ostraka 0.1.0";

static const struct command commands[] = {
    {"get", "KEY", "print the value of a key", command_get},
    {"put", "KEY [VALUE]", "write a value; without VALUE from standard input", command_put},
    {"delete", "KEY", "delete a key", command_delete},
    {"scan", "[START [END]]", "print keys and values of an interval, in key order", command_scan},
    {"delete-range", "START END", "delete the keys of an interval, all or none",
     command_delete_range},
    {"cas", "KEY OLD NEW", "write a value if the key has the old one", command_cas},
    {"add", "KEY [N]", "add to a number, and print the sum", command_add},
    {"txn", "", "run one transaction, with lines of standard input", command_txn},
    {"status", "", "how the cluster is; --watch: live", command_status},
    {"stores", "", "the stores, one by one", command_stores},
    {"groups", "", "the groups, their leaders and replicas", command_groups},
    {"ranges", "[PREFIX]", "the ranges, and which group has each", command_ranges},
    {"split", "KEY", "split a range in two", command_split},
    {"merge", "KEY", "make one range of two neighbours", command_merge},
    {"move", "KEY --to-group G", "move a range to another group", command_move},
    {"cancel", "CHANGE", "call off the move of a range", command_cancel},
    {"drain", "STORE", "give a store's replicas to others", command_drain},
    {"remove-store", "STORE", "strike a drained store from the map", command_remove_store},
    {"txns", "", "the transactions that run, and whom they wait for", command_txns},
    {"locks", "", "who holds or waits for which lock", command_locks},
    {"workload", "NAME", "run transactions, recorded for ostraka-check", command_workload},
    {"add-replica", "...", "give a group a replica on one more store", command_add_replica},
    {"remove-replica", "...", "take a group's replica from a store", command_remove_replica},
    {"move-replica", "...", "move a group's replica to another store", command_move_replica},
    {"bank", "", "move money and check that none is lost", command_bank},
};
#define COMMANDS_COUNT (sizeof commands / sizeof commands[0])

static const struct argp_option option_table[] = {
    {"endpoints", 'e', "HOST:PORT,...", 0,
     "stores to begin with (default: $OSTRAKA_ENDPOINTS, or 127.0.0.1:7100)", 0},
    {"timeout-ms", 't', "MS", 0, "how long an operation may take (default: 5000)", 0},
    {"json", 'j', NULL, 0, "print JSON, for scripts", 0},
    {0}};

struct arguments {
    struct command_environment environment;
    int command_at;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    char *end;
    unsigned long value;
    switch (key) {
    case 'e':
        arguments->environment.endpoints = text;
        return 0;
    case 't':
        value = strtoul(text, &end, 10);
        if (*end != '\0' || value < 1 || value > 60000)
            argp_error(state, "--timeout-ms: '%s' is not a whole number from 1 to 60000", text);
        arguments->environment.timeout_ms = (uint32_t)value;
        return 0;
    case 'j':
        arguments->environment.json = true;
        return 0;
    case ARGP_KEY_ARG:
        /* The command; what follows is its own. */
        arguments->command_at = state->next - 1;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "name a command: 'ostraka --help' lists them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static char *help_filter(int key, const char *text, void *input)
{
    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC)
        return (char *)(uintptr_t)text;
    char *help = NULL;
    size_t help_bytes = 0;
    FILE *stream = open_memstream(&help, &help_bytes);
    if (!stream)
        return (char *)(uintptr_t)text;
    fprintf(stream, "Commands ('ostraka COMMAND --help' tells more):\n");
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        char usage[64];
        snprintf(usage, sizeof usage, "%s %s", commands[i].name, commands[i].arguments);
        fprintf(stream, "  %-24s %s\n", usage, commands[i].help);
    }
    fprintf(
        stream,
        "\nKeys are written as text; \\xNN stands for any byte, \\\\ for a backslash.\n"
        "The exit status is 0 when it worked, 1 when not, 64 for a mistake on the command line.");
    fclose(stream);
    return help;
}

/* --json may also stand behind the command, whichever it is. */
static bool json_take(int *argc, char **argv)
{
    for (int at = 1; at < *argc && strcmp(argv[at], "--") != 0; at++) {
        if (strcmp(argv[at], "--json") != 0)
            continue;
        memmove(argv + at, argv + at + 1, (size_t)(*argc - at) * sizeof argv[0]);
        (*argc)--;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {.options = option_table,
                                     .parser = parse,
                                     .args_doc = "COMMAND [ARGUMENTS]",
                                     .doc = "ostraka: reads and writes an Ostraka cluster.\v ",
                                     .help_filter = help_filter};
    const char *endpoints = getenv("OSTRAKA_ENDPOINTS");
    struct arguments arguments = {
        .environment = {.endpoints = endpoints && *endpoints ? endpoints : "127.0.0.1:7100",
                        .timeout_ms = 5000}};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &arguments);
    char **command_argv = argv + arguments.command_at;
    argc -= arguments.command_at;
    if (json_take(&argc, command_argv))
        arguments.environment.json = true;
    for (size_t i = 0; i < COMMANDS_COUNT; i++)
        if (strcmp(commands[i].name, command_argv[0]) == 0)
            return commands[i].run(&arguments.environment, argc, command_argv);
    fprintf(stderr, "ostraka: there is no command '%s': 'ostraka --help' lists them\n",
            command_argv[0]);
    return 64;
}
