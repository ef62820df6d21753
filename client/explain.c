/* explain.c: why a transaction was refused, in one line for people. */
#include "client/core_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct line {
    char *text;
    size_t at, bytes_max;
};

__attribute__((format(printf, 2, 3))) static void line_add(struct line *line, const char *format,
                                                           ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (line->at + 1 < line->bytes_max) {
        int added = vsnprintf(line->text + line->at, line->bytes_max - line->at, format, arguments);
        line->at += added > 0 ? (size_t)added : 0;
        if (line->at >= line->bytes_max)
            line->at = line->bytes_max - 1;
    }
    va_end(arguments);
}

static const char *loss_text(enum participant_loss loss)
{
    switch (loss) {
    case LOSS_LEADER_CHANGED:
        return "the leader of its group changed";
    case LOSS_EXPIRED:
        return "nothing was heard of it for too long, and its locks expired";
    case LOSS_RANGE_MOVES:
        return "a range that it had locked moves";
    case LOSS_UNSAID:
        break;
    }
    return NULL;
}

void explain_reason(const struct client_core *core, const struct coordinator_reason *reason,
                    char *text, size_t text_bytes_max)
{
    struct line line = {text, 0, text_bytes_max};
    char key[KEY_TEXT_BYTES];
    text[0] = '\0';
    if (reason->text)
        line_add(&line, "%.160s", reason->text);
    else if (reason->status == OST_LOCKS_LOST && loss_text(reason->loss))
        line_add(&line, "%s", loss_text(reason->loss));
    if (reason->key.bytes_count)
        line_add(&line, "%skey %s", line.at ? "; " : "", key_print(reason->key, key, sizeof(key)));
    if (reason->other.client)
        line_add(&line, "%s%s transaction %016" PRIx64 "/%" PRIu64 ", begun %" PRIu64 " ms ago",
                 line.at ? "; " : "", reason->status == OST_WOUNDED ? "for" : "behind",
                 reason->other.client, reason->other.sequence,
                 core_age_ms(core, &reason->other_age));
    if (reason->waited_ms)
        line_add(&line, "%swaited %" PRIu64 " ms", line.at ? "; " : "", reason->waited_ms);
}
