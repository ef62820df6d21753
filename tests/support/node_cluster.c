#include "tests/support/node_cluster.h"

#include "base/log.h"
#include "base/memory.h"
#include "shardmaster/master_replicas.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SEGMENT_BYTES       (1u << 20)
#define WALL_MS             UINT64_C(1700000000000)
#define VALUE_BYTES         64u
#define READS_UNDER_WAY_MAX 64u

/* A connection: two ends, each with an id of its own. */
struct cluster_link {
    size_t ends[2];
    uint64_t ids[2];
    bool is_open;
};

/* --- The network --- */

static void packet_send(struct node_cluster *cluster, struct cluster_packet packet)
{
    if (cluster->packets_count == cluster->packets_capacity) {
        cluster->packets_capacity = 2 * cluster->packets_capacity + 64;
        cluster->packets =
            memory_realloc(cluster->packets, cluster->packets_capacity * sizeof(packet));
    }
    cluster->packets[cluster->packets_count++] = packet;
}

static struct cluster_link *link_find(struct node_cluster *cluster, size_t end, uint64_t id,
                                      size_t *out_other)
{
    for (size_t index = 0; index < cluster->links_count; index++)
        for (size_t side = 0; side < 2; side++)
            if (cluster->links[index].is_open && cluster->links[index].ends[side] == end &&
                cluster->links[index].ids[side] == id) {
                *out_other = 1 - side;
                return &cluster->links[index];
            }
    return NULL;
}

static bool end_is_reachable(const struct node_cluster *cluster, size_t end)
{
    return end >= CLUSTER_NODES_MAX || (cluster->nodes[end].is_up && !cluster->nodes[end].is_cut);
}

/* Both ends hear of it, but not one that is `gone`. */
static void link_close(struct node_cluster *cluster, struct cluster_link *link, size_t gone)
{
    link->is_open = false;
    for (size_t side = 0; side < 2; side++)
        if (link->ends[side] != gone)
            packet_send(cluster, (struct cluster_packet){.to = link->ends[side],
                                                         .connection_id = link->ids[side],
                                                         .type = NODE_EV_CLOSED});
}

static uint64_t link_open(struct node_cluster *cluster, size_t from, const char *address)
{
    size_t to = strtoul(address + 2, NULL, 10) - 1;
    uint64_t id = ++cluster->connection_id;
    if (!end_is_reachable(cluster, to) || !end_is_reachable(cluster, from)) {
        packet_send(cluster, (struct cluster_packet){.to = from,
                                                     .connection_id = id,
                                                     .type = NODE_EV_CONNECTED,
                                                     .status = OST_DISCONNECTED});
        return id;
    }
    if (cluster->links_count == cluster->links_capacity) {
        cluster->links_capacity = 2 * cluster->links_capacity + 64;
        cluster->links =
            memory_realloc(cluster->links, cluster->links_capacity * sizeof(cluster->links[0]));
    }
    struct cluster_link link = {
        .ends = {from, to}, .ids = {id, ++cluster->connection_id}, .is_open = true};
    cluster->links[cluster->links_count++] = link;
    packet_send(cluster, (struct cluster_packet){
                             .to = to, .connection_id = link.ids[1], .type = NODE_EV_ACCEPTED});
    packet_send(cluster, (struct cluster_packet){
                             .to = from, .connection_id = link.ids[0], .type = NODE_EV_CONNECTED});
    return id;
}

static void frame_send(struct node_cluster *cluster, size_t from, uint64_t id, struct blob *frame)
{
    size_t other;
    struct cluster_link *link = link_find(cluster, from, id, &other);
    if (!link)
        return;
    packet_send(cluster, (struct cluster_packet){.to = link->ends[other],
                                                 .connection_id = link->ids[other],
                                                 .type = NODE_EV_FRAME,
                                                 .frame = blob_ref(frame)});
}

static void close_side(struct node_cluster *cluster, size_t end, uint64_t id)
{
    size_t other;
    struct cluster_link *link = link_find(cluster, end, id, &other);
    if (link)
        link_close(cluster, link, end);
}

