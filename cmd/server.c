/* server.c: the node's host on a real machine. One loop: completions become events, the turn ends,
 * the update is carried out. Nothing here decides anything. */
#include "cmd/server.h"

#include "base/log.h"
#include "base/memory.h"
#include "cmd/data_directory.h"
#include "io/log_files.h"
#include "io/log_writer.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/tcp.h"
#include "io/thread.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WHY_BYTES        512
#define PORT_WAIT_MS_MAX 2000u
#define PORT_PAUSE_MS    20u

/* A log file to make or to retire, on the pool. */
struct file_job {
    struct job job;
    struct server *server;
    struct log_operation operation;
    int status;
    int errno_value;
};

struct server {
    struct data_directory directory;
    struct metrics metrics;
    struct store *store;
    struct node *node;
    struct io_loop *loop;
    struct io_tcp *tcp;
    struct io_pool *pool;
    struct io_log_writer *log_writer;
    struct io_wakeup *signal_wakeup;
    struct log_operation writes[LOG_WRITES_QUEUED_MAX]; /* under way, by cookie */
    uint32_t writes_count;
    uint32_t segment_bytes;
    store_id_t store_id;
    bool stop; /* the loop ends after this turn */
    int exit_status;
};

static volatile sig_atomic_t signal_received;
static struct io_wakeup *signal_target;

static void on_signal(int number)
{
    signal_received = number;
    io_wakeup_signal(signal_target);
}

/* --- Events
 * -------------------------------------------------------------------------------------------- */

static struct node_event event_now(const struct server *server, enum node_event_type type)
{
    return (struct node_event){.type = type,
                               .now_ns = io_loop_now_ns(server->loop),
                               .wall_ms = io_loop_wall_ms(server->loop)};
}

static void on_accepted(void *context, uint64_t connection_id, const char *peer_address)
{
    (void)peer_address;
    struct server *server = context;
    struct node_event event = event_now(server, NODE_EV_ACCEPTED);
    event.connection_id = connection_id;
    node_step(server->node, &event);
}

static void on_connected(void *context, uint64_t connection_id, int status)
{
    struct server *server = context;
    struct node_event event = event_now(server, NODE_EV_CONNECTED);
    event.connection_id = connection_id;
    event.status = status;
    node_step(server->node, &event);
}

static void on_frame(void *context, uint64_t connection_id, const struct frame *frame)
{
    struct server *server = context;
    struct node_event event = event_now(server, NODE_EV_FRAME);
    event.connection_id = connection_id;
    event.frame = frame;
    node_step(server->node, &event);
}

static void on_closed(void *context, uint64_t connection_id, int status)
{
    (void)status;
    struct server *server = context;
    struct node_event event = event_now(server, NODE_EV_CLOSED);
    event.connection_id = connection_id;
    node_step(server->node, &event);
}

/* R9: a log that cannot be written ends the process; a second try could lie. */
static void log_failed(struct server *server, const char *what, uint32_t segment, int errno_value)
{
    log_write(LOG_ERROR, "the log failed, stopping",
              "store=%" PRIu64 " why=\"cannot %s log segment %010u of store %" PRIu64
              " in %s: %s\" "
              "do=\"mend the disk or free space, then start again\"",
              server->store_id, what, segment, server->store_id, server->directory.log_path,
              strerror(errno_value));
    server->stop = true;
    server->exit_status = EXIT_FAILURE;
}

static void log_done(struct server *server, const struct log_operation *operation)
{
    struct node_event event = event_now(server, NODE_EV_LOG_DONE);
    event.log_operation = *operation;
    node_step(server->node, &event);
}

static void on_log_written(void *context, uint64_t cookie, int status, int errno_value)
{
    struct server *server = context;
    ASSERT(server->writes_count > 0 && server->writes[0].cookie == cookie);
    struct log_operation operation = server->writes[0];
    server->writes_count--;
    memmove(&server->writes[0], &server->writes[1],
            server->writes_count * sizeof server->writes[0]);
    if (server->stop && server->exit_status != EXIT_SUCCESS)
        return;
    if (status != OST_OK)
        log_failed(server, "write", operation.segment, errno_value);
    else
        log_done(server, &operation);
}

