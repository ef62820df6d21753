/* Random and mutated bytes for every decoder of proto/. The seeds are fixed: a failure comes again.
 * Each input lies in memory of exactly its size, so that AddressSanitizer sees a read beyond it. */
#include "base/memory.h"
#include "base/random.h"
#include "proto/command.pb-c.h"
#include "proto/frame.h"
#include "proto/kv.pb-c.h"
#include "proto/master.pb-c.h"
#include "proto/raft.pb-c.h"
#include "proto/session.pb-c.h"
#include "proto/write_set.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const ProtobufCMessageDescriptor *const descriptors[] = {
    &ostraka__hello__descriptor,
    &ostraka__hello_answer__descriptor,
    &ostraka__raft_batch__descriptor,
    &ostraka__raft_configuration__descriptor,
    &ostraka__raft_snapshot_chunk__descriptor,
    &ostraka__timestamp_request__descriptor,
    &ostraka__map__descriptor,
    &ostraka__store_report__descriptor,
    &ostraka__create_replica__descriptor,
    &ostraka__change_replicas__descriptor,
    &ostraka__change_replicas_answer__descriptor,
    &ostraka__found__descriptor,
    &ostraka__found_answer__descriptor,
    &ostraka__store_identity__descriptor,
    &ostraka__assign_range__descriptor,
    &ostraka__master_command__descriptor,
    &ostraka__master_state__descriptor,
    &ostraka__status_answer__descriptor,
    &ostraka__get_request__descriptor,
    &ostraka__lock_request__descriptor,
    &ostraka__scan_request__descriptor,
    &ostraka__scan_answer__descriptor,
    &ostraka__prepare_request__descriptor,
    &ostraka__prepare_answer__descriptor,
    &ostraka__commit_request__descriptor,
    &ostraka__abort_request__descriptor,
    &ostraka__resolve_request__descriptor,
    &ostraka__inquire_request__descriptor,
    &ostraka__kv_command__descriptor,
    &ostraka__txn_record__descriptor,
    &ostraka__group_meta__descriptor,
};
#define DESCRIPTORS_COUNT (sizeof(descriptors) / sizeof(descriptors[0]))

static uint8_t *exact_copy(struct bytes bytes)
{
    uint8_t *copy = memory_alloc(bytes.bytes_count);
    if (bytes.bytes_count > 0)
        memcpy(copy, bytes.data, bytes.bytes_count);
    return copy;
}

static void append_random(struct random *random, struct buffer *buffer, size_t bytes_count)
{
    for (size_t index = 0; index < bytes_count; index++)
        buffer_append_u8(buffer, (uint8_t)random_next(random));
}

/* Mostly small numbers, and the edges. */
static uint64_t random_value(struct random *random)
{
    return random_next(random) >> random_below(random, 64);
}

/* A message of the wire format that follows the descriptor, so that the parser gets deep. */
static void append_message(struct random *random, struct buffer *buffer,
                           const ProtobufCMessageDescriptor *descriptor, int depth)
{
    size_t fields_count = random_below(random, 2 * descriptor->n_fields + 1);
    for (size_t count = 0; count < fields_count; count++) {
        const ProtobufCFieldDescriptor *field =
            &descriptor->fields[random_below(random, descriptor->n_fields)];
        switch (field->type) {
        case PROTOBUF_C_TYPE_FIXED64:
            buffer_append_varint(buffer, field->id << 3 | 1);
            append_random(random, buffer, 8);
            break;
        case PROTOBUF_C_TYPE_MESSAGE: {
            struct buffer inner = BUFFER_INIT;
            if (depth > 0)
                append_message(random, &inner, field->descriptor, depth - 1);
            buffer_append_varint(buffer, field->id << 3 | 2);
            buffer_append_varint(buffer, inner.bytes_count);
            buffer_append(buffer, inner.data, inner.bytes_count);
            buffer_fini(&inner);
            break;
        }
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_BYTES: {
            size_t bytes_count = random_below(random, 12);
            buffer_append_varint(buffer, field->id << 3 | 2);
            buffer_append_varint(buffer, bytes_count);
            append_random(random, buffer, bytes_count);
            break;
        }
        default:
            buffer_append_varint(buffer, field->id << 3);
            buffer_append_varint(buffer, random_value(random));
        }
    }
}