static void links_close_all(struct node_cluster *cluster, size_t end, bool is_gone)
{
    for (size_t index = 0; index < cluster->links_count; index++) {
        struct cluster_link *link = &cluster->links[index];
        if (link->is_open && (link->ends[0] == end || link->ends[1] == end))
            link_close(cluster, link, is_gone ? end : SIZE_MAX);
    }
}

/* --- A store --- */

static void node_event(struct cluster_node *host, struct node_event event)
{
    event.now_ns = host->cluster->now_ns;
    event.wall_ms = WALL_MS + host->cluster->now_ns / NS_PER_MS;
    node_step(host->node, &event);
}

static void node_carry_out(struct cluster_node *host)
{
    struct node_cluster *cluster = host->cluster;
    struct node_update *update = node_update(host->node);
    size_t place = host->id - 1;
    cr_assert(!update->fatal || cluster->takes_fatal, "store %lu: %s", host->id, update->fatal);
    for (uint32_t index = 0; index < update->raft.log_operations_count; index++) {
        const struct log_operation *operation = &update->raft.log_operations[index];
        cr_assert_lt(host->operations_count, 64);
        uint8_t *data = NULL;
        if (operation->type == LOG_OPERATION_WRITE) {
            data = memory_alloc(operation->bytes_count);
            memcpy(data, operation->data, operation->bytes_count);
        }
        host->operation_data[host->operations_count] = data;
        host->operations[host->operations_count++] = *operation;
    }
    for (size_t index = 0; index < update->frames.items_count; index++)
        frame_send(cluster, place, update->frames.items[index].to.id,
                   update->frames.items[index].frame);
    struct job **lists[] = {&update->raft.jobs, &update->jobs};
    for (size_t list = 0; list < 2; list++)
        for (struct job *job = *lists[list], *next; job; job = next) {
            next = job->next;
            job->next = host->jobs;
            host->jobs = job;
        }
    for (uint32_t index = 0; index < update->closes_count; index++)
        close_side(cluster, place, update->closes[index].connection_id);
    for (uint32_t index = 0; index < update->connects_count; index++)
        node_connect_begun(host->node, update->connects[index].store,
                           update->connects[index].channel,
                           link_open(cluster, place, update->connects[index].address));
    node_update_reset(host->node);
}

static void node_disk(struct cluster_node *host)
{
    size_t count = host->operations_count;
    struct log_operation done[64];
    for (size_t index = 0; index < count; index++) {
        struct log_operation *operation = &host->operations[index];
        cr_assert_lt(operation->segment, CLUSTER_SEGMENTS_MAX);
        uint8_t **segment = &host->segments[operation->segment];
        if (operation->type == LOG_OPERATION_CREATE) {
            *segment = memory_alloc_zeroed(1, SEGMENT_BYTES);
        } else if (operation->type == LOG_OPERATION_RETIRE) {
            free(*segment);
            *segment = NULL;
        } else {
            memcpy(*segment + operation->offset, host->operation_data[index],
                   operation->bytes_count);
        }
        free(host->operation_data[index]);
        done[index] = *operation;
    }
    host->operations_count = 0;
    for (size_t index = 0; index < count; index++)
        node_event(host,
                   (struct node_event){.type = NODE_EV_LOG_DONE, .log_operation = done[index]});
    struct job *jobs = host->jobs;
    host->jobs = NULL;
    for (struct job *job = jobs, *next; job; job = next) {
        next = job->next;
        job->run(job);
        node_event(host, (struct node_event){.type = NODE_EV_JOB_DONE, .job = job});
    }
}

static void node_init(struct node_cluster *cluster, size_t place)
{
    snprintf(cluster->addresses[place], sizeof(cluster->addresses[place]), "s:%zu", place + 1);
    cluster->nodes[place].cluster = cluster;
    cluster->nodes[place].id = place + 1;
}

