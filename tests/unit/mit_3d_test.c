/* mit_3d_test.c: lab 3D of MIT's 6.5840 (log compaction), case by case. A server flushes its state
 * and cuts its log after every ten commands, and keeps nothing for who lags. */
#include "tests/support/lab_raft.h"

#include <criterion/criterion.h>

#define SEEDS          100u
#define SNAPSHOT_EVERY 10u

static void submit_some(struct lab_raft *lab, store_id_t server, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        (void)lab_raft_submit(lab, server, lab_raft_value(lab), 0, NULL, NULL);
}

/* The logs stay short: between two snapshots, what one iteration brings, and what opens terms. */
static void check_logs_are_short(struct lab_raft *lab)
{
    for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
        struct raft_status status;
        if (!lab_raft_is_up(lab, server) || !lab->is_connected[server])
            continue;
        cr_assert_eq(raft_host_group_status(host_cluster_host(lab->cluster, server), 1, &status),
                     OST_OK);
        cr_assert_leq(status.last_index - status.first_index + 1, 4 * SNAPSHOT_EVERY,
                      "seed %lu: the log of server %lu is not cut", lab->options.seed, server);
    }
}

/* snapcommon */
enum snapshot_fault { FAULT_NONE, FAULT_DISCONNECT, FAULT_CRASH };
static void snapshots(struct lab_raft *lab, enum snapshot_fault fault)
{
    lab_raft_agree(lab, lab_raft_value(lab), 3, true);
    store_id_t leader = lab_raft_check_one_leader(lab);
    for (int i = 0; i < 30; i++) {
        store_id_t victim = lab_raft_next(lab, leader, 1), sender = leader;
        if (i % 3 == 1) {
            sender = lab_raft_next(lab, leader, 1);
            victim = leader;
        }
        if (fault == FAULT_DISCONNECT)
            lab_raft_disconnect(lab, victim);
        if (fault == FAULT_CRASH)
            lab_raft_crash(lab, victim);
        if (fault != FAULT_NONE)
            lab_raft_agree(lab, lab_raft_value(lab), 2, true);

        /* Perhaps enough for a snapshot, perhaps not. */
        submit_some(lab, sender, SNAPSHOT_EVERY / 2 + lab_raft_random(lab, SNAPSHOT_EVERY));
        lab_raft_agree(lab, lab_raft_value(lab), fault == FAULT_NONE ? 3 : 2, true);
        check_logs_are_short(lab);

        if (fault == FAULT_DISCONNECT)
            lab_raft_connect(lab, victim);
        if (fault == FAULT_CRASH)
            lab_raft_restart(lab, victim);
        if (fault != FAULT_NONE) {
            lab_raft_agree(lab, lab_raft_value(lab), 3, true);
            leader = lab_raft_check_one_leader(lab);
        }
    }
    if (fault != FAULT_NONE)
        cr_assert_gt(lab->cluster->restores_finished_count, 0, "no snapshot was needed");
}
static void snapshot_basic(struct lab_raft *lab)
{
    snapshots(lab, FAULT_NONE);
}
static void snapshot_install(struct lab_raft *lab)
{
    snapshots(lab, FAULT_DISCONNECT);
}
static void snapshot_install_crash(struct lab_raft *lab)
{
    snapshots(lab, FAULT_CRASH);
}

static const struct lab_raft_options reliable = {.servers_count = 3,
                                                 .snapshot_every = SNAPSHOT_EVERY};
static const struct lab_raft_options unreliable = {
    .servers_count = 3, .snapshot_every = SNAPSHOT_EVERY, .is_unreliable = true};

/* TestSnapshotBasic3D */
Test(mit_3d, snapshot_basic)
{
    lab_raft_each_seed(snapshot_basic, reliable, SEEDS);
}
/* TestSnapshotInstall3D */
Test(mit_3d, snapshot_install)
{
    lab_raft_each_seed(snapshot_install, reliable, SEEDS);
}
/* TestSnapshotInstallUnreliable3D */
Test(mit_3d, snapshot_install_unreliable)
{
    lab_raft_each_seed(snapshot_install, unreliable, SEEDS);
}
/* TestSnapshotInstallCrash3D */
Test(mit_3d, snapshot_install_crash)
{
    lab_raft_each_seed(snapshot_install_crash, reliable, SEEDS);
}
/* TestSnapshotInstallUnCrash3D */
Test(mit_3d, snapshot_install_unreliable_crash)
{
    lab_raft_each_seed(snapshot_install_crash, unreliable, SEEDS);
}

static void restart_all(struct lab_raft *lab)
{
    for (store_id_t server = 1; server <= 3; server++)
        lab_raft_crash(lab, server);
    for (store_id_t server = 1; server <= 3; server++)
        lab_raft_restart(lab, server);
}

/* TestSnapshotAllCrash3D */
static void snapshot_all_crash(struct lab_raft *lab)
{
    lab_raft_agree(lab, lab_raft_value(lab), 3, true);
    for (int i = 0; i < 5; i++) {
        uint64_t count = SNAPSHOT_EVERY / 2 + lab_raft_random(lab, SNAPSHOT_EVERY);
        for (uint64_t j = 0; j < count; j++)
            lab_raft_agree(lab, lab_raft_value(lab), 3, true);
        raft_index_t before = lab_raft_agree(lab, lab_raft_value(lab), 3, true);
        restart_all(lab);
        cr_assert_gt(lab_raft_agree(lab, lab_raft_value(lab), 3, true), before);
    }
}
Test(mit_3d, snapshot_all_crash)
{
    lab_raft_each_seed(snapshot_all_crash, reliable, SEEDS);
}

/* TestSnapshotInit3D: what is left after a snapshot survives two restarts in a row. */
static void snapshot_init(struct lab_raft *lab)
{
    lab_raft_agree(lab, lab_raft_value(lab), 3, true);
    for (uint32_t i = 0; i < SNAPSHOT_EVERY + 1; i++)
        lab_raft_agree(lab, lab_raft_value(lab), 3, true);
    restart_all(lab);
    raft_index_t before = lab_raft_agree(lab, lab_raft_value(lab), 3, true);
    restart_all(lab);
    cr_assert_gt(lab_raft_agree(lab, lab_raft_value(lab), 3, true), before);
}
Test(mit_3d, snapshot_init)
{
    lab_raft_each_seed(snapshot_init, reliable, SEEDS);
}
