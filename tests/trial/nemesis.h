/* nemesis.h: what goes wrong in a trial: stores are killed, stopped, and cut off from each other,
 * at random, each kind on its own, so that they overlap.
 *
 *   kill       kill -9 of any stores, of all of them one time in four; started again after 0.1 to 5
 * s pause      SIGSTOP of the leader of some group, or of any store, for 0.1 to 30 s partition
 * halves; a ring, in which everybody hears a majority and no two hear the same; one direction
 * between two; one store alone; for 0.5 to 10 s
 */
#pragma once

#include "base/random.h"
#include "cmd/cluster.h"
#include "tests/trial/hosts.h"

#include <stdio.h>

enum nemesis_fault { NEMESIS_KILL, NEMESIS_PAUSE, NEMESIS_PARTITION, NEMESIS_FAULTS_COUNT };

struct nemesis_timer {
    bool is_on;        /* one of these has its turn */
    uint64_t until_ns; /* then it ends; or the next one begins */
    uint32_t count;
    bool stores[CLUSTER_STORES_COUNT_MAX + 1]; /* hit by it: kill, pause */
};

struct nemesis {
    struct cluster *cluster;
    struct hosts *hosts; /* NULL: no partitions */
    struct ost_client *monitor;
    uint32_t groups_count; /* group 0 included */
    struct random random;
    FILE *out;
    uint64_t started_ns;
    bool enabled[NEMESIS_FAULTS_COUNT];
    struct nemesis_timer timers[NEMESIS_FAULTS_COUNT];
};

const char *nemesis_fault_name(enum nemesis_fault fault);
/* Ends and begins what is due. 0 or a code, with a line in `out_why` (CLUSTER_WHY_BYTES). */
int nemesis_tick(struct nemesis *nemesis, uint64_t now_ns, char *out_why);
/* Everything runs and everybody is heard. */
int nemesis_heal(struct nemesis *nemesis, uint64_t now_ns, char *out_why);
