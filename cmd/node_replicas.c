/* node_replicas.c: makes true here what the map says of replicas.
 *
 * The map is the shard master's wish, committed. A store makes the replicas that it is told to make
 * and destroys those that the map has struck out; the leader of a group brings its configuration to
 * what is wanted: learners first, then, once they have caught up, the votes, by way of both
 * configurations at a time. What is in force goes back with the report.
 *
 * R6: a number that is below the map's next_replica and is not listed is gone for ever, however old
 * the map. R7: each configuration carries the epoch of the wish, and the core refuses one below
 * what is in force; so a leader with an old map does nothing.
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "cmd/node_internal.h"
#include "shardkv/kv_keys.h"
#include "shardmaster/master_replicas.h"

#include <stdio.h>
#include <stdlib.h>

#define CONFIGURE_AGAIN_MS 100u

static const Ostraka__GroupInfo *wanted_group(const struct node *node, group_id_t group)
{
    return node->map ? node_map_group(node, group) : NULL;
}

/* --- Group 0's replica --- */

int node_master_start(struct node *node, char *out_why)
{
    struct master_options *options = &node->options.master;
    struct raft_configuration founding = {0};
    replica_id_t replica = node->master_replica;
    if (replica == master_founder_replica(options, options->store_id))
        master_founding_configuration(options, &founding);
    node->master = master_new(options, &node->master_rows, node->raft, &node->outbox);
    int status = master_load(node->master, replica, &founding, node->now_ns, out_why);
    if (status == OST_OK)
        return OST_OK;
    master_free(node->master);
    node->master = NULL;
    if (status == OST_NOT_FOUND) { /* destroyed; stopped before the row was written */
        node->master_replica = 0;
        return OST_OK;
    }
    if (status != OST_CORRUPT || !raft_host_group_damaged(node->raft, SHARD_MASTER_GROUP))
        return status;
    log_write(LOG_ERROR, "the shard master's replica is lost: its log is damaged",
              "store=%lu replica=%lu", (unsigned long)options->store_id, (unsigned long)replica);
    node->master_lost = true;
    return OST_OK;
}

/* Damage to the log may have cost the row's replica, or one that had been destroyed before, and of
 * which the log now knows no more than that. Either is lost. */
static void master_recover(struct node *node)
{
    struct raft_host_recovered known, next;
    bool more = raft_host_recovered_next(node->raft, NULL, &known);
    for (; more && known.group == SHARD_MASTER_GROUP; known = next) {
        if (known.damaged && !known.destroyed) {
            COVER(NODE_MASTER_LOST);
            node->master_lost = true;
            if (node->master_replica < known.replica)
                node->master_replica = known.replica;
        }
        more = raft_host_recovered_next(node->raft, &known, &next);
    }
}

int node_master_load(struct node *node, char *out_why)
{
    master_recover(node);
    return node->master_replica != 0 && !node->master_lost ? node_master_start(node, out_why)
                                                           : OST_OK;
}

static void master_rows_wipe(struct node *node)
{
    uint8_t lower[] = {KV_TABLE_MASTER};
    uint8_t upper[] = {KV_TABLE_MASTER + 1};
    struct store_batch *batch = store_batch_new(node->store);
    store_batch_delete_range(batch, bytes_of(lower, sizeof(lower)), bytes_of(upper, sizeof(upper)));
    int status = store_write(node->store, batch);
    store_batch_free(batch);
    if (status != OST_OK)
        log_write(LOG_WARN, "rows of the shard master stay", "store=%lu why=\"%s\"",
                  (unsigned long)node->options.raft.store, ost_status_text(status));
}

static void master_made(void *context, int status)
{
    struct node *node = context;
    char why[256] = "";
    uint64_t left_out;
    node->master_is_made = false;
    if (status == OST_OK)
        status = node_master_start(node, why);
    if (status == OST_OK) {
        COVER(NODE_MASTER_MADE);
        log_write(LOG_INFO, "made a replica of the shard master", "store=%lu replica=%lu",
                  (unsigned long)node->options.raft.store, (unsigned long)node->master_replica);
    } else {
        if (log_limit_passes(&node->create_warnings, node->now_ns, &left_out))
            log_write(LOG_WARN, "cannot make a replica of the shard master",
                      "store=%lu left_out=%lu why=\"%s\"", (unsigned long)node->options.raft.store,
                      left_out, why[0] ? why : ost_status_text(status));
        node->master_replica = 0;
    }
    node->report_ns = node->now_ns;
}

