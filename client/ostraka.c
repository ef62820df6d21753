/* ostraka.c: the client itself and operations outside transactions. */
#include "client/ostraka_internal.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

OST_API struct ost_bytes ost_string(const char *text)
{
    return ost_bytes(text, strlen(text));
}

OST_API void ost_value_free(struct ost_value *value)
{
    free(value->data);
    *value = (struct ost_value){0};
}

OST_API void ost_rows_free(struct ost_rows *rows)
{
    free(rows->memory);
    *rows = (struct ost_rows){0};
}

OST_API void ost_options_default(struct ost_options *out_options)
{
    *out_options = (struct ost_options){
        .endpoints = "127.0.0.1:7100",
        .operation_timeout_ms = 5000,
        .retry_backoff_ms_max = 100,
    };
}

int api_key_check(struct ost_bytes key)
{
    char why[LIMIT_WHY_BYTES];
    int status = limit_check_key(key.data ? key.bytes_count : 0, why);
    return status == OST_OK ? OST_OK : api_failed(status, why);
}

int api_value_check(struct ost_bytes value)
{
    char why[LIMIT_WHY_BYTES];
    if (value.bytes_count && !value.data)
        return api_failed(OST_INVALID_ARGUMENT, "data is NULL");
    int status = limit_check_value(value.bytes_count, why);
    return status == OST_OK ? OST_OK : api_failed(status, why);
}

int api_interval_check(struct ost_bytes start, struct ost_bytes end)
{
    if ((start.bytes_count && !start.data) || (end.bytes_count && !end.data))
        return api_failed(OST_INVALID_ARGUMENT, "data is NULL");
    int status = start.bytes_count ? api_key_check(start) : OST_OK;
    return status == OST_OK && end.bytes_count ? api_key_check(end) : status;
}

static uint64_t seed_draw(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        /* Never on a Linux that has io_uring; then at least no two processes are alike. */
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed =
            ((uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec) ^ ((uint64_t)getpid() << 40);
    }
    return seed;
}

static void copy_why(struct operation *operation, void *context)
{
    char *why = context;
    const char *text = operation->status == OST_DISCONNECTED ? "no store answers"
                                                             : ost_status_text(operation->status);
    if (why && operation->status != OST_OK)
        snprintf(why, 256, "%s%s%s", text, operation->why ? ": " : "",
                 operation->why ? operation->why : "");
}

OST_API int ost_open(const struct ost_options *options, struct ost_client **out_client,
                     char *out_why)
{
    *out_client = NULL;
    if (out_why)
        out_why[0] = '\0';
    const char *wrong = NULL;
    if (!options->endpoints || strspn(options->endpoints, ", ") == strlen(options->endpoints))
        wrong = "no endpoint is named";
    else if (options->operation_timeout_ms == 0 || options->operation_timeout_ms > 60000)
        wrong = "operation_timeout_ms must be between 1 and 60000";
    if (wrong) {
        if (out_why)
            snprintf(out_why, 256, "%s", wrong);
        return OST_INVALID_ARGUMENT;
    }
    struct client_core_options core_options;
    client_core_options_default(&core_options);
    core_options.endpoints = options->endpoints;
    core_options.seed = seed_draw();
    core_options.operation_timeout_ms = options->operation_timeout_ms;
    core_options.backoff_ms_max = options->retry_backoff_ms_max ? options->retry_backoff_ms_max : 1;
    struct ost_client *client;
    int status = runtime_open(&core_options, seed_draw(), &client);
    if (status != OST_OK) {
        if (out_why)
            snprintf(out_why, 256, "cannot start the client's thread: %s", ost_status_text(status));
        return status;
    }
    struct operation *operation =
        operation_new(OPERATION_OPEN, bytes_of(NULL, 0), bytes_of(NULL, 0));
    status = runtime_call(client, operation, copy_why, out_why);
    if (status != OST_OK) {
        runtime_close(client);
        return status;
    }
    *out_client = client;
    return OST_OK;
}

OST_API void ost_close(struct ost_client *client)
{
    if (client)
        runtime_close(client);
}

/* --- Results
 * ------------------------------------------------------------------------------------------- */

void api_copy_value(struct operation *operation, void *context)
{
    struct ost_value *value = context;
    *value = (struct ost_value){.version = operation->result_version};
    if (operation->status != OST_OK)
        return;
    value->bytes_count = operation->result_value.bytes_count;
    value->data = memory_alloc(value->bytes_count + 1);
    if (value->bytes_count)
        memcpy(value->data, operation->result_value.data, value->bytes_count);
    ((char *)value->data)[value->bytes_count] = '\0'; /* texts may be printed as they are */
}

/* `bytes` stay where they are: the rows point into them. */
static void rows_point(struct bytes bytes, struct ost_row *rows, size_t rows_count)
{
    struct reader reader = reader_of(bytes);
    for (size_t index = 0; index < rows_count; index++) {
        struct row row;
        int status = rows_next(&reader, &row);
        ASSERT(status == OST_OK); /* our own encoding */
        rows[index] = (struct ost_row){
            .key = ost_of_bytes(row.key), .value = ost_of_bytes(row.value), .version = row.version};
    }
}

void api_copy_rows(struct operation *operation, void *context)
{
    struct ost_rows *rows = context;
    *rows = (struct ost_rows){0};
    if (operation->status != OST_OK)
        return;
    size_t rows_count = operation->result_rows_count;
    size_t bytes_count = operation->result_rows.bytes_count;
    struct ost_row *memory = memory_alloc(rows_count * sizeof(*memory) + bytes_count + 1);
    uint8_t *data = (uint8_t *)(memory + rows_count);
    if (bytes_count)
        memcpy(data, operation->result_rows.data, bytes_count);
    rows_point(bytes_of(data, bytes_count), memory, rows_count);
    *rows = (struct ost_rows){
        .rows = memory, .rows_count = rows_count, .more = operation->result_more, .memory = memory};
}

