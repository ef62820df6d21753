/* node_identity.c: the store's own row: which disk this is, and how group 0 is founded.
 *
 * R6: a store that lost its disk is a new store. So a disk has an incarnation, drawn when it was
 * empty; the map knows each store by it, and what the map puts on one disk is never made on
 * another.
 *
 * But the first replicas of group 0 come before there is a map, and an empty disk cannot tell
 * whether it is the first of its store or has replaced another. Others can: the founding stores are
 * those that are to have a replica of group 0 (founders) and, to make them three, the next ones
 * (witnesses). Each keeps, durably, the first incarnation that it heard of from each of the others.
 * A founding store takes part once all the others have answered, and at least one of them confirms:
 * it knows the asker by this disk and no other, and its own disk is the first. (A disk that has
 * replaced another cannot say.) So when a store takes part, every first disk knows it; first disks
 * only get fewer; and the disk that comes after it meets either one of them, which refuses, or
 * none, and then nobody confirms. That holds as long as no two of these disks are empty at a time;
 * and beyond that where any of them has seen a map: a map that knows the asker by another disk
 * refuses it, wherever group 0 has gone since.
 *
 *   ASKING --all have answered, one confirms--> WRITING --durable--> FOUNDED
 *   ASKING --refused, or nobody can confirm, or the map knows better--> REPLACED
 *   ASKING --the map has struck its first replica out--> REPLACED, though nothing is lost
 *
 * So the first start of a cluster takes all founding stores. Later starts ask nobody. A founder
 * whose disk was replaced reports its first replica of group 0 as lost, and is given another one.
 */
#include "base/log.h"
#include "base/memory.h"
#include "cmd/node_internal.h"
#include "shardkv/kv_keys.h"
#include "shardmaster/master_replicas.h"

#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES       256u
#define IDENTITY_FORMAT 1u
#define FOUNDING_ASK_MS 200u

static size_t founding_stores_count(const struct node *node)
{
    return master_founding_stores_count(&node->options.master);
}

static store_id_t founding_store_at(const struct node *node, size_t place)
{
    return node->options.master.initial_stores[place].id;
}

static bool is_founding_store(const struct node *node, store_id_t store)
{
    for (size_t place = 0; place < founding_stores_count(node); place++)
        if (founding_store_at(node, place) == store)
            return true;
    return false;
}

/* 0: this store is to have no replica of group 0 from the first. */
static replica_id_t founder_replica(const struct node *node)
{
    return master_founder_replica(&node->options.master, node->options.raft.store);
}

/* --- The row --- */

/* A store that starts again finds the others by it, whatever has become of those that it was told
 * of at first. */
static void identity_add_peers(const struct node *node, Ostraka__StoreIdentity *identity,
                               struct arena *arena)
{
    identity->stores = arena_alloc(arena, (HASH_COUNT(node->peers) + 1) * sizeof(void *));
    for (const struct node_peer *peer = node->peers; peer; peer = peer->hh.next) {
        if (peer->is_gone)
            continue;
        Ostraka__KnownStore *known = arena_alloc(arena, sizeof(*known));
        ostraka__known_store__init(known);
        known->store = peer->store;
        known->address = peer->address;
        identity->stores[identity->n_stores++] = known;
    }
}