void nodes_start(struct node_cluster *cluster, store_id_t store)
{
    struct cluster_node *host = nodes_node(cluster, store);
    cr_assert_not(host->is_up);
    struct node_options options = cluster->options;
    options.raft.store = store;
    if (host->joins) {
        options.cluster_id &= ~UINT64_C(0xffffffff); /* the name is all that it knows */
        options.master.initial_stores_count = 0;
        for (size_t place = 0; place < cluster->nodes_count; place++)
            if (place + 1 != store)
                host->join_addresses[options.join_addresses_count++] =
                    cluster->joins_nowhere ? "s:6" : cluster->addresses[place];
        options.join_addresses = host->join_addresses;
    }
    options.advertise_address = cluster->addresses[store - 1];
    options.seed = store * 1000 + ++host->starts_count;
    host->metrics = (struct metrics){0};
    if (!host->store)
        host->store = store_new_memory();
    host->node = node_new(&options, host->store, &host->metrics);
    struct raft_host *raft = node_raft_host(host->node);
    char why[512] = "";
    for (uint32_t segment = 0; segment < CLUSTER_SEGMENTS_MAX; segment++)
        if (host->segments[segment])
            cr_assert_eq(raft_host_recover_segment(
                             raft, segment, bytes_of(host->segments[segment], SEGMENT_BYTES), why),
                         OST_OK, "%s", why);
    cr_assert_eq(raft_host_recover_end(raft, why), OST_OK, "%s", why);
    cr_assert_eq(node_load(host->node, cluster->now_ns, why), OST_OK, "store %lu: %s", store, why);
    host->is_up = true;
}

store_id_t nodes_join(struct node_cluster *cluster)
{
    size_t place = cluster->nodes_count++;
    cr_assert_lt(place, CLUSTER_NODES_MAX);
    node_init(cluster, place);
    cluster->nodes[place].joins = true;
    nodes_start(cluster, place + 1);
    return place + 1;
}

static void node_stop(struct cluster_node *host)
{
    /* As a process does it: every job is run to its end. */
    struct node_update *update = node_update(host->node);
    for (;;) {
        struct job **list = host->jobs     ? &host->jobs
                            : update->jobs ? &update->jobs
                                           : &update->raft.jobs;
        struct job *job = *list;
        if (!job)
            break;
        *list = job->next;
        job->next = NULL;
        job->run(job);
        node_event(host, (struct node_event){.type = NODE_EV_JOB_DONE, .job = job});
    }
    node_free(host->node);
    host->node = NULL;
    for (size_t index = 0; index < host->operations_count; index++)
        free(host->operation_data[index]);
    host->operations_count = 0;
    host->is_up = false;
}

void nodes_crash(struct node_cluster *cluster, store_id_t store)
{
    struct cluster_node *host = nodes_node(cluster, store);
    cr_assert(host->is_up);
    node_stop(host);
    store_memory_crash(host->store);
    links_close_all(cluster, store - 1, true);
}

static void disk_free(struct cluster_node *host)
{
    for (size_t segment = 0; segment < CLUSTER_SEGMENTS_MAX; segment++) {
        free(host->segments[segment]);
        host->segments[segment] = NULL;
    }
    if (host->store)
        store_close(host->store);
    host->store = NULL;
}

void nodes_wipe(struct node_cluster *cluster, store_id_t store)
{
    struct cluster_node *host = nodes_node(cluster, store);
    cr_assert_not(host->is_up);
    disk_free(host);
}

/* In the middle of the first segment: what comes later says that it was durable. */
void nodes_damage(struct node_cluster *cluster, store_id_t store)
{
    struct cluster_node *host = nodes_node(cluster, store);
    cr_assert_not(host->is_up);
    for (size_t segment = 0; segment < CLUSTER_SEGMENTS_MAX; segment++) {
        if (!host->segments[segment])
            continue;
        size_t used = SEGMENT_BYTES;
        while (used > 0 && host->segments[segment][used - 1] == 0)
            used--;
        size_t half = used / 2 / 4096 * 4096;
        for (size_t offset = half; offset < half + 8192 && offset < used; offset++)
            host->segments[segment][offset] ^= 0x5a;
        return;
    }
}

