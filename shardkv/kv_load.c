#include "shardkv/kv_load.h"

#include "shardkv/kv_group.h"
#include "shardkv/kv_keys.h"
#include "shardkv/kv_rows.h"

#include <stdlib.h>

#define KEY_LEFT_EVERY   16u
#define MEASURE_EVERY_NS (100 * NS_PER_MS)
#define REMEASURE_BYTES  (1u << 20)
#define REMEASURE_PART   16u

/* One range's size; and where its middle is, if that is over the limit. */
struct kv_measure {
    struct job job;
    struct kv_group *group; /* NULL: it leads no more */
    struct store *store;
    struct blob *start; /* of the range */
    uint64_t epoch;
    struct buffer lower, upper;
    uint64_t split_bytes;
    uint64_t bytes;
    struct buffer middle; /* a user key; empty: not looked for */
};

/* --- Life ---------------------------------------------------------------------------------------
 */

void kv_loads_init(struct kv_loads *loads)
{
    TAILQ_INIT(&loads->all);
    TAILQ_INIT(&loads->asked);
    TAILQ_INIT(&loads->to_measure);
    TAILQ_INIT(&loads->sized);
    loads->window_end_ns = loads->measure_ns = NS_NEVER;
}

static void asked_remove(struct kv_load *load)
{
    if (load->is_asked)
        TAILQ_REMOVE(&load->loads->asked, load, asked_link);
    load->is_asked = false;
}

static void to_measure_remove(struct kv_load *load)
{
    if (load->is_to_measure)
        TAILQ_REMOVE(&load->loads->to_measure, load, measure_link);
    load->is_to_measure = false;
}

static void sized_remove(struct kv_load *load)
{
    if (load->is_sized)
        TAILQ_REMOVE(&load->loads->sized, load, sized_link);
    load->is_sized = false;
}

static void load_forget(struct kv_load *load)
{
    asked_remove(load);
    to_measure_remove(load);
    sized_remove(load);
    for (size_t index = 0; load->keys && index < LOAD_KEYS_COUNT; index++)
        blob_unref(load->keys[index]);
    free(load->keys);
    blob_unref(load->middle);
    load->loads->bytes -= load->bytes;
    load->keys = NULL;
    load->middle = NULL;
    load->operations = load->operations_per_s = load->keys_left_count = 0;
    load->bytes = load->written_bytes = 0;
    load->is_measured = false;
}

void kv_load_free(struct kv_load *load)
{
    load_forget(load);
    TAILQ_REMOVE(&load->loads->all, load, link);
    load->range->load = NULL;
    free(load);
}

void kv_loads_drop(struct kv_group *group)
{
    struct kv_loads *loads = &group->loads;
    struct kv_load *load;
    while ((load = TAILQ_FIRST(&loads->all)) != NULL)
        kv_load_free(load);
    if (loads->measure)
        loads->measure->group = NULL;
    loads->measure = NULL;
    loads->window_end_ns = loads->measure_ns = NS_NEVER;
}

static struct kv_load *load_of(struct kv_group *group, struct kv_range *range)
{
    if (range->load)
        return range->load;
    struct kv_load *load = memory_alloc_zeroed(1, sizeof(*load));
    load->loads = &group->loads;
    load->range = range;
    range->load = load;
    TAILQ_INSERT_TAIL(&group->loads.all, load, link);
    return load;
}

static void measure_want(struct kv_group *group, struct kv_load *load)
{
    struct kv_loads *loads = &group->loads;
    if (load->is_to_measure)
        return;
    load->is_to_measure = true;
    TAILQ_INSERT_TAIL(&loads->to_measure, load, measure_link);
    if (loads->measure_ns == NS_NEVER)
        loads->measure_ns = group->shared->now_ns + MEASURE_EVERY_NS;
}

void kv_loads_led(struct kv_group *group)
{
    struct kv_range *range;
    for (range = kv_ranges_first(&group->ranges); range; range = kv_ranges_next(range))
        measure_want(group, load_of(group, range));
}

void kv_load_range_changed(struct kv_group *group, struct kv_range *range)
{
    if (!group->is_leading)
        return;
    struct kv_load *load = load_of(group, range);
    load_forget(load);
    measure_want(group, load);
}

/* --- What is asked -------------------------------------------------------------------------------
 */

