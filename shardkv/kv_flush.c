/* kv_flush.c: when the store's rows become durable, and what of each group is durable then.
 *
 * A flush begins with every group's checkpoint (kv_checkpoint.c), and then runs on the pool. What
 * is flushed of a group is what the job reads back as flushed when the store says that it is done,
 * never what was applied by then. One flush at a time; whoever asks while one is under way waits
 * for the next.
 */
#include "shardkv/kv_group.h"

#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_keys.h"

#include <stdlib.h>
#include <xxhash.h>

#define FLUSH_RETRY_NS NS_PER_S

struct flush_waiter {
    TAILQ_ENTRY(flush_waiter) link;
    void (*done)(void *context, int status);
    void *context;
};
TAILQ_HEAD(flush_waiters, flush_waiter);

/* What a flush found flushed of a group. */
struct flushed_group {
    group_id_t group;
    replica_id_t replica;
    raft_index_t index;
    struct kv_gc_point point; /* generation 0: nothing */
};

struct flush_job {
    struct job job;
    struct kv_flusher *flusher;
    struct store *store;
    int status;
    struct flushed_group *groups;
    size_t groups_count;
};

struct kv_flusher {
    struct kv_shared *shared;
    bool is_running;
    uint64_t flushes_count;
    uint64_t bytes_max; /* unflushed, before the next one */
    nanoseconds_t not_before_ns;
    struct flush_waiters waiters; /* the flush under way is for these */
    struct flush_waiters waiters_next;
};

/* Replicas apply the same rows, and would all flush them at the same moment; a quorum of those that
 * do not is as quick as ever. So each waits for another size: half of the limit up to all of it. */
static uint64_t bytes_max_draw(const struct kv_flusher *flusher)
{
    const struct kv_shared *shared = flusher->shared;
    uint64_t half = shared->options.flush_bytes / 2;
    uint64_t hash = XXH3_64bits_withSeed(&flusher->flushes_count, sizeof(flusher->flushes_count),
                                         shared->environment.store_id);
    return shared->options.flush_bytes - half * (hash % 1024) / 1024;
}

struct kv_flusher *kv_flusher_new(struct kv_shared *shared)
{
    struct kv_flusher *flusher = memory_alloc_zeroed(1, sizeof(*flusher));
    flusher->shared = shared;
    TAILQ_INIT(&flusher->waiters);
    TAILQ_INIT(&flusher->waiters_next);
    flusher->bytes_max = bytes_max_draw(flusher);
    return flusher;
}

static void flush_waiters_answer(struct flush_waiters *waiters, int status)
{
    struct flush_waiter *waiter;
    while ((waiter = TAILQ_FIRST(waiters)) != NULL) {
        TAILQ_REMOVE(waiters, waiter, link);
        waiter->done(waiter->context, status);
        free(waiter);
    }
}

void kv_flusher_free(struct kv_flusher *flusher)
{
    ASSERT(!flusher->is_running); /* the host runs every job to its end first */
    flush_waiters_answer(&flusher->waiters_next, OST_CANCELED);
    free(flusher);
}

void kv_flusher_ask(struct kv_flusher *flusher, void (*done)(void *context, int status),
                    void *context)
{
    struct flush_waiter *waiter = memory_alloc_zeroed(1, sizeof(*waiter));
    waiter->done = done;
    waiter->context = context;
    TAILQ_INSERT_TAIL(&flusher->waiters_next, waiter, link);
}

static void flush_job_run(struct job *job)
{
    struct flush_job *flush = (struct flush_job *)job;
    flush->status = store_flush(flush->store);
    struct buffer key = BUFFER_INIT;
    struct buffer row = BUFFER_INIT;
    for (size_t index = 0; flush->status == OST_OK && index < flush->groups_count; index++) {
        struct flushed_group *found = &flush->groups[index];
        kv_key_group_meta(&key, found->group);
        int status = store_get(flush->store, buffer_bytes(&key), STORE_FLUSHED, &row);
        if (status == OST_NOT_FOUND)
            continue;
        struct kv_meta meta = {0};
        if (status == OST_OK)
            status = kv_meta_unpack(buffer_bytes(&row), &meta, &found->replica);
        flush->status = status;
        found->point = (struct kv_gc_point){meta.generation, meta.safe_point, meta.log_timestamp};
        found->index = meta.applied_index;
        kv_meta_fini(&meta);
    }
    buffer_fini(&key);
    buffer_fini(&row);
}

