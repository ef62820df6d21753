#include "tests/golden/raft_world.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define NODE_FORMAT   "%llu  "
#define NUMBER(value) ((unsigned long long)(value))

/* Printing. */

#define SAY(world, ...)                                                                            \
    do {                                                                                           \
        if (!(world)->is_quiet)                                                                    \
            story_print((world)->out, __VA_ARGS__);                                                \
    } while (0)

static void print_voters(struct buffer *out, const struct raft_configuration *configuration,
                         bool new_ones)
{
    const char *between = "";
    story_print(out, "(");
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        if (!(new_ones ? member->voter_new : member->voter_old))
            continue;
        story_print(out, "%s%llu", between, NUMBER(member->replica));
        between = " ";
    }
    story_print(out, ")");
}

void raft_world_print_configuration(struct buffer *out,
                                    const struct raft_configuration *configuration)
{
    const char *before = " learners (";
    story_print(out, "voters ");
    print_voters(out, configuration, false);
    if (raft_configuration_is_joint(configuration)) {
        story_print(out, " and ");
        print_voters(out, configuration, true);
    }
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        if (member->voter_old || member->voter_new)
            continue;
        story_print(out, "%s%llu", before, NUMBER(member->replica));
        before = " ";
    }
    if (*before == ' ' && before[1] == '\0')
        story_print(out, ")");
}

void raft_world_print_entry(struct buffer *out, const struct raft_entry *entry)
{
    struct bytes payload = blob_bytes(entry->payload);
    struct raft_configuration configuration;
    story_print(out, "%llu@%llu", NUMBER(entry->index), NUMBER(entry->term));
    switch (entry->type) {
    case RAFT_ENTRY_TERM_OPENING:
        story_print(out, " opening");
        break;
    case RAFT_ENTRY_COMMAND:
        story_print(out, " %.*s", (int)payload.bytes_count, (const char *)payload.data);
        break;
    case RAFT_ENTRY_CONFIGURATION:
        story_print(out, " ");
        if (raft_configuration_unpack(payload, &configuration))
            raft_world_print_configuration(out, &configuration);
        break;
    }
}

static void print_append(struct buffer *out, const struct raft_message *message)
{
    story_print(out, " after %llu@%llu, commit %llu", NUMBER(message->index),
                NUMBER(message->index_term), NUMBER(message->commit_index));
    for (uint32_t i = 0; i < message->entries_count; i++) {
        story_print(out, "%s", i ? ", " : ": ");
        raft_world_print_entry(out, &message->entries[i]);
    }
    if (message->entries_count == 0)
        story_print(out, ": nothing");
}

void raft_world_print_message(struct buffer *out, const struct raft_message *message)
{
    static const char *const names[] = {[RAFT_MSG_PRE_VOTE_REQUEST] = "pre-vote request",
                                        [RAFT_MSG_PRE_VOTE_ANSWER] = "pre-vote",
                                        [RAFT_MSG_VOTE_REQUEST] = "vote request",
                                        [RAFT_MSG_VOTE_ANSWER] = "vote",
                                        [RAFT_MSG_APPEND_REQUEST] = "append",
                                        [RAFT_MSG_APPEND_ANSWER] = "append answer",
                                        [RAFT_MSG_TIMEOUT_NOW] = "timeout now",
                                        [RAFT_MSG_SNAPSHOT_ACK] = "snapshot ack"};
    story_print(out, "%s, term %llu", names[message->type], NUMBER(message->term));
    switch (message->type) {
    case RAFT_MSG_PRE_VOTE_REQUEST:
    case RAFT_MSG_VOTE_REQUEST:
        story_print(out, ", log ends with %llu@%llu%s", NUMBER(message->index),
                    NUMBER(message->index_term), message->forced ? ", forced" : "");
        break;
    case RAFT_MSG_PRE_VOTE_ANSWER:
    case RAFT_MSG_VOTE_ANSWER:
        story_print(out, message->rejected ? ", no" : ", yes");
        break;
    case RAFT_MSG_APPEND_REQUEST:
        print_append(out, message);
        break;
    case RAFT_MSG_APPEND_ANSWER:
        if (message->rejected)
            story_print(out, ", not after %llu: may agree at %llu@%llu", NUMBER(message->index),
                        NUMBER(message->reject_hint_index), NUMBER(message->reject_hint_term));
        else
            story_print(out, ", has %llu", NUMBER(message->index));
        break;
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_SNAPSHOT_ACK:
        break;
    }
    if (message->read_round != 0)
        story_print(out, ", read round %llu", NUMBER(message->read_round));
}

