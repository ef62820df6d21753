/* demo.c: money moves between two groups on three stores while their processes are killed; at the
 * end every unit of it and every acknowledged transfer must be there. */
#include "base/memory.h"
#include "bench/session.h"
#include "client/ostraka.h"
#include "cmd/arguments.h"
#include "cmd/bank.h"
#include "cmd/cluster.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STORES_COUNT       3u
#define GROUPS_COUNT       2u
#define KILLS_COUNT_MAX    4u
#define RESTART_AFTER_NS   (3 * UINT64_C(1000000000))
#define SECONDS_PER_KILL   4u /* so that a store is back before the next one is killed */
#define TICK_MS            20u
#define READY_TIMEOUT_MS   30000u
#define LOAD_TIMEOUT_MS    60000u
#define OUTCOME_TIMEOUT_MS 60000u
#define MONITOR_TIMEOUT_MS 250u
#define NS_PER_SECOND      UINT64_C(1000000000)

enum kill_plan { PLAN_LEADERS, PLAN_NONE, PLAN_EACH, PLAN_ALL };

struct demo_kill {
    uint64_t at_ns; /* planned, from the start of the run */
    bool every_store;
    uint32_t store; /* 0: the leader of `group`, looked up when the time has come */
    uint32_t group; /* with store 0 */
    bool done, restarted;
    uint64_t done_ns, restarted_ns;
    char what[64];       /* "store 2, leader of group 1" */
    struct bank_gap gap; /* until the next kill or the end */
};

struct demo {
    struct bank_options bank_options;
    uint32_t seconds;
    enum kill_plan plan;
    bool keep, json;
    const char *directory;
    const char *program;

    FILE *out; /* for people: standard error with --json */
    bool live; /* the line is drawn over itself */
    struct cluster *cluster;
    struct ost_client *client;
    struct ost_client *monitor; /* gives up soon, so that the line goes on when a store is dead */
    struct bank *bank;
    struct bank_statistics interval, total;
    uint64_t started_ns, ended_ns;
    struct demo_kill kills[KILLS_COUNT_MAX];
    uint32_t kills_count;
    struct demo_kill *gap_owner; /* the kill whose gap is being measured */
    struct bank_audit before, after;
    uint64_t applied_count;
    uint64_t resident_bytes[STORES_COUNT + 1];
    uint64_t idle_resident_bytes;
    uint32_t open_files_count[STORES_COUNT + 1];
    uint64_t server_cpu_ns;
};

/* --- The command line
 * ------------------------------------------------------------------------------ */

enum {
    KEY_SECONDS = 256,
    KEY_CLIENTS,
    KEY_ACCOUNTS,
    KEY_CROSS,
    KEY_KILL,
    KEY_NO_KILL,
    KEY_KILL_EACH,
    KEY_KILL_ALL,
    KEY_KEEP,
    KEY_JSON,
    KEY_DATA,
    KEY_OSTRAKAD,
};

static const struct argp_option option_table[] = {
    {"seconds", KEY_SECONDS, "N", 0, "how long the transfers run (default: 20)", 0},
    {"clients", KEY_CLIENTS, "N", 0, "transfers under way at a time (default: 64)", 0},
    {"accounts", KEY_ACCOUNTS, "N", 0, "half of them in each group (default: 1000)", 0},
    {"cross", KEY_CROSS, "PERCENT", 0, "transfers that cross groups (default: 80)", 0},
    {"kill", KEY_KILL, NULL, 0,
     "kill -9 the leader of a data group, then the shard master's; each is restarted 3 s later "
     "(this is the default)",
     0},
    {"kill-each", KEY_KILL_EACH, NULL, 0, "kill -9 each store once", 0},
    {"kill-all", KEY_KILL_ALL, NULL, 0, "kill -9 all stores at once", 0},
    {"no-kill", KEY_NO_KILL, NULL, 0, "kill nothing", 0},
    {"keep", KEY_KEEP, NULL, 0, "leave the data and the logs behind", 0},
    {"json", KEY_JSON, NULL, 0, "the result as JSON on standard output", 0},
    {"data", KEY_DATA, "DIR", 0, "where the stores keep their data (default: demo-data)", 0},
    {"ostrakad", KEY_OSTRAKAD, "PATH", 0, "the server to start (default: the one built here)", 0},
    {0}};

