/* template.c - one rendering: variables in, text with its trusted stretches out, ids of it. */

#include "engine/text/template.h"

#include <locale.h>
#include <stdlib.h>

#include "base/units.h"
#include "engine/text/card.h"
#include "engine/text/jinja_eval.h"

struct template
{
    struct jinja_tree tree;
    locale_t locale;               /* letters' case; 0 when the system has no C.UTF-8 */
    char *special;                 /* the texts below, owned */
    struct str bos, eos, unk, pad; /* p == NULL: the card has none */
};

static struct str token_text(const struct card *card, int32_t id)
{
    return id >= 0 && id < card->n_vocab ? card->token[id] : STR_NONE;
}

/* Control tokens are stored as they are written, so the card's text is the token's text. */
static enum rc copy_special(struct template *t, const struct card *card, struct err *err)
{
    struct str *to[] = {&t->bos, &t->eos, &t->unk, &t->pad};
    struct str from[] = {token_text(card, card->bos), token_text(card, card->eos),
                         token_text(card, card->unk), token_text(card, card->pad)};
    size_t total = 0, at = 0;
    for (size_t i = 0; i < ARRAY_LEN(to); i++)
        total += from[i].len;
    t->special = malloc(total + 1);
    if (!t->special)
        return err_set(err, RC_NO_MEMORY, "no memory for the chat template");
    for (size_t i = 0; i < ARRAY_LEN(to); i++) {
        if (!from[i].p)
            continue;
        memcpy(t->special + at, from[i].p, from[i].len);
        *to[i] = str_make(t->special + at, from[i].len);
        at += from[i].len;
    }
    return RC_OK;
}

enum rc template_open(const struct card *card, struct template **ret, struct err *err)
{
    if (card->chat_template.len == 0)
        return err_set(err, RC_INVALID, "model has no chat template");
    struct template *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(err, RC_NO_MEMORY, "no memory for the chat template");
    t->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    enum rc rc = jinja_parse(card->chat_template, &t->tree, err);
    if (rc == RC_OK)
        rc = copy_special(t, card, err);
    if (rc == RC_OK)
        *ret = t;
    else
        template_close(t);
    return rc;
}

void template_close(struct template *t)
{
    if (!t)
        return;
    jinja_tree_done(&t->tree);
    if (t->locale)
        freelocale(t->locale);
    free(t->special);
    free(t);
}

void template_text_done(struct template_text *t)
{
    free((void *)t->text.p);
    free(t->span);
    *t = (struct template_text){0};
}

static enum rc set_var(struct jinja *j, struct jinja_scope *s, struct str name,
                       struct jinja_value v)
{
    int32_t id = jinja_tree_name(j->tree, name);
    return id < 0 ? RC_OK : jinja_scope_set(j, s, id, v);
}

static enum rc set_special(struct jinja *j, struct jinja_scope *s, const char *name,
                           struct str text)
{
    return text.p ? set_var(j, s, str_of(name), jinja_text(text, true)) : RC_OK;
}

static bool is_reserved(const char *name)
{
    static const char *const reserved[] = {"messages", "tools", "documents",
                                           "add_generation_prompt"};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (strcmp(name, reserved[i]) == 0)
            return true;
    }
    return false;
}

/* The names that Hugging Face passes; a name that a template may test but is not given stays
 * undefined. */
static enum rc set_vars(struct jinja *j, struct jinja_scope *s, const struct template *t,
                        const struct template_input *in)
{
    enum rc rc = set_special(j, s, "bos_token", t->bos);
    if (rc == RC_OK)
        rc = set_special(j, s, "eos_token", t->eos);
    if (rc == RC_OK)
        rc = set_special(j, s, "unk_token", t->unk);
    if (rc == RC_OK)
        rc = set_special(j, s, "pad_token", t->pad);
    const char *name;
    json_t *v;
    json_object_foreach(in->extra, name, v)
    {
        if (rc == RC_OK && is_reserved(name))
            return err_field(j->err, RC_BAD_INPUT, "chat_template_kwargs",
                             "chat_template_kwargs may not set '%s'", name);
        if (rc == RC_OK)
            rc = set_var(j, s, str_of(name), jinja_of_json(v));
    }
    if (rc == RC_OK)
        rc = set_var(j, s, STR("messages"), jinja_of_json(in->messages));
    if (rc == RC_OK)
        rc = set_var(j, s, STR("tools"), jinja_of_json(in->tools));
    if (rc == RC_OK)
        rc = set_var(j, s, STR("documents"), jinja_of_json(NULL));
    if (rc == RC_OK)
        rc = set_var(j, s, STR("add_generation_prompt"), jinja_bool(in->add_generation_prompt));
    return rc;
}

/* The text into the arena of *j, which the caller frees. */
static enum rc render(const struct template *t, const struct template_input *in, struct jinja *j,
                      struct jinja_build *out)
{
    struct jinja_scope scope = {0};
    if (!json_is_array(in->messages))
        return err_field(j->err, RC_BAD_INPUT, "messages", "messages must be an array");
    enum rc rc = set_vars(j, &scope, t, in);
    if (rc == RC_OK)
        rc = jinja_run(j, &scope, t->tree.body, out);
    return rc;
}

static void begin(struct jinja *j, const struct template *t, const struct template_input *in,
                  struct err *err)
{
    *j = (struct jinja){.err = err,
                        .steps_left = TEMPLATE_STEPS_MAX,
                        .wall_ms = in->wall_ms,
                        .tree = &t->tree,
                        .locale = t->locale};
    arena_init(&j->arena, TEMPLATE_MEMORY_MAX);
}

static enum rc copy_out(const struct jinja_build *out, struct template_text *ret, struct err *err)
{
    char *text = malloc(out->len + 1);
    struct text_span *span = reallocarray(NULL, out->n_span + 1, sizeof(*span));
    if (!text || !span) {
        free(text);
        free(span);
        return err_set(err, RC_NO_MEMORY, "no memory for a prompt of %zu bytes", out->len);
    }
    if (out->len)
        memcpy(text, out->p, out->len);
    if (out->n_span)
        memcpy(span, out->span, out->n_span * sizeof(*span));
    *ret = (struct template_text){str_make(text, out->len), span, out->n_span};
    return RC_OK;
}

enum rc template_render(const struct template *t, const struct template_input *in,
                        struct template_text *ret, struct err *err)
{
    if (!t)
        return err_set(err, RC_INVALID, "model has no chat template");
    struct jinja j;
    struct jinja_build out;
    begin(&j, t, in, err);
    jinja_build_init(&out, &j);
    enum rc rc = render(t, in, &j, &out);
    if (rc == RC_OK)
        rc = copy_out(&out, ret, err);
    arena_done(&j.arena);
    return rc;
}

enum rc template_tokens(const struct template *t, const struct tokenizer *tok,
                        const struct template_input *in, struct tokens *out, struct err *err)
{
    if (!t)
        return err_set(err, RC_INVALID, "model has no chat template");
    struct jinja j;
    struct jinja_build text;
    begin(&j, t, in, err);
    jinja_build_init(&text, &j);
    enum rc rc = render(t, in, &j, &text);
    if (rc == RC_OK)
        rc = tokenizer_encode_spans(tok, str_make(text.p, text.len), text.span, text.n_span, out,
                                    err);
    arena_done(&j.arena);
    return rc;
}
