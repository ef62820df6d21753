/* client_world.h: the client's core over the stores of kv_world.h, in made-up time: what the map is
 * and what time it is, the world answers itself; all else is the stores' to answer. */
#pragma once

#include "client/client_core.h"
#include "tests/support/kv_world.h"

#define CLIENT_WORLD_RANGES_MAX 8u

struct client_world_range {
    const char *start, *end; /* an empty end: of the key space */
    group_id_t group;
};

struct client_result {
    bool is_done;
    int status;
    struct buffer value, rows;
    uint32_t rows_count;
    bool more;
    int64_t number;
    char why[400];
};

struct client_world {
    struct kv_world *world;
    struct client_core *core;
    struct client_world_range ranges[CLIENT_WORLD_RANGES_MAX];
    uint32_t ranges_count;
    bool is_connected[KV_WORLD_STORES_MAX + 1];
    struct blob *inbox[256]; /* frames for the client */
    uint64_t inbox_connections[256];
    size_t inbox_count;
};

/* Assigns the ranges to their groups, which are made first. */
struct client_world *client_world_new(uint32_t stores_count,
                                      const struct client_world_range *ranges,
                                      uint32_t ranges_count);
void client_world_free(struct client_world *client);

struct core_txn *client_world_begin(struct client_world *client);
void client_world_drop(struct client_world *client, struct core_txn *txn);
void client_world_run(struct client_world *client, uint32_t ms);
/* Submits; the result, a fresh one, comes while the world runs. `txn` NULL: by itself. */
void client_world_submit(struct client_world *client, struct core_txn *txn,
                         struct operation *operation, struct client_result *result);
/* Submits and runs until it is done. */
int client_world_do(struct client_world *client, struct core_txn *txn, struct operation *operation,
                    struct client_result *result);
int client_world_commit(struct client_world *client, struct core_txn *txn);
void client_result_reset(struct client_result *result);
