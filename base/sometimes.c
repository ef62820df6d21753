#include "base/sometimes.h"

#include "base/assert.h"

#include <stdio.h>

#define PER_MILLE 1000u
/* A rate is the site's most, halved up to this many times. */
#define RATE_HALVINGS_MAX 3u

const struct site_hook *site_hook_installed;

void site_hook_set(const struct site_hook *hook)
{
    site_hook_installed = hook;
}

const struct site_info *site_info(enum site site)
{
    static const struct site_info infos[] = {
#define SITE_INFO(kind, name, per_mille, text) {SITE_##kind, #name, per_mille, text},
        SITES_LIST(SITE_INFO)
#undef SITE_INFO
    };
    _Static_assert(sizeof(infos) / sizeof(infos[0]) == SITES_COUNT, "one for each site");
    ASSERT(site < SITES_COUNT);
    return &infos[site];
}

static bool sites_rare(void *context, enum site site)
{
    struct sites *sites = context;
    struct site_state *state = &sites->states[site];
    state->reached_count++;
    if (sites->is_quiet || state->per_mille == 0 ||
        random_below(&state->random, PER_MILLE) >= state->per_mille)
        return false;
    state->fired_count++;
    return true;
}

static void sites_cover(void *context, enum site site)
{
    struct sites *sites = context;
    sites->states[site].reached_count++;
}

/* FNV-1a of the name, so that a site's sequence does not depend on its place in the list. */
static uint64_t site_salt(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return hash;
}

void sites_init(struct sites *sites, uint64_t seed)
{
    *sites = (struct sites){
        .hook = {.rare = sites_rare, .cover = sites_cover, .context = sites},
    };
    for (int site = 0; site < SITES_COUNT; site++) {
        const struct site_info *info = site_info((enum site)site);
        struct site_state *state = &sites->states[site];
        random_init(&state->random, seed ^ site_salt(info->name));
        if (info->kind != SITE_RARE || random_below(&state->random, 2) == 0)
            continue;
        uint32_t rate = info->per_mille_max >> random_below(&state->random, RATE_HALVINGS_MAX + 1);
        state->per_mille = rate > 0 ? rate : 1;
    }
}

void sites_set_rate(struct sites *sites, enum site site, uint32_t per_mille)
{
    ASSERT(site_info(site)->kind == SITE_RARE && per_mille <= PER_MILLE);
    sites->states[site].per_mille = per_mille;
}

void sites_set_quiet(struct sites *sites, bool is_quiet)
{
    sites->is_quiet = is_quiet;
}

void sites_add_counts(struct sites *to, const struct sites *from)
{
    for (int site = 0; site < SITES_COUNT; site++) {
        to->states[site].reached_count += from->states[site].reached_count;
        to->states[site].fired_count += from->states[site].fired_count;
    }
}

static uint64_t site_count(const struct sites *sites, enum site site)
{
    const struct site_state *state = &sites->states[site];
    return site_info(site)->kind == SITE_RARE ? state->fired_count : state->reached_count;
}

bool sites_has_fired(const struct sites *sites, enum site site)
{
    return site_count(sites, site) > 0;
}

static void report_line(const struct sites *sites, enum site site, struct buffer *out_text)
{
    const struct site_info *info = site_info(site);
    char line[256];
    int chars = snprintf(line, sizeof(line), "site=%s kind=%s count=%lu reached=%lu text=\"%s\"\n",
                         info->name, info->kind == SITE_RARE ? "rare" : "cover",
                         site_count(sites, site), sites->states[site].reached_count, info->text);
    ASSERT(chars > 0 && (size_t)chars < sizeof(line));
    buffer_append(out_text, line, (size_t)chars);
}

size_t sites_report(const struct sites *sites, struct buffer *out_text)
{
    size_t never_count = 0;
    for (int site = 0; site < SITES_COUNT; site++) {
        if (sites_has_fired(sites, (enum site)site))
            report_line(sites, (enum site)site, out_text);
    }
    for (int site = 0; site < SITES_COUNT; site++) {
        if (sites_has_fired(sites, (enum site)site))
            continue;
        report_line(sites, (enum site)site, out_text);
        never_count++;
    }
    return never_count;
}
