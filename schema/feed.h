#ifndef SLUICE_SCHEMA_FEED_H
#define SLUICE_SCHEMA_FEED_H
/* feed - the internal HTTP between gateway and control plane. All under /internal/v1 on the control
 * plane's port, `Authorization: Bearer` with the token in DIR/run/internal.token (0600).
 *
 * GET /internal/v1/changes?after=REV&epoch=E&wait_ms=25000
 *   → 200 {"epoch": "hex", "rev": N, "full": bool, "hash_key": "64 hex",
 *          "changes": [{"kind": "org", "id": "org_…", "row": {…VIEW_FEED…} | null}, …]}
 *   In order of revision; row null: gone. full: true when after is 0, unknown, or of another epoch: the
 *   changes are then the whole state, and what is not in them is gone. With nothing new the answer
 *   waits up to wait_ms, then comes with no changes. Kinds: org user key model endpoint deployment
 *   share limit price. hash_key keys apikey_hash. A deployment's replica_list is
 *   [{"index": 0, "state": "running", "address": "unix:/…/engine-0.sock", …}].
 * GET /internal/v1/keys/{public_id} → 200 {"row": {…}, "rev": N} | 404: for a key not (yet) seen.
 * POST /internal/v1/usage {"gateway": G, "segment": S, "offset": O, "rows": [usage VIEW_FEED…]}
 *   → 200 {"segment": S, "offset": O}: rows, rollups and the applied position in one transaction.
 *   A row whose id is there already is skipped. segment/offset name the end of the batch in the
 *   gateway's journal.
 * GET /internal/v1/usage/applied?gateway=G → 200 {"segment": S, "offset": O}
 */

#define FEED_PATH_CHANGES "/internal/v1/changes"
#define FEED_PATH_KEY "/internal/v1/keys/"
#define FEED_PATH_USAGE "/internal/v1/usage"
#define FEED_PATH_APPLIED "/internal/v1/usage/applied"
#define FEED_WAIT_MAX_MS 30000
#define FEED_ROWS_MAX 1000

#endif
