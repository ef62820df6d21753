/* sometimes.h: named sites in shipping code where something rare is made likely, or is counted.
 *
 * RARE(NAME) is false in production, at the cost of one branch that is always predicted. In the
 * simulator a hook decides from the run's seed. What stands behind it must be legal: the behaviour
 * of a slow, small or unlucky system, after which every guarantee still holds (FoundationDB's
 * BUGGIFY; Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store",
 * 2021, section 4). COVER(NAME) counts that a place was reached which a good test run must reach
 * (Antithesis's "sometimes" assertions): a run of many seeds that never gets there tests nothing of
 * it.
 *
 * A few sites stand in the simulator, where it does something of its own at a step that the code
 * names (tests/sim/coordinator_death.h).
 *
 * All sites are in the list below. The hook is set before other threads start, and never while they
 * run. Two sites may not share a name; one site may stand at several places.
 */
#pragma once

#include "base/buffer.h"
#include "base/random.h"

/* kind, name, per mille (RARE: the most often that it happens), text */
#define SITES_LIST(X)                                                                              \
    /* raft: the core */                                                                           \
    X(RARE, ELECTION_TIMEOUT_SHORTEST, 300, "an election timeout is the shortest there is")        \
    X(RARE, ELECTION_TIMEOUT_LONGEST, 300, "an election timeout is the longest there is")          \
    X(RARE, HEARTBEAT_LATE, 100, "a heartbeat waits for the next period")                          \
    X(RARE, LEADERSHIP_HANDED_OVER, 10, "a leader hands over to another replica")                  \
    X(RARE, READ_ROUND_LATE, 250, "reads are confirmed a turn later")                              \
    X(RARE, APPEND_ONE_ENTRY, 250, "an append carries one entry")                                  \
    X(RARE, APPEND_WINDOW_FULL, 250, "a follower's window is full with one message")               \
    X(RARE, SNAPSHOT_FOR_ENTRIES, 250,                                                             \
      "a follower gets a snapshot though the log has its entries")                                 \
    X(RARE, SNAPSHOT_TAKEN_IN_VAIN, 300, "a follower takes a snapshot of entries that it has")     \
    X(COVER, LOG_TRUNCATED, 0, "a follower's log was truncated by a conflict")                     \
    X(COVER, LOG_TRUNCATED_DURABLE, 0, "and what was cut off had been durable")                    \
    X(COVER, LOG_TRUNCATED_CONFIGURATION, 0, "and a configuration went with it")                   \
    X(COVER, UNIT_VOIDED, 0, "entries were overwritten while their write was under way")           \
    X(COVER, APPEND_REJECTED, 0, "an append did not fit the follower's log")                       \
    X(COVER, APPEND_OVERTAKEN, 0, "an append came whose entries lie inside a longer log")          \
    X(COVER, APPEND_OF_OLD_LEADER, 0, "an append of an earlier term's leader was refused")         \
    X(COVER, PIPELINE_HEALED, 0, "what was sent and never answered was sent again")                \
    X(COVER, OLD_TERM_NOT_COUNTED, 0, "a quorum held entries of an older term: not committed")     \
    X(COVER, VOTE_REFUSED_BY_LOG, 0, "a vote was refused to a candidate with an older log")        \
    X(COVER, VOTE_DISREGARDED, 0, "a vote request was disregarded because a leader is alive")      \
    X(COVER, PRE_VOTE_REFUSED, 0, "a pre-vote was refused")                                        \
    X(COVER, PRE_VOTE_LATER_TERM, 0, "a refused pre-vote brought a replica to a later term")       \
    X(COVER, ELECTION_LOST, 0, "a candidate lost its election")                                    \
    X(COVER, LEADER_LOST_QUORUM, 0, "a leader that heard no quorum stepped down")                  \
    X(COVER, LEADER_SLOW_DISK, 0, "a leader stepped down because of its disk")                     \
    X(COVER, TRANSFER_TIMED_OUT, 0, "a transfer of leadership did not come to its end")            \
    X(COVER, TRANSFER_TAKEN, 0, "a replica stood because it was told to")                          \
    X(COVER, JOINT_ENTERED, 0, "a joint configuration was appended")                               \
    X(COVER, JOINT_LEFT, 0, "a joint configuration was left")                                      \
    X(COVER, LEADER_REMOVED, 0, "a leader committed a configuration without itself")               \
    X(COVER, CHANGE_BEFORE_COMMIT, 0, "a change was refused before a commit in the own term")      \
    X(COVER, CHANGE_UPON_CHANGE, 0, "a change was refused as another was not at its end")          \
    X(COVER, CHANGE_WITHOUT_QUORUM, 0, "a change would have left its new voters without a quorum") \
    X(COVER, READ_FAILED, 0, "reads failed because leadership was lost")                           \
    X(COVER, SNAPSHOT_OVER_LONGER_LOG, 0, "a snapshot replaced a log that was longer")             \
    X(COVER, SNAPSHOT_KEPT_ENTRIES, 0, "a snapshot was installed below entries that stayed")       \
    X(COVER, SNAPSHOT_REFUSED, 0, "a follower refused a snapshot that it did not need")            \
    /* raft: the host and the log */                                                               \
    X(RARE, RAFT_MESSAGE_LOST, 20, "a message between replicas is lost")                           \
    X(RARE, RAFT_MESSAGE_OTHER_CHANNEL, 250, "a message overtakes others, or is overtaken")        \
    X(RARE, RAFT_BATCH_ONE_MESSAGE, 250, "a frame carries one message")                            \
    X(RARE, APPLY_ONE_ENTRY, 250, "a group applies one entry in a turn")                           \
    X(RARE, TURN_ONE_ROUND, 250, "a turn of the host ends after one round")                        \
    X(RARE, LOG_CUT_AHEAD_OF_FOLLOWERS, 250, "the log is cut though a live follower lags")         \
    X(RARE, LOG_WRITE_HUNG, 10, "a log write counts as hanging")                                   \
    X(RARE, LOG_WRITE_ONE_GROUP, 250, "a write of the log carries one group's turn")               \
    X(RARE, LOG_WRITE_SHORT, 250, "a write of the log has room for one block")                     \
    X(RARE, LOG_UNIT_TORN, 250, "a unit of the log is cut into small chunks")                      \
    X(RARE, LOG_SEGMENT_LEFT_EARLY, 50, "a segment of the log is left before it is full")          \
    X(RARE, LOG_REWRITTEN_EARLY, 250, "what lags in the log is written forward early")             \
    X(RARE, SNAPSHOT_CHUNK_TINY, 250, "a chunk of a snapshot has a row or none")                   \
    X(RARE, SNAPSHOT_CHUNK_TWICE, 100, "a chunk of a snapshot is sent again")                      \
    X(RARE, SNAPSHOT_SENDER_GIVES_UP, 5, "a snapshot is given up by its sender")                   \
    X(RARE, SNAPSHOT_NOT_TAKEN, 50, "a follower cannot take a snapshot now")                       \
    X(COVER, APPLY_STALLED, 0, "a state machine took fewer entries than it was offered")           \
    X(COVER, MESSAGE_TO_ANOTHER_REPLICA, 0, "a message named a replica that is not here")          \
    X(COVER, LOG_WRITE_HANGS, 0, "a log write hung")                                               \
    X(COVER, LOG_UNIT_OVER_WRITES, 0, "a unit of the log took more than one write")                \
    X(COVER, LOG_SEGMENT_RETIRED, 0, "a segment of the log was retired")                           \
    X(COVER, LOG_REWRITTEN, 0, "what lagged in the log was written forward")                       \
    X(COVER, LOG_RESET_AT_START, 0, "a log was dropped at start, its state being a snapshot's")    \
    X(COVER, SNAPSHOT_INSTALLED, 0, "a snapshot was installed")                                    \
    X(COVER, SNAPSHOT_OUTRUN, 0, "a snapshot came in whole, and the log had come further")         \
    X(COVER, SNAPSHOT_OUTRUN_EARLY, 0, "the log had come further before it was in whole")          \
    X(COVER, SNAPSHOT_REPLACED, 0, "a newer snapshot took the place of one that was coming in")    \
    X(COVER, SNAPSHOT_ACKNOWLEDGED_AGAIN, 0, "a snapshot's end was acknowledged twice")            \
    /* txn */                                                                                      \
    X(RARE, LOCK_QUEUE_FULL, 30, "a lock's queue is full")                                         \
    X(RARE, LOCK_WAIT_SHORT, 30, "a request waits for a lock for a millisecond at most")           \
    X(RARE, TXN_ENTRY_REFUSED, 30, "a transaction's first lock at a group is refused: busy")       \
    X(RARE, TXN_ENTRY_EXPIRES_EARLY, 250, "a live transaction's locks expire")                     \
    X(RARE, PREPARED_ASKED_AT_ONCE, 250, "a prepared transaction is asked about without a pause")  \
    X(RARE, TXN_INQUIRES_EARLY, 50, "a participant asks home for the outcome at once")             \
    X(RARE, RECOVERY_IMPATIENT, 100, "what recovery has asked for is asked again at once")         \
    X(RARE, RESOLVE_LOST, 100, "a participant is not told an outcome")                             \
    X(RARE, ACKNOWLEDGED_ONE, 250, "one record is forgotten in an entry")                          \
    X(RARE, TWO_PHASES_IN_ONE_GROUP, 250, "a transaction of one group takes two phases")           \
    X(COVER, HOLDER_WOUNDED, 0, "an older transaction wounded one that held a lock")               \
    X(COVER, WAITER_WOUNDED, 0, "and that one waited for a lock elsewhere")                        \
    X(COVER, PREPARE_WOUNDED, 0, "and that one was preparing")                                     \
    X(COVER, PREPARED_ASKED_ABOUT, 0, "an older transaction asked about a prepared one")           \
    X(COVER, LOCK_TIMED_OUT, 0, "a wait for a lock timed out")                                     \
    X(COVER, TXN_ENTRY_EXPIRED, 0, "a transaction's locks expired")                                \
    X(COVER, TXN_LOCKS_LOST, 0, "a transaction named an entry that is gone")                       \
    X(COVER, READ_HELD_BACK, 0, "a read waited for a writer that had its bound")                   \
    X(COVER, PREPARE_ANSWERED_FROM_STATE, 0, "a prepare was answered from an outcome or record")   \
    X(COVER, COMMIT_ANSWERED_FROM_STATE, 0, "a commit came after its record was decided")          \
    X(COVER, COMMIT_UNKNOWN, 0, "a commit of a transaction that is not known")                     \
    X(COVER, PREPARE_EXPIRED, 0, "an entry was refused: its deadline had passed in the log")       \
    X(COVER, COMMIT_EXPIRED, 0, "a commit came after the deadline and aborted")                    \
    X(COVER, TOMBSTONE_WRITTEN, 0, "an abort wrote a tombstone for a prepare that may come")       \
    X(COVER, TOMBSTONE_WITH_PARTICIPANTS, 0, "an abort left a record to tell participants")        \
    X(COVER, ABORT_TOO_LATE, 0, "an abort found its transaction committed")                        \
    X(COVER, RESOLVED_TWICE, 0, "an outcome came that had been applied")                           \
    X(COVER, RECOVERY_AFTER_ELECTION, 0, "a new leader found open transactions")                   \
    X(COVER, HOME_ABORTS_EXPIRED, 0, "home aborted a transaction past its deadline")               \
    X(COVER, HOME_ABORTS_FOR_OLDER, 0, "home aborted a prepared one for which an older one waits") \
    X(COVER, PARTICIPANT_ASKS_HOME, 0, "a participant asked home for an outcome")                  \
    X(COVER, COORDINATOR_SILENT, 0, "a coordinator was silent for so long that it counts as dead") \
    X(COVER, PARTICIPANT_TOLD_AGAIN, 0, "a participant was told an outcome again")                 \
    /* shardkv */                                                                                  \
    X(RARE, SLICE_ONE_ENTRY, 250, "a slice of applied entries has one entry")                      \
    X(RARE, STORE_STALLED, 50, "the store takes no write now")                                     \
    X(RARE, REQUEST_REFUSED_BUSY, 50, "new work is refused: busy")                                 \
    X(RARE, PROPOSAL_REFUSED, 30, "the log takes no proposal now")                                 \
    X(RARE, ANSWER_LOST, 20, "a client's answer is lost")                                          \
    X(RARE, PEER_ANSWER_LOST, 100, "another group's answer is lost")                               \
    X(RARE, CACHE_COLD, 100, "what is read is not in memory")                                      \
    X(RARE, SCAN_VISITS_ONE_ROW, 250, "a scan leaves the loop after one row")                      \
    X(RARE, SCAN_PAGE_ONE_ROW, 100, "a page of a scan has one row")                                \
    X(RARE, CHECK_VISITS_ONE_ROW, 250, "a check of reads leaves the loop after one row")           \
    X(COVER, CHECK_ON_POOL, 0, "a check of reads went to the pool")                                \
    X(COVER, CHECK_CAME_BACK_TO_NOBODY, 0, "a check came back from the pool to nobody")            \
    X(COVER, CHECK_HELD_BACK, 0, "a check waited for a writer that had its bound")                 \
    X(COVER, READ_CHANGED, 0, "what was read without a lock had changed")                          \
    X(COVER, READ_BELOW_SAFE_POINT, 0, "what was read without a lock was from too long ago")       \
    X(RARE, CHECKPOINT_SKIPPED, 250, "a group is flushed without a checkpoint")                    \
    X(RARE, FLUSH_EARLY, 10, "the store is flushed now")                                           \
    X(RARE, RESTORE_ONE_ROW, 250, "a snapshot is written a row at a time")                         \
    X(RARE, COMPACTION_MISSES_ROW, 250, "a row lies in a file that is not being rewritten")        \
    X(RARE, SWEEP_ONE_ROW, 250, "a job of the sweeper looks at one row")                           \
    X(RARE, ORACLE_ANSWER_LOST, 50, "an answer of the oracle is lost")                             \
    X(RARE, ORACLE_ASKED_FOR_ONE, 250, "a request to the oracle is for one waiter")                \
    X(COVER, SLICE_WRITTEN_AGAIN, 0, "a batch that the store had refused was written")             \
    X(COVER, OUTCOME_HIDDEN, 0, "replay hid an outcome that a later entry had written")            \
    X(COVER, LOCKS_RECOVERED, 0, "a new leader locked again what was prepared")                    \
    X(COVER, REQUESTS_DROPPED, 0, "a fall from leadership answered waiting requests")              \
    X(COVER, PREPARE_JOINED, 0, "a prepare came again while the first was on its way")             \
    X(COVER, READ_CAME_BACK_TO_NOBODY, 0, "a read came back from the pool to nobody")              \
    X(COVER, CLOCK_ASKED, 0, "a deadline looked too far ahead, and the oracle was asked")          \
    X(COVER, RESTORE_UNDONE, 0, "a snapshot that was durable was thrown away")                     \
    X(COVER, LEFTOVERS_DELETED, 0, "rows of an old generation were deleted at start")              \
    X(COVER, MARKER_SWEPT, 0, "a delete marker was swept away with all that it hid")               \
    X(COVER, SWEEP_AWAITED, 0, "a copy waited for a job of the sweeper")                           \
    X(COVER, SWEEP_GAVE_WAY, 0, "a copy ended a pass of the sweeper")                              \
    X(COVER, SWEEP_OF_NOBODY, 0, "a job of the sweeper found its rows replaced")                   \
    X(COVER, SCAN_OVERTAKEN, 0, "the safe point overtook a scan on the pool")                      \
    X(COVER, SAFE_POINT_WAITS_FOR_SNAPSHOT, 0, "dropping waited for the end of a snapshot")        \
    X(COVER, SAFE_POINT_HELD, 0, "a hold kept the safe point back")                                \
    X(COVER, HOLD_TOO_OLD, 0, "a hold was refused: the safe point had passed it")                  \
    X(COVER, HOLD_EXPIRED, 0, "a hold expired")                                                    \
    X(COVER, ORACLE_ASKED_AGAIN, 0, "a request to the oracle was given up and made again")         \
    X(RARE, TIMESTAMP_CLOSED_ALONE, 250, "a replica asks to close the lowest timestamp it needs")  \
    X(COVER, PREPARE_TIMESTAMP_OLD, 0, "the oracle's answer was below what had been committed")    \
    X(COVER, SNAPSHOT_ASKED_CLOCK, 0, "a snapshot was above what its store had heard")             \
    X(COVER, SNAPSHOT_OLDER_VERSION, 0, "a snapshot passed over versions that are too new for it") \
    X(COVER, SNAPSHOT_AT_REPLICA, 0, "a replica that does not lead answered a snapshot read")      \
    X(COVER, CLOSED_BEFORE_APPLIED, 0, "a closed timestamp came before its index was applied")     \
    X(COVER, CLOSED_SILENCE, 0, "a replica's reads waited in vain for a closed timestamp")         \
    X(COVER, CLOSE_WAITED, 0, "closing a timestamp waited for a writer bound below it")            \
    X(COVER, SNAPSHOT_UNDER_RESTORE, 0, "a replica's rows were replaced under a snapshot read")    \
    X(COVER, DECIDED_ELSEWHERE, 0, "a commit or abort was applied where its home is no longer")    \
    X(COVER, HOME_CAME_TO_PARTICIPANT, 0,                                                          \
      "a record came with its range to where its part was prepared")                               \
    X(RARE, RANGE_REPORT_LOST, 100, "the shard master is not told of a range")                     \
    X(RARE, FETCH_ANSWER_LOST, 50, "rows of a range that moves are lost on the way")               \
    X(RARE, FEED_CHUNK_TINY, 250, "a range that moves is sent row by row")                         \
    X(COVER, COPY_HELD_BACK, 0, "rows of a range that moves waited for their turn")                \
    X(RARE, COPY_NEAR_LATE, 250, "a range that moves is near only when nothing is left")           \
    X(COVER, COPY_OUTRUN, 0, "a range that moves was written as fast as it was copied")            \
    X(COVER, CHECK_ROWS_GONE, 0, "a range went while what was read of it was looked at")           \
    X(RARE, FEED_LOST, 250, "the list of a range's changes is full")                               \
    X(COVER, RANGE_SPLIT, 0, "a range was split")                                                  \
    X(COVER, RANGES_MERGED, 0, "two ranges were merged")                                           \
    X(COVER, RANGE_FROZEN, 0, "a range was frozen")                                                \
    X(COVER, RANGE_SEALED, 0, "a range was sealed")                                                \
    X(COVER, RANGE_UNFROZEN, 0, "a range was given back")                                          \
    X(COVER, RANGE_DROPPED, 0, "a range was dropped by its former owner")                          \
    X(COVER, RANGE_CLEARED, 0, "room was made for a range that comes")                             \
    X(COVER, RANGE_COPIED, 0, "a range had come in whole")                                         \
    X(COVER, RANGE_OWNED, 0, "a range was taken over")                                             \
    X(COVER, RANGE_DISCARDED, 0, "a range that was coming was called off")                         \
    X(COVER, FEED_BEGUN_ANEW, 0, "a copy of a range had to begin anew")                            \
    X(COVER, FEED_OVERFLOWN, 0, "and that because too much had changed meanwhile")                 \
    X(COVER, FEED_WALK_OF_NOBODY, 0,                                                               \
      "rows of a range that moves came back from the pool to nobody")                              \
    /* shardmaster */                                                                              \
    X(RARE, MASTER_PROPOSAL_REFUSED, 50, "the shard master cannot propose now")                    \
    X(RARE, MASTER_MAP_PUSH_LOST, 100, "a store is not told the map")                              \
    X(RARE, MASTER_CREATES_AGAIN, 250, "a store is told to make a replica that it has")            \
    X(RARE, ORACLE_AT_CEILING, 30, "the oracle waits for a higher ceiling")                        \
    X(COVER, MASTER_CHANGE_OUTDATED, 0, "a change of replicas was refused when it was applied")    \
    X(COVER, MASTER_JOINER_STRUCK_OUT, 0, "one of many that were to join and were lost")           \
    X(COVER, MASTER_CHANGE_CALLED_OFF, 0, "a replica that was to join does not")                   \
    X(COVER, MASTER_DISK_REPLACED, 0, "a store came back with another disk")                       \
    X(COVER, MASTER_REPLICA_REPLACED, 0, "a lost replica is to be replaced")                       \
    X(COVER, MASTER_STORE_JOINED, 0, "a store has joined")                                         \
    X(COVER, MASTER_STORE_REMOVED, 0, "a store was removed")                                       \
    X(COVER, MASTER_STORE_DIED, 0, "a store was silent for so long that it counts as dead")        \
    X(COVER, MASTER_STORE_CAME_BACK, 0, "and reported again")                                      \
    X(COVER, MASTER_REPLICA_PLACED, 0, "placement asked for other replicas of a group")            \
    X(COVER, MASTER_LEADER_PLACED, 0, "placement asked for another leader of a group")             \
    X(RARE, MASTER_ORDER_LOST, 100, "an order to a group about a range is lost")                   \
    X(RARE, MASTER_CALLS_MOVE_OFF, 20, "a move is called off for no reason")                       \
    X(COVER, MASTER_RANGE_CHANGE_OUTDATED, 0, "a range's change did nothing when it was applied")  \
    X(COVER, MASTER_RANGE_SWITCHED, 0, "a range's owner was switched")                             \
    X(COVER, MASTER_MOVE_CALLED_OFF, 0, "a move was called off")                                   \
    X(COVER, MASTER_RANGE_LEFT_FROZEN, 0, "a range was found frozen by a move that is over")       \
    X(COVER, MASTER_RANGE_LEFT_COPIED, 0, "a copy was found of a move that is over")               \
    X(COVER, MASTER_RANGE_REPORT_OLD, 0, "a report about a range came late")                       \
    X(COVER, MASTER_CHANGE_NOT_KNOWN_YET, 0, "a report spoke of a change that is not known yet")   \
    X(COVER, MASTER_RANGE_PLACED, 0, "placement asked for a change of a range")                    \
    X(COVER, MASTER_RANGE_RESTS_FOR_PERSON, 0, "what a person did to a range rests for a while")   \
    X(COVER, MASTER_GROUP_CREATED, 0, "a new group began")                                         \
    X(COVER, MASTER_GROUP_BEGINS_WITHOUT, 0, "a group began without one on a dead store")          \
    /* cmd: the node */                                                                            \
    X(RARE, NODE_REPORT_LOST, 100, "a store's report does not reach the shard master")             \
    X(RARE, NODE_MAP_IGNORED, 100, "a map that was pushed is not taken")                           \
    X(RARE, NODE_LEADER_UNKNOWN, 20, "a store does not know who leads a group")                    \
    X(RARE, NODE_CONFIGURES_EARLY, 300, "a leader asks for a change before it is ready for one")   \
    X(RARE, NODE_CONFIGURES_TWICE, 300, "or before the one before it is at its end")               \
    X(RARE, NODE_DESTROYS_LATE, 250, "a replica that was struck out stays for a while")            \
    X(COVER, NODE_MAP_WITHOUT_RANGES, 0, "a map left out ranges that a store did not have")        \
    X(COVER, NODE_CREATE_FOR_OTHER_DISK, 0, "a replica was to be made on a disk that is gone")     \
    X(COVER, CONNECTION_HALF_OPEN, 0, "a store that took another for connected was told better")   \
    X(COVER, STORE_INTRODUCED, 0, "a store that was not known said where it is to be dialed")      \
    X(COVER, NODE_MAP_ASKED_OF_PEER, 0, "a store that hears of no map asked another for its")      \
    X(COVER, NODE_MASTER_MADE, 0, "a replica of group 0 was made")                                 \
    X(COVER, NODE_MASTER_DESTROYED, 0, "a replica of group 0 was destroyed")                       \
    X(COVER, NODE_MASTER_LOST, 0, "a replica of group 0 was lost with its log")                    \
    /* client */                                                                                   \
    X(RARE, CLIENT_TRY_SHORT, 20, "a client waits for an answer for a millisecond")                \
    X(RARE, CLIENT_WRONG_STORE, 50, "a client asks a store that does not lead")                    \
    X(RARE, CLIENT_MAP_PUSH_LOST, 250, "a client does not hear of a new map")                      \
    X(RARE, CLIENT_BACKOFF_LONG, 100, "a client rests for as long as it may")                      \
    X(RARE, CLIENT_SCAN_PAGE_ONE_ROW, 100, "a client asks for a row at a time")                    \
    X(COVER, CLIENT_MAP_RENEWED, 0, "a client asks a silent store whether it is still there")      \
    X(COVER, CLIENT_IN_DOUBT, 0, "a client does not know whether its request was done")            \
    X(COVER, CLIENT_REROUTED, 0, "a client's request was encoded anew for a new map")              \
    X(COVER, CLIENT_MOVED_WAITS, 0, "a client waits for a range that is on its way")               \
    X(COVER, CLIENT_MOVED_WOKEN, 0, "a newer map ends a client's wait for a range")                \
    /* the simulator */                                                                            \
    X(RARE, COORDINATOR_DIES_BEFORE_PREPARE, 60, "a client dies before it sends a prepare")        \
    X(RARE, COORDINATOR_DIES_BETWEEN_PREPARES, 60, "a client dies with one of its prepares sent")  \
    X(RARE, COORDINATOR_DIES_BEFORE_COMMIT, 60, "a client dies with all votes in")                 \
    X(RARE, COORDINATOR_DIES_AFTER_COMMIT, 60, "a client dies when it has sent its commit")        \
    X(RARE, COORDINATOR_DIES_BEFORE_ANSWER, 60, "a client dies before it hears of its commit")     \
    X(RARE, LEADERS_DIE_AT_BEGIN, 150, "leaders die when a change of a range has begun")           \
    X(RARE, LEADERS_DIE_AT_CLEAR, 150, "leaders die when room was made for a range")               \
    X(RARE, LEADERS_DIE_AT_FREEZE, 150, "leaders die when a range was frozen")                     \
    X(RARE, LEADERS_DIE_AT_SEAL, 150, "leaders die when a range was sealed")                       \
    X(RARE, LEADERS_DIE_AT_COPIED, 150, "leaders die when a range has come in whole")              \
    X(RARE, LEADERS_DIE_AT_SWITCH, 150, "leaders die when a move was switched")                    \
    X(RARE, LEADERS_DIE_AT_OWN, 150, "leaders die when a range was taken over")                    \
    X(RARE, LEADERS_DIE_AT_DONE, 150, "leaders die when a change of a range is done")              \
    X(RARE, LEADERS_DIE_AT_DROP, 150, "leaders die when a range was dropped")                      \
    X(RARE, LEADERS_DIE_AT_CANCEL, 150, "leaders die when a move was called off")                  \
    X(RARE, LEADERS_DIE_AT_UNFREEZE, 150, "leaders die when a range was given back")               \
    X(RARE, LEADERS_DIE_AT_DISCARD, 150, "leaders die when what had come of a range is gone")      \
    X(RARE, LEADERS_DIE_AT_SPLIT_OR_MERGE, 150, "leaders die when a range was split or merged")    \
    X(RARE, MASTER_DIES_AT_JOIN, 300, "the shard master's leader dies when a store has joined")    \
    X(RARE, MASTER_DIES_AT_FILL, 300, "it dies when that store is to have its first replica")      \
    X(RARE, MASTER_DIES_AT_DRAIN, 300, "the shard master's leader dies when a store drains")       \
    X(RARE, MASTER_DIES_AT_UNDRAIN, 300, "it dies when a store drains no more")                    \
    X(RARE, MASTER_DIES_AT_STORE_DEATH, 300,                                                       \
      "the shard master's leader dies when a store is dead")                                       \
    X(RARE, MASTER_DIES_AT_COMING_BACK, 300, "it dies when a dead store has come back")            \
    X(RARE, MASTER_DIES_AT_REPLACEMENT, 150, "it dies when a replica of a dead store is replaced") \
    X(RARE, MASTER_DIES_AT_LEAVING, 150, "it dies when such a replica is gone")                    \
    X(RARE, MASTER_DIES_AT_LAST_LEAVING, 300, "it dies when the last of them is gone")             \
    X(RARE, MASTER_DIES_AT_REMOVAL, 300, "the shard master's leader dies when a store was removed")

