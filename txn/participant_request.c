/* Requests that wait: their timers, whom they wound, and how they end. */
#include "txn/participant_internal.h"

#include "base/sometimes.h"

/* ---- Timers ---- */

static int timer_compare(const struct participant_timer *a, const struct participant_timer *b)
{
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns ? -1 : 1;
    return (a->serial > b->serial) - (a->serial < b->serial);
}

RB_GENERATE_INTERNAL(participant_timers, participant_timer, link, timer_compare,
                     __attribute__((unused)) static)

void participant_timer_arm(struct participant *p, struct participant_timer *timer,
                           nanoseconds_t deadline_ns)
{
    participant_timer_disarm(p, timer);
    timer->deadline_ns = deadline_ns;
    timer->serial = ++p->timer_serial_last;
    timer->is_armed = true;
    RB_INSERT(participant_timers, &p->timers, timer);
}

void participant_timer_disarm(struct participant *p, struct participant_timer *timer)
{
    if (!timer->is_armed)
        return;
    RB_REMOVE(participant_timers, &p->timers, timer);
    timer->is_armed = false;
}

struct participant_timer *participant_timer_first(struct participant *p)
{
    return RB_MIN(participant_timers, &p->timers);
}

/* ---- Requests ---- */

struct participant_request *participant_request_find(struct participant *p, uint64_t token)
{
    struct participant_request *request;
    HASH_FIND(hh, p->requests, &token, sizeof(token), request);
    return request;
}

static void request_copy_target(struct participant_request *request,
                                const struct lock_target *target)
{
    request->target = *target;
    if (target->start.bytes_count > 0)
        memcpy(request->data, target->start.data, target->start.bytes_count);
    request->target.start.data = request->data;
    if (!target->is_interval) {
        request->target.end = bytes_of(NULL, 0);
        return;
    }
    request->target.end.data = request->data + target->start.bytes_count;
    if (target->end.bytes_count > 0)
        memcpy(request->data + target->start.bytes_count, target->end.data,
               target->end.bytes_count);
}

struct participant_request *participant_request_new(struct participant *p,
                                                    const struct participant_event *event,
                                                    enum request_kind kind,
                                                    struct participant_entry *entry)
{
    ASSERT(
        !participant_request_find(p, event->token)); /* P1: tokens are the caller's, and unique */
    size_t data_bytes = 0;
    if (kind != REQUEST_PREPARE)
        data_bytes = event->target.start.bytes_count + event->target.end.bytes_count;
    struct participant_request *request = memory_alloc(sizeof(*request) + data_bytes);
    memset(request, 0, sizeof(*request));
    request->token = event->token;
    request->kind = kind;
    request->entry = entry;
    request->since_ns = p->now_ns;
    request->wait.kind = TIMER_WAIT;
    request->ask.kind = TIMER_ASK;
    request->mode = kind == REQUEST_PREPARE ? LOCK_EXCLUSIVE : event->mode;
    if (kind == REQUEST_PREPARE) {
        entry->prepare = request;
    } else {
        request_copy_target(request, &event->target);
        TAILQ_INSERT_TAIL(kind == REQUEST_LOCK ? &entry->locks : &entry->reads, request, link);
    }
    if (kind == REQUEST_READ) {
        COVER(READ_HELD_BACK);
        p->reads_count++;
    }
    HASH_ADD(hh, p->requests, token, sizeof(request->token), request);
    uint32_t wait_ms = p->options.lock_wait_ms_max;
    if (event->wait_ms_max > 0 && event->wait_ms_max < wait_ms)
        wait_ms = event->wait_ms_max;
    if (RARE(LOCK_WAIT_SHORT))
        wait_ms = 1;
    participant_timer_arm(p, &request->wait, p->now_ns + wait_ms * NS_PER_MS);
    return request;
}