static uint32_t number(struct argp_state *state, const char *flag, const char *text, uint32_t min,
                       uint32_t max)
{
    return (uint32_t)argument_number(state, flag, text, min, max);
}

static uint32_t kills_count_of(enum kill_plan plan)
{
    switch (plan) {
    case PLAN_LEADERS:
        return 2;
    case PLAN_NONE:
        return 0;
    case PLAN_EACH:
        return STORES_COUNT;
    case PLAN_ALL:
        return 1;
    }
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct demo *demo = state->input;
    uint32_t seconds_min;
    switch (key) {
    case KEY_SECONDS:
        demo->seconds = number(state, "seconds", text, 1, 86400);
        return 0;
    case KEY_CLIENTS:
        demo->bank_options.clients_count = number(state, "clients", text, 1, 4096);
        return 0;
    case KEY_ACCOUNTS:
        demo->bank_options.accounts_count = number(state, "accounts", text, 4, 100000);
        return 0;
    case KEY_CROSS:
        demo->bank_options.cross_percent = number(state, "cross", text, 0, 100);
        return 0;
    case KEY_KILL:
        demo->plan = PLAN_LEADERS;
        return 0;
    case KEY_NO_KILL:
        demo->plan = PLAN_NONE;
        return 0;
    case KEY_KILL_EACH:
        demo->plan = PLAN_EACH;
        return 0;
    case KEY_KILL_ALL:
        demo->plan = PLAN_ALL;
        return 0;
    case KEY_KEEP:
        demo->keep = true;
        return 0;
    case KEY_JSON:
        demo->json = true;
        return 0;
    case KEY_DATA:
        demo->directory = text;
        return 0;
    case KEY_OSTRAKAD:
        demo->program = text;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': there are no arguments, only flags", text);
        return EINVAL;
    case ARGP_KEY_END:
        seconds_min = SECONDS_PER_KILL * (kills_count_of(demo->plan) + 1);
        if (demo->plan != PLAN_NONE && demo->seconds < seconds_min)
            argp_error(state,
                       "--seconds must be at least %u to kill and restart; or give --no-kill",
                       seconds_min);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- Kills
 * ------------------------------------------------------------------------------------------- */

static void plan_kills(struct demo *demo)
{
    demo->kills_count = kills_count_of(demo->plan);
    for (uint32_t i = 0; i < demo->kills_count; i++) {
        struct demo_kill *each = &demo->kills[i];
        each->at_ns = demo->seconds * NS_PER_SECOND * (i + 1) / (demo->kills_count + 1);
        each->every_store = demo->plan == PLAN_ALL;
        if (demo->plan == PLAN_EACH)
            each->store = i + 1;
        else
            each->group = i == 0 ? 1 : 0; /* a data group first, then the shard master */
    }
}

static void describe_led_groups(const uint32_t *leaders, uint32_t store, char *text,
                                size_t text_bytes_max)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t group = 0; group <= GROUPS_COUNT && used < text_bytes_max; group++) {
        if (leaders[group] != store)
            continue;
        const char *comma = used > 0 ? "," : "";
        int count = group == 0 ? snprintf(text + used, text_bytes_max - used, "%s master", comma)
                               : snprintf(text + used, text_bytes_max - used, "%s group %" PRIu32,
                                          comma, group);
        used += (size_t)count;
    }
}

