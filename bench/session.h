/* session.h: what these programs begin and end with. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define EXIT_INTERRUPTED 130

/* Set by the first SIGINT, SIGTERM or SIGHUP. */
extern volatile sig_atomic_t interrupted;

/* From now on a signal asks for the end, and who does not read the output any more is no reason to
 * die without cleaning up. Asked again a second later, the program ends at once: the kernel kills
 * the stores, only the data stays. (Some wrappers send a signal twice.) */
void session_begin(void);

/* A line "program: what: why" on standard error; returns EXIT_FAILURE. */
int session_fail(const char *what, const char *why);

struct cluster;
struct ost_client;

/* A fresh cluster of three stores whose two ranges meet at "m", and a client that has found all of
 * it ready. */
struct session_wish {
    const char *program, *directory;
    const char *const *flags; /* of the stores, ended by NULL; NULL: none */
    bool keep;
};
/* 0 or a code, with a line in `out_why` (CLUSTER_WHY_BYTES). What has begun is in the two places
 * even so, and is the caller's: session_close. */
int session_open(const struct session_wish *wish, struct cluster **out_cluster,
                 struct ost_client **out_client, char *out_why);
/* Either may be NULL. Returns the program's exit status after `status`; says what was wrong. */
int session_close(struct cluster *cluster, struct ost_client *client, int status, const char *why);

uint64_t now_ns(void);
void rest_ms(uint32_t ms);
static inline double ms_of(uint64_t ns)
{
    return (double)ns / 1e6;
}
