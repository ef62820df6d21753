/* raft_stories.c: runs the stories about consensus.
 *
 *     raft_stories [--rewrite] FILE...
 *
 * Without --rewrite it compares, and fails where a story is not what happens. With it the files are
 * brought to what happens; look at the difference before you keep it. */
#include "tests/golden/raft_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool file_read(const char *path, struct buffer *out_text)
{
    uint8_t chunk[4096];
    size_t count;
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    while ((count = fread(chunk, 1, sizeof chunk, file)) > 0)
        buffer_append(out_text, chunk, count);
    bool is_read = ferror(file) == 0;
    return fclose(file) == 0 && is_read;
}

static bool file_write(const char *path, const struct buffer *text)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return false;
    bool is_written = fwrite(text->data, 1, text->bytes_count, file) == text->bytes_count;
    return fclose(file) == 0 && is_written;
}

static bool story_file(const char *path, bool rewrite)
{
    struct buffer text = {0}, rewritten = {0}, report = {0};
    bool is_good = false;
    if (!file_read(path, &text)) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
    } else {
        struct raft_world *world = raft_world_new();
        enum story_result result = story_run(path, buffer_bytes(&text), raft_world_command, world,
                                             rewrite ? &rewritten : NULL, &report);
        raft_world_free(world);
        is_good = result == STORY_OK || (rewrite && result == STORY_DIFFERS);
        if (!is_good)
            fprintf(stderr, "%.*s", (int)report.bytes_count, (const char *)report.data);
        if (rewrite && result == STORY_DIFFERS && !file_write(path, &rewritten)) {
            fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
            is_good = false;
        }
    }
    buffer_fini(&text);
    buffer_fini(&rewritten);
    buffer_fini(&report);
    return is_good;
}

int main(int arguments_count, char **arguments)
{
    bool rewrite = arguments_count > 1 && strcmp(arguments[1], "--rewrite") == 0;
    int failed_count = 0, stories_count = 0;
    for (int i = 1 + rewrite; i < arguments_count; i++, stories_count++)
        failed_count += !story_file(arguments[i], rewrite);
    if (stories_count == 0) {
        fprintf(stderr, "usage: raft_stories [--rewrite] FILE...\n");
        return 2;
    }
    printf("%d of %d stories %s\n", stories_count - failed_count, stories_count,
           rewrite ? "written" : "hold");
    return failed_count ? 1 : 0;
}
