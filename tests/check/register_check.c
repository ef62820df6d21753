#include "tests/check/register_check.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define NONE             UINT32_MAX
#define CANDIDATES_SHOWN 6u
#define EVENT_TEXT_BYTES 160

#define VALUE_NOTHING 0u

struct register_state {
    int64_t value;
    uint32_t id; /* of the value; VALUE_NOTHING at first */
    bool present;
};

/* Who still needs a value, of the operations that are not done. */
struct value_needs {
    uint32_t observers_count; /* of known outcome */
    uint32_t maybe_count;     /* of unknown outcome */
    uint32_t writers_count;   /* of both */
};

/* What one transaction did to the key. */
struct register_op {
    uint32_t operation; /* of the history */
    const struct history_op *ops;
    uint32_t ops_count;
    uint64_t call; /* indices of events */
    uint64_t end;  /* UINT64_MAX: unknown outcome */
    bool known;    /* what it read, and that it took effect */
    bool read_only;
    uint32_t observed_id; /* the value that it must find, NONE: any */
    uint32_t left_id;     /* the value that it leaves, NONE: as it was */
    bool done;            /* in the order built so far */
};

/* Known operations by call and by end, as one list in the order of time: 2 i is the call of the
 * i-th known operation, 2 i + 1 its end. What is done is not in it. */
struct event_link {
    uint32_t next;
    uint32_t previous;
};

struct value_record {
    int64_t value;
    uint32_t id;
    bool written; /* by an operation that did not fail */
    bool read;    /* or it may be: what an unknown write left behind matters */
    uint32_t failed_operation;
    UT_hash_handle hh;
};

struct key_ops {
    int64_t key;
    struct register_op *ops; /* in the order of calls */
    uint32_t ops_count;
    uint32_t ops_capacity;
    bool nothing_is_read; /* that the key is absent, or it may be */
    UT_hash_handle hh;
};

/* A choice: it can be taken back. */
struct frame {
    uint32_t op;
    bool forced; /* there was no need to choose: going back goes past it */
    uint32_t highest;
    struct register_state state; /* before it */
};

/* A configuration that was reached before, as bytes: which operations are done, and the state. */
struct configuration {
    UT_hash_handle hh;
    uint64_t words[];
};

struct search {
    const struct history *history;
    const struct key_ops *key;
    struct register_op *ops; /* the known ones first, then the unknown ones that matter */
    uint32_t known_count;
    uint32_t ops_count;
    struct event_link *links; /* 2 known_count, and the head */
    struct register_state state;
    struct value_needs *needs; /* by value */
    uint32_t *ready_counts;    /* scratch, by value: reads of it that may be next */
    struct frame *frames;
    uint32_t frames_count;
    uint32_t known_done_count;
    uint32_t highest; /* no known operation from here on is done */
    uint64_t *done_words;
    struct configuration *configurations;
    struct configuration *spare; /* not in the table yet */
    size_t spare_words_max;
    struct arena arena; /* of the configurations */
    uint64_t steps_left;
    /* Where the search came furthest. */
    uint32_t best_count;
    struct register_state best_state;
    uint32_t best_blocked;
    uint32_t best_observer; /* still has to find the value that is there; NONE */
    uint32_t best_candidates[CANDIDATES_SHOWN];
    uint32_t best_candidates_count;
    bool has_best;
};

/* Does the operation agree with the state? Then `state` becomes what it leaves. */
static bool op_apply(const struct register_op *op, struct register_state *state)
{
    const struct register_state before = *state;
    for (uint32_t i = 0; i < op->ops_count; i++) {
        const struct history_op *step = &op->ops[i];
        bool agrees = true;
        switch (step->action) {
        case HISTORY_OP_READ:
            if (op->known)
                agrees = step->found == HISTORY_NOTHING
                             ? !state->present
                             : state->present && state->value == step->value;
            break;
        case HISTORY_OP_CAS:
            agrees = step->expects_absent ? !state->present
                                          : state->present && state->value == step->expected;
            state->value = step->value;
            state->present = true;
            break;
        case HISTORY_OP_DELETE:
            state->value = 0;
            state->present = false;
            break;
        case HISTORY_OP_WRITE:
            state->value = step->value;
            state->present = true;
            break;
        case HISTORY_OP_APPEND:
            break;
        }
        if (!agrees) {
            *state = before;
            return false;
        }
    }
    if (op->left_id != NONE)
        state->id = op->left_id;
    return true;
}

