/* master_ranges_ask.c: people ask group 0's leader to split, merge or move a range, or to call a
 * move off. What can be told at once is told at once; the rest is decided when the entry is applied
 * (R4, R7), and the answer has the number of the change: the map shows it until it is done.
 */
#include "base/memory.h"
#include "proto/frame.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_ranges.h"
#include "shardmaster/master_replicas.h"

#include <stdlib.h>

#define WAITERS_COUNT_MAX 256u

static void ask_answer(struct master *master, uint64_t connection_id, uint64_t request_id,
                       int status, const char *text, uint64_t change)
{
    Ostraka__ChangeRangeAnswer answer = OSTRAKA__CHANGE_RANGE_ANSWER__INIT;
    answer.status = status;
    answer.text = (char *)(uintptr_t)text;
    answer.change = change;
    answer.leader_store = status == OST_NOT_LEADER ? master->leadership.leader_store : 0;
    outbox_to_connection(
        master->outbox, connection_id,
        frame_encode(FRAME_CHANGE_RANGE_ANSWER, request_id, &answer.base, NULL, 0));
}

int master_range_change_propose(struct master *master, const Ostraka__ChangeRange *request,
                                raft_index_t *out_index, uint64_t *out_change, char *out_why)
{
    Ostraka__MasterCommand__RangeChangeWanted wanted;
    int status = master_ranges_check(master->map, request, &wanted, out_why);
    *out_change = wanted.change;
    if (status != OST_OK)
        return status;
    /* Several may be in the log at once: each has a number of its own, and none is used again if
     * its entry comes to nothing. */
    struct master_leader *leader = &master->leader;
    uint64_t next = master->map->next_change > 0 ? master->map->next_change : 1;
    wanted.change = leader->change_next > next ? leader->change_next : next;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_WANTED;
    command.range_change_wanted = &wanted;
    status = master_propose(master, &command, out_index);
    if (status != OST_OK)
        return status;
    leader->change_next = wanted.change + 1;
    *out_change = wanted.change;
    return OST_OK;
}

static int cancel_propose(struct master *master, uint64_t change, raft_index_t *out_index,
                          char *out_why)
{
    Ostraka__MasterCommand__RangeChangeCancelled cancelled;
    int status = master_ranges_check_cancel(master->map, change, &cancelled, out_why);
    if (status != OST_OK)
        return status;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_CANCELLED;
    command.range_change_cancelled = &cancelled;
    return master_propose(master, &command, out_index);
}

/* OST_OK: the answer comes when the entry is applied. */
static int ask_begin(struct master *master, uint64_t connection_id, uint64_t request_id,
                     const Ostraka__ChangeRange *request, uint64_t *out_change, char *out_why)
{
    if (!master->leadership.ready)
        return master->leadership.role == RAFT_LEADER ? OST_NOT_READY : OST_NOT_LEADER;
    if (master->map->epoch == 0)
        return OST_NOT_READY;
    if (master->range_waiters_count >= WAITERS_COUNT_MAX)
        return OST_BUSY;
    raft_index_t index;
    int status;
    if (request->kind == OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE) {
        *out_change = request->cancel;
        status = cancel_propose(master, request->cancel, &index, out_why);
    } else {
        status = master_range_change_propose(master, request, &index, out_change, out_why);
        if (status == OST_EXISTS)
            master_ranges_placement_asked(master, *out_change);
    }
    if (status != OST_OK)
        return status;
    struct master_range_waiter *waiter = memory_alloc_zeroed(1, sizeof(*waiter));
    waiter->connection_id = connection_id;
    waiter->request_id = request_id;
    waiter->change = *out_change;
    waiter->index = index;
    TAILQ_INSERT_TAIL(&master->range_waiters, waiter, link);
    master->range_waiters_count++;
    return OST_OK;
}

int master_range_ask_receive(struct master *master, uint64_t connection_id,
                             const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena);
    const Ostraka__ChangeRange *request = (const Ostraka__ChangeRange *)message_unpack(
        &ostraka__change_range__descriptor, frame->message, &arena);
    if (!request) {
        arena_fini(&arena);
        return OST_PROTOCOL;
    }
    char why[MASTER_WHY_BYTES] = "";
    uint64_t change = 0;
    int status = ask_begin(master, connection_id, frame->request_id, request, &change, why);
    if (status == OST_EXISTS) /* this request was done before, and its answer lost */
        ask_answer(master, connection_id, frame->request_id, OST_OK, "", change);
    else if (status != OST_OK)
        ask_answer(master, connection_id, frame->request_id, status, why, change);
    arena_fini(&arena);
    return OST_OK;
}

static void waiter_free(struct master *master, struct master_range_waiter *waiter)
{
    TAILQ_REMOVE(&master->range_waiters, waiter, link);
    master->range_waiters_count--;
    free(waiter);
}

/* They wait in the order of their entries. */
void master_range_ask_applied(struct master *master, raft_index_t index, bool is_done)
{
    struct master_range_waiter *waiter = TAILQ_FIRST(&master->range_waiters);
    if (!waiter || waiter->index != index)
        return;
    ask_answer(master, waiter->connection_id, waiter->request_id, is_done ? OST_OK : OST_CONFLICT,
               is_done ? "" : "the range was changed at the same time",
               is_done ? waiter->change : 0);
    waiter_free(master, waiter);
}

void master_range_asks_end(struct master *master)
{
    struct master_range_waiter *waiter;
    while ((waiter = TAILQ_FIRST(&master->range_waiters))) {
        ask_answer(master, waiter->connection_id, waiter->request_id, OST_NOT_LEADER, "", 0);
        waiter_free(master, waiter);
    }
}

void master_range_asks_drop(struct master *master)
{
    while (!TAILQ_EMPTY(&master->range_waiters))
        waiter_free(master, TAILQ_FIRST(&master->range_waiters));
}
