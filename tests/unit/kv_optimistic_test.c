/* Transactions that read without locks and have what they read checked when they commit, as stories
 * over the real Raft host. Group 1 owns all, or up to "m"; group 2 the rest. */
#include "tests/support/kv_world.h"

#include "proto/write_set.h"
#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"
#include "shardkv/store.h"

#include <criterion/criterion.h>

#define CHECKS_MAX 8u

static struct kv_world *w;
static bool is_split; /* between two groups */
static uint64_t last_sequence;

static void open_world(uint32_t stores_count, bool two_groups)
{
    w = kv_world_new(stores_count);
    is_split = two_groups;
    kv_world_create_group(w, 1);
    kv_world_assign(w, 1, "", two_groups ? "m" : "", 1);
    if (!two_groups)
        return;
    kv_world_create_group(w, 2);
    kv_world_assign(w, 2, "m", "", 1);
}

static void close_world(void)
{
    kv_world_free(w);
}

TestSuite(kv_optimistic, .fini = close_world);

/* --- A transaction, as its client keeps it -----------------------------------------------------
 */

struct note {
    group_id_t group;
    const char *start, *end; /* no end: the one key */
    timestamp_t read_timestamp;
};

struct txn {
    uint64_t sequence; /* also its age */
    struct lock_entry_number entry;
    struct note notes[CHECKS_MAX];
    uint32_t notes_count;
    timestamp_t deadline;
};

static struct txn begin(void)
{
    return (struct txn){.sequence = ++last_sequence, .deadline = kv_world_deadline(w, 30000)};
}

static group_id_t group_of(const char *key)
{
    return is_split && strcmp(key, "m") >= 0 ? 2 : 1;
}

