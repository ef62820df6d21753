/* kv_server.c: which replicas are here, from start-up to their end, and which of them a frame, an
 * answer of the oracle or the time is for.
 */
#include "base/log.h"
#include "base/sometimes.h"
#include "shardkv/kv_copy.h"
#include "shardkv/kv_feed.h"
#include "shardkv/kv_keys.h"
#include "shardkv/kv_server_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* A new replica, whose row is on its way to the disk. */
struct creation {
    struct kv_server *server;
    group_id_t group;
    replica_id_t replica;
    UT_hash_handle hh;
};

void kv_options_default(struct kv_options *out_options)
{
    *out_options = (struct kv_options){
        .flush_bytes = 32u << 20,
        .flush_interval_ms = 30000,
        .requests_count_max = 65536,
        .requests_bytes_max = 512u << 20,
        .request_deadline_ms_max = DEADLINE_AHEAD_MS,
        .garbage_bytes_min = 64u << 10,
        .range_split_bytes = 96u << 20,
        .range_merge_bytes = 24u << 20,
        .range_split_operations = 5000,
        .range_merge_operations = 1000,
        .copy_bytes_per_s = 22u << 20,
    };
    participant_options_default(&out_options->participant);
    recovery_options_default(&out_options->recovery);
}

struct kv_server *kv_server_new(const struct kv_options *options,
                                const struct kv_environment *environment)
{
    struct kv_server *server = memory_alloc_zeroed(1, sizeof(*server));
    server->shared.environment = *environment;
    server->shared.options = *options;
    server->shared.copy_limit.bytes_per_s = options->copy_bytes_per_s;
    server->shared.oracle = oracle_client_new(environment->outbox, environment->metrics);
    server->flusher = kv_flusher_new(&server->shared);
    server->sweeper = kv_sweeper_new(&server->shared);
    kv_gc_withdraw_all(store_gc(environment->store));
    arena_init(&server->arena);
    return server;
}

void kv_server_free(struct kv_server *server)
{
    if (!server)
        return;
    struct kv_shared *shared = &server->shared;
    kv_sweeper_free(server->sweeper);
    kv_flusher_free(server->flusher);
    struct kv_group *group, *next;
    HASH_ITER (hh, server->groups, group, next) {
        HASH_DEL(server->groups, group);
        kv_group_free(group);
    }
    struct lost_replica *lost, *lost_next;
    HASH_ITER (hh, server->lost, lost, lost_next) {
        HASH_DEL(server->lost, lost);
        free(lost);
    }
    ASSERT(!shared->requests_by_token && !server->creations);
    oracle_client_free(shared->oracle);
    arena_fini(&server->arena);
    buffer_fini(&shared->key);
    buffer_fini(&shared->found_key);
    buffer_fini(&shared->value);
    free(server);
}

/* Time goes on, never back. */
static void server_now(struct kv_server *server, nanoseconds_t now_ns)
{
    if (server->shared.now_ns < now_ns)
        server->shared.now_ns = now_ns;
}

static struct kv_group *server_find(const struct kv_server *server, group_id_t id)
{
    struct kv_group *group;
    HASH_FIND(hh, server->groups, &id, sizeof(id), group);
    return group && !group->is_doomed ? group : NULL;
}

struct kv_group *kv_server_group(struct kv_shared *shared, group_id_t id)
{
    return server_find((struct kv_server *)shared, id);
}

struct kv_sweeper *kv_server_sweeper(struct kv_shared *shared)
{
    return ((struct kv_server *)shared)->sweeper;
}

static struct lost_replica *lost_find(const struct kv_server *server, group_id_t group)
{
    struct lost_replica *lost;
    HASH_FIND(hh, server->lost, &group, sizeof(group), lost);
    return lost;
}

/* The rows and the log may know two numbers: then the higher one was here last, and what the log
 * knew of it is lost. */
