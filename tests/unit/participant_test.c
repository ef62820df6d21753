/* Stories of transactions that meet at one participant. */
#include "tests/support/txn_world.h"

#include <criterion/criterion.h>

static struct world *w;

static void setup(void)
{
    w = world_new(NULL);
}

static void teardown(void)
{
    world_free(w);
}

TestSuite(participant, .init = setup, .fini = teardown);

#define assert_granted(token) cr_assert(world_is_granted(w, token))
#define assert_waits(token)   cr_assert(world_is_open(w, token))
#define assert_refused(token, code)                                                                \
    cr_assert_eq(world_refusal(w, token), code, "refused with %d", world_refusal(w, token))
#define assert_ready(token) cr_assert(world_needs_timestamp(w, token))
#define assert_bound(token) cr_assert(world_is_bound(w, token))

static uint64_t shared(uint64_t txn, const char *key)
{
    return world_lock(w, txn, key, LOCK_SHARED);
}

static uint64_t exclusive(uint64_t txn, const char *key)
{
    return world_lock(w, txn, key, LOCK_EXCLUSIVE);
}

/* Takes a transaction to BOUND with these keys. */
static uint64_t bind(uint64_t txn, const char *keys)
{
    uint64_t token = world_prepare(w, txn, keys);
    assert_ready(token);
    world_bind(w, token);
    assert_bound(token);
    return token;
}

static void finish(uint64_t txn)
{
    world_tell(w, PARTICIPANT_EV_FINISHED, txn);
}

static struct participant_counts counts(void)
{
    struct participant_counts now;
    participant_get_counts(w->participant, &now);
    return now;
}

/* ---- Wound-wait ---- */

Test(participant, an_older_one_wounds_a_younger_holder)
{
    assert_granted(exclusive(20, "k"));
    uint64_t waiting = exclusive(20, "l");
    assert_granted(waiting);
    assert_granted(exclusive(10, "k"));
    cr_assert_eq(w->wounded_count, 1);
    uint64_t late = shared(20, "m");
    assert_refused(late, OST_WOUNDED);
    cr_assert_eq(w->answers[late].reason.other.sequence, 10);
    cr_assert_eq(w->answers[late].reason.other_age.timestamp, 10);
    cr_assert_str_eq(w->answers[late].key, "k");
    assert_granted(exclusive(30, "l")); /* all its locks are gone */
}

Test(participant, a_younger_one_waits_for_an_older_holder)
{
    assert_granted(exclusive(10, "k"));
    uint64_t token = exclusive(20, "k");
    assert_waits(token);
    cr_assert_eq(w->wounded_count, 0);
    assert_granted(world_ask(w, PARTICIPANT_EV_RELEASE, 10));
    assert_granted(token);
}

Test(participant, a_wounded_one_has_its_waiting_requests_refused_with_the_reason)
{
    assert_granted(exclusive(5, "x"));
    assert_granted(exclusive(20, "k"));
    uint64_t first = shared(20, "x"), second = exclusive(20, "x");
    world_pass_ms(w, 30);
    assert_granted(shared(10, "k"));
    assert_refused(first, OST_WOUNDED);
    assert_refused(second, OST_WOUNDED);
    cr_assert_eq(w->answers[first].reason.other.sequence, 10);
    cr_assert_str_eq(w->answers[first].key, "k");
    cr_assert_eq(w->answers[first].reason.waited_ms, 30);
}

Test(participant, a_bound_one_is_not_wounded)
{
    bind(20, "k");
    uint64_t token = exclusive(10, "k");
    assert_waits(token);
    cr_assert_eq(w->wounded_count, 0);
    world_tell(w, PARTICIPANT_EV_PREPARED, 20);
    assert_waits(token);
    finish(20);
    assert_granted(token);
}

Test(participant, a_bound_one_refused_at_apply_lets_the_older_one_go_on)
{
    bind(20, "k");
    uint64_t token = exclusive(10, "k");
    finish(20);
    assert_granted(token);
    assert_refused(shared(20, "j"),
                   OST_OK); /* the same id may come again: nothing was held against it */
}

Test(participant, one_that_prepares_is_wounded_until_it_is_bound)
{
    uint64_t prepare = world_prepare(w, 20, "k");
    assert_ready(prepare);
    assert_granted(exclusive(10, "k"));
    assert_refused(prepare, OST_WOUNDED);
    world_bind(w, prepare); /* the oracle's answer comes too late */
    cr_assert_not(world_is_bound(w, prepare));
    assert_refused(world_prepare(w, 20, "k"), OST_WOUNDED);
}

