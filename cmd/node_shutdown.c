/* node_shutdown.c: SIGTERM: hand over what this store leads, flush, stop. Each wait is bounded,
 * because a store that cannot find a successor must stop all the same. */
#include "base/log.h"
#include "cmd/node_internal.h"

#define HANDOVER_RETRY_MS     100u
#define SHUTDOWN_FLUSH_MS_MAX 30000u

static void flushed(void *context, int status)
{
    struct node *node = context;
    if (status != OST_OK)
        log_write(LOG_ERROR, "cannot flush at shut-down, the log will be replayed",
                  "store=%lu why=\"%s\"", (unsigned long)node->options.raft.store,
                  ost_status_text(status));
    node->flush_done = true;
}

/* Asks every group that this store leads to choose another leader; how many there are. */
static size_t hand_over(struct node *node)
{
    Ostraka__ReplicaReport **reports;
    size_t reports_count;
    kv_server_report(node->kv, &node->arena, &reports, &reports_count);
    size_t led_count = 0;
    for (size_t i = 0; i <= reports_count; i++) {
        group_id_t group = i < reports_count ? reports[i]->group : SHARD_MASTER_GROUP;
        struct raft_leadership leadership;
        if (raft_host_leadership(node->raft, group, &leadership) != OST_OK ||
            leadership.role != RAFT_LEADER)
            continue;
        const struct raft_configuration *configuration = raft_host_configuration(node->raft, group);
        if (configuration->members_count < 2)
            continue; /* nobody to hand it to */
        led_count++;
        /* No follower may be up to date now; this is asked again until the time is over. */
        int status = raft_host_transfer(node->raft, group, 0, node->now_ns);
        if (status != OST_OK)
            log_write(LOG_DEBUG, "cannot hand over yet", "group=%lu why=\"%s\"",
                      (unsigned long)group, ost_status_text(status));
    }
    return led_count;
}

void node_shutdown_step(struct node *node)
{
    if (!node->shutting_down || node->update.stopped)
        return;
    if (!node->flush_started) {
        if (node->now_ns < node->handover_ns)
            return;
        node->handover_ns = node->now_ns + HANDOVER_RETRY_MS * NS_PER_MS;
        if (hand_over(node) > 0 && node->now_ns < node->shutdown_deadline_ns)
            return;
        node->flush_started = true;
        node->shutdown_deadline_ns = node->now_ns + SHUTDOWN_FLUSH_MS_MAX * NS_PER_MS;
        kv_server_flush(node->kv, flushed, node);
    }
    if (node->flush_done || node->now_ns >= node->shutdown_deadline_ns)
        node->update.stopped = true;
}
