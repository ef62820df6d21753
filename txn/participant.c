#include "txn/participant.h"

#include "txn/participant_internal.h"

void participant_options_default(struct participant_options *out_options)
{
    *out_options = (struct participant_options){
        .locks = {.queue_count_max = 1024, .locks_count_max = 1000000},
        .lock_wait_ms_max = 5000,
        .entry_expiry_ms = 5000,
        .prepared_ask_ms = 50,
        .entries_count_max = 100000,
    };
}

struct participant *participant_new(const struct participant_options *options)
{
    struct participant *p = memory_alloc_zeroed(1, sizeof(*p));
    p->options = *options;
    p->table = lock_table_new(&options->locks);
    RB_INIT(&p->timers);
    TAILQ_INIT(&p->ended_order);
    return p;
}

void participant_free(struct participant *participant)
{
    if (!participant)
        return;
    struct participant_request *request, *next;
    HASH_ITER (hh, participant->requests, request, next)
        participant_request_free(participant, request);
    participant_entries_clear(participant);
    lock_table_free(participant->table);
    free(participant->victims);
    free(participant);
}

/* ---- Requests ---- */

static void entry_tell(struct participant *p, struct participant_entry *entry, uint64_t token)
{
    entry->is_told = true;
    participant_grant(p, token, entry->number);
}

static void step_lock(struct participant *p, const struct participant_event *event)
{
    struct participant_entry *entry = participant_entry_of_request(p, event);
    if (!entry)
        return;
    struct participant_reason reason = {.key = event->target.start};
    if (entry->state != ENTRY_GROWING) {
        participant_refuse(p, event->token, OST_CONFLICT, &reason);
        return;
    }
    int status =
        lock_table_acquire(p->table, entry->owner, &event->target, event->mode, event->token);
    if (status == OST_OK) {
        entry_tell(p, entry, event->token);
        return;
    }
    if (status != OST_WOULD_BLOCK) {
        participant_refuse(p, event->token, status, &reason);
        participant_entry_end_if_unknown(p, entry);
        return;
    }
    struct participant_request *request = participant_request_new(p, event, REQUEST_LOCK, entry);
    participant_request_queued(p, request);
}

static void step_read(struct participant *p, const struct participant_event *event)
{
    timestamp_t timestamp = event->type == PARTICIPANT_EV_READ_AT ? event->timestamp : UINT64_MAX;
    struct participant_entry *writer = participant_bound_writer(p, &event->target, timestamp);
    if (writer)
        participant_request_new(p, event, REQUEST_READ, writer)->timestamp = timestamp;
    else
        participant_grant(p, event->token, (struct lock_entry_number){0, 0});
}

static bool entry_is_named(const struct participant_entry *entry,
                           const struct participant_event *event)
{
    return entry->number.term == event->entry.term && entry->number.counter == event->entry.counter;
}

/* VALIDATE and HEARTBEAT: never makes an entry. */
static void step_confirm(struct participant *p, const struct participant_event *event)
{
    struct participant_entry *entry = participant_entry_find(p, event->txn);
    if (!entry || !entry_is_named(entry, event)) {
        if (event->entry.term == 0)
            participant_refuse(p, event->token, OST_LOCKS_LOST, NULL);
        else
            participant_entry_of_request(p, event); /* refuses, with the reason */
        return;
    }
    /* T8: a transaction that prepares has another way to commit. */
    if (event->type == PARTICIPANT_EV_VALIDATE && entry->state != ENTRY_GROWING) {
        participant_refuse(p, event->token, OST_CONFLICT, NULL);
        return;
    }
    entry->alive_ns = p->now_ns;
    participant_grant(p, event->token, entry->number);
}

static void step_release(struct participant *p, const struct participant_event *event)
{
    struct participant_entry *entry = participant_entry_find(p, event->txn);
    if (entry && participant_entry_can_be_wounded(entry) &&
        (event->entry.term == 0 || entry_is_named(entry, event))) {
        struct participant_end end = {.status = OST_CANCELED, .status_later = OST_OK};
        participant_entry_end(p, entry, &end);
    }
    participant_grant(p, event->token, event->entry);
}