static ProtobufCBinaryData field(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static Ostraka__RangeRef *range_of(group_id_t group)
{
    Ostraka__RangeRef *range = arena_alloc(&w->arena, sizeof(*range));
    ostraka__range_ref__init(range);
    range->start = field(group == 2 ? "m" : "");
    range->epoch = 1;
    return range;
}

static Ostraka__TxnId *id_of(const struct txn *txn)
{
    Ostraka__TxnId *id = arena_alloc(&w->arena, sizeof(*id));
    ostraka__txn_id__init(id);
    id->client = 9;
    id->sequence = txn->sequence;
    return id;
}

static Ostraka__TxnAge *age_of(const struct txn *txn)
{
    Ostraka__TxnAge *age = arena_alloc(&w->arena, sizeof(*age));
    ostraka__txn_age__init(age);
    age->timestamp = txn->sequence;
    age->client = 9;
    age->sequence = txn->sequence;
    return age;
}

static Ostraka__ReadCheck **checks_of(const struct txn *txn, group_id_t group, size_t *out_count)
{
    Ostraka__ReadCheck *checks = arena_alloc(&w->arena, CHECKS_MAX * sizeof(*checks));
    Ostraka__ReadCheck **list = arena_alloc(&w->arena, CHECKS_MAX * sizeof(list[0]));
    *out_count = 0;
    for (uint32_t index = 0; index < txn->notes_count; index++) {
        const struct note *note = &txn->notes[index];
        if (note->group != group)
            continue;
        Ostraka__ReadCheck *check = &checks[*out_count];
        ostraka__read_check__init(check);
        check->start = field(note->start);
        check->is_key = !note->end;
        if (note->end)
            check->end = field(note->end);
        check->read_timestamp = note->read_timestamp;
        list[(*out_count)++] = check;
    }
    return list;
}

static void note_add(struct txn *txn, const char *start, const char *end, timestamp_t timestamp)
{
    cr_assert_lt(txn->notes_count, CHECKS_MAX);
    txn->notes[txn->notes_count++] = (struct note){group_of(start), start, end, timestamp};
}

static uint64_t send_get(const char *key)
{
    Ostraka__GetRequest request = OSTRAKA__GET_REQUEST__INIT;
    request.group = group_of(key);
    request.range = range_of(request.group);
    request.key = field(key);
    return kv_world_send(w, kv_world_leader(w, request.group), FRAME_GET, &request.base,
                         bytes_of(NULL, 0));
}

static const char *get_answer(struct txn *txn, const char *key, uint64_t id)
{
    struct bytes value;
    const Ostraka__GetAnswer *answer =
        (const Ostraka__GetAnswer *)kv_world_wait(w, id, &ostraka__get_answer__descriptor, &value);
    cr_assert_eq(answer->header->status, OST_OK);
    note_add(txn, key, NULL, answer->read_timestamp);
    return answer->found ? arena_printf(&w->arena, "%.*s", (int)value.bytes_count, value.data)
                         : NULL;
}

/* NULL: no such key. */
static const char *read_key(struct txn *txn, const char *key)
{
    return get_answer(txn, key, send_get(key));
}

static uint64_t send_scan(const char *start, const char *end)
{
    Ostraka__ScanRequest request = OSTRAKA__SCAN_REQUEST__INIT;
    request.group = group_of(start);
    request.range = range_of(request.group);
    request.start = field(start);
    request.end = field(end);
    return kv_world_send(w, kv_world_leader(w, request.group), FRAME_SCAN, &request.base,
                         bytes_of(NULL, 0));
}

static const char *scan_answer(struct txn *txn, const char *start, const char *end, uint64_t id)
{
    struct bytes rows;
    const Ostraka__ScanAnswer *answer =
        (const Ostraka__ScanAnswer *)kv_world_wait(w, id, &ostraka__scan_answer__descriptor, &rows);
    cr_assert_eq(answer->header->status, OST_OK);
    note_add(txn, start, end, answer->read_timestamp);
    struct reader reader = reader_of(rows);
    struct row row;
    const char *text = "";
    while (rows_next(&reader, &row) == OST_OK)
        text = arena_printf(&w->arena, "%s%.*s", text, (int)row.key.bytes_count, row.key.data);
    return text;
}

/* The keys, one behind the other. */
static const char *read_rows(struct txn *txn, const char *start, const char *end)
{
    return scan_answer(txn, start, end, send_scan(start, end));
}

static int lock(struct txn *txn, const char *key, bool exclusive)
{
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = txn->entry.term;
    entry.counter = txn->entry.counter;
    Ostraka__LockRequest request = OSTRAKA__LOCK_REQUEST__INIT;
    request.group = group_of(key);
    request.range = range_of(request.group);
    request.txn = id_of(txn);
    request.age = age_of(txn);
    request.entry = &entry;
    request.key = field(key);
    request.mode = exclusive ? OSTRAKA__LOCK_MODE__EXCLUSIVE : OSTRAKA__LOCK_MODE__SHARED;
    uint64_t id = kv_world_send(w, kv_world_leader(w, request.group), FRAME_LOCK, &request.base,
                                bytes_of(NULL, 0));
    const Ostraka__LockAnswer *answer =
        (const Ostraka__LockAnswer *)kv_world_wait(w, id, &ostraka__lock_answer__descriptor, NULL);
    if (answer->entry)
        txn->entry = (struct lock_entry_number){answer->entry->term, answer->entry->counter};
    return answer->header->status;
}

/* What a Prepare asks besides reads: a write of `key` (NULL: none; value NULL: delete). */
struct ask {
    group_id_t group;
    const char *anchor;
    const char *key, *value;
    bool is_home, one_group;
    const char *participant;
    group_id_t named_range; /* 0: the group's */
};

static uint64_t send_prepare(const struct txn *txn, const struct ask *ask)
{
    Ostraka__RangeRef *ranges[] = {range_of(ask->named_range ? ask->named_range : ask->group)};
    Ostraka__LockEntry entry = OSTRAKA__LOCK_ENTRY__INIT;
    entry.term = txn->entry.term;
    entry.counter = txn->entry.counter;
    Ostraka__Participant participant = OSTRAKA__PARTICIPANT__INIT;
    Ostraka__Participant *participants[] = {&participant};
    Ostraka__PrepareRequest request = OSTRAKA__PREPARE_REQUEST__INIT;
    request.group = ask->group;
    request.n_ranges = 1;
    request.ranges = ranges;
    request.txn = id_of(txn);
    request.age = age_of(txn);
    request.entry = &entry;
    request.deadline = txn->deadline;
    request.anchor = field(ask->anchor);
    request.is_home = ask->is_home;
    request.one_group = ask->one_group;
    request.checks = checks_of(txn, ask->group, &request.n_checks);
    if (ask->participant) {
        participant.key = field(ask->participant);
        request.n_participants = 1;
        request.participants = participants;
    }
    struct buffer set = BUFFER_INIT;
    if (ask->key) {
        struct write write = {.kind = ask->value ? WRITE_PUT : WRITE_DELETE,
                              .key = bytes_of_string(ask->key)};
        if (ask->value)
            write.value = bytes_of_string(ask->value);
        write_set_append(&set, &write);
    }
    uint64_t id = kv_world_send(w, kv_world_leader(w, ask->group), FRAME_PREPARE, &request.base,
                                buffer_bytes(&set));
    buffer_fini(&set);
    return id;
}

static const Ostraka__PrepareAnswer *prepare_answer(uint64_t id)
{
    return (const Ostraka__PrepareAnswer *)kv_world_wait(
        w, id, &ostraka__prepare_answer__descriptor, NULL);
}

static bool prepare_is_answered(uint64_t id)
{
    return kv_world_answer(w, id, &ostraka__prepare_answer__descriptor, NULL) != NULL;
}

static uint64_t send_one(const struct txn *txn, const char *key, const char *value)
{
    struct ask ask = {
        .group = group_of(key), .anchor = key, .key = key, .value = value, .one_group = true};
    return send_prepare(txn, &ask);
}

static int commit_one(const struct txn *txn, const char *key, const char *value)
{
    return prepare_answer(send_one(txn, key, value))->header->status;
}

/* Somebody else's, with nothing read. */
static timestamp_t put(const char *key, const char *value)
{
    struct txn txn = begin();
    const Ostraka__PrepareAnswer *answer = prepare_answer(send_one(&txn, key, value));
    cr_assert_eq(answer->header->status, OST_OK);
    return answer->commit_timestamp_min;
}

/* Phase one of a write of `key` in group 2 whose home is "a" in group 1. */
static const struct ask home_ask = {
    .group = 1, .anchor = "a", .key = "a", .value = "home", .is_home = true, .participant = "z"};

static int send_commit(const struct txn *txn, timestamp_t timestamp)
{
    Ostraka__CommitRequest request = OSTRAKA__COMMIT_REQUEST__INIT;
    request.group = 1;
    request.range = range_of(1);
    request.txn = id_of(txn);
    request.anchor = field("a");
    request.commit_timestamp = timestamp;
    request.deadline = txn->deadline;
    uint64_t id =
        kv_world_send(w, kv_world_leader(w, 1), FRAME_COMMIT, &request.base, bytes_of(NULL, 0));
    return ((const Ostraka__CommitAnswer *)kv_world_wait(w, id, &ostraka__commit_answer__descriptor,
                                                         NULL))
        ->header->status;
}

static int send_abort(const struct txn *txn)
{
    Ostraka__Participant participant = OSTRAKA__PARTICIPANT__INIT;
    Ostraka__Participant *participants[] = {&participant};
    participant.key = field("z");
    Ostraka__AbortRequest request = OSTRAKA__ABORT_REQUEST__INIT;
    request.group = 1;
    request.range = range_of(1);
    request.txn = id_of(txn);
    request.anchor = field("a");
    request.deadline = txn->deadline;
    request.n_participants = 1;
    request.participants = participants;
    uint64_t id =
        kv_world_send(w, kv_world_leader(w, 1), FRAME_ABORT, &request.base, bytes_of(NULL, 0));
    return ((const Ostraka__AbortAnswer *)kv_world_wait(w, id, &ostraka__abort_answer__descriptor,
                                                        NULL))
        ->header->status;
}

/* Prepares a writer of "a" and of `key` in group 2. Returns its commit timestamp to be. */
static timestamp_t prepare_writer(const struct txn *txn, const char *key, const char *value)
{
    struct ask other = {.group = 2, .anchor = "a", .key = key, .value = value};
    const Ostraka__PrepareAnswer *home = prepare_answer(send_prepare(txn, &home_ask));
    const Ostraka__PrepareAnswer *part = prepare_answer(send_prepare(txn, &other));
    cr_assert_eq(home->header->status, OST_OK);
    cr_assert_eq(part->header->status, OST_OK);
    return home->commit_timestamp_min > part->commit_timestamp_min ? home->commit_timestamp_min
                                                                   : part->commit_timestamp_min;
}

static uint64_t send_validate(const struct txn *txn, group_id_t group)
{
    Ostraka__ValidateRequest request = OSTRAKA__VALIDATE_REQUEST__INIT;
    request.group = group;
    request.txn = id_of(txn);
    request.checks = checks_of(txn, group, &request.n_checks);
    return kv_world_send(w, kv_world_leader(w, group), FRAME_VALIDATE, &request.base,
                         bytes_of(NULL, 0));
}

static const Ostraka__ValidateAnswer *validate_answer(uint64_t id)
{
    return (const Ostraka__ValidateAnswer *)kv_world_wait(
        w, id, &ostraka__validate_answer__descriptor, NULL);
}

static int validate(const struct txn *txn, group_id_t group)
{
    return validate_answer(send_validate(txn, group))->header->status;
}

static uint64_t keys_locked(group_id_t group)
{
    return kv_world_status(w, kv_world_leader(w, group), group)->locks->keys_locked_count;
}

/* --- One group ---------------------------------------------------------------------------------
 */

Test(kv_optimistic, what_stands_as_it_was_read_commits)
{
    open_world(1, false);
    put("a", "1");
    struct txn txn = begin();
    cr_assert_str_eq(read_key(&txn, "a"), "1");
    cr_assert_null(read_key(&txn, "b"));
    cr_assert_str_eq(read_rows(&txn, "c", "d"), "");
    cr_assert_eq(keys_locked(1), 0, "reads lock nothing");
    put("x", "1"); /* moves the group's time, and touches nothing that was read */
    cr_assert_eq(commit_one(&txn, "b", "2"), OST_OK);
    cr_assert_eq(keys_locked(1), 0);
    cr_assert_eq(w->stores[1].metrics.reads_changed_count, 0);
}

Test(kv_optimistic, a_newer_version_refuses_the_commit_and_is_named)
{
    open_world(1, false);
    put("a", "1");
    struct txn txn = begin();
    read_key(&txn, "a");
    put("a", "1"); /* the same value, and yet another version */
    uint64_t id = send_one(&txn, "b", "2");
    const Ostraka__PrepareAnswer *answer = prepare_answer(id);
    cr_assert_eq(answer->header->status, OST_VERSION_CHANGED);
    cr_assert(bytes_equal(bytes_of(answer->header->key.data, answer->header->key.len),
                          bytes_of_string("a")));
    cr_assert_eq(keys_locked(1), 0, "its locks go at once");
    cr_assert_eq(w->stores[1].metrics.reads_changed_count, 1);
    struct txn after = begin();
    cr_assert_null(read_key(&after, "b"));
}

Test(kv_optimistic, a_delete_and_an_insert_leave_a_trace)
{
    open_world(1, false);
    put("a", "1");
    struct txn deleted = begin(), again = begin(), absent = begin(), came_and_went = begin();
    read_key(&deleted, "a");
    read_key(&again, "a");
    read_key(&absent, "b");
    read_key(&came_and_went, "c");
    put("a", NULL);
    cr_assert_eq(commit_one(&deleted, "x", "1"), OST_VERSION_CHANGED);
    put("a", "1"); /* as it was, to look at */
    cr_assert_eq(commit_one(&again, "x", "1"), OST_VERSION_CHANGED);
    put("b", "1");
    cr_assert_eq(commit_one(&absent, "x", "1"), OST_VERSION_CHANGED);
    put("c", "1");
    put("c", NULL); /* absent, as it was */
    cr_assert_eq(commit_one(&came_and_went, "x", "1"), OST_VERSION_CHANGED);
    /* What was read after the marker stands. */
    struct txn after = begin();
    cr_assert_null(read_key(&after, "c"));
    cr_assert_eq(commit_one(&after, "c", "2"), OST_OK);
}

Test(kv_optimistic, phantoms_are_seen_up_to_both_ends_and_no_further)
{
    static const struct {
        const char *key;
        bool is_inside;
    } cases[] = {{"b", true}, {"dz", true}, {"c", true}, {"e", false}, {"az", false}};
    open_world(1, false);
    put("ba", "1");
    put("d", "1");
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        int expected = cases[index].is_inside ? OST_VERSION_CHANGED : OST_OK;
        struct txn txn = begin(), of_marker = begin();
        cr_assert_str_eq(read_rows(&txn, "b", "e"), "bad");
        read_rows(&of_marker, "b", "e");
        put(cases[index].key, "1");
        cr_assert_eq(commit_one(&txn, "x", "1"), expected, "%s", cases[index].key);
        put(cases[index].key, NULL);
        cr_assert_eq(commit_one(&of_marker, "x", "1"), expected, "%s, deleted", cases[index].key);
    }
    /* A marker alone: what stood in the interval is gone. */
    struct txn txn = begin();
    cr_assert_str_eq(read_rows(&txn, "b", "e"), "bad");
    put("d", NULL);
    cr_assert_eq(commit_one(&txn, "x", "1"), OST_VERSION_CHANGED);
    /* To the very end, over keys with many versions. */
    for (int version = 0; version < 20; version++)
        put("xx", "1");
    struct txn to_the_end = begin(), changed = begin();
    cr_assert_str_eq(read_rows(&to_the_end, "xa", ""), "xx");
    read_rows(&changed, "xa", "");
    cr_assert_eq(commit_one(&to_the_end, "y", "1"), OST_OK);
    cr_assert_eq(commit_one(&changed, "x", "1"), OST_VERSION_CHANGED);
}

