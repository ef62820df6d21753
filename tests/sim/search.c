#define _GNU_SOURCE /* memfd_create */

#include "tests/sim/search.h"

#include "base/memory.h"
#include "tests/sim/shrink.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUN_SECONDS_MAX    60u  /* of the processor: others may be busy, too */
#define WAIT_SECONDS_MAX   600u /* for one that waits for ever */
#define FAILURES_TOLD_MAX  10u
#define FAILURES_NAMED_MAX 50u
#define WORKERS_MAX        64u
#define ERRORS_BYTES_MAX   4000

/* --- Interruption
 * ------------------------------------------------------------------------------------ */

static int interruption_fd = -1;
static int interruption; /* the signal; 0: none yet */

/* Workers inherit that the signals are blocked: who interrupts a search from the terminal
 * interrupts all of them, and it is the parent that ends its workers. */
static void interruption_await(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    interruption_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (interruption_fd < 0) {
        perror("ostraka-sim: cannot wait for signals");
        exit(EXIT_FAILURE);
    }
}

int search_interruption(void)
{
    struct signalfd_siginfo info;
    if (interruption == 0 && interruption_fd >= 0 &&
        read(interruption_fd, &info, sizeof info) == (ssize_t)sizeof info)
        interruption = (int)info.ssi_signo;
    return interruption;
}

/* --- One run, come what may
 * -------------------------------------------------------------------------- */

/* What a worker and its parent share. */
struct worker {
    struct run_result result;
    uint64_t seed;
    bool is_done; /* result is of this seed */
};

static void *shared_new(size_t bytes_count)
{
    void *memory =
        mmap(NULL, bytes_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("ostraka-sim: cannot share memory");
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* The line that names the cause of death, out of what the process wrote to its standard error. */
static void death_explain(int status, int errors_fd, struct run_result *result)
{
    static char text[ERRORS_BYTES_MAX + 1];
    ssize_t count = pread(errors_fd, text, ERRORS_BYTES_MAX, 0);
    text[count > 0 ? count : 0] = '\0';
    result->is_failed = true;
    snprintf(result->why, sizeof result->why, "%s", text);
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM)) {
        snprintf(result->failure, sizeof result->failure, "hang");
        return;
    }
    static const char *const marks[] = {
        "assertion failed\" at=", "AddressSanitizer: ", "runtime error: ", "LeakSanitizer: "};
    snprintf(result->failure, sizeof result->failure, "died-%d",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    for (size_t index = 0; index < sizeof marks / sizeof marks[0]; index++) {
        const char *found = strstr(text, marks[index]);
        if (!found)
            continue;
        found += index == 0 ? strlen(marks[0]) : 0;
        snprintf(result->failure, sizeof result->failure, "died %.*s",
                 (int)strcspn(found, index == 0 ? " \n" : "\n"), found);
        return;
    }
}

static int errors_open(void)
{
    int fd = memfd_create("errors", 0);
    if (fd < 0) {
        perror("ostraka-sim: cannot make a file in memory");
        exit(EXIT_FAILURE);
    }
    return fd;
}

static void errors_take(int errors_fd)
{
    dup2(errors_fd, STDERR_FILENO);
}

/* SIGPROF or SIGALRM ends the process; 0: no limit any more. */
static void time_limit(unsigned run_seconds, unsigned wait_seconds)
{
    struct itimerval run = {.it_value.tv_sec = run_seconds};
    setitimer(ITIMER_PROF, &run, NULL);
    alarm(wait_seconds);
}

static pid_t child_start(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("ostraka-sim: cannot fork");
        exit(EXIT_FAILURE);
    }
    return pid;
}