/* Collecting the operations of each key. */

struct checker {
    const struct history *history;
    struct check_result *result;
    uint64_t steps_max;
    struct arena arena;
    struct key_ops *keys;
};

static struct key_ops *key_find(struct checker *checker, int64_t key)
{
    struct key_ops *found;
    HASH_FIND(hh, checker->keys, &key, sizeof key, found);
    if (found)
        return found;
    found = arena_alloc_zeroed(&checker->arena, sizeof *found);
    found->key = key;
    HASH_ADD(hh, checker->keys, key, sizeof found->key, found);
    return found;
}

static bool is_register_op(const struct history_op *op)
{
    return op->action == HISTORY_OP_WRITE || op->action == HISTORY_OP_CAS ||
           op->action == HISTORY_OP_DELETE ||
           (op->action == HISTORY_OP_READ && op->found != HISTORY_LIST);
}

/* The operation's part that concerns the key of its micro-operation `first`. */
static void collect_op(struct checker *checker, uint32_t index, const struct history_event *event,
                       uint32_t first)
{
    const struct history_operation *operation = history_operation(checker->history, index);
    struct key_ops *key = key_find(checker, event->ops[first].key);
    struct history_op *ops = arena_alloc(&checker->arena, (event->ops_count - first) * sizeof *ops);
    struct register_op op = {.operation = index,
                             .ops = ops,
                             .call = operation->invoke->index,
                             .end = history_end(operation),
                             .known = history_outcome(operation) == HISTORY_OK,
                             .read_only = true};
    for (uint32_t i = first; i < event->ops_count; i++) {
        if (event->ops[i].key != key->key || !is_register_op(&event->ops[i]))
            continue;
        ops[op.ops_count++] = event->ops[i];
        bool reads_nothing =
            event->ops[i].action == HISTORY_OP_READ
                ? op.known && event->ops[i].found == HISTORY_NOTHING
                : event->ops[i].expects_absent && history_outcome(operation) != HISTORY_FAIL;
        key->nothing_is_read = key->nothing_is_read || reads_nothing;
        op.read_only = op.read_only && event->ops[i].action == HISTORY_OP_READ;
    }
    if (key->ops_count == key->ops_capacity) {
        key->ops_capacity = key->ops_capacity ? 2 * key->ops_capacity : 16;
        key->ops = memory_realloc(key->ops, key->ops_capacity * sizeof *key->ops);
    }
    key->ops[key->ops_count++] = op;
}

static void collect(struct checker *checker)
{
    size_t operations_count = history_operations_count(checker->history);
    for (uint32_t index = 0; index < operations_count; index++) {
        const struct history_operation *operation = history_operation(checker->history, index);
        if (operation->invoke->function != HISTORY_TXN)
            continue;
        const struct history_event *event =
            operation->completion ? operation->completion : operation->invoke;
        enum history_type outcome = history_outcome(operation);
        checker->result->judged_count++;
        checker->result->unknown_count += outcome == HISTORY_INFO;
        for (uint32_t i = 0; i < event->ops_count; i++) {
            bool first = is_register_op(&event->ops[i]);
            for (uint32_t j = 0; j < i && first; j++)
                first = event->ops[j].key != event->ops[i].key || !is_register_op(&event->ops[j]);
            if (first)
                collect_op(checker, index, event, i);
        }
    }
}

static bool has_failed(const struct checker *checker, const struct register_op *op)
{
    return history_outcome(history_operation(checker->history, op->operation)) == HISTORY_FAIL;
}

/* Values that are read and were not written, and unknown writes that nobody can have read. */

static struct value_record *value_find(struct value_record **values, struct arena *arena,
                                       int64_t value)
{
    struct value_record *found;
    HASH_FIND(hh, *values, &value, sizeof value, found);
    if (found)
        return found;
    found = arena_alloc_zeroed(arena, sizeof *found);
    found->value = value;
    found->id = VALUE_NOTHING + 1 + HASH_COUNT(*values);
    found->failed_operation = NONE;
    HASH_ADD(hh, *values, value, sizeof found->value, found);
    return found;
}