Test(kv_optimistic, write_skew_of_two_commits_once)
{
    open_world(1, false);
    put("x", "1");
    put("y", "1");
    struct txn first = begin(), second = begin();
    read_key(&first, "x");
    read_key(&first, "y");
    read_key(&second, "x");
    read_key(&second, "y");
    uint64_t one = send_one(&first, "x", "0"), two = send_one(&second, "y", "0");
    int one_status = prepare_answer(one)->header->status;
    int two_status = prepare_answer(two)->header->status;
    cr_assert_eq((one_status == OST_OK) + (two_status == OST_OK), 1, "%d and %d", one_status,
                 two_status);
}

/* The older one locks; or the younger one does. Its read is under a lock, the other's is not. */
Test(kv_optimistic, write_skew_with_one_that_locks_commits_once)
{
    open_world(1, false);
    for (int is_locker_older = 0; is_locker_older < 2; is_locker_older++) {
        put("x", "1");
        put("y", "1");
        struct txn first = begin(), second = begin();
        struct txn *locker = is_locker_older ? &first : &second;
        struct txn *reader = is_locker_older ? &second : &first;
        read_key(reader, "x");
        read_key(reader, "y");
        cr_assert_eq(lock(locker, "x", false), OST_OK);
        cr_assert_eq(lock(locker, "y", false), OST_OK);
        uint64_t of_reader = send_one(reader, "y", "0");
        kv_world_run(w, 50);
        uint64_t of_locker = send_one(locker, "x", "0");
        int reader_status = prepare_answer(of_reader)->header->status;
        int locker_status = prepare_answer(of_locker)->header->status;
        if (is_locker_older) {
            cr_assert_eq(locker_status, OST_OK);
            cr_assert_eq(reader_status, OST_VERSION_CHANGED);
        } else {
            cr_assert_eq(reader_status, OST_OK);
            cr_assert_eq(locker_status, OST_WOUNDED);
        }
    }
}

