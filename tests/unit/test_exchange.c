/* test_exchange.c - exchanges, the identity of bindings, direct and fanout (semantics 1.3). */
#include "exchange/digest.h"
#include "tests/unit/steps.h"
#include "tests/unit/world.h"

static struct world world;
static struct buf args, others;

static void setup(void)
{
    world_init(&world);
    args = others = (struct buf){0};
}

static void teardown(void)
{
    world_free(&world);
    buf_free(&args);
    buf_free(&others);
}

static struct binding *find(struct exchange *x, struct dest *dest, const char *key, const struct buf *table)
{
    struct slice fields = table ? buf_slice(table) : (struct slice){0};
    return exchange_find_binding(x, dest, slice_of_string(key), fields);
}

START_TEST(types_by_name)
{
    static const char *const names[] = {"direct", "fanout", "topic", "headers", "x-consistent-hash",
                                        "x-modulus-hash", "x-random", "x-local-random",
                                        "x-recent-history"};
    for (size_t i = 0; i < array_size(names); i++)
        ck_assert_str_eq(exchange_type_find(slice_of_string(names[i]))->name, names[i]);
    ck_assert_ptr_null(exchange_type_find(SLICE("x-unheard-of")));
    ck_assert_ptr_null(exchange_type_find(SLICE("Direct")));
    ck_assert_ptr_null(exchange_type_find(SLICE("")));
    ck_assert_ptr_null(exchange_type_find(SLICE("directs")));
}
END_TEST

START_TEST(only_routing_by_key_is_cacheable)
{
    ck_assert(exchange_type_find(SLICE("direct"))->cacheable);
    ck_assert(exchange_type_find(SLICE("fanout"))->cacheable);
    ck_assert(exchange_type_find(SLICE("topic"))->cacheable);
    ck_assert(!exchange_type_find(SLICE("headers"))->cacheable);
}
END_TEST

START_TEST(an_exchange_copies_what_it_was_declared_with)
{
    char name[] = "orders";
    put_text(&args, "alternate-exchange", "lost");
    struct exchange *x = exchange_new(slice_of_string(name), exchange_type_find(SLICE("direct")),
                                      buf_slice(&args), 7, 1);
    memset(name, 'x', sizeof(name) - 1);
    memset(args.at, 0, args.len);
    ck_assert(slice_is(x->name, "orders"));
    ck_assert(slice_is(x->dest.name, "orders"));
    ck_assert(slice_is(x->alternate, "lost"));
    ck_assert_int_eq(x->dest.kind, DEST_EXCHANGE);
    ck_assert_uint_eq(x->id, 7);
    exchange_free(&x);
    ck_assert_ptr_null(x);
}
END_TEST

START_TEST(no_alternate_exchange_without_the_argument)
{
    put_text(&args, "x-other", "lost");
    ck_assert_uint_eq(world_exchange_with(&world, "x", "fanout", buf_slice(&args))->alternate.len, 0);
    ck_assert_uint_eq(world_exchange(&world, "y", "fanout")->alternate.len, 0);
}
END_TEST

START_TEST(identity_is_destination_key_and_arguments)
{
    struct exchange *x = world_exchange(&world, "x", "fanout");
    struct exchange *namesake = world_exchange(&world, "q", "fanout");
    struct dest *q = world_queue(&world, "q"), *p = world_queue(&world, "p");
    table_put_int(&args, "a", 1);
    table_put_int(&others, "a", 2);
    struct binding *plain = world_bind(&world, x, q, "k");
    struct binding *with = world_bind_with(&world, x, q, "k", buf_slice(&args));
    struct binding *to_exchange = world_bind(&world, x, &namesake->dest, "k");
    ck_assert_ptr_eq(find(x, q, "k", NULL), plain);
    ck_assert_ptr_eq(find(x, q, "k", &args), with);
    ck_assert_ptr_eq(find(x, &namesake->dest, "k", NULL), to_exchange);
    ck_assert_ptr_null(find(x, q, "k", &others)); /* K58 */
    ck_assert_ptr_null(find(x, q, "K", NULL));
    ck_assert_ptr_null(find(x, q, "", NULL));
    ck_assert_ptr_null(find(x, p, "k", NULL));
    ck_assert_ptr_null(find(namesake, q, "k", NULL));
    ck_assert_uint_eq(x->binding_count, 3);
}
END_TEST

