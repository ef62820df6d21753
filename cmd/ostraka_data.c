/* ostraka_data.c: get, put, delete, scan. */
#include "base/buffer.h"
#include "base/types.h"
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- Arguments: at most two, the first a key
 * ------------------------------------------------------------ */

struct data_arguments {
    struct ost_bytes words[2];
    bool is_key[2];
    unsigned words_count, words_count_min, words_count_max;
    uint32_t limit;
    bool reverse, prefix, keys_only;
    bool is_snapshot;
    struct ost_snapshot_options snapshot;
};

enum { KEY_KEYS_ONLY = 256, KEY_AT, KEY_STALE, KEY_ANY_REPLICA };

#define SNAPSHOT_OPTIONS                                                                           \
    {"at", KEY_AT, "TIMESTAMP", 0, "as of this commit timestamp, as 'version' in --json", 1},      \
        {"stale",                                                                                  \
         KEY_STALE,                                                                                \
         "SECONDS",                                                                                \
         0,                                                                                        \
         "may miss what was committed in the last SECONDS (0.001 to 3600)",                        \
         1},                                                                                       \
    {                                                                                              \
        "any-replica", KEY_ANY_REPLICA, NULL, 0, "let any replica answer, not only leaders", 1     \
    }

static uint64_t parse_timestamp(struct argp_state *state, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long timestamp = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || *text == '-' || timestamp == 0)
        argp_error(state, "--at: '%s' is not a timestamp", text);
    return timestamp;
}

static uint32_t parse_seconds(struct argp_state *state, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    if (*end != '\0' || end == text || !(seconds >= 0.001 && seconds <= 3600))
        argp_error(state, "--stale: '%s' is not between 0.001 and 3600 seconds", text);
    return (uint32_t)(seconds * 1000);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct data_arguments *arguments = state->input;
    char *end;
    unsigned long limit;
    switch (key) {
    case 'n':
        limit = strtoul(text, &end, 10);
        if (*end != '\0' || end == text || limit > UINT32_MAX)
            argp_error(state, "--limit: '%s' is not a whole number", text);
        arguments->limit = (uint32_t)limit;
        return 0;
    case 'r':
        arguments->reverse = true;
        return 0;
    case 'p':
        arguments->prefix = true;
        return 0;
    case KEY_KEYS_ONLY:
        arguments->keys_only = true;
        return 0;
    case KEY_AT:
        arguments->snapshot.timestamp = parse_timestamp(state, text);
        arguments->is_snapshot = true;
        return 0;
    case KEY_STALE:
        arguments->snapshot.staleness_ms_max = parse_seconds(state, text);
        arguments->is_snapshot = true;
        return 0;
    case KEY_ANY_REPLICA:
        arguments->snapshot.any_replica = true;
        arguments->is_snapshot = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->words_count == arguments->words_count_max)
            argp_error(state, "'%s' is one argument too many", text);
        if (arguments->is_key[arguments->words_count])
            arguments->words[arguments->words_count] =
                argument_unescape(state, "key", text, arguments->words_count_min == 0);
        else
            arguments->words[arguments->words_count] = ost_bytes(text, strlen(text));
        arguments->words_count++;
        return 0;
    case ARGP_KEY_END:
        if (arguments->words_count < arguments->words_count_min)
            argp_error(state, "the key is missing");
        if (arguments->snapshot.timestamp != 0 && arguments->snapshot.staleness_ms_max != 0)
            argp_error(state, "--at names the timestamp: --stale has nothing to say");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- get, put, delete
 * --------------------------------------------------------------------------------------- */

static int get(struct ost_client *client, const struct data_arguments *arguments,
               struct ost_value *out_value)
{
    if (!arguments->is_snapshot)
        return ost_get(client, arguments->words[0], out_value);
    struct ost_snapshot *snapshot;
    int status = ost_snapshot_open(client, &arguments->snapshot, &snapshot);
    if (status != OST_OK)
        return status;
    status = ost_snapshot_get(snapshot, arguments->words[0], out_value);
    ost_snapshot_close(snapshot);
    return status;
}

int command_get(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {SNAPSHOT_OPTIONS, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "KEY",
        .doc =
            "Prints the value of KEY as it is, and a newline. A key that is not there: a line on "
            "standard error and exit status 1."};
    struct data_arguments arguments = {
        .words_count_min = 1, .words_count_max = 1, .is_key = {true}};
    command_parse(&argp, argc, argv, &arguments);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    struct ost_value value = {0};
    int status = get(client, &arguments, &value);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK) {
        char *key_text = text_escape(arguments.words[0]);
        exit_status = command_failed(environment, key_text, status, ost_last_error());
        free(key_text);
    } else if (environment->json) {
        command_print_row(environment, arguments.words[0], ost_bytes(value.data, value.bytes_count),
                          value.version, false);
    } else {
        fwrite(value.data, 1, value.bytes_count, stdout);
        putchar('\n');
    }
    ost_value_free(&value);
    ost_close(client);
    return exit_status;
}

