/* Replicas that come and go on stores that crash, with snapshots under way, and logs that rot. */
#include "base/arena.h"
#include "base/log.h"
#include "proto/raft.pb-c.h"
#include "raft/wal.h"
#include "tests/support/host_cluster.h"

#include <criterion/criterion.h>

TestSuite(raft_host_membership, .timeout = 300);

static void log_be_quiet(enum log_level level, const char *line, void *context)
{
    (void)level;
    (void)line;
    (void)context;
}

static struct host_cluster *cluster_small(uint64_t seed, uint32_t groups_count)
{
    log_set_sink(log_be_quiet, NULL);
    struct raft_host_options options;
    raft_host_options_default(&options);
    options.log_segment_bytes = 256u << 10;
    options.log_write_bytes_max = 64u << 10;
    options.log_retained_bytes_max = 16u << 10;
    options.snapshot_chunk_bytes = 4096;
    struct host_cluster *cluster = host_cluster_new(seed, 3, groups_count, &options);
    host_cluster_elect(cluster);
    return cluster;
}

static void propose(struct host_cluster *cluster, group_id_t group, int count)
{
    for (int i = 0; i < count; i++) {
        (void)host_cluster_propose(cluster, group, 300);
        host_cluster_run(cluster, 3);
    }
}

/* Until the group's leader has these members, as voters or learners: asks it again and again, as
 * the shard master does. */
static void reach(struct host_cluster *cluster, group_id_t group,
                  const struct raft_configuration *target)
{
    for (int i = 0; i < 2000; i++) {
        store_id_t leader = host_cluster_leader(cluster, group);
        host_cluster_run(cluster, 10);
        if (leader == 0 || !host_cluster_host(cluster, leader))
            continue;
        int status =
            raft_host_configure(host_cluster_host(cluster, leader), group, target, cluster->now_ns);
        if (status == OST_EXISTS &&
            raft_host_configuration_is_settled(host_cluster_host(cluster, leader), group))
            return;
        cr_assert(status == OST_OK || status == OST_CONFLICT || status == OST_EXISTS ||
                      status == OST_INVALID_ARGUMENT || ost_status_is_retryable(status),
                  "%s", ost_status_name(status));
    }
    cr_assert_fail("group %lu does not get its members", group);
}

static struct raft_configuration members(const replica_id_t *replicas, uint32_t count,
                                         uint32_t voters_count)
{
    struct raft_configuration target = {0};
    for (uint32_t i = 0; i < count; i++)
        target.members[target.members_count++] =
            (struct raft_member){.replica = replicas[i],
                                 .store = replicas[i] % 10,
                                 .voter_old = i < voters_count,
                                 .voter_new = i < voters_count};
    return target;
}

/* The replica of the group at `store` gives way to one with another number at the same store. */
static void replace(struct host_cluster *cluster, group_id_t group, store_id_t store,
                    replica_id_t old, replica_id_t new)
{
    replica_id_t replicas[3];
    uint32_t count = 0;
    for (store_id_t other = 1; other <= 3; other++) {
        if (other != store)
            replicas[count++] = host_cluster_replica(cluster, other, group);
    }
    struct raft_configuration target = members(replicas, 2, 2);
    reach(cluster, group, &target);
    struct raft_host *host = host_cluster_host(cluster, store);
    cr_assert_eq(raft_host_group_remove(host, group, old, cluster->now_ns), OST_OK);
    int status = OST_BUSY;
    for (int i = 0; i < 1000 && status != OST_OK; i++) {
        host_cluster_run(cluster, 1);
        status = host_cluster_add_replica(cluster, store, group, new);
        cr_assert(status == OST_OK || status == OST_BUSY || status == OST_EXISTS, "%s",
                  ost_status_name(status));
    }
    cr_assert_eq(status, OST_OK);
    replicas[2] = new;
    target = members(replicas, 3, 2);
    reach(cluster, group, &target);
    target = members(replicas, 3, 3);
    reach(cluster, group, &target);
}