static void step_cancel(struct participant *p, const struct participant_event *event)
{
    struct participant_request *request = participant_request_find(p, event->token);
    if (!request)
        return;
    if (request->kind == REQUEST_READ) {
        participant_request_free(p, request);
        return;
    }
    struct participant_entry *entry = request->entry;
    participant_request_withdraw(p, request);
    participant_request_free(p, request);
    entry->alive_ns = p->now_ns;
    participant_prepare_check_ready(p, entry);
}

/* ---- A range goes away ---- */

static bool targets_share_key(const struct lock_target *target, const struct lock_target *range)
{
    if (target->is_interval)
        return ranges_overlap(target->start, target->end, range->start, range->end);
    return key_in_range(target->start, range->start, range->end);
}

struct range_search {
    const struct lock_target *range;
    bool is_found;
};

static void range_visit(void *context, const struct lock_target *target, enum lock_mode mode)
{
    (void)mode;
    struct range_search *search = context;
    search->is_found = search->is_found || targets_share_key(target, search->range);
}

static bool entry_touches(const struct participant_entry *entry, const struct lock_target *range)
{
    struct range_search search = {.range = range};
    lock_owner_each(entry->owner, range_visit, &search);
    const struct participant_request *request;
    TAILQ_FOREACH (request, &entry->locks, link)
        range_visit(&search, &request->target, request->mode);
    uint32_t keys_count = entry->write_keys ? entry->write_keys->keys_count : 0;
    for (uint32_t index = 0; index < keys_count && !search.is_found; index++) {
        struct lock_target target = {.start = entry->write_keys->keys[index]};
        range_visit(&search, &target, LOCK_EXCLUSIVE);
    }
    uint32_t checks_count = entry->checks ? entry->checks->targets_count : 0;
    for (uint32_t index = 0; index < checks_count && !search.is_found; index++)
        range_visit(&search, &entry->checks->targets[index], LOCK_SHARED);
    return search.is_found;
}

static void step_freeze_range(struct participant *p, const struct participant_event *event)
{
    struct lock_target range = event->target;
    range.is_interval = true;
    struct participant_request *request, *next_request;
    HASH_ITER (hh, p->requests, request, next_request) {
        if (request->kind != REQUEST_READ || !targets_share_key(&request->target, &range))
            continue;
        struct participant_reason reason = {.key = request->target.start};
        participant_request_refuse(p, request, OST_RANGE_MOVED, &reason);
    }
    struct participant_entry *entry, *next;
    HASH_ITER (hh, p->entries, entry, next) {
        if (!participant_entry_can_be_wounded(entry) || !entry_touches(entry, &range))
            continue;
        struct participant_end end = {
            .status = OST_RANGE_MOVED, .status_later = OST_LOCKS_LOST, .loss = LOSS_RANGE_MOVES};
        participant_entry_end(p, entry, &end);
    }
}

/* ---- Leadership and time ---- */

static void step_led(struct participant *p, const struct participant_event *event)
{
    ASSERT(!p->is_led && !p->entries && event->term > p->term);
    p->is_led = true;
    p->term = event->term;
    p->counter_last = 0;
}

static void step_deposed(struct participant *p)
{
    p->is_led = false;
    struct participant_request *request, *next;
    HASH_ITER (hh, p->requests, request, next)
        participant_request_refuse(p, request, OST_NOT_LEADER, NULL);
    participant_entries_clear(p);
}

/* What the lock table has granted; each grant may let a prepare take more locks and wound others.
 */
