/* loop_internal.h: what the other files of this folder need of the loop.
 *
 * A request in the ring carries the address of a struct io_operation as its user data; the
 * completion is handed to the function in it. The owner keeps the operation alive until the last
 * completion of the request (no IORING_CQE_F_MORE) has come. User data 0 is for requests nobody
 * waits for.
 */
#pragma once

#include "io/loop.h"

#include <bsd/sys/queue.h>
#include <liburing.h>
#include <stddef.h>

struct io_operation {
    /* `result` is what the system call would have returned, or a negative errno. */
    void (*complete)(struct io_operation *operation, int result, uint32_t flags);
    const void *owner; /* for io_loop_drain */
};

/* Called at the start of each turn, before what is queued is submitted. Returns true when it ran a
 * callback of the user, who then may have new work and a nearer deadline: the turn does not wait.
 */
struct io_turn_hook {
    bool (*run)(struct io_turn_hook *hook);
    TAILQ_ENTRY(io_turn_hook) link;
};

#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct io_uring *io_loop_ring(struct io_loop *loop);
/* A free entry of the submission queue, never NULL. First a prep function fills it, which clears
 * the user data, then io_loop_sqe_own names the operation (or NULL). */
struct io_uring_sqe *io_loop_sqe(struct io_loop *loop);
static inline void io_loop_sqe_own(struct io_uring_sqe *sqe, struct io_operation *operation)
{
    io_uring_sqe_set_data(sqe, operation);
}
/* Asks the kernel to end a request; its last completion still comes, whatever it says. */
void io_loop_cancel(struct io_loop *loop, struct io_operation *operation);

void io_loop_hook_add(struct io_loop *loop, struct io_turn_hook *hook);
void io_loop_hook_remove(struct io_loop *loop, struct io_turn_hook *hook);

/* A number for a ring of provided buffers, unique in this loop. */
uint16_t io_loop_buffer_group_new(struct io_loop *loop);

/* Waits until `*in_flight_count` is 0. Only completions of `owner` are handed out; those of others
 * are kept for the next turn, so that no callback runs outside of one. Not from inside a turn. */
void io_loop_drain(struct io_loop *loop, const void *owner, const size_t *in_flight_count);
