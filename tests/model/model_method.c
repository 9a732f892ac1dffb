/* model_method.c - every method of methods.def with random values, against two models: what was put in, and
 * librabbitmq, which has to read the same values from our bytes and to write the same bytes from its values.
 * methods.def makes the generators and the comparisons, so a method that is added is tested. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define nowait no_wait /* librabbitmq's member is called so here: the names then match methods.def */
#include <amqp.h>
#include <amqp_framing.h>
#undef nowait

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "protocol/method.h"
#include "protocol/table.h"
#include "tests/unit/suite.h"

enum { ROUNDS = 200, TABLE_LEVELS = 4, VALUES_MAX = 1 << 16, ENCODED_MAX = 1 << 17 };

/* Methods that librabbitmq 0.11 does not know; named differently, as later versions have these types. */
#define amqp_connection_update_secret_t struct update_secret
#define amqp_connection_update_secret_ok_t struct update_secret_ok

struct update_secret {
    amqp_bytes_t new_secret, reason;
};

struct update_secret_ok {
    char dummy;
};

static const uint32_t unknown_to_librabbitmq[] = {METHOD_connection_update_secret,
                                                  METHOD_connection_update_secret_ok};

static struct rand rng;
static uint8_t values[VALUES_MAX]; /* what the slices of a generated method point into */
static size_t values_used;

static uint64_t below(uint64_t bound)
{
    return rand_below(&rng, bound);
}

static uint8_t *room(size_t size)
{
    ck_assert_uint_le(values_used + size, VALUES_MAX);
    values_used += size;
    return values + values_used - size;
}

static uint8_t any_u8(void)
{
    return (uint8_t)rand_u64(&rng);
}

static uint16_t any_u16(void)
{
    return (uint16_t)rand_u64(&rng);
}

static uint32_t any_u32(void)
{
    return (uint32_t)rand_u64(&rng);
}

static uint64_t any_u64(void)
{
    return rand_u64(&rng);
}

static bool any_bit(void)
{
    return below(2);
}

static struct slice any_octets(size_t max)
{
    size_t size = below(4) ? below(12) : below(max + 1);
    uint8_t *at = room(size);
    rand_bytes(&rng, at, size);
    return slice_of(at, size);
}

/* Valid UTF-8 with characters of all four sizes, at most 255 octets. */
static struct slice any_sstr(void)
{
    static const char *const characters[] = {"a", ".", "\x7F", "\xC2\xA0", "\xED\x95\x9C",
                                             "\xF0\x9F\x90\x87"};
    size_t want = below(4) ? below(20) : below(256), used = 0, kinds = below(2) ? 3 : 6;
    uint8_t *at = room(255);
    for (;;) {
        struct slice c = slice_of_string(characters[below(kinds)]);
        if (used + c.len > want)
            return slice_of(at, used);
        memcpy(at + used, c.at, c.len);
        used += c.len;
    }
}

static struct slice any_lstr(void)
{
    return any_octets(300);
}

static void put_fields(struct buf *out, bool named, int levels);

/* One value of a random type, its type before it. */
static void put_value(struct buf *out, int levels)
{
    static const char types[] = "VtbBsuIifDlLdTSxAF";
    static const int sizes[] = {0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 8, 8, 8, 8};
    size_t pick = below(levels > 0 ? 18 : 16);
    buf_append(out, &types[pick], 1);
    if (pick < 14) {
        uint64_t bits = types[pick] == 't' ? below(2) : rand_u64(&rng);
        buf_append(out, &bits, (size_t)sizes[pick]);
        return;
    }
    struct buf value = {0};
    if (pick < 16)
        buf_append_slice(&value, any_octets(100));
    else
        put_fields(&value, types[pick] == 'F', levels - 1);
    uint8_t length[4] = {0, 0, (uint8_t)(value.len >> 8), (uint8_t)value.len};
    ck_assert_uint_le(value.len, UINT16_MAX);
    buf_append(out, length, sizeof(length));
    buf_append_slice(out, buf_slice(&value));
    buf_free(&value);
}

static void put_fields(struct buf *out, bool named, int levels)
{
    for (uint64_t n = below(6); n > 0; n--) {
        if (named) {
            struct slice name = any_octets(30);
            buf_append(out, &(uint8_t){(uint8_t)name.len}, 1);
            buf_append_slice(out, name);
        }
        put_value(out, levels);
    }
}

