#include "txn/participant_internal.h"

void participant_update_init(struct participant_update *update)
{
    *update = (struct participant_update){.deadline_ns = NS_NEVER};
    arena_init(&update->arena);
}

void participant_update_reset(struct participant_update *update)
{
    struct arena arena = update->arena;
    arena_reset(&arena);
    *update = (struct participant_update){.arena = arena, .deadline_ns = NS_NEVER};
}

void participant_update_fini(struct participant_update *update)
{
    arena_fini(&update->arena);
    *update = (struct participant_update){.deadline_ns = NS_NEVER};
}

/* Room for one more. The arrays are dropped with the arena, so a grown one just leaves its old
 * place. */
static void *array_grow(struct arena *arena, void *array, uint32_t count, uint32_t *capacity,
                        size_t bytes_each)
{
    if (count < *capacity)
        return array;
    uint32_t capacity_new = *capacity > 0 ? 2 * *capacity : 4;
    void *grown = arena_alloc(arena, capacity_new * bytes_each);
    if (count > 0)
        memcpy(grown, array, count * bytes_each);
    *capacity = capacity_new;
    return grown;
}

void participant_grant(struct participant *p, uint64_t token, struct lock_entry_number number)
{
    struct participant_update *update = p->update;
    update->granted = array_grow(&update->arena, update->granted, update->granted_count,
                                 &update->granted_capacity, sizeof(*update->granted));
    update->granted[update->granted_count++] = (struct participant_granted){token, number};
}

struct participant_ready *participant_ready_add(struct participant *p)
{
    struct participant_update *update = p->update;
    update->ready = array_grow(&update->arena, update->ready, update->ready_count,
                               &update->ready_capacity, sizeof(*update->ready));
    struct participant_ready *ready = &update->ready[update->ready_count++];
    *ready = (struct participant_ready){0};
    return ready;
}

void participant_refuse(struct participant *p, uint64_t token, int status,
                        const struct participant_reason *reason)
{
    struct participant_update *update = p->update;
    update->refused = array_grow(&update->arena, update->refused, update->refused_count,
                                 &update->refused_capacity, sizeof(*update->refused));
    struct participant_refused *refused = &update->refused[update->refused_count++];
    *refused = (struct participant_refused){.token = token, .status = status};
    if (!reason)
        return;
    refused->reason = *reason;
    refused->reason.key = arena_copy(&update->arena, reason->key);
}

void participant_inquire(struct participant *p, const struct participant_entry *entry)
{
    struct participant_update *update = p->update;
    update->inquiries = array_grow(&update->arena, update->inquiries, update->inquiries_count,
                                   &update->inquiries_capacity, sizeof(*update->inquiries));
    update->inquiries[update->inquiries_count++] = (struct participant_inquiry){
        .txn = entry->txn,
        .anchor = arena_copy(&update->arena, blob_bytes(entry->anchor)),
        .deadline = entry->deadline,
    };
}
