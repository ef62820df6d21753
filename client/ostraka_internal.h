/* ostraka_internal.h: what the files behind the public API share. */
#pragma once

#include "client/runtime.h"

#define OST_API __attribute__((visibility("default")))

static inline struct bytes bytes_of_ost(struct ost_bytes bytes)
{
    return bytes_of(bytes.data, bytes.bytes_count);
}
static inline struct ost_bytes ost_of_bytes(struct bytes bytes)
{
    return ost_bytes(bytes.data, bytes.bytes_count);
}

/* ostraka_error.c */
#define ERROR_TEXT_BYTES 400
/* The calling thread's last error; returns `status`. `why` may be NULL. */
int api_failed(int status, const char *why);
/* The same with a whole line. */
void api_failed_with(const char *line);
/* What the operation ended with, as one line; empty when that was no error. On the client's thread.
 */
void api_error_print(struct ost_client *client, const struct operation *operation, char *text);
/* runtime_call, and the thread's last error. */
OST_MUST_CHECK int api_call(struct ost_client *client, struct operation *operation_take,
                            void (*copy)(struct operation *operation, void *context),
                            void *context);

/* Limits that need no server to be checked. They set the thread's last error. */
OST_MUST_CHECK int api_key_check(struct ost_bytes key);
OST_MUST_CHECK int api_value_check(struct ost_bytes value);
/* An end of an interval may be empty. */
OST_MUST_CHECK int api_interval_check(struct ost_bytes start, struct ost_bytes end);

/* ostraka_txn.c: an operation of a transaction, with and without waiting; and one that failed
 * before there was an operation (with the thread's last error). Each returns the status. */
OST_MUST_CHECK int api_txn_call(struct ost_txn *txn, struct operation *operation_take,
                                void (*copy)(struct operation *operation, void *context),
                                void *context);
OST_MUST_CHECK int api_txn_submit(struct ost_txn *txn, struct operation *operation_take,
                                  ost_done_fn done, void *context);
int api_txn_failed(struct ost_txn *txn, int status);

/* Why the operation failed into 256 bytes, if `context` is not NULL. */
void api_copy_why(struct operation *operation, void *context);
/* Results into the caller's memory; `context` is an ost_value or ost_rows. */
void api_copy_value(struct operation *operation, void *context);
void api_copy_rows(struct operation *operation, void *context);
/* For `done` of the async calls: done_context[0] is the function, [1] its context, [2] the
 * client. */
void api_async_set(struct ost_client *client, struct operation *operation, ost_done_fn done,
                   void *context);
void api_async_call(struct operation *operation, const char *error, ost_done_fn done,
                    void *context);
