/* map_watch.c: keeps one store subscribed to, and asks for the map when an answer shows that ours
 * is old.
 *
 * A store may have lost its power without a word: then the connection, and the subscription with
 * it, looks whole until keep-alive gives it up, a minute later. So a store that has not spoken for
 * a while is asked again, and one that does not answer is left for another. And a question is not
 * over with an answer by somebody who cannot know: it is put to the next one, and those to whom
 * there is no connection are dialed meanwhile, one after the other.
 */
#include "client/core_internal.h"

#include "base/sometimes.h"

#define MAP_ASK_MS_MIN 10u
#define MAP_KEEP_MS    100u
/* Where nothing newer is found: pushes bring it sooner or later, and a map may be large. */
#define MAP_PAUSE_MS_MAX  100u
#define MAP_PAUSE_KEPT_NS NS_PER_S
/* The store that is subscribed to is asked again after so much silence. */
#define MAP_SILENCE_NS (5 * NS_PER_S)

/* One that is silent only when there is no other to be opened: what was asked of it may have been
 * lost, and it does not speak unasked. */
static struct peer *open_peer(struct client_core *core, uint32_t turn)
{
    uint32_t silent_count = 0;
    for (uint32_t step = 0; step < core->peers_count; step++) {
        struct peer *peer = core->peers[(turn + step) % core->peers_count];
        if (peer->state == PEER_OPEN && !peer->is_silent)
            return peer;
        silent_count += peer->state == PEER_OPEN;
    }
    if (silent_count == 0 || silent_count < core->peers_count)
        return NULL;
    return core->peers[core->map_turn++ % core->peers_count];
}

static void map_ask(struct client_core *core, struct peer *peer, bool subscribe)
{
    Ostraka__MapRequest request = OSTRAKA__MAP_REQUEST__INIT;
    request.known_epoch = map_cache_epoch(&core->map);
    request.subscribe = subscribe;
    core->map_request_id = ++core->request_id;
    core->map_asked = peer;
    if (core->now_ns - core->map_asked_ns >= MAP_PAUSE_KEPT_NS)
        core->map_pause_ms = MAP_ASK_MS_MIN;
    core->map_asked_ns = core->now_ns;
    core->map_asked_for_caller = operations_wait_for_map(core);
    core->map_wanted = false;
    peer_send(core, peer, frame_encode(FRAME_MAP, core->map_request_id, &request.base, NULL, 0));
}

static void map_timer_fired(void *context, struct timer *timer);

static void map_pause_grow(struct client_core *core)
{
    core->map_pause_ms = core->map_pause_ms ? 2 * core->map_pause_ms : 2 * MAP_ASK_MS_MIN;
    if (core->map_pause_ms > MAP_PAUSE_MS_MAX)
        core->map_pause_ms = MAP_PAUSE_MS_MAX;
}

static nanoseconds_t map_next_ns(const struct client_core *core)
{
    bool is_waited_for = !core->map.map || operations_wait_for_map(core);
    uint32_t pause_ms =
        is_waited_for || core->map_pause_ms < MAP_ASK_MS_MIN ? MAP_ASK_MS_MIN : core->map_pause_ms;
    return core->map_asked_ns + pause_ms * NS_PER_MS;
}

static bool map_peer_is_silent(const struct client_core *core)
{
    return core->map_peer->state == PEER_OPEN &&
           core->now_ns - core->map_peer->received_ns >= MAP_SILENCE_NS;
}