START_TEST(arguments_compare_by_value_in_any_order)
{
    struct exchange *x = world_exchange(&world, "x", "headers");
    struct dest *q = world_queue(&world, "q");
    struct buf inner = {0}, inner_other = {0};
    put_raw(&inner, "n", 'I', 5, 4);
    put_text(&inner, "s", "v");
    put_text(&inner_other, "s", "v");
    put_double(&inner_other, "n", 5.0);
    put_raw(&args, "i", 'I', 1, 4);
    put_text(&args, "t", "text");
    put_decimal(&args, "d", 2, 150);
    table_put_table(&args, "f", buf_slice(&inner));
    table_put_table(&others, "f", buf_slice(&inner_other));
    put_double(&others, "d", 1.5);
    put_raw(&others, "i", 'l', 1, 8);
    put_text(&others, "t", "text");
    struct binding *b = world_bind_with(&world, x, q, "", buf_slice(&args));
    ck_assert_ptr_eq(find(x, q, "", &others), b);
    put_void(&others, "more");
    ck_assert_ptr_null(find(x, q, "", &others));
    buf_free(&inner);
    buf_free(&inner_other);
}
END_TEST

START_TEST(a_binding_copies_its_key_and_arguments)
{
    struct exchange *x = world_exchange(&world, "x", "direct");
    struct dest *q = world_queue(&world, "q");
    char key[] = "key";
    table_put_int(&args, "a", 1);
    table_put_int(&others, "a", 1);
    struct binding *b = world_bind_with(&world, x, q, key, buf_slice(&args));
    memset(key, 'x', sizeof(key) - 1);
    memset(args.at, 0, args.len);
    ck_assert(slice_is(b->key, "key"));
    ck_assert(slice_equal(b->args, buf_slice(&others)));
    ck_assert_ptr_eq(find(x, q, "key", &others), b);
    ck_assert_str_eq(world_route(&world, x, "key"), "q");
}
END_TEST

START_TEST(a_binding_is_linked_at_both_ends)
{
    struct exchange *x = world_exchange(&world, "x", "topic");
    struct dest *q = world_queue(&world, "q");
    struct binding *b = world_bind(&world, x, q, "k");
    ck_assert_ptr_eq(list_first(&x->binding_list, struct binding, by_source), b);
    ck_assert_ptr_eq(list_first(&q->bindings, struct binding, by_dest), b);
    ck_assert_ptr_eq(b->source, x);
    ck_assert_ptr_eq(b->dest, q);
    world_unbind(&world, b);
    ck_assert(list_empty(&x->binding_list));
    ck_assert(list_empty(&q->bindings));
    ck_assert_ptr_null(find(x, q, "k", NULL));
    ck_assert_str_eq(world_route(&world, x, "k"), "");
}
END_TEST

START_TEST(bindings_are_counted)
{
    struct exchange *x = world_exchange(&world, "x", "direct");
    struct dest *q = world_queue(&world, "q");
    ck_assert(!x->had_bindings);
    struct binding *b = world_bind(&world, x, q, "k");
    ck_assert_uint_eq(x->binding_count, 1);
    ck_assert(x->had_bindings);
    world_unbind(&world, b);
    ck_assert_uint_eq(x->binding_count, 0);
    ck_assert(x->had_bindings); /* auto-delete asks: it had one, and has none */
}
END_TEST

START_TEST(being_a_destination_counts_for_nothing) /* K50 */
{
    struct exchange *source = world_exchange(&world, "source", "fanout");
    struct exchange *x = world_exchange(&world, "x", "fanout");
    struct binding *b = world_bind(&world, source, &x->dest, "");
    ck_assert_uint_eq(x->binding_count, 0);
    ck_assert(!x->had_bindings);
    ck_assert_uint_eq(source->binding_count, 1);
    world_unbind(&world, b);
    ck_assert(!x->had_bindings);
}
END_TEST

