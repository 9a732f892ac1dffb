/* frame.h - frames (specification, section 4.2.3): type, channel, size, payload, end octet 0xCE. */
#ifndef PROTOCOL_FRAME_H
#define PROTOCOL_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "protocol/fault.h"
#include "protocol/wire.h"

enum frame_type { FRAME_METHOD = 1, FRAME_HEADER = 2, FRAME_BODY = 3, FRAME_HEARTBEAT = 8 };

enum {
    FRAME_END = 0xCE,
    FRAME_HEAD_SIZE = 7,     /* type, channel, size */
    FRAME_OVERHEAD = 8,      /* head and end octet */
    FRAME_MIN_SIZE = 4096,   /* specification: the smallest frame_max a peer may ask for */
};

struct frame {
    enum frame_type type;
    uint16_t channel;
    struct slice payload; /* points into the input */
};

enum frame_status { FRAME_COMPLETE, FRAME_NEEDS_MORE, FRAME_BAD };

/* Cuts one frame off the front of `in`. COMPLETE: *used is its whole size. NEEDS_MORE: not there yet.
 * BAD: *f says why (501: wrong end octet, larger than allowed; unknown type, a heartbeat that carries
 * something: when all of it is there). `frame_max` is at least FRAME_MIN_SIZE, never 0, and counts the whole
 * frame; yet RabbitMQ lets a payload be as large as frame_max itself (K15: frame_max 4096, payload 4096 ok,
 * 4097 is 501). A size that is too large is BAD as soon as the 7 head octets are there, never waited for. */
static inline enum frame_status frame_cut(struct slice in, uint32_t frame_max, struct frame *frame,
                                          size_t *used, struct fault *f);

/* Reads the 7 octets of a frame head (in.len >= FRAME_HEAD_SIZE): type, channel and payload size, with
 * the same checks as frame_cut but for the end octet. For bodies that are taken in pieces: other types are
 * refused without their octets. */
bool frame_head(struct slice in, uint32_t frame_max, struct frame *frame, uint32_t *payload_size,
                struct fault *f);

/* For frame_cut, which sees to what comes three times a message: whole and sound frames. */
enum frame_status frame_examine(struct slice in, uint32_t frame_max, struct frame *frame, size_t *used,
                                struct fault *f);

static inline enum frame_status frame_cut(struct slice in, uint32_t frame_max, struct frame *frame,
                                          size_t *used, struct fault *f)
{
    if (in.len < FRAME_OVERHEAD)
        return frame_examine(in, frame_max, frame, used, f);
    uint32_t size = load_u32(in.at + 3);
    unsigned kind = in.at[0] - (unsigned)FRAME_METHOD;
    if (kind > FRAME_BODY - FRAME_METHOD || size > frame_max || in.len - FRAME_OVERHEAD < size ||
        in.at[FRAME_HEAD_SIZE + size] != FRAME_END)
        return frame_examine(in, frame_max, frame, used, f);
    frame->type = (enum frame_type)in.at[0];
    frame->channel = load_u16(in.at + 1);
    frame->payload = slice_of(in.at + FRAME_HEAD_SIZE, size);
    *used = (size_t)size + FRAME_OVERHEAD;
    return FRAME_COMPLETE;
}

/* Writes the 7 octets; returns where the payload goes. */
static inline uint8_t *frame_write_head(uint8_t *at, enum frame_type type, uint16_t channel,
                                        uint32_t size)
{
    at[0] = (uint8_t)type;
    at[1] = (uint8_t)(channel >> 8), at[2] = (uint8_t)channel;
    at[3] = (uint8_t)(size >> 24), at[4] = (uint8_t)(size >> 16);
    at[5] = (uint8_t)(size >> 8), at[6] = (uint8_t)size;
    return at + FRAME_HEAD_SIZE;
}

#endif
