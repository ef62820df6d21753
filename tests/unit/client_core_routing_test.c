/* Where the client sends its requests, when it sends them again, and what it says when no answer
 * comes. */
#include "tests/support/client_script.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(client_core_routing, .init = script_setup, .fini = script_teardown);

Test(client_core_routing, get_goes_to_the_leader_that_the_map_names)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    script_only(FRAME_GET, 2);
    script_answer_get(0, "hello");
    cr_assert(got.is_done);
    cr_assert_eq(got.status, OST_OK);
    cr_assert_str_eq(got.value, "hello");
}

Test(client_core_routing, leader_hint_is_followed_with_the_same_request)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    uint64_t id = script_only(FRAME_GET, 1)->frame.request_id;
    script_refuse(0, OST_NOT_LEADER, 3);
    cr_assert_eq(script_only(FRAME_GET, 3)->frame.request_id, id);
    script_answer_get(0, NULL);
    cr_assert_eq(got.status, OST_NOT_FOUND);
    static struct script_outcome next = {0};
    script_submit(operation_on_key(OPERATION_GET, "b", ""), &next);
    script_only(FRAME_GET, 3); /* learned */
}

Test(client_core_routing, without_a_hint_the_replicas_are_asked_in_turn)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    script_refuse(0, OST_NOT_LEADER, 0);
    script_pass_ms(100);
    script_only(FRAME_GET, 2);
    script_refuse(0, OST_NOT_LEADER, 0);
    script_pass_ms(100);
    script_only(FRAME_GET, 3);
}

/* A replica that was lost and the one that replaces it are on the same store. */
Test(client_core_routing, a_store_with_two_replicas_has_one_turn)
{
    script.joining_store = 1;
    script.map_epoch = 2;
    script.map_leaders[1] = 0;
    script_map_send(script.connections[1], 0);
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    script_refuse(0, OST_NOT_LEADER, 0);
    script_pass_ms(100);
    script_only(FRAME_GET, 2);
    script_refuse(0, OST_NOT_LEADER, 0);
    script_pass_ms(100);
    script_only(FRAME_GET, 3);
}

Test(client_core_routing, busy_is_asked_again_at_the_same_store)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    script_refuse(0, OST_BUSY, 0);
    cr_assert_eq(script.inbox_count, 0u);
    script_pass_ms(10);
    script_only(FRAME_GET, 1);
}

Test(client_core_routing, lost_connection_is_made_again_and_the_request_repeated)
{
    static struct script_outcome done = {0};
    script_submit(operation_on_key(OPERATION_WRITE, "a", "1"), &done);
    uint64_t id = script_only(FRAME_PREPARE, 1)->frame.request_id;
    script_inbox_clear();
    script.map_leaders[1] = 1;
    script_lose(1);
    script.refuses[2] = script.refuses[3] = true;
    for (unsigned tries = 0; tries < 40 && script.inbox_count == 0; tries++)
        script_pass_ms(25);
    cr_assert_eq(script_only(FRAME_PREPARE, 1)->frame.request_id, id, "Q2: the same request");
    script_answer_vote(0, 9);
    cr_assert_eq(done.status, OST_OK);
    script.refuses[2] = script.refuses[3] = false;
}

Test(client_core_routing, silent_store_is_given_up_for_another)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    script_only(FRAME_GET, 1);
    script_inbox_clear();
    script_pass_ms(1100);
    script_only(FRAME_GET, 2);
    /* Its word for the silent one is not taken. */
    script_refuse(0, OST_NOT_LEADER, 1);
    script_pass_ms(100);
    script_only(FRAME_GET, 3);
    script_answer_get(0, "v");
    cr_assert_eq(got.status, OST_OK);
}

Test(client_core_routing, moved_range_fetches_the_map_and_goes_where_it_is)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "x", ""), &got);
    script_only(FRAME_GET, 2);
    script.map_epoch = script.range_epoch = 2;
    script.high_group = 1;
    uint32_t before = script.maps_asked_count;
    script_refuse(0, OST_RANGE_MOVED, 0);
    script_pass_ms(50);
    cr_assert_gt(script.maps_asked_count, before);
    const struct script_request *received = script_only(FRAME_GET, 1);
    Ostraka__GetRequest *request = ostraka__get_request__unpack(
        NULL, received->frame.message.bytes_count, received->frame.message.data);
    cr_assert_eq(request->group, 1u);
    cr_assert_eq(request->range->epoch, 2u);
    ostraka__get_request__free_unpacked(request, NULL);
}

