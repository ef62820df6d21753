/* outbox.h: where a step function puts the frames it wants sent. Its host drains it.
 *
 * Frames to one address keep their order. Nothing is promised beyond that: a frame may be lost, and
 * what must arrive is sent again by whoever waits for the answer.
 */
#pragma once

#include "base/types.h"
#include "proto/frame.h"

enum address_kind {
    ADDRESS_CONNECTION, /* back on the connection that a request came on */
    ADDRESS_STORE,      /* to a store of this cluster */
    ADDRESS_KEY,        /* to the store that leads the group that owns a key */
    ADDRESS_GROUP,      /* to the store that leads a group */
};

/* To a store: two connections, so that a large frame cannot delay a heartbeat. */
enum channel { CHANNEL_CONTROL, CHANNEL_BULK };

struct address {
    enum address_kind kind;
    enum channel channel;
    uint64_t id;      /* connection, store or group id */
    struct blob *key; /* ADDRESS_KEY: counted */
};

struct outgoing {
    struct address to;
    struct blob *frame;
    /* Whoever puts it on the wire reads a clock first, and drops it unless that shows less: it says
     * what was true under a lease (R3). NS_NEVER for nearly all. */
    nanoseconds_t valid_until_ns;
};

struct outbox {
    struct outgoing *items;
    size_t items_count;
    size_t items_capacity;
};

/* A connection id that stands for this process itself: frames sent there are delivered by the node
 * to itself, in the same turn. */
#define CONNECTION_LOCAL UINT64_C(0)

void outbox_init(struct outbox *outbox);
void outbox_fini(struct outbox *outbox);
/* Drops what is left in it. */
void outbox_reset(struct outbox *outbox);
/* Takes `frame`. */
void outbox_to_connection(struct outbox *outbox, uint64_t connection_id, struct blob *frame_take);
void outbox_to_connection_until(struct outbox *outbox, uint64_t connection_id,
                                nanoseconds_t valid_until_ns, struct blob *frame_take);
void outbox_to_store(struct outbox *outbox, store_id_t store, enum channel channel,
                     struct blob *frame_take);
void outbox_to_key(struct outbox *outbox, struct bytes key, struct blob *frame_take);
void outbox_to_group(struct outbox *outbox, group_id_t group, struct blob *frame_take);