void api_async_call(struct operation *operation, const char *error, ost_done_fn done, void *context)
{
    bool is_deletion = operation->type == OPERATION_DELETE_RANGE;
    struct ost_result result = {
        .error = error[0] ? error : NULL,
        .number = operation->result_number,
        .deleted_count = is_deletion ? operation->result_rows_count : 0,
        .status = operation->status,
        .value = ost_of_bytes(operation->result_value),
        .version = operation->result_version,
        .more = operation->result_more,
    };
    struct ost_row *rows = NULL;
    if (operation->status == OST_OK && operation->result_rows_count && !is_deletion) {
        rows = memory_alloc(operation->result_rows_count * sizeof(*rows));
        rows_point(operation->result_rows, rows, operation->result_rows_count);
        result.rows = rows;
        result.rows_count = operation->result_rows_count;
    }
    done(context, &result);
    free(rows);
}

static void async_done(struct operation *operation)
{
    ost_done_fn done = (ost_done_fn)(uintptr_t)operation->done_context[0];
    char error[ERROR_TEXT_BYTES];
    api_error_print(operation->done_context[2], operation, error);
    api_async_call(operation, error, done, operation->done_context[1]);
    operation_free(operation);
}

void api_async_set(struct ost_client *client, struct operation *operation, ost_done_fn done,
                   void *context)
{
    operation->done = async_done;
    operation->done_context[0] = (void *)(uintptr_t)done;
    operation->done_context[1] = context;
    operation->done_context[2] = client;
}

/* --- Single operations
 * --------------------------------------------------------------------------------- */

OST_API int ost_get(struct ost_client *client, struct ost_bytes key, struct ost_value *out_value)
{
    *out_value = (struct ost_value){0};
    int status = api_key_check(key);
    if (status != OST_OK)
        return status;
    return api_call(client, operation_new(OPERATION_GET, bytes_of_ost(key), bytes_of(NULL, 0)),
                    api_copy_value, out_value);
}

/* NULL: an argument breaks a limit, *out_status says which way. */
static struct operation *write_new(enum write_kind kind, struct ost_bytes key,
                                   struct ost_bytes value, int *out_status)
{
    *out_status = api_key_check(key);
    if (*out_status == OST_OK)
        *out_status = api_value_check(value);
    if (*out_status != OST_OK)
        return NULL;
    struct operation *operation =
        operation_new(OPERATION_WRITE, bytes_of_ost(key), bytes_of_ost(value));
    operation->write_kind = kind;
    return operation;
}

OST_API int ost_put(struct ost_client *client, struct ost_bytes key, struct ost_bytes value)
{
    int status;
    struct operation *operation = write_new(WRITE_PUT, key, value, &status);
    return operation ? api_call(client, operation, NULL, NULL) : status;
}

OST_API int ost_delete(struct ost_client *client, struct ost_bytes key)
{
    int status;
    struct operation *operation = write_new(WRITE_DELETE, key, ost_bytes(NULL, 0), &status);
    return operation ? api_call(client, operation, NULL, NULL) : status;
}

OST_API int ost_scan(struct ost_client *client, struct ost_bytes start, struct ost_bytes end,
                     uint32_t rows_count_max, bool reverse, struct ost_rows *out_rows)
{
    *out_rows = (struct ost_rows){0};
    int status = api_interval_check(start, end);
    if (status != OST_OK)
        return status;
    struct operation *operation =
        operation_new(OPERATION_SCAN, bytes_of_ost(start), bytes_of_ost(end));
    operation->rows_count_max = rows_count_max;
    operation->reverse = reverse;
    return api_call(client, operation, api_copy_rows, out_rows);
}

OST_API int ost_get_async(struct ost_client *client, struct ost_bytes key, ost_done_fn done,
                          void *context)
{
    int status = api_key_check(key);
    if (status != OST_OK)
        return status;
    struct operation *operation =
        operation_new(OPERATION_GET, bytes_of_ost(key), bytes_of(NULL, 0));
    api_async_set(client, operation, done, context);
    return runtime_submit(client, operation);
}

static int write_async(struct ost_client *client, enum write_kind kind, struct ost_bytes key,
                       struct ost_bytes value, ost_done_fn done, void *context)
{
    int status;
    struct operation *operation = write_new(kind, key, value, &status);
    if (!operation)
        return status;
    api_async_set(client, operation, done, context);
    return runtime_submit(client, operation);
}

OST_API int ost_put_async(struct ost_client *client, struct ost_bytes key, struct ost_bytes value,
                          ost_done_fn done, void *context)
{
    return write_async(client, WRITE_PUT, key, value, done, context);
}

OST_API int ost_delete_async(struct ost_client *client, struct ost_bytes key, ost_done_fn done,
                             void *context)
{
    return write_async(client, WRITE_DELETE, key, ost_bytes(NULL, 0), done, context);
}

OST_API int ost_after_async(struct ost_client *client, uint32_t delay_ms, ost_done_fn done,
                            void *context)
{
    struct operation *operation =
        operation_new(OPERATION_AFTER, bytes_of(NULL, 0), bytes_of(NULL, 0));
    operation->delay_ms = delay_ms;
    api_async_set(client, operation, done, context);
    return runtime_submit(client, operation);
}