static struct store_batch *identity_batch(const struct node *node)
{
    Ostraka__Founder founders[REPLICAS_PER_GROUP_MAX];
    Ostraka__Founder *pointers[REPLICAS_PER_GROUP_MAX];
    Ostraka__StoreIdentity identity = OSTRAKA__STORE_IDENTITY__INIT;
    identity.cluster_id = node->options.cluster_id;
    identity.store_id = node->options.raft.store;
    identity.format_version = IDENTITY_FORMAT;
    identity.incarnation = node->incarnation;
    for (uint32_t index = 0; index < node->founders_count; index++) {
        ostraka__founder__init(&founders[index]);
        founders[index].store = node->founders[index].store;
        founders[index].incarnation = node->founders[index].incarnation;
        pointers[index] = &founders[index];
    }
    identity.founders = pointers;
    identity.n_founders = node->founders_count;
    bool is_first_lost =
        node->founding == FOUNDING_REPLACED && node->master_replica == founder_replica(node);
    identity.founding = (uint32_t)node->founding;
    identity.master_replica = is_first_lost ? 0 : node->master_replica;
    if (node->founding == FOUNDING_WRITING) { /* this row is what makes it true */
        identity.founding = FOUNDING_FOUNDED;
        if (founder_replica(node) != 0)
            identity.master_replica = founder_replica(node);
    }
    struct arena arena;
    arena_init(&arena);
    identity.joined = node->options.join_addresses_count > 0 && node->map != NULL;
    identity_add_peers(node, &identity, &arena);
    identity.map_epoch = node_map_epoch_known(node);
    struct blob *packed = blob_new(ostraka__store_identity__get_packed_size(&identity));
    ostraka__store_identity__pack(&identity, packed->data);
    arena_fini(&arena);
    struct buffer key = BUFFER_INIT;
    kv_key_store_identity(&key);
    struct store_batch *batch = store_batch_new(node->store);
    store_batch_put(batch, buffer_bytes(&key), blob_bytes(packed));
    buffer_fini(&key);
    blob_unref(packed);
    return batch;
}

int node_identity_write(struct node *node, void (*done)(void *context, int status), void *context)
{
    struct store_batch *batch = identity_batch(node);
    int status = store_write(node->store, batch);
    store_batch_free(batch);
    if (status == OST_OK)
        kv_server_flush(node->kv, done, context);
    return status;
}

static bool is_initial_store(const struct node *node, store_id_t store)
{
    const struct master_options *master = &node->options.master;
    for (size_t place = 0; place < master->initial_stores_count; place++)
        if (master->initial_stores[place].id == store)
            return true;
    return false;
}

/* Those of whom the flags do not tell. */
static bool knows_others(const struct node *node)
{
    for (const struct node_peer *peer = node->peers; peer; peer = peer->hh.next)
        if (!peer->is_gone && !is_initial_store(node, peer->store))
            return true;
    return false;
}

static void peers_written(void *context, int status)
{
    struct node *node = context;
    node->peers_changed = node->peers_changed || (status != OST_OK && status != OST_CANCELED);
}

/* Durable, where the flags do not say it: a configuration in the log may name those stores, and
 * after a crash this store is to find them, for they may not be the ones to dial. */
void node_identity_save_peers(struct node *node)
{
    if (!node->peers_changed)
        return;
    struct store_batch *batch = identity_batch(node);
    node->peers_changed = store_write(node->store, batch) != OST_OK;
    store_batch_free(batch);
    if (!node->peers_changed && knows_others(node))
        kv_server_flush(node->kv, peers_written, node);
}

/* An empty disk: it gets its incarnation, durably, before anybody hears of it. */
static int identity_new(struct node *node)
{
    /* The seed is another at each start; time makes sure of it where virtual disks are emptied. */
    struct random random;
    random_init(&random, node->options.seed ^ (node->now_ns * UINT64_C(0x9e3779b97f4a7c15)) ^
                             node->options.raft.store << 48);
    do
        node->incarnation = random_next(&random);
    while (node->incarnation == 0);
    struct store_batch *batch = identity_batch(node);
    int status = store_write(node->store, batch);
    store_batch_free(batch);
    return status == OST_OK ? store_flush(node->store) : status;
}

