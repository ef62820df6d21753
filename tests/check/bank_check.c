#include "tests/check/bank_check.h"

#include "base/arena.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define EVENT_TEXT_BYTES 160

__extension__ typedef __int128 wide_t; /* sums of numbers up to HISTORY_NUMBER_MAX */

/* What transfers may have done to one account so far. What is given and what is taken are summed
 * apart, so that both bounds of what a read may show can be told. */
struct account_sums {
    wide_t given;
    wide_t taken;
    uint64_t count;
};

struct account {
    int64_t id;
    uint32_t index;
    wide_t initial;
    uint64_t initial_count;
    struct account_sums begun; /* by transfers that were invoked, and did not fail */
    struct account_sums done;  /* by acknowledged ones */
    bool shown;                /* by the read that is being judged */
    UT_hash_handle hh;
};

struct checker {
    const struct history *history;
    const struct bank_check_options *options;
    struct check_result *result;
    struct arena arena;
    struct account *accounts;
    uint32_t accounts_count;
    uint32_t read_accounts_count; /* those that some read shows have the lowest indices */
    bool total_known;
    wide_t total;
    bool initial_known;
    bool counters_known;
    uint64_t transfers_begun_count;
};

static struct account *account_find(const struct checker *checker, int64_t id)
{
    struct account *account;
    HASH_FIND(hh, checker->accounts, &id, sizeof id, account);
    return account;
}

static struct account *account_add(struct checker *checker, int64_t id)
{
    struct account *account = account_find(checker, id);
    if (account)
        return account;
    account = arena_alloc_zeroed(&checker->arena, sizeof *account);
    account->id = id;
    account->index = checker->accounts_count++;
    account->initial = checker->options->initial;
    HASH_ADD(hh, checker->accounts, id, sizeof account->id, account);
    return account;
}

static bool is_read(const struct history_event *event)
{
    return event->function == HISTORY_READ || event->function == HISTORY_COUNTERS;
}

/* All accounts, those of reads first. */
static void collect_accounts(struct checker *checker)
{
    size_t count = history_operations_count(checker->history);
    for (size_t i = 0; i < count; i++) {
        const struct history_operation *operation = history_operation(checker->history, i);
        if (history_outcome(operation) != HISTORY_OK || !is_read(operation->completion))
            continue;
        for (uint32_t j = 0; j < operation->completion->ops_count; j++)
            (void)account_add(checker, operation->completion->ops[j].key);
    }
    checker->read_accounts_count = checker->accounts_count;
    for (size_t i = 0; i < count; i++) {
        const struct history_operation *operation = history_operation(checker->history, i);
        const struct history_event *invoke = operation->invoke;
        if (invoke->function != HISTORY_TRANSFER || history_outcome(operation) == HISTORY_FAIL)
            continue;
        (void)account_add(checker, invoke->from);
        (void)account_add(checker, invoke->to);
    }
}

static void add_part(struct account_sums *sums, wide_t amount)
{
    if (amount > 0)
        sums->given += amount;
    else
        sums->taken -= amount;
    sums->count++;
}

static void add_transfer(struct checker *checker, const struct history_event *transfer, bool done)
{
    wide_t amount = transfer->from == transfer->to ? 0 : transfer->amount;
    struct account *from = account_find(checker, transfer->from);
    struct account *to = account_find(checker, transfer->to);
    add_part(done ? &from->done : &from->begun, -amount);
    add_part(done ? &to->done : &to->begun, amount);
}

static const char *read_text(const struct history_operation *operation, char *text)
{
    char event[EVENT_TEXT_BYTES - 48];
    history_print_event(operation->completion, event, sizeof event);
    (void)snprintf(text, EVENT_TEXT_BYTES, "events %" PRIu64 "-%" PRIu64 ": %s",
                   operation->invoke->index, operation->completion->index, event);
    return text;
}

