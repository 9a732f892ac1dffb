/* template.h - messages encoded once: publish and header frame for each routing key, and the body frames,
 * which they share. A producer copies them and patches the stamp into the body's first bytes. */
#ifndef PERF_TEMPLATE_H
#define PERF_TEMPLATE_H

#include "tools/perf/topology.h"

/* The stamp: little-endian, run (8 bits), producer (16), sequence (40), then the intended time in ns. */
enum {
    STAMP_ID_SIZE = 8,
    STAMP_SIZE = 16,
    STAMP_SEQUENCE_BITS = 40,
    STAMP_PRODUCER_BITS = 16,
    STAMP_RUN_BITS = 8,
};

#define STAMP_SEQUENCE_MASK ((UINT64_C(1) << STAMP_SEQUENCE_BITS) - 1)

struct template {
    const uint8_t *at; /* publish frame and content header frame */
    uint32_t size;
    uint32_t stream;   /* topology_stream of the key */
};

struct templates {
    struct template *items; /* one a key */
    uint64_t count;
    struct buf heads, body; /* body: all its frames */
    size_t stamp_at;        /* of the stamp in body */
    size_t message_max;     /* bytes on the wire of the longest message */
};

void templates_init(struct templates *t, const struct topology *topology, uint32_t frame_max);
void templates_free(struct templates *t);

static inline uint64_t stamp_id(uint64_t run, uint64_t producer, uint64_t sequence)
{
    return run << (STAMP_SEQUENCE_BITS + STAMP_PRODUCER_BITS) | producer << STAMP_SEQUENCE_BITS |
           (sequence & STAMP_SEQUENCE_MASK);
}

#endif
