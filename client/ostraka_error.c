/* ostraka_error.c: errors as lines for people. */
#include "client/ostraka_internal.h"

#include "client/core_internal.h"

#include <stdio.h>

static _Thread_local char last_error[ERROR_TEXT_BYTES];

OST_API const char *ost_last_error(void)
{
    return last_error;
}

int api_failed(int status, const char *why)
{
    if (status != OST_OK)
        snprintf(last_error, sizeof(last_error), "%s%s%s", ost_status_text(status), why ? ": " : "",
                 why ? why : "");
    return status;
}

void api_failed_with(const char *line)
{
    snprintf(last_error, sizeof(last_error), "%s", line);
}

void api_error_print(struct ost_client *client, const struct operation *operation, char *text)
{
    text[0] = '\0';
    if (operation->status == OST_OK || operation->status == OST_NOT_FOUND)
        return;
    char reason_text[ERROR_TEXT_BYTES] = "";
    const char *why = operation->why;
    if (!why && operation->txn) {
        const struct coordinator_reason *reason =
            coordinator_reason(core_txn_coordinator(operation->txn));
        if (reason->status == operation->status)
            explain_reason(runtime_core(client), reason, reason_text, sizeof(reason_text));
        why = reason_text[0] ? reason_text : NULL;
    }
    snprintf(text, ERROR_TEXT_BYTES, "%s%s%s", ost_status_text(operation->status), why ? ": " : "",
             why ? why : "");
}

struct call {
    struct ost_client *client;
    void (*copy)(struct operation *operation, void *context);
    void *context;
    char error[ERROR_TEXT_BYTES];
};

static void call_copy(struct operation *operation, void *context)
{
    struct call *call = context;
    api_error_print(call->client, operation, call->error);
    if (call->copy)
        call->copy(operation, call->context);
}

int api_call(struct ost_client *client, struct operation *operation_take,
             void (*copy)(struct operation *operation, void *context), void *context)
{
    struct call call = {.client = client, .copy = copy, .context = context};
    int status = runtime_call(client, operation_take, call_copy, &call);
    if (status == OST_OK)
        return OST_OK;
    if (call.error[0])
        api_failed_with(call.error);
    else
        api_failed(status, status == OST_INVALID_ARGUMENT
                               ? "a call that waits was made from a callback"
                               : NULL);
    return status;
}
