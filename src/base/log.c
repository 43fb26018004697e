/*
 * Lines are formatted by the calling thread and copied into one ring under
 * one mutex; the writer thread takes what is there and writes it.
 *
 *   DIRECT --log_start--> QUEUED --log_stop--> STOPPING --writer done--> DIRECT
 *
 *   DIRECT    log_event() writes itself
 *   QUEUED    log_event() puts the line into the ring, or counts it as dropped
 *   STOPPING  as QUEUED, while the writer empties the ring for as long as
 *             somebody reads, at most STOP_WAIT_MS longer
 *
 * Standard error is shared with other processes, so it is never made
 * non-blocking. Instead the writer asks poll() first and writes at most
 * PIPE_BUF bytes, which a pipe that reports room takes without blocking:
 * that is what lets log_stop() end although nobody reads.
 */
#include "log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "utf8.h"

_Static_assert(PIPE_BUF >= LOG_LINE_MAX, "a line goes into a pipe in one piece");

enum {
    RING_BYTES = 256 * 1024, /* some 2,000 lines: more than any burst of a healthy replica */
    WRITE_BYTES_MAX = PIPE_BUF,
    STOP_WAIT_MS = 1000, /* of the 10 s that stopping may take */
    POLL_MS = 50,        /* how soon a writer before a full pipe notices log_stop() */
    QUOTE_BYTES = 1280,  /* a name of 1024 bytes, with some escapes */
    QUOTE_BUFFERS = 4,
};

enum mode { DIRECT, QUEUED, STOPPING };

struct line {
    char text[LOG_LINE_MAX];
    size_t len;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* the ring is not empty, or mode is STOPPING */
    pthread_t writer;
    enum mode mode;
    char ring[RING_BYTES];
    size_t head;         /* offset of the oldest byte */
    size_t used;         /* bytes in the ring */
    uint64_t unreported; /* lines dropped since the count was logged */
} state = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static atomic_int threshold = LOG_INFO;
static atomic_uint_fast64_t dropped;
/* Whether standard error is the journal, which wants a priority in front. */
static atomic_bool to_journal;
static pthread_once_t journal_once = PTHREAD_ONCE_INIT;

/* The journal's priorities are those of syslog(3). */
static const struct {
    const char *name;
    char priority;
} levels[] = {
    [LOG_ERROR] = {"error", '3'},
    [LOG_WARN] = {"warn", '4'},
    [LOG_INFO] = {"info", '6'},
    [LOG_DEBUG] = {"debug", '7'},
};

void log_set_level(enum log_level level)
{
    CHECK(level <= LOG_DEBUG);
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

/* systemd sets JOURNAL_STREAM to device:inode of the stream it connected; a
 * child that was given another standard error inherits the variable too, so
 * the two have to match. */
static void detect_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    bool matches = false;
    struct stat st;
    char *end;

    if (stream != NULL && fstat(STDERR_FILENO, &st) == 0) {
        matches = strtoull(stream, &end, 10) == st.st_dev && *end == ':' &&
                  strtoull(end + 1, NULL, 10) == st.st_ino;
    }
    atomic_store(&to_journal, matches);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- A line ------------------------------------------------------------- */

static void begin_line(struct line *line, enum log_level level, const char *event)
{
    struct timespec t;
    struct tm utc;
    char when[sizeof "2026-01-01T00:00:00"];
    int n;

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    CHECK(strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc) != 0);
    line->len = 0;
    if (atomic_load(&to_journal)) {
        line->text[0] = '<';
        line->text[1] = levels[level].priority;
        line->text[2] = '>';
        line->len = 3;
    }
    n = snprintf(line->text + line->len, sizeof line->text - line->len,
                 "ts=%s.%03ldZ level=%s event=%s", when, t.tv_nsec / 1000000, levels[level].name,
                 event);
    CHECK(n > 0 && (size_t)n < sizeof line->text / 2);
    line->len += (size_t)n;
}

/* Cuts what is too long, visibly, and ends the line. A control character that
 * nobody quoted must not begin a second line or reach a terminal. */
static void end_line(struct line *line, bool cut)
{
    static const char mark[] = "...";

    if (cut) {
        line->len = sizeof line->text - sizeof mark;
        memcpy(line->text + line->len, mark, sizeof mark - 1);
        line->len += sizeof mark - 1;
    }
    for (size_t i = 0; i < line->len; i++) {
        unsigned char c = (unsigned char)line->text[i];

        if (c < 0x20 || c == 0x7f) {
            line->text[i] = '?';
        }
    }
    line->text[line->len++] = '\n';
}

