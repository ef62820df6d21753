/* trace.h: everything that happens in a run, as numbers: hashed always, told as a story on demand.
 * Two runs are the same when their hashes are. Nothing that differs between builds or processes
 * (addresses, padding, the real clock) may get in here. */
#pragma once

#include "base/bytes.h"
#include "base/log.h"
#include "base/types.h"

#include <stdio.h>
#include <xxhash.h>

/* kind, then what is printed with the four numbers; "": too frequent for a story unless it is asked
 * for in full. */
#define TRACE_KINDS(X)                                                                             \
    X(TRACE_TURN, true,                                                                            \
      "store %" PRIu64 " turn: %" PRIu64 " events, %" PRIu64                                       \
      " frames, hash of disk writes %016" PRIx64)                                                  \
    X(TRACE_FRAME, true,                                                                           \
      "frame type %" PRIu64 " to connection %" PRIu64 ", %" PRIu64 " bytes, checksum %016" PRIx64) \
    X(TRACE_LOG_DONE, true,                                                                        \
      "store %" PRIu64 " log operation %" PRIu64 " done, segment %" PRIu64 " at %" PRIu64)         \
    X(TRACE_CONNECT, false,                                                                        \
      "host %" PRIu64 " connects to host %" PRIu64 " as %" PRIu64 " (%" PRIu64 ")")                \
    X(TRACE_CONNECTED, false,                                                                      \
      "host %" PRIu64 " connection %" PRIu64 " ended connecting with %" PRId64 " (%" PRIu64 ")")   \
    X(TRACE_CLOSED, false,                                                                         \
      "host %" PRIu64 " lost connection %" PRIu64 " to host %" PRIu64 " (%" PRIu64 ")")            \
    X(TRACE_INVOKE, false,                                                                         \
      "client %" PRIu64 " actor %" PRIu64 " begins attempt %" PRIu64 " of kind %" PRIu64)          \
    X(TRACE_RETURN, false,                                                                         \
      "client %" PRIu64 " actor %" PRIu64 " attempt %" PRIu64 " ended with status %" PRId64)       \
    X(TRACE_START, false,                                                                          \
      "store %" PRIu64 " starts, incarnation %" PRIu64 ", %" PRIu64 " log segments (%" PRIu64 ")") \
    X(TRACE_STARTED, false,                                                                        \
      "store %" PRIu64 " start ended with status %" PRId64 " (%" PRIu64 ", %" PRIu64 ")")          \
    X(TRACE_STOP, false,                                                                           \
      "store %" PRIu64 " is gone, cause %" PRIu64 ", log writes under way %" PRIu64 " (%" PRIu64   \
      ")")                                                                                         \
    X(TRACE_FAULT, false,                                                                          \
      "fault %" PRIu64 " begins: kind %" PRIu64 ", target %" PRIu64 ", argument %" PRIu64)         \
    X(TRACE_HEAL, false,                                                                           \
      "fault %" PRIu64 " ends: kind %" PRIu64 ", target %" PRIu64 ", argument %" PRIu64)           \
    X(TRACE_CLIENT, false,                                                                         \
      "client %" PRIu64 " process: incarnation %" PRIu64 ", alive %" PRIu64 " (%" PRIu64 ")")      \
    X(TRACE_PHASE, false,                                                                          \
      "phase %" PRIu64 " begins: operations %" PRIu64 ", faults %" PRIu64 " (%" PRIu64 ")")

enum trace_kind {
#define TRACE_ENUM(kind, is_detail, format) kind,
    TRACE_KINDS(TRACE_ENUM)
#undef TRACE_ENUM
};

struct trace {
    XXH3_state_t *state;
    FILE *story; /* NULL: none */
    bool is_full;
    const nanoseconds_t *now_ns;
    uint64_t events_count;
};

void trace_init(struct trace *trace, const nanoseconds_t *now_ns, FILE *story, bool is_full);
void trace_fini(struct trace *trace);
void trace_event(struct trace *trace, enum trace_kind kind, uint64_t a, uint64_t b, uint64_t c,
                 uint64_t d);
/* A line of the program's own log. */
void trace_log(struct trace *trace, const char *line);
/* A line for the story alone: not hashed. */
__attribute__((format(printf, 2, 3))) void trace_tell(struct trace *trace, const char *format, ...);
uint64_t trace_hash(const struct trace *trace);
