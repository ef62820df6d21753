#define _GNU_SOURCE /* close_range, nftw */
/* What a store that cannot start says: one line that names the thing, and an exit status that is
 * not 0. */
#include "cmd/bank.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_NS     (30 * UINT64_C(1000000000))
#define OUTPUT_BYTES   16384
#define FILE_BYTES_MAX (1u << 20) /* far below a segment of the log */

static char directory[] = "start-test-XXXXXX";
static char data_path[64];
static char stores_flag[64]; /* --initial-stores with the one store of these tests */
static char address[32];
static char other_address[32];

static uint16_t free_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t any_bytes = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&any, any_bytes), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&any, &any_bytes), 0);
    close(fd);
    return ntohs(any.sin_port);
}

static void init(void)
{
    cr_assert(mkdtemp(directory));
    snprintf(data_path, sizeof data_path, "%s/data", directory);
    snprintf(address, sizeof address, "127.0.0.1:%u", free_port());
    snprintf(other_address, sizeof other_address, "127.0.0.1:%u", free_port());
    snprintf(stores_flag, sizeof stores_flag, "1=%s", address);
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void fini(void)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(start_cluster, .init = init, .fini = fini, .timeout = 90);

struct server {
    pid_t pid;
    int output_fd; /* its standard error */
    char output[OUTPUT_BYTES];
    size_t output_bytes;
};

struct server_flags {
    const char *cluster;
    const char *data;
    const char *extra; /* one more flag, or NULL */
    bool small_files;  /* as on a disk that is full: no file may grow */
    const char *joins; /* a store's number: it asks the one of these tests to join; or NULL */
};

static void server_start(struct server *server, const struct server_flags *flags)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    server->output_bytes = 0;
    server->output[0] = '\0';
    server->pid = fork();
    cr_assert_geq(server->pid, 0);
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDERR_FILENO);
        close_range(STDERR_FILENO + 1, ~0u, 0);
        struct rlimit limit = {FILE_BYTES_MAX, FILE_BYTES_MAX};
        if (flags->small_files)
            setrlimit(RLIMIT_FSIZE, &limit);
        if (flags->joins)
            execl(OSTRAKAD_PATH, OSTRAKAD_PATH, "--store", flags->joins, "--data", flags->data,
                  "--listen", "127.0.0.1:0", "--advertise", other_address, "--cluster",
                  flags->cluster, "--join", address, flags->extra, (char *)NULL);
        execl(OSTRAKAD_PATH, OSTRAKAD_PATH, "--store", "1", "--data", flags->data, "--listen",
              address, "--cluster", flags->cluster, "--initial-stores", stores_flag, flags->extra,
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    server->output_fd = ends[0];
    fcntl(server->output_fd, F_SETFL, O_NONBLOCK);
}

/* Reads until `word` was said (true) or the process has closed its standard error (false). */
static bool server_read(struct server *server, const char *word)
{
    uint64_t deadline_ns = bank_now_ns() + TIMEOUT_NS;
    for (;;) {
        ssize_t read_bytes = read(server->output_fd, server->output + server->output_bytes,
                                  OUTPUT_BYTES - 1 - server->output_bytes);
        if (read_bytes > 0) {
            server->output_bytes += (size_t)read_bytes;
            server->output[server->output_bytes] = '\0';
        }
        if (word && strstr(server->output, word))
            return true;
        if (read_bytes == 0)
            return false;
        cr_assert_lt(bank_now_ns(), deadline_ns, "waited too long; it said:\n%s", server->output);
        if (read_bytes < 0)
            usleep(1000);
    }
}

static int server_wait(struct server *server)
{
    int wait_status = 0;
    cr_assert_not(server_read(server, NULL));
    cr_assert_eq(waitpid(server->pid, &wait_status, 0), server->pid);
    close(server->output_fd);
    return wait_status;
}

static void server_end(struct server *server, int signal_number)
{
    kill(server->pid, signal_number);
    server_wait(server);
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word))
        count++;
    return count;
}

/* It refuses to start, in one line of level error that holds both words. */
static void assert_refused(const struct server_flags *flags, const char *word, const char *other)
{
    static struct server server;
    server_start(&server, flags);
    int wait_status = server_wait(&server);
    cr_assert(WIFEXITED(wait_status), "it ended by signal %d:\n%s", WTERMSIG(wait_status),
              server.output);
    cr_assert_neq(WEXITSTATUS(wait_status), 0, "%s", server.output);
    cr_assert_neq(WEXITSTATUS(wait_status), 127, "%s is not there", OSTRAKAD_PATH);
    cr_assert_eq(count_of(server.output, "level=error"), 1, "%s", server.output);
    cr_assert(strstr(server.output, word), "'%s' is not named:\n%s", word, server.output);
    cr_assert(strstr(server.output, other), "'%s' is not named:\n%s", other, server.output);
}

Test(start_cluster, an_unknown_flag_is_named)
{
    static struct server server;
    server_start(&server, &(struct server_flags){"a", data_path, "--no-such-flag", false});
    int wait_status = server_wait(&server);
    cr_assert(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) != 0);
    cr_assert(strstr(server.output, "--no-such-flag"), "%s", server.output);
    cr_assert_neq(access(data_path, F_OK), 0, "nothing may be made before the flags are read");
}

