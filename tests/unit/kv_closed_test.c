/* Reads as of a timestamp: at the leader, and at replicas by closed timestamps. */
#include "tests/support/kv_world.h"

#include "base/job.h"
#include "base/sometimes.h"
#include "proto/command.pb-c.h"
#include "proto/write_set.h"
#include "shardkv/kv_keys.h"

#include <criterion/criterion.h>
#include <stdio.h>

static ProtobufCBinaryData field(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static struct kv_world *world_of(uint32_t stores_count)
{
    struct kv_world *world = kv_world_new(stores_count);
    kv_world_create_group(world, 1);
    kv_world_assign(world, 1, "", "", 1);
    return world;
}

/* --- Writing -----------------------------------------------------------------------------------
 */

/* A transaction that writes one key: all of it at once, or its vote alone. */
static uint64_t send_prepare(struct kv_world *world, uint64_t sequence, const char *key,
                             const char *value, bool one_group)
{
    struct buffer writes = BUFFER_INIT;
    struct write write = {.kind = value ? WRITE_PUT : WRITE_DELETE, .key = bytes_of_string(key)};
    if (value)
        write.value = bytes_of_string(value);
    write_set_append(&writes, &write);
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__RangeRef *ranges[] = {&range};
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = sequence;
    Ostraka__TxnAge age = OSTRAKA__TXN_AGE__INIT;
    age.timestamp = age.sequence = sequence;
    age.client = 9;
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    Ostraka__Participant participant = OSTRAKA__PARTICIPANT__INIT;
    participant.key = field("elsewhere");
    Ostraka__Participant *participants[] = {&participant};
    Ostraka__PrepareRequest request = OSTRAKA__PREPARE_REQUEST__INIT;
    request.group = 1;
    request.n_ranges = 1;
    request.ranges = ranges;
    request.txn = &txn;
    request.age = &age;
    request.entry = &entry;
    request.deadline = kv_world_deadline(world, 20000);
    request.anchor = field(key);
    request.one_group = one_group;
    request.is_home = !one_group;
    request.n_participants = one_group ? 0 : 1;
    request.participants = participants;
    uint64_t id = kv_world_send(world, kv_world_leader(world, 1), FRAME_PREPARE, &request.base,
                                buffer_bytes(&writes));
    buffer_fini(&writes);
    return id;
}

static timestamp_t wait_prepare(struct kv_world *world, uint64_t id)
{
    const Ostraka__PrepareAnswer *answer = (const Ostraka__PrepareAnswer *)kv_world_wait(
        world, id, &ostraka__prepare_answer__descriptor, NULL);
    cr_assert_eq(answer->header->status, OST_OK, "%s", answer->header->text);
    return answer->commit_timestamp_min;
}

static uint64_t last_sequence = 1000;

static timestamp_t put(struct kv_world *world, const char *key, const char *value)
{
    return wait_prepare(world, send_prepare(world, ++last_sequence, key, value, true));
}

static timestamp_t prepare(struct kv_world *world, uint64_t sequence, const char *key,
                           const char *value)
{
    return wait_prepare(world, send_prepare(world, sequence, key, value, false));
}

static void commit(struct kv_world *world, uint64_t sequence, const char *key,
                   timestamp_t timestamp)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__TxnId txn = OSTRAKA__TXN_ID__INIT;
    txn.client = 9;
    txn.sequence = sequence;
    Ostraka__CommitRequest request = OSTRAKA__COMMIT_REQUEST__INIT;
    request.group = 1;
    request.range = &range;
    request.txn = &txn;
    request.anchor = field(key);
    request.commit_timestamp = timestamp;
    request.deadline = kv_world_deadline(world, 5000);
    uint64_t id = kv_world_send(world, kv_world_leader(world, 1), FRAME_COMMIT, &request.base,
                                bytes_of(NULL, 0));
    const Ostraka__CommitAnswer *answer = (const Ostraka__CommitAnswer *)kv_world_wait(
        world, id, &ostraka__commit_answer__descriptor, NULL);
    cr_assert_eq(answer->header->status, OST_OK, "%s", answer->header->text);
}

