#include "io/loop_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* The completion queue is far larger than a turn needs; when it overflows all the same, the kernel
 * keeps the rest (IORING_FEAT_NODROP) and hands it over at the next entry. */
#define LOOP_SUBMISSIONS_COUNT 1024u
#define LOOP_COMPLETIONS_COUNT 16384u

struct io_wakeup {
    struct io_loop *loop;
    void (*callback)(void *context);
    void *context;
    _Atomic bool pending;
    TAILQ_ENTRY(io_wakeup) link;
};

struct deferred_completion {
    struct io_operation *operation;
    int result;
    uint32_t flags;
};

struct io_loop {
    struct io_uring ring;
    nanoseconds_t now_ns;
    uint64_t wall_ms;
    bool in_turn;
    uint16_t buffer_groups_count;

    /* One eventfd for all wake-ups, watched by a multishot poll: it is never read, each write alone
     * makes a completion. It is written only when the loop sleeps or is about to. */
    int event_fd;
    struct io_operation event_operation;
    _Atomic bool sleeping;
    _Atomic bool wakeups_pending;
    TAILQ_HEAD(, io_wakeup) wakeups;

    TAILQ_HEAD(, io_turn_hook) hooks;

    /* Completions that io_loop_drain met and that belong to others. */
    struct deferred_completion *deferred;
    size_t deferred_count;
    size_t deferred_capacity;
};

nanoseconds_t io_clock_read_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (nanoseconds_t)now.tv_sec * NS_PER_S + (nanoseconds_t)now.tv_nsec;
}

static void loop_read_clocks(struct io_loop *loop)
{
    struct timespec wall;
    loop->now_ns = io_clock_read_ns();
    clock_gettime(CLOCK_REALTIME, &wall);
    loop->wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / NS_PER_MS;
}

static void event_arm(struct io_loop *loop)
{
    struct io_uring_sqe *sqe = io_loop_sqe(loop);
    io_uring_prep_poll_multishot(sqe, loop->event_fd, POLLIN);
    io_loop_sqe_own(sqe, &loop->event_operation);
}

/* The wake-ups themselves are found by their flags (loop_run_wakeups). */
static void event_complete(struct io_operation *operation, int result, uint32_t flags)
{
    struct io_loop *loop = CONTAINER_OF(operation, struct io_loop, event_operation);
    ASSERT(result >= 0);
    if (!(flags & IORING_CQE_F_MORE))
        event_arm(loop);
}

int io_loop_new(struct io_loop **out_loop)
{
    struct io_loop *loop = memory_alloc_zeroed(1, sizeof(*loop));
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                 IORING_SETUP_CLAMP,
        .cq_entries = LOOP_COMPLETIONS_COUNT,
    };
    int result = io_uring_queue_init_params(LOOP_SUBMISSIONS_COUNT, &loop->ring, &params);
    if (result < 0) {
        log_write(LOG_ERROR,
                  "cannot make an io_uring; Linux 6.1 or newer is needed, and io_uring "
                  "must be allowed",
                  "reason=\"%s\"", strerror(-result));
        goto out_free_loop;
    }
    result = -ENOSYS;
    if (!(params.features & IORING_FEAT_EXT_ARG) || !(params.features & IORING_FEAT_NODROP))
        goto out_exit_ring;
    loop->event_fd = eventfd(0, EFD_CLOEXEC);
    if (loop->event_fd < 0) {
        result = -errno;
        log_write(LOG_ERROR, "cannot make an eventfd", "reason=\"%s\"", strerror(errno));
        goto out_exit_ring;
    }
    /* Saves a look-up at each entry; the ring works without. */
    (void)io_uring_register_ring_fd(&loop->ring);
    TAILQ_INIT(&loop->wakeups);
    TAILQ_INIT(&loop->hooks);
    loop->event_operation =
        (struct io_operation){.complete = event_complete, .owner = &loop->event_fd};
    event_arm(loop);
    loop_read_clocks(loop);
    *out_loop = loop;
    return OST_OK;

out_exit_ring:
    io_uring_queue_exit(&loop->ring);
