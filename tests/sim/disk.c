#include "tests/sim/disk.h"

#include "base/memory.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

void disk_init(struct disk *disk, const struct disk_options *options, struct random random)
{
    *disk = (struct disk){.options = *options, .random = random, .slow_factor = 1};
    TAILQ_INIT(&disk->segments);
    TAILQ_INIT(&disk->spares);
}

static void segments_free(struct disk_segments *segments)
{
    struct disk_segment *segment;
    while ((segment = TAILQ_FIRST(segments))) {
        TAILQ_REMOVE(segments, segment, link);
        free(segment->bytes);
        free(segment);
    }
}

void disk_fini(struct disk *disk)
{
    segments_free(&disk->segments);
    segments_free(&disk->spares);
}

#define DISK_MISREAD_BIT 0x10u

void disk_was_read(struct disk *disk)
{
    if (disk->misread_byte)
        *disk->misread_byte ^= DISK_MISREAD_BIT;
    disk->misread_byte = NULL;
}

void disk_wipe(struct disk *disk)
{
    disk_fini(disk);
    disk->misread_byte = NULL;
    disk->last_segment = 0;
    disk->last_offset = 0;
}

static struct disk_segment *segment_find(struct disk *disk, uint32_t number)
{
    struct disk_segment *segment;
    TAILQ_FOREACH (segment, &disk->segments, link) {
        if (segment->number == number)
            return segment;
    }
    return NULL;
}

nanoseconds_t disk_operation_end_ns(struct disk *disk, const struct log_operation *operation,
                                    nanoseconds_t now_ns)
{
    const struct disk_options *options = &disk->options;
    uint64_t took_ns = random_between(&disk->random, options->write_ns_min, options->write_ns_max);
    if (operation->type != LOG_OPERATION_WRITE)
        took_ns *= 4; /* files are made and directories synced */
    if (random_happens(&disk->random, options->tail_per_million))
        took_ns += random_below(&disk->random, options->tail_ns_max + 1);
    nanoseconds_t end_ns = now_ns + took_ns * disk->slow_factor;
    return end_ns > disk->hung_until_ns ? end_ns : disk->hung_until_ns + took_ns;
}

/* --- Files
 * ------------------------------------------------------------------------------------------- */

static struct disk_segment *spare_take(struct disk *disk, size_t bytes_count)
{
    struct disk_segment *spare = TAILQ_FIRST(&disk->spares);
    if (!spare)
        return NULL;
    ASSERT(spare->bytes_count == bytes_count); /* the size never changes within a run */
    TAILQ_REMOVE(&disk->spares, spare, link);
    return spare;
}

static void segment_create(struct disk *disk, uint32_t number, size_t bytes_count)
{
    ASSERT(!segment_find(disk, number));
    struct disk_segment *segment = spare_take(disk, bytes_count);
    if (!segment) {
        segment = memory_alloc_zeroed(1, sizeof *segment);
        segment->bytes = memory_alloc_zeroed(1, bytes_count);
        segment->bytes_count = bytes_count;
    }
    segment->number = number;
    segment->written_end = 0;
    struct disk_segment *after = TAILQ_LAST(&disk->segments, disk_segments);
    while (after && after->number > number)
        after = TAILQ_PREV(after, disk_segments, link);
    if (after)
        TAILQ_INSERT_AFTER(&disk->segments, after, segment, link);
    else
        TAILQ_INSERT_HEAD(&disk->segments, segment, link);
}

static void segment_retire(struct disk *disk, uint32_t number)
{
    struct disk_segment *segment = segment_find(disk, number);
    ASSERT(segment);
    TAILQ_REMOVE(&disk->segments, segment, link);
    ASSERT(disk->misread_byte < segment->bytes ||
           disk->misread_byte >= segment->bytes + segment->bytes_count);
    size_t spares_count = 0;
    struct disk_segment *spare;
    TAILQ_FOREACH (spare, &disk->spares, link)
        spares_count++;
    if (spares_count < DISK_SPARES_MAX) {
        TAILQ_INSERT_TAIL(&disk->spares, segment, link);
        return;
    }
    free(segment->bytes);
    free(segment);
}

static struct disk_segment *write_check(struct disk *disk, const struct log_operation *operation)
{
    struct disk_segment *segment = segment_find(disk, operation->segment);
    ASSERT(segment);
    ASSERT(operation->offset % 4096 == 0 && operation->bytes_count % 4096 == 0);
    ASSERT(operation->offset + operation->bytes_count <= segment->bytes_count);
    return segment;
}

static void segment_wrote(struct disk_segment *segment, const struct log_operation *operation)
{
    if (operation->offset + operation->bytes_count > segment->written_end)
        segment->written_end = operation->offset + operation->bytes_count;
}

