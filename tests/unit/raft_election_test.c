#include "tests/support/raft_cluster.h"
#include "tests/support/raft_solo.h"

#include <criterion/criterion.h>

static struct cluster *cluster_of(uint32_t nodes_count, uint64_t seed)
{
    struct cluster_options options;
    cluster_options_default(&options);
    options.nodes_count = nodes_count;
    options.seed = seed;
    return cluster_new(&options);
}

Test(raft_election, three_replicas_elect_one_and_keep_it)
{
    struct cluster *cluster = cluster_of(3, 1);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    cr_assert_neq(leader, 0);
    raft_term_t term = cluster_status(cluster, leader).term;
    cluster_run_ms(cluster, 20000);
    cr_assert_eq(cluster_leader(cluster), leader);
    for (replica_id_t node = 1; node <= 3; node++) {
        cr_assert_eq(cluster_status(cluster, node).term, term);
        cr_assert_eq(cluster_status(cluster, node).leader, leader);
        cr_assert_eq(cluster_status(cluster, node).leader_store, 100 + leader);
    }
    cluster_free(cluster);
}

Test(raft_election, a_crashed_leader_is_replaced_and_follows_when_it_is_back)
{
    struct cluster *cluster = cluster_of(3, 2);
    replica_id_t first = cluster_run_until_leader(cluster, 3000);
    cluster_crash(cluster, first);
    replica_id_t second = cluster_run_until_leader(cluster, 5000);
    cr_assert(second != 0 && second != first);
    cluster_restart(cluster, first);
    cluster_run_ms(cluster, 3000);
    cr_assert_eq(cluster_leader(cluster), second);
    cr_assert_eq(cluster_status(cluster, first).role, RAFT_FOLLOWER);
    cluster_free(cluster);
}

/* Check-quorum without pre-vote would let the lone replica disturb; pre-vote without check-quorum
 * would let a lone leader stay. */
Test(raft_election, a_replica_that_was_cut_off_comes_back_without_an_election)
{
    struct cluster *cluster = cluster_of(3, 3);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    replica_id_t lone = cluster_follower(cluster);
    raft_term_t term = cluster_status(cluster, leader).term;
    cluster_isolate(cluster, lone);
    cluster_run_ms(cluster, 20000);
    cr_assert_eq(cluster_status(cluster, lone).term, term, "a pre-vote raises no term");
    cluster_heal(cluster);
    cluster_run_ms(cluster, 3000);
    cr_assert_eq(cluster_leader(cluster), leader);
    cr_assert_eq(cluster_status(cluster, leader).term, term);
    cluster_free(cluster);
}

Test(raft_election, a_leader_without_a_quorum_steps_down)
{
    struct cluster *cluster = cluster_of(3, 4);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    raft_term_t term = cluster_status(cluster, leader).term;
    cluster_isolate(cluster, leader);
    cluster_run_ms(cluster, 1200);
    struct raft_status status = cluster_status(cluster, leader);
    cr_assert_neq(status.role, RAFT_LEADER);
    cr_assert_eq(status.term, term);
    cr_assert_eq(status.leader, 0);
    cluster_free(cluster);
}

/* It hears nobody, and all hear it. The others must not be kept from work by it. */
Test(raft_election, a_leader_that_is_deaf_gives_way)
{
    struct cluster *cluster = cluster_of(3, 5);
    replica_id_t deaf = cluster_run_until_leader(cluster, 3000);
    for (replica_id_t node = 1; node <= 3; node++)
        cluster_link_cut(cluster, node, deaf, true);
    cluster_run_ms(cluster, 5000);
    replica_id_t leader = cluster_leader(cluster);
    cr_assert(leader != 0 && leader != deaf);
    raft_index_t index;
    cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
    cr_assert(cluster_run_until_committed(cluster, leader, index, 1000));
    cluster_free(cluster);
}

/* A partial partition: A - B - C with A and C apart. C does not hear the leader A, B does. */
Test(raft_election, a_replica_behind_a_partial_partition_does_not_disturb)
{
    struct cluster *cluster = cluster_of(3, 6);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    replica_id_t apart = cluster_follower(cluster);
    raft_term_t term = cluster_status(cluster, leader).term;
    cluster_link_cut(cluster, leader, apart, true);
    cluster_link_cut(cluster, apart, leader, true);
    cluster_run_ms(cluster, 20000);
    cr_assert_eq(cluster_leader(cluster), leader);
    cr_assert_eq(cluster_status(cluster, leader).term, term);
    cluster_free(cluster);
}

