#include "control/demo.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/scoped.h"
#include "base/units.h"
#include "control/access.h"
#include "control/cli_say.h"
#include "control/control.h"
#include "control/demo_chat.h"
#include "control/demo_tenant.h"
#include "control/entity.h"
#include "control/rest.h"
#include "control/row.h"
#include "control/secret.h"
#include "control/txn.h"
#include "control/writer.h"

enum {
    PATH_BYTES = 512,
    JOB_ARENA_BYTES = 1 << 20,
    PASSWORD_RANDOM_BYTES = 12,
    RUNNING_STALL_MS = 300000, /* so long without progress is a failure */
};

bool demo_pause(const struct demo_opts *opts, int ms)
{
    struct pollfd p = {.fd = opts->stop_fd, .events = POLLIN};
    return poll(&p, 1, ms) == 0;
}

/* ---- the file ---- */

static void copy(char *to, size_t cap, const char *from)
{
    snprintf(to, cap, "%s", from);
}

/* Secrets are written to demo.kept.json as soon as they are made, so that no failure loses them;
 * demo.json appears when the demo is ready, and scripts wait for it. */
static const char ready_name[] = "demo.json", kept_name[] = "demo.kept.json";

static void file_path(char *to, const char *data_dir, const char *name, const char *end)
{
    snprintf(to, PATH_BYTES, "%.480s/%s%s", data_dir, name, end);
}

static enum rc read_file(const char *data_dir, const char *name, struct demo *ret, struct err *err)
{
    char path[PATH_BYTES];
    file_path(path, data_dir, name, "");
    json_error_t why;
    json_t *all = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!all)
        return access(path, F_OK) == 0 ? err_set(err, RC_CORRUPT, "%.150s: %.80s", path, why.text)
                                       : err_set(err, RC_NOT_FOUND, "%.200s is not there", path);
    *ret = (struct demo){0};
    const json_t *operator= json_object_get(all, "operator"), *org = json_object_get(all, "org");
    const json_t *user = json_object_get(all, "user");
    copy(ret->console, sizeof ret->console, rest_text(all, "console"));
    copy(ret->openai_base_url, sizeof ret->openai_base_url, rest_text(all, "openai_base_url"));
    copy(ret->model, sizeof ret->model, rest_text(all, "model"));
    copy(ret->operator.email, DEMO_TEXT_BYTES, rest_text(operator, "email"));
    copy(ret->operator.password, DEMO_TEXT_BYTES, rest_text(operator, "password"));
    copy(ret->operator.token, DEMO_TEXT_BYTES, rest_text(operator, "token"));
    copy(ret->org.id, DEMO_TEXT_BYTES, rest_text(org, "id"));
    copy(ret->org.name, DEMO_TEXT_BYTES, rest_text(org, "name"));
    copy(ret->user.email, DEMO_TEXT_BYTES, rest_text(user, "email"));
    copy(ret->user.password, DEMO_TEXT_BYTES, rest_text(user, "password"));
    copy(ret->api_key, DEMO_TEXT_BYTES, rest_text(all, "api_key"));
    ret->made = json_is_true(json_object_get(all, "made")) || name == ready_name;
    json_decref(all);
    return RC_OK;
}

enum rc demo_read(const char *data_dir, struct demo *ret, struct err *err)
{
    enum rc rc = read_file(data_dir, kept_name, ret, err);
    return rc == RC_NOT_FOUND ? read_file(data_dir, ready_name, ret, err) : rc;
}

void demo_hide(const char *data_dir)
{
    char path[PATH_BYTES];
    file_path(path, data_dir, ready_name, "");
    unlink(path);
}

static enum rc replace_file(const char *path, const char *fresh, const char *text, struct err *err)
{
    SCOPED_FD fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t len = strlen(text);
    if (fd < 0 || fchmod(fd, 0600) != 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) != 0 ||
        rename(fresh, path) != 0)
        return err_errno(err, errno, "cannot write %.150s", path);
    return RC_OK;
}

