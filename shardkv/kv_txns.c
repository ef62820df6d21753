/* kv_txns.c: who runs, waits and holds what in the groups that this store leads, page by page, for
 * people. A page is bounded in rows and bytes; where it ended is named by the entry's number, which
 * only grows, so that entries that come and go meanwhile disturb nobody.
 */
#include "shardkv/kv_group.h"

#define PAGE_ROWS_COUNT_MAX 1000u
#define PAGE_BYTES_MAX      (512u << 10)
#define WAITS_SHOWN_MAX     4u

struct page {
    struct arena *arena;
    Ostraka__TxnsAnswer *answer;
    bool is_of_locks;
    uint32_t rows_count, rows_count_max;
    size_t bytes_count;
    const struct kv_group *group;
    nanoseconds_t now_ns;
    /* Of the entry being told. */
    struct txn_id txn;
    uint32_t locks_seen, locks_skipped;
    bool is_cut; /* there is more */
};

static bool page_is_full(const struct page *page)
{
    return page->rows_count >= page->rows_count_max || page->bytes_count >= PAGE_BYTES_MAX;
}

static ProtobufCBinaryData page_copy(struct page *page, struct bytes bytes)
{
    page->bytes_count += bytes.bytes_count;
    return field_of_bytes(arena_copy(page->arena, bytes));
}

static Ostraka__TxnId *id_new(struct page *page, struct txn_id txn)
{
    Ostraka__TxnId *message = arena_alloc(page->arena, sizeof(*message));
    ostraka__txn_id__init(message);
    txn_id_to_message(txn, message);
    return message;
}

static Ostraka__TxnAge *age_new(struct page *page, const struct txn_age *age)
{
    Ostraka__TxnAge *message = arena_alloc(page->arena, sizeof(*message));
    ostraka__txn_age__init(message);
    txn_age_to_message(age, message);
    return message;
}

static Ostraka__LockMode mode_of(enum lock_mode mode)
{
    return mode == LOCK_EXCLUSIVE ? OSTRAKA__LOCK_MODE__EXCLUSIVE : OSTRAKA__LOCK_MODE__SHARED;
}

static void page_cut(struct page *page, struct lock_entry_number number, uint32_t locks_count)
{
    Ostraka__TxnsCursor *cursor = arena_alloc(page->arena, sizeof(*cursor));
    Ostraka__LockEntry *entry = arena_alloc(page->arena, sizeof(*entry));
    ostraka__txns_cursor__init(cursor);
    ostraka__lock_entry__init(entry);
    entry->term = number.term;
    entry->counter = number.counter;
    cursor->group = page->group->id;
    cursor->entry = entry;
    cursor->locks_count = locks_count;
    page->answer->next = cursor;
    page->is_cut = true;
}

/* --- Transactions ------------------------------------------------------------------------------
 */

struct waits {
    struct page *page;
    Ostraka__TxnInfo *info;
};

static void wait_add(void *context, const struct participant_wait_info *wait)
{
    struct waits *waits = context;
    struct page *page = waits->page;
    if (waits->info->n_waits == WAITS_SHOWN_MAX)
        return;
    Ostraka__LockWait *message = arena_alloc(page->arena, sizeof(*message));
    ostraka__lock_wait__init(message);
    message->start = page_copy(page, wait->target.start);
    message->end = page_copy(page, wait->target.end);
    message->is_key = !wait->target.is_interval;
    message->mode = mode_of(wait->mode);
    message->waited_ms = wait->waited_ms;
    message->behind_count = wait->behind_count;
    if (wait->behind_count > 0) {
        message->behind = id_new(page, wait->behind);
        message->behind_age = age_new(page, &wait->behind_age);
    }
    waits->info->waits[waits->info->n_waits++] = message;
}

