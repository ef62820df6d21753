/* raft_commands.c: the language of the stories about consensus; README.md lists it. */
#include "tests/golden/raft_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A command that is carried out. `why` is set where the line makes no sense. */
struct call {
    struct raft_world *world;
    const struct story_line *line;
    uint32_t word; /* the next */
    char *why;
};

#define NUMBER(value) ((unsigned long long)(value))

#define FAIL(call, ...) (snprintf((call)->why, STORY_WHY_BYTES, __VA_ARGS__), false)

static const char *call_word(struct call *call)
{
    return call->word < call->line->words_count ? call->line->words[call->word++] : NULL;
}

static const char *call_peek(const struct call *call)
{
    return call->word < call->line->words_count ? call->line->words[call->word] : NULL;
}

static bool text_to_number(const char *text, uint64_t max, uint64_t *out_number)
{
    char *end;
    if (!text || *text < '0' || *text > '9')
        return false;
    unsigned long long number = strtoull(text, &end, 10);
    *out_number = number;
    return *end == '\0' && number <= max;
}

static bool call_number(struct call *call, const char *what, uint64_t max, uint64_t *out_number)
{
    const char *word = call_word(call);
    if (!word)
        return FAIL(call, "%s is missing", what);
    if (!text_to_number(word, max, out_number))
        return FAIL(call, "%s is a number up to %llu, not \"%.40s\"", what, NUMBER(max), word);
    return true;
}

static bool call_node(struct call *call, struct raft_world_node **out_node)
{
    uint64_t number;
    if (!call_number(call, "a node", call->world->nodes_count, &number))
        return false;
    if (number == 0)
        return FAIL(call, "nodes are 1 to %u", call->world->nodes_count);
    *out_node = raft_world_node(call->world, number);
    return true;
}

static bool call_running(struct call *call, struct raft_world_node **out_node)
{
    if (!call_node(call, out_node))
        return false;
    return (*out_node)->raft ? true : FAIL(call, "%llu is down", NUMBER((*out_node)->replica));
}

/* "NAME=VALUE", if that is what comes next. */
static const char *call_option(struct call *call, const char *name)
{
    const char *word = call_peek(call);
    size_t count = strlen(name);
    if (!word || strncmp(word, name, count) != 0 || word[count] != '=')
        return NULL;
    call->word++;
    return word + count + 1;
}

static bool call_ended(struct call *call)
{
    const char *word = call_peek(call);
    return word ? FAIL(call, "\"%.40s\" is one word too many", word) : true;
}

/* Membership. */

typedef void (*member_fn)(struct raft_member *member);
static void member_votes(struct raft_member *member)
{
    member->voter_old = member->voter_new = true;
}
static void member_learns(struct raft_member *member)
{
    (void)member;
}

static bool members_add(struct call *call, const char *list, member_fn fn,
                        struct raft_configuration *configuration)
{
    char text[STORY_LINE_BYTES_MAX];
    char *rest = NULL;
    snprintf(text, sizeof text, "%s", list);
    for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        uint64_t replica;
        uint32_t at = 0;
        if (!text_to_number(word, call->world->nodes_count, &replica) || replica == 0)
            return FAIL(call, "\"%.40s\" is no node", word);
        while (at < configuration->members_count && configuration->members[at].replica != replica)
            at++;
        if (at == configuration->members_count)
            configuration->members[configuration->members_count++] =
                (struct raft_member){.replica = replica, .store = replica + 100};
        fn(&configuration->members[at]);
    }
    return true;
}

static bool call_configuration(struct call *call, struct raft_configuration *out_configuration)
{
    static const struct {
        const char *name;
        member_fn fn;
    } kinds[] = {{"voters", member_votes}, {"learners", member_learns}};
    *out_configuration = (struct raft_configuration){0};
    while (call_peek(call)) {
        bool found = false;
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !found; i++) {
            const char *list = call_option(call, kinds[i].name);
            found = list != NULL;
            if (list && !members_add(call, list, kinds[i].fn, out_configuration))
                return false;
        }
        if (!found)
            return FAIL(call, "voters= or learners=, not \"%.40s\"", call_peek(call));
    }
    return out_configuration->members_count ? true : FAIL(call, "voters=1,2,3 is missing");
}

