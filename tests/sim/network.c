#include "tests/sim/network.h"

#include "base/memory.h"
#include "base/status.h"

#include <bsd/sys/queue.h>
#include <stdlib.h>

#define CONNECT_TRIES_MAX 6u
#define CONNECT_AGAIN_NS  NS_PER_S          /* the first retransmission of a SYN */
#define RETRANSMIT_NS_MAX (200 * NS_PER_MS) /* after a cut was healed */
#define SILENCE_NS        (20 * NS_PER_S)   /* a sender gives a silent peer up */
#define KEEPALIVE_NS      (30 * NS_PER_S)   /* io/tcp_listen.c asks after it; and a while more */
#define NS_PER_BYTE       8u

enum item_kind { ITEM_FRAME, ITEM_END /* the other end closed, or its process is gone */ };

struct network_item {
    STAILQ_ENTRY(network_item) link;
    enum item_kind kind;
    struct blob *frame;
};

/* What travels to one end. Each item has one event; an event takes the first item. */
struct network_end {
    uint32_t host;
    uint64_t id;
    bool is_open;     /* this end's process may use it */
    bool is_told;     /* its process knows of it: it was accepted, or connected */
    bool is_vanished; /* its host lost its power; nobody answers here */
    bool is_doomed;   /* the process here will learn that the other end vanished */
    bool is_noticing; /* and soon, by an answer of its kernel */
    nanoseconds_t last_arrival_ns;
    uint32_t held_count;  /* events that came while the link was cut */
    uint32_t frames_sent; /* to this end */
    STAILQ_HEAD(, network_item) items;
};

struct network_connection {
    uint64_t number;
    bool is_made; /* both ends know of it */
    uint32_t tries_count;
    struct network_end ends[2]; /* who connects, who accepts */
};

void network_init(struct network *network, const struct network_options *options,
                  struct schedule *schedule, struct trace *trace, uint64_t seed)
{
    *network = (struct network){.schedule = schedule,
                                .trace = trace,
                                .random = schedule_random(seed, "network"),
                                .options = *options};
    for (uint32_t from = 0; from < NETWORK_HOSTS_MAX; from++)
        for (uint32_t to = 0; to < NETWORK_HOSTS_MAX; to++)
            network->links[from][to].slow_factor = 1;
}

static void item_free(struct network_item *item)
{
    blob_unref(item->frame);
    free(item);
}

static void end_drop_items(struct network_end *end)
{
    struct network_item *item;
    while ((item = STAILQ_FIRST(&end->items))) {
        STAILQ_REMOVE_HEAD(&end->items, link);
        item_free(item);
    }
}

static void connection_free(struct network *network, struct network_connection *connection)
{
    network->connections[connection->number] = NULL;
    end_drop_items(&connection->ends[0]);
    end_drop_items(&connection->ends[1]);
    free(connection);
}

void network_fini(struct network *network)
{
    for (size_t number = 0; number < network->connections_count; number++)
        if (network->connections[number])
            connection_free(network, network->connections[number]);
    free(network->connections);
}

/* --- Names
 * ------------------------------------------------------------------------------------------- */

/* An id is number * 2 + side + 2: never 0, which stands for nobody. */
static struct network_connection *connection_of_id(struct network *network, uint64_t id)
{
    uint64_t number = (id - 2) / 2;
    return id >= 2 && number < network->connections_count ? network->connections[number] : NULL;
}

static unsigned side_of_id(uint64_t id)
{
    return (unsigned)(id % 2);
}

static uint64_t id_of(uint64_t number, unsigned side)
{
    return number * 2 + side + 2;
}

static bool link_is_cut(const struct network *network, uint32_t from, uint32_t to)
{
    return network->links[from][to].cuts_count > 0;
}

static nanoseconds_t link_latency_ns(struct network *network, uint32_t from, uint32_t to,
                                     size_t bytes_count)
{
    const struct network_options *options = &network->options;
    uint64_t latency_ns =
        random_between(&network->random, options->latency_ns_min, options->latency_ns_max);
    if (!network->is_gentle && random_happens(&network->random, options->tail_per_million))
        latency_ns += random_below(&network->random, options->tail_ns_max + 1);
    return (latency_ns + bytes_count * NS_PER_BYTE) * network->links[from][to].slow_factor;
}

/* --- Arrivals
 * ---------------------------------------------------------------------------------------- */

