#include "tests/golden/story.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A file that is being run. */
struct story {
    const char *name;
    struct bytes text;
    size_t at;
    uint32_t line_number; /* of the line that was taken last */
    struct buffer *rewritten;
    struct buffer *report;
};

void story_print(struct buffer *out, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int bytes_count = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ASSERT(bytes_count >= 0);
    size_t kept = (size_t)bytes_count < sizeof text ? (size_t)bytes_count : sizeof text - 1;
    buffer_append(out, text, kept);
}

bool story_line_split(struct bytes text, struct story_line *out_line)
{
    *out_line = (struct story_line){0};
    if (text.bytes_count >= sizeof out_line->text)
        return false;
    memcpy(out_line->text, text.data, text.bytes_count);
    char *rest = NULL;
    for (char *word = strtok_r(out_line->text, " \t", &rest); word;
         word = strtok_r(NULL, " \t", &rest)) {
        if (out_line->words_count == STORY_WORDS_MAX)
            return false;
        out_line->words[out_line->words_count++] = word;
    }
    return true;
}

/* The next line, without its end; false at the end of the text. */
static bool story_next(struct story *story, struct bytes *out_line)
{
    if (story->at == story->text.bytes_count)
        return false;
    const uint8_t *start = story->text.data + story->at;
    size_t left = story->text.bytes_count - story->at;
    const uint8_t *end = memchr(start, '\n', left);
    *out_line = bytes_of(start, end ? (size_t)(end - start) : left);
    story->at += out_line->bytes_count + (end != NULL);
    story->line_number++;
    return true;
}

static void story_keep(struct story *story, struct bytes line)
{
    if (!story->rewritten)
        return;
    buffer_append(story->rewritten, line.data, line.bytes_count);
    buffer_append(story->rewritten, "\n", 1);
}

static enum story_result story_broken(struct story *story, uint32_t line_number, const char *why)
{
    story_print(story->report, "%s:%u: %s\n", story->name, line_number, why);
    return STORY_BROKEN;
}

/* Runs one command line; what it prints ends with a line feed. */
static enum story_result story_command(struct story *story, struct bytes text,
                                       story_command_fn command, void *world, struct buffer *out)
{
    struct story_line line;
    char why[STORY_WHY_BYTES] = "";
    if (memchr(text.data, '\0', text.bytes_count))
        return story_broken(story, story->line_number, "a zero byte");
    if (!story_line_split(text, &line))
        return story_broken(story, story->line_number, "the line is too long");
    if (!command(world, &line, out, why))
        return story_broken(story, story->line_number, why);
    return STORY_OK;
}

static struct bytes text_line(struct bytes text, size_t at)
{
    if (at >= text.bytes_count)
        return bytes_of(NULL, 0);
    const uint8_t *end = memchr(text.data + at, '\n', text.bytes_count - at);
    size_t count = end ? (size_t)(end - (text.data + at)) : text.bytes_count - at;
    return bytes_of(text.data + at, count);
}

/* Both whole, with the first line that differs marked. */
static void story_differs(struct story *story, uint32_t line_number, struct bytes expected,
                          struct bytes printed)
{
    size_t expected_at = 0, printed_at = 0;
    bool same = true;
    story_print(story->report, "%s:%u: this is printed (! where it begins to differ):\n",
                story->name, line_number);
    while (printed_at < printed.bytes_count) {
        struct bytes line = text_line(printed, printed_at);
        struct bytes other = text_line(expected, expected_at);
        bool differs = same && (expected_at >= expected.bytes_count || !bytes_equal(line, other));
        same = same && !differs;
        story_print(story->report, "  %c %.*s\n", differs ? '!' : ' ', (int)line.bytes_count,
                    (const char *)line.data);
        printed_at += line.bytes_count + 1;
        expected_at += other.bytes_count + 1;
    }
    if (same)
        story_print(story->report, "  ! (and nothing more)\n");
}

/* What was expected, up to the empty line or the end. */
static struct bytes story_expected(struct story *story, bool *out_ended)
{
    const uint8_t *start = story->text.data + story->at;
    size_t bytes_count = 0;
    struct bytes line;
    *out_ended = false;
    while (story_next(story, &line)) {
        if (line.bytes_count == 0) {
            *out_ended = true;
            break;
        }
        bytes_count += line.bytes_count + 1;
    }
    if (start + bytes_count > story->text.data + story->text.bytes_count)
        bytes_count--; /* the last line has no end */
    return bytes_of(start, bytes_count);
}

static bool line_is_comment(struct bytes line)
{
    size_t at = 0;
    while (at < line.bytes_count && (line.data[at] == ' ' || line.data[at] == '\t'))
        at++;
    return at == line.bytes_count || line.data[at] == '#';
}

static bool texts_equal(struct bytes expected, struct bytes printed)
{
    if (expected.bytes_count + 1 == printed.bytes_count)
        printed.bytes_count--; /* the file's last line may lack its end */
    return bytes_equal(expected, printed);
}

/* One block from its first command to the empty line behind it. */
static enum story_result story_block(struct story *story, struct bytes line,
                                     story_command_fn command, void *world)
{
    struct buffer printed = {0};
    enum story_result result = STORY_OK;
    bool has_line = true, is_separated = false, ended = false;
    uint32_t block_line_number = story->line_number;
    struct bytes expected = bytes_of(NULL, 0);
    for (; result == STORY_OK && has_line && line.bytes_count != 0;
         has_line = story_next(story, &line)) {
        if (bytes_equal(line, bytes_of_string("----"))) {
            is_separated = true;
            break;
        }
        story_keep(story, line);
        if (!line_is_comment(line))
            result = story_command(story, line, command, world, &printed);
    }
    if (printed.bytes_count == 0)
        story_print(&printed, "ok\n");
    if (result == STORY_OK && is_separated)
        expected = story_expected(story, &ended);
    else
        ended = has_line;
    if (result == STORY_OK && !is_separated && !story->rewritten)
        result = story_broken(story, block_line_number, "nothing says what this prints (----)");
    if (result == STORY_OK && !texts_equal(expected, buffer_bytes(&printed))) {
        result = STORY_DIFFERS;
        if (!story->rewritten)
            story_differs(story, block_line_number, expected, buffer_bytes(&printed));
    }
    if (story->rewritten) {
        buffer_append(story->rewritten, "----\n", 5);
        buffer_append(story->rewritten, printed.data, printed.bytes_count);
        if (ended)
            buffer_append(story->rewritten, "\n", 1);
    }
    buffer_fini(&printed);
    return result;
}

enum story_result story_run(const char *name, struct bytes text, story_command_fn command,
                            void *world, struct buffer *rewritten, struct buffer *report)
{
    struct story story = {.name = name, .text = text, .rewritten = rewritten, .report = report};
    enum story_result result = STORY_OK;
    struct bytes line;
    while (story_next(&story, &line)) {
        if (line_is_comment(line)) {
            story_keep(&story, line);
            continue;
        }
        if (bytes_equal(line, bytes_of_string("----")))
            return story_broken(&story, story.line_number, "no command stands before this");
        enum story_result block = story_block(&story, line, command, world);
        if (block == STORY_BROKEN || (block == STORY_DIFFERS && !rewritten))
            return block; /* what follows would differ by it */
        if (block == STORY_DIFFERS)
            result = block;
    }
    return result;
}
