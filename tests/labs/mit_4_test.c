/* mit_4_test.c: lab 4 of MIT's 6.5840 (a fault-tolerant key-value service; lab 3 in earlier years),
 * case by case. Theirs has no transactions: an append is one there (lab_kv.h). */
#include "tests/labs/lab_kv.h"

#include <criterion/criterion.h>

#define SEEDS 5u

/* The labs' GenericTest: clients work for a while, three times over; the network is partitioned
 * again and again meanwhile (`has_partitions`), and all servers crash at its end (`has_crashes`).
 */
#define LOG_BYTES_MAX (8u * 4096u)

static void generic(struct lab_kv *kv, bool has_crashes, bool has_partitions)
{
    for (int iteration = 0; iteration < 3; iteration++) {
        lab_kv_loops_begin(kv);
        lab_kv_sleep(kv, 1000);
        for (uint32_t passed_ms = 0; passed_ms < 5000;) {
            uint32_t ms = LAB_ELECTION_TIMEOUT_MS + (uint32_t)lab_kv_random(kv, 200);
            if (has_partitions)
                lab_kv_partition_randomly(kv);
            lab_kv_sleep(kv, ms);
            passed_ms += ms;
        }
        if (has_partitions) {
            lab_kv_heal(kv);
            lab_kv_sleep(kv, LAB_ELECTION_TIMEOUT_MS);
        }
        if (has_crashes) {
            lab_kv_crash_all(kv);
            lab_kv_sleep(kv, LAB_ELECTION_TIMEOUT_MS);
            lab_kv_start_all(kv);
        }
        lab_kv_loops_end(kv);
        if (!kv->options.is_register)
            lab_kv_check_appends(kv);
        if (kv->options.is_small) {
            lab_kv_sleep(kv, 1000);
            cr_assert_leq(lab_kv_log_bytes_max(kv), LOG_BYTES_MAX, "the logs are not cut");
        }
    }
    /* A frame that is lost, on a connection that is not, costs its sender a second. */
    uint64_t least = kv->options.is_unreliable ? 0 : 20;
    for (uint32_t number = 0; number < kv->options.clients_count; number++)
        cr_assert_gt(kv->clients[number].done_count, least, "client %u has done %lu", number,
                     kv->clients[number].done_count);
}
static void quiet(struct lab_kv *kv)
{
    generic(kv, false, false);
}
static void partitions(struct lab_kv *kv)
{
    generic(kv, false, true);
}
static void crashes(struct lab_kv *kv)
{
    generic(kv, true, false);
}
static void crashes_and_partitions(struct lab_kv *kv)
{
    generic(kv, true, true);
}

#define GENERIC(name, fn, ...)                                                                     \
    Test(mit_4, name)                                                                              \
    {                                                                                              \
        lab_kv_each_seed(fn, (struct lab_kv_options){__VA_ARGS__}, SEEDS);                         \
    }

/* 4A: without snapshots. */
/* TestBasic4A */
GENERIC(basic, quiet, .clients_count = 1)
/* TestConcurrent4A */
GENERIC(concurrent, quiet, .clients_count = 5)
/* TestUnreliable4A */
GENERIC(unreliable, quiet, .clients_count = 5, .is_unreliable = true)
/* TestManyPartitionsOneClient4A */
GENERIC(many_partitions_one_client, partitions, .clients_count = 1)
/* TestManyPartitionsManyClients4A */
GENERIC(many_partitions_many_clients, partitions, .clients_count = 5)
/* TestPersistOneClient4A */
GENERIC(persist_one_client, crashes, .clients_count = 1)
/* TestPersistConcurrent4A */
GENERIC(persist_concurrent, crashes, .clients_count = 5)
/* TestPersistConcurrentUnreliable4A */
GENERIC(persist_concurrent_unreliable, crashes, .clients_count = 5, .is_unreliable = true)
/* TestPersistPartition4A */
GENERIC(persist_partition, crashes_and_partitions, .clients_count = 5)
/* TestPersistPartitionUnreliable4A */
GENERIC(persist_partition_unreliable, crashes_and_partitions, .clients_count = 5,
        .is_unreliable = true)
/* TestPersistPartitionUnreliableLinearizable4A: seven servers there, of which our groups take
 * three; random keys, and puts. */
GENERIC(persist_partition_unreliable_linearizable, crashes_and_partitions, .clients_count = 15,
        .keys_count = 5, .is_unreliable = true, .is_register = true, .is_random = true)

