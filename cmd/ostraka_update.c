/* ostraka_update.c: delete-range, cas, add. */
#include "base/types.h"
#include "cmd/ostraka_command.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct update_arguments {
    char *words[3];
    unsigned words_count, words_count_min, words_count_max;
    bool prefix, absent;
    const char *missing; /* what to say when there are too few */
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct update_arguments *arguments = state->input;
    switch (key) {
    case 'p':
        arguments->prefix = true;
        return 0;
    case 'a':
        arguments->absent = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->words_count == 3)
            argp_error(state, "'%s' is one argument too many", text);
        arguments->words[arguments->words_count++] = text;
        return 0;
    case ARGP_KEY_END: {
        unsigned less = arguments->prefix || arguments->absent ? 1 : 0;
        if (arguments->words_count < arguments->words_count_min - less)
            argp_error(state, "%s", arguments->missing);
        if (arguments->words_count > arguments->words_count_max - less)
            argp_error(state, "'%s' is one argument too many",
                       arguments->words[arguments->words_count - 1]);
        return 0;
    }
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A key out of the arguments, or the program ends with one line. */
static struct ost_bytes key_of(const char *command, char *text, bool may_be_empty)
{
    struct ost_bytes key;
    const char *wrong = NULL;
    if (!text_unescape(text, &key))
        wrong = "after a backslash comes another one, or x and two hex digits";
    else if (key.bytes_count > KEY_BYTES_MAX)
        wrong = "the limit is 8 KiB";
    else if (key.bytes_count == 0 && !may_be_empty)
        wrong = "a key has at least one byte";
    if (!wrong)
        return key;
    fprintf(stderr, "ostraka %s: key '%s': %s\n", command, text, wrong);
    exit(EX_USAGE);
}

static int failed(const struct command_environment *environment, struct ost_bytes key, int status)
{
    char *text = text_escape(key);
    int exit_status = command_failed(environment, text, status, ost_last_error());
    free(text);
    return exit_status;
}

int command_delete_range(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"prefix", 'p', NULL, 0, "all keys that begin with START, and no END", 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "START END",
        .doc = "Deletes the keys from START up to, not including, END, all or none, and prints how "
               "many there were. An empty START ('') is the first key, an empty END all that "
               "follows. At most 100,000 keys: more are to be deleted in parts."};
    struct update_arguments arguments = {.words_count_min = 2,
                                         .words_count_max = 2,
                                         .missing = "START or END is missing: write '' for all"};
    command_parse(&argp, argc, argv, &arguments);
    struct ost_bytes start = key_of("delete-range", arguments.words[0], true), end;
    uint8_t prefix[KEY_BYTES_MAX];
    if (arguments.prefix) {
        memcpy(prefix, start.data, start.bytes_count);
        end = prefix_end(prefix, start.bytes_count);
    } else {
        end = key_of("delete-range", arguments.words[1], true);
    }
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    uint64_t count = 0;
    int status = ost_delete_range(client, start, end, &count);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK)
        exit_status = command_failed(environment, "delete-range", status, ost_last_error());
    else if (environment->json)
        printf("{\"deleted\":%" PRIu64 "}\n", count);
    else
        printf("deleted %" PRIu64 " key%s\n", count, count == 1 ? "" : "s");
    ost_close(client);
    return exit_status;
}

int command_cas(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"absent", 'a', NULL, 0, "write if KEY is absent; there is no OLD", 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "KEY OLD NEW",
        .doc = "Compare and set: writes NEW to KEY if its value is OLD, both taken as they are. "
               "Prints nothing when it worked; a line and exit status 1 when it is not so, or "
               "failed."};
    struct update_arguments arguments = {
        .words_count_min = 3, .words_count_max = 3, .missing = "KEY, OLD or NEW is missing"};
    command_parse(&argp, argc, argv, &arguments);
    struct ost_bytes key = key_of("cas", arguments.words[0], false);
    struct ost_bytes expected = ost_string(arguments.words[1]);
    struct ost_bytes value = ost_string(arguments.words[arguments.absent ? 1 : 2]);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    int status = ost_compare_and_set(client, key, arguments.absent ? NULL : &expected, value);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK)
        exit_status = failed(environment, key, status);
    else if (environment->json)
        puts("{\"ok\":true}");
    ost_close(client);
    return exit_status;
}

int command_add(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "KEY [N]",
        .doc = "Adds N (default: 1; it may be negative) to the number that KEY has, and prints the "
               "sum. A number is 8 bytes, signed, little endian; an absent key counts as 0."};
    struct update_arguments arguments = {
        .words_count_min = 1, .words_count_max = 2, .missing = "the key is missing"};
    /* "-3" is a number here, and not a flag. */
    char *with_dashes[8] = {0};
    for (int at = 1; at < argc && argc < 7; at++) {
        if (strcmp(argv[at], "--") == 0)
            break;
        if (argv[at][0] != '-' || !isdigit((unsigned char)argv[at][1]))
            continue;
        memcpy(with_dashes, argv, (size_t)at * sizeof *argv);
        with_dashes[at] = (char *)(uintptr_t) "--";
        memcpy(with_dashes + at + 1, argv + at, (size_t)(argc - at) * sizeof *argv);
        argv = with_dashes;
        argc++;
        break;
    }
    command_parse(&argp, argc, argv, &arguments);
    int64_t delta = 1, sum = 0;
    struct ost_bytes key = key_of("add", arguments.words[0], false);
    if (arguments.words_count == 2 && !text_number(ost_string(arguments.words[1]), &delta)) {
        fprintf(stderr, "ostraka add: '%s' is not a whole number of 64 bits\n", arguments.words[1]);
        return EX_USAGE;
    }
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    int status = ost_add(client, key, delta, &sum);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK)
        exit_status = failed(environment, key, status);
    else /* in JSON as text: 64 bits are more than a number there holds */
        printf(environment->json ? "{\"value\":\"%" PRId64 "\"}\n" : "%" PRId64 "\n", sum);
    ost_close(client);
    return exit_status;
}
