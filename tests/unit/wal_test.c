/* The log on disk: what was written comes back, what was torn is cut off, and who may have lost
 * something is damaged. */
#include "base/memory.h"
#include "base/random.h"
#include "raft/wal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

TestSuite(wal, .timeout = 120);

#define SEGMENT_BYTES (64u << 10)
#define WRITE_BYTES   (16u << 10)
#define SEGMENTS_MAX  4096u

/* A disk in memory. What is recycled keeps its old bytes, as files do. */
struct disk {
    uint8_t *segments[SEGMENTS_MAX];
    uint8_t *recycled[SEGMENTS_MAX];
    size_t recycled_count;
    struct wal *wal;
    uint64_t seed;
    size_t writes_count;
    uint32_t last_segment; /* of the newest write, */
    uint64_t last_offset;
    size_t last_bytes_count;
    size_t last_cookie;
    bool writing;
    uint64_t durable[16]; /* by owner: the highest persist id reported */
};

static void disk_wal_new(struct disk *disk)
{
    struct wal_options options = {.segment_bytes = SEGMENT_BYTES,
                                  .write_bytes_max = WRITE_BYTES,
                                  .segments_kept = 4,
                                  .seed = ++disk->seed};
    disk->wal = wal_new(&options);
    disk->writing = false;
}

static struct disk *disk_new(void)
{
    struct disk *disk = memory_alloc_zeroed(1, sizeof(*disk));
    disk_wal_new(disk);
    return disk;
}

static void disk_free(struct disk *disk)
{
    wal_free(disk->wal);
    for (size_t i = 0; i < SEGMENTS_MAX; i++)
        free(disk->segments[i]);
    while (disk->recycled_count > 0)
        free(disk->recycled[--disk->recycled_count]);
    free(disk);
}

static void disk_done(struct disk *disk, enum log_operation_type type, uint32_t segment,
                      uint64_t cookie)
{
    const struct wal_durable *durable;
    size_t count;
    wal_operation_done(disk->wal, type, segment, cookie, &durable, &count);
    for (size_t i = 0; i < count; i++) {
        uint64_t *slot = durable[i].owner;
        cr_assert_gt(durable[i].persist_id, *slot);
        *slot = durable[i].persist_id;
    }
}

static void disk_write_done(struct disk *disk)
{
    cr_assert(disk->writing);
    disk->writing = false;
    disk_done(disk, LOG_OPERATION_WRITE, disk->last_segment, disk->last_cookie);
}

/* Does one operation; a write stays under way when `hold`. False: there was none. */
static bool disk_step(struct disk *disk, bool hold)
{
    struct log_operation operation;
    if (!wal_next_operation(disk->wal, true, &operation))
        return false;
    cr_assert_lt(operation.segment, SEGMENTS_MAX);
    uint8_t **segment = &disk->segments[operation.segment];
    switch (operation.type) {
    case LOG_OPERATION_CREATE:
        cr_assert_null(*segment);
        *segment = disk->recycled_count > 0 ? disk->recycled[--disk->recycled_count]
                                            : memory_alloc_zeroed(1, SEGMENT_BYTES);
        disk_done(disk, operation.type, operation.segment, operation.cookie);
        break;
    case LOG_OPERATION_RETIRE:
        cr_assert_not_null(*segment);
        disk->recycled[disk->recycled_count++] = *segment;
        *segment = NULL;
        disk_done(disk, operation.type, operation.segment, operation.cookie);
        break;
    case LOG_OPERATION_WRITE:
        cr_assert_not_null(*segment);
        cr_assert_eq((uintptr_t)operation.data % WAL_BLOCK_BYTES, 0);
        cr_assert_eq(operation.offset % WAL_BLOCK_BYTES, 0);
        cr_assert_eq(operation.bytes_count % WAL_BLOCK_BYTES, 0);
        cr_assert_leq(operation.bytes_count, WRITE_BYTES);
        cr_assert_leq(operation.offset + operation.bytes_count, SEGMENT_BYTES);
        memcpy(*segment + operation.offset, operation.data, operation.bytes_count);
        disk->writes_count++;
        disk->last_segment = operation.segment;
        disk->last_offset = operation.offset;
        disk->last_bytes_count = operation.bytes_count;
        disk->last_cookie = operation.cookie;
        disk->writing = true;
        if (!hold)
            disk_write_done(disk);
        break;
    }
    return true;
}

static void disk_drain(struct disk *disk)
{
    while (disk_step(disk, false))
        ;
}

static char why[WAL_WHY_BYTES]; /* the first damage of the last recovery; empty: none */

static void why_note(const char *text)
{
    if (why[0] == 0)
        memcpy(why, text, WAL_WHY_BYTES);
}

static int disk_recover(struct disk *disk)
{
    wal_free(disk->wal);
    disk_wal_new(disk);
    memset(disk->durable, 0, sizeof(disk->durable));
    char text[WAL_WHY_BYTES] = {0};
    memset(why, 0, sizeof(why));
    for (uint32_t i = 0; i < SEGMENTS_MAX; i++) {
        if (!disk->segments[i])
            continue;
        int status =
            wal_recover_segment(disk->wal, i, bytes_of(disk->segments[i], SEGMENT_BYTES), text);
        if (status != OST_OK)
            return status;
        why_note(text);
    }
    wal_recover_end(disk->wal, text);
    why_note(text);
    return OST_OK;
}

static void recover_undamaged(struct disk *disk)
{
    cr_assert_eq(disk_recover(disk), OST_OK);
    cr_assert_eq(why[0], 0, "%s", why);
}

static bool is_damaged(const struct disk *disk, group_id_t group)
{
    struct wal_group_state state;
    if (wal_group_get(disk->wal, group, &state))
        return state.damaged;
    return wal_has_lost_unknown(disk->wal);
}

