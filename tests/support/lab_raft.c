#include "tests/support/lab_raft.h"

#include "base/log.h"
#include "base/memory.h"
#include "proto/raft.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP 1u

static void lab_applied_reserve(struct lab_raft *lab, store_id_t server, raft_index_t index)
{
    size_t *capacity = &lab->applied_capacity[server];
    if (index < *capacity)
        return;
    size_t grown = 2 * (size_t)index + 64;
    lab->applied[server] = memory_realloc(lab->applied[server], grown * sizeof(uint64_t));
    memset(lab->applied[server] + *capacity, 0, (grown - *capacity) * sizeof(uint64_t));
    *capacity = grown;
}

static void lab_on_apply(struct host_cluster *cluster, store_id_t server, group_id_t group,
                         const struct raft_entry *entry)
{
    struct lab_raft *lab = cluster->context;
    struct bytes payload = blob_bytes(entry->payload);
    struct reader reader = reader_of(payload);
    uint64_t value = 0;
    (void)group;
    lab_applied_reserve(lab, server, entry->index);
    if (entry->type == RAFT_ENTRY_COMMAND)
        cr_assert(reader_u64_be(&reader, &value) && value != 0);
    lab->applied[server][entry->index] = value;
}

/* A state that came as a snapshot is the history up to there; host_cluster has compared its hash
 * with that of the server which applied it first. */
static void lab_applied_take(struct lab_raft *lab, store_id_t server, raft_index_t index)
{
    lab_applied_reserve(lab, server, index);
    for (store_id_t other = 1; other <= lab->options.servers_count; other++) {
        for (raft_index_t i = 1; i <= index && i < lab->applied_capacity[other]; i++) {
            if (lab->applied[server][i] == 0)
                lab->applied[server][i] = lab->applied[other][i];
        }
    }
}

static void lab_on_restore(struct host_cluster *cluster, store_id_t server, group_id_t group,
                           raft_index_t index)
{
    (void)group;
    lab_applied_take(cluster->context, server, index);
}

struct lab_raft *lab_raft_new(const struct lab_raft_options *options)
{
    struct lab_raft *lab = memory_alloc_zeroed(1, sizeof(*lab));
    struct raft_host_options host_options;
    raft_host_options_default(&host_options);
    host_options.log_segment_bytes = 1u << 20;
    host_options.log_write_bytes_max = 128u << 10;
    if (options->snapshot_every != 0)
        host_options.log_retained_bytes_max = 0; /* what is flushed is cut, whoever lacks it */
    if (options->is_eager)
        host_options.raft.election_timeout_ms_max = host_options.raft.election_timeout_ms_min + 5;
    if (options->is_entrywise) {
        host_options.raft.message_bytes_max = 1;
        host_options.raft.inflight_messages_max = 1;
    }
    lab->options = *options;
    random_init(&lab->random, options->seed ^ 0x6824);
    lab->cluster = host_cluster_new(options->seed, options->servers_count, 1, &host_options);
    lab->cluster->context = lab;
    lab->cluster->on_apply = lab_on_apply;
    lab->cluster->on_restore = lab_on_restore;
    for (store_id_t server = 1; server <= options->servers_count; server++)
        lab->is_connected[server] = true;
    lab_raft_set_unreliable(lab, options->is_unreliable);
    return lab;
}

void lab_raft_free(struct lab_raft *lab)
{
    host_cluster_free(lab->cluster);
    for (store_id_t server = 1; server <= lab->options.servers_count; server++)
        free(lab->applied[server]);
    free(lab);
}

/* As the labs' service does: a snapshot after so many commands. */
static void lab_snapshot(struct lab_raft *lab)
{
    for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
        const struct toy *toy = host_cluster_toy(lab->cluster, server, GROUP);
        if (host_cluster_is_up(lab->cluster, server) &&
            toy_applied(toy) >= toy_flushed(toy) + lab->options.snapshot_every)
            host_cluster_flush(lab->cluster, server);
    }
}