static void values_collect(struct checker *checker, const struct key_ops *key,
                           struct value_record **values)
{
    for (uint32_t i = 0; i < key->ops_count; i++) {
        const struct register_op *op = &key->ops[i];
        bool failed = has_failed(checker, op);
        for (uint32_t j = 0; j < op->ops_count; j++) {
            const struct history_op *step = &op->ops[j];
            if (step->action == HISTORY_OP_READ) {
                if (op->known && step->found == HISTORY_NUMBER)
                    value_find(values, &checker->arena, step->value)->read = true;
                continue;
            }
            if (step->action == HISTORY_OP_DELETE)
                continue;
            struct value_record *record = value_find(values, &checker->arena, step->value);
            if (failed)
                record->failed_operation = op->operation;
            else
                record->written = true;
            if (step->action == HISTORY_OP_CAS && !step->expects_absent && !failed)
                value_find(values, &checker->arena, step->expected)->read = true;
        }
    }
}

static const char *event_text(const struct history *history, uint32_t operation,
                              char text[EVENT_TEXT_BYTES])
{
    const struct history_operation *of = history_operation(history, operation);
    return history_print_event(of->completion ? of->completion : of->invoke, text,
                               EVENT_TEXT_BYTES);
}

/* Reads of what can never have been there. */
static bool judge_values(struct checker *checker, const struct key_ops *key,
                         struct value_record **values)
{
    bool good = true;
    for (uint32_t i = 0; i < key->ops_count && good; i++) {
        const struct register_op *op = &key->ops[i];
        for (uint32_t j = 0; j < op->ops_count && op->known && good; j++) {
            const struct history_op *step = &op->ops[j];
            char text[EVENT_TEXT_BYTES];
            char failed_text[EVENT_TEXT_BYTES];
            if (step->action != HISTORY_OP_READ || step->found != HISTORY_NUMBER)
                continue;
            const struct value_record *record = value_find(values, &checker->arena, step->value);
            if (record->written)
                continue;
            good = false;
            if (record->failed_operation == NONE)
                check_result_violation(checker->result, "garbage-read",
                                       "key %" PRId64 ": %s read %" PRId64 ", which nobody wrote",
                                       key->key, event_text(checker->history, op->operation, text),
                                       step->value);
            else
                check_result_violation(
                    checker->result, "aborted-read",
                    "key %" PRId64 ": %s read %" PRId64 ", which only a failed operation wrote: %s",
                    key->key, event_text(checker->history, op->operation, text), step->value,
                    event_text(checker->history, record->failed_operation, failed_text));
        }
    }
    return good;
}

/* What an unknown operation leaves, if nobody can have read it, may as well never have been. */
static bool matters(struct checker *checker, const struct key_ops *key,
                    struct value_record **values, const struct register_op *op)
{
    for (uint32_t i = op->ops_count; i-- > 0;) {
        if (op->ops[i].action == HISTORY_OP_DELETE)
            return key->nothing_is_read;
        if (op->ops[i].action != HISTORY_OP_READ)
            return value_find(values, &checker->arena, op->ops[i].value)->read;
    }
    return false;
}

/* The search. */

static uint32_t head_of(const struct search *search)
{
    return 2 * search->known_count;
}

static int compare_times(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return (left[0] > right[0]) - (left[0] < right[0]);
}

static void links_init(struct search *search)
{
    uint32_t count = 2 * search->known_count;
    uint64_t(*times)[2] = memory_alloc((count + 1) * sizeof *times);
    for (uint32_t i = 0; i < count; i++) {
        times[i][0] = i % 2 ? search->ops[i / 2].end : search->ops[i / 2].call;
        times[i][1] = i;
    }
    qsort(times, count, sizeof *times, compare_times);
    uint32_t last = head_of(search);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t link = (uint32_t)times[i][1];
        search->links[last].next = link;
        search->links[link].previous = last;
        last = link;
    }
    search->links[last].next = head_of(search);
    search->links[head_of(search)].previous = last;
    free(times);
}

