/* shrink.h: makes the plan of a failing seed smaller, as long as it fails in the same way. */
#pragma once

#include "tests/sim/run.h"

#define SHRINK_TRIES_MAX 80u

/* Returns how many runs it took; `plan` is the smallest one found. */
unsigned shrink(struct plan *plan, const struct run_result *result);
