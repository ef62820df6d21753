/* The simulator's checkers of configurations, elections and starts, fed with replicas as their
 * disks have them. */
#include "base/status.h"
#include "tests/sim/configuration_check.h"
#include "tests/sim/durable_check.h"
#include "tests/sim/election_check.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* "123": voters; "123-124": joint. */
static struct raft_configuration configuration_of(const char *text)
{
    struct raft_configuration configuration = {0};
    const char *later = strchr(text, '-');
    for (replica_id_t replica = 1; replica <= 9; replica++) {
        const char *first = strchr(text, (int)('0' + replica));
        const char *last = strrchr(text, (int)('0' + replica));
        struct raft_member member = {.replica = replica, .store = replica};
        member.voter_old = first && (!later || first < later);
        member.voter_new = last && (!later || last > later);
        if (first)
            configuration.members[configuration.members_count++] = member;
    }
    return configuration;
}

/* Replica 1 of group 1. Its state machine holds the configuration `first` of index 0 and what is
 * applied; entries 1.. of its log are of `term` and hold `later`, until NULL. */
struct replica {
    struct host_group group;
    struct raft_status status;
};

static void replica_begin(struct replica *replica, replica_id_t id, raft_index_t applied_index,
                          raft_term_t term, const char *first, const char *const *later)
{
    struct raft_options options;
    raft_options_default(&options);
    options.replica = id;
    struct raft_snapshot_meta meta = {.index = applied_index,
                                      .term = applied_index ? term : 0,
                                      .configuration = configuration_of(first)};
    struct raft_entry entries[4];
    size_t count = 0;
    for (; later && later[count]; count++) {
        struct raft_configuration configuration = configuration_of(later[count]);
        entries[count] = (struct raft_entry){.index = applied_index + 1 + count,
                                             .term = term,
                                             .type = RAFT_ENTRY_CONFIGURATION,
                                             .payload = raft_configuration_pack(&configuration)};
    }
    *replica = (struct replica){.group = {.group = 1, .replica = id}};
    replica->group.applied_index = applied_index;
    replica->group.raft =
        raft_new(&options, &meta, term, 0, entries, count, applied_index + count, 1);
    raft_get_status(replica->group.raft, &replica->status);
    for (size_t i = 0; i < count; i++)
        blob_unref(entries[i].payload);
}

static const char *name_of(const struct check_result *result)
{
    return result->verdict == CHECK_OK ? "" : result->name;
}

static void look(struct configuration_check *check, replica_id_t id, raft_index_t applied_index,
                 const char *first, const char *const *later)
{
    struct replica replica;
    replica_begin(&replica, id, applied_index, 3, first, later);
    configuration_check_replica(check, &replica.group, &replica.status);
    raft_free(replica.group.raft);
}

static const char *configurations_of(const char *first, const char *const *later)
{
    static char name[64];
    struct configuration_check *check = configuration_check_new();
    look(check, 1, 0, first, later);
    snprintf(name, sizeof name, "%s", name_of(configuration_check_result(check)));
    configuration_check_free(check);
    return name;
}
#define LATER(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(sim_configuration_check, both_halves_of_a_change_pass)
{
    cr_assert_str_eq(configurations_of("123", LATER("123", "123-124", "124", "124-24")), "");
}

Test(sim_configuration_check, quorums_that_need_not_meet_are_flagged)
{
    cr_assert_str_eq(configurations_of("123", LATER("123", "145")), "configuration-step");
    cr_assert_str_eq(configurations_of("123", LATER("123-145", "123")), "configuration-step");
    cr_assert_str_eq(configurations_of("123", LATER("123-145", "145-16")), "configuration-step");
    cr_assert_str_eq(configurations_of("123", LATER("123", "124-123")), "configuration-step");
}

Test(sim_configuration_check, one_that_others_know_replaced_is_flagged)
{
    struct configuration_check *check = configuration_check_new();
    look(check, 1, 0, "123", LATER("123-124", "124"));
    cr_assert_str_eq(name_of(configuration_check_result(check)), "");
    look(check, 2, 2, "123", NULL); /* a snapshot that came without its configuration */
    cr_assert_str_eq(name_of(configuration_check_result(check)), "configuration-outdated");
    configuration_check_free(check);
}

Test(sim_configuration_check, two_at_one_index_are_flagged)
{
    struct configuration_check *check = configuration_check_new();
    look(check, 1, 0, "123", LATER("123-124"));
    look(check, 2, 0, "123", LATER("123-125"));
    cr_assert_str_eq(name_of(configuration_check_result(check)), "configuration-differs");
    configuration_check_free(check);
}

Test(sim_election_check, a_term_that_nobody_stood_in_is_flagged)
{
    struct election_check *check = election_check_new();
    struct replica replica;
    replica_begin(&replica, 1, 0, 7, "123", NULL);
    election_check_replica(check, &replica.group, &replica.status, 0);
    cr_assert_str_eq(name_of(election_check_result(check)), "term-from-nowhere");
    election_check_free(check);
    raft_free(replica.group.raft);
}

static const char *third_start_of(bool has_written)
{
    static char name[64];
    struct durable_check *check = durable_check_new();
    struct replica whole, cut;
    replica_begin(&whole, 1, 0, 3, "123", LATER("123", "123"));
    replica_begin(&cut, 1, 0, 3, "123", LATER("123"));
    durable_check_started(check, &whole.group, false);
    durable_check_started(check, &cut.group, true);
    cr_assert_str_eq(name_of(durable_check_result(check)), "", "a torn tail is cut off");
    durable_check_started(check, &whole.group, has_written);
    snprintf(name, sizeof name, "%s", name_of(durable_check_result(check)));
    durable_check_free(check);
    raft_free(whole.group.raft);
    raft_free(cut.group.raft);
    return name;
}

Test(sim_durable_check, what_was_cut_off_and_comes_back_is_flagged)
{
    cr_assert_str_eq(third_start_of(true), "tail-revived");
    cr_assert_str_eq(third_start_of(false), "", "nothing was built on its end");
}