static int master_create(struct node *node, const Ostraka__CreateReplica *command)
{
    if (node->master_is_made || (node->master && node->master_replica == command->replica))
        return OST_OK;
    if (node->master_doomed || (node->master && node->master_replica < command->replica))
        return OST_BUSY;
    if (node->founding == FOUNDING_WRITING)
        return OST_BUSY;
    if (node->master_replica >= command->replica)
        return OST_NOT_FOUND;
    if (node->master_lost) {
        int status = raft_host_group_remove(node->raft, SHARD_MASTER_GROUP, node->master_replica,
                                            node->now_ns);
        if (status != OST_OK && status != OST_NOT_FOUND) /* a higher one was destroyed here */
            return status;
    }
    if (raft_host_group_is_busy(node->raft, SHARD_MASTER_GROUP, command->replica))
        return OST_BUSY;
    master_rows_wipe(node);
    node->master_lost = false;
    if (node->founding == FOUNDING_ASKING &&
        master_founder_replica(&node->options.master, command->store) != 0)
        node->founding = FOUNDING_REPLACED; /* the map has another number for it */
    node->master_replica = command->replica;
    int status = node_identity_write(node, master_made, node);
    node->master_is_made = status == OST_OK;
    if (status != OST_OK)
        node->master_replica = 0;
    return status;
}

static void master_destroy(struct node *node, replica_id_t replica)
{
    bool is_running = node->master && node->master_replica == replica;
    if (!is_running && !(node->master_lost && node->master_replica == replica))
        return;
    COVER(NODE_MASTER_DESTROYED);
    log_write(LOG_INFO, "destroying a replica of the shard master", "store=%lu replica=%lu",
              (unsigned long)node->options.raft.store, (unsigned long)replica);
    if (is_running) {
        master_doom(node->master);
        node->master_doomed = node->master;
        node->master = NULL;
    }
    int status = raft_host_group_remove(node->raft, SHARD_MASTER_GROUP, replica, node->now_ns);
    ASSERT(status == OST_OK || !is_running); /* lost: a higher number may be used up already */
    if (!is_running) {
        node->master_lost = false;
        node->master_replica = 0;
        master_rows_wipe(node);
    }
}

static void identity_written(void *context, int status)
{
    (void)context;
    (void)status; /* the log knows that the number is used up, whatever the row says */
}

/* The raft host has said its last word to it. */
static void master_bury(struct node *node)
{
    if (!node->master_doomed || !master_is_destroyed(node->master_doomed))
        return;
    master_free(node->master_doomed);
    node->master_doomed = NULL;
    node->master_replica = 0;
    master_rows_wipe(node);
    int status = node_identity_write(node, identity_written, NULL);
    if (status != OST_OK)
        log_write(LOG_WARN, "cannot write the store's own row", "store=%lu why=\"%s\"",
                  (unsigned long)node->options.raft.store, ost_status_text(status));
}

/* --- What the shard master commands --- */

int node_replica_create(struct node *node, const Ostraka__CreateReplica *command)
{
    if (command->incarnation != node->incarnation) { /* meant for a disk that is gone */
        COVER(NODE_CREATE_FOR_OTHER_DISK);
        return OST_WRONG_CLUSTER;
    }
    return command->group == SHARD_MASTER_GROUP
               ? master_create(node, command)
               : kv_server_create_replica(node->kv, command, node->now_ns);
}

static void destroy_what_is_struck_out(struct node *node)
{
    if (!node->map || RARE(NODE_DESTROYS_LATE))
        return;
    Ostraka__StoreReport report = OSTRAKA__STORE_REPORT__INIT;
    node_replicas_report(node, &report);
    for (size_t index = 0; index < report.n_replicas; index++) {
        const Ostraka__ReplicaReport *replica = report.replicas[index];
        const Ostraka__GroupInfo *group = wanted_group(node, replica->group);
        if (!group || replica->replica >= node->map->next_replica ||
            master_group_replica(group, replica->replica))
            continue;
        if (group->id == SHARD_MASTER_GROUP)
            master_destroy(node, replica->replica);
        else
            kv_server_destroy_replica(node->kv, group->id, replica->replica, node->now_ns);
    }
}

/* --- What the map wants of the groups that are led here --- */

/* Who is to vote and is no member yet becomes a learner; other learners go. False: all are members
 * already. */
static bool learners_first(const struct raft_configuration *in_force,
                           const struct raft_configuration *wanted,
                           struct raft_configuration *out_target)
{
    bool is_needed = false;
    *out_target = (struct raft_configuration){.epoch = wanted->epoch};
    for (uint32_t index = 0; index < in_force->members_count; index++) {
        struct raft_member member = in_force->members[index];
        member.voter_old = member.voter_new;
        if (member.voter_new || raft_configuration_find(wanted, member.replica))
            out_target->members[out_target->members_count++] = member;
    }
    for (uint32_t index = 0; index < wanted->members_count; index++) {
        const struct raft_member *member = &wanted->members[index];
        if (raft_configuration_find(in_force, member->replica))
            continue;
        if (out_target->members_count == RAFT_MEMBERS_MAX)
            return false;
        is_needed = true;
        out_target->members[out_target->members_count++] =
            (struct raft_member){.replica = member->replica, .store = member->store};
    }
    return is_needed;
}

