/* node_cluster.h: whole stores (cmd/node.h) and one client (client/client_core.h) in one thread, in
 * made-up time. A step is a millisecond: frames arrive in the next step, log writes are durable and
 * jobs are done in the next step. What a crash leaves of a store is the log as it was durable, and
 * the rows that were flushed. */
#pragma once

#include "base/random.h"
#include "client/client_core.h"
#include "cmd/node.h"
#include "cmd/node_internal.h"

enum { CLUSTER_NODES_MAX = 6, CLUSTER_SEGMENTS_MAX = 256, CLUSTER_KEYS_MAX = 20000 };

/* Who is no store: the client, and a person who asks for other stores. */
enum { CLUSTER_CLIENT = CLUSTER_NODES_MAX, CLUSTER_PERSON };

struct node_cluster;
struct cluster_link;

struct cluster_node {
    struct node_cluster *cluster;
    store_id_t id;
    bool is_up;
    bool is_cut; /* from everybody */
    bool joins;  /* it is none of the initial stores */
    const char *join_addresses[CLUSTER_NODES_MAX];
    uint32_t starts_count;
    struct node *node;
    struct metrics metrics;
    struct store *store;
    uint8_t *segments[CLUSTER_SEGMENTS_MAX];
    struct log_operation operations[64];
    uint8_t *operation_data[64];
    size_t operations_count;
    struct job *jobs;
};

struct cluster_packet {
    size_t to; /* a node's place, CLUSTER_CLIENT or CLUSTER_PERSON */
    uint64_t connection_id;
    int type; /* enum node_event_type */
    int status;
    struct blob *frame;
};

struct node_cluster {
    size_t nodes_count;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    Ostraka__StoreInfo infos[CLUSTER_NODES_MAX];
    char addresses[CLUSTER_NODES_MAX][8];
    struct node_options options;
    struct bytes split;
    nanoseconds_t now_ns;
    struct cluster_link *links;
    size_t links_count, links_capacity;
    struct cluster_packet *packets;
    size_t packets_count, packets_capacity;
    uint64_t connection_id;

    struct client_core *client;
    /* Writes one after the other: what was acknowledged is there for good. */
    bool writes;
    bool is_writing;
    uint32_t written_count;
    bool is_acknowledged[CLUSTER_KEYS_MAX];
    uint32_t acknowledged_count;
    /* Reads of what was written that begin in each step, of keys from "n" on. */
    uint32_t reads_per_step;
    uint32_t reads_under_way, reads_count;
    struct random random;
    bool joins_nowhere; /* stores that join know an address alone where nobody is */
    bool takes_fatal;   /* a store that cannot go on is what the test wants */
    uint32_t error_lines_count;
    Ostraka__ChangeStoreAnswer *person_answer; /* NULL: none yet */
    struct arena person_arena;
    /* The last operation of cluster_change or cluster_get. */
    bool is_done;
    int status;
    char why[256];
};

/* `stores_count` stores with `groups_count` groups of `replicas_count`; runs until the map is true
 * and everything has a leader. */
void nodes_begin(struct node_cluster *cluster, size_t stores_count, uint32_t groups_count,
                 uint32_t replicas_count);
/* The same, but nothing is started. */
void nodes_prepare(struct node_cluster *cluster, size_t stores_count, uint32_t groups_count,
                   uint32_t replicas_count);
/* The client's first look at the cluster. */
void nodes_open(struct node_cluster *cluster);
void nodes_end(struct node_cluster *cluster);

void nodes_step(struct node_cluster *cluster);
void nodes_run(struct node_cluster *cluster, uint32_t ms);

void nodes_start(struct node_cluster *cluster, store_id_t store);
void nodes_crash(struct node_cluster *cluster, store_id_t store);
/* While it is down: the disk is replaced by an empty one. */
void nodes_wipe(struct node_cluster *cluster, store_id_t store);
/* While it is down: damages what its log holds durably. */
void nodes_damage(struct node_cluster *cluster, store_id_t store);
void nodes_cut(struct node_cluster *cluster, store_id_t store, bool is_cut);

struct cluster_node *nodes_node(struct node_cluster *cluster, store_id_t store);
/* The newest map that any store has; NULL: none. */
const Ostraka__Map *nodes_map(const struct node_cluster *cluster);
const Ostraka__GroupInfo *nodes_group(const struct node_cluster *cluster, group_id_t group);
/* The store that leads, and is ready; 0: none. */
store_id_t nodes_leader(const struct node_cluster *cluster, group_id_t group);
bool nodes_run_until_led(struct node_cluster *cluster, group_id_t group, uint32_t ms_max);
/* Asks for a change, naming the epoch of the newest map; when it has begun, the map shows it. */
int nodes_change(struct node_cluster *cluster, group_id_t group, store_id_t add, store_id_t remove);
/* Starts one more store, which asks all the others to join. */
store_id_t nodes_join(struct node_cluster *cluster);
/* Asks group 0's leader, over a connection; again while it says that it may be asked again. */
int nodes_change_store(struct node_cluster *cluster, Ostraka__StoreChangeKind kind,
                       store_id_t store);
/* No change is under way, and every store that is up has exactly the replicas of the map. */
bool nodes_is_true(const struct node_cluster *cluster);
bool nodes_run_until_true(struct node_cluster *cluster, uint32_t ms_max);
void nodes_print(const struct node_cluster *cluster);
/* Every acknowledged write is read back. */
void nodes_check_writes(struct node_cluster *cluster);
