/* raft_membership_test.c: changes of the members, from the proposal of a target to the replica that
 * learns that it was removed. */
#include "raft/raft_internal.h"
#include "tests/support/raft_cluster.h"
#include "tests/support/raft_solo.h"

#include <criterion/criterion.h>

static void add(struct raft_configuration *target, replica_id_t replica, bool voter)
{
    target->members[target->members_count++] = (struct raft_member){
        .replica = replica, .store = 100 + replica, .voter_old = voter, .voter_new = voter};
}

/* Voters, and behind them learners; 0 ends each list. */
static struct raft_configuration target_of(const replica_id_t *voters, const replica_id_t *learners)
{
    struct raft_configuration target = {0};
    for (; *voters != 0; voters++)
        add(&target, *voters, true);
    for (; learners && *learners != 0; learners++)
        add(&target, *learners, false);
    return target;
}
#define IDS(...) ((const replica_id_t[]){__VA_ARGS__, 0})

static int propose(struct solo *solo, const struct raft_configuration *target)
{
    struct raft_event event = {.type = RAFT_EV_CONFIGURATION_PROPOSED};
    event.configure.target = target;
    return solo_step(solo, &event);
}

static void turn(struct solo *solo)
{
    cr_assert_eq(solo_event(solo, RAFT_EV_TURN_ENDED), OST_OK);
    solo_persist_all(solo);
}

/* A leader of `voters_count` whose opening entry is committed. */
static void lead(struct solo *solo, uint32_t voters_count)
{
    solo_init(solo, voters_count);
    solo_lead(solo);
    solo_persist_all(solo);
    for (replica_id_t replica = 2; replica <= voters_count / 2 + 1; replica++)
        cr_assert_eq(solo_answer(solo, replica, 1), OST_OK);
    cr_assert_eq(solo_status(solo).commit_index, 1);
}

static void change(struct solo *solo, const struct raft_configuration *target)
{
    cr_assert_eq(propose(solo, target), OST_OK);
    turn(solo);
}

Test(raft_membership, only_a_leader_changes_it_and_only_after_a_commit_of_its_own_term)
{
    struct solo solo;
    struct raft_configuration target = target_of(IDS(1, 2, 3), IDS(4));
    solo_init(&solo, 3);
    cr_assert_eq(propose(&solo, &target), OST_NOT_LEADER);
    solo_lead(&solo);
    cr_assert_eq(propose(&solo, &target), OST_NOT_READY);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_OK);
    cr_assert_eq(raft_configuration_index(solo.raft), 2, "in force once appended");
    solo_fini(&solo);
}

Test(raft_membership, one_change_at_a_time)
{
    struct solo solo;
    lead(&solo, 3);
    struct raft_configuration with_4 = target_of(IDS(1, 2, 3), IDS(4));
    struct raft_configuration without_4 = target_of(IDS(1, 2, 3), NULL);
    struct raft_configuration two = target_of(IDS(1, 2), NULL);
    change(&solo, &with_4);
    cr_assert_eq(propose(&solo, &without_4), OST_CONFLICT, "not committed yet");
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(propose(&solo, &with_4), OST_EXISTS);
    change(&solo, &two);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 3, "the joint one is committed");
    cr_assert_eq(propose(&solo, &with_4), OST_CONFLICT, "but the change goes on");
    turn(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 4), OST_OK);
    cr_assert_eq(propose(&solo, &with_4), OST_INVALID_ARGUMENT, "3 has to be a learner first");
    cr_assert_eq(propose(&solo, &two), OST_EXISTS);
    solo_fini(&solo);
}

Test(raft_membership, no_change_while_leadership_is_handed_over)
{
    struct solo solo;
    struct raft_event event = {.type = RAFT_EV_TRANSFER, .transfer_to = 3};
    lead(&solo, 3);
    struct raft_configuration target = target_of(IDS(1, 2, 3), IDS(4));
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_NOT_READY);
    solo_fini(&solo);
}

