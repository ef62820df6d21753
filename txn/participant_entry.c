/* Entries: how they come, how they end, and what is remembered of it. */
#include "txn/participant_internal.h"

#include "base/sometimes.h"

/* ---- What ended ---- */

static struct participant_ended *ended_find(const struct participant *p, struct txn_id txn)
{
    struct participant_ended *ended;
    HASH_FIND(hh, p->ended, &txn, sizeof(txn), ended);
    return ended;
}

static void ended_free(struct participant *p, struct participant_ended *ended)
{
    HASH_DEL(p->ended, ended);
    TAILQ_REMOVE(&p->ended_order, ended, link);
    blob_unref(ended->key);
    free(ended);
}

static void ended_add(struct participant *p, struct txn_id txn, const struct participant_end *end)
{
    struct participant_ended *ended = ended_find(p, txn);
    if (ended)
        ended_free(p, ended);
    if (HASH_COUNT(p->ended) >= ENDED_COUNT_MAX)
        ended_free(p, TAILQ_FIRST(&p->ended_order));
    ended = memory_alloc_zeroed(1, sizeof(*ended));
    ended->txn = txn;
    ended->status = end->status_later;
    ended->loss = end->loss;
    if (end->other) {
        ended->other = end->other->txn;
        ended->other_age = *lock_owner_age(end->other->owner);
    }
    if (end->key.bytes_count > 0 && end->key.bytes_count <= ENDED_KEY_BYTES_MAX)
        ended->key = blob_copy(end->key);
    HASH_ADD(hh, p->ended, txn, sizeof(ended->txn), ended);
    TAILQ_INSERT_TAIL(&p->ended_order, ended, link);
}

/* ---- The life of an entry ---- */

static const bool entry_moves[ENTRY_STATES_COUNT][ENTRY_STATES_COUNT] = {
    [ENTRY_NEW] = {[ENTRY_GROWING] = true, [ENTRY_PREPARED] = true},
    [ENTRY_GROWING] = {[ENTRY_PREPARING] = true, [ENTRY_GONE] = true},
    [ENTRY_PREPARING] = {[ENTRY_BOUND] = true, [ENTRY_GONE] = true},
    [ENTRY_BOUND] = {[ENTRY_PREPARED] = true, [ENTRY_GONE] = true},
    [ENTRY_PREPARED] = {[ENTRY_GONE] = true},
};

void participant_entry_move(struct participant_entry *entry, enum entry_state state)
{
    ASSERT(entry_moves[entry->state][state]);
    entry->state = state;
}

bool participant_entry_can_be_wounded(const struct participant_entry *entry)
{
    return entry->state == ENTRY_GROWING || entry->state == ENTRY_PREPARING;
}

struct participant_entry *participant_entry_find(const struct participant *p, struct txn_id txn)
{
    struct participant_entry *entry;
    HASH_FIND(hh, p->entries, &txn, sizeof(txn), entry);
    return entry;
}

struct participant_entry *participant_entry_new(struct participant *p,
                                                const struct participant_event *event)
{
    struct participant_entry *entry = memory_alloc(sizeof(*entry));
    memset(entry, 0, sizeof(*entry));
    entry->txn = event->txn;
    entry->number = (struct lock_entry_number){p->term, ++p->counter_last};
    entry->state = ENTRY_NEW;
    entry->owner = lock_owner_new(p->table, &event->age, event->txn.sequence, entry);
    entry->made_ns = entry->alive_ns = p->now_ns;
    entry->expiry.kind = TIMER_EXPIRY;
    TAILQ_INIT(&entry->locks);
    TAILQ_INIT(&entry->reads);
    HASH_ADD(hh, p->entries, txn, sizeof(entry->txn), entry);
    return entry;
}

