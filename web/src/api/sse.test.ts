import { describe, expect, it } from "vitest";
import { sseData } from "./sse";

const bytes = (text: string) => new TextEncoder().encode(text);

function streamOf(parts: Uint8Array[], onCancel: () => void = () => undefined) {
  const rest = [...parts];
  return new ReadableStream<Uint8Array>({
    pull(to) {
      const part = rest.shift();
      if (part) to.enqueue(part);
      else to.close();
    },
    cancel: onCancel,
  });
}

async function read(parts: Uint8Array[]): Promise<string[]> {
  const got: string[] = [];
  for await (const data of sseData(streamOf(parts))) got.push(data);
  return got;
}

const STREAM =
  ': ping\n\ndata: {"a":"é😀"}\r\n\r\ndata:x\ndata: y\n\nevent: z\rdata\r\rdata: [DONE]\n\n';
const EVENTS = ['{"a":"é😀"}', "x\ny", "", "[DONE]"];

describe("sse", () => {
  it("reads the same events wherever the bytes are cut", async () => {
    const whole = bytes(STREAM);
    for (let cut = 0; cut <= whole.length; cut++)
      expect(await read([whole.slice(0, cut), whole.slice(cut)])).toEqual(EVENTS);
    expect(await read([...whole].map((byte) => new Uint8Array([byte])))).toEqual(EVENTS);
  });

  it("drops an event that was never finished", async () => {
    expect(await read([bytes("data: a\n\ndata: half")])).toEqual(["a"]);
  });

  it("closes the connection when the reader leaves early", async () => {
    let isClosed = false;
    const stream = streamOf([bytes("data: a\n\n"), bytes("data: b\n\n")], () => {
      isClosed = true;
    });
    for await (const data of sseData(stream)) {
      expect(data).toBe("a");
      break;
    }
    expect(isClosed).toBe(true);
  });

  it("refuses a line that never ends", async () => {
    await expect(read([bytes("data: "), bytes("x".repeat(1 << 20)), bytes("y")])).rejects.toThrow();
  });
});