enum site {
#define SITE_ENUM(kind, name, per_mille, text) kind##_##name,
    SITES_LIST(SITE_ENUM)
#undef SITE_ENUM
        SITES_COUNT
};

enum site_kind { SITE_RARE, SITE_COVER };

struct site_info {
    enum site_kind kind;
    const char *name; /* as above */
    uint32_t per_mille_max;
    const char *text;
};
const struct site_info *site_info(enum site site);

struct site_hook {
    bool (*rare)(void *context, enum site site);
    void (*cover)(void *context, enum site site);
    void *context;
};
/* NULL in production. Read by the macros alone. */
extern const struct site_hook *site_hook_installed;
/* Borrowed until another, or NULL, is set. */
void site_hook_set(const struct site_hook *hook);

/* A name of the other kind does not compile. */
#define RARE(name)                                                                                 \
    (__builtin_expect(site_hook_installed != NULL, false) &&                                       \
     site_hook_installed->rare(site_hook_installed->context, RARE_##name))
#define COVER(name)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(site_hook_installed != NULL, false))                                  \
            site_hook_installed->cover(site_hook_installed->context, COVER_##name);                \
    } while (0)

/* What decides and counts in one run. Half of the RARE sites are active in it, each at a rate of
 * its own below its most, all of it drawn from the seed, so that runs differ in what they stress
 * (swarm testing; Groce et al., 2012). Each site draws from a sequence of its own: a site that is
 * added or asked more often does not change what the others do. */
struct site_state {
    struct random random;
    uint32_t per_mille; /* RARE: 0 is never */
    uint64_t reached_count;
    uint64_t fired_count; /* RARE: of these it happened */
};
struct sites {
    struct site_hook hook;
    bool is_quiet;
    struct site_state states[SITES_COUNT];
};
/* Made ready; installed by site_hook_set(&sites->hook). */
void sites_init(struct sites *sites, uint64_t seed);
/* For tests: exactly that often, 1000 is always. Only RARE sites. */
void sites_set_rate(struct sites *sites, enum site site, uint32_t per_mille);
/* Nothing rare happens from now on (the system heals and must make progress); counting goes on. */
void sites_set_quiet(struct sites *sites, bool is_quiet);
/* The counts of another run on top of these. */
void sites_add_counts(struct sites *to, const struct sites *from);
/* COVER: it was reached. RARE: it happened. */
bool sites_has_fired(const struct sites *sites, enum site site);
/* Appends a line for each site, those that never fired last, and returns how many those are:
 * site=LOG_TRUNCATED kind=cover count=3 reached=3 text="..." */
size_t sites_report(const struct sites *sites, struct buffer *out_text);
