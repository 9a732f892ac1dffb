/* fault.h - "the client is wrong": what a function reports when it refuses a request.
 * A fault is data; broker/connection alone turns it into channel.close or connection.close. */
#ifndef PROTOCOL_FAULT_H
#define PROTOCOL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum reply_code {
    NO_FAULT = 0,
#define ERROR(name, number, scope) name = number,
#include "protocol/errors.def"
#undef ERROR
};

/* reply-text is a shortstr. */
enum { FAULT_TEXT_MAX = 255 };

struct fault {
    enum reply_code code;
    uint16_t class_id, method_id; /* of the failing method, 0/0 if none; set by the dispatcher */
    char text[FAULT_TEXT_MAX + 1]; /* "CODE_NAME - detail", cut between characters to 255 bytes with "..." */
};

/* A fault that is none yet. Cheaper than zeroing the text, which matters once a frame. */
static inline void fault_init(struct fault *f)
{
    f->code = 0;
    f->class_id = f->method_id = 0;
    f->text[0] = 0;
}

/* Fills in the fault and returns false: return fault(f, NOT_FOUND, "no queue '%.*s' in vhost '%s'", …).
 * The text gets RabbitMQ's prefix "NOT_FOUND - ". */
bool fault(struct fault *f, enum reply_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "NOT_FOUND"; "UNKNOWN" for a number that is no reply code. */
const char *reply_code_name(enum reply_code code);
/* True when the code closes the whole connection (specification: "hard error"). */
bool reply_code_is_hard(enum reply_code code);

#endif
