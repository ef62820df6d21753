/* nemesis.h: what goes wrong in a trial: stores are killed, stopped, and cut off from each other,
 * at random, each kind on its own, so that they overlap.
 *
 * kill: kill -9 of any stores, of all of them one time in four; started again after 0.1 to 5 s.
 *
 * pause: SIGSTOP of the leader of some group, or of any store, for 0.1 to 30 s.
 *
 * partition: halves; a ring, in which everybody hears a majority and no two hear the same; one
 * direction between two; one store alone; for 0.5 to 10 s.
 *
 * wipe: kill -9 of one store, whose data and log are removed; started again with the same flags
 * after 0.1 to 2 s. The next one is not wiped before every group has all its replicas again: two
 * disks of three that are lost are too many.
 */
#pragma once

#include "base/random.h"
#include "cmd/cluster.h"
#include "tests/trial/hosts.h"

#include <stdio.h>

enum nemesis_fault {
    NEMESIS_KILL,
    NEMESIS_PAUSE,
    NEMESIS_PARTITION,
    NEMESIS_WIPE,
    NEMESIS_FAULTS_COUNT
};

struct nemesis_timer {
    bool is_on;        /* one of these has its turn */
    uint64_t until_ns; /* then it ends; or the next one begins */
    uint32_t count;
    bool stores[CLUSTER_STORES_COUNT_MAX + 1]; /* hit by it: all but partition */
};

struct nemesis {
    struct cluster *cluster;
    struct hosts *hosts; /* NULL: no partitions */
    struct ost_client *monitor;
    uint32_t groups_count; /* group 0 included */
    struct random random;
    FILE *out;
    uint64_t started_ns;
    uint32_t
        calm_ms_max; /* between two faults of a kind there is at least a second, at most this */
    bool enabled[NEMESIS_FAULTS_COUNT];
    struct nemesis_timer timers[NEMESIS_FAULTS_COUNT];

    uint32_t wiped_store;   /* that has not all its replicas again; 0: none */
    uint64_t wiped_replica; /* it may not have this one any more, nor any with a lower number */
    uint64_t wiped_ns;      /* when it was started again */
    uint64_t rebuild_look_ns, rebuild_ns_max;
};

const char *nemesis_fault_name(enum nemesis_fault fault);
/* Ends and begins what is due. 0 or a code, with a line in `out_why` (CLUSTER_WHY_BYTES). */
int nemesis_tick(struct nemesis *nemesis, uint64_t now_ns, char *out_why);
/* Everything runs and everybody is heard. */
int nemesis_heal(struct nemesis *nemesis, uint64_t now_ns, char *out_why);
/* Is every replica there that was lost with a disk? Also called by the tick. */
bool nemesis_is_rebuilt(struct nemesis *nemesis, uint64_t now_ns);
