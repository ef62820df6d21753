/* Splits, merges and moves in the map: what is asked, what is committed, in any order. */
#include "shardmaster/master_ranges.h"

#include "base/random.h"
#include "shardmaster/master.h"
#include "shardmaster/master_replicas.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define SPLIT OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
#define MERGE OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES
#define MOVE  OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE

static struct arena arena;
static Ostraka__Map *map;
static char why[MASTER_WHY_BYTES];

static bool is_sound(void)
{
    const char *fault = NULL;
    return master_map_check(map, &fault) == OST_OK;
}

/* Five ranges, from "", "b", "d", "f" and "h" on, of the groups 1, 2, 3, 1 and 2; all assigned. */
static void setup(void)
{
    static Ostraka__StoreInfo store;
    static struct bytes splits[4];
    arena_init(&arena);
    ostraka__store_info__init(&store);
    store.id = 1;
    store.address = "host:7100";
    const char *const texts[] = {"b", "d", "f", "h"};
    for (size_t index = 0; index < 4; index++)
        splits[index] = bytes_of_string(texts[index]);
    struct master_options options = {.store_id = 1,
                                     .cluster_id = 99,
                                     .initial_stores = &store,
                                     .initial_stores_count = 1,
                                     .initial_groups_count = 3,
                                     .initial_replicas_count = 1,
                                     .initial_splits = splits,
                                     .initial_splits_count = 4};
    map = master_map_copy(master_bootstrap_map(&options, &arena), &arena);
    cr_assert_eq(map->next_change, 1);
    for (size_t place = 0; place < map->n_ranges; place++)
        map->ranges[place]->assigned = true;
}

static void teardown(void)
{
    const char *fault = NULL;
    cr_expect_eq(master_map_check(map, &fault), OST_OK, "%s", fault);
    arena_fini(&arena);
}

TestSuite(master_ranges, .init = setup, .fini = teardown);

static ProtobufCBinaryData binary(const char *text)
{
    return master_binary(bytes_of_string(text));
}

static Ostraka__RangeInfo *range(const char *start)
{
    return master_map_range_at(map, bytes_of_string(start));
}

static int check(Ostraka__RangeChangeKind kind, const char *start, uint64_t epoch, group_id_t to,
                 const char *at, Ostraka__MasterCommand__RangeChangeWanted *out_wanted)
{
    static Ostraka__ChangeRange request;
    ostraka__change_range__init(&request);
    request.kind = kind;
    request.start = binary(start);
    request.epoch = epoch;
    request.to_group = to;
    request.at = binary(at);
    why[0] = '\0';
    int status = master_ranges_check(map, &request, out_wanted, why);
    cr_expect_eq(status == OST_OK || status == OST_EXISTS, why[0] == '\0', "%d \"%s\"", status,
                 why);
    return status;
}

static int ask(Ostraka__RangeChangeKind kind, const char *start, uint64_t epoch, group_id_t to,
               const char *at)
{
    Ostraka__MasterCommand__RangeChangeWanted wanted;
    return check(kind, start, epoch, to, at, &wanted);
}

/* Asked, and committed. */
static uint64_t want(Ostraka__RangeChangeKind kind, const char *start, group_id_t to,
                     const char *at)
{
    Ostraka__MasterCommand__RangeChangeWanted wanted;
    cr_assert_eq(check(kind, start, range(start)->epoch, to, at, &wanted), OST_OK, "%s", why);
    wanted.change = map->next_change;
    uint64_t epoch = map->epoch;
    cr_assert(master_range_change_wanted(map, &wanted, &arena));
    cr_assert_eq(map->epoch, epoch + 1);
    cr_assert_eq(map->next_change, wanted.change + 1);
    cr_assert(is_sound());
    cr_assert_not(master_range_change_wanted(map, &wanted, &arena), "the second time");
    return wanted.change;
}

#define COMMAND(Type, TYPE, function)                                                              \
    static bool function##_now(const char *start, uint64_t change)                                 \
    {                                                                                              \
        Ostraka__MasterCommand__##Type command = OSTRAKA__MASTER_COMMAND__##TYPE##__INIT;          \
        command.start = binary(start);                                                             \
        command.change = change;                                                                   \
        uint64_t epoch = map->epoch;                                                               \
        bool is_done = function;                                                                   \
        cr_assert_eq(map->epoch, epoch + is_done);                                                 \
        return is_done;                                                                            \
    }
