/* master_world.h: a few stores, each a raft host with the shard master alone, on virtual time: a
 * step is a millisecond, a log write is durable in the next step, a frame arrives in the next step.
 * What goes to stores, groups and connections that are not raft's is kept for the test to look at,
 * or given to it.
 */
#pragma once

#include "shardmaster/master.h"

#include "proto/frame.h"

enum {
    MASTER_WORLD_STORES_COUNT_MAX = 3,
    MASTER_WORLD_SEGMENTS_COUNT = 64,
    MASTER_WORLD_ROWS_COUNT = 4,
    MASTER_WORLD_ASKED_COUNT_MAX = 100000,
};
#define MASTER_WORLD_SEGMENT_BYTES (256u << 10)
#define MASTER_WORLD_START_NS      (50 * NS_PER_S)
#define MASTER_WORLD_WALL_MS       UINT64_C(1700000000000)

struct master_row_kept {
    char name[16];
    struct buffer written;
    size_t writes_count;
    struct buffer flushed;
};

struct master_world;
struct master_store {
    struct master_world *world;
    store_id_t id;
    bool is_up;
    bool is_cut; /* from the other stores */
    bool rows_are_busy;
    struct raft_host *host;
    struct raft_host_update update;
    struct outbox outbox;
    struct master *master;
    struct master_row_kept rows[MASTER_WORLD_ROWS_COUNT];
    uint8_t *segments[MASTER_WORLD_SEGMENTS_COUNT];
    struct log_operation operations[64];
    uint8_t *operation_data[64];
    size_t operations_count;
};

struct master_packet {
    store_id_t from, to;
    struct blob *frame;
};
struct master_asked {
    timestamp_t seen_before; /* the highest answer that was known when it was asked */
    timestamp_t answered;    /* 0: not, or refused */
    uint32_t count;
};
struct master_world {
    size_t stores_count;
    struct master_store stores[MASTER_WORLD_STORES_COUNT_MAX];
    struct raft_host_options raft;
    struct master_options options;
    Ostraka__StoreInfo infos[MASTER_WORLD_STORES_COUNT_MAX];
    struct bytes splits[2];
    nanoseconds_t now_ns;
    int64_t wall_off_ms;
    struct master_packet *packets;
    size_t packets_count, packets_capacity;
    struct arena arena;
    /* What was sent. */
    size_t creates_count, assigns_count;
    size_t pushes_count[MASTER_WORLD_STORES_COUNT_MAX];
    Ostraka__Map *pushed[MASTER_WORLD_STORES_COUNT_MAX]; /* the last */
    Ostraka__CreateReplica *created;                     /* the last */
    Ostraka__AssignRange *assigned;                      /* the last */
    timestamp_t told_safe_point[MASTER_WORLD_STORES_COUNT_MAX];
    size_t pushes_without_ranges_count;
    /* Everything else that is sent, and ASSIGN_RANGE, a frame at a time, borrowed. */
    void (*frame_sent)(void *context, const struct address *to, const struct frame *frame);
    void *context;
    /* Holds. */
    size_t hold_answers_count;
    Ostraka__HoldAnswer hold_answer; /* the last */
    /* Timestamps. */
    uint64_t asked_count;
    struct master_asked *asked; /* by request id */
    size_t answers_count, ok_count;
    Ostraka__TimestampAnswer last;
    timestamp_t highest;
};

void master_world_begin(struct master_world *world, size_t stores_count);
void master_world_begin_with_groups(struct master_world *world, size_t stores_count,
                                    uint32_t groups_count);
void master_world_end(struct master_world *world);

void master_store_start(struct master_world *world, size_t place);
/* What was not flushed is gone, and writes under way are not done. */
void master_store_crash(struct master_world *world, size_t place);
struct master_rows master_store_rows(struct master_store *store);
struct master_row_kept *master_store_row(struct master_store *store, struct bytes name);
int master_store_flush(void *store);
/* Sends what it has put into its outbox. */
void master_store_drain(struct master_world *world, struct master_store *store);
uint64_t master_store_applied_index(struct master_world *world, struct master_store *store);

void master_world_step(struct master_world *world);
void master_world_run(struct master_world *world, uint64_t ms);
/* Who leads and is ready; NULL. */
struct master_store *master_world_leader(struct master_world *world);
struct master_store *master_world_run_until_led(struct master_world *world);
/* The leader crashes, another one leads, and it comes back. */
void master_world_crash_leader(struct master_world *world);

/* A frame from connection 5; what master_receive says. */
int master_world_send(struct master_world *world, struct master_store *store, unsigned type,
                      uint64_t request_id, const ProtobufCMessage *message);
void master_world_ask(struct master_world *world, struct master_store *store, uint32_t count);
/* No timestamp was handed out twice. */
void master_world_check_unique(struct master_world *world);
uint64_t master_world_wall_ms(const struct master_world *world);
/* The disk that a store reports. */
uint64_t master_world_incarnation(store_id_t store);