struct participant_entry *participant_entry_of_request(struct participant *p,
                                                       const struct participant_event *event)
{
    struct participant_entry *entry = participant_entry_find(p, event->txn);
    bool is_named = event->entry.term != 0;
    if (entry && (!is_named || (event->entry.term == entry->number.term &&
                                event->entry.counter == entry->number.counter))) {
        entry->alive_ns = p->now_ns;
        return entry;
    }
    /* A try that has ended here does not begin again, not even by a request that was under way
     * before it knew of its entry: the client would take the locks of two entries for those of one.
     */
    const struct participant_ended *ended = entry ? NULL : ended_find(p, event->txn);
    if (ended) {
        struct participant_reason reason = {.loss = ended->loss,
                                            .other = ended->other,
                                            .other_age = ended->other_age,
                                            .key = blob_bytes(ended->key)};
        participant_refuse(p, event->token, ended->status, &reason);
        return NULL;
    }
    if (is_named) {
        COVER(TXN_LOCKS_LOST);
        struct participant_reason reason = {
            .loss = event->entry.term != p->term ? LOSS_LEADER_CHANGED : LOSS_UNSAID};
        participant_refuse(p, event->token, OST_LOCKS_LOST, &reason);
        return NULL;
    }
    if (HASH_COUNT(p->entries) >= p->options.entries_count_max || RARE(TXN_ENTRY_REFUSED)) {
        participant_refuse(p, event->token, OST_BUSY, NULL);
        return NULL;
    }
    entry = participant_entry_new(p, event);
    participant_entry_move(entry, ENTRY_GROWING);
    participant_timer_arm(p, &entry->expiry, p->now_ns + p->options.entry_expiry_ms * NS_PER_MS);
    return entry;
}

/* Everything but its locks and its requests. */
static void entry_free(struct participant *p, struct participant_entry *entry)
{
    participant_timer_disarm(p, &entry->expiry);
    HASH_DEL(p->entries, entry);
    blob_unref(entry->anchor);
    free(entry->write_keys);
    free(entry->checks);
    free(entry);
}

void participant_entry_end(struct participant *p, struct participant_entry *entry,
                           const struct participant_end *end)
{
    struct participant_reason reason = {.loss = end->loss, .key = end->key};
    if (end->other) {
        reason.other = end->other->txn;
        reason.other_age = *lock_owner_age(end->other->owner);
    }
    struct participant_request *request;
    while ((request = TAILQ_FIRST(&entry->locks)))
        participant_request_refuse(p, request, end->status, &reason);
    /* What is BOUND or PREPARED is answered by the caller, who has seen its log entry applied. */
    if (entry->prepare && participant_entry_can_be_wounded(entry))
        participant_request_refuse(p, entry->prepare, end->status, &reason);
    else if (entry->prepare)
        participant_request_free(p, entry->prepare);
    if (end->status_later != OST_OK)
        ended_add(p, entry->txn, end);
    p->prepared_count -= entry->state == ENTRY_PREPARED;
    participant_entry_move(entry, ENTRY_GONE);
    lock_owner_release(p->table, entry->owner);
    /* Each read either goes on or joins another entry's list. */
    while ((request = TAILQ_FIRST(&entry->reads)))
        participant_read_test(p, request);
    entry_free(p, entry);
}

void participant_entry_end_if_unknown(struct participant *p, struct participant_entry *entry)
{
    if (entry->is_told || entry->prepare || !TAILQ_EMPTY(&entry->locks) ||
        !participant_entry_can_be_wounded(entry))
        return;
    struct participant_end end = {.status = OST_LOCKS_LOST, .status_later = OST_OK};
    participant_entry_end(p, entry, &end);
}

void participant_entry_expired(struct participant *p, struct participant_entry *entry)
{
    ASSERT(participant_entry_can_be_wounded(entry)); /* P2 */
    /* A request that waits has a bound of its own, and counts as a sign of life. */
    if (entry->prepare || !TAILQ_EMPTY(&entry->locks))
        entry->alive_ns = p->now_ns;
    /* The timer is not moved at each sign of life, but looks here when it fires. */
    nanoseconds_t deadline_ns = entry->alive_ns + p->options.entry_expiry_ms * NS_PER_MS;
    if (deadline_ns > p->now_ns && !RARE(TXN_ENTRY_EXPIRES_EARLY)) {
        participant_timer_arm(p, &entry->expiry, deadline_ns);
        return;
    }
    COVER(TXN_ENTRY_EXPIRED);
    struct participant_end end = {
        .status = OST_LOCKS_LOST, .status_later = OST_LOCKS_LOST, .loss = LOSS_EXPIRED};
    participant_entry_end(p, entry, &end);
}

/* All at once, with no grants in between. The requests are gone already. */
void participant_entries_clear(struct participant *p)
{
    ASSERT(!p->requests);
    struct participant_entry *entry, *next_entry;
    HASH_ITER (hh, p->entries, entry, next_entry)
        entry_free(p, entry);
    struct participant_ended *ended;
    while ((ended = TAILQ_FIRST(&p->ended_order)))
        ended_free(p, ended);
    lock_table_free(p->table);
    p->table = lock_table_new(&p->options.locks);
    p->prepared_count = 0;
}
