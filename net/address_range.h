/* address_range.h - ranges of IP addresses, like 10.0.0.0/8. */
#ifndef NET_ADDRESS_RANGE_H
#define NET_ADDRESS_RANGE_H

#include <stdbool.h>
#include <stdint.h>

union address; /* address.h */

/* IPv4 is kept as IPv4-mapped IPv6, so that one comparison serves both. */
struct address_range {
    uint8_t bytes[16];
    unsigned bits; /* that count, from the front */
};

/* Reads "10.0.0.0/8", "192.0.2.7", "2001:db8::/32"; false when it is none. */
bool address_range_read(const char *text, struct address_range *range);
bool address_range_has(const struct address_range *range, const union address *address);

#endif
