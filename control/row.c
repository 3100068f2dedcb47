#include "control/row.h"

#include <stdio.h>

#include "base/id.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/audit.h"
#include "control/db.h"
#include "control/feed.h"
#include "control/txn.h"

#define SQL_MAX    (64 * KIB)
#define DETAIL_MAX (256 * KIB)

static bool is_column(const struct field *f)
{
    return !(f->flags & FIELD_SECRET);
}

static enum rc no_memory(struct err *err)
{
    return err_set(err, RC_NO_MEMORY, "no memory for the request");
}

static void bind_field(struct stmt *s, int at, const struct field *f, const void *row)
{
    const void *p = (const char *)row + f->offset;
    size_t len;
    const char *text;
    int64_t v;
    switch (f->type) {
    case FIELD_ID:
    case FIELD_REF:
    case FIELD_TEXT:
    case FIELD_JSON:
        stmt_bind_str(s, at, *(const struct str *)p);
        return;
    case FIELD_BOOL:
        stmt_bind_i64(s, at, *(const bool *)p);
        return;
    case FIELD_ENUM:
        text = resource_enum_text(f, *(const int64_t *)p, &len);
        ASSERT(text);
        stmt_bind_str(s, at, str_make(text, len));
        return;
    case FIELD_INT:
    case FIELD_TIME:
    case FIELD_PRICE:
    case FIELD_COST:
        v = *(const int64_t *)p;
        if ((f->flags & FIELD_NULL) && v == (f->type == FIELD_TIME ? 0 : FIELD_NULL_INT))
            stmt_bind_null(s, at);
        else
            stmt_bind_i64(s, at, v);
        return;
    }
}

static enum rc read_enum(const struct field *f, struct str text, int64_t *ret, struct err *err)
{
    struct str rest = str_of(f->values);
    for (int64_t i = 0; rest.p; i++)
        if (str_eq(str_cut(&rest, '|'), text)) {
            *ret = i;
            return RC_OK;
        }
    return err_field(err, RC_CORRUPT, f->name, "the database holds an unknown %s: " STR_FMT,
                     f->name, STR_ARG(text));
}

static enum rc read_field(struct stmt *s, int col, const struct field *f, struct arena *arena,
                          void *p, struct err *err)
{
    bool null = stmt_is_null(s, col);
    switch (f->type) {
    case FIELD_ID:
    case FIELD_REF:
    case FIELD_TEXT:
    case FIELD_JSON:
        *(struct str *)p = stmt_keep(s, col, arena);
        return !null && !((struct str *)p)->p ? no_memory(err) : RC_OK;
    case FIELD_BOOL:
        *(bool *)p = stmt_i64(s, col) != 0;
        return RC_OK;
    case FIELD_ENUM:
        return read_enum(f, stmt_str(s, col), p, err);
    case FIELD_TIME:
        *(int64_t *)p = null ? 0 : stmt_i64(s, col);
        return RC_OK;
    case FIELD_INT:
    case FIELD_PRICE:
    case FIELD_COST:
        *(int64_t *)p = null ? FIELD_NULL_INT : stmt_i64(s, col);
        return RC_OK;
    }
    return RC_OK;
}

enum rc row_read(struct stmt *s, int first, const struct resource *res, struct arena *arena,
                 void *ret_row, struct err *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < res->n_fields; i++)
        if (is_column(&res->fields[i]))
            rc = read_field(s, first++, &res->fields[i], arena,
                            (char *)ret_row + res->fields[i].offset, err);
    return rc;
}

static void add_columns(const struct resource *res, struct buf *sql)
{
    bool first = true;
    for (size_t i = 0; i < res->n_fields; i++) {
        if (!is_column(&res->fields[i]))
            continue;
        buf_printf(sql, "%st.%s", first ? "" : ", ", res->fields[i].name);
        first = false;
    }
}

enum rc row_columns(const struct resource *res, struct arena *arena, const char **ret,
                    struct err *err)
{
    SCOPED_BUF sql;
    buf_init(&sql, SQL_MAX);
    add_columns(res, &sql);
    const char *z = sql.failed ? NULL : arena_zdup(arena, buf_view(&sql));
    if (!z)
        return no_memory(err);
    *ret = z;
    return RC_OK;
}

/* "SELECT columns FROM table t WHERE what the scope sees AND each filter". Names come from our own
 * tables; values only ever from bindings. */