/* --- Reading -----------------------------------------------------------------------------------
 */

static uint64_t send_get(struct kv_world *world, store_id_t store, const char *key,
                         timestamp_t timestamp, bool any_replica)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__GetRequest request = OSTRAKA__GET_REQUEST__INIT;
    request.group = 1;
    request.range = &range;
    request.key = field(key);
    request.timestamp = timestamp;
    request.any_replica = any_replica;
    return kv_world_send(world, store, FRAME_GET, &request.base, bytes_of(NULL, 0));
}

static bool is_answered(struct kv_world *world, uint64_t id)
{
    return world->answers[id] != NULL;
}

static const Ostraka__GetAnswer *wait_get(struct kv_world *world, uint64_t id,
                                          struct bytes *out_value)
{
    return (const Ostraka__GetAnswer *)kv_world_wait(world, id, &ostraka__get_answer__descriptor,
                                                     out_value);
}

static void expect_answer(struct kv_world *world, uint64_t id, const char *expected)
{
    struct bytes value;
    const Ostraka__GetAnswer *answer = wait_get(world, id, &value);
    cr_assert_eq(answer->header->status, OST_OK, "%d %s", answer->header->status,
                 answer->header->text);
    cr_assert_eq(answer->found, expected != NULL, "found: %d", answer->found);
    if (expected)
        cr_assert(bytes_equal(value, bytes_of_string(expected)), "%.*s instead of %s",
                  (int)value.bytes_count, value.data, expected);
}

static void expect_refused(struct kv_world *world, uint64_t id, int status)
{
    const Ostraka__GetAnswer *answer = wait_get(world, id, NULL);
    cr_assert_eq(answer->header->status, status, "%d %s", answer->header->status,
                 answer->header->text);
}

static void expect_at(struct kv_world *world, const char *key, timestamp_t timestamp,
                      const char *expected)
{
    expect_answer(world, send_get(world, kv_world_leader(world, 1), key, timestamp, false),
                  expected);
}

/* "key=value " of each row. */
static const char *scan_at(struct kv_world *world, store_id_t store, timestamp_t timestamp,
                           bool any_replica, bool reverse)
{
    Ostraka__RangeRef range = OSTRAKA__RANGE_REF__INIT;
    range.epoch = 1;
    Ostraka__ScanRequest request = OSTRAKA__SCAN_REQUEST__INIT;
    request.group = 1;
    request.range = &range;
    request.timestamp = timestamp;
    request.any_replica = any_replica;
    request.reverse = reverse;
    uint64_t id = kv_world_send(world, store, FRAME_SCAN, &request.base, bytes_of(NULL, 0));
    struct bytes rows;
    const Ostraka__ScanAnswer *answer = (const Ostraka__ScanAnswer *)kv_world_wait(
        world, id, &ostraka__scan_answer__descriptor, &rows);
    cr_assert_eq(answer->header->status, OST_OK, "%s", answer->header->text);
    struct reader reader = reader_of(rows);
    struct row row;
    const char *text = "";
    while (rows_next(&reader, &row) == OST_OK)
        text = arena_printf(&world->arena, "%s%.*s=%.*s ", text, (int)row.key.bytes_count,
                            row.key.data, (int)row.value.bytes_count, row.value.data);
    return text;
}

static store_id_t follower(struct kv_world *world)
{
    return kv_world_leader(world, 1) % world->stores_count + 1;
}

static uint64_t closed_count(const struct kv_world *world)
{
    uint64_t count = 0;
    for (store_id_t id = 1; id <= world->stores_count; id++)
        count += world->stores[id].metrics.timestamps_closed_count;
    return count;
}

/* --- At the leader -----------------------------------------------------------------------------
 */