Test(raft_host_membership, a_replica_is_replaced_by_one_with_a_new_number)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct host_cluster *cluster = cluster_small(seed, 2);
        propose(cluster, 1, 30);
        store_id_t store = 1 + seed % 3; /* the leader's in some runs */
        if (seed % 2 == 0) {             /* by a snapshot */
            host_cluster_settle(cluster);
            propose(cluster, 1, 100);
            for (store_id_t each = 1; each <= 3; each++)
                host_cluster_flush(cluster, each);
        }
        replace(cluster, 1, store, 10 + store, 20 + store);
        cr_assert_eq(toy_destroyed_count(host_cluster_toy(cluster, store, 1)), 1);
        propose(cluster, 1, 10);
        host_cluster_settle(cluster);
        cr_assert_gt(toy_applied(host_cluster_toy(cluster, store, 1)), 40);
        /* It counts: without another of the three the group goes on. */
        host_cluster_crash(cluster, store % 3 + 1);
        host_cluster_run(cluster, 3000);
        raft_index_t applied = toy_applied(host_cluster_toy(cluster, store, 1));
        propose(cluster, 1, 10);
        host_cluster_run(cluster, 100);
        cr_assert_gt(toy_applied(host_cluster_toy(cluster, store, 1)), applied);
        host_cluster_free(cluster);
    }
}

/* R7: else a leader that a snapshot has fed would obey a wish that a newer one has replaced. */
Test(raft_host_membership, a_configuration_that_comes_with_a_snapshot_has_its_epoch)
{
    struct host_cluster *cluster = cluster_small(1, 1);
    store_id_t behind = host_cluster_leader(cluster, 1) % 3 + 1;
    host_cluster_isolate(cluster, behind, true);
    struct raft_configuration target = members((replica_id_t[]){11, 12, 13}, 3, 3);
    target.epoch = 7;
    reach(cluster, 1, &target);
    propose(cluster, 1, 100);
    host_cluster_run(cluster, 11000);
    for (store_id_t store = 1; store <= 3; store++)
        host_cluster_flush(cluster, store);
    cr_assert_eq(raft_host_configuration(host_cluster_host(cluster, behind), 1)->epoch, 0);
    uint64_t chunks = cluster->chunks_count;
    host_cluster_isolate(cluster, behind, false);
    host_cluster_settle(cluster);
    cr_assert_gt(cluster->chunks_count, chunks, "or no snapshot was needed");
    cr_assert_eq(raft_host_configuration(host_cluster_host(cluster, behind), 1)->epoch, 7);
    host_cluster_free(cluster);
}

/* R6: nothing is said in its name, or taken in its name, once it is removed. */
struct silence {
    replica_id_t replica;
    bool armed;
};

static void silence_frame(struct host_cluster *cluster, store_id_t from, store_id_t to,
                          const struct frame *frame)
{
    (void)from;
    (void)to;
    const struct silence *silence = cluster->context;
    if (!silence->armed)
        return;
    struct arena arena;
    arena_init(&arena);
    if (frame->type == FRAME_RAFT_BATCH) {
        const Ostraka__RaftBatch *batch = (const Ostraka__RaftBatch *)message_unpack(
            &ostraka__raft_batch__descriptor, frame->message, &arena);
        for (size_t i = 0; i < batch->n_messages; i++)
            cr_assert_neq(batch->messages[i]->from, silence->replica);
    } else {
        const Ostraka__RaftSnapshotChunk *chunk =
            (const Ostraka__RaftSnapshotChunk *)message_unpack(
                &ostraka__raft_snapshot_chunk__descriptor, frame->message, &arena);
        cr_assert_neq(chunk->from, silence->replica);
    }
    arena_fini(&arena);
}