static void file_job_run(struct job *job)
{
    struct file_job *file = (struct file_job *)job;
    const char *directory = file->server->directory.log_path;
    if (file->operation.type == LOG_OPERATION_CREATE)
        file->status = log_file_create(directory, file->operation.segment,
                                       file->operation.bytes_count, &file->errno_value);
    else
        file->status = log_file_retire(directory, file->operation.segment, &file->errno_value);
}

static void file_job_done(struct job *job)
{
    struct file_job *file = (struct file_job *)job;
    struct server *server = file->server;
    if (server->stop && server->exit_status != EXIT_SUCCESS)
        ; /* one failure was told already */
    else if (file->status != OST_OK)
        log_failed(server, file->operation.type == LOG_OPERATION_CREATE ? "make" : "retire",
                   file->operation.segment, file->errno_value);
    else
        log_done(server, &file->operation);
    free(file);
}

static void on_job_completed(void *context, struct job *job)
{
    struct server *server = context;
    struct node_event event = event_now(server, NODE_EV_JOB_DONE);
    event.job = job;
    node_step(server->node, &event);
}

static void on_signal_wakeup(void *context)
{
    struct server *server = context;
    log_write(LOG_INFO, "stopping: handing over leadership", "store=%" PRIu64 " signal=%d",
              server->store_id, (int)signal_received);
    struct node_event event = event_now(server, NODE_EV_SHUTDOWN);
    node_step(server->node, &event);
}

/* --- Carrying out the update
 * ------------------------------------------------------------------------------ */

static void log_operation_begin(struct server *server, const struct log_operation *operation)
{
    if (operation->type == LOG_OPERATION_WRITE) {
        ASSERT(server->writes_count < LOG_WRITES_QUEUED_MAX);
        server->writes[server->writes_count++] = *operation;
        io_log_writer_submit(server->log_writer,
                             &(struct io_log_write){.segment = operation->segment,
                                                    .offset = operation->offset,
                                                    .data = operation->data,
                                                    .bytes_count = operation->bytes_count,
                                                    .cookie = operation->cookie});
        return;
    }
    struct file_job *file = memory_alloc_zeroed(1, sizeof *file);
    file->job = (struct job){.run = file_job_run, .done = file_job_done};
    file->server = server;
    file->operation = *operation;
    io_pool_submit(server->pool, &file->job);
}

static void jobs_submit(struct server *server, struct job *jobs)
{
    while (jobs) {
        struct job *next = jobs->next;
        jobs->next = NULL;
        io_pool_submit(server->pool, jobs);
        jobs = next;
    }
}

static void connects_begin(struct server *server, const struct node_update *update)
{
    for (uint32_t i = 0; i < update->connects_count; i++) {
        const struct node_connect *connect = &update->connects[i];
        uint64_t connection_id = 0;
        int status = io_tcp_connect(server->tcp, connect->address, &connection_id);
        if (status != OST_OK)
            log_write(LOG_ERROR, "cannot connect to a store",
                      "store=%" PRIu64 " peer=%" PRIu64 " address=%s why=\"%s\"", server->store_id,
                      connect->store, connect->address, ost_status_text(status));
        node_connect_begun(server->node, connect->store, connect->channel,
                           status == OST_OK ? connection_id : 0);
    }
}

static void update_carry_out(struct server *server)
{
    struct node_update *update = node_update(server->node);
    for (uint32_t i = 0; i < update->raft.log_operations_count; i++)
        log_operation_begin(server, &update->raft.log_operations[i]);
    for (size_t i = 0; i < update->frames.items_count; i++) {
        struct outgoing *item = &update->frames.items[i];
        /* R3: a clock that is read after the value was. Who waits for the answer asks again. */
        if (item->valid_until_ns != NS_NEVER && io_clock_read_ns() >= item->valid_until_ns)
            blob_unref(item->frame);
        else
            io_tcp_send(server->tcp, item->to.id, item->frame);
    }
    update->frames.items_count = 0; /* the connections own the frames now */
    jobs_submit(server, update->raft.jobs);
    jobs_submit(server, update->jobs);
    for (uint32_t i = 0; i < update->closes_count; i++)
        io_tcp_close(server->tcp, update->closes[i].connection_id, update->closes[i].after_output);
    connects_begin(server, update);
    if (update->fatal) {
        log_write(LOG_ERROR, "cannot go on, stopping", "store=%" PRIu64 " why=\"%s\"",
                  server->store_id, update->fatal);
        server->stop = true;
        server->exit_status = EXIT_FAILURE;
    }
    if (update->stopped)
        server->stop = true;
    node_update_reset(server->node);
}

