#include "tests/check/atomic_check.h"

#include "base/arena.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#define WHERE_BYTES 32

struct outcome {
    uint8_t id[ATOMIC_CHECK_ID_BYTES_MAX];
    uint32_t id_bytes;
    enum atomic_check_outcome outcome;
    timestamp_t commit_ts; /* 0: nobody has said it yet */
    char where[WHERE_BYTES];
    UT_hash_handle hh;
};

struct atomic_check {
    struct arena arena;
    struct outcome *outcomes;
    struct check_result result;
};

struct atomic_check *atomic_check_new(void)
{
    struct atomic_check *check = memory_alloc_zeroed(1, sizeof *check);
    arena_init(&check->arena);
    check_result_init(&check->result);
    return check;
}

void atomic_check_free(struct atomic_check *check)
{
    if (!check)
        return;
    HASH_CLEAR(hh, check->outcomes);
    arena_fini(&check->arena);
    free(check);
}

static const char *outcome_name(enum atomic_check_outcome outcome)
{
    return outcome == ATOMIC_COMMITTED ? "committed" : "aborted";
}

void atomic_check_report(struct atomic_check *check, struct bytes txn_id,
                         enum atomic_check_outcome outcome, timestamp_t commit_ts,
                         const char *where)
{
    char id_text[KEY_TEXT_BYTES];
    struct outcome *first;
    ASSERT(txn_id.bytes_count > 0 && txn_id.bytes_count <= ATOMIC_CHECK_ID_BYTES_MAX);
    check->result.judged_count++;
    HASH_FIND(hh, check->outcomes, txn_id.data, txn_id.bytes_count, first);
    if (!first) {
        first = arena_alloc_zeroed(&check->arena, sizeof *first);
        memcpy(first->id, txn_id.data, txn_id.bytes_count);
        first->id_bytes = (uint32_t)txn_id.bytes_count;
        first->outcome = outcome;
        first->commit_ts = commit_ts;
        (void)snprintf(first->where, sizeof first->where, "%s", where);
        HASH_ADD(hh, check->outcomes, id, first->id_bytes, first);
        return;
    }
    if (first->outcome != outcome) {
        check_result_violation(
            &check->result, "split-outcome", "transaction %s is %s at %s and %s at %s",
            key_print(txn_id, id_text, sizeof id_text), outcome_name(first->outcome), first->where,
            outcome_name(outcome), where);
        return;
    }
    if (outcome == ATOMIC_ABORTED || commit_ts == 0)
        return;
    if (first->commit_ts == 0) {
        first->commit_ts = commit_ts;
        (void)snprintf(first->where, sizeof first->where, "%s", where);
    }
    if (first->commit_ts != commit_ts)
        check_result_violation(&check->result, "two-timestamps",
                               "transaction %s is committed at %" PRIu64 " at %s and at %" PRIu64
                               " at %s",
                               key_print(txn_id, id_text, sizeof id_text), first->commit_ts,
                               first->where, commit_ts, where);
}

const struct check_result *atomic_check_result(const struct atomic_check *check)
{
    return &check->result;
}