static int identity_take(struct node *node, struct bytes row, char *out_why)
{
    const Ostraka__StoreIdentity *identity =
        (void *)message_unpack(&ostraka__store_identity__descriptor, row, &node->arena);
    if (!identity || identity->incarnation == 0 || identity->n_founders > REPLICAS_PER_GROUP_MAX ||
        identity->founding > FOUNDING_REPLACED)
        return OST_CORRUPT;
    if (identity->format_version != IDENTITY_FORMAT)
        return OST_WRONG_VERSION;
    bool joins = node->options.join_addresses_count > 0;
    bool is_ours = joins ? cluster_name_is_same(identity->cluster_id, node->options.cluster_id)
                         : identity->cluster_id == node->options.cluster_id;
    if (!is_ours || identity->store_id != node->options.raft.store) {
        snprintf(out_why, WHY_BYTES, "the rows are those of store %lu of cluster %016lx",
                 (unsigned long)identity->store_id, (unsigned long)identity->cluster_id);
        return OST_WRONG_CLUSTER;
    }
    node->options.cluster_id = identity->cluster_id;
    node->options.master.cluster_id = identity->cluster_id;
    if (joins && identity->joined) {
        node->join.knows_cluster = true;
        node_join_done_before(node);
    }
    for (size_t index = 0; index < identity->n_stores; index++)
        node_peer_learn(node, identity->stores[index]->store, identity->stores[index]->address);
    node->peers_map_epoch = identity->map_epoch;
    node->incarnation = identity->incarnation;
    node->founding = (enum node_founding)identity->founding;
    node->master_replica = identity->master_replica;
    for (size_t index = 0; index < identity->n_founders; index++)
        node->founders[node->founders_count++] =
            (struct node_founder){.store = identity->founders[index]->store,
                                  .incarnation = identity->founders[index]->incarnation,
                                  .is_durable = true};
    return OST_OK;
}

/* Its first replica of group 0, if it had one, was on another disk. */
static void first_replica_lost(struct node *node)
{
    if (founder_replica(node) == 0)
        return;
    node->master_replica = founder_replica(node);
    node->master_lost = true;
}

int node_identity_load(struct node *node, char *out_why)
{
    struct buffer key = BUFFER_INIT;
    struct buffer row = BUFFER_INIT;
    kv_key_store_identity(&key);
    int status = store_get(node->store, buffer_bytes(&key), STORE_MAY_BLOCK, &row);
    if (status == OST_NOT_FOUND)
        status = identity_new(node);
    else if (status == OST_OK)
        status = identity_take(node, buffer_bytes(&row), out_why);
    buffer_fini(&key);
    buffer_fini(&row);
    if (status != OST_OK) {
        if (out_why[0] == '\0')
            snprintf(out_why, WHY_BYTES, "cannot read or write the store's own row: %s",
                     ost_status_text(status));
        return status;
    }
    node->founding_ns = node->now_ns;
    if (node->founding == FOUNDING_REPLACED && node->master_replica == 0)
        first_replica_lost(node);
    return OST_OK;
}

/* --- Founding: who asks --- */

static void founding_ask(struct node *node)
{
    Ostraka__Found found = OSTRAKA__FOUND__INIT;
    found.store = node->options.raft.store;
    found.incarnation = node->incarnation;
    for (size_t place = 0; place < founding_stores_count(node); place++)
        if (node->founder_answers[place] == FOUNDER_SILENT &&
            founding_store_at(node, place) != found.store)
            outbox_to_store(&node->outbox, founding_store_at(node, place), CHANNEL_CONTROL,
                            frame_encode(FRAME_FOUND, 0, &found.base, NULL, 0));
}

static void founding_written(void *context, int status)
{
    struct node *node = context;
    char why[WHY_BYTES] = "";
    if (status == OST_OK)
        node->founding = FOUNDING_FOUNDED;
    if (status == OST_OK && founder_replica(node) == 0)
        return;
    if (status == OST_OK) {
        node->master_replica = founder_replica(node);
        status = node_master_start(node, why);
    }
    if (status == OST_OK) {
        node->report_ns = node->now_ns;
        log_write(LOG_INFO, "takes part in founding the cluster", "store=%lu replica=%lu",
                  (unsigned long)node->options.raft.store, (unsigned long)node->master_replica);
        return;
    }
    if (status != OST_CANCELED)
        log_write(LOG_ERROR, "cannot found the cluster yet", "store=%lu why=\"%s\"",
                  (unsigned long)node->options.raft.store, why[0] ? why : ost_status_text(status));
    node->founding = FOUNDING_ASKING;
    if (founder_replica(node) != 0)
        node->master_replica = 0;
}

