/* options.c: the command line. */
#include "base/memory.h"
#include "cmd/arguments.h"
#include "tests/trial/trial.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

static const struct trial_traits kinds[] = {
    [TRIAL_BANK] = {"bank", "kill,pause,partition", 16000, 2, 200, true},
    [TRIAL_LIST_APPEND] = {"list-append", "kill,pause,partition", 16000, 2, 200, false},
    [TRIAL_REGISTER] = {"register", "kill,pause,partition", 16000, 2, 200, false},
    [TRIAL_GROW] = {"grow", "none", 16000, 4, 400, true},
    [TRIAL_RANGES] = {"ranges", "kill,wipe", 8000, 4, 1000, true},
};
#define KINDS_TEXT "bank, list-append, register, grow and ranges"

static const struct argp_option option_table[] = {
    {"seconds", 's', "N", 0, "how long things go wrong (default: 60)", 0},
    {"clients", 'c', "N", 0, "transactions under way at a time (default: 16)", 0},
    {"stores", 'n', "N", 0, "3 or 5 (default: 3); grow always begins with 3", 0},
    {"faults", 'f', "LIST", 0,
     "of kill, pause, partition and wipe, with commas, or none (default: kill,pause,partition; "
     "grow: none; ranges: kill,wipe); partition needs root, or the right to make network "
     "namespaces, and ip and nft",
     0},
    {"changes", 'x', "N", 0,
     "ranges: goes on until there were so many splits and so many moves (default: 200)", 0},
    {"seed", 'r', "N", 0, "what the nemesis and the clients draw (default: from time)", 0},
    {"history", 'o', "FILE", 0,
     "where to keep what clients saw (default: beside the data, as long as that)", 0},
    {"data", 'd', "DIR", 0, "where the stores keep their data (default: trial-data)", 0},
    {"ostrakad", 'p', "PATH", 0, "the server to start (default: the one built here)", 0},
    {"keep", 'k', NULL, 0, "leave data and logs behind also when all is well", 0},
    {0}};

static void parse_kind(struct trial *trial, struct argp_state *state, const char *text)
{
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        if (strcmp(text, kinds[kind].name) != 0)
            continue;
        if (trial->traits)
            argp_error(state, "'%s': one trial at a time", text);
        trial->kind = (enum trial_kind)kind;
        trial->traits = &kinds[kind];
        return;
    }
    argp_error(state, "'%s': the trials are " KINDS_TEXT, text);
}

static void parse_faults(struct trial *trial, struct argp_state *state)
{
    if (strcmp(trial->faults, "none") == 0)
        return;
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
            argp_error(state, "'%s': the faults are kill, pause, partition and wipe", word);
    }
    free(list);
}

static void parse_end(struct trial *trial, struct argp_state *state)
{
    if (!trial->traits)
        argp_error(state, "name a trial: " KINDS_TEXT);
    if (!trial->faults)
        trial->faults = trial->traits->faults;
    parse_faults(trial, state);
    if (trial->kind != TRIAL_GROW)
        return;
    /* Stores that join are on this machine's own address; and none may be lost with its disk while
     * others are on their way out. */
    if (trial->nemesis.enabled[NEMESIS_PARTITION] || trial->nemesis.enabled[NEMESIS_WIPE])
        argp_error(state, "grow: the faults are kill and pause");
    if (trial->stores_count != 3)
        argp_error(state, "grow: it begins with 3 stores");
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
    case 'x':
        trial->changes_count = (uint32_t)argument_number(state, "changes", text, 0, 1000000);
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
        parse_end(trial, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void trial_parse(struct trial *trial, int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_table,
        .parser = parse,
        .args_doc = "bank|list-append|register|grow|ranges",
        .doc = "Starts a cluster on this machine, runs a workload, and lets things go wrong: "
               "stores are killed, stopped and cut off from each other, or lose their disks. Then "
               "everything is healed, and what the clients saw is judged.\v"
               "grow: the bank; three more stores join, and the first three are drained and "
               "removed. ranges: the bank; ranges are split, merged and moved all the time; at the "
               "end each has one owner, and old copies are gone from the disks.\n\n"
               "Exit status: 0 when all is well; 1 when it is not: data, logs and history are kept "
               "then; 130 when it was interrupted."};
    argp_parse(&argp, argc, argv, 0, NULL, trial);
}