int disk_operation_finish(struct disk *disk, const struct log_operation *operation)
{
    switch (operation->type) {
    case LOG_OPERATION_WRITE: {
        struct disk_segment *segment = write_check(disk, operation);
        if (disk->writes_to_fail > 0) {
            disk->writes_to_fail--;
            disk_operation_tear(disk, operation);
            return OST_IO;
        }
        memcpy(segment->bytes + operation->offset, operation->data, operation->bytes_count);
        segment_wrote(segment, operation);
        disk->writes_count++;
        disk->last_segment = operation->segment;
        disk->last_offset = operation->offset;
        return OST_OK;
    }
    case LOG_OPERATION_CREATE:
        if (disk->is_full && TAILQ_EMPTY(&disk->spares))
            return OST_NO_SPACE;
        segment_create(disk, operation->segment, operation->bytes_count);
        return OST_OK;
    case LOG_OPERATION_RETIRE:
        segment_retire(disk, operation->segment);
        return OST_OK;
    }
    return OST_IO;
}

/* --- Crashes
 * ----------------------------------------------------------------------------------------- */

enum tear { TEAR_LOST, TEAR_KEPT, TEAR_PREFIX, TEAR_ANY, TEAR_MISREAD, TEARS_COUNT };

void disk_operation_tear(struct disk *disk, const struct log_operation *operation)
{
    if (operation->type == LOG_OPERATION_CREATE) {
        if (!disk->is_full && random_below(&disk->random, 2) == 0)
            segment_create(disk, operation->segment, operation->bytes_count);
        return;
    }
    if (operation->type == LOG_OPERATION_RETIRE) {
        if (random_below(&disk->random, 2) == 0)
            segment_retire(disk, operation->segment);
        return;
    }
    struct disk_segment *segment = write_check(disk, operation);
    enum tear tear = (enum tear)random_below(&disk->random, TEARS_COUNT);
    size_t sectors_count = operation->bytes_count / DISK_SECTOR_BYTES;
    size_t prefix_count = random_below(&disk->random, sectors_count + 1);
    for (size_t sector = 0; sector < sectors_count; sector++) {
        bool is_there = tear == TEAR_KEPT || tear == TEAR_MISREAD ||
                        (tear == TEAR_PREFIX && sector < prefix_count) ||
                        (tear == TEAR_ANY && random_below(&disk->random, 2) == 0);
        size_t at = sector * DISK_SECTOR_BYTES;
        if (is_there)
            memcpy(segment->bytes + operation->offset + at, (const uint8_t *)operation->data + at,
                   DISK_SECTOR_BYTES);
    }
    segment_wrote(segment, operation);
    if (tear != TEAR_MISREAD)
        return;
    disk->misread_byte =
        segment->bytes + operation->offset + random_below(&disk->random, operation->bytes_count);
    *disk->misread_byte ^= DISK_MISREAD_BIT;
}

/* --- Damage
 * ------------------------------------------------------------------------------------------ */

/* A written sector of the log before its newest write; NULL: there is none. */
static uint8_t *sector_choose(struct disk *disk)
{
    size_t sectors_count = 0;
    struct disk_segment *segment;
    TAILQ_FOREACH (segment, &disk->segments, link) {
        size_t end = segment->number < disk->last_segment    ? segment->written_end
                     : segment->number == disk->last_segment ? disk->last_offset
                                                             : 0;
        sectors_count += end / DISK_SECTOR_BYTES;
    }
    if (sectors_count == 0)
        return NULL;
    size_t chosen = random_below(&disk->random, sectors_count);
    TAILQ_FOREACH (segment, &disk->segments, link) {
        size_t end =
            segment->number < disk->last_segment ? segment->written_end : disk->last_offset;
        if (chosen < end / DISK_SECTOR_BYTES)
            return segment->bytes + chosen * DISK_SECTOR_BYTES;
        chosen -= end / DISK_SECTOR_BYTES;
    }
    return NULL;
}

bool disk_damage(struct disk *disk, enum disk_damage damage)
{
    uint8_t *sector = sector_choose(disk);
    if (!sector)
        return false;
    switch (damage) {
    case DISK_FLIPPED:
        sector[random_below(&disk->random, DISK_SECTOR_BYTES)] ^=
            (uint8_t)(1u << random_below(&disk->random, 8));
        break;
    case DISK_STALE: /* a write that was reported and did not happen: what was there before */
        memset(sector, 0, DISK_SECTOR_BYTES);
        break;
    case DISK_MISDIRECTED: { /* another sector's write landed here */
        uint8_t *other = sector_choose(disk);
        memmove(sector, other, DISK_SECTOR_BYTES);
        break;
    }
    }
    return true;
}
