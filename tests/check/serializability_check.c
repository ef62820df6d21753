#include "tests/check/serializability_check.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "tests/check/graph.h"
#include "tests/check/serializability_explain.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define OPERATION_NONE    UINT32_MAX
#define UPDATER_EDGES_MAX 4096u

struct list_key;

struct append_id {
    int64_t key;
    int64_t value;
};

struct append {
    struct append_id id;
    uint32_t operation;
    bool observed;
    struct append *next_own; /* of the same transaction to the same key */
    struct append *next;     /* of the key */
    UT_hash_handle hh;
};

struct list_key {
    int64_t key;
    struct append *appends; /* newest first */
    /* The longest list read: the order of its versions. */
    const int64_t *order;
    uint32_t order_count;
    struct append **writers; /* of order; NULL where nobody wrote it */
    uint32_t *updaters;      /* by the length read: a transaction that read it and appended */
    bool has_unobserved;     /* appends that are committed and not in `order` */
    uint32_t hub;            /* the node between readers of all of `order` and those appends */
    UT_hash_handle hh;
};

struct checker {
    const struct history *history;
    const struct serializability_check_options *options;
    struct check_result *result;
    uint32_t operations_count;
    struct arena arena;
    struct list_key *keys;
    struct append *appends;
    bool *committed; /* by operation: ok, or of unknown outcome and seen by a read */
    struct graph *graph;
    struct dependencies dependencies; /* what the edges' labels say */
};

static const struct history_operation *operation_of(const struct checker *checker, uint32_t index)
{
    return history_operation(checker->history, index);
}

static enum history_type outcome_of(const struct checker *checker, uint32_t index)
{
    return history_outcome(operation_of(checker, index));
}

/* What it did: with what its reads returned, when that is known. */
static const struct history_event *event_of(const struct checker *checker, uint32_t index)
{
    const struct history_operation *operation = operation_of(checker, index);
    return operation->completion ? operation->completion : operation->invoke;
}

/* For explanations; a few may be in use at a time. */
static const char *txn_text(const struct checker *checker, uint32_t index)
{
    static _Thread_local char texts[4][DEPENDENCY_TXN_BYTES];
    static _Thread_local unsigned int next;
    return dependency_print_txn(operation_of(checker, index), texts[next++ % 4]);
}

static struct list_key *key_find(struct checker *checker, int64_t key)
{
    struct list_key *found;
    HASH_FIND(hh, checker->keys, &key, sizeof key, found);
    if (found)
        return found;
    found = arena_alloc_zeroed(&checker->arena, sizeof *found);
    found->key = key;
    HASH_ADD(hh, checker->keys, key, sizeof found->key, found);
    return found;
}

static struct append *append_find(const struct checker *checker, int64_t key, int64_t value)
{
    struct append_id id = {.key = key, .value = value};
    struct append *found;
    HASH_FIND(hh, checker->appends, &id, sizeof id, found);
    return found;
}

/* Step 1: who appended what. */

static void collect_append(struct checker *checker, uint32_t operation, const struct history_op *op)
{
    struct append *earlier = append_find(checker, op->key, op->value);
    if (earlier) {
        check_result_undecided(checker->result, "ambiguous",
                               "the workload appended %" PRId64 " to key %" PRId64 " twice: %s; %s",
                               op->value, op->key, txn_text(checker, earlier->operation),
                               txn_text(checker, operation));
        return;
    }
    struct list_key *key = key_find(checker, op->key);
    struct append *append = arena_alloc_zeroed(&checker->arena, sizeof *append);
    append->id = (struct append_id){.key = op->key, .value = op->value};
    append->operation = operation;
    append->next = key->appends;
    if (key->appends && key->appends->operation == operation)
        key->appends->next_own = append;
    key->appends = append;
    HASH_ADD(hh, checker->appends, id, sizeof append->id, append);
}

static void collect(struct checker *checker)
{
    for (uint32_t index = 0; index < checker->operations_count; index++) {
        const struct history_event *invoke = operation_of(checker, index)->invoke;
        if (invoke->function != HISTORY_TXN)
            continue;
        enum history_type outcome = outcome_of(checker, index);
        checker->result->judged_count++;
        checker->result->unknown_count += outcome == HISTORY_INFO;
        checker->committed[index] = outcome == HISTORY_OK;
        for (uint32_t i = 0; i < invoke->ops_count; i++)
            if (invoke->ops[i].action == HISTORY_OP_APPEND)
                collect_append(checker, index, &invoke->ops[i]);
    }
}

