/* workload_generator.h: what the clients of a workload do next, from a seed. No clock, no network:
 * for real clusters and for the simulator.
 *
 * list-append: transactions of one to five micro-operations: read a list, append to one (Kingsbury
 * and Alvaro, "Elle", VLDB 2020). register: single reads, writes, and compare-and-set.
 *
 * Half of all operations go to one key of the active ones, half of the rest to the next, and so on
 * in halves of the key space, so that a few keys are fought over. Values are unique in a run, for
 * the checkers' sake; and a key that was used often enough gives its place to a new one, so that
 * lists stay short and the history of each key can be judged.
 */
#pragma once

#include "base/random.h"
#include "cmd/history.h"

enum workload_kind { WORKLOAD_LIST_APPEND, WORKLOAD_REGISTER };
/* "list-append", "register". */
const char *workload_kind_name(enum workload_kind kind);

#define WORKLOAD_OPS_COUNT_MAX  5u
#define WORKLOAD_LIST_COUNT_MAX 128u /* appends to one key */
#define WORKLOAD_REGISTER_USES  400u /* operations on one key */
#define WORKLOAD_KEYS_COUNT_MAX 100000u

struct workload_slot {
    int64_t key;         /* its remainder by keys_count is the slot's number */
    uint32_t uses_count; /* appends, or operations on a register */
    bool is_known;       /* register: `value` was read or written */
    int64_t value;
};

struct workload_generator {
    enum workload_kind kind;
    struct random random;
    uint32_t keys_count; /* active at a time */
    struct workload_slot *slots;
    int64_t value_last;
};

/* keys_count: 1 to WORKLOAD_KEYS_COUNT_MAX. */
void workload_generator_init(struct workload_generator *generator, enum workload_kind kind,
                             uint32_t keys_count, uint64_t seed);
void workload_generator_fini(struct workload_generator *generator);

/* The micro-operations of the next transaction, as they are invoked; returns how many. */
uint32_t workload_generator_next(struct workload_generator *generator,
                                 struct history_op out_ops[WORKLOAD_OPS_COUNT_MAX]);
/* A register had this value just now: what a compare-and-set to come may expect. */
void workload_generator_saw(struct workload_generator *generator, int64_t key, int64_t value);
