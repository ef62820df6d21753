#include "tests/support/host_cluster.h"

#include "base/memory.h"
#include "raft/wal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <xxhash.h>

#define TICK_NS       NS_PER_MS
#define DISK_SEGMENTS 2048u
#define TOY_READS_MAX 4096u

struct toy_state {
    struct raft_snapshot_meta meta;
    uint64_t hash;
    struct buffer list; /* all payloads; a snapshot is this, with the hash before it */
};

struct toy {
    struct host_cluster *cluster;
    struct cluster_store *store;
    group_id_t group;
    replica_id_t replica; /* 0: none is here */
    struct toy_state live;
    replica_id_t flushed_replica; /* whose rows are on disk */
    struct toy_state flushed;
    uint32_t destroyed_count;
    uint32_t falls_count; /* from leadership, as it was told */
    bool restoring;
    uint32_t appetite;
    bool in_read_call;
    struct toy_read reads[TOY_READS_MAX];
    size_t reads_count;
    uint64_t reads_ok;
    uint64_t reads_failed;
    struct raft_leadership leadership;
};

struct pending_operation {
    struct log_operation operation;
    uint8_t *data;
    nanoseconds_t due_ns;
    struct pending_operation *next;
};
struct pending_job {
    struct job *job;
    nanoseconds_t due_ns;
    struct pending_job *next;
};

struct cluster_store {
    store_id_t id;
    struct host_cluster *cluster;
    bool up;
    bool disk_hung;
    struct raft_host *host;
    struct raft_host_update update;
    struct outbox outbox;
    struct metrics metrics;
    struct toy *toys[CLUSTER_GROUPS_MAX + 1];
    uint8_t *segments[DISK_SEGMENTS];
    uint8_t *recycled; /* one, with its old bytes */
    struct pending_operation *operations;
    struct pending_job *jobs;
    uint32_t starts_count;
};

struct cluster_packet {
    store_id_t from;
    store_id_t to;
    struct blob *frame;
    nanoseconds_t due_ns;
    struct cluster_packet *next;
};

/* The state machine. */

static void toy_state_copy(struct toy_state *to, const struct toy_state *from)
{
    to->meta = from->meta;
    to->hash = from->hash;
    buffer_reset(&to->list);
    buffer_append(&to->list, from->list.data, from->list.bytes_count);
}

/* The first to apply an index says what it is; the others must find the same. */
static void toy_check(struct toy *toy, raft_index_t index, uint64_t hash)
{
    struct host_cluster *cluster = toy->cluster;
    size_t *capacity = &cluster->applied_capacity[toy->group];
    uint64_t **hashes = &cluster->applied_hashes[toy->group];
    if (index >= *capacity) {
        size_t grown = 2 * (size_t)index + 64;
        *hashes = memory_realloc(*hashes, grown * sizeof(uint64_t));
        memset(*hashes + *capacity, 0, (grown - *capacity) * sizeof(uint64_t));
        *capacity = grown;
    }
    if ((*hashes)[index] == 0)
        (*hashes)[index] = hash;
    cr_assert_eq((*hashes)[index], hash, "group %lu: replicas differ at %lu", toy->group, index);
}

