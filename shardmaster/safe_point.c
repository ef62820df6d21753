#include "shardmaster/safe_point.h"

#include "base/memory.h"
#include "base/sometimes.h"

#include <stdlib.h>

void safe_point_fini(struct safe_point *state)
{
    free(state->holds);
    *state = (struct safe_point){0};
}

static void time_goes_on(struct safe_point *state, timestamp_t now)
{
    if (state->time < now)
        state->time = now;
    size_t kept = 0;
    for (size_t place = 0; place < state->holds_count; place++)
        if (state->holds[place].expiry > state->time)
            state->holds[kept++] = state->holds[place];
    if (kept < state->holds_count)
        COVER(HOLD_EXPIRED);
    state->holds_count = kept;
}

bool safe_point_advance(struct safe_point *state,
                        const Ostraka__MasterCommand__AdvanceSafePoint *command)
{
    time_goes_on(state, command->now);
    timestamp_t target = command->safe_point;
    for (size_t place = 0; place < state->holds_count; place++)
        if (target > state->holds[place].timestamp)
            target = state->holds[place].timestamp;
    if (target < command->safe_point)
        COVER(SAFE_POINT_HELD);
    if (target <= state->safe_point)
        return false;
    state->safe_point = target;
    return true;
}

const char *safe_point_hold_check(const Ostraka__HoldRequest *request)
{
    if (request->client == 0 || request->id == 0)
        return "a hold has no client or no id";
    if (request->ttl_ms > HOLD_TTL_MS_MAX)
        return "ttl_ms is over the limit HOLD_TTL_MS_MAX (1 hour)";
    if (request->ttl_ms > 0 && request->timestamp == 0)
        return "a hold names no timestamp";
    return NULL;
}

/* The first at or after this client and id. */
static size_t hold_place(const struct safe_point *state, uint64_t client, uint64_t id)
{
    size_t low = 0, high = state->holds_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct safe_point_hold *hold = &state->holds[middle];
        if (hold->client < client || (hold->client == client && hold->id < id))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void hold_remove(struct safe_point *state, size_t place)
{
    state->holds_count--;
    memmove(&state->holds[place], &state->holds[place + 1],
            (state->holds_count - place) * sizeof(state->holds[0]));
}

static void hold_insert(struct safe_point *state, size_t place, const struct safe_point_hold *hold)
{
    if (state->holds_count == state->holds_capacity) {
        state->holds_capacity = state->holds_capacity ? 2 * state->holds_capacity : 16;
        state->holds =
            memory_realloc(state->holds, state->holds_capacity * sizeof(state->holds[0]));
    }
    memmove(&state->holds[place + 1], &state->holds[place],
            (state->holds_count - place) * sizeof(state->holds[0]));
    state->holds[place] = *hold;
    state->holds_count++;
}

int safe_point_set_hold(struct safe_point *state, const Ostraka__MasterCommand__SetHold *command)
{
    const Ostraka__HoldRequest *request = command->hold;
    time_goes_on(state, command->now);
    if (!request || safe_point_hold_check(request))
        return OST_INVALID_ARGUMENT;
    size_t place = hold_place(state, request->client, request->id);
    struct safe_point_hold *found = place < state->holds_count ? &state->holds[place] : NULL;
    if (found && (found->client != request->client || found->id != request->id))
        found = NULL;
    if (request->ttl_ms == 0) {
        if (found)
            hold_remove(state, place);
        return OST_OK;
    }
    struct safe_point_hold hold = {
        .client = request->client,
        .id = request->id,
        .timestamp = request->timestamp,
        .expiry = state->time + timestamp_from_ms(request->ttl_ms),
    };
    if (hold.timestamp < state->safe_point) {
        COVER(HOLD_TOO_OLD);
        return OST_SNAPSHOT_TOO_OLD;
    }
    if (!found && state->holds_count >= HOLDS_COUNT_MAX)
        return OST_BUSY;
    if (!found)
        hold_insert(state, place, &hold);
    else if (found->timestamp != hold.timestamp)
        *found = hold;
    else if (found->expiry < hold.expiry) /* a retry that comes late shortens nothing */
        found->expiry = hold.expiry;
    return OST_OK;
}

Ostraka__SafePointState *safe_point_to_message(const struct safe_point *state, struct arena *arena)
{
    Ostraka__SafePointState *message = arena_alloc(arena, sizeof(*message));
    ostraka__safe_point_state__init(message);
    message->safe_point = state->safe_point;
    message->time = state->time;
    message->n_holds = state->holds_count;
    message->holds = arena_alloc(arena, state->holds_count * sizeof(message->holds[0]));
    Ostraka__Hold *holds = arena_alloc(arena, state->holds_count * sizeof(holds[0]));
    for (size_t place = 0; place < state->holds_count; place++) {
        const struct safe_point_hold *hold = &state->holds[place];
        ostraka__hold__init(&holds[place]);
        holds[place].client = hold->client;
        holds[place].id = hold->id;
        holds[place].timestamp = hold->timestamp;
        holds[place].expiry = hold->expiry;
        message->holds[place] = &holds[place];
    }
    return message;
}

int safe_point_of_message(const Ostraka__SafePointState *message, struct safe_point *out_state)
{
    struct safe_point state = {.safe_point = message->safe_point, .time = message->time};
    if (message->n_holds > HOLDS_COUNT_MAX)
        return OST_CORRUPT;
    for (size_t index = 0; index < message->n_holds; index++) {
        const Ostraka__Hold *row = message->holds[index];
        size_t place = hold_place(&state, row->client, row->id);
        if (place != index || row->timestamp < state.safe_point) {
            safe_point_fini(&state);
            return OST_CORRUPT;
        }
        hold_insert(&state, place,
                    &(struct safe_point_hold){row->client, row->id, row->timestamp, row->expiry});
    }
    safe_point_fini(out_state);
    *out_state = state;
    return OST_OK;
}
