#include "txn/recovery.h"

#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/write_set.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <stdlib.h>

#define uthash_malloc(bytes_count) memory_alloc(bytes_count)
#include <uthash.h>

#define STEP_FRAMES_COUNT_MAX 4096u
#define LOG_TIME_CHECK_MS     500u
#define BACKOFF_DOUBLINGS_MAX 3u

/* What is done about one open transaction. Where it waits follows from that: WAITING in the tree of
 * deadlines and in the queue of those that wait, ACKNOWLEDGED in a queue, all others in the tree of
 * retries. */
enum item_state {
    ITEM_WAITING,      /* undecided: until the log's time has passed its deadline, or nothing was
                        * heard of the coordinator for long */
    ITEM_ABORTING,     /* home, past the deadline or after silence: propose the abort */
    ITEM_ASKING,       /* participant: ask home */
    ITEM_RESOLVING,    /* participant: the outcome is proposed */
    ITEM_TELLING,      /* home: tell the participants */
    ITEM_ACKNOWLEDGED, /* home: all know; for the next AcknowledgedCommand */
    ITEM_FORGETTING,   /* home: that is proposed */
};

struct recovery_item {
    struct txn_id txn;
    enum item_state state;
    timestamp_t deadline;  /* by which `by_deadline` is ordered */
    nanoseconds_t next_ns; /* by which `by_next` is ordered */
    bool is_abandoned;     /* the coordinator was silent for too long */
    uint32_t attempts_count;
    bool *keys_acknowledged; /* one per participant key of the record; NULL before ITEM_TELLING */
    uint32_t keys_count;
    uint32_t keys_missing_count;
    uint32_t key_next; /* who is told first in the next try */
    RB_ENTRY(recovery_item) tree;
    TAILQ_ENTRY(recovery_item) queue;
    UT_hash_handle hh;
};

static int txn_id_compare(struct txn_id a, struct txn_id b)
{
    if (a.client != b.client)
        return a.client < b.client ? -1 : 1;
    return a.sequence == b.sequence ? 0 : a.sequence < b.sequence ? -1 : 1;
}

static int item_compare_deadline(struct recovery_item *a, struct recovery_item *b)
{
    if (a->deadline != b->deadline)
        return a->deadline < b->deadline ? -1 : 1;
    return txn_id_compare(a->txn, b->txn);
}

static int item_compare_next(struct recovery_item *a, struct recovery_item *b)
{
    if (a->next_ns != b->next_ns)
        return a->next_ns < b->next_ns ? -1 : 1;
    return txn_id_compare(a->txn, b->txn);
}

RB_HEAD(deadline_tree, recovery_item);
RB_HEAD(next_tree, recovery_item);
TAILQ_HEAD(item_queue, recovery_item);
RB_GENERATE_INTERNAL(deadline_tree, recovery_item, tree, item_compare_deadline,
                     static __attribute__((unused)))
RB_GENERATE_INTERNAL(next_tree, recovery_item, tree, item_compare_next,
                     static __attribute__((unused)))

struct recovery {
    struct recovery_options options;
    struct txn_records *records;
    bool leads;
    struct recovery_item *by_id;
    struct deadline_tree by_deadline;
    struct next_tree by_next;
    struct item_queue waiting; /* by next_ns: when silence will have been too long */
    struct item_queue acknowledged;
    uint32_t acknowledged_count;
    nanoseconds_t acknowledge_next_ns; /* not before then */
    nanoseconds_t log_time_check_ns;   /* NS_NEVER while nothing waits for a deadline */
};

void recovery_options_default(struct recovery_options *out_options)
{
    *out_options = (struct recovery_options){
        .retry_ms = 200,
        .acknowledge_ms = 100,
        .acknowledge_count_max = 4096,
        .silence_ms = 4000,
    };
}

/* --- the update --- */

void recovery_update_init(struct recovery_update *update, struct outbox *outbox)
{
    *update = (struct recovery_update){.outbox = outbox, .deadline_ns = NS_NEVER};
    arena_init(&update->arena);
}

void recovery_update_reset(struct recovery_update *update)
{
    arena_reset(&update->arena);
    update->proposals_count = 0;
    update->needs_log_time = false;
    update->inquiries_count = 0;
    update->deadline_ns = NS_NEVER;
}

