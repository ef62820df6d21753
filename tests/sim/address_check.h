/* address_check.h: does a message reach none but the replica that it names (R6)?
 *
 *   "message-of-another" a message under the number of a replica that was on this store before
 *                        changed something in the one that is there now
 */
#pragma once

#include "proto/frame.h"
#include "raft/host_internal.h"
#include "tests/check/result.h"

struct address_check;

struct address_check *address_check_new(void);
void address_check_free(struct address_check *check);
/* A frame is about to be given to the host. `groups`, by bits, had another replica here before: in
 * others nobody can be mistaken for anybody. */
void address_check_receive(struct address_check *check, const struct raft_host *host,
                           const struct frame *frame, uint32_t groups);
/* It was. */
void address_check_received(struct address_check *check, const struct raft_host *host);
const struct check_result *address_check_result(const struct address_check *check);