Test(raft_host_membership, a_removed_replica_never_answers_again)
{
    struct host_cluster *cluster = cluster_small(3, 1);
    struct silence silence = {.replica = 12, .armed = true};
    propose(cluster, 1, 20);
    host_cluster_settle(cluster);
    host_cluster_run(cluster, 100);
    /* Answers are held back until the disk has what they say. */
    host_cluster_hang_disk(cluster, 2, true);
    propose(cluster, 1, 5);
    cluster->context = &silence;
    cluster->on_frame = silence_frame;
    struct raft_host *host = host_cluster_host(cluster, 2);
    cr_assert_eq(raft_host_group_remove(host, 1, 13, cluster->now_ns), OST_NOT_FOUND, "another");
    cr_assert_eq(raft_host_group_remove(host, 1, 12, cluster->now_ns), OST_OK);
    struct raft_status status;
    cr_assert_eq(raft_host_group_status(host, 1, &status), OST_NOT_FOUND, "at once");
    cr_assert_eq(host_cluster_add_replica(cluster, 2, 1, 22), OST_EXISTS, "the toy is there");
    host_cluster_run(cluster, 10);
    host_cluster_hang_disk(cluster, 2, false);
    host_cluster_run(cluster, 3000);
    cr_assert_eq(toy_destroyed_count(host_cluster_toy(cluster, 2, 1)), 1);
    cr_assert_eq(raft_host_group_remove(host, 1, 12, cluster->now_ns), OST_OK, "again");
    cr_assert_eq(host_cluster_add_replica(cluster, 2, 1, 12), OST_NOT_FOUND, "its number is used");
    cr_assert_eq(host_cluster_add_replica(cluster, 2, 1, 11), OST_NOT_FOUND, "so are lower ones");
    for (int i = 0; i < 3; i++) {
        host_cluster_crash(cluster, 2);
        if (i == 1) /* rows that outlive it are of no use */
            cr_assert_eq(host_cluster_replica(cluster, 2, 1), 0);
        cr_assert_eq(host_cluster_start(cluster, 2), OST_OK);
        cr_assert_eq(host_cluster_replica(cluster, 2, 1), 0);
        host_cluster_run(cluster, 1000);
        host_cluster_flush(cluster, 2);
    }
    host_cluster_free(cluster);
}

/* A removal is remembered or it never was: at any moment of a crash. */
Test(raft_host_membership, a_crash_leaves_a_replica_whole_or_destroyed)
{
    uint32_t whole = 0, destroyed = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct host_cluster *cluster = cluster_small(seed, 2);
        propose(cluster, 1, 10);
        struct raft_host *host = host_cluster_host(cluster, 1);
        cr_assert_eq(raft_host_group_remove(host, 1, 11, cluster->now_ns), OST_OK);
        host_cluster_run(cluster, (uint32_t)(seed % 10));
        bool was_told = toy_destroyed_count(host_cluster_toy(cluster, 1, 1)) == 1;
        host_cluster_crash(cluster, 1);
        cr_assert_eq(host_cluster_start(cluster, 1), OST_OK);
        replica_id_t now = host_cluster_replica(cluster, 1, 1);
        cr_assert(now == 0 || (now == 11 && !was_told), "seed %lu", seed);
        whole += now == 11;
        destroyed += now == 0;
        if (now == 11)
            cr_assert_eq(
                raft_host_group_remove(host_cluster_host(cluster, 1), 1, 11, cluster->now_ns),
                OST_OK);
        host_cluster_run(cluster, 100);
        cr_assert_eq(host_cluster_replica(cluster, 1, 1), 0);
        cr_assert_eq(host_cluster_add_replica(cluster, 1, 1, 21), OST_OK);
        host_cluster_run(cluster, 50);
        /* New, and known to the log alone. */
        host_cluster_crash(cluster, 1);
        cr_assert_eq(host_cluster_start(cluster, 1), OST_OK);
        cr_assert_eq(host_cluster_replica(cluster, 1, 1), 21);
        host_cluster_free(cluster);
    }
    cr_assert_gt(whole, 3);
    cr_assert_gt(destroyed, 3);
}

