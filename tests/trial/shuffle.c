#include "tests/trial/shuffle.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/random.h"
#include "client/ostraka.h"
#include "cmd/bank.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CALL_MS_MAX   2000u
#define LOOK_EVERY_MS 10u
/* Whatever is killed, a change comes to its end, once the kills leave it some seconds. */
#define CHANGE_NS_MAX    (UINT64_C(120) * 1000000000)
#define SPLIT_TRIES      8u
#define RANGES_COUNT_MAX 64u /* of one slice */

enum deed { DEED_SPLIT, DEED_MERGE, DEED_MOVE };

/* What a hand wants of its slice. */
struct wish {
    enum deed deed;
    char key[BANK_KEY_BYTES];   /* in the range; of a split: where. Empty: the first range */
    char right[BANK_KEY_BYTES]; /* of a merge: where the right one begins */
    uint64_t to_group;
    uint64_t change;
    uint64_t asked_ns;
};

struct hand {
    struct shuffle *shuffle;
    pthread_t thread;
    struct random random;
    uint32_t number;
    uint32_t account_begin, account_end;
    char begin[BANK_KEY_BYTES], end[BANK_KEY_BYTES]; /* keys; empty: the first, the last of all */
};

struct shuffle {
    struct ost_client *client;
    struct shuffle_options options;
    atomic_bool is_over, is_abandoned;
    uint32_t started_count;
    struct hand *hands;

    pthread_mutex_t mutex; /* guards all below */
    struct shuffle_counts counts;
    uint32_t *slice_ranges_counts;
    int error;
    char why[SHUFFLE_WHY_BYTES];
};

static void rest_ms(uint32_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
              NULL);
}

__attribute__((format(printf, 3, 4))) static void hand_fail(struct hand *hand, int status,
                                                            const char *format, ...)
{
    struct shuffle *shuffle = hand->shuffle;
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&shuffle->mutex);
    if (shuffle->error == OST_OK) {
        shuffle->error = status;
        vsnprintf(shuffle->why, sizeof shuffle->why, format, arguments);
    }
    pthread_mutex_unlock(&shuffle->mutex);
    va_end(arguments);
    atomic_store(&shuffle->is_over, true);
}

/* --- What there is --- */

/* The ranges of one slice, in key order, as a map has them. */
struct slice {
    struct ost_cluster_info info; /* freed by slice_drop */
    const struct ost_range_info *ranges[RANGES_COUNT_MAX];
    uint32_t count;
    bool is_still; /* nothing is being done to any of them */
};

static bool key_is(struct ost_bytes key, const char *text)
{
    return key.bytes_count == strlen(text) && memcmp(key.data, text, key.bytes_count) == 0;
}

/* Keys of accounts are of one length, so text compares as keys do; an empty begin is the first key
 * of all. */
static bool range_is_of(const struct ost_range_info *range, const struct hand *hand)
{
    char start[BANK_KEY_BYTES] = "";
    if (range->start.bytes_count >= sizeof start)
        return false;
    if (range->start.bytes_count > 0)
        memcpy(start, range->start.data, range->start.bytes_count);
    return strcmp(start, hand->begin) >= 0 && (!hand->end[0] || strcmp(start, hand->end) < 0);
}

/* False: nobody answers. */
static bool slice_take(struct hand *hand, struct slice *out_slice)
{
    *out_slice = (struct slice){.is_still = true};
    if (ost_cluster_info(hand->shuffle->client, &out_slice->info) != OST_OK)
        return false;
    for (size_t r = 0; r < out_slice->info.ranges_count; r++) {
        const struct ost_range_info *range = &out_slice->info.ranges[r];
        if (!range_is_of(range, hand) || out_slice->count == RANGES_COUNT_MAX)
            continue;
        out_slice->ranges[out_slice->count++] = range;
        out_slice->is_still = out_slice->is_still && range->change.change == 0;
    }
    return true;
}

static void slice_drop(struct slice *slice)
{
    ost_cluster_info_free(&slice->info);
}

static bool slice_has_start(const struct slice *slice, const char *key)
{
    for (uint32_t r = 0; r < slice->count; r++)
        if (key_is(slice->ranges[r]->start, key))
            return true;
    return false;
}

