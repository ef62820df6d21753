/* hosts.h: a machine of its own for each store: network namespaces on one bridge, and links between
 * them that can be cut in one direction.
 *
 * This process moves into a namespace of its own first, in which the bridge and the clients are, so
 * nothing of it is seen from outside, and all of it goes away with the processes. Needs root, or a
 * kernel that lets users make namespaces; `ip` and `nft` are run for the work.
 */
#pragma once

#include "cmd/cluster.h"

struct hosts;

#define HOSTS_CLIENTS 0u /* the number of the place where the clients are; stores count from 1 */

/* Before any thread is started. 0 or a code of ostraka_status.h, with one line in `out_why`
 * (CLUSTER_WHY_BYTES). */
int hosts_new(uint32_t stores_count, struct hosts **out_hosts, char *out_why);
/* NULL is fine. */
void hosts_free(struct hosts *hosts);
/* For cluster_options; as long as the hosts. */
const struct cluster_host *hosts_of_cluster(const struct hosts *hosts);

/* What `from` sends to `to` gets lost, or arrives again; carried out by hosts_apply. */
void hosts_cut(struct hosts *hosts, uint32_t from, uint32_t to, bool is_cut);
void hosts_cut_none(struct hosts *hosts);
int hosts_apply(struct hosts *hosts, char *out_why);