/* Jobs of the pool hold what they read or write until they are back. */
Test(raft_host_membership, a_replica_may_go_while_snapshots_of_it_are_under_way)
{
    uint32_t sent = 0, received = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct host_cluster *cluster = cluster_small(seed, 1);
        store_id_t leader = host_cluster_leader(cluster, 1);
        store_id_t behind = leader % 3 + 1;
        host_cluster_isolate(cluster, behind, true);
        propose(cluster, 1, 100);
        host_cluster_run(cluster, 11000);
        for (store_id_t store = 1; store <= 3; store++)
            host_cluster_flush(cluster, store);
        host_cluster_isolate(cluster, behind, false);
        uint64_t chunks = cluster->chunks_count;
        for (int i = 0; i < 5000 && cluster->chunks_count < chunks + 2; i++)
            host_cluster_run(cluster, 1);
        host_cluster_run(cluster, (uint32_t)(seed % 9));
        leader = host_cluster_leader(cluster, 1);
        store_id_t goes = seed % 2 ? behind : leader;
        if (goes == 0)
            goes = behind;
        sent += goes != behind && cluster->chunks_count > chunks;
        received += goes == behind && cluster->chunks_count > chunks;
        cr_assert_eq(
            raft_host_group_remove(host_cluster_host(cluster, goes), 1, 10 + goes, cluster->now_ns),
            OST_OK);
        host_cluster_run(cluster, 200);
        cr_assert_eq(toy_destroyed_count(host_cluster_toy(cluster, goes, 1)), 1);
        cr_assert_eq(host_cluster_replica(cluster, goes, 1), 0);
        host_cluster_free(cluster);
    }
    cr_assert_gt(sent, 3);
    cr_assert_gt(received, 3);
}

/* Removal under reads and proposals: the machine is told that they are in vain. */
Test(raft_host_membership, a_leader_may_be_removed_in_the_middle_of_its_work)
{
    struct host_cluster *cluster = cluster_small(4, 1);
    store_id_t leader = host_cluster_leader(cluster, 1);
    for (int i = 0; i < 10; i++) {
        cr_assert(host_cluster_propose(cluster, 1, 100));
        cr_assert(host_cluster_read(cluster, leader, 1));
    }
    cr_assert_eq(
        raft_host_group_remove(host_cluster_host(cluster, leader), 1, 10 + leader, cluster->now_ns),
        OST_OK);
    host_cluster_run(cluster, 100);
    cr_assert_eq(toy_reads_failed(host_cluster_toy(cluster, leader, 1)), 10);
    cr_assert_eq(toy_destroyed_count(host_cluster_toy(cluster, leader, 1)), 1);
    host_cluster_elect(cluster);
    host_cluster_free(cluster);
}

/* Damage. */

/* Where a write of the store's log begins whose body is not the last: byte `at` of the segments. */
static bool find_write(struct host_cluster *cluster, store_id_t store, uint32_t skip,
                       uint32_t *out_segment, size_t *out_offset)
{
    for (uint32_t segment = 1; segment < 1000; segment++) {
        const uint8_t *bytes = host_cluster_segment(cluster, store, segment);
        for (size_t at = 0; bytes && at < cluster->options.log_segment_bytes;
             at += WAL_BLOCK_BYTES) {
            if (memcmp(bytes + at, "OWAL", 4) != 0 || skip-- > 0)
                continue;
            *out_segment = segment;
            *out_offset = at;
            return true;
        }
    }
    return false;
}