/* 4B: with snapshots. */
/* TestSnapshotRecover4B */
GENERIC(snapshot_recover, crashes, .clients_count = 1, .is_small = true)
/* TestSnapshotRecoverManyClients4B */
GENERIC(snapshot_recover_many_clients, crashes, .clients_count = 15, .is_small = true)
/* TestSnapshotUnreliable4B */
GENERIC(snapshot_unreliable, quiet, .clients_count = 5, .is_unreliable = true, .is_small = true)
/* TestSnapshotUnreliableRecover4B */
GENERIC(snapshot_unreliable_recover, crashes, .clients_count = 5, .is_unreliable = true,
        .is_small = true)
/* TestSnapshotUnreliableRecoverConcurrentPartition4B */
GENERIC(snapshot_unreliable_recover_concurrent_partition, crashes_and_partitions,
        .clients_count = 5, .is_unreliable = true, .is_small = true)
/* TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable4B */
GENERIC(snapshot_unreliable_recover_concurrent_partition_linearizable, crashes_and_partitions,
        .clients_count = 15, .keys_count = 5, .is_unreliable = true, .is_small = true,
        .is_register = true, .is_random = true)

/* Not theirs: a new leader of the shard master is minutes ahead, and what was committed before the
 * crash is forgotten when its client asks again. It may be told that nobody knows, never that
 * nothing happened. */
GENERIC(outcomes_are_not_forgotten_into_aborts, crashes, .clients_count = 15, .is_small = true,
        .has_wild_clocks = true)

/* TestSpeed4A, TestSpeed4B: an operation takes less than a third of a heartbeat of theirs (100 ms).
 */
static void speed(struct lab_kv *kv)
{
    lab_kv_do(kv, 0, LAB_APPEND, 0);
    nanoseconds_t begin_ns = kv->sim.schedule.now_ns;
    for (int i = 0; i < 500; i++)
        lab_kv_do(kv, 0, LAB_APPEND, 0);
    cr_assert_lt((kv->sim.schedule.now_ns - begin_ns) / 500, NS_PER_S / 30);
    lab_kv_do(kv, 0, LAB_GET, 0);
    cr_assert_eq(kv->clients[0].found_count, 501);
}
Test(mit_4, speed)
{
    lab_kv_each_seed(speed, (struct lab_kv_options){.stores_count = 3, .clients_count = 1}, 2);
}
Test(mit_4, speed_with_snapshots)
{
    lab_kv_each_seed(
        speed, (struct lab_kv_options){.stores_count = 3, .clients_count = 1, .is_small = true}, 2);
}

/* TestUnreliableOneKey4A: five clients append ten times each to one key; all are there once, those
 * of a client in its order. */
static void unreliable_one_key(struct lab_kv *kv)
{
    int64_t values[5][10];
    for (int round = 0; round < 10; round++) {
        for (uint32_t client = 0; client < 5; client++)
            lab_kv_begin(kv, client, LAB_APPEND, 0);
        for (uint32_t client = 0; client < 5; client++) {
            lab_kv_wait(kv, client);
            values[client][round] = kv->clients[client].value;
        }
    }
    lab_kv_do(kv, 0, LAB_GET, 0);
    const struct lab_client *reader = &kv->clients[0];
    cr_assert_eq(reader->found_count, 50);
    for (uint32_t client = 0; client < 5; client++) {
        uint32_t at = 0;
        for (int round = 0; round < 10; round++) {
            while (at < 50 && reader->found[at] != values[client][round])
                at++;
            cr_assert_lt(at, 50, "a value is missing, or out of order");
        }
    }
}
Test(mit_4, unreliable_one_key)
{
    lab_kv_each_seed(
        unreliable_one_key,
        (struct lab_kv_options){
            .stores_count = 3, .clients_count = 5, .keys_count = 1, .is_unreliable = true},
        4 * SEEDS); /* 15: what a client asked first was lost everywhere */
}

