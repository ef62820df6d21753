/* The simulator's checker of ranges: histories that it must flag, and histories that it must let
 * pass. Facts and maps are written as text:
 *
 *   "-m@1 OWNED, m-@1 FROZEN#3"      start-end@epoch STATE#change
 *   "-m=1@1, m-=2@1! move#3:1>2"     start-end=group@epoch, ! not assigned yet; kind#change:from>to
 */
#include "tests/sim/range_check.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define RANGES_MAX 8

/* "start-end" up to one of `ends`; moves on behind it. */
static void keys_parse(const char **text, const char *ends, struct bytes *start, struct bytes *end)
{
    size_t count = strcspn(*text, "-");
    *start = bytes_of(*text, count);
    *text += count + 1;
    count = strcspn(*text, ends);
    *end = bytes_of(*text, count);
    *text += count;
}

static uint64_t number_parse(const char **text)
{
    char *end;
    uint64_t number = strtoull(*text, &end, 10);
    cr_assert_neq(end, *text, "no number at: %s", *text);
    *text = end;
    return number;
}

static bool literal_parse(const char **text, const char *literal)
{
    if (strncmp(*text, literal, strlen(literal)) != 0)
        return false;
    *text += strlen(literal);
    return true;
}

static size_t facts_parse(const char *text, struct range_fact *facts)
{
    static const char *const states[] = {"GONE", "OWNED", "FROZEN", "SEALED", "COPYING", "COPIED"};
    size_t count = 0;
    while (*text) {
        struct range_fact *fact = &facts[count++];
        *fact = (struct range_fact){0};
        keys_parse(&text, "@", &fact->start, &fact->end);
        cr_assert(literal_parse(&text, "@"));
        fact->epoch = number_parse(&text);
        cr_assert(literal_parse(&text, " "));
        for (unsigned state = 1; state < 6; state++)
            if (literal_parse(&text, states[state]))
                fact->state = (Ostraka__RangeState)state;
        cr_assert_neq(fact->state, 0, "no state at: %s", text);
        if (literal_parse(&text, "#"))
            fact->change = number_parse(&text);
        literal_parse(&text, ", ");
    }
    return count;
}

static void see_at(struct range_check *check, uint64_t store_id, group_id_t group,
                   raft_index_t index, const char *text)
{
    struct range_fact facts[RANGES_MAX];
    size_t count = facts_parse(text, facts);
    range_check_replica(check, group, store_id, index, (struct range_facts){facts, count});
}

static void see(struct range_check *check, group_id_t group, raft_index_t index, const char *text)
{
    see_at(check, 1, group, index, text);
}

static ProtobufCBinaryData binary(struct bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes.data,
                                 .len = bytes.bytes_count};
}

static void change_parse(const char **text, Ostraka__RangeChange *change)
{
    change->kind = literal_parse(text, "move")    ? OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE
                   : literal_parse(text, "split") ? OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
                                                  : OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES;
    if (change->kind == OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES)
        cr_assert(literal_parse(text, "merge"));
    cr_assert(literal_parse(text, "#"));
    change->id = number_parse(text);
    if (!literal_parse(text, ":"))
        return;
    change->from_group = number_parse(text);
    cr_assert(literal_parse(text, ">"));
    change->to_group = number_parse(text);
}

static void map(struct range_check *check, uint64_t epoch, uint64_t next_change, const char *text)
{
    static Ostraka__RangeInfo ranges[RANGES_MAX];
    static Ostraka__RangeChange changes[RANGES_MAX];
    static Ostraka__RangeInfo *pointers[RANGES_MAX];
    Ostraka__Map message = OSTRAKA__MAP__INIT;
    message.epoch = epoch;
    message.next_change = next_change;
    message.ranges = pointers;
    while (*text) {
        Ostraka__RangeInfo *range = &ranges[message.n_ranges];
        struct bytes start, end;
        ostraka__range_info__init(range);
        keys_parse(&text, "=", &start, &end);
        range->start = binary(start);
        range->end = binary(end);
        cr_assert(literal_parse(&text, "="));
        range->group = number_parse(&text);
        cr_assert(literal_parse(&text, "@"));
        range->epoch = number_parse(&text);
        range->assigned = !literal_parse(&text, "!");
        if (literal_parse(&text, " ")) {
            range->change = &changes[message.n_ranges];
            ostraka__range_change__init(range->change);
            change_parse(&text, range->change);
        }
        literal_parse(&text, ", ");
        pointers[message.n_ranges++] = range;
    }
    range_check_map(check, &message);
}

