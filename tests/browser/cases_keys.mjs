/* cases_keys - API keys: made, shown once, used, revoked, deleted. */
import assert from "node:assert/strict";
import { modelsStatus, msUntilRefused } from "./steps.mjs";

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
    const ms = await msUntilRefused(base, secret);
    assert.ok(ms < 1500, `it lived for ${ms} ms`);
    await row.waitFor({ state: "detached" });

    await page.getByRole("switch", { name: "Show ended keys" }).click();
    await row.getByText("revoked").waitFor();
    await visit.shot("keys");
    await row.getByRole("button", { name: `Delete ${name}` }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await row.waitFor({ state: "detached" });
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
