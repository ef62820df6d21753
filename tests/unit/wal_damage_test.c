/* The log on a disk that tears and rots: what was torn is cut off, and who may have lost something
 * is damaged. */
#include "base/random.h"
#include "tests/support/wal_disk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <xxhash.h>

TestSuite(wal_damage, .timeout = 120);

/* Three durable writes of one entry each and a fourth one of several blocks. */
static struct wal_disk *disk_with_four_writes(void)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    wal_disk_persist_hard_state(disk, one, 1, 1, 1);
    for (raft_index_t i = 1; i <= 3; i++) {
        wal_disk_persist_entry(disk, one, i + 1, i, 1, 500);
        wal_disk_drain(disk);
    }
    wal_disk_persist_entry(disk, one, 5, 4, 1, 14000);
    wal_disk_drain(disk);
    cr_assert_eq(disk->writes_count, 4);
    cr_assert_eq(disk->last_bytes_count, 4 * WAL_BLOCK_BYTES);
    return disk;
}

Test(wal_damage, a_torn_tail_is_cut_off_at_every_block)
{
    for (size_t blocks = 0; blocks < 4; blocks++) {
        for (int order = 0; order < 2; order++) {
            struct wal_disk *disk = disk_with_four_writes();
            uint8_t *tail = disk->segments[disk->last_segment] + disk->last_offset;
            if (order == 0) /* the first blocks got there, */
                memset(tail + blocks * WAL_BLOCK_BYTES, 0, (4 - blocks) * WAL_BLOCK_BYTES);
            else /* or the last ones */
                memset(tail, 0, (4 - blocks) * WAL_BLOCK_BYTES);
            wal_disk_recover_undamaged(disk);
            struct wal_group_state state;
            cr_assert(wal_group_get(disk->wal, 1, &state));
            cr_assert_eq(state.last_index, 3);

            /* The log goes on, and all of it is there the next time. */
            struct wal_group *one = wal_disk_claim(disk, 1);
            wal_disk_persist_entry(disk, one, 1, 4, 2, 77);
            wal_disk_drain(disk);
            cr_assert_eq(disk->durable[1], 1);
            wal_disk_recover_undamaged(disk);
            wal_disk_expect_entry(disk, 1, 3, 1, 500);
            wal_disk_expect_entry(disk, 1, 4, 2, 77);
            wal_disk_free(disk);
        }
    }
}

Test(wal_damage, a_torn_tail_that_reads_well_later_stays_cut_off)
{
    struct wal_disk *disk = disk_with_four_writes();
    uint8_t saved[4 * WAL_BLOCK_BYTES];
    uint8_t *tail = disk->segments[disk->last_segment] + disk->last_offset;
    memcpy(saved, tail, sizeof(saved));
    memset(tail + WAL_BLOCK_BYTES, 0, WAL_BLOCK_BYTES);
    wal_disk_recover_undamaged(disk);
    struct wal_group *one = wal_disk_claim(disk, 1);
    wal_disk_persist_hard_state(disk, one, 1, 9, 0);
    wal_disk_drain(disk);
    memcpy(tail, saved, sizeof(saved));
    wal_disk_recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.last_index, 3);
    cr_assert_eq(state.term, 9);
    wal_disk_free(disk);
}

Test(wal_damage, a_flipped_bit_is_damage_in_the_middle_and_torn_at_the_end)
{
    struct random random;
    random_init(&random, 1);
    for (int try = 0; try < 300; try++) {
        struct wal_disk *disk = disk_with_four_writes();
        uint32_t segment = disk->last_segment;
        size_t end = disk->last_offset + disk->last_bytes_count;
        size_t at = random_below(&random, end);
        disk->segments[segment][at] ^= (uint8_t)(1u << random_below(&random, 8));
        cr_assert_eq(wal_disk_recover(disk), OST_OK);
        if (at >= disk->last_offset) {
            cr_assert_eq(disk->why[0], 0, "%zu: %s", at, disk->why);
            struct wal_group_state state;
            cr_assert(wal_group_get(disk->wal, 1, &state));
            cr_assert_not(state.damaged);
            cr_assert_eq(state.last_index, 3);
        } else {
            cr_assert(wal_disk_is_damaged(disk, 1));
            char expected[64];
            snprintf(expected, sizeof(expected), "segment %010u is damaged at offset %zu:", segment,
                     at / WAL_BLOCK_BYTES * WAL_BLOCK_BYTES);
            cr_assert_not_null(strstr(disk->why, expected), "%s, not %s", disk->why, expected);
        }
        wal_disk_free(disk);
    }
}