static void link_remove(struct search *search, uint32_t link)
{
    struct event_link *links = search->links;
    links[links[link].previous].next = links[link].next;
    links[links[link].next].previous = links[link].previous;
}

static void link_restore(struct search *search, uint32_t link)
{
    struct event_link *links = search->links;
    links[links[link].previous].next = link;
    links[links[link].next].previous = link;
}

static bool is_known(const struct search *search, uint32_t op)
{
    return op < search->known_count;
}

/* Counts the operation in among those that are not done, or out. */
static void needs_count(struct search *search, const struct register_op *op, bool in)
{
    uint32_t change = in ? 1 : UINT32_MAX; /* minus one */
    if (op->observed_id != NONE && op->known)
        search->needs[op->observed_id].observers_count += change;
    if (op->observed_id != NONE && !op->known)
        search->needs[op->observed_id].maybe_count += change;
    if (op->left_id != NONE)
        search->needs[op->left_id].writers_count += change;
}

/* Puts the operation next into the order. */
static void search_push(struct search *search, uint32_t op, const struct register_state *state,
                        bool forced)
{
    search->frames[search->frames_count++] = (struct frame){
        .op = op, .forced = forced, .highest = search->highest, .state = search->state};
    search->state = *state;
    search->ops[op].done = true;
    needs_count(search, &search->ops[op], false);
    search->done_words[op / 64] |= UINT64_C(1) << op % 64;
    if (!is_known(search, op))
        return;
    link_remove(search, 2 * op);
    link_remove(search, 2 * op + 1);
    search->known_done_count++;
    if (op >= search->highest)
        search->highest = op + 1;
}

static uint32_t search_pop(struct search *search)
{
    const struct frame *frame = &search->frames[--search->frames_count];
    uint32_t op = frame->op;
    search->state = frame->state;
    search->highest = frame->highest;
    search->ops[op].done = false;
    needs_count(search, &search->ops[op], true);
    search->done_words[op / 64] &= ~(UINT64_C(1) << op % 64);
    if (is_known(search, op)) {
        link_restore(search, 2 * op + 1);
        link_restore(search, 2 * op);
        search->known_done_count--;
    }
    return op;
}

/* An unknown operation that nobody looks at right after it may as well never have been: what
 * follows it must depend on the state that it left. */
static bool needs_observer(const struct search *search)
{
    return search->frames_count > 0 &&
           !is_known(search, search->frames[search->frames_count - 1].op);
}

/* Has this configuration been reached before? Known operations are in the order of their calls: all
 * below the first that is not done are done, and none from `highest` on. */
static bool search_is_new(struct search *search)
{
    uint32_t first_link = search->links[head_of(search)].next;
    uint32_t low = (first_link / 2) / 64;
    uint32_t high = (search->highest + 63) / 64;
    uint32_t unknown_low = search->known_count / 64;
    uint32_t unknown_high = (search->ops_count + 63) / 64;
    size_t words_max = (high > low ? high - low : 0) + (unknown_high - unknown_low) + 3;
    if (words_max > search->spare_words_max) {
        search->spare_words_max = words_max;
        search->spare =
            arena_alloc(&search->arena, sizeof *search->spare + words_max * sizeof(uint64_t));
    }
    struct configuration *configuration = search->spare;
    uint64_t *words = configuration->words;
    size_t count = 0;
    words[count++] = first_link;
    words[count++] = (uint64_t)search->state.value;
    words[count++] = (uint64_t)search->state.present | (uint64_t)needs_observer(search) << 1 |
                     (uint64_t)search->highest << 2;
    for (uint32_t i = low; i < high; i++)
        words[count++] = search->done_words[i];
    for (uint32_t i = unknown_low; i < unknown_high && search->ops_count > search->known_count; i++)
        words[count++] = search->done_words[i];
    struct configuration *found;
    HASH_FIND(hh, search->configurations, words, count * sizeof *words, found);
    if (found)
        return false;
    HASH_ADD_KEYPTR(hh, search->configurations, words, count * sizeof *words, configuration);
    search->spare_words_max = 0;
    return true;
}