void recovery_update_fini(struct recovery_update *update)
{
    arena_fini(&update->arena);
    free(update->proposals);
    *update = (struct recovery_update){0};
}

static Ostraka__KvCommand *update_propose(struct recovery_update *update)
{
    if (update->proposals_count == update->proposals_capacity) {
        update->proposals_capacity =
            update->proposals_capacity ? 2 * update->proposals_capacity : 8;
        update->proposals = memory_realloc(update->proposals, update->proposals_capacity *
                                                                  sizeof(update->proposals[0]));
    }
    Ostraka__KvCommand *command = &update->proposals[update->proposals_count++].command;
    ostraka__kv_command__init(command);
    return command;
}

static Ostraka__TxnId *update_id(struct recovery_update *update, struct txn_id txn)
{
    Ostraka__TxnId *id = arena_alloc(&update->arena, sizeof(*id));
    ostraka__txn_id__init(id);
    txn_id_to_message(txn, id);
    return id;
}

static ProtobufCBinaryData message_of_bytes(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.bytes_count,
                                 .data = (uint8_t *)(uintptr_t)bytes.data};
}

static struct bytes bytes_of_message(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

static ProtobufCBinaryData update_copy(struct recovery_update *update, struct blob *blob)
{
    return message_of_bytes(arena_copy(&update->arena, blob_bytes(blob)));
}

/* --- items --- */

struct recovery *recovery_new(const struct recovery_options *options, struct txn_records *records)
{
    struct recovery *recovery = memory_alloc_zeroed(1, sizeof(*recovery));
    recovery->options = *options;
    recovery->records = records;
    RB_INIT(&recovery->by_deadline);
    RB_INIT(&recovery->by_next);
    TAILQ_INIT(&recovery->waiting);
    TAILQ_INIT(&recovery->acknowledged);
    recovery->log_time_check_ns = NS_NEVER;
    return recovery;
}

static void item_unlink(struct recovery *recovery, struct recovery_item *item)
{
    if (item->state == ITEM_WAITING) {
        RB_REMOVE(deadline_tree, &recovery->by_deadline, item);
        TAILQ_REMOVE(&recovery->waiting, item, queue);
        if (RB_EMPTY(&recovery->by_deadline))
            recovery->log_time_check_ns = NS_NEVER;
    } else if (item->state == ITEM_ACKNOWLEDGED) {
        TAILQ_REMOVE(&recovery->acknowledged, item, queue);
        recovery->acknowledged_count--;
    } else {
        RB_REMOVE(next_tree, &recovery->by_next, item);
    }
}

/* Silence is equally long for all, so the queue is in order. */
static void item_listen(struct recovery *recovery, struct recovery_item *item, nanoseconds_t now_ns)
{
    item->next_ns = now_ns + recovery->options.silence_ms * NS_PER_MS;
    TAILQ_INSERT_TAIL(&recovery->waiting, item, queue);
}

static void item_link(struct recovery *recovery, struct recovery_item *item, enum item_state state,
                      nanoseconds_t next_ns)
{
    item->state = state;
    item->next_ns = next_ns;
    if (state == ITEM_WAITING) {
        RB_INSERT(deadline_tree, &recovery->by_deadline, item);
        item_listen(recovery, item, next_ns);
        if (recovery->log_time_check_ns == NS_NEVER)
            recovery->log_time_check_ns = next_ns + LOG_TIME_CHECK_MS * NS_PER_MS;
    } else if (state == ITEM_ACKNOWLEDGED) {
        TAILQ_INSERT_TAIL(&recovery->acknowledged, item, queue);
        recovery->acknowledged_count++;
    } else {
        RB_INSERT(next_tree, &recovery->by_next, item);
    }
}

static void item_move(struct recovery *recovery, struct recovery_item *item, enum item_state state,
                      nanoseconds_t next_ns)
{
    item_unlink(recovery, item);
    if (item->state != state)
        item->attempts_count = 0;
    item_link(recovery, item, state, next_ns);
}

static void item_remove(struct recovery *recovery, struct recovery_item *item)
{
    item_unlink(recovery, item);
    HASH_DEL(recovery->by_id, item);
    free(item->keys_acknowledged);
    free(item);
}

static struct recovery_item *recovery_find(struct recovery *recovery, struct txn_id txn)
{
    struct recovery_item *item;
    HASH_FIND(hh, recovery->by_id, &txn, sizeof(txn), item);
    return item;
}

void recovery_deposed(struct recovery *recovery)
{
    struct recovery_item *item, *next;
    HASH_ITER (hh, recovery->by_id, item, next) {
        item_remove(recovery, item);
    }
    recovery->leads = false;
    recovery->acknowledge_next_ns = 0;
    ASSERT(RB_EMPTY(&recovery->by_next) && recovery->log_time_check_ns == NS_NEVER);
}

void recovery_free(struct recovery *recovery)
{
    if (!recovery)
        return;
    recovery_deposed(recovery);
    free(recovery);
}

/* The next try of what has been tried attempts_count times. */
static nanoseconds_t item_retry_ns(const struct recovery *recovery, struct recovery_item *item,
                                   nanoseconds_t now_ns)
{
    uint64_t delay_ns = recovery->options.retry_ms * NS_PER_MS << item->attempts_count;
    if (item->attempts_count < BACKOFF_DOUBLINGS_MAX)
        item->attempts_count++;
    if (RARE(RECOVERY_IMPATIENT))
        delay_ns = NS_PER_MS;
    return now_ns + delay_ns;
}

/* Enters a state whose first try is made by the caller, now. */
static void item_begin(struct recovery *recovery, struct recovery_item *item, enum item_state state,
                       nanoseconds_t now_ns)
{
    item_move(recovery, item, state, now_ns);
    item_move(recovery, item, state, item_retry_ns(recovery, item, now_ns));
}

/* --- what is sent and proposed --- */

static void item_tell(struct recovery_item *item, const struct txn_open *open,
                      struct recovery_update *update)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(open->txn, &id);
    Ostraka__ResolveRequest request = OSTRAKA__RESOLVE_REQUEST__INIT;
    request.txn = &id;
    request.anchor = message_of_bytes(blob_bytes(open->anchor));
    request.outcome = open->state;
    request.commit_timestamp = open->commit_timestamp;
    /* A client names the participants: a hundred thousand are told in many tries. */
    uint32_t frames_count = 0;
    for (uint32_t looked = 0; looked < item->keys_count && frames_count < STEP_FRAMES_COUNT_MAX;
         looked++) {
        uint32_t index = item->key_next;
        item->key_next = (index + 1) % item->keys_count;
        if (item->keys_acknowledged[index])
            continue;
        frames_count++;
        if (item->attempts_count > 0)
            COVER(PARTICIPANT_TOLD_AGAIN);
        if (RARE(RESOLVE_LOST))
            continue;
        struct bytes key = blob_bytes(open->participant_keys[index]);
        request.key = message_of_bytes(key);
        outbox_to_key(update->outbox, key, frame_encode(FRAME_RESOLVE, 0, &request.base, NULL, 0));
    }
}

