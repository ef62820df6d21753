/* master_safe_point.c: what group 0's leader does about the safe point (safe_point.h): lets it
 * follow the clock at the distance of the history that is kept, tells the stores, and answers who
 * holds it back.
 *
 * An entry raises the ceiling to the clock that it was proposed by. So the next leader hands out
 * nothing below the safe point, though the ceiling rests while nobody asks for timestamps (O1).
 * The safe point rests as well, once it is above every timestamp that was handed out: there is
 * nothing more to drop, and an idle cluster writes nothing.
 */
#include "base/log.h"
#include "base/memory.h"
#include "proto/frame.h"
#include "shardmaster/master_internal.h"

#include <stdlib.h>

#define ADVANCE_NS_MIN    NS_PER_S
#define ADVANCE_NS_MAX    (60 * NS_PER_S)
#define ADVANCE_PARTS     10 /* of the history */
#define WAITERS_COUNT_MAX 4096u

static timestamp_t now_of(const struct master *master)
{
    return timestamp_from_ms(master->oracle.physical_ns / NS_PER_MS);
}

timestamp_t master_safe_point(const struct master *master)
{
    return master->safe.safe_point;
}

/* --- Advancing --- */

static nanoseconds_t advance_every_ns(const struct master *master)
{
    nanoseconds_t every_ns = master->options.history_ms * NS_PER_MS / ADVANCE_PARTS;
    if (every_ns < ADVANCE_NS_MIN)
        return ADVANCE_NS_MIN;
    return every_ns > ADVANCE_NS_MAX ? ADVANCE_NS_MAX : every_ns;
}

static bool advance_is_wanted(const struct master *master)
{
    return master->map->epoch != 0 && master->safe.safe_point < master->oracle.last;
}

nanoseconds_t master_safe_point_deadline_ns(const struct master *master)
{
    return advance_is_wanted(master) ? master->leader.safe_point_ns : NS_NEVER;
}

/* One that is refused, or has no effect because of a hold, is made again at the next time. */
void master_safe_point_timer(struct master *master)
{
    if (master->now_ns < master_safe_point_deadline_ns(master))
        return;
    master->leader.safe_point_ns = master->now_ns + advance_every_ns(master);
    timestamp_t now = now_of(master);
    timestamp_t history = timestamp_from_ms(master->options.history_ms);
    if (now <= history || now - history <= master->safe.safe_point)
        return;
    Ostraka__MasterCommand__AdvanceSafePoint advance =
        OSTRAKA__MASTER_COMMAND__ADVANCE_SAFE_POINT__INIT;
    advance.safe_point = now - history;
    advance.now = now;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_ADVANCE_SAFE_POINT;
    command.advance_safe_point = &advance;
    raft_index_t index;
    int status = master_propose(master, &command, &index);
    if (status != OST_OK)
        log_write(LOG_DEBUG, "the safe point waits", "status=%s", ost_status_name(status));
}

static void tell_store(struct master *master, store_id_t store)
{
    Ostraka__SafePoint message = OSTRAKA__SAFE_POINT__INIT;
    message.safe_point = master->safe.safe_point;
    outbox_to_store(master->outbox, store, CHANNEL_CONTROL,
                    frame_encode(FRAME_SAFE_POINT, 0, &message.base, NULL, 0));
}

void master_safe_point_reported(struct master *master, store_id_t store, timestamp_t known)
{
    if (known < master->safe.safe_point)
        tell_store(master, store);
}

static void raise_ceiling(struct master *master, timestamp_t now)
{
    if (now <= master->ceiling)
        return;
    master->ceiling = now;
    master->oracle_dirty = true;
    oracle_ceiling_applied(&master->oracle, now);
}

void master_safe_point_apply_advance(struct master *master,
                                     const Ostraka__MasterCommand__AdvanceSafePoint *command)
{
    raise_ceiling(master, command->now);
    master->safe_dirty = true;
    if (!safe_point_advance(&master->safe, command) || !master->leadership.ready)
        return;
    for (size_t place = 0; place < master->map->n_stores; place++)
        tell_store(master, master->map->stores[place]->id);
}

