/* node.c: the store's step function: makes the parts, hands each event to the one it is for, and
 * collects what they want done. */
#include "cmd/node.h"

#include "base/log.h"
#include "base/memory.h"
#include "cmd/node_internal.h"

#include <stdio.h>
#include <stdlib.h>

void node_options_default(struct node_options *out_options)
{
    *out_options =
        (struct node_options){.report_ms = 1000, .reconnect_ms_max = 1000, .hello_ms_max = 10000};
    raft_host_options_default(&out_options->raft);
    kv_options_default(&out_options->kv);
    out_options->master.ceiling_ahead_ms = 1000;
    out_options->master.reconcile_ms = 500;
    out_options->master.dead_after_ms = 300000;
    out_options->master.replica_changes_max = 2;
    out_options->master.range_changes_max = 2;
    out_options->master.merge_after_ms = 600000;
    out_options->master.history_ms = 600000;
    out_options->master.initial_groups_count = 2;
    out_options->master.initial_replicas_count = 3;
}

struct node *node_new(const struct node_options *options, struct store *store,
                      struct metrics *metrics)
{
    struct node *node = memory_alloc_zeroed(1, sizeof *node);
    node->options = *options;
    node->options.raft.metrics = metrics;
    node->options.raft.seed = options->seed;
    node->options.master.store_id = options->raft.store;
    node->options.master.cluster_id = options->cluster_id;
    node->store = store;
    node->metrics = metrics;
    random_init(&node->random, options->seed);
    arena_init(&node->arena);
    arena_init(&node->map_arena);
    arena_init(&node->ranges_arena);
    outbox_init(&node->outbox);
    outbox_init(&node->update.frames);
    node->peers_deadline_ns = NS_NEVER;

    node->update.raft.outbox = &node->outbox;
    node->raft = raft_host_new(&node->options.raft, &node->update.raft);
    struct kv_environment environment = {.store_id = options->raft.store,
                                         .store = store,
                                         .host = node->raft,
                                         .outbox = &node->outbox,
                                         .jobs = &node->update.jobs,
                                         .metrics = metrics};
    node->kv = kv_server_new(&node->options.kv, &environment);
    node_rows_init(node);
    node_peers_init(node);
    node_join_init(node);
    return node;
}

struct raft_host *node_raft_host(struct node *node)
{
    return node->raft;
}

int node_load(struct node *node, nanoseconds_t now_ns, char *out_why)
{
    node->now_ns = now_ns;
    node->started_ns = now_ns;
    node->report_ns = now_ns;
    int status = OST_OK;
    if (!node_is_joining(node)) /* else the cluster is there */
        status = master_options_check(&node->options.master, out_why);
    if (status == OST_OK)
        status = node_identity_load(node, out_why);
    if (status == OST_OK)
        status = kv_server_load(node->kv, now_ns, out_why);
    if (status == OST_OK)
        status = node_master_load(node, out_why);
    return status;
}

void node_free(struct node *node)
{
    if (!node)
        return;
    node_peers_fini(node);
    node_join_fini(node);
    raft_host_stop(node->raft);
    kv_server_free(node->kv); /* it answers what is open, with what the host has heard */
    master_free(node->master);
    master_free(node->master_doomed);
    raft_host_free(node->raft);
    outbox_fini(&node->outbox);
    outbox_fini(&node->update.frames);
    free(node->update.closes);
    arena_fini(&node->map_arena);
    arena_fini(&node->ranges_arena);
    arena_fini(&node->arena);
    free(node);
}

struct node_update *node_update(struct node *node)
{
    return &node->update;
}

void node_update_reset(struct node *node)
{
    struct node_update *update = &node->update;
    outbox_reset(&update->frames);
    update->raft.log_operations_count = 0;
    update->raft.jobs = NULL;
    update->raft.more_to_apply = false;
    update->jobs = NULL;
    update->connects_count = 0;
    update->closes_count = 0;
}

static nanoseconds_t earlier(nanoseconds_t a, nanoseconds_t b)
{
    return a < b ? a : b;
}

