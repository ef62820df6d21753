#include "cmd/history.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct history_process {
    uint64_t id;
    size_t operation; /* under way, or the last one */
    bool busy;
    bool ended; /* by an info */
    UT_hash_handle hh;
};

struct history {
    struct arena arena; /* events and what they point to, and the processes */
    const struct history_event **events;
    size_t events_count;
    size_t events_capacity;
    struct history_operation *operations;
    size_t operations_count;
    size_t operations_capacity;
    struct history_process *processes;
};

struct history *history_new(void)
{
    struct history *history = memory_alloc_zeroed(1, sizeof *history);
    arena_init(&history->arena);
    return history;
}

void history_free(struct history *history)
{
    if (!history)
        return;
    HASH_CLEAR(hh, history->processes);
    arena_fini(&history->arena);
    free(history->events);
    free(history->operations);
    free(history);
}

size_t history_events_count(const struct history *history)
{
    return history->events_count;
}

const struct history_event *history_event(const struct history *history, size_t index)
{
    ASSERT(index < history->events_count);
    return history->events[index];
}

size_t history_operations_count(const struct history *history)
{
    return history->operations_count;
}

const struct history_operation *history_operation(const struct history *history, size_t index)
{
    ASSERT(index < history->operations_count);
    return &history->operations[index];
}

__attribute__((format(printf, 2, 3))) static int refuse(char *out_why, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(out_why, HISTORY_WHY_BYTES, format, arguments);
    va_end(arguments);
    return OST_INVALID_ARGUMENT;
}

/* Does the completion say that it did what was invoked? */
static bool op_completes(const struct history_op *invoked, const struct history_op *completed)
{
    if (invoked->key != completed->key)
        return false;
    if (invoked->action == HISTORY_OP_CAS && completed->action == HISTORY_OP_READ) {
        bool matched = invoked->expects_absent ? completed->found == HISTORY_NOTHING
                                               : completed->found == HISTORY_NUMBER &&
                                                     completed->value == invoked->expected;
        return !matched;
    }
    if (invoked->action != completed->action)
        return false;
    switch (invoked->action) {
    case HISTORY_OP_READ:
    case HISTORY_OP_DELETE:
        return true;
    case HISTORY_OP_WRITE:
    case HISTORY_OP_APPEND:
        return invoked->value == completed->value;
    case HISTORY_OP_CAS:
        return invoked->value == completed->value && invoked->expected == completed->expected &&
               invoked->expects_absent == completed->expects_absent;
    }
    return false;
}

static int check_completion(const struct history_event *invoke, const struct history_event *event,
                            char *out_why)
{
    if (event->function != invoke->function)
        return refuse(out_why, "process %" PRIu64 " completes another operation than it invoked",
                      event->process);
    if (event->type != HISTORY_OK)
        return OST_OK;
    if (event->function == HISTORY_TRANSFER &&
        (event->from != invoke->from || event->to != invoke->to || event->amount != invoke->amount))
        return refuse(out_why, "process %" PRIu64 " completes another transfer than it invoked",
                      event->process);
    if (event->function != HISTORY_TXN)
        return OST_OK;
    uint32_t completed = 0;
    if (event->ops_count == 0 && invoke->ops_count > 0)
        return refuse(out_why, "process %" PRIu64 " completes 0 micro-operations of %u",
                      event->process, invoke->ops_count);
    for (uint32_t i = 0; i < invoke->ops_count; i++) {
        if (completed < event->ops_count && op_completes(&invoke->ops[i], &event->ops[completed]))
            completed++;
        else if (invoke->ops[i].action != HISTORY_OP_READ)
            return refuse(
                out_why, "process %" PRIu64 " completes another micro-operation %u than it invoked",
                event->process, i);
    }
    if (completed < event->ops_count)
        return refuse(out_why,
                      "process %" PRIu64 " completes another micro-operation %u than it invoked",
                      event->process, completed);
    return OST_OK;
}

