/* commit_world_internal.h: what commit_world.c (network, stores, beginning and end) and
 * commit_client.c (clients, the courier, what must hold) share. */
#pragma once

#include "tests/support/commit_world.h"

#define WAIT_MS_MAX 30000u

/* Starts it, and gives it a map. */
void commit_client_begin(struct commit_world *world, uint32_t number);
/* Who asks again is a host of the network by himself. */
uint32_t commit_courier_host(const struct commit_world *world);
void commit_courier_begin(struct commit_world *world);