/* --- A move as it should be, step by step --- */

enum { ASSIGNED, ASKED, CLEARED, FROZEN, SEALED, COPIED, SWITCHED, OWNED, DONE, DROPPED, STEPS };

static void step(struct range_check *check, int number)
{
    switch (number) {
    case ASSIGNED:
        map(check, 1, 1, "-m=1@1!, m-=2@1!");
        see(check, 1, 2, "-m@1 OWNED");
        see(check, 2, 2, "m-@1 OWNED");
        map(check, 2, 1, "-m=1@1, m-=2@1");
        break;
    case ASKED:
        map(check, 3, 2, "-m=1@1 move#1:1>2, m-=2@1");
        break;
    case CLEARED:
        see(check, 2, 3, "-m@1 COPYING#1, m-@1 OWNED");
        break;
    case FROZEN:
        see(check, 1, 3, "-m@1 FROZEN#1");
        break;
    case SEALED:
        see(check, 1, 4, "-m@1 SEALED#1");
        break;
    case COPIED:
        see(check, 2, 9, "-m@1 COPIED#1, m-@1 OWNED");
        break;
    case SWITCHED:
        map(check, 4, 2, "-m=2@2! move#1:1>2, m-=2@1");
        break;
    case OWNED:
        see(check, 2, 10, "-m@2 OWNED#1, m-@1 OWNED");
        break;
    case DONE:
        map(check, 5, 2, "-m=2@2, m-=2@1");
        break;
    default:
        see(check, 1, 5, "");
        break;
    }
}

static struct range_check *moved_until(int number)
{
    struct range_check *check = range_check_new();
    for (int done = 0; done < number; done++)
        step(check, done);
    cr_assert_eq(range_check_result(check)->verdict, CHECK_OK, "%s",
                 range_check_result(check)->explanation);
    return check;
}

static void passes(struct range_check *check)
{
    const struct check_result *result = range_check_result(check);
    cr_assert_eq(result->verdict, CHECK_OK, "%s: %s", result->name, result->explanation);
    cr_assert_gt(result->judged_count, 0);
    range_check_free(check);
}

static void flags(struct range_check *check, const char *name)
{
    const struct check_result *result = range_check_result(check);
    cr_assert_eq(result->verdict, CHECK_VIOLATION, "%s was not seen", name);
    cr_assert(check_result_has(result, name), "%s was not seen, but %s: %s", name, result->names,
              result->explanation);
    range_check_free(check);
}

Test(sim_range_check, a_move_passes_and_is_counted)
{
    struct range_check *check = moved_until(STEPS);
    struct range_counts counts;
    range_check_get_counts(check, &counts);
    cr_assert_eq(counts.moves, 1);
    cr_assert_eq(counts.cancels + counts.splits + counts.merges, 0);
    char text[1024];
    cr_assert(range_check_is_settled(check, text, sizeof text), "%s", text);
    range_check_end(check);
    passes(check);
}

Test(sim_range_check, each_step_of_a_move_is_told)
{
    static const struct {
        int step;
        enum range_step_kind kind;
        group_id_t group;
    } expected[] = {
        {ASKED, RANGE_STEP_BEGUN, 0},     {CLEARED, RANGE_STEP_CLEARED, 2},
        {FROZEN, RANGE_STEP_FROZEN, 1},   {SEALED, RANGE_STEP_SEALED, 1},
        {COPIED, RANGE_STEP_COPIED, 2},   {SWITCHED, RANGE_STEP_SWITCHED, 0},
        {OWNED, RANGE_STEP_OWNED, 2},     {DONE, RANGE_STEP_DONE, 0},
        {DROPPED, RANGE_STEP_DROPPED, 1},
    };
    struct range_check *check = moved_until(ASKED);
    struct range_step told;
    while (range_check_take_step(check, &told))
        ; /* of the assignment */
    for (size_t index = 0; index < sizeof expected / sizeof expected[0]; index++) {
        step(check, expected[index].step);
        cr_assert(range_check_take_step(check, &told), "nothing at %zu", index);
        cr_assert_eq(told.kind, expected[index].kind, "at %zu", index);
        cr_assert_eq(told.group, expected[index].group);
        cr_assert_eq(told.change, 1);
        cr_assert_not(range_check_take_step(check, &told));
    }
    group_id_t from, to;
    cr_assert(range_check_move_of(check, 1, &from, &to));
    cr_assert(from == 1 && to == 2);
    cr_assert_not(range_check_move_of(check, 2, &from, &to));
    passes(check);
}