static void add_select(const struct scope *scope, const struct resource *res,
                       const struct row_query *q, struct buf *sql)
{
    buf_z(sql, "SELECT ");
    add_columns(res, sql);
    buf_printf(sql, " FROM %s t WHERE (%s)", res->plural, scope_where(scope, res));
    for (size_t i = 0; i < q->n_filters; i++)
        if (q->filter[i].value.p)
            buf_printf(sql, " AND t.%s = :f%d", q->filter[i].field->name, (int)i);
        else
            buf_printf(sql, " AND t.%s IS NULL", q->filter[i].field->name);
    if (q->after.p)
        buf_printf(sql, " AND t.id %s :after", q->newest_first ? "<" : ">");
    buf_printf(sql, " ORDER BY t.id%s", q->newest_first ? " DESC" : "");
    if (q->limit > 0)
        buf_z(sql, " LIMIT :limit");
}

static void bind_select(struct stmt *s, const struct scope *scope, const struct row_query *q)
{
    scope_bind(scope, s);
    for (size_t i = 0; i < q->n_filters; i++) {
        char name[16];
        snprintf(name, sizeof name, ":f%d", (int)i);
        if (q->filter[i].value.p)
            stmt_bind_str(s, stmt_index(s, name), q->filter[i].value);
    }
    if (q->after.p)
        stmt_bind_str(s, stmt_index(s, ":after"), q->after);
    if (q->limit > 0)
        stmt_bind_i64(s, stmt_index(s, ":limit"), q->limit);
}

static enum rc begin_select(struct txn *txn, const struct scope *scope, const struct resource *res,
                            const struct row_query *q, struct stmt **ret, struct err *err)
{
    SCOPED_BUF sql;
    buf_init(&sql, SQL_MAX);
    add_select(scope, res, q, &sql);
    if (!buf_byte(&sql, '\0'))
        return no_memory(err);
    enum rc rc = stmt_get(txn, sql.p, ret, err);
    if (rc == RC_OK)
        bind_select(*ret, scope, q);
    return rc;
}

enum rc row_list(struct txn *txn, const struct scope *scope, const struct resource *res,
                 const struct row_query *q, struct arena *arena, void **ret_rows, size_t *ret_n,
                 struct err *err)
{
    ASSERT(q->n_filters <= ROW_FILTERS_MAX);
    SCOPED_STMT s = NULL;
    bool row = true;
    char *rows = NULL;
    size_t n = 0, cap = 0;
    enum rc rc = begin_select(txn, scope, res, q, &s, err);
    while (rc == RC_OK) {
        rc = stmt_step(s, &row, err);
        if (rc != RC_OK || !row)
            break;
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            char *more = arena_alloc(arena, cap, res->size);
            if (!more)
                return no_memory(err);
            if (n)
                memcpy(more, rows, n * res->size);
            rows = more;
        }
        rc = row_read(s, 0, res, arena, rows + n * res->size, err);
        n++;
    }
    if (rc == RC_OK) {
        *ret_rows = rows;
        *ret_n = n;
    }
    return rc;
}

enum rc row_find(struct txn *txn, const struct scope *scope, const struct resource *res,
                 const char *field, struct str value, struct arena *arena, void *ret_row,
                 struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    struct row_query q = {.n_filters = 1, .limit = 1};
    q.filter[0] = (struct row_filter){resource_field(res, str_of(field)), value};
    ASSERT(q.filter[0].field && value.p);
    enum rc rc = begin_select(txn, scope, res, &q, &s, err);
    if (rc == RC_OK)
        rc = stmt_step(s, &row, err);
    if (rc == RC_OK && !row)
        rc = err_set(err, RC_NOT_FOUND, "no such %s", res->name);
    if (rc == RC_OK)
        rc = row_read(s, 0, res, arena, ret_row, err);
    return rc;
}

enum rc row_get(struct txn *txn, const struct scope *scope, const struct resource *res,
                struct str id, struct arena *arena, void *ret_row, struct err *err)
{
    if (!id.p)
        return err_set(err, RC_NOT_FOUND, "no such %s", res->name);
    return row_find(txn, scope, res, "id", id, arena, ret_row, err);
}

enum rc row_count(struct txn *txn, const struct scope *scope, const struct resource *res,
                  const char *field, struct str value, int64_t *ret, struct err *err)
{
    SCOPED_STMT s = NULL;
    bool row = false;
    char sql[4096];
    ASSERT(resource_field(res, str_of(field)));
    int n = snprintf(sql, sizeof sql, "SELECT count(*) FROM %s t WHERE (%s) AND t.%s = :value",
                     res->plural, scope_where(scope, res), field);
    ASSERT(n < (int)sizeof sql);
    enum rc rc = stmt_get(txn, sql, &s, err);
    if (rc != RC_OK)
        return rc;
    scope_bind(scope, s);
    stmt_bind_str(s, stmt_index(s, ":value"), value);
    rc = stmt_step(s, &row, err);
    if (rc == RC_OK)
        *ret = stmt_i64(s, 0);
    return rc;
}