static void say_message(struct raft_world *world, const char *before,
                        const struct raft_message *message, const char *after)
{
    if (world->is_quiet)
        return;
    story_print(world->out, "%s", before);
    raft_world_print_message(world->out, message);
    story_print(world->out, "%s\n", after);
}

static void say_unit(struct raft_world *world, const struct raft_world_node *node)
{
    const struct raft_update *update = &node->update;
    const char *between = " ";
    if (world->is_quiet || update->persist_id == 0)
        return;
    story_print(world->out, NODE_FORMAT "to persist, #%llu:", NUMBER(node->replica),
                NUMBER(update->persist_id));
    if (update->hard_state_changed) {
        story_print(world->out, " term %llu, vote %llu", NUMBER(update->term),
                    NUMBER(update->vote));
        between = "; ";
    }
    if (update->log_reset) {
        story_print(world->out, "%slog begins after %llu@%llu", between,
                    NUMBER(update->reset_index), NUMBER(update->reset_term));
        between = "; ";
    }
    for (raft_index_t index = update->persist_first; index != 0 && index <= update->persist_last;
         index++) {
        story_print(world->out, "%s", between);
        raft_world_print_entry(world->out, raft_log_entry(node->raft, index));
        between = ", ";
    }
    story_print(world->out, "\n");
}

static void say_role(struct raft_world *world, struct raft_world_node *node)
{
    struct raft_status *before = &node->status;
    struct raft_status status;
    raft_get_status(node->raft, &status);
    if (status.role != before->role || status.term != before->term ||
        status.leader != before->leader) {
        SAY(world, NODE_FORMAT "is %s of term %llu", NUMBER(node->replica),
            raft_role_name(status.role), NUMBER(status.term));
        if (status.role == RAFT_FOLLOWER && status.leader != 0)
            SAY(world, " under %llu", NUMBER(status.leader));
        SAY(world, "\n");
    }
    *before = status;
}

/* The network. */

static struct raft_world_message *message_copy(const struct raft_message *message)
{
    struct raft_world_message *copy = memory_alloc_zeroed(1, sizeof *copy);
    copy->message = *message;
    copy->message.entries = raft_entries_copy(message->entries, message->entries_count);
    return copy;
}

static void message_free(struct raft_world_message *message)
{
    raft_entries_free(message->message.entries, message->message.entries_count);
    free(message);
}

static void message_push(struct raft_world_message **list, struct raft_world_message *message)
{
    while (*list)
        list = &(*list)->next;
    *list = message;
    message->next = NULL;
}

static void message_take(struct raft_world_message **list, struct raft_world_message *message)
{
    while (*list != message)
        list = &(*list)->next;
    *list = message->next;
}

static void network_send(struct raft_world *world, const struct raft_message *message)
{
    char before[64];
    bool is_lost = world->cut[message->from][message->to];
    snprintf(before, sizeof before, NODE_FORMAT "-> %llu  ", NUMBER(message->from),
             NUMBER(message->to));
    say_message(world, before, message, is_lost ? " (lost)" : "");
    if (!is_lost)
        message_push(&world->network, message_copy(message));
}

static void node_send(struct raft_world *world, struct raft_world_node *node,
                      const struct raft_message *message)
{
    if (message->after_persist_id <= node->persisted_id) {
        network_send(world, message);
        return;
    }
    char before[64], after[64];
    snprintf(before, sizeof before, NODE_FORMAT "holds for %llu  ", NUMBER(node->replica),
             NUMBER(message->to));
    snprintf(after, sizeof after, " (until #%llu is durable)", NUMBER(message->after_persist_id));
    say_message(world, before, message, after);
    message_push(&node->held, message_copy(message));
}