Test(kv_closed, snapshot_shows_what_was_committed_up_to_its_timestamp)
{
    struct kv_world *world = world_of(1);
    timestamp_t first = put(world, "k", "one");
    timestamp_t second = put(world, "k", "two");
    timestamp_t gone = put(world, "k", NULL);
    timestamp_t other = put(world, "m", "three");
    expect_at(world, "k", first - 1, NULL);
    expect_at(world, "k", first, "one");
    expect_at(world, "k", second - 1, "one");
    expect_at(world, "k", second, "two");
    expect_at(world, "k", gone, NULL);
    cr_assert_str_eq(scan_at(world, 1, first, false, false), "k=one ");
    cr_assert_str_eq(scan_at(world, 1, second, false, true), "k=two ");
    cr_assert_str_eq(scan_at(world, 1, gone, false, false), "");
    cr_assert_str_eq(scan_at(world, 1, other, false, true), "m=three ");
    kv_world_free(world);
}

/* More versions of a key than a scan walks over, and as of each of them. */
Test(kv_closed, snapshot_finds_its_version_among_many)
{
    struct kv_world *world = world_of(1);
    enum { VERSIONS = 25 };
    timestamp_t at[VERSIONS];
    put(world, "a", "first");
    put(world, "z", "last");
    for (int version = 0; version < VERSIONS; version++) {
        char value[8];
        snprintf(value, sizeof(value), "%d", version);
        put(world, "m", value);
        at[version] = put(world, "n", value);
    }
    for (int version = 0; version < VERSIONS; version++) {
        char value[8], forward[64], reverse[64];
        snprintf(value, sizeof(value), "%d", version);
        snprintf(forward, sizeof(forward), "a=first m=%d n=%d z=last ", version, version);
        snprintf(reverse, sizeof(reverse), "z=last n=%d m=%d a=first ", version, version);
        expect_at(world, "m", at[version], value);
        cr_assert_str_eq(scan_at(world, 1, at[version], false, false), forward);
        cr_assert_str_eq(scan_at(world, 1, at[version], false, true), reverse);
    }
    kv_world_free(world);
}

/* T3: the oracle's answer to a prepare is on its way when a later timestamp is read. */
Test(kv_closed, what_is_read_stays_as_it_was_read)
{
    struct kv_world *world = world_of(1);
    put(world, "k", "old");
    world->is_oracle_held = true;
    uint64_t writer = send_prepare(world, 1, "k", "new", true);
    kv_world_run(world, 5);
    cr_assert_eq(world->held_count, 1);
    timestamp_t timestamp = ++world->timestamp;
    raft_host_heard(world->stores[1].host, timestamp);
    expect_at(world, "k", timestamp, "old");
    world->is_oracle_held = false;
    timestamp_t committed = wait_prepare(world, writer);
    cr_assert_gt(committed, timestamp);
    expect_at(world, "k", timestamp, "old");
    expect_at(world, "k", committed, "new");
    kv_world_free(world);
}

/* A group learns by a commit how far another one's bound went, and its own oracle's answer was on
 * its way for long: a fresh snapshot must still be above what is then acknowledged. */
Test(kv_closed, bound_never_leaves_the_oracle_behind)
{
    struct kv_world *world = world_of(1);
    prepare(world, 1, "k", "x");
    world->is_oracle_held = true;
    uint64_t writer = send_prepare(world, 2, "m", "y", true);
    kv_world_run(world, 5);
    cr_assert_eq(world->held_count, 1);
    timestamp_t given_out = world->timestamp + 1; /* to others, since */
    world->timestamp = given_out;
    commit(world, 1, "k", given_out + 1); /* a snapshot was served there at what was given out */
    world->timestamp = given_out;
    world->is_oracle_held = false;
    timestamp_t committed = wait_prepare(world, writer);
    cr_assert_gt(committed, given_out + 1);
    cr_assert_leq(committed, world->timestamp + 1, "%lu, and the oracle has given out %lu",
                  committed, world->timestamp);
    kv_world_free(world);
}