static bool nodes_option(struct call *call, uint64_t *voters_count)
{
    struct raft_options *options = &call->world->options;
    struct {
        const char *name;
        uint64_t max;
        uint32_t *into;
    } const settings[] = {{"inflight", 64, &options->inflight_messages_max},
                          {"message_bytes", 1u << 20, &options->message_bytes_max},
                          {"learner_lag", 1000, &options->learner_lag_entries_max}};
    const char *text = call_option(call, "voters");
    uint64_t number;
    if (text && text_to_number(text, *voters_count, &number) && number != 0) {
        *voters_count = number;
        return true;
    }
    for (size_t i = 0; !text && i < sizeof settings / sizeof *settings; i++) {
        const char *value = call_option(call, settings[i].name);
        if (value && text_to_number(value, settings[i].max, &number) && number != 0) {
            *settings[i].into = (uint32_t)number;
            return true;
        }
    }
    return FAIL(call, "nodes COUNT [voters=K] [inflight=K] [message_bytes=K] [learner_lag=K]");
}

static bool command_nodes(struct call *call)
{
    struct raft_world *world = call->world;
    uint64_t count, voters_count;
    if (world->nodes_count != 0)
        return FAIL(call, "there are nodes already");
    if (!call_number(call, "how many nodes", RAFT_WORLD_NODES_MAX, &count))
        return false;
    if (count == 0)
        return FAIL(call, "at least one node");
    voters_count = count;
    while (call_peek(call)) {
        if (!nodes_option(call, &voters_count))
            return false;
    }
    for (uint32_t i = 0; i < voters_count; i++)
        world->initial.members[world->initial.members_count++] = (struct raft_member){
            .replica = i + 1, .store = i + 101, .voter_old = true, .voter_new = true};
    raft_world_begin(world, (uint32_t)count);
    return true;
}

static bool command_configure(struct call *call)
{
    struct raft_world_node *node;
    struct raft_configuration target;
    struct raft_event event = {.type = RAFT_EV_CONFIGURATION_PROPOSED};
    if (!call_running(call, &node) || !call_configuration(call, &target))
        return false;
    event.configure.target = &target;
    (void)raft_world_turn(call->world, node, &event);
    return true;
}

/* Time. */

static bool command_timeout(struct call *call)
{
    struct raft_world_node *node;
    if (!call_running(call, &node))
        return false;
    raft_world_timeout(call->world, node);
    return true;
}

/* Nodes, up to the end of the line; all when none is named. */
static bool call_set(struct call *call, uint32_t *out_nodes)
{
    struct raft_world_node *node;
    *out_nodes = call_peek(call) ? 0 : RAFT_WORLD_ALL;
    while (call_peek(call)) {
        if (!call_node(call, &node))
            return false;
        *out_nodes |= 1u << node->replica;
    }
    return true;
}

static bool call_election(struct call *call,
                          void (*settle)(struct raft_world *world, uint32_t nodes))
{
    struct raft_world_node *node;
    uint32_t nodes;
    if (!call_running(call, &node))
        return false;
    if (call_peek(call) && strcmp(call_peek(call), "with") == 0)
        call->word++;
    else if (!call_ended(call))
        return false;
    if (!call_set(call, &nodes))
        return false;
    raft_world_timeout(call->world, node);
    settle(call->world, nodes | 1u << node->replica);
    return true;
}

static bool command_elect(struct call *call)
{
    return call_election(call, raft_world_settle);
}
static bool command_vote(struct call *call)
{
    return call_election(call, raft_world_settle_votes);
}

static bool command_pass(struct call *call)
{
    uint64_t ms;
    if (!call_number(call, "milliseconds", 100000, &ms))
        return false;
    raft_world_pass(call->world, ms * NS_PER_MS, false);
    return true;
}

static bool command_run(struct call *call)
{
    uint64_t ms;
    if (!call_number(call, "milliseconds", 100000, &ms))
        return false;
    raft_world_pass(call->world, ms * NS_PER_MS, true);
    return true;
}

static bool command_settle(struct call *call)
{
    uint32_t nodes;
    if (!call_set(call, &nodes))
        return false;
    raft_world_settle(call->world, nodes);
    return true;
}