static void founding_write(struct node *node)
{
    node->founding = FOUNDING_WRITING;
    if (node_identity_write(node, founding_written, node) != OST_OK)
        node->founding = FOUNDING_ASKING;
}

static void replaced_written(void *context, int status)
{
    struct node *node = context;
    if (status != OST_OK && status != OST_CANCELED) /* the next start asks, and is refused, again */
        log_write(LOG_WARN, "cannot write the store's own row", "store=%lu why=\"%s\"",
                  (unsigned long)node->options.raft.store, ost_status_text(status));
}

static void founding_over(struct node *node)
{
    node->founding = FOUNDING_REPLACED;
    first_replica_lost(node);
    int status = node_identity_write(node, replaced_written, node);
    if (status != OST_OK)
        replaced_written(node, status);
    node->report_ns = node->now_ns;
}

static void founding_refused(struct node *node)
{
    log_write(LOG_ERROR, "this store had another disk, what that one held is lost", "store=%lu",
              (unsigned long)node->options.raft.store);
    founding_over(node);
}

/* It answered for the founding of group 0, was away while the others founded, and its replica was
 * struck out before it ever ran. The number is used up (R6), and nothing is lost. */
static void founding_missed(struct node *node)
{
    log_write(LOG_INFO, "the cluster was founded without this store", "store=%lu",
              (unsigned long)node->options.raft.store);
    founding_over(node);
}

/* What does the map know of the store that this disk, which has not founded yet, says it is? */
enum founder_fate {
    FOUNDER_UNHEARD_OF, /* it has not reported yet */
    FOUNDER_AWAITED,    /* its first replica of group 0, if it is to have one, is still to come */
    FOUNDER_STRUCK_OUT, /* that replica is wanted no more */
    FOUNDER_REPLACED    /* it had another disk before, and what that one held is lost */
};

static enum founder_fate founder_fate(const struct node *node, store_id_t id, uint64_t incarnation)
{
    const Ostraka__StoreInfo *store = node->map ? master_map_store(node->map, id) : NULL;
    if (!store || store->incarnation == 0)
        return FOUNDER_UNHEARD_OF;
    if (store->incarnation != incarnation)
        return FOUNDER_REPLACED;
    replica_id_t first = master_founder_replica(&node->options.master, id);
    if (first == 0)
        return FOUNDER_AWAITED;
    const Ostraka__ReplicaInfo *replica = master_group_replica(node->map->master, first);
    if (!replica)
        return FOUNDER_STRUCK_OUT;
    return replica->lost ? FOUNDER_REPLACED : FOUNDER_AWAITED;
}

/* Have all the others answered? Then it is decided. */
static bool founding_decide(struct node *node)
{
    switch (founder_fate(node, node->options.raft.store, node->incarnation)) {
    case FOUNDER_UNHEARD_OF:
    case FOUNDER_AWAITED:
        break;
    case FOUNDER_STRUCK_OUT:
        founding_missed(node);
        return true;
    case FOUNDER_REPLACED:
        founding_refused(node);
        return true;
    }
    size_t others = founding_stores_count(node) - 1, answers = 0, confirms = 0;
    for (size_t place = 0; place < founding_stores_count(node); place++) {
        answers += node->founder_answers[place] != FOUNDER_SILENT;
        confirms += node->founder_answers[place] == FOUNDER_CONFIRMS;
    }
    if (answers < others)
        return false;
    if (others == 0 || confirms > 0)
        founding_write(node);
    else
        founding_refused(node);
    return true;
}