static size_t disk_segments_count(const struct disk *disk)
{
    size_t count = 0;
    for (size_t i = 0; i < SEGMENTS_MAX; i++)
        count += disk->segments[i] != NULL;
    return count;
}

static struct wal_group *disk_claim(struct disk *disk, group_id_t group)
{
    return wal_group_claim(disk->wal, group, 100 + group, &disk->durable[group]);
}

static struct raft_entry entry_make(raft_index_t index, raft_term_t term, size_t payload_bytes)
{
    struct raft_entry entry = {.index = index,
                               .term = term,
                               .log_timestamp = index * 10 + term,
                               .type = RAFT_ENTRY_COMMAND};
    if (payload_bytes > 0) {
        entry.payload = blob_new(payload_bytes);
        for (size_t i = 0; i < payload_bytes; i++)
            entry.payload->data[i] = (uint8_t)(index * 31 + term * 7 + i % 251);
    }
    return entry;
}

static void persist_entry(struct disk *disk, struct wal_group *group, uint64_t persist_id,
                          raft_index_t index, raft_term_t term, size_t payload_bytes)
{
    struct raft_entry entry = entry_make(index, term, payload_bytes);
    struct wal_unit_request request = {
        .persist_id = persist_id, .entries = &entry, .entries_count = 1};
    wal_persist(disk->wal, group, &request);
    blob_unref(entry.payload);
}

static void persist_hard_state(struct disk *disk, struct wal_group *group, uint64_t persist_id,
                               raft_term_t term, replica_id_t vote)
{
    struct wal_unit_request request = {
        .persist_id = persist_id, .hard_state_changed = true, .term = term, .vote = vote};
    wal_persist(disk->wal, group, &request);
}

static void expect_entry(const struct disk *disk, group_id_t group, raft_index_t index,
                         raft_term_t term, size_t payload_bytes)
{
    const struct raft_entry *found = wal_group_entry(disk->wal, group, index);
    cr_assert_not_null(found, "no entry %lu", index);
    struct raft_entry expected = entry_make(index, term, payload_bytes);
    cr_assert_eq(found->index, index);
    cr_assert_eq(found->term, term);
    cr_assert_eq(found->log_timestamp, expected.log_timestamp);
    cr_assert_eq(found->type, expected.type);
    cr_assert(bytes_equal(blob_bytes(found->payload), blob_bytes(expected.payload)));
    blob_unref(expected.payload);
}

Test(wal, gives_back_what_was_written)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    struct wal_group *two = disk_claim(disk, 2);
    struct raft_entry entries[3] = {entry_make(1, 2, 10), entry_make(2, 2, 0),
                                    entry_make(3, 3, 99)};
    struct wal_unit_request request = {.persist_id = 7,
                                       .hard_state_changed = true,
                                       .term = 3,
                                       .vote = 9,
                                       .entries = entries,
                                       .entries_count = 3};
    wal_persist(disk->wal, one, &request);
    persist_hard_state(disk, two, 1, 5, 0);
    disk_drain(disk);
    cr_assert_eq(disk->writes_count, 1, "both groups travel in one write");
    cr_assert_eq(disk->durable[1], 7);
    cr_assert_eq(disk->durable[2], 1);
    recover_undamaged(disk);

    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.replica, 101);
    cr_assert_eq(state.term, 3);
    cr_assert_eq(state.vote, 9);
    cr_assert_eq(state.last_index, 3);
    expect_entry(disk, 1, 1, 2, 10);
    expect_entry(disk, 1, 2, 2, 0);
    expect_entry(disk, 1, 3, 3, 99);
    cr_assert(wal_group_get(disk->wal, 2, &state));
    cr_assert_eq(state.term, 5);
    cr_assert_eq(state.last_index, 0);
    cr_assert_not(wal_group_get(disk->wal, 3, &state));
    for (int i = 0; i < 3; i++)
        blob_unref(entries[i].payload);
    disk_free(disk);
}

Test(wal, an_empty_disk_is_an_empty_log)
{
    struct disk *disk = disk_new();
    recover_undamaged(disk);
    disk_drain(disk); /* segments are made ahead, and stay empty */
    cr_assert_eq(disk_segments_count(disk), 2);
    recover_undamaged(disk);
    disk_drain(disk);
    cr_assert_eq(disk_segments_count(disk), 2, "what was made ahead is used again");
    disk_free(disk);
}

Test(wal, a_large_entry_travels_in_parts_between_others)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    struct wal_group *two = disk_claim(disk, 2);
    persist_entry(disk, one, 1, 1, 1, 200000); /* over several segments */
    while (disk->writes_count == 0)
        cr_assert(disk_step(disk, false));
    persist_entry(disk, two, 1, 1, 1, 50);
    while (disk->durable[2] == 0)
        cr_assert(disk_step(disk, false));
    cr_assert_eq(disk->durable[1], 0, "the small one does not wait for the large one");
    disk_drain(disk);
    cr_assert_eq(disk->durable[1], 1);
    cr_assert_gt(disk_segments_count(disk), 3);
    recover_undamaged(disk);
    expect_entry(disk, 1, 1, 1, 200000);
    expect_entry(disk, 2, 1, 1, 50);
    disk_free(disk);
}

Test(wal, a_write_begins_only_when_the_one_before_is_durable)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    persist_entry(disk, one, 1, 1, 1, 10);
    while (!disk->writing)
        cr_assert(disk_step(disk, true));
    for (raft_index_t i = 2; i <= 10; i++)
        persist_entry(disk, one, i, i, 1, 10);
    while (disk_step(disk, true))
        ;
    cr_assert_eq(disk->writes_count, 1);
    cr_assert_eq(disk->durable[1], 0);
    disk_write_done(disk);
    cr_assert_eq(disk->durable[1], 1);
    while (disk_step(disk, true))
        ;
    cr_assert_eq(disk->writes_count, 2, "what came meanwhile is one write");
    disk_write_done(disk);
    cr_assert_eq(disk->durable[1], 10);
    disk_free(disk);
}

