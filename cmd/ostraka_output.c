/* ostraka_output.c: connecting, and how results and errors look. */
#include "base/buffer.h"
#include "base/types.h"
#include "cmd/arguments.h"
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ost_client *command_connect(const struct command_environment *environment)
{
    struct ost_options options;
    ost_options_default(&options);
    options.endpoints = environment->endpoints;
    options.operation_timeout_ms = environment->timeout_ms;
    struct ost_client *client = NULL;
    char why[256] = "";
    int status = ost_open(&options, &client, why);
    if (status != OST_OK) {
        command_failed(environment, environment->endpoints, status, why);
        return NULL;
    }
    return client;
}

int command_failed(const struct command_environment *environment, const char *what, int status,
                   const char *why)
{
    const char *text = why && why[0] ? why : ost_status_text(status);
    if (!environment->json) {
        fprintf(stderr, "ostraka: %s: %s\n", what, text);
        return EXIT_FAILURE;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "error", ost_status_name(status));
    cJSON_AddStringToObject(object, "about", what);
    cJSON_AddStringToObject(object, "text", text);
    char *printed = cJSON_PrintUnformatted(object);
    fprintf(stderr, "%s\n", printed);
    free(printed);
    cJSON_Delete(object);
    return EXIT_FAILURE;
}

static void print_row_json(const char *key_text, const char *value_text, uint64_t version)
{
    char version_text[24];
    snprintf(version_text, sizeof version_text, "%llu", (unsigned long long)version);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "key", key_text);
    if (value_text)
        cJSON_AddStringToObject(object, "value", value_text);
    cJSON_AddStringToObject(object, "version",
                            version_text); /* 64 bits: more than a JSON number holds */
    char *printed = cJSON_PrintUnformatted(object);
    puts(printed);
    free(printed);
    cJSON_Delete(object);
}

void command_print_row(const struct command_environment *environment, struct ost_bytes key,
                       struct ost_bytes value, uint64_t version, bool keys_only)
{
    char *key_text = text_escape(key);
    char *value_text = text_escape(value);
    if (environment->json)
        print_row_json(key_text, keys_only ? NULL : value_text, version);
    else if (keys_only)
        puts(key_text);
    else
        printf("%s\t%s\n", key_text, value_text);
    free(value_text);
    free(key_text);
}

/* The prefix with its last byte that is not 0xff raised. */
struct ost_bytes prefix_end(uint8_t *prefix, size_t bytes_count)
{
    while (bytes_count > 0 && prefix[bytes_count - 1] == 0xff)
        bytes_count--;
    if (bytes_count > 0)
        prefix[bytes_count - 1]++;
    return ost_bytes(prefix, bytes_count);
}

void command_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    char name[64];
    snprintf(name, sizeof name, "ostraka %s", argv[0]);
    argv[0] = name;
    argp_parse(argp, argc, argv, 0, NULL, input);
}

bool text_unescape(char *text, struct ost_bytes *out_bytes)
{
    struct bytes bytes;
    if (!argument_key(text, &bytes))
        return false;
    *out_bytes = ost_bytes(bytes.data, bytes.bytes_count);
    return true;
}

bool text_number(struct ost_bytes text, int64_t *out_number)
{
    char copy[24] = "", *end;
    if (text.bytes_count == 0 || text.bytes_count >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.bytes_count);
    errno = 0;
    *out_number = strtoll(copy, &end, 10);
    return errno == 0 && end == copy + text.bytes_count;
}

struct ost_bytes argument_unescape(struct argp_state *state, const char *what, char *text,
                                   bool may_be_empty)
{
    struct ost_bytes bytes;
    if (!text_unescape(text, &bytes))
        argp_error(state, "%s '%s': after a backslash comes another one, or x and two hex digits",
                   what, text);
    if (bytes.bytes_count > KEY_BYTES_MAX)
        argp_error(state, "the %s has %zu bytes, the limit is %u", what, bytes.bytes_count,
                   KEY_BYTES_MAX);
    if (bytes.bytes_count == 0 && !may_be_empty)
        argp_error(state, "the %s is empty: a key has at least one byte", what);
    return bytes;
}
