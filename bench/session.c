#include "bench/session.h"

#include "client/ostraka.h"
#include "cmd/cluster.h"

#include <err.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND UINT64_C(1000000000)

volatile sig_atomic_t interrupted;

static void on_signal(int signal_number)
{
    static uint64_t first_ns;
    (void)signal_number;
    if (!interrupted)
        first_ns = now_ns();
    else if (now_ns() - first_ns > NS_PER_SECOND)
        _exit(EXIT_INTERRUPTED);
    interrupted = 1;
}

void session_begin(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int session_fail(const char *what, const char *why)
{
    warnx("%s: %s", what, why);
    return EXIT_FAILURE;
}

int session_open(const struct session_wish *wish, struct cluster **out_cluster,
                 struct ost_client **out_client, char *out_why)
{
    struct cluster_options options;
    cluster_options_default(&options);
    options.program = wish->program;
    options.directory = wish->directory;
    options.splits = "m";
    options.interrupted = &interrupted;
    options.keep = wish->keep;
    options.flags = wish->flags;
    *out_cluster = NULL;
    *out_client = NULL;
    int status = cluster_new(&options, out_cluster, out_why);
    if (status == OST_OK)
        status = cluster_open_client(*out_cluster, 10000, out_client, out_why);
    if (status == OST_OK)
        status = cluster_wait_ready(*out_cluster, *out_client, 30000, out_why);
    return status;
}

int session_close(struct cluster *cluster, struct ost_client *client, int status, const char *why)
{
    int code = interrupted ? EXIT_INTERRUPTED : EXIT_SUCCESS;
    if (status != OST_OK && !interrupted)
        code = session_fail("it failed", why[0] ? why : ost_status_text(status));
    if (client)
        ost_close(client);
    if (cluster)
        cluster_free(cluster);
    return code;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

void rest_ms(uint32_t ms)
{
    struct timespec rest = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&rest, NULL);
}
