#include "proto/frame.h"
#include "proto/kv.pb-c.h"
#include "proto/outbox.h"
#include "proto/raft.pb-c.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <xxhash.h>

static struct blob *encode_get(uint64_t request_id, const char *key, const char *payload)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 5;
    Ostraka__GetRequest get = OSTRAKA__GET_REQUEST__INIT;
    get.group = 3;
    get.range = &range;
    get.key.data = (uint8_t *)(uintptr_t)key;
    get.key.len = strlen(key);
    struct bytes payloads[] = {bytes_of_string(payload)};
    return frame_encode(FRAME_GET, request_id, &get.base, payloads, 1);
}

Test(frame, what_is_encoded_is_decoded)
{
    struct blob *blob = encode_get(77, "the key", "the payload");
    struct frame frame;
    const char *why = NULL;
    cr_assert_eq(frame_decode(blob_bytes(blob), &frame, &why), OST_OK);
    cr_expect_eq(frame.type, FRAME_GET);
    cr_expect_eq(frame.request_id, 77);
    cr_expect(bytes_equal(frame.payload, bytes_of_string("the payload")));

    struct arena arena;
    arena_init(&arena);
    Ostraka__GetRequest *get = (Ostraka__GetRequest *)message_unpack(
        &ostraka__get_request__descriptor, frame.message, &arena);
    cr_assert_not_null(get);
    cr_expect_eq(get->group, 3);
    cr_expect_eq(get->range->epoch, 5);
    cr_expect(bytes_equal(bytes_of(get->key.data, get->key.len), bytes_of_string("the key")));
    arena_fini(&arena);
    blob_unref(blob);
}

/* The layout is a promise to other versions; it is written out here by hand. */
Test(frame, header_layout)
{
    struct bytes payload = bytes_of_string("xyz");
    struct blob *blob = frame_encode(0x1234, UINT64_C(0x0102030405060708), NULL, &payload, 1);
    const uint8_t expected[] = {'O', 'S', 'T', '1', 1, 0, 0x34, 0x12, 0, 0, 0, 0,
                                3,   0,   0,   0,   8, 7, 6,    5,    4, 3, 2, 1};
    cr_assert_eq(blob->bytes_count, 32 + 3);
    cr_expect_arr_eq(blob->data, expected, sizeof(expected));
    uint8_t hashed[sizeof(expected) + 3];
    memcpy(hashed, expected, sizeof(expected));
    memcpy(hashed + sizeof(expected), "xyz", 3);
    uint64_t checksum = XXH3_64bits(hashed, sizeof(hashed));
    cr_expect_arr_eq(blob->data + 24, &checksum, 8);
    cr_expect_arr_eq(blob->data + 32, "xyz", 3);
    blob_unref(blob);
}

Test(frame, payload_is_the_concatenation)
{
    struct bytes payloads[] = {bytes_of_string("ab"), bytes_of(NULL, 0), bytes_of_string("c")};
    struct blob *blob = frame_encode(FRAME_RAFT_BATCH, 0, NULL, payloads, 3);
    struct frame frame = frame_of_blob(blob);
    cr_expect(bytes_equal(frame.payload, bytes_of_string("abc")));
    cr_expect_eq(frame.message.bytes_count, 0);
    blob_unref(blob);
}

Test(frame, empty_frame_is_a_header_alone)
{
    struct blob *blob = frame_encode(FRAME_STATUS, 1, NULL, NULL, 0);
    struct frame frame;
    const char *why = NULL;
    cr_expect_eq(blob->bytes_count, FRAME_HEADER_BYTES);
    cr_expect_eq(frame_decode(blob_bytes(blob), &frame, &why), OST_OK);
    struct arena arena;
    arena_init(&arena);
    cr_expect_not_null(message_unpack(&ostraka__get_request__descriptor, frame.message, &arena),
                       "a message of nothing but defaults takes no bytes");
    arena_fini(&arena);
    blob_unref(blob);
}

Test(frame, measure_waits_for_a_header_and_then_knows)
{
    struct blob *blob = encode_get(1, "key", "payload");
    const char *why = NULL;
    size_t frame_bytes = 0;
    for (size_t there = 0; there <= blob->bytes_count; there++) {
        int status = frame_measure(bytes_of(blob->data, there), SIZE_MAX, &frame_bytes, &why);
        if (there < FRAME_HEADER_BYTES) {
            cr_assert_eq(status, OST_WOULD_BLOCK);
        } else {
            cr_assert_eq(status, OST_OK);
            cr_assert_eq(frame_bytes, blob->bytes_count);
        }
    }
    blob_unref(blob);
}