#define master_range_split_it     master_range_split(map, &command, &arena)
#define master_ranges_merged_it   master_ranges_merged(map, &command)
#define master_range_switched_it  master_range_switched(map, &command)
#define master_range_cancelled_it master_range_change_cancelled(map, &command)
COMMAND(RangeSplit, RANGE_SPLIT, master_range_split_it)
COMMAND(RangesMerged, RANGES_MERGED, master_ranges_merged_it)
COMMAND(RangeSwitched, RANGE_SWITCHED, master_range_switched_it)
COMMAND(RangeChangeCancelled, RANGE_CHANGE_CANCELLED, master_range_cancelled_it)
#define split     master_range_split_it_now
#define merged    master_ranges_merged_it_now
#define switched  master_range_switched_it_now
#define cancelled master_range_cancelled_it_now

static int ask_cancel(uint64_t change)
{
    Ostraka__MasterCommand__RangeChangeCancelled command;
    why[0] = '\0';
    int status = master_ranges_check_cancel(map, change, &command, why);
    cr_expect_eq(status == OST_OK, why[0] == '\0');
    return status;
}

/* --- One after the other --- */

Test(master_ranges, a_range_is_split)
{
    uint64_t change = want(SPLIT, "d", 0, "e");
    cr_expect_eq(range("d")->change->id, change);
    cr_expect_eq(range("d")->epoch, 1, "not before its group has done it");
    cr_expect_not(split("b", change), "another range");
    cr_expect_not(split("d", change + 1), "another change");
    cr_expect_not(merged("d", change));
    cr_expect_not(switched("d", change));
    cr_expect_not(cancelled("d", change));
    cr_assert(split("d", change));
    cr_expect_not(split("d", change), "the second time");
    cr_expect_eq(map->n_ranges, 6);
    cr_expect(range("d")->epoch == 2 && range("e")->epoch == 2);
    cr_expect(range("d")->group == 3 && range("e")->group == 3);
    cr_expect(range("d")->assigned && range("e")->assigned);
    cr_expect(!range("d")->change && !range("e")->change);
    cr_expect(bytes_equal(master_bytes(range("e")->end), bytes_of_string("f")));
    /* The first and the last one, too. */
    cr_assert(split("", want(SPLIT, "", 0, "a")));
    cr_assert(split("h", want(SPLIT, "h", 0, "z")));
    cr_expect(range("a") && range("z")->end.len == 0);
}

Test(master_ranges, two_are_merged)
{
    cr_assert(split("d", want(SPLIT, "d", 0, "e")));
    range("e")->epoch = 7;
    uint64_t change = want(MERGE, "d", 0, "");
    cr_expect_eq(range("e")->change->id, change, "it is beside both");
    cr_expect_not(merged("e", change), "it is named by the left one");
    cr_expect_not(split("d", change));
    cr_assert(merged("d", change));
    cr_expect_not(merged("d", change));
    cr_expect_eq(map->n_ranges, 5);
    cr_expect_eq(range("d")->epoch, 8, "above both");
    cr_expect_null(range("d")->change);
    cr_expect(bytes_equal(master_bytes(range("d")->end), bytes_of_string("f")));
    /* The last two. */
    cr_assert(split("h", want(SPLIT, "h", 0, "z")));
    cr_assert(merged("h", want(MERGE, "h", 0, "z")));
    cr_expect_eq(range("h")->end.len, 0);
}

Test(master_ranges, a_range_is_moved)
{
    uint64_t change = want(MOVE, "d", 1, "");
    cr_expect(range("d")->change->from_group == 3 && range("d")->change->to_group == 1);
    cr_expect(range("d")->group == 3 && range("d")->assigned);
    cr_expect_not(master_map_assign(map, bytes_of_string("d"), 1, 3), "it is");
    cr_expect_not(switched("d", change - 1));
    cr_assert(switched("d", change));
    cr_expect_not(switched("d", change));
    cr_expect_not(cancelled("d", change), "its fate is decided");
    cr_expect(range("d")->group == 1 && range("d")->epoch == 2 && !range("d")->assigned);
    cr_expect_eq(range("d")->change->id, change, "it is not at its end");
    cr_expect(is_sound());
    cr_assert(master_map_assign(map, bytes_of_string("d"), 2, 1));
    cr_expect_null(range("d")->change);
    cr_expect_not(master_map_assign(map, bytes_of_string("d"), 2, 1));
}

