/* raft_random_test.c: random faults for a while, every checker of raft_cluster.h on; then the
 * faults end, and the cluster must make progress. A failing seed is printed by the checker; run it
 * alone with RAFT_RANDOM_SEED=n. */
#include "base/random.h"
#include "tests/support/raft_cluster.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define SEEDS_COUNT 800
#define FAULTY_MS   30000
#define HEAL_MS     15000

struct chaos {
    struct cluster *cluster;
    struct random random;
    uint32_t nodes_count;
    uint64_t changes_count;
    uint64_t moves_count; /* those of voters */
    uint64_t destroyed_count;
};

static replica_id_t chaos_node(struct chaos *chaos)
{
    return 1 + random_below(&chaos->random, chaos->nodes_count);
}

static void chaos_partition(struct chaos *chaos)
{
    uint64_t side = random_next(&chaos->random);
    for (replica_id_t from = 1; from <= chaos->nodes_count; from++) {
        for (replica_id_t to = 1; to <= chaos->nodes_count; to++)
            cluster_link_cut(chaos->cluster, from, to, (side >> from & 1) != (side >> to & 1));
    }
}

static void chaos_repair(struct chaos *chaos)
{
    for (replica_id_t node = 1; node <= chaos->nodes_count; node++) {
        struct raft_event event = {.type = RAFT_EV_STORAGE_SLOW, .slow = false};
        cluster_disk_hold(chaos->cluster, node, false);
        for (replica_id_t to = 1; to <= chaos->nodes_count; to++)
            cluster_link_cut(chaos->cluster, node, to, false);
        if (cluster_is_destroyed(chaos->cluster, node))
            continue;
        if (!cluster_raft(chaos->cluster, node))
            cluster_restart(chaos->cluster, node);
        (void)cluster_step(chaos->cluster, node, &event);
    }
}

static void chaos_fault(struct chaos *chaos)
{
    struct cluster *cluster = chaos->cluster;
    replica_id_t node = chaos_node(chaos);
    bool up = cluster_raft(cluster, node) != NULL;
    struct raft_event event = {0};
    if (cluster_is_destroyed(cluster, node))
        return;
    switch (random_below(&chaos->random, 12)) {
    case 0:
    case 1:
        if (up)
            cluster_crash(cluster, node);
        else
            cluster_restart(cluster, node);
        break;
    case 2:
        if (!up)
            cluster_restart(cluster, node);
        break;
    case 3:
        chaos_partition(chaos);
        break;
    case 4:
        cluster_link_cut(cluster, node, chaos_node(chaos), true);
        break;
    case 5:
        for (replica_id_t other = 1; other <= chaos->nodes_count; other++) {
            cluster_link_cut(cluster, node, other, false);
            cluster_link_cut(cluster, other, node, false);
        }
        break;
    case 6:
        cluster_disk_hold(cluster, node, random_below(&chaos->random, 2) == 0);
        break;
    case 7:
        if (up)
            cluster_cut_log(cluster, node);
        break;
    case 8:
        event.type = RAFT_EV_TRANSFER;
        event.transfer_to = random_below(&chaos->random, 2) ? chaos_node(chaos) : 0;
        if (up)
            (void)cluster_step(cluster, node, &event);
        break;
    case 10:
    case 11:
        chaos_repair(chaos); /* a quiet time, for logs to grow in */
        break;
    case 9:
        event.type = random_below(&chaos->random, 2) ? RAFT_EV_PEER_RESET : RAFT_EV_STORAGE_SLOW;
        if (event.type == RAFT_EV_PEER_RESET)
            event.peer_store = 100 + chaos_node(chaos);
        else
            event.slow = random_below(&chaos->random, 3) == 0;
        if (up)
            (void)cluster_step(cluster, node, &event);
        break;
    }
}

/* A target near what is: each member may go, each learner may be given a vote, and somebody may
 * come as a learner, a new node among them. Most are refused for what is under way or not caught
 * up. */
