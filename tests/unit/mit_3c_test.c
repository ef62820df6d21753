/* mit_3c_test.c: lab 3C of MIT's 6.5840 (persistence), case by case. */
#include "tests/support/lab_raft.h"

#include "base/memory.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define SEEDS 100u

/* TestPersist13C */
static void persist1(struct lab_raft *lab)
{
    lab_raft_agree(lab, 11, 3, true);
    for (store_id_t server = 1; server <= 3; server++)
        lab_raft_crash(lab, server);
    for (store_id_t server = 1; server <= 3; server++)
        lab_raft_restart(lab, server);
    lab_raft_agree(lab, 12, 3, true);

    store_id_t leader1 = lab_raft_check_one_leader(lab);
    lab_raft_disconnect(lab, leader1);
    lab_raft_restart(lab, leader1);
    lab_raft_agree(lab, 13, 3, true);

    store_id_t leader2 = lab_raft_check_one_leader(lab);
    lab_raft_disconnect(lab, leader2);
    raft_index_t index = lab_raft_agree(lab, 14, 2, true);
    lab_raft_restart(lab, leader2);
    cr_assert_eq(lab_raft_wait(lab, index, 3, 0), 14); /* before another is started */

    store_id_t away = lab_raft_next(lab, lab_raft_check_one_leader(lab), 1);
    lab_raft_disconnect(lab, away);
    lab_raft_agree(lab, 15, 2, true);
    lab_raft_restart(lab, away);
    lab_raft_agree(lab, 16, 3, true);
}
Test(mit_3c, persist1)
{
    lab_raft_each_seed(persist1, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* TestPersist23C */
static void persist2(struct lab_raft *lab)
{
    uint64_t value = 11;
    for (int i = 0; i < 5; i++) {
        lab_raft_agree(lab, value++, 5, true);
        store_id_t leader1 = lab_raft_check_one_leader(lab);
        store_id_t others[5];
        for (uint32_t j = 0; j < 5; j++)
            others[j] = lab_raft_next(lab, leader1, j);
        lab_raft_disconnect(lab, others[1]);
        lab_raft_disconnect(lab, others[2]);
        lab_raft_agree(lab, value++, 3, true);
        lab_raft_disconnect(lab, others[0]);
        lab_raft_disconnect(lab, others[3]);
        lab_raft_disconnect(lab, others[4]);
        lab_raft_restart(lab, others[1]);
        lab_raft_restart(lab, others[2]);
        lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);
        lab_raft_restart(lab, others[3]);
        lab_raft_agree(lab, value++, 3, true);
        lab_raft_connect(lab, others[4]);
        lab_raft_connect(lab, others[0]);
    }
    lab_raft_agree(lab, 1000, 5, true);
}
Test(mit_3c, persist2)
{
    lab_raft_each_seed(persist2, (struct lab_raft_options){.servers_count = 5}, SEEDS);
}

/* TestPersist33C: a leader and one follower crash in a partition. */
static void persist3(struct lab_raft *lab)
{
    lab_raft_agree(lab, 101, 3, true);
    store_id_t leader = lab_raft_check_one_leader(lab);
    store_id_t follower = lab_raft_next(lab, leader, 1), away = lab_raft_next(lab, leader, 2);
    lab_raft_disconnect(lab, away);
    lab_raft_agree(lab, 102, 2, true);
    lab_raft_crash(lab, leader);
    lab_raft_crash(lab, follower);
    lab_raft_connect(lab, away);
    lab_raft_restart(lab, leader);
    lab_raft_agree(lab, 103, 2, true);
    lab_raft_restart(lab, follower);
    lab_raft_agree(lab, 104, 3, true);
}
Test(mit_3c, persist3)
{
    lab_raft_each_seed(persist3, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* Sleeps long once in ten times. */
static void nap(struct lab_raft *lab)
{
    uint64_t below = lab_raft_random(lab, 1000) < 100 ? LAB_ELECTION_TIMEOUT_MS / 2 : 13;
    lab_raft_sleep(lab, (uint32_t)lab_raft_random(lab, below));
}

/* TestFigure83C: a leader crashes each time it has taken a command; if an entry of an earlier term
 * were committed by counting, two servers would apply different ones. */
static void figure8(struct lab_raft *lab)
{
    uint32_t up_count = 5;
    lab_raft_agree(lab, lab_raft_value(lab), 1, true);
    for (int i = 0; i < 1000; i++) {
        store_id_t leader = 0;
        for (store_id_t server = 1; server <= 5; server++) {
            if (lab_raft_is_up(lab, server) &&
                lab_raft_submit(lab, server, lab_raft_value(lab), 0, NULL, NULL))
                leader = server;
        }
        nap(lab);
        if (leader != 0) {
            lab_raft_crash(lab, leader);
            up_count--;
        }
        store_id_t chosen = 1 + lab_raft_random(lab, 5);
        if (up_count < 3 && !lab_raft_is_up(lab, chosen)) {
            lab_raft_restart(lab, chosen);
            up_count++;
        }
    }
    for (store_id_t server = 1; server <= 5; server++) {
        if (!lab_raft_is_up(lab, server))
            lab_raft_restart(lab, server);
    }
    lab_raft_agree(lab, lab_raft_value(lab), 5, true);
}
Test(mit_3c, figure8)
{
    lab_raft_each_seed(figure8, (struct lab_raft_options){.servers_count = 5}, SEEDS);
}
/* The entry that opens a term travels with those before it, and where it is they may be committed.
 * For the trap of figure 8 to be open at all, entries must travel one by one. */
Test(mit_3c, figure8_entrywise)
{
    lab_raft_each_seed(figure8, (struct lab_raft_options){.servers_count = 5, .is_entrywise = true},
                       SEEDS);
}

/* Figure 8 step by step, since chance hardly ever gets there (not a case of theirs). Links are cut
 * one by one; servers are S1, who leads first, and S2 to S5 behind it. */
static raft_index_t last_index(struct lab_raft *lab, store_id_t server)
{
    struct raft_status status;
    cr_assert_eq(raft_host_group_status(host_cluster_host(lab->cluster, server), 1, &status),
                 OST_OK);
    return status.last_index;
}
static bool leads(struct lab_raft *lab, store_id_t server)
{
    struct raft_leadership leadership;
    cr_assert_eq(raft_host_leadership(host_cluster_host(lab->cluster, server), 1, &leadership),
                 OST_OK);
    return leadership.role == RAFT_LEADER;
}
static void hear_each_other(struct lab_raft *lab, const store_id_t *servers, uint32_t count)
{
    for (store_id_t server = 1; server <= 5; server++)
        lab_raft_disconnect(lab, server);
    for (uint32_t i = 0; i < count; i++)
        lab_raft_connect(lab, servers[i]);
}
static void run_until_leads(struct lab_raft *lab, store_id_t server)
{
    for (int ms = 0; ms < 20000 && !leads(lab, server); ms++)
        lab_raft_sleep(lab, 1);
    cr_assert(leads(lab, server), "seed %lu: server %lu is not elected", lab->options.seed, server);
}
static void figure8_scripted(struct lab_raft *lab)
{
    store_id_t s[6];
    raft_index_t old;
    lab_raft_agree(lab, lab_raft_value(lab), 5, true);
    s[1] = lab_raft_check_one_leader(lab);
    for (uint32_t i = 2; i <= 5; i++)
        s[i] = lab_raft_next(lab, s[1], i - 1);

    /* (a) S1 brings an entry to S2 alone. */
    hear_each_other(lab, (store_id_t[]){s[1], s[2]}, 2);
    cr_assert(lab_raft_submit(lab, s[1], 8, 0, &old, NULL));
    lab_raft_sleep(lab, 50);
    cr_assert(last_index(lab, s[2]) == old && last_index(lab, s[3]) == old - 1);

    /* (b) One of S3, S4, S5 is elected and appends an entry at the same place, which reaches
     * nobody. Whoever it is is S5 from here on. */
    lab_raft_crash(lab, s[1]);
    hear_each_other(lab, &s[3], 3);
    uint32_t at = 0;
    for (int ms = 0; ms < 20000 && at == 0; ms++) {
        lab_raft_sleep(lab, 1);
        for (uint32_t i = 3; i <= 5; i++)
            at = leads(lab, s[i]) ? i : at;
    }
    cr_assert_neq(at, 0);
    store_id_t s5 = s[at];
    s[at] = s[5];
    s[5] = s5;
    hear_each_other(lab, NULL, 0);
    lab_raft_sleep(lab, 20); /* its own disk */
    cr_assert(last_index(lab, s[5]) == old && last_index(lab, s[3]) == old - 1);
    lab_raft_crash(lab, s[5]);

    /* (c) S1 is elected by S2 and S3 and brings its entry to S3. From then on S3 and S2 hear
     * nothing more of it, but are heard. S2 must not lead in its place. */
    lab_raft_start(lab, s[1]);
    hear_each_other(lab, &s[1], 3);
    lab->cluster->cut[s[2]][s[3]] = lab->cluster->cut[s[3]][s[2]] = true;
    for (int ms = 0; ms < 20000 && last_index(lab, s[3]) < old; ms++)
        lab_raft_sleep(lab, 1);
    cr_assert_eq(last_index(lab, s[3]), old);
    store_id_t leader = leads(lab, s[1]) ? s[1] : s[2];
    for (uint32_t i = 1; i <= 3; i++)
        lab->cluster->cut[leader][s[i]] = true;
    lab_raft_sleep(lab, 20);
    cr_assert_eq(lab_raft_committed_count(lab, old, NULL), 0, "an old entry was counted");

    /* (d) It crashes. S5 is elected by S3 and S4, and its entry takes the place. */
    lab_raft_crash(lab, leader);
    lab_raft_start(lab, s[5]);
    hear_each_other(lab, &s[3], 3);
    run_until_leads(lab, s[5]);
    lab_raft_agree(lab, lab_raft_value(lab), 3, true);
    lab_raft_restart(lab, leader);
    for (store_id_t server = 1; server <= 5; server++)
        lab_raft_connect(lab, server);
    lab_raft_agree(lab, lab_raft_value(lab), 5, true);
}
Test(mit_3c, figure8_scripted)
{
    lab_raft_each_seed(figure8_scripted,
                       (struct lab_raft_options){.servers_count = 5, .is_entrywise = true}, SEEDS);
}

/* All servers lose their power while commands are under way, again and again (not a case of
 * theirs): what any of them had applied, all of them apply. */
static void power_loss(struct lab_raft *lab)
{
    for (int i = 0; i < 20; i++) {
        store_id_t leader = lab_raft_check_one_leader(lab);
        for (int j = 0; j < 8; j++) {
            (void)lab_raft_submit(lab, leader, lab_raft_value(lab), 0, NULL, NULL);
            lab_raft_sleep(lab, (uint32_t)lab_raft_random(lab, 3));
        }
        for (store_id_t server = 1; server <= 3; server++)
            lab_raft_crash(lab, server);
        for (store_id_t server = 1; server <= 3; server++)
            lab_raft_restart(lab, server);
    }
    lab_raft_agree(lab, lab_raft_value(lab), 3, true);
}
Test(mit_3c, power_loss)
{
    lab_raft_each_seed(power_loss, (struct lab_raft_options){.servers_count = 3}, SEEDS);
}

/* Votes survive crashes (not a case of theirs): several stand at once, and who may have voted
 * crashes and comes back. No term has two leaders. */
#define TERMS_MAX 1024
static void note_leaders(struct lab_raft *lab, store_id_t *leaders)
{
    for (store_id_t server = 1; server <= 5; server++) {
        struct raft_leadership leadership;
        cr_assert_eq(raft_host_leadership(host_cluster_host(lab->cluster, server), 1, &leadership),
                     OST_OK);
        if (leadership.role != RAFT_LEADER)
            continue;
        cr_assert_lt(leadership.term, TERMS_MAX);
        store_id_t *leader = &leaders[leadership.term];
        cr_assert(*leader == 0 || *leader == server, "seed %lu: two leaders of term %lu",
                  lab->options.seed, leadership.term);
        *leader = server;
    }
}
static enum raft_role role_of(struct lab_raft *lab, store_id_t server)
{
    struct raft_leadership leadership;
    cr_assert_eq(raft_host_leadership(host_cluster_host(lab->cluster, server), 1, &leadership),
                 OST_OK);
    return leadership.role;
}
static void votes(struct lab_raft *lab)
{
    store_id_t leaders[TERMS_MAX] = {0};
    lab->cluster->delay_ms_max = 12; /* two requests for one vote come at different times */
    for (int i = 0; i < 20; i++) {
        store_id_t leader = lab_raft_check_one_leader(lab);
        uint32_t standing_count = 0;
        lab_raft_disconnect(lab, leader);
        for (int ms = 0; ms < 2000 && standing_count < 2; ms++) {
            lab_raft_sleep(lab, 1);
            note_leaders(lab, leaders);
            standing_count = 0;
            for (store_id_t server = 1; server <= 5; server++)
                standing_count += role_of(lab, server) == RAFT_CANDIDATE;
        }
        /* Two stand. Who does not may have given its vote to one of them, and crashes, and is asked
         * by the other one. */
        for (int ms = 0; ms < 30; ms++) {
            for (store_id_t server = 1; server <= 5; server++) {
                if (server != leader && role_of(lab, server) == RAFT_FOLLOWER)
                    lab_raft_restart(lab, server);
            }
            lab_raft_sleep(lab, 3);
            note_leaders(lab, leaders);
        }
        lab_raft_connect(lab, leader);
        for (int ms = 0; ms < 500; ms++) {
            lab_raft_sleep(lab, 1);
            note_leaders(lab, leaders);
        }
    }
    lab_raft_agree(lab, lab_raft_value(lab), 5, true);
}
Test(mit_3c, votes_survive_crashes)
{
    lab_raft_each_seed(votes, (struct lab_raft_options){.servers_count = 5, .is_eager = true},
                       SEEDS / 4);
}

/* TestUnreliableAgree3C: four clients at once and one more, 49 times. */
static void unreliable_agree(struct lab_raft *lab)
{
    for (uint64_t i = 1; i < 50; i++) {
        uint64_t values[4];
        for (uint64_t j = 0; j < 4; j++)
            values[j] = 100 * i + j;
        /* Clients that run side by side: their commands are under way together. */
        for (uint64_t j = 0; j < 4; j++)
            for (store_id_t server = 1; server <= 5; server++)
                (void)lab_raft_submit(lab, server, values[j], 0, NULL, NULL);
        for (uint64_t j = 0; j < 4; j++)
            lab_raft_agree(lab, values[j], 1, true);
        lab_raft_agree(lab, i, 1, true);
    }
    lab_raft_set_unreliable(lab, false);
    lab_raft_agree(lab, 100, 5, true);
}
Test(mit_3c, unreliable_agree)
{
    lab_raft_each_seed(unreliable_agree,
                       (struct lab_raft_options){.servers_count = 5, .is_unreliable = true}, SEEDS);
}

/* TestFigure8Unreliable3C: the same with cuts for crashes, on a bad network, and from the 200th
 * time on with messages that are up to two seconds late. */
static void figure8_unreliable(struct lab_raft *lab)
{
    uint32_t connected_count = 5;
    lab_raft_agree(lab, lab_raft_value(lab), 1, true);
    for (int i = 0; i < 1000; i++) {
        store_id_t leader = 0;
        if (i == 200)
            lab_raft_set_long_reordering(lab, true);
        for (store_id_t server = 1; server <= 5; server++) {
            if (lab_raft_submit(lab, server, lab_raft_value(lab), 0, NULL, NULL) &&
                lab->is_connected[server])
                leader = server;
        }
        nap(lab);
        if (leader != 0 && lab_raft_random(lab, 1000) < LAB_ELECTION_TIMEOUT_MS / 2) {
            lab_raft_disconnect(lab, leader);
            connected_count--;
        }
        store_id_t chosen = 1 + lab_raft_random(lab, 5);
        if (connected_count < 3 && !lab->is_connected[chosen]) {
            lab_raft_connect(lab, chosen);
            connected_count++;
        }
    }
    for (store_id_t server = 1; server <= 5; server++)
        lab_raft_connect(lab, server);
    lab_raft_agree(lab, lab_raft_value(lab), 5, true);
}
Test(mit_3c, figure8_unreliable)
{
    lab_raft_each_seed(figure8_unreliable,
                       (struct lab_raft_options){.servers_count = 5, .is_unreliable = true}, SEEDS);
}

/* internalChurn: three clients each start commands and remember those that were applied, while
 * servers are cut off, crash and come back. In the end all of them are in everybody's log. */
#define CHURN_CLIENTS 3
#define CHURN_VALUES  4096
struct churn_client {
    uint64_t value;
    raft_index_t index;
    nanoseconds_t wake_ns;
    uint32_t waits; /* how often it has looked */
};
struct churn {
    struct lab_raft *lab;
    struct churn_client clients[CHURN_CLIENTS];
    uint64_t values[CHURN_VALUES];
    size_t values_count;
};

static void churn_client_step(struct churn *churn, struct churn_client *client)
{
    static const uint32_t waits_ms[] = {10, 20, 50, 100, 200};
    struct lab_raft *lab = churn->lab;
    uint32_t wait_ms = 79;
    uint64_t applied;
    if (client->index == 0) {
        client->value = lab_raft_value(lab);
        client->waits = 0;
        for (store_id_t server = 1; server <= 5; server++) {
            if (lab_raft_is_up(lab, server))
                (void)lab_raft_submit(lab, server, client->value, 0, &client->index, NULL);
        }
    }
    if (client->index != 0 && lab_raft_committed_count(lab, client->index, &applied) > 0) {
        if (applied == client->value && churn->values_count < CHURN_VALUES)
            churn->values[churn->values_count++] = client->value;
        client->index = 0;
    } else if (client->index != 0) {
        if (client->waits < sizeof waits_ms / sizeof *waits_ms)
            wait_ms = waits_ms[client->waits++];
        else
            client->index = 0; /* lost, or late */
    }
    client->wake_ns = lab->cluster->now_ns + wait_ms * NS_PER_MS;
}

static void churn_sleep(struct churn *churn, uint32_t ms)
{
    for (uint32_t passed = 0; passed < ms; passed++) {
        for (int i = 0; i < CHURN_CLIENTS; i++) {
            if (churn->clients[i].wake_ns <= churn->lab->cluster->now_ns)
                churn_client_step(churn, &churn->clients[i]);
        }
        lab_raft_sleep(churn->lab, 1);
    }
}

static void churn(struct lab_raft *lab)
{
    struct churn *churn = memory_alloc_zeroed(1, sizeof(*churn));
    churn->lab = lab;
    for (int i = 0; i < 20; i++) {
        if (lab_raft_random(lab, 1000) < 200)
            lab_raft_disconnect(lab, 1 + lab_raft_random(lab, 5));
        if (lab_raft_random(lab, 1000) < 500) {
            store_id_t server = 1 + lab_raft_random(lab, 5);
            if (!lab_raft_is_up(lab, server))
                lab_raft_start(lab, server);
            lab_raft_connect(lab, server);
        }
        if (lab_raft_random(lab, 1000) < 200)
            lab_raft_crash(lab, 1 + lab_raft_random(lab, 5));
        /* Long enough that something can be agreed on, short enough that not all of it is. */
        churn_sleep(churn, LAB_ELECTION_TIMEOUT_MS * 7 / 10);
    }
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);
    lab_raft_set_unreliable(lab, false);
    for (store_id_t server = 1; server <= 5; server++) {
        if (!lab_raft_is_up(lab, server))
            lab_raft_start(lab, server);
        lab_raft_connect(lab, server);
    }
    lab_raft_sleep(lab, LAB_ELECTION_TIMEOUT_MS);

    raft_index_t last = lab_raft_agree(lab, lab_raft_value(lab), 5, true);
    cr_assert_gt(churn->values_count, 0);
    for (size_t i = 0; i < churn->values_count; i++) {
        uint64_t applied = 0;
        raft_index_t index = 1;
        while (index <= last && applied != churn->values[i])
            (void)lab_raft_committed_count(lab, index++, &applied);
        cr_assert_eq(applied, churn->values[i], "seed %lu: a value is lost", lab->options.seed);
    }
    free(churn);
}

/* TestReliableChurn3C */
Test(mit_3c, reliable_churn)
{
    lab_raft_each_seed(churn, (struct lab_raft_options){.servers_count = 5}, SEEDS);
}
/* TestUnreliableChurn3C */
Test(mit_3c, unreliable_churn)
{
    lab_raft_each_seed(churn, (struct lab_raft_options){.servers_count = 5, .is_unreliable = true},
                       SEEDS);
}
