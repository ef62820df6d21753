#include "txn/txn_id.h"

struct txn_id txn_id_of_message(const Ostraka__TxnId *message)
{
    struct txn_id id = {0, 0};
    if (message) {
        id.client = message->client;
        id.sequence = message->sequence;
    }
    return id;
}

struct txn_age txn_age_of_message(const Ostraka__TxnAge *message)
{
    struct txn_age age = {0, 0, 0};
    if (message) {
        age.timestamp = message->timestamp;
        age.client = message->client;
        age.sequence = message->sequence;
    }
    return age;
}

void txn_id_to_message(struct txn_id id, Ostraka__TxnId *out_message)
{
    ostraka__txn_id__init(out_message);
    out_message->client = id.client;
    out_message->sequence = id.sequence;
}

void txn_age_to_message(const struct txn_age *age, Ostraka__TxnAge *out_message)
{
    ostraka__txn_age__init(out_message);
    out_message->timestamp = age->timestamp;
    out_message->client = age->client;
    out_message->sequence = age->sequence;
}