static void chaos_change_members(struct chaos *chaos)
{
    struct cluster *cluster = chaos->cluster;
    replica_id_t leader = cluster_leader(cluster);
    struct raft_configuration target = {0};
    if (leader == 0 || chaos->nodes_count < 4)
        return;
    const struct raft_configuration *now = raft_get_configuration(cluster_raft(cluster, leader));
    if (random_below(&chaos->random, 10) == 0 && cluster_add_node(cluster) != 0)
        chaos->nodes_count++;
    replica_id_t joins = chaos_node(chaos);
    bool moves = random_below(&chaos->random, 2) == 0; /* else learners alone */
    for (replica_id_t node = 1; node <= chaos->nodes_count; node++) {
        const struct raft_member *member = raft_configuration_find(now, node);
        bool votes = member && member->voter_new;
        bool stays = member && (!moves && votes ? true : random_below(&chaos->random, 4) != 0);
        if (!stays && (node != joins || member || cluster_is_destroyed(cluster, node)))
            continue;
        if (stays && !votes && moves)
            votes = true;
        target.members[target.members_count++] =
            (struct raft_member){node, 100 + node, votes, votes};
    }
    if (cluster_propose_configuration(cluster, leader, &target) == OST_OK) {
        chaos->changes_count++;
        chaos->moves_count += moves;
    }
}

/* What the master would do: destroy who was removed for good. */
static void chaos_destroy_removed(struct chaos *chaos)
{
    struct raft_configuration committed;
    replica_id_t node = chaos_node(chaos);
    cluster_committed_configuration(chaos->cluster, &committed);
    if (cluster_is_destroyed(chaos->cluster, node) || raft_configuration_find(&committed, node) ||
        raft_configuration_is_joint(&committed))
        return;
    for (replica_id_t other = 1; other <= chaos->nodes_count; other++) {
        const struct raft *raft = cluster_raft(chaos->cluster, other);
        if (raft && other != node && raft_configuration_find(raft_get_configuration(raft), node))
            return; /* on its way in, or still on its way out */
    }
    cluster_destroy_node(chaos->cluster, node);
    chaos->destroyed_count++;
}

/* Clients ask every node: one that has been deposed and does not know it is the interesting one. */
static void chaos_load(struct chaos *chaos)
{
    for (replica_id_t node = 1; node <= chaos->nodes_count; node++) {
        if (!cluster_raft(chaos->cluster, node))
            continue;
        uint64_t proposals_count = random_below(&chaos->random, 3);
        for (uint64_t i = 0; i < proposals_count; i++)
            (void)cluster_propose_in_turn(chaos->cluster, node, NULL);
        if (random_below(&chaos->random, 2) == 0)
            (void)cluster_read(chaos->cluster, node, NULL);
        cluster_turn_ended(chaos->cluster, node);
    }
}

/* After healing: a leader within a few elections, a new entry committed on every node, and a read.
 * A hand-over or an election that is still under way may cost a proposal, but not all of them. */
