/* What people are shown of a cluster: pictures by hand, and the texts that they come to. */
#include "cmd/view.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* --- A cluster of three stores and two groups, whole and at rest; tests change what they want ---
 */

static struct ost_store_info stores[] = {
    {.store = 1, .address = "10.0.0.1:7100", .state = "up", .host = "alpha"},
    {.store = 2, .address = "10.0.0.2:7100", .state = "up", .host = "beta"},
    {.store = 3, .address = "10.0.0.3:7100", .state = "up", .host = "gamma"},
};
static struct ost_replica_info replicas[3][4] = {
    {{1, 1, "voter", false}, {2, 2, "voter", false}, {3, 3, "voter", false}},
    {{4, 1, "voter", false}, {5, 2, "voter", false}, {6, 3, "voter", false}},
    {{7, 1, "voter", false}, {8, 2, "voter", false}, {9, 3, "voter", false}},
};
static struct ost_group_info groups[] = {
    {.group = 1, .epoch = 1, .leader_store = 1, .replicas = replicas[1], .replicas_count = 3},
    {.group = 2, .epoch = 1, .leader_store = 2, .replicas = replicas[2], .replicas_count = 3},
};
static struct ost_range_info ranges[3];
static struct ost_group_status on_store[3][3];
static struct ost_store_status statuses[3];
static int results[3];
static struct ost_progress_item items[4];
static struct picture picture;

static void leads(size_t store, uint64_t group, uint64_t term)
{
    on_store[store][group].role = "leader";
    on_store[store][group].ready = true;
    on_store[store][group].term = term;
    on_store[store][group].applied_index = 1000 * term;
}

static void setup(void)
{
    for (size_t s = 0; s < 3; s++) {
        for (uint64_t g = 0; g < 3; g++)
            on_store[s][g] = (struct ost_group_status){
                .group = g, .replica = 3 * g + s + 1, .term = 4, .role = "follower"};
        statuses[s] = (struct ost_store_status){.store = s + 1,
                                                .uptime_ms = 3661000,
                                                .address = stores[s].address,
                                                .version = "0.1.0",
                                                .groups = on_store[s],
                                                .groups_count = 3};
    }
    leads(0, 0, 4);
    leads(0, 1, 4);
    leads(1, 2, 4);
    ranges[0] = (struct ost_range_info){
        .end = ost_string("m"), .group = 1, .epoch = 1, .change = {.kind = ""}};
    ranges[1] = (struct ost_range_info){.start = ost_string("m"),
                                        .end = ost_string("t"),
                                        .group = 1,
                                        .epoch = 2,
                                        .change = {.kind = ""}};
    ranges[2] = (struct ost_range_info){
        .start = ost_string("t"), .group = 2, .epoch = 2, .change = {.kind = ""}};
    picture = (struct picture){
        .info = {.cluster_id = 0x49,
                 .map_epoch = 17,
                 .next_change = 18,
                 .stores = stores,
                 .stores_count = 3,
                 .master = {.leader_store = 1, .replicas = replicas[0], .replicas_count = 3},
                 .groups = groups,
                 .groups_count = 2,
                 .ranges = ranges,
                 .ranges_count = 3},
        .stores = statuses,
        .results = results,
        .progress = {.items = items},
    };
}

static void teardown(void)
{
    picture_underive(&picture);
}

TestSuite(view, .init = setup, .fini = teardown);

static void silence(size_t store)
{
    results[store] = OST_DEADLINE_EXCEEDED;
    statuses[store] = (struct ost_store_status){0};
}

static void item_add(struct ost_progress_item item)
{
    cr_assert_lt(picture.progress.items_count, COUNT(items));
    if (!item.waits_for)
        item.waits_for = "";
    if (!item.why)
        item.why = "";
    items[picture.progress.items_count++] = item;
}

static struct canvas canvas;

static const char *drawn(uint32_t columns, bool has_colours,
                         void (*draw)(const struct picture *of, struct canvas *on))
{
    picture_underive(&picture);
    picture_derive(&picture);
    canvas_init(&canvas, has_colours, columns);
    draw(&picture, &canvas);
    buffer_append_u8(&canvas.text, '\0');
    return (const char *)canvas.text.data;
}