Test(wal, later_entries_replace_earlier_ones)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    for (raft_index_t i = 1; i <= 10; i++)
        persist_entry(disk, one, i, i, 1, 100);
    disk_drain(disk);
    persist_entry(disk, one, 11, 6, 2, 40);
    disk_drain(disk);
    recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.last_index, 6);
    expect_entry(disk, 1, 5, 1, 100);
    expect_entry(disk, 1, 6, 2, 40);
    disk_free(disk);
}

Test(wal, a_reset_forgets_and_a_cut_forgets_the_front)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    struct wal_group *two = disk_claim(disk, 2);
    for (raft_index_t i = 1; i <= 10; i++) {
        persist_entry(disk, one, i, i, 1, 100);
        persist_entry(disk, two, i, i, 1, 100);
    }
    struct wal_unit_request reset = {
        .persist_id = 11, .log_reset = true, .reset_index = 50, .reset_term = 3};
    wal_persist(disk->wal, one, &reset);
    persist_entry(disk, one, 12, 51, 3, 10);
    wal_cut(disk->wal, two, 7);
    disk_drain(disk);
    recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.begin_index, 50);
    cr_assert_eq(state.begin_term, 3);
    cr_assert_eq(state.last_index, 51);
    cr_assert_null(wal_group_entry(disk->wal, 1, 10));
    cr_assert(wal_group_get(disk->wal, 2, &state));
    cr_assert_eq(state.begin_index, 7);
    cr_assert_eq(state.begin_term, 1);
    cr_assert_null(wal_group_entry(disk->wal, 2, 7));
    expect_entry(disk, 2, 8, 1, 100);
    disk_free(disk);
}

/* Three durable writes of one entry each and a fourth one of several blocks. */
static struct disk *disk_with_four_writes(void)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    persist_hard_state(disk, one, 1, 1, 1);
    for (raft_index_t i = 1; i <= 3; i++) {
        persist_entry(disk, one, i + 1, i, 1, 500);
        disk_drain(disk);
    }
    persist_entry(disk, one, 5, 4, 1, 14000);
    disk_drain(disk);
    cr_assert_eq(disk->writes_count, 4);
    cr_assert_eq(disk->last_bytes_count, 4 * WAL_BLOCK_BYTES);
    return disk;
}

Test(wal, a_torn_tail_is_cut_off_at_every_block)
{
    for (size_t blocks = 0; blocks < 4; blocks++) {
        for (int order = 0; order < 2; order++) {
            struct disk *disk = disk_with_four_writes();
            uint8_t *tail = disk->segments[disk->last_segment] + disk->last_offset;
            if (order == 0) /* the first blocks got there, */
                memset(tail + blocks * WAL_BLOCK_BYTES, 0, (4 - blocks) * WAL_BLOCK_BYTES);
            else /* or the last ones */
                memset(tail, 0, (4 - blocks) * WAL_BLOCK_BYTES);
            recover_undamaged(disk);
            struct wal_group_state state;
            cr_assert(wal_group_get(disk->wal, 1, &state));
            cr_assert_eq(state.last_index, 3);

            /* The log goes on, and all of it is there the next time. */
            struct wal_group *one = disk_claim(disk, 1);
            persist_entry(disk, one, 1, 4, 2, 77);
            disk_drain(disk);
            cr_assert_eq(disk->durable[1], 1);
            recover_undamaged(disk);
            expect_entry(disk, 1, 3, 1, 500);
            expect_entry(disk, 1, 4, 2, 77);
            disk_free(disk);
        }
    }
}

Test(wal, a_torn_tail_that_reads_well_later_stays_cut_off)
{
    struct disk *disk = disk_with_four_writes();
    uint8_t saved[4 * WAL_BLOCK_BYTES];
    uint8_t *tail = disk->segments[disk->last_segment] + disk->last_offset;
    memcpy(saved, tail, sizeof(saved));
    memset(tail + WAL_BLOCK_BYTES, 0, WAL_BLOCK_BYTES);
    recover_undamaged(disk);
    struct wal_group *one = disk_claim(disk, 1);
    persist_hard_state(disk, one, 1, 9, 0);
    disk_drain(disk);
    memcpy(tail, saved, sizeof(saved));
    recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.last_index, 3);
    cr_assert_eq(state.term, 9);
    disk_free(disk);
}

Test(wal, a_flipped_bit_is_damage_in_the_middle_and_torn_at_the_end)
{
    struct random random;
    random_init(&random, 1);
    for (int try = 0; try < 300; try++) {
        struct disk *disk = disk_with_four_writes();
        uint32_t segment = disk->last_segment;
        size_t end = disk->last_offset + disk->last_bytes_count;
        size_t at = random_below(&random, end);
        disk->segments[segment][at] ^= (uint8_t)(1u << random_below(&random, 8));
        cr_assert_eq(disk_recover(disk), OST_OK);
        if (at >= disk->last_offset) {
            cr_assert_eq(why[0], 0, "%zu: %s", at, why);
            struct wal_group_state state;
            cr_assert(wal_group_get(disk->wal, 1, &state));
            cr_assert_not(state.damaged);
            cr_assert_eq(state.last_index, 3);
        } else {
            cr_assert(is_damaged(disk, 1));
            char expected[64];
            snprintf(expected, sizeof(expected), "segment %010u is damaged at offset %zu:", segment,
                     at / WAL_BLOCK_BYTES * WAL_BLOCK_BYTES);
            cr_assert_not_null(strstr(why, expected), "%s, not %s", why, expected);
        }
        disk_free(disk);
    }
}

/* Six writes with these groups in them: 3, 1, 2, 1 and 2, 1, 3. */
enum { FIRST, A, B, C, D, LAST, WRITES_COUNT };
struct place {
    uint32_t segment;
    uint64_t offset;
    size_t bytes_count;
};
struct scene {
    struct disk *disk;
    struct place places[WRITES_COUNT];
    struct wal_group *groups[4];
};

