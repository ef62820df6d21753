/* Random transactions at one participant, on virtual time. A family is one transaction with all its
 * tries, which share an age. Checked: what commits has read and written alone (no other commit
 * wrote what it had locked since the lock was granted); every family commits within a bound, so
 * that there is neither deadlock nor starvation; every token is answered once (txn_world.h asserts
 * that). */
#include "base/random.h"
#include "tests/support/txn_world.h"

#include <criterion/criterion.h>

#define FAMILIES_COUNT   40u
#define KEYS_COUNT       8u
#define LOCKS_MAX        16u
#define PENDING_MAX      3u
#define CHECKS_MAX       2u
#define BOUND_MS         240000u
#define CONCURRENT_COUNT 12u

enum phase { IDLE, GROWING, PREPARING, VALIDATING, BOUND, PREPARED, COMMITTED };

struct held {
    uint8_t start, end; /* letters from 0, [start, end) */
    uint64_t since;     /* commits_count when it was granted */
};

struct pending {
    uint64_t token;
    struct held held;
};

struct family {
    uint64_t age, try_id;
    enum phase phase;
    nanoseconds_t next_ns; /* of its next action; NS_NEVER while it waits for an answer */
    struct lock_entry_number entry;
    struct pending pending[PENDING_MAX + 1]; /* and a prepare that is cancelled with them */
    uint32_t pending_count;
    struct held held[LOCKS_MAX];
    uint32_t held_count, locks_left;
    uint64_t prepare;
    struct held checks[CHECKS_MAX]; /* of the prepare: held once it is ready */
    uint32_t checks_count;
    bool is_timestamp_due;
    bool is_dying; /* the client will be gone before its answer comes */
    bool writes[KEYS_COUNT];
    uint32_t tries_count;
};

struct story {
    struct world *world;
    struct random random;
    struct family families[FAMILIES_COUNT];
    uint64_t try_last;
    uint64_t commits_count;
    uint64_t written_at[KEYS_COUNT];     /* commits_count after the last commit that wrote it */
    bool is_forgotten[WORLD_TOKENS_MAX]; /* cancelled */
    uint64_t asked[FAMILIES_COUNT];      /* tries that were inquired about, to be answered */
    uint32_t asked_count;
    uint32_t wounds_count, inquiries_count;
};

static uint64_t draw(struct story *story, uint64_t below)
{
    return random_below(&story->random, below);
}

static nanoseconds_t soon(struct story *story, uint64_t ms_max)
{
    return story->world->now_ns + draw(story, ms_max * 1000) * 1000;
}

/* A lock counts from the step that granted it, with the entry's number told to the client. */
static void note_grants(struct story *story)
{
    const struct participant_update *update = &story->world->update;
    for (uint32_t index = 0; index < update->granted_count; index++) {
        for (uint32_t at = 0; at < FAMILIES_COUNT; at++) {
            struct family *family = &story->families[at];
            for (uint32_t one = 0; one < family->pending_count; one++) {
                struct pending *pending = &family->pending[one];
                if (pending->token != update->granted[index].token)
                    continue;
                /* All locks of a try are of one entry, or it must have been told otherwise. */
                cr_assert(family->entry.term == 0 ||
                          family->entry.counter == update->granted[index].entry.counter);
                family->entry = update->granted[index].entry;
                cr_assert_lt(family->held_count, LOCKS_MAX);
                pending->held.since = story->commits_count;
                family->held[family->held_count++] = pending->held;
            }
        }
    }
}

/* What a Prepare has asked to be held shared counts from the step that made it ready. */
static void note_ready(struct story *story)
{
    const struct participant_update *update = &story->world->update;
    for (uint32_t index = 0; index < update->ready_count; index++) {
        for (uint32_t at = 0; update->ready[index].bound == 0 && at < FAMILIES_COUNT; at++) {
            struct family *family = &story->families[at];
            if (family->phase != PREPARING || family->prepare != update->ready[index].token)
                continue;
            for (uint32_t one = 0; one < family->checks_count; one++) {
                cr_assert_lt(family->held_count, LOCKS_MAX);
                family->checks[one].since = story->commits_count;
                family->held[family->held_count++] = family->checks[one];
            }
        }
    }
}