/* The store takes no writes: a writer has its bound, and its entry is in the log but not applied.
 */
Test(kv_optimistic, a_check_waits_for_a_writer_that_has_its_bound)
{
    open_world(1, false);
    put("a", "1");
    struct txn reader = begin(), validator = begin(), writer = begin();
    read_key(&reader, "a");
    read_key(&validator, "a");
    store_memory_hinder(w->stores[1].store, true, false);
    uint64_t write = send_one(&writer, "a", "2");
    kv_world_run(w, 50);
    uint64_t commit = send_one(&reader, "b", "2"), check = send_validate(&validator, 1);
    kv_world_run(w, 50);
    cr_assert_not(prepare_is_answered(write));
    cr_assert_not(prepare_is_answered(commit));
    cr_assert_null(kv_world_answer(w, check, &ostraka__validate_answer__descriptor, NULL));
    store_memory_hinder(w->stores[1].store, false, false);
    cr_assert_eq(prepare_answer(write)->header->status, OST_OK);
    cr_assert_eq(prepare_answer(commit)->header->status, OST_VERSION_CHANGED);
    cr_assert_eq(validate_answer(check)->header->status, OST_VERSION_CHANGED);
}

Test(kv_optimistic, a_commit_again_is_answered_from_its_outcome)
{
    open_world(1, false);
    put("a", "1");
    struct txn txn = begin();
    read_key(&txn, "a");
    const Ostraka__PrepareAnswer *answer = prepare_answer(send_one(&txn, "a", "2"));
    cr_assert_eq(answer->header->status, OST_OK);
    timestamp_t timestamp = answer->commit_timestamp_min;
    /* By now its own version is newer than what it has read. */
    answer = prepare_answer(send_one(&txn, "a", "2"));
    cr_assert_eq(answer->header->status, OST_OK);
    cr_assert_eq(answer->commit_timestamp_min, timestamp);
}

