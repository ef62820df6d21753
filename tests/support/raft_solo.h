/* raft_solo.h: one core with its update, for tests that play all the others by hand. Members are
 * the replicas 1.. on stores 101..; the core is replica 1 unless said otherwise. Persisting and
 * time are up to the test. */
#pragma once

#include "raft/raft.h"

struct solo {
    struct raft *raft;
    struct raft_options options;
    struct raft_update update; /* of the last step */
    nanoseconds_t now_ns;
    uint64_t persist_id_last; /* the newest that any update gave */
};

/* A new replica 1 among `voters_count`, in term 0 with an empty log. */
void solo_init(struct solo *solo, uint32_t voters_count);
void solo_fini(struct solo *solo);

int solo_step(struct solo *solo, struct raft_event *event);
int solo_receive(struct solo *solo, const struct raft_message *message);
int solo_event(struct solo *solo, enum raft_event_type type);
void solo_persisted(struct solo *solo, uint64_t persist_id);
/* Everything that was handed out so far is durable. */
void solo_persist_all(struct solo *solo);
int solo_propose(struct solo *solo, const char *payload);
/* Lets time pass until `ms` later, without telling the core. */
void solo_wait_ms(struct solo *solo, uint64_t ms);

/* Makes it leader of the next term by the votes of all; everything is durable, the opening entry is
 * handed out but not durable. */
void solo_lead(struct solo *solo);
/* An append of replica `from`; entries have these terms and payloads "term:index". */
int solo_append(struct solo *solo, replica_id_t from, raft_term_t term, raft_index_t index,
                raft_term_t index_term, const raft_term_t *terms, uint32_t terms_count,
                raft_index_t commit_index);
/* An answer that follows the last append to `from` at once. */
int solo_answer(struct solo *solo, replica_id_t from, raft_index_t match_index);

struct raft_status solo_status(const struct solo *solo);
/* The only message of this type to `to` in the last update, or any when `to` is 0; NULL: none. */
const struct raft_message *solo_sent(const struct solo *solo, enum raft_message_type type,
                                     replica_id_t to);