/* Step 2: what each transaction read. */

typedef void (*read_fn)(struct checker *checker, uint32_t operation, uint32_t op_index,
                        const struct history_op *op);

static bool is_list_read(const struct history_op *op)
{
    return op->action == HISTORY_OP_READ && op->found != HISTORY_NUMBER;
}

static void each_read(struct checker *checker, read_fn fn)
{
    for (uint32_t index = 0; index < checker->operations_count; index++) {
        const struct history_event *event = event_of(checker, index);
        if (event->function != HISTORY_TXN || outcome_of(checker, index) != HISTORY_OK)
            continue;
        for (uint32_t i = 0; i < event->ops_count; i++)
            if (is_list_read(&event->ops[i]))
                fn(checker, index, i, &event->ops[i]);
    }
}

/* A read shows what the transaction itself read and appended before. */
static void judge_internal(struct checker *checker, uint32_t operation, uint32_t op_index,
                           const struct history_op *op)
{
    const struct history_op *ops = event_of(checker, operation)->ops;
    uint32_t left = op->list_count; /* of its list, from the end */
    bool agrees = true;
    uint32_t i = op_index;
    while (agrees && i-- > 0) {
        if (ops[i].key != op->key)
            continue;
        if (ops[i].action == HISTORY_OP_APPEND) {
            agrees = left > 0 && op->list[left - 1] == ops[i].value;
            left -= agrees;
        } else if (is_list_read(&ops[i])) {
            agrees = left == ops[i].list_count &&
                     (left == 0 || memcmp(op->list, ops[i].list, left * sizeof *op->list) == 0);
            break;
        }
    }
    if (!agrees)
        check_result_violation(checker->result, "internal",
                               "a read of key %" PRId64
                               " contradicts what its own transaction read or appended before: %s",
                               op->key, txn_text(checker, operation));
}

static void find_order(struct checker *checker, uint32_t operation, uint32_t op_index,
                       const struct history_op *op)
{
    (void)operation;
    (void)op_index;
    struct list_key *key = key_find(checker, op->key);
    if (op->list_count > key->order_count) {
        key->order = op->list;
        key->order_count = op->list_count;
    }
}

static bool is_prefix(const struct list_key *key, const struct history_op *op)
{
    return op->list_count == 0 ||
           memcmp(op->list, key->order, op->list_count * sizeof *op->list) == 0;
}

/* Step 3: the versions of a key, and who wrote them. */

/* Of a list that was read: NULL when nobody, or a failed transaction, wrote the element. */
static struct append *judge_element(struct checker *checker, const struct list_key *key,
                                    int64_t value)
{
    struct append *append = append_find(checker, key->key, value);
    if (!append) {
        check_result_violation(checker->result, "garbage-read",
                               "a read of key %" PRId64 " shows %" PRId64 ", which nobody appended",
                               key->key, value);
        return NULL;
    }
    if (outcome_of(checker, append->operation) == HISTORY_FAIL) {
        check_result_violation(checker->result, "G1a",
                               "a read of key %" PRId64 " shows %" PRId64
                               ", which a failed transaction appended: %s",
                               key->key, value, txn_text(checker, append->operation));
        return NULL;
    }
    return append;
}

static void judge_order(struct checker *checker, struct list_key *key)
{
    key->writers =
        arena_alloc_zeroed(&checker->arena, ((size_t)key->order_count + 1) * sizeof *key->writers);
    key->updaters =
        arena_alloc(&checker->arena, ((size_t)key->order_count + 1) * sizeof *key->updaters);
    memset(key->updaters, 0xff, ((size_t)key->order_count + 1) * sizeof *key->updaters);
    bool aborted = false;
    for (uint32_t i = 0; i < key->order_count; i++) {
        struct append *append = judge_element(checker, key, key->order[i]);
        if (!append) {
            aborted = aborted || append_find(checker, key->key, key->order[i]);
            continue;
        }
        if (append->observed) {
            check_result_violation(checker->result, "duplicate-elements",
                                   "a read of key %" PRId64 " shows %" PRId64
                                   " twice, which was appended once: %s",
                                   key->key, key->order[i], txn_text(checker, append->operation));
            continue;
        }
        if (aborted)
            check_result_violation(checker->result, "dirty-update",
                                   "key %" PRId64 " has %" PRId64
                                   " behind what a failed transaction appended: %s",
                                   key->key, key->order[i], txn_text(checker, append->operation));
        append->observed = true;
        checker->committed[append->operation] = true;
        key->writers[i] = append;
    }
}