/* A key that this part holds: where home's answer finds its group, wherever the range has gone. A
 * part without any is refused when it is applied (record.c). */
static struct bytes open_representative_key(const struct txn_open *open, struct arena *arena)
{
    struct reader reader = reader_of(blob_bytes(open->write_set));
    struct write write;
    if (write_set_next(&reader, &write) == OST_OK)
        return write.key;
    Ostraka__PreparedCommand *command = (Ostraka__PreparedCommand *)message_unpack(
        &ostraka__prepared_command__descriptor, blob_bytes(open->prepared_message), arena);
    if (command && command->n_shared_locks > 0)
        return bytes_of_message(command->shared_locks[0]->start);
    if (command && command->n_ranges > 0)
        return bytes_of_message(command->ranges[0]->start);
    return blob_bytes(open->anchor);
}

static void item_ask(const struct txn_open *open, struct recovery_update *update)
{
    Ostraka__TxnId id = OSTRAKA__TXN_ID__INIT;
    txn_id_to_message(open->txn, &id);
    Ostraka__InquireRequest request = OSTRAKA__INQUIRE_REQUEST__INIT;
    request.txn = &id;
    request.anchor = message_of_bytes(blob_bytes(open->anchor));
    request.key = message_of_bytes(open_representative_key(open, &update->arena));
    request.kind = OSTRAKA__INQUIRE_KIND__ABORT;
    request.deadline = open->deadline;
    outbox_to_key(update->outbox, blob_bytes(open->anchor),
                  frame_encode(FRAME_INQUIRE, 0, &request.base, NULL, 0));
    update->inquiries_count++;
    COVER(PARTICIPANT_ASKS_HOME);
}

