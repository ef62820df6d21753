/* commit_world.h: the simulator's cluster with one transaction over two groups, whose frames a test
 * holds back, loses, repeats and counts, for stories about commit. Whole stores, the shipping
 * client, virtual time, no faults but the test's own.
 *
 * Group HOME has the anchor, group OTHER the second key; each has a leader of its own, and group 0
 * a third store. Client 0 is the one of the story. What it sent is asked again in the end by
 * somebody else, over a connection of his own, of whoever leads by then.
 */
#pragma once

#include "tests/sim/run.h"

enum { MASTER = 0, HOME = 1, OTHER = 2 };

#define COMMIT_WORLD_RULES_MAX  8u
#define COMMIT_WORLD_FRAMES_MAX 256u
#define COMMIT_WORLD_TYPES_MAX  80u
#define COMMIT_SETTLE_MS_MAX    5000u

/* What becomes of frames of a type; those about a group are told apart by the group that handles
 * them, and answers by the group that gives them. */
enum frame_fate { FRAME_HELD, FRAME_LOST };
struct frame_rule {
    uint16_t type;
    group_id_t group;
    enum frame_fate fate;
};

struct held_frame {
    uint32_t from, to;
    uint64_t connection_id;
    struct blob *frame;
};

/* Of a client's request, by which its answer is told. */
struct asked_frame {
    uint32_t client;
    uint64_t request_id;
    group_id_t group;
};

/* What client 1 does. Who is older is a matter of what time it was said to be to each client when
 * it began: see commit_world_others_hear. */
struct others {
    bool is_done;
    int status;
    const char *value; /* in the world's arena */
    timestamp_t commit_timestamp;
    struct core_txn *txn;
};

enum txn_fate { FATE_COMMITTED, FATE_ABORTED, FATE_EITHER };

struct commit_world {
    struct sim sim; /* first */
    struct frame_rule rules[COMMIT_WORLD_RULES_MAX];
    uint32_t rules_count;
    struct held_frame held[COMMIT_WORLD_FRAMES_MAX];
    uint32_t held_count;
    struct asked_frame asked[COMMIT_WORLD_FRAMES_MAX]; /* a ring */
    uint32_t asked_count;
    bool is_passing; /* what is sent now was held */
    /* Sent, by type and group, since the last commit_world_count_begin. */
    uint64_t sent[COMMIT_WORLD_TYPES_MAX][3];
    struct blob *last[COMMIT_WORLD_TYPES_MAX][3]; /* client 0's, as it was sent */
    /* Rounds of client 0: requests sent after an answer to it count as the next one. Nobody waits
     * for an abort. */
    uint32_t rounds_count;
    bool is_answered_since;

    /* The transaction. */
    struct core_txn *txn;
    bool is_done;        /* the operation under way */
    bool is_handed_over; /* to the core, which frees it */
    bool is_answered;    /* the commit */
    int status;          /* of the last operation */
    nanoseconds_t answered_ns;
    int answer; /* of the commit */
    timestamp_t commit_timestamp;
    nanoseconds_t began_ns; /* when what has to be settled began */

    struct others others;

    /* Who asks again. */
    struct arena arena;
    uint64_t courier_connection_id;
    bool is_courier_connected, is_courier_closed;
    struct blob *courier_answer;
};

struct commit_world *commit_world_new(uint64_t seed);
/* Its clients wait for a minute. */
struct commit_world *commit_world_new_patient(uint64_t seed);
/* With so many more clients, from number 2 on, at most COMMIT_WORLD_CROWD_MAX. */
#define COMMIT_WORLD_CROWD_MAX 10u
struct commit_world *commit_world_new_crowded(uint64_t seed, uint32_t others_count);
/* Judges what the checkers of the simulator saw, then frees. */
void commit_world_end(struct commit_world *world);

void commit_world_run(struct commit_world *world, uint32_t ms);
/* Runs until so many frames of the type have been sent; fails after a while. */
void commit_world_await(struct commit_world *world, uint16_t type, group_id_t group,
                        uint64_t count);