Test(kv_optimistic, a_commit_again_while_the_first_is_under_way_joins_it)
{
    open_world(1, false);
    put("a", "1");
    struct txn txn = begin(), other_reads = begin();
    read_key(&txn, "a");
    w->is_oracle_down = true;
    uint64_t first = send_one(&txn, "a", "2");
    kv_world_run(w, 20);
    uint64_t second = send_one(&txn, "a", "2");
    other_reads.sequence = txn.sequence;
    uint64_t third = send_one(&other_reads, "a", "2");
    cr_assert_eq(prepare_answer(first)->header->status, OST_CANCELED);
    cr_assert_eq(prepare_answer(third)->header->status, OST_INVALID_ARGUMENT);
    w->is_oracle_down = false;
    cr_assert_eq(prepare_answer(second)->header->status, OST_OK);
}

/* Each of them fails as soon as it has the lock that the one before it held. */
Test(kv_optimistic, many_that_fail_one_after_the_other)
{
    enum { COUNT = 40 };
    open_world(1, false);
    put("a", "1");
    struct txn txns[COUNT];
    uint64_t ids[COUNT];
    for (int index = 0; index < COUNT; index++) {
        txns[index] = begin();
        read_key(&txns[index], "a");
    }
    w->is_oracle_down = true;
    for (int index = 0; index < COUNT; index++)
        ids[index] = send_one(&txns[index], "a", "2");
    kv_world_run(w, 20);
    w->is_oracle_down = false;
    cr_assert_eq(prepare_answer(ids[0])->header->status, OST_OK);
    for (int index = 1; index < COUNT; index++)
        cr_assert_eq(prepare_answer(ids[index])->header->status, OST_VERSION_CHANGED);
    cr_assert_eq(keys_locked(1), 0);
}

/* --- On the pool -------------------------------------------------------------------------------
 */

Test(kv_optimistic, a_cold_check_goes_to_the_pool)
{
    open_world(1, false);
    put("a", "1");
    put("d", "1");
    struct txn good = begin(), bad = begin(), reader = begin();
    read_key(&good, "a");
    read_rows(&good, "b", "e");
    bad = good;
    bad.sequence = ++last_sequence;
    reader = good;
    reader.sequence = ++last_sequence;
    store_memory_hinder(w->stores[1].store, false, true);
    cr_assert_eq(commit_one(&good, "x", "1"), OST_OK);
    cr_assert_eq(validate(&reader, 1), OST_OK);
    cr_assert_eq(w->stores[1].metrics.reads_blocked_count, 2);
    put("c", "1");
    cr_assert_eq(commit_one(&bad, "x", "1"), OST_VERSION_CHANGED);
    cr_assert_eq(validate(&reader, 1), OST_VERSION_CHANGED);
    cr_assert_eq(w->stores[1].metrics.reads_blocked_count, 4);
}

/* A scan shows the state in which it was granted, and its timestamp is of then. A get may find what
 * was written since, and its timestamp says so. */
Test(kv_optimistic, a_read_on_the_pool_is_as_old_as_what_it_shows)
{
    open_world(1, false);
    put("a", "1");
    put("d", "1");
    struct txn scan = begin(), get = begin(), of_marker = begin();
    w->are_jobs_held = true;
    store_memory_hinder(w->stores[1].store, false, true);
    uint64_t rows = send_scan("b", "e"), value = send_get("a"), marker = send_get("d");
    kv_world_run(w, 5);
    put("c", "1");
    put("a", "2");
    put("d", NULL);
    w->are_jobs_held = false;
    cr_assert_str_eq(scan_answer(&scan, "b", "e", rows), "d");
    cr_assert_str_eq(get_answer(&get, "a", value), "2");
    cr_assert_null(get_answer(&of_marker, "d", marker));
    cr_assert_eq(commit_one(&scan, "x", "1"), OST_VERSION_CHANGED);
    cr_assert_eq(commit_one(&get, "x", "1"), OST_OK);
    cr_assert_eq(commit_one(&of_marker, "x", "1"), OST_OK);
}

Test(kv_optimistic, a_long_check_goes_to_the_pool)
{
    open_world(1, false);
    for (int index = 0; index < 300; index++)
        put(arena_printf(&w->arena, "k%03d", index), "1");
    struct txn txn = begin();
    note_add(&txn, "k", "l", put("x", "1"));
    cr_assert_eq(commit_one(&txn, "x", "2"), OST_OK);
    cr_assert_eq(w->stores[1].metrics.reads_blocked_count, 1);
}

