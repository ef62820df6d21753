/* main.c: ostraka-sim: runs one seed, or searches many. */
#include "tests/sim/run.h"
#include "tests/sim/search.h"

#include "sim_commit.h" /* made by the build: SIM_COMMIT */

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    bool is_one;
    uint64_t seed;
    struct search_options search;
    const char *settings[SEARCH_SETTINGS_MAX];
    size_t settings_count;
    bool is_traced, is_traced_full, is_plan_only;
    const char *history_path, *raft_trace_path;
};

enum {
    KEY_SEEDS = 256,
    KEY_TRACE,
    KEY_TRACE_ALL,
    KEY_HISTORY,
    KEY_NO_SHRINK,
    KEY_TWICE,
    KEY_PLAN,
    KEY_SITES,
    KEY_RAFT_TRACE,
    KEY_STORE
};

static const struct argp_option option_table[] = {
    {"seed", 's', "N", 0, "run this one", 1},
    {"trace", KEY_TRACE, NULL, 0, "with --seed: tell the story of the run", 1},
    {"trace-all", KEY_TRACE_ALL, NULL, 0, "the same with every frame and turn", 1},
    {"history", KEY_HISTORY, "FILE", 0, "with --seed: write what clients saw, as JSON lines", 1},
    {"raft-trace", KEY_RAFT_TRACE, "FILE", 0,
     "with --seed: write what each replica does, as JSON lines", 1},
    {"plan", KEY_PLAN, NULL, 0, "with --seed: print what it does, and do nothing", 1},
    {"store", KEY_STORE, "KIND", 0,
     "what holds rows: memory (default), or rocksdb, in a directory under $TMPDIR or /dev/shm", 2},
    {"set", 'S', "NAME=VALUE", 0, "change a field of the plan (see --plan); may be repeated", 2},
    {"seeds", KEY_SEEDS, "A..B", 0, "run all of these; default 1..100", 3},
    {"jobs", 'j', "N", 0, "processes at a time; default 2", 3},
    {"twice", KEY_TWICE, NULL, 0, "run each seed two times: the hashes must be equal", 3},
    {"no-shrink", KEY_NO_SHRINK, NULL, 0, "report failing seeds as they are", 3},
    {"sites", KEY_SITES, NULL, 0, "report how often each site of base/sometimes.h fired", 3},
    {"verbose", 'v', NULL, 0, "a line for each seed", 3},
    {0}};

static const char doc[] =
    "Runs whole clusters of the shipping code in virtual time, with faults, and judges what "
    "clients "
    "saw and what the stores hold. A seed and a commit reproduce a run. See tests/sim/README.md.";

static uint64_t number(struct argp_state *state, const char *text, char **out_end)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || (!out_end && *end))
        argp_error(state, "'%s' is not a whole number", text);
    if (out_end)
        *out_end = end;
    return value;
}

static void parse_seeds(struct argp_state *state, struct search_options *search, const char *text)
{
    char *end;
    search->first = search->last = number(state, text, &end);
    if (strncmp(end, "..", 2) == 0)
        search->last = number(state, end + 2, NULL);
    else if (*end)
        argp_error(state, "--seeds: '%s' is not A..B", text);
    if (search->first == 0 || search->last < search->first)
        argp_error(state, "--seeds: '%s': seeds begin at 1, and the last is not before the first",
                   text);
}

static void parse_setting(struct argp_state *state, const char *text)
{
    struct arguments *arguments = state->input;
    struct plan plan;
    plan_draw(&plan, 1);
    if (!plan_set(&plan, text))
        argp_error(state, "--set: '%s' is no field of the plan, or out of bounds", text);
    if (arguments->settings_count == SEARCH_SETTINGS_MAX)
        argp_error(state, "--set: at most %d", SEARCH_SETTINGS_MAX);
    arguments->settings[arguments->settings_count++] = text;
}

