/* ostrakad.c: the server's command line. Every limit and time that a user may want to change is a
 * flag. */
#include "base/log.h"
#include "base/memory.h"
#include "cmd/arguments.h"
#include "cmd/server.h"
#include "shardmaster/master_stores.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

#define INITIAL_SPLITS_MAX 1024
#define JOIN_ADDRESSES_MAX 32

const char *argp_program_version = "ostrakad " OSTRAKA_VERSION;

/* What jemalloc looks for by this name, where it is the allocator: a thread of its own gives memory
 * back to the system. Left to whoever frees next, that was the loop, for up to 4 ms. */
const char *malloc_conf = "background_thread:true";

static const char doc[] =
    "ostrakad: one store of an Ostraka cluster.\v"
    "Start each store of a new cluster with the same --cluster and --initial-stores:\n\n"
    "  ostrakad --store 1 --data /var/lib/ostraka --listen 0.0.0.0:7100 \\\n"
    "      --advertise 10.0.0.1:7100 \\\n"
    "      --initial-stores 1=10.0.0.1:7100,2=10.0.0.2:7100,3=10.0.0.3:7100\n\n"
    "A store that comes later names any of them instead, and a number that is free:\n\n"
    "  ostrakad --store 4 --data /var/lib/ostraka --listen 0.0.0.0:7100 \\\n"
    "      --advertise 10.0.0.4:7100 --join 10.0.0.1:7100,10.0.0.2:7100\n\n"
    "Start it again with the same flags to go on. SIGTERM hands over leadership and stops. "
    "Logs go to standard error.";

enum option_key {
    KEY_LOG_DIR = 256,
    KEY_ADVERTISE,
    KEY_CLUSTER,
    KEY_HOST,
    KEY_JOIN,
    KEY_INITIAL_STORES,
    KEY_INITIAL_GROUPS,
    KEY_INITIAL_REPLICAS,
    KEY_INITIAL_SPLITS,
    KEY_HEARTBEAT_MS,
    KEY_ELECTION_MS_MIN,
    KEY_ELECTION_MS_MAX,
    KEY_LEASE_MS,
    KEY_LOCK_WAIT_MS,
    KEY_LOCK_EXPIRY_MS,
    KEY_LOCK_QUEUE,
    KEY_LOCKS,
    KEY_TXNS,
    KEY_FLUSH_MIB,
    KEY_FLUSH_INTERVAL_MS,
    KEY_BLOCK_CACHE_MIB,
    KEY_WRITE_BUFFER_MIB,
    KEY_LOG_SEGMENT_MIB,
    KEY_LOG_RETAINED_MIB,
    KEY_LOG_FOLLOWED_MIB,
    KEY_LOG_HUNG_MS,
    KEY_HISTORY_MS,
    KEY_DEAD_AFTER_MS,
    KEY_REPLICA_CHANGES,
    KEY_RANGE_CHANGES,
    KEY_MERGE_AFTER_MS,
    KEY_RANGE_SPLIT_MIB,
    KEY_RANGE_MERGE_MIB,
    KEY_RANGE_SPLIT_OPERATIONS,
    KEY_COPY_MIB_PER_S,
    KEY_POOL_THREADS,
    KEY_LOG_LEVEL,
};

