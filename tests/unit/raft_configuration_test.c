/* raft_configuration_test.c: members, quorums of two configurations at a time, and entries that
 * bring a configuration. */
#include "raft/raft_internal.h"
#include "tests/support/raft_cluster.h"
#include "tests/support/raft_solo.h"

#include <criterion/criterion.h>

static void add(struct raft_configuration *configuration, replica_id_t replica, bool voter_old,
                bool voter_new)
{
    configuration->members[configuration->members_count++] = (struct raft_member){
        .replica = replica, .store = 100 + replica, .voter_old = voter_old, .voter_new = voter_new};
}

static int propose(struct solo *solo, const struct raft_configuration *configuration)
{
    struct raft_event event = {.type = RAFT_EV_PROPOSED};
    event.propose.entry_type = RAFT_ENTRY_CONFIGURATION;
    event.propose.payload = raft_configuration_pack(configuration);
    int status = solo_step(solo, &event);
    blob_unref(event.propose.payload);
    if (status == OST_OK)
        cr_assert_eq(solo_event(solo, RAFT_EV_TURN_ENDED), OST_OK);
    return status;
}

Test(raft_configuration, is_packed_and_unpacked)
{
    struct raft_configuration configuration = {0}, back;
    add(&configuration, 1, true, true);
    add(&configuration, 2, true, false);
    add(&configuration, 300, false, true);
    add(&configuration, 4, false, false);
    struct blob *blob = raft_configuration_pack(&configuration);
    cr_assert(raft_configuration_unpack(blob_bytes(blob), &back));
    cr_assert_eq(back.members_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(back.members[i].replica, configuration.members[i].replica);
        cr_assert_eq(back.members[i].store, configuration.members[i].store);
        cr_assert_eq(back.members[i].voter_old, configuration.members[i].voter_old);
        cr_assert_eq(back.members[i].voter_new, configuration.members[i].voter_new);
    }
    cr_assert(raft_configuration_is_joint(&back));
    cr_assert_null(raft_configuration_find(&back, 3));
    blob->data[0] = 0xff;
    cr_assert_not(raft_configuration_unpack(blob_bytes(blob), &back));
    blob_unref(blob);
}

Test(raft_configuration, breaks_no_limit)
{
    struct raft_configuration configuration = {0}, back;
    for (replica_id_t replica = 1; replica <= REPLICAS_PER_GROUP_MAX + 1; replica++)
        add(&configuration, replica, true, true);
    struct blob *blob = raft_configuration_pack(&configuration);
    cr_assert_not(raft_configuration_unpack(blob_bytes(blob), &back), "too many voters");
    blob_unref(blob);
    configuration.members_count = 0;
    add(&configuration, 1, true, true);
    add(&configuration, 1, true, true);
    blob = raft_configuration_pack(&configuration);
    cr_assert_not(raft_configuration_unpack(blob_bytes(blob), &back), "one member twice");
    blob_unref(blob);
}

Test(raft_configuration, a_joint_quorum_is_a_majority_of_each)
{
    struct raft_configuration configuration = {0};
    add(&configuration, 1, true, true);
    add(&configuration, 2, true, false);
    add(&configuration, 3, true, false);
    add(&configuration, 4, false, true);
    add(&configuration, 5, false, true);
    add(&configuration, 6, false, false);
    cr_assert_not(raft_configuration_has_quorum(&configuration, 0x07), "1 2 3: all of the old");
    cr_assert_not(raft_configuration_has_quorum(&configuration, 0x19), "1 4 5: all of the new");
    cr_assert(raft_configuration_has_quorum(&configuration, 0x0b), "1 2 4");
    cr_assert_not(raft_configuration_has_quorum(&configuration, 0x30 | 0x02), "a learner is none");
    configuration.members_count = 0;
    cr_assert_not(raft_configuration_has_quorum(&configuration, ~0u));
}