static size_t toy_apply(void *machine, const struct raft_entry *entries, size_t entries_count)
{
    struct toy *toy = machine;
    if (entries_count > toy->appetite)
        entries_count = toy->appetite;
    if (toy->restoring)
        return 0; /* as the key-value store does */
    struct raft_status status;
    cr_assert_eq(raft_host_group_status(toy->store->host, toy->group, &status), OST_OK);
    for (size_t i = 0; i < entries_count; i++) {
        const struct raft_entry *entry = &entries[i];
        struct toy_state *live = &toy->live;
        cr_assert_eq(entry->index, live->meta.index + 1);
        cr_assert_geq(entry->term, live->meta.term);
        cr_assert_geq(entry->log_timestamp, live->meta.log_timestamp);
        cr_assert_leq(entry->index, status.durable_index, "R5");
        cr_assert_leq(entry->index, status.commit_index);
        struct bytes payload = blob_bytes(entry->payload);
        live->meta.index = entry->index;
        live->meta.term = entry->term;
        live->meta.log_timestamp = entry->log_timestamp;
        live->hash = XXH3_64bits_withSeed(payload.data, payload.bytes_count,
                                          live->hash ^ entry->term ^ entry->index);
        if (entry->type == RAFT_ENTRY_COMMAND)
            buffer_append(&live->list, payload.data, payload.bytes_count);
        if (entry->type == RAFT_ENTRY_CONFIGURATION) {
            cr_assert(raft_configuration_unpack(payload, &live->meta.configuration));
            live->meta.configuration_index = entry->index;
        }
        toy_check(toy, entry->index, live->hash);
        if (toy->cluster->on_apply)
            toy->cluster->on_apply(toy->cluster, toy->store->id, toy->group, entry);
    }
    return entries_count;
}

static void toy_leadership_changed(void *machine, const struct raft_leadership *leadership)
{
    struct toy *toy = machine;
    bool led = toy->leadership.role == RAFT_LEADER;
    if (led && leadership->role == RAFT_LEADER)
        cr_assert_eq(toy->leadership.term, leadership->term, "the fall was not told");
    if (leadership->ready)
        cr_assert_eq(leadership->role, RAFT_LEADER);
    toy->falls_count += led && leadership->role != RAFT_LEADER;
    toy->leadership = *leadership;
}

static void toy_read_ready(void *machine, uint64_t read_id, int status,
                           nanoseconds_t valid_until_ns)
{
    struct toy *toy = machine;
    cr_assert_not(toy->in_read_call);
    cr_assert_eq(valid_until_ns, NS_NEVER);
    for (size_t i = 0; i < toy->reads_count; i++) {
        if (toy->reads[i].read_id != read_id)
            continue;
        if (status == OST_OK) {
            cr_assert_geq(toy->live.meta.index, toy->reads[i].applied_at_least, "a stale read");
            toy->reads_ok++;
        } else {
            cr_assert_eq(status, OST_NOT_LEADER);
            toy->reads_failed++;
        }
        toy->reads[i] = toy->reads[--toy->reads_count];
        return;
    }
    cr_assert_fail("read %lu was not asked for", read_id);
}

static void toy_applied_meta(void *machine, struct raft_snapshot_meta *out_meta)
{
    *out_meta = ((struct toy *)machine)->live.meta;
}

static raft_index_t toy_flushed_index(void *machine)
{
    const struct toy *toy = machine;
    return toy->flushed_replica == toy->replica ? toy->flushed.meta.index : 0;
}

struct toy_snapshot {
    struct toy_state state;
    size_t at;
    bool hash_read;
};

static int toy_snapshot_open(void *machine, struct raft_snapshot_meta *out_meta,
                             void **out_snapshot)
{
    struct toy *toy = machine;
    struct toy_snapshot *snapshot = memory_alloc_zeroed(1, sizeof(*snapshot));
    toy_state_copy(&snapshot->state, &toy->live);
    *out_meta = toy->live.meta;
    *out_snapshot = snapshot;
    return OST_OK;
}

static int toy_snapshot_read(void *opened, struct buffer *chunk, size_t bytes_max, bool *out_last)
{
    struct toy_snapshot *snapshot = opened;
    if (!snapshot->hash_read)
        buffer_append_u64_be(chunk, snapshot->state.hash);
    snapshot->hash_read = true;
    size_t left = snapshot->state.list.bytes_count - snapshot->at;
    size_t taken = left < bytes_max ? left : bytes_max;
    buffer_append(chunk, snapshot->state.list.data + snapshot->at, taken);
    snapshot->at += taken;
    *out_last = snapshot->at == snapshot->state.list.bytes_count;
    return OST_OK;
}

static void toy_snapshot_close(void *opened)
{
    struct toy_snapshot *snapshot = opened;
    buffer_fini(&snapshot->state.list);
    free(snapshot);
}