/* Every account once. */
static bool judge_accounts(struct checker *checker, const struct history_operation *operation)
{
    const struct history_event *read = operation->completion;
    char text[EVENT_TEXT_BYTES];
    struct account *account, *next;
    bool good = true;
    HASH_ITER (hh, checker->accounts, account, next)
        account->shown = false;
    for (uint32_t i = 0; i < read->ops_count && good; i++) {
        account = account_find(checker, read->ops[i].key);
        good = !account->shown;
        account->shown = true;
        if (!good)
            check_result_violation(checker->result, "duplicate-account",
                                   "a read shows account %" PRId64 " twice (%s)", account->id,
                                   read_text(operation, text));
    }
    HASH_ITER (hh, checker->accounts, account, next) {
        if (!good || account->shown)
            continue;
        good = false;
        check_result_violation(checker->result, "missing-account",
                               "a read does not show account %" PRId64 " (%s)", account->id,
                               read_text(operation, text));
    }
    return good;
}

static void judge_total(struct checker *checker, const struct history_operation *operation)
{
    const struct history_event *read = operation->completion;
    char text[EVENT_TEXT_BYTES];
    wide_t total = 0;
    for (uint32_t i = 0; i < read->ops_count; i++) {
        total += read->ops[i].value;
        if (read->ops[i].value < 0 && !checker->options->negative_allowed)
            check_result_violation(checker->result, "negative-balance",
                                   "account %" PRId64 " has %" PRId64 " (%s)", read->ops[i].key,
                                   read->ops[i].value, read_text(operation, text));
    }
    if (!checker->total_known) {
        checker->total_known = true;
        checker->total = total;
    }
    if (total != checker->total)
        check_result_violation(checker->result, "wrong-total",
                               "a read adds up to %" PRId64 " instead of %" PRId64 " (%s)",
                               (int64_t)total, (int64_t)checker->total, read_text(operation, text));
}

/* `before`: what was done when the read began, by account. What has begun by now is all that the
 * read may show. */
static void judge_balances(struct checker *checker, const struct history_operation *operation,
                           const struct account_sums *before)
{
    const struct history_event *read = operation->completion;
    char text[EVENT_TEXT_BYTES];
    for (uint32_t i = 0; i < read->ops_count; i++) {
        const struct account *account = account_find(checker, read->ops[i].key);
        const struct account_sums *done = &before[account->index];
        wide_t lowest = account->initial + done->given - account->begun.taken;
        wide_t highest = account->initial + account->begun.given - done->taken;
        if (read->ops[i].value < lowest || read->ops[i].value > highest)
            check_result_violation(checker->result, "impossible-balance",
                                   "account %" PRId64 " shows %" PRId64
                                   "; with every transfer applied once it has %" PRId64
                                   " to %" PRId64 " (%s)",
                                   account->id, read->ops[i].value, (int64_t)lowest,
                                   (int64_t)highest, read_text(operation, text));
    }
}

static void judge_counters(struct checker *checker, const struct history_operation *operation,
                           const struct account_sums *before)
{
    const struct history_event *read = operation->completion;
    char text[EVENT_TEXT_BYTES];
    for (uint32_t i = 0; i < read->ops_count; i++) {
        const struct account *account = account_find(checker, read->ops[i].key);
        wide_t lowest = (wide_t)account->initial_count + before[account->index].count;
        wide_t highest = (wide_t)account->initial_count + account->begun.count;
        if (read->ops[i].value >= lowest && read->ops[i].value <= highest)
            continue;
        bool lost = read->ops[i].value < lowest;
        check_result_violation(checker->result, lost ? "lost-transfer" : "duplicate-transfer",
                               "account %" PRId64 " counts %" PRId64
                               " transfers; it was in %" PRId64 " to %" PRId64 " (%s)",
                               account->id, read->ops[i].value, (int64_t)lowest, (int64_t)highest,
                               read_text(operation, text));
    }
}

