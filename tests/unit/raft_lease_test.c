/* raft_lease_test.c: reads by lease (R3): when one holds, for how long, who promised it, and what
 * ends it. */
#include "base/random.h"
#include "raft/raft_internal.h"
#include "tests/support/raft_cluster.h"
#include "tests/support/raft_solo.h"

#include <criterion/criterion.h>

#define LEASE_MS 400u

static void init(struct solo *solo, uint32_t voters_count, uint32_t lease_ms)
{
    struct raft_snapshot_meta meta = {0};
    solo_init(solo, voters_count);
    raft_free(solo->raft);
    cluster_configuration(voters_count, &meta.configuration);
    solo->options.lease_ms = lease_ms;
    solo->raft = raft_new(&solo->options, &meta, 0, 0, NULL, 0, 0, solo->now_ns);
}

/* An answer that echoes the newest round that was sent. */
static void echo(struct solo *solo, replica_id_t from, raft_index_t match_index, uint64_t round)
{
    struct raft_message answer = {.type = RAFT_MSG_APPEND_ANSWER,
                                  .from = from,
                                  .term = solo_status(solo).term,
                                  .index = match_index,
                                  .read_round = round};
    cr_assert_eq(solo_receive(solo, &answer), OST_OK);
}

/* 0: it is not by lease. */
static nanoseconds_t read_by_lease(struct solo *solo)
{
    struct raft_event event = {.type = RAFT_EV_READ_REQUESTED};
    event.read.by_lease = true;
    cr_assert_eq(solo_step(solo, &event), OST_OK);
    cr_assert_neq(solo->update.read_id, 0);
    return solo->update.read_valid_until_ns;
}

static void lead(struct solo *solo, uint32_t lease_ms)
{
    init(solo, 3, lease_ms);
    solo_lead(solo);
    solo_persist_all(solo);
    cr_assert_eq(solo_answer(solo, 2, 1), OST_OK);
    cr_assert_eq(solo_status(solo).commit_index, 1);
}

/* A heartbeat of now: its round. */
static uint64_t heartbeat(struct solo *solo)
{
    solo_wait_ms(solo, 50);
    cr_assert_eq(solo_event(solo, RAFT_EV_TIMER_FIRED), OST_OK);
    const struct raft_message *request = solo_sent(solo, RAFT_MSG_APPEND_REQUEST, 2);
    cr_assert_not_null(request);
    return request->read_round;
}

Test(raft_lease, is_off_by_default)
{
    struct solo solo;
    lead(&solo, 0);
    uint64_t round = heartbeat(&solo);
    cr_assert_eq(round, 0, "no rounds that nobody asked for");
    echo(&solo, 2, 1, round);
    echo(&solo, 3, 1, round);
    cr_assert_eq(read_by_lease(&solo), 0);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_eq(solo.update.reads_confirmed_id, 0, "it waits for a round");
    solo_fini(&solo);
}

Test(raft_lease, is_bounded_by_the_election_timeout_less_the_drift)
{
    struct raft_options options;
    const char *why;
    raft_options_default(&options);
    cr_assert_eq(options.lease_ms, 0);
    options.lease_ms = 450;
    cr_assert_eq(raft_options_check(&options, &why), OST_OK);
    options.lease_ms = 451;
    cr_assert_eq(raft_options_check(&options, &why), OST_INVALID_ARGUMENT);
    cr_assert_not_null(strstr(why, "lease"));
    options.lease_drift_percent = 0;
    cr_assert_eq(raft_options_check(&options, &why), OST_OK);
    options.lease_drift_percent = 100;
    cr_assert_eq(raft_options_check(&options, &why), OST_INVALID_ARGUMENT);
}

Test(raft_lease, counts_from_when_the_round_that_a_quorum_echoed_began)
{
    struct solo solo;
    lead(&solo, LEASE_MS);
    cr_assert_eq(read_by_lease(&solo), 0, "nobody has promised anything");
    uint64_t round = heartbeat(&solo);
    nanoseconds_t sent_ns = solo.now_ns;
    cr_assert_neq(round, 0);
    solo_wait_ms(&solo, 30);
    cr_assert_eq(read_by_lease(&solo), 0);
    echo(&solo, 2, 1, round);
    cr_assert_eq(read_by_lease(&solo), sent_ns + LEASE_MS * NS_PER_MS, "not from when it came");
    cr_assert_eq(solo.update.read_index, 1);
    cr_assert_eq(solo.update.messages_count, 0);

    solo_wait_ms(&solo, LEASE_MS - 30 - 1);
    cr_assert_neq(read_by_lease(&solo), 0);
    solo_wait_ms(&solo, 1);
    cr_assert_eq(read_by_lease(&solo), 0, "it ran out");
    solo_fini(&solo);
}

