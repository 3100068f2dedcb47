/* cases_playground - messages and answers. */
import assert from "node:assert/strict";
import {
  asOperator,
  ask,
  costOf,
  lastTurn,
  modelsStatus,
  msUntilRefused,
  requestIdOf,
  setLength,
  setTemperature,
  stat,
} from "./steps.mjs";

const LONG = "Tell a very long story about a river, with many chapters.";

export const playgroundCases = {
  "an answer streams in, with TTFT, speed, tokens and cost": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await setLength(page, 48);
    await setTemperature(page, 0); /* the same answer each time, and not a short one */
    /* Watched inside the page: from here a quick answer could end between two looks. */
    await page.evaluate(() => {
      globalThis.lengths = new Set();
      new MutationObserver(() => {
        const answer = document.querySelector("[data-part=answer]");
        if (answer) globalThis.lengths.add(answer.textContent.length);
      }).observe(document.body, { childList: true, characterData: true, subtree: true });
    });
    await page.getByLabel("Message", { exact: true }).fill("Name three rivers in Europe.");
    await page.getByRole("button", { name: "Send" }).click();
    const answer = lastTurn(page).locator("[data-part=answer]");
    await page.locator('[data-state="done"]').waitFor({ timeout: 90_000 });
    const steps = await page.evaluate(() => globalThis.lengths.size);
    assert.ok(steps >= 8, `the answer grew in ${steps} steps: it did not stream`);
    assert.ok((await answer.innerText()).trim().length > 0);
    const cost = await costOf(page);
    assert.match(cost, /^\d+\.\d+$/);
    assert.ok(Number(cost) > 0, "it costs something");
    assert.match(await stat(page, "ttft"), /^[\d.]+ m?s$/);
    assert.match(await stat(page, "rate"), /^[\d.]+ tokens\/s$/);
    assert.match(await stat(page, "input"), /^\d+/);
    const output = Number(await stat(page, "output"));
    assert.ok(output >= 1 && output <= 48, `output is ${output}`);
    assert.match(await requestIdOf(page), /^req_/);
    await visit.shot("playground");
  },

  "Stop ends the answer at once, and what came is metered": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await setLength(page, 1500);
    /* A small model may end its story before anybody can stop it: then it is asked again. */
    const stopped = page.locator('[data-state="stopped"]');
    for (let n = 0; n < 5 && (await stopped.count()) === 0; n++) {
      await page.getByLabel("Message", { exact: true }).fill(LONG);
      await page.getByLabel("Message", { exact: true }).press("Enter");
      await lastTurn(page).locator("[data-part=answer]").waitFor({ timeout: 60_000 });
      const isClicked = await page
        .getByRole("button", { name: "Stop" })
        .click({ timeout: 8000 })
        .then(
          () => true,
          () => false,
        );
      /* At once when it was clicked; else the answer has ended by itself, or soon will. */
      await page
        .getByRole("button", { name: "Send" })
        .waitFor({ timeout: isClicked ? 2000 : 60_000 });
    }
    await lastTurn(page).and(stopped).waitFor();
    const before = await lastTurn(page).locator("[data-part=answer]").innerText();
    await costOf(page);
    assert.equal(await lastTurn(page).locator("[data-part=answer]").innerText(), before);
    const output = Number((await stat(page, "output")).replaceAll(",", ""));
    assert.ok(output >= 1 && output < 1500, `metered ${output} tokens`);
    await page.getByRole("link", { name: "Usage" }).click();
    const requests = page.getByRole("table", { name: "Recent requests" });
    await requests.getByRole("row").nth(1).getByText("aborted").waitFor();
  },

  "the conversation is told to the model, and goes on when pages change": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await ask(page, "My name is Ada.", { maxTokens: 16 });
    await page.getByRole("link", { name: "Usage" }).click();
    await page.getByRole("heading", { name: "Usage", exact: true }).waitFor();
    await page.getByRole("link", { name: "Playground" }).click();
    const request = page.waitForRequest(
      (r) => r.url().endsWith("/chat/completions") && r.method() === "POST",
    );
    await ask(page, "What is my name?", { maxTokens: 16 });
    const { messages } = (await request).postDataJSON();
    assert.deepEqual(
      messages.map((m) => m.role),
      ["user", "assistant", "user"],
    );
    assert.equal(messages[0].content, "My name is Ada.");
    await page.getByRole("button", { name: "Clear" }).click();
    assert.equal(await page.getByRole("article", { name: "Exchange" }).count(), 0);
  },

  "Shift+Enter breaks the line, Enter sends both lines": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await setLength(page, 4);
    const message = page.getByLabel("Message", { exact: true });
    await message.fill("one");
    await message.press("Shift+Enter");
    await message.pressSequentially("two");
    assert.equal(await message.inputValue(), "one\ntwo");
    const request = page.waitForRequest(
      (r) => r.url().endsWith("/chat/completions") && r.method() === "POST",
    );
    await message.press("Enter");
    assert.equal((await request).postDataJSON().messages.at(-1).content, "one\ntwo");
    await costOf(page);
  },

  "all settings are in the request, and the curl command says the same": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await page.getByLabel("System prompt").fill("Answer in it's own words.");
    await setTemperature(page, 0);
    await setLength(page, 5);
    await page.getByLabel("Message", { exact: true }).fill("Hello.");
    await page.getByRole("tab", { name: "curl" }).click();
    const command = await page.getByLabel("curl command").innerText();
    const request = page.waitForRequest(
      (r) => r.url().endsWith("/chat/completions") && r.method() === "POST",
    );
    await page.getByLabel("Message", { exact: true }).press("Enter");
    const body = (await request).postDataJSON();
    assert.equal(body.temperature, 0);
    assert.equal(body.max_completion_tokens, 5);
    assert.deepEqual(body.messages, [
      { role: "system", content: "Answer in it's own words." },
      { role: "user", content: "Hello." },
    ]);
    const quoted = command.slice(command.indexOf("-d '") + 4, -1).replaceAll("'\\''", "'");
    assert.deepEqual(JSON.parse(quoted), body);
    await costOf(page);
    assert.ok(Number(await stat(page, "output")) <= 5);
  },

  "markup in a message and in an answer stays text": async (visit) => {
    const { page } = visit;
    await visit.logIn();
    await ask(page, '<img src=x onerror="globalThis.hit = 1"> <b>bold</b>', { maxTokens: 8 });
    const turn = lastTurn(page);
    assert.match(await turn.innerText(), /<img src=x onerror=/);
    assert.equal(await turn.locator("img, b").count(), 0);
    assert.equal(await page.evaluate(() => globalThis.hit), undefined);
  },

  "a refused key says so, and the next message works again": async (visit) => {
    const { page } = visit;
    visit.expectNoise(/401.*\/v1\//);
    await visit.logIn();
    await page.getByRole("button", { name: "Use a key of mine" }).click();
    await page.getByLabel("API key", { exact: true }).fill("sk_not_a_key_at_all");
    await page.getByRole("button", { name: "Use it" }).click();
    await setLength(page, 4);
    await page.getByLabel("Message", { exact: true }).fill("Hello.");
    await page.getByLabel("Message", { exact: true }).press("Enter");
    const alert = lastTurn(page).getByRole("alert");
    await alert.filter({ hasText: "The API key was refused" }).waitFor();
    await alert.getByRole("button", { name: "Try again" }).click();
    await costOf(page);
  },

  "over a limit it says how long to wait, and counts down": async (visit) => {
    const { page, system } = visit;
    if (!system.operator.token) return "no operator's token was given";
    visit.expectNoise(/429.*\/v1\//);
    await visit.logIn();
    const made = page.waitForResponse(
      (r) => r.url().endsWith("/api/v1/keys") && r.request().method() === "POST",
    );
    await ask(page, "Say one word.", { maxTokens: 4 });
    const { id } = await (await made).json();
    await asOperator(system, "POST", "limits", {
      scope: "key",
      subject_id: id,
      requests_per_min: 1,
    });
    const message = page.getByLabel("Message", { exact: true });
    const alert = lastTurn(page).getByRole("alert").filter({ hasText: "Over the limit" });
    /* The gateway hears of the limit within a second. */
    for (let n = 0; n < 20 && (await alert.count()) === 0; n++) {
      await message.fill("Say another word.");
      await message.press("Enter");
      await page
        .locator('[data-state="done"], [data-state="failed"]')
        .nth(n + 1)
        .waitFor();
    }
    await alert.waitFor();
    assert.equal(await alert.getByRole("button", { name: "Try again" }).isDisabled(), true);
    const timer = alert.getByRole("timer");
    /* "in 1 min 2 s" */
    const left = async () => {
      const [, minutes = "0", seconds] = /(?:(\d+) min )?(\d+) s/.exec(await timer.innerText());
      return Number(minutes) * 60 + Number(seconds);
    };
    const first = await left(); /* the window has whole seconds: at most 61 s */
    assert.ok(first >= 1 && first <= 61, `it says ${await timer.innerText()}`);
    await page.waitForTimeout(2200);
    const second = await left();
    assert.ok(second < first && second >= first - 4, `${first} s became ${second} s`);
    await visit.shot("playground-limit");
  },

  "asking for JSON gives JSON, or says kindly that it cannot": async (visit) => {
    const { page } = visit;
    visit.expectNoise(/400.*\/v1\//);
    await visit.logIn();
    await setLength(page, 64);
    await page.getByText("JSON", { exact: true }).click();
    await page.getByLabel("Message", { exact: true }).fill("Give me a JSON object with a name.");
    await page.getByLabel("Message", { exact: true }).press("Enter");
    const turn = lastTurn(page);
    await page
      .locator('[data-state="done"], [data-state="failed"]')
      .last()
      .waitFor({ timeout: 90_000 });
    if ((await turn.getAttribute("data-state")) === "failed") {
      await turn.getByText("This deployment cannot force JSON").waitFor();
      await turn.getByRole("button", { name: "Send as plain text" }).click();
      await costOf(page);
      assert.equal(await lastTurn(page).getAttribute("data-state"), "done");
      return;
    }
    const isCut = (await turn.getByText("Cut at the output length").count()) > 0;
    const text = await turn.locator("[data-part=answer]").innerText();
    if (!isCut) JSON.parse(text);
    else assert.match(text.trimStart(), /^\{/);
  },

  "everything can be done with the keyboard alone": async (visit) => {
    const { page, system } = visit;
    await visit.logIn();
    /* From the top: the first stop leads past the menu to the page. */
    await page.goto(`${system.base}/usage`);
    await page.getByRole("heading", { name: "Usage", exact: true }).waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "To the page");
    await page.getByRole("link", { name: "Playground" }).focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("Message", { exact: true }).focus();
    await page.keyboard.type("Say one word.");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Send");
    await page.keyboard.press("Enter");
    await page.locator('[data-state="done"]').waitFor({ timeout: 90_000 });
    await costOf(page);
  },

  "the playground's key is kept nowhere and ends when the page is left": async (visit) => {
    const { page, system } = visit;
    await visit.logIn();
    const made = page.waitForResponse(
      (r) => r.url().endsWith("/api/v1/keys") && r.request().method() === "POST",
    );
    await ask(page, "Say one word.", { maxTokens: 4 });
    const key = await (await made).json();
    const stored = await page.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }]),
    );
    assert.ok(!stored.includes(key.key.slice(-20)), "the secret is in the browser's storage");
    const hour = (Date.parse(key.expires_at) - Date.now()) / 3_600_000;
    assert.ok(hour > 0.9 && hour <= 1.01, `it lives for ${hour} hours`);
    const gateway = await page.evaluate(
      async () => (await (await fetch("/api/v1/session")).json()).openai_base_url,
    );
    assert.equal(await modelsStatus(gateway, key.key), 200);
    await page.goto(`${system.base}/keys`);
    await page.getByRole("table", { name: "API keys" }).waitFor();
    assert.equal(await page.getByRole("row").filter({ hasText: key.public_id }).count(), 0);
    assert.ok((await msUntilRefused(gateway, key.key)) < 1500);
  },
};
