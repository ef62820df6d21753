/* bank_check_test.c: small histories of a bank. */
#include "tests/check/bank_check.h"
#include "tests/support/history_story.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <string.h>

static struct check_result judge(const char *story, const struct bank_check_options *options)
{
    struct history *history = history_story(story);
    struct check_result result;
    bank_check(history, options, &result);
    history_free(history);
    return result;
}

static void demand(const char *story, const char *name)
{
    struct check_result result = judge(story, NULL);
    cr_assert_eq(result.verdict, CHECK_VIOLATION);
    cr_assert_str_eq(result.name, name, "%s", result.explanation);
}

static void demand_ok(const char *story)
{
    struct check_result result = judge(story, NULL);
    cr_assert_eq(result.verdict, CHECK_OK, "%s: %s", result.name, result.explanation);
}

#define START "9 invoke read null\n9 ok read {'1':10,'2':10}\n"
#define MOVE  "{'from':1,'to':2,'amount':3}\n"

Test(bank_check, a_transfer_under_way_may_be_seen_or_not)
{
    demand_ok(START "0 invoke transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':13}\n"
                    "0 ok transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':13}");
    demand_ok(START "0 invoke transfer " MOVE "1 invoke read null\n1 ok read {'1':10,'2':10}\n"
                    "0 ok transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':13}");
}

Test(bank_check, an_unknown_transfer_may_be_applied_late_or_never)
{
    demand_ok(START "0 invoke transfer " MOVE "0 info transfer null\n"
                    "1 invoke read null\n1 ok read {'1':10,'2':10}\n"
                    "1 invoke read null\n1 ok read {'1':7,'2':13}");
}

Test(bank_check, a_torn_read)
{
    demand(START "0 invoke transfer " MOVE "1 invoke read null\n1 ok read {'1':7,'2':10}",
           "wrong-total");
}

Test(bank_check, a_transfer_is_lost)
{
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke read null\n1 ok read {'1':10,'2':10}",
           "impossible-balance");
}

Test(bank_check, a_transfer_is_applied_twice)
{
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke read null\n1 ok read {'1':4,'2':16}",
           "impossible-balance");
}

Test(bank_check, a_balance_is_too_high)
{
    struct check_result result = judge(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                                             "1 invoke read null\n1 ok read {'1':10,'2':13}",
                                       NULL);
    cr_assert_str_eq(result.names, "wrong-total impossible-balance");
}

Test(bank_check, a_failed_transfer_is_applied)
{
    demand(START "0 invoke transfer " MOVE "0 fail transfer null\n"
                 "1 invoke read null\n1 ok read {'1':7,'2':13}",
           "impossible-balance");
}

Test(bank_check, a_read_shows_what_has_not_begun)
{
    demand(START "1 invoke read null\n1 ok read {'1':7,'2':13}\n"
                 "0 invoke transfer " MOVE "0 ok transfer " MOVE,
           "impossible-balance");
}

Test(bank_check, counters_tell_lost_from_doubled)
{
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke counters null\n1 ok counters {'1':0,'2':1}",
           "lost-transfer");
    demand(START "0 invoke transfer " MOVE "0 ok transfer " MOVE
                 "1 invoke counters null\n1 ok counters {'1':1,'2':2}",
           "duplicate-transfer");
    demand_ok(START "8 invoke counters null\n8 ok counters {'1':5,'2':6}\n"
                    "0 invoke transfer " MOVE "0 ok transfer " MOVE
                    "1 invoke counters null\n1 ok counters {'1':6,'2':7}");
}

Test(bank_check, accounts_are_all_there_once)
{
    demand(START "1 invoke read null\n1 ok read {'1':20}", "missing-account");
    demand(START "1 invoke read null\n1 ok read {'1':10,'2':5,'2':5}", "duplicate-account");
}

Test(bank_check, no_account_is_overdrawn)
{
    const char *story = START "0 invoke transfer {'from':1,'to':2,'amount':12}\n"
                              "1 invoke read null\n1 ok read {'1':-2,'2':22}";
    struct bank_check_options options = {.negative_allowed = true};
    demand(story, "negative-balance");
    cr_assert_eq(judge(story, &options).verdict, CHECK_OK);
}

Test(bank_check, without_a_read_nothing_is_shown)
{
    struct check_result result = judge("0 invoke transfer " MOVE "0 ok transfer " MOVE, NULL);
    cr_assert_eq(result.verdict, CHECK_UNDECIDED);
    cr_assert_str_eq(result.name, "no-read");
}

Test(bank_check, what_is_known_beforehand_is_held_against_the_first_read)
{
    struct bank_check_options initial = {.initial_known = true, .initial = 10};
    struct bank_check_options total = {.total_known = true, .total = 21};
    cr_assert_eq(judge(START, &initial).verdict, CHECK_OK);
    cr_assert_str_eq(judge(START, &total).name, "wrong-total");
    initial.initial = 9;
    cr_assert_eq(judge(START, &initial).verdict, CHECK_VIOLATION);
}

/* Long random histories of a bank that is right, and of banks with one fault each. */

#define ACCOUNTS_COUNT 6
#define CLIENTS_COUNT  10

