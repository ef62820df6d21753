#include "tests/sim/raft_trace.h"

#include "base/memory.h"
#include "cmd/node_internal.h"
#include "raft/host_internal.h"
#include "raft/raft_internal.h"
#include "tests/sim/process.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 32u

/* What was last told of a replica. */
struct told {
    replica_id_t replica; /* 0: none */
    struct raft_status status;
    raft_index_t applied_index;
    raft_index_t configuration_index;
    raft_term_t last_term;
    uint64_t durable_when; /* the log's unit with which term and vote are durable */
    bool is_durable;
};

struct raft_trace {
    FILE *file;
    struct arena arena;
    struct told told[SIM_STORES_MAX][GROUPS_MAX]; /* by group id */
};

struct raft_trace *raft_trace_new(FILE *file)
{
    struct raft_trace *trace = memory_alloc_zeroed(1, sizeof *trace);
    trace->file = file;
    arena_init(&trace->arena);
    return trace;
}

void raft_trace_free(struct raft_trace *trace)
{
    if (trace)
        arena_fini(&trace->arena);
    free(trace);
}

static struct told *told_of(struct raft_trace *trace, const struct process *process,
                            group_id_t group)
{
    ASSERT(group < GROUPS_MAX);
    return &trace->told[process->store_id - 1][group];
}

/* --- Lines
 * ------------------------------------------------------------------------------------------- */

static void event_print(struct raft_trace *trace, const struct process *process, const char *event,
                        group_id_t group, replica_id_t replica)
{
    fprintf(trace->file,
            "{\"event\":\"%s\",\"time\":%" PRIu64 ",\"store\":%" PRIu64 ",\"start\":%" PRIu64
            ",\"group\":%" PRIu64 ",\"replica\":%" PRIu64,
            event, process->sim->schedule.now_ns, process->store_id, process->incarnation, group,
            replica);
}

enum member_kind { MEMBER_OLD, MEMBER_NEW, MEMBER_LEARNER };

static void members_print(FILE *file, const char *name,
                          const struct raft_configuration *configuration, enum member_kind kind)
{
    const char *separator = "";
    fprintf(file, ",\"%s\":[", name);
    for (uint32_t i = 0; i < configuration->members_count; i++) {
        const struct raft_member *member = &configuration->members[i];
        bool is_one = kind == MEMBER_OLD   ? member->voter_old
                      : kind == MEMBER_NEW ? member->voter_new
                                           : !member->voter_old && !member->voter_new;
        if (!is_one)
            continue;
        fprintf(file, "%s%" PRIu64, separator, member->replica);
        separator = ",";
    }
    fputc(']', file);
}

static void state_print(FILE *file, const struct host_group *group)
{
    struct raft_status status;
    raft_get_status(group->raft, &status);
    const struct raft_configuration *configuration = raft_get_configuration(group->raft);
    fprintf(file,
            ",\"state\":{\"role\":\"%s\",\"term\":%" PRIu64 ",\"vote\":%" PRIu64
            ",\"leader\":%" PRIu64 ",\"commit\":%" PRIu64 ",\"applied\":%" PRIu64
            ",\"log\":{\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"last_term\":%" PRIu64
            ",\"durable\":%" PRIu64 "},\"configuration\":{\"index\":%" PRIu64 ",\"epoch\":%" PRIu64,
            raft_role_name(status.role), status.term, status.vote, status.leader,
            status.commit_index, group->applied_index, status.first_index, status.last_index,
            raft_log_last_term(&group->raft->log), status.durable_index,
            raft_configuration_index(group->raft), configuration->epoch);
    members_print(file, "old", configuration, MEMBER_OLD);
    members_print(file, "new", configuration, MEMBER_NEW);
    members_print(file, "learners", configuration, MEMBER_LEARNER);
    fputs("}}", file);
}

static void change_print(struct raft_trace *trace, const struct process *process, const char *event,
                         const struct host_group *group)
{
    event_print(trace, process, event, group->group, group->replica);
    state_print(trace->file, group);
    fputs("}\n", trace->file);
}

/* --- States
 * ------------------------------------------------------------------------------------------ */

static const char *become_name(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER:
        return "BecomeFollower";
    case RAFT_PRE_CANDIDATE:
        return "BecomePreCandidate";
    case RAFT_CANDIDATE:
        return "BecomeCandidate";
    case RAFT_LEADER:
        return "BecomeLeader";
    }
    ASSERT(!"no such role");
    return "";
}