static bool txn_add(void *context, const struct participant_entry *entry,
                    const struct participant_entry_info *info)
{
    struct page *page = context;
    Ostraka__TxnInfo *message = arena_alloc(page->arena, sizeof(*message));
    ostraka__txn_info__init(message);
    message->group = page->group->id;
    message->txn = id_new(page, info->txn);
    message->age = age_new(page, &info->age);
    message->state = (Ostraka__EntryState)info->state;
    message->here_ms = info->here_ms;
    message->quiet_ms = info->quiet_ms;
    message->locks_count = info->locks_count;
    message->reads_held_count = info->reads_held_count;
    message->waits_count = info->waits_count;
    message->anchor = page_copy(page, info->anchor);
    message->deadline = info->deadline;
    message->waits = arena_alloc(page->arena, WAITS_SHOWN_MAX * sizeof(message->waits[0]));
    struct waits waits = {page, message};
    participant_entry_each_wait(page->group->participant, entry, page->now_ns, wait_add, &waits);
    page->answer->txns[page->answer->n_txns++] = message;
    page->rows_count++;
    if (!page_is_full(page))
        return true;
    page_cut(page, info->number, 0);
    return false;
}

/* --- Locks -------------------------------------------------------------------------------------
 */

static void lock_row_add(struct page *page, const struct lock_target *target, enum lock_mode mode,
                         bool waits, uint64_t waited_ms)
{
    if (page->locks_seen++ < page->locks_skipped)
        return;
    if (page_is_full(page)) {
        page->locks_seen--; /* not told */
        page->is_cut = true;
        page->locks_skipped = UINT32_MAX; /* nor is what comes after it */
        return;
    }
    Ostraka__LockInfo *message = arena_alloc(page->arena, sizeof(*message));
    ostraka__lock_info__init(message);
    message->group = page->group->id;
    message->txn = id_new(page, page->txn);
    message->start = page_copy(page, target->start);
    message->end = page_copy(page, target->end);
    message->is_key = !target->is_interval;
    message->mode = mode_of(mode);
    message->waits = waits;
    message->waited_ms = waited_ms;
    page->answer->locks[page->answer->n_locks++] = message;
    page->rows_count++;
}

static void lock_held(void *context, const struct lock_target *target, enum lock_mode mode)
{
    lock_row_add(context, target, mode, false, 0);
}

static void lock_waited_for(void *context, const struct participant_wait_info *wait)
{
    lock_row_add(context, &wait->target, wait->mode, true, wait->waited_ms);
}

static bool entry_locks_add(void *context, const struct participant_entry *entry,
                            const struct participant_entry_info *info)
{
    struct page *page = context;
    page->txn = info->txn;
    page->locks_seen = 0;
    uint32_t told_before = page->locks_skipped;
    uint32_t rows_before = page->rows_count;
    participant_entry_each_lock(entry, lock_held, page);
    participant_entry_each_wait(page->group->participant, entry, page->now_ns, lock_waited_for,
                                page);
    if (page->is_cut) {
        struct lock_entry_number number = info->number;
        uint32_t told = told_before + page->rows_count - rows_before;
        number.counter -= told == 0; /* behind the one before: of this one nothing was told */
        page_cut(page, number, told);
        return false;
    }
    page->locks_skipped = 0;
    return true;
}

/* --- A page ------------------------------------------------------------------------------------
 */

void kv_server_txns(const struct kv_server *server, nanoseconds_t now_ns,
                    const Ostraka__TxnsRequest *request, struct arena *arena,
                    Ostraka__TxnsAnswer *answer)
{
    struct page page = {.arena = arena,
                        .answer = answer,
                        .is_of_locks = request->locks,
                        .rows_count_max = PAGE_ROWS_COUNT_MAX,
                        .now_ns = now_ns};
    if (request->rows_count_max > 0 && request->rows_count_max < page.rows_count_max)
        page.rows_count_max = request->rows_count_max;
    answer->txns = arena_alloc(arena, page.rows_count_max * sizeof(answer->txns[0]));
    answer->locks = arena_alloc(arena, page.rows_count_max * sizeof(answer->locks[0]));
    const Ostraka__TxnsCursor *after = request->after;
    group_id_t from = after ? after->group : 0;
    while (!page.is_cut && (page.group = kv_server_led_from(server, from)) != NULL) {
        uint64_t after_counter = 0;
        page.locks_skipped = 0;
        /* The counters of another leadership say nothing about this one's. */
        if (after && after->entry && after->group == page.group->id &&
            after->entry->term == page.group->term) {
            page.locks_skipped = request->locks ? after->locks_count : 0;
            after_counter = after->entry->counter - (page.locks_skipped > 0 ? 1 : 0);
        }
        participant_each_entry(page.group->participant, now_ns, after_counter,
                               page.is_of_locks ? entry_locks_add : txn_add, &page);
        from = page.group->id + 1;
    }
}
