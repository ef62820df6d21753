/* crowd.h: what the clients of a workload have in common (bank.h, workload.h): they go on until
 * somebody asks them to stop or one of them meets an error, and whoever asked waits for the last
 * one to end. Safe from any thread.
 */
#pragma once

#include "base/random.h"
#include "client/ostraka.h"

#include <pthread.h>

#define CROWD_WHY_BYTES 256

struct crowd {
    pthread_mutex_t mutex; /* guards all below, and whatever the owner says */
    pthread_cond_t idle;
    uint32_t active_count;
    bool is_stopping;
    bool is_abandoning; /* outcomes are not waited for any longer */
    int error;          /* the first; OST_OK: none */
    char why[CROWD_WHY_BYTES];
};

/* Nobody is in it yet. */
void crowd_init(struct crowd *crowd);
/* All have left. */
void crowd_fini(struct crowd *crowd);
/* Before the first of them begins: as many will leave. */
void crowd_enter(struct crowd *crowd, uint32_t count);

/* Are the clients to end? `out_abandon`: even those that do not know their outcome yet. */
bool crowd_is_stopping(struct crowd *crowd, bool *out_abandon);
/* "cannot DOING: STATUS: what the transaction says"; the first such line is kept, and all stop.
 * `txn` may be NULL. The one that failed still has to leave. */
void crowd_fail(struct crowd *crowd, int status, const char *doing, struct ost_txn *txn);
/* The last thing that a client does. */
void crowd_leave(struct crowd *crowd);

/* The first error, with its line in `out_why` (CROWD_WHY_BYTES). OST_OK: none. */
int crowd_error(struct crowd *crowd, char *out_why);
/* Lets each client end what it does; what has not ended after `timeout_ms` is given up. As
 * crowd_error. */
int crowd_stop(struct crowd *crowd, uint32_t timeout_ms, char *out_why);

/* How long who lost a conflict rests before it tries again: random, and longer each time. */
uint32_t crowd_rest_ms(struct random *random, uint32_t tries_count);