void lab_raft_sleep(struct lab_raft *lab, uint32_t ms)
{
    for (uint32_t passed = 0; passed < ms; passed++) {
        host_cluster_run(lab->cluster, 1);
        if (lab->options.snapshot_every != 0)
            lab_snapshot(lab);
    }
}

uint64_t lab_raft_random(struct lab_raft *lab, uint64_t below)
{
    return random_below(&lab->random, below);
}

uint64_t lab_raft_value(struct lab_raft *lab)
{
    return random_next(&lab->random) | 1;
}

store_id_t lab_raft_next(const struct lab_raft *lab, store_id_t server, uint32_t steps)
{
    return (server - 1 + steps) % lab->options.servers_count + 1;
}

/* Faults. */

static void lab_links_set(struct lab_raft *lab)
{
    uint32_t count = lab->options.servers_count;
    for (store_id_t from = 1; from <= count; from++) {
        for (store_id_t to = 1; to <= count; to++)
            lab->cluster->cut[from][to] = !lab->is_connected[from] || !lab->is_connected[to];
    }
}

void lab_raft_connect(struct lab_raft *lab, store_id_t server)
{
    lab->is_connected[server] = true;
    lab_links_set(lab);
}

void lab_raft_disconnect(struct lab_raft *lab, store_id_t server)
{
    lab->is_connected[server] = false;
    lab_links_set(lab);
}

void lab_raft_crash(struct lab_raft *lab, store_id_t server)
{
    lab_raft_disconnect(lab, server);
    if (host_cluster_is_up(lab->cluster, server))
        host_cluster_crash(lab->cluster, server);
}

void lab_raft_start(struct lab_raft *lab, store_id_t server)
{
    /* What it had applied and not flushed it applies again. */
    raft_index_t flushed_index = toy_flushed(host_cluster_toy(lab->cluster, server, GROUP));
    lab_applied_take(lab, server, flushed_index);
    for (size_t i = (size_t)flushed_index + 1; i < lab->applied_capacity[server]; i++)
        lab->applied[server][i] = 0;
    cr_assert_eq(host_cluster_start(lab->cluster, server), OST_OK);
}

void lab_raft_restart(struct lab_raft *lab, store_id_t server)
{
    lab_raft_crash(lab, server);
    lab_raft_start(lab, server);
    lab_raft_connect(lab, server);
}

bool lab_raft_is_up(const struct lab_raft *lab, store_id_t server)
{
    return host_cluster_is_up(lab->cluster, server);
}

void lab_raft_set_unreliable(struct lab_raft *lab, bool is_unreliable)
{
    lab->cluster->delay_ms_max = is_unreliable ? 27 : 3;
    lab->cluster->loss_percent = is_unreliable ? 10 : 0;
}

static bool lab_is_answer(const Ostraka__RaftMessage *message)
{
    return message->type == RAFT_MSG_PRE_VOTE_ANSWER || message->type == RAFT_MSG_VOTE_ANSWER ||
           message->type == RAFT_MSG_APPEND_ANSWER || message->type == RAFT_MSG_SNAPSHOT_ACK;
}

/* Two thirds of the frames that bring nothing but answers. */
static uint32_t lab_long_reordering(struct host_cluster *cluster, const struct frame *frame)
{
    struct lab_raft *lab = cluster->context;
    bool is_answer = frame->type == FRAME_RAFT_BATCH;
    if (is_answer) {
        Ostraka__RaftBatch *batch =
            ostraka__raft_batch__unpack(NULL, frame->message.bytes_count, frame->message.data);
        cr_assert_not_null(batch);
        for (size_t i = 0; i < batch->n_messages; i++)
            is_answer = is_answer && lab_is_answer(batch->messages[i]);
        ostraka__raft_batch__free_unpacked(batch, NULL);
    }
    if (!is_answer || lab_raft_random(lab, 900) >= 600)
        return 0;
    return (uint32_t)(200 + lab_raft_random(lab, 1 + lab_raft_random(lab, 2000)));
}