static void scene_write(struct scene *scene, int number)
{
    disk_drain(scene->disk);
    scene->places[number] = (struct place){scene->disk->last_segment, scene->disk->last_offset,
                                           scene->disk->last_bytes_count};
}

static struct scene scene_new(uint64_t seed)
{
    struct scene scene = {.disk = disk_new()};
    wal_free(scene.disk->wal);
    scene.disk->seed = seed;
    disk_wal_new(scene.disk);
    for (group_id_t group = 1; group <= 3; group++)
        scene.groups[group] = disk_claim(scene.disk, group);
    persist_hard_state(scene.disk, scene.groups[3], 1, 8, 8);
    scene_write(&scene, FIRST);
    persist_entry(scene.disk, scene.groups[1], 1, 1, 1, 900);
    scene_write(&scene, A);
    persist_entry(scene.disk, scene.groups[2], 1, 1, 1, 5000);
    scene_write(&scene, B);
    persist_entry(scene.disk, scene.groups[1], 2, 2, 1, 900);
    persist_entry(scene.disk, scene.groups[2], 2, 2, 1, 5000);
    scene_write(&scene, C);
    persist_entry(scene.disk, scene.groups[1], 3, 3, 1, 900);
    scene_write(&scene, D);
    persist_hard_state(scene.disk, scene.groups[3], 2, 9, 0);
    scene_write(&scene, LAST);
    return scene;
}

static uint8_t *scene_at(const struct scene *scene, int number)
{
    const struct place *place = &scene->places[number];
    return scene->disk->segments[place->segment] + place->offset;
}

static void expect_damaged(struct disk *disk, bool one, bool two, bool three)
{
    cr_assert_eq(disk_recover(disk), OST_OK);
    cr_assert_eq(is_damaged(disk, 1), one, "%s", why);
    cr_assert_eq(is_damaged(disk, 2), two, "%s", why);
    cr_assert_eq(is_damaged(disk, 3), three, "%s", why);
    cr_assert_eq(why[0] != 0, one || two || three);
}

Test(wal, damage_to_one_write_costs_those_who_were_in_it)
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
            cr_assert_not(is_damaged(scene.disk, 77), "who is new is not");
            disk_free(scene.disk);
        }
    }
}

Test(wal, nothing_is_used_of_who_is_damaged)
{
    struct scene scene = scene_new(1);
    scene_at(&scene, A)[300] ^= 1;
    expect_damaged(scene.disk, true, false, false);
    struct wal_group_state state;
    cr_assert(wal_group_get(scene.disk->wal, 1, &state));
    cr_assert_eq(state.last_index, 0);
    expect_entry(scene.disk, 2, 1, 1, 5000);
    expect_entry(scene.disk, 2, 2, 1, 5000);
    cr_assert(wal_group_get(scene.disk->wal, 3, &state));
    cr_assert_eq(state.term, 9);
    disk_free(scene.disk);
}

/* Nobody knows who was in the first of two, nor in what stood before all that is found. */
Test(wal, damage_to_more_than_one_write_costs_everybody)
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
        cr_assert(is_damaged(scene.disk, 77), "even one of which nothing is left");
        disk_free(scene.disk);
    }
}

Test(wal, who_said_everything_after_the_damage_has_lost_nothing)
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
    disk_drain(scene.disk);
    persist_hard_state(scene.disk, scene.groups[3], 3, 10, 0);
    disk_drain(scene.disk);
    memset(scene_at(&scene, B), 0, 512);
    memset(scene_at(&scene, C), 0, 512);
    expect_damaged(scene.disk, true, false, true);
    struct wal_group_state state;
    cr_assert(wal_group_get(scene.disk->wal, 2, &state));
    cr_assert_eq(state.term, 6);
    cr_assert_eq(state.begin_index, 40);
    disk_free(scene.disk);
}

/* P is torn and cut off, so it is not known that it has a number, and Q of the next run gets that
 * number. Then P reads well, and Q is lost: nobody knows that P was never there. */
Test(wal, damage_between_two_runs_costs_everybody)
{
    struct scene scene = scene_new(1);
    uint8_t saved[WRITE_BYTES];
    persist_entry(scene.disk, scene.groups[1], 4, 4, 1, 900);
    scene_write(&scene, A);
    memcpy(saved, scene_at(&scene, A), scene.places[A].bytes_count);
    memset(scene_at(&scene, A), 0, scene.places[A].bytes_count);
    recover_undamaged(scene.disk);
    for (group_id_t group = 1; group <= 3; group++)
        scene.groups[group] = disk_claim(scene.disk, group);
    persist_hard_state(scene.disk, scene.groups[2], 1, 2, 0);
    scene_write(&scene, B);
    for (raft_term_t term = 10; term < 12; term++) {
        persist_hard_state(scene.disk, scene.groups[3], term, term, 0);
        disk_drain(scene.disk);
    }
    recover_undamaged(scene.disk);
    memcpy(scene_at(&scene, A), saved, scene.places[A].bytes_count);
    recover_undamaged(scene.disk);
    memset(scene_at(&scene, B), 0, 512);
    expect_damaged(scene.disk, true, true, true);
    disk_free(scene.disk);
}

/* A write that never got to the disk although it was reported: the place has what a recycled file
 * held before. */
Test(wal, a_stale_block_is_damage)
{
    struct scene scene = scene_new(1);
    struct scene other = scene_new(500);
    memcpy(scene_at(&scene, C), scene_at(&other, C), scene.places[C].bytes_count);
    expect_damaged(scene.disk, true, true, false);
    disk_free(scene.disk);
    disk_free(other.disk);
}