Test(participant, a_deadlock_of_two_is_resolved)
{
    assert_granted(exclusive(10, "a"));
    assert_granted(exclusive(20, "b"));
    uint64_t young = exclusive(20, "a");
    assert_waits(young);
    assert_granted(exclusive(10, "b"));
    assert_refused(young, OST_WOUNDED);
}

Test(participant, a_deadlock_of_two_upgrades_is_resolved)
{
    assert_granted(shared(10, "k"));
    assert_granted(shared(20, "k"));
    uint64_t young = exclusive(20, "k");
    assert_waits(young);
    assert_granted(exclusive(10, "k"));
    assert_refused(young, OST_WOUNDED);
}

Test(participant, a_deadlock_of_three_is_resolved)
{
    assert_granted(exclusive(10, "a"));
    assert_granted(exclusive(20, "b"));
    assert_granted(exclusive(30, "c"));
    uint64_t second = exclusive(20, "a"), third = exclusive(30, "b");
    assert_waits(second);
    assert_waits(third);
    assert_granted(exclusive(10, "c")); /* wounds 30 */
    assert_refused(third, OST_WOUNDED);
    assert_waits(second);
    world_ask(w, PARTICIPANT_EV_RELEASE, 10);
    assert_granted(second);
}

Test(participant, a_deadlock_between_prepares_is_resolved)
{
    assert_granted(shared(20, "a"));
    assert_granted(shared(10, "b"));
    uint64_t young = world_prepare(w, 20, "b");
    assert_waits(young);
    uint64_t old = world_prepare(w, 10, "a");
    assert_refused(young, OST_WOUNDED);
    assert_ready(old);
}

Test(participant, an_old_one_is_never_passed)
{
    assert_granted(shared(5, "k"));
    uint64_t old = exclusive(10, "k");
    assert_waits(old);
    for (uint64_t young = 11; young < 200; young++)
        assert_waits(shared(young, "k"));
    world_ask(w, PARTICIPANT_EV_RELEASE, 5);
    assert_granted(old);
    cr_assert_eq(w->wounded_count, 0);
}

Test(participant, a_wound_does_not_let_a_younger_waiter_in_between)
{
    assert_granted(exclusive(30, "k"));
    uint64_t middle = exclusive(40, "k");
    assert_waits(middle);
    assert_granted(exclusive(10, "k"));
    assert_waits(middle); /* not granted for a moment and wounded in the next */
    cr_assert_eq(w->wounded_count, 1);
}

Test(participant, a_newer_try_takes_over_from_the_one_that_its_client_gave_up)
{
    assert_granted(exclusive(20, "k"));
    world_step(w, (struct participant_event){.type = PARTICIPANT_EV_LOCK,
                                             .token = ++w->token_last,
                                             .txn = {1, 21},
                                             .age = {20, 1, 20},
                                             .target = {.start = bytes_of_string("k")},
                                             .mode = LOCK_EXCLUSIVE});
    assert_granted(w->token_last);
    cr_assert_eq(w->wounded_count, 1);
}

Test(participant, an_interval_wounds_every_younger_holder_in_it)
{
    assert_granted(exclusive(20, "b"));
    assert_granted(exclusive(21, "c"));
    assert_granted(exclusive(22, "d"));
    assert_granted(world_scan(w, 10, "b", "d", LOCK_SHARED));
    cr_assert_eq(w->wounded_count, 2);
    assert_granted(shared(22, "x"));
    uint64_t phantom = world_prepare(w, 30, "bc");
    assert_waits(phantom);
}

/* ---- Entries ---- */

Test(participant, an_entry_that_nobody_hears_of_expires)
{
    assert_granted(exclusive(10, "k"));
    uint64_t waiter = exclusive(20, "k");
    world_pass_ms(w, 4999);
    assert_waits(waiter);
    world_pass_ms(w, 1);
    assert_granted(waiter);
    uint64_t late = shared(10, "l");
    assert_refused(late, OST_LOCKS_LOST);
    cr_assert_eq(w->answers[late].reason.loss, LOSS_EXPIRED);
    assert_refused(world_ask(w, PARTICIPANT_EV_VALIDATE, 10), OST_LOCKS_LOST);
}

