/* ostraka_txn.c: one transaction, commands line by line. */
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char doc[] =
    "Runs one transaction. Each line of standard input is one of:\n"
    "  get KEY                     print the value, and lock the key shared (--optimistic: no "
    "lock)\n"
    "  get-for-update KEY          the same, and lock it exclusive\n"
    "  put KEY VALUE               the value is the rest of the line\n"
    "  delete KEY\n"
    "  delete-range START END      print how many keys there were\n"
    "  cas KEY OLD NEW             write NEW if the value is OLD\n"
    "  cas-absent KEY NEW          write NEW if there is no such key\n"
    "  add KEY N                   add to a number, and print the sum\n"
    "  scan START [END]            print the rows of the interval\n"
    "  scan-for-update START [END] the same, and lock it exclusive\n"
    "  commit | rollback           the end; standard input that ends without one rolls back\n"
    "Keys and values are written with \\xNN and \\\\; \\x20 is a space within a word. The first "
    "error, a cas that does not match included, rolls back and ends with status 1: a transaction "
    "that lost a conflict can be run again as a whole.";

enum line_result { LINE_GO_ON, LINE_COMMITTED, LINE_ROLLED_BACK, LINE_FAILED };

static int print_value(int status, const struct ost_value *value, bool json)
{
    if (status == OST_NOT_FOUND) {
        puts(json ? "{\"found\":false}" : "(not found)");
        return OST_OK;
    }
    if (status != OST_OK)
        return status;
    char *text = text_escape(ost_bytes(value->data, value->bytes_count));
    if (json) {
        cJSON *object = cJSON_CreateObject();
        cJSON_AddBoolToObject(object, "found", true);
        cJSON_AddStringToObject(object, "value", text);
        char *printed = cJSON_PrintUnformatted(object);
        puts(printed);
        free(printed);
        cJSON_Delete(object);
    } else {
        puts(text);
    }
    free(text);
    return OST_OK;
}

/* --- Verbs: each gets its words, and returns a status
 * ------------------------------------------------- */

#define WORDS_MAX 3u

struct verb {
    const char *name;
    unsigned words_min, words_max;
    bool takes_rest; /* the last word is the rest of the line */
    bool first_may_be_empty;
    int (*run)(const struct command_environment *environment, struct ost_txn *txn,
               const struct ost_bytes *words);
};

static int verb_get(const struct command_environment *environment, struct ost_txn *txn,
                    const struct ost_bytes *words)
{
    struct ost_value value = {0};
    int status = print_value(ost_txn_get(txn, words[0], &value), &value, environment->json);
    ost_value_free(&value);
    return status;
}

static int verb_get_for_update(const struct command_environment *environment, struct ost_txn *txn,
                               const struct ost_bytes *words)
{
    struct ost_value value = {0};
    int status =
        print_value(ost_txn_get_for_update(txn, words[0], &value), &value, environment->json);
    ost_value_free(&value);
    return status;
}

static int verb_put(const struct command_environment *environment, struct ost_txn *txn,
                    const struct ost_bytes *words)
{
    (void)environment;
    return ost_txn_put(txn, words[0], words[1]);
}

static int verb_delete(const struct command_environment *environment, struct ost_txn *txn,
                       const struct ost_bytes *words)
{
    (void)environment;
    return ost_txn_delete(txn, words[0]);
}

static int verb_delete_range(const struct command_environment *environment, struct ost_txn *txn,
                             const struct ost_bytes *words)
{
    uint64_t count = 0;
    int status = ost_txn_delete_range(txn, words[0], words[1], &count);
    if (status == OST_OK)
        printf(environment->json ? "{\"deleted\":%llu}\n" : "deleted %llu key%s\n",
               (unsigned long long)count, count == 1 ? "" : "s");
    return status;
}

static int verb_cas(const struct command_environment *environment, struct ost_txn *txn,
                    const struct ost_bytes *words)
{
    (void)environment;
    return ost_txn_compare_and_set(txn, words[0], &words[1], words[2]);
}

static int verb_cas_absent(const struct command_environment *environment, struct ost_txn *txn,
                           const struct ost_bytes *words)
{
    (void)environment;
    return ost_txn_compare_and_set(txn, words[0], NULL, words[1]);
}

static int verb_add(const struct command_environment *environment, struct ost_txn *txn,
                    const struct ost_bytes *words)
{
    int64_t delta, sum = 0;
    if (!text_number(words[1], &delta)) {
        fprintf(stderr, "ostraka txn: '%.*s' is not a whole number of 64 bits\n",
                (int)words[1].bytes_count, (const char *)words[1].data);
        return OST_INVALID_ARGUMENT;
    }
    int status = ost_txn_add(txn, words[0], delta, &sum);
    if (status == OST_OK)
        printf(environment->json ? "{\"value\":\"%lld\"}\n" : "%lld\n", (long long)sum);
    return status;
}

static int print_rows(const struct command_environment *environment, int status,
                      struct ost_rows *rows)
{
    for (size_t i = 0; status == OST_OK && i < rows->rows_count; i++)
        command_print_row(environment, rows->rows[i].key, rows->rows[i].value,
                          rows->rows[i].version, false);
    ost_rows_free(rows);
    return status;
}

static int verb_scan(const struct command_environment *environment, struct ost_txn *txn,
                     const struct ost_bytes *words)
{
    struct ost_rows rows = {0};
    int status = ost_txn_scan(txn, words[0], words[1], 0, false, &rows);
    return print_rows(environment, status, &rows);
}