static uint64_t remeasure_bytes(const struct kv_load *load)
{
    uint64_t much = load->bytes / REMEASURE_PART;
    return much > REMEASURE_BYTES ? much : REMEASURE_BYTES;
}

static void key_leave(struct kv_load *load, struct bytes key)
{
    if (!load->keys)
        load->keys = memory_alloc_zeroed(LOAD_KEYS_COUNT, sizeof(load->keys[0]));
    struct blob **place = &load->keys[load->keys_left_count++ % LOAD_KEYS_COUNT];
    blob_unref(*place);
    *place = blob_copy(key);
}

void kv_load_asked(struct kv_group *group, struct bytes key, size_t written_bytes)
{
    struct kv_loads *loads = &group->loads;
    const struct kv_range *range =
        group->is_leading ? kv_ranges_find_settling(&group->ranges, key) : NULL;
    if (!range)
        return;
    nanoseconds_t now_ns = group->shared->now_ns;
    struct kv_load *load = load_of(group, (struct kv_range *)(uintptr_t)range);
    if (loads->window_end_ns == NS_NEVER) {
        loads->window_begin_ns = now_ns;
        loads->window_end_ns = now_ns + LOAD_WINDOW_NS;
    }
    if (!load->is_asked) {
        load->is_asked = true;
        TAILQ_INSERT_TAIL(&loads->asked, load, asked_link);
    }
    if (load->operations++ % KEY_LEFT_EVERY == 0)
        key_leave(load, key);
    load->written_bytes += written_bytes;
    if (load->written_bytes >= remeasure_bytes(load))
        measure_want(group, load);
}

/* A window in which nothing was asked of any range is not followed by another. */
static void window_end(struct kv_group *group)
{
    struct kv_loads *loads = &group->loads;
    nanoseconds_t now_ns = group->shared->now_ns;
    uint64_t passed_ms = (now_ns - loads->window_begin_ns) / NS_PER_MS;
    bool was_asked = false;
    struct kv_load *load, *next;
    for (load = TAILQ_FIRST(&loads->asked); load; load = next) {
        next = TAILQ_NEXT(load, asked_link);
        bool is_quiet = load->operations == 0;
        was_asked = was_asked || !is_quiet;
        load->operations_per_s = passed_ms > 0 ? load->operations * 1000 / passed_ms : 0;
        load->operations = 0;
        if (is_quiet)
            asked_remove(load);
    }
    loads->window_begin_ns = now_ns;
    loads->window_end_ns = was_asked ? now_ns + LOAD_WINDOW_NS : NS_NEVER;
}

/* --- How large they are --------------------------------------------------------------------------
 */

/* Walks the first half. */
static void middle_find(struct kv_measure *measure)
{
    struct store_iterator *iterator =
        store_iterator_new(measure->store, NULL, buffer_bytes(&measure->lower),
                           buffer_bytes(&measure->upper), STORE_PASSING);
    uint64_t passed_bytes = 0;
    timestamp_t timestamp;
    store_iterator_first(iterator);
    while (store_iterator_valid(iterator) && passed_bytes < measure->bytes / 2) {
        passed_bytes +=
            store_iterator_key(iterator).bytes_count + store_iterator_value(iterator).bytes_count;
        store_iterator_next(iterator);
    }
    if (!store_iterator_valid(iterator) ||
        !kv_key_parse_data(store_iterator_key(iterator), &measure->middle, &timestamp))
        buffer_reset(&measure->middle);
    store_iterator_free(iterator);
}

static void measure_run(struct job *job)
{
    struct kv_measure *measure = (struct kv_measure *)job;
    measure->bytes = store_approximate_bytes(measure->store, buffer_bytes(&measure->lower),
                                             buffer_bytes(&measure->upper));
    if (measure->bytes > measure->split_bytes)
        middle_find(measure);
}

static void measure_take(struct kv_group *group, const struct kv_measure *measure)
{
    struct kv_range *range = kv_ranges_at(&group->ranges, blob_bytes(measure->start));
    if (!range || range->epoch != measure->epoch)
        return;
    const struct kv_options *options = &group->shared->options;
    struct kv_load *load = load_of(group, range);
    group->loads.bytes += measure->bytes - load->bytes;
    load->bytes = measure->bytes;
    load->is_measured = true;
    blob_unref(load->middle);
    load->middle = NULL;
    if (measure->middle.bytes_count > 0)
        load->middle = blob_copy(buffer_bytes(&measure->middle));
    sized_remove(load);
    load->is_sized =
        load->bytes > options->range_split_bytes || load->bytes < options->range_merge_bytes;
    if (load->is_sized)
        TAILQ_INSERT_TAIL(&group->loads.sized, load, sized_link);
}

