/* verdict.c: what the clients saw, and what they have left behind. */
#include "client/ostraka.h"
#include "cmd/history.h"
#include "tests/check/bank_check.h"
#include "tests/check/register_check.h"
#include "tests/check/serializability_check.h"
#include "tests/trial/trial.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* What the last client left behind must be settled by then: prepared transactions within 5 s of
 * a quorum, unprepared locks 5 s after their last heartbeat; and a second for the leaders. */
#define LEFT_NS_MAX (11 * NS_PER_SECOND)

/* How many locks and prepared transactions the leaders still have. */
static bool left_count(struct trial *trial, uint64_t *out_locks, uint64_t *out_prepared)
{
    *out_locks = *out_prepared = 0;
    for (uint32_t store = 1; store <= cluster_stores_count(trial->cluster); store++) {
        struct ost_store_status status;
        if (!cluster_runs(trial->cluster, store))
            continue;
        if (ost_store_status(trial->client, store, &status) != OST_OK)
            return false;
        for (size_t i = 0; i < status.groups_count; i++) {
            *out_locks += status.groups[i].keys_locked_count;
            *out_prepared += status.groups[i].prepared_count;
        }
        ost_store_status_free(&status);
    }
    return true;
}

int trial_nothing_left(struct trial *trial)
{
    uint64_t began_ns = bank_now_ns(), locks = 0, prepared = 0;
    for (;;) {
        uint64_t waited_ns = bank_now_ns() - began_ns;
        if (left_count(trial, &locks, &prepared) && locks == 0 && prepared == 0) {
            printf("no lock and no prepared transaction is left after %.1f s\n",
                   (double)waited_ns / 1e9);
            return OST_OK;
        }
        if (waited_ns > LEFT_NS_MAX) {
            snprintf(trial->why, sizeof trial->why,
                     "%" PRIu64 " locks and %" PRIu64
                     " prepared transactions are left after %.0f s",
                     locks, prepared, (double)waited_ns / 1e9);
            return OST_CORRUPT;
        }
        struct timespec tick = {.tv_nsec = TRIAL_TICK_MS * 1000000l};
        nanosleep(&tick, NULL);
    }
}

int trial_judge_history(struct trial *trial)
{
    static struct check_result result;
    FILE *file = fopen(trial->history_path, "re");
    if (!file) {
        snprintf(trial->why, sizeof trial->why, "cannot read %s", trial->history_path);
        return OST_IO;
    }
    struct history *history = history_new();
    int status = history_read_file(history, file, trial->history_path, trial->why);
    fclose(file);
    if (status == OST_OK) {
        if (trial->traits->is_bank)
            bank_check(history, NULL, &result);
        else if (trial->kind == TRIAL_REGISTER)
            register_check(history, NULL, &result);
        else
            serializability_check(history, NULL, &result);
        printf("history: %s, %" PRIu64 " operations, %" PRIu64 " of unknown outcome\n",
               check_verdict_name(result.verdict), result.judged_count, result.unknown_count);
        if (result.verdict != CHECK_OK) {
            snprintf(trial->why, sizeof trial->why, "%s: %.400s", result.names, result.explanation);
            status = OST_CORRUPT;
        }
    }
    history_free(history);
    return status;
}
