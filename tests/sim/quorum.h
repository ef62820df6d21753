/* quorum.h: which stores can be missing. */
#pragma once

#include <stdbool.h>

struct sim;

/* With only the stores for which `takes_part` is set, does every group keep a majority of its
 * voters by each configuration that a running replica has in force, and by each that may come of
 * changes which were asked for? A voter whose replica is not there (its log was damaged, or its
 * store has another by now) takes no part either; of those to come their stores count. */
bool quorum_is_kept(const struct sim *sim, const bool *takes_part);
