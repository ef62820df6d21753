#include "tests/sim/coordinator_death.h"

#include "base/sometimes.h"
#include "proto/kv.pb-c.h"
#include "txn/txn_id.h"

/* Of a Prepare of two phases; false: it is another frame. */
static bool prepare_of(const struct outgoing *outgoing, struct txn_id *out_txn)
{
    struct frame frame = frame_of_blob(outgoing->frame);
    if (frame.type != FRAME_PREPARE)
        return false;
    struct arena arena;
    arena_init(&arena);
    const Ostraka__PrepareRequest *message = (const Ostraka__PrepareRequest *)message_unpack(
        &ostraka__prepare_request__descriptor, frame.message, &arena);
    bool is_it = message && message->txn && !message->one_group;
    if (is_it)
        *out_txn = txn_id_of_message(message->txn);
    arena_fini(&arena);
    return is_it;
}

size_t coordinator_death_sending(const struct outbox *frames)
{
    struct txn_id last = {0};
    for (size_t index = 0; index < frames->items_count; index++) {
        struct txn_id txn;
        if (frame_of_blob(frames->items[index].frame).type == FRAME_COMMIT) {
            if (RARE(COORDINATOR_DIES_BEFORE_COMMIT))
                return index;
            if (RARE(COORDINATOR_DIES_AFTER_COMMIT))
                return index + 1;
        } else if (prepare_of(&frames->items[index], &txn)) {
            if (!txn_id_equal(txn, last) && RARE(COORDINATOR_DIES_BEFORE_PREPARE))
                return index;
            if (txn_id_equal(txn, last) && RARE(COORDINATOR_DIES_BETWEEN_PREPARES))
                return index;
            last = txn;
        }
    }
    return FRAMES_ALL;
}

bool coordinator_death_receiving(const struct frame *frame)
{
    if (frame->type != FRAME_COMMIT_ANSWER)
        return false;
    struct arena arena;
    arena_init(&arena);
    const Ostraka__CommitAnswer *message = (const Ostraka__CommitAnswer *)message_unpack(
        &ostraka__commit_answer__descriptor, frame->message, &arena);
    bool is_committed = message && (!message->header || message->header->status == OST_OK);
    arena_fini(&arena);
    return is_committed && RARE(COORDINATOR_DIES_BEFORE_ANSWER);
}