Test(raft_lease, an_echo_of_an_older_round_does_not_renew_it)
{
    struct solo solo;
    lead(&solo, LEASE_MS);
    uint64_t first = heartbeat(&solo);
    nanoseconds_t first_ns = solo.now_ns;
    uint64_t second = heartbeat(&solo);
    cr_assert_gt(second, first);
    echo(&solo, 3, 1, first);
    cr_assert_eq(read_by_lease(&solo), first_ns + LEASE_MS * NS_PER_MS);
    echo(&solo, 2, 1, second);
    cr_assert_eq(read_by_lease(&solo), first_ns + (LEASE_MS + 50) * NS_PER_MS);
    solo_fini(&solo);
}

/* Under load no heartbeat is ever due: appends carry the rounds. */
Test(raft_lease, is_renewed_by_appends_too)
{
    struct solo solo;
    lead(&solo, LEASE_MS);
    raft_index_t index = 1;
    for (int i = 0; i < 60; i++) {
        solo_wait_ms(&solo, 20);
        cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
        cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
        const struct raft_message *request = solo_sent(&solo, RAFT_MSG_APPEND_REQUEST, 2);
        cr_assert_not_null(request);
        uint64_t round = request->read_round;
        solo_persist_all(&solo);
        echo(&solo, 2, ++index, round);
        if (i > 5)
            cr_assert_gt(read_by_lease(&solo), solo.now_ns + 300 * NS_PER_MS, "turn %d", i);
    }
    solo_fini(&solo);
}

Test(raft_lease, holds_only_after_a_commit_of_the_own_term)
{
    struct solo solo;
    init(&solo, 3, LEASE_MS);
    solo_lead(&solo);
    uint64_t round = heartbeat(&solo);
    echo(&solo, 2, 0, round);
    cr_assert_eq(read_by_lease(&solo), 0);
    solo_persist_all(&solo);
    echo(&solo, 2, 1, round);
    cr_assert_neq(read_by_lease(&solo), 0);
    solo_fini(&solo);
}

/* Promises. */

static bool votes(struct solo *solo, replica_id_t from, raft_term_t term, bool forced)
{
    struct raft_message request = {.type = RAFT_MSG_VOTE_REQUEST,
                                   .from = from,
                                   .term = term,
                                   .index = 100,
                                   .index_term = term - 1,
                                   .forced = forced};
    cr_assert_eq(solo_receive(solo, &request), OST_OK);
    const struct raft_message *answer = solo_sent(solo, RAFT_MSG_VOTE_ANSWER, from);
    return answer && !answer->rejected;
}

/* Follower of 2 in term 1, which it heard now. */
static void follow(struct solo *solo, uint32_t lease_ms)
{
    init(solo, 3, lease_ms);
    solo_wait_ms(solo, 1000);
    cr_assert_eq(solo_append(solo, 2, 1, 0, 0, (raft_term_t[]){1}, 1, 0), OST_OK);
    solo_persist_all(solo);
}

Test(raft_lease, who_heard_a_leader_votes_for_nobody_else)
{
    struct solo solo;
    follow(&solo, LEASE_MS);
    solo_wait_ms(&solo, 499);
    cr_assert_not(votes(&solo, 3, 2, false));
    cr_assert_eq(solo_status(&solo).term, 1);
    solo_wait_ms(&solo, 1);
    cr_assert(votes(&solo, 3, 2, false));
    solo_fini(&solo);
}

