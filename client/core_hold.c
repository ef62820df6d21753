/* core_hold.c: holds: timestamps that the safe point shall not pass (shardmaster/safe_point.h). A
 * hold is taken by an operation, renewed by the core until it is let go of, and lost when no
 * renewal came through for as long as it lives: then versions at its timestamp may go, and reads
 * say so.
 *
 * TAKING -> HELD -> RELEASED;  TAKING -> gone (refused, or nobody answered; what may be left of it
 * at group 0 expires);  HELD -> LOST -> RELEASED.
 */
#include "base/memory.h"
#include "client/core_internal.h"

#include <stdlib.h>

#define RENEWALS_PER_TTL 6u
/* The oracle's clock may run at twice real speed, and this one be slower than it should by a tenth.
 */
#define CERTAIN_PARTS_OF_TTL(ttl_ns) ((ttl_ns) / 5 * 2)

static struct core_hold *hold_find(const struct client_core *core, uint64_t id)
{
    struct core_hold *hold;
    HASH_FIND(hh, core->holds, &id, sizeof(id), hold);
    return hold;
}

static void hold_free(struct client_core *core, struct core_hold *hold)
{
    timer_stop(&core->timers, &hold->timer);
    if (hold->request)
        request_free(core, hold->request);
    HASH_DEL(core->holds, hold);
    free(hold);
}

static void hold_ask(struct client_core *core, struct core_hold *hold, nanoseconds_t give_up_ns)
{
    hold->asked_ns = core->now_ns;
    hold->request = request_new(core, FRAME_HOLD, OWNER_HOLD, give_up_ns);
    hold->request->hold = hold;
    request_start(core, hold->request);
}

static void hold_renew(void *context, struct timer *timer)
{
    struct client_core *core = context;
    struct core_hold *hold =
        (struct core_hold *)(void *)((char *)timer - offsetof(struct core_hold, timer));
    hold_ask(core, hold, hold->held_ns + hold->ttl_ms * NS_PER_MS);
}

static bool is_too_young(const struct client_core *core, const struct operation *operation)
{
    uint64_t then_ms = timestamp_to_ms(operation->hold_timestamp) + operation->hold_age_ms_min;
    return operation->hold_age_ms_min > 0 && timestamp_to_ms(core_estimate(core)) < then_ms;
}

void hold_take(struct client_core *core, struct operation *operation)
{
    if (is_too_young(core, operation)) {
        operation->hold = 0;
        core_complete(core, operation, OST_OK);
        return;
    }
    struct core_hold *hold = memory_alloc_zeroed(1, sizeof(*hold));
    hold->id = ++core->hold_id;
    hold->timestamp = operation->hold_timestamp;
    hold->ttl_ms = operation->hold_ttl_ms;
    hold->taking = operation;
    HASH_ADD(hh, core->holds, id, sizeof(hold->id), hold);
    hold_ask(core, hold, operation->deadline_ns);
}

void hold_release(struct client_core *core, struct operation *operation)
{
    struct core_hold *hold = hold_find(core, operation->hold);
    int status = hold && !hold->taking && hold->state != HOLD_RELEASED ? OST_OK : OST_NOT_FOUND;
    core_complete(core, operation, status);
    if (status != OST_OK)
        return;
    timer_stop(&core->timers, &hold->timer);
    if (hold->request)
        request_free(core, hold->request);
    hold->state = HOLD_RELEASED;
    /* Nobody waits for this; without an answer it expires. */
    hold_ask(core, hold, core->now_ns + hold->ttl_ms * NS_PER_MS);
}

struct blob *hold_encode(struct client_core *core, struct request *request)
{
    const struct core_hold *hold = request->hold;
    Ostraka__HoldRequest message = OSTRAKA__HOLD_REQUEST__INIT;
    message.client = core->client_id;
    message.id = hold->id;
    message.timestamp = hold->timestamp;
    message.ttl_ms = hold->state == HOLD_RELEASED ? 0 : hold->ttl_ms;
    request->group = SHARD_MASTER_GROUP;
    return frame_encode(FRAME_HOLD, request->id, &message.base, NULL, 0);
}

static void taking_end(struct client_core *core, struct core_hold *hold, int status)
{
    struct operation *operation = hold->taking;
    hold->taking = NULL;
    operation->hold = status == OST_OK ? hold->id : 0;
    core_complete(core, operation, status);
    if (status != OST_OK)
        hold_free(core, hold);
}

void hold_answered(struct client_core *core, struct request *request, const struct answer *answer)
{
    struct core_hold *hold = request->hold;
    hold->request = NULL;
    request_free(core, request);
    if (hold->state == HOLD_RELEASED) {
        hold_free(core, hold);
        return;
    }
    if (answer->status == OST_OK) {
        hold->held_ns = hold->asked_ns;
        timer_set(&core->timers, &hold->timer,
                  core->now_ns + hold->ttl_ms * NS_PER_MS / RENEWALS_PER_TTL, hold_renew);
    } else {
        hold->state = HOLD_LOST;
    }
    if (hold->taking)
        taking_end(core, hold, answer->status);
}

void hold_gave_up(struct client_core *core, struct request *request)
{
    struct core_hold *hold = request->hold;
    int last_status = request->last_status;
    hold->request = NULL;
    request_free(core, request);
    if (hold->taking)
        taking_end(core, hold, last_status != OST_OK ? last_status : OST_DEADLINE_EXCEEDED);
    else if (hold->state == HOLD_RELEASED)
        hold_free(core, hold);
    else
        hold->state = HOLD_LOST;
}

void holds_fini(struct client_core *core)
{
    struct core_hold *hold, *next;
    HASH_ITER (hh, core->holds, hold, next) {
        if (hold->taking)
            core_complete(core, hold->taking, OST_CANCELED);
        hold_free(core, hold);
    }
}

nanoseconds_t client_core_hold_certain_ns(const struct client_core *core, uint64_t id)
{
    const struct core_hold *hold = hold_find(core, id);
    if (!hold || hold->taking || hold->state != HOLD_HELD)
        return 0;
    return hold->held_ns + CERTAIN_PARTS_OF_TTL(hold->ttl_ms * NS_PER_MS);
}
