/* view_facts.c: what follows from a picture: who leads, who is missing. */
#include "cmd/view.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define INTERVAL_KEY_BYTES 28

char *text_escape(struct ost_bytes bytes)
{
    char *text = memory_alloc(bytes.bytes_count * 4 + 1);
    char *to = text;
    const unsigned char *from = bytes.data;
    for (size_t i = 0; i < bytes.bytes_count; i++) {
        if (from[i] == '\\') {
            *to++ = '\\';
            *to++ = '\\';
        } else if (from[i] >= 0x20 && from[i] < 0x7f) {
            *to++ = (char)from[i];
        } else {
            static const char digits[] = "0123456789abcdef";
            *to++ = '\\';
            *to++ = 'x';
            *to++ = digits[from[i] >> 4];
            *to++ = digits[from[i] & 15];
        }
    }
    *to = '\0';
    return text;
}

char *interval_print(struct ost_bytes start, struct ost_bytes end, char *text)
{
    char start_text[INTERVAL_KEY_BYTES] = "(first)", end_text[INTERVAL_KEY_BYTES] = "(last)";
    if (start.bytes_count)
        key_print(bytes_of(start.data, start.bytes_count), start_text, sizeof start_text);
    if (end.bytes_count)
        key_print(bytes_of(end.data, end.bytes_count), end_text, sizeof end_text);
    snprintf(text, INTERVAL_TEXT_BYTES, "[%s .. %s%c", start_text, end_text,
             end.bytes_count ? ')' : ']');
    return text;
}

char *group_name_print(uint64_t group, char *text)
{
    if (group == 0)
        snprintf(text, QUANTITY_TEXT_BYTES, "the shard master");
    else
        snprintf(text, QUANTITY_TEXT_BYTES, "group %" PRIu64, group);
    return text;
}

static size_t store_place(const struct picture *picture, uint64_t store)
{
    size_t place = 0;
    while (place < picture->info.stores_count && picture->info.stores[place].store != store)
        place++;
    return place;
}

const struct ost_store_info *picture_store(const struct picture *picture, uint64_t store)
{
    size_t place = store_place(picture, store);
    return place < picture->info.stores_count ? &picture->info.stores[place] : NULL;
}

bool picture_store_answers(const struct picture *picture, uint64_t store)
{
    size_t place = store_place(picture, store);
    return place < picture->info.stores_count && picture->results[place] == OST_OK;
}

const char *picture_store_state(const struct picture *picture, size_t place)
{
    const char *state = picture->info.stores[place].state;
    if (picture->results[place] == OST_OK)
        return strcmp(state, "dead") == 0 || strcmp(state, "unknown") == 0 ? "up" : state;
    return strcmp(state, "dead") == 0 ? "dead" : "silent";
}

enum style store_state_style(const char *state)
{
    if (strcmp(state, "up") == 0)
        return STYLE_GREEN;
    return strcmp(state, "draining") == 0 ? STYLE_YELLOW : STYLE_RED;
}

size_t picture_groups_count(const struct picture *picture)
{
    return picture->info.groups_count + 1;
}

uint32_t cluster_store_replicas_count(const struct ost_cluster_info *info, uint64_t store)
{
    uint32_t count = 0;
    for (size_t place = 0; place < info->groups_count + 1; place++) {
        const struct ost_group_info *group = place == 0 ? &info->master : &info->groups[place - 1];
        for (uint32_t r = 0; r < group->replicas_count; r++)
            count += group->replicas[r].store == store;
    }
    return count;
}

const struct ost_range_info *cluster_range_of_key(const struct ost_cluster_info *info,
                                                  struct ost_bytes key)
{
    for (size_t r = 0; r < info->ranges_count; r++) {
        const struct ost_range_info *range = &info->ranges[r];
        if (key_in_range(bytes_of(key.data, key.bytes_count),
                         bytes_of(range->start.data, range->start.bytes_count),
                         bytes_of(range->end.data, range->end.bytes_count)))
            return range;
    }
    return NULL;
}

bool cluster_change_is_over(const struct ost_cluster_info *info, uint64_t change)
{
    if (info->next_change <= change)
        return false; /* this map is from before it began */
    for (size_t r = 0; r < info->ranges_count; r++)
        if (info->ranges[r].change.change == change)
            return false;
    return true;
}

/* --- Derived --- */

static int place_compare(const void *x, const void *y)
{
    const struct group_place *a = x, *b = y;
    return (a->group > b->group) - (a->group < b->group);
}

static struct group_facts *facts_of(const struct picture *picture, uint64_t group)
{
    size_t low = 0, high = picture_groups_count(picture);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct group_place *at = &picture->places[middle];
        if (at->group == group)
            return &picture->facts[at->place];
        if (at->group < group)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct group_facts *picture_group(const struct picture *picture, uint64_t group)
{
    return facts_of(picture, group);
}

/* Of those that say that they lead the one with the highest term is right. */
static void leaders_find(struct picture *picture)
{
    for (size_t place = 0; place < picture->info.stores_count; place++) {
        const struct ost_store_status *store = &picture->stores[place];
        if (picture->results[place] != OST_OK)
            continue;
        for (size_t g = 0; g < store->groups_count; g++) {
            const struct ost_group_status *group = &store->groups[g];
            struct group_facts *facts = facts_of(picture, group->group);
            if (!facts || !group->ready || (facts->leader && facts->leader->term > group->term))
                continue;
            facts->leader = group;
            facts->leader_store = picture->info.stores[place].store;
        }
    }
}

static void voters_count(const struct picture *picture, struct group_facts *facts)
{
    for (uint32_t r = 0; r < facts->info->replicas_count; r++) {
        const struct ost_replica_info *replica = &facts->info->replicas[r];
        bool votes = strcmp(replica->role, "joining") != 0;
        bool answers = !replica->lost && picture_store_answers(picture, replica->store);
        facts->voters_count += votes;
        facts->voters_answering_count += votes && answers;
    }
}

void picture_derive(struct picture *picture)
{
    size_t count = picture_groups_count(picture);
    picture->facts = memory_alloc_zeroed(count, sizeof *picture->facts);
    picture->places = memory_alloc_zeroed(count, sizeof *picture->places);
    for (size_t place = 0; place < count; place++) {
        picture->facts[place].info =
            place == 0 ? &picture->info.master : &picture->info.groups[place - 1];
        picture->places[place] =
            (struct group_place){picture->facts[place].info->group, (uint32_t)place};
        voters_count(picture, &picture->facts[place]);
    }
    qsort(picture->places, count, sizeof picture->places[0], place_compare);
    leaders_find(picture);
    for (size_t r = 0; r < picture->info.ranges_count; r++) {
        struct group_facts *facts = facts_of(picture, picture->info.ranges[r].group);
        if (facts)
            facts->ranges_count++;
    }
}

void picture_underive(struct picture *picture)
{
    free(picture->facts);
    free(picture->places);
    picture->facts = NULL;
    picture->places = NULL;
}