/* TestOnePartition4A: progress on the side of the majority, and none on the other. */
static void one_partition(struct lab_kv *kv)
{
    lab_kv_do(kv, 0, LAB_PUT, 0);
    uint32_t leader = lab_kv_leader(kv, 1), sides[3] = {0};
    sides[leader] = 1; /* the old leader is in the minority */
    lab_kv_partition(kv, sides);
    lab_kv_client_hears(kv, 0, 7u & ~(1u << leader));
    lab_kv_client_hears(kv, 1, 1u << leader);
    lab_kv_client_hears(kv, 2, 1u << leader);
    lab_kv_do(kv, 0, LAB_PUT, 0);
    int64_t majority_value = kv->clients[0].value;
    lab_kv_do(kv, 0, LAB_GET, 0);
    cr_assert_eq(kv->clients[0].found[0], majority_value);

    lab_kv_begin(kv, 1, LAB_PUT, 0);
    lab_kv_begin(kv, 2, LAB_GET, 0);
    lab_kv_sleep(kv, 1000);
    cr_assert(lab_kv_is_busy(kv, 1), "a put is done in the minority");
    cr_assert(lab_kv_is_busy(kv, 2), "a get is done in the minority");
    lab_kv_do(kv, 0, LAB_GET, 0);
    cr_assert_eq(kv->clients[0].found[0], majority_value);
    lab_kv_do(kv, 0, LAB_PUT, 0);

    lab_kv_heal(kv);
    lab_kv_wait(kv, 1);
    lab_kv_wait(kv, 2);
    lab_kv_do(kv, 0, LAB_GET, 0);
    cr_assert(kv->clients[0].found[0] == kv->clients[1].value ||
              kv->clients[0].found[0] == kv->clients[0].value);
}
Test(mit_4, one_partition)
{
    lab_kv_each_seed(
        one_partition,
        (struct lab_kv_options){
            .stores_count = 3, .clients_count = 3, .keys_count = 1, .is_register = true},
        2 * SEEDS);
}

/* TestSnapshotRPC4B: a server that missed much gets it by a snapshot, and is as good as any: with
 * it alone at its side another can serve everything. */
static void majority(struct lab_kv *kv, uint32_t away)
{
    uint32_t sides[3] = {0};
    sides[away] = 1;
    lab_kv_partition(kv, sides);
    lab_kv_client_hears(kv, 0, 7u & ~(1u << away));
    lab_kv_sleep(kv, LAB_ELECTION_TIMEOUT_MS);
}
static void snapshot_rpc(struct lab_kv *kv)
{
    int64_t values[64];
    lab_kv_do(kv, 0, LAB_PUT, 0);
    values[0] = kv->clients[0].value;
    majority(kv, 2);
    for (uint32_t key = 1; key < 50; key++) {
        lab_kv_do(kv, 0, LAB_PUT, key);
        values[key] = kv->clients[0].value;
    }
    lab_kv_sleep(kv, LAB_ELECTION_TIMEOUT_MS);
    lab_kv_do(kv, 0, LAB_PUT, 50);
    values[50] = kv->clients[0].value;
    lab_kv_sleep(kv, 1000);
    cr_assert_leq(lab_kv_log_bytes_max(kv), LOG_BYTES_MAX);

    /* Everything is read where one of two has it by a snapshot alone. */
    majority(kv, 1);
    lab_kv_do(kv, 0, LAB_PUT, 51);
    values[51] = kv->clients[0].value;
    for (uint32_t key = 0; key <= 51; key++) {
        lab_kv_do(kv, 0, LAB_GET, key);
        cr_assert(kv->clients[0].found_count == 1 && kv->clients[0].found[0] == values[key]);
    }
    cr_assert_gt(lab_kv_snapshots_installed(kv), 0, "no snapshot was needed");

    majority(kv, 2);
    lab_kv_do(kv, 0, LAB_PUT, 52);
    lab_kv_do(kv, 0, LAB_GET, 51);
    cr_assert_eq(kv->clients[0].found[0], values[51]);
}
Test(mit_4, snapshot_rpc)
{
    lab_kv_each_seed(snapshot_rpc,
                     (struct lab_kv_options){.stores_count = 3,
                                             .clients_count = 1,
                                             .keys_count = 53,
                                             .is_register = true,
                                             .is_small = true},
                     SEEDS);
}

/* TestSnapshotSize4B: two hundred writes of one key leave a short log. */
static void snapshot_size(struct lab_kv *kv)
{
    for (int i = 0; i < 200; i++) {
        lab_kv_do(kv, 0, LAB_PUT, 0);
        lab_kv_do(kv, 0, LAB_GET, 0);
        cr_assert_eq(kv->clients[0].found[0], kv->clients[0].value);
    }
    lab_kv_sleep(kv, 1000);
    cr_assert_leq(lab_kv_log_bytes_max(kv), LOG_BYTES_MAX);
}
Test(mit_4, snapshot_size)
{
    lab_kv_each_seed(snapshot_size,
                     (struct lab_kv_options){.stores_count = 3,
                                             .clients_count = 1,
                                             .keys_count = 1,
                                             .is_register = true,
                                             .is_small = true},
                     2);
}
