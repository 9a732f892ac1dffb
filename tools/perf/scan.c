/* scan.c - cuts what a broker sends, in place.
 *
 *   METHOD --deliver, return--> HEADER --size > 0--> BODY --last byte--> METHOD
 *                                  \--size = 0---------------------------^
 */
#include "tools/perf/scan.h"

#include "base/assert.h"
#include "protocol/frame.h"
#include "protocol/method.h"

enum content_part { EXPECT_METHOD, EXPECT_HEADER, EXPECT_BODY };

enum { CONTENT_HEADER_SIZE = 14, DELIVER_MIN_SIZE = 4 + 1 + 8 + 1 + 1 + 1 };

/* The decimal number behind the first letter of a consumer tag. */
static inline uint32_t tag_number(const uint8_t *at, size_t len)
{
    uint32_t number = 0;
    for (size_t i = 1; i < len; i++)
        number = number * 10 + (uint32_t)(at[i] - '0');
    return number;
}

static enum scan_status take_deliver(struct scan *s, const uint8_t *payload, size_t size)
{
    size_t tag_len = payload[4];
    if (size < DELIVER_MIN_SIZE + tag_len)
        return SCAN_BAD;
    s->message.queue = tag_number(payload + 5, tag_len);
    s->message.tag = load_u64(payload + 5 + tag_len);
    s->message.redelivered = payload[13 + tag_len] & 1;
    s->message.prefix_len = 0;
    s->expects = EXPECT_HEADER;
    s->returned = false;
    return SCAN_MORE;
}

/* SCAN_MORE: go on with the next frame. */
static enum scan_status take_method(struct scan *s, struct slice payload, struct scan_event *e)
{
    if (payload.len < 4)
        return SCAN_BAD;
    switch (load_u32(payload.at)) {
    case METHOD_basic_deliver:
        return payload.len >= 5 ? take_deliver(s, payload.at, payload.len) : SCAN_BAD;
    case METHOD_basic_return:
        s->message.prefix_len = 0;
        s->expects = EXPECT_HEADER;
        s->returned = true;
        return SCAN_MORE;
    case METHOD_basic_ack:
    case METHOD_basic_nack:
        if (payload.len != 13)
            return SCAN_BAD;
        e->tag = load_u64(payload.at + 4);
        e->multiple = payload.at[12] & 1;
        e->nack = load_u32(payload.at) == METHOD_basic_nack;
        return SCAN_CONFIRM;
    default:
        e->payload = payload;
        return SCAN_METHOD;
    }
}

static enum scan_status finish_message(struct scan *s, struct scan_event *e)
{
    assert(s->expects != EXPECT_METHOD);
    s->expects = EXPECT_METHOD;
    *e = s->message;
    return s->returned ? SCAN_RETURN : SCAN_DELIVER;
}

static enum scan_status take_header(struct scan *s, struct slice payload, struct scan_event *e)
{
    if (payload.len < CONTENT_HEADER_SIZE)
        return SCAN_BAD;
    s->message.body_size = s->body_left = load_u64(payload.at + 4);
    if (s->body_left == 0)
        return finish_message(s, e);
    s->expects = EXPECT_BODY;
    return SCAN_MORE;
}

/* Uses what is there of the current body frame. SCAN_MORE: it is used up, or the input is. */
static enum scan_status pass_body(struct scan *s, struct scan_event *e)
{
    uint64_t there = (uint64_t)(s->end - s->at);
    uint64_t n = there < s->frame_left ? there : s->frame_left;
    unsigned room = SCAN_PREFIX_MAX - s->message.prefix_len;
    if (room) {
        uint64_t of_body = n < s->frame_left ? n : n - 1;
        unsigned part = of_body < room ? (unsigned)of_body : room;
        memcpy(s->message.prefix + s->message.prefix_len, s->at, part);
        s->message.prefix_len = (uint8_t)(s->message.prefix_len + part);
    }
    s->at += n;
    s->frame_left -= n;
    if (s->frame_left)
        return SCAN_MORE;
    if (s->at[-1] != FRAME_END)
        return SCAN_BAD;
    return s->body_left == 0 ? finish_message(s, e) : SCAN_MORE;
}

/* Takes a frame that must be in memory as a whole. */
static enum scan_status take_whole_frame(struct scan *s, uint32_t size, struct scan_event *e)
{
    uint8_t type = s->at[0];
    struct slice payload = slice_of(s->at + FRAME_HEAD_SIZE, size);
    if (payload.at[size] != FRAME_END)
        return SCAN_BAD;
    s->at += size + FRAME_OVERHEAD;
    if (type == FRAME_METHOD && s->expects == EXPECT_METHOD)
        return take_method(s, payload, e);
    if (type == FRAME_METHOD && size >= 4 && load_u32(payload.at) >> 16 < 50) { /* a close amid content */
        e->payload = payload;
        return SCAN_METHOD;
    }
    if (type == FRAME_HEADER && s->expects == EXPECT_HEADER)
        return take_header(s, payload, e);
    return type == FRAME_HEARTBEAT ? SCAN_MORE : SCAN_BAD;
}

enum scan_status scan_next(struct scan *s, struct scan_event *e)
{
    enum scan_status status = SCAN_MORE;
    assert(s->at <= s->end);
    do {
        size_t there = (size_t)(s->end - s->at);
        if (s->frame_left) {
            if (there == 0)
                return SCAN_MORE;
            status = pass_body(s, e);
            continue;
        }
        if (there < FRAME_OVERHEAD)
            return SCAN_MORE;
        uint32_t size = load_u32(s->at + 3);
        if (size > s->frame_max)
            return SCAN_BAD;
        if (s->at[0] == FRAME_BODY) {
            if (s->expects != EXPECT_BODY || size > s->body_left)
                return SCAN_BAD;
            s->body_left -= size;
            s->frame_left = (uint64_t)size + 1;
            s->at += FRAME_HEAD_SIZE;
            continue;
        }
        if (there < size + FRAME_OVERHEAD)
            return SCAN_MORE;
        status = take_whole_frame(s, size, e);
    } while (status == SCAN_MORE);
    return status;
}