/* Is the group's configuration what is wanted? If not, it is brought one step nearer. */
static bool group_configure(struct node *node, const Ostraka__GroupInfo *group)
{
    const struct raft_configuration *in_force = raft_host_configuration(node->raft, group->id);
    if (in_force->epoch > group->epoch)
        return true; /* our map is old (R7) */
    bool is_settled = raft_host_configuration_is_settled(node->raft, group->id);
    if (master_group_is_wanted(group, in_force))
        return is_settled;
    if (!is_settled && !RARE(NODE_CONFIGURES_TWICE)) /* the core would refuse it */
        return false;
    struct raft_configuration wanted, target;
    master_group_wanted(group, &wanted);
    if (!learners_first(in_force, &wanted, &target))
        target = wanted;
    int status = raft_host_configure(node->raft, group->id, &target, node->now_ns);
    if (status == OST_INVALID_ARGUMENT)
        log_write(LOG_ERROR, "the map wants what the group cannot do",
                  "store=%lu group=%lu epoch=%lu", (unsigned long)node->options.raft.store,
                  (unsigned long)group->id, (unsigned long)group->epoch);
    else
        log_write(LOG_DEBUG, "changing a group's members", "group=%lu epoch=%lu status=%s",
                  (unsigned long)group->id, (unsigned long)group->epoch, ost_status_name(status));
    return false;
}

static bool leads(const struct node *node, group_id_t group)
{
    struct raft_leadership leadership;
    if (raft_host_leadership(node->raft, group, &leadership) != OST_OK)
        return false;
    return leadership.ready ||
           (leadership.role == RAFT_LEADER && RARE(NODE_CONFIGURES_EARLY)); /* the same */
}

/* True: nothing is left to do. */
static bool groups_configure(struct node *node)
{
    bool is_done = true;
    for (size_t index = 0; node->map && index <= node->map->n_groups; index++) {
        const Ostraka__GroupInfo *group =
            index < node->map->n_groups ? node->map->groups[index] : node->map->master;
        if (group && leads(node, group->id) && !group_configure(node, group))
            is_done = false;
    }
    return is_done;
}

/* Another leader, or none that could, and the shard master asks again. */
void node_leader_transfer(struct node *node, const Ostraka__TransferLeader *command)
{
    if (!leads(node, command->group))
        return;
    const struct raft_configuration *configuration =
        raft_host_configuration(node->raft, command->group);
    for (uint32_t index = 0; index < configuration->members_count; index++) {
        const struct raft_member *member = &configuration->members[index];
        if (member->store != command->to_store || !member->voter_new)
            continue;
        int status = raft_host_transfer(node->raft, command->group, member->replica, node->now_ns);
        if (status != OST_OK)
            log_write(LOG_DEBUG, "cannot hand over a group", "group=%lu to_store=%lu status=%s",
                      (unsigned long)command->group, (unsigned long)command->to_store,
                      ost_status_name(status));
        return;
    }
}

void node_replicas_timer(struct node *node)
{
    master_bury(node);
    if (kv_server_replicas_changed(node->kv) != node->replicas_changed_seen) {
        node->replicas_changed_seen = kv_server_replicas_changed(node->kv);
        node->report_ns = node->now_ns;
    }
    if (node->now_ns < node->replicas_ns)
        return;
    destroy_what_is_struck_out(node);
    bool was_pending = node->replicas_pending;
    node->replicas_pending = !groups_configure(node);
    uint64_t wait_ms = node->options.report_ms;
    if (node->replicas_pending)
        wait_ms = RARE(NODE_CONFIGURES_TWICE) ? 1 : CONFIGURE_AGAIN_MS;
    node->replicas_ns = node->now_ns + wait_ms * NS_PER_MS;
    if (was_pending && !node->replicas_pending)
        node->report_ns = node->now_ns; /* the shard master waits for it */
}

/* --- The report --- */

static void report_configuration(struct node *node, Ostraka__ReplicaReport *report)
{
    struct blob *packed =
        raft_configuration_pack(raft_host_configuration(node->raft, report->group));
    report->configuration = (void *)message_unpack(&ostraka__raft_configuration__descriptor,
                                                   blob_bytes(packed), &node->arena);
    ASSERT(report->configuration);
    report->configuration_committed = raft_host_configuration_is_settled(node->raft, report->group);
    blob_unref(packed);
}

void node_replicas_report(struct node *node, Ostraka__StoreReport *report)
{
    Ostraka__ReplicaReport **of_kv;
    size_t of_kv_count;
    kv_server_report(node->kv, &node->arena, &of_kv, &of_kv_count);
    report->replicas = arena_alloc(&node->arena, (of_kv_count + 1) * sizeof(report->replicas[0]));
    for (size_t index = 0; index < of_kv_count; index++)
        report->replicas[report->n_replicas++] = of_kv[index];
    if (node->master) {
        report->replicas[report->n_replicas++] = master_report(node->master, &node->arena);
    } else if (node->master_lost) {
        Ostraka__ReplicaReport *lost = arena_alloc(&node->arena, sizeof(*lost));
        ostraka__replica_report__init(lost);
        lost->group = SHARD_MASTER_GROUP;
        lost->replica = node->master_replica;
        lost->lost = true;
        report->replicas[report->n_replicas++] = lost;
    }
    for (size_t index = 0; index < report->n_replicas; index++)
        if (report->replicas[index]->leads)
            report_configuration(node, report->replicas[index]);
}
