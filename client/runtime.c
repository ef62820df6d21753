#include "client/runtime.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/tcp.h"
#include "io/thread.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct ost_client {
    atomic_uint refs_count;
    struct client_core_options options;
    char *endpoints;
    pthread_t thread;
    /* Between threads. */
    pthread_mutex_t mutex;
    pthread_cond_t started;
    bool is_started;
    int start_status;
    bool is_closed;
    struct operation_queue submitted;
    struct random backoff_random;
    atomic_uint operations_count; /* under way */
    /* The thread's own. */
    struct io_loop *loop;
    struct io_tcp *tcp;
    struct io_wakeup *wakeup;
    struct client_core *core;
    struct operation_queue local; /* submitted from callbacks */
};

static _Thread_local const struct ost_client *own_client;

bool runtime_is_own_thread(const struct ost_client *client)
{
    return own_client == client;
}

struct client_core *runtime_core(struct ost_client *client)
{
    return client->core;
}

const struct client_core_options *runtime_options(const struct ost_client *client)
{
    return &client->options;
}

uint64_t runtime_random_below(struct ost_client *client, uint64_t bound)
{
    pthread_mutex_lock(&client->mutex);
    uint64_t value = random_below(&client->backoff_random, bound);
    pthread_mutex_unlock(&client->mutex);
    return value;
}

void runtime_ref(struct ost_client *client)
{
    atomic_fetch_add_explicit(&client->refs_count, 1, memory_order_relaxed);
}