/* Six writes with these groups in them: 3, 1, 2, 1 and 2, 1, 3. */
enum { FIRST, A, B, C, D, LAST, WRITES_COUNT };

struct scene {
    struct wal_disk *disk;
    struct wal_disk_place places[WRITES_COUNT];
    struct wal_group *groups[4];
};

static void scene_write(struct scene *scene, int number)
{
    wal_disk_drain(scene->disk);
    scene->places[number] = (struct wal_disk_place){
        scene->disk->last_segment, scene->disk->last_offset, scene->disk->last_bytes_count};
}

static struct scene scene_new(uint64_t seed)
{
    struct scene scene = {.disk = wal_disk_new()};
    wal_free(scene.disk->wal);
    scene.disk->seed = seed;
    wal_disk_wal_new(scene.disk);
    for (group_id_t group = 1; group <= 3; group++)
        scene.groups[group] = wal_disk_claim(scene.disk, group);
    wal_disk_persist_hard_state(scene.disk, scene.groups[3], 1, 8, 8);
    scene_write(&scene, FIRST);
    wal_disk_persist_entry(scene.disk, scene.groups[1], 1, 1, 1, 900);
    scene_write(&scene, A);
    wal_disk_persist_entry(scene.disk, scene.groups[2], 1, 1, 1, 5000);
    scene_write(&scene, B);
    wal_disk_persist_entry(scene.disk, scene.groups[1], 2, 2, 1, 900);
    wal_disk_persist_entry(scene.disk, scene.groups[2], 2, 2, 1, 5000);
    scene_write(&scene, C);
    wal_disk_persist_entry(scene.disk, scene.groups[1], 3, 3, 1, 900);
    scene_write(&scene, D);
    wal_disk_persist_hard_state(scene.disk, scene.groups[3], 2, 9, 0);
    scene_write(&scene, LAST);
    return scene;
}

static uint8_t *scene_at(const struct scene *scene, int number)
{
    const struct wal_disk_place *place = &scene->places[number];
    return scene->disk->segments[place->segment] + place->offset;
}

static void expect_damaged(struct wal_disk *disk, bool one, bool two, bool three)
{
    cr_assert_eq(wal_disk_recover(disk), OST_OK);
    cr_assert_eq(wal_disk_is_damaged(disk, 1), one, "%s", disk->why);
    cr_assert_eq(wal_disk_is_damaged(disk, 2), two, "%s", disk->why);
    cr_assert_eq(wal_disk_is_damaged(disk, 3), three, "%s", disk->why);
    cr_assert_eq(disk->why[0] != 0, one || two || three);
}

Test(wal_damage, damage_to_one_write_costs_those_who_were_in_it)
{
    static const char *const kinds[] = {"a bit", "a zeroed sector", "the header", "the length"};
    for (int kind = 0; kind < 4; kind++) {
        for (int i = A; i <= D; i++) {
            struct scene scene = scene_new(1);
            uint8_t *at = scene_at(&scene, i);
            switch (kind) {
            case 0:
                at[300] ^= 1;
                break;
            case 1:
                memset(at + 512, 0, 512);
                break;
            case 2:
                memset(at, 0, 512);
                break;
            case 3:
                at[60 + 1] ^= 0x10; /* 4 KiB more, or less */
                break;
            }
            cr_log_info("%s of write %d", kinds[kind], i);
            expect_damaged(scene.disk, i == A || i == C || i == D, i == B || i == C, false);
            cr_assert_not(wal_disk_is_damaged(scene.disk, 77), "who is new is not");
            wal_disk_free(scene.disk);
        }
    }
}

Test(wal_damage, nothing_is_used_of_who_is_damaged)
{
    struct scene scene = scene_new(1);
    scene_at(&scene, A)[300] ^= 1;
    expect_damaged(scene.disk, true, false, false);
    struct wal_group_state state;
    cr_assert(wal_group_get(scene.disk->wal, 1, &state));
    cr_assert_eq(state.last_index, 0);
    wal_disk_expect_entry(scene.disk, 2, 1, 1, 5000);
    wal_disk_expect_entry(scene.disk, 2, 2, 1, 5000);
    cr_assert(wal_group_get(scene.disk->wal, 3, &state));
    cr_assert_eq(state.term, 9);
    wal_disk_free(scene.disk);
}

