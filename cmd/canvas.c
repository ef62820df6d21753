#include "cmd/canvas.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CELL_BYTES 512
#define CUT_MARK   "..."
#define CUT_CHARS  3u

static const char *const STYLE_CODES[] = {
    [STYLE_PLAIN] = "",         [STYLE_BOLD] = "\033[1m",    [STYLE_DIM] = "\033[2m",
    [STYLE_GREEN] = "\033[32m", [STYLE_YELLOW] = "\033[33m", [STYLE_RED] = "\033[31m",
};
#define STYLE_END "\033[0m"

void canvas_init(struct canvas *canvas, bool has_colours, uint32_t columns)
{
    *canvas = (struct canvas){.has_colours = has_colours, .columns = columns};
    buffer_init(&canvas->text);
}

void canvas_fini(struct canvas *canvas)
{
    buffer_fini(&canvas->text);
}

static void append_text(struct canvas *canvas, const char *text)
{
    buffer_append(&canvas->text, text, strlen(text));
}

static void append_char(struct canvas *canvas, char c)
{
    bool has_room = canvas->columns == 0 || canvas->column < canvas->columns;
    canvas->is_cut = canvas->is_cut || !has_room;
    if (!has_room)
        return;
    if (canvas->column + CUT_CHARS == canvas->columns)
        canvas->cut_at = canvas->text.bytes_count;
    buffer_append_u8(&canvas->text, c >= 0x20 && c < 0x7f ? (uint8_t)c : '?');
    canvas->column++;
}

static void append_styled(struct canvas *canvas, enum style style, const char *text)
{
    bool is_coloured = canvas->has_colours && style != STYLE_PLAIN && text[0];
    if (is_coloured)
        append_text(canvas, STYLE_CODES[style]);
    for (; *text; text++)
        append_char(canvas, *text);
    if (is_coloured)
        append_text(canvas, STYLE_END);
}

