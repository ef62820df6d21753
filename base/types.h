/* types.h: the scalars that every room speaks of, and the limits of DESIGN section 8. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t store_id_t;   /* a process with its disk; 0 is none */
typedef uint64_t group_id_t;   /* a Raft group; 0 is the shard master */
typedef uint64_t replica_id_t; /* given once by the shard master, never reused; 0 is none */
typedef uint64_t cluster_id_t;
typedef uint64_t raft_term_t;
typedef uint64_t raft_index_t;
/* Oracle time: milliseconds since 1970 in the high 46 bits, a counter in the low 18. 0 is none. */
typedef uint64_t timestamp_t;
/* A monotonic clock in nanoseconds, read by the hosts alone and carried by events. */
typedef uint64_t nanoseconds_t;

#define SHARD_MASTER_GROUP ((group_id_t)0)

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)
#define NS_NEVER  UINT64_MAX

#define TIMESTAMP_COUNTER_BITS 18
static inline timestamp_t timestamp_from_ms(uint64_t ms)
{
    return ms << TIMESTAMP_COUNTER_BITS;
}
static inline uint64_t timestamp_to_ms(timestamp_t timestamp)
{
    return timestamp >> TIMESTAMP_COUNTER_BITS;
}

#define KEY_BYTES_MAX            8192u
#define VALUE_BYTES_MAX          (1u << 20)
#define TXN_BYTES_MAX            (64u << 20)
#define TXN_OPERATIONS_COUNT_MAX 100000u
#define SCAN_ROWS_COUNT_MAX      10000u
#define SCAN_BYTES_MAX           (4u << 20)
#define STORES_COUNT_MAX         1000u
#define REPLICAS_PER_GROUP_MAX   7u