/* Nobody knows who was in the first of two, nor in what stood before all that is found. */
Test(wal_damage, damage_to_more_than_one_write_costs_everybody)
{
    for (int kind = 0; kind < 3; kind++) {
        struct scene scene = scene_new(1);
        switch (kind) {
        case 0:
            memset(scene_at(&scene, B), 0, 512);
            memset(scene_at(&scene, C), 0, 512);
            break;
        case 1:
            memset(scene_at(&scene, B), 0, 512);
            scene_at(&scene, C)[300] ^= 1;
            break;
        case 2:
            memset(scene_at(&scene, FIRST), 0, 512);
            break;
        }
        expect_damaged(scene.disk, true, true, true);
        cr_assert(wal_disk_is_damaged(scene.disk, 77), "even one of which nothing is left");
        wal_disk_free(scene.disk);
    }
}

Test(wal_damage, who_said_everything_after_the_damage_has_lost_nothing)
{
    struct scene scene = scene_new(1);
    struct wal_unit_request all = {.persist_id = 3,
                                   .hard_state_changed = true,
                                   .term = 6,
                                   .vote = 2,
                                   .log_reset = true,
                                   .reset_index = 40,
                                   .reset_term = 5};
    wal_persist(scene.disk->wal, scene.groups[2], &all);
    wal_disk_drain(scene.disk);
    wal_disk_persist_hard_state(scene.disk, scene.groups[3], 3, 10, 0);
    wal_disk_drain(scene.disk);
    memset(scene_at(&scene, B), 0, 512);
    memset(scene_at(&scene, C), 0, 512);
    expect_damaged(scene.disk, true, false, true);
    struct wal_group_state state;
    cr_assert(wal_group_get(scene.disk->wal, 2, &state));
    cr_assert_eq(state.term, 6);
    cr_assert_eq(state.begin_index, 40);
    wal_disk_free(scene.disk);
}

/* P is torn and cut off, so it is not known that it has a number, and Q of the next run gets that
 * number. Then P reads well, and Q is lost: nobody knows that P was never there. */
Test(wal_damage, damage_between_two_runs_costs_everybody)
{
    struct scene scene = scene_new(1);
    uint8_t saved[WAL_DISK_WRITE_BYTES];
    wal_disk_persist_entry(scene.disk, scene.groups[1], 4, 4, 1, 900);
    scene_write(&scene, A);
    memcpy(saved, scene_at(&scene, A), scene.places[A].bytes_count);
    memset(scene_at(&scene, A), 0, scene.places[A].bytes_count);
    wal_disk_recover_undamaged(scene.disk);
    for (group_id_t group = 1; group <= 3; group++)
        scene.groups[group] = wal_disk_claim(scene.disk, group);
    wal_disk_persist_hard_state(scene.disk, scene.groups[2], 1, 2, 0);
    scene_write(&scene, B);
    for (raft_term_t term = 10; term < 12; term++) {
        wal_disk_persist_hard_state(scene.disk, scene.groups[3], term, term, 0);
        wal_disk_drain(scene.disk);
    }
    wal_disk_recover_undamaged(scene.disk);
    memcpy(scene_at(&scene, A), saved, scene.places[A].bytes_count);
    wal_disk_recover_undamaged(scene.disk);
    memset(scene_at(&scene, B), 0, 512);
    expect_damaged(scene.disk, true, true, true);
    wal_disk_free(scene.disk);
}

/* A write that never got to the disk although it was reported: the place has what a recycled file
 * held before. */
Test(wal_damage, a_stale_block_is_damage)
{
    struct scene scene = scene_new(1);
    struct scene other = scene_new(500);
    memcpy(scene_at(&scene, C), scene_at(&other, C), scene.places[C].bytes_count);
    expect_damaged(scene.disk, true, true, false);
    wal_disk_free(scene.disk);
    wal_disk_free(other.disk);
}

/* D went to the place of B. */
Test(wal_damage, a_misdirected_write_is_damage_in_both_places)
{
    struct scene scene = scene_new(1);
    memcpy(scene_at(&scene, B), scene_at(&scene, D), scene.places[D].bytes_count);
    memset(scene_at(&scene, D), 0, scene.places[D].bytes_count);
    expect_damaged(scene.disk, true, true, false);
    wal_disk_free(scene.disk);
}

