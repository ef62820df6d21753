#include "tests/sim/trace.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

static const struct {
    const char *format;
    bool is_detail;
} kinds[] = {
#define TRACE_FORMAT(kind, is_detail, format) {format, is_detail},
    TRACE_KINDS(TRACE_FORMAT)
#undef TRACE_FORMAT
};

void trace_init(struct trace *trace, const nanoseconds_t *now_ns, FILE *story, bool is_full)
{
    *trace = (struct trace){
        .state = XXH3_createState(), .story = story, .is_full = is_full, .now_ns = now_ns};
    ASSERT(trace->state);
    XXH3_64bits_reset(trace->state);
}

void trace_fini(struct trace *trace)
{
    XXH3_freeState(trace->state);
}

static void story_time(struct trace *trace)
{
    fprintf(trace->story, "%4" PRIu64 ".%06" PRIu64 " ", *trace->now_ns / NS_PER_S,
            *trace->now_ns % NS_PER_S / 1000);
}

void trace_event(struct trace *trace, enum trace_kind kind, uint64_t a, uint64_t b, uint64_t c,
                 uint64_t d)
{
    const uint64_t numbers[6] = {*trace->now_ns, kind, a, b, c, d};
    XXH3_64bits_update(trace->state, numbers, sizeof numbers);
    trace->events_count++;
    if (!trace->story || (kinds[kind].is_detail && !trace->is_full))
        return;
    story_time(trace);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    fprintf(trace->story, kinds[kind].format, a, b, c, d);
#pragma GCC diagnostic pop
    fputc('\n', trace->story);
}

void trace_log(struct trace *trace, const char *line)
{
    XXH3_64bits_update(trace->state, line, strlen(line));
    trace->events_count++;
    if (!trace->story)
        return;
    story_time(trace);
    fprintf(trace->story, "  %s\n", line);
}

void trace_tell(struct trace *trace, const char *format, ...)
{
    if (!trace->story)
        return;
    story_time(trace);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(trace->story, format, arguments);
    va_end(arguments);
    fputc('\n', trace->story);
}

uint64_t trace_hash(const struct trace *trace)
{
    return XXH3_64bits_digest(trace->state);
}
