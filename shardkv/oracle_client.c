#include "shardkv/oracle_client.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/sometimes.h"
#include "proto/master.pb-c.h"

#include <stdlib.h>

#define ORACLE_RETRY_NS       (100 * NS_PER_MS)
#define ORACLE_BACKOFF_NS_MIN (2 * NS_PER_MS)
#define ORACLE_BACKOFF_NS_MAX (100 * NS_PER_MS)

struct oracle_client {
    struct outbox *outbox;
    struct metrics *metrics;
    struct oracle_waiters asked; /* the request under way is theirs */
    struct oracle_waiters next;
    bool is_wanted; /* oracle_client_want since the last request was sent */
    bool is_under_way;
    uint64_t request_id; /* of the last request */
    nanoseconds_t sent_ns;
    nanoseconds_t not_before_ns; /* after a refusal */
    nanoseconds_t backoff_ns;
};

struct oracle_client *oracle_client_new(struct outbox *outbox, struct metrics *metrics)
{
    struct oracle_client *client = memory_alloc_zeroed(1, sizeof(*client));
    client->outbox = outbox;
    client->metrics = metrics;
    client->backoff_ns = ORACLE_BACKOFF_NS_MIN;
    TAILQ_INIT(&client->asked);
    TAILQ_INIT(&client->next);
    return client;
}

void oracle_client_free(struct oracle_client *client)
{
    if (!client)
        return;
    ASSERT(TAILQ_EMPTY(&client->asked) && TAILQ_EMPTY(&client->next));
    free(client);
}

void oracle_client_wait(struct oracle_client *client, struct oracle_waiter *waiter)
{
    ASSERT(!waiter->is_waiting);
    waiter->is_waiting = true;
    TAILQ_INSERT_TAIL(&client->next, waiter, link);
}

void oracle_client_forget(struct oracle_client *client, struct oracle_waiter *waiter)
{
    if (!waiter->is_waiting)
        return;
    waiter->is_waiting = false;
    /* A removal works on either list, but the last element's needs the right head. */
    struct oracle_waiter *other;
    TAILQ_FOREACH (other, &client->asked, link) {
        if (other == waiter) {
            TAILQ_REMOVE(&client->asked, waiter, link);
            return;
        }
    }
    TAILQ_REMOVE(&client->next, waiter, link);
}

void oracle_client_want(struct oracle_client *client)
{
    client->is_wanted = true;
}

/* The request got no answer that helps: who waited for it waits for the next. */
static void request_give_up(struct oracle_client *client)
{
    client->is_under_way = false;
    TAILQ_CONCAT(&client->asked, &client->next, link);
    TAILQ_CONCAT(&client->next, &client->asked, link);
}

static void request_refused(struct oracle_client *client, nanoseconds_t now_ns)
{
    request_give_up(client);
    client->not_before_ns = now_ns + client->backoff_ns;
    client->backoff_ns *= 2;
    if (client->backoff_ns > ORACLE_BACKOFF_NS_MAX)
        client->backoff_ns = ORACLE_BACKOFF_NS_MAX;
}

int oracle_client_answered(struct oracle_client *client, const struct frame *frame,
                           nanoseconds_t now_ns, timestamp_t *out_timestamp,
                           struct oracle_waiters *out_waiters)
{
    struct arena arena;
    arena_init(&arena);
    Ostraka__TimestampAnswer *answer = (Ostraka__TimestampAnswer *)message_unpack(
        &ostraka__timestamp_answer__descriptor, frame->message, &arena);
    int answer_status = answer ? answer->status : OST_OK;
    timestamp_t timestamp = answer ? answer->timestamp : 0;
    arena_fini(&arena);
    if (!answer || (answer_status == OST_OK && timestamp == 0))
        return OST_PROTOCOL;
    if (!client->is_under_way || frame->request_id != client->request_id)
        return OST_WOULD_BLOCK;
    if (RARE(ORACLE_ANSWER_LOST))
        return OST_WOULD_BLOCK;
    if (answer_status != OST_OK) {
        request_refused(client, now_ns);
        return OST_WOULD_BLOCK;
    }
    client->is_under_way = false;
    client->not_before_ns = 0;
    client->backoff_ns = ORACLE_BACKOFF_NS_MIN;
    TAILQ_INIT(out_waiters);
    TAILQ_CONCAT(out_waiters, &client->asked, link);
    struct oracle_waiter *waiter;
    TAILQ_FOREACH (waiter, out_waiters, link)
        waiter->is_waiting = false;
    *out_timestamp = timestamp;
    return OST_OK;
}

static bool request_is_needed(const struct oracle_client *client)
{
    return client->is_wanted || !TAILQ_EMPTY(&client->next);
}

void oracle_client_turn_ended(struct oracle_client *client, nanoseconds_t now_ns)
{
    if (client->is_under_way && now_ns >= client->sent_ns + ORACLE_RETRY_NS) {
        COVER(ORACLE_ASKED_AGAIN);
        bool was_for_nobody = TAILQ_EMPTY(&client->asked);
        request_give_up(client);
        /* It was sent to let the log's time go on, and that is still wanted. */
        client->is_wanted |= was_for_nobody;
    }
    if (client->is_under_way || !request_is_needed(client) || now_ns < client->not_before_ns)
        return;
    struct oracle_waiter *first = TAILQ_FIRST(&client->next);
    if (first && RARE(ORACLE_ASKED_FOR_ONE)) {
        TAILQ_REMOVE(&client->next, first, link);
        TAILQ_INSERT_TAIL(&client->asked, first, link);
    } else {
        TAILQ_CONCAT(&client->asked, &client->next, link);
    }
    client->is_wanted = false;
    client->is_under_way = true;
    client->sent_ns = now_ns;
    client->request_id++;
    client->metrics->oracle_requests_count++;
    Ostraka__TimestampRequest request = OSTRAKA__TIMESTAMP_REQUEST__INIT;
    request.count = 1;
    outbox_to_group(client->outbox, SHARD_MASTER_GROUP,
                    frame_encode(FRAME_TIMESTAMP, client->request_id, &request.base, NULL, 0));
}

nanoseconds_t oracle_client_deadline_ns(const struct oracle_client *client)
{
    if (client->is_under_way)
        return client->sent_ns + ORACLE_RETRY_NS;
    return request_is_needed(client) ? client->not_before_ns : NS_NEVER;
}
