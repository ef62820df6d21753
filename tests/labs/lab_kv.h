/* lab_kv.h: the whole store (tests/sim) as the key-value labs of MIT's course 6.5840 see theirs:
 * clients that get, put and append, servers that are cut off from each other, crash and come back,
 * an unreliable network. Everything that clients see is judged by the checkers of tests/check.
 *
 * A key holds a list of numbers, and an append is a transaction that reads it, puts it back longer
 * by one, and asks for its commit until it knows the outcome; so nothing is appended twice or lost,
 * and the history is judged by serializability_check (strict: on single keys that is
 * linearizability). Or, with `is_register`, a key holds one number: an append reads it and writes
 * another, a put writes one without reading, and register_check judges. */
#pragma once

#include "base/arena.h"
#include "tests/sim/run.h"

#define LAB_ELECTION_TIMEOUT_MS 1000u
#define LAB_CLIENTS_MAX         15u

struct lab_kv_options {
    uint64_t seed;
    uint32_t stores_count; /* 5 when 0 */
    uint32_t groups_count; /* 1 when 0 */
    uint32_t clients_count;
    uint32_t keys_count; /* one for each client when 0 */
    bool is_unreliable;  /* up to 27 ms late, a tenth of the frames is lost, some overtake */
    bool is_small;       /* flushes and cuts its logs all the time, keeps nothing for who lags */
    bool is_register;
    bool is_random; /* in a loop: any key each time; else the client's own */
    /* Wall clocks of the stores are up to 1000 s apart, and so oracle time leaps when the shard
     * master has a new leader: outcomes are forgotten early, and some are never known. */
    bool has_wild_clocks;
};

enum lab_kv_kind { LAB_GET, LAB_PUT, LAB_APPEND };

struct lab_kv;
struct lab_client {
    struct lab_kv *kv;
    struct client_process *client;
    uint64_t process; /* in the history */
    bool is_busy, is_looping;
    enum lab_kv_kind kind;
    uint32_t key;
    int64_t value; /* put or appended by this attempt */
    uint32_t commits_asked;
    struct core_txn *txn;
    bool is_handed_over;
    struct txn_age age;
    struct arena arena; /* of what was read */
    int64_t *found;
    uint32_t found_count;
    int64_t *acknowledged; /* appended to its own key in a loop, in this order */
    size_t acknowledged_count, acknowledged_capacity;
    uint64_t done_count;
};

struct lab_kv {
    struct sim sim; /* first */
    struct lab_kv_options options;
    struct random random;
    struct lab_client clients[LAB_CLIENTS_MAX];
    bool is_cut[NETWORK_HOSTS_MAX][NETWORK_HOSTS_MAX];
};

struct lab_kv *lab_kv_new(const struct lab_kv_options *options);
/* Heals, reads every key once more, and has the history judged; then frees. */
void lab_kv_finish(struct lab_kv *kv);
/* For LAB_SEEDS of them, or for LAB_SEED alone, with its story on stderr, where the environment
 * says so. */
void lab_kv_each_seed(void (*scenario)(struct lab_kv *kv), struct lab_kv_options options,
                      uint32_t seeds_count);

void lab_kv_sleep(struct lab_kv *kv, uint32_t ms);
uint64_t lab_kv_random(struct lab_kv *kv, uint64_t below);

/* Clients are 0 and up. */
void lab_kv_begin(struct lab_kv *kv, uint32_t client, enum lab_kv_kind kind, uint32_t key);
bool lab_kv_is_busy(const struct lab_kv *kv, uint32_t client);
/* Until it is done; fails after 60 s. What was read is in clients[client].found. */
void lab_kv_wait(struct lab_kv *kv, uint32_t client);
void lab_kv_do(struct lab_kv *kv, uint32_t client, enum lab_kv_kind kind, uint32_t key);
/* Gets, appends and (registers) puts, one after the other with short pauses. */
void lab_kv_loops_begin(struct lab_kv *kv);
void lab_kv_loops_end(struct lab_kv *kv);
/* What each client has appended to its own key is there: once, in its order, and nothing else. */
void lab_kv_check_appends(struct lab_kv *kv);

/* Stores are 0 and up. A side for each; who is on different sides does not hear each other. Clients
 * hear all. */
void lab_kv_partition(struct lab_kv *kv, const uint32_t *sides);
void lab_kv_partition_randomly(struct lab_kv *kv);
/* The client hears these stores alone (bit N for store N). */
void lab_kv_client_hears(struct lab_kv *kv, uint32_t client, uint32_t stores);
void lab_kv_heal(struct lab_kv *kv);
void lab_kv_crash(struct lab_kv *kv, uint32_t store);
void lab_kv_start(struct lab_kv *kv, uint32_t store);
void lab_kv_crash_all(struct lab_kv *kv);
void lab_kv_start_all(struct lab_kv *kv);
/* Waits until the group has a leader that can serve; its store. */
uint32_t lab_kv_leader(struct lab_kv *kv, group_id_t group);
bool lab_kv_has_replica(struct lab_kv *kv, uint32_t store, group_id_t group);
/* The most bytes that any group's log holds at any store. */
uint64_t lab_kv_log_bytes_max(struct lab_kv *kv);
uint64_t lab_kv_snapshots_installed(struct lab_kv *kv);
/* The group that serves the key. */
group_id_t lab_kv_group_of_key(struct lab_kv *kv, uint32_t key);
