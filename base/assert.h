/* assert.h - assertions that stay on in a release, and the way to die saying what was in hand. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <assert.h>

#ifdef NDEBUG
#error "Leveret's assertions are part of the program: build without NDEBUG"
#endif

/* Prints the formatted message with its place to standard error and aborts: for states that cannot
 * be, and for broken promises (a journal that cannot be written). */
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)

/* An assertion that names what was in hand: assertf(n < max, "channel %u of %u", n, max). */
#define assertf(expr, ...) ((expr) ? (void)0 : panic_at(__FILE__, __LINE__, #expr ": " __VA_ARGS__))

_Noreturn void panic_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
