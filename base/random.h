/* random.h: a small seeded generator (xoshiro256**, Blackman and Vigna 2018). Cores are handed a
 * seed by their host and draw from it: same seed, same run. Not for secrets. */
#pragma once

#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_init(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);
