/* cluster.c: see cluster.h. Between fork and exec only async-signal-safe calls are made, because
 * the library's thread may hold any lock of libc at that moment. */
#define _GNU_SOURCE /* close_range, nftw, setns, wait4, vasprintf */
#include "cmd/cluster.h"

#include "base/assert.h"
#include "base/memory.h"
#include "client/ostraka.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Below the range from which the kernel takes ports for outgoing connections (32768 on): else one
 * of those could sit on a store's port while the store is down. */
#define PORT_MIN         18000
#define PORT_MAX         32000
#define PORT_TRIES_COUNT 1000
#define ARGUMENTS_COUNT  48
#define POLL_MS          5u
#define EXIT_EXEC_FAILED 127
#define ADDRESSES_BYTES  (CLUSTER_STORES_COUNT_MAX * 32)

struct cluster_store {
    pid_t pid; /* 0: does not run */
    uint16_t port;
    const char *host; /* the address without the port */
    int network_fd;   /* -1: the one of this process */
    bool joins;       /* it is none of the initial stores */
    bool may_end;     /* by itself */
    char *data_path;
    char *log_path;
    uint64_t cpu_ns_ended; /* of its processes that have ended */
};

struct cluster {
    char *program;
    char *directory;
    char *parent_directory;
    char *splits;
    const char *const *flags;
    uint32_t groups_count;
    bool keep;
    const volatile sig_atomic_t *interrupted;
    uint32_t stores_count;
    struct cluster_store stores[CLUSTER_STORES_COUNT_MAX + 1]; /* from 1 */
    char endpoints[ADDRESSES_BYTES];
    char initial_stores[ADDRESSES_BYTES];
};

static void sleep_ms(uint32_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static char *print_new(const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int bytes_count = vasprintf(&text, format, arguments);
    va_end(arguments);
    ASSERT(bytes_count >= 0);
    return text;
}

static struct cluster_store *store_of(struct cluster *cluster, uint32_t store)
{
    ASSERT(store >= 1 && store <= cluster->stores_count);
    return &cluster->stores[store];
}

static const struct cluster_store *store_of_const(const struct cluster *cluster, uint32_t store)
{
    ASSERT(store >= 1 && store <= cluster->stores_count);
    return &cluster->stores[store];
}

void cluster_options_default(struct cluster_options *out_options)
{
    *out_options = (struct cluster_options){.stores_count = 3, .groups_count = 2};
}

/* --- Ports and directories
 * ------------------------------------------------------------------------- */

static bool port_is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool is_free = bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0;
    close(fd);
    return is_free;
}

/* Starts at a place of its own, so that clusters that start together do not try the same ports. */
static int choose_ports(struct cluster *cluster, char *out_why)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint32_t place = (uint32_t)getpid() * 101u + (uint32_t)now.tv_nsec / 1000u;
    uint32_t chosen_count = 0;
    for (uint32_t i = 0; i < PORT_TRIES_COUNT && chosen_count < cluster->stores_count; i++) {
        uint16_t port = (uint16_t)(PORT_MIN + (place + i) % (PORT_MAX - PORT_MIN));
        if (port_is_free(port))
            cluster->stores[++chosen_count] =
                (struct cluster_store){.port = port, .host = "127.0.0.1", .network_fd = -1};
    }
    if (chosen_count == cluster->stores_count)
        return OST_OK;
    snprintf(out_why, CLUSTER_WHY_BYTES, "no free ports from %d to %d on 127.0.0.1", PORT_MIN,
             PORT_MAX);
    return OST_ADDRESS_IN_USE;
}

static void take_hosts(struct cluster *cluster, const struct cluster_host *hosts)
{
    for (uint32_t i = 1; i <= cluster->stores_count; i++) {
        cluster->stores[i].host = hosts[i - 1].address;
        cluster->stores[i].network_fd = hosts[i - 1].network_fd;
        cluster->stores[i].port = CLUSTER_HOST_PORT;
    }
}

static int make_directories(struct cluster *cluster, const char *parent, char *out_why)
{
    if (mkdir(parent, 0755) != 0 && errno != EEXIST) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "cannot make directory %s: %s", parent,
                 strerror(errno));
        return OST_IO;
    }
    cluster->parent_directory = memory_copy_string(parent);
    char *pattern = print_new("%s/run-XXXXXX", parent);
    if (!mkdtemp(pattern)) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "cannot make a directory in %s: %s", parent,
                 strerror(errno));
        free(pattern);
        return OST_IO;
    }
    cluster->directory = pattern;
    for (uint32_t i = 1; i <= cluster->stores_count; i++) {
        cluster->stores[i].data_path = print_new("%s/store-%" PRIu32, cluster->directory, i);
        cluster->stores[i].log_path = print_new("%s/store-%" PRIu32 ".log", cluster->directory, i);
    }
    return OST_OK;
}

