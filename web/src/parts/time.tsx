/* time - a moment in the reader's own zone; the title has it in UTC, as the API says it. */
import { formatTime } from "./format";

export function Time({ at }: { at: string | null | undefined }) {
  if (!at) return <>–</>;
  return (
    <time dateTime={at} title={at}>
      {formatTime(at)}
    </time>
  );
}