void canvas_print(struct canvas *canvas, enum style style, const char *format, ...)
{
    char text[CELL_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    append_styled(canvas, style, text);
}

void canvas_line_cut(struct canvas *canvas)
{
    if (canvas->is_cut && canvas->columns > CUT_CHARS) {
        canvas->text.bytes_count = canvas->cut_at;
        append_text(canvas, canvas->has_colours ? STYLE_END CUT_MARK : CUT_MARK);
    }
    canvas->column = 0;
    canvas->is_cut = false;
}

void canvas_line_end(struct canvas *canvas)
{
    canvas_line_cut(canvas);
    buffer_append_u8(&canvas->text, '\n');
}

void canvas_pad(struct canvas *canvas, uint32_t column)
{
    while (canvas->column < column && (canvas->columns == 0 || canvas->column < canvas->columns))
        append_char(canvas, ' ');
}

void canvas_bar(struct canvas *canvas, uint32_t cells, uint64_t done, uint64_t whole)
{
    double part = whole == 0 ? 0 : done >= whole ? 1 : (double)done / (double)whole;
    uint32_t filled = (uint32_t)(part * cells);
    append_char(canvas, '[');
    for (uint32_t cell = 0; cell < cells; cell++)
        append_styled(canvas, cell < filled ? STYLE_GREEN : STYLE_DIM, cell < filled ? "#" : "-");
    append_char(canvas, ']');
}

/* --- Tables --------------------------------------------------------------------------------------
 */

struct cell {
    enum style style;
    char *text;
};

struct table {
    const char *titles[TABLE_COLUMNS_MAX];
    bool is_number[TABLE_COLUMNS_MAX], is_optional[TABLE_COLUMNS_MAX], is_hidden[TABLE_COLUMNS_MAX];
    uint32_t widths[TABLE_COLUMNS_MAX];
    uint32_t columns_count;
    struct cell *cells;
    size_t cells_count, cells_capacity;
};

static void cell_add(struct table *table, enum style style, const char *text)
{
    if (table->cells_count == table->cells_capacity) {
        table->cells_capacity = table->cells_capacity ? 2 * table->cells_capacity : 64;
        table->cells =
            memory_realloc(table->cells, table->cells_capacity * sizeof(table->cells[0]));
    }
    size_t column = table->cells_count % table->columns_count;
    uint32_t chars = (uint32_t)strlen(text);
    if (chars > table->widths[column])
        table->widths[column] = chars;
    table->cells[table->cells_count++] =
        (struct cell){.style = style, .text = memory_copy_string(text)};
}

struct table *table_new(const char *const *titles, uint32_t columns_count)
{
    ASSERT(columns_count > 0 && columns_count <= TABLE_COLUMNS_MAX);
    struct table *table = memory_alloc_zeroed(1, sizeof *table);
    table->columns_count = columns_count;
    for (uint32_t column = 0; column < columns_count; column++) {
        const char *title = titles[column];
        for (; *title == '>' || *title == '?'; title++) {
            table->is_number[column] = table->is_number[column] || *title == '>';
            table->is_optional[column] = table->is_optional[column] || *title == '?';
        }
        table->titles[column] = title;
    }
    for (uint32_t column = 0; column < columns_count; column++)
        cell_add(table, STYLE_BOLD, table->titles[column]);
    return table;
}

void table_cell(struct table *table, enum style style, const char *format, ...)
{
    char text[CELL_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cell_add(table, style, text);
}

static uint32_t table_width(const struct table *table)
{
    uint32_t width = 0;
    for (uint32_t column = 0; column < table->columns_count; column++)
        width += table->is_hidden[column] ? 0 : table->widths[column] + 2;
    return width > 2 ? width - 2 : 0;
}

/* The last of what may go goes first. */
static void table_fit(struct table *table, uint32_t columns)
{
    for (uint32_t column = table->columns_count; column-- > 0;) {
        if (columns == 0 || table_width(table) <= columns)
            return;
        table->is_hidden[column] = table->is_optional[column];
    }
}

static void row_print(const struct table *table, const struct cell *cells, struct canvas *canvas)
{
    uint32_t at = 0;
    for (uint32_t column = 0; column < table->columns_count; column++) {
        if (table->is_hidden[column])
            continue;
        uint32_t chars = (uint32_t)strlen(cells[column].text);
        if (chars > 0)
            canvas_pad(canvas, at + (table->is_number[column] ? table->widths[column] - chars : 0));
        canvas_print(canvas, cells[column].style, "%s", cells[column].text);
        at += table->widths[column] + 2;
    }
    canvas_line_end(canvas);
}

void table_end(struct table *table_take, struct canvas *canvas)
{
    struct table *table = table_take;
    ASSERT(table->cells_count % table->columns_count == 0);
    table_fit(table, canvas->columns);
    for (size_t at = 0; at < table->cells_count; at += table->columns_count)
        row_print(table, table->cells + at, canvas);
    for (size_t at = 0; at < table->cells_count; at++)
        free(table->cells[at].text);
    free(table->cells);
    free(table);
}

/* --- Quantities ----------------------------------------------------------------------------------
 */

char *duration_print(uint64_t ms, char *text)
{
    uint64_t s = ms / 1000;
    if (ms < 10000)
        snprintf(text, QUANTITY_TEXT_BYTES, "%" PRIu64 ".%" PRIu64 " s", s, ms % 1000 / 100);
    else if (s < 60)
        snprintf(text, QUANTITY_TEXT_BYTES, "%" PRIu64 " s", s);
    else if (s < 3600)
        snprintf(text, QUANTITY_TEXT_BYTES, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, QUANTITY_TEXT_BYTES, "%" PRIu64 " h %" PRIu64 " min", s / 3600,
                 s % 3600 / 60);
    else
        snprintf(text, QUANTITY_TEXT_BYTES, "%" PRIu64 " d %" PRIu64 " h", s / 86400,
                 s % 86400 / 3600);
    return text;
}

char *bytes_count_print(uint64_t bytes_count, char *text)
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes_count;
    unsigned unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof UNITS / sizeof UNITS[0]; unit++)
        value /= 1024;
    snprintf(text, QUANTITY_TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, UNITS[unit]);
    return text;
}
