#include "tests/support/raft_cluster.h"

#include "base/memory.h"
#include "base/random.h"
#include "raft/raft_log.h"

#include <bsd/sys/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

enum occurrence_type { DELIVER, DISK_DONE, SNAPSHOT_OFFER, SNAPSHOT_READY, SNAPSHOT_RESULT };

/* Something that will happen, in the order of time and then of its making. */
struct occurrence {
    RB_ENTRY(occurrence) link;
    nanoseconds_t at_ns;
    uint64_t sequence;
    enum occurrence_type type;
    uint32_t node;
    uint64_t life; /* of the node, for what dies with it */
    struct raft_message message;
    struct raft_snapshot_meta meta;
    uint32_t from_node;
    uint64_t from_life;
    raft_index_t snapshot_index;
};

static int occurrence_compare(const struct occurrence *a, const struct occurrence *b)
{
    if (a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}
RB_HEAD(occurrences, occurrence);
RB_GENERATE_INTERNAL(occurrences, occurrence, link, occurrence_compare,
                     __attribute__((unused)) static)

/* A unit on its way to the disk. */
struct disk_write {
    struct disk_write *next;
    uint64_t persist_id;
    bool hard_state_changed;
    raft_term_t term;
    replica_id_t vote;
    bool log_reset;
    raft_index_t reset_index;
    raft_term_t reset_term;
    timestamp_t reset_timestamp;
    struct raft_entry *entries;
    uint32_t entries_count;
};

struct held_message {
    struct held_message *next;
    struct raft_message message;
};

struct node_read {
    uint64_t read_id;
    raft_index_t needs_index; /* what was committed when it was asked for */
};
#define NODE_READS_MAX 4096

struct node {
    replica_id_t replica;
    struct raft *raft; /* NULL: down */
    uint64_t life;
    struct raft_update update;
    nanoseconds_t deadline_ns;
    raft_index_t commit_index;
    raft_term_t term_seen;
    uint64_t persisted_id;

    raft_term_t disk_term;
    replica_id_t disk_vote;
    struct raft_log disk_log;
    struct raft_snapshot_meta flushed; /* what the state machine has on disk */
    struct disk_write *writes;
    bool disk_busy;
    bool disk_held;
    struct held_message *held;
    bool destroyed;

    struct node_read reads[NODE_READS_MAX];
    uint64_t reads_asked;
    uint64_t reads_confirmed_id;
    uint64_t reads_failed_id;
};

/* What was ever at (index, term). */
struct known_entry {
    UT_hash_handle hh;
    struct {
        raft_index_t index;
        raft_term_t term;
    } key;
    raft_term_t term_before;
    uint64_t payload_id;
    timestamp_t log_timestamp;
};

struct committed_entry {
    raft_term_t term;
    raft_term_t committed_in_term;
    uint64_t payload_id;
    timestamp_t log_timestamp;
    bool is_configuration;
    struct raft_configuration configuration;
};

struct cluster {
    struct cluster_options options;
    struct random random;
    nanoseconds_t now_ns;
    uint64_t sequence;
    struct occurrences occurrences;
    struct node nodes[CLUSTER_NODES_MAX];
    bool link_cut[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX];
    struct raft_configuration initial;
    uint64_t payload_id_last;

    struct known_entry *known;
    struct committed_entry *committed; /* [0] is index 1 */
    raft_index_t committed_count;
    size_t committed_capacity;
    replica_id_t *leaders; /* by term */
    size_t leaders_count;

    uint64_t appends_sent;
    uint64_t snapshots_sent;
    uint64_t messages_sent[RAFT_MSG_SNAPSHOT_ACK + 1];
};

#define CHECK(cluster, node, condition)                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            cluster_breach(cluster, node, #condition, __LINE__);                                   \
    } while (0)

__attribute__((noreturn)) static void
cluster_breach(const struct cluster *cluster, const struct node *node, const char *what, int line)
{
    fprintf(stderr, "seed %llu, %.3f ms, node %llu: breach at line %d: %s\n",
            (unsigned long long)cluster->options.seed, (double)cluster->now_ns / 1e6,
            (unsigned long long)node->replica, line, what);
    abort();
}

static struct node *cluster_node(struct cluster *cluster, replica_id_t replica)
{
    ASSERT(replica >= 1 && replica <= cluster->options.nodes_count);
    return &cluster->nodes[replica - 1];
}

