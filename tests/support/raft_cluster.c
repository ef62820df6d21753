#include "tests/support/raft_cluster_internal.h"

#include "base/memory.h"

#include <stdlib.h>

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
RB_GENERATE_INTERNAL(occurrences, occurrence, link, occurrence_compare,
                     __attribute__((unused)) static)

static uint64_t cluster_draw(struct cluster *cluster, uint64_t min, uint64_t max)
{
    return min + random_below(&cluster->random, max - min + 1);
}

static bool cluster_chance(struct cluster *cluster, uint32_t per_mille)
{
    return per_mille != 0 && random_below(&cluster->random, 1000) < per_mille;
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
    raft_entries_free(occurrence->message.entries, occurrence->message.entries_count);
    free(occurrence);
}

static nanoseconds_t cluster_delay(struct cluster *cluster)
{
    return 1000 *
           cluster_draw(cluster, cluster->options.delay_us_min, cluster->options.delay_us_max);
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
        occurrence->message.entries = raft_entries_copy(message->entries, message->entries_count);
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
    if (node->disk_busy || node->disk_held || raft_disk_units_count(&node->disk) == 0)
        return;
    node->disk_busy = true;
    cluster_schedule(
        cluster, DISK_DONE, node,
        1000 * cluster_draw(cluster, cluster->options.disk_us_min, cluster->options.disk_us_max));
}

static void node_disk_write(struct cluster *cluster, struct node *node)
{
    raft_disk_write(&node->disk, node->raft, &node->update);
    node_disk_start(cluster, node);
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
    node->raft = raft_disk_start(&node->disk, &options, cluster->now_ns);
    struct raft_status status;
    raft_get_status(node->raft, &status);
    CHECK(cluster, node, status.last_index == raft_log_last_index(&node->disk.log));
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
    while (raft_disk_units_count(&node->disk) != 0 && !node->disk_held &&
           cluster_chance(cluster, 300))
        (void)raft_disk_take(&node->disk);
    raft_disk_lose(&node->disk);
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
    if (event.cut_index <= node->disk.flushed.index)
        return;
    struct raft_snapshot_meta meta;
    cluster_meta(cluster, node, event.cut_index, &meta);
    raft_disk_flush(&node->disk, &meta);
    if (node_step(cluster, node, &event) != OST_OK)
        cluster_breach(cluster, node, "what is applied and durable may be cut", __LINE__);
}

/* Occurrences. */

static void occur_disk_done(struct cluster *cluster, struct node *node)
{
    struct raft_event event = {.type = RAFT_EV_PERSISTED};
    node->disk_busy = false;
    if (node->disk_held || raft_disk_units_count(&node->disk) == 0)
        return;
    /* One write may carry several units. */
    do {
        event.persist_id = raft_disk_take(&node->disk);
    } while (raft_disk_units_count(&node->disk) != 0 && cluster_chance(cluster, 500));
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
    struct raft_snapshot_meta before = node->disk.flushed;
    if (node->life != ready->life || !node->raft) {
        occur_snapshot_result(cluster, ready, 0);
        return;
    }
    event.snapshot.term = ready->message.term;
    event.snapshot.from = ready->message.from;
    event.snapshot.meta = &ready->meta;
    if (ready->meta.index > node->disk.flushed.index)
        node->disk.flushed = ready->meta;
    int status = node_step(cluster, node, &event);
    if (status != OST_OK)
        node->disk.flushed = before;
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

static int node_read(struct cluster *cluster, struct node *node, bool by_lease)
{
    struct raft_event event = {.type = RAFT_EV_READ_REQUESTED};
    event.read.by_lease = by_lease;
    int status = node_step(cluster, node, &event);
    if (status != OST_OK)
        return status;
    uint64_t id = node->update.read_id;
    CHECK(cluster, node, id == node->reads_asked + 1);
    node->reads_asked = id;
    node->reads[id % NODE_READS_MAX] = (struct node_read){id, cluster->committed_count};
    return OST_OK;
}

int cluster_read(struct cluster *cluster, replica_id_t node, uint64_t *out_read_id)
{
    int status = node_read(cluster, cluster_node(cluster, node), false);
    if (status == OST_OK && out_read_id)
        *out_read_id = cluster_node(cluster, node)->update.read_id;
    return status;
}

nanoseconds_t cluster_read_by_lease(struct cluster *cluster, replica_id_t replica)
{
    struct node *node = cluster_node(cluster, replica);
    if (node_read(cluster, node, true) != OST_OK)
        return 0;
    const struct raft_update *update = &node->update;
    if (update->read_valid_until_ns != 0) {
        CHECK(cluster, node, update->read_index >= cluster->committed_count);
        CHECK(cluster, node, update->read_valid_until_ns > cluster->now_ns);
    }
    return update->read_valid_until_ns;
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
    struct raft_snapshot_meta meta;
    raft_update_init(&node->update);
    cluster_meta(cluster, node, 0, &meta);
    raft_disk_init(&node->disk, &meta);
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
        raft_disk_fini(&node->disk);
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
