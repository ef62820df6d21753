/* master_change.c: people ask group 0's leader for other replicas of a group. What can be told at
 * once is told at once; the rest is decided when the entry is applied (R4, R7).
 */
#include "base/memory.h"
#include "proto/frame.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_replicas.h"

#include <stdlib.h>

#define CHANGES_COUNT_MAX 64u

static void change_answer(struct master *master, uint64_t connection_id, uint64_t request_id,
                          group_id_t group_id, int status, const char *text)
{
    const Ostraka__GroupInfo *group = master_map_group(master->map, group_id);
    Ostraka__ChangeReplicasAnswer answer = OSTRAKA__CHANGE_REPLICAS_ANSWER__INIT;
    answer.status = status;
    answer.text = (char *)(uintptr_t)text;
    answer.group_epoch = group ? group->epoch : 0;
    answer.leader_store = status == OST_NOT_LEADER ? master->leadership.leader_store : 0;
    outbox_to_connection(
        master->outbox, connection_id,
        frame_encode(FRAME_CHANGE_REPLICAS_ANSWER, request_id, &answer.base, NULL, 0));
}

static size_t changes_count(const struct master *master)
{
    size_t count = 0;
    const struct master_change *change;
    TAILQ_FOREACH (change, &master->changes, link)
        count++;
    return count;
}

/* OST_OK: the answer comes when the entry is applied. */
static int change_begin(struct master *master, uint64_t connection_id, uint64_t request_id,
                        const Ostraka__ChangeReplicas *request, char *out_why)
{
    if (!master->leadership.ready)
        return master->leadership.role == RAFT_LEADER ? OST_NOT_READY : OST_NOT_LEADER;
    if (master->map->epoch == 0)
        return OST_NOT_READY;
    if (changes_count(master) >= CHANGES_COUNT_MAX)
        return OST_BUSY;
    Ostraka__MasterCommand__ReplicasWanted wanted;
    int status = master_replicas_check(master->map, request, &wanted, out_why);
    if (status != OST_OK)
        return status;
    Ostraka__MasterCommand command = OSTRAKA__MASTER_COMMAND__INIT;
    command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_REPLICAS_WANTED;
    command.replicas_wanted = &wanted;
    raft_index_t index;
    status = master_propose(master, &command, &index);
    if (status != OST_OK)
        return status;
    struct master_change *change = memory_alloc_zeroed(1, sizeof(*change));
    change->connection_id = connection_id;
    change->request_id = request_id;
    change->group = request->group;
    change->index = index;
    TAILQ_INSERT_TAIL(&master->changes, change, link);
    return OST_OK;
}

int master_change_receive(struct master *master, uint64_t connection_id, const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena);
    const Ostraka__ChangeReplicas *request = (const Ostraka__ChangeReplicas *)message_unpack(
        &ostraka__change_replicas__descriptor, frame->message, &arena);
    if (!request) {
        arena_fini(&arena);
        return OST_PROTOCOL;
    }
    char why[MASTER_WHY_BYTES] = "";
    int status = change_begin(master, connection_id, frame->request_id, request, why);
    if (status == OST_EXISTS) /* this request was done before, and its answer lost */
        change_answer(master, connection_id, frame->request_id, request->group, OST_OK, "");
    else if (status != OST_OK)
        change_answer(master, connection_id, frame->request_id, request->group, status, why);
    arena_fini(&arena);
    return OST_OK;
}

static void change_end(struct master *master, struct master_change *change, int status,
                       const char *text)
{
    change_answer(master, change->connection_id, change->request_id, change->group, status, text);
    TAILQ_REMOVE(&master->changes, change, link);
    free(change);
}

void master_change_applied(struct master *master, raft_index_t index, bool is_done)
{
    struct master_change *change, *next;
    for (change = TAILQ_FIRST(&master->changes); change; change = next) {
        next = TAILQ_NEXT(change, link);
        if (change->index == index)
            change_end(master, change, is_done ? OST_OK : OST_CONFLICT,
                       is_done ? "" : "the group's replicas were changed at the same time");
    }
}

void master_changes_end(struct master *master)
{
    struct master_change *change;
    while ((change = TAILQ_FIRST(&master->changes)))
        change_end(master, change, OST_NOT_LEADER, "");
}

void master_changes_drop(struct master *master)
{
    struct master_change *change;
    while ((change = TAILQ_FIRST(&master->changes))) {
        TAILQ_REMOVE(&master->changes, change, link);
        free(change);
    }
}