/* A later term that comes by another way makes it forget its leader, but not its promise. */
Test(raft_lease, a_later_term_does_not_end_the_promise)
{
    struct solo solo;
    follow(&solo, LEASE_MS);
    struct raft_message rejection = {
        .type = RAFT_MSG_PRE_VOTE_ANSWER, .from = 3, .term = 5, .rejected = true};
    cr_assert_eq(solo_receive(&solo, &rejection), OST_OK);
    cr_assert_eq(solo_status(&solo).term, 5);
    cr_assert_not(votes(&solo, 3, 5, false), "of the same term");
    cr_assert_not(votes(&solo, 3, 6, false), "of a later one");
    solo_wait_ms(&solo, 500);
    cr_assert(votes(&solo, 3, 6, false));
    solo_fini(&solo);
}

Test(raft_lease, a_restart_does_not_end_the_promise)
{
    struct solo solo;
    init(&solo, 3, LEASE_MS);
    cr_assert_not(votes(&solo, 3, 7, false), "it may have promised just now");
    solo_wait_ms(&solo, 500);
    cr_assert(votes(&solo, 3, 7, false));
    solo_fini(&solo);
    init(&solo, 3, 0);
    cr_assert(votes(&solo, 3, 7, false), "without leases nobody promises");
    solo_fini(&solo);
}

Test(raft_lease, leadership_transfer_waives_the_promise)
{
    struct solo solo;
    follow(&solo, LEASE_MS);
    cr_assert(votes(&solo, 3, 2, true));
    solo_fini(&solo);
}

/* It is one of the quorum that promised, and answers that it gave may still be on their way out. */
Test(raft_lease, a_leader_that_steps_down_keeps_its_own_promise)
{
    struct solo solo;
    lead(&solo, LEASE_MS);
    echo(&solo, 2, 1, heartbeat(&solo));
    cr_assert_neq(read_by_lease(&solo), 0);
    struct raft_event slow = {.type = RAFT_EV_STORAGE_SLOW, .slow = true};
    cr_assert_eq(solo_step(&solo, &slow), OST_OK);
    cr_assert_eq(solo_status(&solo).role, RAFT_FOLLOWER);
    solo_wait_ms(&solo, LEASE_MS - 1);
    cr_assert_not(votes(&solo, 3, 2, false));
    solo_wait_ms(&solo, 1);
    cr_assert(votes(&solo, 3, 2, false));
    solo_fini(&solo);
}

/* Transfer. */

Test(raft_lease, runs_out_before_anybody_is_told_to_stand)
{
    struct solo solo;
    lead(&solo, LEASE_MS);
    uint64_t round = heartbeat(&solo);
    nanoseconds_t until_ns = solo.now_ns + LEASE_MS * NS_PER_MS;
    echo(&solo, 2, 1, round);
    struct raft_event event = {.type = RAFT_EV_TRANSFER, .transfer_to = 2};
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    cr_assert_null(solo_sent(&solo, RAFT_MSG_TIMEOUT_NOW, 0));
    cr_assert_eq(read_by_lease(&solo), 0, "none is given any more");
    while (solo.now_ns + 50 * NS_PER_MS < until_ns) {
        round = heartbeat(&solo);
        echo(&solo, 2, 1, round);
        echo(&solo, 3, 1, round);
        cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
        cr_assert_null(solo_sent(&solo, RAFT_MSG_TIMEOUT_NOW, 0), "%lu", solo.now_ns);
    }
    solo.now_ns = until_ns;
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    cr_assert_not_null(solo_sent(&solo, RAFT_MSG_TIMEOUT_NOW, 2));

    /* It may come late, and then it is followed: no lease for the rest of the term. */
    for (int i = 0; i < 30; i++) {
        round = heartbeat(&solo);
        echo(&solo, 2, 1, round);
        echo(&solo, 3, 1, round);
        cr_assert_eq(read_by_lease(&solo), 0);
    }
    cr_assert_eq(solo.raft->transfer_to, 0, "given up");
    cr_assert_eq(solo_propose(&solo, "goes on"), OST_OK);
    solo_fini(&solo);
}

Test(raft_lease, comes_back_when_nobody_was_told_to_stand)
{
    struct solo solo;
    lead(&solo, LEASE_MS);
    cr_assert_eq(solo_propose(&solo, "x"), OST_OK);
    cr_assert_eq(solo_event(&solo, RAFT_EV_TURN_ENDED), OST_OK);
    solo_persist_all(&solo);
    struct raft_event event = {.type = RAFT_EV_TRANSFER, .transfer_to = 3};
    cr_assert_eq(solo_step(&solo, &event), OST_OK);
    for (int i = 0; i < 22; i++)
        echo(&solo, 2, 2, heartbeat(&solo)); /* 3 does not catch up */
    cr_assert_eq(solo.raft->transfer_to, 0);
    echo(&solo, 2, 2, heartbeat(&solo));
    cr_assert_neq(read_by_lease(&solo), 0);
    solo_fini(&solo);
}

