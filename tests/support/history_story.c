#include "tests/support/history_story.h"

#include "base/assert.h"

#include <criterion/criterion.h>
#include <string.h>

#define STORY_LINE_BYTES 1024

static void story_line(struct history *history, const char *line, size_t bytes_count,
                       unsigned int number)
{
    char json[STORY_LINE_BYTES], why[HISTORY_WHY_BYTES];
    char type[16], function[16];
    unsigned int process;
    int value_at = 0;
    cr_assert_lt(bytes_count, sizeof json / 2);
    cr_assert_eq(sscanf(line, "%u %15s %15s %n", &process, type, function, &value_at), 3);
    (void)snprintf(json, sizeof json,
                   "{\"time\":%u,\"process\":%u,\"type\":\"%s\",\"f\":\"%s\",\"value\":%.*s}",
                   number, process, type, function, (int)bytes_count - value_at, line + value_at);
    for (char *at = json; *at; at++)
        if (*at == '\'')
            *at = '"';
    cr_assert_eq(history_read_line(history, json, strlen(json), why), OST_OK, "%s: %s", json, why);
}

struct history *history_story(const char *text)
{
    struct history *history = history_new();
    for (unsigned int number = 1; *text; number++) {
        size_t bytes_count = strcspn(text, "\n");
        story_line(history, text, bytes_count, number);
        text += bytes_count + (text[bytes_count] == '\n');
    }
    return history;
}