/* --- Who owns --- */

Test(sim_range_check, a_group_that_owns_what_another_still_has_frozen_is_flagged)
{
    struct range_check *check = moved_until(SEALED);
    step(check, COPIED);
    step(check, SWITCHED);
    step(check, OWNED);
    flags(check, "two-owners");
}

Test(sim_range_check, a_group_that_owns_a_piece_of_what_another_owns_is_flagged)
{
    struct range_check *check = moved_until(ASKED);
    see(check, 3, 5, "c-d@7 OWNED");
    flags(check, "two-owners");
}

Test(sim_range_check, a_group_that_unfreezes_what_another_owns_is_flagged)
{
    struct range_check *check = moved_until(DONE);
    see(check, 1, 5, "-m@1 OWNED#1");
    flags(check, "two-owners");
}

/* As a late AssignRange would do. */
Test(sim_range_check, a_range_that_was_given_away_and_is_assigned_again_is_flagged)
{
    struct range_check *check = moved_until(STEPS);
    see(check, 1, 6, "-m@1 OWNED");
    cr_assert(check_result_has(range_check_result(check), "range-step"));
    flags(check, "two-owners");
}

Test(sim_range_check, an_owner_that_others_no_longer_own_beside_is_flagged_by_its_epoch)
{
    struct range_check *check = moved_until(STEPS);
    map(check, 6, 3, "-m=2@2 move#2:2>3, m-=2@1");
    see(check, 2, 11, "-m@2 FROZEN#2, m-@1 OWNED");
    see(check, 2, 12, "-m@2 SEALED#2, m-@1 OWNED");
    see(check, 1, 6, "-m@1 OWNED");
    flags(check, "range-epoch-back");
}

Test(sim_range_check, what_was_owned_at_this_epoch_by_another_is_flagged)
{
    struct range_check *check = moved_until(OWNED);
    see(check, 2, 10, "-m@1 OWNED#1, m-@1 OWNED");
    flags(check, "range-epoch-back");
}

Test(sim_range_check, a_range_of_other_keys_and_the_same_epoch_is_flagged)
{
    struct range_check *check = moved_until(ASKED);
    see(check, 1, 3, "-l@1 OWNED");
    flags(check, "range-epoch-back");
}

Test(sim_range_check, who_drops_what_nobody_owns_is_flagged)
{
    struct range_check *check = moved_until(COPIED);
    step(check, DROPPED);
    flags(check, "range-lost");
}

Test(sim_range_check, a_range_that_goes_on_to_a_third_group_and_back_passes)
{
    struct range_check *check = moved_until(STEPS);
    map(check, 6, 3, "-m=2@2 move#2:2>3, m-=2@1");
    see(check, 3, 3, "-m@2 COPYING#2");
    see(check, 2, 12, "-m@2 SEALED#2, m-@1 OWNED"); /* two entries at once */
    see(check, 3, 20, "-m@2 COPIED#2");
    map(check, 7, 3, "-m=3@3! move#2:2>3, m-=2@1");
    see(check, 3, 21, "-m@3 OWNED#2");
    map(check, 8, 4, "-m=3@3 move#3:3>1, m-=2@1");
    see(check, 1, 6, "-m@3 COPYING#3");
    see(check, 3, 23, "-m@3 SEALED#3");
    see(check, 1, 7, "-m@3 COPIED#3");
    map(check, 9, 4, "-m=1@4! move#3:3>1, m-=2@1");
    see(check, 1, 8, "-m@4 OWNED#3");
    see(check, 2, 13, "m-@1 OWNED"); /* drops only now, being sealed since the move before */
    see(check, 3, 24, "");
    map(check, 10, 4, "-m=1@4, m-=2@1");
    range_check_end(check);
    passes(check);
}

Test(sim_range_check, a_switch_before_the_copy_is_whole_or_the_owner_has_sealed_is_flagged)
{
    struct range_check *check = moved_until(COPIED);
    step(check, SWITCHED);
    flags(check, "switched-early");
    check = moved_until(SEALED);
    step(check, COPIED);
    step(check, SWITCHED);
    flags(check, "switched-early");
}

