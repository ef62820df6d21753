/* What group 0's leader does by itself about ranges and groups: one store is the cluster; its
 * reports and its groups are played by hand. */
#include "tests/support/master_world.h"

#include "shardmaster/master_map.h"

#include <criterion/criterion.h>

#define SPLIT OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
#define MERGE OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES
#define MOVE  OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE

enum { GROUPS_MAX = 6, LOADS_MAX = 4, MERGE_AFTER_MS = 20000 };

/* What the leader of a group says of it. */
struct said {
    bool is_silent;
    uint64_t operations;
    Ostraka__RangeLoad loads[LOADS_MAX];
    size_t loads_count;
};

struct play {
    struct master_world world;
    struct said said[GROUPS_MAX + 1];
    const Ostraka__ProgressAnswer *progress;
    const Ostraka__ChangeRangeAnswer *answer;
    const Ostraka__ChangeStoreAnswer *store_answer;
};

static void keep(void *context, const struct address *to, const struct frame *frame)
{
    struct play *play = context;
    struct arena *arena = &play->world.arena;
    (void)to;
    if (frame->type == FRAME_PROGRESS_ANSWER)
        play->progress = (const Ostraka__ProgressAnswer *)message_unpack(
            &ostraka__progress_answer__descriptor, frame->message, arena);
    if (frame->type == FRAME_CHANGE_RANGE_ANSWER)
        play->answer = (const Ostraka__ChangeRangeAnswer *)message_unpack(
            &ostraka__change_range_answer__descriptor, frame->message, arena);
    if (frame->type == FRAME_CHANGE_STORE_ANSWER)
        play->store_answer = (const Ostraka__ChangeStoreAnswer *)message_unpack(
            &ostraka__change_store_answer__descriptor, frame->message, arena);
}

static const Ostraka__Map *map_of(struct play *play)
{
    return play->world.pushed[0];
}

/* Store 1 leads the first groups, alone. */
static void report(struct play *play)
{
    Ostraka__ReplicaReport replicas[GROUPS_MAX];
    Ostraka__ReplicaReport *pointers[GROUPS_MAX];
    Ostraka__RangeLoad *loads[GROUPS_MAX][LOADS_MAX];
    Ostraka__RaftConfiguration configurations[GROUPS_MAX];
    Ostraka__RaftConfiguration__Member members[GROUPS_MAX];
    Ostraka__RaftConfiguration__Member *member_pointers[GROUPS_MAX];
    Ostraka__StoreReport message = OSTRAKA__STORE_REPORT__INIT;
    const Ostraka__Map *map = map_of(play);
    for (size_t place = 0; place < map->n_groups && map->groups[place]->id <= 2; place++) {
        struct said *said = &play->said[map->groups[place]->id];
        Ostraka__ReplicaReport *replica = &replicas[place];
        ostraka__replica_report__init(replica);
        replica->group = map->groups[place]->id;
        replica->replica = map->groups[place]->replicas[0]->replica;
        replica->term = 3;
        replica->leads = !said->is_silent;
        replica->operations_per_s = said->operations;
        ostraka__raft_configuration__init(&configurations[place]);
        ostraka__raft_configuration__member__init(&members[place]);
        members[place].replica = replica->replica;
        members[place].store = 1;
        members[place].voter_old = members[place].voter_new = true;
        member_pointers[place] = &members[place];
        configurations[place].members = &member_pointers[place];
        configurations[place].n_members = 1;
        configurations[place].epoch = 1;
        replica->configuration = &configurations[place];
        replica->configuration_committed = true;
        for (size_t index = 0; index < said->loads_count; index++)
            loads[place][index] = &said->loads[index];
        replica->loads = loads[place];
        replica->n_loads = said->loads_count;
        pointers[message.n_replicas++] = replica;
    }
    message.store = 1;
    message.address = "here:7100";
    message.map_epoch = map->epoch;
    message.incarnation = master_world_incarnation(1);
    message.replicas = pointers;
    cr_assert_eq(master_world_send(&play->world, &play->world.stores[0], FRAME_STORE_REPORT, 0,
                                   &message.base),
                 OST_OK);
}

static void run(struct play *play, uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 500) {
        report(play);
        master_world_run(&play->world, 500);
    }
}

