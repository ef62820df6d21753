/* coordinator_members.c: which groups take part in a transaction, what it holds in each, and where
 * that lies when ranges have moved.
 */
#include "txn/coordinator_internal.h"

#include "base/memory.h"

static struct coordinator_member *member_add(struct coordinator *coordinator, group_id_t group)
{
    if (coordinator->members_count == coordinator->members_capacity) {
        uint32_t old = coordinator->members_capacity;
        uint32_t capacity = old ? 2 * old : 2;
        coordinator->members =
            memory_realloc(coordinator->members, capacity * sizeof(coordinator->members[0]));
        memset(coordinator->members + old, 0, (capacity - old) * sizeof(coordinator->members[0]));
        coordinator->members_capacity = capacity;
    }
    struct coordinator_member *member = &coordinator->members[coordinator->members_count++];
    member->group = group;
    member->entry = (struct lock_entry_number){0};
    member->touched_count = 0;
    member->reads_count = 0;
    member->reads_bytes = 0;
    member->request = REQUEST_NONE;
    member->voted = false;
    member->asked_only = false;
    buffer_reset(&member->write_set);
    return member;
}

struct coordinator_member *coordinator_member_find_or_add(struct coordinator *coordinator,
                                                          group_id_t group)
{
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++) {
        if (coordinator->members[slot].group == group)
            return &coordinator->members[slot];
    }
    return member_add(coordinator, group);
}

void coordinator_member_touch(struct coordinator *coordinator, struct coordinator_member *member,
                              struct bytes key, struct bytes range_start)
{
    for (uint32_t index = 0; index < member->touched_count; index++) {
        if (bytes_equal(member->touched[index].range_start, range_start))
            return;
    }
    if (member->touched_count == member->touched_capacity) {
        member->touched_capacity = member->touched_capacity ? 2 * member->touched_capacity : 2;
        member->touched =
            memory_realloc(member->touched, member->touched_capacity * sizeof(*member->touched));
    }
    member->touched[member->touched_count++] = (struct touched_range){
        .key = arena_copy(&coordinator->arena, key),
        .range_start = arena_copy(&coordinator->arena, range_start),
    };
}

void coordinator_note_asked(struct coordinator *coordinator, group_id_t group, struct bytes key,
                            struct bytes range_start)
{
    for (uint32_t index = 0; index < coordinator->asked_count; index++) {
        if (coordinator->asked[index].group == group)
            return;
    }
    if (coordinator->asked_count == coordinator->asked_capacity) {
        coordinator->asked_capacity =
            coordinator->asked_capacity ? 2 * coordinator->asked_capacity : 2;
        coordinator->asked = memory_realloc(coordinator->asked, coordinator->asked_capacity *
                                                                    sizeof(coordinator->asked[0]));
    }
    coordinator->asked[coordinator->asked_count++] = (struct coordinator_asked){
        .group = group,
        .key = arena_copy(&coordinator->arena, key),
        .range_start = arena_copy(&coordinator->arena, range_start),
    };
}

void coordinator_members_add_asked(struct coordinator *coordinator)
{
    uint32_t members_count = coordinator->members_count;
    for (uint32_t index = 0; index < coordinator->asked_count; index++) {
        const struct coordinator_asked *asked = &coordinator->asked[index];
        struct coordinator_member *member =
            coordinator_member_find_or_add(coordinator, asked->group);
        if (member < coordinator->members + members_count)
            continue;
        member->asked_only = true;
        coordinator_member_touch(coordinator, member, asked->key, asked->range_start);
    }
}

/* Ranges come in key order as the writes do, so that the map is asked once a range. */
bool coordinator_writes_assign(struct coordinator *coordinator)
{
    struct coordinator_route route = {0};
    bool routed = false;
    group_id_t group = 0;
    struct coordinator_member *member = NULL;
    for (struct write_buffer_entry *entry =
             write_buffer_first(&coordinator->writes, bytes_of(NULL, 0));
         entry; entry = write_buffer_next(entry)) {
        struct write write = write_buffer_entry_write(entry);
        if (!routed || !key_in_range(write.key, route.range_start, route.range_end)) {
            if (!coordinator->route(coordinator->route_context, write.key, &route))
                return false;
            routed = true;
            group = route.group;
            member = coordinator_member_find_or_add(coordinator, group);
            coordinator_member_touch(coordinator, member, write.key, route.range_start);
        }
        if (bytes_equal(write.key, coordinator->anchor))
            coordinator->home = (uint32_t)(member - coordinator->members);
        write_set_append(&member->write_set, &write);
    }
    return true;
}

bool coordinator_member_reroute(struct coordinator *coordinator, uint32_t slot)
{
    struct coordinator_member *member = &coordinator->members[slot];
    group_id_t group = member->group;
    for (uint32_t index = 0; index < member->touched_count; index++) {
        struct coordinator_route route;
        if (!coordinator->route(coordinator->route_context, member->touched[index].key, &route))
            return true; /* no map: later */
        if (index > 0 && route.group != group)
            return false;
        group = route.group;
    }
    if (group == member->group)
        return true;
    if (member->entry.term != 0 || member->reads_count > 0)
        return false;
    for (uint32_t other = 0; other < coordinator->members_count; other++) {
        if (coordinator->members[other].group == group)
            return false;
    }
    member->group = group;
    return true;
}

/* A range that was split or merged meanwhile begins elsewhere now: of each range as it is, one key
 * is kept. */
static void touched_refresh(struct coordinator *coordinator, struct coordinator_member *member)
{
    uint32_t count = member->touched_count;
    member->touched_count = 0;
    for (uint32_t index = 0; index < count; index++) {
        struct touched_range touched = member->touched[index];
        struct coordinator_route route;
        if (coordinator->route(coordinator->route_context, touched.key, &route))
            touched.range_start = route.range_start;
        coordinator_member_touch(coordinator, member, touched.key, touched.range_start);
    }
}

void coordinator_members_refresh(struct coordinator *coordinator)
{
    for (uint32_t slot = 0; slot < coordinator->members_count; slot++)
        touched_refresh(coordinator, &coordinator->members[slot]);
}

void coordinator_member_retouch(struct coordinator *coordinator, uint32_t slot)
{
    struct coordinator_member *member = &coordinator->members[slot];
    touched_refresh(coordinator, member);
    struct reader reader = reader_of(buffer_bytes(&member->write_set));
    struct coordinator_route route = {0};
    bool routed = false;
    struct write write;
    while (write_set_next(&reader, &write) == OST_OK) {
        if (routed && key_in_range(write.key, route.range_start, route.range_end))
            continue;
        if (!coordinator->route(coordinator->route_context, write.key, &route))
            return;
        routed = true;
        coordinator_member_touch(coordinator, member, write.key, route.range_start);
    }
    coordinator_reads_retouch(coordinator, member);
}