Test(sim_range_check, what_is_sealed_still_when_another_owns_it_passes)
{
    struct range_check *check = moved_until(DROPPED);
    map(check, 6, 3, "-m=2@2, m-=2@1 move#2:2>1");
    see(check, 1, 5, "-m@1 SEALED#1, m-@1 COPYING#2");
    see(check, 1, 6, "m-@1 COPYING#2");
    passes(check);
}

/* --- Replicas of one group --- */

Test(sim_range_check, replicas_that_differ_at_one_index_are_flagged)
{
    struct range_check *check = moved_until(SEALED);
    see_at(check, 2, 1, 3, "-m@1 FROZEN#1");
    cr_assert_eq(range_check_result(check)->verdict, CHECK_OK);
    see_at(check, 3, 1, 3, "-m@1 OWNED");
    flags(check, "ranges-differ");
}

Test(sim_range_check, a_replica_that_skipped_a_step_is_flagged_when_it_lags)
{
    struct range_check *check = moved_until(CLEARED);
    see(check, 1, 8, "-m@1 FROZEN#1");
    see(check, 1, 20, "-m@1 SEALED#1");
    see_at(check, 2, 1, 15, "-m@1 OWNED");
    flags(check, "range-step");
}

Test(sim_range_check, a_replica_that_lags_and_has_too_few_entries_left_is_flagged)
{
    struct range_check *check = moved_until(CLEARED);
    see(check, 1, 20, "-m@1 SEALED#1");
    see_at(check, 2, 1, 18, "-m@1 OWNED");
    cr_assert_eq(range_check_result(check)->verdict, CHECK_OK);
    see_at(check, 2, 1, 19, "-m@1 OWNED");
    flags(check, "range-step");
}

Test(sim_range_check, a_replica_that_lags_or_starts_again_passes)
{
    struct range_check *check = moved_until(CLEARED);
    see(check, 1, 8, "-m@1 FROZEN#1");
    see(check, 1, 20, "-m@1 SEALED#1");
    see_at(check, 2, 1, 15, "-m@1 FROZEN#1");
    see_at(check, 2, 1, 19, "-m@1 SEALED#1");
    see_at(check, 3, 1, 5, "-m@1 OWNED");
    see(check, 1, 2, "-m@1 OWNED"); /* killed, and back at what it had flushed */
    passes(check);
}

Test(sim_range_check, two_ranges_of_a_group_that_overlap_are_flagged)
{
    struct range_check *check = moved_until(CLEARED);
    see(check, 2, 3, "-n@1 COPYING#1, m-@1 OWNED");
    flags(check, "ranges-overlap");
}

/* --- The table --- */

static bool leads(const char *from, const char *to, raft_index_t entries)
{
    struct range_fact a, b;
    struct range_fact *first = facts_parse(from, &a) ? &a : NULL;
    struct range_fact *then = facts_parse(to, &b) ? &b : NULL;
    return range_fact_steps(first, then, false) <= entries;
}

Test(sim_range_check, each_step_of_the_table_takes_one_entry)
{
    static const char *const ways[][2] = {
        {"", "a-m@1 COPYING#1"},
        {"a-m@1 COPYING#1", "a-m@1 COPIED#1"},
        {"a-m@1 COPIED#1", "a-m@2 OWNED#1"},
        {"a-m@2 OWNED#1", "a-m@2 FROZEN#2"},
        {"a-m@2 FROZEN#2", "a-m@2 SEALED#2"},
        {"a-m@2 SEALED#2", ""},
        {"a-m@1 COPYING#1", ""},
        {"a-m@1 COPIED#1", ""},
        {"a-m@2 FROZEN#2", "a-m@2 OWNED#2"},
        {"a-m@2 SEALED#2", "a-m@2 OWNED#2"},
        {"a-m@2 OWNED#1", "a-c@3 OWNED#2"},
        {"a-c@3 OWNED#2", "a-m@5 OWNED#4"},
    };
    for (size_t index = 0; index < sizeof ways / sizeof ways[0]; index++) {
        cr_assert(leads(ways[index][0], ways[index][1], 1), "%s to %s", ways[index][0],
                  ways[index][1]);
        cr_assert_not(leads(ways[index][0], ways[index][1], 0), "%s to %s", ways[index][0],
                      ways[index][1]);
    }
}

