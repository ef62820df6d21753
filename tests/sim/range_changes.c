#include "tests/sim/range_changes.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <uthash.h>

struct range_changes_item {
    struct range_change change; /* first: handed out */
    UT_hash_handle hh;
};

void range_changes_init(struct range_changes *changes, struct check_result *result)
{
    *changes = (struct range_changes){.result = result};
}

void range_changes_fini(struct range_changes *changes)
{
    struct range_changes_item *item, *next;
    HASH_ITER (hh, changes->items, item, next) {
        HASH_DELETE(hh, changes->items, item);
        free(item);
    }
}

struct range_change *range_changes_find(const struct range_changes *changes, uint64_t id)
{
    struct range_changes_item *item;
    HASH_FIND(hh, changes->items, &id, sizeof id, item);
    return item ? &item->change : NULL;
}

struct range_change *range_changes_of(struct range_changes *changes, uint64_t id)
{
    struct range_change *change = range_changes_find(changes, id);
    if (change)
        return change;
    struct range_changes_item *item = memory_alloc_zeroed(1, sizeof *item);
    item->change.id = id;
    HASH_ADD(hh, changes->items, change.id, sizeof item->change.id, item);
    return &item->change;
}

void range_changes_each(struct range_changes *changes,
                        void (*visit)(void *context, struct range_change *change), void *context)
{
    struct range_changes_item *item, *next;
    HASH_ITER (hh, changes->items, item, next) {
        visit(context, &item->change);
    }
}

void range_change_names(struct range_changes *changes, struct range_change *change,
                        struct bytes start, struct bytes end, const char *where)
{
    char texts[4][KEY_TEXT_BYTES];
    if (!change->has_keys) {
        change->has_keys = true;
        change->start = start;
        change->end = end;
    } else if (!bytes_equal(change->start, start) || !bytes_equal(change->end, end)) {
        check_result_violation(changes->result, "change-of-two",
                               "change %" PRIu64 " is one of [%s, %s), and in %s of [%s, %s)",
                               change->id, key_print(change->start, texts[0], sizeof texts[0]),
                               key_print(change->end, texts[1], sizeof texts[1]), where,
                               key_print(start, texts[2], sizeof texts[2]),
                               key_print(end, texts[3], sizeof texts[3]));
    }
}

static const char *fate_name(enum range_fate fate)
{
    return fate == RANGE_FATE_OPEN       ? "not decided"
           : fate == RANGE_FATE_SWITCHED ? "switched"
                                         : "cancelled";
}

void range_change_decided(struct range_changes *changes, struct range_change *change,
                          enum range_fate fate)
{
    if (change->fate != RANGE_FATE_OPEN && change->fate != fate)
        check_result_violation(changes->result, "change-fate",
                               "change %" PRIu64 " was %s, and then %s in the map", change->id,
                               fate_name(change->fate), fate_name(fate));
    change->fate = fate;
}

/* Group 0 has decided it before any group acts on that. A fate that fell between two looks at the
 * map is not known; that it is over, is. */
static void acted(struct range_changes *changes, struct range_change *change, enum range_fate fate,
                  const char *what, const char *where)
{
    bool is_allowed = change->fate == fate || (change->fate == RANGE_FATE_OPEN && change->is_over);
    if (!is_allowed)
        check_result_violation(changes->result, "change-fate",
                               "%s %s by change %" PRIu64 ", which is %s", where, what, change->id,
                               fate_name(change->fate));
    change->fate = fate;
}

void range_change_owned(struct range_changes *changes, struct range_change *change,
                        const char *where)
{
    acted(changes, change, RANGE_FATE_SWITCHED, "owns", where);
}

void range_change_unfrozen(struct range_changes *changes, struct range_change *change,
                           const char *where)
{
    acted(changes, change, RANGE_FATE_CANCELLED, "unfreezes", where);
}