/* D went to the place of B. */
Test(wal, a_misdirected_write_is_damage_in_both_places)
{
    struct scene scene = scene_new(1);
    memcpy(scene_at(&scene, B), scene_at(&scene, D), scene.places[D].bytes_count);
    memset(scene_at(&scene, D), 0, scene.places[D].bytes_count);
    expect_damaged(scene.disk, true, true, false);
    disk_free(scene.disk);
}

Test(wal, damage_is_remembered_until_the_replica_is_destroyed)
{
    struct scene scene = scene_new(1);
    struct disk *disk = scene.disk;
    scene_at(&scene, A)[300] ^= 1;
    expect_damaged(disk, true, false, false);
    disk_drain(disk); /* the mark */
    expect_damaged(disk, true, false, false);
    /* The segment with the damage goes; the mark is written forward. */
    struct wal_group *two = disk_claim(disk, 2);
    disk_claim(disk, 3);
    raft_index_t index = 2;
    while (disk->segments[1] || disk->segments[scene.places[LAST].segment + 8] == NULL) {
        index++;
        persist_entry(disk, two, index, index, 1, 9000);
        wal_cut(disk->wal, two, index - 1);
        disk_drain(disk);
        cr_assert_lt(index, 1000);
    }
    cr_assert_eq(disk_recover(disk), OST_OK);
    cr_assert_eq(why[0], 0);
    cr_assert(is_damaged(disk, 1));

    uint64_t destroyed = 0;
    wal_destroy(disk->wal, 1, 101, &destroyed, 7);
    disk_drain(disk);
    cr_assert_eq(destroyed, 7);
    struct wal_group_state state;
    for (int i = 0; i < 2; i++) {
        cr_assert(wal_group_get(disk->wal, 1, &state));
        cr_assert_not(state.damaged);
        cr_assert(state.destroyed);
        cr_assert_eq(state.replica, 101);
        recover_undamaged(disk);
    }
    persist_hard_state(disk, wal_group_claim(disk->wal, 1, 201, &disk->durable[1]), 1, 3, 0);
    disk_drain(disk);
    recover_undamaged(disk);
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_not(state.destroyed);
    cr_assert_eq(state.replica, 201);
    disk_free(disk);
}

/* Whatever was queued, begun or written of it. The number stays when its segment goes, also while
 * the next one is claimed and has said nothing yet. */
Test(wal, what_was_destroyed_stays_destroyed)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    struct wal_group *two = disk_claim(disk, 2);
    persist_hard_state(disk, one, 1, 5, 4);
    persist_entry(disk, one, 2, 1, 5, 100000);
    while (disk->writes_count < 2)
        cr_assert(disk_step(disk, false));
    persist_hard_state(disk, one, 3, 6, 4);
    wal_destroy(disk->wal, 1, 101, &disk->durable[1], 4);
    disk_drain(disk);
    cr_assert_eq(disk->durable[1], 4);
    struct wal_group_state state;
    for (int i = 0; i < 2; i++) {
        raft_index_t index = 0;
        uint32_t until = disk->last_segment + 12;
        if (i == 1)
            wal_group_claim(disk->wal, 1, 201, &disk->durable[1]);
        while (disk->last_segment < until) {
            index++;
            persist_entry(disk, two, index, index, (raft_term_t)i + 1, 9000);
            wal_cut(disk->wal, two, index - 1);
            disk_drain(disk);
        }
        recover_undamaged(disk);
        cr_assert(wal_group_get(disk->wal, 1, &state));
        cr_assert_eq(state.destroyed, i == 0);
        cr_assert_eq(state.replica, i == 0 ? 101 : 201);
        cr_assert_eq(state.term, 0);
        cr_assert_eq(state.last_index, 0);
        two = disk_claim(disk, 2);
        wal_persist(disk->wal, two, &(struct wal_unit_request){.log_reset = true});
    }
    disk_free(disk);
}

Test(wal, another_version_is_not_taken_for_an_empty_log)
{
    struct scene scene = scene_new(1);
    uint8_t *at = scene_at(&scene, FIRST);
    at[4] = 1;
    uint64_t sum = XXH3_64bits(at, 72); /* as version 1 had it */
    memcpy(at + 72, &sum, sizeof(sum));
    cr_assert_eq(disk_recover(scene.disk), OST_WRONG_VERSION);
    disk_free(scene.disk);
}

Test(wal, damage_is_seen_from_the_next_segment_too)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    uint32_t first = 0;
    raft_index_t index = 0;
    uint64_t last_offset = 0;
    while (disk->last_segment == first || first == 0) {
        first = disk->last_segment;
        last_offset = disk->last_offset;
        index++;
        persist_entry(disk, one, index, index, 1, 9000);
        disk_drain(disk);
    }
    disk->segments[first][last_offset + 3000] ^= 4; /* the last write of its segment */
    cr_assert_eq(disk_recover(disk), OST_OK);
    cr_assert(is_damaged(disk, 1));
    disk->segments[first][last_offset + 3000] ^= 4;
    recover_undamaged(disk);
    /* So is a segment that is not there. */
    struct wal_group *again = disk_claim(disk, 1);
    while (disk->last_segment < first + 4) {
        index++;
        persist_entry(disk, again, index, index, 1, 9000);
        disk_drain(disk);
    }
    uint8_t *lost = disk->segments[first + 1];
    disk->segments[first + 1] = NULL;
    cr_assert_eq(disk_recover(disk), OST_OK);
    cr_assert(is_damaged(disk, 1));
    disk->segments[first + 1] = lost;
    recover_undamaged(disk);
    disk_free(disk);
}