void nodes_cut(struct node_cluster *cluster, store_id_t store, bool is_cut)
{
    nodes_node(cluster, store)->is_cut = is_cut;
    if (is_cut)
        links_close_all(cluster, store - 1, false);
}

/* --- The client --- */

static void client_carry_out(struct node_cluster *cluster)
{
    struct client_update *update = client_core_update(cluster->client);
    size_t place = CLUSTER_CLIENT;
    for (uint32_t index = 0; index < update->connects_count; index++)
        client_core_connect_begun(cluster->client, update->connects[index].peer,
                                  link_open(cluster, place, update->connects[index].address));
    for (size_t index = 0; index < update->frames.items_count; index++)
        frame_send(cluster, place, update->frames.items[index].to.id,
                   update->frames.items[index].frame);
    for (uint32_t index = 0; index < update->closes_count; index++)
        close_side(cluster, place, update->closes[index]);
    struct operation *operation;
    while ((operation = STAILQ_FIRST(&update->completions))) {
        STAILQ_REMOVE_HEAD(&update->completions, next);
        operation->done(operation);
    }
    client_core_update_reset(cluster->client);
}

static void client_event(struct node_cluster *cluster, struct client_event event)
{
    event.now_ns = cluster->now_ns;
    client_core_step(cluster->client, &event);
    client_carry_out(cluster);
}

static void client_submit(struct node_cluster *cluster, struct operation *operation,
                          void (*done)(struct operation *operation))
{
    operation->done = done;
    operation->done_context[0] = cluster;
    client_event(cluster,
                 (struct client_event){.type = CLIENT_EV_SUBMITTED, .operation = operation});
}

static struct bytes key_of(uint32_t number, char *out)
{
    /* Both halves of the key space. */
    return bytes_of(out, (size_t)snprintf(out, 16, "%c%05u", number % 2 ? 'a' : 'z', number));
}

static void write_done(struct operation *operation)
{
    struct node_cluster *cluster = operation->done_context[0];
    if (operation->status == OST_OK) {
        cluster->is_acknowledged[cluster->written_count] = true;
        cluster->acknowledged_count++;
    }
    cluster->written_count++;
    cluster->is_writing = false;
    operation_free(operation);
}

static void write_next(struct node_cluster *cluster)
{
    if (!cluster->writes || cluster->is_writing || cluster->written_count == CLUSTER_KEYS_MAX)
        return;
    char key[16];
    char value[VALUE_BYTES];
    memset(value, 'v', sizeof(value));
    struct operation *operation = operation_new(
        OPERATION_WRITE, key_of(cluster->written_count, key), bytes_of(value, sizeof(value)));
    operation->write_kind = WRITE_PUT;
    cluster->is_writing = true;
    client_submit(cluster, operation, write_done);
}

static void read_done(struct operation *operation)
{
    struct node_cluster *cluster = operation->done_context[0];
    cluster->reads_under_way--;
    cluster->reads_count += operation->status == OST_OK;
    operation_free(operation);
}

static void reads_begin(struct node_cluster *cluster)
{
    for (uint32_t index = 0; index < cluster->reads_per_step; index++) {
        uint32_t written = cluster->written_count / 2;
        if (written == 0 || cluster->reads_under_way >= READS_UNDER_WAY_MAX)
            return;
        char key[16];
        uint32_t number = 2 * (uint32_t)random_below(&cluster->random, written);
        cluster->reads_under_way++;
        client_submit(cluster, operation_new(OPERATION_GET, key_of(number, key), bytes_of(NULL, 0)),
                      read_done);
    }
}

static void operation_done(struct operation *operation)
{
    struct node_cluster *cluster = operation->done_context[0];
    cluster->is_done = true;
    cluster->status = operation->status;
    const Ostraka__ChangeReplicasAnswer *answer = operation->result_change;
    snprintf(cluster->why, sizeof(cluster->why), "%s", answer && answer->text ? answer->text : "");
    operation_free(operation);
}