Test(raft_election, leadership_is_handed_over_without_waiting_for_a_timeout)
{
    struct cluster *cluster = cluster_of(3, 7);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    replica_id_t target = cluster_follower(cluster);
    raft_index_t index;
    cluster_run_ms(cluster, 100);
    cr_assert_eq(cluster_propose_in_turn(cluster, leader, &index), OST_OK);
    struct raft_event event = {.type = RAFT_EV_TRANSFER, .transfer_to = target};
    cr_assert_eq(cluster_step(cluster, leader, &event), OST_OK);
    cr_assert_eq(cluster_propose(cluster, leader, NULL), OST_NOT_READY);
    cluster_run_ms(cluster, 50);
    cr_assert_eq(cluster_leader(cluster), target, "it stands although all hear the old leader");
    cr_assert(cluster_run_until_committed(cluster, target, index, 100));
    cluster_free(cluster);
}

Test(raft_election, a_hand_over_to_a_dead_replica_is_abandoned)
{
    struct cluster *cluster = cluster_of(3, 8);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    replica_id_t target = cluster_follower(cluster);
    cluster_crash(cluster, target);
    struct raft_event event = {.type = RAFT_EV_TRANSFER, .transfer_to = target};
    cr_assert_eq(cluster_step(cluster, leader, &event), OST_OK);
    cr_assert_eq(cluster_propose(cluster, leader, NULL), OST_NOT_READY);
    cluster_run_ms(cluster, 1100);
    cr_assert_eq(cluster_leader(cluster), leader);
    cr_assert_eq(cluster_propose(cluster, leader, NULL), OST_OK);
    cluster_free(cluster);
}

/* Whoever asks keeps asking: the group must get on all the same. */
Test(raft_election, a_hand_over_that_is_asked_for_again_ends_in_time)
{
    struct cluster *cluster = cluster_of(3, 8);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    replica_id_t target = cluster_follower(cluster);
    cluster_crash(cluster, target);
    uint32_t taken_count = 0;
    for (int round = 0; round < 10; round++) {
        struct raft_event event = {.type = RAFT_EV_TRANSFER, .transfer_to = target};
        taken_count += cluster_propose(cluster, leader, NULL) == OST_OK;
        cr_assert_eq(cluster_step(cluster, leader, &event), OST_OK);
        cluster_run_ms(cluster, 400);
    }
    cr_assert_geq(taken_count, 3);
    cluster_free(cluster);
}

Test(raft_election, a_leader_with_a_hung_disk_steps_down_and_does_not_stand)
{
    struct cluster *cluster = cluster_of(3, 9);
    replica_id_t slow = cluster_run_until_leader(cluster, 3000);
    struct raft_event event = {.type = RAFT_EV_STORAGE_SLOW, .slow = true};
    raft_term_t term = cluster_status(cluster, slow).term;
    (void)cluster_step(cluster, slow, &event);
    cr_assert_eq(cluster_status(cluster, slow).role, RAFT_FOLLOWER);
    cr_assert_eq(cluster_status(cluster, slow).term, term);
    for (int i = 0; i < 5; i++) {
        replica_id_t leader = cluster_run_until_leader(cluster, 5000);
        cr_assert(leader != 0 && leader != slow);
        struct raft_event hand_over = {.type = RAFT_EV_TRANSFER, .transfer_to = slow};
        (void)cluster_step(cluster, leader, &hand_over);
        cluster_run_ms(cluster, 2000);
        cr_assert_neq(cluster_leader(cluster), slow);
    }
    event.slow = false;
    (void)cluster_step(cluster, slow, &event);
    struct raft_event hand_over = {.type = RAFT_EV_TRANSFER, .transfer_to = slow};
    (void)cluster_step(cluster, cluster_leader(cluster), &hand_over);
    cluster_run_ms(cluster, 500);
    cr_assert_eq(cluster_leader(cluster), slow);
    cluster_free(cluster);
}

/* Rules of single messages. */

static struct raft_message request(enum raft_message_type type, raft_term_t term,
                                   raft_index_t index, raft_term_t index_term)
{
    return (struct raft_message){
        .type = type, .from = 2, .term = term, .index = index, .index_term = index_term};
}