struct toy_restore {
    struct toy *toy;
    struct toy_state state;
    struct buffer bytes;
    bool finished;
};

static int toy_restore_open(void *machine, const struct raft_snapshot_meta *meta,
                            void **out_restore)
{
    struct toy *toy = machine;
    cr_assert_not(toy->restoring);
    toy->restoring = true;
    struct toy_restore *restore = memory_alloc_zeroed(1, sizeof(*restore));
    restore->toy = toy;
    restore->state.meta = *meta;
    *out_restore = restore;
    return OST_OK;
}

static int toy_restore_write(void *opened, struct bytes chunk)
{
    struct toy_restore *restore = opened;
    buffer_append(&restore->bytes, chunk.data, chunk.bytes_count);
    return OST_OK;
}

static int toy_restore_finish(void *opened)
{
    struct toy_restore *restore = opened;
    struct reader reader = reader_of(buffer_bytes(&restore->bytes));
    if (!reader_u64_be(&reader, &restore->state.hash))
        return OST_CORRUPT;
    buffer_append(&restore->state.list, reader.data, reader.bytes_left);
    restore->finished = true;
    restore->toy->cluster->restores_finished_count++;
    toy_state_copy(&restore->toy->flushed, &restore->state); /* durable */
    restore->toy->flushed_replica = restore->toy->replica;
    return OST_OK;
}

static void toy_restore_close(void *machine, void *opened, bool adopt)
{
    struct toy *toy = machine;
    struct toy_restore *restore = opened;
    toy->restoring = false;
    if (adopt) {
        cr_assert(restore->finished);
        cr_assert_gt(restore->state.meta.index, toy->live.meta.index);
        toy_state_copy(&toy->live, &restore->state);
        toy_check(toy, toy->live.meta.index, toy->live.hash);
        if (toy->cluster->on_restore)
            toy->cluster->on_restore(toy->cluster, toy->store->id, toy->group,
                                     toy->live.meta.index);
    }
    buffer_fini(&restore->state.list);
    buffer_fini(&restore->bytes);
    free(restore);
}

static void toy_wipe(struct toy *toy)
{
    toy->replica = 0;
    toy->live.meta = (struct raft_snapshot_meta){0};
    toy->live.hash = 0;
    buffer_reset(&toy->live.list);
    toy->leadership = (struct raft_leadership){0};
}

/* On disk the rows go with the next flush. */
static void toy_destroyed(void *machine)
{
    struct toy *toy = machine;
    cr_assert_not(toy->restoring);
    cr_assert_eq(toy->reads_count, 0, "a read is waited for in vain");
    cr_assert_neq(toy->leadership.role, RAFT_LEADER);
    toy_wipe(toy);
    toy->destroyed_count++;
}

static const struct raft_state_machine_ops toy_ops = {
    .apply = toy_apply,
    .leadership_changed = toy_leadership_changed,
    .read_ready = toy_read_ready,
    .applied_meta = toy_applied_meta,
    .flushed_index = toy_flushed_index,
    .snapshot_open = toy_snapshot_open,
    .snapshot_read = toy_snapshot_read,
    .snapshot_close = toy_snapshot_close,
    .restore_open = toy_restore_open,
    .restore_write = toy_restore_write,
    .restore_finish = toy_restore_finish,
    .restore_close = toy_restore_close,
    .destroyed = toy_destroyed,
};

raft_index_t toy_applied(const struct toy *toy)
{
    return toy->live.meta.index;
}
raft_index_t toy_flushed(const struct toy *toy)
{
    return toy->flushed.meta.index;
}
uint64_t toy_reads_ok(const struct toy *toy)
{
    return toy->reads_ok;
}
uint64_t toy_reads_failed(const struct toy *toy)
{
    return toy->reads_failed;
}
void toy_set_appetite(struct toy *toy, uint32_t entries_count)
{
    toy->appetite = entries_count;
}

/* One store. */

