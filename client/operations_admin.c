/* operations_admin.c: what is asked of group 0's leader by who runs the cluster: to change
 * replicas, ranges and stores, and how far that is.
 */
#include "client/core_internal.h"

bool operation_is_admin(const struct operation *operation)
{
    return admin_frame_type(operation) != 0;
}

uint16_t admin_frame_type(const struct operation *operation)
{
    switch (operation->type) {
    case OPERATION_CHANGE_REPLICAS:
        return FRAME_CHANGE_REPLICAS;
    case OPERATION_CHANGE_RANGE:
        return FRAME_CHANGE_RANGE;
    case OPERATION_CHANGE_STORE:
        return FRAME_CHANGE_STORE;
    case OPERATION_PROGRESS:
        return FRAME_PROGRESS;
    default:
        return 0;
    }
}

static struct blob *change_replicas_encode(const struct operation *operation, uint64_t request_id)
{
    Ostraka__ChangeReplicas message = OSTRAKA__CHANGE_REPLICAS__INIT;
    message.group = operation->group;
    message.group_epoch = operation->group_epoch;
    message.add_store = operation->add_store;
    message.remove_store = operation->remove_store;
    return frame_encode(FRAME_CHANGE_REPLICAS, request_id, &message.base, NULL, 0);
}

static ProtobufCBinaryData binary(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.bytes_count,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}

static struct bytes change_range_at(const struct operation *operation,
                                    const struct coordinator_route *route)
{
    switch (operation->range_change) {
    case OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE:
        return operation->key;
    case OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES:
        return route->range_end;
    default:
        return bytes_of(NULL, 0);
    }
}

/* Compare and set on the epoch: what the caller has seen is what is changed, or nothing. */
static struct blob *change_range_encode(struct client_core *core, struct operation *operation,
                                        uint64_t request_id)
{
    Ostraka__ChangeRange message = OSTRAKA__CHANGE_RANGE__INIT;
    message.kind = operation->range_change;
    message.cancel = operation->cancel;
    struct coordinator_route route;
    if (operation->range_change != OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE) {
        if (!map_cache_route(&core->map, operation->key, &route))
            return NULL;
        blob_unref(operation->named_at);
        operation->named_at = blob_copy(change_range_at(operation, &route));
        operation->result_epoch = route.epoch;
        message.start = binary(route.range_start);
        message.epoch = route.epoch;
        message.at = binary(blob_bytes(operation->named_at));
        message.to_group = operation->group;
    }
    return frame_encode(FRAME_CHANGE_RANGE, request_id, &message.base, NULL, 0);
}

static struct blob *change_store_encode(const struct operation *operation, uint64_t request_id)
{
    Ostraka__ChangeStore message = OSTRAKA__CHANGE_STORE__INIT;
    message.kind = operation->store_change;
    message.store = operation->changed_store;
    return frame_encode(FRAME_CHANGE_STORE, request_id, &message.base, NULL, 0);
}

struct blob *admin_encode(struct client_core *core, struct request *request)
{
    struct operation *operation = request->operation;
    request->group = SHARD_MASTER_GROUP;
    switch (operation->type) {
    case OPERATION_CHANGE_REPLICAS:
        return change_replicas_encode(operation, request->id);
    case OPERATION_CHANGE_RANGE:
        return change_range_encode(core, operation, request->id);
    case OPERATION_CHANGE_STORE:
        return change_store_encode(operation, request->id);
    default:
        break;
    }
    Ostraka__ProgressRequest message = OSTRAKA__PROGRESS_REQUEST__INIT;
    return frame_encode(FRAME_PROGRESS, request->id, &message.base, NULL, 0);
}

static bool progress_is_sound(const Ostraka__ProgressAnswer *answer)
{
    for (size_t index = 0; index < answer->n_items; index++)
        if (answer->items[index]->start.len > KEY_BYTES_MAX)
            return false;
    return true;
}

void admin_answered(struct client_core *core, struct operation *operation,
                    const struct answer *answer)
{
    int status = answer->status;
    switch (operation->type) {
    case OPERATION_CHANGE_REPLICAS:
        operation->result_change = (const Ostraka__ChangeReplicasAnswer *)answer->message;
        break;
    case OPERATION_CHANGE_RANGE:
        operation->result_range_change = (const Ostraka__ChangeRangeAnswer *)answer->message;
        /* No number: it had been done before it was asked for, as by a try whose answer was lost.
         */
        if (status == OST_OK && operation->result_range_change->change == 0 &&
            operation->range_change != OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE)
            status = OST_EXISTS;
        /* The range is another one by now: the next request is to name it as it is. */
        if (status == OST_CONFLICT || status == OST_NOT_FOUND)
            map_want(core);
        break;
    case OPERATION_PROGRESS:
        operation->result_progress = (const Ostraka__ProgressAnswer *)answer->message;
        if (status == OST_OK && !progress_is_sound(operation->result_progress))
            status = OST_PROTOCOL;
        break;
    default:
        break;
    }
    if (status != OST_OK && answer->header->text && answer->header->text[0])
        operation_explain(operation, "%s", answer->header->text);
    core_complete(core, operation, status);
}
