/* history_json.c: events to JSON lines and back. */
#include "cmd/history.h"

#include "base/arena.h"
#include "base/buffer.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {
    [HISTORY_INVOKE] = "invoke",
    [HISTORY_OK] = "ok",
    [HISTORY_FAIL] = "fail",
    [HISTORY_INFO] = "info",
};
static const char *const function_names[] = {
    [HISTORY_TXN] = "txn",
    [HISTORY_TRANSFER] = "transfer",
    [HISTORY_READ] = "read",
    [HISTORY_COUNTERS] = "counters",
};
static const char *const action_names[] = {
    [HISTORY_OP_READ] = "r",
    [HISTORY_OP_WRITE] = "w",
    [HISTORY_OP_APPEND] = "append",
    [HISTORY_OP_CAS] = "cas",
};
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* Writing. */

__attribute__((format(printf, 2, 3))) static void print(struct buffer *out, const char *format, ...)
{
    char text[128]; /* numbers and fixed words only */
    va_list arguments;
    va_start(arguments, format);
    int bytes_count = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ASSERT(bytes_count >= 0 && (size_t)bytes_count < sizeof text);
    buffer_append(out, text, (size_t)bytes_count);
}

static void print_string(struct buffer *out, const char *text)
{
    buffer_append_u8(out, '"');
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at == '"' || *at == '\\')
            print(out, "\\%c", *at);
        else if (*at < 0x20 || *at >= 0x7f)
            print(out, "\\u%04x", *at);
        else
            buffer_append_u8(out, *at);
    }
    buffer_append_u8(out, '"');
}

static void print_found(struct buffer *out, const struct history_op *op)
{
    switch (op->found) {
    case HISTORY_NOTHING:
        print(out, "null");
        break;
    case HISTORY_NUMBER:
        print(out, "%" PRId64, op->value);
        break;
    case HISTORY_LIST:
        print(out, "[");
        for (uint32_t i = 0; i < op->list_count; i++)
            print(out, "%s%" PRId64, i ? "," : "", op->list[i]);
        print(out, "]");
        break;
    }
}

static void print_op(struct buffer *out, const struct history_op *op)
{
    unsigned name = op->action == HISTORY_OP_DELETE ? HISTORY_OP_WRITE : op->action;
    print(out, "[\"%s\",%" PRId64 ",", action_names[name], op->key);
    switch (op->action) {
    case HISTORY_OP_READ:
        print_found(out, op);
        break;
    case HISTORY_OP_WRITE:
    case HISTORY_OP_APPEND:
        print(out, "%" PRId64, op->value);
        break;
    case HISTORY_OP_CAS:
        if (op->expects_absent)
            print(out, "[null,%" PRId64 "]", op->value);
        else
            print(out, "[%" PRId64 ",%" PRId64 "]", op->expected, op->value);
        break;
    case HISTORY_OP_DELETE:
        print(out, "null");
        break;
    }
    print(out, "]");
}

static void print_value(struct buffer *out, const struct history_event *event)
{
    switch (event->function) {
    case HISTORY_TXN:
        print(out, "[");
        for (uint32_t i = 0; i < event->ops_count; i++) {
            print(out, "%s", i ? "," : "");
            print_op(out, &event->ops[i]);
        }
        print(out, "]");
        break;
    case HISTORY_TRANSFER:
        print(out, "{\"from\":%" PRId64 ",\"to\":%" PRId64 ",\"amount\":%" PRId64 "}", event->from,
              event->to, event->amount);
        break;
    case HISTORY_READ:
    case HISTORY_COUNTERS:
        if (event->type != HISTORY_OK) {
            print(out, "null");
            break;
        }
        print(out, "{");
        for (uint32_t i = 0; i < event->ops_count; i++)
            print(out, "%s\"%" PRId64 "\":%" PRId64, i ? "," : "", event->ops[i].key,
                  event->ops[i].value);
        print(out, "}");
        break;
    }
}