static void serve(struct server *server)
{
    /* Only what is due at once is done in the first turn: the deadline comes with its update. */
    nanoseconds_t deadline_ns = 0;
    io_thread_be_prompt();
    while (!server->stop) {
        io_loop_turn(server->loop, deadline_ns);
        if (server->stop)
            break;
        struct node_event event = event_now(server, NODE_EV_TURN_ENDED);
        node_step(server->node, &event);
        deadline_ns = node_update(server->node)->deadline_ns;
        update_carry_out(server);
    }
}

/* --- Start and stop
 * --------------------------------------------------------------------------------------- */

static int open_directory(struct server *server, const struct server_options *options, char *why)
{
    return data_directory_open(options->data_directory, options->log_directory,
                               options->node.cluster_id, options->node.raft.store,
                               &server->directory, why);
}

static int open_loop(struct server *server, const struct server_options *options, char *why)
{
    static const struct io_tcp_callbacks callbacks = {
        .accepted = on_accepted, .connected = on_connected, .frame = on_frame, .closed = on_closed};
    int status = io_loop_new(&server->loop);
    if (status != OST_OK) {
        snprintf(why, WHY_BYTES,
                 "cannot set up io_uring: %s: Linux 6.1 or newer must allow it "
                 "(sysctl kernel.io_uring_disabled)",
                 ost_status_text(status));
        return status;
    }
    struct io_tcp_options tcp_options;
    io_tcp_options_default(&tcp_options);
    tcp_options.metrics = &server->metrics;
    status = io_tcp_new(server->loop, &tcp_options, &callbacks, server, &server->tcp);
    if (status == OST_OK)
        status = io_pool_new(server->loop, options->pool_threads_count, on_job_completed, server,
                             &server->pool);
    if (status == OST_OK)
        status = io_log_writer_new(server->loop, server->directory.log_path, on_log_written, server,
                                   &server->log_writer);
    if (status == OST_OK)
        status = io_wakeup_new(server->loop, on_signal_wakeup, server, &server->signal_wakeup);
    if (status != OST_OK)
        snprintf(why, WHY_BYTES, "cannot start threads and connections: %s",
                 ost_status_text(status));
    return status;
}

/* Before any file is touched: a port in use must not cost a recovery first.
 *
 * The kernel takes down a killed process's ring, and the listening socket with it, a little after
 * the process is gone and its parent was told; nothing tells when. So a store that is started again
 * at once may find its own port taken, and waits for it. */
static int open_port(struct server *server, const struct server_options *options, char *why)
{
    const struct timespec pause = {.tv_nsec = (long)(PORT_PAUSE_MS * NS_PER_MS)};
    int status = io_tcp_listen(server->tcp, options->listen_address);
    for (uint32_t waited_ms = 0; status == OST_ADDRESS_IN_USE && waited_ms < PORT_WAIT_MS_MAX;
         waited_ms += PORT_PAUSE_MS) {
        nanosleep(&pause, NULL);
        status = io_tcp_listen(server->tcp, options->listen_address);
    }
    if (status != OST_OK)
        snprintf(why, WHY_BYTES, "cannot listen on %s: %s: choose another --listen",
                 options->listen_address, ost_status_text(status));
    return status;
}

static int open_store(struct server *server, const struct server_options *options, char *why)
{
    struct store_options store = options->store;
    store.give_way = io_thread_give_way;
    int status = store_open_rocksdb(server->directory.store_path, &store, &server->store, why);
    if (status != OST_OK)
        return status;
    server->node = node_new(&options->node, server->store, &server->metrics);
    return OST_OK;
}

