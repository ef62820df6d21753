#include "bench/session.h"

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
}

int session_fail(const char *what, const char *why)
{
    warnx("%s: %s", what, why);
    return EXIT_FAILURE;
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
