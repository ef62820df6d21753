/* How group 0's leader drives splits, merges and moves: whole replicas of group 0; the groups are
 * played by hand, or by a model of them (range_groups.h). */
#include "tests/support/master_world.h"
#include "tests/support/range_groups.h"

#include "shardmaster/master_map.h"
#include "shardmaster/master_ranges.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SPLIT OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
#define MERGE OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES
#define MOVE  OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE

enum { ORDERS_COUNT_MAX = 4000, MS_FOR_A_STEP = 12 };

struct play {
    struct master_world world;
    struct range_groups *groups; /* NULL: by hand */
    const Ostraka__RangeOrder *orders[ORDERS_COUNT_MAX];
    size_t orders_count;
    size_t answers_count;
    const Ostraka__ChangeRangeAnswer *answer; /* the last */
    const Ostraka__ProgressAnswer *progress;  /* the last */
};

static void keep(void *context, const struct address *to, const struct frame *frame)
{
    struct play *play = context;
    struct arena *arena = &play->world.arena;
    if (frame->type == FRAME_RANGE_ORDER || frame->type == FRAME_ASSIGN_RANGE) {
        cr_assert(to->kind == ADDRESS_GROUP && to->channel == CHANNEL_CONTROL);
        if (play->groups) {
            range_groups_send(play->groups, frame);
        } else if (frame->type == FRAME_RANGE_ORDER) {
            cr_assert_lt(play->orders_count, ORDERS_COUNT_MAX);
            const Ostraka__RangeOrder *order = (const Ostraka__RangeOrder *)message_unpack(
                &ostraka__range_order__descriptor, frame->message, arena);
            cr_assert_eq(order->group, to->id);
            play->orders[play->orders_count++] = order;
        }
    } else if (frame->type == FRAME_CHANGE_RANGE_ANSWER) {
        play->answers_count++;
        play->answer = (const Ostraka__ChangeRangeAnswer *)message_unpack(
            &ostraka__change_range_answer__descriptor, frame->message, arena);
    } else {
        cr_assert_eq(frame->type, FRAME_PROGRESS_ANSWER);
        play->progress = (const Ostraka__ProgressAnswer *)message_unpack(
            &ostraka__progress_answer__descriptor, frame->message, arena);
    }
}

/* --- By hand -----------------------------------------------------------------------------------
 */

static void fact(struct play *play, group_id_t group, raft_term_t term, const char *start,
                 const char *end, uint64_t epoch, Ostraka__RangeState state, uint64_t change,
                 bool is_near)
{
    Ostraka__RangeFact fact = OSTRAKA__RANGE_FACT__INIT;
    Ostraka__RangeFact *facts[] = {&fact};
    fact.start = master_binary(bytes_of_string(start));
    fact.end = master_binary(bytes_of_string(end));
    fact.epoch = epoch;
    fact.state = state;
    fact.change = change;
    fact.is_near = is_near;
    fact.copied_bytes = state == OSTRAKA__RANGE_STATE__RANGE_COPYING ? 100 : 0;
    fact.prepared_count = state == OSTRAKA__RANGE_STATE__RANGE_FROZEN ? 2 : 0;
    Ostraka__RangeReport report = OSTRAKA__RANGE_REPORT__INIT;
    report.group = group;
    report.term = term;
    report.ranges = facts;
    report.n_ranges = 1;
    for (size_t place = 0; place < play->world.stores_count; place++)
        if (play->world.stores[place].is_up)
            cr_assert_eq(master_world_send(&play->world, &play->world.stores[place],
                                           FRAME_RANGE_REPORT, 0, &report.base),
                         OST_OK);
}