static void lost_add(struct kv_server *server, group_id_t group, replica_id_t replica)
{
    struct lost_replica *lost = lost_find(server, group);
    if (lost) {
        lost->replica = lost->replica > replica ? lost->replica : replica;
        return;
    }
    lost = memory_alloc_zeroed(1, sizeof(*lost));
    lost->group = group;
    lost->replica = replica;
    HASH_ADD(hh, server->lost, group, sizeof(lost->group), lost);
    server->replicas_changed++;
    log_write(LOG_ERROR, "a replica is lost: its log is damaged", "store=%lu group=%lu replica=%lu",
              server->shared.environment.store_id, group, replica);
}

/* Not tried twice: what stays is deleted at the next start, or by the next replica's creation. */
static void rows_wipe(struct kv_server *server, group_id_t group)
{
    struct store_batch *batch = store_batch_new(server->shared.environment.store);
    kv_group_rows_delete(batch, group);
    int status = store_write(server->shared.environment.store, batch);
    if (status != OST_OK)
        log_write(LOG_WARN, "the rows of a destroyed replica stay for now",
                  "store=%lu group=%lu status=%s", server->shared.environment.store_id, group,
                  ost_status_name(status));
    store_batch_free(batch);
}

/* --- Start-up ----------------------------------------------------------------------------------
 */

static int server_add_group(struct kv_server *server, struct kv_group *group)
{
    struct raft_snapshot_meta meta;
    kv_meta_to_raft(&group->meta, &meta);
    /* What is found at start is what a crash left, so it is flushed; a new one is at index 0. */
    group->flushed_index = group->meta.applied_index;
    kv_group_point_flushed(group,
                           &(struct kv_gc_point){group->meta.generation, group->meta.safe_point,
                                                 group->meta.log_timestamp});
    HASH_ADD(hh, server->groups, id, sizeof(group->id), group);
    int status = raft_host_group_add(server->shared.environment.host, group->id, group->replica,
                                     &meta, &kv_group_ops, group, server->shared.now_ns);
    if (status == OST_OK)
        return OST_OK;
    HASH_DEL(server->groups, group);
    kv_group_gc_withdraw(group);
    return status;
}

static int load_group(struct kv_server *server, struct bytes meta_key, char *out_why)
{
    struct reader reader = reader_of(meta_key);
    uint8_t table;
    group_id_t id;
    if (!reader_u8(&reader, &table) || !reader_u64_be(&reader, &id) || reader.bytes_left > 0) {
        snprintf(out_why, KV_WHY_BYTES, "a meta row has a malformed key");
        return OST_CORRUPT;
    }
    struct kv_group *group = kv_group_new(&server->shared, id, 0);
    bool is_damaged = raft_host_group_damaged(server->shared.environment.host, id);
    int status = kv_group_load(group);
    if (status == OST_OK && is_damaged) { /* not only until the damage is out of sight */
        raft_host_group_mark_damaged(server->shared.environment.host, id, group->replica);
        status = OST_CORRUPT;
    } else if (status == OST_OK) {
        status = server_add_group(server, group);
    }
    if (status == OST_NOT_FOUND) { /* R6: destroyed, and stopped before its rows were gone */
        kv_group_free(group);
        rows_wipe(server, id);
        return OST_OK;
    }
    if (status == OST_CORRUPT && raft_host_group_damaged(server->shared.environment.host, id)) {
        lost_add(server, id, group->replica);
        kv_group_free(group);
        return OST_OK;
    }
    if (status != OST_OK) {
        snprintf(out_why, KV_WHY_BYTES, "cannot load group %lu: %s", id, ost_status_text(status));
        kv_group_free(group);
    }
    return status;
}

static int load_groups(struct kv_server *server, char *out_why)
{
    uint8_t lower[] = {KV_TABLE_GROUP_META};
    uint8_t upper[] = {KV_TABLE_GROUP_META + 1};
    struct store_iterator *iterator =
        store_iterator_new(server->shared.environment.store, NULL, bytes_of(lower, sizeof(lower)),
                           bytes_of(upper, sizeof(upper)), STORE_MAY_BLOCK);
    int status = OST_OK;
    for (store_iterator_first(iterator); status == OST_OK && store_iterator_valid(iterator);) {
        status = load_group(server, store_iterator_key(iterator), out_why);
        if (status == OST_OK)
            store_iterator_next(iterator);
    }
    if (status == OST_OK && store_iterator_status(iterator) != OST_NOT_FOUND) {
        status = store_iterator_status(iterator);
        snprintf(out_why, KV_WHY_BYTES, "cannot read the groups' rows: %s",
                 ost_status_text(status));
    }
    store_iterator_free(iterator);
    return status;
}