Test(sim_range_check, other_steps_take_more_entries)
{
    static const struct {
        const char *from, *to;
        raft_index_t entries;
    } ways[] = {
        {"a-m@1 COPYING#1", "a-m@2 OWNED#1", 2},
        {"a-m@1 COPIED#1", "a-m@1 COPYING#1", 2}, /* by way of nothing */
        {"a-m@1 COPYING#1", "a-m@2 COPYING#3", 2},
        {"a-m@1 COPYING#3", "a-m@1 COPYING#1", 2},
        {"", "a-m@2 OWNED#1", 3},
        {"a-m@1 OWNED", "a-m@1 SEALED#1", 2},
        {"a-m@1 OWNED", "a-m@1 OWNED#1", 2}, /* frozen in vain */
        {"a-m@1 OWNED", "", 3},
        {"a-m@1 FROZEN#1", "a-m@1 FROZEN#2", 2},
        {"a-m@1 FROZEN#1", "a-m@1 SEALED#2", 3},
        {"a-m@1 SEALED#1", "a-c@2 OWNED#2", 2},
        {"a-m@1 SEALED#1", "a-m@2 COPYING#2", 2},
        {"a-m@1 SEALED#1", "a-m@3 OWNED#2", 2}, /* unfrozen, split and merged: by two changes, */
        {"a-m@1 OWNED", "a-c@2 FROZEN#2", 2},
    };
    for (size_t index = 0; index < sizeof ways / sizeof ways[0]; index++) {
        cr_assert(leads(ways[index].from, ways[index].to, ways[index].entries), "%s to %s",
                  ways[index].from, ways[index].to);
        cr_assert_not(leads(ways[index].from, ways[index].to, ways[index].entries - 1), "%s to %s",
                      ways[index].from, ways[index].to);
    }
}

Test(sim_range_check, only_what_was_never_owned_can_be_assigned)
{
    struct range_fact sealed, frozen;
    facts_parse("a-m@1 SEALED#1", &sealed);
    facts_parse("a-m@3 FROZEN#2", &frozen);
    cr_assert_eq(range_fact_steps(&sealed, &frozen, true), 5);
    cr_assert_eq(range_fact_steps(NULL, &frozen, true), 2);
    cr_assert_eq(range_fact_steps(NULL, &frozen, false), 4);
}

Test(sim_range_check, no_number_of_entries_leads_where_no_way_is)
{
    static const char *const ways[][2] = {
        {"", "a-m@1 OWNED"},                 /* owned without a copy, and not assigned */
        {"a-m@1 OWNED#1", "a-m@1 FROZEN#1"}, /* a number that the range has seen */
        {"a-m@1 SEALED#1", "a-m@1 FROZEN#1"},
        {"a-m@2 OWNED#2", "a-m@2 FROZEN#1"},
        {"a-m@2 OWNED#2", "a-m@1 OWNED#3"},  /* an epoch that falls */
        {"a-m@1 OWNED#1", "a-c@1 OWNED#2"},  /* another form without another epoch */
        {"a-m@1 OWNED#1", "a-c@2 OWNED#1"},  /* a split without a number of its own */
        {"a-m@1 OWNED#1", "a-c@2 FROZEN#2"}, /* a split and a freeze with one number */
        {"a-m@1 FROZEN#1", "a-m@1 OWNED"},
    };
    for (size_t index = 0; index < sizeof ways / sizeof ways[0]; index++)
        cr_assert_not(leads(ways[index][0], ways[index][1], RANGE_STEPS_NEVER - 1), "%s to %s",
                      ways[index][0], ways[index][1]);
}

Test(sim_range_check, a_step_that_there_is_not_is_flagged)
{
    struct range_check *check = moved_until(CLEARED);
    see(check, 1, 3, "-m@1 SEALED#1");
    flags(check, "range-step");
}

Test(sim_range_check, a_copy_that_owns_before_it_is_whole_is_flagged)
{
    struct range_check *check = moved_until(COPIED);
    step(check, SWITCHED);
    see(check, 2, 4, "-m@2 OWNED#1, m-@1 OWNED");
    flags(check, "range-step");
}

/* --- Changes --- */

Test(sim_range_check, a_range_owned_before_the_switch_is_flagged)
{
    struct range_check *check = moved_until(SWITCHED);
    step(check, OWNED);
    flags(check, "change-fate");
}