static void connection_free_when_over(struct network *network,
                                      struct network_connection *connection)
{
    if (!connection->ends[0].is_open && !connection->ends[1].is_open)
        connection_free(network, connection);
}

static void end_close(struct network *network, struct network_connection *connection, unsigned side)
{
    struct network_end *end = &connection->ends[side];
    if (!end->is_open)
        return;
    end->is_open = false;
    end_drop_items(end);
    trace_event(network->trace, TRACE_CLOSED, end->host, end->id, connection->ends[!side].host, 0);
    if (end->is_told)
        network->ports[end->host].closed(network->ports[end->host].context, end->id);
}

static void item_arrived(void *target, uint64_t id)
{
    struct network *network = target;
    struct network_connection *connection = connection_of_id(network, id);
    if (!connection)
        return;
    struct network_end *end = &connection->ends[side_of_id(id)];
    struct network_item *item = STAILQ_FIRST(&end->items);
    if (!item)
        return; /* the end was closed meanwhile */
    uint32_t from = connection->ends[!side_of_id(id)].host;
    if (link_is_cut(network, from, end->host)) {
        end->held_count++;
        return;
    }
    STAILQ_REMOVE_HEAD(&end->items, link);
    if (item->kind == ITEM_END) {
        end_close(network, connection, side_of_id(id));
        connection_free_when_over(network, connection);
    } else if (end->is_open) {
        network->frames_count++;
        struct blob *frame = item->frame;
        item->frame = NULL;
        if (network->watch)
            network->watch(network->watch_context, true, from, end->host, frame);
        network->ports[end->host].frame(network->ports[end->host].context, id, frame);
    }
    item_free(item);
}

/* In order: never before what was sent earlier. */
static void end_schedule(struct network *network, struct network_end *end, nanoseconds_t at_ns)
{
    if (at_ns < end->last_arrival_ns)
        at_ns = end->last_arrival_ns;
    end->last_arrival_ns = at_ns;
    schedule_add(network->schedule, at_ns, item_arrived, network, end->id);
}

static void end_send(struct network *network, struct network_connection *connection, unsigned to,
                     enum item_kind kind, struct blob *frame_take)
{
    struct network_end *end = &connection->ends[to];
    if (!end->is_open) {
        blob_unref(frame_take);
        return;
    }
    struct network_item *item = memory_alloc_zeroed(1, sizeof *item);
    item->kind = kind;
    item->frame = frame_take;
    STAILQ_INSERT_TAIL(&end->items, item, link);
    size_t bytes_count = frame_take ? frame_take->bytes_count : 0;
    end_schedule(network, end,
                 network->schedule->now_ns +
                     link_latency_ns(network, connection->ends[!to].host, end->host, bytes_count));
}

/* --- Connecting
 * -------------------------------------------------------------------------------------- */

static void connect_answered(void *target, uint64_t id)
{
    struct network *network = target;
    struct network_connection *connection = connection_of_id(network, id);
    if (!connection || !connection->ends[0].is_open || connection->ends[0].is_told)
        return;
    struct network_end *end = &connection->ends[0];
    end->is_told = true;
    int status = connection->is_made ? OST_OK : OST_DISCONNECTED;
    trace_event(network->trace, TRACE_CONNECTED, end->host, id, (uint64_t)(int64_t)status, 0);
    const struct network_port *port = &network->ports[end->host];
    if (status != OST_OK)
        connection_free(network, connection);
    port->connected(port->context, id, status); /* which may close it */
}

static void connect_arrived(void *target, uint64_t id)
{
    struct network *network = target;
    struct network_connection *connection = connection_of_id(network, id);
    if (!connection || !connection->ends[1].is_open)
        return;
    struct network_end *from = &connection->ends[0], *to = &connection->ends[1];
    nanoseconds_t now_ns = network->schedule->now_ns;
    if (link_is_cut(network, from->host, to->host) || link_is_cut(network, to->host, from->host)) {
        if (++connection->tries_count < CONNECT_TRIES_MAX)
            schedule_add(network->schedule, now_ns + CONNECT_AGAIN_NS, connect_arrived, network,
                         id);
        else
            connect_answered(network, from->id);
        return;
    }
    nanoseconds_t back_ns = link_latency_ns(network, to->host, from->host, 0);
    schedule_add(network->schedule, now_ns + back_ns, connect_answered, network, from->id);
    if (!network->is_up[to->host])
        return; /* refused */
    connection->is_made = true;
    to->is_told = true;
    from->last_arrival_ns = now_ns + back_ns;
    network->ports[to->host].accepted(network->ports[to->host].context, to->id);
}

