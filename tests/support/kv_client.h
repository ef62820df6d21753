/* kv_client.h: what a client asks of the leaders of a kv_world, request by request. */
#pragma once

#include "tests/support/kv_world.h"

/* What a transaction's requests to one group share. */
struct kv_part {
    group_id_t group;
    const char *range_start;
    uint64_t epoch;
    uint64_t sequence; /* the transaction's */
    const char *anchor;
    bool is_home;
    bool one_group;
    const char *participant; /* to home: the other's key */
    struct lock_entry_number entry;
    timestamp_t deadline;
};

extern uint64_t kv_client_last_sequence; /* of the transactions of kv_client_put */
ProtobufCBinaryData kv_field(const char *text);
struct bytes kv_client_write(struct kv_world *world, const char *key, const char *value);
uint64_t kv_client_send_prepare(struct kv_world *world, store_id_t store,
                                const struct kv_part *part, struct bytes write_set);
const Ostraka__PrepareAnswer *kv_client_wait_prepare(struct kv_world *world, uint64_t request_id);
const Ostraka__PrepareAnswer *kv_client_prepare(struct kv_world *world, const struct kv_part *part,
                                                struct bytes write_set);
const Ostraka__PrepareAnswer *kv_client_put(struct kv_world *world, group_id_t group,
                                            const char *start, const char *key, const char *value);
uint64_t kv_client_send_get(struct kv_world *world, store_id_t store, group_id_t group,
                            const char *start, uint64_t epoch, const char *key);
const Ostraka__GetAnswer *kv_client_wait_get(struct kv_world *world, uint64_t request_id,
                                             struct bytes *out_value);
void kv_client_expect_get(struct kv_world *world, group_id_t group, const char *start,
                          const char *key, const char *expected);
const Ostraka__LockAnswer *kv_client_lock(struct kv_world *world, struct kv_part *part,
                                          const char *key, bool exclusive, struct bytes *out_value);
const Ostraka__CommitAnswer *kv_client_commit(struct kv_world *world, const struct kv_part *part,
                                              timestamp_t timestamp);
const Ostraka__AbortAnswer *kv_client_abort(struct kv_world *world, const struct kv_part *part,
                                            const char *anchor);
/* Logs a command as a leader would, past the checks that it makes. Does not run the world. */
void kv_client_log_command(struct kv_world *world, group_id_t group,
                           const Ostraka__KvCommand *command, struct bytes write_set);
/* Logs a Prepare of `part` with another anchor, that writes "never" to `key`, past the checks that
 * a leader makes. */
void kv_client_log_prepare(struct kv_world *world, const struct kv_part *part, const char *anchor,
                           const char *key);