static void measure_done(struct job *job)
{
    struct kv_measure *measure = (struct kv_measure *)job;
    if (measure->group) {
        measure->group->loads.measure = NULL;
        measure_take(measure->group, measure);
    }
    blob_unref(measure->start);
    buffer_fini(&measure->lower);
    buffer_fini(&measure->upper);
    buffer_fini(&measure->middle);
    free(measure);
}

static void measure_begin(struct kv_group *group, const struct kv_range *range)
{
    struct kv_environment *environment = &group->shared->environment;
    struct kv_measure *measure = memory_alloc_zeroed(1, sizeof(*measure));
    measure->group = group;
    measure->store = environment->store;
    measure->start = blob_ref(range->start);
    measure->epoch = range->epoch;
    measure->split_bytes = group->shared->options.range_split_bytes;
    kv_rows_bounds(group->id, group->meta.generation, KV_ROW_DATA, blob_bytes(range->start),
                   blob_bytes(range->end), &measure->lower, &measure->upper);
    job_push(environment->jobs, &measure->job, measure_run, measure_done);
    group->loads.measure = measure;
}

static void measure_next(struct kv_group *group)
{
    struct kv_loads *loads = &group->loads;
    struct kv_load *load = TAILQ_FIRST(&loads->to_measure);
    loads->measure_ns =
        load || loads->measure ? group->shared->now_ns + MEASURE_EVERY_NS : NS_NEVER;
    if (loads->measure || !load)
        return;
    to_measure_remove(load);
    load->written_bytes = 0;
    measure_begin(group, load->range);
}

/* --- Time, and what is told ----------------------------------------------------------------------
 */

void kv_loads_timer(struct kv_group *group)
{
    if (group->loads.window_end_ns <= group->shared->now_ns)
        window_end(group);
    if (group->loads.measure_ns <= group->shared->now_ns)
        measure_next(group);
}

nanoseconds_t kv_loads_deadline_ns(const struct kv_group *group)
{
    const struct kv_loads *loads = &group->loads;
    return loads->window_end_ns < loads->measure_ns ? loads->window_end_ns : loads->measure_ns;
}

static int key_compare(const void *left, const void *right)
{
    struct blob *const *a = left, *const *b = right;
    return bytes_compare(blob_bytes(*a), blob_bytes(*b));
}

/* A key with half of those that were left lately on each side. */
static struct bytes middle_of_load(const struct kv_load *load)
{
    struct blob *keys[LOAD_KEYS_COUNT];
    size_t count = 0;
    for (size_t index = 0; load->keys && index < LOAD_KEYS_COUNT; index++) {
        if (load->keys[index] && kv_range_holds(load->range, blob_bytes(load->keys[index])))
            keys[count++] = load->keys[index];
    }
    if (count < LOAD_KEYS_COUNT)
        return bytes_of(NULL, 0);
    qsort(keys, count, sizeof(keys[0]), key_compare);
    struct bytes middle = blob_bytes(keys[count / 2]);
    /* One hot key: nothing is gained by a cut. */
    return bytes_equal(middle, blob_bytes(keys[0])) ? bytes_of(NULL, 0) : middle;
}

static bool merges_with_next(const struct kv_group *group, const struct kv_load *load)
{
    const struct kv_options *options = &group->shared->options;
    const struct kv_range *next = kv_ranges_next(load->range);
    const struct kv_load *other = next ? next->load : NULL;
    return other && next->state == KV_RANGE_OWNED && load->is_measured && other->is_measured &&
           bytes_equal(blob_bytes(load->range->end), blob_bytes(next->start)) &&
           load->bytes + other->bytes < options->range_merge_bytes &&
           load->operations_per_s + other->operations_per_s < options->range_merge_operations;
}

static struct bytes split_at(const struct kv_load *load, bool is_hot, bool is_large)
{
    struct bytes at = is_hot ? middle_of_load(load) : bytes_of(NULL, 0);
    if (at.bytes_count == 0 && is_large && load->middle)
        at = blob_bytes(load->middle);
    bool is_inside = at.bytes_count > 0 && kv_range_holds(load->range, at) &&
                     !bytes_equal(at, blob_bytes(load->range->start));
    return is_inside ? at : bytes_of(NULL, 0);
}

