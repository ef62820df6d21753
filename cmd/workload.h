/* workload.h: clients that run a generated workload (workload_generator.h) against a cluster and
 * record what they saw (history.h). Small state machines on the library's asynchronous calls.
 *
 * A register is a row with a decimal number, a list a row with decimal numbers and blanks between.
 * A run has keys of its own, "list-append/RUN/NUMBER", in as many ranges of the map as a letter in
 * front of that can reach, so that transactions cross groups.
 *
 * A transaction that lost a conflict is run again, within the same invocation. One whose outcome is
 * not known is asked about again or given up at once, half of the time each: both are what programs
 * do. Given up, it is a HISTORY_INFO, and the client goes on as another process.
 */
#pragma once

#include "cmd/histogram.h"
#include "cmd/history_recorder.h"
#include "cmd/workload_generator.h"

struct ost_client;
struct workload;

#define WORKLOAD_WHY_BYTES         256
#define WORKLOAD_CLIENTS_COUNT_MAX 10000u

struct workload_options {
    enum workload_kind kind;
    uint32_t clients_count;           /* 16: operations under way at a time */
    uint32_t keys_count;              /* 20: active keys */
    uint32_t optimistic_percent;      /* 0: of the transactions read without locks */
    uint64_t seed;                    /* 1 */
    uint64_t run;                     /* names the keys of this run */
    struct history_recorder *history; /* borrowed; NULL: none is kept */
};
void workload_options_default(enum workload_kind kind, struct workload_options *out_options);

struct workload_statistics {
    uint64_t ok_count;
    uint64_t failed_count;       /* surely not done */
    uint64_t unknown_count;      /* perhaps done */
    uint64_t retries_count;      /* transactions run again after a conflict */
    uint64_t asked_count;        /* how often an unknown outcome was asked for */
    struct histogram latency_ns; /* of what was done */
};

/* 0 or a code of ostraka_status.h, with one line for people in `out_why` (WORKLOAD_WHY_BYTES). The
 * clients stop at the first error that is neither retryable nor an unknown outcome, or when a value
 * is none that they wrote. */
int workload_start(struct ost_client *client, const struct workload_options *options,
                   struct workload **out_workload, char *out_why);
/* From the start, or with `interval`, since the last call with `interval`. */
void workload_read_statistics(struct workload *workload, bool interval,
                              struct workload_statistics *out_statistics);
int workload_error(struct workload *workload, char *out_why);
/* Lets each client end its operation; what has not ended after `timeout_ms` is given up. Every
 * invocation has a completion afterwards. */
int workload_stop(struct workload *workload, uint32_t timeout_ms, char *out_why);
/* After workload_stop. NULL is fine. */
void workload_free(struct workload *workload);