uint64_t network_connect(struct network *network, uint32_t from, uint32_t to)
{
    if (network->connections_count == network->connections_capacity) {
        network->connections_capacity =
            network->connections_capacity ? 2 * network->connections_capacity : 64;
        network->connections = memory_realloc(
            network->connections, network->connections_capacity * sizeof network->connections[0]);
    }
    struct network_connection *connection = memory_alloc_zeroed(1, sizeof *connection);
    connection->number = network->connections_count++;
    network->connections[connection->number] = connection;
    for (unsigned side = 0; side < 2; side++) {
        struct network_end *end = &connection->ends[side];
        end->host = side ? to : from;
        end->id = id_of(connection->number, side);
        end->is_open = true;
        STAILQ_INIT(&end->items);
    }
    trace_event(network->trace, TRACE_CONNECT, from, to, connection->ends[0].id, 0);
    schedule_add(network->schedule,
                 network->schedule->now_ns + link_latency_ns(network, from, to, 0), connect_arrived,
                 network, connection->ends[1].id);
    return connection->ends[0].id;
}

/* --- Sending and closing
 * ----------------------------------------------------------------------------- */

/* The other end's host lost its power: this one learns it when that host is back and resets what it
 * does not know, or after long silence. */
static void silence_noticed(void *target, uint64_t id)
{
    struct network *network = target;
    struct network_connection *connection = connection_of_id(network, id);
    if (!connection || !connection->ends[side_of_id(id)].is_doomed)
        return;
    end_close(network, connection, side_of_id(id));
    connection_free_when_over(network, connection);
}

static void send_into_silence(struct network *network, struct network_connection *connection,
                              unsigned from)
{
    struct network_end *end = &connection->ends[from];
    const struct network_end *other = &connection->ends[!from];
    nanoseconds_t now_ns = network->schedule->now_ns;
    bool is_back = network->is_up[other->host];
    if (end->is_noticing)
        return;
    end->is_noticing = is_back;
    nanoseconds_t after_ns =
        is_back ? 2 * link_latency_ns(network, end->host, other->host, 0) : SILENCE_NS;
    schedule_add(network->schedule, now_ns + after_ns, silence_noticed, network, end->id);
}

static bool frame_happens(struct network *network, uint64_t per_million, uint64_t *count)
{
    if (network->is_gentle || !random_happens(&network->random, per_million))
        return false;
    (*count)++;
    return true;
}

void network_send(struct network *network, uint32_t from, uint64_t connection_id,
                  struct blob *frame_take)
{
    struct network_connection *connection = connection_of_id(network, connection_id);
    unsigned side = side_of_id(connection_id);
    if (!connection || connection->ends[side].host != from || !connection->ends[side].is_open) {
        blob_unref(frame_take);
        return;
    }
    uint64_t checksum;
    memcpy(&checksum, frame_take->data + 24, sizeof checksum);
    uint16_t type;
    memcpy(&type, frame_take->data + 6, sizeof type);
    trace_event(network->trace, TRACE_FRAME, type, connection_id, frame_take->bytes_count,
                checksum);
    struct network_end *to = &connection->ends[!side];
    if (network->tap &&
        network->tap(network->tap_context, from, to->host, connection_id, frame_take)) {
        blob_unref(frame_take);
        return;
    }
    if (network->watch)
        network->watch(network->watch_context, false, from, to->host, frame_take);
    if (to->is_vanished) {
        blob_unref(frame_take);
        send_into_silence(network, connection, side);
        return;
    }
    const struct network_options *options = &network->options;
    bool is_first = to->frames_sent++ == 0; /* a greeting; without it little can go wrong */
    if (!is_first && frame_happens(network, options->lost_per_million, &network->lost_count)) {
        blob_unref(frame_take);
        return;
    }
    if (!is_first && frame_happens(network, options->doubled_per_million, &network->doubled_count))
        end_send(network, connection, !side, ITEM_FRAME, blob_ref(frame_take));
    bool is_swapped = !is_first && !STAILQ_EMPTY(&to->items) &&
                      frame_happens(network, options->swapped_per_million, &network->swapped_count);
    end_send(network, connection, !side, ITEM_FRAME, frame_take);
    if (is_swapped) {
        struct network_item *last = STAILQ_LAST(&to->items, network_item, link);
        STAILQ_REMOVE(&to->items, last, network_item, link);
        STAILQ_INSERT_HEAD(&to->items, last, link);
    }
    if (frame_happens(network, options->reset_per_million, &network->reset_count))
        network_reset(network, from, to->host);
}