/* Client 0 takes the locks (unless `is_blind`) and buffers the writes "new" at both groups; or at
 * HOME alone. */
void commit_world_grow(struct commit_world *world, bool is_blind);
void commit_world_grow_one(struct commit_world *world);
/* Or step by step. */
void commit_world_read(struct commit_world *world, group_id_t group, bool is_for_update);
void commit_world_put(struct commit_world *world, group_id_t group, const char *value);
void commit_world_roll_back(struct commit_world *world);
void commit_world_ask_commit(struct commit_world *world);
/* Runs until the commit is answered. */
int commit_world_wait(struct commit_world *world);
/* Client 0's process dies. */
void commit_world_kill_client(struct commit_world *world);

/* From now on. */
void commit_world_hold(struct commit_world *world, uint16_t type, group_id_t group);
void commit_world_lose(struct commit_world *world, uint16_t type, group_id_t group);
/* No rule any more. What was held goes on its way, once or twice, or is forgotten. */
void commit_world_release(struct commit_world *world);
void commit_world_release_twice(struct commit_world *world);
void commit_world_forget(struct commit_world *world);

store_id_t commit_world_leader(struct commit_world *world, group_id_t group);
/* How a group loses its leader. The store comes back, or hears the others again, by itself after
 * two seconds. */
enum leader_loss { LEADER_CRASHES, LEADER_IS_CUT_OFF, LEADER_HANDS_OVER, LEADER_LOSSES_COUNT };
/* Returns when the group has another leader. */
void commit_world_lose_leader(struct commit_world *world, group_id_t group, enum leader_loss how);
void commit_world_crash(struct commit_world *world, store_id_t store);
void commit_world_start(struct commit_world *world, store_id_t store);
/* Both groups' leaders at once; or all stores. */
void commit_world_crash_leaders(struct commit_world *world);
void commit_world_crash_all(struct commit_world *world);
void commit_world_start_all(struct commit_world *world);

/* What client 0 last sent of this type is asked again, of the group's leader, until there is an
 * answer that is one. */
int commit_world_again(struct commit_world *world, uint16_t type, group_id_t group,
                       timestamp_t *out_timestamp);
/* The abort of the transaction whose Commit was sent, as home's own client would ask for it. */
int commit_world_abort(struct commit_world *world);
/* Its Commit, at a timestamp so far from the highest vote. */
int commit_world_commit_at(struct commit_world *world, int64_t plus_ms, timestamp_t *out_timestamp);
/* A value by a linearizable read of client 1; "" when there is none. In the world's arena. */
const char *commit_world_get(struct commit_world *world, group_id_t group);
/* The same, and a write of client 1, without waiting for the end: see world->others. */
void commit_world_others_hear(struct commit_world *world); /* client 1 is younger from now on */
void commit_world_others_get(struct commit_world *world, group_id_t group);
void commit_world_others_write(struct commit_world *world, group_id_t first, group_id_t last,
                               const char *value);
int commit_world_others_wait(struct commit_world *world);
/* Client 1 writes both keys in one transaction; its status. */
int commit_world_write_others(struct commit_world *world, const char *value);
/* Asks the answered commit again, on the same transaction. */
int commit_world_ask_again(struct commit_world *world);
/* Locks, waiters and open transactions at leaders, with every group led. */
uint64_t commit_world_locks(struct commit_world *world);
/* How long it takes until none is left; fails when it is more than COMMIT_SETTLE_MS_MAX. */
uint32_t commit_world_settle(struct commit_world *world);
/* All or nothing at both groups; no lock is left within the bound; the answer was the truth; asked
 * again, by whatever had been sent, there is the same outcome, and once more no lock is left. */
void commit_world_check(struct commit_world *world, enum txn_fate fate);

void commit_world_count_begin(struct commit_world *world);
uint64_t commit_world_sent(const struct commit_world *world, uint16_t type);
/* The end of the group's log. */
raft_index_t commit_world_log_end(struct commit_world *world, group_id_t group);