enum rc row_put(struct txn *txn, const struct resource *res, const void *row, bool *ret_inserted,
                struct err *err)
{
    SCOPED_BUF sql;
    SCOPED_STMT s = NULL;
    int64_t changes = 0;
    int n = 0;
    buf_init(&sql, SQL_MAX);
    buf_printf(&sql, "INSERT INTO %s (", res->plural);
    for (size_t i = 0; i < res->n_fields; i++)
        if (is_column(&res->fields[i]))
            buf_printf(&sql, "%s%s", n++ ? ", " : "", res->fields[i].name);
    buf_z(&sql, ") VALUES (");
    for (int i = 1; i <= n; i++)
        buf_printf(&sql, "%s?%d", i > 1 ? ", " : "", i);
    buf_z(&sql, ") ON CONFLICT (id) DO NOTHING");
    if (!buf_byte(&sql, '\0'))
        return no_memory(err);
    enum rc rc = stmt_get(txn, sql.p, &s, err);
    if (rc != RC_OK)
        return rc;
    int at = 1;
    for (size_t i = 0; i < res->n_fields; i++)
        if (is_column(&res->fields[i]))
            bind_field(s, at++, &res->fields[i], row);
    rc = stmt_run(s, &changes, err);
    if (rc == RC_OK)
        *ret_inserted = changes > 0;
    return rc;
}

static void *member(const struct resource *res, void *row, const char *name)
{
    const struct field *f = resource_field(res, str_of(name));
    return f ? (char *)row + f->offset : NULL;
}

static struct str text_of(const struct resource *res, const void *row, const char *name)
{
    const struct field *f = resource_field(res, str_of(name));
    return f ? *(const struct str *)(const void *)((const char *)row + f->offset) : STR_NONE;
}

/* The org whose business a row is. */
static struct str org_of(const struct resource *res, const void *row)
{
    return text_of(res, row, res == &resource_org ? "id" : "org_id");
}

static enum rc note(struct txn *txn, const struct scope *scope, enum audit_action action,
                    const struct resource *res, const void *row, struct buf *detail,
                    struct err *err)
{
    if (detail->failed)
        return no_memory(err);
    struct audit_entry e = {action, res, text_of(res, row, "id"), org_of(res, row),
                            buf_view(detail)};
    return audit_add(txn, scope, &e, err);
}

static enum rc note_whole(struct txn *txn, const struct scope *scope, enum audit_action action,
                          const struct resource *res, const void *row, struct err *err)
{
    SCOPED_BUF detail;
    buf_init(&detail, DETAIL_MAX);
    resource_to_json(res, row, VIEW_OPERATOR, &detail);
    return note(txn, scope, action, res, row, &detail, err);
}

enum rc row_insert(struct txn *txn, const struct scope *scope, const struct resource *res,
                   struct arena *arena, void *row, struct err *err)
{
    struct str *id = member(res, row, "id");
    int64_t *created = member(res, row, "created_at"), *version = member(res, row, "version");
    if (!id->p) {
        struct id fresh = id_new(res->prefix);
        *id = arena_dup(arena, id_str(&fresh));
        if (!id->p)
            return no_memory(err);
    }
    if (created)
        *created = txn->now_ms;
    if (version)
        *version = 1;
    bool inserted = false;
    enum rc rc = row_put(txn, res, row, &inserted, err);
    if (rc == RC_OK && !inserted)
        rc = err_field(err, RC_CONFLICT, "id", "a %s with this id exists already", res->name);
    if (rc == RC_OK)
        rc = feed_record(txn, res, *id, err);
    if (rc == RC_OK)
        rc = note_whole(txn, scope, AUDIT_CREATE, res, row, err);
    return rc;
}

/* {"field": [before, after], …} of the fields that differ; *ret_n is how many. */
static void add_difference(const struct resource *res, const void *old, const void *row,
                           struct buf *to, int *ret_n)
{
    int n = 0;
    buf_byte(to, '{');
    for (size_t i = 0; i < res->n_fields; i++) {
        const struct field *f = &res->fields[i];
        if ((f->flags & (FIELD_SECRET | FIELD_INTERNAL)) || str_is(str_of(f->name), "version"))
            continue;
        SCOPED_BUF before, after;
        buf_init(&before, DETAIL_MAX);
        buf_init(&after, DETAIL_MAX);
        resource_field_json(f, old, &before);
        resource_field_json(f, row, &after);
        if (str_eq(buf_view(&before), buf_view(&after)))
            continue;
        buf_printf(to, "%s\"%s\":[", n++ ? "," : "", f->name);
        buf_str(to, buf_view(&before));
        buf_byte(to, ',');
        buf_str(to, buf_view(&after));
        buf_byte(to, ']');
    }
    buf_byte(to, '}');
    *ret_n = n;
}

static enum rc note_difference(struct txn *txn, const struct scope *scope,
                               const struct resource *res, const void *old, const void *row,
                               struct err *err)
{
    SCOPED_BUF detail;
    int n;
    buf_init(&detail, DETAIL_MAX);
    add_difference(res, old, row, &detail, &n);
    return note(txn, scope, AUDIT_UPDATE, res, row, &detail, err);
}

