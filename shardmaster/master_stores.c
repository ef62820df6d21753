#include "shardmaster/master_stores.h"

#include "base/sometimes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *master_store_state_name(uint32_t state)
{
    switch (state) {
    case MASTER_STORE_UP:
        return "up";
    case MASTER_STORE_DRAINING:
        return "draining";
    case MASTER_STORE_DEAD:
        return "dead";
    default:
        return "unknown";
    }
}

struct bytes master_store_host(const Ostraka__StoreInfo *store)
{
    if (store->host[0] != '\0')
        return bytes_of_string(store->host);
    const char *colon = strrchr(store->address, ':');
    return bytes_of(store->address,
                    colon ? (size_t)(colon - store->address) : strlen(store->address));
}

static size_t group_replicas_on(const Ostraka__GroupInfo *group, store_id_t store)
{
    size_t count = 0;
    for (size_t place = 0; place < group->n_replicas; place++)
        count += group->replicas[place]->store == store;
    return count;
}

size_t master_store_replicas_count(const Ostraka__Map *map, store_id_t store)
{
    size_t count = map->master ? group_replicas_on(map->master, store) : 0;
    for (size_t index = 0; index < map->n_groups; index++)
        count += group_replicas_on(map->groups[index], store);
    return count;
}

/* --- What is asked for --- */

__attribute__((format(printf, 3, 4))) static int refuse(int status, char *out_why,
                                                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out_why, MASTER_WHY_BYTES, format, arguments);
    va_end(arguments);
    return status;
}

