#include "control/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"

enum { PATH_BYTES = 4096, FILE_HEX = 2 * HASH_KEY_BYTES };

_Static_assert(crypto_kdf_KEYBYTES == HASH_KEY_BYTES, "one size of key");
_Static_assert(crypto_pwhash_STRBYTES <= SECRET_PASSWORD_BYTES, "a stored password fits");

enum purpose { FOR_APIKEY = 1, FOR_TOKEN, FOR_CSRF, FOR_SEAL, FOR_RECEIPT };

/* Whole and readable only by us, or not there: written beside and linked into place. */
static enum rc make_file(const char *path, const char *hex, struct err *err)
{
    char tmp[PATH_BYTES + 16];
    snprintf(tmp, sizeof tmp, "%s.%d", path, (int)getpid());
    SCOPED_FD fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot make %s", tmp);
    enum rc rc = RC_OK;
    if (dprintf(fd, "%s\n", hex) != FILE_HEX + 1 || fsync(fd) != 0)
        rc = err_errno(err, errno, "cannot write %s", tmp);
    else if (link(tmp, path) != 0 && errno != EEXIST)
        rc = err_errno(err, errno, "cannot make %s", path);
    unlink(tmp);
    return rc;
}

static enum rc read_file(const char *path, char ret_hex[FILE_HEX + 1], struct err *err)
{
    char text[FILE_HEX + 2];
    struct stat st;
    SCOPED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? RC_NOT_FOUND : err_errno(err, errno, "cannot read %s", path);
    if (fstat(fd, &st) == 0 && (st.st_mode & 077)) {
        log_warn("secret.open_to_others", "path=%s mode=%03o", path, st.st_mode & 0777);
        if (fchmod(fd, 0600) != 0)
            return err_errno(err, errno, "cannot close %s to others", path);
    }
    ssize_t n = read(fd, text, sizeof text);
    uint8_t raw[HASH_KEY_BYTES];
    if (n < FILE_HEX || !str_from_hex(str_make(text, FILE_HEX), raw, sizeof raw))
        return err_set(err, RC_CORRUPT, "%s is damaged: it must hold %d hex digits", path,
                       FILE_HEX);
    memcpy(ret_hex, text, FILE_HEX);
    ret_hex[FILE_HEX] = '\0';
    sodium_memzero(raw, sizeof raw);
    sodium_memzero(text, sizeof text);
    return RC_OK;
}

static enum rc read_or_make(const char *path, char ret_hex[FILE_HEX + 1], struct err *err)
{
    enum rc rc = read_file(path, ret_hex, err);
    if (rc != RC_NOT_FOUND)
        return rc;
    uint8_t fresh[HASH_KEY_BYTES];
    char hex[FILE_HEX + 1];
    random_bytes(fresh, sizeof fresh);
    str_to_hex(fresh, sizeof fresh, hex);
    rc = make_file(path, hex, err);
    sodium_memzero(fresh, sizeof fresh);
    sodium_memzero(hex, sizeof hex);
    /* Read back: another process may have been first. */
    return rc == RC_OK ? read_file(path, ret_hex, err) : rc;
}

static void derive(const uint8_t master[HASH_KEY_BYTES], enum purpose purpose,
                   uint8_t ret[HASH_KEY_BYTES])
{
    int failed = crypto_kdf_derive_from_key(ret, HASH_KEY_BYTES, purpose, "sluice01", master);
    ASSERT(!failed);
}

enum rc secrets_open(const char *dir, struct secrets *ret, struct err *err)
{
    char path[PATH_BYTES], hex[FILE_HEX + 1];
    uint8_t master[HASH_KEY_BYTES];
    if (snprintf(path, sizeof path, "%s/run", dir) >= (int)sizeof path - 32)
        return err_set(err, RC_BAD_INPUT, "the data folder's path is too long");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_errno(err, errno, "cannot make %s", path);
    snprintf(path, sizeof path, "%s/secret.key", dir);
    enum rc rc = read_or_make(path, hex, err);
    if (rc != RC_OK)
        return rc;
    str_from_hex(str_of(hex), master, sizeof master);
    derive(master, FOR_APIKEY, ret->apikey);
    derive(master, FOR_TOKEN, ret->token);
    derive(master, FOR_CSRF, ret->csrf);
    derive(master, FOR_SEAL, ret->seal);
    derive(master, FOR_RECEIPT, ret->receipt);
    sodium_memzero(master, sizeof master);
    sodium_memzero(hex, sizeof hex);
    snprintf(path, sizeof path, "%s/run/internal.token", dir);
    rc = read_or_make(path, ret->internal, err);
    if (rc != RC_OK)
        secrets_done(ret);
    return rc;
}

void secrets_done(struct secrets *s)
{
    sodium_memzero(s, sizeof *s);
}

enum rc secret_password_hash(struct str password, char ret[SECRET_PASSWORD_BYTES], struct err *err)
{
    if (crypto_pwhash_str(ret, password.p, password.len, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0)
        return err_set(err, RC_NO_MEMORY, "no memory to hash a password; try again");
    return RC_OK;
}

bool secret_password_ok(const char *stored, struct str password)
{
    if (stored && *stored)
        return crypto_pwhash_str_verify(stored, password.p, password.len) == 0;
    /* The same work for nothing, so that the time does not tell whether the email is known. */
    char unused[crypto_pwhash_STRBYTES];
    int rc = crypto_pwhash_str(unused, password.p, password.len, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                               crypto_pwhash_MEMLIMIT_INTERACTIVE);
    (void)rc;
    return false;
}

enum { NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES };

enum rc secret_seal(const struct secrets *s, struct str about, struct str plain, struct buf *to,
                    struct err *err)
{
    unsigned long long n;
    size_t room = NONCE + plain.len + crypto_aead_xchacha20poly1305_ietf_ABYTES;
    uint8_t *at = (uint8_t *)buf_reserve(to, room);
    if (!at)
        return err_set(err, RC_NO_MEMORY, "no memory to seal a secret");
    random_bytes(at, NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(at + NONCE, &n, (const uint8_t *)plain.p, plain.len,
                                               (const uint8_t *)about.p, about.len, NULL, at,
                                               s->seal);
    to->len += NONCE + (size_t)n;
    return RC_OK;
}

enum rc secret_open(const struct secrets *s, struct str about, struct str sealed, struct buf *to,
                    struct err *err)
{
    unsigned long long n;
    uint8_t *at = sealed.len > NONCE ? (uint8_t *)buf_reserve(to, sealed.len) : NULL;
    if (!at)
        return err_set(err, RC_CORRUPT, "a sealed secret is too short");
    const uint8_t *nonce = (const uint8_t *)sealed.p;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(at, &n, NULL, nonce + NONCE, sealed.len - NONCE,
                                                   (const uint8_t *)about.p, about.len, nonce,
                                                   s->seal) != 0)
        return err_set(err, RC_CORRUPT, "a sealed secret does not open: was secret.key replaced?");
    to->len += (size_t)n;
    return RC_OK;
}