/* S2: what no meta row names is left over from a restore that did not come to its end, or from
 * before one that did. A store that takes no writes now may start all the same: what stays does no
 * harm until the next start, as long as its generation is not used again. */
static int delete_leftovers(struct kv_server *server, char *out_why)
{
    struct store *store = server->shared.environment.store;
    uint8_t lower[] = {KV_TABLE_GROUP_ROWS};
    uint8_t upper[] = {KV_TABLE_GROUP_ROWS + 1};
    struct store_batch *batch = store_batch_new(store);
    struct store_iterator *iterator =
        store_iterator_new(store, NULL, bytes_of(lower, sizeof(lower)),
                           bytes_of(upper, sizeof(upper)), STORE_MAY_BLOCK);
    struct buffer behind = BUFFER_INIT;
    int status = OST_OK;
    store_iterator_first(iterator);
    while (store_iterator_valid(iterator)) {
        struct kv_row_key parts;
        if (!kv_key_parse(store_iterator_key(iterator), &parts)) {
            status = OST_CORRUPT;
            break;
        }
        struct kv_group *group = server_find(server, parts.group);
        if (group && group->generation_last < parts.generation)
            group->generation_last = parts.generation;
        if (lost_find(server, parts.group)) {
            ; /* they go when it is destroyed */
        } else if (!group || group->meta.generation != parts.generation) {
            COVER(LEFTOVERS_DELETED);
            kv_generation_delete(batch, parts.group, parts.generation);
        }
        kv_key_generation(&behind, parts.group, parts.generation + 1);
        store_iterator_seek(iterator, buffer_bytes(&behind));
    }
    if (status == OST_OK && store_iterator_status(iterator) != OST_NOT_FOUND)
        status = store_iterator_status(iterator);
    store_iterator_free(iterator);
    if (status == OST_OK && store_batch_bytes(batch) > 0)
        status = store_write(store, batch);
    store_batch_free(batch);
    buffer_fini(&behind);
    if (status == OST_BUSY) {
        log_write(LOG_WARN, "what a restore left over stays until the next start", "store=%lu",
                  server->shared.environment.store_id);
        status = OST_OK;
    }
    if (status != OST_OK)
        snprintf(out_why, KV_WHY_BYTES, "cannot delete what a restore left over: %s",
                 ost_status_text(status));
    return status;
}

int kv_server_load(struct kv_server *server, nanoseconds_t now_ns, char *out_why)
{
    server_now(server, now_ns);
    const struct raft_host *host = server->shared.environment.host;
    struct raft_host_recovered known, next;
    for (bool more = raft_host_recovered_next(host, NULL, &known); more; known = next) {
        if (known.damaged && !known.destroyed && known.group != SHARD_MASTER_GROUP)
            lost_add(server, known.group, known.replica);
        more = raft_host_recovered_next(host, &known, &next);
    }
    int status = load_groups(server, out_why);
    return status == OST_OK ? delete_leftovers(server, out_why) : status;
}

/* The row is durable: it may take part. Whatever is in the way here, the master says it again. */
static void creation_flushed(void *context, int status)
{
    struct creation *creation = context;
    struct kv_server *server = creation->server;
    struct kv_shared *shared = &server->shared;
    struct kv_group *group = NULL;
    if (status == OST_OK) {
        group = kv_group_new(shared, creation->group, creation->replica);
        status = kv_group_load(group);
    }
    if (status == OST_OK)
        status = server_add_group(server, group);
    if (status == OST_OK) {
        server->replicas_changed++;
        log_write(LOG_INFO, "made a replica", "store=%lu group=%lu replica=%lu",
                  shared->environment.store_id, creation->group, creation->replica);
    } else {
        uint64_t left_out;
        if (log_limit_passes(&server->creation_warnings, shared->now_ns, &left_out))
            log_write(LOG_WARN, "cannot make a replica",
                      "store=%lu group=%lu replica=%lu left_out=%lu why=\"%s\"",
                      shared->environment.store_id, creation->group, creation->replica, left_out,
                      ost_status_text(status));
        if (group)
            kv_group_free(group);
        /* Damage has taken what the log knew of the group's numbers: this one may have been here.
         */
        if (status == OST_CORRUPT &&
            raft_host_group_damaged(shared->environment.host, creation->group))
            lost_add(server, creation->group, creation->replica);
        if (status == OST_NOT_FOUND)
            rows_wipe(server, creation->group);
    }
    HASH_DEL(server->creations, creation);
    free(creation);
}

