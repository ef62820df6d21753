/* view_progress.c: what is under way, and how far it is. */
#include "cmd/view.h"

#include <inttypes.h>
#include <stdio.h>

#define BAR_CELLS        20u
#define BAR_CELLS_NARROW 8u
#define NARROW_COLUMNS   100u
/* An estimate of what is left needs something to stand on. */
#define ESTIMATE_MS_MIN 1000u

static const struct ost_range_info *range_of_start(const struct picture *picture,
                                                   struct ost_bytes start)
{
    struct bytes wanted = bytes_of(start.data, start.bytes_count);
    for (size_t r = 0; r < picture->info.ranges_count; r++) {
        const struct ost_range_info *range = &picture->info.ranges[r];
        if (bytes_equal(bytes_of(range->start.data, range->start.bytes_count), wanted))
            return range;
    }
    return NULL;
}

static bool counts_bytes(const struct ost_progress_item *item)
{
    return strcmp(item->what, "move") == 0;
}

/* "move 17  [m .. t)  group 1 -> 2" */
static void about_draw(const struct picture *picture, const struct ost_progress_item *item,
                       struct canvas *canvas)
{
    canvas_print(canvas, STYLE_BOLD, "%.20s", item->what);
    if (item->change) {
        canvas_print(canvas, STYLE_BOLD, " %" PRIu64, item->change);
        const struct ost_range_info *range = range_of_start(picture, item->start);
        char interval[INTERVAL_TEXT_BYTES];
        canvas_print(
            canvas, STYLE_PLAIN, "  %s",
            interval_print(item->start, range ? range->end : ost_bytes(NULL, 0), interval));
    }
    if (item->store)
        canvas_print(canvas, STYLE_PLAIN, "%sstore %" PRIu64, item->change ? "  " : " of ",
                     item->store);
    if (item->group)
        canvas_print(canvas, STYLE_PLAIN, "  group %" PRIu64, item->group);
    if (item->to_group)
        canvas_print(canvas, STYLE_PLAIN, " -> %" PRIu64, item->to_group);
}

/* "9.0 MiB of 24.0 MiB" */
static void amount_draw(const struct ost_progress_item *item, struct canvas *canvas)
{
    char done[QUANTITY_TEXT_BYTES], whole[QUANTITY_TEXT_BYTES];
    uint64_t done_count = item->done_count;
    if (item->whole_count && done_count > item->whole_count)
        done_count = item->whole_count;
    if (counts_bytes(item)) {
        bytes_count_print(done_count, done);
        bytes_count_print(item->whole_count, whole);
    } else {
        snprintf(done, sizeof done, "%" PRIu64, done_count);
        snprintf(whole, sizeof whole, "%" PRIu64 " replica%s", item->whole_count,
                 item->whole_count == 1 ? "" : "s");
    }
    if (item->whole_count)
        canvas_print(canvas, STYLE_PLAIN, "  %s of %s", done, whole);
    else if (item->done_count)
        canvas_print(canvas, STYLE_PLAIN, "  %s%s", done, counts_bytes(item) ? "" : " replicas");
}

/* How long it will take where that can be told, else how long it has taken. */
static void time_draw(const struct ost_progress_item *item, struct canvas *canvas)
{
    char text[QUANTITY_TEXT_BYTES];
    bool can_tell = counts_bytes(item) && !item->waits_for[0] && item->done_count > 0 &&
                    item->done_count < item->whole_count && item->age_ms >= ESTIMATE_MS_MIN;
    if (!can_tell) {
        canvas_print(canvas, STYLE_PLAIN, "  for %s", duration_print(item->age_ms, text));
        return;
    }
    double left = (double)(item->whole_count - item->done_count) / (double)item->done_count;
    canvas_print(canvas, STYLE_PLAIN, "  about %s left",
                 duration_print((uint64_t)(left * (double)item->age_ms), text));
}

static uint32_t bar_cells(const struct canvas *canvas)
{
    bool is_narrow = canvas->columns && canvas->columns < NARROW_COLUMNS;
    return is_narrow ? BAR_CELLS_NARROW : BAR_CELLS;
}

/* What is known of how much first: so the bars stand below each other, and the end is cut. */
static void bar_draw(const struct ost_progress_item *item, struct canvas *canvas)
{
    uint64_t done = item->done_count < item->whole_count ? item->done_count : item->whole_count;
    if (item->whole_count) {
        /* Rounded down: 100 is for what is done. */
        unsigned percent = (unsigned)((double)done / (double)item->whole_count * 100);
        canvas_bar(canvas, bar_cells(canvas), done, item->whole_count);
        canvas_print(canvas, STYLE_PLAIN, " %3u%%", percent);
    }
    canvas_pad(canvas, bar_cells(canvas) + 9);
}

void progress_item_draw(const struct picture *picture, const struct ost_progress_item *item,
                        struct canvas *canvas)
{
    bar_draw(item, canvas);
    about_draw(picture, item, canvas);
    amount_draw(item, canvas);
    time_draw(item, canvas);
}

void progress_wait_draw(const struct ost_progress_item *item, struct canvas *canvas)
{
    if (item->waits_for[0])
        canvas_print(canvas, STYLE_YELLOW, "waits for %.200s", item->waits_for);
}

/* Nobody tells how far they are: then at least what the map says. */
static size_t changes_of_map_draw(const struct picture *picture, struct canvas *canvas)
{
    size_t count = 0;
    for (size_t r = 0; r < picture->info.ranges_count; r++) {
        const struct ost_range_info *range = &picture->info.ranges[r];
        const struct ost_range_change *change = &range->change;
        if (!change->change || (r > 0 && range[-1].change.change == change->change))
            continue;
        char interval[INTERVAL_TEXT_BYTES];
        canvas_pad(canvas, bar_cells(canvas) + 9);
        canvas_print(canvas, STYLE_BOLD, "%s %" PRIu64, change->kind, change->change);
        canvas_print(canvas, STYLE_PLAIN, "  %s  group %" PRIu64,
                     interval_print(range->start, range->end, interval), range->group);
        if (change->to_group)
            canvas_print(canvas, STYLE_PLAIN, " -> %" PRIu64, change->to_group);
        canvas_line_end(canvas);
        count++;
    }
    return count;
}

void progress_draw(const struct picture *picture, struct canvas *canvas)
{
    size_t text_before = canvas->text.bytes_count;
    canvas_line_end(canvas);
    canvas_print(canvas, STYLE_BOLD, "UNDER WAY");
    canvas_line_end(canvas);
    size_t count = picture->progress.items_count;
    for (size_t i = 0; i < count; i++) {
        const struct ost_progress_item *item = &picture->progress.items[i];
        progress_item_draw(picture, item, canvas);
        canvas_line_end(canvas);
        if (item->why[0]) {
            canvas_pad(canvas, bar_cells(canvas) + 9);
            canvas_print(canvas, STYLE_PLAIN, "because %.200s", item->why);
            canvas_line_end(canvas);
        }
        if (!item->waits_for[0])
            continue;
        canvas_pad(canvas, bar_cells(canvas) + 9);
        progress_wait_draw(item, canvas);
        canvas_line_end(canvas);
    }
    if (picture->progress_result != OST_OK)
        count += changes_of_map_draw(picture, canvas);
    if (count == 0)
        canvas->text.bytes_count = text_before;
}