enum rc demo_write(const char *data_dir, const struct demo *d, bool ready, struct err *err)
{
    char path[PATH_BYTES], fresh[PATH_BYTES];
    file_path(path, data_dir, ready ? ready_name : kept_name, "");
    file_path(fresh, data_dir, ready ? ready_name : kept_name, ".new");
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s}, s:{s:s, s:s}, s:{s:s, s:s}, s:s}", "console",
                  d->console, "openai_base_url", d->openai_base_url, "model", d->model, "operator",
                  "email", d->operator.email, "password", d->operator.password, "token",
                  d->operator.token, "org", "id", d->org.id, "name", d->org.name, "user", "email",
                  d->user.email, "password", d->user.password, "api_key", d->api_key);
    if (all && !ready)
        json_object_set_new(all, "made", json_boolean(d->made));
    SCOPED_PTR char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    if (!text)
        return err_set(err, RC_INTERNAL, "demo.json cannot be printed");
    return replace_file(path, fresh, text, err);
}

/* ---- the operator ---- */

void demo_password(char to[DEMO_TEXT_BYTES])
{
    uint8_t bytes[PASSWORD_RANDOM_BYTES];
    random_bytes(bytes, sizeof bytes);
    str_to_hex(bytes, sizeof bytes, to);
}

struct operator_job {
    const struct secrets *secrets;
    struct demo *demo;
    bool make_password;
    char hash[SECRET_PASSWORD_BYTES];
};

