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

/* The leader side. */

Test(raft_replication, a_turn_is_one_unit_and_one_append_for_each_follower)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 1), OST_OK);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
        cr_assert_eq(solo.update.proposed_index, 2 + (raft_index_t)i);
        cr_assert_eq(solo.update.messages_count, 0);
        cr_assert_eq(solo.update.persist_id, 0);
    }
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(solo.update.messages_count, 0, "an answer in the middle does not break the batch");
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.persist_first, 2);
    cr_assert_eq(solo.update.persist_last, 6);
    cr_assert_eq(solo.update.messages_count, 2);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 5);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3)->after_persist_id, 0,
                 "the leader writes while its followers do");
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.messages_count, 0);
    cr_assert_eq(solo.update.persist_id, 0);
    solo_fini(&solo);
}

static void solo_init_narrow(struct solo *solo)
{
    struct raft_snapshot_meta meta = {0};
    solo_init(solo, 3);
    raft_free(solo->raft);
    solo->options.message_bytes_max = 10;
    solo->options.inflight_messages_max = 3;
    solo->options.inflight_bytes_max = 25;
    cluster_configuration(3, &meta.configuration);
    solo->raft = raft_new(&solo->options, &meta, 0, 0, NULL, 0, 0, solo->now_ns);
}

Test(raft_replication, messages_and_window_keep_to_their_limits)
{
    struct solo solo;
    solo_init_narrow(&solo);
    solo_lead(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(solo_propose(&solo, "4444"), OST_OK);
    cr_assert_eq(solo_propose(&solo, "larger than a whole message"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    /* Indexes 2..11 of four bytes: two to a message, three messages to the window. */
    cr_assert_eq(solo.update.messages_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(solo.update.messages[i].index, 1 + 2 * i);
        cr_assert_eq(solo.update.messages[i].entries_count, 2);
    }
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo.update.messages_count, 1, "room for one more");
    cr_assert_eq(solo.update.messages[0].index, 7);
    cr_assert_eq(solo_answer(&solo, 2, 9), OST_OK);
    cr_assert_eq(solo.update.messages_count, 2);
    cr_assert_eq(solo.update.messages[1].entries_count, 1, "the large one goes alone");
    solo_fini(&solo);
}

Test(raft_replication, a_probe_is_sent_once_and_then_asked_after_with_heartbeats)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 1);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 0));
    solo_wait_ms(&solo, 50);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 0);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->index, 0);
    cr_assert_eq(solo_answer(&solo, 2, 0), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 2);
    solo_fini(&solo);
}

Test(raft_replication, heartbeats_go_to_who_got_nothing_else)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 1), OST_OK);
    solo_wait_ms(&solo, 49);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo.update.messages_count, 0, "early is harmless");
    cr_assert_eq(solo.update.deadline_ns, solo.now_ns + NS_PER_MS);
    solo_wait_ms(&solo, 1);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo.update.messages_count, 2);
    cr_assert_eq(solo.update.messages[0].commit_index, 1);
    cr_assert_eq(solo.update.deadline_ns, solo.now_ns + 50 * NS_PER_MS);
    solo_fini(&solo);
}

/* The follower said where its log may agree; the leader looks in its own for the same. One round
 * trip for a term, not one for an entry. */
Test(raft_replication, a_diverged_follower_is_found_in_one_step_a_term)
{
    struct solo solo;
    solo_init(&solo, 3);
    const raft_term_t terms[] = {1, 1, 1, 3, 3, 3, 3, 3};
    cr_assert_eq(solo_append(&solo, 2, 3, 0, 0, terms, 8, 0), OST_OK);
    solo_persist_all(&solo);
    solo_lead(&solo); /* term 4, its opening entry is 9 */
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->index, 8);
    struct raft_message answer = {.type = RAFT_MSG_APPEND_ANSWER,
                                  .from = 2,
                                  .term = 4,
                                  .index = 8,
                                  .rejected = true,
                                  .reject_hint_index = 8,
                                  .reject_hint_term = 2};
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    const struct raft_message *probe = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2);
    cr_assert_eq(probe->index, 3, "all of term 3 is skipped");
    cr_assert_eq(probe->index_term, 1);
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2), "the same rejection again");
    cr_assert_eq(solo_answer(&solo, 2, 9), OST_OK);
    answer.index = 4;
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2), "it was overtaken");
    solo_fini(&solo);
}

