/* cluster.h: a cluster of ostrakad processes on this machine, for the demo, the benchmark and the
 * tests: real processes, real sockets, real files; start, kill, pause, restart, measure.
 *
 * No store outlives its cluster: each is killed by the kernel when the thread that started it ends,
 * even by kill -9. So start stores only from a thread that lives as long as the cluster; not
 * thread-safe.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ost_client;
struct cluster;

#define CLUSTER_STORES_COUNT_MAX 7
#define CLUSTER_GROUPS_COUNT_MAX 65 /* the shard master's included */
#define CLUSTER_WHY_BYTES        512

/* A machine of its own for a store: what it listens on, and the network namespace that it runs in.
 */
struct cluster_host {
    const char *address; /* "10.77.0.1"; the port is CLUSTER_HOST_PORT */
    int network_fd;      /* an open /proc/PID/ns/net */
};
#define CLUSTER_HOST_PORT 7100

struct cluster_options {
    const char *program;      /* path of ostrakad */
    const char *directory;    /* a new directory for the stores is made in it */
    uint32_t stores_count;    /* 3 */
    uint32_t groups_count;    /* 2 */
    const char *splits;       /* --initial-splits; NULL: none */
    const char *const *flags; /* more flags for each store, ended by NULL; NULL: none */
    /* One for each store, borrowed for the cluster's life; NULL: all on 127.0.0.1, on free ports.
     */
    const struct cluster_host *hosts;
    bool keep; /* leave the directory behind */
    /* Set by a signal: waiting ends with OST_CANCELED. NULL: nothing interrupts. */
    const volatile sig_atomic_t *interrupted;
};

void cluster_options_default(struct cluster_options *out_options);

/* Chooses ports, makes the directories, starts every store. Returns 0 or a code of
 * ostraka_status.h, with one line for people in `out_why` (CLUSTER_WHY_BYTES). */
int cluster_new(const struct cluster_options *options, struct cluster **out_cluster, char *out_why);
/* Kills what runs, and removes the directory unless it is to be kept. NULL is fine. */
void cluster_free(struct cluster *cluster);
void cluster_keep(struct cluster *cluster);

/* "127.0.0.1:20001,127.0.0.1:20002": for ost_open. */
const char *cluster_endpoints(const struct cluster *cluster);
const char *cluster_directory(const struct cluster *cluster);
uint32_t cluster_stores_count(const struct cluster *cluster);
uint16_t cluster_port(const struct cluster *cluster, uint32_t store);
/* Path of the log that the store writes on standard error. */
const char *cluster_log_path(const struct cluster *cluster, uint32_t store);
/* The store's data directory. */
const char *cluster_data_path(const struct cluster *cluster, uint32_t store);

/* Waits until every group, the shard master's included, has a leader that is ready. */
int cluster_wait_ready(struct cluster *cluster, struct ost_client *client, uint32_t timeout_ms,
                       char *out_why);
/* Opens a client, trying until the cluster answers. */
int cluster_open_client(struct cluster *cluster, uint32_t timeout_ms,
                        struct ost_client **out_client, char *out_why);
/* Who says that it leads group 0 (the shard master's), 1, 2 and so on, at the highest term; 0 where
 * nobody does. Asks each store that runs, so it takes as long as the client's timeout when one of
 * them hangs. */
void cluster_leaders(struct cluster *cluster, struct ost_client *client, uint32_t *out_leaders,
                     uint32_t groups_count);

/* Stores are numbered from 1. */
int cluster_start(struct cluster *cluster, uint32_t store, char *out_why);
/* Starts one more store, on 127.0.0.1, which joins the others. */
int cluster_join(struct cluster *cluster, uint32_t *out_store, char *out_why);
/* Sends SIGKILL and waits until it is gone. */
void cluster_kill(struct cluster *cluster, uint32_t store);
/* Removes the data and the log of a store that does not run: the next start finds an empty disk. */
void cluster_wipe(struct cluster *cluster, uint32_t store);
/* From here on it may end by itself: cluster_check does not mind. */
void cluster_let_end(struct cluster *cluster, uint32_t store);
/* Has it ended by itself? `out_wait_status` as wait(2). */
bool cluster_has_ended(struct cluster *cluster, uint32_t store, int *out_wait_status);
/* SIGSTOP, SIGCONT and the like. */
void cluster_signal(struct cluster *cluster, uint32_t store, int signal_number);
/* SIGTERM; waits for the end. OST_DEADLINE_EXCEEDED: it still runs. Else `out_wait_status` as
 * wait(2). */
int cluster_terminate(struct cluster *cluster, uint32_t store, uint32_t timeout_ms,
                      int *out_wait_status);
bool cluster_runs(const struct cluster *cluster, uint32_t store);
pid_t cluster_pid(const struct cluster *cluster, uint32_t store);
/* Has a store ended that nobody here has ended? OST_OK, OST_CANCELED, or OST_DISCONNECTED with the
 * store, how it ended and its last words in `out_why`. */
int cluster_check(struct cluster *cluster, char *out_why);

/* Processor time of all stores since the start, those that have ended included. */
uint64_t cluster_cpu_ns(const struct cluster *cluster);
uint64_t cluster_store_cpu_ns(const struct cluster *cluster, uint32_t store);
/* 0 when it does not run. */
uint64_t cluster_resident_bytes(const struct cluster *cluster, uint32_t store);
uint32_t cluster_open_files_count(const struct cluster *cluster, uint32_t store);
/* Sums a counter of ost_store_status over the stores that run; false when one did not answer. */
bool cluster_metric_sum(struct cluster *cluster, struct ost_client *client, const char *name,
                        uint64_t *out_sum);
/* Copies the last line that the store wrote on standard error, without the newline. */
void cluster_last_line(const struct cluster *cluster, uint32_t store, char *line,
                       size_t line_bytes_max);
