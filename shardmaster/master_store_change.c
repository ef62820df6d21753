/* master_store_change.c: people and stores that join ask group 0's leader for other stores. What
 * can be told at once is told at once; the rest is decided when the entry is applied (R4, R7).
 */
#include "base/log.h"
#include "base/memory.h"
#include "proto/frame.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_stores.h"

#include <stdlib.h>

#define STORE_CHANGES_COUNT_MAX 64u

/* Somebody who waits for the entry to be applied. */
struct master_store_change {
    TAILQ_ENTRY(master_store_change) link;
    uint64_t connection_id;
    uint64_t request_id;
    raft_index_t index;
};

static void store_change_answer(struct master *master, uint64_t connection_id, uint64_t request_id,
                                int status, const char *text)
{
    Ostraka__ChangeStoreAnswer answer = OSTRAKA__CHANGE_STORE_ANSWER__INIT;
    answer.status = status;
    answer.text = (char *)(uintptr_t)text;
    answer.leader_store = status == OST_NOT_LEADER ? master->leadership.leader_store : 0;
    outbox_to_connection(
        master->outbox, connection_id,
        frame_encode(FRAME_CHANGE_STORE_ANSWER, request_id, &answer.base, NULL, 0));
}

/* OST_OK: the answer comes when the entry is applied. */
static int store_change_begin(struct master *master, uint64_t connection_id, uint64_t request_id,
                              const Ostraka__ChangeStore *request, char *out_why)
{
    if (!master->leadership.ready)
        return master->leadership.role == RAFT_LEADER ? OST_NOT_READY : OST_NOT_LEADER;
    if (master->map->epoch == 0)
        return OST_NOT_READY;
    if (master->store_changes_count >= STORE_CHANGES_COUNT_MAX)
        return OST_BUSY;
    struct master_store_command command;
    int status = master_stores_check(master->map, request, &command, out_why);
    if (status != OST_OK)
        return status;
    raft_index_t index;
    status = master_propose(master, &command.command, &index);
    if (status != OST_OK)
        return status;
    struct master_store_change *change = memory_alloc_zeroed(1, sizeof(*change));
    change->connection_id = connection_id;
    change->request_id = request_id;
    change->index = index;
    TAILQ_INSERT_TAIL(&master->store_changes, change, link);
    master->store_changes_count++;
    return OST_OK;
}

int master_store_change_receive(struct master *master, uint64_t connection_id,
                                const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena);
    const Ostraka__ChangeStore *request = (const Ostraka__ChangeStore *)message_unpack(
        &ostraka__change_store__descriptor, frame->message, &arena);
    if (!request) {
        arena_fini(&arena);
        return OST_PROTOCOL;
    }
    char why[MASTER_WHY_BYTES] = "";
    int status = store_change_begin(master, connection_id, frame->request_id, request, why);
    if (status != OST_OK)
        store_change_answer(master, connection_id, frame->request_id, status, why);
    arena_fini(&arena);
    return OST_OK;
}

static void store_change_free(struct master *master, struct master_store_change *change)
{
    TAILQ_REMOVE(&master->store_changes, change, link);
    master->store_changes_count--;
    free(change);
}

static void store_change_applied(struct master *master, raft_index_t index, bool is_done)
{
    struct master_store_change *change, *next;
    for (change = TAILQ_FIRST(&master->store_changes); change; change = next) {
        next = TAILQ_NEXT(change, link);
        if (change->index != index)
            continue;
        store_change_answer(master, change->connection_id, change->request_id,
                            is_done ? OST_OK : OST_BUSY,
                            is_done ? "" : "the cluster was changed at the same time: ask again");
        store_change_free(master, change);
    }
}

void master_store_changes_end(struct master *master)
{
    struct master_store_change *change;
    while ((change = TAILQ_FIRST(&master->store_changes))) {
        store_change_answer(master, change->connection_id, change->request_id, OST_NOT_LEADER, "");
        store_change_free(master, change);
    }
}

void master_store_changes_drop(struct master *master)
{
    struct master_store_change *change;
    while ((change = TAILQ_FIRST(&master->store_changes)))
        store_change_free(master, change);
}

/* --- Applying --- */

static bool store_command_do(Ostraka__Map *map, const Ostraka__MasterCommand *command,
                             struct arena *arena)
{
    switch (command->command_case) {
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_JOINED:
        return master_store_joined(map, command->store_joined, arena);
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_STATE_SET:
        return master_store_state_set(map, command->store_state_set);
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_REMOVED:
        return master_store_removed(map, command->store_removed);
    default:
        return master_store_host_set(map, command->store_host_set, arena);
    }
}

static void store_command_log(const struct master *master, const Ostraka__MasterCommand *command)
{
    store_id_t here = master->options.store_id;
    switch (command->command_case) {
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_JOINED:
        log_write(LOG_INFO, "a store has joined", "store=%lu other_store=%lu address=%s", here,
                  command->store_joined->store, command->store_joined->address);
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_STATE_SET:
        log_write(command->store_state_set->state == MASTER_STORE_DEAD ? LOG_WARN : LOG_INFO,
                  "a store has another state", "store=%lu other_store=%lu from=%s to=%s", here,
                  command->store_state_set->store,
                  master_store_state_name(command->store_state_set->expected),
                  master_store_state_name(command->store_state_set->state));
        break;
    case OSTRAKA__MASTER_COMMAND__COMMAND_STORE_REMOVED:
        log_write(LOG_INFO, "a store was removed", "store=%lu other_store=%lu", here,
                  command->store_removed->store);
        break;
    default:
        break;
    }
}

/* On a copy, which stands for the map only if the command could be done. */
bool master_store_change_apply(struct master *master, raft_index_t index,
                               const Ostraka__MasterCommand *command)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__Map *copy = master_map_copy(master->map, &arena);
    bool is_done = store_command_do(copy, command, &arena);
    if (is_done) {
        master_adopt_map(master, copy, &arena);
        store_command_log(master, command);
        if (command->command_case == OSTRAKA__MASTER_COMMAND__COMMAND_STORE_JOINED)
            master_leader_store_joined(master, command->store_joined->store);
        if (command->command_case == OSTRAKA__MASTER_COMMAND__COMMAND_STORE_REMOVED)
            master_leader_forget_store(master, command->store_removed->store);
    } else {
        arena_fini(&arena);
    }
    store_change_applied(master, index, is_done);
    return is_done;
}