/* False: the leader is not known yet, ask again soon. */
static bool kill_do(struct demo *demo, struct demo_kill *each)
{
    uint32_t leaders[GROUPS_COUNT + 1];
    cluster_leaders(demo->cluster, demo->monitor, leaders, GROUPS_COUNT + 1);
    if (!each->every_store && each->store == 0) {
        each->store = leaders[each->group];
        if (each->store == 0)
            return false;
    }
    if (demo->gap_owner)
        bank_gap_read(demo->bank, &demo->gap_owner->gap);
    if (each->every_store) {
        snprintf(each->what, sizeof each->what, "all stores at once");
    } else {
        char led[40];
        describe_led_groups(leaders, each->store, led, sizeof led);
        snprintf(each->what, sizeof each->what, "store %" PRIu32 "%s%s", each->store,
                 led[0] ? ", leads" : "", led);
    }
    bank_gap_begin(demo->bank);
    demo->gap_owner = each;
    each->done_ns = bank_now_ns();
    each->done = true;
    /* All get the signal before one is waited for. */
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        if (each->every_store || store == each->store)
            cluster_signal(demo->cluster, store, SIGKILL);
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        if (each->every_store || store == each->store)
            cluster_kill(demo->cluster, store);
    fprintf(demo->out, "%s%5.1f s  kill -9: %s\n", demo->live ? "\r\033[K" : "",
            (double)(each->done_ns - demo->started_ns) / 1e9, each->what);
    return true;
}

static int kill_undo(struct demo *demo, struct demo_kill *each, char *why)
{
    for (uint32_t store = 1; store <= STORES_COUNT; store++) {
        if (!each->every_store && store != each->store)
            continue;
        int status = cluster_start(demo->cluster, store, why);
        if (status != OST_OK)
            return status;
    }
    each->restarted = true;
    each->restarted_ns = bank_now_ns();
    fprintf(demo->out, "%s%5.1f s  restarted\n", demo->live ? "\r\033[K" : "",
            (double)(each->restarted_ns - demo->started_ns) / 1e9);
    return OST_OK;
}

static int step_kills(struct demo *demo, uint64_t now_ns, char *why)
{
    for (uint32_t i = 0; i < demo->kills_count; i++) {
        struct demo_kill *each = &demo->kills[i];
        if (each->done && each->restarted)
            continue;
        if (each->done && now_ns >= each->done_ns + RESTART_AFTER_NS)
            return kill_undo(demo, each, why);
        if (!each->done && now_ns - demo->started_ns >= each->at_ns)
            kill_do(demo, each);
        return OST_OK; /* one after the other */
    }
    return OST_OK;
}

/* --- The run
 * ------------------------------------------------------------------------------------------- */

static void print_store(FILE *out, const char *name, uint32_t store)
{
    if (store == 0)
        fprintf(out, " %s -", name);
    else
        fprintf(out, " %s %" PRIu32, name, store);
}

static void print_live(struct demo *demo, uint64_t now_ns, uint64_t interval_ns)
{
    uint32_t leaders[GROUPS_COUNT + 1];
    cluster_leaders(demo->cluster, demo->monitor, leaders, GROUPS_COUNT + 1);
    bank_read_statistics(demo->bank, true, &demo->interval);
    const struct bank_statistics *interval = &demo->interval;
    uint64_t tries_count = interval->acknowledged_count + interval->aborts_count;
    fprintf(demo->out,
            "%s%5.1f s  %6.0f transfers/s  p50 %6.1f ms  p99 %7.1f ms  aborts %4.1f %%  leaders:",
            demo->live ? "\r\033[K" : "", (double)(now_ns - demo->started_ns) / 1e9,
            (double)interval->acknowledged_count * 1e9 / (double)interval_ns,
            (double)histogram_percentile(&interval->latency_ns, 500) / 1e6,
            (double)histogram_percentile(&interval->latency_ns, 990) / 1e6,
            tries_count ? 100.0 * (double)interval->aborts_count / (double)tries_count : 0.0);
    print_store(demo->out, "master", leaders[0]);
    for (uint32_t group = 1; group <= GROUPS_COUNT; group++) {
        char name[24];
        snprintf(name, sizeof name, "g%" PRIu32, group);
        print_store(demo->out, name, leaders[group]);
    }
    uint32_t kills_count = 0;
    for (uint32_t i = 0; i < demo->kills_count; i++)
        kills_count += demo->kills[i].done;
    fprintf(demo->out, "  kills %" PRIu32, kills_count);
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        if (!cluster_runs(demo->cluster, store))
            fprintf(demo->out, "  store %" PRIu32 " is down", store);
    fprintf(demo->out, "%s", demo->live ? "" : "\n");
    fflush(demo->out);
}