static void judge_read(struct checker *checker, uint32_t operation, uint32_t op_index,
                       const struct history_op *op)
{
    (void)op_index;
    struct list_key *key = key_find(checker, op->key);
    if (is_prefix(key, op))
        return;
    uint32_t at = 0;
    while (op->list[at] == key->order[at])
        at++;
    check_result_violation(
        checker->result, "incompatible-order",
        "key %" PRId64 " has at place %u %" PRId64 " in one read and %" PRId64 " in this one: %s",
        key->key, at, key->order[at], op->list[at], txn_text(checker, operation));
    for (uint32_t i = at; i < op->list_count; i++)
        (void)judge_element(checker, key, op->list[i]);
}

static void judge_lost_update(struct checker *checker, uint32_t operation, uint32_t op_index,
                              const struct history_op *op)
{
    const struct history_event *event = event_of(checker, operation);
    struct list_key *key = key_find(checker, op->key);
    bool updates = false;
    for (uint32_t i = 0; i < event->ops_count; i++) {
        if (event->ops[i].key != op->key)
            continue;
        if (i < op_index)
            return; /* not the version from which it set out */
        updates = updates || event->ops[i].action == HISTORY_OP_APPEND;
    }
    if (!updates || !is_prefix(key, op))
        return;
    uint32_t *updater = &key->updaters[op->list_count];
    if (*updater != OPERATION_NONE)
        check_result_violation(checker->result, "lost-update",
                               "two transactions appended to key %" PRId64
                               " after they had read the same %u elements: %s; %s",
                               key->key, op->list_count, txn_text(checker, *updater),
                               txn_text(checker, operation));
    *updater = operation;
}

/* Of a write that its own transaction went on to change. */
static void judge_intermediate(struct checker *checker, uint32_t operation, uint32_t op_index,
                               const struct history_op *op)
{
    (void)op_index;
    if (op->list_count == 0)
        return;
    const struct append *last = append_find(checker, op->key, op->list[op->list_count - 1]);
    if (last && last->next_own && last->operation != operation)
        check_result_violation(checker->result, "G1b",
                               "a read of key %" PRId64 " ends with %" PRId64
                               ", to which its transaction appended more: %s read from %s",
                               op->key, op->list[op->list_count - 1], txn_text(checker, operation),
                               txn_text(checker, last->operation));
}

/* Step 4: what follows for the order of transactions. */

static void depend(struct checker *checker, uint32_t from, uint32_t to, enum graph_kind kind,
                   const struct dependency *dependency)
{
    graph_add(checker->graph, from, to, kind,
              dependency ? dependencies_add(&checker->dependencies, dependency) : 0);
}

static bool is_unobserved(const struct checker *checker, const struct append *append)
{
    return !append->observed && checker->committed[append->operation];
}

/* Each to the next; and what no read shows is later than what one does. */
static void link_writers(struct checker *checker, struct list_key *key)
{
    const struct append *last = NULL;
    for (uint32_t i = 0; i < key->order_count; i++) {
        const struct append *append = key->writers[i];
        if (!append)
            continue;
        if (last)
            depend(checker, last->operation, append->operation, GRAPH_WW,
                   &(struct dependency){
                       .key = key->key, .first = last->id.value, .second = append->id.value});
        last = append;
    }
    for (const struct append *append = key->appends; append; append = append->next) {
        if (!is_unobserved(checker, append))
            continue;
        struct dependency dependency = {.key = key->key, .second = append->id.value};
        if (last) {
            dependency.first = last->id.value;
            depend(checker, last->operation, append->operation, GRAPH_WW, &dependency);
        }
        depend(checker, key->hub, append->operation, GRAPH_PASS, &dependency);
    }
}