/* --- Holds --- */

struct master_hold_waiter {
    TAILQ_ENTRY(master_hold_waiter) link;
    uint64_t connection_id;
    uint64_t request_id;
    raft_index_t index;
};

static void hold_answer(struct master *master, uint64_t connection_id, uint64_t request_id,
                        int status, const char *text)
{
    Ostraka__HoldAnswer answer = OSTRAKA__HOLD_ANSWER__INIT;
    answer.status = status;
    answer.safe_point = master->safe.safe_point;
    answer.leader_store = status == OST_NOT_LEADER ? master->leadership.leader_store : 0;
    answer.text = (char *)(uintptr_t)text;
    outbox_to_connection(master->outbox, connection_id,
                         frame_encode(FRAME_HOLD_ANSWER, request_id, &answer.base, NULL, 0));
}

static int hold_propose(struct master *master, Ostraka__HoldRequest *request,
                        raft_index_t *out_index)
{
    if (!master->leadership.ready)
        return master->leadership.role == RAFT_LEADER ? OST_NOT_READY : OST_NOT_LEADER;
    if (master->hold_waiters_count >= WAITERS_COUNT_MAX)
        return OST_BUSY;
    Ostraka__MasterCommand__SetHold set = OSTRAKA__MASTER_COMMAND__SET_HOLD__INIT;
    set.hold = request;
    set.now = now_of(master);
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_SET_HOLD;
    command.set_hold = &set;
    return master_propose(master, &command, out_index);
}

int master_hold_receive(struct master *master, uint64_t connection_id, const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__HoldRequest *request = (Ostraka__HoldRequest *)message_unpack(
        &ostraka__hold_request__descriptor, frame->message, &arena);
    if (!request) {
        arena_fini(&arena);
        return OST_PROTOCOL;
    }
    const char *why = safe_point_hold_check(request);
    raft_index_t index;
    int status = why ? OST_INVALID_ARGUMENT : hold_propose(master, request, &index);
    arena_fini(&arena);
    if (status != OST_OK) {
        hold_answer(master, connection_id, frame->request_id, status, why ? why : "");
        return OST_OK;
    }
    struct master_hold_waiter *waiter = memory_alloc_zeroed(1, sizeof(*waiter));
    waiter->connection_id = connection_id;
    waiter->request_id = frame->request_id;
    waiter->index = index;
    TAILQ_INSERT_TAIL(&master->hold_waiters, waiter, link);
    master->hold_waiters_count++;
    return OST_OK;
}

static void waiter_free(struct master *master, struct master_hold_waiter *waiter)
{
    TAILQ_REMOVE(&master->hold_waiters, waiter, link);
    master->hold_waiters_count--;
    free(waiter);
}

/* They wait in the order of their entries. */
void master_safe_point_apply_hold(struct master *master, raft_index_t index,
                                  const Ostraka__MasterCommand__SetHold *command)
{
    raise_ceiling(master, command->now);
    int status = safe_point_set_hold(&master->safe, command);
    master->safe_dirty = true;
    struct master_hold_waiter *waiter = TAILQ_FIRST(&master->hold_waiters);
    if (!waiter || waiter->index != index)
        return;
    const char *text = status == OST_BUSY               ? "over the limit HOLDS_COUNT_MAX (10000)"
                       : status == OST_SNAPSHOT_TOO_OLD ? "the safe point has passed the timestamp"
                                                        : "";
    hold_answer(master, waiter->connection_id, waiter->request_id, status, text);
    waiter_free(master, waiter);
}

void master_holds_end(struct master *master)
{
    struct master_hold_waiter *waiter;
    while ((waiter = TAILQ_FIRST(&master->hold_waiters))) {
        hold_answer(master, waiter->connection_id, waiter->request_id, OST_NOT_LEADER, "");
        waiter_free(master, waiter);
    }
}

void master_holds_drop(struct master *master)
{
    while (!TAILQ_EMPTY(&master->hold_waiters))
        waiter_free(master, TAILQ_FIRST(&master->hold_waiters));
}
