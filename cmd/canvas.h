/* canvas.h: lines and tables for a terminal, into a buffer. Knows how wide the terminal is and
 * whether it has colours; draws nothing by itself.
 *
 * What is printed may come from the network: a byte that is not printable ASCII becomes '?'. A line
 * that is too long is cut, with "..." in its last columns.
 */
#pragma once

#include "base/buffer.h"

#include <stdarg.h>
#include <stdint.h>

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GREEN, STYLE_YELLOW, STYLE_RED };

struct canvas {
    struct buffer text; /* canvas_fini frees it */
    bool has_colours;
    uint32_t columns; /* 0: lines are as long as they are */
    uint32_t column;  /* printed so far in this line */
    size_t cut_at;    /* where "..." goes, should it be cut */
    bool is_cut;
};
void canvas_init(struct canvas *canvas, bool has_colours, uint32_t columns);
void canvas_fini(struct canvas *canvas);
__attribute__((format(printf, 3, 4))) void canvas_print(struct canvas *canvas, enum style style,
                                                        const char *format, ...);
void canvas_line_end(struct canvas *canvas);
/* The same without the newline. */
void canvas_line_cut(struct canvas *canvas);
/* Spaces up to that column; nothing when it is passed. */
void canvas_pad(struct canvas *canvas, uint32_t column);
/* [#####-----], of `cells` cells; what is not whole is never drawn as whole. */
void canvas_bar(struct canvas *canvas, uint32_t cells, uint64_t done, uint64_t whole);

#define TABLE_COLUMNS_MAX 12u

/* Rows whose columns are as wide as they must be. A title that begins with '>' is of a column of
 * numbers, with '?' of one that is left out where there is no room. */
struct table;
struct table *table_new(const char *const *titles, uint32_t columns_count);
/* The next cell of the row; the row ends with its last column. */
__attribute__((format(printf, 3, 4))) void table_cell(struct table *table, enum style style,
                                                      const char *format, ...);
/* Prints it, and frees it. */
void table_end(struct table *table_take, struct canvas *canvas);

/* For people: "0.4 s", "3 min 4 s"; "512 B", "14.2 MiB". Return `text`. */
#define QUANTITY_TEXT_BYTES 32
char *duration_print(uint64_t ms, char *text);
char *bytes_count_print(uint64_t bytes_count, char *text);
