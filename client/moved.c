/* moved.c: requests whose range is on its way, or has changed hands or form: when they are asked
 * again (docs/range-moves.md, what clients see).
 *
 * Two things end such a wait. The range serves again where it was: a freeze is short, so the pauses
 * begin at the shortest and stay short. Or a newer map says another group or epoch for what the
 * request names: then it goes at once. After that it names what the newest map has, so nobody is
 * asked twice without a pause between, whatever the stores believe of each other.
 */
#include "client/core_internal.h"

#include "base/sometimes.h"

/* After so many newer maps that did not help the pauses do not begin at the shortest any more. */
#define WAKES_AFRESH_MAX 4u

static bool ref_is_outdated(const struct client_core *core, const Ostraka__RangeRef *ref,
                            group_id_t group)
{
    struct bytes start = bytes_of(ref->start.data, ref->start.len);
    struct coordinator_route route;
    return map_cache_route((void *)(uintptr_t)&core->map, start, &route) &&
           (route.group != group || route.epoch != ref->epoch ||
            !bytes_equal(route.range_start, start));
}

#define OUTDATED_BY_RANGE(frame_type, name, type)                                                  \
    case frame_type: {                                                                             \
        const Ostraka__##type *message = (const Ostraka__##type *)message_unpack(                  \
            &ostraka__##name##__descriptor, frame.message, arena);                                 \
        return message && message->range && ref_is_outdated(core, message->range, request->group); \
    }

static bool frame_is_outdated(const struct client_core *core, const struct request *request,
                              struct arena *arena)
{
    struct frame frame = frame_of_blob(request->frame);
    switch (frame.type) {
        OUTDATED_BY_RANGE(FRAME_GET, get_request, GetRequest)
        OUTDATED_BY_RANGE(FRAME_LOCK, lock_request, LockRequest)
        OUTDATED_BY_RANGE(FRAME_SCAN, scan_request, ScanRequest)
        OUTDATED_BY_RANGE(FRAME_COMMIT, commit_request, CommitRequest)
    case FRAME_ABORT: {
        const Ostraka__AbortRequest *message = (const Ostraka__AbortRequest *)message_unpack(
            &ostraka__abort_request__descriptor, frame.message, arena);
        /* Without an anchor it is about locks, which are where they were taken. */
        return message && message->anchor.len > 0 && message->range &&
               ref_is_outdated(core, message->range, request->group);
    }
    case FRAME_PREPARE: {
        const Ostraka__PrepareRequest *message = (const Ostraka__PrepareRequest *)message_unpack(
            &ostraka__prepare_request__descriptor, frame.message, arena);
        for (size_t index = 0; message && index < message->n_ranges; index++) {
            if (ref_is_outdated(core, message->ranges[index], request->group))
                return true;
        }
        return false;
    }
    default:
        return false; /* it names no range */
    }
}

bool moved_is_outdated(const struct client_core *core, const struct request *request)
{
    if (!request->frame || request->map_epoch >= map_cache_epoch(&core->map))
        return false;
    struct arena arena;
    arena_init(&arena);
    bool is_outdated = frame_is_outdated(core, request, &arena);
    arena_fini(&arena);
    return is_outdated;
}

/* Waits in the list, in which a newer map finds it. */
static void moved_rest(struct client_core *core, struct request *request, nanoseconds_t rest_ns)
{
    request_rest_until(core, request, core->now_ns + rest_ns);
    request->reroute = true;
    TAILQ_INSERT_TAIL(&core->moved, request, link);
}

void moved_answered(struct client_core *core, struct request *request, bool was_any_replica)
{
    request->last_status = OST_RANGE_MOVED;
    request->redirects_count = 0;
    if (moved_is_outdated(core, request)) {
        moved_rest(core, request, 0);
        return;
    }
    /* A replica that is behind has not heard of the range as it is: its leader has. */
    if (was_any_replica) {
        moved_rest(core, request, 0);
        return;
    }
    COVER(CLIENT_MOVED_WAITS);
    map_want(core);
    moved_rest(core, request, core_moved_backoff_ns(core, request->moved_count++));
}

void moved_forget(struct client_core *core, struct request *request)
{
    if (!request->reroute)
        return;
    request->reroute = false;
    TAILQ_REMOVE(&core->moved, request, link);
}

void moved_map_received(struct client_core *core)
{
    struct request *request;
    TAILQ_FOREACH (request, &core->moved, link) {
        if (!moved_is_outdated(core, request))
            continue;
        COVER(CLIENT_MOVED_WOKEN);
        /* The new owner may need a moment, too. */
        if (request->woken_count++ < WAKES_AFRESH_MAX)
            request->moved_count = 0;
        request_rest_until(core, request, core->now_ns);
    }
}
