/* kv_peers.c: what other groups ask about transactions, and what the shard master commands.
 *
 * These come by key and are answered by key: the asking group may have another leader by now.
 * Nobody is told no: who is not the leader keeps quiet, and the other side asks again.
 */
#include "shardkv/kv_group.h"

#include "base/sometimes.h"

struct kv_request *kv_peer_request_new(struct kv_group *group, const struct frame *frame,
                                       const ProtobufCMessageDescriptor *descriptor)
{
    struct kv_request *request =
        kv_request_new(group->shared, frame->type, CONNECTION_LOCAL, frame->request_id);
    request->is_from_group = true;
    kv_request_attach(request, group);
    request->message = message_unpack(descriptor, frame->message, &request->arena);
    ASSERT(request->message); /* it was parsed to find the group */
    return request;
}

/* --- A participant learns the outcome ----------------------------------------------------------
 */

static void resolve_answer(struct kv_request *request)
{
    const Ostraka__ResolveRequest *message = (const Ostraka__ResolveRequest *)request->message;
    Ostraka__ResolveAnswer answer = OSTRAKA__RESOLVE_ANSWER__INIT;
    answer.txn = message->txn;
    answer.key = message->key;
    answer.anchor = message->anchor;
    answer.status = OST_OK;
    if (!RARE(PEER_ANSWER_LOST))
        outbox_to_key(
            request->shared->environment.outbox, bytes_of_field(message->anchor),
            frame_encode(FRAME_RESOLVE_ANSWER, request->request_id, &answer.base, NULL, 0));
    kv_request_free(request);
}

static bool is_prepared_here(const struct kv_group *group, struct txn_id txn)
{
    const struct txn_open *open = txn_records_find(group->records, txn);
    return open && open->is_prepared;
}

static void resolve_propose(struct kv_request *request)
{
    const Ostraka__ResolveRequest *message = (const Ostraka__ResolveRequest *)request->message;
    Ostraka__ResolvedCommand resolved = OSTRAKA__RESOLVED_COMMAND__INIT;
    resolved.txn = message->txn;
    resolved.anchor = message->anchor;
    resolved.outcome = message->outcome;
    resolved.commit_timestamp = message->commit_timestamp;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_RESOLVED;
    command.resolved = &resolved;
    kv_request_propose(request, &command, bytes_of(NULL, 0));
}

void kv_peer_resolve(struct kv_group *group, const struct frame *frame,
                     const Ostraka__ResolveRequest *message)
{
    bool is_decided = message->outcome == OSTRAKA__TXN_STATE__COMMITTED ||
                      message->outcome == OSTRAKA__TXN_STATE__ABORTED;
    if (!group->is_leading || !message->txn || !is_decided)
        return;
    struct kv_request *request =
        kv_peer_request_new(group, frame, &ostraka__resolve_request__descriptor);
    request->txn = txn_id_of_message(message->txn);
    /* "Nothing of it is here" lets home forget, so a deposed leader must not say it. */
    if (is_prepared_here(group, request->txn))
        resolve_propose(request);
    else
        kv_request_confirm(request);
}

void kv_peer_resolve_confirmed(struct kv_request *request)
{
    if (is_prepared_here(request->group, request->txn))
        resolve_propose(request);
    else
        resolve_answer(request);
}

/* --- Home is asked for the outcome (T7) --------------------------------------------------------
 */

static void inquire_answer(struct kv_request *request, Ostraka__TxnState state,
                           timestamp_t commit_timestamp)
{
    const Ostraka__InquireRequest *message = (const Ostraka__InquireRequest *)request->message;
    Ostraka__InquireAnswer answer = OSTRAKA__INQUIRE_ANSWER__INIT;
    answer.txn = message->txn;
    answer.key = message->key;
    answer.state = state;
    answer.commit_timestamp = commit_timestamp;
    if (!RARE(PEER_ANSWER_LOST))
        outbox_to_key(
            request->shared->environment.outbox, bytes_of_field(message->key),
            frame_encode(FRAME_INQUIRE_ANSWER, request->request_id, &answer.base, NULL, 0));
    kv_request_free(request);
}

void kv_peer_inquire(struct kv_group *group, const struct frame *frame,
                     const Ostraka__InquireRequest *message)
{
    if (!group->is_leading || !message->txn)
        return;
    struct kv_request *request =
        kv_peer_request_new(group, frame, &ostraka__inquire_request__descriptor);
    request->txn = txn_id_of_message(message->txn);
    struct record_decision decision;
    int status = txn_records_lookup(group->records, request->txn, bytes_of_field(message->anchor),
                                    group->meta.log_timestamp, &decision);
    /* What is decided is final, whoever says it; what is not is only decided by the log. */
    if (status == OST_OK && decision.state != OSTRAKA__TXN_STATE__PENDING) {
        inquire_answer(request, decision.state, decision.commit_timestamp);
        return;
    }
    if (message->kind == OSTRAKA__INQUIRE_KIND__ASK) {
        inquire_answer(request, OSTRAKA__TXN_STATE__PENDING, 0);
        return;
    }
    Ostraka__AbortCommand abort = OSTRAKA__ABORT_COMMAND__INIT;
    abort.txn = message->txn;
    abort.anchor = message->anchor;
    abort.deadline = message->deadline;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_ABORT;
    command.abort = &abort;
    kv_request_propose(request, &command, bytes_of(NULL, 0));
}

void kv_peer_applied(struct kv_request *request, const struct record_decision *decision)
{
    if (request->type == FRAME_RESOLVE)
        resolve_answer(request);
    else if (decision->status == OST_RANGE_MOVED)
        kv_request_free(request); /* home is elsewhere by now, and is asked again */
    else
        inquire_answer(request, decision->state, decision->commit_timestamp);
}

/* --- The shard master --------------------------------------------------------------------------
 */

/* Its answer is the report, once the log says that the range is owned (R7): when that is applied,
 * or now. */
void kv_group_assign_range(struct kv_group *group, const Ostraka__AssignRange *message)
{
    const Ostraka__RangeInfo *range = message->range;
    if (!group->is_leading || !range || message->group_epoch < group->meta.group_epoch)
        return;
    const struct kv_range *owned = kv_ranges_at(&group->ranges, bytes_of_field(range->start));
    if (owned && owned->epoch == range->epoch) {
        kv_group_report_range(group, owned);
        return;
    }
    Ostraka__AssignRangeCommand assign = OSTRAKA__ASSIGN_RANGE_COMMAND__INIT;
    assign.start = range->start;
    assign.end = range->end;
    assign.epoch = range->epoch;
    Ostraka__KvCommand command = OSTRAKA__KV_COMMAND__INIT;
    command.command_case = OSTRAKA__KV_COMMAND__COMMAND_ASSIGN_RANGE;
    command.assign_range = &assign;
    raft_index_t index;
    raft_term_t term;
    int status = kv_group_propose(group, &command, bytes_of(NULL, 0), &index, &term);
    (void)status; /* the master says it again until a report shows it */
}

/* The memory may be further by now than this entry: what is told is as of now. */
void kv_group_range_assigned(struct kv_group *group, const Ostraka__AssignRangeCommand *command)
{
    const struct kv_range *range = kv_ranges_at(&group->ranges, bytes_of_field(command->start));
    if (range)
        kv_group_report_range(group, range);
}
