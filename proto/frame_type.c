#include "proto/frame_type.h"

const char *frame_type_name(unsigned type)
{
    switch (type) {
    case FRAME_HELLO:
        return "hello";
    case FRAME_HELLO_ANSWER:
        return "hello_answer";
    case FRAME_RAFT_BATCH:
        return "raft_batch";
    case FRAME_RAFT_SNAPSHOT_CHUNK:
        return "raft_snapshot_chunk";
    case FRAME_TIMESTAMP:
        return "timestamp";
    case FRAME_TIMESTAMP_ANSWER:
        return "timestamp_answer";
    case FRAME_MAP:
        return "map";
    case FRAME_MAP_ANSWER:
        return "map_answer";
    case FRAME_STORE_REPORT:
        return "store_report";
    case FRAME_CREATE_REPLICA:
        return "create_replica";
    case FRAME_ASSIGN_RANGE:
        return "assign_range";
    case FRAME_STATUS:
        return "status";
    case FRAME_STATUS_ANSWER:
        return "status_answer";
    case FRAME_GET:
        return "get";
    case FRAME_GET_ANSWER:
        return "get_answer";
    case FRAME_LOCK:
        return "lock";
    case FRAME_LOCK_ANSWER:
        return "lock_answer";
    case FRAME_SCAN:
        return "scan";
    case FRAME_SCAN_ANSWER:
        return "scan_answer";
    case FRAME_PREPARE:
        return "prepare";
    case FRAME_PREPARE_ANSWER:
        return "prepare_answer";
    case FRAME_COMMIT:
        return "commit";
    case FRAME_COMMIT_ANSWER:
        return "commit_answer";
    case FRAME_ABORT:
        return "abort";
    case FRAME_ABORT_ANSWER:
        return "abort_answer";
    case FRAME_VALIDATE:
        return "validate";
    case FRAME_VALIDATE_ANSWER:
        return "validate_answer";
    case FRAME_TXN_HEARTBEAT:
        return "txn_heartbeat";
    case FRAME_TXN_HEARTBEAT_ANSWER:
        return "txn_heartbeat_answer";
    case FRAME_RESOLVE:
        return "resolve";
    case FRAME_RESOLVE_ANSWER:
        return "resolve_answer";
    case FRAME_INQUIRE:
        return "inquire";
    case FRAME_INQUIRE_ANSWER:
        return "inquire_answer";
    default:
        return "unknown";
    }
}