/* What the accounts held before the first transfer, from a read that none precedes or overlaps. */
static void learn_initial(struct checker *checker, const struct history_event *read)
{
    bool *known =
        read->function == HISTORY_READ ? &checker->initial_known : &checker->counters_known;
    for (uint32_t i = 0; i < read->ops_count && !*known; i++) {
        struct account *account = account_find(checker, read->ops[i].key);
        if (read->function == HISTORY_READ)
            account->initial = read->ops[i].value;
        else
            account->initial_count = read->ops[i].value < 0 ? 0 : (uint64_t)read->ops[i].value;
    }
    *known = true;
}

static void judge_read(struct checker *checker, const struct history_operation *operation,
                       const struct account_sums *before)
{
    const struct history_event *read = operation->completion;
    if (!judge_accounts(checker, operation))
        return;
    if (checker->transfers_begun_count == 0)
        learn_initial(checker, read);
    if (read->function == HISTORY_COUNTERS) {
        judge_counters(checker, operation, before);
        return;
    }
    judge_total(checker, operation);
    if (checker->initial_known)
        judge_balances(checker, operation, before);
}

static struct account_sums *sums_now(const struct checker *checker)
{
    struct account_sums *sums = memory_alloc(((size_t)checker->accounts_count + 1) * sizeof *sums);
    struct account *account, *next;
    HASH_ITER (hh, checker->accounts, account, next)
        sums[account->index] = account->done;
    return sums;
}

/* Through the events in their order. */
static void sweep(struct checker *checker)
{
    size_t events_count = history_events_count(checker->history);
    size_t operations_count = history_operations_count(checker->history);
    size_t *by_event = memory_alloc((events_count + 1) * sizeof *by_event);
    struct account_sums **before = memory_alloc_zeroed(operations_count + 1, sizeof *before);
    for (size_t i = 0; i < operations_count; i++) {
        const struct history_operation *operation = history_operation(checker->history, i);
        by_event[operation->invoke->index] = i;
        if (operation->completion)
            by_event[operation->completion->index] = i;
    }
    for (size_t i = 0; i < events_count; i++) {
        size_t index = by_event[i];
        const struct history_operation *operation = history_operation(checker->history, index);
        const struct history_event *invoke = operation->invoke;
        bool begins = invoke->index == i;
        enum history_type outcome = history_outcome(operation);
        if (invoke->function == HISTORY_TRANSFER && begins && outcome != HISTORY_FAIL) {
            checker->transfers_begun_count++;
            add_transfer(checker, invoke, false);
        } else if (invoke->function == HISTORY_TRANSFER && !begins && outcome == HISTORY_OK) {
            add_transfer(checker, invoke, true);
        } else if (is_read(invoke) && begins && outcome == HISTORY_OK) {
            before[index] = sums_now(checker);
        } else if (is_read(invoke) && !begins && outcome == HISTORY_OK) {
            judge_read(checker, operation, before[index]);
            free(before[index]);
        }
    }
    free(before);
    free(by_event);
}

void bank_check(const struct history *history, const struct bank_check_options *options,
                struct check_result *out)
{
    static const struct bank_check_options defaults = {0};
    struct checker checker = {
        .history = history, .options = options ? options : &defaults, .result = out};
    check_result_init(out);
    arena_init(&checker.arena);
    checker.total_known = checker.options->total_known;
    checker.total = checker.options->total;
    checker.initial_known = checker.options->initial_known;
    collect_accounts(&checker);
    if (checker.initial_known && !checker.total_known) {
        checker.total_known = true;
        checker.total = (wide_t)checker.options->initial * checker.accounts_count;
    }
    for (size_t i = 0; i < history_operations_count(history); i++) {
        const struct history_operation *operation = history_operation(history, i);
        bool judged = operation->invoke->function != HISTORY_TXN;
        out->judged_count += judged;
        out->unknown_count += judged && history_outcome(operation) == HISTORY_INFO;
    }
    sweep(&checker);
    if (checker.read_accounts_count == 0)
        check_result_undecided(out, "no-read", "no read of the accounts succeeded");
    HASH_CLEAR(hh, checker.accounts);
    arena_fini(&checker.arena);
}