static void take_grants(struct participant *p)
{
    struct lock_owner *owner;
    uint64_t token;
    while (lock_table_granted(p->table, &owner, &token)) {
        struct participant_entry *entry = lock_owner_context(owner);
        struct participant_request *request = participant_request_find(p, token);
        ASSERT(request && request->entry == entry);
        entry->alive_ns = p->now_ns;
        if (request->kind == REQUEST_PREPARE) {
            participant_prepare_granted(p, entry);
            continue;
        }
        participant_request_free(p, request);
        entry_tell(p, entry, token);
        participant_prepare_check_ready(p, entry);
    }
}

#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static void step_timer(struct participant *p)
{
    struct participant_timer *timer;
    while ((timer = participant_timer_first(p)) && timer->deadline_ns <= p->now_ns) {
        participant_timer_disarm(p, timer);
        switch (timer->kind) {
        case TIMER_EXPIRY:
            participant_entry_expired(p, CONTAINER_OF(timer, struct participant_entry, expiry));
            break;
        case TIMER_WAIT:
            participant_request_timed_out(p, CONTAINER_OF(timer, struct participant_request, wait));
            break;
        case TIMER_ASK:
            participant_request_ask(p, CONTAINER_OF(timer, struct participant_request, ask));
            break;
        }
        /* Before the next one, which may be of a request that this has let through. */
        take_grants(p);
    }
}

static void step_request(struct participant *p, const struct participant_event *event)
{
    if (event->type == PARTICIPANT_EV_RELEASE) {
        step_release(p, event);
        return;
    }
    if (!p->is_led) {
        participant_refuse(p, event->token, OST_NOT_LEADER, NULL);
        return;
    }
    if (event->type == PARTICIPANT_EV_LOCK)
        step_lock(p, event);
    else if (event->type == PARTICIPANT_EV_READ || event->type == PARTICIPANT_EV_READ_AT)
        step_read(p, event);
    else if (event->type == PARTICIPANT_EV_PREPARE)
        participant_step_prepare(p, event);
    else
        step_confirm(p, event);
}

/* What the caller learned. A replica that does not lead learns it too, and has no use for it. */
static void step_fact(struct participant *p, const struct participant_event *event)
{
    if (!p->is_led)
        return;
    if (event->type == PARTICIPANT_EV_TIMESTAMP)
        participant_step_timestamp(p, event);
    else if (event->type == PARTICIPANT_EV_PREPARED)
        participant_step_prepared(p, event);
    else if (event->type == PARTICIPANT_EV_FINISHED)
        participant_step_finished(p, event);
    else
        step_freeze_range(p, event);
}

void participant_step(struct participant *participant, const struct participant_event *event,
                      struct participant_update *update)
{
    struct participant *p = participant;
    p->now_ns = event->now_ns;
    p->update = update;
    switch (event->type) {
    case PARTICIPANT_EV_LED:
        step_led(p, event);
        break;
    case PARTICIPANT_EV_RECOVERED:
        ASSERT(p->is_led);
        participant_step_recovered(p, event);
        break;
    case PARTICIPANT_EV_DEPOSED:
        step_deposed(p);
        break;
    case PARTICIPANT_EV_LOCK:
    case PARTICIPANT_EV_READ:
    case PARTICIPANT_EV_READ_AT:
    case PARTICIPANT_EV_PREPARE:
    case PARTICIPANT_EV_VALIDATE:
    case PARTICIPANT_EV_HEARTBEAT:
    case PARTICIPANT_EV_RELEASE:
        step_request(p, event);
        break;
    case PARTICIPANT_EV_CANCEL:
        step_cancel(p, event);
        break;
    case PARTICIPANT_EV_TIMESTAMP:
    case PARTICIPANT_EV_PREPARED:
    case PARTICIPANT_EV_FINISHED:
    case PARTICIPANT_EV_FREEZE_RANGE:
        step_fact(p, event);
        break;
    case PARTICIPANT_EV_TIMER:
        step_timer(p);
        break;
    }
    take_grants(p); /* P4 */
    const struct participant_timer *first = participant_timer_first(p);
    update->deadline_ns = first ? first->deadline_ns : NS_NEVER;
    p->update = NULL;
}

/* ---- Questions ---- */

