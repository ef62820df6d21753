/* history_test.c: what is written is read again, and what is wrong is refused with a reason. */
#include "cmd/history.h"

#include "base/random.h"
#include "tests/support/history_story.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static FILE *file_of(const char *text, size_t bytes_count)
{
    FILE *file = tmpfile();
    cr_assert(file);
    cr_assert_eq(fwrite(text, 1, bytes_count, file), bytes_count);
    rewind(file);
    return file;
}

/* The reason why the file is refused. */
static const char *refusal(const char *text, size_t bytes_count)
{
    static char why[HISTORY_WHY_BYTES];
    FILE *file = file_of(text, bytes_count);
    struct history *history = history_new();
    int status = history_read_file(history, file, "file", why);
    history_free(history);
    (void)fclose(file);
    cr_assert_eq(status, OST_INVALID_ARGUMENT);
    return why;
}

static void demand_refusal(const char *text, const char *reason)
{
    const char *why = refusal(text, strlen(text));
    cr_assert_str_eq(why, reason);
}

#define HEAD "{\"index\":0,\"time\":1,\"process\":3,"

Test(history, what_is_written_is_read_again)
{
    struct history *history =
        history_story("0 invoke txn [['append',5,1],['r',5,null],['w',6,-2],['cas',7,[1,2]]]\n"
                      "1 invoke transfer {'from':1,'to':2,'amount':3}\n"
                      "2 invoke read null\n"
                      "0 ok txn [['append',5,1],['r',5,[1,2]],['w',6,-2],['cas',7,[1,2]]]\n"
                      "1 fail transfer null\n"
                      "2 ok read {'1':100,'2':98}\n"
                      "2 invoke counters null\n"
                      "2 info counters null\n"
                      "3 invoke txn [['w',8,null],['cas',9,[null,1]],['r',4,null],['r',3,null]]\n"
                      "3 ok txn [['w',8,null],['r',9,5],['r',3,null]]\n"
                      "0 invoke txn [['r',9007199254740992,null]]\n"
                      "0 ok txn [['r',9007199254740992,-9007199254740992]]");
    FILE *file = tmpfile();
    for (size_t i = 0; i < history_events_count(history); i++) {
        struct history_event event = *history_event(history, i);
        event.error = event.type == HISTORY_INFO ? "lost \"it\"\n\\" : NULL;
        cr_assert_eq(history_write_event(file, i, &event), OST_OK);
    }
    rewind(file);
    char why[HISTORY_WHY_BYTES];
    struct history *again = history_new();
    cr_assert_eq(history_read_file(again, file, "file", why), OST_OK, "%s", why);
    cr_assert_eq(history_events_count(again), history_events_count(history));
    for (size_t i = 0; i < history_events_count(history); i++) {
        char before[200], after[200];
        history_print_event(history_event(history, i), before, sizeof before);
        history_print_event(history_event(again, i), after, sizeof after);
        cr_assert_str_eq(before, after);
        cr_assert_eq(history_event(again, i)->index, i);
        cr_assert_eq(history_event(again, i)->time_ns, history_event(history, i)->time_ns);
    }
    cr_assert_str_eq(history_event(again, 7)->error, "lost \"it\"\n\\");
    cr_assert_eq(history_operations_count(again), 6);
    cr_assert_eq(history_operation(again, 0)->completion, history_event(again, 3));
    cr_assert_eq(history_operation(again, 1)->completion->amount, 3, "from its invocation");
    (void)fclose(file);
    history_free(again);
    history_free(history);
}

Test(history, other_processes_and_empty_lines_are_skipped)
{
    const char *text =
        "\n{\"time\":0,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"kill\"}\r\n  "
        "\n" HEAD "\"type\":\"invoke\",\"f\":\"read\",\"value\":null}";
    char why[HISTORY_WHY_BYTES];
    FILE *file = file_of(text, strlen(text));
    struct history *history = history_new();
    cr_assert_eq(history_read_file(history, file, "file", why), OST_OK, "%s", why);
    cr_assert_eq(history_events_count(history), 1);
    cr_assert_eq(history_outcome(history_operation(history, 0)), HISTORY_INFO, "still under way");
    history_free(history);
    (void)fclose(file);
}

Test(history, broken_lines_are_refused)
{
    demand_refusal("{", "file:1: not a JSON object");
    demand_refusal("\n\n[1]", "file:3: not a JSON object");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"read\"} {}", "file:1: not a JSON object");
    demand_refusal("{\"process\":-1}", "file:1: \"process\" is no whole number");
    demand_refusal("{\"process\":1.5}", "file:1: \"process\" is no whole number");
    demand_refusal("{\"process\":1e99}", "file:1: \"process\" is no whole number");
    demand_refusal("{\"process\":1,\"time\":\"x\"}",
                   "file:1: \"time\" is no whole number of nanoseconds");
    demand_refusal(HEAD "\"type\":\"done\"}",
                   "file:1: \"type\" is not one of invoke, ok, fail, info");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":3}",
                   "file:1: \"f\" is not one of txn, transfer, read, counters");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"r\",1]]}",
                   "file:1: a micro-operation is a list of three: action, key, value");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"x\",1,2]]}",
                   "file:1: an action is \"r\", \"w\", \"append\" or \"cas\"");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"w\",\"k\",2]]}",
                   "file:1: the key of a micro-operation is no whole number");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"w\",1,[]]]}",
                   "file:1: the value of a micro-operation is no whole number");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"w\",1,9007199254740994]]}",
                   "file:1: the value of a micro-operation is no whole number");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"cas\",1,[2]]]}",
                   "file:1: the value of a cas is a list of two");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"cas\",1,[2,null]]]}",
                   "file:1: the value of a cas is a list of two whole numbers, or null and one");
    demand_refusal(HEAD "\"type\":\"invoke\",\"f\":\"transfer\",\"value\":{\"from\":1}}",
                   "file:1: the value of a transfer is an object: from, to, amount");
    const char zero[] = HEAD "\"type\":\"invoke\",\"f\":\"read\"}\0";
    cr_assert_str_eq(refusal(zero, sizeof zero - 1), "file:1: not a JSON object: a zero byte");
}

