/* range_groups.h: groups as docs/range-moves.md describes them, without logs, replicas or rows:
 * what each has of which ranges, the orders that it takes, the reports that it gives, and a number
 * per key that stands for what was written. Messages are lost, doubled, and come late.
 *
 * After each event it is asserted that no key has two groups that may write it, that a group which
 * serves a key has what was written last, and that its epoch is no lower than any before.
 *
 * Keys are the empty one and "a" to "z", and written as 0 to 26; 27 is the end of the key space.
 */
#pragma once

#include "base/random.h"
#include "base/types.h"
#include "proto/frame.h"
#include "proto/master.pb-c.h"

enum { RANGE_KEYS_COUNT = 27, RANGE_GROUPS_MAX = 3, RANGE_GROUP_RANGES_MAX = 32 };

struct group_range {
    uint32_t start, end;
    uint64_t epoch;
    Ostraka__RangeState state;
    uint64_t change;
    group_id_t from_group;
    uint64_t copied_bytes;
    bool is_stuck;        /* its copy never goes on */
    uint32_t prepared_ms; /* FROZEN: until nothing is prepared any more */
};

struct group_here {
    group_id_t id;
    raft_term_t term;
    struct group_range ranges[RANGE_GROUP_RANGES_MAX];
    size_t ranges_count;
    uint64_t values[RANGE_KEYS_COUNT];
    bool has_dropped; /* takes no first range any more */
    nanoseconds_t report_ns;
};

struct range_message;

struct range_groups {
    struct random random;
    nanoseconds_t now_ns;
    uint32_t groups_count;
    struct group_here groups[RANGE_GROUPS_MAX];
    uint64_t written[RANGE_KEYS_COUNT];
    uint64_t epochs[RANGE_KEYS_COUNT]; /* the highest that ever served it */
    bool is_quiet; /* nothing is lost, doubled or late from now on, and nothing is stuck */
    struct range_message *messages;
    size_t messages_count, messages_capacity;
    /* A report arrives; borrowed. */
    void (*report)(void *context, const Ostraka__RangeReport *report);
    void *context;
    size_t seals_count, owns_count, unfreezes_count, discards_count, drops_count, splits_count,
        merges_count;
};

void range_groups_init(struct range_groups *groups, uint64_t seed, uint32_t groups_count,
                       nanoseconds_t now_ns);
void range_groups_fini(struct range_groups *groups);
/* RANGE_ORDER or ASSIGN_RANGE is on its way. */
void range_groups_send(struct range_groups *groups, const struct frame *frame);
/* A millisecond. */
void range_groups_step(struct range_groups *groups, nanoseconds_t now_ns);
/* Another replica leads: what only the leader knew is gone. */
void range_groups_depose(struct range_groups *groups, group_id_t group);
/* What each has is what the map says, and nothing else; false: not yet. */
bool range_groups_agree(const struct range_groups *groups, const Ostraka__Map *map);

/* "", "a".."z". */
struct bytes range_key(uint32_t key);