void network_close(struct network *network, uint32_t from, uint64_t connection_id,
                   bool after_output)
{
    struct network_connection *connection = connection_of_id(network, connection_id);
    unsigned side = side_of_id(connection_id);
    if (!connection || connection->ends[side].host != from || !connection->ends[side].is_open)
        return;
    struct network_end *end = &connection->ends[side], *other = &connection->ends[!side];
    end->is_open = false;
    end_drop_items(end);
    if (!after_output && other->is_open)
        end_drop_items(other); /* a reset: what is on its way is lost too */
    if (!connection->is_made)
        other->is_open = false;
    end_send(network, connection, !side, ITEM_END, NULL);
    connection_free_when_over(network, connection);
}

/* --- Hosts
 * ------------------------------------------------------------------------------------------- */

void network_host_up(struct network *network, uint32_t host, const struct network_port *port)
{
    network->ports[host] = *port;
    network->is_up[host] = true;
}

void network_host_down(struct network *network, uint32_t host, bool says_so)
{
    network->is_up[host] = false;
    for (size_t number = 0; number < network->connections_count; number++) {
        struct network_connection *connection = network->connections[number];
        if (!connection)
            continue;
        for (unsigned side = 0; side < 2; side++) {
            struct network_end *end = &connection->ends[side];
            if (end->host != host || !end->is_open || (side == 1 && !connection->is_made))
                continue;
            if (says_so) {
                network_close(network, host, end->id, random_below(&network->random, 2) == 0);
            } else {
                struct network_end *other = &connection->ends[!side];
                end->is_open = false;
                end->is_vanished = true;
                end_drop_items(end);
                other->is_doomed = true;
                schedule_add(network->schedule,
                             network->schedule->now_ns + KEEPALIVE_NS +
                                 random_below(&network->random, KEEPALIVE_NS),
                             silence_noticed, network, other->id);
                connection_free_when_over(network, connection);
            }
            break;
        }
    }
}

/* --- Faults
 * ------------------------------------------------------------------------------------------ */

void network_cut(struct network *network, uint32_t from, uint32_t to)
{
    network->links[from][to].cuts_count++;
}

void network_heal(struct network *network, uint32_t from, uint32_t to)
{
    struct network_link *link = &network->links[from][to];
    if (link->cuts_count == 0 || --link->cuts_count > 0)
        return;
    for (size_t number = 0; number < network->connections_count; number++) {
        struct network_connection *connection = network->connections[number];
        if (!connection)
            continue;
        for (unsigned side = 0; side < 2; side++) {
            struct network_end *end = &connection->ends[side];
            if (end->host != to || connection->ends[!side].host != from)
                continue;
            nanoseconds_t at_ns =
                network->schedule->now_ns + random_below(&network->random, RETRANSMIT_NS_MAX);
            for (; end->held_count > 0; end->held_count--)
                end_schedule(network, end, at_ns);
        }
    }
}

void network_slow(struct network *network, uint32_t from, uint32_t to, uint32_t factor)
{
    network->links[from][to].slow_factor = factor;
}

void network_reset(struct network *network, uint32_t a, uint32_t b)
{
    for (size_t number = 0; number < network->connections_count; number++) {
        struct network_connection *connection = network->connections[number];
        if (!connection || !connection->is_made)
            continue;
        uint32_t x = connection->ends[0].host, y = connection->ends[1].host;
        if (!((x == a && y == b) || (x == b && y == a)))
            continue;
        for (unsigned side = 0; side < 2; side++) {
            end_drop_items(&connection->ends[side]);
            end_send(network, connection, side, ITEM_END, NULL);
        }
    }
}

void network_calm(struct network *network)
{
    network->is_gentle = true;
    for (uint32_t from = 0; from < NETWORK_HOSTS_MAX; from++) {
        for (uint32_t to = 0; to < NETWORK_HOSTS_MAX; to++) {
            while (network->links[from][to].cuts_count > 0)
                network_heal(network, from, to);
            network->links[from][to].slow_factor = 1;
        }
    }
}
