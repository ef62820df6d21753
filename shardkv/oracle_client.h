/* oracle_client.h: a store's timestamps from the oracle (group 0), for all that wait; a step
 * function.
 *
 * O3: an answer is shared by all that were waiting before its request was sent; who comes later
 * waits for the next one. At most one request is under way; one that gets no answer is given up,
 * and its late answer means nothing, since every request has an id of its own.
 */
#pragma once

#include "base/metrics.h"
#include "proto/outbox.h"

#include <bsd/sys/queue.h>

struct oracle_client;

/* Lives in whoever waits. */
struct oracle_waiter {
    TAILQ_ENTRY(oracle_waiter) link;
    bool is_waiting;
    void *owner;
};
TAILQ_HEAD(oracle_waiters, oracle_waiter);

struct oracle_client *oracle_client_new(struct outbox *outbox, struct metrics *metrics);
/* Requires that nobody waits. */
void oracle_client_free(struct oracle_client *client);

void oracle_client_wait(struct oracle_client *client, struct oracle_waiter *waiter);
void oracle_client_forget(struct oracle_client *client, struct oracle_waiter *waiter);
/* Nobody waits, but the time of the log should go on: one request soon. */
void oracle_client_want(struct oracle_client *client);

/* A FRAME_TIMESTAMP_ANSWER. OST_OK: `out_timestamp` is for those in `out_waiters`, which wait no
 * more; OST_WOULD_BLOCK: an old answer, or one that says no; OST_PROTOCOL. */
OST_MUST_CHECK int oracle_client_answered(struct oracle_client *client, const struct frame *frame,
                                          nanoseconds_t now_ns, timestamp_t *out_timestamp,
                                          struct oracle_waiters *out_waiters);
/* Sends the request that is due. */
void oracle_client_turn_ended(struct oracle_client *client, nanoseconds_t now_ns);
nanoseconds_t oracle_client_deadline_ns(const struct oracle_client *client);
