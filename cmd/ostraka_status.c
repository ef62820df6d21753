/* ostraka_status.c: the cluster at a glance. */
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *colour(const char *code)
{
    return isatty(STDOUT_FILENO) ? code : "";
}
#define RED   colour("\033[31m")
#define GREEN colour("\033[32m")
#define PLAIN colour("\033[0m")

struct picture {
    struct ost_cluster_info info;
    struct ost_store_status *stores; /* as many as the map has; store 0: it did not answer */
    int *statuses;
};

static int picture_take(struct ost_client *client, struct picture *out_picture)
{
    int status = ost_cluster_info(client, &out_picture->info);
    if (status != OST_OK)
        return status;
    size_t count = out_picture->info.stores_count;
    out_picture->stores = calloc(count + 1, sizeof *out_picture->stores);
    out_picture->statuses = calloc(count + 1, sizeof *out_picture->statuses);
    if (!out_picture->stores || !out_picture->statuses)
        return OST_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        out_picture->statuses[i] =
            ost_store_status(client, out_picture->info.stores[i].store, &out_picture->stores[i]);
    return OST_OK;
}

static void picture_drop(struct picture *picture)
{
    for (size_t i = 0; i < picture->info.stores_count && picture->stores; i++)
        ost_store_status_free(&picture->stores[i]);
    free(picture->stores);
    free(picture->statuses);
    ost_cluster_info_free(&picture->info);
}

/* --- For people
 * ------------------------------------------------------------------------------------------- */

static void print_stores(const struct picture *picture)
{
    printf("%-6s %-24s %-10s %10s  %s\n", "STORE", "ADDRESS", "STATE", "UPTIME", "LEADS");
    for (size_t i = 0; i < picture->info.stores_count; i++) {
        const struct ost_store_status *store = &picture->stores[i];
        printf("%-6" PRIu64 " %-24s ", picture->info.stores[i].store,
               picture->info.stores[i].address);
        if (picture->statuses[i] != OST_OK) {
            printf("%s%-10s%s %10s  %s\n", RED, "silent", PLAIN, "-",
                   ost_status_text(picture->statuses[i]));
            continue;
        }
        printf("%s%-10s%s %9.1fs  ", GREEN, "up", PLAIN, (double)store->uptime_ms / 1000);
        for (size_t g = 0; g < store->groups_count; g++)
            if (store->groups[g].ready)
                printf(store->groups[g].group == 0 ? "master " : "group-%" PRIu64 " ",
                       store->groups[g].group);
        putchar('\n');
    }
}

static void print_groups(const struct picture *picture)
{
    printf("\n%-6s %-6s %-13s %8s %12s %12s %8s %8s %8s %16s\n", "GROUP", "STORE", "ROLE", "TERM",
           "COMMIT", "APPLIED", "LOCKS", "WAITING", "PREPARED", "CHAIN");
    for (size_t i = 0; i < picture->info.stores_count; i++)
        for (size_t g = 0; g < picture->stores[i].groups_count; g++) {
            const struct ost_group_status *group = &picture->stores[i].groups[g];
            printf("%-6" PRIu64 " %-6" PRIu64 " %-13s %8" PRIu64 " %12" PRIu64 " %12" PRIu64
                   " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %016" PRIx64 "\n",
                   group->group, picture->stores[i].store, group->role, group->term,
                   group->commit_index, group->applied_index, group->keys_locked_count,
                   group->lock_waiters_count, group->prepared_count, group->chain_hash);
        }
}

static void print_placement(const struct ost_group_info *group)
{
    printf("%-6" PRIu64 " %6" PRIu64 " %-10s ", group->group, group->epoch,
           group->changing ? "changing" : "as wanted");
    for (uint32_t r = 0; r < group->replicas_count; r++) {
        const struct ost_replica_info *replica = &group->replicas[r];
        printf(" store %" PRIu64 ": %s%s%s (%" PRIu64 ")%s", replica->store, replica->role,
               replica->lost ? ", lost" : "",
               replica->store == group->leader_store ? ", leads" : "", replica->replica,
               r + 1 < group->replicas_count ? ";" : "");
    }
    putchar('\n');
}

