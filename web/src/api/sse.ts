/* sse - the data of each event in a text/event-stream body, however the bytes are cut.
 *
 * Lines end with LF, CRLF or CR; lines that start with a colon are comments (": ping"); several
 * data lines make one event, joined by LF; an event that is not closed by an empty line is dropped,
 * as the standard says. */
const LINE_MAX = 1 << 20;

export async function* sseData(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += decoder.decode(value ?? new Uint8Array(), { stream: !done });
      let end: number;
      while ((end = lineEnd(rest, done)) >= 0) {
        const line = rest.slice(0, end);
        rest = rest.slice(rest.startsWith("\r\n", end) ? end + 2 : end + 1);
        if (line === "") {
          if (data.length > 0) yield data.join("\n");
          data = [];
        } else {
          const text = dataOf(line);
          if (text !== null) data.push(text);
        }
      }
      if (rest.length > LINE_MAX) throw new Error("The stream sent a line without an end.");
      if (done) return;
    }
  } finally {
    /* Leaving early (a stop, an error) must also close the connection. */
    await reader.cancel().catch(() => undefined);
  }
}

/* Where the first line ends, or -1. A CR that is the last byte so far may be half of a CRLF. */
function lineEnd(text: string, isLast: boolean): number {
  const at = text.search(/[\r\n]/);
  if (at === text.length - 1 && text[at] === "\r" && !isLast) return -1;
  return at;
}

function dataOf(line: string): string | null {
  if (line === "data") return "";
  if (!line.startsWith("data:")) return null;
  return line.startsWith("data: ") ? line.slice(6) : line.slice(5);
}
