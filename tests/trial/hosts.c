#define _GNU_SOURCE /* unshare, setns */
#include "tests/trial/hosts.h"

#include "base/assert.h"
#include "base/memory.h"
#include "client/ostraka_status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOSTS_COUNT_MAX (CLUSTER_STORES_COUNT_MAX + 1)
#define SCRIPT_BYTES    2048
#define ADDRESS_BYTES   16
#define CLIENTS_ADDRESS "10.77.0.254"

struct hosts {
    uint32_t stores_count;
    int network_fds[HOSTS_COUNT_MAX]; /* by number; -1: not made */
    char addresses[HOSTS_COUNT_MAX][ADDRESS_BYTES];
    struct cluster_host list[CLUSTER_STORES_COUNT_MAX];
    bool cut[HOSTS_COUNT_MAX][HOSTS_COUNT_MAX]; /* from, to */
};

static int fail(char *out_why, const char *what)
{
    snprintf(out_why, CLUSTER_WHY_BYTES, "%s: %s", what, strerror(errno));
    return OST_IO;
}

/* Runs `program -` with the script as its input, in the network namespace. */
static int script_run(int network_fd, const char *const *arguments, const char *script,
                      char *out_why)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(out_why, "cannot make a pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[0], STDIN_FILENO);
        if (setns(network_fd, CLONE_NEWNET) == 0)
            execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(ends[0]);
    size_t script_bytes = strlen(script);
    ASSERT(script_bytes <= SCRIPT_BYTES); /* fits into the pipe */
    bool is_written = pid > 0 && write(ends[1], script, script_bytes) == (ssize_t)script_bytes;
    close(ends[1]);
    int wait_status = 0;
    if (pid < 0 || waitpid(pid, &wait_status, 0) != pid || !is_written)
        return fail(out_why, arguments[0]);
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
        return OST_OK;
    snprintf(out_why, CLUSTER_WHY_BYTES, "%s could not set up the network: is it installed?",
             arguments[0]);
    return OST_IO;
}

static int ip_run(int network_fd, const char *script, char *out_why)
{
    static const char *const arguments[] = {"ip", "-batch", "-", NULL};
    return script_run(network_fd, arguments, script, out_why);
}

/* A namespace for users needs their numbers to be mapped; root has no need of one. */
static int user_namespace_enter(char *out_why)
{
    uid_t user = getuid();
    gid_t group = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return fail(out_why, "cannot make a network namespace (root can)");
    char map[64];
    const struct {
        const char *path;
        unsigned number;
    } files[] = {
        {"/proc/self/setgroups", 0}, {"/proc/self/uid_map", user}, {"/proc/self/gid_map", group}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int bytes = i == 0 ? snprintf(map, sizeof map, "deny")
                           : snprintf(map, sizeof map, "0 %u 1", files[i].number);
        int fd = open(files[i].path, O_WRONLY | O_CLOEXEC);
        bool is_written = fd >= 0 && write(fd, map, (size_t)bytes) == bytes;
        if (fd >= 0)
            close(fd);
        if (!is_written)
            return fail(out_why, files[i].path);
    }
    return OST_OK;
}

static int network_open(int *out_fd, char *out_why)
{
    *out_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return *out_fd >= 0 ? OST_OK : fail(out_why, "/proc/self/ns/net");
}

static int clients_host_make(struct hosts *hosts, char *out_why)
{
    int status = OST_OK;
    if (unshare(CLONE_NEWNET) != 0)
        status = user_namespace_enter(out_why);
    if (status == OST_OK)
        status = network_open(&hosts->network_fds[HOSTS_CLIENTS], out_why);
    if (status != OST_OK)
        return status;
    return ip_run(hosts->network_fds[HOSTS_CLIENTS],
                  "link set lo up\n"
                  "link add bridge0 type bridge\n"
                  "address add " CLIENTS_ADDRESS "/24 dev bridge0\n"
                  "link set bridge0 up\n",
                  out_why);
}