/* T4 */
Test(kv_closed, read_waits_for_writers_bound_below_it_alone)
{
    struct kv_world *world = world_of(1);
    timestamp_t before = put(world, "k", "old");
    timestamp_t bound = prepare(world, 1, "k", "new");
    expect_at(world, "k", before, "old");
    expect_at(world, "k", bound - 1, "old");
    put(world, "other", "x"); /* so that the oracle has gone on */
    uint64_t at_bound = send_get(world, 1, "k", bound, false);
    uint64_t above = send_get(world, 1, "k", bound + 1, false);
    kv_world_run(world, 100);
    cr_assert(!is_answered(world, at_bound));
    cr_assert(!is_answered(world, above));
    expect_at(world, "other", bound, NULL); /* of other keys it is none of their business */
    commit(world, 1, "k", bound + 1);
    expect_answer(world, at_bound, "old");
    expect_answer(world, above, "new");
    kv_world_free(world);
}

Test(kv_closed, new_leader_knows_the_bounds_of_what_is_prepared)
{
    struct kv_world *world = world_of(3);
    put(world, "k", "old");
    timestamp_t bound = prepare(world, 1, "k", "new");
    kv_world_crash(world, kv_world_leader(world, 1));
    kv_world_leader(world, 1);
    timestamp_t later = put(world, "other", "x");
    expect_at(world, "k", bound - 1, "old");
    uint64_t waits = send_get(world, kv_world_leader(world, 1), "k", later, false);
    kv_world_run(world, 100);
    cr_assert(!is_answered(world, waits));
    commit(world, 1, "k", bound);
    expect_answer(world, waits, "new");
    kv_world_free(world);
}

Test(kv_closed, timestamp_of_the_future_is_refused_and_the_oracle_knows)
{
    struct kv_world *world = world_of(1);
    put(world, "k", "one");
    timestamp_t soon = kv_world_deadline(world, 1);
    kv_world_run(world, 10);
    expect_at(world, "k", soon, "one"); /* later than what the store has heard, and past */
    expect_refused(world, send_get(world, 1, "k", kv_world_deadline(world, 60000), false),
                   OST_INVALID_ARGUMENT);
    kv_world_free(world);
}

static void safe_point_set(struct kv_world *world, store_id_t id, timestamp_t safe_point)
{
    kv_world_flush(world, id);
    kv_world_crash(world, id);
    struct store *store = world->stores[id].store;
    struct buffer key = BUFFER_INIT, row = BUFFER_INIT;
    kv_key_group_meta(&key, 1);
    cr_assert_eq(store_get(store, buffer_bytes(&key), STORE_MAY_BLOCK, &row), OST_OK);
    Ostraka__GroupMeta *meta = (Ostraka__GroupMeta *)message_unpack(
        &ostraka__group_meta__descriptor, buffer_bytes(&row), &world->arena);
    cr_assert_not_null(meta);
    meta->safe_point = safe_point;
    buffer_reset(&row);
    ostraka__group_meta__pack(meta,
                              buffer_extend(&row, ostraka__group_meta__get_packed_size(meta)));
    struct store_batch *batch = store_batch_new(store);
    store_batch_put(batch, buffer_bytes(&key), buffer_bytes(&row));
    cr_assert_eq(store_write(store, batch), OST_OK);
    store_batch_free(batch);
    buffer_fini(&key);
    buffer_fini(&row);
    kv_world_start(world, id);
}

Test(kv_closed, below_the_safe_point_is_an_error)
{
    struct kv_world *world = world_of(1);
    timestamp_t old = put(world, "k", "one");
    timestamp_t safe_point = put(world, "k", "two");
    safe_point_set(world, 1, safe_point);
    kv_world_leader(world, 1);
    expect_at(world, "k", safe_point, "two");
    uint64_t id = send_get(world, 1, "k", old, false);
    expect_refused(world, id, OST_SNAPSHOT_TOO_OLD);
    char named[128];
    snprintf(named, sizeof(named), "timestamp %lu lies below the safe point %lu", old, safe_point);
    cr_assert_str_eq(wait_get(world, id, NULL)->header->text, named);
    kv_world_free(world);
}

