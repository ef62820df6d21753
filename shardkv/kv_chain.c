/* kv_chain.c: a hash of everything that applying has done, in order (S7).
 *
 * Each entry adds a link: which entry it is, what it asked for, what was decided, and every effect
 * in logical form: writes with their timestamp, outcomes with their anchor, a range that was taken,
 * the safe point. Nothing of it knows how entries were cut into slices, which generation of rows
 * the replica has, or whether an entry is applied again after a crash. So replicas that have
 * applied the same entries have the same hash unless one of them has decided or written something
 * else: applying was not deterministic, or its memory or its store has lied. Every byte is hashed
 * once, where it is at hand.
 */
#include "shardkv/kv_group.h"

#include <xxhash.h>

static void chain_bytes(struct kv_meta *meta, struct bytes bytes)
{
    const void *data = bytes.data ? (const void *)bytes.data : "";
    meta->chain_hash = XXH3_64bits_withSeed(data, bytes.bytes_count, meta->chain_hash);
}

static void chain_words(struct kv_meta *meta, const uint64_t *words, size_t count)
{
    meta->chain_hash = XXH3_64bits_withSeed(words, count * sizeof(words[0]), meta->chain_hash);
}
#define CHAIN_WORDS(meta, ...)                                                                     \
    chain_words(meta, (const uint64_t[]){__VA_ARGS__},                                             \
                sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

void kv_chain_entry(struct kv_meta *meta, const struct raft_entry *entry, struct bytes asked)
{
    CHAIN_WORDS(meta, entry->index, entry->term, (uint64_t)entry->type, entry->log_timestamp,
                asked.bytes_count);
    if (asked.bytes_count > 0)
        chain_bytes(meta, asked);
}

static void chain_effect(struct kv_meta *meta, const struct record_effect *effect)
{
    switch (effect->type) {
    case RECORD_APPLY_WRITES:
        CHAIN_WORDS(meta, (uint64_t)effect->type, effect->txn.client, effect->txn.sequence,
                    effect->timestamp);
        chain_bytes(meta, effect->write_set);
        return;
    case RECORD_PUT_OUTCOME:
        CHAIN_WORDS(meta, (uint64_t)effect->type, effect->txn.client, effect->txn.sequence,
                    (uint64_t)effect->outcome.state, effect->outcome.commit_timestamp,
                    effect->outcome.deadline);
        chain_bytes(meta, effect->anchor);
        return;
    }
    ASSERT(!"an effect of an unknown type");
}

void kv_chain_update(struct kv_meta *meta, const struct record_update *update,
                     struct bytes write_set)
{
    const struct record_decision *decision = &update->decision;
    CHAIN_WORDS(meta, (uint64_t)(int64_t)decision->status, (uint64_t)decision->state,
                decision->commit_timestamp,
                (uint64_t)decision->changed | (uint64_t)update->prepared << 1 |
                    (uint64_t)update->finished << 2,
                update->effects_count);
    /* What is prepared is kept, and is an effect without a row. */
    if (update->prepared)
        chain_bytes(meta, write_set);
    for (uint32_t index = 0; index < update->effects_count; index++)
        chain_effect(meta, &update->effects[index]);
}

void kv_chain_range(struct kv_meta *meta, bool is_done)
{
    CHAIN_WORDS(meta, is_done);
}

void kv_chain_rows(struct kv_meta *meta, bool is_done, struct bytes rows)
{
    CHAIN_WORDS(meta, is_done);
    if (rows.bytes_count > 0)
        chain_bytes(meta, rows);
}

void kv_chain_safe_point(struct kv_meta *meta)
{
    CHAIN_WORDS(meta, meta->safe_point);
}