Test(kv_optimistic, one_that_loses_its_locks_while_the_pool_looks_is_refused)
{
    open_world(1, false);
    put("a", "1");
    struct txn older = begin(), txn = begin(), gone = begin();
    read_key(&txn, "a");
    read_key(&gone, "a");
    w->are_jobs_held = true;
    store_memory_hinder(w->stores[1].store, false, true);
    uint64_t commit = send_one(&txn, "x", "1");
    uint64_t orphan = send_one(&gone, "y", "1");
    kv_world_run(w, 5);
    cr_assert_not(prepare_is_answered(commit));
    uint64_t write = send_one(&older, "a", "2");
    cr_assert_eq(prepare_answer(commit)->header->status, OST_WOUNDED);
    cr_assert_eq(prepare_answer(orphan)->header->status, OST_WOUNDED);
    cr_assert_eq(prepare_answer(write)->header->status, OST_OK);
    w->are_jobs_held = false; /* what comes back finds nobody */
    kv_world_run(w, 5);
    struct txn after = begin();
    store_memory_hinder(w->stores[1].store, false, false);
    cr_assert_null(read_key(&after, "x"));
}

Test(kv_optimistic, a_closed_connection_frees_the_locks_of_one_on_the_pool)
{
    open_world(1, false);
    put("a", "1");
    struct txn txn = begin();
    read_key(&txn, "a");
    w->are_jobs_held = true;
    store_memory_hinder(w->stores[1].store, false, true);
    uint64_t commit = send_one(&txn, "x", "1");
    kv_world_run(w, 5);
    cr_assert_eq(keys_locked(1), 2);
    kv_server_connection_closed(w->stores[1].kv, 1, w->now_ns);
    w->are_jobs_held = false;
    kv_world_run(w, 6000); /* until its entry has expired */
    cr_assert_not(prepare_is_answered(commit));
    cr_assert_eq(keys_locked(1), 0);
}

/* --- Several groups ----------------------------------------------------------------------------
 */

Test(kv_optimistic, a_read_in_one_group_changes_while_another_is_prepared)
{
    open_world(1, true);
    put("z", "1");
    struct txn txn = begin();
    read_key(&txn, "a");
    read_key(&txn, "z");
    cr_assert_eq(prepare_answer(send_prepare(&txn, &home_ask))->header->status, OST_OK);
    put("z", "2");
    struct ask part = {.group = 2, .anchor = "a"};
    cr_assert_eq(prepare_answer(send_prepare(&txn, &part))->header->status, OST_VERSION_CHANGED);
    cr_assert_eq(keys_locked(2), 0);
    cr_assert_eq(send_abort(&txn), OST_OK);
    kv_world_run(w, 100);
    cr_assert_eq(keys_locked(1), 0);
    struct txn after = begin();
    cr_assert_null(read_key(&after, "a"));
}

/* The rows are looked at after the shared lock is there, not before: the writer commits between. */
Test(kv_optimistic, a_check_waits_for_what_is_prepared_and_sees_its_outcome)
{
    open_world(1, true);
    for (int is_committed = 0; is_committed < 2; is_committed++) {
        put("z", "1");
        struct txn txn = begin(), reader = begin(), writer = begin();
        read_key(&txn, "z");
        read_key(&reader, "z");
        timestamp_t timestamp = prepare_writer(&writer, "z", "2");
        uint64_t commit = send_one(&txn, "y", "1"), check = send_validate(&reader, 2);
        kv_world_run(w, 40);
        cr_assert_not(prepare_is_answered(commit));
        cr_assert_null(kv_world_answer(w, check, &ostraka__validate_answer__descriptor, NULL));
        if (is_committed)
            cr_assert_eq(send_commit(&writer, timestamp), OST_OK);
        else
            cr_assert_eq(send_abort(&writer), OST_OK);
        int expected = is_committed ? OST_VERSION_CHANGED : OST_OK;
        cr_assert_eq(prepare_answer(commit)->header->status, expected);
        cr_assert_eq(validate_answer(check)->header->status, expected);
    }
}

Test(kv_optimistic, a_prepare_again_is_answered_as_the_first_time)
{
    open_world(1, true);
    put("z", "1");
    struct txn txn = begin();
    read_key(&txn, "a");
    read_key(&txn, "z");
    struct ask part = {.group = 2, .anchor = "a", .key = "z", .value = "2"};
    timestamp_t bounds[2][2];
    for (int time = 0; time < 2; time++) {
        const Ostraka__PrepareAnswer *a = prepare_answer(send_prepare(&txn, &home_ask));
        const Ostraka__PrepareAnswer *z = prepare_answer(send_prepare(&txn, &part));
        cr_assert_eq(a->header->status, OST_OK);
        cr_assert_eq(z->header->status, OST_OK);
        bounds[time][0] = a->commit_timestamp_min;
        bounds[time][1] = z->commit_timestamp_min;
    }
    cr_assert_eq(bounds[0][0], bounds[1][0]);
    cr_assert_eq(bounds[0][1], bounds[1][1]);
    timestamp_t timestamp = bounds[0][0] > bounds[0][1] ? bounds[0][0] : bounds[0][1];
    cr_assert_eq(send_commit(&txn, timestamp), OST_OK);
    kv_world_run(w, 1000);
    const Ostraka__PrepareAnswer *late = prepare_answer(send_prepare(&txn, &part));
    cr_assert_eq(late->header->status, OST_OK, "its own version is no change");
    cr_assert_eq(late->commit_timestamp_min, timestamp);
    cr_assert_eq(keys_locked(2), 0);
}

