/* raft_world.h: up to seven consensus cores in which nothing moves by itself. A message lies in the
 * network until it is delivered or dropped, a unit lies before the disk until it is persisted, a
 * timer fires when it is told to, and time passes when a story says so. What every step brings is
 * printed, one fact a line.
 *
 * Elections time out after exactly 1000 ms and heartbeats are due every 100 ms, so a story does
 * not depend on a seed. */
#pragma once

#include "tests/golden/story.h"
#include "tests/support/raft_disk.h"

#define RAFT_WORLD_NODES_MAX 7

struct raft_world_message {
    struct raft_world_message *next;
    struct raft_message message; /* owns its entries */
};

struct raft_world_offer {
    struct raft_world_offer *next;
    replica_id_t from, to;
    raft_term_t term;
    struct raft_snapshot_meta meta;
};

struct raft_world_node {
    replica_id_t replica;
    struct raft *raft; /* NULL: down */
    struct raft_disk disk;
    struct raft_update update;
    struct raft_status status; /* as it was printed last */
    nanoseconds_t deadline_ns;
    uint64_t persisted_id;
    raft_index_t applied_index;
    struct raft_world_message *held; /* until a unit is durable */
};

/* What was applied first at an index; all others must apply the same. */
struct raft_world_applied {
    struct raft_snapshot_meta meta;
    struct blob *payload;
};

struct raft_world {
    nanoseconds_t now_ns;
    uint32_t nodes_count;
    struct raft_options options;
    struct raft_configuration initial;
    struct raft_world_node nodes[RAFT_WORLD_NODES_MAX];
    struct raft_world_message *network; /* in the order of sending */
    bool cut[RAFT_WORLD_NODES_MAX + 1][RAFT_WORLD_NODES_MAX + 1];
    struct raft_world_offer *offers;
    struct raft_world_applied *applied; /* [0] is what everybody began with */
    size_t applied_count, applied_capacity;
    struct buffer *out; /* of the command that runs */
    bool is_quiet;
};

struct raft_world *raft_world_new(void);
void raft_world_free(struct raft_world *world);
/* Once, before anything else. Those of `initial` are members; all are up. */
void raft_world_begin(struct raft_world *world, uint32_t nodes_count);

struct raft_world_node *raft_world_node(struct raft_world *world, replica_id_t replica);
/* A step and all that it brings; prints a refusal. now_ns is filled in. */
int raft_world_step(struct raft_world *world, struct raft_world_node *node,
                    struct raft_event *event);
/* The same, and the end of the turn. */
int raft_world_turn(struct raft_world *world, struct raft_world_node *node,
                    struct raft_event *event);
void raft_world_turn_ended(struct raft_world *world, struct raft_world_node *node);
void raft_world_persist(struct raft_world *world, struct raft_world_node *node);
/* Takes it out of the network and hands it over, or throws it away. */
void raft_world_deliver(struct raft_world *world, struct raft_world_message *message);
void raft_world_drop(struct raft_world *world, struct raft_world_message *message);
/* Twice in the network. */
void raft_world_double(struct raft_world *world, struct raft_world_message *message);
/* Persists and delivers among these nodes (bit N for node N) until nothing is left to do. */
#define RAFT_WORLD_ALL UINT32_MAX
void raft_world_settle(struct raft_world *world, uint32_t nodes);
/* The same with votes and what asks for them alone. */
void raft_world_settle_votes(struct raft_world *world, uint32_t nodes);
/* Fires the timers that are due on the way; with `settle` everything else flows as well. */
void raft_world_pass(struct raft_world *world, nanoseconds_t ns, bool settle);
/* Waits for this node's timer alone, and fires it. */
void raft_world_timeout(struct raft_world *world, struct raft_world_node *node);
void raft_world_crash(struct raft_world *world, struct raft_world_node *node, uint32_t units_kept);
void raft_world_restart(struct raft_world *world, struct raft_world_node *node);

void raft_world_print_configuration(struct buffer *out,
                                    const struct raft_configuration *configuration);
void raft_world_print_entry(struct buffer *out, const struct raft_entry *entry);
void raft_world_print_message(struct buffer *out, const struct raft_message *message);

/* The commands (raft_commands.c). */
bool raft_world_command(void *world, const struct story_line *line, struct buffer *out,
                        char *out_why);
