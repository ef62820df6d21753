/* raft_figure8_test.c: section 5.4.2 and figure 8 of the paper, told from S1, replica 1 of five. */
#include "tests/support/raft_solo.h"

#include <criterion/criterion.h>

/* (a) S1 leads in term 2 and replicates its entry at index 2 to some.
 * (b) It crashes; S5 leads in term 3 with an entry of its own at index 2.
 * (c) S1 leads again, in term 4, and goes on replicating the entry of term 2. */
static void until_c(struct solo *solo)
{
    solo_init(solo, 5);
    cr_assert_eq(solo_append(solo, 2, 1, 0, 0, (raft_term_t[]){1}, 1, 1), OST_OK);
    solo_persist_all(solo);
    solo_lead(solo);
    cr_assert_eq(raft_log_entry(solo->raft, 2)->term, 2);
    solo_persist_all(solo);
    cr_assert_eq(solo_answer(solo, 2, 2), OST_OK);
    struct raft_message request = {
        .type = RAFT_MSG_VOTE_REQUEST, .from = 5, .term = 3, .index = 1, .index_term = 1};
    request.forced = true;
    cr_assert_eq(solo_receive(solo, &request), OST_OK);
    cr_assert_eq(solo_status(solo).role, RAFT_FOLLOWER);
    solo_persist_all(solo);
    solo_lead(solo);
    cr_assert_eq(solo_status(solo).term, 4);
    cr_assert_eq(raft_log_entry(solo->raft, 3)->term, 4);
    solo_persist_all(solo);
}

Test(raft_figure8, an_entry_of_an_earlier_term_is_not_committed_by_counting)
{
    struct solo solo;
    until_c(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    cr_assert_eq(solo.update.commit_index, 1, "index 2 is on three of five, and not committed");
    solo_fini(&solo);
}

Test(raft_figure8, d_it_can_still_be_overwritten)
{
    struct solo solo;
    until_c(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 2), OST_OK);
    cr_assert_eq(solo_answer(&solo, 3, 2), OST_OK);
    cr_assert_eq(solo_append(&solo, 5, 5, 1, 1, (raft_term_t[]){3, 5}, 2, 3), OST_OK);
    cr_assert_eq(raft_log_entry(solo.raft, 2)->term, 3);
    cr_assert_eq(solo.update.commit_index, 3);
    solo_fini(&solo);
}

Test(raft_figure8, e_an_entry_of_the_own_term_commits_what_is_before_it)
{
    struct solo solo;
    until_c(&solo);
    cr_assert_eq(solo_answer(&solo, 2, 3), OST_OK);
    cr_assert_eq(solo.update.commit_index, 1);
    cr_assert_eq(solo_answer(&solo, 3, 3), OST_OK);
    cr_assert_eq(solo.update.commit_index, 3);
    solo_fini(&solo);
}
