/* bank.h: the bank: accounts spread over the groups, and clients that move money between them.
 *
 * An account is one row, `bank/000042` = "balance transfers". Each transfer is one transaction that
 * reads two accounts for update, moves a random amount, and adds one to the transfers of both. So a
 * consistent read of all accounts proves two things: the balances add up to what was there before,
 * and half the sum of the transfers is the number of transfers applied, to be compared with those
 * acknowledged.
 *
 * The clients are small state machines on the library's asynchronous calls: thousands need no
 * thread. Each goes on until it knows the outcome of its transfer, whatever is killed meanwhile.
 */
#pragma once

#include "cmd/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct history_recorder;
struct ost_client;
struct bank;

#define BANK_WHY_BYTES          256
#define BANK_KEY_BYTES          16 /* with the terminating zero */
#define BANK_ACCOUNTS_COUNT_MAX 1000000u
#define BANK_GROUPS_COUNT_MAX   64u
#define BANK_STATUSES_COUNT     80u

struct bank_options {
    uint32_t accounts_count;  /* 1000 */
    uint32_t clients_count;   /* 64: transfers under way at a time */
    uint32_t cross_percent;   /* 80: transfers between accounts of different groups */
    uint64_t balance_initial; /* 1000, in each account */
    uint64_t seed;            /* 1: what the clients draw */
    /* Transfers and audits are recorded (history.h); borrowed; NULL: not. A transfer is invoked
     * when its commit is sent, as only then its amount is known, and nothing happens before. */
    struct history_recorder *history;
};

void bank_options_default(struct bank_options *out_options);

/* "bank/000042"; returns `key`. */
char *bank_key(uint32_t account, char key[BANK_KEY_BYTES]);

/* Writes every account anew, in batched transactions. All below return 0 or a code of
 * ostraka_status.h, with one line for people in `out_why` (BANK_WHY_BYTES). Retries until
 * `timeout_ms` is over. */
int bank_load(struct ost_client *client, const struct bank_options *options, uint32_t timeout_ms,
              char *out_why);

/* What one consistent read of all accounts says. */
struct bank_audit {
    uint32_t accounts_count;
    uint64_t balances_sum;
    uint64_t transfers_sum; /* two for each transfer applied */
};
/* OST_CORRUPT when an account is missing or no account at all. */
int bank_audit(struct ost_client *client, const struct bank_options *options, uint32_t timeout_ms,
               struct bank_audit *out_audit, char *out_why);

struct bank_statistics {
    uint64_t acknowledged_count;
    uint64_t cross_group_count; /* of the acknowledged, as the library counted groups */
    uint64_t unknown_count;     /* the outcome was not learnt before bank_stop's time was over */
    uint64_t maybe_committed_count;                 /* how often the outcome had to be asked for */
    uint64_t aborts_count;                          /* tries that ended in a retryable code */
    uint64_t aborts_by_status[BANK_STATUSES_COUNT]; /* by the negated code */
    struct histogram latency_ns;                    /* from the first try to the acknowledgement */
};

/* Starts the clients. They stop at the first error that is neither retryable nor an unknown
 * outcome. */
int bank_start(struct ost_client *client, const struct bank_options *options,
               struct bank **out_bank, char *out_why);
/* From the start, or with `interval`, since the last call with `interval`. */
void bank_read_statistics(struct bank *bank, bool interval, struct bank_statistics *out_statistics);
/* The longest time without an acknowledged transfer since the last bank_gap_begin, the one that
 * still lasts included: of all transfers, and of those that touch the group where it was longest.
 */
struct bank_gap {
    uint64_t any_ns;
    uint64_t group_ns;
    uint64_t group;
};
void bank_gap_begin(struct bank *bank);
void bank_gap_read(struct bank *bank, struct bank_gap *out_gap);
/* Is any client stopped by an error? `out_why` tells. */
int bank_error(struct bank *bank, char *out_why);
/* Lets each client end its transfer, and waits for it; after `timeout_ms` outcomes still not known
 * are counted as unknown. */
int bank_stop(struct bank *bank, uint32_t timeout_ms, char *out_why);
/* After bank_stop. NULL is fine. */
void bank_free(struct bank *bank);

/* Is the money all there, and is every acknowledged transfer applied, exactly once? OST_OK or
 * OST_CORRUPT; `out_why` has the figures either way. `out_applied` may be NULL. */
int bank_verdict(const struct bank_audit *before, const struct bank_audit *after,
                 const struct bank_statistics *statistics, uint64_t *out_applied, char *out_why);

/* A monotonic clock. */
uint64_t bank_now_ns(void);
