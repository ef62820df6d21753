#include "shardmaster/placement.h"

#include "base/assert.h"
#include "base/memory.h"
#include "shardmaster/master_stores.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE SIZE_MAX

/* A store and a group as placement sees them. Stores are named by their place in the map. */
struct store_view {
    const Ostraka__StoreInfo *info;
    const struct placement_store *known;
    size_t host;
    size_t replicas_count; /* those that stay or come */
    size_t leaders_count;  /* group 0's included */
    bool is_usable;        /* UP and heard of: it may get something */
};

struct group_view {
    const Ostraka__GroupInfo *info;
    const Ostraka__ReplicaInfo *replicas[RAFT_MEMBERS_MAX]; /* those that stay or come */
    size_t stores[RAFT_MEMBERS_MAX];                        /* theirs */
    size_t count;
    size_t leader; /* NONE: not known */
    bool is_changing;
    bool is_taken; /* an action was found for it */
};

struct store_key {
    store_id_t id;
    struct bytes host;
    size_t place;
};

struct view {
    const struct placement_input *input;
    struct store_view *stores;
    size_t stores_count;
    struct store_key *keys; /* by id */
    struct group_view *groups;
    size_t groups_count; /* group 0 is the last */
    size_t usable_count;
    size_t changes_left; /* groups that may still begin to change */
    struct placement_action *actions;
    size_t actions_count, actions_max;
};

/* --- The view --- */