static void print_placements(const struct picture *picture)
{
    printf("\n%-6s %6s %-10s  %s\n", "GROUP", "EPOCH", "STATE", "REPLICAS (NUMBER)");
    print_placement(&picture->info.master);
    for (size_t i = 0; i < picture->info.groups_count; i++)
        print_placement(&picture->info.groups[i]);
}

static void print_ranges(const struct picture *picture)
{
    printf("\n%-30s %-30s %6s %6s\n", "RANGE FROM", "TO", "GROUP", "EPOCH");
    for (size_t i = 0; i < picture->info.ranges_count; i++) {
        const struct ost_range_info *range = &picture->info.ranges[i];
        char *start = text_escape(range->start);
        char *end = text_escape(range->end);
        printf("%-30s %-30s %6" PRIu64 " %6" PRIu64 "\n",
               range->start.bytes_count ? start : "(first)",
               range->end.bytes_count ? end : "(last)", range->group, range->epoch);
        free(end);
        free(start);
    }
}

/* --- For scripts
 * ------------------------------------------------------------------------------------------ */

static cJSON *json_number(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return cJSON_CreateRaw(text);
}

static cJSON *json_store(const struct picture *picture, size_t i)
{
    const struct ost_store_status *store = &picture->stores[i];
    cJSON *object = cJSON_CreateObject();
    cJSON_AddItemToObject(object, "store", json_number(picture->info.stores[i].store));
    cJSON_AddStringToObject(object, "address", picture->info.stores[i].address);
    cJSON_AddBoolToObject(object, "up", picture->statuses[i] == OST_OK);
    if (picture->statuses[i] != OST_OK)
        return object;
    cJSON_AddItemToObject(object, "uptime_ms", json_number(store->uptime_ms));
    cJSON_AddStringToObject(object, "version", store->version);
    cJSON *groups = cJSON_AddArrayToObject(object, "groups");
    for (size_t g = 0; g < store->groups_count; g++) {
        const struct ost_group_status *group = &store->groups[g];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddItemToObject(item, "group", json_number(group->group));
        cJSON_AddItemToObject(item, "replica", json_number(group->replica));
        cJSON_AddStringToObject(item, "role", group->role);
        cJSON_AddBoolToObject(item, "ready", group->ready);
        cJSON_AddItemToObject(item, "term", json_number(group->term));
        cJSON_AddItemToObject(item, "leader_store", json_number(group->leader_store));
        cJSON_AddItemToObject(item, "commit_index", json_number(group->commit_index));
        cJSON_AddItemToObject(item, "applied_index", json_number(group->applied_index));
        cJSON_AddItemToObject(item, "flushed_index", json_number(group->flushed_index));
        /* As text: it does not fit a double. 0: not kept by this group. */
        char chain_hash[24];
        snprintf(chain_hash, sizeof chain_hash, "%016" PRIx64, group->chain_hash);
        cJSON_AddStringToObject(item, "chain_hash", chain_hash);
        cJSON_AddItemToObject(item, "first_index", json_number(group->first_index));
        cJSON_AddItemToObject(item, "last_index", json_number(group->last_index));
        cJSON_AddItemToObject(item, "safe_point", json_number(group->safe_point));
        cJSON_AddItemToObject(item, "keys_locked", json_number(group->keys_locked_count));
        cJSON_AddItemToObject(item, "lock_waiters", json_number(group->lock_waiters_count));
        cJSON_AddItemToObject(item, "prepared", json_number(group->prepared_count));
        cJSON_AddItemToArray(groups, item);
    }
    cJSON *metrics = cJSON_AddObjectToObject(object, "metrics");
    for (size_t m = 0; m < store->metrics_count; m++)
        cJSON_AddItemToObject(metrics, store->metrics[m].name,
                              json_number(store->metrics[m].value));
    return object;
}