/* What users of a core do. */

static bool command_propose(struct call *call)
{
    struct raft_world_node *node;
    if (!call_running(call, &node))
        return false;
    if (!call_peek(call))
        return FAIL(call, "what is proposed is missing");
    while (call_peek(call)) {
        struct raft_event event = {.type = RAFT_EV_PROPOSED};
        event.propose.entry_type = RAFT_ENTRY_COMMAND;
        event.propose.payload = blob_copy(bytes_of_string(call_word(call)));
        (void)raft_world_step(call->world, node, &event);
        blob_unref(event.propose.payload);
    }
    raft_world_turn_ended(call->world, node);
    return true;
}

static bool command_read(struct call *call)
{
    struct raft_world_node *node;
    struct raft_event event = {.type = RAFT_EV_READ_REQUESTED};
    if (!call_running(call, &node))
        return false;
    if (raft_world_step(call->world, node, &event) == OST_OK && !call->world->is_quiet)
        story_print(call->world->out, "%llu  takes read #%llu\n", NUMBER(node->replica),
                    NUMBER(node->update.read_id));
    raft_world_turn_ended(call->world, node);
    return true;
}

static bool command_transfer(struct call *call)
{
    struct raft_world_node *node;
    struct raft_event event = {.type = RAFT_EV_TRANSFER};
    if (!call_running(call, &node) ||
        !call_number(call, "the target (0: any)", RAFT_WORLD_NODES_MAX, &event.transfer_to))
        return false;
    (void)raft_world_turn(call->world, node, &event);
    return true;
}

static bool command_disk(struct call *call)
{
    struct raft_world_node *node;
    struct raft_event event = {.type = RAFT_EV_STORAGE_SLOW};
    if (!call_running(call, &node))
        return false;
    const char *word = call_word(call);
    if (!word || (strcmp(word, "slow") != 0 && strcmp(word, "fine") != 0))
        return FAIL(call, "a disk is slow or fine");
    event.slow = strcmp(word, "slow") == 0;
    (void)raft_world_turn(call->world, node, &event);
    return true;
}

/* Messages. */

struct selection {
    replica_id_t from, to; /* 0: any */
    uint64_t nth;          /* 0: all */
};

static bool call_end(struct call *call, replica_id_t *out_replica)
{
    struct raft_world_node *node;
    *out_replica = 0;
    if (call_peek(call) && strcmp(call_peek(call), "*") == 0) {
        call->word++;
        return true;
    }
    if (!call_node(call, &node))
        return false;
    *out_replica = node->replica;
    return true;
}

static bool call_selection(struct call *call, struct selection *out_selection)
{
    *out_selection = (struct selection){0};
    if (!call_peek(call))
        return true;
    if (!call_end(call, &out_selection->from) || !call_end(call, &out_selection->to))
        return false;
    if (!call_peek(call))
        return true;
    if (strcmp(call_peek(call), "nth") != 0)
        return FAIL(call, "nth K, not \"%.40s\"", call_peek(call));
    call->word++;
    if (!call_number(call, "which one", 1000, &out_selection->nth))
        return false;
    return out_selection->nth ? true : FAIL(call, "the first is nth 1");
}

/* Does `fn` to those that lie in the network now, not to what comes of that. Who names an end means
 * a message that is there. */
static bool selection_each(struct call *call, const struct selection *selection,
                           void (*fn)(struct raft_world *, struct raft_world_message *))
{
    struct raft_world_message *chosen[1024];
    size_t chosen_count = 0;
    uint64_t seen = 0;
    for (struct raft_world_message *message = call->world->network; message;
         message = message->next) {
        if ((selection->from && selection->from != message->message.from) ||
            (selection->to && selection->to != message->message.to))
            continue;
        if ((selection->nth && ++seen != selection->nth) ||
            chosen_count == sizeof chosen / sizeof *chosen)
            continue;
        chosen[chosen_count++] = message;
    }
    if (chosen_count == 0 && (selection->from || selection->to || selection->nth))
        return FAIL(call, "there is no such message in the network");
    for (size_t i = 0; i < chosen_count; i++)
        fn(call->world, chosen[i]);
    return true;
}