Test(raft_replication, a_gap_in_the_pipeline_sends_it_back_to_what_is_acknowledged)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
        cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
        cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->index, 1 + (raft_index_t)i);
    }
    struct raft_message answer = {.type = RAFT_MSG_APPEND_ANSWER,
                                  .from = 2,
                                  .term = 1,
                                  .index = 2,
                                  .rejected = true,
                                  .reject_hint_index = 1,
                                  .reject_hint_term = 1};
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->index, 1);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 3);
    answer.index = 3; /* the next of the pipeline is rejected too */
    cr_assert_eq(solo_receive(&solo, &answer), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2));
    solo_fini(&solo);
}

Test(raft_replication, a_broken_connection_makes_its_followers_be_asked_again)
{
    struct solo solo;
    solo_init(&solo, 3);
    solo_lead(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    struct raft_event reset = {.type = RAFT_EV_PEER_RESET, .peer_store = 102};
    cr_assert_eq(solo_step(&solo, &reset), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->index, 1);
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2)->entries_count, 1);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3));
    solo_fini(&solo);
}

Test(raft_replication, a_lost_append_heals_although_nothing_else_is_sent)
{
    struct cluster *cluster = cluster_of(3, 1);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    raft_index_t index;
    cluster_run_ms(cluster, 200);
    for (replica_id_t to = 1; to <= 3; to++)
        cluster_link_cut(cluster, leader, to, true);
    cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
    for (replica_id_t to = 1; to <= 3; to++)
        cluster_link_cut(cluster, leader, to, false);
    cr_assert(cluster_run_until_committed(cluster, leader, index, 1200));
    cr_assert_eq(cluster_leader(cluster), leader);
    cluster_free(cluster);
}

Test(raft_replication, entries_are_stamped_with_the_highest_time_heard)
{
    struct solo solo;
    solo_init(&solo, 1);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    solo_persist_all(&solo);
    const timestamp_t heard[] = {50, 40, 60};
    const timestamp_t stamped[] = {50, 50, 60};
    for (int i = 0; i < 3; i++) {
        struct raft_event event = {.type = RAFT_EV_PROPOSED};
        event.propose.entry_type = RAFT_ENTRY_COMMAND;
        event.propose.heard_timestamp = heard[i];
        cr_assert_eq(solo_step(&solo, &event), OST_OK);
        cr_assert_eq(solo_status(&solo).last_log_timestamp, stamped[i]);
    }
    solo_fini(&solo);
}

Test(raft_replication, a_log_that_nothing_of_is_committed_fills_up)
{
    struct solo solo;
    solo_init(&solo, 3);
    raft_free(solo.raft);
    struct raft_snapshot_meta meta = {0};
    cluster_configuration(3, &meta.configuration);
    solo.options.uncommitted_bytes_max = 10;
    solo.raft = raft_new(&solo.options, &meta, 0, 0, NULL, 0, 0, solo.now_ns);
    cr_assert_eq(solo_propose(&solo, "x"), OST_NOT_LEADER);
    solo_lead(&solo);
    cr_assert_eq(solo_propose(&solo, "12345678"), OST_OK);
    cr_assert_eq(solo_propose(&solo, "123"), OST_LOG_FULL);
    cr_assert_eq(solo_status(&solo).last_index, 2);
    cr_assert_eq(solo_propose(&solo, "12"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo.update.commit_index, 3);
    cr_assert_eq(solo_propose(&solo, "one that is larger than all"), OST_OK, "it stands alone");
    solo_fini(&solo);
}

/* The follower side. */

Test(raft_replication, an_append_that_was_overtaken_shortens_nothing)
{
    struct solo solo;
    solo_init(&solo, 3);
    const raft_term_t terms[] = {1, 1, 1, 1};
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, terms, 4, 0), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, terms, 2, 0), OST_OK);
    cr_assert_eq(solo_status(&solo).last_index, 4);
    cr_assert_eq(solo.update.persist_id, 0, "nothing has changed");
    const struct raft_message *answer = solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2);
    cr_assert_eq(answer->index, 2);
    cr_assert_eq(answer->after_persist_id, 0);
    solo_fini(&solo);
}