/* The event's place among what its process did before: refuses what cannot follow. */
static int check_event(const struct history *history, const struct history_process *process,
                       const struct history_event *event, char *out_why)
{
    if (history->events_count > 0 &&
        event->time_ns < history->events[history->events_count - 1]->time_ns)
        return refuse(out_why, "time falls to %" PRIu64 ": events are to be in the order of time",
                      event->time_ns);
    if (event->function == HISTORY_TXN && event->ops_count > HISTORY_TXN_OPS_MAX)
        return refuse(out_why, "a txn has more than %u micro-operations", HISTORY_TXN_OPS_MAX);
    if (event->type == HISTORY_INVOKE) {
        if (process && process->busy)
            return refuse(out_why, "process %" PRIu64 " invokes while an operation is under way",
                          event->process);
        if (process && process->ended)
            return refuse(out_why, "process %" PRIu64 " invokes after an unknown outcome",
                          event->process);
        return OST_OK;
    }
    if (!process || !process->busy)
        return refuse(out_why, "process %" PRIu64 " completes what it did not invoke",
                      event->process);
    return check_completion(history->operations[process->operation].invoke, event, out_why);
}

static const struct history_event *event_copy(struct history *history,
                                              const struct history_event *event,
                                              const struct history_event *invoke)
{
    struct arena *arena = &history->arena;
    struct history_event *copy = arena_alloc(arena, sizeof *copy);
    *copy = *event;
    copy->index = history->events_count;
    if (event->error)
        copy->error = arena_printf(arena, "%s", event->error);
    if (invoke && event->type != HISTORY_OK) {
        copy->ops = invoke->ops;
        copy->ops_count = invoke->ops_count;
        copy->from = invoke->from;
        copy->to = invoke->to;
        copy->amount = invoke->amount;
        return copy;
    }
    if (event->ops_count == 0) {
        copy->ops = NULL;
        return copy;
    }
    struct history_op *ops = arena_alloc(arena, event->ops_count * sizeof *ops);
    memcpy(ops, event->ops, event->ops_count * sizeof *ops);
    for (uint32_t i = 0; i < event->ops_count; i++) {
        if (ops[i].found != HISTORY_LIST || ops[i].list_count == 0)
            continue;
        int64_t *list = arena_alloc(arena, ops[i].list_count * sizeof *list);
        memcpy(list, event->ops[i].list, ops[i].list_count * sizeof *list);
        ops[i].list = list;
    }
    copy->ops = ops;
    return copy;
}

static size_t capacity_grow(size_t capacity)
{
    return capacity ? 2 * capacity : 64;
}

static void events_push(struct history *history, const struct history_event *event)
{
    if (history->events_count == history->events_capacity) {
        history->events_capacity = capacity_grow(history->events_capacity);
        history->events =
            memory_realloc(history->events, history->events_capacity * sizeof *history->events);
    }
    history->events[history->events_count++] = event;
}

static size_t operations_push(struct history *history, const struct history_event *invoke)
{
    if (history->operations_count == history->operations_capacity) {
        history->operations_capacity = capacity_grow(history->operations_capacity);
        history->operations = memory_realloc(history->operations, history->operations_capacity *
                                                                      sizeof *history->operations);
    }
    history->operations[history->operations_count] = (struct history_operation){.invoke = invoke};
    return history->operations_count++;
}

int history_append(struct history *history, const struct history_event *event, char *out_why)
{
    struct history_process *process;
    HASH_FIND(hh, history->processes, &event->process, sizeof event->process, process);
    int status = check_event(history, process, event, out_why);
    if (status != OST_OK)
        return status;
    if (!process) {
        process = arena_alloc_zeroed(&history->arena, sizeof *process);
        process->id = event->process;
        HASH_ADD(hh, history->processes, id, sizeof process->id, process);
    }
    const struct history_event *invoke =
        event->type == HISTORY_INVOKE ? NULL : history->operations[process->operation].invoke;
    const struct history_event *copy = event_copy(history, event, invoke);
    events_push(history, copy);
    if (event->type == HISTORY_INVOKE) {
        process->operation = operations_push(history, copy);
        process->busy = true;
    } else {
        history->operations[process->operation].completion = copy;
        process->busy = false;
        process->ended = event->type == HISTORY_INFO;
    }
    return OST_OK;
}