static void node_release(struct raft_world *world, struct raft_world_node *node)
{
    struct raft_world_message **link = &node->held;
    while (*link) {
        struct raft_world_message *held = *link;
        if (held->message.after_persist_id > node->persisted_id) {
            link = &held->next;
            continue;
        }
        *link = held->next;
        network_send(world, &held->message);
        message_free(held);
    }
}

/* One node. */

struct raft_world_node *raft_world_node(struct raft_world *world, replica_id_t replica)
{
    ASSERT(replica >= 1 && replica <= world->nodes_count);
    return &world->nodes[replica - 1];
}

/* State machine safety (figure 3): a breach is printed, and so never what a story expects. */
static void world_apply(struct raft_world *world, const struct raft_world_node *node,
                        const struct raft_entry *entry)
{
    if (entry->index < world->applied_count) {
        const struct raft_world_applied *applied = &world->applied[entry->index];
        if (applied->meta.term != entry->term ||
            !bytes_equal(blob_bytes(applied->payload), blob_bytes(entry->payload)))
            story_print(world->out, NODE_FORMAT "BREACH: another entry was applied at %llu\n",
                        NUMBER(node->replica), NUMBER(entry->index));
        return;
    }
    ASSERT(entry->index == world->applied_count);
    if (world->applied_count == world->applied_capacity) {
        world->applied_capacity *= 2;
        world->applied =
            memory_realloc(world->applied, world->applied_capacity * sizeof *world->applied);
    }
    struct raft_world_applied *applied = &world->applied[world->applied_count];
    applied->meta = world->applied[world->applied_count - 1].meta;
    applied->meta.index = entry->index;
    applied->meta.term = entry->term;
    applied->meta.log_timestamp = entry->log_timestamp;
    if (entry->type == RAFT_ENTRY_CONFIGURATION) {
        applied->meta.configuration_index = entry->index;
        if (!raft_configuration_unpack(blob_bytes(entry->payload), &applied->meta.configuration))
            ASSERT(!"what is committed parses");
    }
    applied->payload = entry->payload ? blob_ref(entry->payload) : NULL;
    world->applied_count++;
}

static void node_apply(struct raft_world *world, struct raft_world_node *node)
{
    raft_index_t commit_index = node->update.commit_index, durable = node->update.durable_index;
    raft_index_t until = commit_index < durable ? commit_index : durable; /* R5 */
    if (until <= node->applied_index)
        return;
    SAY(world, NODE_FORMAT "applies ", NUMBER(node->replica));
    const char *between = "";
    while (node->applied_index < until) {
        const struct raft_entry *entry = raft_log_entry(node->raft, ++node->applied_index);
        world_apply(world, node, entry);
        SAY(world, "%s", between);
        if (!world->is_quiet)
            raft_world_print_entry(world->out, entry);
        between = ", ";
    }
    SAY(world, "\n");
}

static void node_drain(struct raft_world *world, struct raft_world_node *node)
{
    const struct raft_update *update = &node->update;
    raft_index_t commit_before = node->status.commit_index;
    say_role(world, node);
    say_unit(world, node);
    raft_disk_write(&node->disk, node->raft, update);
    for (uint32_t i = 0; i < update->messages_count; i++)
        node_send(world, node, &update->messages[i]);
    if (update->commit_index > commit_before)
        SAY(world, NODE_FORMAT "knows %llu to be committed\n", NUMBER(node->replica),
            NUMBER(update->commit_index));
    node_apply(world, node);
    if (update->reads_confirmed_id != 0)
        SAY(world, NODE_FORMAT "may serve reads up to #%llu once %llu is applied\n",
            NUMBER(node->replica), NUMBER(update->reads_confirmed_id),
            NUMBER(update->reads_confirmed_index));
    if (update->reads_failed_id != 0)
        SAY(world, NODE_FORMAT "gives up the reads up to #%llu\n", NUMBER(node->replica),
            NUMBER(update->reads_failed_id));
    for (uint32_t i = 0; i < update->snapshot_wanted_count; i++)
        SAY(world, NODE_FORMAT "wants a snapshot for %llu\n", NUMBER(node->replica),
            NUMBER(update->snapshot_wanted[i]));
    node->deadline_ns = update->deadline_ns;
}

