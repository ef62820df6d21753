#include "base/status.h"
#include "proto/frame_type.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdint.h>
#include <string.h>

struct listed {
    const char *name;
    int number;
    enum ost_status_class class;
};

static const struct listed all[] = {
#define STATUS_ROW(name, number, class, text) {#name, number, OST_CLASS_##class},
    OST_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};
#define ALL_COUNT (sizeof(all) / sizeof(all[0]))

Test(status, numbers_and_names_are_unique)
{
    for (size_t a = 0; a < ALL_COUNT; a++) {
        for (size_t b = 0; b < a; b++) {
            cr_expect_neq(all[a].number, all[b].number, "%s and %s", all[a].name, all[b].name);
            cr_expect_str_neq(ost_status_name(all[a].number), ost_status_name(all[b].number));
            cr_expect_str_neq(ost_status_text(all[a].number), ost_status_text(all[b].number));
        }
    }
}

Test(status, only_ok_is_not_negative)
{
    for (size_t index = 0; index < ALL_COUNT; index++) {
        bool is_ok = all[index].class == OST_CLASS_OK;
        cr_expect_eq(all[index].number == 0, is_ok, "%s", all[index].name);
        cr_expect_eq(all[index].number < 0, !is_ok, "%s", all[index].name);
    }
}

Test(status, names_are_lower_case_without_the_prefix)
{
    cr_expect_str_eq(ost_status_name(OST_OK), "ok");
    cr_expect_str_eq(ost_status_name(OST_NOT_LEADER), "not_leader");
    cr_expect_str_eq(ost_status_name(OST_DEADLINE_EXCEEDED), "deadline_exceeded");
    for (size_t index = 0; index < ALL_COUNT; index++) {
        const char *name = ost_status_name(all[index].number);
        cr_expect_str_empty(name + strspn(name, "abcdefghijklmnopqrstuvwxyz_"));
        cr_expect_eq(strlen(name) + strlen("OST_"), strlen(all[index].name));
    }
}

Test(status, texts_are_lower_case_and_end_without_a_stop)
{
    for (size_t index = 0; index < ALL_COUNT; index++) {
        const char *text = ost_status_text(all[index].number);
        cr_assert_gt(strlen(text), 0);
        cr_expect(islower((unsigned char)text[0]), "%s", text);
        cr_expect_neq(text[strlen(text) - 1], '.', "%s", text);
    }
}

Test(status, classes_are_those_of_the_list)
{
    for (size_t index = 0; index < ALL_COUNT; index++) {
        cr_expect_eq(ost_status_class(all[index].number), all[index].class);
        cr_expect_eq(ost_status_is_retryable(all[index].number),
                     all[index].class == OST_CLASS_RETRYABLE);
    }
    cr_expect(ost_status_is_retryable(OST_NOT_LEADER));
    cr_expect_not(ost_status_is_retryable(OST_MAYBE_COMMITTED));
    cr_expect_not(ost_status_is_retryable(OST_OK));
}

/* The numbers travel: a change of one breaks what runs already. */
Test(status, numbers_stay)
{
    cr_expect_eq(OST_OK, 0);
    cr_expect_eq(OST_NOT_LEADER, -1);
    cr_expect_eq(OST_WOULD_BLOCK, -11);
    cr_expect_eq(OST_NOT_FOUND, -20);
    cr_expect_eq(OST_MAYBE_COMMITTED, -40);
    cr_expect_eq(OST_IO, -60);
    cr_expect_eq(OST_PROTOCOL, -66);
    cr_expect_eq(OST_LOG_FULL, -68);
}

Test(status, unknown_number_is_never_taken_for_success_or_retry)
{
    const int strangers[] = {1, -99, -1000, INT32_MIN, INT32_MAX};
    for (size_t index = 0; index < sizeof(strangers) / sizeof(strangers[0]); index++) {
        cr_expect_str_eq(ost_status_text(strangers[index]), "unknown status");
        cr_expect_str_eq(ost_status_name(strangers[index]), "unknown");
        cr_expect_eq(ost_status_class(strangers[index]), OST_CLASS_MAYBE_COMMITTED);
    }
}

Test(frame_type, names)
{
    cr_expect_str_eq(frame_type_name(FRAME_PREPARE), "prepare");
    cr_expect_str_eq(frame_type_name(FRAME_RAFT_BATCH), "raft_batch");
    cr_expect_str_eq(frame_type_name(0), "unknown");
    cr_expect_str_eq(frame_type_name(65535), "unknown");
}

/* An answer has the number after its request's. */
Test(frame_type, answers_follow_their_requests)
{
    size_t answers_count = 0;
    for (unsigned type = 1; type < 256; type++) {
        const char *name = frame_type_name(type);
        size_t name_bytes = strlen(name);
        size_t suffix_bytes = strlen("_answer");
        if (name_bytes <= suffix_bytes || strcmp(name + name_bytes - suffix_bytes, "_answer") != 0)
            continue;
        answers_count++;
        const char *request = frame_type_name(type - 1);
        cr_expect_eq(strlen(request), name_bytes - suffix_bytes);
        cr_expect_eq(strncmp(request, name, name_bytes - suffix_bytes), 0, "%s after %s", name,
                     request);
    }
    cr_expect_eq(answers_count, 23);
}
