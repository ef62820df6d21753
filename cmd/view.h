/* view.h: the cluster as people see it. A picture is taken once; all that is said of it here is a
 * function of the picture alone, into a canvas or as JSON.
 *
 * Reading order: view_facts.c (what follows from the picture), view_health.c (what is wrong, in
 * words), view_progress.c (what is under way), view_status.c, view_lists.c (tables), view_json.c.
 */
#pragma once

#include "client/ostraka.h"
#include "cmd/canvas.h"

/* What follows from the rest of the picture for one group. */
struct group_facts {
    const struct ost_group_info *info;
    /* As the stores themselves say it; NULL: none leads, and is ready. */
    const struct ost_group_status *leader;
    uint64_t leader_store;
    uint32_t voters_count; /* those that leave, too: until then they vote */
    uint32_t voters_answering_count;
    uint32_t ranges_count;
};

struct group_place {
    uint64_t group;
    uint32_t place;
};

struct picture {
    struct ost_cluster_info info;
    struct ost_store_status *stores; /* as many as the map has */
    int *results;                    /* of each: OST_OK, or why it said nothing */
    struct ost_progress progress;
    int progress_result; /* OST_OK, or why nobody tells how far things are */
    /* By picture_derive: group 0 first, then as in the map; and in the order of their ids. */
    struct group_facts *facts;
    struct group_place *places;
};
/* When the rest is there; picture_underive frees what it made. */
void picture_derive(struct picture *picture);
void picture_underive(struct picture *picture);

/* Bytes as text that can be typed again: printable as is, a backslash doubled, the rest \xNN. Free
 * it. */
char *text_escape(struct ost_bytes bytes);
/* "[a .. m)", keys escaped and cut, "(first)" and "(last)" for the ends of the key space. Returns
 * `text`. */
#define INTERVAL_TEXT_BYTES 96
char *interval_print(struct ost_bytes start, struct ost_bytes end, char *text);

/* --- What follows from the map alone --- */

/* Of all groups, group 0 among them. */
uint32_t cluster_store_replicas_count(const struct ost_cluster_info *info, uint64_t store);
const struct ost_range_info *cluster_range_of_key(const struct ost_cluster_info *info,
                                                  struct ost_bytes key);
/* Done, or called off; a map from before it began does not say so. */
bool cluster_change_is_over(const struct ost_cluster_info *info, uint64_t change);

/* --- What follows from a picture --- */

/* NULL: the map has no such store. */
const struct ost_store_info *picture_store(const struct picture *picture, uint64_t store);
bool picture_store_answers(const struct picture *picture, uint64_t store);
/* "up", "draining", "dead", "silent". */
const char *picture_store_state(const struct picture *picture, size_t place);
enum style store_state_style(const char *state);

/* Group 0 among them. */
size_t picture_groups_count(const struct picture *picture);
/* NULL: there is no such group. */
const struct group_facts *picture_group(const struct picture *picture, uint64_t group);

/* "group 3", "the shard master". Returns `text` (QUANTITY_TEXT_BYTES). */
char *group_name_print(uint64_t group, char *text);

/* --- What is wrong --- */

enum health_level {
    HEALTH_WELL,
    HEALTH_WEAKENED, /* everything works, but something that should be there is not */
    HEALTH_BROKEN,   /* some data cannot be reached */
};
#define PROBLEM_BYTES 200
struct health {
    enum health_level level;
    char (*problems)[PROBLEM_BYTES]; /* the worst first */
    size_t problems_count, problems_capacity;
};
void health_find(const struct picture *picture, struct health *out_health);
void health_fini(struct health *health);
/* "well", "weakened", "broken". */
const char *health_level_name(enum health_level level);
/* One line, and one more for each problem where there are several. */
void health_draw(const struct picture *picture, const struct health *health, struct canvas *canvas);

/* --- What is under way --- */

/* One thing, and what it waits for (nothing when it goes on); neither ends the line. Of the picture
 * the map is enough. */
void progress_item_draw(const struct picture *picture, const struct ost_progress_item *item,
                        struct canvas *canvas);
void progress_wait_draw(const struct ost_progress_item *item, struct canvas *canvas);
/* All of it, with a title; nothing when there is nothing. */
void progress_draw(const struct picture *picture, struct canvas *canvas);

/* --- The whole, and its parts --- */

void status_draw(const struct picture *picture, struct canvas *canvas);
void stores_draw(const struct picture *picture, struct canvas *canvas);
/* Where there are more than `groups_count_max` (0: no limit) only those that something can be said
 * of, and no more than so many. */
void groups_draw(const struct picture *picture, uint32_t groups_count_max, struct canvas *canvas);
/* Each replica as its store sees it. */
void replicas_draw(const struct picture *picture, struct canvas *canvas);
/* Those that hold keys which begin with `prefix`, at most `ranges_count_max` (0: all). */
struct ranges_wanted {
    struct ost_bytes prefix;
    size_t ranges_count_max;
};
void ranges_draw(const struct picture *picture, const struct ranges_wanted *wanted,
                 struct canvas *canvas);
/* Does the range hold keys that begin with `prefix`? */
bool range_holds_prefix(const struct ost_range_info *range, struct ost_bytes prefix);

/* JSON, as text; free it. */
char *status_json(const struct picture *picture);
char *stores_json(const struct picture *picture);
char *groups_json(const struct picture *picture);
char *ranges_json(const struct picture *picture, const struct ranges_wanted *wanted);