/* OST_CANCELED: Ctrl-C. */
static int run(struct demo *demo, char *why)
{
    int status = bank_start(demo->client, &demo->bank_options, &demo->bank, why);
    if (status != OST_OK)
        return status;
    demo->started_ns = bank_now_ns();
    uint64_t end_ns = demo->started_ns + demo->seconds * NS_PER_SECOND;
    uint64_t printed_ns = demo->started_ns;
    for (;;) {
        uint64_t now_ns = bank_now_ns();
        if (interrupted)
            return OST_CANCELED;
        if (now_ns >= end_ns)
            break;
        status = cluster_check(demo->cluster, why);
        if (status == OST_OK)
            status = bank_error(demo->bank, why);
        if (status == OST_OK)
            status = step_kills(demo, now_ns, why);
        if (status != OST_OK)
            return status;
        if (now_ns - printed_ns >= NS_PER_SECOND) {
            print_live(demo, now_ns, now_ns - printed_ns);
            printed_ns = now_ns;
        }
        struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
        nanosleep(&tick, NULL);
    }
    if (demo->gap_owner)
        bank_gap_read(demo->bank, &demo->gap_owner->gap);
    demo->ended_ns = bank_now_ns();
    if (demo->live)
        fprintf(demo->out, "\n");
    status = bank_stop(demo->bank, OUTCOME_TIMEOUT_MS, why);
    bank_read_statistics(demo->bank, false, &demo->total);
    return status;
}

static int prepare(struct demo *demo, char *why)
{
    struct cluster_options options;
    char split[BANK_KEY_BYTES];
    cluster_options_default(&options);
    options.program = demo->program;
    options.directory = demo->directory;
    options.stores_count = STORES_COUNT;
    options.groups_count = GROUPS_COUNT;
    options.splits = bank_key(demo->bank_options.accounts_count / 2, split);
    options.keep = demo->keep;
    options.interrupted = &interrupted;
    int status = cluster_new(&options, &demo->cluster, why);
    if (status != OST_OK)
        return status;
    fprintf(demo->out, "Three stores, two groups, %s; data in %s\n",
            cluster_endpoints(demo->cluster), cluster_directory(demo->cluster));
    status = cluster_open_client(demo->cluster, READY_TIMEOUT_MS, &demo->client, why);
    if (status == OST_OK)
        status = cluster_wait_ready(demo->cluster, demo->client, READY_TIMEOUT_MS, why);
    if (status != OST_OK)
        return status;
    struct ost_options monitor;
    ost_options_default(&monitor);
    monitor.endpoints = cluster_endpoints(demo->cluster);
    monitor.operation_timeout_ms = MONITOR_TIMEOUT_MS;
    status = ost_open(&monitor, &demo->monitor, why);
    if (status != OST_OK)
        return status;
    for (uint32_t store = 1; store <= STORES_COUNT; store++) {
        uint64_t bytes = cluster_resident_bytes(demo->cluster, store);
        if (bytes > demo->idle_resident_bytes)
            demo->idle_resident_bytes = bytes;
    }
    status = bank_load(demo->client, &demo->bank_options, LOAD_TIMEOUT_MS, why);
    if (status == OST_OK)
        status = bank_audit(demo->client, &demo->bank_options, LOAD_TIMEOUT_MS, &demo->before, why);
    if (status == OST_OK)
        fprintf(demo->out,
                "Loaded %" PRIu32 " accounts with %" PRIu64 " in all; %" PRIu32 " clients, %" PRIu32
                " %% of the transfers cross groups\n",
                demo->before.accounts_count, demo->before.balances_sum,
                demo->bank_options.clients_count, demo->bank_options.cross_percent);
    return status;
}

/* --- The result
 * ------------------------------------------------------------------------------------------ */

