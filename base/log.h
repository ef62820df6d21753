/* log.h: logfmt on stderr: `ts=... level=info store=3 group=2 msg="became leader" term=7`.
 *
 * error = someone must act; warn = degraded; info = a role or the map changed; debug = off by
 * default. Never a user's value; keys only through key_print. The time is printed by the sink,
 * which the process sets: the cores that log read no clock.
 */
#pragma once

#include "base/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* `line` is one record without its time and newline. */
typedef void (*log_sink_fn)(enum log_level level, const char *line, void *context);

/* The sink of the process; until it is set, lines go to stderr without a time. */
void log_set_sink(log_sink_fn sink, void *context);
void log_set_level(enum log_level level);
/* False for a word that is no level. */
bool log_level_parse(const char *word, enum log_level *out);

/* log_write(LOG_INFO, "became leader", "store=%lu group=%lu term=%lu", ...): the second text holds
 * the logfmt pairs, without msg; values with spaces are quoted by the caller (\"%s\"). */
__attribute__((format(printf, 3, 4))) void log_write(enum log_level level, const char *message,
                                                     const char *pairs, ...);

/* For what may come again and again: at most one line in LOG_LIMIT_NS passes, and says how many
 * were left out before it. Zeroed: none came yet. */
#define LOG_LIMIT_NS (10 * NS_PER_S)
struct log_limit {
    nanoseconds_t next_ns;
    uint64_t left_out_count;
};
bool log_limit_passes(struct log_limit *limit, nanoseconds_t now_ns, uint64_t *out_left_out_count);
