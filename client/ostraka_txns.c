/* ostraka_txns.c: who runs, waits and holds what at a store, for tools: pages put together. */
#include "client/ostraka_internal.h"

#include "base/arena.h"
#include "base/memory.h"
#include "client/core_internal.h"

#include <stdlib.h>

#define ROWS_COUNT_DEFAULT 10000u

struct list {
    struct ost_client *client;
    struct arena *arena; /* what the rows point to */
    uint32_t rows_count_max;
    struct ost_txn_info *txns;
    size_t txns_count, txns_capacity;
    struct ost_lock_info *locks;
    size_t locks_count, locks_capacity;
    /* Where the last page ended. */
    bool more;
    uint64_t group;
    struct lock_entry_number entry;
    uint32_t entry_locks_count;
};

static struct ost_bytes copy_key(struct arena *arena, ProtobufCBinaryData data)
{
    return ost_of_bytes(arena_copy(arena, bytes_of(data.data, data.len)));
}

static const char *state_name(const Ostraka__TxnInfo *from, timestamp_t now)
{
    static const char *const NAMES[] = {"running", "preparing", "committing", "prepared"};
    if (from->state == OSTRAKA__ENTRY_STATE__PREPARED && from->deadline && from->deadline < now)
        return "in doubt";
    return (unsigned)from->state < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[from->state]
                                                                    : "unknown";
}

static void copy_waits(struct list *list, const Ostraka__TxnInfo *from, struct ost_txn_info *to)
{
    struct ost_wait_info *waits = arena_alloc(list->arena, from->n_waits * sizeof(*waits));
    for (size_t index = 0; index < from->n_waits; index++) {
        const Ostraka__LockWait *wait = from->waits[index];
        struct txn_id behind = txn_id_of_message(wait->behind);
        waits[index] = (struct ost_wait_info){
            .start = copy_key(list->arena, wait->start),
            .end = copy_key(list->arena, wait->end),
            .is_key = wait->is_key,
            .exclusive = wait->mode == OSTRAKA__LOCK_MODE__EXCLUSIVE,
            .waited_ms = wait->waited_ms,
            .behind_client = behind.client,
            .behind_sequence = behind.sequence,
            .behind_count = wait->behind_count,
        };
    }
    to->waits = waits;
    to->waits_count = from->n_waits;
    to->waits_total = from->waits_count;
}

static void add_txn(struct list *list, const Ostraka__TxnInfo *from)
{
    if (list->txns_count == list->txns_capacity) {
        list->txns_capacity = list->txns_capacity ? 2 * list->txns_capacity : 64;
        list->txns = memory_realloc(list->txns, list->txns_capacity * sizeof(list->txns[0]));
    }
    const struct client_core *core = runtime_core(list->client);
    struct txn_id id = txn_id_of_message(from->txn);
    struct txn_age age = txn_age_of_message(from->age);
    uint64_t age_ms = core_age_ms(core, &age);
    struct ost_txn_info *to = &list->txns[list->txns_count++];
    *to = (struct ost_txn_info){
        .group = from->group,
        .client = id.client,
        .sequence = id.sequence,
        .age_ms = age_ms > from->here_ms ? age_ms : from->here_ms,
        .state = state_name(from, core_estimate(core)),
        .quiet_ms = from->quiet_ms,
        .locks_count = from->locks_count,
        .reads_held_count = from->reads_held_count,
        .anchor = copy_key(list->arena, from->anchor),
    };
    copy_waits(list, from, to);
}

static void add_lock(struct list *list, const Ostraka__LockInfo *from)
{
    if (list->locks_count == list->locks_capacity) {
        list->locks_capacity = list->locks_capacity ? 2 * list->locks_capacity : 64;
        list->locks = memory_realloc(list->locks, list->locks_capacity * sizeof(list->locks[0]));
    }
    struct txn_id id = txn_id_of_message(from->txn);
    list->locks[list->locks_count++] = (struct ost_lock_info){
        .group = from->group,
        .client = id.client,
        .sequence = id.sequence,
        .start = copy_key(list->arena, from->start),
        .end = copy_key(list->arena, from->end),
        .is_key = from->is_key,
        .exclusive = from->mode == OSTRAKA__LOCK_MODE__EXCLUSIVE,
        .waits = from->waits,
        .waited_ms = from->waited_ms,
    };
}

