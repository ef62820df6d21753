/* snapshot.c: as of when a snapshot reads, and at which replica.
 *
 * A fresh timestamp is the oracle's answer to a question that was sent after it was asked for: so
 * it is above every commit that anybody was told of before, and reading as of it is strict. One
 * question is under way at a time, and it is for those alone that waited before it was made (O3):
 * its answer may have been given out at any moment since, before who came later came.
 *
 * A timestamp may be used again by who bears one that is so and so old. Its age counts from when
 * the question for it was made: what was committed by then is in it. The highest timestamp heard of
 * would not do, since nobody knows when it was given out.
 */
#include "client/core_internal.h"

static void question_ask(struct client_core *core)
{
    core->questions_count++;
    core->question_asked_ns = core->now_ns;
    core->question = request_new(core, FRAME_TIMESTAMP, OWNER_SNAPSHOTS,
                                 core->now_ns + core->options.operation_timeout_ms * NS_PER_MS);
    request_start(core, core->question);
}

void snapshot_timestamp_start(struct client_core *core, struct operation *operation)
{
    nanoseconds_t age_ns_max = operation->staleness_ms_max * NS_PER_MS;
    if (age_ns_max > 0 && core->fresh != 0 && core->now_ns - core->fresh_asked_ns <= age_ns_max) {
        operation->result_version = core->fresh;
        core_complete(core, operation, OST_OK);
        return;
    }
    operation_wait(core, operation, operation->deadline_ns, operation_timed_out);
    operation->question = core->questions_count + 1;
    if (!core->question)
        question_ask(core);
}

/* The question is over: who waited for it goes on, and who waits for the next one has it asked. */
static void question_ended(struct client_core *core, int status, timestamp_t timestamp)
{
    core->question = NULL;
    bool is_next_wanted = false;
    struct operation *operation = TAILQ_FIRST(&core->waiting);
    while (operation) {
        struct operation *next = TAILQ_NEXT(operation, link);
        if (operation->type == OPERATION_TIMESTAMP &&
            operation->question <= core->questions_count) {
            timer_stop(&core->timers, &operation->timer);
            TAILQ_REMOVE(&core->waiting, operation, link);
            operation->result_version = timestamp;
            core_complete(core, operation, status);
        } else if (operation->type == OPERATION_TIMESTAMP) {
            is_next_wanted = true;
        }
        operation = next;
    }
    if (is_next_wanted)
        question_ask(core);
}

void snapshot_question_answered(struct client_core *core, const struct answer *answer)
{
    int status = answer->status;
    if (status == OST_OK && answer->timestamp == 0)
        status = OST_PROTOCOL;
    if (status == OST_OK) {
        core->fresh = answer->timestamp;
        core->fresh_asked_ns = core->question_asked_ns;
        core_heard_fresh(core, answer->timestamp, core->question_asked_ns);
    }
    question_ended(core, status, answer->timestamp);
}

void snapshot_question_gave_up(struct client_core *core, int status)
{
    question_ended(core, status != OST_OK ? status : OST_DEADLINE_EXCEEDED, 0);
}

struct peer *snapshot_choose_replica(struct client_core *core, const struct map_group *group)
{
    if (group->stores_count == 0)
        return NULL;
    uint32_t first = (uint32_t)random_below(&core->random, group->stores_count);
    for (uint32_t index = 0; index < group->stores_count; index++) {
        store_id_t store = group->stores[(first + index) % group->stores_count];
        struct peer *peer = peer_of_store(core, store);
        if (peer && !peer->is_silent && peer_wake(core, peer))
            return peer;
    }
    return NULL;
}
