/* admin_ranges.c: which group has which range, and where ranges end. Where splits fall matters: on
 * keys and between them, at both ends of the key space and beyond all keys, so that some ranges
 * hold one key, and some none. */
#include "tests/sim/admin.h"

#include "shardmaster/master_map.h"
#include "tests/sim/audit.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Above, ranges are not split any more: every one is written to in the end. */
#define RANGES_COUNT_MAX (AUDIT_RANGES_MAX - 8)
/* A key of a workload, and some bytes behind it. */
#define SPLIT_KEY_BYTES_MAX (WORKLOAD_KEY_BYTES - 4)

struct split_key {
    uint8_t bytes[SPLIT_KEY_BYTES_MAX];
    size_t bytes_count;
};

static const char *kind_name(Ostraka__RangeChangeKind kind)
{
    return kind == OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE    ? "split"
           : kind == OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES ? "merge"
           : kind == OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE   ? "move"
                                                              : "cancellation";
}

static void change_done(struct operation *operation)
{
    struct sim *sim = admin_take_answer(operation);
    uint64_t change = operation->status == OST_OK ? operation->result_range_change->change : 0;
    sim->counts.range_changes +=
        change != 0 && operation->range_change != OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE;
    trace_tell(&sim->trace, "admin: %s of a range: %s%s%s, change %" PRIu64,
               kind_name(operation->range_change), ost_status_name(operation->status),
               operation->why ? ": " : "", operation->why ? operation->why : "", change);
}

/* Which range it is, and its epoch, is up to the client's map when it asks. */
static bool change_submit(struct sim *sim, Ostraka__RangeChangeKind kind, struct bytes key,
                          group_id_t to_group, uint64_t cancel)
{
    char text[KEY_TEXT_BYTES];
    trace_tell(&sim->trace,
               "admin: %s of the range at %s, to group %" PRIu64 ", of change %" PRIu64,
               kind_name(kind), key_print(key, text, sizeof text), to_group, cancel);
    struct operation *operation = operation_new(OPERATION_CHANGE_RANGE, key, bytes_of(NULL, 0));
    operation->range_change = kind;
    operation->group = to_group;
    operation->cancel = cancel;
    admin_submit(sim, operation, change_done);
    return true;
}

static const Ostraka__Map *map_to_change(struct sim *sim)
{
    const Ostraka__Map *map = admin_map_newest(sim);
    return map && map->n_ranges > 0 && sim_admin(sim)->core ? map : NULL;
}

/* One of those that `may` be chosen, each as likely; NULL: none may. */
static const Ostraka__RangeInfo *range_choose(const Ostraka__Map *map, struct random *random,
                                              bool (*may)(const Ostraka__Map *map, size_t place))
{
    size_t count = 0;
    for (size_t place = 0; place < map->n_ranges; place++)
        count += may(map, place);
    uint64_t drawn = random_next(random);
    if (count == 0)
        return NULL;
    size_t left = drawn % count;
    for (size_t place = 0; place < map->n_ranges; place++)
        if (may(map, place) && left-- == 0)
            return map->ranges[place];
    return NULL;
}

static bool is_at_rest(const Ostraka__Map *map, size_t place)
{
    return map->ranges[place]->assigned && !map->ranges[place]->change;
}

bool admin_range_move(struct sim *sim, struct random *random)
{
    const Ostraka__Map *map = map_to_change(sim);
    const Ostraka__RangeInfo *range = map ? range_choose(map, random, is_at_rest) : NULL;
    if (!range || map->n_groups < 2)
        return false;
    size_t others = random_below(random, map->n_groups - 1);
    for (size_t place = 0; place < map->n_groups; place++) {
        group_id_t group = map->groups[place]->id;
        if (group != range->group && others-- == 0)
            return change_submit(sim, OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE,
                                 master_bytes(range->start), group, 0);
    }
    return false;
}

/* --- Where to split --- */

static void split_key_append(struct split_key *key, const void *data, size_t bytes_count)
{
    if (bytes_count > SPLIT_KEY_BYTES_MAX - key->bytes_count)
        bytes_count = SPLIT_KEY_BYTES_MAX - key->bytes_count;
    if (bytes_count > 0) /* else there may be no data at all */
        memcpy(key->bytes + key->bytes_count, data, bytes_count);
    key->bytes_count += bytes_count;
}

