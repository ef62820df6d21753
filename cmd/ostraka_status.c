/* ostraka_status.c: the cluster at a glance, once or again and again; and its stores, groups and
 * ranges one by one. */
#include "cmd/arguments.h"
#include "cmd/ostraka_command.h"

#include <stdio.h>
#include <stdlib.h>

#define INTERVAL_MS_DEFAULT 1000u
#define INTERVAL_MS_MIN     100u
#define INTERVAL_MS_MAX     3600000u
#define RANGES_SHOWN        100u
#define RANGES_LIMIT_MAX    UINT32_MAX

enum option_key { KEY_INTERVAL = 256, KEY_REPLICAS };

/* What a command shows, and how. */
struct show {
    const struct command_environment *environment;
    struct ost_client *client;
    const char *name;
    bool watch;
    uint32_t interval_ms;
    bool wants_progress;
    bool replicas;
    struct ranges_wanted ranges;
    void (*draw)(const struct show *show, const struct picture *picture, struct canvas *canvas);
    char *(*json)(const struct show *show, const struct picture *picture);
    bool is_well; /* the last picture */
};

static bool picture_is_well(const struct picture *picture)
{
    struct health health;
    health_find(picture, &health);
    bool is_well = health.level == HEALTH_WELL;
    health_fini(&health);
    return is_well;
}

static void show_picture(struct show *show, const struct picture *picture, struct canvas *canvas)
{
    show->is_well = picture_is_well(picture);
    if (!show->environment->json) {
        show->draw(show, picture, canvas);
        return;
    }
    char *text = show->json(show, picture);
    buffer_append(&canvas->text, text, strlen(text));
    buffer_append_u8(&canvas->text, '\n');
    free(text);
}

/* Whatever happens to the cluster, who watches sees it happen. */
static bool draw_again(void *context, struct canvas *canvas)
{
    struct show *show = context;
    struct picture picture;
    int status = picture_take(show->client, show->wants_progress, &picture);
    if (status == OST_OK)
        show_picture(show, &picture, canvas);
    else
        canvas_print(canvas, STYLE_RED, "no store tells anything: %s", ost_last_error());
    if (status != OST_OK)
        canvas_line_end(canvas);
    picture_drop(&picture);
    return true;
}

static int show_once(struct show *show)
{
    struct picture picture;
    int exit_status = EXIT_SUCCESS;
    int status = picture_take(show->client, show->wants_progress, &picture);
    if (status == OST_OK) {
        struct screen screen = screen_find();
        struct canvas canvas;
        canvas_init(&canvas, screen.has_colours, screen.columns);
        show_picture(show, &picture, &canvas);
        screen_print(&canvas);
    } else {
        exit_status = command_failed(show->environment, show->name, status, ost_last_error());
    }
    picture_drop(&picture);
    return exit_status;
}

static int show_run(struct show *show, const struct argp *argp, int argc, char **argv)
{
    show->name = argv[0];
    const char *name = show->name;
    command_parse(argp, argc, argv, show);
    show->name = name;
    show->client = command_connect(show->environment);
    if (!show->client)
        return EXIT_FAILURE;
    int exit_status =
        show->watch ? screen_watch(show->interval_ms, draw_again, show) : show_once(show);
    ost_close(show->client);
    return exit_status;
}

