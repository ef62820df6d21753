#include "raft/raft_log.h"

#include <criterion/criterion.h>

static void append(struct raft_log *log, raft_term_t term, size_t payload_bytes)
{
    struct blob *payload = payload_bytes ? blob_new(payload_bytes) : NULL;
    raft_log_append(log, &(struct raft_entry){
                             .index = raft_log_last_index(log) + 1,
                             .term = term,
                             .log_timestamp = 10 * term,
                             .type = RAFT_ENTRY_COMMAND,
                             .payload = payload,
                         });
    blob_unref(payload);
}

Test(raft_log, begins_empty_after_its_base)
{
    struct raft_log log;
    raft_term_t term = 99;
    raft_log_init(&log, 7, 3, 30);
    cr_assert_eq(raft_log_first_index(&log), 8);
    cr_assert_eq(raft_log_last_index(&log), 7);
    cr_assert_eq(raft_log_last_term(&log), 3);
    cr_assert_eq(raft_log_last_timestamp(&log), 30);
    cr_assert(raft_log_term(&log, 7, &term) && term == 3);
    cr_assert_not(raft_log_term(&log, 6, &term));
    cr_assert_not(raft_log_term(&log, 8, &term));
    cr_assert_null(raft_log_get(&log, 7));
    raft_log_fini(&log);
}

Test(raft_log, holds_a_reference_of_each_payload_until_it_is_dropped)
{
    struct raft_log log;
    struct blob *payload = blob_new(5);
    raft_log_init(&log, 0, 0, 0);
    for (raft_index_t index = 1; index <= 3; index++)
        raft_log_append(
            &log, &(struct raft_entry){
                      .index = index, .term = 1, .type = RAFT_ENTRY_COMMAND, .payload = payload});
    cr_assert_eq(payload->refs_count, 4);
    raft_log_truncate(&log, 3);
    cr_assert_eq(payload->refs_count, 3);
    raft_log_cut(&log, 1);
    cr_assert_eq(payload->refs_count, 2);
    raft_log_fini(&log);
    cr_assert_eq(payload->refs_count, 1);
    blob_unref(payload);
}

Test(raft_log, counts_bytes_in_and_out)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0, 0);
    append(&log, 1, 100);
    append(&log, 1, 0);
    append(&log, 2, 11);
    cr_assert_eq(log.bytes_count, 111 + 3 * sizeof(struct raft_entry));
    cr_assert_eq(raft_log_payload_bytes(&log, 2, 3), 11);
    raft_log_cut(&log, 1);
    cr_assert_eq(log.bytes_count, 11 + 2 * sizeof(struct raft_entry));
    raft_log_reset(&log, 9, 4, 40);
    cr_assert_eq(log.bytes_count, 0);
    cr_assert_eq(raft_log_first_index(&log), 10);
    raft_log_fini(&log);
}

Test(raft_log, keeps_the_base_when_it_is_cut_empty)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0, 0);
    append(&log, 1, 1);
    append(&log, 4, 1);
    raft_log_cut(&log, 2);
    cr_assert_eq(raft_log_last_index(&log), 2);
    cr_assert_eq(raft_log_last_term(&log), 4);
    cr_assert_eq(raft_log_last_timestamp(&log), 40);
    raft_log_cut(&log, 1); /* nothing is left to cut there */
    cr_assert_eq(raft_log_first_index(&log), 3);
    append(&log, 4, 1);
    cr_assert_eq(raft_log_get(&log, 3)->index, 3);
    raft_log_fini(&log);
}

/* A message points at a stretch of the log, so entries must stand side by side however the log was
 * cut and grown. */
Test(raft_log, stays_one_run_over_many_appends_and_cuts)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0, 0);
    for (int i = 0; i < 20000; i++) {
        append(&log, 1 + (raft_term_t)i / 100, 3);
        if (i % 7 == 0 && log.entries_count > 5)
            raft_log_cut(&log, raft_log_first_index(&log) + (raft_index_t)(i % 5));
        if (i == 15000)
            raft_log_cut(&log, raft_log_last_index(&log));
        const struct raft_entry *run = raft_log_get(&log, raft_log_first_index(&log));
        for (size_t j = 0; run && j < log.entries_count; j += 97)
            cr_assert_eq(run[j].index, raft_log_first_index(&log) + j);
    }
    raft_log_fini(&log);
}

Test(raft_log, judges_which_log_is_newer)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0, 0);
    append(&log, 1, 0);
    append(&log, 3, 0);
    cr_assert(raft_log_is_up_to_date(&log, 1, 4), "a later term wins, however short the log");
    cr_assert(raft_log_is_up_to_date(&log, 2, 3));
    cr_assert_not(raft_log_is_up_to_date(&log, 1, 3));
    cr_assert_not(raft_log_is_up_to_date(&log, 100, 2));
    raft_log_fini(&log);
}

Test(raft_log, finds_where_two_logs_may_agree)
{
    static const raft_term_t terms[] = {1, 1, 2, 2, 2, 5, 5};
    struct raft_log log;
    raft_log_init(&log, 0, 0, 0);
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        append(&log, terms[i], 0);
    cr_assert_eq(raft_log_find_conflict(&log, 7, 5), 7);
    cr_assert_eq(raft_log_find_conflict(&log, 7, 4), 5);
    cr_assert_eq(raft_log_find_conflict(&log, 4, 2), 4);
    cr_assert_eq(raft_log_find_conflict(&log, 7, 1), 2);
    cr_assert_eq(raft_log_find_conflict(&log, 7, 0), 0);
    cr_assert_eq(raft_log_find_conflict(&log, 99, 9), 7);
    raft_log_cut(&log, 3);
    cr_assert_eq(raft_log_find_conflict(&log, 7, 1), 2, "even the base is too new");
    cr_assert_eq(raft_log_find_conflict(&log, 1, 1), 1, "below the base nothing is known");
    raft_log_fini(&log);
}