/* Every step goes through here: the next one overwrites the update. */
static void step(struct story *story, struct participant_event event)
{
    world_step(story->world, event);
    note_grants(story);
    note_ready(story);
    const struct participant_update *update = &story->world->update;
    for (uint32_t index = 0; index < update->inquiries_count; index++) {
        cr_assert_lt(story->asked_count, FAMILIES_COUNT);
        story->asked[story->asked_count++] = update->inquiries[index].txn.sequence;
    }
}

static uint64_t send(struct story *story, struct family *family, struct participant_event event)
{
    struct world *world = story->world;
    ASSERT(world->token_last + 1 < WORLD_TOKENS_MAX);
    event.token = ++world->token_last;
    event.txn = (struct txn_id){1, family->try_id};
    event.age = (struct txn_age){family->age, 1, family->age};
    event.entry = family->entry;
    step(story, event);
    return event.token;
}

static void tell(struct story *story, struct family *family, enum participant_event_type type)
{
    step(story, (struct participant_event){.type = type, .txn = {1, family->try_id}});
}

static void try_begin(struct story *story, struct family *family)
{
    uint64_t age = family->age;
    uint32_t tries_count = family->tries_count + 1;
    *family = (struct family){.age = age, .tries_count = tries_count, .phase = GROWING};
    family->try_id = ++story->try_last;
    family->locks_left = (uint32_t)draw(story, 5);
    family->next_ns = story->world->now_ns;
}

static void try_again_later(struct story *story, struct family *family)
{
    family->phase = IDLE;
    family->pending_count = 0;
    family->prepare = 0;
    family->next_ns = soon(story, 20);
}

/* The client dies: nothing is released; sometimes its connection is seen to break. */
static void try_abandon(struct story *story, struct family *family)
{
    if (draw(story, 2)) {
        if (family->prepare != 0)
            family->pending[family->pending_count++].token = family->prepare;
        for (uint32_t index = 0; index < family->pending_count; index++) {
            uint64_t token = family->pending[index].token;
            story->is_forgotten[token] = true;
            step(story, (struct participant_event){.type = PARTICIPANT_EV_CANCEL, .token = token});
        }
    }
    try_again_later(story, family);
}

static void maybe_die(struct story *story, struct family *family)
{
    family->is_dying = draw(story, 20) == 0;
    if (family->is_dying)
        family->next_ns = soon(story, 50);
}

static struct lock_target target_draw(struct story *story, struct held *out_held, char *text)
{
    uint8_t start = (uint8_t)draw(story, KEYS_COUNT);
    bool is_interval = draw(story, 6) == 0;
    uint8_t end = (uint8_t)(start + 1 + (is_interval ? draw(story, 3) : 0));
    text[0] = (char)('a' + start);
    text[1] = (char)('a' + end);
    *out_held = (struct held){start, end, 0};
    return (struct lock_target){bytes_of(&text[0], 1), bytes_of(&text[1], 1), is_interval};
}

static void lock_some(struct story *story, struct family *family)
{
    uint64_t count = 1 + draw(story, PENDING_MAX - 1);
    for (; count > 0 && family->locks_left > 0; count--) {
        family->locks_left--;
        char text[2];
        struct held held;
        struct participant_event event = {.type = PARTICIPANT_EV_LOCK};
        event.target = target_draw(story, &held, text);
        event.mode = draw(story, 3) == 0 ? LOCK_EXCLUSIVE : LOCK_SHARED;
        struct pending *pending = &family->pending[family->pending_count++];
        pending->held = held;
        pending->token = story->world->token_last + 1; /* it may be granted at once */
        send(story, family, event);
    }
    family->next_ns = NS_NEVER;
    maybe_die(story, family);
}