/* Is there room for it? OST_EXISTS: it is here, or on its way. */
static int creation_check(struct kv_server *server, const Ostraka__CreateReplica *command)
{
    if (command->store != server->shared.environment.store_id ||
        command->group == SHARD_MASTER_GROUP || command->replica == 0 || !command->configuration)
        return OST_INVALID_ARGUMENT;
    struct creation *creation;
    HASH_FIND(hh, server->creations, &command->group, sizeof(command->group), creation);
    if (creation)
        return creation->replica == command->replica ? OST_EXISTS : OST_BUSY;
    struct kv_group *group;
    HASH_FIND(hh, server->groups, &command->group, sizeof(command->group), group);
    if (group && group->replica == command->replica)
        return group->is_doomed ? OST_NOT_FOUND : OST_EXISTS;
    if (group)
        return group->replica > command->replica ? OST_NOT_FOUND : OST_BUSY;
    const struct lost_replica *lost = lost_find(server, command->group);
    if (lost && lost->replica >= command->replica)
        return OST_NOT_FOUND;
    if (kv_sweeper_is_busy_with(server->sweeper, command->group))
        return OST_BUSY;
    return OST_OK;
}

int kv_server_create_replica(struct kv_server *server, const Ostraka__CreateReplica *command,
                             nanoseconds_t now_ns)
{
    server_now(server, now_ns);
    int status = creation_check(server, command);
    if (status != OST_OK)
        return status == OST_EXISTS ? OST_OK : status;
    struct blob *configuration =
        blob_new(ostraka__raft_configuration__get_packed_size(command->configuration));
    ostraka__raft_configuration__pack(command->configuration, configuration->data);
    struct raft_configuration unpacked;
    if (!raft_configuration_unpack(blob_bytes(configuration), &unpacked)) {
        blob_unref(configuration);
        return OST_INVALID_ARGUMENT;
    }
    /* A lost one makes room for a newer number. */
    const struct lost_replica *lost = lost_find(server, command->group);
    if (lost)
        kv_server_destroy_replica(server, lost->group, lost->replica, now_ns);
    if (raft_host_group_is_busy(server->shared.environment.host, command->group,
                                command->replica)) {
        blob_unref(configuration);
        return OST_BUSY;
    }
    struct kv_group *group = kv_group_new(&server->shared, command->group, command->replica);
    status = kv_group_create_rows(group, command->group_epoch, configuration);
    kv_group_free(group);
    blob_unref(configuration);
    if (status != OST_OK)
        return status;
    struct creation *creation = memory_alloc_zeroed(1, sizeof(*creation));
    creation->server = server;
    creation->group = command->group;
    creation->replica = command->replica;
    HASH_ADD(hh, server->creations, group, sizeof(creation->group), creation);
    kv_flusher_ask(server->flusher, creation_flushed, creation);
    return OST_OK;
}

void kv_server_destroy_replica(struct kv_server *server, group_id_t id, replica_id_t replica,
                               nanoseconds_t now_ns)
{
    server_now(server, now_ns);
    struct raft_host *host = server->shared.environment.host;
    struct kv_group *group = server_find(server, id);
    struct lost_replica *lost = lost_find(server, id);
    bool is_running = group && group->replica == replica;
    bool is_lost = lost && lost->replica == replica;
    if (!is_running && !is_lost)
        return;
    log_write(LOG_INFO, "destroying a replica", "store=%lu group=%lu replica=%lu",
              server->shared.environment.store_id, id, replica);
    if (is_running)
        kv_group_doom(group);
    int status = raft_host_group_remove(host, id, replica, now_ns);
    ASSERT(status == OST_OK); /* by this number it is here */
    server->replicas_changed++;
    if (!is_lost)
        return;
    HASH_DEL(server->lost, lost);
    free(lost);
    rows_wipe(server, id);
}

