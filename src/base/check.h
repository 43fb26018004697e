/*
 * check.h - assertions that stay on in production.
 *
 * CHECK  guards an invariant of our own. When it does not hold the process
 *        prints the expression and its place and aborts: a replica that no
 *        longer knows what it is doing must not vote. Never used on input
 *        from outside, which is answered instead.
 * DCHECK the same, compiled in only with --enable-debug; for checks too
 *        costly for every request.
 */
#ifndef CALLSIGN_BASE_CHECK_H
#define CALLSIGN_BASE_CHECK_H

/* Prints one line to standard error and aborts. Safe in any thread. */
_Noreturn void check_failed(const char *expression, const char *file, int line);

#define CHECK(expression)                                                                          \
    (__builtin_expect(!!(expression), 1) ? (void)0 : check_failed(#expression, __FILE__, __LINE__))

#ifdef CALLSIGN_DEBUG
#define DCHECK(expression) CHECK(expression)
#else
#define DCHECK(expression) ((void)sizeof(!(expression)))
#endif

#endif