int raft_world_step(struct raft_world *world, struct raft_world_node *node,
                    struct raft_event *event)
{
    raft_update_reset(&node->update);
    event->now_ns = world->now_ns;
    int status = raft_step(node->raft, event, &node->update);
    if (status != OST_OK)
        SAY(world, NODE_FORMAT "refuses: %s\n", NUMBER(node->replica), ost_status_name(status));
    node_drain(world, node);
    return status;
}

void raft_world_turn_ended(struct raft_world *world, struct raft_world_node *node)
{
    struct raft_event event = {.type = RAFT_EV_TURN_ENDED};
    (void)raft_world_step(world, node, &event);
}

int raft_world_turn(struct raft_world *world, struct raft_world_node *node,
                    struct raft_event *event)
{
    int status = raft_world_step(world, node, event);
    raft_world_turn_ended(world, node);
    return status;
}

void raft_world_persist(struct raft_world *world, struct raft_world_node *node)
{
    struct raft_event event = {.type = RAFT_EV_PERSISTED};
    event.persist_id = raft_disk_take(&node->disk);
    node->persisted_id = event.persist_id;
    SAY(world, NODE_FORMAT "#%llu is durable\n", NUMBER(node->replica), NUMBER(event.persist_id));
    node_release(world, node);
    (void)raft_world_turn(world, node, &event);
}

void raft_world_deliver(struct raft_world *world, struct raft_world_message *message)
{
    struct raft_world_node *to = raft_world_node(world, message->message.to);
    char before[64];
    message_take(&world->network, message);
    snprintf(before, sizeof before, NODE_FORMAT "<- %llu  ", NUMBER(message->message.to),
             NUMBER(message->message.from));
    say_message(world, before, &message->message, to->raft ? "" : " (it is down)");
    if (to->raft) {
        struct raft_event event = {.type = RAFT_EV_MSG_RECEIVED, .message = &message->message};
        (void)raft_world_turn(world, to, &event);
    }
    message_free(message);
}

void raft_world_drop(struct raft_world *world, struct raft_world_message *message)
{
    char before[64];
    message_take(&world->network, message);
    snprintf(before, sizeof before, "%llu -> %llu is lost: ", NUMBER(message->message.from),
             NUMBER(message->message.to));
    say_message(world, before, &message->message, "");
    message_free(message);
}

void raft_world_double(struct raft_world *world, struct raft_world_message *message)
{
    message_push(&world->network, message_copy(&message->message));
}

static struct raft_world_message *network_among(const struct raft_world *world, uint32_t nodes,
                                                enum raft_message_type type_max)
{
    struct raft_world_message *message = world->network;
    while (message && (!(nodes >> message->message.from & nodes >> message->message.to & 1) ||
                       message->message.type > type_max))
        message = message->next;
    return message;
}

static void world_settle(struct raft_world *world, uint32_t nodes, enum raft_message_type type_max)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t i = 0; i < world->nodes_count; i++) {
            struct raft_world_node *node = &world->nodes[i];
            while ((nodes >> node->replica & 1) && node->raft &&
                   raft_disk_units_count(&node->disk) != 0) {
                raft_world_persist(world, node);
                moved = true;
            }
        }
        struct raft_world_message *message = network_among(world, nodes, type_max);
        if (message) {
            raft_world_deliver(world, message);
            moved = true;
        }
    }
}

void raft_world_settle(struct raft_world *world, uint32_t nodes)
{
    world_settle(world, nodes, RAFT_MSG_SNAPSHOT_ACK);
}

void raft_world_settle_votes(struct raft_world *world, uint32_t nodes)
{
    world_settle(world, nodes, RAFT_MSG_VOTE_ANSWER);
}

static void node_fire(struct raft_world *world, struct raft_world_node *node)
{
    struct raft_event event = {.type = RAFT_EV_TIMER_FIRED};
    (void)raft_world_turn(world, node, &event);
}