Test(participant, a_heartbeat_keeps_an_entry)
{
    assert_granted(exclusive(10, "k"));
    for (int second = 0; second < 20; second++) {
        world_pass_ms(w, 1000);
        assert_granted(world_ask(w, PARTICIPANT_EV_HEARTBEAT, 10));
    }
    assert_granted(world_ask(w, PARTICIPANT_EV_VALIDATE, 10));
    world_pass_ms(w, 5000);
    assert_refused(world_ask(w, PARTICIPANT_EV_HEARTBEAT, 10), OST_LOCKS_LOST);
    cr_assert_eq(counts().entries, 0);
}

Test(participant, a_bound_one_does_not_expire)
{
    bind(10, "k");
    world_pass_ms(w, 60000);
    cr_assert_eq(counts().entries, 1);
    world_tell(w, PARTICIPANT_EV_PREPARED, 10);
    world_pass_ms(w, 60000);
    cr_assert_eq(counts().prepared, 1);
    assert_waits(exclusive(20, "k"));
}

Test(participant, a_number_of_another_entry_is_lost)
{
    assert_granted(exclusive(10, "k"));
    w->entries[10].counter++;
    assert_refused(shared(10, "k"), OST_LOCKS_LOST);
    assert_refused(world_prepare(w, 10, "k"), OST_LOCKS_LOST);
    assert_refused(world_ask(w, PARTICIPANT_EV_HEARTBEAT, 10), OST_LOCKS_LOST);
    w->entries[11] = (struct lock_entry_number){6, 1}; /* another leader's */
    uint64_t moved = world_prepare(w, 11, "z");
    assert_refused(moved, OST_LOCKS_LOST);
    cr_assert_eq(w->answers[moved].reason.loss, LOSS_LEADER_CHANGED);
}

Test(participant, a_request_waits_no_longer_than_it_asks_and_never_longer_than_the_limit)
{
    assert_granted(exclusive(10, "k"));
    for (uint64_t txn = 20; txn <= 21; txn++) {
        uint64_t token = ++w->token_last;
        world_step(w, (struct participant_event){.type = PARTICIPANT_EV_LOCK,
                                                 .token = token,
                                                 .txn = {1, txn},
                                                 .age = {txn, 1, txn},
                                                 .target = {.start = bytes_of_string("k")},
                                                 .mode = LOCK_SHARED,
                                                 .wait_ms_max = txn == 20 ? 300 : 3600000});
        world_pass_ms(w, txn == 20 ? 299 : 4000);
        assert_waits(token);
        assert_granted(world_ask(w, PARTICIPANT_EV_HEARTBEAT, 10));
        world_pass_ms(w, txn == 20 ? 1 : 1000);
        assert_refused(token, OST_LOCK_TIMEOUT);
    }
}

Test(participant, a_first_lock_without_a_number_joins_the_entry)
{
    assert_granted(exclusive(10, "k"));
    struct lock_entry_number told = w->entries[10];
    w->entries[10] = (struct lock_entry_number){0, 0}; /* the answer was lost */
    assert_granted(exclusive(10, "k"));
    cr_assert_eq(w->entries[10].counter, told.counter);
}

Test(participant, a_wounded_try_does_not_begin_again_without_a_number)
{
    assert_granted(exclusive(20, "k"));
    assert_granted(exclusive(10, "k"));
    w->entries[20] = (struct lock_entry_number){0, 0};
    assert_refused(shared(20, "m"), OST_WOUNDED);
}

Test(participant, a_wait_ends_with_its_time_and_names_who_stood_in_the_way)
{
    assert_granted(exclusive(10, "k"));
    uint64_t token = exclusive(20, "k");
    assert_granted(shared(20, "m"));
    for (int second = 0; second < 5; second++) {
        assert_waits(token);
        assert_granted(world_ask(w, PARTICIPANT_EV_HEARTBEAT, 10));
        world_pass_ms(w, 1000);
    }
    assert_refused(token, OST_LOCK_TIMEOUT);
    cr_assert_eq(w->answers[token].reason.other.sequence, 10);
    cr_assert_eq(w->answers[token].reason.waited_ms, 5000);
    cr_assert_str_eq(w->answers[token].key, "k");
    assert_granted(world_ask(w, PARTICIPANT_EV_VALIDATE, 20)); /* the entry stays */
}