static void timers(struct node *node)
{
    raft_host_timer(node->raft, node->now_ns);
    kv_server_timer(node->kv, node->now_ns);
    if (node->master)
        master_timer(node->master, node->now_ns, node->wall_ms);
    node_peers_timer(node);
    node_founding_timer(node);
    node_join_timer(node);
    if (node->elections_reported != node->metrics->elections_won_count)
        node->replicas_ns = node->now_ns;
    node_replicas_timer(node);
    if (node->now_ns >= node->report_ns ||
        node->elections_reported != node->metrics->elections_won_count) {
        node_report_send(node);
        node_map_look(node);
    }
    node_shutdown_step(node);
}

/* What one part does may give another something to do in the same turn: a group asks the master
 * beside it for a timestamp, and proposes when it has it. A few passes see such exchanges to their
 * end; what is still moving then gets a turn of its own, at once. */
#define PASSES_PER_TURN_MAX 4

static bool parts_turn_ended(struct node *node)
{
    for (int pass = 0; pass < PASSES_PER_TURN_MAX; pass++) {
        node_route_all(node);
        kv_server_turn_ended(node->kv, node->now_ns);
        node_route_all(node);
        if (node->master)
            master_turn_ended(node->master, node->now_ns);
        raft_host_turn_ended(node->raft, node->now_ns);
        if (!node_route_all(node))
            return true;
    }
    return false;
}

static void turn_ended(struct node *node)
{
    timers(node);
    bool at_rest = parts_turn_ended(node);
    node_rows_turn_ended(node);
    node_peers_dial(node);

    struct node_update *update = &node->update;
    nanoseconds_t deadline_ns = earlier(update->raft.deadline_ns, kv_server_deadline_ns(node->kv));
    if (node->master)
        deadline_ns = earlier(deadline_ns, master_deadline_ns(node->master));
    deadline_ns = earlier(deadline_ns, node_peers_deadline_ns(node));
    deadline_ns = earlier(deadline_ns, node_founding_deadline_ns(node));
    deadline_ns = earlier(deadline_ns, node_join_deadline_ns(node));
    deadline_ns = earlier(deadline_ns, node->replicas_ns);
    deadline_ns = earlier(deadline_ns, node->report_ns);
    if (node->shutting_down)
        deadline_ns = earlier(deadline_ns, node->handover_ns);
    update->deadline_ns = update->raft.more_to_apply || !at_rest ? node->now_ns : deadline_ns;
    update->fatal = node->fatal[0] != '\0' ? node->fatal : kv_server_fatal(node->kv);
}

void node_shut_down(struct node *node)
{
    if (node->shutting_down)
        return;
    node->shutting_down = true;
    node->handover_ns = node->now_ns;
    node->shutdown_deadline_ns = node->now_ns + 3 * NS_PER_S;
}

void node_step(struct node *node, const struct node_event *event)
{
    node->now_ns = event->now_ns;
    node->wall_ms = event->wall_ms;
    switch (event->type) {
    case NODE_EV_ACCEPTED:
        node_connection_accepted(node, event->connection_id);
        break;
    case NODE_EV_CONNECTED:
        node_connection_connected(node, event->connection_id, event->status);
        break;
    case NODE_EV_CLOSED:
        node_connection_closed(node, event->connection_id);
        break;
    case NODE_EV_FRAME:
        node_dispatch(node, event->connection_id, event->frame);
        break;
    case NODE_EV_LOG_DONE:
        raft_host_log_done(node->raft, event->log_operation.type, event->log_operation.segment,
                           event->log_operation.cookie, event->now_ns);
        break;
    case NODE_EV_JOB_DONE:
        event->job->done(event->job);
        break;
    case NODE_EV_TIMER:
        break; /* the turn's end looks at every timer */
    case NODE_EV_SHUTDOWN:
        node_shut_down(node);
        break;
    case NODE_EV_TURN_ENDED:
        turn_ended(node);
        break;
    }
    arena_reset(&node->arena);
}