Test(raft_replication, a_conflict_replaces_the_suffix)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1, 1, 1}, 4, 1), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_append(&solo, 3, 2, 1, 1, (raft_term_t[]){1, 2}, 2, 1), OST_OK);
    cr_assert_eq(solo_status(&solo).last_index, 3);
    cr_assert_eq(raft_log_entry(solo.raft, 2)->term, 1);
    cr_assert_eq(raft_log_entry(solo.raft, 3)->term, 2);
    cr_assert_eq(solo_status(&solo).durable_index, 2, "the rest of the old log counts no more");
    cr_assert_eq(solo.update.persist_first, 3);
    cr_assert_eq(solo.update.persist_last, 3);
    cr_assert(solo.update.hard_state_changed, "and the term is in the same unit");
    solo_fini(&solo);
}

Test(raft_replication, a_gap_is_rejected_with_a_hint)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 3, 0, 0, (raft_term_t[]){1, 1, 2, 2, 3}, 5, 1), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_append(&solo, 3, 4, 9, 4, NULL, 0, 9), OST_OK);
    const struct raft_message *answer = solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 3);
    cr_assert(answer->rejected);
    cr_assert_eq(answer->index, 9);
    cr_assert_eq(answer->reject_hint_index, 5);
    cr_assert_eq(answer->reject_hint_term, 3);
    cr_assert_eq(solo_append(&solo, 3, 4, 5, 1, NULL, 0, 5), OST_OK);
    answer = solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 3);
    cr_assert(answer->rejected);
    cr_assert_eq(answer->reject_hint_index, 2, "the leader has only term 1 there");
    cr_assert_eq(answer->reject_hint_term, 1);
    cr_assert_eq(solo_status(&solo).commit_index, 1);
    solo_fini(&solo);
}

Test(raft_replication, a_follower_commits_what_this_message_has_matched_and_no_more)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1, 1}, 3, 0), OST_OK);
    solo_persist_all(&solo);
    /* Entry 3 may differ from what the new leader has committed at 3. */
    cr_assert_eq(solo_append(&solo, 3, 2, 2, 1, NULL, 0, 3), OST_OK);
    cr_assert_eq(solo.update.commit_index, 2);
    cr_assert_eq(solo_append(&solo, 3, 2, 2, 1, (raft_term_t[]){2}, 1, 3), OST_OK);
    cr_assert_eq(solo.update.commit_index, 3);
    cr_assert_eq(raft_log_entry(solo.raft, 3)->term, 2);
    cr_assert_eq(solo_append(&solo, 3, 2, 0, 0, (raft_term_t[]){1}, 1, 1), OST_OK);
    cr_assert_eq(solo.update.commit_index, 3, "it never goes back");
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 3)->index, 3,
                 "what is committed matches every leader to come,");
    cr_assert_eq(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 3)->after_persist_id,
                 solo.persist_id_last, "and is claimed once it is durable");
    solo_fini(&solo);
}

/* Logs that were cut. */

Test(raft_replication, a_follower_that_is_behind_the_cut_gets_a_snapshot_and_goes_on)
{
    struct cluster *cluster = cluster_of(3, 2);
    replica_id_t leader = cluster_run_until_leader(cluster, 3000);
    replica_id_t behind = cluster_follower(cluster);
    raft_index_t index = 0;
    cluster_crash(cluster, behind);
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
        cluster_run_ms(cluster, 10);
    }
    cr_assert_eq(raft_needed_index(cluster_raft(cluster, leader), 100, cluster_now_ns(cluster)),
                 cluster_status(cluster, leader).last_index + 1, "the dead one does not count");
    cluster_run_ms(cluster, 1000);
    cluster_cut_log(cluster, leader);
    cr_assert_eq(cluster_status(cluster, leader).first_index, index + 1);
    cr_assert_eq(cluster_snapshots_sent(cluster), 0, "nobody is there to take it");
    cluster_restart(cluster, behind);
    cr_assert(cluster_run_until_committed(cluster, behind, index, 2000));
    cr_assert_eq(cluster_snapshots_sent(cluster), 1);
    cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
    cr_assert(cluster_run_until_committed(cluster, behind, index, 200));
    cluster_free(cluster);
}

