/* kv_requests.c: what clients ask of a leader: a request's life, the checks that several kinds
 * share, and who goes on with it after each step: kv_reads.c with what reads, kv_commit.c with what
 * commits, kv_closed.c and kv_peers.c with what other replicas and groups have asked.
 */
#include "shardkv/kv_group.h"

#include "base/sometimes.h"

#include <stdio.h>
#include <stdlib.h>

/* --- Life --------------------------------------------------------------------------------------
 */

struct kv_request *kv_request_new(struct kv_shared *shared, uint16_t type, uint64_t connection_id,
                                  uint64_t request_id)
{
    struct kv_request *request = memory_alloc_zeroed(1, sizeof(*request));
    request->shared = shared;
    request->token = ++shared->last_token;
    request->type = type;
    request->connection_id = connection_id;
    request->request_id = request_id;
    request->valid_until_ns = NS_NEVER;
    request->oracle_waiter.owner = request;
    arena_init(&request->arena);
    HASH_ADD(by_token, shared->requests_by_token, token, sizeof(request->token), request);
    shared->requests_count++;
    return request;
}

void kv_request_attach(struct kv_request *request, struct kv_group *group)
{
    ASSERT(!request->group);
    request->group = group;
    TAILQ_INSERT_TAIL(&group->requests, request, link);
}

void kv_request_free(struct kv_request *request)
{
    struct kv_shared *shared = request->shared;
    struct kv_group *group = request->group;
    HASH_DELETE(by_token, shared->requests_by_token, request);
    shared->requests_count--;
    shared->requests_bytes -= request->bytes_count;
    if (request->read_id)
        HASH_DELETE(by_read, group->requests_by_read, request);
    if (request->index)
        HASH_DELETE(by_index, group->requests_by_index, request);
    if (request->is_prepare_known)
        HASH_DELETE(by_txn, group->prepares_by_txn, request);
    if (group)
        TAILQ_REMOVE(&group->requests, request, link);
    kv_closed_forget(request);
    oracle_client_forget(shared->oracle, &request->oracle_waiter);
    /* The pool is at work on it, and lets go of it when it comes back and finds nobody. */
    if (request->state != KV_REQUEST_POOL) {
        kv_read_free(request->read);
        kv_check_free(request->check);
    }
    if (request->is_check_due)
        TAILQ_REMOVE(&group->checks_due, request, check_link);
    blob_unref(request->write_set);
    arena_fini(&request->arena);
    free(request);
}

struct kv_request *kv_request_find(struct kv_shared *shared, uint64_t token)
{
    struct kv_request *request;
    HASH_FIND(by_token, shared->requests_by_token, &token, sizeof(token), request);
    return request;
}

void kv_request_move(struct kv_request *request, enum kv_request_state state)
{
    static const uint8_t allowed[] = {
        [KV_REQUEST_NEW] = 1u << KV_REQUEST_CLOCK | 1u << KV_REQUEST_READ | 1u << KV_REQUEST_LOCKS |
                           1u << KV_REQUEST_APPLY | 1u << KV_REQUEST_CLOSED,
        [KV_REQUEST_CLOCK] = 1u << KV_REQUEST_NEW,
        [KV_REQUEST_READ] = 1u << KV_REQUEST_LOCKS | 1u << KV_REQUEST_APPLY,
        [KV_REQUEST_LOCKS] =
            1u << KV_REQUEST_TIMESTAMP | 1u << KV_REQUEST_APPLY | 1u << KV_REQUEST_POOL,
        [KV_REQUEST_TIMESTAMP] = 1u << KV_REQUEST_LOCKS,
        [KV_REQUEST_POOL] = 1u << KV_REQUEST_LOCKS | 1u << KV_REQUEST_CLOSED,
        [KV_REQUEST_APPLY] = 0,
        [KV_REQUEST_CLOSED] = 1u << KV_REQUEST_POOL,
    };
    ASSERT(allowed[request->state] & 1u << state);
    request->state = state;
}

void kv_group_requests_drop(struct kv_group *group)
{
    struct kv_request *request;
    if (!TAILQ_EMPTY(&group->requests))
        COVER(REQUESTS_DROPPED);
    while ((request = TAILQ_FIRST(&group->requests)) != NULL)
        kv_answer_status(request, OST_NOT_LEADER, "leadership was lost");
}

void kv_request_connection_closed(struct kv_request *request)
{
    /* What is proposed takes its course; the rest need not go on. */
    if (request->state == KV_REQUEST_APPLY) {
        request->is_orphan = true;
        return;
    }
    if (request->group && request->group->is_leading &&
        (request->state == KV_REQUEST_LOCKS || request->state == KV_REQUEST_TIMESTAMP ||
         request->state == KV_REQUEST_POOL)) {
        struct kv_group *group = request->group;
        struct participant_event event = {
            .type = PARTICIPANT_EV_CANCEL, .token = request->token, .txn = request->txn};
        kv_request_free(request);
        kv_group_step(group, &event);
        return;
    }
    kv_request_free(request);
}

