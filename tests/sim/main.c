/* main.c: ostraka-sim: runs seeds. */
#include "tests/sim/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    struct run_options options = {0};
    struct plan plan;
    plan_draw(&plan, seed);
    for (int index = 1; index < argc; index++) {
        if (strcmp(argv[index], "--seed") == 0 && index + 1 < argc) {
            seed = strtoull(argv[++index], NULL, 10);
            plan_draw(&plan, seed);
        } else if (strcmp(argv[index], "--set") == 0 && index + 1 < argc) {
            if (!plan_set(&plan, argv[++index])) {
                fprintf(stderr, "cannot set %s\n", argv[index]);
                return 2;
            }
        } else if (strcmp(argv[index], "--trace") == 0) {
            options.story = stdout;
        } else if (strcmp(argv[index], "--trace-all") == 0) {
            options.story = stdout;
            options.is_story_full = true;
        }
    }
    struct run_result result;
    plan_print(&plan, stdout);
    run(&plan, &options, &result);
    printf("hash %016" PRIx64 " took %" PRIu64 " ms operations %" PRIu64 " commits %" PRIu64
           " over groups %" PRIu64 " fails %" PRIu64 " infos %" PRIu64 " turns %" PRIu64
           " elections %" PRIu64 "\n",
           result.hash, result.took_ns / NS_PER_MS, result.counts.operations, result.counts.commits,
           result.counts.commits_over_groups, result.counts.fails, result.counts.infos,
           result.counts.turns, result.counts.elections);
    if (result.is_failed)
        printf("FAILED %s: %s\n", result.failure, result.why);
    return result.is_failed;
}
