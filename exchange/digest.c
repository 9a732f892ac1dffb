/* digest.c - hashes of field values that agree with field_equal.
 *
 * Every number is hashed as the double nearest to it: equal numbers have the same one whatever type
 * they came in, and those that only round to the same one are told apart by field_equal later. */
#include "exchange/digest.h"

#include "base/assert.h"
#include "protocol/wire.h"

/* Odd constants with well mixed bits. */
#define MIX_A UINT64_C(0x9E3779B97F4A7C15)
#define MIX_B UINT64_C(0xD6E8FEB86659FD93)

uint64_t digest_pair(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b * MIX_A)) + MIX_B;
    h = (h ^ (h >> 32)) * MIX_B;
    h = (h ^ (h >> 29)) * MIX_A;
    return h ^ (h >> 32);
}

/* `mantissa` / 10^`scale`. Trailing zeros go first, so that 10/100 and 1/10 take the same steps; a
 * fraction that is exact in binary has at most 13 digits left after that and comes out exact. */
static double decimal_value(unsigned scale, uint32_t mantissa)
{
    while (scale > 0 && mantissa % 10 == 0 && mantissa > 0)
        mantissa /= 10, scale--;
    double power = 1;
    while (scale-- > 0)
        power *= 10;
    return (double)mantissa / power;
}

/* False for what is not a number. */
static bool number_value(const struct field *field, double *value)
{
    const uint8_t *at = field->bytes.at;
    int64_t integer;
    if (field_integer(field, &integer)) {
        *value = (double)integer;
        return true;
    }
    switch (field->type) {
    case 'f': {
        uint32_t bits = load_u32(at);
        float real;
        memcpy(&real, &bits, sizeof(real));
        *value = (double)real;
        return true;
    }
    case 'd': {
        uint64_t bits = load_u64(at);
        memcpy(value, &bits, sizeof(*value));
        return true;
    }
    case 'D':
        *value = decimal_value(at[0], load_u32(at + 1));
        return true;
    case 'T':
        *value = (double)load_u64(at);
        return true;
    default:
        return false;
    }
}

static uint64_t digest_number(double value, uint64_t seed)
{
    uint64_t bits = 0; /* of either zero */
    if (value != value)
        bits = UINT64_MAX; /* any NaN */
    else if (value < 0 || value > 0)
        memcpy(&bits, &value, sizeof(bits));
    return digest_pair(seed, bits);
}

uint64_t digest_field(const struct field *field, uint64_t seed)
{
    double value;
    if (number_value(field, &value))
        return digest_number(value, seed);
    char type = field->type == 'x' ? 'S' : field->type; /* the same octets are equal */
    uint64_t hash = digest_pair(~seed, (uint8_t)type);
    struct slice rest = field->bytes;
    struct field element;
    switch (type) {
    case 't':
        return digest_pair(hash, rest.at[0] != 0);
    case 'A':
        while (array_next(&rest, &element))
            hash = digest_pair(hash, digest_field(&element, seed));
        return hash;
    case 'F':
        return digest_pair(hash, digest_table(rest, seed));
    default:
        assertf(type == 'S' || type == 'V', "type %c", type);
        return digest_pair(hash, slice_hash(rest, seed));
    }
}

uint64_t digest_table(struct slice table, uint64_t seed)
{
    uint64_t sum = 0;
    struct slice name;
    struct field field;
    while (table_next(&table, &name, &field))
        sum += digest_pair(slice_hash(name, seed), digest_field(&field, seed));
    return sum;
}
