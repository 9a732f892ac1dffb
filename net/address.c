/* address.c - IP addresses as sockets have them. */
#include "net/address.h"

#include <arpa/inet.h>
#include <stdio.h>

uint16_t address_text(const union address *address, char *host, size_t size)
{
    bool v6 = address->any.sa_family == AF_INET6;
    bool mapped = v6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr);
    const uint8_t *number = v6 ? address->v6.sin6_addr.s6_addr + (mapped ? 12 : 0)
                               : (const uint8_t *)&address->v4.sin_addr;
    if (!inet_ntop(v6 && !mapped ? AF_INET6 : AF_INET, number, host, (socklen_t)size))
        snprintf(host, size, "unknown");
    return ntohs(v6 ? address->v6.sin6_port : address->v4.sin_port);
}

bool address_is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *v6 = &address->v6.sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}