static uint64_t cluster_draw(struct cluster *cluster, uint64_t min, uint64_t max)
{
    return min + random_below(&cluster->random, max - min + 1);
}

static bool cluster_chance(struct cluster *cluster, uint32_t per_mille)
{
    return per_mille != 0 && random_below(&cluster->random, 1000) < per_mille;
}

static uint64_t entry_payload_id(const struct raft_entry *entry)
{
    uint64_t id = 0;
    struct bytes bytes = blob_bytes(entry->payload);
    for (size_t i = 0; i < bytes.bytes_count; i++)
        id = id * 1099511628211u + bytes.data[i];
    return id;
}

/* Messages and writes that outlive a step own their entries. */
static struct raft_entry *entries_copy(const struct raft_entry *entries, uint32_t entries_count)
{
    if (entries_count == 0)
        return NULL;
    struct raft_entry *copy = memory_alloc(entries_count * sizeof *copy);
    memcpy(copy, entries, entries_count * sizeof *copy);
    for (uint32_t i = 0; i < entries_count; i++) {
        if (copy[i].payload)
            blob_ref(copy[i].payload);
    }
    return copy;
}

static void entries_free(const struct raft_entry *entries, uint32_t entries_count)
{
    for (uint32_t i = 0; i < entries_count; i++)
        blob_unref(entries[i].payload);
    free((void *)(uintptr_t)entries);
}

static struct occurrence *cluster_schedule(struct cluster *cluster, enum occurrence_type type,
                                           struct node *node, nanoseconds_t after_ns)
{
    struct occurrence *occurrence = memory_alloc_zeroed(1, sizeof *occurrence);
    occurrence->at_ns = cluster->now_ns + after_ns;
    occurrence->sequence = ++cluster->sequence;
    occurrence->type = type;
    occurrence->node = (uint32_t)(node - cluster->nodes);
    occurrence->life = node->life;
    RB_INSERT(occurrences, &cluster->occurrences, occurrence);
    return occurrence;
}

static void occurrence_free(struct occurrence *occurrence)
{
    entries_free(occurrence->message.entries, occurrence->message.entries_count);
    free(occurrence);
}

static nanoseconds_t cluster_delay(struct cluster *cluster)
{
    return 1000 *
           cluster_draw(cluster, cluster->options.delay_us_min, cluster->options.delay_us_max);
}

/* The checks. */

/* R1 seen from outside: what a message says, the disk of its sender holds. One write may bring what
 * an answer waits for together with what a later leader put in its place: such an answer is of an
 * earlier term, and as good as one that was long on its way. */