/* A read that agrees with the state changes nothing: taking it at once is never wrong. */
static void search_take_reads(struct search *search)
{
    uint32_t link = search->links[head_of(search)].next;
    while (link != head_of(search) && link % 2 == 0) {
        uint32_t op = link / 2;
        struct register_state state = search->state;
        link = search->links[link].next;
        if (!search->ops[op].read_only || !op_apply(&search->ops[op], &state))
            continue;
        search_push(search, op, &state, true);
        link = search->links[head_of(search)].next;
    }
}

/* All who need the value that this operation writes are reads that may be next as well: then it and
 * they may be taken together, where nobody needs what was there before. In any order that explains
 * all, they can be moved to here. (The backward zones of Gibbons and Korach, 1997.) */
static bool write_is_free(const struct search *search, const struct register_op *op)
{
    if (op->done || op->left_id == NONE || op->observed_id != NONE)
        return false;
    const struct value_needs *needs = &search->needs[op->left_id];
    if (needs->observers_count == 0 && needs->maybe_count == 0)
        return op->known;
    return needs->maybe_count == 0 && needs->observers_count == search->ready_counts[op->left_id];
}

static uint32_t search_find_free_write(struct search *search)
{
    const uint32_t head = head_of(search);
    uint32_t found = NONE;
    uint32_t link;
    for (link = search->links[head].next; link % 2 == 0 && link != head;
         link = search->links[link].next)
        if (search->ops[link / 2].read_only && search->ops[link / 2].observed_id != NONE)
            search->ready_counts[search->ops[link / 2].observed_id]++;
    uint64_t first_end = link == head ? UINT64_MAX : search->ops[link / 2].end;
    for (link = search->links[head].next; link % 2 == 0 && link != head && found == NONE;
         link = search->links[link].next)
        if (write_is_free(search, &search->ops[link / 2]))
            found = link / 2;
    for (uint32_t i = search->known_count;
         i < search->ops_count && found == NONE && search->ops[i].call < first_end; i++)
        if (write_is_free(search, &search->ops[i]))
            found = i;
    for (link = search->links[head].next; link % 2 == 0 && link != head;
         link = search->links[link].next)
        if (search->ops[link / 2].observed_id != NONE)
            search->ready_counts[search->ops[link / 2].observed_id] = 0;
    return found;
}

/* Takes all that needs no choice. */
static void search_settle(struct search *search)
{
    search_take_reads(search);
    while (search->known_done_count < search->known_count && !needs_observer(search)) {
        const struct value_needs *needs = &search->needs[search->state.id];
        if (needs->observers_count > 0 || needs->maybe_count > 0)
            return;
        uint32_t op = search_find_free_write(search);
        if (op == NONE)
            return;
        struct register_state state = search->state;
        bool applies = op_apply(&search->ops[op], &state);
        if (!applies)
            return; /* it contradicts itself */
        search_push(search, op, &state, true);
        search_take_reads(search);
    }
}

/* Would the operation overwrite a value that someone still must find, and that nobody else will
 * write again? */
static bool destroys_needed(const struct search *search, const struct register_op *op)
{
    const struct value_needs *needs = &search->needs[search->state.id];
    if (op->left_id == NONE || op->left_id == search->state.id || needs->writers_count > 0)
        return false;
    return needs->observers_count > (op->known && op->observed_id == search->state.id ? 1u : 0u);
}

/* Tries the operation as the next one. */
static bool search_try(struct search *search, uint32_t op)
{
    struct register_state state = search->state;
    if (needs_observer(search) && search->ops[op].observed_id == NONE)
        return false;
    if (destroys_needed(search, &search->ops[op]))
        return false;
    if (!op_apply(&search->ops[op], &state))
        return false;
    search->steps_left--;
    search_push(search, op, &state, false);
    if (search_is_new(search))
        return true;
    (void)search_pop(search);
    return false;
}

/* The event at which something must have happened: the first end of what is not done. */
static uint32_t search_blocked(const struct search *search)
{
    uint32_t link = search->links[head_of(search)].next;
    while (link % 2 == 0 && link != head_of(search))
        link = search->links[link].next;
    return link / 2;
}

