/* frame.h: what travels between processes: a fixed header, a protobuf message, a raw payload.
 *
 * Header, little endian, 32 bytes:
 *     0  u32 magic "OST1"      4  u8 version     5  u8 zero     6  u16 type
 *     8  u32 message bytes    12  u32 payload bytes
 *    16  u64 request id       24  u64 XXH3 of bytes 0-23 and of all that follows the header
 *
 * The payload carries what is large (values, log entries), so that it is not copied through the
 * encoder. Decoding trusts nothing: magic, version, limits, then checksum, then the parser.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "proto/frame_type.h"

#include <protobuf-c/protobuf-c.h>

#define FRAME_MAGIC             0x3154534fu
#define FRAME_VERSION           1u
#define FRAME_HEADER_BYTES      32u
#define FRAME_MESSAGE_BYTES_MAX (4u << 20)
#define FRAME_PAYLOAD_BYTES_MAX (72u << 20)

struct frame {
    uint16_t type; /* enum frame_type; unknown numbers get this far */
    uint64_t request_id;
    struct bytes message;
    struct bytes payload;
};

/* How many bytes does the frame that begins at `bytes` take in all? OST_WOULD_BLOCK: fewer than a
 * header are there. OST_PROTOCOL: wrong magic or version, or over `frame_bytes_max`; `out_why` is
 * set to a static text. */
OST_MUST_CHECK int frame_measure(struct bytes bytes, size_t frame_bytes_max,
                                 size_t *out_frame_bytes, const char **out_why);

/* Checks the checksum of one whole frame and points into it. Borrowed from `bytes`. */
OST_MUST_CHECK int frame_decode(struct bytes bytes, struct frame *out_frame, const char **out_why);

/* Packs one frame. `message` may be NULL; payload is the concatenation of `payloads`. */
struct blob *frame_encode(uint16_t type, uint64_t request_id, const ProtobufCMessage *message,
                          const struct bytes *payloads, size_t payloads_count);

/* Parses into the arena; NULL when it does not parse. Free nothing. */
ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes bytes,
                                 struct arena *arena);

/* A frame in a blob made by frame_encode; asserts that it is whole. */
struct frame frame_of_blob(const struct blob *blob);