Test(raft_membership, a_target_without_sense_is_refused)
{
    struct solo solo;
    lead(&solo, 3);
    struct raft_configuration target = {0};
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "nobody");
    add(&target, 1, false);
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "nobody could lead");
    target = target_of(IDS(1, 2, 3), NULL);
    target.members[2].voter_old = false;
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "a joint one");
    target = target_of(IDS(1, 2, 2), NULL);
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "one member twice");
    target = target_of(IDS(1, 2), IDS(3));
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "a voter is made a learner");
    target = target_of(IDS(1, 2, 3, 4), NULL);
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "4 was never a learner");
    target = target_of(IDS(1, 2, 3), NULL);
    target.members[2].store = 7;
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "a replica does not move");
    target.members[2].store = 0;
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "nor is it nowhere");
    target = target_of(IDS(1, 2, 3, 4, 5, 6, 7, 8), NULL);
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT, "too many voters");
    cr_assert_eq(solo_status(&solo).last_index, 1);
    solo_fini(&solo);
}

/* Both halves together must be no more than a configuration holds. */
Test(raft_membership, a_target_that_is_too_large_together_with_what_is_there)
{
    struct solo solo;
    lead(&solo, 7);
    struct raft_configuration target = target_of(IDS(1, 2, 3, 4, 5, 6, 7), IDS(11, 12, 13, 14, 15));
    change(&solo, &target);
    for (replica_id_t replica = 2; replica <= 5; replica++)
        cr_assert_eq(solo_answer(&solo, replica, 2), OST_OK);
    target = target_of(IDS(1), IDS(11, 12, 13, 14, 15, 16, 17, 18));
    cr_assert_eq(propose(&solo, &target), OST_INVALID_ARGUMENT);
    target = target_of(IDS(1), IDS(11, 12, 13, 14, 15, 16, 17));
    cr_assert_eq(propose(&solo, &target), OST_OK);
    solo_fini(&solo);
}

Test(raft_membership, learners_come_and_go_by_one_plain_entry)
{
    struct solo solo;
    lead(&solo, 3);
    struct raft_configuration target = target_of(IDS(1, 2, 3), IDS(4));
    change(&solo, &target);
    cr_assert_not(raft_configuration_is_joint(raft_get_configuration(solo.raft)));
    cr_assert_eq(solo_answer(&solo, 4, 2), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 1, "a learner counts in no quorum");
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 2);
    target = target_of(IDS(1, 2, 3), IDS(5));
    change(&solo, &target);
    cr_assert_not(raft_configuration_is_joint(raft_get_configuration(solo.raft)));
    cr_assert_eq(solo_answer(&solo, 3, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).last_index, 3, "and that is all");
    solo_fini(&solo);
}

Test(raft_membership, voters_change_through_a_joint_configuration)
{
    struct solo solo;
    lead(&solo, 3);
    struct raft_configuration target = target_of(IDS(1, 2, 3), IDS(4, 5));
    change(&solo, &target);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 4, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 5, 2), OST_OK);
    target = target_of(IDS(1, 4, 5), NULL);
    change(&solo, &target);
    cr_assert(raft_configuration_is_joint(raft_get_configuration(solo.raft)));
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 5);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 2, "all of the old, one of the new");
    cr_assert_eq(solo_answer(&solo, 5, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 3);

    cr_assert_eq(solo_status(&solo).last_index, 4, "the leader goes on by itself");
    turn(&solo);
    cr_assert_not(raft_configuration_is_joint(raft_get_configuration(solo.raft)));
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 3);
    cr_assert_eq(solo_answer(&solo, 2, 4), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 4), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 3, "the old ones count no more");
    cr_assert_eq(solo_answer(&solo, 4, 4), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 4);
    solo_fini(&solo);
}

/* The leader that began is gone; whoever leads next finds the joint configuration in its log. */
Test(raft_membership, the_next_leader_ends_the_change)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_configuration joint = {0};
    add(&joint, 1, true);
    add(&joint, 2, true);
    add(&joint, 3, true);
    joint.members[2].voter_new = false;
    struct raft_entry entries[2] = {
        {.index = 1, .term = 1, .type = RAFT_ENTRY_TERM_OPENING},
        {.index = 2, .term = 1, .type = RAFT_ENTRY_CONFIGURATION},
    };
    entries[1].payload = raft_configuration_pack(&joint);
    struct raft_message request = {.type = RAFT_MSG_APPEND_REQUEST,
                                   .from = 3,
                                   .term = 1,
                                   .entries = entries,
                                   .entries_count = 2};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    blob_unref(entries[1].payload);
    solo_persist_all(&solo);
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_status(&solo).last_index, 3, "its opening entry");
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 3);
    cr_assert_eq(solo_status(&solo).last_index, 4);
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 2);
    solo_fini(&solo);
}