static void item_propose_abort(const struct txn_open *open, bool only_after_deadline,
                               struct recovery_update *update)
{
    Ostraka__AbortCommand *abort_command = arena_alloc(&update->arena, sizeof(*abort_command));
    ostraka__abort_command__init(abort_command);
    abort_command->txn = update_id(update, open->txn);
    abort_command->anchor = update_copy(update, open->anchor);
    abort_command->deadline = open->deadline;
    abort_command->only_after_deadline = only_after_deadline;
    Ostraka__KvCommand *command = update_propose(update);
    command->command_case = OSTRAKA__KV_COMMAND__COMMAND_ABORT;
    command->abort = abort_command;
}

static void item_propose_resolved(const struct txn_open *open, const Ostraka__InquireAnswer *answer,
                                  struct recovery_update *update)
{
    Ostraka__ResolvedCommand *resolved = arena_alloc(&update->arena, sizeof(*resolved));
    ostraka__resolved_command__init(resolved);
    resolved->txn = update_id(update, open->txn);
    resolved->anchor = update_copy(update, open->anchor);
    resolved->outcome = answer->state;
    resolved->commit_timestamp = answer->commit_timestamp;
    Ostraka__KvCommand *command = update_propose(update);
    command->command_case = OSTRAKA__KV_COMMAND__COMMAND_RESOLVED;
    command->resolved = resolved;
}

static void recovery_propose_acknowledged(struct recovery *recovery, nanoseconds_t now_ns,
                                          struct recovery_update *update)
{
    uint32_t count = recovery->acknowledged_count;
    if (count > recovery->options.acknowledge_count_max)
        count = recovery->options.acknowledge_count_max;
    if (count > 1 && RARE(ACKNOWLEDGED_ONE))
        count = 1;
    Ostraka__AcknowledgedCommand *acknowledged = arena_alloc(&update->arena, sizeof(*acknowledged));
    ostraka__acknowledged_command__init(acknowledged);
    acknowledged->n_txns = count;
    acknowledged->txns = arena_alloc(&update->arena, count * sizeof(acknowledged->txns[0]));
    for (uint32_t index = 0; index < count; index++) {
        struct recovery_item *item = TAILQ_FIRST(&recovery->acknowledged);
        acknowledged->txns[index] = update_id(update, item->txn);
        item_begin(recovery, item, ITEM_FORGETTING, now_ns);
    }
    Ostraka__KvCommand *command = update_propose(update);
    command->command_case = OSTRAKA__KV_COMMAND__COMMAND_ACKNOWLEDGED;
    command->acknowledged = acknowledged;
    recovery->acknowledge_next_ns = now_ns + recovery->options.acknowledge_ms * NS_PER_MS;
}

/* --- steps --- */

/* Puts an item where the record's state wants it. */
static void item_classify(struct recovery *recovery, const struct txn_open *open,
                          nanoseconds_t now_ns)
{
    struct recovery_item *item = recovery_find(recovery, open->txn);
    bool is_new = !item;
    if (is_new) {
        item = memory_alloc_zeroed(1, sizeof(*item));
        item->txn = open->txn;
        item->deadline = open->deadline;
        HASH_ADD(hh, recovery->by_id, txn, sizeof(item->txn), item);
        item_link(recovery, item, ITEM_WAITING, now_ns);
    }
    if (open->is_home && open->state != OSTRAKA__TXN_STATE__PENDING && !item->keys_acknowledged) {
        ASSERT(open->participant_keys_count > 0);
        item->keys_count = open->participant_keys_count;
        item->keys_missing_count = item->keys_count;
        item->keys_acknowledged = memory_alloc_zeroed(item->keys_count, sizeof(bool));
        item_move(recovery, item, ITEM_TELLING, now_ns);
    }
}

