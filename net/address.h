/* address.h - IP addresses as sockets have them, and their text. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

/* Writes the address's text (an IPv4-mapped one as IPv4) and returns its port. */
uint16_t address_text(const union address *address, char *host, size_t size);
/* 127/8, ::1, or an IPv4-mapped ::ffff:127/8. */
bool address_is_loopback(const union address *address);

#endif