static int operation_run(struct node_cluster *cluster, struct operation *operation)
{
    cluster->is_done = false;
    client_submit(cluster, operation, operation_done);
    for (uint32_t ms = 0; ms < 20000 && !cluster->is_done; ms++)
        nodes_step(cluster);
    cr_assert(cluster->is_done);
    return cluster->status;
}

int nodes_change(struct node_cluster *cluster, group_id_t group, store_id_t add, store_id_t remove)
{
    struct operation *operation =
        operation_new(OPERATION_CHANGE_REPLICAS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    uint64_t epoch = nodes_group(cluster, group)->epoch;
    operation->group = group;
    operation->group_epoch = epoch;
    operation->add_store = add;
    operation->remove_store = remove;
    int status = operation_run(cluster, operation);
    for (uint32_t ms = 0; status == OST_OK && nodes_group(cluster, group)->epoch == epoch; ms++) {
        cr_assert_lt(ms, 20000, "the map does not say what was answered");
        nodes_step(cluster);
    }
    return status;
}

void nodes_check_writes(struct node_cluster *cluster)
{
    cluster->writes = false;
    for (uint32_t ms = 0; ms < 20000 && cluster->is_writing; ms++)
        nodes_step(cluster);
    cr_assert_not(cluster->is_writing);
    for (uint32_t number = 0; number < cluster->written_count; number++) {
        if (!cluster->is_acknowledged[number])
            continue;
        char key[16];
        int status = operation_run(
            cluster, operation_new(OPERATION_GET, key_of(number, key), bytes_of(NULL, 0)));
        cr_assert_eq(status, OST_OK, "the acknowledged write %u is gone: %s", number,
                     ost_status_text(status));
    }
}

/* --- A person --- */

static void person_hears(struct node_cluster *cluster, const struct frame *frame)
{
    if (frame->type != FRAME_CHANGE_STORE_ANSWER)
        return;
    cluster->person_answer = (void *)message_unpack(&ostraka__change_store_answer__descriptor,
                                                    frame->message, &cluster->person_arena);
    cr_assert(cluster->person_answer);
}

static void person_send(struct node_cluster *cluster, uint64_t id, unsigned type,
                        const ProtobufCMessage *message)
{
    struct blob *frame = frame_encode(type, 1, message, NULL, 0);
    frame_send(cluster, CLUSTER_PERSON, id, frame);
    blob_unref(frame);
}

int nodes_change_store(struct node_cluster *cluster, Ostraka__StoreChangeKind kind,
                       store_id_t store)
{
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    Ostraka__ChangeStore request = OSTRAKA__CHANGE_STORE__INIT;
    request.kind = kind;
    request.store = store;
    for (int try = 0; try < 20; try++) {
        arena_reset(&cluster->person_arena);
        cluster->person_answer = NULL;
        store_id_t leader = nodes_leader(cluster, SHARD_MASTER_GROUP);
        if (leader != 0) {
            uint64_t id = link_open(cluster, CLUSTER_PERSON, cluster->addresses[leader - 1]);
            person_send(cluster, id, FRAME_HELLO, &hello.base);
            person_send(cluster, id, FRAME_CHANGE_STORE, &request.base);
            for (uint32_t ms = 0; ms < 1000 && !cluster->person_answer; ms++)
                nodes_step(cluster);
            close_side(cluster, CLUSTER_PERSON, id);
        }
        const Ostraka__ChangeStoreAnswer *answer = cluster->person_answer;
        snprintf(cluster->why, sizeof(cluster->why), "%s", answer ? answer->text : "");
        if (answer && !ost_status_is_retryable(answer->status))
            return answer->status;
        nodes_run(cluster, 200);
    }
    return OST_DEADLINE_EXCEEDED;
}

/* --- Time --- */

static void packet_deliver(struct node_cluster *cluster, struct cluster_packet *packet)
{
    struct frame frame;
    if (packet->frame)
        frame = frame_of_blob(packet->frame);
    if (packet->to == CLUSTER_PERSON) {
        if (packet->frame)
            person_hears(cluster, &frame);
    } else if (packet->to < CLUSTER_NODES_MAX) {
        struct cluster_node *host = &cluster->nodes[packet->to];
        size_t other;
        bool is_there =
            host->is_up && (packet->type != NODE_EV_FRAME ||
                            link_find(cluster, packet->to, packet->connection_id, &other));
        if (is_there)
            node_event(host, (struct node_event){.type = (enum node_event_type)packet->type,
                                                 .connection_id = packet->connection_id,
                                                 .status = packet->status,
                                                 .frame = packet->frame ? &frame : NULL});
    } else {
        struct client_event event = {.connection_id = packet->connection_id,
                                     .status = packet->status,
                                     .frame = packet->frame ? &frame : NULL};
        event.type = packet->type == NODE_EV_FRAME       ? CLIENT_EV_FRAME
                     : packet->type == NODE_EV_CONNECTED ? CLIENT_EV_CONNECTED
                                                         : CLIENT_EV_CLOSED;
        client_event(cluster, event);
    }
    blob_unref(packet->frame);
}

static void links_compact(struct node_cluster *cluster)
{
    size_t kept_count = 0;
    for (size_t index = 0; index < cluster->links_count; index++)
        if (cluster->links[index].is_open)
            cluster->links[kept_count++] = cluster->links[index];
    cluster->links_count = kept_count;
}

void nodes_step(struct node_cluster *cluster)
{
    cluster->now_ns += NS_PER_MS;
    struct cluster_packet *packets = cluster->packets;
    size_t packets_count = cluster->packets_count;
    cluster->packets = NULL;
    cluster->packets_count = cluster->packets_capacity = 0;
    for (size_t index = 0; index < packets_count; index++)
        packet_deliver(cluster, &packets[index]);
    free(packets);
    links_compact(cluster);
    for (size_t place = 0; place < cluster->nodes_count; place++) {
        struct cluster_node *host = &cluster->nodes[place];
        if (!host->is_up)
            continue;
        node_disk(host);
        node_event(host, (struct node_event){.type = NODE_EV_TURN_ENDED});
        node_carry_out(host);
    }
    if (cluster->now_ns >= client_core_update(cluster->client)->deadline_ns)
        client_event(cluster, (struct client_event){.type = CLIENT_EV_TIMER});
    write_next(cluster);
    reads_begin(cluster);
}

void nodes_run(struct node_cluster *cluster, uint32_t ms)
{
    for (uint32_t index = 0; index < ms; index++)
        nodes_step(cluster);
}

/* --- What it looks like --- */

struct cluster_node *nodes_node(struct node_cluster *cluster, store_id_t store)
{
    cr_assert(store >= 1 && store <= cluster->nodes_count);
    return &cluster->nodes[store - 1];
}

const Ostraka__Map *nodes_map(const struct node_cluster *cluster)
{
    const Ostraka__Map *newest = NULL;
    for (size_t place = 0; place < cluster->nodes_count; place++) {
        const struct cluster_node *host = &cluster->nodes[place];
        const Ostraka__Map *map = host->is_up ? host->node->map : NULL;
        if (map && (!newest || map->epoch > newest->epoch))
            newest = map;
    }
    return newest;
}

const Ostraka__GroupInfo *nodes_group(const struct node_cluster *cluster, group_id_t group)
{
    const Ostraka__Map *map = nodes_map(cluster);
    const Ostraka__GroupInfo *info = map ? master_map_group(map, group) : NULL;
    cr_assert(info);
    return info;
}

store_id_t nodes_leader(const struct node_cluster *cluster, group_id_t group)
{
    store_id_t leader = 0;
    raft_term_t term = 0;
    for (size_t place = 0; place < cluster->nodes_count; place++) {
        const struct cluster_node *host = &cluster->nodes[place];
        struct raft_leadership leadership;
        if (host->is_up && !host->is_cut &&
            raft_host_leadership(host->node->raft, group, &leadership) == OST_OK &&
            leadership.ready && leadership.term > term) {
            leader = host->id;
            term = leadership.term;
        }
    }
    return leader;
}

bool nodes_run_until_led(struct node_cluster *cluster, group_id_t group, uint32_t ms_max)
{
    for (uint32_t ms = 0; ms < ms_max; ms++) {
        if (nodes_leader(cluster, group) != 0)
            return true;
        nodes_step(cluster);
    }
    return false;
}

static bool store_has(const struct cluster_node *host, group_id_t group, replica_id_t replica)
{
    struct arena *arena = &host->node->arena; /* reset with its next event */
    Ostraka__StoreReport report = OSTRAKA__STORE_REPORT__INIT;
    node_replicas_report(host->node, &report);
    (void)arena;
    for (size_t index = 0; index < report.n_replicas; index++)
        if (report.replicas[index]->group == group)
            return report.replicas[index]->replica == replica && !report.replicas[index]->lost;
    return replica == 0;
}

static bool group_is_true(const struct node_cluster *cluster, const Ostraka__GroupInfo *group)
{
    if (master_group_is_changing(group))
        return false;
    for (size_t place = 0; place < cluster->nodes_count; place++) {
        const struct cluster_node *host = &cluster->nodes[place];
        const Ostraka__ReplicaInfo *replica = master_group_replica_on(group, host->id);
        if (host->is_up && !host->is_cut &&
            !store_has(host, group->id, replica ? replica->replica : 0))
            return false;
        if (replica && replica->lost)
            return false;
    }
    return nodes_leader(cluster, group->id) != 0;
}

bool nodes_is_true(const struct node_cluster *cluster)
{
    const Ostraka__Map *map = nodes_map(cluster);
    if (!map || !group_is_true(cluster, map->master))
        return false;
    for (size_t index = 0; index < map->n_ranges; index++)
        if (!map->ranges[index]->assigned)
            return false;
    for (size_t index = 0; index < map->n_groups; index++)
        if (!group_is_true(cluster, map->groups[index]))
            return false;
    return true;
}

/* For whoever looks why not. */
static void group_print(const struct node_cluster *cluster, const Ostraka__GroupInfo *group)
{
    fprintf(stderr, "group %lu epoch %lu leader %lu wants", group->id, group->epoch,
            nodes_leader(cluster, group->id));
    for (size_t place = 0; place < group->n_replicas; place++)
        fprintf(stderr, " %lu@%lu %s%s", group->replicas[place]->replica,
                group->replicas[place]->store,
                master_replica_role_name(group->replicas[place]->role),
                group->replicas[place]->lost ? " lost" : "");
    fprintf(stderr, "; there are");
    for (size_t place = 0; place < cluster->nodes_count; place++) {
        const struct cluster_node *host = &cluster->nodes[place];
        Ostraka__StoreReport report = OSTRAKA__STORE_REPORT__INIT;
        if (host->is_up)
            node_replicas_report(host->node, &report);
        for (size_t index = 0; index < report.n_replicas; index++) {
            const Ostraka__ReplicaReport *replica = report.replicas[index];
            if (replica->group != group->id)
                continue;
            struct raft_status status = {0};
            int found = raft_host_group_status(host->node->raft, group->id, &status);
            fprintf(stderr, " %lu@%lu%s term %lu applied %lu commit %lu", replica->replica,
                    host->id, replica->lost || found != OST_OK ? " lost" : "", status.term,
                    replica->applied_index, status.commit_index);
        }
    }
    fprintf(stderr, "\n");
}

void nodes_print(const struct node_cluster *cluster)
{
    const Ostraka__Map *map = nodes_map(cluster);
    for (size_t place = 0; place < cluster->nodes_count; place++)
        fprintf(stderr, "store %lu%s%s map epoch %lu\n", cluster->nodes[place].id,
                cluster->nodes[place].is_up ? "" : " down",
                cluster->nodes[place].is_cut ? " cut" : "",
                cluster->nodes[place].is_up && cluster->nodes[place].node->map
                    ? cluster->nodes[place].node->map->epoch
                    : 0);
    if (!map)
        return;
    group_print(cluster, map->master);
    for (size_t index = 0; index < map->n_groups; index++)
        group_print(cluster, map->groups[index]);
}

bool nodes_run_until_true(struct node_cluster *cluster, uint32_t ms_max)
{
    for (uint32_t ms = 0; ms < ms_max; ms += 10) {
        if (nodes_is_true(cluster))
            return true;
        nodes_run(cluster, 10);
    }
    nodes_print(cluster);
    return false;
}

/* --- Life --- */

static void log_be_quiet(enum log_level level, const char *line, void *context)
{
    struct node_cluster *cluster = context;
    cluster->error_lines_count += level == LOG_ERROR;
    if (getenv("CLUSTER_LOG") && level <= LOG_INFO)
        fprintf(stderr, "%s\n", line);
}

void nodes_prepare(struct node_cluster *cluster, size_t stores_count, uint32_t groups_count,
                   uint32_t replicas_count)
{
    log_set_sink(log_be_quiet, cluster);
    memset(cluster, 0, sizeof(*cluster));
    cluster->nodes_count = stores_count;
    cluster->now_ns = 50 * NS_PER_S;
    cluster->split = bytes_of_string("m");
    static char endpoints[64];
    endpoints[0] = '\0';
    for (size_t place = 0; place < stores_count; place++) {
        node_init(cluster, place);
        strcat(endpoints, place ? "," : "");
        strcat(endpoints, cluster->addresses[place]);
        ostraka__store_info__init(&cluster->infos[place]);
        cluster->infos[place].id = place + 1;
        cluster->infos[place].address = cluster->addresses[place];
    }
    arena_init(&cluster->person_arena);
    random_init(&cluster->random, 17);
    node_options_default(&cluster->options);
    cluster->options.cluster_id = UINT64_C(0x4d0000004d);
    cluster->options.raft.log_segment_bytes = SEGMENT_BYTES;
    cluster->options.raft.log_write_bytes_max = SEGMENT_BYTES / 4;
    cluster->options.raft.raft.message_bytes_max = SEGMENT_BYTES / 8;
    cluster->options.raft.log_retained_bytes_max = 64u << 10;
    cluster->options.kv.flush_interval_ms = 3000;
    cluster->options.master.initial_stores = cluster->infos;
    cluster->options.master.initial_stores_count = stores_count;
    cluster->options.master.replica_changes_max = 0; /* the tests place them */
    cluster->options.master.range_changes_max = 0;   /* and these */
    cluster->options.master.initial_groups_count = groups_count;
    cluster->options.master.initial_replicas_count = replicas_count;
    cluster->options.master.initial_splits = &cluster->split;
    cluster->options.master.initial_splits_count = 1;
    struct client_core_options options;
    client_core_options_default(&options);
    options.endpoints = endpoints;
    options.seed = 4711;
    cluster->client = client_core_new(&options, cluster->now_ns);
}

void nodes_open(struct node_cluster *cluster)
{
    int status =
        operation_run(cluster, operation_new(OPERATION_OPEN, bytes_of(NULL, 0), bytes_of(NULL, 0)));
    cr_assert_eq(status, OST_OK);
}

void nodes_begin(struct node_cluster *cluster, size_t stores_count, uint32_t groups_count,
                 uint32_t replicas_count)
{
    nodes_prepare(cluster, stores_count, groups_count, replicas_count);
    for (store_id_t store = 1; store <= stores_count; store++)
        nodes_start(cluster, store);
    cr_assert(nodes_run_until_true(cluster, 20000), "the cluster has not come up");
    nodes_open(cluster);
}

void nodes_end(struct node_cluster *cluster)
{
    client_event(cluster, (struct client_event){.type = CLIENT_EV_STOPPED});
    client_core_free(cluster->client);
    arena_fini(&cluster->person_arena);
    for (size_t place = 0; place < cluster->nodes_count; place++) {
        if (cluster->nodes[place].is_up)
            node_stop(&cluster->nodes[place]);
        disk_free(&cluster->nodes[place]);
    }
    for (size_t index = 0; index < cluster->packets_count; index++)
        blob_unref(cluster->packets[index].frame);
    free(cluster->packets);
    free(cluster->links);
}
