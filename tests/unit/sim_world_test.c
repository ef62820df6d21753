/* The simulator's surroundings: time, connections, disks, clocks. */
#include "base/status.h"
#include "proto/frame.h"
#include "proto/session.pb-c.h"
#include "tests/sim/clock.h"
#include "tests/sim/disk.h"
#include "tests/sim/network.h"
#include "tests/sim/plan.h"
#include "tests/sim/run.h"

#include <criterion/criterion.h>
#include <string.h>

/* --- Time
 * -------------------------------------------------------------------------------------------- */

static uint64_t fired[8];
static size_t fired_count;

static void fire(void *target, uint64_t number)
{
    (void)target;
    fired[fired_count++] = number;
}

Test(sim_schedule, events_come_by_time_and_then_as_they_were_put_in)
{
    struct schedule schedule;
    schedule_init(&schedule, 100);
    schedule_add(&schedule, 300, fire, NULL, 4);
    schedule_add(&schedule, 200, fire, NULL, 2);
    schedule_add(&schedule, 200, fire, NULL, 3);
    schedule_add(&schedule, 50, fire, NULL, 1);
    while (schedule_step(&schedule, 250))
        ;
    cr_assert_eq(fired_count, 3);
    cr_assert(fired[0] == 1 && fired[1] == 2 && fired[2] == 3);
    cr_assert_eq(schedule.now_ns, 250);
    schedule_fini(&schedule);
}

Test(sim_clock, a_local_time_is_reached_at_the_moment_that_is_named)
{
    for (int64_t rate_ppm = -500000; rate_ppm <= 500000; rate_ppm += 12345) {
        struct sim_clock clock = {.real_ns = 1000, .local_ns = 7 * NS_PER_S, .rate_ppm = rate_ppm};
        nanoseconds_t local_ns = clock.local_ns + 3 * NS_PER_S + 17;
        nanoseconds_t real_ns = sim_clock_real_ns(&clock, local_ns);
        cr_assert_geq(sim_clock_local_ns(&clock, real_ns), local_ns);
        cr_assert_lt(sim_clock_local_ns(&clock, real_ns - 10), local_ns);
    }
}

/* --- Connections
 * ------------------------------------------------------------------------------------- */

struct end {
    uint64_t accepted, connected, frames, closed;
    uint64_t connection_id;
    uint64_t requests[16];
    int status;
};

static void on_accepted(void *context, uint64_t connection_id)
{
    struct end *end = context;
    end->accepted++;
    end->connection_id = connection_id;
}

static void on_connected(void *context, uint64_t connection_id, int status)
{
    struct end *end = context;
    end->connected++;
    end->connection_id = connection_id;
    end->status = status;
}

static void on_frame(void *context, uint64_t connection_id, struct blob *frame_take)
{
    struct end *end = context;
    (void)connection_id;
    end->requests[end->frames++] = frame_of_blob(frame_take).request_id;
    blob_unref(frame_take);
}

static void on_closed(void *context, uint64_t connection_id)
{
    struct end *end = context;
    (void)connection_id;
    end->closed++;
}

static struct schedule schedule;
static struct trace trace;
static struct network network;
static struct end ends[2];

static void host_up(uint32_t host)
{
    struct network_port port = {on_accepted, on_connected, on_frame, on_closed, &ends[host]};
    network_host_up(&network, host, &port);
}

static void network_begin(void)
{
    struct network_options options = {.latency_ns_min = 1000, .latency_ns_max = 50000};
    schedule_init(&schedule, NS_PER_S);
    trace_init(&trace, &schedule.now_ns, NULL, false);
    network_init(&network, &options, &schedule, &trace, 1);
    host_up(0);
    host_up(1);
}

static void network_end(void)
{
    network_fini(&network);
    trace_fini(&trace);
    schedule_fini(&schedule);
}

static void pass(nanoseconds_t time_ns)
{
    nanoseconds_t until_ns = schedule.now_ns + time_ns;
    while (schedule_step(&schedule, until_ns))
        ;
}

static void send(uint64_t connection_id, uint64_t request_id)
{
    Ostraka__Hello hello = OSTRAKA__HELLO__INIT;
    network_send(&network, 0, connection_id,
                 frame_encode(FRAME_HELLO, request_id, &hello.base, NULL, 0));
}