static void store_disk_finish(struct cluster_store *store, struct pending_operation *pending)
{
    const struct log_operation *operation = &pending->operation;
    uint8_t **segment = &store->segments[operation->segment];
    size_t segment_bytes = store->cluster->options.log_segment_bytes;
    switch (operation->type) {
    case LOG_OPERATION_CREATE:
        cr_assert_null(*segment);
        *segment = store->recycled ? store->recycled : memory_alloc_zeroed(1, segment_bytes);
        store->recycled = NULL;
        break;
    case LOG_OPERATION_RETIRE:
        cr_assert_not_null(*segment);
        free(store->recycled);
        store->recycled = *segment;
        *segment = NULL;
        break;
    case LOG_OPERATION_WRITE:
        cr_assert_not_null(*segment);
        cr_assert_leq(operation->offset + operation->bytes_count, segment_bytes);
        memcpy(*segment + operation->offset, pending->data, operation->bytes_count);
        break;
    }
}

static void store_disk_turn(struct cluster_store *store)
{
    struct pending_operation **at = &store->operations;
    while (*at) {
        struct pending_operation *pending = *at;
        bool hung = store->disk_hung && pending->operation.type == LOG_OPERATION_WRITE;
        if (hung || pending->due_ns > store->cluster->now_ns) {
            at = &pending->next;
            continue;
        }
        *at = pending->next;
        store_disk_finish(store, pending);
        raft_host_log_done(store->host, pending->operation.type, pending->operation.segment,
                           pending->operation.cookie, store->cluster->now_ns);
        free(pending->data);
        free(pending);
        at = &store->operations;
    }
}

static void store_jobs_turn(struct cluster_store *store, bool all)
{
    struct pending_job **at = &store->jobs;
    while (*at) {
        struct pending_job *pending = *at;
        if (!all && pending->due_ns > store->cluster->now_ns) {
            at = &pending->next;
            continue;
        }
        *at = pending->next;
        pending->job->run(pending->job);
        pending->job->done(pending->job);
        free(pending);
    }
}

static nanoseconds_t cluster_soon(struct host_cluster *cluster, uint32_t ms_max)
{
    return cluster->now_ns + (1 + random_below(&cluster->random, ms_max)) * NS_PER_MS;
}

static void store_drain(struct cluster_store *store)
{
    struct host_cluster *cluster = store->cluster;
    struct raft_host_update *update = &store->update;
    for (uint32_t i = 0; i < update->log_operations_count; i++) {
        struct pending_operation *pending = memory_alloc_zeroed(1, sizeof(*pending));
        pending->operation = update->log_operations[i];
        pending->due_ns = cluster_soon(cluster, 3);
        if (pending->operation.type == LOG_OPERATION_WRITE) {
            pending->data = memory_alloc(pending->operation.bytes_count);
            memcpy(pending->data, pending->operation.data, pending->operation.bytes_count);
        }
        struct pending_operation **end = &store->operations;
        while (*end)
            end = &(*end)->next;
        *end = pending;
    }
    update->log_operations_count = 0;
    while (update->jobs) {
        struct pending_job *pending = memory_alloc_zeroed(1, sizeof(*pending));
        pending->job = update->jobs;
        update->jobs = pending->job->next;
        pending->due_ns = cluster_soon(cluster, 5);
        pending->next = store->jobs;
        store->jobs = pending;
    }
    for (size_t i = 0; i < store->outbox.items_count; i++) {
        struct outgoing *item = &store->outbox.items[i];
        cr_assert_eq(item->to.kind, ADDRESS_STORE);
        store_id_t to = item->to.id;
        cr_assert(to >= 1 && to <= cluster->stores_count && to != store->id);
        struct frame frame = frame_of_blob(item->frame);
        cluster->frames_count++;
        cluster->frames_bytes_count += item->frame->bytes_count;
        cluster->chunks_count += frame.type == FRAME_RAFT_SNAPSHOT_CHUNK;
        if (cluster->on_frame)
            cluster->on_frame(cluster, store->id, to, &frame);
        if (cluster->cut[store->id][to] ||
            random_below(&cluster->random, 100) < cluster->loss_percent)
            continue;
        struct cluster_packet *packet = memory_alloc_zeroed(1, sizeof(*packet));
        *packet = (struct cluster_packet){.from = store->id,
                                          .to = to,
                                          .frame = blob_ref(item->frame),
                                          .due_ns = cluster_soon(cluster, cluster->delay_ms_max)};
        if (cluster->extra_delay_ms)
            packet->due_ns += cluster->extra_delay_ms(cluster, &frame) * NS_PER_MS;
        struct cluster_packet **end = &cluster->packets;
        while (*end && (*end)->due_ns <= packet->due_ns)
            end = &(*end)->next;
        packet->next = *end;
        *end = packet;
    }
    outbox_reset(&store->outbox);
}

