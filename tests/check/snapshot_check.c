#include "tests/check/snapshot_check.h"

#include "base/arena.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum outcome { OUTCOME_UNKNOWN, OUTCOME_COMMITTED, OUTCOME_ABORTED };

struct txn {
    enum outcome outcome;
    timestamp_t timestamp; /* COMMITTED; UNKNOWN: as a read has shown it, or 0 */
};

struct write {
    uint64_t txn;
    bool is_delete;
    struct bytes value;
    struct write *next; /* of the key */
};

struct read {
    timestamp_t timestamp, version;
    bool is_found;
    struct bytes value;
    const char *where;
    struct read *next; /* of the key */
};

struct version {
    timestamp_t timestamp;
    const struct write *write;
};

struct key {
    struct bytes name;
    struct write *writes;
    struct read *reads;
    UT_hash_handle hh;
};

struct snapshot_check {
    struct arena arena;
    struct key *keys;
    struct txn *txns;
    uint64_t txns_count, txns_capacity;
    uint64_t reads_count;
};

struct snapshot_check *snapshot_check_new(void)
{
    struct snapshot_check *check = memory_alloc_zeroed(1, sizeof *check);
    arena_init(&check->arena);
    return check;
}

void snapshot_check_free(struct snapshot_check *check)
{
    if (!check)
        return;
    HASH_CLEAR(hh, check->keys);
    free(check->txns);
    arena_fini(&check->arena);
    free(check);
}

/* --- What is told
 * ----------------------------------------------------------------------------------- */

static struct key *key_of(struct snapshot_check *check, struct bytes name)
{
    struct key *key;
    HASH_FIND(hh, check->keys, name.data, name.bytes_count, key);
    if (key)
        return key;
    key = arena_alloc_zeroed(&check->arena, sizeof *key);
    key->name = arena_copy(&check->arena, name);
    HASH_ADD_KEYPTR(hh, check->keys, key->name.data, key->name.bytes_count, key);
    return key;
}

static struct txn *txn_of(struct snapshot_check *check, uint64_t number)
{
    ASSERT(number > 0 && number <= check->txns_count);
    return &check->txns[number - 1];
}

uint64_t snapshot_check_begin(struct snapshot_check *check)
{
    if (check->txns_count == check->txns_capacity) {
        check->txns_capacity = check->txns_capacity ? 2 * check->txns_capacity : 256;
        check->txns = memory_realloc(check->txns, check->txns_capacity * sizeof check->txns[0]);
    }
    check->txns[check->txns_count++] = (struct txn){.outcome = OUTCOME_UNKNOWN};
    return check->txns_count;
}

void snapshot_check_write(struct snapshot_check *check, uint64_t txn, struct bytes key,
                          const struct bytes *value)
{
    struct write *write = arena_alloc_zeroed(&check->arena, sizeof *write);
    struct key *of = key_of(check, key);
    write->txn = txn;
    write->is_delete = !value;
    if (value)
        write->value = arena_copy(&check->arena, *value);
    write->next = of->writes;
    of->writes = write;
}

void snapshot_check_committed(struct snapshot_check *check, uint64_t txn, timestamp_t timestamp)
{
    *txn_of(check, txn) = (struct txn){OUTCOME_COMMITTED, timestamp};
}

void snapshot_check_aborted(struct snapshot_check *check, uint64_t txn)
{
    *txn_of(check, txn) = (struct txn){OUTCOME_ABORTED, 0};
}

void snapshot_check_read(struct snapshot_check *check, timestamp_t timestamp, struct bytes key,
                         const struct bytes *value, timestamp_t version, const char *where)
{
    struct read *read = arena_alloc_zeroed(&check->arena, sizeof *read);
    struct key *of = key_of(check, key);
    *read = (struct read){.timestamp = timestamp,
                          .version = version,
                          .is_found = value != NULL,
                          .where = arena_printf(&check->arena, "%s", where),
                          .next = of->reads};
    if (value)
        read->value = arena_copy(&check->arena, *value);
    of->reads = read;
    check->reads_count++;
}

/* --- The verdict
 * ----------------------------------------------------------------------------------- */

struct key_text {
    char text[KEY_TEXT_BYTES];
};

static const char *name_of(const struct key *key, struct key_text *text)
{
    return key_print(key->name, text->text, sizeof text->text);
}

static const struct write *write_find(const struct key *key, struct bytes value)
{
    const struct write *write = key->writes;
    while (write && (write->is_delete || !bytes_equal(write->value, value)))
        write = write->next;
    return write;
}

/* What a read shows is one version of one committed transaction; one of unknown outcome has
 * committed, then. */