Test(participant, an_entry_that_nobody_was_told_of_ends_with_its_last_request)
{
    assert_granted(exclusive(10, "k"));
    uint64_t prepare = world_prepare(w, 20, "jk");
    assert_waits(prepare);
    world_pass_ms(w, 3000);
    world_ask(w, PARTICIPANT_EV_HEARTBEAT, 10);
    world_pass_ms(w, 2000);
    assert_refused(prepare, OST_LOCK_TIMEOUT);
    cr_assert_eq(counts().entries, 1);
    assert_granted(exclusive(30, "j"));
}

Test(participant, a_cancelled_request_is_forgotten_and_its_entry_stays)
{
    assert_granted(exclusive(10, "k"));
    assert_granted(exclusive(20, "m"));
    uint64_t token = exclusive(20, "k"), behind = shared(30, "k");
    world_step(w, (struct participant_event){.type = PARTICIPANT_EV_CANCEL, .token = token});
    world_ask(w, PARTICIPANT_EV_RELEASE, 10);
    assert_waits(token); /* no answer any more */
    assert_granted(behind);
    assert_granted(world_ask(w, PARTICIPANT_EV_VALIDATE, 20));
}

Test(participant, a_release_refuses_what_waits_and_is_always_granted)
{
    assert_granted(exclusive(10, "k"));
    assert_granted(exclusive(20, "m"));
    uint64_t token = exclusive(20, "k");
    assert_granted(world_ask(w, PARTICIPANT_EV_RELEASE, 20));
    assert_refused(token, OST_CANCELED);
    assert_granted(world_ask(w, PARTICIPANT_EV_RELEASE, 77));
    bind(10, "k");
    assert_granted(world_ask(w, PARTICIPANT_EV_RELEASE, 10));
    cr_assert_eq(counts().entries, 1);
}

Test(participant, limits_are_answered_with_busy)
{
    struct participant_options options;
    participant_options_default(&options);
    options.entries_count_max = 2;
    options.locks.locks_count_max = 2;
    teardown();
    w = world_new(&options);
    assert_granted(shared(1, "a"));
    assert_granted(shared(2, "a"));
    assert_refused(shared(3, "a"), OST_BUSY);
    assert_refused(shared(1, "b"), OST_BUSY);
    assert_refused(world_prepare(w, 1, "b"), OST_BUSY);
    finish(2);
    assert_ready(world_prepare(w, 1, "b"));
}

/* ---- Prepare ---- */

Test(participant, a_prepare_waits_for_its_keys_in_order_and_for_its_own_requests)
{
    assert_granted(exclusive(1, "b"));
    assert_granted(exclusive(2, "d"));
    assert_granted(exclusive(3, "x"));
    uint64_t lock = shared(20, "x");
    uint64_t prepare = world_prepare(w, 20, "abcd");
    assert_waits(prepare);
    finish(1);
    cr_assert_not(world_needs_timestamp(w, prepare));
    finish(2);
    cr_assert_not(world_needs_timestamp(w, prepare));
    finish(3);
    assert_granted(lock);
    assert_ready(prepare);
    assert_refused(shared(20, "y"), OST_CONFLICT);
}

Test(participant, a_bound_prepare_lists_what_the_write_set_does_not_rebuild)
{
    assert_granted(shared(10, "a"));
    assert_granted(shared(10, "b"));
    assert_granted(exclusive(10, "u"));
    assert_granted(world_scan(w, 10, "p", "q", LOCK_SHARED));
    bind(10, "bc");
    const struct participant_ready *ready = &w->update.ready[0];
    cr_assert_eq(ready->bound, 1000);
    cr_assert_eq(ready->shared_locks_count, 3);
    cr_assert(bytes_equal(ready->shared_locks[0].start, bytes_of_string("a")));
    cr_assert(bytes_equal(ready->shared_locks[1].start, bytes_of_string("u")),
              "exclusive, but not written");
    cr_assert(bytes_equal(ready->shared_locks[2].start, bytes_of_string("p")));
    cr_assert(bytes_equal(ready->shared_locks[2].end, bytes_of_string("q")));
    cr_assert(ready->shared_locks[2].is_interval);
}

/* ---- Prepares of what was read without locks ---- */

static const struct lock_target read_key = {.start = {(const uint8_t *)"k", 1}};
static const struct lock_target read_interval = {
    .start = {(const uint8_t *)"m", 1}, .end = {(const uint8_t *)"p", 1}, .is_interval = true};