static void measure(struct demo *demo)
{
    demo->server_cpu_ns = cluster_cpu_ns(demo->cluster);
    for (uint32_t store = 1; store <= STORES_COUNT; store++) {
        demo->resident_bytes[store] = cluster_resident_bytes(demo->cluster, store);
        demo->open_files_count[store] = cluster_open_files_count(demo->cluster, store);
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

static void print_kills(const struct demo *demo)
{
    FILE *out = demo->out;
    if (demo->kills_count == 0)
        return;
    fprintf(out, "\n  %-8s %-40s %-10s %-18s %s\n", "kill -9", "what", "restarted", "longest gap",
            "in the slowest group");
    for (uint32_t i = 0; i < demo->kills_count; i++) {
        const struct demo_kill *each = &demo->kills[i];
        fprintf(out, "  %5.1f s  %-40s %6.1f s   %8.2f s         %8.2f s\n",
                (double)(each->done_ns - demo->started_ns) / 1e9, each->what,
                each->restarted ? (double)(each->restarted_ns - demo->started_ns) / 1e9 : 0.0,
                (double)each->gap.any_ns / 1e9, (double)each->gap.group_ns / 1e9);
    }
}

static void print_result(const struct demo *demo)
{
    FILE *out = demo->out;
    const struct bank_statistics *total = &demo->total;
    double seconds = (double)(demo->ended_ns - demo->started_ns) / 1e9;
    fprintf(out, "\n  %-34s %14s %14s\n", "", "before", "after");
    fprintf(out, "  %-34s %14" PRIu64 " %14" PRIu64 "\n", "money in all accounts",
            demo->before.balances_sum, demo->after.balances_sum);
    fprintf(out, "\n  %-34s %14" PRIu64 "  %.0f/s\n", "transfers acknowledged",
            total->acknowledged_count, (double)total->acknowledged_count / seconds);
    fprintf(out, "  %-34s %14" PRIu64 "\n", "transfers applied", demo->applied_count);
    fprintf(out, "  %-34s %14" PRIu64 "  asked again: %" PRIu64 "\n", "outcome never learnt",
            total->unknown_count, total->maybe_committed_count);
    fprintf(out, "  %-34s %12.1f %%\n", "crossed groups",
            percent(total->cross_group_count, total->acknowledged_count));
    fprintf(out, "  %-34s %11.1f ms  p99 %.1f ms, p99.9 %.1f ms\n", "latency p50",
            (double)histogram_percentile(&total->latency_ns, 500) / 1e6,
            (double)histogram_percentile(&total->latency_ns, 990) / 1e6,
            (double)histogram_percentile(&total->latency_ns, 999) / 1e6);
    fprintf(out, "  %-34s %14" PRIu64 "  %.1f %% of all tries\n", "tries aborted and done again",
            total->aborts_count,
            percent(total->aborts_count, total->aborts_count + total->acknowledged_count));
    for (uint32_t i = 0; i < BANK_STATUSES_COUNT; i++)
        if (total->aborts_by_status[i] > 0)
            fprintf(out, "    %-32s %14" PRIu64 "\n", ost_status_name(-(int)i),
                    total->aborts_by_status[i]);
    fprintf(out, "  %-34s %11.0f us\n", "server CPU per transfer, 3 stores",
            total->acknowledged_count
                ? (double)demo->server_cpu_ns / 1e3 / (double)total->acknowledged_count
                : 0.0);
    fprintf(out, "  %-34s", "memory / open files per store");
    for (uint32_t store = 1; store <= STORES_COUNT; store++)
        fprintf(out, "  %.0f MiB/%" PRIu32, (double)demo->resident_bytes[store] / 1048576.0,
                demo->open_files_count[store]);
    fprintf(out, "  (idle at the start: %.0f MiB)\n",
            (double)demo->idle_resident_bytes / 1048576.0);
    print_kills(demo);
}

static void print_json(const struct demo *demo, int verdict)
{
    const struct bank_statistics *total = &demo->total;
    double seconds = (double)(demo->ended_ns - demo->started_ns) / 1e9;
    printf("{\"verdict\":\"%s\",\"seconds\":%.3f,\"clients\":%" PRIu32 ",\"accounts\":%" PRIu32
           ",\"money_before\":%" PRIu64 ",\"money_after\":%" PRIu64 ",\"acknowledged\":%" PRIu64
           ",\"applied\":%" PRIu64 ",\"unknown\":%" PRIu64 ",\"asked_again\":%" PRIu64
           ",\"cross_group\":%" PRIu64 ",\"transfers_per_s\":%.1f,\"aborts\":%" PRIu64
           ",\"latency_ms\":{\"p50\":%.3f,\"p99\":%.3f,\"p99_9\":%.3f},\"server_cpu_ms\":%.1f"
           ",\"idle_resident_bytes\":%" PRIu64 ",\"resident_bytes\":[%" PRIu64 ",%" PRIu64
           ",%" PRIu64 "],\"open_files\":[%" PRIu32 ",%" PRIu32 ",%" PRIu32 "],\"kills\":[",
           verdict == OST_OK ? "ok" : "failed", seconds, demo->bank_options.clients_count,
           demo->bank_options.accounts_count, demo->before.balances_sum, demo->after.balances_sum,
           total->acknowledged_count, demo->applied_count, total->unknown_count,
           total->maybe_committed_count, total->cross_group_count,
           (double)total->acknowledged_count / seconds, total->aborts_count,
           (double)histogram_percentile(&total->latency_ns, 500) / 1e6,
           (double)histogram_percentile(&total->latency_ns, 990) / 1e6,
           (double)histogram_percentile(&total->latency_ns, 999) / 1e6,
           (double)demo->server_cpu_ns / 1e6, demo->idle_resident_bytes, demo->resident_bytes[1],
           demo->resident_bytes[2], demo->resident_bytes[3], demo->open_files_count[1],
           demo->open_files_count[2], demo->open_files_count[3]);
    for (uint32_t i = 0; i < demo->kills_count; i++) {
        const struct demo_kill *each = &demo->kills[i];
        printf("%s{\"at_s\":%.3f,\"what\":\"%s\",\"gap_s\":%.3f,\"group_gap_s\":%.3f}",
               i > 0 ? "," : "", (double)(each->done_ns - demo->started_ns) / 1e9, each->what,
               (double)each->gap.any_ns / 1e9, (double)each->gap.group_ns / 1e9);
    }
    printf("]}\n");
}

/* Returns the verdict; OST_CANCELED after Ctrl-C. */
static int demo_run(struct demo *demo, char *why)
{
    int status = prepare(demo, why);
    if (status == OST_OK)
        status = run(demo, why);
    if (status == OST_OK)
        status = bank_audit(demo->client, &demo->bank_options, LOAD_TIMEOUT_MS, &demo->after, why);
    if (status != OST_OK)
        return interrupted ? OST_CANCELED : status;
    measure(demo);
    int verdict =
        bank_verdict(&demo->before, &demo->after, &demo->total, &demo->applied_count, why);
    print_result(demo);
    if (demo->json)
        print_json(demo, verdict);
    return verdict;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_table,
        .parser = parse,
        .doc = "ostraka-demo: a bank on three stores and two groups, while stores are killed."};
    static struct demo demo;
    bank_options_default(&demo.bank_options);
    demo.seconds = 20;
    demo.directory = "demo-data";
    demo.program = OSTRAKAD_PATH;
    argp_parse(&argp, argc, argv, 0, NULL, &demo);
    demo.out = demo.json ? stderr : stdout;
    demo.live = isatty(fileno(demo.out));
    setvbuf(demo.out, NULL, _IOLBF, 0);
    plan_kills(&demo);
    session_begin();

    char why[CLUSTER_WHY_BYTES] = "";
    int verdict = demo_run(&demo, why);
    if (verdict == OST_CANCELED && interrupted) {
        /* The clients' calls are cut off with the process; only the stores need an end. */
        fprintf(demo.out, "%sinterrupted: all stores are stopped\n", demo.live ? "\r\033[K" : "");
        cluster_free(demo.cluster);
        fflush(NULL);
        _exit(EXIT_INTERRUPTED);
    }
    if (verdict == OST_OK) {
        fprintf(demo.out, "\nOK: %s\n", why);
    } else {
        fprintf(demo.out, "\nFAILED: %s\n", why);
        if (demo.cluster) {
            cluster_keep(demo.cluster);
            fprintf(demo.out, "The data and the logs are kept in %s\n",
                    cluster_directory(demo.cluster));
        }
    }
    /* An error may have left clients in the middle of a transfer: they end with the process. */
    cluster_free(demo.cluster);
    fflush(NULL);
    _exit(verdict == OST_OK ? EXIT_SUCCESS : EXIT_FAILURE);
}
