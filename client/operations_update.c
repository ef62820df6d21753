/* operations_update.c: compare-and-set, add, and the deletion of an interval: a read under an
 * exclusive lock (in optimistic mode, without one), and the writes that follow from it.
 *
 * Without a transaction of the caller's each is one of its own, which is committed even when there
 * is nothing to write: what was read is true only once its locks are known to stand (T1), and that
 * a value does not match is something that was read.
 */
#include "base/memory.h"
#include "client/core_internal.h"

#include <inttypes.h>

#define NUMBER_BYTES 8u

static int write_one(struct operation *operation, const struct write *write)
{
    const char *why = NULL;
    int status = coordinator_write(operation->txn->coordinator, write, &why);
    if (status != OST_OK && why)
        operation_explain(operation, "%s", why);
    return status;
}

/* What the operation comes to is known, and its writes are in the transaction's buffer. */
static void update_decided(struct client_core *core, struct operation *operation, int verdict)
{
    if (operation_is_callers(operation)) {
        core_complete(core, operation, verdict);
        return;
    }
    operation->verdict = verdict;
    core_txn_commit(core, operation->txn, operation);
}

/* --- One key -------------------------------------------------------------------------------------
 */

static int compare_and_set(struct operation *operation, bool found, struct bytes value)
{
    bool matches =
        found == operation->has_expected && (!found || bytes_equal(value, operation->expected));
    if (matches) {
        struct write write = {WRITE_PUT, operation->key, operation->value};
        return write_one(operation, &write);
    }
    char key[KEY_TEXT_BYTES];
    key_print(operation->key, key, sizeof(key));
    if (!found)
        operation_explain(operation, "key %s is absent", key);
    else if (!operation->has_expected)
        operation_explain(operation, "key %s is there", key);
    else
        operation_explain(operation, "key %s has another value, of %zu bytes", key,
                          value.bytes_count);
    return OST_CONFLICT;
}

/* Signed, 8 bytes, little endian; an absent key counts as 0. */
static int add(struct operation *operation, bool found, struct bytes value)
{
    char key[KEY_TEXT_BYTES];
    key_print(operation->key, key, sizeof(key));
    if (found && value.bytes_count != NUMBER_BYTES) {
        operation_explain(operation, "the value of key %s is %zu bytes: a number is 8", key,
                          value.bytes_count);
        return OST_INVALID_ARGUMENT;
    }
    uint64_t bits = 0;
    for (unsigned byte = 0; found && byte < NUMBER_BYTES; byte++)
        bits |= (uint64_t)value.data[byte] << (8 * byte);
    int64_t before = (int64_t)bits;
    if (__builtin_add_overflow(before, operation->delta, &operation->result_number)) {
        operation_explain(
            operation, "key %s: the sum of %" PRId64 " and %" PRId64 " does not fit into 64 bits",
            key, before, operation->delta);
        operation->result_number = 0;
        return OST_INVALID_ARGUMENT;
    }
    uint8_t bytes[NUMBER_BYTES];
    for (unsigned byte = 0; byte < NUMBER_BYTES; byte++)
        bytes[byte] = (uint8_t)((uint64_t)operation->result_number >> (8 * byte));
    struct write write = {WRITE_PUT, operation->key, bytes_of(bytes, sizeof(bytes))};
    return write_one(operation, &write);
}

static void update_read(struct client_core *core, struct operation *operation, bool found,
                        struct bytes value)
{
    if (operation->type == OPERATION_ADD) {
        update_decided(core, operation, add(operation, found, value));
        return;
    }
    /* Kept: the commit, and its answer, come before the caller looks at it. */
    blob_unref(operation->found);
    operation->found = found ? blob_copy(value) : NULL;
    operation->result_value = blob_bytes(operation->found);
    update_decided(core, operation, compare_and_set(operation, found, value));
}

void update_start(struct client_core *core, struct operation *operation)
{
    operation->why = NULL;
    operation->lock_mode = LOCK_EXCLUSIVE;
    if (!operation->txn)
        operation_take_txn(core, operation);
    struct core_txn *txn = operation->txn;
    int status = core_txn_check_growing(core, txn);
    if (status == OST_OK && txn->commit)
        status = OST_INVALID_ARGUMENT;
    if (status != OST_OK) {
        core_complete(core, operation, status);
        return;
    }
    struct write write;
    if (write_buffer_find(coordinator_writes(txn->coordinator), operation->key, &write) == OST_OK) {
        update_read(core, operation, write.kind == WRITE_PUT, write.value);
        return;
    }
    if (operation_is_callers(operation))
        TAILQ_INSERT_TAIL(&txn->reads, operation, link);
    bool takes_lock = !coordinator_is_optimistic(txn->coordinator);
    operation->request = request_new(core, takes_lock ? FRAME_LOCK : FRAME_GET, OWNER_OPERATION,
                                     operation->deadline_ns);
    operation->request->operation = operation;
    request_start(core, operation->request);
}

void update_answered(struct client_core *core, struct operation *operation, group_id_t group,
                     const struct answer *answer)
{
    struct lock_target read = {.start = operation->key};
    core_txn_read_answered(core, operation->txn, group, &read, answer);
    int status =
        answer->status == OST_OK ? core_txn_check_growing(core, operation->txn) : answer->status;
    /* The group knows the transaction as one that does not grow any more; here the status has
     * another meaning. */
    if (status == OST_CONFLICT)
        status = OST_TXN_FINISHED;
    if (status == OST_OK)
        update_read(core, operation, answer->found, answer->payload);
    else if (operation_is_callers(operation))
        core_complete(core, operation, status);
    else
        operation_run_again(core, operation, status);
}

/* --- An interval ---------------------------------------------------------------------------------
 */

/* All or nothing: a transaction that would be over a limit with these stays as it was. */
static int deletions_check(struct operation *operation, struct bytes keys)
{
    const struct write_buffer *writes = coordinator_writes(operation->txn->coordinator);
    uint64_t operations_count = writes->writes_count;
    uint64_t bytes_count = writes->bytes_count;
    struct reader reader = reader_of(keys);
    struct row row;
    while (rows_next(&reader, &row) == OST_OK) {
        struct write write;
        if (write_buffer_find(writes, row.key, &write) == OST_OK) {
            bytes_count -= write.value.bytes_count;
        } else {
            operations_count++;
            bytes_count += row.key.bytes_count;
        }
    }
    char why[LIMIT_WHY_BYTES];
    int status = limit_check_txn(operations_count, bytes_count, why);
    if (status != OST_OK)
        operation_explain(operation, "%s", why);
    return status;
}

void delete_range_scanned(struct client_core *core, struct operation *operation, struct bytes keys,
                          uint32_t keys_count)
{
    operation->result_rows = bytes_of(NULL, 0);
    if (!operation->txn) { /* an empty interval */
        core_complete(core, operation, OST_OK);
        return;
    }
    int status = deletions_check(operation, keys);
    struct reader reader = reader_of(keys);
    struct row row;
    while (status == OST_OK && rows_next(&reader, &row) == OST_OK) {
        struct write write = {.kind = WRITE_DELETE, .key = row.key};
        status = write_one(operation, &write);
    }
    operation->result_rows_count = status == OST_OK ? keys_count : 0;
    update_decided(core, operation, status);
}