void kv_server_group_destroyed(void *machine)
{
    struct kv_group *group = machine;
    struct kv_server *server = (struct kv_server *)group->shared;
    log_write(LOG_INFO, "destroyed a replica", "store=%lu group=%lu replica=%lu",
              server->shared.environment.store_id, group->id, group->replica);
    rows_wipe(server, group->id);
    HASH_DEL(server->groups, group);
    kv_group_free(group);
    server->replicas_changed++;
}

uint64_t kv_server_replicas_changed(const struct kv_server *server)
{
    return server->replicas_changed;
}

/* --- Frames ------------------------------------------------------------------------------------
 */

group_id_t kv_server_group_of_key(const struct kv_server *server, struct bytes key)
{
    const struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next) {
        if (!group->is_doomed && kv_ranges_find_settling(&group->ranges, key))
            return group->id;
    }
    return 0;
}

static struct kv_group *group_of_key(const struct kv_server *server, ProtobufCBinaryData key)
{
    return server_find(server, kv_server_group_of_key(server, bytes_of_field(key)));
}

static int receive_client(struct kv_server *server, uint64_t connection_id,
                          const struct frame *frame, const ProtobufCMessageDescriptor *descriptor)
{
    struct kv_request *request =
        kv_request_new(&server->shared, frame->type, connection_id, frame->request_id);
    request->message = message_unpack(descriptor, frame->message, &request->arena);
    if (!request->message) {
        kv_request_free(request);
        return OST_PROTOCOL;
    }
    request->bytes_count = frame->message.bytes_count + frame->payload.bytes_count;
    server->shared.requests_bytes += request->bytes_count;
    struct kv_group *group = server_find(server, kv_request_group(request));
    if (group)
        kv_request_attach(request, group);
    if (frame->type == FRAME_PREPARE)
        request->write_set = blob_copy(frame->payload);
    kv_request_begin(request);
    return OST_OK;
}

static void receive_resolve_answer(struct kv_server *server, const Ostraka__ResolveAnswer *answer)
{
    struct kv_group *group = group_of_key(server, answer->anchor);
    if (!group || !group->is_leading)
        return;
    struct recovery_update *update = kv_group_recovery_begin(group);
    recovery_resolve_answered(group->recovery, answer, server->shared.now_ns, update);
    kv_group_recovery_end(group);
}

static void receive_inquire_answer(struct kv_server *server, const Ostraka__InquireAnswer *answer)
{
    struct kv_group *group = group_of_key(server, answer->key);
    if (!group || !group->is_leading)
        return;
    struct recovery_update *update = kv_group_recovery_begin(group);
    recovery_inquire_answered(group->recovery, answer, server->shared.now_ns, update);
    kv_group_recovery_end(group);
}

static void receive_safe_point(struct kv_server *server, const Ostraka__SafePoint *message)
{
    if (server->shared.safe_point >= message->safe_point)
        return;
    server->shared.safe_point = message->safe_point;
    struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next)
        kv_group_safe_point_step(group);
}

timestamp_t kv_server_safe_point(const struct kv_server *server)
{
    return server->shared.safe_point;
}

static const ProtobufCMessageDescriptor *peer_descriptor(uint16_t type)
{
    switch (type) {
    case FRAME_RESOLVE:
        return &ostraka__resolve_request__descriptor;
    case FRAME_RESOLVE_ANSWER:
        return &ostraka__resolve_answer__descriptor;
    case FRAME_INQUIRE:
        return &ostraka__inquire_request__descriptor;
    case FRAME_INQUIRE_ANSWER:
        return &ostraka__inquire_answer__descriptor;
    case FRAME_ASSIGN_RANGE:
        return &ostraka__assign_range__descriptor;
    case FRAME_CLOSE_TIMESTAMP:
        return &ostraka__close_timestamp__descriptor;
    case FRAME_CLOSE_TIMESTAMP_ANSWER:
        return &ostraka__close_timestamp_answer__descriptor;
    case FRAME_SAFE_POINT:
        return &ostraka__safe_point__descriptor;
    case FRAME_RANGE_ORDER:
        return &ostraka__range_order__descriptor;
    case FRAME_RANGE_FETCH:
        return &ostraka__range_fetch__descriptor;
    case FRAME_RANGE_FETCH_ANSWER:
        return &ostraka__range_fetch_answer__descriptor;
    default:
        return NULL;
    }
}

