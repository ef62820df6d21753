#include "shardmaster/master_ranges.h"

#include "base/sometimes.h"
#include "shardmaster/master_replicas.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SPLIT_KIND OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE
#define MERGE_KIND OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES
#define MOVE_KIND  OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE

/* Of a range in a packed map, without its keys: tags, lengths, and numbers at their longest. */
#define RANGE_BYTES_MAX 96u

const char *master_range_change_name(uint32_t kind)
{
    static const char *const NAMES[] = {"none", "split", "merge", "move"};
    return kind < sizeof(NAMES) / sizeof(NAMES[0]) ? NAMES[kind] : "unknown";
}

bool master_range_is_switched(const Ostraka__RangeInfo *range)
{
    return range->change && range->change->kind == MOVE_KIND &&
           range->group == range->change->to_group;
}

Ostraka__RangeInfo *master_range_of_change(const Ostraka__Map *map, struct bytes start,
                                           uint64_t change)
{
    Ostraka__RangeInfo *range = master_map_range_at(map, start);
    if (!range || !range->change || range->change->id != change)
        return NULL;
    bool is_right =
        range->change->kind == MERGE_KIND && bytes_equal(master_bytes(range->change->at), start);
    return is_right ? NULL : range;
}

Ostraka__RangeInfo *master_range_right_of(const Ostraka__Map *map, const Ostraka__RangeInfo *left)
{
    Ostraka__RangeInfo *right = master_map_range_at(map, master_bytes(left->end));
    return left->end.len > 0 ? right : NULL;
}

/* Of two that are to be merged, each has the change. */
size_t master_range_changes_count(const Ostraka__Map *map)
{
    size_t count = 0;
    for (size_t place = 0; place < map->n_ranges; place++)
        count += map->ranges[place]->change != NULL;
    return count;
}

/* --- What a person asks for --- */

static bool range_has_inside(const Ostraka__RangeInfo *range, struct bytes key)
{
    struct bytes start = master_bytes(range->start);
    return bytes_compare(key, start) > 0 && key_in_range(key, start, master_bytes(range->end));
}

static bool is_under_way(const Ostraka__RangeInfo *range, const Ostraka__ChangeRange *request)
{
    const Ostraka__RangeChange *change = range->change;
    if (!change || change->kind != request->kind)
        return false;
    struct bytes at = master_bytes(change->at);
    bool is_right = change->kind == MERGE_KIND && bytes_equal(at, master_bytes(range->start));
    bool is_at = bytes_equal(at, master_bytes(request->at)) ||
                 (request->kind == MERGE_KIND && request->at.len == 0);
    uint64_t epoch = range->epoch - (master_range_is_switched(range) ? 1 : 0);
    return epoch == request->epoch && !is_right &&
           (request->kind == MOVE_KIND ? change->to_group == request->to_group : is_at);
}

/* So this request left it, if it was done. Who merges and says where can be told, too. */
static bool is_done_already(const Ostraka__RangeInfo *range, const Ostraka__ChangeRange *request)
{
    bool is_next = range->epoch == request->epoch + 1;
    switch (request->kind) {
    case SPLIT_KIND:
        return is_next && request->at.len > 0 &&
               bytes_equal(master_bytes(range->end), master_bytes(request->at));
    case MERGE_KIND:
        return range->epoch > request->epoch && request->at.len > 0 &&
               range_has_inside(range, master_bytes(request->at));
    default:
        return is_next && range->group == request->to_group && range->assigned;
    }
}

/* That nothing is being done to the range, and that its group's log has it. */
static int check_is_idle(const Ostraka__RangeInfo *range, const char *which, char *out_why)
{
    if (range->change) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "change %" PRIu64 " of %s (a %s) is under way: wait for it", range->change->id,
                 which, master_range_change_name(range->change->kind));
        return OST_CONFLICT;
    }
    if (!range->assigned) {
        snprintf(out_why, MASTER_WHY_BYTES, "group %" PRIu64 " does not own %s yet: wait for it",
                 range->group, which);
        return OST_CONFLICT;
    }
    return OST_OK;
}

