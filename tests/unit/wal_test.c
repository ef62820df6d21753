/* The log on disk: what was written comes back, and what is needed no more goes. */
#include "tests/support/wal_disk.h"

#include <criterion/criterion.h>

TestSuite(wal, .timeout = 120);

Test(wal, gives_back_what_was_written)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    struct wal_group *two = wal_disk_claim(disk, 2);
    struct raft_entry entries[3] = {wal_disk_entry(1, 2, 10), wal_disk_entry(2, 2, 0),
                                    wal_disk_entry(3, 3, 99)};
    struct wal_unit_request request = {.persist_id = 7,
                                       .hard_state_changed = true,
                                       .term = 3,
                                       .vote = 9,
                                       .entries = entries,
                                       .entries_count = 3};
    wal_persist(disk->wal, one, &request);
    wal_disk_persist_hard_state(disk, two, 1, 5, 0);
    wal_disk_drain(disk);
    cr_assert_eq(disk->writes_count, 1, "both groups travel in one write");
    cr_assert_eq(disk->durable[1], 7);
    cr_assert_eq(disk->durable[2], 1);
    wal_disk_recover_undamaged(disk);

    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.replica, 101);
    cr_assert_eq(state.term, 3);
    cr_assert_eq(state.vote, 9);
    cr_assert_eq(state.last_index, 3);
    wal_disk_expect_entry(disk, 1, 1, 2, 10);
    wal_disk_expect_entry(disk, 1, 2, 2, 0);
    wal_disk_expect_entry(disk, 1, 3, 3, 99);
    cr_assert(wal_group_get(disk->wal, 2, &state));
    cr_assert_eq(state.term, 5);
    cr_assert_eq(state.last_index, 0);
    cr_assert_not(wal_group_get(disk->wal, 3, &state));
    for (int i = 0; i < 3; i++)
        blob_unref(entries[i].payload);
    wal_disk_free(disk);
}

Test(wal, an_empty_disk_is_an_empty_log)
{
    struct wal_disk *disk = wal_disk_new();
    wal_disk_recover_undamaged(disk);
    wal_disk_drain(disk); /* segments are made ahead, and stay empty */
    cr_assert_eq(wal_disk_segments_count(disk), 2);
    wal_disk_recover_undamaged(disk);
    wal_disk_drain(disk);
    cr_assert_eq(wal_disk_segments_count(disk), 2, "what was made ahead is used again");
    wal_disk_free(disk);
}

Test(wal, a_large_entry_travels_in_parts_between_others)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    struct wal_group *two = wal_disk_claim(disk, 2);
    wal_disk_persist_entry(disk, one, 1, 1, 1, 200000); /* over several segments */
    while (disk->writes_count == 0)
        cr_assert(wal_disk_step(disk, false));
    wal_disk_persist_entry(disk, two, 1, 1, 1, 50);
    while (disk->durable[2] == 0)
        cr_assert(wal_disk_step(disk, false));
    cr_assert_eq(disk->durable[1], 0, "the small one does not wait for the large one");
    wal_disk_drain(disk);
    cr_assert_eq(disk->durable[1], 1);
    cr_assert_gt(wal_disk_segments_count(disk), 3);
    wal_disk_recover_undamaged(disk);
    wal_disk_expect_entry(disk, 1, 1, 1, 200000);
    wal_disk_expect_entry(disk, 2, 1, 1, 50);
    wal_disk_free(disk);
}

Test(wal, a_write_begins_only_when_the_one_before_is_durable)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    wal_disk_persist_entry(disk, one, 1, 1, 1, 10);
    while (!disk->writing)
        cr_assert(wal_disk_step(disk, true));
    for (raft_index_t i = 2; i <= 10; i++)
        wal_disk_persist_entry(disk, one, i, i, 1, 10);
    while (wal_disk_step(disk, true))
        ;
    cr_assert_eq(disk->writes_count, 1);
    cr_assert_eq(disk->durable[1], 0);
    wal_disk_write_done(disk);
    cr_assert_eq(disk->durable[1], 1);
    while (wal_disk_step(disk, true))
        ;
    cr_assert_eq(disk->writes_count, 2, "what came meanwhile is one write");
    wal_disk_write_done(disk);
    cr_assert_eq(disk->durable[1], 10);
    wal_disk_free(disk);
}