static void expect_refused(struct blob *blob, size_t frame_bytes_max, const char *expected_why)
{
    const char *why = NULL;
    size_t frame_bytes;
    cr_expect_eq(frame_measure(blob_bytes(blob), frame_bytes_max, &frame_bytes, &why),
                 OST_PROTOCOL);
    cr_assert_not_null(why);
    cr_expect_not_null(strstr(why, expected_why), "%s", why);
}

Test(frame, measure_refuses_and_tells_why)
{
    struct blob *blob = encode_get(1, "key", "payload");
    const char *why = NULL;
    size_t frame_bytes;
    cr_expect_eq(frame_measure(blob_bytes(blob), blob->bytes_count, &frame_bytes, &why), OST_OK);
    expect_refused(blob, blob->bytes_count - 1, "limit of this connection");
    blob->data[0] ^= 1;
    expect_refused(blob, SIZE_MAX, "magic");
    blob->data[0] ^= 1;
    blob->data[4]++;
    expect_refused(blob, SIZE_MAX, "version");
    blob->data[4]--;
    blob->data[5] = 1;
    expect_refused(blob, SIZE_MAX, "reserved");
    blob->data[5] = 0;
    uint32_t too_large = FRAME_MESSAGE_BYTES_MAX + 1;
    memcpy(blob->data + 8, &too_large, 4);
    expect_refused(blob, SIZE_MAX, "FRAME_MESSAGE_BYTES_MAX");
    too_large = 0;
    memcpy(blob->data + 8, &too_large, 4);
    too_large = UINT32_MAX;
    memcpy(blob->data + 12, &too_large, 4);
    expect_refused(blob, SIZE_MAX, "FRAME_PAYLOAD_BYTES_MAX");
    blob_unref(blob);
}

Test(frame, decode_wants_exactly_one_frame)
{
    struct blob *blob = encode_get(1, "key", "payload");
    uint8_t longer[200] = {0};
    memcpy(longer, blob->data, blob->bytes_count);
    struct frame frame;
    for (size_t there = 0; there < sizeof(longer); there++) {
        const char *why = NULL;
        int status = frame_decode(bytes_of(longer, there), &frame, &why);
        cr_assert_eq(status, there == blob->bytes_count ? OST_OK : OST_PROTOCOL);
        if (status == OST_OK)
            cr_assert_null(why);
        else
            cr_assert_not_null(strstr(why, "length"), "refused before anything is hashed");
    }
    blob_unref(blob);
}

Test(frame, largest_frame)
{
    struct bytes payload = {calloc(1, FRAME_PAYLOAD_BYTES_MAX), FRAME_PAYLOAD_BYTES_MAX};
    struct blob *blob = frame_encode(FRAME_PREPARE, 1, NULL, &payload, 1);
    struct frame frame;
    const char *why = NULL;
    cr_expect_eq(frame_decode(blob_bytes(blob), &frame, &why), OST_OK);
    cr_expect_eq(frame.payload.bytes_count, FRAME_PAYLOAD_BYTES_MAX);
    blob_unref(blob);
    free((void *)(uintptr_t)payload.data);
}

Test(frame, over_the_limit_is_never_made, .signal = SIGABRT)
{
    struct bytes half = {calloc(1, FRAME_PAYLOAD_BYTES_MAX / 2 + 1),
                         FRAME_PAYLOAD_BYTES_MAX / 2 + 1};
    struct bytes payloads[] = {half, half};
    frame_encode(FRAME_PREPARE, 1, NULL, payloads, 2);
}

Test(frame, blob_that_is_no_frame_is_a_bug, .signal = SIGABRT)
{
    frame_of_blob(blob_copy(bytes_of_string("a text that is longer than one header is")));
}

