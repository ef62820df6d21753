/* operations.c: what a caller asks for, from its submission to its completion (Q1). */
#include "base/memory.h"
#include "client/core_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define OPERATION_WHY_BYTES 400
#define ORACLE_AWAITED_MS   500u

static struct bytes operation_append(struct operation *operation, size_t *at, struct bytes bytes)
{
    if (bytes.bytes_count)
        memcpy(operation->data + *at, bytes.data, bytes.bytes_count);
    struct bytes copy = bytes_of(operation->data + *at, bytes.bytes_count);
    *at += bytes.bytes_count;
    return copy;
}

static struct operation *new_with(enum operation_type type, struct bytes key, struct bytes value,
                                  struct bytes expected)
{
    struct operation *operation = memory_alloc(sizeof(*operation) + key.bytes_count +
                                               value.bytes_count + expected.bytes_count);
    memset(operation, 0, sizeof(*operation));
    operation->type = type;
    size_t at = 0;
    operation->key = operation_append(operation, &at, key);
    operation->value = operation_append(operation, &at, value);
    operation->expected = operation_append(operation, &at, expected);
    return operation;
}

struct operation *operation_new(enum operation_type type, struct bytes key, struct bytes value)
{
    return new_with(type, key, value, bytes_of(NULL, 0));
}

struct operation *operation_new_compare(struct bytes key, const struct bytes *expected,
                                        struct bytes value)
{
    struct operation *operation =
        new_with(OPERATION_COMPARE_AND_SET, key, value, expected ? *expected : bytes_of(NULL, 0));
    operation->has_expected = expected != NULL;
    return operation;
}

void operation_free(struct operation *operation)
{
    scan_free(operation->scan);
    blob_unref(operation->found);
    blob_unref(operation->named_at);
    free(operation->why_text);
    free(operation);
}

