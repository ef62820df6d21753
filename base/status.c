#include "base/status.h"

#include <ctype.h>
#include <stddef.h>

#define STATUS_NAME_BYTES_MAX 32

/* A number that is given twice does not compile: it would be a duplicate case below. */
const char *ost_status_text(int status)
{
    switch (status) {
#define STATUS_CASE(name, number, class, text)                                                     \
    case number:                                                                                   \
        return text;
        OST_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    default:
        return "unknown status";
    }
}

enum ost_status_class ost_status_class(int status)
{
    switch (status) {
#define STATUS_CASE(name, number, class, text)                                                     \
    case number:                                                                                   \
        return OST_CLASS_##class;
        OST_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    default:
        /* A newer peer's code: whether it did anything is not for us to guess. */
        return OST_CLASS_MAYBE_COMMITTED;
    }
}

/* The names in lower case. They are made once, before main and any thread, so that reading them
 * needs no lock. */
static struct {
#define STATUS_FIELD(name, number, class, text) char name##_name[STATUS_NAME_BYTES_MAX];
    OST_STATUS_LIST(STATUS_FIELD)
#undef STATUS_FIELD
} names;

static void name_fill(char *out, const char *name)
{
    const char *from = name + sizeof("OST_") - 1;
    size_t index = 0;
    for (; from[index] != '\0'; index++)
        out[index] = (char)tolower((unsigned char)from[index]);
    out[index] = '\0';
}

__attribute__((constructor(101))) static void names_fill(void)
{
#define STATUS_FILL(name, number, class, text)                                                     \
    _Static_assert(sizeof(#name) <= STATUS_NAME_BYTES_MAX, "name too long");                       \
    name_fill(names.name##_name, #name);
    OST_STATUS_LIST(STATUS_FILL)
#undef STATUS_FILL
}

const char *ost_status_name(int status)
{
    switch (status) {
#define STATUS_CASE(name, number, class, text)                                                     \
    case number:                                                                                   \
        return names.name##_name;
        OST_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    default:
        return "unknown";
    }
}