Test(wal, a_unit_whose_last_part_is_missing_is_dropped_whole)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    persist_hard_state(disk, one, 1, 1, 1);
    disk_drain(disk);
    struct raft_entry entries[2] = {entry_make(1, 2, 30000), entry_make(2, 2, 30000)};
    struct wal_unit_request request = {.persist_id = 2,
                                       .hard_state_changed = true,
                                       .term = 2,
                                       .vote = 3,
                                       .entries = entries,
                                       .entries_count = 2};
    wal_persist(disk->wal, one, &request);
    for (size_t i = 0; i < 2; i++)
        cr_assert(disk_step(disk, false));
    cr_assert_eq(disk->durable[1], 1);
    recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.term, 1);
    cr_assert_eq(state.last_index, 0);
    one = disk_claim(disk, 1);
    wal_persist(disk->wal, one, &request);
    disk_drain(disk);
    recover_undamaged(disk);
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.term, 2);
    expect_entry(disk, 1, 2, 2, 30000);
    blob_unref(entries[0].payload);
    blob_unref(entries[1].payload);
    disk_free(disk);
}

Test(wal, idle_groups_are_written_forward_so_that_segments_can_go)
{
    struct disk *disk = disk_new();
    struct wal_group *idle = disk_claim(disk, 1);
    struct wal_group *busy = disk_claim(disk, 2);
    persist_hard_state(disk, idle, 1, 6, 4);
    for (raft_index_t i = 1; i <= 5; i++)
        persist_entry(disk, idle, i + 1, i, 2, 100);
    wal_cut(disk->wal, idle, 2);
    for (raft_index_t i = 1; i <= 2000; i++) {
        persist_entry(disk, busy, i, i, 1, 3000);
        disk_drain(disk);
        if (i % 20 == 0) {
            wal_cut(disk->wal, busy, i - 5);
            wal_maintain(disk->wal);
            disk_drain(disk);
        }
        cr_assert_leq(disk_segments_count(disk), 9, "after %lu", i);
    }
    cr_assert_null(disk->segments[1]);
    cr_assert_gt(disk->last_segment, 40);
    recover_undamaged(disk);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.term, 6);
    cr_assert_eq(state.vote, 4);
    cr_assert_eq(state.begin_index, 2);
    for (raft_index_t i = 3; i <= 5; i++)
        expect_entry(disk, 1, i, 2, 100);
    expect_entry(disk, 2, 2000, 1, 3000);
    disk_free(disk);
}

Test(wal, what_was_written_forward_is_durable_before_its_segment_goes)
{
    struct disk *disk = disk_new();
    struct wal_group *idle = disk_claim(disk, 1);
    struct wal_group *busy = disk_claim(disk, 2);
    persist_hard_state(disk, idle, 1, 6, 4);
    raft_index_t index = 0;
    while (disk->segments[1] || index == 0) {
        index++;
        persist_entry(disk, busy, index, index, 1, 3000);
        wal_cut(disk->wal, busy, index - 1);
        while (disk_step(disk, true)) {
            if (!disk->writing)
                continue;
            wal_maintain(disk->wal); /* as after a flush, which may come at any time */
            while (disk_step(disk, true))
                ;
            /* A crash here loses the write: what is left must know the vote. */
            uint8_t saved[WRITE_BYTES];
            uint8_t *at = disk->segments[disk->last_segment] + disk->last_offset;
            memcpy(saved, at, disk->last_bytes_count);
            memset(at, 0, disk->last_bytes_count);
            struct disk copy = *disk;
            copy.seed = 1000;
            disk_wal_new(&copy);
            struct wal *made = copy.wal;
            for (uint32_t i = 0; i < SEGMENTS_MAX; i++) {
                if (disk->segments[i])
                    cr_assert_eq(wal_recover_segment(
                                     made, i, bytes_of(disk->segments[i], SEGMENT_BYTES), why),
                                 OST_OK);
            }
            wal_recover_end(made, why);
            cr_assert_eq(why[0], 0, "%s", why);
            struct wal_group_state state;
            if (disk->durable[1] == 1) {
                cr_assert(wal_group_get(made, 1, &state));
                cr_assert_eq(state.vote, 4);
            }
            wal_free(made);
            memcpy(at, saved, disk->last_bytes_count);
            disk_write_done(disk);
        }
    }
    disk_free(disk);
}

Test(wal, another_replica_of_a_group_begins_with_nothing)
{
    struct disk *disk = disk_new();
    struct wal_group *one = disk_claim(disk, 1);
    persist_hard_state(disk, one, 1, 6, 4);
    persist_entry(disk, one, 2, 1, 6, 10);
    disk_drain(disk);
    recover_undamaged(disk);
    struct wal_group *other = wal_group_claim(disk->wal, 1, 999, &disk->durable[1]);
    struct wal_group_state state;
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_not(state.hard_state_known);
    persist_hard_state(disk, other, 1, 1, 999);
    disk_drain(disk);
    recover_undamaged(disk);
    cr_assert(wal_group_get(disk->wal, 1, &state));
    cr_assert_eq(state.replica, 999);
    cr_assert_eq(state.term, 1);
    cr_assert_eq(state.last_index, 0);
    disk_free(disk);
}

/* Random operations against the simplest reference: per group an array of (term, bytes). Crashes
 * come at random; the write under way is then lost, torn or whole. With rot, bytes and blocks of
 * durable writes change at a crash: then each group either has all that was durable, or is damaged.
 * Not those of the last durable write, which nobody can tell from a torn one. */
#define MODEL_GROUPS  5u
#define MODEL_ENTRIES 4000u
struct model_group {
    bool destroyed;
    bool fresh; /* a new replica that has said nothing: the one before it may be found destroyed */
    replica_id_t replica;
    raft_term_t term;
    replica_id_t vote;
    raft_index_t begin;
    raft_index_t last;
    raft_term_t terms[MODEL_ENTRIES];
    uint32_t bytes[MODEL_ENTRIES];
};
struct model {
    struct disk *disk;
    struct random random;
    struct wal_group *handles[MODEL_GROUPS];
    bool rots;
    size_t damaged_count, whole_count; /* groups found after a rot */
    struct place writes[8192];
    size_t writes_count;
    struct model_group
        *history[MODEL_GROUPS]; /* state after unit i of this life; 0: at its start */
    size_t history_count[MODEL_GROUPS];
    uint64_t next_id[MODEL_GROUPS];
};
#define MODEL_HISTORY_MAX 512u