/* One line for each kind of change, each with the state as it is now. */
static void group_look(struct raft_trace *trace, const struct process *process,
                       const struct host_group *group)
{
    struct told *told = told_of(trace, process, group->group);
    struct raft_status now;
    raft_get_status(group->raft, &now);
    if (told->replica != group->replica) {
        *told = (struct told){.replica = group->replica};
        told->durable_when = group->queued_id;
        change_print(trace, process, "Create", group);
    } else {
        const struct raft_status *before = &told->status;
        if (now.term != before->term || now.role != before->role)
            change_print(trace, process, become_name(now.role), group);
        else if (now.vote != before->vote)
            change_print(trace, process, "Vote", group);
        if (now.term != before->term || now.vote != before->vote) {
            told->durable_when = group->queued_id;
            told->is_durable = false;
        }
        if (now.first_index > before->last_index + 1)
            change_print(trace, process, "InstallSnapshot", group);
        else if (now.last_index != before->last_index ||
                 raft_log_last_term(&group->raft->log) != told->last_term)
            change_print(trace, process, "AppendEntries", group);
        if (raft_configuration_index(group->raft) != told->configuration_index)
            change_print(trace, process, "ChangeConfiguration", group);
        if (now.durable_index != before->durable_index)
            change_print(trace, process, "PersistEntries", group);
        if (now.commit_index != before->commit_index)
            change_print(trace, process, "Commit", group);
        if (group->applied_index != told->applied_index)
            change_print(trace, process, "Apply", group);
    }
    if (!told->is_durable && group->persisted_id >= told->durable_when) {
        told->is_durable = true;
        change_print(trace, process, "PersistTermAndVote", group);
    }
    told->status = now;
    told->applied_index = group->applied_index;
    told->configuration_index = raft_configuration_index(group->raft);
    told->last_term = raft_log_last_term(&group->raft->log);
}

void raft_trace_look(struct raft_trace *trace, struct process *process)
{
    if (!trace || process->sim->is_tearing_down)
        return;
    const struct host_group *group;
    for (group_id_t id = 0; id < GROUPS_MAX; id++) {
        struct told *told = told_of(trace, process, id);
        if (told->replica == 0)
            continue;
        group = host_group_find(process->node->raft, id);
        if (group && group->replica == told->replica)
            continue;
        event_print(trace, process, "Destroy", id, told->replica);
        fputs("}\n", trace->file);
        *told = (struct told){0};
    }
    for (group = process->node->raft->groups; group; group = group->hh.next)
        group_look(trace, process, group);
}

void raft_trace_started(struct raft_trace *trace, struct process *process)
{
    if (!trace)
        return;
    const struct host_group *group;
    for (group = process->node->raft->groups; group; group = group->hh.next) {
        struct told *told = told_of(trace, process, group->group);
        *told = (struct told){.replica = group->replica, .is_durable = true};
        change_print(trace, process, "Restart", group);
        raft_get_status(group->raft, &told->status);
        told->applied_index = group->applied_index;
        told->configuration_index = raft_configuration_index(group->raft);
        told->last_term = raft_log_last_term(&group->raft->log);
    }
}

void raft_trace_stopped(struct raft_trace *trace, struct process *process)
{
    for (group_id_t id = 0; trace && id < GROUPS_MAX; id++) {
        struct told *told = told_of(trace, process, id);
        if (told->replica == 0)
            continue;
        event_print(trace, process, "Stop", id, told->replica);
        fputs("}\n", trace->file);
        *told = (struct told){0};
    }
}

/* --- Messages
 * ---------------------------------------------------------------------------------------- */

static const char *message_name(uint32_t type)
{
    static const char *const names[] = {
        [RAFT_MSG_PRE_VOTE_REQUEST] = "PreVoteRequest",
        [RAFT_MSG_PRE_VOTE_ANSWER] = "PreVoteAnswer",
        [RAFT_MSG_VOTE_REQUEST] = "VoteRequest",
        [RAFT_MSG_VOTE_ANSWER] = "VoteAnswer",
        [RAFT_MSG_APPEND_REQUEST] = "AppendEntriesRequest",
        [RAFT_MSG_APPEND_ANSWER] = "AppendEntriesAnswer",
        [RAFT_MSG_TIMEOUT_NOW] = "TimeoutNow",
        [RAFT_MSG_SNAPSHOT_ACK] = "SnapshotAck",
    };
    ASSERT(type < sizeof names / sizeof names[0] && names[type]);
    return names[type];
}

