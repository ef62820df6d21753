/* safe_point.h: the timestamp below which versions may be dropped, and who keeps it back. Pure:
 * what group 0's entries do to it; every replica comes to the same.
 *
 * G1 The safe point never goes back.
 * G2 It never passes a live hold: an advance goes as far as the lowest one, and no hold is given
 * for what it has passed already. G3 A hold ends when it is let go of, or expires by the time that
 * entries carry (R8): the clock of the leader who proposed them, the highest so far. No replica
 * looks at a clock of its own.
 */
#pragma once

#include "base/arena.h"
#include "base/status.h"
#include "base/types.h"
#include "proto/master.pb-c.h"

#define HOLDS_COUNT_MAX 10000u
#define HOLD_TTL_MS_MAX 3600000u

struct safe_point_hold {
    uint64_t client;
    uint64_t id;
    timestamp_t timestamp;
    timestamp_t expiry;
};

struct safe_point {
    timestamp_t safe_point;
    timestamp_t time;
    struct safe_point_hold *holds; /* ascending by client and id */
    size_t holds_count, holds_capacity;
};

void safe_point_fini(struct safe_point *state);
/* True: it went on. */
bool safe_point_advance(struct safe_point *state,
                        const Ostraka__MasterCommand__AdvanceSafePoint *command);
/* OST_OK; OST_SNAPSHOT_TOO_OLD; OST_BUSY: HOLDS_COUNT_MAX; OST_INVALID_ARGUMENT. */
int safe_point_set_hold(struct safe_point *state, const Ostraka__MasterCommand__SetHold *command);
/* What is wrong with a request, whatever the state; NULL: nothing. */
const char *safe_point_hold_check(const Ostraka__HoldRequest *request);
/* In the arena, and back: out_state is replaced. OST_CORRUPT: it breaks what is said above. */
Ostraka__SafePointState *safe_point_to_message(const struct safe_point *state, struct arena *arena);
OST_MUST_CHECK int safe_point_of_message(const Ostraka__SafePointState *message,
                                         struct safe_point *out_state);