Test(history, a_transaction_is_bounded)
{
    struct history_op ops[HISTORY_TXN_OPS_MAX + 1] = {0};
    struct history_event event = {.ops = ops, .ops_count = HISTORY_TXN_OPS_MAX + 1};
    char why[HISTORY_WHY_BYTES];
    struct history *history = history_new();
    cr_assert_eq(history_append(history, &event, why), OST_INVALID_ARGUMENT);
    cr_assert_str_eq(why, "a txn has more than 4096 micro-operations");
    cr_assert_eq(history_events_count(history), 0);
    event.ops_count--;
    cr_assert_eq(history_append(history, &event, why), OST_OK, "%s", why);
    history_free(history);
}

Test(history, deep_and_huge_lines_are_refused)
{
    size_t bytes_count = HISTORY_LINE_BYTES_MAX + 100;
    char *text = malloc(bytes_count);
    memset(text, '[', bytes_count);
    cr_assert_str_eq(refusal(text, bytes_count), "file:1: longer than 16777216 bytes");
    cr_assert_str_eq(refusal(text, 1u << 20), "file:1: not a JSON object");
    free(text);
}

#define INVOKE_CAS "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"cas\",1,[2,3]]]}\n"
#define OK_TXN     "\"type\":\"ok\",\"f\":\"txn\",\"value\":"

Test(history, cas_that_does_not_match_completes_as_a_read_of_something_else)
{
    demand_refusal(HEAD INVOKE_CAS HEAD OK_TXN "[[\"r\",1,2]]}",
                   "file:2: process 3 completes another micro-operation 0 than it invoked");
    demand_refusal(HEAD INVOKE_CAS HEAD OK_TXN "[[\"w\",1,3]]}",
                   "file:2: process 3 completes another micro-operation 0 than it invoked");
    struct history *history = history_story("3 invoke txn [['cas',1,[2,3]]]\n"
                                            "3 ok txn [['r',1,null]]\n"
                                            "3 invoke txn [['cas',1,[null,3]]]\n"
                                            "3 ok txn [['cas',1,[null,3]]]");
    cr_assert_eq(history_events_count(history), 4);
    history_free(history);
}

#define INVOKE "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"r\",1,null]]}\n"

Test(history, what_a_process_cannot_do_is_refused)
{
    demand_refusal(HEAD "\"type\":\"info\",\"f\":\"txn\"}",
                   "file:1: process 3 completes what it did not invoke");
    demand_refusal(HEAD INVOKE HEAD INVOKE,
                   "file:2: process 3 invokes while an operation is under way");
    demand_refusal(HEAD INVOKE HEAD "\"type\":\"info\",\"f\":\"txn\"}\n" HEAD INVOKE,
                   "file:3: process 3 invokes after an unknown outcome");
    demand_refusal(HEAD INVOKE HEAD "\"type\":\"ok\",\"f\":\"read\",\"value\":{}}",
                   "file:2: process 3 completes another operation than it invoked");
    demand_refusal(HEAD INVOKE HEAD "\"type\":\"ok\",\"f\":\"txn\",\"value\":[]}",
                   "file:2: process 3 completes 0 micro-operations of 1");
    demand_refusal(HEAD INVOKE HEAD "\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"r\",2,null]]}",
                   "file:2: process 3 completes another micro-operation 0 than it invoked");
    demand_refusal("{\"time\":5,\"process\":1," INVOKE "{\"time\":4,\"process\":2," INVOKE,
                   "file:2: time falls to 4: events are to be in the order of time");
}

/* Good lines with bytes changed at random are read or refused, and nothing else happens. */
Test(history, damaged_lines_harm_nobody)
{
    const char *const lines[] = {
        HEAD "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",5,1],[\"r\",5,[1,2]]]}",
        HEAD "\"type\":\"ok\",\"f\":\"read\",\"value\":{\"1\":100,\"2\":98}}",
        HEAD
        "\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"cas\",5,[1,2]]],\"error\":\"\\u00e9\"}",
    };
    const char alphabet[] = "[]{}\",:\\0123456789eE.+-nulltrue rwca\x01\x80\xff";
    struct random random;
    random_init(&random, 7);
    for (int round = 0; round < 20000; round++) {
        char line[256], why[HISTORY_WHY_BYTES];
        struct history *history = history_new();
        (void)snprintf(line, sizeof line, "%s", lines[random_below(&random, 3)]);
        size_t bytes_count = strlen(line);
        for (uint64_t changes = 1 + random_below(&random, 4); changes > 0; changes--)
            line[random_below(&random, bytes_count)] =
                alphabet[random_below(&random, sizeof alphabet - 1)];
        bytes_count -= random_below(&random, 2) * random_below(&random, bytes_count);
        int status = history_read_line(history, line, bytes_count, why);
        cr_assert(status == OST_OK || status == OST_INVALID_ARGUMENT);
        history_free(history);
    }
}