/* The reader of all versions that anyone saw is before the appends that nobody saw. Through the
 * hub; but one that appended itself is linked to the others directly, or it would precede itself.
 * Where there are two of that kind, an update was lost and has been reported: the number of edges
 * is bounded then. */
static void link_reader_of_all(struct checker *checker, uint32_t operation,
                               const struct list_key *key, const struct dependency *dependency)
{
    bool appends = false;
    if (!key->has_unobserved)
        return;
    const struct history_event *event = event_of(checker, operation);
    for (uint32_t i = 0; i < event->ops_count; i++)
        appends =
            appends || (event->ops[i].key == key->key && event->ops[i].action == HISTORY_OP_APPEND);
    if (!appends) {
        depend(checker, operation, key->hub, GRAPH_RW, dependency);
        return;
    }
    uint32_t edges_count = 0;
    for (const struct append *append = key->appends; append; append = append->next) {
        if (!is_unobserved(checker, append) || append->operation == operation)
            continue;
        struct dependency to = *dependency;
        to.second = append->id.value;
        depend(checker, operation, append->operation, GRAPH_RW, &to);
        if (++edges_count == UPDATER_EDGES_MAX)
            return;
    }
}

static void link_read(struct checker *checker, uint32_t operation, uint32_t op_index,
                      const struct history_op *op)
{
    (void)op_index;
    struct list_key *key = key_find(checker, op->key);
    if (!is_prefix(key, op))
        return;
    struct dependency dependency = {.key = key->key, .nothing_before = op->list_count == 0};
    if (op->list_count > 0) {
        const struct append *last = key->writers[op->list_count - 1];
        dependency.first = op->list[op->list_count - 1];
        if (last)
            depend(checker, last->operation, operation, GRAPH_WR, &dependency);
    }
    for (uint32_t i = op->list_count; i < key->order_count; i++) {
        const struct append *next = key->writers[i];
        if (!next)
            continue;
        dependency.second = next->id.value;
        depend(checker, operation, next->operation, GRAPH_RW, &dependency);
        return;
    }
    link_reader_of_all(checker, operation, key, &dependency);
}

/* Real time, reduced: an operation follows those that ended before it began, except such as ended
 * before another of these began. Those left overlap each other, so there are no more of them than
 * there were clients. */
static void link_realtime(struct checker *checker)
{
    size_t events_count = history_events_count(checker->history);
    uint32_t *frontier = memory_alloc((checker->operations_count + 1) * sizeof *frontier);
    uint32_t *by_event = memory_alloc((events_count + 1) * sizeof *by_event);
    uint32_t frontier_count = 0;
    memset(by_event, 0xff, events_count * sizeof *by_event);
    for (uint32_t index = 0; index < checker->operations_count; index++) {
        const struct history_operation *operation = operation_of(checker, index);
        by_event[operation->invoke->index] = index;
        if (outcome_of(checker, index) == HISTORY_OK)
            by_event[operation->completion->index] = index;
    }
    for (size_t i = 0; i < events_count; i++) {
        uint32_t index = by_event[i];
        if (index == OPERATION_NONE || outcome_of(checker, index) == HISTORY_FAIL)
            continue;
        const struct history_event *invoke = operation_of(checker, index)->invoke;
        if (invoke->index == i) {
            for (uint32_t j = 0; j < frontier_count; j++)
                depend(checker, frontier[j], index, GRAPH_REALTIME, NULL);
            continue;
        }
        uint32_t kept_count = 0;
        for (uint32_t j = 0; j < frontier_count; j++)
            if (history_end(operation_of(checker, frontier[j])) > invoke->index)
                frontier[kept_count++] = frontier[j];
        frontier_count = kept_count;
        frontier[frontier_count++] = index;
    }
    free(by_event);
    free(frontier);
}

struct last_of_process {
    uint64_t process;
    uint32_t operation;
    UT_hash_handle hh;
};