static void assert_draws(uint32_t columns,
                         void (*draw)(const struct picture *of, struct canvas *on),
                         const char *expected)
{
    const char *text = drawn(columns, false, draw);
    cr_assert_str_eq(text, expected, "it is:\n%s\nand not:\n%s", text, expected);
    canvas_fini(&canvas);
}

static void assert_health(enum health_level level, const char *expected)
{
    picture_underive(&picture);
    picture_derive(&picture);
    struct health health;
    health_find(&picture, &health);
    canvas_init(&canvas, false, 0);
    health_draw(&picture, &health, &canvas);
    buffer_append_u8(&canvas.text, '\0');
    cr_assert_str_eq((const char *)canvas.text.data, expected, "it is:\n%s", canvas.text.data);
    cr_assert_eq(health.level, level);
    health_fini(&health);
    canvas_fini(&canvas);
}

/* --- The whole --- */

Test(view, a_cluster_that_is_well)
{
    assert_draws(
        0, status_draw,
        "all well: 3 stores, 2 groups, 3 ranges\n"
        "cluster 0000000000000049, map epoch 17\n"
        "\n"
        "STORE  STATE  HOST   ADDRESS           UP FOR  REPLICAS  LEADS\n"
        "1      up     alpha  10.0.0.1:7100  1 h 1 min         3  master, 1\n"
        "2      up     beta   10.0.0.2:7100  1 h 1 min         3  2\n"
        "3      up     gamma  10.0.0.3:7100  1 h 1 min         3  -\n"
        "\n"
        "GROUP   LEADER   RANGES  REPLICAS ON STORES  TERM  APPLIED  LOCKS  WAITING  PREPARED\n"
        "master  store 1       -  1 2 3                  4     4000      0        0         0\n"
        "1       store 1       2  1 2 3                  4     4000      0        0         0\n"
        "2       store 2       1  1 2 3                  4     4000      0        0         0\n");
}

static void busy_and_weakened(void)
{
    silence(2);
    stores[1].state = "draining";
    replicas[2][3] = (struct ost_replica_info){10, 2, "joining", false};
    groups[1].replicas_count = 4;
    groups[1].changing = true;
    item_add((struct ost_progress_item){.what = "move",
                                        .change = 17,
                                        .start = ost_string("m"),
                                        .group = 1,
                                        .to_group = 2,
                                        .done_count = 9 << 20,
                                        .whole_count = 24 << 20,
                                        .age_ms = 3000,
                                        .why = "group 1 has 3 ranges, group 2 1"});
    item_add((struct ost_progress_item){.what = "drain",
                                        .store = 2,
                                        .done_count = 1,
                                        .whole_count = 3,
                                        .age_ms = 12000,
                                        .waits_for = "group 2: a replica joins it"});
}

Test(view, a_cluster_that_is_weakened_and_busy)
{
    busy_and_weakened();
    assert_draws(
        100, status_draw,
        "weakened: 2 things are wrong\n"
        "  - store 3 does not answer: the deadline passed before the request was done\n"
        "  - 3 groups have fewer replicas than they should\n"
        "cluster 0000000000000049, map epoch 17\n"
        "\n"
        "STORE  STATE     HOST   ADDRESS           UP FOR  REPLICAS  LEADS\n"
        "1      up        alpha  10.0.0.1:7100  1 h 1 min         3  master, 1\n"
        "2      draining  beta   10.0.0.2:7100  1 h 1 min         4  2\n"
        "3      silent    gamma  10.0.0.3:7100          -         3  -\n"
        "\n"
        "GROUP   LEADER   RANGES  REPLICAS ON STORES        TERM  APPLIED  LOCKS  WAITING  "
        "PREPARED\n"
        "master  store 1       -  1 2 3(silent)                4     4000      0        0         "
        "0\n"
        "1       store 1       2  1 2 3(silent)                4     4000      0        0         "
        "0\n"
        "2       store 2       1  1 2 2(joining) 3(silent)     4     4000      0        0         "
        "0\n"
        "\n"
        "UNDER WAY\n"
        "[#######-------------]  37%  move 17  [m .. t)  group 1 -> 2  9.0 MiB of 24.0 MiB  "
        "about 5.0 s left\n"
        "                             because group 1 has 3 ranges, group 2 1\n"
        "[######--------------]  33%  drain of store 2  1 of 3 replicas  for 12 s\n"
        "                             waits for group 2: a replica joins it\n");
}