Test(raft_membership, a_learner_far_behind_or_out_of_reach_gets_no_vote)
{
    struct solo solo;
    lead(&solo, 3);
    struct raft_configuration with_4 = target_of(IDS(1, 2, 3), IDS(4));
    struct raft_configuration target = target_of(IDS(1, 2, 3, 4), NULL);
    change(&solo, &with_4);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_LEARNER_BEHIND, "it never said anything");
    for (uint32_t i = 0; i < solo.options.learner_lag_entries_max; i++)
        cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    turn(&solo);
    cr_assert_eq(propose(&solo, &target), OST_LEARNER_BEHIND, "it has nothing");
    cr_assert_eq(solo_answer(&solo, 4, 2), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_OK, "it lacks no more than it may");
    solo_fini(&solo);

    lead(&solo, 3);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    change(&solo, &with_4);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_answer(&solo, 4, 2), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_LEARNER_BEHIND, "it does not know itself a learner");
    cr_assert_eq(solo_answer(&solo, 4, 3), OST_OK);
    for (uint32_t i = 0; i <= solo.options.learner_lag_entries_max; i++)
        cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_LEARNER_BEHIND, "one too many is missing");
    turn(&solo);
    cr_assert_eq(solo_answer(&solo, 4, 4), OST_OK);
    solo_wait_ms(&solo, 999);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    solo_wait_ms(&solo, 1);
    cr_assert_eq(propose(&solo, &target), OST_LEARNER_BEHIND, "it was not heard for a second");
    cr_assert_eq(solo_answer(&solo, 4, 2), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_OK);
    solo_fini(&solo);
}

/* Nobody could leave a joint configuration again whose new voters have no majority. */
Test(raft_membership, who_is_left_must_be_heard_before_another_goes)
{
    struct solo solo;
    lead(&solo, 3); /* 3 has said nothing yet */
    struct raft_configuration target = target_of(IDS(1, 3), NULL);
    cr_assert_eq(propose(&solo, &target), OST_NOT_READY);
    cr_assert_eq(solo_answer(&solo, 3, 1), OST_OK);
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_NOT_READY, "3 has been silent for too long");
    cr_assert_eq(solo_answer(&solo, 3, 1), OST_OK);
    cr_assert_eq(propose(&solo, &target), OST_OK);
    solo_fini(&solo);
}

/* The leader leaves: once that is committed it tells the best of those who stay to stand. */
Test(raft_membership, a_leader_that_goes_hands_over_first)
{
    struct solo solo;
    lead(&solo, 3);
    cr_assert_eq(solo_answer(&solo, 3, 1), OST_OK);
    struct raft_configuration target = target_of(IDS(2, 3), NULL);
    change(&solo, &target);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    turn(&solo); /* index 3: without 1 */
    cr_assert_eq(solo_propose(&solo, "the last"), OST_OK);
    turn(&solo);
    cr_assert_eq(solo_answer(&solo, 3, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 2, "it does not count itself");
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 3);
    cr_assert_eq(solo_status(&solo).role, RAFT_LEADER, "nobody has all of it yet");
    cr_assert_eq(solo_propose(&solo, "late"), OST_NOT_READY);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_TIMEOUT_NOW, 0));
    replica_id_t to = solo.raft->transfer_to;
    cr_assert_eq(solo_answer(&solo, to, 4), OST_OK);
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_TIMEOUT_NOW, to));
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    solo_wait_ms(&solo, 3000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER, "it does not stand");
    solo_fini(&solo);
}