__attribute__((format(printf, 2, 0))) static void
format_pairs(struct line *line, const char *format, va_list arguments)
{
    size_t room;
    int n;

    if (format[0] == '\0') {
        end_line(line, false);
        return;
    }
    line->text[line->len++] = ' ';
    room = sizeof line->text - line->len;
    n = vsnprintf(line->text + line->len, room, format, arguments);
    CHECK(n >= 0);
    /* vsnprintf's NUL takes the place of the newline. */
    if ((size_t)n < room) {
        line->len += (size_t)n;
    }
    end_line(line, (size_t)n >= room);
}

static void format_drops(struct line *line, uint64_t count)
{
    int n;

    begin_line(line, LOG_WARN, "log_lines_dropped");
    n = snprintf(line->text + line->len, sizeof line->text - line->len,
                 " count=%llu why=\"nobody read standard error in time\"",
                 (unsigned long long)count);
    CHECK(n > 0 && (size_t)n < sizeof line->text - line->len);
    line->len += (size_t)n;
    end_line(line, false);
}

/* --- The ring, under the mutex ------------------------------------------ */

static void put_line(const struct line *line)
{
    size_t tail = (state.head + state.used) % RING_BYTES;
    size_t first = RING_BYTES - tail;

    DCHECK(line->len <= RING_BYTES - state.used);
    if (first > line->len) {
        first = line->len;
    }
    memcpy(state.ring + tail, line->text, first);
    memcpy(state.ring, line->text + first, line->len - first);
    state.used += line->len;
}

/* Tells how many lines were lost, in front of the first one that is not. */
static bool report_drops(size_t reserve_bytes)
{
    struct line line;

    if (state.unreported == 0) {
        return true;
    }
    format_drops(&line, state.unreported);
    if (line.len + reserve_bytes > RING_BYTES - state.used) {
        return false;
    }
    put_line(&line);
    state.unreported = 0;
    return true;
}

static void enqueue(const struct line *line)
{
    bool was_empty = state.used == 0;

    if (line->len > RING_BYTES - state.used || !report_drops(line->len)) {
        state.unreported++;
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
        return;
    }
    put_line(line);
    if (was_empty) {
        pthread_cond_signal(&state.wake);
    }
}

/* Copies the oldest lines out without removing them; whole lines, so that
 * other writers to the same pipe never get in between. */
static size_t peek(char *ret_bytes)
{
    size_t n = state.used < WRITE_BYTES_MAX ? state.used : WRITE_BYTES_MAX;
    size_t first = RING_BYTES - state.head;

    if (first > n) {
        first = n;
    }
    memcpy(ret_bytes, state.ring + state.head, first);
    memcpy(ret_bytes + first, state.ring, n - first);
    while (ret_bytes[n - 1] != '\n') {
        n--;
        CHECK(n != 0);
    }
    return n;
}

static void discard(size_t n)
{
    state.head = (state.head + n) % RING_BYTES;
    state.used -= n;
}

/* --- Writing ------------------------------------------------------------ */

static void write_directly(const char *bytes, size_t n)
{
    while (n != 0) {
        ssize_t written = write(STDERR_FILENO, bytes, n);

        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return;
        }
        bytes += written;
        n -= (size_t)written;
    }
}

static bool may_write(void)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&p, 1, POLL_MS) > 0;
}

/* How many of the n bytes are done with: written, or lost because standard
 * error is closed for good. 0: try again later. */
static size_t write_some(const char *bytes, size_t n)
{
    ssize_t written;

    if (!may_write()) {
        return 0;
    }
    written = write(STDERR_FILENO, bytes, n);
    if (written < 0) {
        return errno == EINTR || errno == EAGAIN ? 0 : n;
    }
    return (size_t)written;
}

/* Waits for something to write; false when the writer has to end. */
static bool await_lines(uint64_t *deadline_ms)
{
    if (state.used == 0) {
        report_drops(0);
    }
    while (state.used == 0 && state.mode != STOPPING) {
        pthread_cond_wait(&state.wake, &state.mutex);
    }
    if (state.mode != STOPPING) {
        return true;
    }
    if (*deadline_ms == 0) {
        *deadline_ms = now_ms() + STOP_WAIT_MS;
    }
    return state.used != 0 && now_ms() < *deadline_ms;
}

