#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LOG_LINE_BYTES_MAX 1024u
/* Behind a line that was cut: the mark, a quote to close what stood open, and the NUL. */
#define LOG_CUT_MARK  "..."
#define LOG_END_BYTES 5u

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
#define LEVELS_COUNT (sizeof(level_names) / sizeof(level_names[0]))

static void sink_stderr(enum log_level level, const char *line, void *context)
{
    (void)level;
    (void)context;
    /* In one piece, so that the lines of two threads do not mix. */
    char text[LOG_LINE_BYTES_MAX + 1];
    snprintf(text, sizeof(text), "%s\n", line);
    fputs(text, stderr);
}

/* The sink is set before other threads start; the level may be changed at any time. */
static log_sink_fn log_sink = sink_stderr;
static void *log_sink_context;
static _Atomic int log_level_max = LOG_INFO;

void log_set_sink(log_sink_fn sink, void *context)
{
    log_sink = sink ? sink : sink_stderr;
    log_sink_context = context;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level_max, (int)level, memory_order_relaxed);
}

bool log_level_parse(const char *word, enum log_level *out)
{
    for (size_t index = 0; index < LEVELS_COUNT; index++) {
        if (strcmp(word, level_names[index]) == 0) {
            *out = (enum log_level)index;
            return true;
        }
    }
    return false;
}

/* A line in the making. It is cut between whole characters and escapes, never inside one. */
struct line {
    char text[LOG_LINE_BYTES_MAX];
    size_t bytes_count;
    bool quote_open;
    bool cut;
};

static void line_append(struct line *line, const char *unit, size_t bytes_count)
{
    if (line->cut || bytes_count > sizeof(line->text) - LOG_END_BYTES - line->bytes_count) {
        line->cut = true;
        return;
    }
    memcpy(line->text + line->bytes_count, unit, bytes_count);
    line->bytes_count += bytes_count;
}

static void line_append_text(struct line *line, const char *text)
{
    line_append(line, text, strlen(text));
}

static void line_append_quote(struct line *line)
{
    line_append(line, "\"", 1);
    if (!line->cut)
        line->quote_open = !line->quote_open;
}

/* A newline would forge a record. */
static void line_append_control(struct line *line, unsigned char byte)
{
    char escape[8];
    if (byte == '\n')
        line_append(line, "\\n", 2);
    else
        line_append(line, escape, (size_t)snprintf(escape, sizeof(escape), "\\x%02x", byte));
}

static bool byte_is_control(unsigned char byte)
{
    return byte < 0x20 || byte == 0x7f;
}

/* The bytes of the UTF-8 character at `text`, as far as they are there. */
static size_t character_bytes(const char *text)
{
    size_t bytes_count = 1;
    if ((unsigned char)text[0] >= 0xc0) {
        while (bytes_count < 4 && ((unsigned char)text[bytes_count] & 0xc0) == 0x80)
            bytes_count++;
    }
    return bytes_count;
}

static void line_append_message(struct line *line, const char *message)
{
    line_append_quote(line);
    while (*message != '\0' && !line->cut) {
        unsigned char byte = (unsigned char)*message;
        size_t bytes_count = character_bytes(message);
        if (byte == '"' || byte == '\\')
            line_append(line, (char[]){'\\', (char)byte}, 2);
        else if (byte_is_control(byte))
            line_append_control(line, byte);
        else
            line_append(line, message, bytes_count);
        message += bytes_count;
    }
    line_append_quote(line);
}

/* The pairs come formatted; only what would break the record is looked for. */
static void line_append_pairs(struct line *line, const char *pairs)
{
    while (*pairs != '\0' && !line->cut) {
        unsigned char byte = (unsigned char)*pairs;
        size_t bytes_count = character_bytes(pairs);
        if (byte == '\\' && pairs[1] != '\0' && !byte_is_control((unsigned char)pairs[1])) {
            bytes_count = 1 + character_bytes(pairs + 1);
            line_append(line, pairs, bytes_count);
        } else if (byte == '"') {
            line_append_quote(line);
        } else if (byte == '\\') {
            /* Alone it would escape the quote that closes the value. */
            line_append(line, "\\\\", 2);
        } else if (byte_is_control(byte)) {
            line_append_control(line, byte);
        } else {
            line_append(line, pairs, bytes_count);
        }
        pairs += bytes_count;
    }
}

static void line_finish(struct line *line)
{
    if (line->cut) {
        memcpy(line->text + line->bytes_count, LOG_CUT_MARK, sizeof(LOG_CUT_MARK) - 1);
        line->bytes_count += sizeof(LOG_CUT_MARK) - 1;
    }
    /* What the caller left open is closed too. */
    if (line->quote_open)
        line->text[line->bytes_count++] = '"';
    line->text[line->bytes_count] = '\0';
}

void log_write(enum log_level level, const char *message, const char *pairs, ...)
{
    if ((int)level > atomic_load_explicit(&log_level_max, memory_order_relaxed))
        return;
    struct line line;
    line.bytes_count = 0;
    line.quote_open = false;
    line.cut = false;
    line_append_text(&line, "level=");
    line_append_text(&line, level_names[level]);
    line_append_text(&line, " msg=");
    line_append_message(&line, message);

    /* As long as a whole line: what is cut off here would not have had room either. */
    char formatted[LOG_LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, pairs);
    int wanted = vsnprintf(formatted, sizeof(formatted), pairs, arguments);
    va_end(arguments);
    if (wanted > 0) {
        line_append_text(&line, " ");
        line_append_pairs(&line, formatted);
    }
    line_finish(&line);
    log_sink(level, line.text, log_sink_context);
}

bool log_limit_passes(struct log_limit *limit, nanoseconds_t now_ns, uint64_t *out_left_out_count)
{
    *out_left_out_count = limit->left_out_count;
    if (now_ns < limit->next_ns) {
        limit->left_out_count++;
        return 0;
    }
    limit->left_out_count = 0;
    limit->next_ns = now_ns + LOG_LIMIT_NS;
    return 1;
}