static void search_note_best(struct search *search)
{
    if (search->has_best && search->known_done_count <= search->best_count)
        return;
    search->has_best = true;
    search->best_count = search->known_done_count;
    search->best_state = search->state;
    search->best_blocked = search_blocked(search);
    search->best_candidates_count = 0;
    search->best_observer = NONE;
    for (uint32_t i = 0; i < search->known_count && search->best_observer == NONE; i++)
        if (!search->ops[i].done && search->ops[i].observed_id == search->state.id)
            search->best_observer = i;
    uint32_t link = search->links[head_of(search)].next;
    for (; link % 2 == 0 && link != head_of(search); link = search->links[link].next)
        if (link / 2 != search->best_blocked && search->best_candidates_count < CANDIDATES_SHOWN)
            search->best_candidates[search->best_candidates_count++] = link / 2;
}

/* The next operation to try after `op` (NONE: from the start) that may be next in the order: known
 * ones called before the first end, then unknown ones called before it. Puts one in, or false. */
static bool search_advance(struct search *search, uint32_t op)
{
    uint64_t first_end = search->ops[search_blocked(search)].end;
    if (op == NONE || is_known(search, op)) {
        uint32_t link =
            op == NONE ? search->links[head_of(search)].next : search->links[2 * op].next;
        for (; link % 2 == 0 && link != head_of(search); link = search->links[link].next)
            if (search_try(search, link / 2))
                return true;
        op = NONE;
    }
    for (uint32_t i = op == NONE ? search->known_count : op + 1; i < search->ops_count; i++) {
        if (search->ops[i].call > first_end)
            break;
        if (!search->ops[i].done && search_try(search, i))
            return true;
    }
    return false;
}

/* The last choice that was one, taken back; NONE when there is none left. */
static uint32_t search_back(struct search *search)
{
    while (search->frames_count > 0) {
        bool forced = search->frames[search->frames_count - 1].forced;
        uint32_t op = search_pop(search);
        if (!forced)
            return op;
    }
    return NONE;
}

static enum check_verdict search_run(struct search *search)
{
    uint32_t after = NONE;
    search_settle(search);
    while (search->known_done_count < search->known_count) {
        if (search->steps_left == 0)
            return CHECK_UNDECIDED;
        if (search_advance(search, after)) {
            search_settle(search);
            after = NONE;
            continue;
        }
        search_note_best(search);
        after = search_back(search);
        if (after == NONE)
            return CHECK_VIOLATION;
    }
    return CHECK_OK;
}

static const char *state_text(const struct register_state *state, char text[32])
{
    if (state->present)
        (void)snprintf(text, 32, "%" PRId64, state->value);
    else
        (void)snprintf(text, 32, "nothing");
    return text;
}

static void report(struct checker *checker, const struct search *search)
{
    char candidates[CHECK_EXPLANATION_BYTES / 2] = "";
    char text[EVENT_TEXT_BYTES];
    char state[32];
    size_t used = 0;
    if (search->best_observer != NONE && search->best_observer != search->best_blocked)
        used += (size_t)snprintf(
            candidates, sizeof candidates, "\n  that value is still to be found by %s",
            event_text(search->history, search->ops[search->best_observer].operation, text));
    for (uint32_t i = 0; i < search->best_candidates_count; i++)
        used += (size_t)snprintf(
            candidates + used, sizeof candidates - used, "\n  overlaps %s",
            event_text(search->history, search->ops[search->best_candidates[i]].operation, text));
    const struct register_op *blocked = &search->ops[search->best_blocked];
    check_result_violation(
        checker->result, "nonlinearizable",
        "key %" PRId64
        ": no order of its operations explains what they returned; at best %u of %u fit, the "
        "register then holds %s, and this one has no place (events %" PRIu64 "-%" PRIu64 "): %s%s",
        search->key->key, search->best_count, search->known_count,
        state_text(&search->best_state, state), blocked->call, blocked->end,
        event_text(search->history, blocked->operation, text), candidates);
}

/* Which value it must find, and which it leaves. What an unknown operation read nobody knows; its
 * cas must have matched if it did anything. */
