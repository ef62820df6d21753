#include "tests/check/graph.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define NODE_NONE         UINT32_MAX
#define SOURCES_COUNT_MAX 64u
#define WALK_STEPS_MAX    UINT64_C(20000000)

struct graph {
    uint32_t nodes_count;
    struct graph_edge *edges; /* once sealed, by `from` */
    uint32_t edges_count;
    uint32_t edges_capacity;
    uint32_t *starts; /* nodes_count + 1: where the edges of a node begin */
    /* Of the last decomposition: the component of each node, and how many nodes it has. */
    uint32_t *component;
    uint32_t *component_size;
    /* Tarjan's: 0 is unvisited. */
    uint32_t *order;
    uint32_t *low;
    uint32_t *stack;
    uint32_t *path;   /* the depth-first walk: nodes, */
    uint32_t *cursor; /* and the next edge of each */
    bool *on_stack;
    /* Of a breadth-first walk: the edge that led to each node. */
    uint32_t *parent;
    uint32_t *queue;
};

static uint32_t *numbers_new(uint32_t count)
{
    return memory_alloc_zeroed((size_t)count + 1, sizeof(uint32_t));
}

struct graph *graph_new(uint32_t nodes_count)
{
    struct graph *graph = memory_alloc_zeroed(1, sizeof *graph);
    graph->nodes_count = nodes_count;
    graph->starts = numbers_new(nodes_count);
    graph->component = numbers_new(nodes_count);
    graph->component_size = numbers_new(nodes_count);
    graph->order = numbers_new(nodes_count);
    graph->low = numbers_new(nodes_count);
    graph->stack = numbers_new(nodes_count);
    graph->path = numbers_new(nodes_count);
    graph->cursor = numbers_new(nodes_count);
    graph->on_stack = memory_alloc_zeroed((size_t)nodes_count + 1, sizeof(bool));
    graph->parent = numbers_new(nodes_count);
    graph->queue = numbers_new(nodes_count);
    return graph;
}

void graph_free(struct graph *graph)
{
    free(graph->edges);
    free(graph->starts);
    free(graph->component);
    free(graph->component_size);
    free(graph->order);
    free(graph->low);
    free(graph->stack);
    free(graph->path);
    free(graph->cursor);
    free(graph->on_stack);
    free(graph->parent);
    free(graph->queue);
    free(graph);
}

void graph_add(struct graph *graph, uint32_t from, uint32_t to, enum graph_kind kind,
               uint32_t label)
{
    ASSERT(from < graph->nodes_count && to < graph->nodes_count);
    if (from == to)
        return;
    if (graph->edges_count == graph->edges_capacity) {
        ASSERT(graph->edges_capacity <= UINT32_MAX / 2);
        graph->edges_capacity = graph->edges_capacity ? 2 * graph->edges_capacity : 1024;
        graph->edges = memory_realloc(graph->edges, graph->edges_capacity * sizeof *graph->edges);
    }
    graph->edges[graph->edges_count++] =
        (struct graph_edge){.from = from, .to = to, .kind = kind, .label = label};
}

void graph_seal(struct graph *graph)
{
    uint32_t *starts = graph->starts;
    for (uint32_t i = 0; i < graph->edges_count; i++)
        starts[graph->edges[i].from + 1]++;
    for (uint32_t node = 0; node < graph->nodes_count; node++)
        starts[node + 1] += starts[node];
    struct graph_edge *sorted = memory_alloc(((size_t)graph->edges_count + 1) * sizeof *sorted);
    memcpy(graph->cursor, starts, (size_t)graph->nodes_count * sizeof *starts);
    for (uint32_t i = 0; i < graph->edges_count; i++)
        sorted[graph->cursor[graph->edges[i].from]++] = graph->edges[i];
    free(graph->edges);
    graph->edges = sorted;
    graph->edges_capacity = graph->edges_count + 1;
}

struct tarjan {
    uint32_t kinds;
    uint32_t visited_count;
    uint32_t stack_count;
    uint32_t path_count;
    uint32_t components_count;
    bool cycle;
};

static void tarjan_enter(struct graph *graph, struct tarjan *tarjan, uint32_t node)
{
    graph->order[node] = graph->low[node] = ++tarjan->visited_count;
    graph->stack[tarjan->stack_count++] = node;
    graph->on_stack[node] = true;
    graph->cursor[node] = graph->starts[node];
    graph->path[tarjan->path_count++] = node;
}

static void tarjan_leave(struct graph *graph, struct tarjan *tarjan, uint32_t node)
{
    tarjan->path_count--;
    if (tarjan->path_count > 0) {
        uint32_t parent = graph->path[tarjan->path_count - 1];
        if (graph->low[node] < graph->low[parent])
            graph->low[parent] = graph->low[node];
    }
    if (graph->low[node] != graph->order[node])
        return;
    uint32_t component = tarjan->components_count++;
    uint32_t size = 0;
    uint32_t member;
    do {
        member = graph->stack[--tarjan->stack_count];
        graph->on_stack[member] = false;
        graph->component[member] = component;
        size++;
    } while (member != node);
    graph->component_size[component] = size;
    tarjan->cycle = tarjan->cycle || size > 1;
}

