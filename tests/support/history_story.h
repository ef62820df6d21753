/* history_story.h: a history from a text that reads well in a test: one event a line, `PROCESS TYPE
 * FUNCTION VALUE`, with ' for ". Time is the number of the line. */
#pragma once

#include "cmd/history.h"

/* "0 invoke txn [['r',1,null]]\n0 ok txn [['r',1,[5]]]". Fails the test when a line is refused. The
 * caller frees it. */
struct history *history_story(const char *text);
