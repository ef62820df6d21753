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

static int propose(struct solo *solo, const struct raft_configuration *target)
{
    struct raft_event event = {.type = RAFT_EV_CONFIGURATION_PROPOSED};
    event.configure.target = target;
    int status = solo_step(solo, &event);
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
