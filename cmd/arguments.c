#include "cmd/arguments.h"

#include "base/memory.h"
#include "base/types.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

uint64_t argument_number(struct argp_state *state, const char *flag, const char *text, uint64_t min,
                         uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || !isdigit((unsigned char)text[0]) ||
        value < min || value > max)
        argp_error(state, "--%s: '%s' is not a whole number from %llu to %llu", flag, text,
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

static int compare_stores(const void *a, const void *b)
{
    const Ostraka__StoreInfo *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

size_t argument_stores(struct argp_state *state, const char *flag, const char *text,
                       Ostraka__StoreInfo **out_stores)
{
    char *copy = memory_copy_string(text); /* the addresses stay in it */
    Ostraka__StoreInfo *stores = memory_alloc(REPLICAS_PER_GROUP_MAX * sizeof *stores);
    size_t count = 0;
    for (char *word; (word = strsep(&copy, ",")) != NULL;) {
        char *equals = strchr(word, '=');
        if (!equals || !strchr(equals, ':'))
            argp_error(state, "--%s: '%s' is not ID=HOST:PORT", flag, word);
        if (count == REPLICAS_PER_GROUP_MAX)
            argp_error(state, "--%s: at most %u stores", flag, REPLICAS_PER_GROUP_MAX);
        *equals = '\0';
        ostraka__store_info__init(&stores[count]);
        stores[count].id = argument_number(state, flag, word, 1, STORES_COUNT_MAX);
        stores[count++].address = equals + 1;
    }
    qsort(stores, count, sizeof *stores, compare_stores);
    for (size_t i = 1; i < count; i++)
        if (stores[i].id == stores[i - 1].id)
            argp_error(state, "--%s: store %llu is named twice", flag,
                       (unsigned long long)stores[i].id);
    *out_stores = stores;
    return count;
}