int history_write_event(FILE *file, uint64_t index, const struct history_event *event)
{
    struct buffer line = BUFFER_INIT;
    print(&line, "{\"index\":%" PRIu64 ",\"time\":%" PRIu64 ",\"process\":%" PRIu64, index,
          event->time_ns, event->process);
    print(&line, ",\"type\":\"%s\",\"f\":\"%s\",\"value\":", type_names[event->type],
          function_names[event->function]);
    print_value(&line, event);
    if (event->error) {
        print(&line, ",\"error\":");
        print_string(&line, event->error);
    }
    print(&line, "}\n");
    size_t written = fwrite(line.data, 1, line.bytes_count, file);
    int status = written == line.bytes_count ? OST_OK : OST_IO;
    buffer_fini(&line);
    return status;
}

char *history_print_event(const struct history_event *event, char *text, size_t text_bytes_max)
{
    struct buffer value = BUFFER_INIT;
    print_value(&value, event);
    buffer_append_u8(&value, 0);
    int count = snprintf(text, text_bytes_max, "process %" PRIu64 " %s %s %s", event->process,
                         type_names[event->type], function_names[event->function],
                         (const char *)value.data);
    if (count >= 0 && (size_t)count >= text_bytes_max && text_bytes_max >= 4)
        memcpy(text + text_bytes_max - 4, "...", 4);
    buffer_fini(&value);
    return text;
}

/* Reading. What is read lies in an arena that is dropped with the line. */

struct line_reader {
    struct arena arena;
    char *out_why;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct line_reader *reader,
                                                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reader->out_why, HISTORY_WHY_BYTES, format, arguments);
    va_end(arguments);
    return OST_INVALID_ARGUMENT;
}

static bool read_number(const cJSON *json, int64_t *out)
{
    if (!cJSON_IsNumber(json))
        return false;
    double number = json->valuedouble;
    if (!isfinite(number) || fabs(number) > (double)HISTORY_NUMBER_MAX || floor(number) < number)
        return false;
    *out = (int64_t)number;
    return true;
}

static bool read_count(const cJSON *json, uint64_t *out)
{
    int64_t number;
    if (!read_number(json, &number) || number < 0)
        return false;
    *out = (uint64_t)number;
    return true;
}

/* An account in an object's key: digits only, as the writer prints them. */
static bool read_account(const char *text, int64_t *out)
{
    char *end;
    if (!text || !(isdigit((unsigned char)text[0]) || text[0] == '-'))
        return false;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || *end || number > HISTORY_NUMBER_MAX || number < -HISTORY_NUMBER_MAX)
        return false;
    *out = number;
    return true;
}

