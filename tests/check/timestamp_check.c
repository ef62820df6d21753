#include "tests/check/timestamp_check.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define uthash_malloc(bytes_count) memory_alloc(bytes_count)
#include <uthash.h>

struct handed_out {
    timestamp_t first, last;
    uint64_t oracle;
};

struct question_key {
    uint64_t asker, request_id;
};

struct question {
    struct question_key key;
    timestamp_t floor; /* the highest that anybody had when it was sent */
    UT_hash_handle hh;
};

struct timestamp_check {
    struct handed_out *handed_out; /* by first */
    size_t handed_out_count, handed_out_capacity;
    struct question *questions;
    timestamp_t heard;
    struct check_result result;
};

struct timestamp_check *timestamp_check_new(void)
{
    struct timestamp_check *check = memory_alloc_zeroed(1, sizeof *check);
    check_result_init(&check->result);
    return check;
}

void timestamp_check_free(struct timestamp_check *check)
{
    struct question *question, *next;
    HASH_ITER (hh, check->questions, question, next) {
        HASH_DEL(check->questions, question);
        free(question);
    }
    free(check->handed_out);
    free(check);
}

/* The first one that begins behind it. Mostly that is the end. */
static size_t place_after(const struct timestamp_check *check, timestamp_t timestamp)
{
    size_t place = check->handed_out_count;
    while (place > 0 && check->handed_out[place - 1].first > timestamp)
        place--;
    return place;
}

static void twice(struct timestamp_check *check, const struct handed_out *before,
                  const struct handed_out *now)
{
    check_result_violation(&check->result, "timestamp-twice",
                           "store %" PRIu64 " hands out %" PRIu64 " to %" PRIu64
                           ", and store %" PRIu64 " handed out %" PRIu64 " to %" PRIu64,
                           now->oracle, now->first, now->last, before->oracle, before->first,
                           before->last);
}

void timestamp_check_handed_out(struct timestamp_check *check, timestamp_t first, uint32_t count,
                                uint64_t oracle)
{
    struct handed_out now = {.first = first, .last = first + count - 1, .oracle = oracle};
    check->result.judged_count++;
    size_t place = place_after(check, first);
    if (place > 0 && check->handed_out[place - 1].last >= first)
        twice(check, &check->handed_out[place - 1], &now);
    if (place < check->handed_out_count && check->handed_out[place].first <= now.last)
        twice(check, &check->handed_out[place], &now);
    if (check->handed_out_count == check->handed_out_capacity) {
        check->handed_out_capacity = 2 * check->handed_out_capacity + 64;
        check->handed_out = memory_realloc(check->handed_out,
                                           check->handed_out_capacity * sizeof(struct handed_out));
    }
    memmove(&check->handed_out[place + 1], &check->handed_out[place],
            (check->handed_out_count - place) * sizeof(struct handed_out));
    check->handed_out[place] = now;
    check->handed_out_count++;
}

void timestamp_check_heard(struct timestamp_check *check, timestamp_t timestamp)
{
    if (check->heard < timestamp)
        check->heard = timestamp;
}

static struct question *question_find(struct timestamp_check *check, uint64_t asker,
                                      uint64_t request_id)
{
    struct question_key key = {asker, request_id};
    struct question *question;
    HASH_FIND(hh, check->questions, &key, sizeof key, question);
    return question;
}

void timestamp_check_asked(struct timestamp_check *check, uint64_t asker, uint64_t request_id)
{
    if (question_find(check, asker, request_id))
        return;
    struct question *question = memory_alloc_zeroed(1, sizeof *question);
    question->key = (struct question_key){asker, request_id};
    question->floor = check->heard;
    HASH_ADD(hh, check->questions, key, sizeof question->key, question);
}

void timestamp_check_answered(struct timestamp_check *check, uint64_t asker, uint64_t request_id,
                              timestamp_t first, uint32_t count)
{
    struct question *question = question_find(check, asker, request_id);
    if (!question)
        return;
    check->result.judged_count++;
    if (first <= question->floor)
        check_result_violation(&check->result, "timestamp-goes-back",
                               "who asked when %" PRIu64 " was known got %" PRIu64, question->floor,
                               first);
    timestamp_check_heard(check, first + count - 1);
    HASH_DEL(check->questions, question);
    free(question);
}

const struct check_result *timestamp_check_result(const struct timestamp_check *check)
{
    return &check->result;
}