/* A group in which it only read holds what was read as durably as what is written elsewhere. */
Test(kv_optimistic, what_was_checked_stays_locked_over_a_restart)
{
    open_world(1, true);
    put("z", "1");
    struct txn txn = begin();
    read_rows(&txn, "p", "q"); /* checks go in key order */
    read_key(&txn, "z");
    struct ask part = {.group = 2, .anchor = "a"};
    const Ostraka__PrepareAnswer *home = prepare_answer(send_prepare(&txn, &home_ask));
    const Ostraka__PrepareAnswer *vote = prepare_answer(send_prepare(&txn, &part));
    cr_assert_eq(home->header->status, OST_OK);
    cr_assert_eq(vote->header->status, OST_OK);
    timestamp_t timestamp = home->commit_timestamp_min > vote->commit_timestamp_min
                                ? home->commit_timestamp_min
                                : vote->commit_timestamp_min;
    kv_world_crash(w, 1);
    kv_world_start(w, 1);
    kv_world_create_group(w, 1);
    kv_world_create_group(w, 2);
    struct txn of_key = begin(), of_row = begin();
    uint64_t key = send_one(&of_key, "z", "2"), row = send_one(&of_row, "pp", "2");
    kv_world_run(w, 40);
    cr_assert_not(prepare_is_answered(key));
    cr_assert_not(prepare_is_answered(row));
    cr_assert_eq(send_commit(&txn, timestamp), OST_OK);
    cr_assert_eq(prepare_answer(key)->header->status, OST_OK);
    cr_assert_eq(prepare_answer(row)->header->status, OST_OK);
}

Test(kv_optimistic, reads_alone_are_checked_without_locks_or_entries)
{
    open_world(1, true);
    put("a", "1");
    put("z", "1");
    struct txn good = begin(), bad = begin();
    read_key(&good, "a");
    read_rows(&good, "y", "");
    bad = good;
    bad.sequence = ++last_sequence;
    raft_index_t before = kv_world_status(w, 1, 2)->applied_index;
    cr_assert_eq(validate(&good, 1), OST_OK);
    cr_assert_eq(validate(&good, 2), OST_OK);
    cr_assert_eq(kv_world_status(w, 1, 2)->applied_index, before, "nothing is logged");
    cr_assert_eq(kv_world_status(w, 1, 2)->locks->txns_count, 0);
    put("y", "1");
    cr_assert_eq(validate(&bad, 1), OST_OK);
    uint64_t id = send_validate(&bad, 2);
    const Ostraka__ValidateAnswer *answer = validate_answer(id);
    cr_assert_eq(answer->header->status, OST_VERSION_CHANGED);
    cr_assert(bytes_equal(bytes_of(answer->header->key.data, answer->header->key.len),
                          bytes_of_string("y")));
}

/* --- Leaders, ranges, limits -------------------------------------------------------------------
 */

Test(kv_optimistic, what_was_read_at_one_leader_is_checked_at_the_next)
{
    open_world(3, false);
    put("a", "1");
    put("b", "1");
    struct txn good = begin(), bad = begin(), reader = begin();
    read_key(&good, "a");
    read_rows(&good, "c", "d");
    read_key(&bad, "b");
    read_key(&reader, "b");
    kv_world_crash(w, kv_world_leader(w, 1));
    put("b", "1");
    cr_assert_eq(commit_one(&good, "x", "1"), OST_OK);
    cr_assert_eq(commit_one(&bad, "x", "1"), OST_VERSION_CHANGED);
    cr_assert_eq(validate(&reader, 1), OST_VERSION_CHANGED);
}

Test(kv_optimistic, a_deposed_leader_confirms_no_reads)
{
    open_world(3, false);
    put("b", "1");
    struct txn reader = begin();
    read_key(&reader, "b");
    store_id_t old = kv_world_leader(w, 1);
    w->isolated[old] = true;
    put("b", "2"); /* at the next leader */
    Ostraka__ValidateRequest request = OSTRAKA__VALIDATE_REQUEST__INIT;
    request.group = 1;
    request.txn = id_of(&reader);
    request.checks = checks_of(&reader, 1, &request.n_checks);
    uint64_t id = kv_world_send(w, old, FRAME_VALIDATE, &request.base, bytes_of(NULL, 0));
    cr_assert_neq(validate_answer(id)->header->status, OST_OK);
}

Test(kv_optimistic, checks_lie_in_ranges_that_are_owned_and_named)
{
    open_world(1, true);
    struct txn elsewhere = begin(), over_the_end = begin(), good = begin();
    elsewhere.notes[0] = (struct note){.group = 1, .start = "z"};
    elsewhere.notes_count = 1;
    over_the_end.notes[0] = (struct note){.group = 1, .start = "a", .end = "n"};
    over_the_end.notes_count = 1;
    good.notes[0] = (struct note){.group = 1, .start = "a", .end = "m"};
    good.notes_count = 1;
    cr_assert_eq(commit_one(&elsewhere, "x", "1"), OST_OK, "it is group 2 that was asked");
    cr_assert_eq(commit_one(&elsewhere, "b", "1"), OST_RANGE_MOVED);
    cr_assert_eq(validate(&elsewhere, 1), OST_RANGE_MOVED);
    cr_assert_eq(commit_one(&over_the_end, "b", "1"), OST_RANGE_MOVED);
    cr_assert_eq(validate(&over_the_end, 1), OST_RANGE_MOVED);
    cr_assert_eq(validate(&good, 1), OST_OK);
    cr_assert_eq(commit_one(&good, "b", "1"), OST_OK);
}