static const struct ost_range_info *slice_range_of(const struct slice *slice, const char *key)
{
    const struct ost_range_info *found = NULL;
    for (uint32_t r = 0; r < slice->count; r++) {
        char start[BANK_KEY_BYTES] = "";
        if (slice->ranges[r]->start.bytes_count > 0)
            memcpy(start, slice->ranges[r]->start.data, slice->ranges[r]->start.bytes_count);
        if (strcmp(start, key) <= 0)
            found = slice->ranges[r];
    }
    return found;
}

static void slice_count(struct hand *hand, const struct slice *slice)
{
    struct shuffle *shuffle = hand->shuffle;
    uint32_t count = 0;
    pthread_mutex_lock(&shuffle->mutex);
    shuffle->slice_ranges_counts[hand->number] = slice->count;
    for (uint32_t h = 0; h < shuffle->options.hands_count; h++)
        count += shuffle->slice_ranges_counts[h];
    if (count > shuffle->counts.ranges_count_max)
        shuffle->counts.ranges_count_max = count;
    pthread_mutex_unlock(&shuffle->mutex);
}

/* --- What is wanted --- */

static void key_copy(struct ost_bytes key, char text[BANK_KEY_BYTES])
{
    ASSERT(key.bytes_count < BANK_KEY_BYTES);
    if (key.bytes_count > 0)
        memcpy(text, key.data, key.bytes_count);
    text[key.bytes_count] = '\0';
}

static bool wish_split(struct hand *hand, const struct slice *slice, struct wish *out_wish)
{
    uint32_t accounts_count = hand->account_end - hand->account_begin;
    for (uint32_t i = 0; i < SPLIT_TRIES; i++) {
        uint32_t account =
            hand->account_begin + (uint32_t)random_below(&hand->random, accounts_count);
        bank_key(account, out_wish->key);
        out_wish->deed = DEED_SPLIT;
        if (!slice_has_start(slice, out_wish->key))
            return true;
    }
    return false;
}

/* `to_group` 0: any other. */
static bool wish_move(struct hand *hand, const struct slice *slice, uint32_t place,
                      uint64_t to_group, struct wish *out_wish)
{
    const struct ost_range_info *range = slice->ranges[place];
    out_wish->deed = DEED_MOVE;
    key_copy(range->start, out_wish->key);
    for (uint32_t i = 0; to_group == 0 && i < SPLIT_TRIES; i++) {
        size_t group = random_below(&hand->random, slice->info.groups_count);
        if (slice->info.groups[group].group != range->group)
            to_group = slice->info.groups[group].group;
    }
    out_wish->to_group = to_group;
    return to_group != 0;
}

/* Two that lie in different groups are brought together first. */
static bool wish_merge(struct hand *hand, const struct slice *slice, struct wish *out_wish)
{
    if (slice->count < 2)
        return false;
    uint32_t left = (uint32_t)random_below(&hand->random, slice->count - 1);
    for (uint32_t i = 0; i + 1 < slice->count; i++) {
        uint32_t place = (left + i) % (slice->count - 1);
        if (slice->ranges[place]->group != slice->ranges[place + 1]->group)
            continue;
        out_wish->deed = DEED_MERGE;
        key_copy(slice->ranges[place]->start, out_wish->key);
        key_copy(slice->ranges[place + 1]->start, out_wish->right);
        return true;
    }
    return wish_move(hand, slice, left + 1, slice->ranges[left]->group, out_wish);
}

static bool wish_draw(struct hand *hand, const struct slice *slice, struct wish *out_wish)
{
    *out_wish = (struct wish){0};
    uint32_t place = (uint32_t)random_below(&hand->random, slice->count);
    if (slice->count >= hand->shuffle->options.slice_ranges_count_max)
        return wish_merge(hand, slice, out_wish);
    switch (random_below(&hand->random, 5)) {
    case 0:
    case 1:
        return wish_split(hand, slice, out_wish);
    case 2:
        return wish_merge(hand, slice, out_wish);
    default:
        return wish_move(hand, slice, place, 0, out_wish);
    }
}

static int wish_ask(struct hand *hand, struct wish *wish, char *why)
{
    struct ost_client *client = hand->shuffle->client;
    wish->asked_ns = bank_now_ns();
    switch (wish->deed) {
    case DEED_SPLIT:
        return ost_split_range(client, ost_string(wish->key), &wish->change, why);
    case DEED_MERGE:
        return ost_merge_ranges(client, ost_string(wish->key), &wish->change, why);
    default:
        return ost_move_range(client, ost_string(wish->key), wish->to_group, &wish->change, why);
    }
}

