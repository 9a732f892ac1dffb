/* listing_vhost.c - the list of vhosts. */
#include "broker/json_in.h"
#include "broker/json_out.h"
#include "broker/listing.h"

/* A member of the metadata as JSON, `otherwise` when there is none. */
static void put_metadata(struct buf *out, const struct vhost *v, const char *name, const char *otherwise)
{
    char error[128];
    json_t *metadata = v->metadata.len ? json_in_parse(v->metadata, error, sizeof(error)) : NULL;
    const json_t *value = json_object_get(metadata, name);
    struct slice text = value ? json_in_dump(value) : (struct slice){0};
    json_out_raw(out, value ? text : slice_of_string(otherwise));
    slice_free(&text);
    json_decref(metadata);
}

static void put_description(struct buf *out, const struct vhost *v)
{
    put_metadata(out, v, "description", "\"\"");
}

static void put_vhost_tags(struct buf *out, const struct vhost *v)
{
    put_metadata(out, v, "tags", "[]");
}

static void put_default_type(struct buf *out, const struct vhost *v)
{
    put_metadata(out, v, "default_queue_type", "\"undefined\"");
}

static void put_vhost_limits(struct buf *out, const struct vhost *v)
{
    limits_print(&v->limits, out);
}

#define VHOST(name, put, value)                                                                            \
    static void put_vhosts_##name(struct buf *out, const struct row *row)                                  \
    {                                                                                                      \
        const struct vhost *v = row->object;                                                               \
        put(out, value);                                                                                   \
    }
#include "broker/listing.def"

static const struct column columns[] = {
#define VHOST(name, put, value) {#name, put_vhosts_##name},
#include "broker/listing.def"
};

/* One row a vhost: the walk through it ends where it began. */
static enum listing_next next_vhost(struct request *r, struct row *row)
{
    struct listing_state *state = &r->listing;
    row->object = state->vhost;
    return state->position++ == 0 ? LISTING_ROW : LISTING_END;
}

void command_list_vhosts(struct request *r)
{
    static const struct listing listing = {columns, array_size(columns), "name", true, next_vhost};
    listing_start(r, &listing);
}