static void read_attribute(struct snapshot_check *check, const struct key *key,
                           const struct read *read, struct check_result *out)
{
    struct key_text text;
    const struct write *write = write_find(key, read->value);
    if (!write) {
        check_result_violation(out, "garbage-read",
                               "%s read %s as of %" PRIu64 ": a value that nobody wrote",
                               read->where, name_of(key, &text), read->timestamp);
        return;
    }
    struct txn *txn = txn_of(check, write->txn);
    if (txn->outcome == OUTCOME_ABORTED) {
        check_result_violation(out, "aborted-read",
                               "%s read %s as of %" PRIu64 ": what aborted transaction %" PRIu64
                               " wrote",
                               read->where, name_of(key, &text), read->timestamp, write->txn);
        return;
    }
    if (txn->timestamp == 0)
        txn->timestamp = read->version;
    if (txn->timestamp != read->version)
        check_result_violation(out, "moved-commit",
                               "%s read %s as of %" PRIu64 " at version %" PRIu64
                               ", and transaction %" PRIu64 " committed at %" PRIu64,
                               read->where, name_of(key, &text), read->timestamp, read->version,
                               write->txn, txn->timestamp);
    if (read->version > read->timestamp)
        check_result_violation(out, "future-read",
                               "%s read %s as of %" PRIu64 " at version %" PRIu64, read->where,
                               name_of(key, &text), read->timestamp, read->version);
}

static int version_compare(const void *a, const void *b)
{
    timestamp_t left = ((const struct version *)a)->timestamp;
    timestamp_t right = ((const struct version *)b)->timestamp;
    return (left > right) - (left < right);
}

/* The key's committed versions, the oldest first. */
static struct version *versions_of(struct snapshot_check *check, const struct key *key,
                                   struct arena *arena, size_t *out_count)
{
    size_t count = 0;
    for (const struct write *write = key->writes; write; write = write->next)
        count++;
    struct version *versions = arena_alloc(arena, (count + 1) * sizeof versions[0]);
    count = 0;
    for (const struct write *write = key->writes; write; write = write->next) {
        timestamp_t timestamp = txn_of(check, write->txn)->timestamp;
        if (timestamp != 0)
            versions[count++] = (struct version){timestamp, write};
    }
    qsort(versions, count, sizeof versions[0], version_compare);
    *out_count = count;
    return versions;
}

/* Nobody can say when it committed, if it did: what is not there carries no version. */
static bool has_unknown_delete(struct snapshot_check *check, const struct key *key)
{
    for (const struct write *write = key->writes; write; write = write->next) {
        const struct txn *txn = txn_of(check, write->txn);
        if (write->is_delete && txn->outcome == OUTCOME_UNKNOWN && txn->timestamp == 0)
            return true;
    }
    return false;
}

static void read_judge(struct snapshot_check *check, const struct key *key, const struct read *read,
                       const struct version *versions, size_t count, struct check_result *out)
{
    size_t low = 0, high = count; /* below `low` all are at or below the timestamp */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (versions[middle].timestamp <= read->timestamp)
            low = middle + 1;
        else
            high = middle;
    }
    const struct version *newest = low > 0 ? &versions[low - 1] : NULL;
    bool is_missed =
        newest && (read->is_found ? newest->timestamp > read->version : !newest->write->is_delete);
    if (!is_missed || (!read->is_found && has_unknown_delete(check, key)))
        return;
    struct key_text text;
    char shown[48] = "nothing";
    if (read->is_found)
        snprintf(shown, sizeof shown, "version %" PRIu64, read->version);
    check_result_violation(out, "missed-commit",
                           "%s read %s as of %" PRIu64 " and saw %s, but transaction %" PRIu64
                           " had committed there at %" PRIu64,
                           read->where, name_of(key, &text), read->timestamp, shown,
                           newest->write->txn, newest->timestamp);
}

static void key_judge(struct snapshot_check *check, const struct key *key, struct check_result *out)
{
    struct arena arena;
    arena_init(&arena);
    size_t count;
    const struct version *versions = versions_of(check, key, &arena, &count);
    struct key_text text;
    for (size_t index = 1; index < count; index++)
        if (versions[index].timestamp == versions[index - 1].timestamp)
            check_result_violation(out, "two-versions",
                                   "transactions %" PRIu64 " and %" PRIu64
                                   " both committed %s at %" PRIu64,
                                   versions[index - 1].write->txn, versions[index].write->txn,
                                   name_of(key, &text), versions[index].timestamp);
    for (const struct read *read = key->reads; read; read = read->next)
        read_judge(check, key, read, versions, count, out);
    arena_fini(&arena);
}

void snapshot_check_judge(struct snapshot_check *check, struct check_result *out)
{
    check_result_init(out);
    out->judged_count = check->reads_count;
    const struct key *key;
    for (key = check->keys; key; key = key->hh.next)
        for (const struct read *read = key->reads; read; read = read->next)
            if (read->is_found)
                read_attribute(check, key, read, out);
    for (uint64_t number = 1; number <= check->txns_count; number++)
        out->unknown_count += txn_of(check, number)->outcome == OUTCOME_UNKNOWN;
    /* After all who committed are known. */
    for (key = check->keys; key; key = key->hh.next)
        key_judge(check, key, out);
}
