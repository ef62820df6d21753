/* hot_key.h: everybody wants one key: each of many reads it for update, writes it, and begins
 * again. What is measured beside the cost is how evenly they get their turns. */
#pragma once

#include "client/ostraka.h"
#include "cmd/histogram.h"

#include <stdint.h>

struct hot_key;

struct hot_key_shares {
    uint64_t operations_count, aborts_count;
    uint64_t least, most; /* of one runner */
    double mean;
    struct histogram latency_ns; /* of one operation, its tries included */
};

/* `runners_count` transactions at a time, spread over the clients (borrowed). NULL: one could not
 * begin; `out_status` says why. */
struct hot_key *hot_key_start(struct ost_client **clients, uint32_t clients_count,
                              uint32_t runners_count, int *out_status);
/* Since the start, or since the last call with `is_reset`. */
void hot_key_read(struct hot_key *hot, bool is_reset, struct hot_key_shares *out_shares);
/* Waits for what is under way. The first error that was none to try again after. */
int hot_key_stop(struct hot_key *hot);
/* The key holds the number of commits: none was lost, none was done twice. False: it does not;
 * where an outcome was not known, it may hold so many more. */
bool hot_key_check(struct hot_key *hot, struct ost_client *client);
void hot_key_free(struct hot_key *hot);