static void mutate_once(struct random *random, struct buffer *buffer)
{
    size_t bytes_count = buffer->bytes_count;
    size_t at = bytes_count > 0 ? random_below(random, bytes_count) : 0;
    switch (random_below(random, 6)) {
    case 0: /* a bit */
        if (bytes_count > 0)
            buffer->data[at] ^= (uint8_t)(1u << random_below(random, 8));
        break;
    case 1: /* a byte, often an edge */
        if (bytes_count > 0)
            buffer->data[at] = (uint8_t[]){0, 0x7f, 0x80, 0xff}[random_below(random, 4)];
        break;
    case 2: /* cut off */
        buffer->bytes_count = at;
        break;
    case 3: /* longer */
        append_random(random, buffer, 1 + random_below(random, 20));
        break;
    case 4: /* a part of it again elsewhere */
        if (bytes_count > 0) {
            size_t from = random_below(random, bytes_count);
            size_t most = bytes_count - (from > at ? from : at);
            memmove(buffer->data + at, buffer->data + from, random_below(random, most + 1));
        }
        break;
    default: /* a part left out */
        if (bytes_count > 0) {
            size_t left_out = random_below(random, bytes_count - at + 1);
            memmove(buffer->data + at, buffer->data + at + left_out, bytes_count - at - left_out);
            buffer->bytes_count -= left_out;
        }
    }
}

static void mutate(struct random *random, struct buffer *buffer)
{
    for (uint64_t times = 1 + random_below(random, 4); times > 0; times--)
        mutate_once(random, buffer);
}

static struct blob *random_frame(struct random *random)
{
    struct buffer message = BUFFER_INIT;
    struct buffer payload = BUFFER_INIT;
    const ProtobufCMessageDescriptor *descriptor =
        descriptors[random_below(random, DESCRIPTORS_COUNT)];
    append_message(random, &message, descriptor, 2);
    append_random(random, &payload, random_below(random, random_below(random, 8) ? 40 : 600));
    struct arena arena;
    arena_init(&arena);
    ProtobufCMessage *unpacked = message_unpack(descriptor, buffer_bytes(&message), &arena);
    cr_assert_not_null(unpacked, "%s", descriptor->name);
    struct bytes payloads[] = {buffer_bytes(&payload)};
    struct blob *blob = frame_encode((uint16_t)random_below(random, 70), random_next(random),
                                     unpacked, payloads, 1);
    arena_fini(&arena);
    buffer_fini(&message);
    buffer_fini(&payload);
    return blob;
}

static int decode(struct bytes bytes)
{
    uint8_t *copy = exact_copy(bytes);
    struct frame frame = {0};
    const char *why = NULL;
    int status = frame_decode(bytes_of(copy, bytes.bytes_count), &frame, &why);
    cr_assert(status == OST_OK || status == OST_PROTOCOL);
    cr_assert_eq(why == NULL, status == OST_OK);
    if (status == OST_OK) {
        cr_assert_eq(frame.message.data, copy + FRAME_HEADER_BYTES);
        cr_assert_eq(frame.payload.data, frame.message.data + frame.message.bytes_count);
        cr_assert_eq(frame.payload.data + frame.payload.bytes_count, copy + bytes.bytes_count);
    }
    free(copy);
    return status;
}

