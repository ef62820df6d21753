/* disks.h: what a store that has stopped has on its disk: exactly the ranges that the map gives to
 * the groups of which it has replicas, owned, and no version of any other key.
 */
#pragma once

#include <stdint.h>

struct ost_cluster_info;

struct disks_counts {
    uint64_t stores_count, ranges_count, versions_count;
};

/* Adds to `counts`. 0, or OST_CORRUPT and what is wrong in `out_why` (CLUSTER_WHY_BYTES). */
int disks_check(const struct ost_cluster_info *info, uint64_t store, const char *data_path,
                struct disks_counts *counts, char *out_why);