Test(raft_membership, a_leader_that_goes_does_not_wait_for_ever)
{
    struct solo solo;
    lead(&solo, 3);
    cr_assert_eq(solo_answer(&solo, 3, 1), OST_OK);
    struct raft_configuration target = target_of(IDS(2, 3), NULL);
    change(&solo, &target);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    turn(&solo);
    cr_assert_eq(solo_propose(&solo, "the last"), OST_OK);
    turn(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_LEADER);
    solo_wait_ms(&solo, 999);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 3), OST_OK);
    solo_wait_ms(&solo, 1);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    solo_fini(&solo);
}

/* The entry that leaves it out is in its log alone. The other has the older log and cannot win; so
 * it leads once more, without a vote of its own, commits the entry, and is out. */
Test(raft_membership, who_is_left_out_stands_until_that_is_committed)
{
    struct solo solo;
    lead(&solo, 2);
    struct raft_configuration target = target_of(IDS(2), NULL);
    change(&solo, &target);
    cr_assert_eq(solo_status(&solo).commit_index, 1, "a majority of the old are both");
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    turn(&solo);
    cr_assert_eq(solo_status(&solo).last_index, 3);
    cr_assert_eq(solo_status(&solo).commit_index, 2, "it counts no more");
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_PRE_CANDIDATE, "its own vote does not do");
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_PRE_VOTE_REQUEST, 2));
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 4), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 4);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_TIMEOUT_NOW, 2));
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER, "and now it is out");
    solo_fini(&solo);
}

/* Down to 1 and 2; what 3 is sent until it says that it knows. */
static void remove_3(struct solo *solo)
{
    lead(solo, 3);
    struct raft_configuration target = target_of(IDS(1, 2), NULL);
    change(solo, &target);
    cr_assert_eq(solo_answer(solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(solo, 3, 2), OST_OK);
    cr_assert_eq(solo_event(solo, RAFT_EV_TURN_ENDED), OST_OK);
}

Test(raft_membership, who_is_removed_is_told)
{
    struct solo solo;
    remove_3(&solo);
    const struct raft_message *request = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3);
    cr_assert_not_null(request);
    cr_assert_eq(request->entries_count, 1, "the entry that leaves it out");
    cr_assert_eq(request->to_store, 103);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 3, 3), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 2, "it does not count");
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    solo_wait_ms(&solo, 50);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    request = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3);
    cr_assert_not_null(request);
    cr_assert_eq(request->commit_index, 3);
    struct raft_message answer = {
        .type = RAFT_MSG_APPEND_ANSWER, .from = 3, .term = 1, .index = 3, .commit_index = 3};
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    solo_wait_ms(&solo, 50);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3), "it knows");
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2));
    solo_fini(&solo);
}

Test(raft_membership, who_is_removed_and_silent_is_told_for_a_while)
{
    struct solo solo;
    remove_3(&solo);
    solo_persist_all(&solo);
    for (int i = 0; i < 199; i++) {
        solo_wait_ms(&solo, 50);
        cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
        cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
        cr_assert_not_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3), "round %d", i);
    }
    solo_wait_ms(&solo, 50);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3));
    solo_fini(&solo);
}

/* A replica that joins. */

static void init_joining(struct solo *solo)
{
    solo_init(solo, 0);
    cr_assert_eq(raft_get_configuration(solo->raft)->members_count, 0);
}

static bool votes_for_2(struct solo *solo, raft_term_t term, raft_index_t index,
                        raft_term_t index_term)
{
    struct raft_message request = {.type = RAFT_MSG_VOTE_REQUEST,
                                   .from = 2,
                                   .term = term,
                                   .index = index,
                                   .index_term = index_term};
    cr_assert_eq(solo_receive(solo, &request), OST_OK);
    const struct raft_message *answer = solo_sent(solo, RAFT_MSG_VOTE_ANSWER, 2);
    return answer && !answer->rejected;
}

