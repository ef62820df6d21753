/* store_life.h: stores that come while the cluster lives, by the shipping join path, and stores
 * that go for good: those that died, and those that were removed. And what must have come of it all
 * in the end. */
#pragma once

#include "base/types.h"
#include "tests/sim/schedule.h"

struct sim;

/* The next one that waits starts with an empty disk and `--join`. False: there is none. */
bool store_life_join(struct sim *sim);
/* One loses its power and never comes back, where every group keeps a majority without it. False:
 * there is none such. */
bool store_life_die(struct sim *sim, struct random *random);
/* The cluster has struck it from the map: nobody starts it again. If it runs, it stops when it
 * hears of that, or a person ends it later. */
void store_life_removed(struct sim *sim, store_id_t store);
/* Ends those that were removed and still run; also those of which only the map says so. */
void store_life_end_removed(struct sim *sim);

/* With everything healed: is every store that lives in the map, and counts as alive; is none that
 * is gone UP; has no group a replica on a store that drains or is dead while another store could
 * have it, nor fewer than wanted while stores suffice, nor is it led from a store that drains; and
 * has each store that is UP, those that joined included, its share? False: the text says what not.
 */
bool store_life_is_settled(const struct sim *sim, char *text, size_t text_bytes_max);
