/* mit_3b_test.c: lab 3B of MIT's 6.5840 (replication), case by case. A leader opens its term with
 * an entry of its own, so an index is compared with the one before, and not with a number. */
#include "tests/support/lab_raft.h"

#include <criterion/criterion.h>

#define SEEDS 100u

/* TestBasicAgree3B */
static void basic_agree(struct lab_raft *lab)
{
    raft_index_t before = 0;
    lab_raft_check_one_leader(lab);
    for (uint64_t i = 1; i <= 3; i++) {
        /* Nothing is applied before somebody started it. */
        cr_assert(before == 0 || lab_raft_committed_count(lab, before + 1, NULL) == 0);
        raft_index_t index = lab_raft_agree(lab, i * 100, 3, false);
        cr_assert(before == 0 || index == before + 1);
        before = index;
    }
}
Test(mit_3b, basic_agree)
{
    lab_raft_each_seed(basic_agree, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestRPCBytes3B: each command goes to each follower once. */
static void rpc_bytes(struct lab_raft *lab)
{
    lab_raft_agree(lab, 99, 3, false);
    uint64_t bytes_before = lab->cluster->frames_bytes_count, sent_bytes = 0;
    for (int i = 0; i < 10; i++) {
        lab_raft_agree_bytes(lab, lab_raft_value(lab), 5000, 3, false);
        sent_bytes += 5000;
    }
    cr_assert_leq(lab->cluster->frames_bytes_count - bytes_before, 3 * sent_bytes + 50000);
    /* Ours is held to what is needed. */
    cr_assert_leq(lab->cluster->frames_bytes_count - bytes_before, 2 * sent_bytes + 20000);
}
Test(mit_3b, rpc_bytes)
{
    lab_raft_each_seed(rpc_bytes, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestFollowerFailure3B (For2023TestFollowerFailure3B) */
static void follower_failure(struct lab_raft *lab)
{
    lab_raft_agree(lab, 101, 3, false);
    store_id_t leader1 = lab_raft_check_one_leader(lab);
    lab_raft_disconnect(lab, lab_raft_next(lab, leader1, 1));
    /* The leader and the other follower go on. */
    lab_raft_agree(lab, 102, 2, false);
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);
    lab_raft_agree(lab, 103, 2, false);

    /* Without them nothing is committed. */
    store_id_t leader2 = lab_raft_check_one_leader(lab);
    lab_raft_disconnect(lab, lab_raft_next(lab, leader2, 1));
    lab_raft_disconnect(lab, lab_raft_next(lab, leader2, 2));
    raft_index_t index;
    cr_assert(lab_raft_submit(lab, leader2, 104, 0, &index, NULL));
    lab_raft_sleep(lab, 2 * LAB_ELECTION_TIMEOUT_MS);
    cr_assert_eq(lab_raft_committed_count(lab, index, NULL), 0);
}
Test(mit_3b, follower_failure)
{
    lab_raft_each_seed(follower_failure, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestLeaderFailure3B (For2023TestLeaderFailure3B) */
static void leader_failure(struct lab_raft *lab)
{
    lab_raft_agree(lab, 101, 3, false);
    lab_raft_disconnect(lab, lab_raft_check_one_leader(lab));
    /* The others elect one of them. */
    lab_raft_agree(lab, 102, 2, false);
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);
    raft_index_t before = lab_raft_agree(lab, 103, 2, false);

    /* The next is gone as well, and whoever takes a command does not get it committed. */
    lab_raft_disconnect(lab, lab_raft_check_one_leader(lab));
    for (store_id_t server = 1; server <= 3; server++)
        (void)lab_raft_submit(lab, server, 104, 0, NULL, NULL);
    lab_raft_sleep(lab, 2 * LAB_ELECTION_TIMEOUT_MS);
    for (raft_index_t index = before + 1; index <= before + 3; index++)
        cr_assert_eq(lab_raft_committed_count(lab, index, NULL), 0);
}
Test(mit_3b, leader_failure)
{
    lab_raft_each_seed(leader_failure, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestFailAgree3B: a follower that comes back takes part again. */
static void fail_agree(struct lab_raft *lab)
{
    lab_raft_agree(lab, 101, 3, false);
    store_id_t leader = lab_raft_check_one_leader(lab);
    store_id_t away = lab_raft_next(lab, leader, 1);
    lab_raft_disconnect(lab, away);
    lab_raft_agree(lab, 102, 2, false);
    lab_raft_agree(lab, 103, 2, false);
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);
    lab_raft_agree(lab, 104, 2, false);
    lab_raft_agree(lab, 105, 2, false);
    lab_raft_connect(lab, away);
    lab_raft_agree(lab, 106, 3, true);
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);
    lab_raft_agree(lab, 107, 3, true);
}
Test(mit_3b, fail_agree)
{
    lab_raft_each_seed(fail_agree, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestFailNoAgree3B: no agreement while too many are away. */
static void fail_no_agree(struct lab_raft *lab)
{
    lab_raft_agree(lab, 10, 5, false);
    store_id_t leader = lab_raft_check_one_leader(lab);
    for (uint32_t i = 1; i <= 3; i++)
        lab_raft_disconnect(lab, lab_raft_next(lab, leader, i));
    raft_index_t index, index2;
    cr_assert(lab_raft_submit(lab, leader, 20, 0, &index, NULL));
    lab_raft_sleep(lab, 2 * LAB_ELECTION_TIMEOUT_MS);
    cr_assert_eq(lab_raft_committed_count(lab, index, NULL), 0);
    for (uint32_t i = 1; i <= 3; i++)
        lab_raft_connect(lab, lab_raft_next(lab, leader, i));

    /* The three may have chosen a leader among themselves and overwrite, or the old one goes on.
     * Both come with the entry that opens a term. */
    store_id_t leader2 = lab_raft_check_one_leader(lab);
    cr_assert(lab_raft_submit(lab, leader2, 30, 0, &index2, NULL));
    cr_assert(index2 >= index && index2 <= index + 3);
    lab_raft_agree(lab, 1000, 5, true);
}
Test(mit_3b, fail_no_agree)
{
    lab_raft_each_seed(fail_no_agree, (struct lab_raft_options){.servers_count = 5}, SEEDS);
}

/* TestConcurrentStarts3B: five at once, in one turn of the leader. */
static void concurrent_starts(struct lab_raft *lab)
{
    for (int tries = 0; tries < 5; tries++) {
        raft_index_t indexes[5];
        raft_term_t term, term_of;
        if (tries > 0)
            lab_raft_sleep(lab, 3000);
        store_id_t leader = lab_raft_check_one_leader(lab);
        if (!lab_raft_submit(lab, leader, 1, 0, NULL, &term))
            continue;
        uint64_t i = 0;
        while (i < 5 && lab_raft_submit(lab, leader, 100 + i, 0, &indexes[i], &term_of) &&
               term_of == term)
            i++;
        if (i < 5)
            continue;
        for (i = 0; i < 5; i++) {
            uint64_t value = lab_raft_wait(lab, indexes[i], 3, term);
            if (value == 0)
                break; /* the term changed: again */
            cr_assert_eq(value, 100 + i);
            cr_assert(i == 0 || indexes[i] == indexes[i - 1] + 1);
        }
        if (i == 5)
            return;
    }
    cr_assert_fail("the term changed too often");
}
Test(mit_3b, concurrent_starts)
{
    lab_raft_each_seed(concurrent_starts, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestRejoin3B: a leader that was cut off comes back with entries that nobody wants. */
static void rejoin(struct lab_raft *lab)
{
    lab_raft_agree(lab, 101, 3, true);
    store_id_t leader1 = lab_raft_check_one_leader(lab);
    lab_raft_disconnect(lab, leader1);
    for (uint64_t value = 102; value <= 104; value++)
        cr_assert(lab_raft_submit(lab, leader1, value, 0, NULL, NULL));
    lab_raft_agree(lab, 103, 2, true);
    store_id_t leader2 = lab_raft_check_one_leader(lab);
    lab_raft_disconnect(lab, leader2);
    lab_raft_connect(lab, leader1);
    lab_raft_agree(lab, 104, 2, true);
    lab_raft_connect(lab, leader2);
    lab_raft_agree(lab, 105, 3, true);
}
Test(mit_3b, rejoin)
{
    lab_raft_each_seed(rejoin, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestBackup3B: a leader backs up quickly over logs that are wrong. */
static void submit_many(struct lab_raft *lab, store_id_t server)
{
    for (int i = 0; i < 50; i++)
        (void)lab_raft_submit(lab, server, lab_raft_value(lab), 0, NULL, NULL);
}
static void agree_many(struct lab_raft *lab)
{
    for (int i = 0; i < 50; i++)
        lab_raft_agree(lab, lab_raft_value(lab), 3, true);
}
static void backup(struct lab_raft *lab)
{
    lab_raft_agree(lab, lab_raft_value(lab), 5, true);

    /* The leader with one follower: 50 that are not committed. */
    store_id_t leader1 = lab_raft_check_one_leader(lab);
    for (uint32_t i = 2; i <= 4; i++)
        lab_raft_disconnect(lab, lab_raft_next(lab, leader1, i));
    submit_many(lab, leader1);
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS / 2);
    lab_raft_disconnect(lab, leader1);
    lab_raft_disconnect(lab, lab_raft_next(lab, leader1, 1));

    /* The other three: 50 that are. */
    for (uint32_t i = 2; i <= 4; i++)
        lab_raft_connect(lab, lab_raft_next(lab, leader1, i));
    agree_many(lab);

    /* One of them away; 50 more of the leader that are not committed. */
    store_id_t leader2 = lab_raft_check_one_leader(lab);
    store_id_t other = lab_raft_next(lab, leader1, 2);
    if (leader2 == other)
        other = lab_raft_next(lab, leader2, 1);
    lab_raft_disconnect(lab, other);
    submit_many(lab, leader2);
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS / 2);

    /* The first leader, its follower and the one that was away: all have wrong logs or short ones.
     */
    for (store_id_t server = 1; server <= 5; server++)
        lab_raft_disconnect(lab, server);
    lab_raft_connect(lab, leader1);
    lab_raft_connect(lab, lab_raft_next(lab, leader1, 1));
    lab_raft_connect(lab, other);
    agree_many(lab);

    for (store_id_t server = 1; server <= 5; server++)
        lab_raft_connect(lab, server);
    lab_raft_agree(lab, lab_raft_value(lab), 5, true);
}
Test(mit_3b, backup)
{
    lab_raft_each_seed(backup, (struct lab_raft_options){.servers_count = 5}, SEEDS);
}

/* TestCount3B: not too many messages. A request and its answer are two frames here and one RPC
 * there, so their bounds are doubled. */
static bool count_once(struct lab_raft *lab)
{
    const uint64_t *frames_count = &lab->cluster->frames_count;
    const uint32_t iterations = 10;
    raft_index_t first, index = 0;
    raft_term_t term, term_of;
    store_id_t leader = lab_raft_check_one_leader(lab);
    uint64_t total = *frames_count;
    if (!lab_raft_submit(lab, leader, 1, 0, &first, &term))
        return false;
    for (uint32_t i = 1; i < iterations + 2; i++) {
        if (!lab_raft_submit(lab, leader, 1000 + i, 0, &index, &term_of) || term_of != term)
            return false;
        cr_assert_eq(index, first + i);
    }
    for (uint32_t i = 1; i < iterations + 1; i++) {
        uint64_t value = lab_raft_wait(lab, first + i, 3, term);
        if (value == 0)
            return false;
        cr_assert_eq(value, 1000 + i);
    }
    if (lab_raft_check_terms(lab) != term)
        return false;
    cr_assert_leq(*frames_count - total, 2 * (iterations + 1 + 3) * 3,
                  "too many messages for %u entries", iterations);
    return true;
}
static void count(struct lab_raft *lab)
{
    lab_raft_check_one_leader(lab);
    cr_assert(lab->cluster->frames_count >= 1 && lab->cluster->frames_count <= 2 * 30,
              "%lu messages to elect a leader", lab->cluster->frames_count);
    int tries = 0;
    while (tries < 5 && !count_once(lab)) {
        lab_raft_sleep(lab, 3000);
        tries++;
    }
    cr_assert_lt(tries, 5, "the term changed too often");
    uint64_t total = lab->cluster->frames_count;
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);
    cr_assert_leq(lab->cluster->frames_count - total, 2 * 3 * 20, "too many messages when idle");
}
Test(mit_3b, count)
{
    lab_raft_each_seed(count, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}
