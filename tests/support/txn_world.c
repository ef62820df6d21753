#include "tests/support/txn_world.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

struct world *world_new(const struct participant_options *options)
{
    struct participant_options defaults;
    participant_options_default(&defaults);
    struct world *world = memory_alloc_zeroed(1, sizeof(*world));
    world->participant = participant_new(options ? options : &defaults);
    participant_update_init(&world->update);
    world->now_ns = NS_PER_S;
    world_step(world, (struct participant_event){.type = PARTICIPANT_EV_LED, .term = 7});
    return world;
}

void world_free(struct world *world)
{
    participant_free(world->participant);
    participant_update_fini(&world->update);
    free(world);
}

static struct world_answer *answer_of(struct world *world, uint64_t token)
{
    ASSERT(token > 0 && token <= world->token_last);
    return &world->answers[token];
}

static void enter_refused(struct world *world, const struct participant_refused *refused)
{
    struct world_answer *answer = answer_of(world, refused->token);
    /* A bound one alone may be refused after its answer, when its outcome goes to somebody else. */
    ASSERT(answer->count == 0 || (answer->is_bound && (refused->status == OST_NOT_LEADER ||
                                                       refused->status == OST_CANCELED)));
    ASSERT(refused->status != OST_OK && !answer->is_refused);
    answer->count = 1;
    answer->is_refused = true;
    answer->status = refused->status;
    answer->reason = refused->reason;
    snprintf(answer->key, sizeof(answer->key), "%.*s", (int)refused->reason.key.bytes_count,
             (const char *)refused->reason.key.data);
}

static void enter_ready(struct world *world, const struct participant_ready *ready)
{
    struct world_answer *answer = answer_of(world, ready->token);
    ASSERT(answer->count == 0);
    if (ready->bound == 0) {
        ASSERT(!answer->needs_timestamp);
        answer->needs_timestamp = true;
        return;
    }
    ASSERT(answer->needs_timestamp);
    answer->count = 1;
    answer->is_bound = true;
}

void world_step(struct world *world, struct participant_event event)
{
    struct participant_update *update = &world->update;
    event.now_ns = world->now_ns;
    participant_update_reset(update);
    participant_step(world->participant, &event, update);
    for (uint32_t index = 0; index < update->granted_count; index++) {
        struct world_answer *answer = answer_of(world, update->granted[index].token);
        ASSERT(answer->count == 0);
        answer->count = 1;
        answer->is_granted = true;
        uint64_t txn = answer->reason.other.sequence; /* parked there by world_request */
        if (update->granted[index].entry.term != 0)
            world->entries[txn] = update->granted[index].entry;
    }
    for (uint32_t index = 0; index < update->ready_count; index++)
        enter_ready(world, &update->ready[index]);
    for (uint32_t index = 0; index < update->refused_count; index++)
        enter_refused(world, &update->refused[index]);
    for (uint32_t index = 0; index < update->inquiries_count; index++)
        world->inquiry_last = update->inquiries[index].txn.sequence;
    world->inquiries_count += update->inquiries_count;
    world->wounded_count += update->wounded_count;
    participant_check(world->participant);
}

void world_pass_ms(struct world *world, uint64_t ms)
{
    nanoseconds_t until_ns = world->now_ns + ms * NS_PER_MS;
    while (world->update.deadline_ns <= until_ns) {
        if (world->now_ns < world->update.deadline_ns)
            world->now_ns = world->update.deadline_ns;
        world_step(world, (struct participant_event){.type = PARTICIPANT_EV_TIMER});
    }
    world->now_ns = until_ns;
}

static uint64_t world_request(struct world *world, uint64_t txn, struct participant_event event)
{
    ASSERT(txn < WORLD_TXNS_MAX && world->token_last + 1 < WORLD_TOKENS_MAX);
    event.token = ++world->token_last;
    event.txn = (struct txn_id){1, txn};
    event.age = (struct txn_age){txn, 1, txn};
    event.entry = world->entries[txn];
    world->answers[event.token].reason.other.sequence = txn;
    world_step(world, event);
    return event.token;
}

uint64_t world_lock(struct world *world, uint64_t txn, const char *key, enum lock_mode mode)
{
    return world_request(world, txn,
                         (struct participant_event){.type = PARTICIPANT_EV_LOCK,
                                                    .target = {.start = bytes_of_string(key)},
                                                    .mode = mode});
}

uint64_t world_scan(struct world *world, uint64_t txn, const char *start, const char *end,
                    enum lock_mode mode)
{
    return world_request(
        world, txn,
        (struct participant_event){.type = PARTICIPANT_EV_LOCK,
                                   .target = {bytes_of_string(start), bytes_of_string(end), true},
                                   .mode = mode});
}

uint64_t world_read(struct world *world, const char *key)
{
    return world_request(world, 0,
                         (struct participant_event){.type = PARTICIPANT_EV_READ,
                                                    .target = {.start = bytes_of_string(key)}});
}

uint64_t world_prepare(struct world *world, uint64_t txn, const char *keys)
{
    return world_prepare_checked(world, txn, keys, NULL, 0);
}

uint64_t world_prepare_checked(struct world *world, uint64_t txn, const char *keys,
                               const struct lock_target *checks, uint32_t checks_count)
{
    struct buffer set = BUFFER_INIT;
    for (const char *key = keys; *key; key++) {
        struct write write = {WRITE_PUT, bytes_of(key, 1), bytes_of("value", 5)};
        write_set_append(&set, &write);
    }
    uint64_t token = world_request(world, txn,
                                   (struct participant_event){.type = PARTICIPANT_EV_PREPARE,
                                                              .write_set = buffer_bytes(&set),
                                                              .shared_locks = checks,
                                                              .shared_locks_count = checks_count,
                                                              .anchor = bytes_of_string("anchor"),
                                                              .deadline = 99});
    buffer_fini(&set); /* borrowed during the step alone */
    return token;
}

uint64_t world_ask(struct world *world, enum participant_event_type type, uint64_t txn)
{
    return world_request(world, txn, (struct participant_event){.type = type});
}

void world_bind(struct world *world, uint64_t token)
{
    world_step(world, (struct participant_event){
                          .type = PARTICIPANT_EV_TIMESTAMP, .token = token, .timestamp = 1000});
}

void world_tell(struct world *world, enum participant_event_type type, uint64_t txn)
{
    world_step(world, (struct participant_event){.type = type, .txn = {1, txn}});
}

bool world_is_open(const struct world *world, uint64_t token)
{
    return world->answers[token].count == 0;
}

bool world_is_granted(const struct world *world, uint64_t token)
{
    return world->answers[token].is_granted;
}

bool world_is_bound(const struct world *world, uint64_t token)
{
    return world->answers[token].is_bound;
}

bool world_needs_timestamp(const struct world *world, uint64_t token)
{
    const struct world_answer *answer = &world->answers[token];
    return answer->needs_timestamp && answer->count == 0;
}

int world_refusal(const struct world *world, uint64_t token)
{
    return world->answers[token].is_refused ? world->answers[token].status : OST_OK;
}