void run_apart(const struct plan *plan, struct run_result *out_result)
{
    struct worker *worker = shared_new(sizeof *worker);
    int errors_fd = errors_open();
    pid_t pid = child_start();
    if (pid == 0) {
        errors_take(errors_fd);
        time_limit(RUN_SECONDS_MAX, WAIT_SECONDS_MAX);
        struct run_options options = {0};
        run(plan, &options, &worker->result);
        worker->is_done = true;
        _exit(EXIT_SUCCESS);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (!worker->is_done)
        death_explain(status, errors_fd, &worker->result);
    *out_result = worker->result;
    close(errors_fd);
    munmap(worker, sizeof *worker);
}

/* --- Many
 * -------------------------------------------------------------------------------------------- */

struct message {
    uint64_t seed;
    struct run_result result;
};

struct searching {
    const struct search_options *options;
    _Atomic uint64_t *next_seed; /* shared */
    struct worker *workers;      /* shared */
    pid_t pids[WORKERS_MAX];
    int errors_fds[WORKERS_MAX];
    int pipe_fds[WORKERS_MAX]; /* -1: it is finished */
    uint64_t seeds_count, failed_count;
    struct sim_counts sum;
    struct sites sites;       /* the counts alone */
    struct message *failures; /* the first ones */
    size_t failures_count;
    uint64_t hash; /* of all */
};

static void plan_of_seed(const struct search_options *options, uint64_t seed, struct plan *plan)
{
    plan_draw(plan, seed);
    for (size_t index = 0; index < options->settings_count; index++)
        if (!plan_set(plan, options->settings[index]))
            exit(2); /* main.c has looked at them */
}

static void seed_run(const struct search_options *options, uint64_t seed, struct run_result *result)
{
    struct plan plan;
    struct run_options run_options = {0};
    plan_of_seed(options, seed, &plan);
    run(&plan, &run_options, result);
    if (!options->is_twice || result->is_failed)
        return;
    struct run_result again;
    run(&plan, &run_options, &again);
    if (again.hash == result->hash)
        return;
    result->is_failed = true;
    snprintf(result->failure, sizeof result->failure, "not-deterministic");
    snprintf(result->why, sizeof result->why,
             "the second run has hash %016" PRIx64 ", the first %016" PRIx64, again.hash,
             result->hash);
}

static bool message_write(int fd, const void *data, size_t bytes_count)
{
    const char *next = data;
    while (bytes_count > 0) {
        ssize_t written = write(fd, next, bytes_count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        next += written;
        bytes_count -= (size_t)written;
    }
    return true;
}

static void worker_run(struct searching *searching, unsigned number, int pipe_fd)
{
    const struct search_options *options = searching->options;
    struct worker *worker = &searching->workers[number];
    errors_take(searching->errors_fds[number]);
    for (;;) {
        uint64_t seed = atomic_fetch_add(searching->next_seed, 1);
        if (seed > options->last)
            break;
        worker->seed = seed;
        worker->is_done = false;
        time_limit(RUN_SECONDS_MAX, WAIT_SECONDS_MAX);
        seed_run(options, seed, &worker->result);
        time_limit(0, 0);
        worker->is_done = true;
        struct message message = {.seed = seed, .result = worker->result};
        if (!message_write(pipe_fd, &message, sizeof message))
            _exit(EXIT_FAILURE);
        worker->seed = 0;
    }
    _exit(EXIT_SUCCESS);
}

static void worker_start(struct searching *searching, unsigned number)
{
    int fds[2];
    searching->workers[number] = (struct worker){0};
    searching->errors_fds[number] = errors_open();
    if (pipe(fds) != 0) {
        perror("ostraka-sim: cannot make a pipe");
        exit(EXIT_FAILURE);
    }
    pid_t pid = child_start();
    if (pid == 0) {
        close(fds[0]);
        worker_run(searching, number, fds[1]);
    }
    close(fds[1]);
    searching->pipe_fds[number] = fds[0];
    searching->pids[number] = pid;
}

static void counts_add(struct sim_counts *sum, const struct sim_counts *counts)
{
    uint64_t *to = (uint64_t *)(void *)sum;
    const uint64_t *from = (const uint64_t *)(const void *)counts;
    for (size_t index = 0; index < sizeof *sum / sizeof *to; index++)
        to[index] += from[index];
}

static void result_take(struct searching *searching, const struct message *message)
{
    searching->seeds_count++;
    counts_add(&searching->sum, &message->result.counts);
    for (size_t site = 0; site < SITES_COUNT; site++) {
        searching->sites.states[site].reached_count += message->result.sites[site].reached;
        searching->sites.states[site].fired_count += message->result.sites[site].fired;
    }
    searching->hash ^= message->result.hash;
    if (searching->options->is_verbose)
        printf("seed %" PRIu64 " hash %016" PRIx64 "%s%s\n", message->seed, message->result.hash,
               message->result.is_failed ? " FAILED " : "", message->result.failure);
    if (!message->result.is_failed)
        return;
    searching->failed_count++;
    searching->failures = memory_realloc(searching->failures, (searching->failures_count + 1) *
                                                                  sizeof searching->failures[0]);
    searching->failures[searching->failures_count++] = *message;
}

static bool message_read(int fd, struct message *out_message)
{
    char *next = (char *)out_message;
    size_t left = sizeof *out_message;
    while (left > 0) {
        ssize_t count = read(fd, next, left);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        next += count;
        left -= (size_t)count;
    }
    return true;
}

/* It is through with all seeds, or died of the one that it had begun. True: it was begun anew. */
static bool worker_ended(struct searching *searching, unsigned number)
{
    int status = 0;
    waitpid(searching->pids[number], &status, 0);
    struct worker *worker = &searching->workers[number];
    bool is_death = worker->seed != 0;
    if (is_death) {
        struct message message = {.seed = worker->seed};
        death_explain(status, searching->errors_fds[number], &message.result);
        result_take(searching, &message);
    }
    close(searching->errors_fds[number]);
    close(searching->pipe_fds[number]);
    searching->pipe_fds[number] = -1;
    if (is_death)
        worker_start(searching, number);
    return is_death;
}

/* Whatever it is at; what it has said already counts. */
static void worker_stop(struct searching *searching, unsigned number)
{
    static struct message message;
    kill(searching->pids[number], SIGKILL);
    while (message_read(searching->pipe_fds[number], &message))
        result_take(searching, &message);
    waitpid(searching->pids[number], NULL, 0);
    close(searching->errors_fds[number]);
    close(searching->pipe_fds[number]);
    searching->pipe_fds[number] = -1;
}

static void workers_serve(struct searching *searching)
{
    unsigned count = searching->options->jobs_count, living = count;
    struct pollfd polls[WORKERS_MAX + 1];
    static struct message message;
    while (living > 0 && search_interruption() == 0) {
        for (unsigned number = 0; number < count; number++)
            polls[number] = (struct pollfd){.fd = searching->pipe_fds[number], .events = POLLIN};
        polls[count] = (struct pollfd){.fd = interruption_fd, .events = POLLIN};
        if (poll(polls, count + 1, -1) < 0)
            continue;
        for (unsigned number = 0; number < count; number++) {
            if (polls[number].fd < 0 || polls[number].revents == 0)
                continue;
            if (message_read(polls[number].fd, &message))
                result_take(searching, &message);
            else if (!worker_ended(searching, number))
                living--;
        }
    }
    for (unsigned number = 0; number < count; number++)
        if (searching->pipe_fds[number] >= 0)
            worker_stop(searching, number);
}

/* --- What is told
 * ------------------------------------------------------------------------------------ */

static void command_print(const struct plan *plan)
{
    struct plan drawn, smaller = *plan;
    plan_draw(&drawn, plan->seed);
    printf("  repeat: ./dev sim --seed %" PRIu64, plan->seed);
    for (size_t index = 0; index < plan_fields_count; index++) {
        const struct plan_field *field = &plan_fields[index];
        if (*plan_field_value(&drawn, field) != *plan_field_value(&smaller, field))
            printf(" --set %s=%" PRIu64, field->name, *plan_field_value(&smaller, field));
    }
    printf(" --trace\n");
}

static void failure_tell(const struct searching *searching, const struct message *failure)
{
    struct plan plan;
    plan_of_seed(searching->options, failure->seed, &plan);
    printf("\nFAILED seed %" PRIu64 ": %s\n  %s\n", failure->seed, failure->result.failure,
           failure->result.why);
    if (searching->options->is_shrinking) {
        unsigned tries_count = shrink(&plan, &failure->result);
        printf("  made smaller in %u runs\n", tries_count);
    }
    command_print(&plan);
    fflush(stdout);
}

static void summary_print(const struct searching *searching, double seconds)
{
    const struct sim_counts *sum = &searching->sum;
    double seeds = searching->seeds_count ? (double)searching->seeds_count : 1;
    printf("%sseeds %" PRIu64 " failed %" PRIu64 " seeds/min %.0f hash %016" PRIx64
           "; a seed: operations %.0f commits %.0f over-groups %.0f faults %.1f elections %.1f "
           "crashes %.1f snapshots %.1f moves %.1f cancelled %.1f splits %.1f merges %.1f "
           "joins %.2f drains %.2f removals %.2f deaths %.2f turns %.0f\n",
           search_interruption() ? "interrupted: " : "", searching->seeds_count,
           searching->failed_count, (double)searching->seeds_count * 60 / seconds, searching->hash,
           (double)sum->operations / seeds, (double)sum->commits / seeds,
           (double)sum->commits_over_groups / seeds, (double)sum->faults / seeds,
           (double)sum->elections / seeds, (double)sum->crashes / seeds,
           (double)sum->snapshots_installed / seeds, (double)sum->moves / seeds,
           (double)sum->cancels / seeds, (double)sum->splits / seeds, (double)sum->merges / seeds,
           (double)sum->joins / seeds, (double)sum->drains / seeds, (double)sum->removals / seeds,
           (double)sum->deaths / seeds, (double)sum->turns / seeds);
}

/* Each site, those that never fired last. */
static void sites_tell(const struct searching *searching)
{
    struct buffer text;
    buffer_init(&text);
    size_t silent_count = sites_report(&searching->sites, &text);
    printf("%.*s%zu sites never fired\n", (int)text.bytes_count, (const char *)text.data,
           silent_count);
    buffer_fini(&text);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int failures_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct message *)a)->seed, y = ((const struct message *)b)->seed;
    return x < y ? -1 : x > y;
}

