/* client_process.h: one client's process: hosts a client core as client/runtime.c does, and the
 * actors that use it. It may be killed in the middle of anything; another takes its place. */
#pragma once

#include "client/client_core.h"
#include "tests/sim/clock.h"
#include "tests/sim/schedule.h"

struct sim;
struct actor;

struct client_process {
    struct sim *sim;
    uint32_t host;
    uint32_t number;
    uint64_t incarnation;
    struct client_core *core; /* NULL: it is not there */
    struct sim_clock clock;
    struct random random;
    char endpoints[192];
    nanoseconds_t wake_at_ns; /* NS_NEVER: no timer is planned */
    uint64_t wake_number;
    bool is_dying;  /* completions are for nobody */
    bool is_doomed; /* it dies after this step, and has sent its last frame */
    struct operation_queue submitted;
    bool is_stepping;

    struct actor *actors;
    uint32_t actors_count;
};

void client_process_init(struct client_process *client, struct sim *sim, uint32_t number,
                         uint32_t actors_count);
void client_process_fini(struct client_process *client);
void client_process_start(struct client_process *client);
/* What its actors had under way ends as far as anybody can know. */
void client_process_kill(struct client_process *client);
/* Takes it; `done` comes later, or never when the process is killed. */
void client_process_submit(struct client_process *client, struct operation *operation_take,
                           void (*done)(struct operation *operation), void *context);
/* Lets go of `*txn`, which may be NULL: the core frees it, unless it never heard of it. */
void client_process_drop_txn(struct client_process *client, struct core_txn **txn,
                             bool is_handed_over);