out_free_loop:
    free(loop);
    return result == -ENOSYS || result == -EINVAL || result == -EPERM ? OST_UNSUPPORTED : OST_IO;
}

void io_loop_free(struct io_loop *loop)
{
    if (!loop)
        return;
    ASSERT(!loop->in_turn);
    ASSERT(TAILQ_EMPTY(&loop->wakeups));
    ASSERT(TAILQ_EMPTY(&loop->hooks));
    io_uring_queue_exit(&loop->ring);
    close(loop->event_fd);
    free(loop->deferred);
    free(loop);
}

nanoseconds_t io_loop_now_ns(const struct io_loop *loop)
{
    return loop->now_ns;
}

uint64_t io_loop_wall_ms(const struct io_loop *loop)
{
    return loop->wall_ms;
}

struct io_uring *io_loop_ring(struct io_loop *loop)
{
    return &loop->ring;
}

struct io_uring_sqe *io_loop_sqe(struct io_loop *loop)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    /* Full: submit early. The kernel refuses only when it has no memory for requests; give it a few
     * chances, and then treat that like memory of our own. */
    for (int tries_count = 0; !sqe; tries_count++) {
        int result = io_uring_submit(&loop->ring);
        ASSERT(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
        ASSERT(tries_count < 1000);
        sqe = io_uring_get_sqe(&loop->ring);
    }
    return sqe;
}

void io_loop_cancel(struct io_loop *loop, struct io_operation *operation)
{
    struct io_uring_sqe *sqe = io_loop_sqe(loop);
    io_uring_prep_cancel(sqe, operation, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_loop_sqe_own(sqe, NULL);
}

void io_loop_hook_add(struct io_loop *loop, struct io_turn_hook *hook)
{
    TAILQ_INSERT_TAIL(&loop->hooks, hook, link);
}

void io_loop_hook_remove(struct io_loop *loop, struct io_turn_hook *hook)
{
    ASSERT(!loop->in_turn);
    TAILQ_REMOVE(&loop->hooks, hook, link);
}

uint16_t io_loop_buffer_group_new(struct io_loop *loop)
{
    ASSERT(loop->buffer_groups_count < UINT16_MAX);
    return loop->buffer_groups_count++;
}

/* Submits, and waits for one completion until `deadline_ns` unless a wake-up is pending already. */
static void loop_enter(struct io_loop *loop, nanoseconds_t deadline_ns)
{
    struct __kernel_timespec timeout = {0, 0};
    bool waits = deadline_ns == NS_NEVER;
    if (!waits && deadline_ns > loop->now_ns) {
        nanoseconds_t now_ns = io_clock_read_ns();
        if (deadline_ns > now_ns) {
            waits = true;
            timeout.tv_sec = (int64_t)((deadline_ns - now_ns) / NS_PER_S);
            timeout.tv_nsec = (long long)((deadline_ns - now_ns) % NS_PER_S);
        }
    }
    /* Either this thread sees the wake-up here, or the signaller sees `sleeping` and writes. */
    if (waits) {
        atomic_store(&loop->sleeping, true);
        if (atomic_load(&loop->wakeups_pending))
            waits = false;
    }
    int result;
    struct io_uring_cqe *cqe;
    if (waits)
        result = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1,
                                                  deadline_ns == NS_NEVER ? NULL : &timeout, NULL);
    else
        result = io_uring_submit_and_get_events(&loop->ring);
    atomic_store(&loop->sleeping, false);
    /* What was not submitted (EBUSY: the completion queue overflowed; EAGAIN: no memory for
     * requests) stays queued for the next entry. EBADR would mean that the kernel lost completions.
     */
    ASSERT(result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY ||
           result == -EAGAIN);
}

static void loop_defer(struct io_loop *loop, struct io_operation *operation, int result,
                       uint32_t flags)
{
    if (loop->deferred_count == loop->deferred_capacity) {
        loop->deferred_capacity = loop->deferred_capacity ? loop->deferred_capacity * 2 : 64;
        loop->deferred =
            memory_realloc(loop->deferred, loop->deferred_capacity * sizeof(loop->deferred[0]));
    }
    loop->deferred[loop->deferred_count++] =
        (struct deferred_completion){.operation = operation, .result = result, .flags = flags};
}

