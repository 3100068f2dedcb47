/* cases_keys - API keys: made, shown once, used, revoked. */
import assert from "node:assert/strict";

async function modelsStatus(base, key) {
  const response = await fetch(`${base}/models`, { headers: { authorization: `Bearer ${key}` } });
  await response.arrayBuffer();
  return response.status;
}

export const keyCases = {
  "a key is shown once, works, and is dead within a second of being revoked": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await page.getByRole("link", { name: "API keys" }).click();
    const name = `browser test ${Date.now()}`;
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("Name", { exact: true }).fill(name);
    await page.getByRole("button", { name: "Create" }).click();
    const secret = await page.locator("[data-secret]").innerText();
    await page.getByRole("button", { name: "I have copied it" }).click();
    await page.locator("[data-secret]").waitFor({ state: "detached" });
    assert.ok(!(await page.content()).includes(secret), "the secret is still on the page");

    const base = (await page.locator("code").first().innerText()).trim();
    assert.equal(await modelsStatus(base, secret), 200);
    const row = page.getByRole("row").filter({ hasText: name });
    await row.getByText("active").waitFor();
    await row.getByRole("button", { name: `Revoke ${name}` }).click();
    const dialog = page.getByRole("dialog", { name: "Revoke this key?" });
    await dialog.getByRole("button", { name: "Revoke" }).click();
    await dialog.waitFor({ state: "detached" });
    const revokedAt = Date.now();
    await row.waitFor({ state: "detached" });
    let status = 200;
    while (status === 200 && Date.now() - revokedAt < 3000) status = await modelsStatus(base, secret);
    assert.equal(status, 401);
    assert.ok(Date.now() - revokedAt < 2000, `it lived for ${Date.now() - revokedAt} ms`);

    await page.getByRole("switch", { name: "Show ended keys" }).click();
    await row.getByText("revoked").waitFor();
    await visit.shot("keys");
  },

  "a key without a name is not made": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await page.getByRole("link", { name: "API keys" }).click();
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByRole("button", { name: "Create" }).click();
    const name = page.getByLabel("Name", { exact: true });
    assert.equal(await name.evaluate((field) => field.validity.valueMissing), true);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
  },
};