static void check_message_leaving(struct cluster *cluster, struct node *node,
                                  const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_MSG_VOTE_REQUEST:
        CHECK(cluster, node, node->disk_term >= message->term);
        CHECK(cluster, node, node->disk_term > message->term || node->disk_vote == node->replica);
        break;
    case RAFT_MSG_VOTE_ANSWER:
        CHECK(cluster, node, node->disk_term >= message->term);
        CHECK(cluster, node,
              message->rejected || node->disk_term > message->term ||
                  node->disk_vote == message->to);
        break;
    case RAFT_MSG_APPEND_REQUEST:
        CHECK(cluster, node, node->disk_term >= message->term);
        break;
    case RAFT_MSG_APPEND_ANSWER:
        CHECK(cluster, node, node->disk_term >= message->term);
        CHECK(cluster, node,
              message->rejected || node->disk_term > message->term ||
                  node->flushed.index >= message->index ||
                  raft_log_last_index(&node->disk_log) >= message->index);
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

static bool disk_holds(const struct node *node, raft_index_t index, raft_term_t term)
{
    return node->flushed.index >= index || raft_log_matches(&node->disk_log, index, term);
}

static void check_newly_committed(struct cluster *cluster, struct node *node, raft_index_t index,
                                  raft_term_t term)
{
    const struct raft_configuration *configuration = raft_get_configuration(node->raft);
    uint32_t old_voters = 0, old_holders = 0, new_voters = 0, new_holders = 0;
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        uint32_t holds = disk_holds(cluster_node(cluster, member->replica), index, term);
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

static void check_step(struct cluster *cluster, struct node *node)
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

/* The network. */

static void cluster_transmit(struct cluster *cluster, struct node *node,
                             const struct raft_message *message)
{
    check_message_leaving(cluster, node, message);
    struct node *to = cluster_node(cluster, message->to);
    cluster->messages_sent[message->type]++;
    if (message->type == RAFT_MSG_APPEND_REQUEST && message->entries_count != 0)
        cluster->appends_sent++;
    uint32_t copies = cluster_chance(cluster, cluster->options.doubled_per_mille) ? 2 : 1;
    for (uint32_t i = 0; i < copies; i++) {
        if (cluster->link_cut[node->replica - 1][message->to - 1] ||
            cluster_chance(cluster, cluster->options.lost_per_mille))
            continue;
        struct occurrence *occurrence =
            cluster_schedule(cluster, DELIVER, to, cluster_delay(cluster));
        occurrence->message = *message;
        occurrence->message.entries = entries_copy(message->entries, message->entries_count);
    }
}

static void node_release_held(struct cluster *cluster, struct node *node)
{
    struct held_message **link = &node->held;
    while (*link) {
        struct held_message *held = *link;
        if (held->message.after_persist_id > node->persisted_id) {
            link = &held->next;
            continue;
        }
        *link = held->next;
        cluster_transmit(cluster, node, &held->message);
        free(held);
    }
}

static void node_send(struct cluster *cluster, struct node *node,
                      const struct raft_message *message)
{
    if (message->after_persist_id <= node->persisted_id) {
        cluster_transmit(cluster, node, message);
        return;
    }
    ASSERT(message->entries_count == 0); /* entries are borrowed: a host could not keep them */
    struct held_message **link = &node->held;
    while (*link)
        link = &(*link)->next;
    *link = memory_alloc_zeroed(1, sizeof **link);
    (*link)->message = *message;
}

/* The disk. */

static void node_disk_start(struct cluster *cluster, struct node *node)
{
    if (node->disk_busy || node->disk_held || !node->writes)
        return;
    node->disk_busy = true;
    cluster_schedule(
        cluster, DISK_DONE, node,
        1000 * cluster_draw(cluster, cluster->options.disk_us_min, cluster->options.disk_us_max));
}

static void node_disk_write(struct cluster *cluster, struct node *node)
{
    const struct raft_update *update = &node->update;
    if (update->persist_id == 0)
        return;
    struct disk_write *write = memory_alloc_zeroed(1, sizeof *write);
    write->persist_id = update->persist_id;
    write->hard_state_changed = update->hard_state_changed;
    write->term = update->term;
    write->vote = update->vote;
    write->log_reset = update->log_reset;
    write->reset_index = update->reset_index;
    write->reset_term = update->reset_term;
    write->reset_timestamp = node->flushed.log_timestamp;
    if (update->persist_first != 0) {
        write->entries_count = (uint32_t)(update->persist_last - update->persist_first + 1);
        write->entries =
            entries_copy(raft_log_entry(node->raft, update->persist_first), write->entries_count);
    }
    struct disk_write **link = &node->writes;
    while (*link)
        link = &(*link)->next;
    *link = write;
    node_disk_start(cluster, node);
}

static void disk_write_free(struct disk_write *write)
{
    entries_free(write->entries, write->entries_count);
    free(write);
}

/* One unit becomes durable, whole. */
static void node_disk_take(struct node *node)
{
    struct disk_write *write = node->writes;
    node->writes = write->next;
    if (write->hard_state_changed) {
        node->disk_term = write->term;
        node->disk_vote = write->vote;
    }
    if (write->log_reset)
        raft_log_reset(&node->disk_log, write->reset_index, write->reset_term,
                       write->reset_timestamp);
    if (write->entries_count != 0 &&
        write->entries[0].index <= raft_log_last_index(&node->disk_log))
        raft_log_truncate(&node->disk_log, write->entries[0].index);
    for (uint32_t i = 0; i < write->entries_count; i++)
        raft_log_append(&node->disk_log, &write->entries[i]);
    disk_write_free(write);
}

/* What the node's state machine is at `index`, as a snapshot says it. */
static void cluster_meta(const struct cluster *cluster, const struct node *node, raft_index_t index,
                         struct raft_snapshot_meta *out_meta)
{
    *out_meta = (struct raft_snapshot_meta){0};
    if (raft_configuration_find(&cluster->initial, node->replica))
        out_meta->configuration = cluster->initial;
    if (index == 0)
        return;
    const struct committed_entry *committed = &cluster->committed[index - 1];
    out_meta->index = index;
    out_meta->term = committed->term;
    out_meta->log_timestamp = committed->log_timestamp;
    for (raft_index_t i = index; i >= 1; i--) {
        if (!cluster->committed[i - 1].is_configuration)
            continue;
        out_meta->configuration_index = i;
        out_meta->configuration = cluster->committed[i - 1].configuration;
        return;
    }
}

static raft_index_t node_applied_index(const struct node *node)
{
    struct raft_status status;
    raft_get_status(node->raft, &status);
    return status.commit_index < status.durable_index ? status.commit_index : status.durable_index;
}

/* The host. */

static void node_offer_snapshot(struct cluster *cluster, struct node *node, replica_id_t to)
{
    struct raft_status status;
    raft_get_status(node->raft, &status);
    struct occurrence *offer = cluster_schedule(cluster, SNAPSHOT_OFFER, cluster_node(cluster, to),
                                                cluster_delay(cluster));
    cluster_meta(cluster, node, node_applied_index(node), &offer->meta);
    offer->message.term = status.term;
    offer->message.from = node->replica;
    offer->from_node = (uint32_t)(node->replica - 1);
    offer->from_life = node->life;
    cluster->snapshots_sent++;
}

static void node_drain(struct cluster *cluster, struct node *node)
{
    struct raft_update *update = &node->update;
    check_step(cluster, node);
    node->deadline_ns = update->deadline_ns;
    node_disk_write(cluster, node);
    for (uint32_t i = 0; i < update->messages_count; i++)
        node_send(cluster, node, &update->messages[i]);
    for (uint32_t i = 0; i < update->snapshot_wanted_count; i++)
        node_offer_snapshot(cluster, node, update->snapshot_wanted[i]);
}

static int node_step(struct cluster *cluster, struct node *node, struct raft_event *event)
{
    raft_update_reset(&node->update);
    event->now_ns = cluster->now_ns;
    int status = raft_step(node->raft, event, &node->update);
    node_drain(cluster, node);
    return status;
}

int cluster_step(struct cluster *cluster, replica_id_t node, struct raft_event *event)
{
    return node_step(cluster, cluster_node(cluster, node), event);
}

void cluster_turn_ended(struct cluster *cluster, replica_id_t node)
{
    struct raft_event event = {.type = RAFT_EV_TURN_ENDED};
    (void)cluster_step(cluster, node, &event);
}

static void cluster_start(struct cluster *cluster, struct node *node)
{
    struct raft_options options;
    raft_options_default(&options);
    if (cluster->options.tune)
        cluster->options.tune(&options);
    options.replica = node->replica;
    options.seed = random_next(&cluster->random);
    node->life++;
    node->persisted_id = 0;
    node->disk_busy = false;
    node->reads_asked = 0;
    node->reads_confirmed_id = 0;
    node->reads_failed_id = 0;
    if (node->disk_term < node->flushed.term) {
        node->disk_term = node->flushed.term;
        node->disk_vote = 0;
    }
    /* A snapshot that was installed, and whose new beginning of the log did not reach the disk. */
    if (node->flushed.index > node->disk_log.base_index) {
        if (raft_log_matches(&node->disk_log, node->flushed.index, node->flushed.term))
            raft_log_cut(&node->disk_log, node->flushed.index);
        else
            raft_log_reset(&node->disk_log, node->flushed.index, node->flushed.term,
                           node->flushed.log_timestamp);
    }
    node->raft = raft_new(&options, &node->flushed, node->disk_term, node->disk_vote,
                          raft_log_get(&node->disk_log, raft_log_first_index(&node->disk_log)),
                          node->disk_log.entries_count, node->flushed.index, cluster->now_ns);
    struct raft_status status;
    raft_get_status(node->raft, &status);
    CHECK(cluster, node, status.last_index == raft_log_last_index(&node->disk_log));
    node->term_seen = status.term;
    node->commit_index = status.commit_index;
    cluster_turn_ended(cluster, node->replica);
}

void cluster_crash(struct cluster *cluster, replica_id_t replica)
{
    struct node *node = cluster_node(cluster, replica);
    ASSERT(node->raft);
    raft_free(node->raft);
    node->raft = NULL;
    node->life++;
    node->disk_busy = false;
    /* Of what was under way, some may have reached the disk; nobody was told. */
    while (node->writes && !node->disk_held && cluster_chance(cluster, 300))
        node_disk_take(node);
    while (node->writes) {
        struct disk_write *write = node->writes;
        node->writes = write->next;
        disk_write_free(write);
    }
    while (node->held) {
        struct held_message *held = node->held;
        node->held = held->next;
        free(held);
    }
}

void cluster_restart(struct cluster *cluster, replica_id_t replica)
{
    struct node *node = cluster_node(cluster, replica);
    ASSERT(!node->raft && !node->destroyed);
    cluster_start(cluster, node);
}

void cluster_cut_log(struct cluster *cluster, replica_id_t replica)
{
    struct node *node = cluster_node(cluster, replica);
    struct raft_event event = {.type = RAFT_EV_LOG_CUT};
    event.cut_index = node_applied_index(node);
    if (event.cut_index <= node->flushed.index)
        return;
    cluster_meta(cluster, node, event.cut_index, &node->flushed);
    if (node_step(cluster, node, &event) != OST_OK)
        cluster_breach(cluster, node, "what is applied and durable may be cut", __LINE__);
    if (event.cut_index <= raft_log_last_index(&node->disk_log))
        raft_log_cut(&node->disk_log, event.cut_index);
}

/* Occurrences. */

static void occur_disk_done(struct cluster *cluster, struct node *node)
{
    struct raft_event event = {.type = RAFT_EV_PERSISTED};
    node->disk_busy = false;
    if (node->disk_held || !node->writes)
        return;
    /* One write may carry several units. */
    do {
        event.persist_id = node->writes->persist_id;
        node_disk_take(node);
    } while (node->writes && cluster_chance(cluster, 500));
    node->persisted_id = event.persist_id;
    node_release_held(cluster, node);
    (void)node_step(cluster, node, &event);
    cluster_turn_ended(cluster, node->replica);
    node_disk_start(cluster, node);
}

static void occur_snapshot_result(struct cluster *cluster, const struct occurrence *of,
                                  raft_index_t index)
{
    struct node *leader = &cluster->nodes[of->from_node];
    struct occurrence *result =
        cluster_schedule(cluster, SNAPSHOT_RESULT, leader, cluster_delay(cluster));
    result->life = of->from_life;
    result->from_node = of->node;
    result->snapshot_index = index;
}

static void occur_snapshot_offer(struct cluster *cluster, struct node *node,
                                 const struct occurrence *offer)
{
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_OFFERED};
    event.snapshot.term = offer->message.term;
    event.snapshot.from = offer->message.from;
    event.snapshot.meta = &offer->meta;
    if (!node->raft || cluster->link_cut[offer->from_node][offer->node] ||
        node_step(cluster, node, &event) != OST_OK) {
        occur_snapshot_result(cluster, offer, 0);
        return;
    }
    struct occurrence *ready =
        cluster_schedule(cluster, SNAPSHOT_READY, node, NS_PER_MS * cluster_draw(cluster, 1, 200));
    ready->message = offer->message;
    ready->meta = offer->meta;
    ready->from_node = offer->from_node;
    ready->from_life = offer->from_life;
}

static void occur_snapshot_ready(struct cluster *cluster, struct node *node,
                                 const struct occurrence *ready)
{
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_INSTALLED};
    struct raft_snapshot_meta before = node->flushed;
    if (node->life != ready->life || !node->raft) {
        occur_snapshot_result(cluster, ready, 0);
        return;
    }
    event.snapshot.term = ready->message.term;
    event.snapshot.from = ready->message.from;
    event.snapshot.meta = &ready->meta;
    if (ready->meta.index > node->flushed.index)
        node->flushed = ready->meta;
    int status = node_step(cluster, node, &event);
    if (status != OST_OK)
        node->flushed = before;
    occur_snapshot_result(cluster, ready, status == OST_OK ? ready->meta.index : 0);
}

