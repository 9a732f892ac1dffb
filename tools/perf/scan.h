/* scan.h - cuts what a broker sends, in place: deliveries, returns and confirms at full speed, all else as
 * raw methods. No allocation; bodies are passed over but for their first bytes, and need not be in memory
 * as a whole. */
#ifndef PERF_SCAN_H
#define PERF_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum { SCAN_PREFIX_MAX = 16 };

enum scan_status {
    SCAN_MORE,    /* all used, or a frame is incomplete: read more */
    SCAN_DELIVER, /* a whole message has passed */
    SCAN_RETURN,  /* a whole returned message has passed */
    SCAN_CONFIRM, /* basic.ack or basic.nack */
    SCAN_METHOD,  /* another method: payload is set */
    SCAN_BAD,     /* not AMQP, or more than was agreed */
};

struct scan_event {
    uint64_t tag;                    /* deliver, confirm */
    uint64_t body_size;              /* deliver, return */
    struct slice payload;            /* method; points into the input */
    uint32_t queue;                  /* deliver: the number in the consumer tag ("q12") */
    uint8_t prefix_len;              /* bytes of the body in prefix */
    bool redelivered, multiple, nack;
    uint8_t prefix[SCAN_PREFIX_MAX];
};

struct scan {
    const uint8_t *at, *end;   /* input not yet used; set by the caller before scan_next */
    uint32_t frame_max;
    uint8_t expects;           /* enum content_part in scan.c */
    bool returned;             /* the message under way is a basic.return */
    uint64_t body_left;        /* of the message, beyond the current frame */
    uint64_t frame_left;       /* of the current body frame, with its end octet */
    struct scan_event message; /* under way */
};

/* The next event. After SCAN_MORE the bytes from scan.at to scan.end must come again, with more behind. */
enum scan_status scan_next(struct scan *scan, struct scan_event *event);

#endif