/* Reads all of standard input; false when there is more than one value may have. */
static bool read_value(struct buffer *out_value)
{
    for (;;) {
        uint8_t *to = buffer_extend(out_value, 1u << 16);
        ssize_t got = read(STDIN_FILENO, to, 1u << 16);
        out_value->bytes_count -= (1u << 16) - (got > 0 ? (size_t)got : 0);
        if (got == 0 || (got < 0 && errno != EINTR))
            return true;
        if (out_value->bytes_count > VALUE_BYTES_MAX)
            return false;
    }
}

static int report_write(const struct command_environment *environment, struct ost_bytes key,
                        int status)
{
    if (status == OST_OK) {
        if (environment->json)
            puts("{\"ok\":true}");
        return EXIT_SUCCESS;
    }
    char *key_text = text_escape(key);
    int exit_status = command_failed(environment, key_text, status, ost_last_error());
    free(key_text);
    return exit_status;
}

int command_put(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {.parser = parse,
                                     .args_doc = "KEY [VALUE]",
                                     .doc = "Writes VALUE, taken as it is, to KEY; without VALUE, "
                                            "all of standard input (at most 1 MiB). "
                                            "Prints nothing when it worked."};
    struct data_arguments arguments = {
        .words_count_min = 1, .words_count_max = 2, .is_key = {true, false}};
    command_parse(&argp, argc, argv, &arguments);
    struct buffer input = BUFFER_INIT;
    if (arguments.words_count == 1) {
        if (!read_value(&input)) {
            fprintf(
                stderr,
                "ostraka put: the value on standard input is larger than the limit of %u bytes\n",
                VALUE_BYTES_MAX);
            buffer_fini(&input);
            return EXIT_FAILURE;
        }
        arguments.words[1] = ost_bytes(input.data, input.bytes_count);
    }
    int exit_status = EXIT_FAILURE;
    struct ost_client *client = command_connect(environment);
    if (client) {
        exit_status = report_write(environment, arguments.words[0],
                                   ost_put(client, arguments.words[0], arguments.words[1]));
        ost_close(client);
    }
    buffer_fini(&input);
    return exit_status;
}

int command_delete(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "KEY",
        .doc = "Deletes KEY; that it was not there is no error. Prints nothing when it worked."};
    struct data_arguments arguments = {
        .words_count_min = 1, .words_count_max = 1, .is_key = {true}};
    command_parse(&argp, argc, argv, &arguments);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    int exit_status =
        report_write(environment, arguments.words[0], ost_delete(client, arguments.words[0]));
    ost_close(client);
    return exit_status;
}

/* --- scan
 * ---------------------------------------------------------------------------------------------------
 */

static int scan(struct ost_client *client, const struct data_arguments *arguments,
                struct ost_bytes start, struct ost_bytes end, struct ost_rows *out_rows)
{
    if (!arguments->is_snapshot)
        return ost_scan(client, start, end, arguments->limit, arguments->reverse, out_rows);
    struct ost_snapshot *snapshot;
    int status = ost_snapshot_open(client, &arguments->snapshot, &snapshot);
    if (status != OST_OK)
        return status;
    status =
        ost_snapshot_scan(snapshot, start, end, arguments->limit, arguments->reverse, out_rows);
    ost_snapshot_close(snapshot);
    return status;
}

int command_scan(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"limit", 'n', "ROWS", 0, "at most so many rows (default: all)", 0},
        {"reverse", 'r', NULL, 0, "from the end", 0},
        {"prefix", 'p', NULL, 0, "all keys that begin with START", 0},
        {"keys-only", KEY_KEYS_ONLY, NULL, 0, "do not print values", 0},
        SNAPSHOT_OPTIONS,
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[START [END]]",
        .doc =
            "Prints the keys from START up to, not including, END (default: all), one "
            "'KEY<tab>VALUE' a "
            "line, escaped; with --json one object a line. The rows are one consistent picture."};
    struct data_arguments arguments = {.words_count_max = 2, .is_key = {true, true}};
    command_parse(&argp, argc, argv, &arguments);
    uint8_t prefix[KEY_BYTES_MAX];
    struct ost_bytes start = arguments.words[0];
    struct ost_bytes end = arguments.words[1];
    if (arguments.prefix) {
        if (start.bytes_count > 0)
            memcpy(prefix, start.data, start.bytes_count);
        end = prefix_end(prefix, start.bytes_count);
    }
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    struct ost_rows rows = {0};
    int status = scan(client, &arguments, start, end, &rows);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK)
        exit_status = command_failed(environment, "scan", status, ost_last_error());
    for (size_t i = 0; status == OST_OK && i < rows.rows_count; i++)
        command_print_row(environment, rows.rows[i].key, rows.rows[i].value, rows.rows[i].version,
                          arguments.keys_only);
    ost_rows_free(&rows);
    ost_close(client);
    return exit_status;
}