Test(raft_election, one_vote_a_term)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_message message = request(RAFT_MSG_VOTE_REQUEST, 1, 0, 0);
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert_not(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->rejected);
    message.from = 3;
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 3)->rejected);
    message.from = 2; /* its request came twice */
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert_not(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->rejected);
    solo_fini(&solo);
}

Test(raft_election, no_vote_for_an_older_log)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 3, 2, 0, 0, (raft_term_t[]){1, 2}, 2, 0), OST_OK);
    solo_wait_ms(&solo, 600); /* the leader is not heard any more */
    struct raft_message message = request(RAFT_MSG_PRE_VOTE_REQUEST, 3, 5, 1);
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_PRE_VOTE_ANSWER, 2)->rejected);
    message.type = RAFT_MSG_VOTE_REQUEST;
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->rejected);
    message = request(RAFT_MSG_VOTE_REQUEST, 4, 2, 2);
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert_not(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->rejected);
    solo_fini(&solo);
}

Test(raft_election, who_hears_a_leader_helps_nobody_against_it)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 3, 1, 0, 0, NULL, 0, 0), OST_OK);
    solo_wait_ms(&solo, 499);
    struct raft_message message = request(RAFT_MSG_PRE_VOTE_REQUEST, 2, 9, 1);
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_PRE_VOTE_ANSWER, 2)->rejected);
    message.type = RAFT_MSG_VOTE_REQUEST;
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2));
    cr_assert_eq(solo_status(&solo).term, 1, "a request that is disregarded raises no term");
    message.forced = true; /* a hand-over is the leader's own wish */
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert_not(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->rejected);
    cr_assert_eq(solo_status(&solo).term, 2);
    solo_fini(&solo);
}

Test(raft_election, a_pre_vote_changes_nothing_at_the_voter)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_message message = request(RAFT_MSG_PRE_VOTE_REQUEST, 9, 0, 0);
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    const struct raft_message *answer = solo_sent(&solo, RAFT_MSG_PRE_VOTE_ANSWER, 2);
    cr_assert_not(answer->rejected);
    cr_assert_eq(answer->term, 9);
    cr_assert_eq(answer->after_persist_id, 0);
    cr_assert_eq(solo.update.persist_id, 0);
    cr_assert_eq(solo_status(&solo).term, 0);
    message.from = 3; /* and it can be given to many */
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert_not(solo_sent(&solo, RAFT_MSG_PRE_VOTE_ANSWER, 3)->rejected);
    solo_fini(&solo);
}

Test(raft_election, a_rejected_pre_vote_of_a_later_term_moves_a_lagging_replica_on)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_PRE_CANDIDATE);
    struct raft_message answer = {
        .type = RAFT_MSG_PRE_VOTE_ANSWER, .from = 3, .term = 7, .rejected = true};
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    cr_assert_eq(solo_status(&solo).term, 7);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    cr_assert(solo.update.hard_state_changed);
    solo_fini(&solo);
}

Test(raft_election, timeouts_are_drawn_from_the_whole_interval)
{
    nanoseconds_t shortest = NS_NEVER, longest = 0;
    struct solo solo;
    solo_init(&solo, 3);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0), OST_OK);
        nanoseconds_t timeout = solo.update.deadline_ns - solo.now_ns;
        shortest = timeout < shortest ? timeout : shortest;
        longest = timeout > longest ? timeout : longest;
    }
    cr_assert(shortest >= 500 * NS_PER_MS && shortest < 510 * NS_PER_MS);
    cr_assert(longest <= 1000 * NS_PER_MS && longest > 990 * NS_PER_MS);
    solo_fini(&solo);
}

Test(raft_election, messages_that_no_member_sends_are_refused)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, NULL, 0, 0), OST_PROTOCOL, "two leaders");
    cr_assert_eq(solo_answer(&solo, 2, 99), OST_PROTOCOL, "more than was ever sent");
    cr_assert_eq(solo_append(&solo, 2, 5, 0, 0, (raft_term_t[]){6}, 1, 0), OST_PROTOCOL,
                 "an entry of a later term than its leader's");
    cr_assert_eq(solo_append(&solo, 2, 5, 0, 0, (raft_term_t[]){4, 3}, 2, 0), OST_PROTOCOL);
    cr_assert_eq(solo_status(&solo).role, RAFT_LEADER, "what is refused changes nothing");
    cr_assert_eq(solo_status(&solo).term, 1);
    solo_fini(&solo);
}