static cJSON *json_group(const struct ost_group_info *group)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddItemToObject(object, "group", json_number(group->group));
    cJSON_AddItemToObject(object, "epoch", json_number(group->epoch));
    cJSON_AddItemToObject(object, "leader_store", json_number(group->leader_store));
    cJSON_AddBoolToObject(object, "changing", group->changing);
    cJSON *replicas = cJSON_AddArrayToObject(object, "replicas");
    for (uint32_t r = 0; r < group->replicas_count; r++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddItemToObject(item, "replica", json_number(group->replicas[r].replica));
        cJSON_AddItemToObject(item, "store", json_number(group->replicas[r].store));
        cJSON_AddStringToObject(item, "role", group->replicas[r].role);
        cJSON_AddBoolToObject(item, "lost", group->replicas[r].lost);
        cJSON_AddItemToArray(replicas, item);
    }
    return object;
}

static void print_json(const struct picture *picture)
{
    cJSON *object = cJSON_CreateObject();
    char cluster[24];
    snprintf(cluster, sizeof cluster, "%016" PRIx64, picture->info.cluster_id);
    cJSON_AddStringToObject(object, "cluster", cluster);
    cJSON_AddItemToObject(object, "map_epoch", json_number(picture->info.map_epoch));
    cJSON *stores = cJSON_AddArrayToObject(object, "stores");
    for (size_t i = 0; i < picture->info.stores_count; i++)
        cJSON_AddItemToArray(stores, json_store(picture, i));
    cJSON *groups = cJSON_AddArrayToObject(object, "groups");
    cJSON_AddItemToArray(groups, json_group(&picture->info.master));
    for (size_t i = 0; i < picture->info.groups_count; i++)
        cJSON_AddItemToArray(groups, json_group(&picture->info.groups[i]));
    cJSON *ranges = cJSON_AddArrayToObject(object, "ranges");
    for (size_t i = 0; i < picture->info.ranges_count; i++) {
        const struct ost_range_info *range = &picture->info.ranges[i];
        cJSON *item = cJSON_CreateObject();
        char *start = text_escape(range->start);
        char *end = text_escape(range->end);
        cJSON_AddStringToObject(item, "start", start);
        cJSON_AddStringToObject(item, "end", end);
        cJSON_AddItemToObject(item, "group", json_number(range->group));
        cJSON_AddItemToObject(item, "epoch", json_number(range->epoch));
        cJSON_AddItemToArray(ranges, item);
        free(end);
        free(start);
    }
    char *printed = cJSON_Print(object);
    puts(printed);
    free(printed);
    cJSON_Delete(object);
}

int command_status(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {.doc = "Shows stores, groups and ranges. Exit status 1 when a "
                                            "store does not answer or a group has "
                                            "no leader."};
    command_parse(&argp, argc, argv, NULL);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    struct picture picture = {0};
    int status = picture_take(client, &picture);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK) {
        exit_status = command_failed(environment, "status", status, NULL);
    } else if (environment->json) {
        print_json(&picture);
    } else {
        printf("cluster %016" PRIx64 ", map epoch %" PRIu64 "\n\n", picture.info.cluster_id,
               picture.info.map_epoch);
        print_stores(&picture);
        print_groups(&picture);
        print_placements(&picture);
        print_ranges(&picture);
    }
    for (size_t i = 0; status == OST_OK && i < picture.info.stores_count; i++)
        if (picture.statuses[i] != OST_OK)
            exit_status = EXIT_FAILURE;
    for (size_t i = 0; status == OST_OK && i < picture.info.groups_count; i++)
        if (picture.info.groups[i].leader_store == 0)
            exit_status = EXIT_FAILURE;
    picture_drop(&picture);
    ost_close(client);
    return exit_status;
}
