/* search.h: many seeds, each in a process that may die of it; and how a failing one is made
 * smaller.
 *
 * A run that fails, that aborts, that a sanitizer ends, or that does not end, is a failure of its
 * seed; the search goes on.
 */
#pragma once

#include "tests/sim/run.h"

#define SEARCH_SETTINGS_MAX 64

struct search_options {
    uint64_t first, last; /* seeds */
    unsigned jobs_count;
    const char *const *settings; /* "name=value", over every plan */
    size_t settings_count;
    bool is_shrinking;
    bool is_twice; /* each seed two times: the hashes must be equal */
    bool is_verbose;
    bool is_telling_sites;
};

/* The number of seeds that failed. SIGINT and SIGTERM end it early, without the seeds that are
 * under way then: what was found until then is told, as it is. */
uint64_t search(const struct search_options *options);
/* The signal that ended the search; 0: none has. */
int search_interruption(void);

/* One run in a process of its own. */
void run_apart(const struct plan *plan, struct run_result *out_result);
