/* ostraka_screen.c: standard output as a terminal: its size and colours, and a picture on it that
 * is drawn again in place. */
#include "cmd/ostraka_command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* A screen of its own, without a cursor; and back. */
#define SCREEN_ENTER "\033[?1049h\033[?25l"
#define SCREEN_LEAVE "\033[?25h\033[?1049l"
#define SCREEN_HOME  "\033[H"
#define LINE_END     "\033[K\n"
#define SCREEN_END   "\033[J"
/* Where looking takes longer than the interval. */
#define PAUSE_MS_MIN 50u

struct screen screen_find(void)
{
    struct screen screen = {.is_terminal = isatty(STDOUT_FILENO)};
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize size;
    if (!screen.is_terminal)
        return screen;
    screen.has_colours =
        (!no_color || !no_color[0]) && term && term[0] && strcmp(term, "dumb") != 0;
    screen.columns = 80;
    screen.rows = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        screen.columns = size.ws_col;
        screen.rows = size.ws_row;
    }
    return screen;
}

static void write_all(const void *data, size_t bytes_count)
{
    const char *at = data;
    while (bytes_count > 0) {
        ssize_t written = write(STDOUT_FILENO, at, bytes_count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            exit(EXIT_FAILURE); /* nobody reads any more */
        at += written;
        bytes_count -= (size_t)written;
    }
}

void screen_print(struct canvas *canvas_take)
{
    write_all(canvas_take->text.data, canvas_take->text.bytes_count);
    canvas_fini(canvas_take);
}

/* Waiting for stores may take a while, and who has seen enough shall not wait: so it ends here and
 * now. Only what may be called in a signal's handler. */
static void interrupted(int signal_number)
{
    ssize_t written = write(STDOUT_FILENO, SCREEN_LEAVE, sizeof SCREEN_LEAVE - 1);
    (void)written;
    _exit(signal_number == SIGINT ? EXIT_SUCCESS : 128 + signal_number);
}

static void resized(int signal_number)
{
    (void)signal_number; /* it ends the pause */
}

static void signals_catch(void)
{
    struct sigaction leave = {.sa_handler = interrupted}, look = {.sa_handler = resized};
    sigaction(SIGINT, &leave, NULL);
    sigaction(SIGTERM, &leave, NULL);
    sigaction(SIGHUP, &leave, NULL);
    sigaction(SIGWINCH, &look, NULL);
}

/* No line below the last row: it would scroll. */
static void frame_show(const struct canvas *canvas, uint32_t rows)
{
    struct buffer frame = BUFFER_INIT;
    buffer_append(&frame, SCREEN_HOME, sizeof SCREEN_HOME - 1);
    uint32_t row = 1;
    for (size_t i = 0; i < canvas->text.bytes_count && row < rows; i++) {
        if (canvas->text.data[i] != '\n') {
            buffer_append_u8(&frame, canvas->text.data[i]);
            continue;
        }
        buffer_append(&frame, LINE_END, sizeof LINE_END - 1);
        row++;
    }
    buffer_append(&frame, SCREEN_END, sizeof SCREEN_END - 1);
    write_all(frame.data, frame.bytes_count);
    buffer_fini(&frame);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(uint64_t ms)
{
    const struct timespec pause = {.tv_sec = (time_t)(ms / 1000),
                                   .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

int screen_watch(uint32_t interval_ms, bool (*draw)(void *context, struct canvas *canvas),
                 void *context)
{
    bool is_entered = false, goes_on = true;
    while (goes_on) {
        uint64_t begun_ms = now_ms();
        struct screen screen = screen_find();
        struct canvas canvas;
        canvas_init(&canvas, screen.has_colours, screen.columns);
        goes_on = draw(context, &canvas);
        if (screen.is_terminal && !is_entered) {
            signals_catch();
            write_all(SCREEN_ENTER, sizeof SCREEN_ENTER - 1);
            is_entered = true;
        }
        if (is_entered)
            frame_show(&canvas, screen.rows);
        else
            write_all(canvas.text.data, canvas.text.bytes_count);
        canvas_fini(&canvas);
        uint64_t taken_ms = now_ms() - begun_ms;
        if (goes_on)
            pause_ms(taken_ms < interval_ms ? interval_ms - taken_ms : PAUSE_MS_MIN);
    }
    if (is_entered)
        write_all(SCREEN_LEAVE, sizeof SCREEN_LEAVE - 1);
    return EXIT_SUCCESS;
}
