/* raft_cluster_check.c: the checks that raft_cluster.h lists. */
#include "tests/support/raft_cluster_internal.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

void cluster_breach(const struct cluster *cluster, const struct node *node, const char *what,
                    int line)
{
    fprintf(stderr, "seed %llu, %.3f ms, node %llu: breach at line %d: %s\n",
            (unsigned long long)cluster->options.seed, (double)cluster->now_ns / 1e6,
            (unsigned long long)node->replica, line, what);
    abort();
}

static uint64_t entry_payload_id(const struct raft_entry *entry)
{
    uint64_t id = 0;
    struct bytes bytes = blob_bytes(entry->payload);
    for (size_t i = 0; i < bytes.bytes_count; i++)
        id = id * 1099511628211u + bytes.data[i];
    return id;
}

/* R1 seen from outside: what a message says, the disk of its sender holds. One write may bring what
 * an answer waits for together with what a later leader put in its place: such an answer is of an
 * earlier term, and as good as one that was long on its way. */
void check_message_leaving(struct cluster *cluster, struct node *node,
                           const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_MSG_VOTE_REQUEST:
        CHECK(cluster, node, node->disk.term >= message->term);
        CHECK(cluster, node, node->disk.term > message->term || node->disk.vote == node->replica);
        break;
    case RAFT_MSG_VOTE_ANSWER:
        CHECK(cluster, node, node->disk.term >= message->term);
        CHECK(cluster, node,
              message->rejected || node->disk.term > message->term ||
                  node->disk.vote == message->to);
        break;
    case RAFT_MSG_APPEND_REQUEST:
        CHECK(cluster, node, node->disk.term >= message->term);
        break;
    case RAFT_MSG_APPEND_ANSWER:
        CHECK(cluster, node, node->disk.term >= message->term);
        CHECK(cluster, node,
              message->rejected || node->disk.term > message->term ||
                  node->disk.flushed.index >= message->index ||
                  raft_log_last_index(&node->disk.log) >= message->index);
        break;
    case RAFT_MSG_PRE_VOTE_REQUEST:
    case RAFT_MSG_PRE_VOTE_ANSWER:
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_SNAPSHOT_ACK:
        break;
    }
}

static void check_entry_known(struct cluster *cluster, struct node *node, raft_index_t index)
{
    const struct raft_entry *entry = raft_log_entry(node->raft, index);
    const struct raft_entry *before = raft_log_entry(node->raft, index - 1);
    struct known_entry probe = {0};
    struct known_entry *known;
    probe.key.index = index;
    probe.key.term = entry->term;
    HASH_FIND(hh, cluster->known, &probe.key, sizeof probe.key, known);
    if (!known) {
        known = memory_alloc_zeroed(1, sizeof *known);
        known->key = probe.key;
        known->term_before = before ? before->term : 0;
        known->payload_id = entry_payload_id(entry);
        known->log_timestamp = entry->log_timestamp;
        HASH_ADD(hh, cluster->known, key, sizeof known->key, known);
        return;
    }
    CHECK(cluster, node, known->payload_id == entry_payload_id(entry));
    CHECK(cluster, node, known->log_timestamp == entry->log_timestamp);
    if (before && known->term_before == 0)
        known->term_before = before->term;
    CHECK(cluster, node, !before || known->term_before == before->term);
}

static void check_new_leader(struct cluster *cluster, struct node *node,
                             const struct raft_status *status)
{
    if (status->term >= cluster->leaders_count) {
        size_t leaders_count = (size_t)status->term * 2 + 16;
        cluster->leaders =
            memory_realloc(cluster->leaders, leaders_count * sizeof *cluster->leaders);
        for (size_t i = cluster->leaders_count; i < leaders_count; i++)
            cluster->leaders[i] = 0;
        cluster->leaders_count = leaders_count;
    }
    replica_id_t *leader = &cluster->leaders[status->term];
    CHECK(cluster, node, *leader == 0 || *leader == node->replica);
    if (*leader == node->replica)
        return;
    *leader = node->replica;
    for (raft_index_t index = status->first_index; index <= cluster->committed_count; index++) {
        const struct committed_entry *committed = &cluster->committed[index - 1];
        const struct raft_entry *entry = raft_log_entry(node->raft, index);
        if (committed->committed_in_term < status->term)
            CHECK(cluster, node, entry && entry->term == committed->term);
    }
}