static int solo_install(struct solo *solo, raft_index_t index, raft_term_t term)
{
    struct raft_snapshot_meta meta = {.index = index, .term = term, .log_timestamp = 5000};
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_INSTALLED};
    cluster_configuration(3, &meta.configuration);
    event.snapshot.term = solo_status(solo).term;
    event.snapshot.from = 2;
    event.snapshot.meta = &meta;
    return solo_step(solo, &event);
}

Test(raft_replication, a_snapshot_of_what_the_log_lacks_replaces_it)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 2, 0, 0, (raft_term_t[]){1, 1, 1}, 3, 1), OST_OK);
    cr_assert_eq(solo_install(&solo, 9, 2), OST_OK);
    cr_assert(solo.update.log_reset);
    cr_assert_eq(solo.update.reset_index, 9);
    cr_assert_eq(solo.update.reset_term, 2);
    cr_assert_eq(solo.update.persist_first, 0);
    cr_assert_eq(solo.update.commit_index, 9);
    const struct raft_message *answer = solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2);
    cr_assert_eq(answer->index, 9);
    cr_assert_eq(answer->after_persist_id, solo.update.persist_id);
    cr_assert_eq(solo_status(&solo).first_index, 10);
    cr_assert_eq(solo_install(&solo, 9, 2), OST_CONFLICT, "and once is enough");
    solo_persist_all(&solo);
    cr_assert_eq(solo_append(&solo, 2, 2, 9, 2, NULL, 0, 9), OST_OK);
    cr_assert_not(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 2)->rejected);
    solo_fini(&solo);
}

/* What follows the snapshot may have been acknowledged, and be committed by that. */
Test(raft_replication, a_snapshot_of_what_the_log_has_leaves_the_rest_in_place)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1, 1, 1, 1}, 5, 1), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_install(&solo, 3, 1), OST_OK);
    cr_assert_eq(solo_status(&solo).last_index, 5);
    cr_assert_eq(solo_status(&solo).durable_index, 5);
    cr_assert_eq(solo.update.persist_id, 0, "the log on disk is good as it is");

    cr_assert_eq(solo_append(&solo, 2, 1, 5, 1, (raft_term_t[]){1, 1, 1}, 3, 3), OST_OK);
    cr_assert_eq(solo_install(&solo, 7, 1), OST_OK);
    cr_assert(solo.update.log_reset, "the log on disk may end before the snapshot");
    cr_assert_eq(solo.update.persist_first, 8, "so that it begins anew with what is kept");
    cr_assert_eq(solo.update.persist_last, 8);
    cr_assert_eq(solo_status(&solo).durable_index, 7);
    solo_persist_all(&solo);
    cr_assert_eq(solo_status(&solo).durable_index, 8);
    solo_fini(&solo);
}

Test(raft_replication, an_offer_is_refused_by_who_has_as_much)
{
    struct solo solo;
    struct raft_snapshot_meta meta = {.index = 3, .term = 1};
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_OFFERED};
    solo_init(&solo, 3);
    cluster_configuration(3, &meta.configuration);
    event.snapshot.meta = &meta;
    event.snapshot.from = 3;
    event.snapshot.term = 2;
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1, 1}, 3, 1), OST_OK);
    cr_assert_eq(solo_step(&solo, &event), OST_CONFLICT);
    cr_assert_eq(solo_status(&solo).term, 1, "a refusal changes nothing");
    meta.index = 4;
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    cr_assert_eq(solo_status(&solo).term, 2);
    cr_assert_eq(solo_status(&solo).leader, 3);
    event.snapshot.term = 1;
    cr_assert_eq(solo_step(&solo, &event), OST_CONFLICT, "its leader is deposed");
    solo_fini(&solo);
}

