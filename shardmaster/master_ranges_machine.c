/* master_ranges_machine.c: what committed entries about ranges do to the map (master_ranges.h), and
 * who is told of it.
 */
#include "base/log.h"
#include "shardmaster/master_internal.h"
#include "shardmaster/master_ranges.h"

#define MAP_BYTES_REPLACED_MIN (1u << 16)

/* What entries replace stays in the map's arena. When that is more than the map itself, the map
 * moves to another one. So an entry costs little more than what it changes, however many ranges
 * there are. */
static void map_compact(struct master *master)
{
    if (master->map_arena.bytes_used < 2 * master->map_bytes + MAP_BYTES_REPLACED_MIN)
        return;
    struct arena arena;
    arena_init(&arena);
    Ostraka__Map *copy = master_map_copy(master->map, &arena);
    master_adopt_map(master, copy, &arena);
}

static uint64_t change_of(const struct master *master, struct bytes start)
{
    const Ostraka__RangeInfo *range = master_map_range_at(master->map, start);
    return range && range->change ? range->change->id : 0;
}

/* What an entry was about, and whether it did something (R7). */
struct taken {
    struct bytes start;
    uint64_t change;
    bool is_done;
    bool moves_owners;  /* who goes by an older map is refused */
    bool lays_out_anew; /* there are more ranges, or fewer */
    const char *what;
};

static void map_has_changed(struct master *master, const struct taken *taken)
{
    master_map_changed(master);
    master_leader_ranges_changed(master, taken->moves_owners);
    if (taken->lays_out_anew)
        master_ranges_leader_laid_out(master);
    char key[KEY_TEXT_BYTES];
    if (taken->change != 0)
        log_write(LOG_INFO, taken->what, "store=%lu change=%lu start=\"%s\"",
                  master->options.store_id, taken->change,
                  key_print(taken->start, key, sizeof(key)));
}

static struct taken take_assigned(struct master *master,
                                  const Ostraka__MasterCommand__RangeAssigned *command)
{
    struct taken taken = {.start = master_bytes(command->start), .what = "a range has moved"};
    taken.change = change_of(master, taken.start);
    taken.is_done = master_map_assign(master->map, taken.start, command->epoch, command->group);
    return taken;
}

static struct taken take(struct master *master, const Ostraka__MasterCommand *command)
{
    switch (command->command_case) {
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_ASSIGNED:
        return take_assigned(master, command->range_assigned);
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_WANTED:
        return (struct taken){
            .start = master_bytes(command->range_change_wanted->start),
            .change = command->range_change_wanted->change,
            .is_done = master_range_change_wanted(master->map, command->range_change_wanted,
                                                  &master->map_arena),
            .what = "a range is to be changed",
        };
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SPLIT:
        return (struct taken){
            .start = master_bytes(command->range_split->start),
            .change = command->range_split->change,
            .is_done = master_range_split(master->map, command->range_split, &master->map_arena),
            .moves_owners = true,
            .lays_out_anew = true,
            .what = "a range was split",
        };
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGES_MERGED:
        return (struct taken){
            .start = master_bytes(command->ranges_merged->start),
            .change = command->ranges_merged->change,
            .is_done = master_ranges_merged(master->map, command->ranges_merged),
            .moves_owners = true,
            .lays_out_anew = true,
            .what = "two ranges were merged",
        };
    case OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_SWITCHED:
        return (struct taken){
            .start = master_bytes(command->range_switched->start),
            .change = command->range_switched->change,
            .is_done = master_range_switched(master->map, command->range_switched),
            .moves_owners = true,
            .what = "a range has another owner",
        };
    default:
        ASSERT(command->command_case == OSTRAKA__MASTER_COMMAND__COMMAND_RANGE_CHANGE_CANCELLED);
        return (struct taken){
            .start = master_bytes(command->range_change_cancelled->start),
            .change = command->range_change_cancelled->change,
            .is_done = master_range_change_cancelled(master->map, command->range_change_cancelled),
            .what = "a move was called off",
        };
    }
}

void master_ranges_apply(struct master *master, raft_index_t index,
                         const Ostraka__MasterCommand *command)
{
    map_compact(master);
    struct taken taken = take(master, command);
    if (taken.is_done) {
        map_has_changed(master, &taken);
        master_ranges_placement_applied(master, command, taken.start, taken.change);
    }
    master_range_ask_applied(master, index, taken.is_done);
    master_ranges_leader_applied(master, taken.start, taken.change);
}
