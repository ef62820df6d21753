/* arguments.h: values on a command line, checked; what is wrong ends the program with one line. */
#pragma once

#include "base/bytes.h"

#include <argp.h>
#include <stdint.h>

/* A whole number within [min, max], or argp_error naming the flag and the limits. */
uint64_t argument_number(struct argp_state *state, const char *flag, const char *text, uint64_t min,
                         uint64_t max);
/* The same for what is no flag: "STORE 'x' is not ...". */
uint64_t argument_operand(struct argp_state *state, const char *name, const char *text,
                          uint64_t min, uint64_t max);
/* A key as people write it: \xNN for any byte, \\ for a backslash. Decoded in place; false when it
 * does not parse. */
bool argument_key(char *text, struct bytes *out_key);