/* --- Checks: each answers, and returns false, when the request does not pass -------------------
 */

static bool check_leadership(struct kv_request *request)
{
    struct kv_group *group = request->group;
    request->is_at_replica = false;
    if (group && group->is_leading)
        return true;
    bool is_getting_ready = group && group->leadership.role == RAFT_LEADER;
    if (group && request->is_any_replica && !is_getting_ready) {
        request->is_at_replica = true;
        return true;
    }
    kv_answer_status(request, is_getting_ready ? OST_NOT_READY : OST_NOT_LEADER, NULL);
    return false;
}

bool kv_request_check_load(struct kv_request *request)
{
    const struct kv_shared *shared = request->shared;
    bool is_over_count = shared->requests_count > shared->options.requests_count_max;
    if (!is_over_count && shared->requests_bytes <= shared->options.requests_bytes_max &&
        !RARE(REQUEST_REFUSED_BUSY))
        return true;
    char why[LIMIT_WHY_BYTES];
    if (is_over_count)
        snprintf(why, sizeof(why), "the store has %u requests waiting: the limit is %u",
                 shared->requests_count, shared->options.requests_count_max);
    else
        snprintf(why, sizeof(why), "the store has %lu bytes of requests waiting: the limit is %lu",
                 shared->requests_bytes, shared->options.requests_bytes_max);
    kv_answer_status(request, OST_BUSY, why);
    return false;
}

bool kv_request_check_key(struct kv_request *request, struct bytes key)
{
    char why[LIMIT_WHY_BYTES];
    int status = limit_check_key(key.bytes_count, why);
    if (status != OST_OK)
        kv_answer_status(request, status, why);
    return status == OST_OK;
}

bool kv_request_check_txn(struct kv_request *request)
{
    if (request->txn.client != 0 || request->txn.sequence != 0)
        return true;
    kv_answer_status(request, OST_INVALID_ARGUMENT, "transaction id is missing");
    return false;
}

bool kv_request_check_range_of_key(struct kv_request *request, const Ostraka__RangeRef *ref,
                                   struct bytes key)
{
    const struct kv_range *range = kv_ranges_named(&request->group->ranges, ref);
    if (range && kv_range_holds(range, key))
        return true;
    kv_answer_status(request, OST_RANGE_MOVED, NULL);
    return false;
}

bool kv_request_check_range_of_anchor(struct kv_request *request, const Ostraka__RangeRef *ref,
                                      struct bytes anchor)
{
    const struct kv_range *range = kv_ranges_named_settling(&request->group->ranges, ref);
    if (range && kv_range_holds(range, anchor))
        return true;
    kv_answer_status(request, OST_RANGE_MOVED, NULL);
    return false;
}

bool kv_request_check_ahead(struct kv_request *request, timestamp_t timestamp,
                            uint64_t ahead_ms_max, const char *text)
{
    struct kv_shared *shared = request->shared;
    uint64_t heard_ms = timestamp_to_ms(raft_host_heard_timestamp(shared->environment.host));
    if (timestamp_to_ms(timestamp) <= heard_ms + ahead_ms_max)
        return true;
    if (request->is_clock_checked) {
        kv_answer_status(request, OST_INVALID_ARGUMENT, text);
        return false;
    }
    COVER(CLOCK_ASKED);
    kv_request_move(request, KV_REQUEST_CLOCK);
    oracle_client_wait(shared->oracle, &request->oracle_waiter);
    return false;
}

bool kv_request_check_deadline(struct kv_request *request, timestamp_t deadline)
{
    return kv_request_check_ahead(request, deadline,
                                  request->shared->options.request_deadline_ms_max,
                                  "deadline is over the limit request_deadline_ms_max");
}

/* --- Steps -------------------------------------------------------------------------------------
 */

void kv_request_step(struct kv_request *request, struct participant_event *event)
{
    struct kv_shared *shared = request->shared;
    uint64_t token = request->token;
    event->token = token;
    event->txn = request->txn;
    kv_request_move(request, KV_REQUEST_LOCKS);
    kv_group_step(request->group, event);
    /* The request may be gone by now. */
    request = kv_request_find(shared, token);
    if (request && request->state == KV_REQUEST_LOCKS)
        shared->environment.metrics->lock_waits_count++;
}