static void flush_job_done(struct job *job)
{
    struct flush_job *flush = (struct flush_job *)job;
    struct kv_flusher *flusher = flush->flusher;
    struct kv_shared *shared = flusher->shared;
    int status = flush->status;
    flusher->is_running = false;
    for (size_t index = 0; status == OST_OK && index < flush->groups_count; index++) {
        const struct flushed_group *found = &flush->groups[index];
        struct kv_group *group = kv_server_group(shared, found->group);
        /* Another generation's row is a restore's, which says itself what it has flushed; another
         * replica's is that of one that was destroyed meanwhile. */
        if (group && group->replica == found->replica &&
            group->meta.generation == found->point.generation &&
            group->flushed_index < found->index) {
            group->flushed_index = found->index;
            kv_group_point_flushed(group, &found->point);
        }
    }
    free(flush->groups);
    free(flush);
    if (status == OST_OK) {
        shared->environment.metrics->store_flushes_count++;
        shared->environment.metrics->rows_dropped_count =
            kv_gc_dropped_count(store_gc(shared->environment.store));
        raft_host_flushed(shared->environment.host, shared->now_ns);
    } else if (status == OST_NO_SPACE || status == OST_BUSY) {
        /* S6: the log holds what is not flushed; space may come back. */
        log_write(LOG_ERROR, "the store cannot be flushed", "store=%lu status=%s",
                  shared->environment.store_id, ost_status_name(status));
        flusher->not_before_ns = shared->now_ns + FLUSH_RETRY_NS;
        if (shared->unflushed_since_ns == 0)
            shared->unflushed_since_ns = shared->now_ns > 0 ? shared->now_ns : 1;
    } else {
        kv_fatal(shared, "cannot flush the store: %s", ost_status_text(status));
    }
    flush_waiters_answer(&flusher->waiters, status);
}

/* A group that cannot have one now stays with its last: its log is kept for that much longer. */
static void checkpoint_groups(struct kv_group *groups)
{
    for (struct kv_group *group = groups; group; group = group->hh.next) {
        int status = RARE(CHECKPOINT_SKIPPED) ? OST_BUSY : kv_checkpoint_write(group);
        if (status != OST_OK && status != OST_BUSY)
            log_write(LOG_WARN, "cannot write a checkpoint", "store=%lu group=%lu status=%s",
                      group->shared->environment.store_id, group->id, ost_status_name(status));
    }
}

static void flush_start(struct kv_flusher *flusher, struct kv_group *groups)
{
    struct kv_shared *shared = flusher->shared;
    checkpoint_groups(groups);
    struct flush_job *flush = memory_alloc_zeroed(1, sizeof(*flush));
    flush->flusher = flusher;
    flush->store = shared->environment.store;
    flush->groups = memory_alloc_zeroed(HASH_COUNT(groups) + 1, sizeof(flush->groups[0]));
    for (struct kv_group *group = groups; group; group = group->hh.next)
        flush->groups[flush->groups_count++].group = group->id;
    flusher->is_running = true;
    flusher->flushes_count++;
    flusher->bytes_max = bytes_max_draw(flusher);
    shared->unflushed_since_ns = 0;
    TAILQ_CONCAT(&flusher->waiters, &flusher->waiters_next, link);
    job_push(shared->environment.jobs, &flush->job, flush_job_run, flush_job_done);
}

nanoseconds_t kv_flusher_deadline_ns(const struct kv_flusher *flusher)
{
    const struct kv_shared *shared = flusher->shared;
    if (flusher->is_running)
        return NS_NEVER;
    if (!TAILQ_EMPTY(&flusher->waiters_next))
        return 0;
    if (shared->unflushed_since_ns == 0)
        return NS_NEVER;
    nanoseconds_t due_ns =
        shared->unflushed_since_ns + shared->options.flush_interval_ms * NS_PER_MS;
    if (store_unflushed_bytes(shared->environment.store) >= flusher->bytes_max)
        due_ns = 0;
    return due_ns > flusher->not_before_ns ? due_ns : flusher->not_before_ns;
}

void kv_flusher_step(struct kv_flusher *flusher, struct kv_group *groups)
{
    struct kv_shared *shared = flusher->shared;
    /* The store's rows are not all ours: the shard master's must become durable as well (S1). */
    if (shared->unflushed_since_ns == 0 && !flusher->is_running &&
        store_unflushed_bytes(shared->environment.store) > 0)
        shared->unflushed_since_ns = shared->now_ns > 0 ? shared->now_ns : 1;
    bool is_due = kv_flusher_deadline_ns(flusher) <= shared->now_ns;
    if (is_due || (!flusher->is_running && RARE(FLUSH_EARLY)))
        flush_start(flusher, groups);
}