static enum rc find_operator(struct txn *txn, const char *email, struct arena *arena,
                             struct user *ret, bool *ret_there, struct err *err)
{
    enum rc rc =
        row_find(txn, access_system(), &resource_user, "email", str_of(email), arena, ret, err);
    *ret_there = rc == RC_OK;
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc set_operator(struct entity_act *act, const struct operator_job *job,
                            struct user *user, bool there, struct err *err)
{
    act->password_hash = job->make_password ? str_of(job->hash) : STR_NONE;
    if (!there) {
        *user = (struct user){.email = str_of(job->demo->operator.email),
                              .name = STR("Operator"),
                              .role = ROLE_OPERATOR,
                              .status = USER_ACTIVE};
        return entity_create(act, &resource_user, user, err);
    }
    if (!job->make_password)
        return RC_OK;
    json_t *change = json_pack("{s:s}", "password", job->demo->operator.password);
    enum rc rc = entity_update(act, &resource_user, user->id, change, 0, user, err);
    json_decref(change);
    return rc;
}

static enum rc token_is_known(struct entity_act *act, const struct user *user, bool *ret,
                              struct err *err)
{
    int64_t n = 0;
    enum rc rc = row_count(act->txn, act->scope, &resource_token, "user_id", user->id, &n, err);
    *ret = n > 0;
    return rc;
}

static enum rc make_operator(void *p, struct txn *txn, struct err *err)
{
    struct operator_job *job = p;
    SCOPED_ARENA arena;
    arena_init(&arena, JOB_ARENA_BYTES);
    struct entity_act act = {
        .txn = txn, .scope = access_system(), .secrets = job->secrets, .arena = &arena};
    struct user user = {0};
    bool there = false, known = false;
    enum rc rc = find_operator(txn, job->demo->operator.email, &arena, &user, &there, err);
    if (rc == RC_OK)
        rc = set_operator(&act, job, &user, there, err);
    if (rc == RC_OK)
        rc = token_is_known(&act, &user, &known, err);
    if (rc != RC_OK || (known && job->demo->operator.token[0]))
        return rc;
    struct token_row token = {.user_id = user.id, .name = STR("demo")};
    rc = entity_create(&act, &resource_token, &token, err);
    if (rc == RC_OK)
        copy(job->demo->operator.token, DEMO_TEXT_BYTES, act.token);
    return rc;
}

static enum rc operator_exists(struct control *c, const char *email, bool *ret, struct err *err)
{
    SCOPED_ARENA arena;
    arena_init(&arena, JOB_ARENA_BYTES);
    SCOPED_TXN txn = {0};
    struct user user = {0};
    enum rc rc = txn_begin_read(control_db(c), &txn, err);
    return rc == RC_OK ? find_operator(&txn, email, &arena, &user, ret, err) : rc;
}

enum rc demo_operator(struct control *c, struct demo *d, struct err *err)
{
    struct operator_job job = {.secrets = control_secrets(c), .demo = d};
    if (!d->operator.email[0])
        copy(d->operator.email, DEMO_TEXT_BYTES, "operator@sluice.local");
    bool there = false;
    enum rc rc = operator_exists(c, d->operator.email, &there, err);
    job.make_password = !there || !d->operator.password[0];
    d->made = d->made && there; /* without its operator this is a new database */
    if (rc == RC_OK && job.make_password) {
        demo_password(d->operator.password);
        rc = secret_password_hash(str_of(d->operator.password), job.hash, err);
    }
    return rc == RC_OK ? writer_call(control_writer(c), make_operator, &job, err) : rc;
}

static enum rc await_running(const struct demo_opts *opts, const struct demo *d,
                             const char *deployment_id, struct err *err)
{
    struct rest api = {.url = opts->api_url, .token = d->operator.token };
    char path[128], last[400] = "";
    snprintf(path, sizeof path, "/api/v1/deployments/%.60s", deployment_id);
    for (int64_t idle_ms = 0; idle_ms < RUNNING_STALL_MS; idle_ms += 50) {
        json_t *row = NULL;
        enum rc rc = rest_call(&api, "GET", path, NULL, &row, err);
        if (rc != RC_OK)
            return rc;
        char now[400];
        const char *state = rest_text(row, "state"), *why = rest_text(row, "state_reason");
        snprintf(now, sizeof now, "%.20s %lld %%%s%.300s", state,
                 (long long)json_integer_value(json_object_get(row, "progress")),
                 why[0] ? ", " : "", why);
        bool running = strcmp(state, "running") == 0, failed = strcmp(state, "failed") == 0;
        if (failed)
            err_set(err, RC_UNAVAILABLE, "%.240s", why);
        json_decref(row);
        if (running)
            return RC_OK;
        if (failed)
            return RC_UNAVAILABLE;
        if (strcmp(now, last) != 0) {
            idle_ms = 0;
            say_progress(opts->say, "%s", now);
            memcpy(last, now, sizeof last);
        }
        if (!demo_pause(opts, 50))
            return err_set(err, RC_CLIENT_GONE, "stopped");
    }
    return err_set(err, RC_TIMEOUT, "the deployment made no progress for %d s: %.150s",
                   RUNNING_STALL_MS / MS_PER_SEC, last);
}

enum rc demo_run(const struct demo_opts *opts, struct demo *d, struct err *err)
{
    struct say *say = opts->say;
    char deployment_id[64] = "";
    int made = 0;
    say_step(say, "demo tenant");
    enum rc rc = demo_tenant(opts, d, &made, deployment_id, err);
    struct err write_err;
    enum rc wrote = demo_write(opts->data_dir, d, false, &write_err);
    if (rc == RC_OK && wrote != RC_OK) {
        *err = write_err;
        rc = wrote;
    }
    if (rc != RC_OK)
        return rc;
    say_done(say, made ? "org, user, key, model, deployment, share, limits, price" : "kept");

    say_step(say, "engine for %.80s", d->model);
    rc = await_running(opts, d, deployment_id, err);
    if (rc != RC_OK)
        return rc;
    say_done(say, "running");
    say_step(say, "gateway");
    rc = demo_await_model(opts, d, err);
    if (rc != RC_OK)
        return rc;
    say_done(say, "serves %s at %s", d->model, d->openai_base_url);
    rc = demo_chat(opts, d, err);
    if (rc == RC_OK)
        rc = demo_write(opts->data_dir, d, true, err);
    if (rc == RC_OK && !d->made) {
        d->made = true;
        rc = demo_write(opts->data_dir, d, false, err);
    }
    return rc;
}
