/* node_applied.c: what the replicas here have applied, for who compares them with others'. */
#include "cmd/node_internal.h"

size_t node_applied(const struct node *node, struct kv_applied *out_applied, size_t max)
{
    return kv_server_applied(node->kv, out_applied, max);
}
