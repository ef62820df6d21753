/* loop.h: one io_uring, and the one thread that runs it.
 *
 * SINGLE_ISSUER | DEFER_TASKRUN. A turn: submit what is queued and wait for completions or the
 * deadline in one system call, hand each completion to its owner, then the caller does its own
 * work. Nothing called from the loop may block. Other threads reach the loop through io_wakeup
 * alone.
 */
#pragma once

#include "base/status.h"
#include "base/types.h"

struct io_loop;

OST_MUST_CHECK int io_loop_new(struct io_loop **out_loop);
/* All connections, listeners and threads that use it are closed before. */
void io_loop_free(struct io_loop *loop);

/* CLOCK_MONOTONIC, read now. */
nanoseconds_t io_clock_read_ns(void);
/* CLOCK_MONOTONIC, read once a turn, after the wait. */
nanoseconds_t io_loop_now_ns(const struct io_loop *loop);
/* Wall clock in milliseconds since 1970, read once a turn. */
uint64_t io_loop_wall_ms(const struct io_loop *loop);

/* One turn. Waits until something completes or the monotonic clock reaches `deadline_ns` (NS_NEVER:
 * no limit; anything past: do not wait). Callbacks of connections, writers and pools run inside. */
void io_loop_turn(struct io_loop *loop, nanoseconds_t deadline_ns);

/* A wake-up from any thread: `callback` runs on the loop's thread, once for any number of signals
 * that came since its last run. io_wakeup_signal is safe for threads and for signal handlers, and
 * makes no system call when a signal is already under way. */
struct io_wakeup;
OST_MUST_CHECK int io_wakeup_new(struct io_loop *loop, void (*callback)(void *context),
                                 void *context, struct io_wakeup **out_wakeup);
void io_wakeup_signal(struct io_wakeup *wakeup);
/* Every io_wakeup_signal has returned (threads joined). Not from a callback. */
void io_wakeup_free(struct io_wakeup *wakeup);