static void prepare(struct story *story, struct family *family)
{
    struct buffer set = BUFFER_INIT;
    for (uint8_t key = 0; key < KEYS_COUNT; key++) {
        family->writes[key] = draw(story, 4) == 0;
        char text = (char)('a' + key);
        struct write write = {WRITE_PUT, bytes_of(&text, 1), bytes_of(NULL, 0)};
        if (family->writes[key])
            write_set_append(&set, &write);
    }
    char texts[CHECKS_MAX][2];
    struct lock_target checks[CHECKS_MAX];
    family->checks_count = (uint32_t)draw(story, CHECKS_MAX + 1);
    for (uint32_t one = 0; one < family->checks_count; one++)
        checks[one] = target_draw(story, &family->checks[one], texts[one]);
    family->phase = PREPARING;
    family->next_ns = NS_NEVER;
    family->prepare = story->world->token_last + 1; /* it may be ready at once */
    send(story, family,
         (struct participant_event){.type = PARTICIPANT_EV_PREPARE,
                                    .write_set = buffer_bytes(&set),
                                    .shared_locks = checks,
                                    .shared_locks_count = family->checks_count});
    buffer_fini(&set);
    maybe_die(story, family);
}

static void check_alone(struct story *story, const struct family *family)
{
    for (uint32_t index = 0; index < family->held_count; index++) {
        const struct held *held = &family->held[index];
        for (uint8_t key = held->start; key < held->end && key < KEYS_COUNT; key++)
            cr_assert_leq(story->written_at[key], held->since,
                          "key %c was written while it was locked", 'a' + key);
    }
}

static void commit(struct story *story, struct family *family)
{
    check_alone(story, family);
    story->commits_count++;
    for (uint8_t key = 0; key < KEYS_COUNT; key++)
        if (family->writes[key])
            story->written_at[key] = story->commits_count;
    family->phase = COMMITTED;
    family->next_ns = NS_NEVER;
}

static void act(struct story *story, struct family *family)
{
    switch (family->phase) {
    case IDLE:
        try_begin(story, family);
        return;
    case GROWING:
        if (family->is_dying || draw(story, 40) == 0)
            try_abandon(story, family);
        else if (family->locks_left > 0)
            lock_some(story, family);
        else if (family->entry.term != 0 && draw(story, 4) == 0) {
            family->phase = VALIDATING;
            family->next_ns = NS_NEVER;
            family->prepare =
                send(story, family, (struct participant_event){.type = PARTICIPANT_EV_VALIDATE});
        } else
            prepare(story, family);
        return;
    case PREPARING:
        if (family->is_dying && !world_needs_timestamp(story->world, family->prepare)) {
            try_abandon(story, family);
            return;
        }
        step(story, (struct participant_event){.type = PARTICIPANT_EV_TIMESTAMP,
                                               .token = family->prepare,
                                               .timestamp = 1000});
        family->next_ns = NS_NEVER;
        return;
    case BOUND:
        if (draw(story, 3) == 0) {
            bool is_refused = draw(story, 4) == 0;
            if (!is_refused)
                commit(story, family);
            tell(story, family, PARTICIPANT_EV_FINISHED);
            if (is_refused)
                try_again_later(story, family);
            return;
        }
        tell(story, family, PARTICIPANT_EV_PREPARED);
        family->phase = PREPARED;
        family->next_ns = soon(story, draw(story, 5) == 0 ? 20000 : 100);
        return;
    case PREPARED:
        commit(story, family);
        tell(story, family, PARTICIPANT_EV_FINISHED);
        return;
    case VALIDATING:
    case COMMITTED:
        return;
    }
}

static void fail(struct story *story, struct family *family)
{
    send(story, family, (struct participant_event){.type = PARTICIPANT_EV_RELEASE});
    try_again_later(story, family);
}

/* Looks at the answers that have come. */
static void listen(struct story *story, struct family *family)
{
    const struct world *world = story->world;
    if (family->phase == GROWING) {
        for (uint32_t index = 0; index < family->pending_count;) {
            struct pending *pending = &family->pending[index];
            if (world_refusal(world, pending->token) != OST_OK) {
                fail(story, family);
                return;
            }
            if (!world_is_granted(world, pending->token)) {
                index++;
                continue;
            }
            *pending = family->pending[--family->pending_count];
            if (family->pending_count == 0 && !family->is_dying)
                family->next_ns = soon(story, 10);
        }
        return;
    }
    if (family->phase == VALIDATING && world_is_granted(world, family->prepare)) {
        commit(story, family);
        send(story, family, (struct participant_event){.type = PARTICIPANT_EV_RELEASE});
    } else if (family->phase == VALIDATING || family->phase == PREPARING) {
        if (world_refusal(world, family->prepare) != OST_OK) {
            fail(story, family);
        } else if (world_is_bound(world, family->prepare)) {
            family->phase = BOUND;
            family->next_ns = soon(story, 10);
        } else if (world_needs_timestamp(world, family->prepare) && !family->is_timestamp_due) {
            family->is_timestamp_due = true;
            family->next_ns = soon(story, 5);
        }
    }
}