void kv_request_confirm(struct kv_request *request)
{
    struct kv_group *group = request->group;
    uint64_t read_id;
    struct raft_host *host = request->shared->environment.host;
    /* Only an answer that leaves this process is held against a clock once more. */
    bool by_lease = !request->is_from_group && request->connection_id != CONNECTION_LOCAL;
    int status = by_lease
                     ? raft_host_read_by_lease(host, group->id, request->shared->now_ns, &read_id)
                     : raft_host_read(host, group->id, request->shared->now_ns, &read_id);
    if (status != OST_OK) {
        kv_answer_status(request, status, NULL);
        return;
    }
    kv_request_move(request, KV_REQUEST_READ);
    request->read_id = read_id;
    HASH_ADD(by_read, group->requests_by_read, read_id, sizeof(request->read_id), request);
}

void kv_request_propose(struct kv_request *request, const Ostraka__KvCommand *command,
                        struct bytes write_set)
{
    struct kv_group *group = request->group;
    raft_index_t index;
    raft_term_t term;
    int status = kv_group_propose(group, command, write_set, &index, &term);
    if (status != OST_OK) {
        bool is_prepare = request->type == FRAME_PREPARE;
        struct participant_event event = {.type = PARTICIPANT_EV_FINISHED, .txn = request->txn};
        kv_answer_status(
            request, status,
            status == OST_TOO_LARGE
                ? "writes and read locks are over the limit KV_ENTRY_BYTES_MAX (70 MiB)"
                : NULL);
        if (is_prepare && group->is_leading)
            kv_group_step(group, &event);
        return;
    }
    kv_request_move(request, KV_REQUEST_APPLY);
    request->index = index;
    request->index_term = term;
    HASH_ADD(by_index, group->requests_by_index, index, sizeof(request->index), request);
}

void kv_request_timestamp(struct kv_request *request, timestamp_t timestamp)
{
    if (request->state == KV_REQUEST_CLOCK) {
        request->is_clock_checked = true;
        kv_request_move(request, KV_REQUEST_NEW);
        kv_request_begin(request);
        return;
    }
    ASSERT(request->state == KV_REQUEST_TIMESTAMP);
    kv_prepare_timestamp(request, timestamp);
}

void kv_request_begin(struct kv_request *request)
{
    kv_read_options(request);
    if (!check_leadership(request))
        return;
    switch (request->type) {
    case FRAME_GET:
        kv_read_begin(request);
        break;
    case FRAME_LOCK:
        kv_lock_begin(request);
        break;
    case FRAME_SCAN:
        kv_scan_begin(request);
        break;
    case FRAME_PREPARE:
        kv_prepare_begin(request);
        break;
    case FRAME_COMMIT:
        kv_commit_begin(request);
        break;
    case FRAME_ABORT:
        kv_abort_begin(request);
        break;
    case FRAME_VALIDATE:
        kv_validate_begin(request);
        break;
    default:
        ASSERT(request->type == FRAME_TXN_HEARTBEAT);
        kv_heartbeat_begin(request);
        break;
    }
}

void kv_request_read_ready(struct kv_request *request, int status, nanoseconds_t valid_until_ns)
{
    request->valid_until_ns = valid_until_ns;
    if (status != OST_OK || !request->group->is_leading) {
        kv_answer_status(request, OST_NOT_LEADER, "leadership could not be confirmed");
        return;
    }
    switch (request->type) {
    case FRAME_GET:
        kv_get_confirmed(request);
        break;
    case FRAME_SCAN:
        kv_scan_confirmed(request);
        break;
    case FRAME_VALIDATE:
        kv_validate_confirmed(request);
        break;
    case FRAME_CLOSE_TIMESTAMP:
        kv_closed_confirmed(request);
        break;
    default:
        ASSERT(request->type == FRAME_RESOLVE);
        kv_peer_resolve_confirmed(request);
        break;
    }
}

void kv_request_granted(struct kv_request *request, const struct participant_granted *granted)
{
    ASSERT(request->state == KV_REQUEST_LOCKS);
    if (request->is_value_read) {
        kv_read_answer(request);
        return;
    }
    switch (request->type) {
    case FRAME_LOCK:
        request->entry = granted->entry;
        kv_read_value(request);
        break;
    case FRAME_GET:
        kv_read_value(request);
        break;
    case FRAME_SCAN:
        request->entry = granted->entry;
        kv_read_rows(request);
        break;
    case FRAME_VALIDATE:
        kv_validate_granted(request);
        break;
    case FRAME_CLOSE_TIMESTAMP:
        kv_closed_granted(request);
        break;
    default:
        kv_answer_status(request, OST_OK, NULL);
        break;
    }
}

void kv_request_applied(struct kv_request *request, const struct record_decision *decision)
{
    if (request->is_from_group)
        kv_peer_applied(request, decision);
    else
        kv_answer_timestamp(request, decision->status, decision->commit_timestamp);
}