static int verb_scan_for_update(const struct command_environment *environment, struct ost_txn *txn,
                                const struct ost_bytes *words)
{
    struct ost_rows rows = {0};
    int status = ost_txn_scan_for_update(txn, words[0], words[1], 0, false, &rows);
    return print_rows(environment, status, &rows);
}

static const struct verb verbs[] = {
    {"get", 1, 1, false, false, verb_get},
    {"get-for-update", 1, 1, false, false, verb_get_for_update},
    {"put", 1, 2, true, false, verb_put},
    {"delete", 1, 1, false, false, verb_delete},
    {"delete-range", 2, 2, false, true, verb_delete_range},
    {"cas", 3, 3, true, false, verb_cas},
    {"cas-absent", 2, 2, true, false, verb_cas_absent},
    {"add", 2, 2, false, false, verb_add},
    {"scan", 0, 2, false, true, verb_scan},
    {"scan-for-update", 0, 2, false, true, verb_scan_for_update},
};
#define VERBS_COUNT (sizeof verbs / sizeof verbs[0])

/* --- Lines
 * ------------------------------------------------------------------------------------------- */

static int usage(size_t line_number, const char *what)
{
    fprintf(stderr, "ostraka txn: line %zu: %s: 'ostraka txn --help' lists the commands\n",
            line_number, what);
    return LINE_FAILED;
}

/* What is wrong with the words; NULL: nothing. */
static const char *words_split(const struct verb *verb, char *line,
                               struct ost_bytes words[WORDS_MAX])
{
    unsigned count = 0;
    while (line && count < verb->words_max) {
        char *word = line;
        if (!verb->takes_rest || count + 1 < verb->words_max)
            word = strsep(&line, " ");
        else
            line = NULL;
        if (!text_unescape(word, &words[count++]))
            return "a word does not parse: after a backslash comes another one, or x and two hex "
                   "digits";
    }
    if (line)
        return "there is a word too many";
    if (count < verb->words_min)
        return "a word is missing";
    if (words[0].bytes_count == 0 && !verb->first_may_be_empty)
        return "the key is missing";
    return NULL;
}

static int line_run(const struct command_environment *environment, struct ost_txn *txn, char *line,
                    size_t line_number)
{
    char *name = strsep(&line, " ");
    if (name[0] == '\0' || name[0] == '#')
        return LINE_GO_ON;
    if (strcmp(name, "rollback") == 0)
        return LINE_ROLLED_BACK;
    if (strcmp(name, "commit") == 0) {
        int status = ost_txn_commit(txn);
        if (status == OST_OK)
            return LINE_COMMITTED;
        command_failed(environment, "commit", status, ost_txn_error(txn));
        return LINE_FAILED;
    }
    const struct verb *verb = NULL;
    for (size_t i = 0; i < VERBS_COUNT && !verb; i++)
        if (strcmp(verbs[i].name, name) == 0)
            verb = &verbs[i];
    if (!verb)
        return usage(line_number, "no such command");
    struct ost_bytes words[WORDS_MAX] = {{0}};
    const char *wrong = words_split(verb, line, words);
    if (wrong)
        return usage(line_number, wrong);
    int status = verb->run(environment, txn, words);
    fflush(stdout);
    if (status == OST_OK)
        return LINE_GO_ON;
    command_failed(environment, name, status, ost_txn_error(txn));
    return LINE_FAILED;
}

static int run(const struct command_environment *environment, struct ost_txn *txn)
{
    char *line = NULL;
    size_t line_capacity = 0, line_number = 0;
    int result = LINE_GO_ON;
    bool prompt = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    while (result == LINE_GO_ON) {
        if (prompt) {
            fputs("txn> ", stdout);
            fflush(stdout);
        }
        ssize_t got = getline(&line, &line_capacity, stdin);
        if (got < 0)
            break;
        if (got > 0 && line[got - 1] == '\n')
            line[got - 1] = '\0';
        result = line_run(environment, txn, line, ++line_number);
    }
    free(line);
    return result;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    (void)text;
    if (key != 'p')
        return ARGP_ERR_UNKNOWN;
    *(bool *)state->input = true;
    return 0;
}

int command_txn(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"optimistic", 'p', NULL, 0,
         "reads take no locks; the commit fails when something that was read has changed", 0},
        {0}};
    static const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    bool is_optimistic = false;
    command_parse(&argp, argc, argv, &is_optimistic);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    struct ost_txn *txn = NULL;
    int status = is_optimistic ? ost_begin_optimistic(client, &txn) : ost_begin(client, &txn);
    int result = LINE_FAILED;
    if (status != OST_OK)
        command_failed(environment, "begin", status, NULL);
    else
        result = run(environment, txn);
    if (result == LINE_COMMITTED)
        printf(environment->json ? "{\"committed\":true,\"timestamp\":\"%llu\",\"groups\":%u}\n"
                                 : "committed at %llu in %u groups\n",
               (unsigned long long)ost_txn_commit_timestamp(txn), ost_txn_groups_count(txn));
    else if (result != LINE_FAILED)
        puts(environment->json ? "{\"committed\":false}" : "rolled back");
    ost_txn_free(txn);
    ost_close(client);
    return result == LINE_FAILED ? EXIT_FAILURE : EXIT_SUCCESS;
}