#define SAYS(play, group, start, end, epoch, STATE, change)                                        \
    fact(play, group, 3, start, end, epoch, OSTRAKA__RANGE_STATE__RANGE_##STATE, change, false)
#define SAYS_NEAR(play, group, start, end, epoch, change)                                          \
    fact(play, group, 3, start, end, epoch, OSTRAKA__RANGE_STATE__RANGE_COPYING, change, true)

/* Three ranges: up to "g" and from "p" on of group 1, that between of group 2. Both own theirs. */
static void begin_alone(struct play *play, size_t stores_count)
{
    *play = (struct play){.groups = NULL};
    master_world_begin(&play->world, stores_count);
    play->world.frame_sent = keep;
    play->world.context = play;
    master_world_run_until_led(&play->world);
    master_world_run(&play->world, 200);
    SAYS(play, 1, "", "g", 1, OWNED, 0);
    SAYS(play, 2, "g", "p", 1, OWNED, 0);
    SAYS(play, 1, "p", "", 1, OWNED, 0);
    master_world_run(&play->world, 200);
    const Ostraka__Map *map = play->world.pushed[0];
    cr_assert(map->ranges[0]->assigned && map->ranges[1]->assigned && map->ranges[2]->assigned);
    cr_assert_eq(map->next_change, 1);
}

static int ask(struct play *play, const Ostraka__ChangeRange *request)
{
    struct master_store *leader = master_world_run_until_led(&play->world);
    size_t count = play->answers_count;
    cr_assert_eq(master_world_send(&play->world, leader, FRAME_CHANGE_RANGE, 9, &request->base),
                 OST_OK);
    master_store_drain(&play->world, leader);
    for (int ms = 0; ms < 5000 && play->answers_count == count; ms++)
        master_world_step(&play->world);
    cr_assert_eq(play->answers_count, count + 1);
    return play->answer->status;
}

static int ask_change(struct play *play, Ostraka__RangeChangeKind kind, const char *start,
                      uint64_t epoch, group_id_t to_group, const char *at)
{
    Ostraka__ChangeRange request = OSTRAKA__CHANGE_RANGE__INIT;
    request.kind = kind;
    request.start = master_binary(bytes_of_string(start));
    request.epoch = epoch;
    request.to_group = to_group;
    request.at = master_binary(bytes_of_string(at));
    return ask(play, &request);
}

static int ask_cancel(struct play *play, uint64_t change)
{
    Ostraka__ChangeRange request = OSTRAKA__CHANGE_RANGE__INIT;
    request.cancel = change;
    return ask(play, &request);
}

/* Of this step to this group since `from`. */
static size_t orders_of(const struct play *play, size_t from, group_id_t group,
                        Ostraka__RangeStep step)
{
    size_t count = 0;
    for (size_t index = from; index < play->orders_count; index++)
        count += play->orders[index]->group == group && play->orders[index]->step == step;
    return count;
}

/* Within the time in which a step may take place; no other order comes with it. */
static void expect_order(struct play *play, size_t from, group_id_t group, Ostraka__RangeStep step,
                         uint64_t change, uint64_t epoch)
{
    master_world_run(&play->world, MS_FOR_A_STEP);
    cr_assert_eq(orders_of(play, from, group, step), 1, "step %d to group %lu", step, group);
    for (size_t index = from; index < play->orders_count; index++) {
        const Ostraka__RangeOrder *order = play->orders[index];
        if (order->group == group && order->step == step) {
            cr_expect_eq(order->change, change);
            cr_expect_eq(order->epoch, epoch);
        }
    }
}
#define EXPECT_ORDER(play, from, group, STEP, change, epoch)                                       \
    expect_order(play, from, group, OSTRAKA__RANGE_STEP__RANGE_##STEP, change, epoch)
#define ORDERS_OF(play, from, group, STEP)                                                         \
    orders_of(play, from, group, OSTRAKA__RANGE_STEP__RANGE_##STEP)

static const Ostraka__RangeInfo *range_of(struct play *play, const char *start)
{
    master_world_run(&play->world, 60);
    return master_map_range_at(play->world.pushed[0], bytes_of_string(start));
}

Test(master_moves, a_move_goes_step_by_step_and_each_follows_at_once)
{
    struct play play;
    begin_alone(&play, 3);
    size_t from = play.orders_count;
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    cr_assert_eq(play.answer->change, 1);
    EXPECT_ORDER(&play, from, 1, CLEAR, 1, 1);
    cr_expect_eq(play.orders[from]->from_group, 2);
    cr_expect(bytes_equal(master_bytes(play.orders[from]->end), bytes_of_string("p")));
    master_world_run(&play.world, 600);
    cr_expect_eq(ORDERS_OF(&play, from, 1, CLEAR), 3, "again, every 250 ms");

    from = play.orders_count;
    SAYS(&play, 1, "g", "p", 1, COPYING, 1);
    master_world_run(&play.world, 1000);
    cr_expect_eq(play.orders_count, from, "a copy takes its time");
    SAYS_NEAR(&play, 1, "g", "p", 1, 1);
    EXPECT_ORDER(&play, from, 2, FREEZE, 1, 1);
    SAYS(&play, 2, "g", "p", 1, FROZEN, 1);
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    master_world_run(&play.world, MS_FOR_A_STEP);
    cr_expect_eq(range_of(&play, "g")->group, 2, "there is no copy yet");

    from = play.orders_count;
    size_t pushes_count = play.world.pushes_count[0];
    SAYS(&play, 1, "g", "p", 1, COPIED, 1);
    EXPECT_ORDER(&play, from, 1, OWN, 1, 1);
    cr_assert_gt(play.world.pushes_count[0], pushes_count, "who asks for it waits for this");
    const Ostraka__RangeInfo *range = range_of(&play, "g");
    cr_expect(range->group == 1 && range->epoch == 2 && !range->assigned && range->change);
    from = play.orders_count;
    SAYS(&play, 1, "g", "p", 2, OWNED, 1);
    EXPECT_ORDER(&play, from, 2, DROP, 1, 1);
    range = range_of(&play, "g");
    cr_expect(range->group == 1 && range->epoch == 2 && range->assigned && !range->change);

    /* Both have what they are to have: nothing is said any more. */
    from = play.orders_count;
    master_world_run(&play.world, 2000);
    cr_expect_eq(play.orders_count, from);
    /* The drop was lost. */
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    EXPECT_ORDER(&play, from, 2, DROP, 1, 1);
    master_world_end(&play.world);
}

Test(master_moves, nothing_is_switched_by_what_was_said_of_something_else)
{
    struct play play;
    begin_alone(&play, 1);
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    SAYS_NEAR(&play, 1, "g", "p", 1, 1);
    master_world_run(&play.world, MS_FOR_A_STEP);
    const struct {
        group_id_t owner, taker;
        const char *start, *end;
        uint64_t epoch, change;
    } wrong[] = {
        {1, 2, "g", "p", 1, 1}, {2, 1, "g", "p", 1, 2}, {2, 1, "g", "p", 2, 1},
        {2, 1, "g", "q", 1, 1}, {2, 1, "h", "p", 1, 1}, {3, 2, "g", "p", 1, 1},
        {1, 3, "g", "p", 1, 1}, {2, 1, "p", "g", 1, 1}, {2, 1, "g", "p", 1, 0},
    };
    for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
        SAYS(&play, wrong[index].owner, wrong[index].start, wrong[index].end, wrong[index].epoch,
             SEALED, wrong[index].change);
        SAYS(&play, wrong[index].taker, wrong[index].start, wrong[index].end, wrong[index].epoch,
             COPIED, wrong[index].change);
        master_world_run(&play.world, MS_FOR_A_STEP);
        cr_assert_eq(ORDERS_OF(&play, 0, 1, OWN), 0, "case %zu", index);
    }
    cr_expect_eq(range_of(&play, "g")->group, 2);
    /* The right ones, in the other order; then older ones, which take nothing back. */
    fact(&play, 1, 5, "g", "p", 1, OSTRAKA__RANGE_STATE__RANGE_COPIED, 1, false);
    fact(&play, 1, 4, "g", "p", 1, OSTRAKA__RANGE_STATE__RANGE_COPYING, 1, false);
    fact(&play, 1, 5, "g", "p", 1, OSTRAKA__RANGE_STATE__RANGE_COPYING, 1, true);
    fact(&play, 2, 5, "g", "p", 1, OSTRAKA__RANGE_STATE__RANGE_SEALED, 1, false);
    master_world_run(&play.world, MS_FOR_A_STEP);
    cr_expect_eq(ORDERS_OF(&play, 0, 1, OWN), 1);
    cr_expect_eq(range_of(&play, "g")->group, 1);
    master_world_end(&play.world);
}

Test(master_moves, a_new_leader_goes_on_where_the_groups_are)
{
    struct play play;
    begin_alone(&play, 3);
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    SAYS_NEAR(&play, 1, "g", "p", 1, 1);
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    master_world_run(&play.world, 20);
    size_t from = play.orders_count;
    master_world_crash_leader(&play.world);
    master_world_run(&play.world, 300);
    cr_expect_gt(ORDERS_OF(&play, from, 1, CLEAR), 0, "the taker is asked how far it is");
    SAYS(&play, 1, "g", "p", 1, COPIED, 1);
    master_world_run(&play.world, 20);
    cr_expect_gt(ORDERS_OF(&play, from, 2, FREEZE), 0, "then the owner");
    cr_expect_eq(ORDERS_OF(&play, from, 1, OWN), 0, "what one said to the old leader is gone");
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    master_world_run(&play.world, 20);
    cr_expect_eq(ORDERS_OF(&play, from, 1, OWN), 1);
    /* After the switch there is but one way. */
    from = play.orders_count;
    size_t assigns_count = play.world.assigns_count;
    master_world_crash_leader(&play.world);
    master_world_run(&play.world, 40000);
    cr_expect_eq(play.world.assigns_count, assigns_count, "it is not given away without its rows");
    cr_expect_eq(ORDERS_OF(&play, from, 1, CLEAR), 0);
    cr_expect_eq(ORDERS_OF(&play, from, 2, FREEZE), 0);
    cr_expect_gt(ORDERS_OF(&play, from, 1, OWN), 100, "however long it takes");
    SAYS(&play, 1, "g", "p", 2, OWNED, 1);
    master_world_run(&play.world, 20);
    cr_expect(range_of(&play, "g")->assigned);
    master_world_end(&play.world);
}

Test(master_moves, a_freeze_that_lasts_is_called_off)
{
    struct play play;
    begin_alone(&play, 1);
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    SAYS_NEAR(&play, 1, "g", "p", 1, 1);
    master_world_run(&play.world, 1900);
    size_t from = play.orders_count;
    cr_assert_not_null(range_of(&play, "g")->change);
    cr_assert_eq(ORDERS_OF(&play, 0, 2, UNFREEZE), 0);
    cr_expect_geq(ORDERS_OF(&play, 0, 2, FREEZE), 7, "until it answers");
    SAYS(&play, 2, "g", "p", 1, FROZEN, 1);
    master_world_run(&play.world, 60);
    cr_expect_null(range_of(&play, "g")->change);
    cr_expect_eq(range_of(&play, "g")->epoch, 1);
    cr_expect_gt(ORDERS_OF(&play, from, 2, UNFREEZE), 0, "nobody waits for another report");
    cr_expect_gt(ORDERS_OF(&play, from, 1, DISCARD), 0);
    /* It comes to nothing more by itself; reports that show what is left are answered. */
    from = play.orders_count;
    master_world_run(&play.world, 1000);
    cr_expect_eq(play.orders_count, from);
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    SAYS(&play, 1, "g", "p", 1, COPIED, 1);
    master_world_run(&play.world, 20);
    cr_expect_eq(ORDERS_OF(&play, from, 2, UNFREEZE), 1);
    cr_expect_eq(ORDERS_OF(&play, from, 1, DISCARD), 1);
    cr_expect_eq(play.orders_count, from + 2, "and never switched");
    cr_expect_eq(range_of(&play, "g")->group, 2);
    master_world_end(&play.world);
}

Test(master_moves, a_copy_that_stands_still_is_called_off)
{
    struct play play;
    begin_alone(&play, 1);
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    for (int second = 0; second < 28; second++) {
        SAYS(&play, 1, "g", "p", 1, COPYING, 1);
        master_world_run(&play.world, 1000);
    }
    cr_expect_not_null(range_of(&play, "g")->change);
    for (int second = 0; second < 5; second++) {
        SAYS(&play, 1, "g", "p", 1, COPYING, 1);
        master_world_run(&play.world, 1000);
    }
    cr_expect_null(range_of(&play, "g")->change);
    cr_expect_gt(ORDERS_OF(&play, 0, 1, DISCARD), 0);
    master_world_end(&play.world);
}

/* A leader that is behind knows no better: what a change is that it has not heard of. */
Test(master_moves, nothing_is_done_about_a_change_that_is_not_known)
{
    struct play play;
    begin_alone(&play, 1);
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    cr_assert_eq(ask_cancel(&play, 1), OST_OK);
    master_world_run(&play.world, 20);
    size_t from = play.orders_count;
    SAYS(&play, 2, "g", "p", 1, FROZEN, 2);
    SAYS(&play, 2, "g", "p", 1, SEALED, 2);
    SAYS(&play, 1, "g", "p", 1, COPYING, 2);
    SAYS(&play, 1, "g", "p", 1, COPIED, UINT64_MAX);
    SAYS(&play, 1, "g", "p", 1, COPIED, 0);
    master_world_run(&play.world, 600);
    cr_expect_eq(play.orders_count, from);
    SAYS(&play, 2, "g", "p", 1, FROZEN, 1);
    EXPECT_ORDER(&play, from, 2, UNFREEZE, 1, 1);
    master_world_end(&play.world);
}

/* What a group has given away is dropped, whatever has become of it elsewhere; and not before. */
Test(master_moves, what_was_given_away_is_dropped_when_all_of_it_is_owned_elsewhere)
{
    struct play play;
    begin_alone(&play, 1);
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    SAYS(&play, 1, "g", "p", 1, COPIED, 1);
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    master_world_run(&play.world, 20);
    size_t from = play.orders_count;
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    master_world_run(&play.world, 300);
    cr_assert_eq(ORDERS_OF(&play, 0, 2, DROP), 0, "the taker may lose it yet");
    SAYS(&play, 1, "g", "p", 2, OWNED, 1);
    master_world_run(&play.world, 20);
    /* It splits there, and a half is on its way back. */
    cr_assert_eq(ask_change(&play, SPLIT, "g", 2, 0, "k"), OST_OK);
    SAYS(&play, 1, "g", "k", 3, OWNED, 2);
    master_world_run(&play.world, 20);
    cr_assert_eq(ask_change(&play, MOVE, "k", 3, 2, ""), OST_OK);
    from = play.orders_count;
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    EXPECT_ORDER(&play, from, 2, DROP, 1, 1);
    /* Half of it is its own again: that report is an old one. */
    SAYS(&play, 2, "k", "p", 3, COPIED, 3);
    SAYS(&play, 1, "k", "p", 3, SEALED, 3);
    master_world_run(&play.world, 20);
    SAYS(&play, 2, "k", "p", 4, OWNED, 3);
    master_world_run(&play.world, 20);
    from = play.orders_count;
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    SAYS(&play, 2, "k", "p", 3, COPIED, 3);
    master_world_run(&play.world, 20);
    cr_expect_eq(play.orders_count, from);
    master_world_end(&play.world);
}

Test(master_moves, splits_and_merges_are_ordered_until_they_are_done)
{
    struct play play;
    begin_alone(&play, 3);
    cr_assert_eq(ask_change(&play, SPLIT, "g", 1, 0, "k"), OST_OK);
    master_world_run(&play.world, 1100);
    cr_expect_eq(ORDERS_OF(&play, 0, 2, SPLIT), 5);
    cr_expect(bytes_equal(master_bytes(play.orders[0]->at), bytes_of_string("k")));
    SAYS(&play, 2, "g", "p", 1, OWNED, 0);
    SAYS(&play, 2, "g", "k", 2, OWNED, 7);
    SAYS(&play, 1, "g", "k", 2, OWNED, 1);
    SAYS(&play, 2, "g", "k", 1, OWNED, 1);
    master_world_run(&play.world, 20);
    cr_expect_eq(range_of(&play, "g")->epoch, 1, "nothing of that shows it");
    cr_expect_eq(ask_cancel(&play, 1), OST_CONFLICT, "it comes to be");
    SAYS(&play, 2, "k", "p", 2, OWNED, 1);
    master_world_run(&play.world, 20);
    cr_assert_eq(range_of(&play, "g")->epoch, 2);
    cr_assert_eq(range_of(&play, "k")->epoch, 2);
    size_t from = play.orders_count;
    master_world_run(&play.world, 600);
    cr_expect_eq(play.orders_count, from);

    cr_assert_eq(ask_change(&play, MERGE, "g", 2, 0, ""), OST_OK);
    EXPECT_ORDER(&play, from, 2, MERGE, 2, 2);
    cr_expect_eq(play.orders[from]->epoch_right, 2);
    cr_expect_eq(range_of(&play, "k")->change->id, 2, "both are at it");
    master_world_crash_leader(&play.world);
    master_world_run(&play.world, 600);
    cr_expect_gt(ORDERS_OF(&play, from, 2, MERGE), 2);
    SAYS(&play, 2, "g", "p", 3, OWNED, 2);
    master_world_run(&play.world, 20);
    cr_expect_eq(range_of(&play, "g")->epoch, 3);
    cr_expect_null(range_of(&play, "k"));
    master_world_end(&play.world);
}

Test(master_moves, people_are_told_what_comes_of_their_request)
{
    struct play play;
    begin_alone(&play, 3);
    struct master_store *leader = master_world_run_until_led(&play.world);
    struct master_store *follower = &play.world.stores[leader->id % 3];
    Ostraka__ChangeRange request = OSTRAKA__CHANGE_RANGE__INIT;
    request.kind = MOVE;
    cr_assert_eq(master_world_send(&play.world, follower, FRAME_CHANGE_RANGE, 9, &request.base),
                 OST_OK);
    Ostraka__ProgressRequest asked = OSTRAKA__PROGRESS_REQUEST__INIT;
    cr_assert_eq(master_world_send(&play.world, follower, FRAME_PROGRESS, 9, &asked.base), OST_OK);
    master_store_drain(&play.world, follower);
    cr_expect_eq(play.answer->status, OST_NOT_LEADER);
    cr_expect_eq(play.answer->leader_store, leader->id);
    cr_expect_eq(play.progress->status, OST_NOT_LEADER);
    cr_expect_eq(play.progress->leader_store, leader->id);
    struct frame bad = {.message = bytes_of_string("\xff\xff")};
    const uint16_t types[] = {FRAME_CHANGE_RANGE, FRAME_PROGRESS, FRAME_RANGE_REPORT};
    for (size_t index = 0; index < 3; index++) {
        bad.type = types[index];
        cr_expect_eq(master_receive(leader->master, 5, &bad, play.world.now_ns, 0), OST_PROTOCOL);
    }

    cr_assert_eq(ask_change(&play, MOVE, "g", 7, 1, ""), OST_CONFLICT);
    cr_expect_neq(play.answer->text[0], '\0');
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    cr_expect_eq(play.answer->change, 1);
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK, "its answer was lost");
    cr_expect_eq(play.answer->change, 1);
    cr_expect_eq(ask_change(&play, SPLIT, "g", 1, 0, "k"), OST_CONFLICT);
    cr_expect_eq(ask_cancel(&play, 2), OST_NOT_FOUND);
    /* Two at once: each has a number. Of the same: one is refused when it is applied. */
    size_t count = play.answers_count;
    Ostraka__ChangeRange splits[3];
    const char *const starts[] = {"", "p", "p"}, *const ats[] = {"c", "t", "u"};
    for (size_t index = 0; index < 3; index++) {
        ostraka__change_range__init(&splits[index]);
        splits[index].kind = SPLIT;
        splits[index].start = master_binary(bytes_of_string(starts[index]));
        splits[index].at = master_binary(bytes_of_string(ats[index]));
        splits[index].epoch = 1;
        cr_assert_eq(
            master_world_send(&play.world, leader, FRAME_CHANGE_RANGE, 9, &splits[index].base),
            OST_OK);
    }
    master_world_run(&play.world, 20);
    cr_assert_eq(play.answers_count, count + 3);
    cr_expect_eq(play.answer->status, OST_CONFLICT, "the last one came too late");
    cr_expect_eq(range_of(&play, "")->change->id, 2);
    cr_expect_eq(range_of(&play, "p")->change->id, 3);
    /* Called off, once. Whoever waits is told when the leadership ends. */
    cr_expect_eq(ask_cancel(&play, 1), OST_OK);
    cr_expect_eq(ask_cancel(&play, 1), OST_NOT_FOUND);
    leader->is_cut = true;
    request.start = master_binary(bytes_of_string("g"));
    request.epoch = 1;
    request.to_group = 1;
    count = play.answers_count;
    cr_assert_eq(master_world_send(&play.world, leader, FRAME_CHANGE_RANGE, 9, &request.base),
                 OST_OK);
    master_world_run(&play.world, 3000);
    cr_assert_eq(play.answers_count, count + 1);
    cr_expect_eq(play.answer->status, OST_NOT_LEADER);
    leader->is_cut = false;
    /* After the switch it is too late. */
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    uint64_t change = play.answer->change;
    SAYS(&play, 1, "g", "p", 1, COPIED, change);
    SAYS(&play, 2, "g", "p", 1, SEALED, change);
    master_world_run(&play.world, 20);
    cr_expect_eq(ask_cancel(&play, change), OST_CONFLICT);
    cr_expect_neq(play.answer->text[0], '\0');
    master_world_end(&play.world);
}

static const Ostraka__ProgressItem *progress_of(struct play *play, uint64_t change)
{
    struct master_store *leader = master_world_run_until_led(&play->world);
    Ostraka__ProgressRequest asked = OSTRAKA__PROGRESS_REQUEST__INIT;
    cr_assert_eq(master_world_send(&play->world, leader, FRAME_PROGRESS, 9, &asked.base), OST_OK);
    master_store_drain(&play->world, leader);
    cr_assert_eq(play->progress->status, OST_OK);
    for (size_t index = 0; index < play->progress->n_items; index++)
        if (play->progress->items[index]->change == change)
            return play->progress->items[index];
    return NULL;
}

Test(master_moves, progress_says_how_far_it_is_and_what_it_waits_for)
{
    struct play play;
    begin_alone(&play, 1);
    cr_expect_null(progress_of(&play, 1));
    cr_assert_eq(ask_change(&play, MOVE, "g", 1, 1, ""), OST_OK);
    cr_assert_eq(ask_change(&play, SPLIT, "p", 1, 0, "t"), OST_OK);
    cr_expect_str_eq(progress_of(&play, 1)->waits_for, "group 1 to begin");
    cr_expect_str_eq(progress_of(&play, 2)->waits_for, "group 1 to split it");
    master_world_run(&play.world, 4000);
    const Ostraka__ProgressItem *item = progress_of(&play, 1);
    cr_expect_str_eq(item->what, "move");
    cr_expect_str_eq(item->waits_for, "group 1 does not answer");
    cr_expect(item->group == 2 && item->to_group == 1 && item->age_ms > 3900 &&
              item->age_ms < 4100);
    cr_expect(bytes_equal(master_bytes(item->start), bytes_of_string("g")));
    cr_expect_str_eq(progress_of(&play, 2)->what, "split");
    SAYS(&play, 1, "g", "p", 1, COPYING, 1);
    item = progress_of(&play, 1);
    cr_expect_str_eq(item->waits_for, "the copy");
    cr_expect_eq(item->done_count, 100);
    SAYS_NEAR(&play, 1, "g", "p", 1, 1);
    cr_expect_str_eq(progress_of(&play, 1)->waits_for, "group 2 to give it up");
    SAYS(&play, 2, "g", "p", 1, FROZEN, 1);
    cr_expect_str_eq(progress_of(&play, 1)->waits_for, "2 prepared transactions");
    SAYS(&play, 2, "g", "p", 1, SEALED, 1);
    cr_expect_str_eq(progress_of(&play, 1)->waits_for, "the copy");
    SAYS(&play, 1, "g", "p", 1, COPIED, 1);
    master_world_run(&play.world, 20);
    cr_expect_str_eq(progress_of(&play, 1)->waits_for, "group 1 to take it over");
    master_world_end(&play.world);
}

/* --- Many ranges -------------------------------------------------------------------------------
 */

/* Its row has the whole of it, which may be large. */
Test(master_moves, a_map_that_changes_quickly_is_written_now_and_then)
{
    enum { SPLITS = 40 };
    struct play play;
    begin_alone(&play, 1);
    struct master_store *store = &play.world.stores[0];
    const struct master_row_kept *row = master_store_row(store, bytes_of_string("map"));
    master_world_run(&play.world, 2000);
    size_t writes_count = row->writes_count;
    nanoseconds_t began_ns = play.world.now_ns;
    for (uint64_t split = 1; split <= SPLITS; split++) {
        char at[8];
        snprintf(at, sizeof(at), "p%02lu", 99 - split);
        cr_assert_eq(ask_change(&play, SPLIT, "p", split, 0, at), OST_OK);
        SAYS(&play, 1, "p", at, split + 1, OWNED, split);
        master_world_run(&play.world, 10);
    }
    size_t passed_ms = (play.world.now_ns - began_ns) / NS_PER_MS;
    cr_expect_leq(row->writes_count - writes_count, 1 + passed_ms / 500, "in %zu ms", passed_ms);
    master_world_run(&play.world, 1000);
    uint64_t epoch = play.world.pushed[0]->epoch;
    cr_assert_eq(play.world.pushed[0]->n_ranges, 3 + SPLITS);
    struct arena arena;
    arena_init(&arena);
    const Ostraka__Map *written = (const Ostraka__Map *)message_unpack(
        &ostraka__map__descriptor, buffer_bytes(&row->written), &arena);
    cr_expect_eq(written->epoch, epoch, "the last of it, too");
    arena_fini(&arena);
    /* What was not flushed comes from the log. */
    master_store_crash(&play.world, 0);
    master_store_start(&play.world, 0);
    master_world_run_until_led(&play.world);
    master_world_run(&play.world, 200);
    cr_expect_eq(play.world.pushed[0]->epoch, epoch);
    cr_expect_eq(play.world.pushed[0]->n_ranges, 3 + SPLITS);
    master_world_end(&play.world);
}

enum { MANY = 10000 };

Test(master_moves, an_idle_cluster_of_many_ranges_says_little)
{
    struct play play;
    static char texts[MANY][8];
    static struct bytes splits[MANY];
    play = (struct play){.groups = NULL};
    master_world_begin(&play.world, 1);
    play.world.frame_sent = keep;
    play.world.context = &play;
    for (size_t index = 0; index < MANY; index++) {
        snprintf(texts[index], sizeof(texts[index]), "%06zu", index);
        splits[index] = bytes_of_string(texts[index]);
    }
    play.world.options.initial_splits = splits;
    play.world.options.initial_splits_count = MANY;
    master_store_crash(&play.world, 0);
    master_store_start(&play.world, 0);
    master_world_run_until_led(&play.world);
    master_world_run(&play.world, 200);
    const Ostraka__Map *map = play.world.pushed[0];
    cr_assert_eq(map->n_ranges, MANY + 1);
    for (int pass = 0; pass < 20; pass++) {
        for (size_t place = 0; place < map->n_ranges; place++) {
            const Ostraka__RangeInfo *range = map->ranges[place];
            if (range->assigned)
                continue;
            Ostraka__RangeFact fact = OSTRAKA__RANGE_FACT__INIT;
            Ostraka__RangeFact *facts[] = {&fact};
            fact.start = range->start;
            fact.end = range->end;
            fact.epoch = range->epoch;
            fact.state = OSTRAKA__RANGE_STATE__RANGE_OWNED;
            Ostraka__RangeReport report = OSTRAKA__RANGE_REPORT__INIT;
            report.group = range->group;
            report.ranges = facts;
            report.n_ranges = 1;
            cr_assert_eq(master_world_send(&play.world, &play.world.stores[0], FRAME_RANGE_REPORT,
                                           0, &report.base),
                         OST_OK);
            if (place % 500 == 0)
                master_world_step(&play.world);
        }
        master_world_run(&play.world, 100);
        map = play.world.pushed[0];
    }
    for (size_t place = 0; place < map->n_ranges; place++)
        cr_assert(map->ranges[place]->assigned, "place %zu", place);
    size_t assigns_count = play.world.assigns_count;
    size_t pushes_count = play.world.pushes_count[0];
    size_t light_count = play.world.pushes_without_ranges_count;
    master_world_run(&play.world, 20000);
    cr_expect_eq(play.world.assigns_count, assigns_count);
    cr_expect_geq(play.world.pushes_count[0], pushes_count + 4);
    cr_expect_eq(play.world.pushes_without_ranges_count - light_count,
                 play.world.pushes_count[0] - pushes_count, "none of them has the ranges");
    /* One that does change is told. */
    cr_assert_eq(ask_change(&play, SPLIT, "000004", 1, 0, "0000044"), OST_OK);
    cr_expect_not_null(range_of(&play, "000004")->change);
    master_world_end(&play.world);
}

/* --- The groups by themselves ------------------------------------------------------------------
 */

static void deliver(void *context, const Ostraka__RangeReport *report)
{
    struct play *play = context;
    cr_assert(report);
    for (size_t place = 0; place < play->world.stores_count; place++)
        if (play->world.stores[place].is_up)
            cr_assert_eq(master_world_send(&play->world, &play->world.stores[place],
                                           FRAME_RANGE_REPORT, 0, &report->base),
                         OST_OK);
}

/* Whatever somebody might ask, by the map that some store has. */
static void ask_anything(struct play *play, struct random *random)
{
    struct master_world *world = &play->world;
    const Ostraka__Map *map = world->pushed[random_below(random, world->stores_count)];
    struct master_store *store = &world->stores[random_below(random, world->stores_count)];
    if (!map || !store->is_up)
        return;
    const Ostraka__RangeInfo *range = map->ranges[random_below(random, map->n_ranges)];
    Ostraka__ChangeRange request = OSTRAKA__CHANGE_RANGE__INIT;
    request.kind = (Ostraka__RangeChangeKind)random_below(random, 4);
    if (request.kind == OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE && random_below(random, 3) > 0)
        request.kind = MOVE;
    if (request.kind == SPLIT && map->n_ranges > 10)
        request.kind = MERGE;
    request.start = range->start;
    request.epoch = range->epoch;
    request.to_group = 1 + random_below(random, 3);
    request.at = request.kind == SPLIT
                     ? master_binary(range_key((uint32_t)random_below(random, RANGE_KEYS_COUNT)))
                     : (ProtobufCBinaryData){0};
    request.cancel = map->next_change - random_below(random, 3);
    cr_assert_eq(master_world_send(world, store, FRAME_CHANGE_RANGE, 9, &request.base), OST_OK);
    master_store_drain(world, store);
}

static void play_step(struct play *play)
{
    master_world_step(&play->world);
    range_groups_step(play->groups, play->world.now_ns);
}

static void go_wrong(struct play *play, struct random *random)
{
    struct master_world *world = &play->world;
    struct master_store *store = &world->stores[random_below(random, world->stores_count)];
    struct master_store *leader = master_world_leader(world);
    if (random_below(random, 3000) == 0 && leader)
        leader->is_cut = true; /* it goes on by what it knows, for a while */
    if (random_below(random, 3000) == 0 && leader)
        master_store_crash(world, leader->id - 1);
    if (random_below(random, 300) == 0)
        master_store_flush(store);
    if (random_below(random, 600) == 0)
        store->is_cut = false;
    if (random_below(random, 300) == 0 && !store->is_up)
        master_store_start(world, store->id - 1);
    if (random_below(random, 1000) == 0)
        range_groups_depose(play->groups, 1 + random_below(random, 3));
}

static const Ostraka__Map *newest_map(const struct play *play)
{
    const Ostraka__Map *newest = play->world.pushed[0];
    for (size_t place = 1; place < play->world.stores_count; place++)
        if (play->world.pushed[place] &&
            (!newest || play->world.pushed[place]->epoch > newest->epoch))
            newest = play->world.pushed[place];
    return newest;
}

static bool is_at_rest(const struct play *play)
{
    const Ostraka__Map *map = newest_map(play);
    return map && range_groups_agree(play->groups, map);
}

static void heal(struct play *play)
{
    play->groups->is_quiet = true;
    for (size_t place = 0; place < play->world.stores_count; place++) {
        play->world.stores[place].is_cut = false;
        if (!play->world.stores[place].is_up)
            master_store_start(&play->world, place);
    }
    for (int ms = 0; ms < 60000 && !is_at_rest(play); ms++)
        play_step(play);
    for (int ms = 0; ms < 25000; ms++) /* what was on its way for long arrives */
        play_step(play);
    const char *why = NULL;
    cr_assert_eq(master_map_check(newest_map(play), &why), OST_OK, "%s", why);
    cr_assert(is_at_rest(play), "something is not at its end");
}

static void play_seed(uint64_t seed, uint64_t ms_count, size_t *counts)
{
    struct play *play = calloc(1, sizeof(*play));
    struct range_groups groups;
    struct random random;
    random_init(&random, seed);
    master_world_begin_with_groups(&play->world, 3, 3);
    range_groups_init(&groups, seed, 3, play->world.now_ns);
    play->groups = &groups;
    groups.report = deliver;
    groups.context = play->world.context = play;
    play->world.frame_sent = keep;
    for (uint64_t ms = 0; ms < ms_count; ms++) {
        if (random_below(&random, 60) == 0)
            ask_anything(play, &random);
        go_wrong(play, &random);
        play_step(play);
    }
    heal(play);
    counts[0] += groups.owns_count;
    counts[1] += groups.unfreezes_count;
    counts[2] += groups.discards_count;
    counts[3] += groups.drops_count;
    counts[4] += groups.splits_count;
    counts[5] += groups.merges_count;
    range_groups_fini(&groups);
    master_world_end(&play->world);
    free(play);
}

Test(master_moves, every_key_has_one_owner_whatever_goes_wrong)
{
    uint64_t first = getenv("SEED") ? strtoul(getenv("SEED"), NULL, 10) : 1;
    uint64_t last = getenv("SEED_LAST") ? strtoul(getenv("SEED_LAST"), NULL, 10) : first + 5;
    size_t counts[6] = {0};
    for (uint64_t seed = first; seed <= last; seed++)
        play_seed(seed, 60000, counts);
    cr_log_info("own %zu unfreeze %zu discard %zu drop %zu split %zu merge %zu", counts[0],
                counts[1], counts[2], counts[3], counts[4], counts[5]);
    for (size_t index = 0; index < 6; index++)
        cr_expect_gt(counts[index], last - first, "count %zu: both fates, and all steps", index);
}