static bool command_deliver(struct call *call)
{
    struct selection selection;
    return call_selection(call, &selection) && selection_each(call, &selection, raft_world_deliver);
}

static bool command_drop(struct call *call)
{
    struct selection selection;
    return call_selection(call, &selection) && selection_each(call, &selection, raft_world_drop);
}

static bool command_double(struct call *call)
{
    struct selection selection;
    return call_selection(call, &selection) && selection_each(call, &selection, raft_world_double);
}

static bool link_set(struct call *call, bool cut)
{
    struct raft_world_node *from, *to;
    if (!call_node(call, &from) || !call_node(call, &to))
        return false;
    call->world->cut[from->replica][to->replica] = cut;
    return true;
}
static bool command_cut(struct call *call)
{
    return link_set(call, true);
}
static bool command_join(struct call *call)
{
    return link_set(call, false);
}

static bool command_isolate(struct call *call)
{
    struct raft_world_node *node;
    if (!call_node(call, &node))
        return false;
    for (replica_id_t other = 1; other <= call->world->nodes_count; other++)
        call->world->cut[node->replica][other] = call->world->cut[other][node->replica] = true;
    return true;
}

static bool command_heal(struct call *call)
{
    memset(call->world->cut, 0, sizeof call->world->cut);
    return true;
}

static bool command_reset(struct call *call)
{
    struct raft_world_node *node, *peer;
    struct raft_event event = {.type = RAFT_EV_PEER_RESET};
    if (!call_running(call, &node) || !call_node(call, &peer))
        return false;
    event.peer_store = peer->replica + 100;
    (void)raft_world_turn(call->world, node, &event);
    return true;
}

/* Disks and lives. */

static bool command_persist(struct call *call)
{
    struct raft_world_node *node;
    if (!call_running(call, &node))
        return false;
    uint32_t units_count = raft_disk_units_count(&node->disk);
    uint64_t count = units_count;
    if (units_count == 0)
        return FAIL(call, "%llu has nothing to persist", NUMBER(node->replica));
    if (call_peek(call) && !call_number(call, "how many units", units_count, &count))
        return false;
    while (count-- != 0)
        raft_world_persist(call->world, node);
    return true;
}

static bool command_crash(struct call *call)
{
    struct raft_world_node *node;
    uint64_t kept = 0;
    if (!call_running(call, &node))
        return false;
    const char *text = call_option(call, "kept");
    if (text && !text_to_number(text, 1000, &kept))
        return FAIL(call, "kept=UNITS");
    raft_world_crash(call->world, node, (uint32_t)kept);
    return true;
}

static bool command_restart(struct call *call)
{
    struct raft_world_node *node;
    if (!call_node(call, &node))
        return false;
    if (node->raft)
        return FAIL(call, "%llu is up", NUMBER(node->replica));
    raft_world_restart(call->world, node);
    return true;
}

static bool command_compact(struct call *call)
{
    struct raft_world_node *node;
    struct raft_event event = {.type = RAFT_EV_LOG_CUT};
    if (!call_running(call, &node) || !call_number(call, "an index", UINT32_MAX, &event.cut_index))
        return false;
    if (event.cut_index <= node->applied_index && event.cut_index > node->disk.flushed.index)
        raft_disk_flush(&node->disk, &call->world->applied[event.cut_index].meta);
    (void)raft_world_turn(call->world, node, &event);
    return true;
}

/* Snapshots: streaming them is the host's part, so a story says how far it has come. */

static bool snapshot_offer(struct call *call, struct raft_world_node *from,
                           struct raft_world_node *to)
{
    struct raft_world_offer *offer = calloc(1, sizeof *offer);
    struct raft_world_offer **link = &call->world->offers;
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_OFFERED};
    ASSERT(offer);
    *offer = (struct raft_world_offer){.from = from->replica, .to = to->replica};
    offer->term = from->status.term;
    offer->meta = call->world->applied[from->applied_index].meta;
    event.snapshot.term = offer->term;
    event.snapshot.from = from->replica;
    event.snapshot.meta = &offer->meta;
    if (!call->world->is_quiet)
        story_print(call->world->out, "%llu  is offered a snapshot of %llu@%llu\n",
                    NUMBER(to->replica), NUMBER(offer->meta.index), NUMBER(offer->meta.term));
    if (raft_world_turn(call->world, to, &event) != OST_OK) {
        free(offer);
        return true;
    }
    while (*link)
        link = &(*link)->next;
    *link = offer;
    return true;
}

