/* tcp.h: framed TCP on the loop: multishot accept and receive with a provided buffer ring, gathered
 * sends with one in flight per socket.
 *
 * A connection is named by an id that is never used again in this process, so that an answer to a
 * connection that is gone is dropped instead of reaching a stranger. Frames are checked
 * (proto/frame.h) before anybody sees them; a bad one closes its connection with one log line and a
 * count. Back-pressure: while more than output_bytes_high wait to be sent on a connection that we
 * accepted, nothing is read from it (one that we opened is always read, or two ends could wait for
 * each other for ever); over output_bytes_max it is closed with OST_BUSY. Bytes received are
 * bounded by one largest frame.
 */
#pragma once

#include "base/metrics.h"
#include "base/status.h"
#include "base/types.h"
#include "io/loop.h"
#include "proto/frame.h"

#define IO_ADDRESS_TEXT_MAX 280 /* "host:port", "[v6]:port" */

struct io_tcp_options {
    size_t frame_bytes_max;   /* default: the header and both maxima of frame.h */
    size_t output_bytes_high; /* default 1 MiB */
    size_t output_bytes_max;  /* default 256 MiB */
    /* Of connections accepted; default 4096; further ones are closed at once, with a count. */
    uint32_t connections_count_max;
    struct metrics *metrics; /* may be NULL */
};

struct io_tcp_callbacks {
    /* A connection was accepted on a listener. */
    void (*accepted)(void *context, uint64_t connection_id, const char *peer_address);
    /* io_tcp_connect has come to an end: OST_OK, or why it failed; then the id is gone. */
    void (*connected)(void *context, uint64_t connection_id, int status);
    /* One whole, checked frame; borrowed until the callback returns. */
    void (*frame)(void *context, uint64_t connection_id, const struct frame *frame);
    /* The connection is gone, for whatever reason but io_tcp_close. Once, and last. OST_PROTOCOL,
     * OST_BUSY, or OST_DISCONNECTED. */
    void (*closed)(void *context, uint64_t connection_id, int status);
};

struct io_tcp;

void io_tcp_options_default(struct io_tcp_options *out_options);
OST_MUST_CHECK int io_tcp_new(struct io_loop *loop, const struct io_tcp_options *options,
                              const struct io_tcp_callbacks *callbacks, void *context,
                              struct io_tcp **out_tcp);
/* Closes everything and waits for the kernel to let go of it. */
void io_tcp_free(struct io_tcp *tcp);

/* `address` is "host:port"; host may be a name, an IPv4 or a bracketed IPv6 address, or empty for
 * all. Names are resolved here, so listen and connect to names at start-up, or by number later.
 * OST_INVALID_ARGUMENT, OST_ADDRESS_IN_USE, OST_IO. Port 0 picks one: see io_tcp_listen_port.
 * One listener at a time. */
OST_MUST_CHECK int io_tcp_listen(struct io_tcp *tcp, const char *address);
uint16_t io_tcp_listen_port(const struct io_tcp *tcp);
void io_tcp_listen_stop(struct io_tcp *tcp);

/* Begins to connect; `connected` tells how it went (never before this returns).
 * OST_INVALID_ARGUMENT when the address does not parse or resolve, OST_DISCONNECTED when the
 * resolver has no answer now, OST_IO when there is no descriptor left; then no callback follows. */
OST_MUST_CHECK int io_tcp_connect(struct io_tcp *tcp, const char *address,
                                  uint64_t *out_connection_id);

/* Queues a frame. Takes `frame`. A connection that is gone: the frame is dropped. Frames queued in
 * a turn leave in one gathered send at its end (or when a send in flight completes). */
void io_tcp_send(struct io_tcp *tcp, uint64_t connection_id, struct blob *frame_take);
/* Bytes queued and not yet sent; 0 when the connection is gone. */
size_t io_tcp_output_bytes(const struct io_tcp *tcp, uint64_t connection_id);
/* Closes after what is queued has been sent (bounded by 1 s), or at once. No callback follows. */
void io_tcp_close(struct io_tcp *tcp, uint64_t connection_id, bool after_output);