static void cluster_occur(struct cluster *cluster, struct occurrence *occurrence)
{
    struct node *node = &cluster->nodes[occurrence->node];
    struct raft_event event = {0};
    switch (occurrence->type) {
    case DELIVER:
        if (!node->raft || cluster->link_cut[occurrence->message.from - 1][occurrence->node])
            return;
        event.type = RAFT_EV_MSG_RECEIVED;
        event.message = &occurrence->message;
        if (node_step(cluster, node, &event) != OST_OK)
            cluster_breach(cluster, node, "no member breaks the protocol", __LINE__);
        cluster_turn_ended(cluster, node->replica);
        break;
    case DISK_DONE:
        if (node->raft && node->life == occurrence->life)
            occur_disk_done(cluster, node);
        break;
    case SNAPSHOT_OFFER:
        occur_snapshot_offer(cluster, node, occurrence);
        break;
    case SNAPSHOT_READY:
        occur_snapshot_ready(cluster, node, occurrence);
        break;
    case SNAPSHOT_RESULT:
        if (!node->raft || node->life != occurrence->life)
            return;
        event.type = RAFT_EV_SNAPSHOT_SENT;
        event.snapshot_sent.replica = cluster->nodes[occurrence->from_node].replica;
        event.snapshot_sent.index = occurrence->snapshot_index;
        (void)node_step(cluster, node, &event);
        break;
    }
}

