/* time - a moment in the reader's own zone; the title has it in UTC, as the API says it. */
import { formatMinute, formatTime } from "./format";

export function Time({ at, seconds }: { at: string | null | undefined; seconds?: boolean }) {
  if (!at) return <>–</>;
  return (
    <time dateTime={at} title={at}>
      {seconds ? formatTime(at) : formatMinute(at)}
    </time>
  );
}