/* Every bit of frames of every kind of length, one after the other. */
Test(fuzz, no_frame_with_a_flipped_bit_is_accepted)
{
    struct random random;
    random_init(&random, 101);
    for (int round = 0; round < 40; round++) {
        struct blob *blob = random_frame(&random);
        cr_assert_eq(decode(blob_bytes(blob)), OST_OK);
        for (size_t bit = 0; bit < 8 * (size_t)blob->bytes_count; bit++) {
            blob->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            cr_assert_eq(decode(blob_bytes(blob)), OST_PROTOCOL, "bit %zu of %u bytes", bit,
                         blob->bytes_count);
            blob->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        blob_unref(blob);
    }
}

Test(fuzz, mutated_frames)
{
    struct random random;
    random_init(&random, 102);
    int refused_count = 0;
    for (int round = 0; round < 40000; round++) {
        struct blob *blob = random_frame(&random);
        struct buffer bytes = BUFFER_INIT;
        buffer_append(&bytes, blob->data, blob->bytes_count);
        mutate(&random, &bytes);
        bool same = bytes_equal(buffer_bytes(&bytes), blob_bytes(blob));
        cr_assert_eq(decode(buffer_bytes(&bytes)), same ? OST_OK : OST_PROTOCOL);
        refused_count += !same;
        buffer_fini(&bytes);
        blob_unref(blob);
    }
    cr_expect_gt(refused_count, 30000);
}

/* A stream of whole frames and then rubbish, measured as a connection does. */
Test(fuzz, measure)
{
    struct random random;
    random_init(&random, 103);
    int sound_count = 0;
    for (int round = 0; round < 60000; round++) {
        struct buffer bytes = BUFFER_INIT;
        append_random(&random, &bytes, random_below(&random, 48));
        /* Otherwise none would get past the magic. */
        const uint8_t begin[] = {'O', 'S', 'T', '1', FRAME_VERSION, 0};
        size_t begin_bytes = random_below(&random, sizeof(begin) + 1);
        if (bytes.bytes_count >= FRAME_HEADER_BYTES) {
            memcpy(bytes.data, begin, begin_bytes);
            for (size_t at = 8; at < 16; at += 4) {
                uint32_t length = (uint32_t)random_value(&random);
                memcpy(bytes.data + at, &length, sizeof(length));
            }
        }
        uint8_t *copy = exact_copy(buffer_bytes(&bytes));
        size_t frame_bytes_max = random_value(&random);
        size_t frame_bytes = 0;
        const char *why = NULL;
        int status =
            frame_measure(bytes_of(copy, bytes.bytes_count), frame_bytes_max, &frame_bytes, &why);
        cr_assert_eq(status == OST_WOULD_BLOCK, bytes.bytes_count < FRAME_HEADER_BYTES);
        cr_assert_eq(status == OST_PROTOCOL, why != NULL);
        if (status == OST_OK) {
            cr_assert_leq(frame_bytes, frame_bytes_max);
            cr_assert_geq(frame_bytes, FRAME_HEADER_BYTES);
            cr_assert_leq(frame_bytes, (size_t)FRAME_HEADER_BYTES + FRAME_MESSAGE_BYTES_MAX +
                                           FRAME_PAYLOAD_BYTES_MAX);
            sound_count++;
        }
        free(copy);
        buffer_fini(&bytes);
    }
    cr_expect_gt(sound_count, 100);
}

/* protobuf-c refuses a field of number 0, but not one whose number is written in two bytes; it
 * packs such a field, which no message of ours has, in one. */
static bool has_field_zero(const ProtobufCMessage *message)
{
    for (unsigned index = 0; index < message->n_unknown_fields; index++)
        if (message->unknown_fields[index].tag == 0)
            return true;
    return false;
}

/* What parses can be packed and parsed again, and then stays as it is. */
static void expect_stable(const ProtobufCMessage *message, struct arena *arena)
{
    if (has_field_zero(message))
        return;
    size_t packed_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = memory_alloc(packed_bytes);
    cr_assert_eq(protobuf_c_message_pack(message, packed), packed_bytes);
    ProtobufCMessage *again =
        message_unpack(message->descriptor, bytes_of(packed, packed_bytes), arena);
    cr_assert_not_null(again, "%s", message->descriptor->name);
    cr_assert_eq(protobuf_c_message_get_packed_size(again), packed_bytes);
    uint8_t *packed_again = memory_alloc(packed_bytes);
    protobuf_c_message_pack(again, packed_again);
    cr_assert(bytes_equal(bytes_of(packed, packed_bytes), bytes_of(packed_again, packed_bytes)));
    free(packed);
    free(packed_again);
}

Test(fuzz, messages)
{
    struct random random;
    random_init(&random, 104);
    struct arena arena;
    arena_init(&arena);
    int parsed_count = 0;
    for (int round = 0; round < 60000; round++) {
        const ProtobufCMessageDescriptor *descriptor =
            descriptors[random_below(&random, DESCRIPTORS_COUNT)];
        struct buffer bytes = BUFFER_INIT;
        if (random_below(&random, 4) == 0)
            append_random(&random, &bytes, random_below(&random, 60));
        else
            append_message(&random, &bytes, descriptor, 3);
        if (random_below(&random, 4) != 0)
            mutate(&random, &bytes);
        uint8_t *copy = exact_copy(buffer_bytes(&bytes));
        ProtobufCMessage *message =
            message_unpack(descriptor, bytes_of(copy, bytes.bytes_count), &arena);
        free(copy); /* nothing of the message points into its bytes */
        if (message) {
            expect_stable(message, &arena);
            parsed_count++;
        }
        arena_reset(&arena);
        buffer_fini(&bytes);
    }
    /* Neither side of the parser is left untried. */
    cr_expect(parsed_count > 15000 && parsed_count < 45000, "%d", parsed_count);
    arena_fini(&arena);
}

static void append_writes(struct random *random, struct buffer *set)
{
    uint8_t text[300];
    for (uint64_t count = random_below(random, 6); count > 0; count--) {
        for (size_t index = 0; index < sizeof(text); index++)
            text[index] = (uint8_t)random_next(random);
        struct write write = {.kind = random_below(random, 2) ? WRITE_PUT : WRITE_DELETE};
        write.key = bytes_of(text, random_below(random, 10));
        if (write.kind == WRITE_PUT)
            write.value = bytes_of(text, random_below(random, random_below(random, 4) ? 9 : 300));
        write_set_append(set, &write);
    }
}

/* A set has one form: what is read, when written again, gives the bytes that were read. */
Test(fuzz, write_sets)
{
    struct random random;
    random_init(&random, 105);
    int whole_count = 0;
    for (int round = 0; round < 60000; round++) {
        struct buffer set = BUFFER_INIT;
        struct buffer again = BUFFER_INIT;
        append_writes(&random, &set);
        if (random_below(&random, 4) != 0)
            mutate(&random, &set);
        uint8_t *copy = exact_copy(buffer_bytes(&set));
        struct reader reader = reader_of(bytes_of(copy, set.bytes_count));
        struct write write;
        uint32_t writes_count = 0;
        int status;
        while ((status = write_set_next(&reader, &write)) == OST_OK) {
            write_set_append(&again, &write);
            writes_count++;
        }
        cr_assert(status == OST_NOT_FOUND || status == OST_PROTOCOL);
        cr_assert(
            bytes_equal(bytes_of(copy, set.bytes_count - reader.bytes_left), buffer_bytes(&again)));
        cr_assert_eq(status == OST_NOT_FOUND, reader.bytes_left == 0);
        whole_count += status == OST_NOT_FOUND;

        uint32_t checked_count = 0;
        char why[LIMIT_WHY_BYTES] = "";
        int checked = write_set_check(bytes_of(copy, set.bytes_count), &checked_count, why);
        cr_assert_eq(checked == OST_OK, why[0] == '\0');
        if (checked == OST_OK) {
            cr_assert_eq(status, OST_NOT_FOUND);
            cr_assert_eq(checked_count, writes_count);
        }
        free(copy);
        buffer_fini(&set);
        buffer_fini(&again);
    }
    cr_expect_gt(whole_count, 15000);
}

Test(fuzz, rows)
{
    struct random random;
    random_init(&random, 106);
    for (int round = 0; round < 60000; round++) {
        struct buffer rows = BUFFER_INIT;
        struct buffer again = BUFFER_INIT;
        for (uint64_t count = random_below(&random, 5); count > 0; count--) {
            uint8_t text[200] = {(uint8_t)count};
            struct row row = {bytes_of(text, random_below(&random, 200)), random_next(&random),
                              bytes_of(text, random_below(&random, 200))};
            rows_append(&rows, &row);
        }
        if (random_below(&random, 4) != 0)
            mutate(&random, &rows);
        uint8_t *copy = exact_copy(buffer_bytes(&rows));
        struct reader reader = reader_of(bytes_of(copy, rows.bytes_count));
        struct row row;
        int status;
        while ((status = rows_next(&reader, &row)) == OST_OK)
            rows_append(&again, &row);
        cr_assert(status == OST_NOT_FOUND || status == OST_PROTOCOL);
        cr_assert(bytes_equal(bytes_of(copy, rows.bytes_count - reader.bytes_left),
                              buffer_bytes(&again)));
        free(copy);
        buffer_fini(&rows);
        buffer_fini(&again);
    }
}