static void take_page(struct operation *operation, void *context)
{
    struct list *list = context;
    const Ostraka__TxnsAnswer *answer = operation->result_txns;
    list->more = false;
    if (operation->status != OST_OK)
        return;
    for (size_t index = 0; index < answer->n_txns; index++)
        add_txn(list, answer->txns[index]);
    for (size_t index = 0; index < answer->n_locks; index++)
        add_lock(list, answer->locks[index]);
    const Ostraka__TxnsCursor *next = answer->next;
    if (!next || !next->entry)
        return;
    list->more = true;
    list->group = next->group;
    list->entry = (struct lock_entry_number){next->entry->term, next->entry->counter};
    list->entry_locks_count = next->locks_count;
}

static struct operation *page_new(const struct list *list, uint64_t store, bool wants_locks,
                                  uint32_t rows_count_max)
{
    struct operation *operation =
        operation_new(OPERATION_TXNS, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->store = store;
    operation->wants_locks = wants_locks;
    operation->rows_count_max = rows_count_max;
    ostraka__txns_cursor__init(&operation->after);
    ostraka__lock_entry__init(&operation->after_entry);
    operation->after.group = list->more ? list->group : 0;
    operation->after_entry.term = list->entry.term;
    operation->after_entry.counter = list->entry.counter;
    operation->after.locks_count = list->entry_locks_count;
    return operation;
}

/* What out_txns points to. */
struct memory {
    struct arena arena;
    void *rows;
};

static int collect(struct ost_client *client, uint64_t store, uint32_t rows_count_max,
                   bool wants_locks, struct ost_txns *out_txns)
{
    *out_txns = (struct ost_txns){0};
    if (store == 0)
        return api_failed(OST_INVALID_ARGUMENT, "store 0 is none");
    struct memory *memory = memory_alloc_zeroed(1, sizeof(*memory));
    arena_init(&memory->arena);
    struct list list = {.client = client, .arena = &memory->arena};
    uint32_t left = rows_count_max ? rows_count_max : ROWS_COUNT_DEFAULT;
    int status;
    do {
        size_t before = list.txns_count + list.locks_count;
        status = api_call(client, page_new(&list, store, wants_locks, left), take_page, &list);
        size_t added = list.txns_count + list.locks_count - before;
        left = added < left ? left - (uint32_t)added : 0;
        if (added == 0)
            list.more = false;
    } while (status == OST_OK && list.more && left > 0);
    memory->rows = wants_locks ? (void *)list.locks : (void *)list.txns;
    *out_txns = (struct ost_txns){.txns = list.txns,
                                  .txns_count = list.txns_count,
                                  .locks = list.locks,
                                  .locks_count = list.locks_count,
                                  .more = list.more,
                                  .memory = memory};
    if (status != OST_OK)
        ost_txns_free(out_txns);
    return status;
}

OST_API int ost_store_txns(struct ost_client *client, uint64_t store, uint32_t rows_count_max,
                           struct ost_txns *out_txns)
{
    return collect(client, store, rows_count_max, false, out_txns);
}

OST_API int ost_store_locks(struct ost_client *client, uint64_t store, uint32_t rows_count_max,
                            struct ost_txns *out_txns)
{
    return collect(client, store, rows_count_max, true, out_txns);
}

OST_API void ost_txns_free(struct ost_txns *txns)
{
    struct memory *memory = txns->memory;
    if (memory) {
        arena_fini(&memory->arena);
        free(memory->rows);
        free(memory);
    }
    *txns = (struct ost_txns){0};
}
