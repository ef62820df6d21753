/* graph.h: dependencies between transactions, and the cycles in them.
 *
 * A node is a number. Add all edges, seal, then search.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum graph_kind {
    GRAPH_WW = 1,        /* the next one to write */
    GRAPH_WR = 2,        /* reads what was written */
    GRAPH_RW = 4,        /* writes after what was read: an anti-dependency */
    GRAPH_PROCESS = 8,   /* the same client, later */
    GRAPH_REALTIME = 16, /* ended before the other began */
    GRAPH_PASS = 32 /* the second half of an anti-dependency that goes through a helping node */
};

struct graph_edge {
    uint32_t from;
    uint32_t to;
    uint32_t kind;
    uint32_t label; /* the caller's */
};

struct graph;

struct graph *graph_new(uint32_t nodes_count);
void graph_free(struct graph *graph);
/* Edges from a node to itself are not added. */
void graph_add(struct graph *graph, uint32_t from, uint32_t to, enum graph_kind kind,
               uint32_t label);
void graph_seal(struct graph *graph);

/* Is there a cycle at all, of edges of these kinds? (Tarjan 1972.) */
bool graph_has_cycle(struct graph *graph, uint32_t kinds);

#define GRAPH_CYCLE_EDGES_MAX 32

struct graph_cycle {
    struct graph_edge edges[GRAPH_CYCLE_EDGES_MAX]; /* each begins where the one before ends */
    uint32_t edges_count; /* of the cycle; those from GRAPH_CYCLE_EDGES_MAX on are left out */
};

/* A short cycle of edges of these kinds: the shortest through any of the first few dozen nodes that
 * lie on one. */
bool graph_find_cycle(struct graph *graph, uint32_t kinds, struct graph_cycle *out);
/* A cycle with one edge of kind `once`, and else only of `kinds`. It gives up after a bounded
 * number of steps, and may then miss one. */
bool graph_find_cycle_once(struct graph *graph, uint32_t kinds, enum graph_kind once,
                           struct graph_cycle *out);