void participant_request_free(struct participant *p, struct participant_request *request)
{
    struct participant_entry *entry = request->entry;
    if (request->kind == REQUEST_PREPARE) {
        ASSERT(entry->prepare == request);
        entry->prepare = NULL;
    } else {
        TAILQ_REMOVE(request->kind == REQUEST_LOCK ? &entry->locks : &entry->reads, request, link);
    }
    p->reads_count -= request->kind == REQUEST_READ;
    participant_timer_disarm(p, &request->wait);
    participant_timer_disarm(p, &request->ask);
    HASH_DEL(p->requests, request);
    free(request);
}

void participant_request_refuse(struct participant *p, struct participant_request *request,
                                int status, const struct participant_reason *reason)
{
    struct participant_reason full = reason ? *reason : (struct participant_reason){0};
    full.waited_ms = (p->now_ns - request->since_ns) / NS_PER_MS;
    participant_refuse(p, request->token, status, &full);
    participant_request_free(p, request);
}

/* ---- Wound-wait (T2) ---- */

static void victim_add(struct participant *p, struct participant_entry *victim)
{
    if (p->victims_count == p->victims_capacity) {
        p->victims_capacity = p->victims_capacity > 0 ? 2 * p->victims_capacity : 16;
        p->victims =
            memory_realloc(p->victims, p->victims_capacity * sizeof(struct participant_entry *));
    }
    p->victims[p->victims_count++] = victim;
}

struct younger_search {
    struct participant *p;
    const struct participant_entry *asker;
    bool is_bound_found; /* a younger one that nothing can wound any more */
};

static bool younger_visit(void *context, struct lock_owner *other, bool is_holder)
{
    (void)is_holder;
    struct younger_search *search = context;
    if (lock_owner_compare(search->asker->owner, other) > 0)
        return true; /* older than the asker: wait for it */
    struct participant_entry *entry = lock_owner_context(other);
    if (participant_entry_can_be_wounded(entry))
        victim_add(search->p, entry);
    else
        search->is_bound_found = true;
    return true;
}

void participant_request_queued(struct participant *p, struct participant_request *request)
{
    struct participant_entry *entry = request->entry;
    struct younger_search search = {.p = p, .asker = entry};
    p->victims_count = 0;
    /* Younger waiters are behind this one in the queue already; only holders are in the way. */
    lock_table_conflicts(p->table, entry->owner, &request->target, request->mode, NULL,
                         younger_visit, &search);
    struct participant_end end = {
        .status = OST_WOUNDED,
        .status_later = OST_WOUNDED,
        .other = entry,
        .key = request->target.start,
    };
    for (uint32_t index = 0; index < p->victims_count; index++) {
        p->update->wounded_count++;
        COVER(HOLDER_WOUNDED);
        if (!TAILQ_EMPTY(&p->victims[index]->locks))
            COVER(WAITER_WOUNDED);
        if (p->victims[index]->prepare)
            COVER(PREPARE_WOUNDED);
        participant_entry_end(p, p->victims[index], &end);
    }
    /* Holders that come later are older (K3), so that now is the only time to look. */
    if (!search.is_bound_found)
        return;
    uint32_t ask_ms = RARE(PREPARED_ASKED_AT_ONCE) ? 0 : p->options.prepared_ask_ms;
    participant_timer_arm(p, &request->ask, p->now_ns + ask_ms * NS_PER_MS);
}

static bool ask_visit(void *context, struct lock_owner *other, bool is_holder)
{
    (void)is_holder;
    struct younger_search *search = context;
    struct participant *p = search->p;
    if (lock_owner_compare(search->asker->owner, other) > 0)
        return true;
    struct participant_entry *entry = lock_owner_context(other);
    search->is_bound_found = true;
    /* Before its entry is applied there is nothing to ask about. */
    if (entry->state != ENTRY_PREPARED)
        return true;
    nanoseconds_t interval_ns = p->options.prepared_ask_ms * NS_PER_MS;
    if (entry->asked_ns != 0 && p->now_ns < entry->asked_ns + interval_ns)
        return true;
    entry->asked_ns = p->now_ns;
    COVER(PREPARED_ASKED_ABOUT);
    participant_inquire(p, entry);
    return true;
}