/* --- What has become of it --- */

static bool is_done(const struct slice *slice, const struct wish *wish)
{
    const struct ost_range_info *range = slice_range_of(slice, wish->key);
    switch (wish->deed) {
    case DEED_SPLIT:
        return slice_has_start(slice, wish->key);
    case DEED_MERGE:
        return !slice_has_start(slice, wish->right);
    default:
        return range && range->group == wish->to_group;
    }
}

static void wish_count(struct hand *hand, const struct wish *wish, bool done)
{
    struct shuffle_counts *counts = &hand->shuffle->counts;
    uint64_t took_ns = bank_now_ns() - wish->asked_ns;
    pthread_mutex_lock(&hand->shuffle->mutex);
    uint64_t *count = wish->deed == DEED_SPLIT   ? &counts->splits_count
                      : wish->deed == DEED_MERGE ? &counts->merges_count
                                                 : &counts->moves_count;
    uint64_t *ns_max = wish->deed == DEED_SPLIT   ? &counts->split_ns_max
                       : wish->deed == DEED_MERGE ? &counts->merge_ns_max
                                                  : &counts->move_ns_max;
    if (done)
        ++*count;
    else
        counts->called_off_count++;
    if (took_ns > *ns_max)
        *ns_max = took_ns;
    pthread_mutex_unlock(&hand->shuffle->mutex);
}

/* True: the change is over, and counted. A map that is older than the change says nothing. */
static bool wish_look(struct hand *hand, const struct wish *wish, const struct slice *slice)
{
    if (slice->info.next_change <= wish->change)
        return false;
    for (uint32_t r = 0; r < slice->count; r++)
        if (slice->ranges[r]->change.change == wish->change)
            return false;
    bool done = is_done(slice, wish);
    if (!done && wish->deed != DEED_MOVE)
        hand_fail(hand, OST_CORRUPT, "%s %" PRIu64 " at %s is over and was not done",
                  wish->deed == DEED_SPLIT ? "split" : "merge", wish->change, wish->key);
    wish_count(hand, wish, done);
    return true;
}

static void wish_await(struct hand *hand, const struct wish *wish)
{
    static const char *const names[] = {"split", "merge", "move"};
    for (bool is_over = false; !is_over && !atomic_load(&hand->shuffle->is_abandoned);) {
        struct slice slice;
        rest_ms(LOOK_EVERY_MS);
        if (slice_take(hand, &slice))
            is_over = wish_look(hand, wish, &slice);
        slice_drop(&slice);
        if (!is_over && bank_now_ns() - wish->asked_ns > CHANGE_NS_MAX) {
            hand_fail(hand, OST_DEADLINE_EXCEEDED, "%s %" PRIu64 " at '%s' does not end",
                      names[wish->deed], wish->change, wish->key);
            return;
        }
    }
}

/* A map that was old, an answer that was lost: it is looked at again, and something is asked for
 * anew. */
static bool may_be_refused(int status)
{
    return ost_status_is_retryable(status) ||
           ost_status_class(status) == OST_CLASS_MAYBE_COMMITTED || status == OST_CONFLICT ||
           status == OST_EXISTS || status == OST_NOT_FOUND;
}

static void hand_turn(struct hand *hand)
{
    struct slice slice;
    struct wish wish;
    char why[256] = "";
    bool wants = slice_take(hand, &slice) && slice.is_still && slice.count > 0 &&
                 wish_draw(hand, &slice, &wish);
    if (slice.count > 0)
        slice_count(hand, &slice);
    slice_drop(&slice);
    int status = wants ? wish_ask(hand, &wish, why) : OST_BUSY;
    if (status == OST_OK) {
        wish_await(hand, &wish);
        return;
    }
    rest_ms(LOOK_EVERY_MS);
    if (!wants)
        return;
    if (!may_be_refused(status))
        hand_fail(hand, status, "a change at '%s' is refused: %s: %s", wish.key,
                  ost_status_text(status), why);
    pthread_mutex_lock(&hand->shuffle->mutex);
    hand->shuffle->counts.refused_count++;
    pthread_mutex_unlock(&hand->shuffle->mutex);
}

