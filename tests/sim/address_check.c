#include "tests/sim/address_check.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>

#define GROUPS_MAX 32u

struct address_check {
    struct arena arena;
    uint32_t groups; /* of the frame under way: it holds messages for others, and none for them */
    struct raft_status before[GROUPS_MAX];
    replica_id_t named[GROUPS_MAX]; /* by one of these messages */
    struct check_result result;
};

struct address_check *address_check_new(void)
{
    struct address_check *check = memory_alloc_zeroed(1, sizeof *check);
    arena_init(&check->arena);
    check_result_init(&check->result);
    return check;
}

void address_check_free(struct address_check *check)
{
    arena_fini(&check->arena);
    free(check);
}

const struct check_result *address_check_result(const struct address_check *check)
{
    return &check->result;
}

void address_check_receive(struct address_check *check, const struct raft_host *host,
                           const struct frame *frame, uint32_t groups)
{
    check->groups = 0;
    if (groups == 0 || frame->type != FRAME_RAFT_BATCH)
        return;
    uint32_t addressed = 0;
    const Ostraka__RaftBatch *batch = (const Ostraka__RaftBatch *)message_unpack(
        &ostraka__raft_batch__descriptor, frame->message, &check->arena);
    for (size_t i = 0; batch && i < batch->n_messages; i++) {
        const Ostraka__RaftMessage *message = batch->messages[i];
        const struct host_group *group = host_group_find(host, message->group);
        if (!group || !(groups >> message->group & 1))
            continue;
        if (message->to == group->replica) {
            addressed |= 1u << message->group;
            continue;
        }
        check->groups |= 1u << message->group;
        check->named[message->group] = message->to;
        raft_get_status(group->raft, &check->before[message->group]);
    }
    check->groups &= ~addressed;
    arena_reset(&check->arena);
}

static bool is_same(const struct raft_status *a, const struct raft_status *b)
{
    return a->role == b->role && a->term == b->term && a->vote == b->vote &&
           a->leader == b->leader && a->commit_index == b->commit_index &&
           a->last_index == b->last_index;
}

void address_check_received(struct address_check *check, const struct raft_host *host)
{
    for (group_id_t id = 0; check->groups != 0; id++, check->groups >>= 1) {
        const struct host_group *group = check->groups & 1 ? host_group_find(host, id) : NULL;
        struct raft_status now;
        if (!group)
            continue;
        raft_get_status(group->raft, &now);
        check->result.judged_count++;
        if (!is_same(&check->before[id], &now))
            check_result_violation(&check->result, "message-of-another",
                                   "group %" PRIu64 ": a message to replica %" PRIu64
                                   " changed replica %" PRIu64,
                                   id, check->named[id], group->replica);
    }
}