static uint64_t connect_both(void)
{
    uint64_t id = network_connect(&network, 0, 1);
    pass(NS_PER_MS);
    cr_assert(ends[1].accepted == 1 && ends[0].connected == 1 && ends[0].status == OST_OK);
    return id;
}

Test(sim_network, frames_arrive_in_order, .init = network_begin, .fini = network_end)
{
    uint64_t id = connect_both();
    for (uint64_t request = 1; request <= 10; request++)
        send(id, request);
    pass(NS_PER_MS);
    cr_assert_eq(ends[1].frames, 10);
    for (uint64_t request = 1; request <= 10; request++)
        cr_assert_eq(ends[1].requests[request - 1], request);
}

Test(sim_network, what_waits_behind_a_cut_comes_after_it, .init = network_begin,
     .fini = network_end)
{
    uint64_t id = connect_both();
    network_cut(&network, 0, 1);
    send(id, 1);
    send(id, 2);
    pass(5 * NS_PER_S);
    cr_assert_eq(ends[1].frames, 0);
    network_heal(&network, 0, 1);
    send(id, 3);
    pass(NS_PER_S);
    cr_assert_eq(ends[1].frames, 3);
    cr_assert(ends[1].requests[0] == 1 && ends[1].requests[1] == 2 && ends[1].requests[2] == 3);
}

Test(sim_network, a_host_that_is_down_refuses, .init = network_begin, .fini = network_end)
{
    network_host_down(&network, 1, true);
    network_connect(&network, 0, 1);
    pass(NS_PER_S);
    cr_assert(ends[0].connected == 1 && ends[0].status != OST_OK && ends[1].accepted == 0);
}

Test(sim_network, a_killed_process_closes_and_one_without_power_does_not, .init = network_begin,
     .fini = network_end)
{
    uint64_t id = connect_both();
    network_host_down(&network, 1, false);
    pass(NS_PER_S);
    cr_assert_eq(ends[0].closed, 0);
    host_up(1);
    send(id, 1);
    pass(NS_PER_S);
    cr_assert_eq(ends[0].closed, 1, "who is back knows nothing of it");
    cr_assert_eq(ends[1].frames, 0);

    network_connect(&network, 0, 1);
    pass(NS_PER_S);
    network_host_down(&network, 1, true);
    pass(NS_PER_S);
    cr_assert_eq(ends[0].closed, 2);
}

Test(sim_network, a_reset_loses_what_is_on_its_way, .init = network_begin, .fini = network_end)
{
    uint64_t id = connect_both();
    send(id, 1);
    network_reset(&network, 0, 1);
    pass(NS_PER_S);
    cr_assert(ends[1].frames == 0 && ends[0].closed == 1 && ends[1].closed == 1);
}

/* --- Disks
 * ------------------------------------------------------------------------------------------- */

static uint8_t block[8192];

static void disk_begin(struct disk *disk, uint64_t seed)
{
    struct disk_options options = {.write_ns_min = 1, .write_ns_max = 2};
    disk_init(disk, &options, schedule_random(seed, "disk"));
    struct log_operation create = {
        .type = LOG_OPERATION_CREATE, .segment = 1, .bytes_count = 1 << 16};
    cr_assert_eq(disk_operation_finish(disk, &create), OST_OK);
}

static struct log_operation write_at(uint64_t offset, uint8_t fill)
{
    memset(block, fill, sizeof block);
    return (struct log_operation){.type = LOG_OPERATION_WRITE,
                                  .segment = 1,
                                  .offset = offset,
                                  .data = block,
                                  .bytes_count = sizeof block};
}