static void fact(struct play *play, group_id_t group, const char *start, const char *end,
                 uint64_t epoch, Ostraka__RangeState state, uint64_t change)
{
    Ostraka__RangeFact fact = OSTRAKA__RANGE_FACT__INIT;
    Ostraka__RangeFact *facts[] = {&fact};
    fact.start = master_binary(bytes_of_string(start));
    fact.end = master_binary(bytes_of_string(end));
    fact.epoch = epoch;
    fact.state = state;
    fact.change = change;
    Ostraka__RangeReport message = OSTRAKA__RANGE_REPORT__INIT;
    message.group = group;
    message.term = 3;
    message.ranges = facts;
    message.n_ranges = 1;
    cr_assert_eq(master_world_send(&play->world, &play->world.stores[0], FRAME_RANGE_REPORT, 0,
                                   &message.base),
                 OST_OK);
    master_world_run(&play->world, 120);
}
#define SAYS(play, group, start, end, epoch, STATE, change)                                        \
    fact(play, group, start, end, epoch, OSTRAKA__RANGE_STATE__RANGE_##STATE, change)

/* Up to "g" and from "p" on of group 1, that between of group 2. */
static void begin(struct play *play, uint32_t range_changes_max)
{
    *play = (struct play){.progress = NULL};
    master_world_begin(&play->world, 1);
    play->world.frame_sent = keep;
    play->world.context = play;
    play->world.options.range_changes_max = range_changes_max;
    play->world.options.merge_after_ms = MERGE_AFTER_MS;
    master_store_crash(&play->world, 0);
    master_store_start(&play->world, 0);
    master_world_run_until_led(&play->world);
    master_world_run(&play->world, 200);
    SAYS(play, 1, "", "g", 1, OWNED, 0);
    SAYS(play, 2, "g", "p", 1, OWNED, 0);
    SAYS(play, 1, "p", "", 1, OWNED, 0);
}

static const Ostraka__RangeInfo *range_of(struct play *play, const char *start)
{
    return master_map_range_at(map_of(play), bytes_of_string(start));
}

/* What is being done to it; NO_CHANGE. */
static Ostraka__RangeChangeKind change_of(struct play *play, const char *start)
{
    const Ostraka__RangeInfo *range = range_of(play, start);
    cr_assert(range, "no range begins at \"%s\"", start);
    return range->change ? range->change->kind : OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE;
}

static uint64_t number_of(struct play *play, const char *start)
{
    return range_of(play, start)->change->id;
}

static size_t changes_count(struct play *play)
{
    size_t count = 0;
    for (size_t place = 0; place < map_of(play)->n_ranges; place++)
        count += map_of(play)->ranges[place]->change != NULL;
    return count;
}

static Ostraka__RangeLoad *says_load(struct play *play, group_id_t group, const char *start,
                                     uint64_t operations, const char *split_at)
{
    struct said *said = &play->said[group];
    Ostraka__RangeLoad *load = &said->loads[said->loads_count++];
    ostraka__range_load__init(load);
    load->start = master_binary(bytes_of_string(start));
    load->epoch = range_of(play, start)->epoch;
    load->operations_per_s = operations;
    load->split_at = master_binary(bytes_of_string(split_at));
    said->operations += operations;
    return load;
}

static void says_nothing(struct play *play, group_id_t group)
{
    play->said[group] = (struct said){.loads_count = 0};
}

static int ask(struct play *play, const Ostraka__ChangeRange *request)
{
    struct master_store *leader = master_world_run_until_led(&play->world);
    play->answer = NULL;
    cr_assert_eq(master_world_send(&play->world, leader, FRAME_CHANGE_RANGE, 9, &request->base),
                 OST_OK);
    master_store_drain(&play->world, leader);
    master_world_run(&play->world, 120);
    cr_assert(play->answer);
    return play->answer->status;
}

static int ask_change(struct play *play, Ostraka__RangeChangeKind kind, const char *start,
                      group_id_t to_group)
{
    Ostraka__ChangeRange request = OSTRAKA__CHANGE_RANGE__INIT;
    request.kind = kind;
    request.start = master_binary(bytes_of_string(start));
    request.epoch = range_of(play, start)->epoch;
    request.to_group = to_group;
    return ask(play, &request);
}

static int ask_cancel(struct play *play, uint64_t change)
{
    Ostraka__ChangeRange request = OSTRAKA__CHANGE_RANGE__INIT;
    request.cancel = change;
    return ask(play, &request);
}

static const Ostraka__ProgressItem *progress_of(struct play *play, uint64_t change)
{
    struct master_store *leader = master_world_run_until_led(&play->world);
    Ostraka__ProgressRequest asked = OSTRAKA__PROGRESS_REQUEST__INIT;
    cr_assert_eq(master_world_send(&play->world, leader, FRAME_PROGRESS, 9, &asked.base), OST_OK);
    master_store_drain(&play->world, leader);
    for (size_t index = 0; index < play->progress->n_items; index++)
        if (play->progress->items[index]->change == change)
            return play->progress->items[index];
    cr_assert_fail("nothing is told of change %lu", change);
    return NULL;
}

/* By its groups, from `from` to `to`; the map says so at the end. */
static void moves(struct play *play, const char *start, const char *end, group_id_t from,
                  group_id_t to)
{
    uint64_t epoch = range_of(play, start)->epoch, change = number_of(play, start);
    SAYS(play, to, start, end, epoch, COPIED, change);
    SAYS(play, from, start, end, epoch, SEALED, change);
    SAYS(play, to, start, end, epoch + 1, OWNED, change);
    cr_assert(range_of(play, start)->group == to && range_of(play, start)->assigned);
}

Test(master_ranges_placement, a_hot_range_is_split_and_a_half_of_it_moves_away)
{
    struct play play;
    begin(&play, 2);
    play.said[2].is_silent = true;
    says_load(&play, 1, "p", 9000, "t");
    run(&play, 3000);
    cr_expect_eq(changes_count(&play), 0, "not all groups have been heard of");
    play.said[2].is_silent = false;
    run(&play, 1000);
    cr_assert_eq(change_of(&play, "p"), SPLIT);
    cr_expect(bytes_equal(master_bytes(range_of(&play, "p")->change->at), bytes_of_string("t")));
    cr_expect_str_eq(progress_of(&play, number_of(&play, "p"))->what, "split");
    cr_expect_str_eq(progress_of(&play, number_of(&play, "p"))->why,
                     "9000 operations a second, 0 MiB");
    SAYS(&play, 1, "p", "t", 2, OWNED, number_of(&play, "p"));
    says_nothing(&play, 1);
    says_load(&play, 1, "p", 4500, "");
    says_load(&play, 1, "t", 4500, "");
    run(&play, 1000);
    cr_expect_eq(changes_count(&play), 0, "what is reported may be from before the split");
    run(&play, 12000);
    cr_assert_eq(change_of(&play, "p"), MOVE);
    cr_expect_eq(range_of(&play, "p")->change->to_group, 2);
    cr_expect_str_eq(progress_of(&play, number_of(&play, "p"))->why,
                     "group 1 has 9000 operations a second, group 2 0");
    run(&play, 500);
    cr_expect_eq(changes_count(&play), 1, "what moves counts where it goes");
    moves(&play, "p", "t", 1, 2);
    run(&play, 5000); /* nobody has counted anything yet */
    cr_expect_eq(changes_count(&play), 0);
    says_nothing(&play, 1);
    says_load(&play, 1, "t", 4500, "");
    says_load(&play, 2, "p", 4500, "");
    run(&play, 20000);
    cr_expect_eq(changes_count(&play), 0, "both have the same to do");
    master_world_end(&play.world);
}

Test(master_ranges_placement, it_is_off_or_does_so_many_at_a_time)
{
    for (uint32_t max = 0; max <= 3; max++) {
        struct play play;
        begin(&play, max);
        says_load(&play, 1, "p", 9000, "t");
        says_load(&play, 1, "", 9000, "c");
        says_load(&play, 2, "g", 9000, "k");
        run(&play, 3000);
        cr_expect_eq(changes_count(&play), max);
        master_world_end(&play.world);
    }
}

/* Of what a person asks, as much is under way as there may be: placement waits. */
Test(master_ranges_placement, what_people_ask_for_is_counted_and_left_alone)
{
    struct play play;
    begin(&play, 1);
    says_load(&play, 1, "p", 9000, "t");
    cr_assert_eq(ask_change(&play, MOVE, "p", 2), OST_OK);
    run(&play, 3000);
    cr_expect_eq(changes_count(&play), 1);
    cr_expect_eq(change_of(&play, "p"), MOVE);
    cr_expect_str_empty(progress_of(&play, number_of(&play, "p"))->why);
    master_world_end(&play.world);
}

Test(master_ranges_placement, what_was_called_off_is_tried_again_later_and_later)
{
    struct play play;
    begin(&play, 2);
    says_load(&play, 2, "g", 1000, "");
    says_load(&play, 1, "p", 30000, "");
    says_load(&play, 1, "", 6000, "");
    for (uint64_t rest_s = 30; rest_s <= 120; rest_s *= 2) {
        run(&play, 1500);
        cr_assert_eq(change_of(&play, ""), MOVE);
        cr_assert_eq(ask_cancel(&play, number_of(&play, "")), OST_OK);
        /* "p" would make nothing better. */
        run(&play, 1000 * (rest_s - 3));
        cr_assert_eq(change_of(&play, ""), OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE,
                     "after less than %lu s", rest_s);
        run(&play, 4500);
    }
    master_world_end(&play.world);
}

Test(master_ranges_placement, what_a_person_has_moved_stays_for_a_while)
{
    struct play play;
    begin(&play, 2);
    says_load(&play, 2, "g", 3000, "");
    says_load(&play, 1, "p", 3000, "");
    cr_assert_eq(ask_change(&play, MOVE, "p", 2), OST_OK);
    says_nothing(&play, 1);
    moves(&play, "p", "", 1, 2);
    says_load(&play, 2, "p", 3000, "");
    run(&play, 13000);
    /* The other one may go. */
    cr_assert_eq(change_of(&play, "p"), OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE);
    cr_assert_eq(change_of(&play, "g"), MOVE);
    cr_assert_eq(ask_cancel(&play, number_of(&play, "g")), OST_OK);
    run(&play, MERGE_AFTER_MS - 15000);
    cr_assert_eq(changes_count(&play), 0);
    run(&play, 3000);
    cr_assert_eq(change_of(&play, "p"), MOVE, "now it is as any other");

    /* Its own moves are no reason: it came by one of placement's. */
    moves(&play, "p", "", 2, 1);
    says_nothing(&play, 2);
    says_load(&play, 1, "p", 3000, "");
    says_load(&play, 1, "", 3000, "");
    run(&play, 13000);
    cr_assert(change_of(&play, "p") == MOVE || change_of(&play, "") == MOVE);
    /* Asked for by a person as well, it is a person's. */
    uint64_t number = number_of(&play, change_of(&play, "p") == MOVE ? "p" : "");
    const char *start = change_of(&play, "p") == MOVE ? "p" : "";
    cr_expect_str_not_empty(progress_of(&play, number)->why);
    cr_expect_eq(ask_change(&play, MOVE, start, 2), OST_OK);
    cr_expect_eq(play.answer->change, number);
    cr_expect_str_empty(progress_of(&play, number)->why);
    master_world_end(&play.world);
}

Test(master_ranges_placement, small_ranges_merge_long_after_the_last_split)
{
    struct play play;
    begin(&play, 2);
    Ostraka__ChangeRange split = OSTRAKA__CHANGE_RANGE__INIT;
    run(&play, 10000);
    split.kind = SPLIT;
    split.start = master_binary(bytes_of_string("g"));
    split.epoch = 1;
    split.at = master_binary(bytes_of_string("k"));
    cr_assert_eq(ask(&play, &split), OST_OK);
    SAYS(&play, 2, "g", "k", 2, OWNED, number_of(&play, "g"));
    says_load(&play, 2, "g", 0, "")->merges = true;
    run(&play, MERGE_AFTER_MS - 1000);
    cr_expect_eq(change_of(&play, "g"), OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE,
                 "whoever has cut it has a reason");
    run(&play, 2000);
    cr_assert_eq(change_of(&play, "g"), MERGE);
    cr_expect_str_not_empty(progress_of(&play, number_of(&play, "g"))->why);
    /* Of its own: it may be split again as soon as it is to be. */
    SAYS(&play, 2, "g", "p", 3, OWNED, number_of(&play, "g"));
    says_nothing(&play, 2);
    says_load(&play, 2, "g", 9000, "k");
    run(&play, 1500);
    cr_assert_eq(change_of(&play, "g"), SPLIT);
    master_world_end(&play.world);
}

Test(master_ranges_placement, a_new_leader_does_not_merge_at_once)
{
    struct play play;
    begin(&play, 2);
    says_load(&play, 2, "g", 0, "k");
    run(&play, MERGE_AFTER_MS);
    SAYS(&play, 2, "g", "k", 2, OWNED, number_of(&play, "g"));
    says_nothing(&play, 2);
    says_load(&play, 2, "g", 0, "")->merges = true;
    run(&play, MERGE_AFTER_MS - 2000);
    cr_assert_eq(changes_count(&play), 0);
    master_store_flush(&play.world.stores[0]);
    master_store_crash(&play.world, 0);
    master_store_start(&play.world, 0);
    master_world_run_until_led(&play.world);
    run(&play, MERGE_AFTER_MS - 2000);
    cr_expect_eq(changes_count(&play), 0);
    run(&play, 4000);
    cr_expect_eq(change_of(&play, "g"), MERGE);
    master_world_end(&play.world);
}

/* --- Groups ------------------------------------------------------------------------------------
 */

static void joins(struct play *play, store_id_t store)
{
    Ostraka__ChangeStore request = OSTRAKA__CHANGE_STORE__INIT;
    request.kind = OSTRAKA__STORE_CHANGE_KIND__JOIN_STORE;
    request.store = store;
    request.address = "there:7100";
    request.incarnation = master_world_incarnation(store);
    cr_assert_eq(master_world_send(&play->world, &play->world.stores[0], FRAME_CHANGE_STORE, 9,
                                   &request.base),
                 OST_OK);
    master_world_run(&play->world, 120);
    cr_assert(play->store_answer && play->store_answer->status == OST_OK);
}

static void report_empty(struct play *play, store_id_t store)
{
    Ostraka__StoreReport message = OSTRAKA__STORE_REPORT__INIT;
    message.store = store;
    message.address = "there:7100";
    message.map_epoch = map_of(play)->epoch;
    message.incarnation = master_world_incarnation(store);
    cr_assert_eq(master_world_send(&play->world, &play->world.stores[0], FRAME_STORE_REPORT, 0,
                                   &message.base),
                 OST_OK);
}

Test(master_ranges_placement, a_store_that_joins_brings_groups_one_after_the_other)
{
    for (uint32_t max = 0; max <= 1; max++) {
        struct play play;
        begin(&play, max);
        run(&play, 2000);
        cr_assert_eq(map_of(&play)->groups_per_1000_stores, 2000);
        cr_assert_eq(map_of(&play)->next_group, 3);
        cr_assert_eq(map_of(&play)->n_groups, 2);
        play.world.stores_count = 2; /* a place for what it is sent; it never runs */
        play.world.pushed[1] = play.world.pushed[0];
        joins(&play, 2);
        run(&play, 8000);
        cr_expect_eq(map_of(&play)->n_groups, 2, "the store has not been heard of");
        size_t creates_count = play.world.creates_count;
        for (int second = 0; second < 3; second++) {
            report_empty(&play, 2);
            run(&play, 1000);
        }
        cr_assert_eq(map_of(&play)->n_groups, max == 0 ? 2 : 3, "the next begins when this has");
        if (max > 0) {
            const Ostraka__GroupInfo *group = map_of(&play)->groups[2];
            cr_expect(group->id == 3 && group->epoch == 1 && group->n_replicas == 2);
            cr_expect_eq(map_of(&play)->next_group, 4);
            cr_expect_eq(map_of(&play)->next_replica, group->replicas[1]->replica + 1);
            cr_assert_gt(play.world.creates_count, creates_count);
            cr_expect_eq(play.world.created->group, 3);
            cr_expect_eq(play.world.created->configuration->n_members, 2, "each is told of all");
            bool is_told = false;
            (void)progress_of(&play, 0);
            for (size_t index = 0; index < play.progress->n_items; index++)
                is_told = is_told || strcmp(play.progress->items[index]->what, "group") == 0;
            cr_expect(is_told);
        }
        play.world.stores_count = 1;
        master_world_end(&play.world);
    }
}