/* Hands completions to their operations; with an owner, only its own, and keeps the others. */
static void loop_dispatch(struct io_loop *loop, const void *only_owner)
{
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&loop->ring, head, cqe)
    {
        struct io_operation *operation = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        uint32_t flags = cqe->flags;
        io_uring_cq_advance(&loop->ring, 1);
        if (!operation)
            continue;
        if (!only_owner || operation->owner == only_owner)
            operation->complete(operation, result, flags);
        else
            loop_defer(loop, operation, result, flags);
    }
}

/* The same for what was kept. Owners may not drain inside a turn, so the array stays as it is. */
static void loop_dispatch_deferred(struct io_loop *loop, const void *only_owner)
{
    size_t kept_count = 0;
    for (size_t i = 0; i < loop->deferred_count; i++) {
        struct deferred_completion completion = loop->deferred[i];
        if (!only_owner || completion.operation->owner == only_owner)
            completion.operation->complete(completion.operation, completion.result,
                                           completion.flags);
        else
            loop->deferred[kept_count++] = completion;
    }
    loop->deferred_count = kept_count;
}

static void loop_run_wakeups(struct io_loop *loop)
{
    if (!atomic_load_explicit(&loop->wakeups_pending, memory_order_relaxed) ||
        !atomic_exchange(&loop->wakeups_pending, false))
        return;
    struct io_wakeup *wakeup;
    TAILQ_FOREACH (wakeup, &loop->wakeups, link) {
        if (atomic_exchange(&wakeup->pending, false))
            wakeup->callback(wakeup->context);
    }
}

void io_loop_turn(struct io_loop *loop, nanoseconds_t deadline_ns)
{
    ASSERT(!loop->in_turn);
    loop->in_turn = true;
    bool has_work = loop->deferred_count > 0;
    struct io_turn_hook *hook;
    TAILQ_FOREACH (hook, &loop->hooks, link) {
        if (hook->run(hook))
            has_work = true;
    }
    loop_enter(loop, has_work ? 0 : deadline_ns);
    loop_read_clocks(loop);
    loop_dispatch_deferred(loop, NULL);
    loop_dispatch(loop, NULL);
    loop_run_wakeups(loop);
    loop->in_turn = false;
}

void io_loop_drain(struct io_loop *loop, const void *owner, const size_t *in_flight_count)
{
    ASSERT(!loop->in_turn);
    loop_dispatch_deferred(loop, owner);
    while (*in_flight_count > 0) {
        loop_enter(loop, io_clock_read_ns() + NS_PER_S);
        loop_dispatch(loop, owner);
    }
}

int io_wakeup_new(struct io_loop *loop, void (*callback)(void *context), void *context,
                  struct io_wakeup **out_wakeup)
{
    struct io_wakeup *wakeup = memory_alloc_zeroed(1, sizeof(*wakeup));
    wakeup->loop = loop;
    wakeup->callback = callback;
    wakeup->context = context;
    TAILQ_INSERT_TAIL(&loop->wakeups, wakeup, link);
    *out_wakeup = wakeup;
    return OST_OK;
}

void io_wakeup_signal(struct io_wakeup *wakeup)
{
    if (atomic_exchange(&wakeup->pending, true))
        return;
    struct io_loop *loop = wakeup->loop;
    atomic_store(&loop->wakeups_pending, true);
    /* Whoever clears the flag writes; a loop that is awake looks at `wakeups_pending` by itself. */
    if (!atomic_exchange(&loop->sleeping, false))
        return;
    int saved_errno = errno;
    uint64_t one = 1;
    ssize_t written = write(loop->event_fd, &one, sizeof(one));
    /* It fails only after 2^64 signals. */
    (void)written;
    errno = saved_errno;
}

void io_wakeup_free(struct io_wakeup *wakeup)
{
    if (!wakeup)
        return;
    ASSERT(!wakeup->loop->in_turn);
    TAILQ_REMOVE(&wakeup->loop->wakeups, wakeup, link);
    free(wakeup);
}
