#include "tests/sim/keeper.h"

#include "client/core_internal.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HOLD_TTL_MS 16000u
/* The part of a hold's life in which it stands whatever the clocks do: an oracle runs at twice the
 * speed of a clock that is half as fast again, and each new leader begins up to a second ahead. */
#define CERTAIN_PARTS 8u

static void lane_rest(struct keeper_lane *lane);
static void hold_rest(struct keeper_hold *hold);

static void submit(struct keeper *keeper, struct operation *operation,
                   void (*done)(struct operation *operation), void *context)
{
    client_process_submit(sim_keeper(keeper->sim), operation, done, context);
}

static struct operation *after(uint64_t delay_ms)
{
    struct operation *operation =
        operation_new(OPERATION_AFTER, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->delay_ms = (uint32_t)delay_ms;
    return operation;
}

/* --- Keys --- */

static void lane_take_key(struct keeper_lane *lane)
{
    /* Before, between and behind the others' keys, which are scanned and deleted by intervals. */
    snprintf(lane->key, sizeof lane->key, "%c~%u.%u", "0cz"[random_below(&lane->keeper->random, 3)],
             lane -> number, lane -> keys_count++);
    lane->value = 0;
}

static void write_done(struct operation *operation)
{
    struct keeper_lane *lane = operation->done_context[0];
    struct keeper *keeper = lane->keeper;
    if (operation->status == OST_OK) {
        lane->value = lane->next_value;
        keeper->deletes_count += lane->value == 0;
        keeper->written[keeper->written_count++ % 16] = operation->result_version;
    } else if (ost_status_class(operation->status) != OST_CLASS_RETRYABLE) {
        lane_take_key(lane); /* it may happen yet */
    }
    lane_rest(lane);
}

static void read_done(struct operation *operation)
{
    struct keeper_lane *lane = operation->done_context[0];
    bool is_read = operation->status == OST_OK || operation->status == OST_NOT_FOUND;
    uint64_t value = 0;
    if (operation->status == OST_OK && operation->result_value.bytes_count == sizeof value)
        memcpy(&value, operation->result_value.data, sizeof value);
    if (is_read) {
        lane->keeper->reads_count++;
        if (value != lane->value)
            sim_fail(lane->keeper->sim, "kept-key-differs",
                     "key %s holds %" PRIu64 ", %" PRIu64 " was written last (0: none)", lane->key,
                     value, lane->value);
    }
    lane_rest(lane);
}

static void lane_rested(struct operation *operation)
{
    struct keeper_lane *lane = operation->done_context[0];
    struct keeper *keeper = lane->keeper;
    if (keeper->sim->is_stopping)
        return;
    struct bytes key = bytes_of_string(lane->key);
    if (lane->is_rested || random_below(&keeper->random, 3) == 0) {
        lane->is_rested = false;
        submit(keeper, operation_new(OPERATION_GET, key, bytes_of(NULL, 0)), read_done, lane);
        return;
    }
    if (random_below(&keeper->random, 16) == 0) {
        lane_take_key(lane); /* what stays as it is, is to be swept as well */
        key = bytes_of_string(lane->key);
    }
    bool is_delete = random_below(&keeper->random, 2) == 0;
    lane->next_value = is_delete ? 0 : ++keeper->values;
    operation = operation_new(OPERATION_WRITE, key,
                              is_delete ? bytes_of(NULL, 0)
                                        : bytes_of(&lane->next_value, sizeof lane->next_value));
    operation->write_kind = is_delete ? WRITE_DELETE : WRITE_PUT;
    submit(keeper, operation, write_done, lane);
}

static void lane_rest(struct keeper_lane *lane)
{
    struct random *random = &lane->keeper->random;
    /* Now and then for so long that what was replaced or deleted is dropped; then it is read. */
    lane->is_rested = random_below(random, 6) == 0;
    uint64_t most_ms = lane->is_rested ? 2 * lane->keeper->sim->plan.history_ms + 3000 : 400;
    submit(lane->keeper, after(random_between(random, most_ms / 4, most_ms)), lane_rested, lane);
}

/* --- Holds --- */

static void released(struct operation *operation)
{
    hold_rest(operation->done_context[0]);
}

static void hold_over(struct operation *operation)
{
    struct keeper_hold *hold = operation->done_context[0];
    if (hold->keeper->sim->is_stopping)
        return;
    operation = operation_new(OPERATION_RELEASE, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold = hold->hold;
    hold->hold = 0;
    submit(hold->keeper, operation, released, hold);
}

static void hold_taken(struct operation *operation)
{
    struct keeper_hold *hold = operation->done_context[0];
    struct keeper *keeper = hold->keeper;
    if (operation->status != OST_OK) {
        if (operation->status != OST_SNAPSHOT_TOO_OLD &&
            ost_status_class(operation->status) == OST_CLASS_REFUSED)
            sim_fail(keeper->sim, "hold-refused", "%s", ost_status_name(operation->status));
        hold_rest(hold);
        return;
    }
    keeper->holds_count++;
    hold->hold = operation->hold;
    submit(keeper, after(random_between(&keeper->random, 100, 12000)), hold_over, hold);
}

static void hold_rested(struct operation *operation)
{
    struct keeper_hold *hold = operation->done_context[0];
    struct keeper *keeper = hold->keeper;
    if (keeper->sim->is_stopping)
        return;
    if (keeper->written_count == 0) {
        hold_rest(hold);
        return;
    }
    uint64_t age =
        random_below(&keeper->random, keeper->written_count < 16 ? keeper->written_count : 16);
    hold->timestamp = keeper->written[(keeper->written_count - 1 - age) % 16];
    operation = operation_new(OPERATION_HOLD, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->hold_timestamp = hold->timestamp;
    operation->hold_ttl_ms = HOLD_TTL_MS;
    submit(keeper, operation, hold_taken, hold);
}

static void hold_rest(struct keeper_hold *hold)
{
    submit(hold->keeper, after(random_between(&hold->keeper->random, 100, 4000)), hold_rested,
           hold);
}

void keeper_report(const struct keeper *keeper, struct safe_point_check *check)
{
    if (!keeper->sim)
        return;
    const struct client_process *client = sim_keeper(keeper->sim);
    nanoseconds_t now_ns = sim_clock_local_ns(&client->clock, keeper->sim->schedule.now_ns);
    for (uint32_t place = 0; place < KEEPER_HOLDS_COUNT; place++) {
        const struct keeper_hold *hold = &keeper->holds[place];
        struct core_hold *found = NULL;
        if (hold->hold != 0)
            HASH_FIND(hh, client->core->holds, &hold->hold, sizeof hold->hold, found);
        if (found && found->state == HOLD_HELD &&
            now_ns < found->held_ns + HOLD_TTL_MS * NS_PER_MS / CERTAIN_PARTS)
            safe_point_check_hold(check, hold->timestamp);
    }
}

/* --- Life --- */

void keeper_start(struct keeper *keeper, struct sim *sim)
{
    *keeper = (struct keeper){.sim = sim, .random = schedule_random(sim->plan.seed, "keeper")};
    client_process_start(sim_keeper(sim));
    for (uint32_t number = 0; number < KEEPER_LANES_COUNT; number++) {
        struct keeper_lane *lane = &keeper->lanes[number];
        lane->keeper = keeper;
        lane->number = number;
        lane_take_key(lane);
        lane_rest(lane);
    }
    for (uint32_t place = 0; place < KEEPER_HOLDS_COUNT; place++) {
        keeper->holds[place].keeper = keeper;
        hold_rest(&keeper->holds[place]);
    }
}

void keeper_stop(struct keeper *keeper)
{
    keeper->sim = NULL;
}