static void receive_peer(struct kv_server *server, const struct frame *frame,
                         const ProtobufCMessage *message)
{
    struct kv_group *group;
    switch (frame->type) {
    case FRAME_RESOLVE:
        group = group_of_key(server, ((const Ostraka__ResolveRequest *)message)->key);
        if (group)
            kv_peer_resolve(group, frame, (const Ostraka__ResolveRequest *)message);
        break;
    case FRAME_RESOLVE_ANSWER:
        receive_resolve_answer(server, (const Ostraka__ResolveAnswer *)message);
        break;
    case FRAME_INQUIRE:
        group = group_of_key(server, ((const Ostraka__InquireRequest *)message)->anchor);
        if (group)
            kv_peer_inquire(group, frame, (const Ostraka__InquireRequest *)message);
        break;
    case FRAME_INQUIRE_ANSWER:
        receive_inquire_answer(server, (const Ostraka__InquireAnswer *)message);
        break;
    case FRAME_CLOSE_TIMESTAMP:
        group = server_find(server, ((const Ostraka__CloseTimestamp *)message)->group);
        if (group)
            kv_closed_asked(group, frame, (const Ostraka__CloseTimestamp *)message);
        break;
    case FRAME_CLOSE_TIMESTAMP_ANSWER:
        group = server_find(server, ((const Ostraka__CloseTimestampAnswer *)message)->group);
        if (group)
            kv_closed_answered(group, (const Ostraka__CloseTimestampAnswer *)message);
        break;
    case FRAME_SAFE_POINT:
        receive_safe_point(server, (const Ostraka__SafePoint *)message);
        break;
    case FRAME_RANGE_ORDER:
        group = server_find(server, ((const Ostraka__RangeOrder *)message)->group);
        if (group)
            kv_group_order(group, (const Ostraka__RangeOrder *)message);
        break;
    case FRAME_RANGE_FETCH:
        group = server_find(server, ((const Ostraka__RangeFetch *)message)->from_group);
        if (group)
            kv_feed_fetch(group, (const Ostraka__RangeFetch *)message);
        break;
    case FRAME_RANGE_FETCH_ANSWER:
        group = server_find(server, ((const Ostraka__RangeFetchAnswer *)message)->to_group);
        if (group && group->is_leading)
            kv_copy_answered(group, (const Ostraka__RangeFetchAnswer *)message, frame->payload);
        break;
    default:
        ASSERT(frame->type == FRAME_ASSIGN_RANGE);
        group = server_find(server, ((const Ostraka__AssignRange *)message)->group);
        if (group)
            kv_group_assign_range(group, (const Ostraka__AssignRange *)message);
        break;
    }
}

int kv_server_receive(struct kv_server *server, uint64_t connection_id, const struct frame *frame,
                      nanoseconds_t now_ns)
{
    server_now(server, now_ns);
    const ProtobufCMessageDescriptor *descriptor = kv_request_descriptor(frame->type);
    if (descriptor)
        return receive_client(server, connection_id, frame, descriptor);
    descriptor = peer_descriptor(frame->type);
    if (!descriptor)
        return OST_PROTOCOL;
    arena_reset(&server->arena);
    ProtobufCMessage *message = message_unpack(descriptor, frame->message, &server->arena);
    if (!message)
        return OST_PROTOCOL;
    receive_peer(server, frame, message);
    return OST_OK;
}