Test(wal, later_entries_replace_earlier_ones)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    for (raft_index_t i = 1; i <= 10; i++)
        wal_disk_persist_entry(disk, one, i, i, 1, 100);
    wal_disk_drain(disk);
    wal_disk_persist_entry(disk, one, 11, 6, 2, 40);
    wal_disk_drain(disk);
    wal_disk_recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.last_index, 6);
    wal_disk_expect_entry(disk, 1, 5, 1, 100);
    wal_disk_expect_entry(disk, 1, 6, 2, 40);
    wal_disk_free(disk);
}

Test(wal, a_reset_forgets_and_a_cut_forgets_the_front)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    struct wal_group *two = wal_disk_claim(disk, 2);
    for (raft_index_t i = 1; i <= 10; i++) {
        wal_disk_persist_entry(disk, one, i, i, 1, 100);
        wal_disk_persist_entry(disk, two, i, i, 1, 100);
    }
    struct wal_unit_request reset = {
        .persist_id = 11, .log_reset = true, .reset_index = 50, .reset_term = 3};
    wal_persist(disk->wal, one, &reset);
    wal_disk_persist_entry(disk, one, 12, 51, 3, 10);
    wal_cut(disk->wal, two, 7);
    wal_disk_drain(disk);
    wal_disk_recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.begin_index, 50);
    cr_assert_eq(state.begin_term, 3);
    cr_assert_eq(state.last_index, 51);
    cr_assert_null(wal_group_entry(disk->wal, 1, 10));
    cr_assert(wal_group_get(disk->wal, 2, &state));
    cr_assert_eq(state.begin_index, 7);
    cr_assert_eq(state.begin_term, 1);
    cr_assert_null(wal_group_entry(disk->wal, 2, 7));
    wal_disk_expect_entry(disk, 2, 8, 1, 100);
    wal_disk_free(disk);
}

/* Whatever was queued, begun or written of it. The number stays when its segment goes, also while
 * the next one is claimed and has said nothing yet. */
Test(wal, what_was_destroyed_stays_destroyed)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    struct wal_group *two = wal_disk_claim(disk, 2);
    wal_disk_persist_hard_state(disk, one, 1, 5, 4);
    wal_disk_persist_entry(disk, one, 2, 1, 5, 100000);
    while (disk->writes_count < 2)
        cr_assert(wal_disk_step(disk, false));
    wal_disk_persist_hard_state(disk, one, 3, 6, 4);
    wal_destroy(disk->wal, 1, 101, &disk->durable[1], 4);
    wal_disk_drain(disk);
    cr_assert_eq(disk->durable[1], 4);
    struct wal_group_state state;
    for (int i = 0; i < 2; i++) {
        raft_index_t index = 0;
        uint32_t until = disk->last_segment + 12;
        if (i == 1)
            wal_group_claim(disk->wal, 1, 201, &disk->durable[1]);
        while (disk->last_segment < until) {
            index++;
            wal_disk_persist_entry(disk, two, index, index, (raft_term_t)i + 1, 9000);
            wal_cut(disk->wal, two, index - 1);
            wal_disk_drain(disk);
        }
        wal_disk_recover_undamaged(disk);
        cr_assert(wal_group_get(disk->wal, 1, &state));
        cr_assert_eq(state.destroyed, i == 0);
        cr_assert_eq(state.replica, i == 0 ? 101 : 201);
        cr_assert_eq(state.term, 0);
        cr_assert_eq(state.last_index, 0);
        two = wal_disk_claim(disk, 2);
        wal_persist(disk->wal, two, &(struct wal_unit_request){.log_reset = true});
    }
    wal_disk_free(disk);
}

Test(wal, a_unit_whose_last_part_is_missing_is_dropped_whole)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    wal_disk_persist_hard_state(disk, one, 1, 1, 1);
    wal_disk_drain(disk);
    struct raft_entry entries[2] = {wal_disk_entry(1, 2, 30000), wal_disk_entry(2, 2, 30000)};
    struct wal_unit_request request = {.persist_id = 2,
                                       .hard_state_changed = true,
                                       .term = 2,
                                       .vote = 3,
                                       .entries = entries,
                                       .entries_count = 2};
    wal_persist(disk->wal, one, &request);
    for (size_t i = 0; i < 2; i++)
        cr_assert(wal_disk_step(disk, false));
    cr_assert_eq(disk->durable[1], 1);
    wal_disk_recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.term, 1);
    cr_assert_eq(state.last_index, 0);
    one = wal_disk_claim(disk, 1);
    wal_persist(disk->wal, one, &request);
    wal_disk_drain(disk);
    wal_disk_recover_undamaged(disk);
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.term, 2);
    wal_disk_expect_entry(disk, 1, 2, 2, 30000);
    blob_unref(entries[0].payload);
    blob_unref(entries[1].payload);
    wal_disk_free(disk);
}