/* The next thing that happens at or before `until_ns`; false when there is none. */
static bool cluster_run_one(struct cluster *cluster, nanoseconds_t until_ns)
{
    struct occurrence *occurrence = RB_MIN(occurrences, &cluster->occurrences);
    struct node *due = NULL;
    nanoseconds_t at_ns = occurrence ? occurrence->at_ns : NS_NEVER;
    for (uint32_t i = 0; i < cluster->options.nodes_count; i++) {
        struct node *node = &cluster->nodes[i];
        if (node->raft && node->deadline_ns < at_ns) {
            due = node;
            at_ns = node->deadline_ns;
        }
    }
    if (at_ns > until_ns)
        return false;
    if (at_ns > cluster->now_ns)
        cluster->now_ns = at_ns;
    if (due) {
        struct raft_event event = {.type = RAFT_EV_TIMER_FIRED};
        (void)node_step(cluster, due, &event);
        CHECK(cluster, due, due->deadline_ns > cluster->now_ns);
        cluster_turn_ended(cluster, due->replica);
        return true;
    }
    RB_REMOVE(occurrences, &cluster->occurrences, occurrence);
    cluster_occur(cluster, occurrence);
    occurrence_free(occurrence);
    return true;
}

void cluster_run_ms(struct cluster *cluster, uint64_t ms)
{
    nanoseconds_t until_ns = cluster->now_ns + ms * NS_PER_MS;
    while (cluster_run_one(cluster, until_ns))
        continue;
    cluster->now_ns = until_ns;
}

