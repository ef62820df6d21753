/* assert.h: ASSERT stays on in release. It is for bugs; a user, a network or a disk never trips it.
 */
#pragma once

__attribute__((noreturn, cold)) void assert_failed(const char *expression, const char *file,
                                                   int line, const char *function);

#define ASSERT(expression)                                                                         \
    do {                                                                                           \
        if (__builtin_expect(!(expression), 0))                                                    \
            assert_failed(#expression, __FILE__, __LINE__, __func__);                              \
    } while (0)