Test(message, unpack_takes_nothing_but_the_arena)
{
    /* Many entries: more than protobuf-c parses on its stack. */
    enum { ENTRIES_COUNT = 5000 };
    static Ostraka__RaftEntryHeader entries[ENTRIES_COUNT];
    static Ostraka__RaftEntryHeader *pointers[ENTRIES_COUNT];
    for (size_t index = 0; index < ENTRIES_COUNT; index++) {
        entries[index] = (Ostraka__RaftEntryHeader)OSTRAKA__RAFT_ENTRY_HEADER__INIT;
        entries[index].term = index;
        pointers[index] = &entries[index];
    }
    Ostraka__RaftMessage message = OSTRAKA__RAFT_MESSAGE__INIT;
    message.n_entries = ENTRIES_COUNT;
    message.entries = pointers;
    struct blob *blob = frame_encode(FRAME_RAFT_BATCH, 0, &message.base, NULL, 0);
    struct arena arena;
    arena_init(&arena);
    for (int round = 0; round < 3; round++) {
        Ostraka__RaftMessage *unpacked = (Ostraka__RaftMessage *)message_unpack(
            &ostraka__raft_message__descriptor, frame_of_blob(blob).message, &arena);
        cr_assert_not_null(unpacked);
        cr_assert_eq(unpacked->n_entries, ENTRIES_COUNT);
        for (size_t index = 0; index < ENTRIES_COUNT; index++)
            cr_assert_eq(unpacked->entries[index]->term, index);
        cr_assert_gt(arena.bytes_used, ENTRIES_COUNT * sizeof(entries[0]));
        arena_reset(&arena);
    }
    arena_fini(&arena);
    blob_unref(blob);
}

/* Two bytes make a structure of fifty: what a message unfolds to is limited by itself. */
Test(message, that_unfolds_to_too_much_is_refused)
{
    size_t bytes_count = FRAME_MESSAGE_BYTES_MAX;
    uint8_t *bytes = calloc(1, bytes_count);
    for (size_t index = 0; index < bytes_count; index += 2)
        bytes[index] = 14 << 3 | 2; /* an empty RaftMessage.entries */
    struct arena arena;
    arena_init(&arena);
    cr_expect_null(
        message_unpack(&ostraka__raft_message__descriptor, bytes_of(bytes, bytes_count), &arena));
    cr_expect_leq(arena.bytes_used, 80u << 20);
    arena_reset(&arena);
    cr_expect_not_null(message_unpack(&ostraka__raft_message__descriptor,
                                      bytes_of(bytes, bytes_count / 16), &arena));
    arena_fini(&arena);
    free(bytes);
}

static struct blob *small_frame(uint64_t request_id)
{
    return frame_encode(FRAME_STATUS, request_id, NULL, NULL, 0);
}

Test(outbox, keeps_order_and_addresses)
{
    struct outbox outbox;
    outbox_init(&outbox);
    struct blob *shared = small_frame(3);
    outbox_to_connection(&outbox, 9, small_frame(0));
    outbox_to_store(&outbox, 4, CHANNEL_BULK, small_frame(1));
    outbox_to_key(&outbox, bytes_of_string("k"), small_frame(2));
    outbox_to_group(&outbox, 6, blob_ref(shared));
    for (uint64_t index = 4; index < 100; index++)
        outbox_to_connection(&outbox, CONNECTION_LOCAL, small_frame(index));

    cr_assert_eq(outbox.items_count, 100);
    for (size_t index = 0; index < 100; index++)
        cr_expect_eq(frame_of_blob(outbox.items[index].frame).request_id, index);
    const struct outgoing *items = outbox.items;
    cr_expect(items[0].to.kind == ADDRESS_CONNECTION && items[0].to.id == 9);
    cr_expect(items[1].to.kind == ADDRESS_STORE && items[1].to.id == 4);
    cr_expect_eq(items[1].to.channel, CHANNEL_BULK);
    cr_expect_eq(items[2].to.kind, ADDRESS_KEY);
    cr_expect(bytes_equal(blob_bytes(items[2].to.key), bytes_of_string("k")));
    cr_expect(items[3].to.kind == ADDRESS_GROUP && items[3].to.id == 6);
    cr_expect_null(items[3].to.key);

    cr_expect_eq(shared->refs_count, 2);
    outbox_reset(&outbox);
    cr_expect_eq(shared->refs_count, 1);
    cr_expect_eq(outbox.items_count, 0);
    outbox_to_group(&outbox, 6, shared);
    outbox_fini(&outbox);
}
