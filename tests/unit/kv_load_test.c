/* What a leader tells of its ranges: how much is asked of them, how large they are. */
#include "tests/support/kv_client.h"

#include "shardkv/kv_load.h"

#include <criterion/criterion.h>
#include <stdio.h>

static const Ostraka__ReplicaReport *report_of(struct kv_world *world, group_id_t group)
{
    Ostraka__ReplicaReport **reports;
    size_t count;
    store_id_t leader = kv_world_leader(world, group);
    kv_server_report(world->stores[leader].kv, &world->arena, &reports, &count);
    for (size_t index = 0; index < count; index++)
        if (reports[index]->group == group)
            return reports[index];
    return NULL;
}

static struct kv_world *begin(void)
{
    struct kv_world *world = kv_world_new(1);
    world->kv_options.range_split_operations = 50;
    world->kv_options.range_split_bytes = 20000;
    world->kv_options.range_merge_bytes = 5000;
    kv_world_crash(world, 1);
    kv_world_start(world, 1);
    kv_world_create_group(world, 1);
    kv_world_assign(world, 1, "a", "m", 1);
    kv_world_assign(world, 1, "m", "", 1);
    return world;
}

static bool is_text(ProtobufCBinaryData data, const char *text)
{
    return bytes_equal(bytes_of(data.data, data.len), bytes_of_string(text));
}

Test(kv_load, a_range_that_much_is_asked_of_is_cut_in_the_middle_of_that)
{
    struct kv_world *world = begin();
    cr_assert_eq(report_of(world, 1)->n_loads, 0);
    for (uint32_t index = 0; index < 1200; index++) {
        char key[8];
        snprintf(key, sizeof(key), "b%02u", index % 40);
        kv_client_put(world, 1, "a", key, "value");
    }
    kv_world_run(world, LOAD_WINDOW_NS / NS_PER_MS);
    const Ostraka__ReplicaReport *report = report_of(world, 1);
    cr_assert_gt(report->operations_per_s, 50);
    cr_assert_eq(report->n_loads, 1);
    const Ostraka__RangeLoad *load = report->loads[0];
    cr_expect(is_text(load->start, "a") && load->epoch == 1);
    cr_assert_eq(load->split_at.len, 3);
    cr_expect(memcmp(load->split_at.data, "b10", 3) > 0 &&
                  memcmp(load->split_at.data, "b30", 3) < 0,
              "%.3s", load->split_at.data);
    /* It is over after a while, and nothing is counted any more. */
    kv_world_run(world, 2 * LOAD_WINDOW_NS / NS_PER_MS + 100);
    cr_expect_eq(report_of(world, 1)->operations_per_s, 0);
    kv_world_free(world);
}

Test(kv_load, one_hot_key_is_no_place_to_cut)
{
    struct kv_world *world = begin();
    for (uint32_t index = 0; index < 800; index++)
        kv_client_put(world, 1, "a", "b", "value");
    kv_world_run(world, LOAD_WINDOW_NS / NS_PER_MS);
    const Ostraka__ReplicaReport *report = report_of(world, 1);
    cr_assert_eq(report->n_loads, 1);
    cr_expect_eq(report->loads[0]->split_at.len, 0);
    kv_world_free(world);
}

Test(kv_load, a_large_range_is_cut_in_the_middle_of_its_bytes_and_small_neighbours_merge)
{
    struct kv_world *world = begin();
    static char value[2001];
    memset(value, 'v', 2000);
    kv_client_put(world, 1, "m", "n", "small");
    kv_world_flush(world, 1);
    kv_world_crash(world, 1); /* a new leader measures what is there */
    kv_world_start(world, 1);
    kv_world_run(world, 2000);
    const Ostraka__ReplicaReport *report = report_of(world, 1);
    cr_assert_eq(report->n_loads, 1);
    cr_expect(report->loads[0]->merges && is_text(report->loads[0]->start, "a"));
    for (uint32_t index = 0; index < 16; index++) {
        char key[8];
        snprintf(key, sizeof(key), "c%02u", index);
        kv_client_put(world, 1, "a", key, value);
    }
    kv_world_flush(world, 1);
    kv_world_crash(world, 1);
    kv_world_start(world, 1);
    kv_world_run(world, 2000);
    report = report_of(world, 1);
    cr_assert_eq(report->n_loads, 1);
    cr_expect_gt(report->loads[0]->bytes, 32000);
    cr_expect_not(report->loads[0]->merges);
    cr_expect(is_text(report->loads[0]->split_at, "c08"), "%.*s",
              (int)report->loads[0]->split_at.len, report->loads[0]->split_at.data);
    kv_world_free(world);
}