static bool cluster_has_ready_leader(struct cluster *cluster)
{
    replica_id_t leader = cluster_leader(cluster);
    if (leader == 0)
        return false;
    struct raft_status status = cluster_status(cluster, leader);
    for (uint32_t i = 0; i < cluster->options.nodes_count; i++) {
        struct raft_status other;
        if (!cluster->nodes[i].raft ||
            !raft_configuration_find(raft_get_configuration(cluster_raft(cluster, leader)),
                                     cluster->nodes[i].replica))
            continue;
        raft_get_status(cluster->nodes[i].raft, &other);
        if (other.term > status.term)
            return false;
    }
    return status.commit_index >= status.term_opening_index;
}

replica_id_t cluster_run_until_leader(struct cluster *cluster, uint64_t ms)
{
    nanoseconds_t until_ns = cluster->now_ns + ms * NS_PER_MS;
    while (!cluster_has_ready_leader(cluster)) {
        if (!cluster_run_one(cluster, until_ns))
            return 0;
    }
    return cluster_leader(cluster);
}

bool cluster_run_until_committed(struct cluster *cluster, replica_id_t node, raft_index_t index,
                                 uint64_t ms)
{
    nanoseconds_t until_ns = cluster->now_ns + ms * NS_PER_MS;
    while (cluster_status(cluster, node).commit_index < index) {
        if (!cluster_run_one(cluster, until_ns))
            return false;
    }
    return true;
}

nanoseconds_t cluster_now_ns(const struct cluster *cluster)
{
    return cluster->now_ns;
}

replica_id_t cluster_leader(const struct cluster *cluster)
{
    replica_id_t leader = 0;
    raft_term_t term = 0;
    for (uint32_t i = 0; i < cluster->options.nodes_count; i++) {
        struct raft_status status;
        if (!cluster->nodes[i].raft)
            continue;
        raft_get_status(cluster->nodes[i].raft, &status);
        if (status.role == RAFT_LEADER && status.term > term) {
            leader = cluster->nodes[i].replica;
            term = status.term;
        }
    }
    return leader;
}

replica_id_t cluster_follower(const struct cluster *cluster)
{
    replica_id_t leader = cluster_leader(cluster);
    for (uint32_t i = 0; i < cluster->options.nodes_count; i++) {
        if (cluster->nodes[i].raft && cluster->nodes[i].replica != leader)
            return cluster->nodes[i].replica;
    }
    return 0;
}

struct raft *cluster_raft(struct cluster *cluster, replica_id_t node)
{
    return cluster_node(cluster, node)->raft;
}

