#include "base/log.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>

#define LINE_BYTES_MAX 1024

static char last_line[4096];
static enum log_level last_level;
static int lines_count;

static void sink_keep(enum log_level level, const char *line, void *context)
{
    cr_assert_eq(context, &lines_count);
    cr_assert_lt(strlen(line), LINE_BYTES_MAX);
    snprintf(last_line, sizeof(last_line), "%s", line);
    last_level = level;
    lines_count++;
}

static void setup(void)
{
    log_set_sink(sink_keep, &lines_count);
    log_set_level(LOG_DEBUG);
}

TestSuite(log, .init = setup);

Test(log, writes_level_message_and_pairs)
{
    log_write(LOG_INFO, "became leader", "store=%d group=%d term=%lu", 3, 2, 7ul);
    cr_expect_str_eq(last_line, "level=info msg=\"became leader\" store=3 group=2 term=7");
    cr_expect_eq(last_level, LOG_INFO);
    log_write(LOG_ERROR, "stopping", "%s", "");
    cr_expect_str_eq(last_line, "level=error msg=\"stopping\"");
}

Test(log, level_decides)
{
    log_set_level(LOG_WARN);
    log_write(LOG_INFO, "no", "a=%d", 1);
    log_write(LOG_DEBUG, "no", "a=%d", 1);
    cr_expect_eq(lines_count, 0);
    log_write(LOG_WARN, "yes", "a=%d", 1);
    log_write(LOG_ERROR, "yes", "a=%d", 1);
    cr_expect_eq(lines_count, 2);
}

Test(log, level_words)
{
    enum log_level level = LOG_ERROR;
    cr_expect(log_level_parse("debug", &level) && level == LOG_DEBUG);
    cr_expect(log_level_parse("error", &level) && level == LOG_ERROR);
    cr_expect(log_level_parse("warn", &level) && level == LOG_WARN);
    cr_expect(log_level_parse("info", &level) && level == LOG_INFO);
    cr_expect_not(log_level_parse("", &level));
    cr_expect_not(log_level_parse("INFO", &level));
    cr_expect_not(log_level_parse("information", &level));
    cr_expect_eq(level, LOG_INFO);
}

Test(log, message_is_quoted)
{
    log_write(LOG_INFO, "a \"b\" \\ c\nlevel=error", "x=%d", 1);
    cr_expect_str_eq(last_line, "level=info msg=\"a \\\"b\\\" \\\\ c\\nlevel=error\" x=1");
}

Test(log, pairs_cannot_begin_a_second_record)
{
    log_write(LOG_WARN, "refused", "name=\"%s\"", "a\nts=0 level=error msg=forged\r\x1b[2J");
    cr_expect_str_eq(
        last_line,
        "level=warn msg=\"refused\" name=\"a\\nts=0 level=error msg=forged\\x0d\\x1b[2J\"");
}

Test(log, open_quote_is_closed)
{
    log_write(LOG_WARN, "m", "name=\"%s", "a b");
    cr_expect_str_eq(last_line, "level=warn msg=\"m\" name=\"a b\"");
}

static void expect_cut(const char *end)
{
    size_t bytes_count = strlen(last_line);
    cr_expect_lt(bytes_count, LINE_BYTES_MAX);
    cr_expect_gt(bytes_count, LINE_BYTES_MAX - 16);
    cr_expect_str_eq(last_line + bytes_count - strlen(end), end);
}

Test(log, overlong_record_is_cut)
{
    static char text[3000];
    memset(text, 'x', sizeof(text) - 1);
    log_write(LOG_INFO, "long", "plain=%s", text);
    expect_cut("xxx...");
    log_write(LOG_INFO, "long", "quoted=\"%s\" last=1", text);
    expect_cut("xxx...\"");
    log_write(LOG_INFO, text, "a=%d", 1);
    expect_cut("xxx...\"");
}

Test(log, cut_never_splits_a_character_or_an_escape)
{
    static char text[3000];
    for (size_t shift = 0; shift < 8; shift++) {
        memset(text, 'x', shift);
        for (size_t at = shift; at + 3 < sizeof(text); at += 3)
            memcpy(text + at, "\xe2\x82\xac", 4);
        log_write(LOG_INFO, "long", "value=\"%s\"", text);
        expect_cut("\xe2\x82\xac...\"");

        memset(text, 'x', shift);
        memset(text + shift, '\n', 2000);
        text[shift + 2000] = '\0';
        log_write(LOG_INFO, text, "a=%d", 1);
        expect_cut("\\n...\"");
    }
}

/* Whatever comes in, one line of bounded length with closed quotes goes out. */
Test(log, random_text_stays_one_record)
{
    static char message[1500];
    static char value[1500];
    struct random random;
    random_init(&random, 11);
    for (int round = 0; round < 20000; round++) {
        char *texts[] = {message, value};
        for (int which = 0; which < 2; which++) {
            size_t bytes_count = random_below(&random, random_below(&random, 8) == 0 ? 1500 : 40);
            for (size_t index = 0; index < bytes_count; index++)
                texts[which][index] = (char)(1 + random_below(&random, 255));
            texts[which][bytes_count] = '\0';
        }
        log_write(LOG_DEBUG, message, "%s", value);
        bool quote_open = false;
        for (const char *at = last_line; *at != '\0'; at++) {
            unsigned char byte = (unsigned char)*at;
            cr_assert(byte >= 0x20 && byte != 0x7f);
            if (byte == '\\' && at[1] != '\0')
                at++;
            else if (byte == '"')
                quote_open = !quote_open;
        }
        cr_assert_not(quote_open, "%s", last_line);
    }
}

/* A suite of its own: nothing is set before. */
Test(log_default, goes_to_stderr_without_debug, .init = cr_redirect_stderr)
{
    log_write(LOG_INFO, "started", "store=%d", 1);
    log_write(LOG_DEBUG, "off by default", "store=%d", 1);
    fflush(stderr);
    cr_expect_stderr_eq_str("level=info msg=\"started\" store=1\n");
}