Test(raft_configuration, is_changed_one_at_a_time_and_after_a_commit_of_the_own_term)
{
    struct solo solo;
    struct raft_configuration next;
    solo_init(&solo, 3);
    cluster_configuration(3, &next);
    add(&next, 4, false, false);
    solo_lead(&solo);
    cr_assert_eq(propose(&solo, &next), OST_NOT_READY);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(propose(&solo, &next), OST_OK);
    cr_assert_eq(raft_configuration_index(solo.raft), 2, "in force once appended");
    cr_assert_eq(propose(&solo, &next), OST_CONFLICT);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(propose(&solo, &next), OST_OK);
    next.members_count = 0;
    add(&next, 1, false, false);
    cr_assert_eq(propose(&solo, &next), OST_INVALID_ARGUMENT, "nobody could lead");
    solo_fini(&solo);
}

Test(raft_configuration, a_learner_gets_entries_and_has_no_voice)
{
    struct solo solo;
    struct raft_configuration next;
    solo_init(&solo, 2);
    cluster_configuration(2, &next);
    add(&next, 3, false, false);
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(propose(&solo, &next), OST_OK);
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2));
    solo_persist_all(&solo);
    solo_wait_ms(&solo, 50);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 3));
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    cr_assert_eq(solo.update.commit_index, 1);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo.update.commit_index, 2);
    solo_fini(&solo);
}

Test(raft_configuration, a_joint_one_commits_with_both_majorities)
{
    struct solo solo;
    struct raft_configuration joint = {0};
    solo_init(&solo, 3);
    add(&joint, 1, true, true);
    add(&joint, 2, true, false);
    add(&joint, 3, true, false);
    add(&joint, 4, false, true);
    add(&joint, 5, false, true);
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(propose(&solo, &joint), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    cr_assert_eq(solo.update.commit_index, 1, "all of the old, one of the new");
    cr_assert_eq(solo_answer(&solo, 5, 2), OST_OK);
    cr_assert_eq(solo.update.commit_index, 2);
    solo_fini(&solo);
}

Test(raft_configuration, what_is_truncated_is_out_of_force)
{
    struct solo solo;
    struct raft_configuration next;
    solo_init(&solo, 3);
    cluster_configuration(3, &next);
    add(&next, 4, false, false);
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(propose(&solo, &next), OST_OK);
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 4);
    cr_assert_eq(solo_append(&solo, 3, 2, 1, 1, NULL, 0, 1), OST_OK);
    cr_assert_eq(raft_configuration_index(solo.raft), 2, "it is still in the log");
    struct raft_entry entry = {
        .index = 2, .term = 2, .log_timestamp = 9, .type = RAFT_ENTRY_TERM_OPENING};
    struct raft_message request = {.type = RAFT_MSG_APPEND_REQUEST,
                                   .from = 3,
                                   .term = 2,
                                   .index = 1,
                                   .index_term = 1,
                                   .entries = &entry,
                                   .entries_count = 1};
    cr_assert_eq(solo_receive(&solo, &request), OST_OK);
    cr_assert_eq(raft_configuration_index(solo.raft), 0);
    cr_assert_eq(raft_get_configuration(solo.raft)->members_count, 3);
    solo_fini(&solo);
}

Test(raft_configuration, one_that_does_not_parse_is_refused_whole)
{
    struct solo solo;
    solo_init(&solo, 3);
    struct raft_entry entries[2] = {
        {.index = 1, .term = 1, .type = RAFT_ENTRY_TERM_OPENING},
        {.index = 2, .term = 1, .type = RAFT_ENTRY_CONFIGURATION},
    };
    entries[1].payload = blob_copy(bytes_of_string("no configuration"));
    struct raft_message request = {.type = RAFT_MSG_APPEND_REQUEST,
                                   .from = 3,
                                   .term = 1,
                                   .entries = entries,
                                   .entries_count = 2};
    cr_assert_eq(solo_receive(&solo, &request), OST_PROTOCOL);
    cr_assert_eq(solo_status(&solo).last_index, 0);
    cr_assert_eq(solo_status(&solo).term, 0);
    blob_unref(entries[1].payload);
    solo_fini(&solo);
}

/* The entry that leaves it out is in its log alone. The other has the older log and cannot win; so
 * it leads once more, without a vote of its own, commits the entry, and is out. */