int kv_server_timestamp_answered(struct kv_server *server, const struct frame *frame,
                                 nanoseconds_t now_ns)
{
    server_now(server, now_ns);
    timestamp_t timestamp;
    struct oracle_waiters waiters;
    int status = oracle_client_answered(server->shared.oracle, frame, now_ns, &timestamp, &waiters);
    if (status != OST_OK)
        return status == OST_WOULD_BLOCK ? OST_OK : status;
    raft_host_heard(server->shared.environment.host, timestamp);
    /* One waiter's going on may end another's request, so they are named, not pointed to. */
    size_t count = 0;
    struct oracle_waiter *waiter;
    TAILQ_FOREACH (waiter, &waiters, link)
        count++;
    arena_reset(&server->arena);
    uint64_t *tokens = arena_alloc(&server->arena, count * sizeof(tokens[0]));
    count = 0;
    TAILQ_FOREACH (waiter, &waiters, link)
        tokens[count++] = ((const struct kv_request *)waiter->owner)->token;
    for (size_t index = 0; index < count; index++) {
        struct kv_request *request = kv_request_find(&server->shared, tokens[index]);
        bool waits = request &&
                     (request->state == KV_REQUEST_CLOCK || request->state == KV_REQUEST_TIMESTAMP);
        if (waits)
            kv_request_timestamp(request, timestamp);
    }
    return OST_OK;
}

void kv_server_connection_closed(struct kv_server *server, uint64_t connection_id,
                                 nanoseconds_t now_ns)
{
    server_now(server, now_ns);
    struct kv_shared *shared = &server->shared;
    arena_reset(&server->arena);
    uint64_t *tokens = arena_alloc(&server->arena, shared->requests_count * sizeof(tokens[0]));
    size_t count = 0;
    struct kv_request *request, *next;
    HASH_ITER (by_token, shared->requests_by_token, request, next) {
        if (!request->is_from_group && request->connection_id == connection_id)
            tokens[count++] = request->token;
    }
    for (size_t index = 0; index < count; index++) {
        request = kv_request_find(shared, tokens[index]);
        if (request)
            kv_request_connection_closed(request);
    }
}

/* --- Time and flushing -------------------------------------------------------------------------
 */

void kv_server_timer(struct kv_server *server, nanoseconds_t now_ns)
{
    server_now(server, now_ns);
    struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next)
        kv_group_timer(group);
}

void kv_server_turn_ended(struct kv_server *server, nanoseconds_t now_ns)
{
    server_now(server, now_ns);
    oracle_client_turn_ended(server->shared.oracle, now_ns);
    kv_sweeper_step(server->sweeper, server->groups);
    kv_flusher_step(server->flusher, server->groups);
}

nanoseconds_t kv_server_deadline_ns(const struct kv_server *server)
{
    nanoseconds_t deadline_ns = kv_flusher_deadline_ns(server->flusher);
    nanoseconds_t oracle_ns = oracle_client_deadline_ns(server->shared.oracle);
    if (oracle_ns < deadline_ns)
        deadline_ns = oracle_ns;
    nanoseconds_t sweeper_ns = kv_sweeper_deadline_ns(server->sweeper, server->groups);
    if (sweeper_ns < deadline_ns)
        deadline_ns = sweeper_ns;
    const struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next) {
        nanoseconds_t group_ns = kv_group_deadline_ns(group);
        if (group_ns < deadline_ns)
            deadline_ns = group_ns;
    }
    return deadline_ns;
}

void kv_server_flush(struct kv_server *server, void (*done)(void *context, int status),
                     void *context)
{
    kv_flusher_ask(server->flusher, done, context);
}

const char *kv_server_fatal(const struct kv_server *server)
{
    return server->shared.fatal_why[0] != '\0' ? server->shared.fatal_why : NULL;
}

/* --- What is here ------------------------------------------------------------------------------
 */

const struct participant *kv_server_participant(const struct kv_server *server, group_id_t group)
{
    const struct kv_group *found = server_find(server, group);
    return found && found->is_leading ? found->participant : NULL;
}

const struct kv_group *kv_server_led_from(const struct kv_server *server, group_id_t id)
{
    const struct kv_group *found = NULL;
    const struct kv_group *group;
    for (group = server->groups; group; group = group->hh.next) {
        if (group->is_leading && !group->is_doomed && group->id >= id &&
            (!found || group->id < found->id))
            found = group;
    }
    return found;
}

bool kv_server_owns_group(const struct kv_server *server, group_id_t group)
{
    return server_find(server, group) != NULL;
}
