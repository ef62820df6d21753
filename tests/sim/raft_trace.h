/* raft_trace.h: what the replicas of all groups do, as JSON lines for judges outside: a model of
 * Raft that is walked along a trace. docs/testing.md says what the lines mean.
 *
 * States are looked at after each event that a node is given, and what changed is told. Messages
 * are taken from the frames, where they leave their process and where the node is given them. */
#pragma once

#include "base/types.h"

#include <stdio.h>

struct frame;
struct process;
struct raft_trace;

struct raft_trace *raft_trace_new(FILE *file);
void raft_trace_free(struct raft_trace *trace);

/* All do nothing when `trace` is NULL. */
void raft_trace_started(struct raft_trace *trace, struct process *process);
void raft_trace_stopped(struct raft_trace *trace, struct process *process);
/* After the node was given an event. */
void raft_trace_look(struct raft_trace *trace, struct process *process);
/* A frame that is no raft's is passed over. */
void raft_trace_send(struct raft_trace *trace, struct process *process, const struct frame *frame);
void raft_trace_receive(struct raft_trace *trace, struct process *process,
                        const struct frame *frame);