static int compare_ids(const void *a, const void *b)
{
    const struct store_key *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int compare_hosts(const void *a, const void *b)
{
    return bytes_compare(((const struct store_key *)a)->host, ((const struct store_key *)b)->host);
}

static size_t store_place(const struct view *view, store_id_t id)
{
    const struct store_key key = {.id = id};
    const struct store_key *found =
        bsearch(&key, view->keys, view->stores_count, sizeof(key), compare_ids);
    return found ? found->place : NONE;
}

static void view_stores(struct view *view)
{
    const Ostraka__Map *map = view->input->map;
    view->stores_count = map->n_stores;
    view->stores = memory_alloc_zeroed(map->n_stores, sizeof(view->stores[0]));
    view->keys = memory_alloc_zeroed(map->n_stores, sizeof(view->keys[0]));
    for (size_t place = 0; place < map->n_stores; place++) {
        struct store_view *store = &view->stores[place];
        store->info = map->stores[place];
        store->known = &view->input->stores[place];
        store->is_usable = store->info->state == MASTER_STORE_UP && store->known->is_live;
        view->usable_count += store->is_usable;
        view->keys[place] = (struct store_key){
            .id = store->info->id, .host = master_store_host(store->info), .place = place};
    }
    qsort(view->keys, map->n_stores, sizeof(view->keys[0]), compare_hosts);
    size_t host = 0;
    for (size_t index = 0; index < map->n_stores; index++) {
        if (index > 0 && compare_hosts(&view->keys[index - 1], &view->keys[index]) != 0)
            host++;
        view->stores[view->keys[index].place].host = host;
    }
    qsort(view->keys, map->n_stores, sizeof(view->keys[0]), compare_ids);
}

static bool is_led(const struct view *view, const struct group_view *group)
{
    return group->leader != NONE && view->stores[group->leader].known->is_live;
}

static void view_groups(struct view *view)
{
    const Ostraka__Map *map = view->input->map;
    size_t changing_count = 0;
    view->groups_count = map->n_groups + 1;
    view->groups = memory_alloc_zeroed(view->groups_count, sizeof(view->groups[0]));
    for (size_t index = 0; index < view->groups_count; index++) {
        struct group_view *group = &view->groups[index];
        group->info = index < map->n_groups ? map->groups[index] : map->master;
        group->is_changing = master_group_is_changing(group->info);
        group->leader = store_place(view, view->input->leaders[index]);
        /* One that nobody leads gets nowhere, and shall not hold up the others. */
        changing_count += group->is_changing && is_led(view, group);
        if (group->leader != NONE)
            view->stores[group->leader].leaders_count++;
        for (size_t place = 0; place < group->info->n_replicas; place++) {
            const Ostraka__ReplicaInfo *replica = group->info->replicas[place];
            size_t store = store_place(view, replica->store);
            if (replica->role == MASTER_REPLICA_LEAVING || store == NONE)
                continue;
            ASSERT(group->count < RAFT_MEMBERS_MAX);
            group->replicas[group->count] = replica;
            group->stores[group->count++] = store;
            view->stores[store].replicas_count++;
        }
    }
    uint32_t changes_max = view->input->replica_changes_max;
    view->changes_left = changing_count < changes_max ? changes_max - changing_count : 0;
}

static void view_init(struct view *view, const struct placement_input *input)
{
    *view = (struct view){.input = input};
    view_stores(view);
    view_groups(view);
}

static void view_fini(struct view *view)
{
    free(view->stores);
    free(view->keys);
    free(view->groups);
}

/* --- What a group allows --- */

static bool group_has(const struct group_view *group, size_t store)
{
    for (size_t place = 0; place < group->count; place++)
        if (group->stores[place] == store)
            return true;
    return false;
}

/* How many of the group's replicas, but the one at `except`, are on this host. */
static size_t host_overlap(const struct view *view, const struct group_view *group, size_t host,
                           size_t except)
{
    size_t count = 0;
    for (size_t place = 0; place < group->count; place++)
        count += place != except && view->stores[group->stores[place]].host == host;
    return count;
}

/* May its replicas be changed because of one that is gone, or is to go? One that is lost on a store
 * that is UP is replaced there, by the same number of replicas (master_replicas_replace). */
static bool may_repair(const struct view *view, const struct group_view *group)
{
    if (group->is_changing || group->is_taken || !is_led(view, group))
        return false;
    for (size_t place = 0; place < group->count; place++)
        if (group->replicas[place]->lost &&
            view->stores[group->stores[place]].info->state == MASTER_STORE_UP)
            return false;
    return true;
}

/* And only because it would look better? */
static bool may_move(const struct view *view, const struct group_view *group)
{
    if (!may_repair(view, group))
        return false;
    for (size_t place = 0; place < group->count; place++)
        if (group->replicas[place]->lost || !view->stores[group->stores[place]].is_usable)
            return false;
    return true;
}

/* --- Actions --- */

static bool view_is_full(const struct view *view)
{
    return view->actions_count == view->actions_max;
}

__attribute__((format(printf, 3, 4))) static struct placement_action *
action_new(struct view *view, struct group_view *group, const char *format, ...)
{
    ASSERT(!view_is_full(view) && !group->is_taken);
    struct placement_action *action = &view->actions[view->actions_count++];
    *action =
        (struct placement_action){.group = group->info->id, .group_epoch = group->info->epoch};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(action->why, sizeof(action->why), format, arguments);
    va_end(arguments);
    group->is_taken = true;
    return action;
}

static bool change_is_legal(const struct view *view, const struct group_view *group, size_t add,
                            size_t remove)
{
    Ostraka__ChangeReplicas request = OSTRAKA__CHANGE_REPLICAS__INIT;
    Ostraka__MasterCommand__ReplicasWanted wanted;
    char why[MASTER_WHY_BYTES];
    request.group = group->info->id;
    request.group_epoch = group->info->epoch;
    request.add_store = add == NONE ? 0 : view->stores[add].info->id;
    request.remove_store = remove == NONE ? 0 : view->stores[remove].info->id;
    return master_replicas_check(view->input->map, &request, &wanted, why) == OST_OK;
}

/* The replica at `place` goes (NONE: none does), one on `add` comes. */
static void change_emit(struct view *view, struct group_view *group, size_t place, size_t add,
                        const char *cause)
{
    size_t remove = place == NONE ? NONE : group->stores[place];
    store_id_t add_id = view->stores[add].info->id;
    struct placement_action *action;
    if (remove == NONE) {
        action = action_new(view, group, "%s", cause);
    } else {
        store_id_t remove_id = view->stores[remove].info->id;
        action = action_new(view, group, "store %" PRIu64 " %s", remove_id, cause);
        action->remove_store = remove_id;
        view->stores[remove].replicas_count--;
    }
    action->kind = PLACEMENT_CHANGE_REPLICAS;
    action->add_store = add_id;
    view->stores[add].replicas_count++;
    view->changes_left--;
}

static void transfer_emit(struct view *view, struct group_view *group, size_t to, const char *cause)
{
    struct placement_action *action = action_new(view, group, "store %" PRIu64 " %s",
                                                 view->stores[group->leader].info->id, cause);
    action->kind = PLACEMENT_TRANSFER_LEADER;
    action->to_store = view->stores[to].info->id;
    view->stores[group->leader].leaders_count--;
    view->stores[to].leaders_count++;
    group->leader = to;
}

/* --- 1. Leaderships leave a store that drains --- */

static bool may_lead(const struct view *view, const struct group_view *group, size_t place)
{
    const struct store_view *store = &view->stores[group->stores[place]];
    return group->replicas[place]->role == MASTER_REPLICA_VOTER && !group->replicas[place]->lost &&
           store->is_usable && !store->known->is_slow;
}

static void hand_over(struct view *view, struct group_view *group)
{
    size_t best = NONE;
    for (size_t place = 0; place < group->count; place++) {
        size_t store = group->stores[place];
        if (store != group->leader && may_lead(view, group, place) &&
            (best == NONE || view->stores[store].leaders_count < view->stores[best].leaders_count))
            best = store;
    }
    if (best != NONE)
        transfer_emit(view, group, best, "drains");
}

/* Group 0 comes last, when nothing else is left to hand over: its next leader begins anew. */
static void hand_over_all(struct view *view)
{
    for (size_t index = 0; index < view->groups_count && !view_is_full(view); index++) {
        struct group_view *group = &view->groups[index];
        bool is_last = group->info->id == SHARD_MASTER_GROUP;
        if (group->leader != NONE && (!is_last || view->actions_count == 0) &&
            view->stores[group->leader].info->state == MASTER_STORE_DRAINING)
            hand_over(view, group);
    }
}

/* --- 1. Who joins is dead, or drains and is silent or lost --- */

static void call_off(struct view *view, struct group_view *group)
{
    for (size_t place = 0; place < group->count; place++) {
        const struct store_view *store = &view->stores[group->stores[place]];
        bool is_lost = group->replicas[place]->lost;
        if (group->replicas[place]->role != MASTER_REPLICA_JOINING ||
            store->info->state == MASTER_STORE_UP || (store->known->is_live && !is_lost) ||
            !change_is_legal(view, group, NONE, group->stores[place]))
            continue;
        struct placement_action *action = action_new(
            view, group,
            store->known->is_live ? "store %" PRIu64 " drains, and has lost what was to join"
                                  : "store %" PRIu64 " died before it had joined",
            store->info->id);
        action->kind = PLACEMENT_CHANGE_REPLICAS;
        action->remove_store = store->info->id;
        return;
    }
}

/* Without a leader it would change nothing; and who was to join may lead by now, unheard. */
static bool may_call_off(const struct view *view, const struct group_view *group)
{
    return group->is_changing && !group->is_taken && is_led(view, group);
}

static void call_off_all(struct view *view)
{
    for (size_t index = 0; index < view->groups_count && !view_is_full(view); index++)
        if (may_call_off(view, &view->groups[index]))
            call_off(view, &view->groups[index]);
}

/* --- 2. and 3. Replicas that are gone, are to go, or are missing --- */

/* Fewest of the group on its host, then fewest replicas, then fewest bytes. NONE: no store can take
 * one. */
static size_t best_target(const struct view *view, const struct group_view *group, size_t except)
{
    size_t best = NONE, best_overlap = 0;
    for (size_t place = 0; place < view->stores_count; place++) {
        const struct store_view *store = &view->stores[place];
        if (!store->is_usable || group_has(group, place))
            continue;
        size_t overlap = host_overlap(view, group, store->host, except);
        const struct store_view *other = best == NONE ? NULL : &view->stores[best];
        bool is_better =
            !other || overlap < best_overlap ||
            (overlap == best_overlap && (store->replicas_count < other->replicas_count ||
                                         (store->replicas_count == other->replicas_count &&
                                          store->known->bytes < other->known->bytes)));
        if (!is_better)
            continue;
        best = place;
        best_overlap = overlap;
    }
    return best;
}

enum trouble { TROUBLE_DEAD, TROUBLE_LOST, TROUBLE_DRAINING, TROUBLES_COUNT };

static bool is_in_trouble(const struct view *view, const struct group_view *group, size_t place,
                          enum trouble trouble)
{
    const struct store_view *store = &view->stores[group->stores[place]];
    switch (trouble) {
    case TROUBLE_DEAD:
        return store->info->state == MASTER_STORE_DEAD && !store->known->is_live;
    case TROUBLE_LOST:
        return group->replicas[place]->lost && store->info->state != MASTER_STORE_UP;
    case TROUBLE_DRAINING:
        return store->info->state == MASTER_STORE_DRAINING;
    case TROUBLES_COUNT:
    default:
        return false;
    }
}

static void replace_one(struct view *view, struct group_view *group, enum trouble trouble)
{
    static const char *const CAUSES[TROUBLES_COUNT] = {"is dead", "has lost a replica", "drains"};
    for (size_t place = 0; place < group->count; place++) {
        if (!is_in_trouble(view, group, place, trouble))
            continue;
        size_t target = best_target(view, group, place);
        if (target == NONE || !change_is_legal(view, group, target, group->stores[place]))
            continue;
        change_emit(view, group, place, target, CAUSES[trouble]);
        return;
    }
}

static void replace_all(struct view *view, enum trouble trouble)
{
    for (size_t index = 0;
         index < view->groups_count && view->changes_left > 0 && !view_is_full(view); index++)
        if (may_repair(view, &view->groups[index]))
            replace_one(view, &view->groups[index], trouble);
}

/* With fewer stores than wanted, an even number would be no safer than one less. */
static size_t wanted_count(const struct view *view)
{
    size_t wanted = view->input->map->replicas_wanted;
    if (wanted <= view->usable_count)
        return wanted;
    return view->usable_count % 2 == 1 || view->usable_count == 0 ? view->usable_count
                                                                  : view->usable_count - 1;
}

static void add_missing(struct view *view)
{
    for (size_t index = 0;
         index < view->groups_count && view->changes_left > 0 && !view_is_full(view); index++) {
        struct group_view *group = &view->groups[index];
        if (group->count >= wanted_count(view) || !may_repair(view, group))
            continue;
        size_t target = best_target(view, group, NONE);
        if (target != NONE && change_is_legal(view, group, target, NONE))
            change_emit(view, group, NONE, target, "the group has fewer replicas than wanted");
    }
}

/* --- 4. Replicas that share a host --- */

/* Of two that share a host, the one that does not lead, on the store that has more. */
static size_t worst_sharer(const struct view *view, const struct group_view *group)
{
    size_t worst = NONE;
    for (size_t place = 0; place < group->count; place++) {
        size_t store = group->stores[place];
        if (host_overlap(view, group, view->stores[store].host, place) == 0)
            continue;
        size_t other = worst == NONE ? NONE : group->stores[worst];
        if (other == NONE || other == group->leader ||
            (store != group->leader &&
             view->stores[store].replicas_count > view->stores[other].replicas_count))
            worst = place;
    }
    return worst;
}

static void part_hosts(struct view *view)
{
    for (size_t index = 0;
         index < view->groups_count && view->changes_left > 0 && !view_is_full(view); index++) {
        struct group_view *group = &view->groups[index];
        size_t place = may_move(view, group) ? worst_sharer(view, group) : NONE;
        size_t target = place == NONE ? NONE : best_target(view, group, place);
        if (target != NONE && host_overlap(view, group, view->stores[target].host, place) == 0 &&
            change_is_legal(view, group, target, group->stores[place]))
            change_emit(view, group, place, target, "shares its host with another replica");
    }
}

/* --- 5. Even counts of replicas --- */

struct move {
    struct group_view *group; /* NULL: none */
    size_t place;
};

/* Is this one a better giver than the one found so far? */
static bool gives_better(const struct view *view, const struct group_view *group, size_t place,
                         const struct move *best)
{
    const struct store_view *store = &view->stores[group->stores[place]];
    if (!best->group)
        return true;
    size_t best_place = best->group->stores[best->place];
    const struct store_view *other = &view->stores[best_place];
    if (store->replicas_count != other->replicas_count)
        return store->replicas_count > other->replicas_count;
    if (store->known->bytes != other->known->bytes)
        return store->known->bytes > other->known->bytes;
    return group->stores[place] != group->leader && best_place == best->group->leader;
}

/* The best move to this store that leaves hosts as well off as they are. */
static struct move best_move_to(struct view *view, size_t to)
{
    struct move best = {0};
    const struct store_view *target = &view->stores[to];
    for (size_t index = 0; index < view->groups_count; index++) {
        struct group_view *group = &view->groups[index];
        if (!may_move(view, group) || group_has(group, to))
            continue;
        for (size_t place = 0; place < group->count; place++) {
            const struct store_view *store = &view->stores[group->stores[place]];
            if (store->replicas_count >= target->replicas_count + 2 &&
                host_overlap(view, group, target->host, place) <=
                    host_overlap(view, group, store->host, place) &&
                gives_better(view, group, place, &best) &&
                change_is_legal(view, group, to, group->stores[place]))
                best = (struct move){.group = group, .place = place};
        }
    }
    return best;
}

/* The next emptiest store after `last` (NONE: the emptiest), in the order of counts, bytes, places.
 */
static bool is_emptier(const struct view *view, size_t a, size_t b)
{
    const struct store_view *x = &view->stores[a], *y = &view->stores[b];
    if (x->replicas_count != y->replicas_count)
        return x->replicas_count < y->replicas_count;
    if (x->known->bytes != y->known->bytes)
        return x->known->bytes < y->known->bytes;
    return a < b;
}

static size_t next_emptiest(const struct view *view, size_t last)
{
    size_t best = NONE;
    for (size_t place = 0; place < view->stores_count; place++)
        if (view->stores[place].is_usable && (last == NONE || is_emptier(view, last, place)) &&
            (best == NONE || is_emptier(view, place, best)))
            best = place;
    return best;
}

static size_t replicas_count_max(const struct view *view)
{
    size_t most = 0;
    for (size_t place = 0; place < view->stores_count; place++)
        if (view->stores[place].is_usable && view->stores[place].replicas_count > most)
            most = view->stores[place].replicas_count;
    return most;
}

static void even_replicas(struct view *view)
{
    size_t to = next_emptiest(view, NONE);
    while (to != NONE && view->changes_left > 0 && !view_is_full(view) &&
           view->stores[to].replicas_count + 2 <= replicas_count_max(view)) {
        struct move move = best_move_to(view, to);
        if (move.group)
            change_emit(view, move.group, move.place, to, "has more replicas than others");
        to = move.group ? next_emptiest(view, NONE) : next_emptiest(view, to);
    }
}

/* --- 6. Even counts of leaderships --- */

/* How a store was reached from one that leads more: by handing over this group. */
struct hop {
    struct group_view *group;
    size_t from;
    bool is_reached;
};

static bool may_transfer(const struct view *view, const struct group_view *group)
{
    return group->info->id != SHARD_MASTER_GROUP && !group->is_changing && !group->is_taken &&
           group->leader != NONE && view->stores[group->leader].is_usable;
}

/* The nearest store that leads at least two fewer than `from`, breadth first; NONE: none. `hops`
 * has an element, and `queue` room, for each store. */
static size_t find_idler(const struct view *view, size_t from, struct hop *hops, size_t *queue)
{
    size_t first = 0, end = 0;
    memset(hops, 0, view->stores_count * sizeof(hops[0]));
    hops[from].is_reached = true;
    queue[end++] = from;
    while (first < end) {
        size_t at = queue[first++];
        for (size_t index = 0; index < view->groups_count; index++) {
            struct group_view *group = &view->groups[index];
            if (group->leader != at || !may_transfer(view, group))
                continue;
            for (size_t place = 0; place < group->count; place++) {
                size_t store = group->stores[place];
                if (hops[store].is_reached || !may_lead(view, group, place))
                    continue;
                hops[store] = (struct hop){.group = group, .from = at, .is_reached = true};
                if (view->stores[store].leaders_count + 2 <= view->stores[from].leaders_count)
                    return store;
                queue[end++] = store;
            }
        }
    }
    return NONE;
}

/* On a way of several hops all between lead one less than the first and one more than the last; so
 * the last hop leaves the counts as they are, and the way one shorter. */
static bool even_one_leader(struct view *view, struct hop *hops, size_t *queue)
{
    size_t least = SIZE_MAX, most = 0;
    for (size_t place = 0; place < view->stores_count; place++) {
        if (!view->stores[place].is_usable)
            continue;
        size_t count = view->stores[place].leaders_count;
        least = count < least ? count : least;
        most = count > most ? count : most;
    }
    for (size_t count = most; least != SIZE_MAX && count >= least + 2; count--)
        for (size_t place = 0; place < view->stores_count; place++) {
            if (!view->stores[place].is_usable || view->stores[place].leaders_count != count)
                continue;
            size_t idler = find_idler(view, place, hops, queue);
            if (idler == NONE)
                continue;
            transfer_emit(view, hops[idler].group, idler, "leads more groups than others");
            return true;
        }
    return false;
}

static void even_leaders(struct view *view)
{
    struct hop *hops = memory_alloc_zeroed(view->stores_count, sizeof(hops[0]));
    size_t *queue = memory_alloc_zeroed(view->stores_count, sizeof(queue[0]));
    while (!view_is_full(view) && even_one_leader(view, hops, queue))
        ;
    free(hops);
    free(queue);
}

size_t placement_next(const struct placement_input *input, struct placement_action *out_actions,
                      size_t actions_max)
{
    struct view view;
    view_init(&view, input);
    view.actions = out_actions;
    view.actions_max = actions_max;
    hand_over_all(&view);
    if (input->replica_changes_max > 0)
        call_off_all(&view);
    for (int trouble = 0; trouble < TROUBLES_COUNT; trouble++)
        replace_all(&view, (enum trouble)trouble);
    add_missing(&view);
    part_hosts(&view);
    even_replicas(&view);
    even_leaders(&view);
    view_fini(&view);
    return view.actions_count;
}

/* --- For people --- */

static bool waits(const struct view *view, const struct group_view *group, size_t store,
                  char *out_why)
{
    group_id_t id = group->info->id;
    if (!is_led(view, group))
        snprintf(out_why, PLACEMENT_WHY_BYTES, "group %" PRIu64 " has no leader", id);
    else if (group->is_changing)
        return false;
    else if (!may_repair(view, group))
        snprintf(out_why, PLACEMENT_WHY_BYTES, "group %" PRIu64 " replaces a lost replica first",
                 id);
    else if (best_target(view, group, store) == NONE)
        snprintf(out_why, PLACEMENT_WHY_BYTES,
                 "no other store can take a replica of group %" PRIu64, id);
    else if (view->changes_left == 0)
        snprintf(out_why, PLACEMENT_WHY_BYTES, "%" PRIu32 " other groups change at this time",
                 view->input->replica_changes_max);
    else
        return false;
    return true;
}

bool placement_waits(const struct placement_input *input, store_id_t store, char *out_why)
{
    struct view view;
    view_init(&view, input);
    size_t at = store_place(&view, store);
    bool is_waiting = false, goes_on = false;
    for (size_t index = 0; index < view.groups_count && !goes_on; index++) {
        const struct group_view *group = &view.groups[index];
        if (!group_has(group, at))
            continue;
        bool it_waits = waits(&view, group, NONE, out_why);
        is_waiting = is_waiting || it_waits;
        goes_on = !it_waits;
    }
    view_fini(&view);
    return is_waiting && !goes_on;
}

size_t placement_share(const Ostraka__Map *map)
{
    size_t replicas_count = 0, up_count = 0;
    for (size_t index = 0; index < map->n_stores; index++)
        up_count += map->stores[index]->state == MASTER_STORE_UP;
    for (size_t index = 0; index <= map->n_groups; index++) {
        struct raft_configuration wanted;
        master_group_wanted(index < map->n_groups ? map->groups[index] : map->master, &wanted);
        replicas_count += wanted.members_count;
    }
    return up_count > 0 ? replicas_count / up_count : 0;
}