START_TEST(implicit_bindings_are_not_counted)
{
    struct exchange *x = world_exchange(&world, "", "direct");
    x->is_default = true;
    struct dest *q = world_queue(&world, "q");
    struct binding *b = exchange_bind_implicit(x, q, q->name);
    ck_assert(b->implicit);
    ck_assert_uint_eq(x->binding_count, 0);
    ck_assert(!x->had_bindings);
    ck_assert_str_eq(world_route(&world, x, "q"), "q");
    ck_assert_str_eq(world_route(&world, x, "other"), "");
    world_unbind(&world, b);
    ck_assert_uint_eq(x->binding_count, 0);
    ck_assert_str_eq(world_route(&world, x, "q"), "");
}
END_TEST

START_TEST(a_refused_binding_leaves_no_trace)
{
    struct exchange *x = world_exchange(&world, "x", "headers");
    struct dest *q = world_queue(&world, "q");
    struct fault f;
    put_text(&args, "x-match", "some");
    ck_assert_ptr_null(exchange_bind(x, q, SLICE(""), buf_slice(&args), &f));
    ck_assert_int_eq(f.code, PRECONDITION_FAILED);
    ck_assert(list_empty(&q->bindings));
    ck_assert(list_empty(&x->binding_list));
    ck_assert_uint_eq(x->binding_count, 0);
    ck_assert(!x->had_bindings);
    ck_assert_ptr_null(find(x, q, "", &args));
}
END_TEST

START_TEST(freeing_an_exchange_unbinds)
{
    const struct exchange_type *topic = exchange_type_find(SLICE("topic"));
    struct exchange *x = exchange_new(SLICE("x"), topic, (struct slice){0}, 1, 1);
    struct dest *q = world_queue(&world, "q"), *p = world_queue(&world, "p");
    world_bind(&world, x, q, "a.#");
    world_bind(&world, x, q, "b");
    world_bind(&world, x, p, "b");
    exchange_free(&x);
    ck_assert_ptr_null(x);
    ck_assert(list_empty(&q->bindings));
    ck_assert(list_empty(&p->bindings));
}
END_TEST

START_TEST(direct_wants_the_same_key)
{
    struct exchange *x = world_exchange(&world, "x", "direct");
    world_bind(&world, x, world_queue(&world, "a"), "k");
    world_bind(&world, x, world_queue(&world, "star"), "*");
    world_bind(&world, x, world_queue(&world, "empty"), "");
    ck_assert_str_eq(world_route(&world, x, "k"), "a");
    ck_assert_str_eq(world_route(&world, x, "*"), "star");
    ck_assert_str_eq(world_route(&world, x, ""), "empty");
    ck_assert_str_eq(world_route(&world, x, "K"), "");
    ck_assert_str_eq(world_route(&world, x, "kk"), "");
}
END_TEST

START_TEST(direct_fans_out_over_equal_keys)
{
    struct exchange *x = world_exchange(&world, "x", "direct");
    struct binding *a = world_bind(&world, x, world_queue(&world, "a"), "k");
    struct binding *b = world_bind(&world, x, world_queue(&world, "b"), "k");
    struct binding *c = world_bind(&world, x, world_queue(&world, "c"), "k");
    ck_assert_str_eq(world_route(&world, x, "k"), "a b c");
    world_unbind(&world, a); /* the one that the map knows */
    ck_assert_str_eq(world_route(&world, x, "k"), "b c");
    world_unbind(&world, c);
    ck_assert_str_eq(world_route(&world, x, "k"), "b");
    world_unbind(&world, b);
    ck_assert_str_eq(world_route(&world, x, "k"), "");
}
END_TEST

START_TEST(arguments_make_another_binding_but_no_second_copy)
{
    struct exchange *x = world_exchange(&world, "x", "direct");
    struct dest *q = world_queue(&world, "q");
    table_put_int(&args, "a", 1);
    struct binding *plain = world_bind(&world, x, q, "k");
    world_bind_with(&world, x, q, "k", buf_slice(&args));
    ck_assert_str_eq(world_route(&world, x, "k"), "q");
    world_unbind(&world, plain);
    ck_assert_str_eq(world_route(&world, x, "k"), "q");
}
END_TEST