static bool model_equals(const struct model *model, uint32_t group, const struct model_group *want)
{
    struct wal_group_state state = {0};
    bool known = wal_group_get(model->disk->wal, group, &state);
    if (want->fresh && (!known || (state.destroyed && state.replica < want->replica)))
        return true;
    if (known && (state.replica != want->replica || state.destroyed != want->destroyed))
        return false;
    if (want->destroyed)
        return known;
    if (state.term != want->term || state.vote != want->vote)
        return false;
    /* Where a log without entries begins may be forgotten: the state machine knows it. */
    if (want->begin == want->last && !state.begin_known)
        return true;
    if (state.last_index != want->last)
        return false;
    for (raft_index_t i = want->begin + 1; i <= want->last; i++) {
        const struct raft_entry *entry = wal_group_entry(model->disk->wal, group, i);
        if (!entry || entry->term != want->terms[i] ||
            blob_bytes(entry->payload).bytes_count != want->bytes[i])
            return false;
        struct raft_entry expected = entry_make(i, want->terms[i], want->bytes[i]);
        bool equal = bytes_equal(blob_bytes(entry->payload), blob_bytes(expected.payload));
        blob_unref(expected.payload);
        if (!equal)
            return false;
    }
    return true;
}

static void model_persist(struct model *model, uint32_t group)
{
    struct model_group *now = &model->history[group][model->history_count[group]];
    *now = now[-1];
    now->fresh = false;
    struct raft_entry entries[6];
    struct wal_unit_request request = {.entries = entries};
    if (random_below(&model->random, 4) == 0) {
        now->term++;
        now->vote = random_below(&model->random, 3);
        request.hard_state_changed = true;
    } else if (now->term == 0) {
        now->term = 1;
        request.hard_state_changed = true;
    }
    request.term = now->term;
    request.vote = now->vote;
    if (random_below(&model->random, 40) == 0) {
        now->last += 5;
        now->begin = now->last;
        request.log_reset = true;
        request.reset_index = now->last;
        request.reset_term = now->term;
    }
    raft_index_t index = now->last + 1;
    if (now->last > now->begin && random_below(&model->random, 5) == 0)
        index -= random_below(&model->random, now->last - now->begin);
    request.entries_count = (uint32_t)random_below(&model->random, 7);
    for (uint32_t i = 0; i < request.entries_count; i++, index++) {
        cr_assert_lt(index, MODEL_ENTRIES);
        uint32_t bytes = (uint32_t)random_below(
            &model->random, random_below(&model->random, 30) == 0 ? 60000 : 800);
        entries[i] = entry_make(index, now->term, bytes);
        now->terms[index] = now->term;
        now->bytes[index] = bytes;
        now->last = index;
    }
    request.persist_id = model->history_count[group]++;
    wal_persist(model->disk->wal, model->handles[group], &request);
    for (uint32_t i = 0; i < request.entries_count; i++)
        blob_unref(entries[i].payload);
}

static void model_cut(struct model *model, uint32_t group)
{
    /* As far as all states that may yet be found agree. */
    struct model_group *durable = &model->history[group][model->disk->durable[group]];
    raft_index_t upto = durable->last;
    raft_index_t begin = durable->begin;
    for (size_t i = model->disk->durable[group]; i < model->history_count[group]; i++) {
        struct model_group *state = &model->history[group][i];
        for (raft_index_t at = begin + 1; at <= upto; at++) {
            if (at > state->last || at <= state->begin || state->terms[at] != durable->terms[at])
                upto = at - 1;
        }
    }
    if (upto <= begin)
        return;
    raft_index_t cut = begin + 1 + random_below(&model->random, upto - begin);
    for (size_t i = model->disk->durable[group]; i < model->history_count[group]; i++)
        if (model->history[group][i].begin < cut)
            model->history[group][i].begin = cut;
    wal_cut(model->disk->wal, model->handles[group], cut);
    if (random_below(&model->random, 2) == 0)
        wal_maintain(model->disk->wal);
}

static void model_destroy(struct model *model, uint32_t group)
{
    struct model_group *now = &model->history[group][model->history_count[group]];
    *now = (struct model_group){.destroyed = true, .replica = now[-1].replica};
    wal_destroy(model->disk->wal, group, now->replica, &model->disk->durable[group],
                model->history_count[group]++);
}

/* A new life for a group: what is found of it, or after its end the next replica. */
static void model_begin(struct model *model, uint32_t group, struct model_group state)
{
    if (state.destroyed)
        state = (struct model_group){.fresh = true, .replica = state.replica + 1};
    model->history[group][0] = state;
    model->history_count[group] = 1;
    model->disk->durable[group] = 0;
    model->handles[group] =
        wal_group_claim(model->disk->wal, group, state.replica, &model->disk->durable[group]);
}

static void model_rot(struct model *model)
{
    /* The write under way, if any, is the last; the one before it is the last durable one. */
    size_t spared = model->disk->writing ? 2 : 1;
    uint64_t count = random_below(&model->random, 4);
    for (uint64_t i = 0; i < count && model->writes_count > spared; i++) {
        uint64_t back = spared + random_below(&model->random, 30);
        if (back >= model->writes_count)
            continue;
        const struct place *place = &model->writes[model->writes_count - 1 - back];
        uint8_t *segment = model->disk->segments[place->segment];
        if (!segment)
            continue; /* retired */
        uint8_t *at = segment + place->offset + random_below(&model->random, place->bytes_count);
        uint8_t *block = segment + ((uintptr_t)(at - segment) & ~(uintptr_t)(WAL_BLOCK_BYTES - 1));
        switch (random_below(&model->random, 4)) {
        case 0:
            *at ^= (uint8_t)(1u << random_below(&model->random, 8));
            break;
        case 1:
            memset(segment + ((uintptr_t)(at - segment) & ~(uintptr_t)511), 0, 512);
            break;
        case 2:
            memset(block, 0, WAL_BLOCK_BYTES);
            break;
        case 3: /* the header, whose length then leads astray */
            segment[place->offset + random_below(&model->random, 88)] ^= 0x11;
            break;
        }
    }
}