static bool snapshot_install(struct call *call, struct raft_world_node *from,
                             struct raft_world_node *to)
{
    struct raft_world_offer **link = &call->world->offers;
    uint64_t index = 0; /* the first that was offered */
    if (call_peek(call) && !call_number(call, "its index", UINT32_MAX, &index))
        return false;
    while (*link && ((*link)->from != from->replica || (*link)->to != to->replica ||
                     (index && (*link)->meta.index != index)))
        link = &(*link)->next;
    struct raft_world_offer *offer = *link;
    if (!offer)
        return FAIL(call, "%llu was offered no snapshot by %llu", NUMBER(to->replica),
                    NUMBER(from->replica));
    *link = offer->next;
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_INSTALLED};
    struct raft_snapshot_meta flushed_before = to->disk.flushed;
    raft_index_t applied_before = to->applied_index;
    event.snapshot.term = offer->term;
    event.snapshot.from = offer->from;
    event.snapshot.meta = &offer->meta;
    /* The state is durable before the core hears of it. */
    if (offer->meta.index > flushed_before.index)
        to->disk.flushed = offer->meta;
    if (offer->meta.index > applied_before)
        to->applied_index = offer->meta.index;
    if (!call->world->is_quiet)
        story_print(call->world->out, "%llu  has installed the snapshot of %llu@%llu\n",
                    NUMBER(to->replica), NUMBER(offer->meta.index), NUMBER(offer->meta.term));
    if (raft_world_turn(call->world, to, &event) != OST_OK) {
        to->disk.flushed = flushed_before;
        to->applied_index = applied_before;
    }
    free(offer);
    return true;
}

static bool command_snapshot(struct call *call)
{
    struct raft_world_node *from, *to;
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_SENT};
    const char *what = call_word(call);
    if (!what)
        return FAIL(call, "snapshot offer, install, sent or failed");
    bool is_report = strcmp(what, "sent") == 0 || strcmp(what, "failed") == 0;
    if (!is_report && strcmp(what, "offer") != 0 && strcmp(what, "install") != 0)
        return FAIL(call, "snapshot offer, install, sent or failed, not \"%.40s\"", what);
    if (!call_node(call, &from) || !call_node(call, &to))
        return false;
    struct raft_world_node *acts = is_report ? from : to;
    if (!acts->raft)
        return FAIL(call, "%llu is down", NUMBER(acts->replica));
    if (strcmp(what, "offer") == 0)
        return from->raft ? snapshot_offer(call, from, to)
                          : FAIL(call, "%llu is down", NUMBER(from->replica));
    if (strcmp(what, "install") == 0)
        return snapshot_install(call, from, to);
    event.snapshot_sent.replica = to->replica;
    if (strcmp(what, "sent") == 0 &&
        !call_number(call, "its index", UINT32_MAX, &event.snapshot_sent.index))
        return false;
    (void)raft_world_turn(call->world, from, &event);
    return true;
}

/* Looking. */

static void print_state(struct raft_world *world, struct raft_world_node *node)
{
    struct raft_status status;
    if (!node->raft) {
        story_print(world->out, "%llu  is down\n", NUMBER(node->replica));
        return;
    }
    raft_get_status(node->raft, &status);
    story_print(world->out,
                "%llu  %s, term %llu, vote %llu, leader %llu, log %llu..%llu, durable %llu, "
                "commit %llu, applied %llu\n",
                NUMBER(node->replica), raft_role_name(status.role), NUMBER(status.term),
                NUMBER(status.vote), NUMBER(status.leader), NUMBER(status.first_index),
                NUMBER(status.last_index), NUMBER(status.durable_index),
                NUMBER(status.commit_index), NUMBER(node->applied_index));
}

