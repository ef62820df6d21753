/* node_txns.c: somebody asks who runs, waits and holds what here. */
#include "cmd/node_internal.h"

#include "proto/txns.pb-c.h"

int node_txns_requested(struct node *node, uint64_t connection_id, const struct frame *frame)
{
    const Ostraka__TxnsRequest *request =
        (void *)message_unpack(&ostraka__txns_request__descriptor, frame->message, &node->arena);
    if (!request)
        return OST_PROTOCOL;
    Ostraka__TxnsAnswer answer = OSTRAKA__TXNS_ANSWER__INIT;
    answer.store = node->options.raft.store;
    answer.heard_timestamp = raft_host_heard_timestamp(node->raft);
    kv_server_txns(node->kv, node->now_ns, request, &node->arena, &answer);
    outbox_to_connection(&node->outbox, connection_id,
                         frame_encode(FRAME_TXNS_ANSWER, frame->request_id, &answer.base, NULL, 0));
    return OST_OK;
}