enum fault { FAULT_NONE, FAULT_LOST, FAULT_TWICE, FAULT_TORN, FAULT_STALE, FAULT_ABORTED };

struct world {
    struct random random;
    struct history *history;
    enum fault fault;
    int64_t balances[ACCOUNTS_COUNT];
    int64_t earlier[ACCOUNTS_COUNT];
    struct history_event events[CLIENTS_COUNT]; /* what each client does */
    struct history_op shown[CLIENTS_COUNT][ACCOUNTS_COUNT];
    int phase[CLIENTS_COUNT]; /* 0: idle, 1: invoked, 2: has taken effect */
    uint64_t process_next;
    unsigned int faults_count;
};

static bool strikes(struct world *world, enum fault fault)
{
    bool strikes = world->fault == fault && random_below(&world->random, 50) == 0;
    world->faults_count += strikes;
    return strikes;
}

static void record(struct world *world, int client, enum history_type type)
{
    char why[HISTORY_WHY_BYTES];
    struct history_event event = world->events[client];
    event.type = type;
    if (type != HISTORY_OK)
        event.ops_count = 0;
    cr_assert_eq(history_append(world->history, &event, why), OST_OK, "%s", why);
}

static void invoke(struct world *world, int client)
{
    struct history_event *event = &world->events[client];
    *event = (struct history_event){.process = event->process, .function = HISTORY_READ};
    if (random_below(&world->random, 3) > 0) {
        event->function = HISTORY_TRANSFER;
        event->from = (int64_t)random_below(&world->random, ACCOUNTS_COUNT);
        event->to = (event->from + 1) % ACCOUNTS_COUNT;
        event->amount = 1 + (int64_t)random_below(&world->random, 9);
    }
    record(world, client, HISTORY_INVOKE);
    world->phase[client] = 1;
}

static void take_effect(struct world *world, int client)
{
    struct history_event *event = &world->events[client];
    world->phase[client] = 2;
    if (event->function == HISTORY_READ) {
        bool stale = strikes(world, FAULT_STALE);
        for (int i = 0; i < ACCOUNTS_COUNT; i++)
            world->shown[client][i] =
                (struct history_op){.found = HISTORY_NUMBER,
                                    .key = i,
                                    .value = stale ? world->earlier[i] : world->balances[i]};
        if (strikes(world, FAULT_TORN))
            world->shown[client][0].value--;
        event->ops = world->shown[client];
        event->ops_count = ACCOUNTS_COUNT;
        return;
    }
    int64_t amount = event->amount;
    if (strikes(world, FAULT_LOST))
        amount = 0;
    if (strikes(world, FAULT_TWICE))
        amount *= 2;
    world->balances[event->from] -= amount;
    world->balances[event->to] += amount;
}

static void step(struct world *world)
{
    int client = (int)random_below(&world->random, CLIENTS_COUNT);
    if (world->phase[client] == 0) {
        invoke(world, client);
    } else if (random_below(&world->random, 100) == 0) {
        record(world, client, HISTORY_INFO);
        world->events[client].process = world->process_next++;
        world->phase[client] = 0;
    } else if (world->phase[client] == 1) {
        take_effect(world, client);
    } else {
        bool fails =
            world->events[client].function == HISTORY_TRANSFER && strikes(world, FAULT_ABORTED);
        record(world, client, fails ? HISTORY_FAIL : HISTORY_OK);
        world->phase[client] = 0;
    }
}

static struct check_result run(enum fault fault, uint64_t seed)
{
    struct world world = {.history = history_new(), .fault = fault};
    struct bank_check_options options = {.initial_known = true, .negative_allowed = true};
    struct check_result result;
    random_init(&world.random, seed);
    for (int i = 0; i < CLIENTS_COUNT; i++)
        world.events[i].process = world.process_next++;
    for (int i = 0; i < 4000; i++) {
        if (i % 1000 == 0)
            memcpy(world.earlier, world.balances, sizeof world.earlier);
        step(&world);
    }
    bank_check(world.history, &options, &result);
    cr_assert_eq(world.faults_count > 0, fault != FAULT_NONE);
    history_free(world.history);
    return result;
}

Test(bank_check, random_histories)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct check_result good = run(FAULT_NONE, seed);
        cr_assert_eq(good.verdict, CHECK_OK, "seed %lu: %s: %s", seed, good.name, good.explanation);
        struct check_result torn = run(FAULT_TORN, seed);
        cr_assert(check_result_has(&torn, "wrong-total"));
    }
}

/* Unknown outcomes widen what a read may show: not every single fault can be told, most can. */
Test(bank_check, random_histories_with_faults)
{
    const enum fault faults[] = {FAULT_LOST, FAULT_TWICE, FAULT_STALE, FAULT_ABORTED};
    for (int i = 0; i < 4; i++) {
        unsigned int found_count = 0;
        for (uint64_t seed = 1; seed <= 30; seed++) {
            struct check_result result = run(faults[i], seed);
            found_count += check_result_has(&result, "impossible-balance");
        }
        cr_assert_gt(found_count, 15, "fault %d was found in %u of 30 runs", faults[i],
                     found_count);
    }
}
