/* ostraka_txn.c: one transaction, commands line by line. */
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char doc[] =
    "Runs one transaction. Each line of standard input is one of:\n"
    "  get KEY               print the value, and lock the key shared (--optimistic: no lock)\n"
    "  get-for-update KEY    the same, and lock it exclusive\n"
    "  put KEY VALUE         the value is the rest of the line\n"
    "  delete KEY\n"
    "  scan START END        print the rows of the interval\n"
    "  commit | rollback     the end; standard input that ends without one rolls back\n"
    "Keys and values are written with \\xNN and \\\\. The first error rolls back and ends with "
    "status 1: a "
    "transaction that lost a conflict can be run again as a whole.";

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

static int line_scan(struct ost_txn *txn, struct ost_bytes start, struct ost_bytes end)
{
    struct ost_rows rows = {0};
    int status = ost_txn_scan(txn, start, end, 0, false, &rows);
    for (size_t i = 0; status == OST_OK && i < rows.rows_count; i++) {
        char *key_text = text_escape(rows.rows[i].key);
        char *value_text = text_escape(rows.rows[i].value);
        printf("%s\t%s\n", key_text, value_text);
        free(value_text);
        free(key_text);
    }
    ost_rows_free(&rows);
    return status;
}

static int usage(size_t line_number, const char *what)
{
    fprintf(stderr, "ostraka txn: line %zu: %s: 'ostraka txn --help' lists the commands\n",
            line_number, what);
    return LINE_FAILED;
}

static int line_run(const struct command_environment *environment, struct ost_txn *txn, char *line,
                    size_t line_number)
{
    char *verb = strsep(&line, " ");
    if (verb[0] == '\0' || verb[0] == '#')
        return LINE_GO_ON;
    if (strcmp(verb, "rollback") == 0)
        return LINE_ROLLED_BACK;
    if (strcmp(verb, "commit") == 0) {
        int status = ost_txn_commit(txn);
        if (status == OST_OK)
            return LINE_COMMITTED;
        command_failed(environment, "commit", status, ost_txn_error(txn));
        return LINE_FAILED;
    }
    bool takes_rest = strcmp(verb, "put") == 0, takes_end = strcmp(verb, "scan") == 0;
    char *key_text = takes_rest || takes_end ? strsep(&line, " ") : line;
    struct ost_bytes key, rest = {0};
    if (!key_text || !text_unescape(key_text, &key) || (key.bytes_count == 0 && !takes_end))
        return usage(line_number, "the key is missing or does not parse");
    if (line && (takes_rest || takes_end) && !text_unescape(line, &rest))
        return usage(line_number, "what follows the key does not parse");
    int status;
    if (takes_rest) {
        status = ost_txn_put(txn, key, rest);
    } else if (takes_end) {
        status = line_scan(txn, key, rest);
    } else if (strcmp(verb, "delete") == 0) {
        status = ost_txn_delete(txn, key);
    } else if (strcmp(verb, "get") == 0 || strcmp(verb, "get-for-update") == 0) {
        struct ost_value value = {0};
        status = verb[3] == '\0' ? ost_txn_get(txn, key, &value)
                                 : ost_txn_get_for_update(txn, key, &value);
        status = print_value(status, &value, environment->json);
        ost_value_free(&value);
    } else {
        return usage(line_number, "no such command");
    }
    fflush(stdout);
    if (status == OST_OK)
        return LINE_GO_ON;
    command_failed(environment, verb, status, ost_txn_error(txn));
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