/* --- At replicas -------------------------------------------------------------------------------
 */

Test(kv_closed, replica_answers_what_is_closed)
{
    struct kv_world *world = world_of(3);
    timestamp_t first = put(world, "k", "one");
    timestamp_t second = put(world, "k", "two");
    store_id_t at = follower(world);
    expect_refused(world, send_get(world, at, "k", second, false), OST_NOT_LEADER);
    expect_answer(world, send_get(world, at, "k", second, true), "two");
    cr_assert_eq(closed_count(world), 1);
    /* What is below needs nobody else, whoever leads and whether anybody does. */
    for (store_id_t id = 1; id <= 3; id++)
        world->isolated[id] = true;
    expect_answer(world, send_get(world, at, "k", first, true), "one");
    cr_assert_str_eq(scan_at(world, at, first, true, false), "k=one ");
    cr_assert_str_eq(scan_at(world, at, first - 1, true, true), "");
    cr_assert_eq(closed_count(world), 1);
    cr_assert_eq(world->stores[at].metrics.replica_reads_count, 4);
    kv_world_free(world);
}

/* The index that a closed timestamp came with is not applied here yet. */
Test(kv_closed, replica_answers_once_it_has_applied_what_is_closed)
{
    struct kv_world *world = world_of(3);
    put(world, "k", "old");
    kv_world_run(world, 200);
    store_id_t at = follower(world);
    store_memory_hinder(world->stores[at].store, true, false);
    timestamp_t committed = put(world, "k", "new");
    uint64_t id = send_get(world, at, "k", committed, true);
    kv_world_run(world, 200);
    cr_assert_eq(closed_count(world), 1);
    cr_assert(!is_answered(world, id));
    store_memory_hinder(world->stores[at].store, false, false);
    expect_answer(world, id, "new");
    kv_world_free(world);
}

/* A writer anywhere in the group that is bound below it is waited for. */
Test(kv_closed, timestamp_is_closed_once_nothing_below_it_is_open)
{
    struct kv_world *world = world_of(3);
    put(world, "k", "old");
    timestamp_t bound = prepare(world, 1, "k", "new");
    timestamp_t later = put(world, "other", "x");
    store_id_t at = follower(world);
    expect_answer(world, send_get(world, at, "k", bound - 1, true), "old");
    uint64_t id = send_get(world, at, "k", later, true);
    kv_world_run(world, 100);
    cr_assert(!is_answered(world, id));
    commit(world, 1, "k", bound);
    expect_answer(world, id, "new");
    /* And when it takes too long, the leader may still know. */
    bound = prepare(world, 2, "k", "newer");
    later = put(world, "other", "y");
    id = send_get(world, at, "other", later, true);
    expect_refused(world, id, OST_NOT_READY);
    expect_at(world, "other", later, "y");
    commit(world, 2, "k", bound);
    kv_world_free(world);
}

Test(kv_closed, what_is_closed_takes_no_more_commits)
{
    struct kv_world *world = world_of(3);
    put(world, "k", "old");
    store_id_t leader = kv_world_leader(world, 1);
    world->is_oracle_held = true;
    uint64_t writer = send_prepare(world, 1, "k", "new", true);
    kv_world_run(world, 5);
    cr_assert_eq(world->held_count, 1);
    timestamp_t timestamp = ++world->timestamp;
    store_id_t at = follower(world);
    raft_host_heard(world->stores[at].host, timestamp);
    expect_answer(world, send_get(world, at, "k", timestamp, true), "old");
    world->is_oracle_held = false;
    cr_assert_gt(wait_prepare(world, writer), timestamp);
    cr_assert_eq(kv_world_leader(world, 1), leader);
    expect_answer(world, send_get(world, at, "k", timestamp, true), "old");
    kv_world_free(world);
}

