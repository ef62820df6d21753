/* raft_persistence_test.c: what must be durable before what (R1). */
#include "tests/support/raft_cluster.h"
#include "tests/support/raft_solo.h"

#include <criterion/criterion.h>

Test(raft_persistence, a_group_of_one_commits_nothing_before_it_is_durable)
{
    struct solo solo;
    solo_init(&solo, 1);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_CANDIDATE, "its own vote is not durable yet");
    solo_persist_all(&solo);
    cr_assert_eq(solo_status(&solo).role, RAFT_LEADER);
    cr_assert_eq(solo.update.persist_first, 1);
    cr_assert_eq(solo.update.commit_index, 0);
    solo_persist_all(&solo);
    cr_assert_eq(solo.update.commit_index, 1);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.commit_index, 1);
    solo_persist_all(&solo);
    cr_assert_eq(solo.update.commit_index, 2);
    solo_fini(&solo);
}

Test(raft_persistence, a_leader_is_not_counted_until_its_own_write_is_durable)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(solo.update.commit_index, 0, "one of three");
    solo_persist_all(&solo);
    cr_assert_eq(solo.update.commit_index, 1);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    cr_assert_eq(solo.update.commit_index, 2, "its followers are a quorum without it");
    cr_assert_eq(solo.update.durable_index, 1, "but it may not apply that yet (R5)");
    solo_fini(&solo);
}

Test(raft_persistence, a_vote_waits_until_it_is_durable)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_message request = {.type = RAFT_MSG_VOTE_REQUEST, .from = 2, .term = 1};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert(solo.update.hard_state_changed);
    cr_assert_eq(solo.update.vote, 2);
    uint64_t persist_id = solo.update.persist_id;
    cr_assert_neq(persist_id, 0);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->after_persist_id, persist_id);
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->after_persist_id, persist_id,
                 "the repeated answer waits for the same write");
    solo_persist_all(&solo);
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2)->after_persist_id, 0);
    solo_fini(&solo);
}

Test(raft_persistence, a_refusal_in_a_new_term_waits_for_the_term)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 3, 2, 0, 0, (raft_term_t[]){2}, 1, 0), OST_OK);
    solo_persist_all(&solo);
    solo_wait_ms(&solo, 600);
    struct raft_message request = {.type = RAFT_MSG_VOTE_REQUEST, .from = 2, .term = 5};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    const struct raft_message *answer = solo_sent(&solo, RAFT_MSG_VOTE_ANSWER, 2);
    cr_assert(answer->rejected);
    cr_assert_eq(answer->after_persist_id, solo.update.persist_id);
    cr_assert_neq(answer->after_persist_id, 0);
    solo_fini(&solo);
}

Test(raft_persistence, a_candidate_asks_only_once_its_own_vote_is_durable)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    struct raft_message answer = {.type = RAFT_MSG_PRE_VOTE_ANSWER, .from = 2, .term = 1};
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_CANDIDATE);
    cr_assert_eq(solo.update.vote, 1);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_VOTE_REQUEST, 2)->after_persist_id,
                 solo.update.persist_id);
    answer.type = RAFT_MSG_VOTE_ANSWER;
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_CANDIDATE, "one vote and one that is not durable");
    solo_persist_all(&solo);
    cr_assert_eq(solo_status(&solo).role, RAFT_LEADER);
    solo_fini(&solo);
}

Test(raft_persistence, an_acknowledgement_waits_for_the_unit_that_holds_what_it_claims)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1}, 2, 0), OST_OK);
    uint64_t first_id = solo.update.persist_id;
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->after_persist_id, first_id);
    cr_assert_eq(solo_append(&solo, 2, 1, 2, 1, (raft_term_t[]){1}, 1, 0), OST_OK);
    uint64_t second_id = solo.update.persist_id;
    cr_assert_eq(second_id, first_id + 1);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->index, 3);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->after_persist_id, second_id);
    /* The first message comes again: nothing is to be written, and yet nothing is durable. */
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1}, 2, 0), OST_OK);
    cr_assert_eq(solo.update.persist_id, 0);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->index, 2);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->after_persist_id, first_id);
    solo_persisted(&solo, first_id);
    cr_assert_eq(solo.update.durable_index, 2);
    solo_fini(&solo);
}