Test(raft_membership, one_that_joins_neither_stands_nor_votes_before_it_has_a_configuration)
{
    struct solo solo;
    init_joining(&solo);
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    cr_assert_eq(solo.update.messages_count, 0);
    struct raft_message timeout_now = {.type = RAFT_MSG_TIMEOUT_NOW, .from = 2, .term = 0};
    cr_assert_eq(solo_receive(&solo, &timeout_now), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    struct raft_message request = {
        .type = RAFT_MSG_PRE_VOTE_REQUEST, .from = 2, .term = 5, .index = 3, .index_term = 4};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_PRE_VOTE_ANSWER, 2)->rejected);
    cr_assert_not(votes_for_2(&solo, 5, 3, 4));
    cr_assert_eq(solo_status(&solo).vote, 0);
    solo_fini(&solo);
}

static void append_configuration(struct solo *solo, const struct raft_configuration *configuration)
{
    struct raft_entry entries[2] = {
        {.index = 1, .term = 1, .type = RAFT_ENTRY_TERM_OPENING},
        {.index = 2, .term = 1, .type = RAFT_ENTRY_CONFIGURATION},
    };
    entries[1].payload = raft_configuration_pack(configuration);
    struct raft_message request = {.type = RAFT_MSG_APPEND_REQUEST,
                                   .from = 2,
                                   .term = 1,
                                   .commit_index = 2,
                                   .entries = entries,
                                   .entries_count = 2};
    cr_assert_eq(solo_receive(solo, &request), OST_OK);
    blob_unref(entries[1].payload);
    solo_persist_all(solo);
}

/* It may have been given a vote in an entry that it has yet to get, and without its vote nobody
 * might lead. */
Test(raft_membership, a_learner_does_not_stand_but_votes_when_it_is_asked)
{
    struct solo solo;
    init_joining(&solo);
    struct raft_configuration configuration = target_of(IDS(2, 3), IDS(1));
    append_configuration(&solo, &configuration);
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    cr_assert(votes_for_2(&solo, 5, 2, 1));
    solo_fini(&solo);
}

/* Of 2 and 3; with the first of them alone it stays `role`. */
static void give_votes(struct solo *solo, enum raft_message_type type, enum raft_role role)
{
    solo_persist_all(solo);
    struct raft_message answer = {.type = type, .from = 2, .term = 4};
    cr_assert_eq(solo_receive(solo, &answer), OST_OK);
    cr_assert_eq(solo_status(solo).role, role, "its own vote does not count");
    answer.from = 3;
    cr_assert_eq(solo_receive(solo, &answer), OST_OK);
}

/* The learner alone has the first entry of a leader that is gone. 2 has given it a vote in an entry
 * that it lacks, and cannot win without it. */
Test(raft_membership, a_learner_stands_when_its_vote_is_asked_for_and_its_log_is_longer)
{
    struct solo solo;
    init_joining(&solo);
    struct raft_configuration configuration = target_of(IDS(2, 3), IDS(1));
    append_configuration(&solo, &configuration);
    cr_assert_eq(solo_append(&solo, 3, 3, 2, 1, (raft_term_t[]){3}, 1, 2), OST_OK);
    solo_persist_all(&solo);
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER, "nobody has asked");

    struct raft_message request = {
        .type = RAFT_MSG_PRE_VOTE_REQUEST, .from = 2, .term = 4, .index = 4, .index_term = 2};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_PRE_VOTE_ANSWER, 2)->rejected);
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_PRE_VOTE_REQUEST, 3));
    give_votes(&solo, RAFT_MSG_PRE_VOTE_ANSWER, RAFT_PRE_CANDIDATE);
    give_votes(&solo, RAFT_MSG_VOTE_ANSWER, RAFT_CANDIDATE);
    cr_assert_eq(solo_status(&solo).role, RAFT_LEADER);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 4), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 2, "it counts for nothing itself");
    cr_assert_eq(solo_answer(&solo, 3, 4), OST_OK);
    cr_assert_eq(solo_status(&solo).commit_index, 4);
    turn(&solo);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER, "it has handed over");
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER, "and nobody has asked again");
    solo_fini(&solo);
}

Test(raft_membership, one_that_joined_stands_once_it_votes)
{
    struct solo solo;
    init_joining(&solo);
    struct raft_configuration configuration = target_of(IDS(1, 2, 3), NULL);
    append_configuration(&solo, &configuration);
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_PRE_CANDIDATE);
    solo_fini(&solo);
}

