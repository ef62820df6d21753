/* frame_type.h: the number and the meaning of every frame. Numbers are never used twice.
 *
 * A request is answered by the frame of the next number, with the same request id, on the same
 * connection. What has no answer says so. Messages are in the .proto file named.
 */
#pragma once

enum frame_type {
    /* session.proto: opens every connection, both ways. */
    FRAME_HELLO = 1,
    FRAME_HELLO_ANSWER = 2,

    /* raft.proto; no answer: what follows comes as a batch of its own. */
    FRAME_RAFT_BATCH = 10, /* RaftBatch; payload: the entries' payloads, one after the other */
    FRAME_RAFT_SNAPSHOT_CHUNK = 11, /* RaftSnapshotChunk; payload: the chunk */

    /* master.proto */
    FRAME_TIMESTAMP = 20, /* TimestampRequest, store or client to group 0's leader */
    FRAME_TIMESTAMP_ANSWER = 21,
    FRAME_MAP = 22,          /* MapRequest, to any store */
    FRAME_MAP_ANSWER = 23,   /* Map; also pushed with request id 0 to who subscribed */
    FRAME_STORE_REPORT = 24, /* StoreReport, store to group 0's leader; no answer */
    FRAME_CREATE_REPLICA =
        26, /* CreateReplica, group 0's leader to a store; no answer: the report tells */
    FRAME_ASSIGN_RANGE = 28, /* AssignRange, group 0's leader to a group's leader; no answer */
    FRAME_STATUS = 30,       /* StatusRequest, to any store */
    FRAME_STATUS_ANSWER = 31,
    FRAME_CHANGE_REPLICAS = 32, /* ChangeReplicas, client to group 0's leader */
    FRAME_CHANGE_REPLICAS_ANSWER = 33,
    FRAME_FOUND = 34, /* Found, a store with a new disk to each other founder of group 0 */
    FRAME_FOUND_ANSWER = 35,
    FRAME_HOLD = 36, /* HoldRequest, client to group 0's leader */
    FRAME_HOLD_ANSWER = 37,
    FRAME_SAFE_POINT = 38, /* SafePoint, group 0's leader to a store; no answer: the report tells */

    /* range.proto */
    FRAME_RANGE_ORDER = 70,  /* RangeOrder, group 0's leader to a group's leader; no answer */
    FRAME_RANGE_REPORT = 71, /* RangeReport, a group's leader to group 0's leader; no answer */
    FRAME_CHANGE_RANGE = 72, /* ChangeRange, client to group 0's leader */
    FRAME_CHANGE_RANGE_ANSWER = 73,
    FRAME_RANGE_FETCH = 74,        /* RangeFetch, group to group */
    FRAME_RANGE_FETCH_ANSWER = 75, /* RangeFetchAnswer, to the group that asked; payload: rows */

    /* master.proto: to group 0's leader */
    FRAME_CHANGE_STORE = 76, /* ChangeStore, a client or a store that joins */
    FRAME_CHANGE_STORE_ANSWER = 77,
    FRAME_PROGRESS = 78, /* ProgressRequest, client */
    FRAME_PROGRESS_ANSWER = 79,
    FRAME_TRANSFER_LEADER =
        80, /* TransferLeader, group 0's leader to the one of a group; no answer */

    /* kv.proto: client to the leader of a group */
    FRAME_GET = 40,         /* GetRequest: one linearizable read */
    FRAME_GET_ANSWER = 41,  /* payload: the value */
    FRAME_LOCK = 42,        /* LockRequest: lock a key for a transaction and read it */
    FRAME_LOCK_ANSWER = 43, /* payload: the value */
    FRAME_SCAN = 44, /* ScanRequest: lock an interval and read it; or one linearizable scan */
    FRAME_SCAN_ANSWER = 45, /* payload: rows (write_set.h) */
    FRAME_PREPARE = 46,     /* PrepareRequest; payload: the write set (write_set.h) */
    FRAME_PREPARE_ANSWER = 47,
    FRAME_COMMIT = 48, /* CommitRequest, to home */
    FRAME_COMMIT_ANSWER = 49,
    FRAME_ABORT = 50, /* AbortRequest, to home; or to a group whose locks are dropped */
    FRAME_ABORT_ANSWER = 51,
    FRAME_VALIDATE = 52, /* ValidateRequest */
    FRAME_VALIDATE_ANSWER = 53,
    FRAME_TXN_HEARTBEAT = 54, /* TxnHeartbeat; answered only when the locks are gone */
    FRAME_TXN_HEARTBEAT_ANSWER = 55,

    /* txns.proto */
    FRAME_TXNS = 56, /* TxnsRequest, to any store */
    FRAME_TXNS_ANSWER = 57,

    /* kv.proto: group to group. The answers are frames of their own, sent to the group that asked.
     */
    FRAME_RESOLVE = 60, /* ResolveRequest, home to a participant, by key */
    FRAME_RESOLVE_ANSWER = 61,
    FRAME_INQUIRE = 62, /* InquireRequest, participant to home, by the anchor key */
    FRAME_INQUIRE_ANSWER = 63,
    FRAME_CLOSE_TIMESTAMP = 64,        /* CloseTimestamp, a replica to its group's leader */
    FRAME_CLOSE_TIMESTAMP_ANSWER = 65, /* CloseTimestampAnswer, to the store that asked */
};

/* "prepare", "raft_batch"; "unknown" for a number that is none. */
const char *frame_type_name(unsigned type);
