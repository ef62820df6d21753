/* session.h: what these programs begin and end with. */
#pragma once

#include <signal.h>
#include <stdint.h>

#define EXIT_INTERRUPTED 130

/* Set by the first SIGINT, SIGTERM or SIGHUP. */
extern volatile sig_atomic_t interrupted;

/* From now on a signal asks for the end. Asked again a second later, the program ends at once: the
 * kernel kills the stores, only the data stays. (Some wrappers send a signal twice.) */
void session_begin(void);

/* A line "program: what: why" on standard error; returns EXIT_FAILURE. */
int session_fail(const char *what, const char *why);

uint64_t now_ns(void);
void rest_ms(uint32_t ms);
static inline double ms_of(uint64_t ns)
{
    return (double)ns / 1e6;
}