struct raft_status cluster_status(struct cluster *cluster, replica_id_t node)
{
    struct raft_status status;
    raft_get_status(cluster_node(cluster, node)->raft, &status);
    return status;
}

/* Clocks of stores differ: what a leader has heard may be older than what its log says. */
static timestamp_t cluster_heard(struct cluster *cluster)
{
    return cluster->now_ns / 1000 + random_below(&cluster->random, 100000);
}

int cluster_propose_in_turn(struct cluster *cluster, replica_id_t node, raft_index_t *out_index)
{
    uint64_t id = ++cluster->payload_id_last;
    struct raft_event event = {.type = RAFT_EV_PROPOSED};
    event.propose.entry_type = RAFT_ENTRY_COMMAND;
    event.propose.payload = blob_copy(bytes_of(&id, sizeof id));
    event.propose.heard_timestamp = cluster_heard(cluster);
    int status = cluster_step(cluster, node, &event);
    if (status == OST_OK && out_index)
        *out_index = cluster_node(cluster, node)->update.proposed_index;
    blob_unref(event.propose.payload);
    return status;
}

int cluster_propose(struct cluster *cluster, replica_id_t node, raft_index_t *out_index)
{
    int status = cluster_propose_in_turn(cluster, node, out_index);
    cluster_turn_ended(cluster, node);
    return status;
}

int cluster_propose_configuration(struct cluster *cluster, replica_id_t node,
                                  const struct raft_configuration *target)
{
    struct raft_event event = {.type = RAFT_EV_CONFIGURATION_PROPOSED};
    event.configure.target = target;
    event.configure.heard_timestamp = cluster_heard(cluster);
    int status = cluster_step(cluster, node, &event);
    cluster_turn_ended(cluster, node);
    return status;
}

void cluster_committed_configuration(const struct cluster *cluster,
                                     struct raft_configuration *out_configuration)
{
    *out_configuration = cluster->initial;
    for (raft_index_t index = cluster->committed_count; index >= 1; index--) {
        if (!cluster->committed[index - 1].is_configuration)
            continue;
        *out_configuration = cluster->committed[index - 1].configuration;
        return;
    }
}

bool cluster_run_until_members(struct cluster *cluster, const struct raft_configuration *target,
                               uint64_t ms)
{
    nanoseconds_t until_ns = cluster->now_ns + ms * NS_PER_MS;
    for (;;) {
        struct raft_configuration committed;
        cluster_committed_configuration(cluster, &committed);
        uint32_t same_count = 0;
        for (uint32_t i = 0; i < target->members_count; i++) {
            const struct raft_member *member =
                raft_configuration_find(&committed, target->members[i].replica);
            same_count += member && member->voter_new == target->members[i].voter_new;
        }
        if (!raft_configuration_is_joint(&committed) && same_count == committed.members_count &&
            same_count == target->members_count)
            return true;
        if (!cluster_run_one(cluster, until_ns))
            return false;
    }
}

int cluster_read(struct cluster *cluster, replica_id_t replica, uint64_t *out_read_id)
{
    struct node *node = cluster_node(cluster, replica);
    struct raft_event event = {.type = RAFT_EV_READ_REQUESTED};
    int status = node_step(cluster, node, &event);
    if (status == OST_OK) {
        uint64_t id = node->update.read_id;
        CHECK(cluster, node, id == node->reads_asked + 1);
        node->reads_asked = id;
        node->reads[id % NODE_READS_MAX] = (struct node_read){id, cluster->committed_count};
        if (out_read_id)
            *out_read_id = id;
    }
    return status;
}

uint64_t cluster_reads_confirmed(const struct cluster *cluster, replica_id_t node)
{
    return cluster->nodes[node - 1].reads_confirmed_id;
}

uint64_t cluster_reads_failed(const struct cluster *cluster, replica_id_t node)
{
    return cluster->nodes[node - 1].reads_failed_id;
}

void cluster_disk_hold(struct cluster *cluster, replica_id_t replica, bool hold)
{
    struct node *node = cluster_node(cluster, replica);
    node->disk_held = hold;
    if (node->raft)
        node_disk_start(cluster, node);
}

void cluster_link_cut(struct cluster *cluster, replica_id_t from, replica_id_t to, bool cut)
{
    cluster->link_cut[from - 1][to - 1] = cut;
}