Test(master_ranges, a_move_is_called_off_and_made_again)
{
    uint64_t change = want(MOVE, "d", 1, "");
    cr_expect_eq(ask_cancel(change), OST_OK);
    cr_assert(cancelled("d", change));
    cr_expect_not(cancelled("d", change));
    cr_expect_not(switched("d", change), "it is over");
    cr_expect(range("d")->group == 3 && range("d")->epoch == 1 && range("d")->assigned);
    uint64_t next = want(MOVE, "d", 1, "");
    cr_expect_eq(next, change + 1);
    cr_expect_not(switched("d", change), "what was said of the first one is not about this one");
    cr_expect_not(cancelled("d", change));
    cr_assert(switched("d", next));
}

/* --- What is refused --- */

/* Whatever is in it: short keys and large numbers, or long keys. */
static void expect_limit(struct arena *memory, size_t key_bytes, size_t count_max, size_t step)
{
    Ostraka__Map full = *map, *kept = map;
    full.ranges = arena_alloc(memory, count_max * sizeof(full.ranges[0]));
    bool is_full = false;
    Ostraka__RangeChange *change = arena_alloc(memory, sizeof(*change));
    ostraka__range_change__init(change);
    change->kind = MOVE;
    change->id = change->from_group = change->to_group = UINT64_MAX;
    map = &full;
    ProtobufCBinaryData start = {0};
    for (size_t count = 1; count <= count_max; count++) {
        Ostraka__RangeInfo *last = arena_alloc(memory, sizeof(*last));
        ostraka__range_info__init(last);
        last->start = start;
        last->group = 1;
        last->epoch = 1;
        last->assigned = true;
        full.ranges[count - 1] = last;
        full.n_ranges = count;
        if (count % step == 0) {
            char *text = arena_printf(memory, "%.*s", (int)start.len, (char *)start.data);
            bool is_over = ostraka__map__get_packed_size(map) + 2 * 8 > MAP_BYTES_MAX;
            cr_expect_eq(ask(SPLIT, text, 1, 0, "zzzzzzzz") == OST_TOO_LARGE, is_over, "%zu ranges",
                         count);
            is_full = is_full || is_over;
        }
        char *text = arena_printf(memory, "%0*zu", (int)key_bytes, count);
        start = last->end = binary(text);
        last->group = last->epoch = UINT64_MAX;
        last->change = change;
    }
    cr_expect(is_full);
    map = kept;
}

Test(master_ranges, no_split_begins_when_the_map_is_too_large)
{
    struct arena memory;
    arena_init(&memory);
    expect_limit(&memory, 8, 26000, 500);
    expect_limit(&memory, 8000, 140, 1);
    arena_fini(&memory);
}

Test(master_ranges, requests_that_make_no_sense_are_refused)
{
    cr_expect_eq(ask(SPLIT, "c", 1, 0, "d"), OST_NOT_FOUND, "no range begins there");
    cr_expect_eq(ask(SPLIT, "d", 2, 0, "e"), OST_CONFLICT, "another epoch");
    cr_expect_eq(ask((Ostraka__RangeChangeKind)0, "d", 1, 0, ""), OST_INVALID_ARGUMENT);
    cr_expect_eq(ask((Ostraka__RangeChangeKind)4, "d", 1, 0, ""), OST_INVALID_ARGUMENT);
    cr_expect_eq(ask(SPLIT, "d", 1, 0, ""), OST_INVALID_ARGUMENT);
    cr_expect_eq(ask(SPLIT, "d", 1, 0, "d"), OST_INVALID_ARGUMENT, "at its start");
    cr_expect_eq(ask(SPLIT, "d", 1, 0, "f"), OST_INVALID_ARGUMENT, "at its end");
    cr_expect_eq(ask(SPLIT, "d", 1, 0, "c"), OST_INVALID_ARGUMENT, "before it");
    static char key[KEY_BYTES_MAX + 2];
    memset(key, 'e', KEY_BYTES_MAX + 1);
    cr_expect_eq(ask(SPLIT, "d", 1, 0, key), OST_TOO_LARGE);
    key[KEY_BYTES_MAX] = '\0';
    cr_expect_eq(ask(SPLIT, "d", 1, 0, key), OST_OK);
    cr_expect_eq(ask(MERGE, "h", 1, 0, ""), OST_INVALID_ARGUMENT, "the last one");
    cr_expect_eq(ask(MERGE, "d", 1, 0, ""), OST_CONFLICT, "of another group");
    cr_expect_not_null(strstr(why, "move one of them first"));
    cr_expect_eq(ask(MOVE, "d", 1, 3, ""), OST_INVALID_ARGUMENT, "where it is");
    cr_expect_eq(ask(MOVE, "d", 1, 4, ""), OST_NOT_FOUND);
    cr_expect_eq(ask(MOVE, "d", 1, 0, ""), OST_NOT_FOUND, "group 0 has no ranges");
    cr_expect_eq(ask_cancel(0), OST_NOT_FOUND);
    cr_expect_eq(ask_cancel(1), OST_NOT_FOUND);
}

