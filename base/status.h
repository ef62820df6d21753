/* status.h: the one list of status codes, for the library, the wire and the command line.
 *
 * Every fallible function returns `int`: 0 or one of these negative codes. They are never mixed
 * with errno; a failed system call is wrapped where it happens. The numbers are fixed: they travel.
 */
#pragma once

#include <stdbool.h>

#define OST_MUST_CHECK __attribute__((warn_unused_result))

enum ost_status_class {
    OST_CLASS_OK,
    OST_CLASS_RETRYABLE,       /* nothing happened; the same request may be sent again */
    OST_CLASS_REFUSED,         /* nothing happened; the same request will be refused again */
    OST_CLASS_MAYBE_COMMITTED, /* the outcome is not known; ask again with the same id */
    OST_CLASS_FATAL,           /* the store or the connection must stop */
};

/* name, number, class, text */
#define OST_STATUS_LIST(X)                                                                         \
    X(OST_OK, 0, OK, "ok")                                                                         \
    X(OST_NOT_LEADER, -1, RETRYABLE, "this store does not lead the group")                         \
    X(OST_NOT_READY, -2, RETRYABLE, "the store is starting or has no quorum yet")                  \
    X(OST_BUSY, -3, RETRYABLE, "a queue is full, try again later")                                 \
    X(OST_RANGE_MOVED, -4, RETRYABLE, "the key's range is not served here at this epoch")          \
    X(OST_LOCKS_LOST, -5, RETRYABLE, "the transaction lost its locks, run it again")               \
    X(OST_WOUNDED, -6, RETRYABLE, "an older transaction took the locks, run it again")             \
    X(OST_ABORTED, -7, RETRYABLE, "the transaction was aborted, run it again")                     \
    X(OST_DEADLINE_EXCEEDED, -8, RETRYABLE, "the deadline passed before the request was done")     \
    X(OST_LOCK_TIMEOUT, -9, RETRYABLE, "waited too long for a lock")                               \
    X(OST_DISCONNECTED, -10, RETRYABLE, "the connection was lost")                                 \
    X(OST_WOULD_BLOCK, -11, RETRYABLE, "the answer is not in memory")                              \
    X(OST_LEARNER_BEHIND, -12, RETRYABLE, "a learner is too far behind to be given a vote")        \
    X(OST_NOT_FOUND, -20, REFUSED, "not found")                                                    \
    X(OST_INVALID_ARGUMENT, -21, REFUSED, "invalid argument")                                      \
    X(OST_TOO_LARGE, -22, REFUSED, "larger than the limit")                                        \
    X(OST_UNKNOWN_TXN, -23, REFUSED, "no such transaction is known")                               \
    X(OST_TXN_FINISHED, -24, REFUSED, "the transaction has already been finished")                 \
    X(OST_UNSUPPORTED, -25, REFUSED, "not supported by this version")                              \
    X(OST_CANCELED, -26, REFUSED, "canceled by the caller")                                        \
    X(OST_EXISTS, -27, REFUSED, "exists already")                                                  \
    X(OST_CONFLICT, -28, REFUSED, "the state is not the one expected")                             \
    X(OST_SNAPSHOT_TOO_OLD, -29, REFUSED,                                                          \
      "the timestamp lies below the safe point: its versions may be gone")                         \
    X(OST_MAYBE_COMMITTED, -40, MAYBE_COMMITTED, "no quorum answered, the outcome is not known")   \
    X(OST_IO, -60, FATAL, "input or output failed")                                                \
    X(OST_NO_SPACE, -61, FATAL, "no space left on device")                                         \
    X(OST_CORRUPT, -62, FATAL, "stored data is damaged")                                           \
    X(OST_NO_MEMORY, -63, FATAL, "out of memory")                                                  \
    X(OST_WRONG_CLUSTER, -64, FATAL, "belongs to another cluster")                                 \
    X(OST_WRONG_VERSION, -65, FATAL, "written by another version")                                 \
    X(OST_PROTOCOL, -66, FATAL, "the peer broke the protocol")                                     \
    X(OST_ADDRESS_IN_USE, -67, FATAL, "address already in use")                                    \
    X(OST_LOG_FULL, -68, RETRYABLE, "the log's window is full, try again later")

enum ost_status {
#define OST_STATUS_ENUM(name, number, class, text) name = number,
    OST_STATUS_LIST(OST_STATUS_ENUM)
#undef OST_STATUS_ENUM
};

/* Static strings; an unknown number gives "unknown status". */
const char *ost_status_text(int status);
/* The name without its prefix in lower case, for scripts: "not_leader". */
const char *ost_status_name(int status);
enum ost_status_class ost_status_class(int status);
static inline bool ost_status_is_retryable(int status)
{
    return ost_status_class(status) == OST_CLASS_RETRYABLE;
}
