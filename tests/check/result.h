/* result.h: what a checker found. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CHECK_NAME_BYTES        32
#define CHECK_NAMES_BYTES       160
#define CHECK_EXPLANATION_BYTES 4096

enum check_verdict {
    CHECK_OK,
    CHECK_VIOLATION,
    CHECK_UNDECIDED, /* not shown to be right: treat it as a failure, never as a pass */
};

struct check_result {
    enum check_verdict verdict;
    char name[CHECK_NAME_BYTES];               /* of the worst anomaly; "" when ok */
    char names[CHECK_NAMES_BYTES];             /* of all anomalies found, with blanks between */
    char explanation[CHECK_EXPLANATION_BYTES]; /* of the worst one, for people; cut to fit */
    uint64_t judged_count;                     /* operations, entries or outcomes looked at */
    uint64_t unknown_count;   /* of these, operations whose client never learnt the outcome */
    uint64_t undecided_count; /* keys whose check was given up at its limit of steps */
    uint64_t violations_count;
};

void check_result_init(struct check_result *result);
/* Adds an anomaly. The first one added gives name and explanation, so that checkers add the worst
 * first; further names are only listed. */
__attribute__((format(printf, 3, 4))) void
check_result_violation(struct check_result *result, const char *name, const char *format, ...);
/* The verdict becomes undecided unless it is a violation. */
__attribute__((format(printf, 3, 4))) void
check_result_undecided(struct check_result *result, const char *name, const char *format, ...);
/* Was an anomaly of this name found? */
bool check_result_has(const struct check_result *result, const char *name);
/* "ok", "violation", "undecided". */
const char *check_verdict_name(enum check_verdict verdict);