static void *hand_run(void *context)
{
    struct hand *hand = context;
    while (!atomic_load(&hand->shuffle->is_over))
        hand_turn(hand);
    return NULL;
}

/* --- From outside --- */

uint32_t shuffle_slice_begin(uint32_t accounts_count, uint32_t hands_count, uint32_t hand)
{
    return (uint32_t)((uint64_t)accounts_count * hand / hands_count);
}

static void hand_init(struct shuffle *shuffle, uint32_t number)
{
    const struct shuffle_options *options = &shuffle->options;
    struct hand *hand = &shuffle->hands[number];
    hand->shuffle = shuffle;
    hand->number = number;
    hand->account_begin =
        shuffle_slice_begin(options->accounts_count, options->hands_count, number);
    hand->account_end =
        shuffle_slice_begin(options->accounts_count, options->hands_count, number + 1);
    if (number > 0)
        bank_key(hand->account_begin, hand->begin);
    if (number + 1 < options->hands_count)
        bank_key(hand->account_end, hand->end);
    random_init(&hand->random, options->seed * 1000003u + number);
}

int shuffle_start(const struct shuffle_options *options, struct shuffle **out_shuffle,
                  char *out_why)
{
    ASSERT(options->hands_count > 0 && options->accounts_count >= 2 * options->hands_count);
    ASSERT(options->slice_ranges_count_max < RANGES_COUNT_MAX);
    struct shuffle *shuffle = memory_alloc_zeroed(1, sizeof *shuffle);
    shuffle->options = *options;
    shuffle->hands = memory_alloc_zeroed(options->hands_count, sizeof *shuffle->hands);
    shuffle->slice_ranges_counts =
        memory_alloc_zeroed(options->hands_count, sizeof *shuffle->slice_ranges_counts);
    pthread_mutex_init(&shuffle->mutex, NULL);
    struct ost_options client_options;
    ost_options_default(&client_options);
    client_options.endpoints = options->endpoints;
    client_options.operation_timeout_ms = CALL_MS_MAX;
    char why[256];
    int status = ost_open(&client_options, &shuffle->client, why);
    if (status != OST_OK)
        snprintf(out_why, SHUFFLE_WHY_BYTES, "cannot open a client: %s", why);
    for (uint32_t h = 0; status == OST_OK && h < options->hands_count; h++) {
        hand_init(shuffle, h);
        if (pthread_create(&shuffle->hands[h].thread, NULL, hand_run, &shuffle->hands[h]) == 0) {
            shuffle->started_count++;
        } else {
            snprintf(out_why, SHUFFLE_WHY_BYTES, "cannot start a thread");
            status = OST_NO_MEMORY;
        }
    }
    if (status != OST_OK) {
        shuffle_free(shuffle);
        return status;
    }
    *out_shuffle = shuffle;
    return OST_OK;
}

void shuffle_read(struct shuffle *shuffle, struct shuffle_counts *out_counts)
{
    pthread_mutex_lock(&shuffle->mutex);
    *out_counts = shuffle->counts;
    pthread_mutex_unlock(&shuffle->mutex);
}

int shuffle_error(struct shuffle *shuffle, char *out_why)
{
    pthread_mutex_lock(&shuffle->mutex);
    int error = shuffle->error;
    if (error != OST_OK)
        snprintf(out_why, SHUFFLE_WHY_BYTES, "%s", shuffle->why);
    pthread_mutex_unlock(&shuffle->mutex);
    return error;
}

static void hands_join(struct shuffle *shuffle)
{
    atomic_store(&shuffle->is_over, true);
    for (; shuffle->started_count > 0; shuffle->started_count--)
        pthread_join(shuffle->hands[shuffle->started_count - 1].thread, NULL);
}

int shuffle_stop(struct shuffle *shuffle, char *out_why)
{
    hands_join(shuffle);
    return shuffle_error(shuffle, out_why);
}

void shuffle_free(struct shuffle *shuffle)
{
    if (!shuffle)
        return;
    atomic_store(&shuffle->is_abandoned, true);
    hands_join(shuffle);
    if (shuffle->client)
        ost_close(shuffle->client);
    pthread_mutex_destroy(&shuffle->mutex);
    free(shuffle->slice_ranges_counts);
    free(shuffle->hands);
    free(shuffle);
}
