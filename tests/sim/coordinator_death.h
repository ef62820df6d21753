/* coordinator_death.h: at which steps of a commit over several groups a client's process dies. Its
 * host looks at what its core sends and is sent; each step is a RARE site (base/sometimes.h), so
 * that a seed stresses some of them, and `--sites` says how often each has come to pass:
 *
 *   COORDINATOR_DIES_BEFORE_PREPARE    nothing of the commit was sent
 *   COORDINATOR_DIES_BETWEEN_PREPARES  one group was asked for its vote
 *   COORDINATOR_DIES_BEFORE_COMMIT     every vote is in
 *   COORDINATOR_DIES_AFTER_COMMIT      the Commit is on its way, or lost with the process
 *   COORDINATOR_DIES_BEFORE_ANSWER     it is committed, and the client does not know
 */
#pragma once

#include "proto/outbox.h"

#define FRAMES_ALL SIZE_MAX

/* How many of the frames leave before the client dies; FRAMES_ALL: it lives. */
size_t coordinator_death_sending(const struct outbox *frames);
/* Before its core has seen the frame. */
bool coordinator_death_receiving(const struct frame *frame);
