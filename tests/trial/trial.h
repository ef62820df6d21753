/* trial.h: what the parts of the program share. Their functions return 0 or a code of
 * ostraka_status.h, with a line in `trial->why`. */
#pragma once

#include "cmd/bank.h"
#include "cmd/cluster.h"
#include "cmd/workload.h"
#include "tests/trial/growth.h"
#include "tests/trial/nemesis.h"
#include "tests/trial/shuffle.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#define TRIAL_TICK_MS 10u
#define NS_PER_SECOND UINT64_C(1000000000)

enum trial_kind { TRIAL_BANK, TRIAL_LIST_APPEND, TRIAL_REGISTER, TRIAL_GROW, TRIAL_RANGES };

/* What a kind of trial is by itself. */
struct trial_traits {
    const char *name;
    const char *faults;
    uint32_t calm_ms_max; /* nemesis.h */
    uint32_t groups_count, accounts_count;
    bool is_bank; /* money moves; otherwise transactions are generated */
};

struct trial {
    enum trial_kind kind;
    const struct trial_traits *traits;
    uint32_t seconds, clients_count, stores_count, changes_count;
    uint64_t seed;
    const char *faults;
    const char *directory;
    const char *history_path;
    const char *program;
    bool keep;

    struct hosts *hosts;
    struct cluster *cluster;
    struct ost_client *client, *monitor, *auditor;
    pthread_t audit_thread;
    atomic_bool audits_end;
    bool has_audits;
    struct history_recorder *recorder;
    struct nemesis nemesis;
    struct growth growth;
    struct shuffle *shuffle;
    struct bank_options bank_options;
    struct bank *bank;
    struct bank_audit before;
    struct workload *workload;
    uint64_t started_ns, ok_count, unknown_count;
    char history_beside[PATH_MAX];
    char why[CLUSTER_WHY_BYTES];
};

/* options.c: what the command line says; ends the program when it is wrong. */
void trial_parse(struct trial *trial, int argc, char **argv);

/* verdict.c: no lock and no prepared transaction is left. */
int trial_nothing_left(struct trial *trial);
/* What the clients saw is as it should be. */
int trial_judge_history(struct trial *trial);

/* settle.c: waits until nothing is done to ranges and replicas any more, and every range has one
 * owner and no other copy, as far as the stores tell. */
int trial_settle(struct trial *trial);
/* Stops all stores, and looks at what is on their disks. */
int trial_judge_disks(struct trial *trial);