static const struct argp_option option_table[] = {
    {NULL, 0, NULL, 0, "This store:", 1},
    {"store", 's', "ID", 0, "its number in the cluster, from 1; required", 1},
    {"data", 'd', "DIR", 0, "data directory, made when it is not there; required", 1},
    {"log-dir", KEY_LOG_DIR, "DIR", 0, "directory of the Raft log (default: DATA/log)", 1},
    {"listen", 'l', "HOST:PORT", 0, "address to listen on (default: 127.0.0.1:7100)", 1},
    {"advertise", KEY_ADVERTISE, "HOST:PORT", 0,
     "address for others to reach it (default: --listen)", 1},
    {"host", KEY_HOST, "LABEL", 0,
     "the machine that it shares with others: two replicas of a group are not put on one if that "
     "can "
     "be helped (default: the host of --advertise)",
     1},
    {"join", KEY_JOIN, "HOST:PORT,...", 0,
     "join the cluster of these stores, which --cluster names, instead of making a new one; no "
     "other "
     "--initial flag is needed",
     1},
    {NULL, 0, NULL, 0, "A new cluster (the same on every store, and at every start):", 2},
    {"cluster", KEY_CLUSTER, "NAME", 0, "name of the cluster (default: ostraka)", 2},
    {"initial-stores", KEY_INITIAL_STORES, "ID=HOST:PORT,...", 0,
     "the stores that it begins with; required without --join", 2},
    {"initial-groups", KEY_INITIAL_GROUPS, "N", 0, "data groups (default: 2)", 2},
    {"initial-replicas", KEY_INITIAL_REPLICAS, "N", 0,
     "replicas of each group, spread over the initial stores, and of the shard master, on the "
     "first "
     "of them; at most one a store (default: 3)",
     2},
    {"initial-splits", KEY_INITIAL_SPLITS, "KEY,...", 0,
     "keys at which the key space is cut; the ranges are dealt to the groups in turn; \\xNN writes "
     "any "
     "byte, \\x2c a comma (default: none, one range)",
     2},
    {NULL, 0, NULL, 0, "Times:", 3},
    {"heartbeat-ms", KEY_HEARTBEAT_MS, "MS", 0, "(default: 50)", 3},
    {"election-timeout-ms-min", KEY_ELECTION_MS_MIN, "MS", 0, "(default: 500)", 3},
    {"election-timeout-ms-max", KEY_ELECTION_MS_MAX, "MS", 0, "(default: 1000)", 3},
    {"lease-ms", KEY_LEASE_MS, "MS", 0,
     "a leader that a quorum answered answers reads by itself for so long, without asking again; "
     "at "
     "most --election-timeout-ms-min less 10 % for clocks that run apart; the same on every store; "
     "not where machines are paused or moved while they run (default: 0, off)",
     3},
    {"lock-wait-ms", KEY_LOCK_WAIT_MS, "MS", 0, "longest wait for a lock (default: 5000)", 3},
    {"lock-expiry-ms", KEY_LOCK_EXPIRY_MS, "MS", 0,
     "locks of a client that has not been heard from for so long are dropped (default: 5000)", 3},
    {"flush-interval-ms", KEY_FLUSH_INTERVAL_MS, "MS", 0, "(default: 30000)", 3},
    {"log-hung-ms", KEY_LOG_HUNG_MS, "MS", 0,
     "a log write that takes longer makes this store give up leading (default: 500)", 3},
    {"history-ms", KEY_HISTORY_MS, "MS", 0,
     "a version that a newer one has replaced for so long is dropped; the same on every store "
     "(default: 600000, ten minutes)",
     3},
    {"dead-after-ms", KEY_DEAD_AFTER_MS, "MS", 0,
     "a store that has not reported for so long is dead, and its replicas are made anew on others; "
     "the "
     "same on every store (default: 300000, five minutes)",
     3},
    {"merge-after-ms", KEY_MERGE_AFTER_MS, "MS", 0,
     "small ranges are merged only so long after the last split, and what a person has done to a "
     "range is not undone for so long; the same on every store (default: 600000, ten minutes)",
     3},
    {NULL, 0, NULL, 0, "Sizes:", 4},
    {"replica-changes", KEY_REPLICA_CHANGES, "N", 0,
     "groups whose replicas are placed anew at a time; 0: none is, nor a leadership, but by hand; "
     "the "
     "same on every store (default: 2)",
     4},
    {"range-changes", KEY_RANGE_CHANGES, "N", 0,
     "ranges that are split, merged or moved to another group at a time; 0: none is but by hand, "
     "and "
     "no group comes with new stores; the same on every store (default: 2)",
     4},
    {"range-split-mib", KEY_RANGE_SPLIT_MIB, "MIB", 0, "a larger range is split (default: 96)", 4},
    {"range-merge-mib", KEY_RANGE_MERGE_MIB, "MIB", 0,
     "two neighbours that are smaller together are merged; at most a quarter of --range-split-mib "
     "(default: 24)",
     4},
    {"range-split-operations", KEY_RANGE_SPLIT_OPERATIONS, "N", 0,
     "a range of which more is asked in a second is split; two of which less than a fifth of it is "
     "asked may be merged (default: 5000)",
     4},
    {"lock-queue", KEY_LOCK_QUEUE, "N", 0, "waiters for one key (default: 1024)", 4},
    {"locks", KEY_LOCKS, "N", 0, "locks of one group, held and waited for (default: 1000000)", 4},
    {"txns", KEY_TXNS, "N", 0, "transactions of one group that have locks (default: 100000)", 4},
    {"flush-mib", KEY_FLUSH_MIB, "MIB", 0, "unflushed data at most (default: 32)", 4},
    {"write-buffer-mib", KEY_WRITE_BUFFER_MIB, "MIB", 0, "(default: 64)", 4},
    {"block-cache-mib", KEY_BLOCK_CACHE_MIB, "MIB", 0, "(default: 32)", 4},
    {"log-segment-mib", KEY_LOG_SEGMENT_MIB, "MIB", 0, "(default: 16)", 4},
    {"log-retained-mib", KEY_LOG_RETAINED_MIB, "MIB", 0,
     "log kept for a follower that lags; beyond, it gets a snapshot (default: 64)", 4},
    {"log-followed-mib", KEY_LOG_FOLLOWED_MIB, "MIB", 0,
     "log kept at most behind a snapshot that is being sent; never more than that has (default: "
     "512)",
     4},
    {"copy-mib-per-s", KEY_COPY_MIB_PER_S, "MIB", 0,
     "what this store takes at most of ranges that move here, and gives of snapshots; 0: no limit "
     "(default: 22)",
     4},
    {"pool-threads", KEY_POOL_THREADS, "N", 0,
     "threads for reads, files and compactions that block (default: 3)", 4},
    {NULL, 0, NULL, 0, "Help:", -1},
    {"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "error, warn, info or debug (default: info)", -1},
    {0}};

struct arguments {
    struct server_options server;
    const char *cluster_name;
    const char *initial_stores_text;
    const char *join_addresses[JOIN_ADDRESSES_MAX];
    size_t join_addresses_count;
    const char *advertise;
    Ostraka__StoreInfo *initial_stores;
    size_t initial_stores_count;
    struct bytes splits[INITIAL_SPLITS_MAX];
    size_t splits_count;
};

static uint32_t number_u32(struct argp_state *state, const char *flag, const char *text,
                           uint64_t min, uint64_t max)
{
    return (uint32_t)argument_number(state, flag, text, min, max);
}

static error_t parse_size(struct server_options *server, int key, char *text,
                          struct argp_state *state)
{
    switch (key) {
    case KEY_LOCK_QUEUE:
        server->node.kv.participant.locks.queue_count_max =
            number_u32(state, "lock-queue", text, 1, 1u << 20);
        break;
    case KEY_LOCKS:
        server->node.kv.participant.locks.locks_count_max =
            number_u32(state, "locks", text, 1, 1u << 30);
        break;
    case KEY_TXNS:
        server->node.kv.participant.entries_count_max =
            number_u32(state, "txns", text, 1, 1u << 24);
        break;
    case KEY_FLUSH_MIB:
        server->node.kv.flush_bytes = argument_number(state, "flush-mib", text, 1, 4096) << 20;
        break;
    case KEY_WRITE_BUFFER_MIB:
        server->store.write_buffer_bytes = argument_number(state, "write-buffer-mib", text, 1, 4096)
                                           << 20;
        break;
    case KEY_BLOCK_CACHE_MIB:
        server->store.block_cache_bytes =
            argument_number(state, "block-cache-mib", text, 1, 1u << 20) << 20;
        break;
    case KEY_LOG_SEGMENT_MIB:
        server->node.raft.log_segment_bytes = number_u32(state, "log-segment-mib", text, 4, 1024)
                                              << 20;
        break;
    case KEY_LOG_RETAINED_MIB:
        server->node.raft.log_retained_bytes_max =
            argument_number(state, "log-retained-mib", text, 1, 1u << 16) << 20;
        break;
    case KEY_LOG_FOLLOWED_MIB:
        server->node.raft.log_followed_bytes_max =
            argument_number(state, "log-followed-mib", text, 0, 1u << 16) << 20;
        break;
    case KEY_REPLICA_CHANGES:
        server->node.master.replica_changes_max = number_u32(state, "replica-changes", text, 0, 64);
        break;
    case KEY_RANGE_CHANGES:
        server->node.master.range_changes_max = number_u32(state, "range-changes", text, 0, 64);
        break;
    case KEY_RANGE_SPLIT_MIB:
        server->node.kv.range_split_bytes =
            argument_number(state, "range-split-mib", text, 1, 1u << 20) << 20;
        break;
    case KEY_RANGE_MERGE_MIB:
        server->node.kv.range_merge_bytes =
            argument_number(state, "range-merge-mib", text, 0, 1u << 18) << 20;
        break;
    case KEY_RANGE_SPLIT_OPERATIONS:
        server->node.kv.range_split_operations =
            number_u32(state, "range-split-operations", text, 10, 1u << 30);
        server->node.kv.range_merge_operations = server->node.kv.range_split_operations / 5;
        break;
    case KEY_COPY_MIB_PER_S:
        server->node.kv.copy_bytes_per_s =
            argument_number(state, "copy-mib-per-s", text, 0, 1u << 20) << 20;
        server->node.raft.snapshot_bytes_per_s = server->node.kv.copy_bytes_per_s;
        break;
    case KEY_POOL_THREADS:
        server->pool_threads_count = number_u32(state, "pool-threads", text, 1, 64);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse_time(struct server_options *server, int key, char *text,
                          struct argp_state *state)
{
    struct raft_host_options *raft = &server->node.raft;
    struct participant_options *participant = &server->node.kv.participant;
    const uint64_t ms_max = 3600000;
    switch (key) {
    case KEY_HEARTBEAT_MS:
        raft->raft.heartbeat_ms = number_u32(state, "heartbeat-ms", text, 1, ms_max);
        break;
    case KEY_ELECTION_MS_MIN:
        raft->raft.election_timeout_ms_min =
            number_u32(state, "election-timeout-ms-min", text, 10, ms_max);
        break;
    case KEY_ELECTION_MS_MAX:
        raft->raft.election_timeout_ms_max =
            number_u32(state, "election-timeout-ms-max", text, 20, ms_max);
        break;
    case KEY_LEASE_MS:
        raft->raft.lease_ms = number_u32(state, "lease-ms", text, 0, ms_max);
        break;
    case KEY_LOCK_WAIT_MS:
        participant->lock_wait_ms_max = number_u32(state, "lock-wait-ms", text, 1, ms_max);
        break;
    case KEY_LOCK_EXPIRY_MS:
        participant->entry_expiry_ms = number_u32(state, "lock-expiry-ms", text, 100, ms_max);
        break;
    case KEY_FLUSH_INTERVAL_MS:
        server->node.kv.flush_interval_ms =
            number_u32(state, "flush-interval-ms", text, 10, ms_max);
        break;
    case KEY_HISTORY_MS:
        server->node.master.history_ms =
            argument_number(state, "history-ms", text, 1000, UINT64_C(30) * 86400 * 1000);
        break;
    case KEY_DEAD_AFTER_MS:
        server->node.master.dead_after_ms =
            argument_number(state, "dead-after-ms", text, 1000, UINT64_C(30) * 86400 * 1000);
        break;
    case KEY_MERGE_AFTER_MS:
        server->node.master.merge_after_ms =
            argument_number(state, "merge-after-ms", text, 0, UINT64_C(30) * 86400 * 1000);
        break;
    case KEY_LOG_HUNG_MS:
        raft->log_write_hung_ms = number_u32(state, "log-hung-ms", text, 10, ms_max);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int compare_stores(const void *a, const void *b)
{
    const Ostraka__StoreInfo *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* "1=host:port,2=host:port": in the order of ids. Lives as long as the process. */
static size_t argument_stores(struct argp_state *state, const char *flag, const char *text,
                              Ostraka__StoreInfo **out_stores)
{
    char *copy = memory_copy_string(text); /* the addresses stay in it */
    Ostraka__StoreInfo *stores = memory_alloc(STORES_COUNT_MAX * sizeof *stores);
    size_t count = 0;
    for (char *word; (word = strsep(&copy, ",")) != NULL;) {
        char *equals = strchr(word, '=');
        if (!equals || !strchr(equals, ':'))
            argp_error(state, "--%s: '%s' is not ID=HOST:PORT", flag, word);
        if (count == STORES_COUNT_MAX)
            argp_error(state, "--%s: at most %u stores", flag, STORES_COUNT_MAX);
        *equals = '\0';
        ostraka__store_info__init(&stores[count]);
        stores[count].id = argument_number(state, flag, word, 1, STORES_COUNT_MAX);
        stores[count++].address = equals + 1;
    }
    qsort(stores, count, sizeof *stores, compare_stores);
    for (size_t i = 1; i < count; i++)
        if (stores[i].id == stores[i - 1].id)
            argp_error(state, "--%s: store %llu is named twice", flag,
                       (unsigned long long)stores[i].id);
    *out_stores = stores;
    return count;
}

static void parse_splits(struct argp_state *state, struct arguments *arguments, char *text)
{
    struct bytes keys[INITIAL_SPLITS_MAX];
    arguments->splits_count = 0;
    for (char *word; (word = strsep(&text, ",")) != NULL;) {
        if (arguments->splits_count == INITIAL_SPLITS_MAX)
            argp_error(state, "--initial-splits: at most %d keys", INITIAL_SPLITS_MAX);
        struct bytes key;
        if (!argument_key(word, &key) || key.bytes_count == 0 || key.bytes_count > KEY_BYTES_MAX)
            argp_error(state, "--initial-splits: '%s' is not a key of 1 to %u bytes", word,
                       KEY_BYTES_MAX);
        if (arguments->splits_count > 0 &&
            bytes_compare(keys[arguments->splits_count - 1], key) >= 0)
            argp_error(state, "--initial-splits: '%s' must come before the key in front of it",
                       word);
        keys[arguments->splits_count] = key;
        arguments->splits[arguments->splits_count++] = key;
    }
}

static void parse_join(struct argp_state *state, struct arguments *arguments, char *text)
{
    arguments->join_addresses_count = 0;
    for (char *word; (word = strsep(&text, ",")) != NULL;) {
        const char *colon = strrchr(word, ':');
        if (!colon || colon == word || colon[1] == '\0')
            argp_error(state, "--join: '%s' is not HOST:PORT", word);
        if (arguments->join_addresses_count == JOIN_ADDRESSES_MAX)
            argp_error(state, "--join: at most %d addresses", JOIN_ADDRESSES_MAX);
        arguments->join_addresses[arguments->join_addresses_count++] = word;
    }
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    struct server_options *server = &arguments->server;
    enum log_level level;
    const char *why;
    switch (key) {
    case 's':
        server->node.raft.store = argument_number(state, "store", text, 1, STORES_COUNT_MAX);
        return 0;
    case 'd':
        server->data_directory = text;
        return 0;
    case KEY_LOG_DIR:
        server->log_directory = text;
        return 0;
    case 'l':
        server->listen_address = text;
        return 0;
    case KEY_ADVERTISE:
        arguments->advertise = text;
        return 0;
    case KEY_CLUSTER:
        arguments->cluster_name = text;
        return 0;
    case KEY_HOST:
        if (text[0] == '\0' || strlen(text) > STORE_HOST_BYTES_MAX || strpbrk(text, " \t\n"))
            argp_error(state, "--host: '%s' is not a label of 1 to %u bytes without spaces", text,
                       STORE_HOST_BYTES_MAX);
        server->node.host = text;
        return 0;
    case KEY_JOIN:
        parse_join(state, arguments, text);
        return 0;
    case KEY_INITIAL_STORES:
        arguments->initial_stores_text = text;
        arguments->initial_stores_count =
            argument_stores(state, "initial-stores", text, &arguments->initial_stores);
        return 0;
    case KEY_INITIAL_GROUPS:
        server->node.master.initial_groups_count =
            number_u32(state, "initial-groups", text, 1, 256);
        return 0;
    case KEY_INITIAL_REPLICAS:
        server->node.master.initial_replicas_count =
            number_u32(state, "initial-replicas", text, 1, REPLICAS_PER_GROUP_MAX);
        return 0;
    case KEY_INITIAL_SPLITS:
        parse_splits(state, arguments, text);
        return 0;
    case KEY_LOG_LEVEL:
        if (!log_level_parse(text, &level))
            argp_error(state, "--log-level: '%s' is none of error, warn, info, debug", text);
        log_set_level(level);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': there are no arguments, only flags", text);
        return EINVAL;
    case ARGP_KEY_END:
        if (server->node.raft.store == 0)
            argp_error(state, "--store is required");
        if (!server->data_directory)
            argp_error(state, "--data is required");
        if (arguments->initial_stores_count == 0 && arguments->join_addresses_count == 0)
            argp_error(state, "--initial-stores or --join is required");
        if (arguments->initial_stores_count > 0 && arguments->join_addresses_count > 0)
            argp_error(state, "--join is for a cluster that is there, --initial-stores for a new "
                              "one: give one of them");
        if (server->node.raft.raft.election_timeout_ms_max <
            server->node.raft.raft.election_timeout_ms_min)
            argp_error(state, "--election-timeout-ms-max is below --election-timeout-ms-min");
        if (server->node.raft.raft.election_timeout_ms_min <
            2 * server->node.raft.raft.heartbeat_ms)
            argp_error(state, "--election-timeout-ms-min must be at least twice --heartbeat-ms");
        if (server->node.kv.range_merge_bytes > server->node.kv.range_split_bytes / 4)
            argp_error(state, "--range-merge-mib is over a quarter of --range-split-mib");
        if (raft_options_check(&server->node.raft.raft, &why) != OST_OK)
            argp_error(state, "%s", why);
        return 0;
    default:
        if (parse_time(server, key, text, state) == 0)
            return 0;
        return parse_size(server, key, text, state);
    }
}

/* The same flags give the same cluster, on every store and at every start: name, members, and who
 * of them founds it. The name has a half of its own, by which a store that joins finds out whether
 * it has come to the right one (cluster_name_is_same). */
static cluster_id_t cluster_id_of(const struct arguments *arguments)
{
    uint64_t name = XXH3_64bits(arguments->cluster_name, strlen(arguments->cluster_name)) | 1;
    if (arguments->join_addresses_count > 0)
        return name << 32;
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, arguments->cluster_name, strlen(arguments->cluster_name) + 1);
    for (size_t i = 0; i < arguments->initial_stores_count; i++) {
        const Ostraka__StoreInfo *store = &arguments->initial_stores[i];
        XXH3_64bits_update(state, &store->id, sizeof store->id);
        XXH3_64bits_update(state, store->address, strlen(store->address) + 1);
    }
    XXH3_64bits_update(state, &arguments->server.node.master.initial_replicas_count,
                       sizeof arguments->server.node.master.initial_replicas_count);
    uint64_t founding = XXH3_64bits_digest(state) | 1;
    XXH3_freeState(state);
    return name << 32 | (uint32_t)founding;
}

static void log_sink(enum log_level level, const char *line, void *context)
{
    (void)level;
    (void)context;
    struct timespec now;
    struct tm calendar;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &calendar);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &calendar);
    fprintf(stderr, "ts=%s.%03ldZ %s\n", stamp, now.tv_nsec / 1000000, line);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {.options = option_table, .parser = parse, .doc = doc};
    static struct arguments arguments;
    arguments.cluster_name = "ostraka";
    arguments.server.listen_address = "127.0.0.1:7100";
    arguments.server.pool_threads_count = 3;
    node_options_default(&arguments.server.node);
    store_options_default(&arguments.server.store);
    log_set_sink(log_sink, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of a write, not a death */
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);

    struct node_options *node = &arguments.server.node;
    node->cluster_id = cluster_id_of(&arguments);
    node->advertise_address =
        arguments.advertise ? arguments.advertise : arguments.server.listen_address;
    node->join_addresses = arguments.join_addresses;
    node->join_addresses_count = arguments.join_addresses_count;
    node->master.initial_stores = arguments.initial_stores;
    node->master.initial_stores_count = arguments.initial_stores_count;
    node->master.initial_splits = arguments.splits;
    node->master.initial_splits_count = arguments.splits_count;
    if (getrandom(&node->seed, sizeof node->seed, 0) != (ssize_t)sizeof node->seed) {
        fprintf(stderr, "ostrakad: cannot draw a random seed: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    return server_run(&arguments.server);
}