Test(raft_host_membership, a_damaged_replica_is_not_served_and_is_rebuilt)
{
    for (uint32_t skip = 0; skip < 8; skip++) {
        struct host_cluster *cluster = cluster_small(7, 6);
        for (int i = 0; i < 20; i++) {
            for (group_id_t group = 1; group <= 6; group++)
                propose(cluster, group, 1);
        }
        host_cluster_settle(cluster);
        host_cluster_run(cluster, 200);
        host_cluster_crash(cluster, 2);
        uint32_t segment;
        size_t offset;
        cr_assert(find_write(cluster, 2, skip * 3, &segment, &offset));
        host_cluster_segment(cluster, 2, segment)[offset + 300] ^= 1;
        cr_assert_eq(host_cluster_start(cluster, 2), OST_OK);
        struct raft_host *host = host_cluster_host(cluster, 2);
        uint32_t damaged = 0;
        struct silence silence = {.armed = true};
        cluster->context = &silence;
        cluster->on_frame = silence_frame;
        for (group_id_t group = 1; group <= 6; group++) {
            struct raft_status status;
            bool is_damaged = raft_host_group_damaged(host, group);
            damaged += is_damaged;
            silence.replica = is_damaged ? 10 * group + 2 : silence.replica;
            cr_assert_eq(raft_host_group_status(host, group, &status),
                         is_damaged ? OST_NOT_FOUND : OST_OK);
            if (is_damaged)
                cr_assert_eq(host_cluster_add_replica(cluster, 2, group, 10 * group + 2),
                             OST_CORRUPT);
        }
        cr_assert(damaged > 0 && (skip == 0 || damaged < 6), "%u of 6", damaged);
        host_cluster_run(cluster, 3000);
        /* It stays so. */
        host_cluster_crash(cluster, 2);
        cr_assert_eq(host_cluster_start(cluster, 2), OST_OK);
        host = host_cluster_host(cluster, 2);
        silence.armed = false;
        for (group_id_t group = 1; group <= 6; group++) {
            damaged -= raft_host_group_damaged(host, group);
            if (!raft_host_group_damaged(host, group))
                continue;
            replace(cluster, group, 2, 10 * group + 2, 100 + 10 * group + 2);
            cr_assert_not(raft_host_group_damaged(host, group));
            propose(cluster, group, 5);
        }
        cr_assert_eq(damaged, 0);
        host_cluster_settle(cluster);
        host_cluster_crash(cluster, 2);
        cr_assert_eq(host_cluster_start(cluster, 2), OST_OK);
        host_cluster_settle(cluster);
        host_cluster_free(cluster);
    }
}

/* Everything at once, from a seed. The checks are in host_cluster.c. */
static void chaos(uint64_t seed)
{
    struct host_cluster *cluster = cluster_small(seed, 2);
    struct random random;
    random_init(&random, seed);
    replica_id_t next = 10;
    for (int life = 0; life < 12; life++) {
        for (int i = 0; i < 60; i++) {
            store_id_t store = 1 + random_below(&random, 3);
            switch (random_below(&random, 30)) {
            case 0:
                if (host_cluster_host(cluster, store))
                    host_cluster_crash(cluster, store);
                break;
            case 1:
            case 2:
                if (!host_cluster_host(cluster, store))
                    cr_assert_eq(host_cluster_start(cluster, store), OST_OK);
                break;
            case 3:
            case 4:
                if (host_cluster_host(cluster, store))
                    host_cluster_flush(cluster, store);
                break;
            case 5:
                cluster->loss_percent = (uint32_t)random_below(&random, 2) * 10;
                break;
            case 6:
                if (host_cluster_host(cluster, store))
                    (void)host_cluster_read(cluster, store, 1 + random_below(&random, 2));
                break;
            default:
                propose(cluster, 1 + random_below(&random, 2), 1);
            }
            host_cluster_run(cluster, (uint32_t)random_below(&random, 20));
        }
        cluster->loss_percent = 0;
        for (store_id_t store = 1; store <= 3; store++) {
            if (!host_cluster_host(cluster, store))
                cr_assert_eq(host_cluster_start(cluster, store), OST_OK);
        }
        store_id_t store = 1 + random_below(&random, 3);
        next += 10;
        replace(cluster, 1, store, host_cluster_replica(cluster, store, 1), next + store);
    }
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host_membership, replicas_come_and_go_under_faults)
{
    for (uint64_t seed = 100; seed < 112; seed++)
        chaos(seed);
}
