/* story.h: text files that are tests and documentation at once.
 *
 * A story is a text of blocks: comments (# ...), one command a line, a line "----", what the
 * commands print ("ok" when that is nothing), and an empty line. Running it compares; rewriting it
 * replaces what was printed and leaves everything else as it is. (The form is that of CockroachDB's
 * datadriven and of etcd raft's testdata.)
 *
 * What a world refuses is output, and so part of the story. A line that makes no sense (a command
 * that is not there, a node that is not up) is an error of the file, and named by file and line.
 */
#pragma once

#include "base/buffer.h"

#define STORY_WORDS_MAX      24
#define STORY_LINE_BYTES_MAX 256
#define STORY_WHY_BYTES      512

struct story_line {
    char text[STORY_LINE_BYTES_MAX];
    const char *words[STORY_WORDS_MAX];
    uint32_t words_count;
};

/* Carries out one command and prints into `out`. False: the line makes no sense; `out_why` (of
 * STORY_WHY_BYTES) says in what way. */
typedef bool (*story_command_fn)(void *world, const struct story_line *line, struct buffer *out,
                                 char *out_why);

enum story_result { STORY_OK, STORY_DIFFERS, STORY_BROKEN };

/* `name` is for messages. `text` is the file. STORY_BROKEN, and STORY_DIFFERS
 * when nothing is rewritten, say in `report` where and how. `rewritten` (may be NULL) gets the text
 * with what was printed now. */
enum story_result story_run(const char *name, struct bytes text, story_command_fn command,
                            void *world, struct buffer *rewritten, struct buffer *report);

/* The same for a line, for worlds with commands in commands. False: too long or too many words. */
bool story_line_split(struct bytes text, struct story_line *out_line);

void story_print(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