Test(master_ranges, what_changes_is_not_changed)
{
    cr_assert(split("d", want(SPLIT, "d", 0, "e")));
    uint64_t change = want(MOVE, "e", 1, "");
    cr_expect_eq(ask(MERGE, "d", 2, 0, ""), OST_CONFLICT, "the right one is on its way");
    cr_expect_eq(ask(MERGE, "d", 2, 0, "dd"), OST_CONFLICT, "where does it begin?");
    cr_expect_eq(ask(SPLIT, "e", 2, 0, "ee"), OST_CONFLICT);
    cr_expect_eq(ask(MOVE, "e", 2, 2, ""), OST_CONFLICT);
    cr_assert(switched("e", change));
    cr_expect_eq(ask(SPLIT, "e", 3, 0, "ee"), OST_CONFLICT);
    cr_expect_eq(ask_cancel(change), OST_CONFLICT, "too late");
    cr_assert(master_map_assign(map, bytes_of_string("e"), 3, 1));
    cr_expect_eq(ask_cancel(change), OST_NOT_FOUND, "over");
    change = want(SPLIT, "b", 0, "c");
    cr_expect_eq(ask_cancel(change), OST_CONFLICT, "a split comes to be");
    /* What its group has not taken yet. */
    range("h")->assigned = false;
    cr_expect_eq(ask(SPLIT, "h", 1, 0, "i"), OST_CONFLICT);
    cr_expect_eq(ask(MOVE, "h", 1, 1, ""), OST_CONFLICT);
    cr_expect_eq(ask(MOVE, "f", 1, 2, ""), OST_OK);
    range("f")->assigned = false;
    cr_expect_eq(ask(MOVE, "", 1, 2, ""), OST_CONFLICT, "its group has not all of its ranges");
}

Test(master_ranges, a_request_that_comes_again_is_answered_as_before)
{
    Ostraka__MasterCommand__RangeChangeWanted wanted;
    uint64_t change = want(SPLIT, "d", 0, "e");
    cr_expect_eq(check(SPLIT, "d", 1, 0, "e", &wanted), OST_EXISTS);
    cr_expect_eq(wanted.change, change);
    cr_expect_eq(ask(SPLIT, "d", 1, 0, "ee"), OST_CONFLICT, "that is another one");
    cr_assert(split("d", change));
    cr_expect_eq(ask(SPLIT, "d", 1, 0, "e"), OST_EXISTS);
    cr_expect_eq(ask(SPLIT, "d", 1, 0, "dd"), OST_CONFLICT);
    change = want(MERGE, "d", 0, "");
    cr_expect_eq(check(MERGE, "d", 2, 0, "", &wanted), OST_EXISTS);
    cr_expect_eq(wanted.change, change);
    cr_expect_eq(ask(MERGE, "e", 2, 0, ""), OST_CONFLICT, "the right one is not named");
    cr_assert(merged("d", change));
    cr_expect_eq(ask(MERGE, "d", 2, 0, "e"), OST_EXISTS);
    cr_expect_eq(ask(MERGE, "d", 2, 0, ""), OST_CONFLICT, "who does not say where cannot know");
    change = want(MOVE, "d", 1, "");
    cr_expect_eq(ask(MOVE, "d", 3, 1, ""), OST_EXISTS);
    cr_expect_eq(ask(MOVE, "d", 3, 2, ""), OST_CONFLICT);
    cr_assert(switched("d", change));
    cr_expect_eq(check(MOVE, "d", 3, 1, "", &wanted), OST_EXISTS);
    cr_expect_eq(wanted.change, change);
    cr_assert(master_map_assign(map, bytes_of_string("d"), 4, 1));
    cr_expect_eq(ask(MOVE, "d", 3, 1, ""), OST_EXISTS);
}

