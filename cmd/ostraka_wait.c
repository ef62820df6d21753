/* ostraka_wait.c: waits for what was begun, and tells how far it is: on a terminal in one line that
 * changes, in a pipe line by line. */
#include "cmd/ostraka_command.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY_MS 200
/* On end, each after a whole timeout: then nobody is there. */
#define FAILURES_MAX 10u
/* In a pipe. */
#define LINES_EVERY_LOOKS 5u

struct waiting {
    const struct command_environment *environment;
    struct ost_client *client;
    struct buffer line; /* the last one */
    uint32_t looks_count;
    uint32_t failures_count;
};

static void line_show(struct waiting *waiting, const struct screen *screen, struct bytes line)
{
    bool is_due = screen->is_terminal || waiting->looks_count % LINES_EVERY_LOOKS == 0;
    if (!is_due || bytes_equal(line, buffer_bytes(&waiting->line)))
        return;
    buffer_reset(&waiting->line);
    buffer_append(&waiting->line, line.data, line.bytes_count);
    printf(screen->is_terminal ? "\r%.*s\033[K" : "%.*s\n", (int)line.bytes_count,
           (const char *)line.data);
    fflush(stdout);
}

static void progress_show(struct waiting *waiting, const struct ost_cluster_info *info,
                          const struct ost_progress_item *item)
{
    struct screen screen = screen_find();
    struct canvas canvas;
    canvas_init(&canvas, screen.has_colours, screen.columns ? screen.columns - 1 : 0);
    const struct picture picture = {.info = *info};
    progress_item_draw(&picture, item, &canvas);
    canvas_print(&canvas, STYLE_PLAIN, item->waits_for[0] ? "  " : "");
    progress_wait_draw(item, &canvas);
    canvas_line_cut(&canvas);
    line_show(waiting, &screen, buffer_bytes(&canvas.text));
    canvas_fini(&canvas);
}

/* Is it about the change, or, with change 0, about the draining store? */
static bool is_wanted(const struct ost_progress_item *item, uint64_t change, uint64_t store)
{
    return change ? item->change == change
                  : item->store == store && strcmp(item->what, "drain") == 0;
}

static void look(struct waiting *waiting, const struct ost_cluster_info *info, uint64_t change,
                 uint64_t store)
{
    struct ost_progress progress;
    if (!waiting->environment->json && ost_progress(waiting->client, 0, &progress) == OST_OK) {
        for (size_t i = 0; i < progress.items_count; i++)
            if (is_wanted(&progress.items[i], change, store))
                progress_show(waiting, info, &progress.items[i]);
        ost_progress_free(&progress);
    }
    waiting->looks_count++;
    nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000L}, NULL);
}

static void waiting_end(struct waiting *waiting)
{
    if (waiting->line.bytes_count && screen_find().is_terminal)
        printf("\n");
    buffer_fini(&waiting->line);
}

/* Stores come and go while one waits. OST_OK: asked again, or `out_info` is there. */
static int info_take(struct waiting *waiting, struct ost_cluster_info *out_info, bool *out_has)
{
    int status = ost_cluster_info(waiting->client, out_info);
    *out_has = status == OST_OK;
    waiting->failures_count = status == OST_OK ? 0 : waiting->failures_count + 1;
    bool goes_on = ost_status_is_retryable(status) && waiting->failures_count < FAILURES_MAX;
    return goes_on ? OST_OK : status;
}

int wait_for_change(const struct command_environment *environment, struct ost_client *client,
                    uint64_t change)
{
    struct waiting waiting = {.environment = environment, .client = client};
    bool is_over = false;
    int status = OST_OK;
    while (status == OST_OK && !is_over) {
        struct ost_cluster_info info;
        bool has_info;
        status = info_take(&waiting, &info, &has_info);
        if (!has_info)
            continue;
        is_over = cluster_change_is_over(&info, change);
        if (!is_over)
            look(&waiting, &info, change, 0);
        ost_cluster_info_free(&info);
    }
    waiting_end(&waiting);
    return status;
}

/* OST_OK: it has none left. OST_BUSY: not yet. */
static int drain_look(const struct ost_cluster_info *info, uint64_t store, bool *was_draining)
{
    for (size_t i = 0; i < info->stores_count; i++) {
        if (info->stores[i].store != store)
            continue;
        bool is_draining = strcmp(info->stores[i].state, "up") != 0;
        if (*was_draining && !is_draining)
            return OST_CANCELED;
        *was_draining = is_draining;
        return is_draining && cluster_store_replicas_count(info, store) == 0 ? OST_OK : OST_BUSY;
    }
    return OST_NOT_FOUND;
}

int wait_for_drain(const struct command_environment *environment, struct ost_client *client,
                   uint64_t store)
{
    struct waiting waiting = {.environment = environment, .client = client};
    bool was_draining = false;
    int status = OST_BUSY;
    while (status == OST_BUSY) {
        struct ost_cluster_info info;
        bool has_info;
        int taken = info_take(&waiting, &info, &has_info);
        if (taken != OST_OK)
            status = taken;
        if (!has_info)
            continue;
        status = drain_look(&info, store, &was_draining);
        if (status == OST_BUSY)
            look(&waiting, &info, 0, store);
        ost_cluster_info_free(&info);
    }
    waiting_end(&waiting);
    return status;
}
