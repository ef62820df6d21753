/* kv_server_internal.h: what kv_server.c and kv_report.c share. */
#pragma once

#include "base/log.h"
#include "shardkv/kv_group.h"

struct creation;

/* A replica that has forgotten what it promised: not run, only reported. */
struct lost_replica {
    group_id_t group;
    replica_id_t replica;
    UT_hash_handle hh;
};

struct kv_server {
    struct kv_shared shared; /* first: a group finds the server by it */
    struct lost_replica *lost;
    struct log_limit creation_warnings; /* the master repeats its command many times a second */
    struct creation *creations;         /* by group */
    uint64_t replicas_changed;
    struct kv_group *groups; /* by id */
    struct arena arena;      /* of the frame that is being received */
    struct kv_flusher *flusher;
    struct kv_sweeper *sweeper;
};
