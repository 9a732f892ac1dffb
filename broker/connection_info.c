/* connection_info.c - what a client said of itself. Owner: the connection. */
#include "broker/connection_info.h"

#include "broker/connection.h"
#include "protocol/table.h"

void connection_describe(struct connection *conn, struct slice mechanism, struct slice properties)
{
    struct connection_info *info = mem_alloc(sizeof(*info) + mechanism.len + properties.len);
    uint8_t *at = (uint8_t *)(info + 1);
    const struct clock *clock = &conn->server->clock;
    assert(mechanism.len + properties.len <= conn->server->config->initial_frame_max);
    info->connected_at_ms = clock->wall_us(clock->arg) / 1000;
    info->mechanism = slice_of(at, mechanism.len);
    info->properties = slice_of(at + mechanism.len, properties.len);
    if (mechanism.len)
        memcpy(at, mechanism.at, mechanism.len);
    if (properties.len)
        memcpy(at + mechanism.len, properties.at, properties.len);
    mem_free(conn->login.info);
    conn->login.info = info;
}

struct slice connection_info_name(const struct connection_info *info)
{
    struct field field;
    struct slice name = SLICE("");
    if (info && table_find(info->properties, "connection_name", &field) && !field_string(&field, &name))
        name = SLICE("");
    return name;
}
