/* ostraka_ranges.c: ranges that are split, merged, moved to another group; and changes that are
 * called off. */
#include "base/types.h"
#include "cmd/arguments.h"
#include "cmd/ostraka_command.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUPS_MAX UINT32_MAX

enum option_key { KEY_WAIT = 256, KEY_RANGE, KEY_TO_GROUP };

enum range_verb { VERB_SPLIT, VERB_MERGE, VERB_MOVE };

struct wish {
    enum range_verb verb;
    struct ost_bytes key; /* in the range; SPLIT: where */
    bool has_key;
    bool is_start; /* `key` is where the range begins, not just in it */
    uint64_t to_group;
    bool wait;
    char about[160]; /* "move of [a .. m) to group 2" */
};

#define OPTION_WAIT                                                                                \
    {                                                                                              \
        "wait", KEY_WAIT, NULL, 0, "tell how far it is, and return when it is done", 0             \
    }

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct wish *wish = state->input;
    switch (key) {
    case KEY_WAIT:
        wish->wait = true;
        return 0;
    case KEY_RANGE:
        wish->key = argument_unescape(state, "start", text, true);
        wish->has_key = wish->is_start = true;
        return 0;
    case KEY_TO_GROUP:
        wish->to_group = argument_number(state, "to-group", text, 1, GROUPS_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (wish->has_key)
            argp_error(state, "'%s': one KEY is enough", text);
        wish->key = argument_unescape(state, "key", text, false);
        wish->has_key = true;
        return 0;
    case ARGP_KEY_END:
        if (!wish->has_key)
            argp_error(state, wish->verb == VERB_MOVE ? "name a KEY of the range, or its --range"
                                                      : "name a KEY");
        if (wish->verb == VERB_MOVE && wish->to_group == 0)
            argp_error(state, "--to-group is required");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- What it is about, by the newest map --- */

static bool has_group(const struct ost_cluster_info *info, uint64_t group)
{
    for (size_t i = 0; i < info->groups_count; i++)
        if (info->groups[i].group == group)
            return true;
    return false;
}

static int check_merge(const struct ost_cluster_info *info, const struct ost_range_info *range,
                       char *why, size_t why_bytes)
{
    if (range->end.bytes_count == 0) {
        snprintf(why, why_bytes, "it is the last range: it has no right neighbour");
        return OST_NOT_FOUND;
    }
    const struct ost_range_info *right = cluster_range_of_key(info, range->end);
    if (!right || right->group == range->group)
        return OST_OK;
    char *start = text_escape(right->start);
    snprintf(why, why_bytes,
             "its right neighbour is in group %" PRIu64 " and it is in group %" PRIu64
             ": first 'ostraka move --range %.100s --to-group %" PRIu64 "'",
             right->group, range->group, start, range->group);
    free(start);
    return OST_CONFLICT;
}

static int check_move(const struct ost_cluster_info *info, const struct ost_range_info *range,
                      const struct wish *wish, char *why, size_t why_bytes)
{
    if (!has_group(info, wish->to_group)) {
        snprintf(why, why_bytes, "there is no group %" PRIu64 ": 'ostraka groups' lists them",
                 wish->to_group);
        return OST_NOT_FOUND;
    }
    return range->group == wish->to_group && range->change.change == 0 ? OST_EXISTS : OST_OK;
}

static void about_print(const struct ost_range_info *range, struct wish *wish)
{
    char interval[INTERVAL_TEXT_BYTES], at[KEY_TEXT_BYTES];
    interval_print(range->start, range->end, interval);
    if (wish->verb == VERB_SPLIT)
        snprintf(wish->about, sizeof wish->about, "split of %s at %s", interval,
                 key_print(bytes_of(wish->key.data, wish->key.bytes_count), at, 28));
    else if (wish->verb == VERB_MERGE)
        snprintf(wish->about, sizeof wish->about, "merge of %s with its right neighbour", interval);
    else
        snprintf(wish->about, sizeof wish->about, "move of %s to group %" PRIu64, interval,
                 wish->to_group);
}

static bool begins_at(const struct ost_range_info *range, struct ost_bytes key)
{
    return bytes_equal(bytes_of(range->start.data, range->start.bytes_count),
                       bytes_of(key.data, key.bytes_count));
}

/* OST_EXISTS: it is so already. What can be told before anybody is asked is told in more words. */
static int wish_check(const struct ost_cluster_info *info, struct wish *wish, char *why,
                      size_t why_bytes)
{
    const struct ost_range_info *range = cluster_range_of_key(info, wish->key);
    if (!range)
        return OST_NOT_READY;
    about_print(range, wish);
    if (wish->is_start && !begins_at(range, wish->key)) {
        snprintf(why, why_bytes, "no range begins there: name a KEY, or see 'ostraka ranges'");
        return OST_NOT_FOUND;
    }
    switch (wish->verb) {
    case VERB_SPLIT:
        return begins_at(range, wish->key) ? OST_EXISTS : OST_OK;
    case VERB_MERGE:
        return check_merge(info, range, why, why_bytes);
    case VERB_MOVE:
        break;
    }
    return check_move(info, range, wish, why, why_bytes);
}

/* --- Doing it --- */

static int wish_ask(struct ost_client *client, const struct wish *wish, uint64_t *out_change,
                    char *why)
{
    switch (wish->verb) {
    case VERB_SPLIT:
        return ost_split_range(client, wish->key, out_change, why);
    case VERB_MERGE:
        return ost_merge_ranges(client, wish->key, out_change, why);
    case VERB_MOVE:
        break;
    }
    return ost_move_range(client, wish->key, wish->to_group, out_change, why);
}

/* It is over: was it done? What was done is there to be seen, unless it was undone since. */
static int verdict_find(struct ost_client *client, const struct wish *wish,
                        const struct ost_bytes *end, char *why, size_t why_bytes)
{
    struct ost_cluster_info info;
    int status = ost_cluster_info(client, &info);
    if (status != OST_OK)
        return status;
    const struct ost_range_info *range = cluster_range_of_key(&info, wish->key);
    bool is_done = range != NULL;
    if (wish->verb == VERB_SPLIT)
        is_done = range && begins_at(range, wish->key);
    else if (wish->verb == VERB_MERGE)
        is_done = range && !begins_at(cluster_range_of_key(&info, *end), *end);
    else if (range)
        is_done = range->group == wish->to_group;
    if (!is_done)
        snprintf(why, why_bytes, "it was called off: the range is in group %" PRIu64 " as before",
                 range ? range->group : 0);
    ost_cluster_info_free(&info);
    return is_done ? OST_OK : OST_CANCELED;
}

static void print_done(const struct command_environment *environment, const struct wish *wish,
                       uint64_t change, bool is_done)
{
    if (!environment->json) {
        if (is_done && change == 0)
            printf("nothing to do: it is so already (%s)\n", wish->about);
        else if (is_done)
            printf("done: %s\n", wish->about);
        else
            printf("begun: %s, change %" PRIu64 ": 'ostraka status' shows how far it is\n",
                   wish->about, change);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "change", (double)change);
    cJSON_AddBoolToObject(object, "done", is_done);
    char *printed = cJSON_PrintUnformatted(object);
    puts(printed);
    free(printed);
    cJSON_Delete(object);
}

/* The key where the range ends, as it is before it is merged; a copy. */
static struct ost_bytes end_copy(const struct ost_cluster_info *info, struct ost_bytes key,
                                 uint8_t *copy)
{
    const struct ost_range_info *range = cluster_range_of_key(info, key);
    size_t bytes_count =
        range && range->end.bytes_count <= KEY_BYTES_MAX ? range->end.bytes_count : 0;
    if (bytes_count)
        memcpy(copy, range->end.data, bytes_count);
    return ost_bytes(copy, bytes_count);
}

static int run_with(const struct command_environment *environment, struct ost_client *client,
                    struct wish *wish)
{
    static uint8_t end_bytes[KEY_BYTES_MAX];
    char why[256] = "";
    uint64_t change = 0;
    struct ost_cluster_info info;
    struct ost_bytes end = {0};
    int status = ost_cluster_info(client, &info);
    if (status == OST_OK) {
        status = wish_check(&info, wish, why, sizeof why);
        end = end_copy(&info, wish->key, end_bytes);
        ost_cluster_info_free(&info);
    }
    if (status == OST_OK)
        status = wish_ask(client, wish, &change, why);
    bool is_done = status == OST_EXISTS;
    if (status == OST_OK && wish->wait) {
        status = wait_for_change(environment, client, change);
        if (status == OST_OK)
            status = verdict_find(client, wish, &end, why, sizeof why);
        is_done = status == OST_OK;
    }
    if (status != OST_OK && status != OST_EXISTS)
        return command_failed(environment, wish->about[0] ? wish->about : "ranges", status,
                              why[0] ? why : ost_last_error());
    print_done(environment, wish, change, is_done);
    return EXIT_SUCCESS;
}

static int run(const struct command_environment *environment, struct wish *wish)
{
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    int exit_status = run_with(environment, client, wish);
    ost_close(client);
    return exit_status;
}

int command_split(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {OPTION_WAIT, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "KEY",
        .doc = "Splits the range that holds KEY in two, of which the right one begins with KEY. "
               "Nothing is copied, and nothing waits."};
    struct wish wish = {.verb = VERB_SPLIT};
    command_parse(&argp, argc, argv, &wish);
    return run(environment, &wish);
}

int command_merge(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {OPTION_WAIT, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "KEY",
        .doc = "Makes one range of the one that holds KEY and its right neighbour. Both must be in "
               "the same group: 'ostraka move' brings them together."};
    struct wish wish = {.verb = VERB_MERGE};
    command_parse(&argp, argc, argv, &wish);
    return run(environment, &wish);
}

int command_move(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"to-group", KEY_TO_GROUP, "G", 0, "the group that gets it; required", 0},
        {"range", KEY_RANGE, "START", 0,
         "the range that begins with START ('' is the first), instead of the one that holds KEY",
         0},
        OPTION_WAIT,
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[KEY]",
        .doc = "Moves the range that holds KEY to another group, with all its data, while it is "
               "used. 'ostraka cancel' calls it off."};
    struct wish wish = {.verb = VERB_MOVE};
    command_parse(&argp, argc, argv, &wish);
    return run(environment, &wish);
}

/* --- Calling off --- */

static error_t parse_change(int key, char *text, struct argp_state *state)
{
    uint64_t *change = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (*change)
            argp_error(state, "'%s': one CHANGE is enough", text);
        *change = argument_operand(state, "CHANGE", text, 1, UINT64_MAX);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "name a CHANGE: 'ostraka status' shows what is under way");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_cancel(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse_change,
        .args_doc = "CHANGE",
        .doc = "Calls off the move of a range that is under way: the range stays where it was. "
               "Splits and merges cannot be called off: they take no time."};
    uint64_t change = 0;
    command_parse(&argp, argc, argv, &change);
    struct ost_client *client = command_connect(environment);
    if (!client)
        return EXIT_FAILURE;
    char why[256] = "", about[64];
    snprintf(about, sizeof about, "cancel of change %" PRIu64, change);
    int status = ost_cancel_change(client, change, why);
    int exit_status = EXIT_SUCCESS;
    if (status != OST_OK)
        exit_status = command_failed(environment, about, status, why[0] ? why : ost_last_error());
    else if (environment->json)
        printf("{\"change\":%" PRIu64 ",\"canceled\":true}\n", change);
    else
        printf("called off: change %" PRIu64 "\n", change);
    ost_close(client);
    return exit_status;
}