Test(master_ranges, what_is_committed_is_checked_once_more)
{
    Ostraka__MasterCommand__RangeChangeWanted wanted;
    cr_assert_eq(check(MOVE, "d", 1, 1, "", &wanted), OST_OK);
    wanted.change = 5;
    wanted.to_group = 4;
    cr_expect_not(master_range_change_wanted(map, &wanted, &arena));
    wanted.to_group = 1;
    wanted.change = 0;
    cr_expect_not(master_range_change_wanted(map, &wanted, &arena));
    wanted.change = 5;
    cr_assert(master_range_change_wanted(map, &wanted, &arena));
    cr_expect_eq(map->next_change, 6, "numbers may be left out");
    cr_assert(cancelled("d", 5));
    cr_expect_not(master_range_change_wanted(map, &wanted, &arena), "a number is given once");
    wanted.change = 3;
    cr_expect_not(master_range_change_wanted(map, &wanted, &arena));
    cr_assert(split("d", want(SPLIT, "d", 0, "e")));
    cr_assert_eq(check(MERGE, "d", 2, 0, "", &wanted), OST_OK);
    wanted.change = map->next_change;
    wanted.epoch_right++;
    cr_expect_not(master_range_change_wanted(map, &wanted, &arena));
    wanted.epoch_right--;
    cr_expect(master_range_change_wanted(map, &wanted, &arena));
}

Test(master_ranges, no_more_change_at_a_time_than_the_limit)
{
    for (uint32_t count = 0; count < RANGE_CHANGES_COUNT_MAX; count++) {
        char at[8], start[8] = "h";
        snprintf(at, sizeof(at), "i%05u", count);
        if (count > 0)
            snprintf(start, sizeof(start), "i%05u", count - 1);
        cr_assert(split(start, want(SPLIT, start, 0, at)));
    }
    for (uint32_t count = 0; count < RANGE_CHANGES_COUNT_MAX; count++) {
        char start[8];
        snprintf(start, sizeof(start), "i%05u", count);
        want(MOVE, start, 1, "");
    }
    cr_expect_eq(ask(MOVE, "d", 1, 1, ""), OST_BUSY);
    cr_assert(cancelled("i00000", range("i00000")->change->id));
    cr_expect_eq(ask(MOVE, "d", 1, 1, ""), OST_OK);
}

/* --- What makes no sound map --- */