void runtime_unref(struct ost_client *client)
{
    if (atomic_fetch_sub_explicit(&client->refs_count, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&client->mutex);
    pthread_cond_destroy(&client->started);
    free(client->endpoints);
    free(client);
}

/* --- On the thread
 * ---------------------------------------------------------------------------------- */

static void update_carry_out(struct ost_client *client)
{
    struct client_update *update = client_core_update(client->core);
    for (uint32_t index = 0; index < update->connects_count; index++) {
        const struct client_connect *connect = &update->connects[index];
        uint64_t connection_id = 0;
        if (io_tcp_connect(client->tcp, connect->address, &connection_id) != OST_OK)
            connection_id = 0;
        client_core_connect_begun(client->core, connect->peer, connection_id);
    }
    for (size_t index = 0; index < update->frames.items_count; index++) {
        struct outgoing *outgoing = &update->frames.items[index];
        ASSERT(outgoing->to.kind == ADDRESS_CONNECTION);
        io_tcp_send(client->tcp, outgoing->to.id, blob_ref(outgoing->frame));
    }
    for (uint32_t index = 0; index < update->closes_count; index++)
        io_tcp_close(client->tcp, update->closes[index], true);
    struct operation *operation;
    while ((operation = STAILQ_FIRST(&update->completions))) {
        STAILQ_REMOVE_HEAD(&update->completions, next);
        atomic_fetch_sub_explicit(&client->operations_count, 1, memory_order_relaxed);
        operation->done(operation);
    }
    client_core_update_reset(client->core);
}

static void core_step(struct ost_client *client, struct client_event *event)
{
    event->now_ns = io_loop_now_ns(client->loop);
    client_core_step(client->core, event);
    update_carry_out(client);
}

static void tcp_connected(void *context, uint64_t connection_id, int status)
{
    struct client_event event = {
        .type = CLIENT_EV_CONNECTED, .connection_id = connection_id, .status = status};
    core_step(context, &event);
}

static void tcp_frame(void *context, uint64_t connection_id, const struct frame *frame)
{
    struct client_event event = {
        .type = CLIENT_EV_FRAME, .connection_id = connection_id, .frame = frame};
    core_step(context, &event);
}

static void tcp_closed(void *context, uint64_t connection_id, int status)
{
    struct client_event event = {
        .type = CLIENT_EV_CLOSED, .connection_id = connection_id, .status = status};
    core_step(context, &event);
}

static void tcp_accepted(void *context, uint64_t connection_id, const char *peer_address)
{
    (void)context;
    (void)connection_id;
    (void)peer_address;
    ASSERT(!"a client listens to nobody");
}

/* The queue is looked at after every turn anyway: waking is all it does. */
static void woken(void *context)
{
    (void)context;
}

static int thread_start(struct ost_client *client)
{
    struct io_tcp_options tcp_options;
    io_tcp_options_default(&tcp_options);
    static const struct io_tcp_callbacks callbacks = {
        .accepted = tcp_accepted,
        .connected = tcp_connected,
        .frame = tcp_frame,
        .closed = tcp_closed,
    };
    int status = io_loop_new(&client->loop);
    if (status != OST_OK)
        return status;
    status = io_tcp_new(client->loop, &tcp_options, &callbacks, client, &client->tcp);
    if (status != OST_OK)
        goto out_free_loop;
    status = io_wakeup_new(client->loop, woken, client, &client->wakeup);
    if (status != OST_OK)
        goto out_free_tcp;
    client->core = client_core_new(&client->options, io_loop_now_ns(client->loop));
    return OST_OK;

out_free_tcp:
    io_tcp_free(client->tcp);
out_free_loop:
    io_loop_free(client->loop);
    return status;
}

/* Hands the core what others and callbacks have submitted. False: it shall end. */
static bool submitted_take(struct ost_client *client)
{
    struct operation_queue taken;
    STAILQ_INIT(&taken);
    pthread_mutex_lock(&client->mutex);
    STAILQ_CONCAT(&taken, &client->submitted);
    bool is_closed = client->is_closed;
    pthread_mutex_unlock(&client->mutex);
    STAILQ_CONCAT(&taken, &client->local);
    struct operation *operation;
    while ((operation = STAILQ_FIRST(&taken))) {
        STAILQ_REMOVE_HEAD(&taken, next);
        struct client_event event = {.type = CLIENT_EV_SUBMITTED, .operation = operation};
        core_step(client, &event);
    }
    return !is_closed;
}

static void thread_stop(struct ost_client *client)
{
    /* What was said last, releases of locks say, still leaves. */
    io_loop_turn(client->loop, 0);
    struct client_event event = {.type = CLIENT_EV_STOPPED};
    core_step(client, &event);
    do
        submitted_take(client);
    while (!STAILQ_EMPTY(&client->local));
    io_loop_turn(client->loop, 0);
    pthread_mutex_lock(&client->mutex);
    struct io_wakeup *wakeup = client->wakeup;
    client->wakeup = NULL;
    pthread_mutex_unlock(&client->mutex);
    io_wakeup_free(wakeup);
    io_tcp_free(client->tcp);
    client_core_free(client->core);
    io_loop_free(client->loop);
}

static void *thread_run(void *context)
{
    struct ost_client *client = context;
    own_client = client;
    io_thread_be_prompt();
    int status = thread_start(client);
    pthread_mutex_lock(&client->mutex);
    client->start_status = status;
    client->is_started = true;
    pthread_cond_signal(&client->started);
    pthread_mutex_unlock(&client->mutex);
    if (status != OST_OK)
        return NULL;
    while (submitted_take(client)) {
        nanoseconds_t deadline_ns = client_core_update(client->core)->deadline_ns;
        if (!STAILQ_EMPTY(&client->local))
            deadline_ns = 0;
        io_loop_turn(client->loop, deadline_ns);
        if (io_loop_now_ns(client->loop) >= client_core_update(client->core)->deadline_ns) {
            struct client_event event = {.type = CLIENT_EV_TIMER};
            core_step(client, &event);
        }
    }
    thread_stop(client);
    return NULL;
}

/* --- From other threads
 * ------------------------------------------------------------------------------ */

int runtime_submit(struct ost_client *client, struct operation *operation_take)
{
    unsigned under_way =
        atomic_fetch_add_explicit(&client->operations_count, 1, memory_order_relaxed);
    int status = OST_OK;
    if (under_way >= OPERATIONS_COUNT_MAX && operation_take->type != OPERATION_TXN_DROP)
        status = OST_BUSY;
    if (status == OST_OK && runtime_is_own_thread(client)) {
        STAILQ_INSERT_TAIL(&client->local, operation_take, next);
        return OST_OK;
    }
    if (status == OST_OK) {
        pthread_mutex_lock(&client->mutex);
        if (client->is_closed) {
            status = OST_CANCELED;
        } else {
            bool was_empty = STAILQ_EMPTY(&client->submitted);
            STAILQ_INSERT_TAIL(&client->submitted, operation_take, next);
            if (was_empty)
                io_wakeup_signal(client->wakeup);
        }
        pthread_mutex_unlock(&client->mutex);
    }
    if (status != OST_OK) {
        atomic_fetch_sub_explicit(&client->operations_count, 1, memory_order_relaxed);
        operation_free(operation_take);
    }
    return status;
}

/* One thread waits for one operation; on its stack. */
struct waiting_call {
    atomic_int is_done;
    int status;
    void (*copy)(struct operation *operation, void *context);
    void *context;
};

static void call_done(struct operation *operation)
{
    struct waiting_call *call = operation->done_context[0];
    call->status = operation->status;
    if (call->copy)
        call->copy(operation, call->context);
    operation_free(operation);
    atomic_store_explicit(&call->is_done, 1, memory_order_release);
    /* The waiter may have gone by now: then nobody sleeps at that address, which is never read
     * here. */
    syscall(SYS_futex, &call->is_done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int runtime_call(struct ost_client *client, struct operation *operation_take,
                 void (*copy)(struct operation *operation, void *context), void *context)
{
    if (runtime_is_own_thread(client)) { /* it would wait for itself */
        operation_free(operation_take);
        return OST_INVALID_ARGUMENT;
    }
    struct waiting_call call = {.copy = copy, .context = context};
    operation_take->done = call_done;
    operation_take->done_context[0] = &call;
    int status = runtime_submit(client, operation_take);
    if (status != OST_OK)
        return status;
    while (!atomic_load_explicit(&call.is_done, memory_order_acquire))
        syscall(SYS_futex, &call.is_done, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return call.status;
}

int runtime_open(const struct client_core_options *options, uint64_t backoff_seed,
                 struct ost_client **out_client)
{
    struct ost_client *client = memory_alloc_zeroed(1, sizeof(*client));
    client->options = *options;
    client->endpoints = memory_copy_string(options->endpoints);
    client->options.endpoints = client->endpoints;
    atomic_init(&client->refs_count, 1);
    atomic_init(&client->operations_count, 0);
    pthread_mutex_init(&client->mutex, NULL);
    pthread_cond_init(&client->started, NULL);
    STAILQ_INIT(&client->submitted);
    STAILQ_INIT(&client->local);
    random_init(&client->backoff_random, backoff_seed);
    /* The program's signals are for the program's threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&client->thread, NULL, thread_run, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        runtime_unref(client);
        return OST_NO_MEMORY;
    }
    pthread_mutex_lock(&client->mutex);
    while (!client->is_started)
        pthread_cond_wait(&client->started, &client->mutex);
    int status = client->start_status;
    pthread_mutex_unlock(&client->mutex);
    if (status != OST_OK) {
        pthread_join(client->thread, NULL);
        runtime_unref(client);
        return status;
    }
    *out_client = client;
    return OST_OK;
}

void runtime_close(struct ost_client *client)
{
    pthread_mutex_lock(&client->mutex);
    client->is_closed = true;
    io_wakeup_signal(client->wakeup);
    pthread_mutex_unlock(&client->mutex);
    pthread_join(client->thread, NULL);
    runtime_unref(client);
}