/* Is the group what it should be, or known not to be? It then ends, and begins anew. */
static void model_recovered(struct model *model, uint32_t group, size_t durable, uint64_t seed)
{
    size_t i = durable;
    if (is_damaged(model->disk, group)) {
        cr_assert(model->rots, "seed %lu: group %u is damaged by nothing", seed, group);
        model->damaged_count++;
        struct model_group state = model->history[group][model->history_count[group] - 1];
        wal_destroy(model->disk->wal, group, state.replica, NULL, 0);
        state.destroyed = true;
        while (disk_step(model->disk, false))
            ;
        model_begin(model, group, state);
        return;
    }
    while (i < model->history_count[group] &&
           !model_equals(model, group, &model->history[group][i]))
        i++;
    cr_assert_lt(i, model->history_count[group],
                 "seed %lu: group %u is in no state between durable and written", seed, group);
    model->whole_count += why[0] != 0;
    model_begin(model, group, model->history[group][i]);
}

static void model_crash(struct model *model, uint64_t seed)
{
    struct disk *disk = model->disk;
    bool whole = true;
    uint64_t durable[16];
    if (model->rots)
        model_rot(model);
    if (disk->writing) {
        uint8_t *at = disk->segments[disk->last_segment] + disk->last_offset;
        for (size_t i = 0; i < disk->last_bytes_count; i += WAL_BLOCK_BYTES) {
            if (random_below(&model->random, 3) == 0) {
                memset(at + i, (int)random_below(&model->random, 2) * 0xa5, WAL_BLOCK_BYTES);
                whole = false;
            }
        }
    }
    (void)whole;
    /* It is the last, whole or not. */
    model->writes_count -= disk->writing && model->writes_count > 0;
    memcpy(durable, disk->durable, sizeof(durable));
    cr_assert_eq(disk_recover(disk), OST_OK);
    cr_assert(model->rots || why[0] == 0, "seed %lu: %s", seed, why);
    for (uint32_t group = 0; group < MODEL_GROUPS; group++)
        model_recovered(model, group, durable[group], seed);
}

static void model_run(uint64_t seed, bool rots, size_t *out_damaged, size_t *out_whole)
{
    static struct model model;
    model = (struct model){.disk = disk_new(), .rots = rots};
    model.disk->seed = seed * 1000;
    random_init(&model.random, seed);
    for (uint32_t group = 0; group < MODEL_GROUPS; group++) {
        model.history[group] = memory_alloc_zeroed(MODEL_HISTORY_MAX, sizeof(struct model_group));
        model_begin(&model, group, (struct model_group){.fresh = true, .replica = 100 + group});
    }
    size_t writes_count = 0;
    for (int i = 0; i < 1200; i++) {
        uint32_t group = (uint32_t)random_below(&model.random, MODEL_GROUPS);
        switch (random_below(&model.random, 10)) {
        case 0:
        case 1:
        case 2:
            if (model.history[group][model.history_count[group] - 1].destroyed) {
                size_t last = model.history_count[group] - 1;
                if (model.disk->durable[group] == last)
                    model_begin(&model, group, model.history[group][last]);
            } else if (model.history_count[group] < MODEL_HISTORY_MAX - 1) {
                model_persist(&model, group);
            }
            break;
        case 3:
            if (model.history[group][model.history_count[group] - 1].destroyed)
                break;
            if (random_below(&model.random, 30) == 0)
                model_destroy(&model, group);
            else if (random_below(&model.random, 3) == 0)
                model_cut(&model, group);
            break;
        case 4:
            if (random_below(&model.random, 8) == 0)
                model_crash(&model, seed);
            break;
        case 5:
        case 6:
        case 7:
            if (model.disk->writing)
                disk_write_done(model.disk);
            break;
        default:
            disk_step(model.disk, true);
        }
        if (model.disk->writes_count != writes_count) {
            writes_count = model.disk->writes_count;
            model.writes[model.writes_count++] = (struct place){
                model.disk->last_segment, model.disk->last_offset, model.disk->last_bytes_count};
        }
    }
    model_crash(&model, seed);
    *out_damaged += model.damaged_count;
    *out_whole += model.whole_count;
    for (uint32_t group = 0; group < MODEL_GROUPS; group++)
        free(model.history[group]);
    disk_free(model.disk);
}

Test(wal, random_operations_and_crashes_agree_with_the_model)
{
    size_t damaged = 0, whole = 0;
    for (uint64_t seed = 1; seed <= 60; seed++)
        model_run(seed, false, &damaged, &whole);
}

Test(wal, nothing_durable_is_lost_in_silence)
{
    size_t damaged = 0, whole = 0;
    for (uint64_t seed = 1001; seed <= 1300; seed++)
        model_run(seed, true, &damaged, &whole);
    cr_assert_gt(damaged, 500, "%zu damaged, %zu whole", damaged, whole);
    cr_assert_gt(whole, 500, "%zu damaged, %zu whole", damaged, whole);
}

Test(wal, any_bytes_are_read_without_harm)
{
    struct random random;
    random_init(&random, 77);
    for (int try = 0; try < 200; try++) {
        struct disk *disk = disk_with_four_writes();
        for (int i = 0; i < 20; i++)
            disk->segments[disk->last_segment][random_below(&random, SEGMENT_BYTES)] =
                (uint8_t)random_next(&random);
        int status = disk_recover(disk);
        cr_assert(status == OST_OK || status == OST_WRONG_VERSION);
        disk_free(disk);
    }
}
