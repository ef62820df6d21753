/* raft_check_test.c: a good life passes, and each broken promise is named. */
#include "tests/check/raft_check.h"

#include <criterion/criterion.h>

static void observe(struct raft_check *check, replica_id_t replica_id, enum raft_check_role role,
                    raft_term_t term, replica_id_t vote, raft_index_t commit, raft_index_t last)
{
    raft_check_observe(check, &(struct raft_check_observation){.group_id = 1,
                                                               .replica_id = replica_id,
                                                               .role = role,
                                                               .term = term,
                                                               .vote = vote,
                                                               .commit_index = commit,
                                                               .applied_index = commit,
                                                               .last_index = last});
}

static void commit(struct raft_check *check, replica_id_t replica_id, raft_index_t index,
                   raft_term_t term, uint64_t hash)
{
    raft_check_committed(check, 1, replica_id,
                         &(struct raft_check_entry){.index = index, .term = term, .hash = hash});
}

/* Replica 1 leads term 2 and has committed indices 1 and 2; replica 2 knows of the first. */
static struct raft_check *begin(void)
{
    struct raft_check *check = raft_check_new();
    observe(check, 1, RAFT_CHECK_FOLLOWER, 1, 0, 0, 0);
    observe(check, 1, RAFT_CHECK_LEADER, 2, 1, 0, 1);
    raft_check_elected(check, &(struct raft_check_election){
                                  .group_id = 1, .replica_id = 1, .term = 2, .first_index = 1});
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 1, 0, 2);
    observe(check, 1, RAFT_CHECK_LEADER, 2, 1, 2, 2);
    commit(check, 1, 1, 2, 11);
    commit(check, 1, 2, 2, 12);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 1, 1, 2);
    commit(check, 2, 1, 2, 11);
    raft_check_applied(check, 1, 1, 1, 101);
    raft_check_applied(check, 1, 2, 1, 101);
    cr_assert_eq(raft_check_result(check)->verdict, CHECK_OK, "%s",
                 raft_check_result(check)->explanation);
    cr_assert_eq(raft_check_committed_index(check, 1), 2);
    return check;
}

static void end(struct raft_check *check, const char *name)
{
    const struct check_result *result = raft_check_result(check);
    cr_assert_eq(result->verdict, CHECK_VIOLATION);
    cr_assert_str_eq(result->name, name, "%s", result->explanation);
    cr_assert_eq(result->violations_count, 1);
    raft_check_free(check);
}

Test(raft_check, election_safety)
{
    struct raft_check *check = begin();
    observe(check, 2, RAFT_CHECK_LEADER, 2, 1, 1, 2);
    end(check, "election-safety");
}

Test(raft_check, a_term_does_not_fall_with_a_restart)
{
    struct raft_check *check = begin();
    raft_check_restarted(check, 1, 2);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 1, 0, 0, 2);
    end(check, "term-falls");
}

Test(raft_check, a_vote_does_not_change_with_a_restart)
{
    struct raft_check *check = begin();
    raft_check_restarted(check, 1, 2);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 0, 0, 2);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 3, 0, 2);
    end(check, "vote-changed");
}

Test(raft_check, a_commit_index_falls_only_with_a_restart)
{
    struct raft_check *check = begin();
    raft_check_restarted(check, 1, 2);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 1, 0, 2);
    cr_assert_eq(raft_check_result(check)->verdict, CHECK_OK);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 1, 2, 2);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 1, 1, 2);
    end(check, "commit-falls");
}

Test(raft_check, indices_are_in_order)
{
    struct raft_check *check = begin();
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 1, 3, 2);
    end(check, "index-order");
}

Test(raft_check, a_leader_cuts_its_log)
{
    struct raft_check *check = begin();
    observe(check, 1, RAFT_CHECK_LEADER, 2, 1, 2, 4);
    observe(check, 1, RAFT_CHECK_LEADER, 2, 1, 2, 3);
    end(check, "leader-appends-only");
}