static struct bytes workload_key_choose(const struct plan *plan, struct random *random, char *text)
{
    static const int64_t kinds[] = {WORKLOAD_APPEND_KEY, WORKLOAD_REG_KEY, WORKLOAD_ACCOUNT_KEY};
    int64_t kind = kinds[random_below(random, 3)];
    uint64_t count = kind == WORKLOAD_ACCOUNT_KEY ? workload_accounts_count(plan) : plan->keys;
    return workload_key(plan, kind + (int64_t)random_below(random, count), text);
}

/* Somewhere in the key space. */
static void split_key_draw(const struct plan *plan, struct random *random, struct split_key *key)
{
    static const char *const ends[] = {"",   "\x01", "0", "0~1", "Z",
                                       "b~", "c~2",  "z", "z~3", "\xff"};
    char text[WORKLOAD_KEY_BYTES];
    struct bytes other = workload_key_choose(plan, random, text);
    *key = (struct split_key){0};
    switch (random_below(random, 6)) {
    case 0: /* before the keys of a place (workload_key) */
        split_key_append(key, other.data, 3);
        break;
    case 1: /* right behind a key */
        split_key_append(key, other.data, other.bytes_count);
        split_key_append(key, "", 1);
        break;
    case 2: { /* before, between and behind the kinds of keys: no key, or the keeper's */
        const char *end = ends[random_below(random, sizeof ends / sizeof ends[0])];
        split_key_append(key, end, strlen(end) + (*end == '\0'));
        break;
    }
    default:
        split_key_append(key, other.data, other.bytes_count);
        break;
    }
}

/* The smallest range that there can be, from the start of one: it holds that key alone. */
static void split_key_next(const Ostraka__RangeInfo *range, struct split_key *key)
{
    *key = (struct split_key){0};
    split_key_append(key, range->start.data, range->start.len);
    split_key_append(key, "", 1);
}

bool admin_range_split(struct sim *sim, struct random *random)
{
    const Ostraka__Map *map = map_to_change(sim);
    struct split_key at;
    if (!map || map->n_ranges >= RANGES_COUNT_MAX)
        return false;
    const Ostraka__RangeInfo *range = range_choose(map, random, is_at_rest);
    if (!range)
        return false;
    if (random_below(random, 5) == 0) {
        split_key_next(range, &at);
    } else {
        split_key_draw(&sim->plan, random, &at);
        range = master_map_range_of_key(map, bytes_of(at.bytes, at.bytes_count));
    }
    struct bytes key = bytes_of(at.bytes, at.bytes_count), start = master_bytes(range->start);
    bool is_inside = key_in_range(key, start, master_bytes(range->end)) && !bytes_equal(key, start);
    if (!is_inside || !range->assigned || range->change)
        return false;
    return change_submit(sim, OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE, key, 0, 0);
}

/* --- Merges, and what is called off --- */

static bool has_neighbour(const Ostraka__Map *map, size_t place)
{
    return place + 1 < map->n_ranges && is_at_rest(map, place) && is_at_rest(map, place + 1) &&
           map->ranges[place]->group == map->ranges[place + 1]->group;
}

bool admin_ranges_merge(struct sim *sim, struct random *random)
{
    const Ostraka__Map *map = map_to_change(sim);
    const Ostraka__RangeInfo *range = map ? range_choose(map, random, has_neighbour) : NULL;
    return range && change_submit(sim, OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES,
                                  master_bytes(range->start), 0, 0);
}

static bool is_moving(const Ostraka__Map *map, size_t place)
{
    const Ostraka__RangeChange *change = map->ranges[place]->change;
    return change && change->kind == OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE;
}

bool admin_range_cancel(struct sim *sim, struct random *random)
{
    const Ostraka__Map *map = map_to_change(sim);
    const Ostraka__RangeInfo *range = map ? range_choose(map, random, is_moving) : NULL;
    return range && change_submit(sim, OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE,
                                  master_bytes(range->start), 0, range->change->id);
}