static void store_turn(struct cluster_store *store)
{
    struct host_cluster *cluster = store->cluster;
    store_disk_turn(store);
    store_jobs_turn(store, false);
    if (store->update.deadline_ns <= cluster->now_ns)
        raft_host_timer(store->host, cluster->now_ns);
    for (int i = 0; i < 4; i++) {
        raft_host_turn_ended(store->host, cluster->now_ns);
        store_drain(store);
        if (!store->update.more_to_apply)
            break;
    }
}

/* One whose rows were found. */
static int toy_start(struct toy *toy)
{
    struct raft_host *host = toy->store->host;
    int status = raft_host_group_add(host, toy->group, toy->replica, &toy->live.meta, &toy_ops, toy,
                                     toy->cluster->now_ns);
    if (status == OST_OK)
        return OST_OK;
    if (status != OST_NOT_FOUND &&
        !(status == OST_CORRUPT && raft_host_group_damaged(host, toy->group)))
        return status;
    toy_wipe(toy);
    return OST_OK;
}

/* Those that were new, and of which no row was flushed. */
static int store_add_recovered(struct cluster_store *store)
{
    struct raft_host_recovered recovered;
    bool more = raft_host_recovered_next(store->host, NULL, &recovered);
    for (; more; more = raft_host_recovered_next(store->host, &recovered, &recovered)) {
        struct toy *toy = store->toys[recovered.group];
        if (recovered.destroyed || recovered.damaged || toy->replica != 0)
            continue;
        toy->replica = recovered.replica;
        int status = toy_start(toy);
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}

int host_cluster_start(struct host_cluster *cluster, store_id_t id)
{
    struct cluster_store *store = cluster->stores[id];
    cr_assert_not(store->up);
    outbox_init(&store->outbox);
    store->update = (struct raft_host_update){.outbox = &store->outbox};
    struct raft_host_options options = cluster->options;
    options.store = id;
    options.seed = random_next(&cluster->random);
    options.metrics = &store->metrics;
    store->host = raft_host_new(&options, &store->update);
    store->starts_count++;
    store->up = true;
    char why[WAL_WHY_BYTES];
    for (uint32_t i = 0; i < DISK_SEGMENTS; i++) {
        if (!store->segments[i])
            continue;
        int status = raft_host_recover_segment(
            store->host, i, bytes_of(store->segments[i], options.log_segment_bytes), why);
        if (status != OST_OK)
            return status;
    }
    int status = raft_host_recover_end(store->host, why);
    for (group_id_t group = 1; status == OST_OK && group <= cluster->groups_count; group++) {
        struct toy *toy = store->toys[group];
        toy_state_copy(&toy->live, &toy->flushed);
        toy->replica = toy->flushed_replica;
        toy->leadership = (struct raft_leadership){0};
        toy->restoring = false;
        toy->reads_count = 0;
        if (toy->replica != 0)
            status = toy_start(toy);
    }
    if (status == OST_OK)
        status = store_add_recovered(store);
    if (status == OST_OK)
        store_turn(store);
    return status;
}

int host_cluster_add_replica(struct host_cluster *cluster, store_id_t id, group_id_t group,
                             replica_id_t replica)
{
    struct toy *toy = cluster->stores[id]->toys[group];
    if (toy->replica != 0)
        return OST_EXISTS;
    toy->replica = replica;
    int status = raft_host_group_add(cluster->stores[id]->host, group, replica, &toy->live.meta,
                                     &toy_ops, toy, cluster->now_ns);
    if (status != OST_OK)
        toy_wipe(toy);
    return status;
}

replica_id_t host_cluster_replica(struct host_cluster *cluster, store_id_t store, group_id_t group)
{
    return cluster->stores[store]->toys[group]->replica;
}

uint32_t toy_falls_count(const struct toy *toy)
{
    return toy->falls_count;
}

uint32_t toy_destroyed_count(const struct toy *toy)
{
    return toy->destroyed_count;
}

uint8_t *host_cluster_segment(struct host_cluster *cluster, store_id_t store, uint32_t segment)
{
    return segment < DISK_SEGMENTS ? cluster->stores[store]->segments[segment] : NULL;
}

void host_cluster_crash(struct host_cluster *cluster, store_id_t id)
{
    struct cluster_store *store = cluster->stores[id];
    cr_assert(store->up);
    store->up = false;
    /* Jobs are run to their end before a host is freed (job.h), but what they make durable counts
     * only when a coin says that they came so far. */
    struct raft_snapshot_meta unused;
    (void)unused;
    store_jobs_turn(store, true);
    while (store->operations) {
        struct pending_operation *pending = store->operations;
        store->operations = pending->next;
        if (pending->operation.type == LOG_OPERATION_WRITE) {
            uint8_t *at = store->segments[pending->operation.segment] + pending->operation.offset;
            for (size_t i = 0; i < pending->operation.bytes_count; i += WAL_BLOCK_BYTES)
                if (random_below(&cluster->random, 2) == 0)
                    memcpy(at + i, pending->data + i, WAL_BLOCK_BYTES);
        }
        free(pending->data);
        free(pending);
    }
    raft_host_free(store->host);
    store->host = NULL;
    outbox_fini(&store->outbox);
}

/* The cluster. */

struct host_cluster *host_cluster_new(uint64_t seed, uint32_t stores_count, uint32_t groups_count,
                                      const struct raft_host_options *options)
{
    cr_assert_leq(groups_count, CLUSTER_GROUPS_MAX);
    struct host_cluster *cluster = memory_alloc_zeroed(1, sizeof(*cluster));
    random_init(&cluster->random, seed);
    cluster->now_ns = NS_PER_S;
    cluster->stores_count = stores_count;
    cluster->groups_count = groups_count;
    cluster->options = *options;
    cluster->delay_ms_max = 3;
    for (store_id_t id = 1; id <= stores_count; id++) {
        struct cluster_store *store = memory_alloc_zeroed(1, sizeof(*store));
        cluster->stores[id] = store;
        store->id = id;
        store->cluster = cluster;
        for (group_id_t group = 1; group <= groups_count; group++) {
            struct toy *toy = memory_alloc_zeroed(1, sizeof(*toy));
            store->toys[group] = toy;
            toy->cluster = cluster;
            toy->store = store;
            toy->group = group;
            toy->appetite = UINT32_MAX;
            toy->flushed_replica = 10 * group + id;
            struct raft_configuration *configuration = &toy->flushed.meta.configuration;
            for (store_id_t member = 1; member <= stores_count; member++)
                configuration->members[configuration->members_count++] =
                    (struct raft_member){.replica = 10 * group + member,
                                         .store = member,
                                         .voter_old = true,
                                         .voter_new = true};
        }
        cr_assert_eq(host_cluster_start(cluster, id), OST_OK);
    }
    return cluster;
}

void host_cluster_free(struct host_cluster *cluster)
{
    for (store_id_t id = 1; id <= cluster->stores_count; id++) {
        struct cluster_store *store = cluster->stores[id];
        if (store->up)
            host_cluster_crash(cluster, id);
        for (group_id_t group = 1; group <= cluster->groups_count; group++) {
            buffer_fini(&store->toys[group]->live.list);
            buffer_fini(&store->toys[group]->flushed.list);
            free(store->toys[group]);
        }
        for (uint32_t i = 0; i < DISK_SEGMENTS; i++)
            free(store->segments[i]);
        free(store->recycled);
        free(store);
    }
    while (cluster->packets) {
        struct cluster_packet *packet = cluster->packets;
        cluster->packets = packet->next;
        blob_unref(packet->frame);
        free(packet);
    }
    for (group_id_t group = 1; group <= cluster->groups_count; group++)
        free(cluster->applied_hashes[group]);
    free(cluster);
}

static void cluster_deliver(struct host_cluster *cluster)
{
    while (cluster->packets && cluster->packets->due_ns <= cluster->now_ns) {
        struct cluster_packet *packet = cluster->packets;
        cluster->packets = packet->next;
        struct cluster_store *to = cluster->stores[packet->to];
        if (to->up && !cluster->cut[packet->from][packet->to]) {
            struct frame frame = frame_of_blob(packet->frame);
            cr_assert_eq(raft_host_receive(to->host, packet->from, &frame, cluster->now_ns),
                         OST_OK);
        }
        blob_unref(packet->frame);
        free(packet);
    }
}

void host_cluster_run(struct host_cluster *cluster, uint32_t ms)
{
    for (uint32_t i = 0; i < ms; i++) {
        cluster->now_ns += TICK_NS;
        cluster_deliver(cluster);
        for (store_id_t id = 1; id <= cluster->stores_count; id++)
            if (cluster->stores[id]->up)
                store_turn(cluster->stores[id]);
    }
}

store_id_t host_cluster_leader(struct host_cluster *cluster, group_id_t group)
{
    store_id_t leader = 0;
    raft_term_t term = 0;
    for (store_id_t id = 1; id <= cluster->stores_count; id++) {
        struct raft_leadership leadership;
        if (!cluster->stores[id]->up)
            continue;
        if (raft_host_leadership(cluster->stores[id]->host, group, &leadership) == OST_OK &&
            leadership.ready && leadership.term > term) {
            leader = id;
            term = leadership.term;
        }
    }
    return leader;
}

bool host_cluster_has_leaders(struct host_cluster *cluster)
{
    for (group_id_t group = 1; group <= cluster->groups_count; group++)
        if (host_cluster_leader(cluster, group) == 0)
            return false;
    return true;
}

void host_cluster_elect(struct host_cluster *cluster)
{
    for (int i = 0; i < 2000 && !host_cluster_has_leaders(cluster); i++)
        host_cluster_run(cluster, 10);
    cr_assert(host_cluster_has_leaders(cluster), "no leader in 20 s");
}

bool host_cluster_propose(struct host_cluster *cluster, group_id_t group, size_t bytes_count)
{
    store_id_t leader = host_cluster_leader(cluster, group);
    if (leader == 0)
        return false;
    struct blob *payload = blob_new(bytes_count);
    for (size_t i = 0; i < bytes_count; i++)
        payload->data[i] = (uint8_t)random_next(&cluster->random);
    raft_index_t index;
    raft_term_t term;
    int status = raft_host_propose(cluster->stores[leader]->host, group, RAFT_ENTRY_COMMAND,
                                   payload, cluster->now_ns, &index, &term);
    blob_unref(payload);
    return status == OST_OK;
}

int host_cluster_propose_at(struct host_cluster *cluster, store_id_t store, group_id_t group,
                            struct blob *payload, raft_index_t *out_index, raft_term_t *out_term)
{
    return raft_host_propose(cluster->stores[store]->host, group, RAFT_ENTRY_COMMAND, payload,
                             cluster->now_ns, out_index, out_term);
}

bool host_cluster_is_up(const struct host_cluster *cluster, store_id_t store)
{
    return cluster->stores[store]->up;
}

static bool cluster_is_settled(struct host_cluster *cluster)
{
    for (group_id_t group = 1; group <= cluster->groups_count; group++) {
        store_id_t leader = host_cluster_leader(cluster, group);
        struct raft_status status;
        if (leader == 0)
            return false;
        const struct raft_host *host = cluster->stores[leader]->host;
        cr_assert_eq(raft_host_group_status(host, group, &status), OST_OK);
        for (store_id_t id = 1; id <= cluster->stores_count; id++) {
            const struct toy *toy = cluster->stores[id]->toys[group];
            if (cluster->stores[id]->up && toy->live.meta.index != status.last_index &&
                raft_configuration_find(raft_host_configuration(host, group), toy->replica))
                return false;
        }
    }
    return true;
}

void host_cluster_settle(struct host_cluster *cluster)
{
    for (int i = 0; i < 6000 && !cluster_is_settled(cluster); i++)
        host_cluster_run(cluster, 10);
    cr_assert(cluster_is_settled(cluster), "not settled in 60 s");
}

void host_cluster_isolate(struct host_cluster *cluster, store_id_t store, bool isolated)
{
    for (store_id_t id = 1; id <= cluster->stores_count; id++)
        cluster->cut[id][store] = cluster->cut[store][id] = isolated;
}

void host_cluster_hang_disk(struct host_cluster *cluster, store_id_t store, bool hung)
{
    cluster->stores[store]->disk_hung = hung;
}

void host_cluster_flush(struct host_cluster *cluster, store_id_t id)
{
    struct cluster_store *store = cluster->stores[id];
    for (group_id_t group = 1; group <= cluster->groups_count; group++) {
        struct toy *toy = store->toys[group];
        /* While a restored state waits to be taken over it is the newer one on disk. */
        if (toy->flushed.meta.index < toy->live.meta.index ||
            toy->flushed_replica != toy->replica) {
            toy_state_copy(&toy->flushed, &toy->live);
            toy->flushed_replica = toy->replica;
        }
    }
    raft_host_flushed(store->host, cluster->now_ns);
}

void host_cluster_lose_state(struct host_cluster *cluster, store_id_t id, group_id_t group)
{
    struct toy_state *flushed = &cluster->stores[id]->toys[group]->flushed;
    buffer_reset(&flushed->list);
    flushed->hash = 0;
    flushed->meta.index = flushed->meta.term = flushed->meta.log_timestamp = 0;
}

size_t host_cluster_segments_count(const struct host_cluster *cluster, store_id_t store)
{
    size_t count = 0;
    for (uint32_t i = 0; i < DISK_SEGMENTS; i++)
        count += cluster->stores[store]->segments[i] != NULL;
    return count;
}

struct raft_host *host_cluster_host(struct host_cluster *cluster, store_id_t store)
{
    return cluster->stores[store]->host;
}
const struct metrics *host_cluster_metrics(struct host_cluster *cluster, store_id_t store)
{
    return &cluster->stores[store]->metrics;
}
struct toy *host_cluster_toy(struct host_cluster *cluster, store_id_t store, group_id_t group)
{
    return cluster->stores[store]->toys[group];
}

bool host_cluster_read(struct host_cluster *cluster, store_id_t id, group_id_t group)
{
    struct toy *toy = cluster->stores[id]->toys[group];
    if (toy->reads_count == TOY_READS_MAX)
        return false;
    struct toy_read *read = &toy->reads[toy->reads_count];
    read->applied_at_least = 0;
    for (store_id_t other = 1; other <= cluster->stores_count; other++) {
        raft_index_t applied = cluster->stores[other]->toys[group]->live.meta.index;
        if (applied > read->applied_at_least)
            read->applied_at_least = applied;
    }
    toy->in_read_call = true;
    int status = raft_host_read(cluster->stores[id]->host, group, cluster->now_ns, &read->read_id);
    toy->in_read_call = false;
    if (status != OST_OK)
        return false;
    toy->reads_count++;
    return true;
}
