#include "base/sometimes.h"

#include <criterion/criterion.h>

static struct sites sites;

static void uninstall(void)
{
    site_hook_set(NULL);
}

static uint32_t fired(uint32_t tries)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < tries; index++)
        count += RARE(APPLY_ONE_ENTRY);
    return count;
}

Test(sometimes, nothing_happens_without_a_hook)
{
    for (int index = 0; index < 1000; index++) {
        cr_assert_not(RARE(APPLY_ONE_ENTRY));
        COVER(LOG_TRUNCATED);
    }
}

Test(sometimes, a_rate_is_kept_and_counted, .fini = uninstall)
{
    sites_init(&sites, 1);
    site_hook_set(&sites.hook);
    sites_set_rate(&sites, RARE_APPLY_ONE_ENTRY, 1000);
    cr_assert_eq(fired(100), 100);
    sites_set_rate(&sites, RARE_APPLY_ONE_ENTRY, 0);
    cr_assert_eq(fired(100), 0);
    sites_set_rate(&sites, RARE_APPLY_ONE_ENTRY, 100);
    uint32_t count = fired(10000);
    cr_assert(count > 800 && count < 1200, "%u of 10000", count);
    cr_assert_eq(sites.states[RARE_APPLY_ONE_ENTRY].reached_count, 10200);
    cr_assert_eq(sites.states[RARE_APPLY_ONE_ENTRY].fired_count, 100 + count);
}

Test(sometimes, a_quiet_run_still_counts, .fini = uninstall)
{
    sites_init(&sites, 1);
    site_hook_set(&sites.hook);
    sites_set_rate(&sites, RARE_APPLY_ONE_ENTRY, 1000);
    sites_set_quiet(&sites, true);
    cr_assert_eq(fired(10), 0);
    COVER(LOG_TRUNCATED);
    cr_assert_eq(sites.states[COVER_LOG_TRUNCATED].reached_count, 1);
    cr_assert(sites_has_fired(&sites, COVER_LOG_TRUNCATED));
    cr_assert_not(sites_has_fired(&sites, RARE_APPLY_ONE_ENTRY));
    sites_set_quiet(&sites, false);
    cr_assert_eq(fired(10), 10);
}

/* What a run decides, as text; `asked` is asked about first, that many times for each of the rest.
 */
static void decisions(uint64_t seed, uint32_t asked, char *out_text, size_t out_chars)
{
    struct sites run;
    sites_init(&run, seed);
    size_t chars = 0;
    for (int round = 0; round < 20; round++) {
        for (uint32_t index = 0; index < asked; index++)
            (void)run.hook.rare(run.hook.context, RARE_ANSWER_LOST);
        for (int site = 0; site < SITES_COUNT; site++) {
            if (site_info((enum site)site)->kind != SITE_RARE || site == RARE_ANSWER_LOST)
                continue;
            cr_assert_lt(chars + 1, out_chars);
            out_text[chars++] = run.hook.rare(run.hook.context, (enum site)site) ? '1' : '0';
        }
    }
    out_text[chars] = '\0';
}

Test(sometimes, a_seed_decides_and_sites_do_not_disturb_each_other)
{
    static char first[20 * SITES_COUNT + 1], second[20 * SITES_COUNT + 1];
    decisions(7, 0, first, sizeof(first));
    decisions(7, 0, second, sizeof(second));
    cr_assert_str_eq(first, second);
    decisions(7, 3, second, sizeof(second));
    cr_assert_str_eq(first, second);
    decisions(8, 0, second, sizeof(second));
    cr_assert_str_neq(first, second);
}

Test(sometimes, each_site_is_active_in_about_half_of_the_runs)
{
    enum { RUNS_COUNT = 400 };
    static uint32_t active[SITES_COUNT];
    for (uint64_t seed = 1; seed <= RUNS_COUNT; seed++) {
        struct sites run;
        sites_init(&run, seed);
        for (int site = 0; site < SITES_COUNT; site++) {
            cr_assert_leq(run.states[site].per_mille, site_info((enum site)site)->per_mille_max);
            active[site] += run.states[site].per_mille > 0;
        }
    }
    for (int site = 0; site < SITES_COUNT; site++) {
        const struct site_info *info = site_info((enum site)site);
        if (info->kind == SITE_COVER)
            cr_expect_eq(active[site], 0, "%s", info->name);
        else
            cr_expect(active[site] > RUNS_COUNT / 3 && active[site] < RUNS_COUNT * 2 / 3, "%s: %u",
                      info->name, active[site]);
    }
}

Test(sometimes, the_list_is_sound)
{
    for (int site = 0; site < SITES_COUNT; site++) {
        const struct site_info *info = site_info((enum site)site);
        cr_expect_gt(strlen(info->text), 10, "%s", info->name);
        cr_expect_eq(info->per_mille_max > 0, info->kind == SITE_RARE, "%s", info->name);
        /* Whatever is always so is not rare, and could keep a system from going on. */
        cr_expect_leq(info->per_mille_max, 300, "%s", info->name);
        for (int other = 0; other < site; other++)
            cr_expect_str_neq(info->name, site_info((enum site)other)->name);
    }
}

Test(sometimes, a_report_has_every_site_and_ends_with_those_that_never_fired)
{
    struct buffer text = BUFFER_INIT;
    struct sites run, total;
    sites_init(&total, 0);
    sites_init(&run, 3);
    run.hook.cover(run.hook.context, COVER_ORACLE_ASKED_AGAIN);
    sites_set_rate(&run, RARE_STORE_STALLED, 1000);
    cr_assert(run.hook.rare(run.hook.context, RARE_STORE_STALLED));
    sites_set_rate(&run, RARE_STORE_STALLED, 0);
    cr_assert_not(run.hook.rare(run.hook.context, RARE_STORE_STALLED));
    sites_set_rate(&run, RARE_ANSWER_LOST, 0);
    cr_assert_not(run.hook.rare(run.hook.context, RARE_ANSWER_LOST));
    sites_add_counts(&total, &run);
    sites_add_counts(&total, &run);
    cr_assert_eq(sites_report(&total, &text), SITES_COUNT - 2);
    buffer_append_u8(&text, '\0');
    const char *report = (const char *)text.data;
    size_t lines_count = 0;
    for (const char *at = report; (at = strchr(at, '\n')); at++)
        lines_count++;
    cr_assert_eq(lines_count, SITES_COUNT);
    const char *stalled = strstr(report, "site=STORE_STALLED kind=rare count=2 reached=4 text=\"");
    const char *again = strstr(report, "site=ORACLE_ASKED_AGAIN kind=cover count=2 reached=2 ");
    const char *never = strstr(report, "site=ANSWER_LOST kind=rare count=0 reached=2 ");
    const char *first_never = strstr(report, " count=0 ");
    cr_assert(stalled && again && never && first_never);
    cr_assert(stalled < first_never && again < first_never && first_never < never + 64);
    buffer_fini(&text);
}