Test(start_cluster, a_port_in_use_is_named)
{
    static struct server first;
    char other_path[80];
    server_start(&first, &(struct server_flags){"a", data_path, NULL, false});
    cr_assert(server_read(&first, "msg=\"serving\""), "%s", first.output);
    snprintf(other_path, sizeof other_path, "%s/other", directory);
    assert_refused(&(struct server_flags){"a", other_path, NULL, false}, address, "in use");
    server_end(&first, SIGKILL);
}

Test(start_cluster, a_directory_in_use_is_named)
{
    static struct server first;
    server_start(&first, &(struct server_flags){"a", data_path, NULL, false});
    cr_assert(server_read(&first, "msg=\"serving\""), "%s", first.output);
    assert_refused(&(struct server_flags){"a", data_path, NULL, false}, data_path, "in use");
    server_end(&first, SIGKILL);
}

Test(start_cluster, a_directory_of_another_cluster_is_named)
{
    static struct server first;
    server_start(&first, &(struct server_flags){"a", data_path, NULL, false});
    cr_assert(server_read(&first, "msg=\"serving\""), "%s", first.output);
    server_end(&first, SIGKILL);
    assert_refused(&(struct server_flags){"b", data_path, NULL, false}, data_path,
                   "belongs to cluster");
    /* And it is as good as before for its own. */
    server_start(&first, &(struct server_flags){"a", data_path, NULL, false});
    cr_assert(server_read(&first, "msg=\"serving\""), "%s", first.output);
    server_end(&first, SIGKILL);
}

/* A file is where a directory must be: that stops even root. */
Test(start_cluster, a_directory_that_cannot_be_written_is_named)
{
    char file_path[64], below_path[80];
    snprintf(file_path, sizeof file_path, "%s/file", directory);
    snprintf(below_path, sizeof below_path, "%s/data", file_path);
    FILE *file = fopen(file_path, "w");
    cr_assert(file);
    fclose(file);
    assert_refused(&(struct server_flags){"a", below_path, NULL, false}, file_path, "directory");
}

Test(start_cluster, a_disk_that_takes_no_more_is_named)
{
    static struct server server;
    server_start(&server, &(struct server_flags){"a", data_path, NULL, true});
    int wait_status = server_wait(&server);
    cr_assert(WIFEXITED(wait_status), "it ended by signal %d:\n%s", WTERMSIG(wait_status),
              server.output);
    cr_assert_neq(WEXITSTATUS(wait_status), 0, "%s", server.output);
    cr_assert_geq(count_of(server.output, "level=error"), 1, "%s", server.output);
    cr_assert(strstr(server.output, data_path), "the file is not named:\n%s", server.output);
    /* With room again it starts. */
    server_start(&server, &(struct server_flags){"a", data_path, NULL, false});
    cr_assert(server_read(&server, "msg=\"serving\""), "%s", server.output);
    server_end(&server, SIGKILL);
}

Test(start_cluster, sigterm_ends_it_with_status_0)
{
    static struct server server;
    server_start(&server, &(struct server_flags){"a", data_path, NULL, false});
    cr_assert(server_read(&server, "msg=\"serving\""), "%s", server.output);
    kill(server.pid, SIGTERM);
    int wait_status = server_wait(&server);
    cr_assert(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0, "wait status %d:\n%s",
              wait_status, server.output);
}

/* One line that says why, and the end; but it waits for a cluster that does not answer yet. */
Test(start_cluster, a_store_that_may_not_join_is_told_why)
{
    static struct server first, second;
    char other_path[80], third_path[80];
    snprintf(other_path, sizeof other_path, "%s/other", directory);
    snprintf(third_path, sizeof third_path, "%s/third", directory);
    server_start(&second, &(struct server_flags){.cluster = "a", .data = other_path, .joins = "2"});
    cr_assert(server_read(&second, "msg=\"serving\""), "%s", second.output);
    server_start(&first, &(struct server_flags){"a", data_path, NULL, false, NULL});
    cr_assert(server_read(&second, "msg=\"joined the cluster\""), "%s", second.output);
    server_end(&second, SIGKILL);

    assert_refused(&(struct server_flags){.cluster = "a", .data = third_path, .joins = "1"},
                   "another disk", "store 1");
    nftw(third_path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    assert_refused(&(struct server_flags){.cluster = "a", .data = third_path, .joins = "3"},
                   other_address, "store 2");
    nftw(third_path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    assert_refused(&(struct server_flags){.cluster = "b", .data = third_path, .joins = "3"},
                   "another cluster", "--cluster");
    /* Who has joined starts again with the flags that it had, though nobody answers there. */
    server_end(&first, SIGKILL);
    server_start(&second, &(struct server_flags){.cluster = "a", .data = other_path, .joins = "2"});
    cr_assert(server_read(&second, "msg=\"serving\""), "%s", second.output);
    server_end(&second, SIGKILL);
}