static void op_number(struct checker *checker, struct value_record **values, struct register_op *op)
{
    op->observed_id = op->left_id = NONE;
    for (uint32_t i = 0; i < op->ops_count; i++) {
        const struct history_op *step = &op->ops[i];
        bool first = op->left_id == NONE && op->observed_id == NONE;
        if (step->action == HISTORY_OP_DELETE)
            op->left_id = VALUE_NOTHING;
        else if (step->action != HISTORY_OP_READ)
            op->left_id = value_find(values, &checker->arena, step->value)->id;
        if (!first)
            continue;
        if (step->action == HISTORY_OP_CAS && step->expects_absent)
            op->observed_id = VALUE_NOTHING;
        else if (step->action == HISTORY_OP_CAS)
            op->observed_id = value_find(values, &checker->arena, step->expected)->id;
        else if (step->action == HISTORY_OP_READ && op->known)
            op->observed_id = step->found == HISTORY_NOTHING
                                  ? VALUE_NOTHING
                                  : value_find(values, &checker->arena, step->value)->id;
    }
}

/* Known operations first, then unknown ones that matter; both stay in the order of their calls. */
static void search_load(struct search *search, struct checker *checker, const struct key_ops *key,
                        struct value_record **values)
{
    search->ops = memory_alloc(((size_t)key->ops_count + 1) * sizeof *search->ops);
    for (uint32_t i = 0; i < key->ops_count; i++)
        if (key->ops[i].known)
            search->ops[search->known_count++] = key->ops[i];
    search->ops_count = search->known_count;
    for (uint32_t i = 0; i < key->ops_count; i++) {
        const struct register_op *op = &key->ops[i];
        if (!op->known && !has_failed(checker, op) && matters(checker, key, values, op))
            search->ops[search->ops_count++] = *op;
    }
    for (uint32_t i = 0; i < search->ops_count; i++)
        op_number(checker, values, &search->ops[i]);
    size_t ids_count = (size_t)HASH_COUNT(*values) + 1;
    search->needs = memory_alloc_zeroed(ids_count, sizeof *search->needs);
    search->ready_counts = memory_alloc_zeroed(ids_count, sizeof *search->ready_counts);
    for (uint32_t i = 0; i < search->ops_count; i++)
        needs_count(search, &search->ops[i], true);
    arena_init(&search->arena);
    search->links = memory_alloc((2 * (size_t)search->known_count + 1) * sizeof *search->links);
    search->frames = memory_alloc(((size_t)search->ops_count + 1) * sizeof *search->frames);
    search->done_words = memory_alloc_zeroed(search->ops_count / 64 + 1, sizeof(uint64_t));
    links_init(search);
}

static void search_unload(struct search *search)
{
    HASH_CLEAR(hh, search->configurations);
    arena_fini(&search->arena);
    free(search->done_words);
    free(search->frames);
    free(search->links);
    free(search->ready_counts);
    free(search->needs);
    free(search->ops);
}

static void judge_key(struct checker *checker, const struct key_ops *key)
{
    struct value_record *values = NULL;
    struct search search = {
        .history = checker->history, .key = key, .steps_left = checker->steps_max};
    values_collect(checker, key, &values);
    bool good = judge_values(checker, key, &values);
    if (good)
        search_load(&search, checker, key, &values);
    HASH_CLEAR(hh, values);
    if (!good)
        return;
    switch (search_run(&search)) {
    case CHECK_OK:
        break;
    case CHECK_VIOLATION:
        report(checker, &search);
        break;
    case CHECK_UNDECIDED:
        check_result_undecided(checker->result, "step-limit",
                               "key %" PRId64 ": given up after %" PRIu64
                               " steps (%u operations, %u of unknown outcome)",
                               key->key, checker->steps_max, search.known_count,
                               search.ops_count - search.known_count);
        break;
    }
    search_unload(&search);
}

void register_check(const struct history *history, const struct register_check_options *options,
                    struct check_result *out)
{
    struct checker checker = {
        .history = history,
        .result = out,
        .steps_max = options && options->steps_max ? options->steps_max : REGISTER_CHECK_STEPS_MAX};
    check_result_init(out);
    arena_init(&checker.arena);
    collect(&checker);
    struct key_ops *key, *next;
    HASH_ITER (hh, checker.keys, key, next)
        judge_key(&checker, key);
    HASH_ITER (hh, checker.keys, key, next)
        free(key->ops);
    HASH_CLEAR(hh, checker.keys);
    arena_fini(&checker.arena);
}
