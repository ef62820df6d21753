/* What who runs the cluster asks of group 0's leader: what is named, whom it goes to, and which
 * answers are believed. */
#include "tests/support/client_script.h"

#include <criterion/criterion.h>

TestSuite(client_core_admin, .init = script_setup, .fini = script_teardown);

static struct operation *change_of(Ostraka__RangeChangeKind kind, const char *key)
{
    struct operation *operation = operation_on_key(OPERATION_CHANGE_RANGE, key, "");
    operation->range_change = kind;
    operation->group = kind == OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE ? 3 : 0;
    return operation;
}

static Ostraka__ChangeRange *change_asked(void)
{
    const struct frame *frame = &script.inbox[0].frame;
    cr_assert_eq(frame->type, FRAME_CHANGE_RANGE);
    return ostraka__change_range__unpack(NULL, frame->message.bytes_count, frame->message.data);
}

static void answer_change(int status, store_id_t hint, uint64_t change)
{
    struct script_request received = script_take(0);
    Ostraka__ChangeRangeAnswer answer = OSTRAKA__CHANGE_RANGE_ANSWER__INIT;
    answer.status = status;
    answer.leader_store = hint;
    answer.change = change;
    script_reply(received.connection_id, FRAME_CHANGE_RANGE_ANSWER, received.frame.request_id,
                 &answer.base, NULL);
    blob_unref(received.blob);
}

static void assert_asked(Ostraka__RangeChangeKind kind, const char *start, uint64_t epoch,
                         const char *at, uint64_t to_group)
{
    Ostraka__ChangeRange *asked = change_asked();
    cr_assert_eq(asked->kind, kind);
    cr_assert_eq(asked->epoch, epoch);
    cr_assert(bytes_equal(bytes_of(asked->start.data, asked->start.len), bytes_of_string(start)));
    cr_assert(bytes_equal(bytes_of(asked->at.data, asked->at.len), bytes_of_string(at)));
    cr_assert_eq(asked->to_group, to_group);
    ostraka__change_range__free_unpacked(asked, NULL);
}

Test(client_core_admin, a_change_names_the_range_and_its_epoch_and_follows_hints)
{
    script.map_epoch = script.range_epoch = 4;
    script_map_send(script.connections[1], 0);
    static struct script_outcome split = {0}, move = {0}, merge = {0};
    script_submit(change_of(OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE, "x"), &split);
    script_only(FRAME_CHANGE_RANGE, 1);
    assert_asked(OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE, "m", 4, "x", 0);
    answer_change(OST_NOT_LEADER, 3, 0);
    script_only(FRAME_CHANGE_RANGE, 3);
    answer_change(OST_OK, 0, 17);
    cr_assert_eq(split.status, OST_OK);
    script_submit(change_of(OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE, "x"), &move);
    script_only(FRAME_CHANGE_RANGE, 3); /* learned */
    assert_asked(OSTRAKA__RANGE_CHANGE_KIND__MOVE_RANGE, "m", 4, "", 3);
    answer_change(OST_CONFLICT, 0, 0);
    cr_assert_eq(move.status, OST_CONFLICT);
    script_submit(change_of(OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES, ""), &merge);
    assert_asked(OSTRAKA__RANGE_CHANGE_KIND__MERGE_RANGES, "", 4, "m", 0);
}

Test(client_core_admin, a_change_without_a_number_was_done_before)
{
    static struct script_outcome split = {0}, cancel = {0};
    script_submit(change_of(OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE, "x"), &split);
    answer_change(OST_OK, 0, 0);
    cr_assert_eq(split.status, OST_EXISTS);
    struct operation *operation = change_of(OSTRAKA__RANGE_CHANGE_KIND__NO_CHANGE, "");
    operation->cancel = 17;
    script_submit(operation, &cancel);
    Ostraka__ChangeRange *asked = change_asked();
    cr_assert_eq(asked->cancel, 17u);
    ostraka__change_range__free_unpacked(asked, NULL);
    answer_change(OST_OK, 0, 0);
    cr_assert_eq(cancel.status, OST_OK);
}

/* Nobody leads group 0: it ends by the deadline, and says what stood in the way. */
Test(client_core_admin, without_a_leader_it_ends_by_the_deadline)
{
    static struct script_outcome split = {0};
    script_submit(change_of(OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE, "x"), &split);
    unsigned count = 0;
    for (unsigned ms = 0; ms < 5100; ms += 10) {
        for (; script.inbox_count > 0; count++)
            answer_change(OST_NOT_LEADER, 0, 0);
        script_pass_ms(10);
    }
    cr_assert_eq(split.status, OST_NOT_LEADER);
    cr_assert_leq(count, 120u, "asked %u times", count);
}

Test(client_core_admin, progress_whose_keys_break_the_limit_is_no_answer)
{
    static struct script_outcome told = {0}, broken = {0};
    script_submit(operation_on_key(OPERATION_PROGRESS, "", ""), &told);
    Ostraka__ProgressItem item = OSTRAKA__PROGRESS_ITEM__INIT, *items[] = {&item};
    Ostraka__ProgressAnswer answer = OSTRAKA__PROGRESS_ANSWER__INIT;
    static uint8_t key[KEY_BYTES_MAX + 1];
    item.start = (ProtobufCBinaryData){KEY_BYTES_MAX, key};
    answer.items = items;
    answer.n_items = 1;
    struct script_request received = script_take(0);
    script_reply(received.connection_id, FRAME_PROGRESS_ANSWER, received.frame.request_id,
                 &answer.base, NULL);
    blob_unref(received.blob);
    cr_assert_eq(told.status, OST_OK);
    script_submit(operation_on_key(OPERATION_PROGRESS, "", ""), &broken);
    item.start.len++;
    received = script_take(0);
    script_reply(received.connection_id, FRAME_PROGRESS_ANSWER, received.frame.request_id,
                 &answer.base, NULL);
    blob_unref(received.blob);
    cr_assert_eq(broken.status, OST_PROTOCOL);
}
