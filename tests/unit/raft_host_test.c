/* Three stores, many groups, one log each: what raft_host promises, told as stories. */
#include "base/arena.h"
#include "base/log.h"
#include "proto/raft.pb-c.h"
#include "raft/host_internal.h"
#include "raft/wal.h"
#include "tests/support/host_cluster.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(raft_host, .timeout = 300);

static void log_be_quiet(enum log_level level, const char *line, void *context)
{
    (void)level;
    (void)line;
    (void)context;
}

static struct raft_host_options options_small(void)
{
    log_set_sink(log_be_quiet, NULL);
    struct raft_host_options options;
    raft_host_options_default(&options);
    options.log_segment_bytes = 256u << 10;
    options.log_write_bytes_max = 64u << 10;
    options.log_retained_bytes_max = 128u << 10;
    options.snapshot_chunk_bytes = 4096;
    return options;
}

static struct host_cluster *cluster_small(uint64_t seed, uint32_t groups_count)
{
    struct raft_host_options options = options_small();
    struct host_cluster *cluster = host_cluster_new(seed, 3, groups_count, &options);
    host_cluster_elect(cluster);
    return cluster;
}

static store_id_t other_than(store_id_t store)
{
    return store % 3 + 1;
}

Test(raft_host, many_groups_elect_and_replicate)
{
    struct host_cluster *cluster = cluster_small(1, 100);
    for (int i = 0; i < 20; i++) {
        for (group_id_t group = 1; group <= 100; group++)
            cr_assert(host_cluster_propose(cluster, group, 100));
        host_cluster_run(cluster, 5);
    }
    host_cluster_settle(cluster);
    const struct metrics *metrics = host_cluster_metrics(cluster, 1);
    cr_assert_geq(metrics->log_entries_count, 2100);
    cr_assert_lt(metrics->log_writes_count, 900, "groups share writes: %lu",
                 metrics->log_writes_count);
    host_cluster_free(cluster);
}

Test(raft_host, large_entries_pass)
{
    struct host_cluster *cluster = cluster_small(2, 2);
    cr_assert(host_cluster_propose(cluster, 1, 900000));
    for (int i = 0; i < 10; i++) {
        cr_assert(host_cluster_propose(cluster, 2, 10));
        cr_assert(host_cluster_propose(cluster, 1, 50000));
    }
    host_cluster_settle(cluster);
    store_id_t leader = host_cluster_leader(cluster, 1);
    host_cluster_crash(cluster, leader);
    cr_assert_eq(host_cluster_start(cluster, leader), OST_OK);
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host, idle_groups_send_only_heartbeats_and_those_together)
{
    struct host_cluster *cluster = cluster_small(3, 200);
    host_cluster_run(cluster, 2000);
    uint64_t writes = host_cluster_metrics(cluster, 1)->log_writes_count;
    uint64_t frames = cluster->frames_count;
    host_cluster_run(cluster, 1000);
    cr_assert_eq(host_cluster_metrics(cluster, 1)->log_writes_count, writes);
    /* 200 groups, 20 heartbeats, 2 followers, 2 ways: 16000 messages, one by one. */
    cr_assert_lt(cluster->frames_count - frames, 8000, "%lu", cluster->frames_count - frames);
    host_cluster_free(cluster);
}

Test(raft_host, restarts_from_the_log_with_nothing_flushed)
{
    struct host_cluster *cluster = cluster_small(4, 10);
    for (int i = 0; i < 50; i++)
        cr_assert(host_cluster_propose(cluster, (group_id_t)i % 10 + 1, 200));
    host_cluster_settle(cluster);
    for (store_id_t store = 1; store <= 3; store++)
        host_cluster_crash(cluster, store);
    for (store_id_t store = 1; store <= 3; store++)
        cr_assert_eq(host_cluster_start(cluster, store), OST_OK);
    cr_assert_eq(toy_applied(host_cluster_toy(cluster, 1, 1)), 0);
    host_cluster_elect(cluster);
    host_cluster_settle(cluster);
    cr_assert_geq(toy_applied(host_cluster_toy(cluster, 1, 1)), 6);
    host_cluster_free(cluster);
}