/* A namespace with one link, whose other end is a port of the bridge. */
static int store_host_make(struct hosts *hosts, uint32_t store, char *out_why)
{
    int clients_fd = hosts->network_fds[HOSTS_CLIENTS];
    if (unshare(CLONE_NEWNET) != 0)
        return fail(out_why, "cannot make a network namespace");
    int status = network_open(&hosts->network_fds[store], out_why);
    if (setns(clients_fd, CLONE_NEWNET) != 0)
        return fail(out_why, "cannot come back to the first network namespace");
    if (status != OST_OK)
        return status;
    char script[SCRIPT_BYTES];
    snprintf(script, sizeof script,
             "link add port%" PRIu32 " type veth peer name link0 netns /proc/%d/fd/%d\n"
             "link set port%" PRIu32 " master bridge0 up\n",
             store, (int)getpid(), hosts->network_fds[store], store);
    status = ip_run(clients_fd, script, out_why);
    if (status != OST_OK)
        return status;
    snprintf(script, sizeof script,
             "link set lo up\n"
             "address add %s/24 dev link0\n"
             "link set link0 up\n",
             hosts->addresses[store]);
    return ip_run(hosts->network_fds[store], script, out_why);
}

int hosts_new(uint32_t stores_count, struct hosts **out_hosts, char *out_why)
{
    ASSERT(stores_count >= 1 && stores_count <= CLUSTER_STORES_COUNT_MAX);
    struct hosts *hosts = memory_alloc_zeroed(1, sizeof *hosts);
    hosts->stores_count = stores_count;
    for (uint32_t host = 0; host <= stores_count; host++) {
        hosts->network_fds[host] = -1;
        snprintf(hosts->addresses[host], ADDRESS_BYTES, "10.77.0.%" PRIu32, host);
    }
    snprintf(hosts->addresses[HOSTS_CLIENTS], ADDRESS_BYTES, CLIENTS_ADDRESS);
    int status = clients_host_make(hosts, out_why);
    for (uint32_t store = 1; status == OST_OK && store <= stores_count; store++)
        status = store_host_make(hosts, store, out_why);
    for (uint32_t store = 1; store <= stores_count; store++)
        hosts->list[store - 1] = (struct cluster_host){.address = hosts->addresses[store],
                                                       .network_fd = hosts->network_fds[store]};
    if (status != OST_OK) {
        hosts_free(hosts);
        return status;
    }
    *out_hosts = hosts;
    return OST_OK;
}

void hosts_free(struct hosts *hosts)
{
    if (!hosts)
        return;
    for (uint32_t host = 0; host <= hosts->stores_count; host++)
        if (hosts->network_fds[host] >= 0)
            close(hosts->network_fds[host]);
    free(hosts);
}

const struct cluster_host *hosts_of_cluster(const struct hosts *hosts)
{
    return hosts->list;
}

void hosts_cut(struct hosts *hosts, uint32_t from, uint32_t to, bool is_cut)
{
    ASSERT(from <= hosts->stores_count && to <= hosts->stores_count && from != to);
    hosts->cut[from][to] = is_cut;
}

void hosts_cut_none(struct hosts *hosts)
{
    memset(hosts->cut, 0, sizeof hosts->cut);
}

/* What gets lost is dropped where it arrives: the sender notices nothing. */
int hosts_apply(struct hosts *hosts, char *out_why)
{
    static const char *const arguments[] = {"nft", "-f", "-", NULL};
    for (uint32_t to = 0; to <= hosts->stores_count; to++) {
        char script[SCRIPT_BYTES];
        int used = snprintf(script, sizeof script,
                            "table ip trial\n"
                            "delete table ip trial\n"
                            "table ip trial {\nchain arriving {\n"
                            "type filter hook input priority 0;\n");
        for (uint32_t from = 0; from <= hosts->stores_count; from++)
            if (hosts->cut[from][to])
                used += snprintf(script + used, sizeof script - (size_t)used, "ip saddr %s drop\n",
                                 hosts->addresses[from]);
        snprintf(script + used, sizeof script - (size_t)used, "}\n}\n");
        int status = script_run(hosts->network_fds[to], arguments, script, out_why);
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}
