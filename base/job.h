/* job.h: work that may block on disk, run by a pool outside the loop.
 *
 * A step function that would block fills a job and puts it into its update. The host calls `run` on
 * another thread, where it touches only the job's own memory and objects that say they are safe for
 * threads (the store), and then hands the job back to the step function as an event, which calls
 * `done` on the loop's thread. `done` may free the job. A host that shuts down runs every job to
 * its end first. The simulator runs jobs in line, after a delay of its choice.
 */
#pragma once

struct job {
    void (*run)(struct job *job);
    void (*done)(struct job *job);
    struct job *next; /* for the holder's queue */
};

/* Puts it into the update. */
static inline void job_push(struct job **jobs, struct job *job, void (*run)(struct job *),
                            void (*done)(struct job *))
{
    *job = (struct job){.run = run, .done = done, .next = *jobs};
    *jobs = job;
}
