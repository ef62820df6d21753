/* kv_reads.c: a client's reads, up to the point at which the rows may be looked at (kv_scan.c
 * does): of the newest, as of a timestamp (kv_closed.c), and under locks.
 *
 * Why a linearizable read (GET, SCAN without a transaction) is one. It is confirmed first (R3):
 * every entry that was committed when it came is applied. What was acknowledged before it came is
 * therefore in the state, or, when home is another group, is prepared here under an exclusive lock,
 * because the vote came before the commit. Then the participant holds the read back until no BOUND
 * or PREPARED writer stands on what it reads, and in that same step, with no entry applied in
 * between, the newest versions are read. So it sees all that was acknowledged before it came, and,
 * since the state only goes forward and later reads are confirmed later, nothing older than an
 * earlier read has shown. If the leader falls on the way, the request has been refused and its read
 * never comes back.
 *
 * Why a locking read needs no confirmation: its lock is void at every other leader (T1), so a
 * deposed leader's answers cannot become part of a commit.
 */
#include "shardkv/kv_group.h"

void kv_read_options(struct kv_request *request)
{
    bool is_any_replica = false;
    if (request->type == FRAME_GET) {
        const Ostraka__GetRequest *get = (const Ostraka__GetRequest *)request->message;
        request->timestamp = get->timestamp;
        is_any_replica = get->any_replica;
    } else if (request->type == FRAME_SCAN) {
        const Ostraka__ScanRequest *scan = (const Ostraka__ScanRequest *)request->message;
        request->timestamp = scan->timestamp;
        is_any_replica = scan->any_replica && !scan->txn;
    }
    request->is_any_replica = is_any_replica && request->timestamp != 0;
}

static bool check_interval(struct kv_request *request, const Ostraka__ScanRequest *message)
{
    struct bytes start = bytes_of_field(message->start);
    struct bytes end = bytes_of_field(message->end);
    /* A scan goes on after its last row: at that key with a zero byte behind it. */
    size_t longest = start.bytes_count > end.bytes_count ? start.bytes_count : end.bytes_count;
    char why[LIMIT_WHY_BYTES];
    if (longest > KEY_BYTES_MAX + 1 && limit_check_key(longest, why) != OST_OK) {
        kv_answer_status(request, OST_TOO_LARGE, why);
        return false;
    }
    if (end.bytes_count > 0 && bytes_compare(start, end) >= 0) {
        kv_answer_status(request, OST_INVALID_ARGUMENT, "interval is empty");
        return false;
    }
    const struct kv_range *range = kv_ranges_named(&request->group->ranges, message->range);
    bool holds_end =
        range && (range->end->bytes_count == 0 ||
                  (end.bytes_count > 0 && bytes_compare(end, blob_bytes(range->end)) <= 0));
    if (holds_end && bytes_compare(start, blob_bytes(range->start)) >= 0)
        return true;
    kv_answer_status(request, OST_RANGE_MOVED, NULL);
    return false;
}

bool kv_request_check_target(struct kv_request *request)
{
    if (request->type == FRAME_SCAN)
        return check_interval(request, (const Ostraka__ScanRequest *)request->message);
    ASSERT(request->type == FRAME_GET);
    const Ostraka__GetRequest *message = (const Ostraka__GetRequest *)request->message;
    struct bytes key = bytes_of_field(message->key);
    return kv_request_check_key(request, key) &&
           kv_request_check_range_of_key(request, message->range, key);
}

/* A replica that lags may not own yet what its leader does: it looks when it has caught up. */
void kv_read_begin(struct kv_request *request)
{
    if (!kv_request_check_load(request) ||
        (!request->is_at_replica && !kv_request_check_target(request)))
        return;
    if (request->timestamp != 0)
        kv_closed_read_begin(request);
    else
        kv_request_confirm(request);
}

/* T4: as of a timestamp, what is bound above it is none of its business. */
static void read_confirmed(struct kv_request *request, const struct lock_target *target,
                           uint32_t wait_ms_max)
{
    if (!kv_request_check_target(request))
        return;
    struct participant_event event = {
        .type = request->timestamp != 0 ? PARTICIPANT_EV_READ_AT : PARTICIPANT_EV_READ,
        .target = *target,
        .timestamp = request->timestamp,
        .wait_ms_max = wait_ms_max,
    };
    kv_request_step(request, &event);
}

void kv_get_confirmed(struct kv_request *request)
{
    const Ostraka__GetRequest *message = (const Ostraka__GetRequest *)request->message;
    struct lock_target target = {.start = bytes_of_field(message->key)};
    read_confirmed(request, &target, 0);
}

void kv_lock_begin(struct kv_request *request)
{
    const Ostraka__LockRequest *message = (const Ostraka__LockRequest *)request->message;
    struct bytes key = bytes_of_field(message->key);
    request->txn = txn_id_of_message(message->txn);
    if (!kv_request_check_load(request) || !kv_request_check_txn(request) ||
        !kv_request_check_key(request, key) ||
        !kv_request_check_range_of_key(request, message->range, key))
        return;
    struct participant_event event = {
        .type = PARTICIPANT_EV_LOCK,
        .age = txn_age_of_message(message->age),
        .entry = kv_entry_of_message(message->entry),
        .target = {.start = key},
        .mode = message->mode == OSTRAKA__LOCK_MODE__EXCLUSIVE ? LOCK_EXCLUSIVE : LOCK_SHARED,
        .wait_ms_max = message->wait_ms_max,
    };
    kv_request_step(request, &event);
}

static struct lock_target target_of_scan(const Ostraka__ScanRequest *message)
{
    return (struct lock_target){
        .start = bytes_of_field(message->start),
        .end = bytes_of_field(message->end),
        .is_interval = true,
    };
}

void kv_scan_begin(struct kv_request *request)
{
    const Ostraka__ScanRequest *message = (const Ostraka__ScanRequest *)request->message;
    request->txn = txn_id_of_message(message->txn);
    if (!message->txn) {
        kv_read_begin(request);
        return;
    }
    if (request->timestamp != 0) {
        kv_answer_status(request, OST_INVALID_ARGUMENT,
                         "a transaction has no timestamp to read at");
        return;
    }
    if (!kv_request_check_load(request) || !check_interval(request, message) ||
        !kv_request_check_txn(request))
        return;
    struct participant_event event = {
        .type = PARTICIPANT_EV_LOCK,
        .age = txn_age_of_message(message->age),
        .entry = kv_entry_of_message(message->entry),
        .target = target_of_scan(message),
        .mode = message->mode == OSTRAKA__LOCK_MODE__EXCLUSIVE ? LOCK_EXCLUSIVE : LOCK_SHARED,
        .wait_ms_max = message->wait_ms_max,
    };
    kv_request_step(request, &event);
}

void kv_scan_confirmed(struct kv_request *request)
{
    const Ostraka__ScanRequest *message = (const Ostraka__ScanRequest *)request->message;
    struct lock_target target = target_of_scan(message);
    read_confirmed(request, &target, message->wait_ms_max);
}