static bool read_word(const cJSON *json, const char *const *words, size_t words_count,
                      unsigned int *out)
{
    if (!cJSON_IsString(json))
        return false;
    for (unsigned int i = 0; i < words_count; i++) {
        if (strcmp(json->valuestring, words[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static int read_found(struct line_reader *reader, const cJSON *json, struct history_op *op)
{
    if (cJSON_IsNull(json))
        return OST_OK;
    if (read_number(json, &op->value)) {
        op->found = HISTORY_NUMBER;
        return OST_OK;
    }
    if (!cJSON_IsArray(json))
        return refuse(reader, "what a read returns is null, a whole number, or a list of these");
    op->found = HISTORY_LIST;
    int64_t *list = arena_alloc(&reader->arena, (size_t)cJSON_GetArraySize(json) * sizeof *list);
    op->list = list;
    const cJSON *element;
    cJSON_ArrayForEach(element, json)
    {
        if (!read_number(element, &list[op->list_count]))
            return refuse(reader, "an element of a list is no whole number");
        op->list_count++;
    }
    return OST_OK;
}

static int read_written(struct line_reader *reader, const cJSON *json, struct history_op *op)
{
    return read_number(json, &op->value)
               ? OST_OK
               : refuse(reader, "the value of a micro-operation is no whole number");
}

static int read_cas(struct line_reader *reader, const cJSON *json, struct history_op *op)
{
    if (!cJSON_IsArray(json) || cJSON_GetArraySize(json) != 2)
        return refuse(reader, "the value of a cas is a list of two");
    op->expects_absent = cJSON_IsNull(json->child);
    if ((!op->expects_absent && !read_number(json->child, &op->expected)) ||
        !read_number(json->child->next, &op->value))
        return refuse(reader, "the value of a cas is a list of two whole numbers, or null and one");
    return OST_OK;
}

static int read_op(struct line_reader *reader, const cJSON *json, struct history_op *op)
{
    unsigned int action;
    if (!cJSON_IsArray(json) || cJSON_GetArraySize(json) != 3)
        return refuse(reader, "a micro-operation is a list of three: action, key, value");
    const cJSON *key = json->child->next;
    const cJSON *value = key->next;
    if (!read_word(json->child, action_names, COUNT_OF(action_names), &action))
        return refuse(reader, "an action is \"r\", \"w\", \"append\" or \"cas\"");
    *op = (struct history_op){.action = (enum history_action)action};
    if (!read_number(key, &op->key))
        return refuse(reader, "the key of a micro-operation is no whole number");
    switch (op->action) {
    case HISTORY_OP_READ:
        return read_found(reader, value, op);
    case HISTORY_OP_WRITE:
        if (cJSON_IsNull(value)) {
            op->action = HISTORY_OP_DELETE;
            return OST_OK;
        }
        return read_written(reader, value, op);
    case HISTORY_OP_APPEND:
        return read_written(reader, value, op);
    case HISTORY_OP_CAS:
        return read_cas(reader, value, op);
    case HISTORY_OP_DELETE:
        break;
    }
    return OST_OK;
}

static int read_txn(struct line_reader *reader, const cJSON *json, struct history_event *event)
{
    if (!cJSON_IsArray(json))
        return refuse(reader, "the value of a txn is a list of micro-operations");
    struct history_op *ops =
        arena_alloc(&reader->arena, (size_t)cJSON_GetArraySize(json) * sizeof *ops);
    event->ops = ops;
    const cJSON *element;
    cJSON_ArrayForEach(element, json)
    {
        int status = read_op(reader, element, &ops[event->ops_count++]);
        if (status != OST_OK)
            return status;
    }
    return OST_OK;
}

static int read_accounts(struct line_reader *reader, const cJSON *json, struct history_event *event)
{
    if (!cJSON_IsObject(json))
        return refuse(reader, "the value of a read is an object: a number for each account");
    struct history_op *ops =
        arena_alloc_zeroed(&reader->arena, (size_t)cJSON_GetArraySize(json) * sizeof *ops);
    event->ops = ops;
    const cJSON *element;
    cJSON_ArrayForEach(element, json)
    {
        struct history_op *op = &ops[event->ops_count++];
        op->found = HISTORY_NUMBER;
        if (!read_account(element->string, &op->key) || !read_number(element, &op->value))
            return refuse(reader, "account and balance are to be whole numbers");
    }
    return OST_OK;
}

static int read_transfer(struct line_reader *reader, const cJSON *json, struct history_event *event)
{
    if (!cJSON_IsObject(json) ||
        !read_number(cJSON_GetObjectItemCaseSensitive(json, "from"), &event->from) ||
        !read_number(cJSON_GetObjectItemCaseSensitive(json, "to"), &event->to) ||
        !read_number(cJSON_GetObjectItemCaseSensitive(json, "amount"), &event->amount))
        return refuse(reader, "the value of a transfer is an object: from, to, amount");
    return OST_OK;
}

/* What a fail or an info says of its value is not looked at: it is its invocation's. */
static int read_value(struct line_reader *reader, const cJSON *json, struct history_event *event)
{
    if (event->type == HISTORY_FAIL || event->type == HISTORY_INFO)
        return OST_OK;
    switch (event->function) {
    case HISTORY_TXN:
        return read_txn(reader, json, event);
    case HISTORY_TRANSFER:
        return read_transfer(reader, json, event);
    case HISTORY_READ:
    case HISTORY_COUNTERS:
        return event->type == HISTORY_OK ? read_accounts(reader, json, event) : OST_OK;
    }
    return OST_OK;
}

static int read_event(struct line_reader *reader, const cJSON *json, struct history_event *event)
{
    unsigned int type, function;
    if (!read_count(cJSON_GetObjectItemCaseSensitive(json, "time"), &event->time_ns))
        return refuse(reader, "\"time\" is no whole number of nanoseconds");
    if (!read_word(cJSON_GetObjectItemCaseSensitive(json, "type"), type_names, COUNT_OF(type_names),
                   &type))
        return refuse(reader, "\"type\" is not one of invoke, ok, fail, info");
    if (!read_word(cJSON_GetObjectItemCaseSensitive(json, "f"), function_names,
                   COUNT_OF(function_names), &function))
        return refuse(reader, "\"f\" is not one of txn, transfer, read, counters");
    event->type = (enum history_type)type;
    event->function = (enum history_function)function;
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
    if (cJSON_IsString(error))
        event->error = error->valuestring;
    return read_value(reader, cJSON_GetObjectItemCaseSensitive(json, "value"), event);
}

static int read_json(struct line_reader *reader, struct history *history, const cJSON *json)
{
    if (!cJSON_IsObject(json))
        return refuse(reader, "not a JSON object");
    const cJSON *process = cJSON_GetObjectItemCaseSensitive(json, "process");
    if (cJSON_IsString(process))
        return OST_OK; /* not a client */
    struct history_event event = {0};
    if (!read_count(process, &event.process))
        return refuse(reader, "\"process\" is no whole number");
    int status = read_event(reader, json, &event);
    return status == OST_OK ? history_append(history, &event, reader->out_why) : status;
}

int history_read_line(struct history *history, const char *line, size_t bytes_count, char *out_why)
{
    struct line_reader reader = {.out_why = out_why};
    if (bytes_count > HISTORY_LINE_BYTES_MAX)
        return refuse(&reader, "longer than %u bytes", HISTORY_LINE_BYTES_MAX);
    size_t blanks_count = 0;
    while (blanks_count < bytes_count && isspace((unsigned char)line[blanks_count]))
        blanks_count++;
    if (blanks_count == bytes_count)
        return OST_OK;
    if (memchr(line, 0, bytes_count))
        return refuse(&reader, "not a JSON object: a zero byte");
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(line, bytes_count, &end, false);
    while (json && end < line + bytes_count && isspace((unsigned char)*end))
        end++;
    if (!json || end != line + bytes_count) {
        cJSON_Delete(json);
        return refuse(&reader, "not a JSON object");
    }
    arena_init(&reader.arena);
    int status = read_json(&reader, history, json);
    arena_fini(&reader.arena);
    cJSON_Delete(json);
    return status;
}

/* Up to the newline or the end of the file; no more than one byte over the limit is kept. */
static bool line_read(FILE *file, struct buffer *line)
{
    buffer_reset(line);
    int byte;
    while ((byte = getc_unlocked(file)) != EOF && byte != '\n')
        if (line->bytes_count <= HISTORY_LINE_BYTES_MAX)
            buffer_append_u8(line, (uint8_t)byte);
    return byte != EOF || line->bytes_count > 0;
}

int history_read_file(struct history *history, FILE *file, const char *name, char *out_why)
{
    struct buffer line = BUFFER_INIT;
    char why[HISTORY_WHY_BYTES];
    uint64_t number = 0;
    int status = OST_OK;
    buffer_reserve(&line, 1);
    while (status == OST_OK && line_read(file, &line)) {
        number++;
        status = history_read_line(history, (const char *)line.data, line.bytes_count, why);
    }
    if (status != OST_OK) {
        (void)snprintf(out_why, HISTORY_WHY_BYTES, "%s:%" PRIu64 ": %s", name, number, why);
    } else if (ferror(file)) {
        status = OST_IO;
        (void)snprintf(out_why, HISTORY_WHY_BYTES, "%s: cannot read: %s", name, strerror(errno));
    }
    buffer_fini(&line);
    return status;
}
