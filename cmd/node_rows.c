/* node_rows.c: lets the shard master keep its rows in the store, without knowing the store; and
 * tells it after each flush which of them a crash would leave (S1), so that its log can be cut. */
#include "base/log.h"
#include "base/memory.h"
#include "cmd/node_internal.h"
#include "shardkv/kv_keys.h"

static int rows_read(void *context, struct bytes name, bool flushed, struct buffer *out_value)
{
    struct node *node = context;
    struct buffer key = BUFFER_INIT;
    kv_key_master(&key, name);
    int status = store_get(node->store, buffer_bytes(&key),
                           flushed ? STORE_FLUSHED : STORE_MAY_BLOCK, out_value);
    buffer_fini(&key);
    return status;
}

static int rows_write(void *context, const struct master_row *rows, size_t rows_count)
{
    struct node *node = context;
    struct store_batch *batch = store_batch_new(node->store);
    struct buffer key = BUFFER_INIT;
    for (size_t i = 0; i < rows_count; i++) {
        buffer_reset(&key);
        kv_key_master(&key, rows[i].name);
        store_batch_put(batch, buffer_bytes(&key), rows[i].value);
    }
    int status = store_write(node->store, batch);
    buffer_fini(&key);
    store_batch_free(batch);
    return status;
}

static int rows_flush(void *context)
{
    struct node *node = context;
    return store_flush(node->store);
}

void node_rows_init(struct node *node)
{
    node->master_rows = (struct master_rows){
        .read = rows_read, .write = rows_write, .flush = rows_flush, .context = node};
}

/* --- After a flush
 * -------------------------------------------------------------------------------------- */

struct flushed_job {
    struct job job;
    struct node *node;
    const struct master *master; /* whose rows they were */
    raft_index_t index;
    int status;
};

static void flushed_job_run(struct job *job)
{
    struct flushed_job *flushed = (struct flushed_job *)job;
    flushed->status = master_read_flushed_index(&flushed->node->master_rows, &flushed->index);
}

static void flushed_job_done(struct job *job)
{
    struct flushed_job *flushed = (struct flushed_job *)job;
    struct node *node = flushed->node;
    node->master_flushed_job = NULL;
    if (flushed->master != node->master) {
        ; /* it was destroyed meanwhile */
    } else if (flushed->status == OST_OK) {
        master_set_flushed_index(node->master, flushed->index);
        raft_host_flushed(node->raft, node->now_ns);
    } else {
        log_write(LOG_WARN, "cannot read what was flushed, the log is kept", "store=%lu why=\"%s\"",
                  (unsigned long)node->options.raft.store, ost_status_text(flushed->status));
    }
    free(flushed);
}

void node_rows_turn_ended(struct node *node)
{
    if (!node->master || node->master_flushed_job ||
        node->master_flushes_seen == node->metrics->store_flushes_count)
        return;
    node->master_flushes_seen = node->metrics->store_flushes_count;
    struct flushed_job *flushed = memory_alloc_zeroed(1, sizeof *flushed);
    flushed->job = (struct job){.run = flushed_job_run, .done = flushed_job_done};
    flushed->node = node;
    flushed->master = node->master;
    flushed->job.next = node->update.jobs;
    node->update.jobs = &flushed->job;
    node->master_flushed_job = flushed;
}