Test(sim_range_check, a_range_unfrozen_while_the_change_is_open_is_flagged)
{
    struct range_check *check = moved_until(COPIED);
    see(check, 1, 5, "-m@1 OWNED#1");
    flags(check, "change-fate");
}

Test(sim_range_check, a_change_that_was_switched_and_unfrozen_is_flagged)
{
    struct range_check *check = moved_until(OWNED);
    see(check, 1, 5, "-m@1 OWNED#1");
    flags(check, "change-fate");
}

Test(sim_range_check, a_change_that_was_cancelled_and_owned_is_flagged)
{
    struct range_check *check = moved_until(SWITCHED);
    map(check, 4, 2, "-m=1@1, m-=2@1");
    step(check, OWNED);
    flags(check, "change-fate");
}

Test(sim_range_check, a_change_that_was_switched_and_cancelled_in_the_map_is_flagged)
{
    struct range_check *check = moved_until(OWNED);
    map(check, 5, 2, "-m=1@1, m-=2@1");
    flags(check, "change-fate");
}

Test(sim_range_check, a_move_that_is_called_off_passes_and_is_counted)
{
    for (int until = CLEARED; until <= SWITCHED; until++) {
        struct range_check *check = moved_until(until);
        map(check, 4, 2, "-m=1@1, m-=2@1");
        if (until > SEALED || until > FROZEN)
            see(check, 1, 5, "-m@1 OWNED#1");
        if (until > CLEARED)
            see(check, 2, 12, "m-@1 OWNED");
        struct range_counts counts;
        range_check_get_counts(check, &counts);
        cr_assert_eq(counts.cancels, 1);
        cr_assert_eq(counts.moves, 0);
        range_check_end(check);
        passes(check);
    }
}

Test(sim_range_check, a_move_of_which_the_map_was_seen_too_late_passes)
{
    struct range_check *check = moved_until(ASKED);
    map(check, 9, 2, "-m=2@2, m-=2@1"); /* asked for, switched, done: in one turn */
    for (int number = CLEARED; number <= DROPPED; number++)
        if (number != SWITCHED && number != DONE)
            step(check, number);
    passes(check);
}

Test(sim_range_check, a_number_that_nobody_gave_is_flagged)
{
    struct range_check *check = moved_until(ASKED);
    see(check, 1, 3, "-m@1 FROZEN#1");
    flags(check, "change-unknown");
    check = moved_until(ASKED);
    map(check, 3, 1, "-m=1@1 move#1:1>2, m-=2@1");
    flags(check, "change-unknown");
}

Test(sim_range_check, a_number_for_two_ranges_is_flagged)
{
    struct range_check *check = moved_until(SEALED);
    see(check, 2, 4, "-m@1 COPYING#1, m-@1 FROZEN#1");
    flags(check, "change-of-two");
}

Test(sim_range_check, a_number_that_comes_again_is_flagged)
{
    struct range_check *check = moved_until(STEPS);
    map(check, 6, 2, "-m=2@2 move#1:2>1, m-=2@1");
    flags(check, "change-again");
}

/* --- Splits and merges --- */

Test(sim_range_check, a_split_and_a_merge_pass_and_are_counted)
{
    struct range_check *check = moved_until(ASKED);
    map(check, 3, 2, "-m=1@1 split#1, m-=2@1");
    see(check, 1, 3, "-f@2 OWNED#1, f-m@2 OWNED#1");
    map(check, 4, 2, "-f=1@2, f-m=1@2, m-=2@1");
    map(check, 5, 3, "-f=1@2, f-m=1@2 split#2, m-=2@1");
    see(check, 1, 4, "-f@2 OWNED#1, f-g@3 OWNED#2, g-m@3 OWNED#2");
    map(check, 6, 3, "-f=1@2, f-g=1@3, g-m=1@3, m-=2@1");
    map(check, 7, 4, "-f=1@2 merge#3, f-g=1@3 merge#3, g-m=1@3, m-=2@1");
    see(check, 1, 5, "-g@4 OWNED#3, g-m@3 OWNED#2");
    map(check, 8, 4, "-g=1@4, g-m=1@3, m-=2@1");
    struct range_counts counts;
    range_check_get_counts(check, &counts);
    cr_assert_eq(counts.splits, 2);
    cr_assert_eq(counts.merges, 1);
    range_check_end(check);
    passes(check);
}