/* One count is not taken for both halves, and each is measured, however little is written to it. */
Test(kv_load, the_halves_of_a_range_are_counted_and_measured_anew)
{
    struct kv_world *world = begin();
    static char value[1001];
    memset(value, 'v', 1000);
    for (uint32_t index = 0; index < 600; index++) {
        char key[8];
        snprintf(key, sizeof(key), "b%02u", index % 60);
        kv_client_put(world, 1, "a", key, index < 60 ? value : "v");
    }
    kv_world_flush(world, 1);
    kv_world_run(world, LOAD_WINDOW_NS / NS_PER_MS + 1000);
    cr_assert_gt(report_of(world, 1)->operations_per_s, 50);
    Ostraka__RangeOrder order = OSTRAKA__RANGE_ORDER__INIT;
    order.group = 1;
    order.step = OSTRAKA__RANGE_STEP__RANGE_SPLIT;
    order.change = 1;
    order.start = kv_field("a");
    order.end = kv_field("m");
    order.epoch = 1;
    order.at = kv_field("b10");
    kv_world_send(world, 1, FRAME_RANGE_ORDER, &order.base, bytes_of(NULL, 0));
    kv_world_run(world, 20);
    const Ostraka__ReplicaReport *report = report_of(world, 1);
    cr_expect_eq(report->operations_per_s, 0);
    for (size_t index = 0; index < report->n_loads; index++)
        cr_expect_eq(report->loads[index]->split_at.len, 0, "the left half is not hot");
    kv_world_run(world, 1000);
    report = report_of(world, 1);
    cr_assert_eq(report->n_loads, 1);
    cr_expect(is_text(report->loads[0]->start, "b10") && report->loads[0]->epoch == 2);
    cr_expect_gt(report->loads[0]->bytes, 40000);
    cr_expect_gt(report->loads[0]->split_at.len, 0, "it is still too large");
    cr_expect_gt(report->bytes, report->loads[0]->bytes + 5000, "so is the left one measured");
    kv_world_free(world);
}

/* However many may call: a few are looked at for each report, and all have their turn. */
Test(kv_load, of_many_small_ranges_those_that_can_merge_are_found)
{
    struct kv_world *world = kv_world_new(1);
    world->kv_options.range_merge_bytes = 5000;
    kv_world_crash(world, 1);
    kv_world_start(world, 1);
    kv_world_create_group(world, 1);
    enum { RANGES = 150 };
    char keys[RANGES + 1][8];
    for (uint32_t index = 0; index <= RANGES; index++)
        snprintf(keys[index], sizeof(keys[index]), "%04u", index);
    /* A gap behind each, but between the last two. */
    for (uint32_t index = 0; index + 1 < RANGES; index += 2)
        kv_world_assign(world, 1, keys[index], keys[index + 1], 1);
    kv_world_assign(world, 1, keys[RANGES - 1], keys[RANGES], 1);
    kv_world_run(world, 20000);
    size_t reports_count = 0;
    while (report_of(world, 1)->n_loads == 0 && reports_count < 10)
        reports_count++;
    const Ostraka__ReplicaReport *report = report_of(world, 1);
    cr_assert_eq(report->n_loads, 1);
    cr_expect(report->loads[0]->merges && is_text(report->loads[0]->start, keys[RANGES - 2]));
    cr_expect_eq(report_of(world, 1)->n_loads, 1, "it is told until something comes of it");
    kv_world_free(world);
}