/* Does what is due, and says when to look again. */
static void map_keep(struct client_core *core)
{
    if (core->is_stopped)
        return;
    if (core->map_asked &&
        core->now_ns - core->map_asked_ns >= core->options.try_timeout_ms * NS_PER_MS) {
        core->map_asked->is_silent = true;
        if (core->map_peer == core->map_asked)
            core->map_peer = NULL;
        core->map_asked = NULL;
        core->map_wanted = true;
    }
    nanoseconds_t next_ns = map_next_ns(core);
    if (!core->map_asked && !core->map_peer) {
        core->map_peer = open_peer(core, core->map_turn);
        if (core->map_peer)
            map_ask(core, core->map_peer, true);
        else
            peers_dial_any(core);
    } else if (!core->map_asked && core->map_wanted && core->now_ns >= next_ns) {
        struct peer *peer = open_peer(core, core->map_turn);
        if (peer)
            map_ask(core, peer, peer == core->map_peer);
    } else if (!core->map_asked && map_peer_is_silent(core)) {
        COVER(CLIENT_MAP_RENEWED);
        map_ask(core, core->map_peer, true);
    }
    bool is_calm = core->map_peer && !core->map_asked && !core->map_wanted && core->map.map;
    nanoseconds_t look_ns = core->now_ns + MAP_KEEP_MS * NS_PER_MS;
    if (core->map_wanted && !core->map_asked)
        look_ns = next_ns > core->now_ns ? next_ns : core->now_ns + MAP_ASK_MS_MIN * NS_PER_MS;
    else if (is_calm && !map_peer_is_silent(core))
        look_ns = core->map_peer->received_ns + MAP_SILENCE_NS;
    timer_set(&core->timers, &core->map_timer, look_ns, map_timer_fired);
}

static void map_timer_fired(void *context, struct timer *timer)
{
    (void)timer;
    map_keep(context);
}

void map_want(struct client_core *core)
{
    core->map_wanted = true;
    map_keep(core);
}

void map_peer_opened(struct client_core *core)
{
    map_keep(core);
}

void map_peer_lost(struct client_core *core, struct peer *peer)
{
    if (core->map_asked == peer) {
        core->map_asked = NULL;
        core->map_wanted = true;
    }
    if (core->map_peer == peer)
        core->map_peer = NULL;
    nanoseconds_t look_ns = core->now_ns + MAP_ASK_MS_MIN * NS_PER_MS;
    bool is_soon = timer_is_set(&core->map_timer) && core->map_timer.deadline_ns <= look_ns;
    if (!is_soon && !core->is_stopped)
        timer_set(&core->timers, &core->map_timer, look_ns, map_timer_fired);
}

void map_received(struct client_core *core, struct peer *peer, const struct frame *frame)
{
    bool was_pushed = frame->request_id == 0;
    if (was_pushed && RARE(CLIENT_MAP_PUSH_LOST))
        return;
    timestamp_t heard = 0;
    int status = map_cache_receive(&core->map, frame->message, &heard);
    if (status == OST_PROTOCOL) {
        peer_lost(core, peer, true);
        return;
    }
    core_heard(core, heard);
    bool was_asked = frame->request_id != 0 && frame->request_id == core->map_request_id;
    if (was_asked) {
        core->map_asked = NULL;
        core->map_request_id = 0;
        /* Whoever knows no more than we do is not asked next. */
        if (status != OST_OK)
            core->map_turn = peer->number + 1;
        if (status != OST_OK && !core->map_asked_for_caller)
            map_pause_grow(core);
    }
    if (status == OST_NOT_READY) /* it has none: whoever asked has not been answered */
        core->map_wanted = core->map_wanted || was_asked || !core->map.map;
    if (status == OST_OK) {
        /* Who asks for the newest map waits for an answer, not for what was sent before it asked.
         */
        core->map_wanted = core->map_wanted && !was_asked && operations_wait_for_map(core);
        core->map_pause_ms = MAP_ASK_MS_MIN;
        peers_learn(core);
        moved_map_received(core);
    }
    core->map_wanted = core->map_wanted || map_cache_is_behind(&core->map);
    if (core->map.map && status != OST_NOT_READY)
        operations_map_received(core, was_asked);
    /* The others may all be lost, or never have been dialed. */
    if (was_asked && core->map_wanted)
        peer_wake(core, core->peers[core->map_dial_turn++ % core->peers_count]);
    map_keep(core);
}
