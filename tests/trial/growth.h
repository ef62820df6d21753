/* growth.h: a cluster that grows and then gives up the stores that it began with: new ones join,
 * one after the other, and each of the first is drained and removed, and must end by itself. Then
 * only stores are left that were not there at the beginning.
 */
#pragma once

#include "cmd/cluster.h"

#include <stdio.h>

struct bank;
struct ost_client;

enum growth_state {
    GROWTH_RESTING,  /* until the next step's time */
    GROWTH_JOINING,  /* a store was started; until it has its share of replicas */
    GROWTH_DRAINING, /* until it has no replica */
    GROWTH_LEAVING,  /* it was removed; until it has ended */
    GROWTH_DONE,
};

struct growth {
    struct cluster *cluster;
    struct ost_client *monitor; /* what it asks must not take long */
    struct bank *bank;          /* its gaps are read and begun anew at each step */
    FILE *out;
    uint64_t started_ns;
    uint64_t rest_ns; /* between the ends of steps and the next ones */
    uint32_t first_stores_count;

    enum growth_state state;
    uint32_t steps_count; /* begun: as many joins as there were stores first, then their drains */
    uint32_t store;       /* of the step */
    bool is_asked;        /* the cluster has said yes to the step */
    uint64_t next_ns;     /* to look at it again, or to begin */
    uint64_t step_ns;     /* when it began */
    uint64_t join_ns_max, drain_ns_max;
    uint64_t any_gap_ns_max, group_gap_ns_max; /* without a transfer; of one group's accounts */
};

/* What is set above the empty line stays; begins with a rest. */
void growth_begin(struct growth *growth);
/* Goes on with what is due. 0 or a code, with a line in `out_why` (CLUSTER_WHY_BYTES). */
int growth_tick(struct growth *growth, uint64_t now_ns, char *out_why);
