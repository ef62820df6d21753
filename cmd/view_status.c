/* view_status.c: the cluster at a glance: how well it is, then its stores, groups, and what is
 * under way.
 */
#include "cmd/view.h"

#include <inttypes.h>

/* So many groups are shown whatever they are like. */
#define GROUPS_SHOWN_MAX 12u

void status_draw(const struct picture *picture, struct canvas *canvas)
{
    struct health health;
    health_find(picture, &health);
    health_draw(picture, &health, canvas);
    health_fini(&health);
    canvas_print(canvas, STYLE_DIM, "cluster %016" PRIx64 ", map epoch %" PRIu64,
                 picture->info.cluster_id, picture->info.map_epoch);
    canvas_line_end(canvas);
    canvas_line_end(canvas);
    stores_draw(picture, canvas);
    canvas_line_end(canvas);
    groups_draw(picture, GROUPS_SHOWN_MAX, canvas);
    progress_draw(picture, canvas);
}