/* --- Flags --- */

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct show *show = state->input;
    switch (key) {
    case 'w':
        show->watch = true;
        return 0;
    case KEY_INTERVAL:
        show->interval_ms =
            (uint32_t)argument_number(state, "interval-ms", text, INTERVAL_MS_MIN, INTERVAL_MS_MAX);
        return 0;
    case KEY_REPLICAS:
        show->replicas = true;
        return 0;
    case 'l':
        show->ranges.ranges_count_max =
            (size_t)argument_number(state, "limit", text, 0, RANGES_LIMIT_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_with_prefix(int key, char *text, struct argp_state *state)
{
    struct show *show = state->input;
    if (key != ARGP_KEY_ARG)
        return parse(key, text, state);
    if (state->arg_num > 0)
        argp_error(state, "'%s': one PREFIX is enough", text);
    show->ranges.prefix = argument_unescape(state, "prefix", text, true);
    return 0;
}

#define OPTIONS_WATCH                                                                              \
    {"watch", 'w', NULL, 0, "show it again and again, in place, until you press Ctrl-C", 0},       \
    {                                                                                              \
        "interval-ms", KEY_INTERVAL, "MS", 0, "how often, with --watch (default: 1000)", 0         \
    }
static const struct argp_option watch_options[] = {OPTIONS_WATCH, {0}};

/* --- Commands --- */

static void draw_status(const struct show *show, const struct picture *picture,
                        struct canvas *canvas)
{
    (void)show;
    status_draw(picture, canvas);
}

static char *json_status(const struct show *show, const struct picture *picture)
{
    (void)show;
    return status_json(picture);
}

int command_status(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .options = watch_options,
        .parser = parse,
        .doc =
            "Shows how the cluster is: what is wrong, if anything is, its stores and groups, and "
            "how far what is under way has come. Exit status 1 when something is wrong."};
    struct show show = {.environment = environment,
                        .interval_ms = INTERVAL_MS_DEFAULT,
                        .wants_progress = true,
                        .draw = draw_status,
                        .json = json_status};
    int exit_status = show_run(&show, &argp, argc, argv);
    return show.is_well ? exit_status : EXIT_FAILURE;
}

static void draw_stores(const struct show *show, const struct picture *picture,
                        struct canvas *canvas)
{
    (void)show;
    stores_draw(picture, canvas);
}

static char *json_stores(const struct show *show, const struct picture *picture)
{
    (void)show;
    return stores_json(picture);
}

int command_stores(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp argp = {
        .options = watch_options,
        .parser = parse,
        .doc = "Lists the stores: how they are, what they have, what they lead."};
    struct show show = {.environment = environment,
                        .interval_ms = INTERVAL_MS_DEFAULT,
                        .draw = draw_stores,
                        .json = json_stores};
    return show_run(&show, &argp, argc, argv);
}

static void draw_groups(const struct show *show, const struct picture *picture,
                        struct canvas *canvas)
{
    if (show->replicas)
        replicas_draw(picture, canvas);
    else
        groups_draw(picture, 0, canvas);
}

static char *json_groups(const struct show *show, const struct picture *picture)
{
    return show->replicas ? stores_json(picture) : groups_json(picture);
}

int command_groups(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"replicas", KEY_REPLICAS, NULL, 0, "list each replica, as its store sees it", 0},
        OPTIONS_WATCH,
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc =
            "Lists the groups: who leads each, which stores have replicas of it, how many ranges "
            "and locks it has. 'master' is the shard master, group 0."};
    struct show show = {.environment = environment,
                        .interval_ms = INTERVAL_MS_DEFAULT,
                        .draw = draw_groups,
                        .json = json_groups};
    return show_run(&show, &argp, argc, argv);
}

static void draw_ranges(const struct show *show, const struct picture *picture,
                        struct canvas *canvas)
{
    ranges_draw(picture, &show->ranges, canvas);
}

static char *json_ranges(const struct show *show, const struct picture *picture)
{
    return ranges_json(picture, &show->ranges);
}

int command_ranges(const struct command_environment *environment, int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"limit", 'l', "N", 0, "how many at most; 0: all (default: 100)", 0}, OPTIONS_WATCH, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse_with_prefix,
        .args_doc = "[PREFIX]",
        .doc = "Lists the ranges in key order, with their groups and what is being done to them: "
               "all, or those that hold keys which begin with PREFIX."};
    struct show show = {.environment = environment,
                        .interval_ms = INTERVAL_MS_DEFAULT,
                        .ranges = {.ranges_count_max = RANGES_SHOWN},
                        .draw = draw_ranges,
                        .json = json_ranges};
    return show_run(&show, &argp, argc, argv);
}
