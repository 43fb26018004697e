#include "http/metrics_process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"

static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_cpu(struct buf *out)
{
    struct timespec t;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) {
        return;
    }
    put_head(out, "process_cpu_seconds_total", "counter", "CPU time of the process.");
    buf_printf(out, "process_cpu_seconds_total %lld.%06ld\n", (long long)t.tv_sec,
               t.tv_nsec / 1000);
}

/* The first `n` numbers of a file of /proc; false when it has not so many. */
static bool read_numbers(const char *path, const char *skip_behind, uint64_t *ret, unsigned n)
{
    char text[1024];
    const char *at = text;
    FILE *f = fopen(path, "re");
    size_t len = f == NULL ? 0 : fread(text, 1, sizeof text - 1, f);

    if (f != NULL) {
        (void)fclose(f);
    }
    text[len] = '\0';
    if (skip_behind != NULL) {
        at = strrchr(text, skip_behind[0]);
        at = at == NULL ? "" : at + 1;
        at += strspn(at, " RSDTtZXI"); /* the state, a letter */
    }
    for (unsigned i = 0; i < n; i++) {
        char *end;

        ret[i] = (uint64_t)strtoll(at, &end, 10);
        if (end == at) {
            return false;
        }
        at = end;
    }
    return true;
}

/* proc(5): statm has pages, stat the start in ticks since the boot. */
static void put_memory_and_start(struct buf *out)
{
    enum { RESIDENT = 1, START = 18, STAT_NUMBERS = 19 };
    uint64_t statm[2], stat[STAT_NUMBERS];
    struct timespec boot, wall;
    double up_s, started_s;

    if (read_numbers("/proc/self/statm", NULL, statm, 2)) {
        put_head(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
        buf_printf(out, "process_resident_memory_bytes %" PRIu64 "\n",
                   statm[RESIDENT] * (uint64_t)sysconf(_SC_PAGESIZE));
    }
    if (read_numbers("/proc/self/stat", ")", stat, STAT_NUMBERS) &&
        clock_gettime(CLOCK_BOOTTIME, &boot) == 0 && clock_gettime(CLOCK_REALTIME, &wall) == 0) {
        up_s = (double)boot.tv_sec - (double)stat[START] / (double)sysconf(_SC_CLK_TCK);
        started_s = (double)wall.tv_sec - up_s;
        put_head(out, "process_start_time_seconds", "gauge", "Start, in seconds since 1970.");
        buf_printf(out, "process_start_time_seconds %.0f\n", started_s);
    }
}

static void put_files(struct buf *out)
{
    struct rlimit limit;
    uint64_t open_files = 0;
    DIR *dir = opendir("/proc/self/fd");

    if (dir != NULL) {
        for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
            open_files += e->d_name[0] != '.';
        }
        (void)closedir(dir);
        put_head(out, "process_open_fds", "gauge", "Open file descriptors.");
        buf_printf(out, "process_open_fds %" PRIu64 "\n", open_files - 1); /* not the folder's */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        put_head(out, "process_max_fds", "gauge", "Limit of open file descriptors.");
        buf_printf(out, "process_max_fds %" PRIu64 "\n", (uint64_t)limit.rlim_cur);
    }
}

void metrics_process_put(struct buf *out)
{
    put_cpu(out);
    put_memory_and_start(out);
    put_files(out);
    put_head(out, "callsign_log_lines_dropped_total", "counter",
             "Lines of the log that nobody read in time.");
    buf_printf(out, "callsign_log_lines_dropped_total %" PRIu64 "\n", log_dropped());
}