void participant_request_ask(struct participant *p, struct participant_request *request)
{
    struct younger_search search = {.p = p, .asker = request->entry};
    lock_table_conflicts(p->table, request->entry->owner, &request->target, request->mode, NULL,
                         ask_visit, &search);
    if (search.is_bound_found)
        participant_timer_arm(p, &request->ask, p->now_ns + p->options.prepared_ask_ms * NS_PER_MS);
}

/* ---- The end of a wait ---- */

void participant_request_withdraw(struct participant *p, struct participant_request *request)
{
    if (request->kind != REQUEST_READ)
        lock_table_cancel(p->table, request->entry->owner, request->token);
}

static bool blocker_visit(void *context, struct lock_owner *other, bool is_holder)
{
    (void)is_holder;
    struct participant_reason *reason = context;
    const struct participant_entry *entry = lock_owner_context(other);
    reason->other = entry->txn;
    reason->other_age = *lock_owner_age(other);
    return false;
}

void participant_request_timed_out(struct participant *p, struct participant_request *request)
{
    struct participant_entry *entry = request->entry;
    struct participant_reason reason = {.key = request->target.start};
    if (request->kind == REQUEST_READ) {
        blocker_visit(&reason, entry->owner, true);
        participant_request_refuse(p, request, OST_LOCK_TIMEOUT, &reason);
        return;
    }
    if (request->is_ready) {
        /* It has its locks; the oracle does not answer. */
        participant_request_refuse(p, request, OST_DEADLINE_EXCEEDED, NULL);
    } else {
        COVER(LOCK_TIMED_OUT);
        lock_table_conflicts(p->table, entry->owner, &request->target, request->mode,
                             lock_owner_age(entry->owner), blocker_visit, &reason);
        participant_request_withdraw(p, request);
        participant_request_refuse(p, request, OST_LOCK_TIMEOUT, &reason);
    }
    entry->alive_ns = p->now_ns;
    participant_prepare_check_ready(p, entry);
    participant_entry_end_if_unknown(p, entry);
}

/* ---- Reads ---- */

struct bound_search {
    timestamp_t timestamp;
    struct participant_entry *found;
};

static bool bound_visit(void *context, struct lock_owner *other, bool is_holder)
{
    (void)is_holder;
    struct bound_search *search = context;
    struct participant_entry *entry = lock_owner_context(other);
    if (participant_entry_can_be_wounded(entry) || entry->bound > search->timestamp)
        return true;
    search->found = entry;
    return false;
}

/* Of the whole group, the entries are looked through, which are far fewer than their locks. One
 * that holds only shared locks is waited for as well: that does no harm. */
static struct participant_entry *any_bound_entry(const struct participant *p, timestamp_t timestamp)
{
    struct participant_entry *entry;
    for (entry = p->entries; entry; entry = entry->hh.next) {
        bool is_bound = entry->state == ENTRY_BOUND || entry->state == ENTRY_PREPARED;
        if (is_bound && entry->bound <= timestamp)
            return entry;
    }
    return NULL;
}

struct participant_entry *participant_bound_writer(const struct participant *p,
                                                   const struct lock_target *target,
                                                   timestamp_t timestamp)
{
    if (target->is_interval && target->start.bytes_count == 0 && target->end.bytes_count == 0)
        return any_bound_entry(p, timestamp);
    struct bound_search search = {.timestamp = timestamp};
    lock_table_conflicts(p->table, NULL, target, LOCK_SHARED, NULL, bound_visit, &search);
    return search.found;
}

void participant_read_test(struct participant *p, struct participant_request *request)
{
    struct participant_entry *writer =
        participant_bound_writer(p, &request->target, request->timestamp);
    if (!writer) {
        participant_grant(p, request->token, (struct lock_entry_number){0, 0});
        participant_request_free(p, request);
        return;
    }
    TAILQ_REMOVE(&request->entry->reads, request, link);
    request->entry = writer;
    TAILQ_INSERT_TAIL(&writer->reads, request, link);
}