Test(raft_replication, only_what_is_committed_and_durable_may_be_cut)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 1, 0, 0, (raft_term_t[]){1, 1, 1}, 3, 2), OST_OK);
    struct raft_event event = {.type = RAFT_EV_LOG_CUT, .cut_index = 2};
    cr_assert_eq(solo_step(&solo, &event), OST_INVALID_ARGUMENT, "it is not durable");
    solo_persist_all(&solo);
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    event.cut_index = 3;
    cr_assert_eq(solo_step(&solo, &event), OST_INVALID_ARGUMENT, "it is not committed");
    cr_assert_eq(solo_status(&solo).first_index, 3);
    solo_fini(&solo);
}

/* Lies: no correct leader says any of this, and none of it may stop the process. */

Test(raft_replication, an_append_that_contradicts_what_is_committed_is_refused)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 2, 0, 0, (raft_term_t[]){1, 1, 2, 2}, 4, 3), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_append(&solo, 3, 3, 1, 1, (raft_term_t[]){3}, 1, 1), OST_PROTOCOL);
    cr_assert_eq(solo_append(&solo, 3, 3, 0, 0, (raft_term_t[]){1, 3}, 2, 0), OST_PROTOCOL);
    cr_assert_eq(solo_status(&solo).term, 2, "nothing has changed");
    cr_assert_eq(solo_status(&solo).last_index, 4);
    /* An old leader's is no lie: it is told of the new term. */
    cr_assert_eq(solo_append(&solo, 3, 1, 2, 1, (raft_term_t[]){1}, 1, 1), OST_OK);
    cr_assert(solo_sent(&solo, RAFT_MSG_APPEND_ANSWER, 3)->rejected);
    solo_fini(&solo);
}

Test(raft_replication, an_append_whose_terms_fall_behind_what_is_committed_is_refused)
{
    struct solo solo;
    solo_init(&solo, 3);
    cr_assert_eq(solo_append(&solo, 2, 3, 0, 0, (raft_term_t[]){3, 3}, 2, 2), OST_OK);
    solo_persist_all(&solo);
    /* It begins at what is committed, with another term, and goes on with a lower one. */
    cr_assert_eq(solo_append(&solo, 3, 4, 2, 1, (raft_term_t[]){1}, 1, 2), OST_PROTOCOL);
    struct raft_event cut = {.type = RAFT_EV_LOG_CUT, .cut_index = 2};
    cr_assert_eq(solo_step(&solo, &cut), OST_OK);
    cr_assert_eq(solo_append(&solo, 3, 4, 2, 1, (raft_term_t[]){1}, 1, 2), OST_PROTOCOL);
    cr_assert_eq(solo_append(&solo, 3, 4, 0, 0, (raft_term_t[]){1, 1, 1}, 3, 2), OST_PROTOCOL);
    cr_assert_eq(solo_status(&solo).last_index, 2);
    solo_fini(&solo);
}

Test(raft_replication, an_append_whose_timestamps_fall_behind_the_log_is_refused)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_entry entries[] = {
        {.index = 1, .term = 1, .type = RAFT_ENTRY_COMMAND, .log_timestamp = 10},
        {.index = 2, .term = 1, .type = RAFT_ENTRY_COMMAND, .log_timestamp = 20},
        {.index = 3, .term = 1, .type = RAFT_ENTRY_COMMAND, .log_timestamp = 15},
    };
    struct raft_message message = {.type = RAFT_MSG_APPEND_REQUEST,
                                   .from = 2,
                                   .to = 1,
                                   .term = 1,
                                   .commit_index = 2,
                                   .entries = entries,
                                   .entries_count = 2};
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    solo_persist_all(&solo);
    struct raft_event cut = {.type = RAFT_EV_LOG_CUT, .cut_index = 2};
    cr_assert_eq(solo_step(&solo, &cut), OST_OK);
    message.index = 2;
    message.index_term = 1;
    message.entries = &entries[2];
    message.entries_count = 1;
    cr_assert_eq(solo_receive(&solo, &message), OST_PROTOCOL);
    entries[2].log_timestamp = 20;
    cr_assert_eq(solo_receive(&solo, &message), OST_OK);
    cr_assert_eq(solo_status(&solo).last_index, 3);
    solo_fini(&solo);
}