static void link_processes(struct checker *checker)
{
    struct last_of_process *processes = NULL;
    for (uint32_t index = 0; index < checker->operations_count; index++) {
        if (outcome_of(checker, index) == HISTORY_FAIL)
            continue;
        uint64_t process = operation_of(checker, index)->invoke->process;
        struct last_of_process *last;
        HASH_FIND(hh, processes, &process, sizeof process, last);
        if (last) {
            depend(checker, last->operation, index, GRAPH_PROCESS, NULL);
        } else {
            last = arena_alloc_zeroed(&checker->arena, sizeof *last);
            last->process = process;
            HASH_ADD(hh, processes, process, sizeof last->process, last);
        }
        last->operation = index;
    }
    HASH_CLEAR(hh, processes);
}

static void link_all(struct checker *checker)
{
    uint32_t nodes_count = checker->operations_count;
    struct list_key *key, *next;
    HASH_ITER (hh, checker->keys, key, next) {
        for (const struct append *append = key->appends; append; append = append->next)
            key->has_unobserved = key->has_unobserved || is_unobserved(checker, append);
        if (key->has_unobserved)
            key->hub = nodes_count++;
    }
    checker->graph = graph_new(nodes_count);
    HASH_ITER (hh, checker->keys, key, next)
        link_writers(checker, key);
    each_read(checker, link_read);
    if (!checker->options->ignore_process)
        link_processes(checker);
    if (!checker->options->ignore_realtime)
        link_realtime(checker);
    graph_seal(checker->graph);
}

/* Step 5: cycles. Those of data alone come first: they say most. */

static void report_cycle(struct checker *checker, const char *name, const char *suffix,
                         const struct graph_cycle *cycle)
{
    char full_name[CHECK_NAME_BYTES];
    char text[CHECK_EXPLANATION_BYTES];
    (void)snprintf(full_name, sizeof full_name, "%s%s", name, suffix);
    dependencies_print_cycle(&checker->dependencies, checker->history, cycle, text, sizeof text);
    check_result_violation(checker->result, full_name, "%s", text);
}

static bool judge_cycles_of(struct checker *checker, uint32_t orders, const char *suffix)
{
    const uint32_t ww = GRAPH_WW | orders, wr = ww | GRAPH_WR, all = wr | GRAPH_RW | GRAPH_PASS;
    struct graph_cycle cycle = {0};
    if (!graph_has_cycle(checker->graph, all))
        return false;
    if (graph_find_cycle(checker->graph, ww, &cycle))
        report_cycle(checker, "G0", suffix, &cycle);
    else if (graph_find_cycle(checker->graph, wr, &cycle))
        report_cycle(checker, "G1c", suffix, &cycle);
    else if (graph_find_cycle_once(checker->graph, wr | GRAPH_PASS, GRAPH_RW, &cycle))
        report_cycle(checker, "G-single", suffix, &cycle);
    else if (graph_find_cycle(checker->graph, all, &cycle))
        report_cycle(checker, "G2-item", suffix, &cycle);
    return true;
}

static void judge_cycles(struct checker *checker)
{
    if (!graph_has_cycle(checker->graph, ~UINT32_C(0)))
        return;
    if (judge_cycles_of(checker, 0, ""))
        return;
    if (judge_cycles_of(checker, GRAPH_PROCESS, "-process"))
        return;
    (void)judge_cycles_of(checker, GRAPH_PROCESS | GRAPH_REALTIME, "-realtime");
}

void serializability_check(const struct history *history,
                           const struct serializability_check_options *options,
                           struct check_result *out)
{
    static const struct serializability_check_options defaults = {0};
    struct checker checker = {.history = history,
                              .options = options ? options : &defaults,
                              .result = out,
                              .operations_count = (uint32_t)history_operations_count(history)};
    check_result_init(out);
    arena_init(&checker.arena);
    checker.committed = memory_alloc_zeroed((size_t)checker.operations_count + 1, sizeof(bool));
    collect(&checker);
    each_read(&checker, find_order);
    struct list_key *key, *next;
    HASH_ITER (hh, checker.keys, key, next)
        judge_order(&checker, key);
    each_read(&checker, judge_read);
    each_read(&checker, judge_internal);
    each_read(&checker, judge_intermediate);
    each_read(&checker, judge_lost_update);
    link_all(&checker);
    judge_cycles(&checker);
    graph_free(checker.graph);
    dependencies_fini(&checker.dependencies);
    HASH_CLEAR(hh, checker.keys);
    HASH_CLEAR(hh, checker.appends);
    free(checker.committed);
    arena_fini(&checker.arena);
}