static bool text_is_printable(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

bool master_store_address_is_formed(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon && colon != address && colon[1] != '\0' &&
           strlen(address) <= STORE_ADDRESS_BYTES_MAX && text_is_printable(address);
}

static int check_join_form(const Ostraka__ChangeStore *request, char *out_why)
{
    if (request->store == 0 || request->store > STORES_COUNT_MAX)
        return refuse(OST_INVALID_ARGUMENT, out_why, "a store's number is 1 to %u",
                      STORES_COUNT_MAX);
    if (!master_store_address_is_formed(request->address))
        return refuse(OST_INVALID_ARGUMENT, out_why,
                      "the address of store %" PRIu64 " is not HOST:PORT of at most %u bytes",
                      request->store, STORE_ADDRESS_BYTES_MAX);
    if (strlen(request->host) > STORE_HOST_BYTES_MAX || !text_is_printable(request->host))
        return refuse(OST_INVALID_ARGUMENT, out_why,
                      "the host label of store %" PRIu64
                      " is not at most %u printable characters without spaces",
                      request->store, STORE_HOST_BYTES_MAX);
    if (request->incarnation == 0)
        return refuse(OST_INVALID_ARGUMENT, out_why, "store %" PRIu64 " does not name its disk",
                      request->store);
    return OST_OK;
}

static const Ostraka__StoreInfo *store_at(const Ostraka__Map *map, const char *address)
{
    for (size_t index = 0; index < map->n_stores; index++)
        if (strcmp(map->stores[index]->address, address) == 0)
            return map->stores[index];
    return NULL;
}

static int check_join(const Ostraka__Map *map, const Ostraka__ChangeStore *request,
                      struct master_store_command *out_command, char *out_why)
{
    int status = check_join_form(request, out_why);
    if (status != OST_OK)
        return status;
    const Ostraka__StoreInfo *known = master_map_store(map, request->store);
    if (known && known->incarnation != request->incarnation)
        return refuse(OST_CONFLICT, out_why,
                      "store %" PRIu64 " is in the cluster with another disk: take another "
                      "number, or drain and remove that store first",
                      request->store);
    if (known && strcmp(known->address, request->address) != 0)
        return refuse(OST_CONFLICT, out_why,
                      "store %" PRIu64 " is in the cluster at %.64s, not %.64s", request->store,
                      known->address, request->address);
    if (known)
        return OST_EXISTS;
    const Ostraka__StoreInfo *other = store_at(map, request->address);
    if (other)
        return refuse(OST_CONFLICT, out_why, "address %.100s is that of store %" PRIu64,
                      request->address, other->id);
    if (map->n_stores >= STORES_COUNT_MAX)
        return refuse(OST_TOO_LARGE, out_why, "the cluster has %u stores: that is the limit",
                      STORES_COUNT_MAX);
    ostraka__master_command__store_joined__init(&out_command->joined);
    out_command->joined.store = request->store;
    out_command->joined.address = request->address;
    out_command->joined.host = request->host;
    out_command->joined.incarnation = request->incarnation;
    out_command->command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_STORE_JOINED;
    out_command->command.store_joined = &out_command->joined;
    return OST_OK;
}

static size_t wanted_count(const Ostraka__GroupInfo *group)
{
    struct raft_configuration wanted;
    master_group_wanted(group, &wanted);
    return wanted.members_count;
}

static size_t up_count_without(const Ostraka__Map *map, store_id_t store)
{
    size_t count = 0;
    for (size_t index = 0; index < map->n_stores; index++)
        count += map->stores[index]->state == MASTER_STORE_UP && map->stores[index]->id != store;
    return count;
}

/* Each group that has a replica on it needs as many other stores as it has replicas. */
static int check_room(const Ostraka__Map *map, store_id_t store, char *out_why)
{
    const Ostraka__GroupInfo *largest = NULL;
    for (size_t index = 0; index <= map->n_groups; index++) {
        const Ostraka__GroupInfo *group = index < map->n_groups ? map->groups[index] : map->master;
        if (master_group_replica_on(group, store) &&
            (!largest || wanted_count(group) > wanted_count(largest)))
            largest = group;
    }
    size_t up_count = up_count_without(map, store);
    if (!largest || wanted_count(largest) <= up_count)
        return OST_OK;
    return refuse(OST_CONFLICT, out_why,
                  "group %" PRIu64 " has %zu replicas, and without store %" PRIu64
                  " there is room for only %zu: first let %zu more join",
                  largest->id, wanted_count(largest), store, up_count,
                  wanted_count(largest) - up_count);
}

static int check_drain(const Ostraka__Map *map, const Ostraka__StoreInfo *store, char *out_why)
{
    if (store->state == MASTER_STORE_DRAINING)
        return OST_EXISTS;
    if (map->n_stores == 1)
        return refuse(OST_CONFLICT, out_why, "store %" PRIu64 " is the last one of the cluster",
                      store->id);
    return check_room(map, store->id, out_why);
}

static int check_undrain(const Ostraka__StoreInfo *store, char *out_why)
{
    if (store->state == MASTER_STORE_UP)
        return OST_EXISTS;
    if (store->state == MASTER_STORE_DEAD)
        return refuse(OST_CONFLICT, out_why,
                      "store %" PRIu64 " is dead, not draining: it is up again when it reports",
                      store->id);
    return OST_OK;
}

static int check_remove(const Ostraka__Map *map, const Ostraka__StoreInfo *store, char *out_why)
{
    if (map->n_stores == 1)
        return refuse(OST_CONFLICT, out_why, "store %" PRIu64 " is the last one of the cluster",
                      store->id);
    if (store->state == MASTER_STORE_UP)
        return refuse(OST_CONFLICT, out_why, "store %" PRIu64 " is up: drain it first", store->id);
    size_t left_count = master_store_replicas_count(map, store->id);
    if (left_count > 0)
        return refuse(OST_CONFLICT, out_why,
                      "%zu replicas are left on store %" PRIu64 ": wait until they have moved",
                      left_count, store->id);
    return OST_OK;
}

void master_stores_state_command(store_id_t store, uint32_t expected, uint32_t state,
                                 struct master_store_command *out_command)
{
    ostraka__master_command__init(&out_command->command);
    ostraka__master_command__store_state_set__init(&out_command->state_set);
    out_command->state_set.store = store;
    out_command->state_set.expected = expected;
    out_command->state_set.state = state;
    out_command->command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_STORE_STATE_SET;
    out_command->command.store_state_set = &out_command->state_set;
}

int master_stores_check(const Ostraka__Map *map, const Ostraka__ChangeStore *request,
                        struct master_store_command *out_command, char *out_why)
{
    ostraka__master_command__init(&out_command->command);
    if (request->kind == OSTRAKA__STORE_CHANGE_KIND__JOIN_STORE)
        return check_join(map, request, out_command, out_why);
    const Ostraka__StoreInfo *store = master_map_store(map, request->store);
    if (!store)
        return refuse(OST_NOT_FOUND, out_why, "there is no store %" PRIu64, request->store);
    int status;
    switch (request->kind) {
    case OSTRAKA__STORE_CHANGE_KIND__DRAIN_STORE:
        status = check_drain(map, store, out_why);
        master_stores_state_command(store->id, store->state, MASTER_STORE_DRAINING, out_command);
        return status;
    case OSTRAKA__STORE_CHANGE_KIND__UNDRAIN_STORE:
        status = check_undrain(store, out_why);
        master_stores_state_command(store->id, store->state, MASTER_STORE_UP, out_command);
        return status;
    case OSTRAKA__STORE_CHANGE_KIND__REMOVE_STORE:
        status = check_remove(map, store, out_why);
        ostraka__master_command__store_removed__init(&out_command->removed);
        out_command->removed.store = store->id;
        out_command->command.command_case = OSTRAKA__MASTER_COMMAND__COMMAND_STORE_REMOVED;
        out_command->command.store_removed = &out_command->removed;
        return status;
    case OSTRAKA__STORE_CHANGE_KIND__NO_STORE_CHANGE:
    case OSTRAKA__STORE_CHANGE_KIND__JOIN_STORE:
    case _OSTRAKA__STORE_CHANGE_KIND_IS_INT_SIZE:
    default:
        return refuse(OST_INVALID_ARGUMENT, out_why, "a store joins, drains, or is removed");
    }
}

/* --- What committed commands do --- */

bool master_store_joined(Ostraka__Map *map, const Ostraka__MasterCommand__StoreJoined *command,
                         struct arena *arena)
{
    if (map->epoch == 0 || command->store == 0 || master_map_store(map, command->store) ||
        store_at(map, command->address) || map->n_stores >= STORES_COUNT_MAX ||
        command->incarnation == 0)
        return false;
    Ostraka__StoreInfo *store = arena_alloc(arena, sizeof(*store));
    ostraka__store_info__init(store);
    store->id = command->store;
    store->address = arena_printf(arena, "%s", command->address);
    store->host = arena_printf(arena, "%s", command->host);
    store->state = MASTER_STORE_UP;
    store->incarnation = command->incarnation;
    Ostraka__StoreInfo **stores = arena_alloc(arena, (map->n_stores + 1) * sizeof(stores[0]));
    memcpy(stores, map->stores, map->n_stores * sizeof(stores[0]));
    stores[map->n_stores++] = store;
    map->stores = stores;
    map->epoch++;
    COVER(MASTER_STORE_JOINED);
    return true;
}

bool master_store_state_set(Ostraka__Map *map, const Ostraka__MasterCommand__StoreStateSet *command)
{
    Ostraka__StoreInfo *store = master_map_store(map, command->store);
    if (!store || store->state != command->expected || store->state == command->state ||
        command->state < MASTER_STORE_UP || command->state > MASTER_STORE_DEAD)
        return false;
    /* Two stores may be drained at a time, and there was room for either of them alone. */
    char why[MASTER_WHY_BYTES];
    if (command->state == MASTER_STORE_DRAINING && check_drain(map, store, why) != OST_OK)
        return false;
    store->state = command->state;
    map->epoch++;
    return true;
}

bool master_store_removed(Ostraka__Map *map, const Ostraka__MasterCommand__StoreRemoved *command)
{
    const Ostraka__StoreInfo *store = master_map_store(map, command->store);
    if (!store || store->state == MASTER_STORE_UP || map->n_stores == 1 ||
        master_store_replicas_count(map, command->store) > 0)
        return false;
    size_t kept_count = 0;
    for (size_t index = 0; index < map->n_stores; index++)
        if (map->stores[index]->id != command->store)
            map->stores[kept_count++] = map->stores[index];
    map->n_stores = kept_count;
    map->epoch++;
    COVER(MASTER_STORE_REMOVED);
    return true;
}

bool master_store_host_set(Ostraka__Map *map, const Ostraka__MasterCommand__StoreHostSet *command,
                           struct arena *arena)
{
    Ostraka__StoreInfo *store = master_map_store(map, command->store);
    if (!store || strcmp(store->host, command->host) == 0 ||
        strlen(command->host) > STORE_HOST_BYTES_MAX || !text_is_printable(command->host))
        return false;
    store->host = arena_printf(arena, "%s", command->host);
    map->epoch++;
    return true;
}
