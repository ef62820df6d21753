/* log_operation.h: what the log's files need done; the process does it and reports. */
#pragma once

#include "base/types.h"

enum log_operation_type {
    LOG_OPERATION_WRITE,  /* by the log thread, in order, one at a time */
    LOG_OPERATION_CREATE, /* on the pool: make segment `segment` of `bytes_count` zero bytes */
    LOG_OPERATION_RETIRE, /* on the pool: nothing in it is needed any more */
};
struct log_operation {
    enum log_operation_type type;
    uint32_t segment;
    uint64_t offset;
    const void *data; /* aligned to the block; good until the operation is reported */
    size_t bytes_count;
    uint64_t cookie;
};
