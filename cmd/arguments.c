#include "cmd/arguments.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static bool number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *out_value)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *out_value = value;
    return errno == 0 && end != text && *end == '\0' && isdigit((unsigned char)text[0]) &&
           value >= min && value <= max;
}

uint64_t argument_number(struct argp_state *state, const char *flag, const char *text, uint64_t min,
                         uint64_t max)
{
    uint64_t value;
    if (!number_parse(text, min, max, &value))
        argp_error(state, "--%s: '%s' is not a whole number from %llu to %llu", flag, text,
                   (unsigned long long)min, (unsigned long long)max);
    return value;
}

uint64_t argument_operand(struct argp_state *state, const char *name, const char *text,
                          uint64_t min, uint64_t max)
{
    uint64_t value;
    if (!number_parse(text, min, max, &value))
        argp_error(state, "%s '%s' is not a whole number from %llu to %llu", name, text,
                   (unsigned long long)min, (unsigned long long)max);
    return value;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool argument_key(char *text, struct bytes *out_key)
{
    uint8_t *to = (uint8_t *)text;
    const char *from = text;
    while (*from) {
        if (from[0] != '\\') {
            *to++ = (uint8_t)*from++;
        } else if (from[1] == '\\') {
            *to++ = '\\';
            from += 2;
        } else if (from[1] == 'x' && hex_digit(from[2]) >= 0 && hex_digit(from[3]) >= 0) {
            *to++ = (uint8_t)(hex_digit(from[2]) * 16 + hex_digit(from[3]));
            from += 4;
        } else {
            return false;
        }
    }
    *out_key = bytes_of(text, (size_t)(to - (uint8_t *)text));
    return true;
}