Test(client_core_routing, pushed_map_is_taken)
{
    script.map_epoch = 3;
    script.high_group = 1;
    script_map_send(script.connections[1], 0);
    static struct script_outcome routed = {0};
    script_submit(operation_on_key(OPERATION_ROUTE, "x", ""), &routed);
    cr_assert_eq(routed.group, 1u);
    script.map_epoch = 2; /* an older one is not */
    script.high_group = 2;
    script_map_send(script.connections[1], 0);
    static struct script_outcome again = {0};
    script_submit(operation_on_key(OPERATION_ROUTE, "x", ""), &again);
    cr_assert_eq(again.group, 1u);
}

/* The map was asked for a moment ago, so the next question waits; a push must not make it go away.
 */
Test(client_core_routing, the_newest_map_is_asked_for_even_if_another_is_pushed)
{
    static struct script_outcome first = {0}, second = {0};
    script_pass_ms(100);
    script_submit(operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)), &first);
    cr_expect(first.is_done);
    uint32_t asked_count = script.maps_asked_count;
    script_submit(operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)), &second);
    cr_assert_eq(script.maps_asked_count, asked_count);
    script.map_epoch++;
    script_map_send(script.connections[1], 0);
    cr_expect_not(second.is_done, "what was pushed may be from before it asked");
    script_pass_ms(100);
    cr_expect(second.is_done);
    cr_expect_eq(script.maps_asked_count, asked_count + 1);
}

static bool knows_group(const char *key, group_id_t group)
{
    struct script_outcome *routed = calloc(1, sizeof(*routed));
    script_submit(operation_on_key(OPERATION_ROUTE, key, ""), routed);
    bool knows = routed->group == group;
    free(routed);
    return knows;
}

/* A store that has just started has none, and is no answer. */
Test(client_core_routing, the_newest_map_is_asked_for_until_somebody_has_one)
{
    static struct script_outcome done = {0};
    script.has_no_map[1] = script.has_no_map[2] = script.has_no_map[3] = true;
    script_submit(operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)), &done);
    script_pass_ms(300);
    cr_expect_not(done.is_done);
    cr_expect_gt(script.maps_asked_count, 2u);
    script.has_no_map[2] = false;
    script_pass_ms(200);
    cr_expect(done.is_done);
}

/* All others were lost, and nothing else is asked of anybody. */
Test(client_core_routing, others_are_dialed_when_who_is_there_has_no_map)
{
    static struct script_outcome done = {0};
    script.has_no_map[1] = true;
    for (store_id_t store = 2; store <= 3; store++)
        if (script.connections[store] != 0)
            script_lose(store);
    script_submit(operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)), &done);
    script_pass_ms(3000);
    cr_expect(done.is_done);
    cr_expect_eq(done.status, OST_OK);
    cr_expect_neq(script.map_asked_store, 1u);
}

/* The push of a map was lost, and what followed it was not. The store that is asked has not got it
 * yet, and the next question is lost. */
Test(client_core_routing, a_newer_map_that_was_heard_of_is_asked_for_until_it_comes)
{
    /* It was asked for a moment ago, so the next question waits. */
    script_submit(operation_new(OPERATION_MAP, bytes_of(NULL, 0), bytes_of(NULL, 0)), NULL);
    script.map_epoch = 2;
    script.high_group = 1;
    script_hints_send(script.connections[1]);
    script.map_epoch = 1;
    uint32_t before = script.maps_asked_count;
    script_pass_ms(1000);
    cr_expect_gt(script.maps_asked_count, before + 5);
    cr_expect_lt(script.maps_asked_count, before + 20, "ever more slowly");
    script.loses_maps[1] = true;
    script_pass_ms(200);
    script.loses_maps[1] = false;
    script.map_epoch = 2;
    script_pass_ms(2000);
    cr_expect(knows_group("x", 1));
    before = script.maps_asked_count;
    script_pass_ms(1000);
    cr_expect_eq(script.maps_asked_count, before, "and no more");
}