bool participant_find_prepare(const struct participant *participant, struct txn_id txn,
                              uint64_t *out_token)
{
    const struct participant_entry *entry = participant_entry_find(participant, txn);
    if (!entry || !entry->prepare)
        return false;
    *out_token = entry->prepare->token;
    return true;
}

struct each_lock {
    struct txn_id owner;
    void (*visit)(void *context, struct txn_id owner, const struct lock_target *target,
                  enum lock_mode mode);
    void *context;
};

static void each_lock_visit(void *context, const struct lock_target *target, enum lock_mode mode)
{
    const struct each_lock *each = context;
    each->visit(each->context, each->owner, target, mode);
}

void participant_each_lock(const struct participant *participant,
                           void (*visit)(void *context, struct txn_id owner,
                                         const struct lock_target *target, enum lock_mode mode),
                           void *context)
{
    const struct participant_entry *entry;
    for (entry = participant->entries; entry; entry = entry->hh.next) {
        struct each_lock each = {entry->txn, visit, context};
        lock_owner_each(entry->owner, each_lock_visit, &each);
    }
}

void participant_get_counts(const struct participant *participant,
                            struct participant_counts *out_counts)
{
    uint64_t owners_count;
    lock_table_counts(participant->table, &out_counts->keys_locked, &out_counts->waiters,
                      &owners_count);
    out_counts->waiters += participant->reads_count;
    out_counts->entries = HASH_COUNT(participant->entries);
    out_counts->prepared = participant->prepared_count;
}

bool participant_has_bound_writer(const struct participant *participant,
                                  const struct lock_target *target)
{
    return participant_bound_writer(participant, target, UINT64_MAX) != NULL;
}

/* ---- For tests ---- */

static bool younger_is_bound_check(void *context, struct lock_owner *other, bool is_holder)
{
    const struct participant_request *request = context;
    const struct participant_entry *entry = lock_owner_context(other);
    if (is_holder && lock_owner_compare(request->entry->owner, other) < 0)
        ASSERT(!participant_entry_can_be_wounded(entry)); /* P3 */
    return true;
}

static void request_check(const struct participant *p, struct participant_request *request)
{
    const struct participant_entry *entry = request->entry;
    if (request->kind == REQUEST_READ) {
        ASSERT(!participant_entry_can_be_wounded(entry)); /* P5 */
        return;
    }
    if (request->kind == REQUEST_PREPARE) {
        ASSERT(entry->prepare == request);
        ASSERT(entry->state == ENTRY_PREPARING || entry->state == ENTRY_BOUND);
        if (entry->state == ENTRY_BOUND || participant_prepare_holds_all(entry))
            return;
    }
    ASSERT(!lock_owner_holds(p->table, entry->owner, &request->target, request->mode));
    lock_table_conflicts(p->table, entry->owner, &request->target, request->mode, NULL,
                         younger_is_bound_check, request);
}

void participant_check(const struct participant *participant)
{
    lock_table_check(participant->table);
    struct participant_request *request, *next;
    HASH_ITER (hh, participant->requests, request, next)
        request_check(participant, request);
    uint64_t prepared_count = 0;
    const struct participant_entry *entry, *next_entry;
    HASH_ITER (hh, participant->entries, entry, next_entry) {
        prepared_count += entry->state == ENTRY_PREPARED;
        ASSERT(entry->expiry.is_armed == participant_entry_can_be_wounded(entry)); /* P2 */
        ASSERT(participant_entry_can_be_wounded(entry) || TAILQ_EMPTY(&entry->locks));
        ASSERT(!participant_entry_can_be_wounded(entry) || TAILQ_EMPTY(&entry->reads)); /* P5 */
    }
    ASSERT(prepared_count == participant->prepared_count);
    uint64_t keys_locked, waiters_count, owners_count;
    lock_table_counts(participant->table, &keys_locked, &waiters_count, &owners_count);
    ASSERT(owners_count == HASH_COUNT(participant->entries));
}