static void *run_writer(void *unused)
{
    char bytes[WRITE_BYTES_MAX];
    uint64_t deadline_ms = 0; /* once stopping */
    size_t n;

    (void)unused;
    pthread_mutex_lock(&state.mutex);
    while (await_lines(&deadline_ms)) {
        n = peek(bytes);
        pthread_mutex_unlock(&state.mutex);
        n = write_some(bytes, n);
        pthread_mutex_lock(&state.mutex);
        discard(n);
    }
    pthread_mutex_unlock(&state.mutex);
    return NULL;
}

void log_start(void)
{
    sigset_t all;
    sigset_t before;

    detect_journal();
    pthread_mutex_lock(&state.mutex);
    CHECK(state.mode == DIRECT);
    state.mode = QUEUED;
    state.head = 0;
    state.used = 0;
    state.unreported = 0;
    /* The writer takes no signals: they belong to the loops, and a reader
     * that has gone must not end the process by SIGPIPE. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    CHECK(pthread_create(&state.writer, NULL, run_writer, NULL) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_unlock(&state.mutex);
}

void log_stop(void)
{
    pthread_mutex_lock(&state.mutex);
    CHECK(state.mode == QUEUED);
    state.mode = STOPPING;
    pthread_cond_signal(&state.wake);
    pthread_mutex_unlock(&state.mutex);

    CHECK(pthread_join(state.writer, NULL) == 0);

    pthread_mutex_lock(&state.mutex);
    state.mode = DIRECT;
    pthread_mutex_unlock(&state.mutex);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    int saved_errno = errno;
    struct line line;
    va_list arguments;
    bool direct;

    if (level > log_get_level()) {
        return;
    }
    pthread_once(&journal_once, detect_journal);
    begin_line(&line, level, event);
    va_start(arguments, format);
    format_pairs(&line, format, arguments);
    va_end(arguments);

    pthread_mutex_lock(&state.mutex);
    direct = state.mode == DIRECT;
    if (!direct) {
        enqueue(&line);
    }
    pthread_mutex_unlock(&state.mutex);
    if (direct) {
        write_directly(line.text, line.len);
    }
    errno = saved_errno;
}

/* --- Quoting ------------------------------------------------------------ */

/* Bytes of the UTF-8 character that begins at `at`, from its lead byte. */
static size_t character_bytes(const char *at)
{
    unsigned char c = (unsigned char)at[0];

    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Writes one character, or one byte of bad text, escaped where it has to be;
 * returns how many bytes it wrote, at most 8, and how many it used up. */
static size_t quote_one(const char *at, bool is_utf8, char *out, size_t *ret_used)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char c = (unsigned char)at[0];
    size_t n = is_utf8 ? character_bytes(at) : 1;
    /* U+0080 to U+009F are control characters too: C2 80 to C2 9F. */
    bool is_control =
        c < 0x20 || c == 0x7f || (c >= 0x80 && !is_utf8) || (c == 0xc2 && (at[1] & 0xe0) == 0x80);

    *ret_used = n;
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = at[0];
        return 2;
    }
    if (!is_control) {
        memcpy(out, at, n);
        return n;
    }
    for (size_t i = 0; i < n; i++) {
        out[4 * i] = '\\';
        out[4 * i + 1] = 'x';
        out[4 * i + 2] = digits[((unsigned char)at[i]) >> 4];
        out[4 * i + 3] = digits[((unsigned char)at[i]) & 0xf];
    }
    return 4 * n;
}

const char *log_quote(const char *text)
{
    static _Thread_local char buffers[QUOTE_BUFFERS][QUOTE_BYTES];
    static _Thread_local unsigned next;
    static const char mark[] = "...\"";
    char *out = buffers[next++ % QUOTE_BUFFERS];
    size_t len = 0;
    bool is_utf8;

    if (text == NULL) {
        text = "";
    }
    is_utf8 = utf8_valid(text, strlen(text));
    out[len++] = '"';
    while (*text != '\0') {
        char one[8];
        size_t used;
        size_t n = quote_one(text, is_utf8, one, &used);

        if (len + n + sizeof mark > QUOTE_BYTES) {
            memcpy(out + len, mark, sizeof mark);
            return out;
        }
        memcpy(out + len, one, n);
        len += n;
        text += used;
    }
    out[len++] = '"';
    out[len] = '\0';
    return out;
}
