/* csv_button - saves what a table shows. */
import { Button } from "@mantine/core";
import { saveText } from "./csv";
import { Icon } from "./icon";
import { type Span, dayOf } from "./usage_search";

export function CsvButton(props: { name: string; span: Span; text: () => string }) {
  const { name, span, text } = props;
  const save = () => {
    const last = dayOf(Date.parse(span.end) - 1);
    saveText(`${name}-${span.start.slice(0, 10)}-${last}.csv`, "text/csv", text());
  };
  return (
    <Button
      size="xs"
      variant="default"
      leftSection={<Icon name="download" size={15} />}
      aria-label={`Save ${name.replaceAll("-", " ")} as CSV`}
      onClick={save}
    >
      CSV
    </Button>
  );
}
