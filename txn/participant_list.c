/* What the lock table looks like to people: entries, what they hold, what they wait for. */
#include "txn/participant_internal.h"

static enum participant_state state_of(const struct participant_entry *entry)
{
    switch (entry->state) {
    case ENTRY_PREPARING:
        return PARTICIPANT_PREPARING;
    case ENTRY_BOUND:
        return PARTICIPANT_BOUND;
    case ENTRY_PREPARED:
        return PARTICIPANT_PREPARED;
    default:
        return PARTICIPANT_GROWING;
    }
}

/* A prepare that has all its locks waits for the oracle or the log, not for anybody. */
static bool prepare_waits(const struct participant_entry *entry)
{
    return entry->state == ENTRY_PREPARING && entry->prepare && !entry->prepare->is_ready &&
           entry->write_keys_held < entry->write_keys->keys_count;
}

static uint64_t since_ms(nanoseconds_t since_ns, nanoseconds_t now_ns)
{
    return now_ns > since_ns ? (now_ns - since_ns) / NS_PER_MS : 0;
}

void participant_each_entry(const struct participant *participant, nanoseconds_t now_ns,
                            uint64_t after_counter,
                            bool (*visit)(void *context, const struct participant_entry *entry,
                                          const struct participant_entry_info *info),
                            void *context)
{
    /* uthash keeps them in the order of their making, which is that of their counters. */
    const struct participant_entry *entry;
    for (entry = participant->entries; entry; entry = entry->hh.next) {
        if (entry->number.counter <= after_counter)
            continue;
        struct participant_entry_info info = {
            .txn = entry->txn,
            .age = *lock_owner_age(entry->owner),
            .number = entry->number,
            .state = state_of(entry),
            .here_ms = since_ms(entry->made_ns, now_ns),
            .quiet_ms = since_ms(entry->alive_ns, now_ns),
            .locks_count = lock_owner_locks_count(entry->owner),
            .anchor = blob_bytes(entry->anchor),
            .deadline = entry->deadline,
        };
        const struct participant_request *request;
        TAILQ_FOREACH (request, &entry->reads, link)
            info.reads_held_count++;
        TAILQ_FOREACH (request, &entry->locks, link)
            info.waits_count++;
        info.waits_count += prepare_waits(entry);
        if (!visit(context, entry, &info))
            return;
    }
}

void participant_entry_each_lock(const struct participant_entry *entry,
                                 void (*visit)(void *context, const struct lock_target *target,
                                               enum lock_mode mode),
                                 void *context)
{
    lock_owner_each(entry->owner, visit, context);
}

static bool behind_visit(void *context, struct lock_owner *other, bool is_holder)
{
    (void)is_holder;
    struct participant_wait_info *wait = context;
    if (wait->behind_count++ == 0) {
        const struct participant_entry *entry = lock_owner_context(other);
        wait->behind = entry->txn;
        wait->behind_age = *lock_owner_age(other);
    }
    return true;
}

static void wait_tell(const struct participant *participant, const struct participant_entry *entry,
                      const struct participant_request *request, nanoseconds_t now_ns,
                      void (*visit)(void *context, const struct participant_wait_info *wait),
                      void *context)
{
    struct participant_wait_info wait = {
        .target = request->target,
        .mode = request->mode,
        .waited_ms = since_ms(request->since_ns, now_ns),
    };
    lock_table_conflicts(participant->table, entry->owner, &request->target, request->mode,
                         lock_owner_age(entry->owner), behind_visit, &wait);
    visit(context, &wait);
}

void participant_entry_each_wait(const struct participant *participant,
                                 const struct participant_entry *entry, nanoseconds_t now_ns,
                                 void (*visit)(void *context,
                                               const struct participant_wait_info *wait),
                                 void *context)
{
    const struct participant_request *request;
    TAILQ_FOREACH (request, &entry->locks, link)
        wait_tell(participant, entry, request, now_ns, visit, context);
    if (prepare_waits(entry))
        wait_tell(participant, entry, entry->prepare, now_ns, visit, context);
}