static Ostraka__RangeLoad *load_message(const struct kv_group *group, const struct kv_load *load,
                                        struct arena *arena)
{
    const struct kv_options *options = &group->shared->options;
    bool is_hot = load->operations_per_s > options->range_split_operations;
    bool is_large = load->is_measured && load->bytes > options->range_split_bytes;
    Ostraka__RangeLoad *message = arena_alloc(arena, sizeof(*message));
    ostraka__range_load__init(message);
    message->start = field_of_bytes(arena_copy(arena, blob_bytes(load->range->start)));
    message->epoch = load->range->epoch;
    message->bytes = load->bytes;
    message->operations_per_s = load->operations_per_s;
    message->merges = !is_hot && !is_large && merges_with_next(group, load);
    message->split_at = field_of_bytes(arena_copy(arena, split_at(load, is_hot, is_large)));
    return message;
}

/* What calls for something comes first, then by what is asked. */
static bool load_precedes(const struct kv_load *a, bool a_calls, const struct kv_load *b,
                          bool b_calls)
{
    if (a_calls != b_calls)
        return a_calls;
    return a->operations_per_s > b->operations_per_s;
}

struct loads_chosen {
    const struct kv_load *loads[LOADS_REPORTED_COUNT_MAX];
    bool calls[LOADS_REPORTED_COUNT_MAX];
    size_t count;
};

static void load_choose(struct loads_chosen *chosen, const struct kv_load *load, bool calls)
{
    size_t place = chosen->count;
    while (place > 0 &&
           load_precedes(load, calls, chosen->loads[place - 1], chosen->calls[place - 1]))
        place--;
    if (place == LOADS_REPORTED_COUNT_MAX)
        return;
    if (chosen->count < LOADS_REPORTED_COUNT_MAX)
        chosen->count++;
    size_t behind = chosen->count - 1 - place;
    memmove(&chosen->loads[place + 1], &chosen->loads[place], behind * sizeof(chosen->loads[0]));
    memmove(&chosen->calls[place + 1], &chosen->calls[place], behind * sizeof(chosen->calls[0]));
    chosen->loads[place] = load;
    chosen->calls[place] = calls;
}

static bool calls(const struct kv_group *group, const struct kv_load *load)
{
    const struct kv_options *options = &group->shared->options;
    return load->operations_per_s > options->range_split_operations ||
           (load->is_measured && load->bytes > options->range_split_bytes) ||
           merges_with_next(group, load);
}

/* Those that nothing is asked of. Whoever calls stays in front, so that the same are told until
 * something comes of it; the others go to the back, so that each has its turn. */
static void sized_choose(struct kv_group *group, struct loads_chosen *chosen)
{
    struct kv_load_list *sized = &group->loads.sized;
    struct kv_load *load, *next;
    size_t looked_at = 0;
    for (load = TAILQ_FIRST(sized);
         load && looked_at < LOADS_LOOKED_AT_MAX && chosen->count < LOADS_REPORTED_COUNT_MAX;
         load = next, looked_at++) {
        next = TAILQ_NEXT(load, sized_link);
        if (load->range->state == KV_RANGE_OWNED && calls(group, load)) {
            if (!load->is_asked)
                load_choose(chosen, load, true);
        } else {
            TAILQ_REMOVE(sized, load, sized_link);
            TAILQ_INSERT_TAIL(sized, load, sized_link);
        }
    }
}

void kv_loads_report(struct kv_group *group, struct arena *arena, Ostraka__ReplicaReport *report)
{
    struct loads_chosen chosen = {.count = 0};
    const struct kv_load *load;
    report->bytes = group->loads.bytes;
    sized_choose(group, &chosen);
    TAILQ_FOREACH (load, &group->loads.asked, asked_link) {
        if (load->range->state != KV_RANGE_OWNED)
            continue;
        report->operations_per_s += load->operations_per_s;
        bool does_call = calls(group, load);
        if (does_call || load->operations_per_s > 0)
            load_choose(&chosen, load, does_call);
    }
    report->loads = arena_alloc(arena, LOADS_REPORTED_COUNT_MAX * sizeof(report->loads[0]));
    for (size_t index = 0; index < chosen.count; index++)
        report->loads[report->n_loads++] = load_message(group, chosen.loads[index], arena);
}