Test(view, a_narrow_terminal_has_fewer_columns_and_shorter_bars)
{
    busy_and_weakened();
    stores[0].host = "a-machine-with-a-long-name.example";
    assert_draws(60, status_draw,
                 "weakened: 2 things are wrong\n"
                 "  - store 3 does not answer: the deadline passed before t...\n"
                 "  - 3 groups have fewer replicas than they should\n"
                 "cluster 0000000000000049, map epoch 17\n"
                 "\n"
                 "STORE  STATE     ADDRESS           UP FOR  REPLICAS  LEADS\n"
                 "1      up        10.0.0.1:7100  1 h 1 min         3  mast...\n"
                 "2      draining  10.0.0.2:7100  1 h 1 min         4  2\n"
                 "3      silent    10.0.0.3:7100          -         3  -\n"
                 "\n"
                 "GROUP   LEADER   RANGES  REPLICAS ON STORES        TERM\n"
                 "master  store 1       -  1 2 3(silent)                4\n"
                 "1       store 1       2  1 2 3(silent)                4\n"
                 "2       store 2       1  1 2 2(joining) 3(silent)     4\n"
                 "\n"
                 "UNDER WAY\n"
                 "[###-----]  37%  move 17  [m .. t)  group 1 -> 2  9.0 MiB...\n"
                 "                 because group 1 has 3 ranges, group 2 1\n"
                 "[##------]  33%  drain of store 2  1 of 3 replicas  for 12 s\n"
                 "                 waits for group 2: a replica joins it\n");
}

/* --- How well it is --- */

Test(view, one_thing_that_is_wrong_is_said_in_the_first_line)
{
    replicas[1][2].lost = true;
    assert_health(HEALTH_WEAKENED, "weakened: group 1 has 2 of 3 replicas\n");
}

Test(view, a_group_without_a_leader_is_worse_than_a_silent_store)
{
    silence(1);
    replicas[0][1].store = replicas[1][1].store = 4; /* only group 2 is on store 2 */
    replicas[0][1].lost = replicas[1][1].lost = false;
    groups[0].replicas_count = picture.info.master.replicas_count = 1;
    assert_health(HEALTH_BROKEN,
                  "broken: 2 things are wrong\n"
                  "  - group 2 has no leader\n"
                  "  - store 2 does not answer: the deadline passed before the request was done\n");
}

Test(view, a_group_without_a_quorum)
{
    silence(1);
    silence(2);
    on_store[0][0].ready = on_store[0][1].ready = false;
    picture_derive(&picture);
    struct health health;
    health_find(&picture, &health);
    cr_assert_eq(health.level, HEALTH_BROKEN);
    cr_assert_str_eq(health.problems[0],
                     "the shard master has no quorum: 1 of its 3 replicas answer");
    cr_assert_str_eq(health.problems[2], "group 2 has no quorum: 1 of its 3 replicas answer");
    health_fini(&health);
}

Test(view, who_leads_is_what_the_newest_leader_says)
{
    leads(2, 1, 5); /* store 1 has not heard of it yet */
    leads(0, 2, 5); /* nor store 2 */
    picture_derive(&picture);
    cr_assert_eq(picture_group(&picture, 1)->leader_store, 3u);
    cr_assert_eq(picture_group(&picture, 2)->leader_store, 1u);
    cr_assert_eq(picture_group(&picture, 0)->leader_store, 1u);
    cr_assert_null(picture_group(&picture, 7));
}