/* Two ranges of one group: both must be named, since both are looked at again when it is applied.
 */
Test(kv_optimistic, an_interval_may_lie_in_two_ranges)
{
    w = kv_world_new(1);
    is_split = false;
    kv_world_create_group(w, 1);
    kv_world_assign(w, 1, "", "m", 1);
    kv_world_assign(w, 1, "m", "", 1);
    struct txn txn = begin();
    txn.notes[0] = (struct note){.group = 1, .start = "k", .end = "n"};
    txn.notes_count = 1;
    cr_assert_eq(validate(&txn, 1), OST_OK);
    cr_assert_eq(commit_one(&txn, "b", "1"), OST_RANGE_MOVED, "one is named, two are read");
    txn.notes[0] = (struct note){.group = 1, .start = "k", .end = "m"};
    cr_assert_eq(commit_one(&txn, "b", "1"), OST_OK);
}

Test(kv_optimistic, malformed_checks_are_refused)
{
    static char long_key[KEY_BYTES_MAX + 3];
    memset(long_key, 'k', sizeof(long_key) - 1);
    const struct {
        struct note notes[2];
        uint32_t count;
        int status;
    } cases[] = {
        {{{.group = 1, .start = ""}}, 1, OST_INVALID_ARGUMENT},
        {{{.group = 1, .start = "b", .end = "b"}}, 1, OST_INVALID_ARGUMENT},
        {{{.group = 1, .start = "c", .end = "b"}}, 1, OST_INVALID_ARGUMENT},
        {{{.group = 1, .start = "c"}, {.group = 1, .start = "b"}}, 2, OST_INVALID_ARGUMENT},
        {{{.group = 1, .start = long_key + 1}}, 1, OST_TOO_LARGE},
        {{{.group = 1, .start = long_key, .end = "z"}}, 1, OST_TOO_LARGE},
        {{{.group = 1, .start = "a", .end = long_key}}, 1, OST_TOO_LARGE},
        {{{.group = 1, .start = long_key + 1, .end = "z"}}, 1, OST_OK},
    };
    open_world(1, false);
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct txn txn = begin();
        memcpy(txn.notes, cases[index].notes, sizeof(cases[index].notes));
        txn.notes_count = cases[index].count;
        cr_assert_eq(commit_one(&txn, "A", "1"), cases[index].status, "case %zu", index);
        txn.sequence = ++last_sequence;
        cr_assert_eq(validate(&txn, 1), cases[index].status, "case %zu", index);
    }
}

/* The safe point as a group's checkpoint has it. */
static void set_safe_point(timestamp_t safe_point)
{
    struct store *store = w->stores[1].store;
    struct buffer key = BUFFER_INIT, row = BUFFER_INIT;
    struct kv_meta meta = {0};
    replica_id_t replica;
    kv_world_flush(w, 1);
    kv_world_crash(w, 1);
    kv_key_group_meta(&key, 1);
    cr_assert_eq(store_get(store, buffer_bytes(&key), STORE_MAY_BLOCK, &row), OST_OK);
    cr_assert_eq(kv_meta_unpack(buffer_bytes(&row), &meta, &replica), OST_OK);
    meta.safe_point = safe_point;
    kv_meta_pack(&meta, replica, &row);
    struct store_batch *batch = store_batch_new(store);
    store_batch_put(batch, buffer_bytes(&key), buffer_bytes(&row));
    cr_assert_eq(store_write(store, batch), OST_OK);
    cr_assert_eq(store_flush(store), OST_OK);
    store_batch_free(batch);
    kv_meta_fini(&meta);
    buffer_fini(&key);
    buffer_fini(&row);
    kv_world_start(w, 1);
    kv_world_leader(w, 1);
}

/* The marker that would tell of the change may have been swept. */
Test(kv_optimistic, a_read_from_below_the_safe_point_counts_as_changed)
{
    open_world(1, false);
    put("a", "1");
    struct txn txn = begin(), reader = begin();
    read_key(&txn, "b");
    read_key(&reader, "b");
    timestamp_t safe_point = txn.notes[0].read_timestamp + 1;
    set_safe_point(safe_point);
    cr_assert_eq(commit_one(&txn, "x", "1"), OST_VERSION_CHANGED);
    cr_assert_eq(validate(&reader, 1), OST_VERSION_CHANGED);
    /* And yet what nobody has written since can be read, and checked, for ever. */
    struct txn fresh = begin();
    cr_assert_str_eq(read_key(&fresh, "a"), "1");
    cr_assert_eq(fresh.notes[0].read_timestamp, safe_point);
    cr_assert_eq(commit_one(&fresh, "a", "2"), OST_OK);
}

/* Whoever writes after a read has a timestamp above the read's, though the oracle lags behind. */
Test(kv_optimistic, writes_are_above_the_safe_point_and_above_what_was_read)
{
    open_world(1, false);
    put("a", "1");
    timestamp_t ahead = kv_world_deadline(w, 600000);
    set_safe_point(ahead);
    struct txn txn = begin();
    read_key(&txn, "a");
    cr_assert_gt(put("a", "2"), txn.notes[0].read_timestamp);
    cr_assert_eq(commit_one(&txn, "x", "1"), OST_VERSION_CHANGED);
}