Test(wal_damage, damage_is_remembered_until_the_replica_is_destroyed)
{
    struct scene scene = scene_new(1);
    struct wal_disk *disk = scene.disk;
    scene_at(&scene, A)[300] ^= 1;
    expect_damaged(disk, true, false, false);
    wal_disk_drain(disk); /* the mark */
    expect_damaged(disk, true, false, false);
    /* The segment with the damage goes; the mark is written forward. */
    struct wal_group *two = wal_disk_claim(disk, 2);
    wal_disk_claim(disk, 3);
    raft_index_t index = 2;
    while (disk->segments[1] || disk->segments[scene.places[LAST].segment + 8] == NULL) {
        index++;
        wal_disk_persist_entry(disk, two, index, index, 1, 9000);
        wal_cut(disk->wal, two, index - 1);
        wal_disk_drain(disk);
        cr_assert_lt(index, 1000);
    }
    cr_assert_eq(wal_disk_recover(disk), OST_OK);
    cr_assert_eq(disk->why[0], 0);
    cr_assert(wal_disk_is_damaged(disk, 1));

    uint64_t destroyed = 0;
    wal_destroy(disk->wal, 1, 101, &destroyed, 7);
    wal_disk_drain(disk);
    cr_assert_eq(destroyed, 7);
    struct wal_group_state state;
    for (int i = 0; i < 2; i++) {
        cr_assert(wal_group_get(disk->wal, 1, &state));
        cr_assert_not(state.damaged);
        cr_assert(state.destroyed);
        cr_assert_eq(state.replica, 101);
        wal_disk_recover_undamaged(disk);
    }
    wal_disk_persist_hard_state(disk, wal_group_claim(disk->wal, 1, 201, &disk->durable[1]), 1, 3,
                                0);
    wal_disk_drain(disk);
    wal_disk_recover_undamaged(disk);
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_not(state.destroyed);
    cr_assert_eq(state.replica, 201);
    wal_disk_free(disk);
}

Test(wal_damage, another_version_is_not_taken_for_an_empty_log)
{
    struct scene scene = scene_new(1);
    uint8_t *at = scene_at(&scene, FIRST);
    at[4] = 1;
    uint64_t sum = XXH3_64bits(at, 72); /* as version 1 had it */
    memcpy(at + 72, &sum, sizeof(sum));
    cr_assert_eq(wal_disk_recover(scene.disk), OST_WRONG_VERSION);
    wal_disk_free(scene.disk);
}

Test(wal_damage, damage_is_seen_from_the_next_segment_too)
{
    struct wal_disk *disk = wal_disk_new();
    struct wal_group *one = wal_disk_claim(disk, 1);
    uint32_t first = 0;
    raft_index_t index = 0;
    uint64_t last_offset = 0;
    while (disk->last_segment == first || first == 0) {
        first = disk->last_segment;
        last_offset = disk->last_offset;
        index++;
        wal_disk_persist_entry(disk, one, index, index, 1, 9000);
        wal_disk_drain(disk);
    }
    disk->segments[first][last_offset + 3000] ^= 4; /* the last write of its segment */
    cr_assert_eq(wal_disk_recover(disk), OST_OK);
    cr_assert(wal_disk_is_damaged(disk, 1));
    disk->segments[first][last_offset + 3000] ^= 4;
    wal_disk_recover_undamaged(disk);
    /* So is a segment that is not there. */
    struct wal_group *again = wal_disk_claim(disk, 1);
    while (disk->last_segment < first + 4) {
        index++;
        wal_disk_persist_entry(disk, again, index, index, 1, 9000);
        wal_disk_drain(disk);
    }
    uint8_t *lost = disk->segments[first + 1];
    disk->segments[first + 1] = NULL;
    cr_assert_eq(wal_disk_recover(disk), OST_OK);
    cr_assert(wal_disk_is_damaged(disk, 1));
    disk->segments[first + 1] = lost;
    wal_disk_recover_undamaged(disk);
    wal_disk_free(disk);
}

Test(wal_damage, any_bytes_are_read_without_harm)
{
    struct random random;
    random_init(&random, 77);
    for (int try = 0; try < 200; try++) {
        struct wal_disk *disk = disk_with_four_writes();
        for (int i = 0; i < 20; i++)
            disk->segments[disk->last_segment][random_below(&random, WAL_DISK_SEGMENT_BYTES)] =
                (uint8_t)random_next(&random);
        int status = wal_disk_recover(disk);
        cr_assert(status == OST_OK || status == OST_WRONG_VERSION);
        wal_disk_free(disk);
    }
}