Test(view, what_waits_for_long_and_what_nobody_tells)
{
    item_add((struct ost_progress_item){
        .what = "replace", .store = 3, .age_ms = 59999, .waits_for = "a host"});
    assert_health(HEALTH_WELL, "all well: 3 stores, 2 groups, 3 ranges; 1 change under way\n");
    items[0].age_ms = 60000;
    assert_health(HEALTH_WEAKENED, "weakened: replace of store 3 waits for 1 min 0 s: a host\n");
    picture.progress.items_count = 0;
    picture.progress_result = OST_NOT_LEADER;
    assert_health(HEALTH_WEAKENED, "weakened: the shard master does not tell what is under way: "
                                   "this store does not lead the group\n");
}

/* --- How far it is --- */

Test(view, progress_never_says_more_than_is_known)
{
    item_add((struct ost_progress_item){.what = "move",
                                        .change = 1,
                                        .start = ost_string("m"),
                                        .group = 1,
                                        .to_group = 2,
                                        .done_count = 999999,
                                        .whole_count = 1000000,
                                        .age_ms = 100});
    item_add((struct ost_progress_item){
        .what = "move", .change = 2, .group = 1, .to_group = 2, .done_count = 2048, .age_ms = 400});
    item_add((struct ost_progress_item){.what = "join",
                                        .store = 4,
                                        .done_count = UINT64_MAX,
                                        .whole_count = 1,
                                        .age_ms = 90061000});
    item_add((struct ost_progress_item){
        .what = "\033[2J\n", .change = 3, .start = ost_string("\x01"), .waits_for = "\a\xff"});
    assert_draws(
        0, progress_draw,
        "\nUNDER WAY\n"
        "[###################-]  99%  move 1  [m .. t)  group 1 -> 2  976.6 KiB of 976.6 KiB"
        "  for 0.1 s\n"
        "                             move 2  [(first) .. m)  group 1 -> 2  2.0 KiB  "
        "for 0.4 s\n"
        "[####################] 100%  join of store 4  1 of 1 replica  for 1 d 1 h\n"
        "                             ?[2J? 3  [\\x01 .. (last)]  for 0.0 s\n"
        "                             waits for ??\n");
}

Test(view, without_progress_the_map_says_what_is_under_way)
{
    picture.progress_result = OST_NOT_READY;
    ranges[0].change = ranges[1].change =
        (struct ost_range_change){.change = 9, .kind = "merge", .at = ost_string("m")};
    ranges[2].change =
        (struct ost_range_change){.change = 10, .kind = "move", .from_group = 2, .to_group = 1};
    assert_draws(90, progress_draw,
                 "\nUNDER WAY\n"
                 "                 merge 9  [(first) .. m)  group 1\n"
                 "                 move 10  [t .. (last)]  group 2 -> 1\n");
    ranges[0].change.change = ranges[1].change.change = ranges[2].change.change = 0;
    assert_draws(90, progress_draw, "");
}

/* --- Ranges --- */

static struct ranges_wanted wanted;

static void wanted_draw(const struct picture *of, struct canvas *on)
{
    ranges_draw(of, &wanted, on);
}

Test(view, ranges_by_prefix_and_limit)
{
    ranges[1].change =
        (struct ost_range_change){.change = 9, .kind = "split", .at = ost_string("p\xff")};
    ranges[2].change =
        (struct ost_range_change){.change = 10, .kind = "move", .from_group = 2, .to_group = 1};
    wanted.ranges_count_max = 2;
    assert_draws(0, wanted_draw,
                 "FROM     TO  GROUP  EPOCH  LEADER   CHANGE\n"
                 "(first)  m       1      1  store 1\n"
                 "m        t       1      2  store 1  split 9 at p\\xff\n"
                 "1 more: --limit 0 shows all\n");
    wanted = (struct ranges_wanted){.prefix = ost_string("z")};
    assert_draws(40, wanted_draw,
                 "FROM  TO      GROUP  CHANGE\n"
                 "t     (last)      2  move 10 to group 1\n");
    /* A prefix of keys of several ranges, of which some begin within it. */
    cr_assert(range_holds_prefix(&ranges[0], ost_string("a")));
    cr_assert(range_holds_prefix(&ranges[0], ost_string("")));
    cr_assert(range_holds_prefix(&ranges[2], ost_string("")));
    ranges[1].start = ost_string("ma");
    cr_assert(range_holds_prefix(&ranges[1], ost_string("m")));
    cr_assert_not(range_holds_prefix(&ranges[1], ost_string("l")));
    cr_assert_not(range_holds_prefix(&ranges[1], ost_string("t")));
}