uint64_t search(const struct search_options *options)
{
    static struct searching searching; /* large */
    searching = (struct searching){.options = options};
    ASSERT(options->jobs_count > 0 && options->jobs_count <= WORKERS_MAX);
    searching.next_seed = shared_new(sizeof *searching.next_seed);
    atomic_store(searching.next_seed, options->first);
    searching.workers = shared_new(options->jobs_count * sizeof searching.workers[0]);
    double begun = seconds_now();
    interruption_await();
    for (unsigned number = 0; number < options->jobs_count; number++)
        worker_start(&searching, number);
    workers_serve(&searching);
    double seconds = seconds_now() - begun;
    if (searching.failures_count > 0)
        qsort(searching.failures, searching.failures_count, sizeof searching.failures[0],
              failures_compare);
    for (size_t index = 0; index < searching.failures_count && index < FAILURES_TOLD_MAX; index++)
        failure_tell(&searching, &searching.failures[index]);
    for (size_t index = FAILURES_TOLD_MAX;
         index < searching.failures_count && index < FAILURES_NAMED_MAX; index++)
        printf("FAILED seed %" PRIu64 ": %s\n", searching.failures[index].seed,
               searching.failures[index].result.failure);
    if (options->is_telling_sites)
        sites_tell(&searching);
    summary_print(&searching, seconds);
    free(searching.failures);
    return searching.failed_count;
}