void operation_explain(struct operation *operation, const char *format, ...)
{
    char text[OPERATION_WHY_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    free(operation->why_text);
    operation->why = operation->why_text = memory_copy_string(text);
}

/* What the coordinator of its transaction knows of the end. */
static void explain_by_coordinator(const struct client_core *core, struct operation *operation,
                                   const struct core_txn *txn, int status)
{
    const struct coordinator_reason *reason = coordinator_reason(txn->coordinator);
    if (reason->status != status)
        return;
    char text[OPERATION_WHY_BYTES];
    explain_reason(core, reason, text, sizeof(text));
    if (text[0])
        operation_explain(operation, "%s", text);
}

void operation_timed_out(void *context, struct timer *timer)
{
    struct client_core *core = context;
    struct operation *operation =
        (struct operation *)(void *)((char *)timer - offsetof(struct operation, timer));
    TAILQ_REMOVE(&core->waiting, operation, link);
    switch (operation->type) {
    case OPERATION_AFTER:
        core_complete(core, operation, OST_OK);
        break;
    case OPERATION_OPEN:
        /* With a map all reads work; only commits still wait for the time. */
        operation->why = core->failure_text[0] ? core->failure_text : NULL;
        if (core->map.map)
            core_complete(core, operation, OST_OK);
        else
            core_complete(core, operation,
                          core->cluster_id                 ? OST_NOT_READY
                          : core->failure_status != OST_OK ? core->failure_status
                                                           : OST_DISCONNECTED);
        break;
    default:
        core_complete(core, operation, OST_DEADLINE_EXCEEDED);
        break;
    }
}

void operation_wait(struct client_core *core, struct operation *operation, nanoseconds_t until_ns,
                    void (*fired)(void *context, struct timer *timer))
{
    TAILQ_INSERT_TAIL(&core->waiting, operation, link);
    timer_set(&core->timers, &operation->timer, until_ns, fired);
}

bool operations_wait_for_map(const struct client_core *core)
{
    const struct operation *operation;
    TAILQ_FOREACH (operation, &core->waiting, link) {
        if (operation->type == OPERATION_MAP)
            return true;
    }
    return false;
}

void operations_map_received(struct client_core *core, bool was_asked)
{
    /* Deadlines and ages are in oracle time: learn it before the first commit. What comes with the
     * map may be old, where nobody has committed for a while. */
    if (!core->is_time_known)
        core_ask_time(core);
    struct operation *operation = TAILQ_FIRST(&core->waiting);
    while (operation) {
        struct operation *next = TAILQ_NEXT(operation, link);
        bool opened = operation->type == OPERATION_OPEN && !core->oracle_request;
        bool asked = operation->type == OPERATION_MAP && was_asked;
        if (opened || asked) {
            timer_stop(&core->timers, &operation->timer);
            TAILQ_REMOVE(&core->waiting, operation, link);
            operation->result_map = core->map.map;
            core_complete(core, operation, OST_OK);
        } else if (operation->type == OPERATION_OPEN && core->heard != 0) {
            /* An old time will do, where the oracle does not answer (O5). */
            nanoseconds_t until_ns = core->now_ns + ORACLE_AWAITED_MS * NS_PER_MS;
            if (until_ns < operation->timer.deadline_ns)
                timer_set(&core->timers, &operation->timer, until_ns, operation_timed_out);
        }
        operation = next;
    }
}

static void request_for(struct client_core *core, struct operation *operation, uint16_t type,
                        enum request_owner owner)
{
    operation->request = request_new(core, type, owner, operation->deadline_ns);
    operation->request->operation = operation;
    operation->request->store = operation->store;
    operation->request->any_replica = operation->any_replica;
    request_start(core, operation->request);
}

void operation_take_txn(struct client_core *core, struct operation *operation)
{
    operation->owns_txn = true;
    operation->txn = core_txn_take(core);
    core_txn_register(core, operation->txn, &operation->age);
    operation->age = *coordinator_age(operation->txn->coordinator);
}

/* A write by itself: a transaction of one write, with an id of its own (T5). */
static void write_start(struct client_core *core, struct operation *operation)
{
    operation_take_txn(core, operation);
    struct core_txn *txn = operation->txn;
    const char *why = NULL;
    struct write write = {
        .kind = operation->write_kind, .key = operation->key, .value = operation->value};
    int status = coordinator_write(txn->coordinator, &write, &why);
    if (status != OST_OK) {
        operation_explain(operation, "%s", why);
        operation->txn = NULL;
        core_txn_drop(core, txn);
        core_complete(core, operation, status);
        return;
    }
    core_txn_commit(core, txn, operation);
}

static void txn_get_start(struct client_core *core, struct operation *operation)
{
    struct core_txn *txn = operation->txn;
    int status = core_txn_check_growing(core, txn);
    if (status == OST_OK && txn->commit)
        status = OST_INVALID_ARGUMENT;
    struct write write;
    if (status == OST_OK &&
        write_buffer_find(coordinator_writes(txn->coordinator), operation->key, &write) == OST_OK) {
        operation->result_value = write.value;
        status = write.kind == WRITE_PUT ? OST_OK : OST_NOT_FOUND;
        core_complete(core, operation, status);
        return;
    }
    if (status != OST_OK) {
        core_complete(core, operation, status);
        return;
    }
    TAILQ_INSERT_TAIL(&txn->reads, operation, link);
    bool takes_lock = !coordinator_is_optimistic(txn->coordinator);
    request_for(core, operation, takes_lock ? FRAME_LOCK : FRAME_GET, OWNER_OPERATION);
}

static void txn_scan_start(struct client_core *core, struct operation *operation)
{
    int status = core_txn_check_growing(core, operation->txn);
    if (status == OST_OK && operation->txn->commit)
        status = OST_INVALID_ARGUMENT;
    if (status != OST_OK) {
        core_complete(core, operation, status);
        return;
    }
    TAILQ_INSERT_TAIL(&operation->txn->reads, operation, link);
    scan_start(core, operation);
}

static uint32_t timeout_ms(const struct client_core *core, const struct operation *operation)
{
    return operation->timeout_ms ? operation->timeout_ms : core->options.operation_timeout_ms;
}

void operation_submitted(struct client_core *core, struct operation *operation)
{
    operation->deadline_ns = core->now_ns + timeout_ms(core, operation) * NS_PER_MS;
    operation->status = OST_OK;
    if (core->is_stopped) {
        if (operation->type == OPERATION_TXN_DROP) {
            struct core_txn *txn = operation->txn;
            core_txn_drop(core, txn);
        }
        core_complete(core, operation, OST_CANCELED);
        return;
    }
    if (operation->txn && operation->type != OPERATION_TXN_DROP)
        core_txn_register(core, operation->txn, &operation->age);
    switch (operation->type) {
    case OPERATION_OPEN:
        operation_wait(core, operation, operation->deadline_ns, operation_timed_out);
        map_want(core);
        break;
    case OPERATION_MAP:
        operation_wait(core, operation, operation->deadline_ns, operation_timed_out);
        map_want(core);
        break;
    case OPERATION_ROUTE: {
        struct coordinator_route route = {0};
        bool has_map = map_cache_route(&core->map, operation->key, &route);
        operation->result_group = route.group;
        core_complete(core, operation, has_map ? OST_OK : OST_NOT_READY);
        break;
    }
    case OPERATION_AFTER:
        operation_wait(core, operation, core->now_ns + operation->delay_ms * NS_PER_MS,
                       operation_timed_out);
        break;
    case OPERATION_TIMESTAMP:
        snapshot_timestamp_start(core, operation);
        break;
    case OPERATION_GET:
        request_for(core, operation, FRAME_GET, OWNER_OPERATION);
        break;
    case OPERATION_STATUS:
        request_for(core, operation, FRAME_STATUS, OWNER_OPERATION);
        break;
    case OPERATION_TXNS:
        request_for(core, operation, FRAME_TXNS, OWNER_OPERATION);
        break;
    case OPERATION_CHANGE_REPLICAS:
    case OPERATION_CHANGE_RANGE:
    case OPERATION_CHANGE_STORE:
    case OPERATION_PROGRESS:
        request_for(core, operation, admin_frame_type(operation), OWNER_OPERATION);
        break;
    case OPERATION_HOLD:
        hold_take(core, operation);
        break;
    case OPERATION_RELEASE:
        hold_release(core, operation);
        break;
    case OPERATION_WRITE:
        write_start(core, operation);
        break;
    case OPERATION_SCAN:
        scan_start(core, operation);
        break;
    case OPERATION_COMPARE_AND_SET:
    case OPERATION_ADD:
        update_start(core, operation);
        break;
    case OPERATION_DELETE_RANGE:
        if (operation->txn)
            txn_scan_start(core, operation);
        else
            scan_start(core, operation);
        break;
    case OPERATION_TXN_GET:
        txn_get_start(core, operation);
        break;
    case OPERATION_TXN_SCAN:
        txn_scan_start(core, operation);
        break;
    case OPERATION_TXN_COMMIT:
        core_txn_commit(core, operation->txn, operation);
        break;
    case OPERATION_TXN_DROP:
        core_txn_drop(core, operation->txn);
        operation->txn = NULL;
        core_complete(core, operation, OST_OK);
        break;
    }
}

static ProtobufCBinaryData binary(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.bytes_count,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}

struct blob *operation_encode(struct client_core *core, struct request *request)
{
    struct operation *operation = request->operation;
    if (operation->type == OPERATION_STATUS) {
        Ostraka__StatusRequest message = OSTRAKA__STATUS_REQUEST__INIT;
        return frame_encode(FRAME_STATUS, request->id, &message.base, NULL, 0);
    }
    if (operation->type == OPERATION_TXNS) {
        Ostraka__TxnsRequest message = OSTRAKA__TXNS_REQUEST__INIT;
        message.locks = operation->wants_locks;
        message.rows_count_max = operation->rows_count_max;
        if (operation->after.group) {
            operation->after.entry = &operation->after_entry;
            message.after = &operation->after;
        }
        return frame_encode(FRAME_TXNS, request->id, &message.base, NULL, 0);
    }
    if (operation_is_admin(operation))
        return admin_encode(core, request);
    if (request->type == FRAME_LOCK) {
        coordinator_set_wait(operation->txn->coordinator, core_wait_ms(core, request->give_up_ns));
        return coordinator_encode_lock(operation->txn->coordinator, request->id, operation->key,
                                       operation->lock_mode, &request->group);
    }
    struct coordinator_route route;
    if (!map_cache_route(&core->map, operation->key, &route))
        return NULL;
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.start = binary(route.range_start);
    range.epoch = route.epoch;
    Ostraka__GetRequest message = OSTRAKA__GET_REQUEST__INIT;
    message.group = route.group;
    message.range = &range;
    message.key = binary(operation->key);
    message.timestamp = operation->timestamp;
    message.any_replica = operation->any_replica;
    request->group = route.group;
    return frame_encode(FRAME_GET, request->id, &message.base, NULL, 0);
}

/* A read of the caller's transaction ends. */
static void read_end(struct operation *operation)
{
    if (operation_is_callers(operation))
        TAILQ_REMOVE(&operation->txn->reads, operation, link);
}

void operation_answered(struct client_core *core, struct request *request,
                        const struct answer *answer)
{
    struct operation *operation = request->operation;
    group_id_t group = request->group;
    operation->request = NULL;
    request_free(core, request);
    switch (operation->type) {
    case OPERATION_GET:
        operation->result_value = answer->payload;
        operation->result_version = answer->timestamp;
        operation->why = answer->header ? answer->header->text : NULL;
        core_complete(core, operation,
                      answer->status == OST_OK && !answer->found ? OST_NOT_FOUND : answer->status);
        break;
    case OPERATION_TXN_GET: {
        struct lock_target read = {.start = operation->key};
        core_txn_read_answered(core, operation->txn, group, &read, answer);
        int status = answer->status == OST_OK ? core_txn_check_growing(core, operation->txn)
                                              : answer->status;
        operation->result_value = answer->payload;
        operation->result_version = answer->timestamp;
        read_end(operation);
        core_complete(core, operation, status == OST_OK && !answer->found ? OST_NOT_FOUND : status);
        break;
    }
    case OPERATION_STATUS:
        operation->result_status = (const Ostraka__StatusAnswer *)answer->message;
        core_complete(core, operation, answer->status);
        break;
    case OPERATION_TXNS:
        operation->result_txns = (const Ostraka__TxnsAnswer *)answer->message;
        core_complete(core, operation, answer->status);
        break;
    case OPERATION_CHANGE_REPLICAS:
    case OPERATION_CHANGE_RANGE:
    case OPERATION_CHANGE_STORE:
    case OPERATION_PROGRESS:
        admin_answered(core, operation, answer);
        break;
    case OPERATION_COMPARE_AND_SET:
    case OPERATION_ADD:
        read_end(operation);
        update_answered(core, operation, group, answer);
        break;
    default:
        scan_answered(core, operation, group, answer);
        break;
    }
}

void operation_gave_up(struct client_core *core, struct operation *operation, int last_status)
{
    read_end(operation);
    if (operation->owns_txn && operation->txn) {
        core_txn_drop(core, operation->txn);
        operation->txn = NULL;
    }
    /* Reads get here, which have done nothing, and what was asked of the shard master. What stood
     * in the way tells more than the time does. */
    uint32_t waited_ms = timeout_ms(core, operation);
    if (!operation->why && operation_is_admin(operation))
        operation_explain(operation,
                          "no answer from the shard master within %u ms: what was asked for may "
                          "have been done all the same",
                          waited_ms);
    else if (!operation->why)
        operation_explain(operation, "no other answer within %u ms", waited_ms);
    core_complete(core, operation, last_status != OST_OK ? last_status : OST_DEADLINE_EXCEEDED);
}

void operation_cancel(struct client_core *core, struct operation *operation)
{
    if (operation->request)
        request_free(core, operation->request);
    operation->request = NULL;
    read_end(operation);
    core_complete(core, operation, OST_CANCELED);
}

static void operation_rested(void *context, struct timer *timer)
{
    struct client_core *core = context;
    struct operation *operation =
        (struct operation *)(void *)((char *)timer - offsetof(struct operation, timer));
    TAILQ_REMOVE(&core->waiting, operation, link);
    if (core->now_ns >= operation->deadline_ns) /* the timer came late; nothing is under way */
        core_complete(core, operation, OST_DEADLINE_EXCEEDED);
    else if (operation->type == OPERATION_WRITE)
        write_start(core, operation);
    else if (operation->type == OPERATION_COMPARE_AND_SET || operation->type == OPERATION_ADD)
        update_start(core, operation);
    else
        scan_start(core, operation);
}

/* A wait for a lock has taken most of the time that there was: who stood in the way is worth more
 * to the caller than one more short wait. */
static bool waited_long_enough(const struct client_core *core, const struct operation *operation,
                               int status)
{
    nanoseconds_t timeout_ns = core->options.operation_timeout_ms * NS_PER_MS;
    return status == OST_LOCK_TIMEOUT && core->now_ns + timeout_ns / 4 > operation->deadline_ns;
}

void operation_run_again(struct client_core *core, struct operation *operation, int status)
{
    struct core_txn *txn = operation->txn;
    operation->txn = NULL;
    nanoseconds_t again_ns = core->now_ns + core_backoff_ns(core, operation->tries_count++);
    if (ost_status_is_retryable(status) && again_ns < operation->deadline_ns &&
        !waited_long_enough(core, operation, status)) {
        operation_wait(core, operation, again_ns, operation_rested);
    } else {
        if (txn)
            explain_by_coordinator(core, operation, txn, status);
        core_complete(core, operation, status);
    }
    if (txn)
        core_txn_drop(core, txn);
}

void operation_commit_finished(struct client_core *core, struct operation *operation)
{
    struct core_txn *txn = operation->txn;
    int status = coordinator_status(txn->coordinator);
    if (operation->type == OPERATION_TXN_COMMIT) {
        core_complete(core, operation, status);
        return;
    }
    if (ost_status_is_retryable(status)) {
        explain_by_coordinator(core, operation, txn, status);
        txn->is_dropped = true; /* freed by who called its step */
        operation->txn = NULL;
        operation_run_again(core, operation, status);
        return;
    }
    operation->result_version = coordinator_commit_timestamp(txn->coordinator);
    explain_by_coordinator(core, operation, txn, status);
    txn->is_dropped = true;
    operation->txn = NULL;
    if (operation->type == OPERATION_SCAN && status == OST_OK)
        scan_complete(core, operation);
    else
        core_complete(core, operation, status == OST_OK ? operation->verdict : status);
}
