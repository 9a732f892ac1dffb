/* format.h - the journal's bytes: places of the fields, and how they are read and written.
 * docs/format.md says the same in prose; the two change together. Integers are little-endian. */
#ifndef STORE_FORMAT_H
#define STORE_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FORMAT_SEGMENT_MAGIC "LEVERETJ"
#define FORMAT_BATCH_MAGIC "LEVBATCH"

enum { FORMAT_VERSION = 2, FORMAT_VERSION_OLDEST = 1 }; /* 1 had no flags in its messages */

/* Writes end on a block's edge, so that overwriting a recycled file never has to read it first. */
enum { FORMAT_BLOCK = 4096 };

/* The first block of a segment file; its fields fit in one sector, so a header is old or new, never
 * both. */
enum format_segment {
    SEGMENT_MAGIC = 0,
    SEGMENT_VERSION = 8,      /* u32 */
    SEGMENT_HEADER_SIZE = 12, /* u32 */
    SEGMENT_EPOCH = 16,       /* u64 */
    SEGMENT_SALT = 24,        /* u64 */
    SEGMENT_BYTES = 32,       /* u64 */
    SEGMENT_PREVIOUS = 40,    /* u64: the last batch before this segment */
    SEGMENT_CHECKSUM = 48,    /* u64 of bytes 0 … 47 */
    SEGMENT_FIELDS_END = 56,
    SEGMENT_HEADER_BYTES = FORMAT_BLOCK
};

enum format_batch {
    BATCH_MAGIC = 0,
    BATCH_CHECKSUM = 8,  /* u64 of bytes 16 … 55 */
    BATCH_NUMBER = 16,   /* u64 */
    BATCH_PREVIOUS = 24, /* u64: the batch before it in the journal */
    BATCH_SIZE = 32,     /* u64: header, records, padding to a multiple of 8 */
    BATCH_OLDEST = 40,   /* u64: epochs below are dead */
    BATCH_RECORDS = 48,  /* u32 */
    BATCH_RESERVED = 52, /* u32: 0 */
    BATCH_HEADER_BYTES = 56,
    BATCH_ALIGN = 8
};

enum format_record_type {
    RECORD_MESSAGE = 1, RECORD_ACKS = 2, RECORD_DELIVERED = 3, RECORD_MOVED = 4, RECORD_NOTES = 5,
    RECORD_RETURNED = 6
};

enum format_record {
    RECORD_SIZE = 0,     /* u32: all of the record */
    RECORD_CHECKSUM = 4, /* u32 of bytes 8 … size */
    RECORD_TYPE = 8,     /* u8, then u8 0 */
    /* A message, or one that was moved: then the targets, exchange, key, props, body. */
    MESSAGE_EXCHANGE_LEN = 10, /* u16 */
    MESSAGE_KEY_LEN = 12,      /* u16 */
    MESSAGE_FLAGS = 14,        /* u16: enum format_message_flag */
    MESSAGE_PROPS_LEN = 16,    /* u32 */
    MESSAGE_TARGETS = 20,      /* u32 */
    MESSAGE_HEADER_BYTES = 24,
    BORN_BYTES = 8,            /* u64: behind the targets */
    TARGET_BYTES = 16, /* u64 queue id, u64 sequence */
    /* Acks, delivered marks and returns: u16 0, u32 how many, then they. */
    MARKS_COUNT = 12,
    MARKS_HEADER_BYTES = 16,
    ACK_BYTES = 24,      /* u64 queue id, u64 first sequence, u64 how many */
    DELIVERED_BYTES = 16, /* u64 queue id, u64 sequence */
    RETURNED_BYTES = 24,  /* u64 queue id, u64 sequence, u64 how often */
    NOTE_BYTES = 32       /* u64 owner's id, two u64 of a key, u64 value; a header as that of acks */
};

enum format_message_flag {
    MESSAGE_HAS_BORN = 1, MESSAGE_DEAD_LETTER = 2, MESSAGE_RETRIED = 4, MESSAGE_FLAGS_KNOWN = 7
};
static inline void format_put_u16(uint8_t *at, uint16_t value)
{
    uint16_t raw = htole16(value);
    memcpy(at, &raw, sizeof raw);
}

static inline void format_put_u32(uint8_t *at, uint32_t value)
{
    uint32_t raw = htole32(value);
    memcpy(at, &raw, sizeof raw);
}

static inline void format_put_u64(uint8_t *at, uint64_t value)
{
    uint64_t raw = htole64(value);
    memcpy(at, &raw, sizeof raw);
}

static inline uint16_t format_u16(const uint8_t *at)
{
    uint16_t raw;
    memcpy(&raw, at, sizeof raw);
    return le16toh(raw);
}

static inline uint32_t format_u32(const uint8_t *at)
{
    uint32_t raw;
    memcpy(&raw, at, sizeof raw);
    return le32toh(raw);
}

static inline uint64_t format_u64(const uint8_t *at)
{
    uint64_t raw;
    memcpy(&raw, at, sizeof raw);
    return le64toh(raw);
}

static inline uint64_t format_message_head(const uint8_t *record)
{
    return MESSAGE_HEADER_BYTES + (uint64_t)format_u32(record + MESSAGE_TARGETS) * TARGET_BYTES +
           (format_u16(record + MESSAGE_FLAGS) & MESSAGE_HAS_BORN ? BORN_BYTES : 0);
}

static inline uint64_t format_segment_checksum(const uint8_t *header)
{
    return XXH3_64bits(header, SEGMENT_CHECKSUM);
}

/* What makes bytes of another use of the file, or at another place in it, invalid. */
static inline uint64_t format_seed(uint64_t epoch, uint64_t salt, uint64_t offset)
{
    return epoch + salt + offset;
}

static inline uint64_t format_batch_checksum(const uint8_t *header, uint64_t seed)
{
    return XXH3_64bits_withSeed(header + BATCH_NUMBER, BATCH_HEADER_BYTES - BATCH_NUMBER, seed);
}

static inline uint32_t format_record_checksum(const uint8_t *record, uint32_t size, uint64_t seed)
{
    return (uint32_t)XXH3_64bits_withSeed(record + RECORD_TYPE, size - RECORD_TYPE, seed);
}

static inline uint64_t format_round_up(uint64_t size, uint64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

#endif