Test(raft_host, a_follower_far_behind_gets_a_snapshot_in_chunks)
{
    struct host_cluster *cluster = cluster_small(5, 3);
    store_id_t leader = host_cluster_leader(cluster, 1);
    store_id_t away = other_than(leader);
    host_cluster_crash(cluster, away);
    for (int i = 0; i < 300; i++) {
        while (!host_cluster_propose(cluster, 1, 500))
            host_cluster_run(cluster, 10);
        host_cluster_run(cluster, 2);
    }
    host_cluster_settle(cluster);
    host_cluster_run(cluster, 11000); /* it is not waited for any longer */
    for (store_id_t store = 1; store <= 3; store++)
        if (store != away)
            host_cluster_flush(cluster, store);
    cr_assert_eq(host_cluster_start(cluster, away), OST_OK);
    host_cluster_settle(cluster);
    cr_assert_geq(cluster->chunks_count, 36, "150 KB in chunks of 4 KiB");
    cr_assert_geq(host_cluster_metrics(cluster, away)->snapshots_installed_count, 1);

    /* It goes on from there, over a crash. */
    cr_assert(host_cluster_propose(cluster, 1, 100));
    host_cluster_settle(cluster);
    host_cluster_crash(cluster, away);
    cr_assert_eq(host_cluster_start(cluster, away), OST_OK);
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host, snapshots_pass_a_network_that_loses)
{
    struct host_cluster *cluster = cluster_small(6, 1);
    store_id_t leader = host_cluster_leader(cluster, 1);
    store_id_t away = other_than(leader);
    host_cluster_isolate(cluster, away, true);
    for (int i = 0; i < 100; i++) {
        while (!host_cluster_propose(cluster, 1, 500))
            host_cluster_run(cluster, 10);
        host_cluster_run(cluster, 2);
    }
    host_cluster_run(cluster, 11000);
    for (store_id_t store = 1; store <= 3; store++)
        host_cluster_flush(cluster, store);
    host_cluster_isolate(cluster, away, false);
    cluster->loss_percent = 10;
    /* What is lost is sent again, soon; a new attempt would come after 30 s only. */
    host_cluster_run(cluster, 3000);
    cr_assert_geq(host_cluster_metrics(cluster, away)->snapshots_installed_count, 1);
    cluster->loss_percent = 0;
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

static void write_and_flush(struct host_cluster *cluster, store_id_t leader)
{
    for (int i = 0; i < 5; i++)
        cr_assert(host_cluster_propose(cluster, 1, 500));
    host_cluster_run(cluster, 20);
    host_cluster_flush(cluster, leader);
}

/* Far more is written while it streams than is kept for those who lag: the next snapshot would have
 * the same fate, and the one after it. */
Test(raft_host, what_is_written_while_a_snapshot_streams_is_kept_for_it)
{
    struct raft_host_options options = options_small();
    options.log_retained_bytes_max = 4096;
    struct host_cluster *cluster = host_cluster_new(8, 3, 1, &options);
    host_cluster_elect(cluster);
    store_id_t leader = host_cluster_leader(cluster, 1);
    store_id_t away = other_than(leader);
    host_cluster_isolate(cluster, away, true);
    for (int i = 0; i < 100; i++)
        write_and_flush(cluster, leader);
    host_cluster_run(cluster, 11000);
    host_cluster_flush(cluster, leader);
    host_cluster_isolate(cluster, away, false);
    const struct metrics *metrics = host_cluster_metrics(cluster, away);
    uint32_t rounds = 0;
    for (; rounds < 1000 && metrics->snapshots_installed_count == 0; rounds++)
        write_and_flush(cluster, leader);
    cr_assert_geq(rounds, 10, "25 KB of log or more");
    for (rounds = 0; rounds < 100; rounds++)
        write_and_flush(cluster, leader);
    host_cluster_settle(cluster);
    cr_assert_eq(metrics->snapshots_installed_count, 1);
    struct raft_status status;
    host_cluster_flush(cluster, leader);
    cr_assert_eq(raft_host_group_status(host_cluster_host(cluster, leader), 1, &status), OST_OK);
    cr_expect_lt(status.log_bytes, 4096, "and then no more");
    host_cluster_free(cluster);
}

/* The sender dies in the middle, and another leader has in its log what the follower needs. What
 * has come of the snapshot must not keep the follower from applying it. */
Test(raft_host, a_follower_applies_what_outran_its_snapshot)
{
    struct host_cluster *cluster = cluster_small(7, 1);
    store_id_t leader = host_cluster_leader(cluster, 1);
    store_id_t away = other_than(leader), third = other_than(away);
    host_cluster_isolate(cluster, away, true);
    for (int i = 0; i < 100; i++) {
        while (!host_cluster_propose(cluster, 1, 500))
            host_cluster_run(cluster, 10);
        host_cluster_run(cluster, 2);
    }
    host_cluster_run(cluster, 11000);
    host_cluster_flush(cluster, leader);
    host_cluster_isolate(cluster, away, false);
    uint64_t chunks = cluster->chunks_count;
    for (int i = 0; i < 5000 && cluster->chunks_count < chunks + 3; i++)
        host_cluster_run(cluster, 1);
    cr_assert_eq(cluster->chunks_count, chunks + 3);
    cr_assert_eq(host_cluster_leader(cluster, 1), leader);
    host_cluster_crash(cluster, leader);
    host_cluster_run(cluster, 5000);
    cr_assert_eq(host_cluster_leader(cluster, 1), third);
    cr_assert_geq(toy_applied(host_cluster_toy(cluster, third, 1)), 101);
    cr_assert_eq(toy_applied(host_cluster_toy(cluster, away, 1)),
                 toy_applied(host_cluster_toy(cluster, third, 1)));
    cr_assert_eq(host_cluster_metrics(cluster, away)->snapshots_installed_count, 0);
    host_cluster_free(cluster);
}

/* The machine has the snapshot durably, and the crash comes before the log was reset behind it. */
static void crash_after_restore(uint64_t seed)
{
    struct host_cluster *cluster = cluster_small(seed, 1);
    store_id_t away = other_than(host_cluster_leader(cluster, 1));
    for (int i = 0; i < 5; i++)
        cr_assert(host_cluster_propose(cluster, 1, 100));
    host_cluster_settle(cluster);
    host_cluster_isolate(cluster, away, true);
    for (int i = 0; i < 20; i++) {
        while (!host_cluster_propose(cluster, 1, 500))
            host_cluster_run(cluster, 10);
        host_cluster_run(cluster, 5);
    }
    host_cluster_run(cluster, 11000);
    for (store_id_t store = 1; store <= 3; store++)
        if (store != away)
            host_cluster_flush(cluster, store);
    host_cluster_isolate(cluster, away, false);
    uint64_t before = cluster->restores_finished_count;
    for (int i = 0; i < 20000 && cluster->restores_finished_count == before; i++)
        host_cluster_run(cluster, 1);
    cr_assert_gt(cluster->restores_finished_count, before);
    host_cluster_crash(cluster, away);
    cr_assert_eq(host_cluster_start(cluster, away), OST_OK);
    cr_assert_gt(toy_applied(host_cluster_toy(cluster, away, 1)), 20);
    for (int i = 0; i < 5; i++) {
        while (!host_cluster_propose(cluster, 1, 100))
            host_cluster_run(cluster, 10);
    }
    host_cluster_settle(cluster);
    host_cluster_crash(cluster, away);
    cr_assert_eq(host_cluster_start(cluster, away), OST_OK);
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host, a_crash_right_after_a_restore_is_survived)
{
    for (uint64_t seed = 200; seed < 208; seed++)
        crash_after_restore(seed);
}

Test(raft_host, flushes_bound_the_log)
{
    struct host_cluster *cluster = cluster_small(7, 20);
    /* Groups 2 to 20 are idle: their terms and votes are written forward. */
    for (int i = 0; i < 3000; i++) {
        while (!host_cluster_propose(cluster, 1, 3000))
            host_cluster_run(cluster, 10);
        host_cluster_run(cluster, 2);
        if (i % 30 == 0)
            for (store_id_t store = 1; store <= 3; store++)
                host_cluster_flush(cluster, store);
        for (store_id_t store = 1; store <= 3; store++)
            cr_assert_leq(host_cluster_segments_count(cluster, store), 10, "after %d", i);
    }
    host_cluster_settle(cluster);
    for (store_id_t store = 1; store <= 3; store++) {
        host_cluster_crash(cluster, store);
        cr_assert_eq(host_cluster_start(cluster, store), OST_OK);
    }
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host, a_leader_whose_disk_hangs_steps_down)
{
    struct host_cluster *cluster = cluster_small(8, 6);
    store_id_t leader = host_cluster_leader(cluster, 1);
    host_cluster_hang_disk(cluster, leader, true);
    for (group_id_t group = 1; group <= 6; group++)
        cr_assert(host_cluster_propose(cluster, group, 10));
    host_cluster_run(cluster, 3000);
    for (group_id_t group = 1; group <= 6; group++) {
        cr_assert_neq(host_cluster_leader(cluster, group), leader);
        cr_assert_neq(host_cluster_leader(cluster, group), 0);
    }
    host_cluster_run(cluster, 5000);
    host_cluster_hang_disk(cluster, leader, false);
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

/* R1, seen from outside: while a follower's disk hangs it acknowledges nothing new. */
struct hung_watch {
    store_id_t store;
    raft_index_t durable_index;
    bool armed;
};

static void hung_watch_frame(struct host_cluster *cluster, store_id_t from, store_id_t to,
                             const struct frame *frame)
{
    (void)to;
    struct hung_watch *watch = cluster->context;
    if (!watch->armed || from != watch->store || frame->type != FRAME_RAFT_BATCH)
        return;
    struct arena arena;
    arena_init(&arena);
    const Ostraka__RaftBatch *batch = (const Ostraka__RaftBatch *)message_unpack(
        &ostraka__raft_batch__descriptor, frame->message, &arena);
    cr_assert_not_null(batch);
    for (size_t i = 0; i < batch->n_messages; i++) {
        const Ostraka__RaftMessage *message = batch->messages[i];
        if (message->type == RAFT_MSG_APPEND_ANSWER && !message->rejected)
            cr_assert_leq(message->index, watch->durable_index);
        cr_assert_neq(message->type, RAFT_MSG_VOTE_ANSWER);
    }
    arena_fini(&arena);
}

Test(raft_host, nothing_is_acknowledged_before_it_is_durable)
{
    struct host_cluster *cluster = cluster_small(9, 1);
    host_cluster_settle(cluster);
    store_id_t leader = host_cluster_leader(cluster, 1);
    struct hung_watch watch = {.store = other_than(leader)};
    struct raft_status status;
    cr_assert_eq(raft_host_group_status(host_cluster_host(cluster, watch.store), 1, &status),
                 OST_OK);
    watch.durable_index = status.durable_index;
    watch.armed = true;
    cluster->context = &watch;
    cluster->on_frame = hung_watch_frame;
    host_cluster_hang_disk(cluster, watch.store, true);
    for (int i = 0; i < 20; i++) {
        cr_assert(host_cluster_propose(cluster, 1, 100));
        host_cluster_run(cluster, 20);
    }
    cr_assert_eq(toy_applied(host_cluster_toy(cluster, watch.store, 1)), watch.durable_index, "R5");
    cr_assert_eq(toy_applied(host_cluster_toy(cluster, leader, 1)), watch.durable_index + 20,
                 "the other two go on");
    watch.armed = false;
    host_cluster_hang_disk(cluster, watch.store, false);
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host, reads_are_confirmed_or_refused)
{
    struct host_cluster *cluster = cluster_small(10, 1);
    store_id_t leader = host_cluster_leader(cluster, 1);
    for (int i = 0; i < 50; i++) {
        cr_assert(host_cluster_propose(cluster, 1, 10));
        cr_assert(host_cluster_read(cluster, leader, 1));
        cr_assert(host_cluster_read(cluster, leader, 1));
        host_cluster_run(cluster, 3);
    }
    cr_assert_not(host_cluster_read(cluster, other_than(leader), 1));
    host_cluster_settle(cluster);
    host_cluster_run(cluster, 200);
    struct toy *toy = host_cluster_toy(cluster, leader, 1);
    cr_assert_eq(toy_reads_ok(toy), 100);
    host_cluster_isolate(cluster, leader, true);
    cr_assert(host_cluster_read(cluster, leader, 1));
    host_cluster_run(cluster, 3000);
    cr_assert_eq(toy_reads_ok(toy), 100);
    cr_assert_eq(toy_reads_failed(toy), 1);
    host_cluster_free(cluster);
}

Test(raft_host, a_group_of_one_reads_and_writes)
{
    struct raft_host_options options = options_small();
    struct host_cluster *cluster = host_cluster_new(11, 1, 3, &options);
    host_cluster_elect(cluster);
    for (int i = 0; i < 20; i++) {
        cr_assert(host_cluster_propose(cluster, 1, 10));
        cr_assert(host_cluster_read(cluster, 1, 1));
        host_cluster_run(cluster, 4);
    }
    host_cluster_settle(cluster);
    host_cluster_run(cluster, 100);
    cr_assert_eq(toy_reads_ok(host_cluster_toy(cluster, 1, 1)), 20);
    host_cluster_crash(cluster, 1);
    cr_assert_eq(host_cluster_start(cluster, 1), OST_OK);
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host, a_stalled_machine_is_asked_again)
{
    struct host_cluster *cluster = cluster_small(12, 1);
    store_id_t leader = host_cluster_leader(cluster, 1);
    host_cluster_settle(cluster);
    struct toy *toy = host_cluster_toy(cluster, leader, 1);
    raft_index_t before = toy_applied(toy);
    toy_set_appetite(toy, 0);
    for (int i = 0; i < 10; i++)
        cr_assert(host_cluster_propose(cluster, 1, 10));
    host_cluster_run(cluster, 100);
    cr_assert_eq(toy_applied(toy), before);
    cr_assert(host_cluster_read(cluster, leader, 1));
    host_cluster_run(cluster, 100);
    cr_assert_eq(toy_reads_ok(toy), 0, "what the read needs is not applied");
    toy_set_appetite(toy, 3);
    host_cluster_run(cluster, 100);
    cr_assert_eq(toy_applied(toy), before + 10);
    cr_assert_eq(toy_reads_ok(toy), 1);
    host_cluster_free(cluster);
}

Test(raft_host, leadership_is_handed_over)
{
    struct host_cluster *cluster = cluster_small(13, 1);
    store_id_t leader = host_cluster_leader(cluster, 1);
    store_id_t to = other_than(leader);
    cr_assert_eq(
        raft_host_transfer(host_cluster_host(cluster, leader), 1, 10 + to, cluster->now_ns),
        OST_OK);
    host_cluster_run(cluster, 300);
    cr_assert_eq(host_cluster_leader(cluster, 1), to);
    cr_assert_eq(raft_host_transfer(host_cluster_host(cluster, to), 77, 0, cluster->now_ns),
                 OST_NOT_FOUND);
    host_cluster_free(cluster);
}

/* The machine knows of a term that is over, and its store leads again when it is looked at next. */
Test(raft_host, a_fall_is_told_even_when_leadership_was_won_again)
{
    struct host_cluster *cluster = cluster_small(15, 1);
    host_cluster_settle(cluster);
    store_id_t leader = host_cluster_leader(cluster, 1);
    struct raft_host *host = host_cluster_host(cluster, leader);
    struct toy *toy = host_cluster_toy(cluster, leader, 1);
    struct host_group *group = host_group_find(host, 1);
    uint32_t falls_count = toy_falls_count(toy);
    cr_assert(host_cluster_read(cluster, leader, 1));
    group->leadership.term--;
    host_group_set_work(host, group);
    host_cluster_run(cluster, 1);
    cr_assert_eq(toy_falls_count(toy), falls_count + 1);
    cr_assert_eq(toy_reads_failed(toy), 1, "what was asked for in the old term is given up");
    struct raft_leadership leadership;
    cr_assert_eq(raft_host_leadership(host, 1, &leadership), OST_OK);
    cr_assert(leadership.ready);
    host_cluster_free(cluster);
}

/* A log of entries 1 to 10 of term 1, on the disk of replica 11 of group 1, cut up to `cut`. */
static uint8_t *segment_of_ten_entries(raft_index_t cut, size_t segment_bytes,
                                       uint32_t *out_segment)
{
    struct wal_options options = {.segment_bytes = (uint32_t)segment_bytes,
                                  .write_bytes_max = 64u << 10,
                                  .segments_kept = 4,
                                  .seed = 3};
    struct wal *wal = wal_new(&options);
    struct raft_entry entries[10];
    for (raft_index_t i = 0; i < 10; i++)
        entries[i] = (struct raft_entry){.index = i + 1, .term = 1, .type = RAFT_ENTRY_COMMAND};
    struct wal_group *group = wal_group_claim(wal, 1, 11, NULL);
    wal_persist(wal, group,
                &(struct wal_unit_request){.hard_state_changed = true,
                                           .term = 4,
                                           .log_reset = true,
                                           .entries = entries,
                                           .entries_count = 10});
    wal_cut(wal, group, cut);
    uint8_t *segment = calloc(1, segment_bytes);
    struct log_operation operation;
    const struct wal_durable *durable;
    size_t durable_count;
    while (wal_next_operation(wal, true, &operation)) {
        if (operation.type == LOG_OPERATION_WRITE) {
            memcpy(segment + operation.offset, operation.data, operation.bytes_count);
            *out_segment = operation.segment;
        }
        wal_operation_done(wal, operation.type, operation.segment, operation.cookie, &durable,
                           &durable_count);
    }
    wal_free(wal);
    return segment;
}

static raft_index_t last_index_with_state(raft_index_t cut, raft_index_t index, raft_term_t term)
{
    static const struct raft_state_machine_ops ops = {0};
    struct raft_host_options options = options_small();
    struct outbox outbox;
    struct raft_host_update update = {.outbox = &outbox};
    struct raft_snapshot_meta meta = {.index = index, .term = term};
    meta.configuration.members_count = 2;
    meta.configuration.members[0] = (struct raft_member){11, 1, true, true};
    meta.configuration.members[1] = (struct raft_member){12, 2, true, true};
    char why[WAL_WHY_BYTES];
    uint32_t number = 0;
    uint8_t *segment = segment_of_ten_entries(cut, options.log_segment_bytes, &number);
    outbox_init(&outbox);
    options.store = 1;
    struct raft_host *host = raft_host_new(&options, &update);
    cr_assert_eq(
        raft_host_recover_segment(host, number, bytes_of(segment, options.log_segment_bytes), why),
        OST_OK);
    cr_assert_eq(raft_host_recover_end(host, why), OST_OK);
    cr_assert_eq(raft_host_group_add(host, 1, 11, &meta, &ops, NULL, NS_PER_S), OST_OK);
    struct raft_status status;
    cr_assert_eq(raft_host_group_status(host, 1, &status), OST_OK);
    cr_assert_eq(status.term, 4);
    raft_host_free(host);
    outbox_fini(&outbox);
    free(segment);
    return status.last_index;
}

/* A snapshot was taken over, and the crash came before the log was told. What the log has behind
 * the snapshot goes on from it only if it has the snapshot's last entry with the snapshot's term.
 */
Test(raft_host, entries_behind_a_restored_state_are_of_its_history_or_go)
{
    cr_assert_eq(last_index_with_state(0, 5, 1), 10);
    cr_assert_eq(last_index_with_state(0, 5, 3), 5, "another leader's entries");
    cr_assert_eq(last_index_with_state(0, 10, 1), 10);
    cr_assert_eq(last_index_with_state(0, 10, 2), 10);
    cr_assert_eq(last_index_with_state(0, 12, 3), 12);
    cr_assert_eq(last_index_with_state(5, 5, 1), 10, "the log begins where the state ends");
    cr_assert_eq(last_index_with_state(5, 5, 3), 5);
}

Test(raft_host, a_state_behind_its_log_is_refused)
{
    struct host_cluster *cluster = cluster_small(14, 1);
    for (int i = 0; i < 20; i++)
        cr_assert(host_cluster_propose(cluster, 1, 10));
    host_cluster_settle(cluster);
    host_cluster_run(cluster, 100);
    host_cluster_flush(cluster, 1);
    host_cluster_run(cluster, 50);
    host_cluster_crash(cluster, 1);
    host_cluster_lose_state(cluster, 1, 1);
    cr_assert_eq(host_cluster_start(cluster, 1), OST_OK);
    cr_assert_eq(host_cluster_replica(cluster, 1, 1), 0);
    cr_assert(raft_host_group_damaged(host_cluster_host(cluster, 1), 1));
    host_cluster_free(cluster);
}

Test(raft_host, the_heard_timestamp_travels)
{
    struct host_cluster *cluster = cluster_small(16, 1);
    raft_host_heard(host_cluster_host(cluster, 2), 12345);
    host_cluster_run(cluster, 200);
    for (store_id_t store = 1; store <= 3; store++)
        cr_assert_eq(raft_host_heard_timestamp(host_cluster_host(cluster, store)), 12345);
    host_cluster_free(cluster);
}

/* Everything at once, from a seed. The checks are in host_cluster.c. */
static void chaos(uint64_t seed)
{
    struct host_cluster *cluster = cluster_small(seed, 4);
    struct random random;
    random_init(&random, seed);
    for (int i = 0; i < 1500; i++) {
        store_id_t store = 1 + random_below(&random, 3);
        switch (random_below(&random, 40)) {
        case 0:
            if (host_cluster_host(cluster, store)) {
                host_cluster_crash(cluster, store);
                break;
            }
            __attribute__((fallthrough));
        case 1:
        case 2:
            if (!host_cluster_host(cluster, store))
                cr_assert_eq(host_cluster_start(cluster, store), OST_OK, "seed %lu", seed);
            break;
        case 3:
            host_cluster_isolate(cluster, store, random_below(&random, 3) == 0);
            break;
        case 4:
            host_cluster_hang_disk(cluster, store, random_below(&random, 3) == 0);
            break;
        case 5:
        case 6:
            if (host_cluster_host(cluster, store))
                host_cluster_flush(cluster, store);
            break;
        case 7:
            cluster->loss_percent = (uint32_t)random_below(&random, 2) * 20;
            break;
        case 8:
            if (host_cluster_host(cluster, store))
                raft_host_peer_reset(host_cluster_host(cluster, store),
                                     1 + random_below(&random, 3), cluster->now_ns);
            break;
        case 9:
            host_cluster_run(cluster, (uint32_t)random_below(&random, 12000));
            break;
        case 10:
        case 11:
        case 12:
            if (host_cluster_host(cluster, store))
                (void)host_cluster_read(cluster, store, 1 + random_below(&random, 4));
            break;
        default: {
            size_t bytes = random_below(&random, 20) == 0 ? 100000 : 300;
            (void)host_cluster_propose(cluster, 1 + random_below(&random, 4),
                                       random_below(&random, bytes));
        }
        }
        host_cluster_run(cluster, (uint32_t)random_below(&random, 20));
    }
    cluster->loss_percent = 0;
    for (store_id_t store = 1; store <= 3; store++) {
        host_cluster_isolate(cluster, store, false);
        host_cluster_hang_disk(cluster, store, false);
        if (!host_cluster_host(cluster, store))
            cr_assert_eq(host_cluster_start(cluster, store), OST_OK, "seed %lu", seed);
    }
    host_cluster_settle(cluster);
    host_cluster_free(cluster);
}

Test(raft_host, crashes_and_partitions_lose_nothing)
{
    for (uint64_t seed = 100; seed < 112; seed++)
        chaos(seed);
}

/* The decoder: frames as they were seen, with some bytes changed, and their prefixes. */
struct fuzz {
    struct random random;
    bool busy;
};

static void fuzz_frame(struct host_cluster *cluster, store_id_t from, store_id_t to,
                       const struct frame *frame)
{
    struct fuzz *fuzz = cluster->context;
    struct raft_host *host = host_cluster_host(cluster, to);
    if (fuzz->busy || !host)
        return;
    uint8_t *bytes = malloc(frame->message.bytes_count + 1);
    for (int i = 0; i < 20; i++) {
        size_t count = frame->message.bytes_count;
        memcpy(bytes, frame->message.data, count);
        if (count > 0 && random_below(&fuzz->random, 3) == 0)
            count = random_below(&fuzz->random, count);
        for (uint64_t j = 1 + random_below(&fuzz->random, 4); count > 0 && j > 0; j--)
            bytes[random_below(&fuzz->random, count)] = (uint8_t)random_next(&fuzz->random);
        /* A message that says something else in a form that is sound is a lie that no decoder can
         * see: those go to a group that does not exist. */
        struct arena arena;
        arena_init(&arena);
        ProtobufCMessage *message = NULL;
        struct bytes packed = bytes_of(bytes, count);
        uint8_t *again = NULL;
        if (frame->type == FRAME_RAFT_BATCH) {
            message = message_unpack(&ostraka__raft_batch__descriptor, packed, &arena);
            Ostraka__RaftBatch *batch = (Ostraka__RaftBatch *)message;
            for (size_t j = 0; batch && j < batch->n_messages; j++)
                batch->messages[j]->group += 1000;
        } else {
            message = message_unpack(&ostraka__raft_snapshot_chunk__descriptor, packed, &arena);
            if (message)
                ((Ostraka__RaftSnapshotChunk *)message)->group += 1000;
        }
        if (message) {
            again = malloc(protobuf_c_message_get_packed_size(message) + 1);
            packed = bytes_of(again, protobuf_c_message_pack(message, again));
        }
        struct frame mutated = *frame;
        mutated.message = packed;
        if (frame->payload.bytes_count > 0 && random_below(&fuzz->random, 4) == 0)
            mutated.payload.bytes_count = random_below(&fuzz->random, frame->payload.bytes_count);
        int status = raft_host_receive(host, from, &mutated, cluster->now_ns);
        cr_assert(status == OST_OK || status == OST_PROTOCOL);
        if (!message)
            cr_assert_eq(status, OST_PROTOCOL);
        free(again);
        arena_fini(&arena);
    }
    free(bytes);
}

Test(raft_host, frames_with_bad_bytes_do_no_harm)
{
    struct host_cluster *cluster = cluster_small(15, 2);
    struct fuzz fuzz = {0};
    random_init(&fuzz.random, 15);
    cluster->context = &fuzz;
    cluster->on_frame = fuzz_frame;
    for (int i = 0; i < 60; i++) {
        (void)host_cluster_propose(cluster, 1 + (group_id_t)i % 2, 3000);
        host_cluster_run(cluster, 20);
    }
    host_cluster_settle(cluster);
    cluster->on_frame = NULL;
    host_cluster_free(cluster);
}

/* A term is counted up from: the last one that fits would end the process at the next election. */
Test(raft_host, a_term_that_leaves_no_later_one_is_refused)
{
    struct host_cluster *cluster = cluster_small(17, 1);
    Ostraka__RaftMessage message = OSTRAKA__RAFT_MESSAGE__INIT;
    message.type = RAFT_MSG_PRE_VOTE_ANSWER;
    message.group = 1;
    message.from = 12;
    message.to = 11;
    message.term = UINT64_MAX;
    message.rejected = true;
    Ostraka__RaftMessage *messages[] = {&message};
    Ostraka__RaftBatch batch = OSTRAKA__RAFT_BATCH__INIT;
    batch.n_messages = 1;
    batch.messages = messages;
    struct blob *blob = frame_encode(FRAME_RAFT_BATCH, 0, &batch.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    cr_assert_eq(raft_host_receive(host_cluster_host(cluster, 1), 2, &frame, cluster->now_ns),
                 OST_PROTOCOL);
    blob_unref(blob);
    message.term = UINT64_MAX / 2;
    blob = frame_encode(FRAME_RAFT_BATCH, 0, &batch.base, NULL, 0);
    frame = frame_of_blob(blob);
    cr_assert_eq(raft_host_receive(host_cluster_host(cluster, 1), 2, &frame, cluster->now_ns),
                 OST_OK, "it parses, and is dropped");
    blob_unref(blob);
    host_cluster_run(cluster, 5000);
    cr_assert(host_cluster_has_leaders(cluster));
    host_cluster_free(cluster);
}