Test(view, a_change_is_over_when_a_map_that_knows_it_shows_it_no_more)
{
    struct ost_cluster_info *info = &picture.info;
    info->next_change = 9;
    cr_assert_not(cluster_change_is_over(info, 9), "the map is older than the change");
    info->next_change = 10;
    ranges[1].change.change = 9;
    cr_assert_not(cluster_change_is_over(info, 9));
    ranges[1].change.change = 0;
    cr_assert(cluster_change_is_over(info, 9));
    cr_assert_eq(cluster_range_of_key(info, ost_string("n")), &ranges[1]);
    cr_assert_eq(cluster_range_of_key(info, ost_string("")), &ranges[0]);
    cr_assert_eq(cluster_store_replicas_count(info, 2), 3u);
    cr_assert_eq(cluster_store_replicas_count(info, 9), 0u);
}

/* --- Many groups --- */

static void few_groups_draw(const struct picture *of, struct canvas *on)
{
    groups_draw(of, 2, on);
}

Test(view, of_many_groups_those_are_shown_that_something_can_be_said_of)
{
    replicas[2][2].lost = true;
    assert_draws(30, few_groups_draw,
                 "GROUP   LEADER   RANGES  RE...\n"
                 "master  store 1       -  1 2 3\n"
                 "2       store 2       1  1 ...\n"
                 "1 more: 'ostraka groups' li...\n");
}

/* --- Colours --- */

Test(view, colours_are_there_when_asked_for_and_do_not_count)
{
    silence(2);
    const char *text = drawn(40, true, status_draw);
    cr_assert_not_null(strstr(text, "\033[33mweakened\033[0m: 2 things"));
    cr_assert_not_null(strstr(text, "\033[31msilent\033[0m"));
    cr_assert_not_null(strstr(text, "the dead\033[0m...\n"), "%s", text);
    canvas_fini(&canvas);
    text = drawn(40, false, status_draw);
    cr_assert_null(strchr(text, '\033'));
    canvas_fini(&canvas);
}

/* --- JSON --- */

static const char *text_at(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

static double number_at(const cJSON *object, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItem(object, name));
}

Test(view, json_says_the_same)
{
    busy_and_weakened();
    ranges[1].change =
        (struct ost_range_change){.change = 17, .kind = "move", .from_group = 1, .to_group = 2};
    ranges[1].start = ost_bytes("m\0\xff", 3);
    stores[0].host = "\xff\"";
    picture_derive(&picture);
    char *text = status_json(&picture);
    cJSON *json = cJSON_Parse(text);
    cr_assert_not_null(json, "%s", text);
    cr_assert_str_eq(text_at(json, "health"), "weakened");
    cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "problems")), 2);
    const cJSON *store = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "stores"), 0);
    cr_assert_str_eq(text_at(store, "host"), "\\xff\"");
    cr_assert_str_eq(text_at(store, "state"), "up");
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItem(store, "up")));
    const cJSON *range = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "ranges"), 1);
    cr_assert_str_eq(text_at(range, "start"), "m\\x00\\xff");
    cr_assert_eq(number_at(cJSON_GetObjectItem(range, "change"), "to_group"), 2);
    const cJSON *move = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "under_way"), 0);
    cr_assert_eq(number_at(move, "done"), 9 << 20);
    cr_assert_str_eq(text_at(move, "start"), "m");
    cr_assert_str_eq(text_at(move, "why"), "group 1 has 3 ranges, group 2 1");
    const cJSON *group = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "groups"), 2);
    cr_assert_eq(number_at(group, "leader_store"), 2);
    cr_assert_eq(number_at(group, "ranges"), 1);
    cJSON_Delete(json);
    free(text);
    wanted.ranges_count_max = 2;
    text = ranges_json(&picture, &wanted);
    json = cJSON_Parse(text);
    cr_assert_eq(cJSON_GetArraySize(json), 2);
    cJSON_Delete(json);
    free(text);
}