Test(sim_range_check, a_half_that_is_lost_in_a_split_is_flagged)
{
    struct range_check *check = moved_until(ASKED);
    map(check, 3, 2, "-m=1@1 split#1, m-=2@1");
    see(check, 1, 3, "-f@2 OWNED#1");
    flags(check, "range-lost");
}

Test(sim_range_check, a_merge_that_takes_a_neighbours_epoch_is_flagged)
{
    struct range_check *check = moved_until(ASKED);
    map(check, 3, 2, "-m=1@1 split#1, m-=2@1");
    see(check, 1, 3, "-f@2 OWNED#1, f-m@2 OWNED#1");
    map(check, 4, 3, "-f=1@2 merge#2, f-m=1@2 merge#2, m-=2@1");
    see(check, 1, 4, "-m@2 OWNED#2");
    flags(check, "range-epoch-back");
}

/* --- The map --- */

Test(sim_range_check, a_map_whose_epochs_fall_is_flagged)
{
    struct range_check *check = moved_until(DONE);
    map(check, 5, 2, "-m=2@1, m-=2@1");
    flags(check, "map-epoch-back");
    check = moved_until(ASKED);
    map(check, 3, 1, "-m=2@1, m-=2@1");
    flags(check, "map-epoch-back");
    check = moved_until(ASKED);
    map(check, 3, 1, "-l=1@1, l-=2@2");
    flags(check, "map-epoch-back");
}

Test(sim_range_check, a_map_with_a_gap_is_flagged)
{
    static const char *const maps[] = {"", "b-=1@1", "-m=1@1, n-=2@1", "-m=1@1, l-=2@1", "-m=1@1"};
    for (size_t index = 0; index < sizeof maps / sizeof maps[0]; index++) {
        struct range_check *check = range_check_new();
        map(check, 1, 1, maps[index]);
        flags(check, "map-gap");
    }
}

Test(sim_range_check, an_older_map_says_nothing)
{
    struct range_check *check = moved_until(STEPS);
    map(check, 3, 2, "-m=1@1 move#1:1>2, m-=2@1");
    range_check_end(check);
    passes(check);
}

/* --- The end --- */

Test(sim_range_check, no_end_is_reached_in_the_middle_of_a_move)
{
    for (int until = 0; until < STEPS; until++) {
        struct range_check *check = moved_until(until);
        bool is_whole = until == ASKED; /* nothing was begun yet */
        if (is_whole) {
            range_check_free(check);
            continue;
        }
        char text[1024];
        cr_assert_not(range_check_is_settled(check, text, sizeof text), "after %d steps", until);
        range_check_end(check);
        flags(check, "ranges-unsettled");
    }
}

Test(sim_range_check, a_copy_that_nobody_discards_is_flagged_at_the_end)
{
    struct range_check *check = moved_until(FROZEN);
    map(check, 4, 2, "-m=1@1, m-=2@1");
    range_check_end(check);
    flags(check, "ranges-unsettled");
}

Test(sim_range_check, a_range_that_nobody_unfreezes_is_flagged_at_the_end)
{
    struct range_check *check = moved_until(SEALED);
    map(check, 4, 2, "-m=1@1, m-=2@1");
    see(check, 2, 4, "m-@1 OWNED");
    range_check_end(check);
    flags(check, "ranges-unsettled");
}

Test(sim_range_check, a_range_of_the_map_that_its_group_does_not_own_is_flagged_at_the_end)
{
    for (int times = 0; times < 2; times++) {
        struct range_check *check = range_check_new();
        map(check, 1, 1, "-m=1@1, m-=3@1");
        see(check, 1, 2, "-m@1 OWNED");
        if (times == 1)
            see(check, 3, 2, "");
        range_check_end(check);
        flags(check, "ranges-unsettled");
    }
}

Test(sim_range_check, an_owner_at_another_epoch_than_the_maps_is_flagged_at_the_end)
{
    struct range_check *check = moved_until(ASKED);
    map(check, 3, 2, "-m=1@1 split#1, m-=2@1");
    see(check, 1, 3, "-f@2 OWNED#1, f-m@2 OWNED#1");
    map(check, 4, 2, "-f=1@2, f-m=1@3, m-=2@1");
    range_check_end(check);
    flags(check, "ranges-unsettled");
}
