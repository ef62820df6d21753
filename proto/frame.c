#include "proto/frame.h"

#define XXH_STATIC_LINKING_ONLY /* the size of its state, to keep it on the stack */
#include <xxhash.h>

/* Where the header's fields lie. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_ZERO = 5,
    AT_TYPE = 6,
    AT_MESSAGE_BYTES = 8,
    AT_PAYLOAD_BYTES = 12,
    AT_REQUEST_ID = 16,
    AT_CHECKSUM = 24,
};
_Static_assert(AT_CHECKSUM + sizeof(uint64_t) == FRAME_HEADER_BYTES,
               "the checksum ends the header");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header is copied as it lies");

/* How much memory one message may unfold to. protobuf-c makes a structure of every two bytes that
 * hold an empty sub-message, so that the bytes received say little about what they cost. */
#define MESSAGE_UNPACKED_BYTES_MAX (16u * FRAME_MESSAGE_BYTES_MAX)

static uint16_t get_u16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static void put_u16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void put_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void put_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

/* Over everything but the checksum's own place. */
static uint64_t frame_checksum(struct bytes frame)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, frame.data, AT_CHECKSUM);
    XXH3_64bits_update(&state, frame.data + FRAME_HEADER_BYTES,
                       frame.bytes_count - FRAME_HEADER_BYTES);
    return XXH3_64bits_digest(&state);
}

int frame_measure(struct bytes bytes, size_t frame_bytes_max, size_t *out_frame_bytes,
                  const char **out_why)
{
    if (bytes.bytes_count < FRAME_HEADER_BYTES)
        return OST_WOULD_BLOCK;
    const uint8_t *header = bytes.data;
    *out_why = NULL;
    if (get_u32(header + AT_MAGIC) != FRAME_MAGIC)
        *out_why = "wrong magic";
    else if (header[AT_VERSION] != FRAME_VERSION)
        *out_why = "wrong version";
    else if (header[AT_ZERO] != 0)
        *out_why = "reserved byte is not zero";
    else if (get_u32(header + AT_MESSAGE_BYTES) > FRAME_MESSAGE_BYTES_MAX)
        *out_why = "message is over the limit FRAME_MESSAGE_BYTES_MAX (4 MiB)";
    else if (get_u32(header + AT_PAYLOAD_BYTES) > FRAME_PAYLOAD_BYTES_MAX)
        *out_why = "payload is over the limit FRAME_PAYLOAD_BYTES_MAX (72 MiB)";
    if (*out_why)
        return OST_PROTOCOL;
    size_t frame_bytes = FRAME_HEADER_BYTES + (size_t)get_u32(header + AT_MESSAGE_BYTES) +
                         get_u32(header + AT_PAYLOAD_BYTES);
    if (frame_bytes > frame_bytes_max) {
        *out_why = "frame is over the limit of this connection";
        return OST_PROTOCOL;
    }
    *out_frame_bytes = frame_bytes;
    return OST_OK;
}

/* Requires a header that frame_measure accepted, and all the bytes that it names. */
static struct frame frame_split(const uint8_t *data)
{
    uint32_t message_bytes = get_u32(data + AT_MESSAGE_BYTES);
    const uint8_t *message = data + FRAME_HEADER_BYTES;
    return (struct frame){
        .type = get_u16(data + AT_TYPE),
        .request_id = get_u64(data + AT_REQUEST_ID),
        .message = bytes_of(message, message_bytes),
        .payload = bytes_of(message + message_bytes, get_u32(data + AT_PAYLOAD_BYTES)),
    };
}

int frame_decode(struct bytes bytes, struct frame *out_frame, const char **out_why)
{
    size_t frame_bytes;
    int status = frame_measure(bytes, SIZE_MAX, &frame_bytes, out_why);
    if (status == OST_WOULD_BLOCK || (status == OST_OK && frame_bytes != bytes.bytes_count)) {
        *out_why = "length differs from the header's";
        return OST_PROTOCOL;
    }
    if (status != OST_OK)
        return status;
    if (get_u64(bytes.data + AT_CHECKSUM) != frame_checksum(bytes)) {
        *out_why = "wrong checksum";
        return OST_PROTOCOL;
    }
    *out_frame = frame_split(bytes.data);
    return OST_OK;
}

struct blob *frame_encode(uint16_t type, uint64_t request_id, const ProtobufCMessage *message,
                          const struct bytes *payloads, size_t payloads_count)
{
    size_t message_bytes = message ? protobuf_c_message_get_packed_size(message) : 0;
    size_t payload_bytes = 0;
    for (size_t index = 0; index < payloads_count; index++) {
        ASSERT(payloads[index].bytes_count <= FRAME_PAYLOAD_BYTES_MAX - payload_bytes);
        payload_bytes += payloads[index].bytes_count;
    }
    /* The pair of the checks in frame_measure: what a peer would refuse is never made. */
    ASSERT(message_bytes <= FRAME_MESSAGE_BYTES_MAX);

    struct blob *blob = blob_new(FRAME_HEADER_BYTES + message_bytes + payload_bytes);
    uint8_t *at = blob->data + FRAME_HEADER_BYTES;
    if (message) {
        size_t packed_bytes = protobuf_c_message_pack(message, at);
        ASSERT(packed_bytes == message_bytes);
        at += packed_bytes;
    }
    for (size_t index = 0; index < payloads_count; index++) {
        if (payloads[index].bytes_count == 0)
            continue;
        memcpy(at, payloads[index].data, payloads[index].bytes_count);
        at += payloads[index].bytes_count;
    }

    uint8_t *header = blob->data;
    put_u32(header + AT_MAGIC, FRAME_MAGIC);
    header[AT_VERSION] = FRAME_VERSION;
    header[AT_ZERO] = 0;
    put_u16(header + AT_TYPE, type);
    put_u32(header + AT_MESSAGE_BYTES, (uint32_t)message_bytes);
    put_u32(header + AT_PAYLOAD_BYTES, (uint32_t)payload_bytes);
    put_u64(header + AT_REQUEST_ID, request_id);
    put_u64(header + AT_CHECKSUM, frame_checksum(blob_bytes(blob)));
    return blob;
}

struct frame frame_of_blob(const struct blob *blob)
{
    /* Our own memory: its shape is asserted, its checksum is not computed again. */
    size_t frame_bytes = 0;
    const char *why = NULL;
    int status = frame_measure(blob_bytes(blob), SIZE_MAX, &frame_bytes, &why);
    ASSERT(status == OST_OK);
    ASSERT(frame_bytes == blob->bytes_count);
    return frame_split(blob->data);
}

struct unpack_budget {
    struct arena *arena;
    size_t bytes_left;
};

/* protobuf-c takes NULL for "does not parse". */
static void *unpack_alloc(void *context, size_t bytes_count)
{
    struct unpack_budget *budget = context;
    if (bytes_count > budget->bytes_left)
        return NULL;
    budget->bytes_left -= bytes_count;
    return arena_alloc(budget->arena, bytes_count);
}

static void unpack_free(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes bytes,
                                 struct arena *arena)
{
    struct unpack_budget budget = {arena, MESSAGE_UNPACKED_BYTES_MAX};
    ProtobufCAllocator allocator = {
        .alloc = unpack_alloc, .free = unpack_free, .allocator_data = &budget};
    return protobuf_c_message_unpack(descriptor, &allocator, bytes.bytes_count, bytes.data);
}