/* A leader that is cut off may be none any more: it neither reads nor closes (R3). */
Test(kv_closed, leader_that_is_not_confirmed_tells_nothing)
{
    struct kv_world *world = world_of(3);
    timestamp_t timestamp = put(world, "k", "old");
    store_id_t leader = kv_world_leader(world, 1);
    world->isolated[leader] = true;
    uint64_t id = send_get(world, leader, "k", timestamp, false);
    Ostraka__CloseTimestamp close = OSTRAKA__CLOSE_TIMESTAMP__INIT;
    close.group = 1;
    close.timestamp = timestamp;
    close.store = leader % 3 + 1;
    struct blob *blob = frame_encode(FRAME_CLOSE_TIMESTAMP, 0, &close.base, NULL, 0);
    struct frame frame = frame_of_blob(blob);
    cr_assert_eq(
        kv_server_receive(world->stores[leader].kv, CONNECTION_LOCAL, &frame, world->now_ns),
        OST_OK);
    blob_unref(blob);
    expect_refused(world, id, OST_NOT_LEADER);
    kv_world_run(world, 2000);
    cr_assert_eq(closed_count(world), 0);
    kv_world_free(world);
}

Test(kv_closed, reads_that_wait_are_closed_for_together)
{
    struct kv_world *world = world_of(3);
    timestamp_t at[6];
    for (int number = 0; number < 6; number++)
        at[number] = put(world, "k", "x");
    store_id_t store = follower(world);
    uint64_t ids[6];
    for (int number = 0; number < 6; number++)
        ids[number] = send_get(world, store, "k", at[number], true);
    for (int number = 0; number < 6; number++)
        expect_answer(world, ids[number], "x");
    cr_assert_eq(closed_count(world), 2); /* the first had been asked for alone */
    kv_world_free(world);
}

Test(kv_closed, silence_ends_a_wait)
{
    struct kv_world *world = world_of(3);
    put(world, "k", "one");
    kv_world_run(world, 200);
    store_id_t at = follower(world);
    world->isolated[at] = true;
    timestamp_t later = put(world, "k", "two");
    raft_host_heard(world->stores[at].host, later);
    nanoseconds_t asked_ns = world->now_ns;
    expect_refused(world, send_get(world, at, "k", later, true), OST_NOT_READY);
    cr_assert_leq(world->now_ns - asked_ns, 510 * NS_PER_MS);
    kv_world_free(world);
}

/* A replica that becomes the leader while reads wait there, and one that is destroyed. */
Test(kv_closed, waiting_reads_end_with_the_role)
{
    struct kv_world *world = world_of(3);
    put(world, "k", "one");
    kv_world_run(world, 200);
    timestamp_t later = ++world->timestamp;
    store_id_t leader = kv_world_leader(world, 1);
    uint64_t ids[4] = {0};
    kv_world_crash(world, leader);
    for (store_id_t id = 1; id <= 3; id++) {
        if (id == leader)
            continue;
        raft_host_heard(world->stores[id].host, later);
        ids[id] = send_get(world, id, "k", later, true);
    }
    kv_world_leader(world, 1);
    for (store_id_t id = 1; id <= 3; id++) {
        if (id != leader)
            wait_get(world, ids[id], NULL);
    }
    store_id_t at = kv_world_leader(world, 1);
    at = at % 3 + 1 == leader ? leader % 3 + 1 : at % 3 + 1;
    world->isolated[at] = true;
    later = ++world->timestamp;
    raft_host_heard(world->stores[at].host, later);
    uint64_t id = send_get(world, at, "k", later, true);
    kv_server_destroy_replica(world->stores[at].kv, 1, 10 + at, world->now_ns);
    expect_refused(world, id, OST_NOT_LEADER);
    kv_world_free(world);
}

static struct sites sites;

/* The log is cut whether or not a follower lags, and nothing else is rare. */
static void cut_logs_early(void)
{
    sites_init(&sites, 1);
    for (int site = 0; site < SITES_COUNT; site++) {
        if (site_info((enum site)site)->kind == SITE_RARE)
            sites_set_rate(&sites, (enum site)site,
                           site == RARE_LOG_CUT_AHEAD_OF_FOLLOWERS ? 1000 : 0);
    }
    site_hook_set(&sites.hook);
}

