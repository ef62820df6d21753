/* view_health.c: what is wrong, in words, the worst first. */
#include "cmd/view.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What has waited for so long is worth a word. */
#define WAITED_MS_MIN 60000u
/* More groups than these are counted, not named. */
#define GROUPS_NAMED_MAX 2u

__attribute__((format(printf, 3, 4))) static void
problem_add(struct health *health, enum health_level level, const char *format, ...)
{
    if (health->problems_count == health->problems_capacity) {
        health->problems_capacity = health->problems_capacity ? 2 * health->problems_capacity : 8;
        health->problems =
            memory_realloc(health->problems, health->problems_capacity * PROBLEM_BYTES);
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(health->problems[health->problems_count++], PROBLEM_BYTES, format, arguments);
    va_end(arguments);
    if (level > health->level)
        health->level = level;
}

static void leaderless_find(const struct picture *picture, struct health *health)
{
    for (size_t place = 0; place < picture_groups_count(picture); place++) {
        const struct group_facts *facts = &picture->facts[place];
        char name[QUANTITY_TEXT_BYTES];
        group_name_print(facts->info->group, name);
        if (facts->leader || facts->info->replicas_count == 0)
            continue;
        if (facts->voters_count == 0)
            problem_add(health, HEALTH_BROKEN, "%s is being made", name);
        else if (2 * facts->voters_answering_count <= facts->voters_count)
            problem_add(health, HEALTH_BROKEN, "%s has no quorum: %u of its %u replicas answer",
                        name, facts->voters_answering_count, facts->voters_count);
        else
            problem_add(health, HEALTH_BROKEN, "%s has no leader", name);
    }
}

static void stores_find(const struct picture *picture, struct health *health)
{
    for (size_t place = 0; place < picture->info.stores_count; place++) {
        uint64_t store = picture->info.stores[place].store;
        const char *state = picture_store_state(picture, place);
        if (strcmp(state, "dead") == 0)
            problem_add(health, HEALTH_WEAKENED, "store %" PRIu64 " is dead, with %u replicas",
                        store, cluster_store_replicas_count(&picture->info, store));
        else if (strcmp(state, "silent") == 0 && picture->results[place] == OST_DISCONNECTED)
            problem_add(health, HEALTH_WEAKENED, "store %" PRIu64 " cannot be reached at %.64s",
                        store, picture->info.stores[place].address);
        else if (strcmp(state, "silent") == 0)
            problem_add(health, HEALTH_WEAKENED, "store %" PRIu64 " does not answer: %s", store,
                        ost_status_text(picture->results[place]));
    }
}

static bool lacks_replicas(const struct group_facts *facts)
{
    return facts->leader && facts->voters_answering_count < facts->voters_count;
}

static void replicas_find(const struct picture *picture, struct health *health)
{
    uint32_t lacking_count = 0;
    for (size_t place = 0; place < picture_groups_count(picture); place++)
        lacking_count += lacks_replicas(&picture->facts[place]);
    if (lacking_count > GROUPS_NAMED_MAX) {
        problem_add(health, HEALTH_WEAKENED, "%u groups have fewer replicas than they should",
                    lacking_count);
        return;
    }
    for (size_t place = 0; place < picture_groups_count(picture); place++) {
        const struct group_facts *facts = &picture->facts[place];
        char name[QUANTITY_TEXT_BYTES];
        if (lacks_replicas(facts))
            problem_add(health, HEALTH_WEAKENED, "%s has %u of %u replicas",
                        group_name_print(facts->info->group, name), facts->voters_answering_count,
                        facts->voters_count);
    }
}

static void waiting_find(const struct picture *picture, struct health *health)
{
    for (size_t i = 0; i < picture->progress.items_count; i++) {
        const struct ost_progress_item *item = &picture->progress.items[i];
        char about[QUANTITY_TEXT_BYTES] = "", age[QUANTITY_TEXT_BYTES];
        if (!item->waits_for[0] || item->age_ms < WAITED_MS_MIN)
            continue;
        if (item->change)
            snprintf(about, sizeof about, " %" PRIu64, item->change);
        else if (item->store)
            snprintf(about, sizeof about, " of store %" PRIu64, item->store);
        problem_add(health, HEALTH_WEAKENED, "%.20s%s waits for %s: %.100s", item->what, about,
                    duration_print(item->age_ms, age), item->waits_for);
    }
    if (picture->progress_result != OST_OK)
        problem_add(health, HEALTH_WEAKENED, "the shard master does not tell what is under way: %s",
                    ost_status_text(picture->progress_result));
}

void health_find(const struct picture *picture, struct health *out_health)
{
    *out_health = (struct health){0};
    leaderless_find(picture, out_health);
    stores_find(picture, out_health);
    replicas_find(picture, out_health);
    waiting_find(picture, out_health);
}

void health_fini(struct health *health)
{
    free(health->problems);
}

const char *health_level_name(enum health_level level)
{
    static const char *const NAMES[] = {"well", "weakened", "broken"};
    return NAMES[level];
}

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

void health_draw(const struct picture *picture, const struct health *health, struct canvas *canvas)
{
    static const enum style STYLES[] = {STYLE_GREEN, STYLE_YELLOW, STYLE_RED};
    const struct ost_cluster_info *info = &picture->info;
    canvas_print(canvas, STYLES[health->level], "%s",
                 health->level == HEALTH_WELL ? "all well" : health_level_name(health->level));
    if (health->level == HEALTH_WELL) {
        canvas_print(canvas, STYLE_PLAIN, ": %zu store%s, %zu group%s, %zu range%s",
                     info->stores_count, plural(info->stores_count), info->groups_count,
                     plural(info->groups_count), info->ranges_count, plural(info->ranges_count));
        if (picture->progress.items_count)
            canvas_print(canvas, STYLE_PLAIN, "; %zu change%s under way",
                         picture->progress.items_count, plural(picture->progress.items_count));
    } else if (health->problems_count == 1) {
        canvas_print(canvas, STYLE_PLAIN, ": %s", health->problems[0]);
    } else {
        canvas_print(canvas, STYLE_PLAIN, ": %zu things are wrong", health->problems_count);
    }
    canvas_line_end(canvas);
    for (size_t i = 0; health->problems_count > 1 && i < health->problems_count; i++) {
        canvas_print(canvas, STYLE_PLAIN, "  - %s", health->problems[i]);
        canvas_line_end(canvas);
    }
}