/* A cluster: whatever happens, nobody leads while another has a lease. */

static void tune(struct raft_options *options)
{
    options->lease_ms = 450;
}

struct lease {
    raft_term_t term;
    nanoseconds_t until_ns; /* answers may leave until then, whatever becomes of the leader */
};

static void check_leases(struct cluster *cluster, uint32_t nodes_count, uint64_t seed,
                         struct lease *leases, uint64_t *leased_count)
{
    for (replica_id_t node = 1; node <= nodes_count; node++) {
        nanoseconds_t until_ns =
            cluster_raft(cluster, node) ? cluster_read_by_lease(cluster, node) : 0;
        if (until_ns == 0)
            continue;
        (*leased_count)++;
        leases[node] = (struct lease){cluster_status(cluster, node).term, until_ns};
    }
    for (replica_id_t node = 1; node <= nodes_count; node++) {
        if (!cluster_raft(cluster, node) || cluster_status(cluster, node).role != RAFT_LEADER)
            continue;
        raft_term_t term = cluster_status(cluster, node).term;
        for (replica_id_t other = 1; other <= nodes_count; other++)
            cr_assert(leases[other].term >= term ||
                          leases[other].until_ns <= cluster_now_ns(cluster) || other == node,
                      "seed %lu: %lu leads in %lu beside the lease of %lu", (unsigned long)seed,
                      (unsigned long)node, (unsigned long)term, (unsigned long)other);
    }
}

Test(raft_lease, nobody_leads_beside_a_lease)
{
    uint64_t leased_count = 0, elections_count = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct cluster_options options;
        struct random random;
        cluster_options_default(&options);
        random_init(&random, seed);
        options.seed = seed;
        options.nodes_count = seed % 2 ? 3 : 5;
        options.delay_us_max = seed % 3 ? 2000 : 200000;
        options.lost_per_mille = seed % 5 ? 0 : 100;
        options.tune = tune;
        struct cluster *cluster = cluster_new(&options);
        struct lease leases[CLUSTER_NODES_MAX + 1] = {0};
        for (int i = 0; i < 1000; i++) {
            cluster_run_ms(cluster, 1 + random_below(&random, 20));
            check_leases(cluster, options.nodes_count, seed, leases, &leased_count);
            replica_id_t node = 1 + random_below(&random, options.nodes_count);
            replica_id_t leader = cluster_leader(cluster);
            struct raft_event event = {.type = RAFT_EV_TRANSFER};
            switch (random_below(&random, 60)) {
            case 0:
                if (leader != 0)
                    cluster_isolate(cluster, leader);
                break;
            case 1:
            case 2:
                for (replica_id_t to = 1; to <= options.nodes_count; to++) {
                    cluster_link_cut(cluster, node, to, false);
                    cluster_link_cut(cluster, to, node, false);
                }
                break;
            case 3:
                if (leader != 0)
                    (void)cluster_step(cluster, leader, &event);
                break;
            case 4:
                if (cluster_raft(cluster, node))
                    cluster_crash(cluster, node);
                break;
            case 5:
            case 6:
                if (!cluster_raft(cluster, node))
                    cluster_restart(cluster, node);
                break;
            case 7:
                event.type = RAFT_EV_STORAGE_SLOW;
                event.slow = random_below(&random, 3) == 0;
                if (cluster_raft(cluster, node))
                    (void)cluster_step(cluster, node, &event);
                break;
            default:
                if (leader != 0)
                    (void)cluster_propose(cluster, leader, NULL);
            }
        }
        elections_count += cluster_messages_sent(cluster, RAFT_MSG_VOTE_REQUEST);
        cluster_free(cluster);
    }
    cr_assert_gt(leased_count, 20000, "%lu", (unsigned long)leased_count);
    cr_assert_gt(elections_count, 3000, "%lu", (unsigned long)elections_count);
}