void lab_raft_set_long_reordering(struct lab_raft *lab, bool is_on)
{
    lab->cluster->extra_delay_ms = is_on ? lab_long_reordering : NULL;
}

/* Who leads. */

static bool lab_claims(struct lab_raft *lab, store_id_t server, raft_term_t *out_term)
{
    struct raft_leadership leadership;
    cr_assert_eq(raft_host_leadership(host_cluster_host(lab->cluster, server), GROUP, &leadership),
                 OST_OK);
    *out_term = leadership.term;
    return leadership.role == RAFT_LEADER;
}

store_id_t lab_raft_check_one_leader(struct lab_raft *lab)
{
    for (int tries = 0; tries < 10; tries++) {
        raft_term_t term, newest_term = 0;
        store_id_t newest = 0;
        lab_raft_sleep(lab, (uint32_t)(450 + lab_raft_random(lab, 100)));
        for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
            if (!lab->is_connected[server] || !lab_claims(lab, server, &term))
                continue;
            cr_assert(newest == 0 || term != newest_term, "two leaders of term %lu", term);
            if (term > newest_term) {
                newest = server;
                newest_term = term;
            }
        }
        if (newest != 0)
            return newest;
    }
    cr_assert_fail("seed %lu: expected one leader, got none", lab->options.seed);
    return 0;
}

void lab_raft_check_no_leader(struct lab_raft *lab)
{
    for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
        raft_term_t term;
        cr_assert(!lab->is_connected[server] || !lab_claims(lab, server, &term),
                  "seed %lu: server %lu claims to lead", lab->options.seed, server);
    }
}

raft_term_t lab_raft_check_terms(struct lab_raft *lab)
{
    raft_term_t agreed = 0, term;
    for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
        if (!lab->is_connected[server])
            continue;
        (void)lab_claims(lab, server, &term);
        cr_assert(agreed == 0 || agreed == term, "seed %lu: terms differ", lab->options.seed);
        agreed = term;
    }
    return agreed;
}

/* Commands. */

bool lab_raft_submit(struct lab_raft *lab, store_id_t server, uint64_t value, size_t more_bytes,
                     raft_index_t *out_index, raft_term_t *out_term)
{
    raft_index_t index;
    raft_term_t term;
    struct blob *payload = blob_new(sizeof(value) + more_bytes);
    struct buffer number = {0};
    buffer_append_u64_be(&number, value);
    memcpy(payload->data, number.data, sizeof(value));
    memset(payload->data + sizeof(value), 'x', more_bytes);
    buffer_fini(&number);
    int status = host_cluster_propose_at(lab->cluster, server, GROUP, payload, &index, &term);
    blob_unref(payload);
    if (status != OST_OK)
        return false;
    if (out_index)
        *out_index = index;
    if (out_term)
        *out_term = term;
    return true;
}

uint32_t lab_raft_committed_count(const struct lab_raft *lab, raft_index_t index,
                                  uint64_t *out_value)
{
    uint32_t count = 0;
    uint64_t found = 0;
    for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
        uint64_t value = index < lab->applied_capacity[server] ? lab->applied[server][index] : 0;
        if (value == 0)
            continue;
        cr_assert(count == 0 || value == found, "seed %lu: values differ at %lu", lab->options.seed,
                  index);
        found = value;
        count++;
    }
    if (out_value)
        *out_value = found;
    return count;
}

static raft_term_t lab_newest_term(struct lab_raft *lab)
{
    raft_term_t newest = 0;
    for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
        raft_term_t term;
        if (!lab_raft_is_up(lab, server))
            continue;
        (void)lab_claims(lab, server, &term);
        newest = term > newest ? term : newest;
    }
    return newest;
}