/* To pack a large map only to learn its size takes far longer than to add up the keys. */
static bool map_has_room(const Ostraka__Map *map, size_t bytes_count)
{
    Ostraka__Map rest = *map;
    rest.n_ranges = 0;
    size_t bytes_max = ostraka__map__get_packed_size(&rest) + bytes_count;
    for (size_t place = 0; place < map->n_ranges; place++) {
        const Ostraka__RangeInfo *range = map->ranges[place];
        bytes_max += RANGE_BYTES_MAX + range->start.len + range->end.len;
        bytes_max += range->change ? range->change->at.len : 0;
    }
    return bytes_max <= MAP_BYTES_MAX ||
           ostraka__map__get_packed_size(map) + bytes_count <= MAP_BYTES_MAX;
}

static int check_split(const Ostraka__Map *map, const Ostraka__RangeInfo *range, struct bytes at,
                       char *out_why)
{
    if (at.bytes_count == 0 || at.bytes_count > KEY_BYTES_MAX) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "the key to split at has %zu bytes; 1 to %u are allowed", at.bytes_count,
                 KEY_BYTES_MAX);
        return at.bytes_count == 0 ? OST_INVALID_ARGUMENT : OST_TOO_LARGE;
    }
    if (!range_has_inside(range, at)) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "the key to split at must be inside the range, and not its first one");
        return OST_INVALID_ARGUMENT;
    }
    if (!map_has_room(map, 2 * at.bytes_count)) {
        snprintf(out_why, MASTER_WHY_BYTES, "the map would be over its limit of %u MiB",
                 MAP_BYTES_MAX >> 20);
        return OST_TOO_LARGE;
    }
    return OST_OK;
}

static int check_merge(const Ostraka__RangeInfo *range, const Ostraka__RangeInfo *right,
                       struct bytes at, char *out_why)
{
    if (!right) {
        snprintf(out_why, MASTER_WHY_BYTES, "it is the last range: merge the one before it");
        return OST_INVALID_ARGUMENT;
    }
    if (at.bytes_count > 0 && !bytes_equal(at, master_bytes(right->start))) {
        snprintf(out_why, MASTER_WHY_BYTES, "the next range does not begin where the request says");
        return OST_CONFLICT;
    }
    if (right->group != range->group) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "the next range belongs to group %" PRIu64 ", this one to group %" PRIu64
                 ": move one of them first",
                 right->group, range->group);
        return OST_CONFLICT;
    }
    return check_is_idle(right, "the next range", out_why);
}

/* Its first ranges are given to a group by a message that names no change. Once it has given one of
 * them away it takes no such message any more: it might be an old one. So it must have them all. */
static bool group_has_all(const Ostraka__Map *map, group_id_t group)
{
    for (size_t place = 0; place < map->n_ranges; place++) {
        const Ostraka__RangeInfo *range = map->ranges[place];
        if (range->group == group && !range->assigned && !range->change)
            return false;
    }
    return true;
}

static int check_move(const Ostraka__Map *map, const Ostraka__RangeInfo *range, group_id_t to_group,
                      char *out_why)
{
    if (to_group == SHARD_MASTER_GROUP || !master_map_group(map, to_group)) {
        snprintf(out_why, MASTER_WHY_BYTES, "there is no group %" PRIu64 " that ranges belong to",
                 to_group);
        return OST_NOT_FOUND;
    }
    if (to_group == range->group) {
        snprintf(out_why, MASTER_WHY_BYTES, "the range is in group %" PRIu64 " as it is", to_group);
        return OST_INVALID_ARGUMENT;
    }
    if (!group_has_all(map, range->group)) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "group %" PRIu64 " does not own all of its first ranges yet: wait for it",
                 range->group);
        return OST_CONFLICT;
    }
    return OST_OK;
}

static int check_kind(const Ostraka__Map *map, const Ostraka__RangeInfo *range,
                      const Ostraka__ChangeRange *request,
                      Ostraka__MasterCommand__RangeChangeWanted *out_command, char *out_why)
{
    const Ostraka__RangeInfo *right = master_range_right_of(map, range);
    int status;
    switch (request->kind) {
    case SPLIT_KIND:
        out_command->at = request->at;
        return check_split(map, range, master_bytes(request->at), out_why);
    case MERGE_KIND:
        status = check_merge(range, right, master_bytes(request->at), out_why);
        if (status == OST_OK) {
            out_command->at = right->start;
            out_command->epoch_right = right->epoch;
        }
        return status;
    default:
        out_command->to_group = request->to_group;
        return check_move(map, range, request->to_group, out_why);
    }
}

