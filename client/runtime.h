/* runtime.h: the client's thread: an io_uring loop that hosts the core, and the way to it for
 * others.
 *
 * Other threads put operations into a queue behind a mutex, and wake the loop when the queue was
 * empty. Completions run on the client's thread, right after the step that made them, while what
 * they borrow is still there. What a completion submits goes into a queue of the thread's own:
 * steps never nest.
 */
#pragma once

#include "client/client_core.h"
#include "client/ostraka.h"

#include <stdatomic.h>

#define OPERATIONS_COUNT_MAX 65536u

/* Opens or fails; the thread runs on success. */
OST_MUST_CHECK int runtime_open(const struct client_core_options *options, uint64_t backoff_seed,
                                struct ost_client **out_client);
/* Every operation ends, then the thread. The memory stays for transactions that still refer to it.
 */
void runtime_close(struct ost_client *client);
void runtime_ref(struct ost_client *client);
void runtime_unref(struct ost_client *client);

bool runtime_is_own_thread(const struct ost_client *client);
struct client_core *runtime_core(struct ost_client *client);
const struct client_core_options *runtime_options(const struct ost_client *client);
/* A random number below `bound`, from any thread. */
uint64_t runtime_random_below(struct ost_client *client, uint64_t bound);

/* Takes the operation when it returns OST_OK; `operation->done` will run once. OST_BUSY: too many
 * are under way (never for a DROP); OST_CANCELED: closed. The operation is freed then. */
OST_MUST_CHECK int runtime_submit(struct ost_client *client, struct operation *operation_take);

/* Submits and waits. `copy` runs on the client's thread, with the result; then the operation is
 * freed. */
OST_MUST_CHECK int runtime_call(struct ost_client *client, struct operation *operation_take,
                                void (*copy)(struct operation *operation, void *context),
                                void *context);