Test(raft_configuration, who_is_left_out_stands_until_that_is_committed)
{
    struct solo solo;
    struct raft_configuration next = {0};
    solo_init(&solo, 2);
    add(&next, 2, true, true);
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 1), OST_OK);
    cr_assert_eq(propose(&solo, &next), OST_OK);
    solo_persist_all(&solo);
    cr_assert_eq(solo.update.commit_index, 1, "it counts no more");
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    solo_wait_ms(&solo, 1001);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_PRE_CANDIDATE, "its own vote does not do");
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_PRE_VOTE_REQUEST, 2));
    solo_lead(&solo);
    solo_persist_all(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo.update.commit_index, 3);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    solo_wait_ms(&solo, 2000);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TIMER_FIRED), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER, "and now it is out");
    solo_fini(&solo);
}

static void commit_configuration(struct cluster *cluster,
                                 const struct raft_configuration *configuration)
{
    raft_index_t index;
    replica_id_t leader = cluster_run_until_leader(cluster, 5000);
    cr_assert_neq(leader, 0);
    cr_assert_eq(cluster_propose_configuration(cluster, leader, configuration, &index), OST_OK);
    cr_assert(cluster_run_until_committed(cluster, leader, index, 3000));
}

/* A whole move: 1 2 3, then 4 and 5 as learners, then both sets, then 3 4 5. The leader may be
 * among those that go, and steps down once the last configuration is committed. */
Test(raft_configuration, a_group_moves_from_some_stores_to_others_under_load)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster_options options;
        struct raft_configuration configuration;
        cluster_options_default(&options);
        options.seed = seed;
        options.nodes_count = 5;
        options.voters_count = 3;
        struct cluster *cluster = cluster_new(&options);
        cr_assert_neq(cluster_run_until_leader(cluster, 5000), 0);
        for (int i = 0; i < 30; i++)
            cr_assert_eq(cluster_propose(cluster, cluster_leader(cluster), NULL), OST_OK);

        cluster_configuration(3, &configuration);
        add(&configuration, 4, false, false);
        add(&configuration, 5, false, false);
        commit_configuration(cluster, &configuration);
        configuration.members_count = 0;
        add(&configuration, 1, true, false);
        add(&configuration, 2, true, false);
        add(&configuration, 3, true, true);
        add(&configuration, 4, false, true);
        add(&configuration, 5, false, true);
        commit_configuration(cluster, &configuration);
        configuration.members_count = 0;
        for (replica_id_t replica = 3; replica <= 5; replica++)
            add(&configuration, replica, true, true);
        commit_configuration(cluster, &configuration);

        cluster_run_ms(cluster, 3000);
        replica_id_t leader = cluster_leader(cluster);
        cr_assert(leader >= 3, "seed %lu: %lu leads", (unsigned long)seed, (unsigned long)leader);
        cluster_crash(cluster, 1);
        cluster_crash(cluster, 2);
        raft_index_t index;
        cr_assert_eq(cluster_propose(cluster, leader, &index), OST_OK);
        for (replica_id_t replica = 3; replica <= 5; replica++)
            cr_assert(cluster_run_until_committed(cluster, replica, index, 1000));
        cluster_free(cluster);
    }
}

/* It does not learn of its removal, and keeps asking for votes. */
Test(raft_configuration, a_replica_that_was_removed_does_not_disturb)
{
    struct cluster_options options;
    struct raft_configuration configuration = {0};
    cluster_options_default(&options);
    options.nodes_count = 4;
    struct cluster *cluster = cluster_new(&options);
    replica_id_t leader = cluster_run_until_leader(cluster, 5000);
    replica_id_t removed = cluster_follower(cluster);
    cluster_isolate(cluster, removed);
    for (replica_id_t replica = 1; replica <= 4; replica++) {
        if (replica != removed)
            add(&configuration, replica, true, true);
    }
    commit_configuration(cluster, &configuration);
    cluster_heal(cluster);
    raft_term_t term = cluster_status(cluster, leader).term;
    cluster_run_ms(cluster, 20000);
    cr_assert_eq(cluster_leader(cluster), leader);
    cr_assert_eq(cluster_status(cluster, leader).term, term);
    cluster_free(cluster);
}