Test(participant, a_prepare_takes_what_it_has_read_shared)
{
    const struct lock_target checks[] = {read_key, read_interval};
    uint64_t prepare = world_prepare_checked(w, 20, "a", checks, 2);
    assert_ready(prepare);
    assert_granted(shared(10, "k"));
    assert_granted(shared(11, "n"));
    uint64_t key = exclusive(30, "k"), row = exclusive(31, "n"), write = exclusive(32, "a");
    assert_waits(key);
    assert_waits(row);
    assert_waits(write);
    world_bind(w, prepare);
    assert_bound(prepare);
    const struct participant_ready *ready = &w->update.ready[0];
    cr_assert_eq(ready->shared_locks_count, 2, "they are for the log entry");
    cr_assert(bytes_equal(ready->shared_locks[0].start, bytes_of_string("k")));
    cr_assert(bytes_equal(ready->shared_locks[1].start, bytes_of_string("m")));
    cr_assert(bytes_equal(ready->shared_locks[1].end, bytes_of_string("p")));
    cr_assert(ready->shared_locks[1].is_interval);
}

Test(participant, a_prepare_is_not_ready_before_it_holds_what_it_has_read)
{
    const struct lock_target checks[] = {read_key, read_interval};
    assert_granted(exclusive(10, "k"));
    assert_granted(exclusive(11, "n"));
    uint64_t prepare = world_prepare_checked(w, 20, "a", checks, 2);
    cr_assert_not(world_needs_timestamp(w, prepare));
    world_ask(w, PARTICIPANT_EV_RELEASE, 10);
    cr_assert_not(world_needs_timestamp(w, prepare));
    world_ask(w, PARTICIPANT_EV_RELEASE, 11);
    assert_ready(prepare);
}

Test(participant, a_prepare_that_waits_for_a_write_key_takes_the_rest_after_it)
{
    const struct lock_target checks[] = {read_key};
    assert_granted(exclusive(10, "a"));
    uint64_t prepare = world_prepare_checked(w, 20, "a", checks, 1);
    assert_granted(exclusive(30, "k"));
    world_ask(w, PARTICIPANT_EV_RELEASE, 10);
    assert_refused(exclusive(30, "j"), OST_WOUNDED); /* it held what an older one has read */
    assert_ready(prepare);
}

Test(participant, what_is_read_and_written_is_held_once_and_exclusively)
{
    const struct lock_target checks[] = {read_key};
    uint64_t prepare = world_prepare_checked(w, 20, "k", checks, 1);
    assert_ready(prepare);
    assert_waits(shared(30, "k"));
    world_bind(w, prepare);
    cr_assert_eq(w->update.ready[0].shared_locks_count, 0);
}

Test(participant, one_that_prepares_what_it_has_read_can_be_wounded)
{
    const struct lock_target checks[] = {read_interval};
    uint64_t prepare = world_prepare_checked(w, 20, "a", checks, 1);
    assert_ready(prepare);
    assert_granted(exclusive(10, "o"));
    assert_refused(prepare, OST_WOUNDED);
}

Test(participant, freezing_a_range_ends_a_prepare_that_has_read_there)
{
    const struct lock_target checks[] = {read_interval};
    assert_granted(exclusive(10, "a"));
    uint64_t prepare = world_prepare_checked(w, 20, "a", checks, 1);
    assert_waits(prepare); /* it does not hold the interval yet */
    world_step(w, (struct participant_event){
                      .type = PARTICIPANT_EV_FREEZE_RANGE,
                      .target = {bytes_of_string("n"), bytes_of_string("z"), true}});
    assert_refused(prepare, OST_RANGE_MOVED);
}

Test(participant, a_read_only_prepare_is_ready_at_once)
{
    assert_granted(shared(10, "a"));
    bind(10, "");
    cr_assert_eq(w->update.ready[0].shared_locks_count, 1);
}

Test(participant, a_prepare_again_replaces_the_one_that_waits)
{
    assert_granted(exclusive(5, "b"));
    uint64_t first = world_prepare(w, 10, "ab");
    uint64_t second = world_prepare(w, 10, "ab");
    assert_refused(first, OST_CANCELED);
    assert_waits(second);
    finish(5);
    assert_ready(second);
    uint64_t third = world_prepare(w, 10, "ab");
    assert_refused(second, OST_CANCELED);
    world_bind(w, second);
    assert_ready(third);
    world_bind(w, third);
    assert_bound(third);
    uint64_t fourth = world_prepare(w, 10, "ab");
    assert_refused(third, OST_CANCELED);
    assert_waits(fourth);
    uint64_t token;
    cr_assert(participant_find_prepare(w->participant, (struct txn_id){1, 10}, &token));
    cr_assert_eq(token, fourth);
    world_tell(w, PARTICIPANT_EV_PREPARED, 10);
    cr_assert_not(participant_find_prepare(w->participant, (struct txn_id){1, 10}, &token));
}

