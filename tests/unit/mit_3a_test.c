/* mit_3a_test.c: lab 3A of MIT's 6.5840 (leader election), case by case. TestManyElections3A has
 * seven servers. */
#include "tests/support/lab_raft.h"

#include <criterion/criterion.h>

#define SEEDS 100u

/* TestInitialElection3A */
static void initial_election(struct lab_raft *lab)
{
    lab_raft_check_one_leader(lab);
    lab_raft_sleep(lab, 50);
    raft_term_t term = lab_raft_check_terms(lab);
    cr_assert_geq(term, 1);
    /* Without failures nothing changes. */
    lab_raft_sleep(lab, 2 * LAB_ELECTION_TIMEOUT_MS);
    cr_assert_eq(lab_raft_check_terms(lab), term);
    lab_raft_check_one_leader(lab);
}
Test(mit_3a, initial_election)
{
    lab_raft_each_seed(initial_election, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestReElection3A */
static void re_election(struct lab_raft *lab)
{
    store_id_t leader1 = lab_raft_check_one_leader(lab);
    lab_raft_disconnect(lab, leader1);
    lab_raft_check_one_leader(lab);

    /* If the old leader comes back, that does not disturb the new one. */
    lab_raft_connect(lab, leader1);
    store_id_t leader2 = lab_raft_check_one_leader(lab);

    /* Without a quorum nobody is elected. */
    store_id_t other = lab_raft_next(lab, leader2, 1);
    lab_raft_disconnect(lab, leader2);
    lab_raft_disconnect(lab, other);
    lab_raft_sleep(lab, 2 * LAB_ELECTION_TIMEOUT_MS);
    lab_raft_check_no_leader(lab);

    lab_raft_connect(lab, other);
    lab_raft_check_one_leader(lab);
    lab_raft_connect(lab, leader2);
    lab_raft_check_one_leader(lab);
}
Test(mit_3a, re_election)
{
    lab_raft_each_seed(re_election, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestManyElections3A */
static void many_elections(struct lab_raft *lab)
{
    lab_raft_check_one_leader(lab);
    for (int i = 0; i < 10; i++) {
        store_id_t away[3];
        for (int j = 0; j < 3; j++) {
            away[j] = 1 + lab_raft_random(lab, 7);
            lab_raft_disconnect(lab, away[j]);
        }
        /* The leader is among the four that are left, or they elect one. */
        lab_raft_check_one_leader(lab);
        for (int j = 0; j < 3; j++)
            lab_raft_connect(lab, away[j]);
    }
    lab_raft_check_one_leader(lab);
}
Test(mit_3a, many_elections)
{
    lab_raft_each_seed(many_elections, (struct lab_raft_options){.servers_count = 7}, SEEDS);
}