/* While a read is on the pool of a replica, a snapshot takes the place of the rows that it reads.
 */
Test(kv_closed, rows_replaced_under_a_read_are_not_shown)
{
    struct kv_world *world = world_of(3);
    timestamp_t timestamp = put(world, "k", "one");
    store_id_t at = follower(world);
    expect_answer(world, send_get(world, at, "k", timestamp, true), "one");
    store_memory_hinder(world->stores[at].store, false, true);
    world->are_jobs_held = true;
    uint64_t read = send_get(world, at, "k", timestamp, true);
    struct job *job = world->stores[at].jobs;
    cr_assert_not_null(job);
    world->stores[at].jobs = job->next;
    job->next = NULL;
    world->are_jobs_held = false;
    store_memory_hinder(world->stores[at].store, false, false);
    cut_logs_early();
    for (int tries = 0; world->stores[at].metrics.snapshots_installed_count == 0; tries++) {
        cr_assert_lt(tries, 50);
        world->isolated[at] = true;
        for (int number = 0; number < 10; number++)
            put(world, "other", "x");
        for (store_id_t id = 1; id <= 3; id++)
            if (id != at)
                kv_world_flush(world, id);
        world->isolated[at] = false;
        kv_world_run(world, 200);
    }
    site_hook_set(NULL);
    cr_assert(!is_answered(world, read));
    job->next = world->stores[at].jobs;
    world->stores[at].jobs = job;
    expect_refused(world, read, OST_NOT_READY);
    expect_answer(world, send_get(world, at, "k", timestamp, true), "one");
    kv_world_free(world);
}

/* --- What they cost ----------------------------------------------------------------------------
 */

static uint64_t log_bytes(const struct kv_world *world)
{
    uint64_t bytes = 0;
    for (store_id_t id = 1; id <= world->stores_count; id++)
        bytes += world->stores[id].metrics.log_written_bytes;
    return bytes;
}

/* 400 snapshot reads, half of them at replicas that close timestamps for them: no entry, no byte
 * of a log, no lock. */
Test(kv_closed, snapshot_reads_write_nothing_to_any_log)
{
    struct kv_world *world = world_of(3);
    put(world, "k", "one");
    kv_world_run(world, 500);
    store_id_t leader = kv_world_leader(world, 1);
    uint64_t last_index = kv_world_status(world, leader, 1)->last_index;
    uint64_t bytes = log_bytes(world);
    cr_assert_gt(bytes, 0);
    for (int read = 0; read < 100; read++) {
        kv_world_run(world, 1);
        timestamp_t now = kv_world_deadline(world, 0);
        world->timestamp = now > world->timestamp ? now : world->timestamp + 1;
        uint64_t ids[3];
        for (store_id_t id = 1; id <= 3; id++) {
            raft_host_heard(world->stores[id].host, world->timestamp);
            ids[id - 1] = send_get(world, id, "k", world->timestamp, true);
        }
        for (store_id_t id = 1; id <= 3; id++)
            expect_answer(world, ids[id - 1], "one");
        cr_assert_str_eq(scan_at(world, read % 3 + 1, world->timestamp, true, false), "k=one ");
    }
    kv_world_run(world, 500);
    uint64_t reads = 0, at_replicas = 0;
    for (store_id_t id = 1; id <= 3; id++) {
        reads += world->stores[id].metrics.snapshot_reads_count;
        at_replicas += world->stores[id].metrics.replica_reads_count;
        cr_assert_eq(kv_world_status(world, id, 1)->last_index, last_index);
    }
    cr_assert_eq(reads, 400);
    cr_assert_gt(at_replicas, 200);
    cr_assert_geq(closed_count(world), 100);
    cr_assert_eq(log_bytes(world), bytes);
    cr_assert_eq(kv_world_status(world, leader, 1)->locks->keys_locked_count, 0);
    kv_world_free(world);
}