Test(raft_membership, one_that_joined_by_a_snapshot_has_its_configuration)
{
    struct solo solo;
    init_joining(&solo);
    struct raft_snapshot_meta meta = {
        .index = 100, .term = 3, .log_timestamp = 9, .configuration_index = 90};
    meta.configuration = target_of(IDS(2, 3), IDS(1));
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_OFFERED};
    event.snapshot.term = 3;
    event.snapshot.from = 2;
    event.snapshot.meta = &meta;
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    solo_persist_all(&solo);
    event.type = RAFT_EV_SNAPSHOT_INSTALLED;
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 3);
    cr_assert_eq(raft_configuration_index(solo.raft), 90);
    const struct raft_message *answer = solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2);
    cr_assert_not_null(answer);
    cr_assert_eq(answer->to_store, 102);
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    solo_fini(&solo);
}

/* A snapshot of less than the log holds brings an older configuration than the log does. What
 * follows it in the log stays, and so does the configuration in it. */
Test(raft_membership, an_older_snapshot_does_not_undo_what_the_log_says)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_configuration configuration = target_of(IDS(1, 2, 3), IDS(4));
    struct raft_entry entries[4] = {
        {.index = 1, .term = 1, .type = RAFT_ENTRY_TERM_OPENING},
        {.index = 2, .term = 1, .type = RAFT_ENTRY_COMMAND},
        {.index = 3, .term = 1, .type = RAFT_ENTRY_CONFIGURATION},
        {.index = 4, .term = 1, .type = RAFT_ENTRY_COMMAND},
    };
    entries[2].payload = raft_configuration_pack(&configuration);
    struct raft_message request = {.type = RAFT_MSG_APPEND_REQUEST,
                                   .from = 2,
                                   .term = 1,
                                   .entries = entries,
                                   .entries_count = 4};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    blob_unref(entries[2].payload);
    solo_persist_all(&solo);
    struct raft_snapshot_meta meta = {.index = 2, .term = 1};
    cluster_configuration(3, &meta.configuration);
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_INSTALLED};
    event.snapshot.term = 1;
    event.snapshot.from = 2;
    event.snapshot.meta = &meta;
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    cr_assert_eq(raft_configuration_index(solo.raft), 3);
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 4);
    /* And it can still be taken back. */
    struct raft_entry other = {.index = 3, .term = 2, .type = RAFT_ENTRY_TERM_OPENING};
    request = (struct raft_message){.type = RAFT_MSG_APPEND_REQUEST,
                                    .from = 3,
                                    .term = 2,
                                    .index = 2,
                                    .index_term = 1,
                                    .entries = &other,
                                    .entries_count = 1};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert_eq(raft_configuration_index(solo.raft), 0);
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 3);
    solo_fini(&solo);
}

/* Whole clusters. */

static void reach(struct cluster *cluster, const struct raft_configuration *target, uint64_t seed)
{
    for (int i = 0; i < 50; i++) {
        replica_id_t leader = cluster_run_until_leader(cluster, 5000);
        cr_assert_neq(leader, 0);
        int status = cluster_propose_configuration(cluster, leader, target);
        cr_assert(status == OST_OK || status == OST_EXISTS || ost_status_is_retryable(status) ||
                      status == OST_CONFLICT,
                  "seed %lu: %s", (unsigned long)seed, ost_status_name(status));
        if (cluster_run_until_members(cluster, target, 200))
            return;
    }
    cr_assert_fail("seed %lu: the members do not change", (unsigned long)seed);
}