/* A store that has lost its power does not say so: nothing is pushed, and the connection stands. */
Test(client_core_routing, a_silent_subscription_is_made_anew_elsewhere)
{
    script.loses_maps[1] = true;
    script.map_epoch = 2;
    script.high_group = 1;
    script_pass_ms(7000);
    cr_expect_neq(script.map_asked_store, 1u);
    cr_expect(knows_group("x", 1));
    uint32_t before = script.maps_asked_count;
    script_pass_ms(30000);
    cr_expect_gt(script.maps_asked_count, before + 3);
    cr_expect_lt(script.maps_asked_count, before + 8);
}

/* The group has gone to other stores, and those of our map have forgotten it. */
Test(client_core_routing, who_finds_no_leader_asks_for_the_map)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    uint32_t before = script.maps_asked_count;
    for (unsigned tries = 0; tries < 3; tries++) {
        cr_assert_eq(script.inbox_count, 1u);
        script_refuse(0, OST_NOT_LEADER, 0);
        cr_expect_eq(script.maps_asked_count, before, "one after the other first");
        script_pass_ms(100);
    }
    script_refuse(0, OST_NOT_LEADER, 0);
    script_pass_ms(100);
    cr_expect_gt(script.maps_asked_count, before);
    script_inbox_clear();
}

/* It named a range as it was. */
Test(client_core_routing, a_change_that_meets_a_newer_range_asks_for_the_map)
{
    static struct script_outcome done = {0};
    struct operation *operation = operation_on_key(OPERATION_CHANGE_RANGE, "x", "");
    operation->range_change = OSTRAKA__RANGE_CHANGE_KIND__SPLIT_RANGE;
    script_submit(operation, &done);
    struct script_request received = script_take(0);
    cr_assert_eq(received.frame.type, FRAME_CHANGE_RANGE);
    script.map_epoch = script.range_epoch = 2;
    script.high_group = 1;
    Ostraka__ChangeRangeAnswer answer = OSTRAKA__CHANGE_RANGE_ANSWER__INIT;
    answer.status = OST_CONFLICT;
    script_reply(received.connection_id, FRAME_CHANGE_RANGE_ANSWER, received.frame.request_id,
                 &answer.base, NULL);
    blob_unref(received.blob);
    cr_assert_eq(done.status, OST_CONFLICT);
    script_pass_ms(50);
    cr_expect(knows_group("x", 1));
}

Test(client_core_routing, write_without_an_answer_may_have_been_done)
{
    static struct script_outcome done = {0};
    script_submit(operation_on_key(OPERATION_WRITE, "a", "1"), &done);
    for (unsigned ms = 0; ms < 6000; ms += 100) {
        script_pass_ms(100);
        script_inbox_clear();
    }
    cr_assert(done.is_done);
    cr_assert_eq(done.status, OST_MAYBE_COMMITTED);
}

Test(client_core_routing, read_without_an_answer_is_retryable)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    for (unsigned ms = 0; ms < 6000; ms += 100) {
        script_pass_ms(100);
        script_inbox_clear();
    }
    cr_assert(got.is_done);
    cr_assert(ost_status_is_retryable(got.status));
}

Test(client_core_routing, frame_that_does_not_parse_closes_the_connection)
{
    static struct script_outcome got = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    struct script_request received = script.inbox[0];
    script_reply(received.connection_id, FRAME_SCAN_ANSWER, received.frame.request_id, NULL, NULL);
    cr_assert_neq(script.connections[1], received.connection_id);
}

Test(client_core_routing, stop_ends_everything)
{
    static struct script_outcome got = {0}, done = {0}, late = {0};
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &got);
    script_submit(operation_on_key(OPERATION_WRITE, "a", "1"), &done);
    script_deliver((struct client_event){.type = CLIENT_EV_STOPPED});
    cr_assert_eq(got.status, OST_CANCELED);
    cr_assert_eq(done.status, OST_MAYBE_COMMITTED, "it was sent: nobody knows");
    script_submit(operation_on_key(OPERATION_GET, "a", ""), &late);
    cr_assert_eq(late.status, OST_CANCELED);
}
