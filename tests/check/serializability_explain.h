/* serializability_explain.h: why one transaction is before another, and a cycle of that in words.
 */
#pragma once

#include "cmd/history.h"
#include "tests/check/graph.h"

#define DEPENDENCY_TXN_BYTES 240

struct dependency {
    int64_t key;
    int64_t first;       /* ww: what was appended; wr: what was read; rw: the last element read */
    int64_t second;      /* ww, rw: what was appended next */
    bool nothing_before; /* rw: the list read was empty */
};

/* An edge's label is an index into it. */
struct dependencies {
    struct dependency *all;
    uint32_t count;
    uint32_t capacity;
};

uint32_t dependencies_add(struct dependencies *dependencies, const struct dependency *dependency);
void dependencies_fini(struct dependencies *dependencies);
/* Returns `text`, of DEPENDENCY_TXN_BYTES. */
const char *dependency_print_txn(const struct history_operation *operation, char *text);
/* Nodes are operations of the history; others are helping nodes and not named. */
void dependencies_print_cycle(const struct dependencies *dependencies,
                              const struct history *history, const struct graph_cycle *cycle,
                              char *text, size_t text_bytes_max);