Test(sim_disk, a_torn_write_is_there_by_whole_sectors)
{
    bool was_lost = false, was_kept = false, was_mixed = false, was_misread = false;
    for (uint64_t seed = 1; seed <= 64; seed++) {
        struct disk disk;
        disk_begin(&disk, seed);
        struct log_operation write = write_at(4096, 7);
        disk_operation_tear(&disk, &write);
        const uint8_t *bytes = TAILQ_FIRST(&disk.segments)->bytes + 4096;
        size_t there = 0;
        if (disk.misread_byte) {
            cr_assert(disk.misread_byte >= bytes && disk.misread_byte < bytes + sizeof block);
            cr_assert_neq(*disk.misread_byte, 7);
            was_misread = true;
        }
        disk_was_read(&disk);
        for (size_t sector = 0; sector < sizeof block / DISK_SECTOR_BYTES; sector++) {
            const uint8_t *first = bytes + sector * DISK_SECTOR_BYTES;
            for (size_t byte = 1; byte < DISK_SECTOR_BYTES; byte++)
                cr_assert_eq(first[byte], first[0]);
            there += *first == 7;
        }
        was_lost = was_lost || there == 0;
        was_kept = was_kept || there == sizeof block / DISK_SECTOR_BYTES;
        was_mixed = was_mixed || (there > 0 && there < sizeof block / DISK_SECTOR_BYTES);
        disk_fini(&disk);
    }
    cr_assert(was_lost && was_kept && was_mixed && was_misread);
}

Test(sim_disk, the_newest_write_is_never_damaged)
{
    for (uint64_t seed = 1; seed <= 64; seed++) {
        struct disk disk;
        disk_begin(&disk, seed);
        cr_assert_not(disk_damage(&disk, DISK_FLIPPED), "there is nothing");
        struct log_operation write = write_at(0, 1);
        cr_assert_eq(disk_operation_finish(&disk, &write), OST_OK);
        cr_assert_not(disk_damage(&disk, DISK_FLIPPED), "it is the newest");
        write = write_at(8192, 2);
        cr_assert_eq(disk_operation_finish(&disk, &write), OST_OK);
        cr_assert(disk_damage(&disk, (enum disk_damage)(seed % 2)));
        const uint8_t *bytes = TAILQ_FIRST(&disk.segments)->bytes;
        size_t wrong = 0;
        for (size_t byte = 0; byte < 8192; byte++)
            wrong += bytes[byte] != 1;
        cr_assert_gt(wrong, 0);
        for (size_t byte = 8192; byte < 16384; byte++)
            cr_assert_eq(bytes[byte], 2);
        disk_fini(&disk);
    }
}

Test(sim_disk, a_recycled_segment_keeps_its_old_bytes)
{
    struct disk disk;
    disk_begin(&disk, 1);
    struct log_operation write = write_at(0, 9);
    cr_assert_eq(disk_operation_finish(&disk, &write), OST_OK);
    struct log_operation retire = {.type = LOG_OPERATION_RETIRE, .segment = 1};
    struct log_operation create = {
        .type = LOG_OPERATION_CREATE, .segment = 2, .bytes_count = 1 << 16};
    cr_assert_eq(disk_operation_finish(&disk, &retire), OST_OK);
    disk.is_full = true;
    cr_assert_eq(disk_operation_finish(&disk, &create), OST_OK, "a spare needs no room");
    cr_assert_eq(TAILQ_FIRST(&disk.segments)->bytes[0], 9);
    create.segment = 3;
    cr_assert_eq(disk_operation_finish(&disk, &create), OST_NO_SPACE);
    disk_fini(&disk);
}

/* --- Runs
 * -------------------------------------------------------------------------------------------- */

Test(sim_plan, a_field_is_set_by_name_within_its_bounds)
{
    struct plan plan;
    plan_draw(&plan, 1);
    cr_assert(plan_set(&plan, "clients=3"));
    cr_assert_eq(plan.clients, 3);
    cr_assert_not(plan_set(&plan, "clients=0"));
    cr_assert_not(plan_set(&plan, "clients=1000"));
    cr_assert_not(plan_set(&plan, "nothing=1"));
    cr_assert_not(plan_set(&plan, "clients"));
}

static struct run_result results[2];

Test(sim_run, the_same_seed_is_the_same_run_and_an_idle_one_fails)
{
    struct plan plan;
    plan_draw(&plan, 5);
    struct run_options options = {0};
    run(&plan, &options, &results[0]);
    run(&plan, &options, &results[1]);
    cr_assert_not(results[0].is_failed, "%s: %s", results[0].failure, results[0].why);
    cr_assert_eq(results[0].hash, results[1].hash);
    cr_assert_geq(results[0].counts.operations, 1000);
    cr_assert_geq(results[0].counts.faults, 5);

    cr_assert(plan_set(&plan, "run_ms_max=1000"));
    run(&plan, &options, &results[1]);
    cr_assert(results[1].is_failed && strcmp(results[1].failure, "idle-run") == 0);
}