static int recover_log(struct server *server, char *why)
{
    struct raft_host *host = node_raft_host(server->node);
    uint32_t *numbers = NULL;
    size_t numbers_count = 0;
    int error = 0;
    int status = log_files_list(server->directory.log_path, &numbers, &numbers_count, &error);
    for (size_t i = 0; status == OST_OK && i < numbers_count; i++) {
        uint8_t *content = NULL;
        size_t content_bytes = 0;
        status =
            log_file_read(server->directory.log_path, numbers[i], &content, &content_bytes, &error);
        if (status == OST_OK)
            status =
                raft_host_recover_segment(host, numbers[i], bytes_of(content, content_bytes), why);
        if (status == OST_OK && why[0] != '\0') {
            log_write(LOG_ERROR, "the log is damaged, the replicas in it are replaced",
                      "store=%" PRIu64 " why=\"%s\"", server->store_id, why);
            why[0] = '\0';
        }
        free(content);
    }
    free(numbers);
    if (error != 0)
        snprintf(why, WHY_BYTES, "cannot read the log in %s: %s", server->directory.log_path,
                 strerror(error));
    return status == OST_OK ? raft_host_recover_end(host, why) : status;
}

static int start(struct server *server, const struct server_options *options, char *why)
{
    int status = open_directory(server, options, why);
    if (status == OST_OK)
        status = open_loop(server, options, why);
    if (status == OST_OK)
        status = open_port(server, options, why);
    if (status == OST_OK)
        status = open_store(server, options, why);
    if (status == OST_OK)
        status = recover_log(server, why);
    if (status == OST_OK)
        status = node_load(server->node, io_loop_now_ns(server->loop), why);
    return status;
}

static void signals_catch(struct server *server)
{
    signal_target = server->signal_wakeup;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

/* The pool is gone, but what it handed back may have asked for more, and a turn may have been cut
 * short: each job is run to its end, because its owner waits for it before it can be freed. */
static void jobs_finish(struct server *server)
{
    struct node_update *update = node_update(server->node);
    for (;;) {
        struct job **list = update->jobs ? &update->jobs : &update->raft.jobs;
        struct job *job = *list;
        if (!job)
            return;
        *list = job->next;
        job->next = NULL;
        job->run(job);
        on_job_completed(server, job);
    }
}

static void stop(struct server *server)
{
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    /* Threads first: they use what comes after. The pool hands its jobs back to the node. */
    if (server->log_writer)
        io_log_writer_free(server->log_writer);
    if (server->pool)
        io_pool_free(server->pool);
    if (server->node)
        jobs_finish(server);
    node_free(server->node);
    if (server->tcp)
        io_tcp_free(server->tcp);
    if (server->signal_wakeup)
        io_wakeup_free(server->signal_wakeup);
    if (server->loop)
        io_loop_free(server->loop);
    if (server->store)
        store_close(server->store);
    data_directory_close(&server->directory);
}

int server_run(const struct server_options *options)
{
    struct server server = {.exit_status = EXIT_SUCCESS,
                            .store_id = options->node.raft.store,
                            .directory = {.lock_fd = -1}};
    char why[WHY_BYTES] = "";
    int status = start(&server, options, why);
    if (status != OST_OK) {
        log_write(LOG_ERROR, "cannot start", "store=%" PRIu64 " why=\"%s\"", server.store_id,
                  why[0] ? why : ost_status_text(status));
        server.exit_status = EXIT_FAILURE;
    } else {
        signals_catch(&server);
        log_write(LOG_INFO, "serving",
                  "store=%" PRIu64 " cluster=%016" PRIx64 " listen=%s port=%u data=%s version=%s",
                  server.store_id, options->node.cluster_id, options->listen_address,
                  io_tcp_listen_port(server.tcp), options->data_directory, OSTRAKA_VERSION);
        serve(&server);
    }
    stop(&server);
    if (status == OST_OK && server.exit_status == EXIT_SUCCESS)
        log_write(LOG_INFO, "stopped", "store=%" PRIu64, server.store_id);
    return server.exit_status;
}