static void print_addresses(struct cluster *cluster)
{
    size_t endpoints_used = 0, stores_used = 0;
    for (uint32_t i = 1; i <= cluster->stores_count; i++) {
        const char *comma = i > 1 ? "," : "";
        const char *host = cluster->stores[i].host;
        unsigned port = cluster->stores[i].port;
        endpoints_used +=
            (size_t)snprintf(cluster->endpoints + endpoints_used, ADDRESSES_BYTES - endpoints_used,
                             "%s%s:%u", comma, host, port);
        stores_used +=
            (size_t)snprintf(cluster->initial_stores + stores_used, ADDRESSES_BYTES - stores_used,
                             "%s%" PRIu32 "=%s:%u", comma, i, host, port);
    }
}

int cluster_new(const struct cluster_options *options, struct cluster **out_cluster, char *out_why)
{
    ASSERT(options->stores_count >= 1 && options->stores_count <= CLUSTER_STORES_COUNT_MAX);
    struct cluster *cluster = memory_alloc_zeroed(1, sizeof *cluster);
    cluster->stores_count = options->stores_count;
    cluster->groups_count = options->groups_count;
    cluster->keep = options->keep;
    cluster->interrupted = options->interrupted;
    cluster->flags = options->flags;
    cluster->program = memory_copy_string(options->program);
    cluster->splits = options->splits ? memory_copy_string(options->splits) : NULL;
    int status = OST_OK;
    if (access(options->program, X_OK) != 0) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "cannot run %s: %s: build it first", options->program,
                 strerror(errno));
        status = OST_IO;
    }
    if (status == OST_OK && options->hosts)
        take_hosts(cluster, options->hosts);
    else if (status == OST_OK)
        status = choose_ports(cluster, out_why);
    if (status == OST_OK)
        status = make_directories(cluster, options->directory, out_why);
    if (status == OST_OK)
        print_addresses(cluster);
    for (uint32_t i = 1; status == OST_OK && i <= cluster->stores_count; i++)
        status = cluster_start(cluster, i, out_why);
    if (status != OST_OK) {
        cluster_free(cluster);
        return status;
    }
    *out_cluster = cluster;
    return OST_OK;
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

void cluster_free(struct cluster *cluster)
{
    if (!cluster)
        return;
    for (uint32_t i = 1; i <= cluster->stores_count; i++)
        cluster_kill(cluster, i);
    if (cluster->directory && !cluster->keep) {
        nftw(cluster->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        rmdir(cluster->parent_directory); /* fails when others use it, and that is right */
    }
    for (uint32_t i = 1; i <= cluster->stores_count; i++) {
        free(cluster->stores[i].data_path);
        free(cluster->stores[i].log_path);
    }
    free(cluster->splits);
    free(cluster->parent_directory);
    free(cluster->directory);
    free(cluster->program);
    free(cluster);
}

void cluster_keep(struct cluster *cluster)
{
    cluster->keep = true;
}

const char *cluster_endpoints(const struct cluster *cluster)
{
    return cluster->endpoints;
}

const char *cluster_directory(const struct cluster *cluster)
{
    return cluster->directory;
}

uint32_t cluster_stores_count(const struct cluster *cluster)
{
    return cluster->stores_count;
}

uint16_t cluster_port(const struct cluster *cluster, uint32_t store)
{
    return store_of_const(cluster, store)->port;
}

const char *cluster_log_path(const struct cluster *cluster, uint32_t store)
{
    return store_of_const(cluster, store)->log_path;
}

const char *cluster_data_path(const struct cluster *cluster, uint32_t store)
{
    return store_of_const(cluster, store)->data_path;
}

/* --- Processes
 * --------------------------------------------------------------------------------------- */

/* In the child. A session of its own keeps the terminal's Ctrl-C away from the stores: whoever
 * started them decides what it means. */
__attribute__((noreturn)) static void store_exec(const char *program, char *const *arguments,
                                                 int network_fd, int log_fd, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_EXEC_FAILED); /* the parent died before the line above */
    if (network_fd >= 0 && setns(network_fd, CLONE_NEWNET) != 0)
        _exit(EXIT_EXEC_FAILED);
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null_fd = open("/dev/null", O_RDWR);
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    close_range(STDERR_FILENO + 1, ~0u, 0);
    execv(program, arguments);
    _exit(EXIT_EXEC_FAILED);
}