static void item_run(struct recovery *recovery, struct recovery_item *item, nanoseconds_t now_ns,
                     struct recovery_update *update)
{
    const struct txn_open *open = txn_records_find(recovery->records, item->txn);
    if (!open) {
        item_remove(recovery, item);
        return;
    }
    enum item_state state = item->state;
    switch (state) {
    case ITEM_ABORTING:
        if (!item->is_abandoned)
            COVER(HOME_ABORTS_EXPIRED);
        item_propose_abort(open, !item->is_abandoned, update);
        break;
    case ITEM_RESOLVING: /* what was proposed is lost: ask again */
        item_move(recovery, item, ITEM_ASKING, now_ns);
        state = ITEM_ASKING;
        /* fallthrough */
    case ITEM_ASKING:
        item_ask(open, update);
        break;
    case ITEM_TELLING:
        item_tell(item, open, update);
        break;
    case ITEM_FORGETTING:
        item_move(recovery, item, ITEM_ACKNOWLEDGED, now_ns);
        return;
    case ITEM_WAITING:
    case ITEM_ACKNOWLEDGED:
        ASSERT(!"an item in the tree of retries waits for a retry");
    }
    item_move(recovery, item, state, item_retry_ns(recovery, item, now_ns));
}

static nanoseconds_t recovery_deadline_ns(struct recovery *recovery)
{
    nanoseconds_t deadline_ns = recovery->log_time_check_ns;
    struct recovery_item *first = RB_MIN(next_tree, &recovery->by_next);
    if (first && first->next_ns < deadline_ns)
        deadline_ns = first->next_ns;
    const struct recovery_item *silent = TAILQ_FIRST(&recovery->waiting);
    if (silent && silent->next_ns < deadline_ns)
        deadline_ns = silent->next_ns;
    if (!TAILQ_EMPTY(&recovery->acknowledged) && recovery->acknowledge_next_ns < deadline_ns)
        deadline_ns = recovery->acknowledge_next_ns;
    return deadline_ns;
}

/* Waiting has come to an end: home aborts by itself, a participant asks home to. */
static void item_end_waiting(struct recovery *recovery, struct recovery_item *item,
                             nanoseconds_t now_ns)
{
    const struct txn_open *open = txn_records_find(recovery->records, item->txn);
    if (!open)
        item_remove(recovery, item);
    else
        item_move(recovery, item, open->is_home ? ITEM_ABORTING : ITEM_ASKING, now_ns);
}

static void recovery_abandon(struct recovery *recovery, nanoseconds_t now_ns)
{
    struct recovery_item *item;
    for (uint32_t count = 0; count < STEP_FRAMES_COUNT_MAX; count++) {
        item = TAILQ_FIRST(&recovery->waiting);
        if (!item || item->next_ns > now_ns)
            return;
        COVER(COORDINATOR_SILENT);
        item->is_abandoned = true;
        item_end_waiting(recovery, item, now_ns);
    }
}

/* Does what is due, up to the step's bound. */
static void recovery_run(struct recovery *recovery, nanoseconds_t now_ns,
                         struct recovery_update *update)
{
    recovery_abandon(recovery, now_ns);
    size_t frames_before_count = update->outbox->items_count;
    for (uint32_t runs_count = 0; runs_count < STEP_FRAMES_COUNT_MAX; runs_count++) {
        struct recovery_item *item = RB_MIN(next_tree, &recovery->by_next);
        if (!item || item->next_ns > now_ns)
            break;
        item_run(recovery, item, now_ns, update);
        if (update->outbox->items_count - frames_before_count >= STEP_FRAMES_COUNT_MAX)
            break;
    }
    if (!TAILQ_EMPTY(&recovery->acknowledged) && recovery->acknowledge_next_ns <= now_ns)
        recovery_propose_acknowledged(recovery, now_ns, update);
    update->deadline_ns = recovery_deadline_ns(recovery);
}

struct led_context {
    struct recovery *recovery;
    nanoseconds_t now_ns;
};

static void visit_open(void *context, struct txn_open *open)
{
    struct led_context *led = context;
    COVER(RECOVERY_AFTER_ELECTION);
    item_classify(led->recovery, open, led->now_ns);
}

void recovery_led(struct recovery *recovery, nanoseconds_t now_ns, struct recovery_update *update)
{
    recovery_deposed(recovery);
    recovery->leads = true;
    struct led_context led = {recovery, now_ns};
    txn_records_each(recovery->records, visit_open, &led);
    /* Some may be past their deadlines for long: look at once. */
    if (recovery->log_time_check_ns != NS_NEVER)
        recovery->log_time_check_ns = now_ns;
    recovery_run(recovery, now_ns, update);
}