/* Up to the message; the line is left open. */
static void message_begin(struct raft_trace *trace, struct process *process, const char *what,
                          const char *name, group_id_t id, replica_id_t own)
{
    char event[48];
    snprintf(event, sizeof event, "%s%s", what, name);
    event_print(trace, process, event, id, own);
    const struct host_group *group = host_group_find(process->node->raft, id);
    if (group && group->replica == own)
        state_print(trace->file, group);
    else
        fputs(",\"state\":null", trace->file); /* R6: it is for, or of, one that is not here */
    fprintf(trace->file, ",\"message\":{\"type\":\"%s\"", name);
}

static void message_print(struct raft_trace *trace, struct process *process, bool is_sent,
                          const Ostraka__RaftMessage *message)
{
    message_begin(trace, process, is_sent ? "Send" : "Receive", message_name(message->type),
                  message->group, is_sent ? message->from : message->to);
    fprintf(trace->file,
            ",\"from\":%" PRIu64 ",\"to\":%" PRIu64 ",\"term\":%" PRIu64 ",\"index\":%" PRIu64
            ",\"index_term\":%" PRIu64 ",\"commit\":%" PRIu64 ",\"rejected\":%s,\"forced\":%s"
            ",\"hint_index\":%" PRIu64 ",\"hint_term\":%" PRIu64 ",\"read_round\":%" PRIu64
            ",\"entries\":%zu,\"entry_terms\":[",
            message->from, message->to, message->term, message->index, message->index_term,
            message->commit_index, message->rejected ? "true" : "false",
            message->forced ? "true" : "false", message->reject_hint_index,
            message->reject_hint_term, message->read_round, message->n_entries);
    for (size_t i = 0; i < message->n_entries; i++)
        fprintf(trace->file, "%s%" PRIu64, i ? "," : "", message->entries[i]->term);
    fputs("]}}\n", trace->file);
}

static void chunk_print(struct raft_trace *trace, struct process *process, bool is_sent,
                        const Ostraka__RaftSnapshotChunk *chunk)
{
    message_begin(trace, process, is_sent ? "Send" : "Receive", "SnapshotChunk", chunk->group,
                  is_sent ? chunk->from : chunk->to);
    fprintf(trace->file,
            ",\"from\":%" PRIu64 ",\"to\":%" PRIu64 ",\"term\":%" PRIu64 ",\"index\":%" PRIu64
            ",\"index_term\":%" PRIu64 ",\"sequence\":%" PRIu64 ",\"last\":%s}}\n",
            chunk->from, chunk->to, chunk->term, chunk->meta ? chunk->meta->index : 0,
            chunk->meta ? chunk->meta->term : 0, chunk->sequence, chunk->last ? "true" : "false");
}

static void frame_print(struct raft_trace *trace, struct process *process, bool is_sent,
                        const struct frame *frame)
{
    if (frame->type == FRAME_RAFT_BATCH) {
        const Ostraka__RaftBatch *batch = (const Ostraka__RaftBatch *)message_unpack(
            &ostraka__raft_batch__descriptor, frame->message, &trace->arena);
        for (size_t i = 0; batch && i < batch->n_messages; i++)
            message_print(trace, process, is_sent, batch->messages[i]);
    } else if (frame->type == FRAME_RAFT_SNAPSHOT_CHUNK) {
        const Ostraka__RaftSnapshotChunk *chunk =
            (const Ostraka__RaftSnapshotChunk *)message_unpack(
                &ostraka__raft_snapshot_chunk__descriptor, frame->message, &trace->arena);
        if (chunk)
            chunk_print(trace, process, is_sent, chunk);
    }
    arena_reset(&trace->arena);
}

void raft_trace_send(struct raft_trace *trace, struct process *process, const struct frame *frame)
{
    if (trace)
        frame_print(trace, process, true, frame);
}

void raft_trace_receive(struct raft_trace *trace, struct process *process,
                        const struct frame *frame)
{
    if (trace && !process->sim->is_tearing_down)
        frame_print(trace, process, false, frame);
}