Test(raft_persistence, an_answer_to_a_heartbeat_claims_what_is_durable_and_does_not_wait)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1}, 2, 0), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_append(&solo, 2, 1, 2, 1, (raft_term_t[]){1, 1}, 2, 0), OST_OK);
    cr_assert_eq(solo_append(&solo, 2, 1, 4, 1, NULL, 0, 4), OST_OK);
    const struct raft_message *answer = solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2);
    cr_assert_eq(answer->index, 2);
    cr_assert_eq(answer->after_persist_id, 0);
    cr_assert_eq(solo.update.commit_index, 4);
    cr_assert_eq(solo.update.durable_index, 2);
    solo_fini(&solo);
}

/* Entries 2 and 3 of term 1 are on their way to the disk when a leader of term 2 replaces them;
 * then a leader of term 3 brings the very same entries of term 1 back. The report of the first
 * write says nothing about them: the second, not yet done, is about to overwrite them on the disk.
 */
Test(raft_persistence, a_report_of_entries_that_were_replaced_and_came_back_is_void)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1, 1}, 3, 0), OST_OK);
    uint64_t first_id = solo.update.persist_id;
    cr_assert_eq(solo_append(&solo, 3, 2, 1, 1, (raft_term_t[]){2}, 1, 0), OST_OK);
    uint64_t second_id = solo.update.persist_id;
    cr_assert_eq(solo_append(&solo, 2, 3, 1, 1, (raft_term_t[]){1, 1}, 2, 0), OST_OK);
    uint64_t third_id = solo.update.persist_id;
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->after_persist_id, third_id);
    solo_persisted(&solo, first_id);
    cr_assert_eq(solo.update.durable_index, 1);
    solo_persisted(&solo, second_id);
    cr_assert_eq(solo.update.durable_index, 1);
    solo_persisted(&solo, third_id);
    cr_assert_eq(solo.update.durable_index, 3);
    solo_fini(&solo);
}

Test(raft_persistence, a_step_is_one_unit_term_and_entries_together)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK); /* in this turn, and not handed out */
    struct raft_message request = {.type = RAFT_MSG_VOTE_REQUEST, .from = 3, .term = 8};
    request.forced = true;
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert(solo.update.hard_state_changed);
    cr_assert_eq(solo.update.term, 8);
    cr_assert_eq(solo.update.persist_first, 2);
    cr_assert_eq(solo.update.persist_last, 2);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.persist_id, 0);
    solo_fini(&solo);
}

/* All disks hang; nothing may be committed, and no leader elected, until one comes back. */
Test(raft_persistence, hung_disks_commit_nothing)
{
    struct cluster_options options;
    cluster_options_default(&options);
    struct cluster *cluster = cluster_new(&options);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    raft_index_t index;
    cluster_run_ms(cluster, 100);
    for (replica_id_t node = 1; node <= 3; node++) {
        if (node != leader)
            cluster_disk_hold(cluster, node, true);
    }
    raft_index_t committed_index = cluster_committed_index(cluster);
    cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
    cluster_run_ms(cluster, 5000);
    cr_assert_eq(cluster_committed_index(cluster), committed_index);
    cr_assert_eq(cluster_leader(cluster), leader, "followers with slow disks still hear it");
    cluster_heal(cluster);
    cr_assert(cluster_run_until_committed(cluster, leader, index, 1500));
    cluster_free(cluster);
}

Test(raft_persistence, a_restart_finds_term_vote_and_log)
{
    struct cluster_options options;
    cluster_options_default(&options);
    struct cluster *cluster = cluster_new(&options);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    raft_index_t index = 0;
    for (int i = 0; i < 20; i++)
        cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
    cr_assert(cluster_run_until_committed(cluster, leader, index, 1000));
    for (replica_id_t node = 1; node <= 3; node++)
        cluster_crash(cluster, node);
    for (replica_id_t node = 1; node <= 3; node++)
        cluster_restart(cluster, node);
    leader = cluster_run_until_leader(cluster, 5000);
    cr_assert_neq(leader, 0);
    cr_assert(cluster_status(cluster, leader).commit_index > index);
    cluster_free(cluster);
}