void cluster_isolate(struct cluster *cluster, replica_id_t node)
{
    for (replica_id_t other = 1; other <= cluster->options.nodes_count; other++) {
        if (other == node)
            continue;
        cluster_link_cut(cluster, node, other, true);
        cluster_link_cut(cluster, other, node, true);
    }
}

void cluster_heal(struct cluster *cluster)
{
    memset(cluster->link_cut, 0, sizeof cluster->link_cut);
    cluster->options.lost_per_mille = 0;
    cluster->options.doubled_per_mille = 0;
    for (replica_id_t node = 1; node <= cluster->options.nodes_count; node++)
        cluster_disk_hold(cluster, node, false);
}

raft_index_t cluster_committed_index(const struct cluster *cluster)
{
    return cluster->committed_count;
}

uint64_t cluster_appends_sent(const struct cluster *cluster)
{
    return cluster->appends_sent;
}

uint64_t cluster_snapshots_sent(const struct cluster *cluster)
{
    return cluster->snapshots_sent;
}

uint64_t cluster_messages_sent(const struct cluster *cluster, enum raft_message_type type)
{
    return cluster->messages_sent[type];
}

void cluster_configuration(uint32_t voters_count, struct raft_configuration *out_configuration)
{
    *out_configuration = (struct raft_configuration){0};
    for (uint32_t i = 0; i < voters_count; i++)
        out_configuration->members[out_configuration->members_count++] = (struct raft_member){
            .replica = i + 1, .store = i + 101, .voter_old = true, .voter_new = true};
}

void cluster_options_default(struct cluster_options *out_options)
{
    *out_options = (struct cluster_options){
        .seed = 1,
        .nodes_count = 3,
        .delay_us_min = 100,
        .delay_us_max = 1000,
        .disk_us_min = 50,
        .disk_us_max = 500,
    };
}

/* Who is in the first configuration knows it from birth. Who joins later begins with none. */
static void cluster_node_make(struct cluster *cluster, uint32_t i)
{
    struct node *node = &cluster->nodes[i];
    node->replica = i + 1;
    raft_log_init(&node->disk_log, 0, 0, 0);
    raft_update_init(&node->update);
    cluster_meta(cluster, node, 0, &node->flushed);
    cluster_start(cluster, node);
}

struct cluster *cluster_new(const struct cluster_options *options)
{
    struct cluster *cluster = memory_alloc_zeroed(1, sizeof *cluster);
    ASSERT(options->nodes_count >= 1 && options->nodes_count <= CLUSTER_NODES_MAX);
    cluster->options = *options;
    cluster->now_ns = NS_PER_S;
    RB_INIT(&cluster->occurrences);
    random_init(&cluster->random, options->seed);
    cluster_configuration(options->voters_count ? options->voters_count : options->nodes_count,
                          &cluster->initial);
    for (uint32_t i = 0; i < options->nodes_count; i++) {
        cluster_node_make(cluster, i);
    }
    return cluster;
}

replica_id_t cluster_add_node(struct cluster *cluster)
{
    if (cluster->options.nodes_count == CLUSTER_NODES_MAX)
        return 0;
    cluster_node_make(cluster, cluster->options.nodes_count++);
    return cluster->options.nodes_count;
}

void cluster_destroy_node(struct cluster *cluster, replica_id_t replica)
{
    struct node *node = cluster_node(cluster, replica);
    struct raft_configuration committed;
    cluster_committed_configuration(cluster, &committed);
    ASSERT(!raft_configuration_find(&committed, replica));
    if (node->raft)
        cluster_crash(cluster, replica);
    node->destroyed = true;
}

bool cluster_is_destroyed(const struct cluster *cluster, replica_id_t replica)
{
    return cluster->nodes[replica - 1].destroyed;
}

void cluster_free(struct cluster *cluster)
{
    struct occurrence *occurrence;
    struct known_entry *known, *next;
    for (uint32_t i = 0; i < cluster->options.nodes_count; i++) {
        struct node *node = &cluster->nodes[i];
        if (node->raft)
            cluster_crash(cluster, node->replica);
        raft_log_fini(&node->disk_log);
        raft_update_fini(&node->update);
    }
    while ((occurrence = RB_MIN(occurrences, &cluster->occurrences))) {
        RB_REMOVE(occurrences, &cluster->occurrences, occurrence);
        occurrence_free(occurrence);
    }
    HASH_ITER (hh, cluster->known, known, next) {
        HASH_DEL(cluster->known, known);
        free(known);
    }
    free(cluster->committed);
    free(cluster->leaders);
    free(cluster);
}
