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

/* Limits that need no server to be checked. */
OST_MUST_CHECK int api_key_check(struct ost_bytes key);
OST_MUST_CHECK int api_value_check(struct ost_bytes value);
/* An end of an interval may be empty. */
OST_MUST_CHECK int api_interval_check(struct ost_bytes start, struct ost_bytes end);

/* Results into the caller's memory; `context` is an ost_value or ost_rows. */
void api_copy_value(struct operation *operation, void *context);
void api_copy_rows(struct operation *operation, void *context);
/* For `done` of the async calls: done_context[0] is the function, [1] its context. */
void api_async_set(struct operation *operation, ost_done_fn done, void *context);
void api_async_call(struct operation *operation, ost_done_fn done, void *context);