Test(participant, a_prepare_without_its_entry_is_refused)
{
    assert_granted(shared(10, "a"));
    world_ask(w, PARTICIPANT_EV_RELEASE, 10);
    assert_refused(world_prepare(w, 10, "a"), OST_LOCKS_LOST);
    cr_assert_eq(counts().entries, 0);
}

Test(participant, a_prepare_waits_for_the_oracle_no_longer_than_its_time)
{
    uint64_t prepare = world_prepare(w, 10, "a");
    world_pass_ms(w, 5000);
    assert_refused(prepare, OST_DEADLINE_EXCEEDED);
    cr_assert_eq(counts().entries, 0);
}

Test(participant, an_abort_that_is_applied_ends_one_that_prepares)
{
    uint64_t prepare = world_prepare(w, 10, "a");
    finish(10);
    assert_refused(prepare, OST_ABORTED);
    assert_refused(world_prepare(w, 10, "a"), OST_ABORTED);
    finish(99); /* unknown: harmless */
}

Test(participant, a_validate_is_for_one_that_grows)
{
    assert_granted(shared(10, "a"));
    assert_granted(world_ask(w, PARTICIPANT_EV_VALIDATE, 10));
    bind(10, "");
    assert_refused(world_ask(w, PARTICIPANT_EV_VALIDATE, 10), OST_CONFLICT);
    assert_granted(world_ask(w, PARTICIPANT_EV_HEARTBEAT, 10));
    assert_refused(world_ask(w, PARTICIPANT_EV_VALIDATE, 50), OST_LOCKS_LOST);
}

/* ---- Leadership ---- */

Test(participant, a_deposed_leader_answers_everybody_and_forgets_everything)
{
    assert_granted(exclusive(10, "k"));
    uint64_t lock = exclusive(20, "k");
    uint64_t prepare = world_prepare(w, 30, "k");
    uint64_t bound = bind(40, "m");
    uint64_t read = world_read(w, "m");
    world_tell(w, PARTICIPANT_EV_DEPOSED, 0);
    assert_refused(lock, OST_NOT_LEADER);
    assert_refused(prepare, OST_NOT_LEADER);
    assert_refused(bound, OST_NOT_LEADER);
    assert_refused(read, OST_NOT_LEADER);
    cr_assert_eq(counts().entries, 0);
    cr_assert_eq(counts().keys_locked, 0);
    cr_assert_eq(counts().waiters, 0);
    cr_assert_eq(w->update.deadline_ns, NS_NEVER);
    assert_refused(shared(10, "k"), OST_NOT_LEADER);
    assert_refused(world_read(w, "k"), OST_NOT_LEADER);
    assert_granted(world_ask(w, PARTICIPANT_EV_RELEASE, 10));
    world_step(w, (struct participant_event){.type = PARTICIPANT_EV_LED, .term = 9});
    assert_refused(shared(10, "k"), OST_LOCKS_LOST);
    assert_granted(exclusive(50, "k"));
    cr_assert_eq(w->entries[50].term, 9);
}

Test(participant, a_recovered_one_holds_its_locks)
{
    struct buffer set = BUFFER_INIT;
    struct write write = {WRITE_DELETE, bytes_of_string("w"), bytes_of(NULL, 0)};
    write_set_append(&set, &write);
    struct lock_target shared_locks[2] = {
        {.start = bytes_of_string("s")},
        {bytes_of_string("v"), bytes_of_string("x"), true},
    };
    world_step(w, (struct participant_event){.type = PARTICIPANT_EV_RECOVERED,
                                             .txn = {1, 50},
                                             .age = {50, 1, 50},
                                             .write_set = buffer_bytes(&set),
                                             .shared_locks = shared_locks,
                                             .shared_locks_count = 2,
                                             .anchor = bytes_of_string("home"),
                                             .deadline = 77});
    buffer_fini(&set);
    cr_assert_eq(counts().prepared, 1);
    struct lock_target target = shared_locks[1];
    cr_assert(participant_has_bound_writer(w->participant, &target));
    target = shared_locks[0];
    cr_assert_not(participant_has_bound_writer(w->participant, &target));
    assert_granted(shared(10, "s"));
    uint64_t first = exclusive(11, "v1"), second = shared(12, "w"), third = exclusive(13, "s");
    assert_waits(first);
    assert_waits(second);
    assert_waits(third);
    world_pass_ms(w, 50);
    cr_assert_eq(w->inquiry_last, 50);
    finish(50);
    assert_granted(first);
    assert_granted(second);
    world_ask(w, PARTICIPANT_EV_RELEASE, 10);
    assert_granted(third);
}

