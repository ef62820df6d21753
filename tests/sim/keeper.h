/* keeper.h: a client of its own that keeps an eye on old versions: it puts and deletes a few keys
 * by turns and knows what each must hold, so that an old version that comes back to life is seen;
 * and it holds timestamps against the safe point. Only where the plan has a keeper.
 *
 * Failures: "kept-key-differs", "hold-refused".
 */
#pragma once

#include "tests/sim/client_process.h"
#include "tests/sim/safe_point_check.h"

#define KEEPER_LANES_COUNT 4u
#define KEEPER_HOLDS_COUNT 2u
#define KEEPER_KEY_BYTES   24u

struct sim;

/* One key at a time, one operation at a time. */
struct keeper_lane {
    struct keeper *keeper;
    uint32_t number;
    uint32_t keys_count; /* that it had: one whose state is not known is left */
    char key[KEEPER_KEY_BYTES];
    uint64_t value; /* 0: absent */
    uint64_t next_value;
    bool is_rested; /* a read is next */
};

struct keeper_hold {
    struct keeper *keeper;
    timestamp_t timestamp;
    uint64_t hold; /* 0: none */
};

struct keeper {
    struct sim *sim;
    struct random random;
    uint64_t values;
    timestamp_t written[16]; /* timestamps of commits, by turns */
    uint32_t written_count;
    struct keeper_lane lanes[KEEPER_LANES_COUNT];
    struct keeper_hold holds[KEEPER_HOLDS_COUNT];
    uint64_t deletes_count, reads_count, holds_count; /* what it did */
};

void keeper_start(struct keeper *keeper, struct sim *sim);
/* Before its client is killed. */
void keeper_stop(struct keeper *keeper);
/* The holds that stand for certain. */
void keeper_report(const struct keeper *keeper, struct safe_point_check *check);