static enum rc write_columns(struct txn *txn, const struct scope *scope, const struct resource *res,
                             const void *row, struct err *err)
{
    SCOPED_BUF sql;
    SCOPED_STMT s = NULL;
    int64_t changes = 0;
    int n = 0;
    buf_init(&sql, SQL_MAX);
    buf_printf(&sql, "UPDATE %s AS t SET ", res->plural);
    for (size_t i = 0; i < res->n_fields; i++)
        if (is_column(&res->fields[i]) && res->fields[i].type != FIELD_ID) {
            n++;
            buf_printf(&sql, "%s%s = ?%d", n > 1 ? ", " : "", res->fields[i].name, n);
        }
    buf_printf(&sql, " WHERE t.id = :id AND (%s)", scope_where(scope, res));
    if (!buf_byte(&sql, '\0'))
        return no_memory(err);
    enum rc rc = stmt_get(txn, sql.p, &s, err);
    if (rc != RC_OK)
        return rc;
    int at = 1;
    for (size_t i = 0; i < res->n_fields; i++)
        if (is_column(&res->fields[i]) && res->fields[i].type != FIELD_ID)
            bind_field(s, at++, &res->fields[i], row);
    stmt_bind_str(s, stmt_index(s, ":id"), text_of(res, row, "id"));
    scope_bind(scope, s);
    rc = stmt_run(s, &changes, err);
    if (rc == RC_OK && changes == 0)
        rc = err_set(err, RC_NOT_FOUND, "no such %s", res->name);
    return rc;
}

enum rc row_update(struct txn *txn, const struct scope *scope, const struct resource *res,
                   void *row, struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, 4 * MIB);
    struct str id = text_of(res, row, "id");
    int64_t *version = member(res, row, "version");
    void *old = arena_alloc(&arena, 1, res->size);
    enum rc rc = old ? row_get(txn, scope, res, id, &arena, old, err) : no_memory(err);
    if (rc == RC_OK && version && !scope_is_system(scope))
        ++*version;
    if (rc == RC_OK)
        rc = write_columns(txn, scope, res, row, err);
    if (rc == RC_OK)
        rc = feed_record(txn, res, id, err);
    if (rc == RC_OK && !scope_is_system(scope))
        rc = note_difference(txn, scope, res, old, row, err);
    return rc;
}

static enum rc leave_name(struct txn *txn, const struct resource *res, const void *row,
                          struct err *err)
{
    SCOPED_STMT s = NULL;
    struct str name = text_of(res, row, "name");
    if (name.len == 0)
        name = text_of(res, row, "email");
    enum rc rc = stmt_get(txn, "INSERT INTO gone VALUES (?1, ?2, ?3, ?4, ?5)", &s, err);
    if (rc != RC_OK)
        return rc;
    stmt_bind_str(s, 1, text_of(res, row, "id"));
    stmt_bind_str(s, 2, str_of(res->name));
    stmt_bind_str(s, 3, name.p ? name : STR(""));
    stmt_bind_str(s, 4, org_of(res, row));
    stmt_bind_i64(s, 5, txn->now_ms);
    return stmt_run(s, NULL, err);
}

static enum rc remove_row(struct txn *txn, const struct scope *eyes, const struct scope *name,
                          const struct resource *res, struct str id, struct err *err)
{
    SCOPED_ARENA arena;
    SCOPED_STMT s = NULL;
    char sql[128];
    arena_init(&arena, 4 * MIB);
    void *row = arena_alloc(&arena, 1, res->size);
    enum rc rc = row ? row_get(txn, eyes, res, id, &arena, row, err) : no_memory(err);
    if (rc != RC_OK)
        return rc;
    snprintf(sql, sizeof sql, "DELETE FROM %s WHERE id = ?1", res->plural);
    rc = stmt_get(txn, sql, &s, err);
    if (rc == RC_OK) {
        stmt_bind_str(s, 1, id);
        rc = stmt_run(s, NULL, err);
    }
    if (rc == RC_OK)
        rc = leave_name(txn, res, row, err);
    if (rc == RC_OK)
        rc = feed_record(txn, res, id, err);
    if (rc == RC_OK)
        rc = note_whole(txn, name, AUDIT_DELETE, res, row, err);
    return rc;
}

enum rc row_delete(struct txn *txn, const struct scope *scope, const struct resource *res,
                   struct str id, struct err *err)
{
    return remove_row(txn, scope, scope, res, id, err);
}

enum rc row_remove(struct txn *txn, const struct scope *scope, const struct resource *res,
                   struct str id, struct err *err)
{
    return remove_row(txn, access_system(), scope, res, id, err);
}
