/* story_test.c: what is wrong in a story is found, and named by file and line. */
#include "tests/golden/raft_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum story_result run(const char *text, struct buffer *rewritten, char *report_text,
                             size_t report_bytes)
{
    struct buffer report = {0};
    struct raft_world *world = raft_world_new();
    enum story_result result =
        story_run("x.txt", bytes_of_string(text), raft_world_command, world, rewritten, &report);
    raft_world_free(world);
    snprintf(report_text, report_bytes, "%.*s", (int)report.bytes_count,
             report.data ? (const char *)report.data : "");
    buffer_fini(&report);
    return result;
}

static void expect_broken(const char *text, const char *expected)
{
    char report[4096];
    cr_expect_eq(run(text, NULL, report, sizeof report), STORY_BROKEN, "%s", text);
    cr_expect(strstr(report, expected), "\"%s\" is not in \"%s\"", expected, report);
    /* And just so when it is to be rewritten. */
    struct buffer rewritten = {0};
    if (!strstr(expected, "----") && !strstr(expected, "nothing says"))
        cr_expect_eq(run(text, &rewritten, report, sizeof report), STORY_BROKEN);
    buffer_fini(&rewritten);
}

Test(story, lines_that_make_no_sense_are_named)
{
    expect_broken("# a\n\nnodes 3\n----\nok\n\nfly 1\n----\n",
                  "x.txt:7: there is no command \"fly\"");
    expect_broken("nodes 3\nquietly\n----\n", "x.txt:2: quietly what?");
    expect_broken("elect 1\n----\n", "x.txt:1: a story begins with nodes COUNT");
    expect_broken("nodes\n----\n", "x.txt:1: how many nodes is missing");
    expect_broken("nodes 0\n----\n", "at least one");
    expect_broken("nodes 8\n----\n", "up to 7, not \"8\"");
    expect_broken("nodes -1\n----\n", "not \"-1\"");
    expect_broken("nodes 99999999999999999999999\n----\n", "not \"99999");
    expect_broken("nodes 3 voters=4\n----\n", "voters=K");
    expect_broken("nodes 3\nnodes 3\n----\n", "x.txt:2: there are nodes already");
    expect_broken("nodes 3\n# between\nelect 4\n----\n", "x.txt:3: a node is a number up to 3");
    expect_broken("nodes 3\nelect 0\n----\n", "nodes are 1 to 3");
    expect_broken("nodes 3\nelect 1 2\n----\n", "\"2\" is one word too many");
    expect_broken("nodes 3\ncrash 1\nelect 1\n----\n", "x.txt:3: 1 is down");
    expect_broken("nodes 3\nrestart 1\n----\n", "1 is up");
    expect_broken("nodes 3\npropose 1\n----\n", "what is proposed is missing");
    expect_broken("nodes 3\ndeliver 1 2\n----\n", "no such message");
    expect_broken("nodes 3\ntimeout 1\ndeliver 1 2 nth 0\n----\n", "the first is nth 1");
    expect_broken("nodes 3\ntimeout 1\ndeliver 1 2 2\n----\n", "nth K, not \"2\"");
    expect_broken("nodes 3\npersist 1\n----\n", "nothing to persist");
    expect_broken("nodes 3\nsnapshot\n----\n", "snapshot offer, install");
    expect_broken("nodes 3\nsnapshot eat 1 2\n----\n", "not \"eat\"");
    expect_broken("nodes 3\nsnapshot install 1 2\n----\n", "was offered no snapshot");
    expect_broken("nodes 3\nconfigure 1\n----\n", "voters=1,2,3 is missing");
    expect_broken("nodes 3\nconfigure 1 voters=1,9\n----\n", "\"9\" is no node");
    expect_broken("nodes 3\nconfigure 1 friends=1\n----\n", "not \"friends=1\"");
    expect_broken("nodes 3\ndisk 1 wet\n----\n", "slow or fine");
    expect_broken("nodes 3\npass x\n----\n", "milliseconds");
}

Test(story, blocks_that_are_no_blocks_are_named)
{
    expect_broken("nodes 3\n", "x.txt:1: nothing says what this prints (----)");
    expect_broken("nodes 3\n\nelect 1\n----\n", "x.txt:1: nothing says");
    expect_broken("\n\n----\nok\n", "x.txt:3: no command stands before this");
    char text[1024] = "nodes 3\npropose 1";
    for (int i = 0; i < 300; i++)
        strcat(text, "a");
    expect_broken(text, "x.txt:2: the line is too long");
    strcpy(text, "nodes 3\npropose 1");
    for (int i = 0; i < 30; i++)
        strcat(text, " a");
    expect_broken(text, "x.txt:2: the line is too long");
}

Test(story, what_differs_is_shown)
{
    char report[4096];
    cr_assert_eq(run("nodes 1\n----\nno\n", NULL, report, sizeof report), STORY_DIFFERS);
    cr_assert_str_eq(report, "x.txt:1: this is printed (! where it begins to differ):\n  ! ok\n");
    cr_assert_eq(run("nodes 1\n----\nok\nmore\n\n", NULL, report, sizeof report), STORY_DIFFERS);
    cr_assert(strstr(report, "(and nothing more)"));
    cr_assert_eq(run("nodes 1\n----\n", NULL, report, sizeof report), STORY_DIFFERS);
    cr_assert_eq(run("nodes 1\n----\nok", NULL, report, sizeof report), STORY_OK);
    cr_assert_eq(run("", NULL, report, sizeof report), STORY_OK);
}

Test(story, rewriting_changes_what_was_printed_and_nothing_else)
{
    char report[4096];
    struct buffer rewritten = {0};
    const char *text = "# Title\n\n# why\nnodes 1\n----\nold\n\n\n# end\nstate\n----\n\nlog 1";
    cr_assert_eq(run(text, &rewritten, report, sizeof report), STORY_DIFFERS);
    const char *expected =
        "# Title\n\n# why\nnodes 1\n----\nok\n\n\n# end\nstate\n----\n"
        "1  follower, term 0, vote 0, leader 0, log 1..0, durable 0, commit 0, applied 0\n\n"
        "log 1\n----\n1  log: nothing\n";
    cr_assert_eq(rewritten.bytes_count, strlen(expected), "%.*s", (int)rewritten.bytes_count,
                 (const char *)rewritten.data);
    cr_assert_eq(memcmp(rewritten.data, expected, rewritten.bytes_count), 0);
    /* What was written holds. */
    buffer_append_u8(&rewritten, 0);
    struct buffer again = {0};
    cr_assert_eq(run((const char *)rewritten.data, &again, report, sizeof report), STORY_OK);
    buffer_fini(&again);
    buffer_fini(&rewritten);
}
