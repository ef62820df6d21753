/* run.h: one seed, from an empty cluster to the verdict.
 *
 * Phase 1, safety: clients work while things go wrong, until enough was done and enough went wrong.
 * Phase 2, liveness: a bare majority of the stores is healed, the rest stays as it is; within a
 * bound every range must take a write. Then all is healed, clients end, everything is read once
 * more, and no lock may be left. Then the checkers judge.
 *
 * A run in which little happened is a failure of the run ("idle-run"), not a pass.
 */
#pragma once

#include "tests/sim/sim.h"

struct run_options {
    FILE *story; /* NULL: none */
    bool is_story_full;
    FILE *history;    /* NULL: none */
    FILE *raft_trace; /* NULL: none; raft_trace.h */
};

struct site_count {
    uint32_t reached, fired;
};

struct run_result {
    bool is_failed;
    char failure[64];
    char why[SIM_WHY_BYTES];
    uint64_t hash;
    struct sim_counts counts;
    struct site_count sites[SITES_COUNT];
    nanoseconds_t took_ns; /* virtual */
};

/* For who runs phases of his own: nothing is started yet. */
void sim_init(struct sim *sim, const struct plan *plan, const struct run_options *options);
void sim_fini(struct sim *sim);

void run(const struct plan *plan, const struct run_options *options, struct run_result *out_result);