static struct slice any_table(void)
{
    struct buf fields = {0};
    put_fields(&fields, true, TABLE_LEVELS);
    uint8_t *at = room(fields.len);
    if (fields.len)
        memcpy(at, fields.at, fields.len);
    struct slice table = slice_of(at, fields.len);
    buf_free(&fields);
    ck_assert(table_check(table));
    return table;
}

#define same_u8(a, b) ((a) == (b))
#define same_u16(a, b) ((a) == (b))
#define same_u32(a, b) ((a) == (b))
#define same_u64(a, b) ((a) == (b))
#define same_bit(a, b) ((a) == (b))
#define same_sstr(a, b) slice_equal(a, b)
#define same_lstr(a, b) slice_equal(a, b)
#define same_table(a, b) slice_equal(a, b)

/* A table is compared by its bytes when librabbitmq writes it; here only that it is in the same place. */
static bool same_count(struct slice table, amqp_table_t theirs)
{
    struct slice name;
    struct field field;
    int n = 0;
    while (table_next(&table, &name, &field))
        n++;
    return n == theirs.num_entries;
}

#define agree_u8(a, b) ((a) == (b))
#define agree_u16(a, b) ((a) == (b))
#define agree_u32(a, b) ((a) == (b))
#define agree_u64(a, b) ((a) == (b))
#define agree_bit(a, b) ((a) == !!(b))
#define agree_sstr(a, b) slice_equal(a, slice_of((b).bytes, (b).len))
#define agree_lstr(a, b) slice_equal(a, slice_of((b).bytes, (b).len))
#define agree_table(a, b) same_count(a, b)

/* generate_<method>: random values. */
#define FIELD(type, name) args->name = any_##type();
#define NO_FIELDS args->no_fields = 0;
#define METHOD(class, name, class_id, method_id, content, fields) \
    static void generate_##class##_##name(struct method *m)       \
    {                                                             \
        struct amqp_##class##_##name *args = &m->class##_##name;  \
        m->id = METHOD_ID(class_id, method_id);                   \
        fields                                                    \
    }
#include "protocol/methods.def"
#undef METHOD
#undef NO_FIELDS
#undef FIELD

/* same_<method>: all values of two methods are equal. */
#define FIELD(type, name) &&same_##type(a->name, b->name)
#define NO_FIELDS
#define METHOD(class, name, class_id, method_id, content, fields)                           \
    static bool same_##class##_##name(const struct method *x, const struct method *y)       \
    {                                                                                       \
        const struct amqp_##class##_##name *a = &x->class##_##name, *b = &y->class##_##name; \
        return a != b && x->id == y->id fields;                                             \
    }
#include "protocol/methods.def"
#undef METHOD
#undef NO_FIELDS
#undef FIELD

/* agree_<method>: librabbitmq read the same values under the same names. */
#define FIELD(type, name) &&agree_##type(a->name, b->name)
#define NO_FIELDS
#define METHOD(class, name, class_id, method_id, content, fields)                     \
    static bool agree_##class##_##name(const struct method *m, const void *theirs)    \
    {                                                                                 \
        const struct amqp_##class##_##name *a = &m->class##_##name;                   \
        const amqp_##class##_##name##_t *b = theirs;                                  \
        return a && b fields;                                                         \
    }
#include "protocol/methods.def"
#undef METHOD
#undef NO_FIELDS
#undef FIELD

