import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { curlOf, shellQuote } from "./curl";
import { requestOf } from "./playground_settings";

describe("curl", () => {
  it("survives the shell byte for byte", () => {
    const text = `it's "quoted" $HOME \`id\` \\ \n ünï !x`;
    const out = execFileSync("sh", ["-c", `printf %s ${shellQuote(text)}`], { encoding: "utf8" });
    expect(out).toBe(text);
  });

  it("asks for what Send asks for", () => {
    const settings = {
      model: "m",
      maxTokens: 9,
      temperature: 0.5,
      format: "json" as const,
      system: " be brief ",
    };
    const request = requestOf(settings, "m", [{ role: "user", content: "it's me" }]);
    const command = curlOf("http://127.0.0.1:8000/v1", request).replace(/^curl/, "printf '%s\\0'");
    const args = execFileSync("sh", ["-c", command], {
      encoding: "utf8",
      env: { SLUICE_API_KEY: "sk_1" },
    }).split("\0");
    expect(args).toContain("http://127.0.0.1:8000/v1/chat/completions");
    expect(args).toContain("Authorization: Bearer sk_1");
    const body: unknown = JSON.parse(args[args.indexOf("-d") + 1] ?? "");
    expect(body).toEqual(request);
    expect(body).toMatchObject({
      messages: [
        { role: "system", content: "be brief" },
        { role: "user", content: "it's me" },
      ],
      max_completion_tokens: 9,
      response_format: { type: "json_object" },
    });
  });
});