static int refuse_unknown_range(struct bytes start, char *out_why)
{
    char key[KEY_TEXT_BYTES];
    snprintf(out_why, MASTER_WHY_BYTES, "no range begins at \"%s\"",
             key_print(start, key, sizeof(key)));
    return OST_NOT_FOUND;
}

int master_ranges_check(const Ostraka__Map *map, const Ostraka__ChangeRange *request,
                        Ostraka__MasterCommand__RangeChangeWanted *out_command, char *out_why)
{
    ostraka__master_command__range_change_wanted__init(out_command);
    if (request->kind < SPLIT_KIND || request->kind > MOVE_KIND) {
        snprintf(out_why, MASTER_WHY_BYTES, "a range can be split, merged or moved, no more");
        return OST_INVALID_ARGUMENT;
    }
    const Ostraka__RangeInfo *range = master_map_range_at(map, master_bytes(request->start));
    if (!range)
        return refuse_unknown_range(master_bytes(request->start), out_why);
    if (is_under_way(range, request)) {
        out_command->change = range->change->id;
        return OST_EXISTS;
    }
    if (is_done_already(range, request))
        return OST_EXISTS;
    if (range->epoch != request->epoch) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "the range is at epoch %" PRIu64 ", not %" PRIu64
                 ": it was changed by another request",
                 range->epoch, request->epoch);
        return OST_CONFLICT;
    }
    int status = check_is_idle(range, "the range", out_why);
    if (status == OST_OK)
        status = check_kind(map, range, request, out_command, out_why);
    if (status == OST_OK && master_range_changes_count(map) >= RANGE_CHANGES_COUNT_MAX) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "the limit of %u ranges that change at a time is reached: wait",
                 RANGE_CHANGES_COUNT_MAX);
        status = OST_BUSY;
    }
    out_command->kind = request->kind;
    out_command->start = range->start;
    out_command->epoch = range->epoch;
    return status;
}

int master_ranges_check_cancel(const Ostraka__Map *map, uint64_t change,
                               Ostraka__MasterCommand__RangeChangeCancelled *out_command,
                               char *out_why)
{
    ostraka__master_command__range_change_cancelled__init(out_command);
    const Ostraka__RangeInfo *range = NULL;
    for (size_t place = 0; place < map->n_ranges && !range; place++)
        if (map->ranges[place]->change && map->ranges[place]->change->id == change)
            range = map->ranges[place];
    if (!range) {
        bool is_over = change != 0 && change < map->next_change;
        snprintf(out_why, MASTER_WHY_BYTES, "%s change %" PRIu64 "%s",
                 is_over ? "it is too late:" : "there is no", change, is_over ? " is over" : "");
        return OST_NOT_FOUND;
    }
    if (range->change->kind != MOVE_KIND) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "change %" PRIu64 " is a %s, which cannot be called off", change,
                 master_range_change_name(range->change->kind));
        return OST_CONFLICT;
    }
    if (master_range_is_switched(range)) {
        snprintf(out_why, MASTER_WHY_BYTES,
                 "it is too late: by change %" PRIu64 " the range is group %" PRIu64
                 "'s; move it back when it is done",
                 change, range->group);
        return OST_CONFLICT;
    }
    out_command->start = range->start;
    out_command->change = change;
    return OST_OK;
}

/* --- What committed commands do --- */

static bool is_outdated(bool is)
{
    if (is)
        COVER(MASTER_RANGE_CHANGE_OUTDATED);
    return is;
}

/* Whoever asked was checked against a map that may have changed since. */
static bool wanted_is_sound(const Ostraka__Map *map, const Ostraka__RangeInfo *range,
                            const Ostraka__MasterCommand__RangeChangeWanted *command)
{
    if (!range || range->epoch != command->epoch || range->change || !range->assigned ||
        command->change == 0 || command->change < map->next_change ||
        master_range_changes_count(map) >= RANGE_CHANGES_COUNT_MAX)
        return false;
    struct bytes at = master_bytes(command->at);
    const Ostraka__RangeInfo *right = master_range_right_of(map, range);
    switch (command->kind) {
    case SPLIT_KIND:
        return range_has_inside(range, at) && at.bytes_count <= KEY_BYTES_MAX;
    case MERGE_KIND:
        return right && bytes_equal(at, master_bytes(right->start)) &&
               right->epoch == command->epoch_right && right->group == range->group &&
               !right->change && right->assigned;
    case MOVE_KIND:
        return command->to_group != range->group && command->to_group != SHARD_MASTER_GROUP &&
               master_map_group(map, command->to_group) && group_has_all(map, range->group);
    default:
        return false;
    }
}

