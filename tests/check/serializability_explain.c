#include "tests/check/serializability_explain.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

uint32_t dependencies_add(struct dependencies *dependencies, const struct dependency *dependency)
{
    if (dependencies->count == dependencies->capacity) {
        dependencies->capacity = dependencies->capacity ? 2 * dependencies->capacity : 1024;
        dependencies->all =
            memory_realloc(dependencies->all, dependencies->capacity * sizeof *dependencies->all);
    }
    dependencies->all[dependencies->count] = *dependency;
    return dependencies->count++;
}

void dependencies_fini(struct dependencies *dependencies)
{
    free(dependencies->all);
}

const char *dependency_print_txn(const struct history_operation *operation, char *text)
{
    char event[DEPENDENCY_TXN_BYTES - 60];
    const struct history_event *completion = operation->completion;
    history_print_event(completion ? completion : operation->invoke, event, sizeof event);
    if (completion)
        (void)snprintf(text, DEPENDENCY_TXN_BYTES, "%s (events %" PRIu64 "-%" PRIu64 ")", event,
                       operation->invoke->index, completion->index);
    else
        (void)snprintf(text, DEPENDENCY_TXN_BYTES, "%s (event %" PRIu64 ")", event,
                       operation->invoke->index);
    return text;
}

struct text {
    char *at;
    size_t bytes_left;
};

__attribute__((format(printf, 2, 3))) static void print(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(text->at, text->bytes_left, format, arguments);
    va_end(arguments);
    size_t printed = count < 0 ? 0 : (size_t)count;
    if (printed >= text->bytes_left)
        printed = text->bytes_left - 1;
    text->at += printed;
    text->bytes_left -= printed;
}

/* T1 is the transaction where the cycle's first edge begins. */
static uint32_t name_of(uint32_t *nodes, uint32_t *nodes_count, uint32_t node)
{
    for (uint32_t i = 0; i < *nodes_count; i++)
        if (nodes[i] == node)
            return i + 1;
    nodes[(*nodes_count)++] = node;
    return *nodes_count;
}

static void print_edge(struct text *text, const struct history *history, uint32_t from, uint32_t to,
                       const struct graph_edge *edge, const struct dependency *dependency)
{
    print(text, "\n  T%u before T%u: ", from, to);
    switch ((enum graph_kind)edge->kind) {
    case GRAPH_WW:
        print(text,
              "T%u appended %" PRId64 " to key %" PRId64 ", T%u appended %" PRId64 " after it (ww)",
              from, dependency->first, dependency->key, to, dependency->second);
        break;
    case GRAPH_WR:
        print(text, "T%u appended %" PRId64 " to key %" PRId64 ", T%u read it (wr)", from,
              dependency->first, dependency->key, to);
        break;
    case GRAPH_RW:
    case GRAPH_PASS:
        if (dependency->nothing_before)
            print(text, "T%u read key %" PRId64 " as empty", from, dependency->key);
        else
            print(text, "T%u read key %" PRId64 " up to %" PRId64, from, dependency->key,
                  dependency->first);
        print(text, ", without %" PRId64 ", which T%u appended (rw)", dependency->second, to);
        break;
    case GRAPH_PROCESS:
        print(text, "process %" PRIu64 " did T%u, then T%u",
              history_operation(history, edge->from)->invoke->process, from, to);
        break;
    case GRAPH_REALTIME:
        print(text, "T%u had ended (event %" PRIu64 ") when T%u began (event %" PRIu64 ")", from,
              history_operation(history, edge->from)->completion->index, to,
              history_operation(history, edge->to)->invoke->index);
        break;
    }
}

void dependencies_print_cycle(const struct dependencies *dependencies,
                              const struct history *history, const struct graph_cycle *cycle,
                              char *text, size_t text_bytes_max)
{
    uint32_t nodes[GRAPH_CYCLE_EDGES_MAX + 1];
    uint32_t nodes_count = 0;
    uint32_t edges_count =
        cycle->edges_count < GRAPH_CYCLE_EDGES_MAX ? cycle->edges_count : GRAPH_CYCLE_EDGES_MAX;
    struct text out = {.at = text, .bytes_left = text_bytes_max};
    size_t operations_count = history_operations_count(history);
    uint32_t dependencies_count = cycle->edges_count;
    for (uint32_t i = 0; i < edges_count; i++)
        dependencies_count -= cycle->edges[i].kind == GRAPH_PASS;
    print(&out, "a cycle of %u dependencies", dependencies_count);
    for (uint32_t i = 0; i < edges_count; i++) {
        struct graph_edge edge = cycle->edges[i];
        struct dependency dependency = {0};
        if (edge.label < dependencies->count)
            dependency = dependencies->all[edge.label];
        if (edge.from >= operations_count)
            continue; /* the second half of the edge before */
        if (edge.to >= operations_count) {
            /* Two edges of the graph, one dependency: the second says what was appended. */
            const struct graph_edge *second = &cycle->edges[(i + 1) % edges_count];
            if (second->from != edge.to)
                break; /* it was left out */
            edge.to = second->to;
            dependency.second = dependencies->all[second->label].second;
        }
        uint32_t from = name_of(nodes, &nodes_count, edge.from);
        uint32_t to = name_of(nodes, &nodes_count, edge.to);
        print_edge(&out, history, from, to, &edge, &dependency);
    }
    if (cycle->edges_count > edges_count)
        print(&out, "\n  and so on");
    for (uint32_t i = 0; i < nodes_count; i++) {
        char txn[DEPENDENCY_TXN_BYTES];
        print(&out, "\n  T%u = %s", i + 1,
              dependency_print_txn(history_operation(history, nodes[i]), txn));
    }
}