Test(wal, idle_groups_are_written_forward_so_that_segments_can_go)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *idle = wal_disk_claim(disk, 1);
    struct wal_group *busy = wal_disk_claim(disk, 2);
    wal_disk_persist_hard_state(disk, idle, 1, 6, 4);
    for (raft_index_t i = 1; i <= 5; i++)
        wal_disk_persist_entry(disk, idle, i + 1, i, 2, 100);
    wal_cut(disk->wal, idle, 2);
    for (raft_index_t i = 1; i <= 2000; i++) {
        wal_disk_persist_entry(disk, busy, i, i, 1, 3000);
        wal_disk_drain(disk);
        if (i % 20 == 0) {
            wal_cut(disk->wal, busy, i - 5);
            wal_maintain(disk->wal);
            wal_disk_drain(disk);
        }
        cr_assert_leq(wal_disk_segments_count(disk), 9, "after %lu", i);
    }
    cr_assert_null(disk->segments[1]);
    cr_assert_gt(disk->last_segment, 40);
    wal_disk_recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.term, 6);
    cr_assert_eq(state.vote, 4);
    cr_assert_eq(state.begin_index, 2);
    for (raft_index_t i = 3; i <= 5; i++)
        wal_disk_expect_entry(disk, 1, i, 2, 100);
    wal_disk_expect_entry(disk, 2, 2000, 1, 3000);
    wal_disk_free(disk);
}

Test(wal, what_was_written_forward_is_durable_before_its_segment_goes)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *idle = wal_disk_claim(disk, 1);
    struct wal_group *busy = wal_disk_claim(disk, 2);
    wal_disk_persist_hard_state(disk, idle, 1, 6, 4);
    raft_index_t index = 0;
    while (disk->segments[1] || index == 0) {
        index++;
        wal_disk_persist_entry(disk, busy, index, index, 1, 3000);
        wal_cut(disk->wal, busy, index - 1);
        while (wal_disk_step(disk, true)) {
            if (!disk->writing)
                continue;
            wal_maintain(disk->wal); /* as after a flush, which may come at any time */
            while (wal_disk_step(disk, true))
                ;
            /* A crash here loses the write: what is left must know the vote. */
            uint8_t saved[WAL_DISK_WRITE_BYTES];
            uint8_t *at = disk->segments[disk->last_segment] + disk->last_offset;
            memcpy(saved, at, disk->last_bytes_count);
            memset(at, 0, disk->last_bytes_count);
            struct wal_disk copy = *disk;
            copy.seed = 1000;
            wal_disk_wal_new(&copy);
            struct wal *made = copy.wal;
            for (uint32_t i = 0; i < WAL_DISK_SEGMENTS_MAX; i++) {
                if (disk->segments[i])
                    cr_assert_eq(wal_recover_segment(
                                     made, i, bytes_of(disk->segments[i], WAL_DISK_SEGMENT_BYTES),
                                     disk->why),
                                 OST_OK);
            }
            wal_recover_end(made, disk->why);
            cr_assert_eq(disk->why[0], 0, "%s", disk->why);
            struct wal_group_state state;
            if (disk->durable[1] == 1) {
                cr_assert(wal_group_get(made, 1, &state));
                cr_assert_eq(state.vote, 4);
            }
            wal_free(made);
            memcpy(at, saved, disk->last_bytes_count);
            wal_disk_write_done(disk);
        }
    }
    wal_disk_free(disk);
}

Test(wal, another_replica_of_a_group_begins_with_nothing)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    wal_disk_persist_hard_state(disk, one, 1, 6, 4);
    wal_disk_persist_entry(disk, one, 2, 1, 6, 10);
    wal_disk_drain(disk);
    wal_disk_recover_undamaged(disk);
    struct wal_group *other = wal_group_claim(disk->wal, 1, 999, &disk->durable[1]);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_not(state.hard_state_known);
    wal_disk_persist_hard_state(disk, other, 1, 1, 999);
    wal_disk_drain(disk);
    wal_disk_recover_undamaged(disk);
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.replica, 999);
    cr_assert_eq(state.term, 1);
    cr_assert_eq(state.last_index, 0);
    wal_disk_free(disk);
}
