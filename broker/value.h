/* value.h - the texts of configuration values: numbers, sizes, addresses, comma separated lists.
 * All functions that return bool return false when the text is no such value and then change
 * nothing. */
#ifndef BROKER_VALUE_H
#define BROKER_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits only. */
bool value_number(const char *text, uint64_t *number);
/* A number that KB, MB or GB (or KiB, MiB, GiB) may follow, in any case: powers of 1024, as
 * RabbitMQ counts these. */
bool value_size(const char *text, uint64_t *bytes);
/* A number that KB, MB, GB or TB (powers of 1000) or KiB, MiB, GiB or TiB (powers of 1024) may follow,
 * in any case: RabbitMQ counts memory and disk so, unlike the sizes above. */
bool value_amount(const char *text, uint64_t *bytes);
/* A decimal number such as 0.4, in millionths; at most six digits behind the point. */
bool value_fraction(const char *text, uint64_t *millionths);
/* true or false */
bool value_flag(const char *text, bool *flag);
/* port or address:port; IPv6 as [::1]:5672 or ::1:5672. `host` becomes "" without an address. */
bool value_address(const char *text, char *host, size_t host_size, uint16_t *port);
/* UTF-8 without control characters. */
bool value_printable(const char *text);
/* True when the text has an address like https://user:password@host/. */
bool value_has_password(const char *text);

/* A list is names with commas between them; an empty text is an empty list. */
bool value_list_has(const char *list, const char *name);
/* False when the name has a comma or there is no room; adding what is there changes nothing. */
bool value_list_add(char *list, size_t size, const char *name);
void value_list_remove(char *list, const char *name);

/* Letters to insert, delete, replace or swap to make one text of the other; looks at 63 of each. */
unsigned value_distance(const char *a, const char *b);

#endif
