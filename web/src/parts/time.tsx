/* time - a moment in the reader's own zone; the title has it in UTC, as the API says it. */
import { formatDate, formatMinute, formatTime } from "./format";

const FORMATS = { day: formatDate, minute: formatMinute, second: formatTime };

export function Time({
  at,
  by = "minute",
}: {
  at: string | null | undefined;
  by?: keyof typeof FORMATS;
}) {
  if (!at) return <>–</>;
  return (
    <time dateTime={at} title={at}>
      {FORMATS[by](at)}
    </time>
  );
}