Test(participant, a_prepare_of_what_is_prepared_is_refused_and_changes_nothing)
{
    bind(50, "k");
    world_tell(w, PARTICIPANT_EV_PREPARED, 50);
    assert_refused(world_prepare(w, 50, "k"), OST_CONFLICT);
    cr_assert_eq(counts().prepared, 1);
    finish(50);
    cr_assert_eq(counts().keys_locked, 0);
}

/* ---- Reads ---- */

Test(participant, a_read_waits_for_bound_writers_only)
{
    assert_granted(exclusive(10, "g"));
    assert_granted(world_read(w, "g"));
    uint64_t prepare = world_prepare(w, 20, "p");
    assert_granted(world_read(w, "p"));
    world_bind(w, prepare);
    uint64_t read = world_read(w, "p");
    assert_waits(read);
    assert_granted(world_read(w, "q"));
    world_tell(w, PARTICIPANT_EV_PREPARED, 20);
    assert_waits(read);
    cr_assert_eq(counts().waiters, 1);
    finish(20);
    assert_granted(read);
    cr_assert_eq(counts().waiters, 0);
}

Test(participant, a_read_does_not_wait_for_what_is_bound_shared)
{
    assert_granted(shared(10, "k"));
    bind(10, "");
    assert_granted(world_read(w, "k"));
}

Test(participant, a_scan_waits_for_every_bound_writer_in_it)
{
    bind(10, "b");
    bind(11, "c");
    world_step(w, (struct participant_event){
                      .type = PARTICIPANT_EV_READ,
                      .token = ++w->token_last,
                      .target = {bytes_of_string("a"), bytes_of_string("d"), true}});
    uint64_t scan = w->token_last;
    finish(10); /* whichever of the two ends first */
    assert_waits(scan);
    bind(12, "b");
    finish(11);
    assert_waits(scan);
    finish(12);
    assert_granted(scan);
}

/* As world_bind binds: at 1000. */
static uint64_t read_at(const char *start, const char *end, timestamp_t timestamp)
{
    world_step(w, (struct participant_event){
                      .type = PARTICIPANT_EV_READ_AT,
                      .token = ++w->token_last,
                      .timestamp = timestamp,
                      .target = {bytes_of_string(start), bytes_of_string(end), end != NULL}});
    return w->token_last;
}

Test(participant, a_snapshot_waits_for_writers_bound_at_or_below_it)
{
    bind(10, "k");
    assert_granted(read_at("k", "l", 999));
    uint64_t at = read_at("k", "l", 1000), above = read_at("a", "z", 2000);
    assert_waits(at);
    assert_waits(above);
    assert_granted(read_at("l", "z", 2000));
    world_tell(w, PARTICIPANT_EV_PREPARED, 10);
    assert_granted(read_at("k", "l", 999));
    assert_waits(at);
    finish(10);
    assert_granted(at);
    assert_granted(above);
}

Test(participant, a_snapshot_of_all_keys_waits_for_each_writer_below_it)
{
    uint64_t growing = exclusive(9, "g");
    assert_granted(growing);
    assert_granted(read_at("", "", 5000));
    bind(10, "b");
    bind(11, "y");
    assert_granted(read_at("", "", 999));
    uint64_t all = read_at("", "", 1000);
    finish(10);
    assert_waits(all);
    finish(11);
    assert_granted(all);
}

Test(participant, a_read_times_out_and_can_be_cancelled)
{
    bind(10, "k");
    uint64_t gone = world_read(w, "k"), read = world_read(w, "k");
    world_step(w, (struct participant_event){.type = PARTICIPANT_EV_CANCEL, .token = gone});
    world_pass_ms(w, 5000);
    assert_refused(read, OST_LOCK_TIMEOUT);
    cr_assert_eq(w->answers[read].reason.other.sequence, 10);
    assert_waits(gone);
    finish(10);
    assert_waits(gone);
}

