/* txn_id.h: who a transaction is, and how old. */
#pragma once

#include "base/bytes.h"
#include "base/types.h"
#include "proto/kv.pb-c.h"

#include <stdbool.h>

/* Each try of a transaction has an id of its own. Plain memory, no padding: it is a hash key. */
struct txn_id {
    uint64_t client;
    uint64_t sequence;
};

/* T2: kept over the tries of one transaction. Smaller is older; the order is total. */
struct txn_age {
    timestamp_t timestamp;
    uint64_t client;
    uint64_t sequence;
};

static inline bool txn_id_equal(struct txn_id a, struct txn_id b)
{
    return a.client == b.client && a.sequence == b.sequence;
}
/* <0: a is older. */
static inline int txn_age_compare(const struct txn_age *a, const struct txn_age *b)
{
    if (a->timestamp != b->timestamp)
        return a->timestamp < b->timestamp ? -1 : 1;
    if (a->client != b->client)
        return a->client < b->client ? -1 : 1;
    return a->sequence == b->sequence ? 0 : a->sequence < b->sequence ? -1 : 1;
}

/* NULL gives zeros: proto3 leaves out what is empty. */
struct txn_id txn_id_of_message(const Ostraka__TxnId *message);
struct txn_age txn_age_of_message(const Ostraka__TxnAge *message);
void txn_id_to_message(struct txn_id id, Ostraka__TxnId *out_message);
void txn_age_to_message(const struct txn_age *age, Ostraka__TxnAge *out_message);
