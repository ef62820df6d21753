/* kv_keys.h: which rows a store holds, and how their keys are written.
 *
 *     01                                        StoreIdentity; the process writes it
 *     02 group                                  GroupMeta
 *     03 group generation 'd' user-key ~ts      a version: u8 kind (write_set.h), value
 *     03 group generation 'p' txn               u32 message bytes, PreparedCommand, write set
 *     03 group generation 'o' txn               TxnRecord that is open, at home
 *     03 group generation 'r' anchor txn        u64 log index, TxnRecord that is an outcome
 *     03 group generation 'w' start             RangeRow
 *     04 name                                   rows of the shard master
 *
 * Meta, 'p', 'o' and 'w' rows are written by checkpoints (kv_checkpoint.c). 'r' rows that come with
 * a range are put as the least (kv_steps.c).
 *
 * group is a u64, generation a u32, txn two u64 (client, sequence), ~ts the complement of a u64,
 * all big endian: the newest version of a key comes first. User keys and anchors that something
 * follows are escaped (S2): 00 becomes 00 FF, and 00 01 ends them. That keeps byte order, and no
 * escaped key is a prefix of another.
 *
 * What may be dropped, by whom and when. By a compaction filter: versions that a newer one at or
 * below the group's safe point (GroupMeta) shadows, never a delete marker; outcomes whose deadline
 * + OUTCOME_KEPT_MS lies below the group's log timestamp, which count as absent already. By a
 * sweeper, in one batch: a delete marker at or below the safe point with all that it shadows. By
 * the loader: every generation that is not the one in the meta row. Nothing else, ever.
 */
#pragma once

#include "base/buffer.h"
#include "base/types.h"
#include "txn/txn_id.h"

enum kv_row_table {
    KV_TABLE_STORE_IDENTITY = 0x01,
    KV_TABLE_GROUP_META = 0x02,
    KV_TABLE_GROUP_ROWS = 0x03,
    KV_TABLE_MASTER = 0x04,
};

enum kv_row_kind {
    KV_ROW_DATA = 'd',
    KV_ROW_OPEN = 'o',
    KV_ROW_PREPARED = 'p',
    KV_ROW_OUTCOME = 'r',
    KV_ROW_RANGE = 'w',
};

/* Table, group, generation: what comes before the kind. */
#define KV_GENERATION_PREFIX_BYTES 13u
/* Of a row's key, what follows the generation. */
static inline struct bytes kv_key_tail(struct bytes row_key)
{
    return bytes_from(row_key, KV_GENERATION_PREFIX_BYTES);
}
#define KV_TIMESTAMP_BYTES 8u

/* Each of these replaces what is in `out_key`. */
void kv_key_store_identity(struct buffer *out_key);
void kv_key_master(struct buffer *out_key, struct bytes name);
void kv_key_group_meta(struct buffer *out_key, group_id_t group);
/* All rows of a generation lie in [prefix of it, prefix of the next). */
void kv_key_generation(struct buffer *out_key, group_id_t group, uint32_t generation);
/* All rows of one kind lie in [kind, the byte after it). */
void kv_key_kind(struct buffer *out_key, group_id_t group, uint32_t generation, uint8_t kind);
/* Without a timestamp: what all versions of the key begin with, and nothing else does. */
void kv_key_data_prefix(struct buffer *out_key, group_id_t group, uint32_t generation,
                        struct bytes user_key);
void kv_key_data(struct buffer *out_key, group_id_t group, uint32_t generation,
                 struct bytes user_key, timestamp_t timestamp);
void kv_key_prepared(struct buffer *out_key, group_id_t group, uint32_t generation,
                     struct txn_id txn);
void kv_key_open(struct buffer *out_key, group_id_t group, uint32_t generation, struct txn_id txn);
void kv_key_outcome(struct buffer *out_key, group_id_t group, uint32_t generation,
                    struct bytes anchor, struct txn_id txn);
void kv_key_range(struct buffer *out_key, group_id_t group, uint32_t generation,
                  struct bytes start);

/* The key of a row of a group in its parts. False: it is none. `out_rest` is what follows the kind,
 * borrowed. */
struct kv_row_key {
    group_id_t group;
    uint32_t generation;
    uint8_t kind;
    struct bytes rest;
};
bool kv_key_parse(struct bytes key, struct kv_row_key *out_parts);
/* Of a data row: the user key, unescaped (it replaces what is in the buffer), and the timestamp.
 * False: malformed. */
bool kv_key_parse_data(struct bytes key, struct buffer *out_user_key, timestamp_t *out_timestamp);

/* Appends the escaped form with its end. */
void kv_key_escape(struct buffer *buffer, struct bytes key);
/* Reads one escaped key, end included, and appends the plain form. */
bool kv_key_unescape(struct reader *reader, struct buffer *out_key);

/* How many bytes of a row's key its bloom filter and its prefix seeks go by: a data row's without
 * the timestamp, every other's whole (S3). */
size_t kv_key_prefix_bytes(struct bytes key);
