/* disk.h: the log files of one store, as bytes; what a disk and a power cut may do to them.
 *
 * The model, sectors of 512 bytes: a write that was reported is there, whole, until damage is asked
 * for. At a crash of the process each sector of a write under way is there or not, each by itself;
 * so is a file that was being made or retired. Or the write is there whole, and one of its sectors
 * does not read well the first time, and does later. A retired file is recycled with its old bytes.
 * Damage is done at rest, to sectors behind which a later write is durable: the loss of the very
 * last write cannot be told from a torn one by anybody.
 */
#pragma once

#include "base/bytes.h"
#include "raft/log_operation.h"
#include "tests/sim/schedule.h"

#include <bsd/sys/queue.h>

#define DISK_SECTOR_BYTES 512u
#define DISK_SPARES_MAX   2u

struct disk_options {
    uint64_t write_ns_min, write_ns_max;
    uint64_t tail_per_million, tail_ns_max;
};

struct disk_segment {
    TAILQ_ENTRY(disk_segment) link; /* ascending numbers */
    uint32_t number;
    size_t bytes_count;
    uint8_t *bytes;
    size_t written_end; /* nothing was written behind this in its present life */
};
TAILQ_HEAD(disk_segments, disk_segment);

struct disk {
    struct disk_options options;
    struct random random;
    struct disk_segments segments;
    struct disk_segments spares;
    uint32_t last_segment; /* of the newest write that was reported */
    uint64_t last_offset;
    uint64_t writes_count; /* that were reported */
    uint8_t *misread_byte; /* reads wrongly until the log was read once; NULL: none does */
    /* Faults. */
    uint64_t slow_factor;        /* 1 */
    nanoseconds_t hung_until_ns; /* nothing is reported before that */
    uint32_t writes_to_fail;     /* so many fail, and then the process is gone */
    bool is_full;                /* no segment can be made */
};

void disk_init(struct disk *disk, const struct disk_options *options, struct random random);
void disk_fini(struct disk *disk);

/* When an operation that begins now will be reported. */
nanoseconds_t disk_operation_end_ns(struct disk *disk, const struct log_operation *operation,
                                    nanoseconds_t now_ns);
/* It ends: its effect is durable. OST_OK, OST_IO, OST_NO_SPACE. */
int disk_operation_finish(struct disk *disk, const struct log_operation *operation);
/* The process is gone while it was under way. */
void disk_operation_tear(struct disk *disk, const struct log_operation *operation);

/* Who started has read the log: what read badly reads well from now on. */
void disk_was_read(struct disk *disk);

/* Another one takes its place, empty. */
void disk_wipe(struct disk *disk);
enum disk_damage { DISK_FLIPPED, DISK_STALE, DISK_MISDIRECTED };
/* False: there is nothing that may be damaged. */
bool disk_damage(struct disk *disk, enum disk_damage damage);
