/* sim.h: one run of a whole cluster in virtual time: what its parts share. */
#pragma once

#include "base/sometimes.h"
#include "cmd/history.h"
#include "tests/sim/admin.h"
#include "tests/sim/client_process.h"
#include "tests/sim/keeper.h"
#include "tests/sim/network.h"
#include "tests/sim/plan.h"
#include "tests/sim/process.h"
#include "tests/sim/raft_trace.h"
#include "tests/sim/schedule.h"
#include "tests/sim/trace.h"

#define SIM_START_NS  (100 * NS_PER_S) /* not 0: a time of zeros is often a special case */
#define SIM_WALL_MS   UINT64_C(1700000000000)
#define SIM_WHY_BYTES 6000
/* Of commits and snapshots, for other snapshots to read at. */
#define SIM_TIMESTAMPS_COUNT 256u
#define SIM_CLUSTER_ID       UINT64_C(0x57a6)

/* Hosts: stores, clients, then who probes and audits, then who administers, then the keeper. */
#define SIM_CLIENTS_MAX (PLAN_CLIENTS_MAX + 3)

struct sim_counts {
    uint64_t operations; /* calls of clients that came to an end */
    uint64_t commits;    /* transactions with writes that were acknowledged */
    uint64_t commits_over_groups;
    uint64_t fails, infos;
    uint64_t faults;
    uint64_t fault_ticks; /* numbers given to faults, done or not */
    uint64_t elections;   /* won, of all groups */
    uint64_t starts, crashes, disk_failures, turns;
    uint64_t snapshots_sent, snapshots_installed;
    uint64_t changes;                         /* of replicas, that began */
    uint64_t range_changes;                   /* that were taken on */
    uint64_t moves, cancels, splits, merges;  /* of ranges, that came to their end */
    uint64_t joins, drains, removals, deaths; /* of stores: begun, asked for, done, for good */
    uint64_t leased_answers, leases_overrun;  /* sent; too late, and dropped */
};

struct sim {
    struct plan plan;
    struct schedule schedule;
    struct trace trace;
    struct network network;
    struct process *stores; /* plan.stores, then those that may join */
    uint32_t stores_count;
    struct client_process *clients; /* plan.clients, then the prober, the admin, the keeper */
    uint32_t clients_count;
    struct history *history;
    struct snapshot_check *snapshots;
    timestamp_t timestamps[SIM_TIMESTAMPS_COUNT];
    uint64_t timestamps_count;  /* ever */
    uint64_t history_processes; /* numbers given */
    int64_t values;             /* numbers given: each is written once */
    struct audit *audit;
    struct faults *faults;
    struct admin admin;
    struct keeper keeper;
    struct sites sites;
    struct observer *observer;
    struct raft_trace *raft_trace; /* NULL: none */
    struct sim_counts counts;
    uint64_t phase;       /* 1: faults, 2: healing, 3: the end is looked at */
    bool is_stopping;     /* clients begin nothing new */
    bool is_tearing_down; /* a process that died is being freed: what it says is not heard */
    bool is_failed;
    char failure[64]; /* its name: what the shrinker keeps the same */
    char why[SIM_WHY_BYTES];
    uint64_t errors_excused;
};

/* The first one stays. */
__attribute__((format(printf, 3, 4))) void sim_fail(struct sim *sim, const char *name,
                                                    const char *format, ...);
static inline struct client_process *sim_admin(struct sim *sim)
{
    return &sim->clients[sim->plan.clients + 1];
}
static inline struct client_process *sim_keeper(struct sim *sim)
{
    return &sim->clients[sim->plan.clients + 2];
}
/* "store3:7100" -> its host; addresses come from sim_address. */
uint32_t sim_host_of_address(const char *address);
void sim_address(uint32_t host, char *text, size_t text_bytes_max);
static inline uint32_t sim_host_of_store(store_id_t store)
{
    return (uint32_t)(store - 1);
}