static bool founding_is_asking(const struct node *node)
{
    return node->founding == FOUNDING_ASKING && is_founding_store(node, node->options.raft.store);
}

void node_founding_timer(struct node *node)
{
    if (!founding_is_asking(node) || node->now_ns < node->founding_ns)
        return;
    node->founding_ns = node->now_ns + FOUNDING_ASK_MS * NS_PER_MS;
    if (!founding_decide(node))
        founding_ask(node);
}

nanoseconds_t node_founding_deadline_ns(const struct node *node)
{
    return founding_is_asking(node) ? node->founding_ns : NS_NEVER;
}

void node_found_answered(struct node *node, store_id_t from, const Ostraka__FoundAnswer *answer)
{
    if (!founding_is_asking(node))
        return;
    if (!answer->replaced && answer->incarnation != node->incarnation) {
        founding_refused(node);
        return;
    }
    for (size_t place = 0; place < founding_stores_count(node); place++)
        if (founding_store_at(node, place) == from)
            node->founder_answers[place] = answer->replaced ? FOUNDER_CANNOT_SAY : FOUNDER_CONFIRMS;
    node->founding_ns = node->now_ns;
}

/* --- Founding: who is asked --- */

static void found_answer(struct node *node, store_id_t to, uint64_t incarnation, bool replaced)
{
    Ostraka__FoundAnswer answer = OSTRAKA__FOUND_ANSWER__INIT;
    answer.store = node->options.raft.store;
    answer.incarnation = incarnation;
    answer.replaced = replaced;
    outbox_to_store(&node->outbox, to, CHANNEL_CONTROL,
                    frame_encode(FRAME_FOUND_ANSWER, 0, &answer.base, NULL, 0));
}

static void found_answer_first(struct node *node, const struct node_founder *founder)
{
    found_answer(node, founder->store, founder->incarnation, node->founding == FOUNDING_REPLACED);
}

struct founders_write {
    struct node *node;
    uint32_t count; /* so many of them were in the row */
};

static void founders_written(void *context, int status)
{
    struct founders_write *write = context;
    struct node *node = write->node;
    for (uint32_t index = 0; status == OST_OK && index < write->count; index++) {
        struct node_founder *founder = &node->founders[index];
        if (!founder->is_durable)
            found_answer_first(node, founder);
        founder->is_durable = true;
    }
    free(write);
}

static void founders_write(struct node *node)
{
    struct founders_write *write = memory_alloc_zeroed(1, sizeof(*write));
    write->node = node;
    write->count = node->founders_count;
    if (node_identity_write(node, founders_written, write) != OST_OK)
        free(write); /* it asks again */
}

void node_found_received(struct node *node, store_id_t from, const Ostraka__Found *found)
{
    if (found->store != from || found->incarnation == 0 ||
        !is_founding_store(node, node->options.raft.store) || !is_founding_store(node, from))
        return;
    enum founder_fate fate = founder_fate(node, from, found->incarnation);
    if (fate == FOUNDER_STRUCK_OUT) /* it hears so from the map */
        return;
    if (fate == FOUNDER_REPLACED) {
        found_answer(node, from, 0, false);
        return;
    }
    if (node->founding == FOUNDING_REPLACED) {
        found_answer(node, from, 0, true);
        return;
    }
    for (uint32_t index = 0; index < node->founders_count; index++) {
        if (node->founders[index].store != from)
            continue;
        if (node->founders[index].is_durable)
            found_answer_first(node, &node->founders[index]);
        else
            founders_write(node);
        return;
    }
    ASSERT(node->founders_count < REPLICAS_PER_GROUP_MAX);
    node->founders[node->founders_count++] =
        (struct node_founder){.store = from, .incarnation = found->incarnation};
    founders_write(node);
}
