/* steps - what several cases do in the playground. */

/* Sends a message and waits until the answer has ended. */
export async function ask(page, text, { maxTokens = 32 } = {}) {
  await setLength(page, maxTokens);
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
  const turn = lastTurn(page);
  await turn.and(page.locator('[data-state="done"]')).waitFor({ timeout: 90_000 });
  return turn;
}

/* On a narrow screen the settings are folded away. */
export async function setLength(page, maxTokens) {
  const settings = page.getByRole("button", { name: "Settings" });
  await page.getByLabel("Message", { exact: true }).waitFor();
  const isFolded = (await settings.count()) > 0;
  if (isFolded) await settings.click();
  const field = page.getByRole("textbox", { name: "Output length" });
  await field.fill(String(maxTokens));
  await field.blur();
  if (isFolded) await settings.click();
}

export async function setTemperature(page, temperature) {
  const field = page.getByRole("textbox", { name: "Temperature" });
  await field.fill(String(temperature));
  await field.blur();
}

export const lastTurn = (page) => page.getByRole("article", { name: "Exchange" }).last();

/* The exact cost of the last answer, once its row is in the ledger. */
export async function costOf(page) {
  const cost = lastTurn(page).locator("[data-stat=cost] [data-cost]");
  await cost.waitFor({ timeout: 20_000 });
  return cost.getAttribute("data-cost");
}

export async function stat(page, name) {
  return (await lastTurn(page).locator(`[data-stat=${name}] dd`).innerText()).trim();
}

export async function requestIdOf(page) {
  return (await lastTurn(page).locator("[data-stat=request] code").innerText()).trim();
}

/* What the gateway answers to a key that asks for the models. */
export async function modelsStatus(base, key) {
  const response = await fetch(`${base}/models`, { headers: { authorization: `Bearer ${key}` } });
  await response.arrayBuffer();
  return response.status;
}

/* How many milliseconds it takes until a key is refused; gives up after 5 s. */
export async function msUntilRefused(base, key) {
  const start = Date.now();
  while (Date.now() - start < 5000) {
    if ((await modelsStatus(base, key)) === 401) return Date.now() - start;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("the key still works after 5 s");
}

/* A call of the control plane's API with the operator's token. */
export async function asOperator(system, method, resource, body) {
  const response = await fetch(`${system.base}/api/v1/${resource}`, {
    method,
    headers: {
      authorization: `Bearer ${system.operator.token}`,
      "content-type": "application/json",
    },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${resource}: ${await response.text()}`);
  return response.status === 204 ? null : response.json();
}