#define FAULT(name, change)                                                                        \
    Test(master_ranges, check_refuses_##name)                                                      \
    {                                                                                              \
        cr_assert(split("d", want(SPLIT, "d", 0, "e")));                                           \
        want(MERGE, "d", 0, "");                                                                   \
        want(MOVE, "h", 1, "");                                                                    \
        want(SPLIT, "b", 0, "c");                                                                  \
        cr_assert(is_sound());                                                                     \
        Ostraka__Map *sound = map;                                                                 \
        map = master_map_copy(sound, &arena);                                                      \
        change;                                                                                    \
        cr_expect_not(is_sound());                                                                 \
        map = sound;                                                                               \
    }

FAULT(a_number_never_given, map->next_change = 4)
FAULT(number_zero, range("h")->change->id = 0)
FAULT(a_number_twice, range("h")->change->id = range("b")->change->id)
FAULT(a_merge_that_shares_its_number, range("h")->change->id = range("d")->change->id)
FAULT(no_kind, range("h")->change->kind = (Ostraka__RangeChangeKind)0)
FAULT(a_split_at_the_start, range("b")->change->at = binary("b"))
FAULT(a_split_elsewhere, range("b")->change->at = binary("d"))
FAULT(a_split_of_what_is_not_assigned, range("b")->assigned = false)
FAULT(a_merge_with_none, range("e")->change = NULL)
FAULT(a_merge_of_the_right_one_alone, range("d")->change = NULL)
FAULT(a_merge_elsewhere, range("d")->change->at = binary("f"))
FAULT(a_merge_with_another_change, range("e")->change->id = 1)
FAULT(a_merge_over_groups, range("e")->group = 1)
FAULT(a_merge_of_what_is_not_assigned, range("e")->assigned = false)
FAULT(a_move_to_itself, range("h")->change->to_group = 2)
FAULT(a_move_at_neither_end, range("h")->group = 3)
FAULT(a_switched_move_that_is_assigned, range("h")->group = 1)
FAULT(a_move_that_is_not_assigned, range("h")->assigned = false)

/* --- Anything in any order --- */

enum { KEYS_COUNT = 26, KEPT_COUNT = 64 };

struct seen {
    uint64_t epochs[KEYS_COUNT];
    group_id_t groups[KEYS_COUNT];
};

static void key_text(char *text, uint64_t key)
{
    text[0] = key == 0 ? '\0' : (char)('a' + key - 1);
    text[1] = '\0';
}

static void look(struct seen *seen)
{
    char text[2];
    for (uint64_t key = 0; key < KEYS_COUNT; key++) {
        key_text(text, key);
        const Ostraka__RangeInfo *info = master_map_range_of_key(map, bytes_of_string(text));
        cr_assert_geq(info->epoch, seen->epochs[key], "an epoch came back");
        cr_assert(info->group == seen->groups[key] || info->epoch > seen->epochs[key],
                  "another owner at the same epoch");
        seen->epochs[key] = info->epoch;
        seen->groups[key] = info->group;
    }
}

struct any {
    uint32_t what;
    Ostraka__RangeChangeKind kind;
    char start[2], at[2];
    uint64_t epoch, epoch_right, change;
    group_id_t group;
};

static bool commit(const struct any *any)
{
    Ostraka__MasterCommand__RangeChangeWanted wanted =
        OSTRAKA__MASTER_COMMAND__RANGE_CHANGE_WANTED__INIT;
    switch (any->what) {
    case 0:
        wanted.kind = any->kind;
        wanted.start = binary(any->start);
        wanted.at = binary(any->at);
        wanted.epoch = any->epoch;
        wanted.epoch_right = any->epoch_right;
        wanted.to_group = any->group;
        wanted.change = any->change;
        return master_range_change_wanted(map, &wanted, &arena);
    case 1:
        return split(any->start, any->change);
    case 2:
        return merged(any->start, any->change);
    case 3:
        return switched(any->start, any->change);
    case 4:
        return cancelled(any->start, any->change);
    default:
        return master_map_assign(map, bytes_of_string(any->start), any->epoch, any->group);
    }
}

static struct any draw(struct random *random)
{
    struct any any = {.what = (uint32_t)random_below(random, 6),
                      .kind = (Ostraka__RangeChangeKind)random_below(random, 5),
                      .group = random_below(random, 5)};
    const Ostraka__RangeInfo *info = map->ranges[random_below(random, map->n_ranges)];
    const Ostraka__RangeInfo *right = master_range_right_of(map, info);
    if (info->start.len > 0)
        memcpy(any.start, info->start.data, info->start.len);
    key_text(any.at, random_below(random, KEYS_COUNT));
    if (any.kind == MERGE && right)
        memcpy(any.at, right->start.data, right->start.len);
    any.epoch = info->epoch - (random_below(random, 8) == 0);
    any.epoch_right = right ? right->epoch : 0;
    any.change = any.what == 0 ? map->next_change : info->change ? info->change->id : 1;
    if (any.what == 5)
        any.group = info->group;
    return any;
}

Test(master_ranges, any_sequence_leaves_a_sound_map)
{
    struct random random;
    random_init(&random, 11);
    struct any kept[KEPT_COUNT];
    struct seen seen = {0};
    size_t done[6] = {0};
    for (uint32_t count = 0; count < 20000; count++) {
        bool is_again = count >= KEPT_COUNT && random_below(&random, 3) == 0;
        struct any any = is_again ? kept[random_below(&random, KEPT_COUNT)] : draw(&random);
        uint64_t epoch = map->epoch;
        bool is_done = commit(&any);
        cr_assert_eq(map->epoch, epoch + is_done);
        if (is_done && any.what != 0) {
            cr_assert_not(commit(&any), "the same entry did something twice");
        }
        done[any.what] += is_done;
        const char *fault = NULL;
        cr_assert_eq(master_map_check(map, &fault), OST_OK, "%s", fault);
        look(&seen);
        kept[count % KEPT_COUNT] = any;
        if (count % 1000 == 0) {
            struct arena fresh;
            arena_init(&fresh);
            map = master_map_copy(map, &fresh);
            arena_fini(&arena);
            arena = fresh;
        }
    }
    for (size_t what = 0; what < 6; what++)
        cr_expect_gt(done[what], 50, "what %zu", what);
}
