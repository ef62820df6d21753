/* kv_world.h: stores that run kv_server on the real Raft host, on virtual time, with stores and log
 * disks in memory, an oracle, and a client that sends frames. A frame takes a millisecond; a log
 * write is durable at the end of its turn. */
#pragma once

#include "shardkv/kv_server.h"

#include "proto/kv.pb-c.h"

#define KV_WORLD_STORES_MAX   3u
#define KV_WORLD_SEGMENTS_MAX 64u
#define KV_WORLD_CONNECTIONS  1000u

struct kv_world_store {
    store_id_t id;
    bool is_up;
    struct store *store; /* outlives crashes */
    uint8_t *segments[KV_WORLD_SEGMENTS_MAX];
    struct metrics metrics;
    struct outbox outbox;
    struct raft_host_update update;
    struct raft_host *host;
    struct job *jobs;
    struct kv_server *kv;
};

struct kv_world_packet {
    store_id_t from;
    struct address to;
    struct blob *frame;
};

struct kv_world {
    nanoseconds_t now_ns;
    uint32_t stores_count;
    struct kv_world_store stores[KV_WORLD_STORES_MAX + 1]; /* by id */
    struct raft_host_options host_options;
    struct kv_options kv_options;
    bool isolated[KV_WORLD_STORES_MAX + 1]; /* from the other stores, not from the client */
    bool is_oracle_down;
    bool is_oracle_held; /* it answers, and the answers are on their way until this ends */
    struct kv_world_packet held[16];
    size_t held_count;
    bool is_resolution_lost; /* RESOLVE frames are dropped */
    bool are_jobs_held;
    timestamp_t timestamp;
    uint64_t frames_dropped_count;
    nanoseconds_t
        stopped_before_send_ns;     /* how long a process stands still between turn and send */
    uint64_t frames_outlived_count; /* dropped for what they said was true under a lease */
    uint64_t request_id;
    struct blob *answers[4096]; /* by request id */
    /* Connections from here on are of somebody else, who gets their frames. */
    void (*client_frame)(void *context, uint64_t connection_id, struct blob *frame);
    void *client_context;
    /* What leaders tell the shard master of their ranges; NULL: nobody listens. */
    void (*range_report)(void *context, const Ostraka__RangeReport *report);
    void *range_context;
    struct kv_world_assigning *assigning; /* NULL: no range is being assigned */
    bool (*is_lost)(void *context, const struct frame *frame); /* between stores; NULL: none */
    void *lost_context;
    struct kv_world_packet *packets;
    size_t packets_count, packets_capacity;
    struct arena arena; /* of answers that were looked at */
};

struct kv_world *kv_world_new(uint32_t stores_count);
struct kv_world *kv_world_new_leased(uint32_t stores_count, uint32_t lease_ms);
/* With one group that owns everything / two that meet at "m". */
struct kv_world *kv_world_new_one(uint32_t stores_count);
struct kv_world *kv_world_new_two(uint32_t stores_count);
void kv_world_free(struct kv_world *world);
void kv_world_run(struct kv_world *world, uint32_t ms);

/* A replica at every store, number 10 * group + store; runs until one leads. */
void kv_world_create_group(struct kv_world *world, group_id_t group);
/* Runs until the group's leader owns [start, end) at that epoch. */
void kv_world_assign(struct kv_world *world, group_id_t group, const char *start, const char *end,
                     uint64_t epoch);
/* Runs until one is ready. */
store_id_t kv_world_leader(struct kv_world *world, group_id_t group);
/* 0: none is ready now. */
store_id_t kv_world_leader_now(struct kv_world *world, group_id_t group);

/* A crash keeps what was flushed, and the log. */
void kv_world_crash(struct kv_world *world, store_id_t store);
void kv_world_start(struct kv_world *world, store_id_t store);
void kv_world_flush(struct kv_world *world, store_id_t store);

/* Versions of one key of group 1 in store 1, from the timestamp `first` on, as if they had been
 * applied: while the replica has never been restored from a snapshot. Nothing in them compresses.
 */
void kv_world_write_versions(struct kv_world *world, const char *user_key, timestamp_t first,
                             uint32_t count, size_t value_bytes);

/* The versions and outcomes of a group are the same on two stores. */
void kv_world_expect_equal_rows(struct kv_world *world, store_id_t a, store_id_t b,
                                group_id_t group);

/* The only job that is waiting for the pool, which may still be held; runs until there is one. The
 * test does it, or has it done later: `run`, then `done`. Jobs are not held any more afterwards. */
struct job *kv_world_take_job(struct kv_world *world, store_id_t store);

/* Before there are groups: the store's rows are in this one from now on, which is the world's. */
void kv_world_set_store(struct kv_world *world, store_id_t store, struct store *rows_take);
/* Every store hears from group 0 how far the safe point may go. */
void kv_world_safe_point(struct kv_world *world, timestamp_t safe_point);

/* Sends; the answer comes under the id returned. The connection is the store's number. */
uint64_t kv_world_send(struct kv_world *world, store_id_t store, uint16_t type,
                       const ProtobufCMessage *message, struct bytes payload);
/* NULL: not yet. In the arena; `out_payload` (may be NULL) is borrowed from the answer. */
const ProtobufCMessage *kv_world_answer(struct kv_world *world, uint64_t request_id,
                                        const ProtobufCMessageDescriptor *descriptor,
                                        struct bytes *out_payload);
/* Runs until it is there; fails the test after a while. */
const ProtobufCMessage *kv_world_wait(struct kv_world *world, uint64_t request_id,
                                      const ProtobufCMessageDescriptor *descriptor,
                                      struct bytes *out_payload);
/* The group's status at a store, in the arena. */
const Ostraka__GroupStatus *kv_world_status(struct kv_world *world, store_id_t store,
                                            group_id_t group);
timestamp_t kv_world_deadline(const struct kv_world *world, uint32_t ms);