uint64_t lab_raft_wait(struct lab_raft *lab, raft_index_t index, uint32_t expected,
                       raft_term_t term)
{
    uint64_t value;
    for (uint32_t waited_ms = 0; waited_ms < 10000; waited_ms += 10) {
        if (lab_raft_committed_count(lab, index, &value) >= expected)
            return value;
        if (term != 0 && lab_newest_term(lab) > term)
            return 0;
        lab_raft_sleep(lab, 10);
    }
    cr_assert_fail("seed %lu: only %u of %u have applied %lu", lab->options.seed,
                   lab_raft_committed_count(lab, index, NULL), expected, index);
    return 0;
}

/* For who looks into a failure. */
static void lab_print_state(const struct lab_raft *lab)
{
    for (store_id_t server = 1; server <= lab->options.servers_count; server++) {
        struct raft_status status;
        fprintf(stderr, "server %lu: %s, %s", server, lab_raft_is_up(lab, server) ? "up" : "down",
                lab->is_connected[server] ? "connected" : "cut off");
        if (lab_raft_is_up(lab, server) &&
            raft_host_group_status(host_cluster_host(lab->cluster, server), GROUP, &status) ==
                OST_OK)
            fprintf(stderr, ", %s of term %lu, log %lu..%lu, durable %lu, commit %lu, applied %lu",
                    raft_role_name(status.role), status.term, status.first_index, status.last_index,
                    status.durable_index, status.commit_index,
                    toy_applied(host_cluster_toy(lab->cluster, server, GROUP)));
        fprintf(stderr, "\n");
    }
}

/* Whoever takes it, beginning with any; 0: nobody. */
static raft_index_t lab_submit_somewhere(struct lab_raft *lab, uint64_t value, size_t more_bytes)
{
    store_id_t first = 1 + lab_raft_random(lab, lab->options.servers_count);
    for (uint32_t i = 0; i < lab->options.servers_count; i++) {
        store_id_t server = lab_raft_next(lab, first, i);
        raft_index_t index;
        if (lab->is_connected[server] && lab_raft_is_up(lab, server) &&
            lab_raft_submit(lab, server, value, more_bytes, &index, NULL))
            return index;
    }
    return 0;
}

raft_index_t lab_raft_agree_bytes(struct lab_raft *lab, uint64_t value, size_t more_bytes,
                                  uint32_t expected, bool retry)
{
    /* A chunk of a snapshot that was lost, on a connection that was not, is sent again after 2 s: a
     * few such losses in a row are no fault. */
    bool is_slow = lab->options.is_unreliable && lab->options.snapshot_every != 0;
    nanoseconds_t until_ns = lab->cluster->now_ns + (is_slow ? 60 : 10) * NS_PER_S;
    while (lab->cluster->now_ns < until_ns) {
        raft_index_t index = lab_submit_somewhere(lab, value, more_bytes);
        if (index == 0) {
            lab_raft_sleep(lab, 50);
            continue;
        }
        for (uint32_t waited_ms = 0; waited_ms < 2000; waited_ms += 20) {
            uint64_t applied;
            if (lab_raft_committed_count(lab, index, &applied) >= expected && applied == value)
                return index;
            lab_raft_sleep(lab, 20);
        }
        cr_assert(retry, "seed %lu: no agreement at once", lab->options.seed);
    }
    lab_print_state(lab);
    cr_assert_fail("seed %lu: no agreement in time", lab->options.seed);
    return 0;
}

raft_index_t lab_raft_agree(struct lab_raft *lab, uint64_t value, uint32_t expected, bool retry)
{
    return lab_raft_agree_bytes(lab, value, 0, expected, retry);
}

void lab_raft_each_seed(void (*scenario)(struct lab_raft *lab), struct lab_raft_options options,
                        uint32_t seeds_count)
{
    const char *only = getenv("LAB_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    const char *count = getenv("LAB_SEEDS");
    if (count)
        seeds_count = (uint32_t)strtoul(count, NULL, 10);
    log_set_level(only ? LOG_DEBUG : LOG_ERROR);
    for (uint64_t seed = first; seed < first + (only ? 1 : seeds_count); seed++) {
        options.seed = seed;
        struct lab_raft *lab = lab_raft_new(&options);
        scenario(lab);
        lab_raft_free(lab);
    }
}