void recovery_changed(struct recovery *recovery, struct txn_id txn, nanoseconds_t now_ns,
                      struct recovery_update *update)
{
    if (!recovery->leads)
        return;
    const struct txn_open *open = txn_records_find(recovery->records, txn);
    struct recovery_item *item = recovery_find(recovery, txn);
    if (open)
        item_classify(recovery, open, now_ns);
    else if (item)
        item_remove(recovery, item);
    item = open ? recovery_find(recovery, txn) : NULL;
    if (item && item->state == ITEM_WAITING && !open->is_home && RARE(TXN_INQUIRES_EARLY))
        item_move(recovery, item, ITEM_ASKING, now_ns);
    recovery_run(recovery, now_ns, update);
}

void recovery_heard(struct recovery *recovery, struct txn_id txn, nanoseconds_t now_ns)
{
    struct recovery_item *item = recovery_find(recovery, txn);
    if (!item || item->state != ITEM_WAITING)
        return;
    TAILQ_REMOVE(&recovery->waiting, item, queue);
    item_listen(recovery, item, now_ns);
}

void recovery_inquire(struct recovery *recovery, struct txn_id txn, nanoseconds_t now_ns,
                      struct recovery_update *update)
{
    struct recovery_item *item = recovery_find(recovery, txn);
    const struct txn_open *open = txn_records_find(recovery->records, txn);
    if (item && open && item->state == ITEM_WAITING && !open->is_home) {
        item_move(recovery, item, ITEM_ASKING, now_ns);
    } else if (item && open && item->state == ITEM_WAITING) {
        /* Here is its home: the question is answered by the log at once. Nobody else would ask it:
         * two that prepare, each at its own home first, and then wait for one another, would stand
         * until their deadlines. Should the proposal get lost, whoever waits asks again. */
        COVER(HOME_ABORTS_FOR_OLDER);
        item_propose_abort(open, false, update);
    }
    recovery_run(recovery, now_ns, update);
}

void recovery_resolve_answered(struct recovery *recovery, const Ostraka__ResolveAnswer *answer,
                               nanoseconds_t now_ns, struct recovery_update *update)
{
    struct txn_id txn = txn_id_of_message(answer->txn);
    struct recovery_item *item = recovery_find(recovery, txn);
    const struct txn_open *open = txn_records_find(recovery->records, txn);
    if (item && open && item->state == ITEM_TELLING && answer->status == OST_OK) {
        struct bytes key = bytes_of_message(answer->key);
        for (uint32_t index = 0; index < item->keys_count; index++) {
            if (item->keys_acknowledged[index] ||
                !bytes_equal(blob_bytes(open->participant_keys[index]), key))
                continue;
            item->keys_acknowledged[index] = true;
            item->keys_missing_count--;
        }
        if (item->keys_missing_count == 0)
            item_move(recovery, item, ITEM_ACKNOWLEDGED, now_ns);
    }
    recovery_run(recovery, now_ns, update);
}

void recovery_inquire_answered(struct recovery *recovery, const Ostraka__InquireAnswer *answer,
                               nanoseconds_t now_ns, struct recovery_update *update)
{
    struct txn_id txn = txn_id_of_message(answer->txn);
    struct recovery_item *item = recovery_find(recovery, txn);
    const struct txn_open *open = txn_records_find(recovery->records, txn);
    bool decided = answer->state == OSTRAKA__TXN_STATE__COMMITTED ||
                   answer->state == OSTRAKA__TXN_STATE__ABORTED;
    /* Only what this leader asked about: an answer to an earlier one may be as old as its term, and
     * true all the same, but then this leader will ask by itself. */
    if (item && open && !open->is_home && item->state == ITEM_ASKING && decided) {
        item_propose_resolved(open, answer, update);
        item_begin(recovery, item, ITEM_RESOLVING, now_ns);
    }
    recovery_run(recovery, now_ns, update);
}

void recovery_timer(struct recovery *recovery, timestamp_t log_timestamp, nanoseconds_t now_ns,
                    struct recovery_update *update)
{
    struct recovery_item *item;
    while ((item = RB_MIN(deadline_tree, &recovery->by_deadline)) && item->deadline < log_timestamp)
        item_end_waiting(recovery, item, now_ns);
    if (recovery->log_time_check_ns <= now_ns) {
        update->needs_log_time = true;
        recovery->log_time_check_ns = now_ns + LOG_TIME_CHECK_MS * NS_PER_MS;
    }
    recovery_run(recovery, now_ns, update);
}