/* One step of the depth-first walk from the end of its path: down an edge, or back. */
static void tarjan_step(struct graph *graph, struct tarjan *tarjan)
{
    uint32_t node = graph->path[tarjan->path_count - 1];
    while (graph->cursor[node] < graph->starts[node + 1]) {
        const struct graph_edge *edge = &graph->edges[graph->cursor[node]++];
        if (!(edge->kind & tarjan->kinds))
            continue;
        if (graph->order[edge->to] == 0) {
            tarjan_enter(graph, tarjan, edge->to);
            return;
        }
        if (graph->on_stack[edge->to] && graph->order[edge->to] < graph->low[node])
            graph->low[node] = graph->order[edge->to];
    }
    tarjan_leave(graph, tarjan, node);
}

/* No recursion: a history's path may be as long as the history. */
bool graph_has_cycle(struct graph *graph, uint32_t kinds)
{
    struct tarjan tarjan = {.kinds = kinds};
    memset(graph->order, 0, (size_t)graph->nodes_count * sizeof *graph->order);
    for (uint32_t root = 0; root < graph->nodes_count; root++) {
        if (graph->order[root] != 0)
            continue;
        tarjan_enter(graph, &tarjan, root);
        while (tarjan.path_count > 0)
            tarjan_step(graph, &tarjan);
    }
    return tarjan.cycle;
}

/* Breadth first from `source` to `target` (which may be the same: around) by edges of `kinds`
 * within one component. The length, or 0. */
static uint32_t walk(struct graph *graph, uint32_t kinds, uint32_t source, uint32_t target,
                     uint64_t *steps)
{
    memset(graph->parent, 0xff, (size_t)graph->nodes_count * sizeof *graph->parent);
    memset(graph->low, 0, (size_t)graph->nodes_count * sizeof *graph->low); /* the depth */
    uint32_t head = 0, tail = 0;
    graph->queue[tail++] = source;
    *steps += graph->nodes_count / 16;
    while (head < tail) {
        uint32_t node = graph->queue[head++];
        for (uint32_t i = graph->starts[node]; i < graph->starts[node + 1]; i++) {
            const struct graph_edge *edge = &graph->edges[i];
            ++*steps;
            if (!(edge->kind & kinds) || graph->component[edge->to] != graph->component[source] ||
                graph->parent[edge->to] != NODE_NONE)
                continue;
            if (edge->to != target && edge->to == source)
                continue;
            graph->parent[edge->to] = i;
            graph->low[edge->to] = graph->low[node] + 1;
            if (edge->to == target)
                return graph->low[node] + 1;
            graph->queue[tail++] = edge->to;
        }
    }
    return 0;
}

/* The edges of the last walk, from its source to `target`, into the cycle from its end on. */
static void walk_edges(const struct graph *graph, uint32_t target, uint32_t count,
                       struct graph_cycle *out)
{
    uint32_t node = target;
    for (uint32_t place = out->edges_count + count; place-- > out->edges_count;) {
        const struct graph_edge *edge = &graph->edges[graph->parent[node]];
        if (place < GRAPH_CYCLE_EDGES_MAX)
            out->edges[place] = *edge;
        node = edge->from;
    }
    out->edges_count += count;
}

bool graph_find_cycle(struct graph *graph, uint32_t kinds, struct graph_cycle *out)
{
    if (!graph_has_cycle(graph, kinds))
        return false;
    uint32_t best = 0;
    uint64_t steps = 0;
    uint32_t sources_count = 0;
    for (uint32_t node = 0; node < graph->nodes_count && sources_count < SOURCES_COUNT_MAX &&
                            (best == 0 || steps < WALK_STEPS_MAX);
         node++) {
        if (graph->component_size[graph->component[node]] < 2)
            continue;
        sources_count++;
        uint32_t length = walk(graph, kinds, node, node, &steps);
        ASSERT(length > 0);
        if (best == 0 || length < best) {
            best = length;
            out->edges_count = 0;
            walk_edges(graph, node, length, out);
        }
    }
    return true;
}

bool graph_find_cycle_once(struct graph *graph, uint32_t kinds, enum graph_kind once,
                           struct graph_cycle *out)
{
    if (!graph_has_cycle(graph, kinds | once))
        return false;
    uint32_t best = 0;
    uint64_t steps = 0;
    for (uint32_t i = 0; i < graph->edges_count && best != 2 && steps < WALK_STEPS_MAX; i++) {
        const struct graph_edge edge = graph->edges[i];
        if (edge.kind != once || graph->component[edge.from] != graph->component[edge.to])
            continue;
        uint32_t length = walk(graph, kinds, edge.to, edge.from, &steps);
        if (length == 0 || (best != 0 && length + 1 >= best))
            continue;
        best = length + 1;
        out->edges[0] = edge;
        out->edges_count = 1;
        walk_edges(graph, edge.from, length, out);
    }
    return best != 0;
}