int cluster_start(struct cluster *cluster, uint32_t store, char *out_why)
{
    struct cluster_store *each = store_of(cluster, store);
    ASSERT(each->pid == 0);
    char store_text[16], address[64], groups[16];
    snprintf(store_text, sizeof store_text, "%" PRIu32, store);
    snprintf(address, sizeof address, "%s:%u", each->host, each->port);
    snprintf(groups, sizeof groups, "%" PRIu32, cluster->groups_count);
    /* A name of its own: a store of another cluster on this machine is refused, not joined. */
    const char *arguments[ARGUMENTS_COUNT] = {
        cluster->program, "--store",     store_text, "--data",    each->data_path,   "--listen",
        address,          "--advertise", address,    "--cluster", cluster->directory};
    size_t arguments_count = 11;
    if (each->joins) {
        arguments[arguments_count++] = "--join";
        arguments[arguments_count++] = cluster->endpoints;
    } else {
        arguments[arguments_count++] = "--initial-stores";
        arguments[arguments_count++] = cluster->initial_stores;
        arguments[arguments_count++] = "--initial-groups";
        arguments[arguments_count++] = groups;
    }
    if (cluster->splits && !each->joins) {
        arguments[arguments_count++] = "--initial-splits";
        arguments[arguments_count++] = cluster->splits;
    }
    for (size_t i = 0; cluster->flags && cluster->flags[i]; i++) {
        ASSERT(arguments_count + 1 < ARGUMENTS_COUNT);
        arguments[arguments_count++] = cluster->flags[i];
    }
    int log_fd = open(each->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "cannot write %s: %s", each->log_path,
                 strerror(errno));
        return OST_IO;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        store_exec(cluster->program, (char *const *)(uintptr_t)arguments, each->network_fd, log_fd,
                   parent);
    close(log_fd);
    if (pid < 0) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "cannot start a process: %s", strerror(errno));
        return OST_NO_MEMORY;
    }
    each->pid = pid;
    return OST_OK;
}

int cluster_join(struct cluster *cluster, uint32_t *out_store, char *out_why)
{
    ASSERT(cluster->stores_count < CLUSTER_STORES_COUNT_MAX);
    uint32_t store = cluster->stores_count + 1;
    uint16_t port = cluster->stores[cluster->stores_count].port;
    do
        port = port == PORT_MAX ? PORT_MIN : (uint16_t)(port + 1);
    while (!port_is_free(port));
    cluster->stores_count = store;
    cluster->stores[store] = (struct cluster_store){
        .port = port,
        .host = "127.0.0.1",
        .network_fd = -1,
        .joins = true,
        .data_path = print_new("%s/store-%" PRIu32, cluster->directory, store),
        .log_path = print_new("%s/store-%" PRIu32 ".log", cluster->directory, store)};
    *out_store = store;
    return cluster_start(cluster, store, out_why);
}

static uint64_t rusage_cpu_ns(const struct rusage *usage)
{
    return ((uint64_t)usage->ru_utime.tv_sec + (uint64_t)usage->ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)usage->ru_utime.tv_usec + (uint64_t)usage->ru_stime.tv_usec) * 1000u;
}

/* True when the process has ended; what it used is kept. */
static bool store_reap(struct cluster_store *each, int flags, int *out_wait_status)
{
    struct rusage usage;
    pid_t pid;
    do {
        pid = wait4(each->pid, out_wait_status, flags, &usage);
    } while (pid < 0 && errno == EINTR);
    if (pid != each->pid)
        return false;
    each->cpu_ns_ended += rusage_cpu_ns(&usage);
    each->pid = 0;
    return true;
}

void cluster_kill(struct cluster *cluster, uint32_t store)
{
    struct cluster_store *each = store_of(cluster, store);
    int wait_status;
    if (each->pid == 0)
        return;
    kill(each->pid, SIGKILL);
    store_reap(each, 0, &wait_status);
    each->pid = 0;
}

