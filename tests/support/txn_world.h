/* txn_world.h: a participant on virtual time, and the ledger of what it answered. Transactions are
 * small numbers: number t is as old as t says, and its id is {1, t}. */
#pragma once

#include "txn/participant.h"

#define WORLD_TOKENS_MAX 65536u
#define WORLD_TXNS_MAX   2048u

struct world_answer {
    uint32_t count; /* never above 1 */
    bool is_granted, is_refused, is_bound;
    bool needs_timestamp;
    int status;
    struct participant_reason reason; /* its key is not kept */
    char key[32];
};

struct world {
    struct participant *participant;
    struct participant_update update;
    nanoseconds_t now_ns;
    uint64_t token_last;
    struct world_answer answers[WORLD_TOKENS_MAX];
    struct lock_entry_number entries[WORLD_TXNS_MAX]; /* as told with the grants */
    uint32_t wounded_count, inquiries_count;
    uint64_t inquiry_last; /* txn */
};

struct world *world_new(const struct participant_options *options); /* leads term 7 */
void world_free(struct world *world);
/* Runs it, enters the answers, and checks the invariants. */
void world_step(struct world *world, struct participant_event event);
/* Lets time pass, with a TIMER event at each deadline. */
void world_pass_ms(struct world *world, uint64_t ms);

/* Each returns its token. Requests name the entry that the transaction was told of. */
uint64_t world_lock(struct world *world, uint64_t txn, const char *key, enum lock_mode mode);
uint64_t world_scan(struct world *world, uint64_t txn, const char *start, const char *end,
                    enum lock_mode mode);
uint64_t world_read(struct world *world, const char *key);
/* `keys`: one letter each, ascending. */
uint64_t world_prepare(struct world *world, uint64_t txn, const char *keys);
/* With what it has read and not locked. */
uint64_t world_prepare_checked(struct world *world, uint64_t txn, const char *keys,
                               const struct lock_target *checks, uint32_t checks_count);
uint64_t world_ask(struct world *world, enum participant_event_type type, uint64_t txn);
/* TIMESTAMP for the token; PREPARED, FINISHED for the transaction. */
void world_bind(struct world *world, uint64_t token);
void world_tell(struct world *world, enum participant_event_type type, uint64_t txn);

bool world_is_open(const struct world *world, uint64_t token);
bool world_is_granted(const struct world *world, uint64_t token);
bool world_is_bound(const struct world *world, uint64_t token);
bool world_needs_timestamp(const struct world *world, uint64_t token);
/* Its status if it was refused, else OST_OK. */
int world_refusal(const struct world *world, uint64_t token);