/* ---- Inquiries ---- */

Test(participant, an_older_one_asks_about_a_prepared_one_after_50_ms_and_not_in_a_storm)
{
    bind(100, "k");
    world_tell(w, PARTICIPANT_EV_PREPARED, 100);
    for (uint64_t old = 10; old < 40; old++)
        assert_waits(exclusive(old, "k"));
    world_pass_ms(w, 49);
    cr_assert_eq(w->inquiries_count, 0);
    world_pass_ms(w, 1);
    cr_assert_eq(w->inquiries_count, 1);
    cr_assert_eq(w->inquiry_last, 100);
    cr_assert(bytes_equal(w->update.inquiries[0].anchor, bytes_of_string("anchor")));
    cr_assert_eq(w->update.inquiries[0].deadline, 99);
    world_pass_ms(w, 500);
    cr_assert_eq(w->inquiries_count, 11);
    finish(100);
    world_pass_ms(w, 500);
    cr_assert_eq(w->inquiries_count, 11);
}

Test(participant, nobody_asks_about_an_older_one_or_one_that_is_not_in_the_log_yet)
{
    bind(10, "k");
    world_tell(w, PARTICIPANT_EV_PREPARED, 10);
    assert_waits(exclusive(20, "k"));
    uint64_t bound = bind(30, "m");
    assert_waits(exclusive(25, "m"));
    world_pass_ms(w, 200);
    cr_assert_eq(w->inquiries_count, 0);
    cr_assert(world_is_bound(w, bound));
    world_tell(w, PARTICIPANT_EV_PREPARED, 30);
    world_pass_ms(w, 50);
    cr_assert_eq(w->inquiries_count, 1);
}

/* ---- A range goes away ---- */

Test(participant, freezing_a_range_drops_what_is_not_bound_in_it)
{
    assert_granted(exclusive(10, "m"));
    assert_granted(exclusive(11, "z"));
    uint64_t waits = shared(12, "m");
    bind(13, "n");
    uint64_t read = world_read(w, "n"), outside = shared(14, "z");
    uint64_t prepare = world_prepare(w, 15, "az");
    uint64_t later_key = world_prepare(w, 16, "an");
    uint64_t behind = world_prepare(w, 17, "mz");
    world_step(w, (struct participant_event){
                      .type = PARTICIPANT_EV_FREEZE_RANGE,
                      .target = {bytes_of_string("m"), bytes_of_string("p"), true}});
    assert_refused(waits, OST_RANGE_MOVED);
    assert_refused(read, OST_RANGE_MOVED);
    assert_refused(behind, OST_RANGE_MOVED);
    assert_waits(outside);
    assert_waits(prepare);
    assert_refused(later_key, OST_RANGE_MOVED);
    assert_refused(world_ask(w, PARTICIPANT_EV_VALIDATE, 10), OST_LOCKS_LOST);
    assert_granted(world_ask(w, PARTICIPANT_EV_VALIDATE, 11));
    world_tell(w, PARTICIPANT_EV_PREPARED, 13);
    cr_assert_eq(counts().prepared, 1);
}

Test(participant, only_the_last_4096_ends_are_remembered)
{
    assert_granted(exclusive(2000, "k"));
    assert_granted(exclusive(1999, "k"));
    struct lock_entry_number first = w->entries[2000];
    for (uint64_t sequence = 0; sequence < 4096; sequence++) {
        w->token_last = 100; /* answered, and used again */
        w->answers[100] = w->answers[101] = (struct world_answer){0};
        struct participant_event event = {.type = PARTICIPANT_EV_LOCK,
                                          .token = 100,
                                          .txn = {2, sequence},
                                          .age = {5000, 2, sequence},
                                          .target = {.start = bytes_of_string("hot")},
                                          .mode = LOCK_EXCLUSIVE};
        world_step(w, event);
        world_step(
            w, (struct participant_event){.type = PARTICIPANT_EV_FINISHED, .txn = {2, sequence}});
    }
    cr_assert(w->entries[2000].counter == first.counter);
    uint64_t token = shared(2000, "z");
    assert_refused(token, OST_LOCKS_LOST); /* still refused, only the reason is forgotten */
    cr_assert_eq(w->answers[token].reason.other.sequence, 0);
}
