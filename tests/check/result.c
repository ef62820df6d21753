#include "tests/check/result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void check_result_init(struct check_result *result)
{
    memset(result, 0, sizeof *result);
}

static void result_name(struct check_result *result, const char *name)
{
    if (check_result_has(result, name))
        return;
    size_t used = strlen(result->names);
    (void)snprintf(result->names + used, sizeof result->names - used, "%s%s", used ? " " : "",
                   name);
}

__attribute__((format(printf, 3, 0))) static void result_describe(struct check_result *result,
                                                                  const char *name,
                                                                  const char *format,
                                                                  va_list arguments)
{
    (void)snprintf(result->name, sizeof result->name, "%s", name);
    (void)vsnprintf(result->explanation, sizeof result->explanation, format, arguments);
}

void check_result_violation(struct check_result *result, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (result->verdict != CHECK_VIOLATION)
        result_describe(result, name, format, arguments);
    va_end(arguments);
    result->verdict = CHECK_VIOLATION;
    result->violations_count++;
    result_name(result, name);
}

void check_result_undecided(struct check_result *result, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (result->verdict == CHECK_OK)
        result_describe(result, name, format, arguments);
    va_end(arguments);
    if (result->verdict == CHECK_OK)
        result->verdict = CHECK_UNDECIDED;
    result->undecided_count++;
    result_name(result, name);
}

bool check_result_has(const struct check_result *result, const char *name)
{
    size_t name_bytes = strlen(name);
    for (const char *at = result->names; *at;) {
        size_t word_bytes = strcspn(at, " ");
        if (word_bytes == name_bytes && memcmp(at, name, name_bytes) == 0)
            return true;
        at += word_bytes;
        at += *at == ' ';
    }
    return false;
}

const char *check_verdict_name(enum check_verdict verdict)
{
    switch (verdict) {
    case CHECK_OK:
        return "ok";
    case CHECK_VIOLATION:
        return "violation";
    case CHECK_UNDECIDED:
        return "undecided";
    }
    return "unknown";
}