/* Home aborts whom an older one has asked about. */
static void answer_inquiries(struct story *story)
{
    while (story->asked_count > 0) {
        uint64_t asked = story->asked[--story->asked_count];
        story->inquiries_count++;
        for (uint32_t at = 0; at < FAMILIES_COUNT; at++) {
            struct family *family = &story->families[at];
            if (family->phase != PREPARED || family->try_id != asked)
                continue;
            tell(story, family, PARTICIPANT_EV_FINISHED);
            try_again_later(story, family);
        }
    }
}

static uint32_t committed_count(const struct story *story)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at < FAMILIES_COUNT; at++)
        count += story->families[at].phase == COMMITTED;
    return count;
}

/* Whoever acts next does; the families that are not among the first few unfinished ones wait. */
static void story_step(struct story *story)
{
    struct family *next = NULL;
    uint32_t running_count = 0;
    for (uint32_t at = 0; at < FAMILIES_COUNT && running_count < CONCURRENT_COUNT; at++) {
        struct family *family = &story->families[at];
        running_count += family->phase != COMMITTED;
        if (family->next_ns != NS_NEVER && (!next || family->next_ns < next->next_ns))
            next = family;
    }
    struct world *world = story->world;
    nanoseconds_t next_ns = next ? next->next_ns : NS_NEVER;
    bool is_timer = world->update.deadline_ns <= next_ns;
    nanoseconds_t at_ns = is_timer ? world->update.deadline_ns : next_ns;
    cr_assert_neq(at_ns, NS_NEVER, "everybody waits for ever");
    if (world->now_ns < at_ns)
        world->now_ns = at_ns;
    if (is_timer)
        step(story, (struct participant_event){.type = PARTICIPANT_EV_TIMER});
    else
        act(story, next);
}

static void hear_answers(struct story *story)
{
    answer_inquiries(story);
    for (uint32_t at = 0; at < FAMILIES_COUNT; at++)
        listen(story, &story->families[at]);
}

static void story_run(struct story *story, uint64_t seed)
{
    memset(story, 0, sizeof(*story));
    random_init(&story->random, seed);
    story->world = world_new(NULL);
    for (uint32_t at = 0; at < FAMILIES_COUNT; at++)
        story->families[at] = (struct family){.age = 1 + at * 7u % FAMILIES_COUNT};
    nanoseconds_t end_ns = story->world->now_ns + BOUND_MS * NS_PER_MS;
    while (committed_count(story) < FAMILIES_COUNT) {
        story_step(story);
        hear_answers(story);
        cr_assert_lt(story->world->now_ns, end_ns, "seed %lu: not everybody committed in time",
                     (unsigned long)seed);
    }
    story->wounds_count = story->world->wounded_count;
    world_pass_ms(story->world, 11000);
    struct participant_counts counts;
    participant_get_counts(story->world->participant, &counts);
    cr_assert(counts.entries == 0 && counts.waiters == 0 && counts.keys_locked == 0);
    for (uint64_t token = 1; token <= story->world->token_last; token++)
        cr_assert(!world_is_open(story->world, token) || story->is_forgotten[token]);
    world_free(story->world);
}

Test(participant_random, every_transaction_commits_alone_and_in_time)
{
    static struct story story;
    uint64_t wounds_count = 0, inquiries_count = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        story_run(&story, seed);
        wounds_count += story.wounds_count;
        inquiries_count += story.inquiries_count;
    }
    /* The stories must meet what they are about. */
    cr_log_info("wounds %lu, inquiries %lu", (unsigned long)wounds_count,
                (unsigned long)inquiries_count);
    cr_assert_gt(wounds_count, 100);
    cr_assert_gt(inquiries_count, 20);
}