void raft_world_pass(struct raft_world *world, nanoseconds_t ns, bool settle)
{
    nanoseconds_t until_ns = world->now_ns + ns;
    if (settle)
        raft_world_settle(world, RAFT_WORLD_ALL);
    for (;;) {
        struct raft_world_node *due = NULL;
        for (uint32_t i = 0; i < world->nodes_count; i++) {
            struct raft_world_node *node = &world->nodes[i];
            if (node->raft && node->deadline_ns <= until_ns &&
                (!due || node->deadline_ns < due->deadline_ns))
                due = node;
        }
        if (!due)
            break;
        if (due->deadline_ns > world->now_ns)
            world->now_ns = due->deadline_ns;
        node_fire(world, due);
        if (settle)
            raft_world_settle(world, RAFT_WORLD_ALL);
    }
    world->now_ns = until_ns;
}

void raft_world_timeout(struct raft_world *world, struct raft_world_node *node)
{
    if (node->deadline_ns > world->now_ns)
        world->now_ns = node->deadline_ns;
    node_fire(world, node);
}

/* Life. */

static void node_start(struct raft_world *world, struct raft_world_node *node)
{
    struct raft_options options = world->options;
    options.replica = node->replica;
    options.seed = node->replica;
    node->persisted_id = 0;
    node->raft = raft_disk_start(&node->disk, &options, world->now_ns);
    node->applied_index = node->disk.flushed.index;
    raft_get_status(node->raft, &node->status);
    bool was_quiet = world->is_quiet;
    world->is_quiet = true;
    raft_world_turn_ended(world, node);
    world->is_quiet = was_quiet;
}

void raft_world_crash(struct raft_world *world, struct raft_world_node *node, uint32_t units_kept)
{
    while (units_kept-- != 0 && raft_disk_units_count(&node->disk) != 0)
        SAY(world, NODE_FORMAT "#%llu had reached the disk\n", NUMBER(node->replica),
            NUMBER(raft_disk_take(&node->disk)));
    raft_disk_lose(&node->disk);
    while (node->held) {
        struct raft_world_message *held = node->held;
        node->held = held->next;
        message_free(held);
    }
    raft_free(node->raft);
    node->raft = NULL;
}

void raft_world_restart(struct raft_world *world, struct raft_world_node *node)
{
    node_start(world, node);
    const struct raft_status *status = &node->status;
    SAY(world, NODE_FORMAT "comes back in term %llu, vote %llu, log %llu..%llu, commit %llu\n",
        NUMBER(node->replica), NUMBER(status->term), NUMBER(status->vote),
        NUMBER(status->first_index), NUMBER(status->last_index), NUMBER(status->commit_index));
}

struct raft_world *raft_world_new(void)
{
    struct raft_world *world = memory_alloc_zeroed(1, sizeof *world);
    world->now_ns = NS_PER_S;
    raft_options_default(&world->options);
    world->options.heartbeat_ms = 100;
    world->options.election_timeout_ms_min = 1000;
    world->options.election_timeout_ms_max = 1000;
    return world;
}

void raft_world_begin(struct raft_world *world, uint32_t nodes_count)
{
    ASSERT(world->nodes_count == 0 && nodes_count >= 1 && nodes_count <= RAFT_WORLD_NODES_MAX);
    world->nodes_count = nodes_count;
    world->applied_capacity = 64;
    world->applied = memory_alloc_zeroed(world->applied_capacity, sizeof *world->applied);
    world->applied_count = 1;
    world->applied[0].meta.configuration = world->initial;
    for (uint32_t i = 0; i < nodes_count; i++) {
        struct raft_world_node *node = &world->nodes[i];
        node->replica = i + 1;
        raft_update_init(&node->update);
        raft_disk_init(&node->disk, &world->applied[0].meta);
        node_start(world, node);
    }
}

void raft_world_free(struct raft_world *world)
{
    for (uint32_t i = 0; i < world->nodes_count; i++) {
        struct raft_world_node *node = &world->nodes[i];
        world->is_quiet = true;
        if (node->raft)
            raft_world_crash(world, node, 0);
        raft_disk_fini(&node->disk);
        raft_update_fini(&node->update);
    }
    while (world->network) {
        struct raft_world_message *message = world->network;
        world->network = message->next;
        message_free(message);
    }
    while (world->offers) {
        struct raft_world_offer *offer = world->offers;
        world->offers = offer->next;
        free(offer);
    }
    for (size_t i = 0; i < world->applied_count; i++)
        blob_unref(world->applied[i].payload);
    free(world->applied);
    free(world);
}
