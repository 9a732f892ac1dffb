/* fault.c - "the client is wrong", put into words. */
#include "protocol/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/slice.h"

enum {
    UTF8_TAIL_MAX = 3, /* octets of a character after its first */
    CUT_MAX = FAULT_TEXT_MAX - 3, /* what stays of a longer text: three dots say that it went on */
};

/* Where to cut `text` so that at most CUT_MAX bytes stay and no character is split. Gives up on
 * bytes that are not UTF-8: those have no characters to keep whole. */
static size_t cut_at(const char *text)
{
    size_t len = CUT_MAX;
    while (len > CUT_MAX - UTF8_TAIL_MAX && ((uint8_t)text[len] & 0xC0) == 0x80)
        len--;
    return ((uint8_t)text[len] & 0xC0) == 0x80 ? (size_t)CUT_MAX : len;
}

/* A reply text is UTF-8, also where it quotes what is not. */
static void mend(char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t size = 1;
        while (size <= 1 + UTF8_TAIL_MAX && i + size <= len && !slice_is_utf8(slice_of(text + i, size)))
            size++;
        if (size > 1 + UTF8_TAIL_MAX || i + size > len)
            text[i] = '?', size = 1;
        i += size;
    }
}

bool fault(struct fault *f, enum reply_code code, const char *format, ...)
{
    assert(f && format);
    char text[FAULT_TEXT_MAX + 1];
    int prefix = snprintf(text, sizeof(text), "%s - ", reply_code_name(code));
    assert(prefix > 0 && prefix < FAULT_TEXT_MAX);
    va_list args;
    va_start(args, format);
    int detail = vsnprintf(text + prefix, sizeof(text) - (size_t)prefix, format, args);
    va_end(args);
    assert(detail >= 0);
    size_t len = (size_t)prefix + (size_t)detail;
    if (len > FAULT_TEXT_MAX) {
        len = cut_at(text);
        memcpy(text + len, "...", 3);
        len += 3;
    }
    f->code = code;
    memcpy(f->text, text, len);
    f->text[len] = 0;
    if (!slice_is_utf8(slice_of(f->text, len)))
        mend(f->text, len);
    return false;
}

const char *reply_code_name(enum reply_code code)
{
    switch (code) {
#define ERROR(name, number, scope) \
    case name:                     \
        return #name;
#include "protocol/errors.def"
#undef ERROR
    case NO_FAULT:
        break;
    }
    return "UNKNOWN";
}

bool reply_code_is_hard(enum reply_code code)
{
    enum { CHANNEL = false, CONNECTION = true };
    switch (code) {
#define ERROR(name, number, scope) \
    case name:                     \
        return (bool)scope;
#include "protocol/errors.def"
#undef ERROR
    case NO_FAULT:
        break;
    }
    panic("%d is no reply code", code);
}