Test(raft_check, a_leader_counts_entries_of_an_older_term)
{
    struct raft_check *check = begin();
    struct raft_check_observation now = {.group_id = 1,
                                         .replica_id = 2,
                                         .role = RAFT_CHECK_LEADER,
                                         .term = 3,
                                         .vote = 2,
                                         .commit_index = 1,
                                         .applied_index = 1,
                                         .last_index = 3};
    raft_check_observe(check, &now);
    now.commit_index = 2;
    now.commit_term = 2;
    raft_check_observe(check, &now);
    end(check, "older-term-counted");
}

Test(raft_check, another_entry_is_committed_at_an_index)
{
    struct raft_check *check = begin();
    commit(check, 2, 2, 2, 99);
    end(check, "log-matching");
}

Test(raft_check, terms_fall_along_the_log)
{
    struct raft_check *check = begin();
    commit(check, 1, 3, 1, 13);
    end(check, "term-order");
}

Test(raft_check, applied_prefixes_differ)
{
    struct raft_check *check = begin();
    raft_check_applied(check, 1, 1, 2, 102);
    raft_check_applied(check, 1, 2, 2, 103);
    end(check, "state-machine-safety");
}

Test(raft_check, a_destroyed_replica_comes_back)
{
    struct raft_check *check = begin();
    raft_check_destroyed(check, 1, 2);
    observe(check, 2, RAFT_CHECK_FOLLOWER, 2, 1, 1, 2);
    end(check, "replica-reused");
}

static bool log_of(void *context, raft_index_t index, struct raft_check_entry *out)
{
    const struct raft_check_entry *entries = context;
    *out = entries[index - 1];
    return out->index != 0;
}

static void elect(struct raft_check *check, raft_term_t term, raft_index_t last_index,
                  raft_term_t last_term, struct raft_check_entry *entries)
{
    raft_check_elected(check, &(struct raft_check_election){.group_id = 1,
                                                            .replica_id = 3,
                                                            .term = term,
                                                            .first_index = 1,
                                                            .last_index = last_index,
                                                            .last_term = last_term,
                                                            .log = entries ? log_of : NULL,
                                                            .context = entries});
}

Test(raft_check, a_leader_with_all_that_was_committed)
{
    struct raft_check *check = begin();
    elect(check, 3, 2, 2, (struct raft_check_entry[]){{1, 2, 11}, {2, 2, 12}});
    cr_assert_eq(raft_check_result(check)->verdict, CHECK_OK, "%s",
                 raft_check_result(check)->explanation);
    raft_check_free(check);
}

Test(raft_check, a_leader_with_too_short_a_log)
{
    struct raft_check *check = begin();
    elect(check, 3, 1, 2, NULL);
    end(check, "leader-completeness");
}

Test(raft_check, a_leader_with_another_entry)
{
    struct raft_check *check = begin();
    elect(check, 3, 2, 2, (struct raft_check_entry[]){{1, 2, 11}, {2, 2, 77}});
    end(check, "leader-completeness");
}

Test(raft_check, a_leader_with_a_hole)
{
    struct raft_check *check = begin();
    elect(check, 3, 3, 2, (struct raft_check_entry[]){{1, 2, 11}, {0, 0, 0}, {3, 2, 13}});
    end(check, "leader-completeness");
}

Test(raft_check, a_late_leader_of_an_earlier_term_need_not_hold_later_commits)
{
    struct raft_check *check = begin();
    observe(check, 4, RAFT_CHECK_LEADER, 5, 4, 2, 3);
    observe(check, 4, RAFT_CHECK_LEADER, 5, 4, 3, 3);
    commit(check, 4, 3, 5, 13);
    elect(check, 4, 2, 2, (struct raft_check_entry[]){{1, 2, 11}, {2, 2, 12}});
    cr_assert_eq(raft_check_result(check)->verdict, CHECK_OK, "%s",
                 raft_check_result(check)->explanation);
    elect(check, 6, 2, 2, (struct raft_check_entry[]){{1, 2, 11}, {2, 2, 12}});
    end(check, "leader-completeness");
}

Test(raft_check, groups_are_apart)
{
    struct raft_check *check = begin();
    raft_check_committed(check, 2, 1, &(struct raft_check_entry){.index = 1, .term = 9, .hash = 5});
    raft_check_applied(check, 2, 1, 1, 7);
    cr_assert_eq(raft_check_result(check)->verdict, CHECK_OK);
    raft_check_free(check);
}