static bool command_state(struct call *call)
{
    struct raft_world_node *node;
    if (call_peek(call) == NULL) {
        for (uint32_t i = 0; i < call->world->nodes_count; i++)
            print_state(call->world, &call->world->nodes[i]);
        return true;
    }
    while (call_peek(call)) {
        if (!call_node(call, &node))
            return false;
        print_state(call->world, node);
    }
    return true;
}

static void print_entries(struct raft_world *world, const struct raft_entry *entries, size_t count,
                          raft_index_t base_index)
{
    if (base_index != 0)
        story_print(world->out, " (cut up to %llu)", NUMBER(base_index));
    for (size_t i = 0; i < count; i++) {
        story_print(world->out, "%s", i ? ", " : " ");
        raft_world_print_entry(world->out, &entries[i]);
    }
    story_print(world->out, count ? "\n" : " nothing\n");
}

static bool command_log(struct call *call)
{
    struct raft_world_node *node;
    if (!call_running(call, &node))
        return false;
    struct raft_status status;
    raft_get_status(node->raft, &status);
    story_print(call->world->out, "%llu  log:", NUMBER(node->replica));
    print_entries(call->world, raft_log_entry(node->raft, status.first_index),
                  (size_t)(status.last_index + 1 - status.first_index), status.first_index - 1);
    return true;
}

static bool command_durable(struct call *call)
{
    struct raft_world_node *node;
    if (!call_node(call, &node))
        return false;
    const struct raft_disk *disk = &node->disk;
    story_print(call->world->out,
                "%llu  on disk: term %llu, vote %llu, log:", NUMBER(node->replica),
                NUMBER(disk->term), NUMBER(disk->vote));
    print_entries(call->world, raft_log_get(&disk->log, raft_log_first_index(&disk->log)),
                  disk->log.entries_count, disk->log.base_index);
    return true;
}

static bool command_network(struct call *call)
{
    for (struct raft_world_message *message = call->world->network; message;
         message = message->next) {
        story_print(call->world->out, "%llu -> %llu  ", NUMBER(message->message.from),
                    NUMBER(message->message.to));
        raft_world_print_message(call->world->out, &message->message);
        story_print(call->world->out, "\n");
    }
    return true;
}

static bool command_configuration(struct call *call)
{
    struct raft_world_node *node;
    if (!call_running(call, &node))
        return false;
    story_print(call->world->out, "%llu  ", NUMBER(node->replica));
    raft_world_print_configuration(call->world->out, raft_get_configuration(node->raft));
    story_print(call->world->out, ", since %llu\n", NUMBER(raft_configuration_index(node->raft)));
    return true;
}

static const struct {
    const char *name;
    bool (*fn)(struct call *call);
} commands[] = {
    {"nodes", command_nodes},       {"configure", command_configure},
    {"timeout", command_timeout},   {"elect", command_elect},
    {"vote", command_vote},         {"pass", command_pass},
    {"run", command_run},           {"settle", command_settle},
    {"propose", command_propose},   {"read", command_read},
    {"transfer", command_transfer}, {"disk", command_disk},
    {"deliver", command_deliver},   {"drop", command_drop},
    {"double", command_double},     {"cut", command_cut},
    {"join", command_join},         {"isolate", command_isolate},
    {"heal", command_heal},         {"reset", command_reset},
    {"persist", command_persist},   {"crash", command_crash},
    {"restart", command_restart},   {"compact", command_compact},
    {"snapshot", command_snapshot}, {"state", command_state},
    {"log", command_log},           {"durable", command_durable},
    {"network", command_network},   {"members", command_configuration},
};

bool raft_world_command(void *context, const struct story_line *line, struct buffer *out,
                        char *out_why)
{
    struct call call = {.world = context, .line = line, .why = out_why};
    const char *name = call_word(&call);
    bool is_quiet = name && strcmp(name, "quietly") == 0;
    if (is_quiet)
        name = call_word(&call);
    if (!name)
        return FAIL(&call, "quietly what?");
    call.world->out = out;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        if (call.world->nodes_count == 0 && commands[i].fn != command_nodes)
            return FAIL(&call, "a story begins with nodes COUNT");
        call.world->is_quiet = is_quiet;
        return commands[i].fn(&call) && call_ended(&call);
    }
    return FAIL(&call, "there is no command \"%.40s\"", name);
}
