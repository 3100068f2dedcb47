/* One definition: what the .def files say is what the database holds and the document promises. */
#include "tests/unit/control_folder.h"

#include <jansson.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/api_impl.h"
#include "control/api_resource.h"
#include "control/db.h"
#include "control/session.h"
#include "control/txn.h"
#include "schema/openapi.h"

#define X(name) &resource_##name,
static const struct resource *const all[] = {RESOURCES(X)};
#undef X

static json_t *document(void)
{
    struct api api = {0};
    SCOPED_BUF text;
    json_error_t why;
    buf_init(&text, 4 * MIB);
    api.table[api.n_tables++] = (struct api_table){.routes = session_routes, .n = session_n_routes};
    api.table[api.n_tables++] =
        (struct api_table){.routes = resource_routes, .n = resource_n_routes};
    api_print_openapi(&api, &text);
    ck_assert(!text.failed);
    json_t *doc = json_loadb(text.p, text.len, JSON_REJECT_DUPLICATES, &why);
    ck_assert_msg(doc != NULL, "%s at %d: %.80s", why.text, why.position,
                  text.p + (why.position > 40 ? why.position - 40 : 0));
    return doc;
}

static json_t *schema_of(json_t *doc, const char *name)
{
    json_t *s =
        json_object_get(json_object_get(json_object_get(doc, "components"), "schemas"), name);
    ck_assert_msg(s != NULL, "no schema %s", name);
    return s;
}

static void check_refs(json_t *doc, json_t *at)
{
    const char *name;
    json_t *v;
    size_t i;
    if (json_is_array(at))
        json_array_foreach(at, i, v) check_refs(doc, v);
    json_object_foreach(at, name, v)
    {
        if (strcmp(name, "$ref") == 0)
            schema_of(doc, json_string_value(v) + strlen("#/components/schemas/"));
        else
            check_refs(doc, v);
    }
}

START_TEST(the_document_is_json_and_every_reference_leads_somewhere)
{
    json_t *doc = document();
    ck_assert_str_eq(json_string_value(json_object_get(doc, "openapi")), "3.1.0");
    ck_assert_uint_gt(json_object_size(json_object_get(doc, "paths")), 20);
    check_refs(doc, doc);
    json_decref(doc);
}
END_TEST

START_TEST(each_shown_field_is_in_the_document_and_no_other)
{
    json_t *doc = document();
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char name[64];
        size_t shown = 0;
        snprintf(name, sizeof name, "%c%s", all[i]->name[0] - 32, all[i]->name + 1);
        json_t *properties = json_object_get(schema_of(doc, name), "properties");
        for (size_t k = 0; k < all[i]->n_fields; k++) {
            const struct field *f = &all[i]->fields[k];
            bool hidden = f->flags & (FIELD_SECRET | FIELD_INTERNAL);
            bool there = json_object_get(properties, f->name) != NULL;
            ck_assert_msg(there == !hidden, "%s.%s", name, f->name);
            shown += !hidden;
        }
        ck_assert_uint_eq(json_object_size(properties), shown);
    }
    json_decref(doc);
}
END_TEST

static const char *column_type(enum field_type t)
{
    switch (t) {
    case FIELD_INT:
    case FIELD_BOOL:
    case FIELD_TIME:
    case FIELD_PRICE:
    case FIELD_COST:
        return "INTEGER";
    default:
        return "TEXT";
    }
}

static void check_table(struct txn *txn, const struct resource *res)
{
    SCOPED_STMT s = NULL;
    bool row = true;
    char sql[128];
    uint64_t seen = 0;
    snprintf(sql, sizeof sql, "SELECT name, type, \"notnull\", pk FROM pragma_table_info('%s')",
             res->plural);
    must(stmt_get(txn, sql, &s, err));
    must(stmt_step(s, &row, err));
    while (row) {
        struct str name = stmt_str(s, 0);
        const struct field *f = resource_field(res, name);
        ck_assert_msg(f && !(f->flags & FIELD_SECRET), "%s." STR_FMT " is in no .def", res->plural,
                      STR_ARG(name));
        ck_assert_msg(str_is(stmt_str(s, 1), column_type(f->type)), "type of %s.%s", res->plural,
                      f->name);
        bool needed = stmt_i64(s, 2) || stmt_i64(s, 3);
        ck_assert_msg(needed == !(f->flags & FIELD_NULL), "%s.%s: NULL in one, not in the other",
                      res->plural, f->name);
        seen |= UINT64_C(1) << (f - res->fields);
        must(stmt_step(s, &row, err));
    }
    for (size_t i = 0; i < res->n_fields; i++)
        if (!(res->fields[i].flags & FIELD_SECRET))
            ck_assert_msg(seen >> i & 1, "%s.%s has no column", res->plural, res->fields[i].name);
}

START_TEST(each_field_is_a_column_and_each_column_a_field)
{
    struct folder folder = folder_new();
    struct db *db = NULL;
    must(hash_init(err));
    must(db_open(&(struct db_opts){.path = folder.db}, &db, err));
    SCOPED_TXN txn = {0};
    must(txn_begin_read(db, &txn, err));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        check_table(&txn, all[i]);
    txn_end(&txn);
    db_close(db);
    folder_done(&folder);
}
END_TEST

/* Every default in a table passes the table's own rules. */
START_TEST(each_default_is_allowed)
{
    struct arena arena;
    arena_init(&arena, MIB);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        void *row = arena_alloc(&arena, 1, all[i]->size);
        resource_defaults(all[i], row);
        for (size_t k = 0; k < all[i]->n_fields; k++) {
            const struct field *f = &all[i]->fields[k];
            char text[256];
            uint64_t set;
            struct err why = {0};
            if (!f->def || !(f->flags & FIELD_W_OPERATOR))
                continue;
            snprintf(text, sizeof text, "{\"%s\":%s}", f->name, f->def);
            json_t *json = json_loads(text, 0, NULL);
            enum rc rc = resource_from_json(
                all[i], json, f->flags & FIELD_FIXED ? RESOURCE_CREATE : RESOURCE_UPDATE,
                FIELD_W_OPERATOR, &arena, row, &set, &why);
            bool lacks_another = rc == RC_BAD_INPUT && strstr(why.msg, "required");
            ck_assert_msg(rc == RC_OK || lacks_another, "%s: %s", text, why.msg);
            json_decref(json);
        }
    }
    arena_done(&arena);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("openapi");
    TCase *t = tcase_create("openapi");
    tcase_add_test(t, the_document_is_json_and_every_reference_leads_somewhere);
    tcase_add_test(t, each_shown_field_is_in_the_document_and_no_other);
    tcase_add_test(t, each_field_is_a_column_and_each_column_a_field);
    tcase_add_test(t, each_default_is_allowed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