static const struct kind {
    const char *name;
    void (*generate)(struct method *m);
    bool (*same)(const struct method *x, const struct method *y);
    bool (*agree)(const struct method *m, const void *theirs);
} kinds[] = {
#define METHOD(class, name, class_id, method_id, content, fields)                      \
    {#class "." #name, generate_##class##_##name, same_##class##_##name, agree_##class##_##name},
#include "protocol/methods.def"
#undef METHOD
};

static uint8_t encoded[ENCODED_MAX];

static struct slice encode(const struct method *m, uint8_t *bytes)
{
    struct writer w = writer_of(bytes, ENCODED_MAX);
    method_encode(&w, m);
    ck_assert(!w.bad);
    return slice_of(bytes, (size_t)(w.at - bytes));
}

static struct slice generate(const struct kind *kind, struct method *m)
{
    values_used = 0;
    memset(m, 0, sizeof(*m));
    kind->generate(m);
    return encode(m, encoded);
}

/* Runs `body` for many random methods of each kind. */
static void for_each(void (*body)(const struct kind *, const struct method *, struct slice))
{
    for (size_t i = 0; i < array_size(kinds); i++)
        for (int round = 0; round < ROUNDS; round++) {
            struct method m;
            struct slice bytes = generate(&kinds[i], &m);
            body(&kinds[i], &m, bytes);
        }
}

static void check_round_trip(const struct kind *kind, const struct method *m, struct slice bytes)
{
    static uint8_t again[ENCODED_MAX];
    struct method back;
    struct fault f = {0};
    memset(&back, 0xAA, sizeof(back));
    ck_assert_msg(method_decode(bytes, &back, &f), "%s: %s", kind->name, f.text);
    ck_assert_msg(kind->same(m, &back), "%s", kind->name);
    ck_assert_msg(slice_equal(encode(&back, again), bytes), "%s", kind->name);
    ck_assert_str_eq(method_name(back.id), kind->name);
}

START_TEST(what_is_encoded_is_decoded)
{
    for_each(check_round_trip);
}
END_TEST

/* Each part of the payload lies in memory of its own, so that a sanitizer sees one octet too far. */
static void check_truncations(const struct kind *kind, const struct method *m, struct slice bytes)
{
    for (int i = 0; i < 16; i++) {
        struct slice part = slice_copy(slice_of(bytes.at, below(bytes.len)));
        struct method back;
        struct fault f = {0};
        ck_assert_msg(!method_decode(part, &back, &f), "%s cut to %zu octets", kind->name, part.len);
        ck_assert_msg(f.code == SYNTAX_ERROR, "%s cut to %zu octets: %s", kind->name, part.len, f.text);
        ck_assert_uint_eq(f.method_id, part.len < 4 ? 0 : m->id & 0xFFFF);
        slice_free(&part);
    }
}

START_TEST(what_is_cut_short_is_refused)
{
    for_each(check_truncations);
}
END_TEST

static void check_extra(const struct kind *kind, const struct method *m, struct slice bytes)
{
    struct method back;
    struct fault f = {0};
    ck_assert_uint_lt(bytes.len, ENCODED_MAX);
    encoded[bytes.len] = any_u8();
    ck_assert_msg(!method_decode(slice_of(bytes.at, bytes.len + 1), &back, &f), "%s", kind->name);
    ck_assert_int_eq(f.code, SYNTAX_ERROR);
    ck_assert_uint_eq(f.class_id, m->id >> 16);
}

START_TEST(what_is_too_long_is_refused)
{
    for_each(check_extra);
}
END_TEST

static bool is_known_to_librabbitmq(uint32_t id)
{
    for (size_t i = 0; i < array_size(unknown_to_librabbitmq); i++)
        if (unknown_to_librabbitmq[i] == id)
            return false;
    return true;
}

static void check_librabbitmq(const struct kind *kind, const struct method *m, struct slice bytes)
{
    static uint8_t theirs[ENCODED_MAX];
    if (!is_known_to_librabbitmq(m->id))
        return;
    amqp_pool_t pool;
    init_amqp_pool(&pool, 4096);
    amqp_bytes_t in = {bytes.len - 4, (uint8_t *)(uintptr_t)bytes.at + 4}; /* without the ids */
    void *decoded = NULL;
    int got = amqp_decode_method(m->id, &pool, in, &decoded);
    ck_assert_msg(got == 0, "%s: %s", kind->name, amqp_error_string2(got));
    ck_assert_msg(kind->agree(m, decoded), "%s", kind->name);
    int size = amqp_encode_method(m->id, decoded, (amqp_bytes_t){sizeof(theirs), theirs});
    ck_assert_msg(size == (int)in.len, "%s: %d octets, ours %zu", kind->name, size, in.len);
    ck_assert_msg(in.len == 0 || memcmp(theirs, in.bytes, in.len) == 0, "%s", kind->name);
    empty_amqp_pool(&pool);
}

START_TEST(librabbitmq_reads_and_writes_the_same)
{
    for_each(check_librabbitmq);
}
END_TEST

int main(void)
{
    const char *given = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = given ? strtoull(given, NULL, 0) : rand_u64(&secure);
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    rng = rand_seeded(seed);

    Suite *s = suite_create("method model");
    TCase *t = tcase_create("method");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, what_is_encoded_is_decoded);
    tcase_add_test(t, what_is_cut_short_is_refused);
    tcase_add_test(t, what_is_too_long_is_refused);
    tcase_add_test(t, librabbitmq_reads_and_writes_the_same);
    suite_add_tcase(s, t);
    return suite_run(s);
}