static void chaos_demand_progress(struct chaos *chaos, uint64_t seed)
{
    struct cluster *cluster = chaos->cluster;
    raft_index_t index = 0;
    uint64_t read_id = 0;
    bool committed = false;
    for (int i = 0; i < 5 && !committed; i++) {
        replica_id_t leader = cluster_run_until_leader(cluster, HEAL_MS);
        cr_assert(leader != 0, "seed %lu: no leader after healing", (unsigned long)seed);
        if (cluster_propose(cluster, leader, &index) == OST_OK)
            committed = cluster_run_until_committed(cluster, leader, index, 2000) &&
                        cluster_status(cluster, leader).role == RAFT_LEADER;
        else
            cluster_run_ms(cluster, 1000); /* leadership is being handed over */
    }
    cr_assert(committed, "seed %lu: nothing is committed", (unsigned long)seed);
    replica_id_t leader = cluster_run_until_leader(cluster, HEAL_MS);
    cr_assert_neq(leader, 0);
    struct raft_configuration members = *raft_get_configuration(cluster_raft(cluster, leader));
    for (uint32_t i = 0; i < members.members_count; i++) {
        replica_id_t node = members.members[i].replica;
        if (cluster_is_destroyed(cluster, node)) {
            /* It was, before an entry that makes it a learner was committed. */
            cr_assert(!members.members[i].voter_old && !members.members[i].voter_new);
            continue;
        }
        cr_assert(cluster_run_until_committed(cluster, node, index, HEAL_MS),
                  "seed %lu: node %lu does not catch up", (unsigned long)seed, (unsigned long)node);
    }
    bool confirmed = false;
    for (int i = 0; i < 5 && !confirmed; i++) {
        leader = cluster_run_until_leader(cluster, HEAL_MS);
        cr_assert(leader != 0 && cluster_read(cluster, leader, &read_id) == OST_OK);
        cluster_turn_ended(cluster, leader);
        cluster_run_ms(cluster, 200);
        confirmed = cluster_reads_confirmed(cluster, leader) >= read_id;
        cr_assert(confirmed || cluster_reads_failed(cluster, leader) >= read_id,
                  "seed %lu: neither confirmed nor failed", (unsigned long)seed);
    }
    cr_assert(confirmed, "seed %lu: no read", (unsigned long)seed);
}

/* Small messages and windows, so that they fill. */
static void chaos_tune(struct raft_options *options)
{
    options->message_bytes_max = 20;
    options->inflight_messages_max = 3;
    options->inflight_bytes_max = 64;
}

static uint64_t changes_count, moves_count, destroyed_count;

static void chaos_run(uint64_t seed)
{
    static const uint32_t sizes[] = {3, 3, 5, 1, 4, 2};
    struct chaos chaos = {0};
    struct cluster_options options;
    random_init(&chaos.random, seed * 2 + 1);
    cluster_options_default(&options);
    options.seed = seed;
    options.nodes_count = chaos.nodes_count = sizes[seed % 6];
    options.delay_us_max = seed % 2 ? 2000 : 30000;
    options.disk_us_max = seed % 3 ? 1000 : 20000;
    options.lost_per_mille = (uint32_t)random_below(&chaos.random, 100);
    options.doubled_per_mille = (uint32_t)random_below(&chaos.random, 50);
    options.tune = seed % 5 < 2 ? chaos_tune : NULL;
    chaos.cluster = cluster_new(&options);
    uint64_t ran_ms = 0;
    while (ran_ms < FAULTY_MS) {
        uint64_t ms = 1 + random_below(&chaos.random, 50);
        cluster_run_ms(chaos.cluster, ms);
        ran_ms += ms;
        chaos_load(&chaos);
        if (random_below(&chaos.random, 20) == 0)
            chaos_fault(&chaos);
        if (random_below(&chaos.random, 20) == 0)
            chaos_change_members(&chaos);
        if (random_below(&chaos.random, 100) == 0)
            chaos_destroy_removed(&chaos);
    }
    cluster_heal(chaos.cluster);
    chaos_repair(&chaos);
    chaos_demand_progress(&chaos, seed);
    changes_count += chaos.changes_count;
    moves_count += chaos.moves_count;
    destroyed_count += chaos.destroyed_count;
    cluster_free(chaos.cluster);
}

Test(raft_random, stays_safe_under_faults_and_recovers)
{
    const char *only = getenv("RAFT_RANDOM_SEED");
    if (only) {
        chaos_run(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS_COUNT; seed++)
        chaos_run(seed);
    cr_assert(changes_count > SEEDS_COUNT, "members hardly ever changed");
    cr_assert(moves_count > SEEDS_COUNT / 2, "voters hardly ever changed");
    cr_assert(destroyed_count > SEEDS_COUNT / 2, "hardly anybody was destroyed");
}