static void check_newly_committed(struct cluster *cluster, struct node *node, raft_index_t index,
                                  raft_term_t term)
{
    const struct raft_configuration *configuration = raft_get_configuration(node->raft);
    uint32_t old_voters = 0, old_holders = 0, new_voters = 0, new_holders = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        uint32_t holds =
            raft_disk_holds(&cluster_node(cluster, member->replica)->disk, index, term);
        old_voters += member->voter_old;
        old_holders += member->voter_old ? holds : 0;
        new_voters += member->voter_new;
        new_holders += member->voter_new ? holds : 0;
    }
    CHECK(cluster, node, old_holders > old_voters / 2 && new_holders > new_voters / 2);
}

static void cluster_commit(struct cluster *cluster, struct node *node, raft_index_t index)
{
    const struct raft_entry *entry = raft_log_entry(node->raft, index);
    struct raft_status status;
    raft_get_status(node->raft, &status);
    if (index <= cluster->committed_count) {
        const struct committed_entry *committed = &cluster->committed[index - 1];
        /* What came with a snapshot is not there to be looked at. */
        CHECK(cluster, node,
              !entry || (committed->term == entry->term &&
                         committed->payload_id == entry_payload_id(entry)));
        return;
    }
    CHECK(cluster, node, index == cluster->committed_count + 1 && entry);
    if (cluster->committed_count == cluster->committed_capacity) {
        cluster->committed_capacity = cluster->committed_capacity * 2 + 64;
        cluster->committed = memory_realloc(cluster->committed, cluster->committed_capacity *
                                                                    sizeof *cluster->committed);
    }
    struct committed_entry *committed = &cluster->committed[cluster->committed_count++];
    *committed = (struct committed_entry){
        .term = entry->term,
        .committed_in_term = status.term,
        .payload_id = entry_payload_id(entry),
        .log_timestamp = entry->log_timestamp,
        .is_configuration = entry->type == RAFT_ENTRY_CONFIGURATION,
    };
    if (committed->is_configuration)
        CHECK(cluster, node,
              raft_configuration_unpack(blob_bytes(entry->payload), &committed->configuration));
}

static void check_commit(struct cluster *cluster, struct node *node)
{
    const struct raft_update *update = &node->update;
    CHECK(cluster, node, update->commit_index >= node->commit_index);
    raft_index_t before_count = cluster->committed_count;
    for (raft_index_t index = node->commit_index + 1; index <= update->commit_index; index++)
        cluster_commit(cluster, node, index);
    node->commit_index = update->commit_index;
    if (cluster->committed_count > before_count)
        check_newly_committed(cluster, node, update->commit_index,
                              cluster->committed[update->commit_index - 1].term);
}

static void check_reads(struct cluster *cluster, struct node *node)
{
    const struct raft_update *update = &node->update;
    if (update->reads_confirmed_id != 0) {
        CHECK(cluster, node, update->reads_confirmed_id > node->reads_confirmed_id);
        CHECK(cluster, node, update->reads_confirmed_id > node->reads_failed_id);
        for (uint64_t id = node->reads_confirmed_id + 1; id <= update->reads_confirmed_id; id++) {
            const struct node_read *read = &node->reads[id % NODE_READS_MAX];
            if (id > node->reads_failed_id && read->read_id == id)
                CHECK(cluster, node, update->reads_confirmed_index >= read->needs_index);
        }
        node->reads_confirmed_id = update->reads_confirmed_id;
    }
    if (update->reads_failed_id != 0)
        node->reads_failed_id = update->reads_failed_id;
}

void check_step(struct cluster *cluster, struct node *node)
{
    struct raft_status status;
    raft_get_status(node->raft, &status);
    CHECK(cluster, node, status.term >= node->term_seen);
    node->term_seen = status.term;
    for (raft_index_t index = node->update.persist_first;
         index != 0 && index <= node->update.persist_last; index++)
        check_entry_known(cluster, node, index);
    if (status.role == RAFT_LEADER)
        check_new_leader(cluster, node, &status);
    check_commit(cluster, node);
    check_reads(cluster, node);
    CHECK(cluster, node, node->update.deadline_ns != 0);
}