START_TEST(fanout_ignores_the_key)
{
    struct exchange *x = world_exchange(&world, "x", "fanout");
    struct dest *a = world_queue(&world, "a");
    struct binding *first = world_bind(&world, x, a, "k");
    struct binding *second = world_bind(&world, x, a, "other");
    world_bind(&world, x, world_queue(&world, "b"), "");
    ck_assert_str_eq(world_route(&world, x, "anything"), "a b");
    world_unbind(&world, first);
    ck_assert_str_eq(world_route(&world, x, "anything"), "a b");
    world_unbind(&world, second);
    ck_assert_str_eq(world_route(&world, x, "anything"), "b");
}
END_TEST

/* 100,000 destinations at one key, unbound in the order they came, in the reverse order, and from the
 * middle: a walk over the others would take minutes. */
START_TEST(many_destinations_at_one_key_are_cheap)
{
    enum { COUNT = 100000 };
    static const char *const types[] = {"direct", "fanout", "topic", "headers", "x-consistent-hash",
                                        "x-modulus-hash", "x-random", "x-local-random",
                                        "x-recent-history"};
    struct exchange *x = world_exchange(&world, "x", types[_i]);
    struct dest *queues = calloc(COUNT, sizeof(*queues));
    struct binding **bindings = calloc(COUNT, sizeof(*bindings));
    put_text(&args, "kind", "report");
    for (int order = 0; order < 3; order++) {
        for (size_t i = 0; i < COUNT; i++) {
            dest_init(&queues[i], DEST_QUEUE, SLICE("q"));
            bindings[i] = world_bind_with(&world, x, &queues[i], "a.b", buf_slice(&args));
        }
        ck_assert_uint_eq(x->binding_count, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            size_t place = order == 0 ? i : order == 1 ? COUNT - 1 - i : i * 7919 % COUNT;
            world_unbind(&world, bindings[place]);
        }
        ck_assert_uint_eq(x->binding_count, 0);
    }
    free(queues);
    free(bindings);
}
END_TEST

static void unbind_all(void *arg)
{
    struct exchange *x = arg;
    exchange_close(x);
    while (!list_empty(&x->binding_list))
        world_unbind(&world, list_first(&x->binding_list, struct binding, by_source));
}

/* The end of an exchange does not look for each of 9,000 points, which takes some hundred instructions a
 * point; and whose turn it would be among bindings to one destination is the same to it. */
START_TEST(heavy_bindings_go_with_their_exchange)
{
    struct dest queues[3];
    struct exchange *x = world_exchange(&world, "x", "x-consistent-hash");
    for (size_t i = 0; i < array_size(queues); i++) {
        dest_init(&queues[i], DEST_QUEUE, SLICE("q"));
        world_bind_with(&world, x, &queues[i], "30", (struct slice){0});
        world_bind_with(&world, x, &queues[i], "1", (struct slice){0});
    }
    ck_assert_uint_le(steps_of(unbind_all, x), 30 * 9000);
    unbind_all(x);
    ck_assert_uint_eq(x->binding_count, 0);
}
END_TEST