static void parse_store(struct argp_state *state, const char *text)
{
    bool is_rocksdb = strcmp(text, "rocksdb") == 0;
    if (!is_rocksdb && strcmp(text, "memory") != 0)
        argp_error(state, "--store: '%s' is not memory or rocksdb", text);
    parse_setting(state, is_rocksdb ? "rocksdb=1" : "rocksdb=0");
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 's':
        arguments->is_one = true;
        arguments->seed = number(state, text, NULL);
        return 0;
    case 'S':
        parse_setting(state, text);
        return 0;
    case KEY_STORE:
        parse_store(state, text);
        return 0;
    case KEY_TRACE_ALL:
        arguments->is_traced_full = true;
        /* fall through */
    case KEY_TRACE:
        arguments->is_traced = true;
        return 0;
    case KEY_HISTORY:
        arguments->history_path = text;
        return 0;
    case KEY_RAFT_TRACE:
        arguments->raft_trace_path = text;
        return 0;
    case KEY_PLAN:
        arguments->is_plan_only = true;
        return 0;
    case KEY_SEEDS:
        parse_seeds(state, &arguments->search, text);
        return 0;
    case 'j':
        arguments->search.jobs_count = (unsigned)number(state, text, NULL);
        if (arguments->search.jobs_count < 1 || arguments->search.jobs_count > 64)
            argp_error(state, "--jobs: 1 to 64");
        return 0;
    case KEY_TWICE:
        arguments->search.is_twice = true;
        return 0;
    case KEY_NO_SHRINK:
        arguments->search.is_shrinking = false;
        return 0;
    case KEY_SITES:
        arguments->search.is_telling_sites = true;
        return 0;
    case 'v':
        arguments->search.is_verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': there are no arguments, only flags", text);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void head_print(uint64_t seed)
{
    printf("seed %" PRIu64 " commit %s\n", seed, SIM_COMMIT);
}

/* True when there is nothing to open, too. */
static bool file_open(const char *path, FILE **out_file)
{
    *out_file = path ? fopen(path, "w") : NULL;
    if (path && !*out_file)
        perror(path);
    return !path || *out_file;
}

static bool file_close(const char *path, FILE *file)
{
    if (!file || fclose(file) == 0)
        return true;
    perror(path);
    return false;
}

static int run_one(const struct arguments *arguments)
{
    struct plan plan;
    plan_draw(&plan, arguments->seed);
    for (size_t index = 0; index < arguments->settings_count; index++)
        if (!plan_set(&plan, arguments->settings[index]))
            return EXIT_FAILURE;
    head_print(arguments->seed);
    if (arguments->is_plan_only || arguments->is_traced)
        plan_print(&plan, stdout);
    if (arguments->is_plan_only)
        return EXIT_SUCCESS;
    struct run_options options = {.story = arguments->is_traced ? stdout : NULL,
                                  .is_story_full = arguments->is_traced_full};
    if (!file_open(arguments->history_path, &options.history) ||
        !file_open(arguments->raft_trace_path, &options.raft_trace))
        return EXIT_FAILURE;
    setvbuf(stdout, NULL, _IOLBF, 0); /* the story up to an abort */
    struct run_result result;
    run(&plan, &options, &result);
    if (!file_close(arguments->history_path, options.history) ||
        !file_close(arguments->raft_trace_path, options.raft_trace))
        return EXIT_FAILURE;
    const struct sim_counts *counts = &result.counts;
    printf("hash %016" PRIx64 ", %" PRIu64 " ms of virtual time, %" PRIu64 " operations, %" PRIu64
           " commits, %" PRIu64 " over several groups, %" PRIu64 " refused, %" PRIu64
           " of unknown outcome, %" PRIu64 " faults, %" PRIu64 " elections, %" PRIu64
           " crashes, %" PRIu64 " snapshots, %" PRIu64 " turns, %" PRIu64
           " answers by lease, %" PRIu64 " that came too late for theirs, %" PRIu64
           " changes of replicas, %" PRIu64 " changes of ranges taken on: %" PRIu64
           " moves, %" PRIu64 " cancelled, %" PRIu64 " splits, %" PRIu64 " merges\n",
           result.hash, result.took_ns / NS_PER_MS, counts->operations, counts->commits,
           counts->commits_over_groups, counts->fails, counts->infos, counts->faults,
           counts->elections, counts->crashes, counts->snapshots_installed, counts->turns,
           counts->leased_answers, counts->leases_overrun, counts->changes, counts->range_changes,
           counts->moves, counts->cancels, counts->splits, counts->merges);
    if (result.is_failed)
        printf("FAILED %s: %s\n", result.failure, result.why);
    head_print(arguments->seed);
    return result.is_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {.options = option_table, .parser = parse, .doc = doc};
    static struct arguments arguments;
    arguments.search =
        (struct search_options){.first = 1, .last = 100, .jobs_count = 2, .is_shrinking = true};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (arguments.is_one)
        return run_one(&arguments);
    arguments.search.settings = arguments.settings;
    arguments.search.settings_count = arguments.settings_count;
    printf("seeds %" PRIu64 "..%" PRIu64 " commit %s\n", arguments.search.first,
           arguments.search.last, SIM_COMMIT);
    uint64_t failed_count = search(&arguments.search);
    printf("seeds %" PRIu64 "..%" PRIu64 " commit %s\n", arguments.search.first,
           arguments.search.last, SIM_COMMIT);
    if (failed_count > 0)
        return EXIT_FAILURE;
    return search_interruption() ? 128 + search_interruption() : EXIT_SUCCESS;
}
