/* ostraka_replicas.c: which stores hold a group: one more, one fewer, or another one. */
#include "cmd/arguments.h"
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUPS_MAX    UINT32_MAX
#define STORES_MAX    1000
#define LOOK_EVERY_MS 200

enum option_key { KEY_WAIT = 256 };

struct change {
    bool takes_add, takes_remove; /* which flags the command has */
    bool has_group;
    bool wait;
    uint64_t group;
    uint64_t add_store, remove_store;
};

#define OPTION_GROUP                                                                               \
    {                                                                                              \
        "group", 'g', "G", 0, "the group; 0 is the shard master; required", 0                      \
    }
#define OPTION_WAIT                                                                                \
    {                                                                                              \
        "wait", KEY_WAIT, NULL, 0, "return when it is done, not when it has begun", 0              \
    }
static const struct argp_option add_options[] = {
    OPTION_GROUP,
    {"store", 's', "S", 0, "the store that gets a replica; required", 0},
    OPTION_WAIT,
    {0}};
static const struct argp_option remove_options[] = {
    OPTION_GROUP,
    {"store", 'r', "S", 0, "the store that gives up its replica; required", 0},
    OPTION_WAIT,
    {0}};
static const struct argp_option move_options[] = {
    OPTION_GROUP,
    {"from", 'r', "S", 0, "the store that gives up its replica; required", 0},
    {"to", 's', "S", 0, "the store that gets a replica; required", 0},
    OPTION_WAIT,
    {0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct change *change = state->input;
    switch (key) {
    case 'g':
        change->group = argument_number(state, "group", text, 0, GROUPS_MAX);
        change->has_group = true;
        return 0;
    case 's':
        change->add_store = argument_number(state, "store", text, 1, STORES_MAX);
        return 0;
    case 'r':
        change->remove_store = argument_number(state, "store", text, 1, STORES_MAX);
        return 0;
    case KEY_WAIT:
        change->wait = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': there are no arguments, only flags", text);
        return 0;
    case ARGP_KEY_END:
        if (!change->has_group)
            argp_error(state, "--group is required");
        if ((change->takes_add && change->add_store == 0) ||
            (change->takes_remove && change->remove_store == 0))
            argp_error(state, "name the store");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct ost_group_info *find_group(const struct ost_cluster_info *info, uint64_t group)
{
    if (group == 0)
        return &info->master;
    for (size_t i = 0; i < info->groups_count; i++)
        if (info->groups[i].group == group)
            return &info->groups[i];
    return NULL;
}

/* The group's epoch as the cluster has it now; OST_NOT_FOUND. */
static int look(struct ost_client *client, uint64_t id, uint64_t *out_epoch, bool *out_changing)
{
    struct ost_cluster_info info;
    int status = ost_cluster_info(client, &info);
    if (status != OST_OK)
        return status;
    const struct ost_group_info *group = find_group(&info, id);
    if (group) {
        *out_epoch = group->epoch;
        *out_changing = group->changing;
    }
    ost_cluster_info_free(&info);
    return group ? OST_OK : OST_NOT_FOUND;
}

/* As long as it takes: a replica may have much to copy. */
static int wait_until_done(struct ost_client *client, const struct change *change,
                           uint64_t epoch_before)
{
    const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};
    for (;;) {
        uint64_t epoch;
        bool changing;
        int status = look(client, change->group, &epoch, &changing);
        if (status != OST_OK)
            return status;
        if (epoch > epoch_before && !changing)
            return OST_OK;
        nanosleep(&pause, NULL);
    }
}

static void print_done(const struct command_environment *environment, const struct change *change,
                       uint64_t epoch)
{
    if (!environment->json) {
        printf(change->wait ? "done\n" : "begun: 'ostraka status' shows how far it is\n");
        return;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "group", (double)change->group);
    cJSON_AddNumberToObject(object, "epoch", (double)epoch);
    cJSON_AddBoolToObject(object, "done", change->wait);
    char *printed = cJSON_PrintUnformatted(object);
    puts(printed);
    free(printed);
    cJSON_Delete(object);
}

static int run(const struct command_environment *environment, const char *what,
               const struct change *change)
{
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    char why[256] = "";
    uint64_t epoch = 0;
    bool changing;
    int status = look(client, change->group, &epoch, &changing);
    if (status == OST_NOT_FOUND)
        snprintf(why, sizeof why, "there is no group %" PRIu64, change->group);
    if (status == OST_OK)
        status = ost_change_replicas(client, change->group, epoch, change->add_store,
                                     change->remove_store, why);
    if (status == OST_OK && change->wait)
        status = wait_until_done(client, change, epoch);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK)
        exit_status = command_failed(environment, what, status, why);
    else
        print_done(environment, change, epoch + 1);
    ost_close(client);
    return exit_status;
}

int command_add_replica(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .options = add_options,
        .parser = parse,
        .doc = "Gives a group a replica on one more store. It gets the group's data first, and a "
               "vote when it has caught up."};
    struct change change = {.takes_add = true};
    command_parse(&argp, argc, argv, &change);
    return run(environment, "add-replica", &change);
}

int command_remove_replica(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .options = remove_options,
        .parser = parse,
        .doc = "Takes a group's replica from a store, with its data. For a replica that is still "
               "joining this calls its change off."};
    struct change change = {.takes_remove = true};
    command_parse(&argp, argc, argv, &change);
    return run(environment, "remove-replica", &change);
}

int command_move_replica(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .options = move_options,
        .parser = parse,
        .doc = "Moves a group's replica from one store to another: the new one joins and the old "
               "one leaves in one step."};
    struct change change = {.takes_add = true, .takes_remove = true};
    command_parse(&argp, argc, argv, &change);
    return run(environment, "move-replica", &change);
}