/* Equal fields have equal digests, whatever types they came in. */
START_TEST(digests_agree_with_equality)
{
    struct buf t = {0}, inner[2] = {{0}, {0}};
    put_raw(&inner[0], "x", 'b', 3, 1);
    put_text(&inner[0], "y", "z");
    put_text(&inner[1], "y", "z");
    put_raw(&inner[1], "x", 'T', 3, 8);
    static const char integers[] = "bBsuIilLT";
    static const int sizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 8};
    static const uint64_t values[] = {0, 1, 100, 255, 65535, UINT64_MAX, UINT64_C(1) << 53,
                                      (UINT64_C(1) << 53) + 1, UINT64_C(1) << 63};
    for (size_t v = 0; v < array_size(values); v++)
        for (size_t i = 0; i < array_size(sizes); i++)
            put_raw(&t, "n", integers[i], values[v], sizes[i]);
    static const double reals[] = {0.0, -0.0, 1.0, -1.0, 100.0, 0.5, 0.1, 1e300, 9007199254740992.0};
    for (size_t i = 0; i < array_size(reals); i++) {
        put_double(&t, "n", reals[i]);
        put_float(&t, "n", (float)(reals[i] > 1e30 ? 0.25 : reals[i]));
    }
    static const uint32_t mantissas[] = {0, 1, 5, 10, 100, 25, 3, 30, 1000000000};
    for (size_t i = 0; i < array_size(mantissas); i++)
        for (uint8_t scale = 0; scale < 12; scale++)
            put_decimal(&t, "n", scale, mantissas[i]);
    put_decimal(&t, "n", 255, 0);
    put_decimal(&t, "n", 255, 10);
    put_decimal(&t, "n", 254, 1);
    put_raw(&t, "n", 't', 1, 1);
    put_raw(&t, "n", 't', 7, 1);
    put_raw(&t, "n", 't', 0, 1);
    put_void(&t, "n");
    put_text(&t, "n", "1");
    put_text(&t, "n", "");
    table_put_table(&t, "n", buf_slice(&inner[0]));
    table_put_table(&t, "n", buf_slice(&inner[1]));
    ck_assert(table_check(buf_slice(&t)));
    struct slice left = buf_slice(&t), name;
    struct field a, b;
    size_t equal = 0, unequal = 0;
    while (table_next(&left, &name, &a)) {
        for (struct slice right = buf_slice(&t); table_next(&right, &name, &b);) {
            bool same = digest_field(&a, 5) == digest_field(&b, 5);
            if (field_equal(&a, &b)) {
                expect(same, "types %c %c", a.type, b.type);
                equal++;
            } else {
                unequal += !same;
            }
        }
    }
    ck_assert_uint_gt(equal, 1000);
    ck_assert_uint_gt(unequal, 20000);
    ck_assert_uint_eq(digest_table(buf_slice(&inner[0]), 5), digest_table(buf_slice(&inner[1]), 5));
    ck_assert_uint_ne(digest_table(buf_slice(&inner[0]), 5), digest_table(buf_slice(&inner[0]), 6));
    buf_free(&inner[0]);
    buf_free(&inner[1]);
    buf_free(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exchange");
    TCase *bindings = tcase_create("bindings"), *types = tcase_create("direct and fanout");
    tcase_add_checked_fixture(bindings, setup, teardown);
    tcase_add_checked_fixture(types, setup, teardown);
    tcase_set_timeout(types, 60);
    tcase_add_test(bindings, types_by_name);
    tcase_add_test(bindings, only_routing_by_key_is_cacheable);
    tcase_add_test(bindings, an_exchange_copies_what_it_was_declared_with);
    tcase_add_test(bindings, no_alternate_exchange_without_the_argument);
    tcase_add_test(bindings, identity_is_destination_key_and_arguments);
    tcase_add_test(bindings, arguments_compare_by_value_in_any_order);
    tcase_add_test(bindings, a_binding_copies_its_key_and_arguments);
    tcase_add_test(bindings, a_binding_is_linked_at_both_ends);
    tcase_add_test(bindings, bindings_are_counted);
    tcase_add_test(bindings, being_a_destination_counts_for_nothing);
    tcase_add_test(bindings, implicit_bindings_are_not_counted);
    tcase_add_test(bindings, a_refused_binding_leaves_no_trace);
    tcase_add_test(bindings, freeing_an_exchange_unbinds);
    tcase_add_test(bindings, digests_agree_with_equality);
    tcase_add_test(types, heavy_bindings_go_with_their_exchange);
    tcase_add_test(types, direct_wants_the_same_key);
    tcase_add_test(types, direct_fans_out_over_equal_keys);
    tcase_add_test(types, arguments_make_another_binding_but_no_second_copy);
    tcase_add_test(types, fanout_ignores_the_key);
    tcase_add_loop_test(types, many_destinations_at_one_key_are_cheap, 0, 4);
    suite_add_tcase(suite, bindings);
    suite_add_tcase(suite, types);
    return suite_run(suite);
}
