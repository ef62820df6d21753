/* history.h: what clients asked and what they were told, event by event: what a checker judges.
 *
 * One event is an invocation or its completion. A process is a client that has at most one
 * operation under way; after an outcome that it could not learn (HISTORY_INFO) it never invokes
 * again, and a new process number goes on. The order of the events is the order of real time:
 * record an invocation before the request leaves, and a completion after the answer came. On disk
 * it is JSON lines in the form of Jepsen's and Elle's (docs/testing.md, "Histories").
 *
 * Invariants, refused with one line by history_append: a completion has an invocation of the same
 * process and the same operation; time never falls; what a completion says it wrote is what was
 * invoked; a transaction has at most HISTORY_TXN_OPS_MAX micro-operations. Reads may be missing in
 * a completion: of a scan with a limit nobody knows beforehand which keys it reaches.
 */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HISTORY_WHY_BYTES      256
#define HISTORY_LINE_BYTES_MAX (16u << 20)
#define HISTORY_TXN_OPS_MAX    4096u /* checkers compare those of a transaction with each other */
/* Keys, values and amounts are whole numbers that a double holds exactly, for JSON's sake. */
#define HISTORY_NUMBER_MAX (INT64_C(1) << 53)

enum history_type { HISTORY_INVOKE, HISTORY_OK, HISTORY_FAIL, HISTORY_INFO };

enum history_function {
    HISTORY_TXN,      /* a list of micro-operations, all or nothing */
    HISTORY_TRANSFER, /* bank: moves an amount between two accounts */
    HISTORY_READ,     /* bank: all balances, by one consistent read */
    HISTORY_COUNTERS, /* bank: how many transfers each account took part in, by one such read */
};

enum history_action {
    HISTORY_OP_READ,   /* ["r", key, null | number | list] */
    HISTORY_OP_WRITE,  /* ["w", key, value] */
    HISTORY_OP_APPEND, /* ["append", key, value] */
    /* ["cas", key, [null | expected, value]]; a mismatch is a HISTORY_FAIL, or, when the client was
     * told what is there, completes as a read of it. */
    HISTORY_OP_CAS,
    HISTORY_OP_DELETE, /* ["w", key, null]: the key is absent after it */
};

/* What a read returned; invocations have HISTORY_NOTHING, and so has the read of an absent key. */
enum history_found { HISTORY_NOTHING, HISTORY_NUMBER, HISTORY_LIST };

struct history_op {
    enum history_action action;
    enum history_found found; /* of a read */
    int64_t key;
    int64_t value;       /* written, appended, swapped in; or read, when it is a number */
    int64_t expected;    /* of a cas */
    bool expects_absent; /* of a cas: no value, instead of `expected` */
    const int64_t *list; /* read, when it is a list */
    uint32_t list_count;
};

struct history_event {
    enum history_type type;
    enum history_function function;
    uint64_t index;   /* its place in the history; set by history_append */
    uint64_t time_ns; /* of one monotonic clock */
    uint64_t process;
    /* HISTORY_TXN: the micro-operations. HISTORY_READ and HISTORY_COUNTERS, when ok: one
     * HISTORY_OP_READ an account, the account being the key. */
    const struct history_op *ops;
    uint32_t ops_count;
    /* HISTORY_TRANSFER */
    int64_t from;
    int64_t to;
    int64_t amount;
    const char *error; /* of a fail or an info; NULL is none */
};

/* One JSON line. `index` is the count of events written before. OST_IO when the stream fails. */
OST_MUST_CHECK int history_write_event(FILE *file, uint64_t index,
                                       const struct history_event *event);

/* An invocation and, once it is there, its completion. */
struct history_operation {
    const struct history_event *invoke;
    const struct history_event *completion; /* NULL: still under way; judge it as an info */
};

struct history;

struct history *history_new(void);
/* NULL is fine. */
void history_free(struct history *history);

/* Copies the event and all it points to. The micro-operations of a fail, an info and an ok without
 * any are taken from its invocation. OST_INVALID_ARGUMENT, with a line for people in `out_why`
 * (HISTORY_WHY_BYTES), when the event breaks an invariant; the history is then as it was. */
OST_MUST_CHECK int history_append(struct history *history, const struct history_event *event,
                                  char *out_why);

size_t history_events_count(const struct history *history);
/* Valid as long as the history. */
const struct history_event *history_event(const struct history *history, size_t index);
/* In the order of invocation. */
size_t history_operations_count(const struct history *history);
const struct history_operation *history_operation(const struct history *history, size_t index);

/* Outcome of an operation: HISTORY_INFO for one still under way. */
static inline enum history_type history_outcome(const struct history_operation *operation)
{
    return operation->completion ? operation->completion->type : HISTORY_INFO;
}
/* Its place in real time: it took effect after `invoke`'s index and before this one. UINT64_MAX
 * when it may still take effect at any time. */
static inline uint64_t history_end(const struct history_operation *operation)
{
    const struct history_event *completion = operation->completion;
    return completion && completion->type != HISTORY_INFO ? completion->index : UINT64_MAX;
}

/* Appends one line of JSON without its newline. Lines of processes that are no numbers (Jepsen's
 * "nemesis") and empty lines are skipped. Anything wrong is OST_INVALID_ARGUMENT and a reason. */
OST_MUST_CHECK int history_read_line(struct history *history, const char *line, size_t bytes_count,
                                     char *out_why);
/* All lines to the end of the file; the reason begins with "NAME:LINE: ". OST_IO when reading
 * fails.
 */
OST_MUST_CHECK int history_read_file(struct history *history, FILE *file, const char *name,
                                     char *out_why);

/* "process 3 [["append",5,1]]" or so, cut to fit; returns `text`. For explanations. */
char *history_print_event(const struct history_event *event, char *text, size_t text_bytes_max);