void cluster_wipe(struct cluster *cluster, uint32_t store)
{
    const struct cluster_store *each = store_of(cluster, store);
    ASSERT(each->pid == 0);
    nftw(each->data_path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void cluster_let_end(struct cluster *cluster, uint32_t store)
{
    store_of(cluster, store)->may_end = true;
}

bool cluster_has_ended(struct cluster *cluster, uint32_t store, int *out_wait_status)
{
    struct cluster_store *each = store_of(cluster, store);
    return each->pid != 0 && store_reap(each, WNOHANG, out_wait_status);
}

void cluster_signal(struct cluster *cluster, uint32_t store, int signal_number)
{
    const struct cluster_store *each = store_of(cluster, store);
    if (each->pid != 0)
        kill(each->pid, signal_number);
}

int cluster_terminate(struct cluster *cluster, uint32_t store, uint32_t timeout_ms,
                      int *out_wait_status)
{
    struct cluster_store *each = store_of(cluster, store);
    ASSERT(each->pid != 0);
    uint64_t deadline_ms = now_ms() + timeout_ms;
    kill(each->pid, SIGTERM);
    while (!store_reap(each, WNOHANG, out_wait_status)) {
        if (now_ms() >= deadline_ms)
            return OST_DEADLINE_EXCEEDED;
        sleep_ms(POLL_MS);
    }
    return OST_OK;
}

bool cluster_runs(const struct cluster *cluster, uint32_t store)
{
    return store_of_const(cluster, store)->pid != 0;
}

pid_t cluster_pid(const struct cluster *cluster, uint32_t store)
{
    return store_of_const(cluster, store)->pid;
}

int cluster_check(struct cluster *cluster, char *out_why)
{
    if (cluster->interrupted && *cluster->interrupted) {
        snprintf(out_why, CLUSTER_WHY_BYTES, "interrupted");
        return OST_CANCELED;
    }
    for (uint32_t i = 1; i <= cluster->stores_count; i++) {
        struct cluster_store *each = &cluster->stores[i];
        int wait_status;
        if (each->pid == 0 || each->may_end || !store_reap(each, WNOHANG, &wait_status))
            continue;
        char line[256];
        cluster_last_line(cluster, i, line, sizeof line);
        bool by_signal = WIFSIGNALED(wait_status);
        snprintf(out_why, CLUSTER_WHY_BYTES, "store %" PRIu32 " ended by itself (%s %d): %s", i,
                 by_signal ? "signal" : "exit status",
                 by_signal ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status),
                 line[0] ? line : "it said nothing");
        return OST_DISCONNECTED;
    }
    return OST_OK;
}

/* --- Asking the cluster
 * ------------------------------------------------------------------------------ */

int cluster_open_client(struct cluster *cluster, uint32_t timeout_ms,
                        struct ost_client **out_client, char *out_why)
{
    uint64_t deadline_ms = now_ms() + timeout_ms;
    struct ost_options options;
    ost_options_default(&options);
    options.endpoints = cluster->endpoints;
    for (;;) {
        int status = cluster_check(cluster, out_why);
        if (status != OST_OK)
            return status;
        char why[256] = "";
        status = ost_open(&options, out_client, why);
        if (status == OST_OK)
            return OST_OK;
        if (now_ms() >= deadline_ms) {
            snprintf(out_why, CLUSTER_WHY_BYTES, "no store answers at %s: %s", cluster->endpoints,
                     why[0] ? why : ost_status_text(status));
            return status;
        }
        sleep_ms(POLL_MS);
    }
}

void cluster_leaders(struct cluster *cluster, struct ost_client *client, uint32_t *out_leaders,
                     uint32_t groups_count)
{
    uint64_t terms[CLUSTER_GROUPS_COUNT_MAX] = {0};
    ASSERT(groups_count <= CLUSTER_GROUPS_COUNT_MAX);
    memset(out_leaders, 0, groups_count * sizeof *out_leaders);
    for (uint32_t i = 1; i <= cluster->stores_count; i++) {
        struct ost_store_status status;
        if (cluster->stores[i].pid == 0 || ost_store_status(client, i, &status) != OST_OK)
            continue;
        for (size_t g = 0; g < status.groups_count; g++) {
            const struct ost_group_status *each = &status.groups[g];
            if (each->group < groups_count && each->ready && strcmp(each->role, "leader") == 0 &&
                each->term > terms[each->group]) {
                out_leaders[each->group] = i;
                terms[each->group] = each->term;
            }
        }
        ost_store_status_free(&status);
    }
}

int cluster_wait_ready(struct cluster *cluster, struct ost_client *client, uint32_t timeout_ms,
                       char *out_why)
{
    uint64_t deadline_ms = now_ms() + timeout_ms;
    for (;;) {
        int status = cluster_check(cluster, out_why);
        if (status != OST_OK)
            return status;
        uint32_t leaders[CLUSTER_GROUPS_COUNT_MAX];
        uint32_t groups_count = cluster->groups_count + 1; /* the data groups are numbered from 1 */
        cluster_leaders(cluster, client, leaders, groups_count);
        uint32_t group = 0;
        while (group < groups_count && leaders[group] != 0)
            group++;
        if (group == groups_count)
            return OST_OK;
        if (now_ms() >= deadline_ms) {
            snprintf(out_why, CLUSTER_WHY_BYTES,
                     "group %" PRIu32 " has no leader after %" PRIu32 " ms", group, timeout_ms);
            return OST_DEADLINE_EXCEEDED;
        }
        sleep_ms(POLL_MS);
    }
}

bool cluster_metric_sum(struct cluster *cluster, struct ost_client *client, const char *name,
                        uint64_t *out_sum)
{
    *out_sum = 0;
    for (uint32_t i = 1; i <= cluster->stores_count; i++) {
        struct ost_store_status status;
        if (cluster->stores[i].pid == 0)
            continue;
        if (ost_store_status(client, i, &status) != OST_OK)
            return false;
        for (size_t m = 0; m < status.metrics_count; m++)
            if (strcmp(status.metrics[m].name, name) == 0)
                *out_sum += status.metrics[m].value;
        ost_store_status_free(&status);
    }
    return true;
}

/* --- What the kernel knows
 * ----------------------------------------------------------------------------- */

static FILE *process_file_open(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return fopen(path, "re");
}

/* Fields 14 and 15 of /proc/PID/stat, counted after the name, which may hold anything but ends in
 * the last parenthesis. */
static uint64_t process_cpu_ns(pid_t pid)
{
    FILE *file = process_file_open(pid, "stat");
    if (!file)
        return 0;
    char text[1024];
    size_t bytes_count = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[bytes_count] = '\0';
    const char *fields = strrchr(text, ')');
    unsigned long user_ticks = 0, system_ticks = 0;
    if (!fields || sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                          &user_ticks, &system_ticks) != 2)
        return 0;
    return (user_ticks + system_ticks) * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t cluster_store_cpu_ns(const struct cluster *cluster, uint32_t store)
{
    const struct cluster_store *each = store_of_const(cluster, store);
    return each->cpu_ns_ended + (each->pid != 0 ? process_cpu_ns(each->pid) : 0);
}

uint64_t cluster_cpu_ns(const struct cluster *cluster)
{
    uint64_t sum_ns = 0;
    for (uint32_t store = 1; store <= cluster->stores_count; store++)
        sum_ns += cluster_store_cpu_ns(cluster, store);
    return sum_ns;
}

uint64_t cluster_resident_bytes(const struct cluster *cluster, uint32_t store)
{
    const struct cluster_store *each = store_of_const(cluster, store);
    FILE *file = each->pid != 0 ? process_file_open(each->pid, "status") : NULL;
    if (!file)
        return 0;
    char line[256];
    uint64_t kib = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %" SCNu64, &kib) == 1)
            break;
    fclose(file);
    return kib * 1024;
}

uint32_t cluster_open_files_count(const struct cluster *cluster, uint32_t store)
{
    const struct cluster_store *each = store_of_const(cluster, store);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)each->pid);
    DIR *directory = each->pid != 0 ? opendir(path) : NULL;
    if (!directory)
        return 0;
    uint32_t count = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

void cluster_last_line(const struct cluster *cluster, uint32_t store, char *line,
                       size_t line_bytes_max)
{
    ASSERT(line_bytes_max > 0);
    line[0] = '\0';
    FILE *file = fopen(store_of_const(cluster, store)->log_path, "re");
    if (!file)
        return;
    char *each = NULL;
    size_t each_bytes = 0;
    ssize_t read_bytes;
    while ((read_bytes = getline(&each, &each_bytes, file)) > 0) {
        if (each[read_bytes - 1] == '\n')
            each[read_bytes - 1] = '\0';
        if (each[0])
            snprintf(line, line_bytes_max, "%s", each);
    }
    free(each);
    fclose(file);
}
