/* raft_read_test.c: ReadIndex (R3). */
#include "tests/support/raft_cluster.h"
#include "tests/support/raft_solo.h"

#include <criterion/criterion.h>

static int solo_echo(struct solo *solo, replica_id_t from, uint64_t round)
{
    struct raft_message answer = {.type = RAFT_MSG_APPEND_ANSWER,
                                  .from = from,
                                  .term = solo_status(solo).term,
                                  .index = 1,
                                  .read_round = round};
    return solo_receive(solo, &answer);
}

static void solo_lead_and_commit(struct solo *solo, uint32_t voters_count)
{
    solo_init(solo, voters_count);
    solo_lead(solo);
    solo_persist_all(solo);
    for (replica_id_t from = 2; from <= voters_count; from++)
        cr_assert_eq(solo_answer(solo, from, 1), OST_OK);
    cr_assert_eq(solo_status(solo).commit_index, 1);
}

Test(raft_read, all_reads_of_a_turn_share_a_round)
{
    struct solo solo;
    solo_lead_and_commit(&solo, 3);
    for (uint64_t id = 1; id <= 3; id++) {
        cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
        cr_assert_eq(solo.update.read_id, id);
        cr_assert_eq(solo.update.messages_count, 0);
    }
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.messages_count, 2);
    uint64_t round = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->read_round;
    cr_assert_eq(solo_echo(&solo, 3, round - 1), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 0, "an older echo says nothing");
    cr_assert_eq(solo_echo(&solo, 2, round), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 3);
    cr_assert_eq(solo.update.reads_confirmed_index, 1);
    cr_assert_eq(solo_echo(&solo, 3, round), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 0, "once");
    solo_fini(&solo);
}

/* The read came after the round's messages had left: their echoes may be older than the read. */
Test(raft_read, a_read_that_comes_later_has_a_round_of_its_own)
{
    struct solo solo;
    solo_lead_and_commit(&solo, 3);
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    uint64_t round = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->read_round;
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo_echo(&solo, 2, round), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 1);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->read_round, round + 1);
    cr_assert_eq(solo_echo(&solo, 2, round), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 0);
    cr_assert_eq(solo_echo(&solo, 3, round + 1), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 2);
    solo_fini(&solo);
}

Test(raft_read, a_new_leader_does_not_know_what_is_committed)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1}, 2, 0), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_NOT_LEADER);
    solo_lead(&solo); /* term 2; entries 1 and 2 may be committed, and read by somebody */
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.messages_count, 0, "no round before its opening entry is committed");
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo.update.commit_index, 3);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    uint64_t round = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->read_round;
    cr_assert_eq(solo_echo(&solo, 2, round), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 1);
    cr_assert_eq(solo.update.reads_confirmed_index, 3, "and it needs that entry");
    solo_fini(&solo);
}

Test(raft_read, a_round_travels_with_the_entries_of_its_turn)
{
    struct solo solo;
    solo_lead_and_commit(&solo, 3);
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.messages_count, 2);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 1);
    cr_assert_neq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->read_round, 0);
    solo_fini(&solo);
}

Test(raft_read, a_lost_round_is_confirmed_by_the_next_heartbeat)
{
    struct solo solo;
    solo_lead_and_commit(&solo, 3);
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    solo_wait_ms(&solo, 50);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    uint64_t round = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3)->read_round;
    cr_assert_eq(solo_echo(&solo, 3, round), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 1);
    solo_fini(&solo);
}

Test(raft_read, a_deposed_leader_fails_its_reads_and_uses_no_round_again)
{
    struct solo solo;
    solo_lead_and_commit(&solo, 3);
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    uint64_t round = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->read_round;
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    struct raft_message request = {.type = RAFT_MSG_VOTE_REQUEST, .from = 3, .term = 8};
    request.forced = true;
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert_eq(solo.update.reads_failed_id, 2);
    solo_persist_all(&solo);
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo.update.read_id, 3);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->read_round > round);
    /* An echo from the term before comes late. */
    struct raft_message late = {.type = RAFT_MSG_APPEND_ANSWER, .from = 2, .term = 1};
    late.read_round = 99;
    cr_assert_eq(solo_receive(&solo, &late), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 0);
    solo_fini(&solo);
}

Test(raft_read, a_group_of_one_confirms_at_the_end_of_the_turn)
{
    struct solo solo;
    solo_init(&solo, 1);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 0);
    solo_persist_all(&solo);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 1);
    cr_assert_eq(solo.update.reads_confirmed_index, 1);
    solo_fini(&solo);
}

Test(raft_read, a_follower_echoes_only_its_own_leader)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_message request = {.type = RAFT_MSG_APPEND_REQUEST, .from = 2, .term = 4};
    request.read_round = 17;
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->read_round, 17);
    request.term = 3;
    request.from = 3;
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 3)->read_round, 0);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 3)->term, 4);
    solo_fini(&solo);
}

/* The old leader is cut off, and does not know it. The new one takes writes. What was asked of the
 * old one must not be answered. */
Test(raft_read, a_leader_that_was_cut_off_confirms_nothing)
{
    struct cluster_options options;
    cluster_options_default(&options);
    struct cluster *cluster = cluster_new(&options);
    replica_id_t old = cluster_run_until_leader(cluster, 3000);
    uint64_t read_id;
    raft_index_t index;
    cluster_run_ms(cluster, 200);
    cluster_isolate(cluster, old);
    cr_assert_eq(cluster_read(cluster, old, &read_id), OST_OK);
    cluster_turn_ended(cluster, old);
    replica_id_t leader = 0;
    for (int i = 0; i < 100 && (leader == 0 || leader == old); i++) {
        cluster_run_ms(cluster, 50);
        leader = cluster_leader(cluster);
    }
    cr_assert(leader != 0 && leader != old);
    cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
    cr_assert(cluster_run_until_committed(cluster, leader, index, 1000));
    cluster_heal(cluster);
    cluster_run_ms(cluster, 3000);
    cr_assert_eq(cluster_reads_confirmed(cluster, old), 0);
    cr_assert_eq(cluster_reads_failed(cluster, old), read_id);
    cluster_free(cluster);
}

/* Each read round sends to everybody; it must not put off the timer by which what was lost on the
 * way is found. */
Test(raft_read, reads_do_not_keep_a_leader_from_sending_again_what_was_lost)
{
    struct solo solo;
    solo_lead_and_commit(&solo, 3);
    cr_assert_eq(solo_propose(&solo, "lost"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 1);
    solo_persist_all(&solo);
    bool is_sent_again = false;
    for (int step = 0; step < 400 && !is_sent_again; step++) {
        solo_wait_ms(&solo, 10);
        if (solo.now_ns >= solo.update.deadline_ns)
            cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
        for (uint32_t place = 0; place < solo.update.messages_count; place++)
            is_sent_again = is_sent_again || solo.update.messages[place].entries_count > 0;
        cr_assert_eq(solo_event(&solo, RAFT_EV_READ_REQUESTED), OST_OK);
        cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
        const struct raft_message *sent = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2);
        uint64_t round = sent ? sent->read_round : 0;
        cr_assert_eq(solo_echo(&solo, 2, round), OST_OK);
        cr_assert_eq(solo_echo(&solo, 3, round), OST_OK);
    }
    cr_assert(is_sent_again);
    solo_fini(&solo);
}