bool master_range_change_wanted(Ostraka__Map *map,
                                const Ostraka__MasterCommand__RangeChangeWanted *command,
                                struct arena *arena)
{
    Ostraka__RangeInfo *range = master_map_range_at(map, master_bytes(command->start));
    if (is_outdated(!wanted_is_sound(map, range, command)))
        return false;
    Ostraka__RangeChange *change = arena_alloc(arena, sizeof(*change));
    ostraka__range_change__init(change);
    change->id = command->change;
    change->kind = command->kind;
    if (change->kind == MOVE_KIND) {
        change->from_group = range->group;
        change->to_group = command->to_group;
    } else {
        change->at = master_binary(arena_copy(arena, master_bytes(command->at)));
    }
    range->change = change;
    if (change->kind == MERGE_KIND)
        master_range_right_of(map, range)->change = change;
    map->next_change = change->id + 1; /* the one place that gives numbers */
    map->epoch++;
    return true;
}

static Ostraka__RangeInfo *range_of_kind(const Ostraka__Map *map, ProtobufCBinaryData start,
                                         uint64_t change, Ostraka__RangeChangeKind kind)
{
    Ostraka__RangeInfo *range = master_range_of_change(map, master_bytes(start), change);
    if (is_outdated(!range || range->change->kind != kind))
        return NULL;
    return range;
}

bool master_range_split(Ostraka__Map *map, const Ostraka__MasterCommand__RangeSplit *command,
                        struct arena *arena)
{
    Ostraka__RangeInfo *left = range_of_kind(map, command->start, command->change, SPLIT_KIND);
    if (!left)
        return false;
    size_t place = master_map_place_of_key(map, master_bytes(command->start));
    Ostraka__RangeInfo *right = arena_alloc(arena, sizeof(*right));
    ostraka__range_info__init(right);
    right->start = left->change->at;
    right->end = left->end;
    right->group = left->group;
    right->epoch = left->epoch + 1;
    right->assigned = true;
    left->end = right->start;
    left->epoch++;
    left->change = NULL;
    Ostraka__RangeInfo **ranges = arena_alloc(arena, (map->n_ranges + 1) * sizeof(ranges[0]));
    memcpy(ranges, map->ranges, (place + 1) * sizeof(ranges[0]));
    ranges[place + 1] = right;
    memcpy(ranges + place + 2, map->ranges + place + 1,
           (map->n_ranges - place - 1) * sizeof(ranges[0]));
    map->ranges = ranges;
    map->n_ranges++;
    map->epoch++;
    return true;
}

bool master_ranges_merged(Ostraka__Map *map, const Ostraka__MasterCommand__RangesMerged *command)
{
    Ostraka__RangeInfo *left = range_of_kind(map, command->start, command->change, MERGE_KIND);
    if (!left)
        return false;
    size_t place = master_map_place_of_key(map, master_bytes(command->start));
    const Ostraka__RangeInfo *right = map->ranges[place + 1];
    left->end = right->end;
    left->epoch = (left->epoch > right->epoch ? left->epoch : right->epoch) + 1;
    left->change = NULL;
    memmove(map->ranges + place + 1, map->ranges + place + 2,
            (map->n_ranges - place - 2) * sizeof(map->ranges[0]));
    map->n_ranges--;
    map->epoch++;
    return true;
}

bool master_range_switched(Ostraka__Map *map, const Ostraka__MasterCommand__RangeSwitched *command)
{
    Ostraka__RangeInfo *range = range_of_kind(map, command->start, command->change, MOVE_KIND);
    if (!range || is_outdated(master_range_is_switched(range)))
        return false;
    range->group = range->change->to_group;
    range->epoch++;
    range->assigned = false;
    map->epoch++;
    return true;
}

bool master_range_change_cancelled(Ostraka__Map *map,
                                   const Ostraka__MasterCommand__RangeChangeCancelled *command)
{
    Ostraka__RangeInfo *range = range_of_kind(map, command->start, command->change, MOVE_KIND);
    if (!range || is_outdated(master_range_is_switched(range)))
        return false;
    range->change = NULL;
    map->epoch++;
    return true;
}