/* From 1 2 3 to 3 4 5: learners first, then all at once. The leader may be among those that go. */
Test(raft_membership, a_group_moves_from_some_stores_to_others_under_load)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster_options options;
        cluster_options_default(&options);
        options.seed = seed;
        options.nodes_count = 5;
        options.voters_count = 3;
        struct cluster *cluster = cluster_new(&options);
        cr_assert_neq(cluster_run_until_leader(cluster, 5000), 0);
        for (int i = 0; i < 30; i++)
            cr_assert_eq(cluster_propose(cluster, cluster_leader(cluster), NULL), OST_OK);
        struct raft_configuration target = target_of(IDS(1, 2, 3), IDS(4, 5));
        reach(cluster, &target, seed);
        target = target_of(IDS(3, 4, 5), NULL);
        reach(cluster, &target, seed);

        replica_id_t leader = cluster_run_until_leader(cluster, 3000);
        cr_assert(leader >= 3, "seed %lu: %lu leads", (unsigned long)seed, (unsigned long)leader);
        cluster_destroy_node(cluster, 1);
        cluster_destroy_node(cluster, 2);
        raft_index_t index;
        cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
        for (replica_id_t replica = 3; replica <= 5; replica++)
            cr_assert(cluster_run_until_committed(cluster, replica, index, 1000));
        cluster_free(cluster);
    }
}

/* Without a hand-over the others would wait for a whole election timeout. */
Test(raft_membership, a_leader_that_goes_leaves_no_gap)
{
    struct cluster_options options;
    cluster_options_default(&options);
    options.nodes_count = 3;
    struct cluster *cluster = cluster_new(&options);
    replica_id_t leader = cluster_run_until_leader(cluster, 5000);
    struct raft_configuration target = {0};
    for (replica_id_t replica = 1; replica <= 3; replica++) {
        if (replica != leader)
            add(&target, replica, true);
    }
    cluster_run_ms(cluster, 100); /* it has to hear from both */
    cr_assert_eq(cluster_propose_configuration(cluster, leader, &target), OST_OK);
    cr_assert(cluster_run_until_members(cluster, &target, 200));
    cluster_run_ms(cluster, 100);
    cr_assert_neq(cluster_leader(cluster), leader);
    cr_assert_neq(cluster_leader(cluster), 0);
    cluster_free(cluster);
}

static struct raft_configuration all_but(uint32_t nodes_count, replica_id_t removed)
{
    struct raft_configuration target = {0};
    for (replica_id_t replica = 1; replica <= nodes_count; replica++) {
        if (replica != removed)
            add(&target, replica, true);
    }
    return target;
}

Test(raft_membership, who_is_removed_learns_of_it_and_falls_silent)
{
    struct cluster_options options;
    cluster_options_default(&options);
    options.nodes_count = 4;
    struct cluster *cluster = cluster_new(&options);
    cr_assert_neq(cluster_run_until_leader(cluster, 5000), 0);
    replica_id_t removed = cluster_follower(cluster);
    struct raft_configuration target = all_but(4, removed);
    reach(cluster, &target, 1);
    cluster_run_ms(cluster, 200);
    cr_assert_null(
        raft_configuration_find(raft_get_configuration(cluster_raft(cluster, removed)), removed));
    uint64_t asked = cluster_messages_sent(cluster, RAFT_MSG_PRE_VOTE_REQUEST);
    cluster_run_ms(cluster, 20000);
    cr_assert_eq(cluster_messages_sent(cluster, RAFT_MSG_PRE_VOTE_REQUEST), asked);
    cluster_free(cluster);
}

/* It does not learn of its removal, and keeps asking for votes. */
Test(raft_membership, a_replica_that_was_removed_does_not_disturb)
{
    struct cluster_options options;
    cluster_options_default(&options);
    options.nodes_count = 4;
    struct cluster *cluster = cluster_new(&options);
    replica_id_t leader = cluster_run_until_leader(cluster, 5000);
    replica_id_t removed = cluster_follower(cluster);
    struct raft_configuration target = all_but(4, removed);
    cluster_isolate(cluster, removed);
    reach(cluster, &target, 1);
    cluster_run_ms(cluster, 11000); /* longer than the leader tells it */
    cluster_heal(cluster);
    raft_term_t term = cluster_status(cluster, leader).term;
    uint64_t asked = cluster_messages_sent(cluster, RAFT_MSG_PRE_VOTE_REQUEST);
    cluster_run_ms(cluster, 20000);
    cr_assert_gt(cluster_messages_sent(cluster, RAFT_MSG_PRE_VOTE_REQUEST), asked);
    cr_assert_eq(cluster_leader(cluster), leader);
    cr_assert_eq(cluster_status(cluster, leader).term, term);
    cluster_free(cluster);
}
